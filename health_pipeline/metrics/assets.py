"""The cube and its histograms as assets."""

from collections.abc import Mapping

import dagster as dg

from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics import cube as cube_of
from health_pipeline.metrics.checks import denominator_check, reconciliation_check
from health_pipeline.storage.lake import LakeTable


def metric_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    facts: Mapping[str, LakeTable],
    cube: LakeTable,
    histograms: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``cube``: sums of every metric of the catalog, per day and segment; ``histograms`` of its quantiles."""
    used = list(cube_of.compile_cube(catalog).tables)
    names = ", ".join(m.name for m in catalog.metrics)
    quantiles = ", ".join(m.name for m in catalog.metrics if m.type == "quantile") or "none in this catalog"
    outputs = [
        Output(
            "cube", cube, f"Additive sums per metric, day and segment. Metrics: {names}.", used,
            checks=[denominator_check(catalog, cube), reconciliation_check(catalog, facts, cube, histograms)],
        ),
        Output("histograms", histograms, f"Counts per bin, of metrics that are quantiles: {quantiles}.", used),
    ]  # fmt: skip
    return [
        derived_asset(
            catalog,
            partitions,
            "metrics",
            outputs,
            lambda engine: cube_of.derivation(catalog, engine, facts, cube, histograms),
        )
    ]
