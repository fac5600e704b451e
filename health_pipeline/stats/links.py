"""From a series' natural scale to the one on which its changes add up, and back: a generalised linear model's link.

:class:`.Panel` has both ways for whole panels; here is what the detector needs of one series, or of one day.
"""

from __future__ import annotations

import numpy as np

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.panel import Panel, Scale


def natural(scale: Scale, values: Array) -> Array:
    """As :meth:`.Panel.natural`, of values of one series."""
    power = np.exp(np.minimum(values, 700.0))
    if scale == Scale.PROPORTION:
        return power / (1.0 + power)
    return np.maximum(power - 1.0, 0.0) if scale == Scale.MEAN else power


def moved(scale: Scale, value: float, by: float) -> float:
    """A natural value moved on its additive scale."""
    by = min(max(by, -50.0), 50.0)
    if scale == Scale.PROPORTION:
        value = min(value, 1.0 - 1e-9)
        odds = value / (1.0 - value) * np.exp(by)
        return float(odds / (1.0 + odds))
    if scale == Scale.MEAN:
        return max(0.0, float(np.expm1(np.log1p(value) + by)))
    return float(value * np.exp(by))


def residuals(panel: Panel, column: int, eta: Array) -> tuple[Array, Array]:
    """How far every series is from what was expected of it on a day.

    Args:
        column: of the panel.
        eta: N; expected, on the additive scale.

    Returns:
        N each: observed less expected on the additive scale, linearised; and its sampling variance (0 of a mean).
    """
    k, n, scale = panel.numerator[:, column], panel.denominator[:, column], panel.scale
    eta = np.clip(eta, -30.0, 40.0)
    with np.errstate(all="ignore"):
        mu = np.exp(eta)
        observed = np.log(k + 0.5)
        variance = 1.0 / mu
        away = (k - mu) / mu
        rows = scale == Scale.RATE
        variance[rows] = 1.0 / (mu[rows] * n[rows])
        away[rows] = k[rows] / (mu[rows] * n[rows]) - 1.0
        observed[rows] -= np.log(n[rows])
        rows = scale == Scale.PROPORTION
        share = mu[rows] / (1.0 + mu[rows])
        variance[rows] = 1.0 / (n[rows] * share * (1.0 - share))
        away[rows] = (k[rows] - n[rows] * share) * variance[rows]
        observed[rows] -= np.log(np.maximum(n[rows] - k[rows], 0.0) + 0.5)
        rows = scale == Scale.MEAN
        observed[rows] = np.log1p(k[rows] / n[rows])
        away[rows] = observed[rows] - eta[rows]
        variance[rows] = 0.0
    # One outlier must not stand for a common effect: the logarithm is nearer to what it is.
    far = np.abs(away) > 0.5
    away = np.where(far, observed - eta, away)
    return away, variance
