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
from health_pipeline.storage.engine import date_range


def load_report(pipeline: Pipeline, days: int) -> ReportTables:
    """The tables of the last ``days`` judged days."""
    t, catalog = pipeline.tables, pipeline.catalog
    window = pipeline.days_to_judge(days)
    incidents = from_table(t.incidents.read(window))
    chosen = headlines(catalog, incidents)
    shifts = t.shifts.read(window, ["day", "tested"])
    tested = shifts["tested"].to_pylist()
    return ReportTables(
        first_day=window[0],
        last_day=window[-1],
        incidents=incidents,
        risks=t.risks.read([window[-1]]).to_pylist(),
        bands=_bands(pipeline, window, {h.incident.series for h in chosen}),
        headlines=chosen,
        shifts_per_day=Counter(shifts["day"].to_pylist()),
        series_tested=tested[-1] if tested else 0,
        provenance=_provenance(pipeline),
    )


def _bands(pipeline: Pipeline, window: list[dt.date], series: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Bands of the judged days, and before them the plain observations, so that a chart has a past."""
    t = pipeline.tables
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in series}
    first = window[0] - dt.timedelta(days=DAYS_BEFORE)
    start = max(first, pipeline.catalog.ecosystem.start)
    complete = t.deliveries.read(date_range(start, window[0]), ["day", "unit", "finding"])
    complete = complete.filter(pc.equal(complete["finding"], "complete"))
    delivered = set(zip(complete["day"].to_pylist(), complete["unit"].to_pylist(), strict=True))
    past = t.cube.read(date_range(start, window[0] - dt.timedelta(days=1)))
    names = pc.binary_join_element_wise(past["metric"], past["segment"], "|")
    past = past.append_column("series", names).filter(pc.is_in(names, pa.array(sorted(series), pa.string())))
    for row in past.to_pylist():
        if (row["day"], row["unit"]) in delivered:
            value = row["numerator"] if row["denominator"] is None else row["numerator"] / row["denominator"]
            found[row["series"]].append(
                {"day": row["day"], "observed": value, "expected": None, "low": None, "high": None}
            )
    bands = t.bands.read(window)
    for row in bands.filter(pc.is_in(bands["series"], pa.array(sorted(series), pa.string()))).to_pylist():
        found[row["series"]].append(row)
    return found


def _provenance(pipeline: Pipeline) -> list[str]:
    said = [pipeline.catalog.ecosystem.description]
    if pipeline.catalog.ecosystem.provenance:
        said.append(pipeline.catalog.ecosystem.provenance)
    return said
