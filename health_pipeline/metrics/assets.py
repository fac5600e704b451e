"""The cube and its histograms, and how late what they count arrives, as assets."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from health_pipeline import charts
from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics import cube as cube_of
from health_pipeline.metrics import maturity as maturity_of
from health_pipeline.metrics.checks import denominator_check, horizon_check, reconciliation_check
from health_pipeline.metrics.compiler import compile_cube
from health_pipeline.storage.lake import LakeTable


def metric_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    facts: Mapping[str, LakeTable],
    cube: LakeTable,
    histograms: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``cube``: sums of every metric of the catalog, per day and segment; ``histograms`` of its quantiles."""
    used = list(compile_cube(catalog).tables)
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


def maturity_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    facts: Mapping[str, LakeTable],
    arrivals: LakeTable,
    maturity: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``arrivals``: how a day's sums grew; ``maturity``: what share of each is in by age. None without versions."""
    if not maturity_of.versioned(catalog):
        return []

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        curves = maturity_of.value_curves(catalog, maturity.read(days[-1:]))
        late = [charts.Maturity(*curve) for curve in curves if maturity_of.immature(curve[1])]
        if not late:
            return {}
        picture = charts.maturity_strips(late)
        return {"metrics that are late": dg.MetadataValue.md(charts.markdown_image(picture))}

    used = list(maturity_of.arrivals_sql(catalog))
    grown = Output(
        "arrivals", arrivals, "Change of each metric's totals of a day, by the age at which it arrived.", used
    )
    learned = Output(
        "maturity", maturity,
        "Share of each metric's final amount that is in by age, learned from the "
        f"{maturity_of.WINDOW} days that end with this one.",
        ["arrivals"], checks=[horizon_check(catalog, maturity)],
    )  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "metrics", [grown],
            lambda engine: maturity_of.arrivals_derivation(catalog, engine, facts, arrivals),
        ),
        derived_asset(
            catalog, partitions, "metrics", [learned],
            lambda engine: maturity_of.maturity_derivation(catalog, arrivals, maturity), pictures,
        ),
    ]  # fmt: skip
