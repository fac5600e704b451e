"""Which incidents two settings would both have reported, which only one of them, and when."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from health_pipeline.backtest.replay import Outcome, Reported

NEAR_DAYS = 3
"""Onsets so near, as first told or as told last, may be of the same incident."""
UNMATCHED = 1e6


@dataclass(frozen=True)
class Shared:
    """An incident that both would have reported."""

    a: Reported
    b: Reported

    @property
    def later(self) -> int:
        """Days by which B's first report comes after A's."""
        return (self.b.first.first_reported - self.a.first.first_reported).days


@dataclass(frozen=True)
class Comparison:
    """Two outcomes, incident by incident; those first reported in the days that count."""

    a: Outcome
    b: Outcome
    shared: tuple[Shared, ...]
    only_a: tuple[Reported, ...]
    only_b: tuple[Reported, ...]

    @property
    def laters(self) -> Counter[int]:
        """Days by which B reports a shared incident later than A (negative: earlier) -> how many."""
        return Counter(s.later for s in self.shared)


def compare(a: Outcome, b: Outcome) -> Comparison:
    """Match the incidents of two outcomes one to one, as many as possible and the nearest onsets together.

    Two incidents may be the same when they are of one kind; when unit and family agree, or the one's root is among the
    other's shifts; and when their onsets lie within :data:`NEAR_DAYS`. One that the other setting reported in the days
    lived through before is shared as well.
    """
    own = [[*o.earlier, *o.incidents] for o in (a, b)]
    costs = np.full((len(own[0]), len(own[1])), UNMATCHED)
    members = [[_series(r) for r in rs] for rs in own]
    for i, one in enumerate(own[0]):
        for j, other in enumerate(own[1]):
            distance = _distance(one, other)
            if one.kind == other.kind and distance <= NEAR_DAYS and _related(one, other, members[0][i], members[1][j]):
                costs[i, j] = distance + (0.0 if one.last.series == other.last.series else 0.5)
    pairs = [
        (own[0][i], own[1][j]) for i, j in zip(*linear_sum_assignment(costs), strict=True) if costs[i, j] < UNMATCHED
    ]
    inside = {r.id for r in a.incidents}, {r.id for r in b.incidents}
    taken = {x.id for x, _ in pairs}, {y.id for _, y in pairs}
    shared = [Shared(x, y) for x, y in pairs if x.id in inside[0] or y.id in inside[1]]
    return Comparison(
        a, b, tuple(sorted(shared, key=lambda s: (min(s.a.first.day, s.b.first.day), s.a.id))),
        tuple(r for r in a.incidents if r.id not in taken[0]), tuple(r for r in b.incidents if r.id not in taken[1]),
    )  # fmt: skip


def _related(one: Reported, other: Reported, series_of_one: frozenset[str], series_of_other: frozenset[str]) -> bool:
    if (one.last.unit, one.last.family, one.last.table) == (other.last.unit, other.last.family, other.last.table):
        return True
    return one.kind == "shift" and (one.last.series in series_of_other or other.last.series in series_of_one)


def _distance(one: Reported, other: Reported) -> int:
    pairs = ((one.first.onset, other.first.onset), (one.last.onset, other.last.onset))
    return min(abs((x - y).days) for x, y in pairs)


def _series(reported: Reported) -> frozenset[str]:
    return frozenset(m.series for row in reported.rows for m in row.members) | {r.series for r in reported.rows}


def states(outcome: Outcome, last: dt.date | None = None) -> Counter[str]:
    """How the incidents stand on the last day: ``open``, or how they ended."""
    newest = last or outcome.days[-1]
    return Counter(
        "open" if r.last.is_open and r.last.day == newest else r.last.state
        for r in outcome.incidents
        if r.kind == "shift"
    )
