"""Histograms with logarithmic bins: quantiles that merge, with a stated relative error.

Bin ``i`` holds the values from ``exp(i / 20)`` to ``exp((i + 1) / 20)``, so its edges lie 5.1 % apart wherever it is,
and counts of bins merge by addition, in any order. The bin a quantile falls into is known exactly; within it the
quantile is interpolated on the log scale, so that it moves smoothly from day to day, and is wrong by 5.1 % at most. See
Masson, Rim, Lee: DDSketch, a fast and fully-mergeable quantile sketch with relative-error guarantees, VLDB 2019.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PER_E_FOLD = 20
"""Bins from a value to e times the value."""
RELATIVE_ERROR = math.expm1(1 / PER_E_FOLD)
"""Bound of ``|told - true| / true``."""
ZERO = -1_000_000
"""The bin of 0, told exactly. Values below 0 (a clock was wrong) are counted there too."""
OPEN = 1_000_000
"""The bin of what has no value yet because it has not ended: above every other."""

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


class Told(NamedTuple):
    """A quantile from a histogram: ``low <= true <= high``, and ``value`` is within RELATIVE_ERROR of the true one."""

    value: float
    low: float
    high: float


def bin_sql(value: str) -> str:
    """SQL for the bin of a number; NULL counts as open."""
    return (
        f"CASE WHEN {value} IS NULL THEN {OPEN} WHEN {value} <= 0 THEN {ZERO} "
        f"ELSE CAST(floor(ln({value}) * {PER_E_FOLD}) AS INTEGER) END"
    )


def edges(bins: Whole) -> tuple[Array, Array]:
    """Lower and upper edge of each bin: 0 and 0 for ZERO, infinite for OPEN."""
    with np.errstate(over="ignore"):
        low, high = np.exp(bins / PER_E_FOLD), np.exp((bins + 1) / PER_E_FOLD)
    special = [bins == ZERO, bins == OPEN]
    return np.select(special, [0.0, np.inf], low), np.select(special, [0.0, np.inf], high)


def quantiles(series: Whole, bins: Whole, counts: Array, level: float | Array, n: int) -> Array:
    """The quantile of each of ``n`` series at once.

    The quantile is the smallest value that at least a share ``level`` of the series does not exceed.

    Args:
        series: (rows,) which series a row belongs to, 0 to n - 1, in any order.
        bins: (rows,) bin. The same bin may come several times: its counts are added.
        counts: (rows,) how many are in it.
        level: above 0 and at most 1; one for all, or (n,).

    Returns:
        (n,): infinity where the quantile is still open, NaN where a series is empty.
    """
    told = np.full(n, np.nan)
    held = counts > 0
    if not held.any():
        return told
    series, bins, counts = series[held], bins[held], counts[held]
    order = np.lexsort((bins, series))
    series, bins, counts = series[order], bins[order], counts[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(series) != 0) | (np.diff(bins) != 0)])
    series, bins, counts = series[starts], bins[starts], np.add.reduceat(counts, starts)
    total = np.bincount(series, counts, n)
    below = np.cumsum(counts)
    below -= np.concatenate([[0.0], np.cumsum(total)])[series]  # counts of the series before
    # The share of a level such as 0.9 of 10 must not miss the ninth for a rounding error.
    wanted = total * level * (1 - 1e-12)
    reached = np.flatnonzero(below >= wanted[series])
    which, first = np.unique(series[reached], return_index=True)
    row = reached[first]
    passed = np.clip(1.0 - (below[row] - wanted[which]) / counts[row], 0.0, 1.0)  # share of the bin that lies below
    value = np.exp((np.clip(bins[row], -700 * PER_E_FOLD, 700 * PER_E_FOLD) + passed) / PER_E_FOLD)
    told[which] = np.select([bins[row] == ZERO, bins[row] == OPEN], [0.0, np.inf], value)
    return told


def quantile(bins: Whole, counts: Array, level: float) -> Told:
    """The quantile of one series, from its histogram or from several of them joined; NaN when it is empty."""
    [value] = quantiles(np.zeros(len(bins), np.int64), bins, counts, level, 1).tolist()
    if not 0 < value < math.inf:
        return Told(value, value, value)
    own = np.array([math.floor(math.log(value) * PER_E_FOLD - 1e-9)])
    [low], [high] = (edge.tolist() for edge in edges(own))
    return Told(value, low, high)
