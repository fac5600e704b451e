"""Whether two shifts may be the same event, seen twice.

What counts is when they began, where, and whether the metrics have to do with each other. Segments that exclude each
other are never linked directly: two markets that move at once are one event only when their total moves too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from health_pipeline.catalog.model import Catalog, Metric
from health_pipeline.incidents.model import Member
from health_pipeline.incidents.segments import Conditions, conditions, relation
from health_pipeline.incidents.weight import weight

TOGETHER_DAYS = 3  # days between the onset intervals of shifts that may belong together
FARTHEST_DAYS = 14  # beyond it even onset intervals that overlap say nothing
MATERIAL = 0.1  # a part explains something of its whole when it carries so much of its excess
ALIKE = 3.0  # two cuts of one event have excesses within this factor

NONE, WEAK, STRONG, VIEW, PROJECTION = 0, 1, 2, 3, 4
"""How closely two shifts are linked. ``VIEW``: a metric in two cuts; ``PROJECTION``: in a whole and its part."""

SAME = 3
"""Of :meth:`Links.kin`: one metric, or one that sums to the other."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """A shift of the day, or what an incident remembers of one.

    Attributes:
        key: series and day of the report, which identify a shift from day to day.
        where: conditions of the segment.
        weight: size times exposure times confidence (:mod:`.weight`).
        active: not over: ``new`` or ``ongoing``.
        row: of ``shifts.schema.SHIFTS``; empty when it is only remembered.
    """

    key: tuple[str, dt.date]
    metric: str
    where: Conditions
    unit: str
    onset: dt.date
    onset_low: dt.date
    onset_high: dt.date
    change: float
    excess: float
    weight: float
    active: bool
    row: Row

    @property
    def series(self) -> str:
        return self.key[0]

    @property
    def up(self) -> bool:
        return self.change > 0


def node(row: Row) -> Node:
    """A row of the shifts table."""
    return Node(
        key=(row["series"], row["reported_on"]), metric=row["metric"], where=conditions(row["segment"]),
        unit=row["unit"], onset=row["onset"], onset_low=row["onset_low"], onset_high=row["onset_high"],
        change=row["change"], excess=row["excess"],
        weight=weight(row["change"], row["change_low"], row["change_high"], row["excess"], row["q_value"]),
        active=row["state"] in ("new", "ongoing"), row=row,
    )  # fmt: skip


def remembered(member: Member, unit: str) -> Node:
    """A member of an incident that is over; of its onset only the most likely day is known."""
    return Node(
        key=(member.series, member.reported_on), metric=member.metric, where=conditions(member.segment), unit=unit,
        onset=member.onset, onset_low=member.onset, onset_high=member.onset, change=member.change,
        excess=member.excess,
        weight=weight(member.change, member.low, member.high, member.excess, member.q_value),
        active=False, row={},
    )  # fmt: skip


class Links:
    """Links between shifts of one ecosystem."""

    def __init__(self, catalog: Catalog) -> None:
        self._metrics = {m.name: m for m in catalog.metrics}
        self._sums = {m.name: _sums(catalog, m) for m in catalog.metrics}
        self.kin = lru_cache(maxsize=None)(self._kin)

    def _kin(self, one: str, other: str) -> int:
        """How metrics belong together.

        Returns:
            3 for one metric (or one that sums to the other), 2 for those of a family, 1 for those that share a sum (the
            one's numerator or denominator is the other's), 0 for metrics of different things.
        """
        a, b = self._metrics[one], self._metrics[other]
        if one == other or one == b.adds_up_to or other == a.adds_up_to:
            return SAME
        if a.family == b.family:
            return 2
        return int(bool(self._sums[one] & self._sums[other]))

    def strength(self, one: Node, other: Node) -> int:
        """How closely two shifts are linked, ``NONE`` to ``PROJECTION``; the order does not matter.

        * A metric and its part: when the part carries a material share of the whole's excess, in the same direction.
        * A metric in two overlapping segments: when both moved in one direction, by a similar amount.
        * Related metrics when a condition is shared, or one segment is the total; of one family also when the segments
          merely overlap.
        * Metrics of different things: in the same segment, or when a condition is shared; onsets must agree closely.
        """
        lies = relation(one.where, other.where)
        if lies == "apart" or not _near(one, other):
            return NONE
        kin = self.kin(one.metric, other.metric)
        if kin == SAME:
            if lies == "across":
                return VIEW if _alike(one, other) else NONE
            whole, part = (one, other) if lies in ("around", "same") else (other, one)
            return PROJECTION if one.series == other.series or _carries(whole, part) else NONE
        shared = bool(one.where & other.where)
        if kin:
            if shared or lies == "same":
                return STRONG
            return WEAK if lies != "across" or kin == 2 else NONE
        if not _agree(one, other):
            return NONE
        return WEAK if shared or lies == "same" else NONE


def _sums(catalog: Catalog, metric: Metric) -> frozenset[tuple[str, str, str]]:
    """Sums a metric is made of, as (table, what is summed, condition); plain numbers of a table's rows included."""
    parts = (metric.numerator, metric.denominator)
    return frozenset(
        (catalog.table_of(metric, p).name, f"distinct {p.distinct}" if p.distinct else p.sum or "", p.where or "")
        for p in parts
        if p is not None
    )


def _near(one: Node, other: Node) -> bool:
    gap = max((one.onset_low - other.onset_high).days, (other.onset_low - one.onset_high).days)
    return gap <= TOGETHER_DAYS and abs((one.onset - other.onset).days) <= FARTHEST_DAYS


def _agree(one: Node, other: Node) -> bool:
    """Whether each most likely onset is possible for the other, give or take a day, or they are near anyway."""
    day = dt.timedelta(days=1)
    inside = (
        one.onset_low - day <= other.onset <= one.onset_high + day
        and other.onset_low - day <= one.onset <= other.onset_high + day
    )
    return inside or abs((one.onset - other.onset).days) <= TOGETHER_DAYS


def _carries(whole: Node, part: Node) -> bool:
    if part.excess * whole.excess <= 0:
        return False
    return abs(part.excess) >= MATERIAL * abs(whole.excess)


def _alike(one: Node, other: Node) -> bool:
    less, more = sorted((abs(one.excess), abs(other.excess)))
    return one.excess * other.excess > 0 and more <= ALIKE * less
