"""Messages about new incidents, as an asset: materialising it queues them once and delivers what waits."""

from typing import Any

import dagster as dg

from health_pipeline.alerts.message import as_plain_text
from health_pipeline.alerts.post import post_newest
from health_pipeline.assets import asset_key
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.lake import LakeTable


def alert_assets(catalog: Catalog, incidents: LakeTable, risks: LakeTable, state_url: str) -> list[dg.AssetsDefinition]:
    """``alerts``."""

    @dg.asset(
        key=asset_key(catalog, "alerts"),
        deps=[asset_key(catalog, "incidents"), asset_key(catalog, "risks")],
        group_name="alerts",
        kinds={"slack"},
        owners=["team:" + catalog.metrics[0].owner],
        description="One message per new incident, queued once in the outbox and delivered to Slack. Without a token "
        "the messages wait in the outbox.",
        pool=f"{catalog.name}_alerts",
    )
    def alerts(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        posted = post_newest(catalog, incidents, risks, state_url)
        for problem in posted.delivery.problems:
            context.log.warning(problem)
        about: dict[str, Any] = {
            "newest day": posted.newest.isoformat() if posted.newest else "none",
            "messages": len(posted.messages),
            "new to the outbox": posted.queued,
            "outbox": str(posted.delivery),
        }
        if posted.messages:
            about["first message"] = dg.MetadataValue.md("```\n" + as_plain_text(posted.messages[0]) + "\n```")
        return dg.MaterializeResult(metadata=about)

    return [alerts]
