"""Who and what there is: creators with their state, shops and products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from health_pipeline.marketplace.columns import NOBODY, Array
from health_pipeline.marketplace.effects import Farm, Ring
from health_pipeline.marketplace.parameters import ACTIVE, BANNED, CATEGORIES, LEFT, MARKETS, RESTRICTED, Parameters
from health_pipeline.marketplace.scenario import Active

HISTORY_DAYS = 90


def random(seed: int, *stream: int) -> np.random.Generator:
    """A generator of its own for each stream of a simulation, so that one draw more here changes nothing there."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *(s + 100_000 for s in stream)])))


@dataclass
class Creators:
    """State of all creators there will be, (creators,) each. Days are days since 1970."""

    market: Array
    tier: Array
    category: Array
    language: Array
    joined: Array
    followers: Array
    posts: Array
    audience: Array
    propensity: Array
    quality: Array
    evader: Array
    cluster: Array
    """Number of the effect (ring or farm) a creator belongs to, else NOBODY."""
    status: Array
    gone: Array
    """Day on which the creator left or was banned, else NOBODY."""
    restricted_until: Array
    permission: Array
    rating: Array
    posts_7d: Array
    """(creators, 7) contents by day, a ring."""
    orders_7d: Array
    orders: Array
    last_violation: Array
    educated: Array

    def __len__(self) -> int:
        return len(self.market)

    def posting(self, day: int) -> Array:
        """Which creators are there and may post."""
        return (self.joined <= day) & (self.status <= RESTRICTED)


@dataclass
class Products:
    """Shops and products; products of one market and category lie side by side, unauthorised brands first."""

    shop_market: Array
    shop_category: Array
    shop_opened: Array
    shop: Array
    market: Array
    category: Array
    price: Array
    authorised: Array
    restricted: Array
    listed: Array
    first: Array
    """(markets x categories) position of each group's first product, listed from the first day."""
    count: Array
    unauthorised: Array
    """(markets x categories) how many of a group's products are of an unauthorised brand."""

    def choose(self, market: Array, category: Array, salt: Array, day: int, counterfeit: Array) -> Array:
        """A listed product for each row; of an unauthorised brand where ``counterfeit`` and there is one."""
        group = market.astype(np.int64) * len(CATEGORIES) + category
        narrow = counterfeit & (self.unauthorised[group] > 0)
        among = np.where(narrow, self.unauthorised[group], self.count[group])
        chosen = self.first[group] + (salt * 2_654_435_761 % 4_294_967_296) % among
        return np.where(self.listed[chosen] <= day, chosen, self.first[group])


@dataclass
class World:
    """Everything that persists from day to day but for contents and cases."""

    parameters: Parameters
    active: Active
    seed: int
    first_day: int
    last_day: int
    scale: float
    """Creators at the start, in thousands."""
    creators: Creators
    products: Products

    @property
    def until(self) -> int:
        """End of the period in microseconds: what arrives later is not written."""
        return (self.last_day + 1) * 86_400_000_000

    def rng(self, *stream: int) -> np.random.Generator:
        return random(self.seed, *stream)


def create(
    parameters: Parameters, active: Active, seed: int, creators: int, first_day: int, days: int, warm_up: int
) -> World:
    """A world as it is on the day the warm-up begins.

    Args:
        creators: how many there are at the start; more join later.
        first_day: first day that is written, in days since 1970.
    """
    everyone = make_creators(parameters, random(seed, 1), creators, first_day, days, warm_up)
    _recruit(everyone, active, random(seed, 2), creators)
    products = make_products(parameters, random(seed, 3), creators, first_day, days)
    return World(parameters, active, seed, first_day, first_day + days - 1, creators / 1000, everyone, products)


def make_creators(
    p: Parameters, rng: np.random.Generator, creators: int, first_day: int, days: int, warm_up: int
) -> Creators:
    """Creators at the start and all who will join."""
    joining = rng.poisson(creators * p.join_rate, days + warm_up)
    newcomers = np.repeat(np.arange(first_day - warm_up, first_day + days), joining)
    old = first_day - warm_up - 1 - np.minimum(rng.exponential(300, creators).astype(np.int64), 2000)
    joined = np.concatenate([old, newcomers]).astype(np.int32)
    n = len(joined)
    market = rng.choice(len(MARKETS), n, p=p.market_shares).astype(np.int8)
    tier = rng.choice(len(p.tier_shares), n, p=p.tier_shares).astype(np.int8)
    tier[creators:] = np.minimum(tier[creators:], 2)  # nobody starts large
    languages = np.cumsum(np.array(p.market_languages), axis=1)
    language = (rng.random(n)[:, None] > languages[market]).sum(axis=1)
    a, b = p.propensity
    propensity = rng.beta(a, b, n) * (a + b) / a
    evader = np.zeros(n, dtype=bool)
    evader[creators:] = rng.random(n - creators) < p.evaders
    repeats = (rng.random(n) < p.repeaters) | evader
    propensity[repeats] = np.maximum(propensity[repeats], p.repeater_factor * rng.uniform(0.6, 1.4, repeats.sum()))
    propensity *= np.array(p.tier_propensity)[tier]
    propensity /= 1 + p.repeaters * (p.repeater_factor - 1)
    spread = np.exp(p.creator_spread * rng.standard_normal(n) - p.creator_spread**2 / 2)
    return Creators(
        market=market,
        tier=tier,
        category=rng.choice(len(CATEGORIES), n, p=np.array(p.category_shares) / sum(p.category_shares)).astype(np.int8),
        language=np.minimum(language, 6).astype(np.int8),
        joined=joined,
        followers=np.array(p.tier_followers)[tier] * np.exp(0.6 * rng.standard_normal(n)),
        posts=np.array(p.tier_posts)[tier] * rng.gamma(2.0, 0.5, n),
        audience=spread,
        propensity=propensity,
        quality=rng.beta(6, 3, n),
        evader=evader,
        cluster=np.full(n, NOBODY, np.int16),
        status=np.full(n, ACTIVE, np.int8),
        gone=np.full(n, NOBODY, np.int32),
        restricted_until=np.full(n, NOBODY, np.int32),
        permission=np.ones(n, dtype=bool),
        rating=np.full(n, p.rating_start, np.int32),
        posts_7d=np.zeros((n, 7), np.int16),
        orders_7d=np.zeros((n, 7), np.int32),
        orders=np.zeros(n, np.int64),
        last_violation=np.full(n, NOBODY, np.int32),
        educated=np.full(n, NOBODY, np.int32),
    )


def _recruit(creators: Creators, active: Active, rng: np.random.Generator, existing: int) -> None:
    """Choose the members of rings and farms among the smaller creators there are at the start."""
    for number, effect in [*active.of(Ring), *active.of(Farm)]:
        inside = effect.where.mask(
            existing, market=creators.market[:existing], category=creators.category[:existing],
            tier=creators.tier[:existing], language=creators.language[:existing],
        )  # fmt: skip
        free = np.flatnonzero(inside & (creators.tier[:existing] <= 1) & (creators.cluster[:existing] == NOBODY))
        wanted = max(2, round(effect.members * existing / 1000))
        chosen = rng.choice(free, min(wanted, len(free)), replace=False)
        creators.cluster[chosen] = number


def make_products(p: Parameters, rng: np.random.Generator, creators: int, first_day: int, days: int) -> Products:
    """Shops and products of every market and category. Those there are at the start open on the first day."""
    groups = len(MARKETS) * len(CATEGORIES)
    share = np.outer(p.market_shares, np.array(p.category_shares) / sum(p.category_shares)).ravel()
    shops = 2 + rng.poisson(share * creators * p.shops_per_creator)
    group = np.repeat(np.arange(groups), shops)
    n_shops = len(group)
    newer = rng.random(n_shops) < 0.1
    newer[np.cumsum(shops) - shops] = False  # the first of each group is there from the start
    opened = first_day + np.where(newer, rng.integers(0, days, n_shops), 0)
    shop = np.repeat(np.arange(n_shops), p.products_per_shop)
    n = len(shop)
    listed = np.maximum(opened[shop], first_day + np.where(rng.random(n) < 0.15, rng.integers(0, days, n), 0))
    first_of_group = np.zeros(n, dtype=bool)
    first_of_group[(np.cumsum(shops) - shops) * p.products_per_shop] = True
    listed[first_of_group] = first_day
    authorised = rng.random(n) >= p.unauthorised
    order = np.lexsort((~first_of_group, authorised & ~first_of_group, group[shop]))
    shop, listed, authorised = shop[order], listed[order], authorised[order]
    product_group = group[shop]
    count = np.bincount(product_group, minlength=groups)
    dear = np.where(product_group % len(CATEGORIES) == CATEGORIES.index("luxury"), 8.0, 1.0)
    return Products(
        shop_market=group // len(CATEGORIES),
        shop_category=group % len(CATEGORIES),
        shop_opened=opened,
        shop=shop,
        market=product_group // len(CATEGORIES),
        category=product_group % len(CATEGORIES),
        price=np.round(p.product_price * dear * np.exp(0.7 * rng.standard_normal(n)), 2),
        authorised=authorised,
        restricted=np.isin(product_group % len(CATEGORIES), [CATEGORIES.index("health")]) & (rng.random(n) < 0.1),
        listed=listed,
        first=np.cumsum(count) - count,
        count=count,
        unauthorised=np.maximum(np.bincount(product_group, weights=~authorised, minlength=groups).astype(np.int64), 1),
    )


def leave(world: World, day: int, churn: Array, violated_lately: Array) -> None:
    """Voluntary departures at the end of a day, and restrictions that end.

    Args:
        churn: (creators,) a scenario's factor.
        violated_lately: (creators,) whether there was a violation in the last 30 days.
    """
    p, creators = world.parameters, world.creators
    age = day - creators.joined
    hazard = (
        p.churn * np.array(p.tier_churn)[creators.tier] * (1 + p.churn_new * np.exp(-np.maximum(age, 0) / 10)) * churn
    )
    hazard = np.where(violated_lately, hazard * p.churn_after_violation, hazard)
    leaving = creators.posting(day) & (world.rng(day, 11).random(len(creators)) < hazard)
    creators.status[leaving] = LEFT
    creators.gone[leaving] = day
    free = (creators.status == RESTRICTED) & (creators.restricted_until <= day)
    creators.status[free] = ACTIVE
    creators.permission[(creators.status == LEFT) | (creators.status == BANNED)] = False
    creators.followers *= np.where(creators.status == ACTIVE, 1 + p.growth * creators.quality, 1.0)
