"""Clusters of coordinated accounts on simulated marketplaces: ``python -m benchmarks.clusters`` (minutes; ``--quick``).

Rings are planted, and every day is judged with what was known by its end. A cluster is right when most of its members
are of one ring; precision is the share of members found who are of a ring, recall the share of a ring's members in
clusters on the ring's last day: of all that are planted, and of those who published anything while the ring was active.
A ring is recruited when the simulation begins, weeks before it is active: members who have left by then, or were
banned, leave no trace. In ``quiet`` nothing is planted. Writes its part of docs/clusters.md.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import DOCS, arguments, machine, table
from benchmarks.page import write_part
from benchmarks.speed import peak
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters
from health_pipeline.risks.evidence import Evidence, of_files

STUDY = "benchmarks.clusters"
SCENARIOS = ("off_platform_ring", "everything", "quiet")
SEEDS = (1, 2, 3, 4, 5)
DAYS, JUDGED = 50, 18
START = dt.date(2026, 7, 1)
CREATORS = 1_000
SIZES = (1_200, 12_000, 120_000)


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
        result = {"right": 0.0, "found": 0.0, "planted": float(len(ring)), "active": 0.0, "days": np.inf, "wrong": 0.0}
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
                posted = evidence.query(
                    f"SELECT DISTINCT creator_id FROM contents WHERE published_at >= TIMESTAMP '{first}'"
                )["creator_id"].to_pylist()
                result["active"] = float(len(ring & set(posted)))
                result["right"], result["found"] = float(right), float(len(members))
        result["seconds"] = float(np.median(spent))
    return result


def sized(creators: int) -> dict[str, float]:
    """Contents of the window, seconds and megabytes of one day's clusters."""
    catalog = load_catalog("marketplace")
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "twin"
        days = clusters.WINDOW_DAYS + 2
        simulate(
            files, load_scenario("off_platform_ring"), creators=creators, days=days, start=START, seed=1, files="day"
        )
        last = START + dt.timedelta(days=days - 1)
        (result,) = (_timed(e) for e in of_files(catalog, files, [last], ["contents"]))
    return result


def _timed(evidence: Evidence) -> dict[str, float]:
    since = evidence.now - dt.timedelta(days=clusters.WINDOW_DAYS)
    window = f"SELECT count(*) AS n FROM contents WHERE published_at >= TIMESTAMP '{since}'"
    contents = evidence.query(window)["n"][0].as_py()
    before, started = peak(), time.process_time()
    found = clusters.clusters(evidence)
    return {"contents": contents, "seconds": time.process_time() - started, "before": before, "peak": peak(),
            "members": found.num_rows}  # fmt: skip


def apart(creators: int) -> dict[str, float]:
    """One size in a process of its own, since memory is that of the process."""
    done = subprocess.run(
        [sys.executable, "-m", STUDY, "--size", str(creators)], check=True, stdout=subprocess.PIPE, text=True
    )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    if "--size" in sys.argv:
        sized(100)  # loads and compiles what is needed
        print(json.dumps(sized(int(sys.argv[-1]))))
        return
    given = arguments(__doc__)
    seeds = SEEDS[:1] if given.quick else SEEDS
    rows, members = [], np.zeros(2)
    for scenario in SCENARIOS:
        of = [scored(scenario, seed) for seed in seeds]
        right, found, planted = (sum(r[name] for r in of) for name in ("right", "found", "planted"))
        active = sum(r["active"] for r in of)
        delay = [r["days"] for r in of]
        rows.append([
            f"`{scenario}`", str(len(seeds)), f"{planted:.0f}", f"{active:.0f}" if planted else "–",
            f"{right / found:.2f}" if found else "–", f"{right / active:.2f}" if active else "–",
            f"{right / planted:.2f}" if planted else "–",
            f"{np.median(delay):.0f} (at most {max(delay):.0f})" if planted and np.isfinite(delay).all() else "–",
            f"{max(r['wrong'] for r in of):.0f}", f"{np.median([r['seconds'] for r in of]):.2f}",
        ])  # fmt: skip
        members += np.array([planted, active])
        print(rows[-1], flush=True)
    head = ["scenario", "seeds", "members planted", "of whom posted", "precision", "recall of those who posted",
            "recall of all planted", "days until half are found", "most wrong members on any day", "CPU seconds a day"]  # fmt: skip
    lines = [
        f"Written by `python -m {STUDY}` on {machine()}. Marketplaces of {CREATORS:,} creators, the last {JUDGED} of "
        f"{DAYS} days judged; precision and recall on the ring's last day. *Posted*: published anything while the ring "
        f"was active, be it one content. {1 - members[1] / members[0]:.0%} of the planted members left no trace at all: "
        "they had left the marketplace, or were banned, before the ring began.",
        "",
        *table(head, rows),
    ]
    sizes = SIZES[:1] if given.quick else SIZES
    measured = [apart(creators) for creators in sizes]
    first = measured[0]
    lines += [
        "",
        "What a day costs, each size in a process of its own; the growth is that of the CPU seconds for that of the "
        "contents, from the line before.",
        "",
        *table(
            ["creators", "contents of the window", "CPU seconds", "growth", "peak memory, MB", "of which before, MB"],
            [
                [f"{creators:,}", f"{m['contents']:,.0f}", f"{m['seconds']:.2f}",
                 "" if m is first else f"{m['seconds'] / b['seconds']:.1f} for {m['contents'] / b['contents']:.1f}",
                 f"{m['peak']:,.0f}", f"{m['before']:,.0f}"]
                for creators, m, b in zip(sizes, measured, [first, *measured], strict=False)
            ],
        ),
    ]  # fmt: skip
    print("\n".join(lines))
    if not given.quick:
        write_part(DOCS / "clusters.md", STUDY, lines)


if __name__ == "__main__":
    main()
