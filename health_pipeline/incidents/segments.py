"""How two segments lie to each other: the same, one inside the other, overlapping, or apart."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Literal

Conditions = frozenset[str]
"""A segment as its conditions, ``dimension=value`` each; the total has none."""

Relation = Literal["same", "inside", "around", "across", "apart"]


@lru_cache(maxsize=1 << 16)
def conditions(segment: str) -> Conditions:
    """``market=ID|category=beauty`` as a set: the order of a cut's dimensions does not matter."""
    return frozenset(part for part in segment.split("|") if part)


def relation(one: Set[str], other: Set[str]) -> Relation:
    """How ``one`` lies to ``other``.

    ``inside`` it has more conditions, ``around`` it fewer of the same; ``across``: both have conditions of their own
    and can hold at once; ``apart``: they ask for different values of a dimension.
    """
    if one == other:
        return "same"
    if one > other:
        return "inside"
    if one < other:
        return "around"
    dimensions = [{c.split("=", 1)[0] for c in own} for own in (one - other, other - one)]
    return "apart" if dimensions[0] & dimensions[1] else "across"
