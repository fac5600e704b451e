"""The picture of an incident: one specification for the message's thread, Dagster's metadata and the report."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Sequence

from health_pipeline import charts
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.catalog.model import Catalog, Metric
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.series import Course, Point, Sources, course

WIDTH, HEIGHT = 450, 300
"""Of a picture in a thread. Slack shows it 360 to 700 px wide: drawn no wider than this, its labels stay legible."""
SCALE = 2.0
"""Dense enough for 700 px on a fine screen, and 900 px wide."""
LONGEST_ALT = 1_000
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn"}


def incident_chart(
    catalog: Catalog,
    incident: Incident,
    told: Course,
    *,
    titled: bool = True,
    until: dt.date | None = None,
    key: bool | None = True,
    width: int = WIDTH,
    height: int = HEIGHT,
    description: str = "",
) -> charts.Spec:
    """The series of an incident of kind ``shift``: the band as it was, onset, marked days, immature tail, events.

    Args:
        told: with at least one point.
        titled: whether the picture says what it is about; a page does so beside it.
        until: the last day shown; by default the newest known.
        key: as in :func:`charts.series_chart`.
        description: alternative text; :func:`alternative_text` when empty.

    Raises:
        ValueError: there is no point to show.
    """
    metric = catalog.metric(incident.metric)
    return charts.series_chart(
        [_drawn(p, metric.per) for p in told.points if until is None or p.day <= until],
        format=charts.format_of(metric),
        title=_visible(wording.title(catalog, incident)) if titled else "",
        unit=_unit(metric),
        onset=incident.onset,
        onset_low=incident.onset_low,
        onset_high=incident.onset_high,
        window=marked_days(catalog, incident),
        tone=charts.tone_of(incident),
        events=told.events,
        immature_from=told.immature_from,
        key=key,
        width=width,
        height=height,
        description=description or alternative_text(catalog, incident, told),
    )


def marked_days(catalog: Catalog, incident: Incident) -> tuple[dt.date, dt.date]:
    """First and last day of the change. A day is judged when it is as old as the metric's horizon, so much later."""
    last = incident.headline_reported - dt.timedelta(days=catalog.metric(incident.metric).horizon)
    return incident.onset, max(last, incident.onset)


def incident_picture(catalog: Catalog, incident: Incident, told: Course) -> Picture | None:
    """The picture for an incident's thread: 900 px wide, of 64 colours.

    Returns:
        ``None`` for kind ``data``, which is about what was not delivered, and when nothing is known of the series.
    """
    if incident.kind != "shift" or not told.points:
        return None
    spec = incident_chart(catalog, incident, told)
    name = re.sub(r"[^A-Za-z0-9]+", "-", incident.id).strip("-")[:120] or "incident"
    return Picture(charts.png(spec, SCALE), alternative_text(catalog, incident, told), f"{name}-{incident.day}.png")


def incident_drawing(catalog: Catalog, sources: Sources) -> Callable[[Incident], Picture | None]:
    """:func:`incident_picture` of any incident, as of its own day, from the lake's tables."""

    def draw(incident: Incident) -> Picture | None:
        if incident.kind != "shift":
            return None
        return incident_picture(catalog, incident, course(catalog, sources, incident, incident.day))

    return draw


def alternative_text(catalog: Catalog, incident: Incident, told: Course) -> str:
    """What the picture shows, for those who do not see it: at most :data:`LONGEST_ALT` characters on one line."""
    metric, points = catalog.metric(incident.metric), told.points
    said = [
        f"Line chart of daily values, {wording.day(points[0].day)} to {wording.day(points[-1].day)}.",
        wording.sentence(catalog, incident),
    ]
    if incident.onset_low != incident.onset_high:
        said.append(
            f"The onset is marked, and its interval {wording.day(incident.onset_low)} to "
            f"{wording.day(incident.onset_high)}."
        )
    judged = [p for p in points if p.observed is not None and p.low is not None and p.high is not None]
    if judged:
        said.append(_against_band(metric, judged[-1]))
    young = [p for p in points if told.immature_from is not None and p.day >= told.immature_from]
    if young:
        days = "The last day" if len(young) == 1 else f"The last {len(young)} days"
        verb = "is" if len(young) == 1 else "are"
        said.append(f"{days}, from {wording.day(young[0].day)}, {verb} tinted: still arriving and not judged yet.")
    missing = sum(p.observed is None for p in points)
    if missing:
        said.append(f"{wording.count(missing, 'day')} {'has' if missing == 1 else 'have'} no data.")
    if told.events:
        named = "; ".join(f"{e.title} ({e.day.day} {e.day:%B})" for e in told.events)
        said.append(f"Marked as coincident: {named}.")
    text = _visible(" ".join(said))
    return text if len(text) <= LONGEST_ALT else text[: LONGEST_ALT - 1].rstrip() + "…"


def _against_band(metric: Metric, point: Point) -> str:
    observed, low, high = (wording.value(metric, v) for v in (point.observed, point.low, point.high) if v is not None)
    return f"On {wording.day(point.day)} it was {observed}; 95 % of ordinary days are within {low} to {high}."


def _unit(metric: Metric) -> str:
    said = {
        "count": metric.unit + (" a day" if metric.type == "count" else ""),
        "share": metric.unit,
        "duration": metric.title,
    }[charts.format_of(metric)]
    return said[:1].upper() + said[1:]


def _drawn(point: Point, per: float) -> charts.Point:
    numbers: Sequence[float | None] = (point.observed, point.expected, point.low, point.high)
    return charts.Point(point.day, *(None if n is None else per * n for n in numbers))


def _visible(text: str) -> str:
    """One line, without characters that show nothing or turn the direction of what follows."""
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if unicodedata.category(c) not in _HIDDEN)
