"""Did a step begin ``L`` days ago? Generalised least squares under AR(1), for every series and day at once.

Relative to the level before the step, the model is ``value = level + step + noise`` with AR(1) noise. Whitening
turns the step into 1 on its first day and ``1 - rho`` on the following ones; the estimate is the whitened
regression. Its variance counts the innovations (robust, at least what sampling alone would give, by the model and by
what the step's own days tell of their samples) and the error of the level. A missing day breaks the chain: the day
after it starts afresh, with weight 1. So does a one-day spike, once it is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.baseline import LEVEL_DAYS, MEDIAN_VARIANCE, Baseline, baseline
from health_pipeline.stats.panel import Panel
from health_pipeline.stats.rolling import Array, lag

LAGS = (1, 2, 3, 4, 5, 7, 10, 14, 21, 28)
LONGEST = LAGS[-1]
WARM_UP = 28  # observed days a series needs before its first step can be judged
SPIKE = 6.0  # innovation standard deviations
SMALLEST_SD = 1e-4  # of the additive scale: a series that never moved must not make a ripple infinite


def _spikes(base: Baseline) -> NDArray[np.bool_]:
    """Days far from the level whose next day is back by half or more. Known, and set aside, from that next day on.

    Without it one wild first day would stand for the whole step that follows it.
    """
    away = base.value - lag(base.level, 1)
    next_day = np.full_like(away, np.nan)
    next_day[:, :-1] = base.value[:, 1:] - lag(base.level, 1)[:, :-1]
    with np.errstate(invalid="ignore"):
        far = np.abs(away) > SPIKE * lag(base.innovation_sd, 1)
        back = next_day * np.sign(away) < 0.5 * np.abs(away)
    return np.asarray(far & back, dtype=np.bool_)


def _prefix(values: Array) -> Array:
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


@dataclass(frozen=True)
class Step:
    """Estimates (series, columns) of a step that began ``lag`` days ago, the day itself counted as 1.

    Attributes:
        size: on the additive scale.
        error: standard error under the model.
        days: observed days since onset.
    """

    size: Array
    error: Array
    days: Array

    @property
    def score(self) -> Array:
        return self.size / self.error


class Scan:
    """Prepared sums from which the step of any lag at any run of days is a few array operations."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.base: Baseline = baseline(panel)
        value = self.base.value
        self.seen = ~np.isnan(value)
        self.kept = self.seen & ~_spikes(self.base)
        previous = lag(np.where(self.kept, value, np.nan), 1)
        chain = np.where(self.seen & ~np.isnan(previous), self.base.rho, 0.0)
        self.weight = np.where(self.seen, 1.0 - chain, 0.0)
        self.whitened = np.where(self.seen, value - chain * np.nan_to_num(previous), 0.0)
        self._sum_wu = _prefix(np.where(self.kept, self.weight * self.whitened, 0.0))
        self._sum_ww = _prefix(np.where(self.kept, self.weight**2, 0.0))
        self._sum_kept = _prefix(self.kept.astype(float))
        self._sampling = np.where(self.seen, panel.sampling, 0.0)
        self._sum_sampling = _prefix(np.where(self.kept, self._sampling, 0.0))

    def step(self, days_ago: int, start: int, stop: int) -> Step:
        """The step that began ``days_ago`` >= 1 days ago, judged on columns ``start..stop-1`` (start >= days_ago)."""
        now = slice(start, stop)
        first = slice(start - days_ago + 1, stop - days_ago + 1)
        before = slice(start - days_ago, stop - days_ago)
        level = self.base.level[:, before]
        rho = self.base.rho[:, now]

        # The first day enters with weight 1 whatever came before, the last day even if it is a spike: whether it
        # was one is known only tomorrow.
        starts = (self.seen if days_ago == 1 else self.kept)[:, first].astype(float)
        information = starts.copy()
        projected = starts * (self.whitened[:, first] - self.weight[:, first] * level)
        days = starts.copy()
        sampling = starts * self._sampling[:, first]
        if days_ago > 1:
            second = slice(start - days_ago + 2, stop - days_ago + 2)
            today = self.weight[:, now]
            squares = self._sum_ww[:, now] - self._sum_ww[:, second] + today**2
            information += squares
            projected += self._sum_wu[:, now] - self._sum_wu[:, second] + today * self.whitened[:, now]
            projected -= squares * level
            days += self._sum_kept[:, now] - self._sum_kept[:, second] + self.seen[:, now]
            sampling += self._sum_sampling[:, now] - self._sum_sampling[:, second] + self._sampling[:, now]

        enough = (days >= np.ceil(0.6 * days_ago)) & (self._sum_kept[:, first] >= WARM_UP) & self.seen[:, now]
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.where(enough, projected / information, np.nan)
            noise = np.maximum(self.base.innovation_sd[:, before], SMALLEST_SD) ** 2
            noise = np.maximum(noise, self.sampling_variance(level, now))
            noise = np.maximum(noise, sampling / days)  # a day that one creator makes says little
            of_level = np.minimum(MEDIAN_VARIANCE / LEVEL_DAYS / (1.0 - rho) ** 2, 1.0)
            error = np.sqrt(noise * (1.0 / information + of_level))
        return Step(size, error, days)

    def spike(self, row: int, column: int) -> float:
        """Direction (1 or -1) of a day that was set aside as a spike; 0 for any other day."""
        if self.kept[row, column] or not self.seen[row, column]:
            return 0.0
        return float(np.sign(self.base.value[row, column] - self.base.level[row, column - 1]))

    def lasts(self, step: Step, days_ago: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Whether the day itself still shows at least half the step: else it is over, not a shift."""
        now, before = slice(start, stop), slice(start - days_ago, stop - days_ago)
        today = self.base.value[:, now] - self.base.level[:, before]
        with np.errstate(invalid="ignore"):
            still = today * np.sign(step.size) >= 0.5 * np.abs(step.size)
        return np.asarray(still, dtype=np.bool_)

    def sampling_variance(self, level: Array, now: slice) -> Array:
        """Poisson or binomial variance of the days ``now``, were the series at ``level``."""
        part = Panel(
            self.panel.series,
            self.panel.days[now],
            self.panel.scale,
            self.panel.numerator[:, now],
            self.panel.denominator[:, now],
        )
        return part.sampling_variance(level)
