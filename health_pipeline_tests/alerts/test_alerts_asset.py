"""The asset ``alerts`` in a real Dagster instance: what a run shows of messages and deliveries, and its check."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from health_pipeline.alerts.assets import alert_assets
from health_pipeline.alerts.delivery import outbox
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import series
from health_pipeline.storage.lake import Lake
from health_pipeline.tables import Tables
from health_pipeline_tests.alerts.follow import DAY, P1, P3, fall, with_alerts
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock

ADA, BOB, CLEO = fall("Ada"), fall("Bob"), fall("Cleo", first_reported=DAY - dt.timedelta(days=9))
SEVERITIES = (Severity(name="P1", minimum_score=10, at_once=True), Severity(name="P3"))


class Alerts:
    """The asset over a record in which Ada is urgent, and Cleo is no news."""

    def __init__(self, root: Path, catalog: Catalog, state_url: str) -> None:
        t = Tables.of(Lake(root, catalog.name), catalog)
        sources = series.Sources(t.bands, t.cube, t.histograms, t.deliveries, t.maturity, t.facts)
        record = Record(root)
        record.judge(DAY, ADA, CLEO, scores={ADA.id: P1, CLEO.id: P3})
        catalog = with_alerts(catalog, severities=SEVERITIES)
        (self.asset,) = alert_assets(catalog, record.sources, sources, state_url)

    def run(self) -> tuple[dict[str, Any], dg.AssetCheckEvaluation]:
        """Metadata of the materialisation, and the check."""
        result = dg.materialize([self.asset], instance=dg.DagsterInstance.ephemeral())
        assert result.success
        (made,) = result.asset_materializations_for_node("eu_dsa__alerts")
        (check,) = result.get_asset_check_evaluations()
        return {
            name: value if isinstance(value, dg.TableMetadataValue) else value.value
            for name, value in made.metadata.items()
        }, check


@pytest.fixture
def alerts(tmp_path: Path, catalog: Catalog, state_url: str, monkeypatch: pytest.MonkeyPatch) -> Alerts:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    return Alerts(tmp_path / "lake", catalog, state_url)


def rows(value: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records]


def test_a_run_shows_what_was_queued_what_was_withheld_and_how_each_channel_stands(alerts: Alerts) -> None:
    about, check = alerts.run()
    assert about["queued now"] == "1 post"
    assert about["withheld"] == 1
    assert rows(about["withheld first"]) == [
        {"incident": CLEO.id, "why": "first reported on 24 June 2025, it is no news any more"}
    ]
    assert "New · P1 · Ada: statements filed" in about["first message"]
    (channel,) = rows(about["channels"])
    assert (channel["channel"], channel["pending"], channel["held"]) == ("#ecosystem-health", 1, 0)
    assert check.passed, "without a token it is meant to wait"
    about, _ = alerts.run()
    assert (about["queued now"], about["next due"]) == ("nothing", "nothing")


def test_with_a_token_it_is_delivered_and_the_check_passes(
    alerts: Alerts, server: FakeSlack, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_API_URL", server.url)
    about, check = alerts.run()
    (channel,) = rows(about["channels"])
    assert channel["pending"] == 0 and channel["last sent"].endswith(" UTC")
    assert len(server.messages) == 1 and check.passed


def test_what_waits_for_an_hour_with_a_token_is_a_warning(
    alerts: Alerts, server: FakeSlack, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_API_URL", server.url)
    server.faults["chat.postMessage"].extend(["code:not_in_channel"] * 9)
    assert alerts.run()[1].passed, "it has only been queued"
    clock.forward(minutes=59)
    assert alerts.run()[1].passed
    clock.forward(minutes=2)
    _, check = alerts.run()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    (row,) = rows(check.metadata["newest"])
    assert row["state"] == "pending" and "/invite" in row["why"]


def test_a_refused_message_is_a_warning_for_a_week(alerts: Alerts, engine: sa.Engine, clock: HandClock) -> None:
    alerts.run()
    with engine.begin() as connection:
        connection.execute(outbox.OUTBOX.update().values(state="held", last_error="invalid_blocks"))
    _, check = alerts.run()
    assert not check.passed
    assert rows(check.metadata["newest"])[0]["why"] == "invalid_blocks"
    clock.forward(days=6)
    assert not alerts.run()[1].passed
    clock.forward(days=2)
    assert alerts.run()[1].passed


def test_a_chart_that_fails_is_in_the_log_of_the_run_and_stops_nothing(
    alerts: Alerts, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no pencil")

    monkeypatch.setattr("health_pipeline.alerts.assets.course", broken)
    about, _ = alerts.run()
    assert about["queued now"] == "1 post"
    assert f"The chart of {ADA.id} can't be drawn" in caplog.text
