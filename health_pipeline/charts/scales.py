"""Axes that people can read: which ticks, how they are written, and when a scale is logarithmic."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from typing import Literal

from health_pipeline.charts.point import Point
from health_pipeline.charts.spec import Spec

Format = Literal["count", "share", "duration"]

DAY_MS = 86_400_000
LOG_FROM = 30.0
"""A y axis is logarithmic from this ratio between the largest and the smallest positive value up."""


def value_scale(points: Sequence[Point], format: Format, steps: int) -> tuple[Spec, list[float], list[str]]:
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
        labels = [tick_label(t, format, t, 0.0) for t in ticks]
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
    ticks = [t * unit for t in round_steps(low / unit, high / unit, steps)]
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    pad = 0.04 * (high - low)
    low = low - pad if low not in (0.0, ticks[0]) else low
    high = high + pad if high != ticks[-1] else high
    if format == "share":
        high = min(high, max(1.0, ticks[-1]))
    labels = [tick_label(t, format, max(abs(low), abs(high)), step) for t in ticks]
    return {"type": "linear", "domain": [low, high], "nice": False, "zero": False}, ticks, labels


def round_steps(low: float, high: float, count: int) -> list[float]:
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


def tick_label(value: float, format: Format, largest: float, step: float) -> str:
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
    days = list(days_between(first, last))
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


def days_between(first: dt.date, last: dt.date) -> Iterable[dt.date]:
    return (first + dt.timedelta(days=n) for n in range((last - first).days + 1))


def milliseconds(day: dt.date) -> float:
    """The start of a UTC day, as Vega counts time."""
    return (day.toordinal() - 719_163) * float(DAY_MS)
