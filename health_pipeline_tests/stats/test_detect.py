"""What is no shift of a series: noise, missing days, days that all have in common, strange values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import warnings

import numpy as np
import pytest

from health_pipeline.shifts.state import from_table, to_table
from health_pipeline.stats.detect import detect
from health_pipeline.stats.fits import WARM_UP
from health_pipeline.stats.life import SETTLED_DAYS
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline_tests.stats.panels import (
    FIRST_DAY,
    ONSET,
    SERIES,
    WEEK,
    WIDTH,
    between,
    by_row,
    panel_of,
    typical_counts,
)

# ── Where nothing happens ──────────────────────────────────────────────────────────────────────────────────────────


def test_ten_thousand_quiet_series_days_of_every_size_give_at_most_two_reports() -> None:
    rng = np.random.default_rng(8)
    days = ONSET + 40
    size = rng.lognormal(6, 1.5, size=(250, 1))
    rate = size * typical_counts(rng, 250, days, mean=1.0, sd=0.1, rho=0.5)
    overdispersed = rng.negative_binomial(20, 20 / (20 + rate))
    detection = detect(panel_of(overdispersed), ONSET)
    assert detection.tested.tolist() == [250] * 40
    assert len(detection.reports) <= 2
    band, judged = detection.band, overdispersed[:, ONSET:]
    inside = (band.low <= judged) & (judged <= band.high)
    assert 0.92 <= inside.mean() <= 0.98, "and 95 % of ordinary days are within their band"


def test_the_noise_of_small_counts_is_no_news() -> None:
    rng = np.random.default_rng(7)
    weekly = np.exp(0.3 * np.tile(WEEK, 40)[: ONSET + 40])
    counts = rng.poisson(3.0 * weekly, size=(200, ONSET + 40))
    assert len(detect(panel_of(counts), ONSET).reports) <= 1


def test_a_slow_drift_is_no_news() -> None:
    """Thirty per cent up and down over half a year is what series do."""
    rng = np.random.default_rng(34)
    days = ONSET + 40
    phase = rng.uniform(0, 2 * np.pi, size=(100, 1))
    drift = 0.15 * np.sin(2 * np.pi * np.arange(days) / 180 + phase)
    detection = detect(panel_of(rng.poisson(typical_counts(rng, 100, days) * np.exp(drift))), ONSET)
    assert len(detection.reports) <= 2


# ── Missing days, young and small series ───────────────────────────────────────────────────────────────────────────


def test_missing_days_are_neither_an_alarm_nor_a_zero() -> None:
    rng = np.random.default_rng(9)
    counts = rng.poisson(typical_counts(rng, SERIES, ONSET + 25)).astype(float)
    counts[:, ONSET + 5 : ONSET + 12] = np.nan
    detection = detect(panel_of(counts), ONSET)
    assert not detection.shifts
    assert detection.tested.tolist() == [SERIES] * 5 + [0] * 7 + [SERIES] * 13
    assert not np.isnan(detection.band.expected).any(), "what was expected of them is known"


def test_a_step_right_after_missing_days_may_have_begun_in_them() -> None:
    rng = np.random.default_rng(10)
    expected = typical_counts(rng, SERIES, ONSET + WIDTH)
    expected[:, ONSET:] *= 1.5
    counts = rng.poisson(expected).astype(float)
    counts[:, ONSET - 5 : ONSET] = np.nan
    detection = detect(panel_of(counts), ONSET)
    last = [s for s in detection.shifts if s.column == ONSET + WIDTH - 1]
    assert len(last) == len(detection.reports) == SERIES
    right = [s for s in last if s.onset == ONSET]
    assert len(right) >= 0.9 * SERIES
    assert all(s.onset_low <= ONSET - 5 for s in right)
    assert all(s.days == WIDTH for s in right), "missing days count as none"


def test_a_shift_goes_on_over_missing_days() -> None:
    rng = np.random.default_rng(35)
    expected = typical_counts(rng, 30, ONSET + 20)
    expected[:, ONSET:] *= 1.5
    counts = rng.poisson(expected).astype(float)
    counts[:, ONSET + 6 : ONSET + 12] = np.nan
    for shifts in by_row(detect(panel_of(counts), ONSET).shifts).values():
        assert [s.column - shifts[0].column for s in shifts] == list(range(len(shifts)))
        assert [s.state for s in shifts] == ["new"] + ["ongoing"] * (len(shifts) - 1)
        assert shifts[-1].days == ONSET + 20 - shifts[-1].onset - 6


def test_a_new_series_does_not_alarm_on_arrival() -> None:
    rng = np.random.default_rng(11)
    counts = rng.poisson(typical_counts(rng, SERIES, ONSET + 45)).astype(float)
    counts[: SERIES // 2, :ONSET] = np.nan
    detection = detect(panel_of(counts), ONSET)
    assert set(detection.tested[:WARM_UP].tolist()) == {SERIES // 2}, "a new series is not judged in its first weeks"
    assert detection.tested[-1] == SERIES
    assert not detection.shifts


def test_a_series_too_small_to_be_judged_is_neither_reported_nor_counted() -> None:
    rng = np.random.default_rng(27)
    counts = typical_counts(rng, 40, ONSET + 6)
    counts[:, ONSET:] *= 2
    panel = panel_of(rng.poisson(counts))
    supported = np.ones(panel.numerator.shape, dtype=np.bool_)
    supported[20:] = False
    found = detect(dataclasses.replace(panel, supported=supported), ONSET)
    assert {s.row for s in found.shifts} == set(range(20))
    assert found.tested.tolist() == [20] * 6
    assert {s.tested for s in found.shifts} == {20}


def test_a_shift_under_way_is_followed_when_its_series_has_become_too_small_to_be_judged() -> None:
    rng = np.random.default_rng(36)
    counts = typical_counts(rng, 30, ONSET + 60)
    counts[:, ONSET:] *= 0.05
    panel = panel_of(rng.poisson(counts))
    supported = np.ones(panel.numerator.shape, dtype=np.bool_)
    supported[:, ONSET + 3 :] = False
    found = by_row(detect(dataclasses.replace(panel, supported=supported), ONSET).shifts)
    assert len(found) == 30
    assert {(shifts[-1].state, shifts[-1].column) for shifts in found.values()} == {("settled", ONSET + SETTLED_DAYS)}


# ── What all have in common ────────────────────────────────────────────────────────────────────────────────────────

TOTAL = 40
"""The row of the series that is in no cohort."""
CAMPAIGN, OWN = ONSET + 4, ONSET + 8


@pytest.fixture(scope="module")
def market() -> Panel:
    """Forty segments and their total: a campaign day lifts all by 40 %, later six segments move by themselves."""
    rng = np.random.default_rng(5)
    expected = typical_counts(rng, TOTAL + 1, ONSET + WIDTH)
    expected[:, CAMPAIGN] *= 1.4
    expected[:6, OWN:] *= 1.6
    return panel_of(rng.poisson(expected), cohort=np.where(np.arange(TOTAL + 1) == TOTAL, -1, 77))


def test_a_day_that_all_have_in_common_is_the_report_of_none_but_their_total(market: Panel) -> None:
    on_the_day = {s.row for s in detect(market, ONSET).reports if s.column == CAMPAIGN}
    assert on_the_day == {TOTAL}
    alone = dataclasses.replace(market, cohort=np.full(TOTAL + 1, -1))
    apart = {s.row for s in detect(alone, ONSET).reports if s.column == CAMPAIGN}
    assert len(apart) > 30, "judged by themselves they would all have been"


def test_a_minority_that_moves_by_itself_is_found(market: Panel) -> None:
    later = [s for s in detect(market, ONSET).reports if s.column >= OWN]
    assert {s.row for s in later} == set(range(6))
    assert {s.onset for s in later} == {OWN}


def test_a_common_day_is_part_of_what_was_expected(market: Panel) -> None:
    band = detect(market, ONSET).band.expected[:TOTAL]
    raised = band[:, CAMPAIGN - ONSET] / band[:, CAMPAIGN - ONSET - 1]
    weekday = np.exp(WEEK[CAMPAIGN % 7] - WEEK[(CAMPAIGN - 1) % 7])
    assert np.median(raised / weekday) == pytest.approx(1.4, abs=0.1)


def test_a_common_day_is_remembered_by_those_who_judge_the_next(market: Panel) -> None:
    state = detect(market, ONSET).state
    at = int((FIRST_DAY + CAMPAIGN).astype(int))
    assert state.effects[77][at] == pytest.approx(np.log(1.4), abs=0.1)
    assert set(state.effects) == {77}


def test_days_known_to_be_out_of_the_ordinary_tell_and_teach_nothing(market: Panel) -> None:
    special = np.zeros(market.numerator.shape, dtype=np.bool_)
    special[:, CAMPAIGN] = True
    alone = dataclasses.replace(market, cohort=np.full(TOTAL + 1, -1), special=special)
    detection = detect(alone, ONSET)
    assert {s.row for s in detection.reports} == set(range(6))
    assert {s.onset for s in detection.reports} == {OWN}
    assert detection.tested[CAMPAIGN - ONSET] == 0
    other = market.numerator.copy()
    other[:, CAMPAIGN] *= 7
    wilder = detect(dataclasses.replace(alone, numerator=other), ONSET)
    assert wilder.reports == detection.reports


# ── What is refused, and what is degenerate ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [0, -1, 50, 51])
def test_a_first_day_outside_the_panel_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match=r"first must be 1\.\.49"):
        detect(panel_of(np.ones((2, 50))), first)


def test_a_state_of_another_day_is_refused() -> None:
    panel = panel_of(np.random.default_rng(18).poisson(100, size=(3, 100)))
    state = detect(between(panel, 0, 90), 80).state
    day = dt.date(2020, 1, 6) + dt.timedelta(days=89)
    detect(panel, 90, state=state)
    for first in (89, 91):
        with pytest.raises(ValueError, match=f"the state is of {day}"):
            detect(panel, first, state=state)


def test_a_panel_whose_arrays_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="3 series x 50 days"):
        panel_of(np.ones((3, 50)), np.ones((3, 49)))


@pytest.mark.parametrize("days", [2, 3, 7, 14, 28, 42, 60])
def test_an_ecosystem_may_be_as_young_as_two_days(days: int) -> None:
    detection = detect(panel_of(np.random.default_rng(18).poisson(100, size=(3, days))), 1)
    assert not detection.shifts
    assert detection.tested.shape == (days - 1,)
    assert detection.band.expected.shape == (3, days - 1)


def test_progress_is_told_after_every_day() -> None:
    seen: list[tuple[int, int]] = []
    panel = panel_of(np.random.default_rng(18).poisson(100, size=(3, 50)))
    detect(panel, 45, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(i, 5) for i in range(1, 6)]


STRANGE = {
    "constant": 17.0, "zero": 0.0, "missing": np.nan, "huge": 1e15, "tiny": 1e-9,
}  # fmt: skip


@pytest.mark.parametrize("scale", list(Scale))
@pytest.mark.parametrize("alone", [False, True], ids=["among others", "alone"])
def test_strange_series_raise_no_warning_and_no_false_alarm(scale: Scale, alone: bool) -> None:
    """Constant, zero, missing, huge and tiny ones; one with a single value; denominators of next to nothing."""
    rng = np.random.default_rng(40)
    numerator = rng.poisson(typical_counts(rng, 30, ONSET + 10, 300)).astype(float)
    denominator = np.full_like(numerator, 1e16 if scale == Scale.PROPORTION else 5_000.0)
    if scale == Scale.PROPORTION:
        denominator[10:] = 5_000.0
    for row, value in enumerate(STRANGE.values()):
        numerator[row] = value
    numerator[5] = np.nan
    numerator[5, 20] = 4.0
    numerator[6], denominator[6] = 1e-7, 1e-6
    denominator[7] = 0.0 if scale != Scale.PROPORTION else denominator[7]
    panel = panel_of(numerator, denominator, scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detection = detect(panel.only(*range(8)) if alone else panel, ONSET)
    assert not detection.shifts
    band = detection.band
    assert ((band.low <= band.expected) & (band.expected <= band.high) | np.isnan(band.expected)).all()


@pytest.mark.parametrize("scale", list(Scale))
@pytest.mark.parametrize("goes", ["to nothing", "a thousandfold", "from nothing", "beyond all measure"])
def test_however_far_a_series_goes_it_is_reported_once_with_numbers(scale: Scale, goes: str) -> None:
    rng = np.random.default_rng(41)
    moved, days = 10, 8
    numerator = rng.poisson(typical_counts(rng, 40, ONSET + days, 300)).astype(float)
    denominator = np.full_like(numerator, 1e9 if scale == Scale.PROPORTION else 5_000.0)
    if goes == "to nothing":
        numerator[:moved, ONSET:] = 0.0
    elif goes == "a thousandfold":  # seconds have become milliseconds
        numerator[:moved, ONSET:] *= 1_000
    elif goes == "from nothing":
        numerator[:moved, :ONSET] = 0.0
    else:
        numerator[:moved, ONSET:] = 1e9 if scale == Scale.PROPORTION else 1e15
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detection = detect(panel_of(numerator, denominator, scale), ONSET)
    for s in detection.shifts:
        assert all(np.isfinite(v) for v in dataclasses.asdict(s).values() if isinstance(v, float)), s
        assert s.low <= s.change <= s.high
    assert {s.row for s in detection.reports} == set(range(moved))
    # A mean's scale, log(1 + value), makes noise of a thousandfold value of another size, and nothing fits a rise to
    # 10^15: those may be told in several steps.
    several = goes == "beyond all measure" or (scale == Scale.MEAN and goes in ("a thousandfold", "from nothing"))
    assert len(detection.reports) <= (4 * moved if several else moved)


def test_without_any_series_nothing_is_judged() -> None:
    detection = detect(panel_of(np.ones((0, ONSET + 3))), ONSET)
    assert not detection.shifts
    assert detection.tested.tolist() == [0, 0, 0]
    assert from_table(to_table(detection.state)) is not None
