"""The few segments that explain a change: a search through all combinations of a few conditions in a cube.

It names the few sets of cells of which each moved by one common factor, so that what is left is noise.
:mod:`.attribution` splits a change over segments that are given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from health_pipeline.stats.arrays import Array, ratio, weighted_median
from health_pipeline.stats.attribution import Amounts
from health_pipeline.stats.cuboids import TIE, CellSet, Conditions, Cube

MOST_CONDITIONS = 3
MOST_CAUSES = 6
FALSE_CAUSE = 0.05  # chance that noise alone is given a cause
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
    k_b, n_b, _, _ = Amounts(np.asarray(numerator_before, float), np.asarray(denominator_before, float)).checked()
    k, n, _, _ = Amounts(np.asarray(numerator, float), np.asarray(denominator, float)).checked()
    if n_b is None or n is None or n_b.shape != n.shape:
        raise ValueError(f"{len(k_b)} cells before and {len(k)} now")
    whole = float(k_b.sum()) / float(n_b.sum()) if n_b.sum() > 0 else 0.0
    before = ratio(k_b, n_b, whole)
    # The variance is that of the whole's ratio where the cell saw too little to tell its own.
    likely = ratio(k_b + whole, n_b + 1.0, whole)
    each = likely * np.maximum(1.0 - likely, 0.0) if binomial else likely
    variance = n * each
    if not known:
        variance = variance + n**2 * each / np.maximum(n_b, 1.0)
    return n * before, k, variance


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
    cube = Cube.of(codes, expected, observed, variance, conditions, false_cause)
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
    chosen: list[CellSet] = []
    for _ in range(ROUNDS):
        before, chosen = chosen, _searched(cube, most, chosen)
        if {s.key for s in before} == {s.key for s in chosen}:
            break
        if overdispersed:
            cube.learn(chosen)
        if wobble is None:
            cube.wobble = cube.learned_wobble(chosen)
    chosen = _needed(cube, chosen)
    return _told(cube, chosen)


def _added(cube: Cube, most: int) -> list[CellSet]:
    """Causes one after another, none looked at again."""
    chosen: list[CellSet] = []
    while len(chosen) < most and (found := cube.best(chosen)) is not None:
        chosen = [*chosen, found[1]]
    return chosen


def _searched(cube: Cube, most: int, chosen: list[CellSet]) -> list[CellSet]:
    """Causes whose likelihood less their prices is as large as adding, exchanging, merging and dropping make it."""
    chosen = _needed(cube, chosen)
    for _ in range(4 * most):
        chosen, before = _exchanged(cube, chosen), chosen
        if len(chosen) < most and (found := cube.best(chosen)) is not None:
            chosen = [*chosen, found[1]]
        elif chosen == before:
            break
    return _needed(cube, chosen)


def _needed(cube: Cube, chosen: list[CellSet]) -> list[CellSet]:
    """Without the causes that do not show enough gain beside the others, the weakest first."""
    while chosen:
        gains = [cube.evidence(s, chosen) for s in chosen]
        lacking = [gain - needed for gain, needed in gains]
        weakest = int(np.argmin(lacking))
        if lacking[weakest] > 0:
            break
        chosen = [s for place, s in enumerate(chosen) if place != weakest]
    return chosen


def _exchanged(cube: Cube, chosen: list[CellSet]) -> list[CellSet]:
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


def _without_exceptions(cube: Cube, chosen: list[CellSet]) -> list[CellSet]:
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


def _told(cube: Cube, chosen: Sequence[CellSet]) -> RootCauses:
    """The causes with their factors, intervals and shares of the change."""
    fit = cube.fit(chosen)
    product = fit.product[fit.kind]
    logs = [math.log(max(f, 1e-12)) for f in fit.factors]
    insides = [cube.inside(s) for s in chosen]
    total = np.zeros(len(product))
    for inside, log in zip(insides, logs, strict=True):
        total[inside] += log
    # Logarithmic means share the change of a cell out among factors that multiply, exactly (Ang 2004, LMDI).
    weight = cube.base * special.exprel(total)
    information = np.array([[float((cube.mean * product)[a & b].sum()) for b in insides] for a in insides])
    change = float(cube.observed.sum() - cube.expected.sum())
    causes = []
    for place, one in enumerate(chosen):
        inside, factor = insides[place], fit.factors[place]
        expected, observed = float(cube.expected[inside].sum()), float(cube.observed[inside].sum())
        part = float(weight[inside].sum()) * logs[place]
        low, high = _interval(factor, information, place, len(one.key) * cube.wobble**2, float(cube.mean[inside].sum()))
        if expected <= 0:  # something out of nothing has no factor
            factor = low = high = math.inf
        share = part / change if change else math.nan
        gain, needed = cube.evidence(one, chosen)
        cells = int(inside.sum())
        causes.append(Cause(one.key, factor, low, high, expected, observed, part, share, gain, needed, cells))
    causes.sort(key=lambda c: (-abs(c.change), c.conditions))
    return RootCauses(
        tuple(causes), float(cube.expected.sum()), float(cube.observed.sum()), change,
        change - sum(c.change for c in causes), weighted_median(cube.noise, cube.base), cube.wobble,
    )  # fmt: skip


def _interval(factor: float, information: Array, place: int, wobble: float, mean: float) -> tuple[float, float]:
    """A gamma interval (Garwood 1936) with as many events as the factor is worth beside the others and the wobble."""
    if not factor > 0:
        return 0.0, float(special.gammaincinv(1.0, 0.975)) / mean
    events = 1.0 / (float(np.linalg.pinv(information)[place, place]) + wobble)
    low = float(special.gammaincinv(events, 0.025)) / events
    high = float(special.gammaincinv(events + 1.0, 0.975)) / events
    return factor * low, factor * high
