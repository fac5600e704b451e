"""How likely contents, creators and products are to violate a policy, from what was known by the end of a day.

One model for contents and creators. Creator c breaks the rules θ times as often as is usual for what they post; content
i of theirs violates with probability θ m, where m is the usual rate of its market, category, tier and kind. Whatever is
known of the content itself, its evidence, multiplies those odds by a likelihood ratio:

* what the moderation model thought of it, whether a machine acted on it, reports, views without reports, whether it
  repeats another: a logistic regression with log odds of θ m as offset. It is taught by contents that people labelled:
  drawn samples, and human decisions with the mistakes that raters find in them. Both were chosen by what the model
  knows (score, reports, views), so the choice does not bias it; labels that a machine gave itself never teach it;
* the label, if a person gave one: by how often people are right.

So a content without a label is no innocent content, neither one that still waits for its reviewer nor one that no
machine can see: each counts by its evidence. That corrects for late labels, and for actions on what was detected only.
θ has a prior of any shape, fitted to all creators (:mod:`health_pipeline.stats.shrinkage`): where a few always break
the rules it ranks better than a gamma. A content that is a half-life old counts half. The usual rates m are pooled over
cohorts. A wave that comes over a whole cohort adds to them, is no part of them, and makes nobody a repeater
(:mod:`health_pipeline.risks.waves`). Rates, waves, θ and regression are fitted in turn, some rounds.

Nothing here uses what a person is: only what was published, and how that was judged.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse, special
from scipy.optimize import isotonic_regression

from health_pipeline.risks.columns import Codes, codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.outlook import Outlook, Series
from health_pipeline.risks.waves import Cohort, speaks, turned, waves
from health_pipeline.stats import logistic, shrinkage
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.shrinkage import Gridded
from health_pipeline.storage.columns import column

FACTORS = np.geomspace(0.02, 30.0, 48)
"""Points of θ: how many times as often as usual."""
ROUNDS = 4
LEAST, MOST = 1e-6, 0.97  # chances of a content before its own evidence
MOST_EVIDENCE = 9.0  # log likelihood ratio of a content's evidence
RATERS = (0.97, 0.998)  # sensitivity and specificity of raters of samples, who have time
HUMANS = ((19.0, 1.0), (39.0, 1.0))  # what is believed of reviewers before raters have looked: right and wrong
KNOTS = (-4.0, -2.0, 0.0, 2.0)  # of the moderation model's log odds, between which the regression is linear
REPORTS = (1.0, 4.0, 12.0)  # the same of the logarithm of reports: many at once may be an attack on the innocent
TRAFFIC_DAYS = 28


CONTENTS = pa.schema(
    [
        column("content_id", pa.string(), "a content that is still shown and on which nobody has decided"),
        column("creator_id", pa.string(), "who published it"),
        column("market", pa.string(), "of the content"),
        column("category", pa.string(), "the same"),
        column("tier", pa.string(), "the same"),
        column("kind", pa.string(), "the same"),
        column("published_at", pa.timestamp("us"), "UTC"),
        column("probability", pa.float64(), "of a violation"),
        column("log_odds", pa.float64(), "centre of a normal whose draws, as probabilities, have that mean"),
        column("log_odds_error", pa.float64(), "its standard deviation"),
        column("severity", pa.float64(), "harm of one view if it violates, by the policies it may violate"),
        column("policy", pa.string(), "likeliest policy, if it violates"),
        column("reports", pa.int64(), "by users so far"),
        column("trusted_reports", pa.int64(), "of these, by trusted flaggers"),
        column("model_score", pa.float64(), "of the moderation model"),
        column("cluster", pa.string(), "of the creator"),
        column(
            "prior_probability", pa.float64(), "of such contents, whoever publishes them and whatever is known of them"
        ),
        column("prior_wave", pa.float64(), "of that, what a wave adds in such contents' cohort or cluster"),
        column("creator_factor", pa.float64(), "how many times as often its creator's other contents violate"),
    ]
)
CREATORS = pa.schema(
    [
        column("creator_id", pa.string(), "a creator with contents in the memory"),
        column("market", pa.string(), "of the newest content"),
        column("category", pa.string(), "of most contents"),
        column("tier", pa.string(), "of the newest content"),
        column("posts", pa.float64(), "contents, each counting by its age"),
        column("violations", pa.float64(), "of these, violations expected from all that is known"),
        column("shape", pa.float64(), "of a gamma as wide as violations per content of the near future"),
        column("rate", pa.float64(), "the same; its mean is shape / rate"),
        column("cohort_mean", pa.float64(), "violations per content of those who post the like"),
        column("cohort_wave", pa.float64(), "of these, what a wave adds in their cohort or cluster"),
        column("severity", pa.float64(), "harm of a violation to come, for each view it would have if nobody acted"),
        column("policy", pa.string(), "the policy they violate most"),
        column("violations_90d", pa.int64(), "confirmed in 90 days and not reversed"),
        column("last_violation_at", pa.timestamp("us"), "when the newest of them was decided, UTC"),
        column("cluster", pa.string(), "of the creator"),
    ]
)
PRODUCTS = pa.schema(
    [
        column("product_id", pa.string(), "a product that was ordered or shown in the memory"),
        column("shop_id", pa.string(), "who sells it"),
        column("market", pa.string(), "of the product"),
        column("category", pa.string(), "the same"),
        column("orders", pa.int64(), "in the memory"),
        column("bad", pa.int64(), "of these, refunded or complained about as what should not be sold"),
        column("probability", pa.float64(), "that a content that shows it violates a policy"),
        column("shape_a", pa.float64(), "of the beta posterior of that; its mean is a / (a + b)"),
        column("shape_b", pa.float64(), "the same"),
        column("cohort_mean", pa.float64(), "the same for such products"),
        column("violations", pa.int64(), "contents showing it that violated a policy as confirmed"),
        column("brand_authorised", pa.bool_(), "the shop may sell the brand"),
        column("restricted", pa.bool_(), "sale needs a permission"),
        column("gmv_28d", pa.float64(), "US dollars sold in 28 days"),
        column("creators", pa.int64(), "creators who show it"),
    ]
)


def _facts(e: Evidence, until: str) -> str:
    """SELECT of all contents with their labels, and with reports and views up to the instant ``until`` (SQL)."""
    watched = e.now - dt.timedelta(days=TRAFFIC_DAYS)
    return f"""
WITH decided AS (
    SELECT content_id, min(decided_at) AS decided_at, arg_max(violation, decided_at) AS violation,
        arg_max(actor, decided_at) AS actor, arg_max(policy, decided_at) AS policy,
        arg_max(views_at_action, decided_at) AS views_at_action
    FROM labels WHERE content_id IS NOT NULL GROUP BY content_id
), rated AS (
    SELECT content_id, min(drawn_at) FILTER (arm <> 'decisions') AS drawn_at,
        avg(violation::INT) > 0.5 AS rated, arg_max(policy, labelled_at) AS rated_policy
    FROM samples WHERE violation IS NOT NULL GROUP BY content_id
), member AS (
    SELECT creator_id, min(cluster) AS cluster FROM clusters GROUP BY creator_id
), base AS (
    SELECT c.content_id, c.creator_id, c.market, c.category, c.tier, c.kind, c.published_at, c.model_score, cluster,
        c.product_ids, coalesce(c.near_duplicate, false) AS near_duplicate,
        coalesce(c.ai_generated, false) AS ai_generated,
        decided_at, violation, actor, coalesce(actor <> 'human', false) AS machine, views_at_action, drawn_at, rated,
        coalesce(rated_policy, policy) AS policy, {until} AS until,
        c.published_at >= TIMESTAMP '{watched}' AS watched
    FROM contents c LEFT JOIN decided USING (content_id) LEFT JOIN rated USING (content_id)
        LEFT JOIN member USING (creator_id)
), filed AS (
    SELECT content_id, count(*) AS reports, count(*) FILTER (trusted) AS trusted_reports
    FROM reports JOIN base USING (content_id) WHERE filed_at < until GROUP BY content_id
), seen AS (
    SELECT content_id, sum(views) AS views FROM traffic JOIN base USING (content_id)
    WHERE hour < until GROUP BY content_id
), known AS (
    SELECT base.*, coalesce(reports, 0) AS reports, coalesce(trusted_reports, 0) AS trusted_reports,
        CASE WHEN watched THEN coalesce(views, 0) ELSE views_at_action END AS views
    FROM base LEFT JOIN filed USING (content_id) LEFT JOIN seen USING (content_id)
)
SELECT * REPLACE (coalesce(views, avg(views) OVER (PARTITION BY tier, kind), 0) AS views)
FROM known ORDER BY creator_id, published_at, content_id"""


FEATURES = (
    "intercept", "score unknown", "score", *(f"score above {k:g}" for k in KNOTS), "machine acted",
    "reported", *(f"log reports above {k:g}" for k in REPORTS), "log reports per 1,000 views", "trusted report",
    "log views", "thousand views", "near duplicate", "AI generated",
)  # fmt: skip
PRIOR = np.array([
    [0.0, 2.0], [0.0, 2.0], [1.0, 1.0], *([0.0, 0.5] for _ in KNOTS), [2.0, 2.0],
    [1.5, 1.5], *([0.0, 1.0] for _ in REPORTS), [0.0, 1.0], [2.0, 1.5],
    [-0.2, 0.5], [-0.2, 0.5], [0.5, 1.0], [0.3, 1.0],
])  # fmt: skip
"""Mean and standard deviation of each coefficient before there are labels: wide, with the sign it ought to have."""


def _features(rows: pa.Table) -> Array:
    """(N, P) of :data:`FEATURES`."""
    score = numbers(rows, "model_score")
    known = ~np.isnan(score)
    logit = np.where(known, np.clip(special.logit(np.clip(np.nan_to_num(score), 1e-6, 1 - 1e-6)), -8, 8), 0.0)
    reports, views = numbers(rows, "reports"), numbers(rows, "views") / 1000.0
    return np.column_stack([
        np.ones(len(score)), ~known, np.where(known, logit, 0.0),
        *(np.where(known, np.maximum(logit - k, 0.0), 0.0) for k in KNOTS),
        numbers(rows, "machine"), reports > 0,
        *(np.maximum(np.log(np.maximum(reports, 1.0) / k), 0.0) for k in REPORTS), np.log1p(reports / (views + 0.1)),
        numbers(rows, "trusted_reports") > 0,
        np.log1p(views), np.minimum(views, 5.0), numbers(rows, "near_duplicate"), numbers(rows, "ai_generated"),
    ]).astype(float)  # fmt: skip


@dataclass(frozen=True)
class Learned:
    """What a day's evidence teaches of N contents by C creators.

    Attributes:
        rows: N contents of the memory, each creator's side by side.
        creator: (N,) number of the creator.
        names: (C,) identifiers of creators.
        weight: (N,) what a content counts, by its age.
        features: (N, P).
        usual: rates when they were published.
        usual_now: rates of such contents today.
        policies: names of P policies.
        shares: (N, P) of policies among the usual violations of such contents.
        turned: (N,) contents of creators who turned, whose ``extra`` is their own and not their cohort's.
        wave, wave_now: (N, P) of ``usual.extra`` and ``usual_now.extra``, by policy.
        day: (N,) of publication.
        cohorts: what is known of the waves of clusters, of creators who turned, and of cohorts.
        typical: mean of θ over creators.
        evidence: (N,) log likelihood ratio of everything known of the content itself.
        model: the regression.
        reviewers: sensitivity and specificity of human decisions.
        factors: posterior of the C creators' θ.
        factor: (N,) θ as the creator's other contents tell it.
        doubt: (N,) standard deviation of the log odds that comes from θ.
        probability: (N,) posterior of a violation.
        ordinary: (N,) the same, but for violations that a wave brought.
    """

    rows: pa.Table
    creator: Codes
    names: pa.Array
    weight: Array
    features: Array
    usual: Usual
    usual_now: Usual
    policies: list[str]
    shares: Array
    turned: NDArray[np.bool_]
    wave: Array
    wave_now: Array
    day: Codes
    cohorts: list[Cohort]
    typical: float
    evidence: Array
    model: logistic.Logistic
    reviewers: tuple[float, float]
    factors: Gridded
    factor: Array
    doubt: Array
    probability: Array
    ordinary: Array

    def cohort(self, usual: Usual) -> Array:
        """(N,) rates of contents' cohorts, whoever publishes them."""
        return Usual(usual.base, np.where(self.turned, 0.0, usual.extra)).of(self.typical)

    def cohort_wave(self, usual: Usual) -> Array:
        """(N,) of :meth:`cohort`, what a wave adds."""
        return self.cohort(usual) - Usual(usual.base, np.zeros_like(usual.base)).of(self.typical)


def learn(e: Evidence, clusters: pa.Table) -> Learned:
    """Fit rates, creators' factors and the regression to everything known by the end of a day.

    Args:
        clusters: at least ``cluster`` and ``creator_id``; members of a cluster share a rate.
    """
    now = f"TIMESTAMP '{e.now}'"
    rows = e.query(_facts(e, f"least(coalesce(decided_at, {now}), {now})"), clusters=clusters)
    drawn = f"least(coalesce(decided_at, {now}), coalesce(drawn_at, {now}), {now})"
    early = e.query(_facts(e, drawn), clusters=clusters)
    n = rows.num_rows
    encoded = rows["creator_id"].combine_chunks().dictionary_encode()
    creator, names = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
    age = (np.datetime64(e.now, "us") - rows["published_at"].to_numpy()).astype(float) / 86_400e6
    weight = 0.5 ** (np.maximum(age, 0.0) / e.review.half_life_days)
    features, taught = _features(rows), _features(early)

    human, rated = ~np.isnan(numbers(rows, "violation")) & (numbers(rows, "machine") == 0), numbers(rows, "rated")
    sampled, violation = ~np.isnan(rated) & rows["drawn_at"].is_valid().to_numpy(), numbers(rows, "violation")
    machine = numbers(rows, "machine") == 1
    reviewers = _reviewers(violation, rated, human & sampled)
    # A decision that was drawn for being an action was chosen by its outcome where a person made it.
    by_rater = sampled | (machine & ~np.isnan(rated))
    teaches = np.flatnonzero(by_rater | human)
    label = np.where(by_rater, rated, violation)[teaches]
    right = np.where(by_rater[teaches, None], RATERS, reviewers)
    known = _label_evidence(rated, ~np.isnan(rated), RATERS)
    known += np.where(np.isnan(rated), _label_evidence(violation, human, reviewers), 0.0)

    units, levels = _units(rows, creator)
    # What is dated after now is of today, and today is the last day, whether anything was published on it or not.
    today = e.review.memory_days - 1
    day = today - np.clip(np.ceil(age) - 1.0, 0.0, today).astype(np.int64)
    member = np.where(rows["cluster"].is_valid().to_numpy(), codes(rows, "cluster"), -1)
    cohort = codes(rows, "market", "category")
    policies = _policies(e)
    named = _positions(rows["policy"], policies)
    starts = np.searchsorted(creator, np.arange(len(names)))
    ordinary = np.where(np.isnan(rated), np.nan_to_num(violation), np.nan_to_num(rated))
    base, shares = _usual(ordinary, weight, units, levels), _shares(rows, named, weight * ordinary, len(policies))
    usual, start = Usual(base, np.zeros(n)), PRIOR[:, 0]
    factor = np.ones(n)  # of a content's creator, from their other contents
    for left in reversed(range(ROUNDS)):
        offset = special.logit(usual.of(factor))
        model = logistic.fit(
            taught[teaches], label, centre=PRIOR[:, 0], spread=PRIOR[:, 1], offset=offset[teaches],
            sensitivity=right[:, 0], specificity=right[:, 1], start=start,
        )  # fmt: skip
        start = model.coefficients
        evidence = np.clip(model.log_odds(features) + known, -MOST_EVIDENCE, MOST_EVIDENCE)
        own = np.clip(factor * base, LEAST, MOST)
        told = speaks(named, shares)
        ratio = np.exp(evidence)
        alone = np.where(member < 0, turned(own, ratio, told, creator), -1)
        wave, wave_now, cohorts = waves(own, ratio, told, day, (member, alone, cohort), today)
        usual, heard = Usual(base, wave.sum(axis=1)), np.sum(wave * told, axis=1)
        factors, typical, others, probability = _creators(usual, heard, evidence, weight, creator, starts)
        factor = others @ FACTORS
        if not left:
            doubt = _doubt(usual, others)
        del others  # before the next round's are there
        own = np.clip(factor * base, LEAST, MOST)
        ordinary = probability * own / (own + heard)
        base, shares = _usual(ordinary, weight, units, levels), _shares(rows, named, weight * ordinary, len(policies))
    usual, usual_now = (Usual(base, x.sum(axis=1)) for x in (wave, wave_now))
    return Learned(
        rows, creator, names, weight, features, usual, usual_now, policies, shares, alone >= 0, wave, wave_now,
        day, cohorts, typical, evidence, model, reviewers, factors, factor, doubt, probability, ordinary,
    )  # fmt: skip


def _reviewers(violation: Array, rated: Array, both: NDArray[np.bool_]) -> tuple[float, float]:
    """Sensitivity and specificity of human decisions, where raters have looked at the same contents."""
    found = []
    for truth, (right, wrong) in zip((1.0, 0.0), HUMANS, strict=True):
        looked = both & (rated == truth)
        agree = float(np.sum(violation[looked] == truth))
        found.append((right + agree) / (right + wrong + float(looked.sum())))
    return found[0], found[1]


def _label_evidence(label: Array, given: NDArray[np.bool_], right: tuple[float, float]) -> Array:
    """(N,) log likelihood ratio of labels by those with a sensitivity and a specificity."""
    sensitivity, specificity = right
    yes, no = np.log(sensitivity / (1.0 - specificity)), np.log((1.0 - sensitivity) / specificity)
    return np.where(given, np.where(label == 1.0, yes, no), 0.0)


def _units(rows: pa.Table, creator: Codes) -> tuple[Codes, list[Codes]]:
    """(N,) unit of each content, and the units' codes on each level of cohorts, coarse levels first.

    A unit is a creator's contents of one cohort on the finest level.
    """
    levels = [
        ("cluster",), ("kind",), ("category",), ("tier",), ("market",), ("category", "kind"), ("market", "category"),
    ]  # fmt: skip
    finest = codes(rows, "cluster", "market", "category", "kind", "tier")
    key = creator * (finest.max(initial=0) + 1) + finest
    _, first, units = np.unique(key, return_index=True, return_inverse=True)
    return units, [codes(rows, *names)[first] for names in levels]


@dataclass(frozen=True)
class Usual:
    """Usual rates of N contents: of a creator with factor θ, ``θ base + extra``.

    What a cohort does more than it used to comes from all alike, the large and the small, those who break rules often
    and those who don't: nobody is a repeater for it.
    """

    base: Array
    extra: Array

    def of(self, factor: Array | float) -> Array:
        """(N,) chance of contents by creators with such factors."""
        return np.clip(factor * self.base + self.extra, LEAST, MOST)

    def on_grid(self) -> Array:
        """(N, K) chance at each of the points of θ."""
        return np.clip(np.multiply.outer(self.base, FACTORS) + self.extra[:, None], LEAST, MOST)


def _usual(chance: Array, weight: Array, units: Codes, cohorts: list[Codes]) -> Array:
    """(N,) usual rates of contents, by what they violate but for waves."""
    count = len(cohorts[0])
    violations = np.bincount(units, weights=weight * chance, minlength=count).astype(float)
    posts = np.bincount(units, weights=weight, minlength=count).astype(float)
    return shrinkage.pooled_rates(violations, posts, cohorts)[units]


def _creators(
    usual: Usual, heard: Array, evidence: Array, weight: Array, creator: Codes, starts: Codes
) -> tuple[Gridded, float, Array, Array]:
    """Posterior of the creators' θ, its mean over creators; by content, θ as others tell it, ``probability``.

    For the names see :class:`Learned`; θ as (N, K) chances of :data:`FACTORS`.

    Args:
        heard: (N,) ``usual.extra``, of each policy as much as the one that was named speaks for it.
    """
    chance, ratio = usual.on_grid(), np.exp(evidence)
    odds = np.maximum(chance + (heard - usual.extra)[:, None], LEAST) * ratio[:, None]
    own = np.log1p(odds - chance)
    count = len(starts)
    naive = special.expit(special.logit(usual.of(1.0)) + evidence) * usual.base / (usual.base + heard)
    shape = shrinkage.fit_shapes(
        np.bincount(creator, weights=naive, minlength=count).astype(float),
        np.bincount(creator, weights=usual.base, minlength=count).astype(float),
    )[0]
    # The prior is fitted without decay: counts cut in halves would look as if creators were more alike than they are.
    whole = np.add.reduceat(own, starts, axis=0) if count else np.zeros((0, len(FACTORS)))
    mixing = shrinkage.fit_mixing(whole, FACTORS, shrinkage.gamma_weights(FACTORS, float(shape)))
    own *= weight[:, None]
    likelihood = np.add.reduceat(own, starts, axis=0) if count else whole
    # θ as the creator's other contents tell it, and by each θ the content's own evidence.
    others = mixing.posterior(likelihood[creator] - own).chances
    probability = np.sum(others * (odds / (1.0 - chance + odds)), axis=1)
    return mixing.posterior(likelihood), float(mixing.weights @ FACTORS), others, probability


def _doubt(usual: Usual, others: Array) -> Array:
    """(N,) standard deviation of contents' log odds where θ has the chances ``others``."""
    logit = special.logit(usual.on_grid())
    spread = np.sum(others * logit**2, axis=1) - np.sum(others * logit, axis=1) ** 2
    found: Array = np.sqrt(np.maximum(spread, 0.0))
    return found


def _policies(e: Evidence) -> list[str]:
    """Policies that decisions or raters named."""
    found = e.query(
        """
        SELECT policy FROM (SELECT policy FROM labels UNION SELECT policy FROM samples)
        WHERE policy IS NOT NULL ORDER BY policy
        """
    )
    return found["policy"].to_pylist() or [""]


def _shares(rows: pa.Table, named: Codes, count: Array, policies: int) -> Array:
    """(N, P) shares of policies among the usual violations of each content's cohort.

    Args:
        named: (N,) number of the policy that was named, or -1.
        count: (N,) usual violations.
    """
    counts, known = np.zeros((len(named), policies)), np.flatnonzero(named >= 0)
    counts[known, named[known]] = count[known]
    shares = np.tile((counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * policies), (len(named), 1))
    for level in (("kind",), ("category", "kind"), ("market", "category", "kind")):
        shares = _pool(counts, shares, codes(rows, *level))
    return shares


@dataclass(frozen=True)
class Policies:
    """Which policy is violated, where one is.

    Attributes:
        names: of P policies.
        harm: (P,) of one view.
        severities: of the policies; empty where none is known.
        contents: (N, P) shares, by cohort, creator, and what the content itself shows.
        creators: (C, P) shares of violations to come.
        usual: (C, P) of those that no wave brings.
    """

    names: list[str]
    harm: Array
    severities: list[str]
    contents: Array
    creators: Array
    usual: Array

    def passed(self, passing: Mapping[str, float] | None = None) -> Array:
        """(P,) harm of a view that would be without moderation, where it lets shares of them through, by severity."""
        share = np.array([(passing or {}).get(severity, 1.0) for severity in self.severities])
        found: Array = self.harm * share
        return found

    @staticmethod
    def likeliest(names: list[str], shares: Array) -> pa.Array:
        return pa.array(names, pa.string()).take(pa.array(np.argmax(shares, axis=1)))


def policies(e: Evidence, learned: Learned) -> Policies:
    """Shares of policies among violations: a creator keeps to what they did before, beside what waves bring."""
    rows, n, names = learned.rows, learned.rows.num_rows, learned.policies
    found = e.query("SELECT policy, mode(severity) AS severity FROM labels WHERE policy IS NOT NULL GROUP BY policy")
    known = dict(zip(found["policy"].to_pylist(), found["severity"].to_pylist(), strict=True))
    weights, usual_harm = e.review.severity, float(np.mean(list(e.review.severity.values()) or [1.0]))
    severities = [known.get(name) or "" for name in names]
    harm = np.array([weights.get(s, usual_harm) for s in severities])
    at = _positions(rows["policy"], names)
    sure = (at >= 0) & (learned.probability > 0.5)
    count, usual = np.zeros((n, len(names))), np.zeros((n, len(names)))
    count[sure, at[sure]] = (learned.weight * learned.probability)[sure]
    usual[sure, at[sure]] = (learned.weight * learned.ordinary)[sure]

    of_creator = _mean(learned.shares, learned.creator)
    habit = shrinkage.pooled_shares(_sum(usual, learned.creator), of_creator) / of_creator
    shares = learned.shares * habit[learned.creator]
    shares /= shares.sum(axis=1, keepdims=True)
    often = learned.factors.mean[learned.creator] * learned.usual_now.base
    own = _sum(learned.weight[:, None] * (often[:, None] * shares + learned.wave_now), learned.creator)
    own /= own.sum(axis=1, keepdims=True)
    unwaved = _sum((learned.weight * learned.usual_now.base)[:, None] * shares, learned.creator)
    unwaved /= unwaved.sum(axis=1, keepdims=True)
    shares = (learned.factor * learned.usual.base)[:, None] * shares + learned.wave
    shares /= shares.sum(axis=1, keepdims=True)
    # What the content itself shows: the policies reported, and whether it repeats another.
    reported = _reported(e, rows, names)
    right = float(np.sum(reported[sure, at[sure]])) + 8.0
    right = min(right / (float(np.sum(reported[sure])) + 10.0), 0.99)
    shares = shares * np.exp(np.log(right / (1.0 - right) * max(len(names) - 1, 1)) * np.minimum(reported, 5.0))
    repeats = numbers(rows, "near_duplicate") == 1
    among = (count[repeats].sum(axis=0) + 0.5) / (count.sum(axis=0) + 10.0)
    shares = np.where(repeats[:, None], shares * among, shares * (1.0 - among))
    return Policies(names, harm, severities, shares / shares.sum(axis=1, keepdims=True), own, unwaved)


def _positions(column_: pa.ChunkedArray, names: list[str]) -> Codes:
    """Of values among names; -1 for those that are not."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in column_.to_pylist()], np.int64)


def _sum(values: Array, groups: Codes) -> Array:
    """(groups, P) sums of the rows of (N, P) values."""
    count = int(groups.max(initial=-1)) + 1
    return np.stack([np.bincount(groups, of_kind, count) for of_kind in values.T], axis=1).astype(float)


def _mean(values: Array, groups: Codes) -> Array:
    return _sum(values, groups) / np.bincount(groups)[:, None]


def _pool(count: Array, shares: Array, groups: Codes) -> Array:
    """Shares of each row's group, drawn to ``shares`` of its rows."""
    return shrinkage.pooled_shares(_sum(count, groups), _mean(shares, groups))[groups]


def _reported(e: Evidence, rows: pa.Table, names: list[str]) -> Array:
    """(N, P) reports of each content that name each policy."""
    filed = e.query(
        "SELECT number, r.policy, count(*) AS reports FROM rows JOIN reports r USING (content_id) GROUP BY ALL",
        rows=pa.table({"content_id": rows["content_id"], "number": np.arange(rows.num_rows)}),
    )
    found, at = np.zeros((rows.num_rows, len(names))), _positions(filed["policy"], names)
    known = at >= 0
    found[filed["number"].to_numpy()[known], at[known]] = filed["reports"].to_numpy()[known]
    return found


def contents(
    e: Evidence, clusters: pa.Table, learned: Learned | None = None, mix: Policies | None = None
) -> pa.Table:  # fmt: skip
    """:data:`CONTENTS`: contents that are still shown and on which nobody has decided.

    Args:
        clusters: at least ``cluster`` and ``creator_id``.
        learned: of :func:`learn`, where it is at hand.
        mix: of :func:`policies`, where it is at hand.
    """
    learned = learned or learn(e, clusters)
    since = e.now - dt.timedelta(days=e.review.alive_days)
    rows, mix = learned.rows, mix or policies(e, learned)
    there = np.flatnonzero(
        (rows["published_at"].to_numpy() > np.datetime64(since, "us")) & ~rows["decided_at"].is_valid().to_numpy()
    )
    shares, taught = mix.contents[there], learned.model.error(learned.features[there])
    probability = logistic.mean_probability(special.logit(learned.probability[there]), taught)
    prior, expected = learned.cohort(learned.usual)[there], learned.usual.of(learned.factor)[there]
    waves = sum(known.doubt(expected, learned.day, there) for known in learned.cohorts)
    error = np.sqrt(taught**2 + learned.doubt[there] ** 2 + waves)
    made = {
        "probability": probability,
        "log_odds": logistic.centre(probability, error),
        "log_odds_error": error,
        "severity": shares @ mix.harm,
        "policy": mix.likeliest(mix.names, shares),
        "prior_probability": prior,
        "prior_wave": learned.cohort_wave(learned.usual)[there],
        "creator_factor": expected / prior,
    }
    return _table(CONTENTS, rows.take(pa.array(there)), made)


def outlook(learned: Learned, mix: Policies, passing: Mapping[str, float] | None = None) -> Outlook:
    """What may be of the creators' posts to come, in the order of :func:`creators`; arguments as there."""
    creator, harm = learned.creator, mix.passed(passing)
    posts = np.bincount(creator, weights=learned.weight, minlength=len(learned.names))
    base = np.bincount(creator, weights=learned.weight * learned.usual_now.base, minlength=len(learned.names))
    series = []
    for known in learned.cohorts:
        some = known.of >= 0
        share = sparse.csr_array(
            (learned.weight[some] / posts[creator[some]], (creator[some], known.of[some])),
            shape=(len(posts), len(known.chances)),
        )
        series.append(Series(share, known.chances[:, -1], known.sizes.sum(axis=1), known.sizes @ harm))
    return Outlook(learned.factors, base / posts, mix.usual @ harm, tuple(series))


def creators(
    e: Evidence, clusters: pa.Table, learned: Learned | None = None, passing: Mapping[str, float] | None = None,
    mix: Policies | None = None,
) -> pa.Table:  # fmt: skip
    """:data:`CREATORS`: creators with contents in the memory; other arguments as :func:`contents`.

    Args:
        passing: share of the views of violations to come that moderation lets through, by severity; else all.
    """
    learned = learned or learn(e, clusters)
    mix, creator, count = mix or policies(e, learned), learned.creator, len(learned.names)
    harm, deviation = mix.passed(passing), outlook(learned, mix).deviation
    posts = np.bincount(creator, weights=learned.weight, minlength=count)
    now = learned.usual_now
    base, extra, cohort, wave = (
        np.bincount(creator, weights=learned.weight * x, minlength=count) / posts
        for x in (now.base, now.extra, learned.cohort(now), learned.cohort_wave(now))
    )
    # θ base + extra as a gamma with the same mean and standard deviation.
    mean, deviation = learned.factors.mean * base + extra, np.maximum(deviation, 1e-9)
    about = e.query(
        """
        SELECT creator_id, arg_max(market, published_at) AS market, mode(category) AS category,
            arg_max(tier, published_at) AS tier, any_value(cluster) AS cluster, coalesce(any_value(times), 0) AS
            violations_90d, any_value(last) AS last_violation_at
        FROM rows LEFT JOIN (
            SELECT creator_id, count(*) AS times, max(decided_at) AS last FROM labels
            WHERE violation AND content_id IS NOT NULL AND decided_at > now - INTERVAL 90 DAY GROUP BY creator_id
        ) USING (creator_id) GROUP BY creator_id ORDER BY creator_id
        """.replace("now", f"TIMESTAMP '{e.now}'"),
        rows=learned.rows,
    )
    made = {
        "posts": posts,
        "violations": np.bincount(creator, weights=learned.weight * learned.probability, minlength=count),
        "shape": (mean / deviation) ** 2,
        "rate": mean / deviation**2,
        "cohort_mean": cohort,
        "cohort_wave": wave,
        "severity": mix.creators @ harm,
        "policy": mix.likeliest(mix.names, mix.creators),
    }
    return _table(CREATORS, about, made)


def _table(schema: pa.Schema, rows: pa.Table, made: dict[str, Any]) -> pa.Table:
    """Columns that were made, and others as they are in ``rows``."""
    columns = [made[f.name] if f.name in made else rows[f.name] for f in schema]
    arrays = [c if isinstance(c, pa.Array | pa.ChunkedArray) else pa.array(c) for c in columns]
    return pa.table([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)


MATURE_DAYS = 30  # after which no more refunds and complaints are expected
BANDS = (0.6, 1.5, 3.0)  # of how many times as many bad orders as usual a product has


def products(e: Evidence, clusters: pa.Table | None = None, learned: Learned | None = None) -> pa.Table:
    """:data:`PRODUCTS`: how likely contents that show a product are to violate a policy.

    Contents that show the product, each with its probability, are weighed against those of such products: of the
    market and category, with the brand authorised or not, restricted or not, and with as many bad orders. Bad orders
    of the last weeks are not all known yet; orders count by the share that is known at their age.
    """
    learned = learned or learn(e, NOBODY if clusters is None else clusters)
    rows = e.query(_PRODUCTS.replace("$now", f"TIMESTAMP '{e.now}'"), arrived=_arrived(e), rows=_shown(learned))
    number = {name: numbers(rows, name) for name in ("bad", "known", "shown", "expected", "now_shown", "now_expected")}
    place = [codes(rows, *names) for names in (("market",), ("category",), ("market", "category"))]
    kinds = [codes(rows, name) for name in ("brand_authorised", "restricted")]
    bad, usual = shrinkage.gamma_poisson(number["bad"], number["known"], place)
    band = np.digitize(bad.mean / usual, BANDS).astype(np.int64)
    # Cohorts and their spread are learned without decay, as creators' are.
    cohort = shrinkage.pooled_rates(number["expected"], number["shown"], [*place, *kinds, band])
    cohort = np.clip(cohort, LEAST, MOST)
    strength = shrinkage.fit_strengths(number["expected"], number["shown"], cohort)[0]
    a = cohort * strength + number["now_expected"]
    b = (1.0 - cohort) * strength + number["now_shown"] - number["now_expected"]
    return _table(PRODUCTS, rows, {"probability": a / (a + b), "shape_a": a, "shape_b": b, "cohort_mean": cohort})


NOBODY = pa.table({"cluster": pa.array([], pa.string()), "creator_id": pa.array([], pa.string())})
"""No clusters."""


def _arrived(e: Evidence) -> pa.Table:
    """Share of bad orders that is known to be bad, by days since the order: ``age`` and ``share``."""
    by_age = e.query(
        f"""
        SELECT least(date_diff('day', placed_at, TIMESTAMP '{e.now}'), {MATURE_DAYS}) AS age, count(*) AS orders,
            count(*) FILTER (bad) AS bad
        FROM orders GROUP BY age ORDER BY age
        """
    )
    age, orders, bad = (by_age[c].to_numpy() for c in ("age", "orders", "bad"))
    share = np.ones(len(age))
    if len(age) and age[-1] == MATURE_DAYS and bad[-1] > 0:
        rising = isotonic_regression(bad / orders, weights=orders).x
        share = np.clip(rising / rising[-1], 0.02, 1.0)
    return pa.table({"age": age, "share": share})


def _shown(learned: Learned) -> pa.Table:
    """Contents with the products they show."""
    columns = ("content_id", "creator_id", "product_ids", "violation")
    added = {"weight": learned.weight, "probability": learned.probability}
    return pa.table({c: learned.rows[c] for c in columns} | {k: pa.array(v) for k, v in added.items()})


_PRODUCTS = f"""
WITH ordered AS (
    SELECT product_id, count(*) AS orders, count(*) FILTER (bad) AS bad, sum(share) AS known,
        coalesce(sum(gmv) FILTER (placed_at >= $now - INTERVAL 28 DAY), 0) AS gmv_28d
    FROM orders JOIN arrived ON age = least(date_diff('day', placed_at, $now), {MATURE_DAYS}) GROUP BY product_id
), each AS (
    SELECT unnest(string_split(product_ids, ',')) AS product_id, * EXCLUDE product_ids FROM rows
    WHERE product_ids IS NOT NULL AND product_ids <> ''
), showing AS (
    SELECT product_id, count(*) AS shown, sum(probability) AS expected, sum(weight) AS now_shown,
        sum(weight * probability) AS now_expected, count(*) FILTER (violation) AS violations,
        count(DISTINCT creator_id) AS creators
    FROM each GROUP BY product_id
)
SELECT p.*, coalesce(orders, 0) AS orders, coalesce(bad, 0) AS bad, coalesce(known, 0) AS known,
    coalesce(gmv_28d, 0) AS gmv_28d, coalesce(shown, 0) AS shown, coalesce(expected, 0) AS expected,
    coalesce(now_shown, 0) AS now_shown, coalesce(now_expected, 0) AS now_expected,
    coalesce(violations, 0) AS violations, coalesce(creators, 0) AS creators
FROM products p LEFT JOIN ordered USING (product_id) LEFT JOIN showing USING (product_id)
WHERE orders > 0 OR shown > 0 ORDER BY product_id"""
