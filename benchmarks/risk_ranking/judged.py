"""What each order averts within the minutes there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.risk_ranking.mornings import Trial
from benchmarks.risk_ranking.orders import MODEL, ORACLE, content_orders, orders, taken
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Queue
from health_pipeline.stats.arrays import Array

FIRST = 10
"""Cases of which the precision is told."""


@dataclass
class Judged:
    """What an order did on one twin, summed over its mornings.

    Attributes:
        expected, real: harm averted: that was bound to come by the simulator's rates, and that came.
        precision, first: share of all listed, and of the first, who violate later.
        caught: days until most of a ring's members were listed; infinite if they were not.
    """

    expected: float = 0.0
    real: float = 0.0
    precision: float = 0.0
    first: float = 0.0
    caught: float = np.inf


@cache
def queue_of(name: str) -> Queue:
    declared = load_catalog("marketplace").review
    assert declared is not None
    return next(q for q in declared.queues if q.name == name)


def passing(trials: Sequence[Trial]) -> Array:
    """(severities,) share of violating contents' expected views that moderation lets through."""
    total = np.sum([t.through for t in trials], axis=0)
    return np.asarray(total[:, 0] / total[:, 1])


def judge(t: Trial, through: Array) -> dict[str, Judged]:
    """Every order's figures for the creators of one twin."""
    harm = t.weight * through
    found: dict[str, Judged] = {}
    capacity, more = queue_of("creators").minutes_per_day, queue_of("clusters").minutes_per_day
    seen: dict[str, NDArray[np.bool_]] = {}
    for since, m in zip(t.since, t.mornings, strict=True):
        expected = (m.later + m.alive) @ harm
        minutes, real, bad = m.columns["minutes"], m.columns["real"], m.columns["bad later"] > 0
        lists = {name: taken(v, minutes, capacity) for name, v in orders(m, harm).items()}
        longer = {name: taken(v, minutes, capacity + more) for name, v in orders(m, harm).items()}
        lists["with exploration"] = np.flatnonzero(m.explored)
        longer[MODEL] = np.flatnonzero(m.covered)
        for name, chosen in lists.items():
            of = found.setdefault(name, Judged())
            of.expected += float(expected[chosen].sum())
            of.real += float(real[chosen].sum())
            of.precision += float(bad[chosen].mean()) / len(t.mornings)
            of.first += float(bad[chosen[:FIRST]].mean()) / len(t.mornings)
        for name, chosen in longer.items():
            covered = seen.setdefault(name, np.zeros(len(real), bool))
            covered[chosen] = True
            if t.ring.any() and since >= 0 and 2 * covered[t.ring].sum() > t.ring.sum():
                found[name].caught = min(found[name].caught, float(since))
    return found


def judge_contents(t: Trial) -> dict[str, Judged]:
    """The same for the undecided contents of one twin."""
    found: dict[str, Judged] = {}
    queue = queue_of("contents")
    for m in t.mornings:
        minutes = np.full(len(m.contents["bad"]), queue.minutes_per_case)
        for name, value in content_orders(m).items():
            chosen, of = taken(value, minutes, queue.minutes_per_day), found.setdefault(name, Judged())
            of.expected += float(m.contents["expected"][chosen].sum())
            of.real += float(m.contents["real"][chosen].sum())
            of.precision += float(m.contents["bad"][chosen].mean()) / len(t.mornings)
            of.first += float(m.contents["bad"][chosen[:FIRST]].mean()) / len(t.mornings)
    return found


def interval(values: Array) -> tuple[float, float, float]:
    """Mean and 95 % t interval over seeds; infinite for one seed."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


Found = Mapping[str, Sequence[Mapping[str, Judged]]]


def shares(found: Sequence[Mapping[str, Judged]], name: str, of: Callable[[Judged], float]) -> Array:
    """(seeds,) harm averted by an order, over the oracle's."""
    return np.array([of(one[name]) / of(one[ORACLE]) for one in found])


def expected(j: Judged) -> float:
    return j.expected


def real(j: Judged) -> float:
    return j.real


def came_of(trials: Sequence[Trial], through: Array) -> Array:
    """(trials,) harm of all creators by the views that came, over what was expected."""
    return np.array([
        sum(m.columns["real"].sum() for m in t.mornings)
        / sum(((m.later + m.alive) @ (t.weight * through)).sum() for m in t.mornings)
        for t in trials
    ])  # fmt: skip
