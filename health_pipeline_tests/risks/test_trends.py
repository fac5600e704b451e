"""Words that were planted burst, with where, since when and by whom; nothing bursts in what never changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
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


LAST = dt.date(2026, 8, 31)
EVERYDAY = ["hoodie", "murah banget", "lagi promo", "serum", "auto checkout", "ready stok", "ลองแล้ว ถูกมาก", "开箱 好用"]


def contents(extra: list[dict[str, object]], days: int = 60, creators: int = 60) -> pa.Table:
    """Captions of everyday words by two markets' creators on so many days up to :data:`LAST`, and some rows more."""
    rng = np.random.default_rng(0)
    rows = [
        {"creator_id": f"c{c}", "market": "ID" if c % 3 else "TH", "day": LAST - dt.timedelta(days=back),
         "caption": EVERYDAY[rng.integers(len(EVERYDAY))], "hashtags": "#FYP #promo", "sound_id": f"s{rng.integers(9)}",
         "product_ids": f"p{c}"}
        for back in range(days) for c in range(creators) if rng.random() < 0.5
    ]  # fmt: skip
    whole = [
        {"content_id": f"v{i}", "category": "beauty", "tier": "nano", "kind": "video"}
        | {k: v for k, v in row.items() if k != "day"}
        | {"published_at": dt.datetime.combine(row["day"], dt.time(9))}  # type: ignore[arg-type]
        for i, row in enumerate([*rows, *extra])
    ]
    return pa.Table.from_pylist(
        [{"caption": None, "hashtags": None, "sound_id": None, "product_ids": None} | r for r in whole]
    )


def used_by(creators: int, days: int = 2, market: str = "ID", **what: str) -> list[dict[str, object]]:
    """A content a day of each of so many creators, on the last days."""
    return [
        {"creator_id": f"n{c}", "market": market, "day": LAST - dt.timedelta(days=back), **what}
        for back in range(days) for c in range(creators)
    ]  # fmt: skip


def told(marketplace: Catalog, extra: list[dict[str, object]], **roles: pa.Table) -> list[dict[str, object]]:
    assert marketplace.review is not None
    e = Evidence.of_tables(LAST, marketplace.review, contents=contents(extra), **roles)
    rows: list[dict[str, object]] = trends.trends(e).to_pylist()
    return rows


def test_everyday_words_do_not_burst(marketplace: Catalog) -> None:
    assert told(marketplace, []) == []


def test_ten_contents_of_ten_creators_are_a_burst_and_thirty_of_one_are_none(marketplace: Catalog) -> None:
    rows = told(marketplace, used_by(10, days=1, caption="Ib Z4L0 ya"))
    assert {"ib z4l0", "z4l0"} <= {r["value"] for r in rows}
    assert {r["count"] for r in rows} == {10}
    assert {(r["first_seen"], r["new"], r["market"]) for r in rows} == {(LAST, True, "ID")}
    assert told(marketplace, used_by(1, caption="ib z4l0 ya") * 15) == []


def test_what_shares_its_contents_is_one_trend(marketplace: Catalog) -> None:
    ring = used_by(9, caption="chốt kèo", hashtags="#DealXin", sound_id="s77", product_ids="p77,p78")
    other = used_by(9, market="TH", hashtags="#other")
    rows = told(marketplace, [*ring, *[r | {"creator_id": f"x{r['creator_id']}"} for r in other]])
    trend = {r["value"]: r["trend"] for r in rows}
    assert {"chốt kèo", "#dealxin", "s77", "p77", "p78", "#other"} <= set(trend)
    assert len({trend[v] for v in ("chốt kèo", "#dealxin", "s77", "p77", "p78")}) == 1
    assert trend["#other"] != trend["#dealxin"]


def test_a_phrase_without_blanks_shows_in_its_pieces(marketplace: Catalog) -> None:
    thai = [
        r | {"caption": start + "แอดไลน์มาเลย" + end}
        for r, start, end in zip(used_by(8, days=1, market="TH"), "กขคงจฉชซ", "ดตถทธนบป", strict=True)
    ]
    assert "แอดไ" in {r["value"] for r in told(marketplace, thai)}
    chinese = [
        r | {"caption": start + "加微信"} for r, start in zip(used_by(8, days=1), "天地玄黄宇宙洪荒", strict=True)
    ]
    assert {"加微", "微信"} <= {r["value"] for r in told(marketplace, chinese)}


def test_a_burst_in_both_markets_is_told_once(marketplace: Catalog) -> None:
    both = [*used_by(8, caption="gratis iphone"), *used_by(8, market="TH", caption="gratis iphone")]
    for row in both[16:]:
        row["creator_id"] = f"th{row['creator_id']}"
    found = [r for r in told(marketplace, both) if r["value"] == "gratis iphone"]
    assert [(r["market"], r["count"], r["contents"]) for r in found] == [(None, 16, 32)]


def test_violations_and_views_of_its_contents_are_told_with_it(marketplace: Catalog) -> None:
    burst = used_by(8, days=1, hashtags="#free")
    ids = contents(burst)["content_id"].to_pylist()[-8:]
    label = {"creator_id": "n0", "market": "ID", "category": "beauty", "tier": "nano", "policy": "fraud", "rule": None,
             "severity": "severe", "actor": "human", "reversed": False, "detected_at": dt.datetime(2026, 8, 31, 10),
             "decided_at": dt.datetime(2026, 8, 31, 11)}  # fmt: skip
    decided = [(ids[0], True), (ids[1], True), (ids[2], False), (None, True)]
    labels = [label | {"decision_id": f"d{i}", "content_id": c, "violation": v} for i, (c, v) in enumerate(decided)]
    traffic = [
        {"content_id": c, "hour": dt.datetime(2026, 8, 31, 12), "views": 10 * (i + 1)} for i, c in enumerate(ids)
    ]
    (row,) = told(
        marketplace, burst, labels=pa.Table.from_pylist(labels), traffic=pa.Table.from_pylist(traffic)
    )  # fmt: skip
    assert (row["value"], row["contents"], row["views"]) == ("#free", 8, 360)
    assert (row["violation_share"], row["cluster_share"], row["suspect_share"]) == (0.25, 0.0, 0.25)
    assert row["examples"] == ids[:2:-1]


def test_a_phrase_shows_behind_any_number_of_letters_without_a_blank(marketplace: Catalog) -> None:
    """Captions may be as long as somebody likes: the time they take must not go with the square of that."""
    before = ["天地玄黄宇宙洪荒" * 10_000, *("天" * n for n in range(195, 202))]
    rows = [r | {"caption": b + "加微信"} for r, b in zip(used_by(8, days=1), before, strict=True)]
    assert {"加微", "微信"} <= {r["value"] for r in told(marketplace, rows)}
