"""False reports on pure noise and power on planted shifts, and the two constants of the calibration.

Run ``python -m benchmarks.calibration`` (some minutes); the tables replace the section "Measured" of
docs/statistics.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import bottleneck
import numpy as np

from benchmarks.noise import DAYS, JUDGED, KINDS, autoregressive, counts, shares, weekly
from health_pipeline.stats.calibration import BLOCK, BLOCK_MAXIMUM, EFFECTIVE_TESTS
from health_pipeline.stats.detect import Detection, detect
from health_pipeline.stats.panel import Panel
from health_pipeline.stats.scan import LAGS, LONGEST, Scan

PAGE = Path(__file__).parent.parent / "docs" / "statistics.md"
HEADING = "## Measured"
RATE = 0.05


def constants(series: int = 2000) -> tuple[list[float], float]:
    """Third quartile of the block maximum per lag, and effective number of tests, on independent normal noise."""
    rng = np.random.default_rng(11)
    panel = counts(rng, np.log(1e6) + 0.1 * rng.normal(size=(series, DAYS)))
    scan = Scan(panel)
    quartiles = []
    for days_ago in LAGS:
        score = scan.step(days_ago, LONGEST, DAYS).score[:, 250:]
        score = score / np.nanstd(score)
        peaks = bottleneck.move_max(score, BLOCK, axis=1)[:, BLOCK - 1 :: BLOCK]
        quartiles.append(float(np.quantile(peaks, 0.75)))
    # How much likelier is it that any lag exceeds a threshold than that a given one does?
    scores = np.stack([scan.step(days_ago, LONGEST, DAYS).score[:, 250:] for days_ago in LAGS])
    beyond = np.abs(scores / np.nanstd(scores, axis=(1, 2), keepdims=True)) > 3.29  # two-sided p = 0.001
    return quartiles, float(beyond.any(axis=0).mean() / beyond.mean())


def null_table(series: int) -> list[str]:
    """False reports per 1,000 series-days for each kind of noise, at a nominal rate of 5 %."""
    lines = [
        f"False reports on noise without any shift: {series:,} series, {JUDGED} judged days, nominal rate {RATE:.0%}.",
        "",
        "| noise | reports | per 1,000 series-days | days with any |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, make in KINDS.items():
        found = detect(make(np.random.default_rng(7), series), JUDGED, RATE, 0.0)
        days = len({s.column for s in found.shifts})
        tested = int(found.tested.sum())
        lines.append(f"| {name} | {len(found.shifts)} | {1000 * len(found.shifts) / tested:.3f} | {days} of {JUDGED} |")
    return lines


def planted(
    kind: str, mean: float, change: float, shape: str, series: int = 400, shifted: int = 100
) -> tuple[Panel, int]:
    """A panel whose first ``shifted`` series change 60 days before its end; and the column of the onset."""
    rng = np.random.default_rng(23)
    onset = DAYS - 60
    noise = autoregressive(0.1 * np.sqrt(1 - 0.4**2) * rng.normal(size=(series, DAYS)), 0.4)
    step = np.zeros((series, DAYS))
    step[:shifted, onset : onset + (1 if shape == "spike" else DAYS)] = np.log1p(change)
    if kind == "counts":
        return counts(rng, np.log(mean) + weekly(rng, series, DAYS) + noise + step), onset
    share = mean / 10_000
    return shares(rng, 10_000, np.log(share / (1 - share)) + weekly(rng, series, DAYS, 0.05) + noise + step), onset


def power_row(kind: str, mean: float, change: float, shape: str) -> str:
    """Detection within 7 and 14 days, delay, onset error, coverage of the interval, false share of reports."""
    shifted = 100
    panel, onset = planted(kind, mean, change, shape, shifted=shifted)
    found = detect(panel, 80, RATE, 0.0)
    first: dict[int, int] = {}
    errors, covered, false = [], [], 0
    for shift in found.shifts:
        true = shift.row < shifted and shift.column >= onset and (shift.change > 0) == (change > 0)
        if not true:
            false += 1
            continue
        if shift.row not in first:
            first[shift.row] = shift.column - onset
            errors.append(abs(shift.onset - onset))
            covered.append(shift.low <= change <= shift.high)
    delays = sorted(first.values())
    within = [sum(d < days for d in delays) / shifted for days in (7, 14)]
    median = f"{delays[len(delays) // 2]}" if len(delays) > shifted / 2 else "–"
    said = f"{change:+.0%}".replace("-", "−")
    return (
        f"| {kind}, {mean:,.0f} a day | {shape} {said} | {within[0]:.2f} | {within[1]:.2f} | {median} | "
        f"{_mean(errors, 1)} | {_mean(covered, 2)} | "
        f"{f'{false / len(found.shifts):.3f}' if found.shifts else '–'} |"
    )


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f}" if values else "–"


def power_table() -> list[str]:
    """One row per planted shift."""
    lines = [
        "Planted shifts: 100 of 400 series, noise 10 % with rho 0.4 and a weekly rhythm, nominal rate 5 %. Delay and "
        "onset error in days, at the first report; coverage of the 95 % interval at the first report; false share of "
        "all reports, in series-days.",
        "",
        "| series | shift | found in 7 d | in 14 d | median delay | onset error | coverage | false share |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in ("counts", "shares"):
        for mean in (20, 100, 1000):
            for change, shape in ((0.2, "level"), (0.5, "level"), (1.0, "level"), (-0.3, "level"), (1.0, "spike")):
                lines.append(power_row(kind, mean, change, shape))
    return lines


def speed_rows() -> list[str]:
    """Seconds of a daily step and of a replay of 90 days."""
    lines = ["| series | one day, seconds | 90 days, seconds |", "| ---: | ---: | ---: |"]
    for series in (1000, 10_000):
        panel = KINDS["counts, mean 1,000, noise 15 %, rho 0.5"](np.random.default_rng(3), series, 620)
        spent = []
        for width in (1, 90):
            started = time.perf_counter()
            result: Detection = detect(panel, width, RATE, 0.0)
            spent.append(time.perf_counter() - started)
            assert len(result.tested) == width
        lines.append(f"| {series:,} | {spent[0]:.2f} | {spent[1]:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=2000, help="series per kind of noise")
    arguments = parser.parse_args()
    quartiles, tests = constants()
    lines = [
        HEADING,
        "",
        "Written by `python -m benchmarks.calibration`; seeds are fixed.",
        "",
        f"Constants, simulated on independent normal noise: block maxima {', '.join(f'{q:.2f}' for q in quartiles)} "
        f"(in the code: {', '.join(f'{q:.2f}' for q in BLOCK_MAXIMUM)}); effective number of tests at p = 0.001: "
        f"{tests:.1f} (in the code: {EFFECTIVE_TESTS:.0f}).",
        "",
        *null_table(arguments.series),
        "",
        *power_table(),
        "",
        *speed_rows(),
        "",
    ]
    print("\n".join(lines))
    before = PAGE.read_text(encoding="utf-8").split(HEADING)[0] if PAGE.exists() else "# Statistics\n\n"
    PAGE.write_text(before + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
