"""What is expected of contents and creators is what comes: on average, in its spread, and where data are late."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from health_pipeline.catalog.model import Catalog, Review
from health_pipeline.risks import exposure
from health_pipeline.risks.evidence import Evidence, of_files
from health_pipeline_tests.risks.conftest import TWIN_LAST

Array = NDArray[np.float64]

DAY = dt.date(2026, 8, 30)
NOW = np.datetime64("2026-08-31T00", "us")
HOUR = np.timedelta64(1, "h")
CREATORS, MEMORY = 120, 28
CALM = TWIN_LAST - dt.timedelta(days=28)
"""A day of the twin whose contents' lives are over before anything happens in it."""


@pytest.fixture(scope="module")
def review(marketplace: Catalog) -> Review:
    assert marketplace.review is not None
    return marketplace.review


class World:
    """Creators who post once a day; views come in a dozen bursts, thinning with a time constant of 20 hours.

    Attributes:
        audience: (creators,) median of the views of their contents.
        rate: (contents,) views expected in the whole life.
        content, hour, views: of the traffic, also of what is still to come.
    """

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        n = CREATORS * MEMORY
        self.creator = np.tile(np.arange(CREATORS), MEMORY)
        self.published = (
            NOW - np.repeat(np.arange(MEMORY), CREATORS) * 24 * HOUR - rng.integers(60, 1_440, n) * HOUR / 60
        )
        self.published = self.published.astype("datetime64[us]")
        self.audience = 600 * rng.lognormal(0, 0.8, CREATORS)
        self.rate = self.audience[self.creator] * rng.lognormal(0, 0.9, n)
        bursts = rng.poisson(12, n)
        self.content = np.repeat(np.arange(n), bursts)
        age = np.minimum(rng.exponential(20, len(self.content)), 167).astype(int)
        self.hour = self.published[self.content].astype("datetime64[h]").astype("datetime64[us]") + age * HOUR
        self.views = rng.poisson(self.rate[self.content] / 12 * rng.gamma(2, 0.5, len(self.content)))
        self.market = np.where(self.creator % 3 == 0, "TH", "ID")

    def evidence(self, review: Review, known: NDArray[np.bool_] | None = None, **more: pa.Table) -> Evidence:
        shown = self.hour < NOW if known is None else (self.hour < NOW) & known
        contents = pa.table({
            "content_id": self.names(), "creator_id": [f"c{c:03}" for c in self.creator], "market": self.market,
            "category": ["beauty"] * len(self.rate), "tier": ["nano"] * len(self.rate),
            "kind": ["video"] * len(self.rate), "published_at": self.published,
        })  # fmt: skip
        traffic = pa.table({
            "content_id": np.array(self.names())[self.content[shown]], "hour": self.hour[shown],
            "views": self.views[shown],
        })  # fmt: skip
        return Evidence.of_tables(DAY, review, contents=contents, traffic=traffic, **more)

    def names(self) -> list[str]:
        return [f"v{i:05}" for i in range(len(self.rate))]

    def to_come(self) -> Array:
        """(contents,) views that will really come."""
        return np.bincount(self.content, self.views * (self.hour >= NOW), len(self.rate)).astype(float)


def numbers(table: pa.Table, name: str) -> Array:
    return np.asarray(table[name].to_numpy(), float)


def places(found: pa.Table) -> NDArray[np.int64]:
    return np.array([int(name[1:]) for name in found["content_id"].to_pylist()])


def weighed(came: Array, expected: Array) -> float:
    """What came over what was expected, without the largest few deciding."""
    weight = 1 / np.sqrt(np.maximum(expected, 1.0))
    return float((came * weight).sum() / (expected * weight).sum())


def test_views_to_come_hold_on_average_and_tell_large_from_small(review: Review) -> None:
    ratios = []
    for seed in (1, 2, 3):
        world = World(seed)
        found = exposure.contents(world.evidence(review))
        expected, came = numbers(found, "views_to_come"), world.to_come()[places(found)]
        ratios.append(weighed(came, expected))
        assert np.corrcoef(np.log1p(expected), np.log1p(came))[0, 1] > 0.75
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_nine_in_ten_come_within_the_interval(review: Review) -> None:
    inside = []
    for seed in (1, 2, 3):
        world = World(seed)
        found = exposure.contents(world.evidence(review))
        expected, error = numbers(found, "views_to_come"), numbers(found, "views_log_error")
        came = world.to_come()[places(found)]
        middle, far = expected * np.exp(-(error**2) / 2), np.exp(1.645 * error)
        inside += ((came >= np.floor(middle / far)) & (came <= np.ceil(middle * far)))[expected >= 10].tolist()
    assert len(inside) > 500
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


def test_early_views_move_what_is_expected_less_the_fewer_hours_they_are_of(review: Review) -> None:
    """Twice the usual audience on the first day may be luck; over four days it is not."""
    world = World()
    plain = exposure.learn(world.evidence(review))
    prior = plain.prior
    size = exposure.Size(prior.mean[:1], prior.variance[:1])
    usual, burst = np.exp(size.mean), plain.burst[:1]
    moved = [size.given(2 * usual * g, np.array([g]), burst).mean[0] - size.mean[0] for g in (0.02, 0.3, 0.9)]
    assert 0 < moved[0] < moved[1] < moved[2] < np.log(2) + 0.3


def test_nothing_seen_where_nothing_was_to_be_seen_says_nothing() -> None:
    size = exposure.Size(np.array([6.0]), np.array([0.7]))
    after = size.given(np.zeros(1), np.zeros(1), np.array([0.3]))
    assert after.mean[0] == pytest.approx(6.0, abs=0.01)
    assert after.variance[0] == pytest.approx(0.7, rel=0.01)


def test_hours_that_have_not_arrived_are_not_taken_for_hours_without_an_audience(review: Review) -> None:
    """Statistics of the last five hours are missing: what was published shortly before is expected as without that."""
    world = World()
    late = world.hour < NOW - 5 * HOUR
    whole, cut = (exposure.contents(world.evidence(review, known)) for known in (None, np.asarray(late)))
    young = world.published[places(whole)] > NOW - 12 * HOUR
    expected, of_cut = numbers(whole, "views_to_come")[young], numbers(cut, "views_to_come")[young]
    assert young.sum() > 30
    assert weighed(of_cut, expected) == pytest.approx(1, abs=0.12)


def test_a_market_without_data_for_a_day_is_not_taken_for_one_without_an_audience(review: Review) -> None:
    world = World()
    there = (world.market[world.content] != "TH") | (world.hour < NOW - 24 * HOUR)
    whole, cut = (exposure.contents(world.evidence(review, known)) for known in (None, there))
    thai = world.market[places(whole)] == "TH"
    ratio = weighed(numbers(cut, "views_to_come")[thai], numbers(whole, "views_to_come")[thai])
    assert ratio == pytest.approx(1, abs=0.25)
    others = weighed(numbers(cut, "views_to_come")[~thai], numbers(whole, "views_to_come")[~thai])
    assert others == pytest.approx(1, abs=0.05)


def test_a_missing_day_says_nothing_of_the_audience_of_those_whose_lives_were_over(review: Review) -> None:
    world = World()
    there = (world.hour < NOW - 168 * HOUR) | (world.hour >= NOW - 144 * HOUR) | (world.market[world.content] != "TH")
    whole = exposure.creators(world.evidence(review))
    holed = exposure.creators(world.evidence(review, there))
    ratio = numbers(holed, "views_per_post") / numbers(whole, "views_per_post")
    assert np.median(ratio[::3]) == pytest.approx(1.0, abs=0.1), "of Thailand, where a day is missing"
    assert np.median(np.delete(ratio, np.s_[::3])) == pytest.approx(1.0, abs=0.1)


def test_velocity_is_high_where_the_last_hours_outrun_age_and_audience_and_low_elsewhere(review: Review) -> None:
    world = World()
    running = np.flatnonzero((world.published < NOW - 30 * HOUR) & (world.published > NOW - 100 * HOUR))[:20]
    rng = np.random.default_rng(4)
    for content in running:  # twenty times the usual pace
        hours = NOW - (1 + rng.integers(0, 11, 8)) * HOUR
        world.content = np.concatenate([world.content, np.full(8, content)])
        world.hour = np.concatenate([world.hour, hours])
        world.views = np.concatenate([world.views, rng.poisson(world.rate[content] / 6, 8)])
    found = exposure.contents(world.evidence(review))
    velocity, fast = numbers(found, "velocity"), np.isin(places(found), running)
    assert (velocity >= 0).all() and (velocity < 1).all()
    assert np.median(velocity[fast]) > 0.3
    assert np.median(velocity[~fast]) < 0.1
    assert np.quantile(velocity[~fast], 0.9) < np.quantile(velocity[fast], 0.25)


def test_decided_and_old_contents_have_no_views_to_come(review: Review) -> None:
    world = World()
    decided = world.names()[5]
    label = pa.table({
        "decision_id": ["d1"], "content_id": [decided], "creator_id": ["c005"], "market": ["ID"],
        "category": ["beauty"], "tier": ["nano"], "policy": ["fraud"], "severity": ["severe"], "actor": ["human"],
        "violation": [False], "reversed": [False], "detected_at": [NOW - HOUR], "decided_at": [NOW - HOUR],
    })  # fmt: skip
    found = exposure.contents(world.evidence(review, labels=label))
    assert decided not in found["content_id"].to_pylist()
    assert (world.published[places(found)] >= NOW - review.alive_days * 24 * HOUR - HOUR).all()


def test_sales_per_view_of_a_content_lean_on_its_creator(review: Review) -> None:
    world = World()
    seller = np.flatnonzero(world.creator == 7)
    bought = np.repeat(seller, 20)
    orders = pa.table({
        "order_id": [f"o{i}" for i in range(len(bought))], "content_id": np.array(world.names())[bought],
        "creator_id": ["c007"] * len(bought), "product_id": ["p1"] * len(bought),
        "placed_at": np.full(len(bought), NOW - 30 * HOUR), "gmv": np.full(len(bought), 12.0),
        "bad": [False] * len(bought),
    })  # fmt: skip
    e = world.evidence(review, orders=orders)
    found, creators = exposure.contents(e), exposure.creators(e)
    rate, own = numbers(found, "gmv_rate"), np.isin(places(found), seller)
    assert rate[own].min() > 5 * rate[~own].max()
    gmv = dict(zip(creators["creator_id"].to_pylist(), creators["gmv_28d"].to_pylist(), strict=True))
    assert gmv["c007"] == pytest.approx(12.0 * len(bought))
    assert gmv["c008"] == 0


def test_an_order_of_no_known_amount_leaves_the_others_rates_as_they_are(review: Review) -> None:
    world = World()
    orders = pa.table({
        "order_id": ["o1", "o2"], "content_id": world.names()[:2], "creator_id": ["c000", "c001"],
        "product_id": ["p1"] * 2, "placed_at": [NOW - HOUR] * 2, "gmv": [5.0, None], "bad": [False] * 2,
    })  # fmt: skip
    rate = numbers(exposure.contents(world.evidence(review, orders=orders)), "gmv_rate")
    assert (rate > 0).all() and np.isfinite(rate).all()


def test_what_is_not_decided_yet_tells_nothing_of_what_moderation_lets_through(review: Review) -> None:
    world = World()
    names = np.array(world.names())[world.published < NOW - 20 * 24 * HOUR][:40]
    label = pa.table({
        "decision_id": names, "content_id": names, "creator_id": ["c005"] * 40, "market": ["ID"] * 40,
        "category": ["beauty"] * 40, "tier": ["nano"] * 40, "policy": ["fraud"] * 40,
        "severity": ["severe", "minor"] * 20, "actor": ["human"] * 40, "violation": [True] * 40,
        "reversed": [False] * 40, "detected_at": [NOW - 48 * HOUR] * 40, "decided_at": [NOW - HOUR, None] * 20,
    })  # fmt: skip
    e = world.evidence(review, labels=label)
    assert list(exposure.passing(e, exposure.learn(e))) == ["severe"]


def test_posts_to_come_follow_posts_so_far_and_those_who_are_gone_post_no_more(review: Review) -> None:
    world = World()
    status = ["banned" if c == 3 else "left" if c == 4 else "active" for c in range(CREATORS)]
    register = pa.table({
        "creator_id": [f"c{c:03}" for c in range(CREATORS)], "market": ["ID"] * CREATORS, "tier": ["nano"] * CREATORS,
        "joined_at": [dt.date(2026, 8, 3)] * CREATORS, "status": status,
    })  # fmt: skip
    found = exposure.creators(world.evidence(review, creators=register))
    posts = numbers(found, "posts_to_come")
    assert found.num_rows == CREATORS
    assert (posts[3:5] == 0).all()
    assert np.delete(posts, [3, 4]) == pytest.approx(np.full(CREATORS - 2, 7.0), rel=0.1)
    audience = [np.exp(np.log(world.rate[world.creator == c]).mean()) for c in range(CREATORS)]
    assert np.corrcoef(np.log(numbers(found, "views_per_post")), np.log(audience))[0, 1] > 0.9
    alive = exposure.contents(world.evidence(review))
    assert numbers(found, "alive_views_to_come").sum() == pytest.approx(numbers(alive, "views_to_come").sum())


def test_a_creator_who_began_to_post_much_more_is_expected_to_go_on(review: Review) -> None:
    world = World()
    contents = world.evidence(review).query("SELECT * FROM contents")
    burst = pa.table({
        "content_id": [f"w{i}" for i in range(12)], "creator_id": ["c007"] * 12, "market": ["ID"] * 12,
        "category": ["beauty"] * 12, "tier": ["nano"] * 12, "kind": ["video"] * 12,
        "published_at": NOW - np.arange(2, 62, 5) * HOUR,
    })  # fmt: skip
    traffic = world.evidence(review).query("SELECT * FROM traffic")
    both = pa.concat_tables([contents.select(burst.schema.names).cast(burst.schema), burst])
    e = Evidence.of_tables(DAY, review, contents=both, traffic=traffic)
    posts = numbers(exposure.creators(e), "posts_to_come")
    assert posts[7] > 20
    assert np.delete(posts, 7) == pytest.approx(np.full(CREATORS - 1, 7.0), rel=0.2)


def test_members_of_a_cluster_who_began_together_are_expected_to_go_on_sooner(review: Review) -> None:
    world = World()
    contents, traffic = (world.evidence(review).query(f"SELECT * FROM {name}") for name in ("contents", "traffic"))
    ring = [c for c in range(10, 20) for _ in range(4)]
    more = pa.table({
        "content_id": [f"w{i}" for i in range(40)], "creator_id": [f"c{c:03}" for c in ring], "market": ["ID"] * 40,
        "category": ["beauty"] * 40, "tier": ["nano"] * 40, "kind": ["video"] * 40,
        "published_at": NOW - np.tile([3, 9, 15, 21], 10) * HOUR,
    })  # fmt: skip
    both = pa.concat_tables([contents.select(more.schema.names).cast(more.schema), more])
    e = Evidence.of_tables(DAY, review, contents=both, traffic=traffic)
    members = pa.table({"creator_id": [f"c{c:03}" for c in range(10, 20)], "cluster": ["ring"] * 10})
    alone, together = (numbers(exposure.creators(e, members=who), "posts_to_come") for who in (None, members))
    assert (together[10:20] > 25).all(), "five posts a day since yesterday"
    assert np.median(alone[10:20]) < 20
    np.testing.assert_array_equal(np.delete(together, np.s_[10:20]), np.delete(alone, np.s_[10:20]))


def test_audiences_may_come_in_parts_with_gaps_and_corrections(review: Review) -> None:
    world = World()
    world.published -= 40 * 24 * HOUR
    world.published[::2] += 40 * 24 * HOUR
    sizes = world.rate.astype(int)
    whole = pa.table({"content_id": world.names(), "views": sizes})
    parts = pa.table({
        "content_id": world.names() * 3, "views": np.concatenate([sizes // 2, sizes - sizes // 2 + 9, sizes * 0 - 9]),
    })  # fmt: skip
    at_once, in_parts = (world.evidence(review, audiences=rows) for rows in (whole, parts))
    assert exposure.contents(in_parts).equals(exposure.contents(at_once))
    assert exposure.creators(in_parts).equals(exposure.creators(at_once))
    odd = pa.table({"content_id": [*world.names(), None], "views": pa.array([None, -5] * (len(sizes) // 2) + [7])})
    learned = exposure.creators(world.evidence(review, audiences=odd))
    unknown = exposure.creators(world.evidence(review))
    assert learned.equals(unknown), "what was not delivered says nothing"


def test_audiences_are_learned_from_what_was_shown_before_traffic_is_read_by_the_hour(review: Review) -> None:
    """Three months ago counts too, whatever the days of then did to all."""
    rng, audience = np.random.default_rng(3), 600 * np.random.default_rng(4).lognormal(0, 0.6, CREATORS)
    creator, back = np.repeat(np.arange(CREATORS), 30), np.tile(np.arange(0, 90, 3), CREATORS)
    size = audience[creator] * rng.lognormal(0, 0.9, len(creator))
    market = np.where(creator % 2 == 0, "TH", "ID")
    outage = (market == "TH") & (back >= 40) & (back < 55)  # half of its days' views were lost then
    ids = [f"v{i:05}" for i in range(len(creator))]
    published = NOW - (24 * back + 12) * HOUR
    contents = pa.table({
        "content_id": ids, "creator_id": [f"c{c:03}" for c in creator], "market": market,
        "category": ["beauty"] * len(ids), "tier": ["nano"] * len(ids), "kind": ["video"] * len(ids),
        "published_at": published,
    })  # fmt: skip
    hours = np.repeat(np.arange(len(ids)), 7)
    at = published[hours] + np.tile(24 * np.arange(7), len(ids)) * HOUR
    near = (at < NOW) & (at >= NOW - 28 * 24 * HOUR)
    views = rng.poisson(np.repeat(size, 7) / 7)
    traffic = pa.table({
        "content_id": np.array(ids)[hours[near]], "hour": at[near].astype("datetime64[h]").astype("datetime64[us]"),
        "views": views[near],
    })  # fmt: skip
    total = np.bincount(hours, views * (at < NOW)) * np.where(outage, 0.5, 1.0)
    audiences = pa.table({"content_id": ids, "views": total.astype(np.int64)})
    expected = audience * np.exp(0.9**2 / 2)

    def off(**more: pa.Table) -> tuple[float, float]:
        e = Evidence.of_tables(DAY, review, contents=contents, traffic=traffic, **more)
        log = np.log(numbers(exposure.creators(e), "views_per_post") / expected)
        return float(log.std()), float(log[::2].mean() - log[1::2].mean())

    without, far = off(), off(audiences=audiences)
    assert far[0] < 0.75 * without[0], "thirty contents each tell more than ten"
    assert abs(far[1]) < abs(without[1]) + 0.1, "an outage of then is not Thailand's audience of now"


def test_what_is_to_be_expected_lies_within_its_doubt(review: Review) -> None:
    inside = []
    for seed in range(1, 6):
        world = World(seed)
        found = exposure.creators(world.evidence(review))
        expected = numbers(found, "posts_to_come") * numbers(found, "views_per_post")
        error, true = numbers(found, "expected_log_error"), 7.0 * world.audience * np.exp(0.9**2 / 2)
        assert (error < numbers(found, "views_log_error")).all(), "luck is not in it"
        error = np.sqrt(error**2 - exposure.COMMON_ERROR**2)  # which there is none of in this world
        inside.append(np.abs(np.log(true / expected) - error**2 / 2) < 1.645 * error)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.07)


def test_where_contents_are_not_delivered_nobody_is_taken_to_have_stopped(review: Review) -> None:
    world = World()
    whole = world.evidence(review)
    contents, traffic = (whole.query(f"SELECT * FROM {name}") for name in ("contents", "traffic"))
    # Thailand's creators post eight times a day: three days without any would be no chance.
    more = contents.filter(pa.array(world.market == "TH"))
    copies = [
        more.set_column(0, "content_id", pa.array([f"{name}-{i}" for name in more["content_id"].to_pylist()]))
        for i in range(7)
    ]
    busy = pa.concat_tables([contents, *copies])
    late = (busy["published_at"].to_numpy() >= NOW - 72 * HOUR) & (np.array(busy["market"].to_pylist()) == "TH")
    full = numbers(exposure.creators(Evidence.of_tables(DAY, review, contents=busy, traffic=traffic)), "posts_to_come")
    holed = Evidence.of_tables(DAY, review, contents=busy.filter(pa.array(~late)), traffic=traffic)
    posts = numbers(exposure.creators(holed), "posts_to_come")
    assert np.median((posts / full)[::3]) == pytest.approx(1.0, abs=0.25), "of Thailand, where three days are missing"
    np.testing.assert_allclose(np.delete(posts / full, np.s_[::3]), 1.0, atol=0.05)
    # One creator who stops while their market goes on has stopped.
    stopped = busy.filter(pa.array(
        (busy["published_at"].to_numpy() < NOW - 72 * HOUR) | (np.array(busy["creator_id"].to_pylist()) != "c003")
    ))  # fmt: skip
    posts = numbers(
        exposure.creators(Evidence.of_tables(DAY, review, contents=stopped, traffic=traffic)), "posts_to_come"
    )
    assert posts[3] < 0.3 * full[3]


def test_contents_that_nobody_has_seen_yet_have_finite_estimates(review: Review) -> None:
    unseen = World().evidence(review, np.zeros(len(World().hour), bool))
    assert unseen.query("SELECT count(*) AS n FROM traffic")["n"].to_pylist() == [0]
    for found in (exposure.contents(unseen), exposure.creators(unseen)):
        assert found.num_rows > 100
        for field in found.schema:
            if pa.types.is_floating(field.type):
                assert np.isfinite(numbers(found, field.name)).all(), field.name


def test_moderation_lets_through_what_labelled_violations_were_watched_in_spite_of_it(
    marketplace: Catalog, twin_folder: Path
) -> None:
    for e in of_files(marketplace, twin_folder, [TWIN_LAST - dt.timedelta(days=5)]):
        found = exposure.passing(e, exposure.learn(e))
        assert set(found) <= set(e.review.severity)
        assert all(0.05 <= share <= 1.0 for share in found.values())
        assert np.mean(list(found.values())) < 0.9
        cut = e.query("SELECT * REPLACE (0 AS views) FROM traffic JOIN (SELECT DISTINCT content_id FROM labels "
                      "WHERE violation AND severity = 'moderate') USING (content_id)")  # fmt: skip
        rest = e.query("SELECT * FROM traffic ANTI JOIN cut USING (content_id)", cut=cut)
        tables = {name: e.query(f"SELECT * FROM {name}") for name in ("contents", "labels")}
        again = Evidence.of_tables(
            e.day, e.review, traffic=pa.concat_tables([rest, cut.select(rest.schema.names).cast(rest.schema)]), **tables
        )
        assert exposure.passing(again, exposure.learn(again))["moderate"] < 0.5 * found["moderate"]


def test_without_any_evidence_there_is_nothing_to_expect(review: Review) -> None:
    e = Evidence.of_tables(DAY, review)
    assert exposure.contents(e).num_rows == 0
    assert exposure.creators(e).num_rows == 0


def test_on_the_first_days_of_an_ecosystem_something_is_expected_of_everything(review: Review) -> None:
    """No life is over yet, so there is no curve to learn from."""
    world = World()
    kept = np.flatnonzero(world.published > NOW - 48 * HOUR)
    e = world.evidence(review, np.isin(world.content, kept))
    young = e.query(f"SELECT * FROM contents WHERE published_at > TIMESTAMP '{NOW}' - INTERVAL 48 HOUR")
    traffic = e.query("SELECT * FROM traffic")
    found = exposure.contents(Evidence.of_tables(DAY, review, contents=young, traffic=traffic))
    assert found.num_rows == len(kept)
    assert (numbers(found, "views_to_come") > 0).all() and np.isfinite(numbers(found, "views_log_error")).all()


def test_in_the_twin_what_comes_later_is_what_was_expected(
    marketplace: Catalog, twin_folder: Path
) -> None:  # fmt: skip
    for e in of_files(marketplace, twin_folder, [CALM]):
        alive, creators = exposure.contents(e), exposure.creators(e)
    connection = duckdb.connect()
    connection.register("alive", alive)
    connection.register("creators", creators)
    later = connection.sql(
        f"""
        WITH came AS (
            SELECT content_id, sum(views) AS views FROM (
                SELECT content_id, hour AT TIME ZONE 'UTC' AS hour, views FROM '{twin_folder}/content_stats/*.parquet'
                QUALIFY row_number() OVER (PARTITION BY content_id, hour, surface ORDER BY ingested_at DESC) = 1
            ) WHERE hour >= TIMESTAMP '{e.now}' GROUP BY content_id
        ), acted AS (SELECT DISTINCT content_id FROM '{twin_folder}/decisions/*.parquet' WHERE action <> 'none')
        SELECT views_to_come, views_log_error, coalesce(came.views, 0) AS came
        FROM alive LEFT JOIN came USING (content_id) ANTI JOIN acted USING (content_id)
        """
    ).to_arrow_table()
    expected, error, came = (numbers(later, c) for c in ("views_to_come", "views_log_error", "came"))
    assert len(came) > 1_000
    assert weighed(came, expected) == pytest.approx(1, abs=0.2)
    large = expected >= 10
    middle, far = expected * np.exp(-(error**2) / 2), np.exp(1.645 * error)
    inside = (came >= np.floor(middle / far)) & (came <= np.ceil(middle * far))
    assert inside[large].mean() == pytest.approx(0.9, abs=0.06)
    assert np.corrcoef(expected.argsort().argsort(), came.argsort().argsort())[0, 1] > 0.75
    posted = connection.execute(
        f"""
        SELECT count(*) FROM (
            SELECT published_at AT TIME ZONE 'UTC' AS posted_at FROM '{twin_folder}/videos/*.parquet' UNION ALL
            SELECT started_at AT TIME ZONE 'UTC' FROM '{twin_folder}/live_sessions/*.parquet'
        ) WHERE posted_at >= TIMESTAMP '{e.now}' AND posted_at < TIMESTAMP '{e.now}' + INTERVAL 7 DAY
        """
    ).fetchone()
    assert posted is not None
    assert numbers(creators, "posts_to_come").sum() == pytest.approx(posted[0], rel=0.1)
