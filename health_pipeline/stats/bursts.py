"""Bursts: values that many more creators use in the last days than their past, the season and the noise let expect.

A *value* is a word, a hashtag, a product or a sound. Its count is the number of distinct creators who used it in a
window of some days: one busy account is one. Values are compared by their share of all pairs of creator and value, so
that a day on which everybody posts more lifts nothing (the multinomial of B. L. Monroe, M. P. Colaresi, K. M. Quinn:
Fightin' words, *Political Analysis* 16, 2008). For a value i in a window ending on day t

* the **baseline** is the windows that ended a week and more before, older ones counting less: Y_i of N pairs;
* the **informative Dirichlet prior** adds A π_i to Y_i and A to N, with π_i the value's share over all markets; A is
  learned from how well the past was predicted;
* the **season** multiplies by what the same weekdays had against the other days, shrunk to 1 as the past tells;
* the **day** multiplies by what all values of similar frequency have in common in this market on this day;
* the count is then gamma-Poisson with mean μ_i: 1 / shape = 1 / (Y_i + A π_i) for what is not known of the share, + φ
  for what is known to wobble; φ is learned from the past by frequency, from likelihoods in which no single value weighs
  much;
* the p-value is the exact upper tail of that law, p^θ with θ ≤ 1 where the past's tails were heavier; for a value
  without any history it is the tail of a logarithmic series, as for new species (R. A. Fisher, A. S. Corbet, C. B.
  Williams, *Journal of Animal Ecology* 12, 1943), no lighter than past new values had.

False discoveries are controlled over the whole vocabulary and over days (:mod:`.discovery`), each kind of value having
the same part in them. The days before are judged again with what is known now, so that an answer needs no state but the
counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.discovery import Memory

WINDOW = 3  # days
BEHIND = 7  # between the end of the newest window of the baseline and the end of the judged one: whole weeks
HALF_LIFE = 28.0  # days after which a window of the baseline counts half
LEAST = 3  # creators without whom nothing is a burst
LEAST_PAST = 14  # days of baseline without which nothing is judged
TAUGHT_BEHIND = 14  # days between the newest window that teaches and the judged day: a burst is not its own excuse
REPLAYED = 28  # days judged again for the memory of false discoveries
QUIET = 7  # days after which a value that bursts again is a new burst

BANDS = np.array([0.1, 1.0, 10.0])  # of expected creators, in which φ and θ are learned
DAY_BANDS = np.array([1.0, 10.0, 100.0])  # in which a day's common factor is estimated
DAY_WEIGHT = 50.0  # creators' worth of "this day is like every other" in each of them
DISPERSIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)
STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # of the prior, as a share of the baseline's pairs
RHYTHMS = (1.0, 3.0, 10.0, 30.0, 100.0, 1e6)  # weight of "no weekday differs", in creators
SAMPLE = 4_000  # past counts per band from which φ is learned
GUARD_LEVEL, GUARD_COUNT = 1e-3, 30  # where past tails are compared with the law, and the fewest counts for that
HALF = 0.5  # creator in the prior of every value, so that the log-odds of a new one are finite
TERMS = 100  # of the logarithmic series that are added up
NEW_WEIGHT = 20.0  # new values' worth of "new values spread as a steady vocabulary's would"


@dataclass(frozen=True)
class Family:
    """Values of one kind, each in its scopes: a market, or all of them.

    Attributes:
        counts: (R, D); distinct creators who used the value in the window that ends on each day, without holes.
        scope: R; which scope the row's counts are of.
        parent: R; the row of the same value over all markets, -1 for those rows themselves.
    """

    counts: Array
    scope: NDArray[np.int64]
    parent: NDArray[np.int64]


@dataclass(frozen=True)
class Bursts:
    """Judgement of the last day, a row per row of the family.

    Attributes:
        count, expected: creators in the last window, and those expected.
        log_odds: natural log of the odds against those expected, with the prior's counts on both sides.
        z: log_odds over its standard error.
        p, q: NaN where nothing is to be judged: the value is not there and never was.
        new: not seen in the baseline.
        found: q at most the accepted rate, and at least :data:`LEAST` creators.
        since: days ago that the burst was found first, 0 for today, -1 where there is none.
    """

    count: Array
    expected: Array
    log_odds: Array
    z: Array
    p: Array
    q: Array
    new: NDArray[np.bool_]
    found: NDArray[np.bool_]
    since: NDArray[np.int64]


@dataclass(frozen=True)
class Lesson:
    """What the past of a family taught.

    Attributes:
        strength: A, as a share of the baseline's pairs.
        rhythm: weight of "no weekday differs".
        dispersion: (bands,) φ.
        guard: (bands,) θ.
        spread: of new values; a factor on the parameter of their logarithmic series.
    """

    strength: float = 0.003
    rhythm: float = 1e6
    dispersion: Array = field(default_factory=lambda: np.full(len(BANDS) + 1, 0.3))
    guard: Array = field(default_factory=lambda: np.ones(len(BANDS) + 1))
    spread: float = 1.0


def window_counts(
    row: NDArray[np.int64], creator: NDArray[np.int64], day: NDArray[np.int64], rows: int, days: int,
    window: int = WINDOW,
) -> Array:  # fmt: skip
    """Distinct creators of each row in the windows that end on each day, (rows, days).

    Args:
        row, creator, day: one entry per use; repeated entries count once.
    """
    creators = int(creator.max(initial=0)) + 1
    key = np.sort((row * creators + creator) * days + day)
    key = key[np.diff(key, prepend=-1) > 0]
    pair, day = np.divmod(key, days)
    row = pair // creators
    # A use counts in the windows up to the same creator's next use, which counts in those after it.
    until = np.full(len(key), window)
    again = pair[1:] == pair[:-1]
    until[:-1][again] = np.minimum(np.diff(day)[again], window)
    wide = days + window
    begun = np.bincount(row * wide + day, minlength=rows * wide)
    ended = np.bincount(row * wide + day + until, minlength=rows * wide)
    counts = np.cumsum((begun - ended).reshape(rows, wide), axis=1, dtype=np.float64)
    return np.ascontiguousarray(counts[:, :days])


def judge(families: Sequence[Family], rate: float = 0.05) -> list[Bursts]:
    """Bursts on the last day, with false discoveries controlled over all families together and over days.

    The days before are judged as well, as far as there is a past to judge them by. With less than
    :data:`LEAST_PAST` days of baseline nothing is judged.

    Args:
        rate: accepted share of false bursts among the bursts found.
    """
    days = families[0].counts.shape[1]
    if days <= _earliest():
        return [_unjudged(f) for f in families]
    newest = [_Past(f) for f in families]
    lessons = [learn(f, past) for f, past in zip(families, newest, strict=True)]
    memory = Memory(rate)
    last = np.full(sum(len(f.scope) for f in families), -1000)
    first = np.full(len(last), -1)
    found = np.zeros(len(last), dtype=bool)
    p = q = np.full(len(last), np.nan)
    for t in range(max(_earliest(), days - REPLAYED), days):
        of_kind = [_p_values(past, lesson, t) for past, lesson in zip(newest, lessons, strict=True)]
        p = np.concatenate(of_kind)
        weighted = np.concatenate(_alike(of_kind))
        under_way = t - last <= QUIET
        q = memory.judge(weighted, under_way)
        found = q <= rate
        first[found & ~under_way] = t
        last[found] = t
    ends = np.cumsum([0, *(len(f.scope) for f in families)])
    return [
        _bursts(past, lesson, days - 1, p[a:b], q[a:b], found[a:b], np.where(found, days - 1 - first, -1)[a:b])
        for past, lesson, a, b in zip(newest, lessons, ends[:-1], ends[1:], strict=True)
    ]


def _alike(of_kind: Sequence[Array]) -> list[Array]:
    """p-values weighted so that each family has the same part of the accepted errors, however many values it has.

    The share of false bursts in the whole stays what was accepted (C. R. Genovese, K. Roeder, L. Wasserman: False
    discovery control with p-value weighting, *Biometrika* 93, 2006); a few hundred hashtags do not pay for a hundred
    thousand words.
    """
    sizes = np.array([np.sum(~np.isnan(p)) for p in of_kind])
    if not sizes.any():  # after weeks of silence
        return list(of_kind)
    share = sizes.sum() / max(int(np.sum(sizes > 0)), 1)
    return [np.minimum(p * (size / share), 1.0) for p, size in zip(of_kind, sizes, strict=True)]


def learn(family: Family, past: _Past | None = None) -> Lesson:
    """What windows that ended two weeks and more ago teach of a family, each judged by what came before it."""
    past = past or _Past(family)
    days = family.counts.shape[1]
    ends = range(days - 1 - TAUGHT_BEHIND, _earliest() - 1, -WINDOW)
    if not len(ends):
        return Lesson()
    rng = np.random.default_rng(0)  # which past counts are looked at must not change from run to run
    seen = [_sample(past, t, rng, SAMPLE * (len(BANDS) + 1) // len(ends)) for t in ends]

    def likelihood(strength: float, rhythm: float) -> float:
        total = 0.0
        for t, at in zip(ends, seen, strict=True):
            mean, shape, _ = past.predict(t, Lesson(strength, rhythm))
            total += float(_censored(past.counts[at, t], mean[at], shape[at], 0.3).sum())
        return total

    strength = max(STRENGTHS, key=lambda s: likelihood(s, RHYTHMS[-1]))
    rhythm = max(RHYTHMS, key=lambda r: likelihood(strength, r))
    lesson = Lesson(strength, rhythm)
    predicted = {t: past.predict(t, lesson) for t in ends}
    count = np.concatenate([past.counts[at, t] for t, at in zip(ends, seen, strict=True)])
    mean = np.concatenate([predicted[t][0][at] for t, at in zip(ends, seen, strict=True)])
    shape = np.concatenate([predicted[t][1][at] for t, at in zip(ends, seen, strict=True)])
    dispersion = _dispersion(count, mean, shape, rng)
    guard = _guard(past, predicted, dispersion, rng)
    return Lesson(strength, rhythm, dispersion, guard, _spread(past, ends))


class _Past:
    """Sums over the windows of a family's past, for every day."""

    def __init__(self, family: Family) -> None:
        self.counts, self.scope, self.parent = family.counts, family.scope, family.parent
        scopes = int(family.scope.max(initial=0)) + 1
        self.pairs = np.zeros((scopes, self.counts.shape[1]))
        np.add.at(self.pairs, family.scope, family.counts)
        self._every, self._pairs_every = (_summed(c, WINDOW) for c in (self.counts, self.pairs))
        self._weekly, self._pairs_weekly = (_summed(c, 7) for c in (self.counts, self.pairs))
        self._ever = _summed(self.pairs, WINDOW, fading=False)
        self.top = np.where(self.parent < 0, np.arange(len(self.scope)), self.parent)

    def baseline(self, t: int) -> tuple[Array, Array]:
        """(R,) counts and pairs of the windows that end a week and more before day ``t``."""
        return self._every[:, t - BEHIND], self._pairs_every[self.scope, t - BEHIND]

    def ratio(self, t: int) -> Array:
        """(R,) the pairs of the window that ends on ``t`` over those of its baseline."""
        return np.asarray(self.pairs[self.scope, t] / np.maximum(self.baseline(t)[1], 1.0))

    def ratio_ever(self, t: int) -> Array:
        """(R,) the same with a baseline in which nothing fades: a value was never in it."""
        return np.asarray((self.pairs[:, t] / np.maximum(self._ever[:, t - BEHIND], 1.0))[self.scope])

    def predict(self, t: int, lesson: Lesson) -> tuple[Array, Array, Array]:
        """(R,) expected creators in the window that ends on ``t``, shape of its posterior, counts of the prior."""
        past, pairs = self.baseline(t)
        pairs = np.maximum(pairs, 1.0)
        above = past[self.top] / pairs[self.top]
        flat = 1.0 / max(int(np.sum(self.parent < 0)), 1)
        prior = lesson.strength * pairs * np.where(self.parent < 0, flat, above)
        share = (past + prior) / (pairs * (1.0 + lesson.strength))
        weekly, weekly_pairs = self._weekly[:, t - BEHIND], self._pairs_weekly[self.scope, t - BEHIND]
        share *= (weekly + lesson.rhythm) / (share * weekly_pairs + lesson.rhythm)
        mean = share * self.pairs[self.scope, t]
        mean *= self._day(t, mean)
        return np.maximum(mean, 1e-12), past + prior, prior

    def _day(self, t: int, mean: Array) -> Array:
        """(R,) what values of similar frequency have in common on day ``t``; those that stand out have no vote."""
        band = self.scope * (len(DAY_BANDS) + 1) + np.searchsorted(DAY_BANDS, mean)
        seen = self.counts[:, t]
        votes = (seen <= mean + 4.0 * np.sqrt(mean + 0.3 * mean**2) + 2.0) & (self._every[:, t - BEHIND] > 0)
        size = int(band.max(initial=0)) + 1
        real = np.bincount(band, np.where(votes, seen, 0.0), size)
        hoped = np.bincount(band, np.where(votes, mean, 0.0), size)
        return np.asarray(((real + DAY_WEIGHT) / (hoped + DAY_WEIGHT))[band])


def _earliest() -> int:
    return WINDOW - 1 + LEAST_PAST + BEHIND


def _summed(counts: Array, step: int, fading: bool = True) -> Array:
    """Sum of the windows that end on a day, ``step`` days before, twice that, ..., older ones counting less."""
    total = counts.copy()
    kept = 0.5 ** (step / HALF_LIFE) if fading else 1.0
    for t in range(step, counts.shape[1]):
        total[:, t] += kept * total[:, t - step]
    return total


def _tail(count: Array, mean: Array, shape: Array, dispersion: Array | float) -> Array:
    """P(Y ≥ count) of the gamma-Poisson law; exact to the smallest numbers there are."""
    size = 1.0 / (1.0 / np.maximum(shape, 1e-9) + dispersion)
    return np.where(count <= 0, 1.0, special.betainc(np.maximum(count, 1.0), size, mean / (mean + size)))


def _log_mass(count: Array, mean: Array, size: Array) -> Array:
    return np.asarray(
        special.gammaln(count + size) - special.gammaln(size) - special.gammaln(count + 1.0)
        + size * np.log(size / (size + mean)) + special.xlogy(count, mean / (size + mean))
    )  # fmt: skip


def _censored(count: Array, mean: Array, shape: Array, dispersion: float, cap: Array | None = None) -> Array:
    """Log-likelihood of past counts, of which the very large only say that they are."""
    cap = _caps(mean, shape, 0.3) if cap is None else cap
    size = 1.0 / (1.0 / shape + dispersion)
    log_mass = _log_mass(np.minimum(count, cap), mean, size)
    large = count >= cap
    log_mass[large] = np.log(np.maximum(_tail(cap[large], mean[large], shape[large], dispersion), 1e-12))
    return log_mass


def _caps(mean: Array, shape: Array, dispersion: float) -> Array:
    """Counts beyond four standard deviations."""
    return np.ceil(mean + 4.0 * np.sqrt(mean + mean**2 * (1.0 / shape + dispersion))) + 2.0


def _sample(past: _Past, t: int, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Rows with a baseline, of each frequency about as many."""
    base, _ = past.baseline(t)
    band = np.where(base > 0, np.searchsorted(BANDS, base * past.ratio(t)), -1)
    chosen = [np.flatnonzero(band == b) for b in range(len(BANDS) + 1)]
    most = max(size // (len(BANDS) + 1), 1)
    return np.concatenate([rng.choice(c, most, replace=False) if len(c) > most else c for c in chosen])


def _dispersion(count: Array, mean: Array, shape: Array, rng: np.random.Generator) -> Array:
    """φ of every band; bands with few counts take that of all."""
    band = np.searchsorted(BANDS, mean)

    def fitted(at: NDArray[np.int64]) -> float:
        best = 0.3
        if len(at) > SAMPLE:
            at = rng.choice(at, SAMPLE, replace=False)
        for _ in range(2):  # the cap follows what is learned
            cap = _caps(mean[at], shape[at], best)
            best = max(DISPERSIONS, key=lambda f: float(_censored(count[at], mean[at], shape[at], f, cap).sum()))
        return best

    everything = fitted(np.arange(len(count))) if len(count) >= 100 else 0.3
    of_band = [np.flatnonzero(band == b) for b in range(len(BANDS) + 1)]
    return np.array([fitted(at) if len(at) >= 300 else everything for at in of_band])


def _guard(
    past: _Past, predicted: dict[int, tuple[Array, Array, Array]], dispersion: Array, rng: np.random.Generator
) -> Array:
    """θ of every band: past p-values p^θ are at most 0.001 as often as they should.

    p-values are drawn uniformly between P(Y > y) and P(Y ≥ y), which makes them uniform whatever the mean. A few true
    bursts of the past move a quantile little.
    """
    drawn: list[Array] = []
    bands: list[NDArray[np.int64]] = []
    for t, (mean, shape, _) in predicted.items():
        at = np.flatnonzero(past.baseline(t)[0] > 0)
        band = np.searchsorted(BANDS, mean[at])
        count, p = past.counts[at, t], np.ones(len(at))
        high = np.flatnonzero((count > mean[at]) & (count > 0))
        one = [_tail(count[high] + k, mean[at][high], shape[at][high], dispersion[band[high]]) for k in (0.0, 1.0)]
        p[high] = one[1] + rng.random(len(high)) * (one[0] - one[1])
        drawn.append(p)
        bands.append(band)
    p, band = np.concatenate(drawn), np.concatenate(bands)

    def theta(p: Array) -> float:
        k = max(int(GUARD_LEVEL * len(p)), GUARD_COUNT)
        if len(p) < 10 * GUARD_COUNT:
            return 1.0
        smallest = float(np.partition(p, k - 1)[k - 1])
        level = k / len(p)
        return float(np.clip(np.log(level) / np.log(max(smallest, 1e-300)), 0.2, 1.0)) if smallest < level else 1.0

    everything = theta(p)
    own = [p[band == b] for b in range(len(BANDS) + 1)]
    return np.array([theta(x) if len(x) >= 10 * GUARD_COUNT else everything for x in own])


def _log_series_tail(count: Array, x: Array) -> Array:
    """P(Y ≥ count | Y ≥ 1) of the logarithmic series with parameter x; from :data:`TERMS` on an upper bound."""
    k = np.arange(TERMS, 0, -1)[:, None]  # from the far end, so that small tails keep their digits
    beyond = np.exp((TERMS + 1) * np.log(x)) / ((TERMS + 1) * (1.0 - x))
    tails = np.cumsum(np.concatenate([beyond[None], np.exp(k * np.log(x)) / k]), axis=0)[::-1]
    at = np.clip(count.astype(np.int64) - 1, 0, TERMS)
    tail = np.where(count <= TERMS, tails[at, np.arange(len(x))], np.exp(count * np.log(x)) / (count * (1.0 - x)))
    return np.minimum(tail / -np.log1p(-x), 1.0)


def _new_x(past: _Past, t: int, spread: float) -> Array:
    """(R,) parameter of the logarithmic series of values that the baseline has not."""
    ratio = past.ratio_ever(t)
    return np.clip(spread * ratio / (1.0 + ratio), 1e-4, 0.999)


def _spread(past: _Past, ends: Sequence[int]) -> float:
    """Factor on the parameter of the logarithmic series with which it is nowhere lighter than past new values were."""
    counts = [past.counts[:, t][(past.baseline(t)[0] == 0) & (past.counts[:, t] > 0)] for t in ends]
    count = np.concatenate(counts)
    if not len(count):
        return 1.0
    steady = float(np.median(np.concatenate([past.ratio_ever(t)[:1] for t in ends])))
    if not steady > 0:  # nothing was published on most of these days: they teach nothing of how new values spread
        return 1.0
    factors = np.geomspace(1.0, 0.999 * (1.0 + steady) / steady, 60)
    x = factors * steady / (1.0 + steady)
    needed = 1.0
    for k in range(2, int(count.max()) + 1):
        reached = float(np.sum(count >= k))
        if reached < 3:
            break
        model = _log_series_tail(np.full(len(x), float(k)), x)
        real = (reached + NEW_WEIGHT * model[0]) / (len(count) + NEW_WEIGHT)
        needed = max(needed, float(factors[min(int(np.searchsorted(model, real)), len(factors) - 1)]))
    return needed


def _p_values(past: _Past, lesson: Lesson, t: int) -> Array:
    """(R,) p-values of a day; NaN where a value is neither there nor in the baseline, 1 where too few creators are."""
    base, _ = past.baseline(t)
    count = past.counts[:, t]
    p = np.where((base > 0) | (count > 0), 1.0, np.nan)
    many = np.flatnonzero(count >= LEAST)
    if not len(many):
        return p
    mean, shape, _ = (a[many] for a in past.predict(t, lesson))
    band = np.searchsorted(BANDS, mean)
    known = _tail(count[many], mean, shape, lesson.dispersion[band]) ** lesson.guard[band]
    new = _log_series_tail(count[many], _new_x(past, t, lesson.spread)[many])
    # A value that is new here may be common elsewhere: then the prior knows.
    p[many] = np.where(base[many] > 0, known, np.maximum(known, new))
    return p


def _unjudged(family: Family) -> Bursts:
    rows = len(family.scope)
    nothing, no = np.full(rows, np.nan), np.zeros(rows, dtype=bool)
    return Bursts(family.counts[:, -1], nothing, nothing, nothing, nothing, nothing, no, no, np.full(rows, -1))


def _bursts(
    past: _Past, lesson: Lesson, t: int, p: Array, q: Array, found: NDArray[np.bool_], since: NDArray[np.int64]
) -> Bursts:
    count, pairs = past.counts[:, t], past.pairs[past.scope, t]
    mean, shape, prior = past.predict(t, lesson)
    expected = np.minimum(mean, pairs / 2.0)
    prior = prior + HALF
    now, then = count + prior, expected + prior
    whole = pairs + lesson.strength * np.maximum(past.baseline(t)[1], 1.0)
    log_odds = np.log(now / np.maximum(whole - now, HALF)) - np.log(then / np.maximum(whole - then, HALF))
    dispersion = lesson.dispersion[np.searchsorted(BANDS, mean)]
    error = np.sqrt(1.0 / now + 1.0 / (shape + HALF) + dispersion)
    return Bursts(count, expected, log_odds, log_odds / error, p, q, past.baseline(t)[0] == 0, found, since)
