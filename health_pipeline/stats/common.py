"""What the series of a cohort have in common on a day: a campaign, a holiday, a broken counter.

A day's common effect is estimated from how far every series of the cohort is from its own forecast, and is taken out
before the series are judged: what all do is no series' own shift. (The totals, which are in no cohort, show it.) It is
taken out only where the series agree: a minority that moves by itself is left to be found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array

FEWEST = 8  # series on a day without which nothing is said to be common
AGREE = 0.7  # share of the series that must be nearer to the common effect than to none
HEAVIEST = 3.0  # no series weighs more than so many medians
NOISE = 2.5  # effects smaller than so many standard errors shrink to nothing


def common_effects(cohort: NDArray[np.int64], count: int, away: Array, variance: Array) -> Array:
    """Effect of a day in each of ``count`` cohorts, on the additive scale; 0 where there is none to speak of.

    Args:
        cohort: N; 0..count-1, or -1.
        away: N; observed less forecast; NaN where the day is missing.
        variance: N; of ``away`` under no common effect.
    """
    effects = np.zeros(count)
    known = (cohort >= 0) & ~np.isnan(away)
    for c in np.unique(cohort[known]):
        rows = known & (cohort == c)
        if rows.sum() >= FEWEST:
            effects[c] = _effect(away[rows], variance[rows])
    return effects


def _effect(away: Array, variance: Array) -> float:
    weight = 1.0 / variance
    weight = np.minimum(weight, HEAVIEST * np.median(weight))
    centre = float(np.median(away))
    spread = max(1.4826 * float(np.median(np.abs(away - centre))), 1e-9)
    for _ in range(8):
        scale = np.maximum(spread, np.sqrt(variance))
        clipped = np.minimum(1.0, 1.5 * scale / np.maximum(np.abs(away - centre), 1e-12))
        now = float(np.sum(weight * clipped * away) / np.sum(weight * clipped))
        if abs(now - centre) < 1e-9:
            break
        centre = now
    error = np.sqrt(float(np.sum(weight**2 * np.maximum(variance, spread**2)))) / float(np.sum(weight))
    if np.mean(np.abs(away - centre) < np.abs(away)) < AGREE:
        return 0.0
    return centre * max(0.0, 1.0 - (NOISE * error / centre) ** 2) if centre else 0.0
