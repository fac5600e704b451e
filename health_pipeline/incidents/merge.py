"""Incidents with a life: yesterday's incidents, today's shifts and deliveries in, today's incidents out.

Shifts that are views of one event are one incident (:mod:`.group`), told by the metric and segment that explain the
others best (:mod:`.root`). It is *new* on the day first reported, *worsening* for some days after it has grown,
*ongoing* while any of its shifts is not over, and ends *recovered*, *settled* as the new normal, *retracted* because
corrected data no longer show it, or *merged* into the incident of which it turned out to be a part.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from health_pipeline.catalog.model import EVERY_UNIT, Catalog
from health_pipeline.incidents.group import Group, group
from health_pipeline.incidents.holes import data_incidents
from health_pipeline.incidents.identity import identity
from health_pipeline.incidents.links import Links, Node, node
from health_pipeline.incidents.model import Incident, Member, Reach, State
from health_pipeline.incidents.root import choose_root
from health_pipeline.incidents.segments import conditions

EVENT_DAYS = 5  # known events so near the onset are shown beside it
REMEMBERED_DAYS = 14  # what flares up again so soon after its end is the same incident
WORSE_DAYS = 3  # how long an incident that grew is called worsening
UNJUDGED_DAYS = 14  # an incident whose series are not judged any more is over after so many days

Row = Mapping[str, Any]


def advance(
    catalog: Catalog,
    day: dt.date,
    yesterday: Sequence[Incident],
    shifts: Sequence[Row],
    deliveries: Sequence[Row],
    judged: Collection[str],
) -> list[Incident]:
    """Today's incidents: every open one, and those that ended lately.

    Args:
        catalog: of the ecosystem.
        day: today.
        yesterday: incidents of the day before.
        shifts: rows of ``shifts.schema.SHIFTS`` of today. A shift has one on every day from its report until it is
            recovered or settled.
        deliveries: rows of ``raw.schema.DELIVERIES`` of today.
        judged: series that were judged today.
    """
    known = [i for i in yesterday if i.kind == "shift"]
    remembered = [i for i in known if i.ended is None or (day - i.ended).days <= REMEMBERED_DAYS]
    lasting = [i for i in remembered if i.state != "merged"]
    today = [dataclasses.replace(i, day=day) for i in remembered if i.state == "merged"]
    taken = {i.id for i in yesterday}
    for own in group(Links(catalog), day, lasting, [node(row) for row in shifts]):
        if any(n.active for n in own.nodes):
            incident = _live(catalog, day, own, taken)
            taken.add(incident.id)
            today.append(incident)
            today += [
                dataclasses.replace(
                    absorbed, day=day, state="merged", ended=day, merged_into=incident.id, members=(), reach=Reach()
                )
                for absorbed in own.absorbed
            ]
        elif own.incident is not None:
            today.append(_end(day, own.incident, own.nodes, judged))
    today += data_incidents(catalog, day, [i for i in yesterday if i.kind == "data" and i.is_open], deliveries)
    return sorted(today, key=lambda i: (i.kind, i.unit, i.family, i.onset, i.id))


def _live(catalog: Catalog, day: dt.date, own: Group, taken: Collection[str]) -> Incident:
    """An incident some shifts of which are not over."""
    active = [n for n in own.nodes if n.active]
    before = own.incident
    root = choose_root(catalog, active, before.series if before else "")
    fields = _told(root) | {
        "day": day, "unit": root.unit, "last_reported": day, "headline_reported": day, "ended": None,
        "members": _members(root, own.nodes), "reach": _reach(active), "events": _events(catalog, root),
        "merged_into": "",
    }  # fmt: skip
    if before is None:
        family = catalog.metric(root.metric).family
        return Incident(
            id=identity(root.unit, family, root.onset, taken), kind="shift", family=family, state="new",
            first_reported=day, worse_beyond=_far_end(root), **fields,
        )  # fmt: skip
    worse = _is_worse(before, root, fields["reach"])
    moved = root.series != before.series or root.up != (before.direction == "up")
    worsened_on = day if worse else before.worsened_on
    state: State = "ongoing"
    if worsened_on is not None and (day - worsened_on).days < WORSE_DAYS:
        state = "worsening"
    return dataclasses.replace(
        before, state=state, worsened_on=worsened_on,
        worse_beyond=_far_end(root) if worse or moved else before.worse_beyond,
        explanation=None if moved else before.explanation, **fields,
    )  # fmt: skip


def _is_worse(before: Incident, root: Node, reach: Reach) -> bool:
    """Whether it grew: is back after its end, larger than its interval held, in a wider segment, or in more units."""
    if not before.is_open:
        return True
    if root.series == before.series:
        larger = root.change > before.worse_beyond if root.up else root.change < before.worse_beyond
        if larger and root.up == (before.direction == "up"):
            return True
    elif root.metric == before.metric and root.where < conditions(before.segment):
        return True
    named = [len(set(r.units) - {EVERY_UNIT}) for r in (before.reach, reach)]
    return named[1] > named[0]


def _end(day: dt.date, incident: Incident, nodes: Sequence[Node], judged: Collection[str]) -> Incident:
    """An incident all of whose shifts are over, or gone."""
    if not incident.is_open:
        return dataclasses.replace(incident, day=day)
    if nodes:
        own = [n for n in nodes if n.series == incident.series]
        last = own[-1] if own else max(nodes, key=lambda n: (abs(n.excess), n.key))
        state: State = "settled" if last.row["state"] == "settled" else "recovered"
        told = _told(last) if own else {}
        return dataclasses.replace(
            incident, day=day, state=state, ended=day, members=_members(last, nodes), **told
        )  # fmt: skip
    # A shift always leaves a last row. Where none is left and its series was judged, the past has been corrected.
    if any(m.series in judged for m in incident.members):
        return dataclasses.replace(incident, day=day, state="retracted", ended=day)
    if (day - incident.last_reported).days > UNJUDGED_DAYS:
        return dataclasses.replace(incident, day=day, state="settled", ended=day)
    return dataclasses.replace(incident, day=day, state="ongoing")


def _told(root: Node) -> dict[str, Any]:
    """The fields of an incident that its root decides."""
    row = root.row
    same = (
        "onset", "onset_low", "onset_high", "series", "metric", "segment", "expected", "observed", "change",
        "change_low", "change_high", "excess", "q_value", "tested",
    )  # fmt: skip
    return {name: row[name] for name in same} | {"shape": row["kind"], "direction": "up" if root.up else "down"}


def _far_end(root: Node) -> float:
    """The end of the root's interval that is farther from no change."""
    end: float = root.row["change_high" if root.up else "change_low"]
    return end


def _members(root: Node, nodes: Sequence[Node]) -> tuple[Member, ...]:
    """The root first, then one metric of each other segment by size, the segments' other metrics, and what is over."""
    ordered = sorted((n for n in nodes if n is not root), key=lambda n: (not n.active, -abs(n.excess), n.key))
    seen = {root.where}
    first: list[Node] = []
    again: list[Node] = []
    for item in ordered:
        (first if item.active and item.where not in seen else again).append(item)
        seen.add(item.where)
    return tuple(_member(n.row) for n in [root, *first, *again])


def _member(row: Row) -> Member:
    return Member(
        series=row["series"], metric=row["metric"], segment=row["segment"], onset=row["onset"],
        expected=row["expected"], observed=row["observed"], change=row["change"], low=row["change_low"],
        high=row["change_high"], excess=row["excess"], q_value=row["q_value"], reported_on=row["reported_on"],
        state=row["state"],
    )  # fmt: skip


def _reach(active: Sequence[Node]) -> Reach:
    return Reach(
        segments=len({n.where for n in active}),
        metrics=len({n.metric for n in active}),
        units=tuple(sorted({n.unit for n in active})),
    )


def _events(catalog: Catalog, root: Node) -> tuple[str, ...]:
    return tuple(
        e.title for e in catalog.events
        if (not e.units or root.unit in e.units) and abs((e.day - root.onset).days) <= EVENT_DAYS
    )  # fmt: skip
