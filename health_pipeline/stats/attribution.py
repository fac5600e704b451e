"""Where a change comes from: exact splits over segments that partition the parent.

The parts add up exactly; every part has an interval. Which few segments explain a change, of all there are, is for
:mod:`.root_causes` to find.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array, ratio

Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimates:
    """Figures of S segments with their 95 % intervals; each S long."""

    value: Array
    low: Array
    high: Array

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, segment: int) -> Estimate:
        return Estimate(float(self.value[segment]), float(self.low[segment]), float(self.high[segment]))


@dataclass(frozen=True)
class Amounts:
    """What S segments had on one side of a comparison: before (or as expected), or now.

    Attributes:
        numerator: S; not negative.
        denominator: S, not negative; ``None`` for a count that is out of nothing.
        numerator_variance: S; sampling variance of the numerator *given the denominator*: of k − r n, which is the
            variance of the segment's ratio times n². ``None``: Poisson, equal to the numerator (where it is 0, what
            the parent's ratio makes likely, at most 1). Zeros: known exactly.
        denominator_variance: S; ``None``: Poisson.
    """

    numerator: Array
    denominator: Array | None = None
    numerator_variance: Array | None = None
    denominator_variance: Array | None = None

    @classmethod
    def poisson(
        cls, numerator: Any, denominator: Any = None, days: float = 1.0, dispersion: tuple[float, float] = (1.0, 1.0)
    ) -> Amounts:
        """Counted events that are a mean over ``days`` days, ``dispersion`` times as variable as Poisson ones.

        Args:
            dispersion: of numerators (given denominators), and of denominators.
        """
        return _counted(numerator, denominator, days, dispersion, binomial=False)

    @classmethod
    def binomial(
        cls, numerator: Any, denominator: Any, days: float = 1.0, dispersion: tuple[float, float] = (1.0, 1.0)
    ) -> Amounts:
        """As :meth:`poisson`, for a numerator that is a part of its denominator.

        Raises:
            ValueError: a numerator is larger than its denominator.
        """
        return _counted(numerator, denominator, days, dispersion, binomial=True)

    @classmethod
    def known(cls, numerator: Any, denominator: Any = None) -> Amounts:
        """Amounts without sampling variance."""
        k = np.asarray(numerator, dtype=float)
        n = None if denominator is None else np.asarray(denominator, dtype=float)
        return cls(k, n, np.zeros_like(k), None if n is None else np.zeros_like(n))

    def checked(self) -> tuple[Array, Array | None, Array, Array | None]:
        """Numerators, denominators and the variances of both, with what is left open filled in.

        Raises:
            ValueError: shapes differ, or an amount is negative or not finite.
        """
        k = np.asarray(self.numerator, dtype=float)
        if k.ndim != 1 or not len(k):
            raise ValueError(f"numerators must be one row of at least one segment, got shape {k.shape}")
        n = None if self.denominator is None else np.asarray(self.denominator, dtype=float)
        vk = _events(k, n) if self.numerator_variance is None else np.asarray(self.numerator_variance, dtype=float)
        vn = n if self.denominator_variance is None else np.asarray(self.denominator_variance, dtype=float)
        for name, values in (
            ("numerator", k),
            ("denominator", n),
            ("numerator variance", vk),
            ("denominator variance", vn),
        ):
            if values is None:
                continue
            if values.shape != k.shape:
                raise ValueError(f"{name}s have shape {values.shape}, numerators {k.shape}")
            if not np.all(np.isfinite(values)) or np.any(values < 0):
                raise ValueError(f"a {name} is negative or not finite")
        return k, n, vk, vn


def _counted(numerator: Any, denominator: Any, days: float, dispersion: tuple[float, float], binomial: bool) -> Amounts:
    if not days > 0 or not all(d >= 0 for d in dispersion):
        raise ValueError(f"days must be positive and dispersions not negative, got {days} and {dispersion}")
    k = np.asarray(numerator, dtype=float)
    n = None if denominator is None else np.asarray(denominator, dtype=float)
    if binomial and (n is None or n.shape != k.shape or np.any(k > n)):
        raise ValueError("a binomial numerator needs a denominator that is no smaller")
    variance = _events(k * days, None if n is None else n * days)
    if binomial and n is not None:
        variance *= 1.0 - ratio(variance / days, n, 0.0)
    return Amounts(
        k, n, dispersion[0] * variance / days**2, None if n is None else dispersion[1] * np.maximum(n, 0.0) / days
    )


def _events(k: Array, n: Array | None) -> Array:
    """Poisson variance of numbers of events. No event in 40 is not certainty: then what the parent's ratio says."""
    if n is None:
        return np.maximum(k, 0.0)
    whole = n.sum()
    likely = np.minimum(n * k.sum() / whole, 1.0) if whole > 0 else np.zeros_like(k)
    return np.where(k > 0, k, likely)


@dataclass(frozen=True)
class Split:
    """A parent's change and what each of S segments contributes to it.

    Attributes:
        before, now: the parent's figure on both sides.
        change: now − before; its value is the sum of ``changes.value``.
        rate: what changed ratios of segments contribute; ``None`` for a count without denominator.
        mix: what changed weights of segments contribute (of a count: changed denominators); ``None`` likewise.
            ``rate + mix`` is ``change`` exactly, for the parent and each segment.
        changes, rates, mixes: the same per segment.
        usual: S; what each segment makes of the parent before: of the denominator, or of a count.
    """

    before: float
    now: float
    change: Estimate
    rate: Estimate | None
    mix: Estimate | None
    changes: Estimates
    rates: Estimates | None
    mixes: Estimates | None
    usual: Array


@dataclass(frozen=True)
class _Gradient:
    """How S outputs depend on S inputs: d output_s / d input_t = own_s [s = t] + by_s away_t + all_s.

    Everything below has this form, so that variances of many segments need no S x S matrix.
    """

    own: Array
    by: Array
    all: Array
    away: Array

    def __add__(self, other: _Gradient) -> _Gradient:
        return _Gradient(self.own + other.own, self.by + other.by, self.all + other.all, self.away)

    def variance(self, v: Array) -> Array:
        """Of each output, for independent inputs of variance ``v``."""
        vc, vcc = float(v @ self.away), float(v @ self.away**2)
        return np.asarray(
            self.own**2 * v + self.by**2 * vcc + self.all**2 * v.sum()
            + 2.0 * self.own * (self.by * self.away + self.all) * v + 2.0 * self.by * self.all * vc
        )  # fmt: skip

    def variance_of_sum(self, v: Array) -> float:
        return float(v @ (self.own + self.by.sum() * self.away + self.all.sum()) ** 2)


def mix_and_rate(before: Amounts, now: Amounts) -> Split:
    """Split the change of a ratio R = Σk / Σn over segments into changed ratios and a changed make-up.

    With weights w = n / Σn and ratios r = k / n, and a bar for the mean of both sides::

        rate part of a segment  w̄ (r_now − r_before)
        mix part of a segment   (r̄ − R̄) (w_now − w_before)

    This is Kitagawa's symmetric split (E. M. Kitagawa: Components of a difference between two rates, *Journal of the
    American Statistical Association* 50, 1955), with the mix taken about R̄ so that a segment of average ratio
    contributes nothing by growing; the sums are unchanged by that, because weights add up to 1. A segment that
    appears or vanishes is all mix. A numerator without a denominator counts as rate.

    Intervals by the delta method: amounts of different segments and sides independent, and a segment's ratio
    independent of its denominator.

    Raises:
        ValueError: shapes differ, an amount is negative or not finite, or a side has no denominator at all.
    """
    (k_b, n_b, vk_b, vn_b), (k_n, n_n, vk_n, vn_n) = before.checked(), now.checked()
    if n_b is None or n_n is None or vn_b is None or vn_n is None:
        raise ValueError("a ratio needs denominators on both sides")
    if len(k_b) != len(k_n):
        raise ValueError(f"{len(k_b)} segments before and {len(k_n)} now")
    whole_b, whole_n = float(n_b.sum()), float(n_n.sum())
    if not (whole_b > 0 and whole_n > 0):
        raise ValueError("the denominators of a side add up to nothing")
    w_b, w_n = n_b / whole_b, n_n / whole_n
    big_b, big_n = float(k_b.sum()) / whole_b, float(k_n.sum()) / whole_n
    r_b, r_n, loose, appears, vanishes = _both_ratios(k_b, n_b, k_n, n_n)
    weight, grown, distance = (w_b + w_n) / 2, w_n - w_b, (r_b + r_n - big_b - big_n) / 2
    rate = np.where(loose, k_n / whole_n - k_b / whole_b, weight * (r_n - r_b))
    mix = np.where(loose, -(big_b + big_n) / 2 * grown, distance * grown)

    zero, per_n, per_b = np.zeros_like(rate), ratio(np.ones_like(n_n), n_n, 0.0), ratio(np.ones_like(n_b), n_b, 0.0)
    gone, come = np.where(vanishes, 1.0, 0.0), np.where(appears, 1.0, 0.0)
    rates, mixes = [], []
    for sign, w, per, whole, big, r, alias in (
        (1.0, w_n, per_n, whole_n, big_n, r_n, come), (-1.0, w_b, per_b, whole_b, big_b, r_b, gone)
    ):  # fmt: skip
        # Of the numerator given the denominator. A ratio that stands for both sides takes both sides' derivative.
        own = np.where(loose, sign / whole, np.where(alias > 0, 0.0, sign * weight * per))
        rates.append(_Gradient(own, zero, zero, zero))
        own = np.where(loose, 0.0, (1.0 + alias) * grown * per / 2)
        mixes.append(_Gradient(own, zero, -grown / whole / 2, zero))
        # Of the denominator at a given ratio (of a loose one: at a given numerator).
        away = np.where(loose, 0.0, r) - big
        part = np.where(loose, 0.0, (r_n - r_b) / 2 / whole)
        spill = np.where(loose, -sign * (k_n if sign > 0 else k_b) / whole**2, -part * w)
        rates.append(_Gradient(part, zero, spill, away))
        part = sign * np.where(loose, -(big_b + big_n) / 2, distance) / whole
        mixes.append(_Gradient(part, -grown / whole / 2, -part * w, away))
    inputs = (vk_n, vn_n, vk_b, vn_b)
    both = [a + m for a, m in zip(rates, mixes, strict=True)]
    # `away` of the numerators' gradients is zero in both, so adding keeps it.
    return Split(
        big_b, big_n,
        _sum(rate + mix, both, inputs), _sum(rate, rates, inputs), _sum(mix, mixes, inputs),
        _each(rate + mix, both, inputs), _each(rate, rates, inputs), _each(mix, mixes, inputs), w_b,
    )  # fmt: skip


def count_change(before: Amounts, now: Amounts) -> Split:
    """Split the change of a count Σk over segments; with denominators also into volume and rate, symmetrically::

        rate part of a segment    n̄ (r_now − r_before)
        volume part of a segment  r̄ (n_now − n_before)       in ``mix`` and ``mixes``

    A segment that appears or vanishes is all volume; a numerator without a denominator counts as rate. The whole's
    ``usual`` are shares of the count before.

    Raises:
        ValueError: shapes differ, an amount is negative or not finite, or only one side has denominators.
    """
    (k_b, n_b, vk_b, vn_b), (k_n, n_n, vk_n, vn_n) = before.checked(), now.checked()
    if len(k_b) != len(k_n):
        raise ValueError(f"{len(k_b)} segments before and {len(k_n)} now")
    if (n_b is None) != (n_n is None):
        raise ValueError("denominators are needed on both sides, or on neither")
    total = float(k_b.sum())
    usual = k_b / total if total > 0 else np.zeros_like(k_b)
    change = k_n - k_b
    if n_b is None or n_n is None or vn_b is None or vn_n is None:
        variance = vk_b + vk_n
        return Split(
            total, float(k_n.sum()), _estimate(float(change.sum()), float(variance.sum())), None, None,
            _estimates(change, variance), None, None, usual,
        )  # fmt: skip
    r_b, r_n, loose, appears, vanishes = _both_ratios(k_b, n_b, k_n, n_n)
    middle, typical, grown, moved = (n_b + n_n) / 2, (r_b + r_n) / 2, n_n - n_b, r_n - r_b
    rate = np.where(loose, change, middle * moved)
    volume = np.where(loose, 0.0, typical * grown)
    per_b, per_n = ratio(np.ones_like(n_b), n_b, 0.0), ratio(np.ones_like(n_n), n_n, 0.0)
    one_side = appears | vanishes
    of_rate = np.where(
        loose, vk_b + vk_n,
        np.where(one_side, 0.0, middle**2 * (vk_b * per_b**2 + vk_n * per_n**2)) + moved**2 / 4 * (vn_b + vn_n),
    )  # fmt: skip
    share = np.where(one_side, 1.0, 0.5)
    of_volume = np.where(
        loose, 0.0, typical**2 * (vn_b + vn_n) + (share * grown) ** 2 * (vk_b * per_b**2 + vk_n * per_n**2)
    )
    of_change = np.where(loose, 0.0, r_b**2 * vn_b + r_n**2 * vn_n) + vk_b + vk_n
    return Split(
        total, float(k_n.sum()),
        _estimate(float(change.sum()), float(of_change.sum())),
        _estimate(float(rate.sum()), float(of_rate.sum())),
        _estimate(float(volume.sum()), float(of_volume.sum())),
        _estimates(change, of_change), _estimates(rate, of_rate), _estimates(volume, of_volume), usual,
    )  # fmt: skip


def _both_ratios(
    k_b: Array, n_b: Array, k_n: Array, n_n: Array
) -> tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Ratios before and now, and which segments have a numerator out of nothing, which appear, and which vanish.

    The ratio of a segment that is on one side only stands for both.
    """
    loose = ((n_b <= 0) & (k_b > 0)) | ((n_n <= 0) & (k_n > 0))
    r_b, r_n = ratio(k_b, n_b, 0.0), ratio(k_n, n_n, 0.0)
    appears, vanishes = (n_b <= 0) & ~loose, (n_n <= 0) & ~loose
    return np.where(appears, r_n, r_b), np.where(vanishes, r_b, r_n), loose, appears, vanishes


def _estimate(value: float, variance: float) -> Estimate:
    reach = Z * math.sqrt(max(variance, 0.0))
    return Estimate(value, value - reach, value + reach)


def _estimates(value: Array, variance: Array) -> Estimates:
    reach = Z * np.sqrt(np.maximum(variance, 0.0))
    return Estimates(value, value - reach, value + reach)


def _sum(values: Array, gradients: Sequence[_Gradient], inputs: Sequence[Array]) -> Estimate:
    variance = sum(g.variance_of_sum(v) for g, v in zip(gradients, inputs, strict=True))
    return _estimate(float(values.sum()), variance)


def _each(values: Array, gradients: Sequence[_Gradient], inputs: Sequence[Array]) -> Estimates:
    return _estimates(
        values, sum((g.variance(v) for g, v in zip(gradients, inputs, strict=True)), np.zeros_like(values))
    )
