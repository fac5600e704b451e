"""Significant shifts, and the bands that series were expected to stay in, as assets."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow.compute as pc

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
    states: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``shifts``, ``bands`` and ``states``, computed together."""
    rate = catalog.ecosystem.detection.false_discovery_rate

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        window = [days[-1] - dt.timedelta(days=i) for i in range(89, -1, -1)]
        rows = shifts.read(window, ["day", "state"])
        counts = Counter(rows.filter(pc.equal(rows["state"], "new"))["day"].to_pylist())
        picture = charts.shifts_per_day([charts.DayCount(day, counts[day], 0) for day in window], width=900)
        return {"shifts reported per day": dg.MetadataValue.md(charts.markdown_image(picture))}

    return [
        derived_asset(
            catalog, partitions, "shifts",
            [
                Output("shifts", shifts,
                       "Series that shifted significantly, from the day they were reported until they are over, with "
                       "onset, size and interval; judged with the data up to the day. At most "
                       f"{rate:.0%} of all reports are expected to be false.",
                       ["cube", "histograms", "deliveries"]),
                Output("bands", bands, "Observed value, expected value and 95 % band of every series, as of the day.",
                       ["cube", "histograms", "deliveries"]),
                Output("states", states, "What a day's judgement leaves to the next: shifts under way, how noisy every "
                       "series is, what was spent of the accepted share of false reports.",
                       ["cube", "histograms", "deliveries"], previous_day=True),
            ],
            lambda engine: shifts_of.derivation(catalog, cube, histograms, deliveries, shifts, bands, states),
            pictures,
        )
    ]  # fmt: skip
