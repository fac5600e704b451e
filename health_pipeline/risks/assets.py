"""Prioritised lists as assets."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
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
from health_pipeline.risks.verdicts import Verdicts, none_given
from health_pipeline.storage.lake import LakeTable


def risk_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    incidents: LakeTable,
    risks: LakeTable,
    records: LakeTable,
    verdicts: Callable[[], Verdicts] = lambda: none_given,
) -> list[dg.AssetsDefinition]:
    """``risks``: open incidents of the day, the most harmful first; ``track_records``: how right each metric was.

    Args:
        verdicts: asked for anew in every run.
    """

    def first(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = risks.read([days[-1]]).slice(0, 25).to_pylist()
        return _table(
            f"first on {days[-1]}",
            [
                {"rank": r["rank"], "score": round(r["score"], 1), "what": r["sentence"], "why": r["why"]}
                for r in rows
            ],
        )  # fmt: skip

    def right(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = records.read([days[-1]]).to_pylist()
        bars = [charts_risk.Known(catalog.metric(r["metric"]).title, r["precision"], r["low"], r["high"]) for r in rows]
        return _picture("incidents that were no false alarm, by verdicts", bars, of=1.0)

    outputs = [
        Output(
            "risks", risks, "Open incidents ranked by size x exposure x confidence x harm x record; docs/risks.md.",
            ["incidents"], pictures=first,
        ),
        Output(
            "track_records", records, "How often each metric's incidents were right, by people's verdicts.",
            ["incidents"], pictures=right,
        ),
    ]  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "risks", outputs,
            lambda engine: risks_of.derivation(catalog, incidents, risks, records, verdicts()),
        )
    ]  # fmt: skip


def _table(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: dg.MetadataValue.table([dg.TableRecord(row) for row in rows])} if rows else {}


def _picture(name: str, bars: Sequence[charts_risk.Known], of: float | None = None) -> dict[str, Any]:
    """Estimates with their intervals, as a picture; nothing where there are none."""
    if not bars:
        return {}
    picture = charts_risk.estimates_chart(bars, title=name, most=of, width=charts.MARKDOWN_WIDTH)
    return {name: dg.MetadataValue.md(charts.markdown_image(picture))}


def list_assets(
    catalog: Catalog, partitions: dg.DailyPartitionsDefinition, facts: Mapping[str, LakeTable], tables: ListTables
) -> list[dg.AssetsDefinition]:
    """``review_lists``, and what it is made with: clusters, trends, prevalence, precision. None without a review."""
    review = catalog.review
    if review is None:
        return []

    def listed(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = tables.review_lists.read([days[-1]]).to_pylist()
        if not rows:
            return {}
        spent, shown = [], []
        for queue in review.queues:
            own = sorted((r for r in rows if r["queue"] == queue.name and r["selected"]), key=lambda r: r["rank"])
            explored = sum(r["minutes"] for r in own if r["explored"])
            ranked = sum(r["minutes"] for r in own) - explored
            spent.append(charts_risk.Spent(queue.name, ranked, explored, queue.minutes_per_day))
            shown += [
                {
                    "queue": queue.name, "rank": r["rank"], "score": round(r["score"], 1), "what": r["sentence"],
                    "reasons": ", ".join(r["reasons"]), "look at": ", ".join(r["examples"]),
                }
                for r in own[:10]
            ]  # fmt: skip
        minutes = charts.markdown_image(charts_risk.capacity_chart(spent))
        return _table(f"first on {days[-1]}", shown) | {"minutes": dg.MetadataValue.md(minutes)}

    def clustered(days: Sequence[dt.date]) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {}
        for r in tables.clusters.read([days[-1]]).to_pylist():
            found.setdefault(r["cluster"], {"cluster": r["cluster"], "members": r["size"], "traces": r["traces"]})
        return _table(f"clusters on {days[-1]}", list(found.values()))

    def bursting(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = tables.trends.read([days[-1]]).slice(0, 25).to_pylist()
        return _table(
            f"first on {days[-1]}",
            [
                {
                    "what": f"{r['kind']} {r['value']}", "market": r["market"] or "all", "creators": r["count"],
                    "expected": round(r["expected"], 1), "since": str(r["burst_since"]),
                    "in violation": round(r["violation_share"], 3), "contents": ", ".join(r["examples"]),
                }
                for r in rows
            ],
        )  # fmt: skip

    def prevailing(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = [
            r for r in tables.prevalence.read([days[-1]]).to_pylist()
            if sum(bool(r[cut]) for cut in ("market", "kind", "policy")) <= 1
        ]  # fmt: skip
        bars = [
            charts_risk.Known(r["market"] or r["kind"] or r["policy"] or "all", r["estimate"], r["low"], r["high"])
            for r in rows
        ]
        return _picture("share of views of violating content", bars)

    def right(days: Sequence[dt.date]) -> dict[str, Any]:
        rows = tables.precision.read([days[-1]]).to_pylist()
        bars = [
            charts_risk.Known(f"{r['subject']} {r['name']}", r["precision"], r["low"], r["high"]) for r in rows
        ]  # fmt: skip
        return _picture("actions that were right", bars, of=1.0)

    used = list(tables_read(catalog))
    said = {
        "review_lists": "What to review, queue by queue, by expected harm averted per minute; docs/risks.md.",
        "clusters": "Accounts that share more traces than chance explains; docs/clusters.md.",
        "trends": "Terms, hashtags, products and sounds that burst; docs/trends.md.",
        "prevalence": "Share of views that were of content which violates a policy; docs/prevalence.md.",
        "precision": "How often rules, models and people were right; docs/prevalence.md.",
    }
    shown = {
        "review_lists": listed, "clusters": clustered, "trends": bursting, "prevalence": prevailing, "precision": right,
    }  # fmt: skip
    outputs = [
        Output(
            name, table, said[name], used,
            checks=list_checks(catalog, facts, tables) if table is tables.review_lists else (), pictures=shown[name],
        )
        for name, table in zip(said, tables.all(), strict=True)
    ]  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "risks", outputs,
            lambda engine: lists_of.derivation(catalog, facts, tables),
        )
    ]  # fmt: skip
