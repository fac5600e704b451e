"""Planted root causes: exact matches and seconds, beside published methods: ``python -m benchmarks.explanation``.

Cubes of 4 or 5 dimensions with 1 to 3 simultaneous causes of 1 to 3 conditions, as counts, as ratios, and as values under
the generative assumption of Squeeze (the generalised ripple effect); and cubes of noise alone. ``--quick``: a few cases,
printed only. Writes its part of docs/explanation.md.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.explanation_methods import METHODS, Array, Codes, Conditions, Locate
from benchmarks.figures import DOCS, arguments, dots_chart, machine, table
from benchmarks.page import write_part
from health_pipeline.charts import png
from health_pipeline.stats.attribution import RootCauses, members, ratio_cells, root_causes

STUDY = "benchmarks.explanation"
PICTURE = "explanation"
OURS = "this search"
CHANGES = (0.3, -0.4, 1.0, -0.7)
LEAST_SHARE = 0.01
"""Causes are drawn among the sets that make at least so much of the whole: nobody asks what a smaller one explains."""


@dataclass(frozen=True)
class Noise:
    """How counts scatter about what is expected on an ordinary day.

    Attributes:
        dispersion: variance over mean of a cell.
        cell: standard deviation of a cell's factor, on the log scale.
        value: the same of a whole value of a dimension.
    """

    name: str
    dispersion: float = 1.0
    cell: float = 0.0
    value: float = 0.0


NOISES = (
    Noise("Poisson"),
    Noise("overdispersed", dispersion=2.0, cell=0.15),
    Noise("overdispersed, values wobble", dispersion=2.0, cell=0.15, value=0.03),
)


@dataclass(frozen=True)
class Case:
    """A cube, and what was planted in it."""

    codes: Codes
    expected: Array
    observed: Array
    variance: Array | None
    truth: frozenset[Conditions]


def cube(rng: np.random.Generator) -> tuple[Codes, Array]:
    """Cells of 4 or 5 dimensions of 3 to 14 values, and their shares: skewed values, cells that are not independent."""
    dimensions = int(rng.integers(4, 6))
    shape = rng.integers(3, 15 if dimensions == 4 else 10, dimensions)
    codes = np.stack(np.unravel_index(np.arange(np.prod(shape)), tuple(shape)), axis=1)
    share = rng.lognormal(0.0, 0.7, len(codes))
    for d, size in enumerate(shape):
        share *= rng.dirichlet(np.full(size, 2.0))[codes[:, d]]
    kept = rng.random(len(codes)) < rng.uniform(0.5, 1.0)  # real cubes are not full
    return codes[kept].astype(np.int64), share[kept] / share[kept].sum()


def draw_causes(
    rng: np.random.Generator, codes: Codes, share: Array, conditions: Sequence[int], one_cuboid: bool
) -> list[Conditions] | None:
    """Large enough sets of the wanted numbers of conditions, none inside another; ``None`` if none were found."""
    for _ in range(50):
        chosen: list[Conditions] = []
        dimensions: tuple[int, ...] = ()
        for wanted in conditions:
            if not one_cuboid or not dimensions:
                dimensions = tuple(sorted(int(d) for d in rng.choice(codes.shape[1], wanted, replace=False)))
            values, group = np.unique(codes[:, dimensions], axis=0, return_inverse=True)
            large = np.flatnonzero(np.bincount(group.ravel(), share) >= LEAST_SHARE)
            if len(large):
                chosen.append(tuple(zip(dimensions, (int(v) for v in values[rng.choice(large)]), strict=True)))
        apart = all(not set(a) <= set(b) and not set(b) <= set(a) for a, b in itertools.combinations(chosen, 2))
        if apart and len(chosen) == len(conditions):
            return chosen
    return None


def cube_with_causes(
    rng: np.random.Generator, conditions: Sequence[int], one_cuboid: bool
) -> tuple[Codes, Array, list[Conditions]]:
    while True:
        codes, share = cube(rng)
        causes = draw_causes(rng, codes, share, conditions, one_cuboid)
        if causes is not None:
            return codes, share, causes


def planted(rng: np.random.Generator, noise: Noise, conditions: Sequence[int], ratio: bool) -> Case:
    """Counts, or a ratio's numerators, with causes of so many conditions each (or no causes)."""
    codes, share, causes = cube_with_causes(rng, conditions, bool(rng.integers(2)))
    factor = np.exp(rng.normal(0.0, noise.cell, len(codes)))
    for column in codes.T:
        factor *= np.exp(rng.normal(0.0, noise.value, column.max() + 1))[column]
    factor /= share @ factor  # noise moves parts, not the whole
    for cause in causes:
        factor[members(codes, cause)] *= 1.0 + rng.choice(CHANGES)
    if not ratio:
        expected = share * 10 ** rng.uniform(5.0, 6.0)
        mean = expected * factor
        observed = noise.dispersion * rng.poisson(mean / noise.dispersion)
        return Case(codes, expected, observed.astype(float), None, frozenset(causes))
    views = share * 10 ** rng.uniform(6.0, 7.0)
    rate = np.minimum(0.03 * np.exp(rng.normal(0.0, 0.5, len(codes))), 0.2)
    before, now = rng.poisson(28 * views), rng.poisson(views * np.exp(rng.normal(0.0, 0.2, len(codes))))
    clumps = int(noise.dispersion)
    k_before = clumps * rng.binomial(before // clumps, rate)
    k_now = clumps * rng.binomial(now // clumps, np.minimum(rate * factor, 1.0))
    return Case(codes, *ratio_cells(k_before, before, k_now, now), frozenset(causes))


def ripple(rng: np.random.Generator, scatter: float, count: int, conditions: int) -> Case:
    """Values as Squeeze assumes them: causes of one cuboid, whose cells all move by the causes' own factors.

    Forecasts miss by a relative error of standard deviation ``scatter``; every cause's cells deviate by its own score d,
    v = f (2 − d) / (2 + d), d drawn in 0.2 to 1 for a fall (or its mirror image for a rise), at least 0.1 apart.
    """
    codes, share, causes = cube_with_causes(rng, [conditions] * count, one_cuboid=True)
    forecast = share / share.mean() * 100.0
    real = forecast * np.maximum(1.0 + rng.normal(0.0, scatter, len(codes)), 0.0)
    sign = rng.choice([-1.0, 1.0])
    while True:
        scores = rng.uniform(0.2, 1.0, count)
        if count < 2 or np.diff(np.sort(scores)).min() >= 0.1:
            break
    for cause, score in zip(causes, scores, strict=True):
        inside = members(codes, cause)
        real[inside] *= (2.0 - sign * score) / (2.0 + sign * score)
    return Case(codes, forecast, real, None, frozenset(causes))


def ours(case: Case) -> RootCauses:
    return root_causes(case.codes, case.expected, case.observed, variance=case.variance)


@dataclass
class Score:
    """Exact matches of sets of conditions over some cases, as in the papers: micro-averaged."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    cases: int = 0
    exact: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, truth: frozenset[Conditions], found: frozenset[Conditions], seconds: float) -> None:
        self.right += len(truth & found)
        self.wrong += len(found - truth)
        self.missed += len(truth - found)
        self.cases += 1
        self.exact += truth == found
        self.seconds.append(seconds)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.wrong + self.missed, 1)
