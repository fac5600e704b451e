"""Segmentation of whole histories: the Turing Change Point Dataset, and false changes on noise.

``python -m benchmarks.turing FOLDER`` segments the univariate series in FOLDER, a checkout of
github.com/alan-turing-institute/TCPD (``annotations.json`` and ``datasets/NAME/NAME.json``; some series it downloads
itself: see its README; those that are there are used), with the defaults of :mod:`health_pipeline.stats.segmentation`
and scores them as van den Burg and Williams (2020), An evaluation of change point detection algorithms,
arXiv:2003.06222, section 4.2. A minute. ``--settings`` adds what other constants would have scored (ten minutes);
``python -m benchmarks.turing --noise`` counts changes found in noise (minutes; needs no data). Each writes its part of
docs/segmentation.md; ``--print`` only prints.

``turing_published.csv`` holds what the paper's methods scored per series with their default settings: the authors'
github.com/alan-turing-institute/TCPDBench, analysis/output/scores/default_cover_scores.json and
default_f1_scores.json, to four decimals; a method that failed on a series has no score there.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import DOCS, dots_chart, machine, table
from benchmarks.page import write_part
from health_pipeline.charts import png
from health_pipeline.stats import segmentation
from health_pipeline.stats.segmentation import Array, segment

PAGE = DOCS / "segmentation.md"
PICTURE = "segmentation-turing"
PUBLISHED = Path(__file__).parent / "turing_published.csv"
OURS = "health_pipeline"
METRICS = ("cover", "f1")
MARGIN = 5
"""Observations by which a change may be off and still count for F1."""
PAPER = {"bitcoin", "scanline_126007", "uk_coal_employ"}
"""Univariate series on which a method failed: the paper's table averages over the other 35."""

Annotations = Mapping[str, Sequence[int]]
Scores = dict[str, dict[str, dict[str, float]]]  # metric, series, method


@dataclass(frozen=True)
class Annotated:
    """A series of the data set: values (NaN is missing), columns per rhythm or 0, and changes by annotator."""

    name: str
    values: Array
    period: int
    annotations: Annotations


def true_positives(truth: set[int], predicted: set[int], margin: int = MARGIN) -> set[int]:
    """Those of ``truth`` with a prediction within the margin, each prediction used once, the nearest first."""
    free, found = set(predicted), set()
    for tau in sorted(truth):
        near = sorted((abs(tau - x), x) for x in free if abs(tau - x) <= margin)
        if near:
            found.add(tau)
            free.remove(near[0][1])
    return found


def f1(annotations: Annotations, predicted: Sequence[int], margin: int = MARGIN) -> float:
    """F1 against several annotators: precision over all their changes together, recall averaged over annotators.

    Column 0 counts as a change in every set, so that precision and recall are defined when nothing is found.
    """
    truths = [{0, *changes} for changes in annotations.values()]
    found = {0, *predicted}
    precision = len(true_positives(set().union(*truths), found, margin)) / len(found)
    recall = float(np.mean([len(true_positives(truth, found, margin)) / len(truth) for truth in truths]))
    return 2 * precision * recall / (precision + recall)


def cover(annotations: Annotations, predicted: Sequence[int], n: int) -> float:
    """How well the predicted segments cover the annotated ones, averaged over annotators (Arbelaez et al. 2010).

    Of every annotated segment, the largest Jaccard index with a predicted one, weighted by its length.
    """

    def segments(changes: Sequence[int]) -> list[tuple[int, int]]:
        return list(pairwise([0, *sorted({c for c in changes if 0 < c < n}), n]))

    guesses = segments(predicted)
    covers = []
    for changes in annotations.values():
        total = 0.0
        for low, high in segments(changes):
            overlaps = (max(0, min(high, b) - max(low, a)) / (max(high, b) - min(low, a)) for a, b in guesses)
            total += (high - low) * max(overlaps)
        covers.append(total / n)
    return float(np.mean(covers))


def rhythm_period(stamps: Sequence[str], pattern: str) -> int:
    """Columns of the calendar's rhythm by the spacing of time stamps: 7 for days, 12 for months, else 0."""
    try:
        days = [dt.datetime.strptime(stamp, pattern).date().toordinal() for stamp in stamps]
    except ValueError:  # not a time stamp, as in series of numbered observations
        return 0
    gap = float(np.median(np.diff(days))) if len(days) > 1 else 0.0
    return 7 if gap == 1 else 12 if 28 <= gap <= 31 else 0


def load(folder: Path) -> list[Annotated]:
    """The univariate series that are in the folder, by name."""
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    series = []
    for path in sorted((folder / "datasets").glob("*/*.json")):
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["n_dim"] != 1 or data["name"] not in annotations:
            continue
        raw = data["series"][0]["raw"]
        values = np.array([np.nan if v is None else v for v in raw], dtype=np.float64)
        if values.size != data["n_obs"]:
            raise ValueError(f"{path} has {values.size} values and says it has {data['n_obs']}")
        stamps = data["time"]
        period = rhythm_period(stamps["raw"], stamps["format"]) if "raw" in stamps and "format" in stamps else 0
        series.append(Annotated(data["name"], values, period, annotations[data["name"]]))
    return series


def published() -> Scores:
    """The paper's scores with default settings; a method without a score on a series is left out there."""
    scores: Scores = {metric: {} for metric in METRICS}
    with PUBLISHED.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            name, metric = row.pop("series"), row.pop("metric")
            scores[metric][name] = {method: float(value) for method, value in row.items() if value}
    return scores


def averages(scores: Scores, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """(cover, F1) per method over the named series on which it did not fail."""
    methods = sorted({method for by in scores.values() for row in by.values() for method in row})
    means = {}
    for method in methods:
        rows = [[by[name][method] for name in names if method in by[name]] for by in (scores[m] for m in METRICS)]
        if all(rows):
            means[method] = (float(np.mean(rows[0])), float(np.mean(rows[1])))
    return means


def judge(series: Annotated) -> tuple[float, float, int]:
    """Cover, F1 and number of changes of the default segmentation."""
    changes = [change.column for change in segment(series.values, series.period).changes]
    return cover(series.annotations, changes, series.values.size), f1(series.annotations, changes), len(changes)


@contextmanager
def constants(**values: float) -> Iterator[None]:
    """Other constants of the module for a while."""
    kept = {name: getattr(segmentation, name) for name in values}
    for name, value in values.items():
        setattr(segmentation, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(segmentation, name, value)


def _judge_with(task: tuple[dict[str, float], Annotated]) -> tuple[float, float]:
    values, series = task
    with constants(**values):
        return judge(series)[:2]


def turing(folder: Path) -> tuple[list[str], bytes]:
    """The part of the page about the data set, and its picture."""
    there = load(folder)
    scores = published()
    started = time.process_time()
    for series in there:
        for metric, value in zip(METRICS, judge(series)[:2], strict=True):
            scores[metric][series.name][OURS] = value
    seconds = time.process_time() - started
    long = autoregressive(np.random.default_rng(1), 2_000, 0.5)
    started = time.process_time()
    segment(long, 7)
    long_seconds = time.process_time() - started
    names = [s.name for s in there if s.name not in PAPER]
    all_of_them = sorted(set(scores["cover"]) - PAPER)
    real = [name for name in names if not name.startswith("quality_control")]
    here, everywhere, natural = (averages(scores, which) for which in (names, all_of_them, real))
    order = sorted(here, key=lambda method: -sum(here[method]))
    best = [max(v[m] for method, v in here.items() if method != OURS) for m in (0, 1)]
    absent = [name for name in all_of_them if name not in names]
    lines = [
        "### The Turing Change Point Dataset", "",
        f"Written by `python -m benchmarks.turing FOLDER`. {len(names)} of the paper's {len(all_of_them)} univariate "
        f"series were in the folder; all methods are compared on the same {len(names)}, each with its own defaults, "
        f"in {seconds:.1f} s of processor time on {machine()}; a series of 2,000 observations takes {long_seconds:.1f} s. The last two columns are the paper's, over all {len(all_of_them)}.", "",
        *table(["method", "cover", "F1", "cover, no simulated series", "F1, no simulated series",
                f"cover, all {len(all_of_them)}", f"F1, all {len(all_of_them)}"],
               [[f"**{m}**" if m == OURS else m, *(f"{v:.3f}" for v in (*here[m], *natural[m])),
                 *(("–", "–") if m == OURS and absent else (f"{v:.3f}" for v in everywhere[m]))] for m in order]), "",
        f"Against the best published default on these series: cover {here[OURS][0]:.3f} to {best[0]:.3f}, "
        f"F1 {here[OURS][1]:.3f} to {best[1]:.3f}.", "",
    ]  # fmt: skip
    if absent:
        filled = [float(np.mean([scores[m][n].get(OURS, scores[m][n]["zero"]) for n in all_of_them])) for m in METRICS]
        top = [max(v[m] for method, v in everywhere.items() if method != OURS) for m in (0, 1)]
        lines += [
            f"Not in the folder: {', '.join(absent)}. Had no change at all been found in any of them (the score of "
            f"*zero*), the averages over all {len(all_of_them)} would be {filled[0]:.3f} and {filled[1]:.3f}; the best "
            f"published are {top[0]:.3f} and {top[1]:.3f}.", "",
        ]  # fmt: skip
    lines += [f"![Cover and F1 of every method](img/{PICTURE}.png)", "", "<details><summary>Per series</summary>", ""]
    rows = []
    for series in there:
        row = [series.name, str(series.values.size), str(len(series.annotations)), str(judge(series)[2])]
        for metric in METRICS:
            by = scores[metric][series.name]
            rival = max((v, m) for m, v in by.items() if m != OURS)
            row += [f"{by[OURS]:.3f}", f"{by.get('binseg', np.nan):.3f}", f"{rival[0]:.3f} ({rival[1]})"]
        rows.append([cell.replace("nan", "–") for cell in row])
    lines += table(["series", "observations", "annotators", "changes found", "cover", "binseg", "best default",
                    "F1", "binseg", "best default"], rows)  # fmt: skip
    lines += ["", "</details>"]
    ticks = [(0.3, "≤ 0.3"), (0.4, "0.4"), (0.5, "0.5"), (0.6, "0.6"), (0.7, "0.7"), (0.8, "0.8"), (0.9, "")]
    picture = dots_chart(
        [(m, metric, here[m][k]) for m in order for k, metric in enumerate(METRICS)],
        title="Agreement with human annotators, default settings",
        subtitle=f"{len(names)} univariate series of the Turing Change Point Dataset · orange: cover · blue: F1",
        ticks=ticks,
    )
    return lines, png(picture)


def settings(folder: Path) -> list[str]:
    """What other constants would have scored, and what choosing them on half of the series is worth."""
    there = [s for s in load(folder) if s.name not in PAPER]
    grid = [
        {"LOCATION": c, "PRIOR_STRENGTH": nu, "RESOLUTION": f}
        for c, nu, f in itertools.product((2.0, 3.0, 4.0), (4.0, 8.0, 16.0), (0.02, 0.05, 0.1))
    ]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_judge_with, itertools.product(grid, there), chunksize=len(there)))
    got = np.array(found).reshape(len(grid), len(there), 2)
    rows = [
        [f"{g['LOCATION']:g}", f"{g['PRIOR_STRENGTH']:g}", f"{g['RESOLUTION']:g}",
         *(f"{v:.3f}" for v in got[k].mean(axis=0))]
        for k, g in enumerate(grid)
    ]  # fmt: skip
    rng = np.random.default_rng(2020)
    held_out = []
    for _ in range(1_000):
        shuffled = rng.permutation(len(there))
        chosen, kept = shuffled[: len(there) // 2], shuffled[len(there) // 2 :]
        held_out.append(got[got[:, chosen].mean(axis=(1, 2)).argmax(), kept].mean(axis=0))
    fair = np.mean(held_out, axis=0)
    scores = published()
    bars = [max(v[m] for v in averages(scores, [s.name for s in there]).values()) for m in (0, 1)]
    above = float(np.mean((got.mean(axis=1) > bars).all(axis=1)))
    return [
        "### Other constants", "",
        f"Written by `python -m benchmarks.turing FOLDER --settings`. {100 * above:.0f} % of these settings are above the best "
        f"published default ({bars[0]:.3f} and {bars[1]:.3f}) on both. Chosen on a random half of the series and scored "
        f"on the other half, the mean of 1,000 splits is {fair[0]:.3f} and {fair[1]:.3f}: what tuning on the same series "
        "flatters is the difference to the best line.", "",
        *table(["LOCATION", "PRIOR_STRENGTH", "RESOLUTION", "cover", "F1"], rows),
    ]  # fmt: skip


def autoregressive(rng: np.random.Generator, days: int, rho: float, heavy: bool = False) -> Array:
    """Stationary AR(1) noise with standard deviation 1; heavy innovations are of Student's t with 4 degrees."""
    noise = rng.standard_t(4, days) / np.sqrt(2) if heavy else rng.normal(size=days)
    out = np.empty(days)
    out[0] = noise[0]
    scale = np.sqrt(1 - rho * rho)
    for day in range(1, days):
        out[day] = rho * out[day - 1] + scale * noise[day]
    return out


NOISES = ("noise", "noise + drift of 6 sd", "noise + weekly rhythm", "heavy-tailed noise", "random walk")
STEPS = (1.0, 2.0, 4.0)


def _noisy(task: tuple[str, int, float, int]) -> tuple[int, int]:
    """Changes found in one series without any."""
    kind, days, rho, seed = task
    rng = np.random.default_rng([seed, days, int(100 * rho), NOISES.index(kind)])
    y = autoregressive(rng, days, rho, kind.startswith("heavy"))
    if "drift" in kind:
        y += np.linspace(0, 6, days)
    if "weekly" in kind:
        y += 2 * rng.normal(size=7)[np.arange(days) % 7]
    if kind == "random walk":
        y = np.cumsum(rng.normal(size=days))
    found = len(segment(y, 7).changes)
    return found, int(found > 0)


def _stepped(task: tuple[float, int, float, int]) -> tuple[int, int]:
    """Whether a step in the middle is found within MARGIN, and other changes."""
    size, days, rho, seed = task
    rng = np.random.default_rng([seed, days, int(100 * rho), int(10 * size)])
    y = autoregressive(rng, days, rho)
    y[days // 2 :] += size
    near = [abs(change.column - days // 2) <= MARGIN for change in segment(y, 7).changes]
    return int(any(near)), len(near) - sum(near[:1] if any(near) else [])


def noise(series: int = 60) -> list[str]:
    """How often something is found where nothing is, and planted steps are found."""
    quiet = [(k, n, r) for k in NOISES[:-1] for n in (100, 400) for r in (0.0, 0.5, 0.8)]
    quiet += [("random walk", n, 0.0) for n in (100, 400)]
    steps = [(s, n, r) for s in STEPS for n in (100, 400) for r in (0.0, 0.5, 0.8)]
    with ProcessPoolExecutor() as pool:
        counts = np.array(list(pool.map(_noisy, [(*q, s) for q in quiet for s in range(series)], chunksize=20)))
        hits = np.array(list(pool.map(_stepped, [(*q, s) for q in steps for s in range(series)], chunksize=20)))
    counts, hits = counts.reshape(len(quiet), series, 2), hits.reshape(len(steps), series, 2)
    return [
        "### False changes, and planted steps", "",
        f"Written by `python -m benchmarks.turing --noise`: {series} series of every kind, seeds fixed. AR(1) noise with "
        "standard deviation 1; *heavy-tailed*: innovations of Student's t with 4 degrees of freedom. A random walk has no "
        "changes either.", "",
        *table(["series without a change", "days", "ρ", "with any change", "changes per 1,000 series-days"],
               [[k, str(n), "–" if k == "random walk" else f"{r:g}", f"{c[:, 1].mean():.0%}".replace("%", " %"),
                 f"{1000 * c[:, 0].mean() / n:.2f}"] for (k, n, r), c in zip(quiet, counts, strict=True)]), "",
        *table(["step in the middle, in sd", "days", "ρ", f"found within {MARGIN} days", "other changes per series"],
               [[f"{s:g}", str(n), f"{r:g}", f"{c[:, 0].mean():.0%}".replace("%", " %"), f"{c[:, 1].mean():.2f}"]
                for (s, n, r), c in zip(steps, hits, strict=True)]),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a checkout of TCPD")
    parser.add_argument("--settings", action="store_true", help="other constants as well")
    parser.add_argument("--noise", action="store_true", help="false changes on noise; needs no folder")
    parser.add_argument("--print", action="store_true", dest="printed", help="leave the page alone")
    given = parser.parse_args()
    if given.folder is None and not given.noise:
        parser.error("a folder with the data set, or --noise")

    def say(study: str, lines: list[str]) -> None:
        if given.printed:
            print("\n".join(lines))
        else:
            write_part(PAGE, study, lines)

    if given.folder is not None:
        lines, picture = turing(given.folder)
        if not given.printed:
            (DOCS / "img" / f"{PICTURE}.png").write_bytes(picture)
        say("benchmarks.turing", lines)
        if given.settings:
            say("benchmarks.turing --settings", settings(given.folder))
    if given.noise:
        say("benchmarks.turing --noise", noise())


if __name__ == "__main__":
    main()
