"""Orders of review: the program's, those that people use, and those of oracles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.risk_ranking.mornings import Morning
from health_pipeline.risks import review
from health_pipeline.stats.arrays import Array

RATE_VIEWS, COUNT_VIEWS = "raw rate × views", "raw count × views"
RIVALS = ("raw count", "raw rate", "Wilson lower bound", "most reported", "most viewed", "newest first")
STRONGER = (COUNT_VIEWS, RATE_VIEWS, "Wilson lower bound × views")
MODEL, ORACLE, CLAIRVOYANT, FORECAST = "the program", "oracle", "clairvoyant", "perfect past"
PAST = "perfect past, the program's views"


def orders(m: Morning, harm: Array) -> dict[str, Array]:
    """(N,) values by which each order ranks creators: the highest first.

    Args:
        harm: (severities,) harm of an expected violating view.
    """
    c = m.columns
    minutes = np.maximum(c["minutes"], 1.0)
    rate = c["violations"] / np.maximum(c["posts"], 1.0)
    plain = c["probability"] * c["exposure"] * c["severity"]
    true_chance = _over((m.later + m.alive).sum(axis=1), c["true views"])
    true_severity = _over((m.later + m.alive) @ harm, (m.later + m.alive).sum(axis=1))
    past = _over((m.forecast + m.alive) @ harm, c["true views"])
    wilson = lower_bound(c["violations"], c["posts"])
    return {
        MODEL: c["harm"] / minutes,
        "without repeat and velocity": plain / minutes,
        "without repeat": plain * (1 + c["velocity"]) / minutes,
        "without velocity": plain * (1 + c["repeat"]) / minutes,
        "raw count": c["violations"],
        "raw rate": rate,
        "Wilson lower bound": wilson,
        "most reported": c["reports"],
        "most viewed": c["views_7d"],
        "newest first": c["newest"],
        COUNT_VIEWS: c["violations"] * c["views_7d"] / minutes,
        RATE_VIEWS: rate * c["views_28d"] / minutes,
        "Wilson lower bound × views": wilson * c["views_28d"] / minutes,
        "true probability": true_chance * c["exposure"] * c["severity"] / minutes,
        "true views": c["probability"] * c["true views"] * c["severity"] / minutes,
        "true severity": c["probability"] * c["exposure"] * true_severity / minutes,
        FORECAST: (m.forecast + m.alive) @ harm / minutes,
        PAST: past * c["exposure"] / minutes,
        ORACLE: (m.later + m.alive) @ harm / minutes,
        CLAIRVOYANT: c["real"] / minutes,
    }


def content_orders(m: Morning) -> dict[str, Array]:
    """The same for undecided contents."""
    c = m.contents
    plain = c["probability"] * c["views_to_come"] * c["severity"]
    return {
        MODEL: plain * (1 + np.minimum(c["violations"] / review.SIX_TIMES, 1.0) + c["velocity"]),
        "without repeat and velocity": plain,
        "model score": c["model_score"],
        "most reported": c["reports"],
        "most viewed": c["views"],
        "newest first": c["newest"],
        "model score × views": c["model_score"] * c["views"],
        "creator's raw count": c["violations"],
        ORACLE: c["expected"],
        CLAIRVOYANT: c["real"],
    }


def _over(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, where=whole > 0, out=np.zeros_like(whole))


def lower_bound(hits: Array, trials: Array, z: float = 1.96) -> Array:
    """Lower end of Wilson's interval (*Journal of the American Statistical Association* 22, 1927)."""
    n = np.maximum(trials, 1.0)
    p = np.minimum(hits / n, 1.0)
    return np.asarray((p + z * z / (2 * n) - z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n))


def taken(value: Array, minutes: Array, capacity: float) -> NDArray[np.int64]:
    """Cases by value until the minutes are spent; those that no longer fit are passed over. Cases of 0 minutes are none."""
    chosen, shortest = [], minutes[minutes > 0].min(initial=np.inf)
    for i in np.argsort(-value, kind="stable"):
        if 0 < minutes[i] <= capacity:
            chosen.append(int(i))
            capacity -= minutes[i]
        if capacity < shortest:
            break
    return np.array(chosen, np.int64)
