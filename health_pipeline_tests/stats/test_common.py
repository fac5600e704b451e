"""What all series of a cohort do on a day is told apart from what some of them do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.stats.common import FEWEST, common_effects

SERIES = 40
ONE = np.zeros(SERIES, dtype=np.int64)


def noise(seed: int, sd: float = 0.05, series: int = SERIES) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, sd, series)


def effect(away: np.ndarray, sd: float = 0.05) -> float:
    return float(common_effects(np.zeros(len(away), dtype=np.int64), 1, away, np.full(len(away), sd**2))[0])


@pytest.mark.parametrize("truth", [0.3, -0.2, 1.5])
def test_what_all_do_is_common(truth: float) -> None:
    assert effect(truth + noise(1)) == pytest.approx(truth, abs=0.04)


def test_on_an_ordinary_day_nothing_is_common() -> None:
    found = np.array([effect(noise(seed)) for seed in range(200)])
    assert np.mean(found == 0) > 0.9
    assert np.abs(found).max() < 0.03, "and what is taken for common is next to nothing"


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_a_minority_is_no_common_effect(share: float) -> None:
    away = noise(2)
    away[: round(share * SERIES)] += 1.0
    assert abs(effect(away)) < 0.02


def test_a_minority_that_moves_otherwise_does_not_hide_what_is_common() -> None:
    away = 0.4 + noise(3)
    away[:6] -= 2.0
    assert effect(away) == pytest.approx(0.4, abs=0.05)


def test_a_cohort_that_is_split_has_nothing_in_common() -> None:
    away = noise(4)
    away[: SERIES // 2] += 1.0
    assert effect(away) == 0.0


def test_few_series_have_nothing_in_common() -> None:
    assert effect(0.5 + noise(5, series=FEWEST - 1)) == 0.0
    assert effect(0.5 + noise(5, series=FEWEST)) == pytest.approx(0.5, abs=0.1)
    away = 0.5 + noise(5)
    away[FEWEST - 1 :] = np.nan
    assert effect(away) == 0.0, "missing ones do not count"


def test_cohorts_do_not_see_each_other_and_series_in_none_see_and_tell_nothing() -> None:
    cohort = np.repeat([0, 1, 2, -1], 20)
    away = noise(6, series=80) + np.repeat([0.4, -0.3, 0.0, 2.0], 20)
    found = common_effects(cohort, 3, away, np.full(80, 0.05**2))
    np.testing.assert_allclose(found, [0.4, -0.3, 0.0], atol=0.04)
    away[cohort == -1] = 50.0
    np.testing.assert_array_equal(common_effects(cohort, 3, away, np.full(80, 0.05**2)), found)


def test_one_large_exact_series_does_not_speak_for_all() -> None:
    away, variance = noise(7), np.full(SERIES, 0.05**2)
    away[0], variance[0] = 0.5, 1e-9
    assert abs(float(common_effects(ONE, 1, away, variance)[0])) < 0.02


def test_exact_series_count_more_than_vague_ones() -> None:
    errors = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        sd = np.where(np.arange(SERIES) < 20, 0.02, 0.5)
        away = 0.3 + rng.normal(0, sd)
        errors.append((float(common_effects(ONE, 1, away, sd**2)[0]) - 0.3, float(away.mean()) - 0.3))
    weighted, plain = np.sqrt(np.mean(np.square(errors), axis=0))
    assert weighted < 0.7 * plain


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_up_and_down_are_alike_and_order_does_not_matter(seed: int, truth: float) -> None:
    away = truth + noise(seed)
    found = effect(away)
    assert effect(-away) == pytest.approx(-found, abs=1e-6)
    assert effect(np.random.default_rng(seed).permutation(away)) == pytest.approx(found, abs=1e-9)
    assert abs(found) <= np.abs(away).max()


def test_identical_series_are_no_division_by_zero() -> None:
    with np.errstate(all="raise"):
        assert effect(np.zeros(SERIES)) == 0.0
        assert effect(np.full(SERIES, 0.5)) == pytest.approx(0.5, abs=0.01)
