"""Propensities hold on days to come, rank better than what they are made of, and no missing label misleads them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import special, stats

from health_pipeline.catalog.model import Catalog, Review
from health_pipeline.catalog.roles import ROLES
from health_pipeline.risks import products, propensity, rates
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.propensity import NOBODY
from health_pipeline.risks.rates import Learned

Tables = dict[str, pa.Table]


@pytest.fixture(scope="module")
def tables(evidence: Evidence) -> Tables:
    """The twin's evidence as tables, to be changed."""
    return {name: evidence.query(f"SELECT * FROM {name}") for name in ROLES}


@pytest.fixture(scope="module")
def learned(evidence: Evidence) -> Learned:
    return rates.learn(evidence, NOBODY)


@pytest.fixture(scope="module")
def truth(twin_folder: Path) -> pa.Table:
    return pq.read_table(twin_folder / "ground_truth" / "contents.parquet")


@pytest.fixture(scope="module")
def contents(evidence: Evidence, learned: Learned, truth: pa.Table) -> pa.Table:
    """Estimates beside the truth."""
    return evidence.query(
        "SELECT e.*, violative, t.policy AS true_policy FROM e JOIN t USING (content_id) ORDER BY content_id",
        e=propensity.contents(evidence, NOBODY, learned), t=truth,
    )  # fmt: skip


@pytest.fixture(scope="module")
def creators(evidence: Evidence, learned: Learned, truth: pa.Table, twin_folder: Path) -> pa.Table:
    """Estimates beside the true factor, and contents and violations of the days to come."""
    return evidence.query(
        f"""
        SELECT e.*, shape / rate AS mean, propensity, coalesce(n, 0) AS n, coalesce(k, 0) AS k
        FROM e JOIN c USING (creator_id) LEFT JOIN (
            SELECT creator_id, count(*) AS n, count(*) FILTER (violative) AS k FROM t
            WHERE day > DATE '{evidence.day}' GROUP BY creator_id
        ) USING (creator_id) ORDER BY creator_id
        """,
        e=propensity.creators(evidence, NOBODY, learned), t=truth,
        c=pq.read_table(twin_folder / "ground_truth" / "creators.parquet", columns=["creator_id", "propensity"]),
    )  # fmt: skip


def numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].cast(pa.float64()).to_numpy()


def changed(evidence: Evidence, tables: Tables, **roles: pa.Table) -> Evidence:
    return Evidence.of_tables(evidence.day, evidence.review, **(tables | roles))


def rate_of(e: Evidence, creator: str, clusters: pa.Table = NOBODY) -> float:
    row = propensity.creators(e, clusters).filter(pc.field("creator_id") == creator).to_pylist()[0]
    return float(row["shape"] / row["rate"])


def test_the_tables_have_their_schemas(evidence: Evidence, learned: Learned) -> None:
    assert propensity.contents(evidence, NOBODY, learned).schema == propensity.CONTENTS
    assert propensity.creators(evidence, NOBODY, learned).schema == propensity.CREATORS
    assert products.products(evidence, NOBODY, learned).schema == products.PRODUCTS


def test_contents_are_those_still_shown_that_nobody_has_decided_on(evidence: Evidence, learned: Learned) -> None:
    wanted = evidence.query(
        f"""
        SELECT content_id FROM contents WHERE published_at > TIMESTAMP '{evidence.now - dt.timedelta(days=7)}'
        AND content_id NOT IN (SELECT content_id FROM labels WHERE content_id IS NOT NULL)
        """
    )
    found = propensity.contents(evidence, NOBODY, learned)["content_id"].to_pylist()
    assert len(found) > 500
    assert sorted(found) == sorted(wanted["content_id"].to_pylist())


def test_as_many_contents_violate_as_expected(contents: pa.Table) -> None:
    p, violative = numbers(contents, "probability"), numbers(contents, "violative")
    assert abs(violative.sum() - p.sum()) < 3.0 * np.sqrt(np.sum(p * (1.0 - p)))
    likely = p > 0.05
    assert likely.sum() >= 10
    assert abs(violative[likely].sum() - p[likely].sum()) < 3.0 * np.sqrt(np.sum(p[likely] * (1.0 - p[likely])))


def test_all_contents_of_the_memory_violate_as_often_as_expected(learned: Learned, truth: pa.Table) -> None:
    rows = pa.table({"content_id": learned.rows["content_id"], "p": learned.probability})
    both = rows.join(truth.select(["content_id", "violative"]), "content_id", join_type="inner")
    p, violative = numbers(both, "p"), numbers(both, "violative")
    assert violative.sum() > 500
    assert p.sum() == pytest.approx(violative.sum(), rel=0.06)


def test_the_likeliest_contents_are_worse_than_the_highest_scored_and_the_most_reported(contents: pa.Table) -> None:
    violative = numbers(contents, "violative")

    def found(score: np.ndarray) -> float:
        return float(violative[np.argsort(-score, kind="stable")[:20]].sum())

    by_probability = found(numbers(contents, "probability"))
    assert by_probability > found(numbers(contents, "model_score"))
    assert by_probability > found(numbers(contents, "reports"))


def test_draws_of_log_odds_have_the_probability_as_their_mean(contents: pa.Table) -> None:
    rng = np.random.default_rng(1)
    middle, error = numbers(contents, "log_odds"), numbers(contents, "log_odds_error")
    drawn = special.expit(middle + error * rng.standard_normal((4000, len(middle)))).mean(axis=0)
    likely = numbers(contents, "probability") > 0.02
    np.testing.assert_allclose(drawn[likely], numbers(contents, "probability")[likely], rtol=0.15)


def test_creators_violate_in_the_days_to_come_as_often_as_predicted(creators: pa.Table) -> None:
    mean, n, k = (numbers(creators, c) for c in ("mean", "n", "k"))
    order = np.argsort(mean)
    for part in np.array_split(order, 4):
        predicted, real = np.sum(mean[part] * n[part]), k[part].sum()
        assert real == pytest.approx(predicted, abs=4.0 * np.sqrt(predicted) + 2.0)
    top = order[-len(order) // 10 :]
    assert k[top].sum() / n[top].sum() > 4.0 * k[order[: len(order) // 2]].sum() / n[order[: len(order) // 2]].sum()


def test_creators_are_ranked_better_than_by_the_raw_rate_and_count(evidence: Evidence, creators: pa.Table) -> None:
    raw = evidence.query(
        """
        SELECT creator_id, count(*) AS posts, count(*) FILTER (violation) AS hits FROM contents
        LEFT JOIN (SELECT content_id, bool_or(violation) AS violation FROM labels GROUP BY ALL) USING (content_id)
        GROUP BY creator_id ORDER BY creator_id
        """
    )
    hits, posts = numbers(raw, "hits"), numbers(raw, "posts")
    true = numbers(creators, "propensity")

    def right(score: np.ndarray) -> float:
        return float(stats.spearmanr(score, true).statistic)

    assert right(numbers(creators, "mean") / numbers(creators, "cohort_mean")) > 0.02 + max(
        right(hits / posts), right(hits)
    )


def test_violations_are_those_confirmed_and_not_reversed(evidence: Evidence, creators: pa.Table) -> None:
    found = evidence.query(
        """
        SELECT count(*) AS n FROM labels WHERE violation AND content_id IS NOT NULL
        AND creator_id IN (SELECT creator_id FROM contents)
        """
    )["n"][0].as_py()
    assert sum(creators["violations_90d"].to_pylist()) == found
    last = creators.filter(pc.field("violations_90d") > 0)["last_violation_at"]
    assert last.null_count == 0


def test_a_reversed_decision_no_longer_counts_against_its_creator(
    evidence: Evidence, tables: Tables, learned: Learned
) -> None:
    labels = tables["labels"]
    # Of one who turned and posts little else, machines have caught more than any reversal takes back.
    worst = evidence.query(
        """
        SELECT creator_id FROM labels WHERE violation AND actor = 'human' AND creator_id NOT IN (SELECT * FROM t)
        GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1
        """,
        t=learned.rows.filter(learned.turned).select(["creator_id"]),
    )["creator_id"][0].as_py()
    mine = pc.and_(pc.equal(labels["creator_id"], worst), pc.equal(labels["actor"], "human"))
    turned = labels.set_column(
        labels.schema.get_field_index("violation"), "violation", pc.and_(labels["violation"], pc.invert(mine))
    )
    samples = tables["samples"].filter(pc.not_equal(tables["samples"]["creator_id"], worst))
    before = rate_of(changed(evidence, tables, samples=samples), worst)
    after = rate_of(changed(evidence, tables, samples=samples, labels=turned), worst)
    assert after < 0.9 * before


def test_a_creator_whose_labels_have_not_come_yet_is_not_taken_for_innocent(
    evidence: Evidence, tables: Tables, creators: pa.Table
) -> None:
    worst = creators["creator_id"][int(np.argmax(numbers(creators, "violations")))].as_py()
    labels, samples = tables["labels"], tables["samples"]
    waiting = changed(
        evidence, tables, labels=labels.filter(pc.not_equal(labels["creator_id"], worst)),
        samples=samples.filter(pc.not_equal(samples["creator_id"], worst)),
    )  # fmt: skip
    usual = float(np.median(numbers(creators, "mean")))
    assert rate_of(waiting, worst) > 3.0 * usual


def test_what_machines_decided_by_themselves_teaches_nothing(
    evidence: Evidence, tables: Tables, learned: Learned
) -> None:
    labels = tables["labels"]
    machine = pc.not_equal(labels["actor"], "human")
    flipped = labels.set_column(
        labels.schema.get_field_index("violation"), "violation", pc.and_(labels["violation"], pc.invert(machine))
    )
    again = rates.learn(changed(evidence, tables, labels=flipped), NOBODY)
    error = np.sqrt(np.diag(learned.model.covariance))
    assert (np.abs(again.model.coefficients - learned.model.coefficients) < 0.3 * error).all()
    np.testing.assert_allclose(again.factors.mean, learned.factors.mean, rtol=0.15)


def test_a_content_is_no_evidence_against_its_creator_when_it_is_judged_itself(
    evidence: Evidence, tables: Tables, contents: pa.Table
) -> None:
    quiet = contents.sort_by([("probability", "ascending"), ("content_id", "ascending")]).slice(0, 1).to_pylist()[0]
    rows = tables["contents"]
    mine = pc.equal(rows["content_id"], quiet["content_id"])
    loud = rows.set_column(
        rows.schema.get_field_index("model_score"), "model_score", pc.if_else(mine, 0.9, rows["model_score"])
    )
    after = propensity.contents(changed(evidence, tables, contents=loud), NOBODY)
    now = after.filter(pc.field("content_id") == quiet["content_id"]).to_pylist()[0]
    assert now["probability"] > 1_000 * quiet["probability"]
    assert now["creator_factor"] == pytest.approx(quiet["creator_factor"], rel=0.1)


def test_members_of_a_cluster_are_suspected_with_it(evidence: Evidence, twin_folder: Path, creators: pa.Table) -> None:
    planted = pq.read_table(twin_folder / "ground_truth" / "clusters.parquet")
    clusters = pa.table({
        "cluster": pc.cast(planted["cluster"], pa.string()), "creator_id": planted["creator_id"],
    })  # fmt: skip
    members = pc.is_in(creators["creator_id"], clusters["creator_id"])
    assert pc.sum(members).as_py() >= 2
    together = propensity.creators(evidence, clusters).sort_by("creator_id")
    cohort, inside = numbers(together, "cohort_mean"), members.to_numpy()
    assert cohort[inside].min() > 5.0 * np.median(cohort[~inside])
    assert (cohort / numbers(creators, "cohort_mean"))[inside].min() > 1.5
    assert together.filter(members)["cluster"].null_count == 0


def test_a_wave_of_a_cohort_is_expected_of_all_of_it_and_of_nobody_else(learned: Learned) -> None:
    """The twin's wave is of counterfeits in beauty in Indonesia."""
    market, category = (np.array(learned.rows[c].to_pylist()) for c in ("market", "category"))
    inside = (market == "ID") & (category == "beauty")
    assert learned.usual_now.extra[inside].min() > 0.04
    assert learned.usual_now.extra[~inside].mean() < 0.01
    policies = np.array(learned.policies)
    assert policies[learned.wave_now[inside].sum(axis=0).argmax()] == "counterfeit"
    assert learned.usual_now.of(0.0)[inside].min() > 0.04, "whoever hardly ever broke a rule"
    others = ~learned.turned
    assert learned.cohort_wave(learned.usual_now)[inside & others].min() > 0.04
    assert learned.cohort_wave(learned.usual_now)[~others].max(initial=0.0) < 1e-9, "what they do is no wave"


def test_a_content_dated_after_now_is_of_today(evidence: Evidence, tables: Tables, learned: Learned) -> None:
    rows, ahead = tables["contents"], pa.scalar(evidence.now + dt.timedelta(hours=3), pa.timestamp("us"))
    published = pc.if_else(pc.equal(rows["published_at"], pc.max(rows["published_at"])), ahead, rows["published_at"])
    moved = rows.set_column(rows.schema.get_field_index("published_at"), "published_at", published)
    wrong = rates.learn(changed(evidence, tables, contents=moved), NOBODY)
    np.testing.assert_allclose(wrong.wave_now, learned.wave_now, atol=1e-3)


def test_days_on_which_nothing_is_published_are_days_too(evidence: Evidence, tables: Tables) -> None:
    until = pa.scalar(evidence.now - dt.timedelta(days=6), pa.timestamp("us"))
    old = tables["contents"].filter(pc.less(tables["contents"]["published_at"], until))
    silent = rates.learn(changed(evidence, tables, contents=old), NOBODY)
    assert 0.5 < silent.wave_now.max() < 0.95 * silent.wave.max(), "what went on then may be over"


def test_what_will_be_violated_is_what_a_wave_violates_and_counts_as_far_as_it_gets_through(
    evidence: Evidence, learned: Learned
) -> None:
    """The twin's wave is of counterfeits, which are severe."""
    plain = propensity.creators(evidence, NOBODY, learned)
    wave = (pc.field("market") == "ID") & (pc.field("category") == "beauty")
    inside, outside = (numbers(plain.filter(x), "severity") for x in (wave, ~wave))
    assert inside.mean() > 1.25 * outside.mean()
    half = propensity.creators(evidence, NOBODY, learned, dict.fromkeys(evidence.review.severity, 0.5))
    np.testing.assert_allclose(numbers(half, "severity"), numbers(plain, "severity") / 2)
    without = propensity.creators(evidence, NOBODY, learned, {"severe": 0.1})
    assert (numbers(without, "severity") < numbers(plain, "severity")).all()


def test_a_wave_over_a_cohort_makes_nobody_a_repeater() -> None:
    usual = rates.Usual(np.array([0.05]), np.array([0.30]))
    np.testing.assert_allclose(usual.of(0.1), 0.305)
    np.testing.assert_allclose(usual.of(4.0), 0.5)
    n = 40
    chance = rates.Usual(np.tile(usual.base, n), np.tile(usual.extra, n))
    evidence, weight = np.where(np.arange(n) % 3 == 0, 6.0, -6.0), np.ones(n)  # a third violates: what the wave brings
    posterior = rates._creators(
        chance, chance.extra, evidence, weight, np.repeat([0, 1], n // 2), np.array([0, n // 2])
    )[0]
    assert (posterior.mean < 2.0).all()


def test_severity_and_policy_follow_what_is_reported(contents: pa.Table, evidence: Evidence) -> None:
    weights = evidence.review.severity.values()
    severity = numbers(contents, "severity")
    assert severity.min() >= min(weights)
    assert severity.max() <= max(weights)
    loud = contents.filter((pc.field("reports") >= 2) & pc.field("violative"))
    assert loud.num_rows >= 3
    agrees = pc.mean(pc.equal(loud["policy"], loud["true_policy"]).cast(pa.float64())).as_py()
    assert agrees > 0.6


def test_products_violate_as_often_as_predicted_and_unauthorised_brands_more(
    evidence: Evidence, learned: Learned, truth: pa.Table, twin_folder: Path
) -> None:
    made = products.products(evidence, NOBODY, learned)
    a, b = numbers(made, "shape_a"), numbers(made, "shape_b")
    np.testing.assert_allclose(a / (a + b), numbers(made, "probability"))
    authorised = made["brand_authorised"].to_numpy()
    probability = numbers(made, "probability")
    assert probability[~authorised].mean() > 1.5 * probability[authorised].mean()
    videos = pq.read_table(twin_folder / "videos" / "videos.parquet", columns=["content_id", "product_ids"])
    later = evidence.query(
        f"""
        SELECT probability, count(*) AS n, count(*) FILTER (violative) AS k FROM (
            SELECT DISTINCT content_id, unnest(string_split(product_ids, ',')) AS product_id FROM v
        ) JOIN t USING (content_id) JOIN p USING (product_id) WHERE day > DATE '{evidence.day}'
        GROUP BY product_id, probability ORDER BY probability
        """,
        v=videos, t=truth, p=made,
    )  # fmt: skip
    n, k, p = (numbers(later, c) for c in ("n", "k", "probability"))
    predicted = np.sum(n * p)
    assert k.sum() == pytest.approx(predicted, abs=5.0 * np.sqrt(predicted))
    half = len(p) // 2
    assert k[half:].sum() / n[half:].sum() > 1.5 * k[:half].sum() / n[:half].sum()


def test_young_orders_count_by_what_is_known_of_them(evidence: Evidence) -> None:
    arrived = products._arrived(evidence)
    share = numbers(arrived, "share")
    assert (np.diff(share) >= 0).all()
    assert share[-1] == 1.0
    assert share[0] < 0.5


def content(number: int, creator: str = "c1", **values: object) -> dict[str, object]:
    published = dt.datetime(2026, 8, 19, 5)
    return {
        "content_id": f"v{number}", "creator_id": creator, "market": "ID", "category": "beauty", "tier": "nano",
        "kind": "video", "published_at": published, **values,
    }  # fmt: skip


@pytest.mark.parametrize("roles", [tuple(ROLES), ("contents", "traffic", "labels")])
def test_without_scores_what_was_found_is_suspected_and_what_was_passed_over_hardly(
    evidence: Evidence, tables: Tables, truth: pa.Table, roles: tuple[str, ...]
) -> None:
    unscored = tables["contents"].drop_columns("model_score")
    given = {name: tables[name] for name in roles} | {"contents": unscored}
    found = rates.learn(Evidence.of_tables(evidence.day, evidence.review, **given), NOBODY)
    violation = numbers(found.rows, "violation")
    guilty, passed = found.probability[violation == 1], found.probability[np.isnan(violation)]
    assert guilty.mean() > 0.2 and guilty.mean() > 10 * passed.mean()
    assert guilty.mean() > 10 * found.probability[violation == 0].mean()
    violative = pc.is_in(found.rows["content_id"], truth.filter(pc.field("violative"))["content_id"])
    share = float(np.mean(violative.to_numpy(zero_copy_only=False)[np.isnan(violation)]))
    assert share / 5 < passed.mean() < 5 * share
    assert found.usual.base.mean() > 0.2 * np.mean(violation == 1), "found violations are not forgotten"


def test_without_any_label_or_score_estimates_are_vague_but_there(marketplace: Catalog) -> None:
    review = marketplace.review
    assert isinstance(review, Review)
    day = dt.date(2026, 8, 20)
    nothing = Evidence.of_tables(day, review)
    for estimate in (propensity.contents, propensity.creators, products.products):
        assert estimate(nothing, NOBODY).num_rows == 0
    e = Evidence.of_tables(day, review, contents=pa.Table.from_pylist([content(1), content(2), content(3, "c2")]))
    found = propensity.contents(e, NOBODY)
    assert found.num_rows == 3
    assert (numbers(found, "log_odds_error") > 2.0).all()
    assert propensity.creators(e, NOBODY).num_rows == 2
