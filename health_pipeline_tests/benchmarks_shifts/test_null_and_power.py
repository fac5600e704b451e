"""Small versions of the studies under benchmarks/, and what the studies rest on: their panels and their scoring."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import panels
from benchmarks.methods import OURS, Reports
from benchmarks.null import count
from benchmarks.power import score

LATE = panels.DAYS - 60  # first judged day of the small versions


def test_noise_with_rhythm_overdispersion_and_memory_is_hardly_ever_reported() -> None:
    made = panels.null(panels.NULLS["counts: and AR(1)"], 200)
    found = count(OURS, made, first=LATE)
    assert found.tested == 200 * (panels.DAYS - LATE)
    assert found.reports <= 3


def test_days_that_a_cohort_shares_are_not_reported_when_the_cohorts_are_told() -> None:
    made = panels.null(panels.NULLS["rates: and shared campaigns"], 200)
    told, not_told = count(OURS, made, cohorts=True, first=LATE + 36), count(OURS, made, first=LATE + 36)
    assert told.reports <= 3
    assert not_told.reports > told.reports


def test_half_as_much_again_of_a_hundred_a_day_is_found_within_a_week_and_little_else() -> None:
    made = panels.planted(
        dataclasses.replace(panels.NULLS["counts: and AR(1)"], mean=100.0), 150, seed=5,
        shifts=(panels.Planted("level", 0.5),), onsets=(LATE + 20, LATE + 40),
    )  # fmt: skip
    scored = score(made, OURS.judge(made.panel, LATE), 150)
    assert np.mean(scored.delay < 7) >= 0.8
    assert np.mean(scored.delay < 14) >= 0.9
    assert (~scored.right).sum() <= 2
    first = scored.first[scored.first >= 0]
    onset = scored.truth.onset[scored.first >= 0]
    found = scored.reports
    assert np.mean((found.onset_low[first] <= onset) & (onset <= found.onset_high[first])) >= 0.8
    assert np.mean((found.low[first] <= 0.5) & (found.high[first] >= 0.5)) >= 0.8


def test_a_planted_shift_is_there_from_its_onset_on() -> None:
    shifts = (panels.Planted("level", 1.0), panels.Planted("spike", 1.0), panels.Planted("slope", 0.02))
    for rates in (False, True):
        recipe = dataclasses.replace(panels.PLAIN, rates=rates, mean=1000.0)
        made = panels.planted(recipe, 60, share=0.5, shifts=shifts)
        assert len(made.truth.row) == 30
        level = made.panel.numerator / made.panel.denominator
        for row, onset, which, change in zip(
            made.truth.row, made.truth.onset, made.truth.planted, made.truth.change, strict=True
        ):
            before, days = level[row, :onset].mean(), np.arange(panels.DAYS - onset)
            after = level[row, onset:] / before - 1.0
            if shifts[which].kind == "level":
                assert after.mean() == pytest.approx(change, abs=0.1)
            elif shifts[which].kind == "spike":
                assert after[0] == pytest.approx(change, abs=0.25)
                assert after[1:].mean() == pytest.approx(0.0, abs=0.1)
            else:
                assert np.polyfit(days[:10], np.log1p(after[:10]), 1)[0] == pytest.approx(np.log1p(0.02), abs=0.015)


def test_plain_noise_has_the_variance_of_its_law() -> None:
    poisson = panels.null(dataclasses.replace(panels.PLAIN, mean=50.0), 400).panel
    dispersion = poisson.numerator.var(axis=1, ddof=1) / poisson.numerator.mean(axis=1)
    assert dispersion.mean() == pytest.approx(1.0, abs=0.02)
    binomial = panels.null(dataclasses.replace(panels.PLAIN, rates=True, mean=50.0), 400).panel
    n = binomial.denominator
    share = (binomial.numerator.sum(axis=1) / n.sum(axis=1))[:, None]
    z = (binomial.numerator - n * share) / np.sqrt(n * share * (1 - share))
    assert (z**2).mean() == pytest.approx(1.0, abs=0.02)


def test_reports_are_right_only_after_the_onset_in_its_direction_and_near_a_spike() -> None:
    shifts = (panels.Planted("level", -0.3), panels.Planted("spike", 1.0))
    truth = panels.Truth(
        row=np.array([0, 1]), onset=np.array([100, 100]), planted=np.array([0, 1]),
        effect=np.log1p([-0.3, 1.0]), change=np.array([-0.3, 1.0]),
    )  # fmt: skip
    made = dataclasses.replace(panels.null(panels.PLAIN, 3), truth=truth, shifts=shifts)
    column = np.array([90, 100, 105, 104, 100, 102, 103, 101])
    nothing = np.full(len(column), np.nan)
    reports = Reports(
        row=np.array([0, 0, 0, 0, 1, 1, 1, 2]), column=column, sign=np.array([-1, 1, -1, -1, -1, 1, 1, 1]),
        onset=column.astype(float), onset_low=nothing, onset_high=nothing, change=nothing, low=nothing, high=nothing,
        later=np.full((3, len(column)), np.nan), alarmed=np.zeros((3, 80), dtype=np.bool_), tested=240,
    )  # fmt: skip
    scored = score(made, reports, 3)
    assert scored.right.tolist() == [False, False, True, True, False, True, False, False]
    assert scored.delay.tolist() == [4.0, 2.0]
    assert scored.first.tolist() == [3, 5]
    assert scored.alone.tolist() == [False] * 7 + [True]
