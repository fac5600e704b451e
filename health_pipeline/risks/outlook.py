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
    """

    share: sparse.csr_array
    chances: Array
    size: Array
    harm: Array


@dataclass(frozen=True)
class Outlook:
    """What is known of C creators' posts to come.

    Attributes:
        factors: how many times as often as usual they violate.
        base: (C,) usual violations per post.
        harm: (C,) of a view of such a violation.
        series: waves of clusters, of creators who turned, and of cohorts.
    """

    factors: Gridded
    base: Array
    harm: Array
    series: tuple[Series, ...]

    @property
    def deviation(self) -> Array:
        """(C,) standard deviation of violations per post."""
        variance = (self.factors.deviation * self.base) ** 2
        for s in self.series:
            variance = variance + s.share.power(2) @ (s.chances @ s.size**2 - (s.chances @ s.size) ** 2)
        found: Array = np.sqrt(variance)
        return found

    def draws(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """(count, C) violations per post, and harm per view."""
        violations = self.factors.draws(count, rng) * self.base
        harm = violations * self.harm
        for s in self.series:
            level = Gridded(np.arange(len(s.size), dtype=float), s.chances).draws(count, rng).astype(np.int64)
            violations += (s.share @ s.size[level].T).T
            harm += (s.share @ s.harm[level].T).T
        return violations, harm
