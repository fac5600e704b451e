"""Days as Dagster partitions: one per UTC day since the ecosystem's first, today included."""

import datetime as dt

import dagster as dg

from health_pipeline.catalog.model import Catalog

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def daily(catalog: Catalog) -> dg.DailyPartitionsDefinition:
    """Today and tomorrow are included: the contract takes a delivery dated up to tomorrow, for sources east of UTC."""
    return dg.DailyPartitionsDefinition(start_date=catalog.ecosystem.start.isoformat(), end_offset=2)


def range_tags(first: dt.date, last: dt.date) -> dict[str, str]:
    """Tags that make a run cover all days from ``first`` to ``last`` at once."""
    return {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
