"""``health-pipeline slack``: set Slack up, see what it would be told, answer clicks, decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from health_pipeline.cli.options import EPILOG, Ecosystem, MoreEcosystems

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog=EPILOG,
    help=(
        "Set Slack up, see what it would be told, answer clicks, decide from the terminal.\n\n"
        "**preview** needs no Slack. To connect one: **manifest** prints what to create the app from, **setup** checks "
        "the rest, **run** answers clicks."
    ),
)


@app.command()
def manifest(
    url: Annotated[
        str | None,
        typer.Option(help="Answer clicks over HTTP at this https:// address, instead of in Socket Mode."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of YAML.")] = False,
) -> None:
    """Print the app's manifest: names, scopes, interactivity.

    Paste it at https://api.slack.com/apps under *Create New App*, *From a manifest*; then install the app.
    """
    from health_pipeline.terminal.slack import show_manifest

    show_manifest(url, as_json)


@app.command()
def setup(
    ecosystem: Ecosystem = "eu_dsa",
    channel: Annotated[
        list[str] | None, typer.Option(help="Look at this channel, by ID or #name, instead of those of alerts.yaml.")
    ] = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Post a test message to every channel.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Post test messages without asking.")] = False,
) -> None:
    """Check token, scopes, channels, uploads and Socket Mode; says what each thing that fails needs.

    Reads SLACK_BOT_TOKEN, SLACK_APP_TOKEN and SLACK_SIGNING_SECRET. A test message is found again, edited and removed.
    """
    from health_pipeline.terminal.slack import check_setup

    check_setup(ecosystem, channel or [], test, yes, Console())


@app.command()
def run(
    ecosystem: MoreEcosystems = None,
) -> None:
    """Answer clicks on messages, in Socket Mode, until Ctrl-C. Keep it running beside **health-pipeline up**.

    Needs SLACK_BOT_TOKEN and SLACK_APP_TOKEN, and no address that Slack can reach. Brings messages up to date at every
    click and every 30 seconds. One process answers for all ecosystems whose messages the app posts.
    """
    from health_pipeline.terminal.listen import run

    run(ecosystem or [], Console())


@app.command()
def http(
    ecosystem: MoreEcosystems = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to bind; a proxy with HTTPS goes before it.")] = "127.0.0.1",
) -> None:
    """Answer clicks over HTTP instead, each checked by its signature, until Ctrl-C.

    Needs SLACK_BOT_TOKEN and SLACK_SIGNING_SECRET, and a proxy with HTTPS that Slack can reach. GET /health is for a
    load balancer.
    """
    from health_pipeline.terminal.listen import http

    http(ecosystem or [], host, port, Console())


@app.command()
def preview(
    ecosystem: Ecosystem = "eu_dsa",
    html: Annotated[Path | None, typer.Option(help="Write a page that looks like Slack, with charts.")] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="As if nobody had been told of anything yet: what these incidents deserve.")
    ] = False,
) -> None:
    """Show what Slack would be told now, and what not, with the reasons. Needs no Slack and changes nothing.

    Shows what waits in the outbox, what would be added to it, and the digest as if its hour had come. Messages have
    buttons when SLACK_APP_TOKEN or SLACK_SIGNING_SECRET is set.
    """
    from health_pipeline.terminal.slack import show_preview

    show_preview(ecosystem, anew, html, Console())


@app.command()
def outbox(
    ecosystem: Ecosystem = "eu_dsa",
    state: Annotated[
        Literal["pending", "sending", "sent", "held", "superseded"] | None,
        typer.Option(help="Only rows in this state."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows, the newest first.")] = 20,
    requeue: Annotated[str | None, typer.Option(metavar="KEY", help="Try this held row again, and leave.")] = None,
    supersede: Annotated[
        str | None, typer.Option(metavar="KEY", help="Never send this waiting row, and leave. Takes --reason.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is not to be sent; kept beside it.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.")] = False,
) -> None:
    """What was queued for Slack, what became of it, and how deliveries to each channel stand."""
    from health_pipeline.terminal import slack

    if (supersede is None) != (reason is None):
        raise typer.BadParameter("--supersede and --reason go together.", param_hint="--reason")
    if requeue is not None:
        slack.requeue(requeue, Console())
    elif supersede is not None and reason is not None:
        slack.supersede(supersede, reason, Console())
    else:
        slack.show_outbox(ecosystem, state, limit, csv, Console())


@app.command()
def decide(
    incident: Annotated[str, typer.Argument(help="The incident's id, as in its message.")],
    what: Annotated[Literal["acknowledge", "assign", "verdict", "undo"], typer.Argument(help="What is decided.")],
    value: Annotated[
        str | None,
        typer.Argument(
            help="Of assign: the Slack ID of whom. Of verdict: real, expected, false_alarm or new_normal. Of undo: the "
            "number of the decision; by default the latest."
        ),
    ] = None,
    cause: Annotated[str, typer.Option(help="Of a verdict: why, as alerts.yaml names it or in your words.")] = "",
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Decide about an incident, as a click on its message does.

    The decision is recorded for good, with who and when; the message is brought up to date, and its thread told.
    """
    from health_pipeline.alerts.delivery.blocks import is_user
    from health_pipeline.alerts.messages.incident import VERDICTS
    from health_pipeline.terminal.decide import decide

    if what == "assign" and not is_user(value or ""):
        raise typer.BadParameter("assign takes the ID of a Slack user, such as U0123456789.", param_hint="VALUE")
    if what == "verdict" and value not in VERDICTS:
        raise typer.BadParameter(f"verdict takes one of {', '.join(VERDICTS)}.", param_hint="VALUE")
    if what == "acknowledge" and value is not None:
        raise typer.BadParameter("acknowledge takes no value.", param_hint="VALUE")
    if cause and what != "verdict":
        raise typer.BadParameter("Only a verdict has a cause.", param_hint="--cause")
    decide(ecosystem, incident, what, value, cause, Console())


@app.command()
def snooze(
    metric: Annotated[
        str, typer.Option(help="This metric; delivery for holes in the data. By default every metric of --segment.")
    ] = "",
    segment: Annotated[
        str | None,
        typer.Option(help="This segment and what lies within it, as market=ID; total for the total. By default all."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="The first day on which it is told again, as 2026-12-24.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=366, help="For so many days, instead of --until.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List what is snoozed, and leave.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="End what covers --metric and --segment.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="With --list: as CSV.")] = False,
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Silence a metric, a segment, or a metric in a segment until a date.

    Nothing is posted about it until then; messages that stand there are kept true. What is still open then is told.
    """
    from health_pipeline.terminal import decide
    from health_pipeline.terminal.simulate import parse_day

    where = "" if segment == "total" else segment
    if show:
        decide.list_snoozes(ecosystem, csv, Console())
        return
    if not metric and segment is None:
        raise typer.BadParameter("Give --metric, --segment or both.", param_hint="--metric")
    if remove:
        decide.end_snooze(ecosystem, metric, where, Console())
        return
    if (until is None) == (days is None):
        raise typer.BadParameter("Give either --until or --days.", param_hint="--until")
    end = None if until is None else parse_day(until)
    decide.snooze(ecosystem, metric, where, end, days or 0, Console())


@app.command()
def decisions(
    incident: Annotated[str | None, typer.Argument(help="Only about this incident.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the record as CSV.")] = False,
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Who decided what and when, what was taken back, and each metric's track record."""
    from health_pipeline.terminal.decide import show_decisions

    show_decisions(ecosystem, incident, csv, Console())
