"""From a click to the message: a real lake, the real planner and outbox, and Slack over real sockets."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from health_pipeline.alerts import post
from health_pipeline.alerts.app.desk import Desk, told_subjects
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.people import decisions
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.catalog.alerts import Alerts, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import INCIDENTS, to_table
from health_pipeline.metrics.schema import MATURITY
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.risks.schema import RISKS
from health_pipeline.storage.lake import Lake
from health_pipeline_tests.alerts.by_hand import incident
from health_pipeline_tests.conftest import FAR
from health_pipeline_tests.fake_slack import ANA, APP_TOKEN, BEN, TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock


@pytest.fixture
def sources(tmp_path: Path, catalog: Catalog) -> post.Sources:
    """A lake with one incident, the first in its list."""
    lake = Lake(tmp_path / "lake", catalog.name)
    about = incident()
    made = post.Sources(
        lake.table("incidents", "incidents", INCIDENTS), lake.table("risks", "risks", RISKS),
        lake.table("metrics", "maturity", MATURITY), lake.table("raw", "deliveries", DELIVERIES), lambda table: (),
    )  # fmt: skip
    made.incidents.publish(about.day, to_table([about]))
    row = dict.fromkeys((f.name for f in RISKS if f.type == pa.float64()), 1.0) | {
        "day": about.day, "rank": 1, "incident": about.id, "score": 12.0, "title": "", "sentence": "",
    }  # fmt: skip
    made.risks.publish(about.day, pa.Table.from_pylist([row], schema=RISKS))
    return made


def test_what_people_click_stands_in_the_message_and_what_is_taken_back_goes(
    engine: sa.Engine, server: FakeSlack, catalog: Catalog, sources: post.Sources, state_url: str,
    clock: HandClock, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in (
        ("SLACK_BOT_TOKEN", TOKEN), ("SLACK_APP_TOKEN", APP_TOKEN), ("SLACK_API_URL", server.url),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    alerts = Alerts(severities=(Severity(name="P1", at_once=True),))
    catalog = catalog.model_copy(update={"alerts": alerts})

    def refresh(_: str) -> None:
        post.refresh(catalog, sources, state_url)

    def shown() -> str:
        (message,) = [m for m in server.messages if not m["thread_ts"]]
        return as_plain_text(Content("", tuple(message["blocks"])))

    refresh(catalog.name)
    (ts,) = [m["ts"] for m in server.messages]
    assert "[Acknowledge]" in shown()

    desk = Desk(engine, {catalog.name: catalog}, known=told_subjects(engine, {catalog.name: catalog}), refresh=refresh)
    for action, value, user in (
        ("acknowledge", None, ANA), ("assign", BEN, ANA), ("verdict", "real|0", BEN), ("snooze", "here|7", BEN),
    ):  # fmt: skip
        desk.take(server.click(ts, action, value=value, user=user))
    desk.close(grace=FAR)
    until = decisions.snoozes(engine, catalog.name)[0].until
    assert "[Acknowledge]" not in shown()
    for words in (f"@{ANA}", f"@{BEN}", "Verdict: real", f"Snoozed until {until.day} {until:%B %Y}"):
        assert words in shown()
    replies = len(server.thread(ts))
    assert replies >= 3, "each is said in the thread"
    assert len(server.responses) == 4

    by_ana = [d for d in decisions.history(engine, catalog.name) if d.kind == "acknowledge"]
    undo = Decision(
        catalog.name, incident().id, "undo", By(ANA, dt.datetime.now(dt.UTC)), "cli", "act", undoes=by_ana[0].id
    )
    assert decisions.record(engine, undo)
    refresh(catalog.name)
    assert "[Acknowledge]" in shown()
    assert len(server.thread(ts)) > replies
