"""False reports on noise without any shift: ``python -m benchmarks.null`` (some minutes; ``--quick``: seconds).

Panels of 2,000 series x 180 days of every kind in :data:`benchmarks.panels.NULLS`, judged from day 63 on. Every report
is false. Slow methods judge the first 100 series of the same panels. Writes its part of docs/statistics.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.figures import arguments, dots_chart, publish, table
from benchmarks.methods import DETECTOR, OURS, RIVALS, Array, Method, present, recorded
from benchmarks.panels import DAYS, FIRST, NULLS, PLAIN, Made, null
from health_pipeline.stats.detect import EFFECTIVE_TESTS

SERIES = 2000
STUDY = "benchmarks.null"
PICTURE = "false-reports"
LEVELS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Count:
    """False reports of a method on a panel."""

    reports: int
    tested: int
    days: int
    alarmed: float
    seconds: float
    p: Array = field(default_factory=lambda: np.zeros(0))

    def times_nominal(self, level: float) -> float:
        """How many times as often as it should a p-value is at most ``level``."""
        return float(np.mean(self.p <= level)) / level if len(self.p) else np.nan

    @property
    def per_thousand(self) -> float:
        return 1000 * self.reports / max(1, self.tested)


def count(method: Method, made: Made, cohorts: bool = False, first: int = FIRST) -> Count:
    """Judge a null panel."""
    panel = method.part(made.with_cohorts if cohorts else made.panel)
    started = time.perf_counter()
    with recorded() as days:
        found = method.judge(panel, first)
    spent = time.perf_counter() - started
    p = np.concatenate(days) if days else np.zeros(0)
    return Count(
        len(found), found.tested, len(np.unique(found.column)), float(found.alarmed.mean()), spent, p[~np.isnan(p)]
    )


def main() -> None:
    given = arguments(__doc__)
    series = 300 if given.quick else SERIES
    rivals, left_out = present(RIVALS if not given.only_detector else ())
    if given.quick:
        rivals = [m for m in rivals if m.most is None]
    judged = DAYS - FIRST
    own: list[list[str]] = []
    others: list[list[str]] = []
    dots: list[tuple[str, str, float]] = []
    total = tested = 0
    effective = np.nan
    for name, recipe in NULLS.items():
        made = null(recipe, series)
        for cohorts in (False, True) if recipe.shared else (False,):
            c = count(OURS, made, cohorts)
            stress = recipe.heavy or (recipe.shared and not cohorts)
            if not stress:
                total, tested = total + c.reports, tested + c.tested
            said = name + ((", told the cohorts" if cohorts else ", not told the cohorts") if recipe.shared else "")
            own.append([said, f"{c.tested:,}", str(c.reports), f"{c.per_thousand:.3f}", f"{c.days} of {judged}",
                        f"{c.alarmed:.3%}".replace("%", " %"),
                        " / ".join(f"{c.times_nominal(level):.1f}" for level in LEVELS)])  # fmt: skip
            if recipe is PLAIN:
                effective = EFFECTIVE_TESTS * c.times_nominal(LEVELS[1])
            print(f"{said}: {c.reports} reports on {c.days} days, p {own[-1][-1]}, {c.seconds:.1f} s", flush=True)
        dots.append((DETECTOR, "causal", c.per_thousand))
        cells = [f"{c.per_thousand:.3f}"]
        for method in rivals:
            r = count(method, made)
            cells.append(f"{r.per_thousand:.1f}")
            dots.append((method.name, "causal" if method.causal else "sees the whole series", r.per_thousand))
            print(f"  {method.name}: {r.per_thousand:.2f} per 1,000 series-days, {r.seconds:.1f} s", flush=True)
        others.append([name, *cells])
    lines = [
        "### False reports on noise", "",
        f"Written by `python -m {STUDY}`; seeds are fixed. {series:,} series × {DAYS} days of every kind of noise "
        f"([what it is made of](../benchmarks/panels.py)), {judged} days judged one after another, nominal share of false "
        "reports 5 %. On these panels every report is false. *Under a report*: series-days on which a reported shift was "
        "not over yet. *p-values*: how many times as often as they should they are at most 0.01, 0.001 and 0.0001, before the "
        "control of false discoveries.", "",
        *table(["noise", "series-days", "reports", "per 1,000 series-days", "days with any", "under a report",
                "p-values at 10⁻² / 10⁻³ / 10⁻⁴"], own), "",
        f"All kinds but the stress kinds and those not told of the campaigns' cohorts: {total} reports in {tested:,} series-days, "
        f"{1000 * total / max(1, tested):.4f} per 1,000. The effective number of tests that plain Poisson noise shows at "
        f"p = 0.001 is {effective:.1f} (in the code: {EFFECTIVE_TESTS:g}).", "",
    ]  # fmt: skip
    if rivals:
        lines += [
            "The same panels judged by other methods, false reports per 1,000 series-days (days in a row count once; shared "
            "campaigns: the detector is told the cohorts, no other method can be). "
            "S-H-ESD, PELT, MSTL and Prophet see the whole series before they judge any day of it, which no monitoring "
            f"can, and judge the first {min(100, series)} series.", "",
            *table(["noise", DETECTOR, *(m.name for m in rivals)], others), "",
            *(x for reason in left_out for x in (reason, "")),
            f"![False reports per 1,000 series-days, a dot per kind of noise](img/{PICTURE}.png)",
        ]  # fmt: skip
    picture = dots_chart(
        dots, title="False reports per 1,000 series-days",
        subtitle="a dot per kind of noise, log scale · orange: judges with the past only · blue: sees the whole series",
        ticks=[(0.003, "0"), (0.01, "0.01"), (0.1, "0.1"), (1, "1"), (10, "10"), (100, "100"), (200, "")],
    )  # fmt: skip
    publish(STUDY, lines, {PICTURE: picture}, given.quick or given.only_detector)


if __name__ == "__main__":
    main()
