"""What is planted is found, with its size and its first day; where nothing is planted, nothing is found."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.stats.detect import LOOKBACK, Detection, Shift, detect
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.scan import WARM_UP, Scan

Array = NDArray[np.float64]

RATE = 0.01
SMALLEST = 0.1
WEEK = np.array([0.1, 0.05, 0.0, 0.0, -0.05, -0.3, -0.2])
FIRST_DAY = np.datetime64("2020-01-06")


def panel_of(numerator: NDArray[Any], denominator: NDArray[Any] | None = None, scale: Scale = Scale.COUNT) -> Panel:
    series, days = numerator.shape
    return Panel(
        series=tuple(f"s{i:04d}" for i in range(series)),
        days=FIRST_DAY + np.arange(days),
        scale=np.full(series, scale, dtype=np.int8),
        numerator=numerator.astype(float),
        denominator=np.ones((series, days)) if denominator is None else denominator.astype(float),
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


def judge(panel: Panel, width: int) -> Detection:
    return detect(panel, width, RATE, SMALLEST)


def by_row(shifts: Sequence[Shift]) -> dict[int, list[Shift]]:
    found: dict[int, list[Shift]] = {}
    for shift in sorted(shifts, key=lambda s: s.column):
        found.setdefault(shift.row, []).append(shift)
    return found


SERIES, WIDTH = 100, 10
DAYS = LOOKBACK + WIDTH
ONSET = DAYS - WIDTH  # the first judged day


@pytest.fixture(scope="module")
def lasting_panel() -> Panel:
    """A step of +50 % in each of 100 series, on the first of ten judged days."""
    rng = np.random.default_rng(1)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:, ONSET:] *= 1.5
    return panel_of(rng.poisson(expected))


@pytest.fixture(scope="module")
def lasting(lasting_panel: Panel) -> Detection:
    return judge(lasting_panel, WIDTH)


def test_a_rise_by_half_is_found_within_three_days(lasting: Detection) -> None:
    first = [shifts[0].column - ONSET for shifts in by_row(lasting.shifts).values()]
    assert sum(days <= 2 for days in first) >= 0.97 * SERIES
    assert all(shift.change > 0 for shift in lasting.shifts)


def test_its_first_day_is_found_to_within_a_day(lasting: Detection) -> None:
    last = [shifts[-1] for shifts in by_row(lasting.shifts).values()]
    assert sum(abs(s.onset - ONSET) <= 1 for s in last) >= 0.97 * SERIES
    assert sum(s.onset_low <= ONSET <= s.onset_high for s in last) >= 0.95 * SERIES
    assert all(s.onset_low <= s.onset <= s.onset_high <= s.column for s in lasting.shifts)


@pytest.mark.parametrize("moment", [0, -1], ids=["when first reported", "after ten days"])
def test_its_interval_covers_the_truth(lasting: Detection, moment: int) -> None:
    shifts = [shifts[moment] for shifts in by_row(lasting.shifts).values()]
    assert sum(s.low <= 0.5 <= s.high for s in shifts) >= 0.85 * SERIES
    assert all(s.low <= s.change <= s.high for s in shifts)
    assert np.median([s.change for s in shifts]) == pytest.approx(0.5, abs=0.05)
    assert np.median([s.high - s.low for s in shifts]) < 0.5, "an interval that says nothing covers everything"


def test_it_goes_on_being_reported_while_it_lasts(lasting: Detection, lasting_panel: Panel) -> None:
    reported = Counter(s.column - ONSET for s in lasting.shifts)
    assert min(reported[day] for day in range(2, WIDTH)) >= 0.95 * SERIES
    kept = Scan(lasting_panel).kept
    last = [s for s in lasting.shifts if s.column == DAYS - 1 and s.onset == ONSET]
    counted = {s.row: s.days for s in last}
    wild = {row: WIDTH - 1 - int(kept[row, ONSET : DAYS - 1].sum()) for row in counted}  # today counts in any case
    assert counted == {row: WIDTH - wild[row] for row in counted}, "all days since, but for those set aside as wild"
    assert sum(count > 1 for count in wild.values()) <= 0.02 * SERIES, "more than one wild day is rare"


def test_a_fall_by_half_is_a_fall() -> None:
    rng = np.random.default_rng(2)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:, ONSET:] *= 0.5
    found = by_row(judge(panel_of(rng.poisson(expected)), WIDTH).shifts)
    assert len(found) >= 0.97 * SERIES
    assert all(s.change < 0 and s.score < 0 for shifts in found.values() for s in shifts)
    assert np.median([shifts[-1].change for shifts in found.values()]) == pytest.approx(-0.5, abs=0.03)


def test_a_wild_day_is_reported_as_one_day_and_not_again_the_day_after() -> None:
    rng = np.random.default_rng(3)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:, ONSET] *= 2
    shifts = judge(panel_of(rng.poisson(expected)), WIDTH).shifts
    on_the_day = [s for s in shifts if s.column == ONSET]
    assert len(on_the_day) >= 0.97 * SERIES
    assert {(s.days, s.onset) for s in on_the_day} == {(1, ONSET)}
    assert len([s for s in shifts if s.column > ONSET]) <= 1


def test_what_lasted_five_days_is_not_reported_once_it_is_over() -> None:
    rng = np.random.default_rng(20)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:, ONSET : ONSET + 5] *= 2
    reported = Counter(s.column - ONSET for s in judge(panel_of(rng.poisson(expected)), WIDTH).shifts if s.change > 0)
    assert min(reported[day] for day in range(2, 5)) >= 0.97 * SERIES
    assert sum(reported[day] for day in range(5, WIDTH)) <= 2


def test_a_rate_is_judged_on_its_odds_and_told_as_a_share() -> None:
    rng = np.random.default_rng(4)
    denominator = rng.poisson(typical_counts(rng, SERIES, DAYS, 20_000.0))
    odds = np.exp(autoregressive(rng, SERIES, DAYS, 0.05, 0.3)) / 9
    odds[:, ONSET:] *= 1.5
    numerator = rng.binomial(denominator, odds / (1 + odds))
    found = by_row(judge(panel_of(numerator, denominator, Scale.PROPORTION), WIDTH).shifts)
    truth = (1.5 / 9) / (1 + 1.5 / 9) / 0.1 - 1
    last = [shifts[-1] for shifts in found.values()]
    assert len(last) >= 0.97 * SERIES
    assert sum(abs(s.onset - ONSET) <= 1 for s in last) >= 0.95 * SERIES
    assert sum(s.low <= truth <= s.high for s in last) >= 0.85 * SERIES
    assert all(0 < s.expected < 1 and 0 < s.observed < 1 for s in last)


def test_a_rate_of_a_unit_whose_volume_jumps_is_no_news() -> None:
    rng = np.random.default_rng(5)
    expected = typical_counts(rng, SERIES, DAYS, 20_000.0)
    expected[:, ONSET:] *= 5
    denominator = rng.poisson(expected)
    assert not judge(panel_of(rng.binomial(denominator, 0.1), denominator, Scale.PROPORTION), WIDTH).shifts


def test_events_per_exposure_are_told_as_a_rate_whatever_the_exposure_does() -> None:
    rng = np.random.default_rng(26)
    exposure = typical_counts(rng, SERIES, DAYS, 2e6)
    exposure[:, ONSET + 5 :] *= 4
    rate = 1e-4 * np.exp(autoregressive(rng, SERIES, DAYS, 0.05, 0.3))
    assert not judge(panel_of(rng.poisson(rate * exposure), exposure, Scale.RATE), WIDTH).shifts
    rate[:, ONSET:] *= 1.6
    found = by_row(judge(panel_of(rng.poisson(rate * exposure), exposure, Scale.RATE), WIDTH).shifts)
    last = [shifts[-1] for shifts in found.values()]
    assert len(last) >= 0.97 * SERIES
    assert sum(s.low <= 0.6 <= s.high for s in last) >= 0.85 * SERIES
    assert np.median([s.expected for s in last]) == pytest.approx(1e-4, rel=0.1)
    assert np.median([s.observed for s in last]) == pytest.approx(1.6e-4, rel=0.1)


def test_a_series_too_small_to_be_judged_is_neither_reported_nor_counted() -> None:
    rng = np.random.default_rng(27)
    counts = typical_counts(rng, 40, DAYS)
    counts[:, ONSET:] *= 2
    panel = panel_of(rng.poisson(counts))
    supported = np.ones(panel.numerator.shape, dtype=np.bool_)
    supported[20:] = False
    found = judge(dataclasses.replace(panel, supported=supported), WIDTH)
    assert {s.row for s in found.shifts} == set(range(20))
    assert found.tested.tolist() == [20] * WIDTH


def test_series_too_small_to_be_judged_change_nothing_for_the_others(eventful: Panel) -> None:
    large = np.arange(0, 60, 2)
    supported = np.zeros(eventful.numerator.shape, dtype=np.bool_)
    supported[large] = True
    among = judge(dataclasses.replace(eventful, supported=supported), 40)
    alone = judge(dataclasses.replace(eventful, supported=supported).only(*large), 40)
    assert among.shifts
    assert [dataclasses.replace(s, row=int(large[s.row])) for s in alone.shifts] == among.shifts


def test_a_mean_that_doubles_is_found() -> None:
    rng = np.random.default_rng(6)
    mean = 3_600 * np.exp(autoregressive(rng, SERIES, DAYS, 0.1, 0.3))
    mean[:, ONSET:] *= 2
    denominator = np.full((SERIES, DAYS), 500.0)
    found = by_row(judge(panel_of(mean * denominator, denominator, Scale.MEAN), WIDTH).shifts)
    assert len(found) >= 0.97 * SERIES
    assert np.median([shifts[-1].change for shifts in found.values()]) == pytest.approx(1.0, abs=0.1)


def test_the_noise_of_small_counts_is_no_news() -> None:
    rng = np.random.default_rng(7)
    weekly = np.exp(0.3 * np.tile(WEEK, DAYS)[: LOOKBACK + 60])
    counts = rng.poisson(3.0 * weekly, size=(300, LOOKBACK + 60))
    assert not judge(panel_of(counts), 60).shifts


def test_thirty_thousand_quiet_series_days_give_at_most_two_reports() -> None:
    rng = np.random.default_rng(8)
    days = LOOKBACK + 60
    size = rng.lognormal(6, 1.5, size=(500, 1))
    rate = size * typical_counts(rng, 500, days, mean=1.0, sd=0.1, rho=0.5)
    overdispersed = rng.negative_binomial(20, 20 / (20 + rate))
    detection = judge(panel_of(overdispersed), 60)
    assert detection.tested.tolist() == [500] * 60
    assert len(detection.shifts) <= 2


def test_as_many_false_reports_as_were_accepted_and_no_more() -> None:
    """With nothing to find, a day has a report as often as the catalog's rate says."""
    rate = load_catalog("eu_dsa").ecosystem.detection.false_discovery_rate
    rng = np.random.default_rng(19)
    counts = rng.poisson(typical_counts(rng, 300, LOOKBACK + 120, mean=200.0, sd=0.1, rho=0.5))
    days = {s.column for s in detect(panel_of(counts), 120, rate, SMALLEST).shifts}
    assert len(days) <= 2 * rate * 120


def test_missing_days_are_neither_an_alarm_nor_a_zero() -> None:
    rng = np.random.default_rng(9)
    expected = typical_counts(rng, SERIES, LOOKBACK + 30)
    counts = rng.poisson(expected).astype(float)
    counts[:, LOOKBACK + 5 : LOOKBACK + 12] = np.nan
    detection = judge(panel_of(counts), 30)
    assert not detection.shifts
    assert detection.tested.tolist() == [SERIES] * 5 + [0] * 7 + [SERIES] * 18


def test_a_step_right_after_missing_days_may_have_begun_in_them() -> None:
    rng = np.random.default_rng(10)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:, ONSET:] *= 1.5
    counts = rng.poisson(expected).astype(float)
    counts[:, ONSET - 5 : ONSET] = np.nan
    last = [shifts[-1] for shifts in by_row(judge(panel_of(counts), WIDTH).shifts).values()]
    assert len(last) >= 0.97 * SERIES
    right = [s for s in last if s.onset == ONSET]
    assert len(right) >= 0.9 * SERIES
    assert all(s.onset_low <= ONSET - 5 for s in right)
    assert all(s.days <= WIDTH for s in right), "missing days count as none"


def test_a_new_series_does_not_alarm_on_arrival() -> None:
    rng = np.random.default_rng(11)
    counts = rng.poisson(typical_counts(rng, SERIES, LOOKBACK + 45)).astype(float)
    counts[: SERIES // 2, :LOOKBACK] = np.nan
    detection = judge(panel_of(counts), 45)
    assert set(detection.tested[:WARM_UP].tolist()) == {SERIES // 2}, "a new series is not judged in its first weeks"
    assert detection.tested[-1] == SERIES
    assert not detection.shifts


def test_a_change_smaller_than_asked_for_is_not_reported() -> None:
    rng = np.random.default_rng(12)
    expected = typical_counts(rng, SERIES, DAYS, mean=1e7, sd=0.003)
    expected[:, ONSET:] *= 1.05
    panel = panel_of(rng.poisson(expected))
    assert not judge(panel, WIDTH).shifts
    assert len(by_row(detect(panel, WIDTH, RATE, 0.02).shifts)) == SERIES


AGE = 40
LIFE = 50


@pytest.fixture(scope="module")
def life_of_a_step() -> list[Shift]:
    """Reports on a step of +50 % in each of 100 series, from its first day to its fiftieth."""
    rng = np.random.default_rng(13)
    expected = typical_counts(rng, SERIES, LOOKBACK + LIFE)
    expected[:, LOOKBACK:] *= 1.5
    return judge(panel_of(rng.poisson(expected)), LIFE).shifts


def test_a_step_that_is_forty_days_old_is_not_reported_again(life_of_a_step: list[Shift]) -> None:
    late = Counter(s.column - LOOKBACK for s in life_of_a_step if s.column - LOOKBACK >= AGE)
    assert not late, f"reports by age in days: {dict(late)}"


def test_as_long_as_a_step_is_reported_its_onset_stays_where_it_was(life_of_a_step: list[Shift]) -> None:
    wrong = Counter(s.column - LOOKBACK for s in life_of_a_step if not s.onset_low <= LOOKBACK <= s.onset_high)
    often = {age: count for age, count in sorted(wrong.items()) if count > 0.1 * SERIES}
    assert not often, f"series whose onset interval misses the truth, by age in days: {often}"


@pytest.fixture(scope="module")
def eventful() -> Panel:
    """60 series of all three scales, with steps, wild days, missing days and late arrivals in the last 60 days."""
    rng = np.random.default_rng(14)
    days = LOOKBACK + 60
    counts = typical_counts(rng, 60, days, 300.0, 0.1)
    for row in range(60):
        at = LOOKBACK + int(rng.integers(0, 55))
        counts[row, at : at + int(rng.choice([1, 6, 60]))] *= rng.choice([0.4, 1.3, 2.5])
    numerator = rng.poisson(counts).astype(float)
    denominator = np.full_like(numerator, 1.0)
    denominator[20:] = rng.poisson(2_000, size=(40, days))
    numerator[20:40] = np.minimum(numerator[20:40], denominator[20:40])
    numerator[rng.random(numerator.shape) < 0.02] = np.nan
    numerator[5, : days - 50] = np.nan
    scale = np.repeat([Scale.COUNT, Scale.PROPORTION, Scale.MEAN], 20).astype(np.int8)
    return dataclasses.replace(panel_of(numerator, denominator), scale=scale)


def between(panel: Panel, first: int, stop: int) -> Panel:
    days = slice(first, stop)
    return Panel(
        panel.series, panel.days[days], panel.scale, panel.numerator[:, days], panel.denominator[:, days]
    )  # fmt: skip


def reports_of(detection: Detection, offset: int, day: int) -> dict[int, list[float]]:
    """Row -> everything that was said of it on a day; columns counted from the whole panel's first."""
    said = {}
    for shift in detection.shifts:
        if shift.column + offset == day:
            values = dataclasses.asdict(shift)
            for name in ("column", "onset", "onset_low", "onset_high"):
                values[name] += offset
            said[shift.row] = [float(v) for v in values.values()]
    return said


def assert_same(one: dict[int, list[float]], other: dict[int, list[float]], day: int) -> None:
    assert one.keys() == other.keys(), f"other series are reported on day {day}"
    for row in one:
        assert one[row] == pytest.approx(other[row], rel=1e-6, abs=1e-12), f"series {row} on day {day}"


def test_a_day_is_judged_alike_alone_in_a_batch_and_with_later_days_present(eventful: Panel) -> None:
    last = len(eventful.days)
    batch_first = last - 40
    batch = judge(between(eventful, batch_first - LOOKBACK, batch_first + 30), 30)
    whole = judge(eventful, 60)
    assert len(whole.shifts) > 100
    for day in range(batch_first, batch_first + 30, 3):
        alone = judge(between(eventful, day - LOOKBACK, day + 1), 1)
        said = reports_of(alone, day - LOOKBACK, day)
        assert_same(said, reports_of(batch, batch_first - LOOKBACK, day), day)
        assert_same(said, reports_of(whole, 0, day), day)
        for name in ("expected", "low", "high"):
            one, other = getattr(alone.band, name)[:, 0], getattr(whole.band, name)[:, day - last]
            np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=f"{name} of day {day}")


def test_the_order_of_the_series_does_not_matter(eventful: Panel) -> None:
    order = np.random.default_rng(15).permutation(len(eventful.series))
    mixed = Panel(
        tuple(eventful.series[i] for i in order), eventful.days, eventful.scale[order], eventful.numerator[order],
        eventful.denominator[order],
    )  # fmt: skip
    one = {(eventful.series[s.row], s.column): s for s in judge(eventful, 60).shifts}
    other = {(mixed.series[s.row], s.column): s for s in judge(mixed, 60).shifts}
    assert one.keys() == other.keys()
    for key, shift in one.items():
        assert dataclasses.replace(other[key], row=shift.row) == shift


def test_the_past_of_a_day_is_all_that_counts(eventful: Panel) -> None:
    """Whatever happens tomorrow, today's judgement was made today."""
    day = len(eventful.days) - 10
    other = eventful.numerator.copy()
    other[:, day + 1 :] = other[:, day + 1 :] * 7 + 3
    changed = dataclasses.replace(eventful, numerator=other, denominator=np.maximum(eventful.denominator, 1e9))
    same = dataclasses.replace(changed, denominator=eventful.denominator)
    assert_same(reports_of(judge(eventful, 30), 0, day), reports_of(judge(same, 30), 0, day), day)


def test_the_band_holds_ordinary_days() -> None:
    rng = np.random.default_rng(16)
    counts = rng.poisson(typical_counts(rng, SERIES, LOOKBACK + 60)).astype(float)
    band = judge(panel_of(counts), 60).band
    inside = (band.low <= counts[:, -60:]) & (counts[:, -60:] <= band.high)
    assert 0.93 <= inside.mean() <= 0.995
    assert (np.median(band.high / band.low)) < 2.0


def test_the_accepted_share_of_false_reports_bounds_q() -> None:
    rng = np.random.default_rng(17)
    expected = typical_counts(rng, SERIES, DAYS)
    expected[:20, ONSET:] *= 1.25
    panel = panel_of(rng.poisson(expected))
    strict, lax = (detect(panel, WIDTH, rate, SMALLEST).shifts for rate in (0.001, 0.2))
    assert {(s.row, s.column) for s in strict} < {(s.row, s.column) for s in lax}
    assert all(s.q <= 0.001 for s in strict)
    assert all(s.p <= s.q <= 0.2 and s.tested == SERIES for s in lax)


@pytest.mark.parametrize("width", [0, -1, 50, 51])
def test_a_width_that_does_not_fit_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=r"width must be 1\.\.49"):
        judge(panel_of(np.ones((2, 50))), width)


@pytest.mark.parametrize("days", [2, 3, 7, 13, 14, 28, 29, 41, 42, 60])
def test_an_ecosystem_may_be_as_young_as_two_days(days: int) -> None:
    detection = judge(panel_of(np.random.default_rng(18).poisson(100, size=(3, days))), days - 1)
    assert not detection.shifts
    assert detection.tested.shape == (days - 1,)
    assert detection.band.expected.shape == (3, days - 1)


def test_series_without_a_value_or_without_a_movement_are_judged_without_reports() -> None:
    assert not judge(panel_of(np.ones((0, 100))), 10).shifts
    assert not judge(panel_of(np.full((3, 200), np.nan)), 100).shifts
    assert not judge(panel_of(np.zeros((3, 200))), 100).shifts
    assert not judge(panel_of(np.full((3, 200), 17.0)), 100).shifts
