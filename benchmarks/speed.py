"""Seconds and memory of the detector, beside three libraries: ``python -m benchmarks.speed`` (some minutes; ``--quick``).

1,000, 10,000 and 100,000 series x 180 days of counts with rhythm, overdispersion, AR(1), drift and shared campaigns, each
in a process of its own: a replay of 60 judged days, then one more day from the state that the replay left. Beside it, in the
same run, MSTL, PELT and Prophet on some of the same series, one fit each: what one day's judgement costs with them. Every
timing comes after a small trial that loads and compiles what is needed. Writes its part of docs/statistics.md.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import arguments, lines_chart, machine, publish, table
from benchmarks.methods import Method, mstl, pelt, prophet
from benchmarks.panels import DAYS, Recipe, counted, null
from health_pipeline.stats.detect import detect
from health_pipeline.stats.panel import Panel
from health_pipeline.stats.spans import LOOKBACK

SIZES = (1_000, 10_000, 100_000)
JUDGED = 60
SAMPLE = 40  # series that a library judges
STUDY = "benchmarks.speed"
DAY_AIM = 5.0
AIMS = {"PELT (ruptures.Pelt)": 10, "PELT, C (ruptures.KernelCPD)": 10, "Prophet": 100}
PICTURE = "speed"
RECIPE = Recipe(shared=True)
LIBRARIES = {
    "PELT, C (ruptures.KernelCPD)": Method("PELT", pelt, needs=("ruptures",)),
    "PELT (ruptures.Pelt)": Method("PELT", functools.partial(pelt, compiled=False), needs=("ruptures",)),
    "MSTL (statsforecast)": Method("MSTL", mstl, needs=("statsforecast", "pandas")),
    "Prophet": Method("Prophet", prophet, needs=("prophet", "pandas")),
}


def columns(panel: Panel, days: slice) -> Panel:
    """A panel of some of the days."""
    return dataclasses.replace(
        panel, days=panel.days[days],
        **{name: getattr(panel, name)[:, days] for name in ("numerator", "denominator", "size", "supported", "sampling")},
    )  # fmt: skip


def peak() -> float:
    """Megabytes that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw(series: int, file: str) -> dict[str, float]:
    """A panel of one day more, into a file: drawing takes more memory than judging, and would hide it."""
    made = null(RECIPE, series, DAYS + 1, seed=3)
    np.savez(file, numerator=made.panel.numerator, cohort=made.cohort)
    return {}


def detector(series: int, judged: int) -> dict[str, float]:
    """Seconds of a replay and of a daily step, and megabytes before and at most."""
    trial = null(RECIPE, 200, DAYS).with_cohorts
    detect(columns(trial, slice(DAYS - 1)), DAYS - 3)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "panel.npz")
        apart("draw", str(series), file)
        with np.load(file) as drawn:
            numerator = drawn["numerator"]
            panel = dataclasses.replace(counted(numerator, np.ones_like(numerator)), cohort=drawn["cohort"])
    before = peak()
    started = time.perf_counter()
    replayed = detect(columns(panel, slice(DAYS)), DAYS - judged)
    replay = time.perf_counter() - started
    last = columns(panel, slice(DAYS - LOOKBACK, DAYS + 1))
    started = time.perf_counter()
    step = detect(last, LOOKBACK, state=replayed.state)
    daily = time.perf_counter() - started
    if len(step.tested) != 1 or step.tested[0] < series // 2:
        raise RuntimeError(f"the daily step judged {step.tested} of {series} series")
    return {"replay": replay, "day": daily, "before": before, "peak": peak()}


def library(name: str, series: int) -> dict[str, float]:
    """Seconds per series of a library."""
    judge = LIBRARIES[name].judge
    panel = null(RECIPE, 1000, DAYS, seed=3).panel
    judge(panel.only(0, 1), DAYS - 1)
    started = time.perf_counter()
    judge(panel.only(*range(series)), DAYS - 1)
    return {"series": (time.perf_counter() - started) / series}


def apart(what: str, *values: str) -> dict[str, float]:
    """Run one measurement in a fresh process."""
    done = subprocess.run([sys.executable, "-m", STUDY, what, *values], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def aims(series: int, own: dict[str, float], libraries: dict[str, float]) -> list[str]:
    """What the study was to show, with what it showed."""
    said = []
    if series == max(SIZES):
        said.append(f"a day of {series:,} series under {DAY_AIM:g} s: {own['day']:.1f} s")
    for name, wanted in AIMS.items():
        if name in libraries:
            said.append(
                f"{wanted} times as fast per series and day as {name}: {libraries[name] * series / own['day']:,.0f} times"
            )
    return [f"Aimed at, and reached or not: {'; '.join(said)}."] if said else []


def main() -> None:
    given = arguments(__doc__)
    sizes, judged, sample = ((1_000,), 10, 5) if given.quick else (SIZES, JUDGED, SAMPLE)
    own = {}
    for size in sizes:
        own[size] = apart("detector", str(size), str(judged))
        print(f"{size:,} series: {own[size]}", flush=True)
    wanted = {} if given.only_detector else LIBRARIES
    left_out = list(dict.fromkeys(reason for m in wanted.values() if (reason := m.missing()) is not None))
    libraries = {
        name: apart("library", name, str(sample))["series"] for name, m in wanted.items() if m.missing() is None
    }
    print(libraries, flush=True)
    largest, least = max(sizes), min(sizes)
    day, replay = own[largest]["day"] / largest, own[largest]["replay"] / largest
    lines = [
        "### Speed", "",
        f"Written by `python -m {STUDY}` on {machine()}. Counts with rhythm, overdispersion, AR(1), drift and shared "
        f"campaigns, {DAYS} days; every size in a process of its own. *Replay*: {judged} days judged one after another; *one day*: "
        "one more, from the state the replay left, with the days it needs in memory. Memory is the process' peak, and what "
        "it held before the detector began: interpreter, libraries and the panel itself.", "",
        *table(
            ["series", f"replay of {judged} days, s", "one day, s", "one day, ms per series", "peak memory, MB", "of which before, MB"],
            [[f"{n:,}", f"{o['replay']:.1f}", f"{o['day']:.2f}", f"{1000 * o['day'] / n:.3f}", f"{o['peak']:,.0f}", f"{o['before']:,.0f}"]
             for n, o in own.items()]), "",
    ]  # fmt: skip
    if largest > least:
        lines += [
            f"From {least:,} to {largest:,} series, {largest // least} times as many, a replay takes "
            f"{own[largest]['replay'] / own[least]['replay']:.0f} times as long, a day "
            f"{own[largest]['day'] / own[least]['day']:.0f} times.", "",
        ]  # fmt: skip
    if libraries:
        lines += [
            f"Libraries in the same run, {sample} of the series on one core: one fit of {DAYS} days, which is what they need to "
            f"judge one day. Times as long as this detector at {largest:,} series, for one day and for all {judged} of the "
            "replay together (there with one fit for all days, not one a day).", "",
            *table(["method", "ms per series", "times one day of the detector", f"times its replay of {judged} days"],
                   [["this detector, one day", f"{1000 * day:.3f}", "1", ""],
                    [f"this detector, {judged} days", f"{1000 * replay:.2f}", "", "1"],
                    *([name, f"{1000 * s:.1f}", f"{s / day:,.0f}", f"{s / replay:.1f}"] for name, s in libraries.items())]), "",
        ]  # fmt: skip
    lines += [*aims(largest, own[largest], libraries), ""]
    lines += [*(x for reason in left_out for x in (reason, "")),
              f"![Seconds by number of series](img/{PICTURE}.png)"]  # fmt: skip
    curves: dict[str, list[tuple[float, float]]] = {
        f"replay of {judged} days": [(float(n), o["replay"]) for n, o in own.items()],
        "one day": [(float(n), o["day"]) for n, o in own.items()],
    } | {name: [(float(n), n * s) for n in sizes] for name, s in libraries.items()}
    picture = lines_chart(
        dict(curves.items()), title="Seconds by number of series",
        subtitle=f"both axes logarithmic · libraries: one fit, from {sample} series",
        x_ticks=[(900.0, ""), (1e3, "1,000"), (1e4, "10,000"), (1e5, "100,000")],
        y_ticks=[(0.01, "0.01"), (0.1, "0.1"), (1.0, "1"), (10.0, "10"), (100.0, "100"), (1e3, "1,000"), (1e4, "10,000")],
        log=(True, True), height=330,
    )  # fmt: skip
    publish(STUDY, lines, {PICTURE: picture}, given.quick or given.only_detector)


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        print(json.dumps(draw(int(sys.argv[2]), sys.argv[3])))
    elif sys.argv[1:2] == ["detector"]:
        print(json.dumps(detector(int(sys.argv[2]), int(sys.argv[3]))))
    elif sys.argv[1:2] == ["library"]:
        print(json.dumps(library(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
