"""A channel as plans make it: what a plan asks for is done in memory, as the outbox and Slack would."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from health_pipeline.alerts.delivery.backlog import Delivered
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By, silenced_as
from health_pipeline.alerts.people.told import Told
from health_pipeline.alerts.planning.known import Known, Ranked
from health_pipeline.alerts.planning.plan import Plan, plan
from health_pipeline.catalog.alerts import Alerts, Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline_tests.alerts.by_hand import data_incident, incident

DAY = dt.date(2025, 7, 3)
NOON = dt.datetime(2025, 7, 3, 12, 0, tzinfo=dt.UTC)
EARLY = dt.datetime(2025, 7, 4, 7, 0, tzinfo=dt.UTC)
MORNING = dt.datetime(2025, 7, 4, 8, 30, tzinfo=dt.UTC)
"""The hour of the digest."""
MINUTE, HOUR, ONE_DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
P1, P2, P3 = 20.0, 6.0, 1.0
"""Scores of incidents of these severities."""
PICTURE = Picture(b"\x89PNG", "A series falls.", "series.png")


def with_alerts(catalog: Catalog, **changes: Any) -> Catalog:
    return catalog.model_copy(update={"alerts": Alerts(**changes)})


def fall(name: str, **changes: Any) -> Incident:
    """A fall of a platform's statements, first reported on :data:`DAY`."""
    changes = {"onset": DAY, "state": "new"} | changes
    onset = changes["onset"]
    return incident(
        **{
            "id": f"{name.lower()}-statements-{onset}", "unit": name, "segment": f"platform={name}", "day": DAY,
            "series": f"statements|platform={name}", "first_reported": DAY, "last_reported": DAY,
            "headline_reported": DAY, "onset_low": onset, "onset_high": onset,
        }
        | changes
    )  # fmt: skip


def hole(name: str, **changes: Any) -> Incident:
    """A platform has delivered nothing for two days."""
    values = {"id": f"{name.lower()}-delivery-2025-07-02", "unit": name, "day": DAY, "first_reported": DAY - ONE_DAY,
              "onset": DAY - ONE_DAY, "last_reported": DAY, "state": "ongoing"}  # fmt: skip
    return data_incident(**values | changes)


@dataclass
class Row:
    """A row of the outbox."""

    intent: Intent
    queued_at: dt.datetime
    sent_at: dt.datetime | None = None
    dropped: bool = False

    @property
    def due(self) -> dt.datetime:
        return max(self.queued_at, self.intent.not_before or self.queued_at)


@dataclass
class Desk:
    """The record, what people decided, the clock; and the channel that follows from the plans.

    Attributes:
        record: id -> its last row, of every incident that any day of the record holds.
        scores: id -> score on the newest day.
        connected: whether Slack gets what is due at once.
        attempts: requests made in vain for each row that Slack does not have.
        draws: whether charts can be made.
    """

    catalog: Catalog
    now: dt.datetime = NOON
    newest: dt.date = DAY
    record: dict[str, Incident] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    told: dict[str, Told] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    connected: bool = True
    attempts: int = 0
    draws: bool = False
    actions: bool = False
    seen_decision: int = 0

    # ── What happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def happens(self, *incidents: Incident, score: float | None = None) -> None:
        """The newest day holds these incidents as they are."""
        for each in incidents:
            self.record[each.id] = replace(each, day=self.newest)
            if score is not None:
                self.scores[each.id] = score

    def changes(self, name: str, **changes: Any) -> Incident:
        self.record[name] = replace(self.record[name], **changes)
        return self.record[name]

    def ends(self, name: str, state: str = "recovered") -> None:
        self.changes(name, state=state, ended=self.newest)
        self.scores.pop(name, None)

    def vanishes(self, name: str) -> Incident:
        """The days on which it was reported are judged anew, and do not show it."""
        self.scores.pop(name, None)
        return self.record.pop(name)

    def next_day(self) -> None:
        """The next day is judged; nothing changes, but what ended a while ago is not in it."""
        self.newest += ONE_DAY
        for name, each in self.record.items():
            if each.day == self.newest - ONE_DAY and not (each.ended and (self.newest - each.ended).days > 3):
                last = self.newest if each.is_open else each.last_reported
                state = "ongoing" if each.is_open else each.state
                self.record[name] = replace(
                    each, day=self.newest, last_reported=last, headline_reported=last, state=state
                )  # type: ignore[arg-type]

    def decides(self, kind: str, name: str, user: str = "UANA", **values: Any) -> Decision:
        number = len(self.decisions) + 1
        metric, segment = silenced_as(self.catalog, self.record[name]) if name in self.record else ("", "")
        made = Decision(
            self.catalog.name, name, kind, By(user, self.now), "slack", f"{number}", metric, segment,  # type: ignore[arg-type]
            id=number, **values,
        )  # fmt: skip
        self.decisions.append(made)
        return made

    # ── What is told ─────────────────────────────────────────────────────────────────────────────────────────────────

    def known(self) -> Known:
        newest = [i for i in self.record.values() if i.day == self.newest]
        here = {i.id for i in newest}
        decided = {d.incident for d in self.decisions if d.id > self.seen_decision}
        absent = [t for t in self.told.values() if t.incident not in here and t.form != "none"]
        absent = [t for t in absent if t.phase != "retracted"]
        wanted = {t.incident for t in absent if not t.finished or decided & set(t.names)}
        gone = frozenset(t.incident for t in absent if t.incident not in self.record)
        ranks = sorted((i for i in newest if i.id in self.scores), key=lambda i: -self.scores[i.id])
        return Known(
            self.newest,
            tuple(newest),
            {i.id: Ranked(self.scores[i.id], rank) for rank, i in enumerate(ranks, start=1) if i.is_open},
            tuple(self.told.values()),
            {name: self.record[name] for name in wanted & self.record.keys()},
            gone,
            frozenset(self.record) if gone else frozenset(),
            tuple(self.decisions),
            {key: Delivered(*self.state(row)) for key, row in self.rows.items()},
            frozenset(key for key in self.rows if ":digest:" in key or ":rollup:" in key),
            {t.shown: self.content(t.key) for t in absent if t.incident in gone}
            | {key: Content(row.intent.text, row.intent.blocks) for key, row in self.rows.items() if not row.sent_at},
            pictures={i.id: PICTURE for i in newest} if self.draws else {},
        )

    def state(self, row: Row) -> tuple[Any, int, dt.datetime | None]:
        if row.dropped:
            return "superseded", 0, None
        return ("sent", 1, row.sent_at) if row.sent_at else ("pending", self.attempts, None)

    def plan(self, now: dt.datetime | None = None) -> Plan:
        return plan(self.catalog, self.known(), now or self.now, actions=self.actions, url="http://dagster")

    def follow(self, **passed: float) -> list[Intent]:
        """Let time pass, plan, and do what the plan asks for; returns that."""
        self.now += dt.timedelta(**passed)
        self._deliver()
        made = self.plan()
        for key in made.dropped:
            assert self.state(self.rows[key])[0] == "pending", f"{key} can't be dropped"
            self._drop(key)
        for key, content in made.rewritten.items():
            row = self.rows[key]
            assert self.state(row)[0] == "pending", f"{key} can't say anything else"
            row.intent = replace(row.intent, text=content.text, blocks=content.blocks)
        for intent in made.intents:
            assert intent.key not in self.rows, f"{intent.key} is used twice"
            kinds = {"post": (), "edit": ("post", "reply")}.get(intent.kind, ("post",))
            assert bool(intent.of) == bool(kinds)
            assert not kinds or self.rows[intent.of].intent.kind in kinds
            self.rows[intent.key] = Row(intent, self.now)
        self.told |= {told.first_key: told for told in made.told}
        self.seen_decision = len(self.decisions)
        self._deliver()
        return list(made.intents)

    def _drop(self, key: str) -> None:
        """What waits is dropped, and what follows it with it."""
        self.rows[key].dropped = True
        for follower, row in self.rows.items():
            if row.intent.of == key and self.state(row)[0] == "pending":
                self._drop(follower)

    def _deliver(self) -> None:
        for row in self.rows.values() if self.connected else ():
            if row.due <= self.now and row.sent_at is None and not row.dropped:
                row.sent_at = self.now

    def content(self, key: str) -> Content:
        """What a message says, once everything queued is in Slack."""
        last = self.rows[key].intent
        for row in self.rows.values():
            if row.intent.kind == "edit" and row.intent.of == key:
                last = row.intent
        return Content(last.text, last.blocks)

    def says(self, key: str) -> str:
        return as_plain_text(self.content(key))

    def thread(self, key: str) -> list[str]:
        """Keys of what is in a post's thread."""
        return [k for k, row in self.rows.items() if row.intent.of == key and row.intent.kind in ("reply", "upload")]


def kinds(intents: Iterable[Intent]) -> list[tuple[str, str]]:
    """(kind, what it is about) of each, without ecosystem and kind of incident."""
    return [(i.kind, i.key.removeprefix("eu_dsa:").removeprefix("incident:")) for i in intents]


def texts(intents: Sequence[Intent]) -> str:
    return "\n".join(as_plain_text(Content(i.text, i.blocks)) for i in intents if i.blocks)


MAIN, OPS = "#ecosystem-health", "C0OPS"
OWNER = "trust-and-safety-analytics"

IN_AN_HOUR = (
    Severity(name="P1", minimum_score=10, at_once=True, acknowledge_within_minutes=60),
    Severity(name="P2", minimum_score=5),
    Severity(name="P3"),
)
NO_HURRY = (Severity(name="P1", minimum_score=10, at_once=True), *IN_AN_HOUR[1:])
BOTH_AT_ONCE = (NO_HURRY[0], Severity(name="P2", at_once=True))
"""P2 is told at once too, and only P1 is critical."""
BOTH_AT_ONCE_OF_THREE = (NO_HURRY[0], Severity(name="P2", minimum_score=5, at_once=True), NO_HURRY[2])


def desk(catalog: Catalog, **alerts: Any) -> Desk:
    """A desk with these settings; nobody has to acknowledge anything unless they say so."""
    return Desk(with_alerts(catalog, **{"severities": NO_HURRY} | alerts))


def key(name: str, onset: dt.date = DAY) -> str:
    """Of the message about a :func:`fall`."""
    return f"eu_dsa:incident:{name.lower()}-statements-{onset}:open"


def digest(day: dt.date, channel: str = MAIN) -> str:
    """Its key."""
    return f"eu_dsa:digest:{channel}:{day}"


def id_of(name: str) -> str:
    return f"{name.lower()}-statements-{DAY}"


def snooze(here: Desk, name: str, days: int = 2, scope: str = "here") -> None:
    here.decides("snooze", id_of(name), scope=scope, until=here.now.date() + days * ONE_DAY)
