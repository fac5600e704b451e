"""The commands right under ``health-pipeline``, from raw data to what shifted and what to review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from health_pipeline import __version__
from health_pipeline.cli.options import EPILOG, Ecosystem

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    help=(
        "Watch over the health of an e-commerce creator and content ecosystem: raw data → metrics → significant "
        "shifts → incidents → prioritised risks → alerts.\n\n"
        "Start with **health-pipeline run**: it takes the bundled real data through everything and says what shifted. "
        "Then **health-pipeline up** opens the Dagster UI with schedules and sensors, and **health-pipeline inbox** "
        "tells where to drop your own files.\n\n"
        "Everything is written below one folder: ./.health-pipeline, or HEALTH_PIPELINE_HOME."
    ),
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"health-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def run(
    ecosystem: Ecosystem = "eu_dsa",
    days: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest delivered days to judge.")] = 90,
) -> None:
    """Take everything delivered through the whole asset graph, and say what shifted.

    The first run loads all delivered days and judges the last 90. Running it again does only what is out of date.
    Writes a report with charts, and prints the incidents, the ranked list and the first Slack message.
    """
    from health_pipeline.terminal.run import main_job

    main_job(ecosystem, days, Console())


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address to bind. The UI has no sign-in: keep it on this machine.")
    ] = "127.0.0.1",
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Start the Dagster UI and the daemon that runs schedules and sensors. Ctrl-C stops both."""
    from health_pipeline.terminal.up import up as start

    start(ecosystem, host, port, Console())


@app.command()
def sql(
    query: Annotated[
        str | None, typer.Argument(help="A query; without one a prompt opens, or standard input is read.")
    ] = None,
    ecosystem: Ecosystem = "eu_dsa",
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
) -> None:
    """Query the lake with DuckDB SQL.

    Views are named stage.table, for instance metrics.cube, shifts.shifts, incidents.incidents, risks.risks. Reading
    never blocks the pipeline, and the pipeline never blocks reading.
    """
    from health_pipeline.terminal.sql import run_sql

    run_sql(ecosystem, query, csv, Console())


@app.command()
def inbox(
    files: Annotated[list[Path] | None, typer.Argument(help="Files to copy into the inbox.")] = None,
    ecosystem: Ecosystem = "eu_dsa",
) -> None:
    """Say where to drop files, what was received, and what was rejected; or copy files there.

    Parquet or CSV with the contract's columns, or the source's own daily dump. A newer file replaces, for each day and
    platform it holds, all that was delivered before.
    """
    from health_pipeline.terminal.inbox import show_inbox

    show_inbox(ecosystem, files or [], Console())


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files.")],
    ecosystem: Ecosystem = "eu_dsa",
    table: Annotated[
        str | None, typer.Option("--table", "-t", help="The table they belong to; by default what their names tell.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what would become of them.")] = False,
) -> None:
    """Take files as deliveries at once, or check them against their contracts before they are delivered.

    Parquet, CSV or JSON lines. A file belongs to the table that its name begins with, or that its folder is called
    after. With --check nothing is loaded: each file is reported on, and the exit code is 4 if any row would be
    rejected.
    """
    from health_pipeline.terminal.ingest import ingest as take

    take(ecosystem, paths, table, check, Console())


@app.command()
def pull(
    ecosystem: Ecosystem = "eu_dsa",
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Connect, and only say what there is.")] = False,
) -> None:
    """Fetch what is new in the sources of sources.yaml: folders, object stores and SQL databases.

    The hourly schedule and every run do the same. Files are fetched once, and again when they change; tables are read
    on from where the last read ended.
    """
    from health_pipeline.terminal.pull import pull as start

    start(ecosystem, source, check, Console())


@app.command()
def detect(
    file: Annotated[
        Path, typer.Argument(help="CSV, .csv.gz or Parquet, a row per series and day; - is standard input.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where reports go, as .csv or .parquet; rejected rows go beside it.")
    ] = None,
    charts: Annotated[Path | None, typer.Option(help="A folder for a picture of each report, and a page.")] = None,
    fdr: Annotated[
        float, typer.Option("--fdr", min=0.0001, max=0.49, help="Accepted share of false reports among all reports.")
    ] = 0.05,
    minimum_change: Annotated[
        float, typer.Option(min=0.0, help="Smallest relative change reported: 0.1 is 10 %.")
    ] = 0.1,
    kind: Annotated[
        Literal["count", "proportion", "rate", "mean", "number"] | None,
        typer.Option("--type", help="What all series are; number has either sign. By default what fits each."),
    ] = None,
    absent: Annotated[
        Literal["missing", "zero"], typer.Option(help="What a day without a row is; zero is for counts.")
    ] = "missing",
    first: Annotated[
        str | None, typer.Option(help="First day to judge, as 2026-07-01; by default the first with enough history.")
    ] = None,
    calendar: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet of days known to be special: a column day, and cohort where only it is."),
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="What all series do on the same day is no shift of each.")
    ] = False,
    series: Annotated[
        list[str] | None, typer.Option(help="Column of series' names; several of them together name one.")
    ] = None,
    day: Annotated[str, typer.Option(help="Column of days.")] = "day",
    value: Annotated[str, typer.Option(help="Column of values.")] = "value",
    denominator: Annotated[
        str | None, typer.Option(help="Column of what the value is out of; by default denominator, if there is one.")
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(help="Column of cohorts, whose series share common days; by default cohort, if there is one."),
    ] = None,
) -> None:
    """Find the significant shifts in any long table: one row per report, without an ecosystem.

    The table is replayed day by day; each day is judged with the days up to it. Says which assumptions it made. Rows
    that can't be used are listed with their number, column and reason, and the others count.
    """
    from health_pipeline.detection.judge import Options
    from health_pipeline.detection.table import Columns
    from health_pipeline.terminal.detect import detect_file
    from health_pipeline.terminal.simulate import parse_day

    columns = Columns(tuple(series or ["series"]), day, value, denominator, cohort)
    start = None if first is None else parse_day(first)
    options = Options(fdr, minimum_change, kind, absent, start, together)
    detect_file(file, out, charts, columns, options, calendar, Console())


@app.command()
def risks(
    ecosystem: Ecosystem = "eu_dsa",
    queue: Annotated[
        Literal["creators", "contents", "products", "clusters", "segments"] | None,
        typer.Option(help="Whose list; by default the first of every queue, and what emerges."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of a queue to show.")] = 20,
    day: Annotated[str | None, typer.Option(help="The day of the list, as 2026-09-28; by default the newest.")] = None,
    why: Annotated[
        str | None, typer.Option(help="A creator's, content's, product's or cluster's id: everything known of it.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows of the queue as CSV.")] = False,
) -> None:
    """What to review first, by expected harm averted per minute, and why.

    One list each of clusters, creators, contents and products, filled up to the minutes that review.yaml gives them;
    segments are the open incidents. Lists are made by **health-pipeline run** for the newest days.
    """
    from health_pipeline.terminal.risks import show_risks
    from health_pipeline.terminal.simulate import parse_day

    show_risks(ecosystem, queue, top, None if day is None else parse_day(day), why, csv, Console())


@app.command()
def backtest(
    ecosystem: Ecosystem = "eu_dsa",
    days: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest loaded days count.")] = 60,
    a: Annotated[
        str,
        typer.Option("--a", help='Setting A: "key=value,key=value" or a .yaml file. By default the catalog\'s own.'),
    ] = "",
    b: Annotated[
        str | None, typer.Option("--b", help="Setting B, likewise. By default A with a fifth of the false reports.")
    ] = None,
    warm_up: Annotated[int, typer.Option(min=0, max=1000, help="Days lived through before those that count.")] = 14,
    minutes_per_message: Annotated[
        float, typer.Option(min=0, help="To read a message, open what it is about, and decide.")
    ] = 10.0,
    minutes_per_incident: Annotated[
        float, typer.Option(min=0, help="To notice an incident in the list, with or without a message.")
    ] = 1.0,
    truth: Annotated[
        Path | None, typer.Option(help="ground_truth/incidents.parquet of simulated data, to score against.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and the incidents. By default one below the home.")
    ] = None,
) -> None:
    """Replay the last days under two settings: what each would have reported, when, and at what cost.

    A setting changes false_discovery_rate, minimum_change and minimum_support of the detection, and minimum_score,
    per_day and newest_days of the alerts: --b "false_discovery_rate=0.01,minimum_change=0.2". Each day is judged with
    the days up to it. Nothing published is changed. On simulated data both are scored against what was planted.
    """
    from health_pipeline.terminal.backtest import run_backtest

    run_backtest(ecosystem, days, a, b, warm_up, minutes_per_message, minutes_per_incident, truth, out, Console())


@app.command()
def simulate(
    out: Annotated[Path | None, typer.Argument(help="A new folder for the files.")] = None,
    scenario: Annotated[str | None, typer.Option(help="A bundled scenario, or the path of your own.")] = None,
    creators: Annotated[int | None, typer.Option(min=1, max=5_000_000, help="Creators at the start.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=1000, help="Length of the period.")] = None,
    start: Annotated[str | None, typer.Option(help="First day, as 2026-07-01.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed gives another marketplace.")] = None,
    files: Annotated[
        str, typer.Option(help="`whole`: one file a table; `day`: one a table and day, in bounded memory.")
    ] = "whole",
    show: Annotated[bool, typer.Option("--list", help="List the scenarios and leave.")] = False,
) -> None:
    """Simulate a marketplace of creators, with incidents planted in it and the truth beside it.

    Writes Parquet files of every table of the ecosystem `marketplace`, to be delivered with **health-pipeline inbox**,
    and what was planted in the folder ground_truth, which the pipeline never reads. What you leave out is as in the
    bundled demonstration: 1,000 creators, 90 days.
    """
    from health_pipeline.terminal.simulate import list_scenarios, parse_day, run_simulation

    if show:
        list_scenarios(Console())
        return
    if out is None:
        raise typer.BadParameter("Give a new folder for the files.", param_hint="OUT")
    if files not in ("whole", "day"):
        raise typer.BadParameter("It is `whole` or `day`.", param_hint="--files")
    day = None if start is None else parse_day(start)
    run_simulation(out, scenario, creators, days, day, seed, "day" if files == "day" else "whole", Console())
