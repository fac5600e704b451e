"""How much creators will post is read off the days of which their market's contents are known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.model import Catalog, Review
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.posting import posting

DAY = dt.date(2026, 8, 30)
NOW = np.datetime64("2026-08-31T00", "us")
HOUR = np.timedelta64(1, "h")


@pytest.fixture(scope="module")
def review(marketplace: Catalog) -> Review:
    assert marketplace.review is not None
    return marketplace.review


def contents(
    who: str, market: str | None, *, creators: int = 40, newest: int = 0, days: int = 90, daily: float = 1.0
) -> pa.Table:
    """Of creators ``who000`` and so on, so many a day each, on the days from ``newest`` days ago back."""
    rng = np.random.default_rng(7)
    back = np.repeat(np.arange(newest, days), creators)
    creator = np.tile(np.arange(creators), days - newest)
    posts = np.repeat(np.arange(len(back)), np.floor(daily + rng.random(len(back))).astype(int))
    n = len(posts)
    at = NOW - back[posts] * 24 * HOUR - rng.integers(30, 1_400, n) * HOUR / 60
    return pa.table({
        "content_id": [f"{who}{i}" for i in range(n)], "creator_id": [f"{who}{c:03}" for c in creator[posts]],
        "market": pa.array([market] * n, pa.string()), "category": ["beauty"] * n, "tier": ["nano"] * n,
        "kind": ["video"] * n, "published_at": at.astype("datetime64[us]"),
    })  # fmt: skip


def register(who: str, market: str, joined: dt.date | None = None, creators: int = 40) -> pa.Table:
    return pa.table({
        "creator_id": [f"{who}{c:03}" for c in range(creators)], "market": [market] * creators,
        "tier": ["nano"] * creators, "joined_at": pa.array([joined] * creators, pa.date32()),
        "status": ["active"] * creators,
    })  # fmt: skip


def paces(review: Review, posted: list[pa.Table], known: list[pa.Table] | None = None) -> dict[str, float]:
    """First letter of creators' names -> their mean posts a day."""
    roles = {"creators": pa.concat_tables(known)} if known else {}
    found = posting(Evidence.of_tables(DAY, review, contents=pa.concat_tables(posted), **roles))
    each: dict[str, list[float]] = {}
    for name, pace in zip(found["creator_id"].to_pylist(), found["posts_a_day"].to_pylist(), strict=True):
        each.setdefault(name[0], []).append(pace)
    return {who: float(np.mean(of)) for who, of in each.items()}


def test_a_day_that_one_market_lacks_is_nothing_to_contents_without_a_market(review: Review) -> None:
    whole = paces(review, [contents("n", None), contents("t", "TH")])
    holed = paces(review, [contents("n", None), contents("t", "TH", newest=2)])
    assert holed == pytest.approx(whole, rel=0.01)


def test_missing_days_are_those_of_where_creators_post_wherever_they_are_registered(review: Review) -> None:
    without = paces(review, [contents("c", None, newest=3)], [register("c", "ID")])
    assert without["c"] == pytest.approx(1.0, rel=0.02)
    began = contents("n", "ID", creators=20, days=1, daily=3.0)
    mixed = paces(
        review, [contents("c", "ID"), contents("t", "TH", newest=2), began],
        [register("c", "ID"), register("t", "TH"), register("n", "TH", DAY, creators=20)],
    )  # fmt: skip
    assert 1.0 < mixed["n"] < 5.0, "three to four on the day that they joined"


def test_who_is_said_to_have_joined_after_they_posted_has_posted_since_they_did(review: Review) -> None:
    said = paces(review, [contents("c", "ID")], [register("c", "ID", DAY - dt.timedelta(days=1))])
    assert said["c"] == pytest.approx(1.0, rel=0.02)


def test_a_market_that_grew_tenfold_lacked_nothing_before(review: Review) -> None:
    old, new = contents("o", "ID", creators=10, daily=0.4), contents("n", "ID", creators=100, days=50, daily=0.4)
    posted = len(old) / 10 / 90
    assert paces(review, [old, new])["o"] == pytest.approx(posted, rel=0.1)


def test_creators_known_without_contents_and_contents_of_nobody_known_have_a_pace(review: Review) -> None:
    silent = posting(Evidence.of_tables(DAY, review, creators=register("s", "ID")))
    assert (silent["posts_a_day"].to_numpy() < 0.1).all()
    assert posting(Evidence.of_tables(DAY, review)).num_rows == 0
    gone = register("c", "ID")
    gone = gone.set_column(4, "status", pa.array(["banned"] * 40))
    assert paces(review, [contents("c", "ID")], [gone]) == {"c": 0.0}


def test_a_register_that_names_creators_on_several_days_is_one_of_as_many_creators(review: Review) -> None:
    once, rows = register("c", "ID"), [contents("c", "ID")]
    assert paces(review, rows, [once, once]) == paces(review, rows, [once])
    found = posting(Evidence.of_tables(DAY, review, contents=rows[0], creators=pa.concat_tables([once, once])))
    assert found["creator_id"].to_pylist() == once["creator_id"].to_pylist()
