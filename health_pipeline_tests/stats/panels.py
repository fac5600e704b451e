"""Panels to judge: counts with a weekly rhythm and noise, in which a test plants what it likes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.shift import Shift
from health_pipeline.stats.spans import LOOKBACK

WEEK = np.array([0.1, 0.05, 0.0, 0.0, -0.05, -0.3, -0.2])
FIRST_DAY = np.datetime64("2020-01-06")
ONSET = LOOKBACK + 10  # in all panels nothing is planted before
SERIES = 60
WIDTH = 12  # days judged where few will do


def panel_of(
    numerator: NDArray[Any], denominator: NDArray[Any] | None = None, scale: Scale = Scale.COUNT, **more: Any
) -> Panel:
    series, days = numerator.shape
    return Panel(
        series=tuple(f"s{i:04d}" for i in range(series)),
        days=FIRST_DAY + np.arange(days),
        scale=np.full(series, scale, dtype=np.int8),
        numerator=numerator.astype(float),
        denominator=np.ones((series, days)) if denominator is None else denominator.astype(float),
        **more,
    )


def autoregressive(rng: np.random.Generator, series: int, days: int, sd: float, rho: float) -> Array:
    noise = rng.normal(size=(series, days + 50))
    for day in range(1, days + 50):
        noise[:, day] = rho * noise[:, day - 1] + np.sqrt(1 - rho**2) * noise[:, day]
    return sd * noise[:, 50:]


def typical_counts(
    rng: np.random.Generator, series: int, days: int, mean: float = 1_000.0, sd: float = 0.06, rho: float = 0.3
) -> Array:
    """Expected counts with a weekly rhythm and mild autocorrelated noise."""
    weekly = np.tile(WEEK, days // 7 + 1)[:days]
    return mean * np.exp(weekly + autoregressive(rng, series, days, sd, rho))


def between(panel: Panel, first: int, stop: int) -> Panel:
    """The days ``first``..``stop`` - 1 of a panel."""
    days = slice(first, stop)
    cut = ("days", "numerator", "denominator", "size", "supported", "sampling", "special")
    values = {name: getattr(panel, name)[..., days] for name in cut}
    return dataclasses.replace(panel, **values)


def by_row(shifts: Sequence[Shift]) -> dict[int, list[Shift]]:
    found: dict[int, list[Shift]] = {}
    for shift in sorted(shifts, key=lambda s: s.column):
        found.setdefault(shift.row, []).append(shift)
    return found
