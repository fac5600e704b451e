"""Labels above a plot, placed so that none covers another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from health_pipeline.charts.spec import CHARACTER

MOST_LANES = 4
"""Rows of labels above a plot; an event that finds no room keeps its tick and loses its words."""


@dataclass(frozen=True)
class Label:
    """A label above the plot, with a stem down at ``x``."""

    x: float
    text: str
    lane: int
    align: Literal["left", "right"]

    @property
    def span(self) -> tuple[float, float]:
        length = len(self.text) * CHARACTER + 6
        return (self.x + 1, self.x + length) if self.align == "left" else (self.x - length, self.x - 1)


def place_labels(
    marks: Sequence[tuple[dt.date, str, bool]], first: dt.date, last: dt.date, width: float
) -> list[tuple[Label, dt.date, bool]]:
    """Labels in lanes above the plot so that none covers another, nor another's stem."""
    total = (last - first).days + 1

    def at(day: dt.date) -> float:
        return ((day - first).days + 0.5) / total * width

    # Labels grow away from the middle's far side, so taking the outermost first leaves every stem a free way up.
    from_left = sorted((m for m in marks if at(m[0]) <= width * 0.55), key=lambda m: (m[2], m[0]), reverse=True)
    from_right = sorted((m for m in marks if at(m[0]) > width * 0.55), key=lambda m: (not m[2], m[0]))
    placed: list[tuple[Label, dt.date, bool]] = []
    for mark in sorted(from_left + from_right, key=lambda m: not m[2]):
        day, text, is_onset = mark
        x = at(day)
        align: Literal["left", "right"] = "left" if mark in from_left else "right"
        most = max(8, int(((width - x if align == "left" else x) - 8) / CHARACTER))
        lengths = [min(most, n) for n in (len(text), 60, 40, 25, 14)]
        candidates = (
            Label(x, text if len(text) <= n else text[: n - 1].rstrip() + "…", lane, align)
            for n in lengths
            for lane in range(MOST_LANES)
        )
        fits = (c for c in candidates if all(_apart(c, other) for other, _, _ in placed))
        placed.append((next(fits, Label(x, "", 0, align)), day, is_onset))
    return placed


def _apart(one: Label, other: Label) -> bool:
    """Neither label touches the other in its lane, and no stem passes through a label below it."""
    if one.lane == other.lane:
        return one.span[1] + 6 <= other.span[0] or other.span[1] + 6 <= one.span[0]
    upper, lower = (one, other) if one.lane > other.lane else (other, one)
    return not lower.span[0] <= upper.x <= lower.span[1]
