"""Load what the report and the terminal's summary show, from an ecosystem's lake."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow.compute as pc

from health_pipeline.incidents.model import from_table
from health_pipeline.incidents.series import courses
from health_pipeline.pipeline import Pipeline
from health_pipeline.report.lists import ReviewTables
from health_pipeline.report.report import ReportTables, headlines


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
        courses=courses(catalog, pipeline.series_sources, [h.incident for h in chosen], window[-1]),
        headlines=chosen,
        shifts_per_day=Counter(shifts["day"].to_pylist()),
        series_judged=pc.sum(judged).as_py() or 0,
        series_followed=len(judged),
        provenance=_provenance(pipeline),
        review=load_review(pipeline, window[-1]),
        track_records=t.track_records.read([window[-1]]).to_pylist(),
    )


def load_review(pipeline: Pipeline, day: dt.date) -> ReviewTables | None:
    """The lists of a day; ``None`` where no review is declared, or no lists were made of the day."""
    lists = pipeline.tables.lists
    if lists is None or lists.review_lists.partition(day) is None:
        return None
    from health_pipeline.risks.review import BELOW, REASONS  # it loads SciPy

    return ReviewTables(
        day=day,
        cases=lists.review_lists.read([day]).to_pylist(),
        reasons=REASONS,
        kept_below=BELOW,
        bursts=lists.trends.read([day]).to_pylist(),
        prevalence=lists.prevalence.read([day]).to_pylist(),
        precision=lists.precision.read([day]).to_pylist(),
    )


def _provenance(pipeline: Pipeline) -> list[str]:
    return [said for said in (pipeline.catalog.ecosystem.provenance,) if said]
