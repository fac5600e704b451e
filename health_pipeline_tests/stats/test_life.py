"""A planted shift from its report to its end: told once, with its days, until it is over or the new normal."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from health_pipeline.stats.detect import Detection, Settings, detect
from health_pipeline.stats.life import SETTLED_DAYS
from health_pipeline.stats.shift import Shift
from health_pipeline_tests.stats.panels import ONSET, SERIES, WEEK, by_row, panel_of, typical_counts

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
