"""The outbox: every message, from the moment it is decided on until Slack has confirmed it.

States of a row::

    pending ──claim──> sending ──mark_sent──> sent
       ^                 │  └──hold──> held        Slack will never take it as it is; requeue() tries again
       └────release──────┘                         Slack has certainly not taken it; later

A row is committed as ``sending`` before the request leaves. A row still ``sending`` when nobody can be
working on it any more (a crash, a lost answer) is *doubtful*: Slack may have it. :func:`claim` hands it out
with ``doubtful`` set, and whoever gets it looks for its key in Slack before it posts again. Rows are never
deleted.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from health_pipeline.alerts.message import Message
from health_pipeline.storage.state import METADATA, UtcDateTime, reading

State = Literal["pending", "sending", "sent", "held"]

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("ecosystem", sa.String(100), nullable=False),
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),  # JSON: text and blocks
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("claim", sa.String(32)),  # who is at work on a `sending` row
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("not_before", UtcDateTime()),  # a `pending` row rests until then
    sa.Column("sending_since", UtcDateTime()),  # first attempt with unknown outcome: where a search begins
    sa.Column("attempted_at", UtcDateTime()),  # latest attempt
    sa.Column("sent_at", UtcDateTime()),
    sa.Column("channel_id", sa.String(50)),  # Slack's, of a sent message
    sa.Column("ts", sa.String(50)),  # Slack's name of the message inside its channel
    sa.UniqueConstraint("key", name="uq_outbox_key"),
    sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'held')", name="ck_outbox_state"),
    sa.Index("ix_outbox_state", "state", "id"),
    sa.Index("ix_outbox_channel", "channel", "attempted_at"),
)
_C = OUTBOX.c
_FARTHEST = dt.timedelta(minutes=1)


@dataclass(frozen=True)
class Entry:
    """A row of the outbox; instants are UTC. See :data:`OUTBOX` for the columns."""

    id: int
    ecosystem: str
    message: Message
    state: State
    attempts: int
    last_error: str | None
    created_at: dt.datetime
    not_before: dt.datetime | None
    sending_since: dt.datetime | None
    attempted_at: dt.datetime | None
    sent_at: dt.datetime | None
    channel_id: str | None
    ts: str | None


@dataclass(frozen=True)
class Claim:
    """One message that the caller, and nobody else, may now send.

    Attributes:
        token: proves the claim in the calls that end it.
        doubtful: Slack may already have it: look for its key, from ``since`` on, before posting.
        since: the first attempt whose outcome is not known.
        post_at: not to be posted earlier, so that its channel gets no more than one message an interval.
        attempts: requests made for it so far.
    """

    id: int
    token: str
    message: Message
    doubtful: bool
    since: dt.datetime
    post_at: dt.datetime
    attempts: int


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def enqueue(engine: sa.Engine, message: Message, *, ecosystem: str) -> bool:
    """Put a message in the outbox; ``False`` when its key was there before, in whatever state."""
    payload = json.dumps({"text": message.text, "blocks": message.blocks})
    row = {
        "key": message.key,
        "ecosystem": ecosystem,
        "channel": message.channel,
        "payload": payload,
        "state": "pending",
        "attempts": 0,
        "created_at": now(),
    }
    try:
        with engine.begin() as connection:
            connection.execute(OUTBOX.insert().values(row))
    except sa.exc.IntegrityError:
        with reading(engine) as connection:
            if connection.execute(sa.select(_C.id).where(_C.key == message.key)).first() is None:
                raise
        return False
    return True


def claim(
    engine: sa.Engine,
    *,
    patience: dt.timedelta,
    interval: dt.timedelta,
    ecosystem: str | None = None,
    skip: Collection[str] = (),
) -> Claim | None:
    """Take the oldest message that is due and commit it as ``sending``; ``None`` when none is due.

    Of several callers at once, in whatever processes, one gets the row.

    Args:
        patience: how long after its latest attempt a ``sending`` row may still be at work in another
            process; after that it is doubtful and is handed out again.
        interval: the least time between two messages to one channel.
        ecosystem: only its messages.
        skip: channels to leave out.
    """
    at = now()
    due = sa.or_(
        sa.and_(_C.state == "pending", sa.or_(_C.not_before.is_(None), _C.not_before <= at)),
        sa.and_(_C.state == "sending", _C.attempted_at <= at - patience),
    )
    query = sa.select(OUTBOX).where(due, *_scope(ecosystem)).order_by(_C.id).limit(1)
    if skip:
        query = query.where(_C.channel.not_in(skip))
    with engine.begin() as connection:
        row = connection.execute(query.with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        latest = connection.execute(
            sa.select(sa.func.max(_C.attempted_at)).where(_C.channel == row["channel"])
        ).scalar()
        # Not further ahead than a minute: a clock that was once set wrong must not silence the channel.
        post_at = min(max(at, latest + interval), at + _FARTHEST) if latest else at
        doubtful = row["state"] == "sending"
        token = uuid.uuid4().hex
        since = row["sending_since"] or post_at
        connection.execute(
            OUTBOX.update()
            .where(_C.id == row["id"])
            .values(state="sending", claim=token, sending_since=since, attempted_at=post_at)
        )
    return Claim(row["id"], token, _message(row), doubtful, since, post_at, row["attempts"])


def begin(engine: sa.Engine, claimed: Claim) -> bool:
    """Commit that the request leaves now; ``False`` when the claim has meanwhile passed to somebody else."""
    return _end(engine, claimed, attempted_at=now(), attempts=_C.attempts + 1)


def mark_sent(engine: sa.Engine, claimed: Claim, *, ts: str, channel_id: str) -> None:
    """Slack has it. Holds whoever has the claim by now: what Slack confirmed is a fact."""
    with engine.begin() as connection:
        connection.execute(
            OUTBOX.update()
            .where(_C.id == claimed.id, _C.state != "sent")
            .values(
                state="sent",
                claim=None,
                last_error=None,
                sending_since=None,
                sent_at=now(),
                ts=ts,
                channel_id=channel_id,
            )
        )


def release(engine: sa.Engine, claimed: Claim, error: str, *, wait: dt.timedelta = dt.timedelta(0)) -> None:
    """Slack certainly has it not: back to ``pending``. Its whole channel rests for ``wait``."""
    _end(engine, claimed, state="pending", claim=None, last_error=error, sending_since=None)
    if wait:
        with engine.begin() as connection:
            connection.execute(
                OUTBOX.update()
                .where(_C.channel == claimed.message.channel, _C.state == "pending")
                .values(not_before=now() + wait)
            )


def hold(engine: sa.Engine, claimed: Claim, error: str) -> None:
    """Slack refuses the message as it is: kept, and not tried again before :func:`requeue`."""
    _end(engine, claimed, state="held", claim=None, last_error=error, sending_since=None)


def leave_doubtful(engine: sa.Engine, claimed: Claim, error: str) -> None:
    """The answer was lost: the row stays ``sending``, and is looked for in Slack when its patience ends."""
    _end(engine, claimed, claim=None, last_error=error)


def hold_older(engine: sa.Engine, created_before: dt.datetime, *, ecosystem: str | None = None) -> int:
    """Hold every pending message created before an instant; returns how many. They are no news any more."""
    with engine.begin() as connection:
        result = connection.execute(
            OUTBOX.update()
            .where(_C.state == "pending", _C.created_at < created_before, *_scope(ecosystem))
            .values(state="held", last_error="It waited too long to be news.")
        )
        return int(result.rowcount)


def requeue(engine: sa.Engine, key: str) -> bool:
    """Try a held message again; ``False`` when no message with this key is held."""
    with engine.begin() as connection:
        result = connection.execute(
            OUTBOX.update()
            .where(_C.key == key, _C.state == "held")
            .values(state="pending", not_before=None, created_at=now())
        )
        return bool(result.rowcount)


def entries(
    engine: sa.Engine, *, ecosystem: str | None = None, state: State | None = None, limit: int = 100
) -> list[Entry]:
    """Rows of the outbox, the newest first."""
    query = sa.select(OUTBOX).where(*_scope(ecosystem)).order_by(_C.id.desc()).limit(limit)
    if state:
        query = query.where(_C.state == state)
    with reading(engine) as connection:
        rows = connection.execute(query).mappings().all()
    shared = [name for name in Entry.__dataclass_fields__ if name != "message"]
    return [Entry(message=_message(row), **{name: row[name] for name in shared}) for row in rows]


def counts(engine: sa.Engine, *, ecosystem: str | None = None) -> dict[State, int]:
    """How many messages are in each state; a state without messages counts 0."""
    query = sa.select(_C.state, sa.func.count()).where(*_scope(ecosystem)).group_by(_C.state)
    with reading(engine) as connection:
        found = {row[0]: row[1] for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in ("pending", "sending", "sent", "held")}


def next_due(
    engine: sa.Engine, *, patience: dt.timedelta, ecosystem: str | None = None, skip: Collection[str] = ()
) -> dt.datetime | None:
    """When :func:`claim` will next have something to give; ``None`` when nothing waits."""
    waiting = sa.select(_C.state, _C.not_before, _C.attempted_at).where(
        _C.state.in_(("pending", "sending")), *_scope(ecosystem)
    )
    if skip:
        waiting = waiting.where(_C.channel.not_in(skip))
    with reading(engine) as connection:
        rows = connection.execute(waiting).all()
    at = now()
    return min(
        (r.not_before or at if r.state == "pending" else r.attempted_at + patience for r in rows),
        default=None,
    )


def known_channel_id(engine: sa.Engine, channel: str) -> str | None:
    """Slack's ID of a channel, as learnt from the latest message sent to it."""
    query = sa.select(_C.channel_id).where(_C.channel == channel, _C.state == "sent").order_by(_C.id.desc()).limit(1)
    with reading(engine) as connection:
        found: str | None = connection.execute(query).scalar()
    return found


def _scope(ecosystem: str | None) -> list[sa.ColumnElement[bool]]:
    return [_C.ecosystem == ecosystem] if ecosystem else []


def _end(engine: sa.Engine, claimed: Claim, **values: Any) -> bool:
    with engine.begin() as connection:
        result = connection.execute(
            OUTBOX.update()
            .where(_C.id == claimed.id, _C.claim == claimed.token, _C.state == "sending")
            .values(**values)
        )
        return bool(result.rowcount)


def _message(row: sa.RowMapping) -> Message:
    payload = json.loads(row["payload"])
    return Message(row["key"], row["channel"], payload["text"], tuple(payload["blocks"]))
