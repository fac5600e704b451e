"""Tables that are known from the start, or ahead: shops, products, policy events, calendar."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from health_pipeline.marketplace.calendar import DAY, HOUR, midnight, occasions
from health_pipeline.marketplace.columns import NEVER, dates, identifiers, instants, names, versions
from health_pipeline.marketplace.effects import Expansion, Volume
from health_pipeline.marketplace.parameters import CATEGORIES, MARKETS
from health_pipeline.marketplace.truth import date, placebos
from health_pipeline.marketplace.world import World
from health_pipeline.marketplace.writer import Writer

AHEAD_DAYS = 120
"""The calendar is delivered so many days beyond the period."""


def write_registers(world: World, writer: Writer) -> None:
    """Write all four; rows of days to come wait for their day."""
    _write_shops(world, writer)
    _write_products(world, writer)
    _write_policy_events(world, writer)
    _write_calendar(world, writer)


def _write_shops(world: World, writer: Writer) -> None:
    products, rng = world.products, world.rng(0, 70)
    n = len(products.shop_market)
    suspended = rng.random(n) < 0.0004 * world.active.days
    span = world.last_day + 1 - products.shop_opened
    when = products.shop_opened * DAY + (rng.random(n) * span * DAY).astype(np.int64)
    seen = versions(products.shop_opened * DAY + HOUR, [np.where(suspended, when, NEVER)], world.until)
    at = seen.row
    writer.add(
        "shops",
        {
            "shop_id": identifiers("h", at, 7),
            "market": names(MARKETS, products.shop_market[at]),
            "category": names(CATEGORIES, products.shop_category[at]),
            "status": names(("open", "suspended"), seen.known[:, 0].astype(np.int8)),
            "opened_on": dates(products.shop_opened[at]),
            "ingested_at": instants(seen.ingested),
        },
        products.shop_opened[at],
        world.first_day,
    )


def _write_products(world: World, writer: Writer) -> None:
    products, rng = world.products, world.rng(0, 71)
    n = len(products.shop)
    changed = rng.random(n) < 0.002 * world.active.days
    span = world.last_day + 1 - products.listed
    when = products.listed * DAY + (rng.random(n) * span * DAY).astype(np.int64)
    seen = versions(products.listed * DAY + 2 * HOUR, [np.where(changed, when, NEVER)], world.until)
    at = seen.row
    price = np.where(
        seen.known[:, 0], np.round(products.price[at] * rng.uniform(0.8, 1.1, n)[at], 2), products.price[at]
    )
    writer.add(
        "products",
        {
            "product_id": identifiers("p", at, 8),
            "shop_id": identifiers("h", products.shop[at], 7),
            "market": names(MARKETS, products.market[at]),
            "category": names(CATEGORIES, products.category[at]),
            "price": pa.array(price),
            "brand_authorised": pa.array(products.authorised[at]),
            "restricted": pa.array(products.restricted[at]),
            "listed_on": dates(products.listed[at]),
            "ingested_at": instants(seen.ingested),
        },
        products.listed[at],
        world.first_day,
    )


def _write_policy_events(world: World, writer: Writer) -> None:
    """Expansions of the scenario, and :func:`placebos`."""
    events = [
        (
            world.first_day + effect.when.days(world.active.days)[0],
            effect.policy,
            "expand",
            ",".join(effect.where.market or MARKETS),
            effect.title or f"{effect.policy.replace('_', ' ').capitalize()}: version {effect.version}",
        )
        for _, effect in world.active.of(Expansion)
    ] + [(day, policy, "workflow", ",".join(MARKETS), title) for day, policy, title in placebos(world)]
    for number, (day, policy, kind, markets, title) in enumerate(sorted(events), 1):
        writer.add(
            "policy_events",
            {
                "event_id": pa.array([f"v{number:03d}"]),
                "policy": pa.array([policy]),
                "event_kind": pa.array([kind]),
                "markets": pa.array([markets]),
                "title": pa.array([title]),
                "effective_at": instants(np.array([day * DAY])),
                "ingested_at": instants(np.array([max(day - 14, world.first_day) * DAY])),
            },
            day,
            world.first_day,
        )


def _write_calendar(world: World, writer: Writer) -> None:
    first, last = date(world.first_day), date(world.last_day) + dt.timedelta(days=AHEAD_DAYS)
    rows = [
        (market, o.day, o.name)
        for year in range(first.year, last.year + 1)
        for o in occasions(year)
        if o.listed and first <= o.day <= last
        for market in o.markets
    ]
    for _, effect in world.active.of(Volume):
        if effect.event:
            begin, end = effect.when.days(world.active.days)
            rows += [
                (market, date(world.first_day + d), effect.event)
                for d in range(begin, end + 1)
                for market in effect.where.market or MARKETS
            ]
    rows = sorted(set(rows), key=lambda r: (r[1], r[0], r[2]))
    days = np.array([midnight(r[1]) // DAY for r in rows], dtype=np.int64)
    if not rows:
        return
    known = np.maximum(days - 60, world.first_day) * DAY
    seen = np.flatnonzero(known < world.until)
    writer.add(
        "calendar",
        {
            "market": pa.array([rows[i][0] for i in seen]),
            "day": dates(days[seen]),
            "event": pa.array([rows[i][2] for i in seen]),
            "ingested_at": instants(known[seen]),
        },
        days[seen],
        world.first_day,
    )
