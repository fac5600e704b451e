"""Sensors, ticked over a real instance and real files; what they request is executed as the daemon would."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import socket
import time
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.conftest import LAST, Deployment, Run, scaled, spoilt
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock

PLATFORM = "App Store"
DAY = LAST - dt.timedelta(days=4)


def tick(deployment: Deployment, sensor: str, cursor: str | None = None) -> dg.SensorResult:
    """One evaluation: what it requests, why it skips, and its cursor."""
    repository = deployment.definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=deployment.instance, cursor=cursor, repository_def=repository, sensor_name=f"little_{sensor}"
    ) as context:
        tick = repository.get_sensor_def(f"little_{sensor}").evaluate_tick(context)
    return dg.SensorResult(
        run_requests=list(tick.run_requests or []),
        skip_reason=dg.SkipReason(tick.skip_message) if tick.skip_message else None,
        cursor=tick.cursor,
    )


def requested(deployment: Deployment, sensor: str, cursor: str | None = None) -> dg.RunRequest:
    result = tick(deployment, sensor, cursor)
    assert result.run_requests, result.skip_reason
    [request] = result.run_requests
    assert request.run_key
    return request


def skipped(deployment: Deployment, sensor: str, cursor: str | None = None) -> str:
    result = tick(deployment, sensor, cursor)
    assert not result.run_requests
    assert result.skip_reason is not None and result.skip_reason.skip_message
    return result.skip_reason.skip_message


def test_nothing_new_is_skipped_with_the_inbox_s_name(deployment: Deployment) -> None:
    assert skipped(deployment, "inbox") == (
        f"Nothing new in {deployment.pipeline.inbox}, and everything is up to date."
    )


def test_the_sample_of_an_empty_home_is_landed(empty: Deployment) -> None:
    request = requested(empty, "inbox")
    assert request.job_name == "little_land"
    assert request.tags["why"] == "the bundled sample"


def test_a_corrected_old_day_is_landed_loaded_and_judged_and_then_there_is_rest(deployment: Deployment) -> None:
    deployment.deliver("corrected.parquet", scaled(deployment.facts(DAY, PLATFORM), 3))
    cube, facts = deployment.pointers("metrics"), deployment.pointers("raw/statements")

    land = requested(deployment, "inbox")
    assert land.job_name == "little_land"
    assert land.tags["why"] == "1 new in the inbox: corrected.parquet"
    assert requested(deployment, "inbox").run_key == land.run_key, "the same need has the same key"
    assert deployment.do(land).success

    load = requested(deployment, "inbox")
    assert load.job_name == "little_load"
    assert load.tags["dagster/asset_partition_range_start"] == DAY.isoformat()
    assert load.tags["dagster/asset_partition_range_end"] == LAST.isoformat()
    assert deployment.do(load).success
    for stage, before in (("metrics", cube), ("raw/statements", facts)):
        after = deployment.pointers(stage)
        assert {k.split("day=")[1][:10] for k in after if after[k] != before.get(k)} == {DAY.isoformat()}, stage

    judge = requested(deployment, "inbox")
    assert judge.job_name == "little_judge"
    assert judge.tags["dagster/asset_partition_range_start"] == DAY.isoformat()
    assert deployment.do(judge).success
    assert "everything is up to date" in skipped(deployment, "inbox")
    assert len({land.run_key, load.run_key, judge.run_key}) == 3


def test_the_same_file_again_requests_nothing(deployment: Deployment) -> None:
    rows = scaled(deployment.facts(DAY, PLATFORM), 3)
    path = deployment.deliver("corrected.parquet", rows)
    deployment.work_off()
    then = path.stat().st_mtime
    path.unlink()
    deployment.deliver("corrected.parquet", rows)
    os.utime(path, (then, then))
    assert "everything is up to date" in skipped(deployment, "inbox")


def test_the_same_content_delivered_later_is_landed_and_changes_nothing(deployment: Deployment) -> None:
    rows = scaled(deployment.facts(DAY, PLATFORM), 3)
    deployment.deliver("corrected.parquet", rows)
    deployment.work_off()
    before = deployment.pointers()
    deployment.deliver("corrected.parquet", rows, seconds_ago=3)
    assert deployment.do(requested(deployment, "inbox")).success
    assert "everything is up to date" in skipped(deployment, "inbox")
    assert deployment.pointers() == before


def test_a_second_correction_under_the_same_name_is_requested_anew(deployment: Deployment) -> None:
    deployment.deliver("corrected.parquet", scaled(deployment.facts(DAY, PLATFORM), 3))
    first = requested(deployment, "inbox")
    deployment.do(first)
    deployment.deliver("corrected.parquet", scaled(deployment.facts(DAY, PLATFORM), 4), seconds_ago=5)
    second = requested(deployment, "inbox")
    assert second.job_name == first.job_name and second.run_key != first.run_key


def test_a_file_that_is_still_being_written_is_left_alone(deployment: Deployment) -> None:
    deployment.deliver("fresh.parquet", deployment.facts(DAY, PLATFORM), seconds_ago=-60)
    assert skipped(deployment, "inbox").startswith("Nothing new in ")


def test_a_file_that_can_t_be_read_is_reported_once_and_does_not_loop(deployment: Deployment) -> None:
    path = deployment.pipeline.inbox / "broken.parquet"
    path.write_bytes(b"not Parquet at all")
    os.utime(path, (time.time() - 10,) * 2)
    good = deployment.deliver("good.parquet", scaled(deployment.facts(DAY, PLATFORM), 3))
    run = deployment.do(requested(deployment, "inbox"))
    assert run.success, "one bad file does not keep the others out"
    [landed] = run.asset_materializations_for_node("little__landed_files")
    assert landed.metadata["files landed now"].value == 1
    assert landed.metadata["files refused"].value == 1
    [rejection] = deployment.pipeline.landing.rejections()
    assert rejection.message == "broken.parquet can't be read as Parquet."
    assert good.name in {r.name for r in deployment.pipeline.landing.receipts()}
    assert requested(deployment, "inbox").job_name == "little_load"
    deployment.work_off()
    skipped(deployment, "inbox")


def test_while_a_run_is_under_way_the_inbox_waits(deployment: Deployment) -> None:
    deployment.deliver("corrected.parquet", scaled(deployment.facts(DAY, PLATFORM), 3))
    job = deployment.definitions.resolve_job_def("little_load")
    run = deployment.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=dict(job.tags))
    assert skipped(deployment, "inbox") == "A run of this ecosystem is under way; the next look is after it."
    deployment.instance.report_run_failed(run)
    assert requested(deployment, "inbox").job_name == "little_land"


@pytest.fixture
def planned(deployment: Deployment, clock: HandClock) -> Deployment:
    """Messages were planned; nothing has come due since, and no time passes."""
    assert deployment.run("alert").success
    return deployment


def test_new_risks_are_one_request_and_the_cursor_moves(planned: Deployment) -> None:
    deployment = planned
    first = tick(deployment, "alerts")
    assert first.run_requests is not None and [r.run_key for r in first.run_requests] == [f"alerts:{first.cursor}"]
    assert skipped(deployment, "alerts", first.cursor) == (
        "No new risks since the last look, nothing has come due, and nothing waits for Slack."
    )
    assert deployment.run("judge", LAST - dt.timedelta(days=1), LAST).success
    second = tick(deployment, "alerts", first.cursor)
    assert second.run_requests is not None and len(second.run_requests) == 1
    assert int(second.cursor or 0) > int(first.cursor or 0)
    assert second.run_requests[0].run_key != first.run_requests[0].run_key
    assert tick(deployment, "alerts", first.cursor).run_requests[0].run_key == second.run_requests[0].run_key  # type: ignore[index]


def test_messages_that_wait_for_slack_are_tried_again(
    deployment: Deployment, clock: HandClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTH_PIPELINE_STATE_URL", f"sqlite:///{tmp_path / 'state.db'}")  # nothing waits in it
    cursor = tick(deployment, "alerts").cursor
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-test")
    skipped(deployment, "alerts", cursor)
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    report_failure(deployment, fail(deployment))
    skipped(deployment, "alerts", cursor)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-test")
    result = tick(deployment, "alerts", cursor)
    assert result.run_requests is not None
    [request] = result.run_requests
    assert request.run_key is not None and request.run_key.startswith("alerts:waiting:")
    assert result.cursor == cursor
    assert requested(deployment, "alerts", cursor).run_key == request.run_key, "not twice at once"
    clock.forward(minutes=5)
    assert requested(deployment, "alerts", cursor).run_key != request.run_key


def cursor_of(deployment: Deployment) -> str | None:
    return tick(deployment, "alerts").cursor


def replan(deployment: Deployment, next_at: dt.datetime | None) -> None:
    """As if the last plan had said so."""
    with opened_state(deployment.home.state_url) as engine, engine.begin() as connection:
        before = told.planned(connection, "little")
        assert before is not None
        told.mark_planned(connection, "little", dataclasses.replace(before, next_at=next_at))


def test_what_has_come_due_is_looked_at_and_what_has_not_is_not(planned: Deployment, clock: HandClock) -> None:
    cursor = cursor_of(planned)
    due = clock.now() + dt.timedelta(minutes=1)
    replan(planned, due)
    clock.forward(seconds=59)
    assert "nothing has come due" in skipped(planned, "alerts", cursor)
    clock.forward(seconds=1)
    request = requested(planned, "alerts", cursor)
    assert request.run_key is not None and request.run_key.startswith(f"alerts:due:{due:%Y%m%dT%H%M%S}:")
    assert planned.execute("little_alert", {}).success
    skipped(planned, "alerts", cursor)


def test_a_decision_is_looked_at_once(planned: Deployment, clock: HandClock) -> None:
    cursor = cursor_of(planned)
    skipped(planned, "alerts", cursor)
    by = By("cli:ana", clock.now())
    with opened_state(planned.home.state_url) as engine:
        decisions.record(engine, Decision("little", "tiktok-statements-2025-09-01", "acknowledge", by, "cli", "1"))
    request = requested(planned, "alerts", cursor)
    assert request.run_key is not None and request.run_key.startswith("alerts:decision:")
    assert planned.execute("little_alert", {}).success
    skipped(planned, "alerts", cursor)


def test_what_quiet_hours_hold_is_no_reason_to_run(
    planned: Deployment, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = cursor_of(planned)
    replan(planned, None)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-test")
    later = clock.now() + dt.timedelta(hours=8)
    night = Intent("night", "#ecosystem-health", text="x", not_before=later)
    with opened_state(planned.home.state_url) as engine:
        with engine.begin() as connection:
            connection.execute(outbox.OUTBOX.update().values(state="sent"))
        assert outbox.enqueue(engine, night, ecosystem="little")
        skipped(planned, "alerts", cursor)
        assert outbox.enqueue(engine, Intent("day", "#ecosystem-health", text="x"), ecosystem="little")
        request = requested(planned, "alerts", cursor)
    assert request.run_key is not None and request.run_key.startswith("alerts:waiting:")


def fail(deployment: Deployment) -> Run:
    """A run that a check stops."""
    rows: pa.Table = deployment.facts(LAST, PLATFORM)
    deployment.deliver("bad.parquet", spoilt(rows, rows.num_rows // 2))
    deployment.run("land")
    run = deployment.run("load", LAST)
    assert not run.success
    return run


def report_failure(deployment: Deployment, run: Run) -> None:
    """What the daemon does when it sees a run fail."""
    [event] = [e for e in run.all_events if e.event_type_value == "PIPELINE_FAILURE"]
    with dg.build_run_status_sensor_context(
        sensor_name="little_failures",
        dagster_event=event,
        dagster_instance=deployment.instance,
        dagster_run=run.dagster_run,
    ) as context:
        deployment.definitions.get_repository_def().get_sensor_def("little_failures")(context.for_run_failure())


def messages(deployment: Deployment) -> list[backlog.Entry]:
    with opened_state(deployment.home.state_url) as engine:
        found = backlog.entries(engine)
    return [e for e in found if e.message.channel == "#ecosystem-health-pipeline"]


def test_a_failed_run_is_told_exactly_once(deployment: Deployment) -> None:
    run = fail(deployment)
    for _ in range(2):
        report_failure(deployment, run)
    [entry] = messages(deployment)
    assert entry.state == "pending"
    assert entry.message.text == (
        "Pipeline failure, little: Job little_load failed at step little_statements. Stopped by the check 'contract' "
        "of statements: nothing that follows from it was changed. "
        f"http://127.0.0.1:3000/runs/{run.run_id}"
    )


def test_an_unforeseen_error_is_told_in_its_own_words(empty: Deployment) -> None:
    (empty.pipeline.lake.root / "raw").mkdir(parents=True)
    (empty.pipeline.lake.root / "raw" / "_landing").touch()
    run = empty.run("land")
    assert not run.success
    report_failure(empty, run)
    [entry] = messages(empty)
    assert "Job little_land failed at step little__landed_files. NotADirectoryError: " in entry.message.text


def test_a_slack_that_is_down_does_not_fail_the_failure_sensor(
    deployment: Deployment, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-test")
        monkeypatch.setenv("SLACK_API_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/api/")
        report_failure(deployment, fail(deployment))
    [entry] = messages(deployment)
    assert entry.state == "pending" and entry.attempts >= 1


def test_a_failed_run_does_not_post_what_is_no_news_any_more(
    deployment: Deployment, server: FakeSlack, clock: HandClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEALTH_PIPELINE_STATE_URL", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.setenv("SLACK_API_URL", server.url)
    report_failure(deployment, fail(deployment))
    with opened_state(deployment.home.state_url) as engine, engine.begin() as connection:
        connection.execute(outbox.OUTBOX.update().values(created_at=clock.now() - dt.timedelta(days=30)))
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    report_failure(deployment, fail(deployment))
    new, old = messages(deployment)
    assert (new.state, old.state) == ("sent", "held")
    assert [message["text"] for message in server.messages] == [new.message.text]
