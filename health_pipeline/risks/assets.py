"""The prioritised list as an asset."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.risks import risks as risks_of
from health_pipeline.storage.lake import LakeTable


def risk_assets(
    catalog: Catalog, partitions: dg.DailyPartitionsDefinition, incidents: LakeTable, risks: LakeTable
) -> list[dg.AssetsDefinition]:
    """``risks``: open incidents of the day, the most harmful first."""

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = risks.read([days[-1]]).slice(0, 25).to_pylist()
        if not rows:
            return {}
        records = [
            dg.TableRecord({"rank": r["rank"], "score": round(r["score"], 1), "what": r["sentence"]}) for r in rows
        ]
        return {f"first on {days[-1]}": dg.MetadataValue.table(records)}

    output = Output(
        "risks",
        risks,
        "Open incidents ranked by size x exposure x confidence x harm; see docs/risks.md.",
        ["incidents"],
    )
    return [
        derived_asset(
            catalog, partitions, "risks", [output],
            lambda engine: risks_of.derivation(catalog, incidents, risks), pictures,
        )
    ]  # fmt: skip
