"""Logistic regression: exact where exact answers are known, honest about its uncertainty, and about wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from health_pipeline.stats.logistic import centre, fit, mean_probability

WIDE = 1e4


def world(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with an intercept, true coefficients, and true outcomes."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(n), rng.standard_normal((n, 3))])
    beta = np.array([-1.5, 1.0, -0.7, 0.0])
    return features, beta, (rng.random(n) < special.expit(features @ beta)).astype(float)


def test_a_table_of_two_groups_gives_their_log_odds() -> None:
    features = np.array([[1.0, 0.0]] * 40 + [[1.0, 1.0]] * 50)
    labels = np.r_[np.ones(10), np.zeros(30), np.ones(35), np.zeros(15)]
    model = fit(features, labels, centre=np.zeros(2), spread=np.full(2, WIDE))
    np.testing.assert_allclose(model.coefficients, [np.log(10 / 30), np.log(35 / 15) - np.log(10 / 30)], atol=1e-5)
    # The variance of a log odds ratio is the sum of the cells' reciprocals.
    np.testing.assert_allclose(model.covariance[1, 1], 1 / 10 + 1 / 30 + 1 / 35 + 1 / 15, rtol=1e-4)


def test_the_mode_is_where_a_general_optimiser_finds_it() -> None:
    features, _, labels = world(1, 300)
    centre, spread = np.array([0.0, 1.0, 0.0, 0.3]), np.array([2.0, 0.2, 0.5, 1.0])
    model = fit(features, labels, centre=centre, spread=spread, offset=0.3)

    def loss(beta: np.ndarray) -> float:
        eta = features @ beta + 0.3
        return float(np.sum(np.logaddexp(0, eta) - labels * eta) + 0.5 * np.sum(((beta - centre) / spread) ** 2))

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(model.coefficients, best.x, atol=1e-4)
    assert model.steps < 12


def test_a_weight_of_three_is_three_rows() -> None:
    features, _, labels = world(2, 200)
    prior = {"centre": np.zeros(4), "spread": np.full(4, 2.0)}
    weighted = fit(features, labels, weights=np.where(np.arange(200) < 50, 3.0, 1.0), **prior)
    again = np.r_[np.arange(200), np.arange(50), np.arange(50)]
    repeated = fit(features[again], labels[again], **prior)
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, atol=1e-6)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-5)


def test_without_labels_the_prior_remains() -> None:
    centre, spread = np.array([-3.0, 1.0]), np.array([1.0, 0.5])
    model = fit(np.zeros((0, 2)), np.zeros(0), centre=centre, spread=spread)
    np.testing.assert_allclose(model.coefficients, centre)
    np.testing.assert_allclose(model.covariance, np.diag(spread**2))


def test_separated_labels_stay_finite() -> None:
    features = np.column_stack([np.ones(20), np.linspace(-1, 1, 20)])
    model = fit(features, (features[:, 1] > 0).astype(float), centre=np.zeros(2), spread=np.full(2, 3.0))
    assert np.isfinite(model.coefficients).all()
    assert 0 < model.coefficients[1] < 30


def test_intervals_cover() -> None:
    inside = []
    for seed in range(60):
        features, beta, labels = world(100 + seed, 600)
        model = fit(features, labels, centre=np.zeros(4), spread=np.full(4, WIDE))
        inside.append(np.abs(model.coefficients - beta) < 1.96 * np.sqrt(np.diag(model.covariance)))
    assert 0.90 < np.mean(inside) < 0.99


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.8, 0.9), (0.95, 0.97)])
def test_labels_known_to_err_speak_of_the_truth(sensitivity: float, specificity: float) -> None:
    features, beta, truth = world(3, 40_000)
    rng = np.random.default_rng(4)
    right = rng.random(len(truth)) < np.where(truth == 1, sensitivity, specificity)
    labels = np.where(right, truth, 1 - truth)
    prior = {"centre": np.zeros(4), "spread": np.full(4, 10.0)}
    corrected = fit(features, labels, sensitivity=sensitivity, specificity=specificity, **prior)
    trusting = fit(features, labels, **prior)
    np.testing.assert_allclose(corrected.coefficients, beta, atol=0.1)
    assert np.abs(trusting.coefficients - beta).max() > 2 * np.abs(corrected.coefficients - beta).max()


def test_the_mean_probability_is_that_of_drawn_coefficients() -> None:
    features, _, labels = world(5, 60)
    model = fit(features, labels, centre=np.zeros(4), spread=np.full(4, 2.0))
    drawn = model.draws(20_000, np.random.default_rng(6))
    by_draws = special.expit(features @ drawn.T).mean(axis=1)
    np.testing.assert_allclose(model.probability(features), by_draws, atol=0.01)
    np.testing.assert_allclose(model.error(features), (features @ drawn.T).std(axis=1), rtol=0.05)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-9, 1 - 1e-9), st.floats(0.0, 3.0))
def test_draws_around_the_centre_have_the_probability_as_their_mean(probability: float, error: float) -> None:
    middle = centre(np.array([probability]), np.array([error]))
    found = mean_probability(middle, np.array([error]))[0]
    assert found == pytest.approx(probability, rel=0.01)


def test_a_mean_probability_is_that_of_many_draws() -> None:
    log_odds, error = np.array([-6.0, -1.0, 0.0, 3.0]), np.array([1.5, 1.0, 2.0, 0.0])
    drawn = special.expit(log_odds + error * np.random.default_rng(8).standard_normal((400_000, 4)))
    np.testing.assert_allclose(mean_probability(log_odds, error), drawn.mean(axis=0), rtol=0.02)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.01, 100.0))
def test_whatever_the_labels_the_posterior_is_narrower_than_the_prior(seed: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(0, 3, (n, 3)), rng.integers(0, 2, n).astype(float)
    model = fit(features, labels, centre=np.zeros(3), spread=np.full(3, spread))
    assert np.isfinite(model.coefficients).all()
    assert (np.diag(model.covariance) <= spread**2 * (1 + 1e-6)).all()


def test_what_makes_no_sense_is_refused() -> None:
    ones, prior = np.ones((2, 1)), {"centre": np.zeros(1), "spread": np.ones(1)}
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fit(ones, np.array([0.0, 2.0]), **prior)
    with pytest.raises(ValueError, match="more than 1"):
        fit(ones, np.array([0.0, 1.0]), sensitivity=0.5, specificity=0.5, **prior)
    with pytest.raises(ValueError, match="1 means"):
        fit(ones, np.array([0.0, 1.0]), centre=np.zeros(2), spread=np.ones(2))


def test_from_wherever_the_search_starts_it_ends_at_the_same_coefficients() -> None:
    rng = np.random.default_rng(5)
    features = np.column_stack([np.ones(500), rng.standard_normal(500)])
    labels = (rng.random(500) < special.expit(features @ [-1.0, 1.5])).astype(float)
    prior = {"centre": np.zeros(2), "spread": np.full(2, 3.0)}
    cold = fit(features, labels, **prior)
    warm = fit(features, labels, **prior, start=cold.coefficients)
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=1e-4)
    assert warm.steps < cold.steps
