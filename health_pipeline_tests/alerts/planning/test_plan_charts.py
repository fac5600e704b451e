"""A chart follows its message."""

from __future__ import annotations

import datetime as dt

from health_pipeline.catalog.alerts import QuietHours
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    MORNING,
    ONE_DAY,
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


def test_a_line_that_worsened_gets_one_chart_while_the_digest_that_says_so_waits(catalog: Catalog) -> None:
    here = desk(catalog, quiet_hours=QuietHours(start=dt.time(20), end=dt.time(10)))
    here.draws = True
    here.now = MORNING
    here.happens(fall("Ada"), score=P3)
    here.follow()
    here.next_day()
    here.changes(id_of("Ada"), state="worsening", worsened_on=here.newest)
    here.now = MORNING + ONE_DAY
    assert [i.kind for i in here.follow()] == ["post", "edit", "upload"]
    assert here.plan().is_empty
    here.changes(id_of("Ada"), observed=321_000.0)
    assert [i.kind for i in here.follow(minutes=5)] == ["edit"]
    here.changes(id_of("Ada"), worsened_on=None)
    here.follow(minutes=5)
    assert here.rows[digest(here.now.date())].dropped
    here.changes(id_of("Ada"), worsened_on=here.newest)
    here.follow(minutes=5)
    charts = [name for name, row in here.rows.items() if row.intent.kind == "upload"]
    assert charts == [f"{key('Ada')}:chart:1", f"{key('Ada')}:chart:2"], "whatever became of the digest"
