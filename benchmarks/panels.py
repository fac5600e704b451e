"""Panels for the studies of the detector: noise without any shift, noise with planted shifts, and the peer's ground.

Everything is drawn for all series at once from one seed, so a panel is the same on every machine with the same NumPy.

What the noise is made of, on the log scale of the mean (counts) or of the odds (rates), series by series:

* **level**: means log-uniform between 5 and 1,000 events a day; rates have a share log-uniform between 1 and 10 %, and
  a denominator (with a rhythm and day-to-day changes of its own) that gives as many events.
* **rhythm**: a weekday profile, sd 15 % (rates: 5 %).
* **overdispersion**: counts are negative binomial with variance 1 to 2 times the mean, on top of the noise below.
* **autocorrelation**: AR(1), sd 3 to 12 %, rho 0 to 0.7. In the stress kinds its innovations follow t(4).
* **drift**: a random walk of 0 to 0.8 % a day, smoothed over four weeks.
* **own campaigns**: single days 10 to 35 % up, on average every fortnight, on days of the series' own.
* **shared campaigns**: about once in 25 days a cohort (of some hundred series) has a campaign of 1 to 3 days that lifts all
  its series by 20 to 100 %, each by up to a quarter more or less than that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.panel import Panel, Scale

Array = NDArray[np.float64]

DAYS = 180
FIRST = 63  # first judged day: nine weeks of past
MONDAY = np.datetime64("2024-01-01")
COHORT = 100  # series of a cohort
PEER_WEEK = np.array([0.90, 0.95, 0.95, 1.0, 1.05, 1.15, 1.0])


@dataclass(frozen=True)
class Recipe:
    """Which parts of the noise a panel has."""

    rates: bool = False
    rhythm: bool = True
    overdispersed: bool = True
    autocorrelated: bool = True
    drift: bool = True
    own: bool = False
    shared: bool = False
    heavy: bool = False
    mean: float | None = None  # events a day of every series, instead of 5 to 1,000


PLAIN = Recipe(rhythm=False, overdispersed=False, autocorrelated=False, drift=False)
NULLS: dict[str, Recipe] = {
    "plain Poisson": PLAIN,
    "counts: rhythm, overdispersion": Recipe(autocorrelated=False, drift=False),
    "counts: and AR(1)": Recipe(drift=False),
    "counts: and drift": Recipe(),
    "counts: and own campaigns": Recipe(own=True),
    "counts: and shared campaigns": Recipe(shared=True),
    "counts, stress: t(4) innovations": Recipe(heavy=True),
    "plain binomial": dataclasses.replace(PLAIN, rates=True),
    "rates: rhythm": Recipe(rates=True, overdispersed=False, autocorrelated=False, drift=False),
    "rates: and AR(1)": Recipe(rates=True, drift=False),
    "rates: and drift": Recipe(rates=True),
    "rates: and own campaigns": Recipe(rates=True, own=True),
    "rates: and shared campaigns": Recipe(rates=True, shared=True),
    "rates, stress: t(4) innovations": Recipe(rates=True, heavy=True),
}


@dataclass(frozen=True)
class Planted:
    """What a planted shift is. ``change`` of a slope is per day, of a spike that of its single day."""

    kind: str
    change: float

    def __str__(self) -> str:
        said = f"{self.change:+.0%}".replace("-", "−")
        return f"{self.kind} {said}" + (" a day" if self.kind == "slope" else "")

    def effect(self, days: int) -> Array:
        """Log effect on each day since onset."""
        size = float(np.log1p(self.change))
        if self.kind == "slope":
            return size * np.arange(1, days + 1)
        return np.where(np.arange(days) < (1 if self.kind == "spike" else days), size, 0.0)


PLANTED = (
    *(Planted("level", change) for change in (0.1, 0.2, 0.5, 1.0, -0.3)),
    Planted("spike", 1.0),
    Planted("slope", 0.02),
)


@dataclass(frozen=True)
class Truth:
    """The planted shifts, one per element.

    Attributes:
        row, onset: series and column of its first day.
        planted: index into the panel's ``shifts``.
        effect: on the log scale (of the mean, or of the odds), of the first day; slopes go on by as much a day.
        change: the same on the natural scale, of a level or spike: mean or share with it over without it, less 1.
    """

    row: NDArray[np.int64]
    onset: NDArray[np.int64]
    planted: NDArray[np.int64]
    effect: Array
    change: Array


NOTHING = Truth(
    np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64), np.zeros(0)
)


@dataclass(frozen=True)
class Made:
    """A drawn panel, its series' cohorts (N), and what was planted in it."""

    panel: Panel
    cohort: NDArray[np.int64]
    truth: Truth = NOTHING
    shifts: tuple[Planted, ...] = ()

    @cached_property
    def with_cohorts(self) -> Panel:
        """The panel that says which series share days."""
        return dataclasses.replace(self.panel, cohort=self.cohort)


def null(recipe: Recipe, series: int, days: int = DAYS, seed: int = 7) -> Made:
    """A panel of noise without any shift."""
    rng = np.random.default_rng(seed)
    cohort = np.arange(series) // COHORT
    return Made(_observe(rng, recipe, _ground(rng, recipe, cohort, days), days), cohort)


def planted(
    recipe: Recipe, series: int = 2000, share: float = 0.1, days: int = DAYS, seed: int = 23,
    shifts: tuple[Planted, ...] = PLANTED, onsets: tuple[int, int] = (FIRST + 14, DAYS - 30),
) -> Made:  # fmt: skip
    """A panel in which a ``share`` of the series, drawn at random, shifts once, the kinds of shift in turn.

    Args:
        recipe: noise of the panel; its ``mean`` is every series' mean.
        onsets: columns between which the first day is drawn, the second excluded.
    """
    rng = np.random.default_rng(seed)
    cohort = np.arange(series) // COHORT
    ground = _ground(rng, recipe, cohort, days)
    row = np.sort(rng.choice(series, size=round(share * series), replace=False))
    onset = rng.integers(*onsets, size=len(row))
    which = rng.permutation(len(row)) % len(shifts)
    effect = np.array([np.log1p(s.change) for s in shifts])[which]
    odds = np.exp(ground.level[row])
    change = np.expm1(effect)
    if recipe.rates:
        change = (1.0 + change) * (1.0 + odds) / (1.0 + odds * (1.0 + change)) - 1.0
    for r, o, w in zip(row, onset, which, strict=True):
        ground.log[r, o:] += shifts[w].effect(days - o)
    return Made(_observe(rng, recipe, ground, days), cohort, Truth(row, onset, which, effect, change), shifts)


def peer(change: float, series: int = 200, days: int = DAYS, seed: int = 101) -> Made:
    """The nearest peer's ground: Poisson, mean 100 x weekday profile; a level from a day drawn in 120 to 149, or none."""
    rng = np.random.default_rng(seed)
    mean = np.tile(100.0 * PEER_WEEK[np.arange(days) % 7], (series, 1))
    onset = rng.integers(120, 150, size=series)
    truth = NOTHING
    if change:
        mean *= np.where(np.arange(days) >= onset[:, None], 1.0 + change, 1.0)
        effect = np.full(series, np.log1p(change))
        truth = Truth(np.arange(series), onset, np.zeros(series, np.int64), effect, np.expm1(effect))
    observed = rng.poisson(mean).astype(float)
    return Made(counted(observed, np.ones_like(observed)), np.full(series, -1), truth,
                (Planted("level", change),) if change else ())  # fmt: skip


def autoregressive(innovations: Array, rho: Array) -> Array:
    """AR(1) noise (series, days) of the innovations' own variance, in place."""
    keep = np.sqrt(1.0 - rho**2)
    for day in range(1, innovations.shape[1]):
        innovations[:, day] *= keep
        innovations[:, day] += rho * innovations[:, day - 1]
    return innovations


@dataclass(frozen=True)
class _Ground:
    """Series' level (N) and their log mean or log odds (N, T), without sampling; denominators (N, T) of rates."""

    level: Array
    log: Array
    denominator: Array


def _ground(rng: np.random.Generator, recipe: Recipe, cohort: NDArray[np.int64], days: int) -> _Ground:
    series = len(cohort)
    shape = (series, days)
    if recipe.mean is None:
        mean = np.exp(rng.uniform(np.log(5.0), np.log(1000.0), series))
    else:
        mean = np.full(series, recipe.mean)
    level, denominator = np.log(mean), np.ones(shape)
    if recipe.rates:
        share = np.exp(rng.uniform(np.log(0.01), np.log(0.1), series))
        level = np.log(share) - np.log1p(-share)
        size = np.log(mean / share)[:, None] + 0.1 * rng.normal(size=shape)
        size += 0.15 * rng.normal(size=(series, 7))[:, np.arange(days) % 7]
        denominator = np.maximum(np.round(np.exp(size)), 1.0)
    log = np.repeat(level[:, None], days, axis=1)
    if recipe.rhythm:
        log += (0.05 if recipe.rates else 0.15) * rng.normal(size=(series, 7))[:, np.arange(days) % 7]
    if recipe.autocorrelated:
        innovations = rng.standard_t(4, shape) / np.sqrt(2.0) if recipe.heavy else rng.normal(size=shape)
        innovations *= rng.uniform(0.03, 0.12, series)[:, None]
        log += autoregressive(innovations, rng.uniform(0.0, 0.7, series))
    if recipe.drift:
        log += _drift(rng, series, days)
    if recipe.own:
        log += np.where(rng.random(shape) < 1 / 14, np.log1p(rng.uniform(0.1, 0.35, shape)), 0.0)
    if recipe.shared:
        log += _shared(rng, cohort, days)
    return _Ground(level, log, denominator)


def _drift(rng: np.random.Generator, series: int, days: int, smooth: int = 28) -> Array:
    """A random walk, averaged over four weeks and zero on average."""
    steps = rng.normal(size=(series, days + smooth)) * rng.uniform(0.0, 0.008, series)[:, None]
    total = np.cumsum(np.cumsum(steps, axis=1), axis=1)
    walk = (total[:, smooth:] - total[:, :-smooth]) / smooth
    return walk - walk.mean(axis=1, keepdims=True)


def _shared(rng: np.random.Generator, cohort: NDArray[np.int64], days: int) -> Array:
    """Campaigns that all series of a cohort have, each to its own extent."""
    cohorts = int(cohort.max()) + 1
    common = np.zeros((cohorts, days))
    for place, day in zip(*np.nonzero(rng.random((cohorts, days)) < 1 / 25), strict=True):
        common[place, day : day + int(rng.integers(1, 4))] = np.log1p(rng.uniform(0.2, 1.0))
    extent = rng.uniform(0.75, 1.25, (len(cohort), days))
    return common[cohort] * extent


def _observe(rng: np.random.Generator, recipe: Recipe, ground: _Ground, days: int) -> Panel:
    if recipe.rates:
        odds = np.exp(ground.log)
        observed = rng.binomial(ground.denominator.astype(np.int64), odds / (1.0 + odds)).astype(float)
        return counted(observed, ground.denominator, Scale.PROPORTION)
    mean = np.exp(ground.log)
    if recipe.overdispersed:
        # Negative binomial of variance phi times the mean: a Poisson of a gamma of shape mean / (phi - 1).
        phi = rng.uniform(0.02, 1.0, len(mean))[:, None]
        mean = rng.gamma(mean / phi) * phi
    return counted(rng.poisson(mean).astype(float), np.ones_like(mean))


def counted(numerator: Array, denominator: Array, scale: Scale = Scale.COUNT) -> Panel:
    """A panel (series, days) of one scale, from a Monday on."""
    series, days = numerator.shape
    names = tuple(f"series {i}" for i in range(series))
    return Panel(names, MONDAY + np.arange(days), np.full(series, scale, dtype=np.int8), numerator, denominator)
