"""Prioritised lists as assets."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from health_pipeline import charts, charts_risk
from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.risks import lists as lists_of
from health_pipeline.risks import risks as risks_of
from health_pipeline.risks.checks import list_checks
from health_pipeline.risks.evidence import tables_read
from health_pipeline.risks.lists import ListTables
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


def list_assets(
    catalog: Catalog, partitions: dg.DailyPartitionsDefinition, facts: Mapping[str, LakeTable], tables: ListTables
) -> list[dg.AssetsDefinition]:
    """``review_lists``, and what it is made with: clusters, trends, prevalence, precision. None without a review."""
    review = catalog.review
    if review is None:
        return []

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = tables.review_lists.read([days[-1]]).to_pylist()
        if not rows:
            return {}
        spent, shown = [], []
        for queue in review.queues:
            listed = sorted((r for r in rows if r["queue"] == queue.name and r["selected"]), key=lambda r: r["rank"])
            explored = sum(r["minutes"] for r in listed if r["explored"])
            ranked = sum(r["minutes"] for r in listed) - explored
            spent.append(charts_risk.Spent(queue.name, ranked, explored, queue.minutes_per_day))
            shown += [
                dg.TableRecord(
                    {"queue": queue.name, "rank": r["rank"], "score": round(r["score"], 1), "what": r["sentence"]}
                )
                for r in listed[:10]
            ]
        picture = charts_risk.capacity_chart(spent)
        return {
            f"first on {days[-1]}": dg.MetadataValue.table(shown),
            "minutes": dg.MetadataValue.md(charts.markdown_image(picture)),
        }

    used = list(tables_read(catalog))
    said = {
        "review_lists": "What to review, queue by queue, by expected harm averted per minute; docs/risks.md.",
        "clusters": "Accounts that share more traces than chance explains; docs/clusters.md.",
        "trends": "Terms, hashtags, products and sounds that burst; docs/trends.md.",
        "prevalence": "Share of views that were of content which violates a policy; docs/prevalence.md.",
        "precision": "How often rules, models and people were right; docs/prevalence.md.",
    }
    outputs = [
        Output(
            name, table, said[name], used,
            checks=list_checks(catalog, facts, tables) if table is tables.review_lists else (),
        )
        for name, table in zip(said, tables.all(), strict=True)
    ]  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "risks", outputs,
            lambda engine: lists_of.derivation(catalog, facts, tables), pictures,
        )
    ]  # fmt: skip
