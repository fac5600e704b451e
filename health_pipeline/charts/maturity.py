"""How much of each metric is in, by age."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from health_pipeline.charts.spec import CHARACTER, LIGHT, Spec, axis, heading_layers, layer, picture


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
    left = max(60, round(max(len(c.name) for c in curves) * CHARACTER) + 14)
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
    key = "days after a day's end · darker: more of the value is in · line: judged from here on"
    layers = [
        layer(
            "shares", cells, {"type": "rect"},
            {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"field": "foot"}, "color": shade},
        ),
        layer(
            "horizons", marks, {"type": "rule", "color": LIGHT["up"], "strokeWidth": 2},
            {"x": x, "y": y, "y2": {"field": "foot"}},
        ),
        *heading_layers([(key, "text")], left, top, width),
    ]  # fmt: skip
    text = f"Share of the value that is in by age, of {len(curves)} metrics."
    return picture(layers, plot_width, plot_height, (left, right, top, bottom), text)


def _mixed(none: str, all_: str, share: float) -> str:
    """A colour between two, in ten steps: more would not survive a palette."""
    part = round(min(max(share, 0.0), 1.0), 1)
    pairs = ((int(none[i : i + 2], 16), int(all_[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(low + part * (high - low)):02x}" for low, high in pairs)
