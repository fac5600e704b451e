"""Pictures of series and incidents: Vega-Lite specifications as plain dictionaries, and their rendering.

A specification is drawn the same way for Slack, Dagster metadata, the report and a console: :func:`svg` and
:func:`png` render it in this process with the Vega that vl-convert bundles, so nothing is fetched. Layout is
explicit (``autosize: none``): the ``width`` and ``height`` given to a chart are those of the finished picture in
CSS pixels, and labels are placed here, where their collisions can be seen.

Colours are roles of :data:`LIGHT`. A page that also has a dark mode embeds :func:`dark_css`, which swaps each role
for its colour in :data:`DARK`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from health_pipeline.catalog.model import Event, Metric
    from health_pipeline.incidents.model import Incident

Spec = dict[str, Any]
Format = Literal["count", "share", "duration"]
Tone = Literal["up", "down", "data"]

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#2a2724",
    "text": "#5c5751",
    "observed": "#6d675f",
    "expected": "#968e83",
    "band": "#ebe6dc",
    "grid": "#efedea",
    "axis": "#c9c4bc",
    "gap": "#f6f5f3",
    "stripe": "#dedbd6",
    "up": "#bf3f0c",
    "down": "#1d5fa6",
    "data": "#667080",
}
DARK: Mapping[str, str] = {
    "paper": "#1b1a19",
    "ink": "#ece8e2",
    "text": "#aca59b",
    "observed": "#a39c92",
    "expected": "#7f786f",
    "band": "#37332d",
    "grid": "#2b2927",
    "axis": "#57524b",
    "gap": "#232120",
    "stripe": "#3d3a37",
    "up": "#ff9360",
    "down": "#7fb8f2",
    "data": "#a3abb8",
}

FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"
DAY_MS = 86_400_000
LOG_FROM = 30.0
"""A y axis is logarithmic from this ratio between the largest and the smallest positive value up."""

MARKDOWN_WIDTH = 900
"""Dagster's metadata dialog clips wider pictures."""

MOST_LANES = 4
"""Rows of labels above a plot; an event that finds no room keeps its tick and loses its words."""

_CHARACTER = 5.9  # mean advance in px of the label font at 11 px, on the safe side


@dataclass(frozen=True)
class Point:
    """One day of a series, in the metric's unit (a share as 0..1, a delay in seconds).

    Attributes:
        observed: ``None`` on a day without data.
        expected, low, high: the expectation and the 95 % band of an ordinary day, as they were at detection.
    """

    day: dt.date
    observed: float | None
    expected: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DayCount:
    """How many shifts there were on a day, and how many incidents were first reported."""

    day: dt.date
    shifts: int
    incidents: int


@dataclass(frozen=True)
class _Label:
    """A label above the plot, with a stem down at ``x``."""

    x: float
    text: str
    lane: int
    align: Literal["left", "right"]

    @property
    def span(self) -> tuple[float, float]:
        length = len(self.text) * _CHARACTER + 6
        return (self.x + 1, self.x + length) if self.align == "left" else (self.x - length, self.x - 1)


def points_from_rows(rows: Iterable[Mapping[str, Any]], per: float = 1.0) -> list[Point]:
    """Rows of the bands table (``value_day, observed, …``) as points, ``per`` times; NaN and null are ``None``."""
    return [
        Point(row["value_day"], *(_finite(row.get(name), per) for name in ("observed", "expected", "low", "high")))
        for row in rows
    ]


def format_of(metric: Metric) -> Format:
    """How a metric's values are written on an axis."""
    if metric.is_share:
        return "share"
    return "duration" if metric.unit == "seconds" else "count"


def series_chart(
    points: Sequence[Point],
    *,
    format: Format = "count",
    title: str = "",
    unit: str = "",
    onset: dt.date | None = None,
    onset_low: dt.date | None = None,
    onset_high: dt.date | None = None,
    window: tuple[dt.date, dt.date] | None = None,
    tone: Tone = "up",
    events: Sequence[Event] = (),
    missing: Sequence[tuple[dt.date, dt.date]] = (),
    width: int = 600,
    height: int = 280,
    description: str = "",
) -> Spec:
    """A series with the band it was judged against.

    Args:
        points: days in any order, at most one point a day. Days absent between the first and the last are drawn
            as days without data, and the line is never drawn across them.
        format: how values are written.
        title, unit: lines above the plot; from 480 px up a key to the line, the dashes and the shade follows ``unit``.
        onset, onset_low, onset_high: most likely first day of the change, and its interval.
        window: first and last day of the incident; its days are coloured by ``tone``.
        events: known events; those within the days shown become labelled ticks.
        missing: more spans without data (first and last day), for example after the last point.
        width, height: of the whole picture in px, labels included.
        description: alternative text; made from the data when empty.

    Raises:
        ValueError: there is no point at all.
    """
    if not points:
        raise ValueError("a series chart needs at least one point")
    by_day = {p.day: p for p in points}
    first = min([*by_day, *(low for low, _ in missing)])
    last = max([*by_day, *(high for _, high in missing)])
    declared = {d for low, high in missing for d in _days(low, high)}
    days = list(_days(first, last))
    shown = [Point(d, None) if d in declared and d not in by_day else by_day.get(d, Point(d, None)) for d in days]

    scale, values, tick_labels = _value_scale(shown, format, steps=max(2, round((height - 90) / 40)))
    left, right, bottom = max(40, round(max(len(t) for t in tick_labels) * _CHARACTER * 1.05) + 12), 16, 36
    plot_width = width - left - right
    marks = [(e.day, e.title, False) for e in sorted(events, key=lambda e: e.day) if first <= e.day <= last]
    if onset and onset <= last:
        before = onset < first  # off the picture: the words stay, at the edge
        marks.append((max(onset, first), f"{'← ' if before else ''}onset {_short(onset)}", True))
    labels = _place_labels(marks, first, last, plot_width)
    lanes = 1 + max((label.lane for label, _, _ in labels), default=-1)
    heading = [
        (text, role) for text, role in ((title, "ink"), (_key(unit, scale["type"], shown, width), "text")) if text
    ]
    top = 8 + 17 * len(heading) + (4 if heading else 0) + 15 * lanes
    plot_height = height - top - bottom

    floor = scale["domain"][0]
    rows = [
        {
            "day": milliseconds(p.day),
            "observed": _clamped(p.observed, floor, scale["type"]),
            "expected": _clamped(p.expected, floor, scale["type"]),
            "low": _clamped(p.low, floor, scale["type"]),
            "high": _clamped(p.high, floor, scale["type"]),
            "inside": bool(window and window[0] <= p.day <= window[1]),
        }
        for p in shown
    ]
    dates, date_labels = date_ticks(first, last, plot_width)
    x: Spec = {
        "field": "day",
        "type": "temporal",
        "scale": {
            "type": "utc",
            "domain": [milliseconds(first) - DAY_MS / 2, milliseconds(last) + DAY_MS / 2],
            "nice": False,
        },
        "axis": axis(dates, date_labels, grid=False),
        "title": None,
    }
    y: Spec = {"type": "quantitative", "scale": scale, "axis": axis(values, tick_labels, grid=True), "title": None}
    no_data = [{"from": low - DAY_MS / 2, "to": high + DAY_MS / 2} for low, high in _gaps(rows)]
    stripes = [{"day": r["day"]} for r in rows if r["observed"] is None]
    inside = [r for r in rows if r["inside"]]
    seen = [r for r in rows if r["observed"] is not None]
    day_width = plot_width / len(days)
    line: Spec = {"invalid": "break-paths-show-domains", "clip": True}

    layers: list[Spec] = [
        layer(
            "band",
            rows,
            {"type": "area", "color": LIGHT["band"], **line},
            {
                "x": x,
                "y": {**y, "field": "low"},
                "y2": {"field": "high"},
            },
        ),
        layer(
            "expected",
            rows,
            {"type": "line", "color": LIGHT["expected"], "strokeWidth": 1.2, "strokeDash": [4, 3], **line},
            {
                "x": x,
                "y": {**y, "field": "expected"},
            },
        ),
        layer(
            "no data",
            no_data,
            {"type": "rect", "color": LIGHT["gap"]},
            {
                "x": {**x, "field": "from"},
                "x2": {"field": "to"},
            },
        ),
        layer(
            "no data stripes",
            stripes,
            {"type": "rule", "color": LIGHT["stripe"], "strokeWidth": max(0.6, min(2.5, day_width * 0.3))},
            {"x": x},
        ),
        layer(
            "observed",
            rows,
            {"type": "line", "color": LIGHT["observed"], "strokeWidth": 1.2, **line},
            {
                "x": x,
                "y": {**y, "field": "observed"},
            },
        ),
        layer(
            "incident",
            inside,
            {"type": "line", "color": LIGHT[tone], "strokeWidth": 1.6, **line},
            {
                "x": x,
                "y": {**y, "field": "observed"},
            },
        ),
        layer(
            "days",
            seen,
            {"type": "circle", "opacity": 1, "clip": True, "size": 14 if day_width >= 4 else 6},
            {
                "x": x,
                "y": {**y, "field": "observed"},
                "color": {"condition": {"test": "datum.inside", "value": LIGHT[tone]}, "value": LIGHT["observed"]},
            },
        ),
    ]
    layers += [
        layer(
            "no data label",
            [{"day": (gap["from"] + gap["to"]) / 2}],
            {
                "type": "text",
                "text": "no data",
                "color": LIGHT["text"],
                "fontSize": 11,
                "baseline": "bottom",
                "align": "center",
            },
            {"x": x, "y": {"value": plot_height - 6}},
        )
        for gap in no_data
        if (gap["to"] - gap["from"]) / DAY_MS * day_width >= 52
    ]
    low, high = max(onset_low or first, first), min(onset_high or first, last)
    if onset_low and onset_high and low < high:
        layers.insert(
            4,
            layer(
                "onset interval",
                [{"from": milliseconds(low) - DAY_MS / 2, "to": milliseconds(high) + DAY_MS / 2}],
                {
                    "type": "rect",
                    "color": LIGHT[tone],
                    "opacity": 0.12,
                },
                {"x": {**x, "field": "from"}, "x2": {"field": "to"}},
            ),
        )
    for label, day, is_onset in labels:
        role = LIGHT[tone] if is_onset else LIGHT["text"]
        name = "onset" if is_onset else "event"
        height_above = -15 * label.lane - 13
        if not (is_onset and onset and onset < first):
            layers.append(
                layer(
                    name,
                    [{"day": milliseconds(day)}],
                    {
                        "type": "rule",
                        "color": role,
                        "strokeWidth": 1.2 if is_onset else 1,
                        "opacity": 1 if is_onset else 0.7,
                        "strokeDash": [1, 0] if is_onset else [1, 3],
                    },
                    {"x": x, "y": {"value": height_above}, "y2": {"value": plot_height}},
                )
            )
        if label.text:
            words = {
                "type": "text",
                "color": role,
                "align": label.align,
                "dx": 4 if label.align == "left" else -4,
                "baseline": "top",
                "fontSize": 11,
                "fontWeight": 600 if is_onset else "normal",
            }
            at = {"x": x, "y": {"value": height_above}, "text": {"field": "text"}}
            layers.append(layer(f"{name} label", [{"day": milliseconds(day), "text": label.text}], words, at))
    layers += _heading(heading, left, top, width)
    text = description or _describe_series(title, shown, onset, window, format)
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def incident_timeline(
    incidents: Iterable[Incident],
    *,
    first: dt.date,
    last: dt.date,
    name: Callable[[str], str] = str,
    title: str = "",
    width: int = 600,
) -> Spec:
    """One bar per incident, from its onset to its last day, grouped by unit; pale once it is over.

    Args:
        incidents: rows of one or many days; the latest row of each incident counts.
        first, last: the window; bars are cut at its edges.
        name: how a unit is written.
        width: of the whole picture in px. The height follows from the number of bars.
    """
    bars = [i for i in latest(incidents) if i.onset <= last and _end(i) >= first]
    units = sorted({name(i.unit) for i in bars}, key=str.casefold)
    # Names get up to a third of the picture, but never less than a phone needs to tell them apart.
    left = round(min(max((len(u) for u in units), default=0) * _CHARACTER * 1.06 + 14, width / 3)) if units else 16
    right, bottom = 16, 36
    plot_width = width - left - right
    lane_height, unit_gap = 7, 9
    rows: list[Spec] = []
    names: list[Spec] = []
    offset = 0.0
    for unit in units:
        own = sorted((i for i in bars if name(i.unit) == unit), key=lambda i: (i.onset, _end(i)))
        free: list[dt.date] = []
        for incident in own:
            lane = next((n for n, until in enumerate(free) if until + dt.timedelta(days=1) < incident.onset), len(free))
            free[lane : lane + 1] = [_end(incident)]
            y = offset + unit_gap / 2 + lane * lane_height
            rows.append(
                {
                    "from": milliseconds(max(incident.onset, first)),
                    "to": milliseconds(min(_end(incident), last)) + DAY_MS,
                    "top": y,
                    "bottom": y + lane_height - 2,
                    "tone": tone_of(incident),
                    "open": incident.is_open,
                    "id": incident.id,
                }
            )
        tall = max(len(free) * lane_height, 8) + unit_gap
        names.append({"unit": unit, "middle": offset + tall / 2 - 0.5, "edge": offset + tall})
        offset += tall
    plot_height = max(round(offset), 40)

    heading = [(title, "ink")] if title else []
    top = 8 + 17 * len(heading) + 22
    dates, date_labels = date_ticks(first, last, plot_width)
    x: Spec = {
        "field": "from",
        "type": "temporal",
        "scale": {"type": "utc", "domain": [milliseconds(first), milliseconds(last) + DAY_MS], "nice": False},
        "axis": axis(dates, date_labels, grid=True),
        "title": None,
    }
    down = {"domain": [0, plot_height], "range": [0, plot_height], "nice": False, "zero": False}
    lanes: Spec = {"type": "quantitative", "scale": down, "axis": None}
    tones = {"domain": ["up", "down", "data"], "range": [LIGHT["up"], LIGHT["down"], LIGHT["data"]]}
    layers = [
        layer(
            "unit edges",
            names[:-1],
            {"type": "rule", "color": LIGHT["grid"]},
            {
                "y": {**lanes, "field": "edge"},
                "x": {"value": -left},
                "x2": {"value": plot_width},
            },
        ),
        # A bar of one day in two years would be half a pixel wide: the stroke keeps it visible.
        layer(
            "incidents",
            rows,
            {"type": "rect", "strokeWidth": 1.2, "clip": True},
            {
                "x": x,
                "x2": {"field": "to"},
                "y": {**lanes, "field": "top"},
                "y2": {"field": "bottom"},
                "color": {"field": "tone", "type": "nominal", "scale": tones, "legend": None},
                "stroke": {"field": "tone", "type": "nominal", "scale": tones, "legend": None},
                "opacity": {"condition": {"test": "datum.open", "value": 1}, "value": 0.5},
            },
        ),
        layer(
            "units",
            names,
            {
                "type": "text",
                "align": "right",
                "baseline": "middle",
                "dx": -8,
                "fontSize": 11,
                "color": LIGHT["text"],
                "limit": left - 10,
            },
            {"x": {"value": 0}, "y": {**lanes, "field": "middle"}, "text": {"field": "unit"}},
        ),
    ]
    if not bars:
        layers.append(
            layer(
                "empty",
                [{}],
                {
                    "type": "text",
                    "text": "no incidents in this window",
                    "color": LIGHT["text"],
                    "fontSize": 12,
                },
                {"x": {"value": plot_width / 2}, "y": {"value": plot_height / 2}},
            )
        )
    present = [
        (tone, text)
        for tone, text in (("up", "up"), ("down", "down"), ("data", "data quality"))
        if any(r["tone"] == tone for r in rows)
    ]
    at = 0.0
    for tone, text in present:
        layers += [
            layer(
                "key",
                [{}],
                {"type": "square", "size": 64, "color": LIGHT[tone], "opacity": 1},
                {
                    "x": {"value": at + 4},
                    "y": {"value": -14},
                },
            ),
            layer(
                "key label",
                [{}],
                {
                    "type": "text",
                    "text": text,
                    "align": "left",
                    "baseline": "middle",
                    "fontSize": 11,
                    "color": LIGHT["text"],
                },
                {"x": {"value": at + 13}, "y": {"value": -14}},
            ),
        ]
        at += 13 + len(text) * _CHARACTER + 16
    if any(not r["open"] for r in rows):
        layers.append(
            layer(
                "key label",
                [{}],
                {
                    "type": "text",
                    "text": "pale: over",
                    "align": "left",
                    "baseline": "middle",
                    "fontSize": 11,
                    "color": LIGHT["text"],
                },
                {"x": {"value": at}, "y": {"value": -14}},
            )
        )
    layers += _heading(heading, left, top, width)
    still_open = sum(bool(r["open"]) for r in rows)
    text = (
        f"Timeline of {len(rows)} incidents of {len(units)} units, {_long(first)} to {_long(last)}; "
        f"{still_open} are open on the last day."
    )
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def shifts_per_day(counts: Sequence[DayCount], *, title: str = "", width: int = 600, height: int = 220) -> Spec:
    """Shifts (above) and newly reported incidents (below), per day, or per week beyond 26 weeks.

    Args:
        counts: one per day, in any order; days left out count as zero.
        width, height: of the whole picture in px.

    Raises:
        ValueError: there is no count at all.
    """
    if not counts:
        raise ValueError("the chart of shifts per day needs at least one day")
    first, last = min(c.day for c in counts), max(c.day for c in counts)
    weekly = (last - first).days > 182
    step = 7 if weekly else 1
    sums: dict[dt.date, list[int]] = {}
    for count in counts:
        start = count.day - dt.timedelta(days=count.day.weekday() if weekly else 0)
        into = sums.setdefault(start, [0, 0])
        into[0] += count.shifts
        into[1] += count.incidents
    per = "week" if weekly else "day"
    left, right, bottom = 44, 16, 36
    heading = [(title, "ink")] if title else []
    top = 8 + 17 * len(heading) + 18
    plot_width, plot_height = width - left - right, height - top - bottom
    split = round(plot_height * 0.56)
    edge_low, edge_high = milliseconds(min(sums)), milliseconds(max(sums)) + step * DAY_MS
    dates, date_labels = date_ticks(first, last, plot_width)
    x: Spec = {
        "field": "from",
        "type": "temporal",
        "scale": {"type": "utc", "domain": [edge_low, edge_high], "nice": False},
        "axis": axis(dates, date_labels, grid=False),
        "title": None,
    }
    inset = 0.1 * step * DAY_MS
    layers: list[Spec] = []
    panels = (
        ("shifts", 0, LIGHT["observed"], [split, 0], f"shifts per {per}"),
        ("new incidents", 1, LIGHT["up"], [plot_height, split + 26], f"incidents first reported per {per}"),
    )
    for name, position, colour, span, label in panels:
        largest = max(max(v[position] for v in sums.values()), 1)
        ticks = [t for t in _steps(0, largest, 2 if largest > 1 else 1) if t == int(t)]
        top_of_scale = max(largest, ticks[-1])
        scale = {"domain": [0, top_of_scale], "range": span, "nice": False}
        values = [
            {
                "from": milliseconds(day) + inset,
                "to": milliseconds(day) + step * DAY_MS - inset,
                "n": v[position],
                "zero": 0,
            }
            for day, v in sorted(sums.items())
            if v[position]
        ]
        layers += [
            layer(
                name,
                values,
                {"type": "rect", "color": colour},
                {
                    "x": x,
                    "x2": {"field": "to"},
                    "y": {
                        "field": "n",
                        "type": "quantitative",
                        "scale": scale,
                        "title": None,
                        "axis": axis(ticks, [f"{t:,.0f}" for t in ticks], grid=True) | {"orient": "left"},
                    },
                    "y2": {"field": "zero"},
                },
            ),
            layer(
                f"{name} label",
                [{}],
                {
                    "type": "text",
                    "text": label,
                    "align": "left",
                    "baseline": "bottom",
                    "fontSize": 11,
                    "color": LIGHT["text"],
                },
                {"x": {"value": 0}, "y": {"value": span[1] - 5}},
            ),
        ]
    layers += _heading(heading, left, top, width)
    shifts, incidents = sum(v[0] for v in sums.values()), sum(v[1] for v in sums.values())
    text = (
        f"{shifts:,} significant shifts and {incidents:,} newly reported incidents, {_long(first)} to {_long(last)}, "
        f"per {per}."
    )
    spec = picture(layers, plot_width, plot_height, (left, right, top, bottom), text)
    return spec | {"resolve": {"scale": {"y": "independent"}, "axis": {"y": "independent"}}}


@dataclass(frozen=True)
class Maturity:
    """How much of a metric is in by each age, from 0 days, and the age from which it is judged."""

    name: str
    shares: Sequence[float]
    horizon: int


def maturity_strips(curves: Sequence[Maturity], *, width: int = 900, row: int = 17) -> Spec:
    """A strip per metric: the darker a day, the more of the value is in; a line where days are judged from.

    Shares above one (sums that shrink again) are drawn like one.

    Raises:
        ValueError: there is no curve at all.
    """
    if not curves:
        raise ValueError("the chart of maturity needs at least one metric")
    late = [age for c in curves for age, share in enumerate(c.shares) if round(share, 1) < 1]
    oldest = max([*late, *(c.horizon for c in curves)]) + 1
    left = max(60, round(max(len(c.name) for c in curves) * _CHARACTER) + 14)
    right, top, bottom = 16, 34, 26
    plot_width, plot_height = width - left - right, row * len(curves)
    days = [float(d) for d in range(0, oldest + 2, max(1, math.ceil((oldest + 1) / 16)))]
    x: Spec = {
        "field": "age",
        "type": "quantitative",
        "scale": {"domain": [0, oldest + 1], "nice": False},
        "axis": axis(days, [f"{d:.0f}" for d in days], grid=False),
        "title": None,
    }
    names = [float(i) + 0.5 for i in range(len(curves))]
    y: Spec = {
        "field": "top",
        "type": "quantitative",
        "scale": {"domain": [len(curves), 0], "nice": False},
        "axis": axis(names, [c.name for c in curves], grid=False),
        "title": None,
    }
    cells = [
        {"age": age, "to": age + 1, "top": i + 0.12, "foot": i + 0.88,
         "colour": _mixed(LIGHT["gap"], LIGHT["down"], c.shares[age] if age < len(c.shares) else 1.0)}
        for i, c in enumerate(curves) for age in range(oldest + 1)
    ]  # fmt: skip
    marks = [{"age": c.horizon, "top": i, "foot": i + 1} for i, c in enumerate(curves)]
    shade: Spec = {"field": "colour", "type": "nominal", "scale": None}
    layers = [
        layer(
            "shares", cells, {"type": "rect"},
            {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "foot"}, "color": shade},
        ),
        layer(
            "horizons", marks, {"type": "rule", "color": LIGHT["up"], "strokeWidth": 2},
            {"x": x, "y": y, "y2": {"field": "foot"}},
        ),
        *_heading([("days after a day's end · darker: more of the value is in · line: judged from here on", "text")],
                  left, top, width),
    ]  # fmt: skip
    text = f"Share of the value that is in by age, of {len(curves)} metrics."
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def sparkline(values: Sequence[float | None], width: int = 40, onset: int | None = None) -> str:
    """A series as block characters, lowest ``▁`` to highest ``█``; a day without data is a space.

    Args:
        values: in order; NaN and ``None`` are days without data. More than ``width`` values are averaged in bins.
        width: most characters to draw, the marker not counted.
        onset: index of the value before which ``╎`` marks the onset.
    """
    known = [_finite(v) for v in values]
    size = min(len(known), width)
    bins: list[list[float]] = [[] for _ in range(size)]
    for index, value in enumerate(known):
        if value is not None:
            bins[index * size // len(known)].append(value)
    means = [sum(b) / len(b) if b else None for b in bins]
    finite = [m for m in means if m is not None]
    low, span = min(finite, default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    drawn = [" " if m is None else "▁▂▃▄▅▆▇█"[round((m - low) / span * 7)] if span else "▄" for m in means]
    if onset is not None and known:
        drawn.insert(min(max(onset, 0), len(known)) * size // len(known), "╎")
    return "".join(drawn)


def latest(incidents: Iterable[Incident]) -> list[Incident]:
    """The latest row of each incident, ordered by onset."""
    found: dict[str, Incident] = {}
    for incident in incidents:
        if incident.id not in found or found[incident.id].day < incident.day:
            found[incident.id] = incident
    return sorted(found.values(), key=lambda i: (i.onset, i.id))


def tone_of(incident: Incident) -> Tone:
    """The colour an incident is drawn in."""
    if incident.kind == "data":
        return "data"
    return "up" if incident.direction == "up" else "down"


def svg(spec: Spec) -> str:
    """A specification as an ``<svg>`` element to put into a page: transparent, labelled, scalable.

    Ids are made unique, since several pictures share one page.
    """
    import vl_convert  # loads a JavaScript engine: only where it is used

    drawn: str = vl_convert.vegalite_to_svg(spec | {"background": None}, show_warnings=False)
    prefix = "c" + hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'(id="|url\(#)([A-Za-z_]\w*)', rf"\g<1>{prefix}-\2", drawn)
    drawn = re.sub(
        r' (?:role="graphics-\w+"|aria-roledescription="[^"]*"|aria-hidden="true"|pointer-events="none")', "", drawn
    )
    drawn = re.sub(r'<path class="(?:background|foreground)"(?: d="[^"]*")?(?: display="none")?/>', "", drawn)
    label = html.escape(spec.get("description", ""), quote=True)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def png(spec: Spec, scale: float = 1.5) -> bytes:
    """A specification as a PNG of at most 64 colours, on white paper."""
    import vl_convert  # loads a JavaScript engine: only where it is used

    drawn: bytes = vl_convert.vegalite_to_png(spec, scale=scale, show_warnings=False)
    return _with_palette(drawn)


def markdown_image(spec: Spec) -> str:
    """A specification as a Markdown image with its PNG inside, at most 900 px wide."""
    width = spec["width"] + spec["padding"]["left"] + spec["padding"]["right"]
    data = base64.b64encode(png(spec, scale=min(1.5, MARKDOWN_WIDTH / width))).decode()
    alt = re.sub(r"[\[\]\\\n]", " ", spec.get("description", ""))
    return f"![{alt}](data:image/png;base64,{data})"


def dark_css(scope: str) -> str:
    """CSS rules that turn the pictures inside ``scope`` (a selector) from light to dark.

    An author's rule outranks the colour attributes that Vega writes, so no picture is drawn twice.
    """
    return "\n".join(
        f'{scope} [{attribute}="{LIGHT[role]}"]{{{attribute}:{DARK[role]}}}'
        for role in LIGHT
        if role != "paper"
        for attribute in ("fill", "stroke")
    )


def picture(
    layers: list[Spec], width: float, height: float, margins: tuple[int, int, int, int], description: str
) -> Spec:
    """Layers as one specification: ``width`` x ``height`` px of plot within ``margins`` (left, right, top, bottom)."""
    left, right, top, bottom = margins
    seen: dict[str, int] = {}
    for layer in layers:  # Vega-Lite wants every name once
        name = layer["name"]
        seen[name] = seen.get(name, 0) + 1
        layer["name"] = name if seen[name] == 1 else f"{name} {seen[name]}"
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": width,
        "height": height,
        "autosize": "none",
        "padding": {"left": left, "right": right, "top": top, "bottom": bottom},
        "background": LIGHT["paper"],
        "layer": layers,
        "config": {
            "font": FONT,
            "aria": False,
            "view": {"stroke": None},
            "axis": {
                "domain": False,
                "ticks": False,
                "gridColor": LIGHT["grid"],
                "labelColor": LIGHT["text"],
                "labelFontSize": 11,
                "labelPadding": 6,
                "labelOverlap": False,
            },
            "axisX": {
                "domain": True,
                "domainColor": LIGHT["axis"],
                "ticks": True,
                "tickColor": LIGHT["axis"],
                "tickSize": 4,
                "labelPadding": 4,
            },
        },
    }


def layer(name: str, values: Sequence[Mapping[str, Any]], mark: Spec, encoding: Spec) -> Spec:
    """One kind of mark over its own rows."""
    return {"name": name, "data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def _mixed(none: str, all_: str, share: float) -> str:
    """A colour between two, in ten steps: more would not survive a palette."""
    part = round(min(max(share, 0.0), 1.0), 1)
    pairs = ((int(none[i : i + 2], 16), int(all_[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(low + part * (high - low)):02x}" for low, high in pairs)


def _heading(lines: Sequence[tuple[str, str]], left: int, top: int, width: int) -> list[Spec]:
    """Title lines above everything else, from the left edge of the picture."""
    return [
        layer(
            "title" if role == "ink" else "subtitle",
            [{"text": text}],
            {
                "type": "text",
                "align": "left",
                "baseline": "top",
                "color": LIGHT[role],
                "fontSize": 13 if role == "ink" else 11,
                "fontWeight": 600 if role == "ink" else "normal",
                "limit": width - 20,
            },
            {"x": {"value": 4 - left}, "y": {"value": 8 - top + 17 * n}, "text": {"field": "text"}},
        )
        for n, (text, role) in enumerate(lines)
    ]


def axis(values: Sequence[float], labels: Sequence[str | list[str]], grid: bool) -> Spec:
    """An axis with exactly these ticks. ``labels`` are looked up by place, since tick labels are words here."""
    chosen = f"{json.dumps(list(labels))}[indexof({json.dumps(list(values))}, +datum.value)]"
    return {"values": list(values), "labelExpr": chosen, "grid": grid, "title": None}


def _key(unit: str, scale: str, points: Sequence[Point], width: int) -> str:
    """What the marks mean, as far as there is room."""
    parts = [unit] if unit else []
    if scale == "log":
        parts.append("log scale")
    if not unit or width < 480:
        return " · ".join(parts)
    parts.append("line: observed")
    if any(p.expected is not None for p in points):
        parts.append("dashes: expected")
    if any(p.low is not None for p in points):
        parts.append("shade: 95 % of ordinary days")
    return " · ".join(parts)


def _place_labels(
    marks: Sequence[tuple[dt.date, str, bool]], first: dt.date, last: dt.date, width: float
) -> list[tuple[_Label, dt.date, bool]]:
    """Labels in lanes above the plot so that none covers another, nor another's stem."""
    total = (last - first).days + 1

    def at(day: dt.date) -> float:
        return ((day - first).days + 0.5) / total * width

    # Labels grow away from the middle's far side, so taking the outermost first leaves every stem a free way up.
    from_left = sorted((m for m in marks if at(m[0]) <= width * 0.55), key=lambda m: (m[2], m[0]), reverse=True)
    from_right = sorted((m for m in marks if at(m[0]) > width * 0.55), key=lambda m: (not m[2], m[0]))
    placed: list[tuple[_Label, dt.date, bool]] = []
    for mark in sorted(from_left + from_right, key=lambda m: not m[2]):
        day, text, is_onset = mark
        x = at(day)
        align: Literal["left", "right"] = "left" if mark in from_left else "right"
        most = max(8, int(((width - x if align == "left" else x) - 8) / _CHARACTER))
        lengths = [min(most, n) for n in (len(text), 60, 40, 25, 14)]
        candidates = (
            _Label(x, text if len(text) <= n else text[: n - 1].rstrip() + "…", lane, align)
            for n in lengths
            for lane in range(MOST_LANES)
        )
        fits = (c for c in candidates if all(_apart(c, other) for other, _, _ in placed))
        placed.append((next(fits, _Label(x, "", 0, align)), day, is_onset))
    return placed


def _apart(one: _Label, other: _Label) -> bool:
    """Neither label touches the other in its lane, and no stem passes through a label below it."""
    if one.lane == other.lane:
        return one.span[1] + 6 <= other.span[0] or other.span[1] + 6 <= one.span[0]
    upper, lower = (one, other) if one.lane > other.lane else (other, one)
    return not lower.span[0] <= upper.x <= lower.span[1]


def _value_scale(points: Sequence[Point], format: Format, steps: int) -> tuple[Spec, list[float], list[str]]:
    """The y scale, its ticks and their labels.

    What was observed and expected sets the range; a wide band is cut rather than allowed to flatten the series.
    """
    core = [v for p in points for v in (p.observed, p.expected) if v is not None]
    seen = [p.observed for p in points if p.observed is not None and p.observed > 0]
    # A share of a thing a day may be expected where nothing is seen: that must not stretch the axis by decades.
    positive = [v for v in core if v > 0 and (not seen or v >= min(seen) / 10)]
    if positive and max(positive) / min(positive) > LOG_FROM and min(core) >= 0:
        low, high = min(positive) / 1.3, max(positive) * 1.25
        if format == "share":
            high = min(high, 1.0)
        with_zero = min(core) < min(positive)  # zero has no place on a log axis: the bottom edge stands for it
        if with_zero:
            low = min(positive) / 3
        ticks = _log_ticks(low, high, format, steps + 2)
        if with_zero:
            ticks = [t for t in ticks if math.log(t / low) > 0.09 * math.log(high / low)]
        labels = [_tick_label(t, format, t, 0.0) for t in ticks]
        if with_zero:
            ticks, labels = [low, *ticks], ["0", *labels]
        return {"type": "log", "domain": [low, high], "nice": False, "clamp": True}, ticks, labels
    if not core:
        core = [0.0, 1.0]
    bands = [v for p in points for v in (p.low, p.high) if v is not None]
    low, high = min(core), max(core)
    high = max(high, min(max(bands, default=high), high + 0.35 * (high - min(low, 0.0))))
    low = min(low, max(min(bands, default=low), low - 0.35 * (high - low)))
    if 0 <= low < 0.6 * high:  # far from flat: zero belongs in the picture
        low = 0.0
    if high - low < 1e-12 * max(abs(high), 1e-12):
        low, high = (0.0, high) if high > 0 else (low - 1, high + 1)
    unit = _duration_unit(high)[0] if format == "duration" else 0.01 if format == "share" else 1.0
    ticks = [t * unit for t in _steps(low / unit, high / unit, steps)]
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    pad = 0.04 * (high - low)
    low = low - pad if low not in (0.0, ticks[0]) else low
    high = high + pad if high != ticks[-1] else high
    if format == "share":
        high = min(high, max(1.0, ticks[-1]))
    labels = [_tick_label(t, format, max(abs(low), abs(high)), step) for t in ticks]
    return {"type": "linear", "domain": [low, high], "nice": False, "zero": False}, ticks, labels


def _steps(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``."""
    if high <= low:
        return [low]
    raw = (high - low) / max(count, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    from_, to = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(from_, to + 1)] or [low]


def _log_ticks(low: float, high: float, format: Format, most: int) -> list[float]:
    if format == "duration":
        minute, hour, day = 60.0, 3600.0, 86_400.0
        ladder = [
            1,
            5,
            20,
            minute,
            5 * minute,
            20 * minute,
            hour,
            6 * hour,
            day,
            5 * day,
            20 * day,
            100 * day,
            365 * day,
        ]
        ticks = [t for t in ladder if low <= t <= high]
        return ticks[:: max(1, math.ceil(len(ticks) / most))]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**d for d in decades for m in mantissas if low <= m * 10.0**d <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def _tick_label(value: float, format: Format, largest: float, step: float) -> str:
    """A tick in the unit that suits the largest value of the axis."""
    if format == "share":
        digits = next((d for d in range(6) if step and abs(round(step * 100, d) - step * 100) < 1e-9), 6)
        return _trimmed(value * 100, digits) + " %"
    if value == 0:
        return "0"
    if format == "duration":
        unit, name = _duration_unit(largest)
        return f"{_trimmed(value / unit, 2)} {name}"
    for limit, divisor, suffix in ((1e9, 1e9, " bn"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if largest >= limit * 0.999:
            return _trimmed(value / divisor, 3) + suffix
    return _trimmed(value, 3)


def _duration_unit(seconds: float) -> tuple[float, str]:
    for limit, unit, name in ((86_400, 86_400.0, "d"), (3_600, 3_600.0, "h"), (60, 60.0, "min")):
        if seconds >= limit * 0.999:
            return unit, name
    return 1.0, "s"


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def date_ticks(first: dt.date, last: dt.date, width: float) -> tuple[list[float], list[str | list[str]]]:
    """Days to label, in ms since 1970 UTC; the year stands under the first label and under each first of a year."""
    days = list(_days(first, last))
    ladder: list[tuple[list[dt.date], str]] = [
        (days, "%-d %b"),
        (days[::2], "%-d %b"),
        ([d for d in days if d.weekday() == 0], "%-d %b"),
        ([d for d in days if d.weekday() == 0][::2], "%-d %b"),
        ([d for d in days if d.day == 1], "%b"),
        ([d for d in days if d.day == 1 and d.month in (1, 4, 7, 10)], "%b"),
        ([d for d in days if d.day == 1 and d.month in (1, 7)], "%b"),
        ([d for d in days if d.day == 1 and d.month == 1], "%b"),
    ]
    chosen, form = next(
        ((ticks, form) for ticks, form in ladder if ticks and len(ticks) * (52 if "d" in form else 40) <= width),
        ([first], "%-d %b"),
    )
    labels: list[str | list[str]] = []
    for n, day in enumerate(chosen):
        text = f"{day.day} {day:%b}" if "d" in form else f"{day:%b}"
        new_year = n == 0 or day.year != chosen[n - 1].year
        labels.append([text, str(day.year)] if new_year else text)
    return [milliseconds(d) for d in chosen], labels


def _gaps(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """First and last ms of each run of days without data."""
    found: list[list[float]] = []
    for row in rows:
        if row["observed"] is not None:
            continue
        if found and row["day"] - found[-1][1] <= DAY_MS:
            found[-1][1] = row["day"]
        else:
            found.append([row["day"], row["day"]])
    return [(low, high) for low, high in found]


def _describe_series(
    title: str,
    points: Sequence[Point],
    onset: dt.date | None,
    window: tuple[dt.date, dt.date] | None,
    format: Format,
) -> str:
    seen = [p for p in points if p.observed is not None]
    parts = [f"{title}." if title else "", f"Daily values from {_long(points[0].day)} to {_long(points[-1].day)}."]
    if seen:
        values = [p.observed for p in seen if p.observed is not None]
        low, high = (_tick_label(v, format, v, 0.0) for v in (_rounded(min(values)), _rounded(max(values))))
        parts.append(f"They range from {low} to {high}.")
    if onset:
        parts.append(f"A change begins on {_long(onset)}.")
    if window:
        parts.append(f"It is marked until {_long(window[1])}.")
    if len(seen) < len(points):
        parts.append(f"{len(points) - len(seen)} days have no data.")
    return " ".join(filter(None, parts))


def _rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def _with_palette(image: bytes) -> bytes:
    """An opaque RGBA PNG as a palette PNG of its 64 most frequent colours; the rest take the nearest of them.

    vl-convert writes true colour with a fast compressor: five to ten times the bytes.
    """
    import numpy as np

    width, height = struct.unpack(">II", image[16:24])
    pixels = zlib.decompress(b"".join(data for kind, data in _chunks(image) if kind == b"IDAT"))
    lines = np.frombuffer(pixels, np.uint8).reshape(height, 1 + 4 * width)
    if not np.isin(lines[:, 0], (0, 1)).all():  # filters other than "none" and "sub": leave it as it is
        return image
    samples = lines[:, 1:].reshape(height, width, 4).copy()
    subtracted = lines[:, 0] == 1
    samples[subtracted] = np.cumsum(samples[subtracted], axis=1, dtype=np.uint8)
    colours, inverse, counts = np.unique(
        samples.reshape(-1, 4).view(np.uint32).ravel(), return_inverse=True, return_counts=True
    )
    rgb = colours.view(np.uint8).reshape(-1, 4)[:, :3]
    kept = np.argsort(-counts, kind="stable")[:64]
    distance = ((rgb[:, None, :].astype(np.int32) - rgb[kept][None, :, :].astype(np.int32)) ** 2).sum(axis=2)
    indexes = distance.argmin(axis=1).astype(np.uint8)[inverse].reshape(height, width)
    packed = zlib.compress(np.pad(indexes, ((0, 0), (1, 0))).tobytes(), 9)  # a leading 0: rows without a filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", rgb[kept].tobytes()), (b"IDAT", packed), (b"IEND", b""))
    return image[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def _chunks(image: bytes) -> Iterable[tuple[bytes, bytes]]:
    at = 8
    while at < len(image):
        (size,) = struct.unpack(">I", image[at : at + 4])
        yield image[at + 4 : at + 8], image[at + 8 : at + 8 + size]
        at += 12 + size


def _end(incident: Incident) -> dt.date:
    """The last day of an incident: today while it is open."""
    return incident.day if incident.is_open else incident.last_reported


def _clamped(value: float | None, floor: float, kind: str) -> float | None:
    return max(value, floor) if value is not None and kind == "log" else value


def _finite(value: Any, per: float = 1.0) -> float | None:
    return None if value is None or not math.isfinite(value) else per * float(value)


def _days(first: dt.date, last: dt.date) -> Iterable[dt.date]:
    return (first + dt.timedelta(days=n) for n in range((last - first).days + 1))


def milliseconds(day: dt.date) -> float:
    """The start of a UTC day, as Vega counts time."""
    return (day.toordinal() - 719_163) * float(DAY_MS)


def _short(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"
