"""What stands in the outbox, for those who look into it. Only reads."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from health_pipeline.alerts.delivery.blocks import Content, Message
from health_pipeline.alerts.delivery.clock import now
from health_pipeline.alerts.delivery.intent import Intent, Kind
from health_pipeline.alerts.delivery.outbox import (
    CHANNELS,
    OUTBOX,
    STATES,
    WAITING,
    State,
    intent_of,
    of_ecosystem,
    rests,
)
from health_pipeline.storage.state import reading

_C = OUTBOX.c
_WITHOUT_FILE = [column for column in OUTBOX.columns if column.name != "file"]


@dataclass(frozen=True)
class Entry:
    """A row of the outbox; instants are UTC. See :data:`OUTBOX` for the columns.

    ``intent`` comes without the bytes of its file.
    """

    id: int
    ecosystem: str
    intent: Intent
    state: State
    attempts: int
    last_error: str | None
    created_at: dt.datetime
    sending_since: dt.datetime | None
    attempted_at: dt.datetime | None
    sent_at: dt.datetime | None
    channel_id: str | None
    ts: str | None
    file_id: str | None

    @property
    def message(self) -> Message:
        return self.intent.message

    @property
    def not_before(self) -> dt.datetime | None:
        return self.intent.not_before


@dataclass(frozen=True)
class Channel:
    """How deliveries to one channel stand; instants are UTC.

    Attributes:
        pending, doubtful, held: rows that wait, that are being sent or in doubt, and that are kept aside.
        oldest_pending: since when the oldest of the pending ones waits; quiet hours count too.
        last_sent: when Slack last confirmed something.
        last_error: of the latest attempt among the rows that have not arrived.
        resting_until: nothing is sent before, because Slack asked for it or could not be reached.
    """

    channel: str
    pending: int
    doubtful: int
    held: int
    oldest_pending: dt.datetime | None
    last_sent: dt.datetime | None
    last_error: str | None
    resting_until: dt.datetime | None


@dataclass(frozen=True)
class Delivered:
    """How far a row of the outbox has come; ``sent_at`` is UTC."""

    state: State
    attempts: int
    sent_at: dt.datetime | None

    @property
    def is_waiting(self) -> bool:
        """Slack certainly does not have it, also when somebody has tried; what may have arrived is ``sending``."""
        return self.state == "pending"


def entries(
    engine: sa.Engine,
    *,
    ecosystem: str | None = None,
    state: State | None = None,
    kind: Kind | None = None,
    limit: int = 100,
) -> list[Entry]:
    """Rows of the outbox, the newest first."""
    query = sa.select(*_WITHOUT_FILE).where(*of_ecosystem(ecosystem)).order_by(_C.id.desc()).limit(limit)
    if state:
        query = query.where(_C.state == state)
    if kind:
        query = query.where(_C.kind == kind)
    with reading(engine) as connection:
        return [_entry(row) for row in connection.execute(query).mappings()]


def waiting(engine: sa.Engine, *, ecosystem: str) -> list[Intent]:
    """What is to be sent or in doubt, in the order queued, with the bytes of files."""
    query = sa.select(OUTBOX).where(_C.state.in_(WAITING), *of_ecosystem(ecosystem)).order_by(_C.id)
    with reading(engine) as connection:
        return [intent_of(row) for row in connection.execute(query).mappings()]


def counts(engine: sa.Engine, *, ecosystem: str | None = None) -> dict[State, int]:
    """How many rows are in each state; a state without rows counts 0."""
    query = sa.select(_C.state, sa.func.count()).where(*of_ecosystem(ecosystem)).group_by(_C.state)
    with reading(engine) as connection:
        found = {row[0]: row[1] for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in STATES}


def channels(engine: sa.Engine, *, ecosystem: str | None = None) -> list[Channel]:
    """How deliveries stand, channel by channel, in the order of their names."""

    def number(state: State) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((_C.state == state, 1), else_=0))

    totals = (
        sa.select(
            _C.channel,
            number("pending").label("pending"),
            number("sending").label("doubtful"),
            number("held").label("held"),
            sa.func.min(sa.case((_C.state == "pending", _C.created_at))).label("oldest_pending"),
            sa.func.max(_C.sent_at).label("last_sent"),
        )
        .where(*of_ecosystem(ecosystem))
        .group_by(_C.channel)
        .order_by(_C.channel)
    )
    errors = (
        sa.select(_C.channel, _C.last_error)
        .where(_C.state.in_((*WAITING, "held")), _C.last_error.is_not(None), *of_ecosystem(ecosystem))
        .order_by(sa.func.coalesce(_C.attempted_at, _C.created_at), _C.id)
    )
    resting = sa.select(CHANNELS).where(rests(now()))
    with reading(engine) as connection:
        rows = connection.execute(totals).mappings().all()
        latest = {row.channel: row.last_error for row in connection.execute(errors)}
        until = {row.channel: row.resting_until for row in connection.execute(resting)}
    return [
        Channel(**row, last_error=latest.get(row["channel"]), resting_until=until.get(row["channel"])) for row in rows
    ]


def stuck(
    engine: sa.Engine, *, held_since: dt.datetime, waiting_since: dt.datetime, ecosystem: str | None = None
) -> list[Entry]:
    """Rows that somebody should look at, the newest first.

    Args:
        held_since: held rows queued since then.
        waiting_since: rows, other than edits, that could have gone out by then and are not in Slack yet.
    """
    could = sa.func.coalesce(_C.not_before, _C.created_at)
    held = sa.and_(_C.state == "held", _C.created_at >= held_since)
    waits = sa.and_(_C.state.in_(WAITING), _C.kind != "edit", _C.created_at < waiting_since, could < waiting_since)
    query = sa.select(*_WITHOUT_FILE).where(sa.or_(held, waits), *of_ecosystem(ecosystem)).order_by(_C.id.desc())
    with reading(engine) as connection:
        return [_entry(row) for row in connection.execute(query).mappings()]


def delivered(connection: sa.Connection, keys: Collection[str]) -> dict[str, Delivered]:
    """How far rows of the outbox have come."""
    found: dict[str, Delivered] = {}
    for some in _portions(keys):
        query = sa.select(_C.key, _C.state, _C.attempts, _C.sent_at).where(_C.key.in_(some))
        found |= {row.key: Delivered(row.state, row.attempts, row.sent_at) for row in connection.execute(query)}
    return found


def contents(connection: sa.Connection, keys: Collection[str]) -> dict[str, Content]:
    """What rows of the outbox say."""
    found = {}
    for some in _portions(keys):
        for row in connection.execute(sa.select(_C.key, _C.payload).where(_C.key.in_(some))):
            payload = json.loads(row.payload)
            found[row.key] = Content(payload["text"], tuple(payload["blocks"]))
    return found


def posts_since(connection: sa.Connection, ecosystem: str, kinds: Iterable[str], since: dt.datetime) -> frozenset[str]:
    """Keys of the posts that tell of many incidents, as they begin: ``digest``, ``rollup``."""
    begins = sa.or_(*(_C.key.startswith(f"{ecosystem}:{kind}:", autoescape=True) for kind in kinds))
    query = sa.select(_C.key).where(_C.ecosystem == ecosystem, _C.kind == "post", _C.created_at >= since, begins)
    return frozenset(connection.execute(query).scalars())


def _portions(keys: Collection[str], size: int = 500) -> list[list[str]]:
    """So many at once as a statement takes."""
    listed = sorted(keys)
    return [listed[at : at + size] for at in range(0, len(listed), size)]


def _entry(row: sa.RowMapping) -> Entry:
    shared = [name for name in Entry.__dataclass_fields__ if name != "intent"]
    return Entry(intent=intent_of(row), **{name: row[name] for name in shared})
