"""The list of a day is made after its incidents: who looks between must not take what is unranked for harmless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.post import preview, refresh
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import to_table
from health_pipeline_tests.alerts.follow import (
    DAY,
    MINUTE,
    MORNING,
    NOON,
    ONE_DAY,
    P1,
    desk,
    fall,
    id_of,
    kinds,
    snooze,
    with_alerts,
)
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import FakeSlack

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    return with_alerts(catalog, severities=(Severity(name="P1", minimum_score=10, at_once=True), Severity(name="P3")))


def test_a_day_without_its_list_is_not_told_of_yet(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    record.judge(DAY, fall("Ada"))
    refresh(catalog, record.sources, state_url, now=NOON)
    (post,) = connected.messages
    before = as_plain_text(Content(post["text"], tuple(post["blocks"])))
    tomorrow = [fall("Ada", state="ongoing", day=DAY + ONE_DAY), fall("Bob", day=DAY + ONE_DAY)]
    record.sources.incidents.publish(DAY + ONE_DAY, to_table(tomorrow))
    assert refresh(catalog, record.sources, state_url, now=NOON + ONE_DAY).newest == DAY
    assert all("Bob" not in intent.text for intent in preview(catalog, record.sources, None, now=NOON).intents)
    assert len(connected.messages) == 1
    assert as_plain_text(Content(post["text"], tuple(post["blocks"]))) == before
    record.judge(DAY + ONE_DAY, *tomorrow)
    assert refresh(catalog, record.sources, state_url, now=NOON + ONE_DAY).newest == DAY + ONE_DAY
    assert [message["text"].partition(":")[0] for message in connected.messages] == ["Ongoing, P1", "New, P1"]


def test_what_a_list_of_before_does_not_have_keeps_its_severity(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    record.judge(DAY, fall("Ada"))
    refresh(catalog, record.sources, state_url, now=NOON)
    record.judge(DAY + ONE_DAY, fall("Bob"))
    record.sources.incidents.publish(DAY + ONE_DAY, to_table([fall("Ada", day=DAY + ONE_DAY)]))  # judged anew
    refresh(catalog, record.sources, state_url, now=MORNING + ONE_DAY)
    (post,) = connected.messages
    assert "P1" in post["text"] and "P3" not in post["text"]


def test_while_the_lists_of_a_history_are_made_nothing_of_long_ago_is_told(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    ada = fall("Ada")
    record.judge(DAY, ada)  # the first list of them
    newest = DAY + 20 * ONE_DAY
    record.sources.incidents.publish(newest, to_table([replace(ada, state="recovered", ended=DAY, day=newest)]))
    assert not preview(catalog, record.sources, None, now=NOON, digest_now=True).intents
    refresh(catalog, record.sources, state_url, now=NOON + 20 * ONE_DAY)
    assert not connected.messages
    record.judge(newest, fall("Bob", first_reported=newest, onset=newest))
    refresh(catalog, record.sources, state_url, now=NOON + 20 * ONE_DAY)
    assert ["Bob" in message["text"] for message in connected.messages] == [True]


def test_what_was_told_does_not_go_back_to_the_days_whose_lists_are_made_first(
    catalog: Catalog, record: Record, tmp_path: Path, state_url: str, connected: FakeSlack
) -> None:
    ada = fall("Ada")
    over = replace(ada, state="recovered", ended=DAY + ONE_DAY, day=DAY + ONE_DAY)
    record.judge(DAY, ada)
    refresh(catalog, record.sources, state_url, now=NOON)
    record.judge(DAY + ONE_DAY, over)
    refresh(catalog, record.sources, state_url, now=NOON + ONE_DAY)
    before = [message["text"] for message in connected.messages]
    anew = Record(tmp_path / "anew")  # the lake was deleted, and is computed again
    anew.judge(DAY, ada)
    anew.sources.incidents.publish(DAY + ONE_DAY, to_table([over]))
    assert refresh(catalog, anew.sources, state_url, now=NOON + ONE_DAY).plan.is_empty
    assert [message["text"] for message in connected.messages] == before


def test_what_was_snoozed_is_told_as_grave_as_the_list_has_it(catalog: Catalog) -> None:
    here = desk(catalog)
    here.happens(fall("Ada"), score=P1)
    snooze(here, "Ada", days=1)
    assert not here.follow()
    here.next_day()
    del here.scores[id_of("Ada")]  # the day was judged anew, and its list is of before
    assert not here.follow(days=1)
    here.scores[id_of("Ada")] = P1
    assert kinds(here.follow(minutes=1)) == [("post", f"{id_of('Ada')}:open")]


def test_a_digest_waits_for_the_list_of_the_newest_day(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    record.judge(DAY, fall("Ada"), scores=1.0)
    refresh(catalog, record.sources, state_url, now=NOON)
    refresh(catalog, record.sources, state_url, now=MORNING)
    digest = len(connected.messages)
    assert digest == 2
    over = replace(fall("Ada"), state="recovered", ended=DAY + ONE_DAY)
    record.judge(DAY + ONE_DAY, over, fall("Bob", first_reported=DAY + ONE_DAY), scores=1.0)
    record.sources.incidents.publish(DAY + 2 * ONE_DAY, to_table([]))
    refresh(catalog, record.sources, state_url, now=MORNING + ONE_DAY)
    assert len(connected.messages) == digest
    assert refresh(catalog, record.sources, state_url, now=MORNING + ONE_DAY + MINUTE).plan.is_empty
    listed = [over, fall("Bob", first_reported=DAY + ONE_DAY)]
    record.judge(DAY + 2 * ONE_DAY, *listed, scores=1.0)
    refresh(catalog, record.sources, state_url, now=MORNING + ONE_DAY + MINUTE)
    said = connected.messages[digest]
    lines = as_plain_text(Content(said["text"], tuple(said["blocks"])))
    assert "Ada" in lines and "Bob" in lines
