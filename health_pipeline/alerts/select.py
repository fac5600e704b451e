"""Which incidents become a message."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.incidents.model import Incident

LONG_HOLE_DAYS = 2
"""A hole in the data is told from its second day on: on the first, the delivery may only be late."""


def newsworthy(
    alerts: Alerts, newest: dt.date, incidents: Sequence[Incident], scores: Mapping[str, float]
) -> list[Incident]:
    """Open incidents of the newest day that deserve a message, the most important first.

    A shift deserves one when it was first reported within the last ``newest_days`` and scores at least
    ``minimum_score``; at most ``per_day`` of those first reported on one day. A hole in the data deserves one when
    it has lasted ``LONG_HOLE_DAYS`` and began within the same days.

    Args:
        newest: the newest day judged.
        incidents: of ``newest``.
        scores: incident id -> score on ``newest``.
    """
    recent = [i for i in incidents if i.is_open and (newest - i.first_reported).days < alerts.newest_days]
    holes = [i for i in recent if i.kind == "data" and (i.last_reported - i.onset).days + 1 >= LONG_HOLE_DAYS]
    shifts = [i for i in recent if i.kind == "shift" and scores.get(i.id, 0.0) >= alerts.minimum_score]
    shifts.sort(key=lambda i: (-scores[i.id], i.id))
    told: dict[dt.date, int] = {}
    chosen = []
    for incident in shifts:
        told[incident.first_reported] = told.get(incident.first_reported, 0) + 1
        if told[incident.first_reported] <= alerts.per_day:
            chosen.append(incident)
    return [*sorted(holes, key=lambda i: i.id), *chosen]
