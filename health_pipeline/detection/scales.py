"""From a long table to the detector's panel: on which scale each series is judged, and which days are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from health_pipeline.detection.table import Floats, LongTable
from health_pipeline.errors import InputError
from health_pipeline.stats.detect import MINIMUM_HISTORY
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.spans import LOOKBACK

Type = Literal["count", "proportion", "rate", "mean", "number"]
"""``number`` has either sign: its changes are differences, not ratios. It is never assumed, only asked for."""
Absent = Literal["missing", "zero"]

TYPES: tuple[Type, ...] = get_args(Type)
SCALES: dict[Type, Scale] = {
    "count": Scale.COUNT, "proportion": Scale.PROPORTION, "rate": Scale.RATE, "mean": Scale.MEAN, "number": Scale.MEAN
}  # fmt: skip
USUAL_MEAN = 100.0
"""Means are judged as log(1 + value): in a unit in which the series is usually of this size, one is next to nothing."""
CENTRE = 200.0
"""Numbers of either sign are judged as spreads from their median on top of so many: there, logarithms are linear."""


@dataclass(frozen=True)
class Scaled:
    """A panel and what it takes to read the detector's answers in the table's own unit.

    Attributes:
        panel: N series x T days; the first may be later than the table's where more past has no use.
        types: N.
        factor, origin: N; the panel's value = (the table's value - origin) x factor.
        absent: days filled with zeros, all series together.
        missing: days without a value between a series' first and the table's last, all series together.
    """

    panel: Panel
    types: tuple[Type, ...]
    factor: Floats
    origin: Floats
    absent: int
    missing: int

    def own(self, rows: NDArray[np.int64] | int, values: Floats | float) -> Floats:
        """Values of the panel's natural scale in the table's unit."""
        own: Floats = np.asarray(values / self.factor[rows] + self.origin[rows])
        return own


def scaled(
    table: LongTable,
    *,
    kind: Type | None = None,
    absent: Absent = "missing",
    first: np.datetime64 | None = None,
    together: bool = False,
    special: Sequence[tuple[np.datetime64, str | None]] = (),
) -> Scaled:
    """Lay a long table out as series x days.

    * Without a denominator, a series of whole numbers is a count, another one a mean. With one, whole numbers that
      never exceed it are a proportion, other whole numbers a rate, and what is not whole a mean, value / denominator.
    * Zeros before the first value above zero are no history: what is counted did not exist yet.

    Args:
        kind: the type of every series, instead.
        absent: what a day without a row is: ``missing``, or of counts ``zero``: from the series' first row on, and on
            days on which any series has one.
        first: the first day to be judged, where it is known: ``LOOKBACK`` days before it are enough.
        together: whether all series without a cohort are of one.
        special: days known to be out of the ordinary, with the cohort they belong to or ``None`` for all.

    Raises:
        InputError: ``kind`` does not fit the table.
    """
    width = int((table.last - table.first) / np.timedelta64(1, "D")) + 1
    skipped = 0
    if first is not None:
        skipped = min(max(int((first - table.first) / np.timedelta64(1, "D")) - LOOKBACK, 0), width - 1)
    count = len(table.series)
    value, denominator = np.full((count, width - skipped), np.nan), np.ones((count, width - skipped))
    kept = np.flatnonzero(table.column >= skipped) if skipped else slice(None)
    code, column = table.code[kept], table.column[kept] - skipped
    value[code, column] = table.value[kept]
    divided = np.zeros(count, dtype=np.bool_)
    divided[code] = ~np.isnan(table.denominator[kept])
    with_one = divided[code]
    denominator[code[with_one], column[with_one]] = table.denominator[kept][with_one]

    types = _types(value, denominator, divided) if kind is None else [kind] * count
    if kind is not None:
        _fits(table.name, kind, value, denominator, divided, table.series)
    any_row = ~np.isnan(value).all(axis=0)
    counts = np.array([t == "count" for t in types], dtype=np.bool_)
    born = np.maximum.accumulate(~np.isnan(value), axis=1)
    filled = np.zeros(value.shape, dtype=np.bool_)
    if absent == "zero":
        filled = np.isnan(value) & born & any_row & counts[:, None]
        value[filled] = 0.0
    missing = int((np.isnan(value) & born).sum())
    events = np.array([t in ("count", "proportion", "rate") for t in types], dtype=np.bool_)
    value[~np.maximum.accumulate(value > 0, axis=1) & events[:, None]] = np.nan

    factor, origin = np.ones(count), np.zeros(count)
    averaged = np.flatnonzero([t in ("mean", "number") for t in types])
    if len(averaged):
        head = value[averaged] / denominator[averaged]
        head[np.cumsum(~np.isnan(head), axis=1) > MINIMUM_HISTORY] = np.nan
        factor[averaged], origin[averaged] = _units(head, np.array([types[i] == "number" for i in averaged]))
    rows = np.flatnonzero(np.array([t == "number" for t in types], dtype=np.bool_))
    value = (value - origin[:, None] * denominator) * factor[:, None]
    if len(rows):  # what is hundreds of spreads away is there all the same
        value[rows] = np.maximum(value[rows], -0.9 * denominator[rows])

    days = (table.first + np.arange(skipped, width)).astype("datetime64[D]")
    cohort = table.cohort.copy()
    if together:
        cohort[cohort < 0] = len(table.cohorts)
    scale = np.array([SCALES[t] for t in types], dtype=np.int8)
    panel = Panel(
        table.series, days, scale, value, denominator, cohort=cohort, special=_special(table, days, special)
    )  # fmt: skip
    return Scaled(panel, tuple(types), factor, origin, int(filled.sum()), missing)


def _types(value: Floats, denominator: Floats, divided: NDArray[np.bool_]) -> list[Type]:
    with np.errstate(invalid="ignore"):
        whole = (np.isnan(value) | (value == np.floor(value))).all(axis=1)
        whole &= ((denominator == np.floor(denominator)) | ~divided[:, None]).all(axis=1) | ~divided
        within = np.asarray((np.isnan(value) | (value <= denominator)).all(axis=1))
    return [
        "mean" if not w else "count" if not d else "proportion" if i else "rate"
        for w, d, i in zip(whole.tolist(), divided.tolist(), within.tolist(), strict=True)
    ]


def _fits(
    name: str, kind: Type, value: Floats, denominator: Floats, divided: NDArray[np.bool_], series: Sequence[str]
) -> None:
    if kind in ("proportion", "rate") and not divided.all():
        raise InputError(
            f"{name}: the series {series[int((~divided).argmax())]} has no denominator, which a {kind} needs.",
            "Name its column with --denominator, or leave out --type.",
        )
    if kind == "count" and divided.any():
        raise InputError(f"{name} has a denominator, which a count has not.", "Choose proportion, rate or mean.")
    if kind == "proportion":
        with np.errstate(invalid="ignore"):
            above = (value > denominator).any(axis=1)
        if above.any():
            raise InputError(
                f"{name}: the series {series[int(above.argmax())]} has values above their denominator: no proportion.",
                "Choose --type rate.",
            )


def _units(head: Floats, signed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Factor and origin of each series, from the first days it can be judged by.

    Later days must not change what was judged before them.
    """
    import bottleneck as bn

    usual = bn.nanmedian(np.where(head > 0, head, np.nan), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(usual > 0, 10.0 ** np.round(np.log10(USUAL_MEAN / usual)), USUAL_MEAN)
        centre = np.nan_to_num(bn.nanmedian(head, axis=1))
        spread = bn.nanmean(np.abs(head - centre[:, None]), axis=1)
        per_spread = np.where(spread > 0, 1.0 / spread, 1.0 / np.maximum(0.01 * np.abs(centre), 1e-9))
    return np.where(signed, per_spread, factor), np.where(signed, centre - CENTRE / per_spread, 0.0)


def _special(
    table: LongTable, days: NDArray[np.datetime64], special: Sequence[tuple[np.datetime64, str | None]]
) -> NDArray[np.bool_]:
    """(N, T); raises InputError for a cohort that the table does not have."""
    marked = np.zeros((len(table.series), len(days)), dtype=np.bool_)
    code = {name: i for i, name in enumerate(table.cohorts)}
    for day, cohort in special:
        if cohort is not None and cohort not in code:
            raise InputError(
                f"The calendar names a cohort {cohort!r} that {table.name} does not have.",
                f"It has {', '.join(table.cohorts[:20])}." if table.cohorts else "It has no cohorts: leave them out.",
            )
        at = int((day - days[0]) / np.timedelta64(1, "D"))
        if 0 <= at < len(days):
            marked[slice(None) if cohort is None else table.cohort == code[cohort], at] = True
    return marked
