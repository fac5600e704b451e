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
"""Rounds of expectation and maximisation. On a simulated marketplace both rates are then within 3 % of where they end;
chances depend on their logarithms."""
BEGAN, ENDED = (0.1, 1000.0), (1.0, 14.0)
"""What is believed of beginnings and ends before there are data: how many there were, in how many days. One day
in 10,000 begins an episode, which lasts two weeks; some thousand series-days, or two episodes, outweigh that."""
LEAST = 1e-200
"""Likelihood of a day's data on a level, beside that on the likeliest: no day forbids a level for ever, and what two
days in a row all but forbid is still a number."""
BLOCK = 128
"""Series whose recursion is in memory at once. What is found is the same, to the last bit, for blocks of any size."""


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

    Raises:
        ValueError: there is no level but off; a day has no finite likelihood, of which every series would suffer.
    """
    series, days, levels = log_likelihood.shape
    if levels < 2:
        raise ValueError("there has to be a level beside off")
    if not np.isfinite(log_likelihood.max(axis=2)).all():
        raise ValueError("a day's data are impossible on every level, or their likelihood is no number")
    begins, ends = BEGAN[0] / BEGAN[1], ENDED[0] / ENDED[1]
    chances, began, ended = np.zeros_like(log_likelihood), np.zeros((days, series)), np.zeros((days, series))
    for _ in range(STEPS):
        for first in range(0, series, BLOCK):
            part = slice(first, first + BLOCK)
            chances[part], began[:, part], ended[:, part] = _expected(log_likelihood[part], begins, ends)
        off, on = float(chances[:, :-1, 0].sum()), float(chances[:, :-1, 1:].sum())
        begins = (BEGAN[0] + _total(began)) / (BEGAN[1] + off)
        ends = (ENDED[0] + _total(ended)) / (ENDED[1] + on)
    return Episodes(chances, begins, ends)


def _expected(log_likelihood: Array, begins: float, ends: float) -> tuple[Array, Array, Array]:
    """(S, D, K) chances of the levels, and (D, S) chances that an episode began, and ended, with a day."""
    series, days, levels = log_likelihood.shape
    likelihood = np.maximum(np.exp(log_likelihood - log_likelihood.max(axis=2, keepdims=True)), LEAST)
    forward, scale = np.zeros_like(likelihood), np.zeros((series, days, 1))
    # Before the first day: as often on as episodes begin, and last.
    state = np.broadcast_to(_levels(1.0, begins / ends, levels) / (1.0 + begins / ends), (series, levels))
    for day in range(days):
        here = (_next(state, begins, ends) if day else state) * likelihood[:, day]
        scale[:, day] = here.sum(axis=1, keepdims=True)
        state = forward[:, day] = here / scale[:, day]
    began, ended = np.zeros((days, series)), np.zeros((days, series))
    behind = np.ones((series, levels))
    for day in range(days - 1, 0, -1):
        ahead = likelihood[:, day] * behind / scale[:, day]
        forward[:, day] *= behind
        began[day] = forward[:, day - 1, 0] * begins * ahead[:, 1:].mean(axis=1)
        ended[day] = forward[:, day - 1, 1:].sum(axis=1) * ends * ahead[:, 0]
        behind = _before(ahead, begins, ends)
    forward[:, :1] *= behind[:, None]
    return forward, began, ended


def _total(by_day: Array) -> float:
    """Sum of (D, S), in the same order however many series are in a block."""
    return sum(float(day.sum()) for day in by_day[::-1])


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
