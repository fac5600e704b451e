"""What older days teach of noise: known noise is recovered, and few days lean on their pool."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from health_pipeline.stats.detect import Watch
from health_pipeline.stats.kernel import DETAILS, MOMENTS, WEEK, WEEKDAYS, WINDOW
from health_pipeline.stats.noise import Lessons, Noise, learn
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.spans import LOOKBACK
from health_pipeline_tests.stats.panels import autoregressive

Array = NDArray[np.float64]
DAYS = LOOKBACK + 2
SERIES = 200


def taught(
    numerator: Array,
    scale: Scale = Scale.COUNT,
    denominator: Array | None = None,
    pool: NDArray[np.int64] | None = None,
) -> Noise:
    """What is known of the noise of series after five months."""
    series, days = numerator.shape
    panel = Panel(
        tuple(f"s{i}" for i in range(series)), np.datetime64("2024-01-01") + np.arange(days),
        np.full(series, scale, dtype=np.int8), numerator.astype(float),
        np.ones((series, days)) if denominator is None else denominator,
        pool=np.zeros(series, dtype=np.int64) if pool is None else pool,
    )  # fmt: skip
    return Watch(panel, days - 1).fits.noise


def means(values: Array, pool: NDArray[np.int64] | None = None) -> Noise:
    return taught(np.expm1(values), Scale.MEAN, np.ones_like(values), pool)


def test_counts_that_are_only_counted_have_no_further_noise() -> None:
    found = taught(np.random.default_rng(1).poisson(200.0, size=(SERIES, DAYS)))
    assert np.median(found.noise[:, 0]) < 0.1 / 200
    assert np.median(found.inflation) < 1.1
    assert found.tail[0] > 10


@pytest.mark.parametrize("sd", [0.05, 0.2])
def test_noise_beyond_counting_is_recovered(sd: float) -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(1_000 * np.exp(rng.normal(0, sd, size=(SERIES, DAYS))))
    found = taught(counts).noise[:, 0]
    assert np.sqrt(np.median(found)) == pytest.approx(sd, rel=0.1)
    assert np.quantile(np.sqrt(found), [0.05, 0.95]) == pytest.approx([sd, sd], rel=0.25)


def test_overdispersed_counts_are_shrunk_towards_each_other_as_far_as_they_are_alike() -> None:
    rng = np.random.default_rng(3)
    alike = rng.negative_binomial(20, 20 / (20 + 500.0), size=(SERIES, DAYS))
    dispersion = rng.choice([5.0, 200.0], size=(SERIES, 1))
    unlike = rng.negative_binomial(dispersion, dispersion / (dispersion + 500.0), size=(SERIES, DAYS))
    one, other = taught(alike).noise[:, 0], taught(unlike).noise[:, 0]
    assert np.median(one) == pytest.approx(1 / 20, rel=0.15)
    assert np.std(np.log(one)) < 0.1, "sampling alone would make it 0.14"
    assert np.median(other[dispersion[:, 0] == 5]) == pytest.approx(1 / 5, rel=0.25)
    assert 1 / 200 < np.median(other[dispersion[:, 0] == 200]) < 1 / 100, "rather too careful with the calm half"


@pytest.mark.parametrize("rho", [0.4, 0.7])
def test_autocorrelation_is_recovered(rho: float) -> None:
    found = means(5 + autoregressive(np.random.default_rng(4), SERIES, DAYS, 0.1, rho))
    extra, shared, decay = np.median(found.noise, axis=0)
    assert np.sqrt(extra) == pytest.approx(0.1, rel=0.15)
    assert shared * decay == pytest.approx(rho, abs=0.1), "of one day to the next"
    assert shared * decay**2 == pytest.approx(rho**2, abs=0.12), "and to the one after, less what drift explains"


def test_white_noise_is_told_apart_from_what_lasts() -> None:
    rng = np.random.default_rng(5)
    white = means(5 + 0.1 * rng.normal(size=(SERIES, DAYS)))
    assert np.median(white.noise[:, 1] * white.noise[:, 2]) < 0.05
    half = means(5 + autoregressive(rng, SERIES, DAYS, 0.1, 0.8) + 0.1 * rng.normal(size=(SERIES, DAYS)))
    extra, shared, decay = np.median(half.noise, axis=0)
    assert extra == pytest.approx(0.02, rel=0.25)
    assert shared == pytest.approx(0.5, abs=0.15)
    assert decay == pytest.approx(0.8, abs=0.15)


def test_the_size_of_drift_is_recovered_and_quiet_series_have_none() -> None:
    rng = np.random.default_rng(6)
    waves = np.cos(np.pi * np.outer(np.arange(1, 4), np.arange(DAYS)) / WINDOW) / np.arange(1, 4)[:, None]
    quiet = 5 + 0.05 * rng.normal(size=(SERIES, DAYS))
    drifting = quiet + rng.normal(0, 0.2, size=(SERIES, 3)) @ waves
    assert np.median(means(quiet).prior[:, 1]) < 0.03
    assert np.median(means(drifting).prior[:, 1]) == pytest.approx(0.2, rel=0.3)


def test_a_weekly_rhythm_that_a_pool_shares_is_expected_of_its_young_series() -> None:
    rng = np.random.default_rng(7)
    rhythm = np.array([0.3, 0.2, 0.1, 0.0, 0.0, -0.2, -0.4])
    values = 5 + np.tile(rhythm, DAYS)[:DAYS] + 0.05 * rng.normal(size=(SERIES, DAYS))
    values[:5, :-40] = np.nan
    found = means(values)
    assert np.ptp(found.prior[:, 2:], axis=0).max() < 1e-12
    day = np.arange(DAYS)  # the first is a Monday; weekdays are counted from anywhere
    learned = (WEEK @ found.prior[0, 2:])[(day[:7] + 3 - day[0]) % 7]
    assert min(np.abs(np.roll(learned, s) - rhythm).max() for s in range(7)) < 0.03
    assert found.prior[0, 0] < 0.05, "from which none differs"


def test_heavy_tails_are_recovered() -> None:
    rng = np.random.default_rng(8)
    normal = means(5 + 0.1 * rng.normal(size=(SERIES, DAYS)))
    heavy = means(5 + 0.1 * rng.standard_t(3, size=(SERIES, DAYS)))
    assert normal.tail[0] > 15
    assert heavy.tail[0] < 6


def test_pools_do_not_lend_each_other_anything() -> None:
    rng = np.random.default_rng(9)
    sd = np.repeat([0.02, 0.3], SERIES // 2)
    values = 5 + sd[:, None] * rng.normal(size=(SERIES, DAYS))
    pool = np.repeat([7, 3], SERIES // 2)
    found, calm = means(values, pool), means(values[: SERIES // 2])
    np.testing.assert_allclose(found.noise[: SERIES // 2], calm.noise, rtol=1e-9)
    values[:3, :] = np.nan
    values[SERIES // 2 : SERIES // 2 + 3, :] = np.nan
    unknown = means(values, pool).noise[:, 0]
    assert np.sqrt(unknown[[0, SERIES // 2]]) == pytest.approx([0.02, 0.3], rel=0.2), "who is new is like its pool"


def test_pools_too_small_to_teach_are_put_together() -> None:
    rng = np.random.default_rng(10)
    values = 5 + 0.1 * rng.normal(size=(20, DAYS))
    apart, together = means(values, np.arange(20)), means(values)
    np.testing.assert_array_equal(apart.noise, together.noise)


def test_where_nothing_is_known_of_any_series_nothing_is_judged_by_it() -> None:
    found = learn(Lessons.none(5), np.zeros(5, dtype=np.int64))
    assert (found.degrees == 0).all(), "degrees of freedom"
    assert (found.noise[:, 0] > 0).all()
    assert (found.prior[:, :2] > 0).all()


def test_constant_series_teach_without_an_error_and_without_a_zero() -> None:
    with np.errstate(all="raise"):
        found = means(np.full((20, DAYS), 5.0))
        assert all(np.isfinite(part).all() for part in found)
    assert (found.noise[:, 0] > 0).all()
    assert (found.inflation >= 1).all()
    mixed = np.vstack([np.full((5, DAYS), 5.0), 5 + 0.1 * np.random.default_rng(11).normal(size=(45, DAYS))])
    found = means(mixed)
    assert np.sqrt(np.median(found.noise[5:, 0])) == pytest.approx(0.1, rel=0.15)


def test_one_wild_series_does_not_teach_the_others() -> None:
    rng = np.random.default_rng(12)
    values = 5 + 0.05 * rng.normal(size=(60, DAYS))
    wild = values.copy()
    wild[0] += 2 * rng.normal(size=DAYS)
    calm, other = means(values), means(wild)
    np.testing.assert_allclose(other.noise[1:, 0], calm.noise[1:, 0], rtol=0.1)
    assert np.sqrt(other.noise[0, 0]) > 1.0, "and is not taught by them"


def test_a_shift_under_way_does_not_teach_its_own_excuse() -> None:
    rng = np.random.default_rng(13)
    values = 5 + 0.05 * rng.normal(size=(60, DAYS))
    shifted = values.copy()
    shifted[:, -20:] += 1.0
    np.testing.assert_array_equal(means(shifted).noise, means(values).noise)


def test_lessons_have_the_columns_the_kernel_fills() -> None:
    lessons = Lessons.none(3)
    assert lessons.moments.shape == (3, MOMENTS)
    assert lessons.details.shape == (3, DETAILS)
    assert learn(lessons, np.zeros(3, dtype=np.int64)).prior.shape == (3, 2 + WEEKDAYS)
