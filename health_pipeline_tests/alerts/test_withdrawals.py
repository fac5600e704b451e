"""What was told and is no longer so is taken back, once."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from health_pipeline.alerts import outbox
from health_pipeline.alerts.message import Message, as_plain_text, incident_message, violations
from health_pipeline.alerts.post import post_newest, withdrawals
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import INCIDENTS, Incident, to_table
from health_pipeline.risks.schema import RISKS
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline_tests.alerts.by_hand import incident

DAY = dt.date(2025, 7, 3)
NAME = "tiktok-statements-2025-07-01"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", "eu_dsa")


@pytest.fixture
def incidents(lake: Lake) -> LakeTable:
    return lake.table("incidents", "incidents", INCIDENTS)


def record(table: LakeTable, *rows: Incident, day: dt.date = DAY) -> None:
    table.publish(day, to_table([dataclasses.replace(row, day=day) for row in rows]))


def told(catalog: Catalog, *rows: Incident) -> list[Message]:
    return [incident_message(catalog, row) for row in rows]


def keys(messages: Sequence[Message]) -> list[str]:
    return [message.key for message in messages]


def test_an_incident_in_the_record_is_not_taken_back_open_or_over(catalog: Catalog, incidents: LakeTable) -> None:
    record(incidents, incident(id=NAME), day=DAY - dt.timedelta(days=90))
    record(incidents, incident(id="other-statements-2025-07-01"))
    assert withdrawals(catalog, incidents, told(catalog, incident(id=NAME))) == []


def test_a_retracted_incident_is_taken_back_when_it_was_told(catalog: Catalog, incidents: LakeTable) -> None:
    record(incidents, incident(id=NAME, state="retracted", ended=DAY))
    found = withdrawals(catalog, incidents, told(catalog, incident(id=NAME)))
    assert keys(found) == [f"eu_dsa:incident:{NAME}:retracted"]
    text = as_plain_text(found[0])
    assert "Withdrawn: the data as they are now no longer show that this fell on 1 July 2025" in text
    assert withdrawals(catalog, incidents, []) == []


def test_an_incident_that_vanished_from_the_record_is_taken_back(catalog: Catalog, incidents: LakeTable) -> None:
    record(incidents, incident(id="ebay-statements-2025-07-01"))
    (message,) = withdrawals(catalog, incidents, told(catalog, incident(id=NAME)))
    assert message.key == f"eu_dsa:incident:{NAME}:retracted"
    assert as_plain_text(message).splitlines()[0] == "Withdrawn · TikTok: statements filed down 49 %"
    assert not violations(message)


@pytest.mark.parametrize(
    ("other", "kept"),
    [("2025-07-09", True), ("2025-07-09-2", True), ("2025-08-01", False)],
)
def test_an_incident_told_by_another_onset_is_still_there(
    catalog: Catalog, incidents: LakeTable, other: str, kept: bool
) -> None:
    record(incidents, incident(id=f"tiktok-statements-{other}"))
    assert (withdrawals(catalog, incidents, told(catalog, incident(id=NAME))) == []) is kept


def test_it_is_taken_back_once_and_only_if_it_was_sent(
    catalog: Catalog, lake: Lake, incidents: LakeTable, engine: sa.Engine, state_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    risks = lake.table("risks", "risks", RISKS)
    record(incidents)
    (message,) = told(catalog, incident(id=NAME))
    outbox.enqueue(engine, message, ecosystem="eu_dsa")
    assert post_newest(catalog, incidents, risks, state_url).messages == []
    with engine.begin() as connection:
        connection.execute(outbox.OUTBOX.update().values(state="sent"))
    assert [post_newest(catalog, incidents, risks, state_url).queued for _ in range(2)] == [1, 0]
    assert {e.message.key for e in outbox.entries(engine)} == {message.key, f"eu_dsa:incident:{NAME}:retracted"}
