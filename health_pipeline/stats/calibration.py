"""How large a score is surprising for *this* series? Its own past answers, with the help of all the others.

A model's standard error is optimistic wherever its assumptions fail: slow swings, bursts, heavy tails. So every
score is divided by an inflation factor learned, per series, lag and direction, from the scores of the last half
year: the third-quartile of the maxima of 14-day blocks, and the median absolute score, each relative to what
independent normal noise gives. Quantiles over blocks tolerate the true shifts of the past (a step fills one or two
of thirteen blocks) while a series that bursts every month is held to its bursts. Few blocks are shrunk to what is
typical over all series (Smyth 2004, moderated variances).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from health_pipeline.stats.rolling import MAD_TO_SD, Array, lag, maximum, median
from health_pipeline.stats.scan import LAGS, LONGEST, Scan

HISTORY = 182  # days of past scores
BLOCK = 14
BLOCKS = HISTORY // BLOCK
# Third quartile of the block maximum of the scores of independent normal noise, in their standard deviations, per
# lag of scan.LAGS. Simulated by `python -m benchmarks.calibration`.
BLOCK_MAXIMUM = (2.04, 1.99, 1.92, 1.87, 1.79, 1.69, 1.60, 1.49, 1.41, 1.36)
SPREAD_MARGIN = 1.0
PRIOR_BLOCKS = 4.0
EXTRA_DEGREES = 10.0  # degrees of freedom lent by the other series
PRECEDENT_DAYS = 91
PRECEDENTS = 2
EFFECTIVE_TESTS = 7.0  # of the ten correlated lags, in the tail; simulated by `python -m benchmarks.calibration`


def inflation(scan: Scan, start: int, stop: int) -> tuple[Array, Array]:
    """Inflation factors (lags, series, columns) >= 1 for rises and falls as today's score has them, and blocks seen.

    The past ends where the candidate step begins, so a shift never calibrates itself.
    """
    factors, blocks = [], []
    for days_ago, normal in zip(LAGS, BLOCK_MAXIMUM, strict=True):
        earliest = max(LONGEST, start - HISTORY - BLOCK - days_ago)
        score = scan.step(days_ago, earliest, stop).score
        width = stop - start
        columns = np.arange(score.shape[1] - width, score.shape[1])
        past = columns - days_ago
        today = score[:, columns]
        sides = []
        for sign in (1.0, -1.0):
            peaks = maximum(sign * score, BLOCK, 5)
            picks = past[None, :] - BLOCK * np.arange(BLOCKS)[:, None]
            found = np.where(picks[:, None, :] >= 0, peaks[:, np.maximum(picks, 0)].swapaxes(0, 1), np.nan)
            seen = np.count_nonzero(~np.isnan(found), axis=0)
            ordered = np.sort(found, axis=0)
            rank = np.clip(np.floor(0.75 * (seen - 1)).astype(int), 0, BLOCKS - 1)
            sides.append(np.take_along_axis(ordered, rank[None], axis=0)[0])
        with np.errstate(invalid="ignore"):
            peak = np.where(today > 0, sides[0], sides[1]) / normal
            spread = MAD_TO_SD * lag(median(np.abs(score), HISTORY, 42), days_ago)[:, columns]
            own: Array = np.asarray(np.fmax(np.fmax(peak, SPREAD_MARGIN * spread), 0.9))
        judged = ~np.isnan(today) & scan.panel.supported[:, start:stop]
        cohort = np.array(
            [
                np.median(c[j]) if (j := k & ~np.isnan(p)).any() else 1.5
                for c, k, p in zip(own.T, judged.T, peak.T, strict=True)
            ]
        )
        weight = np.where(np.isnan(peak), 0.0, seen)
        squared = (weight * own**2 + PRIOR_BLOCKS * np.maximum(cohort, 1.0) ** 2) / (weight + PRIOR_BLOCKS)
        factors.append(np.maximum(1.0, np.sqrt(squared)))
        blocks.append(weight)
    return np.stack(factors), np.stack(blocks)


def ordinary(scan: Scan, size: Array, days_ago: int, start: int, stop: int) -> Array:
    """Lower bound of the p-value of a step: how often a day was as far from its level lately, in the same direction.

    A series that falls to zero every other weekend, or bursts every month, does not surprise by doing so again. Only
    for steps so young that a single day decides them; fewer than ``PRECEDENTS`` bound nothing.

    Args:
        size: (series, columns) of the step, additive scale.
        days_ago: its lag, not among the precedents.
    """
    away = scan.base.value - lag(scan.base.level, 1)
    as_far = np.zeros(size.shape)
    known = np.zeros(size.shape)
    for back in range(days_ago, days_ago + PRECEDENT_DAYS):
        if start - back < 0:
            break
        then = away[:, start - back : stop - back]
        with np.errstate(invalid="ignore"):
            as_far += then * np.sign(size) >= np.abs(size)
        known += ~np.isnan(then)
    bound: Array = np.where(as_far >= PRECEDENTS, as_far / np.maximum(known, 1.0), 0.0)
    return bound


def p_values(score: Array, blocks: Array) -> Array:
    """Two-sided p-values of calibrated scores, from Student's t with as many degrees as blocks, plus those lent."""
    return np.asarray(2.0 * stats.t.sf(np.abs(score), blocks + EXTRA_DEGREES))
