"""Planted root causes: exact matches and seconds, beside published methods: ``python -m benchmarks.explanation``.

Cubes of 4 or 5 dimensions with 1 to 3 simultaneous causes of 1 to 3 conditions, as counts, as ratios, and as values under
the generative assumption of Squeeze (the generalised ripple effect); and cubes of noise alone. ``--quick``: a few cases,
printed only. Writes its part of docs/explanation.md.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.explanation_methods import METHODS, Array, Codes, Conditions
from benchmarks.figures import DOCS, arguments, dots_chart, machine, table
from benchmarks.page import write_part
from health_pipeline.charts import png
from health_pipeline.stats.root_causes import RootCauses, members, ratio_cells, root_causes

STUDY = "benchmarks.explanation"
PICTURE = "explanation"
OURS = "this search"
SCATTERS = (0.02, 0.05, 0.1, 0.2)
CHANGES = (0.3, -0.4, 1.0, -0.7)
LEAST_SHARE = 0.01
"""Causes are drawn among the sets that make at least so much of the whole: nobody asks what a smaller one explains."""


@dataclass(frozen=True)
class Noise:
    """How counts scatter about what is expected on an ordinary day.

    Attributes:
        dispersion: variance over mean of a cell.
        cell: standard deviation of a cell's factor, on the log scale.
        value: the same of a whole value of a dimension.
    """

    name: str
    dispersion: float = 1.0
    cell: float = 0.0
    value: float = 0.0


NOISES = (
    Noise("Poisson"),
    Noise("overdispersed", dispersion=2.0, cell=0.15),
    Noise("overdispersed, values wobble", dispersion=2.0, cell=0.15, value=0.03),
)


@dataclass(frozen=True)
class Case:
    """A cube, and what was planted in it: sets of conditions and their factors."""

    codes: Codes
    expected: Array
    observed: Array
    variance: Array | None
    truth: dict[Conditions, float]


def cube(rng: np.random.Generator) -> tuple[Codes, Array]:
    """Cells of 4 or 5 dimensions of 3 to 14 values, and their shares: skewed values, cells that are not independent."""
    dimensions = int(rng.integers(4, 6))
    shape = rng.integers(3, 15 if dimensions == 4 else 10, dimensions)
    codes = np.stack(np.unravel_index(np.arange(np.prod(shape)), tuple(shape)), axis=1)
    share = rng.lognormal(0.0, 0.7, len(codes))
    for d, size in enumerate(shape):
        share *= rng.dirichlet(np.full(size, 2.0))[codes[:, d]]
    kept = rng.random(len(codes)) < rng.uniform(0.5, 1.0)  # real cubes are not full
    return codes[kept].astype(np.int64), share[kept] / share[kept].sum()


def draw_causes(
    rng: np.random.Generator, codes: Codes, share: Array, conditions: Sequence[int], one_cuboid: bool
) -> list[Conditions] | None:
    """Large enough sets of the wanted numbers of conditions, none inside another; ``None`` if none were found."""
    for _ in range(50):
        chosen: list[Conditions] = []
        dimensions: tuple[int, ...] = ()
        for wanted in conditions:
            if not one_cuboid or not dimensions:
                dimensions = tuple(sorted(int(d) for d in rng.choice(codes.shape[1], wanted, replace=False)))
            values, group = np.unique(codes[:, dimensions], axis=0, return_inverse=True)
            large = np.flatnonzero(np.bincount(group.ravel(), share) >= LEAST_SHARE)
            if len(large):
                chosen.append(tuple(zip(dimensions, (int(v) for v in values[rng.choice(large)]), strict=True)))
        apart = all(not set(a) <= set(b) and not set(b) <= set(a) for a, b in itertools.combinations(chosen, 2))
        if apart and len(chosen) == len(conditions):
            return chosen
    return None


def cube_with_causes(
    rng: np.random.Generator, conditions: Sequence[int], one_cuboid: bool
) -> tuple[Codes, Array, list[Conditions]]:
    while True:
        codes, share = cube(rng)
        causes = draw_causes(rng, codes, share, conditions, one_cuboid)
        if causes is not None:
            return codes, share, causes


def planted(rng: np.random.Generator, noise: Noise, conditions: Sequence[int], ratio: bool) -> Case:
    """Counts, or a ratio's numerators, with causes of so many conditions each (or no causes)."""
    codes, share, causes = cube_with_causes(rng, conditions, bool(rng.integers(2)))
    factor = np.exp(rng.normal(0.0, noise.cell, len(codes)))
    for column in codes.T:
        factor *= np.exp(rng.normal(0.0, noise.value, column.max() + 1))[column]
    factor /= share @ factor  # noise moves parts, not the whole
    truth = {cause: 1.0 + float(rng.choice(CHANGES)) for cause in causes}
    for cause, moved in truth.items():
        factor[members(codes, cause)] *= moved
    if not ratio:
        expected = share * 10 ** rng.uniform(5.0, 6.0)
        mean = expected * factor
        observed = noise.dispersion * rng.poisson(mean / noise.dispersion)
        return Case(codes, expected, observed.astype(float), None, truth)
    views = share * 10 ** rng.uniform(6.0, 7.0)
    rate = np.minimum(0.03 * np.exp(rng.normal(0.0, 0.5, len(codes))), 0.2)
    before, now = rng.poisson(28 * views), rng.poisson(views * np.exp(rng.normal(0.0, 0.2, len(codes))))
    clumps = int(noise.dispersion)
    k_before = clumps * rng.binomial(before // clumps, rate)
    k_now = clumps * rng.binomial(now // clumps, np.minimum(rate * factor, 1.0))
    return Case(codes, *ratio_cells(k_before, before, k_now, now), truth)


def ripple(rng: np.random.Generator, scatter: float, count: int, conditions: int) -> Case:
    """Values as Squeeze assumes them: causes of one cuboid, whose cells all move by the causes' own factors.

    Forecasts miss by a relative error of standard deviation ``scatter``; every cause's cells deviate by its own score d,
    v = f (2 − d) / (2 + d), d drawn in 0.2 to 1 for a fall (or its mirror image for a rise), at least 0.1 apart.
    """
    codes, share, causes = cube_with_causes(rng, [conditions] * count, one_cuboid=True)
    forecast = share / share.mean() * 100.0
    real = forecast * np.maximum(1.0 + rng.normal(0.0, scatter, len(codes)), 0.0)
    sign = rng.choice([-1.0, 1.0])
    while True:
        scores = rng.uniform(0.2, 1.0, count)
        if count < 2 or np.diff(np.sort(scores)).min() >= 0.1:
            break
    truth = {c: float((2.0 - sign * d) / (2.0 + sign * d)) for c, d in zip(causes, scores, strict=True)}
    for cause, moved in truth.items():
        real[members(codes, cause)] *= moved
    return Case(codes, forecast, real, None, truth)


def ours(case: Case) -> RootCauses:
    return root_causes(case.codes, case.expected, case.observed, variance=case.variance)


def judge(name: str, case: Case) -> tuple[frozenset[Conditions], float, RootCauses | None]:
    """Sets that a method names, its seconds, and our full answer."""
    started = time.perf_counter()
    if name == OURS:
        answer = ours(case)
        return frozenset(c.conditions for c in answer.causes), time.perf_counter() - started, answer
    found = METHODS[name](case.codes, case.expected, case.observed)
    return frozenset(found), time.perf_counter() - started, None


@dataclass
class Score:
    """Exact matches of sets of conditions over some cases, as in the papers: micro-averaged."""

    right: int = 0
    wrong: int = 0
    missed: int = 0
    cases: int = 0
    exact: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, truth: Collection[Conditions], found: frozenset[Conditions], seconds: float = 0.0) -> None:
        named = set(truth)
        self.right += len(named & found)
        self.wrong += len(found - named)
        self.missed += len(named - found)
        self.cases += 1
        self.exact += named == found
        self.seconds.append(seconds)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(2 * self.right + self.wrong + self.missed, 1)


def together(scores: Iterable[Score]) -> Score:
    total = Score()
    for s in scores:
        total.right, total.wrong, total.missed = total.right + s.right, total.wrong + s.wrong, total.missed + s.missed
        total.cases, total.exact = total.cases + s.cases, total.exact + s.exact
        total.seconds = [*total.seconds, *s.seconds]
    return total


@dataclass
class Detail:
    """What our answers looked like, over all planted cases."""

    found: dict[str, list[bool]] = field(default_factory=dict)
    covered: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, ground: str, case: Case, answer: RootCauses) -> None:
        named = {c.conditions: c for c in answer.causes}
        for conditions, factor in case.truth.items():
            for group in (
                f"{len(conditions)} condition{'s' * (len(conditions) > 1)}",
                f"{factor - 1:+.0%}".replace("-", "−").replace("%", " %"),
            ):
                self.found.setdefault(group, []).append(conditions in named)
            if conditions in named:
                one = named[conditions]
                self.covered.setdefault(ground, []).append(one.low <= factor <= one.high)


def planted_cases(each: int) -> Iterator[tuple[str, Case]]:
    for (n, noise), ratio, count, i in itertools.product(enumerate(NOISES), (False, True), (1, 2, 3), range(each)):
        rng = np.random.default_rng([1, n, ratio, count, i])
        conditions = [int(c) for c in rng.integers(1, 4, count)]
        yield f"{'ratios' if ratio else 'counts'}, {noise.name}", planted(rng, noise, conditions, ratio)


def ripple_cases(each: int) -> Iterator[tuple[str, Case]]:
    for (n, scatter), count, i in itertools.product(enumerate(SCATTERS), (1, 2, 3), range(each)):
        rng = np.random.default_rng([2, n, count, i])
        yield (
            f"ripple effect, forecasts off by {scatter:.0%}".replace("%", " %"),
            ripple(rng, scatter, count, 1 + i % 3),
        )


def null_cases(each: int) -> Iterator[tuple[str, Case]]:
    for (n, noise), ratio, i in itertools.product(enumerate(NOISES), (False, True), range(each)):
        yield noise.name, planted(np.random.default_rng([3, n, ratio, i]), noise, [], ratio)


def large(shape: Sequence[int], cells: int = 100_000) -> float:
    """Seconds for a large cube with two causes; an error if they are not both named."""
    rng = np.random.default_rng([4, len(shape)])
    codes = np.stack([rng.integers(0, size, cells) for size in shape], axis=1)
    expected = rng.lognormal(1.0, 1.0, cells)
    causes: tuple[Conditions, ...] = ((((0, 1), (2, 3))), ((1, 2),))
    factor = np.where(members(codes, causes[0]), 1.6, 1.0) * np.where(members(codes, causes[1]), 0.7, 1.0)
    case = Case(codes, expected, rng.poisson(expected * factor).astype(float), None, {})
    found, seconds, _ = judge(OURS, case)
    if not set(causes) <= found:
        raise RuntimeError(f"of {causes} only {found} were named")
    return seconds


def percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def main() -> None:
    given = arguments(__doc__)
    each, ripples, nulls = (2, 3, 4) if given.quick else (12, 12, 50)
    methods = [OURS] if given.only_detector else [OURS, *METHODS]
    scores: dict[str, dict[str, Score]] = {}
    counts = {name: {count: Score() for count in (1, 2, 3)} for name in methods}
    detail, cells = Detail(), []
    for ground, case in (*planted_cases(each), *ripple_cases(ripples)):
        cells.append(len(case.codes))
        for name in methods:
            found, seconds, answer = judge(name, case)
            scores.setdefault(ground, {}).setdefault(name, Score()).add(case.truth, found, seconds)
            if not ground.startswith("ripple"):
                counts[name][len(case.truth)].add(case.truth, found, seconds)
                if answer is not None:
                    detail.add(ground, case, answer)
        if scores[ground][OURS].cases == 3 * (ripples if ground.startswith("ripple") else each):
            print(ground, {name: round(s.f1, 3) for name, s in scores[ground].items()}, flush=True)
    false: dict[str, dict[str, Score]] = {}
    for ground, case in null_cases(nulls):
        for name in methods:
            found, seconds, _ = judge(name, case)
            false.setdefault(ground, {}).setdefault(name, Score()).add((), found, seconds)
    print({ground: {name: s.cases - s.exact for name, s in row.items()} for ground, row in false.items()}, flush=True)

    plants = {g: row for g, row in scores.items() if not g.startswith("ripple")}
    ripple_rows = {g: row for g, row in scores.items() if g.startswith("ripple")}
    all_planted = {name: together(row[name] for row in plants.values()) for name in methods}
    all_ripple = {name: together(row[name] for row in ripple_rows.values()) for name in methods}
    detail.found = {group: detail.found[group] for group in sorted(detail.found, key=lambda g: (not g[0].isdigit(), g))}
    every = {name: together(row[name] for row in (*scores.values(), *false.values())) for name in methods}
    cases = sum(row[OURS].cases for row in plants.values())
    lines = [
        "## Measured", "",
        f"Written by `python -m {STUDY}` on {machine()}; seeds are fixed. {cases} cubes with planted causes, "
        f"{sum(row[OURS].cases for row in ripple_rows.values())} under the ripple effect, {sum(row[OURS].cases for row in false.values())} of "
        f"noise alone; 4 or 5 dimensions of 3 to 14 values, {min(cells):,} to {max(cells):,} cells, in the median {int(np.median(cells)):,}.", "",
        "One to three causes a cube, each of one to three conditions and at least "
        f"{percent(LEAST_SHARE)} of the whole; it changes its cells by {', '.join(f'{c:+.0%}'.replace('-', '−').replace('%', ' %') for c in CHANGES)}; in half of the "
        "cubes all are on the same dimensions. *Overdispersed*: events come in pairs, and each cell has a factor of its own (15 %). *Values wobble*: "
        "each value of each dimension has one too (3 %). A ratio's baseline is 28 noisy days. The ripple effect is what "
        "Squeeze and RiskLoc assume: real values, causes on the same dimensions, falls and rises by a deviation score of 0.2 to 1. The search's constants were chosen on other cubes of the same kinds.", "",
        "**Exact-match F1**: a set counts when all its conditions are right and no other is named; over all sets of the cubes.", "",
        *table(["ground", *methods], [[g, *(f"{row[name].f1:.2f}" for name in methods)] for g, row in scores.items()]
               + [["**all planted**", *(f"**{all_planted[name].f1:.2f}**" for name in methods)],
                  ["**all under the ripple effect**", *(f"**{all_ripple[name].f1:.2f}**" for name in methods)]]), "",
        f"This search named {all_planted[OURS].right} of {all_planted[OURS].right + all_planted[OURS].missed} planted sets, "
        f"and {all_planted[OURS].wrong} others; {all_planted[OURS].exact} of {cases} cubes are right altogether.", "",
        "F1 by number of simultaneous causes, planted:", "",
        *table(["causes", *methods], [[str(c), *(f"{counts[name][c].f1:.2f}" for name in methods)] for c in (1, 2, 3)]), "",
        "Planted sets that this search named, by their conditions and by their change:", "",
        *table(["", *detail.found], [["named", *(percent(float(np.mean(v))) for v in detail.found.values())],
                                     ["of", *(str(len(v)) for v in detail.found.values())]]), "",
        "**False causes**: cubes of noise alone that were given any cause. (The anchors are made to be asked when something is wrong.)", "",
        *table(["noise", "cubes", *methods],
               [[g, str(row[OURS].cases), *(percent(1 - row[name].exact / row[name].cases) for name in methods)] for g, row in false.items()]), "",
        "**Seconds** per cube, one core:", "",
        *table(["", *methods], [["mean", *(f"{np.mean(every[name].seconds):.2f}" for name in methods)],
                                ["largest", *(f"{np.max(every[name].seconds):.2f}" for name in methods)]]), "",
        "This search on 100,000 cells with two causes: "
        f"{large((20, 20, 20, 20, 20)):.1f} seconds with five dimensions, {large((30, 12, 8, 6, 5, 4, 3)):.1f} with seven.", "",
        "**Intervals**: share of the named causes whose 95 % interval holds the planted factor.", "",
        *table(["ground", "named", "covered"], [[g, str(len(v)), percent(float(np.mean(v)))] for g, v in detail.covered.items()]), "",
        f"![F1 of each method on each ground](img/{PICTURE}.png)",
    ]  # fmt: skip
    picture = dots_chart(
        [(name, "planted" if ground in plants else "ripple", row[name].f1) for name in methods for ground, row in scores.items()],
        title="Exact-match F1, a dot per ground",
        subtitle="orange: planted causes in counts and ratios, by noise · blue: values as Squeeze assumes them, by noise",
        ticks=[(0.0, "0"), (0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"), (0.9, "0.9"), (1.0, "1")], log=False, row_height=30,
    )  # fmt: skip
    if given.quick or given.only_detector:
        print("\n".join(lines))
        return
    (DOCS / "img" / f"{PICTURE}.png").write_bytes(png(picture))
    write_part(DOCS / "explanation.md", STUDY, lines)


if __name__ == "__main__":
    main()
