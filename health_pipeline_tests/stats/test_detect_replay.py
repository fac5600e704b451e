"""Days judged one after another tell what a replay of all of them tells, whatever comes later."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from health_pipeline.shifts.state import from_table, to_table
from health_pipeline.stats.detect import Detection, State, Watch, detect
from health_pipeline.stats.panel import Panel
from health_pipeline.stats.shift import Shift
from health_pipeline.stats.spans import LOOKBACK
from health_pipeline_tests.stats.panels import ONSET, between, panel_of, typical_counts

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
