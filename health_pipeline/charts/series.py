"""A series with the band it was judged against."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from health_pipeline.charts.labels import place_labels
from health_pipeline.charts.point import Point
from health_pipeline.charts.scales import (
    DAY_MS,
    Format,
    date_ticks,
    days_between,
    milliseconds,
    tick_label,
    value_scale,
)
from health_pipeline.charts.spec import (
    CHARACTER,
    LIGHT,
    TITLE_CHARACTER,
    Spec,
    Tone,
    axis,
    balanced,
    heading_layers,
    layer,
    picture,
    wrapped,
)

if TYPE_CHECKING:
    from health_pipeline.catalog.model import Event, Metric

LEAST_PLOT = 60
"""Least height of a plot in px, whatever stands above it: the renderer breaks down on a picture without height."""


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
    immature_from: dt.date | None = None,
    key: bool | None = None,
    width: int = 600,
    height: int = 280,
    description: str = "",
) -> Spec:
    """A series with the band it was judged against.

    Args:
        points: days in any order, at most one point a day. Days absent between the first and the last are drawn
            as days without data, and the line is never drawn across them.
        format: how values are written.
        title, unit: lines above the plot, as many as they need.
        key: whether ``unit`` is followed by what line, dashes and shade mean; by default from 480 px up, if there is a
            unit.
        onset, onset_low, onset_high: most likely first day of the change, and its interval.
        window: first and last day of the incident; its days are coloured by ``tone``.
        events: known events; those within the days shown become labelled ticks.
        missing: more spans without data (first and last day), for example after the last point.
        immature_from: the first day whose value may still change: from there on the ground is tinted, the line dotted,
            and no day counts among the incident's.
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
    declared = {d for low, high in missing for d in days_between(low, high)}
    days = list(days_between(first, last))
    shown = [Point(d, None) if d in declared and d not in by_day else by_day.get(d, Point(d, None)) for d in days]

    scale, values, tick_labels = value_scale(shown, format, steps=max(2, round((height - 90) / 40)))
    left, right, bottom = max(40, round(max(len(t) for t in tick_labels) * CHARACTER * 1.05) + 12), 20, 36
    plot_width = width - left - right
    marks = [(e.day, e.title, False) for e in sorted(events, key=lambda e: e.day) if first <= e.day <= last]
    if onset and onset <= last:
        before = onset < first  # off the picture: the words stay, at the edge
        marks.append((max(onset, first), f"{'← ' if before else ''}onset {_short(onset)}", True))
    labels = place_labels(marks, first, last, plot_width)
    lanes = 1 + max((label.lane for label, _, _ in labels), default=-1)
    young_from = immature_from if immature_from and immature_from <= last else None
    keyed = bool(unit) and width >= 480 if key is None else key
    told = _key(unit, scale["type"], shown, young_from is not None) if keyed else _plain(unit, scale["type"])
    heading = [
        *((line, "ink") for line in balanced(title, width - 20, TITLE_CHARACTER)),
        *((line, "text") for line in wrapped(told, width - 20, CHARACTER, " · ")),
    ]
    top = 8 + 17 * len(heading) + (4 if heading else 0) + 15 * lanes
    plot_height = max(height - top - bottom, LEAST_PLOT)

    floor = scale["domain"][0]
    rows = [
        {
            "day": milliseconds(p.day),
            "observed": _clamped(p.observed, floor, scale["type"]),
            "expected": _clamped(p.expected, floor, scale["type"]),
            "low": _clamped(p.low, floor, scale["type"]),
            "high": _clamped(p.high, floor, scale["type"]),
            "inside": bool(window and window[0] <= p.day <= window[1]) and not _is_young(p.day, young_from),
            "young": _is_young(p.day, young_from),
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
    seen = [r for r in rows if r["observed"] is not None and not r["young"]]
    young = [r for r in rows if r["young"]]
    known = [r | {"observed": None} if r["young"] else r for r in rows]
    # The dotted line begins where the other ends, unless a day without data lies between.
    tail = rows[max(len(rows) - len(young) - 1, 0) :] if young else []
    day_width = plot_width / len(days)
    line: Spec = {"invalid": "break-paths-show-domains", "clip": True}

    layers: list[Spec] = [
        *_immature_ground(young, last, x),
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
            known,
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
        *_immature_days(tail, young, x, {**y, "field": "observed"}, day_width),
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
            next(n for n, part in enumerate(layers) if part["name"] == "observed"),
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
        height_above = -15 * label.lane - 13 if label.text else 0  # without words, no stem through another's
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
    layers += heading_layers(heading, left, top, width)
    text = description or _describe_series(title, shown, onset, window, format)
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def _plain(unit: str, scale: str) -> list[str]:
    return [*([unit] if unit else []), *(["log scale"] if scale == "log" else [])]


def _key(unit: str, scale: str, points: Sequence[Point], young: bool) -> list[str]:
    """What the marks mean, part by part."""
    parts = [*_plain(unit, scale), "line: observed"]
    if any(p.expected is not None for p in points):
        parts.append("dashes: expected")
    if any(p.low is not None for p in points):
        parts.append("shade: 95 % of ordinary days")
    if young:
        parts.append("tinted: still arriving")
    return parts


def _is_young(day: dt.date, young_from: dt.date | None) -> bool:
    return young_from is not None and day >= young_from


def _immature_ground(young: Sequence[Mapping[str, Any]], last: dt.date, x: Spec) -> list[Spec]:
    """The tint behind days whose value may still change."""
    if not young:
        return []
    span = {"from": young[0]["day"] - DAY_MS / 2, "to": milliseconds(last) + DAY_MS / 2}
    return [
        layer(
            "immature",
            [span],
            {"type": "rect", "color": LIGHT["young"]},
            {"x": {**x, "field": "from"}, "x2": {"field": "to"}},
        )
    ]


def _immature_days(
    tail: Sequence[Mapping[str, Any]], young: Sequence[Mapping[str, Any]], x: Spec, y: Spec, day_width: float
) -> list[Spec]:
    """A dotted line and hollow days: what is seen so far of them."""
    if not young:
        return []
    dotted = {"type": "line", "color": LIGHT["observed"], "strokeWidth": 1.2, "strokeDash": [1.5, 2.5], "clip": True}
    hollow = {
        "type": "point", "filled": False, "color": LIGHT["observed"], "strokeWidth": 1, "opacity": 1, "clip": True,
        "size": 12 if day_width >= 4 else 6,
    }  # fmt: skip
    return [
        layer("immature line", tail, {**dotted, "invalid": "break-paths-show-domains"}, {"x": x, "y": y}),
        layer("immature days", [r for r in young if r["observed"] is not None], hollow, {"x": x, "y": y}),
    ]


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


def _clamped(value: float | None, floor: float, kind: str) -> float | None:
    return max(value, floor) if value is not None and kind == "log" else value


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
        low, high = (tick_label(v, format, v, 0.0) for v in (_rounded(min(values)), _rounded(max(values))))
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


def _short(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"
