"""Detection and decisions: model, rules, humans and users' reports, each with their delays and mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.audience import Traffic, outage
from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE
from health_pipeline.marketplace.columns import NEVER, NOBODY, Array, Records, identifiers, instants, names, versions
from health_pipeline.marketplace.contents import Contents, common_columns
from health_pipeline.marketplace.effects import Latency, Reporting, Threshold
from health_pipeline.marketplace.parameters import (
    ACTIONS,
    KINDS,
    LIVE,
    MARKETS,
    POLICIES,
    POLICY_SEVERITY,
    SURFACES,
)
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

NONE, WARN, DEMOTE, REMOVE, POINTS = (ACTIONS.index(a) for a in ("none", "warn", "demote", "remove", "points"))
RULE, MODEL, HUMAN = range(3)
OWN, USER, TRUSTED = range(3)
ACTION_CHANCES = np.array([  # none, warn, demote, remove, points; by severity
    [0, 0.0, 0.0, 0.85, 0.15],
    [0, 0.05, 0.05, 0.75, 0.15],
    [0, 0.2, 0.25, 0.5, 0.05],
    [0, 0.4, 0.5, 0.1, 0.0],
])  # fmt: skip
RULES = tuple(f"{how}_{policy}" for how in ("keyword", "model") for policy in POLICIES)
SEVERITY = np.array(POLICY_SEVERITY, dtype=np.int8)
LONGEST = 20 * DAY
"""No case stays open longer."""


@dataclass
class Cases(Records):
    """Cases on contents, and on creators (``content`` is NOBODY). Instants are microseconds since 1970."""

    number: Array
    content: Array
    creator: Array
    market: Array
    kind: Array
    category: Array
    tier: Array
    language: Array
    policy: Array
    """Policy of the decision."""
    true_policy: Array
    published: Array
    opened: Array
    due: Array
    decided: Array
    actor: Array
    rule: Array
    source: Array
    action: Array
    minutes: Array
    agrees: Array
    """1 or 0 where there was a second opinion, else NOBODY."""
    views: Array
    """Views up to the end of yesterday, then up to the decision."""
    sold: Array


def detect(world: World, contents: Contents, day: int, first_number: int) -> Cases:
    """Cases that model and rules raise on the day's contents; some they decide by themselves."""
    p, offset = world.parameters, day - world.first_day
    rng = world.rng(day, 30)
    n = len(contents)
    codes = {d: getattr(contents, d) for d in ("market", "kind", "category", "tier", "language")}
    threshold = np.full(n, p.act_above)
    for _, effect in world.active.on(Threshold, offset):
        hit = effect.where.mask(n, **codes)
        threshold[hit & np.isin(contents.predicted, [POLICIES.index(k) for k in effect.policies])] -= effect.shift
    acts = contents.score > threshold
    at = np.flatnonzero(acts | (contents.score > p.review_above))
    acts = acts[at]
    m = len(at)
    rules = acts & (rng.random(m) < p.rule_share)
    actor = np.where(rules, RULE, np.where(acts, MODEL, HUMAN)).astype(np.int8)
    policy = contents.predicted[at]
    rule = np.where(rules, policy, policy + len(POLICIES)).astype(np.int8)
    start = contents.published[at]
    live = contents.kind[at] == LIVE
    start = np.where(live, start + (rng.random(m) * (contents.ended[at] - start)).astype(np.int64), start)
    raised = start + (np.exp(rng.normal(np.log(p.detect_minutes), 0.8, m)) * MINUTE).astype(np.int64)
    at_once = start + (np.exp(rng.normal(np.log(p.model_minutes), 0.9, m)) * MINUTE).astype(np.int64)
    opened = np.where(acts, start, raised)
    return _cases(
        world, contents, at, opened, at_once, actor, rule, np.zeros(m, np.int8), policy, day, first_number, rng
    )


def _cases(
    world: World,
    contents: Contents,
    at: Array,
    opened: Array,
    at_once: Array,
    actor: Array,
    rule: Array,
    source: Array,
    policy: Array,
    day: int,
    first_number: int,
    rng: np.random.Generator,
) -> Cases:
    """Cases with their decisions. Marks the contents as decided, removed or demoted at the instants to come.

    Args:
        at: positions of the contents.
        at_once: when a model or rule decides; humans take their time from ``opened``.
    """
    p, m = world.parameters, len(at)
    truth = contents.policy[at]
    human = actor == HUMAN
    hours = np.exp(rng.normal(np.log(p.human_hours), p.human_spread, m))
    hours *= world.active.factor(
        Latency, "multiplier", day - world.first_day, m, market=contents.market[at], kind=contents.kind[at],
        category=contents.category[at], language=contents.language[at],
    )  # fmt: skip
    hours *= p.weekend_slower if (day + 3) % 7 >= 5 else 1.0  # day 0 of 1970 was a Thursday
    taken = np.minimum((hours * HOUR).astype(np.int64), LONGEST)
    decided = np.where(human, opened + taken, at_once)
    right = rng.random(m)
    found = np.where(truth != NOBODY, right < p.human_sensitivity, right > p.human_specificity)
    policy = np.where(human & (truth != NOBODY), truth, policy).astype(np.int8)  # people name the right one
    severity = SEVERITY[policy]
    chosen = (rng.random(m)[:, None] > np.cumsum(ACTION_CHANCES, axis=1)[severity]).sum(axis=1)
    action = np.where(human & ~found, NONE, np.minimum(chosen, POINTS)).astype(np.int8)
    second = human & (rng.random(m) < p.double_review)
    minutes = np.array(p.review_minutes)[severity] * np.exp(0.5 * rng.standard_normal(m))

    contents.decided[at] = decided
    contents.acted[at] = action != NONE
    contents.removed[at[action == REMOVE]] = decided[action == REMOVE]
    contents.demoted[at[action == DEMOTE]] = decided[action == DEMOTE]
    return Cases(
        number=np.arange(first_number, first_number + m),
        content=contents.number[at],
        creator=contents.creator[at],
        market=contents.market[at],
        kind=contents.kind[at],
        category=contents.category[at],
        tier=contents.tier[at],
        language=contents.language[at],
        policy=policy,
        true_policy=truth,
        published=contents.published[at],
        opened=opened,
        due=opened + (np.array(p.due_hours)[severity] * HOUR).astype(np.int64),
        decided=decided,
        actor=actor,
        rule=rule,
        source=source,
        action=action,
        minutes=np.where(human, np.round(minutes, 2), np.nan),
        agrees=np.where(second, rng.random(m) < p.agreement, NOBODY).astype(np.int8),
        views=np.zeros(m, np.int64),
        sold=np.zeros(m),
    )


@dataclass
class Reports(Records):
    """Reports of a day."""

    content: Array
    surface: Array
    policy: Array
    reporter: Array
    trusted: Array
    filed: Array


def report(
    world: World, contents: Contents, made: Traffic, day: int, share: float, rng: np.random.Generator
) -> Reports:
    """Reports by those who viewed: honest ones, mistaken ones, and brigades against a few contents.

    Args:
        share: of the day's brigades that fall on these contents.
    """
    p, n = world.parameters, len(contents)
    guilty = contents.policy != NOBODY
    rate = np.where(guilty, np.array(p.report_violating)[SEVERITY[np.maximum(contents.policy, 0)]], p.report_benign)
    codes = {d: getattr(contents, d) for d in ("market", "kind", "category", "tier", "language")}
    rate *= world.active.factor(Reporting, "multiplier", day - world.first_day, n, **codes)
    honest = rng.poisson(made.views * rate[made.content])
    if len(made):
        brigades = rng.poisson(p.brigades * world.scale * share)
        attacked = rng.integers(0, len(made), brigades)
        extra = np.bincount(attacked, weights=rng.poisson(p.brigade_size, brigades), minlength=len(made)).astype(
            np.int64
        )
    else:
        extra = np.zeros(0, np.int64)
    row = np.repeat(np.arange(len(made)), honest + extra)
    content = made.content[row]
    m = len(row)
    own = (contents.policy[content] != NOBODY) & (rng.random(m) < 0.8)
    policy = np.where(own, contents.policy[content], rng.choice(len(POLICIES), m)).astype(np.int8)
    filed = day * DAY + made.hour[row].astype(np.int64) * HOUR + rng.integers(0, HOUR, m)
    market = contents.market[content].astype(np.int64)
    pool = max(int(2_000 * world.scale), 50)
    reporter = market * 100_000_000 + np.minimum(rng.zipf(1.5, m), pool)  # a few report much
    trusted = (contents.policy[content] != NOBODY) & (rng.random(m) < p.trusted)
    return Reports(content, made.surface[row], policy, reporter, trusted, filed)


def open_reported(
    world: World, contents: Contents, reports: Reports, day: int, first_number: int, rng: np.random.Generator
) -> Cases:
    """Cases on contents reported today on which there was none. They are triaged over night: humans decide later."""
    fresh = contents.decided[reports.content] == NEVER
    at, first = np.unique(reports.content[fresh], return_index=True)
    taken = rng.random(len(at)) < world.parameters.report_to_case
    at, first = at[taken], np.flatnonzero(fresh)[first[taken]]
    m = len(at)
    opened = np.maximum(reports.filed[first] + 2 * HOUR, (day + 1) * DAY)
    source = np.where(reports.trusted[first], TRUSTED, USER).astype(np.int8)
    rule = np.full(m, NOBODY, np.int8)
    human = np.full(m, HUMAN, np.int8)
    return _cases(
        world, contents, at, opened, opened, human, rule, source, reports.policy[first], day, first_number, rng
    )


def write_reports(
    world: World, writer: Writer, contents: Contents, reports: Reports, day: int, first_number: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Rows of ``reports``: open at first, resolved when the content is decided or the report is looked at."""
    at, n = reports.content, len(reports)
    looked = reports.filed + (np.exp(rng.normal(np.log(20.0), 0.7, n)) * HOUR).astype(np.int64)
    decided = contents.decided[at]
    with_case = (decided != NEVER) & (decided < reports.filed + 30 * DAY)
    resolved = np.where(with_case, np.maximum(decided, reports.filed + 5 * MINUTE), looked)
    actioned = with_case & contents.acted[at]
    in_time = np.lexsort((reports.filed, at))
    first = np.zeros(n, dtype=np.bool_)
    first[in_time[np.unique(at[in_time], return_index=True)[1]]] = True
    arrived = reports.filed + (np.exp(rng.normal(np.log(1.5), 0.6, n)) * HOUR).astype(np.int64)
    arrived = outage(world.active, "reports", day - world.first_day, day, contents.market[at], arrived)
    seen = versions(arrived, [resolved + 30 * MINUTE], world.until)
    row = seen.row
    known = seen.known[:, 0]
    columns = common_columns(contents, at[row]) | {
        "report_id": identifiers("r", first_number + row),
        "content_id": contents.ids.take(pa.array(at[row])),
        "surface": names(SURFACES, reports.surface[row]),
        "policy": names(POLICIES, reports.policy[row]),
        "reporter_id": identifiers("u", reports.reporter[row]),
        "trusted_flagger": reports.trusted[row],
        "first_report": first[row],
        "filed_at": instants(reports.filed[row]),
        "resolved_at": instants(seen.when(0, resolved)),
        "actioned": actioned[row] & known,
        "ingested_at": instants(seen.ingested),
    }
    writer.add("reports", columns, day, day)


def write_queue(world: World, writer: Writer, pending: Cases, day: int) -> None:
    """Rows of ``review_queue``: every case open at the end of the day."""
    midnight = (day + 1) * DAY
    arrived = midnight - 5 * MINUTE  # the export of the last minutes of the day
    open_cases = np.flatnonzero((pending.opened < midnight) & (pending.decided >= midnight))
    n = len(open_cases)
    writer.add(
        "review_queue",
        {
            "day": pa.array(np.full(n, day, np.int32)).view(pa.date32()),
            "case_id": identifiers("q", pending.number[open_cases]),
            "content_id": identifiers("vl", pending.content[open_cases], choice=pending.kind[open_cases]),
            "creator_id": identifiers("c", pending.creator[open_cases], 8),
            "market": names(MARKETS, pending.market[open_cases]),
            "kind": names(KINDS, pending.kind[open_cases]),
            "policy": names(POLICIES, pending.policy[open_cases]),
            "opened_at": instants(pending.opened[open_cases]),
            "due_at": instants(pending.due[open_cases]),
            "ingested_at": instants(np.maximum(arrived, pending.opened[open_cases])),
        },
        day,
        day,
    )
