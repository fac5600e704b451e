"""Cube -> panel -> significant shifts, and the band each series was expected to stay in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.shifts.panel import SUPPORT_DAYS, build_panel
from health_pipeline.shifts.schema import BANDS, SHIFTS
from health_pipeline.stats.detect import LOOKBACK, Detection, Shift, detect
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable

BATCH_DAYS = 90
SPIKE_DAYS = 2
DIGITS = 9  # significant digits kept: a batch of days and a single day differ in the last bits of their sums


def version(catalog: Catalog) -> str:
    """Changes when a judgement may change for another reason than its data."""
    return "shifts-15-" + catalog.version(catalog.tables, catalog.metrics, catalog.ecosystem.detection)


def window(day: dt.date, catalog: Catalog) -> list[dt.date]:
    """The days on which the judgement of ``day`` depends, ``day`` last."""
    first = max(catalog.ecosystem.start, day - dt.timedelta(days=LOOKBACK))
    return [first + dt.timedelta(days=i) for i in range((day - first).days + 1)]


def derivation(
    catalog: Catalog,
    cube: LakeTable,
    histograms: LakeTable,
    deliveries: LakeTable,
    shifts: LakeTable,
    bands: LakeTable,
) -> Derivation:
    """Each day's shifts follow from the cube and the deliveries of the days before it, and of the day."""
    binned = any(m.type == "quantile" for m in catalog.metrics)

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for batch in _runs(days):
            needed = [*window(batch[0], catalog)[:-1], *batch]
            bins = histograms.read(needed if binned else [])
            panel, units = build_panel(catalog, cube.read(needed), bins, deliveries.read(needed), needed)
            width = min(len(batch), len(needed) - 1)  # the very first day has no past: it can't be judged
            since = max(0, len(needed) - width - SUPPORT_DAYS)
            large = np.flatnonzero(panel.supported[:, since:].any(axis=1)).tolist()
            panel, units = panel.only(*large), [units[i] for i in large]  # most segments are too small to be judged
            found = _detect(panel, width, catalog)
            for i, day in enumerate(batch):
                column = i - (len(batch) - width)
                yield day, _rows(panel, units, found, day, column, width)

    return Derivation(
        [shifts, bands],
        lambda day: [(table, window(day, catalog)) for table in (cube, deliveries, *([histograms] if binned else []))],
        version(catalog),
        compute,
    )


def _runs(days: Sequence[dt.date]) -> Iterator[list[dt.date]]:
    """Consecutive days together, at most ``BATCH_DAYS`` at once."""
    batch: list[dt.date] = []
    for day in days:
        if batch and ((day - batch[-1]).days != 1 or len(batch) == BATCH_DAYS):
            yield batch
            batch = []
        batch.append(day)
    if batch:
        yield batch


def _detect(panel: Panel, width: int, catalog: Catalog) -> Detection | None:
    if width < 1 or not panel.series:
        return None
    settings = catalog.ecosystem.detection
    return detect(panel, width, settings.false_discovery_rate, settings.minimum_change)


def _rows(
    panel: Panel, units: Sequence[str], found: Detection | None, day: dt.date, column: int, width: int
) -> tuple[pa.Table, pa.Table]:
    """Shifts and bands of one judged day; ``column`` counts within the judged days."""
    if found is None or column < 0:
        return SHIFTS.empty_table(), BANDS.empty_table()
    at = len(panel.days) - width + column
    shifts = [_shift_row(panel, units, s, day) for s in found.shifts if s.column == at]
    shifts.sort(key=lambda row: str(row["series"]))
    k, n = panel.numerator[:, at], panel.denominator[:, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(panel.scale == Scale.COUNT, k, k / n)
    # A series that was large enough lately keeps its band: an incident needs it to be seen recovering.
    lately = panel.supported[:, max(0, at - SUPPORT_DAYS) : at + 1].any(axis=1)
    known = np.flatnonzero(~np.isnan(found.band.expected[:, column]) & lately)
    order = sorted(known.tolist(), key=lambda i: panel.series[i])
    split = [panel.series[i].split("|", 1) for i in order]
    bands = pa.table(
        {
            "day": pa.array([day] * len(order), pa.date32()),
            "value_day": pa.array([panel.day(i, at) for i in order], pa.date32()),
            "series": [panel.series[i] for i in order],
            "metric": [m for m, _ in split],
            "segment": [s for _, s in split],
            "observed": pa.array(_rounded(observed[order]), from_pandas=True),
            "expected": _rounded(found.band.expected[order, column]),
            "low": pa.array(_rounded(found.band.low[order, column]), from_pandas=True),
            "high": pa.array(_rounded(found.band.high[order, column]), from_pandas=True),
        },
        schema=BANDS,
    )
    return pa.Table.from_pylist(shifts, schema=SHIFTS), bands


def _rounded(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """To ``DIGITS`` significant digits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * power) / power
    return np.where(np.isfinite(rounded), rounded, values)


def _excess(scale: int, shift: Shift) -> float:
    """Things per day beyond expectation: counted things, or counted things whose share or mean is not as expected."""
    if scale == Scale.COUNT:
        return shift.observed - shift.expected
    if scale in (Scale.PROPORTION, Scale.RATE):
        return (shift.observed - shift.expected) * shift.exposure
    return float(np.clip(shift.change, -1.0, 1.0)) * shift.denominator


def _shift_row(panel: Panel, units: Sequence[str], shift: Shift, day: dt.date) -> dict[str, object]:
    metric, segment = panel.series[shift.row].split("|", 1)
    scale = int(panel.scale[shift.row])
    numbers = {
        "expected": shift.expected, "observed": shift.observed, "change": shift.change, "change_low": shift.low,
        "change_high": shift.high, "numerator": shift.numerator, "excess": _excess(scale, shift),
        "z": shift.score, "p_value": shift.p, "q_value": shift.q,
    }  # fmt: skip
    return {
        "day": day,
        "series": panel.series[shift.row],
        "metric": metric,
        "segment": segment,
        "unit": units[shift.row],
        "kind": "spike" if shift.days <= SPIKE_DAYS else "level",
        "direction": "up" if shift.score > 0 else "down",
        "onset": panel.day(shift.row, shift.onset),
        "onset_low": panel.day(shift.row, shift.onset_low),
        "onset_high": panel.day(shift.row, shift.onset_high),
        "days": shift.days,
        "denominator": None if scale == Scale.COUNT else float(f"{shift.denominator:.{DIGITS}g}"),
        "tested": shift.tested,
        **{name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()},
    }
