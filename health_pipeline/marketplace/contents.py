"""Short videos and livestreams: who publishes what, whether it violates a policy, and what the model thinks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE, DayFactors
from health_pipeline.marketplace.columns import (
    NEVER,
    NOBODY,
    Array,
    Records,
    identifiers,
    names,
)
from health_pipeline.marketplace.effects import Expansion, Farm, Quality, Ring, Violations, Volume
from health_pipeline.marketplace.parameters import (
    CATEGORIES,
    CATEGORY_RISK,
    KINDS,
    LANGUAGES,
    LIVE,
    MARKET_RISK,
    MARKETS,
    POLICIES,
    RESTRICTED,
    TIERS,
    VIDEO,
    Parameters,
)
from health_pipeline.marketplace.world import World

COUNTERFEIT, FAKE = POLICIES.index("counterfeit"), POLICIES.index("fake_engagement")
POOR = [POLICIES.index("low_quality"), POLICIES.index("static_live")]


@dataclass
class Contents(Records):
    """Contents, one array each. Instants are microseconds since 1970."""

    number: Array
    day: Array
    creator: Array
    market: Array
    kind: Array
    category: Array
    tier: Array
    language: Array
    published: Array
    ended: Array
    policy: Array
    """Policy truly violated, else NOBODY."""
    policy_next: Array
    """Policy violated once all policy expansions of the scenario hold."""
    predicted: Array
    """Policy for which the model's score speaks."""
    score: Array
    """The model's score, in logits."""
    quality: Array
    low_quality: Array
    views: Array
    """Expected views in the whole life."""
    watch: Array
    clicks: Array
    product: Array
    """(contents, 3) products shown."""
    products: Array
    """How many of them."""
    cluster: Array
    hash: Array
    copy: Array
    """Nearly the same as an earlier content."""
    removed: Array
    restored: Array
    demoted: Array
    decided: Array
    """When a decision on it is made; NEVER while no case is open."""
    acted: Array
    """Whether that decision is an action."""
    seen: Array
    """Views up to the end of yesterday."""
    sold: Array
    """US dollars sold through it so far."""

    @property
    def ids(self) -> pa.Array:
        return identifiers("vl", self.number, choice=self.kind)


def policy_rates(p: Parameters) -> Array:
    """(markets, categories, kinds, policies) chance that a content of an average creator violates each policy."""
    rates = np.tile(np.array(p.violation_rates), (len(MARKETS), len(CATEGORIES), len(KINDS), 1))
    for policy, factors in CATEGORY_RISK.items():
        for category, factor in factors.items():
            rates[:, CATEGORIES.index(category), :, POLICIES.index(policy)] *= factor
    for policy, factors in MARKET_RISK.items():
        for market, factor in factors.items():
            rates[MARKETS.index(market), :, :, POLICIES.index(policy)] *= factor
    rates[:, :, VIDEO, POLICIES.index("static_live")] = 0
    rates[:, :, LIVE, POLICIES.index("unoriginal")] = 0
    return rates


def publish(world: World, day: int, factors: DayFactors, hours: Array, first_number: int, recent: Array) -> Contents:
    """The contents of a day.

    Args:
        hours: of :func:`.calendar.hour_tables`.
        first_number: the number of the first content.
        recent: perceptual hashes of earlier contents, of which some are repeated.
    """
    p, c, active = world.parameters, world.creators, world.active
    offset = day - world.first_day
    rng = world.rng(day, 20)
    rate = c.posts * factors.posts[c.market] * c.posting(day) * np.where(c.status == RESTRICTED, 0.3, 1.0)
    rate *= active.factor(Volume, "posts", offset, len(c), market=c.market, category=c.category, tier=c.tier)
    clustered = np.zeros(len(c), dtype=bool)
    for number, effect in active.on(Ring, offset):
        clustered |= c.cluster == number
        rate = np.where(c.cluster == number, effect.posts * c.posting(day), rate)
    creator = np.repeat(np.arange(len(c), dtype=np.int32), rng.poisson(rate))
    n = len(creator)
    market, tier = c.market[creator], c.tier[creator]
    kind = (rng.random(n) < np.array(p.live_share)[tier]).astype(np.int8)
    category = np.where(
        (rng.random(n) < p.own_category) | clustered[creator],
        c.category[creator],
        rng.choice(len(CATEGORIES), n, p=np.array(p.category_shares) / sum(p.category_shares)),
    ).astype(np.int8)
    language = c.language[creator]
    published = day * DAY + hours[market, rng.integers(0, hours.shape[1], n)] * HOUR + rng.integers(0, HOUR, n)
    minutes = np.clip(p.live_minutes * np.exp(0.6 * rng.standard_normal(n)), 5, 600)
    ended = np.minimum(published + (minutes * MINUTE).astype(np.int64), (day + 1) * DAY - 1)
    codes = {"market": market, "kind": kind, "category": category, "tier": tier, "language": language}
    policy, policy_next, cluster = _violations(world, day, creator, codes, rng)
    quality, low = _quality(world, day, creator, codes, policy, rng)
    benign = np.array(p.violation_rates) / sum(p.violation_rates)
    other = rng.choice(len(POLICIES), n, p=benign).astype(np.int8)
    mean, spread = np.where((policy == NOBODY)[:, None], p.score_benign, p.score_violating).T
    views = np.array(p.tier_views)[tier] * c.audience[creator] * (0.55 + 0.7 * quality)
    views *= np.exp(p.content_spread * rng.standard_normal(n) - p.content_spread**2 / 2)
    clicks = np.array(p.click_rate)[kind] * (0.5 + 0.8 * quality)
    watch = np.array(p.watch_seconds)[kind] * (0.5 + 0.8 * quality)
    for number, effect in active.on(Farm, offset):
        mine = cluster == number
        views[mine] *= effect.views
        clicks[mine] *= 0.1
        watch[mine] *= 0.15
    counterfeit, salt = policy == COUNTERFEIT, creator.astype(np.int64) * 8
    pick = rng.integers(0, 5, (n, 3))
    product = np.stack(
        [world.products.choose(market, category, salt + pick[:, j], day, counterfeit) for j in range(3)], 1
    )
    for number, _ in active.on(Ring, offset):
        mine = np.flatnonzero(cluster == number)
        product[mine] = world.products.first[market[mine].astype(np.int64) * len(CATEGORIES) + category[mine]][:, None]
    hashes, copied = _hashes(rng, policy, cluster, recent, p)
    return Contents(
        number=np.arange(first_number, first_number + n),
        day=np.full(n, day, np.int32),
        creator=creator,
        published=published,
        ended=np.where(kind == LIVE, ended, published),
        policy=policy,
        policy_next=policy_next,
        predicted=np.where((policy != NOBODY) & (rng.random(n) < 0.92), policy, other).astype(np.int8),
        score=(mean + spread * rng.standard_normal(n)).astype(np.float32),
        quality=quality,
        low_quality=low,
        views=views,
        watch=watch,
        clicks=clicks,
        product=product,
        products=np.where(c.permission[creator], 1 + (rng.random(n) < 0.35) + (rng.random(n) < 0.15), 0),
        cluster=cluster,
        hash=hashes,
        copy=copied,
        removed=np.full(n, NEVER),
        restored=np.full(n, NEVER),
        demoted=np.full(n, NEVER),
        decided=np.full(n, NEVER),
        acted=np.zeros(n, dtype=bool),
        seen=np.zeros(n, np.int64),
        sold=np.zeros(n),
        **codes,
    )


def _violations(
    world: World, day: int, creator: Array, codes: dict[str, Array], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Policy violated today, policy violated under the scenario's last version, cluster."""
    p, c, active, offset = world.parameters, world.creators, world.active, day - world.first_day
    n = len(creator)
    rates = policy_rates(p)[codes["market"], codes["category"], codes["kind"]]
    educated = (c.educated[creator] != NOBODY) & (day - c.educated[creator] <= 60)
    rates *= (c.propensity[creator] * np.where(educated, p.education_effect, 1.0))[:, None]
    for _, effect in active.on(Violations, offset):
        for name in effect.policies:
            _spread(rates[:, POLICIES.index(name)], effect.where.mask(n, **codes), effect.multiplier)
    expanding = []
    for _, effect in active.of(Expansion):
        column = rates[:, POLICIES.index(effect.policy)]
        before = column.copy()
        _spread(column, effect.where.mask(n, **codes), effect.multiplier)
        expanding.append((effect, 1 - before / np.maximum(column, 1e-12)))
    chance = np.cumsum(rates, axis=1)
    chance *= np.minimum(1.0, 0.9 / np.maximum(chance[:, -1:], 1e-12))
    draw = rng.random(n)
    policy_next = np.where(draw < chance[:, -1], (draw[:, None] >= chance).sum(axis=1), NOBODY).astype(np.int8)
    policy = policy_next.copy()
    for effect, share in expanding:
        added = (policy_next == POLICIES.index(effect.policy)) & (world.rng(day, 22).random(n) < share)
        first, last = effect.when.days(active.days)
        if not first <= offset <= last:
            policy[added] = NOBODY
    cluster = np.full(n, NOBODY, np.int16)
    for kind, chance_to in ((Ring, 0.95), (Farm, 0.8)):
        for number, effect in active.on(kind, offset):
            mine = c.cluster[creator] == number
            cluster[mine] = number
            broken = POLICIES.index(effect.policy) if isinstance(effect, Ring) else FAKE
            hit = mine & (rng.random(n) < chance_to)
            policy[hit] = policy_next[hit] = broken
    return policy, policy_next, cluster


def _spread(rate: Array, inside: Array, multiplier: float) -> None:
    """Multiply the mean of rates in a segment, by raising all alike: a wave comes from many, not from repeaters."""
    if inside.any():
        rate[inside] = np.maximum(rate[inside] + (multiplier - 1) * rate[inside].mean(), 0.0)


def _quality(
    world: World, day: int, creator: Array, codes: dict[str, Array], policy: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    n = len(creator)
    quality = world.creators.quality[creator] * 0.75 + 0.25 * rng.beta(3, 2, n)
    for _, effect in world.active.on(Quality, day - world.first_day):
        first, last = effect.when.days(world.active.days)
        progress = (day - world.first_day - first + 1) / (last - first + 1)
        quality[effect.where.mask(n, **codes)] *= 1 + effect.change * progress
    poor = np.isin(policy, POOR)
    quality = np.clip(np.where(poor, 0.05 + 0.25 * rng.random(n), quality), 0.0, 1.0)
    return quality, quality < world.parameters.low_quality_below


def _hashes(
    rng: np.random.Generator, policy: Array, cluster: Array, recent: Array, p: Parameters
) -> tuple[Array, Array]:
    """64-bit hashes; near-duplicates differ from an earlier one in one to four bits. And which are."""
    n = len(policy)
    fresh = rng.integers(0, 2**64, n, dtype=np.uint64)
    copied = rng.random(n) < np.where(policy == POLICIES.index("unoriginal"), 0.8, p.near_duplicate)
    source = recent[rng.integers(0, len(recent), n)] if len(recent) else fresh
    clustered = cluster != NOBODY
    base = (cluster.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    source = np.where(clustered, base, source)
    flips = np.uint64(1) << rng.integers(0, 64, (4, n), dtype=np.uint64)
    few = np.bitwise_or.reduce(np.where(np.arange(4)[:, None] < rng.integers(1, 5, n), flips, np.uint64(0)))
    repeated = (copied & (len(recent) > 0)) | clustered
    return np.where(repeated, source ^ few, fresh), repeated


class Cut(Protocol):
    """Codes of the columns by which facts are cut: contents have them, and cases."""

    creator: Array
    market: Array
    kind: Array
    category: Array
    tier: Array
    language: Array


def common_columns(records: Cut, at: Array | slice = slice(None)) -> dict[str, pa.Array]:
    """The columns by which every fact about a content is cut."""
    return {
        "creator_id": identifiers("c", records.creator[at], 8),
        "market": names(MARKETS, records.market[at]),
        "kind": names(KINDS, records.kind[at]),
        "category": names(CATEGORIES, records.category[at]),
        "tier": names(TIERS, records.tier[at]),
        "language": names(LANGUAGES, records.language[at]),
    }
