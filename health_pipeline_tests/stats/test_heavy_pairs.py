"""Pairs of rows that reach a floor are exactly those of the full product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from health_pipeline.stats.heavy_pairs import heavy_pairs


def skewed(rows: int, columns: int, seed: int) -> sparse.csr_array:
    """Some columns that nearly every row has, and many that hardly any has; popular ones weigh little."""
    rng = np.random.default_rng(seed)
    popularity = rng.beta(0.3, 1.5, columns)
    there = rng.random((rows, columns)) < popularity
    return sparse.csr_array(there * rng.gamma(1.0, 1.0, (rows, columns)) * (1.0 - popularity))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 10_000), st.floats(0.01, 20.0))
def test_no_pair_is_lost_and_none_is_made_up(rows: int, columns: int, seed: int, floor: float) -> None:
    matrix, others = skewed(rows, columns, seed), skewed(30, columns, seed + 1)
    whole = np.triu((matrix @ matrix.T).toarray(), 1)
    one, other, product = heavy_pairs(matrix, floor)
    assert sorted(zip(one, other, strict=True)) == sorted(zip(*np.nonzero(whole >= floor), strict=True))
    assert np.allclose(whole[one, other], product)

    whole = (matrix @ others.T).toarray()
    one, other, product = heavy_pairs(matrix, floor, others)
    assert sorted(zip(one, other, strict=True)) == sorted(zip(*np.nonzero(whole >= floor), strict=True))
    assert np.allclose(whole[one, other], product)


def test_a_floor_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        heavy_pairs(skewed(3, 3, 0), 0.0)
