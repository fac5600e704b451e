"""``health-pipeline slack``: create the app, check the set-up, listen for clicks, look into the outbox."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents import wording

if TYPE_CHECKING:
    import sqlalchemy as sa

    from health_pipeline.alerts.outbox import Entry, State
    from health_pipeline.alerts.setup import Check

BOT_TOKEN, APP_TOKEN, SIGNING_SECRET = "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"
SIGNS = {"good": "[green]✓[/]", "bad": "[red]✗[/]", "optional": "[yellow]–[/]"}


def show_manifest(url: str | None, as_json: bool) -> None:
    """Print the app's manifest, to be pasted into Slack.

    Raises:
        UserError: the address is none that Slack takes.
    """
    from ruamel.yaml import YAML

    from health_pipeline.alerts.app import PATH
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
    from health_pipeline.alerts.slack import Slack
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
        may_post=may_post,
    ):
        line = Text.from_markup(f"{SIGNS[check.state]} ")
        line.append(f"{check.what:<{width}}  ", "bold").append(check.said)
        console.print(line, soft_wrap=True, highlight=False)
        done.append(check)
    console.print()
    by_name = any(channel.startswith("#") for channel in asked)
    for feature in setup.features(done, by_name=by_name):
        waits = f"waits for: {', '.join(dict.fromkeys(feature.missing))}" if feature.missing else "works"
        sign = SIGNS["good" if not feature.missing else "bad" if feature.is_needed else "optional"]
        console.print(Text.from_markup(f"{sign} ").append(f"{feature.name}: {waits}"), soft_wrap=True)
    wrong = [check.what for check in done if check.state == "bad"]
    if wrong:
        raise UserError(
            f"{wording.count(len(wrong), 'thing')} to mend: {', '.join(dict.fromkeys(wrong))}.",
            "docs/slack.md goes through the set-up step by step.",
        )


def show_outbox(ecosystem: str, state: State | None, limit: int, as_csv: bool, console: Console) -> None:
    """Print rows of the outbox, the newest first, and how deliveries to each channel stand."""
    from health_pipeline.alerts import outbox
    from health_pipeline.catalog import load_catalog

    catalog = load_catalog(ecosystem)
    engine = open_existing_state()
    try:
        entries = outbox.entries(engine, ecosystem=catalog.name, state=state, limit=limit)
        channels = outbox.channels(engine, ecosystem=catalog.name)
        counts = outbox.counts(engine, ecosystem=catalog.name)
    finally:
        engine.dispose()
    if as_csv:
        print_csv([_row(entry) for entry in entries])
        return
    total = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing yet"
    console.rule(f"[bold]Outbox of {catalog.name}[/]: {total}", align="left")
    if entries:
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for heading in ("queued (UTC)", "kind", "state", "channel", "key"):
            table.add_column(heading, overflow="fold")
        for entry in entries:
            key = Text(entry.intent.key)
            if entry.state == "pending" and entry.not_before:
                key.append(f"\nnot before {entry.not_before:%Y-%m-%d %H:%M} UTC", "dim")
            if entry.last_error:
                key.append(f"\n{entry.last_error}", "dim")
            table.add_row(
                f"{entry.created_at:%Y-%m-%d %H:%M}", entry.intent.kind, entry.state, entry.intent.channel, key
            )
        console.print(table)
    if channels:
        console.print()
        console.rule("[bold]Channels[/]", align="left")
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for heading in (
            "channel",
            "waiting",
            "in doubt",
            "held",
            "waits since",
            "last sent",
            "rests until",
            "last error",
        ):
            table.add_column(heading, overflow="fold")
        for channel in channels:
            instants = (channel.oldest_pending, channel.last_sent, channel.resting_until)
            table.add_row(
                channel.channel, str(channel.pending), str(channel.doubtful), str(channel.held),
                *(f"{at:%Y-%m-%d %H:%M}" if at else "" for at in instants), channel.last_error or "",
            )  # fmt: skip
        console.print(table)


def requeue(key: str, console: Console) -> None:
    """Try a held row again.

    Raises:
        UserError: there is no held row with this key.
    """
    from health_pipeline.alerts import outbox

    engine = open_existing_state()
    try:
        if not outbox.requeue(engine, key):
            raise UserError(
                f"No row {key} is held, or what it follows is held itself.",
                "`health-pipeline slack outbox --state held` lists those that are.",
            )
    finally:
        engine.dispose()
    console.print(f"[green]✓[/] {key} waits to be sent again.", highlight=False, soft_wrap=True)


def supersede(key: str, reason: str, console: Console) -> None:
    """Drop a row that waits.

    Raises:
        UserError: there is no pending row with this key.
    """
    from health_pipeline.alerts import outbox

    engine = open_existing_state()
    try:
        if not outbox.supersede(engine, key, reason):
            raise UserError(
                f"No row {key} is pending: it is sent, being sent, or not there.",
                "`health-pipeline slack outbox --state pending` lists those that wait.",
            )
    finally:
        engine.dispose()
    console.print(f"[green]✓[/] {key} will not be sent.", highlight=False, soft_wrap=True)


def open_existing_state() -> sa.Engine:
    """The state database of this home, which must be there already: looking makes nothing.

    Raises:
        UserError: nothing was written to it yet.
    """
    import sqlalchemy as sa

    from health_pipeline.storage.state import open_state

    home = Home.from_environment()
    url = sa.make_url(home.state_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise UserError("Nothing was queued or decided yet.", "Run `health-pipeline run` first.")
    return open_state(home.state_url)


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Rows of the same keys, with a heading; nothing when there are none."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    sys.stdout.write(text.getvalue().replace("\r\n", "\n"))


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
