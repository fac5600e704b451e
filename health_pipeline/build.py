"""The only place where definitions are put together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster_duckdb import DuckDBResource

from health_pipeline.alerts.assets import alert_assets
from health_pipeline.automation.jobs import jobs
from health_pipeline.automation.partitions import daily
from health_pipeline.automation.schedules import daily_schedule, reconcile_schedule
from health_pipeline.automation.sensors import alert_sensor, failure_sensor, inbox_sensor
from health_pipeline.home import Home
from health_pipeline.incidents.assets import incident_assets
from health_pipeline.metrics.assets import maturity_assets, metric_assets
from health_pipeline.pipeline import Pipeline, pipelines
from health_pipeline.raw.assets import raw_assets
from health_pipeline.risks.assets import list_assets, risk_assets
from health_pipeline.shifts.assets import shift_assets

ECOSYSTEMS = "HEALTH_PIPELINE_ECOSYSTEMS"


def chosen_ecosystems() -> list[str]:
    """Names or catalog folders in ``HEALTH_PIPELINE_ECOSYSTEMS``, separated by commas; ``eu_dsa`` by default."""
    given = [name.strip() for name in os.environ.get(ECOSYSTEMS, "").split(",")]
    return [name for name in given if name] or ["eu_dsa"]


def build_defs(
    ecosystems: Sequence[str] | None = None,
    home: Home | None = None,
    resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """Assets, checks, jobs, schedules and sensors of every chosen ecosystem.

    Args:
        ecosystems: names or catalog folders; see :func:`chosen_ecosystems`.
        home: where everything lives; from the environment by default.
        resources: replace resources by name, for tests.

    Raises:
        CatalogError: a catalog is wrong; says where and how to mend it.
    """
    parts = [_of(p) for p in pipelines(ecosystems or chosen_ecosystems(), home)]
    return dg.Definitions.merge(
        *parts,
        dg.Definitions(
            resources={"duckdb": DuckDBResource(database=":memory:"), **(resources or {})},
            executor=dg.in_process_executor,  # a process per step costs many times the work of a step
        ),
    )


def _of(pipeline: Pipeline) -> dg.Definitions:
    catalog, t = pipeline.catalog, pipeline.tables
    partitions, work = daily(catalog), jobs(catalog)
    return dg.Definitions(
        assets=[
            *raw_assets(
                catalog, partitions, pipeline.landing, pipeline.inbox, t.facts, t.deliveries, pipeline.simulation
            ),
            *metric_assets(catalog, partitions, t.facts, t.cube, t.histograms),
            *maturity_assets(catalog, partitions, t.facts, t.arrivals, t.maturity),
            *shift_assets(catalog, partitions, t.cube, t.histograms, t.deliveries, t.shifts, t.bands, t.states),
            *incident_assets(catalog, partitions, pipeline.incident_sources, t.incidents, pipeline.series_sources),
            *risk_assets(catalog, partitions, t.incidents, t.risks, t.track_records, pipeline.verdicts),
            *(list_assets(catalog, partitions, t.facts, t.lists) if t.lists else ()),
            *alert_assets(catalog, pipeline.alert_sources, pipeline.series_sources, pipeline.home.state_url),
        ],
        jobs=list(work.values()),
        schedules=[
            daily_schedule(pipeline),
            reconcile_schedule(pipeline, "land"),
            reconcile_schedule(pipeline, "load"),
            reconcile_schedule(pipeline, "judge"),
        ],
        sensors=[inbox_sensor(pipeline, work), alert_sensor(pipeline), failure_sensor(pipeline)],
    )
