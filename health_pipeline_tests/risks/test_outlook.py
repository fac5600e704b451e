"""Draws of what may be have the stated means, and hold what is not known: of a wave, for all of a cohort at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from health_pipeline.risks.outlook import Outlook, Series
from health_pipeline.stats.shrinkage import Gridded, gamma_weights

GRID = np.geomspace(0.02, 30.0, 48)
CREATORS, COUNT = 6, 4_000
BASE, HARM = np.full(CREATORS, 0.02), np.full(CREATORS, 3.0)


def outlook(chances: np.ndarray, shape: float = 0.5, unsure: float = 0.0, width: float = 0.54) -> Outlook:
    """Two cohorts of three creators each, and waves of 0.1 or 0.5 of a policy that is four times as bad."""
    share = sparse.csr_array(np.kron(np.eye(2), np.ones((3, 1))))
    size = np.array([0.0, 0.1, 0.5])
    factors = Gridded(GRID, np.tile(gamma_weights(GRID, shape), (CREATORS, 1)))
    series = Series(share, chances, size, 4.0 * HARM[0] * size, width)
    return Outlook(factors, 0.5, BASE, np.full(CREATORS, unsure), HARM, (series,))


NO_WAVE, MAYBE, SURE = np.array([1.0, 0.0, 0.0]), np.array([0.6, 0.0, 0.4]), np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize("unsure", [0.0, 0.1])
def test_draws_have_the_stated_mean_and_spread(unsure: float) -> None:
    at = outlook(np.stack([NO_WAVE, MAYBE]), unsure=unsure)
    violations, harm = at.draws(COUNT, np.random.default_rng(1))
    mean = at.factors.mean * BASE
    wave = np.repeat([0.0, 0.2], 3)
    np.testing.assert_allclose(violations.mean(axis=0), mean + wave, rtol=0.05)
    np.testing.assert_allclose(harm.mean(axis=0), HARM * (mean + 4.0 * wave), rtol=0.05)
    np.testing.assert_allclose(violations.std(axis=0), at.deviation, rtol=0.1)


def test_a_wave_that_may_be_is_there_for_all_of_a_cohort_or_for_none() -> None:
    violations, _ = outlook(np.stack([MAYBE, MAYBE]), shape=300.0).draws(COUNT, np.random.default_rng(2))
    there = violations > 0.2
    np.testing.assert_allclose(there.mean(axis=0), 0.4, atol=0.01)
    assert (there[:, :1] == there[:, :3]).all()
    assert (there[:, 3:4] == there[:, 3:]).all()
    assert 0.1 < (there[:, 0] & there[:, 3]).mean() < 0.22, "another cohort's is another"


def test_sizes_between_those_tried_are_drawn_too_but_none_above_one() -> None:
    drawn, _ = outlook(np.stack([SURE, SURE]), shape=300.0).draws(COUNT, np.random.default_rng(3))
    low, high = np.quantile(drawn[:, 0] - BASE[0], [0.05, 0.95])
    assert 0.31 < low < 0.36
    assert 0.66 < high < 0.73
    whole = Series(sparse.csr_array(np.ones((1, 1))), np.array([[0.0, 1.0]]), np.array([0.0, 1.0]), np.ones(2), 0.54)
    np.testing.assert_allclose(whole.draws(50, np.random.default_rng(4))[0], 1.0)


def test_who_hardly_ever_violates_may_do_so_less_than_the_least_factor() -> None:
    innocent = Outlook(Gridded(GRID, np.eye(1, len(GRID))), 0.5, BASE[:1], np.zeros(1), HARM[:1], ())
    drawn, _ = innocent.draws(COUNT, np.random.default_rng(5))
    assert drawn.min() < 0.05 * GRID[0] * BASE[0]
    np.testing.assert_allclose(drawn.mean(), GRID[0] * BASE[0], rtol=0.1)


def test_the_same_seed_draws_the_same() -> None:
    at = outlook(np.stack([NO_WAVE, MAYBE]), unsure=0.1)
    for one, other in zip(*(at.draws(20, np.random.default_rng(6)) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)
