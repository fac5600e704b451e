"""Which incidents people were told of, in which message, and what was last said of each: tables of the state database.

One row per incident, for ever. Its message is either a post of its own (``own``) or a reply in the thread of a digest
or a roll-up that has a line of it (``line``). ``none`` is an incident that would have been told and was not: somebody
had snoozed it, or its message was taken back before it left.

Planning reads this, and writes it in one transaction with the outbox (:mod:`.outbox`), under :func:`lock`: so there is
never a message without its row, nor two planners that tell the same.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import pyarrow as pa
import sqlalchemy as sa

from health_pipeline.alerts.people.standing import Renewal
from health_pipeline.incidents.model import INCIDENTS, Incident, Reach
from health_pipeline.storage.state import METADATA, UtcDateTime

Form = Literal["own", "line", "none"]
Phase = Literal["open", "recovered", "settled", "retracted", "merged"]
"""``retracted`` also of what is not in the record any more."""

Change = Literal[
    "new", "worsening", "reopened", "raised", "recovered", "settled", "retracted", "merged",
    "acknowledged", "assigned", "verdict", "snoozed", "overdue",
]  # fmt: skip
"""What can happen to an incident that was told: of itself, or by people.

``reopened``: it flared up again. ``raised``: its severity. The four of people (``acknowledged`` to ``snoozed``) also
stand for the same taken back: then the standing does not hold them any more.
"""
CHANGES: tuple[Change, ...] = get_args(Change)

_LOCK = 724_339  # any number, as long as every process of this product uses the same

TOLD = sa.Table(
    "told",
    METADATA,
    sa.Column("first_key", sa.String(255), primary_key=True),  # of the message in which it was told first
    sa.Column("ecosystem", sa.String(100), nullable=False),
    sa.Column("incident", sa.Text, nullable=False),  # as it is called now
    sa.Column("aliases", sa.Text, nullable=False),  # JSON list: as it was called before
    sa.Column("form", sa.String(10), nullable=False),
    sa.Column("key", sa.String(255)),  # outbox key of its full message
    sa.Column("post", sa.String(255)),  # of the post in whose thread it goes on: the same, or a digest, a roll-up
    sa.Column("shown", sa.String(255)),  # of the row that holds what its message says now: the same, or an edit
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("severity", sa.String(20), nullable=False),
    sa.Column("phase", sa.String(10), nullable=False),
    sa.Column("said", sa.Text, nullable=False),  # JSON of Said
    sa.Column("before", sa.Text),  # JSON of BeforeLine or BeforeAnew
    sa.Column("all_keys", sa.Text, nullable=False),  # JSON list: of its full messages, of those that never left too
    sa.Column("hash", sa.String(64), nullable=False),  # of what its message says now
    sa.Column("version", sa.Integer, nullable=False),  # of its edits and replies, as in their keys
    sa.Column("charts", sa.Integer, nullable=False),
    sa.Column("charted", sa.Date),  # worsened_on as in the newest chart
    sa.Column("asked", sa.Text),  # JSON of Asked
    sa.Column("last", sa.Text),  # JSON: the incident as it was last, in outline
    sa.Column("day", sa.Date, nullable=False),  # the last day on which it was in the record
    sa.Column("told_at", UtcDateTime(), nullable=False),  # queued
    sa.Column("due_at", UtcDateTime(), nullable=False),  # queued, or the end of the quiet hours
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.UniqueConstraint("key", name="uq_told_key"),
    sa.CheckConstraint(
        "form = 'none' AND key IS NULL AND post IS NULL AND shown IS NULL OR "
        "form IN ('own', 'line') AND key IS NOT NULL AND post IS NOT NULL AND shown IS NOT NULL",
        name="ck_told_form",
    ),
    sa.Index("ix_told_ecosystem", "ecosystem"),
)
PLANS = sa.Table(
    "alert_plans",
    METADATA,
    sa.Column("ecosystem", sa.String(100), primary_key=True),
    sa.Column("planned_at", UtcDateTime(), nullable=False),
    sa.Column("next_at", UtcDateTime()),  # when something is due that no new data and no click brings about
    sa.Column("decision", sa.Integer, nullable=False),  # id of the newest decision that the plan knew
)
_T, _P = TOLD.c, PLANS.c


@dataclass(frozen=True)
class Said:
    """What was last said of an incident in words that people notice: its post, a reply, or a line of a digest.

    Not what leaves by itself, whatever becomes of a digest that waits: see :class:`Asked`, and charts.

    Attributes:
        severity: the most urgent one that was said; a lower one is shown, and not told.
        worsened_on: of the worsening that was told last.
        acknowledged, assigned, judged: fingerprints of the decisions that were told; empty for none.
        snoozed: until when; ``None`` for not.
        since: when its time to be acknowledged began anew: its severity was raised, it flared up again, a snooze ended.
        since_key: outbox key of the reply or the digest that said so.
        renewed: since when it is to be acknowledged anew, and why; ``None`` for as before.
    """

    phase: Phase
    severity: str
    worsened_on: dt.date | None = None
    acknowledged: str = ""
    assigned: str = ""
    judged: str = ""
    snoozed: dt.date | None = None
    since: dt.datetime | None = None
    since_key: str = ""
    renewed: Renewal | None = None


@dataclass(frozen=True)
class Asked:
    """That people were told that it was not acknowledged in time.

    Attributes:
        key: outbox key of the reply that says so; empty where it is not known.
        since: when the time began that was over, as in :class:`Said`; once it begins anew, nobody has been asked.
    """

    key: str
    since: dt.datetime | None


@dataclass(frozen=True)
class BeforeLine:
    """How a told incident was before a digest had a line of what happened to it: until that leaves, it is unsaid.

    Attributes:
        said: what had been said.
        post: outbox key of the digest.
        what: what the digest says of it.
        at: when that was queued, UTC.
        due: the same, or the end of the quiet hours.
    """

    said: Said
    post: str
    what: Change
    at: dt.datetime
    due: dt.datetime


@dataclass(frozen=True)
class BeforeAnew:
    """How a line was before it was told anew: until its new message leaves, it can be that line again.

    Attributes:
        said: what had been said.
        key, thread, channel: of its former message: its outbox key and that of the post above it, its channel.
        charts, charted, asked: as they were on its row.
    """

    said: Said
    key: str
    thread: str
    channel: str
    charts: int
    charted: dt.date | None = None
    asked: Asked | None = None


Before = BeforeLine | BeforeAnew


@dataclass(frozen=True)
class Told:
    """One incident that was told, or that ``form`` says was not; instants are UTC.

    Attributes:
        said: ``None`` of one that was told before this was kept: then what is so now counts as said.
        before: how it was before what says so, which may not have left yet; of what was told before.
        all_keys: outbox keys of all its messages, those that were taken back or told anew included: a key is never used
            twice.
        last: the incident as it was last, without members and explanation; ``None`` where it is not known.
        finished: its end has been told; it is looked at again only when that changes.

    See :data:`TOLD` for the rest.
    """

    first_key: str
    incident: str
    channel: str
    day: dt.date
    told_at: dt.datetime
    due_at: dt.datetime
    form: Form = "none"
    aliases: tuple[str, ...] = ()
    key: str = ""
    post: str = ""
    shown: str = ""
    severity: str = ""
    phase: Phase = "open"
    said: Said | None = None
    before: Before | None = None
    all_keys: tuple[str, ...] = ()
    hash: str = ""
    version: int = 0
    charts: int = 0
    charted: dt.date | None = None
    asked: Asked | None = None
    last: Incident | None = None
    finished: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called, and was before."""
        return (self.incident, *self.aliases)

    @property
    def was_dropped(self) -> bool:
        """Its message was taken back before it left, or it vanished before it was told: its key is used up."""
        return self.form == "none" and self.phase == "retracted"


@dataclass(frozen=True)
class Planned:
    """The last plan; see :data:`PLANS`."""

    planned_at: dt.datetime
    next_at: dt.datetime | None
    decision: int


def outline(incident: Incident) -> Incident:
    """What is needed to name an incident later: without its members and what explains it."""
    return replace(incident, members=(), events=(), suspects=(), explanation=None, reach=Reach())


def lock(connection: sa.Connection, ecosystem: str) -> None:
    """Let one planner of an ecosystem at a time go on, until its transaction ends.

    With SQLite a transaction that may write is alone already (:func:`.storage.state.open_state`).
    """
    if connection.dialect.name == "postgresql":
        name = zlib.crc32(ecosystem.encode()) - 2**31  # both numbers are signed, of four bytes
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, name)))


def read(connection: sa.Connection, ecosystem: str) -> list[Told]:
    """Every row of an ecosystem, in the order told."""
    query = sa.select(TOLD).where(_T.ecosystem == ecosystem).order_by(_T.told_at, _T.first_key)
    return [_told(row) for row in connection.execute(query).mappings()]


def find(connection: sa.Connection, ecosystem: str, is_its_name: Callable[[str], bool]) -> Told | None:
    """The incident that is called so, or else was before; of the others only the names are read."""
    query = sa.select(_T.first_key, _T.incident, _T.aliases).where(_T.ecosystem == ecosystem)
    rows = connection.execute(query.order_by(_T.told_at.desc(), _T.first_key)).all()
    now = (row.first_key for row in rows if is_its_name(row.incident))
    before = (row.first_key for row in rows if any(map(is_its_name, json.loads(row.aliases))))
    key = next(now, None) or next(before, None)
    row = connection.execute(sa.select(TOLD).where(_T.first_key == key)).mappings().first()
    return _told(row) if row else None


def renewals(connection: sa.Connection, ecosystem: str, incident: str | None = None) -> dict[str, Renewal]:
    """What is to be acknowledged anew, by its present name, and since when.

    Args:
        incident: only that one, under whatever name it was known; all without.
    """
    if incident is not None:
        row = find(connection, ecosystem, lambda name: name == incident)
        is_live = row is not None and row.form != "none"
        return {row.incident: row.said.renewed} if is_live and row and row.said and row.said.renewed else {}
    query = sa.select(_T.incident, _T.said).where(_T.ecosystem == ecosystem, _T.form != "none")
    rows = connection.execute(query.where(_T.said.like('%"renewed": {%'))).all()
    found = {row.incident: _said(json.loads(row.said)).renewed for row in rows}
    return {incident: renewed for incident, renewed in found.items() if renewed is not None}


def write(connection: sa.Connection, ecosystem: str, rows: Iterable[Told]) -> None:
    """Add rows, or replace those with the same ``first_key``."""
    for told in rows:
        values = _row(told)
        changed = connection.execute(TOLD.update().where(_T.first_key == told.first_key).values(values))
        if not changed.rowcount:
            connection.execute(TOLD.insert().values(values | {"first_key": told.first_key, "ecosystem": ecosystem}))


def planned(connection: sa.Connection, ecosystem: str) -> Planned | None:
    """The last plan; ``None`` before the first."""
    row = connection.execute(sa.select(PLANS).where(_P.ecosystem == ecosystem)).mappings().first()
    return Planned(row["planned_at"], row["next_at"], row["decision"]) if row else None


def mark_planned(connection: sa.Connection, ecosystem: str, plan: Planned) -> None:
    values = dataclasses.asdict(plan)
    if not connection.execute(PLANS.update().where(_P.ecosystem == ecosystem).values(values)).rowcount:
        connection.execute(PLANS.insert().values(values | {"ecosystem": ecosystem}))


def _row(told: Told) -> dict[str, Any]:
    same = ("incident", "form", "channel", "severity", "phase", "hash", "version", "charts", "charted", "day",
            "told_at", "due_at", "finished")  # fmt: skip
    return {name: getattr(told, name) for name in same} | {
        "key": told.key or None,
        "post": told.post or None,
        "shown": told.shown or None,
        "aliases": json.dumps(told.aliases),
        "said": json.dumps(dataclasses.asdict(told.said) if told.said else None, default=_iso),
        "before": json.dumps(dataclasses.asdict(told.before), default=_iso) if told.before else None,
        "all_keys": json.dumps(told.all_keys),
        "asked": json.dumps(dataclasses.asdict(told.asked), default=_iso) if told.asked else None,
        "last": _packed(told.last) if told.last else None,
    }


def _told(row: sa.RowMapping) -> Told:
    values = {name: row[name] for name in row if name != "ecosystem"}
    said = json.loads(values["said"])
    return Told(
        **values
        | {name: values[name] or "" for name in ("key", "post", "shown")}
        | {
            "aliases": tuple(json.loads(values["aliases"])),
            "said": _said(said) if said else None,
            "before": _before(json.loads(values["before"])) if values["before"] else None,
            "all_keys": tuple(json.loads(values["all_keys"])),
            "asked": _asked(json.loads(values["asked"])) if values["asked"] else None,
            "last": _unpacked(values["last"]) if values["last"] else None,
        }
    )


def _said(values: dict[str, Any]) -> Said:
    days = {name: dt.date.fromisoformat(values[name]) for name in _DAYS if values[name]}
    read: dict[str, Any] = {"since": dt.datetime.fromisoformat(values["since"])} if values["since"] else {}
    if renewed := values.get("renewed"):
        read["renewed"] = Renewal(dt.datetime.fromisoformat(renewed["at"]), renewed["why"])
    return Said(**values | days | read)


def _before(values: dict[str, Any]) -> Before:
    said = {"said": _said(values["said"])}
    if "post" not in values:
        charted = dt.date.fromisoformat(values["charted"]) if values["charted"] else None
        asked = _asked(values["asked"]) if values["asked"] else None
        return BeforeAnew(**values | said | {"charted": charted, "asked": asked})
    return BeforeLine(**values | said | {name: dt.datetime.fromisoformat(values[name]) for name in ("at", "due")})


def _asked(values: dict[str, Any]) -> Asked:
    return Asked(values["key"], dt.datetime.fromisoformat(values["since"]) if values["since"] else None)


_DAYS = ("worsened_on", "snoozed")


_PARTS = ("members", "events", "suspects", "explanation", "reach")
"""What an outline leaves out."""
_DATES = [f.name for f in INCIDENTS if f.type == pa.date32()]


def _packed(incident: Incident) -> str:
    fields = (f.name for f in dataclasses.fields(Incident) if f.name not in _PARTS)
    return json.dumps({name: getattr(incident, name) for name in fields}, default=_iso)


def _unpacked(text: str) -> Incident:
    row = json.loads(text)
    return Incident(**row | {name: dt.date.fromisoformat(row[name]) for name in _DATES if row[name]})


def _iso(value: object) -> str:
    if isinstance(value, dt.date):  # also an instant
        return value.isoformat()
    raise TypeError(f"{value!r} has no form in JSON")
