"""Published methods of root cause localisation, written from their papers, as anchors for ``benchmarks.explanation``.

All take a cube's cells: codes (cells x dimensions), forecast (expected) and real (observed) values; and return sets of
conditions. Parameters are their papers' defaults.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Codes = NDArray[np.int64]
Array = NDArray[np.float64]
Conditions = tuple[tuple[int, int], ...]
Locate = Callable[[Codes, Array, Array], list[Conditions]]


def deviation(forecast: Array, real: Array) -> Array:
    """Squeeze's deviation score 2 (f − v) / (f + v), in −2 to 2; 0 where nothing is or was to be."""
    total = forecast + real
    return np.where(total > 0, 2.0 * (forecast - real) / np.where(total > 0, total, 1.0), 0.0)


def surprise(p: Array, q: Array) -> Array:
    """Each element's part of the Jensen-Shannon divergence of two distributions."""
    middle = np.where(p + q > 0, p + q, 1.0)
    of_p = np.where(p > 0, p * np.log(np.where(p > 0, 2 * p / middle, 1.0)), 0.0)
    of_q = np.where(q > 0, q * np.log(np.where(q > 0, 2 * q / middle, 1.0)), 0.0)
    return (of_p + of_q) / 2


def elements_of(codes: Codes, dimensions: Sequence[int]) -> tuple[Codes, NDArray[np.intp]]:
    """The elements of a cuboid, and each cell's."""
    key = np.zeros(len(codes), dtype=np.int64)
    for dimension in dimensions:
        key = key * (int(codes[:, dimension].max()) + 1) + codes[:, dimension]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return codes[np.ix_(first, list(dimensions))], group


# ---------------------------------------------------------------------------------------------------------------------
# Adtributor


def adtributor(
    codes: Codes, forecast: Array, real: Array, least: float = 0.1, enough: float = 0.67
) -> list[Conditions]:
    """The dimension of largest surprise, with the fewest elements that explain two thirds of the change.

    R. Bhagwan et al.: Adtributor: Revenue debugging in advertising systems, NSDI 2014. Of its up to three ranked
    explanations the first: they are alternatives, each one dimension.
    """
    ranked: list[tuple[float, list[Conditions]]] = []
    change = float(real.sum() - forecast.sum())
    if change == 0 or forecast.sum() <= 0 or real.sum() <= 0:
        return []
    for dimension in range(codes.shape[1]):
        f = np.bincount(codes[:, dimension], forecast)
        v = np.bincount(codes[:, dimension], real)
        surprising = surprise(f / f.sum(), v / v.sum())
        explains = (v - f) / change
        chosen: list[int] = []
        for element in np.argsort(-surprising, kind="stable"):
            if explains[element] > least:
                chosen.append(int(element))
            if explains[chosen].sum() > enough:
                ranked.append((float(surprising[chosen].sum()), [((dimension, e),) for e in chosen]))
                break
    return max(ranked, key=lambda r: r[0])[1] if ranked else []


def recursive_adtributor(codes: Codes, forecast: Array, real: Array, least: float = 0.1) -> list[Conditions]:
    """Adtributor again within every element it names, on the other dimensions, as long as that singles some out.

    M. Persson, L. Rudenius: Anomaly detection and fault localization, Chalmers 2018, with their revised first step:
    all elements that explain more than a tenth of the change, if these are not all elements.
    """

    def within(rows: NDArray[np.bool_], free: Sequence[int]) -> list[Conditions]:
        change = float((real[rows] - forecast[rows]).sum())
        if not free or change == 0 or forecast[rows].sum() <= 0 or real[rows].sum() <= 0:
            return []
        best: tuple[float, int, list[int]] | None = None
        for dimension in free:
            column = codes[rows, dimension]
            f, v = np.bincount(column, forecast[rows]), np.bincount(column, real[rows])
            chosen = [int(e) for e in np.flatnonzero((v - f) / change > least)]
            if 0 < len(chosen) < len(np.unique(column)):
                score = float(surprise(f / f.sum(), v / v.sum())[chosen].sum())
                if best is None or score > best[0]:
                    best = (score, dimension, chosen)
        if best is None:
            return []
        _, dimension, chosen = best
        rest = [d for d in free if d != dimension]
        deeper = [within(rows & (codes[:, dimension] == e), rest) for e in chosen]
        if not all(deeper):  # an element without a further explanation keeps its siblings whole
            return [((dimension, e),) for e in chosen]
        return [
            tuple(sorted([(dimension, e), *inner])) for e, found in zip(chosen, deeper, strict=True) for inner in found
        ]

    return within(np.ones(len(codes), dtype=bool), range(codes.shape[1]))


# ---------------------------------------------------------------------------------------------------------------------
# Squeeze

MOST_ELEMENTS = 12
NORMAL_DEVIATION = 0.2
GOOD_ENOUGH = 0.9


def squeeze(codes: Codes, forecast: Array, real: Array) -> list[Conditions]:
    """Cluster cells by deviation score; explain each cluster by elements of one cuboid with the best potential score.

    Z. Li et al.: Generic and robust localization of multi-dimensional root causes, ISSRE 2019.
    """
    kept = forecast > 0
    codes, forecast, real = codes[kept], forecast[kept], real[kept]
    score = deviation(forecast, real)
    clusters = _clusters(score, np.abs(real - forecast))
    if not clusters:
        return []
    abnormal = np.zeros(len(score), dtype=bool)
    for low, high in clusters:
        abnormal |= (score >= low) & (score <= high)
    normal = np.abs(score) < np.abs(score[abnormal]).min()
    elements = sum(len(np.unique(column)) for column in codes.T)
    weight = (
        math.log(len(clusters) + 1) / len(clusters) * elements / math.log(elements + 1)
        * -math.log(sum(int(((score >= a) & (score <= b)).sum()) for a, b in clusters) / len(score))
    )  # fmt: skip
    found: list[Conditions] = []
    for low, high in clusters:
        inside = (score >= low) & (score <= high)
        found += [c for c in _explain_cluster(codes, forecast, real, inside, normal, weight) if c not in found]
    return found


def _clusters(score: Array, residual: Array) -> list[tuple[float, float]]:
    """Ranges of deviation scores around the modes of their density, of cells with residuals beyond the knee."""
    edges = np.linspace(residual.min(), residual.max(), 1001)
    if edges[0] == edges[-1]:
        return []
    counts = np.histogram(residual, edges)[0].astype(float)
    bandwidth = residual.std() * len(residual) ** -0.2 / (edges[1] - edges[0])  # Scott's rule, in bins
    share = np.cumsum(ndimage.gaussian_filter1d(counts, bandwidth, mode="constant"))
    share = (share - share[0]) / (share[-1] - share[0])
    knee = edges[:-1][np.argmax(share - np.linspace(0.0, 1.0, len(share)))]  # Kneedle, concave and increasing
    some = score[residual > knee]
    if len(some) < 2 or some.min() == some.max():
        return [(float(some.min()), float(some.max()))] if len(some) and abs(some.mean()) >= NORMAL_DEVIATION else []
    density, edges = np.histogram(some, np.histogram_bin_edges(some, "auto"))
    density = np.concatenate([[0.0], density.astype(float), [0.0]])
    width = max(int(np.count_nonzero(density)) // 10, 1)
    density = np.convolve(density, np.ones(width) / width, mode="same")
    step = edges[1] - edges[0]
    centre = np.concatenate([[edges[0] - step / 2], (edges[1:] + edges[:-1]) / 2, [edges[-1] + step / 2]])
    left, right = np.roll(density, 1), np.roll(density, -1)
    peaks = np.flatnonzero((density > left) & (density > right) & (density > 0))
    valleys = np.flatnonzero((density <= left) & (density <= right))
    found = []
    for peak in peaks:
        below, above = valleys[valleys < peak], valleys[valleys > peak]
        low = centre[below[-1]] if len(below) else -math.inf
        high = centre[above[0]] if len(above) else math.inf
        members = some[(some >= low) & (some <= high)]
        if len(members) and np.abs(members).mean() >= NORMAL_DEVIATION:
            found.append((float(members.min()), float(members.max())))
    return found


def _explain_cluster(
    codes: Codes, forecast: Array, real: Array, inside: NDArray[np.bool_], normal: NDArray[np.bool_], weight: float
) -> list[Conditions]:
    used = inside | normal
    best: tuple[float, list[Conditions]] | None = None
    for layer in range(1, codes.shape[1] + 1):
        good = False
        for dimensions in itertools.combinations(range(codes.shape[1]), layer):
            rows, group = elements_of(codes, dimensions)
            in_cluster = np.bincount(group[inside], minlength=len(rows))
            descent = in_cluster / np.bincount(group, minlength=len(rows))
            order = np.argsort(-descent, kind="stable")[: np.count_nonzero(in_cluster)]
            most = min(len(order), MOST_ELEMENTS, len(rows) - 1)
            scores = [_potential(forecast, real, np.isin(group, order[:k]), used) for k in range(1, most + 1)]
            if not scores:
                continue
            k = int(np.argmax(scores)) + 1
            rank = scores[k - 1] * weight - k * layer
            good |= scores[k - 1] > GOOD_ENOUGH
            if best is None or rank > best[0]:
                elements = [tuple((d, int(v)) for d, v in zip(dimensions, rows[g], strict=True)) for g in order[:k]]
                best = (rank, elements)
        if good:
            break
    return best[1] if best else []


def _potential(forecast: Array, real: Array, chosen: NDArray[np.bool_], used: NDArray[np.bool_]) -> float:
    """Generalised potential score: how much better the cells fit when the chosen ones share the elements' factor."""
    inside, outside = chosen & used, used & ~chosen
    if not inside.any():
        return -math.inf
    factor = real[inside].sum() / max(forecast[inside].sum(), 1e-12)
    away = float(np.abs(real[inside] - factor * forecast[inside]).mean())
    before = float(np.abs(real[inside] - forecast[inside]).mean())
    rest = float(np.abs(real[outside] - forecast[outside]).mean()) if outside.any() else 0.0
    return 1.0 - (away + rest) / (before + rest) if before + rest > 0 else -math.inf


# ---------------------------------------------------------------------------------------------------------------------
# RiskLoc

EXTREMES = 5
RISK = 0.5
PROPORTION = 0.02


def riskloc(codes: Codes, forecast: Array, real: Array) -> list[Conditions]:
    """Split cells at a cut-off of the deviation score; take elements whose cells lie beyond it by weight, one by one.

    M. Kalander: RiskLoc: Localization of multi-dimensional root causes by weighted risk, arXiv:2205.10004, 2022.
    """
    score = deviation(forecast, real)
    change = float(real.sum() - forecast.sum())
    if change == 0:
        return []
    explains = (real - forecast) / change
    distinct = np.unique(score)
    if len(distinct) <= EXTREMES:
        return []
    ends = (distinct[EXTREMES], distinct[-EXTREMES - 1])
    cut = -min(ends, key=abs)
    beyond = score > cut if cut >= 0 else score < cut
    weight = np.minimum(np.where(beyond, np.abs(score), np.abs(cut - score)), 1.0)
    weight[(forecast == 0) & (real == 0)] = 0.0
    if explains[beyond].sum() < 0:
        explains = -explains
    least = explains[beyond].sum() * PROPORTION
    left = np.ones(len(score), dtype=bool)
    found: list[Conditions] = []
    while explains[left & beyond].sum() >= max(least, 1e-12):
        element = _riskiest(
            codes[left], forecast[left], real[left], score[left], explains[left], weight[left], beyond[left], least
        )
        if element is None:
            break
        found.append(element)
        inside = np.ones(len(score), dtype=bool)
        for d, v in element:
            inside &= codes[:, d] == v
        left &= ~inside
    return found


def _riskiest(
    codes: Codes, forecast: Array, real: Array, score: Array, explains: Array, weight: Array,
    beyond: NDArray[np.bool_], least: float,
) -> Conditions | None:  # fmt: skip
    hopeless = np.zeros(
        len(codes), dtype=bool
    )  # cells of single values that cannot explain enough: pruned below layer 1
    for layer in range(1, codes.shape[1] + 1):
        best: tuple[float, Conditions] | None = None
        pruned = np.zeros(len(codes), dtype=bool)
        for dimensions in itertools.combinations(range(codes.shape[1]), layer):
            rows, group = elements_of(codes, dimensions)
            power = np.bincount(group[~hopeless], explains[~hopeless], len(rows))
            some = np.bincount(group[beyond & ~hopeless], minlength=len(rows)) > 0
            if layer == 1:
                positive = np.bincount(group, np.maximum(explains, 0.0), len(rows))
                pruned |= (positive < least)[group] | ~some[group]
            risk = _risks(forecast, real, score, weight, beyond, np.where(hopeless, -1, group), len(rows))
            able = np.flatnonzero(some & (risk >= RISK) & (power > (best[0] if best else least)))
            if len(able):
                element = able[np.argmax(power[able])]
                conditions = tuple((d, int(v)) for d, v in zip(dimensions, rows[element], strict=True))
                best = (float(power[element]), conditions)
        hopeless |= pruned
        if best is not None:
            return best[1]
    return None


def _risks(
    forecast: Array,
    real: Array,
    score: Array,
    weight: Array,
    beyond: NDArray[np.bool_],
    group: NDArray[np.intp],
    size: int,
) -> Array:
    """Per element: how much of it is beyond the cut-off, less how badly its cells follow the element's own factor."""

    def summed(values: Array, rows: NDArray[np.bool_]) -> Array:
        return np.bincount(group[rows], values[rows], size)

    kept = group >= 0
    anomalous, normal = summed(weight, kept & beyond), summed(weight, kept & ~beyond) + 1.0
    whole = kept & (forecast != 0) & (real != 0)
    factor = summed(real, whole) / np.maximum(summed(forecast, whole), 1e-300)
    spread, usual = summed(np.abs(deviation(forecast * factor[group], real)), whole), summed(np.abs(score), whole)
    low = np.where(usual > 0, spread / np.where(usual > 0, usual, 1.0), 0.0)
    return np.asarray(anomalous / (anomalous + normal) - low)


METHODS: dict[str, Locate] = {
    "Adtributor (2014)": adtributor,
    "recursive Adtributor (2018)": recursive_adtributor,
    "Squeeze (2019)": squeeze,
    "RiskLoc (2022)": riskloc,
}
