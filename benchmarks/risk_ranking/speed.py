"""What the lists of one day cost with many creators."""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
import time
from pathlib import Path

from benchmarks.figures import machine, table
from benchmarks.risk_ranking.page import STUDY
from benchmarks.risk_ranking.truth import START
from benchmarks.speed import peak
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters, review
from health_pipeline.risks.evidence import Evidence, of_files

LARGE = 28_000
"""Creators with more than 100,000 undecided contents."""
SMALL = 1_000


def speed(creators: int, days: int = 30) -> list[str]:
    """What the lists of one day cost with so many creators, after a smaller twin that loads what is needed."""
    rows = []
    for count in (SMALL, creators):
        with tempfile.TemporaryDirectory() as place:
            folder, catalog = Path(place) / "twin", load_catalog("marketplace")
            scenario = load_scenario("off_platform_ring")
            simulate(folder, scenario, creators=count, days=days, start=START, seed=1, files="day")
            for e in of_files(catalog, folder, [START + dt.timedelta(days=days - 4)]):
                if not rows:
                    clusters.clusters(e)  # once on a machine its loops are compiled, and kept
                rows.append([f"{count:,}", *_timed(e)])
    head = [
        "creators",
        "undecided contents",
        "clusters, seconds",
        "estimates",
        "lists",
        "cases kept",
        "peak memory, MB",
    ]
    return [
        f"**What a day costs**, in seconds of CPU; written by `python -m {STUDY} --speed` on {machine()}, shared with other work.", "",
        *table(head, rows),
    ]  # fmt: skip


def _timed(e: Evidence) -> list[str]:
    at = [time.process_time()]
    members = clusters.clusters(e)
    at.append(time.process_time())
    made = review.estimate(e, members)
    at.append(time.process_time())
    listed = review.lists(e, members, None, made)
    at.append(time.process_time())
    return [
        f"{made.contents.num_rows:,}", *(f"{b - a:.1f}" for a, b in itertools.pairwise(at)), f"{listed.num_rows:,}",
        f"{peak():,.0f}",
    ]  # fmt: skip
