"""Cube -> panel -> significant shifts, and the band each series was expected to stay in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.shifts.panel import REMEMBERED_DAYS, SUPPORT_DAYS, build_panel
from health_pipeline.shifts.schema import BANDS, SHIFTS, STATE
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.spans import LOOKBACK, MEMBER_DAYS
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable

if TYPE_CHECKING:
    from health_pipeline.stats.detect import Judgement, Watch
    from health_pipeline.stats.shift import Shift

BATCH_DAYS = 90
WARM_DAYS = 56  # days judged to no other end than to know, on the first day of all, which shifts are under way
DIGITS = 9  # significant digits kept: a batch of days and a single day differ in the last bits of their sums


def version(catalog: Catalog) -> str:
    """Changes when a judgement may change for another reason than its data."""
    return "shifts-18-" + catalog.version(catalog.tables, catalog.metrics, catalog.ecosystem.detection)


def window(day: dt.date, catalog: Catalog) -> list[dt.date]:
    """The days on which the judgement of ``day`` depends besides the state of the day before, ``day`` last."""
    late = max((m.horizon for m in catalog.metrics), default=0)
    return _from(day - dt.timedelta(days=LOOKBACK + REMEMBERED_DAYS + late), day, catalog)


def _from(first: dt.date, last: dt.date, catalog: Catalog) -> list[dt.date]:
    first = max(catalog.ecosystem.start, first)
    return [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]


def derivation(
    catalog: Catalog,
    cube: LakeTable,
    histograms: LakeTable,
    deliveries: LakeTable,
    shifts: LakeTable,
    bands: LakeTable,
    states: LakeTable,
) -> Derivation:
    """Each day's shifts follow from the state of the day before, and the cube and the deliveries of some months."""
    binned = any(m.type == "quantile" for m in catalog.metrics)

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        # The detector is compiled code and takes half a second to load: only where days are judged.
        from health_pipeline.shifts.state import from_table, to_table
        from health_pipeline.stats.detect import Settings, Watch

        detection = catalog.ecosystem.detection
        settings = Settings(detection.false_discovery_rate, detection.minimum_change)
        state = from_table(states.read([days[0] - dt.timedelta(days=1)]))
        for start in range(0, len(days), BATCH_DAYS):
            batch = days[start : start + BATCH_DAYS]
            warm = 0 if state is not None else WARM_DAYS
            first = window(max(batch[0] - dt.timedelta(days=warm), catalog.ecosystem.start), catalog)[0]
            needed = _from(first, batch[-1], catalog)
            bins = histograms.read(needed if binned else [])
            panel, units = build_panel(catalog, cube.read(needed), bins, deliveries.read(needed), needed)
            width = len(batch) + min(warm, len(needed) - len(batch))
            since = max(0, len(needed) - width - MEMBER_DAYS)
            large = panel.supported[:, since:].any(axis=1)  # most segments are too small to be judged
            if state is not None:
                large |= np.isin(np.array(panel.series, dtype=object), list(state.active))
            rows = np.flatnonzero(large).tolist()
            panel, units = panel.only(*rows), [units[i] for i in rows]
            watch: Watch | None = None
            for column in range(len(needed) - width, len(needed)):
                judged = None
                if column > 0 and panel.series:
                    watch = watch or Watch(panel, column, settings, state)
                    judged = watch.judge()
                day = needed[column]
                if day >= batch[0]:
                    kept = [STATE.empty_table()] if watch is None else [to_table(watch.state())]
                    yield day, [*_rows(panel, units, judged, day, column), *kept]
            state = watch.state() if watch is not None else None

    def inputs(day: dt.date) -> list[tuple[LakeTable, Sequence[dt.date]]]:
        read = (cube, deliveries, *([histograms] if binned else []))
        return [(states, [day - dt.timedelta(days=1)]), *((table, window(day, catalog)) for table in read)]

    return Derivation([shifts, bands, states], inputs, version(catalog), compute, sequential=True)


def _rows(
    panel: Panel, units: Sequence[str], judged: Judgement | None, day: dt.date, at: int
) -> tuple[pa.Table, pa.Table]:
    """Shifts and bands of one judged day, column ``at`` of the panel."""
    if judged is None:
        return SHIFTS.empty_table(), BANDS.empty_table()
    shifts = [_shift_row(panel, units, s, day) for s in judged.shifts]
    shifts.sort(key=lambda row: (str(row["series"]), str(row["onset"])))
    k, n = panel.numerator[:, at], panel.denominator[:, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(panel.scale == Scale.COUNT, k, k / n)
    expected, low, high = judged.band
    # A series that was large enough lately keeps its band: an incident needs it to be seen recovering.
    lately = np.asarray(panel.supported[:, max(0, at - SUPPORT_DAYS) : at + 1].any(axis=1), dtype=np.bool_)
    lately[sorted({s.row for s in judged.shifts})] = True
    known = np.flatnonzero(~np.isnan(expected) & lately)
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
            "expected": _rounded(expected[order]),
            "low": pa.array(_rounded(low[order]), from_pandas=True),
            "high": pa.array(_rounded(high[order]), from_pandas=True),
            "judged": judged.judged[order],
        },
        schema=BANDS,
    )
    return pa.Table.from_pylist(shifts, schema=SHIFTS), bands


def _rounded(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """To ``DIGITS`` significant digits."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
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
        "kind": shift.kind,
        "direction": "up" if shift.change > 0 else "down",
        "state": shift.state,
        "reported_on": day - dt.timedelta(days=shift.column - shift.reported),
        "onset": panel.day(shift.row, shift.onset),
        "onset_low": panel.day(shift.row, shift.onset_low),
        "onset_high": panel.day(shift.row, shift.onset_high),
        "ended": None if shift.ended is None else panel.day(shift.row, shift.ended),
        "days": shift.days,
        "denominator": None if scale == Scale.COUNT else float(f"{shift.denominator:.{DIGITS}g}"),
        "tested": shift.tested,
        **{name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()},
    }
