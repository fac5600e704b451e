"""Which incidents become a message, and why the others do not."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

LONG_HOLE_DAYS = 2
"""A hole in the data is told from its second day on: on the first, the delivery may only be late."""


def newsworthy(
    alerts: Alerts,
    newest: dt.date,
    incidents: Sequence[Incident],
    scores: Mapping[str, float],
    told: Collection[str] = (),
) -> list[Incident]:
    """Open incidents of the newest day that deserve a message, the most important first.

    A shift deserves one when it was first reported within the last ``newest_days`` and scores at least
    ``minimum_score``; at most ``per_day`` of those first reported on one day. A hole in the data deserves one when
    it has lasted ``LONG_HOLE_DAYS`` and began within the same days.

    Args:
        newest: the newest day judged.
        incidents: of ``newest``.
        scores: incident id -> score on ``newest``.
        told: ids of those that were told before: they are not chosen again, and count among those of their day.
    """
    places = Counter(i.first_reported for i in incidents if i.id in told and i.kind == "shift")
    new = [i for i in incidents if i.is_open and i.id not in told and _why_not(alerts, newest, i, scores) is None]
    shifts = sorted((i for i in new if i.kind == "shift"), key=lambda i: (-scores[i.id], i.id))
    chosen = []
    for incident in shifts:
        places[incident.first_reported] += 1
        if places[incident.first_reported] <= alerts.per_day:
            chosen.append(incident)
    return [*sorted((i for i in new if i.kind == "data"), key=lambda i: i.id), *chosen]


def reason(alerts: Alerts, newest: dt.date, incident: Incident, scores: Mapping[str, float]) -> str:
    """Why an open incident that is not among the newsworthy is not, in words. Arguments as of :func:`newsworthy`."""
    found = _why_not(alerts, newest, incident, scores)
    others = wording.count(alerts.per_day, "other")
    return found or f"{others} first reported on {wording.day(incident.first_reported)} came before it"


def _why_not(alerts: Alerts, newest: dt.date, incident: Incident, scores: Mapping[str, float]) -> str | None:
    """What keeps it by itself from being news; ``None`` for nothing."""
    if (newest - incident.first_reported).days >= alerts.newest_days:
        return f"first reported on {wording.day(incident.first_reported)}, it is no news any more"
    if incident.kind == "data":
        lasted = (incident.last_reported - incident.onset).days + 1
        return None if lasted >= LONG_HOLE_DAYS else "on the first day of a hole in the data, it may only be late"
    score = scores.get(incident.id)
    if score is None:
        return "it has no score"
    return None if score >= alerts.minimum_score else f"its score, {score:.1f}, is below {alerts.minimum_score:g}"
