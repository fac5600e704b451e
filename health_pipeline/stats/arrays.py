"""What the numerics are made of: arrays of floats, series by days where they have two axes; NaN is a missing day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ratio(numerator: Array, denominator: Array, otherwise: Array | float) -> Array:
    """Element by element; ``otherwise`` where the denominator is not positive."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), otherwise)


def weighted_median(values: Array, weights: Array) -> float:
    """The smallest of the values up to which half of the weights lie."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
