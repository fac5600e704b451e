"""What has not left when it is past: it never leaves, and is told anew when it is so again."""

from __future__ import annotations

import datetime as dt

import pytest

from health_pipeline.catalog.alerts import QuietHours
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    BOTH_AT_ONCE,
    BOTH_AT_ONCE_OF_THREE,
    DAY,
    HOUR,
    MAIN,
    MORNING,
    ONE_DAY,
    P1,
    P2,
    P3,
    Desk,
    desk,
    digest,
    fall,
    id_of,
    key,
)

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


@pytest.mark.parametrize("later", [4 * HOUR, 16 * HOUR])
def test_a_digest_of_which_a_line_is_struck_is_still_that_of_its_morning(catalog: Catalog, later: dt.timedelta) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.now = MORNING
    here.follow()
    here.rows[key("Ada")].sent_at = None  # Slack went down just after the digest
    here.connected = False
    here.now += later
    here.ends(id_of("Ada"))
    here.follow()
    assert here.rows[key("Ada")].dropped
    says = here.says(digest(MORNING.date()))
    assert says.startswith("Morning digest, 4 July") and "1 new" in says and "Ada" not in says
    here.rows[key("Bob")].sent_at = None
    here.ends(id_of("Bob"))
    here.follow(minutes=1)
    says = here.says(digest(MORNING.date()))
    assert says.startswith("Morning digest, 4 July") and "A calm morning" in says
    assert here.plan().is_empty


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


@pytest.mark.parametrize("score", [P1, P3])
def test_what_was_over_before_it_was_told_is_told_when_it_flares_up_however_old_it_is(
    catalog: Catalog, score: float
) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=score)
    here.now = MORNING
    here.follow()
    here.ends(id_of("Ada"))
    here.follow(minutes=5)
    assert here.rows[key("Ada")].dropped
    here.connected = True
    for _ in range(3):
        here.next_day()
        assert here.follow(hours=24) == []
    here.changes(id_of("Ada"), state="ongoing", ended=None)
    here.scores[id_of("Ada")] = score
    assert here.plan().withheld == ()
    assert f"{key('Ada')}:2" in [intent.key for intent in here.follow()]
