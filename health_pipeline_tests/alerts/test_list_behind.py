"""The list of a day is made after its incidents: who looks between must not take what is unranked for harmless."""

from __future__ import annotations

from pathlib import Path

import pytest

from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.post import preview, refresh
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import to_table
from health_pipeline_tests.alerts.follow import DAY, MORNING, NOON, ONE_DAY, fall, with_alerts
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    return with_alerts(catalog, severities=(Severity(name="P1", minimum_score=10, at_once=True), Severity(name="P3")))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "lake")


@pytest.fixture
def connected(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_API_URL", server.url)
    return server


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
