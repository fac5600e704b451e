"""Columns of Arrow tables as the arrays that estimates compute with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array

Codes = NDArray[np.int64]


def numbers(rows: pa.Table, name: str) -> Array:
    """A column as floats; null is NaN, true is 1."""
    found: Array = rows[name].cast(pa.float64()).to_numpy()
    return found


def coded(values: pa.ChunkedArray) -> tuple[Codes, pa.Array]:
    """(N,) codes from 0 of values, and the values that they stand for, in their order; null is one of them, the last.

    The same whatever order the rows come in.
    """
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    order = pc.sort_indices(encoded.dictionary)
    rank = np.argsort(order.to_numpy())
    return rank[encoded.indices.to_numpy()].astype(np.int64), encoded.dictionary.take(order)


def codes(rows: pa.Table, *names: str) -> Codes:
    """(N,) codes from 0 of the combinations of columns' values that there are, in their order."""
    code = np.zeros(rows.num_rows, np.int64)
    for name in names:
        own, values = coded(rows[name])
        code = code * len(values) + own
    found: Codes = np.unique(code, return_inverse=True)[1]
    return found
