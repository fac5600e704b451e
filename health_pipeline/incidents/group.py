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

from health_pipeline.incidents.links import NONE, PROJECTION, VIEW, Links, Node, remembered
from health_pipeline.incidents.model import Incident
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

    def link(self, links: Links, node: Node) -> tuple[int, int, float]:
        """How closely a shift is linked to the group: kind of link, number of members linked, nearness of onset.

        A part or whole of a member belongs to it, and so does another cut of a member if it does not exclude the heart.
        Anything less must be linked to the heart, or to half of the members.
        """
        members = self.nodes or ([self.heart] if self.heart else [])
        if any(m.series == node.series and m.up == node.up for m in members):
            return PROJECTION + 1, len(members), 0.0
        found = [links.strength(node, m) for m in members]
        best = max(found, default=NONE)
        linked = sum(f > NONE for f in found)
        heart = links.strength(node, self.heart) if self.heart is not None else NONE
        apart = self.heart is not None and relation(node.where, self.heart.where) == "apart"
        belongs = best == PROJECTION or (best == VIEW and not apart) or heart > NONE or 2 * linked >= len(members)
        if not belongs:
            return NONE, 0, 0.0
        onset = self.heart.onset if self.heart else node.onset
        return best, linked, -float(abs((onset - node.onset).days))


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
    one = [g for (kind, *_), g in found if g is joined or (kind == PROJECTION and _may_merge(day, g))]
    if len(one) > 1 and _may_merge(day, joined):
        joined = min(one, key=lambda g: g.age)
        for other in one:
            if other is not joined:
                joined.nodes += other.nodes
                joined.absorbed += [*other.absorbed, *([other.incident] if other.incident else [])]
                groups = [g for g in groups if g is not other]
    joined.nodes.append(node)
    return groups


def _may_merge(day: dt.date, group: Group) -> bool:
    """An incident that people have known for long, or that is over, stays what it was."""
    known = group.incident
    return known is None or (known.is_open and (day - known.first_reported).days <= ABSORB_DAYS)
