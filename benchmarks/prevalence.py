"""Coverage of prevalence's intervals, over samples redrawn from a twin's traffic: ``python -m benchmarks.prevalence``.

The twin's views of 28 days, and which of them are of violating content, are known. Samples are drawn from them again and
again as the twin draws them, labelled late and by raters who err; each is estimated by
``health_pipeline.risks.prevalence``. ``--quick``: a few draws, printed only. Writes its part of docs/prevalence.md.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.figures import DOCS, arguments, machine, table
from benchmarks.page import write_part
from health_pipeline.marketplace.parameters import DEFAULT, POLICIES
from health_pipeline.marketplace.samples import draw
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks.prevalence import WINDOW_DAYS, estimates
from health_pipeline.shifts.panel import effective_draws
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.hajek import Shares, Sums, composite, known_size, shares

STUDY = "benchmarks.prevalence"
START = dt.date(2026, 7, 1)
DAYS = 40
LAST = START + dt.timedelta(days=DAYS - 1)
LOWEST, HIGHEST = 0.93, 0.97
FEW = 30
ONE_BY_ONE = 12
HEAVY = 1.25
SEEDS = (11, 12, 13)
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Views:
    """Views of a content on a day of the window, one row each, and the content's true state."""

    day: NDArray[np.int64]
    views: Array
    score: Array
    market: NDArray[np.str_]
    kind: NDArray[np.str_]
    policy: NDArray[np.str_]

    def inside(self, key: Key) -> NDArray[np.bool_]:
        """Rows of a cell's market and kind."""
        return np.asarray((self.market == (key[0] or self.market)) & (self.kind == (key[1] or self.kind)))

    def positive(self, key: Key) -> NDArray[np.bool_]:
        """Rows that violate a cell's policy, or any."""
        return np.asarray(self.policy == key[2] if key[2] else self.policy != "")

    def share(self, key: Key) -> float:
        """Share of a cell's views that are of violating content."""
        inside = self.inside(key)
        return float(self.views[inside & self.positive(key)].sum() / self.views[inside].sum())

    def labelled_share(self, key: Key) -> float:
        """The share that raters would label: some violations are missed, some innocents get a policy at random."""
        true, missed, wrong = self.share(key), 1.0 - DEFAULT.rater_sensitivity, 1.0 - DEFAULT.rater_specificity
        innocent = 1.0 - self.share((*key[:2], ""))
        return true * (1.0 - missed) + innocent * wrong / (len(POLICIES) if key[2] else 1)


def views_of(folder: Path) -> Views:
    """Traffic of the last ``WINDOW_DAYS`` days, with the ground truth."""
    rows = (
        duckdb.connect()
        .execute(
            f"""
        SELECT s.day, s.views, g.model_score, g.market, g.kind, coalesce(g.policy, '') AS policy
        FROM (
            SELECT content_id, date_diff('day', DATE '{START}', CAST(CAST(hour AS TIMESTAMP) AS DATE)) AS day,
                CAST(sum(views) AS DOUBLE) AS views
            FROM read_parquet('{folder}/content_stats/*.parquet') GROUP BY ALL
        ) s JOIN read_parquet('{folder}/ground_truth/contents.parquet') g USING (content_id)
        WHERE s.day BETWEEN {DAYS - WINDOW_DAYS} AND {DAYS - 1} ORDER BY s.day, content_id
        """
        )
        .fetchnumpy()
    )
    texts = (np.asarray(rows[name]).astype(str) for name in ("market", "kind", "policy"))
    return Views(*(np.asarray(rows[name]) for name in ("day", "views", "model_score")), *texts)


@dataclass(frozen=True)
class Sample:
    """Draws of the window: rows of :class:`Views`, and with what expectation each was drawn in its arm and the other."""

    row: NDArray[np.int64]
    uniform: NDArray[np.bool_]
    chance: Array
    other: Array


def sampled(made: Views, rng: np.random.Generator, times: float = 1.0) -> Sample:
    """A sample of every day, with ``times`` the draws of 1,000 creators."""
    rows, arms, expected, other = [], [], [], []
    sizes = round(DEFAULT.sample_weighted * times), round(DEFAULT.sample_uniform * times)
    for day in range(DAYS - WINDOW_DAYS, DAYS):
        first, end = np.searchsorted(made.day, (day, day + 1))
        score = np.maximum(made.score[first:end], DEFAULT.score_floor)
        drawn = draw(made.views[first:end], score, *sizes, rng)
        rows.append(first + drawn.burst)
        arms.append(drawn.arm == 1)
        expected.append(drawn.chance)
        other.append(drawn.other)
    return Sample(np.concatenate(rows), np.concatenate(arms), np.concatenate(expected), np.concatenate(other))


def labelled(made: Views, sample: Sample, rng: np.random.Generator) -> pa.Table:
    """What is known of a sample at the end of the last day, as the role ``samples`` and the contents' scores tell it."""
    p, n = DEFAULT, len(sample.row)
    day, true = made.day[sample.row], made.policy[sample.row]
    sure = rng.random(n)
    label = np.where(true != "", sure < p.rater_sensitivity, sure > p.rater_specificity)
    instant = day + rng.random(n)
    known = instant + np.clip(np.exp(rng.normal(np.log(p.label_days), 0.5, n)), 1.0, 6.9) < DAYS
    policy = np.where(true != "", true, np.array(POLICIES)[rng.integers(0, len(POLICIES), n)])
    drawn_at = np.datetime64(START, "us") + (instant * 86_400e6).astype("timedelta64[us]")
    return pa.table(
        {
            "arm": pa.array(np.where(sample.uniform, "uniform", "weighted")),
            "drawn_at": pa.array(drawn_at),
            "draw_probability": pa.array(sample.chance),
            "market": pa.array(made.market[sample.row]),
            "kind": pa.array(made.kind[sample.row]),
            "violation": pa.array(label, mask=~known),
            "policy": pa.array(policy, mask=~(known & label)),
            "model_score": pa.array(made.score[sample.row]),
        }
    )


@dataclass
class Tally:
    """What was told of one cell, a value per sample."""

    truth: float
    labelled_truth: float
    heavy: float
    estimate: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    draws: list[float] = field(default_factory=list)
    positives: list[float] = field(default_factory=list)
    uniform_low: list[float | None] = field(default_factory=list)
    uniform_high: list[float | None] = field(default_factory=list)
    agrees: list[bool | None] = field(default_factory=list)

    def add(self, told: dict[str, float]) -> None:
        for name in (
            "estimate",
            "low",
            "high",
            "effective",
            "draws",
            "positives",
            "uniform_low",
            "uniform_high",
            "agrees",
        ):
            getattr(self, name).append(told[name])

    @property
    def missed(self) -> tuple[float, float]:
        """How often the interval lay above, and below, what raters would label."""
        return (
            float(np.mean(np.array(self.low) > self.labelled_truth)),
            float(np.mean(np.array(self.high) < self.labelled_truth)),
        )

    @property
    def covered(self) -> float:
        return 1.0 - sum(self.missed)

    @property
    def covered_true(self) -> float:
        """Of the true share, which raters do not quite label."""
        return float(np.mean((np.array(self.low) <= self.truth) & (np.array(self.high) >= self.truth)))

    @property
    def uniform_covered(self) -> float:
        told = [
            (a, b) for a, b in zip(self.uniform_low, self.uniform_high, strict=True) if a is not None and b is not None
        ]
        return float(np.mean([a <= self.labelled_truth <= b for a, b in told])) if told else np.nan

    @property
    def width(self) -> float:
        return float(np.mean(np.array(self.high) - np.array(self.low)))

    @property
    def disagreed(self) -> float:
        told = [a for a in self.agrees if a is not None]
        return 1.0 - float(np.mean(told)) if told else np.nan

    @property
    def inside(self) -> bool:
        return LOWEST <= round(self.covered, 4) <= HIGHEST

    @property
    def why(self) -> str:
        """Why its coverage is what it is."""
        if self.covered < LOWEST and self.heavy > HEAVY:
            return f"violations that the score does not see: their mean weight is {self.heavy:.1f} times the total's"
        if np.mean(self.positives) < FEW:
            return f"few positives ({np.mean(self.positives):.1f})"
        return "no reason seen"


def weight_of_positives(made: Views, key: Key) -> float:
    """Mean weight of a drawn violating view over that of all violating views: what a draw of one stands for."""

    def mean(rows: NDArray[np.bool_]) -> float:
        expected = made.views / chance
        return float(expected[rows].sum() / made.views[rows].sum())

    chance = np.zeros(len(made.views))
    for day in range(DAYS - WINDOW_DAYS, DAYS):
        first, end = np.searchsorted(made.day, (day, day + 1))
        views, score = made.views[first:end], np.maximum(made.score[first:end], DEFAULT.score_floor)
        chance[first:end] = (
            DEFAULT.sample_weighted * score / (views @ score) + DEFAULT.sample_uniform / views.sum()
        )  # fmt: skip
    return mean(made.inside(key) & made.positive(key)) / mean(made.positive(("", "", "")))


def coverage(made: Views, samples: int, seed: int, times: float = 1.0) -> dict[Key, Tally]:
    """Every cell's tally over so many samples."""
    tallies: dict[Key, Tally] = {}
    for number in range(samples):
        rng = np.random.default_rng([seed, number])
        told = estimates(labelled(made, sampled(made, rng, times), rng), POLICIES, LAST)
        for row in told.to_pylist():
            key = row["market"], row["kind"], row["policy"]
            if key not in tallies:
                heavy = weight_of_positives(made, key) if made.share(key) else 1.0
                tallies[key] = Tally(made.share(key), made.labelled_share(key), heavy)
            tallies[key].add(row)
    return tallies


def compared(made: Views, samples: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Other ways to estimate, from samples with full and right labels: by way (mean over total, markets and kinds) the
    standard error over that of both arms as one, the coverage, and the lowest coverage of a cell."""
    keys = [("", "", ""), *((m, "", "") for m in np.unique(made.market)), *(("", k, "") for k in np.unique(made.kind))]
    masks = [made.inside(k) for k in keys]
    truth = np.array([made.share(k) for k in keys])
    sizes = np.array([made.views[m].sum() for m in masks])
    found: dict[str, list[Shares]] = {}
    for number in range(samples):
        sample = sampled(made, np.random.default_rng([seed, number, 1]))
        for name, told in _ways(made, sample, masks, sizes):
            found.setdefault(name, []).append(told)
    errors, covered = {}, {}
    for name, some in found.items():
        estimate, low, high = (np.array([getattr(s, part) for s in some]) for part in ("estimate", "low", "high"))
        errors[name] = np.sqrt(np.mean((estimate - truth) ** 2, axis=0))
        covered[name] = np.mean((low <= truth) & (truth <= high), axis=0)
    ours = errors[next(iter(errors))]
    return {n: (float(np.mean(errors[n] / ours)), float(covered[n].mean()), float(covered[n].min())) for n in errors}


def _ways(
    made: Views, sample: Sample, masks: Sequence[NDArray[np.bool_]], sizes: Array
) -> Iterator[tuple[str, Shares]]:
    positive = made.positive(("", "", ""))[sample.row]
    day = made.day[sample.row]
    slope, flat = np.zeros(DAYS), np.zeros(DAYS)
    score = np.maximum(made.score, DEFAULT.score_floor)[sample.row]
    slope[day[~sample.uniform]] = (sample.chance / score)[~sample.uniform]
    flat[day[sample.uniform]] = sample.chance[sample.uniform]

    def sums(chance: Array, only: NDArray[np.bool_] | None = None) -> tuple[Sums, Sums]:
        def cell(mask: NDArray[np.bool_]) -> Sums:
            inside = mask[sample.row] if only is None else mask[sample.row] & only
            return Sums.of(chance[inside], positive[inside])

        cells = [cell(mask) for mask in masks]
        whole = cells[0]
        for more in cells[1:]:
            whole = whole.followed_by(more)
        return whole, cells[0][0]

    one, total = sums(slope[day] * score + flat[day])
    yield "both arms as one", shares(one, total)
    weighted, of_weighted = sums(sample.chance, ~sample.uniform)
    uniform, of_uniform = sums(sample.chance, sample.uniform)
    averaged, _ = composite(weighted, uniform, of_weighted, of_uniform)
    yield "arms averaged by precision", shares(averaged, averaged[0])
    yield "both arms as one, Horvitz–Thompson with the views known", known_size(one, sizes)
    yield "weighted arm alone", shares(weighted, of_weighted)
    equal = weighted + uniform
    yield "arms in equal parts", shares(equal, equal[0])
    yield "uniform arm alone", shares(uniform, of_uniform)
    error = 1.959964 * np.sqrt(one.variance)
    yield "both arms as one, symmetric interval", Shares(one.share, one.share - error, one.share + error, one.kish)


def daily(made: Views, samples: int, seed: int) -> list[tuple[str, float, float, float, float, float]]:
    """What a day's sample knows as a daily metric, in the total and each market, on the last day of the window: labelled
    draws; and by both chances, and by a draw's own, how many draws of a simple random sample would err as much (mean
    squared error against the day's share) and how many the panel takes them for (median)."""
    keys = [("", "", ""), *((str(m), "", "") for m in np.unique(made.market))]
    positive, last = made.positive(("", "", "")), made.day == DAYS - 1
    truth = np.array(
        [made.views[made.inside(k) & positive & last].sum() / made.views[made.inside(k) & last].sum() for k in keys]
    )
    found = np.zeros((samples, 2, len(keys), 3))
    for number in range(samples):
        sample = sampled(made, np.random.default_rng([seed, number, 2]))
        day, y = made.day[sample.row] - (DAYS - WINDOW_DAYS), positive[sample.row].astype(float)
        for way, w in enumerate((1 / (sample.chance + sample.other), 0.5 / sample.chance)):
            for cell, key in enumerate(keys):
                inside = made.inside(key)[sample.row].astype(float)
                wx, wy = w * inside, w * inside * y
                x, v, xx, vv, vx = (
                    np.bincount(day, part, WINDOW_DAYS)[None, :] for part in (wx, wy, wx * wx, wy * wy, wy * wx)
                )
                with np.errstate(invalid="ignore"):
                    share = v / x
                told = effective_draws(share, x, {"numerator_sq": vv, "denominator_sq": xx, "product": vx})
                found[number, way, cell] = share[0, -1], told[0, -1], inside[day == WINDOW_DAYS - 1].sum()
    with np.errstate(divide="ignore"):
        real = truth * (1 - truth) / np.nanmean((found[..., 0] - truth) ** 2, axis=0)
    told = np.nanmedian(found[..., 1], axis=0)
    drawn = found[:, 0, :, 2].mean(axis=0)
    return [
        (label(k), drawn[i], real[0, i], told[0, i], real[1, i], told[1, i]) for i, k in enumerate(keys) if truth[i] > 0
    ]


GROUPS: dict[str, Callable[[Key], bool]] = {
    "total": lambda k: k == ("", "", ""),
    "by market": lambda k: bool(k[0]) and not k[1] and not k[2],
    "by kind": lambda k: bool(k[1]) and not k[0] and not k[2],
    "by market and kind": lambda k: bool(k[0]) and bool(k[1]),
    "by policy": lambda k: bool(k[2]) and not k[0] and not k[1],
    "by policy and kind": lambda k: bool(k[2]) and bool(k[1]),
    "by policy and market": lambda k: bool(k[2]) and bool(k[0]),
}
AIMED = ("total", "by market", "by kind")


def percent(part: float, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f} %"


def label(key: Key) -> str:
    return " · ".join(part for part in key if part) or "total"


def traffic(seed: int) -> Views:
    with tempfile.TemporaryDirectory() as folder:
        quiet = load_scenario("quiet")
        simulate(Path(folder), quiet, creators=1000, days=DAYS, start=START, seed=seed)
        return views_of(Path(folder))


def main() -> None:
    given = arguments(__doc__)
    samples, seeds = (60, SEEDS[:1]) if given.quick else (500, SEEDS)
    twins = {seed: traffic(seed) for seed in seeds}
    found = {seed: coverage(made, samples, seed) for seed, made in twins.items()}
    first = found[seeds[0]]
    aimed = {s: {k: t for k, t in cells.items() if any(GROUPS[g](k) for g in AIMED)} for s, cells in found.items()}
    outside = [(s, k, t) for s, cells in aimed.items() for k, t in cells.items() if not t.inside]
    every = [t for cells in aimed.values() for t in cells.values()]
    ways = compared(twins[seeds[0]], samples, seeds[0])
    large = coverage(twins[seeds[0]], max(samples // 5, 10), seeds[0], times=4.0)
    lines = [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}; seeds are fixed. The traffic of {len(seeds)} twins (scenario `quiet`, 1,000 creators, "
        f"{WINDOW_DAYS} days), {samples} samples drawn from each as the twin draws them: {DEFAULT.sample_weighted} weighted and "
        f"{DEFAULT.sample_uniform} uniform draws a day, labels up to a week late, raters who err. What is to be covered is the share that raters "
        "would label; an interval's coverage over 500 samples is itself known to about ±2 points.", "",
        f"**Aim: {percent(LOWEST, 0)} to {percent(HIGHEST, 0)} for the total, each market and each kind.** "
        f"Of {len(every)} such cells of {len(seeds)} twins {len(every) - len(outside)} are within, their mean is {percent(float(np.mean([t.covered for t in every])))}."
        + (" Outside: " + "; ".join(f"{label(k)} (twin {s}) {percent(t.covered)}, {t.why}" for s, k, t in outside) + "." if outside else ""), "",
        "The first twin, cell by cell. *Missed*: the interval lies above / below the truth.", "",
        *table(["", "truth", "positives", "effective draws", "mean width", "covered", "missed", "uniform arm alone: covered", "arms disagree"],
               [[label(k), percent(t.labelled_truth, 2), f"{np.mean(t.positives):.0f}", f"{np.mean(t.effective):,.0f}", percent(t.width, 2), percent(t.covered),
                 f"{percent(t.missed[0])} / {percent(t.missed[1])}", percent(t.uniform_covered), percent(t.disagreed)]
                for k, t in first.items() if any(GROUPS[g](k) for g in (*AIMED, "by market and kind", "by policy"))]), "",
        "Coverage over the cells of all twins by how finely they are cut, and how many cells are within the aim:", "",
        *table(["cells", "number", "mean positives", "mean covered", "lowest", "highest", "within", "too rarely", "too often"], _summary(found)), "",
        "The cells that cover too rarely, at most 12:", "",
        *table(["cell", "twin", "covered", "missed above / below", "positives", "why"], _worst(found), words=2), "",
        f"**True shares.** Raters miss {percent(1 - DEFAULT.rater_sensitivity, 0)} of violations and see one in {percent(1 - DEFAULT.rater_specificity)} of innocent views; of a total of "
        f"{percent(first['', '', ''].truth, 2)} they would label {percent(first['', '', ''].labelled_truth, 2)}. Intervals of the total cover the true share in {percent(first['', '', ''].covered_true)} of samples. "
        "With four times the draws:", "",
        *table(["", "effective draws", "mean width", "covered: labelled share", "true share"],
               [[label(k), f"{np.mean(t.effective):,.0f}", percent(t.width, 2), percent(t.covered), percent(t.covered_true)]
                for k, t in large.items() if GROUPS["total"](k) or GROUPS["by kind"](k)]), "",
        f"**One day**, as the daily metrics know it: the draws of a simple random sample that would err as much (*real*), and how many the detector takes "
        f"them for (*told*), over the last {ONE_BY_ONE} days of the window and {samples} samples of the first twin. With both chances a view weighs 1 / their sum; with a "
        "draw's own alone, each arm makes half of the estimate.", "",
        *table(["", "draws", "both chances: real", "told", "own chance alone: real", "told"],
               [[name, *(f"{value:,.0f}" for value in values)] for name, *values in daily(twins[seeds[0]], samples, seeds[0])]), "",
        "**Other ways**, from the same samples with all labels there and right; mean over the total, the markets and the kinds:", "",
        *table(["", "root mean squared error, relative", "covered", "lowest of a cell"],
               [[name, f"{error:.2f}", percent(mean), percent(least)] for name, (error, mean, least) in ways.items()]),
    ]  # fmt: skip
    if given.quick:
        print("\n".join(lines))
        return
    write_part(DOCS / "prevalence.md", STUDY, lines)


def _summary(found: dict[int, dict[Key, Tally]]) -> list[list[str]]:
    rows = []
    for name, group in GROUPS.items():
        cells = [t for told in found.values() for k, t in told.items() if group(k) and t.truth > 0]
        covered = np.array([t.covered for t in cells])
        rows.append([
            name, str(len(cells)), f"{np.mean([np.mean(t.positives) for t in cells]):.0f}", percent(float(covered.mean())),
            percent(float(covered.min())), percent(float(covered.max())), str(sum(t.inside for t in cells)),
            str(int((covered.round(4) < LOWEST).sum())), str(int((covered.round(4) > HIGHEST).sum())),
        ])  # fmt: skip
    return rows


def _worst(found: dict[int, dict[Key, Tally]], most: int = 12) -> list[list[str]]:
    cells = [(t.covered, seed, k, t) for seed, told in found.items() for k, t in told.items() if t.truth > 0]
    rare = sorted((c for c in cells if round(c[0], 4) < LOWEST), key=lambda c: c[0])[:most]
    return [
        [label(k), str(seed), percent(covered), f"{percent(t.missed[0])} / {percent(t.missed[1])}", f"{np.mean(t.positives):.1f}", t.why]
        for covered, seed, k, t in rare
    ]  # fmt: skip


if __name__ == "__main__":
    main()
