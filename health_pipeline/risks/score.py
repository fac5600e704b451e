"""Rank open incidents by a stated score.

``score = size x exposure x confidence x harm``, times the record of :mod:`.verdicts` where people have judged

* size: ``|log2(observed / expected)|``, at most 5 (a 32-fold change): a doubling counts 1.
* exposure: ``log10(1 + |excess|)`` with the excess in things per day beyond expectation: ten times as many, one more.
* confidence: ``(1 - q) x near / size``, where ``near`` is the size at the end of the 95 % interval nearer to no change:
  what is surely there, not what may be.
* harm: 1 in the direction the catalog calls bad (or when both are), 0.5 in the other.

An incident takes the score of its highest-scoring shift that is not over; the list shows its root's sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident, Member
from health_pipeline.incidents.weight import confidence, doublings, exposure, harm


@dataclass(frozen=True)
class Score:
    """The terms of a score, and their product."""

    size: float
    exposure: float
    confidence: float
    harm: float

    @property
    def value(self) -> float:
        return self.size * self.exposure * self.confidence * self.harm


def score_member(catalog: Catalog, member: Member) -> Score:
    """Score of a single shift."""
    return Score(
        size=doublings(member.change),
        exposure=exposure(member.excess),
        confidence=confidence(member.change, member.low, member.high, member.q_value),
        harm=harm(catalog.metric(member.metric), member.change),
    )


def score(catalog: Catalog, incident: Incident) -> Score:
    """Score of an incident of kind ``shift``: of its weightiest shift that is not over, if any is not."""
    lasting = [m for m in incident.members if m.is_open] or incident.members
    return max((score_member(catalog, m) for m in lasting), key=lambda s: s.value)


def rank(catalog: Catalog, incidents: Sequence[Incident]) -> list[tuple[Incident, Score]]:
    """Open incidents of kind ``shift``, the highest score first."""
    opened = [i for i in incidents if i.kind == "shift" and i.is_open]
    scored = [(i, score(catalog, i)) for i in opened]
    return sorted(scored, key=lambda pair: (-pair[1].value, pair[0].id))
