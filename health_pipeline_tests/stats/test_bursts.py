"""Bursts: counted by creator, expected by past, season and day, and sure at small counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from health_pipeline.stats import bursts
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.bursts import Bursts, Family, judge, learn, window_counts

DAYS, VALUES = 90, 3000


def windows(daily: Array) -> Array:
    summed = np.cumsum(np.pad(daily, ((0, 0), (bursts.WINDOW, 0))), axis=1)
    return np.asarray(summed[:, bursts.WINDOW :] - summed[:, : -bursts.WINDOW])


def one_scope(counts: Array) -> Family:
    return Family(counts, np.zeros(len(counts), np.int64), np.full(len(counts), -1))


def steady(seed: int = 1, noise: float = 0.0, values: int = VALUES, volume: Array | float = 1.0) -> Array:
    """Daily counts by Zipf's law; ``noise``: standard deviation of a gamma factor of each value and day."""
    rng = np.random.default_rng(seed)
    mean = 200.0 / (np.arange(values) + 3.0)[:, None] * volume * np.ones(DAYS)
    if noise:
        mean = mean * rng.gamma(noise**-2, noise**2, mean.shape)
    return rng.poisson(mean).astype(float)


def last_day(daily: Array) -> Bursts:
    return judge([one_scope(windows(daily))])[0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60))
def test_a_creator_counts_once_in_a_window_however_busy(uses: list[tuple[int, int, int]]) -> None:
    row, creator, day = (np.array(x) for x in zip(*uses, strict=True))
    counts = window_counts(row, creator, day, 3, 10)
    for r in range(3):
        for end in range(10):
            assert counts[r, end] == len({c for a, c, d in uses if a == r and end - bursts.WINDOW < d <= end})


def test_the_tails_are_those_of_the_negative_binomial_and_of_the_logarithmic_series() -> None:
    count, mean, shape = np.array([1.0, 3, 8, 40, 0]), np.array([0.02, 0.5, 3, 10, 1]), np.array([0.5, 4, 30, 100, 1])
    size = 1 / (1 / shape + 0.1)
    np.testing.assert_allclose(
        bursts._tail(count, mean, shape, 0.1), stats.nbinom.sf(count - 1, size, size / (size + mean)), rtol=1e-9
    )
    counts, x = np.array([1.0, 2, 5, 40, 100, 300, 3]), np.array([0.05, 0.3, 0.8, 0.5, 0.9, 0.9, 0.999])
    terms = [np.arange(c, 40_000) for c in counts]
    exact = np.array([-np.sum(x[i] ** k / k) / np.log1p(-x[i]) for i, k in enumerate(terms)])
    found = bursts._log_series_tail(counts, x)
    np.testing.assert_allclose(found[:4], exact[:4], rtol=1e-4)
    assert (exact <= found * (1 + 1e-9)).all(), "never lighter than it is"
    assert (found[:6] <= 1.2 * exact[:6]).all()


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_noise_is_no_burst_and_small_p_values_are_as_rare_as_they_should_be(noise: float) -> None:
    p = []
    for seed in range(3):
        answer = last_day(steady(seed, noise))
        assert not answer.found.any()
        p.append(answer.p)
    for level in (0.01, 0.001):
        assert np.mean(np.concatenate(p) <= level) <= 1.5 * level


def test_the_wobble_is_learned() -> None:
    """A gamma factor of standard deviation 0.5 on each of three days makes φ = 0.25 / 3."""
    assert max(learn(one_scope(windows(steady()))).dispersion[1:]) <= 0.01
    assert learn(one_scope(windows(steady(noise=0.5)))).dispersion[-1] == pytest.approx(0.083, abs=0.04)


def test_what_wobbles_needs_more_to_be_a_burst() -> None:
    calm, wild = steady(), steady(noise=0.5)
    for daily in (calm, wild):
        daily[100, -3:] = 10.0  # 6 in three days are usual
    p = [last_day(daily).p[100] for daily in (calm, wild)]
    assert p[0] < p[1] / 100


def test_a_value_that_nobody_used_and_one_that_many_more_use_are_found_with_their_first_day() -> None:
    daily = steady(noise=0.3)
    daily[-1] = 0.0
    daily[-1, -2:] = 9.0
    daily[400, -2:] = 14.0
    answer = last_day(daily)
    assert np.flatnonzero(answer.found).tolist() == [400, VALUES - 1]
    assert answer.new[[400, -1]].tolist() == [False, True]
    assert answer.since[[400, -1]].tolist() == [1, 1]
    assert answer.count[-1] == 18
    assert answer.expected[-1] < 0.5
    assert answer.expected[400] == pytest.approx(3 * 200 / 403, rel=0.4)
    plain = np.log(answer.count[400] / answer.expected[400])
    assert 0.4 * plain < answer.log_odds[400] < plain, "the prior stands on both sides, and shrinks"
    assert answer.z[400] > 3
    assert answer.q[400] <= 0.05 < answer.q[401]


def test_a_campaign_on_which_everybody_posts_more_is_no_burst() -> None:
    volume = np.ones(DAYS)
    volume[-3:] = 2.5
    assert not last_day(steady(noise=0.3, volume=volume)).found.any()


def test_what_comes_every_sunday_is_no_burst_on_sunday() -> None:
    """Once the past shows that weekdays differ, by how much for each value."""
    rng = np.random.default_rng(3)
    mean = np.tile(60.0 / (np.arange(600) + 20.0)[:, None] + 1.0, DAYS)
    sundays = np.arange(DAYS) % 7 == (DAYS - 1) % 7
    mean[::3, sundays] *= 6.0
    family = one_scope(windows(rng.poisson(mean).astype(float)))
    lesson = learn(family)
    assert lesson.rhythm <= 30.0
    answer = judge([family])[0]
    assert not answer.found.any()
    assert answer.expected[::3].mean() == pytest.approx(answer.count[::3].mean(), rel=0.1)


def test_a_burst_does_not_teach_its_own_excuse() -> None:
    daily = steady()
    daily[:40, -10:] *= 3.0
    lesson = learn(one_scope(windows(daily)))
    np.testing.assert_allclose(lesson.dispersion, learn(one_scope(windows(steady()))).dispersion)


def test_new_values_that_usually_spread_make_a_new_value_less_surprising() -> None:
    rng = np.random.default_rng(5)
    quiet = steady(values=1000)
    born = np.zeros((400, DAYS))
    for i, day in enumerate(rng.integers(20, DAYS - 5, 400)):
        born[i, day : day + 5] = rng.poisson(rng.gamma(1.0, 1.0), 5)  # some words are taken up for a few days
    new = np.zeros((1, DAYS))
    new[0, -3:] = 3.0
    calm = last_day(np.concatenate([quiet, new]))
    lively = last_day(np.concatenate([quiet, born, new]))
    assert calm.p[-1] < lively.p[-1] / 100
    assert calm.found[-1]
    assert not lively.found[-1]


def test_each_family_has_the_same_part_in_the_accepted_errors() -> None:
    p = [np.full(100, 1e-3), np.append(np.full(300, 1e-3), np.nan), np.full(0, 0.5)]
    weighted = bursts._alike(p)
    np.testing.assert_allclose(weighted[0], 1e-3 * 100 / 200)
    np.testing.assert_allclose(weighted[1][:-1], 1e-3 * 300 / 200)
    weights = np.concatenate([a / b for a, b in zip(p, weighted, strict=True)])
    assert np.nanmean(weights) == pytest.approx(1.0), "weights of mean one keep the share of false discoveries"


def test_a_market_is_judged_by_its_own_past_and_a_value_new_there_by_what_it_is_elsewhere() -> None:
    rng = np.random.default_rng(7)
    values = 500
    large, small = steady(1, values=values), rng.poisson(20.0 / (np.arange(values) + 3.0)[:, None] * np.ones(DAYS))
    small = small.astype(float)
    small[5, -3:] = 12.0  # 2.5 a day are usual there, 25 in the large market
    counts = np.concatenate([windows(large + small), windows(large), windows(small)])
    scope = np.repeat([0, 1, 2], values)
    parent = np.concatenate([np.full(values, -1), np.tile(np.arange(values), 2)])
    answer = judge([Family(counts, scope, parent)])[0]
    assert np.flatnonzero(answer.found).tolist() == [2 * values + 5]


def test_without_enough_past_nothing_is_judged() -> None:
    for days in (1, 5, 23):
        answer = judge([one_scope(windows(steady()[:, :days]))])[0]
        assert not answer.found.any()
        assert np.isnan(answer.p).all()
    assert not np.isnan(judge([one_scope(windows(steady()[:, :24]))])[0].p).all()


@pytest.mark.parametrize("silent", range(7, 60, 13))
def test_a_long_silence_is_no_burst_and_breaks_nothing(silent: int) -> None:
    daily = steady(seed=3)
    daily[:, -silent:] = 0
    assert not last_day(daily).found.any()
    daily[:, -1] = steady(seed=4)[:, -1]  # everybody is back
    last_day(daily)


@pytest.mark.filterwarnings("error")
def test_what_begins_after_weeks_without_any_value_is_judged_without_complaint() -> None:
    """Captions were empty until today: on the days before there is nothing to weigh."""
    daily = np.zeros_like(steady())
    daily[:, -1] = steady()[:, -1]
    assert not np.isnan(last_day(daily).p).all()
