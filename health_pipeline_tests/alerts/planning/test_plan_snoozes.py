"""What is snoozed is silent, and told when the snooze ends."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from health_pipeline.alerts.planning.telling import Withheld
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    MORNING,
    ONE_DAY,
    P1,
    P2,
    P3,
    Desk,
    desk,
    fall,
    id_of,
    key,
    snooze,
    texts,
)


@pytest.fixture
def here(catalog: Catalog) -> Desk:
    """A desk whose channel has been told of Ada."""
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    return here


@pytest.fixture
def snoozed(here: Desk) -> Desk:
    """The same, and Ada is snoozed for two days."""
    snooze(here, "Ada")
    here.follow(minutes=1)
    return here


def test_a_snoozed_incident_is_silent_and_its_message_stays_true(here: Desk) -> None:
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


def test_a_snooze_lifted_by_somebody_says_who(snoozed: Desk) -> None:
    snoozed.decides("unsnooze", id_of("Ada"), user="ULEA")
    _, reply = snoozed.follow(minutes=1)
    assert "Snooze lifted by @ULEA" in texts([reply])


def test_whoever_lifts_a_snooze_at_a_terminal_is_named_and_not_who_undid_something_else(here: Desk) -> None:
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


def test_a_snooze_that_is_undone_is_lifted_by_who_undid_it(snoozed: Desk) -> None:
    snoozed.decides("undo", id_of("Ada"), user="UBEN", undoes=1)
    snoozed.decides("undo", id_of("Ada"), user="UCLEO", undoes=2)  # it is snoozed again
    assert snoozed.follow(minutes=1) == []
    snoozed.decides("undo", id_of("Ada"), user="ULEA", undoes=3)
    _, reply = snoozed.follow(minutes=1)
    assert "Snooze lifted by @ULEA" in texts([reply])


def test_two_decisions_taken_back_at_once_name_each_their_own(here: Desk) -> None:
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
