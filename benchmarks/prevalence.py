"""Coverage of prevalence's intervals, over samples redrawn from a twin's traffic: ``python -m benchmarks.prevalence``.

The twin's views, and which of them are of violating content, are known. Samples are drawn from them again and again as
the twin draws them, labelled late and by raters who err; each is estimated by ``health_pipeline.risks.prevalence``. Other
intervals were compared on twins of their own (``TRIED_ON``). ``--quick``: a few draws, printed only. Writes its part of
docs/prevalence.md.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from benchmarks.figures import DOCS, arguments, machine, table
from benchmarks.page import write_part
from health_pipeline.marketplace.parameters import DEFAULT, POLICIES
from health_pipeline.marketplace.samples import draw
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks.prevalence import WINDOW_DAYS, estimates
from health_pipeline.shifts.panel import effective_draws
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.hajek import Shares, Sums, composite, interval, known_size, shares

STUDY = "benchmarks.prevalence"
START = dt.date(2026, 7, 1)
DAYS = 40
LAST = START + dt.timedelta(days=DAYS - 1)
SPARE = 5
"""Days before the last 28 from which is drawn too: the window ends before the last day."""
LOWEST, HIGHEST = 0.93, 0.97
SAMPLES, ASKED = 2000, 500
"""Samples of a twin, and how many of them the aim was set for."""
FEW = 30
HEAVY = 1.25
SEEDS = (11, 12, 13)
TRIED_ON = (21, 22, 23)
Z = 1.959964
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Views:
    """Views of a content on a day, one row each by day, and the content's true state."""

    day: NDArray[np.int64]
    views: Array
    score: Array
    market: NDArray[np.str_]
    kind: NDArray[np.str_]
    policy: NDArray[np.str_]

    def until(self, day: int) -> Views:
        """Those of the ``WINDOW_DAYS`` days that end with ``day``."""
        rows = slice(*np.searchsorted(self.day, (day - WINDOW_DAYS + 1, day + 1)))
        return Views(*(getattr(self, f.name)[rows] for f in fields(self)))

    def days(self) -> Iterator[slice]:
        """The rows of each day."""
        ends = np.flatnonzero(np.diff(self.day)) + 1
        return (slice(a, b) for a, b in zip([0, *ends], [*ends, len(self.day)], strict=True))

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
    """Traffic of the last ``WINDOW_DAYS`` days and ``SPARE`` before them, with the ground truth."""
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
        WHERE s.day BETWEEN {DAYS - WINDOW_DAYS - SPARE} AND {DAYS - 1} ORDER BY s.day, content_id
        """
        )
        .fetchnumpy()
    )
    texts = (np.asarray(rows[name]).astype(str) for name in ("market", "kind", "policy"))
    return Views(*(np.asarray(rows[name]) for name in ("day", "views", "model_score")), *texts)


@dataclass(frozen=True)
class Sample:
    """Draws: rows of :class:`Views`, and with what expectation each was drawn in its arm and the other."""

    row: NDArray[np.int64]
    uniform: NDArray[np.bool_]
    chance: Array
    other: Array


def sampled(made: Views, rng: np.random.Generator, times: float = 1.0) -> Sample:
    """A sample of every day, with ``times`` the draws of 1,000 creators."""
    rows, arms, expected, other = [], [], [], []
    sizes = round(DEFAULT.sample_weighted * times), round(DEFAULT.sample_uniform * times)
    for day in made.days():
        score = np.maximum(made.score[day], DEFAULT.score_floor)
        drawn = draw(made.views[day], score, *sizes, rng)
        rows.append(day.start + drawn.burst)
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
    """What was told of one cell, a value per sample, and what there was to tell.

    Attributes:
        heavy: :func:`weight_of_positives`.
        truth, target: true share of the sample's 28 days, and the one that raters would label.
        calendar: the latter of the 28 days to the very last.
    """

    heavy: float
    calendar: float
    truth: list[float] = field(default_factory=list)
    target: list[float] = field(default_factory=list)
    estimate: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    draws: list[float] = field(default_factory=list)
    positives: list[float] = field(default_factory=list)
    uniform_low: list[float | None] = field(default_factory=list)
    uniform_high: list[float | None] = field(default_factory=list)
    agrees: list[bool | None] = field(default_factory=list)

    def add(self, told: dict[str, float], truth: float, target: float) -> None:
        self.truth.append(truth)
        self.target.append(target)
        for name in (
            "estimate", "low", "high", "effective", "draws", "positives", "uniform_low", "uniform_high", "agrees"
        ):  # fmt: skip
            getattr(self, name).append(told[name])

    def first(self, samples: int) -> Tally:
        """Of the first samples alone."""
        return replace(self, **{f.name: getattr(self, f.name)[:samples] for f in fields(self)[2:]})

    @property
    def missed(self) -> tuple[float, float]:
        """How often the interval lay above, and below, what raters would label."""
        return (
            float(np.mean(np.array(self.low) > np.array(self.target))),
            float(np.mean(np.array(self.high) < np.array(self.target))),
        )

    @property
    def covered(self) -> float:
        return 1.0 - sum(self.missed)

    @property
    def known(self) -> tuple[float, float]:
        """What the coverage may be, by so many samples: Clopper and Pearson's 95 % interval."""
        n = len(self.target)
        hit = round(self.covered * n)
        low = special.betaincinv(hit, n - hit + 1.0, 0.025) if hit else 0.0
        return float(low), float(special.betaincinv(hit + 1.0, n - hit, 0.975)) if hit < n else 1.0

    def covers(self, share: Array | float) -> float:
        """How often another share was within the interval."""
        return float(np.mean((np.array(self.low) <= share) & (np.array(self.high) >= share)))

    @property
    def uniform_covered(self) -> float:
        told = [
            a <= t <= b
            for a, b, t in zip(self.uniform_low, self.uniform_high, self.target, strict=True)
            if a is not None and b is not None
        ]
        return float(np.mean(told)) if told else np.nan

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
    def surely_outside(self) -> bool:
        """Whether chance alone, in the drawing of the samples, does not explain that it is outside."""
        low, high = self.known
        return high < LOWEST or low > HIGHEST

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
    for day in made.days():
        views, score = made.views[day], np.maximum(made.score[day], DEFAULT.score_floor)
        chance[day] = DEFAULT.sample_weighted * score / (views @ score) + DEFAULT.sample_uniform / views.sum()
    return mean(made.inside(key) & made.positive(key)) / mean(made.positive(("", "", "")))


def coverage(made: Views, samples: int, seed: int, times: float = 1.0) -> dict[Key, Tally]:
    """Every cell's tally over so many samples."""
    tallies: dict[Key, Tally] = {}
    calendar = made.until(DAYS - 1)
    windows: dict[int, Views] = {}
    shares_of: dict[tuple[int, Key], tuple[float, float]] = {}
    for number in range(samples):
        rng = np.random.default_rng([seed, number])
        told = estimates(labelled(made, sampled(made, rng, times), rng), POLICIES, LAST)
        until = (told["until"][0].as_py() - START).days
        for row in told.to_pylist():
            key = row["market"], row["kind"], row["policy"]
            if key not in tallies:
                heavy = weight_of_positives(calendar, key) if calendar.share(key) else 1.0
                tallies[key] = Tally(heavy, calendar.labelled_share(key))
            if (until, key) not in shares_of:
                window = windows.setdefault(until, made.until(until))
                shares_of[until, key] = window.share(key), window.labelled_share(key)
            tallies[key].add(row, *shares_of[until, key])
    return tallies


def _beta(share: Array, draws: Array, below: float, above: float) -> tuple[Array, Array]:
    """Beta quantiles with so much of a positive added below and above."""
    x = share * draws
    low = special.betaincinv(np.maximum(x + below, 1e-9), draws - x + 1.0 - below, 0.025)
    high = special.betaincinv(x + above, np.maximum(draws - x + 1.0 - above, 1e-9), 0.975)
    return np.where(x > 0, low, 0.0).astype(float), high.astype(float)


def _mid_p(share: Array, draws: Array) -> tuple[Array, Array]:
    x = share * draws
    ends = []
    for tail in (0.025, 0.975):
        low, high = np.zeros_like(x), np.ones_like(x)
        for _ in range(40):
            middle = (low + high) / 2
            at_least = special.betainc(np.maximum(x, 1e-9), draws - x + 1.0, middle)
            more = special.betainc(x + 1.0, np.maximum(draws - x, 1e-9), middle)
            below = (at_least + more) / 2 < tail
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        ends.append((low + high) / 2)
    return np.where(x > 0, ends[0], 0.0), ends[1]


def _wilson(share: Array, draws: Array) -> tuple[Array, Array]:
    middle = (share + Z**2 / (2 * draws)) / (1 + Z**2 / draws)
    half = Z * np.sqrt(share * (1 - share) / draws + Z**2 / (4 * draws**2)) / (1 + Z**2 / draws)
    return middle - half, middle + half


def _logit(share: Array, draws: Array) -> tuple[Array, Array]:
    inner = np.clip(share, 1e-12, 1.0 - 1e-12)
    half = Z / np.sqrt(draws * inner * (1 - inner))
    middle = special.logit(inner)
    low: Array = np.where(share > 0, special.expit(middle - half), 0.0)
    high: Array = np.where(share > 0, special.expit(middle + half), 1.0 - 0.025 ** (1.0 / draws))
    return low, high


def _arcsine(share: Array, draws: Array) -> tuple[Array, Array]:
    middle = np.arcsin(np.sqrt((share * draws + 0.375) / (draws + 0.75)))
    half = Z / (2 * np.sqrt(draws + 0.5))
    return np.sin(np.maximum(middle - half, 0.0)) ** 2, np.sin(np.minimum(middle + half, np.pi / 2)) ** 2


def _symmetric(share: Array, draws: Array) -> tuple[Array, Array]:
    half = Z * np.sqrt(share * (1 - share) / draws)
    return share - half, share + half


INTERVALS: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "half a positive below, a whole one above (this)": interval,
    "Clopper and Pearson, as Korn and Graubard": lambda p, n: _beta(p, n, 0.0, 1.0),
    "Jeffreys": lambda p, n: _beta(p, n, 0.5, 0.5),
    "mid-p": _mid_p,
    "Wilson": _wilson,
    "logit": _logit,
    "arcsine": _arcsine,
    "symmetric": _symmetric,
}
"""Ends by estimate and effective draws: those that Dean and Pagano (*Journal of Survey Statistics and Methodology* 3,
2015) compare, and this project's."""


def tried(found: Sequence[dict[Key, Tally]], group: Callable[[Key], bool]) -> list[list[str]]:
    """Every interval over the cells of a group: coverage, lowest and highest, cells within the aim, mean width and mean
    interval score (width + 2 / 5 % x distance by which it misses: Gneiting and Raftery, *JASA* 102, 2007) over this
    project's."""
    rows: list[list[str]] = []
    cells = [t for told in found for k, t in told.items() if group(k) and np.mean(t.target) > 0]
    ours: Array | None = None
    for name, ends in INTERVALS.items():
        figures = []
        for t in cells:
            low, high = ends(np.array(t.estimate), np.array(t.effective))
            target = np.array(t.target)
            over, under = np.maximum(low - target, 0.0), np.maximum(target - high, 0.0)
            missed = float(np.mean((over > 0) | (under > 0)))
            figures.append((1.0 - missed, np.mean(high - low), np.mean(high - low + 40.0 * (over + under))))
        covered, width, score = np.array(figures).T
        ours = np.array([width, score]) if ours is None else ours
        rows.append([
            name, percent(float(covered.mean())), percent(float(covered.min())), percent(float(covered.max())),
            f"{int(((covered >= LOWEST) & (covered <= HIGHEST)).sum())} of {len(cells)}",
            f"{np.mean(width / ours[0]):.2f}", f"{np.mean(score / ours[1]):.2f}",
        ])  # fmt: skip
    return rows


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
    yield "both arms as one, each cell by its own weights alone", shares(one, total, prior=0.0)
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
                    np.bincount(day, part, WINDOW_DAYS).astype(float)[None, :]
                    for part in (wx, wy, wx * wx, wy * wy, wy * wx)
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


def percent(part: float | np.floating, digits: int = 1) -> str:
    return f"{100 * part:.{digits}f} %"


def label(key: Key) -> str:
    return " · ".join(part for part in key if part) or "total"


def traffic(seed: int) -> Views:
    with tempfile.TemporaryDirectory() as folder:
        quiet = load_scenario("quiet")
        simulate(Path(folder), quiet, creators=1000, days=DAYS, start=START, seed=seed)
        return views_of(Path(folder))


def aimed(found: dict[int, dict[Key, Tally]]) -> list[tuple[int, Key, Tally]]:
    """The cells that the aim is for."""
    return [(s, k, t) for s, cells in found.items() for k, t in cells.items() if any(GROUPS[g](k) for g in AIMED)]


def verdict(found: dict[int, dict[Key, Tally]], samples: int) -> list[str]:
    """How many of the aimed cells are within the aim, over all samples and over the first that the aim was set for, and
    which of the others chance does not explain."""
    cells = aimed(found)
    every, asked = [t for _, _, t in cells], [t.first(ASKED) for _, _, t in cells]
    outside = [(s, k, t) for s, k, t in cells if not t.inside]
    by_chance = _outside_by_chance(min(ASKED, samples))
    told = "; ".join(
        f"{label(k)} (twin {s}) {percent(t.covered)} ({percent(t.known[0])} to {percent(t.known[1])}), {t.why}"
        for s, k, t in outside
    )
    calendar = [t.covers(t.calendar) for t in every]
    return [
        f"**Aim: {percent(LOWEST, 0)} to {percent(HIGHEST, 0)} for the total, each market and each kind.** Of {len(every)} such cells of "
        f"{len(found)} twins", "",
        *table(["", "cells"], [
            [f"are within over {samples:,} samples", str(len(every) - len(outside))],
            [f"are within over the first {ASKED}", str(sum(t.inside for t in asked))],
            [f"are outside beyond what chance explains, over {samples:,}", str(sum(t.surely_outside for t in every))],
            [f"the same over the first {ASKED}", str(sum(t.surely_outside for t in asked))],
        ]), "",
        f"A cell is *outside beyond chance* if the 95 % interval of its coverage (Clopper and Pearson's, of {samples:,} samples) holds nothing of the aim. "
        f"Of cells that are covered in exactly 95.0 %, {percent(by_chance)} would be found outside over {min(ASKED, samples)} samples, {by_chance * len(every):.1f} of {len(every)}. "
        f"Their mean coverage is {percent(float(np.mean([t.covered for t in every])))}; the interval is above the share in {percent(float(np.mean([t.missed[0] for t in every])))}, "
        f"below it in {percent(float(np.mean([t.missed[1] for t in every])))}."
        + (f" Outside, with the coverage's own interval: {told}." if outside else ""), "",
        f"What is to be covered is the share of the 28 days that end with the newest labelled day, here mostly the last but one. Taken for the 28 days to the very last, "
        f"of whose last day nothing is known, {sum(LOWEST <= round(c, 4) <= HIGHEST for c in calendar)} cells are within, lowest {percent(min(calendar))}, highest {percent(max(calendar))}.", "",
    ]  # fmt: skip


def _outside_by_chance(samples: int) -> float:
    hits = np.arange(samples + 1)
    choose = special.gammaln(samples + 1) - special.gammaln(hits + 1) - special.gammaln(samples - hits + 1)
    chance = np.exp(choose + hits * np.log(0.95) + (samples - hits) * np.log(0.05))
    share = (hits / samples).round(4)
    return float(chance[(share < LOWEST) | (share > HIGHEST)].sum())


def main() -> None:
    given = arguments(__doc__)
    samples, seeds = (60, SEEDS[:1]) if given.quick else (SAMPLES, SEEDS)
    found = {seed: coverage(traffic(seed), samples, seed) for seed in seeds}
    trials = [coverage(traffic(seed), samples, seed) for seed in (TRIED_ON[:1] if given.quick else TRIED_ON)]
    made, first = traffic(seeds[0]), found[seeds[0]]
    total = first["", "", ""]
    few = min(samples, ASKED)
    window = made.until(DAYS - 1)
    ways = compared(window, few, seeds[0])
    large = coverage(made, max(few // 5, 10), seeds[0], times=4.0)
    intervals = ["", "covered", "lowest", "highest", "within", "width, relative", "interval score, relative"]
    lines = [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}; seeds are fixed. The traffic of {len(seeds)} twins (scenario `quiet`, 1,000 creators, "
        f"{WINDOW_DAYS} days), {samples:,} samples drawn from each as the twin draws them: {DEFAULT.sample_weighted} weighted and "
        f"{DEFAULT.sample_uniform} uniform draws a day, labels up to a week late, raters who err. What is to be covered is the share that raters "
        "would label.", "",
        *verdict(found, samples),
        "The first twin, cell by cell. *Missed*: the interval lies above / below the truth.", "",
        *table(["", "truth", "positives", "effective draws", "mean width", "covered", "missed", "uniform arm alone: covered", "arms disagree"],
               [[label(k), percent(np.mean(t.target), 2), f"{np.mean(t.positives):.0f}", f"{np.mean(t.effective):,.0f}", percent(t.width, 2), percent(t.covered),
                 f"{percent(t.missed[0])} / {percent(t.missed[1])}", percent(t.uniform_covered), percent(t.disagreed)]
                for k, t in first.items() if any(GROUPS[g](k) for g in (*AIMED, "by market and kind", "by policy"))]), "",
        "Coverage over the cells of all twins by how finely they are cut, and how many cells are within the aim:", "",
        *table(["cells", "number", "mean positives", "mean covered", "lowest", "highest", "within", "too rarely", "too often"], _summary(found)), "",
        "The cells that cover too rarely, at most 12:", "",
        *table(["cell", "twin", "covered", "missed above / below", "positives", "why"], _worst(found), words=2), "",
        f"**Other intervals** by the same estimates and effective draws, on twins {', '.join(map(str, TRIED_ON))}, on which the choice was made; {samples:,} samples of each. The interval score is the width and 40 times "
        "the distance by which it misses: less is better. Total, markets and kinds:", "",
        *table(intervals, tried(trials, lambda k: any(GROUPS[g](k) for g in AIMED))), "",
        "Policies, and policies by market, with few positives:", "",
        *table(intervals, tried(trials, lambda k: GROUPS["by policy"](k) or GROUPS["by policy and market"](k))), "",
        f"**True shares.** Raters miss {percent(1 - DEFAULT.rater_sensitivity, 0)} of violations and see one in {percent(1 - DEFAULT.rater_specificity)} of innocent views; of a total of "
        f"{percent(np.mean(total.truth), 2)} they would label {percent(np.mean(total.target), 2)}. Intervals of the total cover the true share in {percent(total.covers(np.array(total.truth)))} of samples. "
        "With four times the draws:", "",
        *table(["", "effective draws", "mean width", "covered: labelled share", "true share"],
               [[label(k), f"{np.mean(t.effective):,.0f}", percent(t.width, 2), percent(t.covered), percent(t.covers(np.array(t.truth)))]
                for k, t in large.items() if GROUPS["total"](k) or GROUPS["by kind"](k)]), "",
        f"**One day**, as the daily metrics know it: the draws of a simple random sample that would err as much (*real*), and how many the detector takes "
        f"them for (*told*), on the last day and over {few} samples of the first twin. With both chances a view weighs 1 / their sum; with a "
        "draw's own alone, each arm makes half of the estimate.", "",
        *table(["", "draws", "both chances: real", "told", "own chance alone: real", "told"],
               [[name, *(f"{value:,.0f}" for value in values)] for name, *values in daily(window, few, seeds[0])]), "",
        f"**Other ways**, from {few} samples of the first twin with all labels there and right; mean over the total, the markets and the kinds:", "",
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
        cells = [t for told in found.values() for k, t in told.items() if group(k) and np.mean(t.truth) > 0]
        covered = np.array([t.covered for t in cells])
        rows.append([
            name, str(len(cells)), f"{np.mean([np.mean(t.positives) for t in cells]):.0f}", percent(float(covered.mean())),
            percent(float(covered.min())), percent(float(covered.max())), str(sum(t.inside for t in cells)),
            str(int((covered.round(4) < LOWEST).sum())), str(int((covered.round(4) > HIGHEST).sum())),
        ])  # fmt: skip
    return rows


def _worst(found: dict[int, dict[Key, Tally]], most: int = 12) -> list[list[str]]:
    cells = [(t.covered, seed, k, t) for seed, told in found.items() for k, t in told.items() if np.mean(t.truth) > 0]
    rare = sorted((c for c in cells if round(c[0], 4) < LOWEST), key=lambda c: c[0])[:most]
    return [
        [label(k), str(seed), percent(covered), f"{percent(t.missed[0])} / {percent(t.missed[1])}", f"{np.mean(t.positives):.1f}", t.why]
        for covered, seed, k, t in rare
    ]  # fmt: skip


if __name__ == "__main__":
    main()
