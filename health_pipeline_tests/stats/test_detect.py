"""What is planted is found, once, with its size and its days; where nothing is planted, nothing is found."""

from __future__ import annotations

import dataclasses
import datetime as dt
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from health_pipeline.shifts.state import from_table, to_table
from health_pipeline.stats.detect import (
    LOOKBACK,
    SETTLED_DAYS,
    WARM_UP,
    Detection,
    Settings,
    Shift,
    State,
    Watch,
    detect,
)  # fmt: skip
from health_pipeline.stats.panel import Panel, Scale

Array = NDArray[np.float64]

WEEK = np.array([0.1, 0.05, 0.0, 0.0, -0.05, -0.3, -0.2])
FIRST_DAY = np.datetime64("2020-01-06")
ONSET = LOOKBACK + 10  # in all panels nothing is planted before
SERIES = 60


def panel_of(
    numerator: NDArray[Any], denominator: NDArray[Any] | None = None, scale: Scale = Scale.COUNT, **more: Any
) -> Panel:
    series, days = numerator.shape
    return Panel(
        series=tuple(f"s{i:04d}" for i in range(series)),
        days=FIRST_DAY + np.arange(days),
        scale=np.full(series, scale, dtype=np.int8),
        numerator=numerator.astype(float),
        denominator=np.ones((series, days)) if denominator is None else denominator.astype(float),
        **more,
    )


def autoregressive(rng: np.random.Generator, series: int, days: int, sd: float, rho: float) -> Array:
    noise = rng.normal(size=(series, days + 50))
    for day in range(1, days + 50):
        noise[:, day] = rho * noise[:, day - 1] + np.sqrt(1 - rho**2) * noise[:, day]
    return sd * noise[:, 50:]


def typical_counts(
    rng: np.random.Generator, series: int, days: int, mean: float = 1_000.0, sd: float = 0.06, rho: float = 0.3
) -> Array:
    """Expected counts with a weekly rhythm and mild autocorrelated noise."""
    weekly = np.tile(WEEK, days // 7 + 1)[:days]
    return mean * np.exp(weekly + autoregressive(rng, series, days, sd, rho))


def by_row(shifts: Sequence[Shift]) -> dict[int, list[Shift]]:
    found: dict[int, list[Shift]] = {}
    for shift in sorted(shifts, key=lambda s: s.column):
        found.setdefault(shift.row, []).append(shift)
    return found


# ── A level, from its report to the day it is the new normal ───────────────────────────────────────────────────────

LIFE = 60
QUIET = 40
"""Series beside the planted ones in which nothing happens."""


@pytest.fixture(scope="module")
def life() -> Detection:
    """A step of +50 % in the first 60 of 100 series, from its first day to its sixtieth."""
    rng = np.random.default_rng(1)
    expected = typical_counts(rng, SERIES + QUIET, ONSET + LIFE)
    expected[:SERIES, ONSET:] *= 1.5
    return detect(panel_of(rng.poisson(expected)), ONSET)


def planted(detection: Detection) -> dict[int, list[Shift]]:
    return by_row([s for s in detection.shifts if s.row < SERIES])


def test_a_rise_by_half_is_found_within_three_days(life: Detection) -> None:
    first = [shifts[0].column - ONSET for shifts in planted(life).values()]
    assert sum(0 <= days <= 2 for days in first) >= 0.97 * SERIES
    assert all(shifts[0].change > 0 and shifts[0].score > 0 for shifts in planted(life).values())


def test_a_shift_is_reported_once(life: Detection) -> None:
    assert Counter(s.row for s in life.reports if s.row < SERIES) == dict.fromkeys(range(SERIES), 1)
    for s in life.shifts:
        assert (s.state == "new") == (s.column == s.reported)
    assert life.reports == [s for s in life.shifts if s.column == s.reported]


def test_series_beside_it_in_which_nothing_happens_are_left_alone(life: Detection) -> None:
    assert len([s for s in life.reports if s.row >= SERIES]) <= 2, "of 2,400 quiet series-days and 60 true reports"


def test_it_has_a_row_every_day_until_it_is_the_new_normal(life: Detection) -> None:
    for shifts in planted(life).values():
        assert [s.column for s in shifts] == list(range(shifts[0].reported, shifts[-1].column + 1))
        assert [s.state for s in shifts] == ["new"] + ["ongoing"] * (len(shifts) - 2) + ["settled"]
        assert shifts[-1].column == shifts[-1].onset + SETTLED_DAYS
        assert {s.ended for s in shifts} == {None}
        assert {s.reported for s in shifts} == {shifts[0].reported}


def test_what_was_said_at_the_report_stays_said(life: Detection) -> None:
    for shifts in planted(life).values():
        assert len({(s.p, s.q, s.tested) for s in shifts}) == 1
        assert 0 <= shifts[0].p <= shifts[0].q <= Settings().false_discovery_rate
        assert shifts[0].tested == SERIES + QUIET


def test_its_first_day_is_found_to_within_a_day_and_stays(life: Detection) -> None:
    for age in (2, 10, SETTLED_DAYS):
        of_age = [s for s in life.shifts if s.row < SERIES and s.column == ONSET + age]
        assert len(of_age) >= 0.97 * SERIES
        assert sum(abs(s.onset - ONSET) <= 1 for s in of_age) >= 0.97 * SERIES, f"after {age} days"
        assert sum(s.onset_low <= ONSET <= s.onset_high for s in of_age) >= 0.95 * SERIES
    assert all(s.onset_low <= s.onset <= s.onset_high <= s.column for s in life.shifts)


@pytest.mark.parametrize("age", [1, 10, SETTLED_DAYS - 1])
def test_its_interval_covers_the_truth(life: Detection, age: int) -> None:
    of_age = [s for s in life.shifts if s.row < SERIES and s.column == ONSET + age]
    assert sum(s.low <= 0.5 <= s.high for s in of_age) >= 0.85 * SERIES
    assert all(s.low <= s.change <= s.high for s in of_age)
    assert np.median([s.change for s in of_age]) == pytest.approx(0.5, abs=0.05)
    assert np.median([s.high - s.low for s in of_age]) < 0.5, "an interval that says nothing covers everything"


def test_more_days_make_its_size_surer(life: Detection) -> None:
    widths = [
        float(np.median([s.high - s.low for s in life.shifts if s.row < SERIES and s.column == ONSET + age]))
        for age in (1, 5, 20, 40)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.15


def test_one_or_two_days_are_a_spike_and_more_are_a_level(life: Detection) -> None:
    for s in (s for s in life.shifts if s.row < SERIES and s.onset == ONSET):
        assert s.kind == ("spike" if s.column < ONSET + 2 else "level")
        assert s.days == s.column - ONSET + 1


def test_expected_and_observed_are_those_of_a_typical_day_since_its_onset(life: Detection) -> None:
    for s in (s for s in life.shifts if s.row < SERIES and s.column == ONSET + 30):
        assert s.change == pytest.approx(s.observed / s.expected - 1)
        assert s.numerator == pytest.approx(s.observed)
        assert s.expected == pytest.approx(1_000 * np.exp(WEEK).mean(), rel=0.1)


def test_the_band_shows_what_would_have_been(life: Detection) -> None:
    """The expected value of the band is without the shifts under way; of the new normal when they have settled."""
    before, after = life.band.expected[:SERIES, 30], life.band.expected[SERIES:, 30]
    assert np.median(before) == pytest.approx(np.median(after), rel=0.05)


# ── What ends ──────────────────────────────────────────────────────────────────────────────────────────────────────

GROUP = 25
ENDS = {"a day": (1, 2.0), "five days": (5, 2.0), "two weeks": (14, 1.5)}


@pytest.fixture(scope="module")
def endings() -> dict[str, dict[int, list[Shift]]]:
    """25 series each whose numbers are up for a day, five days, two weeks, and not at all."""
    rng = np.random.default_rng(3)
    expected = typical_counts(rng, 4 * GROUP, ONSET + 40)
    for at, (length, factor) in enumerate(ENDS.values()):
        expected[at * GROUP : (at + 1) * GROUP, ONSET : ONSET + length] *= factor
    found = by_row(detect(panel_of(rng.poisson(expected)), ONSET).shifts)
    return {
        name: {row: found[row] for row in range(at * GROUP, (at + 1) * GROUP) if row in found}
        for at, name in enumerate([*ENDS, "never"])
    }


@pytest.mark.parametrize("lasts", ENDS)
def test_what_is_over_is_recovered_at_once_and_never_heard_of_again(
    endings: dict[str, dict[int, list[Shift]]], lasts: str
) -> None:
    length, factor = ENDS[lasts]
    assert len(endings[lasts]) == GROUP
    right = 0
    for shifts in endings[lasts].values():
        assert [s.state for s in shifts].count("new") == 1, "its end is no report"
        last = shifts[-1]
        assert last.state == "recovered"
        assert all(s.ended is None for s in shifts[:-1])
        assert last.ended is not None
        assert last.column - (ONSET + length) <= 2, "told within two days of its end"
        right += last.onset == ONSET and last.ended == ONSET + length
        assert last.days == last.ended - last.onset
        assert last.kind == ("spike" if length <= 2 else "level")
    assert right >= 0.9 * GROUP
    cover = [s[-1].low <= factor - 1 <= s[-1].high for s in endings[lasts].values()]
    assert sum(cover) >= 0.8 * GROUP, "the size is that of its days alone"


def test_a_wild_day_is_recovered_the_day_after(endings: dict[str, dict[int, list[Shift]]]) -> None:
    told = [[(s.column - ONSET, s.state, s.kind) for s in shifts] for shifts in endings["a day"].values()]
    assert told.count([(0, "new", "spike"), (1, "recovered", "spike")]) >= 0.95 * GROUP


def test_beside_what_ends_nothing_is_reported(endings: dict[str, dict[int, list[Shift]]]) -> None:
    assert len(endings["never"]) <= 1


def test_after_it_is_over_the_next_shift_of_a_series_is_reported() -> None:
    rng = np.random.default_rng(31)
    expected = typical_counts(rng, 30, ONSET + 30)
    expected[:, ONSET : ONSET + 5] *= 2
    expected[:, ONSET + 20 :] *= 0.5
    found = by_row(detect(panel_of(rng.poisson(expected)), ONSET).reports)
    for reports in found.values():
        assert [round(s.change) for s in reports] in ([1, -1], [1, 0]), reports
        assert [abs(s.onset - o) <= 1 for s, o in zip(reports, (ONSET, ONSET + 20), strict=True)] == [True, True]
    assert len(found) == 30


def test_a_further_step_of_a_level_is_a_report_of_its_own() -> None:
    rng = np.random.default_rng(32)
    expected = typical_counts(rng, 30, ONSET + 25)
    expected[:, ONSET:] *= 1.5
    expected[:, ONSET + 15 :] *= 2
    detection = detect(panel_of(rng.poisson(expected)), ONSET)
    assert Counter(s.row for s in detection.reports) == dict.fromkeys(range(30), 2)
    last = [s for s in detection.shifts if s.column == ONSET + 24]
    assert sorted(Counter(round(s.onset - ONSET, 0) for s in last)) == [0, 15]
    for onset, truth in ((0, 0.5), (15, 1.0)):
        changes = [s.change for s in last if s.onset == ONSET + onset]
        assert np.median(changes) == pytest.approx(truth, abs=0.08), "each beside the other"


# ── Directions, scales, slopes ─────────────────────────────────────────────────────────────────────────────────────

WIDTH = 12


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


# ── Living and replaying ───────────────────────────────────────────────────────────────────────────────────────────

JUDGED = 40


@pytest.fixture(scope="module")
def eventful() -> Panel:
    """60 series of three scales in pools and cohorts, with steps, wild days, missing days, late arrivals, leavers."""
    rng = np.random.default_rng(14)
    days = ONSET + JUDGED
    counts = typical_counts(rng, 60, days, 300.0, 0.1)
    for row in range(60):
        at = ONSET + int(rng.integers(0, JUDGED - 5))
        counts[row, at : at + int(rng.choice([1, 6, 60]))] *= rng.choice([0.4, 1.3, 2.5])
    counts[:, ONSET + 8] *= 1.3
    numerator = rng.poisson(counts).astype(float)
    denominator = np.ones_like(numerator)
    denominator[20:] = rng.poisson(2_000, size=(40, days))
    numerator[20:40] = np.minimum(numerator[20:40], denominator[20:40])
    numerator[rng.random(numerator.shape) < 0.02] = np.nan
    numerator[5, : days - 50] = np.nan
    supported = np.ones(numerator.shape, dtype=np.bool_)
    supported[50:55, ONSET - 25 :] = False  # leaves while the others are judged
    supported[52, ONSET + 20 :] = True  # and comes back
    sampling = np.zeros(numerator.shape)
    sampling[40:] = 0.01
    kinds = np.repeat([0, 1, 2], 20)
    return dataclasses.replace(
        panel_of(numerator, denominator), scale=kinds.astype(np.int8), pool=kinds, supported=supported,
        sampling=sampling, cohort=np.where(np.arange(60) % 20 < 17, np.array([5, 77, 9])[kinds], -1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def replayed(eventful: Panel) -> Detection:
    return detect(eventful, ONSET)


def between(panel: Panel, first: int, stop: int) -> Panel:
    days = slice(first, stop)
    cut = ("days", "numerator", "denominator", "size", "supported", "sampling", "special")
    values = {name: getattr(panel, name)[..., days] for name in cut}
    return dataclasses.replace(panel, **values)


def later(shift: Shift, columns: int) -> Shift:
    """The shift in a panel that begins so many columns earlier."""
    moved = {n: getattr(shift, n) + columns for n in ("column", "reported", "onset", "onset_low", "onset_high")}
    return dataclasses.replace(shift, **moved, ended=None if shift.ended is None else shift.ended + columns)


def rows_of(state: State) -> str:
    """As text, in which what is not a number equals itself."""
    return repr(to_table(state).to_pylist())


def assert_same_band(one: Detection, other: Detection, first: int = 0) -> None:
    for name in ("expected", "low", "high"):
        found, wanted = getattr(one.band, name), getattr(other.band, name)
        np.testing.assert_array_equal(found, wanted[:, first : first + found.shape[1]], err_msg=name)


@pytest.mark.parametrize("days", [1, 13], ids=["every day", "every 13 days"])
def test_days_lived_one_after_another_are_what_a_replay_of_all_tells_bit_for_bit(
    eventful: Panel, replayed: Detection, days: int
) -> None:
    """Each piece with the state the one before it left, kept as rows of a table, and no more past than promised."""
    assert len(replayed.reports) > 30
    assert {"new", "ongoing", "recovered"} <= {s.state for s in replayed.shifts}
    state: State | None = None
    said: list[Shift] = []
    for first in range(ONSET, ONSET + JUDGED, days):
        start, stop = first - LOOKBACK, min(first + days, ONSET + JUDGED)
        piece = detect(between(eventful, start, stop), LOOKBACK, state=state)
        said += [later(s, start) for s in piece.shifts]
        assert_same_band(piece, replayed, first - ONSET)
        assert piece.tested.tolist() == replayed.tested[first - ONSET : stop - ONSET].tolist()
        assert piece.level.tolist() == replayed.level[first - ONSET : stop - ONSET].tolist()
        state = from_table(to_table(piece.state))
    assert said == replayed.shifts
    assert state is not None
    assert rows_of(state) == rows_of(replayed.state)


@pytest.mark.parametrize("series", [1, 3])
def test_few_series_are_lived_as_they_are_replayed(eventful: Panel, series: int) -> None:
    """With so few, no lesson is due on most days."""
    panel = eventful.only(*range(series))
    whole = detect(panel, ONSET)
    state: State | None = None
    said: list[Shift] = []
    for day in range(ONSET, ONSET + JUDGED):
        one = detect(between(panel, 0, day + 1), day, state=state)
        said += one.shifts
        state = one.state
        assert_same_band(one, whole, day - ONSET)
    assert said == whole.shifts


def test_what_a_watch_says_day_by_day_is_what_detect_says(eventful: Panel, replayed: Detection) -> None:
    watch = Watch(eventful, ONSET)
    days = [watch.judge() for _ in range(5)]
    half_way = watch.state()
    days += [watch.judge() for _ in range(5)]
    assert [s for d in days for s in d.shifts] == [s for s in replayed.shifts if s.column < ONSET + 10]
    assert [d.tested for d in days] == replayed.tested[:10].tolist()
    resumed = detect(between(eventful, 0, ONSET + 10), ONSET + 5, state=half_way)
    assert resumed.shifts == [s for d in days[5:] for s in d.shifts], "a state asked for is not changed by later days"


def test_judging_on_from_a_state_leaves_the_state_as_it_was(eventful: Panel) -> None:
    state = detect(between(eventful, 0, ONSET + 12), ONSET).state
    before = rows_of(state)
    detect(eventful, ONSET + 12, state=state)
    assert rows_of(state) == before


def test_the_past_of_a_day_is_all_that_counts(eventful: Panel, replayed: Detection) -> None:
    """Whatever happens tomorrow, today's judgement was made today."""
    day = ONSET + JUDGED - 10
    other = {name: getattr(eventful, name).copy() for name in ("numerator", "denominator", "sampling", "size")}
    for name, values in other.items():
        values[:, day:] = values[:, day:] * 7 + (3 if name != "size" else 0)
    supported, special = eventful.supported.copy(), eventful.special.copy()
    supported[::3, day:], special[1::3, day:] = False, True
    changed = detect(dataclasses.replace(eventful, **other, supported=supported, special=special), ONSET)
    assert [s for s in changed.shifts if s.column < day] == [s for s in replayed.shifts if s.column < day]
    for name in ("expected", "low", "high"):
        np.testing.assert_array_equal(
            getattr(changed.band, name)[:, : day - ONSET], getattr(replayed.band, name)[:, : day - ONSET], err_msg=name
        )


def test_days_further_back_than_promised_do_not_count(eventful: Panel) -> None:
    """As long as yesterday left its state."""
    state = detect(between(eventful, 0, ONSET), ONSET - 1).state
    other = eventful.numerator.copy()
    other[:, : ONSET - LOOKBACK] = 5.0
    changed = dataclasses.replace(eventful, numerator=other)
    assert detect(changed, ONSET, state=state).shifts == detect(eventful, ONSET, state=state).shifts


def test_the_order_of_the_series_does_not_matter(eventful: Panel, replayed: Detection) -> None:
    order = np.random.default_rng(15).permutation(len(eventful.series))
    mixed = detect(eventful.only(*order.tolist()), ONSET)
    one = {(eventful.series[s.row], s.column, s.onset): s for s in replayed.shifts}
    other = {(eventful.series[order[s.row]], s.column, s.onset): s for s in mixed.shifts}
    assert one.keys() == other.keys()
    for key, shift in one.items():
        found, wanted = dataclasses.asdict(other[key]), dataclasses.asdict(shift)
        for name in set(wanted) - {"row"}:
            assert found[name] == (
                pytest.approx(wanted[name], rel=1e-6) if isinstance(wanted[name], float) else wanted[name]
            ), (name, key)


def test_a_state_serves_series_in_any_order_and_new_ones(eventful: Panel) -> None:
    """It is kept by name: series come and go."""
    state = detect(between(eventful, 0, ONSET + 20), ONSET).state
    here = set(state.active)
    assert here
    order = [i for i in np.random.default_rng(16).permutation(60).tolist() if i % 7]
    going_on = {s.row for s in detect(eventful, ONSET + 20, state=state).shifts if s.reported < ONSET + 20}
    mixed = detect(eventful.only(*order), ONSET + 20, state=state)
    assert {order[s.row] for s in mixed.shifts if s.reported < ONSET + 20} == {i for i in going_on if i % 7}


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
