"""Assets of the raw stage: files received, facts, deliveries."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg

from health_pipeline.assets import Output, asset_key, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import InputError
from health_pipeline.raw import deliveries as deliveries_of
from health_pipeline.raw import facts as facts_of
from health_pipeline.raw.checks import contract_check, freshness_check, volume_check
from health_pipeline.raw.landing import Landing
from health_pipeline.storage.lake import LakeTable

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)  # the sample is older than anything a user delivers


def raw_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    landing: Landing,
    inbox: Path,
    facts: LakeTable,
    deliveries: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``landed_files``, the facts under the contract's name, and ``deliveries``."""
    described = {c.name: c.description for c in catalog.table.columns}
    return [
        _landed_files(catalog, landing, inbox),
        derived_asset(
            catalog, partitions, "raw",
            [Output(catalog.table.name, facts, catalog.table.description, ["landed_files"],
                    checks=[contract_check(landing), freshness_check(landing)], columns=described)],
            lambda engine: facts_of.derivation(landing, facts),
        ),
        derived_asset(
            catalog, partitions, "raw",
            [Output("deliveries", deliveries,
                    f"Whether each {catalog.table.delivered_by} delivered completely, day by day: a missing day is not "
                    "a zero, half a day is not a fall, a backlog is not a rise.",
                    [catalog.table.name], previous_day=True, checks=[volume_check(catalog, deliveries)])],
            lambda engine: deliveries_of.derivation(catalog, engine, facts, deliveries),
        ),
    ]  # fmt: skip


def receive_all(catalog: Catalog, landing: Landing, inbox: Path) -> tuple[int, list[InputError]]:
    """Land the bundled sample (once) and every new file of the inbox: how many landed, and what can't be read."""
    landed, refused = 0, []
    if catalog.sample is not None and not landing.receipts():
        landing.receive(catalog.sample, delivered_at=EPOCH)
        landed += 1
    for path in landing.new_files(inbox):
        try:
            landing.receive(path)
            landed += 1
        except InputError as error:  # remembered by the landing; the other files go on
            refused.append(error)
    return landed, refused


def _landed_files(catalog: Catalog, landing: Landing, inbox: Path) -> dg.AssetsDefinition:
    @dg.asset(
        key=asset_key(catalog, "landed_files"),
        group_name="raw",
        kinds={"file"},
        owners=["team:" + catalog.metrics[0].owner],
        description="Every file received, checked row by row against the contract. Rejected rows are in quarantine.",
        pool=catalog.name,
    )
    def landed_files(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        landed, refused = receive_all(catalog, landing, inbox)
        for error in refused:
            context.log.error(f"{error.message} {error.hint}")
        records = [
            dg.TableRecord(
                {
                    "file": r.name,
                    "format": r.format,
                    "delivered at": r.delivered_at.isoformat(timespec="seconds"),
                    "rows": r.delivered,
                    "accepted": r.accepted,
                    "duplicates": r.duplicates,
                    "quarantined": r.quarantined,
                    "days": len(r.days),
                }
            )  # fmt: skip
            for r in landing.receipts()[-100:]
        ]
        return dg.MaterializeResult(
            metadata={
                "inbox": dg.MetadataValue.path(str(inbox)),
                "files landed now": landed,
                "files refused": len(landing.rejections()),
                "files": dg.MetadataValue.table(records) if records else "none",
            }
        )

    return landed_files
