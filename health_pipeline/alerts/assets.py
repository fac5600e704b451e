"""Messages about incidents, as an asset: materialising it brings them up to date and delivers what waits."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from health_pipeline.alerts.checks import DELIVERY, DESCRIPTION, delivery_result
from health_pipeline.alerts.delivery import backlog
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.planning.plan import Plan
from health_pipeline.alerts.post import Sources, refresh
from health_pipeline.assets import asset_key
from health_pipeline.catalog.model import Catalog
from health_pipeline.charts_incident import incident_picture
from health_pipeline.incidents import series
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.series import course
from health_pipeline.storage.state import opened_state

WITHHELD_SHOWN = 25


def alert_assets(
    catalog: Catalog, sources: Sources, charted: series.Sources, state_url: str
) -> list[dg.AssetsDefinition]:
    """``alerts``, with the check ``delivery``.

    Args:
        charted: what the charts are drawn from.
    """
    key = asset_key(catalog, "alerts")

    def draw(incident: Incident) -> Picture | None:
        newest = sources.incidents.days()[-1]
        return incident_picture(catalog, incident, course(catalog, charted, incident, newest))

    @dg.asset(
        key=key,
        deps=[asset_key(catalog, "incidents"), asset_key(catalog, "risks")],
        check_specs=[dg.AssetCheckSpec(DELIVERY, asset=key, description=DESCRIPTION)],
        group_name="alerts",
        kinds={"slack"},
        owners=["team:" + catalog.metrics[0].owner],
        description="One message per incident that deserves one, kept true; queued once in the outbox and delivered to "
        "Slack. Without a token the messages wait in the outbox.",
        pool=f"{catalog.name}_alerts",
    )
    def alerts(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        with _logged(context):
            posted = refresh(catalog, sources, state_url, draw=draw)
        for problem in posted.delivery.problems:
            context.log.warning(problem)
        with opened_state(state_url) as engine:
            about: dict[str, Any] = {
                "newest day": posted.newest.isoformat() if posted.newest else "none",
                "outbox": str(posted.delivery),
                **_channels(backlog.channels(engine, ecosystem=catalog.name)),
                **_planned(posted.plan),
            }
            check = delivery_result(engine, catalog.name, connected=Slack.from_environment() is not None)
        yield dg.MaterializeResult(metadata=about)
        yield check

    return [alerts]


def _planned(plan: Plan) -> dict[str, Any]:
    """What was queued, what waits and why, and when there is more to do."""
    kinds = Counter(intent.kind for intent in plan.intents)
    about: dict[str, Any] = {
        "queued now": ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "nothing",
        "for the next digest": len(plan.waiting),
        "withheld": len(plan.withheld),
        "next due": f"{plan.next_at:%Y-%m-%d %H:%M} UTC" if plan.next_at else "nothing",
    }
    if plan.withheld:
        rows = [{"incident": w.incident.id, "why": w.reason} for w in plan.withheld[:WITHHELD_SHOWN]]
        about["withheld first"] = dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
    first = next((i for i in plan.intents if i.kind in ("post", "reply")), None)
    if first is not None:
        about["first message"] = dg.MetadataValue.md(f"```\n{as_plain_text(Content(first.text, first.blocks))}\n```")
    return about


def _channels(channels: list[backlog.Channel]) -> dict[str, Any]:
    rows = [
        dg.TableRecord(
            {
                "channel": c.channel,
                "pending": c.pending,
                "doubtful": c.doubtful,
                "held": c.held,
                "last sent": f"{c.last_sent:%Y-%m-%d %H:%M} UTC" if c.last_sent else "",
                "resting until": f"{c.resting_until:%Y-%m-%d %H:%M:%S} UTC" if c.resting_until else "",
                "last error": c.last_error or "",
            }
        )
        for c in channels
    ]
    return {"channels": dg.MetadataValue.table(rows)} if rows else {}


@contextmanager
def _logged(context: dg.AssetExecutionContext) -> Iterator[None]:
    """What the alerts log meanwhile is seen in the run's log."""
    logger, handler = logging.getLogger("health_pipeline.alerts"), _Handler(context)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, context: dg.AssetExecutionContext) -> None:
        super().__init__(logging.WARNING)
        self._context = context

    def emit(self, record: logging.LogRecord) -> None:
        self._context.log.warning(self.format(record))
