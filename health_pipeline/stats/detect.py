"""Judge a panel day by day, each day with what was known on it, and keep what tomorrow needs.

In the order of a day: what is common to whole cohorts (:mod:`.common`), which reported shifts are over, a fit and a
scan of every series (:mod:`.kernel`) under the noise its past taught (:mod:`.noise`), false discoveries controlled over
series and days (:mod:`.discovery`). A reported shift becomes part of its series' baseline, so that it is reported once
and does not hide what comes after it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats import kernel
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.common import common_effects
from health_pipeline.stats.discovery import Memory
from health_pipeline.stats.kernel import LAGS, OLDEST, RAMPS, SHARED, STEPS
from health_pipeline.stats.noise import ALL_PARTS, Lessons, Noise, Part, learn
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.spans import BEHIND, EVERY, LOOKBACK, MEMBER_DAYS, WINDOW

Kind = Literal["spike", "level", "slope"]
State_ = Literal["new", "ongoing", "recovered", "settled"]

MINIMUM_HISTORY = BEHIND + kernel.LEAST  # days before the first judged one
WARM_UP = 28  # observed days before a step
EFFECTIVE_TESTS = 8.0  # of the lags and ramps, which are correlated; simulated by `python -m benchmarks.null`
CAUTION = (
    2.5  # p-values of longer steps are too small by so much where drift and autocorrelation are learned: null panels
)
ONSET_LIKELIHOOD = 5.0  # onsets within so many units of log-likelihood of the best make up the interval
YOUNGEST_SLOPE = 3  # days of the likeliest step below which it can't be told from a ramp
SPIKE_DAYS = 2
SETTLED_DAYS = 42  # a level that lasted so long is the new normal
REFINED_DAYS = 14  # after a report its onset is looked for again, and its interval allows for having been selected
QUIET_DAYS = 28  # a further step the same way is reported only if it is half as large as the one under way
GROWING_DAYS = 7  # and not at all so soon after the report: the shift under way is still growing
OVER = 4.0  # log-likelihood by which a shift must have ended
BACK = 0.2  # share of a shift that may be left when it is over
OVER_A_DAY = 2.5  # most that one day may say to that, of a shift of more than SPIKE_DAYS
NOTABLE = 1e-3  # p-value from which a candidate in a series with shifts under way is looked at at all
OPEN = np.int64(2**40)
KEPT = kernel.MOMENTS + kernel.DETAILS + 3 + 7  # numbers kept of a series from day to day
# (3, 2 OLDEST): weights of the noise of 2, 5 and 14 days at every lag; half of a ramp's days are as high as a step.
BETWEEN = np.stack(
    [
        np.interp(np.concatenate([np.arange(1, OLDEST + 1), np.arange(1, OLDEST + 1) / 2.0]), [2.0, 5.0, 14.0], row)
        for row in np.eye(3)
    ]
)


@dataclass(frozen=True)
class Settings:
    """How shifts are judged.

    Attributes:
        false_discovery_rate: the accepted share of false reports among all reports.
        minimum_change: smallest change reported, relative: 0.1 is 10 % of the expected count, rate or odds.
    """

    false_discovery_rate: float = 0.05
    minimum_change: float = 0.0


@dataclass(frozen=True)
class Shift:
    """One shift of one series as of one judged day; the change on the natural scale.

    Attributes:
        row, column: place in the panel.
        reported: column of the first report; may be before the panel's first (negative).
        state: ``new`` on the day of the report; ``recovered`` (the series is back) and ``settled`` (so long under way
            that it is the new normal) are a shift's last row.
        onset, onset_low, onset_high: columns of the most likely first day, and its interval.
        ended: first column that is back; ``None`` while it goes on.
        days: observed days since onset.
        expected, observed: a typical day since onset, without and with the shift, natural scale.
        change, low, high: observed / expected - 1 with its 95 % interval, for the first days after the report adjusted
            for having been selected (false coverage rate: Benjamini and Yekutieli, *Journal of the American Statistical
            Association* 100, 2005).
        numerator, denominator: means per observed day since onset, in the metric's own unit.
        exposure: the same of the panel's denominator: for a ratio in effective events.
        score: estimate over standard error, today.
        p, q: as at the report; p over all lags.
        tested: series judged on the day of the report.
    """

    row: int
    column: int
    reported: int
    kind: Kind
    state: State_
    onset: int
    onset_low: int
    onset_high: int
    ended: int | None
    days: int
    expected: float
    observed: float
    change: float
    low: float
    high: float
    numerator: float
    denominator: float
    exposure: float
    score: float
    p: float
    q: float
    tested: int


@dataclass(frozen=True)
class Band:
    """Expected value and 95 % band of a single ordinary day (series, judged days), natural scale, from earlier days."""

    expected: Array
    low: Array
    high: Array


@dataclass
class Active:
    """A reported shift, days as numbers since 1970. ``end`` is the first day that is back, ``OPEN`` while it lasts."""

    reported: int
    onset: int
    onset_low: int
    onset_high: int
    kind: Kind
    p: float
    q: float
    tested: int
    share: float  # of the judged series reported that day, for the interval
    size: float = 0.0
    error: float = 0.0
    end: int = int(OPEN)
    over: float = 0.0  # evidence that it has ended
    over_since: int = 0
    told: bool = False  # its last row has been written

    @property
    def open(self) -> bool:
        return self.end == OPEN


@dataclass
class State:
    """What a judged day leaves to the next.

    Attributes:
        day: the last judged day, as a number since 1970.
        series, lessons: N names; (N, KEPT) what is kept of each: its lessons, its forecast, its first usable day.
        active: name -> its reported shifts that still matter, oldest first.
        effects: cohort -> day -> common effect.
        memory: levels spent and reports made.
    """

    day: int
    series: list[str]
    lessons: Array
    active: dict[str, list[Active]]
    effects: dict[int, dict[int, float]]
    memory: Memory


@dataclass(frozen=True)
class Detection:
    """Judgement of the last columns of a panel.

    Attributes:
        shifts: every shift under way, or just over, on every judged day.
        band: of every series and judged day.
        tested: series judged, per judged day.
        level: the level of the false discovery control, per judged day.
        state: for the next call.
    """

    shifts: list[Shift]
    band: Band
    tested: NDArray[np.int64]
    level: Array
    state: State

    @property
    def reports(self) -> list[Shift]:
        """Every shift as it was first reported."""
        return [s for s in self.shifts if s.state == "new"]


def detect(
    panel: Panel,
    first: int,
    settings: Settings | None = None,
    state: State | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Detection:
    """Judge columns ``first``..T-1, one after another.

    Args:
        panel: N series x T days. ``LOOKBACK`` days before ``first`` are used where they exist.
        first: 1..T-1; with less than ``MINIMUM_HISTORY`` days before it hardly anything can be judged.
        state: what an earlier call left after the day before ``first``; without it the memory starts anew.
        progress: called with (days done, days).

    Raises:
        ValueError: ``first`` is outside the panel, or ``state`` is of another day.
    """
    stop = len(panel.days)
    watch = Watch(panel, first, settings, state)
    days = []
    for column in range(first, stop):
        days.append(watch.judge())
        if progress:
            progress(column - first + 1, stop - first)
    band = Band(*(np.stack(values, axis=1) for values in zip(*(d.band for d in days), strict=True)))
    return Detection(
        [s for d in days for s in d.shifts], band, np.array([d.tested for d in days]),
        np.array([d.level for d in days]), watch.state(),
    )  # fmt: skip


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


@dataclass(frozen=True)
class Judgement:
    """What one day of a panel told.

    Attributes:
        shifts: every shift under way, or just over.
        band: expected value, lower and upper end of the 95 % band; N each.
        judged: N; whether the series had a p-value that day: large enough, and with enough of a past.
        level: the level of the false discovery control.
    """

    shifts: list[Shift]
    band: tuple[Array, Array, Array]
    judged: NDArray[np.bool_]
    level: float

    @property
    def tested(self) -> int:
        """Series judged."""
        return int(self.judged.sum())


class Watch:
    """A panel judged day by day; see :func:`detect` for the arguments.

    ``state()`` may be asked for after any day.
    """

    def __init__(self, panel: Panel, first: int, settings: Settings | None = None, state: State | None = None) -> None:
        count, stop = len(panel.series), len(panel.days)
        if not 1 <= first < stop:
            raise ValueError(f"first must be 1..{stop - 1}, not {first}")
        self.panel, self.settings, self.first, self.next = panel, settings or Settings(), first, first
        self.zero = int(panel.days[0].astype("datetime64[D]").astype(np.int64))
        self.key = np.array([zlib.crc32(name.encode()) % EVERY for name in panel.series], dtype=np.int64)
        self.weekday = (self.zero - panel.lag + 3) % 7  # 1970-01-01 was a Thursday; only differences matter
        self.numerator, self.denominator = (
            np.ascontiguousarray(panel.numerator),
            np.ascontiguousarray(panel.denominator),
        )
        self.told = np.ascontiguousarray(np.nan_to_num(panel.sampling))
        self.scale = panel.scale.astype(np.int64)
        self.special = panel.special.copy()
        self.cohorts, codes = np.unique(panel.cohort, return_inverse=True)
        self.cohort = np.where(panel.cohort < 0, -1, codes).astype(np.int64)
        self.effects = np.zeros((len(self.cohorts) + 1, stop))  # the last row is of those in none
        self.lessons = Lessons.none(count)
        self.member = np.zeros(count, dtype=np.bool_)
        self.level, self.level_error = np.full(count, np.nan), np.full(count, np.nan)
        self.week = np.zeros((count, 7))
        self.since = np.full(count, -OPEN, dtype=np.int64)
        self.active: dict[int, list[Active]] = {}
        self.steps = np.zeros((count, STEPS, 2), dtype=np.int64)
        self.counts = np.zeros(count, dtype=np.int64)
        self.memory = Memory(self.settings.false_discovery_rate)
        lags = 2 * OLDEST
        self.size, self.error, self.r = (np.full((count, lags), np.nan) for _ in range(3))
        self.beta = np.zeros((count, kernel.COLUMNS))
        self.fit_error = np.zeros(count)
        self.step_size, self.step_error = np.full((count, STEPS), np.nan), np.full((count, STEPS), np.nan)
        self.slots: dict[int, list[Active]] = {}
        self.fitted = np.zeros((count, WINDOW))
        self.used = np.zeros(count, dtype=np.int64)
        self.noise: Noise = learn(self.lessons, panel.pool)  # arrays, written in place from here on
        self.band = np.full((3, count), np.nan)
        self.judged = np.zeros(count, dtype=np.bool_)
        self.shifts: list[Shift] = []
        if state is not None:
            self._resume(state)
        else:
            self._enlist(first - 1)
            self._fit(np.flatnonzero(self.member), first - 1)
            self._forecast(np.flatnonzero(self.member))

    # What was kept from the day before

    def _resume(self, state: State) -> None:
        if state.day != self.zero + self.first - 1:
            raise ValueError(
                f"the state is of {np.datetime64(state.day, 'D')}, "
                f"and the first judged day is {self.panel.days[self.first]}"
            )
        place = {name: i for i, name in enumerate(self.panel.series)}
        at = np.array([place.get(name, -1) for name in state.series], dtype=np.int64)
        rows, kept = at[at >= 0], state.lessons[at >= 0]
        self.member[rows] = True
        self.lessons.moments[rows], self.lessons.details[rows], rest = np.split(
            kept, [kernel.MOMENTS, kernel.MOMENTS + kernel.DETAILS], axis=1
        )
        self.level[rows], self.level_error[rows] = rest[:, 0], rest[:, 1]
        self.since[rows] = rest[:, 2].astype(np.int64) - self.zero
        self.week[rows] = rest[:, 3:]
        for name, shifts in state.active.items():
            if (i := place.get(name)) is not None:
                self.active[i] = [replace(s) for s in shifts]
                self._columns(i)
        row_of = {int(c): j for j, c in enumerate(self.cohorts)}
        for cohort, days in state.effects.items():
            if cohort in row_of:
                for day, effect in days.items():
                    if 0 <= day - self.zero < len(self.panel.days):
                        self.effects[row_of[cohort], day - self.zero] = effect
        self.memory = Memory(self.settings.false_discovery_rate, list(state.memory.levels), list(state.memory.reports))
        self._shrink()

    def state(self) -> State:
        """What the judged days leave to the next."""
        last = self.next - 1
        day = self.zero + last
        rows = np.flatnonzero(self.member)
        since = np.where(self.since[rows] > -OPEN // 2, self.since[rows] + self.zero, -OPEN).astype(np.float64)
        lessons = np.column_stack(
            [
                self.lessons.moments[rows], self.lessons.details[rows],
                self.level[rows], self.level_error[rows], since, self.week[rows],
            ]
        )  # fmt: skip
        names = [self.panel.series[i] for i in rows.tolist()]
        effects: dict[int, dict[int, float]] = {}
        oldest = max(0, last - LOOKBACK)
        for j, cohort in enumerate(self.cohorts):
            if cohort >= 0:
                found = np.flatnonzero(self.effects[j, oldest:]) + oldest
                if len(found):
                    effects[int(cohort)] = {self.zero + int(t): float(self.effects[j, t]) for t in found}
        active = {self.panel.series[i]: [replace(s) for s in shifts] for i, shifts in self.active.items() if shifts}
        memory = Memory(self.memory.rate, list(self.memory.levels), list(self.memory.reports))
        return State(day, names, lessons, active, effects, memory)

    # One day

    def judge(self) -> Judgement:
        """Judge the next column with the data up to it."""
        column = self.next
        self.shifts = []
        self._special_days(column)
        self._enlist(column)
        self._over(column)
        members = np.flatnonzero(self.member)
        self._fit(members, column)
        level = self.memory.level()
        self._report(members, column)
        self._forecast(members)
        self.next = column + 1
        expected, low, high = self.band
        return Judgement(self.shifts, (expected.copy(), low.copy(), high.copy()), self.judged, level)

    def _special_days(self, column: int) -> None:
        """The common effects of the day, and the band, both from yesterday's forecasts."""
        panel = self.panel
        rhythm = self.week[np.arange(len(self.level)), (self.weekday + column) % 7]
        baseline = self.level + rhythm
        running = baseline.copy()
        for i, shifts in self.active.items():
            running[i] += sum(s.size for s in shifts if s.open)
        away, sampling = _residuals(panel, column, running)
        sampling = np.maximum(sampling, self.told[:, column])
        variance = sampling + self.noise.noise[:, 0] + np.nan_to_num(self.level_error) ** 2
        self.effects[:-1, column] = common_effects(
            self.cohort, len(self.cohorts), np.where(self.member, away, np.nan), variance
        )
        expected = baseline + self.effects[self.cohort, column]
        _, sampling = _residuals(panel, column, expected)
        told = np.where(np.isnan(self.numerator[:, column]), 0.0, self.told[:, column])
        variance = np.maximum(np.nan_to_num(sampling), told) + self.noise.noise[:, 0] + self.level_error**2
        half = 1.96 * np.sqrt(variance)
        self.band[0] = panel.natural(expected)
        self.band[1], self.band[2] = panel.natural(expected - half), panel.natural(expected + half)

    def _enlist(self, column: int) -> None:
        """Which series are followed today, and what their older days teach."""
        lately = self.panel.supported[:, max(0, column - MEMBER_DAYS + 1) : column + 1]
        recent = np.asarray(lately.any(axis=1), dtype=np.bool_)
        for i, shifts in self.active.items():
            recent[i] |= any(not s.told for s in shifts)
        entered = recent & ~self.member
        left = self.member & ~recent
        self.member = recent
        self.lessons.moments[left] = 0.0
        self.lessons.details[left] = np.nan
        self.level[left] = np.nan
        self.since[left | entered] = -OPEN  # of those not followed nothing is kept, or a replay would know more
        day = self.zero + column
        late = (day + self.key) % EVERY
        rows = np.flatnonzero(entered | (recent & (late == 0)))
        if len(rows):
            self._learn(rows, column - BEHIND - late)
        elif left.any():
            self._shrink()

    def _learn(self, rows: NDArray[np.int64], last: NDArray[np.int64]) -> None:
        arguments = (
            last, self.numerator, self.denominator, self.told, self.effects, self.cohort, self.special, self.weekday,
            self.scale, self.since, self.steps, self.counts,
        )  # fmt: skip
        moments, details = self.lessons.moments, self.lessons.details
        _in_parallel(lambda part: kernel.moments_of_series(part, *arguments, moments), rows)
        self._shrink("variance")
        noise, prior = self.noise.noise, self.noise.prior
        _in_parallel(lambda part: kernel.details_of_series(part, *arguments, noise, prior, True, details), rows)
        self._shrink("drift")
        _in_parallel(lambda part: kernel.details_of_series(part, *arguments, noise, prior, False, details), rows)
        self._shrink("rest")

    def _shrink(self, *parts: Part) -> None:
        rows = np.flatnonzero(self.member)  # those not followed teach nobody
        lessons = Lessons(self.lessons.moments[rows], self.lessons.details[rows])
        noise = learn(lessons, self.panel.pool[rows], Noise(*(whole[rows] for whole in self.noise)), parts or ALL_PARTS)
        for whole, part in zip(self.noise, noise, strict=True):
            whole[rows] = part

    def _inflate(self, rows: NDArray[np.int64] | int, lags: NDArray[np.int64] | int | slice) -> Array:
        """Factors on the standard errors of ``rows`` (or of one) at places ``lags``."""
        factors: Array = self.noise.inflation[rows] @ BETWEEN[:, lags]
        return factors

    def _degrees(self, rows: NDArray[np.int64], lags: NDArray[np.int64]) -> Array:
        """(rows, lags): degrees of freedom of their scores; NaN where nothing is known of a series."""
        known = self.noise.degrees[rows]
        degrees: Array = np.exp(np.log(np.maximum(known, 1e-9)) @ BETWEEN[:, lags])
        single = lags < SPIKE_DAYS
        degrees[:, single] = np.minimum(degrees[:, single], self.noise.tail[rows, None])
        degrees[known[:, 0] == 0.0] = np.nan
        return degrees

    def _fit(self, rows: NDArray[np.int64], column: int, raw: bool = False) -> None:
        arguments = (
            column, self.numerator, self.denominator, self.told, self.effects, self.cohort, self.special, self.weekday,
            self.scale, self.since, self.steps, self.counts, self.noise.noise, self.noise.prior, WARM_UP, raw,
            self.size, self.error, self.r, self.beta, self.fit_error,
            self.step_size, self.step_error, self.fitted, self.used,
        )  # fmt: skip
        _in_parallel(lambda part: kernel.scan_series(part, *arguments), rows)

    def _forecast(self, rows: NDArray[np.int64]) -> None:
        good = rows[self.used[rows] > 0]
        beta = self.beta[good]
        self.level[good] = beta[:, 0] + beta[:, 1 + kernel.WEEKDAYS : SHARED] @ kernel.DRIFT[-1]
        self.week[good] = beta[:, 1 : 1 + kernel.WEEKDAYS] @ kernel.WEEK.T
        self.level_error[good] = self.fit_error[good]
        self.level[rows[self.used[rows] == 0]] = np.nan

    # Shifts under way

    def _columns(self, i: int) -> None:
        """Steps of a series as columns of its fit; those that don't fit in, or have no past, shorten its history."""
        kept = sorted(self.active.get(i, ()), key=lambda s: s.onset)
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

    def _over(self, column: int) -> None:
        """End what has ended, and forget what is too long ago to matter."""
        day = self.zero + column
        for i in list(self.active):
            shifts = self.active[i]
            for s in shifts:
                if s.open and not s.told and not np.isnan(self.numerator[i, column]) and not np.isnan(self.level[i]):
                    self._maybe_over(i, s, column)
            for s in [s for s in shifts if s.open and s.told and day - s.onset > WINDOW - 2 * SPIKE_DAYS * 7]:
                self.since[i] = max(self.since[i], s.onset - self.zero)  # what was before it is no past any more
                shifts.remove(s)
            for s in [s for s in shifts if not s.open and s.told and day - s.end > WINDOW + BEHIND + EVERY]:
                shifts.remove(s)
            if shifts:
                self._columns(i)
            else:
                del self.active[i], self.slots[i]
                self.counts[i] = 0

    def _maybe_over(self, i: int, s: Active, column: int) -> None:
        """Page's cumulative sum of the evidence that the series is back at its baseline."""
        day = self.zero + column
        others = sum(o.size for o in self.active[i] if o.open and o is not s)
        baseline = (
            self.level[i] + self.week[i, (self.weekday[i] + column) % 7] + self.effects[self.cohort[i], column] + others
        )
        scale, k, n = int(self.scale[i]), self.numerator[i, column], self.denominator[i, column]
        z = kernel.value_of(scale, k, n) - baseline
        sampling = max(kernel.residual_and_variance(scale, k, n, baseline + size)[1] for size in (0.0, s.size))
        variance = (max(sampling, self.told[i, column]) + self.noise.noise[i, 0] + self.level_error[i] ** 2) * (
            self.noise.inflation[i, 0] ** 2
        )
        says = ((z - s.size) ** 2 - z**2) / (2.0 * variance)
        left = z if s.size > 0 else -z
        if says > 0.0 and left > max(BACK * abs(s.size), min(1.5 * BACK * abs(s.size), 2.5 * variance**0.5)):
            says = 0.0  # less than it was, but not back
        if day - s.onset > SPIKE_DAYS:
            says = float(np.clip(says, -OVER_A_DAY, OVER_A_DAY))
        if s.over <= 0.0:
            s.over_since = day
        s.over = max(0.0, s.over + says)
        if s.over >= OVER:
            s.end = max(s.over_since, s.onset + 1)

    # Reports

    def _report(self, rows: NDArray[np.int64], column: int) -> None:
        day = self.zero + column
        picked = np.concatenate([LAGS - 1, OLDEST + RAMPS - 1])
        table = np.ix_(rows, picked)
        calibrated = self.r[table] / self._inflate(rows, picked)
        p = 2.0 * special.stdtr(self._degrees(rows, picked), -np.abs(calibrated))
        smallest = np.log1p(self.settings.minimum_change)
        p[np.abs(self.size[table]) < smallest] = 1.0
        judged = self.panel.supported[rows, column] & ~np.isnan(p).all(axis=1) & (self.used[rows] > 0)
        p[np.isnan(p)] = 1.0
        p[:, picked >= SPIKE_DAYS] *= CAUTION
        combined = np.minimum(1.0, EFFECTIVE_TESTS * p.min(axis=1))
        best = picked[p.argmin(axis=1)]
        for place in np.flatnonzero(judged & (combined <= NOTABLE)):
            i = int(rows[place])
            if i in self.active and not self._is_news(i, int(best[place]), column):
                combined[place] = 1.0
        combined[~judged] = np.nan
        tested = int(judged.sum())
        self.judged = np.zeros(len(self.judged), dtype=np.bool_)
        self.judged[rows[judged]] = True
        under_way = [i for i, shifts in self.active.items() if any(s.open for s in shifts)]
        further = np.isin(rows, np.array(under_way, dtype=np.int64))
        q = self.memory.judge(combined, further)
        found = np.flatnonzero(q <= self.settings.false_discovery_rate)
        share = len(found) / max(tested, 1)
        fresh = []
        if len(found):
            self._fit(rows[found], column, raw=True)
        for at in found:
            i = int(rows[at])
            active = self._begin(i, int(best[at]), column)
            if any(s.onset == active.onset for s in self.active.get(i, ())):
                continue  # an echo of a shift that began that day: it is in the fit already
            active.p, active.q = float(combined[at]), float(q[at])
            active.tested, active.share = tested, share
            self.active.setdefault(i, []).append(active)
            self._columns(i)
            fresh.append(i)
        refined = self._refine(column)
        again = np.array(sorted({*fresh, *refined}), dtype=np.int64)
        if len(again):
            self._fit(again, column)
        self._write(column, day)

    def _is_news(self, i: int, best: int, column: int) -> bool:
        """Whether a candidate in a series with shifts under way is more than their echo."""
        day = self.zero + column
        size = self.size[i, best]
        if self.scale[i] != Scale.MEAN:  # a linear step of far more, or of all there is, is no such step of a logarithm
            size = np.log1p(max(size, -0.999))
        for s in self.active[i]:
            if not s.open or s.told:  # what settled is the new normal: its end is news
                continue
            if np.sign(size) == np.sign(s.size):
                young = day - s.reported
                if young <= GROWING_DAYS or (young < QUIET_DAYS and abs(size) < 0.5 * abs(s.size)):
                    return False
            elif abs(size) > 0.4 * abs(s.size) and abs(size) < 1.6 * abs(s.size):
                onset, _, _ = self._onset(i, self._gains(i, np.sign(size))[:OLDEST], column)
                s.end = min(max(onset, s.onset + 1), max(day, s.onset + 1))  # it is the end of it
                s.over = OVER
                self._columns(i)
                return False
        return True

    def _gains(self, i: int, sign: float) -> Array:
        """Log-likelihood gained by steps of 1..``OLDEST`` days, then by ramps, of one direction."""
        # Not the deviance, which knows no more than all things gone: days before a fall to nothing would join it for
        # free.
        gains = 0.5 * (self.size[i] / self.error[i] / self._inflate(i, slice(None))) ** 2
        return np.where(np.isnan(gains) | (np.sign(self.size[i]) != sign), -np.inf, gains)

    def _onset(self, i: int, gains: Array, column: int) -> tuple[int, int, int]:
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

    def _begin(self, i: int, best: int, column: int) -> Active:
        day, size = self.zero + column, self.size[i, best]
        gains = self._gains(i, np.sign(size))
        steps, ramps = gains[:OLDEST], gains[OLDEST:]
        onset, low, high = self._onset(i, steps, column)
        kind: Kind = "spike" if day - onset < SPIKE_DAYS else "level"
        if ramps.max() > steps.max() and day - onset >= YOUNGEST_SLOPE:
            onset, low, high = self._onset(i, ramps, column)
            kind = "slope"
        return Active(day, onset, low, high, kind, 1.0, 1.0, 0, 0.0, float(size))

    def _refine(self, column: int) -> list[int]:
        """Look again for the onset of young shifts; returns the series to fit anew."""
        day = self.zero + column
        young = [
            (i, s) for i, shifts in self.active.items() for s in shifts[-1:]
            if s.open and s.kind != "slope" and 0 < day - s.reported <= REFINED_DAYS
            and day - s.onset < OLDEST - 1 and not np.isnan(self.numerator[i, column])
        ]  # fmt: skip
        if not young:
            return []
        for i, s in young:
            self.active[i].remove(s)
            self._columns(i)
        rows = np.array([i for i, _ in young], dtype=np.int64)
        self._fit(rows, column, raw=True)
        for i, s in young:
            self.active[i].append(s)
            if not np.isnan(self.size[i, :OLDEST]).all():
                gains = self._gains(i, np.sign(s.size))
                onset, low, high = self._onset(i, gains[:OLDEST], column)
                between = range(min(onset, s.onset), max(onset, s.onset) + 1)  # no shift moves over another
                crossed = any(o.onset in between for o in self.active[i] if o is not s)
                if abs(onset - s.onset) <= GROWING_DAYS and not crossed:
                    s.onset, s.onset_low, s.onset_high = onset, min(low, onset), max(high, onset)
            self._columns(i)
        return [i for i, _ in young]

    def _write(self, column: int, day: int) -> None:
        """A row for every shift that is under way, or has just ended."""
        for i, shifts in sorted(self.active.items()):
            places = {id(s): at for at, s in enumerate(self.slots[i])}
            for s in [s for s in sorted(shifts, key=lambda s: s.onset) if not s.told]:
                at = places.get(id(s))
                known = at is not None and self.used[i] > 0 and not np.isnan(self.step_error[i, at])
                if known and s.open and s.reported != day and self.step_size[i, at] * s.size <= 0.0:
                    s.end = max(s.onset + 1, s.over_since or day)  # what is left of it points the other way
                elif known:
                    s.size, s.error = float(self.step_size[i, at]), float(self.step_error[i, at])
                if s.kind == "spike" and s.open and day - s.onset >= SPIKE_DAYS:
                    s.kind = "level"
                if not s.open and s.end - s.onset <= SPIKE_DAYS:
                    s.kind = "spike"
                state: State_ = "new" if s.reported == day else "ongoing"
                if not s.open:
                    state = "recovered"
                elif s.reported != day and (day - s.onset >= SETTLED_DAYS or (self.used[i] > 0 and not known)):
                    state = "settled"
                s.told = state in ("recovered", "settled")
                self.shifts.append(self._row(i, s, state, column))
                if s.open and s.told and not known:  # its level is all that is known of the series by now
                    self.since[i] = max(self.since[i], s.onset - self.zero)
                    shifts.remove(s)

    def _row(self, i: int, s: Active, state: State_, column: int) -> Shift:
        day = self.zero + column
        onset = s.onset - self.zero
        stop = column + 1 if s.open else min(s.end - self.zero, column + 1)
        since = np.arange(max(onset, column - WINDOW + 1), stop)
        since = since[~np.isnan(self.numerator[i, since])] if len(since) else since
        if not len(since):
            since = np.array([column])
        scale = Scale(int(self.panel.scale[i]))
        without = self.fitted[i, since - (column - WINDOW + 1)].copy()
        for at, other in enumerate(self.slots[i]):
            if other is s or np.isnan(self.step_error[i, at]):  # what is not in the fit is in its level already
                continue
            # A later step the other way is part of what became of this one, and not of what was to be expected.
            if other.onset < s.onset or other.size * s.size > 0.0:
                during = (since + self.zero >= other.onset) & (since + self.zero < other.end)
                without[during] += other.size
        base = _natural(scale, without)
        k, n = self.numerator[i, since], self.denominator[i, since]
        if scale == Scale.COUNT:
            expected, observed, exposure, plus = float(np.mean(base)), float(np.mean(k)), 1.0, 0.5
        else:
            expected = float(np.sum(base * n) / np.sum(n))
            observed = float(np.sum(k) / np.sum(n))
            exposure = float(np.mean(n))
            plus = 0.0 if scale in (Scale.PROPORTION, Scale.RATE) else 1e-9
        # Nothing at all has no logarithm: half a thing stands for it.
        floor = 0.5 / (exposure * len(since)) if scale != Scale.COUNT else plus / len(since)
        age = min(max(column - onset, 0), OLDEST - 1)
        inflation = float(self._inflate(i, age))
        level = 0.05 if day - s.reported > REFINED_DAYS else 0.05 * max(s.share, 1e-6)
        degrees = self._degrees(np.array([i]), np.array([age])).item()
        half = float(special.stdtrit(degrees, 1.0 - level / 2.0)) * s.error * inflation
        reach = max(observed, floor)
        low, high = min(_moved(scale, reach, -half), observed), max(_moved(scale, reach, half), observed)
        base_value = max(expected, 1e-12)
        k_size = self.panel.size[i, since]
        return Shift(
            row=i, column=column, reported=s.reported - self.zero, kind=s.kind, state=state, onset=onset,
            onset_low=s.onset_low - self.zero, onset_high=s.onset_high - self.zero,
            ended=None if s.open else s.end - self.zero, days=len(since), expected=expected, observed=observed,
            change=observed / base_value - 1.0, low=low / base_value - 1.0, high=high / base_value - 1.0,
            numerator=float(np.mean(k * k_size)), denominator=float(np.mean(n * k_size)), exposure=exposure,
            score=s.size / s.error / inflation if s.error > 0 else 0.0, p=s.p, q=s.q, tested=s.tested,
        )  # fmt: skip


def _natural(scale: Scale, values: Array) -> Array:
    """Like :meth:`.Panel.natural`, of one series."""
    power = np.exp(np.minimum(values, 700.0))
    if scale == Scale.PROPORTION:
        return power / (1.0 + power)
    return np.maximum(power - 1.0, 0.0) if scale == Scale.MEAN else power


def _moved(scale: Scale, value: float, by: float) -> float:
    """A natural value moved on its additive scale."""
    by = min(max(by, -50.0), 50.0)
    if scale == Scale.PROPORTION:
        value = min(value, 1.0 - 1e-9)
        odds = value / (1.0 - value) * np.exp(by)
        return float(odds / (1.0 + odds))
    if scale == Scale.MEAN:
        return max(0.0, float(np.expm1(np.log1p(value) + by)))
    return float(value * np.exp(by))


def _residuals(panel: Panel, column: int, eta: Array) -> tuple[Array, Array]:
    """(observed less expected on the additive scale, linearised; sampling variance), per series."""
    k, n, scale = panel.numerator[:, column], panel.denominator[:, column], panel.scale
    eta = np.clip(eta, -30.0, 40.0)
    with np.errstate(all="ignore"):
        mu = np.exp(eta)
        observed = np.log(k + 0.5)
        variance = 1.0 / mu
        away = (k - mu) / mu
        rows = scale == Scale.RATE
        variance[rows] = 1.0 / (mu[rows] * n[rows])
        away[rows] = k[rows] / (mu[rows] * n[rows]) - 1.0
        observed[rows] -= np.log(n[rows])
        rows = scale == Scale.PROPORTION
        share = mu[rows] / (1.0 + mu[rows])
        variance[rows] = 1.0 / (n[rows] * share * (1.0 - share))
        away[rows] = (k[rows] - n[rows] * share) * variance[rows]
        observed[rows] -= np.log(np.maximum(n[rows] - k[rows], 0.0) + 0.5)
        rows = scale == Scale.MEAN
        observed[rows] = np.log1p(k[rows] / n[rows])
        away[rows] = observed[rows] - eta[rows]
        variance[rows] = 0.0
    # One outlier must not stand for a common effect: the logarithm is nearer to what it is.
    far = np.abs(away) > 0.5
    away = np.where(far, observed - eta, away)
    return away, variance
