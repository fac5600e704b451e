"""The lists of a day: which clusters, creators, contents and products to review, and why.

A case is scored by the harm that dealing with it averts per minute of review::

    harm = probability x exposure x severity x (1 + repeat + velocity) + harm_per_dollar x probability x gmv
    score = harm / minutes

with every term in a column of :data:`REVIEWS`. A case of several parts (a creator's contents, and the posts to come)
has the sum of its parts' harm; its terms are means over the views, so that the formula holds for it too. Repeat is the
creator's confirmed violations of 90 days over six, at most 1: six times in 90 days may cost permission. Velocity is
that of :mod:`health_pipeline.risks.exposure`. Of what is yet to be posted only what moderation lets through can be
averted: severity has that share in it. How much harm the order averts: docs/risk-ranking.md.

Lists are filled one after another (:mod:`health_pipeline.stats.allocation`): clusters, whose members are then dealt
with; creators, each with those of their contents that are worth the minutes; contents and products that no listed case
covers. What is below the line stays, not selected. The chance of being listed is given what earlier lists hold.

Intervals are 90 %, from draws of what is not known: how often a creator breaks the rules, waves, pace and audiences
(:mod:`health_pipeline.risks.outlook`). They hold what is to be expected, not what luck makes of it: nobody needs to
explore luck. Exploration goes by the same draws. A creator's contents are drawn as if one told nothing of the other.

Scores are no labels and nobody is punished by one: a list says where to look first. No column of it comes from what a
person is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from health_pipeline.catalog.model import Catalog, Queue
from health_pipeline.incidents import wording
from health_pipeline.risks import exposure, policies, products, propensity, rates
from health_pipeline.risks.columns import Codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.outlook import Outlook
from health_pipeline.risks.schema import REVIEWS
from health_pipeline.stats.allocation import allocate
from health_pipeline.stats.arrays import Array

REASONS = {
    "shared_traces": "its members share products, words, sounds or pictures that others don't",
    "in_cluster": "its creator belongs to a cluster",
    "model_score": "the moderation model's score is high",
    "reported": "users reported it",
    "trusted_report": "a trusted flagger reported it",
    "repeat_offender": "confirmed violations of the same creator in 90 days",
    "risky_creator": "the creator violates more often than their cohort",
    "risky_segment": "such contents usually violate more often than others",
    "wave": "such contents violate more often than they used to: a wave of their cohort or cluster",
    "risky_product": "more bad orders than such products have",
    "unauthorised_brand": "the brand is not authorised",
    "restricted_product": "the product is restricted",
    "severe_policy": "the policy weighs more than others",
    "large_audience": "many views to come",
    "fast_growing": "more views lately than expected",
    "gmv_at_risk": "much is sold through it",
}
"""Reason codes and what they say. A case has up to three: what raises its score most, by half or more each."""
MOST_REASONS = 3
RAISES = float(np.log(1.5))

Draws = NDArray[np.floating]

DRAWS = 200
SIX_TIMES = 6.0
INTERVAL = (0.05, 0.95)
EXAMPLES = 5
GMV_DAYS = 28
FEWEST_ITEMS = 3
"""A creator is not judged without so many of the contents that are still shown being looked at."""
BELOW = 1_000
"""Cases below the line that are kept of each queue."""


@dataclass(frozen=True)
class Estimates:
    """Tables of one day.

    Attributes:
        contents, creators: of :mod:`health_pipeline.risks.propensity`.
        products: of :mod:`health_pipeline.risks.products`.
        content_exposure, creator_exposure: of :mod:`health_pipeline.risks.exposure`.
        outlook: what may be of the ``creators``, in their order.
    """

    contents: pa.Table
    creators: pa.Table
    products: pa.Table
    content_exposure: pa.Table
    creator_exposure: pa.Table
    outlook: Outlook


def estimate(e: Evidence, clusters: pa.Table) -> Estimates:
    """Everything that the lists are made of."""
    learned = rates.learn(e, clusters)
    mix = policies.policies(e, learned)
    audience = exposure.learn(e)
    alive = exposure.contents(e, audience)
    passing = exposure.passing(e, audience)
    return Estimates(
        propensity.contents(e, clusters, learned, mix), propensity.creators(e, clusters, learned, passing, mix),
        products.products(e, clusters, learned), alive, exposure.creators(e, audience, alive, clusters),
        propensity.outlook(learned, mix, passing),
    )  # fmt: skip


@dataclass
class _Cases:
    """N cases of a queue.

    Attributes:
        rows: columns of REVIEWS that are known before the list is filled, and ``creator`` and ``contents`` covered.
        harm: (N,) expected.
        draws: (DRAWS, N) harm as it may be.
        chances: (DRAWS, N) probability as it may be.
        weights: (N, R) log of the factor by which each of ``codes`` raises the harm.
    """

    rows: dict[str, Any]
    minutes: Array
    harm: Array
    draws: Draws
    chances: Draws
    codes: tuple[str, ...]
    weights: Array


def lists(e: Evidence, clusters: pa.Table, catalog: Catalog | None = None, made: Estimates | None = None) -> pa.Table:
    """The lists of a day.

    Args:
        clusters: of :mod:`health_pipeline.risks.clusters`, one row per member.
        catalog: for the words of sentences; else they have the values as they are.
        made: of :func:`estimate`.

    Returns:
        :data:`REVIEWS`: by queue and rank, every listed case and the first :data:`BELOW` below the line.
    """
    known = _Known(e, clusters, made or estimate(e, clusters))
    words = _Words(catalog)
    queues = {queue.name: queue for queue in e.review.queues}
    makers = (
        ("clusters", known.cluster_cases), ("creators", known.creator_cases), ("contents", known.content_cases),
        ("products", known.product_cases),
    )  # fmt: skip
    found = [
        _filled(e, known, name, make(queues[name]), queues[name], e.day.toordinal() * 10 + number, words)
        for number, (name, make) in enumerate(makers)
        if name in queues
    ]
    return pa.concat_tables([REVIEWS.empty_table(), *found])


class _Known:
    """Contents, creators and products with their estimates side by side, and which of them a listed case covers."""

    def __init__(self, e: Evidence, clusters: pa.Table, made: Estimates) -> None:
        self.review = e.review
        self.rng = np.random.default_rng(e.day.toordinal())
        self.contents = e.query(
            """
            SELECT p.*, x.* EXCLUDE content_id, coalesce(c.violations_90d, 0) AS violations_90d
            FROM p JOIN x USING (content_id) LEFT JOIN c USING (creator_id) ORDER BY p.creator_id, content_id
            """,
            p=made.contents, x=made.content_exposure, c=made.creators,
        )  # fmt: skip
        self.creators = e.query(
            """
            SELECT c.*, coalesce(posts_to_come, 0) AS posts_to_come, coalesce(views_per_post, 0) AS views_per_post,
                coalesce(expected_log_error, 0) AS expected_log_error, coalesce(gmv_28d, 0) AS gmv_28d
            FROM c LEFT JOIN x USING (creator_id) ORDER BY creator_id
            """,
            c=made.creators, x=made.creator_exposure,
        )  # fmt: skip
        # What shows a product today is gone in a week, and others show it then: its usual audience is what is to come.
        self.products = e.query(
            f"""
            WITH seen AS (SELECT content_id, greatest(sum(views), 0) AS views FROM traffic GROUP BY content_id),
            audience AS (
                SELECT unnest(string_split(product_ids, ',')) AS product_id, views
                FROM contents JOIN seen USING (content_id) WHERE product_ids IS NOT NULL
            ), usual AS (
                SELECT product_id, sum(views) * {self.review.horizon_days} / {GMV_DAYS} AS views_to_come
                FROM audience GROUP BY product_id
            ), shown AS (
                SELECT unnest(string_split(product_ids, ',')) AS product_id, content_id, severity, views_to_come, policy
                FROM k JOIN contents USING (content_id) WHERE product_ids IS NOT NULL
            ), each AS (
                SELECT product_id, arg_max(policy, views_to_come) AS policy, count(*) AS items,
                    sum(severity * views_to_come) / nullif(sum(views_to_come), 0) AS severity,
                    list(content_id ORDER BY views_to_come DESC, content_id)[:{EXAMPLES}] AS examples
                FROM shown GROUP BY product_id
            )
            SELECT p.*, coalesce(views_to_come, 0) AS views_to_come, coalesce(items, 0) AS items, policy,
                coalesce(severity, (SELECT avg(severity) FROM k), 1) AS severity, coalesce(examples, []) AS examples
            FROM p LEFT JOIN usual USING (product_id) LEFT JOIN each USING (product_id) ORDER BY product_id
            """,
            p=made.products, k=self.contents,
        )  # fmt: skip
        # A creator of several clusters counts with the one they share most with.
        self.members = e.query(
            """
            SELECT m.cluster, m.creator_id, first_value(m.traces) OVER (PARTITION BY m.cluster ORDER BY m.creator_id)
                AS traces
            FROM m SEMI JOIN c USING (creator_id)
            QUALIFY row_number() OVER (PARTITION BY m.creator_id ORDER BY m.share DESC, m.score DESC, m.cluster) = 1
            ORDER BY m.cluster, m.creator_id
            """,
            m=clusters, c=made.creators,
        )  # fmt: skip
        ids = self.creators["creator_id"].to_pylist()
        # What a reviewer sees of who shows nothing that is undecided.
        newest = e.query(
            f"""
            SELECT creator_id, list(content_id ORDER BY published_at DESC, content_id)[:{EXAMPLES}] AS newest
            FROM contents SEMI JOIN c USING (creator_id) WHERE published_at < TIMESTAMP '{e.now}' GROUP BY creator_id
            """,
            c=self.creators,
        )
        self.newest = dict(zip(newest["creator_id"].to_pylist(), newest["newest"].to_pylist(), strict=True))
        place = {name: i for i, name in enumerate(ids)}
        self.creator = np.array([place[c] for c in self.contents["creator_id"].to_pylist()], np.int64)
        self.member = np.array([place[c] for c in self.members["creator_id"].to_pylist()], np.int64)
        self.covered_creator = np.zeros(len(ids), bool)
        self.covered_content = np.zeros(self.contents.num_rows, bool)

        item, creator = partial(numbers, self.contents), partial(numbers, self.creators)
        repeat = np.minimum(item("violations_90d") / SIX_TIMES, 1.0)
        self.factor = 1.0 + repeat + item("velocity")
        self.sold = item("gmv_rate") * item("views_to_come")
        self.load = item("views_to_come") * item("severity") * self.factor + self.review.harm_per_dollar * self.sold
        self.chances = special.expit(self._normal(item("log_odds"), item("log_odds_error")))
        self.draws = np.multiply(self.chances, self.load, dtype=np.float32)
        self.draws *= self._mean_one(item("expected_log_error"))
        self.harm = item("probability") * self.load
        # What a creator will post: as many violations a post as they are believed to make, with their usual audience.
        self.repeat = np.minimum(creator("violations_90d") / SIX_TIMES, 1.0)
        views = creator("posts_to_come") * creator("views_per_post")
        alive = np.bincount(self.creator, self.sold, len(ids))
        to_sell = np.maximum(creator("gmv_28d") * self.review.horizon_days / GMV_DAYS - alive, 0.0)
        self.later_views, self.later_sold = views, to_sell
        self.later_load = views * creator("severity") * (1.0 + self.repeat) + self.review.harm_per_dollar * to_sell
        self.rate = np.minimum(creator("shape") / creator("rate"), 1.0)
        self.later_chances, self.later_draws = made.outlook.draws(DRAWS, self.rng)
        most = np.maximum(self.later_chances, 1.0)
        self.later_chances /= most
        # A cluster's accounts are steered by one hand: what is not known of their pace and audiences is one thing.
        cluster = self.creators["cluster"].to_pylist()
        together = np.unique([c or f" {i}" for i, c in enumerate(cluster)], return_inverse=True)[1]
        self.later_draws *= views * (1.0 + self.repeat) / most
        self.later_draws *= self._mean_one(creator("expected_log_error"), together)
        self.later_draws += self.review.harm_per_dollar * to_sell * self.later_chances

    def _normal(self, mean: Array, error: Array, group: Codes | None = None) -> Draws:
        """(DRAWS, N) normal; those of a group (codes from 0) are all as far from their means."""
        count = len(mean) if group is None else int(group.max(initial=-1)) + 1
        drawn = self.rng.standard_normal((DRAWS, count), np.float32)
        drawn = drawn if group is None else drawn[:, group]
        drawn *= error.astype(np.float32)
        drawn += mean.astype(np.float32)
        return drawn

    def _mean_one(self, log_error: Array, group: Codes | None = None) -> Draws:
        """(DRAWS, N) log-normal with mean 1, as :meth:`_normal`."""
        return np.exp(self._normal(-0.5 * log_error**2, log_error, group))

    def content_cases(self, queue: Queue) -> _Cases:
        """A case for each content that no listed case covers."""
        there = np.flatnonzero(~self.covered_content)
        rows, item = self.contents.take(pa.array(there)), partial(numbers, self.contents.take(pa.array(there)))
        p = item("probability")
        score = np.nan_to_num(item("model_score"), nan=0.5)
        typical = np.median(score) if len(score) else 0.5
        codes = (
            "model_score", "reported", "trusted_report", "repeat_offender", "risky_creator", "risky_segment",
            "wave", "in_cluster", "severe_policy", "large_audience", "fast_growing", "gmv_at_risk",
        )  # fmt: skip
        prior = item("prior_probability")
        usual = np.maximum(prior - item("prior_wave"), 1e-9)
        weights = np.column_stack([
            _logit(score) - _logit(np.full(len(p), typical)), np.log1p(item("reports")),
            np.log(8.0) * (item("trusted_reports") > 0),
            np.log1p(np.minimum(item("violations_90d"), SIX_TIMES)), _log(item("creator_factor")),
            _log(usual / float(np.mean(usual))) if len(p) else p, _log(prior / usual),
            np.where(rows["cluster"].is_valid().to_numpy(), np.log(4.0), 0.0),
            _over(item("severity")), _over(item("views_to_come")), np.log1p(2.0 * item("velocity")),
            _over(self.sold[there]) * (self.review.harm_per_dollar * self.sold[there] > self.load[there] / 3.0),
        ])  # fmt: skip
        kind = rows["kind"].to_pylist()
        return _Cases(
            {
                **_where(rows), "subject": rows["content_id"].to_pylist(), "probability": p,
                "exposure": item("views_to_come"), "severity": item("severity"),
                "repeat": np.minimum(item("violations_90d") / SIX_TIMES, 1.0), "velocity": item("velocity"),
                "gmv": self.sold[there], "items": np.ones(len(p)), "policy": rows["policy"].to_pylist(),
                "examples": [[c] for c in rows["content_id"].to_pylist()],
                "kind": kind,
                "creator": rows["creator_id"].to_pylist(), "confirmed": item("violations_90d"),
                "reports": item("reports"), "content_places": [[int(i)] for i in there],
                "creator_places": [[]] * len(p),
            },
            np.full(len(p), queue.minutes_per_case), self.harm[there], self.draws[:, there],
            self.chances[:, there], codes, weights,
        )  # fmt: skip

    def creator_cases(self, queue: Queue) -> _Cases:
        """A case for each creator whom no listed cluster covers, with those of their contents worth the minutes."""
        there = np.flatnonzero(~self.covered_creator)
        groups = [self._worth(int(c), queue) for c in there]
        return self._grouped(queue, [[int(c)] for c in there], groups, self.creators["creator_id"].take(there), None)

    def cluster_cases(self, queue: Queue) -> _Cases:
        """A case for each cluster, with all that its members show and will post."""
        names = self.members["cluster"].to_pylist()
        unique = list(dict.fromkeys(names))
        places = [[int(c) for c, n in zip(self.member, names, strict=True) if n == name] for name in unique]
        shown = [np.flatnonzero(np.isin(self.creator, p)) for p in places]
        traces = dict(zip(names, self.members["traces"].to_pylist(), strict=True))
        return self._grouped(queue, places, shown, pa.array(unique, pa.string()), [traces[n] for n in unique])

    def _worth(self, creator: int, queue: Queue) -> Codes:
        """Contents of a creator that raise the case's harm per minute, and some to look at in any case."""
        first, last = np.searchsorted(self.creator, [creator, creator + 1])
        own: Codes = np.arange(int(first), int(last))[~self.covered_content[first:last]]
        if not len(own):
            return own
        own = own[np.argsort(-self.harm[own], kind="stable")].astype(np.int64)
        later = self.rate[creator] * self.later_load[creator]
        minutes = queue.minutes_per_case + queue.minutes_per_item * np.arange(len(own) + 1)
        per_minute = (later + np.concatenate([[0.0], np.cumsum(self.harm[own])])) / minutes
        return own[: max(int(per_minute.argmax()), FEWEST_ITEMS)]

    def _grouped(
        self, queue: Queue, creators: list[list[int]], contents: list[Codes], subjects: pa.Array,
        traces: list[str] | None,
    ) -> _Cases:  # fmt: skip
        n = len(creators)
        item, creator = partial(numbers, self.contents), partial(numbers, self.creators)
        of_content = np.repeat(np.arange(n), [len(c) for c in contents])
        places = np.concatenate([*contents, np.zeros(0, np.int64)]).astype(np.int64)
        of_creator = np.repeat(np.arange(n), [len(c) for c in creators])
        who = np.array([c for group in creators for c in group], np.int64)

        def total(by_content: Array, by_creator: Array) -> Array:
            summed: Array = np.bincount(of_content, by_content[places], n).astype(float)
            return summed + np.bincount(of_creator, by_creator[who], n)

        harm = total(self.harm, self.rate * self.later_load)
        views = total(item("views_to_come"), self.later_views)
        likely = total(item("views_to_come") * item("probability"), self.later_views * self.rate)
        weighed = total(
            item("views_to_come") * item("probability") * item("severity"),
            self.later_views * self.rate * creator("severity"),
        )
        harmful = item("views_to_come") * item("probability") * item("severity")
        repeated = total(
            harmful * np.minimum(item("violations_90d") / SIX_TIMES, 1.0),
            self.later_views * self.rate * creator("severity") * self.repeat,
        )
        grown = total(harmful * item("velocity"), np.zeros(len(self.rate)))
        repeat, velocity = (np.divide(x, weighed, where=weighed > 0, out=np.zeros(n)) for x in (repeated, grown))
        draws, chances = np.zeros((DRAWS, n)), np.zeros((DRAWS, n))
        for s in range(DRAWS):
            draws[s] = total(self.draws[s], self.later_draws[s])
            chances[s] = total(self.chances[s] * item("views_to_come"), self.later_chances[s] * self.later_views)
        chances = np.divide(chances, views, where=views > 0, out=np.zeros_like(chances))
        members = np.bincount(of_creator, minlength=n).astype(float)
        mean = np.divide(likely, views, where=views > 0, out=np.bincount(of_creator, self.rate[who], n) / members)
        severity = np.divide(weighed, likely, where=likely > 0, out=np.ones(n))
        best = np.array([g[int(np.argmax((self.rate * self.later_load)[g]))] for g in creators], np.int64)
        fastest = np.array([float(item("velocity")[c].max()) if len(c) else 0.0 for c in contents])
        looked = members if traces is not None else np.bincount(of_content, minlength=n).astype(float)
        confirmed = np.bincount(of_creator, creator("violations_90d")[who], n)
        rows = self.creators.take(pa.array(best))
        sold = total(item("probability") * self.sold, self.rate * self.later_sold)
        cohort = np.bincount(of_creator, (self.rate / np.maximum(creator("cohort_mean"), 1e-9))[who], n) / members
        codes = (
            "shared_traces", "repeat_offender", "risky_creator", "risky_segment", "wave", "in_cluster",
            "severe_policy", "large_audience", "fast_growing", "gmv_at_risk",
        )  # fmt: skip
        like = creator("cohort_mean")
        usual = np.maximum(like - creator("cohort_wave"), 1e-9)
        typical = float(np.mean(usual)) if len(usual) else 1.0
        weights = np.column_stack([
            np.full(n, 9.0 if traces is not None else 0.0), np.log1p(np.minimum(confirmed, SIX_TIMES)), _log(cohort),
            _log(usual[best] / typical), _log((like / usual)[best]),
            np.where(rows["cluster"].is_valid().to_numpy() & (traces is None), np.log(4.0), 0.0), _over(severity),
            _over(views), np.log1p(2.0 * fastest), _over(sold) * (self.review.harm_per_dollar * sold > harm / 3.0),
        ])  # fmt: skip
        ids, order = self.contents["content_id"], [np.argsort(-self.harm[c], kind="stable") for c in contents]
        examples = [
            ids.take(pa.array(c[o][:EXAMPLES])).to_pylist() or self.newest.get(who, [])
            for c, o, who in zip(contents, order, rows["creator_id"].to_pylist(), strict=True)
        ]
        return _Cases(
            {
                **_where(rows), "subject": subjects.to_pylist(), "probability": mean, "exposure": views,
                "severity": severity, "repeat": repeat, "velocity": velocity,
                "gmv": np.divide(sold, mean, where=mean > 0, out=np.zeros(n)), "items": looked,
                "policy": rows["policy"].to_pylist(),
                "examples": examples, "confirmed": confirmed, "traces": traces or [""] * n,
                "content_places": [np.flatnonzero(np.isin(self.creator, g)).tolist() for g in creators]
                if traces is not None else [self._own(g[0]) for g in creators],
                "creator_places": creators,
            },
            queue.minutes_per_case + queue.minutes_per_item * looked, harm, draws, chances, codes, weights,
        )  # fmt: skip

    def _own(self, creator: int) -> list[int]:
        first, last = np.searchsorted(self.creator, [creator, creator + 1])
        return list(range(int(first), int(last)))

    def product_cases(self, queue: Queue) -> _Cases:
        """A case for each product, about the contents that show it."""
        rows, item = self.products, partial(numbers, self.products)
        p, views, n = item("probability"), item("views_to_come"), self.products.num_rows
        sold = item("gmv_28d") * self.review.horizon_days / GMV_DAYS
        load = views * item("severity") + self.review.harm_per_dollar * sold
        chances = self.rng.beta(item("shape_a"), item("shape_b"), (DRAWS, n))
        unauthorised = ~np.asarray(rows["brand_authorised"].fill_null(True).to_numpy(zero_copy_only=False), bool)
        restricted = np.asarray(rows["restricted"].fill_null(False).to_numpy(zero_copy_only=False), bool)
        codes = (
            "risky_product",
            "unauthorised_brand",
            "restricted_product",
            "severe_policy",
            "large_audience",
            "gmv_at_risk",
        )
        weights = np.column_stack([
            _log(p / np.maximum(item("cohort_mean"), 1e-9)), np.log(4.0) * unauthorised, np.log(2.0) * restricted,
            _over(item("severity")), _over(views), _over(sold) * (self.review.harm_per_dollar * sold > load / 3.0),
        ])  # fmt: skip
        zeros = np.zeros(n)
        return _Cases(
            {
                "market": rows["market"].to_pylist(), "category": rows["category"].to_pylist(), "tier": [None] * n,
                "subject": rows["product_id"].to_pylist(), "probability": p, "exposure": views,
                "severity": item("severity"), "repeat": zeros, "velocity": zeros, "gmv": sold, "items": item("items"),
                "policy": rows["policy"].to_pylist(), "examples": rows["examples"].to_pylist(),
                "orders": item("orders"), "bad": item("bad"), "content_places": [[]] * n, "creator_places": [[]] * n,
            },
            np.full(n, queue.minutes_per_case), p * load, chances * load, chances, codes, weights,
        )  # fmt: skip


def _filled(e: Evidence, known: _Known, name: str, cases: _Cases, queue: Queue, seed: int, words: _Words) -> pa.Table:
    """Fill a queue's minutes, mark what its cases cover, and write the rows."""
    n = len(cases.harm)
    if not n:
        return REVIEWS.empty_table()
    chosen = allocate(
        cases.harm, cases.minutes, queue.minutes_per_day, explore=e.review.explore, draws=cases.draws, seed=seed
    )
    for i in np.flatnonzero(chosen.listed):
        known.covered_creator[np.array(cases.rows["creator_places"][i], np.int64)] = True
        known.covered_content[np.array(cases.rows["content_places"][i], np.int64)] = True
    score = cases.harm / cases.minutes
    ranked = np.argsort(-score, kind="stable")
    place = np.empty(n, np.int64)
    place[ranked] = np.arange(n)
    kept = np.flatnonzero(chosen.listed | ((place < BELOW + int(chosen.listed.sum())) & (cases.harm > 0)))
    kept = kept[np.argsort(place[kept], kind="stable")]
    low, high = np.quantile(cases.draws[:, kept], INTERVAL, axis=0) / cases.minutes[kept]
    p_low, p_high = np.quantile(cases.chances[:, kept], INTERVAL, axis=0)
    rows = {
        f.name: [cases.rows[f.name][i] for i in kept] for f in REVIEWS if f.name in cases.rows
    } | {
        "day": [e.day] * len(kept), "queue": [name] * len(kept), "rank": place[kept] + 1,
        "case": [f"{name}:{cases.rows['subject'][i]}" for i in kept], "score": score[kept], "score_low": low,
        "score_high": high, "probability_low": p_low, "probability_high": p_high, "minutes": cases.minutes[kept],
        "harm": cases.harm[kept], "selected": chosen.listed[kept], "explored": chosen.explored[kept],
        "chance": chosen.chance[kept], "reasons": [_reasons(cases, int(i)) for i in kept],
        "sentence": [words.sentence(name, {k: v[i] for k, v in cases.rows.items()}, low, high)
                     for i, low, high in zip(kept, p_low, p_high, strict=True)],
    }  # fmt: skip
    return pa.table([pa.array(rows[f.name], from_pandas=True).cast(f.type) for f in REVIEWS], schema=REVIEWS)


def _reasons(cases: _Cases, i: int) -> list[str]:
    order = np.argsort(-cases.weights[i], kind="stable")[:MOST_REASONS]
    return [cases.codes[k] for k in order if cases.weights[i, k] >= RAISES]


def _where(rows: pa.Table) -> dict[str, list[object]]:
    return {name: rows[name].to_pylist() for name in ("market", "category", "tier")}


def _log(ratio: Array) -> Array:
    found: Array = np.log(np.maximum(ratio, 1e-9))
    return found


def _logit(chance: Array) -> Array:
    found: Array = special.logit(np.clip(chance, 1e-6, 1.0 - 1e-6))
    return found


def _over(values: Array) -> Array:
    """Log of how many times the median of what is positive a value is."""
    positive = values[values > 0]
    return _log(values / float(np.median(positive))) if len(positive) else np.zeros(len(values))


class _Words:
    """Sentences about cases."""

    def __init__(self, catalog: Catalog | None) -> None:
        self.labels = {d.name: d for d in catalog.dimensions} if catalog else {}

    def label(self, dimension: str, value: object) -> str:
        known = self.labels.get(dimension)
        return known.label(str(value)) if known else str(value)

    def sentence(self, queue: str, row: dict[str, object], low: float, high: float) -> str:
        """``Video v42 by c7 (Indonesia, beauty): 34 % likely to violate (counterfeit; 90 % CI 12 % to 61 %); …``"""
        where = ", ".join(self.label(d, row[d]) for d in ("market", "category") if row[d])
        policy = f"{self.label('policy', row['policy'])}; " if row["policy"] else ""
        chance = wording.share(_number(row["probability"]))
        sure = f"{policy}90 % CI {wording.share(low)} to {wording.share(high)}"
        views = f"{wording.number(_number(row['exposure']))} views to come"
        more = []
        if queue == "contents":
            what = f"{str(row['kind']).capitalize()} {row['subject']} by {row['creator']} ({where})"
            what += f": {chance} likely to violate ({sure})"
            more = [views, *_confirmed(row)]
            if _number(row["reports"]):
                more.append(f"reported {_times(_number(row['reports']))}")
        elif queue == "creators":
            what = f"Creator {row['subject']} ({where}): of {views}, {chance} in violation ({sure})"
            shown = int(_number(row["items"]))
            seen = wording.count(shown, "content") + " to look at" if shown else "none undecided: see the newest"
            more = [seen, *_confirmed(row)]
        elif queue == "clusters":
            what = f"Cluster of {wording.count(int(_number(row['items'])), 'account')} ({where}): {row['traces']}"
            more = [f"of {views}, {chance} in violation ({sure})", *_confirmed(row)]
        else:
            what = f"Product {row['subject']} ({where}): {chance} of what shows it in violation ({sure})"
            more = [views, f"{int(_number(row['bad'])):,} of {wording.count(int(_number(row['orders'])), 'order')} bad"]
        if _number(row["gmv"]) >= 1.0:
            more.append(f"{wording.number(_number(row['gmv']))} US dollars at risk")
        return "; ".join([what, *more]) + "."


def _number(value: object) -> float:
    return float(value)  # type: ignore[arg-type]


def _confirmed(row: dict[str, object]) -> Sequence[str]:
    number = int(_number(row["confirmed"]))
    return [f"{wording.count(number, 'confirmed violation')} in 90 days"] if number else []


def _times(number: float) -> str:
    return {1: "once", 2: "twice"}.get(int(number), f"{number:,.0f} times")
