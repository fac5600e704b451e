"""Days: instants in microseconds, the weekly rhythm, and campaigns, paydays and holidays of 2025 to 2027.

Dates of moving holidays: Eid al-Fitr and Ramadan as observed in Indonesia (Ministry of Religious Affairs; 2027 by
calculation), Lunar New Year from the Chinese calendar. Elsewhere they may differ by a day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from health_pipeline.marketplace.columns import Array
from health_pipeline.marketplace.parameters import LOCAL_RHYTHM, MARKETS, Parameters

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WEEKLY_VIEWS = (0.97, 0.95, 0.96, 0.98, 1.02, 1.08, 1.04)  # Monday to Sunday
WEEKLY_POSTS = (0.98, 0.97, 0.98, 1.0, 1.05, 1.04, 0.98)
WEEKLY_ORDERS = (0.98, 0.96, 0.97, 0.99, 1.03, 1.05, 1.02)

ALL = MARKETS
MUSLIM = ("ID", "MY", "SG")
CHINESE = ("SG", "MY", "VN", "ID", "TH", "PH")
RAMADAN = {2025: (dt.date(2025, 3, 1), dt.date(2025, 3, 31)), 2026: (dt.date(2026, 2, 19), dt.date(2026, 3, 21)),
           2027: (dt.date(2027, 2, 8), dt.date(2027, 3, 10))}  # fmt: skip
"""First day of Ramadan and first day of Eid al-Fitr (Lebaran)."""
LUNAR_NEW_YEAR = {2025: dt.date(2025, 1, 29), 2026: dt.date(2026, 2, 17), 2027: dt.date(2027, 2, 6)}
BLACK_FRIDAY = {2025: dt.date(2025, 11, 28), 2026: dt.date(2026, 11, 27), 2027: dt.date(2027, 11, 26)}


@dataclass(frozen=True)
class Occasion:
    """A day out of the ordinary in some markets, with its factors on posts, views, and orders per click."""

    name: str
    day: dt.date
    markets: tuple[str, ...]
    posts: float = 1.0
    views: float = 1.0
    orders: float = 1.0
    listed: bool = True
    """Whether it stands in the delivered calendar: days before and after a holiday do not."""


def occasions(year: int) -> Iterator[Occasion]:
    """All occasions of a year. Moving holidays are known for 2025 to 2027."""
    for month in range(1, 13):
        grand = {11: (1.35, 1.7, 2.0), 12: (1.3, 1.6, 1.8)}.get(month, (1.1, 1.2, 1.35))
        yield Occasion(f"{month}.{month}", dt.date(year, month, month), ALL, *grand)
        last = (dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)).day
        yield Occasion("payday", dt.date(year, month, 25), ("ID", "MY", "SG"), 1.0, 1.03, 1.1)
        yield Occasion("payday", dt.date(year, month, last), ("TH", "VN", "PH"), 1.0, 1.03, 1.1)
        yield Occasion("payday", dt.date(year, month, 15), ("PH",), 1.0, 1.02, 1.08)
    if year in BLACK_FRIDAY:
        yield Occasion("Black Friday", BLACK_FRIDAY[year], ALL, 1.1, 1.2, 1.3)
        first, eid = RAMADAN[year]
        for offset in range((eid - first).days):
            day = first + dt.timedelta(days=offset)
            left = (eid - day).days
            peak = 1.35 if 10 <= left <= 21 else 1.12  # shopping peaks two to three weeks before Eid
            yield Occasion("Ramadan", day, MUSLIM, 0.95, 1.08, peak)
        for offset in range(2):
            yield Occasion("Lebaran", eid + dt.timedelta(days=offset), MUSLIM, 0.6, 0.8, 0.6)
        new_year = LUNAR_NEW_YEAR[year]
        for offset in range(-12, -4):
            yield Occasion("", new_year + dt.timedelta(days=offset), CHINESE[:3], 1.0, 1.05, 1.2, listed=False)
        for offset in range(-5, 0):  # falls five days before
            yield Occasion("", new_year + dt.timedelta(days=offset), CHINESE[:3], 0.8, 0.95, 0.7, listed=False)
        for offset in range(3):
            yield Occasion("Lunar New Year", new_year + dt.timedelta(days=offset), CHINESE, 0.75, 0.95, 0.8)
    yield from (Occasion("Songkran", dt.date(year, 4, d), ("TH",), 0.8, 0.95, 0.8) for d in (13, 14, 15))


@dataclass(frozen=True)
class DayFactors:
    """Factors of one day, (markets,) each."""

    posts: Array
    views: Array
    orders: Array


def day_factors(day: dt.date) -> DayFactors:
    """Weekly rhythm times the occasions of a day."""
    week = day.weekday()
    posts = np.full(len(MARKETS), WEEKLY_POSTS[week])
    views = np.full(len(MARKETS), WEEKLY_VIEWS[week])
    orders = np.full(len(MARKETS), WEEKLY_ORDERS[week])
    for occasion in occasions(day.year):
        if occasion.day == day:
            where = [MARKETS.index(m) for m in occasion.markets]
            posts[where] *= occasion.posts
            views[where] *= occasion.views
            orders[where] *= occasion.orders
    return DayFactors(posts, views, orders)


def hour_tables(parameters: Parameters, size: int = 4096) -> Array:
    """(markets, size) hours in UTC: an entry at random is an hour with the chance that local rhythm gives it."""
    share = np.array(LOCAL_RHYTHM) / sum(LOCAL_RHYTHM)
    quantiles = (np.arange(size) + 0.5) / size
    tables = [np.searchsorted(np.cumsum(np.roll(share, -offset)), quantiles) for offset in parameters.utc_offset_hours]
    return np.minimum(np.stack(tables), 23).astype(np.int64)


def midnight(day: dt.date) -> int:
    """Start of a UTC day, in microseconds since 1970."""
    return (day - dt.date(1970, 1, 1)).days * DAY
