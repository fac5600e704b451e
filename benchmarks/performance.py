"""Seconds of the main job and of the daily step, on the bundled sample and on the marketplace's twin.

Run ``python -m benchmarks.performance``; writes its part of docs/performance.md. Every timing stands beside a baseline
of the same run: one bare DuckDB scan of the sample with a single GROUP BY.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.page import PERFORMANCE, write_part
from health_pipeline.catalog import load_catalog
from health_pipeline.home import VARIABLE, Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.shifts.panel import build_panel
from health_pipeline.shifts.shifts import window
from health_pipeline.shifts.state import from_table
from health_pipeline.stats.detect import Settings, detect
from health_pipeline.stats.spans import MEMBER_DAYS
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine

ANEW = "one day judged anew: shifts, incidents, risks"
AGAIN = "the same day again"


def baseline() -> float:
    """Seconds of one bare scan, the best of five."""
    sample = load_catalog().sample
    sql = f"SELECT day, platform, attribute, value, sum(statements) FROM read_parquet('{sample}') GROUP BY ALL"
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        Engine().query(sql)
        spent.append(time.perf_counter() - started)
    return min(spent)


def main_job(home: Path, ecosystem: str) -> tuple[float, str]:
    """Seconds of `health-pipeline run` as a user starts it, and its own line of seconds per stage."""
    command = [str(Path(sys.executable).parent / "health-pipeline"), "run", "--ecosystem", ecosystem]
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, VARIABLE: str(home), "COLUMNS": "200"}, capture_output=True, text=True, check=True
    )
    line = next(text for text in done.stdout.splitlines() if " s in all: " in text)
    return time.perf_counter() - started, line.split("in all: ")[1]


def one_day(home: Path, ecosystem: str) -> dict[str, float]:
    """For the newest day, with everything imported: seconds to judge it anew, and what they are made of."""
    pipeline = Pipeline.of(ecosystem, Home(home))
    catalog, t = pipeline.catalog, pipeline.tables
    before, day = pipeline.delivered_days()[-2:]

    def judge(which: dt.date) -> float:
        started = time.perf_counter()
        for step in pipeline.judge_steps().values():
            derive(step, [which])
        return time.perf_counter() - started

    for which in (before, day):
        for table in (t.shifts, t.bands, t.states, t.incidents, t.risks):
            (table.folder / f"day={which}" / "_current.json").unlink()
    judge(before)  # imports, and the compiled kernel
    spent = {ANEW: judge(day), AGAIN: judge(day)}
    days = window(day, catalog)
    started = time.perf_counter()
    cube, histograms, deliveries = t.cube.read(days), t.histograms.read(days), t.deliveries.read(days)
    state = from_table(t.states.read([before]))
    read = time.perf_counter()
    panel, _ = build_panel(catalog, cube, histograms, deliveries, days)
    series = len(panel.series)
    large = panel.supported[:, -MEMBER_DAYS - 1 :].any(axis=1)
    if state is not None:
        large |= np.isin(np.array(panel.series, dtype=object), list(state.active))
    panel = panel.only(*np.flatnonzero(large).tolist())
    built = time.perf_counter()
    settings = catalog.ecosystem.detection
    found = detect(panel, len(days) - 1, Settings(settings.false_discovery_rate, settings.minimum_change), state)
    spent[f"reading {len(days)} days of the cube, and yesterday's state"] = read - started
    spent[f"the panel of {series:,} series"] = built - read
    spent[f"the detection itself, {int(found.tested[0]):,} series judged"] = time.perf_counter() - built
    return spent


def table(ecosystem: str, base: float) -> list[str]:
    """Rows of the page for one ecosystem, in a home of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first, first_stages = main_job(home, ecosystem)
        again, again_stages = main_job(home, ecosystem)
        pipeline = Pipeline.of(ecosystem, Home(home))
        facts = sum(p.rows for t in pipeline.tables.facts.values() for d in t.days() if (p := t.partition(d)))
        loaded, judged = len(pipeline.delivered_days()), len(pipeline.days_to_judge())
        daily = one_day(home, ecosystem)
    return [
        f"`{ecosystem}`: {loaded} days and {facts:,} rows of facts.",
        "",
        "| what | seconds | times the baseline |",
        "| --- | ---: | ---: |",
        f"| `health-pipeline run`, first time: {loaded} days loaded, {judged} judged | {first:.1f} | {first / base:.0f} |",
        f"| `health-pipeline run`, again: nothing is out of date | {again:.1f} | {again / base:.0f} |",
        *(f"| {what} | {seconds:.2f} | {seconds / base:.1f} |" for what, seconds in daily.items()),
        "",
        f"The same day again takes {daily[AGAIN] / daily[ANEW]:.0%} of the first time. Seconds per stage of the first run: "
        f"{first_stages}. Of the second: {again_stages}.",
        "",
    ]


def main() -> None:
    base = baseline()
    lines = [
        f"Written by `python -m benchmarks.performance` on {dt.date.today()}: {os.cpu_count()} cores, "
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}. Baseline: one bare DuckDB "
        f"scan of the sample (500,835 rows) with a single GROUP BY, {base:.3f} s. `start` is imports, catalog and "
        "definitions; `land` of the marketplace holds its simulation.",
        "",
        *table("eu_dsa", base),
        *table("marketplace", base),
    ]
    write_part(PERFORMANCE, "benchmarks.performance", lines)


if __name__ == "__main__":
    main()
