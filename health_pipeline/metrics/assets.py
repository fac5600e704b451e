"""The cube as an asset."""

import dagster as dg

from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics import cube as cube_of
from health_pipeline.metrics.checks import denominator_check, reconciliation_check
from health_pipeline.storage.lake import LakeTable


def metric_assets(
    catalog: Catalog, partitions: dg.DailyPartitionsDefinition, facts: LakeTable, cube: LakeTable
) -> list[dg.AssetsDefinition]:
    """``cube``: sums of every metric of the catalog, per day and segment."""
    names = ", ".join(m.name for m in catalog.metrics)
    output = Output(
        "cube", cube, f"Additive sums per metric, day and segment. Metrics: {names}.", [catalog.table.name],
        checks=[denominator_check(catalog, cube), reconciliation_check(catalog, facts, cube)],
    )  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "metrics", [output], lambda engine: cube_of.derivation(catalog, engine, facts, cube)
        )
    ]
