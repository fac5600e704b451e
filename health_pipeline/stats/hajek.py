"""Shares from samples drawn with unequal, known chances: estimates, intervals, two samples put together or compared.

A draw that is expected π times stands for w = 1/π units. Over the draws of a sample Σ w estimates how many units there
are, Σ w y how many have y, and

* **Hájek** Σ w y / Σ w their share (Hájek 1971; for draws with replacement Hansen and Hurwitz, *Annals of Mathematical
  Statistics* 14, 1943). With e = y − share, its linearised variance is Σ w² e² / (Σ w)² x n / (n − 1).
* **Horvitz and Thompson** Σ w y / N the same where the number N of units is known (*JASA* 47, 1952).

All of it follows from six sums (:class:`Sums`), which add up over days, markets and samples.

**How much a sample knows.** k = Σ w² e² / (Σ w x share x (1 − share)) is the weight at which equal draws would know the
share as well: there would be Σ w / k of them, the *effective* draws. It is not Kish's count (Σ w)² / Σ w², which takes
y for unrelated to the weights: a sample drawn by a score that knows violations gives them small weights and knows far
more. With few positives k is hardly known, and low when the heavy ones are missed, just when the share is low too. So k
is a compromise between the cell's own and that of a larger whole, which counts as ``PRIOR`` positives more. Where a
cell's few positives are lighter than the whole's, intervals are then longer than they need be; by their own weights
alone they would be too short where the heavy ones were not drawn.

**Interval.** Effective draws, and positives among them, go into the beta quantiles of Jeffreys's interval (Brown, Cai,
DasGupta, *Statistical Science* 16, 2001) below, and above into those with a whole positive more instead of half a one,
as Clopper and Pearson's (effective counts in these: Korn and Graubard, *Survey Methodology* 24, 1998). Weights that
differ make an estimate more skewed than a count is: the one heavy positive is more often missed than met. It holds from
no positive at all, where symmetric intervals fail. It is made for small shares.

**Two samples of the same units.** Where each draw's chance is known in both, they are one sample, and a draw stands for
1 / (π₁ + π₂) units (Kalton and Anderson, *JRSS A* 149, 1986): no unit weighs more than in either. Otherwise their
sums are averaged (Hartley 1962), :func:`composite`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from health_pipeline.stats.arrays import Array

PRIOR = 3.0
"""Positives that the whole's weights count for in a cell's."""
COVERAGE = 0.95


@dataclass(frozen=True)
class Sums:
    """What a share, its variance and its interval follow from; one value per cell (any shape, the same for all).

    Attributes:
        draws: n.
        positives: draws with y.
        weight: Σ w.
        positive_weight: Σ w y.
        squares: Σ w².
        positive_squares: Σ w² y.
    """

    draws: Array
    positives: Array
    weight: Array
    positive_weight: Array
    squares: Array
    positive_squares: Array

    @classmethod
    def of(cls, chance: ArrayLike, positive: ArrayLike, cell: ArrayLike | None = None, cells: int = 1) -> Self:
        """Sums of draws by cell.

        Args:
            chance: (n,) expected number of draws of the unit, above 0.
            positive: (n,) whether it has y.
            cell: (n,) number of the cell, from 0; negative: in none. ``None``: all in one.

        Raises:
            ValueError: a chance that is not above 0.
        """
        expected, y = np.asarray(chance, dtype=float), np.asarray(positive, dtype=float)
        if not (expected > 0).all():
            raise ValueError("every draw needs a chance above 0")
        at = np.zeros(len(expected), dtype=np.int64) if cell is None else np.asarray(cell, dtype=np.int64)
        inside = at >= 0
        at, w, y = at[inside], 1.0 / expected[inside], y[inside]
        values = (np.ones(len(w)), y, w, w * y, w * w, w * w * y)
        return cls(*(np.bincount(at, v, cells).astype(float) for v in values))

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(a + b for a, b in zip(self._parts(), other._parts(), strict=True)))

    def __getitem__(self, cells: int | slice | NDArray[np.int64] | NDArray[np.bool_]) -> Sums:
        return Sums(*(np.asarray(part[cells]) for part in self._parts()))

    def followed_by(self, other: Sums) -> Sums:
        """These cells, and after them the other's; along the first axis."""
        return Sums(*(np.concatenate(pair) for pair in zip(self._parts(), other._parts(), strict=True)))

    def scaled(self, factor: float) -> Sums:
        """With all weights times ``factor``."""
        power = (0, 0, 1, 1, 2, 2)
        return Sums(*(part * factor**p for part, p in zip(self._parts(), power, strict=True)))

    def counting(self, positives: Sums) -> Sums:
        """These draws, of which only those are positive that are so in ``positives``."""
        return Sums(
            self.draws, positives.positives, self.weight, positives.positive_weight, self.squares,
            positives.positive_squares,
        )  # fmt: skip

    @property
    def share(self) -> Array:
        """Hájek's estimate; NaN without draws."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.positive_weight / self.weight)

    @property
    def residuals(self) -> Array:
        """Σ w² (y − share)² x n / (n − 1)."""
        share = self.share
        squares = self.positive_squares * (1.0 - 2.0 * share) + share**2 * self.squares
        return np.asarray(np.maximum(squares, 0.0) * self.draws / np.maximum(self.draws - 1.0, 1.0))

    @property
    def variance(self) -> Array:
        """Linearised variance of the share; 0 where all draws are alike, which says nothing."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.residuals / self.weight**2)

    @property
    def kish(self) -> Array:
        """Kish's effective number of draws, (Σ w)² / Σ w²."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.weight**2 / self.squares)

    def _parts(self) -> tuple[Array, ...]:
        return (
            self.draws, self.positives, self.weight, self.positive_weight, self.squares, self.positive_squares
        )  # fmt: skip


@dataclass(frozen=True)
class Shares:
    """Estimates with their 95 % intervals, one per cell; NaN without draws.

    Attributes:
        effective: equal draws that would know as much.
    """

    estimate: Array
    low: Array
    high: Array
    effective: Array


def effective(sums: Sums, whole: Sums, prior: float = PRIOR) -> Array:
    """Equal draws that would know each cell's share as well.

    Args:
        whole: a single cell, drawn with the same weights, to learn from where positives are few: the total.
        prior: positives that it counts for. With 0 nothing is told (NaN) of cells without a positive.
    """
    few = float(np.minimum(whole.positives, whole.draws - whole.positives))
    own = _spread(sums)
    if few <= 0:  # nothing is known of positives: they weigh like all
        return np.where(sums.draws > 0, sums.weight / np.maximum(_weight_per_unit(whole), 1e-300), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        k = (np.nan_to_num(sums.residuals) + prior * float(whole.residuals) / few) / (
            np.nan_to_num(own) + prior * float(_spread(whole)) / few
        )
        return np.where(sums.draws > 0, sums.weight / k, np.nan)


def _spread(sums: Sums) -> Array:
    """Σ w x share x (1 − share)."""
    return np.asarray(sums.positive_weight * (1.0 - sums.share))


def _weight_per_unit(whole: Sums) -> float:
    return float(whole.squares / whole.weight) if float(whole.weight) > 0 else np.nan


def shares(sums: Sums, whole: Sums, prior: float = PRIOR) -> Shares:
    """Hájek's estimates with intervals.

    Args:
        sums: of cells.
        whole, prior: as in :func:`effective`.
    """
    n = effective(sums, whole, prior)
    low, high = interval(sums.share, n)
    return Shares(sums.share, low, high, n)


def known_size(sums: Sums, size: ArrayLike) -> Shares:
    """Horvitz and Thompson's estimates of shares of ``size`` units, with intervals; for cells with positives."""
    units = np.asarray(size, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = sums.positive_weight / units
        squares = sums.positive_squares - sums.positive_weight**2 / sums.draws
        variance = squares / units**2 * sums.draws / np.maximum(sums.draws - 1.0, 1.0)
        n = np.where(variance > 0, share * (1.0 - share) / variance, np.nan)
    low, high = interval(share, n)
    return Shares(np.asarray(share), low, high, n)


def interval(share: Array, draws: Array) -> tuple[Array, Array]:
    """95 % interval of small shares known from so many equal draws; down to 0 and up to 1 where all are alike."""
    tail = (1.0 - COVERAGE) / 2.0
    positive = np.clip(share, 0.0, 1.0) * draws
    rest = draws - positive + 0.5
    low = np.where(share > 0.0, special.betaincinv(positive + 0.5, rest, tail), 0.0 * share)
    high = np.where(share < 1.0, special.betaincinv(positive + 1.0, rest, 1.0 - tail), 1.0 + 0.0 * share)
    return np.minimum(low, share), np.maximum(high, share)  # of hardly any draws the prior's middle is beyond the share


def composite(first: Sums, second: Sums, whole_first: Sums, whole_second: Sums) -> tuple[Sums, float]:
    """Two samples of the same units as one, and the part that the first has in it.

    The part is the same in all cells, so that their sums add up. It is that which gives the whole's share the smallest
    variance; both variances are taken at the common share, for a sample that missed the positives would seem sure.
    """
    a, b = whole_first, whole_second
    if float(a.draws) == 0 or float(b.draws) == 0:
        part = float(float(a.draws) > 0)
    else:
        part = float(a.draws / (a.draws + b.draws))
        for _ in range(3):  # the common share depends on the part
            common = part * float(a.share) + (1.0 - part) * float(b.share)
            if not 0.0 < common < 1.0:
                break
            va, vb = (_weight_at(s, common) / float(s.weight) for s in (a, b))
            part = vb / (va + vb)
    return first.scaled(part) + second.scaled(1.0 - part), part


def _weight_at(sums: Sums, share: float) -> float:
    """k, as the module has it, for a given share; Σ w² / Σ w without a positive."""
    squares = sums.positive_squares * (1.0 - 2.0 * share) + share**2 * sums.squares
    return float(squares / (sums.positive_weight * (1.0 - 2.0 * share) + share**2 * sums.weight))


@dataclass(frozen=True)
class Agreement:
    """Whether two samples of the same units tell the same share, one value per cell.

    Attributes:
        z: standard normal if they do; above 0 where the first tells more. NaN where either has no draws.
        p_value: two-sided.
    """

    z: Array
    p_value: Array


def agreement(first: Shares, second: Shares) -> Agreement:
    """Compare two independent samples cell by cell, for small shares.

    Given how many effective positives there are in both, the number in the first is binomial (Przyborowski and
    Wilenski, *Biometrika* 31, 1940), with half of the probability of what was seen (mid-p): it holds with few of them.
    Effective counts are no whole numbers; the incomplete beta function takes them as they are.
    """
    a, b = first.estimate * first.effective, second.estimate * second.effective
    part = first.effective / (first.effective + second.effective)
    tiny = 1e-9
    at_least = special.betainc(np.maximum(a, tiny), b + 1.0, part)  # P(X >= a), X binomial of a + b
    more = special.betainc(a + 1.0, np.maximum(b, tiny), part)  # P(X >= a + 1)
    mid = np.clip(0.5 * (at_least + more), 1e-300, 1.0 - 1e-16)
    nothing = ~(a + b > 0)
    z = np.where(nothing, 0.0 * (a + b), -special.ndtri(mid))
    return Agreement(z, np.asarray(2.0 * special.ndtr(-np.abs(z))))
