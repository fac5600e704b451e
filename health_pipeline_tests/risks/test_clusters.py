"""A planted ring is found as a cluster, with what it shares; accounts that share by chance are none."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.model import Catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline.risks.schema import CLUSTERS
from health_pipeline_tests.risks.conftest import TWIN_START


@pytest.fixture(scope="module")
def ring(twin_folder: Path) -> set[str]:
    rows = pq.read_table(twin_folder / "ground_truth" / "clusters.parquet").to_pylist()
    return {row["creator_id"] for row in rows if row["effect"] == "ring"}


def test_a_planted_ring_is_one_cluster_with_what_it_shares(evidence: Evidence, ring: set[str]) -> None:
    found = clusters.clusters(evidence)
    assert found.schema == CLUSTERS
    members = [row for row in found.to_pylist() if row["creator_id"] in ring]
    assert len(members) >= 0.6 * len(ring), "some members are banned, or have hardly posted"
    (name,) = {row["cluster"] for row in members}
    assert all(row["size"] >= len(members) and row["score"] > 1.0 and row["traces"] for row in members)
    inside = [row["creator_id"] for row in found.to_pylist() if row["cluster"] == name]
    assert len(set(inside) & ring) >= 0.8 * len(inside)


def test_a_cluster_keeps_its_name_from_day_to_day(marketplace: Catalog, twin_folder: Path, ring: set[str]) -> None:
    days = [dt.date(2026, 8, 22), dt.date(2026, 8, 23)]
    names = [
        {row["cluster"] for row in clusters.clusters(e).to_pylist() if row["creator_id"] in ring}
        for e in of_files(marketplace, twin_folder, days)
    ]
    assert names[0] and names[0] == names[1]


def test_a_marketplace_without_rings_has_no_clusters(marketplace: Catalog, tmp_path: Path) -> None:
    simulate(tmp_path / "quiet", load_scenario("quiet"), creators=500, days=30, start=TWIN_START, seed=4)
    days = [TWIN_START + dt.timedelta(days=i) for i in (27, 28, 29)]
    found = [clusters.clusters(e).num_rows for e in of_files(marketplace, tmp_path / "quiet", days)]
    assert sum(found) == 0


def test_blank_captions_and_what_is_no_hash_are_no_traces() -> None:
    rows = pa.table({
        "creator_id": ["d", "a", "c", "b"], "market": ["VN"] * 4, "category": ["beauty"] * 4, "minute": [1, 2, 3, 4],
        "caption": ["", "Chốt kèo nhanh trong hôm nay", " ", "chốt kèo nhanh trong hôm nay!"],
        "hashtags": ["#a #b", None, "#a #b", None], "sound_id": pa.nulls(4, pa.string()),
        "perceptual_hash": ["ff", "00FE", "not a hash", None], "product_ids": ["p1,p2,p1", None, None, "p2"],
    })  # fmt: skip
    traced = clusters.trace(rows)
    assert traced.creators.tolist() == ["a", "b", "c", "d"] and traced.posts.account.tolist() == [3, 0, 2, 1]
    carried = {}
    for trace in np.unique(traced.marks.trace):
        carried[traced.name(int(trace))] = traced.contents(int(trace)).tolist()
    picture = next(value for kind, value in carried if kind == "picture")
    assert carried == {
        ("hashtags", "#a #b"): [0, 2],
        ("product", "p1"): [0],
        ("product", "p2"): [0, 3],
        ("picture", picture): [0, 1],
        ("caption", "chốt kèo nhanh trong hôm nay"): [1, 3],
    }


@pytest.mark.parametrize("everybody", [True, False], ids=["carried by all", "carried by nearly all"])
def test_a_cluster_by_timing_alone_is_named_after_what_it_posted_at_that_time(everybody: bool) -> None:
    """Of a hashtag that is everybody's nothing is told but when: five accounts post ten times in the same minutes."""
    rng = np.random.default_rng(0)
    posted = []
    for a in range(200):
        if everybody or a:
            posted.append((f"c{a}", int(rng.integers(14 * 1440)), "#sale"))
        posted += [(f"c{a}", int(rng.integers(14 * 1440)), f"#t{t}") for t in rng.choice(400, 10, replace=False)]
    posted += [(f"bot{b}", 7000 + i % 8, "#sale") for b in range(5) for i in range(10)]
    creators, minutes, hashtags = zip(*posted, strict=True)
    nothing = pa.nulls(len(posted), pa.string())
    rows = pa.table({
        "creator_id": creators, "market": ["VN"] * len(posted), "category": ["beauty"] * len(posted),
        "minute": minutes, "caption": nothing, "hashtags": hashtags, "sound_id": nothing, "perceptual_hash": nothing,
        "product_ids": nothing,
    })  # fmt: skip
    traced = clusters.trace(rows)
    found = clusters.described(TWIN_START, traced, clusters.coordination(traced.posts, traced.marks)).to_pylist()
    assert {row["creator_id"] for row in found} == {f"bot{b}" for b in range(5)}
    assert all(row["cluster"].startswith("cl-") and row["contents"] == 10 for row in found)
    assert all(row["traces"].startswith("the same within 10 minutes") for row in found)
    assert all(row["traces"].endswith("hashtags #sale: 5 of 5 members, 100% of contents") for row in found)


def test_contents_of_nobody_known_are_no_account(marketplace: Catalog) -> None:
    assert marketplace.review is not None
    rng = np.random.default_rng(0)
    posted = [(f"c{a}", f"#a{t}") for a in range(200) for t in rng.choice(300, 10)]
    posted += [(who, "#ring") for who in ("r1", "r2", "r3", None) for _ in range(8)]
    creators, hashtags = zip(*posted, strict=True)
    nothing = pa.nulls(len(posted), pa.string())
    midnight = dt.datetime.combine(TWIN_START, dt.time.min)
    contents = pa.table({
        "content_id": [f"v{n}" for n in range(len(posted))], "creator_id": creators, "market": ["ID"] * len(posted),
        "category": nothing, "tier": nothing, "kind": nothing, "hashtags": hashtags,
        "published_at": [midnight - dt.timedelta(minutes=int(m)) for m in rng.integers(1, 12 * 1440, len(posted))],
    })  # fmt: skip
    found = clusters.clusters(Evidence.of_tables(TWIN_START, marketplace.review, contents=contents))
    assert set(found["creator_id"].to_pylist()) == {"r1", "r2", "r3"}
