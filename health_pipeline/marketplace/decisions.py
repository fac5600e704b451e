"""Decisions as rows, and what follows from each: appeal, reversal, points, a course or a quiz."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

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
from health_pipeline.marketplace.contents import common_columns
from health_pipeline.marketplace.effects import Expansion
from health_pipeline.marketplace.moderation import HUMAN, NONE, REMOVE, RULES, Cases
from health_pipeline.marketplace.parameters import (
    ACTIONS,
    ACTORS,
    MARKETS,
    POLICIES,
    POLICY_SEVERITY,
    SEVERITIES,
    SOURCES,
    TIERS,
)
from health_pipeline.marketplace.standing import QUIZ, Entries, Standing
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

UPHELD, OVERTURNED, NO_APPEAL = range(3)
OUTCOMES = ("upheld", "overturned", "none")


@dataclass
class Outcomes(Records):
    """What came of decisions, in their order."""

    appealed: Array
    resolved: Array
    overturned: Array
    reversed: Array
    reinstated: Array


def appeal(world: World, cases: Cases, rng: np.random.Generator) -> Outcomes:
    """Appeals against actions, and their outcomes. Mistakes are appealed more often, and mostly reversed."""
    p, n = world.parameters, len(cases)
    acted, wrong, on_creator = cases.action != NONE, cases.true_policy == NOBODY, cases.content == NOBODY
    chance = np.where(wrong, p.appeal_false, np.where(on_creator, 2.5, 1.0) * p.appeal_true)
    appeals = acted & (rng.random(n) < chance)
    days = np.minimum(np.exp(rng.normal(np.log(p.appeal_days), 0.8, n)), 13)
    appealed = np.where(appeals, cases.decided + (days * DAY).astype(np.int64), NEVER)
    days = np.minimum(np.exp(rng.normal(np.log(p.outcome_days), 0.6, n)), 14)
    resolved = np.where(appeals, appealed + (days * DAY).astype(np.int64), NEVER)
    overturned = appeals & (rng.random(n) < np.where(wrong, p.overturn_false, p.overturn_true))
    turned = np.where(overturned, resolved + 5 * MINUTE, NEVER)
    hours = np.exp(rng.normal(np.log(2.0), 0.6, n))
    back = overturned & ((cases.action == REMOVE) | on_creator)
    reinstated = np.where(back, turned + (hours * HOUR).astype(np.int64), NEVER)
    return Outcomes(appealed, resolved, overturned, turned, reinstated)


def policy_version(world: World, cases: Cases, day: int) -> pa.Array:
    """The version of the policy in force: 1.0 unless a scenario has expanded it."""
    texts, code = ["1.0"], np.zeros(len(cases), np.int64)
    for _, effect in world.active.on(Expansion, day - world.first_day):
        mask = effect.where.mask(len(cases), market=cases.market, kind=cases.kind, category=cases.category)
        code[mask & (cases.policy == POLICIES.index(effect.policy))] = len(texts)
        texts.append(effect.version)
    return pa.array(texts).take(pa.array(code))


def record(world: World, writer: Writer, standing: Standing, cases: Cases, day: int, stream: int) -> Outcomes:
    """Write the decisions of a day, and arrange for what follows.

    Args:
        cases: decided on the day; ``views`` and ``sold`` are up to the decision.
        stream: tells apart several calls on a day.
    """
    rng = world.rng(day, 40, stream)
    outcomes = appeal(world, cases, rng)
    before, alike, since = standing.prior(cases, day)
    confirmed = (cases.action != NONE) & (cases.content != NOBODY)
    if day >= world.first_day:
        _write_decisions(world, writer, cases, outcomes, (before, alike, since), day, rng)
        _write_appeals(world, writer, cases, outcomes, day)
    standing.confirm(cases.take(confirmed), outcomes.reversed[confirmed], day)
    lifted = (cases.content == NOBODY) & outcomes.overturned
    standing.restore(cases.creator[lifted], outcomes.reinstated[lifted])
    if len(cases):
        _educate(world, writer, standing, cases.take(confirmed), day, rng)
    return outcomes


def _write_decisions(
    world: World, writer: Writer, cases: Cases, outcomes: Outcomes, prior: tuple[Array, Array, Array], day: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    n = len(cases)
    human = cases.actor == HUMAN
    staff = max(1, int(world.scale * 1000 / world.parameters.creators_per_reviewer / len(MARKETS)))
    reviewer = np.where(human, cases.market.astype(np.int64) * 100_000 + rng.integers(0, staff, n), NOBODY)
    evades = world.creators.evader[cases.creator] & (cases.action != NONE) & (rng.random(n) < 0.6)
    version = policy_version(world, cases, day)
    delay = (np.exp(rng.normal(np.log(8.0), 0.8, n)) * MINUTE).astype(np.int64)
    later = [np.where(x == NEVER, NEVER, x + HOUR) for x in (outcomes.appealed, outcomes.reversed, outcomes.reinstated)]
    seen = versions(cases.decided + delay, later, world.until)
    at = seen.row
    before, alike, since = (x[at] for x in prior)
    content = identifiers("vl", cases.content[at], choice=cases.kind[at])
    columns = common_columns(cases, at) | {
        "decision_id": identifiers("d", cases.number[at]),
        "content_id": content,
        "policy": names(POLICIES, cases.policy[at]),
        "policy_version": version.take(pa.array(at)),
        "severity": names(SEVERITIES, np.array(POLICY_SEVERITY)[cases.policy[at]]),
        "action": names(ACTIONS, cases.action[at]),
        "actor": names(ACTORS, cases.actor[at]),
        "rule": names(RULES, cases.rule[at]),
        "source_type": names(SOURCES, cases.source[at]),
        "reviewer_id": identifiers("w", reviewer[at], 6),
        "review_minutes": optional(np.nan_to_num(cases.minutes[at]), human[at]),
        "second_opinion_agrees": optional(cases.agrees[at] == 1, cases.agrees[at] != NOBODY),
        "published_at": instants(cases.published[at]),
        "detected_at": instants(cases.opened[at]),
        "due_at": instants(cases.due[at]),
        "decided_at": instants(cases.decided[at]),
        "views_at_action": pa.array(cases.views[at]),
        "gmv_at_risk": pa.array(np.round(cases.sold[at], 2)),
        "prior_violations_90d": pa.array(before),
        "prior_same_policy_90d": pa.array(alike),
        "days_since_last_violation": optional(since.astype(np.int64), since != NOBODY),
        "evasion": pa.array(evades[at]),
        "appealed_at": instants(seen.when(0, outcomes.appealed)),
        "reversed_at": instants(seen.when(1, outcomes.reversed)),
        "reinstated_at": instants(seen.when(2, outcomes.reinstated)),
        "ingested_at": instants(seen.ingested),
    }
    writer.add("decisions", columns, day, day)


def _write_appeals(world: World, writer: Writer, cases: Cases, outcomes: Outcomes, day: int) -> None:
    filed = np.flatnonzero(outcomes.appealed < world.until)
    seen = versions(outcomes.appealed[filed] + 30 * MINUTE, [outcomes.resolved[filed] + 30 * MINUTE], world.until)
    at, known = filed[seen.row], seen.known[:, 0]
    columns = common_columns(cases, at) | {
        "appeal_id": identifiers("a", cases.number[at]),
        "decision_id": identifiers("d", cases.number[at]),
        "policy": names(POLICIES, cases.policy[at]),
        "policy_version": policy_version(world, cases, day).take(pa.array(at)),
        "filed_at": instants(outcomes.appealed[at]),
        "resolved_at": instants(np.where(known, outcomes.resolved[at], NEVER)),
        "outcome": names(OUTCOMES, np.where(known, outcomes.overturned[at].astype(np.int8), NOBODY)),
        "ingested_at": instants(seen.ingested),
    }
    writer.add("appeals", columns, outcomes.appealed[at] // DAY, day)


def _educate(
    world: World, writer: Writer, standing: Standing, cases: Cases, day: int, rng: np.random.Generator
) -> None:
    """Courses and quizzes assigned after violations: rows, quiz points, and who has finished."""
    p = world.parameters
    cases = cases.take(rng.random(len(cases)) < p.assigned)
    n = len(cases)
    quiz = rng.random(n) < p.quiz_share
    assigned = cases.decided + (np.exp(rng.normal(np.log(0.7), 0.5, n)) * HOUR).astype(np.int64)
    days = np.minimum(np.exp(rng.normal(np.log(p.view_days), 0.9, n)), 28)
    viewed = np.where(rng.random(n) < p.viewed, assigned + (days * DAY).astype(np.int64), NEVER)
    sits = quiz & (viewed != NEVER)
    minutes = (np.exp(rng.normal(np.log(12.0), 0.6, n)) * MINUTE).astype(np.int64)
    attempted = np.where(sits, viewed + minutes, NEVER)
    passed = sits & (rng.random(n) < p.quiz_passed)
    again = np.where(sits & ~passed & (rng.random(n) < 0.7), attempted + DAY + minutes, NEVER)
    finished = np.where(quiz, np.where(passed, attempted, again), viewed)
    done = finished != NEVER
    standing.educate(cases.creator[done], finished[done])
    won = passed & done
    fill = np.full(won.sum(), NEVER)
    standing.schedule(
        Entries(
            cases.creator[won], np.full(won.sum(), p.quiz_points), np.full(won.sum(), QUIZ, np.int8), cases.policy[won],
            cases.kind[won], attempted[won], fill,
        )
    )  # fmt: skip
    if day < world.first_day:
        return
    soon = 5 * MINUTE
    things = [np.where(x == NEVER, NEVER, x + soon) for x in (viewed, attempted, again)]
    seen = versions(assigned + soon, things, world.until)
    at, known = seen.row, seen.known
    writer.add(
        "education",
        {
            "assignment_id": identifiers("t", cases.number[at]),
            "creator_id": identifiers("c", cases.creator[at], 8),
            "market": names(MARKETS, cases.market[at]),
            "tier": names(TIERS, cases.tier[at]),
            "policy": names(POLICIES, cases.policy[at]),
            "kind_of_education": names(("course", "quiz"), quiz[at].astype(np.int8)),
            "attempt": known[:, 1].astype(np.int64) + known[:, 2],
            "assigned_at": instants(assigned[at]),
            "viewed_at": instants(seen.when(0, viewed)),
            "passed_first": optional(passed[at], known[:, 1]),
            "ingested_at": instants(seen.ingested),
        },
        assigned[at] // DAY,
        day,
    )
