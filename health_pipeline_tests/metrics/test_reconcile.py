"""A wrong cube is found out: against itself, and against the facts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics.compiler import compile_cube
from health_pipeline.metrics.cube import compute, split_by_day
from health_pipeline.metrics.reconcile import Disagreement, bad_denominators, disagreements, total_mismatches
from health_pipeline.metrics.schema import CUBE
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline.tables import Tables

CATALOG = load_catalog("eu_dsa")
ENGINE = Engine()
DAYS = [dt.date(2025, 7, 1), dt.date(2025, 7, 2)]
CATEGORY = "platform=TikTok|category=STATEMENT_CATEGORY_PROTECTION_OF_MINORS"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LakeTable]:
    rows = pq.read_table(CATALOG.sample)
    rows = rows.filter(pc.is_in(rows["day"], pa.array(DAYS, pa.date32()))).sort_by("day")
    facts = Tables.of(Lake(tmp_path_factory.mktemp("lake"), "eu_dsa"), CATALOG).facts
    for day, part in split_by_day(rows, DAYS):
        facts["statements"].publish(day, part)
    return facts


@pytest.fixture(scope="module")
def honest(facts: dict[str, LakeTable]) -> pa.Table:
    return compute(compile_cube(CATALOG), ENGINE, facts, DAYS)[0]


def tampered(rows: pa.Table, metric: str, segment: str, **changes: Any) -> pa.Table:
    """The cube with changes to one row of the first day; ``drop=True`` leaves it out."""
    out = []
    for row in rows.to_pylist():
        hit = (row["day"], row["metric"], row["segment"]) == (DAYS[0], metric, segment)
        if hit and changes.get("drop"):
            continue
        out.append(row | changes if hit else row)
    changed = pa.Table.from_pylist(out, schema=CUBE)
    assert not changed.equals(rows)
    return changed


def findings(facts: dict[str, LakeTable], rows: pa.Table) -> tuple[list[Disagreement], list[Disagreement], list[str]]:
    return (
        disagreements(CATALOG, ENGINE, rows),
        bad_denominators(CATALOG, ENGINE, rows),
        total_mismatches(CATALOG, ENGINE, facts, rows, DAYS),
    )


def test_an_honest_cube_passes(facts: dict[str, LakeTable], honest: pa.Table) -> None:
    assert findings(facts, honest) == ([], [], [])


def test_a_part_that_is_missing_or_wrong_is_found_with_what_was_expected(
    facts: dict[str, LakeTable], honest: pa.Table
) -> None:
    row = {"metric": "statements_by_category", "segment": CATEGORY}
    whole = next(r["numerator"] for r in honest.to_pylist() if r["metric"] == "statements" and r["unit"] == "TikTok")
    found = disagreements(CATALOG, ENGINE, tampered(honest, **row, drop=True))
    assert found == [Disagreement(DAYS[0], "statements_by_category", "platform=TikTok", whole - 3_379, whole)]
    assert str(found[0]) == "2025-07-01 statements_by_category platform=TikTok: 104,032, expected 107,411"
    assert len(disagreements(CATALOG, ENGINE, tampered(honest, **row, numerator=3_380.0))) == 1


def test_a_whole_without_any_part_is_found(honest: pa.Table) -> None:
    rows = honest.filter(
        pc.invert(pc.and_(pc.equal(honest["metric"], "statements_by_category"), pc.equal(honest["unit"], "TikTok")))
    )
    assert [(d.day, d.found) for d in disagreements(CATALOG, ENGINE, rows)] == [(day, 0.0) for day in DAYS]


def test_a_proportion_above_one_and_a_denominator_of_nothing_are_found(
    facts: dict[str, LakeTable], honest: pa.Table
) -> None:
    above = tampered(honest, "account_terminations", "platform=TikTok", numerator=1e9)
    assert [d.metric for d in findings(facts, above)[1]] == ["account_terminations"]
    for denominator in (0.0, -1.0):
        nothing = tampered(honest, "moderation_delay", "platform=TikTok", denominator=denominator)
        assert [(d.metric, d.wanted) for d in findings(facts, nothing)[1]] == [("moderation_delay", denominator)]


def test_a_mean_may_exceed_one(facts: dict[str, LakeTable], honest: pa.Table) -> None:
    delays = honest.filter(pc.equal(honest["metric"], "moderation_delay"))
    assert pc.any(pc.greater(delays["numerator"], delays["denominator"])).as_py()
    assert bad_denominators(CATALOG, ENGINE, delays) == []


def test_a_total_that_is_not_in_the_facts_is_found(facts: dict[str, LakeTable], honest: pa.Table) -> None:
    rows = tampered(honest, "statements", "platform=TikTok", numerator=107_412.0)
    found = findings(facts, rows)[2]
    assert found == ["2025-07-01 statements of TikTok: cube 107,412, facts 107,411"]


def test_totals_swapped_between_units_are_found(facts: dict[str, LakeTable], honest: pa.Table) -> None:
    rows = tampered(honest, "statements", "platform=TikTok", unit="Pinterest")
    found = "\n".join(findings(facts, rows)[2])
    assert "2025-07-01 statements of TikTok: cube 0, facts 107,411" in found
    assert "2025-07-01 statements of Pinterest: " in found


def test_a_day_of_facts_without_a_cube_is_found(facts: dict[str, LakeTable], honest: pa.Table) -> None:
    rows = honest.filter(pc.equal(honest["day"], pa.scalar(DAYS[1], pa.date32())))
    found = total_mismatches(CATALOG, ENGINE, facts, rows, DAYS)
    assert any(line.startswith("2025-07-01 statements of ") for line in found)
    assert not any(line.startswith("2025-07-02") for line in found)


def test_a_day_of_the_cube_without_facts_is_found(honest: pa.Table, tmp_path: Path) -> None:
    nothing = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG).facts
    found = total_mismatches(CATALOG, ENGINE, nothing, honest, DAYS)
    assert "2025-07-01 statements of TikTok: cube 107,411, facts 0" in found
