"""From cube rows to the detector's panel: dense, with missing told apart from zero."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from health_pipeline.catalog.model import Catalog
from health_pipeline.stats.panel import Panel, Scale

SCALES = {"count": Scale.COUNT, "proportion": Scale.PROPORTION, "mean": Scale.MEAN}


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def build_panel(
    catalog: Catalog, cube: pa.Table, deliveries: pa.Table, days: Sequence[dt.date]
) -> tuple[Panel, list[str]]:
    """The panel of every series with a row in ``cube``, and the delivering unit of each.

    * A day whose unit did not deliver completely is missing (NaN).
    * A day on which the unit delivered and the segment does not appear is a zero, from the segment's first event on;
      a share's denominator is then that of the other segments of its whole.
    * A day whose denominator is below the metric's minimum is missing.
    """
    first = days[0]
    width = len(days)
    key = pc.binary_join_element_wise(cube["metric"], cube["segment"], "|")
    row, names = _codes(key)
    whole, whole_names = _codes(pc.binary_join_element_wise(cube["metric"], cube["whole"], "|"))
    column = _day_columns(cube["day"], first)
    metric_of = [n.split("|", 1)[0] for n in names]
    metrics = {m.name: m for m in catalog.metrics}
    unit_code, unit_names = _codes(cube["unit"])

    numerator = np.full((len(names), width), np.nan)
    numerator[row, column] = cube["numerator"].to_numpy()
    given = cube["denominator"].to_numpy()
    of_whole = np.full((len(whole_names), width), np.nan)
    of_whole[whole, column] = given
    row_whole = np.zeros(len(names), dtype=np.int64)
    row_whole[row] = whole
    row_unit = np.zeros(len(names), dtype=np.int64)
    row_unit[row] = unit_code
    scale = np.array([SCALES[metrics[m].type] for m in metric_of], dtype=np.int8)
    denominator = np.where((scale == Scale.COUNT)[:, None], 1.0, of_whole[row_whole])

    complete = _complete(deliveries, unit_names, first, width)[row_unit]
    born = np.maximum.accumulate(~np.isnan(numerator) & (numerator > 0), axis=1)
    absent = np.isnan(numerator) & (scale != Scale.MEAN)[:, None] & ~np.isnan(denominator)
    numerator[absent] = 0.0
    smallest = np.array([metrics[m].minimum_denominator for m in metric_of])
    enough = denominator >= np.where(scale == Scale.COUNT, 0.0, smallest)[:, None]
    numerator[~(complete & born & enough)] = np.nan
    units = [unit_names[u] for u in row_unit]
    return Panel(tuple(names), np.array(days, dtype="datetime64[D]"), scale, numerator, denominator), units


def _day_columns(column: pa.ChunkedArray, first: dt.date) -> NDArray[np.int64]:
    offset = (first - dt.date(1970, 1, 1)).days
    days: NDArray[np.int64] = column.cast(pa.int32()).to_numpy().astype(np.int64)
    return days - offset


def _complete(deliveries: pa.Table, units: Sequence[str], first: dt.date, width: int) -> NDArray[np.bool_]:
    """(units, days): whether the unit delivered completely."""
    complete = np.zeros((len(units), width), dtype=np.bool_)
    place = {unit: i for i, unit in enumerate(units)}
    code, names = _codes(deliveries["unit"])
    target = np.array([place.get(n, -1) for n in names], dtype=np.int64)[code] if names else code
    good = pc.equal(deliveries["finding"], "complete").to_numpy(zero_copy_only=False) & (target >= 0)
    complete[target[good], _day_columns(deliveries["day"], first)[good]] = True
    return complete
