"""Does the cube agree with itself and with the facts?

Some few statements for all metrics together, so that they cost a fraction of what the cube does.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric, Table
from health_pipeline.metrics.sums import weighted_sql
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import LakeTable
from health_pipeline.storage.sql import literal

TOLERANCE = "1e-9 * (1 + abs(wanted))"
"""Sums of doubles differ in their last digits by the order in which they were added."""


@dataclass(frozen=True)
class Disagreement:
    """Segments that do not add up to their whole, or a proportion outside 0..1."""

    day: dt.date
    metric: str
    segment: str
    found: float
    wanted: float

    def __str__(self) -> str:
        named = f"{self.metric} {self.segment}" if self.segment else f"{self.metric} in all"
        return f"{self.day} {named}: {self.found:,.0f}, expected {self.wanted:,.0f}"


def disagreements(catalog: Catalog, engine: Engine, rows: pa.Table) -> list[Disagreement]:
    """Every segment whose parts do not add up to it: those of a cut with one dimension more, and of ``adds_up_to``.

    Not where sums need not agree: numbers of distinct values; cuts by a dimension that some rows do not have;
    numerators of segments that may have no denominator, and then no row.
    """
    found = _parts_of_metrics(catalog, engine, rows)
    pairs = [(whole, m) for m in catalog.metrics if m.adds_up_to and (whole := catalog.metric(m.adds_up_to))]
    for whole, metric in pairs:
        if whole.by != (catalog.unit,):
            continue
        sql = f"""
            SELECT w.day, w.segment, coalesce(sum(p.numerator), 0) AS found, any_value(w.numerator) AS wanted
            FROM cube w LEFT JOIN cube p ON p.day = w.day AND p.unit = w.unit AND p.metric = '{metric.name}'
            WHERE w.metric = '{whole.name}' GROUP BY w.day, w.segment
            HAVING abs(found - wanted) > 0.5 ORDER BY 1, 2"""
        for row in engine.query(sql, cube=rows).to_pylist():
            found.append(Disagreement(row["day"], metric.name, row["segment"], row["found"], row["wanted"]))
    return found


def _parts_of_metrics(catalog: Catalog, engine: Engine, rows: pa.Table) -> list[Disagreement]:
    """Segments that are not the sum of those with one dimension more."""
    pairs = [
        {
            "metric": metric.name,
            "whole_cut": "|".join(whole),
            "cut": "|".join(cut),
            "dimension": dimension,
            "part": part,
        }
        for metric in catalog.metrics
        for cut in catalog.cuts(metric)
        for i, dimension in enumerate(cut)
        if (whole := cut[:i] + cut[i + 1 :]) in catalog.cuts(metric) and _always_known(catalog, metric, dimension)
        for part in _additive(catalog, metric)
    ]
    if not pairs:
        return []
    # A segment's names of dimensions are its cut; without one of its parts it is its whole.
    sql = f"""
        WITH long AS (
            SELECT day, metric, segment, regexp_replace(segment, '=[^|]*', '', 'g') AS cut, part, value
            FROM (
                SELECT day, metric, segment, 'numerator' AS part, numerator AS value FROM cube
                UNION ALL SELECT day, metric, segment, 'denominator', denominator FROM cube
            ) WHERE value IS NOT NULL AND metric IN (SELECT metric FROM pairs)
        ), split AS (
            SELECT day, metric, part, cut, value, segment, unnest(string_split(segment, '|')) AS own FROM long
        ), sums AS (
            SELECT day, metric, part, cut, split_part(own, '=', 1) AS dimension, sum(value) AS value,
                trim(replace('|' || segment || '|', '|' || own || '|', '|'), '|') AS segment
            FROM split GROUP BY ALL
        )
        SELECT DISTINCT w.day, w.metric, w.segment, coalesce(s.value, 0) AS found, w.value AS wanted
        FROM long w JOIN pairs ON pairs.metric = w.metric AND pairs.part = w.part AND pairs.whole_cut = w.cut
        LEFT JOIN sums s ON s.day = w.day AND s.metric = w.metric AND s.part = w.part AND s.segment = w.segment
            AND s.cut = pairs.cut AND s.dimension = pairs.dimension
        WHERE abs(found - wanted) > {TOLERANCE} ORDER BY 1, 2, 3"""
    held = engine.query(sql, cube=rows, pairs=pa.Table.from_pylist(pairs))
    return [Disagreement(**row) for row in held.to_pylist()]


def _always_known(catalog: Catalog, metric: Metric, dimension: str) -> bool:
    """Whether every row of the metric's tables has a value of the dimension."""
    declared = catalog.dimension(dimension)
    tables = [catalog.table(name) for name in catalog.tables_of(metric)]
    required = [any(c.name == declared.name and c.required for c in table.columns) for table in tables]
    return declared.expression == declared.name and all(required)


def _additive(catalog: Catalog, metric: Metric) -> Iterator[str]:
    """The columns of the cube in which a metric's segments add up."""
    top, bottom = metric.numerator, metric.denominator
    if bottom is not None and not bottom.distinct:
        yield "denominator"
    if metric.type == "quantile":
        yield from ("numerator", "denominator")
    elif top is None or top.distinct:
        return
    elif bottom is None:
        yield from ("numerator", "denominator") if metric.type == "weighted" else ("numerator",)
    elif not bottom.distinct and len(catalog.tables_of(metric)) == 1:
        every_row = metric.type != "weighted" and bottom.sum == "1" and bottom.where is None
        if every_row or metric.type == "proportion":
            yield "numerator"


def bad_denominators(catalog: Catalog, engine: Engine, rows: pa.Table) -> list[Disagreement]:
    """Every proportion whose numerator exceeds its denominator, and every denominator that is not positive."""
    shares = (m.name for m in catalog.metrics if m.type in ("proportion", "quantile"))
    names = ", ".join(map(literal, shares)) or "''"
    sql = f"""
        SELECT day, metric, segment, numerator AS found, denominator AS wanted FROM cube
        WHERE denominator <= 0 OR (metric IN ({names}) AND numerator > denominator + 0.5) ORDER BY 1, 2, 3"""
    return [Disagreement(**row) for row in engine.query(sql, cube=rows).to_pylist()]


def histogram_mismatches(engine: Engine, rows: pa.Table, histograms: pa.Table) -> list[Disagreement]:
    """Segments of quantiles whose bins do not hold as many as the cube says."""
    sql = f"""
        SELECT day, metric, segment, coalesce(h.total, 0) AS found, coalesce(c.denominator, 0) AS wanted FROM
          (SELECT day, metric, segment, CAST(sum(count) AS DOUBLE) AS total FROM histograms GROUP BY ALL) h
          FULL JOIN (FROM cube WHERE metric IN (SELECT metric FROM histograms)) c USING (day, metric, segment)
        WHERE abs(found - wanted) > {TOLERANCE} ORDER BY 1, 2, 3"""
    return [Disagreement(**row) for row in engine.query(sql, cube=rows, histograms=histograms).to_pylist()]


@dataclass(frozen=True)
class _Total:
    """One column of the cube, taken straight from a fact table."""

    metric: str
    part: str  # numerator or denominator
    table: Table
    sql: str
    distinct: bool = False


def total_mismatches(
    catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], rows: pa.Table, days: Sequence[dt.date]
) -> list[str]:
    """Days and units where the cube's totals, of all and by unit, do not equal a direct scan of the facts."""
    cuts = {m.name: catalog.cuts(m) for m in catalog.metrics if m.over is None}
    totals = [t for m in catalog.metrics if m.name in cuts for t in _totals(catalog, m)]
    totals = [t for t in totals if () in cuts[t.metric] or (catalog.unit,) in cuts[t.metric]]
    parts = []
    with tempfile.TemporaryDirectory() as scratch, engine.spilling(Path(scratch)) as connection:
        for table in catalog.tables:
            for distinct in (False, True):
                some = [t for t in totals if t.table == table and t.distinct == distinct]
                if not some:
                    continue
                name = f"direct_{table.name}_{distinct}"
                connection.execute(f"CREATE TEMP TABLE {name} AS {_direct_sql(catalog, table, some, facts, days)}")
                for i, total in enumerate(some):
                    wanted = ["segment = ''"] if () in cuts[total.metric] else []
                    wanted += ["segment <> ''"] if (catalog.unit,) in cuts[total.metric] else []
                    parts.append(
                        f"SELECT day, '{total.metric}' AS metric, '{total.part}' AS part, segment, unit, "
                        f"CAST(v{i} AS DOUBLE) AS value FROM {name} WHERE v{i} IS NOT NULL AND ({' OR '.join(wanted)})"
                    )
        if not parts:
            return []
        connection.execute(f"CREATE TEMP TABLE direct AS {' UNION ALL '.join(parts)}")
        connection.register("cube", rows)
        prefix = literal(catalog.unit + "=")
        names = ", ".join(literal(name) for name in dict.fromkeys(t.metric for t in totals))
        quotients = ", ".join(literal(t.metric) for t in totals if t.part == "denominator") or "''"
        # A numerator over nothing has no row in the cube; a denominator or a count has one.
        found = connection.execute(f"""
            WITH held AS (
                SELECT day, metric, segment, unit, numerator, denominator FROM cube WHERE metric IN ({names})
                AND (segment = '' OR (starts_with(segment, {prefix}) AND NOT contains(segment, '|')))
            ), long AS (
                SELECT day, metric, segment, unit, 'numerator' AS part, numerator AS value FROM held
                UNION ALL
                SELECT day, metric, segment, unit, 'denominator', denominator FROM held WHERE denominator IS NOT NULL
            )
            SELECT day, metric, part, unit, coalesce(l.value, 0) AS cube, coalesce(d.value, 0) AS wanted
            FROM long l FULL JOIN direct d USING (day, metric, part, segment, unit)
            WHERE abs(cube - wanted) > {TOLERANCE} AND (
                l.value IS NOT NULL OR (part = 'denominator' AND d.value > 0)
                OR (part = 'numerator' AND metric NOT IN ({quotients}))
            )
            ORDER BY 1, 2, 3, 4""").fetchall()
    return [
        f"{day} {metric}{', denominator,' if part == 'denominator' else ''} of {unit}: "
        f"cube {cube:,.0f}, facts {wanted:,.0f}"
        for day, metric, part, unit, cube, wanted in found
    ]


def _totals(catalog: Catalog, metric: Metric) -> Iterator[_Total]:
    if metric.quantile is not None:
        column, where = metric.quantile.of, metric.quantile.where or "true"
        closed = f"sum(CASE WHEN ({where}) AND {column} IS NOT NULL THEN 1 ELSE 0 END)"
        both = f"sum(CASE WHEN {where} THEN 1 ELSE 0 END)" if metric.quantile.open else closed
        for part, sql in (("numerator", closed), ("denominator", both)):
            yield _Total(metric.name, part, catalog.table_of(metric), sql)
    elif metric.type == "weighted":
        wy, wx, known = weighted_sql(metric)
        for part, value in (("numerator", wy), ("denominator", wx)):
            yield _Total(
                metric.name,
                part,
                catalog.table_of(metric, metric.numerator),
                f"sum(CASE WHEN {known} THEN {value} END)",
            )
    else:
        for part, declared in (("numerator", metric.numerator), ("denominator", metric.denominator)):
            if declared is not None:
                table = catalog.table_of(metric, declared)
                yield _Total(metric.name, part, table, declared.sql(), bool(declared.distinct))


def _direct_sql(
    catalog: Catalog, table: Table, totals: Sequence[_Total], facts: Mapping[str, LakeTable], days: Sequence[dt.date]
) -> str:
    """``day``, ``segment`` (empty: all units), ``unit``, and the totals ``v0``, ``v1``, ...: one scan of the facts."""
    reached = table.name in catalog.reach[catalog.unit]
    unit = f"replace(CAST({catalog.dimension(catalog.unit).expression} AS VARCHAR), '|', '/')" if reached else "NULL"
    values = ", ".join(f"{t.sql} AS v{i}" for i, t in enumerate(totals))
    current = " WHERE superseded_at IS NULL" if table.version else ""
    source = f"(SELECT *, {unit} AS unit_ FROM {scan(facts[table.name], days)}{current})"
    named = f"{literal(catalog.unit + '=')} || unit_ AS segment, unit_ AS unit"
    if totals[0].distinct:  # these do not add up over units
        return (
            f"SELECT day, {named}, {values} FROM {source} WHERE unit_ IS NOT NULL GROUP BY day, unit_ "
            f"UNION ALL SELECT day, '', '{EVERY_UNIT}', {values} FROM {source} GROUP BY day"
        )
    sums = ", ".join(f"sum(v{i})" for i in range(len(totals)))
    same = ", ".join(f"v{i}" for i in range(len(totals)))
    return (
        f"WITH units AS MATERIALIZED (SELECT day, unit_, {values} FROM {source} GROUP BY day, unit_) "
        f"SELECT day, {named}, {same} FROM units WHERE unit_ IS NOT NULL "
        f"UNION ALL SELECT day, '', '{EVERY_UNIT}', {sums} FROM units GROUP BY day"
    )
