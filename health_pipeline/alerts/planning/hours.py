"""Times of day where people are: when the digest is due, when quiet hours end. Pure.

A time that a clock change skips counts as so much after the change; one that comes twice is the first of both.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo

from health_pipeline.catalog.alerts import Alerts


def today(alerts: Alerts, now: dt.datetime) -> dt.date:
    """The date where the digest is read."""
    return now.astimezone(zoneinfo.ZoneInfo(alerts.digest.time_zone)).date()


def digest_at(alerts: Alerts, day: dt.date) -> dt.datetime:
    """When the digest of a local date is due, in UTC."""
    return _instant(day, alerts.digest.at, alerts.digest.time_zone)


def begin_of(alerts: Alerts, day: dt.date) -> dt.datetime:
    """When a local date begins, in UTC."""
    return _instant(day, dt.time(), alerts.digest.time_zone)


def quiet_until(alerts: Alerts, now: dt.datetime) -> dt.datetime | None:
    """When the quiet hours under way end, in UTC; ``None`` outside of them."""
    quiet = alerts.quiet_hours
    if quiet is None:
        return None
    local = now.astimezone(zoneinfo.ZoneInfo(quiet.time_zone)).date()
    for first in (local - dt.timedelta(days=1), local):
        last = first if quiet.end > quiet.start else first + dt.timedelta(days=1)
        end = _instant(last, quiet.end, quiet.time_zone)
        if _instant(first, quiet.start, quiet.time_zone) <= now < end:
            return end
    return None


def _instant(day: dt.date, time: dt.time, zone: str) -> dt.datetime:
    return dt.datetime.combine(day, time, zoneinfo.ZoneInfo(zone)).astimezone(dt.UTC)
