"""Orders, and what becomes of them: delivery, cancellation, refund, review, complaint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.audience import Traffic, outage
from health_pipeline.marketplace.calendar import DAY, HOUR, MINUTE, DayFactors
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
from health_pipeline.marketplace.contents import COUNTERFEIT, Contents, common_columns
from health_pipeline.marketplace.effects import Refunds, Volume
from health_pipeline.marketplace.parameters import POLICIES, SURFACES
from health_pipeline.marketplace.world import World

STATES = ("paid", "delivered", "cancelled", "refunded")
REASONS = ("changed_mind", "not_as_described", "counterfeit", "damaged", "not_received")
BUYER, UNLIKE, COUNTERFEITED, DAMAGED, LOST = range(5)
MISLEADING = [POLICIES.index(k) for k in ("misleading_promotion", "exaggerated_claims", "false_giveaway", "fraud")]
DELIVERED, CANCELLED, REFUNDED, REVIEWED, COMPLAINED, CONFIRMED = range(6)


@dataclass
class Sales(Records):
    """One row for each order: position of its content, hour of the day, US dollars."""

    content: Array
    hour: Array
    gmv: Array


def order(
    world: World,
    contents: Contents,
    made: Traffic,
    day: int,
    factors: DayFactors,
    first_number: int,
    rng: np.random.Generator,
) -> tuple[dict[str, pa.Array], Sales]:
    """The orders that a day's clicks lead to.

    Returns:
        columns of ``orders``, one row for each version that arrives within the period; and the sales.
    """
    p, active, offset = world.parameters, world.active, day - world.first_day
    at = made.content
    rate = p.order_rate * factors.orders[contents.market] * (0.6 + 0.6 * contents.quality)
    codes = {d: getattr(contents, d) for d in ("market", "kind", "category", "tier", "language")}
    rate *= active.factor(Volume, "orders", offset, len(contents), **codes)
    placed = np.minimum(rng.poisson(made.clicks * rate[at]), made.clicks)
    burst = np.repeat(np.arange(len(made)), placed)
    n = len(burst)
    content = at[burst]
    market, policy = contents.market[content], contents.policy[content]
    product = contents.product[content, rng.integers(0, 3, n) % np.maximum(contents.products[content], 1)]
    gmv = np.round(world.products.price[product] * rng.choice([1, 2, 3], n, p=[0.84, 0.12, 0.04]), 2)
    instant = day * DAY + made.hour[burst].astype(np.int64) * HOUR + rng.integers(0, HOUR, n)

    violating = (policy != NOBODY) & (policy < POLICIES.index("low_quality"))
    more = active.factor(Refunds, "multiplier", offset, len(contents), **codes)[content]
    poor = contents.low_quality[content]

    def after(start: Array, median_days: float, happens: Array, spread: float = 0.5, cap: float = 25.0) -> Array:
        days = np.minimum(np.exp(rng.normal(np.log(median_days), spread, n)), cap)
        return np.where(happens & (start != NEVER), start + (days * DAY).astype(np.int64), NEVER)

    cancelled = after(instant, 0.4, rng.random(n) < p.cancelled)
    delivered = after(instant, p.delivered_days, cancelled == NEVER, 0.4, 14)
    chance = np.where(violating, p.refunded_violating, p.refunded) * np.where(poor, 1.5, 1.0) * more
    refunded = after(delivered, 4.0, rng.random(n) < chance)
    reason = _reasons(policy, more, rng)
    unhappy = np.where(violating, 0.5, 0.08) + 0.12 * poor + 0.5 * (refunded != NEVER)
    stars = np.where(
        rng.random(n) < unhappy, rng.choice([1, 2], n, p=[0.65, 0.35]), rng.choice([3, 4, 5], n, p=[0.1, 0.25, 0.65])
    )
    reviewed = after(delivered, 2.5, rng.random(n) < p.reviewed)
    upset = np.where(violating, p.complained_violating, p.complained) * np.sqrt(more)
    complained = after(instant, 4.0, rng.random(n) < upset)
    decided = contents.decided[content]
    guilty = contents.acted[content] & (policy != NOBODY) & (decided != NEVER)
    confirmed = np.where(guilty, np.maximum(decided, instant), NEVER)

    arrived = instant + (np.exp(rng.normal(np.log(6.0), 0.7, n)) * MINUTE).astype(np.int64)
    arrived = outage(active, "orders", offset, day, market, arrived)
    lag = (np.exp(rng.normal(np.log(45.0), 0.8, n)) * MINUTE).astype(np.int64)
    happenings = [delivered, cancelled, refunded, reviewed, complained, confirmed]
    seen = versions(arrived, [np.where(x == NEVER, NEVER, x + np.minimum(lag, DAY)) for x in happenings], world.until)
    row = seen.row
    known = seen.known
    state = np.select([known[:, REFUNDED], known[:, CANCELLED], known[:, DELIVERED]], [3, 2, 1], 0)
    columns = common_columns(contents, content[row]) | {
        "order_id": identifiers("o", first_number + row),
        "content_id": contents.ids.take(pa.array(content[row])),
        "product_id": identifiers("p", product[row], 8),
        "surface": names(SURFACES, made.surface[burst][row]),
        "placed_at": instants(instant[row]),
        "gmv": pa.array(gmv[row]),
        "status": names(STATES, state),
        "violative": pa.array(known[:, CONFIRMED]),
        "refunded_at": instants(seen.when(REFUNDED, refunded)),
        "refund_reason": names(REASONS, np.where(known[:, REFUNDED], reason[row], NOBODY)),
        "review_stars": optional(stars[row], known[:, REVIEWED]),
        "complained_at": instants(seen.when(COMPLAINED, complained)),
        "ingested_at": instants(seen.ingested),
    }
    return columns, Sales(content, made.hour[burst], gmv)


def _reasons(policy: Array, more: Array, rng: np.random.Generator) -> Array:
    """Reasons of refunds; where refunds are multiplied, the buyer's own choice stays as frequent as it was."""
    n = len(policy)
    usual = rng.choice(5, n, p=[0.42, 0.23, 0.02, 0.2, 0.13])
    usual = np.where((more > 1) & (usual == BUYER) & (rng.random(n) > 1 / more), UNLIKE, usual)
    usual = np.where((policy == COUNTERFEIT) & (rng.random(n) < 0.7), COUNTERFEITED, usual)
    return np.where(np.isin(policy, MISLEADING) & (rng.random(n) < 0.6), UNLIKE, usual)
