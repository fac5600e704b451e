"""Which unit delivered which table completely on which day.

Each day's verdict follows from yesterday's and from today's volume.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.stats.delivery import State, judge, nothing_to_tell
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import LakeTable

VERSION = "deliveries-5"
AHEAD_ROWS = 50_000_000
"""Volumes are read for so many rows at once: of a short history all days, of a long one some of the next."""

Volumes = dict[str, dict[str, float]]
"""Table -> unit -> volume of one day; what delivered nothing is absent."""


def judged(catalog: Catalog) -> tuple[Table, ...]:
    """The tables of which every day brings rows, so that their absence means something.

    Not those that are known ahead, nor those whose day tells when a lasting thing began (a shop, a product): they have
    versions and no limit to lateness.
    """
    return tuple(t for t in catalog.tables if not t.known_ahead and not (t.version and t.lateness_days is None))


def volumes(
    catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], days: Sequence[dt.date]
) -> dict[dt.date, Volumes]:
    """Delivered volume of each day, of current versions of rows."""
    found: dict[dt.date, Volumes] = {}
    for table in judged(catalog):
        current = "WHERE superseded_at IS NULL" if table.version else ""
        sql = (
            f'SELECT day, CAST("{table.delivered_by}" AS VARCHAR) AS unit, '
            f"CAST({table.volume.sql()} AS DOUBLE) AS volume "
            f"FROM {scan(facts[table.name], days)} {current} GROUP BY 1, 2 HAVING volume IS NOT NULL"
        )
        for row in engine.query(sql).to_pylist():
            found.setdefault(row["day"], {}).setdefault(table.name, {})[row["unit"]] = row["volume"]
    return found


def verdicts(catalog: Catalog, day: dt.date, yesterday: pa.Table, delivered: Volumes) -> pa.Table:
    """One row per table and unit that has ever delivered it.

    On a day on which nothing of a table was delivered every unit of it is missing; the freshness check says so once.
    On other days a unit without rows is missing too, but of a sparse table it had nothing to tell.
    """
    held: dict[str, dict[str, dict[str, Any]]] = {}
    for row in yesterday.to_pylist():
        held.setdefault(row["table"], {})[row["unit"]] = row
    rows = []
    for table in judged(catalog):
        own, before = delivered.get(table.name, {}), held.get(table.name, {})
        for unit in sorted({*before, *own}):
            quiet = table.sparse and bool(own) and unit not in own
            rows.append(_verdict(day, table.name, unit, before.get(unit), 0.0 if quiet else own.get(unit), quiet))
    return pa.Table.from_pylist(rows, schema=DELIVERIES)


def _verdict(
    day: dt.date, table: str, unit: str, yesterday: Mapping[str, Any] | None, volume: float | None, quiet: bool
) -> dict[str, object]:
    before, since = _state(yesterday), yesterday["incomplete_since"] if yesterday else None
    finding, after = nothing_to_tell(before) if quiet else judge(before, volume)
    return {
        "day": day,
        "table": table,
        "unit": unit,
        "finding": finding,
        "incomplete_since": None if finding == "complete" else since or day,
        "volume": volume,
        "expected": before.expected,
        "owed": after.owed,
        "since": after.since,
        "silent": after.silent,
        "backlog_age": after.backlog_age,
        "recent": list(after.recent),
    }  # fmt: skip


def _state(row: Mapping[str, Any] | None) -> State:
    if row is None:
        return State()
    return State(tuple(row["recent"]), row["owed"], row["since"], row["silent"], row["backlog_age"])


def derivation(catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], deliveries: LakeTable) -> Derivation:
    """Day after day; the volumes of days ahead are read at once, when the first of them is needed."""
    tables = [facts[t.name] for t in judged(catalog)]
    prefetched: dict[dt.date, Volumes] = {}

    def prefetch(day: dt.date) -> None:
        ahead: list[dt.date] = []
        rows = 0
        for following in sorted({day} | {d for table in tables for d in table.days() if d > day}):
            rows += sum(p.rows for t in tables if (p := t.partition(following)) is not None)
            if ahead and rows > AHEAD_ROWS:
                break
            ahead.append(following)
        prefetched.update({d: {} for d in ahead} | volumes(catalog, engine, facts, ahead))

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            if day not in prefetched:
                prefetch(day)
            yield day, [verdicts(catalog, day, deliveries.read([day - dt.timedelta(days=1)]), prefetched[day])]

    return Derivation(
        [deliveries],
        lambda day: [*((table, [day]) for table in tables), (deliveries, [day - dt.timedelta(days=1)])],
        f"{VERSION}-{version(catalog)}",
        compute,
        sequential=True,
    )


def version(catalog: Catalog) -> str:
    """Changes when what is counted, or what its absence means, is declared otherwise."""
    return catalog.version(
        tuple(t.model_copy(update={"title": "", "description": "", "columns": (), "derived": (), "references": ()})
              for t in judged(catalog))
    )  # fmt: skip
