"""What people decide is shown and said."""

from __future__ import annotations

from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    MORNING,
    ONE_DAY,
    P1,
    P3,
    desk,
    fall,
    id_of,
    key,
    texts,
)


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
