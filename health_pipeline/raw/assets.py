"""Assets of the raw stage: files received, the facts of every table, deliveries."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from health_pipeline.assets import Output, asset_key, derived_asset, progress_of
from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.raw.checks import (
    contract_check,
    drift_check,
    freshness_check,
    reference_check,
    volume_check,
)
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.raw.landed.receive import Simulation, receive_all
from health_pipeline.raw.loading import deliveries as deliveries_of
from health_pipeline.raw.loading import facts as facts_of
from health_pipeline.raw.sources import pull_all
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import LakeTable


def raw_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    landing: Landing,
    inbox: Path,
    facts: Mapping[str, LakeTable],
    deliveries: LakeTable,
    simulation: Simulation | None = None,
) -> list[dg.AssetsDefinition]:
    """``landed_files``, the facts of each table under its contract's name, and ``deliveries``."""
    judged = deliveries_of.judged(catalog)
    return [
        _landed_files(catalog, landing, inbox, simulation),
        *(_facts(catalog, partitions, landing, facts, table, table in judged) for table in catalog.tables),
        derived_asset(
            catalog, partitions, "raw",
            [Output("deliveries", deliveries,
                    "Whether each unit delivered each table completely, day by day: a missing day is not a zero, half "
                    "a day is not a fall, a backlog is not a rise.",
                    [table.name for table in judged], previous_day=True, checks=[volume_check(deliveries)])],
            lambda engine: deliveries_of.derivation(catalog, engine, facts, deliveries),
        ),
    ]  # fmt: skip


def _facts(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    landing: Landing,
    facts: Mapping[str, LakeTable],
    table: Table,
    daily: bool,
) -> dg.AssetsDefinition:
    checks = [contract_check(landing, table), drift_check(landing, table)]
    if daily:
        checks.append(freshness_check(landing, table))
    if table.references:
        checks.append(reference_check(table, facts))
    said = {c.name: c.description for c in table.columns} | {d.name: d.description for d in table.derived}
    added = {
        "day": "UTC day",
        "cluster": f"0 to 63, by a hash of {table.cluster}",
        "superseded_at": "when the next version of the row arrived; null for the current one",
    }
    output = Output(
        table.name, facts[table.name], table.description,
        ["landed_files", *dict.fromkeys(r.table for r in table.references)], checks=checks, columns=added | said,
    )  # fmt: skip

    def derivation(engine: Engine) -> Derivation:
        return facts_of.derivation(landing, engine, table, facts[table.name])

    return derived_asset(
        catalog, partitions, "raw", [output], derivation,
        every_day=lambda: facts_of.days(landing, table, facts[table.name]), beyond=not daily,
    )  # fmt: skip


def _landed_files(
    catalog: Catalog, landing: Landing, inbox: Path, simulation: Simulation | None
) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(catalog, "landed_files"),
        group_name="raw",
        kinds={"file"},
        owners=["team:" + catalog.metrics[0].owner],
        description="Every file received, checked row by row against its contract. Rejected rows are in quarantine.",
        pool=catalog.name,
    )
    def landed_files(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        pulled = pull_all(catalog, landing)
        landed, refused = receive_all(catalog, landing, inbox, simulation, progress_of.get())
        for error in [*(problem for p in pulled for problem in p.problems), *refused]:
            context.log.error(f"{error.message} {error.hint}")
        fetched = [
            dg.TableRecord(
                {
                    "source": p.source,
                    "table": p.table,
                    "files": len(p.receipts),
                    "rows": sum(r.delivered for r in p.receipts),
                    "problems": " ".join(problem.message for problem in p.problems),
                }
            )
            for p in pulled
        ]
        records = [
            dg.TableRecord(
                {
                    "file": r.name,
                    "table": r.table,
                    "format": r.format,
                    "delivered at": r.delivered_at.isoformat(timespec="seconds"),
                    "rows": r.delivered,
                    "accepted": r.accepted,
                    "duplicates": r.duplicates,
                    "quarantined": r.quarantined,
                    "days": len(r.days),
                    "drift": " ".join(r.drift),
                }
            )  # fmt: skip
            for r in landing.receipts()[-100:]
        ]
        return dg.MaterializeResult(
            metadata={
                "inbox": dg.MetadataValue.path(str(inbox)),
                "files landed now": landed + sum(len(p.receipts) for p in pulled),
                "files refused": len(landing.rejections()),
                "files": dg.MetadataValue.table(records) if records else "none",
                "quarantine": _by_reason(landing.receipts()[-100:]),
                **({"sources": dg.MetadataValue.table(fetched)} if fetched else {}),
            }
        )

    return landed_files


def _by_reason(receipts: Sequence[Receipt]) -> dg.TableMetadataValue | str:
    counts = Counter[tuple[str, str]]()
    for receipt in receipts:
        counts.update({(receipt.table, reason): rows for reason, rows in receipt.reasons.items()})
    records = [
        dg.TableRecord({"table": table, "reason": reason, "rows": rows})
        for (table, reason), rows in counts.most_common(100)
    ]
    return dg.MetadataValue.table(records) if records else "none"
