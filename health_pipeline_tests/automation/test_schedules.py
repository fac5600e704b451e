"""Schedules, ticked at given instants: they ask for what the files and the lake say is missing."""

from __future__ import annotations

import datetime as dt

import dagster as dg

from health_pipeline_tests.conftest import LAST, Deployment, scaled

PLATFORM = "App Store"


def tick(deployment: Deployment, schedule: str, at: dt.datetime) -> dg.RunRequest | str:
    """What a tick requests, or why it skips."""
    repository = deployment.definitions.get_repository_def()
    with dg.build_schedule_context(
        instance=deployment.instance, scheduled_execution_time=at, repository_def=repository
    ) as context:
        data = repository.get_schedule_def(f"little_{schedule}").evaluate_tick(context)
    if data.run_requests:
        [request] = data.run_requests
        return request
    assert data.skip_message
    return data.skip_message


def morning_after(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(5, 30), dt.UTC)


def test_yesterday_is_requested_as_a_partition(deployment: Deployment) -> None:
    request = tick(deployment, "daily", morning_after(LAST))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == LAST.isoformat()
    assert request.run_key == f"daily:{LAST}"
    assert deployment.execute("little_daily", dict(request.tags), request.partition_key).success


def test_a_day_that_was_not_delivered_is_skipped_with_what_to_do(deployment: Deployment, empty: Deployment) -> None:
    missing = LAST + dt.timedelta(days=1)
    assert tick(deployment, "daily", morning_after(missing)) == (
        f"Nothing was delivered for {missing}. The newest day delivered is {LAST}. "
        f"Drop the file into {deployment.pipeline.inbox}."
    )
    assert tick(empty, "daily", morning_after(LAST)) == (
        f"Nothing was delivered for {LAST}. No day was delivered yet. Drop the file into {empty.pipeline.inbox}."
    )


def test_when_all_is_done_nothing_is_requested(deployment: Deployment) -> None:
    for kind in ("land", "load", "judge"):
        assert tick(deployment, f"reconcile_{kind}", morning_after(LAST)) == "Everything is up to date."


def test_whatever_is_outstanding_is_requested_one_kind_after_the_other(deployment: Deployment) -> None:
    """As after a run that was killed: the sensor's run key is spent, the schedule's is new every hour."""
    day = LAST - dt.timedelta(days=3)
    deployment.deliver("corrected.parquet", scaled(deployment.facts(day, PLATFORM), 3))
    at = morning_after(LAST)
    kinds = ("land", "load", "judge")
    for kind in kinds:
        for other in kinds:
            answer = tick(deployment, f"reconcile_{other}", at)
            if other != kind:
                assert isinstance(answer, str) and answer.startswith(f"First: {kind} (")
        request = tick(deployment, f"reconcile_{kind}", at)
        assert isinstance(request, dg.RunRequest)
        assert request.job_name == f"little_{kind}"
        assert request.run_key == f"reconcile:{kind}:{at.isoformat()}"
        later = tick(deployment, f"reconcile_{kind}", at + dt.timedelta(hours=1))
        assert isinstance(later, dg.RunRequest) and later.run_key != request.run_key
        if kind != "land":
            assert request.tags["dagster/asset_partition_range_start"] == day.isoformat()
        assert deployment.do(request).success
    assert tick(deployment, "reconcile_judge", at) == "Everything is up to date."
