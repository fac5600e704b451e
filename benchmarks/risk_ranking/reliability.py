"""Whether the probabilities are right: what was stated on the judged mornings beside the twin's truth.

Contents are stated anew every morning, and those of a creator resemble one another. So what is uncertain is told from
how the twins differ: the variance of a ratio over twins, as of clusters of a survey, with the interval that E. L. Korn
and B. I. Graubard give for rare events (*Survey Methodology* 24, 1998): exact, for as many independent cases as have
that variance.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from benchmarks.figures import machine, table
from benchmarks.risk_ranking.judged import interval
from benchmarks.risk_ranking.mornings import Trial
from benchmarks.risk_ranking.page import STUDY, percent
from health_pipeline.stats.arrays import Array

BANDS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
PROGRAM, PRIOR, ONE = "the program", "the prior alone", "one number for all"


@dataclass(frozen=True)
class Stated:
    """Probabilities stated on the mornings of one twin.

    Attributes:
        by: by whom -> (R,) the probabilities.
        cases: (R,) of how many cases each is stated.
        true: (R,) in how many of them it was so.
    """

    by: Mapping[str, Array]
    cases: Array
    true: Array


@dataclass(frozen=True)
class Band:
    """Cases of all twins to which the program gave a probability within a band.

    Attributes:
        stated: mean probability.
        true, low, high: share that violated, with 95 % interval; 0 and 1 with one twin.
    """

    cases: int
    stated: float
    true: float
    low: float
    high: float

    @property
    def off(self) -> bool:
        """What was stated is outside the interval."""
        return not self.low <= self.stated <= self.high


def of_contents(t: Trial) -> Stated:
    """Undecided contents: does it violate?"""
    columns = {
        n: np.concatenate([m.contents[n] for m in t.mornings]) for n in ("probability", "prior_probability", "bad")
    }
    by = {PROGRAM: columns["probability"], PRIOR: columns["prior_probability"]}
    return _stated(by, np.ones(len(columns["bad"])), columns["bad"])


def of_creators(t: Trial, mornings: slice = slice(None)) -> Stated:
    """Posts of the horizon of creators with contents in the memory: violations expected per post."""
    names = ("rate", "usual rate", "posts later", "violating posts")
    columns = {n: np.concatenate([m.columns[n] for m in t.mornings[mornings]]) for n in names}
    there = (columns["rate"] > 0) & (columns["posts later"] > 0)
    rate, usual, posts, violating = (columns[n][there] for n in names)
    return _stated({PROGRAM: rate, PRIOR: usual}, posts, violating)


def _stated(by: Mapping[str, Array], cases: Array, true: Array) -> Stated:
    """With the true share of all, which nobody knows who has no labels: what telling cases apart is worth."""
    return Stated({**by, ONE: np.full(len(cases), true.sum() / cases.sum())}, cases, true)


def bands(twins: Sequence[Stated], edges: Sequence[float] = BANDS, by: str = PROGRAM) -> list[Band | None]:
    """One for each pair of ``edges``, the upper one outside but for the last; ``None`` where nothing was stated."""
    cases, stated, true = _sums(twins, edges, by)
    return [_band(cases[:, b], stated[:, b], true[:, b]) for b in range(len(edges) - 1)]


def calibration_error(
    twins: Sequence[Stated], by: str = PROGRAM, edges: Sequence[float] = BANDS
) -> tuple[float, float]:
    """Mean distance of what was stated and what was true, over the cases in the bands; and what chance makes of it.

    The latter is what right probabilities would show on average, by how much the twins differ; infinite with one twin.
    """
    cases, stated, true = _sums(twins, edges, by)
    missed = true - stated
    error = float(np.abs(missed.sum(axis=0)).sum() / cases.sum())
    if len(twins) < 2:
        return error, np.inf
    spread = np.sqrt(len(twins) * np.var(missed, axis=0, ddof=1))
    return error, float(np.sqrt(2.0 / np.pi) * spread.sum() / cases.sum())


def brier(twin: Stated, by: str = PROGRAM) -> float:
    """Mean squared distance of the probability from what was true, 1 or 0 (G. W. Brier, *Monthly Weather Review* 78, 1950)."""
    p = twin.by[by]
    return float((twin.true * (1 - p) ** 2 + (twin.cases - twin.true) * p**2).sum() / twin.cases.sum())


def _sums(twins: Sequence[Stated], edges: Sequence[float], by: str) -> tuple[Array, Array, Array]:
    """(twins, bands) each: cases, the sum of what was stated of them, and how many were true."""
    made = np.zeros((3, len(twins), len(edges) - 1))
    for row, t in enumerate(twins):
        p = t.by[by]
        band = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, len(edges) - 2)
        for k, values in enumerate((t.cases, t.cases * p, t.true)):
            made[k, row] = np.bincount(band, values, len(edges) - 1)
    return made[0], made[1], made[2]


def _band(cases: Array, stated: Array, true: Array) -> Band | None:
    n = cases.sum()
    if not n:
        return None
    share = true.sum() / n
    return Band(int(n), float(stated.sum() / n), float(share), *share_interval(cases, true))


def share_interval(cases: Array, true: Array) -> tuple[float, float]:
    """95 % interval of a share, from (twins,) cases and those of them that were true; 0 and 1 with one twin."""
    twins, n = len(cases), float(cases.sum())
    if twins < 2:
        return 0.0, 1.0
    share = float(true.sum() / n)
    worth = n / twins  # where nothing, or all, is true: the twins can't tell, so that one of them counts
    if 0 < share < 1:
        variance = twins / (twins - 1) * float(((true - share * cases) ** 2).sum()) / n**2
        worth = min(share * (1 - share) / variance, n) if variance > 0 else n
    worth *= float((stats.norm.ppf(0.975) / stats.t.ppf(0.975, twins - 1)) ** 2)
    hits = share * worth
    low = float(special.betaincinv(hits, worth - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, worth - hits, 0.975)) if hits < worth else 1.0
    return low, high


def reliability_lines(trials: Sequence[Trial]) -> list[str]:
    """The section of the page."""
    scenarios = list(dict.fromkeys(t.scenario for t in trials))
    contents = {s: [of_contents(t) for t in trials if t.scenario == s] for s in scenarios}
    creators = {s: [of_creators(t) for t in trials if t.scenario == s] for s in scenarios}
    lately = {s: [of_creators(t, slice(-1, None)) for t in trials if t.scenario == s] for s in scenarios}
    return [
        "## Are the probabilities right?", "",
        f"Written by `python -m {STUDY}` on {machine()}, from the same twins and mornings as the tables above.", "",
        "**How to read it.** Of all that was given between 3 % and 10 %, between 3 % and 10 % should violate. *Stated* is the mean of "
        "what the program said on the judged mornings, *true* the share that does violate in the twin, with 95 % interval over the "
        "seeds; bold where the interval doesn't hold what was stated. A true share below the stated one means too much "
        "suspicion, above it too little.", "",
        "**Undecided contents**, each on every morning on which it is open:", "",
        *_table(contents), "", *_scores(contents), "",
        "**Creators**: violations expected per post, and the posts of the seven days after the morning. What begins or ends in these "
        "days is in what was true, and could not be known: the first judged morning is the first day of the rings. Of the last "
        f"morning alone: {'; '.join(f'`{s}` {_whole(last)}' for s, last in lately.items())}.", "",
        *_table(creators), "", *_scores(creators), "",
        f"*{PRIOR.capitalize()}* is what is usual for such contents, or for those who post the like, without anything known of "
        "the content or creator itself: nor that nobody has acted on it yet. "
        f"*{ONE.capitalize()}* is the share that is true of all, which only the truth tells. The Brier score is the mean squared error of the probabilities; the calibration error is the "
        "mean distance of *stated* and *true* over the bands, by cases, and *by chance* what it would be on average if all were right.",
        "",
    ]  # fmt: skip


def _share(value: float) -> str:
    """A share with two significant digits or so."""
    return percent(value, 2 if value < 0.01 else 1 if value < 0.1 else 0)


def _table(found: Mapping[str, Sequence[Stated]]) -> list[str]:
    rows = {s: bands(twins) for s, twins in found.items()}
    whole = {s: bands(twins, (0.0, 1.0))[0] for s, twins in found.items()}
    lines = [
        [f"{100 * low:g} to {100 * high:g} %", *(x for s in found for x in _cells(rows[s][b]))]
        for b, (low, high) in enumerate(itertools.pairwise(BANDS))
        if any(of[b] for of in rows.values())
    ]
    head = ["probability", *(x for s in found for x in (f"`{s}`: n", "stated", "true"))]
    return table(head, [*lines, ["all", *(x for s in found for x in _cells(whole[s]))]])


def _whole(twins: Sequence[Stated]) -> str:
    _, stated, true = _cells(bands(twins, (0.0, 1.0))[0])
    return f"stated {stated}, true {true}"


def _cells(band: Band | None) -> list[str]:
    if band is None:
        return ["0", "", ""]
    true = _share(band.true)
    if (band.low, band.high) != (0.0, 1.0):
        true += f" ({_share(band.low).removesuffix(' %')} to {_share(band.high).removesuffix(' %')})"
    return [f"{band.cases:,}", _share(band.stated), f"**{true}**" if band.off else true]


def _scores(found: Mapping[str, Sequence[Stated]]) -> list[str]:
    rows = [
        [f"Brier score, {who}", *(f"{np.mean([brier(t, who) for t in twins]):.5f}" for twins in found.values())]
        for who in (PROGRAM, PRIOR, ONE)
    ]
    rows += [[f"lower than with {who}, by", *(_less(twins, who) for twins in found.values())] for who in (PRIOR, ONE)]
    for who in (PROGRAM, PRIOR):
        errors = [calibration_error(twins, who) for twins in found.values()]
        rows.append([
            f"calibration error, {who}",
            *(percent(e, 2) + (f" (by chance {percent(c, 2)})" if np.isfinite(c) else "") for e, c in errors),
        ])  # fmt: skip
    return table(["", *(f"`{s}`" for s in found)], rows)


def _less(twins: Sequence[Stated], than: str) -> str:
    mean, low, high = interval(np.array([1 - brier(t) / brier(t, than) for t in twins]))
    return percent(mean) + (f" ({100 * low:.1f} to {100 * high:.1f})" if np.isfinite(low) else "")
