"""The study's tables and sentences in docs/risk-ranking.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.figures import machine, table
from benchmarks.risk_ranking.judged import (
    FIRST,
    Found,
    Judged,
    came_of,
    expected,
    interval,
    judge,
    judge_contents,
    passing,
    queue_of,
    real,
    shares,
)
from benchmarks.risk_ranking.mornings import CREATORS, DAYS, Trial
from benchmarks.risk_ranking.orders import CLAIRVOYANT, FORECAST, MODEL, ORACLE, PAST, RIVALS, STRONGER
from health_pipeline.marketplace.parameters import SEVERITIES
from health_pipeline.stats.arrays import Array

STUDY = "benchmarks.risk_ranking"
LOOKED_AT = (1, 2)
"""Seeds that were looked at while the program was being improved."""
AIM = 0.92


def percent(part: float, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f} %"


def told(values: Array) -> str:
    mean, low, high = interval(values)
    return percent(mean) + (f" ({100 * low:.1f} to {100 * high:.1f})" if np.isfinite(low) else "")


def ahead(values: Array) -> str:
    """A difference of shares in points, with its interval; bold where the interval has no zero."""
    mean, low, high = interval(values)
    text = f"{100 * mean:+.1f}" + (f" ({100 * low:+.1f} to {100 * high:+.1f})" if np.isfinite(low) else "")
    return f"**{text}**" if low > 0 and np.isfinite(low) else text


def table_of(found: Found, names: Sequence[str], of: Callable[[Judged], float]) -> list[str]:
    """By order and scenario: the share of the oracle's harm, and how far the program is ahead."""
    head = ["order", *(x for s in found for x in (f"`{s}`", "the program's lead, points"))]
    rows = []
    for name in names:
        cells = [name]
        for one in found.values():
            own = shares(one, name, of)
            cells += [told(own), "" if name == MODEL else ahead(shares(one, MODEL, of) - own)]
        rows.append(cells)
    return table(head, rows)


def days_until(values: Sequence[float]) -> str:
    middle, got = float(np.median(values)), int(np.isfinite(values).sum())
    return (
        f"{middle:.0f} ({got} of {len(values)} twins)" if np.isfinite(middle) else f"– ({got} of {len(values)} twins)"
    )


def _unseen(found: Found, trials: Sequence[Trial], rivals: Sequence[str]) -> list[str]:
    """The same without the seeds that were looked at."""
    seeds = {s: [t.seed for t in trials if t.scenario == s] for s in found}
    kept = {s: [one for seed, one in zip(seeds[s], found[s], strict=True) if seed not in LOOKED_AT] for s in found}
    if not all(kept.values()):
        return []
    text = "; ".join(f"`{s}` {told(shares(one, MODEL, expected))}" for s, one in kept.items())
    return [
        f"Seeds {' and '.join(map(str, LOOKED_AT))} were looked at while the program was being improved; without them: {text}. "
        + _behind(kept, rivals, expected, "By expected harm"), "",
    ]  # fmt: skip


def _against_aim(scenario: str, found: Sequence[Mapping[str, Judged]]) -> str:
    own = shares(found, MODEL, expected)
    possible = percent(float(np.mean([one[MODEL].expected / one[FORECAST].expected for one in found])))
    verdict = "met" if own.mean() >= AIM else "missed"
    return f"`{scenario}`: {told(own)}, {verdict}; {possible} of what *{FORECAST}* averts"


def _behind(found: Found, rivals: Sequence[str], of: Callable[[Judged], float], words: str) -> str:
    behind = [
        f"{name} in `{s}`" for s, one in found.items() for name in rivals
        if not interval(shares(one, MODEL, of) - shares(one, name, of))[1] > 0
    ]  # fmt: skip
    return f"{words} " + (
        f"not clearly ahead of {', '.join(behind)}." if behind else "clearly ahead of every rival in every scenario."
    )


def creator_lines(found: Found, trials: Sequence[Trial]) -> list[str]:
    """Tables of the creators' queue."""
    rivals = (*RIVALS, *STRONGER)
    through = passing(trials)
    alive = [float(m.alive.sum() / (m.alive + m.later).sum()) for t in trials for m in t.mornings]
    came = {s: came_of([t for t in trials if t.scenario == s], through) for s in found}
    rings = [s for s in found if any(t.ring.any() for t in trials if t.scenario == s)]
    return [
        "### Creators", "",
        f"**Aim: at least {percent(AIM, 0)} of the oracle's harm averted, and clearly ahead of every rival.** "
        + "; ".join(_against_aim(s, one) for s, one in found.items()) + ". "
        + " ".join(_behind(found, rivals, of, words) for of, words in ((expected, "By expected harm"), (real, "By the views that came"))), "",
        *_unseen(found, trials, rivals),
        "Share of the oracle's harm averted, mean over seeds with 95 % t interval; and the program's lead in points, from "
        "paired differences (bold: the interval lies above zero).", "",
        *table_of(found, [MODEL, *rivals], expected), "",
        "The same from the views that really came. One large creator's luck weighs much here, so the intervals are wide. "
        f"Of the harm expected of all creators together came {'; '.join(f'`{s}` {told(x)}' for s, x in came.items())}.", "",
        *table_of(found, [MODEL, *STRONGER, "most viewed", "most reported", CLAIRVOYANT], real), "",
        f"**Precision.** Share of listed creators who violate within the horizon; of the first {FIRST}, and of all.", "",
        *table(["order", *(x for s in found for x in (f"`{s}` first {FIRST}", "all"))],
               [[name, *(percent(float(np.mean([getattr(o[name], what) for o in one])), 0) for one in found.values() for what in ("first", "precision"))]
                for name in (MODEL, *rivals, ORACLE)]), "",
        "Orders that don't weigh views find those who violate most often, who are mostly small; precision is not harm.", "",
        "**Planted clusters.** Days from a ring's first day to the list by which more than half of its members had been listed, median; "
        "by clusters' and creators' minutes together, which rivals spend on creators.", "",
        *table(["order", *(f"`{s}`" for s in rings)],
               [[name, *(days_until([o[name].caught for o in found[s]]) for s in rings)] for name in (MODEL, *rivals, ORACLE)]), "",
        "### What is lost where", "",
        "One term of the plain formula (probability × exposure × severity) at a time replaced by the truth. "
        f"*{FORECAST.capitalize()}*: the truth but for creators' propensities, which are estimated from faultless labels of all their "
        "contents with the true rates and the true prior: more than any program can know of them. *The program's views*: the "
        "same, with audiences and paces as the program estimates them.", "",
        *table(["order", *(f"`{s}`" for s in found)],
               [[name, *(told(shares(one, name, expected)) for one in found.values())]
                for name in ("without repeat and velocity", "true probability", "true views", "true severity", FORECAST, PAST)]), "",
        "### Repeat, velocity, exploration", "",
        "What the terms add to the plain formula, and what exploration costs, in points of the oracle's harm:", "",
        *table(["", *(f"`{s}`" for s in found)],
               [[label, *(ahead(shares(one, a, expected) - shares(one, b, expected)) for one in found.values())]
                for label, a, b in (("repeat", "without velocity", "without repeat and velocity"), ("velocity", "without repeat", "without repeat and velocity"),
                                    ("both", MODEL, "without repeat and velocity"), ("exploration", "with exploration", MODEL))]), "",
        f"Moderation lets through, of the views that violating contents would have had: {', '.join(f'{name} {percent(x, 0)}' for name, x in zip(SEVERITIES, through, strict=True))}. "
        f"Undecided contents are {percent(float(np.mean(alive)))} of the expected harm, the rest is yet to be published. "
        f"A day's clusters, estimates and lists took {np.median([m.seconds for t in trials for m in t.mornings]):.1f} CPU seconds in the median.", "",
    ]  # fmt: skip


def content_lines(found: Found, trials: Sequence[Trial]) -> list[str]:
    names = [n for n in next(iter(found.values()))[0] if n not in (ORACLE, CLAIRVOYANT)]
    bad = [float(m.contents["bad"].sum()) for t in trials for m in t.mornings]
    alive = [len(m.contents["bad"]) for t in trials for m in t.mornings]
    return [
        "### Contents", "",
        f"Of {np.mean(alive):,.0f} undecided contents a morning {np.mean(bad):.0f} violate: moderation has caught nearly all others within hours. "
        "So this queue is thin on the twin, and its figures are about the few that moderation overlooked. The oracle knows which these are.", "",
        *table_of(found, names, expected), "",
        f"**Precision** of the first {FIRST}:", "",
        *table(["order", *(f"`{s}`" for s in found)],
               [[name, *(percent(float(np.mean([o[name].first for o in one])), 0) for one in found.values())] for name in (*names, ORACLE)]), "",
    ]  # fmt: skip


def lines(trials: Sequence[Trial]) -> list[str]:
    """The study's part of the page."""
    scenarios = list(dict.fromkeys(t.scenario for t in trials))
    of = {s: [t for t in trials if t.scenario == s] for s in scenarios}
    through = passing(trials)
    creators: Found = {s: [judge(t, through) for t in some] for s, some in of.items()}
    contents: Found = {s: [judge_contents(t) for t in some] for s, some in of.items()}
    seeds = len({t.seed for t in trials})
    return [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}, shared with other work. Twins of {CREATORS:,} creators and {DAYS} days, "
        f"n = {seeds} seeds of each scenario; {len(trials[0].mornings)} mornings of each twin, {queue_of('creators').minutes_per_day:.0f} minutes for creators.", "",
        *creator_lines(creators, trials), *content_lines(contents, trials),
    ]  # fmt: skip


def summary(trials: Sequence[Trial]) -> list[str]:
    """The first thing on the page: what was reached, what not, and what is missing."""
    through = passing(trials)
    found: Found = {
        s: [judge(t, through) for t in trials if t.scenario == s] for s in dict.fromkeys(t.scenario for t in trials)
    }
    best = {
        s: max((*RIVALS, *STRONGER), key=lambda name: float(shares(one, name, expected).mean()))
        for s, one in found.items()
    }
    own = {s: shares(one, MODEL, expected) for s, one in found.items()}
    missed = [s for s in found if own[s].mean() < AIM]
    terms = (
        ("how often each creator will violate", "true probability"), ("their views", "true views"),
        ("which policies", "true severity"),
    )  # fmt: skip

    def mean(name: str) -> list[str]:
        return [percent(float(shares(one, name, expected).mean())) for one in found.values()]

    def row(label: str, of: Callable[[str], str]) -> list[str]:
        return [label, *(of(s) for s in found)]

    rows = [
        row("**the program**", lambda s: f"**{told(own[s])}**"),
        row(f"aim: {percent(AIM, 0)}", lambda s: "missed" if s in missed else "met"),
        row(f"ceiling: {FORECAST}", lambda s: told(shares(found[s], FORECAST, expected))),
        row(f"ceiling: {PAST}", lambda s: told(shares(found[s], PAST, expected))),
        row("best of the orders people use", lambda s: f"{told(shares(found[s], best[s], expected))}, {best[s]}"),
        row("the program's lead over it, points", lambda s: ahead(own[s] - shares(found[s], best[s], expected))),
    ]
    return [
        f"Harm averted by {queue_of('creators').minutes_per_day:.0f} minutes of review a day, in percent of what an oracle's "
        "order averts in the same minutes. The oracle knows how often each creator will break rules; the *ceiling* only how "
        "often each did so far, but without a mistake; the second one has to estimate audiences too. "
        f"Mean over {len({t.seed for t in trials})} simulated marketplaces of each scenario, with 95 % interval.", "",
        *table(["", *(f"`{s}`" for s in found)], rows), "",
        "- **Reached?** " + _behind(found, (*RIVALS, *STRONGER), expected, "In harm that was to be expected,")
        + " " + _behind(found, (*RIVALS, *STRONGER), real, "In views that really came, which luck decides more,"),
        f"- **Not reached:** at least {percent(AIM, 0)} of the oracle's harm, in {len(missed)} of {len(found)} scenarios.",
        "- **Why:** the formula's terms have to be estimated. With one of them known, all else as it is, it averts: "
        + "; ".join(f"{label} {', '.join(mean(name))}" for label, name in terms) + ".", "",
    ]  # fmt: skip
