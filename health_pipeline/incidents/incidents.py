"""The incidents table, day after day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.merge import advance
from health_pipeline.incidents.model import from_table, to_table
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable

RECENT_DAYS = 3


def derivation(
    catalog: Catalog, shifts: LakeTable, bands: LakeTable, deliveries: LakeTable, incidents: LakeTable
) -> Derivation:
    """Today's incidents follow from yesterday's, today's shifts and deliveries, and the last days' values."""

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            yesterday = from_table(incidents.read([day - dt.timedelta(days=1)]))
            wanted = {i.series for i in yesterday if i.series}
            recent = _recent(bands, _last(day), wanted) if wanted else {}
            held = deliveries.read([day], ["table", "unit", "finding", "incomplete_since", "volume", "expected"])
            rows = advance(catalog, day, yesterday, shifts.read([day]).to_pylist(), held.to_pylist(), recent)
            yield day, [to_table(rows)]

    return Derivation(
        [incidents],
        lambda day: [
            (incidents, [day - dt.timedelta(days=1)]),
            (shifts, [day]),
            (bands, _last(day)),
            (deliveries, [day]),
        ],
        "incidents-8-" + catalog.version(catalog.metrics, catalog.events),
        compute,
        sequential=True,
    )


def _last(day: dt.date) -> list[dt.date]:
    return [day - dt.timedelta(days=i) for i in range(RECENT_DAYS - 1, -1, -1)]


def _recent(bands: LakeTable, days: Sequence[dt.date], series: set[str]) -> dict[str, list[float]]:
    rows = bands.read(days, ["series", "observed"])
    wanted = pc.and_(pc.is_in(rows["series"], pa.array(sorted(series))), pc.is_valid(rows["observed"]))
    rows = rows.filter(wanted)
    found: dict[str, list[float]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["series"], []).append(row["observed"])
    return found
