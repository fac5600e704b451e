"""What follows for creators: the record of their violations, their points, their status, and the daily snapshot."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE
from health_pipeline.marketplace.columns import NEVER, NOBODY, Array, Records, dates, identifiers, instants, names
from health_pipeline.marketplace.contents import policy_rates
from health_pipeline.marketplace.moderation import OWN, RULE, SEVERITY, Cases
from health_pipeline.marketplace.parameters import (
    ACTIONS,
    ACTIVE,
    BANNED,
    MARKETS,
    POLICIES,
    RESTRICTED,
    STATUSES,
    TIERS,
)
from health_pipeline.marketplace.world import HISTORY_DAYS, World, random
from health_pipeline.marketplace.writer import Writer

VIOLATION, REVERSAL, QUIZ, ORDERS, DECAY = range(5)
LONG_AGO = 730
"""What creators learned so many days before the simulation begins does not count."""
LIFTED_TO = 60
"""Rating of a creator whose ban was reversed: above the milestone at which the permission to sell is lost."""
REASONS = ("violation", "reversal", "quiz", "order_milestone", "decay")
LADDER = tuple(ACTIONS.index(a) for a in ("restrict", "freeze_commission", "revoke", "ban"))
"""What happens at each milestone of the health rating."""


@dataclass
class Entries(Records):
    """Changes of health ratings."""

    creator: Array
    delta: Array
    reason: Array
    policy: Array
    kind: Array
    at: Array
    expires: Array


@dataclass
class History(Records):
    """Confirmed violations, and until when each stands: NEVER, or the instant of its reversal."""

    creator: Array
    policy: Array
    at: Array
    until: Array


class Standing:
    """The history of violations, and what is going to happen on later days."""

    def __init__(self, world: World, day: int) -> None:
        self.world = world
        self.history = self._seed(day)
        self._entries: dict[int, list[Entries]] = defaultdict(list)
        self._educated: dict[int, list[Array]] = defaultdict(list)
        self._restored: dict[int, list[Array]] = defaultdict(list)
        self._charge(self.history, day)
        self.counts = np.zeros(len(world.creators), np.int64)
        self.entries = 0

    def _seed(self, day: int) -> History:
        """Violations of the 90 days before the simulation begins, as often as they will be; and who was educated."""
        p, c = self.world.parameters, self.world.creators
        rng = random(self.world.seed, 5)
        rates = policy_rates(p).mean(axis=2)[c.market, c.category]
        daily = c.posts * c.propensity * rates.sum(axis=1) * 0.55 * (c.joined < day)
        count = rng.poisson(daily * np.minimum(HISTORY_DAYS, np.maximum(day - c.joined, 0)))
        since = rng.exponential(1.0, len(c)) / np.maximum(daily * p.assigned * p.viewed, 1e-12)
        before = since < np.minimum(day - c.joined, LONG_AGO)
        c.educated[before] = day - 1 - since[before].astype(np.int64)
        creator = np.repeat(np.arange(len(c), dtype=np.int32), count)
        chance = np.cumsum(rates, axis=1)[creator]
        policy = (rng.random(len(creator))[:, None] * chance[:, -1:] >= chance).sum(axis=1)
        back = rng.random(len(creator)) * np.minimum(HISTORY_DAYS, day - c.joined[creator])
        at = day * DAY - (back * DAY).astype(np.int64) - 1
        return History(creator, np.minimum(policy, len(POLICIES) - 1).astype(np.int8), at, np.full(len(creator), NEVER))

    def _charge(self, history: History, day: int) -> None:
        p, c = self.world.parameters, self.world.creators
        points = np.array(p.points)[SEVERITY[history.policy]]
        charged = np.bincount(history.creator, weights=points, minlength=len(c)).astype(np.int64)
        c.rating[:] = np.maximum(p.rating_start - charged, 20)
        np.maximum.at(c.last_violation, history.creator, (history.at // DAY).astype(np.int32))
        back = history.at + p.points_expire_days * DAY
        n = len(history)
        never = np.full(n, NEVER)
        kind = np.zeros(n, np.int8)
        self.schedule(
            Entries(
                history.creator,
                points,
                np.full(n, DECAY, np.int8),
                history.policy,
                kind,
                np.maximum(back, day * DAY),
                never,
            )
        )

    def schedule(self, entries: Entries) -> None:
        """Change ratings on the days on which entries fall."""
        days = entries.at // DAY
        for day in np.unique(days):
            self._entries[int(day)].append(entries.take(days == day))

    def educate(self, creators: Array, at: Array) -> None:
        """Note who finishes a course or quiz, and when."""
        days = at // DAY
        for day in np.unique(days):
            self._educated[int(day)].append(creators[days == day])

    def restore(self, creators: Array, at: Array) -> None:
        """Lift what was done to creators, when it is reversed."""
        days = at // DAY
        for day in np.unique(days):
            self._restored[int(day)].append(creators[days == day])

    def begin(self, day: int) -> None:
        """Forget what is older than 90 days, and lift and note what falls on the day."""
        c = self.world.creators
        self.history = self.history.take(self.history.at >= (day - HISTORY_DAYS) * DAY)
        for who in self._restored.pop(day, []):
            c.status[who] = ACTIVE
            c.gone[who] = NOBODY
            self._lift(who[c.rating[who] < LIFTED_TO], day)
        for who in self._educated.pop(day, []):
            c.educated[who] = day
        standing = self.history.take(self.history.until > day * DAY)
        self.counts = np.bincount(standing.creator, minlength=len(c))

    def _lift(self, who: Array, day: int) -> None:
        """Points back for those who were banned or restricted by mistake."""
        n, reason = len(who), np.full(len(who), REVERSAL, np.int8)
        delta = LIFTED_TO - self.world.creators.rating[who]
        at, none = np.full(n, day * DAY + HOUR), np.full(n, NOBODY, np.int8)
        self.schedule(Entries(who, delta, reason, none, np.zeros(n, np.int8), at, np.full(n, NEVER)))

    def prior(self, cases: Cases, day: int) -> tuple[Array, Array, Array]:
        """Violations of the 90 days before, of these under the same policy, and days since the last one."""
        c = self.world.creators
        standing = self.history.take((self.history.until > day * DAY) & (self.history.at < day * DAY))
        keys, same = np.unique(standing.creator.astype(np.int64) * len(POLICIES) + standing.policy, return_counts=True)
        wanted = cases.creator.astype(np.int64) * len(POLICIES) + cases.policy
        if len(keys):
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            alike = np.where(keys[at] == wanted, same[at], 0)
        else:
            alike = np.zeros(len(cases), np.int64)
        last = c.last_violation[cases.creator]
        return self.counts[cases.creator], alike, np.where(last == NOBODY, NOBODY, day - last)

    def confirm(self, cases: Cases, reversed_at: Array, day: int) -> None:
        """Add confirmed violations to the record, and charge their points."""
        p, n = self.world.parameters, len(cases)
        self.history = self.history.followed_by(History(cases.creator, cases.policy, cases.decided, reversed_at))
        self.world.creators.last_violation[cases.creator] = day
        points = np.array(p.points)[SEVERITY[cases.policy]]
        expires = cases.decided + p.points_expire_days * DAY
        never = np.full(n, NEVER)

        def entries(delta: Array, reason: int, at: Array, expiry: Array) -> Entries:
            return Entries(cases.creator, delta, np.full(n, reason, np.int8), cases.policy, cases.kind, at, expiry)

        self.schedule(entries(-points, VIOLATION, cases.decided, expires))
        turned = reversed_at != NEVER
        self.schedule(entries(points, REVERSAL, reversed_at, never).take(turned))
        self.schedule(entries(points, DECAY, expires, never).take(~turned))

    def settle(self, writer: Writer, day: int, sold: Array, first_number: int) -> Cases:
        """Apply the day's changes of ratings, and decide on creators whose rating fell below a milestone.

        Args:
            sold: (creators,) orders of the day.
        """
        p, c = self.world.parameters, self.world.creators
        before_orders = c.orders.copy()
        c.orders += sold
        for milestone in p.order_milestones:
            who = np.flatnonzero((before_orders < milestone) & (c.orders >= milestone)).astype(np.int32)
            n = len(who)
            self.schedule(
                Entries(
                    who, np.full(n, p.order_points), np.full(n, ORDERS, np.int8), np.full(n, NOBODY, np.int8),
                    np.zeros(n, np.int8), np.full(n, (day + 1) * DAY - HOUR), np.full(n, NEVER),
                )
            )  # fmt: skip
        before = c.rating.copy()
        entries = Entries.none()
        for due in self._entries.pop(day, []):
            entries = entries.followed_by(due)
        entries = entries.take(_present(self.world, day)[entries.creator])
        entries = entries.take(np.lexsort((entries.delta, entries.at, entries.creator)))
        starts = np.flatnonzero(np.diff(entries.creator, prepend=NOBODY))
        balance = _balances(before[entries.creator], entries.delta, starts)
        c.rating[entries.creator] = balance  # the last of a creator stays
        arrived = entries.at + 10 * MINUTE
        kept = arrived < self.world.until
        if day >= self.world.first_day:
            self._write(writer, entries.take(kept), balance[kept], arrived[kept], day)
        last = np.flatnonzero(np.diff(entries.creator, append=NOBODY))
        return self._ladder(entries.take(last), before, day, first_number)

    def _write(self, writer: Writer, entries: Entries, balance: Array, arrived: Array, day: int) -> None:
        c = self.world.creators
        writer.add(
            "points_ledger",
            {
                "entry_id": identifiers("e", self.entries + np.arange(len(entries))),
                "creator_id": identifiers("c", entries.creator, 8),
                "market": names(MARKETS, c.market[entries.creator]),
                "tier": names(TIERS, c.tier[entries.creator]),
                "delta": pa.array(entries.delta),
                "balance": pa.array(balance),
                "reason": names(REASONS, entries.reason),
                "occurred_at": instants(entries.at),
                "expires_at": instants(entries.expires),
                "ingested_at": instants(arrived),
            },
            day,
            day,
        )
        self.entries += len(entries)

    def _ladder(self, last: Entries, before: Array, day: int, first_number: int) -> Cases:
        """Decisions on creators, by each one's last entry of the day.

        Args:
            before: (creators,) ratings at the start of the day.
        """
        p, c = self.world.parameters, self.world.creators
        who = last.creator
        step = np.full(len(who), NOBODY)
        for number, milestone in enumerate(p.milestones):
            step[(before[who] > milestone) & (c.rating[who] <= milestone)] = number
        fallen = (step != NOBODY) & (c.status[who] <= RESTRICTED) & (last.policy != NOBODY)
        last, who, step = last.take(fallen), who[fallen], step[fallen]
        n = len(who)
        c.status[who[step == 0]] = RESTRICTED
        c.restricted_until[who[step == 0]] = day + p.restricted_days
        c.status[who[step == 3]] = BANNED
        c.gone[who[step == 3]] = day
        c.permission[:] = (c.status <= RESTRICTED) & (c.rating > p.milestones[2])
        decided = np.minimum(last.at + 10 * MINUTE, (day + 1) * DAY - 1)
        return Cases(
            number=np.arange(first_number, first_number + n),
            content=np.full(n, NOBODY),
            creator=who,
            market=c.market[who],
            kind=last.kind.astype(np.int8),
            category=c.category[who],
            tier=c.tier[who],
            language=c.language[who],
            policy=last.policy.astype(np.int8),
            true_policy=last.policy.astype(np.int8),
            published=np.full(n, NEVER),
            opened=last.at,
            due=last.at + DAY,
            decided=decided,
            actor=np.full(n, RULE, np.int8),
            rule=np.full(n, NOBODY, np.int8),
            source=np.full(n, OWN, np.int8),
            action=np.array(LADDER, np.int8)[step],
            minutes=np.full(n, np.nan),
            agrees=np.full(n, NOBODY, np.int8),
            views=np.zeros(n, np.int64),
            sold=np.zeros(n),
        )

    def write_snapshot(self, writer: Writer, day: int) -> None:
        """Rows of ``creators``: everyone who is there, or left in the last 90 days."""
        c = self.world.creators
        at = np.flatnonzero(_present(self.world, day))
        standing = self.history.take(self.history.until > (day + 1) * DAY)
        violations = np.bincount(standing.creator, minlength=len(c))
        n = len(at)
        writer.add(
            "creators",
            {
                "day": dates(np.full(n, day)),
                "creator_id": identifiers("c", at, 8),
                "market": names(MARKETS, c.market[at]),
                "tier": names(TIERS, c.tier[at]),
                "followers": pa.array(c.followers[at].astype(np.int64)),
                "joined_at": dates(c.joined[at]),
                "status": names(STATUSES, c.status[at]),
                "ecom_permission": pa.array(c.permission[at]),
                "health_rating": pa.array(c.rating[at]),
                "posts_7d": pa.array(c.posts_7d[at].sum(axis=1)),
                "orders_7d": pa.array(c.orders_7d[at].sum(axis=1)),
                "violations_90d": pa.array(violations[at]),
                "last_violation_on": dates(c.last_violation[at]),
                "educated_on": dates(c.educated[at]),
                "ingested_at": instants(np.full(n, (day + 1) * DAY - 5 * MINUTE)),
            },
            day,
            day,
        )


def _balances(before: Array, delta: Array, starts: Array) -> Array:
    """Balance after each change of those of several creators side by side; none falls below 0 nor rises above 1000.

    A sum that is held at zero is the free sum less its running minimum, where that is negative (Skorokhod reflection).

    Args:
        before: (changes,) balance of the creator before the first change.
        starts: position of each creator's first change.
    """
    total = np.cumsum(delta)
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(delta)]))
    free = before + total - (total[starts] - delta[starts])[group]
    apart = group * 1_000_000_000  # each creator's values lie below those of all creators before
    lowest = np.minimum.accumulate(free - apart) + apart
    balances: Array = np.minimum(free - np.minimum(lowest, 0), 1000)
    return balances


def _present(world: World, day: int) -> Array:
    c = world.creators
    present: Array = (c.joined <= day) & ((c.gone == NOBODY) | (c.gone > day - world.parameters.snapshot_days))
    return present
