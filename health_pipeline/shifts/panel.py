"""From cube rows to the detector's panel: dense, with missing told apart from zero, and immature held back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.stats.bins import quantiles
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.rolling import Array

SUPPORT_DAYS = 28
SMALLEST_EFFECT, LARGEST_EFFECT = 0.2, 5.0  # bounds of a sample's design effect beyond that of its weights


def scale_of(metric: Metric) -> Scale:
    """The additive scale on which a metric's changes are judged."""
    if metric.type == "weighted":
        return Scale.PROPORTION if metric.is_share else Scale.MEAN
    return {
        "count": Scale.COUNT, "rate": Scale.RATE, "ratio": Scale.RATE, "proportion": Scale.PROPORTION,
        "mean": Scale.MEAN, "quantile": Scale.MEAN,
    }[metric.type]  # fmt: skip


def build_panel(
    catalog: Catalog, cube: pa.Table, histograms: pa.Table, deliveries: pa.Table, days: Sequence[dt.date]
) -> tuple[Panel, list[str]]:
    """The panel of every series with a row in ``cube``, and the unit of each.

    * A day on which the unit, or for totals over units any unit, did not deliver completely is missing (NaN).
    * A day on which the unit delivered and the segment does not appear is a zero, from the segment's first event on;
      a share's denominator is then that of the other segments of its whole.
    * A day whose denominator (for design-weighted samples: the number of draws) is below the metric's minimum is
      missing.
    * A series is late by its metric's horizon: column t holds the value of day t less the horizon, when it is mature.
    * Ratios are counted in effective events: their totals over the size whose Poisson variance is the delta method's.
      Design-weighted shares are counted in effective draws (Kish, *Survey Sampling*, 1965), corrected for how the
      weights of positives differ from the others'.

    Args:
        cube, histograms, deliveries: rows of ``days``.
        days: consecutive.
    """
    first, width = days[0], len(days)
    row, names = _codes(pc.binary_join_element_wise(cube["metric"], cube["segment"], "|"))
    whole, whole_names = _codes(pc.binary_join_element_wise(cube["metric"], cube["whole"], "|"))
    column = _day_columns(cube["day"], first)
    metrics = {m.name: m for m in catalog.metrics}
    metric_of = [metrics[n.split("|", 1)[0]] for n in names]
    unit_code, unit_names = _codes(cube["unit"])

    def dense(values: Array, code: NDArray[np.int64] = row, rows: int = len(names)) -> Array:
        out = np.full((rows, width), np.nan)
        out[code, column] = values
        return out

    numerator = dense(_numbers(cube["numerator"]))
    of_whole = dense(_numbers(cube["denominator"]), whole, len(whole_names))
    row_whole = np.zeros(len(names), dtype=np.int64)
    row_whole[row] = whole
    row_unit = np.zeros(len(names), dtype=np.int64)
    row_unit[row] = unit_code
    units = [unit_names[u] for u in row_unit]
    scale = np.array([scale_of(m) for m in metric_of], dtype=np.int8)
    types = np.array([m.type for m in metric_of], dtype=object)
    denominator = np.where((scale == Scale.COUNT)[:, None], 1.0, of_whole[row_whole])
    uncounted = ("count", "weighted")  # one has no denominator, of the other the draws are counted below
    floor = np.array([0.0 if m.type in uncounted else m.minimum_denominator for m in metric_of])
    enough = denominator >= floor[:, None]

    quantile = np.flatnonzero(types == "quantile")
    if len(quantile):
        numerator[quantile] = _quantiles(catalog, histograms, [names[i] for i in quantile], first, width)
        numerator[quantile] *= denominator[quantile]
    size = np.ones(len(names))
    moments = {name: dense(_numbers(cube[name])) for name in ("n", "numerator_sq", "denominator_sq", "product")}
    ratio = np.flatnonzero(types == "ratio")
    if len(ratio):
        size[ratio] = _event_size(numerator[ratio], denominator[ratio], _only(moments, ratio))
        numerator[ratio] /= size[ratio, None]
        denominator[ratio] /= size[ratio, None]
    weighted = np.flatnonzero(types == "weighted")
    if len(weighted):
        draws = np.nan_to_num(moments["n"][weighted])
        enough[weighted] = draws >= np.array([metric_of[i].minimum_denominator for i in weighted])[:, None]
        value = numerator[weighted] / denominator[weighted]
        effective = _effective_draws(value, denominator[weighted], _only(moments, weighted))
        numerator[weighted], denominator[weighted] = value * effective, effective

    complete = _complete(catalog, deliveries, metric_of, units, first, width)
    born = np.maximum.accumulate(~np.isnan(numerator) & (numerator > 0), axis=1)
    counted = np.isin(scale, (Scale.COUNT, Scale.PROPORTION, Scale.RATE)) & (types != "weighted")
    absent = np.isnan(numerator) & counted[:, None] & ~np.isnan(denominator)
    numerator[absent] = 0.0
    numerator[~(complete & born & enough)] = np.nan
    lag = np.array([m.horizon for m in metric_of], dtype=np.int64)
    for late in np.unique(lag[lag > 0]):
        rows = np.flatnonzero(lag == late)
        for values in (numerator, denominator):
            held = np.full((len(rows), width), np.nan)
            held[:, late:] = values[rows, : max(width - late, 0)]
            values[rows] = held
    supported = _supported(scale, numerator, denominator, catalog.ecosystem.detection.minimum_support)
    at = np.array(days, dtype="datetime64[D]")
    return Panel(tuple(names), at, scale, numerator, denominator, lag, size, supported), units


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _numbers(column: pa.ChunkedArray) -> Array:
    """A column of numbers; NaN where it is null."""
    numbers: Array = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _only(moments: Mapping[str, Array], rows: NDArray[np.int64]) -> dict[str, Array]:
    return {name: values[rows] for name, values in moments.items()}


def _day_columns(column: pa.ChunkedArray, first: dt.date) -> NDArray[np.int64]:
    offset = (first - dt.date(1970, 1, 1)).days
    days: NDArray[np.int64] = column.cast(pa.int32()).to_numpy().astype(np.int64)
    return days - offset


def _residual_squares(value: Array, moments: Mapping[str, Array]) -> Array:
    """Squares of (numerator - value x denominator), summed over clusters or draws."""
    return moments["numerator_sq"] - 2.0 * value * moments["product"] + value**2 * moments["denominator_sq"]


def _event_size(numerator: Array, denominator: Array, moments: Mapping[str, Array]) -> Array:
    """How large an event is, were the numerator a Poisson number of equal events with the delta method's variance.

    A series' own median over the days, so that a day's size does not follow its value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = _residual_squares(numerator / denominator, moments)
        clusters = moments["n"]
        size = np.where((clusters > 1) & (numerator > 0), squares * clusters / (clusters - 1) / numerator, np.nan)
    known = ~np.isnan(size).all(axis=1)
    out = np.ones(len(size))
    out[known] = np.maximum(np.nanmedian(size[known], axis=1), 1e-9)
    return out


def _effective_draws(value: Array, weight: Array, moments: Mapping[str, Array]) -> Array:
    """Draws of a simple random sample that would know the share, or mean, as well."""
    with np.errstate(divide="ignore", invalid="ignore"):
        kish = weight**2 / moments["denominator_sq"]
        variance = _residual_squares(value, moments) / weight**2
        effect = np.where((value > 0) & (value < 1), variance * kish / (value * (1.0 - value)), np.nan)
    own = np.ones(len(effect))
    known = ~np.isnan(effect).all(axis=1)
    own[known] = np.clip(np.nanmedian(effect[known], axis=1), SMALLEST_EFFECT, LARGEST_EFFECT)
    effective: Array = kish / own[:, None]
    return effective


def _quantiles(catalog: Catalog, histograms: pa.Table, series: Sequence[str], first: dt.date, width: int) -> Array:
    """(series, days) of the quantile each metric asks for; NaN on a day without rows, or when it is still open."""
    out = np.full((len(series), width), np.nan)
    place = {name: i for i, name in enumerate(series)}
    code, names = _codes(pc.binary_join_element_wise(histograms["metric"], histograms["segment"], "|"))
    levels = {m.name: m.quantile.level for m in catalog.metrics if m.quantile is not None}
    target = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    level = np.array([levels.get(name.split("|", 1)[0], np.nan) for name in names])
    bins, counts = histograms["bin"].to_numpy().astype(np.int64), _numbers(histograms["count"])
    place_of = target[code] * width + _day_columns(histograms["day"], first) if names else np.zeros(0, np.int64)
    for wanted in sorted(set(levels.values())):
        rows = np.flatnonzero((level[code] == wanted) & (target[code] >= 0)) if names else np.zeros(0, np.int64)
        told = quantiles(place_of[rows], bins[rows], counts[rows], wanted, out.size).reshape(out.shape)
        out = np.where(np.isfinite(told), told, out)
    return out


def _supported(scale: NDArray[np.int8], numerator: Array, denominator: Array, floor: float) -> NDArray[np.bool_]:
    """Whether a series has, in the median of four weeks or on the day itself, at least ``floor`` things a day.

    Things are what is counted, and for shares and means what they are out of. A burst in a small segment counts.
    """
    if floor <= 0:
        return np.ones(numerator.shape, dtype=np.bool_)
    import bottleneck as bn

    counted = np.isin(scale, (Scale.COUNT, Scale.RATE))[:, None]
    things = np.where(counted, numerator, np.where(np.isnan(numerator), np.nan, denominator))
    usual = bn.move_median(things, min(SUPPORT_DAYS, things.shape[1]), min_count=1, axis=1)
    return np.asarray(np.fmax(usual, things) >= floor, dtype=np.bool_)


def _complete(
    catalog: Catalog, deliveries: pa.Table, metrics: Sequence[Metric], units: Sequence[str], first: dt.date, width: int
) -> NDArray[np.bool_]:
    """(series, days): whether every table of the metric was delivered completely by the series' unit.

    A total over units is complete when every unit that is still expected delivered. A table on which no verdict was
    ever passed is complete.
    """
    by_table: dict[str, dict[str, NDArray[np.bool_]]] = {}
    offset = (first - dt.date(1970, 1, 1)).days
    for part in _by(deliveries, "table"):
        table = part["table"][0].as_py()
        code, names = _codes(part["unit"])
        finding = part["finding"].to_numpy(zero_copy_only=False)
        day = part["day"].cast(pa.int32()).to_numpy().astype(np.int64) - offset
        good = np.zeros((len(names), width), dtype=np.bool_)
        good[code, day] = finding == "complete"
        expected = np.zeros((len(names), width), dtype=np.bool_)
        expected[code, day] = finding != "retired"
        held = {name: good[i] for i, name in enumerate(names)}
        held[EVERY_UNIT] = (good | ~expected).all(axis=0) & good.any(axis=0)
        by_table[table] = held
    never, always = np.zeros(width, dtype=np.bool_), np.ones(width, dtype=np.bool_)
    known: dict[tuple[str, str], NDArray[np.bool_]] = {}
    out = np.empty((len(metrics), width), dtype=np.bool_)
    for i, (metric, unit) in enumerate(zip(metrics, units, strict=True)):
        if (metric.name, unit) not in known:
            tables = [by_table.get(t) for t in catalog.tables_of(metric)]
            parts = [always if t is None else t.get(unit, never) for t in tables]
            known[metric.name, unit] = np.logical_and.reduce(parts)
        out[i] = known[metric.name, unit]
    return out


def _by(rows: pa.Table, column: str) -> list[pa.Table]:
    return [rows.filter(pc.equal(rows[column], value)) for value in pc.unique(rows[column])]
