"""Rows of ``videos`` and ``live_sessions``: captions, hashtags, sounds, and what is confirmed later."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.marketplace import language as words
from health_pipeline.marketplace.calendar import HOUR, MINUTE
from health_pipeline.marketplace.columns import NEVER, NOBODY, hexadecimal, identifiers, instants, versions
from health_pipeline.marketplace.contents import Contents, common_columns
from health_pipeline.marketplace.effects import Ring, Violations
from health_pipeline.marketplace.parameters import LIVE, POLICIES, VIDEO
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

SOUNDS = 500
"""Sounds in use in each market."""


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
    common["model_score"] = pa.array(np.round(1 / (1 + np.exp(-contents.score.astype(float))), 5))
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


def _product_list(contents: Contents) -> pa.Array:
    """Products joined by commas, null where there is none."""
    nothing = pa.scalar(None, pa.string())
    # The first is always there: Arrow's join drops rows of nulls alone.
    first, second, third = (identifiers("p", contents.product[:, j], 8) for j in range(3))
    shown = [
        first,
        pc.if_else(pa.array(contents.products > 1), second, nothing),
        pc.if_else(pa.array(contents.products > 2), third, nothing),
    ]
    joined = pc.binary_join_element_wise(*shown, ",", null_handling="skip")
    return pc.if_else(pa.array(contents.products > 0), joined, nothing)
