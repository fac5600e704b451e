"""What each series was expected to do: weekly rhythm, level, autocorrelation and noise, each from the past only.

Everything at day *d* is computed from days up to *d* (or strictly before, where the name says so) through windows of
fixed length. So a replay of history gives what living through it gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import bottleneck
import numpy as np

from health_pipeline.stats.panel import Panel
from health_pipeline.stats.rolling import MAD_TO_SD, Array, lag, mean, median

WEEKS = 8  # weeks that teach the weekly rhythm
LEVEL_DAYS = 28  # days whose median is the level
LEVEL_AT_LEAST = 14
NOISE_DAYS = 112
MEMORY_DAYS = 140  # days that teach the autocorrelation
MEDIAN_VARIANCE = np.pi / 2  # variance of a median over that of a mean, normal noise


@dataclass(frozen=True)
class Baseline:
    """Arrays (series, days) on the additive scale.

    Attributes:
        weekly: effect of the weekday, centred over the week, shrunk to zero where it is within noise.
        value: observation less ``weekly``.
        level: median of ``value`` over the last ``LEVEL_DAYS`` days, the day itself included.
        rho: first-order autocorrelation around the level, known ``LEVEL_DAYS`` before the day.
        innovation_sd: robust standard deviation of ``value[d] - level - rho (value[d-1] - level)``.
    """

    weekly: Array
    value: Array
    level: Array
    rho: Array
    innovation_sd: Array


def baseline(panel: Panel) -> Baseline:
    """Fit every series of a panel."""
    observed = panel.transformed()
    weekly = weekly_effect(observed)
    value = observed - weekly
    level = median(value, LEVEL_DAYS, LEVEL_AT_LEAST)
    rho = autocorrelation(value, level)
    previous = lag(value, 1)
    kept = np.where(np.isnan(previous), 0.0, rho)
    before = lag(level, 1)
    innovation = value - before - kept * (np.nan_to_num(previous) - before)
    sd = MAD_TO_SD * median(np.abs(innovation), NOISE_DAYS, LEVEL_AT_LEAST)
    return Baseline(weekly, value, level, rho, sd)


def weekly_effect(observed: Array) -> Array:
    """Effect of each day's weekday, from the same weekday of the last ``WEEKS`` weeks.

    A day's deviation from the median of the week around it is known three days later; the effect is the median of
    the deviations 1..8 weeks ago, centred over the week, times James-Stein shrinkage: one minus the ratio of its
    estimation variance to its size, never below zero. So series without a rhythm get none.
    """
    week = median(observed, 7, 5)
    around = np.full_like(week, np.nan)
    around[:, :-3] = week[:, 3:]
    deviation = observed - around
    past = np.stack([lag(deviation, 7 * weeks) for weeks in range(1, WEEKS + 1)])
    seen = np.count_nonzero(~np.isnan(past), axis=0)
    enough = seen >= WEEKS // 2
    typical = np.where(enough, bottleneck.nanmedian(past, axis=0), 0.0)
    spread = 1.2533 * bottleneck.nanmean(np.abs(past - typical), axis=0)  # mean |x| to sd, normal
    variance = np.where(enough, spread**2 * MEDIAN_VARIANCE / np.maximum(seen, 1), 0.0)
    centred = typical - mean(typical, 7)
    size, noise = mean(centred**2, 7), mean(variance, 7)
    shrunk: Array = centred * np.clip(1.0 - noise / np.maximum(size, 1e-12), 0.0, 1.0)
    return shrunk


def autocorrelation(value: Array, level: Array) -> Array:
    """First-order autocorrelation by a robust variogram: 1 - var(x[d] - x[d-1]) / (2 var x), within 0..0.85.

    Known ``LEVEL_DAYS`` before the day: a shift under way moves the level slowly, and would otherwise pass for
    autocorrelation just while it is being judged.
    """
    spread = median(np.abs(value - lag(level, 1)), MEMORY_DAYS, 21)
    step = median(np.abs(value - lag(value, 1)), MEMORY_DAYS, 21)
    rho = 1.0 - step**2 / np.maximum(2.0 * spread**2, 1e-12)
    return np.nan_to_num(lag(np.clip(rho, 0.0, 0.85), LEVEL_DAYS))
