"""The scan for a step: the regression it stands for, and the laws that follow from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from health_pipeline.stats.baseline import LEVEL_DAYS, MEDIAN_VARIANCE, weekly_effect
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.scan import LAGS, LONGEST, SMALLEST_SD, WARM_UP, Scan

Array = NDArray[np.float64]
DAYS = 260
ALL_LAGS = range(1, LONGEST + 1)


def means(values: Array) -> Panel:
    """A panel whose values on the additive scale are these, without sampling variance."""
    series, days = values.shape
    return Panel(
        tuple(f"s{i}" for i in range(series)),
        np.datetime64("2024-01-01") + np.arange(days),
        np.full(series, Scale.MEAN, dtype=np.int8),
        np.expm1(values),
        np.ones((series, days)),
    )


def noise(seed: int, series: int = 20, days: int = DAYS, rho: float = 0.0, level: float = 5.0) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(series, days + 50))
    for day in range(1, days + 50):
        values[:, day] = rho * values[:, day - 1] + np.sqrt(1 - rho**2) * values[:, day]
    return level + 0.1 * values[:, 50:]


def test_the_values_are_what_was_meant() -> None:
    values = noise(0)
    np.testing.assert_allclose(means(values).transformed(), values)


def by_regression(scan: Scan, row: int, day: int, days_ago: int) -> tuple[float, float, int] | None:
    """Size, error and observed days of a step, by whitening and regressing one cell day by day."""
    base, first = scan.base, day - days_ago + 1
    level = base.level[row, first - 1]
    if days_ago > 1:
        used = [d for d in range(first, day) if scan.kept[row, d]] + [day] * bool(scan.seen[row, day])
    else:
        used = [day] * bool(scan.seen[row, day])
    if len(used) < np.ceil(0.6 * days_ago) or not scan.seen[row, day] or scan.kept[row, :first].sum() < WARM_UP:
        return None
    design, response = [], []
    for d in used:
        chained = scan.kept[row, d - 1] and scan.seen[row, d]
        rho = base.rho[row, d] if chained else 0.0
        before = base.value[row, d - 1] if chained else 0.0
        design.append(1.0 if d == first else 1.0 - rho)
        response.append(base.value[row, d] - rho * before - (1.0 - rho) * level)
    x, y = np.array(design), np.array(response)
    information = float(x @ x)
    of_level = min(MEDIAN_VARIANCE / LEVEL_DAYS / (1.0 - base.rho[row, day]) ** 2, 1.0)
    sd = max(base.innovation_sd[row, first - 1], SMALLEST_SD)
    return float(x @ y) / information, float(sd * np.sqrt(1.0 / information + of_level)), len(used)


def test_every_cell_is_the_whitened_regression_it_stands_for() -> None:
    values = noise(1, series=6, rho=0.5)
    values[0, 200:] += 0.5
    values[1, 220] += 3.0  # a wild day
    values[2, 180:190] = np.nan
    values[3] = np.where(np.random.default_rng(2).random(DAYS) < 0.25, np.nan, values[3])
    scan = Scan(means(values))
    compared = 0
    for days_ago in LAGS:
        step = scan.step(days_ago, 150, DAYS)
        for row in range(6):
            for day in range(150, DAYS):
                wanted = by_regression(scan, row, day, days_ago)
                found = (step.size[row, day - 150], step.error[row, day - 150], step.days[row, day - 150])
                if wanted is None or np.isnan(wanted[0]):
                    assert np.isnan(found[0])
                else:
                    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
                    compared += 1
    assert compared > 5_000


@pytest.mark.parametrize("days_ago", LAGS)
def test_a_step_without_noise_is_measured_exactly(days_ago: int) -> None:
    values = np.full((1, DAYS), 5.0)
    values[:, DAYS - days_ago :] += 0.7
    assert Scan(means(values)).step(days_ago, DAYS - 1, DAYS).size[0, 0] == pytest.approx(0.7)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_scores_of_quiet_noise_are_about_standard_normal(rho: float) -> None:
    scan = Scan(means(noise(3, series=300, days=400, rho=rho)))
    for days_ago in LAGS:
        score = scan.step(days_ago, 390, 400).score
        assert abs(np.nanmean(score)) < 0.25
        assert 0.7 < np.nanstd(score) < 1.5, f"{days_ago} days ago"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20.0))
def test_the_level_does_not_matter(seed: int, higher: float) -> None:
    values = noise(seed, series=3)
    one, other = Scan(means(values)), Scan(means(values + higher))
    for days_ago in LAGS:
        a, b = (scan.step(days_ago, 200, DAYS) for scan in (one, other))
        np.testing.assert_allclose(a.size, b.size, atol=1e-7)
        np.testing.assert_allclose(a.error, b.error, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_rise_and_a_fall_are_judged_alike(seed: int) -> None:
    values = noise(seed, series=3)
    up, down = Scan(means(values)), Scan(means(10.0 - values))
    for days_ago in LAGS:
        a, b = (scan.step(days_ago, 200, DAYS) for scan in (up, down))
        np.testing.assert_allclose(a.size, -b.size, atol=1e-7)
        np.testing.assert_allclose(a.error, b.error, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 1.0), st.integers(1, LONGEST))
def test_the_larger_the_step_the_larger_its_estimate(seed: int, size: float, days_ago: int) -> None:
    values = noise(seed, series=5)
    stepped = values.copy()
    stepped[:, DAYS - days_ago :] += size
    quiet, loud = (Scan(means(v)).step(days_ago, DAYS - 1, DAYS).size for v in (values, stepped))
    assert (loud > quiet).all()


def test_more_days_make_a_step_surer() -> None:
    scan = Scan(means(noise(4)))
    errors = [float(np.median(scan.step(days_ago, DAYS - 1, DAYS).error)) for days_ago in LAGS]
    assert errors == sorted(errors, reverse=True)


def test_a_wild_day_is_set_aside_from_the_next_day_on_and_only_if_it_was_alone() -> None:
    values = noise(5, series=2)
    values[0, 230] += 2.0
    values[1, 230:] += 2.0
    scan = Scan(means(values))
    assert np.flatnonzero(~scan.kept[0, 200:]).tolist() == [30]
    assert scan.kept[1, 200:].all()
    on_the_day, the_day_after = scan.step(1, 230, 231), scan.step(2, 231, 232)
    assert on_the_day.size[0, 0] == pytest.approx(2.0, abs=0.5)
    assert abs(np.nan_to_num(the_day_after.size[0, 0])) < 0.5
    assert the_day_after.size[1, 0] == pytest.approx(2.0, abs=0.5)


def test_a_step_is_over_when_the_day_itself_shows_less_than_half_of_it() -> None:
    values = noise(6, series=2)
    values[:, 240:250] += 1.0
    values[1, 250:] += 1.0
    scan = Scan(means(values))
    days_ago = 11
    step = scan.step(days_ago, 250, 251)
    assert (step.size > 0.5).all()
    assert scan.lasts(step, days_ago, 250, 251).tolist() == [[False], [True]]


def test_a_missing_day_gives_no_score_and_breaks_no_later_one() -> None:
    values = noise(7, series=1, rho=0.5)
    values[0, 240:243] = np.nan
    values[0, 243:] += 1.0
    scan = Scan(means(values))
    assert np.isnan(scan.step(1, 240, 243).size).all()
    assert scan.step(1, 243, 244).size[0, 0] == pytest.approx(1.0, abs=0.4)
    assert scan.step(4, 246, 247).days[0, 0] == 4


def test_a_lag_seen_on_too_few_days_is_not_scored() -> None:
    values = noise(8, series=1)
    values[0, 231:236] = np.nan  # five of ten days
    scan = Scan(means(values))
    assert np.isnan(scan.step(10, 239, 240).size[0, 0])
    assert not np.isnan(scan.step(4, 239, 240).size[0, 0])


def test_a_series_needs_weeks_of_its_own_past() -> None:
    values = noise(9, series=1)
    values[0, :200] = np.nan
    scan = Scan(means(values))
    score = scan.step(1, 200, DAYS).score[0]
    assert np.isnan(score[:WARM_UP]).all()
    assert not np.isnan(score[WARM_UP:]).any()


def test_a_series_that_never_moved_has_no_infinite_score() -> None:
    values = np.full((1, DAYS), 5.0)
    values[0, -1] += 1e-6
    assert np.isfinite(Scan(means(values)).step(1, DAYS - 1, DAYS).score).all()
    assert abs(Scan(means(values)).step(1, DAYS - 1, DAYS).score[0, 0]) < 0.1


def test_sampling_alone_bounds_the_error_of_a_count() -> None:
    quiet = np.full((1, DAYS), 4.0)  # suspiciously quiet for a Poisson count of mean 4
    panel = Panel(("s",), np.datetime64("2024-01-01") + np.arange(DAYS), np.zeros(1, np.int8), quiet, quiet)
    assert Scan(panel).step(1, DAYS - 1, DAYS).error[0, 0] >= 1 / np.sqrt(5)


def test_the_weekly_rhythm_is_learned_and_noise_has_none() -> None:
    rhythm = np.tile([0.4, 0.2, 0.1, 0.0, 0.0, -0.3, -0.4], DAYS // 7 + 1)[:DAYS]
    learned = weekly_effect(noise(10) + rhythm)[:, -70:]
    assert np.abs(learned - rhythm[-70:]).mean() < 0.05
    assert np.abs(weekly_effect(noise(10))[:, -70:]).mean() < 0.03


def test_nothing_is_learned_from_the_future() -> None:
    values = noise(11, series=4, rho=0.4)
    values[0, 210:] += 1.0
    changed = values.copy()
    changed[:, 240:] = 9.0
    one, other = Scan(means(values)), Scan(means(changed))
    for days_ago in LAGS:
        a, b = (scan.step(days_ago, 200, 240) for scan in (one, other))
        np.testing.assert_allclose(a.size, b.size, atol=1e-9)
        np.testing.assert_allclose(a.error, b.error, atol=1e-9)
