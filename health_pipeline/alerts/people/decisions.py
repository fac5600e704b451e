"""What people decided of incidents: an append-only record in the state database, and what follows from it.

A decision is never changed or deleted. To take one back is a decision of its own, which names the row that it undoes,
and which can be undone in turn. What follows from the record (:func:`standings_of`, :func:`snoozes_of`,
:func:`records_of`) is computed from the decisions that count, in the order in which they were recorded.

The same click may arrive several times, in several processes: it is one row, by its ``dedupe`` key. Who decides the
same twice, while it still holds, has decided once. An acknowledgement holds until the incident is to be acknowledged
anew (:class:`.standing.Renewal`).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from health_pipeline.alerts.people import told
from health_pipeline.alerts.people.standing import By, Renewal, Snooze, Standing, TrackRecord
from health_pipeline.catalog.alerts import EVERYBODY, ROLES, Alerts, Role, Verdict
from health_pipeline.storage.state import METADATA, UtcDateTime, reading

Kind = Literal["acknowledge", "assign", "verdict", "snooze", "unsnooze", "undo"]
Scope = Literal["segment", "here", "metric"]
"""What is snoozed: every metric in the segment, the metric in the segment, the metric everywhere."""

KINDS: tuple[Kind, ...] = get_args(Kind)
SCOPES: tuple[Scope, ...] = get_args(Scope)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
TERMINAL = "cli:"
"""With it begins the ID of somebody who decides at a terminal."""

MAX_NAME = 200
MAX_DEDUPE = 255
CONFIDENCE = 0.95
_LOCK = 7_243_391_119  # any number, as long as every process of this product uses the same

DECISIONS = sa.Table(
    "alert_decisions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ecosystem", sa.String(100), nullable=False),
    sa.Column("incident", sa.Text, nullable=False),  # as it was called when decided; empty for a snooze without one
    sa.Column("metric", sa.String(255), nullable=False),
    sa.Column("segment", sa.Text, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("value", sa.Text, nullable=False),  # JSON: what was chosen
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("by_name", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime(), nullable=False),
    sa.Column("source", sa.String(20), nullable=False),
    sa.Column("dedupe", sa.String(255), nullable=False),
    sa.Column("undoes", sa.Integer),  # id of the row that this one takes back
    sa.UniqueConstraint("dedupe", name="uq_alert_decisions_dedupe"),
    sa.Index("ix_alert_decisions_ecosystem", "ecosystem", "id"),
)
_C = DECISIONS.c


@dataclass(frozen=True)
class Decision:
    """One decision of one person.

    Attributes:
        incident: its ID; empty for a snooze or its end that is about no incident.
        metric, segment: of the incident, as it is silenced: see :func:`.standing.silenced_as`.
        source: where it was said: ``slack``, ``cli``.
        dedupe: names the act of deciding: twice the same is one decision.
        by_name: of the person, as shown then; only for people to read.
        assignee: of ``assign``: Slack's ID of whom it is assigned to.
        verdict, cause: of ``verdict``.
        scope, until: of ``snooze``; ``until`` is the first day on which it is told again.
        undoes: of ``undo``: the ``id`` of what it takes back.
        id: its row; 0 before it is recorded.

    Raises:
        ValueError: it lacks what its kind needs, or has what it does not.
    """

    ecosystem: str
    incident: str
    kind: Kind
    by: By
    source: str
    dedupe: str
    metric: str = ""
    segment: str = ""
    by_name: str = ""
    assignee: str = ""
    verdict: Verdict | None = None
    cause: str = ""
    scope: Scope | None = None
    until: dt.date | None = None
    undoes: int | None = None
    id: int = 0

    def __post_init__(self) -> None:
        needs: dict[Kind, set[str]] = {
            "assign": {"assignee"}, "verdict": {"verdict"}, "snooze": {"scope", "until"}, "undo": {"undoes"},
        }  # fmt: skip
        given = {name for name in ("assignee", "verdict", "scope", "until", "undoes") if getattr(self, name)}
        if self.kind not in KINDS or given != needs.get(self.kind, set()) or not (self.by.user and self.dedupe):
            raise ValueError(f"{self.kind} by {self.by.user!r} with {sorted(given)} is no decision")

    @property
    def snooze(self) -> Snooze | None:
        """The silence that it asks for."""
        if self.scope is None or self.until is None:
            return None
        metric = "" if self.scope == "segment" else self.metric
        return Snooze(metric, None if self.scope == "metric" else self.segment, self.until, self.by)

    @property
    def content(self) -> tuple[object, ...]:
        """What was decided, whoever did and whenever."""
        return (self.kind, self.assignee, self.verdict, self.cause, self.scope, self.until, self.undoes)


# ── The record ───────────────────────────────────────────────────────────────────────────────────────────────────────


def record(engine: sa.Engine, decision: Decision) -> bool:
    """Add a decision to the record.

    Returns:
        ``False``, and nothing is added, when this very act is there already; or when it changes nothing: the same
        person has decided the same and it still holds, there is nothing to end, what it would undo is undone.

    Raises:
        ValueError: it undoes what is no decision of this incident.
    """
    row = _row(decision)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Rows become visible in the order of their ids, so that whoever has seen one has seen those before.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            known = sa.select(_C.id).where(_C.dedupe == row["dedupe"])
            if connection.execute(known).first():
                return False
            before = _read(connection, decision.ecosystem)
            if decision.kind == "acknowledge":
                for anew in told.renewals(connection, decision.ecosystem, decision.incident).values():
                    before = [d for d in before if d.kind != "acknowledge" or d.by.at >= anew.at]
            if _changes_nothing(before, decision):
                return False
            connection.execute(DECISIONS.insert().values(row))
    except sa.exc.IntegrityError:  # another process was first
        with reading(engine) as connection:
            if connection.execute(sa.select(_C.id).where(_C.dedupe == row["dedupe"])).first() is None:
                raise
        return False
    return True


def history(engine: sa.Engine, ecosystem: str, incident: str | None = None) -> list[Decision]:
    """Every decision, undone ones and undos too, the oldest first."""
    with reading(engine) as connection:
        return _read(connection, ecosystem, incident)


def find(engine: sa.Engine, decision: Decision) -> Decision | None:
    """The row of this very act, with its number; ``None`` when it is not recorded."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(DECISIONS).where(_C.dedupe == _key(decision))).mappings().first()
    return _decision(row) if row else None


def latest(engine: sa.Engine, ecosystem: str) -> int:
    """The id of the newest decision; 0 when there is none. It grows with every decision recorded."""
    with reading(engine) as connection:
        found = connection.execute(sa.select(sa.func.max(_C.id)).where(_C.ecosystem == ecosystem)).scalar()
    return int(found or 0)


def standings(engine: sa.Engine, ecosystem: str, aliases: Mapping[str, str] | None = None) -> dict[str, Standing]:
    """:func:`standings_of` what is recorded, and what was told."""
    with reading(engine) as connection:
        return standings_of(_read(connection, ecosystem), aliases, told.renewals(connection, ecosystem))


def snoozes(engine: sa.Engine, ecosystem: str) -> list[Snooze]:
    """:func:`snoozes_of` what is recorded."""
    return snoozes_of(history(engine, ecosystem))


# ── What follows from it ─────────────────────────────────────────────────────────────────────────────────────────────


def counting(decisions: Iterable[Decision]) -> list[Decision]:
    """The decisions that count, undos left out: nobody has undone them, or the undo was undone.

    Args:
        decisions: of one ecosystem; in any order.
    """
    undone: set[int] = set()
    kept = []
    for decision in sorted(decisions, key=lambda d: d.id, reverse=True):  # an undo comes after what it undoes
        if decision.id in undone:
            continue
        if decision.undoes is not None:
            undone.add(decision.undoes)
        else:
            kept.append(decision)
    return kept[::-1]


def standings_of(
    decisions: Iterable[Decision],
    aliases: Mapping[str, str] | None = None,
    renewals: Mapping[str, Renewal] | None = None,
) -> dict[str, Standing]:
    """Where each incident stands that people have decided of; without its snooze, see :func:`.standing.silence`.

    Args:
        aliases: earlier name of an incident -> its present one, under which it then stands.
        renewals: present name of an incident -> what made it one to be acknowledged anew.
    """
    names = aliases or {}
    found: dict[str, dict[str, Any]] = {}
    for decision in counting(decisions):
        if not decision.incident:
            continue
        name = names.get(decision.incident, decision.incident)
        stands = found.setdefault(name, {})
        match decision.kind:
            case "acknowledge":
                renewed = (renewals or {}).get(name)
                if renewed is not None and decision.by.at < renewed.at:
                    stands |= {"lapsed": stands.get("lapsed", decision.by), "renewed": renewed}
                else:
                    stands.setdefault("acknowledged", decision.by)
            case "assign":
                stands |= {"assignee": decision.assignee, "assigned": decision.by}
            case "verdict":
                stands |= {"verdict": decision.verdict, "cause": decision.cause, "judged": decision.by}
    return {incident: Standing(**stands) for incident, stands in found.items() if stands}


def snoozes_of(decisions: Iterable[Decision]) -> list[Snooze]:
    """Every silence that nobody has ended, those that are over included; a later one replaces one of the same scope."""
    found: dict[tuple[str, str | None], Snooze] = {}
    for decision in counting(decisions):
        if decision.kind == "unsnooze":
            found = {at: snooze for at, snooze in found.items() if not ends(decision, snooze)}
        elif decision.snooze is not None:
            found[decision.snooze.metric, decision.snooze.segment] = decision.snooze
    return list(found.values())


def records_of(decisions: Iterable[Decision], aliases: Mapping[str, str] | None = None) -> dict[str, TrackRecord]:
    """Metric -> how its incidents were judged: each incident once, by the latest verdict.

    The interval is Wilson's (1927, "Probable inference, the law of succession, and statistical inference").
    """
    names = aliases or {}
    judged: dict[str, Decision] = {}
    for decision in counting(decisions):
        if decision.kind == "verdict":
            judged[names.get(decision.incident, decision.incident)] = decision
    numbers: dict[str, dict[Verdict, int]] = {}
    for decision in judged.values():
        if decision.verdict is not None:
            counts = numbers.setdefault(decision.metric, dict.fromkeys(VERDICTS, 0))
            counts[decision.verdict] += 1
    return {metric: _record_of(metric, counts) for metric, counts in numbers.items()}


# ── Who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def role(alerts: Alerts, user: str) -> Role:
    """The highest role of a user. Whoever sits at a terminal that reaches the database may do all."""
    if user.startswith(TERMINAL):
        return "admin"
    return max(
        (name for name, members in alerts.roles.items() if user in members or EVERYBODY in members),
        key=ROLES.index,
        default="viewer",
    )


def may(alerts: Alerts, user: str, kind: Kind, *, own: bool = False) -> bool:
    """Whether a user may decide so.

    A viewer decides nothing; an analyst everything, but undoes only own decisions; a lead or an admin undoes anybody's.

    Args:
        own: of an undo: it is the user's own decision.
    """
    return ROLES.index(role(alerts, user)) >= ROLES.index(least_role(kind, own=own))


def least_role(kind: Kind, *, own: bool = False) -> Role:
    """The least role that may decide so."""
    return "lead" if kind == "undo" and not own else "analyst"


def who_may(alerts: Alerts, kind: Kind, *, own: bool = False) -> list[str]:
    """IDs of the users who may, by name; ``*`` when it is everybody."""
    enough = ROLES[ROLES.index(least_role(kind, own=own)) :]
    return sorted({user for name in enough for user in alerts.roles.get(name, ())})


# ── How it is done ───────────────────────────────────────────────────────────────────────────────────────────────────


def _read(connection: sa.Connection, ecosystem: str, incident: str | None = None) -> list[Decision]:
    query = sa.select(DECISIONS).where(_C.ecosystem == ecosystem).order_by(_C.id)
    if incident is not None:
        query = query.where(_C.incident == incident)
    return [_decision(row) for row in connection.execute(query).mappings()]


def _changes_nothing(decisions: Sequence[Decision], new: Decision) -> bool:
    if new.kind == "undo":
        target = next((d for d in decisions if d.id == new.undoes), None)
        if target is None or target.incident != new.incident:
            raise ValueError(f"{new.undoes} is no decision of {new.incident or new.ecosystem}")
        before = counting(decisions)
        return counting([*decisions, _with_id(new, decisions)]) == before
    if new.kind == "unsnooze":
        return not any(ends(new, snooze) for snooze in snoozes_of(decisions))
    if new.snooze is not None:
        asked = (new.snooze.metric, new.snooze.segment, new.until, new.by.user)
        return any((s.metric, s.segment, s.until, s.by.user) == asked for s in snoozes_of(decisions))
    same = [d for d in counting(decisions) if (d.incident, d.kind) == (new.incident, new.kind)]
    relevant = same if new.kind == "acknowledge" else same[-1:]
    return any((d.content, d.by.user) == (new.content, new.by.user) for d in relevant)


def _with_id(new: Decision, decisions: Sequence[Decision]) -> Decision:
    return dataclasses.replace(new, id=max(d.id for d in decisions) + 1)


def ends(unsnooze: Decision, snooze: Snooze) -> bool:
    """Whether a snooze silences what somebody wants to hear again."""
    return snooze.covers(unsnooze.metric, unsnooze.segment, dt.date.min)


def _record_of(metric: str, counts: Mapping[Verdict, int]) -> TrackRecord:
    from scipy.stats import binomtest  # takes a second to load

    judged = sum(counts.values())
    interval = binomtest(judged - counts["false_alarm"], judged).proportion_ci(CONFIDENCE, method="wilson")
    numbers = (counts["real"], counts["expected"], counts["false_alarm"], counts["new_normal"])
    return TrackRecord(metric, *numbers, float(interval.low), float(interval.high))


def _row(decision: Decision) -> dict[str, Any]:
    value: dict[str, str] = {
        name: str(given)
        for name in ("assignee", "verdict", "cause", "scope", "until")
        if (given := getattr(decision, name))
    }
    return {
        "ecosystem": decision.ecosystem,
        "incident": decision.incident,
        "metric": decision.metric,
        "segment": decision.segment,
        "kind": decision.kind,
        "value": json.dumps(value),
        "by": decision.by.user,
        "by_name": decision.by_name[:MAX_NAME],
        "at": decision.by.at,
        "source": decision.source,
        "dedupe": _key(decision),
        "undoes": decision.undoes,
    }


def _key(decision: Decision) -> str:
    key = decision.dedupe
    return key if len(key) <= MAX_DEDUPE else hashlib.sha256(key.encode()).hexdigest()


def _decision(row: sa.RowMapping) -> Decision:
    value: dict[str, Any] = json.loads(row["value"])
    if "until" in value:
        value["until"] = dt.date.fromisoformat(value["until"])
    same = ("ecosystem", "incident", "metric", "segment", "kind", "by_name", "source", "dedupe", "undoes", "id")
    return Decision(**value, **{name: row[name] for name in same}, by=By(row["by"], row["at"]))
