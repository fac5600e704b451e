"""What is asked and looked at on purpose: prevalence samples with known chances, and surveys with non-response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.marketplace.audience import Traffic
from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE
from health_pipeline.marketplace.columns import (
    NEVER,
    NOBODY,
    Array,
    Records,
    identifiers,
    instants,
    names,
    optional,
    versions,
)
from health_pipeline.marketplace.contents import Contents, common_columns
from health_pipeline.marketplace.decisions import NO_APPEAL, OUTCOMES, OVERTURNED, UPHELD, Outcomes
from health_pipeline.marketplace.moderation import NONE, RULES, Cases
from health_pipeline.marketplace.parameters import MARKETS, POLICIES, SURFACES, TIERS
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

ARMS = ("weighted", "uniform", "decisions")
WEIGHTED, UNIFORM, DECISIONS = range(3)
RECOMMENDED = [SURFACES.index("feed"), SURFACES.index("live_square")]
TOPICS = ("satisfaction", "recommend", "enforcement_fairness")


@dataclass
class Draws(Records):
    """Viewed impressions that were drawn: a burst of the traffic, and the view's chance in its arm and in the other."""

    burst: Array
    arm: Array
    chance: Array
    other: Array


def model_score(logit: Array, floor: float) -> Array:
    """The model's score between ``floor`` and 1."""
    score: Array = np.maximum(1 / (1 + np.exp(-logit.astype(float))), floor)
    return score


def draw(views: Array, score: Array, weighted: int, uniform: int, rng: np.random.Generator) -> Draws:
    """Draw views with replacement.

    A view of a content with score s is drawn n s / Σ(views x s) times on average in the weighted arm, n / Σ views in
    the uniform arm; that expected number is ``chance``, and ``other`` the same of the arm that it was not drawn in. So
    Σ 1/chance over an arm estimates all views, and so does Σ 1/(chance + other) over both, which is much surer.

    Args:
        views: (bursts,) views of each burst.
        score: (bursts,) of the burst's content, positive.
        weighted: number of draws n of the arm.
        uniform: the same.
    """
    if not len(views) or views.sum() <= 0:
        return Draws(np.zeros(0, np.int64), np.zeros(0, np.int8), np.zeros(0), np.zeros(0))
    sizes, measures = (weighted, uniform), (score, np.ones(len(views)))
    masses = [np.cumsum(views * measure) for measure in measures]

    def chance(arm: int, at: Array) -> Array:
        expected: Array = np.minimum(sizes[arm] * measures[arm][at] / masses[arm][-1], 1.0)
        return expected

    parts = []
    for arm in (WEIGHTED, UNIFORM):
        at = np.searchsorted(masses[arm], rng.random(sizes[arm]) * masses[arm][-1], side="right")
        at = np.minimum(at, len(views) - 1)
        parts.append((at, np.full(sizes[arm], arm, np.int8), chance(arm, at), chance(1 - arm, at)))
    return Draws(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def write_samples(
    world: World, writer: Writer, contents: Contents, made: Traffic, decided: Cases, day: int, first_number: int
) -> int:
    """Rows of ``review_samples`` of a day. Returns how many draws there were."""
    p, rng = world.parameters, world.rng(day, 50)
    size = np.sqrt(max(world.scale, 0.001))
    score = model_score(contents.score, p.score_floor)
    drawn = draw(made.views, score[made.content], round(p.sample_weighted * size), round(p.sample_uniform * size), rng)
    at = made.content[drawn.burst]
    hour = made.hour[drawn.burst].astype(np.int64)
    instant = day * DAY + hour * HOUR + rng.integers(0, HOUR, len(drawn))
    today = np.bincount(made.content, weights=made.views, minlength=len(contents)).astype(np.int64)
    surface = made.surface[drawn.burst]
    first = _Sample(
        columns=common_columns(contents, at) | {"content_id": contents.ids.take(pa.array(at))},
        instant=instant,
        arm=drawn.arm,
        chance=drawn.chance,
        other=drawn.other,
        views=today[at],
        surface=surface,
        policy=contents.policy[at],
        low=contents.low_quality[at],
        actioned=contents.acted[at] & (contents.decided[at] <= instant),
        rule=np.full(len(at), NOBODY, np.int8),
    )
    eligible = np.flatnonzero((decided.action != NONE) & (decided.content != NOBODY))
    wanted = min(round(p.sample_decisions * size), len(eligible))
    chosen = np.sort(rng.choice(eligible, wanted, replace=False)) if wanted else eligible[:0]
    low = np.isin(decided.policy[chosen], [POLICIES.index("low_quality")])
    second = _Sample(
        columns=common_columns(decided, chosen)
        | {"content_id": identifiers("vl", decided.content[chosen], choice=decided.kind[chosen])},
        instant=decided.decided[chosen],
        arm=np.full(wanted, DECISIONS, np.int8),
        chance=np.full(wanted, wanted / max(len(eligible), 1)),
        other=np.zeros(wanted),
        views=decided.views[chosen],
        surface=np.where(decided.kind[chosen] == 1, SURFACES.index("live_square"), 0).astype(np.int8),
        policy=decided.true_policy[chosen],
        low=low,
        actioned=np.ones(wanted, dtype=bool),
        rule=decided.rule[chosen],
    )
    number = first_number
    for sample in (first, second):
        sample.write(world, writer, day, number, rng)
        number += len(sample.instant)
    return number - first_number


@dataclass
class _Sample:
    columns: dict[str, pa.Array]
    instant: Array
    arm: Array
    chance: Array
    other: Array
    views: Array
    surface: Array
    policy: Array
    low: Array
    actioned: Array
    rule: Array

    def write(self, world: World, writer: Writer, day: int, first_number: int, rng: np.random.Generator) -> None:
        p, n = world.parameters, len(self.instant)
        truth = self.policy != NOBODY
        sure = rng.random(n)
        label = np.where(truth, sure < p.rater_sensitivity, sure > p.rater_specificity)
        policy = np.where(truth, self.policy, rng.integers(0, len(POLICIES), n))
        days = np.clip(np.exp(rng.normal(np.log(p.label_days), 0.5, n)), 1.0, 6.9)
        labelled = self.instant + (days * DAY).astype(np.int64)
        rater = rng.integers(0, max(4, int(8 * np.sqrt(world.scale))), n)
        seen = versions(self.instant + 90 * MINUTE, [labelled + 20 * MINUTE], world.until)
        at, known = seen.row, seen.known[:, 0]
        rows = {k: v.take(pa.array(at)) for k, v in self.columns.items()} | {
            "draw_id": identifiers("g", first_number + at),
            "surface": names(SURFACES, self.surface[at]),
            "arm": names(ARMS, self.arm[at]),
            "drawn_at": instants(self.instant[at]),
            "draw_probability": pa.array(self.chance[at]),
            "other_probability": pa.array(self.other[at]),
            "views": pa.array(self.views[at]),
            "recommended": pa.array(np.isin(self.surface[at], RECOMMENDED)),
            "rater": identifiers("x", np.where(known, rater[at], NOBODY), 4),
            "labelled_at": instants(seen.when(0, labelled)),
            "violative": optional(label[at], known),
            "policy": names(POLICIES, np.where(known & label[at], policy[at], NOBODY)),
            "low_quality": optional(self.low[at], known),
            "actioned": pa.array(self.actioned[at]),
            "rule": names(RULES, self.rule[at]),
            "ingested_at": instants(seen.ingested),
        }
        writer.add("review_samples", rows, day, day)


def write_surveys(
    world: World, writer: Writer, decided: Cases, outcomes: Outcomes, satisfaction: Array, day: int, first_number: int
) -> int:
    """Rows of ``surveys``: creators and users of the day, and questions about fairness to those decided on.

    Contented people answer more readily, so raw means are too high; ``response_propensity`` corrects for it.

    Args:
        satisfaction: (creators,) how content each creator is, mean about 0.

    Returns:
        how many invitations there were.
    """
    p, c, rng = world.parameters, world.creators, world.rng(day, 51)
    there = np.flatnonzero(c.posting(day))
    asked = there[rng.integers(0, len(there), rng.poisson(p.survey_creators * world.scale))] if len(there) else there
    users = rng.poisson(p.survey_users * world.scale)
    user_market = rng.choice(len(MARKETS), users, p=p.market_shares).astype(np.int8)
    user_tier = rng.choice(len(TIERS), users, p=(0.1, 0.2, 0.3, 0.25, 0.15)).astype(np.int8)
    acted = (decided.action != NONE) & (rng.random(len(decided)) < p.fairness_invited)
    after = acted & (outcomes.resolved != NEVER)
    plain = acted & (outcomes.resolved == NEVER) & (rng.random(len(decided)) < 0.2)
    fair = np.flatnonzero(after | plain)
    verdict = np.where(after, np.where(outcomes.overturned, OVERTURNED, UPHELD), NO_APPEAL)[fair]
    asked_at = np.where(after, outcomes.resolved, decided.decided)[fair] + DAY // 2

    market = np.concatenate([c.market[asked], user_market, decided.market[fair]])
    tier = np.concatenate([c.tier[asked], user_tier, decided.tier[fair]])
    topic = np.repeat(np.arange(3, dtype=np.int8), [len(asked), users, len(fair)])
    n = len(topic)
    mood = np.concatenate([
        satisfaction[asked], rng.normal(0, 0.6, users), np.array([-0.7, 0.5, -0.2])[verdict],
    ]) + 0.5 * rng.standard_normal(n)  # fmt: skip
    scale = np.where(topic == 1, 10.0, 5.0)
    score = np.where(topic == 1, np.round(7.2 + 2.0 * mood), np.round(3.8 + 0.8 * mood))
    score = np.clip(score, np.where(topic == 1, 0, 1), scale)
    readiness = -0.9 + 0.15 * tier + np.array([0.3, -0.4, 0.5])[topic]
    true_chance = 1 / (1 + np.exp(-(readiness + 0.5 * mood)))
    modelled = np.clip(1 / (1 + np.exp(-(readiness + 0.5 * mood + 0.1 * rng.standard_normal(n)))), 0.02, 1.0)
    begin = np.concatenate(
        [np.full(len(asked) + users, day * DAY) + rng.integers(0, DAY, len(asked) + users), asked_at]
    )
    hours = np.minimum(np.exp(rng.normal(np.log(14.0), 1.0, n)), 14 * 24)
    answered = np.where(rng.random(n) < true_chance, begin + (hours * HOUR).astype(np.int64), NEVER)
    seen = versions(begin + 15 * MINUTE, [np.where(answered == NEVER, NEVER, answered + 15 * MINUTE)], world.until)
    at, known = seen.row, seen.known[:, 0]
    verdicts = np.concatenate([np.full(len(asked) + users, NOBODY), verdict])
    rows = {
        "survey_id": identifiers("y", first_number + at),
        "respondent": names(("creator", "user"), (topic[at] == 1).astype(np.int8)),
        "topic": names(TOPICS, topic[at]),
        "market": names(MARKETS, market[at]),
        "tier": names(TIERS, tier[at]),
        "appeal_outcome": names(OUTCOMES, verdicts[at]),
        "invited_at": instants(begin[at]),
        "answered_at": instants(seen.when(0, answered)),
        "score": optional(score[at], known),
        "response_propensity": pa.array(modelled[at]),
        "ingested_at": instants(seen.ingested),
    }
    if day < world.first_day:
        early = pc.less(rows["invited_at"].cast(pa.int64()), world.first_day * DAY)
        keep = pc.invert(early)
        rows = {k: v.filter(keep) for k, v in rows.items()}
        begin_days = (begin[at] // DAY)[~np.asarray(early)]
    else:
        begin_days = begin[at] // DAY
    writer.add("surveys", rows, begin_days, day)
    return n
