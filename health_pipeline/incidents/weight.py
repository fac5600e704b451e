"""How much a shift weighs: what the root of an incident and the ranking of risks both go by."""

from __future__ import annotations

import math

from health_pipeline.catalog.model import Metric

LARGEST_DOUBLINGS = 5.0


def doublings(change: float) -> float:
    """Size of a relative change, ``|log2(1 + change)|``, at most ``LARGEST_DOUBLINGS``: 1 for a doubling or halving.

    0 when it is not known.
    """
    if math.isnan(change):
        return 0.0
    return min(LARGEST_DOUBLINGS, abs(math.log2(max(1.0 + change, 2.0**-LARGEST_DOUBLINGS))))


def exposure(excess: float) -> float:
    """``log10(1 + |excess|)`` with the excess in things per day: ten times as many weigh one more."""
    return 0.0 if math.isnan(excess) else math.log10(1.0 + abs(excess))


def confidence(change: float, low: float, high: float, q_value: float) -> float:
    """``(1 - q) x near / size`` within 0..1; ``near`` is the size at the interval's end nearer to no change.

    So size times confidence is what is surely there, not what may be.
    """
    size = doublings(change)
    near = low if change > 0 else high
    sure = doublings(near) if near * change > 0 else 0.0
    return (1.0 - q_value) * min(1.0, sure / size if size else 0.0)


def weight(change: float, low: float, high: float, excess: float, q_value: float) -> float:
    """Size times exposure times confidence."""
    return doublings(change) * exposure(excess) * confidence(change, low, high, q_value)


def harm(metric: Metric, change: float) -> float:
    """1 in the direction the catalog calls bad (or when both are), 0.5 in the other."""
    return 1.0 if metric.bad == "both" or (metric.bad == "up") == (change > 0) else 0.5
