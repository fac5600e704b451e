"""Waves: what a cohort, or a cluster, does more than it used to since some day.

A wave is of one policy. A share of a cohort's contents violates it that did not before, of all creators alike, the
large and the small, those who break rules often and those who don't: nobody is a repeater for it. When a wave began,
whether it goes on, how large it is and of which policy is unknown; each possibility counts by how well it explains all
contents since (:mod:`health_pipeline.stats.episodes`). So a wave is as large on its thirtieth day as on its third, and
what is over is not expected to come again. It comes from many: one who turns bad convinces nobody of a wave. A policy
is watched by itself, because its usual rate is low: ten times as many counterfeits stand out where twice as many
violations hardly would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from health_pipeline.risks.columns import Codes
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.episodes import fit_episodes

SIZES = np.geomspace(0.02, 0.9, 8)
"""Shares of a cohort's contents that a wave may make violate: each 1.7 times the one before, as near as a few dozen
contents can tell them apart, from about what is usual to nearly all."""
WIDTH = float(np.log(SIZES[1] / SIZES[0]))
"""How far they lie from each other, in logarithms."""
NAMED = 0.9
"""Share of violations of which the right policy is named: believed, not measured. One in ten may be misnamed without
a wave of another policy being seen in it."""
LEAST = 0.01
"""Chance that a content is innocent, however much is expected of its creator: who always breaks the rules is no proof
for or against a wave."""
RARE, MOST = 1e-6, 0.97
"""Chances that contents of nobody and of no day are below, or above."""
SURE = 9.0
"""Log likelihood ratio that outweighs how rarely anything begins: on about one day in exp(9), as
:data:`health_pipeline.stats.episodes.BEGAN` has it."""
IMPOSSIBLE = 1e-3
"""Ratio of likelihoods below which no content speaks against a size: its own evidence may be mistaken."""


def speaks(named: Codes, shares: Array) -> Array:
    """(N, P) how much likelier the policy that was named is, where it is this one that is violated, than usually.

    Args:
        named: (N,) number of the policy that a decision or a rater named; -1 for none, which says nothing.
        shares: (N, P) of policies among the usual violations of such contents.
    """
    known, count = np.flatnonzero(named >= 0), shares.shape[1]
    other = (1.0 - NAMED) / max(count - 1, 1)
    usual = other + (NAMED - other) * shares[known, named[known]]
    found = np.ones(shares.shape)
    found[known] = (other / usual)[:, None]
    found[known, named[known]] = NAMED / usual
    return found


def turned(usual: Array, ratio: Array, told: Array, creator: Codes, wave: Array | None = None) -> Codes:
    """(N,) codes from 0 of creators who since some content of theirs post hardly anything else than one violation.

    They are no wave of their cohort, however much they post. -1 for all other contents. Arguments as :func:`waves`.

    The day is the one that explains best all that follows, as of a cumulative sum (E. S. Page: Continuous inspection
    schemes, *Biometrika* 41, 1954). The largest of :data:`SIZES` has to be likelier than none, surely, and than the
    second largest. At least two contents have to say so: where next to no violation is usual, one of a rare policy
    would be enough, and one tells of nobody's habit.

    Args:
        creator: (N,) any numbers; each creator's contents side by side, by the time of publication.
        wave: (N, P) chance that a content violates each policy for a wave of its cohort, where one is known: in a wave
            that half of all contents are in, twelve of thirteen are luck.
    """
    first = np.flatnonzero(np.diff(creator, prepend=creator[:1] - 1))
    many = np.diff(np.append(first, len(creator)))
    last = first + many - 1
    expected = explained = usual
    if wave is not None:
        expected, explained = usual + wave.sum(axis=1), usual + np.sum(wave * told, axis=1)
    without = np.maximum(1.0 - expected, LEAST) + explained * ratio
    found = np.zeros(len(first), bool)
    for policy in range(told.shape[1] if len(creator) else 0):
        gain = (told[:, policy] * ratio - 1.0) / without
        half, most = (
            _since(np.log(np.maximum(1.0 + size * gain, IMPOSSIBLE)), first, last) for size in SIZES[-2:]
        )  # fmt: skip
        found |= most > np.maximum(SURE, half)
    return np.repeat(np.where(found, np.cumsum(found) - 1, -1), many)


def _since(gain: Array, first: Codes, last: Codes) -> Array:
    """(C,) greatest sum of a creator's gains from some content to the last, at least two; else minus infinity."""
    so_far = np.cumsum(gain)
    before = so_far - gain
    before[last] = np.inf
    found: Array = so_far[last] - np.minimum.reduceat(before, first)
    return found


@dataclass(frozen=True)
class Cohort:
    """What is known of the waves of S cohorts of one kind, or clusters, on each of D days.

    Attributes:
        of: (N,) the cohort of each content; -1 for none.
        chances: (S, D, 1 + P K) of no wave, and of one of each policy and each of the K :data:`SIZES`.
    """

    of: Codes
    chances: Array

    @property
    def sizes(self) -> Array:
        """(1 + P K, P) share of contents that violate each policy."""
        policies = (self.chances.shape[2] - 1) // len(SIZES)
        return np.vstack([np.zeros((1, policies)), np.kron(np.eye(policies), SIZES[:, None])])

    def expected(self, day: Codes) -> Array:
        """(N, P) chance that contents, all of them of a cohort, violate each policy for the wave of their ``day``."""
        found: Array = (self.chances @ self.sizes)[self.of, day]
        return found

    def doubt(self, expected: Array, day: Codes, at: Codes) -> Array:
        """(M,) variance of the log odds of contents that comes from not knowing the wave of their day.

        Args:
            expected: (M,) chance of a violation, with what is expected of the wave.
            day: (N,) of publication.
            at: (M,) which of the N contents.
        """
        found, some, size = np.zeros(len(at)), self.of[at] >= 0, self.sizes.sum(axis=1)
        at = at[some]
        chances = self.chances[self.of[at], day[at]]
        without = np.maximum(expected[some] - chances @ size, RARE)
        odds = special.logit(np.minimum(np.add.outer(without, size), MOST))
        mean = np.sum(chances * odds, axis=1)
        found[some] = np.sum(chances * (odds - mean[:, None]) ** 2, axis=1)
        return found


def waves(
    usual: Array, ratio: Array, told: Array, day: Codes, cohorts: Sequence[Codes], today: int
) -> tuple[Array, Array, list[Cohort]]:  # fmt: skip
    """(N, P) chance that a content violates each policy for a wave: when it was published, and were it today.

    With them what is known of each of ``cohorts``.

    Args:
        usual: (N,) chance without any wave.
        ratio: (N,) likelihood ratio of what is known of the content itself.
        told: (N, P) of :func:`speaks`.
        day: (N,) of publication, from 0.
        cohorts: (N,) codes from 0 each, -1 for contents of none. What one explains, the next need not.
        today: number of the last day, whether or not anything was published on it.
    """
    then, now, known = np.zeros(told.shape), np.zeros(told.shape), []
    days, sizes, policies = today + 1, len(SIZES), told.shape[1]
    for cohort in cohorts:
        at = np.flatnonzero(cohort >= 0)
        count = int(cohort.max(initial=-1)) + 1
        place = cohort[at] * days + day[at]
        expected = usual[at] + then[at].sum(axis=1)
        explained = usual[at] + np.sum(then[at] * told[at], axis=1)
        without = np.maximum(1.0 - expected, LEAST) + explained * ratio[at]
        score = np.zeros((count * days, 1 + policies * sizes))
        for policy in range(policies):
            gain = (told[at, policy] * ratio[at] - 1.0) / without
            each = np.log(np.maximum(1.0 + np.multiply.outer(SIZES, gain), IMPOSSIBLE))
            for k, x in enumerate(each, 1 + policy * sizes):
                score[:, k] = np.bincount(place, x, count * days)
        chances = fit_episodes(score.reshape(count, days, 1 + policies * sizes)).chances
        mean = np.zeros((count, days, policies))
        for one, by_size in zip(mean, chances[:, :, 1:], strict=True):
            one[:] = by_size.reshape(days, policies, sizes) @ SIZES
        then[at] += mean[cohort[at], day[at]]
        now[at] += mean[cohort[at], -1]
        known.append(Cohort(cohort, chances))
    return then, now, known
