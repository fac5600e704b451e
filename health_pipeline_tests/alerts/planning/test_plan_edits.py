"""A message stays true, and its thread or the next digest says what happened."""

from __future__ import annotations

import pytest

from health_pipeline.catalog.alerts import Route
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    BOTH_AT_ONCE,
    DAY,
    MORNING,
    ONE_DAY,
    P1,
    P2,
    P3,
    desk,
    digest,
    fall,
    id_of,
    key,
    kinds,
    texts,
)


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


def test_what_people_decided_holds_for_an_incident_that_was_over_by_its_other_onset(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.decides("acknowledge", id_of("Ada"))
    here.follow(minutes=5)
    for _ in range(4):
        here.next_day()
    here.vanishes(id_of("Ada"))
    over = fall("Ada", onset=DAY - 2 * ONE_DAY, state="recovered", ended=DAY)
    here.record[over.id] = over  # of an earlier day: it is not in the newest any more
    assert here.follow(hours=1) == [], "it is read by its new name from now on"
    edit, reply = here.follow(hours=1)
    assert (edit.kind, ":recovered:" in reply.key) == ("edit", True)
    assert "Acknowledged by @UANA" in here.says(key("Ada"))


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
