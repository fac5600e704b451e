"""Pictures of risk lists: how far probabilities came true, and how a queue's minutes are spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from health_pipeline.charts import LIGHT, Spec, axis, layer, picture
from health_pipeline.charts.spec import CHARACTER, heading_layers, wrapped

LEFT, RIGHT, TOP, BOTTOM = 64, 20, 34, 44
LONGEST = 40
"""Characters of a label: names come from data."""


@dataclass(frozen=True)
class Reliable:
    """Cases of about the same probability.

    Attributes:
        predicted: mean probability.
        observed, low, high: share that were violations, and its 95 % interval.
        count: cases.
    """

    predicted: float
    observed: float
    low: float
    high: float
    count: float


def reliability_chart(bins: Sequence[Reliable], *, title: str = "", width: int = 420, height: int = 360) -> Spec:
    """Observed share over predicted probability, with intervals; on the diagonal a probability means what it says.

    Raises:
        ValueError: there is no bin.
    """
    if not bins:
        raise ValueError("the reliability chart needs at least one bin")
    top = min(1.0, 1.1 * max(max(b.predicted, b.high) for b in bins))
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if top / s <= 6 or s == 0.25)
    ticks = [i * step for i in range(int(top / step + 1e-9) + 1)]
    labels = [f"{100 * t:g} %" for t in ticks]
    x: Spec = {
        "field": "predicted", "type": "quantitative", "scale": {"domain": [0, top], "nice": False}, "title": None,
        "axis": axis(ticks, labels, grid=False),
    }  # fmt: skip
    y: Spec = x | {"field": "observed", "axis": axis(ticks, labels, grid=True)}
    rows = [
        {"predicted": b.predicted, "observed": b.observed, "low": b.low, "high": min(b.high, top), "count": b.count}
        for b in bins
    ]
    ends = [{"predicted": v, "observed": v} for v in (0.0, top)]
    words = title or "share that were violations, over the probability stated; on the line they agree"
    layers = [
        layer("agreement", ends, {"type": "line", "color": LIGHT["axis"], "strokeDash": [4, 4]}, {"x": x, "y": y}),
        layer(
            "intervals", rows, {"type": "rule", "color": LIGHT["down"], "strokeWidth": 1.5},
            {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}},
        ),
        layer("bins", rows, {"type": "point", "filled": True, "color": LIGHT["down"], "size": 45}, {"x": x, "y": y}),
        _words(words),
    ]  # fmt: skip
    margins = (LEFT, RIGHT, TOP, BOTTOM)
    text = f"Reliability of probabilities in {len(bins)} bins. {words}."
    return picture(layers, width - LEFT - RIGHT, height - TOP - BOTTOM, margins, text)


@dataclass(frozen=True)
class Spent:
    """Minutes of a queue on one day."""

    queue: str
    ranked: float
    explored: float
    capacity: float


def capacity_chart(queues: Sequence[Spent], *, width: int = 600, row: int = 26) -> Spec:
    """A bar for each queue: minutes of cases by rank, of explored ones, and a line at the capacity.

    Raises:
        ValueError: there is no queue.
    """
    if not queues:
        raise ValueError("the chart of capacity needs at least one queue")
    left = max(LEFT, round(7.0 * max(len(q.queue) for q in queues)) + 14)
    most = 1.05 * max(max(q.capacity, q.ranked + q.explored) for q in queues)
    step = next(s for s in (10, 20, 30, 60, 120, 240, 480, 960, 1920, 10**9) if most / s <= 8)
    ticks = [float(t) for t in range(0, int(most) + 1, step)]
    x: Spec = {
        "field": "from", "type": "quantitative", "scale": {"domain": [0, most], "nice": False}, "title": None,
        "axis": axis(ticks, [f"{t:g}" for t in ticks], grid=True),
    }  # fmt: skip
    y: Spec = {
        "field": "top", "type": "quantitative", "scale": {"domain": [len(queues), 0], "nice": False}, "title": None,
        "axis": axis([i + 0.5 for i in range(len(queues))], [q.queue for q in queues], grid=False),
    }  # fmt: skip
    bars = [
        bar
        for i, q in enumerate(queues)
        for bar in (
            {"from": 0.0, "to": q.ranked, "top": i + 0.2, "foot": i + 0.8, "colour": LIGHT["down"]},
            {"from": q.ranked, "to": q.ranked + q.explored, "top": i + 0.2, "foot": i + 0.8, "colour": LIGHT["up"]},
        )
    ]
    lines = [{"from": q.capacity, "top": i + 0.05, "foot": i + 0.95} for i, q in enumerate(queues)]
    key = ["minutes by rank: blue", "to explore: orange", "line: what the queue has"]
    heading = [(line, "text") for line in wrapped(key, width - 20, CHARACTER, " · ")]
    top = 8 + 17 * len(heading) + 4
    layers = [
        layer(
            "minutes", bars, {"type": "rect"},
            {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "foot"},
             "color": {"field": "colour", "type": "nominal", "scale": None}},
        ),
        layer("capacity", lines, {"type": "rule", "color": LIGHT["ink"], "strokeWidth": 2},
              {"x": x, "y": y, "y2": {"field": "foot"}}),
        *heading_layers(heading, left, top, width),
    ]  # fmt: skip
    text = "; ".join(f"{q.queue}: {q.ranked + q.explored:.0f} of {q.capacity:.0f} minutes" for q in queues)
    return picture(layers, width - left - RIGHT, row * len(queues), (left, RIGHT, top, 26), text)


@dataclass(frozen=True)
class Known:
    """A share, and how well it is known."""

    label: str
    value: float
    low: float
    high: float


def estimates_chart(
    rows: Sequence[Known], *, title: str, most: float | None = None, width: int = 600, row: int = 22
) -> Spec:
    """A point with its interval for each share, one below the other.

    Args:
        most: the right end of the scale; by default where the widest interval ends.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("the chart of estimates needs at least one row")
    labels = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in (r.label for r in rows)]
    left = max(LEFT, round(CHARACTER * max(map(len, labels))) + 14)
    top = most or min(1.0, 1.05 * max(max(r.high, r.value) for r in rows)) or 1.0
    step = next(s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if top / s <= 8 or s == 0.2)
    ticks = [i * step for i in range(int(top / step + 1e-9) + 1)]
    x: Spec = {
        "field": "value", "type": "quantitative", "scale": {"domain": [0, top], "nice": False}, "title": None,
        "axis": axis(ticks, [f"{100 * t:g} %" for t in ticks], grid=True),
    }  # fmt: skip
    y: Spec = {
        "field": "at", "type": "quantitative", "scale": {"domain": [len(rows), 0], "nice": False}, "title": None,
        "axis": axis([i + 0.5 for i in range(len(rows))], labels, grid=False),
    }  # fmt: skip
    values = [{"value": r.value, "low": r.low, "high": min(r.high, top), "at": i + 0.5} for i, r in enumerate(rows)]
    heading = [(line, "text") for line in wrapped([title, "line: 95 % interval"], width - 20, CHARACTER, " · ")]
    above = 8 + 17 * len(heading) + 4
    layers = [
        layer("intervals", values, {"type": "rule", "color": LIGHT["down"], "strokeWidth": 1.5},
              {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y}),
        layer("estimates", values, {"type": "point", "filled": True, "color": LIGHT["down"], "size": 45},
              {"x": x, "y": y}),
        *heading_layers(heading, left, above, width),
    ]  # fmt: skip
    text = f"{title}: " + "; ".join(
        f"{r.label} {100 * r.value:.3g} % ({100 * r.low:.3g} to {100 * r.high:.3g} %)" for r in rows
    )
    return picture(layers, width - left - RIGHT, row * len(rows), (left, RIGHT, above, 26), text)


def _words(text: str) -> Spec:
    """A line above the plot."""
    mark = {"type": "text", "align": "left", "baseline": "bottom", "fontSize": 12, "color": LIGHT["text"], "text": text}
    return layer("words", [{}], mark, {"x": {"value": 0}, "y": {"value": -12}})
