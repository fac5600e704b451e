"""Does what is queued reach Slack?"""

from __future__ import annotations

import datetime as dt
from typing import Any

import dagster as dg
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, clock

DELIVERY = "delivery"
DESCRIPTION = "Nothing was refused within a week, and with a token set nothing waits for longer than an hour."
WITHIN = dt.timedelta(days=7)
PROMPT = dt.timedelta(hours=1)
SHOWN = 10


def delivery_result(engine: sa.Engine, ecosystem: str, *, connected: bool) -> dg.AssetCheckResult:
    """Warns of rows that are held, or that wait too long.

    Args:
        connected: whether there is a token; without one it is meant that all waits.
    """
    now = clock.now()
    waiting_since = now - PROMPT if connected else dt.datetime.min.replace(tzinfo=dt.UTC)
    stuck = backlog.stuck(engine, held_since=now - WITHIN, waiting_since=waiting_since, ecosystem=ecosystem)
    about: dict[str, Any] = {"rows": len(stuck)}
    if stuck:
        rows = [
            dg.TableRecord(
                {
                    "key": e.intent.key,
                    "channel": e.intent.channel,
                    "state": e.state,
                    "since": f"{e.created_at:%Y-%m-%d %H:%M} UTC",
                    "why": e.last_error or "",
                }
            )
            for e in stuck[:SHOWN]
        ]
        about["newest"] = dg.MetadataValue.table(rows)
    return dg.AssetCheckResult(
        check_name=DELIVERY, passed=not stuck, severity=dg.AssetCheckSeverity.WARN, metadata=about
    )
