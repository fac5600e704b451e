"""What a run found: headlines with sparklines, the ranked list, what Slack is told, seconds, next steps."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from health_pipeline import charts
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.delivery.preview import arranged
from health_pipeline.alerts.post import preview
from health_pipeline.incidents import wording
from health_pipeline.report.load import load_report
from health_pipeline.report.report import OPEN_STATES, STATES, Headline, ReportTables, build_report, write_report
from health_pipeline.terminal.typed import as_typed

if TYPE_CHECKING:
    from health_pipeline.pipeline import Pipeline

RANKED = 10
SPARK_DAYS = 60


def summarise(pipeline: Pipeline, days: int, seconds: dict[str, float], started: float, console: Console) -> None:
    """Print the summary and write the report.

    Args:
        seconds: stage -> seconds, added to.
        started: :func:`time.perf_counter` at the start of the command.
    """
    begun = time.perf_counter()
    tables = load_report(pipeline, days)
    path = pipeline.home.report(pipeline.catalog.name)
    _headlines(pipeline, tables, console)
    _ranked(pipeline, tables, console)
    _data(pipeline, tables, console)
    _slack(pipeline, console)
    html = build_report(pipeline.catalog, tables, dt.datetime.now(dt.UTC), seconds)
    write_report(path, html)
    seconds["report"] = time.perf_counter() - begun
    _end(pipeline, path, seconds, time.perf_counter() - started, console)


def _headlines(pipeline: Pipeline, tables: ReportTables, console: Console) -> None:
    c = pipeline.catalog
    incidents = {i.id for i in tables.incidents if i.kind == "shift"}
    console.print()
    console.rule(
        f"[bold]What shifted, {wording.day(tables.first_day)} to {wording.day(tables.last_day)}[/]", align="left"
    )
    rate = c.ecosystem.detection.false_discovery_rate
    days = (tables.last_day - tables.first_day).days + 1
    found = f"{wording.count(len(incidents), 'incident')} in {wording.count(days, 'day')}"
    if len(incidents) > 1:
        found += f"; the {len(tables.headlines)} weightiest, one of each {c.dimension(c.unit).title.lower()}"
    console.print(
        f"[dim]{tables.series_judged:,} series judged on the last day, of {tables.series_followed:,} followed; at most "
        f"{100 * rate:g} % of all reports expected to be false. {found}{':' if incidents else '.'}[/]",
        highlight=False,
    )
    for place, headline in enumerate(tables.headlines, start=1):
        console.print()
        _headline(pipeline, tables, place, headline, console)


def _headline(pipeline: Pipeline, tables: ReportTables, place: int, headline: Headline, console: Console) -> None:
    c, incident = pipeline.catalog, headline.incident
    course = tables.courses[incident.id]
    # A tail that is still arriving would look like a fall.
    by_day = {p.day: p.observed for p in course.points if course.immature_from is None or p.day < course.immature_from}
    first = max(incident.onset - dt.timedelta(days=SPARK_DAYS // 2), min(by_day, default=incident.onset))
    last = min(tables.last_day, first + dt.timedelta(days=SPARK_DAYS - 1))
    shown = [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
    colour = "red" if incident.direction == "up" else "blue"
    line = Text(f"{place}  ", style="bold")
    line.append(
        charts.sparkline([by_day.get(d) for d in shown], SPARK_DAYS, (incident.onset - first).days), style=colour
    )
    line.append(f"  {STATES[headline.state]}", style="bold" if headline.state in OPEN_STATES else "dim")
    console.print(line, soft_wrap=True)
    console.print(Text(f"   {wording.sentence(c, incident)}"))
    others = incident.members[1:4]
    if others:
        more = f" and {len(incident.members) - 4} more" if len(incident.members) > 4 else ""
        said = "; ".join(
            f"{wording.subject(c, c.metric(m.metric), m.segment)} {wording.change(m.change)}"
            f"{wording.onset(m, incident.members)}"
            for m in others
        )
        said = said.replace(f"{wording.unit(c, incident.unit)}: ", "")
        console.print(Text(f"   with it: {said}{more}", "dim"))
    for event in incident.events:
        console.print(Text(f"   coincident, not causal: {event}", "dim"))


def _ranked(pipeline: Pipeline, tables: ReportTables, console: Console) -> None:
    console.print()
    console.rule(f"[bold]Review first, {wording.day(tables.last_day)}[/]", align="left")
    if not tables.risks:
        console.print("Nothing is open.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("what")
    for row in sorted(tables.risks, key=lambda r: r["rank"])[:RANKED]:
        table.add_row(
            str(row["rank"]), f"{row['score']:.1f}", Text(row["sentence"] + ("  answered" if row["answered"] else ""))
        )
    console.print(table)
    if len(tables.risks) > RANKED:
        console.print(
            f"[dim]and {len(tables.risks) - RANKED} more: {as_typed(pipeline.catalog, 'risks')} --queue segments[/]",
            highlight=False,
        )


def _data(pipeline: Pipeline, tables: ReportTables, console: Console) -> None:
    holes = [
        i for i in charts.latest(tables.incidents) if i.kind == "data" and (i.is_open or i.last_reported > i.onset)
    ]
    if not holes:
        return
    console.print()
    console.rule("[bold]Data quality[/]", align="left")
    for incident in sorted(holes, key=lambda i: (not i.is_open, i.onset))[:6]:
        console.print(Text(f"• {wording.sentence(pipeline.catalog, incident)}"))
    if len(holes) > 6:
        console.print(f"[dim]and {len(holes) - 6} more in the report[/]")


def _slack(pipeline: Pipeline, console: Console) -> None:
    """What these incidents deserve to be told, one message of it, and where it goes."""
    catalog = pipeline.catalog
    console.print()
    console.rule("[bold]Slack[/]", align="left")
    plan = preview(catalog, pipeline.alert_sources, None, digest_now=True)
    parts = arranged(plan.intents)
    messages = [message for part in parts for message in part.messages]
    withheld = wording.count(len(plan.withheld), "open incident")
    if not messages:
        console.print(f"No incident deserves a message; {withheld} stay in the list.", highlight=False)
    else:
        channels = ", ".join(part.heading for part in parts)
        digests = [message for message in messages if message.replies]
        lines = sum(len([r for r in message.replies if r.blocks]) for message in digests)
        at_once = len(messages) - len(digests)
        told = [f"{wording.count(at_once, 'message')} at once"] if at_once else []
        told += [f"a digest of {wording.count(lines, 'incident')}"] if digests else []
        console.print(f"{' and '.join(told)} for {channels}; {withheld} not told. The first:", highlight=False)
        console.print(Panel(Text(as_plain_text(Content(messages[0].text, messages[0].blocks))), border_style="dim",
                            expand=False))  # fmt: skip


def _end(pipeline: Pipeline, path: Path, seconds: Mapping[str, float], total: float, console: Console) -> None:
    console.print()
    console.rule("[bold]Next[/]", align="left")
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    console.print(f"[dim]{total:.1f} s in all: {spent}[/]", highlight=False)
    console.print(f"Report           {path}", highlight=False, soft_wrap=True)
    if pipeline.tables.lists is not None:
        console.print(f"Review lists     {as_typed(pipeline.catalog, 'risks')}", highlight=False)
    console.print(f"Dagster UI       make up  (or {as_typed(pipeline.catalog, 'up')})", highlight=False)
    page = f"{as_typed(pipeline.catalog, 'slack preview')} --html slack.html"
    console.print(f"As Slack shows   {page}", highlight=False, soft_wrap=True)
    if not os.environ.get("SLACK_BOT_TOKEN"):
        console.print("Connect Slack    health-pipeline slack manifest  (docs/slack.md: five minutes)", highlight=False)
    console.print(f"Your own data    drop files into {pipeline.inbox}", highlight=False, soft_wrap=True)
    ask = f'{as_typed(pipeline.catalog, "sql")} "FROM incidents.incidents LIMIT 5"'
    console.print(f"Ask the lake     {ask}", highlight=False, soft_wrap=True)
