"""From the newest incidents to the outbox, and from there to Slack."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass

from health_pipeline.alerts import outbox
from health_pipeline.alerts.deliver import Delivery, deliver
from health_pipeline.alerts.message import Message, incident_message
from health_pipeline.alerts.select import newsworthy
from health_pipeline.alerts.slack import Slack
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import from_table
from health_pipeline.storage.lake import LakeTable
from health_pipeline.storage.state import open_state

URL_VARIABLE = "HEALTH_PIPELINE_URL"
DEFAULT_URL = "http://127.0.0.1:3000"
STALE = dt.timedelta(days=2)
"""Messages that Slack could not take for so long are no news any more: they are held."""


def base_url() -> str:
    """Where people reach the Dagster UI: ``HEALTH_PIPELINE_URL``, or this machine."""
    return (os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")


@dataclass(frozen=True)
class Posted:
    """What a pass did.

    Attributes:
        newest: the newest day judged; ``None`` when there is none.
        messages: what deserves a message now, whether or not the outbox had it before.
        queued: how many of them are new to the outbox.
        delivery: what became of the outbox.
    """

    newest: dt.date | None
    messages: list[Message]
    queued: int
    delivery: Delivery


def newest_messages(catalog: Catalog, incidents: LakeTable, risks: LakeTable) -> tuple[dt.date | None, list[Message]]:
    """Messages about the newest incidents, the most important first. Pure reading: nothing is queued."""
    days = incidents.days()
    if not days:
        return None, []
    newest = days[-1]
    ranked = {row["incident"]: row for row in risks.read([newest]).to_pylist()}
    found = from_table(incidents.read([newest]))
    chosen = newsworthy(catalog.ecosystem.alerts, newest, found, {k: r["score"] for k, r in ranked.items()})
    messages = []
    for incident in chosen:
        row = ranked.get(incident.id)
        link = f"{base_url()}/assets/{catalog.name}/incidents?partition={newest.isoformat()}"
        messages.append(
            incident_message(
                catalog,
                incident,
                score=row["score"] if row else None,
                rank=row["rank"] if row else None,
                links={"Open in Dagster": link},
            )  # fmt: skip
        )
    return newest, messages


def post_newest(catalog: Catalog, incidents: LakeTable, risks: LakeTable, state_url: str) -> Posted:
    """Queue the newest incidents' messages, each once for ever, and deliver what the outbox holds.

    Never raises because of Slack: without a token, or when Slack is unreachable, messages wait in the outbox.
    """
    newest, messages = newest_messages(catalog, incidents, risks)
    engine = open_state(state_url)
    try:
        queued = sum(outbox.enqueue(engine, message, ecosystem=catalog.name) for message in messages)
        delivery = deliver(engine, Slack.from_environment(), ecosystem=catalog.name, max_age=STALE)
    finally:
        engine.dispose()
    return Posted(newest, messages, queued, delivery)
