"""The series of an incident, day by day: what was observed, and the band it was held against when it was judged.

A band is kept with the day on which it was used. It is read back from there and not computed again, so that a picture
made later shows the same: what was learned since does not rewrite what was expected then.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import dataset

from health_pipeline.catalog.model import Catalog, Event
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.suspects import concerns, event_tables
from health_pipeline.metrics.maturity import immature, value_curves
from health_pipeline.shifts.panel import REMEMBERED_DAYS, build_panel
from health_pipeline.stats.panel import Scale
from health_pipeline.storage.engine import date_range
from health_pipeline.storage.lake import LakeTable

DAYS_BEFORE = 56
"""Days before an onset from which on its series is told: eight weeks show what is usual, weekdays included."""


@dataclass(frozen=True)
class Sources:
    """The tables a series is read from.

    Attributes:
        facts: contract's name -> its table; only those of announced changes are read.
    """

    bands: LakeTable
    cube: LakeTable
    histograms: LakeTable
    deliveries: LakeTable
    maturity: LakeTable
    facts: Mapping[str, LakeTable]


@dataclass(frozen=True)
class Point:
    """One day of a series, in the metric's natural unit (a share as 0..1, a delay in seconds).

    Attributes:
        observed: ``None`` on a day without complete data.
        expected, low, high: expectation and 95 % band as they were when the day was judged; ``None`` on a day that was
            not, or not yet.
    """

    day: dt.date
    observed: float | None
    expected: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Course:
    """A series around an incident.

    Attributes:
        points: one for each day up to the newest, ascending; from the first day on which anything was observed.
        immature_from: the first day whose value may still change, because it is younger than the metric's horizon or,
            by what was learned of how late rows arrive, not there yet; ``None`` when all is in.
        events: known events and announced changes that concern the incident, by day; coincident, not causal.
    """

    points: tuple[Point, ...]
    immature_from: dt.date | None = None
    events: tuple[Event, ...] = ()


def course(
    catalog: Catalog, sources: Sources, incident: Incident, newest: dt.date, days_before: int = DAYS_BEFORE
) -> Course:
    """The series of an incident's root.

    Args:
        newest: the newest day judged.
        days_before: days told before the onset, as far as the ecosystem's start.

    Returns:
        Without any point for kind ``data``, which has no series, and when nothing is known of the series.
    """
    return courses(catalog, sources, [incident], newest, days_before)[incident.id]


def courses(
    catalog: Catalog,
    sources: Sources,
    incidents: Iterable[Incident],
    newest: dt.date,
    days_before: int = DAYS_BEFORE,
) -> dict[str, Course]:
    """Id -> :func:`course`, of several incidents; each day of a table is read once for all."""
    told = list(incidents)
    since = {
        i.id: max(i.onset - dt.timedelta(days=days_before), catalog.ecosystem.start) for i in told if i.kind == "shift"
    }
    found = {i.id: Course(()) for i in told}
    if not since:
        return found
    shifts = [i for i in told if i.id in since]
    first = min(since.values())
    observed = _observed(catalog, sources, shifts, first, newest)
    judged = _judged(sources, {i.series for i in shifts}, first, newest)
    curves = sources.maturity.read([newest])
    late = {name: immature(shares) for name, shares, _ in value_curves(catalog, curves)}
    for incident in shifts:
        known = observed.get(incident.series, {}) | judged.get(incident.series, {})
        known = {day: point for day, point in known.items() if day >= since[incident.id]}
        days = sorted(day for day, point in known.items() if (point.observed, point.expected) != (None, None))
        if days:
            metric = catalog.metric(incident.metric)
            age = max([metric.horizon - 1, *late.get(metric.name, [])])
            found[incident.id] = Course(
                tuple(known.get(day, Point(day, None)) for day in date_range(days[0], newest)),
                newest - dt.timedelta(days=age) if age >= 0 else None,
                _events(catalog, sources, incident, days[0], newest),
            )
    return found


def _judged(
    sources: Sources, series: Collection[str], first: dt.date, newest: dt.date
) -> dict[str, dict[dt.date, Point]]:
    """Series -> days as they were judged. Of a day judged twice, by another horizon, the first judgement counts."""
    columns = ["day", "value_day", "series", "observed", "expected", "low", "high"]
    rows = _only(sources.bands, date_range(first, newest), columns, "series", series)
    found: dict[str, dict[dt.date, Point]] = {name: {} for name in series}
    for row in sorted(rows.to_pylist(), key=lambda r: r["day"]):
        numbers = (_finite(row[name]) for name in ("observed", "expected", "low", "high"))
        found[row["series"]].setdefault(row["value_day"], Point(row["value_day"], *numbers))
    return found


def _observed(
    catalog: Catalog, sources: Sources, incidents: Sequence[Incident], first: dt.date, newest: dt.date
) -> dict[str, dict[dt.date, Point]]:
    """Series -> what the detector's own panel says was observed: there, a zero is told from a day without data.

    A series has no band before the days judged, none while it is too small to be followed, and none yet of its
    youngest days.
    """
    metrics = {i.metric: catalog.metric(i.metric) for i in incidents}
    start = max(first - dt.timedelta(days=REMEMBERED_DAYS), catalog.ecosystem.start)
    days = date_range(start, newest)
    cube = _only(sources.cube, days, sources.cube.schema.names, "metric", metrics)
    binned = [name for name, metric in metrics.items() if metric.quantile is not None]
    bins = _only(sources.histograms, days if binned else [], sources.histograms.schema.names, "metric", binned)
    deliveries = sources.deliveries.read(days, ["day", "table", "unit", "finding"])
    # A panel shows a day so much later as its metric's horizon: only with these days more the youngest are in it.
    width = date_range(start, newest + dt.timedelta(days=max(m.horizon for m in metrics.values())))
    panel, _ = build_panel(catalog, cube, bins, deliveries, width)
    rows = {name: row for row, name in enumerate(panel.series)}
    found: dict[str, dict[dt.date, Point]] = {}
    for series in {i.series for i in incidents} & rows.keys():
        row = rows[series]
        values = panel.numerator[row]
        if panel.scale[row] != Scale.COUNT:
            values = values / panel.denominator[row]
        points = (Point(panel.day(row, at), _finite(value)) for at, value in enumerate(values.tolist()))
        found[series] = {p.day: p for p in points if first <= p.day <= newest}
    return found


def _only(
    table: LakeTable, days: Iterable[dt.date], columns: Sequence[str], column: str, values: Iterable[str]
) -> pa.Table:
    """Rows of some days in which a column has one of these values: the rest of a day is most of it."""
    schema = pa.schema([table.schema.field(name) for name in columns])
    files = table.files(days)
    if not files:
        return schema.empty_table()
    wanted = pc.field(column).isin(sorted(values))
    return dataset(files, schema=schema, format="parquet", partitioning=None).to_table(filter=wanted)


def _events(
    catalog: Catalog, sources: Sources, incident: Incident, first: dt.date, newest: dt.date
) -> tuple[Event, ...]:
    """Events of the calendar, and changes announced by rows of facts, of the days told."""
    known = [e for e in catalog.events if first <= e.day <= newest and (not e.units or incident.unit in e.units)]
    announced = [
        Event(day=row["day"], title=row["title"])
        for table in event_tables(catalog)
        for row in sources.facts[table.name].read(date_range(first, newest)).to_pylist()
        if row.get("superseded_at") is None and concerns(catalog, incident, row)
    ]
    by_key: dict[tuple[dt.date, str], Event] = {}
    for event in (*known, *announced):
        by_key.setdefault((event.day, event.title), event)
    return tuple(by_key[key] for key in sorted(by_key))


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
