"""A hole in the data is an incident from its first day to the end of its backlog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from health_pipeline.incidents.holes import COMPLETE_DAYS
from health_pipeline.incidents.merge import advance
from health_pipeline.incidents.model import Incident
from health_pipeline.stats.delivery import Finding
from health_pipeline_tests.incidents.days import CATALOG, MARKET, TOTAL, Row, day, only, shift

COMPLETE: list[Finding] = ["complete"]


def delivery(unit: str, finding: Finding, since: int | None = None, volume: float | None = 100.0) -> Row:
    return {
        "table": "statements", "unit": unit, "finding": finding,
        "incomplete_since": None if since is None else day(since), "expected": 100.0,
        "volume": None if finding in ("missing", "retired") else volume,
    }  # fmt: skip


def holes(findings: Sequence[Finding], unit: str = "Ada") -> list[list[Incident]]:
    """Incidents of each day of a unit's findings."""
    lived: list[list[Incident]] = []
    incidents: list[Incident] = []
    since: int | None = None
    for number, finding in enumerate(findings):
        since = None if finding == "complete" else number if since is None else since
        rows = [
            delivery(unit, finding, since, volume=150.0 if finding == "backlog" else 30.0),
            delivery("Zoe", "complete"),  # else nobody delivered, and the source were late
        ]
        incidents = advance(CATALOG, day(number), incidents, [], rows, ())
        lived.append(incidents)
    return lived


def test_a_hole_is_one_incident_from_its_first_day_to_the_end_of_its_backlog() -> None:
    findings: list[Finding] = [
        "complete", "empty", "missing", "partial", "complete", "complete", "backlog", "backlog",
        *COMPLETE * (COMPLETE_DAYS + 1),
    ]  # fmt: skip
    lived = holes(findings)
    assert lived[0] == []
    told = [only(incidents) for incidents in lived[1:-1]]
    assert {(i.id, i.onset, i.kind, i.family) for i in told} == {
        ("ada-delivery-2025-03-04", day(1), "data", "delivery")
    }
    assert [i.shape for i in told[:7]] == ["empty", "missing", "partial", "partial", "partial", "backlog", "backlog"]
    assert [i.state for i in told] == ["new", *["ongoing"] * (len(told) - 2), "recovered"]
    assert told[-1].ended == told[-1].day == day(6 + 1 + COMPLETE_DAYS)
    assert told[-1].last_reported == day(7)
    assert lived[-1] == []


def test_the_numbers_of_a_hole_are_what_came_against_what_was_expected() -> None:
    missing, partial, backlog = (only(i) for i in holes(["missing", "partial", "backlog"]))
    assert (missing.observed, missing.expected, missing.change, missing.direction) == (0.0, 100.0, -1.0, "down")
    assert partial.change == pytest.approx(-0.7)
    assert partial.excess == -70.0
    assert (backlog.change, backlog.direction) == (0.5, "up")
    assert missing.members == ()


def test_a_hole_that_never_ends_settles_when_its_unit_retires_and_is_told_once() -> None:
    missing, retired = cast("list[Finding]", ["missing"]), cast("list[Finding]", ["retired"])
    lived = holes(missing * 4 + retired * 3)
    assert [only(i).state for i in lived[:5]] == ["new", "ongoing", "ongoing", "ongoing", "settled"]
    assert lived[5:] == [[], []]


def test_a_hole_of_a_unit_long_retired_or_complete_is_no_incident() -> None:
    assert holes(["complete", "complete"]) == [[], []]
    assert holes(["retired"]) == [[]]


def test_holes_of_two_units_are_two_incidents_and_none_merges_with_a_shift() -> None:
    rows = [delivery("Ada", "missing", 0), delivery("Bob", "empty", 0, volume=1.0)]
    found = advance(CATALOG, day(0), [], [shift(TOTAL)], rows, ())
    assert [(i.kind, i.unit) for i in found] == [("data", "Ada"), ("data", "Bob"), ("shift", "Ada")]
    again = advance(CATALOG, day(1), found, [shift(TOTAL)], rows, ())
    assert [i.id for i in again] == [i.id for i in found]


def test_a_hole_that_was_under_way_before_we_looked_began_when_it_began() -> None:
    rows = [delivery("Ada", "missing", 2), delivery("Zoe", "complete")]
    found = only(advance(CATALOG, day(9), [], [], rows, ()))
    assert (found.onset, found.first_reported) == (day(2), day(9))


def test_a_silence_of_the_whole_source_begins_no_hole_and_ends_none() -> None:
    one = advance(CATALOG, day(0), [], [], [delivery("Ada", "missing", 0), delivery("Bob", "complete")], ())
    both = advance(CATALOG, day(1), one, [], [delivery("Ada", "missing", 0), delivery("Bob", "missing", 1)], ())
    assert [(i.id, i.state) for i in both] == [("ada-delivery-2025-03-03", "ongoing")]


def test_holes_of_two_tables_of_one_unit_are_two_incidents() -> None:
    rows = [
        delivery("VN", "missing", since=0) | {"table": table} for table in ("content_stats", "orders")
    ] + [delivery("ID", "complete") | {"table": table} for table in ("content_stats", "orders")]  # fmt: skip
    found = advance(MARKET, day(0), [], [], rows, ())
    assert [(i.unit, i.table, i.shape) for i in found] == [
        ("VN", "content_stats", "missing"),
        ("VN", "orders", "missing"),
    ]
    assert len({i.id for i in found}) == 2
    rows[0] = delivery("VN", "complete") | {"table": "content_stats"}
    tables = {i.table: i.state for i in advance(MARKET, day(COMPLETE_DAYS), found, [], rows, ())}
    assert tables == {"content_stats": "recovered", "orders": "ongoing"}


def test_a_table_that_is_late_for_every_market_is_no_markets_hole() -> None:
    rows = [delivery(unit, "complete") | {"table": "orders"} for unit in ("ID", "TH")]
    rows += [delivery(unit, "missing", since=0) | {"table": "surveys"} for unit in ("ID", "TH")]
    assert advance(MARKET, day(0), [], [], rows, ()) == []
    rows[-1] = delivery("TH", "complete") | {"table": "surveys"}
    assert [(i.unit, i.table) for i in advance(MARKET, day(0), [], [], rows, ())] == [("ID", "surveys")]
