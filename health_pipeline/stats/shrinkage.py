"""Rates of many units, each with few events: empirical Bayes.

What a unit's own events say is weighed against what is usual among its like. Three priors for a unit's rate:

* gamma-Poisson for counts per exposure, beta-binomial for counts among trials, fitted by marginal likelihood
  (G. Casella: An introduction to empirical Bayes data analysis, *The American Statistician* 39, 1985);
* a mixing distribution of any shape on a grid, by maximum likelihood (J. Kiefer and J. Wolfowitz, *Annals of
  Mathematical Statistics* 27, 1956; R. Koenker and I. Mizera: Convex optimization, shape constraints, and compound
  decisions, *JASA* 109, 2014), for units that fall into kinds, such as the many who hardly ever break a rule and the
  few who always do. It takes any likelihood, so evidence that is not a count too.

Usual rates come from :func:`pooled_rates`: factors of ever finer cohorts, each shrunk to 1 by as much as the cohorts of
its level are alike, so that a thin cohort has the rate of the broader one. Counts may be fractional: decayed with time,
or expected ones. Likelihoods are maximised on a grid: there is no start to choose and nothing that fails to converge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats.arrays import Array

Codes = NDArray[np.int64]

SHAPES = np.geomspace(0.03, 3000.0, 50)
STRENGTHS = np.geomspace(0.3, 300_000.0, 60)
STRAYS = 0.02  # share of cohorts held to be unlike the others: one where a wave goes over must not be drawn to them
STRAY_SHAPE = 0.5  # what is believed of these: hardly anything
ALIKE = 0.5  # standard deviation of a cohort's log shape or log strength around the whole's
SWEEPS = 2  # over the levels of cohorts: the coarse ones once more when the fine ones are known
CHUNK = 50_000  # units whose likelihoods on the grid are in memory at once
MOST_STEPS = 100
GAP = 1e-4  # log-likelihood per unit that a mixing distribution may lie below the best
TAUGHT_BY = 20_000  # units that teach what is common to all, evenly spaced among them


@dataclass(frozen=True)
class Gammas:
    """N gamma distributions: of rates."""

    shape: Array
    rate: Array

    @property
    def mean(self) -> Array:
        return self.shape / self.rate

    @property
    def deviation(self) -> Array:
        found: Array = np.sqrt(self.shape) / self.rate
        return found

    def quantile(self, chance: float) -> Array:
        found: Array = special.gammaincinv(self.shape, chance) / self.rate
        return found

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """(count, N)."""
        return rng.gamma(self.shape, 1.0 / self.rate, (count, len(self.shape)))


@dataclass(frozen=True)
class Betas:
    """N beta distributions: of probabilities."""

    a: Array
    b: Array

    @property
    def mean(self) -> Array:
        return self.a / (self.a + self.b)

    @property
    def deviation(self) -> Array:
        found: Array = np.sqrt(self.mean * (1.0 - self.mean) / (self.a + self.b + 1.0))
        return found

    def quantile(self, chance: float) -> Array:
        return np.asarray(special.betaincinv(self.a, self.b, chance), dtype=float)

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """(count, N)."""
        return rng.beta(self.a, self.b, (count, len(self.a)))


@dataclass(frozen=True)
class Gridded:
    """N distributions on the same K points.

    Attributes:
        grid: (K,) ascending.
        chances: (N, K); rows sum to 1.
    """

    grid: Array
    chances: Array

    @property
    def mean(self) -> Array:
        found: Array = self.chances @ self.grid
        return found

    @property
    def deviation(self) -> Array:
        found: Array = np.sqrt(np.maximum(self.chances @ self.grid**2 - self.mean**2, 0.0))
        return found

    def quantile(self, chance: float) -> Array:
        """The first point at or below which ``chance`` lies."""
        reached = np.cumsum(self.chances, axis=1) < chance * (1.0 - 1e-12)
        found: Array = self.grid[np.minimum(reached.sum(axis=1), len(self.grid) - 1)]
        return found

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """(count, N), in any order; those of a unit are spread evenly over its distribution (systematic sampling)."""
        below = np.cumsum(self.chances, axis=1)
        below[:, -1] = 1.0  # sums that rounding left short
        upto = np.floor(count * below + rng.random((len(below), 1))).astype(np.int64)
        upto = np.minimum(upto, count)  # and those that it left long
        times = np.diff(upto, axis=1, prepend=0)
        drawn = np.repeat(np.tile(self.grid, len(below)), times.ravel()).reshape(len(below), count)
        found: Array = rng.permuted(drawn, axis=1).T
        return found

    def gammas(self) -> Gammas:
        """Gammas with the same means and standard deviations."""
        variance = np.maximum(self.deviation**2, 1e-12 * self.mean**2)
        return Gammas(self.mean**2 / variance, self.mean / variance)


@dataclass(frozen=True)
class Mixing:
    """A distribution of rates on K points, fitted to units.

    Attributes:
        grid: (K,).
        weights: (K,); they sum to 1.
        gap: no mixing distribution on the grid has more than so much more log-likelihood per unit.
    """

    grid: Array
    weights: Array
    gap: float

    def posterior(self, log_likelihood: Array) -> Gridded:
        """Of units with the log-likelihoods (N, K) at the grid's points."""
        with np.errstate(divide="ignore"):
            joint = log_likelihood + np.log(self.weights)
        return Gridded(self.grid, special.softmax(joint, axis=1))


def fit_mixing(log_likelihood: Array, grid: Array, start: Array | None = None, steps: int = MOST_STEPS) -> Mixing:
    """The mixing distribution of greatest likelihood, by expectation and maximisation.

    The search ends when the directional derivative towards every point of the grid says that less than ``GAP`` can be
    gained (B. G. Lindsay: The geometry of mixture likelihoods, *Annals of Statistics* 11, 1983), or after ``steps``.
    The likeliest distribution has a few points only; ended earlier, it stays as smooth as where it started, and
    predicts no worse.

    Args:
        log_likelihood: (N, K) of units at the points.
        start: (K,) first weights, positive; all the same when not given.
    """
    log_likelihood = _some(log_likelihood)
    units, points = log_likelihood.shape
    weights = np.full(points, 1.0 / points) if start is None else start / start.sum()
    if units == 0:
        return Mixing(grid, weights, 0.0)
    likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    gap = np.inf
    for _ in range(steps):
        gain = (1.0 / (likelihood @ weights)) @ likelihood / units  # 1 plus the directional derivative
        gap = float(gain.max() - 1.0)
        if gap <= GAP:
            break
        weights = weights * gain
    return Mixing(grid, weights / weights.sum(), gap)


def _some(units: Array) -> Array:
    """At most ``TAUGHT_BY`` rows."""
    return units[:: max(-(-len(units) // TAUGHT_BY), 1)]


def poisson_log_likelihood(counts: Array, expected: Array, grid: Array) -> Array:
    """(N, K) of rates ``grid`` times ``expected``, but for terms without the rate. Counts may be fractional."""
    return np.multiply.outer(counts, np.log(grid)) - np.multiply.outer(expected, grid)


def gamma_weights(grid: Array, shape: float) -> Array:
    """(K,) a gamma with mean 1 on a grid, each point standing for what is nearer to it than to others (log scale)."""
    cuts = np.sqrt(grid[1:] * grid[:-1])
    below = np.concatenate([[0.0], special.gammainc(shape, shape * cuts), [1.0]])
    weights = np.maximum(np.diff(below), 1e-12)
    found: Array = weights / weights.sum()
    return found


def fit_shapes(counts: Array, expected: Array, cohort: Codes | None = None, cohorts: int = 1) -> Array:
    """(cohorts,) shape of the gamma, with mean 1, of units' rates relative to ``expected`` counts.

    Each cohort's is the likeliest there, drawn to the whole's (log standard deviation ``ALIKE``): a thin cohort has the
    whole's.

    Args:
        counts: (N,) events, not negative.
        expected: (N,) events at the usual rate; units with 0 say nothing.
        cohort: (N,) 0..cohorts-1; one cohort when not given.
    """

    def likelihood(rows: slice) -> Array:
        return _gamma_likelihood(counts[rows], expected[rows], SHAPES)

    return _likeliest(likelihood, SHAPES, expected > 0, cohort, cohorts)


def _gamma_likelihood(counts: Array, expected: Array, shapes: Array) -> Array:
    """(N, K) log-likelihood of counts where rates relative to ``expected`` are gamma with mean 1 and (K,) shapes."""
    y, e, k = counts[:, None], expected[:, None], shapes
    # Without y log e and log y!, which are the same for all shapes.
    found: Array = special.gammaln(y + k) - special.gammaln(k) - (y + k) * np.log1p(e / k) - y * np.log(k)
    return found


def _alike(likelihood: Callable[[Array], Array], known: NDArray[np.bool_]) -> tuple[float, Array]:
    """How alike the units are, but for strays, and each one's chance to be a stray.

    Args:
        likelihood: (N, K) log-likelihoods of units at K shapes.
    """
    stray = likelihood(np.array([STRAY_SHAPE]))
    each = np.logaddexp(np.log1p(-STRAYS) + likelihood(SHAPES), np.log(STRAYS) + stray)
    alike = np.exp(_peak(np.log(SHAPES), each[known].sum(axis=0, keepdims=True)))
    odds = special.logit(STRAYS) + stray[:, 0] - likelihood(alike)[:, 0]
    return float(alike[0]), np.asarray(special.expit(odds))


def fit_strengths(hits: Array, trials: Array, mean: Array, cohort: Codes | None = None, cohorts: int = 1) -> Array:
    """(cohorts,) strength a + b of the beta of units' probabilities around ``mean``, as :func:`fit_shapes`.

    Args:
        hits: (N,) not above ``trials``.
        trials: (N,).
        mean: (N,) the usual probability, in (0, 1).
    """

    def likelihood(rows: slice) -> Array:
        y, n, m = hits[rows, None], trials[rows, None], mean[rows, None]
        a, b = m * STRENGTHS, (1.0 - m) * STRENGTHS
        found: Array = special.betaln(y + a, n - y + b) - special.betaln(a, b)
        return found

    return _likeliest(likelihood, STRENGTHS, trials > 0, cohort, cohorts)


def _likeliest(
    likelihood: Callable[[slice], Array], grid: Array, known: NDArray[np.bool_], cohort: Codes | None, cohorts: int
) -> Array:
    """The point of each cohort's greatest likelihood, between the grid's points by a parabola."""
    total = np.zeros((cohorts, len(grid)))
    for begin in range(0, len(known), CHUNK):
        rows = slice(begin, begin + CHUNK)
        each = np.where(known[rows, None], likelihood(rows), 0.0)
        if cohort is None:
            total += each.sum(axis=0)
        else:
            np.add.at(total, cohort[rows], each)
    log = np.log(grid)
    whole = _peak(log, total.sum(axis=0, keepdims=True))
    if cohorts == 1:
        return np.exp(whole)
    return np.exp(_peak(log, total - 0.5 * ((log - whole) / ALIKE) ** 2))


def _peak(x: Array, y: Array) -> Array:
    """(C,) where functions given at evenly spaced (K,) ``x`` by (C, K) ``y`` are greatest."""
    at = np.clip(np.argmax(y, axis=1), 1, len(x) - 2)
    rows = np.arange(len(y))
    left, middle, right = y[rows, at - 1], y[rows, at], y[rows, at + 1]
    bend = left - 2.0 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1.0), 0.0)
    found: Array = x[at] + np.clip(shift, -1.0, 1.0) * (x[1] - x[0])
    return found


def pooled_rates(counts: Array, exposure: Array, levels: Sequence[Codes]) -> Array:
    """(N,) usual rate of each unit's cohorts; see :func:`pooled`."""
    return pooled(counts, exposure, levels).rates


@dataclass(frozen=True)
class Pooled:
    """Usual rates of N units.

    Attributes:
        rates: (N,).
        log_variance: (N,) of their logarithms, as far as few events tell of the factors.
    """

    rates: Array
    log_variance: Array


def pooled(counts: Array, exposure: Array, levels: Sequence[Codes]) -> Pooled:
    """Usual rate of each unit's cohorts: the whole's, times a factor for its cohort on each level.

    Factors of a level are multiplied in turn, coarse levels first. A cohort's factor is (A + O) / (A + E): events
    observed and expected, and how alike the cohorts of the level are (A, by marginal likelihood). Units differ too, so
    a unit with much exposure counts for less than its exposure: one who breaks every rule must not become the usual.
    (Multiplicative credibility, H. Bühlmann and A. Gisler: *A Course in Credibility Theory*, 2005.)

    Of a level's cohorts a share ``STRAYS`` may be unlike the others, and is not drawn to them: each by how likely it is
    to be one (a contaminated prior: J. Berger and L. M. Berliner, *Annals of Statistics* 14, 1986).

    Args:
        counts: (N,) events.
        exposure: (N,) same order; units with 0 get the rates of their cohorts.
        levels: (N,) codes from 0 for each level.
    """
    total = float(exposure.sum())
    # Without any exposure or event there is no usual rate; one event more than none keeps logarithms finite.
    rates = np.full(len(counts), max(float(counts.sum()), 1e-3) / total if total > 0 else 1e-3)
    factors = [np.ones(int(codes.max()) + 1 if len(codes) else 0) for codes in levels]
    doubt = [np.zeros(len(factor)) for factor in factors]
    for _ in range(SWEEPS):
        shape = float(fit_shapes(_some(counts), _some(exposure * rates))[0])
        for codes, factor, variance in zip(levels, factors, doubt, strict=True):
            rates = rates / factor[codes]  # without the level's former factor
            expected = exposure * rates
            weight = 1.0 / (1.0 + expected / shape)
            seen: Array = np.bincount(codes, weights=weight * counts, minlength=len(factor)).astype(float)
            usual: Array = np.bincount(codes, weights=weight * expected, minlength=len(factor)).astype(float)
            centre = max(float(seen.sum()), 1e-3) / float(usual.sum()) if usual.sum() > 0 else 1.0
            alike, stray = _alike(partial(_gamma_likelihood, seen, usual * centre), usual > 0)
            own, free = ((a + seen) / (a + usual * centre) for a in (alike, STRAY_SHAPE))
            factor[:] = centre * (own + stray * (free - own))
            variance[:] = (1.0 - stray) / (alike + seen) + stray / (STRAY_SHAPE + seen)
            rates = rates * factor[codes]
    summed = np.zeros(len(rates))
    for codes, variance in zip(levels, doubt, strict=True):
        summed += variance[codes]
    return Pooled(rates, summed)


def pooled_shares(counts: Array, usual: Array) -> Array:
    """(N, P) shares of P kinds in each unit: its own counts, drawn to ``usual`` as far as units are alike.

    Dirichlet-multinomial; the concentration by marginal likelihood, with strays as in :func:`pooled_rates`.

    Args:
        counts: (N, P) events of each kind, may be fractional.
        usual: (N, P) or (P,) shares, positive.
    """
    usual = np.broadcast_to(np.asarray(usual, float), counts.shape)
    total = counts.sum(axis=1)
    some = total > 0
    seen, mean = counts[some], usual[some]
    shape, _ = _alike(partial(_shares_likelihood, _some(seen), _some(mean)), np.ones(len(_some(seen)), bool))
    log = [_shares_likelihood(seen, mean, np.array([a]))[:, 0] for a in (STRAY_SHAPE, shape)]
    stray = np.zeros(len(counts))
    stray[some] = special.expit(special.logit(STRAYS) + log[0] - log[1])
    weight = (1.0 - stray) * total / (total + shape) + stray * total / (total + STRAY_SHAPE)
    own = np.divide(counts, total[:, None], where=total[:, None] > 0, out=np.zeros_like(usual))
    found: Array = weight[:, None] * own + (1.0 - weight[:, None]) * usual
    return found


def _shares_likelihood(seen: Array, mean: Array, shapes: Array) -> Array:
    """(N, K) log-likelihood of counts whose shares are Dirichlet around ``mean`` with (K,) concentrations."""
    found: Array = special.gammaln(shapes) - special.gammaln(shapes + seen.sum(axis=1)[:, None])
    for kind in range(seen.shape[1]):
        a = mean[:, kind, None] * shapes
        found = found + special.gammaln(a + seen[:, kind, None]) - special.gammaln(a)
    return found


def gamma_poisson(
    counts: Array, exposure: Array, levels: Sequence[Codes] = (), cohort: Codes | None = None
) -> tuple[Gammas, Array]:
    """Posterior of N units' rates, and the usual rates (N,) they are shrunk to.

    Args:
        counts: (N,) events, may be fractional.
        exposure: (N,).
        levels: cohorts with rates of their own; see :func:`pooled_rates`.
        cohort: (N,) codes of cohorts whose units may differ more, or less, than others do.
    """
    usual = pooled_rates(counts, exposure, levels)
    where = np.zeros(len(counts), np.int64) if cohort is None else cohort
    shape = fit_shapes(counts, exposure * usual, where, int(where.max(initial=0)) + 1)[where]
    return Gammas(shape + counts, shape / usual + exposure), usual


def beta_binomial(
    hits: Array, trials: Array, levels: Sequence[Codes] = (), cohort: Codes | None = None
) -> tuple[Betas, Array]:
    """Posterior of N units' probabilities, and the usual ones (N,); arguments as :func:`gamma_poisson`."""
    usual = np.clip(pooled_rates(hits, trials, levels), 1e-9, 1.0 - 1e-9)
    where = np.zeros(len(hits), np.int64) if cohort is None else cohort
    strength = fit_strengths(hits, trials, usual, where, int(where.max(initial=0)) + 1)[where]
    return Betas(usual * strength + hits, (1.0 - usual) * strength + trials - hits), usual
