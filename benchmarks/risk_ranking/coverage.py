"""Whether the 90 % intervals of scores and probabilities hold what is true in the twins.

An interval is of what is to be expected: the share of a case's views to come that violate, and the harm that is bound
to come by the simulator's own rates, audiences and plants of the day. Who is banned, leaves or is restricted is not in
these rates. So true harm is taken times the share of it that came in all twins together, one number for all cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import table
from benchmarks.risk_ranking.judged import passing
from benchmarks.risk_ranking.mornings import Morning, Trial
from benchmarks.risk_ranking.page import percent
from benchmarks.risk_ranking.reliability import share_interval
from health_pipeline.stats.arrays import Array

AIM = 0.9
ALL, LISTED, WAVE, RING, CLUSTERS = (
    "all creators", "listed creators", "of these, in a wave", "of these, of a planted ring", "listed clusters",
)  # fmt: skip
TENTHS = {"by score: the first tenth": (0.0, 0.1), "to the half": (0.1, 0.5), "the others": (0.5, 1.0)}
GROUPS = (ALL, *TENTHS, LISTED, WAVE, RING, CLUSTERS)


@dataclass
class Held:
    """Cases of a group on the mornings of one twin, and in how many an interval held what is true.

    Attributes:
        probability: the share of the views to come that violate.
        score: harm that is to be expected, per minute.
        came: the same from the views that came, which luck decides too.
    """

    cases: int = 0
    probability: int = 0
    score: int = 0
    came: int = 0


@dataclass(frozen=True)
class _Cases:
    """Cases of one morning: (N,) each, true ones beside the stated."""

    columns: dict[str, Array]
    later: Array
    alive: Array
    real: Array
    views: Array
    groups: dict[str, NDArray[np.bool_]]

    def count(self, held: dict[str, Held], harm: Array, came: float) -> None:
        c, factor = self.columns, 1.0 + self.columns["repeat"] + self.columns["velocity"]
        sold = c["harm"] - c["probability"] * c["exposure"] * c["severity"] * factor
        true = {
            "probability": np.divide(self.later.sum(axis=1), self.views, where=self.views > 0, out=np.zeros_like(sold)),
            "score": came * ((self.later + self.alive) @ harm) * factor + sold,
            "came": self.real * factor + sold,
        }
        there = (c["harm"] > 0) & (self.views > 0)
        for name, group in self.groups.items():
            at = group & there
            held[name].cases += int(at.sum())
            for of, value in true.items():
                stated, per = ("probability", 1.0) if of == "probability" else ("score", np.maximum(c["minutes"], 1.0))
                inside = (value / per >= c[f"{stated}_low"]) & (value / per <= c[f"{stated}_high"])
                setattr(held[name], of, getattr(held[name], of) + int((inside & at).sum()))


def _cases(t: Trial, m: Morning) -> list[_Cases]:
    c, listed, found = m.columns, m.columns["listed"] > 0, []
    rank = np.argsort(np.argsort(-c["harm"] / np.maximum(c["minutes"], 1.0), kind="stable"), kind="stable")
    part = rank / max(int((c["harm"] > 0).sum()), 1)
    groups = {name: (part >= low) & (part < high) for name, (low, high) in TENTHS.items()}
    groups |= {ALL: c["harm"] > 0, LISTED: listed, WAVE: listed & (c["wave"] > 0), RING: listed & t.ring}
    found.append(_Cases(c, m.later, m.alive, c["real"], c["true views"], groups))
    if len(m.clusters["harm"]):
        count = len(m.clusters["harm"])

        def total(values: Array) -> Array:
            summed = np.zeros((count, *values.shape[1:]))
            np.add.at(summed, m.cluster[m.cluster >= 0], values[m.cluster >= 0])
            return summed

        real, views = total(c["real"]), total(c["true views"])
        only = {CLUSTERS: m.clusters["listed"] > 0}
        found.append(_Cases(m.clusters, total(m.later), total(m.alive), real, views, only))
    return found


def held(t: Trial, harm: Array, came: float) -> dict[str, Held]:
    """By group of cases, how often the intervals of one twin hold.

    Args:
        harm: (severities,) harm of an expected violating view.
        came: share of what is to be expected by the simulator's rates that comes.
    """
    found = {name: Held() for name in GROUPS}
    for m in t.mornings:
        for cases in _cases(t, m):
            cases.count(found, harm, came)
    return found


def share_that_came(trials: Sequence[Trial], rings: bool = False) -> float:
    """Harm of all twins by the views that came, over what was to be expected; or that of planted rings alone.

    Not a number where nothing was to be expected.
    """
    through, came, expected = passing(trials), 0.0, 0.0
    for t in trials:
        who = t.ring if rings else np.ones(len(t.ring), bool)
        for m in t.mornings:
            came += float(m.columns["real"][who].sum())
            expected += float(((m.later + m.alive)[who] @ (t.weight * through)).sum())
    return came / expected if expected > 0 else np.nan


def coverage_lines(trials: Sequence[Trial]) -> list[str]:
    """The section of the page."""
    scenarios, through, came = list(dict.fromkeys(t.scenario for t in trials)), passing(trials), share_that_came(trials)
    found = {s: [held(t, t.weight * through, came) for t in trials if t.scenario == s] for s in scenarios}
    rows = [
        [name, *(cell for s in scenarios for cell in _cells([one[name] for one in found[s]]))]
        for name in GROUPS
        if any(one[name].cases for s in scenarios for one in found[s])
    ]
    luck = "; ".join(
        f"{name} {', '.join(_share([one[name] for one in found[s]], 'came') for s in scenarios)}"
        for name in (ALL, LISTED)
    )
    of_rings = share_that_came(trials, rings=True)
    rings = f", of planted rings' {percent(of_rings, 0)}" if np.isfinite(of_rings) else ""
    return [
        "## Do the intervals hold?", "",
        f"**How to read it.** A case's score and probability have {percent(AIM, 0)} intervals. They are of what is to be expected, not "
        "of what luck makes of it: *probability* tells how often the interval held the share of the case's views to come that violate, "
        "*score* how often that of the score held the harm that the simulator's rates and audiences make, with 95 % interval "
        f"over the seeds; bold where that doesn't hold {percent(AIM, 0)}. The simulator's rates know of nobody who is banned or leaves: "
        f"{percent(came, 0)} of their harm came in all twins together{rings}, and true harm is taken times the former. Creators who may "
        "still post, on every judged morning; the listed ones, chosen for a high score, without exploration.", "",
        *table(["cases", *(x for s in scenarios for x in (f"`{s}`: n", "probability", "score"))], rows), "",
        f"What really came, which luck decides too, was within the score's interval for {luck}.", "",
        "Contents have intervals too, of probabilities: a content violates or doesn't, so no interval of one can be held against the truth. Whether "
        "they are right together is in the tables above.", "",
    ]  # fmt: skip


def _cells(twins: Sequence[Held]) -> list[str]:
    return [f"{sum(h.cases for h in twins):,}", *(_share(twins, of) for of in ("probability", "score"))]


def _share(twins: Sequence[Held], of: str) -> str:
    cases, inside = (np.array([getattr(h, name) for h in twins], float) for name in ("cases", of))
    if not cases.sum():
        return ""
    share, (low, high) = percent(float(inside.sum() / cases.sum()), 0), share_interval(cases, inside)
    if (low, high) == (0.0, 1.0):
        return share
    text = f"{share} ({100 * low:.0f} to {100 * high:.0f})"
    return text if low <= AIM <= high else f"**{text}**"
