"""Where an incident is told first, and when; what is not told."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from health_pipeline.catalog.alerts import QuietHours, Route
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.follow import (
    DAY,
    EARLY,
    HOUR,
    MAIN,
    MINUTE,
    MORNING,
    ONE_DAY,
    OPS,
    OWNER,
    P1,
    P2,
    P3,
    desk,
    digest,
    fall,
    hole,
    id_of,
    key,
    kinds,
    texts,
)


def test_what_is_urgent_gets_a_post_of_its_own_at_once_and_mentions_its_owner(catalog: Catalog) -> None:
    here = desk(
        catalog,
        routes=(Route(severities=("P1",), channel=OPS, mention=("owner", "S0TEAM")),),
        owners={OWNER: "U0OWNER"},
    )
    here.happens(fall("Ada"), score=P1)
    (post,) = here.follow()
    assert (post.kind, post.key, post.channel, post.not_before) == ("post", key("Ada"), OPS, None)
    shown = texts([post])
    assert "New · P1 · Ada: statements filed" in shown
    assert "@U0OWNER" in shown and "S0TEAM" in shown


def test_the_rest_waits_for_the_morning_and_is_told_in_full_in_the_digest_s_thread(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = EARLY
    here.happens(fall("Ada"), score=P2)
    here.happens(fall("Bob"), score=P3)
    assert here.follow() == []
    made = here.plan()
    assert [line.incident.id for line in made.waiting] == [id_of("Ada"), id_of("Bob")]
    assert made.next_at == MORNING
    here.now = MORNING - MINUTE
    assert here.follow() == []
    intents = here.follow(minutes=1)
    assert [(i.kind, i.key, i.of) for i in intents] == [
        ("post", digest(MORNING.date()), ""),
        ("reply", key("Ada"), digest(MORNING.date())),
        ("reply", key("Bob"), digest(MORNING.date())),
    ]
    said = texts(intents[:1])
    assert said.index("P2 · Ada: statements filed") < said.index("P3 · Bob: statements filed")
    assert "2 open" in said
    assert here.follow(hours=1) == []


def test_a_digest_comes_once_a_day_and_not_at_all_when_there_is_nothing_to_tell(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = MORNING
    assert here.follow() == []
    assert here.plan().next_at is None
    here.happens(fall("Ada"), score=P3)
    assert kinds(here.follow(hours=2))[0] == ("post", f"digest:{MAIN}:2025-07-04"), "late judgements, late digest"
    here.happens(fall("Bob"), score=P3)
    assert here.follow(hours=3) == []
    assert here.plan().next_at == MORNING + ONE_DAY
    here.now = MORNING + ONE_DAY
    assert kinds(here.follow())[0] == ("post", f"digest:{MAIN}:2025-07-05")


@pytest.mark.parametrize(
    ("after", "quiet", "title"),
    [
        (179 * MINUTE, None, "Morning digest, 4 July"),
        (180 * MINUTE, None, "Digest, 4 July"),
        (0 * MINUTE, QuietHours(start=dt.time(8), end=dt.time(11, 29)), "Morning digest, 4 July"),
        (0 * MINUTE, QuietHours(start=dt.time(8), end=dt.time(11, 30)), "Digest, 4 July"),
    ],
)
def test_a_digest_that_leaves_late_is_none_of_the_morning(
    catalog: Catalog, after: dt.timedelta, quiet: QuietHours | None, title: str
) -> None:
    here = desk(catalog, quiet_hours=quiet)
    here.now = MORNING + after
    here.happens(fall("Ada"), score=P3)
    here.follow()
    assert here.says(digest(MORNING.date())).splitlines()[0] == title


def test_a_digest_that_waited_for_hours_is_none_of_the_morning_any_more(catalog: Catalog) -> None:
    here = desk(catalog)
    here.connected = False
    here.happens(fall("Ada"), score=P3)
    here.now = MORNING
    here.follow()
    assert here.says(digest(MORNING.date())).startswith("Morning digest, 4 July")
    assert here.plan().next_at == MORNING + 3 * HOUR
    here.follow(hours=3)
    assert here.says(digest(MORNING.date())).startswith("Digest, 4 July")
    here.connected = True
    here.follow()
    here.happens(fall("Bob"), score=P3)
    here.now = MORNING + ONE_DAY
    here.follow()
    assert here.says(digest(MORNING.date() + ONE_DAY)).startswith("Morning digest, 5 July")


def test_each_channel_has_its_own_digest(catalog: Catalog) -> None:
    here = desk(catalog, routes=(Route(units=("Ada",), channel=OPS),))
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.now = MORNING
    intents = here.follow()
    assert [i.key for i in intents if i.kind == "post"] == [
        digest(MORNING.date()),
        digest(MORNING.date(), OPS),
    ]
    assert here.rows[key("Ada")].intent.of == digest(MORNING.date(), OPS)


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ({"severities": ("P1",)}, True),
        ({"severities": ("P2", "P3")}, False),
        ({"units": ("Ada",), "families": ("statements",), "metrics": ("statements",)}, True),
        ({"units": ("Ada",), "families": ("delivery",)}, False),
        ({"metrics": ("reports",)}, False),
    ],
)
def test_a_route_takes_what_meets_all_its_conditions_and_the_first_that_fits_decides(
    catalog: Catalog, route: dict[str, Any], fits: bool
) -> None:
    here = desk(catalog, routes=(Route(**route, channel=OPS), Route(channel="C0LAST")))
    here.happens(fall("Ada"), score=P1)
    (post,) = here.follow()
    assert post.channel == (OPS if fits else "C0LAST")


def test_a_hole_has_the_severity_of_its_kind_and_waits_for_its_second_day(catalog: Catalog) -> None:
    here = desk(catalog, holes={"missing": "P1", "empty": "P2", "partial": "P3", "settling": "P3", "backlog": "P3"})
    here.now = EARLY
    here.happens(hole("Ada", onset=DAY))
    assert here.follow() == []
    assert "may only be late" in here.plan().withheld[0].reason
    here.happens(hole("Ada"))
    here.happens(hole("Bob", shape="partial"))
    assert kinds(here.follow()) == [("post", "ada-delivery-2025-07-02:open")]
    assert [line.incident.unit for line in here.plan().waiting] == ["Bob"]


def test_what_is_not_told_says_why(catalog: Catalog) -> None:
    here = desk(catalog, minimum_score=5.0, per_day=1)
    here.happens(fall("Ada"), score=P1)
    here.happens(fall("Bob"), score=P1 - 1)
    here.happens(fall("Cleo"), score=2.04)
    here.happens(fall("Dan", first_reported=DAY - 9 * ONE_DAY), score=P1)
    here.follow()
    reasons = {w.incident.unit: w.reason for w in here.plan().withheld}
    assert reasons == {
        "Bob": "1 other first reported on 3 July 2025 came before it",
        "Cleo": "its score, 2.0, is below 5",
        "Dan": "first reported on 24 June 2025, it is no news any more",
    }


def test_whoever_was_told_keeps_its_place_when_scores_change(catalog: Catalog) -> None:
    here = desk(catalog, per_day=1)
    here.happens(fall("Ada"), score=P1)
    here.happens(fall("Bob"), score=P1 - 1)
    assert kinds(here.follow()) == [("post", f"{id_of('Ada')}:open")]
    here.happens(fall("Bob"), score=P1 + 1)
    assert kinds(here.follow(hours=1)) == [("edit", f"{id_of('Ada')}:open:edit:1")], "it is second in the list now"
    here.ends(id_of("Ada"))
    assert all("bob" not in key for _, key in kinds(here.follow(hours=1)))


def test_what_is_over_before_anybody_was_told_is_not_told(catalog: Catalog) -> None:
    here = desk(catalog)
    here.now = EARLY
    here.happens(fall("Ada"), score=P3)
    assert here.follow() == []
    here.ends(id_of("Ada"))
    here.now = MORNING
    assert here.follow() == []


def test_what_is_no_news_any_more_when_the_digest_comes_is_not_in_it(catalog: Catalog) -> None:
    here = desk(catalog, minimum_score=0.5)
    here.now = EARLY
    here.happens(fall("Ada"), fall("Bob"), score=P3)
    here.follow()
    here.scores[id_of("Bob")] = 0.1
    here.now = MORNING
    assert [i.key for i in here.follow()] == [digest(MORNING.date()), key("Ada")]
