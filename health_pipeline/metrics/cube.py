"""The cube: additive sums per metric, day and segment, computed by the statements of :mod:`.compiler`."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics.compiler import Plan, compile_cube
from health_pipeline.metrics.schema import CUBE, HISTOGRAMS
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import LakeTable

BATCH_ROWS = 5_000_000
"""Days are computed together until their facts have so many rows: small days fast, a large one alone."""
BATCH_DAYS = 120
"""And at most so many days."""


def compute(
    plan: Plan, engine: Engine, facts: Mapping[str, LakeTable], days: Sequence[dt.date]
) -> tuple[pa.Table, pa.Table]:
    """Cube and histograms of some days, ordered by day, metric, segment (and bin).

    DuckDB reads the facts from their files: memory depends on the number of segments, not of rows. What does not fit
    (distinct values of a large day) goes to temporary files.
    """
    with tempfile.TemporaryDirectory() as scratch, engine.spilling(Path(scratch)) as connection:
        for name in plan.tables:
            connection.execute(f"CREATE TEMP VIEW facts_{name} AS SELECT * FROM {scan(facts[name], days)}")
        for statement in plan.statements:
            connection.execute(f"CREATE TEMP TABLE {statement.name} AS\n{statement.sql}")
        cube = connection.table("cube").to_arrow_table()
        histograms = connection.table("histograms").to_arrow_table()
    return cube.cast(CUBE), histograms.cast(HISTOGRAMS)


def batches(facts: Mapping[str, LakeTable], days: Sequence[dt.date], rows: int = BATCH_ROWS) -> Iterator[list[dt.date]]:
    """Days in order, in groups whose facts have at most so many rows, or that are a single day."""
    batch: list[dt.date] = []
    held = 0
    for day in days:
        parts = [table.partition(day) for table in facts.values()]
        size = sum(p.rows for p in parts if p is not None)
        if batch and (held + size > rows or len(batch) == BATCH_DAYS):
            yield batch
            batch, held = [], 0
        batch.append(day)
        held += size
    if batch:
        yield batch


def derivation(
    catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], cube: LakeTable, histograms: LakeTable
) -> Derivation:
    """Each day of cube and histograms follows from the same day of the fact tables that metrics use."""
    plan = compile_cube(catalog)
    used = {name: facts[name] for name in plan.tables}

    def compute_days(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for batch in batches(used, days):
            tables = compute(plan, engine, used, batch)
            parts = [split_by_day(rows, batch) for rows in tables]
            for (day, cube_rows), (_, histogram_rows) in zip(*parts, strict=True):
                yield day, [cube_rows, histogram_rows]

    return Derivation(
        [cube, histograms], lambda day: [(table, [day]) for table in used.values()], plan.version, compute_days
    )


def split_by_day(rows: pa.Table, days: Sequence[dt.date]) -> Iterator[tuple[dt.date, pa.Table]]:
    """Rows ordered by their ``day`` column, cut into one table per day; a day without rows gets an empty one."""
    counts = {v["values"].as_py(): v["counts"].as_py() for v in rows["day"].combine_chunks().value_counts()}
    start = 0
    for day in days:
        length = counts.get(day, 0)
        yield day, rows.slice(start, length)
        start += length
