"""False discoveries over series and days: what is spent, what is earned, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from health_pipeline.stats.discovery import DECAY, FORGOTTEN, Memory

RATE = 0.05
NOTHING = np.linspace(0.01, 0.99, 50)


def after(*reports: int, rate: float = RATE) -> Memory:
    """A memory of days with so many clear reports each among fifty series."""
    memory = Memory(rate)
    for count in reports:
        memory.judge(np.concatenate([np.full(count, 1e-12), NOTHING[count:]]))
        assert memory.reports[-1] == count
    return memory


def test_a_quiet_memory_has_the_same_level_every_day() -> None:
    levels = [after(*[0] * days).level() for days in (0, 1, 10, 50, 150)]
    np.testing.assert_allclose(levels, RATE * (1 - DECAY), rtol=1e-9)


def test_a_quiet_month_saves_nothing_up() -> None:
    assert after(*[0] * 30).level() == pytest.approx(after(0).level())


def test_reports_earn_and_what_they_earn_fades() -> None:
    quiet = after(*[0] * 10).level()
    levels = [after(*[0] * 10, 5, *[0] * days).level() for days in (0, 5, 20, 100)]
    assert levels[0] > 3 * quiet
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] < 1.5 * quiet


def test_more_reports_earn_more_and_never_more_than_the_rate() -> None:
    levels = [after(*[0] * 10, count).level() for count in (0, 1, 3, 10, 40)]
    assert levels == sorted(levels)
    assert levels[-1] <= RATE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_level_is_always_positive_and_never_above_the_rate(reports: list[int], rate: float) -> None:
    memory = after(*reports, rate=rate)
    assert 0 < memory.level() <= rate


def test_what_goes_on_in_a_series_already_under_way_earns_nothing() -> None:
    p = np.concatenate([np.full(5, 1e-12), NOTHING[5:]])
    earning, further = Memory(RATE), Memory(RATE)
    q = earning.judge(p)
    np.testing.assert_array_equal(further.judge(p, np.arange(50) < 5), q)
    assert (earning.reports, further.reports) == ([5], [0])
    assert further.level() < earning.level()


def test_q_is_benjamini_and_hochberg_at_the_level_of_the_day() -> None:
    rng = np.random.default_rng(1)
    memory = after(0, 3, 0)
    p = rng.beta(0.3, 1, size=200)
    level = memory.level()
    q = memory.judge(p)
    np.testing.assert_array_equal(q <= RATE, stats.false_discovery_control(p) <= level)
    assert memory.levels[-1] == level


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.lists(st.integers(0, 10), max_size=5))
def test_q_grows_with_p_and_is_never_below_it(p: list[float], reports: list[int]) -> None:
    values = np.array(p)
    q = after(*reports).judge(values)
    order = np.argsort(values)
    assert (np.diff(q[order]) >= 0).all()
    assert ((q >= values - 1e-12) & (q <= 1)).all()


def test_series_not_judged_have_no_q_and_do_not_count() -> None:
    p = np.array([1e-6, np.nan, 0.5, np.nan])
    q = Memory(RATE).judge(p)
    assert np.isnan(q).tolist() == [False, True, False, True]
    np.testing.assert_array_equal(q[[0, 2]], Memory(RATE).judge(p[[0, 2]]))
    memory = Memory(RATE)
    assert np.isnan(memory.judge(np.full(3, np.nan))).all()
    assert memory.judge(np.zeros(0)).shape == (0,)
    assert memory.reports == [0, 0], "a day without any series is a day"


def test_the_far_past_is_forgotten() -> None:
    memory = after(*[0] * (FORGOTTEN + 20))
    assert len(memory.levels) == len(memory.reports) == FORGOTTEN


def simulate(share: float, rate: float, seed: int, days: int = 400, series: int = 100) -> tuple[float, float, float]:
    """(false among all reports, days with a false report, power) over days of which so many series' have shifted."""
    rng = np.random.default_rng(seed)
    memory = Memory(rate)
    false = reports = found = true = wrong_days = 0
    for _ in range(days):
        shifted = rng.random(series) < share
        p = 2 * stats.norm.sf(np.abs(rng.normal(np.where(shifted, 4.5, 0.0))))
        told = memory.judge(p) <= rate
        false += int((told & ~shifted).sum())
        reports += int(told.sum())
        found += int((told & shifted).sum())
        true += int(shifted.sum())
        wrong_days += bool((told & ~shifted).any())
    return false / max(reports, 1), wrong_days / days, found / max(true, 1)


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.2])
def test_the_share_of_false_reports_is_what_was_accepted(share: float) -> None:
    runs = np.array([simulate(share, RATE, seed) for seed in range(8 if share < 0.01 else 2)])
    false, _, power = runs.mean(axis=0)
    assert false <= 1.25 * RATE, "rare shifts earn little: 6.1 % over forty such runs"
    assert power > 0.5, "a rule that reports nothing has no false reports"


def test_where_nothing_ever_happens_false_reports_are_rare() -> None:
    runs = np.array([simulate(0.0, RATE, seed, days=1_000) for seed in range(2)])
    assert runs[:, 1].mean() <= 2 * RATE * (1 - DECAY), "days with one, by the level of quiet days"


def test_a_wild_day_does_not_starve_the_next() -> None:
    wild = after(*[0] * 20, 40)
    assert wild.level() >= after(*[0] * 20).level()
