"""Clusters of coordinated accounts on simulated marketplaces: ``python -m benchmarks.clusters`` (minutes; ``--quick``).

Rings are planted, and every day is judged with what was known by its end. A cluster is right when most of its members
are of one ring; precision is the share of members found who are of a ring, recall the share of a ring's members in
clusters on the ring's last day. In ``quiet`` nothing is planted. Writes its part of docs/clusters.md.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import DOCS, arguments, machine, table
from benchmarks.page import write_part
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters
from health_pipeline.risks.evidence import of_files

STUDY = "benchmarks.clusters"
SCENARIOS = ("off_platform_ring", "everything", "quiet")
SEEDS = (1, 2, 3, 4, 5)
DAYS, JUDGED = 50, 18
START = dt.date(2026, 7, 1)
CREATORS = 1_000


def scored(scenario: str, seed: int, creators: int = CREATORS) -> dict[str, float]:
    """Members found and planted on the ring's last day, days until the ring was found, and seconds a day."""
    catalog = load_catalog("marketplace")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "twin"
        simulate(files, load_scenario(scenario), creators=creators, days=DAYS, start=START, seed=seed)
        truth = pq.read_table(files / "ground_truth" / "clusters.parquet").to_pylist()
        ring = {row["creator_id"] for row in truth if row["effect"] == "ring"}
        first = min((row["start"] for row in truth if row["effect"] == "ring"), default=None)
        last = max((row["end"] for row in truth if row["effect"] == "ring"), default=None)
        days = [START + dt.timedelta(days=i) for i in range(DAYS - JUDGED, DAYS)]
        result = {"right": 0.0, "found": 0.0, "planted": float(len(ring)), "days": np.inf, "wrong": 0.0}
        spent = []
        for evidence in of_files(catalog, files, days):
            started = time.process_time()
            members = clusters.clusters(evidence)["creator_id"].to_pylist()
            spent.append(time.process_time() - started)
            right = len(ring & set(members))
            result["wrong"] = max(result["wrong"], float(len(members) - right))
            if first is not None and 2 * right >= len(ring):
                result["days"] = min(result["days"], float((evidence.day - first).days))
            if evidence.day == last:
                result["right"], result["found"] = float(right), float(len(members))
        result["seconds"] = float(np.median(spent))
    return result


def main() -> None:
    given = arguments(__doc__)
    seeds = SEEDS[:1] if given.quick else SEEDS
    rows = []
    for scenario in SCENARIOS:
        of = [scored(scenario, seed) for seed in seeds]
        right, found, planted = (sum(r[name] for r in of) for name in ("right", "found", "planted"))
        delay = [r["days"] for r in of]
        rows.append([
            f"`{scenario}`", str(len(seeds)), f"{planted:.0f}",
            f"{right / found:.2f}" if found else "–", f"{right / planted:.2f}" if planted else "–",
            f"{np.median(delay):.0f} (at most {max(delay):.0f})" if planted and np.isfinite(delay).all() else "–",
            f"{max(r['wrong'] for r in of):.0f}", f"{np.median([r['seconds'] for r in of]):.2f}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    head = ["scenario", "seeds", "members planted", "precision", "recall", "days until half are found",
            "most wrong members on any day", "CPU seconds a day"]  # fmt: skip
    lines = [
        f"Written by `python -m {STUDY}` on {machine()}. Marketplaces of {CREATORS:,} creators, the last {JUDGED} of "
        f"{DAYS} days judged; precision and recall on the ring's last day.",
        "",
        *table(head, rows),
    ]
    print("\n".join(lines))
    if not given.quick:
        write_part(DOCS / "clusters.md", STUDY, lines)


if __name__ == "__main__":
    main()
