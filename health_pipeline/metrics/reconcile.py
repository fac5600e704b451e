"""Does the cube agree with itself and with the facts?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable


@dataclass(frozen=True)
class Disagreement:
    """Segments that do not add up to their whole, or a proportion outside 0..1."""

    day: dt.date
    metric: str
    segment: str
    found: float
    wanted: float

    def __str__(self) -> str:
        return f"{self.day} {self.metric} {self.segment}: {self.found:,.0f}, expected {self.wanted:,.0f}"


def disagreements(catalog: Catalog, engine: Engine, rows: pa.Table) -> list[Disagreement]:
    """Every place where the segments of a metric with ``adds_up_to`` miss the whole (a tolerance of half a unit)."""
    found: list[Disagreement] = []
    for metric in catalog.metrics:
        if metric.adds_up_to is None:
            continue
        whole = catalog.metric(metric.adds_up_to)
        if len(whole.by) != 1:
            continue
        sql = f"""
            SELECT w.day, w.segment, coalesce(sum(p.numerator), 0) AS found, any_value(w.numerator) AS wanted
            FROM cube w LEFT JOIN cube p ON p.day = w.day AND p.unit = w.unit AND p.metric = '{metric.name}'
            WHERE w.metric = '{whole.name}' GROUP BY w.day, w.segment
            HAVING abs(found - wanted) > 0.5 ORDER BY 1, 2"""
        for row in engine.query(sql, cube=rows).to_pylist():
            found.append(Disagreement(row["day"], metric.name, row["segment"], row["found"], row["wanted"]))
    return found


def bad_denominators(catalog: Catalog, engine: Engine, rows: pa.Table) -> list[Disagreement]:
    """Every proportion whose numerator exceeds its denominator, and every denominator that is not positive."""
    names = ", ".join(f"'{m.name}'" for m in catalog.metrics if m.type == "proportion") or "''"
    sql = f"""
        SELECT day, metric, segment, numerator AS found, denominator AS wanted FROM cube
        WHERE denominator <= 0 OR (metric IN ({names}) AND numerator > denominator + 0.5) ORDER BY 1, 2, 3"""
    return [Disagreement(**row) for row in engine.query(sql, cube=rows).to_pylist()]


def total_mismatches(
    catalog: Catalog, engine: Engine, facts: LakeTable, rows: pa.Table, days: Sequence[dt.date]
) -> list[str]:
    """Days and units where a metric cut by the delivering unit alone does not equal a direct scan of the facts."""
    found = []
    direct = facts.read(days)
    for metric in catalog.metrics:
        if metric.by != (catalog.table.delivered_by,):
            continue
        sql = f"""
            SELECT day, unit, coalesce(f.total, 0) AS facts, coalesce(c.total, 0) AS cube FROM
              (SELECT {catalog.table.day} AS day, {catalog.table.delivered_by} AS unit,
                      CAST(coalesce({metric.numerator.sql()}, 0) AS DOUBLE) AS total
               FROM facts GROUP BY 1, 2) f
              FULL JOIN
              (SELECT day, unit, sum(numerator) AS total FROM cube WHERE metric = '{metric.name}' GROUP BY 1, 2) c
              USING (day, unit)
            WHERE abs(coalesce(f.total, 0) - coalesce(c.total, 0)) > 1e-9 * (1 + abs(coalesce(f.total, 0)))
            ORDER BY 1, 2"""
        found += [
            f"{row['day']} {metric.name} of {row['unit']}: cube {row['cube']:,.0f}, facts {row['facts']:,.0f}"
            for row in engine.query(sql, facts=direct, cube=rows).to_pylist()
        ]
    return found
