"""What may be of creators' posts to come: draws of how often they violate, and of what a view of them does.

What is not known of a creator is how often they break rules as things usually are, and which waves go over the cohorts
that they post in, or their cluster, or whether they have turned themselves. One draw of a wave is a draw for all of its
cohort: it is there for all, or for none, and as large. So members of a cluster are not taken for many who err
independently of each other.

Draws are of what is to be expected, could one know all this; what luck makes of it is not in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.shrinkage import Gridded


@dataclass(frozen=True)
class Series:
    """Waves of S cohorts, on the last day: each on one of K levels, the first of which is none.

    Attributes:
        share: (C, S) of each creator's posts.
        chances: (S, K) of the levels.
        size: (K,) share of a cohort's posts that violate for the wave.
        harm: (K,) that a view of a cohort's posts does for it, on average.
        width: how far, in logarithms, the sizes of neighbouring levels lie from each other.
    """

    share: sparse.csr_array
    chances: Array
    size: Array
    harm: Array
    width: float

    def draws(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """(count, C) violations per post that waves bring, and their harm per view."""
        levels = Gridded(np.arange(len(self.size), dtype=float), self.chances)
        level = levels.draws(count, rng).astype(np.int64)
        # A level stands for sizes up to its neighbours', the less the farther, but for none above 1.
        half = np.minimum(self.width, -np.log(np.clip(self.size, 1e-9, 1.0)))[level] / 2.0
        within = np.exp(half * rng.uniform(-1.0, 1.0, (2, *level.shape)).sum(axis=0))
        within *= np.divide(half, np.sinh(half), where=half > 0, out=np.ones_like(half)) ** 2
        return (self.share @ (within * self.size[level]).T).T, (self.share @ (within * self.harm[level]).T).T


@dataclass(frozen=True)
class Outlook:
    """What is known of C creators' posts to come.

    Attributes:
        factors: how many times as often as usual they violate.
        shape: of the gamma that is nearest to how these are distributed over creators.
        base: (C,) usual violations per post.
        unsure: (C,) variance of its logarithm.
        harm: (C,) of a view of such a violation.
        series: waves of clusters, of creators who turned, and of cohorts.
    """

    factors: Gridded
    shape: float
    base: Array
    unsure: Array
    harm: Array
    series: tuple[Series, ...]

    @property
    def deviation(self) -> Array:
        """(C,) standard deviation of violations per post."""
        square = (self.factors.deviation**2 + self.factors.mean**2) * np.exp(self.unsure)
        variance = (square - self.factors.mean**2) * self.base**2
        for s in self.series:
            variance = variance + s.share.power(2) @ (s.chances @ s.size**2 - (s.chances @ s.size) ** 2)
        found: Array = np.sqrt(np.maximum(variance, 0.0))
        return found

    def draws(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """(count, C) violations per post, and harm per view."""
        violations = self.factors.draws(count, rng)
        # The least factor stands for all that are less, too: more of them the nearer to none.
        least = violations == self.factors.grid[0]
        violations[least] *= rng.standard_gamma(self.shape, int(least.sum())) / self.shape
        error = np.sqrt(self.unsure)
        violations *= self.base * np.exp(error * rng.standard_normal(violations.shape) - 0.5 * self.unsure)
        harm = violations * self.harm
        for series in self.series:
            for total, brought in zip((violations, harm), series.draws(count, rng), strict=True):
                total += brought
        return violations, harm
