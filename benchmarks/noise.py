"""Panels of pure noise, of several kinds, for studies of false reports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.rolling import Array

DAYS = 480  # 360 days of past, 120 judged
JUDGED = 120


def autoregressive(innovations: Array, rho: float) -> Array:
    """AR(1) noise from its innovations, along the last axis."""
    out = np.empty_like(innovations)
    out[:, 0] = innovations[:, 0] / np.sqrt(1.0 - rho**2)
    for day in range(1, innovations.shape[1]):
        out[:, day] = rho * out[:, day - 1] + innovations[:, day]
    return out


def weekly(rng: np.random.Generator, series: int, days: int, size: float = 0.15) -> Array:
    """A weekly rhythm of its own for every series, on the log scale."""
    return size * rng.normal(size=(series, 7))[:, np.arange(days) % 7]


def counts(rng: np.random.Generator, log_mean: Array) -> Panel:
    """A panel of Poisson counts around a log mean (series, days)."""
    observed = rng.poisson(np.exp(log_mean)).astype(float)
    return _panel(Scale.COUNT, observed, np.ones_like(observed))


def shares(rng: np.random.Generator, denominator: int, log_odds: Array) -> Panel:
    """A panel of binomial counts out of ``denominator`` around log odds (series, days)."""
    observed = rng.binomial(denominator, 1.0 / (1.0 + np.exp(-log_odds))).astype(float)
    return _panel(Scale.PROPORTION, observed, np.full_like(observed, float(denominator)))


def _panel(scale: Scale, numerator: Array, denominator: Array) -> Panel:
    series, days = numerator.shape
    names = tuple(f"series {i}" for i in range(series))
    calendar = np.datetime64("2024-01-01") + np.arange(days)
    return Panel(names, calendar, np.full(series, scale, dtype=np.int8), numerator, denominator)


def _log_counts(mean: float, sd: float, rho: float, heavy: bool = False, drift: float = 0.0) -> Callable[..., Panel]:
    def make(rng: np.random.Generator, series: int, days: int = DAYS) -> Panel:
        shape = (series, days)
        innovations = (
            sd * np.sqrt(1 - rho**2) * (rng.standard_t(4, shape) / np.sqrt(2) if heavy else rng.normal(size=shape))
        )
        noise = autoregressive(innovations, rho) if rho else innovations
        walk = np.cumsum(drift * rng.normal(size=shape), axis=1) if drift else 0.0
        return counts(rng, np.log(mean) + weekly(rng, series, days) + noise + walk)

    return make


def _log_odds(share: float, denominator: int, sd: float, rho: float) -> Callable[..., Panel]:
    def make(rng: np.random.Generator, series: int, days: int = DAYS) -> Panel:
        noise = autoregressive(sd * np.sqrt(1 - rho**2) * rng.normal(size=(series, days)), rho)
        return shares(rng, denominator, np.log(share / (1 - share)) + weekly(rng, series, days, 0.05) + noise)

    return make


KINDS: dict[str, Callable[..., Panel]] = {
    "counts, mean 3": _log_counts(3, 0.0, 0.0),
    "counts, mean 30": _log_counts(30, 0.0, 0.0),
    "counts, mean 1,000": _log_counts(1000, 0.0, 0.0),
    "counts, mean 1,000, noise 15 %": _log_counts(1000, 0.15, 0.0),
    "counts, mean 1,000, noise 15 %, rho 0.5": _log_counts(1000, 0.15, 0.5),
    "counts, mean 1,000, noise 15 %, rho 0.8": _log_counts(1000, 0.15, 0.8),
    "counts, mean 1,000, noise 15 %, slow drift": _log_counts(1000, 0.15, 0.3, drift=0.01),
    "counts, mean 1,000, heavy tails (t4), rho 0.5": _log_counts(1000, 0.15, 0.5, heavy=True),
    "shares, 2 % of 1,000, rho 0.3": _log_odds(0.02, 1000, 0.1, 0.3),
    "shares, 40 % of 1,000, rho 0.5": _log_odds(0.4, 1000, 0.1, 0.5),
}
