"""Every series of a panel under the compiled kernel: how noisy it is, its baseline, the scan of its last days."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats import kernel
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.kernel import OLDEST, SHARED, STEPS
from health_pipeline.stats.life import OPEN, SPIKE_DAYS, Active
from health_pipeline.stats.noise import ALL_PARTS, Lessons, Noise, Part, learn
from health_pipeline.stats.panel import Panel
from health_pipeline.stats.spans import WINDOW

WARM_UP = 28  # observed days before a step
ONSET_LIKELIHOOD = 5.0  # onsets within so many units of log-likelihood of the best make up the interval
KEPT = kernel.MOMENTS + kernel.DETAILS + 3 + 7  # numbers kept of a series from day to day
# (3, 2 OLDEST): weights of the noise of 2, 5 and 14 days at every lag; half of a ramp's days are as high as a step.
BETWEEN = np.stack(
    [
        np.interp(np.concatenate([np.arange(1, OLDEST + 1), np.arange(1, OLDEST + 1) / 2.0]), [2.0, 5.0, 14.0], row)
        for row in np.eye(3)
    ]
)

_POOL: ThreadPoolExecutor | None = None


def _in_parallel(call: Callable[[NDArray[np.int64]], None], rows: NDArray[np.int64]) -> None:
    """Run the compiled kernel over blocks of series on every core; it holds no lock."""
    global _POOL
    cores = os.cpu_count() or 1
    if cores == 1 or len(rows) < 64:
        call(rows)
        return
    if _POOL is None:
        _POOL = ThreadPoolExecutor(cores)
    for done in [_POOL.submit(call, part) for part in np.array_split(rows, 4 * cores)]:  # no core waits for long
        done.result()


class Fits:
    """What the kernel reads of N series on T days, and what it said of each when it was last asked.

    Attributes:
        zero: the panel's first day, as a number since 1970.
        numerator, denominator, sampling: (N, T); as in the panel.
        special: (N, T); days that tell and teach nothing.
        weekday: N; of column 0.
        cohorts: names of the cohorts; cohort: N; place among them, -1 for none.
        effects: (cohorts + 1, T); common effects of days; the last row is of those in no cohort.
        since: N; first column that is any past.
        slots: row -> its steps in the fit; steps: (N, STEPS, 2) columns of their first day and the first day after
            them; counts: N; how many.
        lessons, noise: what older days taught, and what follows from it.
        size, error, r: (N, 2 OLDEST); estimate, standard error and score of steps of 1.. days up to the day of the fit,
            then of ramps; NaN where not scored.
        beta, fit_error: (N, COLUMNS) coefficients; N; standard error of tomorrow's baseline.
        step_size, step_error: (N, STEPS); of the steps in the fit; NaN where a step is not in the window.
        fitted: (N, WINDOW); baseline without steps.
        used: N; days in the fit, 0 without one.
        level, level_error, week: N, N, (N, 7); tomorrow's baseline; what the weekdays add.
    """

    def __init__(self, panel: Panel) -> None:
        count, stop = len(panel.series), len(panel.days)
        self.panel = panel
        self.zero = int(panel.days[0].astype("datetime64[D]").astype(np.int64))
        self.weekday = (self.zero - panel.lag + 3) % 7  # 1970-01-01 was a Thursday; only differences matter
        self.numerator, self.denominator = (
            np.ascontiguousarray(panel.numerator),
            np.ascontiguousarray(panel.denominator),
        )
        self.sampling = np.ascontiguousarray(np.nan_to_num(panel.sampling))
        self.scale = panel.scale.astype(np.int64)
        self.special = panel.special.copy()
        self.cohorts, codes = np.unique(panel.cohort, return_inverse=True)
        self.cohort = np.where(panel.cohort < 0, -1, codes).astype(np.int64)
        self.effects = np.zeros((len(self.cohorts) + 1, stop))
        self.lessons = Lessons.none(count)
        self.level, self.level_error = np.full(count, np.nan), np.full(count, np.nan)
        self.week = np.zeros((count, 7))
        self.since = np.full(count, -OPEN, dtype=np.int64)
        self.slots: dict[int, list[Active]] = {}
        self.steps = np.zeros((count, STEPS, 2), dtype=np.int64)
        self.counts = np.zeros(count, dtype=np.int64)
        lags = 2 * OLDEST
        self.size, self.error, self.r = (np.full((count, lags), np.nan) for _ in range(3))
        self.beta = np.zeros((count, kernel.COLUMNS))
        self.fit_error = np.zeros(count)
        self.step_size, self.step_error = np.full((count, STEPS), np.nan), np.full((count, STEPS), np.nan)
        self.fitted = np.zeros((count, WINDOW))
        self.used = np.zeros(count, dtype=np.int64)
        self.noise: Noise = learn(self.lessons, panel.pool)  # arrays, written in place from here on

    # What is kept from day to day

    def keep(self, rows: NDArray[np.int64]) -> Array:
        """(rows, KEPT): lessons, forecast and first usable day."""
        since = np.where(self.since[rows] > -OPEN // 2, self.since[rows] + self.zero, -OPEN).astype(np.float64)
        return np.column_stack(
            [
                self.lessons.moments[rows], self.lessons.details[rows],
                self.level[rows], self.level_error[rows], since, self.week[rows],
            ]
        )  # fmt: skip

    def take_up(self, rows: NDArray[np.int64], kept: Array) -> None:
        """The inverse of :meth:`keep`."""
        self.lessons.moments[rows], self.lessons.details[rows], rest = np.split(
            kept, [kernel.MOMENTS, kernel.MOMENTS + kernel.DETAILS], axis=1
        )
        self.level[rows], self.level_error[rows] = rest[:, 0], rest[:, 1]
        self.since[rows] = rest[:, 2].astype(np.int64) - self.zero
        self.week[rows] = rest[:, 3:]

    def forget(self, left: NDArray[np.bool_], entered: NDArray[np.bool_]) -> None:
        """Of series that are not followed nothing is kept, or a replay would know more."""
        self.lessons.moments[left] = 0.0
        self.lessons.details[left] = np.nan
        self.level[left] = np.nan
        self.since[left | entered] = -OPEN

    # Noise

    def learn(self, rows: NDArray[np.int64], last: NDArray[np.int64], members: NDArray[np.int64]) -> None:
        """What the windows that end at the columns ``last`` teach of ``rows``, shrunk among all ``members``."""
        arguments = (
            last, self.numerator, self.denominator, self.sampling, self.effects, self.cohort, self.special,
            self.weekday, self.scale, self.since, self.steps, self.counts,
        )  # fmt: skip
        moments, details = self.lessons.moments, self.lessons.details
        _in_parallel(lambda part: kernel.moments_of_series(part, *arguments, moments), rows)
        self.shrink(members, "variance")
        noise, prior = self.noise.noise, self.noise.prior
        _in_parallel(lambda part: kernel.details_of_series(part, *arguments, noise, prior, True, details), rows)
        self.shrink(members, "drift")
        _in_parallel(lambda part: kernel.details_of_series(part, *arguments, noise, prior, False, details), rows)
        self.shrink(members, "rest")

    def shrink(self, members: NDArray[np.int64], *parts: Part) -> None:
        """Shrink the lessons of ``members`` to their pools'; those not followed teach nobody."""
        lessons = Lessons(self.lessons.moments[members], self.lessons.details[members])
        known = Noise(*(whole[members] for whole in self.noise))
        noise = learn(lessons, self.panel.pool[members], known, parts or ALL_PARTS)
        for whole, part in zip(self.noise, noise, strict=True):
            whole[members] = part

    def inflate(self, rows: NDArray[np.int64] | int, lags: NDArray[np.int64] | int | slice) -> Array:
        """Factors on the standard errors of ``rows`` (or of one) at places ``lags``."""
        factors: Array = self.noise.inflation[rows] @ BETWEEN[:, lags]
        return factors

    def degrees(self, rows: NDArray[np.int64], lags: NDArray[np.int64]) -> Array:
        """(rows, lags): degrees of freedom of their scores; NaN where nothing is known of a series."""
        known = self.noise.degrees[rows]
        degrees: Array = np.exp(np.log(np.maximum(known, 1e-9)) @ BETWEEN[:, lags])
        single = lags < SPIKE_DAYS
        degrees[:, single] = np.minimum(degrees[:, single], self.noise.tail[rows, None])
        degrees[known[:, 0] == 0.0] = np.nan
        return degrees

    # Baseline and scan

    def fit(self, rows: NDArray[np.int64], column: int, raw: bool = False) -> None:
        """Fit ``rows`` on the window that ends at ``column``, and scan their last days.

        Args:
            raw: score steps and ramps of every length and clip no day, to tell when a step began that is there.
        """
        arguments = (
            column, self.numerator, self.denominator, self.sampling, self.effects, self.cohort, self.special,
            self.weekday, self.scale, self.since, self.steps, self.counts, self.noise.noise, self.noise.prior, WARM_UP,
            raw, self.size, self.error, self.r, self.beta, self.fit_error,
            self.step_size, self.step_error, self.fitted, self.used,
        )  # fmt: skip
        _in_parallel(lambda part: kernel.scan_series(part, *arguments), rows)

    def forecast(self, rows: NDArray[np.int64]) -> None:
        """Tomorrow's baseline of ``rows``, from the fit of today."""
        good = rows[self.used[rows] > 0]
        beta = self.beta[good]
        self.level[good] = beta[:, 0] + beta[:, 1 + kernel.WEEKDAYS : SHARED] @ kernel.DRIFT[-1]
        self.week[good] = beta[:, 1 : 1 + kernel.WEEKDAYS] @ kernel.WEEK.T
        self.level_error[good] = self.fit_error[good]
        self.level[rows[self.used[rows] == 0]] = np.nan

    def put_steps(self, i: int, shifts: Sequence[Active]) -> None:
        """Shifts of a series as steps of its fit; those that don't fit in, or have no past, shorten its history."""
        kept = sorted(shifts, key=lambda s: s.onset)
        while len(kept) > STEPS:
            s = kept.pop(0)
            if s.open:
                self.since[i] = max(self.since[i], s.onset - self.zero)
            else:
                self.special[i, max(s.onset - self.zero, 0) : max(s.end - self.zero, 0)] = True
        self.slots[i] = kept
        self.counts[i] = len(kept)
        for at, s in enumerate(kept):
            self.steps[i, at] = s.onset - self.zero, OPEN if s.open else s.end - self.zero

    # Onsets

    def gains(self, i: int, sign: float) -> Array:
        """Log-likelihood gained by steps of 1..``OLDEST`` days, then by ramps, of one direction."""
        # Not the deviance, which knows no more than all things gone: days before a fall to nothing would join it for
        # free.
        gains = 0.5 * (self.size[i] / self.error[i] / self.inflate(i, slice(None))) ** 2
        return np.where(np.isnan(gains) | (np.sign(self.size[i]) != sign), -np.inf, gains)

    def onset(self, i: int, gains: Array, column: int) -> tuple[int, int, int]:
        """Day of the likeliest onset, and the ends of its interval."""
        best = int(gains.argmax())
        near = np.flatnonzero(gains >= gains[best] - ONSET_LIKELIHOOD)
        latest = earliest = best
        while latest - 1 in near:
            latest -= 1
        while earliest + 1 in near:
            earliest += 1
        day = self.zero + column
        seen = ~np.isnan(self.numerator[i])
        low = column - earliest
        while low > 0 and not seen[low - 1]:  # it may have begun in the days without data before
            low -= 1
        return day - best, int(self.zero + low), day - latest
