"""What was told and is not in the record any more is taken back, once."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.post import Posted, refresh
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline_tests.alerts.follow import DAY, NOON, ONE_DAY, fall, kinds, with_alerts
from health_pipeline_tests.alerts.record import Record

ADA = fall("Ada")
KEY = f"{ADA.id}:open"


@pytest.fixture
def told(catalog: Catalog, record: Record, state_url: str) -> list[dt.datetime]:
    """Ada was told at noon, and Slack has it; holds the time of the next look."""
    record.judge(DAY, ADA)
    look(catalog, record, state_url, NOON)
    send(state_url)
    return [NOON]


def look(catalog: Catalog, record: Record, state_url: str, now: dt.datetime) -> Posted:
    return refresh(with_alerts(catalog), record.sources, state_url, deliver_now=False, now=now)


def send(state_url: str) -> None:
    engine = sa.create_engine(state_url)
    with engine.begin() as connection:
        sent = outbox.OUTBOX.update().where(outbox.OUTBOX.c.state == "pending")
        connection.execute(sent.values(state="sent", sent_at=NOON, attempts=1))
    engine.dispose()


def judged(record: Record, days: int, *incidents: Incident) -> dt.datetime:
    """So many days go by, with these incidents on each of them."""
    for n in range(1, days + 1):
        record.judge(DAY + n * ONE_DAY, *incidents)
    return NOON + days * ONE_DAY


def test_what_is_long_over_is_not_taken_back(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    record.judge(DAY + ONE_DAY, fall("Ada", state="recovered", ended=DAY + ONE_DAY))
    look(catalog, record, state_url, NOON + ONE_DAY)
    for n in (2, 30, 80):
        record.judge(DAY + n * ONE_DAY, fall("Bob", first_reported=DAY - 99 * ONE_DAY))
        assert look(catalog, record, state_url, NOON + n * ONE_DAY).plan.intents == ()


def test_an_incident_that_vanished_is_taken_back_once(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    record.judge(DAY)
    assert kinds(look(catalog, record, state_url, NOON).plan.intents) == [
        ("edit", f"{KEY}:edit:1"),
        ("reply", f"{KEY}:retracted:1"),
    ]
    assert look(catalog, record, state_url, NOON).plan.is_empty


def test_so_is_one_that_was_over_when_its_days_were_judged_anew(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    record.judge(DAY + ONE_DAY, fall("Ada", state="recovered", ended=DAY + ONE_DAY))
    look(catalog, record, state_url, NOON + ONE_DAY)
    now = judged(record, 9)
    assert look(catalog, record, state_url, now).plan.is_empty, "a day still has it"
    record.judge(DAY)
    plan = look(catalog, record, state_url, now).plan
    assert [kind for kind, _ in kinds(plan.intents)] == ["edit", "reply"]


def test_its_end_is_told_when_nobody_looked_while_it_was_in_the_record(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    record.judge(DAY + ONE_DAY, fall("Ada", state="recovered", ended=DAY + ONE_DAY))
    for n in range(2, 9):
        record.judge(DAY + n * ONE_DAY)
    plan = look(catalog, record, state_url, NOON + 9 * ONE_DAY).plan
    assert kinds(plan.intents) == [("edit", f"{KEY}:edit:1"), ("reply", f"{KEY}:recovered:1")]


def test_an_incident_is_followed_when_its_days_are_judged_anew_with_another_onset(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    moved = fall("Ada", onset=DAY - 4 * ONE_DAY)
    record.judge(DAY, moved)
    assert kinds(look(catalog, record, state_url, NOON).plan.intents) == [("edit", f"{KEY}:edit:1")]
    record.judge(DAY + ONE_DAY, fall("Ada", id=moved.id, onset=moved.onset, state="recovered", ended=DAY + ONE_DAY))
    plan = look(catalog, record, state_url, NOON + ONE_DAY).plan
    assert kinds(plan.intents) == [("edit", f"{KEY}:edit:2"), ("reply", f"{KEY}:recovered:2")]


def test_one_that_is_only_in_older_days_under_another_onset_is_not_taken_back(
    catalog: Catalog, record: Record, state_url: str, told: list[dt.datetime]
) -> None:
    record.judge(DAY + ONE_DAY, fall("Ada", state="recovered", ended=DAY + ONE_DAY))
    look(catalog, record, state_url, NOON + ONE_DAY)
    moved = fall("Ada", onset=DAY - 4 * ONE_DAY)
    record.judge(DAY, moved)
    record.judge(DAY + ONE_DAY, fall("Ada", id=moved.id, onset=moved.onset, state="recovered", ended=DAY + ONE_DAY))
    record.judge(DAY + 9 * ONE_DAY)
    plan = look(catalog, record, state_url, NOON + 9 * ONE_DAY).plan
    assert plan.intents == ()


def test_it_never_leaves_when_it_was_taken_back_before(
    catalog: Catalog, record: Record, engine: sa.Engine, state_url: str
) -> None:
    record.judge(DAY, ADA)
    look(catalog, record, state_url, NOON)
    record.judge(DAY)
    assert look(catalog, record, state_url, NOON).plan.intents == ()
    (entry,) = backlog.entries(engine)
    assert (entry.state, entry.last_error) == (
        "superseded",
        "The days on which it was reported were judged anew, and do not show it.",
    )
    record.judge(DAY, ADA)
    assert kinds(look(catalog, record, state_url, NOON).plan.intents) == [("post", f"{KEY}:2")]
