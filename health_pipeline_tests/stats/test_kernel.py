"""The compiled fit is the regression it stands for: compared with dense matrices, and with exact distributions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from health_pipeline.stats import kernel
from health_pipeline.stats.kernel import COLUMNS, OLDEST, RAMPS, SHARED, STEPS, VAGUE, WAVES, WEEKDAYS, WIDE, WINDOW
from health_pipeline.stats.panel import Scale

Array = NDArray[np.float64]
FIRST_WEEKDAY = 3
NOISE = np.array([0.01, 0.4, 0.7])
"""Extra variance, the share of the variance that is autocorrelated, its autocorrelation."""


@dataclass
class Window:
    """One window of a series of means, whose additive scale is linear: nothing has to be iterated."""

    seed: int = 0
    missing: float = 0.0
    steps: tuple[tuple[int, int], ...] = ()
    planted: float = 0.0
    noise: Array = field(default_factory=lambda: NOISE)
    values: Array = field(init=False)
    told: Array = field(init=False)
    offset: Array = field(init=False)
    use: NDArray[np.bool_] = field(init=False)
    prior: Array = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        # Within two standard deviations, so that no day is clipped and the fit is plain generalised least squares.
        self.values = 3.0 + 0.05 * rng.uniform(-1, 1, WINDOW) + 0.1 * np.sin(np.arange(WINDOW) * 2 * np.pi / 7)
        for start, end in self.steps:
            self.values[start:end] += 0.3
        self.values[WINDOW - 10 :] += self.planted
        self.told = rng.uniform(0.0, 0.02, WINDOW)
        self.offset = np.where(rng.random(WINDOW) < 0.05, 0.2, 0.0)
        self.values += self.offset
        self.use = rng.random(WINDOW) >= self.missing
        self.use[-1] = True
        self.prior = np.concatenate([[0.15, 0.08], rng.normal(0, 0.05, WEEKDAYS)])

    def design(self) -> Array:
        weekday = (FIRST_WEEKDAY + np.arange(WINDOW)) % 7
        held = [(np.arange(WINDOW) >= a) & (np.arange(WINDOW) < b) for a, b in self.steps]
        return np.column_stack([np.ones(WINDOW), kernel.WEEK[weekday], kernel.DRIFT, *held]).astype(float)

    def covariance(self) -> Array:
        """Of the used days: white and autocorrelated noise of one total variance a day."""
        extra, shared, rho = self.noise
        sd = np.sqrt(self.told + extra)
        day = np.arange(WINDOW)
        correlation = shared * rho ** np.abs(day[:, None] - day[None, :]) + (1 - shared) * np.eye(WINDOW)
        return (sd[:, None] * correlation * sd[None, :])[np.ix_(self.use, self.use)]

    def prior_precision(self) -> tuple[Array, Array]:
        precision = np.zeros(SHARED + len(self.steps))
        precision[0] = VAGUE**-2
        precision[1 : 1 + WEEKDAYS] = self.prior[0] ** -2
        precision[1 + WEEKDAYS : SHARED] = self.prior[1] ** -2
        precision[SHARED:] = WIDE**-2
        centre = np.zeros_like(precision)
        centre[0] = np.median((self.values - self.offset)[self.use])
        centre[1 : 1 + WEEKDAYS] = self.prior[2:]
        return precision, centre

    def solve(self, further: Array | None = None) -> tuple[Array, Array]:
        """Coefficients and their covariance by dense matrices; of a further column without a prior, the last."""
        x = self.design()
        precision, centre = self.prior_precision()
        if further is not None:
            x = np.column_stack([x, further])
            precision, centre = np.append(precision, 0.0), np.append(centre, 0.0)
        x, y = x[self.use], (self.values - self.offset)[self.use]
        weights = np.linalg.inv(self.covariance())
        covariance = np.linalg.inv(x.T @ weights @ x + np.diag(precision))
        return covariance @ (x.T @ weights @ y + precision * centre), covariance

    def scan(self, raw: bool = False) -> dict[str, Array]:
        """What the kernel says of it."""
        lags = 2 * OLDEST
        steps = np.zeros((1, STEPS, 2), dtype=np.int64)
        for at, pair in enumerate(self.steps):
            steps[0, at] = pair
        numerator = np.where(self.use, np.expm1(self.values), np.nan)[None]
        out = {
            "size": np.full((1, lags), np.nan), "error": np.full((1, lags), np.nan), "r": np.full((1, lags), np.nan),
            "beta": np.zeros((1, COLUMNS)), "level_error": np.zeros(1), "step_size": np.full((1, STEPS), np.nan),
            "step_error": np.full((1, STEPS), np.nan), "fitted": np.zeros((1, WINDOW)),
            "used": np.zeros(1, dtype=np.int64),
        }  # fmt: skip
        effects = np.vstack([self.offset, np.zeros(WINDOW)])
        kernel.scan_series(
            np.array([0]), WINDOW - 1, numerator, np.ones((1, WINDOW)), self.told[None], effects, np.zeros(1, np.int64),
            np.zeros((1, WINDOW), np.bool_), np.array([FIRST_WEEKDAY]), np.array([int(Scale.MEAN)]),
            np.array([-(2**40)]), steps, np.array([len(self.steps)]), self.noise[None], self.prior[None], 28, raw,
            *out.values(),
        )  # fmt: skip
        return {name: values[0] for name, values in out.items()}


WINDOWS = {
    "all days": Window(1),
    "missing days": Window(2, missing=0.2),
    "white noise": Window(3, noise=np.array([0.01, 0.0, 0.5])),
    "nearly all autocorrelated": Window(4, missing=0.1, noise=np.array([0.02, 0.95, 0.9])),
    "a step under way": Window(5, missing=0.1, steps=((80, 10_000),)),
    "steps over and under way": Window(6, missing=0.1, steps=((40, 47), (60, 75), (90, 10_000))),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_the_fit_is_generalised_least_squares_with_priors(name: str) -> None:
    window = WINDOWS[name]
    found = window.scan()
    wanted, covariance = window.solve()
    columns = SHARED + len(window.steps)
    assert found["used"] == window.use.sum()
    np.testing.assert_allclose(found["beta"][:columns], wanted, atol=1e-6)
    held = slice(0, len(window.steps))
    np.testing.assert_allclose(found["step_size"][held], wanted[SHARED:], atol=1e-6)
    np.testing.assert_allclose(found["step_error"][held], np.sqrt(np.diag(covariance)[SHARED:]), rtol=1e-6)
    tomorrow = np.concatenate(
        [[1.0], kernel.WEEK[(FIRST_WEEKDAY + WINDOW) % 7], kernel.DRIFT[-1], np.zeros(len(window.steps))]
    )
    assert found["level_error"] == pytest.approx(np.sqrt(tomorrow @ covariance @ tomorrow), rel=1e-6)
    np.testing.assert_allclose(
        found["fitted"], window.design()[:, :SHARED] @ wanted[:SHARED] + window.offset, atol=1e-6
    )


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_the_score_of_a_step_is_its_estimate_beside_everything_else(name: str, raw: bool) -> None:
    window = WINDOWS[name]
    found = window.scan(raw)
    compared = 0
    every = raw or window.steps
    for days in range(1, OLDEST + 1):
        if np.isnan(found["size"][days - 1]):
            continue
        assert every or days in kernel.LAGS
        wanted, covariance = window.solve(np.arange(WINDOW) >= WINDOW - days)
        assert found["size"][days - 1] == pytest.approx(wanted[-1], abs=1e-6), f"{days} days ago"
        assert found["error"][days - 1] == pytest.approx(np.sqrt(covariance[-1, -1]), rel=1e-6), f"{days} days ago"
        compared += 1
    assert compared >= (25 if every else len(kernel.LAGS) - 1)


@pytest.mark.parametrize("name", ["all days", "missing days", "nearly all autocorrelated"])
def test_the_score_of_a_ramp_is_its_estimate_beside_everything_else(name: str) -> None:
    window = WINDOWS[name]
    found, usual = window.scan(raw=True), window.scan()
    scored = np.flatnonzero(~np.isnan(found["size"][OLDEST:])) + 1
    assert scored.max() >= 28
    for days in scored:
        ramp = np.clip((np.arange(WINDOW) - (WINDOW - days) + 1) / days, 0, 1)
        wanted, covariance = window.solve(ramp)
        assert found["size"][OLDEST + days - 1] == pytest.approx(wanted[-1], abs=1e-6), f"{days} days"
        assert found["error"][OLDEST + days - 1] == pytest.approx(np.sqrt(covariance[-1, -1]), rel=1e-6)
    of_interest = RAMPS[scored.max() >= RAMPS] + OLDEST - 1
    np.testing.assert_allclose(usual["size"][of_interest], found["size"][of_interest], atol=1e-9)


@pytest.mark.parametrize("planted", [5.0, -2.0])
def test_a_step_of_a_hundred_standard_deviations_is_still_measured_exactly_when_nothing_is_clipped(
    planted: float,
) -> None:
    window = Window(7, planted=planted)
    found = window.scan(raw=True)
    for days in (1, 5, 10, 11, 20, 28):
        wanted, covariance = window.solve(np.arange(WINDOW) >= WINDOW - days)
        assert found["size"][days - 1] == pytest.approx(wanted[-1], abs=1e-6)
        assert found["error"][days - 1] == pytest.approx(np.sqrt(covariance[-1, -1]), rel=1e-6)
    z = np.abs(found["size"] / found["error"])[:OLDEST]
    assert int(np.nanargmax(z)) == 9, "its first day stands out"


def test_one_wild_day_hardly_moves_the_fit() -> None:
    window, wild = Window(8), Window(8)
    wild.values[60] += 5.0
    calm, stirred = window.scan(), wild.scan()
    moved = np.abs(stirred["fitted"] - calm["fitted"])
    assert np.delete(moved, 60).max() < 0.05
    wanted, _ = wild.solve()
    assert np.abs(window.design()[:, :SHARED] @ wanted[:SHARED] - calm["fitted"] + window.offset).max() > 0.1, (
        "which plain least squares does not give"
    )


def test_a_day_that_is_missing_today_has_no_score() -> None:
    window = Window(9)
    window.use[-1] = False
    found = window.scan()
    assert np.isnan(found["size"]).all()
    assert found["used"] == WINDOW - 1


@pytest.mark.parametrize(("missing", "scored"), [(4, True), (5, False)])
def test_a_lag_seen_on_too_few_of_its_days_is_not_scored(missing: int, scored: bool) -> None:
    window = Window(10)
    window.use[WINDOW - 1 - missing : WINDOW - 1] = False
    found = window.scan(raw=True)
    assert np.isnan(found["size"][9]) != scored
    assert not np.isnan(found["size"][[0, 19]]).any()


def test_a_step_needs_a_past_of_four_weeks_and_of_twice_its_own_length() -> None:
    window = Window(11)
    window.use[: WINDOW - 60] = False
    found = window.scan(raw=True)
    scored = np.flatnonzero(~np.isnan(found["size"][:OLDEST])) + 1
    assert scored.tolist() == list(range(1, 21))
    window.use[: WINDOW - 30] = False
    scored = np.flatnonzero(~np.isnan(window.scan(raw=True)["size"][:OLDEST])) + 1
    assert scored.tolist() == [1, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-1.0, 3.0))
def test_the_level_does_not_matter(seed: int, higher: float) -> None:
    one, other = Window(seed), Window(seed)
    other.values = other.values + higher
    a, b = one.scan(), other.scan()
    for name in ("size", "error", "level_error"):
        np.testing.assert_allclose(a[name], b[name], atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.05), st.integers(1, 28))
def test_the_larger_the_step_the_larger_its_estimate(seed: int, larger: float, days: int) -> None:
    one, other = Window(seed), Window(seed)
    other.values[WINDOW - days :] += larger
    a, b = one.scan(raw=True), other.scan(raw=True)
    assert b["size"][days - 1] - a["size"][days - 1] == pytest.approx(larger, abs=1e-4), "but for the vague prior"


# ── Bases ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_weekday_effects_sum_to_zero_and_all_weekdays_are_alike() -> None:
    week = kernel.weekday_columns()
    np.testing.assert_allclose(week.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(week.T @ week, 7 * np.eye(WEEKDAYS), atol=1e-12)
    spread = week @ week.T  # what a prior of equal coefficients gives
    np.testing.assert_allclose(np.diag(spread), np.full(7, 6.0), atol=1e-12)
    np.testing.assert_allclose(spread[~np.eye(7, dtype=bool)], -1.0, atol=1e-12)


def test_drift_is_of_ever_shorter_and_smaller_half_waves_without_a_level() -> None:
    drift = kernel.drift_columns()
    assert drift.shape == (WINDOW, WAVES)
    np.testing.assert_allclose(drift.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(
        drift.T @ drift, np.diag(WINDOW / 2 / np.arange(1, WAVES + 1) ** 2), atol=1e-9, err_msg="orthogonal"
    )
    turns = [(np.diff(np.sign(column)) != 0).sum() for column in drift.T]
    assert turns == [1, 2, 3]


# ── Values, residuals, and tails ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scale", "k", "n", "eta", "residual", "variance"),
    [
        (Scale.COUNT, 12.0, 1.0, np.log(10.0), 0.2, 0.1),
        (Scale.RATE, 12.0, 100.0, np.log(0.1), 0.2, 0.1),
        (Scale.PROPORTION, 12.0, 40.0, np.log(0.25 / 0.75), 2 / 7.5, 1 / 7.5),
        (Scale.MEAN, 12.0, 4.0, np.log(3.0), np.log(4.0) - np.log(3.0), 0.0),
    ],
)
def test_a_residual_is_relative_and_its_variance_is_that_of_sampling(
    scale: Scale, k: float, n: float, eta: float, residual: float, variance: float
) -> None:
    assert kernel.residual_and_variance(int(scale), k, n, eta) == pytest.approx((residual, variance))


def test_days_of_nothing_have_a_finite_value() -> None:
    for scale in Scale:
        assert np.isfinite(kernel.value_of(int(scale), 0.0, 5.0))
    assert np.isfinite(kernel.value_of(int(Scale.PROPORTION), 5.0, 5.0))


def normal_score(tail_above: float, tail_below: float) -> float:
    return float(stats.norm.isf(tail_above)) if tail_above < tail_below else float(stats.norm.ppf(tail_below))


@pytest.mark.parametrize("mean", [2.0, 5.0, 20.0, 100.0, 1e4, 1e6])
def test_the_deviance_of_a_count_is_as_surprising_as_poisson_says(mean: float) -> None:
    """In units of standard deviations, for both tails; the linear score overstates the upper one."""
    sd = np.sqrt(mean)
    for z in (-4.0, -3.0, -2.0, 2.0, 3.0, 4.0, 6.0):
        k = np.round(mean + z * sd)
        if k < 0:
            continue
        exact = normal_score(stats.poisson.sf(k - 1, mean), stats.poisson.cdf(k, mean))
        found = kernel.deviance_score(int(Scale.COUNT), (k - mean) / mean, 1 / sd, 0.5)
        assert found == pytest.approx(exact, abs=0.12), f"{k} of {mean}"
        if mean < 50 and z >= 3:
            assert abs(found - exact) < abs((k - mean) / sd - exact)


@pytest.mark.parametrize(("n", "p"), [(20, 0.2), (50, 0.5), (1_000, 0.01), (1_000, 0.97), (100_000, 0.3)])
def test_the_deviance_of_a_share_is_as_surprising_as_the_binomial_says(n: int, p: float) -> None:
    information = n * p * (1 - p)
    for z in (-4.0, -3.0, -2.0, 2.0, 3.0, 4.0):
        k = np.round(n * p + z * np.sqrt(information))
        if not 0 <= k <= n:
            continue
        exact = normal_score(stats.binom.sf(k - 1, n, p), stats.binom.cdf(k, n, p))
        found = kernel.deviance_score(int(Scale.PROPORTION), (k - n * p) / information, 1 / np.sqrt(information), p)
        assert found == pytest.approx(exact, abs=0.15), f"{k} of {n}"


@pytest.mark.parametrize("scale", list(Scale))
def test_the_deviance_has_the_sign_of_the_estimate_grows_with_it_and_is_its_score_when_much_is_known(
    scale: Scale,
) -> None:
    for error in (0.5, 0.1, 0.01):
        sizes = np.linspace(-0.99, 3.0, 400)
        found = np.array([kernel.deviance_score(int(scale), s, error, 0.3) for s in sizes])
        assert np.isfinite(found).all()
        assert (np.sign(found) * np.sign(sizes) >= 0).all()
        assert (np.diff(found) >= -1e-9).all()
    for z in (-3.0, -0.5, 0.5, 3.0):
        assert kernel.deviance_score(int(scale), z * 1e-5, 1e-5, 0.3) == pytest.approx(z, abs=0.01)
