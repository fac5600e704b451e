"""What was told before there was a table of what was told: it is known by its message in the outbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa

from health_pipeline.alerts.delivery.outbox import OUTBOX
from health_pipeline.alerts.people.told import TOLD, Told
from health_pipeline.alerts.planning.keys import OPEN, incident_key

_T, _O = TOLD.c, OUTBOX.c


def adopted(
    connection: sa.Connection, ecosystem: str, told: Iterable[Told], last_days: Callable[[], Mapping[str, dt.date]]
) -> list[Told]:
    """Incidents whose message is in the outbox from before there was a table of what was told.

    Args:
        told: what is in that table: a message that was taken back is no row's any more, and is from no such time.
        last_days: id of every incident in the record -> the last day on which it is there; asked for when there are
            such messages.
    """
    prefix = incident_key(ecosystem, "", "").removesuffix(":")
    posts = (_O.ecosystem == ecosystem, _O.kind == "post", _O.key.startswith(prefix, autoescape=True))
    known = sa.exists().where(sa.or_(_T.first_key == _O.key, _T.key == _O.key))
    query = (
        sa.select(_O.key, _O.channel, _O.created_at, sa.func.coalesce(_O.not_before, _O.created_at).label("due_at"))
        .where(*posts, _O.key.endswith(OPEN, autoescape=True), ~known)
        .order_by(_O.id)
    )
    spent = {key for row in told if row.said for key in row.said.spent}
    rows = [row for row in connection.execute(query).all() if row.key not in spent]
    if not rows:
        return []
    days = last_days()
    ended = _O.key.endswith(":retracted", autoescape=True)
    taken_back = set(connection.execute(sa.select(_O.key).where(*posts, ended)).scalars())
    found = []
    for row in rows:
        incident = row.key.removeprefix(prefix).removesuffix(OPEN)
        is_over = incident_key(ecosystem, incident, "retracted") in taken_back
        found.append(
            Told(
                row.key, incident, row.channel, days.get(incident, row.created_at.date()), row.created_at, row.due_at,
                "own", (), row.key, row.key, row.key, phase="retracted" if is_over else "open", finished=is_over,
            )
        )  # fmt: skip
    return found
