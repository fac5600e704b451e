"""Episodes are found when they begin and known to be over, and noise has none."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from health_pipeline.stats import episodes
from health_pipeline.stats.episodes import BEGAN, ENDED, STEPS, fit_episodes

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


def by_all_paths(log_likelihood: np.ndarray, begins: float, ends: float) -> tuple[np.ndarray, float, float]:
    """(S, D, K) chances of levels, beginnings and ends expected: a sum over every path that there is."""
    series, days, levels = log_likelihood.shape
    moves = np.diag([1.0 - begins, *[1.0 - ends] * (levels - 1)])
    moves[0, 1:], moves[1:, 0] = begins / (levels - 1), ends
    first = np.append(ends, np.full(levels - 1, begins / (levels - 1))) / (begins + ends)
    chances, began, ended = np.zeros_like(log_likelihood), 0.0, 0.0
    for s in range(series):
        paths = list(product(range(levels), repeat=days))
        weight = np.array([
            first[path[0]] * np.prod([moves[step] for step in pairwise(path)])
            * np.exp(sum(log_likelihood[s, day, level] for day, level in enumerate(path)))
            for path in paths
        ])  # fmt: skip
        weight /= weight.sum()
        for path, w in zip(paths, weight, strict=True):
            chances[s, np.arange(days), path] += w
            began += w * sum(a == 0 < b for a, b in pairwise(path))
            ended += w * sum(a > 0 == b for a, b in pairwise(path))
    return chances, began, ended


@pytest.mark.parametrize("shape", [(3, 5, 3), (2, 4, 2), (1, 4, 4), (3, 1, 3)])
def test_chances_and_how_often_episodes_begin_and_end_are_those_of_all_paths_together(
    shape: tuple[int, int, int],
) -> None:
    likelihood = np.random.default_rng(1).normal(0.0, 3.0, shape)
    begins, ends = BEGAN[0] / BEGAN[1], ENDED[0] / ENDED[1]
    for _ in range(STEPS):
        chances, began, ended = by_all_paths(likelihood, begins, ends)
        off = chances[:, :-1, 0].sum()
        begins = (BEGAN[0] + began) / (BEGAN[1] + off)
        ends = (ENDED[0] + ended) / (ENDED[1] + chances[:, :-1].sum() - off)
    found = fit_episodes(likelihood)
    np.testing.assert_allclose(found.chances, chances, atol=1e-12)
    np.testing.assert_allclose([found.begins, found.ends], [begins, ends])


def test_blocks_of_series_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mean = np.full((50, DAYS), USUAL)
    mean[:4, 30:] *= 2.5
    likelihood = likelihoods(counts_of(mean))
    whole = fit_episodes(likelihood)
    monkeypatch.setattr(episodes, "BLOCK", 7)
    parts = fit_episodes(likelihood)
    np.testing.assert_array_equal(parts.chances, whole.chances)
    assert (parts.begins, parts.ends) == (whole.begins, whole.ends)


def test_days_that_all_but_forbid_each_other_are_still_numbers() -> None:
    only = np.random.default_rng(1).integers(0, 60, (20, 400))
    likelihood = np.full((20, 400, 60), -1e6)
    np.put_along_axis(likelihood, only[:, :, None], 0.0, axis=2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = fit_episodes(likelihood).chances
    np.testing.assert_allclose(found.sum(axis=2), 1.0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="level beside off"):
        fit_episodes(np.zeros((3, 5, 1)))
    for nothing in (np.nan, -np.inf):
        likelihood = np.zeros((3, 5, 2))
        likelihood[1, 2] = nothing
        with pytest.raises(ValueError, match="impossible on every level"):
            fit_episodes(likelihood)
