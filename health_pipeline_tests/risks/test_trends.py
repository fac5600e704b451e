"""Words that were planted burst, with where, since when and by whom; nothing bursts in what never changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.model import Catalog
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.risks import clusters, trends
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline.risks.schema import TRENDS
from health_pipeline_tests.risks.conftest import TWIN_START


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marketplace in which a ring begins on 14 August."""
    folder = tmp_path_factory.mktemp("ring") / "files"
    simulate(folder, load_scenario("off_platform_ring"), creators=1000, days=60, start=TWIN_START, seed=3)
    return folder


@pytest.fixture(scope="module")
def early(marketplace: Catalog, twin: Path) -> Iterator[Evidence]:
    """The fourth day of the ring."""
    yield from of_files(marketplace, twin, [dt.date(2026, 8, 17)])


def test_hashtags_of_a_ring_burst_with_their_creators(early: Evidence, twin: Path) -> None:
    found = trends.trends(early, clusters.clusters(early))
    assert found.schema == TRENDS
    planted = pq.read_table(twin / "ground_truth" / "clusters.parquet").to_pylist()
    tags = {tag for row in planted if row["effect"] == "ring" for tag in row["hashtags"].split()}
    members = {row["creator_id"] for row in planted if row["effect"] == "ring"}
    bursts = [row for row in found.to_pylist() if row["kind"] == "hashtag" and row["value"] in tags]
    assert bursts
    for burst in bursts:
        assert burst["q_value"] <= 0.05 and burst["count"] > burst["expected"]
        assert set(burst["creators"]) & members
        assert burst["first_seen"] <= early.day and burst["examples"]


def test_most_bursts_are_about_what_was_planted(early: Evidence) -> None:
    rows = trends.trends(early, clusters.clusters(early)).to_pylist()
    assert rows
    suspect = [row for row in rows if (row["suspect_share"] or 0) >= 0.5]
    assert len(suspect) >= 0.5 * len(rows)
