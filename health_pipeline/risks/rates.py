"""How likely contents, creators and products are to violate a policy, from what was known by the end of a day.

One model for contents and creators. Creator c breaks the rules θ times as often as is usual for what they post; content
i of theirs violates with probability θ m, where m is the usual rate of its market, category, tier and kind. Whatever is
known of the content itself, its evidence, multiplies those odds by a likelihood ratio:

* what the moderation model thought of it, whether a machine acted on it, reports, views without reports, whether it
  repeats another: a logistic regression with log odds of θ m as offset. It is taught by contents that people labelled:
  drawn samples, and human decisions with the mistakes that raters find in them. Both were chosen by what the model
  knows (score, reports, views), so the choice does not bias it; labels that a machine gave itself never teach it, nor
  do people's where no score is known;
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

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from health_pipeline.risks.columns import Codes, codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.facts import PRIOR, facts, features_of
from health_pipeline.risks.named import named_policies, positions, usual_shares
from health_pipeline.risks.waves import Cohort, speaks, turned, waves
from health_pipeline.stats import logistic, shrinkage
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.shrinkage import Gridded

FACTORS = np.geomspace(0.02, 30.0, 48)
"""Points of θ: how many times as often as usual."""
ROUNDS = 4
LEAST, MOST = 1e-6, 0.97  # chances of a content before its own evidence
MOST_EVIDENCE = 9.0  # log likelihood ratio of a content's evidence
OVERLOOKED = 0.1
"""Share of violations that nobody acts on, among contents that no model has judged: what is believed where neither a
score nor a sample tells."""
FOUND_WITHIN = 2.0
"""Days after which a content that nobody acted on has been overlooked, or violates nothing."""
RATERS = (0.97, 0.998)  # sensitivity and specificity of raters of samples, who have time
HUMANS = ((19.0, 1.0), (39.0, 1.0))  # what is believed of reviewers before raters have looked: right and wrong


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
        unsure: (N,) variance of the logarithm of ``usual.base``.
        policies: names of P policies.
        shares: (N, P) of policies among the usual violations of such contents.
        turned: (N,) contents of creators who turned, whose ``extra`` is their own and not their cohort's.
        wave, wave_now: (N, P) of ``usual.extra`` and ``usual_now.extra``, by policy.
        day: (N,) of publication.
        cohorts: what is known of the waves of clusters, of creators who turned, and of cohorts.
        typical: mean of θ over creators.
        shape: of the gamma from which the search for their distribution starts.
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
    unsure: Array
    policies: list[str]
    shares: Array
    turned: NDArray[np.bool_]
    wave: Array
    wave_now: Array
    day: Codes
    cohorts: list[Cohort]
    typical: float
    shape: float
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
    rows = e.query(facts(e, f"least(coalesce(decided_at, {now}), {now})"), clusters=clusters)
    drawn = f"least(coalesce(decided_at, {now}), coalesce(drawn_at, {now}), {now})"
    early = e.query(facts(e, drawn), clusters=clusters)
    n = rows.num_rows
    encoded = rows["creator_id"].combine_chunks().dictionary_encode()
    creator, names = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
    age = (np.datetime64(e.now, "us") - rows["published_at"].to_numpy()).astype(float) / 86_400e6
    weight = 0.5 ** (np.maximum(age, 0.0) / e.review.half_life_days)
    features, taught = features_of(rows), features_of(early)

    human, rated = ~np.isnan(numbers(rows, "violation")) & (numbers(rows, "machine") == 0), numbers(rows, "rated")
    sampled, violation = ~np.isnan(rated) & rows["drawn_at"].is_valid().to_numpy(), numbers(rows, "violation")
    machine = numbers(rows, "machine") == 1
    reviewers = _reviewers(violation, rated, human & sampled)
    # A decision that was drawn for being an action was chosen by its outcome where a person made it.
    by_rater = sampled | (machine & ~np.isnan(rated))
    # Why people looked at a content that no score is known of, nobody told: their labels say nothing of the others.
    scored = rows["model_score"].is_valid().to_numpy()
    teaches = np.flatnonzero(by_rater | (human & scored))
    label = np.where(by_rater, rated, violation)[teaches]
    right = np.where(by_rater[teaches, None], RATERS, reviewers)
    known = _label_evidence(rated, ~np.isnan(rated), RATERS)
    known += np.where(np.isnan(rated), _label_evidence(violation, human, reviewers), 0.0)
    passed = ~scored & np.isnan(violation) & np.isnan(rated) & (age > FOUND_WITHIN)
    known += np.where(passed, np.log(OVERLOOKED), 0.0)

    units, levels = _units(rows, creator)
    # What is dated after now is of today, and today is the last day, whether anything was published on it or not.
    today = e.review.memory_days - 1
    day = today - np.clip(np.ceil(age) - 1.0, 0.0, today).astype(np.int64)
    member = np.where(rows["cluster"].is_valid().to_numpy(), codes(rows, "cluster"), -1)
    cohort = codes(rows, "market", "category")
    policies = named_policies(e)
    named = positions(rows["policy"], policies)
    starts = np.searchsorted(creator, np.arange(len(names)))
    ordinary = np.where(np.isnan(rated), np.nan_to_num(violation), np.nan_to_num(rated))
    base, unsure = _usual(ordinary, weight, units, levels)
    shares = usual_shares(rows, named, weight * ordinary, len(policies))
    usual, start = Usual(base, np.zeros(n)), PRIOR[:, 0]
    factor, over = np.ones(n), None  # of a content's creator, from their other contents; and waves of its cohort
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
        alone = np.where(member < 0, turned(own, ratio, told, creator, over), -1)
        wave, wave_now, cohorts = waves(own, ratio, told, day, (member, alone, cohort), today)
        over = cohorts[-1].expected(day)
        usual, heard = Usual(base, wave.sum(axis=1)), np.sum(wave * told, axis=1)
        factors, typical, shape, others, probability = _creators(usual, heard, evidence, weight, creator, starts)
        factor = others @ FACTORS
        if not left:
            doubt = _doubt(usual, others)
        del others  # before the next round's are there
        own = np.clip(factor * base, LEAST, MOST)
        ordinary = probability * own / (own + heard)
        base, unsure = _usual(ordinary, weight, units, levels)
        shares = usual_shares(rows, named, weight * ordinary, len(policies))
    usual, usual_now = (Usual(base, x.sum(axis=1)) for x in (wave, wave_now))
    return Learned(
        rows, creator, names, weight, features, usual, usual_now, unsure, policies, shares, alone >= 0, wave, wave_now,
        day, cohorts, typical, shape, evidence, model, reviewers, factors, factor, doubt, probability, ordinary,
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


def _usual(chance: Array, weight: Array, units: Codes, cohorts: list[Codes]) -> tuple[Array, Array]:
    """(N,) usual rates of contents, by what they violate but for waves; and the variance of their logarithms."""
    count = len(cohorts[0])
    violations = np.bincount(units, weights=weight * chance, minlength=count).astype(float)
    posts = np.bincount(units, weights=weight, minlength=count).astype(float)
    found = shrinkage.pooled(violations, posts, cohorts)
    return found.rates[units], found.log_variance[units]


def _creators(
    usual: Usual, heard: Array, evidence: Array, weight: Array, creator: Codes, starts: Codes
) -> tuple[Gridded, float, float, Array, Array]:
    """Posterior of the creators' θ, its mean and shape over creators; by content, θ as others tell it, ``probability``.

    For the names see :class:`Learned`; θ as (N, K) chances of :data:`FACTORS`.

    Args:
        heard: (N,) ``usual.extra``, of each policy as much as the one that was named speaks for it.
    """
    chance, ratio = usual.on_grid(), np.exp(evidence)
    odds = np.maximum(chance + (heard - usual.extra)[:, None], LEAST) * ratio[:, None]
    own = np.log1p(odds - chance)
    count = len(starts)
    naive = special.expit(special.logit(usual.of(1.0)) + evidence) * usual.base / (usual.base + heard)
    (shape,) = shrinkage.fit_shapes(
        np.bincount(creator, weights=naive, minlength=count).astype(float),
        np.bincount(creator, weights=usual.base, minlength=count).astype(float),
    )
    # The prior is fitted without decay: counts cut in halves would look as if creators were more alike than they are.
    whole = np.add.reduceat(own, starts, axis=0) if count else np.zeros((0, len(FACTORS)))
    mixing = shrinkage.fit_mixing(whole, FACTORS, shrinkage.gamma_weights(FACTORS, float(shape)))
    own *= weight[:, None]
    likelihood = np.add.reduceat(own, starts, axis=0) if count else whole
    # θ as the creator's other contents tell it, and by each θ the content's own evidence.
    others = mixing.posterior(likelihood[creator] - own).chances
    probability = np.sum(others * (odds / (1.0 - chance + odds)), axis=1)
    return mixing.posterior(likelihood), float(mixing.weights @ FACTORS), float(shape), others, probability


def _doubt(usual: Usual, others: Array) -> Array:
    """(N,) standard deviation of contents' log odds where θ has the chances ``others``."""
    logit = special.logit(usual.on_grid())
    spread = np.sum(others * logit**2, axis=1) - np.sum(others * logit, axis=1) ** 2
    found: Array = np.sqrt(np.maximum(spread, 0.0))
    return found
