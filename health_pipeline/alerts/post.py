"""Bring messages up to date: read the record, plan, put the plan into the outbox, deliver."""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, clock, outbox
from health_pipeline.alerts.delivery.deliver import Delivery, deliver, left
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.messages.trust import RECENT_DAYS, trust
from health_pipeline.alerts.people import told as told_of
from health_pipeline.alerts.people.decisions import history
from health_pipeline.alerts.people.told import Planned, Told
from health_pipeline.alerts.planning.keys import DIGEST, ROLLUP, chart_key
from health_pipeline.alerts.planning.known import Known, Ranked
from health_pipeline.alerts.planning.plan import Plan, plan
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.storage.lake import LakeTable
from health_pipeline.storage.state import opened_state, reading

URL_VARIABLE = "HEALTH_PIPELINE_URL"
DEFAULT_URL = "http://127.0.0.1:3000"
CLICK_VARIABLES = ("SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET")
"""Whoever answers clicks has one of them."""
STALE = dt.timedelta(days=2)
"""Messages that Slack could not take for so long are no news any more: they are held."""
REJUDGED = dt.timedelta(days=90)
"""What was told and is over for longer stays as it was told, whatever becomes of the record."""
OF_LATE = dt.timedelta(days=3)
"""Digests and roll-ups of so long ago are not added to any more."""
REDRAWN = dt.timedelta(hours=1)
"""A chart that could not be drawn is tried again after so long, or when there is something else to tell."""
TRIES = 5

Draw = Callable[[Incident], Picture | None]

_log = logging.getLogger(__name__)


def base_url() -> str:
    """Where people reach the Dagster UI: ``HEALTH_PIPELINE_URL``, or this machine."""
    return (os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")


def answers_clicks() -> bool:
    """Whether messages have buttons: somebody can answer them."""
    return any(os.environ.get(name, "").strip() for name in CLICK_VARIABLES)


@dataclass(frozen=True)
class Sources:
    """What messages are made of.

    Attributes:
        receipts: table of the contract -> its deliveries.
    """

    incidents: LakeTable
    risks: LakeTable
    maturity: LakeTable
    deliveries: LakeTable
    receipts: Callable[[str], Iterable[Receipt]]


@dataclass(frozen=True)
class Posted:
    """What a pass did.

    Attributes:
        newest: the day told of, the newest with a list; ``None`` when no day was judged.
        plan: what was put into the outbox.
        delivery: what became of the outbox.
    """

    newest: dt.date | None
    plan: Plan
    delivery: Delivery


def refresh(
    catalog: Catalog,
    sources: Sources,
    state_url: str,
    *,
    draw: Draw | None = None,
    deliver_now: bool = True,
    now: dt.datetime | None = None,
) -> Posted:
    """Tell what is to be told, each once for ever; make true what was told; deliver what the outbox holds.

    Any number of processes may do so at the same time, and be killed at any instant: a plan and what is remembered of
    it are one transaction, and one planner of an ecosystem goes on at a time. Never raises because of Slack: without a
    token, or when Slack is unreachable, messages wait in the outbox.

    Args:
        draw: makes the chart of an incident, or none of what can't be drawn; no charts without. What it raises is
            logged, and the message goes without.
        now: in place of the clock, of what is planned; deliveries go by the clock.
    """
    with opened_state(state_url) as engine:
        newest, planned = _plan_and_queue(engine, catalog, sources, draw, now or clock.now())
        if not deliver_now:
            return Posted(newest, planned, left(engine, ecosystem=catalog.name))
        delivery = _deliver(engine, catalog)
        if delivery.sent:  # from when Slack has it on, people can be late to acknowledge it
            _, more = _plan_and_queue(engine, catalog, sources, draw, now or clock.now())
            if more.intents:
                delivery = delivery.then(_deliver(engine, catalog))
    return Posted(newest, planned, delivery)


def _deliver(engine: sa.Engine, catalog: Catalog) -> Delivery:
    return deliver(engine, Slack.from_environment(), ecosystem=catalog.name, max_age=STALE)


def preview(
    catalog: Catalog,
    sources: Sources,
    state_url: str | None,
    *,
    draw: Draw | None = None,
    now: dt.datetime | None = None,
    digest_now: bool = False,
) -> Plan:
    """What :func:`refresh` would put into the outbox. Only reads.

    Args:
        state_url: without, as if nobody had been told of anything yet.
        draw: as in :func:`refresh`.
        digest_now: as if the hour of the digest had come.
    """
    at = now or clock.now()
    if not sources.incidents.days():
        return Plan()
    known = _record(sources, ())
    if state_url is not None:
        with opened_state(state_url) as engine, reading(engine) as connection:
            known, _ = _known(connection, catalog, sources, at)
    known = replace(known, trust=_Trust(catalog, sources))

    def planned(known: Known) -> Plan:
        return plan(catalog, known, at, actions=answers_clicks(), url=base_url(), digest_now=digest_now)

    made = planned(known)
    if draw is None or not made.undrawn:
        return made
    return planned(replace(known, pictures=_draw(draw, made.undrawn)))


class _OvertakenError(Exception):
    """A message was sent while it was planned to take it back, or to let it say something else."""


def _plan_and_queue(
    engine: sa.Engine, catalog: Catalog, sources: Sources, draw: Draw | None, now: dt.datetime
) -> tuple[dt.date | None, Plan]:
    if not sources.incidents.days():
        return None, Plan()
    trusted, pictures = _Trust(catalog, sources), dict[str, Picture]()

    def planned(known: Known) -> Plan:
        known = replace(known, trust=trusted, pictures=pictures)
        return plan(catalog, known, now, actions=answers_clicks(), url=base_url())

    for attempt in range(TRIES):
        # What takes long is done before, for what will be told as far as can be seen: nobody waits for it.
        with reading(engine) as connection:
            known, decision = _known(connection, catalog, sources, now)
            before = told_of.planned(connection, catalog.name)
        draft = planned(known)
        rests = before is not None and now - before.planned_at < REDRAWN
        if draft.is_empty and before is not None and (rests or not draft.undrawn):
            if (before.next_at, before.decision) == (draft.next_at, decision):
                return known.newest, draft
        else:
            pictures |= _draw(draw, [i for i in draft.undrawn if i.id not in pictures])
        try:
            with engine.begin() as connection:
                told_of.lock(connection, catalog.name)
                known, decision = _known(connection, catalog, sources, now)
                made = planned(known)
                _queue(connection, catalog.name, made, Planned(now, made.next_at, decision))
                return known.newest, made
        except _OvertakenError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _queue(connection: sa.Connection, ecosystem: str, planned: Plan, mark: Planned) -> None:
    for key, why in planned.dropped.items():
        if not outbox.drop(connection, key, why):
            raise _OvertakenError
    for key, content in planned.rewritten.items():
        if not outbox.rewrite(connection, key, content):
            raise _OvertakenError
    for intent in planned.intents:
        outbox.add(connection, intent, ecosystem=ecosystem)
    told_of.write(connection, ecosystem, planned.told)
    told_of.mark_planned(connection, ecosystem, mark)


class _Trust:
    """How far the data of incidents can be trusted; each day of a table is read once."""

    def __init__(self, catalog: Catalog, sources: Sources) -> None:
        self._catalog, self._sources = catalog, sources
        self._rows: dict[dt.date, tuple[pa.Table, pa.Table]] = {}
        self._found: dict[tuple[str, dt.date], tuple[str, ...]] = {}

    def __call__(self, incident: Incident) -> tuple[str, ...]:
        if incident.kind != "shift":
            return ()
        key = incident.id, incident.day
        if key not in self._found:
            maturity, deliveries = self._rows_of(incident.day)
            self._found[key] = trust(self._catalog, incident, maturity, deliveries, self._receipts)
        return self._found[key]

    def _rows_of(self, day: dt.date) -> tuple[pa.Table, pa.Table]:
        if day not in self._rows:
            recent = [day - dt.timedelta(days=n) for n in range(RECENT_DAYS)]
            self._rows[day] = (self._sources.maturity.read([day]), self._sources.deliveries.read(recent))
        return self._rows[day]

    @cached_property
    def _receipts(self) -> dict[str, list[Receipt]]:
        return {table.name: list(self._sources.receipts(table.name)) for table in self._catalog.tables}


def _draw(draw: Draw | None, incidents: Iterable[Incident]) -> dict[str, Picture]:
    found: dict[str, Picture] = {}
    if draw is None:
        return found
    for incident in incidents:
        try:
            picture = draw(incident)
        except Exception:
            _log.exception("The chart of %s can't be drawn; its message goes without.", incident.id)
        else:
            if picture is not None:
                found[incident.id] = picture
    return found


# ── What is known ────────────────────────────────────────────────────────────────────────────────────────────────────


def _record(sources: Sources, told: Sequence[Told]) -> Known:
    """The day to tell of, and what was told.

    Days are listed once all are judged that a run is about, one after another. Until the newest has its list, what was
    told goes on by the newest that has one; unless it has gone further, as when a deleted lake is computed again.
    """
    judged, listed = sources.incidents.days(), set(sources.risks.days())
    newest = next((day for day in reversed(judged) if day in listed), judged[-1])
    if any(row.day > newest for row in told):
        newest = judged[-1]
    ranked = {row["incident"]: Ranked(row["score"], row["rank"]) for row in sources.risks.read([newest]).to_pylist()}
    incidents = tuple(from_table(sources.incidents.read([newest])))
    return Known(newest, incidents, ranked, told=tuple(told), is_listed=judged[-1] in listed)


def _known(connection: sa.Connection, catalog: Catalog, sources: Sources, now: dt.datetime) -> tuple[Known, int]:
    """What is known, and the id of the newest decision."""
    told = told_of.read(connection, catalog.name)
    known = _record(sources, told)
    decisions = history(connection.engine, catalog.name)
    decision = max((d.id for d in decisions), default=0)
    before = told_of.planned(connection, catalog.name)
    decided = {d.incident for d in decisions if before is None or d.id > before.decision}
    here = {incident.id for incident in known.incidents}
    past, gone, ids = _past(sources, known.newest, [row for row in told if row.incident not in here], decided)
    posts = backlog.posts_since(connection, catalog.name, (DIGEST, ROLLUP), now - OF_LATE)
    delivered = backlog.delivered(connection, posts | {key for row in told for key in _followed(catalog, row)})
    says = [row.shown for row in told if row.incident in gone and row.shown]
    says += [key for key in posts if key in delivered and delivered[key].is_waiting]
    return replace(
        known,
        past=past,
        gone=gone,
        ids=ids,
        decisions=tuple(decisions),
        delivered=delivered,
        posts=posts,
        contents=backlog.contents(connection, says),
    ), decision


def _followed(catalog: Catalog, row: Told) -> list[str]:
    """Outbox keys by which it is seen how far what was told has come."""
    keys = [row.key, row.asked.key if row.asked else "", row.said.since_key if row.said else ""]
    if row.form == "line":  # the charts of others follow their post, and are dropped with it
        keys += [chart_key(catalog.name, row, number) for number in range(1, row.charts + 1)]
    return [key for key in keys if key]


def _past(
    sources: Sources, newest: dt.date, absent: Sequence[Told], decided: set[str]
) -> tuple[dict[str, Incident], frozenset[str], frozenset[str]]:
    """Of told incidents that are not in the newest day: their last rows, as far as needed; which are in no day; and, if
    there are any such, every id in the record.
    """
    asked = [row for row in absent if row.form != "none" and row.phase != "retracted"]
    wanted = [row for row in asked if not row.finished or decided & set(row.names)]
    over = [row for row in asked if row.finished and newest - row.day < REJUDGED]
    if not wanted and not over:
        return {}, frozenset(), frozenset()
    since = min((row.day for row in wanted if not row.finished), default=newest)
    days = {row.day for row in wanted} | {day for day in sources.incidents.days() if since <= day < newest}
    rows = sources.incidents.read(days)
    rows = rows.filter(pc.is_in(rows["id"], pa.array({row.incident for row in wanted}, pa.string())))
    past = {incident.id: incident for incident in from_table(rows)}  # of each, the last
    there = set(sources.incidents.read({row.day for row in over}, ["id"])["id"].to_pylist())
    missing = {row.incident for row in [*wanted, *over]} - past.keys() - there
    if not missing:
        return past, frozenset(), frozenset()
    ids = frozenset(sources.incidents.read(None, ["id"])["id"].to_pylist())
    return past, frozenset(missing - ids), ids
