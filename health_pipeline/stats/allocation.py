"""Which cases are worth the minutes there are, which part of them explores, and every case's chance of being listed.

Choosing cases of given value and length under a budget of minutes is a 0/1 knapsack. Cases are taken by value per
minute (Dantzig 1957) and those that no longer fit are passed over, so that short ones still use what is left. That
alone can be arbitrarily bad when one long case is worth more than all that was taken; then that case is taken first,
and the result is worth at least half the optimum (Kellerer, Pferschy, Pisinger: *Knapsack Problems*, 2004, 2.5). Where
cases are short against the budget the loss is at most the one case that did not fit.

A list that only ever holds what looks worst never learns about the rest, and its labels speak only of what it chose. A
share of the minutes goes to cases below the line, chosen by Thompson sampling (Thompson 1933; Russo et al.: A tutorial
on Thompson sampling, 2018): each by one draw from what its value may be. The chance of every case is logged, so that
labels can be weighted by it later (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array

ROUNDING = 1e-9  # minutes are sums of decimals


@dataclass(frozen=True)
class Allocation:
    """Which of N cases are listed.

    Attributes:
        listed: (N,) whether a case is on the list.
        explored: (N,) whether it is there by a Thompson draw, not by its value.
        chance: (N,) chance of being listed, over the draws; never 0 for a listed case.
    """

    listed: NDArray[np.bool_]
    explored: NDArray[np.bool_]
    chance: Array


def allocate(
    value: Array, minutes: Array, capacity: float, *, explore: float, draws: NDArray[np.floating], seed: int
) -> Allocation:
    """Spend at most ``capacity`` minutes.

    1. The line: cases by value per minute in ``1 - explore`` of the capacity.
    2. Below it, cases by *drawn* value per minute in the explored minutes. The one that exceeds them is taken with the
       chance that makes the explored minutes right on average, so that a budget shorter than any case still explores.
    3. What is left goes to the best of the others; it may be less than the line, or more.

    This is done once for every draw. One of the results, chosen by ``seed``, is the list; how often a case is in them
    is its chance.

    Args:
        value: (N,) expected value of dealing with a case, any unit; what is not positive is never listed by it.
        minutes: (N,) positive.
        explore: share of the capacity, 0 to less than 1.
        draws: (S, N) values as they may be, independent between cases; S >= 1. The smallest chance is 1 / S.

    Raises:
        ValueError: arrays that don't fit each other, minutes that are not positive, or a share out of range.
    """
    value, minutes = np.asarray(value, float), np.asarray(minutes, float)
    n = len(value)
    if minutes.shape != (n,) or draws.ndim != 2 or draws.shape[1] != n or len(draws) < 1:
        raise ValueError(f"{n} values, {minutes.shape} minutes and {draws.shape} draws don't fit each other")
    if not 0 <= explore < 1 or (minutes <= 0).any():
        raise ValueError("minutes must be positive and the explored share in [0, 1)")
    rng = np.random.default_rng(seed)
    shown, rounded = int(rng.integers(len(draws))), rng.random(len(draws))
    possible = np.flatnonzero(minutes <= capacity + ROUNDING)
    best = possible[value[possible] > 0]
    best = best[np.argsort(-value[best] / minutes[best], kind="stable")]
    below = np.ones(n, dtype=bool)
    below[_fill(best, value, minutes, (1 - explore) * capacity)] = False
    below = possible[below[possible]]

    listed, explored, free = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    hits = np.zeros(n)
    for s in range(len(draws)):
        tried = _explore(below, draws[s], minutes, explore * capacity, capacity, rounded[s])
        free[tried] = False
        chosen = _fill(best[free[best]], value, minutes, capacity - minutes[tried].sum())
        free[tried] = True
        hits[tried] += 1
        hits[chosen] += 1
        if s == shown:
            explored[tried] = True
            listed[tried] = listed[chosen] = True
    return Allocation(listed, explored, hits / len(draws))


def _fill(order: NDArray[np.intp], value: Array, minutes: Array, budget: float) -> NDArray[np.intp]:
    """Cases in the given order that fit; or, if that is worth more, the single best and what fits beside it."""
    chosen = _greedy(order, minutes, budget)
    fitting = order[minutes[order] <= budget + ROUNDING]
    if len(fitting):
        single = fitting[np.argmax(value[fitting])]
        if value[single] > value[chosen].sum():
            beside = _greedy(order[order != single], minutes, budget - minutes[single])
            return np.concatenate([[single], beside])
    return chosen


def _greedy(order: NDArray[np.intp], minutes: Array, budget: float) -> NDArray[np.intp]:
    """Cases in the given order, those that don't fit passed over."""
    taken: list[NDArray[np.intp]] = []
    while len(order := order[minutes[order] <= budget + ROUNDING]):
        spent = np.cumsum(minutes[order])
        fit = int(np.searchsorted(spent, budget + ROUNDING, side="right"))
        taken.append(order[:fit])
        budget -= spent[fit - 1]
        order = order[fit + 1 :]
    return np.concatenate(taken) if taken else np.zeros(0, np.intp)


def _explore(
    below: NDArray[np.intp], draw: NDArray[np.floating], minutes: Array, budget: float, capacity: float, rounded: float
) -> NDArray[np.intp]:
    """Cases with the best draws: ``budget`` minutes on average, never more than ``capacity``."""
    if not len(below) or budget <= 0:
        return np.zeros(0, np.intp)
    ratio = draw[below] / minutes[below]
    most = min(int(budget / minutes[below].min()) + 1, len(below))
    first = np.argpartition(-ratio, most - 1)[:most] if most < len(below) else np.arange(len(below))
    first = first[ratio[first] > 0]
    first = below[first[np.lexsort((first, -ratio[first]))]]
    spent = np.cumsum(minutes[first])
    fit = int(np.searchsorted(spent, budget + ROUNDING, side="right"))
    if fit < len(first):
        left = budget - (spent[fit - 1] if fit else 0.0)
        if rounded < left / minutes[first[fit]] and spent[fit] <= capacity + ROUNDING:
            fit += 1
    return first[:fit]
