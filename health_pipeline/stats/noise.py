"""How noisy each series is: its own older days, shrunk to those of its pool (empirical Bayes).

A series' noise is learned from the window that ends some weeks before the day it is used for, so that a shift under way
does not teach its own excuse. Few days know little: every figure is a compromise between the series' own and what is
typical of its pool, weighted by how much the series of the pool really differ (G. K. Smyth: Linear models and empirical
Bayes methods, *Statistical Applications in Genetics and Molecular Biology* 3, 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats import kernel
from health_pipeline.stats.arrays import Array, weighted_median
from health_pipeline.stats.kernel import LEAST

MOST_DEGREES = 200.0
MOST_LONG = (
    100.0,
    50.0,
)  # of steps of about 5, and of 14 or more days: swings that the model has not are never ruled out
DRIFT_DEGREES = 12.0  # weight of the pool in a series' drift
BLOCKS = (0.3, 0.11)  # degrees of freedom, per day, of a series' block variances of 5 and of 14 days; simulated
TAIL_OWN, TAIL_POOL = 4.0, 4.0
OWN_DRIFT = 0.7
MOST_DRIFT = 1.0  # whatever a wild series does, its baseline is no more than some factor of e off in sixteen weeks
LARGEST, THIRD = np.log(2.0), 2.67  # expected number of days beyond the median of the largest and of the third largest
TAILS = np.array([2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 50.0, 200.0])
SMALLEST_EXTRA = 1e-8
Part = Literal["variance", "drift", "rest"]
ALL_PARTS: tuple[Part, ...] = ("variance", "drift", "rest")
YOUNG_RHYTHM = 0.15  # standard deviation of weekday effects nothing is known of


@dataclass
class Lessons:
    """What the older days of N series told: raw, before any shrinkage. Rows without a lesson have 0 days.

    Attributes:
        moments: (N, kernel.MOMENTS).
        details: (N, kernel.DETAILS).
    """

    moments: Array
    details: Array

    @classmethod
    def none(cls, series: int) -> Lessons:
        return cls(np.zeros((series, kernel.MOMENTS)), np.full((series, kernel.DETAILS), np.nan))


class Noise(NamedTuple):
    """What the kernel and the scan need to know of N series.

    Attributes:
        noise: (N, 3); extra variance, share of the variance that is autocorrelated, its autocorrelation.
        prior: (N, 2 + WEEKDAYS); standard deviations of weekdays and drift, weekdays typical of the pool.
        degrees: (N, 3); degrees of freedom of the scores of steps of 1-2, about 5, and 14 or more days;
            0 where nothing is known of any series of the pool.
        tail: N; degrees of freedom of Student's t whose tails the pool's single days have.
        inflation: (N, 3); factors >= 1 on the standard errors of steps of 1-2, about 5, and 14 or more days;
            0 where nothing is known of any series of the pool.
    """

    noise: Array
    prior: Array
    degrees: Array
    tail: Array
    inflation: Array


def learn(
    lessons: Lessons, pool: NDArray[np.int64], known: Noise | None = None, parts: Sequence[Part] = ALL_PARTS
) -> Noise:
    """Shrink every series' lessons to its pool's.

    Args:
        known: what was learned so far, changed in place; needed where ``parts`` are not all.
        parts: a lesson is drawn under what the parts before it taught, so they are learned one after another.
    """
    series = len(pool)
    known = known or Noise(
        np.zeros((series, 3)), np.zeros((series, 2 + kernel.WEEKDAYS)), np.zeros((series, 3)),
        np.full(series, TAILS[-1]), np.ones((series, 3)),
    )  # fmt: skip
    noise, prior, degrees, tail, inflation = known
    for rows in _members(pool, lessons.moments[:, 4] >= LEAST):
        moments, details = lessons.moments[rows], lessons.details[rows]
        if "variance" in parts:
            drift = prior[rows, 1]
            noise[rows], prior[rows], variance = _variance(moments)
            prior[rows, 1] = drift
            degrees[rows] = variance[:, None]
        if "drift" in parts:
            prior[rows, 1] = _drift(details)
        if "rest" in parts:
            tail[rows], inflation[rows], degrees[rows, 1:] = TAILS[-1], 1.0, degrees[rows, :1]
            if not np.isnan(details[:, -1]).all():
                tail[rows], inflation[rows], blocks = _rest(details, moments[:, 4])
                degrees[rows, 1:] = np.minimum(np.minimum(degrees[rows, 1:], blocks), MOST_LONG)
    return known


SMALLEST_POOL = 8


def _members(pool: NDArray[np.int64], taught: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows of every pool; pools that can't teach are put together."""
    order = np.argsort(pool, kind="stable")
    cuts = np.flatnonzero(np.diff(pool[order])) + 1
    groups = [g for g in np.split(order, cuts) if len(g)]
    able = [g for g in groups if taught[g].sum() >= SMALLEST_POOL]
    rest = [g for g in groups if taught[g].sum() < SMALLEST_POOL]
    return able + ([np.concatenate(rest)] if rest else [])


def _variance(moments: Array) -> tuple[Array, Array, Array]:
    """Noise, priors and degrees of freedom of one pool."""
    known = moments[:, 4] >= LEAST
    count = len(moments)
    noise, prior = np.zeros((count, 3)), np.zeros((count, 2 + kernel.WEEKDAYS))
    if not known.any():  # enough for a forecast; 0 degrees of freedom: nothing can be judged by it
        noise[:, 0], noise[:, 1], noise[:, 2] = 0.01, 0.3, 0.5
        prior[:, 0], prior[:, 1] = YOUNG_RHYTHM, 0.1
        return noise, prior, np.zeros(count)
    total, sampling, one, two, days = (moments[known, c] for c in range(5))
    freedom = np.maximum(days - 10.0, 4.0)
    typical = max(weighted_median(total - sampling, 1.0 / total), 0.0)
    expected = sampling + max(typical, SMALLEST_EXTRA)
    ratio = np.log(total / expected) - (special.digamma(freedom / 2.0) - np.log(freedom / 2.0))
    centre = float(np.median(ratio))
    spread = (1.4826 * np.median(np.abs(ratio - centre))) ** 2 if len(ratio) > 2 else 1.0
    excess = spread - float(np.mean(special.polygamma(1, freedom / 2.0)))
    lent = float(np.clip(2.0 * _inverse_trigamma(excess), 2.0, MOST_DEGREES)) if excess > 0 else MOST_DEGREES
    lent_each = np.where(np.abs(ratio - centre) > 3.0 * np.sqrt(max(spread, 1e-9)), 2.0, lent)
    moderated = (lent_each * expected * np.exp(centre) + freedom * total) / (lent_each + freedom)
    # Where nothing of the series' own is known the pool's extra part stands for it.
    noise[:, 0] = max(float(np.median(np.maximum(moderated - sampling, 0.0))), SMALLEST_EXTRA)
    noise[known, 0] = np.maximum(moderated - sampling, SMALLEST_EXTRA)
    degrees = np.full(count, min(lent, 30.0))
    degrees[known] = lent_each + freedom

    mean_one = float(np.average(one, weights=days))
    mean_two = float(np.average(two, weights=days))
    decay = float(np.clip(mean_two / mean_one, 0.2, 0.9)) if mean_one > 0.05 else 0.5
    between = max(float(np.var(one)) - float(np.mean(1.0 / days)), 0.0)
    weight = between / (between + 1.0 / days)
    lag_one = mean_one + weight * (one - mean_one)
    shared = np.clip(lag_one / decay, 0.0, 0.98)
    shared[lag_one < 0.02] = 0.0
    noise[:, 1], noise[:, 2] = float(np.clip(mean_one / decay, 0.0, 0.98)), decay
    noise[known, 1] = shared

    effects, errors = moments[known, 5 : 5 + kernel.WEEKDAYS], moments[known, 5 + kernel.WEEKDAYS :]
    profile = np.sum(effects / errors, axis=0) / np.sum(1.0 / errors, axis=0)
    if len(effects) < SMALLEST_POOL:
        profile = np.zeros_like(profile)
    own = float(np.mean((effects - profile) ** 2 - errors))
    prior[:, 0] = np.sqrt(max(own, 1e-6))
    prior[:, 2:] = profile
    return noise, prior, degrees


def _drift(details: Array) -> Array:
    """Standard deviation of the drift of every series of one pool."""
    known = ~np.isnan(details[:, 0])
    if not known.any():
        return np.full(len(details), 0.1)
    drift, errors = details[:, : kernel.WAVES], details[:, kernel.WAVES : 2 * kernel.WAVES]
    weights = 1.0 / np.maximum(errors, 1e-12) ** 2
    size = np.sum(weights * (drift**2 - errors), axis=1) / np.sum(weights, axis=1)
    typical = max(_trimmed(size[known]), 0.0)
    shrunk = np.where(known, (DRIFT_DEGREES * typical + kernel.WAVES * size) / (DRIFT_DEGREES + kernel.WAVES), typical)
    # Drift is rare and large: a series that clearly drifts is not shrunk to the many that do not.
    own = np.where(known, np.maximum(shrunk, OWN_DRIFT * size), shrunk)
    deviation: Array = np.sqrt(np.clip(own, 1e-6, MOST_DRIFT**2))
    return deviation


def _rest(details: Array, days: Array) -> tuple[float, Array, Array]:
    """Degrees of freedom of the tails, inflation factors, and degrees of freedom of longer steps, of one pool."""
    third, largest = details[:, 2 * kernel.WAVES], details[:, 2 * kernel.WAVES + 1]
    known = ~np.isnan(third) & (third > 0)
    if not known.any():
        return float(TAILS[-1]), np.ones((len(details), 3)), np.ones((len(details), 2))
    tail = _tail(float(np.median(largest[known] / third[known])), float(np.median(days[known])))
    position = 1.0 - THIRD / np.maximum(days, LEAST) / 2.0
    excess = np.where(known, np.maximum(third / special.stdtrit(tail, position), 1.0), np.nan)
    inflation, degrees = np.ones((len(details), 3)), np.ones((len(details), 2))
    pooled = float(np.nanmean(np.minimum(excess**2, 9.0)))
    inflation[:, 0] = np.sqrt(
        np.where(known, (TAIL_OWN * excess**2 + TAIL_POOL * pooled) / (TAIL_OWN + TAIL_POOL), pooled)
    )
    for b, per_day in enumerate(BLOCKS):
        variance = details[:, 2 * kernel.WAVES + 2 + b]
        seen = ~np.isnan(variance) & (variance > 0)
        if not seen.any():
            continue
        own = np.maximum(per_day * days, 2.0)
        typical, lent = _moderated(np.log(variance[seen]), own[seen])
        mixed = (own * variance + lent * typical) / (own + lent)
        inflation[:, 1 + b] = np.sqrt(np.maximum(np.where(seen, mixed, typical), 1.0))
        degrees[:, b] = np.where(seen, own, 0.0) + lent
    return tail, inflation, degrees


def _moderated(logs: Array, freedom: Array) -> tuple[float, float]:
    """Typical variance of a pool, and how many degrees of freedom it lends each of its series (Smyth 2004)."""
    logs = logs - (special.digamma(freedom / 2.0) - np.log(freedom / 2.0))
    centre = float(np.median(logs))
    spread = (1.4826 * float(np.median(np.abs(logs - centre)))) ** 2 if len(logs) > 2 else 1.0
    excess = spread - float(np.mean(special.polygamma(1, freedom / 2.0)))
    lent = float(np.clip(2.0 * _inverse_trigamma(excess), 2.0, MOST_DEGREES)) if excess > 1e-9 else MOST_DEGREES
    return float(np.exp(centre)), lent


def _tail(ratio: float, days: float) -> float:
    """Degrees of freedom at which the largest of so many days is typically so many times the third largest."""
    expected = special.stdtrit(TAILS, 1.0 - LARGEST / days / 2.0) / special.stdtrit(TAILS, 1.0 - THIRD / days / 2.0)
    return float(np.interp(-ratio, -expected, TAILS))  # the ratio falls with the degrees of freedom


def _trimmed(values: Array) -> float:
    cut = int(0.05 * len(values))
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value (Smyth 2004, appendix)."""
    x = 0.5 + 1.0 / value
    for _ in range(20):
        tri = float(special.polygamma(1, x))
        step = tri * (1.0 - tri / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x
