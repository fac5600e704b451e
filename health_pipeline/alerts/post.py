"""From the newest incidents to the outbox, and from there to Slack."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from health_pipeline.alerts import outbox
from health_pipeline.alerts.deliver import Delivery, deliver
from health_pipeline.alerts.message import OPEN, Message, incident_key, incident_message, withdrawal_message
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

REMEMBERED = 500
"""So many of the messages sent last are taken back when what they tell is no longer in the record."""
RENAMED = dt.timedelta(days=14)
"""An incident of the same unit and family whose onset is so near is the same, told by another onset."""


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
    chosen = newsworthy(catalog.alerts, newest, found, {k: r["score"] for k, r in ranked.items()})
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


def withdrawals(catalog: Catalog, incidents: LakeTable, told: Iterable[Message]) -> list[Message]:
    """Messages that take back others: about incidents that corrected data no longer show.

    Such an incident is either in state ``retracted``, or not in the record any more, because the days on which it was
    reported were judged anew. One that is there under another id, with a nearby onset, is only told differently.

    Args:
        told: messages that people have got.
    """
    days = incidents.days()
    by_key = {message.key: message for message in told if message.key.endswith(OPEN)}
    if not days or not by_key:
        return []
    newest = from_table(incidents.read(days[-1:]))
    found = [
        incident_message(catalog, incident)
        for incident in newest
        if incident.state == "retracted" and incident_key(catalog.name, incident.id, "open") in by_key
    ]
    ids = {incident.id for incident in newest}
    if not {incident_key(catalog.name, id_, "open") for id_ in ids} >= set(by_key):
        ids |= set(incidents.read(days, ["id"])["id"].to_pylist())  # most of what was told is long over
    kept = {incident_key(catalog.name, id_, "open") for id_ in ids}
    onsets = _onsets(ids)
    for key, message in by_key.items():
        named = key.removeprefix(f"{catalog.name}:incident:").removesuffix(OPEN)
        if key not in kept and not any(_is_renamed(own, onsets) for own in _onsets([named]).items()):
            found.append(withdrawal_message(catalog, message))
    return found


def _onsets(ids: Iterable[str]) -> dict[str, list[dt.date]]:
    """What ids are about, without the onset -> the onsets."""
    found: dict[str, list[dt.date]] = {}
    for id_ in ids:
        parts = re.fullmatch(r"(.*)-(\d{4}-\d\d-\d\d)(-\d+)?", id_)
        if parts:
            found.setdefault(parts[1], []).append(dt.date.fromisoformat(parts[2]))
    return found


def _is_renamed(own: tuple[str, list[dt.date]], others: Mapping[str, list[dt.date]]) -> bool:
    about, onsets = own
    return any(abs(onset - other) <= RENAMED for onset in onsets for other in others.get(about, ()))


def post_newest(catalog: Catalog, incidents: LakeTable, risks: LakeTable, state_url: str) -> Posted:
    """Queue the newest incidents' messages, each once for ever, and deliver what the outbox holds.

    Never raises because of Slack: without a token, or when Slack is unreachable, messages wait in the outbox.
    """
    newest, messages = newest_messages(catalog, incidents, risks)
    engine = open_state(state_url)
    try:
        told = [e.message for e in outbox.entries(engine, ecosystem=catalog.name, state="sent", limit=REMEMBERED)]
        messages = [*withdrawals(catalog, incidents, told), *messages]
        queued = sum(outbox.enqueue(engine, message, ecosystem=catalog.name) for message in messages)
        delivery = deliver(engine, Slack.from_environment(), ecosystem=catalog.name, max_age=STALE)
    finally:
        engine.dispose()
    return Posted(newest, messages, queued, delivery)
