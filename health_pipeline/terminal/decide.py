"""``health-pipeline slack decide``, ``snooze``, ``decisions``: what a click does, at the terminal, and its record."""

from __future__ import annotations

import datetime as dt
import getpass
import uuid
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from health_pipeline.alerts.app.clicks import Subject, answer, today
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text, said
from health_pipeline.alerts.messages.incident import VERDICTS
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.decisions import TERMINAL, Decision, Kind, Scope
from health_pipeline.alerts.people.standing import DELIVERY, By, Snooze, Standing, silenced_as, what_is_snoozed
from health_pipeline.catalog.alerts import Verdict
from health_pipeline.catalog.model import Catalog
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents import wording
from health_pipeline.storage.state import opened_state, reading
from health_pipeline.terminal.slack import existing_state, print_csv

if TYPE_CHECKING:
    from health_pipeline.alerts.people.told import Told
    from health_pipeline.incidents.model import Incident
    from health_pipeline.pipeline import Pipeline

What = Literal["acknowledge", "assign", "verdict", "undo"]


def decide(ecosystem: str, incident: str, what: What, value: str | None, cause: str, console: Console) -> None:
    """Record a decision about an incident, and bring its message up to date.

    Args:
        value: of ``assign`` the Slack ID of whom, of ``verdict`` the verdict, of ``undo`` the decision's number or
            ``None`` for the latest that counts.

    Raises:
        UserError: there is no such incident, or nothing to take back.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    with opened_state(pipeline.home.state_url) as engine:
        with reading(engine) as connection:
            row = told.find(connection, pipeline.catalog.name, lambda name: name == incident)
        names = row.names if row else (incident,)
        every = decisions.history(engine, pipeline.catalog.name)
        before = [d for d in every if d.incident in names]
        subject = _subject(pipeline, names[0], row, before)
        given: dict[str, Any] = {}
        match what:
            case "assign":
                given = {"assignee": value}
            case "verdict":
                given = {"verdict": value, "cause": cause}
            case "undo":
                undone = _undone(before, incident, value)
                given = {"undoes": undone.id}
                subject = replace(subject, incident=undone.incident)  # as it was called then
        decision = _decision(pipeline.catalog, subject, what, **given)
        if not decisions.record(engine, decision):
            raise UserError("You have decided this already; nothing changes.")
    if decision.undoes is not None:
        words = next(_words(pipeline.catalog, d) for d in every if d.id == decision.undoes)
        console.print(Text.from_markup("[green]✓[/] ").append(f"Taken back: {words}."), soft_wrap=True)
    else:
        renewals = {names[0]: row.said.renewed} if row and row.said and row.said.renewed else {}
        standing = decisions.standings_of(before, dict.fromkeys(names, names[0]), renewals).get(names[0], Standing())
        _say(answer(pipeline.catalog, decision, standing), console)
    _refresh(pipeline, console)


def snooze(
    ecosystem: str, metric: str, segment: str | None, until: dt.date | None, days: int, console: Console
) -> None:
    """Silence a metric in a segment, a metric everywhere, or everything in a segment.

    Args:
        metric: empty for every metric; ``delivery`` for holes in the data.
        segment: as in the cube, "" for the total, ``None`` for everywhere.
        until: the first day on which it is told again; ``None`` for ``days`` from today on.

    Raises:
        UserError: the metric or the segment is none of the catalog's, or the date is past.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    catalog = pipeline.catalog
    _check(catalog, metric, segment)
    begins = today(catalog.alerts, dt.datetime.now(dt.UTC))
    ends = until or begins + dt.timedelta(days=days)
    if ends <= begins:
        raise UserError(f"{wording.day(ends)} is not in the future.", "Give the first day on which to be told again.")
    scope: Scope = "metric" if segment is None else "here" if metric else "segment"
    subject = Subject(catalog.name, "", metric, segment or "")
    with opened_state(pipeline.home.state_url) as engine:
        decision = _decision(catalog, subject, "snooze", scope=scope, until=ends)
        if not decisions.record(engine, decision):
            raise UserError("You have snoozed this until then already; nothing changes.")
    _say(answer(catalog, decision, Standing()), console)
    _refresh(pipeline, console)


def end_snooze(ecosystem: str, metric: str, segment: str | None, console: Console) -> None:
    """End every silence that covers a metric in a segment.

    Raises:
        UserError: there is none.
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    _check(pipeline.catalog, metric, segment)
    with existing_state() as engine:
        subject = Subject(pipeline.catalog.name, "", metric, segment or "")
        if not decisions.record(engine, _decision(pipeline.catalog, subject, "unsnooze")):
            raise UserError("Nothing that covers this is snoozed.", "`health-pipeline slack snooze --list` shows all.")
    console.print("[green]✓[/] Not snoozed any more.", highlight=False)
    _refresh(pipeline, console)


def list_snoozes(ecosystem: str, as_csv: bool, console: Console) -> None:
    """Print what is silenced now."""
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    with existing_state() as engine:
        found = decisions.snoozes(engine, catalog.name)
    now = today(catalog.alerts, dt.datetime.now(dt.UTC))
    current = sorted((s for s in found if s.until > now), key=lambda s: (s.until, s.metric, s.segment or ""))
    if as_csv:
        print_csv([_snooze_row(s) for s in current])
        return
    if not current:
        console.print(f"Nothing of {catalog.name} is snoozed.", highlight=False)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("until", "what", "--metric", "--segment", "by"):
        table.add_column(heading, overflow="fold")
    for s in current:
        row = _snooze_row(s)
        table.add_row(row["until"], what_is_snoozed(catalog, s), row["metric"], row["segment"], row["by"])
    console.print(table)


def show_decisions(ecosystem: str, incident: str | None, as_csv: bool, console: Console) -> None:
    """Print every decision, the newest last, and how the incidents of each metric were judged."""
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    with existing_state() as engine:
        every = decisions.history(engine, catalog.name)
    shown = [d for d in every if incident in (None, d.incident)]
    count = {d.id for d in decisions.counting(every)}
    if as_csv:
        print_csv([_decision_row(d, d.id in count) for d in shown])
        return
    if not shown:
        what = f"about {incident} " if incident else ""
        console.print(f"Nothing was decided {what}yet.", highlight=False, soft_wrap=True)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("no.", "when (UTC)", "who", "incident", "decision"):
        table.add_column(heading, overflow="fold")
    for d in shown:
        words = Text(_words(catalog, d))
        if d.kind != "undo" and d.id not in count:
            words.append("  taken back", "dim italic")
        table.add_row(str(d.id), f"{d.by.at:%Y-%m-%d %H:%M}", d.by_name or d.by.user, d.incident or "–", words)
    console.print(table)
    if incident is None:
        _track_records(catalog, every, console)


def _track_records(catalog: Catalog, every: list[Decision], console: Console) -> None:
    records = decisions.records_of(every)
    if not records:
        return
    console.print()
    console.rule("[bold]Track record[/]", align="left")
    for record in sorted(records.values(), key=lambda r: (-r.judged, r.metric)):
        numbers = (record.real, record.expected, record.false_alarm, record.new_normal)
        judged = ", ".join(f"{n:,} {title.lower()}" for n, title in zip(numbers, VERDICTS.values(), strict=True))
        console.print(
            f"{record.metric}: {judged}; precision {100 * record.precision:.0f} % (95 % CI {100 * record.low:.0f} % to "
            f"{100 * record.high:.0f} %)",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print("[dim]Precision: the share of those judged that was no false alarm.[/]", highlight=False)


def _subject(pipeline: Pipeline, name: str, row: Told | None, before: list[Decision]) -> Subject:
    """What a decision about an incident is about; one that was told, is in the record, or was decided of before."""
    catalog = pipeline.catalog
    incident = row.last if row is not None and row.last is not None else _incident(pipeline, name)
    if incident is not None:
        return Subject(catalog.name, name, *silenced_as(catalog, incident))
    if before:
        return Subject(catalog.name, name, before[-1].metric, before[-1].segment)
    newest = pipeline.tables.incidents.days()[-1:]
    known = pipeline.tables.incidents.read(newest, ["id"])["id"].to_pylist() if newest else []
    raise UserError(f"{catalog.name} has no incident {name!r}.", did_you_mean(name, known[:20]))


def _incident(pipeline: Pipeline, name: str) -> Incident | None:
    """An incident as told last; nearly always it is of the newest day."""
    from health_pipeline.incidents.model import from_table

    table = pipeline.tables.incidents
    days = table.days()
    found = [i for i in from_table(table.read(days[-1:])) if i.id == name] if days else []
    if not found and days:
        ids = table.read(days, ["day", "id"])
        on = [day for day, id_ in zip(ids["day"].to_pylist(), ids["id"].to_pylist(), strict=True) if id_ == name]
        found = [i for i in from_table(table.read([max(on)])) if i.id == name] if on else []
    return found[0] if found else None


def _undone(before: list[Decision], incident: str, number: str | None) -> Decision:
    """The decision to take back, by its number or the latest that counts."""
    if number is None:
        last = decisions.counting(before)[-1:]
        if not last:
            raise UserError(f"Nothing that counts was decided about {incident}.")
        return last[0]
    found = next((d for d in before if str(d.id) == number), None)
    if found is None:
        raise UserError(
            f"There is no decision {number} about {incident}.",
            f"`health-pipeline slack decisions {incident}` lists them with their numbers.",
        )
    return found


def _decision(catalog: Catalog, subject: Subject, kind: Kind, **given: Any) -> Decision:
    user = _user()
    return Decision(
        catalog.name, subject.incident, kind, By(f"{TERMINAL}{user}", dt.datetime.now(dt.UTC)), "cli",
        f"{TERMINAL}{uuid.uuid4().hex}", metric=subject.metric, segment=subject.segment, by_name=user, **given,
    )  # fmt: skip


def _user() -> str:
    try:
        return getpass.getuser()[:80]
    except (KeyError, OSError, ImportError):  # a container without a name for its user
        return "unknown"


def _check(catalog: Catalog, metric: str, segment: str | None) -> None:
    metrics = [*(m.name for m in catalog.metrics), DELIVERY]
    if metric and metric not in metrics:
        raise UserError(f"{catalog.name} has no metric {metric!r}.", did_you_mean(metric, metrics))
    dimensions = [d.name for d in catalog.dimensions]
    for part in (segment or "").split("|") if segment else ():
        name, is_pair, value = part.partition("=")
        if not is_pair or not value or name not in dimensions:
            hint = did_you_mean(name, dimensions) if is_pair else "Write it as dimension=value, several joined by |."
            raise UserError(f"{part!r} is no segment of {catalog.name}.", hint)


def _say(words: str, console: Console) -> None:
    plain = as_plain_text(Content("", (said(words),)))
    console.print(Text.from_markup("[green]✓[/] ").append(plain), soft_wrap=True)


def _refresh(pipeline: Pipeline, console: Console) -> None:
    """Bring the messages up to date, and say what went out."""
    from health_pipeline.alerts.post import refresh
    from health_pipeline.charts_incident import incident_drawing

    draw = incident_drawing(pipeline.catalog, pipeline.series_sources)
    posted = refresh(pipeline.catalog, pipeline.alert_sources, pipeline.home.state_url, draw=draw)
    counts = Counter(intent.kind for intent in posted.plan.intents)
    queued = ", ".join(wording.count(number, noun) for noun, number in sorted(counts.items())) or "nothing new"
    console.print(f"  Slack: {queued} queued; outbox: {posted.delivery}", highlight=False, soft_wrap=True)


def _words(catalog: Catalog, decision: Decision) -> str:
    match decision.kind:
        case "acknowledge":
            return "acknowledged"
        case "assign":
            return f"assigned to {decision.assignee}"
        case "verdict":
            return _verdict(decision.verdict, decision.cause)
        case "snooze":
            silence = decision.snooze
            return f"snoozed until {silence.until}: {what_is_snoozed(catalog, silence)}" if silence else "snoozed"
        case "unsnooze":
            # Recorded without a segment, it ended what silenced the metric everywhere, and in the total.
            whole = Snooze(decision.metric, decision.segment or None, dt.date.max, decision.by)
            return f"not snoozed any more: whatever covered {what_is_snoozed(catalog, whole)}"
        case "undo":
            return f"took back {decision.undoes}"


def _verdict(verdict: Verdict | None, cause: str) -> str:
    shown = VERDICTS[verdict].lower() if verdict else ""
    return f"verdict: {shown}{f', {cause}' if cause else ''}"


def _snooze_row(s: Snooze) -> dict[str, Any]:
    segment = "" if s.segment is None else s.segment or "total"
    return {"until": s.until.isoformat(), "metric": s.metric, "segment": segment, "by": s.by.user}


def _decision_row(d: Decision, counts: bool) -> dict[str, Any]:
    return {
        "id": d.id, "at": d.by.at.isoformat(), "by": d.by.user, "by_name": d.by_name, "source": d.source,
        "incident": d.incident, "metric": d.metric, "segment": d.segment, "kind": d.kind, "assignee": d.assignee,
        "verdict": d.verdict or "", "cause": d.cause, "scope": d.scope or "", "until": d.until or "",
        "undoes": d.undoes or "", "counts": counts,
    }  # fmt: skip
