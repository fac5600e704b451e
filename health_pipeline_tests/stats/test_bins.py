"""Histograms with logarithmic bins: they merge in any order, and tell a quantile within the stated error."""

from __future__ import annotations

from random import Random

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.stats.bins import OPEN, RELATIVE_ERROR, ZERO, bin_sql, quantile, quantiles

ENGINE = duckdb.connect()
values = st.floats(1e-6, 1e9)
levels = st.sampled_from([0.1, 0.5, 0.9, 0.99])


def histogram(numbers: list[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """Bins and counts as the cube's SQL makes them."""
    ENGINE.register("t", pa.table({"x": pa.array(numbers, pa.float64())}))
    rows = ENGINE.execute(f"SELECT {bin_sql('x')} AS bin, count(*) FROM t GROUP BY 1 ORDER BY 1").fetchall()
    return np.array([r[0] for r in rows], np.int64), np.array([float(r[1]) for r in rows])


def true_quantile(numbers: list[float], level: float) -> float:
    """The smallest number that a share ``level`` does not exceed."""
    ordered = sorted(numbers)
    return ordered[max(int(np.ceil(level * len(ordered) - 1e-9)), 1) - 1]


@settings(deadline=None, max_examples=40)
@given(st.lists(values, min_size=1, max_size=60), levels)
def test_a_quantile_is_within_the_stated_error(numbers: list[float], level: float) -> None:
    told = quantile(*histogram(numbers), level)
    true = true_quantile(numbers, level)
    assert abs(told.value - true) <= RELATIVE_ERROR * true * (1 + 1e-9)
    assert told.low * (1 - 1e-9) <= true <= told.high * (1 + 1e-9)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(values, min_size=1, max_size=10), min_size=2, max_size=5), levels, st.randoms())
def test_the_order_in_which_histograms_merge_does_not_matter(
    parts: list[list[float]], level: float, order: Random
) -> None:
    whole = quantile(*histogram([x for part in parts for x in part]), level)
    order.shuffle(parts)
    held = [histogram(part) for part in parts]
    merged = quantile(np.concatenate([b for b, _ in held]), np.concatenate([c for _, c in held]), level)
    assert tuple(merged) == pytest.approx(tuple(whole))


def test_what_is_open_is_larger_than_everything_else_and_zero_is_told_exactly() -> None:
    assert quantile(*histogram([3.0, 3.0, None]), 0.5).value == pytest.approx(3.0, rel=RELATIVE_ERROR)
    assert quantile(*histogram([3.0, None, None]), 0.5).value == np.inf
    assert quantile(*histogram([0.0, 0.0, 5.0]), 0.5).value == 0.0
    assert histogram([0.0, -1.0, None])[0].tolist() == [ZERO, OPEN]


def test_many_series_are_told_at_once_and_an_empty_one_has_no_quantile() -> None:
    bins, counts = histogram([1.0, 10.0, 100.0])
    told = quantiles(np.repeat([2, 0], 3), np.tile(bins, 2), np.tile(counts, 2), 0.5, 3)
    assert told[[0, 2]] == pytest.approx([10.0, 10.0], rel=RELATIVE_ERROR)
    assert np.isnan(told[1])


def test_a_quantile_moves_smoothly_when_a_distribution_does() -> None:
    """Fine enough to see a change of one percent: a told value does not jump from bin to bin."""
    rng = np.random.default_rng(3)
    base = rng.lognormal(3, 1, 4_000)
    told = [quantile(*histogram((base * factor).tolist()), 0.5).value for factor in (1.0, 1.01, 1.02)]
    assert told[1] / told[0] == pytest.approx(1.01, abs=0.005)
    assert told[2] / told[0] == pytest.approx(1.02, abs=0.005)
