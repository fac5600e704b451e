"""Does the cube agree with itself and with the facts? A wrong cube would alarm people, so these block."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from health_pipeline.assets import Check
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics.cube import batches
from health_pipeline.metrics.maturity import MATURE, too_short
from health_pipeline.metrics.reconcile import (
    bad_denominators,
    disagreements,
    histogram_mismatches,
    total_mismatches,
)
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable


def denominator_check(catalog: Catalog, cube: LakeTable) -> Check:
    """Every denominator is positive, and no proportion exceeds one."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        found = [
            str(f)
            for batch in batches({"cube": cube}, days)
            for f in bad_denominators(catalog, engine, cube.read(batch))
        ]
        return not found, _listed(found)

    return Check(
        "denominators", "Denominators are positive and numerators of proportions do not exceed them.", evaluate, True
    )


def reconciliation_check(
    catalog: Catalog, facts: Mapping[str, LakeTable], cube: LakeTable, histograms: LakeTable
) -> Check:
    """Segments add up to their whole, histograms to the cube, and totals equal a direct scan of the facts."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        found: list[str] = []
        for batch in batches({"cube": cube, "histograms": histograms}, days):
            rows = cube.read(batch)
            found += [str(f) for f in disagreements(catalog, engine, rows)]
            found += [str(f) for f in histogram_mismatches(engine, rows, histograms.read(batch))]
            found += total_mismatches(catalog, engine, facts, rows, batch)
        return not found, _listed(found)

    return Check(
        "reconciliation",
        "Segments add up to their whole, and the cube's totals equal a direct scan of the facts.",
        evaluate,
        True,
    )


def horizon_check(catalog: Catalog, maturity: LakeTable) -> Check:
    """At its declared horizon a metric's value is nearly its final one; if not, days are judged too early."""

    def evaluate(engine: Engine, days: Sequence[dt.date]) -> tuple[bool, dict[str, Any]]:
        late = too_short(catalog, maturity.read(days[-1:]))
        if not late:
            return True, {"metrics with too short a horizon": 0}
        rows = [
            dg.TableRecord({"metric": f.metric, "horizon": f.horizon, "share": round(f.share, 3), "needed": f.needed})
            for f in late
        ]
        return False, {
            "metrics with too short a horizon": len(late),
            "what to do": "Raise their `horizon` in metrics.yaml to the days needed, or find out why rows are late.",
            "for example": str(late[0]),
            "all": dg.MetadataValue.table(rows),
        }

    return Check("horizon", f"At its horizon a metric's value is within {1 - MATURE:.0%} of its final value.", evaluate)


def _listed(found: Sequence[str]) -> dict[str, Any]:
    if not found:
        return {"disagreements": 0}
    return {
        "disagreements": len(found),
        "what to do": "Have the file that holds these rows corrected and drop the correction into the inbox; "
        "`health-pipeline inbox` lists the files.",
        "for example": found[0],
        "first": dg.MetadataValue.table([dg.TableRecord({"disagreement": f}) for f in found[:50]]),
    }
