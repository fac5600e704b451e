"""Whether probabilities are right: of what was given 20 %, a fifth should happen.

* **Reliability table**: bins of predictions, mean prediction beside the share observed with its interval (A. H. Murphy
  and R. L. Winkler, *Applied Statistics* 26, 1977). The **expected calibration error** is the mean distance of both
  (M. P. Naeini et al., AAAI 2015); it is above 0 for right probabilities too, so what chance gives stands beside it.
* **Cox's line**: logit P(y) = intercept + slope x logit p (D. R. Cox, *Biometrika* 45, 1958). Right probabilities have
  intercept 0 and slope 1. Slope below 1: too sure of themselves. Both are tested at once by their scores, whose
  variance follows from the probabilities under test: it holds with few events.

Labels may have weights, 1 / chance of being labelled: the figures are then those of all that might have been.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from health_pipeline.stats import hajek, logistic
from health_pipeline.stats.arrays import Array

SMALLEST = 1e-6
"""Probabilities are kept so far from 0 and 1: a log odds of infinity could never be wrong."""
WIDE = 10.0  # prior of Cox's line: it has a maximum even where the labels are separated


@dataclass(frozen=True)
class Reliability:
    """One value per bin, in order of prediction; bins without labels are left out.

    Attributes:
        labels: (bins,) number of labels.
        share: of the weight.
        predicted: mean prediction.
        observed: share of positives.
        low, high: 95 % interval of ``observed``.
        error: expected calibration error, over all bins.
        error_by_chance: what it would be on average if the predictions were right.
    """

    labels: NDArray[np.int64]
    share: Array
    predicted: Array
    observed: Array
    low: Array
    high: Array
    error: float
    error_by_chance: float


def reliability(
    predicted: ArrayLike, observed: ArrayLike, weight: ArrayLike | None = None, bins: int = 10
) -> Reliability:
    """The table, with bins of about equal weight.

    Equal predictions share a bin, so there may be fewer bins than asked for.

    Args:
        predicted: (n,) probabilities.
        observed: (n,) whether it happened.
        weight: (n,) above 0; all alike when not given.

    Raises:
        ValueError: no labels, other lengths, or a prediction that is no probability.
    """
    p, y, w = _checked(predicted, observed, weight)
    order = np.argsort(p, kind="stable")
    middle = (np.cumsum(w[order]) - 0.5 * w[order]) / w.sum()
    place = np.empty(len(p), dtype=np.int64)
    place[order] = np.minimum((middle * bins).astype(np.int64), bins - 1)
    same = np.unique(p, return_inverse=True)[1].ravel()
    first = np.full(same.max() + 1, bins, dtype=np.int64)
    np.minimum.at(first, same, place)
    used, cell = np.unique(first[same], return_inverse=True)
    sums = hajek.Sums.of(1.0 / w, y, cell.ravel(), len(used))
    kish = sums.kish
    low, high = _jeffreys(sums.share, kish)
    share = sums.weight / sums.weight.sum()
    mean = np.bincount(cell.ravel(), w * p, len(used)) / sums.weight
    spread = np.sqrt(np.bincount(cell.ravel(), w * w * p * (1.0 - p), len(used))) / sums.weight
    return Reliability(
        labels=sums.draws.astype(np.int64), share=share, predicted=mean, observed=sums.share, low=low, high=high,
        error=float(share @ np.abs(sums.share - mean)), error_by_chance=float(share @ spread * np.sqrt(2.0 / np.pi)),
    )  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Cox's line.

    Attributes:
        intercept, slope: of the log odds; 0 and 1 if predictions are right.
        intercept_error, slope_error: standard errors.
        p_value: of predictions being right.
    """

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float
    p_value: float


def line(predicted: ArrayLike, observed: ArrayLike, weight: ArrayLike | None = None) -> Line:
    """Fit and test Cox's line; arguments and errors as :func:`reliability`.

    Of predictions that are all alike only the mean can be tested; the slope is then 1 with an infinite error.
    """
    p, y, w = _checked(predicted, observed, weight)
    w = w / w.mean()
    p = np.clip(p, SMALLEST, 1.0 - SMALLEST)
    odds = special.logit(p)
    steep = np.ptp(odds) > 0
    features, offset = (np.column_stack([np.ones(len(p)), odds]), 0.0 * p) if steep else (np.ones((len(p), 1)), odds)
    size = features.shape[1]
    centre = np.array([0.0, 1.0])[:size]
    fitted = logistic.fit(features, y, centre=centre, spread=np.full(size, WIDE), weights=w, offset=offset)
    residual = y - special.expit(fitted.log_odds(features, offset))
    meat = (features * (w * residual)[:, None] ** 2).T @ features
    errors = np.append(np.sqrt(np.diag(fitted.covariance @ meat @ fitted.covariance)), np.inf)
    coefficients = np.append(fitted.coefficients, 1.0)
    score = features.T @ (w * (y - p))
    variance = (features * (w * w * p * (1.0 - p))[:, None]).T @ features
    p_value = stats.chi2.sf(score @ np.linalg.solve(variance, score), size)
    return Line(*(float(v) for v in (*coefficients[:2], *errors[:2], p_value)))


def _checked(predicted: ArrayLike, observed: ArrayLike, weight: ArrayLike | None) -> tuple[Array, Array, Array]:
    p, y = np.asarray(predicted, dtype=float), np.asarray(observed, dtype=float)
    w = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=float)
    if not len(p) or not len(p) == len(y) == len(w):
        raise ValueError(
            f"{len(p)} predictions, {len(y)} outcomes and {len(w)} weights: as many of each, and at least 1"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a prediction is no probability")
    if not (w > 0).all():
        raise ValueError("weights must be above 0")
    return p, y, w


def _jeffreys(share: Array, draws: Array) -> tuple[Array, Array]:
    a, b = share * draws + 0.5, (1.0 - share) * draws + 0.5
    low, high = special.betaincinv(a, b, 0.025), special.betaincinv(a, b, 0.975)
    # Of hardly any draws the prior's middle is beyond the share itself.
    return np.minimum(np.where(share > 0.0, low, 0.0), share), np.maximum(np.where(share < 1.0, high, 1.0), share)
