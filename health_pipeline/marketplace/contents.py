"""Short videos and livestreams: who publishes what, whether it violates a policy, and what the model thinks of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.marketplace import language as words
from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE, DayFactors
from health_pipeline.marketplace.columns import (
    NEVER,
    NOBODY,
    Array,
    Records,
    hexadecimal,
    identifiers,
    instants,
    names,
    versions,
)
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
from health_pipeline.marketplace.scenario import Expansion, Farm, Quality, Ring, Violations, Volume
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

COUNTERFEIT, FAKE = POLICIES.index("counterfeit"), POLICIES.index("fake_engagement")
POOR = [POLICIES.index("low_quality"), POLICIES.index("static_live")]
SOUNDS = 500


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
    product = np.stack([world.products.choose(market, category, salt + pick[:, j], day, counterfeit) for j in range(3)], 1)
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
        mask = effect.where.mask(n, **codes)
        for name in effect.policies:
            rates[mask, POLICIES.index(name)] *= effect.multiplier
    expanding = [(e, POLICIES.index(e.policy), e.where.mask(n, **codes)) for _, e in active.of(Expansion)]
    for effect, k, mask in expanding:
        rates[mask, k] *= effect.multiplier
    chance = np.cumsum(rates, axis=1)
    chance *= np.minimum(1.0, 0.9 / np.maximum(chance[:, -1:], 1e-12))
    draw = rng.random(n)
    policy_next = np.where(draw < chance[:, -1], (draw[:, None] >= chance).sum(axis=1), NOBODY).astype(np.int8)
    policy = policy_next.copy()
    for effect, k, mask in expanding:
        added = mask & (policy_next == k) & (rng.random(n) < 1 - 1 / effect.multiplier)
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



def write(world: World, writer: Writer, contents: Contents, day: int) -> None:
    """Rows of ``videos`` and ``live_sessions``, once the first decisions of the day are known."""
    rng = world.rng(day, 21)
    n = len(contents)
    planted, terms = _planted(world, contents, day - world.first_day, rng)
    caption = words.captions(rng, contents.language, contents.category, contents.policy, terms)
    tags = words.hashtags(rng, contents.category, planted)
    listed = _product_list(contents)
    sound = contents.market.astype(np.int64) * SOUNDS + np.minimum(rng.zipf(1.6, n) - 1, SOUNDS - 1)
    sound = np.where(contents.cluster != NOBODY, contents.market.astype(np.int64) * SOUNDS + SOUNDS - 1, sound)
    sound = np.where(rng.random(n) < 0.1, NOBODY, sound)
    delay = (np.exp(rng.normal(np.log(4.0), 0.8, n)) * MINUTE).astype(np.int64)
    host = np.where(contents.policy == POLICIES.index("static_live"), rng.beta(1.2, 8, n), rng.beta(9, 1.2, n))
    static = np.where(contents.policy == POLICIES.index("static_live"), rng.beta(8, 1.5, n), rng.beta(1.2, 10, n))
    ai_made = rng.random(n) < np.where(contents.policy != NOBODY, 2.0, 1.0) * world.parameters.ai_generated
    violative_share = rng.uniform(0.3, 1.0, n)

    common = common_columns(contents)
    common |= {"content_id": contents.ids, "product_ids": listed, "hashtags": tags}
    common["quality_score"] = pa.array(np.round(contents.quality, 4))
    video = np.flatnonzero(contents.kind == VIDEO)
    first = versions(contents.published[video] + delay[video], [], world.until)
    at = video[first.row]
    writer.add(
        "videos",
        {k: v.take(pa.array(at)) for k, v in common.items()}
        | {
            "caption": caption.take(pa.array(at)),
            "perceptual_hash": hexadecimal(contents.hash[at]),
            "sound_id": identifiers("s", sound[at], 6),
            "ai_generated": ai_made[at],
            "near_duplicate": contents.copy[at],
            "published_at": instants(contents.published[at]),
            "ingested_at": instants(first.ingested),
        },
        day,
        day,
    )
    live = np.flatnonzero(contents.kind == LIVE)
    confirmed = np.where(contents.acted & (contents.policy != NOBODY), contents.decided, NEVER)[live]
    arrived = contents.ended[live] + delay[live]
    confirmed = np.where(confirmed == NEVER, NEVER, np.maximum(confirmed, contents.ended[live]) + delay[live] + HOUR)
    seen = versions(arrived, [confirmed], world.until)
    at = live[seen.row]
    minutes = (contents.ended - contents.published)[at] / MINUTE * violative_share[at]
    writer.add(
        "live_sessions",
        {k: v.take(pa.array(at)) for k, v in common.items()}
        | {
            "title": caption.take(pa.array(at)),
            "started_at": instants(contents.published[at]),
            "ended_at": instants(contents.ended[at]),
            "host_present_ratio": np.round(host[at], 3),
            "static_ratio": np.round(static[at], 3),
            "violative_minutes": np.where(seen.known[:, 0], np.round(minutes, 2), 0.0),
            "ingested_at": instants(seen.ingested),
        },
        day,
        day,
    )


def _product_list(contents: Contents) -> pa.Array:
    """Products joined by commas, null where there is none."""
    nothing = pa.scalar(None, pa.string())
    # The first is always there: Arrow's join drops rows of nulls alone.
    shown = [identifiers("p", contents.product[:, 0], 8)] + [
        pc.if_else(pa.array(contents.products > j), identifiers("p", contents.product[:, j], 8), nothing) for j in (1, 2)
    ]
    joined = pc.binary_join_element_wise(*shown, ",", null_handling="skip")
    return pc.if_else(pa.array(contents.products > 0), joined, nothing)


def common_columns(records: Contents, at: Array | slice = slice(None)) -> dict[str, pa.Array]:
    """The columns by which every fact about a content is cut."""
    return {
        "creator_id": identifiers("c", records.creator[at], 8),
        "market": names(MARKETS, records.market[at]),
        "kind": names(KINDS, records.kind[at]),
        "category": names(CATEGORIES, records.category[at]),
        "tier": names(TIERS, records.tier[at]),
        "language": names(LANGUAGES, records.language[at]),
    }


def _planted(world: World, contents: Contents, offset: int, rng: np.random.Generator) -> tuple[pa.Array, pa.Array]:
    """Hashtags and words that a scenario plants, null elsewhere."""
    tag_codes, term_codes = np.full(len(contents), NOBODY), np.full(len(contents), NOBODY)
    tags: list[str | None] = []
    terms: list[str | None] = []
    for number, effect in world.active.on(Ring, offset):
        mine = contents.cluster == number
        if effect.hashtags:
            tag_codes[mine] = len(tags)
            tags.append(" ".join(effect.hashtags))
        if effect.terms:
            term_codes[mine] = len(terms) + rng.integers(0, len(effect.terms), mine.sum())
            terms += effect.terms
    codes = {"market": contents.market, "kind": contents.kind, "category": contents.category}
    for _, effect in world.active.on(Violations, offset):
        if effect.terms:
            broken = np.isin(contents.policy, [POLICIES.index(k) for k in effect.policies])
            mine = broken & effect.where.mask(len(contents), **codes) & (rng.random(len(contents)) < 0.7)
            term_codes[mine] = len(terms) + rng.integers(0, len(effect.terms), mine.sum())
            terms += effect.terms
    return words.flags(tags, tag_codes), words.flags(terms, term_codes)
