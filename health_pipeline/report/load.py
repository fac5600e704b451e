"""Load what the report and the terminal's summary show, from an ecosystem's lake."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.incidents.model import from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.report.report import DAYS_BEFORE, ReportTables, headlines
from health_pipeline.shifts.panel import build_panel
from health_pipeline.stats.panel import Scale
from health_pipeline.storage.engine import date_range


def load_report(pipeline: Pipeline, days: int) -> ReportTables:
    """The tables of the last ``days`` judged days."""
    t, catalog = pipeline.tables, pipeline.catalog
    window = pipeline.days_to_judge(days)
    incidents = from_table(t.incidents.read(window))
    chosen = headlines(catalog, incidents)
    shifts = t.shifts.read(window, ["day"])
    judged = t.bands.read([window[-1]], ["judged"])["judged"]
    return ReportTables(
        first_day=window[0],
        last_day=window[-1],
        incidents=incidents,
        risks=t.risks.read([window[-1]]).to_pylist(),
        bands=_bands(pipeline, window, {h.incident.series for h in chosen}),
        headlines=chosen,
        shifts_per_day=Counter(shifts["day"].to_pylist()),
        series_judged=pc.sum(judged).as_py() or 0,
        series_followed=len(judged),
        provenance=_provenance(pipeline),
    )


def _bands(pipeline: Pipeline, window: list[dt.date], series: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Bands of the judged days, and the plain observations of days without one, so that a chart has a past.

    A series has no band before the judged days, and none while it is too small to be followed. What was observed then
    comes from the detector's own panel: there, too, a zero is told from a day without data.
    """
    t, catalog = pipeline.tables, pipeline.catalog
    bands = t.bands.read(window)
    found: dict[str, dict[dt.date, dict[str, Any]]] = {name: {} for name in series}
    for band in bands.filter(pc.is_in(bands["series"], pa.array(sorted(series), pa.string()))).to_pylist():
        found[band["series"]][band["value_day"]] = band
    days = date_range(max(window[0] - dt.timedelta(days=DAYS_BEFORE), catalog.ecosystem.start), window[-1])
    panel, _ = build_panel(catalog, t.cube.read(days), t.histograms.read(days), t.deliveries.read(days), days)
    for row, name in enumerate(panel.series):
        if name in series:
            values = panel.numerator[row]
            if panel.scale[row] != Scale.COUNT:
                values = values / panel.denominator[row]
            for at, value in enumerate(values.tolist()):
                plain = {
                    "value_day": panel.day(row, at),
                    "observed": value,
                    "expected": None,
                    "low": None,
                    "high": None,
                }
                found[name].setdefault(plain["value_day"], plain)
    return {name: sorted(rows.values(), key=lambda row: row["value_day"]) for name, rows in found.items()}


def _provenance(pipeline: Pipeline) -> list[str]:
    return [said for said in (pipeline.catalog.ecosystem.provenance,) if said]
