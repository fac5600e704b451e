"""Many incidents, or many days, in one picture."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from health_pipeline.charts.scales import DAY_MS, date_ticks, milliseconds, round_steps
from health_pipeline.charts.spec import CHARACTER, LIGHT, Spec, Tone, axis, heading_layers, layer, picture

if TYPE_CHECKING:
    from health_pipeline.incidents.model import Incident


@dataclass(frozen=True)
class DayCount:
    """How many shifts there were on a day, and how many incidents were first reported."""

    day: dt.date
    shifts: int
    incidents: int


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
    left = round(min(max((len(u) for u in units), default=0) * CHARACTER * 1.06 + 14, width / 3)) if units else 16
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
        at += 13 + len(text) * CHARACTER + 16
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
    layers += heading_layers(heading, left, top, width)
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
        ticks = [t for t in round_steps(0, largest, 2 if largest > 1 else 1) if t == int(t)]
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
    layers += heading_layers(heading, left, top, width)
    shifts, incidents = sum(v[0] for v in sums.values()), sum(v[1] for v in sums.values())
    text = (
        f"{shifts:,} significant shifts and {incidents:,} newly reported incidents, {_long(first)} to {_long(last)}, "
        f"per {per}."
    )
    spec = picture(layers, plot_width, plot_height, (left, right, top, bottom), text)
    return spec | {"resolve": {"scale": {"y": "independent"}, "axis": {"y": "independent"}}}


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


def _end(incident: Incident) -> dt.date:
    """The last day of an incident: today while it is open."""
    return incident.day if incident.is_open else incident.last_reported


def _long(day: dt.date) -> str:
    return f"{day.day} {day:%B %Y}"
