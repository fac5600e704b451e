"""Days as Dagster partitions: one per UTC day since the ecosystem's first, today included."""

import dagster as dg

from health_pipeline.catalog.model import Catalog


def daily(catalog: Catalog) -> dg.DailyPartitionsDefinition:
    """Today and tomorrow are included: the contract takes a delivery dated up to tomorrow, for sources east of UTC."""
    return dg.DailyPartitionsDefinition(start_date=catalog.ecosystem.start.isoformat(), end_offset=2)
