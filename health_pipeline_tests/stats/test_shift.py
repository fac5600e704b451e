"""What is told of a planted shift: its direction, its size on the scale of its series, its kind."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from health_pipeline.stats.detect import Detection, Settings, detect
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline_tests.stats.panels import ONSET, SERIES, WIDTH, autoregressive, by_row, panel_of, typical_counts


@pytest.mark.parametrize("left", [0.5, 0.01, 0.0], ids=["half", "a hundredth", "nothing"])
def test_a_fall_is_a_fall_that_began_when_it_began(left: float) -> None:
    rng = np.random.default_rng(2)
    expected = typical_counts(rng, SERIES, ONSET + WIDTH)
    expected[:, ONSET:] *= left
    detection = detect(panel_of(rng.poisson(expected)), ONSET)
    last = [s for s in detection.shifts if s.column == ONSET + WIDTH - 1]
    assert len(last) == len(detection.reports) == SERIES
    assert all(s.change < 0 and s.score < 0 for s in detection.shifts)
    assert all(-1 <= s.low <= s.change <= s.high < 0 for s in detection.shifts)
    assert sum(s.onset == ONSET for s in last) >= 0.97 * SERIES
    assert np.median([s.change for s in last]) == pytest.approx(left - 1, abs=0.03)
    assert sum(s.low <= left - 1 <= s.high for s in last) >= 0.85 * SERIES


def test_small_counts_are_found_too() -> None:
    rng = np.random.default_rng(33)
    expected = typical_counts(rng, SERIES, ONSET + WIDTH, mean=4.0)
    expected[:, ONSET:] *= 4
    detection = detect(panel_of(rng.poisson(expected)), ONSET)
    assert {s.row for s in detection.reports} == set(range(SERIES))
    assert len(detection.reports) <= SERIES + 2
    last = [s for s in detection.shifts if s.column == ONSET + WIDTH - 1]
    assert sum(abs(s.onset - ONSET) <= 1 for s in last) >= 0.95 * SERIES
    assert sum(s.low <= 3 <= s.high for s in last) >= 0.8 * SERIES


def scaled(scale: Scale) -> tuple[Panel, float, float, float]:
    """A panel of a scale with a rise, its true change, and what is expected without and with it."""
    rng = np.random.default_rng(4)
    days = ONSET + WIDTH
    wobble = np.exp(autoregressive(rng, SERIES, days, 0.05, 0.3))
    if scale == Scale.PROPORTION:
        out_of = rng.poisson(typical_counts(rng, SERIES, days, 20_000.0))
        odds = wobble / 9
        odds[:, ONSET:] *= 1.5
        after = (1.5 / 9) / (1 + 1.5 / 9)
        return panel_of(rng.binomial(out_of, odds / (1 + odds)), out_of, scale), after / 0.1 - 1, 0.1, after
    if scale == Scale.MEAN:
        mean = 3_600 * wobble**2
        mean[:, ONSET:] *= 2
        out_of = np.full((SERIES, days), 500.0)
        return panel_of(mean * out_of, out_of, scale), 1.0, 3_600.0, 7_200.0
    exposure = typical_counts(rng, SERIES, days, 2e6)
    exposure[:, ONSET + 5 :] *= 4  # whatever the exposure does
    rate = 1e-4 * wobble
    rate[:, ONSET:] *= 1.6
    return panel_of(rng.poisson(rate * exposure), exposure, scale), 0.6, 1e-4, 1.6e-4


@pytest.mark.parametrize("scale", [Scale.PROPORTION, Scale.MEAN, Scale.RATE])
def test_a_share_a_mean_and_a_rate_are_told_in_their_own_unit(scale: Scale) -> None:
    panel, truth, before, after = scaled(scale)
    detection = detect(panel, ONSET)
    assert {s.row for s in detection.reports} == set(range(SERIES))
    assert len(detection.reports) == SERIES
    last = [s for s in detection.shifts if s.column == ONSET + WIDTH - 1]
    assert sum(abs(s.onset - ONSET) <= 1 for s in last) >= 0.95 * SERIES
    assert sum(s.low <= truth <= s.high for s in last) >= 0.85 * SERIES
    assert np.median([s.expected for s in last]) == pytest.approx(before, rel=0.05)
    assert np.median([s.observed for s in last]) == pytest.approx(after, rel=0.05)
    for s in last:
        assert s.observed == pytest.approx(s.numerator / s.denominator)
        assert s.exposure == pytest.approx(panel.denominator[s.row, s.onset : s.column + 1].mean())


def test_a_share_or_a_rate_of_a_unit_whose_volume_jumps_is_no_news() -> None:
    rng = np.random.default_rng(5)
    volume = typical_counts(rng, SERIES, ONSET + WIDTH, 20_000.0)
    volume[:, ONSET:] *= 5
    out_of = rng.poisson(volume)
    assert not detect(panel_of(rng.binomial(out_of, 0.1), out_of, Scale.PROPORTION), ONSET).shifts
    assert not detect(panel_of(rng.poisson(0.1 * out_of), out_of, Scale.RATE), ONSET).shifts


def test_numbers_of_a_ratio_are_told_in_its_own_unit() -> None:
    """Ratios are counted in events; a row's numerator and denominator are money and views again."""
    panel, *_ = scaled(Scale.RATE)
    sized = dataclasses.replace(panel, size=np.full(panel.numerator.shape, 20.0))
    for plain, larger in zip(detect(panel, ONSET).shifts, detect(sized, ONSET).shifts, strict=True):
        assert larger.numerator == pytest.approx(20 * plain.numerator)
        assert larger.denominator == pytest.approx(20 * plain.denominator)
        assert (larger.observed, larger.exposure) == (plain.observed, plain.exposure)


@pytest.fixture(scope="module")
def ramps() -> Detection:
    """A steady rise to +50 % over six weeks in 40 of 60 series."""
    rng = np.random.default_rng(4)
    expected = typical_counts(rng, 60, ONSET + 42, sd=0.1)
    expected[:40, ONSET:] *= 1.5 ** (np.arange(1, 43) / 42)
    return detect(panel_of(rng.poisson(expected)), ONSET)


def test_a_steady_rise_is_found_before_it_is_complete(ramps: Detection) -> None:
    first = {row: shifts[0] for row, shifts in by_row(ramps.shifts).items()}
    assert set(first) == set(range(40))
    assert np.median([s.column - ONSET for s in first.values()]) < 28
    assert all(s.change > 0 for s in first.values())
    assert len(ramps.reports) <= 1.5 * 40, "most of them are reported once"


def test_a_steady_rise_is_told_as_a_slope(ramps: Detection) -> None:
    last = {row: shifts[-1].kind for row, shifts in by_row(ramps.shifts).items()}
    assert Counter(last.values())["slope"] >= 15, Counter(last.values())


def test_a_change_smaller_than_asked_for_is_not_reported() -> None:
    rng = np.random.default_rng(12)
    expected = typical_counts(rng, SERIES, ONSET + 20, mean=1e7, sd=0.003)
    expected[:30, ONSET:] *= 1.05
    panel = panel_of(rng.poisson(expected))
    assert not detect(panel, ONSET, Settings(minimum_change=0.1)).shifts
    found = detect(panel, ONSET, Settings(minimum_change=0.02))
    assert Counter(s.row for s in found.reports) == dict.fromkeys(range(30), 1), "each once, however clear it is"
    assert {s.onset for s in found.shifts} == {ONSET}, "and its onset stays where it was"
    assert all(s.low <= s.change <= s.high for s in found.shifts)


def test_the_accepted_share_of_false_reports_bounds_q() -> None:
    rng = np.random.default_rng(17)
    expected = typical_counts(rng, 100, ONSET + WIDTH)
    expected[:20, ONSET:] *= 1.25
    panel = panel_of(rng.poisson(expected))
    strict, lax = (detect(panel, ONSET, Settings(rate)).reports for rate in (0.001, 0.2))
    assert {s.row for s in strict} < {s.row for s in lax}
    assert all(s.q <= 0.001 for s in strict)
    assert all(s.p <= s.q <= 0.2 and s.tested == 100 for s in lax)
    when = {s.row: s.column for s in lax}
    assert all(when[s.row] <= s.column for s in strict), "a stricter rate waits longer"
