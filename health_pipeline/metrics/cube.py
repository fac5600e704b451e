"""The cube: additive sums per metric, day and segment, compiled from the catalog to one portable SQL query.

One pass over the facts with GROUPING SETS computes every distinct sum over every distinct cut; each metric then
picks its numerator from its own cut and its denominator from the cut it is taken over. Only sums are kept, so days
merge into weeks and segments into parents. The SQL needs nothing but sum, CASE and GROUPING SETS.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from health_pipeline.catalog.model import Catalog, Metric, Sum
from health_pipeline.metrics.schema import CUBE
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable

BATCH_DAYS = 120


def version(catalog: Catalog) -> str:
    """Changes when the cube's meaning changes."""
    return "cube-2-" + catalog.version(catalog.table, catalog.dimensions, catalog.metrics)


@dataclass(frozen=True)
class _Plan:
    """Distinct sums and cuts of a catalog."""

    sums: list[Sum]
    cuts: list[tuple[str, ...]]

    @classmethod
    def of(cls, metrics: Sequence[Metric]) -> _Plan:
        sums: list[Sum] = []
        cuts: list[tuple[str, ...]] = []
        for metric in metrics:
            for part in (metric.numerator, metric.denominator):
                if part is not None and part not in sums:
                    sums.append(part)
            for cut in (metric.by, metric.over):
                if cut is not None and cut not in cuts:
                    cuts.append(cut)
        return cls(sums, cuts)


def cube_sql(catalog: Catalog, facts: str) -> str:
    """The query that computes the cube's rows from ``facts``, a table or sub-query of the contract's columns."""
    plan = _Plan.of(catalog.metrics)
    day, names = catalog.table.day, [d.name for d in catalog.dimensions]
    # A bar separates the parts of a segment's name, so it can't stand inside one.
    cut_columns = ",\n    ".join(f"replace({d.sql}, '|', '/') AS cut_{d.name}" for d in catalog.dimensions)
    sums = ",\n    ".join(f"{part.sql()} AS sum_{i}" for i, part in enumerate(plan.sums))
    grouped = ", ".join(f"cut_{n}" for n in names)
    sets = ", ".join("(day_, " + ", ".join(f"cut_{n}" for n in cut) + ")" for cut in plan.cuts)
    wide = (
        f"cuts AS (\n  SELECT *, {day} AS day_,\n    {cut_columns}\n  FROM {facts}\n),\n"
        f"wide AS (\n  SELECT day_, {grouped}, {', '.join(f'grouping(cut_{n}) AS out_{n}' for n in names)},\n"
        f"    {sums}\n  FROM cuts GROUP BY GROUPING SETS ({sets})\n)"
    )
    parts = [_metric_sql(catalog, metric, plan, names) for metric in catalog.metrics]
    return f"WITH {wide}\n" + "\nUNION ALL\n".join(parts) + "\nORDER BY 1, 2, 3"


def _metric_sql(catalog: Catalog, metric: Metric, plan: _Plan, names: Sequence[str]) -> str:
    def cut(alias: str, dims: Sequence[str]) -> str:
        inside = [f"{alias}.out_{n} = {0 if n in dims else 1}" for n in names]
        return " AND ".join(inside + [f"{alias}.cut_{n} IS NOT NULL" for n in dims])

    def segment(dims: Sequence[str]) -> str:
        return " || '|' || ".join(f"'{n}=' || n.cut_{n}" for n in dims)

    over = metric.over or metric.by
    numerator = f"n.sum_{plan.sums.index(metric.numerator)}"
    head = (
        f"SELECT n.day_ AS day, '{metric.name}' AS metric, {segment(metric.by)} AS segment, "
        f"n.cut_{catalog.table.delivered_by} AS unit, {segment(over)} AS whole"
    )
    if metric.denominator is None:
        return (
            f"{head}, CAST({numerator} AS DOUBLE) AS numerator, CAST(NULL AS DOUBLE) AS denominator "
            f"FROM wide n WHERE {cut('n', metric.by)} AND {numerator} IS NOT NULL"
        )
    denominator = f"d.sum_{plan.sums.index(metric.denominator)}"
    same = " AND ".join(f"n.cut_{n} = d.cut_{n}" for n in over)
    has_numerator = f" AND {numerator} IS NOT NULL" if metric.over else ""
    return (
        f"{head}, CAST(coalesce({numerator}, 0) AS DOUBLE) AS numerator, CAST({denominator} AS DOUBLE) AS denominator "
        f"FROM wide n JOIN wide d ON n.day_ = d.day_ AND {same} AND {cut('d', over)} "
        f"WHERE {cut('n', metric.by)} AND {denominator} > 0{has_numerator}"
    )


def cube(catalog: Catalog, engine: Engine, facts: LakeTable, days: Sequence[dt.date]) -> pa.Table:
    """The cube's rows of some days, ordered by day, metric and segment."""
    rows = facts.read(days)
    return engine.query(cube_sql(catalog, "facts"), facts=rows).cast(CUBE)


def derivation(catalog: Catalog, engine: Engine, facts: LakeTable, table: LakeTable) -> Derivation:
    """Each day of the cube follows from the same day of the facts."""

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for i in range(0, len(days), BATCH_DAYS):
            batch = days[i : i + BATCH_DAYS]
            rows = cube(catalog, engine, facts, batch)
            for day, part in split_by_day(rows, batch):
                yield day, [part]

    return Derivation([table], lambda day: [(facts, [day])], version(catalog), compute)


def split_by_day(rows: pa.Table, days: Sequence[dt.date]) -> Iterator[tuple[dt.date, pa.Table]]:
    """Rows ordered by their ``day`` column, cut into one table per day; a day without rows gets an empty one."""
    counts = {v["values"].as_py(): v["counts"].as_py() for v in rows["day"].combine_chunks().value_counts()}
    start = 0
    for day in days:
        length = counts.get(day, 0)
        yield day, rows.slice(start, length)
        start += length
