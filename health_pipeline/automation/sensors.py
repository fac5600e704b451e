"""Sensors: new deliveries, new incidents, failed runs.

A plain ``@sensor`` is at-least-once; every request carries a run key made from what it is about, so that nothing is
done twice for the same reason, and a corrected file or a further change has a key of its own.
"""

import hashlib
import time
from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.execution.plan.objects import StepFailureData

from health_pipeline.alerts.delivery import clock, outbox
from health_pipeline.alerts.delivery.deliver import deliver
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.messages.failure import failure_message
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.post import STALE, base_url
from health_pipeline.assets import asset_key, range_tags
from health_pipeline.automation.jobs import KINDS, job_name
from health_pipeline.catalog.model import Catalog
from health_pipeline.pipeline import Pipeline, Work
from health_pipeline.storage.state import opened_state, reading

FAILURE_TRIES = 3
UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
              dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]  # fmt: skip


def request(catalog: Catalog, work: Work, key: str) -> dg.RunRequest:
    """The run that does a piece of work."""
    tags = range_tags(work.first, work.last) if work.first and work.last else {}
    return dg.RunRequest(run_key=key, job_name=job_name(catalog, work.kind), tags={**tags, "why": work.why[:250]})


def inbox_sensor(pipeline: Pipeline, work_jobs: Mapping[str, UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    """New and corrected files: land them, load the days they touch, judge anew what follows."""
    catalog = pipeline.catalog

    @dg.sensor(
        name=f"{catalog.name}_inbox",
        jobs=[work_jobs[kind] for kind in ("land", "load", "judge")],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Carries every new or corrected file in {pipeline.inbox} through to the prioritised list.",
    )
    def inbox(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        busy = context.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED, tags={"ecosystem": catalog.name}))
        if busy:
            return dg.SkipReason("A run of this ecosystem is under way; the next look is after it.")
        work = pipeline.outstanding()
        if work is None:
            return dg.SkipReason(f"Nothing new in {pipeline.inbox}, and everything is up to date.")
        return request(catalog, work, key=f"{work.kind}:{_state(pipeline, work)}")

    return inbox


def _state(pipeline: Pipeline, work: Work) -> str:
    """Fingerprint of what makes the work necessary: the same necessity is met once, a new one again."""
    parts = [work.kind, str(work.first), str(work.last)]
    if work.kind == "land":
        stats = [(pipeline.landing.label(f), f.stat()) for f in pipeline.new_files()]
        parts += [f"{name}:{stat.st_mtime_ns}:{stat.st_size}" for name, stat in stats]
    else:
        parts += [f"{r.table}:{r.key}:{r.delivered_at.isoformat()}" for r in pipeline.landing.receipts()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def alert_sensor(pipeline: Pipeline) -> dg.SensorDefinition:
    """New incidents become messages, and what has come due since: a digest, the end of quiet hours or of a snooze, a
    time to be acknowledged; what people decided is shown; what waits for Slack is tried again. The latter ones every
    five minutes for as long as there is reason to."""
    catalog = pipeline.catalog

    @dg.sensor(
        name=f"{catalog.name}_alerts",
        job_name=job_name(catalog, "alert"),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Brings messages up to date with incidents, decisions and the clock, and delivers what waits.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        seen = int(context.cursor) if context.cursor else None
        page = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key(catalog, "risks"), after_storage_id=seen), limit=1
        )
        if page.records:
            newest = page.records[0].storage_id
            key = f"alerts:{newest}"
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key)], cursor=str(newest))
        why = _due(pipeline)
        if why is not None:
            five_minutes = int(clock.now().timestamp() // 300)
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"alerts:{why}:{five_minutes}")])
        return dg.SkipReason("No new risks since the last look, nothing has come due, and nothing waits for Slack.")

    return alerts


def _due(pipeline: Pipeline) -> str | None:
    """Why messages should be looked at though no incident has changed."""
    name, now = pipeline.catalog.name, clock.now()
    slack = Slack.from_environment()
    with opened_state(pipeline.home.state_url) as engine:
        with reading(engine) as connection:
            planned = told.planned(connection, name)
        decision = decisions.latest(engine, name)
        if planned is not None and decision > planned.decision:
            return f"decision:{decision}"
        if planned is not None and planned.next_at is not None and planned.next_at <= now:
            return f"due:{planned.next_at:%Y%m%dT%H%M%S}"
        if slack is not None:
            due = outbox.next_due(engine, patience=slack.patience, ecosystem=name)
            return "waiting" if due is not None and due <= clock.now() else None
    return None


def failure_sensor(pipeline: Pipeline) -> dg.SensorDefinition:
    """A failed run becomes a message to the pipeline's own channel.

    Dagster calls a failure sensor at most once per failure, so it tries again inside; once queued, the message is
    as safe as every other in the outbox.
    """
    catalog = pipeline.catalog

    @dg.run_failure_sensor(
        name=f"{catalog.name}_failures",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the pipeline's channel about failed runs.",
    )
    def failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if run.job_name not in {job_name(catalog, kind) for kind in KINDS}:
            return
        events = context.get_step_failure_events()
        step = events[0].step_key if events else None
        error = _why(events[0].step_failure_data) if events else context.failure_event.message or ""
        message = failure_message(
            catalog, job=run.job_name, run_id=run.run_id, step=step, error=error,
            link=f"{base_url()}/runs/{run.run_id}",
        )  # fmt: skip
        for attempt in range(FAILURE_TRIES):
            try:
                with opened_state(pipeline.home.state_url) as engine:
                    outbox.enqueue(engine, message, ecosystem=catalog.name)
                    deliver(engine, Slack.from_environment(), ecosystem=catalog.name, max_age=STALE)
                return
            except Exception:
                if attempt == FAILURE_TRIES - 1:
                    raise
                time.sleep(2**attempt)

    return failures


def _why(failure: StepFailureData) -> str:
    """What a person can use: the words of whoever raised it, not those in which Dagster wraps them."""
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    if failure.error is None:
        return ""
    return (failure.error.cause or failure.error).message
