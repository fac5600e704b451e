"""Pictures of two settings side by side: what a day costs, when each would have reported what, what was planted.

Setting A is drawn in blue with dots, B in orange with diamonds; what is drawn takes its parts from :mod:`.charts`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipeline.charts import DAY_MS, LIGHT, Spec, axis, date_ticks, layer, milliseconds, picture

COLOURS = {"A": LIGHT["down"], "B": LIGHT["up"]}
SHAPES = {"A": "circle", "B": "diamond"}
WEEKLY_FROM = 182
"""Longer periods are drawn by week."""
ROW = 15
CHARACTER = 5.9  # mean advance in px of the label font at 11 px


@dataclass(frozen=True)
class Row:
    """A line of a chart of reports.

    Attributes:
        name: on the left.
        start, end: the span of the line; cut at the edges of the picture.
        reports: setting -> day of its first report.
        group: rows of a group stand together under its name.
    """

    name: str
    start: dt.date
    end: dt.date
    reports: Mapping[str, dt.date]
    group: str = ""


def attention_chart(per_day: Mapping[str, Mapping[dt.date, float]], *, width: int = 600, height: int = 260) -> Spec:
    """Minutes a day (a week beyond 26 weeks), a panel for each setting, both on one scale.

    Args:
        per_day: setting -> day -> minutes.
        width, height: of the whole picture in px.

    Raises:
        ValueError: there is no day.
    """
    days = sorted({d for own in per_day.values() for d in own})
    if not days:
        raise ValueError("the chart of attention needs at least one day")
    first, last = days[0], days[-1]
    step = 7 if (last - first).days > WEEKLY_FROM else 1
    sums: dict[str, dict[dt.date, float]] = {}
    for name, own in per_day.items():
        into = sums.setdefault(name, {})
        for day, minutes in own.items():
            start = first + dt.timedelta(days=(day - first).days // step * step)
            into[start] = into.get(start, 0.0) + minutes
    largest = max([v for own in sums.values() for v in own.values()] + [1.0])
    left, right, bottom, top = 44, 16, 36, 26
    plot_width, plot_height = width - left - right, height - top - bottom
    gap = 26
    panel = (plot_height - gap * (len(sums) - 1)) / len(sums)
    x = _days(first, last, plot_width, step)
    inset = 0.1 * step * DAY_MS
    layers: list[Spec] = []
    ticks = sorted({0.0, _round(largest)})
    for place, (name, own) in enumerate(sums.items()):
        low = place * (panel + gap) + panel
        scale = {"domain": [0, max(largest, ticks[-1])], "range": [low, low - panel], "nice": False}
        rows = [
            {"from": milliseconds(d) + inset, "to": milliseconds(d) + step * DAY_MS - inset, "n": v, "zero": 0}
            for d, v in sorted(own.items())
            if v
        ]
        y: Spec = {
            "field": "n", "type": "quantitative", "scale": scale, "title": None,
            "axis": axis(ticks, [f"{t:,.0f}" for t in ticks], grid=True) | {"orient": "left"},
        }  # fmt: skip
        layers.append(
            layer(f"minutes {name}", rows, {"type": "rect", "color": COLOURS[name]},
                  {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "zero"}})
        )  # fmt: skip
        said = f"{name}: minutes a {'week' if step == 7 else 'day'}"
        layers.append(_text(f"label {name}", said, 0, low - panel - 5, "bottom"))
    totals = "; ".join(f"{name} {sum(own.values()):,.0f} in all" for name, own in sums.items())
    text = f"Minutes of attention from {_long(first)} to {_long(last)}: {totals}."
    spec = picture(layers, plot_width, plot_height, (left, right, top, bottom), text)
    return spec | {"resolve": {"scale": {"y": "independent"}, "axis": {"y": "independent"}}}


def reports_chart(rows: Sequence[Row], *, first: dt.date, last: dt.date, width: int = 600) -> Spec:
    """A line for each row over its span, with a mark where each setting first reported it.

    Args:
        rows: in the order in which they are drawn; rows of a group must stand together.
        first, last: the days shown.
        width: of the whole picture in px; the height follows from the rows.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("the chart of reports needs at least one row")
    left = round(min(max(len(r.name) for r in rows) * CHARACTER + 14, width * 0.42))
    right, bottom, top = 16, 36, 26
    plot_width = width - left - right
    spans, marks, names, groups = [], [], [], []
    offset, group = 0.0, None
    for row in rows:
        if row.group and row.group != group:
            offset += 8 if group is not None else 0
            groups.append({"text": row.group, "y": offset + ROW / 2})
            group, offset = row.group, offset + ROW
        middle = offset + ROW / 2
        start, end = max(row.start, first), min(max(row.end, row.start), last)
        spans.append({
            "from": milliseconds(start), "to": milliseconds(end) + DAY_MS, "top": middle - 2.5, "bottom": middle + 2.5,
        })  # fmt: skip
        marks += [
            {"day": milliseconds(day) + DAY_MS / 2, "y": middle, "setting": name}
            for name, day in row.reports.items()
            if first <= day <= last
        ]
        names.append({"text": row.name, "y": middle})
        offset += ROW
    plot_height = round(offset)
    x = _days(first, last, plot_width, 1)
    down = {"domain": [0, plot_height], "range": [0, plot_height], "nice": False, "zero": False}
    lanes: Spec = {"type": "quantitative", "scale": down, "axis": None}
    label: Spec = {"type": "text", "align": "right", "baseline": "middle", "dx": -8, "fontSize": 11, "limit": left - 10}
    layers = [
        layer("spans", spans, {"type": "rect", "color": LIGHT["stripe"], "clip": True},
              {"x": x, "x2": {"field": "to"}, "y": {**lanes, "field": "top"}, "y2": {"field": "bottom"}}),
        layer("names", names, label | {"color": LIGHT["text"]},
              {"x": {"value": 0}, "y": {**lanes, "field": "y"}, "text": {"field": "text"}}),
    ]  # fmt: skip
    if groups:
        heading = {"type": "text", "align": "left", "baseline": "middle", "fontSize": 11, "fontWeight": 600}
        layers.append(
            layer("groups", groups, heading | {"color": LIGHT["ink"]},
                  {"x": {"value": 4 - left}, "y": {**lanes, "field": "y"}, "text": {"field": "text"}})
        )  # fmt: skip
    at = 0.0
    for name in sorted({s for r in rows for s in r.reports}):
        own = [m for m in marks if m["setting"] == name]
        # B is drawn over A: where both report on one day, the dot shows around the smaller diamond.
        size = 70 if name == "A" else 34
        mark: Spec = {
            "type": "point", "filled": True, "opacity": 1, "shape": SHAPES[name], "size": size, "color": COLOURS[name]
        }  # fmt: skip
        layers.append(layer(f"reports {name}", own, mark, {"x": {**x, "field": "day"}, "y": {**lanes, "field": "y"}}))
        layers.append(layer(f"key {name}", [{}], mark, {"x": {"value": at + 5}, "y": {"value": -14}}))
        said = f"first report, {name}"
        layers.append(_text(f"key label {name}", said, at + 15, -14, "middle"))
        at += 15 + len(said) * CHARACTER + 18
    both = sum(len(r.reports) > 1 for r in rows)
    text = (
        f"{len(rows)} rows from {_long(first)} to {_long(last)}, with the day of each setting's first report; "
        f"{both} were reported by more than one."
    )
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def _days(first: dt.date, last: dt.date, width: float, step: int) -> Spec:
    ticks, labels = date_ticks(first, last, width)
    end = first + dt.timedelta(days=((last - first).days // step + 1) * step)
    return {
        "field": "from", "type": "temporal", "title": None, "axis": axis(ticks, labels, grid=False),
        "scale": {"type": "utc", "domain": [milliseconds(first), milliseconds(end)], "nice": False},
    }  # fmt: skip


def _text(name: str, text: str, x: float, y: float, baseline: str) -> Spec:
    mark = {
        "type": "text", "text": text, "align": "left", "baseline": baseline, "fontSize": 11, "color": LIGHT["text"]
    }  # fmt: skip
    return layer(name, [{}], mark, {"x": {"value": x}, "y": {"value": y}})


def _round(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no larger than a value."""
    power = 10.0 ** (len(f"{int(max(value, 1))}") - 1)
    return max(m * power for m in (1, 2, 5) if m * power <= max(value, 1))


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"
