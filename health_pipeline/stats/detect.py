"""All series of a day, judged together.

Sources: generalised least squares scan for a step under AR(1) noise; moderated inflation (Smyth 2004); the false
discovery rate over the series of a day by Benjamini and Hochberg (1995), as :func:`scipy.stats.false_discovery_control`
computes it. Guarantees hold under the model; `docs/statistics.md` shows how far, on noise of several kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from health_pipeline.stats.baseline import LEVEL_DAYS, MEMORY_DAYS, NOISE_DAYS, WEEKS
from health_pipeline.stats.calibration import (
    BLOCK,
    EFFECTIVE_TESTS,
    EXTRA_DEGREES,
    HISTORY,
    inflation,
    ordinary,
    p_values,
)
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.rolling import Array
from health_pipeline.stats.scan import LAGS, LONGEST, SMALLEST_SD, Scan, Step

# Days before a judged day on which its judgement can depend: the longest chain of windows.
LOOKBACK = 42 + HISTORY + BLOCK + LONGEST + NOISE_DAYS + MEMORY_DAYS + 2 * LEVEL_DAYS + 7 * WEEKS + 10
OLDEST = 42  # onsets are looked for so far back, to tell a step within the scan from one before it
YOUNG = 2  # days of a step that a single day can decide
ONSET_LIKELIHOOD = 5.0  # onsets within so many units of log-likelihood of the best make up the interval


@dataclass(frozen=True)
class Shift:
    """One significant shift of one series on one day; the change on the natural scale.

    Attributes:
        row, column: place in the panel.
        onset, onset_low, onset_high: columns of the most likely first day, and its interval.
        days: observed days since onset.
        expected, observed: a typical day since onset, without and with the step: a count, a share, or a mean.
        change, low, high: observed / expected - 1, with its 95 % interval; half a thing is added to counts, a second to
            means.
        numerator, denominator: means per observed day since onset, in the metric's own unit.
        exposure: the same of the panel's denominator: for a ratio in effective events.
        score, p, q: calibrated score, p-value over all lags, and Benjamini-Hochberg adjusted p-value.
        tested: series judged that day.
    """

    row: int
    column: int
    onset: int
    onset_low: int
    onset_high: int
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
    """Expected value and 95 % band of a single ordinary day (series, columns), natural scale, from earlier days."""

    expected: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Detection:
    """Judgement of the last ``width`` columns of a panel."""

    shifts: list[Shift]
    band: Band
    tested: NDArray[np.int64]


def detect(panel: Panel, width: int, false_discovery_rate: float, minimum_change: float) -> Detection:
    """Judge the last ``width`` days of a panel, each with the data up to it.

    Args:
        panel: N series x T days. ``LOOKBACK`` days before the first judged day are used where they exist.
        width: how many of the last days to judge, 1..T-1.
        false_discovery_rate: the accepted share of false reports among the reports of a day.
        minimum_change: smallest change reported, relative: 0.1 is 10 % of the expected count or odds.
    """
    stop = len(panel.days)
    start = stop - width
    if not 1 <= width < stop:
        raise ValueError(f"width must be 1..{stop - 1}, not {width}")
    scan = Scan(panel)
    first = max(start, OLDEST)  # before it no step has a past
    shifts: list[Shift] = []
    tested = np.zeros(width, dtype=np.int64)
    widen = np.ones((len(panel.series), width))
    if first < stop and panel.series:
        factors, blocks = inflation(scan, first, stop)
        widen[:, first - start :] = factors[0]
        steps = {days_ago: scan.step(days_ago, first, stop) for days_ago in range(1, OLDEST + 1)}
        lasting = {days_ago: scan.lasts(step, days_ago, first, stop) for days_ago, step in steps.items()}
        scores = np.stack([steps[days_ago].score for days_ago in LAGS]) / factors
        p = p_values(scores, blocks)
        for i, days_ago in enumerate(LAGS):
            if days_ago <= YOUNG:
                p[i] = np.maximum(p[i], ordinary(scan, steps[days_ago].size, days_ago, first, stop))
            p[i][~lasting[days_ago]] = 1.0
        judged: NDArray[np.bool_] = np.asarray(~np.isnan(scores).all(axis=0)) & panel.supported[:, first:stop]
        p[np.isnan(p)] = 1.0
        best = p.argmin(axis=0)
        smallest = np.minimum(1.0, EFFECTIVE_TESTS * p.min(axis=0))
        tested[first - start :] = judged.sum(axis=0)
        reports = _reports(smallest, judged, false_discovery_rate)
        for row, column, q in reports:
            place = (int(best[row, column]), row, column)
            onsets = _onsets(steps, row, column, LAGS[place[0]], float(factors[place]))
            if onsets.best > LONGEST:  # begun before the scan, and not yet followed by the level: no news
                continue
            if not lasting[onsets.best][row, column]:  # over: an average of many days may still stand out
                continue
            if abs(steps[onsets.best].size[row, column]) < np.log1p(minimum_change):
                continue
            shifts.append(
                _describe(
                    scan,
                    steps[onsets.best],
                    row,
                    column,
                    first,
                    onsets,
                    inflate=float(factors[place]),
                    degrees=float(blocks[place] + EXTRA_DEGREES),
                    score=float(scores[place]),
                    p=float(smallest[row, column]),
                    q=q,
                    tested=int(judged[:, column].sum()),
                )
            )
    return Detection(shifts, _band(scan, start, stop, widen), tested)


def _reports(p: Array, judged: NDArray[np.bool_], rate: float) -> list[tuple[int, int, float]]:
    """(row, column, q) of every rejection, by Benjamini and Hochberg within each column."""
    found = []
    for column in range(p.shape[1]):
        rows = np.flatnonzero(judged[:, column])
        if len(rows):
            q = stats.false_discovery_control(p[rows, column], method="bh")
            found += [(int(r), column, float(v)) for r, v in zip(rows, q, strict=True) if v <= rate]
    return found


@dataclass(frozen=True)
class _Onsets:
    """Days ago of the most likely onset, and of the latest and earliest that are nearly as likely."""

    best: int
    latest: int
    earliest: int


def _onsets(steps: dict[int, Step], row: int, column: int, near: int, inflate: float) -> _Onsets:
    """Onset by maximum likelihood over every lag, among steps of the direction that was reported."""
    sign = np.sign(steps[near].size[row, column])
    gains = np.full(OLDEST + 2, -np.inf)
    for days_ago, step in steps.items():
        size, error = step.size[row, column], step.error[row, column]
        if np.sign(size) == sign and np.isfinite(error):
            gains[days_ago] = 0.5 * float(size / error / inflate) ** 2
    best = int(gains.argmax())
    latest = earliest = best
    while gains[latest - 1] >= gains[best] - ONSET_LIKELIHOOD:
        latest -= 1
    while gains[earliest + 1] >= gains[best] - ONSET_LIKELIHOOD:
        earliest += 1
    return _Onsets(best, latest, earliest)


def _describe(
    scan: Scan, step: Step, row: int, column: int, first: int, onsets: _Onsets, *,
    inflate: float, degrees: float, score: float, p: float, q: float, tested: int,
) -> Shift:  # fmt: skip
    """The reported step on the natural scale, with its interval, in columns of the panel."""
    today = first + column
    seen = scan.seen[row]
    onset, earliest = today - onsets.best + 1, today - onsets.earliest + 1
    while not seen[onset]:
        onset += 1
    while onset > 1 and scan.spike(row, onset - 1) == np.sign(step.size[row, column]):
        onset -= 1  # a wild first day is set aside in the estimate, and belongs to the step all the same
    earliest = min(earliest, onset)
    while earliest > 0 and not seen[earliest - 1]:  # it may have begun in the days without data just before
        earliest -= 1
    steady = scan.kept[row].copy()
    steady[today] = True
    since = np.flatnonzero(steady[onset : today + 1]) + onset
    size = step.size[row, column]
    half = float(stats.t.ppf(0.975, degrees)) * step.error[row, column] * inflate
    with_step = float(np.mean((scan.base.value + scan.base.weekly)[row, since]))
    without = with_step - size
    observed, expected, low, high = scan.panel.only(row).natural(
        np.array([[with_step, without, without + size - half, without + size + half]])
    )[0]
    # Ratios are taken on the scale of the model: with half a thing (or a second) more on both sides, so that a change
    # from nothing has a size. A share or rate is compared with half a thing out of its denominator at least.
    plus = {Scale.COUNT: 0.5, Scale.MEAN: 1.0, Scale.PROPORTION: 0.0, Scale.RATE: 0.0}[
        Scale(int(scan.panel.scale[row]))
    ]
    exposure = float(np.mean(scan.panel.denominator[row, since]))
    base = max(float(expected) + plus, 0.5 / exposure if plus == 0.0 else plus)

    def change(value: float) -> float:
        return (value + plus) / base - 1.0

    return Shift(
        row=row, column=today, onset=onset, onset_low=earliest, onset_high=max(onset, today - onsets.latest + 1),
        days=len(since), expected=float(expected), observed=float(observed), change=change(float(observed)),
        low=change(float(low)), high=change(float(high)),
        numerator=float(np.mean(scan.panel.numerator[row, since] * scan.panel.size[row, since])),
        denominator=float(np.mean(scan.panel.denominator[row, since] * scan.panel.size[row, since])),
        exposure=exposure,
        score=score, p=p, q=q, tested=tested,
    )  # fmt: skip


def _band(scan: Scan, start: int, stop: int, widen: Array) -> Band:
    """What each of the columns was expected to be, and within which bounds an ordinary day would have been."""
    now, before = slice(start, stop), slice(start - 1, stop - 1)
    centre = scan.base.level[:, before] + scan.base.weekly[:, now]
    innovation = np.maximum(scan.base.innovation_sd[:, before], SMALLEST_SD)
    around = innovation**2 / (1.0 - scan.base.rho[:, now] ** 2)
    variance = np.maximum(around, scan.sampling_variance(scan.base.level[:, before], now))
    variance = np.maximum(variance, np.where(np.isnan(scan.panel.numerator[:, now]), 0.0, scan.panel.sampling[:, now]))
    half = 1.96 * np.sqrt(variance) * widen
    natural = scan.panel.natural
    return Band(natural(centre), natural(centre - half), natural(centre + half))
