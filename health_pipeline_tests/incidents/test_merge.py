"""Shifts that are views of one event are one incident, with root, identity and life; so is a hole in the data."""

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
from health_pipeline.incidents.group import ABSORB_DAYS
from health_pipeline.incidents.holes import COMPLETE_DAYS
from health_pipeline.incidents.links import TOGETHER_DAYS
from health_pipeline.incidents.merge import EVENT_DAYS, REMEMBERED_DAYS, UNJUDGED_DAYS, WORSE_DAYS, advance
from health_pipeline.incidents.model import (
    INCIDENTS,
    Contribution,
    Estimate,
    Explanation,
    Incident,
    Member,
    Reach,
    Suspect,
    from_table,
    to_table,
)
from health_pipeline.incidents.root import CARRIED
from health_pipeline.stats.delivery import Finding

CATALOG = load_catalog("eu_dsa")
MARKET = load_catalog("marketplace")
START = dt.date(2025, 3, 3)
TOTAL = "statements|platform=Ada"
ADS = "statements_by_category|platform=Ada|category=ADS"
BUYS = "statements_by_category|platform=Ada|category=BUYS"
ADS_SHARE = "category_share|platform=Ada|category=ADS"
AUTOMATION = "automated_detection_rate|platform=Ada"
BOB = "statements|platform=Bob"
Row = dict[str, Any]
COMPLETE: list[Finding] = ["complete"]


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def shift(series: str, onset: int = 0, change: float = -0.5, expected: float = 1_000.0, **more: Any) -> Row:
    """A row of the shifts table, reported on the day of its onset unless ``reported`` says otherwise.

    ``uncertain`` widens the onset's interval by so many days on both sides, ``off`` that of the change.
    """
    metric, segment = series.split("|", 1)
    uncertain, off = more.pop("uncertain", 0), more.pop("off", 0.05)
    conditions = dict(part.split("=") for part in segment.split("|") if part)
    row = {
        "series": series, "metric": metric, "segment": segment,
        "unit": conditions.get("platform") or conditions.get("market") or "all", "kind": "level", "state": "ongoing",
        "direction": "up" if change > 0 else "down", "reported_on": day(more.pop("reported", onset)),
        "onset": day(onset), "onset_low": day(onset - uncertain), "onset_high": day(onset + uncertain), "ended": None,
        "days": 3, "expected": expected, "observed": expected * (1 + change), "change": change,
        "change_low": change - off, "change_high": change + off, "numerator": expected * (1 + change),
        "denominator": None, "excess": expected * change, "q_value": 1e-4, "tested": 100,
    }  # fmt: skip
    return row | more


def market(series: str, excess: float, expected: float = 100.0, **more: Any) -> Row:
    """A shift in the marketplace, by what it counts too many of."""
    return shift(series, change=excess / expected, expected=expected, **more)


def delivery(unit: str, finding: Finding, since: int | None = None, volume: float | None = 100.0) -> Row:
    return {
        "table": "statements", "unit": unit, "finding": finding,
        "incomplete_since": None if since is None else day(since), "expected": 100.0,
        "volume": None if finding in ("missing", "retired") else volume,
    }  # fmt: skip


def live(
    shifts: Mapping[int, Sequence[Row]], until: int, catalog: Any = CATALOG, judged: Sequence[str] = ()
) -> dict[int, list[Incident]]:
    """Incidents of each day from 0 on. A shift lasts until its series is given with a state that is not ``ongoing``."""
    lived: dict[int, list[Incident]] = {}
    incidents: list[Incident] = []
    active: dict[tuple[str, dt.date], Row] = {}
    for number in range(until + 1):
        for row in shifts.get(number, []):
            active[row["series"], row["reported_on"]] = row
        incidents = advance(catalog, day(number), incidents, list(active.values()), [], judged)
        active = {key: row for key, row in active.items() if row["state"] in ("new", "ongoing")}
        lived[number] = incidents
    return lived


def only(incidents: Sequence[Incident]) -> Incident:
    assert len(incidents) == 1, [i.id for i in incidents]
    return incidents[0]


def states(lived: Mapping[int, list[Incident]]) -> list[str]:
    return [only(incidents).state if incidents else "-" for incidents in lived.values()]


def groups(rows: Sequence[Row], catalog: Any = MARKET) -> list[set[str]]:
    """Series of each incident of one day, the larger incidents first."""
    found = advance(catalog, day(0), [], rows, [], ())
    return sorted(({m.series for m in i.members} for i in found), key=lambda s: (-len(s), sorted(s)))


# What belongs together


def test_the_total_and_its_parts_counts_and_shares_are_one_incident() -> None:
    parts = [shift(BUYS, expected=400.0), shift(ADS, expected=300.0), shift(ADS_SHARE, expected=0.3, excess=-9.0)]
    incident = only(live({0: [*parts, shift(TOTAL)]}, 0)[0])
    assert (incident.series, incident.metric, incident.segment) == (TOTAL, "statements", "platform=Ada")
    assert [m.series for m in incident.members] == [TOTAL, BUYS, ADS, ADS_SHARE]
    assert (incident.family, incident.unit, incident.state) == ("statements", "Ada", "new")
    assert (incident.expected, incident.observed, incident.excess) == (1_000.0, 500.0, -500.0)
    assert incident.reach == Reach(segments=3, metrics=3, units=("Ada",))


def test_families_of_one_unit_merge_when_they_began_together_and_units_without_a_common_total_do_not() -> None:
    assert groups([shift(TOTAL), shift(AUTOMATION), shift(BOB)], CATALOG) == [{TOTAL, AUTOMATION}, {BOB}]


def test_onsets_a_few_days_apart_belong_together_and_farther_ones_do_not() -> None:
    near = live({9: [shift(TOTAL, 0), shift(ADS, TOGETHER_DAYS)]}, 9)[9]
    far = live({9: [shift(TOTAL, 0), shift(ADS, TOGETHER_DAYS + 1)]}, 9)[9]
    assert len(only(near).members) == 2
    assert [len(i.members) for i in far] == [1, 1]
    assert len({i.id for i in far}) == 2


def test_an_event_in_a_market_and_its_traces_in_all_markets_are_one_incident() -> None:
    wave = [
        market("confirmed_violations|market=ID|category=beauty", 60.0),
        market("confirmed_violations|category=beauty", 62.0, 300.0),
        market("confirmed_violations|policy=counterfeit", 55.0, 200.0),
        market("action_rate|market=ID", 40.0),
        market("prevalence_by_policy|market=ID|policy=counterfeit", 30.0),
    ]
    assert groups(wave) == [{row["series"] for row in wave}]


def test_markets_that_move_at_once_are_one_incident_only_when_their_total_moves_too() -> None:
    parts = [market(f"orders_placed|market={m}", -40.0) for m in ("ID", "TH")]
    total, sum_of_two = market("orders_placed|", -250.0, 600.0), market("orders_placed|", -85.0, 600.0)
    assert [len(g) for g in groups(parts)] == [1, 1]
    assert [len(g) for g in groups([*parts, total])] == [3]
    assert [len(g) for g in groups([*parts, sum_of_two])] == [2, 1], "a total that is only their sum says nothing"


def test_two_events_at_once_in_two_markets_are_two_incidents_though_the_totals_show_both() -> None:
    wave = [
        market("confirmed_violations|market=ID|category=beauty", 30.0, 10.0),
        market("confirmed_violations|market=ID", 31.0, 40.0),
        market("confirmed_violations|category=beauty", 32.0, 40.0),
    ]
    ring = [
        market("confirmed_violations|market=VN|policy=off_platform", 20.0, 2.0),
        market("confirmed_violations|market=VN", 19.0, 30.0),
        market("confirmed_violations|policy=off_platform", 20.0, 9.0),
    ]
    total = market("confirmed_violations|", 51.0, 300.0)
    found = groups([*wave, *ring, total])
    assert len(found) == 2
    assert {r["series"] for r in wave} | {total["series"]} in found
    assert {r["series"] for r in ring} in found


def test_a_part_that_explains_nothing_of_the_total_is_another_incident() -> None:
    total = market("orders_placed|", -400.0, 6_000.0)
    against = market("orders_placed|market=TH", 50.0)
    little = market("orders_placed|market=VN", -30.0)
    assert groups([total, against, little]) == [{s["series"]} for s in (total, against, little)]


def test_a_busy_day_is_not_one_incident() -> None:
    """Each has something in common with the next, and the first nothing with the last."""
    row = [
        market("confirmed_violations|market=ID|category=beauty", 60.0),
        market("gpm|category=beauty", -50.0),
        market("gpm|market=TH|category=beauty", -6.0, 10.0),
        market("appeals_filed|market=TH", 30.0),
        market("views|market=VN|surface=feed", 40.0),
    ]
    assert [len(g) for g in groups(row)] != [5]
    assert {"views|market=VN|surface=feed"} in groups(row)
    assert not any({row[0]["series"], row[3]["series"]} <= g for g in groups(row))


def test_two_cuts_of_one_metric_are_one_event_when_they_moved_by_similar_amounts() -> None:
    beauty = market("orders_placed|category=beauty", -40.0)
    assert len(groups([beauty, market("orders_placed|market=ID", -35.0)])) == 1
    assert len(groups([beauty, market("orders_placed|market=ID", -400.0, 5_000.0)])) == 2
    assert len(groups([beauty, market("orders_placed|market=ID", 35.0)])) == 2


def test_a_part_that_turns_significant_later_joins_the_incident_with_which_it_began() -> None:
    lived = live({0: [shift(TOTAL, uncertain=1)], 4: [shift(ADS, TOGETHER_DAYS + 1, reported=4)]}, 4)
    assert [m.series for m in only(lived[4]).members] == [TOTAL, ADS]
    assert only(lived[4]).id == only(lived[0]).id


def test_of_two_incidents_a_shift_joins_the_one_to_which_it_is_linked_most_closely() -> None:
    lived = live({0: [shift(TOTAL)], 2: [shift(BOB, 2)], 3: [shift(ADS, 1, reported=3)]}, 3)
    assert {i.unit: len(i.members) for i in lived[3]} == {"Ada": 2, "Bob": 1}


def test_a_shift_that_was_reported_stays_where_it_is_however_its_onset_moves() -> None:
    lived = live({0: [shift(TOTAL), shift(BOB)], 5: [shift(TOTAL, 4, reported=0)]}, 5)
    assert {i.id for i in lived[5]} == {i.id for i in lived[0]}
    assert {i.unit: i.onset for i in lived[5]} == {"Ada": day(4), "Bob": day(0)}


def test_when_the_total_turns_up_later_the_parts_become_one_incident_under_the_oldest_name() -> None:
    first, second = market("orders_placed|market=ID", -40.0), market("orders_placed|market=TH", -45.0, onset=1)
    total = market("orders_placed|", -250.0, 600.0, onset=1, reported=2)
    lived = live({0: [first], 1: [second], 2: [total]}, 2 + REMEMBERED_DAYS + 1, MARKET)
    assert [i.state for i in lived[1]] == ["ongoing", "new"]
    kept = next(i for i in lived[2] if i.state != "merged")
    gone = next(i for i in lived[2] if i.state == "merged")
    assert (kept.id, len(kept.members), gone.merged_into, gone.ended) == (lived[0][0].id, 3, kept.id, day(2))
    assert [i.state for i in lived[3]].count("merged") == 1, "it is remembered for some days, unchanged"
    assert [i.id for i in lived[2 + REMEMBERED_DAYS + 1]] == [kept.id]


def test_an_incident_known_for_long_is_not_made_part_of_another() -> None:
    late = ABSORB_DAYS + 3
    first = market("orders_placed|market=ID", -40.0)
    second = market("orders_placed|market=TH", -45.0, onset=1)
    total = market("orders_placed|", -250.0, 600.0, onset=1, reported=late)
    lived = live({0: [first], 1: [second], late: [total]}, late, MARKET)
    assert sorted(len(i.members) for i in lived[late]) == [1, 2]


def test_known_events_near_the_onset_are_shown_and_others_are_not() -> None:
    event = next(e for e in CATALOG.events if e.day == dt.date(2025, 7, 1))

    def shown(days: int) -> tuple[str, ...]:
        onset = (event.day - START).days + days
        return only(advance(CATALOG, day(onset), [], [shift(TOTAL, onset)], [], ())).events

    assert shown(0) == shown(EVENT_DAYS) == shown(-EVENT_DAYS) == (event.title,)
    assert shown(EVENT_DAYS + 1) == shown(-EVENT_DAYS - 1) == ()


# The root


def root(rows: Sequence[Row], catalog: Any = MARKET) -> str:
    return only(advance(catalog, day(0), [], rows, [], ())).series


def test_a_change_in_many_parts_is_told_by_the_whole() -> None:
    parts = [market(f"orders_placed|market={m}", -40.0) for m in ("ID", "TH", "VN")]
    assert root([*parts, market("orders_placed|", -130.0, 600.0)]) == "orders_placed|"


@pytest.mark.parametrize(("carried", "told"), [(CARRIED + 0.05, ADS), (CARRIED - 0.05, TOTAL)])
def test_a_part_that_carries_most_of_its_whole_is_what_it_is_about(carried: float, told: str) -> None:
    rows = [shift(TOTAL, expected=10_000.0, change=-0.05), shift(ADS, change=-0.5 * carried)]
    assert root(rows, CATALOG) == told


def test_the_root_is_found_through_several_floors() -> None:
    rows = [
        market("confirmed_violations|", 64.0, 1_000.0),
        market("confirmed_violations|market=ID", 62.0, 300.0),
        market("confirmed_violations|market=ID|category=beauty", 60.0, 30.0),
    ]
    assert root(rows) == "confirmed_violations|market=ID|category=beauty"


def test_a_part_that_is_most_of_its_whole_anyway_is_not_the_root() -> None:
    rows = [
        market("confirmed_violations|market=ID|category=beauty", 60.0, 40.0),
        market("confirmed_violations|market=ID|kind=video|category=beauty", 51.0, 34.0),
    ]
    assert root(rows) == "confirmed_violations|market=ID|category=beauty"


def test_of_several_metrics_the_root_is_what_the_others_show() -> None:
    narrow = market("confirmed_violations|market=ID|category=beauty", 60.0, 20.0)
    rows = [
        narrow, market("action_rate|market=ID", 61.0, 60.0), market("decisions_taken|category=beauty", 62.0, 60.0),
        market("prevalence_by_policy|market=ID|policy=counterfeit", 60.0, 60.0),
    ]  # fmt: skip
    assert root(rows) == narrow["series"]


def test_a_root_stays_while_it_explains_nearly_as_much_as_the_best() -> None:
    lived = live({0: [shift(AUTOMATION, expected=900.0)], 1: [shift(TOTAL, 0, reported=1)]}, 1)
    assert [only(lived[n]).series for n in (0, 1)] == [AUTOMATION, AUTOMATION]
    much = shift(TOTAL, 0, reported=1, expected=1e9, change=-0.9)
    lived = live({0: [shift(AUTOMATION)], 1: [much]}, 1)
    assert [only(lived[n]).series for n in (0, 1)] == [AUTOMATION, TOTAL]


def test_when_the_root_is_over_the_incident_is_told_by_what_lasts() -> None:
    lived = live({0: [shift(TOTAL), shift(AUTOMATION, expected=50.0)], 3: [shift(TOTAL, state="recovered")]}, 4)
    assert (only(lived[3]).series, only(lived[3]).state) == (AUTOMATION, "ongoing")
    assert [m.state for m in only(lived[3]).members] == ["ongoing", "recovered"]
    assert [m.series for m in only(lived[4]).members] == [AUTOMATION]
    assert only(lived[4]).reach.segments == 1


# Its life


def test_it_is_new_once_and_ongoing_while_a_shift_of_it_lasts() -> None:
    lived = live({0: [shift(TOTAL)]}, 4)
    assert states(lived) == ["new"] + ["ongoing"] * 4
    last = only(lived[4])
    assert (last.first_reported, last.last_reported, last.day) == (day(0), day(4), day(4))


@pytest.mark.parametrize("end", ["recovered", "settled"])
def test_it_ends_as_its_root_ends_and_is_remembered_for_some_days(end: str) -> None:
    lived = live({0: [shift(TOTAL)], 3: [shift(TOTAL, state=end, change=-0.4)]}, 3 + REMEMBERED_DAYS + 1)
    assert states(lived) == ["new", "ongoing", "ongoing", *[end] * (REMEMBERED_DAYS + 1), "-"]
    over = only(lived[9])
    assert (over.ended, over.last_reported, over.change) == (day(3), day(2), -0.4)


@pytest.mark.parametrize(("now", "worse"), [(-0.54, False), (-0.56, True), (-0.3, False)])
def test_it_is_worse_when_its_size_is_beyond_what_its_interval_held(now: float, worse: bool) -> None:
    lived = live({0: [shift(TOTAL, off=0.05)], 2: [shift(TOTAL, change=now, off=0.01)]}, 2 + WORSE_DAYS)
    for number in range(2, 2 + WORSE_DAYS):
        assert only(lived[number]).state == ("worsening" if worse else "ongoing")
    assert only(lived[2 + WORSE_DAYS]).state == "ongoing"
    assert only(lived[2]).worsened_on == (day(2) if worse else None)


def test_it_is_worse_again_only_beyond_what_was_told_last() -> None:
    wide, narrow = shift(TOTAL, change=-0.6, off=0.1), shift(TOTAL, change=-0.69, off=0.1)
    lived = live({0: [shift(TOTAL, off=0.05)], 2: [wide], 8: [narrow]}, 8)
    assert [only(lived[n]).worsened_on for n in (2, 8)] == [day(2), day(2)]


def test_a_size_that_changes_sides_is_not_compared_with_what_was_told_of_the_other() -> None:
    lived = live({0: [shift(TOTAL)], 4: [shift(TOTAL, change=0.2)], 6: [shift(TOTAL, change=0.22)]}, 6)
    assert [only(lived[n]).direction for n in (3, 4)] == ["down", "up"]
    assert [only(lived[n]).state for n in (4, 5, 6)] == ["ongoing"] * 3


def test_it_is_worse_when_it_reaches_another_unit() -> None:
    total, first = market("orders_placed|", -250.0, 600.0), market("orders_placed|market=ID", -40.0)
    lived = live({0: [total, first], 4: [market("orders_placed|market=TH", -45.0, reported=4)]}, 4, MARKET)
    assert (only(lived[4]).state, only(lived[4]).reach.units) == ("worsening", ("ID", "TH", "all"))


def test_it_is_retracted_when_a_judged_series_shows_no_trace_of_it_any_more() -> None:
    before = live({0: [shift(TOTAL)]}, 1)[1]
    gone = only(advance(CATALOG, day(2), before, [], [], [TOTAL]))
    assert (gone.state, gone.ended) == ("retracted", day(2))


def test_it_stays_open_while_its_series_is_not_judged_but_not_for_ever() -> None:
    incidents = live({0: [shift(TOTAL)]}, 0)[0]
    lived = []
    for number in range(1, UNJUDGED_DAYS + 2):
        incidents = advance(CATALOG, day(number), incidents, [], [], [BOB])
        lived.append(only(incidents).state)
    assert lived == ["ongoing"] * UNJUDGED_DAYS + ["settled"]


def test_what_flares_up_again_soon_is_the_same_incident_and_worse() -> None:
    again = 1 + REMEMBERED_DAYS
    over = [shift(TOTAL, state="recovered")]
    lived = live({0: [shift(TOTAL)], 1: over, again: [shift(TOTAL, again)]}, again)
    incident = only(lived[again])
    assert incident.id == only(lived[0]).id
    assert (incident.state, incident.ended, incident.first_reported) == ("worsening", None, day(0))
    the_other_way = live({0: [shift(TOTAL)], 1: over, again: [shift(TOTAL, again, change=0.5)]}, again)
    assert len(the_other_way[again]) == 2


def test_what_flares_up_long_after_is_another_incident() -> None:
    again = 2 + REMEMBERED_DAYS
    over = [shift(TOTAL, state="recovered")]
    lived = live({0: [shift(TOTAL)], 1: over, again: [shift(TOTAL, again)]}, again)
    incident = only(lived[again])
    assert incident.id != only(lived[0]).id
    assert (incident.state, incident.first_reported) == ("new", day(again))


def test_its_identity_is_readable_stable_and_unique() -> None:
    lived = live({0: [shift(TOTAL)], 3: [shift(TOTAL, 2, reported=0)]}, 9)  # the onset moves while more is learned
    assert {only(incidents).id for incidents in lived.values()} == {"ada-statements-2025-03-03"}
    other = shift("statements|platform=Bücher & Co. [DE]")
    assert only(advance(CATALOG, day(0), [], [other], [], ())).id == "b-cher-co-de-statements-2025-03-03"


def test_a_second_incident_with_the_same_onset_gets_a_number() -> None:
    yesterday = live({0: [shift(TOTAL)]}, 0)[0]
    moved = [dataclasses.replace(i, members=(dataclasses.replace(i.members[0], onset=day(40)),)) for i in yesterday]
    found = advance(CATALOG, day(1), moved, [shift(ADS, 0)], [], ())
    assert {i.id for i in found} == {"ada-statements-2025-03-03", "ada-statements-2025-03-03-2"}


SERIES = [TOTAL, ADS, BUYS, ADS_SHARE, AUTOMATION, BOB, "statements_by_category|platform=Bob|category=ADS"]
PLANTED = st.lists(
    st.tuples(
        st.sampled_from(SERIES), st.integers(0, 9), st.integers(0, 6), st.integers(1, 12),
        st.floats(-0.95, 5.0).filter(lambda change: abs(change) > 0.1), st.floats(1.0, 1e6),
        st.sampled_from(["recovered", "settled", "gone"]),
    ),
    max_size=8, unique_by=lambda p: p[:2],
)  # fmt: skip


def planted(plants: Sequence[tuple[Any, ...]]) -> dict[int, list[Row]]:
    """Rows of each day of shifts that are reported, last, and end: as the detector gives them."""
    rows: dict[int, list[Row]] = {number: [] for number in range(25)}
    for series, reported, since, lasts, change, expected, end in plants:
        row = shift(series, reported - since, change, expected, reported=reported, uncertain=since // 3)
        for number in range(reported, reported + lasts):
            rows[number].append(row | {"state": "new" if number == reported else "ongoing"})
        if end != "gone":
            rows[reported + lasts].append(row | {"state": end})
    return rows


@settings(deadline=None, max_examples=60)
@given(PLANTED, st.randoms(use_true_random=False))
def test_on_any_history_every_shift_is_in_one_incident_and_the_order_does_not_matter(
    plants: list[tuple[Any, ...]], order: random.Random
) -> None:
    before: list[Incident] = []
    homes: dict[tuple[str, dt.date], str] = {}
    for number, rows in planted(plants).items():
        today = advance(CATALOG, day(number), before, rows, [], SERIES)
        shuffled = rows.copy()
        order.shuffle(shuffled)
        assert advance(CATALOG, day(number), before, shuffled, [], SERIES) == today
        assert len({i.id for i in today}) == len(today)
        assert {i.id for i in before if i.is_open} <= {i.id for i in today}
        members = [(m.series, m.reported_on) for i in today for m in i.members if m.is_open and i.is_open]
        assert sorted(members) == sorted(
            (r["series"], r["reported_on"]) for r in rows if r["state"] in ("new", "ongoing")
        )
        known = {i.id for i in before}
        merged = {i.id: i.merged_into for i in today if i.state == "merged"}
        for incident in today:
            assert incident.day == day(number)
            assert incident.is_open == (incident.state in ("new", "worsening", "ongoing"))
            assert (incident.state == "new") == (incident.id not in known)
            if incident.is_open:
                assert incident.series == incident.members[0].series
                assert {len({m.segment.split("|")[0] for m in incident.members})} == {1}, "platforms never merge"
                for m in incident.members:
                    home = homes.setdefault((m.series, m.reported_on), incident.id)
                    assert merged.get(home, home) == incident.id or home in merged
                    homes[m.series, m.reported_on] = incident.id
        before = today


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


# On disk


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False)
DATE = st.dates(dt.date(1970, 1, 2), dt.date(2200, 1, 1))
MEMBER = st.builds(
    Member, TEXT, TEXT, TEXT, DATE, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, DATE, TEXT
)  # fmt: skip
ESTIMATE = st.builds(Estimate, NUMBER, NUMBER, NUMBER)
EXPLANATION = st.builds(
    Explanation, TEXT, TEXT, ESTIMATE, st.none() | ESTIMATE, st.none() | ESTIMATE,
    st.lists(st.builds(Contribution, TEXT, ESTIMATE, NUMBER), max_size=2).map(tuple), DATE, DATE,
)  # fmt: skip
STORED = st.builds(
    Incident,
    day=DATE, id=TEXT, kind=st.sampled_from(["shift", "data"]), family=TEXT, unit=TEXT,
    state=st.sampled_from(["new", "ongoing", "recovered", "settled"]), first_reported=DATE, last_reported=DATE,
    headline_reported=DATE, onset=DATE, onset_low=DATE, onset_high=DATE, series=TEXT, metric=TEXT, segment=TEXT,
    shape=TEXT, direction=TEXT, expected=NUMBER, observed=NUMBER, change=NUMBER, change_low=NUMBER, change_high=NUMBER,
    excess=NUMBER, q_value=NUMBER, tested=st.integers(0, 2**31 - 1), ended=st.none() | DATE,
    members=st.lists(MEMBER, max_size=3).map(tuple), events=st.lists(TEXT, max_size=3).map(tuple),
    worse_beyond=NUMBER, worsened_on=st.none() | DATE, merged_into=TEXT,
    reach=st.builds(Reach, st.integers(0, 9), st.integers(0, 9), st.lists(TEXT, max_size=2).map(tuple),
                    st.none() | NUMBER, TEXT),
    explanation=st.none() | EXPLANATION,
    suspects=st.lists(st.builds(Suspect, st.sampled_from(["volume", "policy"]), TEXT), max_size=2).map(tuple),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(STORED, max_size=4))
def test_an_incident_comes_back_from_a_table_as_it_went(incidents: list[Incident]) -> None:
    table = to_table(incidents)
    assert table.schema == INCIDENTS
    assert from_table(table) == incidents


def test_the_columns_are_the_fields() -> None:
    assert INCIDENTS.names == [field.name for field in dataclasses.fields(Incident)]
