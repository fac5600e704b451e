"""Episodes are found when they begin and known to be over, and noise has none."""

from __future__ import annotations

import numpy as np
import pytest

from health_pipeline.stats.episodes import fit_episodes

DAYS, USUAL = 60, 5.0
FACTORS = np.array([1.0, 1.6, 2.5, 4.0])


def likelihoods(counts: np.ndarray) -> np.ndarray:
    """(S, D, K) of Poisson counts whose mean is USUAL times each factor."""
    return np.asarray(np.multiply.outer(counts, np.log(FACTORS)) - USUAL * FACTORS)


def counts_of(mean: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean).astype(float)


def test_an_episode_is_known_from_its_days_on_and_its_size_is_found() -> None:
    mean = np.full((80, DAYS), USUAL)
    mean[:4, 40:] *= 2.5
    on = 1.0 - fit_episodes(likelihoods(counts_of(mean))).chances[:, :, 0]
    assert on[:4, 42:].mean() > 0.95
    assert on[:4, 45:].min() > 0.7
    assert on[:4, :35].mean() < 0.05
    assert on[4:].mean() < 0.01
    size = fit_episodes(likelihoods(counts_of(mean))).chances[:4, -1] @ FACTORS
    np.testing.assert_allclose(size, 2.5, rtol=0.2)


def test_what_is_over_is_over() -> None:
    mean = np.full((80, DAYS), USUAL)
    mean[:4, 20:40] *= 2.5
    on = 1.0 - fit_episodes(likelihoods(counts_of(mean))).chances[:, :, 0]
    assert on[:4, 22:38].mean() > 0.95
    assert on[:4, 45:].mean() < 0.05


def test_noise_has_no_episodes_and_says_that_they_are_rare() -> None:
    quiet = fit_episodes(likelihoods(counts_of(np.full((200, DAYS), USUAL))))
    assert quiet.chances[:, :, 0].min() > 0.5
    mean = np.full((200, DAYS), USUAL)
    for series in range(0, 200, 4):
        mean[series, 30:45] *= 4.0
    lively = fit_episodes(likelihoods(counts_of(mean)))
    assert lively.begins > 5.0 * quiet.begins
    assert lively.ends == pytest.approx(1.0 / 15.0, rel=0.3)


def test_days_without_data_keep_to_the_days_around_them() -> None:
    mean = np.full((80, DAYS), USUAL)
    mean[:4, 30:] *= 2.5
    likelihood = likelihoods(counts_of(mean))
    likelihood[:, 45:50] = 0.0
    on = 1.0 - fit_episodes(likelihood).chances[:, :, 0]
    assert on[:4, 45:50].min() > 0.9
    assert on[4:, 45:50].mean() < 0.01


def test_chances_sum_to_one_also_where_a_day_is_all_but_impossible() -> None:
    likelihood = likelihoods(counts_of(np.full((3, DAYS), USUAL)))
    likelihood[0, 10, 1:] = -5_000.0
    likelihood[1, 20, 0] = -5_000.0
    found = fit_episodes(likelihood).chances
    np.testing.assert_allclose(found.sum(axis=2), 1.0)
    assert found[1, 20, 0] < 1e-6
    assert fit_episodes(np.zeros((0, 5, 3))).chances.shape == (0, 5, 3)
