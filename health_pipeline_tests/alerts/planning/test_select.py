"""Which incidents become a message: the recent, the weighty, and not too many of a day."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.planning.select import LONG_HOLE_DAYS, newsworthy
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Alerts
from health_pipeline.incidents.merge import advance
from health_pipeline.incidents.model import Incident

TODAY = dt.date(2025, 7, 10)
ALERTS = Alerts(minimum_score=2.0, per_day=2, newest_days=3)


def ago(days: int) -> dt.date:
    return TODAY - dt.timedelta(days=days)


def incident(name: str, reported: int = 0, **changes: Any) -> Incident:
    """An open shift first reported so many days ago."""
    values: dict[str, Any] = {
        "day": TODAY, "id": name, "kind": "shift", "family": "statements", "unit": "Ada", "state": "ongoing",
        "first_reported": ago(reported), "last_reported": TODAY, "headline_reported": TODAY, "onset": ago(reported),
        "onset_low": ago(reported), "onset_high": ago(reported), "series": "s", "metric": "statements",
        "segment": "platform=Ada", "shape": "level", "direction": "down", "expected": 2.0, "observed": 1.0,
        "change": -0.5, "change_low": -0.6, "change_high": -0.4, "excess": -1.0, "q_value": 0.0, "tested": 1,
    }  # fmt: skip
    return Incident(**(values | changes))


def hole(name: str, onset: int, until: int = 0, **changes: Any) -> Incident:
    """An open hole in the data from ``onset`` days ago to ``until`` days ago."""
    return incident(name, onset, kind="data", shape="missing", last_reported=ago(until), **changes)


def chosen(incidents: Sequence[Incident], scores: dict[str, float] | float = 5.0, alerts: Alerts = ALERTS) -> list[str]:
    weights = scores if isinstance(scores, dict) else {i.id: scores for i in incidents if i.kind == "shift"}
    return [i.id for i in newsworthy(alerts, TODAY, incidents, weights)]


def test_a_recent_weighty_shift_is_news() -> None:
    assert chosen([incident("a")]) == ["a"]


@pytest.mark.parametrize(("reported", "told"), [(0, True), (1, True), (2, True), (3, False), (30, False)])
def test_what_was_first_reported_days_ago_is_history(reported: int, told: bool) -> None:
    assert chosen([incident("a", reported)]) == ["a"] * told


def test_the_onset_may_lie_farther_back_than_the_report() -> None:
    assert chosen([incident("a", 1, onset=ago(20))]) == ["a"]


@pytest.mark.parametrize(("score", "told"), [(2.0, True), (1.999, False), (0.0, False)])
def test_a_light_shift_stays_in_the_list(score: float, told: bool) -> None:
    assert chosen([incident("a")], score) == ["a"] * told


def test_without_a_score_a_shift_is_no_news() -> None:
    assert chosen([incident("a")], {}) == []


@pytest.mark.parametrize("state", ["recovered", "settled"])
def test_what_is_over_is_no_news(state: str) -> None:
    assert chosen([incident("a", state=state, ended=TODAY), hole("b", 2, state=state, ended=TODAY)]) == []


def test_the_most_important_come_first_and_only_so_many_of_each_day() -> None:
    incidents = [incident(f"today-{i}") for i in range(4)] + [incident(f"before-{i}", 1) for i in range(4)]
    scores = {f"{day}-{i}": 3.0 + i + (0.5 if day == "before" else 0) for day in ("today", "before") for i in range(4)}
    assert chosen(incidents, scores) == ["before-3", "today-3", "before-2", "today-2"]


def test_equal_scores_are_told_in_a_fixed_order() -> None:
    incidents = [incident(name) for name in "cab"]
    assert chosen(incidents) == chosen(incidents[::-1]) == ["a", "b"]


def test_a_hole_is_told_from_its_second_day_on() -> None:
    assert chosen([hole("a", 0)]) == []
    assert chosen([hole("a", LONG_HOLE_DAYS - 1)]) == ["a"]


def test_a_hole_of_a_single_day_is_not_told_when_the_data_are_already_back() -> None:
    """It stays open for some complete days, since a backlog may still come: that makes it no longer."""
    complete = [
        {
            "table": "statements",
            "unit": unit,
            "finding": "complete",
            "volume": 9.0,
            "expected": 9.0,
            "incomplete_since": None,
        }
        for unit in ("Ada", "Bob")
    ]
    late = [complete[0] | {"finding": "missing", "volume": None, "incomplete_since": ago(1)}, complete[1]]
    catalog = load_catalog("eu_dsa")
    yesterday = advance(catalog, ago(1), [], [], late, ())
    today = advance(catalog, TODAY, yesterday, [], complete, ())
    assert [i.is_open for i in today] == [True]
    assert chosen(today) == []


def test_holes_need_no_score_come_first_and_take_no_place() -> None:
    incidents = [incident("x"), incident("y"), incident("z"), hole("h2", 1), hole("h1", 2)]
    assert chosen(incidents, {"x": 9.0, "y": 8.0, "z": 7.0}) == ["h1", "h2", "x", "y"]


def test_a_hole_reported_long_ago_is_history() -> None:
    assert chosen([hole("a", 3)]) == []


INCIDENTS = st.lists(
    st.builds(
        lambda name, reported, ended: incident(name, reported, ended=TODAY if ended else None),
        st.text("abcdef", min_size=1, max_size=3),
        st.integers(0, 5),
        st.booleans(),
    ),
    unique_by=lambda i: i.id,
)


@given(INCIDENTS, st.data())
def test_the_rules_hold_for_any_incidents(incidents: list[Incident], data: st.DataObject) -> None:
    scores = {i.id: data.draw(st.floats(0, 10)) for i in incidents}
    told = newsworthy(ALERTS, TODAY, incidents, scores)
    per_day = Counter(i.first_reported for i in told)
    assert all(count <= ALERTS.per_day for count in per_day.values())
    assert [scores[i.id] for i in told] == sorted((scores[i.id] for i in told), reverse=True)
    names = {i.id for i in told}
    for other in incidents:
        news = other.is_open and other.first_reported > ago(3) and scores[other.id] >= ALERTS.minimum_score
        if other.id in names:
            assert news
        elif news:
            better = [i for i in told if i.first_reported == other.first_reported]
            assert len(better) == ALERTS.per_day
            assert all(scores[i.id] >= scores[other.id] for i in better)
    assert newsworthy(ALERTS, TODAY, incidents[::-1], scores) == told
