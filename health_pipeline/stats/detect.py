"""Judge a panel day by day, each day with what was known on it, and keep what tomorrow needs.

In the order of a day: what is common to whole cohorts (:mod:`.common`), which reported shifts are over (:mod:`.life`),
a fit and a scan of every series (:mod:`.fits`) under the noise its past taught, false discoveries controlled over
series and days (:mod:`.discovery`). A reported shift becomes part of its series' baseline, so that it is reported once
and does not hide what comes after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats import kernel
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.common import common_effects
from health_pipeline.stats.discovery import Memory
from health_pipeline.stats.fits import Fits
from health_pipeline.stats.kernel import LAGS, OLDEST, RAMPS
from health_pipeline.stats.life import GROWING_DAYS, REFINED_DAYS, SPIKE_DAYS, Active, Kind
from health_pipeline.stats.links import residuals
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.shift import Shift, tell
from health_pipeline.stats.spans import BEHIND, EVERY, LOOKBACK, MEMBER_DAYS, WINDOW

MINIMUM_HISTORY = BEHIND + kernel.LEAST  # days before the first judged one
EFFECTIVE_TESTS = 8.0  # of the lags and ramps, which are correlated; simulated by `python -m benchmarks.null`
CAUTION = (
    2.5  # p-values of longer steps are too small by so much where drift and autocorrelation are learned: null panels
)
YOUNGEST_SLOPE = 3  # days of the likeliest step below which it can't be told from a ramp
NOTABLE = 1e-3  # p-value from which a candidate in a series with shifts under way is looked at at all


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
class Band:
    """Expected value and 95 % band of a single ordinary day (series, judged days), natural scale, from earlier days."""

    expected: Array
    low: Array
    high: Array


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
        self.fits = Fits(panel)
        self.zero = self.fits.zero
        self.key = np.array([zlib.crc32(name.encode()) % EVERY for name in panel.series], dtype=np.int64)
        self.member = np.zeros(count, dtype=np.bool_)
        self.active: dict[int, list[Active]] = {}
        self.memory = Memory(self.settings.false_discovery_rate)
        self.band = np.full((3, count), np.nan)
        self.judged = np.zeros(count, dtype=np.bool_)
        self.shifts: list[Shift] = []
        if state is not None:
            self._resume(state)
        else:
            self._enlist(first - 1)
            self.fits.fit(np.flatnonzero(self.member), first - 1)
            self.fits.forecast(np.flatnonzero(self.member))

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
        self.fits.take_up(rows, kept)
        for name, shifts in state.active.items():
            if (i := place.get(name)) is not None:
                self.active[i] = [replace(s) for s in shifts]
                self._put_steps(i)
        row_of = {int(c): j for j, c in enumerate(self.fits.cohorts)}
        for cohort, days in state.effects.items():
            if cohort in row_of:
                for day, effect in days.items():
                    if 0 <= day - self.zero < len(self.panel.days):
                        self.fits.effects[row_of[cohort], day - self.zero] = effect
        self.memory = Memory(self.settings.false_discovery_rate, list(state.memory.levels), list(state.memory.reports))
        self.fits.shrink(np.flatnonzero(self.member))

    def state(self) -> State:
        """What the judged days leave to the next."""
        last = self.next - 1
        day = self.zero + last
        rows = np.flatnonzero(self.member)
        names = [self.panel.series[i] for i in rows.tolist()]
        effects: dict[int, dict[int, float]] = {}
        oldest = max(0, last - LOOKBACK)
        for j, cohort in enumerate(self.fits.cohorts):
            if cohort >= 0:
                found = np.flatnonzero(self.fits.effects[j, oldest:]) + oldest
                if len(found):
                    effects[int(cohort)] = {self.zero + int(t): float(self.fits.effects[j, t]) for t in found}
        active = {self.panel.series[i]: [replace(s) for s in shifts] for i, shifts in self.active.items() if shifts}
        memory = Memory(self.memory.rate, list(self.memory.levels), list(self.memory.reports))
        return State(day, names, self.fits.keep(rows), active, effects, memory)

    # One day

    def judge(self) -> Judgement:
        """Judge the next column with the data up to it."""
        column = self.next
        self.shifts = []
        self._expect(column)
        self._enlist(column)
        self._over(column)
        members = np.flatnonzero(self.member)
        self.fits.fit(members, column)
        level = self.memory.level()
        self._report(members, column)
        self.fits.forecast(members)
        self.next = column + 1
        expected, low, high = self.band
        return Judgement(self.shifts, (expected.copy(), low.copy(), high.copy()), self.judged, level)

    def _expect(self, column: int) -> None:
        """The common effects of the day, and the band, both from yesterday's forecasts."""
        panel, fits = self.panel, self.fits
        rhythm = fits.week[np.arange(len(fits.level)), (fits.weekday + column) % 7]
        baseline = fits.level + rhythm
        running = baseline.copy()
        for i, shifts in self.active.items():
            running[i] += sum(s.size for s in shifts if s.open)
        away, sampling = residuals(panel, column, running)
        sampling = np.maximum(sampling, fits.sampling[:, column])
        variance = sampling + fits.noise.noise[:, 0] + np.nan_to_num(fits.level_error) ** 2
        fits.effects[:-1, column] = common_effects(
            fits.cohort, len(fits.cohorts), np.where(self.member, away, np.nan), variance
        )
        expected = baseline + fits.effects[fits.cohort, column]
        _, sampling = residuals(panel, column, expected)
        told = np.where(np.isnan(fits.numerator[:, column]), 0.0, fits.sampling[:, column])
        variance = np.maximum(np.nan_to_num(sampling), told) + fits.noise.noise[:, 0] + fits.level_error**2
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
        fits = self.fits
        fits.forget(left, entered)
        day = self.zero + column
        late = (day + self.key) % EVERY
        rows = np.flatnonzero(entered | (recent & (late == 0)))
        if len(rows):
            fits.learn(rows, column - BEHIND - late, np.flatnonzero(recent))
        elif left.any():
            fits.shrink(np.flatnonzero(recent))

    # Shifts under way

    def _put_steps(self, i: int) -> None:
        self.fits.put_steps(i, self.active.get(i, ()))

    def _over(self, column: int) -> None:
        """End what has ended, and forget what is too long ago to matter."""
        fits, day = self.fits, self.zero + column
        for i in list(self.active):
            shifts = self.active[i]
            for s in shifts:
                if s.open and not s.told and not np.isnan(fits.numerator[i, column]) and not np.isnan(fits.level[i]):
                    self._weigh(i, s, column)
            for s in [s for s in shifts if s.open and s.told and day - s.onset > WINDOW - 2 * SPIKE_DAYS * 7]:
                fits.since[i] = max(fits.since[i], s.onset - self.zero)  # what was before it is no past any more
                shifts.remove(s)
            for s in [s for s in shifts if not s.open and s.told and day - s.end > WINDOW + BEHIND + EVERY]:
                shifts.remove(s)
            if shifts:
                self._put_steps(i)
            else:
                del self.active[i], fits.slots[i]
                fits.counts[i] = 0

    def _weigh(self, i: int, s: Active, column: int) -> None:
        """Weigh the day's evidence that a shift is over."""
        fits, day = self.fits, self.zero + column
        others = sum(o.size for o in self.active[i] if o.open and o is not s)
        baseline = (
            fits.level[i] + fits.week[i, (fits.weekday[i] + column) % 7] + fits.effects[fits.cohort[i], column] + others
        )
        scale, k, n = int(fits.scale[i]), fits.numerator[i, column], fits.denominator[i, column]
        z = kernel.value_of(scale, k, n) - baseline
        sampling = max(kernel.residual_and_variance(scale, k, n, baseline + size)[1] for size in (0.0, s.size))
        variance = (max(sampling, fits.sampling[i, column]) + fits.noise.noise[i, 0] + fits.level_error[i] ** 2) * (
            fits.noise.inflation[i, 0] ** 2
        )
        s.weigh(day, z, variance)

    # Reports

    def _candidates(self, rows: NDArray[np.int64], column: int) -> tuple[Array, NDArray[np.int64]]:
        """(p-value over all lags, NaN where it can't be judged; place of the lag that tells most), of ``rows``."""
        fits = self.fits
        picked = np.concatenate([LAGS - 1, OLDEST + RAMPS - 1])
        table = np.ix_(rows, picked)
        calibrated = fits.r[table] / fits.inflate(rows, picked)
        p = 2.0 * special.stdtr(fits.degrees(rows, picked), -np.abs(calibrated))
        smallest = np.log1p(self.settings.minimum_change)
        p[np.abs(fits.size[table]) < smallest] = 1.0
        judged = self.panel.supported[rows, column] & ~np.isnan(p).all(axis=1) & (fits.used[rows] > 0)
        p[np.isnan(p)] = 1.0
        p[:, picked >= SPIKE_DAYS] *= CAUTION
        combined = np.minimum(1.0, EFFECTIVE_TESTS * p.min(axis=1))
        best = picked[p.argmin(axis=1)]
        for place in np.flatnonzero(judged & (combined <= NOTABLE)):
            i = int(rows[place])
            if i in self.active and not self._is_news(i, int(best[place]), column):
                combined[place] = 1.0
        combined[~judged] = np.nan
        return combined, best

    def _report(self, rows: NDArray[np.int64], column: int) -> None:
        """Report what is no false discovery, find the onset of what is young again, and tell of all under way."""
        fits, p, best = self.fits, *self._candidates(rows, column)
        judged = ~np.isnan(p)
        tested = int(judged.sum())
        self.judged = np.zeros(len(self.judged), dtype=np.bool_)
        self.judged[rows[judged]] = True
        under_way = [i for i, shifts in self.active.items() if any(s.open for s in shifts)]
        further = np.isin(rows, np.array(under_way, dtype=np.int64))
        q = self.memory.judge(p, further)
        found = np.flatnonzero(q <= self.settings.false_discovery_rate)
        share = len(found) / max(tested, 1)
        fresh = []
        if len(found):
            fits.fit(rows[found], column, raw=True)
        for at in found:
            i = int(rows[at])
            active = self._begin(i, int(best[at]), column)
            if any(s.onset == active.onset for s in self.active.get(i, ())):
                continue  # an echo of a shift that began that day: it is in the fit already
            active.p, active.q = float(p[at]), float(q[at])
            active.tested, active.share = tested, share
            self.active.setdefault(i, []).append(active)
            self._put_steps(i)
            fresh.append(i)
        refined = self._refine(column)
        again = np.array(sorted({*fresh, *refined}), dtype=np.int64)
        if len(again):
            fits.fit(again, column)
        self._write(column)

    def _is_news(self, i: int, best: int, column: int) -> bool:
        """Whether a candidate in a series with shifts under way is more than their echo."""
        fits, day = self.fits, self.zero + column
        size = fits.size[i, best]
        if fits.scale[i] != Scale.MEAN:  # a linear step of far more, or of all there is, is no such step of a logarithm
            size = np.log1p(max(size, -0.999))
        for s in self.active[i]:
            if not s.open or s.told:  # what settled is the new normal: its end is news
                continue
            if s.explains(day, size):
                return False
            if s.is_undone_by(size):
                onset, _, _ = fits.onset(i, fits.gains(i, np.sign(size))[:OLDEST], column)
                s.close(day, onset)
                self._put_steps(i)
                return False
        return True

    def _begin(self, i: int, best: int, column: int) -> Active:
        fits, day = self.fits, self.zero + column
        size = fits.size[i, best]
        gains = fits.gains(i, np.sign(size))
        steps, ramps = gains[:OLDEST], gains[OLDEST:]
        onset, low, high = fits.onset(i, steps, column)
        kind: Kind = "spike" if day - onset < SPIKE_DAYS else "level"
        if ramps.max() > steps.max() and day - onset >= YOUNGEST_SLOPE:
            onset, low, high = fits.onset(i, ramps, column)
            kind = "slope"
        return Active(day, onset, low, high, kind, 1.0, 1.0, 0, 0.0, float(size))

    def _refine(self, column: int) -> list[int]:
        """Look again for the onset of young shifts; returns the series to fit anew."""
        fits, day = self.fits, self.zero + column
        young = [
            (i, s) for i, shifts in self.active.items() for s in shifts[-1:]
            if s.open and s.kind != "slope" and 0 < day - s.reported <= REFINED_DAYS
            and day - s.onset < OLDEST - 1 and not np.isnan(fits.numerator[i, column])
        ]  # fmt: skip
        if not young:
            return []
        for i, s in young:
            self.active[i].remove(s)
            self._put_steps(i)
        rows = np.array([i for i, _ in young], dtype=np.int64)
        fits.fit(rows, column, raw=True)
        for i, s in young:
            self.active[i].append(s)
            if not np.isnan(fits.size[i, :OLDEST]).all():
                gains = fits.gains(i, np.sign(s.size))
                onset, low, high = fits.onset(i, gains[:OLDEST], column)
                between = range(min(onset, s.onset), max(onset, s.onset) + 1)  # no shift moves over another
                crossed = any(o.onset in between for o in self.active[i] if o is not s)
                if abs(onset - s.onset) <= GROWING_DAYS and not crossed:
                    s.onset, s.onset_low, s.onset_high = onset, min(low, onset), max(high, onset)
            self._put_steps(i)
        return [i for i, _ in young]

    def _write(self, column: int) -> None:
        """A row for every shift that is under way, or has just ended."""
        fits, day = self.fits, self.zero + column
        for i, shifts in sorted(self.active.items()):
            places = {id(s): at for at, s in enumerate(fits.slots[i])}
            for s in [s for s in sorted(shifts, key=lambda s: s.onset) if not s.told]:
                at = places.get(id(s))
                known = at is not None and fits.used[i] > 0 and not np.isnan(fits.step_error[i, at])
                if known:
                    s.refit(day, float(fits.step_size[i, at]), float(fits.step_error[i, at]))
                phase = s.grow_older(day, bool(known or fits.used[i] == 0))
                self.shifts.append(tell(fits, i, s, phase, column))
                if s.open and s.told and not known:  # its level is all that is known of the series by now
                    fits.since[i] = max(fits.since[i], s.onset - self.zero)
                    shifts.remove(s)
