"""The time to acknowledge: when it runs, when it is over, and when it begins anew."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from health_pipeline.catalog.alerts import QuietHours, Route, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    HOUR,
    IN_AN_HOUR,
    MINUTE,
    MORNING,
    NOON,
    ONE_DAY,
    P1,
    P2,
    P3,
    Desk,
    desk,
    fall,
    id_of,
    key,
    kinds,
    snooze,
    texts,
)


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


def test_nobody_is_asked_twice_while_a_digest_of_what_happened_waits(catalog: Catalog) -> None:
    hurried = (*IN_AN_HOUR[:2], IN_AN_HOUR[2].model_copy(update={"acknowledge_within_minutes": 60 * 24 + 5}))
    here = desk(catalog, severities=hurried)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.connected = False
    here.changes(id_of("Ada"), state="worsening", worsened_on=DAY)
    here.now = MORNING + ONE_DAY
    assert [i.kind for i in here.follow()] == ["post", "edit"]
    _, asked = here.follow(minutes=5)
    assert ":overdue:" in asked.key
    assert here.plan().is_empty and here.follow(hours=2) == []
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    assert here.rows[asked.key].dropped


def test_a_question_that_was_dropped_for_a_message_that_never_left_is_asked_again(catalog: Catalog) -> None:
    hurried = (*IN_AN_HOUR[:2], IN_AN_HOUR[2].model_copy(update={"acknowledge_within_minutes": 60}))
    here = desk(catalog, severities=hurried)
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.connected = False
    _, asked = here.follow(hours=1)
    assert ":overdue:" in asked.key
    here.scores[id_of("Ada")] = P1
    here.follow(minutes=5)
    assert here.rows[asked.key].dropped, "it is told anew"
    snoozed = here.decides("snooze", id_of("Ada"), scope="here", until=MORNING.date() + 2 * ONE_DAY)
    here.follow(minutes=5)
    assert here.rows[f"{key('Ada')}:2"].dropped
    here.decides("undo", id_of("Ada"), undoes=snoozed.id)
    here.scores[id_of("Ada")] = P3
    here.connected = True
    assert any(":overdue:" in intent.key for intent in here.follow(hours=2))
