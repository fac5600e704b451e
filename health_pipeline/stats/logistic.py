"""Logistic regression with a Gaussian prior, its posterior by Laplace's method, and labels that may be wrong.

Newton's method on the log posterior; each step is halved until it does not lead downhill. Labels with sensitivity s and
specificity c have P(y = 1) = (1 - c) + (s + c - 1) σ(η) instead of σ(η): the coefficients then speak of the truth, not
of the labels (L. S. Magder and J. P. Hughes: Logistic regression when the outcome is measured with uncertainty,
*American Journal of Epidemiology* 146, 1997). The step is Fisher's then, which is Newton's where labels are exact.

Means of probabilities whose log odds are normal are by Gauss-Hermite quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special

from health_pipeline.stats.arrays import Array

MOST_STEPS = 100
CLOSE = 1e-9  # change of the log posterior, relative to its size, that ends the search
LEAST = 1e-12  # no probability of a label is smaller
NODES, SHARES = np.polynomial.hermite_e.hermegauss(31)
SHARES = SHARES / SHARES.sum()


def mean_probability(log_odds: Array, error: Array) -> Array:
    """(N,) mean probability where log odds are normal with standard deviation ``error``."""
    found: Array = special.expit(log_odds[:, None] + error[:, None] * NODES) @ SHARES
    return found


def centre(probability: Array, error: Array) -> Array:
    """(N,) mean of normal log odds with standard deviation ``error`` whose mean probability is ``probability``."""
    wanted = special.logit(np.clip(probability, LEAST, 1.0 - LEAST))
    found: Array = wanted.copy()
    for _ in range(20):  # each step corrects by what is missing, in log odds: no step leads too far
        found += wanted - special.logit(np.clip(mean_probability(found, error), LEAST, 1.0 - LEAST))
    return found


@dataclass(frozen=True)
class Logistic:
    """Gaussian posterior of P coefficients.

    Attributes:
        coefficients: (P,) its mean, which is the posterior's mode.
        covariance: (P, P).
        steps: taken until convergence.
    """

    coefficients: Array
    covariance: Array
    steps: int

    def log_odds(self, features: Array, offset: Array | float = 0.0) -> Array:
        """(N,) at the mode; ``features`` is (N, P)."""
        found: Array = features @ self.coefficients + offset
        return found

    def error(self, features: Array) -> Array:
        """(N,) standard deviation of the log odds."""
        variance = np.einsum("np,pq,nq->n", features, self.covariance, features, optimize=True)
        found: Array = np.sqrt(np.maximum(variance, 0.0))
        return found

    def probability(self, features: Array, offset: Array | float = 0.0) -> Array:
        """(N,) posterior mean."""
        return mean_probability(self.log_odds(features, offset), self.error(features))

    def draws(self, count: int, rng: np.random.Generator) -> Array:
        """(count, P) coefficients drawn from the posterior."""
        return rng.multivariate_normal(self.coefficients, self.covariance, size=count, method="cholesky")


def fit(
    features: Array,
    labels: Array,
    *,
    centre: Array,
    spread: Array,
    weights: Array | float = 1.0,
    offset: Array | float = 0.0,
    sensitivity: Array | float = 1.0,
    specificity: Array | float = 1.0,
    start: Array | None = None,
) -> Logistic:
    """Fit coefficients to N labels.

    Args:
        features: (N, P); a column of ones for an intercept.
        labels: (N,) in [0, 1].
        centre: (P,) mean of the prior, what is believed before there are labels.
        spread: (P,) standard deviation of the prior, positive.
        weights: (N,) how many labels each stands for.
        offset: (N,) log odds that are known.
        sensitivity: (N,) P(label is 1 | truth is 1).
        specificity: (N,) P(label is 0 | truth is 0).
        start: (P,) where the search starts, for example a former fit's coefficients; else at ``centre``.

    Raises:
        ValueError: lengths that do not fit; labels out of [0, 1]; labels no better than a coin.
    """
    n, p = features.shape
    y, w, base = (np.broadcast_to(np.asarray(x, dtype=float), (n,)) for x in (labels, weights, offset))
    false = 1.0 - np.broadcast_to(np.asarray(specificity, dtype=float), (n,))
    span = np.broadcast_to(np.asarray(sensitivity, dtype=float), (n,)) - false
    if centre.shape != (p,) or spread.shape != (p,):
        raise ValueError(f"the prior needs {p} means and standard deviations")
    if n and (y.min() < 0 or y.max() > 1):
        raise ValueError("labels lie in [0, 1]")
    if n and span.min() <= 0:
        raise ValueError("sensitivity and specificity must sum to more than 1")
    precision = 1.0 / spread**2

    def posterior(beta: Array) -> tuple[float, Array, Array]:
        truth = special.expit(features @ beta + base)
        label = np.clip(false + span * truth, LEAST, 1.0 - LEAST)
        value = np.sum(w * (special.xlogy(y, label) + special.xlog1py(1.0 - y, -label)))
        return float(value - 0.5 * np.sum(precision * (beta - centre) ** 2)), truth, label

    beta = np.array(centre if start is None else start, dtype=float)
    value, truth, label = posterior(beta)
    for step in range(1, MOST_STEPS + 1):  # noqa: B007
        slope = span * truth * (1.0 - truth)
        variance = label * (1.0 - label)
        gradient = features.T @ (w * (y - label) * slope / variance) - precision * (beta - centre)
        information = (features.T * (w * slope**2 / variance)) @ features + np.diag(precision)
        move = linalg.solve(information, gradient, assume_a="pos")
        size = 1.0
        while True:
            after, truth, label = posterior(beta + size * move)
            if after >= value or size < 1e-6:
                break
            size /= 2.0
        gain = after - value
        if gain >= 0:
            beta, value = beta + size * move, after
        if gain <= CLOSE * (1.0 + abs(value)):
            break
    # The curvature at the end, not that of the last step.
    _, truth, label = posterior(beta)
    slope = span * truth * (1.0 - truth)
    information = (features.T * (w * slope**2 / (label * (1.0 - label)))) @ features + np.diag(precision)
    return Logistic(beta, linalg.inv(information), step)
