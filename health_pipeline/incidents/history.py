"""What is read of the days before, to explain an incident: each day of a table once."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.incidents.explain import Days, Expected
from health_pipeline.storage.lake import LakeTable

_Amounts = dict[str, tuple[float, float]]


class History:
    """Cube, bands and deliveries of the last days, as far as anyone asks. Days long past are forgotten."""

    def __init__(self, cube: LakeTable, bands: LakeTable, deliveries: LakeTable) -> None:
        self._cube, self._bands, self._deliveries = cube, bands, deliveries
        self._amounts: dict[dt.date, dict[str, _Amounts]] = {}
        self._expected: dict[dt.date, dict[str, dict[str, tuple[dt.date, float]]]] = {}
        self._rows: dict[dt.date, list[dict[str, Any]]] = {}
        self._found: dict[tuple[str, tuple[dt.date, ...]], Expected] = {}

    def forget(self, before: dt.date) -> None:
        """Drop what is older than a day."""
        self._found.clear()
        for held in (self._amounts, self._expected, self._rows):
            for day in [d for d in held if d < before]:
                del held[day]

    def amounts(self, metric: str, days: Sequence[dt.date], wanted: Collection[str]) -> Days:
        """Numerators and denominators of a metric; days that were never published are left out.

        Args:
            wanted: metrics that will be asked for too: a day is read once for all of them.
        """
        for day in days:
            held = self._amounts.setdefault(day, {})
            if metric not in held:
                missing = {metric, *wanted} - set(held)
                columns = ["metric", "segment", "numerator", "denominator"]
                held.update({name: {} for name in missing})
                for row in _of(self._cube.read([day], columns), missing):
                    none = math.nan if row["denominator"] is None else row["denominator"]
                    held[row["metric"]][row["segment"]] = (row["numerator"] or 0.0, none)
        return {day: self._amounts[day][metric] for day in days if self._amounts[day][metric]}

    def expected(self, metric: str, days: Sequence[dt.date], wanted: Collection[str]) -> Expected:
        """What the bands of a metric expected, by the day of the value, of the days judged."""
        key = (metric, tuple(days))  # several incidents of a day ask for the same
        if key not in self._found:
            self._found[key] = self._read_expected(metric, days, wanted)
        return self._found[key]

    def _read_expected(self, metric: str, days: Sequence[dt.date], wanted: Collection[str]) -> Expected:
        found: dict[dt.date, dict[str, float]] = {}
        for day in days:
            held = self._expected.setdefault(day, {})
            if metric not in held:
                missing = {metric, *wanted} - set(held)
                columns = ["metric", "segment", "value_day", "expected"]
                held.update({name: {} for name in missing})
                for row in _of(self._bands.read([day], columns), missing):
                    held[row["metric"]][row["segment"]] = (row["value_day"], row["expected"])
            for segment, (value_day, value) in held[metric].items():
                found.setdefault(value_day, {})[segment] = value
        return found

    def deliveries(self, days: Iterable[dt.date]) -> list[dict[str, Any]]:
        """Rows of the deliveries table, without what is only kept for the next day's judgement."""
        columns = ["day", "table", "unit", "finding", "incomplete_since", "volume", "expected"]
        for day in days:
            if day not in self._rows:
                self._rows[day] = self._deliveries.read([day], columns).to_pylist()
        return [row for day in days for row in self._rows[day]]


def _of(rows: pa.Table, metrics: Collection[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.filter(pc.is_in(rows["metric"], pa.array(sorted(metrics)))).to_pylist()
    return found
