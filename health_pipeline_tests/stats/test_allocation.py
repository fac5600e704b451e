"""Lists fit the minutes there are, hold the best for them, explore as much as is asked, and log true chances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from health_pipeline.stats.allocation import Allocation, allocate

Array = NDArray[np.float64]

CASES = st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 40)), min_size=1, max_size=9)


def allocated(
    value: Array, minutes: Array, capacity: float, explore: float = 0.0, draws: Array | None = None, seed: int = 0
) -> Allocation:
    return allocate(value, minutes, capacity, explore=explore, draws=value[None] if draws is None else draws, seed=seed)


def optimum(value: Array, minutes: Array, capacity: float) -> float:
    choices = np.array(list(product([0, 1], repeat=len(value))))
    return float((choices @ value)[choices @ minutes <= capacity].max())


@given(CASES, st.floats(0, 80), st.floats(0, 0.5), st.integers(0, 5))
def test_nothing_is_listed_beyond_capacity(
    cases: list[tuple[float, float]], capacity: float, explore: float, seed: int
) -> None:
    value, minutes = np.array(cases).T
    draws = value * np.random.default_rng(seed).lognormal(0, 2, (20, len(value)))
    found = allocated(value, minutes, capacity, explore, draws, seed)
    assert minutes[found.listed].sum() <= capacity + 1e-6
    assert not (found.explored & ~found.listed).any()
    assert (found.chance[found.listed] > 0).all()


@settings(max_examples=200)
@given(CASES, st.floats(1, 80))
def test_a_list_is_worth_at_least_half_the_best_possible(cases: list[tuple[float, float]], capacity: float) -> None:
    value, minutes = np.array(cases).T
    found = allocated(value, minutes, capacity)
    assert value[found.listed].sum() >= optimum(value, minutes, capacity) / 2 - 1e-9


def test_one_long_case_that_is_worth_more_than_all_short_ones_is_not_lost() -> None:
    found = allocated(np.array([2.0, 100.0]), np.array([1.0, 60.0]), 60.0)
    assert found.listed.tolist() == [False, True]


def test_many_short_cases_come_close_to_the_relaxed_optimum() -> None:
    rng = np.random.default_rng(3)
    value, minutes = rng.lognormal(0, 1.5, 3_000), rng.uniform(2, 8, 3_000)
    order = np.argsort(-value / minutes)
    relaxed = np.interp(480, np.cumsum(minutes[order]), np.cumsum(value[order]))
    assert value[allocated(value, minutes, 480).listed].sum() > 0.998 * relaxed


def test_what_no_longer_fits_makes_room_for_what_does() -> None:
    found = allocated(np.array([10.0, 9.0, 1.0]), np.array([5.0, 6.0, 2.0]), 8.0)
    assert found.listed.tolist() == [True, False, True]


def test_without_exploration_a_list_does_not_depend_on_draws() -> None:
    rng = np.random.default_rng(4)
    value, minutes = rng.random(50), rng.uniform(1, 5, 50)
    found = allocated(value, minutes, 30, 0.0, rng.random((10, 50)))
    assert found.listed.tolist() == allocated(value, minutes, 30).listed.tolist()
    assert not found.explored.any()
    assert set(found.chance) == {0.0, 1.0}


@pytest.mark.parametrize(("minutes", "capacity"), [(3.0, 300.0), (3.0, 30.0), (20.0, 60.0)])
def test_the_explored_minutes_are_right_on_average_even_where_they_are_shorter_than_a_case(
    minutes: float, capacity: float
) -> None:
    rng = np.random.default_rng(5)
    n, explore = 400, 0.1
    value = rng.lognormal(0, 1, n)
    draws = value * rng.lognormal(0, 0.8, (50, n))
    spent = [
        minutes * allocated(value, np.full(n, minutes), capacity, explore, draws, seed).explored.sum()
        for seed in range(100)
    ]
    assert np.mean(spent) == pytest.approx(explore * capacity, rel=0.25)


def test_exploration_prefers_what_may_be_much_worse_than_it_looks() -> None:
    rng = np.random.default_rng(6)
    n = 1_000
    value = np.concatenate([np.full(50, 10.0), np.full(n - 50, 1.0)])
    uncertain = np.arange(n) >= n - 100
    draws = value * rng.lognormal(0, np.where(uncertain, 1.5, 0.05), (200, n))
    found = allocated(value, np.ones(n), 50, 0.1, draws)
    assert found.chance[uncertain].sum() > 50 * found.chance[(value == 1) & ~uncertain].sum()


def test_logged_chances_are_the_frequencies_with_which_cases_are_listed() -> None:
    rng = np.random.default_rng(7)
    n, seeds = 60, 200
    value, minutes = rng.lognormal(0, 1, n), rng.uniform(1, 4, n)
    logged, listed = np.zeros(n), np.zeros(n)
    for seed in range(seeds):
        draws = value * np.random.default_rng([8, seed]).lognormal(0, 0.7, (100, n))
        found = allocated(value, minutes, 30, 0.15, draws, seed)
        logged += found.chance / seeds
        listed += found.listed / seeds
    error = np.sqrt(np.maximum(logged * (1 - logged), 0.25 / seeds) / seeds)
    assert (np.abs(listed - logged) < 4.5 * error).all()
    assert ((logged > 0.01) & (logged < 0.99)).sum() > 10


def test_labels_weighted_by_chance_are_unbiased_for_what_may_be_listed() -> None:
    rng = np.random.default_rng(9)
    n = 40
    value = rng.lognormal(0, 0.5, n)
    truth = rng.random(n)
    estimates, reached = [], np.zeros(n, dtype=bool)
    for seed in range(150):
        draws = value * np.random.default_rng([10, seed]).lognormal(0, 1, (200, n))
        found = allocated(value, np.ones(n), 16, 0.5, draws, seed)
        reached |= found.chance > 0
        estimates.append((truth[found.listed] / found.chance[found.listed]).sum())
    assert reached.all()
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(truth.sum(), abs=4 * error)


def test_the_same_seed_gives_the_same_list() -> None:
    rng = np.random.default_rng(11)
    value, minutes, draws = rng.random(200), rng.uniform(1, 9, 200), rng.random((30, 200))
    one, two = (allocated(value, minutes, 60, 0.1, draws, 5) for _ in range(2))
    assert (one.listed == two.listed).all()
    assert (one.chance == two.chance).all()
    lists = {tuple(allocated(value, minutes, 60, 0.1, draws, seed).listed) for seed in range(20)}
    assert len(lists) > 5


def test_cases_without_value_are_left_out_even_where_there_is_room() -> None:
    found = allocated(np.array([1.0, 0.0]), np.array([1.0, 1.0]), 100.0, 0.1)
    assert found.listed.tolist() == [True, False]


def test_no_cases_give_an_empty_list() -> None:
    found = allocate(np.zeros(0), np.zeros(0), 10.0, explore=0.1, draws=np.zeros((3, 0)), seed=1)
    assert found.listed.shape == found.chance.shape == (0,)


@pytest.mark.parametrize(
    ("minutes", "explore", "draws"),
    [([1.0], 0.1, np.ones((2, 2))), ([1.0, 0.0], 0.1, np.ones((2, 2))), ([1.0, 1.0], 1.0, np.ones((2, 2))),
     ([1.0, 1.0], 0.1, np.ones((2, 3)))],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(minutes: list[float], explore: float, draws: Array) -> None:
    with pytest.raises(ValueError):
        allocate(np.ones(2), np.array(minutes), 10.0, explore=explore, draws=draws, seed=0)
