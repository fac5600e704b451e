"""Empirical Bayes: priors are found again, thin cohorts follow broad ones, and what is ranked by it ranks better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.stats.shrinkage import (
    GAP,
    Betas,
    Gammas,
    Gridded,
    beta_binomial,
    fit_mixing,
    fit_shapes,
    fit_strengths,
    gamma_poisson,
    gamma_weights,
    poisson_log_likelihood,
    pooled_rates,
    pooled_shares,
)

GRID = np.geomspace(0.01, 20.0, 60)


def counts_of(shape: float, n: int, seed: int, mean: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True rates around ``mean``, exposures, and events."""
    rng = np.random.default_rng(seed)
    rates, exposure = mean * rng.gamma(shape, 1 / shape, n), rng.gamma(1.5, 2.0, n)
    return rates, exposure, rng.poisson(rates * exposure).astype(float)


def repeaters(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Most hardly ever break a rule; one in fifty does so eight times as often as usual."""
    rng = np.random.default_rng(seed)
    rates = np.where(rng.random(n) < 0.02, 8.0, rng.beta(0.4, 2.6, n) * 6.5)
    exposure = rng.gamma(2.0, 1.5, n)
    return rates, exposure, rng.poisson(rates * exposure).astype(float)


@pytest.mark.parametrize("shape", [0.3, 1.0, 5.0])
def test_the_shape_of_a_gamma_is_found_again(shape: float) -> None:
    _, exposure, counts = counts_of(shape, 8000, 1)
    assert fit_shapes(counts, exposure)[0] == pytest.approx(shape, rel=0.2)


@pytest.mark.parametrize("strength", [2.0, 20.0, 200.0])
def test_the_strength_of_a_beta_is_found_again(strength: float) -> None:
    rng = np.random.default_rng(2)
    trials, mean = rng.poisson(30, 8000).astype(float), np.full(8000, 0.08)
    hits = rng.binomial(trials.astype(int), rng.beta(0.08 * strength, 0.92 * strength, 8000)).astype(float)
    assert fit_strengths(hits, trials, mean)[0] == pytest.approx(strength, rel=0.25)


def test_units_that_are_all_alike_are_shrunk_to_what_is_usual() -> None:
    rng = np.random.default_rng(3)
    exposure = rng.gamma(1.5, 2.0, 3000)
    posterior, usual = gamma_poisson(rng.poisson(0.4 * exposure).astype(float), exposure)
    np.testing.assert_allclose(posterior.mean, usual, rtol=0.15)
    np.testing.assert_allclose(usual, 0.4, rtol=0.06)


def test_cohorts_have_their_own_spread_and_thin_ones_that_of_the_whole() -> None:
    _, e0, y0 = counts_of(0.4, 4000, 4)
    _, e1, y1 = counts_of(6.0, 4000, 5)
    few = np.array([0.0, 3.0])
    counts, exposure = np.r_[y0, y1, few], np.r_[e0, e1, np.ones(2)]
    cohort = np.r_[np.zeros(4000, int), np.ones(4000, int), [2, 2]]
    shapes, whole = fit_shapes(counts, exposure, cohort, 3), fit_shapes(counts, exposure)[0]
    np.testing.assert_allclose(shapes[:2], [0.4, 6.0], rtol=0.3)
    assert shapes[2] == pytest.approx(whole, rel=0.3)


def test_usual_rates_are_those_of_market_and_category_and_a_thin_cohort_follows_the_broad_ones() -> None:
    rng = np.random.default_rng(6)
    n = 12_000
    market, category = rng.integers(0, 4, n), rng.integers(0, 5, n)
    by_market, by_category = np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.3, 0.8, 1.0, 1.5, 3.0])
    truth = 0.05 * by_market[market] * by_category[category]
    exposure = rng.gamma(2.0, 10.0, n)
    counts = rng.poisson(truth * exposure * rng.gamma(0.6, 1 / 0.6, n)).astype(float)
    exposure[(market == 3) & (category == 4)] = 0.0  # nothing is known of this one
    counts[exposure == 0] = 0.0
    rates = pooled_rates(counts, exposure, [category, market, market * 5 + category])
    np.testing.assert_allclose(np.log(rates / truth), 0.0, atol=0.3)


def test_one_who_breaks_every_rule_does_not_become_the_usual() -> None:
    rng = np.random.default_rng(7)
    cohort = np.repeat(np.arange(20), 30)
    exposure = np.full(600, 20.0)
    counts = rng.poisson(0.05 * exposure * rng.gamma(0.5, 2.0, 600)).astype(float)
    before = pooled_rates(counts, exposure, [cohort])[0]
    counts[0], exposure[0] = 200.0, 220.0
    after = pooled_rates(counts, exposure, [cohort])[0]
    raw = counts[cohort == 0].sum() / exposure[cohort == 0].sum()
    assert after < before + 0.45 * (raw - before)


def test_shrunk_rates_are_nearer_to_the_truth_and_catch_more_than_raw_ones() -> None:
    rates, exposure, counts = repeaters(6000, 8)
    posterior, _ = gamma_poisson(counts, exposure)
    raw = counts / exposure

    def caught(score: np.ndarray) -> float:
        return float(rates[np.argsort(-score)[:120]].sum())

    assert np.mean((posterior.mean - rates) ** 2) < 0.8 * np.mean((raw - rates) ** 2)
    assert caught(posterior.mean) > 1.02 * caught(raw)


def test_intervals_hold_what_they_promise() -> None:
    rates, exposure, counts = counts_of(0.8, 6000, 9, mean=0.5)
    posterior, _ = gamma_poisson(counts, exposure)
    inside = (posterior.quantile(0.05) <= rates) & (rates <= posterior.quantile(0.95))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(10)
    n = 6000
    trials = rng.poisson(6, n).astype(float)
    truth = rng.beta(0.5, 4.5, n)
    hits = rng.binomial(trials.astype(int), truth).astype(float)
    posterior, _ = beta_binomial(hits, trials)
    order = np.array_split(np.argsort(posterior.mean), 10)
    for part in order:
        assert posterior.mean[part].mean() == pytest.approx(truth[part].mean(), abs=0.02)


def test_counts_in_halves_are_half_as_sure() -> None:
    _, exposure, counts = counts_of(1.0, 3000, 11)
    full, _ = gamma_poisson(counts, exposure)
    half, _ = gamma_poisson(counts / 2, exposure / 2)
    heavy = exposure > 3
    assert (half.deviation[heavy] / full.deviation[heavy]).mean() > 1.15


def test_a_mixing_distribution_finds_two_kinds() -> None:
    rng = np.random.default_rng(12)
    rates = np.where(rng.random(4000) < 0.1, 6.0, 0.5)
    exposure = np.full(4000, 4.0)
    found = fit_mixing(poisson_log_likelihood(rng.poisson(rates * exposure).astype(float), exposure, GRID), GRID)
    assert found.weights[GRID > 2.5].sum() == pytest.approx(0.1, abs=0.02)
    assert found.weights @ GRID == pytest.approx(1.05, rel=0.05)


def test_the_search_ends_where_no_point_of_the_grid_gains() -> None:
    _, exposure, counts = repeaters(1500, 13)
    likelihood = poisson_log_likelihood(counts, exposure, GRID)
    found = fit_mixing(likelihood, GRID, steps=20_000)
    assert found.gap <= GAP
    total = np.log(np.exp(likelihood) @ found.weights).sum()
    rng = np.random.default_rng(14)
    for _ in range(20):
        other = 0.9 * found.weights + 0.1 * rng.dirichlet(np.full(60, 0.1))
        assert np.log(np.exp(likelihood) @ other).sum() <= total + 1500 * GAP


def test_few_steps_from_a_gamma_predict_no_worse_than_the_likeliest_distribution() -> None:
    rates, exposure, counts = repeaters(3000, 15)
    likelihood = poisson_log_likelihood(counts, exposure, GRID)
    smooth = fit_mixing(likelihood, GRID, gamma_weights(GRID, 0.6)).posterior(likelihood)
    sharp = fit_mixing(likelihood, GRID, steps=5000).posterior(likelihood)
    assert np.mean((smooth.mean - rates) ** 2) < 1.01 * np.mean((sharp.mean - rates) ** 2)


def test_one_cohort_unlike_all_others_keeps_its_own_rate_and_shares() -> None:
    rng = np.random.default_rng(18)
    cohort = np.repeat(np.arange(100), 20)
    rate = np.where(cohort == 7, 3.0, 0.2)
    counts = rng.poisson(rate).astype(float)
    usual = pooled_rates(counts, np.ones(2000), [cohort])
    assert usual[cohort == 7][0] > 2.0
    others = usual[cohort != 7]
    assert others.min() > 0.1 and others.max() < 0.35, "the others are drawn together as without it"

    mix = np.array([0.5, 0.3, 0.2])
    seen = np.stack([rng.multinomial(30, mix) for _ in range(200)]).astype(float)
    seen[11] = [0.0, 2.0, 28.0]
    shares = pooled_shares(seen, mix)
    np.testing.assert_allclose(shares[11], seen[11] / 30, atol=0.05)
    assert np.abs(np.delete(shares, 11, axis=0) - mix).mean() < 0.02


def test_a_gamma_on_a_grid_has_its_mean_and_spread() -> None:
    fine = np.geomspace(1e-4, 60.0, 400)
    on_grid = Gridded(fine, gamma_weights(fine, 0.8)[None])
    assert on_grid.mean[0] == pytest.approx(1.0, rel=0.01)
    assert on_grid.gammas().shape[0] == pytest.approx(0.8, rel=0.02)


@pytest.mark.parametrize(
    "posterior",
    [
        Gammas(np.array([0.7, 30.0]), np.array([2.0, 10.0])),
        Betas(np.array([0.7, 30.0]), np.array([2.0, 10.0])),
        Gridded(GRID, np.stack([gamma_weights(GRID, 0.7), gamma_weights(GRID, 3.0)])),
    ],
)
def test_draws_quantiles_and_moments_speak_of_the_same_distribution(posterior: Gammas | Betas | Gridded) -> None:
    drawn = posterior.draws(20_000, np.random.default_rng(16))
    assert drawn.shape == (20_000, 2)
    np.testing.assert_allclose(drawn.mean(axis=0), posterior.mean, rtol=0.04)
    np.testing.assert_allclose(drawn.std(axis=0), posterior.deviation, rtol=0.05)
    for chance in (0.1, 0.5, 0.9):
        below = (drawn <= posterior.quantile(chance) * (1 + 1e-9)).mean(axis=0)
        assert (below >= chance - 0.015).all()
        assert (below <= chance + 0.13).all()  # a point of a grid may hold a tenth


def test_nothing_known_gives_what_is_usual() -> None:
    posterior, usual = gamma_poisson(np.array([0.0, 5.0]), np.array([0.0, 50.0]))
    assert posterior.mean[0] == pytest.approx(usual[0])
    nothing, _ = beta_binomial(np.zeros(3), np.zeros(3), [np.arange(3)])
    assert np.isfinite(nothing.mean).all()
    assert (nothing.mean < 0.01).all()
    empty = fit_mixing(np.zeros((0, 60)), GRID)
    assert empty.weights.sum() == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 100), st.integers(0, 3)), min_size=1, max_size=30),
)
def test_any_counts_give_finite_posteriors_between_the_usual_and_the_own_rate(
    rows: list[tuple[float, float, int]],
) -> None:
    counts, exposure = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    counts = np.where(exposure > 0.1, counts, 0.0)
    exposure = np.where(exposure > 0.1, exposure, 0.0)
    posterior, usual = gamma_poisson(counts, exposure, [np.array([r[2] for r in rows])])
    assert np.isfinite(posterior.mean).all()
    own = np.divide(counts, exposure, out=usual.copy(), where=exposure > 0)
    assert (posterior.mean >= np.minimum(own, usual) * (1 - 1e-9)).all()
    assert (posterior.mean <= np.maximum(own, usual) * (1 + 1e-9)).all()


def test_shares_of_kinds_follow_the_unit_where_units_differ_and_the_usual_where_not() -> None:
    rng = np.random.default_rng(17)
    usual = np.array([0.5, 0.3, 0.2])
    alike = np.stack([rng.multinomial(20, usual) for _ in range(500)]).astype(float)
    own = np.stack([rng.multinomial(20, rng.dirichlet(usual)) for _ in range(500)]).astype(float)
    drawn = np.abs(pooled_shares(alike, usual) - usual)
    assert drawn.mean() < 0.005 and drawn.max() < 0.1
    assert np.abs(pooled_shares(own, usual) - own / 20).max() < 0.06
    nothing = pooled_shares(np.zeros((2, 3)), usual)
    np.testing.assert_allclose(nothing, np.tile(usual, (2, 1)))
