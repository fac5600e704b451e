"""Schedules: the daily run, and the reconciliation of whatever a missed tick or a lost event left behind."""

import datetime as dt
from typing import Literal

import dagster as dg

from health_pipeline.automation.jobs import job_name
from health_pipeline.automation.sensors import request
from health_pipeline.pipeline import Pipeline, Work
from health_pipeline.raw.loading import deliveries

DAILY_CRON = "30 5 * * *"
RECONCILE_CRONS = {"land": "5 * * * *", "load": "15 * * * *", "judge": "35 * * * *"}


def daily_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Every morning, yesterday: from its delivered files to the prioritised list."""
    catalog = pipeline.catalog

    @dg.schedule(
        name=f"{catalog.name}_daily",
        job_name=job_name(catalog, "daily"),
        cron_schedule=DAILY_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every morning, yesterday, if it was delivered.",
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = context.scheduled_execution_time.date() - dt.timedelta(days=1)
        judged = deliveries.judged(catalog)
        delivered = sorted({day for table in judged for day in pipeline.landing.days(table.name)})
        if yesterday not in delivered:
            newest = f"The newest day delivered is {delivered[-1]}." if delivered else "No day was delivered yet."
            return dg.SkipReason(
                f"Nothing was delivered for {yesterday}. {newest} Drop the file into {pipeline.inbox}."
            )
        return dg.RunRequest(run_key=f"daily:{yesterday}", partition_key=yesterday.isoformat())

    return daily


def reconcile_schedule(pipeline: Pipeline, kind: Literal["land", "load", "judge"]) -> dg.ScheduleDefinition:
    """Every hour, whatever is out of date. State decides, not events: nothing that was lost stays lost."""
    catalog = pipeline.catalog

    @dg.schedule(
        name=f"{catalog.name}_reconcile_{kind}",
        job_name=job_name(catalog, kind),
        cron_schedule=RECONCILE_CRONS[kind],
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every hour: {kind} whatever a missed tick, a lost event or a failed run left out of date.",
    )
    def reconcile(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        work = pipeline.outstanding()
        if kind == "land" and catalog.sources and (work is None or work.kind != "land"):
            work = Work("land", why=f"whatever is new in {', '.join(s.name for s in catalog.sources)}")
        if work is None or work.kind != kind:
            return dg.SkipReason("Everything is up to date." if work is None else f"First: {work.kind} ({work.why}).")
        return request(catalog, work, key=f"reconcile:{kind}:{context.scheduled_execution_time.isoformat()}")

    return reconcile
