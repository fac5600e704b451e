"""Run every study, one after another: ``python -m benchmarks.run_all``."""

from __future__ import annotations

import subprocess
import sys

STUDIES = (
    "benchmarks.null",
    "benchmarks.power",
    "benchmarks.peer",
    "benchmarks.speed",
    "benchmarks.explanation",
    "benchmarks.backtest_twin",
    "benchmarks.prevalence",
    "benchmarks.clusters",
    "benchmarks.trends",
    "benchmarks.risk_ranking",
    "benchmarks.real_data",
    "benchmarks.performance",
)


def main() -> None:
    for study in STUDIES:
        print(f"== python -m {study}", flush=True)
        subprocess.run([sys.executable, "-m", study], check=True)


if __name__ == "__main__":
    main()
