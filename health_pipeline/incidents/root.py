"""Which metric and segment an incident is really about.

The collapse: of shifts of one metric that lie inside each other, the root is the narrowest that still carries the
whole, so that without its factor nothing of the rest is remarkable any more. Of the roots of several metrics it is the
one that weighs most and lies in what the others show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.links import Node
from health_pipeline.incidents.segments import relation
from health_pipeline.incidents.weight import harm

CARRIED = 0.7  # a part that carries so much of its whole's excess is what the whole is about
LEFT = 0.5  # unless the rest of the whole moved, on the log scale, more than half as far as the part
FEW = 0.05  # a rest that is so small a part of its whole tells nothing
KEPT = 0.75  # yesterday's root stays while it explains so much of what today's best does


def choose_root(catalog: Catalog, nodes: Sequence[Node], before: str) -> Node:
    """The shift that explains the others best.

    Args:
        nodes: shifts of one incident that are not over; at least one.
        before: series of yesterday's root, or "".
    """
    chains: dict[str, list[Node]] = {}
    for node in nodes:
        metric = catalog.metric(node.metric)
        chains.setdefault(metric.adds_up_to or metric.name, []).append(node)
    roots = {_collapse(chain).key: explains(catalog, _collapse(chain), nodes) for chain in chains.values()}
    by_key = {node.key: node for node in nodes}
    best = min(roots, key=lambda key: (-roots[key], key))
    kept = [key for key in roots if key[0] == before and roots[key] >= KEPT * roots[best]]
    return by_key[min(kept) if kept else best]


def explains(catalog: Catalog, root: Node, nodes: Sequence[Node]) -> float:
    """Weight times harm of a shift, times the share of the others in which it lies.

    A segment that holds the root's shows it whole (1), one that overlaps it or lies inside it in part (0.5).
    """
    shown = {"same": 1.0, "inside": 1.0, "around": 0.5, "across": 0.5, "apart": 0.0}
    lies = [shown[relation(root.where, other.where)] for other in nodes]
    return root.weight * harm(catalog.metric(root.metric), root.change) * sum(lies) / len(lies)


def _collapse(chain: Sequence[Node]) -> Node:
    """From the widest shift of a metric down, as long as one part carries it."""
    current = min(chain, key=lambda n: (len(n.where), -abs(n.excess), n.key))
    while True:
        inside = [n for n in chain if n.where > current.where and carries(current, n)]
        if not inside:
            return current
        current = min(inside, key=lambda n: (len(n.where), -abs(n.excess), n.key))


def carries(whole: Node, part: Node) -> bool:
    """Whether what a whole shows is its part's shift: the part has its excess, and the rest hardly moved."""
    if part.excess * whole.excess <= 0 or abs(part.excess) < CARRIED * abs(whole.excess):
        return False
    usual, own = whole.excess / whole.change, part.excess / part.change  # things a day had nothing changed
    left, excess = usual - own, whole.excess - part.excess
    if left <= FEW * usual:
        return abs(_log(part.change)) > 1.2 * abs(_log(whole.change))  # there is no rest to speak of
    rest = _log(excess / left)
    return rest * part.change <= 0 or abs(rest) < LEFT * abs(_log(part.change))


def is_common(whole: Node, parts: Sequence[Node]) -> bool:
    """Whether a whole moved by more than some parts that exclude each other: its rest moved about as it did.

    Else it is only their sum, and no sign that they have to do with each other.
    """
    usual, excess = whole.excess / whole.change, whole.excess
    left = usual - sum(part.excess / part.change for part in parts)
    rest = excess - sum(part.excess for part in parts)
    if left <= FEW * usual:
        return True  # they are all there is
    moved = _log(rest / left)
    return moved * whole.change > 0 and abs(moved) >= LEFT * abs(_log(whole.change))


def _log(change: float) -> float:
    return math.log(max(1.0 + change, 1e-6))
