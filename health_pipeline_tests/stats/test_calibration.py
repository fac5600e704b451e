"""Probabilities that are right pass, those that are not are told how they are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.calibration import line, reliability


def predictions(seed: int, size: int = 600) -> tuple[np.random.Generator, Array]:
    rng = np.random.default_rng(seed)
    return rng, np.clip(rng.beta(0.4, 4.0, size), 1e-6, 1.0)


def test_right_probabilities_are_called_wrong_as_rarely_as_said() -> None:
    p_values, inside = [], []
    for seed in range(400):
        rng, p = predictions(seed)
        y = rng.random(len(p)) < p
        p_values.append(line(p, y).p_value)
        table = reliability(p, y)
        inside.append(np.mean((table.low <= table.predicted) & (table.predicted <= table.high)))
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.08
    assert 0.93 <= np.mean(inside) <= 0.99


def test_it_holds_with_few_events() -> None:
    p_values = []
    for seed in range(400):
        rng = np.random.default_rng([seed, 1])
        p = special.expit(rng.normal(-4.5, 1.0, 500))
        p_values.append(line(p, rng.random(500) < p).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.08


def test_weights_undo_how_labels_were_chosen() -> None:
    """Positives are labelled five times as often; the figures are those of all."""
    rng, p = predictions(1, 40_000)
    y = rng.random(len(p)) < p
    chance = np.where(y, 0.5, 0.1)
    kept = rng.random(len(p)) < chance
    naive, weighted = line(p[kept], y[kept]), line(p[kept], y[kept], 1 / chance[kept])
    assert naive.intercept > 1.0
    assert abs(weighted.intercept) < 3 * weighted.intercept_error
    assert abs(weighted.slope - 1) < 3 * weighted.slope_error
    assert reliability(p[kept], y[kept], 1 / chance[kept]).error < 0.02 < reliability(p[kept], y[kept]).error


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 0.5), (-0.5, 1.0), (0.4, 1.5)])
def test_the_line_tells_how_they_are_wrong(intercept: float, slope: float) -> None:
    rng, p = predictions(2, 4_000)
    y = rng.random(len(p)) < special.expit(intercept + slope * special.logit(np.minimum(p, 1 - 1e-6)))
    found = line(p, y)
    assert found.p_value < 1e-4
    assert found.slope == pytest.approx(slope, abs=3 * found.slope_error)
    assert found.intercept == pytest.approx(intercept, abs=3 * found.intercept_error)


def test_the_error_is_that_of_chance_if_right_and_above_it_if_not() -> None:
    rng, p = predictions(3, 5_000)
    right = [reliability(p, rng.random(len(p)) < p) for _ in range(30)]
    wrong = reliability(p, rng.random(len(p)) < p**2)
    assert np.mean([t.error for t in right]) == pytest.approx(right[0].error_by_chance, rel=0.25)
    assert wrong.error > 4 * wrong.error_by_chance


def test_equal_predictions_share_a_bin_and_only_their_mean_is_tested() -> None:
    y = np.arange(200) % 4 == 0
    table, found = reliability(np.full(200, 0.25), y), line(np.full(200, 0.25), y)
    assert table.labels.tolist() == [200]
    assert table.error == pytest.approx(0.0)
    assert found.p_value == pytest.approx(1.0)
    assert (found.slope, found.slope_error) == (1.0, np.inf)


def test_outcomes_that_the_predictions_separate_have_a_line_all_the_same() -> None:
    p = np.linspace(0.05, 0.95, 60)
    found = line(p, p > 0.5)
    assert np.isfinite([found.intercept, found.slope, found.p_value]).all()
    assert found.slope > 2


@pytest.mark.parametrize(
    ("p", "y", "w", "why"),
    [([], [], None, "at least 1"), ([0.5], [1, 0], None, "as many"), ([1.5], [1], None, "no probability"),
     ([float("nan")], [1], None, "no probability"), ([0.5], [1], [0.0], "above 0")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(p: list[float], y: list[int], w: list[float] | None, why: str) -> None:
    for judge in (line, reliability):
        with pytest.raises(ValueError, match=why):
            judge(p, y, w)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.01, 100)), min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_bins_are_a_partition_in_order(rows: list[tuple[float, bool, float]]) -> None:
    p, y, w = (np.array(column) for column in zip(*rows, strict=True))
    table = reliability(p, y, w)
    assert table.labels.sum() == len(rows)
    assert table.share.sum() == pytest.approx(1.0)
    assert (np.diff(table.predicted) > 0).all()
    assert float(table.share @ table.observed) == pytest.approx(float(w @ y / w.sum()), abs=1e-9)
    assert (table.low <= table.observed + 1e-9).all()
    assert (table.observed <= table.high + 1e-9).all()
