"""The outbox: every message, from the moment it is decided on until Slack has confirmed it.

States of a row::

    pending ──claim──> sending ──mark_sent──> sent
     │ │ ^               │  └──hold──> held        Slack will never take it as it is; requeue() tries again
     │ │ └───release─────┘                         Slack has certainly not taken it; later
     │ └──hold_older, or its post is held──> held ──supersede() of what it follows──> superseded
     └──a newer edit of the same post, or supersede() of it or of what it follows──> superseded

A row is committed as ``sending`` before the request leaves. A row still ``sending`` when nobody can be
working on it any more (a crash, a lost answer) is *doubtful*: Slack may have it. :func:`claim` hands it out
with ``doubtful`` set, and whoever gets it looks for it in Slack before sending it again; an edit is sent again
at once, since twice the same edit is one. Rows are never deleted.

Order. A reply or an upload *follows* a post, an edit a post or a reply: it is due only when what it follows is
``sent``, and after every earlier follower of that which is not at its end yet. So a reply can be edited, a reply to
a reply can't be: Slack's threads have one level. Quiet hours (``not_before``) bend this twice,
because a held reply must not keep the message itself untrue, nor hold what is urgent: an edit overtakes
replies and uploads that are held, and a reply or upload with an earlier ``not_before`` than what stands before
it in its thread, post included, takes all of that along.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from health_pipeline.alerts.delivery.blocks import Content, Message
from health_pipeline.alerts.delivery.clock import now
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.storage.state import METADATA, UtcDateTime, reading

State = Literal["pending", "sending", "sent", "held", "superseded"]

STATES: tuple[State, ...] = ("pending", "sending", "sent", "held", "superseded")
EDIT_PACE = 1.2
"""Slack takes about 50 edits a minute of an app, over all channels, where it takes 60 messages in one."""

OUTBOX = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("ecosystem", sa.String(100), nullable=False),
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),  # JSON: text and blocks; filename and alt of an upload
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("claim", sa.String(32)),  # who is at work on a `sending` row
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("not_before", UtcDateTime()),  # quiet hours: a `pending` row waits until then
    sa.Column("sending_since", UtcDateTime()),  # first attempt with unknown outcome: where a search begins
    sa.Column("attempted_at", UtcDateTime()),  # latest attempt
    sa.Column("sent_at", UtcDateTime()),
    sa.Column("channel_id", sa.String(50)),  # Slack's, of a sent message
    sa.Column("ts", sa.String(50)),  # Slack's name of the message inside its channel; of an edit, its post's
    sa.Column("kind", sa.String(10), nullable=False, server_default="post"),
    sa.Column("parent", sa.String(255)),  # key of the post, or of an edit's reply, that a follower belongs to
    sa.Column("file", sa.LargeBinary),  # of an upload, until Slack has it
    sa.Column("file_id", sa.String(50)),  # Slack's, of a sent upload
    sa.UniqueConstraint("key", name="uq_outbox_key"),
    sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'held', 'superseded')", name="ck_outbox_state"),
    sa.CheckConstraint(
        "kind = 'post' AND parent IS NULL OR kind IN ('edit', 'reply', 'upload') AND parent IS NOT NULL",
        name="ck_outbox_kind",
    ),
    sa.Index("ix_outbox_state", "state", "id"),
    sa.Index("ix_outbox_channel", "channel", "attempted_at"),
    sa.Index("ix_outbox_parent", "parent", "id"),
    sa.Index("ix_outbox_kind", "kind", "attempted_at"),
)
CHANNELS = sa.Table(
    "outbox_channels",
    METADATA,
    sa.Column("channel", sa.String(100), primary_key=True),
    sa.Column("resting_until", UtcDateTime(), nullable=False),  # Slack asked to wait, or could not be reached
)
_C = OUTBOX.c
WAITING: tuple[State, ...] = ("pending", "sending")
FARTHEST = dt.timedelta(minutes=1)
"""No claim is to be sent later than so long after it was taken."""
_LONGEST_REST = dt.timedelta(days=1)
_WITH_ITS_POST = "Its post is held: "


@dataclass(frozen=True)
class Claim:
    """One thing that the caller, and nobody else, may now do.

    Attributes:
        token: proves the claim in the calls that end it.
        doubtful: Slack may already have it: look for its key, from ``since`` on, before sending it.
        since: the first attempt whose outcome is not known.
        post_at: not to be sent earlier, so that its channel gets no more than one message an interval.
        attempts: requests made for it so far.
        channel_id, ts: where the post stands that it follows; empty for a post.
    """

    id: int
    token: str
    intent: Intent
    doubtful: bool
    since: dt.datetime
    post_at: dt.datetime
    attempts: int
    channel_id: str
    ts: str


def enqueue(engine: sa.Engine, message: Message | Intent, *, ecosystem: str) -> bool:
    """Put something to do in the outbox; ``False`` when its key was there before, in whatever state.

    An edit makes older edits of the same message that still wait ``superseded``. What follows a row that is held is
    held, and what follows one that was dropped is dropped.

    Raises:
        ValueError: it follows what the outbox does not know, or what can't be followed so.
    """
    with engine.begin() as connection:
        return add(connection, message, ecosystem=ecosystem)


def add(connection: sa.Connection, message: Message | Intent, *, ecosystem: str) -> bool:
    """:func:`enqueue`, as a part of a transaction under way."""
    intent = message if isinstance(message, Intent) else Intent.to_post(message)
    payload = {"text": intent.text, "blocks": intent.blocks}
    if intent.kind == "upload":
        payload |= {"filename": intent.filename, "alt": intent.alt}
    row: dict[str, Any] = {
        "key": intent.key,
        "ecosystem": ecosystem,
        "channel": intent.channel,
        "payload": json.dumps(payload),
        "state": "pending",
        "attempts": 0,
        "created_at": now(),
        "not_before": intent.not_before,
        "kind": intent.kind,
        "parent": intent.of or None,
        "file": intent.file or None,
    }
    if intent.kind != "post":
        kinds = ("post", "reply") if intent.kind == "edit" else ("post",)
        followed = sa.select(_C.channel).where(_C.key == intent.of, _C.kind.in_(kinds)).with_for_update()
        row["channel"] = connection.execute(followed).scalar()
        if row["channel"] is None:
            raise ValueError(f"{intent.key} follows {intent.of!r}, which is not a {' or '.join(kinds)} in the outbox")
    try:
        with connection.begin_nested():
            connection.execute(OUTBOX.insert().values(row))
    except sa.exc.IntegrityError:
        if connection.execute(sa.select(_C.id).where(_C.key == intent.key)).first() is None:
            raise
        return False
    if intent.kind == "edit":
        _supersede(connection, intent)
    elif intent.kind != "post":
        _take_along(connection, intent)
    if intent.kind != "post":
        _end_followers(connection)
    return True


def claim(
    engine: sa.Engine,
    *,
    patience: dt.timedelta,
    interval: dt.timedelta,
    ecosystem: str | None = None,
    skip: Collection[str] = (),
    skip_rows: Collection[int] = (),
) -> Claim | None:
    """Take a row that is due and commit it as ``sending``; ``None`` when none is due.

    The oldest, but what people notice before edits that nothing else waits for: there may be minutes of those. Of
    several callers at once, in whatever processes, one gets the row.

    Args:
        patience: how long after its latest attempt a ``sending`` row may still be at work in another
            process; after that it is doubtful and is handed out again.
        interval: the least time between two messages to one channel, edits included. Between two edits, of
            whatever channels, it is :data:`EDIT_PACE` times as long.
        ecosystem: only its messages.
        skip: channels to leave out.
        skip_rows: rows to leave out, by their ids; what follows one of them waits for it all the same.
    """
    at = now()
    due = sa.or_(
        sa.and_(_C.state == "pending", sa.or_(_C.not_before.is_(None), _C.not_before <= at)),
        sa.and_(_C.state == "sending", _C.attempted_at <= at - patience),
    )
    rested = sa.or_(CHANNELS.c.resting_until.is_(None), ~rests(at))
    query = _unblocked(list(OUTBOX.columns), at, ecosystem, skip, skip_rows).where(due, rested)
    query = query.order_by(_is_silent(at), _C.id).limit(1)
    with engine.begin() as connection:
        row = connection.execute(query.with_for_update(skip_locked=True, of=OUTBOX)).mappings().first()
        if row is None:
            return None
        post_at = at
        for query, pause in (
            (_C.channel == row["channel"], interval),
            *([(_C.kind == "edit", EDIT_PACE * interval)] if row["kind"] == "edit" else ()),
        ):
            latest = connection.execute(sa.select(sa.func.max(_C.attempted_at)).where(query)).scalar()
            post_at = max(post_at, latest + pause) if latest else post_at
        # Not further ahead than a minute: a clock that was once set wrong must not silence the channel.
        post_at = min(post_at, at + FARTHEST)
        doubtful = row["state"] == "sending"
        token = uuid.uuid4().hex
        since = row["sending_since"] or post_at
        connection.execute(
            OUTBOX.update()
            .where(_C.id == row["id"])
            .values(state="sending", claim=token, sending_since=since, attempted_at=post_at)
        )
    return Claim(
        row["id"], token, intent_of(row), doubtful, since, post_at, row["attempts"],
        row["post_channel_id"] or "", row["post_ts"] or "",
    )  # fmt: skip


def begin(engine: sa.Engine, claimed: Claim) -> bool:
    """Commit that the request leaves now; ``False`` when the claim has meanwhile passed to somebody else."""
    return _end(engine, claimed, attempted_at=now(), attempts=_C.attempts + 1)


def renew(engine: sa.Engine, claimed: Claim) -> bool:
    """Let the patience of others begin anew, for the last of several requests; ``False`` as in :func:`begin`."""
    return _end(engine, claimed, attempted_at=now())


def mark_sent(
    engine: sa.Engine, claimed: Claim, *, ts: str | None, channel_id: str, file_id: str | None = None
) -> None:
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
                file_id=file_id,
                file=None,
            )
        )


def release(engine: sa.Engine, claimed: Claim, error: str, *, wait: dt.timedelta = dt.timedelta(0)) -> None:
    """Slack certainly has it not: back to ``pending``, or superseded by a newer edit.

    Its whole channel rests for ``wait``.
    """
    with engine.begin() as connection:
        values = {"state": "pending", "claim": None, "last_error": error, "sending_since": None}
        released = connection.execute(_own(claimed).values(values)).rowcount
        newer = sa.select(_C.id).where(_C.parent == claimed.intent.of, _C.kind == "edit", _C.id > claimed.id)
        if released and claimed.intent.kind == "edit" and connection.execute(newer.limit(1)).first():
            connection.execute(
                OUTBOX.update()
                .where(_C.id == claimed.id)
                .values(state="superseded", last_error=f"A newer edit replaced it. {error}")
            )
        if wait:
            _rest(connection, claimed.intent.channel, now() + wait)


def hold(engine: sa.Engine, claimed: Claim, error: str) -> None:
    """Slack refuses it as it is: kept, and not tried again before :func:`requeue`; so is what follows it."""
    with engine.begin() as connection:
        values = {"state": "held", "claim": None, "last_error": error, "sending_since": None}
        connection.execute(_own(claimed).values(values))
        _end_followers(connection)


def leave_doubtful(engine: sa.Engine, claimed: Claim, error: str) -> None:
    """The answer was lost: the row stays ``sending``, and is looked for in Slack when its patience ends.

    One that was only looked for gives back the moment at which it would have been sent: many in doubt do not keep
    their channel waiting.
    """
    at = now()
    attempted_at = sa.case((_C.attempted_at > at, at), else_=_C.attempted_at)
    _end(engine, claimed, claim=None, last_error=error, attempted_at=attempted_at)


def hold_older(engine: sa.Engine, before: dt.datetime, *, ecosystem: str | None = None) -> int:
    """Hold every pending row that could have gone out before an instant; returns how many. They are no news any more.

    Not edits: they keep a message true, which does not age. An edit of a message that is held is held with it.
    """
    since = sa.func.coalesce(_C.not_before, _C.created_at)
    old = (_C.state == "pending", _C.kind != "edit", _C.created_at < before, since < before, *of_ecosystem(ecosystem))
    held = {"state": "held", "last_error": "It waited too long to be news."}
    with engine.begin() as connection:
        # Posts first: what is held because of its post is freed with it.
        posts = connection.execute(OUTBOX.update().where(*old, _C.kind == "post").values(held)).rowcount
        followers = _end_followers(connection)
        rest = connection.execute(OUTBOX.update().where(*old).values(held)).rowcount
        return int(posts) + followers + int(rest) + _end_followers(connection)


def supersede(engine: sa.Engine, key: str, reason: str) -> bool:
    """Drop a row that still waits, because it is not true any more, and with it what follows it.

    Returns:
        ``False`` when no row with this key is pending: it is in Slack, or may be.
    """
    with engine.begin() as connection:
        return drop(connection, key, reason)


def drop(connection: sa.Connection, key: str, reason: str) -> bool:
    """:func:`supersede`, as a part of a transaction under way."""
    values = {"state": "superseded", "last_error": reason, "file": None}
    result = connection.execute(OUTBOX.update().where(_C.key == key, _C.state == "pending").values(values))
    _end_followers(connection)
    return bool(result.rowcount)


def rewrite(connection: sa.Connection, key: str, content: Content) -> bool:
    """Let what still waits say something else, in a transaction under way; ``False`` as in :func:`supersede`."""
    payload = json.dumps({"text": content.text, "blocks": content.blocks})
    waits = (_C.key == key, _C.state == "pending")
    return bool(connection.execute(OUTBOX.update().where(*waits).values(payload=payload)).rowcount)


def requeue(engine: sa.Engine, key: str) -> bool:
    """Try a held row again, and with it what was held because of it.

    Returns:
        ``False`` when no row with this key is held, or when it follows one that is held itself.
    """
    post = OUTBOX.alias("post")
    alone = sa.exists().where(post.c.key == _C.parent, post.c.state.in_(("held", "superseded")))
    again = {"state": "pending", "created_at": now(), "last_error": None}
    with engine.begin() as connection:
        result = connection.execute(
            OUTBOX.update().where(_C.key == key, _C.state == "held", ~alone).values(**again, not_before=None)
        )
        freed = [key] if result.rowcount else []
        while freed:  # a post, its replies, their edits
            chained = (_C.parent.in_(freed), _C.state == "held", _C.last_error.startswith(_WITH_ITS_POST))
            freed = list(connection.execute(sa.select(_C.key).where(*chained)).scalars())
            connection.execute(OUTBOX.update().where(_C.key.in_(freed)).values(again))
        return bool(result.rowcount)


def next_due(
    engine: sa.Engine,
    *,
    patience: dt.timedelta,
    ecosystem: str | None = None,
    skip: Collection[str] = (),
    skip_rows: Collection[int] = (),
) -> dt.datetime | None:
    """When :func:`claim` will next have something to give; ``None`` when nothing waits."""
    at = now()
    query = _unblocked([_C.state, _C.not_before, _C.attempted_at], at, ecosystem, skip, skip_rows)
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return min(
        (
            max(r.not_before or at if r.state == "pending" else r.attempted_at + patience, r.rests_until or at)
            for r in rows
        ),
        default=None,
    )


def rests(at: dt.datetime) -> sa.ColumnElement[bool]:
    """Whether a channel is left alone at an instant. Not for longer than a day: a clock was wrong that says so."""
    until = CHANNELS.c.resting_until
    return sa.and_(until > at, until <= at + _LONGEST_REST)


def known_channel_id(engine: sa.Engine, channel: str) -> str | None:
    """Slack's ID of a channel, as learnt from the latest message sent to it."""
    query = sa.select(_C.channel_id).where(_C.channel == channel, _C.state == "sent").order_by(_C.id.desc()).limit(1)
    with reading(engine) as connection:
        found: str | None = connection.execute(query).scalar()
    return found


def of_ecosystem(ecosystem: str | None) -> list[sa.ColumnElement[bool]]:
    """The condition on rows that they are an ecosystem's; none for those of all."""
    return [_C.ecosystem == ecosystem] if ecosystem else []


def _unblocked(
    columns: list[sa.Column[Any]],
    at: dt.datetime,
    ecosystem: str | None,
    skip: Collection[str],
    skip_rows: Collection[int],
) -> sa.Select[Any]:
    """Rows that wait for nothing but time, with their channel's ``rests_until`` and where their post stands."""
    post, earlier = OUTBOX.alias("post"), OUTBOX.alias("earlier")
    overtaken = sa.and_(_C.kind == "edit", earlier.c.kind != "edit", earlier.c.not_before > at)
    blocked = sa.exists().where(
        earlier.c.parent == _C.parent,
        earlier.c.id < _C.id,
        sa.or_(
            earlier.c.state == "sending",
            sa.and_(earlier.c.state == "pending", sa.or_(earlier.c.not_before.is_(None), ~overtaken)),
        ),
    )
    joined = OUTBOX.outerjoin(post, post.c.key == _C.parent).outerjoin(CHANNELS, CHANNELS.c.channel == _C.channel)
    query = (
        sa.select(
            *columns,
            sa.case((rests(at), CHANNELS.c.resting_until)).label("rests_until"),
            post.c.channel_id.label("post_channel_id"),
            post.c.ts.label("post_ts"),
        )
        .select_from(joined)
        .where(_C.state.in_(WAITING), *of_ecosystem(ecosystem))
        .where(sa.or_(_C.parent.is_(None), sa.and_(post.c.state == "sent", ~blocked)))
    )
    if skip:
        query = query.where(_C.channel.not_in(skip))
    return query.where(_C.id.not_in(skip_rows)) if skip_rows else query


def _is_silent(at: dt.datetime) -> sa.ColumnElement[int]:
    """1 for an edit that holds up nothing due in its thread, else 0."""
    later = OUTBOX.alias("later")
    due = sa.or_(later.c.not_before.is_(None), later.c.not_before <= at)
    behind = sa.exists().where(
        later.c.parent == _C.parent, later.c.id > _C.id, later.c.kind != "edit", later.c.state == "pending", due
    )
    return sa.case((sa.and_(_C.kind == "edit", ~behind), 1), else_=0)


def _supersede(connection: sa.Connection, edit: Intent) -> None:
    """The edit replaces what waits of the edits before it; of those at their end, only the sentence is kept."""
    connection.execute(
        OUTBOX.update()
        .where(_C.parent == edit.of, _C.kind == "edit", _C.key != edit.key, _C.state == "pending")
        .values(state="superseded", last_error="A newer edit replaced it.")
    )
    ended = (_C.parent == edit.of, _C.kind == "edit", _C.key != edit.key, _C.state.in_(("sent", "superseded")))
    whole = sa.select(_C.id, _C.payload).where(*ended, _C.payload.not_like('%"blocks": []%'))
    for row in connection.execute(whole).all():
        payload = json.dumps({"text": json.loads(row.payload)["text"], "blocks": []})
        connection.execute(OUTBOX.update().where(_C.id == row.id).values(payload=payload))


def _take_along(connection: sa.Connection, reply: Intent) -> None:
    """What stands before it in its thread waits no longer than it does itself."""
    thread = sa.or_(_C.key == reply.of, _C.parent == reply.of)
    later = _C.not_before > reply.not_before if reply.not_before else _C.not_before.is_not(None)
    connection.execute(OUTBOX.update().where(thread, _C.state == "pending", later).values(not_before=reply.not_before))


def _end_followers(connection: sa.Connection) -> int:
    """What still waits of a row that will not go out ends as that row did, with its reason; so does what follows that.

    What follows a held row is held, and freed with it; what follows a superseded one has nothing to follow any more,
    and is dropped even if it was held before: nobody could free it.

    Returns:
        how many were held.
    """
    post = OUTBOX.alias("post")
    dropped = (post.c.key == _C.parent, post.c.state == "superseded")
    held = (post.c.key == _C.parent, post.c.state == "held")
    reason = sa.func.coalesce(post.c.last_error, "")
    chained = sa.case((reason.startswith(_WITH_ITS_POST), reason), else_=sa.literal(_WITH_ITS_POST).concat(reason))
    drop = (
        OUTBOX.update()
        .where(_C.state.in_(("pending", "held")), sa.exists().where(*dropped))
        .values(state="superseded", last_error=sa.select(reason).where(*dropped).scalar_subquery(), file=None)
    )
    hold = (
        OUTBOX.update()
        .where(_C.state == "pending", sa.exists().where(*held))
        .values(state="held", last_error=sa.select(chained).where(*held).scalar_subquery())
    )
    while connection.execute(drop).rowcount:
        pass
    total = 0
    while count := connection.execute(hold).rowcount:
        total += int(count)
    return total


def _rest(connection: sa.Connection, channel: str, until: dt.datetime) -> None:
    c = CHANNELS.c
    if connection.execute(sa.select(c.channel).where(c.channel == channel)).first() is None:
        try:
            with connection.begin_nested():
                connection.execute(CHANNELS.insert().values(channel=channel, resting_until=until))
        except sa.exc.IntegrityError:  # another process was first
            pass
    sooner = sa.or_(c.resting_until < until, ~rests(now()))
    connection.execute(CHANNELS.update().where(c.channel == channel, sooner).values(resting_until=until))


def _own(claimed: Claim) -> sa.Update:
    return OUTBOX.update().where(_C.id == claimed.id, _C.claim == claimed.token, _C.state == "sending")


def _end(engine: sa.Engine, claimed: Claim, **values: Any) -> bool:
    with engine.begin() as connection:
        return bool(connection.execute(_own(claimed).values(**values)).rowcount)


def intent_of(row: sa.RowMapping) -> Intent:
    """What a row is to do, with the bytes of its file if the row came with them."""
    payload = json.loads(row["payload"])
    return Intent(
        key=row["key"],
        channel=row["channel"],
        kind=row["kind"],
        of=row["parent"] or "",
        text=payload["text"],
        blocks=tuple(payload["blocks"]),
        file=row.get("file") or b"",
        filename=payload.get("filename", ""),
        alt=payload.get("alt", ""),
        not_before=row["not_before"],
    )
