"""Not too many posts within an hour: the rest is told in a roll-up."""

from __future__ import annotations

import datetime as dt

from health_pipeline.catalog.alerts import QuietHours, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    BOTH_AT_ONCE,
    MAIN,
    MINUTE,
    MORNING,
    NOON,
    P1,
    P2,
    P3,
    desk,
    fall,
    id_of,
    key,
    kinds,
)

NAMES = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gil", "Hal", "Ida", "Jon")


def test_more_posts_than_an_hour_takes_become_one_roll_up_that_grows(catalog: Catalog) -> None:
    here = desk(catalog, per_hour=2)
    for place, name in enumerate(NAMES[:4]):
        here.happens(fall(name), score=P1 + 10 - place)
    rollup = f"eu_dsa:rollup:{MAIN}:2025-07-03T12"
    intents = here.follow()
    assert [(i.kind, i.key, i.of) for i in intents] == [
        ("post", key("Ada"), ""),
        ("post", key("Bob"), ""),
        ("post", rollup, ""),
        ("reply", key("Cleo"), rollup),
        ("reply", key("Dan"), rollup),
    ]
    assert "2 more incidents within the hour" in here.says(rollup)
    here.happens(fall("Eve"), score=P1)
    edit, reply = here.follow(minutes=20)
    assert (edit.kind, edit.of, reply.key, reply.of) == ("edit", rollup, key("Eve"), rollup)
    assert "3 more incidents within the hour" in here.says(rollup)
    here.happens(fall("Fay"), score=P1)
    (post,) = here.follow(minutes=45)
    assert (post.kind, post.key) == ("post", key("Fay")), "the next hour has room again"


def test_sixty_minutes_count_across_the_hour_of_the_clock(catalog: Catalog) -> None:
    here = desk(catalog, per_hour=1)
    here.now = NOON + 50 * MINUTE
    here.happens(fall("Ada"), score=P1)
    here.follow()
    here.happens(fall("Bob"), score=P1)
    assert kinds(here.follow(minutes=20))[0] == ("post", f"rollup:{MAIN}:2025-07-03T13")
    here.happens(fall("Cleo"), score=P1)
    assert kinds(here.follow(minutes=41)) == [("post", f"{id_of('Cleo')}:open")]


def test_what_quiet_hours_hold_counts_in_the_hour_in_which_it_goes_out(catalog: Catalog) -> None:
    here = desk(
        catalog,
        per_hour=1,
        severities=BOTH_AT_ONCE,
        quiet_hours=QuietHours(start=dt.time(22), end=dt.time(7)),
    )
    here.now = dt.datetime(2025, 7, 3, 23, 0, tzinfo=dt.UTC)
    here.happens(fall("Ada"), score=P2)
    here.follow()
    here.happens(fall("Bob"), score=P2)
    opens = dt.datetime(2025, 7, 4, 7, 0, tzinfo=dt.UTC)
    rollup, reply = here.follow(hours=3)
    assert (rollup.key, rollup.not_before) == (f"eu_dsa:rollup:{MAIN}:2025-07-04T07", opens)
    assert (reply.key, reply.not_before) == (key("Bob"), opens)
    here.happens(fall("Cleo"), score=P1)
    post = here.follow(hours=1)[0]
    assert (post.key, post.not_before) == (key("Cleo"), None), "what is critical has its hour for itself"


def test_a_roll_up_of_critical_and_other_incidents_leaves_at_once_and_only_the_critical_replies_do(
    catalog: Catalog,
) -> None:
    quiet = QuietHours(start=dt.time(22), end=dt.time(7, 30))
    here = desk(catalog, per_hour=1, severities=BOTH_AT_ONCE, quiet_hours=quiet)
    here.now = dt.datetime(2025, 7, 4, 7, 10, tzinfo=dt.UTC)
    here.happens(fall("Ada"), fall("Bob"), score=P1)
    here.happens(fall("Cleo"), score=P2)
    opens = dt.datetime(2025, 7, 4, 7, 30, tzinfo=dt.UTC)
    assert [(i.key, i.not_before) for i in here.follow()] == [
        (key("Ada"), None),
        (f"eu_dsa:rollup:{MAIN}:2025-07-04T07", None),
        (key("Bob"), None),
        (key("Cleo"), opens),
    ]


def test_each_time_a_line_becomes_more_urgent_it_is_told_anew(catalog: Catalog) -> None:
    steps = {"P0": 40, "P1": 30, "P2": 20, "P3": 10}
    severities = [Severity(name=name, minimum_score=score, at_once=True) for name, score in steps.items()]
    here = desk(catalog, per_hour=1, severities=(*severities, Severity(name="P4")))
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    here.happens(fall("Bob"), score=50.0)
    here.follow(hours=1)
    told = []
    for score in (10.0, 20.0, 30.0, 40.0):
        here.scores[id_of("Ada")] = score
        told += [intent.key for intent in here.follow(minutes=1) if intent.kind == "reply"]
    assert told == [f"{key('Ada')}:{number}" for number in (2, 3, 4, 5)]
