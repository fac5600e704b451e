"""Which unit delivered completely on which day: each day's verdict follows from yesterday's and today's volume."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.stats.delivery import State, judge
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable

VERSION = "deliveries-4"


def volumes(
    catalog: Catalog, engine: Engine, facts: LakeTable, days: Sequence[dt.date]
) -> dict[dt.date, dict[str, float]]:
    """Delivered volume per day and unit; a unit that delivered nothing is absent."""
    table = catalog.table
    sql = (
        f"SELECT {table.day} AS day, {table.delivered_by} AS unit, CAST({table.volume.sql()} AS DOUBLE) AS volume "
        "FROM facts GROUP BY 1, 2 HAVING volume IS NOT NULL"
    )
    found: dict[dt.date, dict[str, float]] = {}
    for row in engine.query(sql, facts=facts.read(days)).to_pylist():
        found.setdefault(row["day"], {})[row["unit"]] = row["volume"]
    return found


def verdicts(day: dt.date, yesterday: pa.Table, delivered: dict[str, float]) -> pa.Table:
    """One row per unit that has ever delivered.

    On a day on which the whole source delivered nothing every unit is missing; the freshness check says so once.
    """
    held = {row["unit"]: row for row in yesterday.to_pylist()}
    rows = []
    for unit in sorted({*held, *delivered}):
        before, since = State(), None
        if unit in held:
            row = held[unit]
            before = State(tuple(row["recent"]), row["owed"], row["since"], row["silent"], row["backlog_age"])
            since = row["incomplete_since"]
        finding, after = judge(before, delivered.get(unit))
        rows.append(
            {
                "day": day,
                "unit": unit,
                "finding": finding,
                "incomplete_since": None if finding == "complete" else since or day,
                "volume": delivered.get(unit),
                "expected": before.expected,
                "owed": after.owed,
                "since": after.since,
                "silent": after.silent,
                "backlog_age": after.backlog_age,
                "recent": list(after.recent),
            }  # fmt: skip
        )
    return pa.Table.from_pylist(rows, schema=DELIVERIES)


def derivation(catalog: Catalog, engine: Engine, facts: LakeTable, table: LakeTable) -> Derivation:
    """Day after day; the volumes of all asked days are read at once, when the first of them is needed."""
    prefetched: dict[dt.date, dict[str, float]] = {}

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            if day not in prefetched:
                ahead = [d for d in facts.days() if d >= day]
                prefetched.update({d: {} for d in ahead} | volumes(catalog, engine, facts, ahead))
            yield day, [verdicts(day, table.read([day - dt.timedelta(days=1)]), prefetched.get(day, {}))]

    return Derivation(
        [table],
        lambda day: [(facts, [day]), (table, [day - dt.timedelta(days=1)])],
        f"{VERSION}-{catalog.version(catalog.table)}",
        compute,
        sequential=True,
    )
