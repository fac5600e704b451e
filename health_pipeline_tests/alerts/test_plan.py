"""What is told, where, when, and what keeps it true; each as a reader of the channel would see it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from health_pipeline.alerts.hours import digest_at, quiet_until, today
from health_pipeline.alerts.telling import Withheld
from health_pipeline.catalog.alerts import Alerts, Digest, QuietHours, Route, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    EARLY,
    HOUR,
    MINUTE,
    MORNING,
    NOON,
    ONE_DAY,
    P1,
    P2,
    P3,
    Desk,
    fall,
    hole,
    kinds,
    texts,
    with_alerts,
)

MAIN, OPS = "#ecosystem-health", "C0OPS"
NAMES = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gil", "Hal", "Ida", "Jon")
OWNER = "trust-and-safety-analytics"


IN_AN_HOUR = (
    Severity(name="P1", minimum_score=10, at_once=True, acknowledge_within_minutes=60),
    Severity(name="P2", minimum_score=5),
    Severity(name="P3"),
)
NO_HURRY = (Severity(name="P1", minimum_score=10, at_once=True), *IN_AN_HOUR[1:])
BOTH_AT_ONCE = (NO_HURRY[0], Severity(name="P2", at_once=True))
"""P2 is told at once too, and only P1 is critical."""
BOTH_AT_ONCE_OF_THREE = (NO_HURRY[0], Severity(name="P2", minimum_score=5, at_once=True), NO_HURRY[2])


def desk(catalog: Catalog, **alerts: Any) -> Desk:
    return Desk(with_alerts(catalog, **{"severities": NO_HURRY} | alerts))


def key(name: str, onset: dt.date = DAY) -> str:
    return f"eu_dsa:incident:{name.lower()}-statements-{onset}:open"


def digest(day: dt.date, channel: str = MAIN) -> str:
    return f"eu_dsa:digest:{channel}:{day}"


def id_of(name: str) -> str:
    return f"{name.lower()}-statements-{DAY}"


# ── Where an incident is told first ──────────────────────────────────────────────────────────────────────────────────


def test_what_is_urgent_gets_a_post_of_its_own_at_once_and_mentions_its_owner(catalog: Catalog) -> None:
    here = desk(
        catalog,
        routes=(Route(severities=("P1",), channel=OPS, mention=("owner", "S0TEAM")),),
        owners={OWNER: "U0OWNER"},
    )
    here.happens(fall("Ada"), score=P1)
    (post,) = here.follow()
    assert (post.kind, post.key, post.channel, post.not_before) == ("post", key("Ada"), OPS, None)
    shown = texts([post])
    assert "New · P1 · Ada: statements filed" in shown
    assert "@U0OWNER" in shown and "S0TEAM" in shown


def test_the_rest_waits_for_the_morning_and_is_told_in_full_in_the_digest_s_thread(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = EARLY
    here.happens(fall("Ada"), score=P2)
    here.happens(fall("Bob"), score=P3)
    assert here.follow() == []
    made = here.plan()
    assert [line.incident.id for line in made.waiting] == [id_of("Ada"), id_of("Bob")]
    assert made.next_at == MORNING
    here.now = MORNING - MINUTE
    assert here.follow() == []
    intents = here.follow(minutes=1)
    assert [(i.kind, i.key, i.of) for i in intents] == [
        ("post", digest(MORNING.date()), ""),
        ("reply", key("Ada"), digest(MORNING.date())),
        ("reply", key("Bob"), digest(MORNING.date())),
    ]
    said = texts(intents[:1])
    assert said.index("P2 · Ada: statements filed") < said.index("P3 · Bob: statements filed")
    assert "2 open" in said
    assert here.follow(hours=1) == []


def test_a_digest_comes_once_a_day_and_not_at_all_when_there_is_nothing_to_tell(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = MORNING
    assert here.follow() == []
    assert here.plan().next_at is None
    here.happens(fall("Ada"), score=P3)
    assert kinds(here.follow(hours=2))[0] == ("post", f"digest:{MAIN}:2025-07-04"), "late judgements, late digest"
    here.happens(fall("Bob"), score=P3)
    assert here.follow(hours=3) == []
    assert here.plan().next_at == MORNING + ONE_DAY
    here.now = MORNING + ONE_DAY
    assert kinds(here.follow())[0] == ("post", f"digest:{MAIN}:2025-07-05")


@pytest.mark.parametrize(
    ("after", "quiet", "title"),
    [
        (179 * MINUTE, None, "Morning digest, 4 July"),
        (180 * MINUTE, None, "Digest, 4 July"),
        (0 * MINUTE, QuietHours(start=dt.time(8), end=dt.time(11, 29)), "Morning digest, 4 July"),
        (0 * MINUTE, QuietHours(start=dt.time(8), end=dt.time(11, 30)), "Digest, 4 July"),
    ],
)
def test_a_digest_that_leaves_late_is_none_of_the_morning(
    catalog: Catalog, after: dt.timedelta, quiet: QuietHours | None, title: str
) -> None:
    here = desk(catalog, quiet_hours=quiet)
    here.now = MORNING + after
    here.happens(fall("Ada"), score=P3)
    here.follow()
    assert here.says(digest(MORNING.date())).splitlines()[0] == title


def test_a_digest_that_waited_for_hours_is_none_of_the_morning_any_more(catalog: Catalog) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    assert here.says(digest(MORNING.date())).startswith("Morning digest, 4 July")
    assert here.plan().next_at == MORNING + 3 * HOUR
    here.follow(hours=3)
    assert here.says(digest(MORNING.date())).startswith("Digest, 4 July")
    here.connected = True
    here.follow()
    here.happens(fall("Bob"), score=P3)
    here.now = MORNING + ONE_DAY
    here.follow()
    assert here.says(digest(MORNING.date() + ONE_DAY)).startswith("Morning digest, 5 July")


def test_each_channel_has_its_own_digest(catalog: Catalog) -> None:
    here = desk(catalog, routes=(Route(units=("Ada",), channel=OPS),))
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.now = MORNING
    intents = here.follow()
    assert [i.key for i in intents if i.kind == "post"] == [
        digest(MORNING.date()),
        digest(MORNING.date(), OPS),
    ]
    assert here.rows[key("Ada")].intent.of == digest(MORNING.date(), OPS)


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ({"severities": ("P1",)}, True),
        ({"severities": ("P2", "P3")}, False),
        ({"units": ("Ada",), "families": ("statements",), "metrics": ("statements",)}, True),
        ({"units": ("Ada",), "families": ("delivery",)}, False),
        ({"metrics": ("reports",)}, False),
    ],
)
def test_a_route_takes_what_meets_all_its_conditions_and_the_first_that_fits_decides(
    catalog: Catalog, route: dict[str, Any], fits: bool
) -> None:
    here = desk(catalog, routes=(Route(**route, channel=OPS), Route(channel="C0LAST")))
    here.happens(fall("Ada"), score=P1)
    (post,) = here.follow()
    assert post.channel == (OPS if fits else "C0LAST")


def test_a_hole_has_the_severity_of_its_kind_and_waits_for_its_second_day(catalog: Catalog) -> None:
    here = desk(catalog, holes={"missing": "P1", "empty": "P2", "partial": "P3", "settling": "P3", "backlog": "P3"})
    here.now = EARLY
    here.happens(hole("Ada", onset=DAY))
    assert here.follow() == []
    assert "may only be late" in here.plan().withheld[0].reason
    here.happens(hole("Ada"))
    here.happens(hole("Bob", shape="partial"))
    assert kinds(here.follow()) == [("post", "ada-delivery-2025-07-02:open")]
    assert [line.incident.unit for line in here.plan().waiting] == ["Bob"]


def test_what_is_not_told_says_why(catalog: Catalog) -> None:
    here = desk(catalog, minimum_score=5.0, per_day=1)
    here.happens(fall("Ada"), score=P1)
    here.happens(fall("Bob"), score=P1 - 1)
    here.happens(fall("Cleo"), score=2.04)
    here.happens(fall("Dan", first_reported=DAY - 9 * ONE_DAY), score=P1)
    here.follow()
    reasons = {w.incident.unit: w.reason for w in here.plan().withheld}
    assert reasons == {
        "Bob": "1 other first reported on 3 July 2025 came before it",
        "Cleo": "its score, 2.0, is below 5",
        "Dan": "first reported on 24 June 2025, it is no news any more",
    }


def test_whoever_was_told_keeps_its_place_when_scores_change(catalog: Catalog) -> None:
    here = desk(catalog, per_day=1)
    here.happens(fall("Ada"), score=P1)
    here.happens(fall("Bob"), score=P1 - 1)
    assert kinds(here.follow()) == [("post", f"{id_of('Ada')}:open")]
    here.happens(fall("Bob"), score=P1 + 1)
    assert kinds(here.follow(hours=1)) == [("edit", f"{id_of('Ada')}:open:edit:1")], "it is second in the list now"
    here.ends(id_of("Ada"))
    assert all("bob" not in key for _, key in kinds(here.follow(hours=1)))


def test_what_is_over_before_anybody_was_told_is_not_told(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = EARLY
    here.happens(fall("Ada"), score=P3)
    assert here.follow() == []
    here.ends(id_of("Ada"))
    here.now = MORNING
    assert here.follow() == []


def test_what_is_no_news_any_more_when_the_digest_comes_is_not_in_it(catalog: Catalog) -> None:
    here = desk(catalog, minimum_score=0.5)
    here.now = EARLY
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.follow()
    here.scores[id_of("Bob")] = 0.1
    here.now = MORNING
    assert [i.key for i in here.follow()] == [digest(MORNING.date()), key("Ada")]


# ── Not too many ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_more_posts_than_an_hour_takes_become_one_roll_up_that_grows(catalog: Catalog) -> None:
    here = desk(catalog, per_hour=2)
    for place, name in enumerate(NAMES[:4]):
        here.happens(fall(name), score=P1 + 10 - place)
    rollup = f"eu_dsa:rollup:{MAIN}:2025-07-03T12"
    intents = here.follow()
    assert [(i.kind, i.key, i.of) for i in intents] == [
        ("post", key("Ada"), ""),
        ("post", key("Bob"), ""),
        ("post", rollup, ""),
        ("reply", key("Cleo"), rollup),
        ("reply", key("Dan"), rollup),
    ]
    assert "2 more incidents within the hour" in here.says(rollup)
    here.happens(fall("Eve"), score=P1)
    edit, reply = here.follow(minutes=20)
    assert (edit.kind, edit.of, reply.key, reply.of) == ("edit", rollup, key("Eve"), rollup)
    assert "3 more incidents within the hour" in here.says(rollup)
    here.happens(fall("Fay"), score=P1)
    (post,) = here.follow(minutes=45)
    assert (post.kind, post.key) == ("post", key("Fay")), "the next hour has room again"


def test_sixty_minutes_count_across_the_hour_of_the_clock(catalog: Catalog) -> None:
    here = desk(catalog, per_hour=1)
    here.now = NOON + 50 * MINUTE
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.happens(fall("Bob"), score=P1)
    assert kinds(here.follow(minutes=20))[0] == ("post", f"rollup:{MAIN}:2025-07-03T13")
    here.happens(fall("Cleo"), score=P1)
    assert kinds(here.follow(minutes=41)) == [("post", f"{id_of('Cleo')}:open")]


def test_what_quiet_hours_hold_counts_in_the_hour_in_which_it_goes_out(catalog: Catalog) -> None:
    here = desk(
        catalog,
        per_hour=1,
        severities=BOTH_AT_ONCE,
        quiet_hours=QuietHours(start=dt.time(22), end=dt.time(7)),
    )
    here.now = dt.datetime(2025, 7, 3, 23, 0, tzinfo=dt.UTC)
    here.happens(fall("Ada"), score=P2)
    here.follow()
    here.happens(fall("Bob"), score=P2)
    opens = dt.datetime(2025, 7, 4, 7, 0, tzinfo=dt.UTC)
    rollup, reply = here.follow(hours=3)
    assert (rollup.key, rollup.not_before) == (f"eu_dsa:rollup:{MAIN}:2025-07-04T07", opens)
    assert (reply.key, reply.not_before) == (key("Bob"), opens)
    here.happens(fall("Cleo"), score=P1)
    post = here.follow(hours=1)[0]
    assert (post.key, post.not_before) == (key("Cleo"), None), "what is critical has its hour for itself"


def test_a_roll_up_of_critical_and_other_incidents_leaves_at_once_and_only_the_critical_replies_do(
    catalog: Catalog,
) -> None:
    quiet = QuietHours(start=dt.time(22), end=dt.time(7, 30))
    here = desk(catalog, per_hour=1, severities=BOTH_AT_ONCE, quiet_hours=quiet)
    here.now = dt.datetime(2025, 7, 4, 7, 10, tzinfo=dt.UTC)
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.happens(fall("Cleo"), score=P2)
    opens = dt.datetime(2025, 7, 4, 7, 30, tzinfo=dt.UTC)
    assert [(i.key, i.not_before) for i in here.follow()] == [
        (key("Ada"), None),
        (f"eu_dsa:rollup:{MAIN}:2025-07-04T07", None),
        (key("Bob"), None),
        (key("Cleo"), opens),
    ]


# ── Quiet hours, clocks ──────────────────────────────────────────────────────────────────────────────────────────────

NIGHT = QuietHours(start=dt.time(20), end=dt.time(7), time_zone="Europe/Berlin")


def test_quiet_hours_hold_what_is_not_critical_and_let_edits_through(catalog: Catalog) -> None:
    here = desk(
        catalog,
        severities=BOTH_AT_ONCE,
        quiet_hours=NIGHT,
    )
    here.now = dt.datetime(2025, 7, 3, 21, 0, tzinfo=dt.UTC)  # 23:00
    here.happens(fall("Ada"), score=P2)
    here.happens(fall("Bob"), score=P1)
    opens = dt.datetime(2025, 7, 4, 5, 0, tzinfo=dt.UTC)
    assert {i.key: i.not_before for i in here.follow()} == {key("Ada"): opens, key("Bob"): None}
    assert here.plan().next_at == opens
    for name in ("Ada", "Bob"):
        here.changes(id_of(name), state="worsening", worsened_on=DAY, observed=1.0)
    held = {(i.kind, i.of): i.not_before for i in here.follow(hours=1)}
    assert held == {
        ("edit", key("Ada")): None,
        ("reply", key("Ada")): opens,
        ("edit", key("Bob")): None,
        ("reply", key("Bob")): None,
    }


def test_a_digest_that_falls_into_quiet_hours_waits_for_their_end(catalog: Catalog) -> None:
    here = desk(
        catalog,
        digest=Digest(at=dt.time(6), time_zone="Europe/Berlin"),
        quiet_hours=NIGHT,
    )
    here.happens(fall("Ada"), score=P3)
    here.now = dt.datetime(2025, 7, 4, 4, 0, tzinfo=dt.UTC)
    post, reply = here.follow()
    opens = dt.datetime(2025, 7, 4, 5, 0, tzinfo=dt.UTC)
    assert (post.key, post.not_before, reply.not_before) == (digest(MORNING.date()), opens, opens)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2025-07-03T17:59", None),  # 19:59 in Berlin
        ("2025-07-03T18:00", "2025-07-04T05:00"),
        ("2025-07-04T04:59", "2025-07-04T05:00"),
        ("2025-07-04T05:00", None),
        ("2025-03-29T19:00", "2025-03-30T05:00"),  # the night is an hour shorter
        ("2025-10-25T18:00", "2025-10-26T06:00"),  # and an hour longer
        ("2025-10-26T05:59", "2025-10-26T06:00"),
    ],
)
def test_quiet_hours_are_those_of_the_clock_on_the_wall(now: str, until: str | None) -> None:
    at = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    ends = dt.datetime.fromisoformat(until).replace(tzinfo=dt.UTC) if until else None
    assert quiet_until(Alerts(quiet_hours=NIGHT), at) == ends


@pytest.mark.parametrize(
    ("zone", "at", "day", "due"),
    [
        ("Europe/Berlin", dt.time(8, 30), "2025-03-29", "2025-03-29T07:30"),
        ("Europe/Berlin", dt.time(8, 30), "2025-03-30", "2025-03-30T06:30"),
        ("Europe/Berlin", dt.time(2, 30), "2025-03-30", "2025-03-30T01:30"),  # 2:30 does not exist: 3:30
        ("Europe/Berlin", dt.time(2, 30), "2025-10-26", "2025-10-26T00:30"),  # 2:30 comes twice: the first
        ("Asia/Jakarta", dt.time(8, 30), "2025-07-04", "2025-07-04T01:30"),
        ("America/Los_Angeles", dt.time(8, 30), "2025-07-04", "2025-07-04T15:30"),
    ],
)
def test_the_digest_is_due_by_the_clock_on_the_wall(zone: str, at: dt.time, day: str, due: str) -> None:
    alerts = Alerts(digest=Digest(at=at, time_zone=zone))
    instant = digest_at(alerts, dt.date.fromisoformat(day))
    assert instant == dt.datetime.fromisoformat(due).replace(tzinfo=dt.UTC)
    assert today(alerts, instant) == dt.date.fromisoformat(day)


def test_on_the_day_on_which_the_clocks_go_forward_there_is_one_digest(catalog: Catalog) -> None:
    here = desk(catalog, digest=Digest(at=dt.time(2, 30), time_zone="Europe/Berlin"))
    here.newest = dt.date(2025, 3, 29)
    here.now = dt.datetime(2025, 3, 30, 1, 29, tzinfo=dt.UTC)
    here.happens(fall("Ada", first_reported=here.newest), score=P3)
    assert here.follow() == []
    assert kinds(here.follow(minutes=1))[0] == ("post", f"digest:{MAIN}:2025-03-30")
    here.happens(fall("Bob", first_reported=here.newest), score=P3)
    assert here.follow(hours=12) == []
    assert here.plan().next_at == dt.datetime(2025, 3, 31, 0, 30, tzinfo=dt.UTC)


# ── A message stays true ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_edited_when_it_would_be_written_differently_and_only_then(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.changes(id_of("Ada"), observed=500_000.0)
    (edit,) = here.follow(hours=1)
    assert (edit.kind, edit.key, edit.of) == ("edit", f"{key('Ada')}:edit:1", key("Ada"))
    assert "500 k" in here.says(key("Ada"))
    assert here.follow(hours=1) == []


@pytest.mark.parametrize("state", ["recovered", "settled", "retracted", "merged"])
def test_the_end_of_an_incident_is_in_its_message_and_a_reply(catalog: Catalog, state: str) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.ends(id_of("Ada"), state)
    edit, reply = here.follow(hours=1)
    assert (edit.kind, reply.kind, reply.key, reply.of) == ("edit", "reply", f"{key('Ada')}:{state}:1", key("Ada"))
    assert here.follow(hours=1) == []
    here.next_day()
    assert here.follow(hours=24) == [], "what is over is not written anew every day"


def test_worsening_is_replied_once_each_time_and_a_flare_up_too(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    replies = []
    for step in (
        {"state": "worsening", "worsened_on": DAY + ONE_DAY},
        {"state": "ongoing"},
        {"state": "worsening", "worsened_on": DAY + 3 * ONE_DAY},
        {"state": "recovered", "ended": DAY + 4 * ONE_DAY},
        {"state": "ongoing", "ended": None},
    ):
        here.next_day()
        here.changes(id_of("Ada"), **step)
        replies += [k for kind, k in kinds(here.follow(hours=24)) if kind == "reply"]
    assert [reply.split(":")[2] for reply in replies] == ["worsening", "worsening", "recovered", "reopened"]


def test_a_raised_severity_is_replied_with_a_mention_and_a_lower_one_is_only_shown(catalog: Catalog) -> None:
    here = desk(catalog, severities=BOTH_AT_ONCE, routes=(Route(severities=("P1",), mention=("U0LEAD",)),))
    here.happens(fall("Ada"), score=P2)
    here.follow()
    here.scores[id_of("Ada")] = P1
    edit, reply = here.follow(hours=1)
    assert (edit.kind, reply.key) == ("edit", f"{key('Ada')}:raised:1")
    assert "@U0LEAD" in texts([reply])
    for score in (P2, P1, P2):
        here.scores[id_of("Ada")] = score
        (edit,) = here.follow(hours=1)
        assert edit.kind == "edit", "a score that goes to and fro is not told again"


def test_what_happens_to_a_line_is_a_line_of_the_next_digest_and_its_message_is_edited_at_once(
    catalog: Catalog,
) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.now = MORNING
    here.follow()
    here.changes(id_of("Ada"), state="worsening", worsened_on=DAY)
    (edit,) = here.follow(hours=1)
    assert (edit.kind, edit.of) == ("edit", key("Ada"))
    here.ends(id_of("Bob"))
    (edit,) = here.follow(hours=1)
    assert [line.what for line in here.plan().waiting] == ["worsening", "recovered"]
    here.now = MORNING + ONE_DAY
    (second,) = here.follow()
    assert second.key == digest(MORNING.date() + ONE_DAY)
    assert "Changed (1)" in texts([second]) and "Ended (1)" in texts([second]) and "New" not in texts([second])
    here.now += ONE_DAY
    assert here.follow() == []


def test_what_changed_to_and_fro_between_two_digests_is_not_told(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.ends(id_of("Ada"))
    here.follow(hours=1)
    here.changes(id_of("Ada"), state="ongoing", ended=None)
    here.scores[id_of("Ada")] = P3
    here.follow(hours=1)
    here.now = MORNING + ONE_DAY
    assert all(intent.kind == "edit" for intent in here.follow())


def test_a_line_that_becomes_urgent_gets_a_post_and_its_old_message_points_there(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.scores[id_of("Ada")] = P1
    post, edit = here.follow(hours=1)
    again = f"{key('Ada')}:2"
    assert (post.kind, post.key, edit.kind, edit.of) == ("post", again, "edit", key("Ada"))
    assert "P1" in here.says(again)
    assert "told anew in the channel" in here.says(key("Ada"))
    here.ends(id_of("Ada"))
    edit, reply = here.follow(hours=1)
    assert (edit.of, reply.of) == (again, again)


def test_an_incident_called_by_another_onset_keeps_its_message(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    here.vanishes(id_of("Ada"))
    renamed = fall("Ada", onset=DAY - 5 * ONE_DAY)
    here.happens(renamed, score=P1)
    (edit,) = here.follow(hours=1)
    assert (edit.kind, edit.of) == ("edit", key("Ada"))
    assert "Acknowledged by @UANA" in here.says(key("Ada")), "what was decided holds under the new name"
    (told,) = here.told.values()
    assert told.names == (renamed.id, id_of("Ada"))
    assert here.follow(hours=1) == []


@pytest.mark.parametrize(("days", "same"), [(14, True), (15, False)])
def test_an_incident_with_a_far_onset_is_another_one(catalog: Catalog, days: int, same: bool) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.vanishes(id_of("Ada"))
    here.happens(fall("Ada", onset=DAY - days * ONE_DAY), score=P1)
    posts = [k for kind, k in kinds(here.follow(hours=1)) if kind == "post"]
    assert posts == ([] if same else [f"ada-statements-{DAY - days * ONE_DAY}:open"])


def test_of_two_that_vanished_the_nearer_one_is_renamed_and_the_other_withdrawn(catalog: Catalog) -> None:
    here = desk(catalog)
    far = fall("Ada", onset=DAY - 9 * ONE_DAY)
    here.happens(fall("Ada"), far, score=P1)
    here.follow()
    here.vanishes(id_of("Ada"))
    here.vanishes(far.id)
    here.happens(fall("Ada", onset=DAY - 2 * ONE_DAY), score=P1)
    here.follow(hours=1)
    assert {told.key: told.phase for told in here.told.values()} == {
        key("Ada"): "open",
        key("Ada", far.onset): "retracted",
    }


def test_what_vanished_from_the_record_is_withdrawn_once(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.vanishes(id_of("Ada"))
    edit, reply = here.follow(hours=1)
    assert (edit.of, reply.key) == (key("Ada"), f"{key('Ada')}:retracted:1")
    assert "Withdrawn · P1 · Ada: statements filed" in here.says(key("Ada"))
    assert "judged anew" in texts([reply])
    assert here.follow(hours=1) == []
    here.happens(fall("Ada"), score=P1)
    edit, reply = here.follow(hours=1)
    assert (edit.of, reply.key) == (key("Ada"), f"{key('Ada')}:reopened:2"), "the days were judged anew once more"


def test_a_line_that_vanished_is_edited_at_once_and_told_in_the_next_digest(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.vanishes(id_of("Ada"))
    (edit,) = here.follow(hours=1)
    assert edit.of == key("Ada")
    here.now = MORNING + ONE_DAY
    (second,) = here.follow()
    assert "Ended (1)" in texts([second]) and "withdrawn" in texts([second])
    here.now += ONE_DAY
    assert here.follow() == []


def test_what_is_withdrawn_before_it_left_is_never_posted_and_told_anew_when_it_comes_back(catalog: Catalog) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.vanishes(id_of("Ada"))
    assert here.follow(hours=1) == []
    assert here.rows[key("Ada")].dropped
    here.happens(fall("Ada"), score=P1)
    (post,) = here.follow(hours=1)
    assert post.key == f"{key('Ada')}:2"


# ── What has not left ────────────────────────────────────────────────────────────────────────────────────────────────

AT_NIGHT = QuietHours(start=dt.time(20), end=dt.time(10))
"""The digest of 8:30 leaves at 10."""


@pytest.fixture(params=["quiet hours", "Slack is down"])
def held(request: pytest.FixtureRequest, catalog: Catalog) -> Desk:
    """A desk at which the digest has to wait."""
    here = desk(catalog, **({"quiet_hours": AT_NIGHT} if request.param == "quiet hours" else {}))
    here.connected = request.param == "quiet hours"
    return here


def leaves(here: Desk) -> list[str]:
    """Keys of what reaches the channel, edits aside, once everything may go out."""
    before = {key for key, row in here.rows.items() if row.sent_at}
    here.connected = True
    here.now = dt.datetime.combine(here.now.date(), dt.time(10), dt.UTC)
    here.follow()
    there = {key: row for key, row in here.rows.items() if row.sent_at and row.intent.kind != "edit"}
    return [key for key in there if key not in before]


@pytest.mark.parametrize("what", ["recovered", "settled", "merged", "retracted", "vanishes", "is snoozed"])
def test_what_is_past_before_the_digest_left_is_not_in_it(held: Desk, what: str) -> None:
    held.draws = True
    held.happens(fall("Ada"), fall("Bob"), score=P3)
    held.now = MORNING
    held.follow()
    assert "2 new" in held.says(digest(MORNING.date()))
    if what == "vanishes":
        held.vanishes(id_of("Ada"))
    elif what == "is snoozed":
        held.decides("snooze", id_of("Ada"), scope="here", until=MORNING.date() + 2 * ONE_DAY)
    else:
        held.ends(id_of("Ada"), what)
    assert all(intent.kind == "edit" for intent in held.follow(minutes=5))
    assert held.plan().is_empty
    assert leaves(held) == [digest(MORNING.date()), key("Bob"), f"{key('Bob')}:chart:1"]
    assert "1 new" in held.says(digest(MORNING.date())) and "Ada" not in held.says(digest(MORNING.date()))
    if what == "vanishes":
        held.happens(fall("Ada"), score=P3)
    elif what != "is snoozed":
        held.changes(id_of("Ada"), state="ongoing", ended=None)
        held.scores[id_of("Ada")] = P3
    held.now = MORNING + 2 * ONE_DAY
    assert f"{key('Ada')}:2" in [intent.key for intent in held.follow()], "told anew"


def test_a_digest_of_which_nothing_is_left_is_dropped_and_the_next_one_has_a_key_of_its_own(held: Desk) -> None:
    held.happens(fall("Ada"), score=P3)
    held.now = MORNING
    held.follow()
    held.ends(id_of("Ada"))
    assert held.follow(minutes=5) == [] and held.plan().is_empty
    assert held.rows[digest(MORNING.date())].dropped
    held.happens(fall("Bob"), score=P3)
    post, reply = held.follow(minutes=5)
    assert (post.key, reply.key, reply.of) == (f"{digest(MORNING.date())}:2", key("Bob"), post.key)
    assert leaves(held) == [post.key, key("Bob")]


def test_what_a_digest_says_of_what_was_told_before_is_said_once_it_has_left(held: Desk) -> None:
    connected, held.connected = held.connected, True
    held.happens(fall("Ada"), fall("Bob"), fall("Cleo"), score=P3)
    held.now = MORNING + 2 * HOUR
    held.follow()
    held.connected = connected
    held.next_day()
    held.changes(id_of("Ada"), state="worsening", worsened_on=held.newest)
    held.ends(id_of("Bob"))
    held.ends(id_of("Cleo"))
    second = digest(MORNING.date() + ONE_DAY)
    held.now = MORNING + ONE_DAY
    held.follow()
    assert "1 changed · 2 ended" in held.says(second)
    held.ends(id_of("Ada"))
    held.changes(id_of("Bob"), state="ongoing", ended=None)
    held.scores[id_of("Bob")] = P3
    held.follow(minutes=5)
    assert "2 ended" in held.says(second) and "changed" not in held.says(second)
    assert "recovered · Ada" in held.says(second) and "Bob" not in held.says(second)
    held.changes(id_of("Ada"), state="ongoing", ended=None)
    held.scores[id_of("Ada")] = P3
    held.changes(id_of("Cleo"), state="ongoing", ended=None)
    held.scores[id_of("Cleo")] = P3
    held.follow(minutes=5)
    assert "worsening · Ada" in held.says(second) and "Cleo" not in held.says(second)
    held.changes(id_of("Ada"), worsened_on=None)
    held.follow(minutes=5)
    assert held.rows[second].dropped, "it is all as it was last told"
    held.now = MORNING + 2 * ONE_DAY
    assert all(intent.kind == "edit" for intent in held.follow())


def test_a_line_that_becomes_urgent_before_the_digest_left_is_told_by_itself_alone(held: Desk) -> None:
    held.happens(fall("Ada"), fall("Bob"), score=P3)
    held.now = MORNING
    held.follow()
    held.scores[id_of("Ada")] = P1
    (post,) = held.follow(minutes=5)
    assert (post.kind, post.key, post.not_before) == ("post", f"{key('Ada')}:2", None)
    assert held.plan().is_empty
    assert {*leaves(held), post.key} == {post.key, digest(MORNING.date()), key("Bob")}
    assert "Ada" not in held.says(digest(MORNING.date()))


@pytest.mark.parametrize("what", ["ends", "vanishes", "is snoozed"])
@pytest.mark.parametrize("crowded", [False, True])
def test_the_post_of_a_line_that_became_urgent_does_not_leave_when_that_is_past(
    catalog: Catalog, what: str, crowded: bool
) -> None:
    night = QuietHours(start=dt.time(20), end=dt.time(7))
    here = desk(catalog, severities=BOTH_AT_ONCE_OF_THREE, quiet_hours=night, per_hour=1)
    here.draws = True
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.now = dt.datetime(2025, 7, 4, 21, tzinfo=dt.UTC)
    if crowded:
        here.happens(fall("Bob"), score=P2 + 1)
    here.scores[id_of("Ada")] = P2
    here.follow()
    again = f"{key('Ada')}:2"
    assert again in here.rows and "told anew in the channel" in here.says(key("Ada"))
    if what == "ends":
        here.ends(id_of("Ada"))
    elif what == "vanishes":
        here.vanishes(id_of("Ada"))
    else:
        here.decides("snooze", id_of("Ada"), scope="here", until=dt.date(2025, 7, 7))
    assert {(i.kind, i.of) for i in here.follow(minutes=5)} == {("edit", key("Ada"))}
    assert here.plan().is_empty
    assert here.rows[again].dropped and here.rows[f"{again}:chart:1"].dropped
    rollup = f"eu_dsa:rollup:{MAIN}:2025-07-05T07"
    assert (rollup in here.rows) == crowded and (not crowded or here.rows[rollup].dropped)
    shown = {"ends": "Recovered · P2", "vanishes": "Withdrawn · P2", "is snoozed": "Snoozed until 7 July"}[what]
    assert shown in here.says(key("Ada"))
    here.now = MORNING + ONE_DAY
    told = here.follow()
    if what == "is snoozed":
        assert told == []
        here.now = dt.datetime(2025, 7, 7, 9, tzinfo=dt.UTC)
        assert f"{key('Ada')}:3" in [intent.key for intent in here.follow()], "it is still more urgent than was told"
    else:
        assert [i.key for i in told if i.kind == "post"] == [digest(MORNING.date() + ONE_DAY)]
        assert "1 ended" in here.says(digest(MORNING.date() + ONE_DAY)), "whoever read the line reads how it ended"


@pytest.mark.parametrize("what", ["ends", "is snoozed"])
def test_a_line_of_a_roll_up_is_struck_when_its_message_has_not_left_and_is_past(catalog: Catalog, what: str) -> None:
    here = desk(catalog, per_hour=1, severities=BOTH_AT_ONCE, quiet_hours=QuietHours(start=dt.time(22), end=dt.time(7)))
    here.draws = True
    here.now = dt.datetime(2025, 7, 4, 0, 10, tzinfo=dt.UTC)
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.follow()
    rollup = f"eu_dsa:rollup:{MAIN}:2025-07-04T00"
    here.happens(fall("Cleo"), score=P1)
    here.follow(minutes=5)
    assert "2 more incidents" in here.says(rollup)
    here.connected = False
    here.happens(fall("Dan"), score=P1)
    here.follow(minutes=5)
    assert "3 more incidents" in here.says(rollup)
    if what == "ends":
        here.ends(id_of("Dan"))
    else:
        here.decides("snooze", id_of("Dan"), scope="here", until=dt.date(2025, 7, 7))
    (edit,) = here.follow(minutes=5)
    assert (edit.kind, edit.of) == ("edit", rollup) and "2 more incidents" in here.says(rollup)
    assert here.rows[key("Dan")].dropped and here.rows[f"{key('Dan')}:chart:1"].dropped
    here.connected = True
    assert here.follow(hours=1) == []


def test_a_roll_up_that_waits_is_written_anew_before_it_leaves(catalog: Catalog) -> None:
    here = desk(catalog, per_hour=1)
    here.connected = False
    here.happens(fall("Ada"), score=P1 + 1)
    here.happens(fall("Bob"), fall("Cleo"), score=P1)
    here.follow()
    rollup = f"eu_dsa:rollup:{MAIN}:2025-07-03T12"
    here.ends(id_of("Bob"))
    assert all(intent.kind == "edit" for intent in here.follow(minutes=5))
    assert "1 more incident within" in here.says(rollup) and "Bob" not in here.says(rollup)
    here.happens(fall("Dan"), score=P1)
    assert [i.key for i in here.follow(minutes=5) if i.kind != "edit"] == [key("Dan")]
    assert "2 more incidents within" in here.says(rollup)
    for name in ("Cleo", "Dan"):
        here.ends(id_of(name))
    assert here.follow(minutes=5) == [] and here.rows[rollup].dropped
    here.happens(fall("Eve"), score=P1)
    assert [i.key for i in here.follow(minutes=5)] == [f"{rollup}:2", key("Eve")]


def test_a_line_of_a_digest_is_struck_when_its_message_got_stuck_behind_it_and_is_past(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.changes(id_of("Ada"), state="worsening", worsened_on=DAY)
    here.happens(fall("Bob"), fall("Cleo"), score=P3)
    here.now += ONE_DAY
    second = digest(here.now.date())
    here.follow()
    here.rows[key("Bob")].sent_at = None  # Slack went down just after the digest
    here.connected = False
    here.ends(id_of("Bob"))
    intents = here.follow(minutes=1)
    assert {(i.kind, i.of) for i in intents} == {("edit", second), ("edit", key("Cleo"))}, "the other one's rank"
    assert here.rows[key("Bob")].dropped and "Bob" not in here.says(second)
    assert "Cleo" in here.says(second) and "worsening · Ada" in here.says(second)
    assert here.follow(minutes=1) == []


# ── What people decide ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_slack_refused_for_now_is_taken_back_like_what_nobody_tried_to_send(catalog: Catalog) -> None:
    here = desk(catalog)
    here.connected, here.attempts = False, 3
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.vanishes(id_of("Ada"))
    assert here.follow(minutes=5) == []
    assert here.rows[key("Ada")].dropped


@pytest.mark.parametrize("state", ["recovered", "settled", "merged", "retracted"])
def test_what_is_over_before_its_post_left_is_never_posted_and_told_anew_when_it_flares_up(
    catalog: Catalog, state: str
) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.ends(id_of("Ada"), state)
    assert here.follow(minutes=5) == []
    assert here.rows[key("Ada")].dropped
    here.connected = True
    assert here.follow(hours=1) == []
    here.changes(id_of("Ada"), state="ongoing", ended=None)
    here.scores[id_of("Ada")] = P1
    (post,) = here.follow(hours=1)
    assert (post.kind, post.key) == ("post", f"{key('Ada')}:2")


def test_what_is_snoozed_before_its_post_left_is_told_when_the_snooze_ends(catalog: Catalog) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("snooze", id_of("Ada"), scope="segment", until=here.now.date() + 2 * ONE_DAY)
    assert here.follow(minutes=5) == []
    assert here.rows[key("Ada")].dropped
    assert [withheld.incident.id for withheld in here.plan().withheld] == [id_of("Ada")]
    here.connected = True
    here.next_day()
    assert here.follow(hours=24) == []
    here.next_day()
    (post,) = here.follow(hours=24)
    assert (post.kind, post.key) == ("post", f"{key('Ada')}:2")


def test_what_people_decide_is_shown_and_said_in_the_thread(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    edit, reply = here.follow(minutes=5)
    assert "Acknowledged by @UANA" in here.says(key("Ada"))
    assert (edit.of, reply.key) == (key("Ada"), f"{key('Ada')}:acknowledged:1")
    here.decides("assign", id_of("Ada"), assignee="UBEN")
    here.decides("verdict", id_of("Ada"), user="UBEN", verdict="real", cause="abuse")
    intents = here.follow(minutes=5)
    assert [i.key.split(":")[-2] for i in intents] == ["edit", "verdict", "assigned"]
    here.decides("undo", id_of("Ada"), user="ULEA", undoes=3)
    _, reply = here.follow(minutes=5)
    assert "taken back by @ULEA" in texts([reply])
    assert "Verdict" not in here.says(key("Ada"))


def test_a_verdict_on_what_is_long_over_is_shown_in_its_message(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.ends(id_of("Ada"))
    here.follow(hours=1)
    for _ in range(9):
        here.next_day()
        assert here.follow(hours=24) == []
    here.decides("verdict", id_of("Ada"), verdict="false_alarm", cause="noise")
    edit, reply = here.follow(minutes=1)
    assert (edit.kind, reply.kind) == ("edit", "reply")
    assert "Verdict: false alarm, noise" in here.says(key("Ada"))
    here.next_day()
    assert here.follow(hours=24) == []


def test_what_people_decide_of_a_line_is_no_reason_for_a_digest_but_is_said_in_one(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    (edit,) = here.follow(minutes=5)
    assert edit.of == key("Ada")
    here.now = MORNING + ONE_DAY
    assert here.follow() == []
    here.happens(fall("Bob"), score=P3)
    digest_, reply = here.follow(hours=1)
    assert "acknowledged · Ada" in texts([digest_]) and reply.key == key("Bob")


def test_whoever_is_not_acknowledged_in_time_is_told_so_once_with_a_mention(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR, routes=(Route(mention=("U0ONCALL",)),))
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.follow()
    assert here.plan().next_at == NOON + HOUR
    here.decides("acknowledge", id_of("Bob"))
    here.follow(minutes=59)
    edit, reply = here.follow(minutes=1)
    assert (edit.of, reply.key) == (key("Ada"), f"{key('Ada')}:overdue:1")
    assert "@U0ONCALL" in texts([reply]) and "Overdue since 13:00 UTC" in here.says(key("Ada"))
    assert here.follow(hours=9) == []


@pytest.mark.parametrize("kind", ["acknowledge", "assign", "verdict", "snooze"])
def test_whoever_takes_care_of_it_in_any_way_is_not_overdue(catalog: Catalog, kind: str) -> None:
    values: dict[str, dict[str, Any]] = {
        "assign": {"assignee": "UBEN"}, "verdict": {"verdict": "real"},
        "snooze": {"scope": "here", "until": DAY + 7 * ONE_DAY},
    }  # fmt: skip
    here = desk(catalog, severities=IN_AN_HOUR)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides(kind, id_of("Ada"), **values.get(kind, {}))
    here.follow(minutes=5)
    assert here.follow(hours=2) == []


def test_nobody_is_asked_in_the_morning_for_what_was_acknowledged_in_the_night(catalog: Catalog) -> None:
    hurried = (IN_AN_HOUR[0], IN_AN_HOUR[1].model_copy(update={"at_once": True, "acknowledge_within_minutes": 60}))
    here = desk(catalog, severities=hurried, quiet_hours=QuietHours(start=dt.time(21), end=dt.time(7)))
    here.now = dt.datetime(2025, 7, 3, 20, 30, tzinfo=dt.UTC)
    here.happens(fall("Ada"), score=P2)
    here.follow()
    _, asked = here.follow(minutes=61)
    assert ":overdue:" in asked.key
    assert asked.not_before is not None
    acknowledged = here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    assert here.rows[asked.key].dropped
    here.decides("undo", id_of("Ada"), user="ULEA", undoes=acknowledged.id)
    assert any(":overdue:" in intent.key for intent in here.follow(minutes=5)), "it never went out, and is due again"


def test_nobody_is_late_to_acknowledge_what_slack_does_not_have(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.connected = False
    here.happens(fall("Ada"), score=P1)
    here.follow()
    assert here.follow(hours=3) == []
    here.connected = True
    assert [i.kind for i in here.follow()] == ["edit"]
    assert "To be acknowledged by 16:00 UTC" in here.says(key("Ada")), "time runs from when Slack had it"
    assert here.plan().next_at == NOON + 4 * HOUR
    assert kinds(here.follow(hours=1))[1][1].endswith(":overdue:2")


def test_a_message_that_arrives_promptly_is_not_edited_for_its_clock(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.connected = False
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.connected = True
    assert here.follow(minutes=9) == []


def test_the_clock_runs_anew_from_a_raised_severity(catalog: Catalog) -> None:
    severities = (
        Severity(name="P1", minimum_score=10, at_once=True, acknowledge_within_minutes=30),
        Severity(name="P2", at_once=True),
    )
    here = desk(catalog, severities=severities)
    here.happens(fall("Ada"), score=P2)
    here.follow()
    here.scores[id_of("Ada")] = P1
    assert [k.split(":")[-2] for _, k in kinds(here.follow(hours=5))] == ["edit", "raised"]
    assert here.plan().next_at == NOON + 5 * HOUR + 30 * MINUTE
    assert [k.split(":")[-2] for _, k in kinds(here.follow(minutes=30))] == ["edit", "overdue"]


def test_the_clock_runs_anew_when_it_flares_up_and_when_a_snooze_ends(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.ends(id_of("Ada"))
    here.follow(minutes=10)
    here.changes(id_of("Ada"), state="ongoing", ended=None)
    here.scores[id_of("Ada")] = P1
    assert [k.split(":")[-2] for _, k in kinds(here.follow(hours=30))] == ["edit", "reopened"]
    assert here.plan().next_at == here.now + HOUR
    here.decides("snooze", id_of("Ada"), scope="here", until=DAY + 5 * ONE_DAY)
    here.follow(minutes=1)
    here.now = dt.datetime(2025, 7, 8, tzinfo=dt.UTC)
    assert [k.split(":")[-2] for _, k in kinds(here.follow())] == ["edit", "snoozed"]
    assert [k.split(":")[-2] for _, k in kinds(here.follow(hours=1))] == ["edit", "overdue"]


AT_ONCE_IN_AN_HOUR = (IN_AN_HOUR[0], IN_AN_HOUR[1].model_copy(update={"at_once": True}), IN_AN_HOUR[2])


def flares_up(here: Desk, name: str, score: float = P1) -> None:
    here.ends(id_of(name))
    here.follow(minutes=10)
    here.changes(id_of(name), state="ongoing", ended=None)
    here.scores[id_of(name)] = score


@pytest.mark.parametrize(
    ("first", "again", "words"), [(P1, "reopened", "it flared up again"), (P2, "raised", "its severity was raised")]
)
def test_an_acknowledgement_from_before_it_got_worse_counts_no_more(
    catalog: Catalog, first: float, again: str, words: str
) -> None:
    here = desk(catalog, severities=AT_ONCE_IN_AN_HOUR, routes=(Route(mention=("U0ONCALL",)),))
    here.actions = True
    here.happens(fall("Ada"), score=first)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.decides("assign", id_of("Ada"), assignee="UBEN")
    here.decides("verdict", id_of("Ada"), verdict="real", cause="abuse")
    here.follow(minutes=5)
    assert "[Acknowledge]" not in here.says(key("Ada"))
    if again == "reopened":
        flares_up(here, "Ada")
    else:
        here.scores[id_of("Ada")] = P1
    assert [k.split(":")[-2] for _, k in kinds(here.follow(hours=5))] == ["edit", again], "nobody took anything back"
    told = here.says(key("Ada"))
    assert "[Acknowledge]" in told and f"Acknowledged by @UANA before {words}" in told
    assert "Assigned to @UBEN" in told and "Verdict: real, abuse" in told, "these stay"
    assert here.follow(minutes=1) == []
    edit, reply = here.follow(minutes=59)
    assert edit.kind == "edit" and ":overdue:" in reply.key
    assert f"@U0ONCALL Nobody has acknowledged this since {words}." in texts([reply])
    here.decides("acknowledge", id_of("Ada"))
    assert [k.split(":")[-2] for _, k in kinds(here.follow(minutes=15))] == ["edit", "acknowledged"]
    assert "Acknowledged by @UANA after 60 min" in here.says(key("Ada"))
    assert "[Acknowledge]" not in here.says(key("Ada")) and "before" not in here.says(key("Ada"))
    here.decides("undo", id_of("Ada"), undoes=4)
    here.follow(minutes=1)
    assert f"Acknowledged by @UANA before {words}" in here.says(key("Ada"))


def test_an_acknowledgement_counts_no_more_under_whatever_name_it_was_given(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.ends(id_of("Ada"))
    here.follow(minutes=10)
    here.vanishes(id_of("Ada"))
    renamed = fall("Ada", onset=DAY - 5 * ONE_DAY)
    here.happens(renamed, score=P1)
    here.follow(hours=1)
    assert "Acknowledged by @UANA before it flared up again" in here.says(key("Ada"))
    again = fall("Ada", onset=DAY - 6 * ONE_DAY)
    here.vanishes(renamed.id)
    here.happens(again, score=P1)
    here.follow(minutes=1)
    assert "Acknowledged by @UANA before it flared up again" in here.says(key("Ada"))
    here.decides("acknowledge", again.id, user="UBEN")
    here.follow(minutes=1)
    assert "Acknowledged by @UBEN" in here.says(key("Ada"))


def test_of_a_line_an_acknowledgement_counts_until_the_digest_tells_that_it_got_worse(catalog: Catalog) -> None:
    hurried = (*IN_AN_HOUR[:2], IN_AN_HOUR[2].model_copy(update={"acknowledge_within_minutes": 90}))
    here = desk(catalog, severities=hurried)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    here.ends(id_of("Ada"))
    here.now = MORNING + ONE_DAY
    here.follow()
    here.changes(id_of("Ada"), state="ongoing", ended=None)
    here.scores[id_of("Ada")] = P3
    here.follow(hours=1)
    assert "Acknowledged by @UANA after" in here.says(key("Ada"))
    here.now = MORNING + 2 * ONE_DAY
    digest_, edit = here.follow()
    assert "flared up again" in texts([digest_]) and edit.of == key("Ada")
    assert "To be acknowledged by 10:00 UTC" in here.says(key("Ada"))
    assert "Acknowledged by @UANA before it flared up again" in here.says(key("Ada"))
    assert here.follow(minutes=89) == []
    assert any(":overdue:" in intent.key for intent in here.follow(minutes=1))


def test_a_line_raised_to_a_post_of_its_own_is_to_be_acknowledged_anew(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    here.scores[id_of("Ada")] = P1
    here.follow(hours=1)
    assert "Acknowledged by @UANA before its severity was raised" in here.says(f"{key('Ada')}:2")
    assert any(":overdue:" in intent.key for intent in here.follow(hours=1))


def test_the_end_of_a_snooze_leaves_an_acknowledgement_as_it_is(catalog: Catalog) -> None:
    here = desk(catalog, severities=IN_AN_HOUR)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    snooze(here, "Ada")
    here.follow(minutes=1)
    here.now = dt.datetime(2025, 7, 5, tzinfo=dt.UTC)
    assert [k.split(":")[-2] for _, k in kinds(here.follow())] == ["edit", "snoozed"]
    assert "Acknowledged by @UANA" in here.says(key("Ada")) and here.follow(hours=5) == []


@pytest.mark.parametrize("held_by", ["quiet hours", "Slack"])
def test_nobody_is_late_to_acknowledge_anew_what_has_not_been_told_yet(catalog: Catalog, held_by: str) -> None:
    severities = (Severity(name="P0", minimum_score=100, at_once=True), *IN_AN_HOUR)
    here = desk(catalog, severities=severities, quiet_hours=QuietHours(start=dt.time(21), end=dt.time(7)))
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.now = dt.datetime(2025, 7, 3, 20 if held_by == "Slack" else 22, tzinfo=dt.UTC)
    flares_up(here, "Ada")
    here.connected = held_by != "Slack"
    _, reply = here.follow(minutes=5)
    assert ":reopened:" in reply.key
    assert all(intent.kind == "edit" for intent in here.follow(hours=8))
    here.connected = True
    here.now = dt.datetime(2025, 7, 4, 7, tzinfo=dt.UTC)
    here.follow()
    assert "To be acknowledged by 08:00 UTC" in here.says(key("Ada"))
    assert any(":overdue:" in intent.key for intent in here.follow(hours=1))


# ── Snoozes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def snooze(here: Desk, name: str, days: int = 2, scope: str = "here") -> None:
    here.decides("snooze", id_of(name), scope=scope, until=here.now.date() + days * ONE_DAY)


def test_a_snoozed_incident_is_silent_and_its_message_stays_true(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    snooze(here, "Ada")
    edit, reply = here.follow(minutes=1)
    assert "Snoozed until 5 July 2025" in here.says(key("Ada"))
    assert reply.key == f"{key('Ada')}:snoozed:1", "who snoozes it is seen in the thread"
    here.changes(id_of("Ada"), state="worsening", worsened_on=DAY, observed=123_000.0)
    (edit,) = here.follow(hours=1)
    assert edit.kind == "edit" and "123 k" in here.says(key("Ada"))
    here.now = dt.datetime(2025, 7, 5, tzinfo=dt.UTC)
    edit, reply = here.follow()
    assert reply.key.split(":")[-2] == "worsening", "what was not told is told when it is over"
    assert "Snoozed" not in here.says(key("Ada"))


def test_the_end_of_a_snooze_is_told_of_what_is_still_open(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.follow()
    for name in ("Ada", "Bob"):
        snooze(here, name)
    here.follow(minutes=1)
    assert here.plan().next_at == dt.datetime(2025, 7, 5, tzinfo=dt.UTC)
    here.ends(id_of("Bob"))
    assert [i.kind for i in here.follow(hours=1)] == ["edit"]
    here.now = dt.datetime(2025, 7, 5, tzinfo=dt.UTC)
    replies = [i for i in here.follow() if i.kind == "reply"]
    assert [reply.of for reply in replies] == [key("Ada")], "what is over by then is not told any more"
    assert "Snooze lifted" in texts(replies)


def test_what_is_withdrawn_while_it_is_snoozed_is_in_no_digest_afterwards(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    snooze(here, "Ada", scope="metric")
    here.vanishes(id_of("Ada"))
    assert [i.kind for i in here.follow(minutes=1)] == ["edit"]
    assert here.plan().next_at is None
    for _ in range(3):
        here.next_day()
        assert here.follow(hours=24) == []


def test_the_end_of_a_snooze_changes_nothing_of_what_is_over(catalog: Catalog) -> None:
    here = desk(catalog)
    here.actions = True
    here.happens(fall("Ada"), score=P1)
    here.follow()
    snooze(here, "Ada")
    here.follow(minutes=1)
    here.ends(id_of("Ada"))
    assert [i.kind for i in here.follow(hours=1)] == ["edit"]
    here.now = dt.datetime(2025, 7, 5, tzinfo=dt.UTC)
    assert here.follow() == []


def test_a_snooze_lifted_by_somebody_says_who(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    snooze(here, "Ada")
    here.follow(minutes=1)
    here.decides("unsnooze", id_of("Ada"), user="ULEA")
    _, reply = here.follow(minutes=1)
    assert "Snooze lifted by @ULEA" in texts([reply])


def test_whoever_lifts_a_snooze_at_a_terminal_is_named_and_not_who_undid_something_else(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    judged = here.decides("verdict", id_of("Ada"), verdict="real")
    here.follow(minutes=1)
    here.decides("undo", id_of("Ada"), user="UBEN", undoes=judged.id)
    here.follow(minutes=1)
    snooze(here, "Ada")
    here.follow(minutes=1)
    ada = here.record[id_of("Ada")]
    lifted = here.decides("unsnooze", id_of("Ada"), user="cli:lea")
    here.decisions[-1] = replace(lifted, incident="", metric=ada.metric, segment=ada.segment)  # it names no incident
    _, reply = here.follow(minutes=1)
    assert "Snooze lifted by lea" in texts([reply])


def test_a_snooze_that_is_undone_is_lifted_by_who_undid_it(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    snooze(here, "Ada")
    here.follow(minutes=1)
    here.decides("undo", id_of("Ada"), user="UBEN", undoes=1)
    here.decides("undo", id_of("Ada"), user="UCLEO", undoes=2)  # it is snoozed again
    assert here.follow(minutes=1) == []
    here.decides("undo", id_of("Ada"), user="ULEA", undoes=3)
    _, reply = here.follow(minutes=1)
    assert "Snooze lifted by @ULEA" in texts([reply])


def test_two_decisions_taken_back_at_once_name_each_their_own(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("verdict", id_of("Ada"), verdict="real")
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=1)
    here.decides("undo", id_of("Ada"), user="UBEN", undoes=1)
    here.decides("undo", id_of("Ada"), user="UCLEO", undoes=2)
    said = texts(here.follow(minutes=1)[1:])
    assert "The verdict was taken back by @UBEN" in said
    assert "No longer acknowledged: taken back by @UCLEO" in said


def test_a_snooze_of_a_metric_is_said_in_one_thread_and_silences_all_it_covers(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.follow()
    snooze(here, "Ada", scope="metric")
    intents = here.follow(minutes=1)
    assert [(i.kind, i.of) for i in intents if i.kind == "reply"] == [("reply", key("Ada"))]
    assert "Snoozed until" in here.says(key("Bob"))
    here.happens(fall("Cleo"), score=P1)
    assert here.follow(hours=1) == []
    (withheld,) = here.plan().withheld
    assert withheld == Withheld(here.record[id_of("Cleo")], "snoozed until 5 July 2025")


def test_what_was_not_told_for_a_snooze_is_told_when_it_ends_however_old_it_is_by_then(catalog: Catalog) -> None:
    here = desk(catalog, newest_days=1, per_day=2)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    snooze(here, "Ada", days=5, scope="metric")
    here.happens(fall("Bob"), score=P1)
    here.happens(fall("Cleo"), score=P2)
    here.follow(minutes=1)
    for _ in range(4):
        here.next_day()
        assert all(i.kind == "edit" for i in here.follow(hours=24))
    here.ends(id_of("Cleo"))
    here.now = dt.datetime(2025, 7, 8, tzinfo=dt.UTC)
    assert [i.key for i in here.follow() if i.kind == "post"] == [key("Bob")], "and what is over is not"


def test_a_snoozed_incident_takes_no_place_and_is_counted_in_the_digest(catalog: Catalog) -> None:
    here = desk(catalog, per_day=1)
    here.happens(fall("Ada"), score=P1)
    here.decides("snooze", id_of("Ada"), scope="here", until=DAY + 9 * ONE_DAY)
    here.happens(fall("Bob"), score=P3)
    here.now = MORNING
    post, reply = here.follow()
    assert "2 open, 1 snoozed" in texts([post]).replace(" · ", ", ")
    assert "Ada" not in texts([post]) and reply.key == key("Bob")


def test_what_people_decide_of_a_snoozed_line_is_in_no_digest(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    snooze(here, "Ada", days=9)
    here.decides("verdict", id_of("Ada"), verdict="expected")
    here.follow(hours=1)
    here.happens(fall("Bob"), score=P3)
    here.now = MORNING + ONE_DAY
    assert "Ada" not in texts(here.follow()[:1])


# ── Charts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chart_follows_its_message_and_another_one_each_worsening(catalog: Catalog) -> None:
    here = desk(catalog)
    here.draws = True
    here.happens(fall("Ada"), score=P1)
    post, upload = here.follow()
    assert (upload.kind, upload.key, upload.of) == ("upload", f"{key('Ada')}:chart:1", key("Ada"))
    assert "Chart in the thread" in texts([post])
    assert here.follow(hours=1) == []
    here.changes(id_of("Ada"), state="worsening", worsened_on=DAY)
    assert [i.kind for i in here.follow(hours=1)] == ["edit", "reply", "upload"]
    assert here.thread(key("Ada"))[-1] == f"{key('Ada')}:chart:2"


def test_in_a_digest_s_thread_each_chart_stands_below_its_incident_and_says_of_what(catalog: Catalog) -> None:
    here = desk(catalog)
    here.draws = True
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.now = MORNING
    _, first, chart, second, other = here.follow()
    assert [first.key, second.key] == [key("Ada"), key("Bob")]
    assert (chart.key, chart.of) == (f"{key('Ada')}:chart:1", digest(MORNING.date()))
    assert "Ada" in chart.text and "Bob" in other.text


def test_a_chart_that_could_not_be_drawn_is_added_when_it_can(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    assert [i.unit for i in here.plan().undrawn] == ["Ada"]
    here.draws = True
    assert [i.kind for i in here.follow(hours=1)] == ["edit", "upload"]
    here.draws = False
    assert here.plan().undrawn == ()
