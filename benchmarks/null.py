"""False reports on noise without any shift: ``python -m benchmarks.null`` (some minutes; ``--quick``: seconds).

Panels of 2,000 series x 180 days of every kind in :data:`benchmarks.panels.NULLS`, judged from day 63 on. Every report
is false. Slow methods judge the first 100 series of the same panels. Writes its part of docs/statistics.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import arguments, dots_chart, publish, table
from benchmarks.methods import DETECTOR, OURS, RIVALS, Method, present
from benchmarks.panels import DAYS, FIRST, NULLS, Made, null

SERIES = 2000
STUDY = "benchmarks.null"
PICTURE = "false-reports"


@dataclass(frozen=True)
class Count:
    """False reports of a method on a panel."""

    reports: int
    tested: int
    days: int
    alarmed: float
    seconds: float

    @property
    def per_thousand(self) -> float:
        return 1000 * self.reports / max(1, self.tested)


def count(method: Method, made: Made, cohorts: bool = False, first: int = FIRST) -> Count:
    """Judge a null panel."""
    panel = method.part(made.with_cohorts if cohorts else made.panel)
    started = time.perf_counter()
    found = method.judge(panel, first)
    spent = time.perf_counter() - started
    return Count(len(found), found.tested, len(np.unique(found.column)), float(found.alarmed.mean()), spent)


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
    for name, recipe in NULLS.items():
        made = null(recipe, series)
        for cohorts in (False, True) if recipe.shared else (False,):
            c = count(OURS, made, cohorts)
            stress = recipe.heavy or (recipe.shared and not cohorts)
            if not stress:
                total, tested = total + c.reports, tested + c.tested
            said = name + ((", told the cohorts" if cohorts else ", not told the cohorts") if recipe.shared else "")
            own.append([said, f"{c.tested:,}", str(c.reports), f"{c.per_thousand:.3f}", f"{c.days} of {judged}",
                        f"{c.alarmed:.3%}".replace("%", " %")])  # fmt: skip
            print(f"{said}: {c.reports} reports on {c.days} days, {c.seconds:.1f} s", flush=True)
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
        "not over yet.", "",
        *table(["noise", "series-days", "reports", "per 1,000 series-days", "days with any", "series-days under a report"], own), "",
        f"All kinds but the stress kinds and those not told of the campaigns' cohorts: {total} reports in {tested:,} series-days, "
        f"{1000 * total / max(1, tested):.4f} per 1,000.", "",
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
