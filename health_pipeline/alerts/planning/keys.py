"""Keys of what a plan puts into the outbox: the same thing has the same key, and a key is used once. Pure."""

from __future__ import annotations

import hashlib
import json

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.people.told import Told

DIGEST, ROLLUP, CHART = "digest", "rollup", "chart"


def incident_key(ecosystem: str, incident_id: str, phase: str) -> str:
    """Key of a message about an incident; ``phase`` is ``open``, ``open:2`` and so on."""
    return kit.key(ecosystem, "incident", incident_id, phase)


def follower_key(ecosystem: str, key: str, what: str, version: int | str) -> str:
    """Key of the edit, reply or chart that follows a message: its key, what it is, and which one."""
    whole = f"{key}:{what}:{version}"
    return whole if len(whole) <= kit.MAX_KEY else kit.key(ecosystem, what, whole)


def chart_key(ecosystem: str, told: Told, number: int) -> str:
    """Key of a chart of its message; the first has the number 1."""
    return follower_key(ecosystem, told.key, CHART, number)


def content_hash(content: Content) -> str:
    """By which two contents are compared."""
    text = json.dumps([content.text, content.blocks], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
