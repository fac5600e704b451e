"""From cube rows to the detector's panel: dense, with missing told apart from zero, and immature held back."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.bins import quantiles
from health_pipeline.stats.panel import Panel, Scale

REMEMBERED_DAYS = 84  # a segment without an event for so long is gone; should it come back, it starts anew
SUPPORT_DAYS = 28  # what is usual for a series is the median of so many days
FEWEST_CLUSTERS = 5.0  # with fewer creators, by Kish's count, a day's share or ratio is theirs and not the segment's
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
    * A day on which the unit delivered and the segment does not appear is a zero, for ``REMEMBERED_DAYS`` from the
      segment's last event on; a share's denominator is then that of the other segments of its whole.
    * A day whose denominator (for design-weighted samples: the number of draws) is below the metric's minimum is
      missing.
    * A series is late by its metric's horizon: column t holds the value of day t less the horizon, when it is mature.
    * What a day's sample tells of its own precision goes along (``Panel.sampling``): where one creator makes most of a
      day, the day says little. A share or ratio of fewer than ``FEWEST_CLUSTERS`` effective creators is missing.
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

    size = np.ones(numerator.shape)
    moments = {name: dense(_numbers(cube[name])) for name in ("n", "numerator_sq", "denominator_sq", "product")}
    sampling = _sampling(scale, numerator, denominator, moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        clusters = denominator**2 / moments["denominator_sq"]
    enough &= (types == "weighted")[:, None] | ~(clusters < FEWEST_CLUSTERS)
    quantile = np.flatnonzero(types == "quantile")
    if len(quantile):
        value, sampling[quantile] = _quantiles(catalog, histograms, [names[i] for i in quantile], first, width)
        numerator[quantile] = value * denominator[quantile]
    ratio = np.flatnonzero(types == "ratio")
    if len(ratio):
        size[ratio] = _event_size(numerator[ratio], denominator[ratio], _only(moments, ratio))
        numerator[ratio] /= size[ratio]
        denominator[ratio] /= size[ratio]
    weighted = np.flatnonzero(types == "weighted")
    if len(weighted):
        draws = np.nan_to_num(moments["n"][weighted])
        enough[weighted] = draws >= np.array([metric_of[i].minimum_denominator for i in weighted])[:, None]
        value = numerator[weighted] / denominator[weighted]
        effective = effective_draws(value, denominator[weighted], _only(moments, weighted))
        numerator[weighted], denominator[weighted] = value * effective, effective

    complete = _complete(catalog, deliveries, metric_of, units, first, width)
    born = _within(~np.isnan(numerator) & (numerator > 0), REMEMBERED_DAYS)
    counted = np.isin(scale, (Scale.COUNT, Scale.PROPORTION, Scale.RATE)) & (types != "weighted")
    absent = np.isnan(numerator) & counted[:, None] & ~np.isnan(denominator)
    numerator[absent] = 0.0
    numerator[~(complete & born & enough)] = np.nan
    lag = np.array([m.horizon for m in metric_of], dtype=np.int64)
    for late in np.unique(lag[lag > 0]):
        rows = np.flatnonzero(lag == late)
        for values, none in ((numerator, np.nan), (denominator, np.nan), (sampling, 0.0), (size, 1.0)):
            held = np.full((len(rows), width), none)
            held[:, late:] = values[rows, : max(width - late, 0)]
            values[rows] = held
    supported = _supported(scale, numerator, denominator, sampling, catalog.ecosystem.detection.minimum_support)
    at = np.array(days, dtype="datetime64[D]")
    pool = np.array([_number(m.name) for m in metric_of], dtype=np.int64)
    cohort = _cohorts(catalog, names, units)
    panel = Panel(tuple(names), at, scale, numerator, denominator, lag, size, supported, sampling, pool, cohort)
    order = np.argsort(np.array(names, dtype=str)) if names else np.zeros(0, dtype=np.int64)
    return panel.only(*order.tolist()), [units[i] for i in order]


def _number(name: str) -> int:
    """A number for a name, the same in every run."""
    return zlib.crc32(name.encode())


def _cohorts(catalog: Catalog, series: Sequence[str], units: Sequence[str]) -> NDArray[np.int64]:
    """The parts of one metric in one unit have days in common, where their total is there to show what all do."""
    split = [name.split("|", 1) for name in series]
    roots = {"" if unit == EVERY_UNIT else f"{catalog.unit}={unit}" for unit in units}
    totals = {(m, u) for (m, segment), u in zip(split, units, strict=True) if segment in roots}
    return np.array(
        [
            _number(f"{m}|{u}") if (m, u) in totals and segment not in roots else -1
            for (m, segment), u in zip(split, units, strict=True)
        ],
        dtype=np.int64,
    )


def _within(event: NDArray[np.bool_], days: int) -> NDArray[np.bool_]:
    """Whether there was an event on a day or within so many days before it."""
    place = np.where(event, np.arange(event.shape[1])[None, :], -days - 1)
    newest = np.maximum.accumulate(place, axis=1)
    return np.asarray(np.arange(event.shape[1])[None, :] - newest <= days, dtype=np.bool_)


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


def _sampling(scale: NDArray[np.int8], numerator: Array, denominator: Array, moments: Mapping[str, Array]) -> Array:
    """Variance of each day's value on its additive scale, over the clusters or draws it is made of.

    Counts as a compound Poisson process (sum of squares over square of the sum), rates, shares and means by the delta
    method. A value that a single cluster makes has no variance of its own to tell: it is given one of 1 on the log
    scale, by which it says next to nothing. 0 where no moments are kept, and where there are no events.
    """
    value = np.where((scale == Scale.COUNT)[:, None], 0.0, numerator / np.where(denominator > 0, denominator, np.nan))
    clusters = moments["n"]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.where(
            (scale == Scale.COUNT)[:, None],
            moments["numerator_sq"],
            _residual_squares(value, moments) * clusters / (clusters - 1.0),
        )
        slope = np.where(  # of the additive scale, in units of the numerator
            (scale == Scale.PROPORTION)[:, None],
            1.0 / (numerator * (1.0 - value)),
            np.where((scale == Scale.MEAN)[:, None], 1.0 / (denominator + numerator), 1.0 / numerator),
        )
        variance = np.where(clusters <= 1, 1.0, squares * slope**2)
    return np.where(np.isfinite(variance) & (numerator > 0), np.maximum(variance, 0.0), 0.0)


def _event_size(numerator: Array, denominator: Array, moments: Mapping[str, Array]) -> Array:
    """How large an event is, were the numerator a Poisson number of equal events with the delta method's variance.

    A series' own median over four weeks, so that a day's size hardly follows its value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = _residual_squares(numerator / denominator, moments)
        clusters = moments["n"]
        size = np.where((clusters > 1) & (numerator > 0), squares * clusters / (clusters - 1) / numerator, np.nan)
    usual = _usual(size)
    return np.where(np.isnan(usual), 1.0, np.maximum(usual, 1e-9))


def effective_draws(value: Array, weight: Array, moments: Mapping[str, Array]) -> Array:
    """(series, days) draws of a simple random sample that would know the share, or mean, as well.

    What a design costs shows in few draws: in a positive of large weight, now and then. So the design's effect is taken
    from the sums over the four weeks, around their share: a median of days would see the ordinary ones only, and take
    the sample for twice as good as it is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        kish = weight**2 / moments["denominator_sq"]
        share = _recent(value * weight) / _recent(weight)
        squares, spread = _recent(_residual_squares(share, moments)), _recent(moments["denominator_sq"])
        effect = np.where((share > 0) & (share < 1), squares / spread / (share * (1.0 - share)), 1.0)
    effective: Array = kish / np.clip(effect, SMALLEST_EFFECT, LARGEST_EFFECT)
    return effective


def _recent(values: Array) -> Array:
    """Sum over the last four weeks, each day included: of the past alone, as :func:`_usual`."""
    import bottleneck as bn

    summed: Array = bn.move_sum(values, min(SUPPORT_DAYS, values.shape[1]), min_count=1, axis=1)
    return summed


def _usual(values: Array) -> Array:
    """Median of the last four weeks, each day included: of the past alone, so that a replay tells what living did."""
    import bottleneck as bn

    usual: Array = bn.move_median(values, min(SUPPORT_DAYS, values.shape[1]), min_count=1, axis=1)
    return usual


def _quantiles(
    catalog: Catalog, histograms: pa.Table, series: Sequence[str], first: dt.date, width: int
) -> tuple[Array, Array]:
    """(series, days) of the quantile each metric asks for, and its variance on the scale log(1 + value).

    NaN on a day without rows, or when it is still open. The variance is Woodruff's: from the quantiles one standard
    error of the level below and above (*Journal of the American Statistical Association* 47, 1952).
    """
    place = {name: i for i, name in enumerate(series)}
    code, names = _codes(pc.binary_join_element_wise(histograms["metric"], histograms["segment"], "|"))
    target = np.array([place.get(name, -1) for name in names], dtype=np.int64)[code] if names else code
    rows = np.flatnonzero(target >= 0)
    at = target[rows] * width + _day_columns(histograms["day"], first)[rows]
    bins, counts = histograms["bin"].to_numpy().astype(np.int64)[rows], _numbers(histograms["count"])[rows]
    levels = {m.name: m.quantile.level for m in catalog.metrics if m.quantile is not None}
    level = np.repeat([levels[name.split("|", 1)[0]] for name in series], width)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.nan_to_num(np.sqrt(level * (1.0 - level) / np.bincount(at, counts, level.size)), posinf=0.0)
    told, low, high = (
        quantiles(at, bins, counts, np.clip(level + step * error, 1e-6, 1.0), level.size).reshape(-1, width)
        for step in (0, -1, 1)
    )
    told = np.where(np.isfinite(told), told, np.nan)
    with np.errstate(invalid="ignore"):
        below, above = (np.log1p(told) - np.log1p(low)), (np.log1p(high) - np.log1p(told))
    spread = np.where(np.isfinite(above), np.maximum(below, above), below)
    return told, np.nan_to_num(spread**2)


def _supported(
    scale: NDArray[np.int8], numerator: Array, denominator: Array, sampling: Array, floor: float
) -> NDArray[np.bool_]:
    """Whether a series has, in the median of four weeks or on the day itself, at least ``floor`` things a day.

    Things are what is counted, and for shares and means what they are out of; of counts that creators make, no more
    than a Poisson process of equal events would need for the same precision. A burst in a small segment counts.
    """
    if floor <= 0:
        return _within(~np.isnan(numerator), REMEMBERED_DAYS)  # not before it is there: a replay knows who will come
    counted = np.isin(scale, (Scale.COUNT, Scale.RATE))[:, None]
    with np.errstate(divide="ignore"):
        events = np.fmin(numerator, np.where(sampling > 0, 1.0 / sampling, np.inf))
    things = np.where(np.isnan(numerator), np.nan, np.where(counted, events, denominator))
    return np.asarray(np.fmax(_usual(things), things) >= floor, dtype=np.bool_)


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
