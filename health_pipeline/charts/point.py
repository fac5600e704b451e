"""Days of a series as they are drawn."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


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


def points_from_rows(rows: Iterable[Mapping[str, Any]], per: float = 1.0) -> list[Point]:
    """Rows of the bands table (``value_day, observed, …``) as points, ``per`` times; NaN and null are ``None``."""
    return [
        Point(row["value_day"], *(finite(row.get(name), per) for name in ("observed", "expected", "low", "high")))
        for row in rows
    ]


def finite(value: Any, per: float = 1.0) -> float | None:
    return None if value is None or not math.isfinite(value) else per * float(value)
