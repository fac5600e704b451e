"""All seven types of metric over two little tables, against pandas; and what holds for any facts.

The two tables share creators and dimensions. Values are drawn so that every case occurs: superseded versions, segments
without a denominator, unknown labels and dimensions, open cases, a bar in a name.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics import cube as cube_module
from health_pipeline.metrics.compiler import Plan, compile_cube
from health_pipeline.metrics.cube import batches, compute, derivation, split_by_day
from health_pipeline.metrics.reconcile import (
    bad_denominators,
    disagreements,
    histogram_mismatches,
    total_mismatches,
)
from health_pipeline.metrics.schema import CUBE, HISTOGRAMS
from health_pipeline.raw.schema import facts_schema
from health_pipeline.stats.bins import OPEN, quantile
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake, LakeTable

ENGINE = Engine()
DAYS = [dt.date(2026, 7, 1), dt.date(2026, 7, 2)]
DIMENSIONS = ("market", "kind", "reason")
Frames = dict[str, pd.DataFrame]

ECOSYSTEM = "name: two_tables\ntitle: T\ndescription: d\nstart: 2026-07-01\n"
TABLES = """
tables:
  - name: visits
    title: Visits
    description: d
    key: [visit_id]
    day: seen_at
    delivered_by: market
    version: ingested_at
    cluster: creator_id
    columns:
      - {name: visit_id, type: text, description: d}
      - {name: creator_id, type: text, description: d}
      - {name: market, type: text, description: d}
      - {name: kind, type: text, description: d}
      - {name: seen_at, type: timestamp, description: d}
      - {name: views, type: integer, description: d}
      - {name: seconds, type: number, description: d}
      - {name: ingested_at, type: timestamp, description: d}
  - name: sales
    title: Sales
    description: d
    key: [sale_id]
    day: sold_at
    delivered_by: market
    cluster: creator_id
    columns:
      - {name: sale_id, type: text, description: d}
      - {name: creator_id, type: text, description: d}
      - {name: market, type: text, description: d}
      - {name: kind, type: text, description: d}
      - {name: reason, type: text, required: false, description: d}
      - {name: buyer, type: text, description: d}
      - {name: sold_at, type: timestamp, description: d}
      - {name: value, type: number, description: d}
      - {name: paid, type: boolean, description: d}
      - {name: hours, type: number, required: false, description: d}
      - {name: chance, type: number, description: d}
      - {name: label, type: boolean, required: false, description: d}
"""
METRICS = """
unit: market
dimensions:
  - {name: market, title: Market}
  - {name: kind, title: Kind}
  - {name: reason, title: Reason}
segments: [[], [market], [kind], [reason], [market, kind], [kind, reason], [market, kind, reason]]
metrics:
"""
HEAD = "title: M, description: d, unit: things, bad: up, owner: o, family: f"
DECLARED = {
    "sales": "type: count, table: sales, numerator: {sum: '1'}",
    "live_value": "type: count, table: sales, numerator: {sum: value, where: kind = 'live' AND market <> 'SG'}",
    "buyers": "type: count, table: sales, numerator: {distinct: buyer, where: paid}",
    "sales_per_buyer": "type: mean, table: sales, numerator: {sum: '1', where: paid}, "
    "denominator: {distinct: buyer, where: paid}",
    "sales_per_view": "type: rate, numerator: {table: sales, sum: '1'}, denominator: {table: visits, sum: views}",
    "paid_rate": "type: proportion, table: sales, numerator: {sum: '1', where: paid}, denominator: {sum: '1'}",
    "reason_share": "type: proportion, table: sales, numerator: {sum: '1'}, denominator: {sum: '1'}, "
    "by: [market, reason], over: [market]",
    "value_per_view": "type: ratio, numerator: {table: sales, sum: value, where: paid}, "
    "denominator: {table: visits, sum: views}",
    "seconds_per_view": "type: ratio, table: visits, numerator: {sum: seconds}, denominator: {sum: views}",
    "hours_p50": "type: quantile, table: sales, quantile: {of: hours, level: 0.5, where: paid, open: true}",
    "hours_p90": "type: quantile, table: sales, quantile: {of: hours, level: 0.9}",
    "labelled": "type: weighted, table: sales, numerator: {sum: value, where: label}, weight: chance, "
    "denominator: {sum: value, where: paid}",
    "mean_value": "type: weighted, table: sales, numerator: {sum: value, where: paid}, weight: chance",
    "labelled_by_reason": "type: weighted, table: sales, weight: chance, by: [market, reason], over: [market], "
    "numerator: {sum: CASE WHEN label THEN 1 ELSE 0 END, where: label IS NOT NULL}",
    "hours_per_sale": "type: mean, table: sales, numerator: {sum: hours}, denominator: {sum: '1', where: hours > 0}",
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("catalog")
    metrics = "".join(f"  - {{name: {name}, {HEAD}, {text}}}\n" for name, text in DECLARED.items())
    for name, text in (("ecosystem", ECOSYSTEM), ("tables", TABLES), ("metrics", METRICS + metrics)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return load_catalog(str(folder))


@pytest.fixture(scope="module")
def plan(catalog: Catalog) -> Plan:
    return compile_cube(catalog)


def drawn(rng: np.random.Generator, rows: int) -> Frames:
    """Facts of the two tables."""
    creators = rng.integers(0, 40, (2, rows))

    def common(which: int) -> dict[str, object]:
        return {
            "creator_id": [f"u{c}" for c in creators[which]],
            "cluster": creators[which] % 13,
            "market": rng.choice(["ID", "TH", "S|G"], rows),
            "day": rng.choice(DAYS, rows),
        }

    def missing(values: np.ndarray, share: float) -> np.ndarray:
        return np.where(rng.random(rows) < share, None, values.astype(object))

    at = pd.Timestamp(2026, 7, 1)
    visits = pd.DataFrame(common(0)).assign(
        visit_id=[f"v{i}" for i in range(rows)],
        kind=rng.choice(["video", "live"], rows),
        seen_at=at,
        ingested_at=at,
        views=rng.integers(0, 50, rows),
        seconds=rng.lognormal(3, 2, rows),
        superseded_at=np.where(rng.random(rows) < 0.2, at, pd.NaT),
    )
    sales = pd.DataFrame(common(1)).assign(
        sale_id=[f"s{i}" for i in range(rows)],
        kind=rng.choice(["video", "live", "post"], rows),  # a post is never visited
        reason=missing(rng.choice(["fraud", "other"], rows), 0.3),
        buyer=[f"b{b}" for b in rng.integers(0, 30, rows)],
        sold_at=at,
        value=rng.lognormal(2, 1, rows) / 3,
        paid=rng.random(rows) < 0.6,
        hours=missing(np.where(rng.random(rows) < 0.1, 0.0, rng.lognormal(2, 2, rows)), 0.25),
        chance=1 / rng.uniform(0.01, 1, rows),
        label=missing(rng.random(rows) < 0.3, 0.4),
    )
    return {"visits": visits, "sales": sales}


def published(catalog: Catalog, folder: Path, frames: Frames, days: Sequence[dt.date] = DAYS) -> dict[str, LakeTable]:
    lake, facts = Lake(folder, "two_tables"), {}
    for name, frame in frames.items():
        schema = facts_schema(catalog.table(name))
        facts[name] = lake.table("raw", name, schema)
        rows = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
        for day in days:
            facts[name].publish(day, rows.filter(pc.equal(rows["day"], pa.scalar(day, pa.date32()))))
    return facts


# What each metric means, in pandas. A part of a segment gives numerator, denominator, and the moments' y and x by row
# or by cluster.


@dataclass(frozen=True)
class Wanted:
    numerator: float | None
    denominator: float | None = None
    moments: tuple[int, float, float | None, float | None] | None = None


def moments(y: pd.Series, x: pd.Series) -> tuple[int, float, float, float]:
    both = pd.DataFrame({"y": y, "x": x})
    n = len(both.dropna(how="all"))
    both = both.fillna(0.0)
    return n, (both.y**2).sum(), (both.x**2).sum(), (both.y * both.x).sum()


def total(values: pd.Series) -> float | None:
    return float(values.sum()) if len(values) else None


def clustered(frame: pd.DataFrame, column: str) -> pd.Series:
    return frame.groupby("cluster")[column].sum().astype(float)


def sizes(frame: pd.DataFrame) -> pd.Series:
    """Rows of each cluster."""
    return frame.groupby("cluster").size().astype(float)


def quotient(top: float | None, bottom: float | None, *more: object) -> Wanted | None:
    return Wanted(top or 0.0, bottom, *more) if bottom is not None and bottom > 0 else None  # type: ignore[arg-type]


def weighted(frame: pd.DataFrame, y: pd.Series, x: pd.Series) -> Wanted | None:
    frame, y, x = frame.reset_index(drop=True), y.reset_index(drop=True), x.reset_index(drop=True)
    known = y.notna() & x.notna()
    wy, wx = (frame.chance * y.astype(float))[known], (frame.chance * x.astype(float))[known]
    held = (len(wy), (wy**2).sum(), (wx**2).sum(), (wy * wx).sum())
    return Wanted(wy.sum(), wx.sum(), held) if wx.sum() > 0 else None


def count(values: pd.Series, by_cluster: pd.Series) -> Wanted | None:
    held = (len(by_cluster), float((by_cluster**2).sum()), None, None)
    return Wanted(float(values.sum()), None, held) if len(values) else None


def labelled(s: pd.DataFrame) -> Wanted | None:
    y = pd.Series(
        [np.nan if lab is None else v if lab else 0.0 for lab, v in zip(s.label, s.value, strict=True)], dtype=float
    )
    return weighted(s, y, s.value.where(s.paid))


MEANINGS: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Wanted | None]] = {
    "sales": lambda v, s: count(pd.Series(1.0, s.index), sizes(s)),
    "live_value": lambda v, s: count(
        s.value[(s.kind == "live") & (s.market != "SG")],
        clustered(s[(s.kind == "live") & (s.market != "SG")], "value"),
    ),
    "buyers": lambda v, s: Wanted(float(s.buyer[s.paid].nunique())) if len(s) else None,
    "sales_per_buyer": lambda v, s: quotient(float(s.paid.sum()), float(s.buyer[s.paid].nunique())),
    "sales_per_view": lambda v, s: quotient(float(len(s)), total(v.views), moments(sizes(s), clustered(v, "views"))),
    "paid_rate": lambda v, s: quotient(float(s.paid.sum()), float(len(s)), moments(sizes(s[s.paid]), sizes(s))),
    "value_per_view": lambda v, s: quotient(
        total(s.value[s.paid]), total(v.views), moments(clustered(s[s.paid], "value"), clustered(v, "views"))
    ),
    "seconds_per_view": lambda v, s: quotient(
        total(v.seconds), total(v.views), moments(clustered(v, "seconds"), clustered(v, "views"))
    ),
    "hours_p50": lambda v, s: quotient(float(s.hours[s.paid].notna().sum()), float(s.paid.sum())),
    "hours_p90": lambda v, s: quotient(float(s.hours.notna().sum()), float(s.hours.notna().sum())),
    "labelled": lambda v, s: labelled(s),
    "mean_value": lambda v, s: weighted(s, s.value.where(s.paid), pd.Series(1.0, s.index)),
    "hours_per_sale": lambda v, s: quotient(
        total(s.hours.dropna().astype(float)),
        float((s.hours.dropna().astype(float) > 0).sum()),
        moments(clustered(s[s.hours.notna()], "hours"), sizes(s[s.hours.astype(float) > 0])),
    ),
}
MOMENTS = ("n", "numerator_sq", "denominator_sq", "product")
OF_VISITS = {"sales_per_view", "value_per_view", "seconds_per_view"}
CUTS = [(), ("market",), ("kind",), ("reason",), ("market", "kind"), ("kind", "reason"), ("market", "kind", "reason")]


def within(frame: pd.DataFrame, segment: dict[str, str]) -> pd.DataFrame:
    for name, value in segment.items():
        frame = frame[frame[name] == value]
    return frame


def expected(frames: Frames) -> dict[tuple[dt.date, str, str], tuple[str, str, Wanted]]:
    """(day, metric, segment) -> unit, whole, values."""
    visits, sales = frames["visits"], frames["sales"]
    visits = visits[visits.superseded_at.isna()].assign(market=visits.market.str.replace("|", "/"))
    sales = sales.assign(market=sales.market.str.replace("|", "/"))
    found = {}
    for day in DAYS:
        v_day, s_day = visits[visits.day == day], sales[sales.day == day]
        for cut in CUTS:
            values = s_day[list(cut)].dropna().drop_duplicates().to_dict("records") if cut else [{}]
            for segment in values:
                name = "|".join(f"{d}={segment[d]}" for d in cut)
                for metric, means in MEANINGS.items():
                    if metric in OF_VISITS and "reason" in cut:
                        continue
                    v = within(v_day, segment) if "reason" not in cut else v_day
                    wanted = means(v, within(s_day, segment))
                    if wanted is not None:
                        found[day, metric, name] = (segment.get("market", "all"), name, wanted)
        for (market, reason), s in s_day.dropna(subset=["reason"]).groupby(["market", "reason"]):
            of, name = within(s_day, {"market": market}), f"market={market}|reason={reason}"
            found[day, "reason_share", name] = (market, f"market={market}", Wanted(float(len(s)), float(len(of))))
            inside, known = s[s.label.notna()], of[of.label.notna()]
            wy = inside.chance * inside.label.astype(float)
            held = (len(known), (wy**2).sum(), (known.chance**2).sum(), (wy * inside.chance).sum())
            if len(inside):
                found[day, "labelled_by_reason", name] = (
                    market, f"market={market}", Wanted(wy.sum(), known.chance.sum(), held)
                )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def frames() -> Frames:
    return drawn(np.random.default_rng(5), 900)


@pytest.fixture(scope="module")
def facts(catalog: Catalog, frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LakeTable]:
    return published(catalog, tmp_path_factory.mktemp("lake"), frames)


@pytest.fixture(scope="module")
def computed(plan: Plan, facts: dict[str, LakeTable]) -> tuple[pa.Table, pa.Table]:
    return compute(plan, ENGINE, facts, DAYS)


def test_every_type_of_metric_equals_pandas_in_every_segment(
    frames: Frames, computed: tuple[pa.Table, pa.Table]
) -> None:
    wanted = expected(frames)
    found = {(row["day"], row["metric"], row["segment"]): row for row in computed[0].to_pylist()}
    assert {metric for _, metric, _ in wanted} == set(DECLARED)
    assert found.keys() == wanted.keys()
    for key, (unit, whole, values) in wanted.items():
        row = found[key]
        assert (row["unit"], row["whole"]) == (unit, whole), key
        assert row["numerator"] == pytest.approx(values.numerator, rel=1e-9, abs=1e-9), key
        for columns, told in ((("denominator",), values.denominator), (MOMENTS, values.moments)):
            wants = told if isinstance(told, tuple) else (told,) * len(columns)
            for name, want in zip(columns, wants, strict=True):
                same = None if want is None else pytest.approx(want, rel=1e-9, abs=1e-6)
                assert row[name] == same, (*key, name)


def test_histograms_count_every_case_and_tell_the_quantile(frames: Frames, computed: tuple[pa.Table, pa.Table]) -> None:
    rows = computed[1].to_pandas()
    sales = frames["sales"]
    for day in DAYS:
        for kind in ("video", "live", "post"):
            case = sales[(sales.day == day) & (sales.kind == kind)]
            for metric, some, level in (("hours_p50", case[case.paid], 0.5), ("hours_p90", case, 0.9)):
                held = rows[(rows.day == day) & (rows.metric == metric) & (rows.segment == f"kind={kind}")]
                hours = some.hours.astype(float)
                is_open = metric == "hours_p50"
                assert held["count"][held.bin == OPEN].sum() == (hours.isna().sum() if is_open else 0)
                assert held["count"].sum() == (len(hours) if is_open else hours.notna().sum())
                ordered = np.sort(hours.fillna(np.inf) if is_open else hours.dropna())
                told = quantile(held.bin.to_numpy(np.int64), held["count"].to_numpy(float), level)
                true = ordered[int(np.ceil(level * len(ordered) - 1e-9)) - 1]
                assert told.low * (1 - 1e-9) <= true <= told.high * (1 + 1e-9)


def test_the_cube_of_honest_facts_passes_every_check(
    catalog: Catalog, facts: dict[str, LakeTable], computed: tuple[pa.Table, pa.Table]
) -> None:
    cube, histograms = computed
    assert disagreements(catalog, ENGINE, cube) == []
    assert [d for d in bad_denominators(catalog, ENGINE, cube) if d.metric != "labelled"] == []
    assert histogram_mismatches(ENGINE, cube, histograms) == []
    assert total_mismatches(catalog, ENGINE, facts, cube, DAYS) == []


def changed(rows: pa.Table, metric: str, segment: str, column: str) -> pa.Table:
    """One number of the first day raised by one."""
    records = rows.to_pylist()
    [hit] = [r for r in records if (r["day"], r["metric"], r["segment"]) == (DAYS[0], metric, segment)]
    hit[column] += 1
    return pa.Table.from_pylist(records, schema=rows.schema)


@pytest.mark.parametrize(
    ("metric", "segment", "column"),
    [
        ("sales", "market=ID|kind=live", "numerator"),
        ("sales", "kind=post", "numerator"),
        ("paid_rate", "market=ID", "denominator"),
        ("value_per_view", "market=ID|kind=live", "denominator"),
        ("mean_value", "market=TH|kind=live", "numerator"),
        ("hours_p90", "kind=live", "denominator"),
    ],
)
def test_a_segment_that_is_not_the_sum_of_its_parts_is_found(
    catalog: Catalog, computed: tuple[pa.Table, pa.Table], metric: str, segment: str, column: str
) -> None:
    found = disagreements(catalog, ENGINE, changed(computed[0], metric, segment, column))
    assert {(d.day, d.metric) for d in found} == {(DAYS[0], metric)}
    parts = set(segment.split("|"))
    assert all(set(d.segment.split("|")) <= parts or d.segment == "" for d in found)


@pytest.mark.parametrize(
    ("metric", "segment", "column"),
    [
        ("buyers", "market=S/G", "numerator"),
        ("buyers", "", "numerator"),
        ("value_per_view", "market=ID", "numerator"),
        ("value_per_view", "", "denominator"),
        ("labelled", "market=TH", "denominator"),
        ("hours_p50", "", "numerator"),
    ],
)
def test_a_total_that_is_not_in_the_facts_is_found(
    catalog: Catalog,
    facts: dict[str, LakeTable],
    computed: tuple[pa.Table, pa.Table],
    metric: str,
    segment: str,
    column: str,
) -> None:
    [found] = total_mismatches(catalog, ENGINE, facts, changed(computed[0], metric, segment, column), DAYS)
    assert found.startswith(f"2026-07-01 {metric}")
    assert f"of {segment.removeprefix('market=') or 'all'}: " in found


def test_a_histogram_that_lost_a_bin_is_found(computed: tuple[pa.Table, pa.Table]) -> None:
    cube, histograms = computed
    [lost] = histogram_mismatches(ENGINE, cube, histograms.slice(1))
    assert (lost.day, lost.metric, lost.segment) == tuple(
        histograms.slice(0, 1).to_pylist()[0][c] for c in CUBE.names[:3]
    )


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([1, 3, 60, 2_000]))
def test_the_order_of_rows_does_not_change_a_single_bit(
    catalog: Catalog, plan: Plan, tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = drawn(rng, size)
    shuffled = {name: frame.sample(frac=1, random_state=seed) for name, frame in frames.items()}
    one, other = (
        compute(plan, ENGINE, published(catalog, tmp_path_factory.mktemp("lake"), f), DAYS) for f in (frames, shuffled)
    )
    assert one[0].equals(other[0])
    assert one[1].equals(other[1])


@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 10_000))
def test_a_day_follows_from_its_own_facts_alone(
    catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """A late row changes its day's cube and no other; and a day computed alone is what it is among others."""
    folder = tmp_path_factory.mktemp("lake")
    frames = drawn(np.random.default_rng(seed), 80)
    facts = published(catalog, folder, frames)
    lake = Lake(folder, "two_tables")
    cube, histograms = lake.table("metrics", "cube", CUBE), lake.table("metrics", "histograms", HISTOGRAMS)
    step = derivation(catalog, ENGINE, facts, cube, histograms)
    derive(step, DAYS)
    before = [cube.partition(day) for day in DAYS]
    late = frames["sales"].iloc[[0]].assign(day=DAYS[1], sale_id="late", value=1e-9)
    published(catalog, folder, frames | {"sales": pd.concat([frames["sales"], late])})
    assert derive(step, DAYS).computed == [DAYS[1]]
    after = [cube.partition(day) for day in DAYS]
    assert before[0] == after[0]
    assert before[1].content != after[1].content  # type: ignore[union-attr]
    together = compute(compile_cube(catalog), ENGINE, facts, DAYS)[0]
    for day, rows in split_by_day(together, DAYS):
        assert rows.equals(cube.read([day]))


def test_a_value_far_below_a_cent_is_not_lost_in_a_large_sum(catalog: Catalog, plan: Plan, tmp_path: Path) -> None:
    frames = drawn(np.random.default_rng(1), 200)
    frames["sales"] = frames["sales"].assign(day=DAYS[0], value=[1e9, 1e-9] * 100)
    cube = compute(plan, ENGINE, published(catalog, tmp_path, frames), DAYS)[0].to_pandas()
    row = cube[(cube.metric == "mean_value") & (cube.segment == "")]
    assert len(row) == 1
    live = frames["sales"][frames["sales"].kind == "live"]
    [value] = cube[(cube.metric == "live_value") & (cube.segment == "kind=live")].numerator
    assert value == 1e9 * (live.value == 1e9).sum() + 1e-9 * (live.value == 1e-9).sum()


def test_a_value_too_large_for_exact_squares_stops_nothing(catalog: Catalog, plan: Plan, tmp_path: Path) -> None:
    frames = drawn(np.random.default_rng(1), 200)
    frames["sales"] = frames["sales"].assign(day=DAYS[0], kind="live", market="ID", value=[5e14] + [1.0] * 199)
    cube = compute(plan, ENGINE, published(catalog, tmp_path, frames), DAYS)[0].to_pandas()
    [row] = cube[(cube.metric == "live_value") & (cube.segment == "")].to_dict("records")
    assert row["numerator"] == 5e14 + 199
    assert row["numerator_sq"] == pytest.approx(2.5e29, rel=1e-9)


def test_without_any_facts_the_cube_is_empty(catalog: Catalog, plan: Plan, tmp_path: Path) -> None:
    nothing = {name: frame.iloc[:0] for name, frame in drawn(np.random.default_rng(1), 3).items()}
    cube, histograms = compute(plan, ENGINE, published(catalog, tmp_path, nothing), DAYS)
    assert (cube.num_rows, histograms.num_rows) == (0, 0)
    assert cube.schema == CUBE
    assert histograms.schema == HISTOGRAMS


def test_each_fact_table_is_scanned_once_for_all_its_sums(plan: Plan) -> None:
    scans = [s.name for s in plan.statements if "FROM facts_" in s.sql]
    assert sorted(scans) == ["fine_bins_sales_hours", "fine_sales", "fine_values_sales_buyer", "fine_visits"]
    assert all(s.sql.count("FROM facts_") == 1 for s in plan.statements if s.name in scans)


@pytest.mark.parametrize("ecosystem", ["eu_dsa", "marketplace", "two_tables"])
def test_the_sql_needs_nothing_but_the_portable_subset(ecosystem: str, catalog: Catalog) -> None:
    declared = catalog if ecosystem == "two_tables" else load_catalog(ecosystem)
    keywords = {"and", "or", "in", "as", "when", "then", "else", "sets", "from", "where", "select", "by", "join", "on",
                "not", "case", "having", "decimal"}  # fmt: skip
    functions = {"sum", "max", "count", "coalesce", "grouping", "lower", "cast", "replace", "floor", "ln"}
    for statement in compile_cube(declared).statements:
        sql = re.sub(r"'[^']*'", "''", statement.sql).lower()
        called = set(re.findall(r"\b([a-z_]+)\s*\(", sql)) - keywords
        assert called <= functions, statement.name
        assert set(re.findall(r"[^\w\s,.()']+", sql)) <= {"*", "=", ">", "<", ">=", "<=", "<>", "||", "+", "-"}
        assert not re.search(r"\b(filter|qualify|exclude|pivot|unnest|lateral|varchar|ilike|regexp\w*)\b", sql)


def test_the_version_follows_the_meaning_and_nothing_else(catalog: Catalog) -> None:
    first, *others = catalog.metrics
    plan = compile_cube(catalog)

    def version(**changes: object) -> str:
        metrics = (first.model_copy(update=changes), *others)
        return compile_cube(catalog.model_copy(update={"metrics": metrics})).version

    assert version(title="Other", owner="someone", minimum_denominator=5.0, horizon=9) == plan.version
    numerator = first.numerator
    assert numerator is not None
    assert version(numerator=numerator.model_copy(update={"where": "paid"})) != plan.version
    fewer = catalog.model_copy(update={"segments": catalog.segments[:-1]})
    assert compile_cube(fewer).version != plan.version


def test_days_are_computed_together_up_to_so_many_rows(
    facts: dict[str, LakeTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [*DAYS, dt.date(2026, 7, 3)]
    rows = sum(table.partition(DAYS[0]).rows for table in facts.values())  # type: ignore[union-attr]
    assert list(batches(facts, days)) == [days]
    assert list(batches(facts, days, rows)) == [[DAYS[0]], days[1:]]
    assert list(batches(facts, days, 1)) == [[DAYS[0]], [DAYS[1]], [days[2]]]
    monkeypatch.setattr(cube_module, "BATCH_DAYS", 2)
    assert [len(b) for b in batches(facts, days)] == [2, 1]


def test_cuts_with_the_same_dimensions_in_another_order_are_named_in_their_own(
    catalog: Catalog, facts: dict[str, LakeTable]
) -> None:
    first, *_ = catalog.metrics
    both = tuple(first.model_copy(update={"name": f"m{i}", "by": by}) for i, by in enumerate(
        (("market", "kind"), ("kind", "market")))
    )  # fmt: skip
    plan = compile_cube(catalog.model_copy(update={"metrics": both}))
    rows = compute(plan, ENGINE, facts, DAYS)[0].to_pandas()
    one, other = (rows[rows.metric == m.name] for m in both)
    assert set(one.segment) == {"|".join(reversed(s.split("|"))) for s in other.segment}
    assert sorted(one.numerator) == sorted(other.numerator)
    assert len(one) == len(other) == 2 * 3 * 3  # days, markets, kinds of sales
