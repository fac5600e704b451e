"""Shifts that began together are one incident, with an identity and a life; so is a hole in the data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.merge import (
    CARRIED,
    COMPLETE_DAYS,
    EVENT_DAYS,
    QUIET_DAYS,
    REMEMBERED_DAYS,
    TOGETHER_DAYS,
    WORSE,
    advance,
)
from health_pipeline.incidents.model import INCIDENTS, Incident, Member, from_table, to_table
from health_pipeline.stats.delivery import Finding

CATALOG = load_catalog("eu_dsa")
START = dt.date(2025, 3, 3)
TOTAL = "statements|platform=Ada"
ADS = "statements_by_category|platform=Ada|category=ADS"
BUYS = "statements_by_category|platform=Ada|category=BUYS"
ADS_SHARE = "category_share|platform=Ada|category=ADS"
AUTOMATION = "automated_detection_rate|platform=Ada"
SUSPENSIONS = "account_suspensions|platform=Ada"
Row = dict[str, Any]
COMPLETE: list[Finding] = ["complete"]


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def shift(
    series: str, onset: int = 0, change: float = -0.5, expected: float = 1_000.0, uncertain: int = 0, **more: Any
) -> Row:
    """A row of the shifts table; ``uncertain`` widens the onset's interval by so many days on both sides."""
    metric, segment = series.split("|", 1)
    row = {
        "series": series, "metric": metric, "segment": segment,
        "unit": segment.split("|")[0].removeprefix("platform="), "kind": "level",
        "direction": "up" if change > 0 else "down", "onset": day(onset), "onset_low": day(onset - uncertain),
        "onset_high": day(onset + uncertain), "days": 3, "expected": expected, "observed": expected * (1 + change),
        "change": change, "change_low": change - 0.05, "change_high": change + 0.05, "excess": expected * change,
        "q_value": 1e-4, "tested": 100,
    }  # fmt: skip
    return row | more


def delivery(unit: str, finding: Finding, since: int | None = None, volume: float | None = 100.0) -> Row:
    return {
        "table": "statements", "unit": unit, "finding": finding,
        "incomplete_since": None if since is None else day(since), "expected": 100.0,
        "volume": None if finding in ("missing", "retired") else volume,
    }  # fmt: skip


def live(
    shifts: Mapping[int, Sequence[Row]],
    until: int,
    values: Mapping[int, float] | float = 500.0,
    incomplete: Sequence[int] = (),
    series: str = TOTAL,
) -> dict[int, list[Incident]]:
    """Incidents of each day from 0 on; ``values`` are what the series shows, by day or always."""
    lived: dict[int, list[Incident]] = {}
    incidents: list[Incident] = []
    for number in range(until + 1):
        value = values if isinstance(values, float) else values.get(number)
        finding: Finding = "missing" if number in incomplete else "complete"
        deliveries = [delivery("Ada", finding, number), delivery("Bob", "complete")]
        recent = {series: [] if value is None else [value]}
        incidents = advance(CATALOG, day(number), incidents, shifts.get(number, []), deliveries, recent)
        lived[number] = [i for i in incidents if i.kind == "shift"]
    return lived


def only(incidents: Sequence[Incident]) -> Incident:
    assert len(incidents) == 1, [i.id for i in incidents]
    return incidents[0]


def states(lived: Mapping[int, list[Incident]]) -> list[str]:
    return [only(incidents).state if incidents else "-" for incidents in lived.values()]


# What belongs together


def test_the_total_and_its_parts_counts_and_shares_are_one_incident() -> None:
    parts = [shift(BUYS, expected=400.0), shift(ADS, expected=300.0), shift(ADS_SHARE, expected=0.3, excess=-9.0)]
    incident = only(live({0: [*parts, shift(TOTAL)]}, 0)[0])
    assert (incident.series, incident.metric, incident.segment) == (TOTAL, "statements", "platform=Ada")
    assert [m.series for m in incident.members] == [TOTAL, BUYS, ADS, ADS_SHARE]
    assert (incident.family, incident.unit, incident.state) == ("statements", "Ada", "new")
    assert (incident.expected, incident.observed, incident.excess) == (1_000.0, 500.0, -500.0)


def test_two_families_do_not_merge_nor_do_two_units() -> None:
    lived = live({0: [shift(TOTAL), shift(AUTOMATION), shift("statements|platform=Bob")]}, 0)
    assert [(i.unit, i.family) for i in lived[0]] == [
        ("Ada", "automation"),
        ("Ada", "statements"),
        ("Bob", "statements"),
    ]
    assert all(len(i.members) == 1 for i in lived[0])


def test_onsets_a_few_days_apart_belong_together_and_farther_ones_do_not() -> None:
    near = live({9: [shift(TOTAL, 0), shift(ADS, TOGETHER_DAYS)]}, 9)[9]
    far = live({9: [shift(TOTAL, 0), shift(ADS, TOGETHER_DAYS + 1)]}, 9)[9]
    assert len(only(near).members) == 2
    assert [len(i.members) for i in far] == [1, 1]
    assert len({i.id for i in far}) == 2


def test_a_part_that_turns_significant_later_joins_the_incident_with_which_it_began() -> None:
    lived = live({0: [shift(TOTAL, uncertain=1)], 4: [shift(TOTAL, uncertain=1), shift(ADS, TOGETHER_DAYS + 1)]}, 4)
    assert [m.series for m in only(lived[4]).members] == [TOTAL, ADS]
    assert only(lived[4]).id == only(lived[0]).id


def test_of_two_incidents_a_shift_joins_the_one_whose_onset_is_nearer() -> None:
    first, second = shift(TOTAL, 0, uncertain=4), shift(TOTAL, 8, change=-0.95, uncertain=4)
    lived = live({0: [first], 8: [second], 9: [first, second, shift(ADS, 6)]}, 9)
    by_onset = {i.onset: {m.series for m in i.members} for i in lived[9]}
    assert by_onset == {day(0): {TOTAL}, day(8): {TOTAL, ADS}}


def test_the_same_series_stays_in_its_incident_until_it_steps_much_farther() -> None:
    again = shift(TOTAL, 9, change=-0.55)
    assert len(live({0: [shift(TOTAL)], 9: [again]}, 9)[9]) == 1
    much_worse = shift(TOTAL, 9, change=0.5 ** (WORSE + 0.1) - 1)
    worse = live({0: [shift(TOTAL)], 9: [much_worse]}, 9)[9]
    assert [i.state for i in worse if i.first_reported == day(9)] == ["new"]
    the_other_way = live({0: [shift(TOTAL)], 9: [shift(TOTAL, 9, change=0.5)]}, 9)[9]
    assert [i.direction for i in the_other_way if i.first_reported == day(9)] == ["up"]


def test_known_events_near_the_onset_are_shown_and_others_are_not() -> None:
    event = next(e for e in CATALOG.events if e.day == dt.date(2025, 7, 1))

    def shown(days: int) -> tuple[str, ...]:
        onset = (event.day - START).days + days
        return only(advance(CATALOG, day(onset), [], [shift(TOTAL, onset)], [], {})).events

    assert shown(0) == shown(EVENT_DAYS) == shown(-EVENT_DAYS) == (event.title,)
    assert shown(EVENT_DAYS + 1) == shown(-EVENT_DAYS - 1) == ()


# The headline


def test_the_headline_is_the_widest_segment_however_large_its_parts() -> None:
    rows = [shift(ADS, change=-0.99, expected=600.0), shift(TOTAL, expected=10_000.0, change=-0.3)]
    assert only(live({0: rows}, 0)[0]).series == TOTAL


@pytest.mark.parametrize(("carried", "headline"), [(CARRIED + 0.01, ADS), (CARRIED - 0.01, TOTAL)])
def test_a_part_that_carries_most_of_its_whole_is_the_headline(carried: float, headline: str) -> None:
    rows = [shift(TOTAL), shift(ADS, excess=-500.0 * carried)]
    incident = only(live({0: rows}, 0)[0])
    assert incident.series == incident.members[0].series == headline
    assert {m.series for m in incident.members} == {TOTAL, ADS}


def test_a_part_that_moves_against_its_whole_carries_nothing_of_it() -> None:
    rows = [shift(TOTAL), shift(ADS, change=0.9)]
    assert only(live({0: rows}, 0)[0]).series == TOTAL


def test_of_parts_alone_the_weightiest_is_the_headline() -> None:
    rows = [shift(BUYS, expected=5_000.0), shift(ADS), shift(ADS_SHARE, expected=0.1, change=-0.2, excess=-20.0)]
    assert only(live({0: rows}, 0)[0]).series == BUYS


def test_a_headline_stays_with_todays_numbers_while_it_is_significant() -> None:
    lived = live({0: [shift(ADS)], 1: [shift(ADS, change=-0.6), shift(BUYS, expected=90_000.0)]}, 1)
    incident = only(lived[1])
    assert (incident.series, incident.change) == (ADS, -0.6)
    assert [m.series for m in incident.members] == [ADS, BUYS]


def test_a_headline_stays_for_some_days_with_its_last_numbers_when_only_others_are_significant() -> None:
    others = {number: [shift(ADS_SHARE, excess=-9.0), shift(BUYS)] for number in range(1, QUIET_DAYS + 2)}
    lived = live({0: [shift(ADS, change=-0.6)], **others}, QUIET_DAYS + 1)
    stays, gone = only(lived[QUIET_DAYS]), only(lived[QUIET_DAYS + 1])
    assert (stays.series, stays.change, stays.headline_reported) == (ADS, -0.6, day(0))
    assert [m.series for m in stays.members] == [ADS, BUYS, ADS_SHARE], "by size, the headline's segment last"
    assert (gone.series, gone.change) == (BUYS, -0.5)
    assert gone.id == stays.id


def test_a_wider_segment_takes_the_headline_when_it_shifts_too() -> None:
    lived = live({0: [shift(ADS)], 1: [shift(ADS), shift(TOTAL, expected=9_000.0)]}, 1)
    assert [only(lived[number]).series for number in (0, 1)] == [ADS, TOTAL]


# Its life


def test_it_is_new_once_and_ongoing_while_it_is_supported() -> None:
    lived = live({number: [shift(TOTAL)] for number in range(5)}, 4)
    assert states(lived) == ["new"] + ["ongoing"] * 4
    last = only(lived[4])
    assert (last.first_reported, last.last_reported, last.day) == (day(0), day(4), day(4))


def test_it_recovers_when_the_headline_is_back_for_some_days() -> None:
    lived = live(
        {0: [shift(TOTAL)], 1: [shift(TOTAL)]}, 5, values={0: 500.0, 1: 500.0, 2: 950.0, 3: 950.0, 4: 950.0, 5: 950.0}
    )
    assert states(lived) == ["new", "ongoing", "ongoing", "ongoing", "recovered", "recovered"]
    assert [only(lived[n]).ended for n in (3, 4, 5)] == [None, day(4), day(4)]


def test_it_settles_when_the_new_level_stays_without_being_news_any_more() -> None:
    lived = live({0: [shift(TOTAL)]}, QUIET_DAYS, values=520.0)
    assert states(lived) == ["new"] + ["ongoing"] * (QUIET_DAYS - 1) + ["settled"]


def test_half_way_on_the_log_scale_decides_between_back_and_not() -> None:
    half_way = (1_000.0 * 500.0) ** 0.5
    ends = [live({0: [shift(TOTAL)]}, QUIET_DAYS, values=half_way * factor)[QUIET_DAYS] for factor in (1.01, 0.99)]
    assert [only(i).state for i in ends] == ["recovered", "settled"]


def test_a_rise_from_nothing_can_recover_to_nothing() -> None:
    rise = shift(TOTAL, change=1e6, expected=0.0, observed=300.0)
    assert states(live({0: [rise]}, QUIET_DAYS, values=0.0))[-1] == "recovered"


def test_a_spike_is_over_on_the_first_day_that_is_back() -> None:
    spike = shift(TOTAL, kind="spike", days=1)
    assert states(live({0: [spike]}, 2, values=980.0)) == ["new", "recovered", "recovered"]
    assert states(live({0: [spike]}, QUIET_DAYS, values=480.0)) == ["new", "ongoing", "ongoing", "settled"]


def test_it_stays_open_while_its_unit_does_not_deliver_but_not_for_ever() -> None:
    silent = range(1, 30)
    lived = live({0: [shift(TOTAL)]}, 29, values=980.0, incomplete=silent)
    ended = only(lived[4 * QUIET_DAYS + 1])
    assert states(lived)[1 : 4 * QUIET_DAYS + 1] == ["ongoing"] * 4 * QUIET_DAYS
    assert (ended.state, ended.ended) == ("settled", ended.day)


def test_it_is_remembered_for_some_days_after_its_end_and_then_forgotten() -> None:
    lived = live({0: [shift(TOTAL, kind="spike")]}, 20, values=980.0)
    assert [n for n, incidents in lived.items() if incidents] == list(range(REMEMBERED_DAYS + 2))
    assert {only(lived[n]).ended for n in range(1, REMEMBERED_DAYS + 2)} == {day(1)}


def test_what_flares_up_again_soon_is_the_same_incident() -> None:
    again = REMEMBERED_DAYS + 1  # it ends on day 1
    lived = live({0: [shift(TOTAL, kind="spike")], again: [shift(TOTAL, again)]}, again, values=980.0)
    incident = only(lived[again])
    assert incident.id == only(lived[0]).id
    assert (incident.state, incident.ended, incident.first_reported) == ("ongoing", None, day(0))


def test_what_flares_up_long_after_is_another_incident() -> None:
    again = REMEMBERED_DAYS + 2
    lived = live({0: [shift(TOTAL, kind="spike")], again: [shift(TOTAL, again)]}, again, values=980.0)
    incident = only(lived[again])
    assert incident.id != only(lived[0]).id
    assert (incident.state, incident.first_reported) == ("new", day(again))


def test_its_identity_is_readable_stable_and_unique() -> None:
    rows = {n: [shift(TOTAL, min(n, 2))] for n in range(10)}  # the onset moves while more is learned
    lived = live(rows, 9)
    assert {only(incidents).id for incidents in lived.values()} == {"ada-statements-2025-03-03"}
    up_and_down = live({9: [shift(TOTAL, 0), shift(ADS, 5)]}, 9)[9]
    assert [i.id for i in up_and_down] == ["ada-statements-2025-03-03", "ada-statements-2025-03-08"]
    other = shift("statements|platform=Bücher & Co. [DE]")
    assert only(advance(CATALOG, day(0), [], [other], [], {})).id == "b-cher-co-de-statements-2025-03-03"


def test_a_second_incident_with_the_same_onset_gets_a_number() -> None:
    first = shift(TOTAL, 0)
    yesterday = live({0: [first]}, 0)[0]
    moved = [dataclasses.replace(i, onset=day(20), onset_low=day(20), onset_high=day(20)) for i in yesterday]
    found = advance(CATALOG, day(21), moved, [shift(ADS, 0)], [delivery("Ada", "complete")], {})
    assert {i.id for i in found} == {"ada-statements-2025-03-03", "ada-statements-2025-03-03-2"}


SHIFTS = st.builds(
    shift,
    st.sampled_from([TOTAL, ADS, BUYS, ADS_SHARE, AUTOMATION, SUSPENSIONS, "statements|platform=Bob"]),
    st.integers(-20, 0),
    st.floats(-0.95, 5.0).filter(lambda change: abs(change) > 0.1),
    st.floats(1.0, 1e6),
    st.integers(0, 3),
    kind=st.sampled_from(["level", "spike"]),
)
DAYS = st.lists(st.lists(SHIFTS, max_size=4, unique_by=lambda row: row["series"]), min_size=1, max_size=12)


def dated(days: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Shifts with onsets relative to their own day."""
    moved = []
    for number, rows in enumerate(days):
        later = dt.timedelta(days=number)
        moved.append([row | {name: row[name] + later for name in ("onset", "onset_low", "onset_high")} for row in rows])
    return moved


@settings(deadline=None)
@given(DAYS, st.floats(0.0, 1e6))
def test_on_any_history_every_shift_is_in_one_incident_and_no_open_one_is_lost(
    days: list[list[Row]], value: float
) -> None:
    before: list[Incident] = []
    for number, rows in enumerate(dated(days)):
        recent = {series: [value] for series in (TOTAL, ADS, BUYS)}
        today = advance(CATALOG, day(number), before, rows, [delivery("Ada", "complete")], recent)
        ids = [i.id for i in today]
        assert len(set(ids)) == len(ids)
        assert {i.id for i in before if i.is_open} <= set(ids)
        supported = [m.series for i in today if i.last_reported == day(number) for m in i.members]
        assert {row["series"] for row in rows} <= set(supported)
        known = {i.id: i for i in before}
        for incident in today:
            assert incident.day == day(number)
            assert incident.series == incident.members[0].series
            assert incident.is_open == (incident.state in ("new", "ongoing"))
            assert (incident.state == "new") == (incident.id not in known)
            if incident.id in known:
                assert incident.first_reported == known[incident.id].first_reported
            assert incident.first_reported <= incident.headline_reported <= incident.last_reported <= day(number)
            assert len({(CATALOG.metric(m.metric).family, m.segment.split("|")[0]) for m in incident.members}) == 1
        before = today


@settings(deadline=None)
@given(DAYS, st.randoms(use_true_random=False))
def test_the_order_of_the_shifts_does_not_matter(days: list[list[Row]], order: random.Random) -> None:
    one: list[Incident] = []
    other: list[Incident] = []
    for number, rows in enumerate(dated(days)):
        shuffled = rows.copy()
        order.shuffle(shuffled)
        complete = [delivery("Ada", "complete")]
        one = advance(CATALOG, day(number), one, rows, complete, {})
        other = advance(CATALOG, day(number), other, shuffled, complete, {})
        assert other == one


# Holes in the data


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
        incidents = advance(CATALOG, day(number), incidents, [], rows, {})
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
    found = advance(CATALOG, day(0), [], [shift(TOTAL)], rows, {})
    assert [(i.kind, i.unit) for i in found] == [("data", "Ada"), ("data", "Bob"), ("shift", "Ada")]
    again = advance(CATALOG, day(1), found, [shift(TOTAL)], rows, {})
    assert [i.id for i in again] == [i.id for i in found]


def test_a_hole_that_was_under_way_before_we_looked_began_when_it_began() -> None:
    rows = [delivery("Ada", "missing", 2), delivery("Zoe", "complete")]
    found = only(advance(CATALOG, day(9), [], [], rows, {}))
    assert (found.onset, found.first_reported) == (day(2), day(9))


def test_a_silence_of_the_whole_source_begins_no_hole_and_ends_none() -> None:
    one = advance(CATALOG, day(0), [], [], [delivery("Ada", "missing", 0), delivery("Bob", "complete")], {})
    both = advance(CATALOG, day(1), one, [], [delivery("Ada", "missing", 0), delivery("Bob", "missing", 1)], {})
    assert [(i.id, i.state) for i in both] == [("ada-delivery-2025-03-03", "ongoing")]


# On disk


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False)
DATE = st.dates(dt.date(1970, 1, 2), dt.date(2200, 1, 1))
MEMBER = st.builds(
    Member, TEXT, TEXT, TEXT, DATE, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER
)  # fmt: skip
STORED = st.builds(
    Incident,
    day=DATE, id=TEXT, kind=st.sampled_from(["shift", "data"]), family=TEXT, unit=TEXT,
    state=st.sampled_from(["new", "ongoing", "recovered", "settled"]), first_reported=DATE, last_reported=DATE,
    headline_reported=DATE, onset=DATE, onset_low=DATE, onset_high=DATE, series=TEXT, metric=TEXT, segment=TEXT,
    shape=TEXT, direction=TEXT, expected=NUMBER, observed=NUMBER, change=NUMBER, change_low=NUMBER, change_high=NUMBER,
    excess=NUMBER, q_value=NUMBER, tested=st.integers(0, 2**31 - 1), ended=st.none() | DATE,
    members=st.lists(MEMBER, max_size=3).map(tuple), events=st.lists(TEXT, max_size=3).map(tuple),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(STORED, max_size=4))
def test_an_incident_comes_back_from_a_table_as_it_went(incidents: list[Incident]) -> None:
    table = to_table(incidents)
    assert table.schema == INCIDENTS
    assert from_table(table) == incidents


def test_the_columns_are_the_fields() -> None:
    assert INCIDENTS.names == [field.name for field in dataclasses.fields(Incident)]


# Several tables and totals over units

MARKET = load_catalog("marketplace")


def market_shift(series: str, change: float, excess: float) -> Row:
    segment = series.split("|", 1)[1]
    unit = segment.split("|")[0].removeprefix("market=") if segment.startswith("market=") else "all"
    return shift(series, change=change, excess=excess, unit=unit)


def test_holes_of_two_tables_of_one_unit_are_two_incidents() -> None:
    rows = [
        delivery("VN", "missing", since=0) | {"table": table} for table in ("content_stats", "orders")
    ] + [delivery("ID", "complete") | {"table": table} for table in ("content_stats", "orders")]  # fmt: skip
    found = advance(MARKET, day(0), [], [], rows, {})
    assert [(i.unit, i.table, i.shape) for i in found] == [
        ("VN", "content_stats", "missing"),
        ("VN", "orders", "missing"),
    ]
    assert len({i.id for i in found}) == 2
    rows[0] = delivery("VN", "complete") | {"table": "content_stats"}
    tables = {i.table: i.state for i in advance(MARKET, day(COMPLETE_DAYS), found, [], rows, {})}
    assert tables == {"content_stats": "recovered", "orders": "ongoing"}


def test_a_segment_that_carries_most_of_the_total_is_the_headline() -> None:
    total = market_shift("confirmed_violations|", change=0.3, excess=60.0)
    part = market_shift("confirmed_violations|category=beauty", change=1.5, excess=55.0)
    other = market_shift("confirmed_violations|kind=live", change=0.4, excess=20.0)
    incident = only(advance(MARKET, day(0), [], [total, part, other], [], {}))
    assert (incident.unit, incident.series) == ("all", "confirmed_violations|category=beauty")
    assert {m.series for m in incident.members} == {total["series"], part["series"], other["series"]}


def test_an_incident_of_totals_waits_while_any_market_is_incomplete() -> None:
    held = advance(MARKET, day(0), [], [market_shift("views|", change=-0.5, excess=-500.0)], [], {})
    complete = [delivery(unit, "complete") | {"table": "content_stats"} for unit in ("ID", "VN")]
    back = {"views|": [1_000.0, 1_000.0, 1_000.0]}
    hole = [complete[0], delivery("VN", "missing", since=4) | {"table": "content_stats"}]
    waiting = next(i for i in advance(MARKET, day(4), held, [], hole, back) if i.kind == "shift")
    assert waiting.state == "ongoing"
    assert only(advance(MARKET, day(4), held, [], complete, back)).state == "recovered"


def test_a_table_that_is_late_for_every_market_is_no_markets_hole() -> None:
    rows = [delivery(unit, "complete") | {"table": "orders"} for unit in ("ID", "TH")]
    rows += [delivery(unit, "missing", since=0) | {"table": "surveys"} for unit in ("ID", "TH")]
    assert advance(MARKET, day(0), [], [], rows, {}) == []
    rows[-1] = delivery("TH", "complete") | {"table": "surveys"}
    assert [(i.unit, i.table) for i in advance(MARKET, day(0), [], [], rows, {})] == [("ID", "surveys")]


def test_a_hole_in_a_table_that_has_nothing_to_do_with_it_holds_no_incident_open() -> None:
    held = advance(MARKET, day(0), [], [market_shift("views|market=ID", change=-0.5, excess=-500.0)], [], {})
    rows = [
        delivery("ID", "complete") | {"table": "content_stats"},
        delivery("ID", "missing", since=1) | {"table": "surveys"},
        delivery("TH", "complete") | {"table": "surveys"},
    ]
    back = {"views|market=ID": [1_000.0]}
    found = [i for i in advance(MARKET, day(QUIET_DAYS), held, [], rows, back) if i.kind == "shift"]
    assert only(found).state == "recovered"
