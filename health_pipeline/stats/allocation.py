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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array

ROUNDING = 1e-9  # minutes are sums of decimals
BLOCK = 1_000
"""Cases that are looked at together; only speed depends on it."""


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
        draws: (S, N) values as they may be, each row of all cases at once; S >= 1. The smallest chance is 1 / S.

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
    knapsack = _Knapsack(value, minutes, capacity)
    below = np.ones(n, dtype=bool)
    below[knapsack.fill((1 - explore) * capacity, ())] = False
    outside = np.flatnonzero(below & (minutes <= capacity + ROUNDING))

    listed, explored, hits = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool), np.zeros(n)
    for s in range(len(draws)):
        tried = outside[_explore(draws[s][outside], minutes[outside], explore * capacity, capacity, rounded[s])]
        chosen = knapsack.fill(capacity - minutes[tried].sum(), tried)
        hits[tried] += 1
        hits[chosen] += 1
        if s == shown:
            explored[tried] = True
            listed[tried] = listed[chosen] = True
    return Allocation(listed, explored, hits / len(draws))


class _Knapsack:
    """Cases of value, sorted once, to be filled into many budgets."""

    def __init__(self, value: Array, minutes: Array, capacity: float) -> None:
        worth = np.flatnonzero((minutes <= capacity + ROUNDING) & (value > 0))
        self._value, self._minutes = value, minutes
        self._order = worth[np.argsort(-value[worth] / minutes[worth], kind="stable")]
        self._shortest_left = np.minimum.accumulate(minutes[self._order][::-1])[::-1]
        self._dearest = worth[np.argsort(-value[worth], kind="stable")]
        self._free = np.ones(len(value), dtype=bool)

    def fill(self, budget: float, but: Sequence[int] | NDArray[np.intp]) -> NDArray[np.intp]:
        """Cases by value per minute that fit; or, if that is worth more, the single best and what fits beside it.

        Args:
            but: cases that are not to be taken.
        """
        taken = np.asarray(but, np.intp)
        self._free[taken] = False
        chosen = self._greedy(budget)
        fitting = (c for c in self._dearest if self._free[c] and self._minutes[c] <= budget + ROUNDING)
        single = next(fitting, None)
        if single is not None and self._value[single] > self._value[chosen].sum():
            self._free[single] = False
            chosen = np.concatenate([[single], self._greedy(budget - self._minutes[single])])
            self._free[single] = True
        self._free[taken] = True
        return chosen

    def _greedy(self, budget: float) -> NDArray[np.intp]:
        """Free cases by value per minute, those that don't fit passed over."""
        chosen: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
        for start in range(0, len(self._order), BLOCK):
            if self._shortest_left[start] > budget + ROUNDING:
                break
            block = self._order[start : start + BLOCK]
            block = block[self._free[block]]
            while len(block := block[self._minutes[block] <= budget + ROUNDING]):
                spent = np.cumsum(self._minutes[block])
                fit = int(np.searchsorted(spent, budget + ROUNDING, side="right"))
                chosen.append(block[:fit])
                budget -= spent[fit - 1]
                block = block[fit + 1 :]
        return np.concatenate(chosen)


def _explore(
    draw: NDArray[np.floating], minutes: Array, budget: float, capacity: float, rounded: float
) -> NDArray[np.intp]:
    """Cases with the best draws: ``budget`` minutes on average, never more than ``capacity``."""
    if not len(draw) or budget <= 0:
        return np.zeros(0, np.intp)
    ratio = -draw / minutes
    most = min(int(budget / minutes.min()) + 1, len(draw))
    first = np.argpartition(ratio, most - 1)[:most] if most < len(draw) else np.arange(len(draw))
    first = first[ratio[first] < 0]
    first = first[np.lexsort((first, ratio[first]))]
    spent = np.cumsum(minutes[first])
    fit = int(np.searchsorted(spent, budget + ROUNDING, side="right"))
    if fit < len(first):
        left = budget - (spent[fit - 1] if fit else 0.0)
        if rounded < left / minutes[first[fit]] and spent[fit] <= capacity + ROUNDING:
            fit += 1
    return first[:fit]
