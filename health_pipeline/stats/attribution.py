"""Where a change comes from: exact splits over segments, and a search for the few segments that explain it.

Two questions about a parent and its segments:

* :func:`mix_and_rate` and :func:`count_change` split a change over segments that partition the parent. The parts add
  up exactly; every part has an interval.
* :func:`root_causes` looks at all combinations of up to three conditions in a cube and names the few sets of cells of
  which each moved by one common factor, so that what is left is noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Conditions = tuple[tuple[int, int], ...]
"""Pairs of dimension (column) and value (code), sorted by dimension; none of them: every cell."""

Z = 1.959964  # of a 95 % interval


# ---------------------------------------------------------------------------------------------------------------------
# Exact splits


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


def _counted(numerator: Any, denominator: Any, days: float, dispersion: tuple[float, float], binomial: bool) -> Amounts:
    if not days > 0 or not all(d >= 0 for d in dispersion):
        raise ValueError(f"days must be positive and dispersions not negative, got {days} and {dispersion}")
    k = np.asarray(numerator, dtype=float)
    n = None if denominator is None else np.asarray(denominator, dtype=float)
    if binomial and (n is None or n.shape != k.shape or np.any(k > n)):
        raise ValueError("a binomial numerator needs a denominator that is no smaller")
    variance = _events(k * days, None if n is None else n * days)
    if binomial and n is not None:
        variance *= 1.0 - _ratio(variance / days, n, 0.0)
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


def _ratio(k: Array, n: Array, otherwise: Array | float) -> Array:
    return np.where(n > 0, k / np.where(n > 0, n, 1.0), otherwise)


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
    (k_b, n_b, vk_b, vn_b), (k_n, n_n, vk_n, vn_n) = _checked(before), _checked(now)
    if n_b is None or n_n is None or vn_b is None or vn_n is None:
        raise ValueError("a ratio needs denominators on both sides")
    if len(k_b) != len(k_n):
        raise ValueError(f"{len(k_b)} segments before and {len(k_n)} now")
    whole_b, whole_n = float(n_b.sum()), float(n_n.sum())
    if not (whole_b > 0 and whole_n > 0):
        raise ValueError("the denominators of a side add up to nothing")
    w_b, w_n = n_b / whole_b, n_n / whole_n
    big_b, big_n = float(k_b.sum()) / whole_b, float(k_n.sum()) / whole_n
    loose = ((n_b <= 0) & (k_b > 0)) | ((n_n <= 0) & (k_n > 0))
    r_b, r_n = _ratio(k_b, n_b, 0.0), _ratio(k_n, n_n, 0.0)
    appears, vanishes = (n_b <= 0) & ~loose, (n_n <= 0) & ~loose
    r_b, r_n = np.where(appears, r_n, r_b), np.where(vanishes, r_b, r_n)
    weight, grown, distance = (w_b + w_n) / 2, w_n - w_b, (r_b + r_n - big_b - big_n) / 2
    rate = np.where(loose, k_n / whole_n - k_b / whole_b, weight * (r_n - r_b))
    mix = np.where(loose, -(big_b + big_n) / 2 * grown, distance * grown)

    zero, per_n, per_b = np.zeros_like(rate), _ratio(np.ones_like(n_n), n_n, 0.0), _ratio(np.ones_like(n_b), n_b, 0.0)
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
    (k_b, n_b, vk_b, vn_b), (k_n, n_n, vk_n, vn_n) = _checked(before), _checked(now)
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
    loose = ((n_b <= 0) & (k_b > 0)) | ((n_n <= 0) & (k_n > 0))
    r_b, r_n = _ratio(k_b, n_b, 0.0), _ratio(k_n, n_n, 0.0)
    appears, vanishes = (n_b <= 0) & ~loose, (n_n <= 0) & ~loose
    r_b, r_n = np.where(appears, r_n, r_b), np.where(vanishes, r_b, r_n)
    middle, typical, grown, moved = (n_b + n_n) / 2, (r_b + r_n) / 2, n_n - n_b, r_n - r_b
    rate = np.where(loose, change, middle * moved)
    volume = np.where(loose, 0.0, typical * grown)
    per_b, per_n = _ratio(np.ones_like(n_b), n_b, 0.0), _ratio(np.ones_like(n_n), n_n, 0.0)
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


def _checked(side: Amounts) -> tuple[Array, Array | None, Array, Array | None]:
    k = np.asarray(side.numerator, dtype=float)
    if k.ndim != 1 or not len(k):
        raise ValueError(f"numerators must be one row of at least one segment, got shape {k.shape}")
    n = None if side.denominator is None else np.asarray(side.denominator, dtype=float)
    vk = _events(k, n) if side.numerator_variance is None else np.asarray(side.numerator_variance, dtype=float)
    vn = n if side.denominator_variance is None else np.asarray(side.denominator_variance, dtype=float)
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


# ---------------------------------------------------------------------------------------------------------------------
# The few segments that explain a change

MOST_CONDITIONS = 3
MOST_CAUSES = 6
FALSE_CAUSE = 0.05  # chance that noise alone is given a cause
FLOOR = 0.05  # events that a cell is thought to expect at least, so that nothing is impossible
EXCEPTION = 3.0  # log-likelihood by which a set with an exception inside must be better than sets without one
TIE = 1e-9  # gains that differ by less are equal: sums depend on the order of rows
CAUTION = 1.1  # a learned wobble is taken to be so much larger: it rests on some tens of values
TURNS = 200  # of proportional fitting
ROUNDS = 4  # of learning the noise and finding the causes


@dataclass(frozen=True)
class Cause:
    """A set of cells that moved together.

    Attributes:
        conditions: which cells; empty: all of them, so no segment is the cause.
        factor, low, high: observed over expected, with its 95 % interval, beyond what its values wobble by themselves;
            where causes overlap their factors multiply.
        expected, observed: totals of the cells.
        change: what it contributes, in units of ``observed``; contributions of all causes and ``left`` add up.
        share: of the whole change; NaN when there is none in all.
        gain: log-likelihood that is lost without it, in units of the noise.
        needed: how much gain it had to show.
        cells: how many.
    """

    conditions: Conditions
    factor: float
    low: float
    high: float
    expected: float
    observed: float
    change: float
    share: float
    gain: float
    needed: float
    cells: int


@dataclass(frozen=True)
class RootCauses:
    """What explains a change.

    Attributes:
        causes: by size of their contribution, the largest first; empty when all is noise.
        expected, observed, change: of the whole cube; change = observed − expected.
        left: what no cause explains of the change.
        dispersion: median over cells, weighted by what they expect, of how many times as variable as Poisson counts
            they were taken to be.
        wobble: standard deviation, on the log scale, of how much a value of a dimension moves on an ordinary day
            beyond sampling.
    """

    causes: tuple[Cause, ...]
    expected: float
    observed: float
    change: float
    left: float
    dispersion: float
    wobble: float


def members(codes: NDArray[np.integer[Any]], conditions: Conditions) -> NDArray[np.bool_]:
    """Which of the cells (cells x dimensions) meet all conditions."""
    inside = np.ones(len(codes), dtype=bool)
    for dimension, value in conditions:
        inside &= codes[:, dimension] == value
    return inside


def ratio_cells(
    numerator_before: Any, denominator_before: Any, numerator: Any, denominator: Any, *, known: bool = False,
    binomial: bool = True,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """A ratio's cells in the form that :func:`root_causes` takes: expected numerator, observed numerator, variance.

    Expected are today's denominators times the ratio before (of a cell that had no denominator, the whole's).

    Args:
        numerator_before, denominator_before, numerator, denominator: cells.
        known: the ratio before is an expectation without sampling noise of its own.
        binomial: numerators are part of their denominators; otherwise they are Poisson.

    Raises:
        ValueError: shapes differ, or an amount is negative or not finite.
    """
    k_b, n_b, _, _ = _checked(Amounts(np.asarray(numerator_before, float), np.asarray(denominator_before, float)))
    k, n, _, _ = _checked(Amounts(np.asarray(numerator, float), np.asarray(denominator, float)))
    if n_b is None or n is None or n_b.shape != n.shape:
        raise ValueError(f"{len(k_b)} cells before and {len(k)} now")
    whole = float(k_b.sum()) / float(n_b.sum()) if n_b.sum() > 0 else 0.0
    ratio = _ratio(k_b, n_b, whole)
    # The variance is that of the whole's ratio where the cell saw too little to tell its own.
    likely = _ratio(k_b + whole, n_b + 1.0, whole)
    each = likely * np.maximum(1.0 - likely, 0.0) if binomial else likely
    variance = n * each
    if not known:
        variance = variance + n**2 * each / np.maximum(n_b, 1.0)
    return n * ratio, k, variance


def root_causes(
    codes: NDArray[np.integer[Any]],
    expected: Any,
    observed: Any,
    *,
    variance: Any = None,
    overdispersed: bool = True,
    wobble: float | None = None,
    most: int = MOST_CAUSES,
    conditions: int = MOST_CONDITIONS,
    false_cause: float = FALSE_CAUSE,
) -> RootCauses:
    """Find the few sets of cells that explain how observed counts differ from expected ones.

    The model: every cell is Poisson about its expectation times the factors of the causes it belongs to. A set of cells
    with E expected and O observed gains ``O log(O / E) − (O − E)`` of log-likelihood by a factor of its own. The set of
    largest gain less its price is taken, all factors are fitted again, and so on; then causes are exchanged, two are
    merged into one, and superfluous ones dropped, as long as that improves the total. The price of a set with c
    conditions is ``log(2 (C + 1) M_c / α)``, where M_c counts the sets with c conditions that have a cell, C is the
    largest number of conditions and α is ``false_cause``: by Chernoff's bound (a Poisson count's gain exceeds t with
    probability 2 exp(−t) at most) and Boole's, Poisson counts that just follow their expectation are given any cause
    with probability α at most. More conditions cost more, so the children of a set that moved as one are not listed.

    Counts that are noisier than Poisson are divided by how much (quasi-likelihood), so the same formulas hold. Where
    whole values of dimensions wobble by w from day to day, a set must also gain the price of a single value times
    ``1 + c w² E``: else it is no more than the sum of its values' wobbles.

    Args:
        codes: cells x dimensions; non-negative integers. Rows may repeat.
        expected: cells; events. A cell that expects nothing is given a small expectation.
        observed: cells.
        variance: cells; sampling variance V of ``observed`` about ``expected`` on an ordinary day. ``None``: Poisson.
        overdispersed: learn from the cells by how much more than that they vary: φ V + σ² E², φ at least 1.
        wobble: w, standard deviation, on the log scale, of a dimension's value as a whole on an ordinary day, beyond
            what its cells vary each for itself. ``None``: learned.
        most: causes at most, up to 16.
        conditions: of a cause, at most.
        false_cause: α.

    Raises:
        ValueError: shapes or types are wrong, a figure is negative or not finite, or nothing is expected.
    """
    cube = _Cube.of(codes, expected, observed, variance, conditions, false_cause)
    if not 1 <= most <= 16:
        raise ValueError(f"from 1 to 16 causes may be allowed, got {most}")
    if wobble is not None and not (math.isfinite(wobble) and wobble >= 0):
        raise ValueError(f"wobble must not be negative, got {wobble}")
    cube.wobble = wobble or 0.0
    # Cells that moved look like noise until their cause is known: noise and causes are found in turns.
    if overdispersed:
        cube.learn([])
    rough = _added(cube, most)
    if overdispersed:
        cube.learn(rough)
    if wobble is None:
        # Unknown causes make values seem to wobble; causes that are none hide that they do.
        cube.wobble = min(cube.learned_wobble([]), cube.learned_wobble(rough))
    chosen: list[_Set] = []
    for _ in range(ROUNDS):
        before, chosen = chosen, _searched(cube, most, chosen)
        if {s.key for s in before} == {s.key for s in chosen}:
            break
        if overdispersed:
            cube.learn(chosen)
        if wobble is None:
            cube.wobble = cube.learned_wobble(chosen)
    chosen = _needed(cube, chosen)
    return cube.told(chosen)


@dataclass(frozen=True)
class _Set:
    """A candidate: one group of one cuboid."""

    cuboid: int
    group: int
    key: Conditions
    price: float


@dataclass
class _Cuboid:
    """All sets with conditions on the same dimensions."""

    dimensions: tuple[int, ...]
    group: NDArray[np.intp]
    size: int
    values: NDArray[np.int64]
    price: float = 0.0
    observed: Array = field(default_factory=lambda: np.zeros(0))
    mean: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class _Fit:
    """Factors of some causes, fitted together.

    Attributes:
        factors: per cause.
        kind: cells; a bit per cause that the cell belongs to.
        product: per kind, of its causes' factors.
        likelihood: above that of no cause at all.
    """

    factors: tuple[float, ...]
    kind: NDArray[np.int32]
    product: Array
    likelihood: float


class _Cube:
    """Cells, their groupings, and the noise; counts are divided by how much noisier than Poisson they are."""

    def __init__(self, codes: NDArray[np.int64], expected: Array, observed: Array, variance: Array) -> None:
        self.codes, self.expected, self.observed = codes, expected, observed
        nothing = expected <= 0
        few = FLOOR if not nothing.any() else min(FLOOR, 0.01 * float(expected.sum()) / int(nothing.sum()))
        # Where nothing was expected, nothing is known of how it would be spread: as it came, but for a little.
        new = np.where(nothing, observed, 0.0)
        spread = 0.99 * new * int(nothing.sum()) / new.sum() + 0.01 if new.any() else np.ones_like(expected)
        self.base = np.where(nothing, few * spread, expected)
        self.sampling = np.where(nothing, np.maximum(variance / self.base, 1.0), variance / self.base)
        self.cuboids: list[_Cuboid] = []
        self.single = 0.0
        self.wobble = 0.0
        self._insides: dict[Conditions, NDArray[np.bool_]] = {}

    @classmethod
    def of(
        cls, codes: NDArray[np.integer[Any]], expected: Any, observed: Any, variance: Any, most: int, alpha: float
    ) -> _Cube:
        c = np.asarray(codes)
        if c.ndim != 2 or not c.size or not np.issubdtype(c.dtype, np.integer) or c.min() < 0:
            raise ValueError(f"codes must be a table of non-negative integers, got shape {c.shape} of {c.dtype}")
        given = {"expected": expected, "observed": observed, "variance": expected if variance is None else variance}
        checked: dict[str, Array] = {}
        for name, values in given.items():
            array = np.asarray(values, dtype=float)
            if array.shape != (len(c),):
                raise ValueError(f"{name} has shape {array.shape}, but there are {len(c)} cells")
            if not np.all(np.isfinite(array)) or np.any(array < 0):
                raise ValueError(f"{name} has a negative figure or one that is not finite")
            checked[name] = array
        wanted = checked["expected"]
        if not wanted.sum() > 0:
            raise ValueError("nothing is expected: a factor cannot be told")
        if np.any((checked["variance"] <= 0) & (wanted > 0)):
            raise ValueError("a cell that expects something has no variance")
        if most < 1 or not 0 < alpha < 1:
            raise ValueError(f"conditions must be 1 or more and false_cause between 0 and 1, got {most} and {alpha}")
        cube = cls(c.astype(np.int64), wanted, checked["observed"], checked["variance"])
        most, price = min(most, c.shape[1]), 0.0
        for count in range(1, most + 1):
            level = []
            for dimensions in itertools.combinations(range(c.shape[1]), count):
                group, size = _grouped(cube.codes, dimensions)
                values = np.zeros(size, dtype=np.int64)
                values[group] = cube.codes[:, dimensions[0]]
                level.append(_Cuboid(dimensions, group, size, values))
            # In a very small cube there are fewer pairs than single values; they are not to be cheaper.
            price = max(price, math.log(2 * (most + 1) * sum(cuboid.size for cuboid in level) / alpha))
            for cuboid in level:
                cuboid.price = price
            cube.cuboids += level
        everything = np.zeros(len(c), dtype=np.intp), 1, np.zeros(1, dtype=np.int64)
        cube.cuboids.insert(0, _Cuboid((), *everything, cube.cuboids[0].price))
        cube.single = cube.cuboids[1].price
        cube.take(cube.sampling)
        return cube

    def take(self, noise: Array) -> None:
        """Set how many times as variable as Poisson counts the cells are."""
        self.noise = noise
        self.events = self.observed / noise
        self.mean = self.base / noise
        self._fits: dict[tuple[Conditions, ...], _Fit] = {}
        self._best: dict[tuple[tuple[Conditions, ...], Conditions | None], tuple[float, _Set] | None] = {}
        for cuboid in self.cuboids:
            cuboid.observed = np.bincount(cuboid.group, self.events, cuboid.size).astype(float)
            cuboid.mean = np.bincount(cuboid.group, self.mean, cuboid.size).astype(float)

    def learn(self, chosen: Sequence[_Set]) -> None:
        """Learn what the cells vary beyond sampling, their causes' factors known."""
        fit = self.fit(chosen)
        mean = self.base / self.sampling
        fitted = mean * fit.product[fit.kind]
        # Of cells of hardly any events nothing is learned: what they vary shows in the few that have one.
        told = (fitted >= 0.2) & (self.expected > 0)
        phi, sigma = _noise(fitted[told], (self.observed / self.sampling)[told])
        self.take(self.sampling * np.maximum(phi + sigma * mean, 1.0))

    def learned_wobble(self, chosen: Sequence[_Set]) -> float:
        """Spread of single values' factors beyond sampling.

        About the median of their dimension, because a cause in another dimension moves all of them alike. A value that
        is itself a cause counts as one that is far out: else the causes that wobble was taken for would hide it.
        """
        self._best = {}
        causes = {s.key for s in chosen}
        away, error = [], []
        for cuboid, mean in zip(self.cuboids, self.means(self.fit(chosen)), strict=True):
            told = np.flatnonzero((mean >= 10.0) & (cuboid.observed > 0))
            if len(cuboid.dimensions) != 1 or len(told) < 3:
                continue
            own = np.array([((cuboid.dimensions[0], int(v)),) in causes for v in cuboid.values[told]])
            if (~own).sum() < 2:
                continue
            moved = np.log(cuboid.observed[told] / mean[told])
            square = (moved - np.median(moved[~own])) ** 2 * len(told) / (len(told) - 1)
            away.append(np.where(own, np.inf, square))
            error.append(1.0 / mean[told])
        if sum(map(len, away)) < 10:
            return 0.0
        return CAUTION * math.sqrt(_excess(np.concatenate(away), np.concatenate(error)))

    def inside(self, one: _Set) -> NDArray[np.bool_]:
        if one.key not in self._insides:
            self._insides[one.key] = np.asarray(self.cuboids[one.cuboid].group == one.group)
        return self._insides[one.key]

    def fit(self, chosen: Sequence[_Set]) -> _Fit:
        """Factors by iterative proportional fitting: each cause's cells must make up what was observed there."""
        names = tuple(s.key for s in chosen)
        if names in self._fits:
            return self._fits[names]
        # Cells that belong to the same causes are one cell to the fit.
        kind = np.zeros(len(self.mean), dtype=np.int32)
        for place, one in enumerate(chosen):
            kind += self.inside(one).astype(np.int32) << place
        kinds = np.arange(1 << len(chosen))
        mean = np.bincount(kind, self.mean, len(kinds)).astype(float)
        wanted = [float(self.cuboids[s.cuboid].observed[s.group]) for s in chosen]
        within = [(kinds >> place & 1).astype(bool) for place in range(len(chosen))]
        product, factors = np.ones(len(kinds)), [1.0] * len(chosen)
        for _ in range(TURNS):
            furthest = 0.0
            for place in range(len(chosen)):
                total = float(mean[within[place]] @ product[within[place]])
                step = wanted[place] / total if total > 0 else 1.0
                product[within[place]] *= step
                factors[place] *= step
                furthest = max(furthest, abs(step - 1.0))
            if furthest < 1e-10:
                break
        events = np.bincount(kind, self.events, len(kinds))
        likelihood = float(special.xlogy(events, np.where(events > 0, product, 1.0)).sum() - mean @ (product - 1.0))
        self._fits[names] = _Fit(tuple(factors), kind, product, likelihood)
        return self._fits[names]

    def means(self, fit: _Fit) -> list[Array]:
        """Per cuboid: what each set expects, given the causes."""
        moved = np.flatnonzero(fit.kind)
        if not len(moved):
            return [cuboid.mean for cuboid in self.cuboids]
        more = self.mean[moved] * (fit.product[fit.kind[moved]] - 1.0)
        return [
            np.maximum(cuboid.mean + np.bincount(cuboid.group[moved], more, cuboid.size), 0.0)
            for cuboid in self.cuboids
        ]

    def needed(self, conditions: int, price: float, mean: Any) -> Any:
        """Gain that a set must show: its price, and as much as makes it no wobble of the values it is made of."""
        return np.maximum(price, self.single * (1.0 + max(1, conditions) * self.wobble**2 * mean))

    def best(self, chosen: Sequence[_Set], barred: Conditions | None = None) -> tuple[float, _Set] | None:
        """The set that adds most to those chosen, and what it adds less its price; ``None`` when nothing suffices."""
        names = (tuple(s.key for s in chosen), barred)
        if names not in self._best:
            self._best[names] = self._found(chosen, barred)
        return self._best[names]

    def _found(self, chosen: Sequence[_Set], barred: Conditions | None) -> tuple[float, _Set] | None:
        refused = {s.key for s in chosen} | {barred}
        found: list[tuple[float, _Set]] = []
        for place, (cuboid, mean) in enumerate(zip(self.cuboids, self.means(self.fit(chosen)), strict=True)):
            gain = _gain(cuboid.observed, mean)
            gain[gain <= self.needed(len(cuboid.dimensions), cuboid.price, mean)] = 0.0
            while (top := float(gain.max())) > 0:
                sets = [self.set_of(place, int(g)) for g in np.flatnonzero(gain >= top * (1 - TIE))]
                kept = [(float(gain[one.group]) - one.price, one) for one in sets if one.key not in refused]
                found += kept
                if kept:
                    break
                gain[[one.group for one in sets]] = 0.0
        if not found:
            return None
        top = max(value for value, _ in found)
        return min((f for f in found if f[0] >= top - TIE * abs(top)), key=lambda f: (len(f[1].key), f[1].key))

    def set_of(self, place: int, group: int) -> _Set:
        cuboid = self.cuboids[place]
        row = int(np.argmax(cuboid.group == group))
        return _Set(place, group, tuple((d, int(self.codes[row, d])) for d in cuboid.dimensions), cuboid.price)

    def worth(self, chosen: Sequence[_Set]) -> float:
        """Likelihood less prices. A set with an exception inside costs as much as the exception, and more."""
        price = sum(s.price for s in chosen)
        for one, other in itertools.permutations(chosen, 2):
            if set(one.key) < set(other.key):
                price += EXCEPTION + max(0.0, other.price - one.price)
        return self.fit(chosen).likelihood - price

    def evidence(self, one: _Set, chosen: Sequence[_Set]) -> tuple[float, float]:
        """Gain of a cause beside the others, and how much it needs."""
        others = [s for s in chosen if s is not one]
        fit = self.fit(others)
        mean = float((self.mean * fit.product[fit.kind])[self.inside(one)].sum())
        return self.fit(chosen).likelihood - fit.likelihood, float(self.needed(len(one.key), one.price, mean))

    def told(self, chosen: Sequence[_Set]) -> RootCauses:
        fit = self.fit(chosen)
        product = fit.product[fit.kind]
        logs = [math.log(max(f, 1e-12)) for f in fit.factors]
        insides = [self.inside(s) for s in chosen]
        total = np.zeros(len(product))
        for inside, log in zip(insides, logs, strict=True):
            total[inside] += log
        # Logarithmic means share the change of a cell out among factors that multiply, exactly (Ang 2004, LMDI).
        weight = self.base * special.exprel(total)
        information = np.array([[float((self.mean * product)[a & b].sum()) for b in insides] for a in insides])
        change = float(self.observed.sum() - self.expected.sum())
        causes = []
        for place, one in enumerate(chosen):
            inside, factor = insides[place], fit.factors[place]
            expected, observed = float(self.expected[inside].sum()), float(self.observed[inside].sum())
            part = float(weight[inside].sum()) * logs[place]
            low, high = _interval(
                factor, information, place, len(one.key) * self.wobble**2, float(self.mean[inside].sum())
            )
            if expected <= 0:  # something out of nothing has no factor
                factor = low = high = math.inf
            share = part / change if change else math.nan
            gain, needed = self.evidence(one, chosen)
            cells = int(inside.sum())
            causes.append(Cause(one.key, factor, low, high, expected, observed, part, share, gain, needed, cells))
        causes.sort(key=lambda c: (-abs(c.change), c.conditions))
        return RootCauses(
            tuple(causes), float(self.expected.sum()), float(self.observed.sum()), change,
            change - sum(c.change for c in causes), _weighted_median(self.noise, self.base), self.wobble,
        )  # fmt: skip


def _added(cube: _Cube, most: int) -> list[_Set]:
    """Causes one after another, none looked at again."""
    chosen: list[_Set] = []
    while len(chosen) < most and (found := cube.best(chosen)) is not None:
        chosen = [*chosen, found[1]]
    return chosen


def _searched(cube: _Cube, most: int, chosen: list[_Set]) -> list[_Set]:
    """Causes whose likelihood less their prices is as large as adding, exchanging, merging and dropping make it."""
    chosen = _needed(cube, chosen)
    for _ in range(4 * most):
        chosen, before = _exchanged(cube, chosen), chosen
        if len(chosen) < most and (found := cube.best(chosen)) is not None:
            chosen = [*chosen, found[1]]
        elif chosen == before:
            break
    return _needed(cube, chosen)


def _needed(cube: _Cube, chosen: list[_Set]) -> list[_Set]:
    """Without the causes that do not show enough gain beside the others, the weakest first."""
    while chosen:
        gains = [cube.evidence(s, chosen) for s in chosen]
        lacking = [gain - needed for gain, needed in gains]
        weakest = int(np.argmin(lacking))
        if lacking[weakest] > 0:
            break
        chosen = [s for place, s in enumerate(chosen) if place != weakest]
    return chosen


def _exchanged(cube: _Cube, chosen: list[_Set]) -> list[_Set]:
    """Put the best set in the place of one cause, or of two: a set chosen early may have stood for parts of several."""
    for count in (1, 2):
        if len(chosen) < max(2, count):
            break
        for leave in itertools.combinations(range(len(chosen)), count):
            others = [s for place, s in enumerate(chosen) if place not in leave]
            found = cube.best(others)
            rival = others if found is None else [*others, found[1]]
            worth = cube.worth(chosen)
            if cube.worth(rival) > worth + TIE * abs(worth):
                return rival
    return _without_exceptions(cube, chosen)


def _without_exceptions(cube: _Cube, chosen: list[_Set]) -> list[_Set]:
    """Of three values two that rose fit as well as "all rose, and one fell back": prefer what moved to exceptions."""
    for one, other in itertools.permutations(chosen, 2):
        if set(one.key) < set(other.key):
            rival = [s for s in chosen if s is not one and s is not other]
            for _ in range(3):
                found = cube.best(rival, one.key)
                if found is None:
                    break
                rival = [*rival, found[1]]
                if cube.worth(rival) > cube.worth(chosen):
                    return rival
    return chosen


def _grouped(codes: NDArray[np.int64], dimensions: tuple[int, ...]) -> tuple[NDArray[np.intp], int]:
    """Group of each cell, and how many there are."""
    key = np.zeros(len(codes), dtype=np.int64)
    size = 1
    for dimension in dimensions:
        column = codes[:, dimension]
        radix = int(column.max()) + 1
        if size * radix > 4 * len(codes) + 1024:  # keep keys small: number the groups so far
            _, key = np.unique(key, return_inverse=True)
            size = int(key.max()) + 1
            values, column = np.unique(column, return_inverse=True)
            radix = len(values)
        key = key * radix + column
        size *= radix
    if size <= 4 * len(codes) + 1024:
        present = np.zeros(size, dtype=np.intp)
        present[key] = 1
        number = np.cumsum(present) - 1
        return number[key], int(present.sum())
    kept, group = np.unique(key, return_inverse=True)
    return group.astype(np.intp), len(kept)


def _gain(observed: Array, mean: Array) -> Array:
    """Log-likelihood that counts gain by a factor of their own."""
    mean = np.maximum(mean, 1e-300)
    return np.asarray(special.xlogy(observed, observed / mean) - (observed - mean))


def _interval(factor: float, information: Array, place: int, wobble: float, mean: float) -> tuple[float, float]:
    """A gamma interval (Garwood 1936) with as many events as the factor is worth beside the others and the wobble."""
    if not factor > 0:
        return 0.0, float(special.gammaincinv(1.0, 0.975)) / mean
    events = 1.0 / (float(np.linalg.pinv(information)[place, place]) + wobble)
    low = float(special.gammaincinv(events, 0.025)) / events
    high = float(special.gammaincinv(events + 1.0, 0.975)) / events
    return factor * low, factor * high


def _noise(mean: Array, observed: Array) -> tuple[float, float]:
    """φ and σ² from how squared residuals of the events grow with what is expected."""
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


def _excess(square: Array, sampling: Array) -> float:
    """Variance v that makes square / (sampling + v) as large as χ² with one degree, cut at 4; 0 if none is needed."""
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


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
