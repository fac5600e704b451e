"""How late rows arrive is counted exactly and learned without bias from days that are not complete yet."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
from dagster_duckdb import DuckDBResource
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.automation.partitions import daily
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics import maturity as m
from health_pipeline.metrics.assets import maturity_assets
from health_pipeline.metrics.schema import ARRIVALS
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.loading.facts import derivation as facts_derivation
from health_pipeline.raw.schema import facts_schema
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake

FIRST = dt.date(2025, 7, 1)
MIDNIGHT = dt.time()
FILES = {
    "ecosystem.yaml": "name: late\ntitle: Late\ndescription: Rows that change.\nstart: 2025-07-01\n",
    "tables.yaml": """
tables:
  - name: cases
    title: Cases
    description: Cases that are decided later.
    key: [case_id]
    day: filed_at
    delivered_by: market
    version: ingested_at
    cluster: case_id
    columns:
      - {name: case_id, type: text, description: case}
      - {name: market, type: text, description: market}
      - {name: creator, type: text, description: creator}
      - {name: filed_at, type: timestamp, description: when it was filed}
      - {name: hours, type: number, required: false, description: hours until it was decided}
      - {name: wrong, type: boolean, required: false, description: the outcome}
      - {name: weight, type: number, description: weight}
      - {name: ingested_at, type: timestamp, description: version}
  - name: visits
    title: Visits
    description: A day's result, not versioned.
    key: [day, market]
    day: day
    delivered_by: market
    columns:
      - {name: day, type: date, description: day}
      - {name: market, type: text, description: market}
      - {name: visits, type: integer, description: visits}
""",
    "metrics.yaml": """
unit: market
dimensions:
  - {name: market, title: Market}
segments: [[], [market]]
metrics:
  - &base
    name: filed
    title: Filed
    description: Cases filed.
    type: count
    unit: cases
    bad: up
    owner: us
    numerator: {sum: "1"}
    horizon: 1
    family: cases
  - {<<: *base, name: creators, title: Creators, numerator: {distinct: creator, where: wrong}}
  - {<<: *base, name: wrong_rate, title: Wrong, type: proportion, horizon: 3,
     numerator: {sum: "1", where: wrong}, denominator: {sum: "1", where: wrong IS NOT NULL}}
  - {<<: *base, name: hours_mean, title: Hours, type: ratio, numerator: {sum: hours}, denominator: {sum: "1"}}
  - {<<: *base, name: hours_p90, title: Hours, type: quantile, numerator: null,
     quantile: {of: hours, level: 0.9, open: true}}
  - {<<: *base, name: wrong_weighted, title: Weighted, type: weighted, weight: weight,
     numerator: {sum: CASE WHEN wrong THEN 1 ELSE 0 END, where: wrong IS NOT NULL}}
  - {<<: *base, name: per_visit, title: Per visit, type: rate, denominator: {table: visits, sum: visits}}
""",
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("late")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return load_catalog(str(folder))


@dataclass(frozen=True)
class Version:
    """One version of a case, as it arrived."""

    case: int
    day: int
    hour: int  # of arrival, from the beginning of the day
    creator: str
    hours: float | None
    wrong: bool | None
    weight: int

    @property
    def arrived(self) -> dt.datetime:
        start = dt.datetime.combine(FIRST + dt.timedelta(days=self.day), MIDNIGHT)
        return start + dt.timedelta(hours=self.hour)


versions = st.builds(
    Version, st.integers(0, 8), st.just(0), st.integers(0, 150), st.sampled_from("abc"),
    st.none() | st.sampled_from([0.5, 2.25, 7.0]), st.none() | st.booleans(), st.integers(1, 4),
).map(lambda v: Version(v.case, v.case % 3, v.hour, v.creator, v.hours, v.wrong, v.weight))  # fmt: skip
deliveries = st.lists(versions, max_size=40, unique_by=lambda v: (v.case, v.hour))


def facts_rows(rows: Sequence[Version]) -> list[dict[str, Any]]:
    """The versions as the facts hold them: each knows when the next one superseded it."""
    by_case: dict[int, list[Version]] = defaultdict(list)
    for version in rows:
        by_case[version.case].append(version)
    out = []
    for chain in by_case.values():
        chain.sort(key=lambda v: v.hour)
        for version, after in zip(chain, [*chain[1:], None], strict=True):
            day = FIRST + dt.timedelta(days=version.day)
            out.append(
                {
                    "day": day, "case_id": str(version.case), "market": "ID", "creator": version.creator,
                    "filed_at": dt.datetime.combine(day, MIDNIGHT), "hours": version.hours, "wrong": version.wrong,
                    "weight": float(version.weight), "ingested_at": version.arrived, "cluster": 0,
                    "superseded_at": after.arrived if after else None,
                }
            )  # fmt: skip
    return out


FACTS = pa.schema(
    [("day", pa.date32()), ("case_id", pa.string()), ("market", pa.string()), ("creator", pa.string()),
     ("filed_at", pa.timestamp("us")), ("hours", pa.float64()), ("wrong", pa.bool_()), ("weight", pa.float64()),
     ("ingested_at", pa.timestamp("us")), ("cluster", pa.int32()), ("superseded_at", pa.timestamp("us"))]
)  # fmt: skip


def arrivals_of(catalog: Catalog, rows: Sequence[dict[str, Any]], home: Path) -> pa.Table:
    facts = Lake(home, "late").table("raw", "cases", FACTS)
    days = [FIRST + dt.timedelta(days=i) for i in range(3)]
    for day in days:
        facts.publish(day, pa.Table.from_pylist([r for r in rows if r["day"] == day], FACTS))
    return m.arrivals(catalog, Engine(), {"cases": facts}, days)


def state(rows: Sequence[dict[str, Any]], until: dt.datetime) -> list[dict[str, Any]]:
    """Rows as they were known just before an instant."""
    return [
        r for r in rows if r["ingested_at"] < until and (r["superseded_at"] is None or r["superseded_at"] >= until)
    ]  # fmt: skip


def expected(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Every part of every metric, counted by hand."""
    known = [r for r in rows if r["wrong"] is not None]
    return {
        ("filed", "numerator"): len(rows),
        ("creators", "numerator"): len({r["creator"] for r in rows if r["wrong"]}),
        ("wrong_rate", "numerator"): sum(bool(r["wrong"]) for r in rows),
        ("wrong_rate", "denominator"): len(known),
        ("hours_mean", "numerator"): sum(r["hours"] or 0 for r in rows),
        ("hours_mean", "denominator"): len(rows),
        ("hours_p90", "numerator"): sum(r["hours"] is not None for r in rows),
        ("hours_p90", "denominator"): len(rows),
        ("wrong_weighted", "numerator"): sum(r["weight"] for r in known if r["wrong"]),
        ("wrong_weighted", "denominator"): sum(r["weight"] for r in known),
        ("per_visit", "numerator"): len(rows),
    }


@settings(max_examples=25, deadline=None)
@given(deliveries)
def test_arrivals_up_to_an_age_add_up_to_what_was_known_then(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, rows: list[Version]
) -> None:
    facts = facts_rows(rows)
    found = arrivals_of(catalog, facts, tmp_path_factory.mktemp("lake")).to_pylist()
    for day in {r["day"] for r in facts}:
        own = [r for r in facts if r["day"] == day]
        for age in range(8):
            until = dt.datetime.combine(day + dt.timedelta(days=age + 1), MIDNIGHT)
            grown: dict[tuple[str, str], float] = defaultdict(float)
            for row in found:
                if row["day"] == day and row["age"] <= age:
                    grown[row["metric"], row["part"]] += row["amount"]
            for key, wanted in expected(state(own, until)).items():
                assert grown[key] == wanted, (key, age)
    assert all(r["amount"] != 0 for r in found)


@settings(max_examples=15, deadline=None)
@given(deliveries, st.randoms())
def test_the_order_of_rows_does_not_matter(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, rows: list[Version], random: Any
) -> None:
    facts = facts_rows(rows)
    once = arrivals_of(catalog, facts, tmp_path_factory.mktemp("lake"))
    random.shuffle(facts)
    assert arrivals_of(catalog, facts, tmp_path_factory.mktemp("lake")).equals(once)


@settings(max_examples=5, deadline=None)
@given(deliveries.filter(bool), st.lists(st.integers(0, 2), min_size=40, max_size=40), st.randoms())
def test_however_versions_are_divided_among_files_the_arrivals_are_the_same(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, rows: list[Version], file_of: list[int], random: Any
) -> None:
    """Files in any order, some of them twice, some rows in two of them."""
    table = catalog.table("cases")
    columns = [c.name for c in table.columns]
    given_rows = [{name: row[name] for name in columns} for row in facts_rows(rows)]
    files = [[r for r, f in zip(given_rows, file_of, strict=False) if f in (i, 2)] for i in range(2)]
    order = [*files, *random.sample(files, 1)]
    random.shuffle(order)
    found = []
    for delivered in ([given_rows], order):
        lake = Lake(tmp_path_factory.mktemp("lake"), "late")
        landing, facts = Landing(lake, catalog), lake.table("raw", "cases", facts_schema(table))
        for i, part in enumerate(delivered):
            path = lake.root / f"cases-{i}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in part), encoding="utf-8")
            if part:
                landing.receive(path, table="cases")
        days = [FIRST + dt.timedelta(days=i) for i in range(3)]
        derive(facts_derivation(landing, Engine(), table, facts), days)
        found.append(m.arrivals(catalog, Engine(), {"cases": facts}, days))
    assert found[0].num_rows > 0
    assert found[1].equals(found[0])


def test_tables_without_versions_have_no_arrivals(catalog: Catalog, tmp_path: Path) -> None:
    assert m.versioned(catalog)
    assert not m.versioned(load_catalog("eu_dsa"))
    rows = arrivals_of(catalog, facts_rows([Version(0, 0, 5, "a", 1.0, True, 1)]), tmp_path).to_pylist()
    assert {(r["metric"], r["part"]) for r in rows if r["metric"] == "per_visit"} == {("per_visit", "numerator")}


# The chain ladder

CURVE = np.array([0.1, 0.4, 0.7, 0.85, 0.95, 0.99, 1.0])


def triangle(totals: np.ndarray, curve: np.ndarray, hidden: float) -> np.ndarray:
    """(days, ages): cumulative sums; what lies in the future holds ``hidden``."""
    n = len(totals)
    full = np.ones(n)
    full[: min(n, len(curve))] = curve[:n]
    grown = totals[:, None] * full
    grown[np.add.outer(np.arange(n), np.arange(n)) > n - 1] = hidden
    return grown


@settings(max_examples=60)
@given(st.lists(st.integers(1, 10_000), min_size=7, max_size=40), st.floats(-1e6, 1e6))
def test_the_true_curve_is_recovered_whatever_the_days_totals_and_the_future(totals: list[int], hidden: float) -> None:
    found = m.chain_ladder(triangle(np.array(totals, float), CURVE, hidden))
    np.testing.assert_allclose(found[: len(CURVE)], CURVE, rtol=1e-9)
    assert (found[len(CURVE) :] == 1).all()


def test_days_cut_off_on_the_right_bias_nothing() -> None:
    """Volumes double every ten days, so most of what was counted is young: a plain share of the newest is far off."""
    random, found, plain = np.random.default_rng(3), [], []
    steps = np.diff(CURVE, prepend=0)
    for _ in range(200):
        totals = np.round(40 * 2 ** (np.arange(40) / 10)).astype(int)
        grown = np.cumsum([np.pad(random.multinomial(t, steps), (0, 33)) for t in totals], axis=1).astype(float)
        newest = grown[np.arange(40), 39 - np.arange(40)]
        plain.append(grown[:, 1].sum() / newest.sum())
        grown[np.add.outer(np.arange(40), np.arange(40)) > 39] = np.nan
        found.append(m.chain_ladder(np.nan_to_num(grown, nan=-1e9))[: len(CURVE)])
    error = np.std(found, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(found, axis=0) - CURVE) <= 4 * error + 1e-9).all()
    assert abs(np.mean(plain) - CURVE[1]) > 0.05


def test_a_sum_that_shrinks_again_has_a_share_above_one() -> None:
    found = m.chain_ladder(triangle(np.full(10, 100.0), np.array([0.5, 1.2, 1.1, 1.0]), 0.0))
    np.testing.assert_allclose(found[:4], [0.5, 1.2, 1.1, 1.0])


def test_nothing_by_the_end_of_the_day_is_a_share_of_zero_and_no_data_a_share_of_one() -> None:
    np.testing.assert_allclose(m.chain_ladder(triangle(np.full(5, 9.0), np.array([0.0, 1.0]), 7.0)), [0, 1, 1, 1, 1])
    assert (m.chain_ladder(np.zeros((4, 4))) == 1).all()


# Curves of days


def arriving(catalog: Catalog, days: int, per_day: dict[str, Sequence[float]]) -> pa.Table:
    """``metric.part`` -> amounts by age, the same every day."""
    rows = [
        {"day": FIRST + dt.timedelta(days=d), "metric": key.split(".")[0], "part": key.split(".")[1], "age": age,
         "amount": float(amount)}
        for d in range(days) for key, amounts in per_day.items() for age, amount in enumerate(amounts) if amount
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, ARRIVALS)


LATE = {
    "filed.numerator": [90, 10],
    "wrong_rate.numerator": [0, 10, 10, 10, 10],
    "wrong_rate.denominator": [100],
    "wrong_weighted.numerator": [1, 2, 3],
    "wrong_weighted.denominator": [10, 20, 30],
}


def curve(rows: pa.Table, day: dt.date, metric: str, part: str) -> list[float]:
    found = [r for r in rows.to_pylist() if (r["day"], r["metric"], r["part"]) == (day, metric, part)]
    assert [r["age"] for r in found] == list(range(len(found)))
    assert all(r["of_day"] == day - dt.timedelta(days=r["age"]) for r in found)
    return [round(r["share"], 6) for r in found]


def test_a_value_is_as_far_as_its_numerator_is_ahead_of_its_denominator(catalog: Catalog) -> None:
    day = FIRST + dt.timedelta(days=29)
    rows = m.maturity(catalog, arriving(catalog, 30, LATE), [day])
    assert curve(rows, day, "filed", "numerator") == curve(rows, day, "filed", "value") == [0.9, 1.0]
    assert curve(rows, day, "wrong_rate", "numerator") == [0, 0.25, 0.5, 0.75, 1]
    assert curve(rows, day, "wrong_rate", "denominator") == [1]
    assert curve(rows, day, "wrong_rate", "value") == [0, 0.25, 0.5, 0.75, 1]
    assert curve(rows, day, "wrong_weighted", "numerator") == [0.166667, 0.5, 1]
    assert curve(rows, day, "wrong_weighted", "value") == [1]  # both arrive at one pace: right from the start


def test_a_day_is_judged_by_what_had_arrived_by_then(catalog: Catalog) -> None:
    """A replay gives what living through it gave, also where later arrivals tell another story."""
    day = FIRST + dt.timedelta(days=20)
    rows = arriving(catalog, 40, LATE)
    arrived = [r for r in rows.to_pylist() if r["day"] + dt.timedelta(days=r["age"]) <= day]
    later = [r | {"amount": 1e6} for r in rows.to_pylist() if r["day"] + dt.timedelta(days=r["age"]) > day]
    then = m.maturity(catalog, pa.Table.from_pylist(arrived, ARRIVALS), [day])
    assert m.maturity(catalog, pa.Table.from_pylist(arrived + later, ARRIVALS), [day]).equals(then)


def test_days_at_once_and_days_one_by_one_give_the_same(catalog: Catalog, tmp_path: Path) -> None:
    lake = Lake(tmp_path, "late")
    arrivals, table = lake.table("metrics", "arrivals", ARRIVALS), lake.table("metrics", "maturity", m.MATURITY)
    days = [FIRST + dt.timedelta(days=i) for i in range(70)]
    rows = arriving(catalog, 70, LATE)
    for day, part in m.split_by_day(rows, days):
        arrivals.publish(day, part)
    derive(m.maturity_derivation(catalog, arrivals, table), days)
    for day in (days[0], days[1], days[59], days[69]):
        window = [day - dt.timedelta(days=i) for i in range(m.WINDOW - 1, -1, -1)]
        assert table.read([day]).equals(m.maturity(catalog, arrivals.read(window), [day]))
    assert table.read([days[0]]).num_rows > 0


def test_horizons_that_the_curves_contradict_are_named(catalog: Catalog) -> None:
    day = FIRST + dt.timedelta(days=39)
    [late] = m.too_short(catalog, m.maturity(catalog, arriving(catalog, 40, LATE), [day]))
    assert (late.metric, late.horizon, late.needed) == ("wrong_rate", 3, 4)
    assert str(late) == ("wrong_rate: at its horizon of 3 days its value is at 75 % of the final one; it needs 4 days")


def test_the_assets_warn_of_a_short_horizon_and_draw_what_is_late(catalog: Catalog, tmp_path: Path) -> None:
    """A quarter of the cases is known to be wrong on the fourth day only; the horizons are three days and one."""
    lake = Lake(tmp_path, "late")
    facts = {"cases": lake.table("raw", "cases", FACTS)}
    arrivals, table = lake.table("metrics", "arrivals", ARRIVALS), lake.table("metrics", "maturity", m.MATURITY)
    days = [FIRST + dt.timedelta(days=i) for i in range(40)]
    for i, day in enumerate(days):
        versions = [Version(case, i, 1, "a", 1.0, False, 1) for case in range(20)]
        versions += [Version(case, i, 24 + case // 5 * 24, "a", 1.0, True, 1) for case in range(20)]
        last = dt.datetime.combine(days[-1] + dt.timedelta(days=1), MIDNIGHT)
        rows = facts_rows([v for v in versions if v.arrived < last])
        facts["cases"].publish(day, pa.Table.from_pylist(rows, FACTS))
    derive(m.arrivals_derivation(catalog, Engine(), facts, arrivals), days)
    assets = maturity_assets(catalog, daily(catalog), facts, arrivals, table)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            assets,
            instance=instance,
            partition_key=days[-1].isoformat(),
            resources={"duckdb": DuckDBResource(database=":memory:")},
        )
        assert done.success
        [checked] = done.get_asset_check_evaluations()
        assert (checked.check_name, checked.passed, checked.severity) == ("horizon", False, dg.AssetCheckSeverity.WARN)
        said = checked.metadata["all"].records  # type: ignore[attr-defined]
        assert {r.data["metric"]: r.data["needed"] for r in said} == {"wrong_rate": 4, "wrong_weighted": 4}
        assert str(checked.metadata["for example"].value).startswith("wrong_weighted: at its horizon of 1 day ")
        [shown] = [e for e in done.get_asset_materialization_events() if e.asset_key.path[-1] == "maturity"]
        picture = shown.materialization.metadata["metrics that are late"].value
        assert str(picture).startswith("![Share of the value that is in by age")
    assert maturity_assets(load_catalog("eu_dsa"), daily(catalog), facts, arrivals, table) == []
