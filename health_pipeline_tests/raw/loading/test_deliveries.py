"""The table of deliveries: every unit that has ever delivered, every day, judged from the days before."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics.cube import split_by_day
from health_pipeline.raw.loading.deliveries import derivation, judged, verdicts, volumes
from health_pipeline.raw.schema import DELIVERIES, facts_schema
from health_pipeline.stats.delivery import RETIRED, State, judge
from health_pipeline.storage.derive import Derived, derive
from health_pipeline.storage.engine import Engine, date_range
from health_pipeline.storage.lake import Lake
from health_pipeline.tables import Tables

CATALOG = load_catalog("eu_dsa")
STATEMENTS = CATALOG.tables[0]
ENGINE = Engine()
FIRST = dt.date(2025, 3, 1)


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def facts_of(date: dt.date, **volume: int) -> pa.Table:
    """A day on which these units filed so many statements; ``category`` rows must not count towards the volume."""
    rows = [
        {"day": date, "platform": unit, "attribute": attribute, "value": value, "statements": count}
        for unit, count in volume.items()
        for attribute, value in (("category", "STATEMENT_CATEGORY_OTHER"), ("rows", "all"))
    ]
    return pa.Table.from_pylist(rows, schema=facts_schema(STATEMENTS))


@pytest.fixture
def folder(workplace: Path) -> Path:
    """In memory: durability is not what these tests are about."""
    return Path(tempfile.mkdtemp(dir=workplace))


@pytest.fixture
def tables(folder: Path) -> Tables:
    """Two units that deliver 1,000 and 50 a day, for twelve days."""
    tables = Tables.of(Lake(folder, "eu_dsa"), CATALOG)
    for i in range(12):
        tables.facts["statements"].publish(day(i), facts_of(day(i), Ada=1_000, Bob=50))
    return tables


def update(tables: Tables, days: list[dt.date]) -> Derived:
    return derive(derivation(CATALOG, ENGINE, tables.facts, tables.deliveries), days)


def found(tables: Tables, unit: str) -> list[str]:
    return [row["finding"] for row in tables.deliveries.read().to_pylist() if row["unit"] == unit]


def row(tables: Tables, date: dt.date, unit: str) -> dict[str, object]:
    return next(r for r in tables.deliveries.read([date]).to_pylist() if r["unit"] == unit)


def test_volumes_are_what_the_catalog_counts(tables: Tables) -> None:
    assert volumes(CATALOG, ENGINE, tables.facts, [day(0), day(1), day(99)]) == {
        day(0): {"statements": {"Ada": 1_000.0, "Bob": 50.0}},
        day(1): {"statements": {"Ada": 1_000.0, "Bob": 50.0}},
    }


def test_a_unit_is_judged_from_its_first_delivery_on_and_on_every_day_after(tables: Tables) -> None:
    days = date_range(day(0), day(15))
    for i in range(12, 16):
        tables.facts["statements"].publish(day(i), facts_of(day(i), Ada=1_000, **({"New": 7} if i == 13 else {})))
    update(tables, days)
    assert found(tables, "Ada") == ["complete"] * 16
    assert found(tables, "Bob") == ["complete"] * 12 + ["missing"] * 4
    assert found(tables, "New") == ["complete", "missing", "missing"]
    assert tables.deliveries.read().schema == DELIVERIES


def test_a_hole_remembers_its_first_day(tables: Tables) -> None:
    for i, ada in ((12, 5), (13, 0), (14, 300), (15, 1_700), (16, 1_000)):
        tables.facts["statements"].publish(day(i), facts_of(day(i), Bob=50, **({"Ada": ada} if ada else {})))
    update(tables, date_range(day(0), day(16)))
    held = [row(tables, day(i), "Ada") for i in range(12, 17)]
    assert [r["finding"] for r in held] == ["empty", "missing", "partial", "backlog", "settling"]
    assert [r["incomplete_since"] for r in held] == [day(12)] * 5
    assert [r["volume"] for r in held] == [5.0, None, 300.0, 1_700.0, 1_000.0]
    assert {r["expected"] for r in held} == {1_000.0}
    assert found(tables, "Bob") == ["complete"] * 17


def test_on_a_day_on_which_the_whole_source_is_silent_every_unit_is_missing(tables: Tables) -> None:
    tables.facts["statements"].publish(day(12), facts_of(day(12)))
    tables.facts["statements"].publish(day(13), facts_of(day(13), Ada=1_900, Bob=50))
    update(tables, date_range(day(0), day(13)))
    assert found(tables, "Ada")[-2:] == ["missing", "backlog"]
    assert found(tables, "Bob")[-2:] == ["missing", "complete"]
    assert row(tables, day(12), "Ada")["volume"] is None, "no day of zeros"
    assert row(tables, day(12), "Ada")["owed"] == 1_000.0


def test_a_unit_that_retired_stays_retired_when_the_whole_source_is_silent(tables: Tables) -> None:
    last = 12 + RETIRED + 3
    for i in range(12, last):
        tables.facts["statements"].publish(day(i), facts_of(day(i), Bob=50))
    for i in (last, last + 2):
        tables.facts["statements"].publish(day(i), facts_of(day(i)))
    tables.facts["statements"].publish(day(last + 1), facts_of(day(last + 1), Bob=50))
    update(tables, date_range(day(0), day(last + 2)))
    assert found(tables, "Ada") == ["complete"] * 12 + ["missing"] * RETIRED + ["retired"] * 6
    assert found(tables, "Bob")[-3:] == ["missing", "complete", "missing"]


def test_the_first_days_before_anyone_delivered_are_empty() -> None:
    assert verdicts(CATALOG, day(0), DELIVERIES.empty_table(), {}).num_rows == 0


def test_later_deliveries_change_no_earlier_verdict_and_recompute_none(tables: Tables) -> None:
    update(tables, date_range(day(0), day(11)))
    before = [tables.deliveries.partition(day(i)) for i in range(12)]
    for i in range(12, 20):
        tables.facts["statements"].publish(day(i), facts_of(day(i), Bob=500))
    assert update(tables, date_range(day(0), day(19))).computed == date_range(day(12), day(19))
    assert [tables.deliveries.partition(day(i)) for i in range(12)] == before


def test_a_corrected_day_is_judged_again_with_the_days_that_remember_it(tables: Tables) -> None:
    tables.facts["statements"].publish(day(10), facts_of(day(10), Bob=50))
    days = date_range(day(0), day(11))
    update(tables, days)
    assert found(tables, "Ada")[-2:] == ["missing", "complete"]
    tables.facts["statements"].publish(day(10), facts_of(day(10), Ada=1_000, Bob=50))
    assert update(tables, days).computed == [day(10), day(11)]
    assert found(tables, "Ada") == ["complete"] * 12


def test_tiktoks_outage_stands_in_the_table(folder: Path) -> None:
    days = date_range(dt.date(2024, 5, 1), dt.date(2024, 6, 25))
    rows = pq.read_table(CATALOG.sample)
    rows = rows.filter(pc.and_(pc.equal(rows["attribute"], "rows"), pc.is_in(rows["day"], pa.array(days))))
    tables = Tables.of(Lake(folder, "eu_dsa"), CATALOG)
    for date, part in split_by_day(rows.sort_by("day"), days):
        tables.facts["statements"].publish(date, part)
    update(tables, days)
    held = {r["day"]: r for r in tables.deliveries.read().to_pylist() if r["unit"] == "TikTok"}
    state, judged = State(), []
    for date in days:
        finding, state = judge(state, held[date]["volume"])
        judged.append(finding)
    assert [held[date]["finding"] for date in days] == judged, "the table forgets nothing of the state"
    outage = [held[dt.date(2024, 6, n)] for n in range(4, 15)]
    assert {r["finding"] for r in outage} == {"missing", "empty", "partial"}
    assert {r["incomplete_since"] for r in outage} == {dt.date(2024, 6, 4)}
    assert [held[dt.date(2024, 6, n)]["finding"] for n in (18, 19)] == ["backlog", "backlog"]
    assert [r["day"] for r in outage if r["volume"] is None] == date_range(dt.date(2024, 6, 5), dt.date(2024, 6, 9))


MARKETPLACE = load_catalog("marketplace")
"""``orders`` come every day; ``reports`` are sparse; both have versions."""


@pytest.fixture
def many(folder: Path) -> Tables:
    """Two markets with 100 orders a day each, and 20 and 2 reports a day, for twelve days."""
    tables = Tables.of(Lake(folder, "marketplace"), MARKETPLACE)
    for i in range(12):
        put(tables, i, "orders", ID=100, SG=100)
        put(tables, i, "reports", ID=20, SG=2)
    return tables


def put(tables: Tables, number: int, table: str, superseded: int = 0, **rows: int) -> None:
    """So many current rows of each market on a day, and for each market some that were superseded."""
    schema = tables.facts[table].schema
    noon = dt.datetime.combine(day(number), dt.time(12))
    held = [
        {"day": day(number), "market": market, "superseded_at": noon if i < superseded else None}
        for market, count in rows.items()
        for i in range(count + superseded)
    ]
    tables.facts[table].publish(day(number), pa.Table.from_pylist(held, schema=schema))


def judge_all(tables: Tables, last: int) -> dict[tuple[str, str], list[str]]:
    """Findings by table and unit, day by day."""
    step = derivation(MARKETPLACE, ENGINE, tables.facts, tables.deliveries)
    derive(step, date_range(day(0), day(last)))
    findings: dict[tuple[str, str], list[str]] = {}
    for held in tables.deliveries.read().to_pylist():
        findings.setdefault((held["table"], held["unit"]), []).append(held["finding"])
    return findings


def test_each_table_is_judged_by_itself(many: Tables) -> None:
    put(many, 12, "orders", SG=100)
    put(many, 12, "reports", ID=20, SG=2)
    findings = judge_all(many, 12)
    assert findings["orders", "ID"] == ["complete"] * 12 + ["missing"]
    assert findings["orders", "SG"] == findings["reports", "ID"] == findings["reports", "SG"] == ["complete"] * 13
    assert set(findings) == {(t, u) for t in ("orders", "reports") for u in ("ID", "SG")}


def test_a_unit_of_a_sparse_table_had_nothing_to_tell_if_the_table_was_delivered(many: Tables) -> None:
    for number in (12, 13):
        put(many, number, "orders", ID=100, SG=100)
    put(many, 12, "reports", ID=20)  # nothing in Singapore
    many.facts["reports"].publish(day(13), many.facts["reports"].schema.empty_table())  # nothing at all
    findings = judge_all(many, 13)
    assert findings["reports", "SG"] == ["complete"] * 13 + ["missing"]
    assert findings["reports", "ID"] == ["complete"] * 13 + ["missing"]
    held = [r for r in many.deliveries.read([day(12)]).to_pylist() if r["table"] == "reports"]
    assert {r["unit"]: (r["volume"], r["incomplete_since"]) for r in held} == {"ID": (20.0, None), "SG": (0.0, None)}
    silent = [r for r in many.deliveries.read([day(13)]).to_pylist() if r["table"] == "reports"]
    assert {r["volume"] for r in silent} == {None}


def test_versions_that_were_superseded_add_nothing_to_the_volume(many: Tables) -> None:
    put(many, 12, "orders", superseded=100, ID=1, SG=100)
    put(many, 12, "reports", ID=20, SG=2)
    findings = judge_all(many, 12)
    assert findings["orders", "ID"][-1] == "empty"
    assert findings["orders", "SG"][-1] == "complete"


def test_what_lasts_or_is_known_ahead_is_not_judged() -> None:
    names = {t.name for t in judged(MARKETPLACE)}
    assert {t.name for t in MARKETPLACE.tables} - names == {"shops", "products", "policy_events", "calendar"}


def test_the_wave_of_a_late_row_ends_where_the_verdicts_are_as_they_were(many: Tables) -> None:
    for number in range(12, 20):
        put(many, number, "orders", ID=100, SG=100)
        put(many, number, "reports", ID=20, SG=2)
    judge_all(many, 19)
    put(many, 12, "orders", superseded=7, ID=100, SG=100)
    step = derivation(MARKETPLACE, ENGINE, many.facts, many.deliveries)
    result = derive(step, date_range(day(0), day(19)))
    assert (result.computed, result.changed) == ([day(12)], [])
