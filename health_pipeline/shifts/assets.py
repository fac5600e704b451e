"""Significant shifts, and the bands that series were expected to stay in, as assets."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg

from health_pipeline import charts
from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.shifts import shifts as shifts_of
from health_pipeline.storage.lake import LakeTable


def shift_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    cube: LakeTable,
    histograms: LakeTable,
    deliveries: LakeTable,
    shifts: LakeTable,
    bands: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``shifts`` and ``bands``, computed together."""
    rate = catalog.ecosystem.detection.false_discovery_rate

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        window = [days[-1] - dt.timedelta(days=i) for i in range(89, -1, -1)]
        counts = Counter(shifts.read(window, ["day"])["day"].to_pylist())
        picture = charts.shifts_per_day([charts.DayCount(day, counts[day], 0) for day in window], width=900)
        return {"significant shifts per day": dg.MetadataValue.md(charts.markdown_image(picture))}

    return [
        derived_asset(
            catalog, partitions, "shifts",
            [
                Output("shifts", shifts,
                       "Series that shifted significantly, with onset, size and interval; judged with the data up to "
                       f"the day. At most {rate:.0%} of the reports of a day are expected to be false.",
                       ["cube", "histograms", "deliveries"]),
                Output("bands", bands, "Observed value, expected value and 95 % band of every series, as of the day.",
                       ["cube", "histograms", "deliveries"]),
            ],
            lambda engine: shifts_of.derivation(catalog, cube, histograms, deliveries, shifts, bands),
            pictures,
        )
    ]  # fmt: skip
