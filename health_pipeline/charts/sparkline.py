"""A series in a line of text."""

from __future__ import annotations

from collections.abc import Sequence

from health_pipeline.charts.point import finite


def sparkline(values: Sequence[float | None], width: int = 40, onset: int | None = None) -> str:
    """A series as block characters, lowest ``▁`` to highest ``█``; a day without data is a space.

    Args:
        values: in order; NaN and ``None`` are days without data. More than ``width`` values are averaged in bins.
        width: most characters to draw, the marker not counted.
        onset: index of the value before which ``╎`` marks the onset.
    """
    known = [finite(v) for v in values]
    size = min(len(known), width)
    bins: list[list[float]] = [[] for _ in range(size)]
    for index, value in enumerate(known):
        if value is not None:
            bins[index * size // len(known)].append(value)
    means = [sum(b) / len(b) if b else None for b in bins]
    there = [m for m in means if m is not None]
    low, span = min(there, default=0.0), max(there, default=0.0) - min(there, default=0.0)
    drawn = [" " if m is None else "▁▂▃▄▅▆▇█"[round((m - low) / span * 7)] if span else "▄" for m in means]
    if onset is not None and known:
        drawn.insert(min(max(onset, 0), len(known)) * size // len(known), "╎")
    return "".join(drawn)
