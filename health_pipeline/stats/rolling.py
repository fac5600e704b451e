"""Trailing-window statistics along time. Arrays are (series, days); NaN is a missing day."""

from __future__ import annotations

from collections.abc import Callable

import bottleneck
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAD_TO_SD = 1.4826  # of a normal distribution


def lag(values: Array, days: int) -> Array:
    """``values`` moved ``days`` >= 1 to the right; the first days become NaN."""
    moved = np.full_like(values, np.nan)
    moved[:, days:] = values[:, :-days]
    return moved


def median(values: Array, window: int, at_least: int) -> Array:
    """Median of the last ``window`` days, NaN where fewer than ``at_least`` were observed."""
    return _moving(bottleneck.move_median, values, window, at_least)


def mean(values: Array, window: int) -> Array:
    """Mean of the last ``window`` days that were observed."""
    out: Array = bottleneck.move_mean(values, min(window, values.shape[1]), min_count=1, axis=1)
    return out


def maximum(values: Array, window: int, at_least: int) -> Array:
    """Maximum of the last ``window`` days, NaN where fewer than ``at_least`` were observed."""
    return _moving(bottleneck.move_max, values, window, at_least)


def _moving(statistic: Callable[..., Array], values: Array, window: int, at_least: int) -> Array:
    days = values.shape[1]
    if days < at_least:  # a young ecosystem: bottleneck would raise
        return np.full_like(values, np.nan)
    return statistic(values, min(window, days), min_count=at_least, axis=1)
