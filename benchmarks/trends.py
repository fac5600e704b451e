"""Planted words found, how soon, and what is false: ``python -m benchmarks.trends`` (20 minutes; ``--quick``: seconds).

Twins whose emerging words are known, and vocabularies of 100,000 words in which nothing emerges. Every day is judged with
what came before it. Writes its part of docs/trends.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from benchmarks.figures import DOCS, machine, table
from benchmarks.page import write_part
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import trends
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline.stats import bursts
from health_pipeline.stats.bursts import Family

STUDY = "benchmarks.trends"
START, DAYS, SEEDS = dt.date(2026, 7, 8), 70, (21, 22, 23, 24, 25)
JUDGED = {  # first and last judged day, from the end; an effect is followed for at least eleven days
    "counterfeit_wave": (-14, -4),
    "off_platform_ring": (-16, -6),
    "everything": (-22, -5),
    "campaign_day": (-12, -5),
    "quiet": (-14, -1),
}
LARGE = ("counterfeit_wave", "off_platform_ring", "campaign_day", "quiet")  # also with five thousand creators
WORDS, HISTORY = 100_000, 90


@dataclass(frozen=True)
class Planted:
    """A word or hashtag that a scenario plants, and when it was found.

    Attributes:
        creators: most distinct creators who used it in a window of three days, of those judged.
        days: from its first day to the day it was found; ``None``: it was not.
    """

    kind: str
    value: str
    creators: int
    days: int | None


@dataclass
class Trial:
    """One twin, judged day after day.

    Attributes:
        told: bursts found, each once however many days it lasts.
        false: those of them of which planted contents are not behind half of the excess.
        trends: groups of bursts that share their contents.
        false_trends: those of which every burst is false.
    """

    scenario: str
    creators: int
    seed: int
    days: int = 0
    planted: list[Planted] = field(default_factory=list)
    told: int = 0
    false: list[str] = field(default_factory=list)
    trends: int = 0
    false_trends: int = 0
    seconds: list[float] = field(default_factory=list)
    rows: int = 0


def until(v: trends.Vocabulary, columns: int) -> trends.Vocabulary:
    """The vocabulary as it was, without the days after the first ``columns``."""
    family = Family(np.ascontiguousarray(v.family.counts[:, :columns]), v.family.scope, v.family.parent)
    return trends.Vocabulary(v.kind, v.values, v.markets, family, v.first, v.start)


def trial(folder: Path, scenario: str, creators: int, seed: int, judged: tuple[int, int], days: int = DAYS) -> Trial:
    """Simulate, and judge the days from ``judged[0]`` to ``judged[1]``, counted from the end."""
    simulate(folder, load_scenario(scenario), creators=creators, days=days, start=START, seed=seed)
    last = START + dt.timedelta(days=days - 1)
    made = Trial(scenario, creators, seed, judged[1] - judged[0] + 1)
    for e in of_files(load_catalog("marketplace"), folder, [last]):
        spoken = [v for v in (trends.vocabulary(e, kind) for kind in trends.KINDS) if v is not None]
        made.rows = sum(len(v.family.scope) for v in spoken)
        told: dict[tuple[object, ...], dict[str, object]] = {}
        for offset in range(judged[0], judged[1] + 1):
            started = time.process_time()
            before = [until(v, days + offset + 1) for v in spoken]
            answers = bursts.judge([v.family for v in before])
            made.seconds.append(time.process_time() - started)
            for v, b in zip(before, answers, strict=True):
                for row in trends.found(v, b):
                    day = last + dt.timedelta(days=offset + 1)
                    told.setdefault((row["kind"], row["value"], row["market"]), row | {"day": day})
        judge_truth(made, e, folder, list(told.values()))
        made.planted = list(planted(folder, spoken, list(told.values()), judged))
    return made


def judge_truth(made: Trial, e: Evidence, folder: Path, told: Sequence[dict[str, object]]) -> None:
    """Which bursts are false: planted contents are not behind at least half of the creators beyond expectation."""
    if not told:
        return
    truth = folder / "ground_truth"
    rows = pa.Table.from_pylist([t | {"burst": i} for i, t in enumerate(told)])
    uses = " UNION ALL ".join(f"SELECT '{k}' AS kind, * FROM ({trends.uses_of(k, START)})" for k in trends.KINDS)
    used = e.query(
        f"""
        SELECT b.burst, u.content_id, u.creator_id FROM told b JOIN ({uses}) u ON u.kind = b.kind AND u.value = b.value
        AND (b.market IS NULL OR b.market = u.market) AND date_diff('day', u.day, b.day) BETWEEN 0 AND 2
        """,
        told=rows,
    )
    behind = e.query(
        f"""
        WITH bad AS (
            SELECT content_id FROM '{truth}/contents.parquet' WHERE cluster IS NOT NULL
            UNION SELECT c.content_id FROM '{truth}/contents.parquet' c JOIN '{truth}/incidents.parquet' i
            ON i.effect = 'violations' AND c.day BETWEEN i.start AND i."end" AND list_contains(string_split(i.policies, ','), c.policy)
            AND (i.segment = '' OR list_has_all(
                ['market=' || c.market, 'kind=' || c.kind, 'category=' || c.category, 'tier=' || c.tier],
                string_split(i.segment, '|')))
        )
        SELECT burst, count(DISTINCT CASE WHEN content_id IN (FROM bad) THEN creator_id END) AS n FROM used
        GROUP BY burst ORDER BY burst
        """,
        used=used,
    )["n"].to_numpy()
    excess = rows["count"].to_numpy() - rows["expected"].to_numpy()
    false = behind < 0.5 * excess
    content = used["content_id"].combine_chunks().dictionary_encode()
    group = trends.trend_of(
        used["burst"].to_numpy(), content.indices.to_numpy().astype(np.int64), (len(told), len(content.dictionary))
    )
    true = np.unique(group[~false])
    made.told, made.trends, made.false_trends = len(told), len(np.unique(group)), len(np.setdiff1d(group, true))
    made.false = [
        f"{w['kind']} {w['value']}{' in ' + str(w['market']) if w['market'] else ''}, {w['day']}: {w['count']} instead of {w['expected']:.1f}"
        for w, wrong in zip(told, false, strict=True)
        if wrong
    ]


def planted(
    folder: Path, spoken: Sequence[trends.Vocabulary], told: Sequence[dict[str, object]], when: tuple[int, int]
) -> Iterable[Planted]:
    """What ground truth says was planted, with the first day on which it, or a word or pair of it, was found."""
    first, last = when
    truth = folder / "ground_truth"
    sought = {("term", r["term"], r["segment"].partition("|")[0].removeprefix("market=") or None, r["start"])
              for r in pq.read_table(truth / "terms.parquet").to_pylist()}  # fmt: skip
    sought |= {("hashtag", tag, None, r["start"]) for r in pq.read_table(truth / "clusters.parquet").to_pylist()
               for tag in (r["hashtags"] or "").split()}  # fmt: skip
    for kind, value, market, start in sorted(sought, key=str):
        words = value.split()
        parts = {value, *words, *map(" ".join, itertools.pairwise(words))} if kind == "term" else {value}
        days = [(t["day"] - start).days for t in told if t["kind"] == kind and t["value"] in parts
                and (market is None or t["market"] in (market, None)) and t["day"] >= start]  # type: ignore[operator]  # fmt: skip
        vocabulary = next(v for v in spoken if v.kind == kind)
        pair = " ".join(words[:2])  # the words alone are used by others, too
        at = [i for i in range(len(vocabulary.values)) if vocabulary.family.parent[i] < 0
              and vocabulary.values[i].as_py() == pair]  # fmt: skip
        size = vocabulary.family.counts.shape[1]
        used = vocabulary.family.counts[at, size + first : size + last + 1]
        yield Planted(kind, value, int(used.max(initial=0)), min(days, default=None))


def vocabulary_without_trends(noise: str, words: int = WORDS, days: int = HISTORY, seed: int = 0) -> Family:
    """Distinct creators in windows of three days, by Zipf's law (1 / (rank + 3)), six uses per creator of 20,000 and day.

    ``noise``: *steady*; *gamma* and *log-normal* factors of each word and day with standard deviation 0.5; *churn*: gamma,
    and of the words with fewer than 1.5 creators in three days half are used on ten days in a row only, which is no trend
    but how people write. Each day is busier or calmer for all, every 30th 1.4 times as busy; a tenth of the words is used
    twice as much on Sundays.
    """
    rng = np.random.default_rng([seed, *noise.encode()])
    mean = 1.0 / (np.arange(words) + 3.0)
    mean *= 6.0 * words / 5.0 / mean.sum()
    volume = np.exp(0.05 * rng.standard_normal(days)) * np.where(np.arange(days) % 30 == 29, 1.4, 1.0)
    sunday = np.where(rng.random(words) < 0.1, 2.0, 1.0)
    short = (rng.random(words) < 0.5) & (bursts.WINDOW * mean < 1.5) & (noise == "churn")
    birth = rng.integers(-10, days, words)
    daily = np.zeros((words, days))
    for d in range(days):
        factor = np.ones(words)
        if noise in ("gamma", "churn"):
            factor = rng.gamma(4.0, 0.25, words)
        elif noise == "log-normal":
            factor = np.exp(0.4724 * rng.standard_normal(words) - 0.4724**2 / 2)
        there = ~short | ((birth <= d) & (d < birth + 10))
        daily[:, d] = rng.poisson(mean * volume[d] * factor * there * (sunday if d % 7 == 6 else 1.0))
    summed = np.cumsum(np.pad(daily, ((0, 0), (bursts.WINDOW, 0))), axis=1)
    counts = summed[:, bursts.WINDOW :] - summed[:, : -bursts.WINDOW]
    return Family(counts, np.zeros(words, np.int64), np.full(words, -1))


@dataclass
class Null:
    """Judged days of a vocabulary without trends."""

    days: int = 0
    found: int = 0
    plain: int = 0
    p: list[np.ndarray] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def times_nominal(self, level: float) -> float:
        p = np.concatenate(self.p)
        return float(np.mean(p <= level)) / level


def judge_null(noise: str, seeds: Sequence[int], ends: Sequence[int], words: int = WORDS) -> Null:
    """Judge the days ``ends`` (0 is the last), each with what came before it; all that is found is false."""
    made = Null()
    for seed in seeds:
        family = vocabulary_without_trends(noise, words, seed=seed)
        for end in ends:
            counts = np.ascontiguousarray(family.counts[:, : HISTORY - end])
            started = time.process_time()
            answer = bursts.judge([Family(counts, family.scope, family.parent)])[0]
            made.seconds.append(time.process_time() - started)
            p = answer.p[~np.isnan(answer.p)]
            made.days += 1
            made.found += int(answer.found.sum())
            made.plain += int(np.sum(stats.false_discovery_control(p, method="bh") <= trends.RATE))
            made.p.append(p)
    return made


def twin_lines(trials: Sequence[Trial]) -> list[str]:
    """Tables over the twins."""
    found, told = [], []
    for (scenario, creators), group in _grouped(trials).items():
        for kind in ("term", "hashtag"):
            for size, wanted in (("all", range(10**9)), ("10 or more", range(10, 10**9))):
                these = [p for t in group for p in t.planted if p.kind == kind and p.creators in wanted]
                days = [p.days for p in these if p.days is not None]
                if these:
                    found.append([
                        f"`{scenario}`", f"{creators:,}", f"{kind}s", size, str(len(these)),
                        f"{np.median([p.creators for p in these]):.0f}", f"{100 * len(days) / len(these):.0f} %",
                        f"{np.median(days):.0f}" if days else "", str(max(days)) if days else "",
                    ])  # fmt: skip
        days_judged, false = sum(t.days for t in group), sum(len(t.false) for t in group)
        total = sum(t.told for t in group)
        told.append([
            f"`{scenario}`", f"{creators:,}", str(days_judged), str(total), str(false),
            f"{100 * false / total:.1f} %" if total else "", f"{false / days_judged:.2f}",
            str(sum(t.trends for t in group)), str(sum(t.false_trends for t in group)),
            f"{max(t.rows for t in group):,}", f"{np.median([s for t in group for s in t.seconds]):.1f}",
        ])  # fmt: skip
    total, false = sum(t.told for t in trials), sum(len(t.false) for t in trials)
    days = [t for t in trials if t.scenario in ("quiet", "campaign_day")]
    groups, wrong = sum(t.trends for t in trials), sum(t.false_trends for t in trials)
    return [
        "**Planted words and hashtags.** *Creators*: the most that used it in three days, in the median. *Found*: it or a word or "
        "pair of it. *Days*: from its first day to the day it was found.", "",
        *table(["scenario", "creators", "planted", "used by", "number", "creators using it", "found", "median days", "most days"], found, 4), "",
        "**Bursts told**, each once however long it lasts. *False*: planted contents are behind less than half of the creators "
        "beyond expectation. *Trends*: groups of bursts that share their contents; false when all their bursts are.", "",
        *table(["scenario", "creators", "judged days", "bursts", "false", "share", "false a day", "trends", "false", "values × markets", "CPU seconds a day"], told), "",
        f"In all {false} of {total} bursts were false" + (f" ({100 * false / total:.1f} %; accepted: {100 * trends.RATE:.0f} %)" if total else "")
        + f", and {wrong} of {groups} trends"
        + f"; on the {sum(t.days for t in days)} days of twins in which nothing emerges, {sum(len(t.false) for t in days)}.", "",
        *([ "The false ones: " + "; ".join(w for t in trials for w in t.false) + ".", ""] if false else []),
    ]  # fmt: skip


def _grouped(trials: Sequence[Trial]) -> dict[tuple[str, int], list[Trial]]:
    groups: dict[tuple[str, int], list[Trial]] = {}
    for t in trials:
        groups.setdefault((t.scenario, t.creators), []).append(t)
    return groups


def null_lines(nulls: dict[str, Null], words: int) -> list[str]:
    rows = [
        [noise, str(n.days), str(n.found), str(n.plain),
         " / ".join(f"{n.times_nominal(level):.2f}" for level in (1e-3, 1e-4, 1e-5)), f"{np.median(n.seconds):.1f}"]
        for noise, n in nulls.items()
    ]  # fmt: skip
    return [
        f"**Vocabularies without trends**: {words:,} words by Zipf's law, {HISTORY} days, some days busier for all, a tenth of the "
        "words used twice as much on Sundays; *churn*: of the words with fewer than 1.5 creators in three days, half are used on ten days in a row only. All that is found is "
        "false. *Without memory*: Benjamini and Hochberg at 5 % each day. *p-values*: how many times as often as they should "
        "they are at most 0.001, 0.0001, 0.00001 (less than 1 is cautious: counts are whole numbers).", "",
        *table(["noise", "judged days", "found", "without memory", "p-values", "CPU seconds a day"], rows), "",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one twin and a small vocabulary, printed only")
    given = parser.parse_args()
    seeds = SEEDS[:1] if given.quick else SEEDS
    cases = [(s, n) for n in (1000, 5000) for s in JUDGED if n == 1000 or s in LARGE]
    trials: list[Trial] = []
    for seed in seeds:
        for scenario, creators in cases[:1] if given.quick else cases:
            with tempfile.TemporaryDirectory() as folder:
                made = trial(Path(folder) / "twin", scenario, creators, seed, JUDGED[scenario])
            trials.append(made)
            print(scenario, creators, seed, f"told {made.told}, false {made.false}",
                  [(p.value, p.creators, p.days) for p in made.planted], flush=True)  # fmt: skip
    words = 5_000 if given.quick else WORDS
    nulls = {}
    for noise in ("steady", "gamma", "log-normal", "churn"):
        nulls[noise] = judge_null(noise, seeds[:2], (0, 3, 7, 13), words)
        print(noise, nulls[noise].found, nulls[noise].plain, flush=True)
    lines = [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}, shared with other work. Twins of {DAYS} days from {START} with "
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}); every day is judged with what came before it.", "",
        *twin_lines(sorted(trials, key=lambda t: (list(JUDGED).index(t.scenario), t.creators))), *null_lines(nulls, words),
    ]  # fmt: skip
    if given.quick:
        print("\n".join(lines))
    else:
        write_part(DOCS / "trends.md", STUDY, lines)


if __name__ == "__main__":
    main()
