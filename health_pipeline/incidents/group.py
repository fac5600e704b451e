"""Which shifts of a day belong to which incident.

A shift stays where it is. New ones come in the order of their weight. Each joins the group to which it is linked most
closely, and it is linked to a group by its heart, not by any member that happens to be near: else, on a busy day, one
thing would lead to another until everything is one incident. Where a new shift shows that two groups are views of the
same event, as a total does of its parts, they become one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from health_pipeline.incidents.links import NONE, PROJECTION, SAME, VIEW, Links, Node, remembered
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.root import is_common
from health_pipeline.incidents.segments import relation

ABSORB_DAYS = 14  # an incident reported so lately may turn out to be part of another


@dataclass
class Group:
    """Shifts of one incident.

    Attributes:
        incident: yesterday's; ``None`` for a new one.
        nodes: the day's shifts in it.
        heart: what stands for it: yesterday's root, or the weightiest shift of a new one.
        absorbed: incidents that turned out to be part of it.
    """

    incident: Incident | None
    nodes: list[Node] = field(default_factory=list)
    heart: Node | None = None
    absorbed: list[Incident] = field(default_factory=list)

    @property
    def age(self) -> tuple[dt.date, dt.date, str]:
        """The oldest first; new ones last."""
        if self.incident is None:
            return dt.date.max, min(n.onset for n in self.nodes), min(n.series for n in self.nodes)
        return self.incident.first_reported, self.incident.onset, self.incident.id

    def link(self, links: Links, node: Node) -> tuple[int, float, int, float]:
        """How closely a shift is linked to the group.

        Returns:
            Kind of link, what the closest part makes of its whole, number of members linked, nearness of onset.

        A part or whole of a member belongs to it, and so does another cut of a member if it does not exclude the heart.
        Anything less must be linked to the heart, or to half of the members.
        """
        members = self.nodes or ([self.heart] if self.heart else [])
        if any(m.series == node.series and m.up == node.up for m in members):
            return PROJECTION + 1, 1.0, len(members), 0.0
        found = [links.strength(node, m) for m in members]
        best = max(found, default=NONE)
        linked = sum(f > NONE for f in found)
        heart = links.strength(node, self.heart) if self.heart is not None else NONE
        apart = self.heart is not None and relation(node.where, self.heart.where) == "apart"
        if apart:  # it belongs through a whole of both only if that moved beyond the two of them
            found = [
                f if f < PROJECTION or self._is_shared(links, node, m) else NONE
                for f, m in zip(found, members, strict=True)
            ]
            best, linked = max(found, default=NONE), sum(f > NONE for f in found)
        belongs = best == PROJECTION or (best == VIEW and not apart) or heart > NONE or 2 * linked >= len(members)
        if not belongs:
            return NONE, 0.0, 0, 0.0
        shares = [_part(node, m) for f, m in zip(found, members, strict=True) if f == PROJECTION]
        onset = self.heart.onset if self.heart else node.onset
        return best, max(shares, default=0.0), linked, -float(abs((onset - node.onset).days))

    def _is_shared(self, links: Links, node: Node, whole: Node) -> bool:
        """Whether a member is the whole of a shift and moved beyond it and the group's own part; or is its part."""
        if not whole.where < node.where:
            return True
        own = [
            m for m in self.nodes
            if m.where > whole.where and links.kin(m.metric, whole.metric) == SAME
            and relation(m.where, node.where) == "apart" and m.excess * whole.excess > 0
        ]  # fmt: skip
        return is_common(whole, [node, *sorted(own, key=lambda m: (-abs(m.excess), m.key))[:1]])


def group(links: Links, day: dt.date, yesterday: Sequence[Incident], nodes: Sequence[Node]) -> list[Group]:
    """Groups of the day: one for each incident of yesterday, whether or not it has shifts today, and the new ones.

    Args:
        yesterday: incidents of kind ``shift`` that are open or were so lately.
        nodes: all shifts of the day.
    """
    groups = [Group(incident) for incident in yesterday]
    homes = {(m.series, m.reported_on): g for g in groups if g.incident for m in g.incident.members}
    rest = []
    for node in sorted(nodes, key=lambda n: n.key):
        home = homes.get(node.key)
        if home is None:
            rest.append(node)
        else:
            home.nodes.append(node)
    for own in groups:
        own.heart = _heart(own)
    # Only what is over, and over since its own report, would open an incident that is closed from the start.
    for node in sorted((n for n in rest if n.active), key=lambda n: (-n.weight, n.key)):
        groups = _place(links, day, groups, node)
    return groups


def _heart(group: Group) -> Node | None:
    incident = group.incident
    if incident is None or not incident.members:
        return None
    today = [n for n in group.nodes if n.series == incident.series and n.active]
    root = next((m for m in incident.members if m.series == incident.series), incident.members[0])
    return today[0] if today else remembered(root, incident.unit)


def _place(links: Links, day: dt.date, groups: list[Group], node: Node) -> list[Group]:
    """Put a new shift where it belongs; groups of which it is a part or the whole become one."""
    found = [(link, g) for g in groups if (link := g.link(links, node))[0] > NONE]
    if not found:
        return [*groups, Group(None, [node], node)]
    joined = max(found, key=lambda f: (f[0], [-x.toordinal() for x in f[1].age[:2]], f[1].age[2]))[1]
    one = [
        g for (kind, *_), g in found
        if g is joined or (kind == PROJECTION and _may_merge(day, g) and _are_one(links, node, joined, g))
    ]  # fmt: skip
    if len(one) > 1 and _may_merge(day, joined):
        joined = min(one, key=lambda g: g.age)
        for other in one:
            if other is not joined:
                joined.nodes += other.nodes
                joined.absorbed += [*other.absorbed, *([other.incident] if other.incident else [])]
                groups = [g for g in groups if g is not other]
    joined.nodes.append(node)
    return groups


def _are_one(links: Links, node: Node, one: Group, other: Group) -> bool:
    """Whether a shift that is whole or part of members of two groups makes them one.

    Not when their hearts exclude each other and it is no more than the sum of the two.
    """
    if one.heart is None or other.heart is None or relation(one.heart.where, other.heart.where) != "apart":
        return True
    parts: list[Node] = []
    for own in (one, other):
        inside = [
            m for m in own.nodes
            if m.where > node.where and links.kin(m.metric, node.metric) == SAME and m.excess * node.excess > 0
            and not any(relation(m.where, p.where) != "apart" for p in parts)
        ]  # fmt: skip
        if not inside:
            return False
        parts.append(max(inside, key=lambda m: (abs(m.excess), m.key)))
    return is_common(node, parts)


def _part(one: Node, other: Node) -> float:
    less, more = sorted((abs(one.excess), abs(other.excess)))
    return less / more if more else 0.0


def _may_merge(day: dt.date, group: Group) -> bool:
    """An incident that people have known for long, or that is over, stays what it was."""
    known = group.incident
    return known is None or (known.is_open and (day - known.first_reported).days <= ABSORB_DAYS)
