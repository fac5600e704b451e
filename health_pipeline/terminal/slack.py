"""``health-pipeline slack``: create the app, check the set-up, listen for clicks, look into the outbox."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents import wording
from health_pipeline.terminal.typed import as_typed

if TYPE_CHECKING:
    import sqlalchemy as sa

    from health_pipeline.alerts.delivery.backlog import Channel, Entry
    from health_pipeline.alerts.delivery.intent import Intent
    from health_pipeline.alerts.delivery.outbox import State
    from health_pipeline.alerts.delivery.preview import Shown
    from health_pipeline.alerts.planning.plan import Plan
    from health_pipeline.alerts.setup import Check
    from health_pipeline.catalog.model import Catalog

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"
SILENT_SHOWN = 10
NOUNS = {"post": "message", "reply": "reply", "edit": "edit", "upload": "chart"}
SIGNS = {"good": "[green]✓[/]", "bad": "[red]✗[/]", "optional": "[yellow]–[/]"}


def show_manifest(url: str | None, as_json: bool) -> None:
    """Print the app's manifest, to be pasted into Slack.

    Raises:
        UserError: the address is none that Slack takes.
    """
    from ruamel.yaml import YAML

    from health_pipeline.alerts.app.signed_http import PATH
    from health_pipeline.alerts.setup import manifest

    if url is not None and not url.startswith("https://"):
        raise UserError(f"Slack sends clicks to https:// addresses only, not to {url}.", "Leave --url out otherwise.")
    made = manifest(f"{url.rstrip('/')}{PATH}" if url else "")
    if as_json:
        json.dump(made, sys.stdout, indent=2)
        print()
        return
    writer = YAML()
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.width = 120
    writer.dump(made, sys.stdout)


def check_setup(ecosystem: str, channels: Sequence[str], test: bool, yes: bool, console: Console) -> None:
    """Look at everything that Slack is to do, and say of each thing whether it works and what to do.

    Args:
        channels: to be looked at instead of those of alerts.yaml.
        test: whether a test message may be posted.
        yes: without asking first.

    Raises:
        UserError: something is wrong; all was printed.
    """
    from health_pipeline.alerts import setup
    from health_pipeline.alerts.delivery.slack import Slack
    from health_pipeline.alerts.post import URL_VARIABLE
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    asked = dict.fromkeys(channels, "") or setup.channels_of(catalog.alerts)

    def may_post(reachable: Sequence[str]) -> bool:
        return test and (yes or _confirm(console, f"Post a test message to {', '.join(reachable)}?"))

    console.print(f"[bold]Slack for {catalog.name}[/]", highlight=False)
    done: list[Check] = []
    width = max(22, *map(len, asked))
    for check in setup.check(
        catalog,
        Slack.from_environment(),
        asked,
        app_token=_variable(APP_TOKEN),
        signing_secret=_variable(SIGNING_SECRET),
        url=_variable(URL_VARIABLE),
        may_post=may_post,
    ):
        line = Text.from_markup(f"{SIGNS[check.state]} ")
        line.append(f"{check.what:<{width}}  ", "bold").append(check.said)
        console.print(line, soft_wrap=True, highlight=False)
        done.append(check)
    console.print()
    by_name = any(channel.startswith("#") for channel in asked)
    for feature in setup.features(done, by_name=by_name):
        if feature.missing:
            state, stands = "bad", f"waits for: {', '.join(dict.fromkeys(feature.missing))}"
        elif not feature.is_tried:
            state, stands = "optional", "nothing found that is missing, but no test message was posted"
        else:
            state, stands = "good", "works"
        sign = SIGNS["optional" if state == "bad" and not feature.is_needed else state]
        console.print(Text.from_markup(f"{sign} ").append(f"{feature.name}: {stands}"), soft_wrap=True)
    wrong = [check.what for check in done if check.state == "bad"]
    if wrong:
        raise UserError(
            f"{wording.count(len(wrong), 'thing')} to mend: {', '.join(dict.fromkeys(wrong))}.",
            "docs/slack.md goes through the set-up step by step.",
        )


def show_preview(ecosystem: str, anew: bool, html: Path | None, console: Console) -> None:
    """Print, or write as a page, what Slack would be told now, the digest's hour supposed to have come.

    Args:
        anew: as if nobody had been told of anything yet, and nothing waited.

    Raises:
        UserError: nothing was judged yet, or the page can't be written.
    """
    from health_pipeline.alerts import post
    from health_pipeline.alerts.delivery import backlog
    from health_pipeline.alerts.delivery.preview import arranged, page
    from health_pipeline.charts_incident import incident_drawing
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.storage.state import state_exists

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    catalog = pipeline.catalog
    days = pipeline.tables.incidents.days()
    if not days:
        raise UserError("No incident was judged yet.", f"Run `{as_typed(catalog, 'run')}` first.")
    state_url = None if anew or not state_exists(pipeline.home.state_url) else pipeline.home.state_url
    waiting: list[Intent] = []
    if state_url is not None:
        with existing_state() as engine:
            waiting = backlog.waiting(engine, ecosystem=catalog.name)
    draw = incident_drawing(catalog, pipeline.series_sources) if html else None
    plan = post.preview(catalog, pipeline.alert_sources, state_url, draw=draw, digest_now=True)
    waiting = plan.left_of(waiting)
    parts = arranged([*waiting, *plan.intents], zone=catalog.alerts.digest.time_zone)
    told = [(wording.title(catalog, w.incident), w.reason) for w in plan.withheld]
    about = _about(catalog, plan.newest or days[-1], plan, waiting, anew)
    if html is not None:
        text = page(f"What Slack would be told: {catalog.ecosystem.title}", parts, about=about, silent=told)
        try:
            html.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"Can't write {html}: {error.strerror}.") from None
        console.print(f"[green]✓[/] {html}", highlight=False, soft_wrap=True)
        return
    console.print(about, highlight=False, soft_wrap=True)
    for part in parts:
        console.print()
        console.rule(f"[bold]{part.heading}[/]", align="left")
        for message in part.messages:
            _print_message(message, console)
    _print_silent(told, console)


def show_outbox(ecosystem: str, state: State | None, limit: int, as_csv: bool, console: Console) -> None:
    """Print rows of the outbox, the newest first, and how deliveries to each channel stand."""
    from health_pipeline.alerts.delivery import backlog
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    with existing_state() as engine:
        entries = backlog.entries(engine, ecosystem=catalog.name, state=state, limit=limit)
        channels = backlog.channels(engine, ecosystem=catalog.name)
        counts = backlog.counts(engine, ecosystem=catalog.name)
    if as_csv:
        print_csv([_row(entry) for entry in entries])
        return
    total = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing yet"
    console.rule(f"[bold]Outbox of {catalog.name}[/]: {total}", align="left")
    for entry in entries:
        _print_entry(entry, console)
    if channels:
        console.print()
        console.rule("[bold]Channels[/]", align="left")
    for channel in channels:
        console.print(Text(_standing(channel)), soft_wrap=True)


def requeue(key: str, console: Console) -> None:
    """Try a held row again.

    Raises:
        UserError: there is no held row with this key.
    """
    from health_pipeline.alerts.delivery import outbox

    with existing_state() as engine:
        if not outbox.requeue(engine, key):
            raise UserError(
                f"No row {key} is held, or what it follows is held itself.",
                "`health-pipeline slack outbox --state held` lists those that are.",
            )
    console.print(f"[green]✓[/] {key} waits to be sent again.", highlight=False, soft_wrap=True)


def supersede(key: str, reason: str, console: Console) -> None:
    """Drop a row that waits.

    Raises:
        UserError: there is no pending row with this key.
    """
    from health_pipeline.alerts.delivery import outbox

    with existing_state() as engine:
        if not outbox.supersede(engine, key, reason):
            raise UserError(
                f"No row {key} is pending: it is sent, being sent, or not there.",
                "`health-pipeline slack outbox --state pending` lists those that wait.",
            )
    console.print(f"[green]✓[/] {key} will not be sent.", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def existing_state() -> Iterator[sa.Engine]:
    """The state database of this home, which must be there already: looking makes nothing.

    Raises:
        UserError: nothing was written to it yet.
    """
    from health_pipeline.storage.state import opened_state, state_exists

    home = Home.from_environment()
    if not state_exists(home.state_url):
        raise UserError("Nothing was queued or decided yet.", "Run `health-pipeline run` first.")
    with opened_state(home.state_url) as engine:
        yield engine


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Rows of the same keys, with a heading; nothing when there are none."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    sys.stdout.write(text.getvalue().replace("\r\n", "\n"))


def _about(catalog: Catalog, newest: dt.date, plan: Plan, waiting: Sequence[Intent], anew: bool) -> str:
    """What a preview shows, in a sentence or two."""
    counts: Counter[str] = Counter(intent.kind for intent in (*waiting, *plan.intents))
    parts = [wording.count(counts[kind], noun) for kind, noun in NOUNS.items() if counts[kind]]
    digest = catalog.alerts.digest
    said = f"{', '.join(parts)}." if parts else "Nothing new is to be told."
    if waiting:
        said += f" {len(waiting)} of this waits in the outbox already."
    if anew:
        said += " As if nobody had been told of anything yet."
    return (
        f"By the incidents of {wording.day(newest)}: {said} A digest is posted at {digest.at:%H:%M} "
        f"{digest.time_zone}, when there is something for it."
    )


def _print_entry(entry: Entry, console: Console) -> None:
    intent = entry.intent
    line = Text(
        f"{entry.created_at:%Y-%m-%d %H:%M}  {intent.kind:<6}  {entry.state:<10}  {intent.channel}  {intent.key}"
    )
    if entry.state == "pending" and entry.not_before:
        line.append(f"\n    not before {entry.not_before:%Y-%m-%d %H:%M} UTC", "dim")
    if entry.last_error:
        line.append(f"\n    {entry.last_error}", "dim")
    console.print(line, soft_wrap=True)


def _standing(channel: Channel) -> str:
    """How deliveries to a channel stand, in a line; instants are UTC."""
    parts = [f"{channel.pending} waiting", f"{channel.doubtful} in doubt", f"{channel.held} held"]
    if channel.oldest_pending:
        parts[0] += f" since {channel.oldest_pending:%Y-%m-%d %H:%M}"
    if channel.last_sent:
        parts.append(f"last sent {channel.last_sent:%Y-%m-%d %H:%M}")
    if channel.resting_until:
        parts.append(f"rests until {channel.resting_until:%H:%M:%S}")
    error = f". {channel.last_error}" if channel.last_error else ""
    return f"{channel.channel}: {', '.join(parts)} (UTC){error}"


def _print_message(message: Shown, console: Console, indent: int = 0) -> None:
    from rich.padding import Padding
    from rich.panel import Panel

    from health_pipeline.alerts.delivery.blocks import Content, as_plain_text

    text = as_plain_text(Content(message.text, message.blocks)) if message.blocks else message.text
    body = "\n".join(filter(None, [text, *(f"[picture: {p.alt}]" for p in message.pictures)]))
    if message.note:
        console.print(Padding(Text(message.note, "dim"), (0, 0, 0, indent)))
    console.print(Padding(Panel(Text(body), border_style="dim", expand=False), (0, 0, 0, indent)))
    for reply in message.replies:
        _print_message(reply, console, indent + 4)


def _print_silent(silent: Sequence[tuple[str, str]], console: Console) -> None:
    if not silent:
        return
    console.print()
    console.rule("[bold]Not told[/]", align="left")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for title, reason in silent[:SILENT_SHOWN]:
        table.add_row(Text(title), Text(reason, "dim"))
    console.print(table)
    if len(silent) > SILENT_SHOWN:
        console.print(f"[dim]and {len(silent) - SILENT_SHOWN} more[/]", highlight=False)


def _row(entry: Entry) -> dict[str, Any]:
    instants = {name: getattr(entry, name) for name in ("created_at", "not_before", "attempted_at", "sent_at")}
    return {
        "id": entry.id,
        "key": entry.intent.key,
        "kind": entry.intent.kind,
        "follows": entry.intent.of,
        "state": entry.state,
        "channel": entry.intent.channel,
        "attempts": entry.attempts,
        **{name: at.isoformat() if at else "" for name, at in instants.items()},
        "ts": entry.ts or "",
        "text": entry.intent.text,
        "last_error": entry.last_error or "",
    }


def _confirm(console: Console, question: str) -> bool:
    """Ask; no answer, as from a job without a terminal, is a no."""
    console.print(f"{question} \\[y/N] ", end="", highlight=False, soft_wrap=True)
    answer = sys.stdin.readline().strip().lower()
    if not answer:
        console.print()
    return answer in ("y", "yes")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()
