"""Quiet hours, and what is due by the clock on the wall."""

from __future__ import annotations

import datetime as dt

import pytest

from health_pipeline.alerts.planning.hours import digest_at, quiet_until, today
from health_pipeline.catalog.alerts import Alerts, Digest, QuietHours
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    BOTH_AT_ONCE,
    DAY,
    MAIN,
    MORNING,
    P1,
    P2,
    P3,
    desk,
    digest,
    fall,
    id_of,
    key,
    kinds,
)

NIGHT = QuietHours(start=dt.time(20), end=dt.time(7), time_zone="Europe/Berlin")


def test_quiet_hours_hold_what_is_not_critical_and_let_edits_through(catalog: Catalog) -> None:
    here = desk(
        catalog,
        severities=BOTH_AT_ONCE,
        quiet_hours=NIGHT,
    )
    here.now = dt.datetime(2025, 7, 3, 21, 0, tzinfo=dt.UTC)  # 23:00
    here.happens(fall("Ada"), score=P2)
    here.happens(fall("Bob"), score=P1)
    opens = dt.datetime(2025, 7, 4, 5, 0, tzinfo=dt.UTC)
    assert {i.key: i.not_before for i in here.follow()} == {key("Ada"): opens, key("Bob"): None}
    assert here.plan().next_at == opens
    for name in ("Ada", "Bob"):
        here.changes(id_of(name), state="worsening", worsened_on=DAY, observed=1.0)
    held = {(i.kind, i.of): i.not_before for i in here.follow(hours=1)}
    assert held == {
        ("edit", key("Ada")): None,
        ("reply", key("Ada")): opens,
        ("edit", key("Bob")): None,
        ("reply", key("Bob")): None,
    }


def test_a_digest_that_falls_into_quiet_hours_waits_for_their_end(catalog: Catalog) -> None:
    here = desk(
        catalog,
        digest=Digest(at=dt.time(6), time_zone="Europe/Berlin"),
        quiet_hours=NIGHT,
    )
    here.happens(fall("Ada"), score=P3)
    here.now = dt.datetime(2025, 7, 4, 4, 0, tzinfo=dt.UTC)
    post, reply = here.follow()
    opens = dt.datetime(2025, 7, 4, 5, 0, tzinfo=dt.UTC)
    assert (post.key, post.not_before, reply.not_before) == (digest(MORNING.date()), opens, opens)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2025-07-03T17:59", None),  # 19:59 in Berlin
        ("2025-07-03T18:00", "2025-07-04T05:00"),
        ("2025-07-04T04:59", "2025-07-04T05:00"),
        ("2025-07-04T05:00", None),
        ("2025-03-29T19:00", "2025-03-30T05:00"),  # the night is an hour shorter
        ("2025-10-25T18:00", "2025-10-26T06:00"),  # and an hour longer
        ("2025-10-26T05:59", "2025-10-26T06:00"),
    ],
)
def test_quiet_hours_are_those_of_the_clock_on_the_wall(now: str, until: str | None) -> None:
    at = dt.datetime.fromisoformat(now).replace(tzinfo=dt.UTC)
    ends = dt.datetime.fromisoformat(until).replace(tzinfo=dt.UTC) if until else None
    assert quiet_until(Alerts(quiet_hours=NIGHT), at) == ends


@pytest.mark.parametrize(
    ("zone", "at", "day", "due"),
    [
        ("Europe/Berlin", dt.time(8, 30), "2025-03-29", "2025-03-29T07:30"),
        ("Europe/Berlin", dt.time(8, 30), "2025-03-30", "2025-03-30T06:30"),
        ("Europe/Berlin", dt.time(2, 30), "2025-03-30", "2025-03-30T01:30"),  # 2:30 does not exist: 3:30
        ("Europe/Berlin", dt.time(2, 30), "2025-10-26", "2025-10-26T00:30"),  # 2:30 comes twice: the first
        ("Asia/Jakarta", dt.time(8, 30), "2025-07-04", "2025-07-04T01:30"),
        ("America/Los_Angeles", dt.time(8, 30), "2025-07-04", "2025-07-04T15:30"),
    ],
)
def test_the_digest_is_due_by_the_clock_on_the_wall(zone: str, at: dt.time, day: str, due: str) -> None:
    alerts = Alerts(digest=Digest(at=at, time_zone=zone))
    instant = digest_at(alerts, dt.date.fromisoformat(day))
    assert instant == dt.datetime.fromisoformat(due).replace(tzinfo=dt.UTC)
    assert today(alerts, instant) == dt.date.fromisoformat(day)


def test_on_the_day_on_which_the_clocks_go_forward_there_is_one_digest(catalog: Catalog) -> None:
    here = desk(catalog, digest=Digest(at=dt.time(2, 30), time_zone="Europe/Berlin"))
    here.newest = dt.date(2025, 3, 29)
    here.now = dt.datetime(2025, 3, 30, 1, 29, tzinfo=dt.UTC)
    here.happens(fall("Ada", first_reported=here.newest), score=P3)
    assert here.follow() == []
    assert kinds(here.follow(minutes=1))[0] == ("post", f"digest:{MAIN}:2025-03-30")
    here.happens(fall("Bob", first_reported=here.newest), score=P3)
    assert here.follow(hours=12) == []
    assert here.plan().next_at == dt.datetime(2025, 3, 31, 0, 30, tzinfo=dt.UTC)
