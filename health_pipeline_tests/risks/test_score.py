"""The list of risks: the larger, the wider, the surer and the more harmful, the higher."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.model import Incident, Member
from health_pipeline.risks.risks import risk_rows
from health_pipeline.risks.schema import RISKS
from health_pipeline.risks.score import rank, score, score_member

CATALOG = load_catalog("eu_dsa")
DAY = dt.date(2025, 7, 1)
BAD_BOTH, BAD_UP, BAD_DOWN = "statements", "account_terminations", "automated_detection_rate"


def member(change: float = -0.5, low: float = -0.6, high: float = -0.4, **changes: Any) -> Member:
    values: dict[str, Any] = {
        "series": "statements|platform=TikTok", "metric": BAD_BOTH, "segment": "platform=TikTok", "onset": DAY,
        "expected": 1_000.0, "observed": 500.0, "excess": -999.0, "q_value": 0.0,
        "reported_on": DAY, "state": "ongoing",
    }  # fmt: skip
    return Member(**(values | changes), change=change, low=low, high=high)


def incident(*members: Member, **changes: Any) -> Incident:
    head = members[0] if members else member()
    values: dict[str, Any] = {
        "day": DAY, "id": "a", "kind": "shift", "family": "statements", "unit": "TikTok", "state": "new",
        "first_reported": DAY, "last_reported": DAY, "headline_reported": DAY, "onset": DAY, "onset_low": DAY,
        "onset_high": DAY, "series": head.series, "metric": head.metric, "segment": head.segment, "shape": "level",
        "direction": "down", "expected": head.expected, "observed": head.observed, "change": head.change,
        "change_low": head.low, "change_high": head.high, "excess": head.excess, "q_value": head.q_value,
        "tested": 100, "members": members or (head,),
    }  # fmt: skip
    return Incident(**(values | changes))


def value(item: Member) -> float:
    return score_member(CATALOG, item).value


def test_a_halving_of_a_thousand_a_day_counts_three_times_what_is_sure() -> None:
    found = score_member(CATALOG, member(change=-0.5, high=-0.5))
    assert (found.size, found.exposure, found.confidence, found.harm) == (1.0, 3.0, 1.0, 1.0)
    assert found.value == 3.0


def test_doublings_and_halvings_weigh_the_same_and_thirty_two_fold_is_the_most() -> None:
    up, down = member(3.0, 3.0, 3.0), member(-0.75, -0.75, -0.75)
    assert score_member(CATALOG, up).size == score_member(CATALOG, down).size == 2.0
    assert score_member(CATALOG, member(31.0, 31.0, 31.0)).size == 5.0
    assert score_member(CATALOG, member(1e9, 1e9, 1e9)).size == 5.0
    assert score_member(CATALOG, member(-1.0, -1.0, -1.0)).size == 5.0


CHANGE = st.floats(0.11, 100.0)
SPREAD = st.floats(0.0, 0.99)
EXCESS = st.floats(-1e9, 1e9)
Q_VALUE = st.floats(0.0, 0.2)


def rise(change: float, near: float, **changes: Any) -> Member:
    """A rise whose interval reaches down to ``near`` of its size."""
    return member(change, low=change * near, high=2 * change, **changes)


@given(CHANGE, CHANGE, SPREAD, EXCESS, Q_VALUE)
def test_a_larger_change_never_scores_less(
    one: float, other: float, near: float, excess: float, q_value: float
) -> None:
    less, more = (value(rise(c, near, excess=excess, q_value=q_value)) for c in sorted((one, other)))
    assert less <= more + 1e-9


@given(CHANGE, SPREAD, st.floats(0, 1e9), st.floats(0, 1e9), Q_VALUE)
def test_more_things_concerned_never_score_less(
    change: float, near: float, one: float, other: float, q_value: float
) -> None:
    less, more = (value(rise(change, near, excess=e, q_value=q_value)) for e in sorted((one, other)))
    assert less <= more
    assert value(rise(change, near, excess=-other, q_value=q_value)) == value(
        rise(change, near, excess=other, q_value=q_value)
    )


@given(CHANGE, SPREAD, SPREAD, EXCESS, Q_VALUE, Q_VALUE)
def test_the_surer_never_scores_less(
    change: float, one: float, other: float, excess: float, q_one: float, q_other: float
) -> None:
    wide, narrow = (value(rise(change, near, excess=excess, q_value=q_one)) for near in sorted((one, other)))
    assert wide <= narrow + 1e-9
    sure, unsure = (value(rise(change, one, excess=excess, q_value=q)) for q in sorted((q_one, q_other)))
    assert unsure <= sure


@given(st.floats(-1.0, 1e6), st.floats(-1.0, 1e6), st.floats(-1.0, 1e6), EXCESS, Q_VALUE)
def test_every_term_stays_in_its_bounds(change: float, low: float, high: float, excess: float, q_value: float) -> None:
    found = score_member(CATALOG, member(change, low, high, excess=excess, q_value=q_value))
    assert 0.0 <= found.size <= 5.0
    assert 0.0 <= found.confidence <= 1.0
    assert found.exposure >= 0.0
    assert found.harm in (0.5, 1.0)
    assert math.isfinite(found.value)


@pytest.mark.parametrize(
    "interval", [(-0.5, -0.8, 0.0), (-0.5, -0.8, 0.2), (0.5, 0.0, 0.9), (0.5, -0.1, 0.9), (0.0, -0.1, 0.1)]
)
def test_what_may_be_no_change_at_all_scores_nothing(interval: tuple[float, float, float]) -> None:
    assert value(member(*interval)) == 0.0


def test_what_is_not_known_scores_nothing() -> None:
    assert value(member(float("nan"), float("nan"), float("nan"), excess=float("nan"))) == 0.0


def test_only_what_is_surely_there_counts() -> None:
    found = score_member(CATALOG, member(change=3.0, low=1.0, high=9.0))
    assert found.size * found.confidence == pytest.approx(1.0), "two doublings, one of them sure"


@pytest.mark.parametrize(("metric", "up", "down"), [(BAD_BOTH, 1.0, 1.0), (BAD_UP, 1.0, 0.5), (BAD_DOWN, 0.5, 1.0)])
def test_the_harmless_direction_counts_half(metric: str, up: float, down: float) -> None:
    assert score_member(CATALOG, member(1.0, 0.8, 1.2, metric=metric)).harm == up
    assert score_member(CATALOG, member(-0.5, -0.6, -0.4, metric=metric)).harm == down


def test_an_incident_takes_the_score_of_its_weightiest_shift() -> None:
    small, large = member(-0.2, -0.3, -0.1), member(-0.9, -0.95, -0.8)
    assert score(CATALOG, incident(small, large)) == score_member(CATALOG, large)
    assert score(CATALOG, incident(large, small)) == score_member(CATALOG, large)


def test_a_shift_that_is_over_gives_no_score_while_others_last() -> None:
    small, over = member(-0.2, -0.3, -0.1), member(-0.9, -0.95, -0.8, state="recovered")
    assert score(CATALOG, incident(over, small)) == score_member(CATALOG, small)
    assert score(CATALOG, incident(over)) == score_member(CATALOG, over)


def test_the_list_holds_open_shifts_the_highest_score_first() -> None:
    small, large = member(-0.2, -0.3, -0.1), member(-0.9, -0.95, -0.8)
    incidents = [
        incident(small, id="small"),
        incident(large, id="over", state="recovered", ended=DAY),
        incident(large, id="hole", kind="data"),
        incident(large, id="large"),
        incident(small, id="as-small"),
    ]
    assert [i.id for i, _ in rank(CATALOG, incidents)] == ["large", "as-small", "small"]


def test_the_order_in_which_incidents_come_does_not_matter() -> None:
    incidents = [incident(member(-0.1 * i, -0.1 * i, -0.05 * i), id=f"i{i}") for i in range(1, 9)]
    assert rank(CATALOG, incidents) == rank(CATALOG, incidents[::-1])


def test_the_table_holds_the_terms_whose_product_is_the_score() -> None:
    large = member(-0.9, -0.95, -0.8)
    rows = risk_rows(CATALOG, DAY, [incident(id="b"), incident(large, id="a")])
    assert rows.schema == RISKS
    held = rows.to_pylist()
    assert [(row["rank"], row["incident"]) for row in held] == [(1, "a"), (2, "b")]
    for row in held:
        assert row["score"] == pytest.approx(row["size"] * row["exposure"] * row["confidence"] * row["harm"])
    assert held[0]["title"] == "TikTok: statements filed down 90 %"
    assert held[0]["sentence"].startswith("TikTok: statements filed fell from 1,000 to 500 a day (−90 %")
    assert risk_rows(CATALOG, DAY, []).num_rows == 0


def test_a_score_is_a_value_of_its_terms_alone() -> None:
    found = score_member(CATALOG, member())
    assert dataclasses.replace(found, harm=0.5).value == found.value / 2
