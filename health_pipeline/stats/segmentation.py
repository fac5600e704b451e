"""Offline segmentation: where did the level, trend or noise of one finished series change?

The online detector decides with the data of the day; this module reads a whole history at once, for years of the past.
A segment is a constant or a straight line plus AR(1) noise with a variance of its own. All segments of a series share
the autocorrelation, which is fitted together with the changes: without it a drift looks like a staircase of steps.

Method: minimise, over all sets of changes and a grid of autocorrelations ρ,

    Σ over segments [ (m + ν) log((R + ν s) / (m + ν) + f) − ν log(s + f) − log(1 − ρ²) + k log m ]
        + 3 log n · (changes)

m observations of n; R the segment's generalised residual sum of squares under AR(1) noise that starts afresh, as a
constant (k = 2 parameters with the variance) or a line (k = 3), whichever costs less; s the innovations' variance that
the differences of the whole series imply, σ²(Δy)(1 + ρ)/2, to which ν = 8 imaginary observations pull each segment's
own: so that few observations that happen to lie on a line are no segment; f = (0.05 σ(y))²(1 − ρ²) the innovations'
variance of a noise of a twentieth of the series' standard deviation, which nothing is said to be more exact than: so
that a smooth curve is not cut into ever shorter lines. The minimum is exact (optimal partitioning, O(n²) in time, O(n)
in memory); the pruning of PELT assumes that cutting never raises the cost, which fails here.

Sources: Zhang and Siegmund (2007), A modified Bayes information criterion, for the form k log m + c log n of the
penalty; Jackson et al. (2005) for optimal partitioning; Killick et al. (2012) for PELT; Chakar et al. (2017), A robust
approach for estimating change-points in the mean of an AR(1) process. The constants were chosen on the Turing
Change Point Dataset, and matter little: see docs/segmentation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AUTOCORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)
LOCATION = 3.0
"""Price of a change, in units of log n, besides the parameters of its segment."""
PRIOR_STRENGTH = 8.0
"""Observations that the series' common innovation variance weighs in a segment's own."""
RESOLUTION = 0.05
"""Standard deviations of the whole series that nothing is told more exactly than."""
SHORTEST = 2
"""Observations of the shortest segment; its parameters would cost more than it explains long before that."""
SPIKE = 8.0
"""Robust standard deviations from the running median beyond which one or two observations count as missing."""
SPIKE_REACH = 2
RHYTHM_STRENGTH = 0.3
"""Share of the detrended variance that a rhythm must explain to be taken out."""
RHYTHM_PERIODS = 3
"""Full periods that a series must have before a rhythm is looked for."""
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Segment:
    """A stretch without a change.

    Attributes:
        start, end: columns, ``end`` exclusive. Segments tile the series.
        level: the fitted value in the middle, in the series' unit and without the rhythm.
        slope: per column; exactly 0 for a constant.
        variance: of the innovations, the noise of an observation given the one before; in the unit squared.
    """

    start: int
    end: int
    level: float
    slope: float
    variance: float

    def at(self, column: float) -> float:
        """The fitted line, without the rhythm."""
        return self.level + self.slope * (column - (self.start + self.end - 1) / 2)


@dataclass(frozen=True)
class Change:
    """A change between two segments.

    Attributes:
        column: the first column of the new segment.
        before, after: what the two segments' lines say about that column.
        gain: how much the penalised cost would rise without this change, in units of 2 log likelihood, penalty
            deducted: 0 is a toss-up, 10 is strong.
    """

    column: int
    before: float
    after: float
    gain: float


@dataclass(frozen=True)
class Segmentation:
    """What :func:`segment` found.

    Attributes:
        changes: in time order, one fewer than segments.
        segments: in time order.
        autocorrelation: ρ of the noise, one of AUTOCORRELATIONS.
        rhythm: (period,) taken out before, sums to 0; column c has the effect ``rhythm[c % period]``; empty if none.
        spikes: columns that were left out, one or two wild observations at a time.
    """

    changes: tuple[Change, ...]
    segments: tuple[Segment, ...]
    autocorrelation: float
    rhythm: Array
    spikes: tuple[int, ...]

    def fitted(self) -> Array:
        """(columns,) the lines plus the rhythm."""
        columns = np.arange(self.segments[-1].end)
        lines = np.concatenate(
            [s.level + s.slope * (columns[s.start : s.end] - (s.start + s.end - 1) / 2) for s in self.segments]
        )
        return lines + self.rhythm[columns % self.rhythm.size] if self.rhythm.size else lines


def segment(values: Array, period: int = 0) -> Segmentation:
    """Segment one series.

    Adding a constant or multiplying by a positive or negative one changes nothing but the levels.

    Args:
        values: (columns,) evenly spaced; NaN is a missing observation, and between observations the noise knows no
            gaps. Bring counts and other series whose noise grows with their level to the log scale before.
        period: columns of a possible rhythm, 7 for daily data; 0 for none. It is taken out only if it is clear.

    Raises:
        ValueError: values are not one-dimensional or infinite, or none is observed, or the period is 1 or negative.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"one series at a time: got {values.ndim} dimensions")
    if np.isinf(values).any():
        raise ValueError("infinite values cannot be segmented")
    if period < 0 or period == 1:
        raise ValueError(f"a period has at least 2 columns: {period}")
    seen = np.flatnonzero(~np.isnan(values))
    if seen.size == 0:
        raise ValueError("nothing is observed")
    rhythm = _rhythm(values, seen, period)
    flat = values[seen] - (rhythm[seen % period] if rhythm.size else 0.0)
    wild = _spikes(flat)
    spikes = tuple(int(column) for column in seen[wild])
    seen, calm = seen[~wild], flat[~wild]
    centre = float(np.median(calm))
    unit = float(np.sqrt(np.mean(np.diff(calm) ** 2))) if calm.size > 1 else 0.0
    if unit <= 1e-12 * float(np.max(np.abs(calm - centre), initial=0.0)) or calm.size < 2 * SHORTEST:
        unit = 0.0  # one segment: a constant, or too short to cut
    scaled = (calm - centre) / (unit or 1.0)
    times = seen / values.size
    cost, bounds = _Model(scaled, times, 0.0), [0, seen.size]
    if unit:
        models = [_Model(scaled, times, rho) for rho in AUTOCORRELATIONS]
        found = [_partition(model) for model in models]
        cheapest = min(range(len(models)), key=lambda k: found[k][0])
        cost, bounds = models[cheapest], found[cheapest][1]
    edges = [0, *(int(seen[b]) for b in bounds[1:-1]), values.size]
    segments = []
    for (a, b), (start, end) in zip(pairwise(bounds), pairwise(edges), strict=True):
        constant, slope, variance = cost.line(a, b)
        slope /= values.size
        level = constant + slope * ((start + end - 1) / 2)
        segments.append(Segment(start, end, centre + unit * level, unit * slope, unit**2 * variance))
    changes = []
    for k in range(1, len(bounds) - 1):
        left, here, right = bounds[k - 1 : k + 2]
        gain = cost.of(left, right) - cost.of(left, here) - cost.of(here, right) - cost.penalty
        column = edges[k]
        changes.append(Change(column, segments[k - 1].at(column), segments[k].at(column), gain))
    return Segmentation(tuple(changes), tuple(segments), cost.rho, rhythm, spikes)


class _Model:
    """Costs of all segments of a series under one autocorrelation, from cumulative sums."""

    def __init__(self, y: Array, t: Array, rho: float) -> None:
        self.n, self.rho = y.size, rho
        self.penalty = LOCATION * float(np.log(max(2, y.size)))
        self.common = (1 + rho) / 2  # of differences with mean square 1
        self.floor = RESOLUTION**2 * float(np.var(y)) * (1 - rho * rho)
        self.first = 1 - rho * rho  # weight of a segment's first observation, which has no predecessor
        one = np.ones_like(y)
        whole = (one * one, t, t * t, y, t * y, y * y)
        white = [np.concatenate([[0.0], v[1:] - rho * v[:-1]]) for v in (one, t, y)]
        pairs = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
        sums = np.zeros((6, self.n + 1))
        for row, (p, q) in enumerate(pairs):
            np.cumsum(white[p] * white[q], out=sums[row, 1:])
        self._sums = sums
        # What to subtract for a segment that starts at i: the sums before i + 1, plus its own first term.
        self._starts = self.first * np.array(whole) - sums[:, 1:]
        self._log = np.log(np.arange(1, self.n + 1, dtype=np.float64))

    def _moments(self, start: int | slice, end: int) -> tuple[Array, Array, Array, Array, Array]:
        """Generalised least squares of segments [start, end): 1'1, residuals of a constant and a line, and the line."""
        aa, at, tt, ay, ty, yy = self._sums[:, end, None] + self._starts[:, start].reshape(6, -1)
        constant = np.maximum(yy - ay * ay / aa, 0.0)
        spread = np.maximum(tt - at * at / aa, 1e-14)
        slope = (ty - at * ay / aa) / spread
        line = np.maximum(constant - slope * slope * spread, 0.0)
        return constant, line, slope, ay / aa, at / aa

    def row(self, end: int) -> Array:
        """Costs of the segments [0, end), [1, end), ... down to the shortest."""
        count = end - SHORTEST + 1
        constant, line = self._moments(slice(0, count), end)[:2]
        size = np.arange(end, end - count, -1)
        weight = size + PRIOR_STRENGTH
        prior = PRIOR_STRENGTH * self.common
        log_size = self._log[size - 1]
        cheaper = np.minimum(
            weight * np.log((constant + prior) / weight + self.floor),
            weight * np.log((line + prior) / weight + self.floor) + log_size,
        )
        fixed = -PRIOR_STRENGTH * np.log(self.common + self.floor) - np.log(self.first)
        costs: Array = cheaper + 2 * log_size + fixed
        return costs

    def of(self, start: int, end: int) -> float:
        """Cost of one segment."""
        return float(self.row(end)[start])

    def line(self, start: int, end: int) -> tuple[float, float, float]:
        """Constant, slope (per unit of t) and innovation variance of the form that costs less."""
        moments = self._moments(slice(start, start + 1), end)
        constant, line, slope, mean, mean_t = (float(m[0]) for m in moments)
        size = end - start
        weight, prior = size + PRIOR_STRENGTH, PRIOR_STRENGTH * self.common
        ratio = ((line + prior) / weight + self.floor) / ((constant + prior) / weight + self.floor)
        straight = weight * np.log(ratio) + np.log(size) < 0
        if not straight:
            return mean, 0.0, (constant + prior) / weight
        return mean - slope * mean_t, slope, (line + prior) / weight


def _partition(model: _Model) -> tuple[float, list[int]]:
    """The cheapest partition: its cost, and its bounds with 0 and n. Optimal partitioning."""
    best = np.full(model.n + 1, np.inf)
    best[0] = -model.penalty
    previous = np.zeros(model.n + 1, dtype=np.int64)
    for end in range(SHORTEST, model.n + 1):
        row = model.row(end)
        row += best[: row.size]
        previous[end] = start = int(row.argmin())
        best[end] = row[start] + model.penalty
    bounds = [model.n]
    while bounds[-1] > 0:
        bounds.append(int(previous[bounds[-1]]))
    return float(best[model.n]), bounds[::-1]


def _rhythm(values: Array, seen: NDArray[np.int64], period: int) -> Array:
    """(period,) medians of the phases' deviations from a centred moving average, or nothing if they explain little."""
    none = np.empty(0)
    if period == 0 or seen.size < RHYTHM_PERIODS * period:
        return none
    columns = np.arange(values.size)
    filled = np.interp(columns, seen, values[seen])
    weights = np.ones(period + 1 - period % 2)
    if period % 2 == 0:
        weights[[0, -1]] = 0.5
    half = weights.size // 2
    inner = columns[half : values.size - half]
    inner_seen = np.isin(inner, seen)
    deviation = (filled[inner] - np.convolve(filled, weights / period, "valid"))[inner_seen]
    phase = inner[inner_seen] % period
    if np.unique(phase).size < period:
        return none
    rhythm = np.array([np.median(deviation[phase == p]) for p in range(period)])
    rhythm -= rhythm.mean()
    total = float(np.var(deviation))
    if total == 0.0 or 1 - float(np.var(deviation - rhythm[phase])) / total < RHYTHM_STRENGTH:
        return none
    return rhythm


def _spikes(y: Array) -> NDArray[np.bool_]:
    """Which observations are over SPIKE robust standard deviations off the running median of five: Hampel's identifier.

    One or two wild observations are not a segment. The scale is at least a quarter of the root mean square of the 95 %
    smallest deviations: of a series that mostly stands still the median deviation says nothing. The ends are continued
    point-symmetrically, so that a trend does not end in spikes; whether the very last value is one, time must tell.
    """
    width = 2 * SPIKE_REACH + 1
    if y.size < width:
        return np.zeros(y.size, dtype=np.bool_)
    padded = np.pad(y, SPIKE_REACH, mode="reflect", reflect_type="odd")
    off = np.abs(y - np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1))
    squares = np.minimum(off * off, np.quantile(off * off, 0.95))
    scale = max(MAD_TO_SD * float(np.median(off)), 0.25 * float(np.sqrt(squares.mean())))
    wild: NDArray[np.bool_] = off > max(SPIKE * scale, RESOLUTION * float(np.std(y)))
    return wild
