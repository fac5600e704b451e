"""Do rows of one table name rows of another that are there?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipeline.catalog.model import Reference, Table
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import LakeTable

EXAMPLES = 5


@dataclass(frozen=True)
class Orphans:
    """Rows of a reference that name nothing.

    Attributes:
        rows: how many.
        of: rows looked at.
        examples: some of the values named, those of most rows first.
    """

    reference: Reference
    rows: int
    of: int
    examples: tuple[str, ...]


def orphans(engine: Engine, table: Table, facts: Mapping[str, LakeTable], days: Sequence[dt.date]) -> list[Orphans]:
    """For each declared reference, rows of some days whose value is in no row of the other table.

    The row named is looked for on the same day and ``within_days`` before. Only current versions count on either side;
    rows without a value name nothing and are left out.
    """
    found = []
    for reference in table.references:
        sql = _sql(table, reference, facts, days)
        rows = engine.query(sql).to_pylist()
        found.append(
            Orphans(
                reference,
                sum(r["rows"] for r in rows if r["orphan"]),
                sum(r["rows"] for r in rows),
                tuple(value for r in rows if r["orphan"] for value in r["examples"]),
            )
        )
    return found


def _sql(table: Table, reference: Reference, facts: Mapping[str, LakeTable], days: Sequence[dt.date]) -> str:
    other = facts[reference.table]
    back = sorted({day - dt.timedelta(days=n) for day in days for n in range(reference.within_days + 1)})
    current = "superseded_at IS NULL AND " if table.version else ""
    theirs = " AND superseded_at IS NULL" if "superseded_at" in other.schema.names else ""
    # The newest row named on or before the day: an as-of join, whose cost does not grow with within_days.
    return f"""
        WITH named AS (
            SELECT day, CAST("{reference.column}" AS VARCHAR) AS value, count(*) AS rows
            FROM {scan(facts[table.name], days)} WHERE {current}"{reference.column}" IS NOT NULL GROUP BY ALL
        ), there AS (
            SELECT DISTINCT day, CAST("{reference.to}" AS VARCHAR) AS value
            FROM {scan(other, back)} WHERE "{reference.to}" IS NOT NULL{theirs}
        ), looked_up AS (
            SELECT n.value, n.rows, coalesce(n.day - t.day > {reference.within_days}, true) AS orphan
            FROM named n ASOF LEFT JOIN there t ON n.value = t.value AND n.day >= t.day
        ), by_value AS (
            SELECT orphan, value, sum(rows) AS rows FROM looked_up GROUP BY ALL
        )
        SELECT orphan, CAST(sum(rows) AS BIGINT) AS rows,
            list(value ORDER BY rows DESC, value)[:{EXAMPLES}] AS examples
        FROM by_value GROUP BY orphan"""
