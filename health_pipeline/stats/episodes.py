"""Days on which a series does more than it used to: a hidden Markov chain over days.

A series is off, at its usual rate, or on, in one of several ways (an excess of some size, of some kind), from the day
on which an episode begins until it ends. How likely each way is on each day follows from all days, by recursion forward
and backward. How often episodes begin and how soon they end is learned from all series together, by expectation and
maximisation (L. R. Rabiner: A tutorial on hidden Markov models, *Proceedings of the IEEE* 77, 1989). However many ways
are tried, they share the chance that anything begins, so that more of them find no more by luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from health_pipeline.stats.arrays import Array

STEPS = 5
BEGAN, ENDED = (0.1, 1000.0), (1.0, 14.0)
"""What is believed of beginnings and ends before there are data: how many there were, in how many days."""
LEAST = 1e-200


@dataclass(frozen=True)
class Episodes:
    """Of S series, D days and K levels.

    Attributes:
        chances: (S, D, K) of each level, the first of which is off, given all days.
        begins: chance that an episode begins on a day.
        ends: chance that it ends on a day.
    """

    chances: Array
    begins: float
    ends: float


def fit_episodes(log_likelihood: Array) -> Episodes:
    """How likely each series is to be on each level on each day.

    Args:
        log_likelihood: (S, D, K) of a day's data on each level; the first is off, and there is another. A day without
            data has the same on all.
    """
    series, days, levels = log_likelihood.shape
    likelihood = np.maximum(np.exp(log_likelihood - log_likelihood.max(axis=2, keepdims=True)), LEAST)
    begins, ends = BEGAN[0] / BEGAN[1], ENDED[0] / ENDED[1]
    chances = np.zeros_like(likelihood)
    for _ in range(STEPS):
        forward, scale = np.zeros_like(likelihood), np.zeros((series, days, 1))
        # Before the first day: as often on as episodes begin, and last.
        state = np.broadcast_to(_levels(1.0, begins / ends, levels) / (1.0 + begins / ends), (series, levels))
        for day in range(days):
            here = (_next(state, begins, ends) if day else state) * likelihood[:, day]
            scale[:, day] = here.sum(axis=1, keepdims=True)
            state = forward[:, day] = here / scale[:, day]
        behind, began, ended = np.ones((series, levels)), 0.0, 0.0
        for day in range(days - 1, -1, -1):
            chances[:, day] = forward[:, day] * behind
            if day:
                ahead = likelihood[:, day] * behind / scale[:, day]
                began += float(np.sum(forward[:, day - 1, 0] * begins * ahead[:, 1:].mean(axis=1)))
                ended += float(np.sum(forward[:, day - 1, 1:].sum(axis=1) * ends * ahead[:, 0]))
                behind = _before(ahead, begins, ends)
        off, on = float(chances[:, :-1, 0].sum()), float(chances[:, :-1, 1:].sum())
        begins, ends = (BEGAN[0] + began) / (BEGAN[1] + off), (ENDED[0] + ended) / (ENDED[1] + on)
    return Episodes(chances, begins, ends)


def _levels(off: float, on: float, levels: int) -> Array:
    return np.append(off, np.full(levels - 1, on / (levels - 1)))


def _next(state: Array, begins: float, ends: float) -> Array:
    """(S, K) chances of a day's levels from those of the day before."""
    off, on = state[:, :1], state[:, 1:]
    stopped = on.sum(axis=1, keepdims=True) * ends
    return np.concatenate([off * (1.0 - begins) + stopped, on * (1.0 - ends) + off * begins / on.shape[1]], axis=1)


def _before(ahead: Array, begins: float, ends: float) -> Array:
    """(S, K) likelihood of what follows a day by its level, from that of the next day and what follows it."""
    off, on = ahead[:, :1], ahead[:, 1:]
    started = on.mean(axis=1, keepdims=True) * begins
    return np.concatenate([off * (1.0 - begins) + started, on * (1.0 - ends) + off * ends], axis=1)
