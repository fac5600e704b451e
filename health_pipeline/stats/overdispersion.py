"""How much more than their sampling counts vary, learned from many of them at once.

Robust throughout: some of the counts moved for a reason, and are not to be taken for noise.
"""

from __future__ import annotations

import numpy as np

from health_pipeline.stats.arrays import Array


def overdispersion(mean: Array, observed: Array) -> tuple[float, float]:
    """φ and σ² of counts whose variance is φ E + σ² E², from how their squared residuals grow with what is expected.

    Args:
        mean: E, of each count; positive.
        observed: the counts.
    """
    if not len(mean):
        return 1.0, 0.0
    squares = (observed - mean) ** 2 / mean
    order = np.argsort(mean, kind="stable")
    x, y, weight = [], [], []
    for rows in np.array_split(order, max(1, min(20, len(order) // 40))):
        typical = float(mean[rows].mean())
        x.append(typical)
        if typical >= 5.0:
            y.append(float(np.median(squares[rows])) / 0.4549)
        else:
            y.append(float(np.minimum(squares[rows], 16.0).mean()))
        weight.append(len(rows))
    return _line(np.array(x), np.array(y), np.array(weight, dtype=float))


def _line(x: Array, y: Array, weight: Array) -> tuple[float, float]:
    """Weighted line y = φ + σ² x with φ ≥ 0 and σ² ≥ 0; weights fall with the square of the fit."""
    phi, slope = float(np.average(y, weights=weight)), 0.0
    for _ in range(8):
        w = weight / np.maximum(phi + slope * x, 1e-9) ** 2
        mx, my = float(np.average(x, weights=w)), float(np.average(y, weights=w))
        vx = float(np.average((x - mx) ** 2, weights=w))
        slope = float(np.average((x - mx) * (y - my), weights=w)) / vx if vx > 0 else 0.0
        phi = my - slope * mx
        if phi < 0.0:
            phi, slope = 0.0, float(np.average(x * y, weights=w)) / float(np.average(x**2, weights=w))
        if slope < 0.0:
            phi, slope = my, 0.0
    return phi, slope


def excess_variance(square: Array, sampling: Array) -> float:
    """Variance v that makes square / (sampling + v) as large as χ² with one degree, cut at 4; 0 if none is needed.

    Args:
        square: squared deviations; ``inf`` counts as one that is far out.
        sampling: variance of each by sampling alone.
    """
    usual = 0.9205  # mean of min(z², 4) of a normal z

    def lacking(v: float) -> float:
        return float(np.minimum(square / (sampling + v), 4.0).mean()) - usual

    if lacking(0.0) <= 0:
        return 0.0
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lacking(middle) > 0 else (low, middle)
    return high
