"""The series of an incident is told as it was judged, and says where it is not all in yet."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.incidents.series import DAYS_BEFORE, Course, Sources, course, courses
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.schema import facts_schema
from health_pipeline.stats.bins import PER_E_FOLD
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline.tables import Tables
from health_pipeline_tests.conftest import LAST, Built

MARKET = load_catalog("marketplace")
COUNT, SHARE, QUANTILE = "confirmed_violations", "automation_rate", "minutes_to_action_p50"
HORIZON = MARKET.metric(COUNT).horizon
NEWEST = dt.date(2026, 9, 28)
ONSET = NEWEST - dt.timedelta(days=9)
FIRST = ONSET - dt.timedelta(days=DAYS_BEFORE)
NONE, PARTIAL = NEWEST - dt.timedelta(days=40), NEWEST - dt.timedelta(days=45)
SEGMENT = "market=ID"


def back(days: int) -> dt.date:
    return NEWEST - dt.timedelta(days=days)


def published(table: LakeTable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as partitions of the lake; columns that do not matter are null."""
    for day in sorted({row["day"] for row in rows}):
        own = [dict.fromkeys(table.schema.names) | dict(row) for row in rows if row["day"] == day]
        table.publish(day, pa.Table.from_pylist(own, schema=table.schema))


def incident(metric: str = COUNT, **changes: Any) -> Incident:
    values: dict[str, Any] = {
        "day": NEWEST, "id": f"id-{metric}", "kind": "shift", "family": "f", "unit": "ID", "state": "ongoing",
        "first_reported": back(5), "last_reported": NEWEST, "headline_reported": NEWEST, "onset": ONSET,
        "onset_low": ONSET, "onset_high": ONSET, "series": f"{metric}|{SEGMENT}", "metric": metric, "segment": SEGMENT,
        "shape": "level", "direction": "up", "expected": 10.0, "observed": 20.0, "change": 1.0, "change_low": 0.8,
        "change_high": 1.2, "excess": 10.0, "q_value": 0.0, "tested": 1,
    }  # fmt: skip
    return Incident(**values | changes)


def cube_row(day: dt.date, metric: str, numerator: float, denominator: float | None = None) -> dict[str, Any]:
    return {"day": day, "metric": metric, "segment": SEGMENT, "unit": "ID", "whole": SEGMENT,
            "numerator": numerator, "denominator": denominator}  # fmt: skip


def band_row(day: dt.date, value_day: dt.date, observed: float, expected: float) -> dict[str, Any]:
    return {"day": day, "value_day": value_day, "series": f"{COUNT}|{SEGMENT}", "metric": COUNT, "segment": SEGMENT,
            "observed": observed, "expected": expected, "low": 0.8 * expected, "high": 1.2 * expected,
            "judged": True}  # fmt: skip


def delivery(day: dt.date, table: str, finding: str = "complete") -> dict[str, Any]:
    return {"day": day, "table": table, "unit": "ID", "finding": finding, "owed": 0.0, "silent": 0, "recent": []}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A marketplace's lake: 10 violations a day, 20 since the onset; none on ``NONE``, and on ``PARTIAL`` only part was
    delivered. Bands of the last four weeks, each day's expecting one more than that of the day before.
    """
    found = Tables.of(Lake(tmp_path, "marketplace"), MARKET)
    days = [FIRST + dt.timedelta(days=n) for n in range((NEWEST - FIRST).days + 1)]
    bins = [int(math.log(seconds) * PER_E_FOLD) for seconds in (60, 120, 900)]
    published(found.cube, [cube_row(d, COUNT, 10.0 if d < ONSET else 20.0) for d in days if d != NONE]
              + [cube_row(d, SHARE, 300.0, 400.0) for d in days]
              + [cube_row(d, QUANTILE, 90.0, 90.0) for d in days])  # fmt: skip
    published(found.histograms, [
        {"day": d, "metric": QUANTILE, "segment": SEGMENT, "unit": "ID", "bin": at, "count": 30}
        for d in days for at in bins
    ])  # fmt: skip
    known = {t for name in (COUNT, SHARE, QUANTILE) for t in MARKET.tables_of(MARKET.metric(name))}
    published(found.deliveries, [delivery(d, t, "partial" if d == PARTIAL else "complete")
                                 for d in days for t in sorted(known)])  # fmt: skip
    published(found.bands, [
        band_row(d, d - dt.timedelta(days=HORIZON), 21.0, 100.0 + n)
        for n, d in enumerate(back(28 - i) for i in range(29))
    ])  # fmt: skip
    return found


def sources(found: Tables) -> Sources:
    return Sources(found.bands, found.cube, found.histograms, found.deliveries, found.maturity, found.facts)


def told(found: Tables, metric: str = COUNT, **changes: Any) -> Course:
    return course(MARKET, sources(found), incident(metric, **changes), NEWEST)


def test_every_day_is_told_from_eight_weeks_before_the_onset_to_the_newest(tables: Tables) -> None:
    days = [p.day for p in told(tables).points]
    assert days == [FIRST + dt.timedelta(days=n) for n in range((NEWEST - FIRST).days + 1)]


def test_a_day_has_the_band_of_the_day_on_which_it_was_judged(tables: Tables) -> None:
    by_day = {p.day: p for p in told(tables).points}
    for judged in (back(28), back(9), NEWEST):
        row = next(r for r in tables.bands.read([judged]).to_pylist())
        point = by_day[row["value_day"]]
        assert row["value_day"] == judged - dt.timedelta(days=HORIZON)
        assert (point.observed, point.expected, point.low, point.high) == (
            row["observed"], row["expected"], row["low"], row["high"]
        )  # fmt: skip


def test_a_band_does_not_change_when_a_day_is_judged_again_later(tables: Tables) -> None:
    value_day = back(10)
    before = next(p for p in told(tables).points if p.day == value_day)
    again = back(2)
    rows = [*tables.bands.read([again]).to_pylist(), band_row(again, value_day, 99.0, 999.0)]
    published(tables.bands, rows)
    assert next(p for p in told(tables).points if p.day == value_day) == before


def test_before_it_was_followed_a_series_is_told_without_a_band(tables: Tables) -> None:
    first = told(tables).points[0]
    assert (first.observed, first.expected, first.low, first.high) == (10.0, None, None, None)


def test_the_youngest_days_are_told_as_they_stand_and_said_to_be_immature(tables: Tables) -> None:
    found = told(tables)
    assert found.immature_from == back(HORIZON - 1)
    young = [p for p in found.points if p.day >= found.immature_from]
    assert [(p.observed, p.expected) for p in young] == [(20.0, None)] * HORIZON


def test_what_was_learned_of_late_rows_reaches_farther_back_than_the_horizon(tables: Tables) -> None:
    shares = (0.2, 0.6, 0.8, 0.9, 0.99, 1.0)
    published(tables.maturity, [
        {"day": NEWEST, "metric": COUNT, "part": "value", "age": age, "of_day": back(age), "share": share}
        for age, share in enumerate(shares)
    ])  # fmt: skip
    assert told(tables).immature_from == back(3), "three days later a tenth is still missing"


def test_what_does_not_change_any_more_has_no_tail(tables: Tables) -> None:
    catalog = load_catalog("eu_dsa")
    assert {m.horizon for m in catalog.metrics} == {0}
    lake = Tables.of(Lake(tables.cube.folder.parents[2], "eu_dsa"), catalog)
    segment = "platform=Ada"
    row = cube_row(NEWEST, "statements", 5.0) | {"segment": segment, "whole": segment, "unit": "Ada"}
    published(lake.cube, [row])
    published(lake.deliveries, [delivery(NEWEST, "statements") | {"unit": "Ada"}])
    seen = incident("statements", series=f"statements|{segment}", segment=segment, unit="Ada")
    found = course(catalog, sources(lake), seen, NEWEST)
    assert [p.observed for p in found.points] == [5.0]
    assert found.immature_from is None


def test_a_zero_is_told_from_a_day_without_data(tables: Tables) -> None:
    by_day = {p.day: p.observed for p in told(tables).points}
    assert (by_day[NONE], by_day[PARTIAL], by_day[back(50)]) == (0.0, None, 10.0)


def test_shares_and_quantiles_are_told_in_their_own_unit(tables: Tables) -> None:
    share, quantile = ([p.observed for p in told(tables, m).points if p.day != PARTIAL] for m in (SHARE, QUANTILE))
    assert set(share) == {0.75}
    assert all(value == pytest.approx(120.0, rel=0.05) for value in quantile)


def test_several_incidents_are_told_as_each_alone(tables: Tables) -> None:
    seen = [incident(), incident(SHARE, onset=back(3)), incident(QUANTILE, onset=back(60))]
    together = courses(MARKET, sources(tables), seen, NEWEST)
    assert together == {i.id: course(MARKET, sources(tables), i, NEWEST) for i in seen}


def test_known_events_and_announced_changes_that_concern_it_are_named(tables: Tables) -> None:
    table = MARKET.table("policy_events")
    instant = dt.datetime(2026, 9, 20, tzinfo=dt.UTC)
    plain = {"event_id": "e", "policy": "counterfeit", "event_kind": "expand", "effective_at": instant,
             "ingested_at": instant, "day": back(8)}  # fmt: skip
    rows = [
        plain | {"event_id": "1", "markets": "ID,TH", "title": "Counterfeit: wider in Indonesia"},
        plain | {"event_id": "2", "markets": "VN", "title": "Counterfeit: wider in Vietnam"},
        plain | {"event_id": "3", "markets": "ID", "title": "What was planned first", "superseded_at": instant},
    ]
    facts = LakeTable(tables.facts["policy_events"].folder, facts_schema(table))
    published(facts, rows)
    events = told(tables).events
    assert [e.title for e in events if e.day == back(8)] == ["Counterfeit: wider in Indonesia"]
    calendar = [e.title for e in MARKET.events if FIRST <= e.day <= NEWEST]
    assert calendar and [e.title for e in events if e.day != back(8)] == calendar
    assert [e.day for e in events] == sorted(e.day for e in events)


def test_a_hole_in_the_data_and_an_unknown_series_have_no_course(tables: Tables) -> None:
    assert told(tables, kind="data", series="", metric="", segment="") == Course(())
    assert told(tables, segment="market=SG", series=f"{COUNT}|market=SG").points == ()


def test_the_series_of_the_bundled_ecosystem_are_what_their_bands_say(little: Path, built: Built) -> None:
    pipeline = Pipeline.of(str(little), built.home)
    found = [i for i in from_table(pipeline.tables.incidents.read([LAST])) if i.kind == "shift"]
    assert found
    together = courses(pipeline.catalog, pipeline.series_sources, found, LAST)
    for seen in found:
        bands = pipeline.tables.bands.read(columns=["value_day", "series", "observed", "expected", "low", "high"])
        own = {row["value_day"]: row for row in bands.to_pylist() if row["series"] == seen.series}
        points = {p.day: dataclasses.asdict(p) for p in together[seen.id].points}
        judged = [day for day in own if day in points]
        assert len(judged) >= 30
        for day in judged:
            row = own[day]
            assert all(points[day][name] == row[name] for name in ("observed", "expected", "low", "high")), day
