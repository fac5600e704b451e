"""The pace of things that happen one by one, where it may have changed: events a day of many who are alike.

Each one's events are Poisson with a pace that is gamma around their like, and that changed at most once: a day's hazard
says how probably, and the new pace is gamma around the old one, so wide that it may be anything. The age of the change
has a posterior on a grid; what is expected is the mean over it (the last change point of Adams and MacKay, *Bayesian
online changepoint detection*, 2007, with the earlier ones left out). So who goes on as ever is known from all of their
days, and who changed from the days since. Hazard and width are those of a grid under which what happened to all is most
likely.

A group whose members act together may have changed together: on one day, to paces that are alike. That is one more
hypothesis for all of its members, so that a change is believed of each that few of them would show alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats.arrays import Array

AGES = (1, 2, 3, 4, 5, 7, 10, 14, 21, 28, 42, 60)
"""Days since the change that are told apart."""
HAZARDS = (1e-3, 3e-3, 1e-2, 3e-2)
"""From one change in three years to one a month: with fewer, who did change would hardly be believed for days."""
WIDTHS = (0.25, 0.5, 1.0, 2.0)
"""Shapes of the gamma of a new pace around the old one."""
TOGETHER = 0.5
"""Chance, before their events are seen, that a group changed together."""
ALIKE = 3.0
"""Shape of the gamma of the new paces of a group around their mean."""
SHAPES = (0.2, 20.0)
"""Between these the shape of paces around those of their like is learned: from very unlike to nearly the same."""


@dataclass(frozen=True)
class Paces:
    """What is to be expected of N.

    Attributes:
        mean: (N,) events a day.
        doubt: (N,) squared coefficient of variation of it.
        hazard: of a change, a day.
        width: shape of the gamma of a new pace around the old one.
    """

    mean: Array
    doubt: Array
    hazard: float
    width: float


def paces(
    events: Array,
    days: Array,
    lately: Array,
    known: Array,
    kind: NDArray[np.int64],
    group: NDArray[np.int64] | None = None,
) -> Paces:
    """Events a day of each, now.

    Args:
        events: (N,) in all.
        days: (N,) in which they could be seen, above 0.
        lately: (N, A) events of the last :data:`AGES` days.
        known: (N, A) of these days, those in which events could be seen.
        kind: (N,) who are alike.
        group: (N,) who may act together; -1: nobody.
    """
    if not len(events):
        return Paces(np.zeros(0), np.zeros(0), HAZARDS[0], WIDTHS[0])
    mean, shape = _like(events, days, kind)
    ages = np.array(AGES, float)
    before, old = np.maximum(events[:, None] - lately, 0.0), np.maximum(days[:, None] - known, 1e-6)
    # Who was not there before cannot have changed since; and days without data show no change.
    possible = (days[:, None] > known) & (known > 0)
    prior = shape / mean
    one = _evidence(shape, prior, events, days)
    first = _evidence(shape, prior[:, None], before, old)
    was = (shape + before) / (prior[:, None] + old)
    # Exactly one change, at the newer end of the cell of its age, and none since.
    cells = np.diff(ages, prepend=0.0)
    changed = {w: np.where(possible, first + _evidence(w, w / was, lately, known), -np.inf) for w in WIDTHS}

    def likelihood(hazard: float, width: float) -> Array:
        """(N, 1 + A) log likelihood of no change, and of one of each age."""
        once = changed[width] + np.log(hazard * cells) - hazard * (ages - cells)
        return np.column_stack([one - hazard * days, once])

    def of_all(settings: tuple[float, float]) -> float:
        return float(special.logsumexp(likelihood(*settings), axis=1).sum())

    hazard, width = max(itertools.product(HAZARDS, WIDTHS), key=of_all)
    log = likelihood(hazard, width)
    a = np.column_stack([shape + events, lately + width])
    b = np.column_stack([prior + days, known + width / was])
    total = special.logsumexp(log, axis=1)
    found, square = _mixed(np.exp(log - total[:, None]), a, b)
    for members in _groups(group):
        at = possible[members]
        count, span = (np.where(at, x[members], 0.0).sum(axis=0) for x in (lately, known))
        new = (count + 0.5) / (span + 0.5 / mean[members].mean())
        joint = np.where(
            at, first[members] + _evidence(ALIKE, ALIKE / new, lately[members], known[members]), total[members, None]
        ).sum(axis=0)
        log = np.append(joint + np.log(TOGETHER / len(ages)), total[members].sum() + np.log1p(-TOGETHER))
        weight = np.exp(log - special.logsumexp(log))
        rate = np.where(at, (lately[members] + ALIKE) / (known[members] + ALIKE / new), found[members, None])
        spread = np.where(at, rate**2 * (1 + 1 / (lately[members] + ALIKE)), square[members, None])
        found[members] = np.column_stack([rate, found[members]]) @ weight
        square[members] = np.column_stack([spread, square[members]]) @ weight
    return Paces(found, np.maximum(square / found**2 - 1, 0.0), hazard, width)


def _like(events: Array, days: Array, kind: NDArray[np.int64]) -> tuple[Array, float]:
    """(N,) mean pace of the kind of each, and the shape of the gamma of paces around these."""
    total, seen = np.bincount(kind, events), np.bincount(kind, days)
    mean = (np.maximum(total, 0.5) / np.maximum(seen, 1.0))[kind]
    spread = ((events / days - mean) ** 2 - mean / days) / mean**2
    return mean, 1 / float(np.clip(np.average(spread, weights=days), 1 / SHAPES[1], 1 / SHAPES[0]))


def _evidence(shape: Array | float, rate: Array, events: Array, days: Array) -> Array:
    """Log likelihood of events in days, over all paces of a gamma with shape and rate."""
    found: Array = special.gammaln(shape + events) - special.gammaln(shape) + shape * np.log(rate)
    return found - (shape + events) * np.log(rate + days)


def _mixed(weight: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """(N,) mean and mean square of mixtures of gammas."""
    return (weight * a / b).sum(axis=1), (weight * a * (a + 1) / b**2).sum(axis=1)


def _groups(group: NDArray[np.int64] | None) -> list[NDArray[np.intp]]:
    """Places of the members of each group; who is the last of theirs acts with nobody."""
    if group is None:
        return []
    member = np.flatnonzero(group >= 0)
    order = member[np.argsort(group[member], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [members for members in groups if len(members) > 1]
