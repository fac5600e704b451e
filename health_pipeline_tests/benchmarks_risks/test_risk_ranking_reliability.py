"""The study's reliability table: right probabilities pass, wrong ones are told, and intervals hold what they should."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.risk_ranking.reliability import (
    BANDS,
    ONE,
    PRIOR,
    PROGRAM,
    Stated,
    bands,
    brier,
    calibration_error,
    share_interval,
)
from health_pipeline.stats.arrays import Array

TWINS, SAID = 10, 4_000


def right(factor: float = 1.0) -> list[Stated]:
    """Ten twins of cases that are true as often as is stated, times a factor."""
    rng = np.random.default_rng(7)
    made = []
    for _ in range(TWINS):
        p = np.exp(rng.uniform(np.log(2e-3), np.log(0.4), SAID))
        cases = rng.integers(1, 6, SAID).astype(float)
        true = rng.binomial(cases.astype(int), factor * p).astype(float)
        usual = np.full(SAID, float((p * cases).sum() / cases.sum()))
        made.append(Stated({PROGRAM: p, PRIOR: usual, ONE: usual}, cases, true))
    return made


def test_right_probabilities_are_within_their_intervals_and_off_by_no_more_than_chance() -> None:
    twins = right()
    found = [b for b in bands(twins) if b is not None]
    assert [b.off for b in found].count(True) <= 1
    assert sum(b.cases for b in found) == sum(t.cases.sum() for t in twins)
    error, by_chance = calibration_error(twins)
    assert error < 2.0 * by_chance < 0.01


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_too_much_and_too_little_suspicion_are_told(factor: float) -> None:
    found = [b for b in bands(right(factor)) if b is not None and b.cases * b.stated > 60]
    assert len(found) >= 3
    for b in found:
        assert b.off
        assert b.true == pytest.approx(factor * b.stated, rel=0.25)
    error, by_chance = calibration_error(right(factor))
    assert error > 5.0 * by_chance


def test_cases_are_told_apart_better_than_by_one_number() -> None:
    for t in right():
        assert brier(t) < brier(t, ONE)


def test_posts_of_a_creator_count_like_as_many_contents() -> None:
    together = Stated({PROGRAM: np.array([0.2, 0.05])}, np.array([5.0, 3.0]), np.array([2.0, 0.0]))
    each = Stated(
        {PROGRAM: np.array([0.2] * 5 + [0.05] * 3)}, np.ones(8), np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    )
    assert brier(together) == pytest.approx(brier(each))
    assert brier(each) == pytest.approx((2 * 0.8**2 + 3 * 0.2**2 + 3 * 0.05**2) / 8)
    assert bands([together]) == bands([each])
    assert calibration_error([together]) == calibration_error([each])
    assert calibration_error([each])[0] == pytest.approx((1.0 + 0.15) / 8)


def test_a_probability_at_an_edge_is_in_the_upper_band_and_one_in_the_last() -> None:
    p: Array = np.array([0.0, *BANDS[1:-1], 1.0])
    found = bands([Stated({PROGRAM: p}, np.ones(len(p)), np.zeros(len(p)))])
    assert [b.cases if b else 0 for b in found] == [1, 1, 1, 1, 1, 1, 2]


def test_intervals_hold_the_share_as_often_as_they_say_also_where_twins_differ() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        cases = rng.integers(200, 600, TWINS).astype(float)
        share = rng.beta(4.0, 196.0, TWINS)  # 2 % on average, half as much or twice as much in a twin
        low, high = share_interval(cases, rng.binomial(cases.astype(int), share).astype(float))
        held += low <= 0.02 <= high
    assert held / 400 > 0.92


def test_none_of_many_leaves_little_room_and_one_twin_tells_nothing() -> None:
    low, high = share_interval(np.full(TWINS, 1_000.0), np.zeros(TWINS))
    assert low == 0.0
    assert 0.001 < high < 0.01
    assert share_interval(np.full(TWINS, 1_000.0), np.full(TWINS, 1_000.0)) == pytest.approx((1.0 - high, 1.0))
    assert share_interval(np.array([50.0]), np.array([5.0])) == (0.0, 1.0)
