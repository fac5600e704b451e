"""Run the study: makes the twins, judges them, writes the page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks import risk_ranking
from benchmarks.figures import DOCS
from benchmarks.page import write_part
from benchmarks.risk_ranking.coverage import coverage_lines
from benchmarks.risk_ranking.judged import judge, passing
from benchmarks.risk_ranking.orders import ORACLE
from benchmarks.risk_ranking.page import STUDY, lines, summary
from benchmarks.risk_ranking.reliability import reliability_lines
from benchmarks.risk_ranking.speed import LARGE, speed
from benchmarks.risk_ranking.twins import twins

SCENARIOS = ("counterfeit_wave", "off_platform_ring", "everything")
SEEDS = tuple(range(1, 11))
PAGE = DOCS / "risk-ranking.md"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {STUDY}",
        description=risk_ranking.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one seed, printed only")
    parser.add_argument("--keep", type=Path, help="folder of finished twins, for a run that may be interrupted")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="twins at once (default: one per core)")
    parser.add_argument("--speed", action="store_true", help="only what a day costs with many creators")
    given = parser.parse_args()
    if given.speed:
        write_part(PAGE, f"{STUDY}.speed", speed(LARGE))
        return
    trials = []
    for t in twins(
        [(s, seed) for seed in SEEDS[: 1 if given.quick else None] for s in SCENARIOS], given.keep, given.processes
    ):
        trials.append(t)
        one = judge(t, passing([t]))
        averted = {name: round(j.expected / one[ORACLE].expected, 3) for name, j in one.items()}
        print(t.scenario, t.seed, averted, flush=True)
    parts = {
        f"{STUDY}.summary": summary(trials),
        STUDY: lines(trials),
        f"{STUDY}.reliability": [*reliability_lines(trials), *coverage_lines(trials)],
    }
    for name, part in parts.items():
        if given.quick:
            print("\n".join(part))
        else:
            write_part(PAGE, name, part)


if __name__ == "__main__":
    main()
