"""Shifts that are views of one event are one incident, with root, identity and life."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.incidents.group import ABSORB_DAYS
from health_pipeline.incidents.links import TOGETHER_DAYS
from health_pipeline.incidents.merge import EVENT_DAYS, REMEMBERED_DAYS, UNJUDGED_DAYS, WORSE_DAYS, advance
from health_pipeline.incidents.model import Incident, Reach
from health_pipeline.incidents.root import CARRIED
from health_pipeline_tests.incidents.days import CATALOG, MARKET, START, TOTAL, Row, day, only, shift

ADS = "statements_by_category|platform=Ada|category=ADS"
BUYS = "statements_by_category|platform=Ada|category=BUYS"
ADS_SHARE = "category_share|platform=Ada|category=ADS"
AUTOMATION = "automated_detection_rate|platform=Ada"
BOB = "statements|platform=Bob"


def market(series: str, excess: float, expected: float = 100.0, **more: Any) -> Row:
    """A shift in the marketplace, by what it counts too many of."""
    return shift(series, change=excess / expected, expected=expected, **more)


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
