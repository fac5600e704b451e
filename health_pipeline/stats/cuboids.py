"""All sets of cells of a cube that conditions on a few dimensions cut out, and what they gain by a factor of their own.

The sets with conditions on the same dimensions make up a cuboid. Counts are Poisson about what they expect, divided by
how much noisier than that they are; several sets' factors multiply, and are fitted together. :mod:`.root_causes` has
the model, and searches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.overdispersion import excess_variance, overdispersion

Conditions = tuple[tuple[int, int], ...]
"""Pairs of dimension (column) and value (code), sorted by dimension; none of them: every cell."""

FLOOR = 0.05  # events that a cell is thought to expect at least, so that nothing is impossible
EXCEPTION = 3.0  # log-likelihood by which a set with an exception inside must be better than sets without one
TIE = 1e-9  # gains that differ by less are equal: sums depend on the order of rows
CAUTION = 1.1  # a learned wobble is taken to be so much larger: it rests on some tens of values
TURNS = 200  # of proportional fitting


@dataclass(frozen=True)
class CellSet:
    """The cells that meet some conditions: one group of one cuboid.

    Attributes:
        cuboid: its place in :attr:`Cube.cuboids`.
        group: of the cuboid.
        key: the conditions.
        price: log-likelihood that it must gain to be more than chance.
    """

    cuboid: int
    group: int
    key: Conditions
    price: float


@dataclass
class Cuboid:
    """All sets with conditions on the same dimensions, G groups of cells.

    Attributes:
        dimensions: columns of the codes; none of them: one group, of every cell.
        group: cells; 0..G-1.
        size: G.
        values: G; code of the first of the dimensions.
        price: of each of its sets.
        observed, mean: G; events observed and expected, in units of the noise.
    """

    dimensions: tuple[int, ...]
    group: NDArray[np.intp]
    size: int
    values: NDArray[np.int64]
    price: float = 0.0
    observed: Array = field(default_factory=lambda: np.zeros(0))
    mean: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Fit:
    """Factors of some causes, fitted together.

    Attributes:
        factors: per cause.
        kind: cells; a bit per cause that the cell belongs to.
        product: per kind, of its causes' factors.
        likelihood: above that of no cause at all.
    """

    factors: tuple[float, ...]
    kind: NDArray[np.int32]
    product: Array
    likelihood: float


class Cube:
    """Cells, their groupings, and the noise; counts are divided by how much noisier than Poisson they are.

    Attributes:
        codes: cells x dimensions.
        expected, observed: cells; as given.
        base: cells; expected, with a little where nothing was.
        sampling, noise: cells; how many times as variable as Poisson counts they are by sampling alone, and in all.
        events, mean: cells; observed and base in units of the noise.
        cuboids: the one of every cell first, then by their number of dimensions.
        single: price of a set with one condition.
        wobble: standard deviation, on the log scale, of a dimension's value as a whole on an ordinary day.
    """

    def __init__(self, codes: NDArray[np.int64], expected: Array, observed: Array, variance: Array) -> None:
        self.codes, self.expected, self.observed = codes, expected, observed
        nothing = expected <= 0
        few = FLOOR if not nothing.any() else min(FLOOR, 0.01 * float(expected.sum()) / int(nothing.sum()))
        # Where nothing was expected, nothing is known of how it would be spread: as it came, but for a little.
        new = np.where(nothing, observed, 0.0)
        spread = 0.99 * new * int(nothing.sum()) / new.sum() + 0.01 if new.any() else np.ones_like(expected)
        self.base = np.where(nothing, few * spread, expected)
        self.sampling = np.where(nothing, np.maximum(variance / self.base, 1.0), variance / self.base)
        self.cuboids: list[Cuboid] = []
        self.single = 0.0
        self.wobble = 0.0
        self._insides: dict[Conditions, NDArray[np.bool_]] = {}

    @classmethod
    def of(
        cls, codes: NDArray[np.integer[Any]], expected: Any, observed: Any, variance: Any, most: int, alpha: float
    ) -> Cube:
        """Of cells; sets with up to ``most`` conditions, priced so that noise is given any with probability ``alpha``.

        Raises:
            ValueError: shapes or types are wrong, a figure is negative or not finite, or nothing is expected.
        """
        c = np.asarray(codes)
        if c.ndim != 2 or not c.size or not np.issubdtype(c.dtype, np.integer) or c.min() < 0:
            raise ValueError(f"codes must be a table of non-negative integers, got shape {c.shape} of {c.dtype}")
        given = {"expected": expected, "observed": observed, "variance": expected if variance is None else variance}
        checked: dict[str, Array] = {}
        for name, values in given.items():
            array = np.asarray(values, dtype=float)
            if array.shape != (len(c),):
                raise ValueError(f"{name} has shape {array.shape}, but there are {len(c)} cells")
            if not np.all(np.isfinite(array)) or np.any(array < 0):
                raise ValueError(f"{name} has a negative figure or one that is not finite")
            checked[name] = array
        wanted = checked["expected"]
        if not wanted.sum() > 0:
            raise ValueError("nothing is expected: a factor cannot be told")
        if np.any((checked["variance"] <= 0) & (wanted > 0)):
            raise ValueError("a cell that expects something has no variance")
        if most < 1 or not 0 < alpha < 1:
            raise ValueError(f"conditions must be 1 or more and false_cause between 0 and 1, got {most} and {alpha}")
        cube = cls(c.astype(np.int64), wanted, checked["observed"], checked["variance"])
        most, price = min(most, c.shape[1]), 0.0
        for count in range(1, most + 1):
            level = []
            for dimensions in itertools.combinations(range(c.shape[1]), count):
                group, size = _grouped(cube.codes, dimensions)
                values = np.zeros(size, dtype=np.int64)
                values[group] = cube.codes[:, dimensions[0]]
                level.append(Cuboid(dimensions, group, size, values))
            # In a very small cube there are fewer pairs than single values; they are not to be cheaper.
            price = max(price, math.log(2 * (most + 1) * sum(cuboid.size for cuboid in level) / alpha))
            for cuboid in level:
                cuboid.price = price
            cube.cuboids += level
        everything = np.zeros(len(c), dtype=np.intp), 1, np.zeros(1, dtype=np.int64)
        cube.cuboids.insert(0, Cuboid((), *everything, cube.cuboids[0].price))
        cube.single = cube.cuboids[1].price
        cube.take(cube.sampling)
        return cube

    def take(self, noise: Array) -> None:
        """Set how many times as variable as Poisson counts the cells are."""
        self.noise = noise
        self.events = self.observed / noise
        self.mean = self.base / noise
        self._fits: dict[tuple[Conditions, ...], Fit] = {}
        self._best: dict[tuple[tuple[Conditions, ...], Conditions | None], tuple[float, CellSet] | None] = {}
        for cuboid in self.cuboids:
            cuboid.observed = np.bincount(cuboid.group, self.events, cuboid.size).astype(float)
            cuboid.mean = np.bincount(cuboid.group, self.mean, cuboid.size).astype(float)

    def learn(self, chosen: Sequence[CellSet]) -> None:
        """Learn what the cells vary beyond sampling, their causes' factors known."""
        fit = self.fit(chosen)
        mean = self.base / self.sampling
        fitted = mean * fit.product[fit.kind]
        # Of cells of hardly any events nothing is learned: what they vary shows in the few that have one.
        told = (fitted >= 0.2) & (self.expected > 0)
        phi, sigma = overdispersion(fitted[told], (self.observed / self.sampling)[told])
        self.take(self.sampling * np.maximum(phi + sigma * mean, 1.0))

    def learned_wobble(self, chosen: Sequence[CellSet]) -> float:
        """Spread of single values' factors beyond sampling.

        About the median of their dimension, because a cause in another dimension moves all of them alike. A value that
        is itself a cause counts as one that is far out: else the causes that wobble was taken for would hide it.
        """
        self._best = {}
        causes = {s.key for s in chosen}
        away, error = [], []
        for cuboid, mean in zip(self.cuboids, self.means(self.fit(chosen)), strict=True):
            told = np.flatnonzero((mean >= 10.0) & (cuboid.observed > 0))
            if len(cuboid.dimensions) != 1 or len(told) < 3:
                continue
            own = np.array([((cuboid.dimensions[0], int(v)),) in causes for v in cuboid.values[told]])
            if (~own).sum() < 2:
                continue
            moved = np.log(cuboid.observed[told] / mean[told])
            square = (moved - np.median(moved[~own])) ** 2 * len(told) / (len(told) - 1)
            away.append(np.where(own, np.inf, square))
            error.append(1.0 / mean[told])
        if sum(map(len, away)) < 10:
            return 0.0
        return CAUTION * math.sqrt(excess_variance(np.concatenate(away), np.concatenate(error)))

    def inside(self, one: CellSet) -> NDArray[np.bool_]:
        if one.key not in self._insides:
            self._insides[one.key] = np.asarray(self.cuboids[one.cuboid].group == one.group)
        return self._insides[one.key]

    def fit(self, chosen: Sequence[CellSet]) -> Fit:
        """Factors by iterative proportional fitting: each cause's cells must make up what was observed there."""
        names = tuple(s.key for s in chosen)
        if names in self._fits:
            return self._fits[names]
        # Cells that belong to the same causes are one cell to the fit.
        kind = np.zeros(len(self.mean), dtype=np.int32)
        for place, one in enumerate(chosen):
            kind += self.inside(one).astype(np.int32) << place
        kinds = np.arange(1 << len(chosen))
        mean = np.bincount(kind, self.mean, len(kinds)).astype(float)
        wanted = [float(self.cuboids[s.cuboid].observed[s.group]) for s in chosen]
        within = [(kinds >> place & 1).astype(bool) for place in range(len(chosen))]
        product, factors = np.ones(len(kinds)), [1.0] * len(chosen)
        for _ in range(TURNS):
            furthest = 0.0
            for place in range(len(chosen)):
                total = float(mean[within[place]] @ product[within[place]])
                step = wanted[place] / total if total > 0 else 1.0
                product[within[place]] *= step
                factors[place] *= step
                furthest = max(furthest, abs(step - 1.0))
            if furthest < 1e-10:
                break
        events = np.bincount(kind, self.events, len(kinds))
        likelihood = float(special.xlogy(events, np.where(events > 0, product, 1.0)).sum() - mean @ (product - 1.0))
        self._fits[names] = Fit(tuple(factors), kind, product, likelihood)
        return self._fits[names]

    def means(self, fit: Fit) -> list[Array]:
        """Per cuboid: what each set expects, given the causes."""
        moved = np.flatnonzero(fit.kind)
        if not len(moved):
            return [cuboid.mean for cuboid in self.cuboids]
        more = self.mean[moved] * (fit.product[fit.kind[moved]] - 1.0)
        return [
            np.maximum(cuboid.mean + np.bincount(cuboid.group[moved], more, cuboid.size), 0.0)
            for cuboid in self.cuboids
        ]

    def needed(self, conditions: int, price: float, mean: Any) -> Any:
        """Gain that a set must show: its price, and as much as makes it no wobble of the values it is made of."""
        return np.maximum(price, self.single * (1.0 + max(1, conditions) * self.wobble**2 * mean))

    def best(self, chosen: Sequence[CellSet], barred: Conditions | None = None) -> tuple[float, CellSet] | None:
        """The set that adds most to those chosen, and what it adds less its price; ``None`` when nothing suffices."""
        names = (tuple(s.key for s in chosen), barred)
        if names not in self._best:
            self._best[names] = self._found(chosen, barred)
        return self._best[names]

    def _found(self, chosen: Sequence[CellSet], barred: Conditions | None) -> tuple[float, CellSet] | None:
        refused = {s.key for s in chosen} | {barred}
        found: list[tuple[float, CellSet]] = []
        for place, (cuboid, mean) in enumerate(zip(self.cuboids, self.means(self.fit(chosen)), strict=True)):
            gain = _gain(cuboid.observed, mean)
            gain[gain <= self.needed(len(cuboid.dimensions), cuboid.price, mean)] = 0.0
            while (top := float(gain.max())) > 0:
                sets = [self.set_of(place, int(g)) for g in np.flatnonzero(gain >= top * (1 - TIE))]
                kept = [(float(gain[one.group]) - one.price, one) for one in sets if one.key not in refused]
                found += kept
                if kept:
                    break
                gain[[one.group for one in sets]] = 0.0
        if not found:
            return None
        top = max(value for value, _ in found)
        return min((f for f in found if f[0] >= top - TIE * abs(top)), key=lambda f: (len(f[1].key), f[1].key))

    def set_of(self, place: int, group: int) -> CellSet:
        cuboid = self.cuboids[place]
        row = int(np.argmax(cuboid.group == group))
        return CellSet(place, group, tuple((d, int(self.codes[row, d])) for d in cuboid.dimensions), cuboid.price)

    def worth(self, chosen: Sequence[CellSet]) -> float:
        """Likelihood less prices. A set with an exception inside costs as much as the exception, and more."""
        price = sum(s.price for s in chosen)
        for one, other in itertools.permutations(chosen, 2):
            if set(one.key) < set(other.key):
                price += EXCEPTION + max(0.0, other.price - one.price)
        return self.fit(chosen).likelihood - price

    def evidence(self, one: CellSet, chosen: Sequence[CellSet]) -> tuple[float, float]:
        """Gain of a cause beside the others, and how much it needs."""
        others = [s for s in chosen if s is not one]
        fit = self.fit(others)
        mean = float((self.mean * fit.product[fit.kind])[self.inside(one)].sum())
        return self.fit(chosen).likelihood - fit.likelihood, float(self.needed(len(one.key), one.price, mean))


def _grouped(codes: NDArray[np.int64], dimensions: tuple[int, ...]) -> tuple[NDArray[np.intp], int]:
    """Group of each cell, and how many there are."""
    key = np.zeros(len(codes), dtype=np.int64)
    size = 1
    for dimension in dimensions:
        column = codes[:, dimension]
        radix = int(column.max()) + 1
        if size * radix > 4 * len(codes) + 1024:  # keep keys small: number the groups so far
            _, key = np.unique(key, return_inverse=True)
            size = int(key.max()) + 1
            values, column = np.unique(column, return_inverse=True)
            radix = len(values)
        key = key * radix + column
        size *= radix
    if size <= 4 * len(codes) + 1024:
        present = np.zeros(size, dtype=np.intp)
        present[key] = 1
        number = np.cumsum(present) - 1
        return number[key], int(present.sum())
    kept, group = np.unique(key, return_inverse=True)
    return group.astype(np.intp), len(kept)


def _gain(observed: Array, mean: Array) -> Array:
    """Log-likelihood that counts gain by a factor of their own."""
    mean = np.maximum(mean, 1e-300)
    return np.asarray(special.xlogy(observed, observed / mean) - (observed - mean))
