"""A chart follows its message."""

from __future__ import annotations

from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    MORNING,
    P1,
    P3,
    desk,
    digest,
    fall,
    id_of,
    key,
    texts,
)


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
