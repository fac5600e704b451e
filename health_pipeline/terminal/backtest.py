"""``health-pipeline backtest``: two settings over the same past, as tables on the terminal and as a report."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.terminal.progress import progress_lines

if TYPE_CHECKING:
    from health_pipeline.backtest.study import Study
    from health_pipeline.storage.derive import Progress as Tell

SHOWN = 8
"""Incidents of each group on the terminal; the report has all."""


def run_backtest(
    ecosystem: str,
    days: int,
    a: str,
    b: str | None,
    warm_up: int,
    minutes_per_message: float,
    minutes_per_incident: float,
    truth: Path | None,
    out: Path | None,
    console: Console,
) -> None:
    """Replay, print the comparison, and write the report and a file per setting.

    Args:
        a, b: settings as somebody wrote them; without ``b`` a stricter one than A.
        out: folder of the report; by default one below the home.

    Raises:
        CatalogError: the catalog is wrong.
        InputError: a setting or the truth can't be read.
        UserError: nothing was loaded, no day can be judged, or the folder can't be written.
    """
    from health_pipeline.backtest.attention import Minutes
    from health_pipeline.backtest.report import build_report
    from health_pipeline.backtest.settings import read_setting, stricter
    from health_pipeline.backtest.study import backtest
    from health_pipeline.backtest.table import write_incidents
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.report.report import write_report

    started = time.perf_counter()
    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    catalog = pipeline.catalog
    first = read_setting("A", a, catalog)
    second = stricter("B", first, catalog) if b is None else read_setting("B", b, catalog)
    folder = out or pipeline.home.root / "backtest" / catalog.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Can't write to {folder}: {error.strerror}.", "Give another folder with --out.") from None
    console.print(f"[bold]{catalog.ecosystem.title}[/]: what two settings would have reported", highlight=False)
    console.print(
        f"[dim]A: {first}\nB: {second}{' (a fifth of the false reports)' if b is None else ''}[/]", highlight=False
    )
    with progress_lines(console, 16, "days") as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str) -> Tell:
            def told(done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=total)
                progress.update(tasks[what], completed=done, total=total)

            return told

        study = backtest(
            pipeline, first, second, days, warm_up=warm_up, truth=truth, report=report,
            minutes=Minutes(minutes_per_message, minutes_per_incident),
        )  # fmt: skip
    _figures(study, console)
    _effects(study, console)
    _incidents(study, console)
    page = folder / "report.html"
    write_report(page, build_report(study, dt.datetime.now(dt.UTC)))
    files = write_incidents(study, folder)
    console.print()
    console.rule("[bold]Next[/]", align="left")
    console.print(f"[dim]{time.perf_counter() - started:.1f} s. Nothing published was changed.[/]", highlight=False)
    console.print(f"Report           {page}", highlight=False, soft_wrap=True)
    console.print(f"Every incident   {', '.join(str(f) for f in files)}", highlight=False, soft_wrap=True)
    console.print(
        f"To keep a setting, write it into ecosystem.yaml or alerts.yaml of {catalog.folder}",
        highlight=False,
        soft_wrap=True,
    )


def _figures(study: Study, console: Console) -> None:
    from health_pipeline.backtest.table import lines
    from health_pipeline.incidents import wording

    outcome = study.outcomes[0]
    console.print()
    console.rule(
        f"[bold]{wording.day(outcome.judged[0])} to {wording.day(outcome.days[-1])}[/], "
        f"{len(outcome.judged)} of {wording.count(len(outcome.days), 'day')} judged",
        align="left",
    )
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("A", justify="right")
    table.add_column("B", justify="right")
    section = ""
    for line in lines(study):
        if line.section == "setting" and line.a == line.b:
            continue
        if line.section != section:
            table.add_row(Text(line.section, "bold"), "", "")
            section = line.section
        table.add_row(f"  {line.what}", line.a, line.b)
    console.print(table)
    m = study.minutes
    console.print(
        f"[dim]Assumed: {m.message:g} minutes for each message, {m.incident:g} for each incident in the list.[/]",
        highlight=False,
    )


def _effects(study: Study, console: Console) -> None:
    from health_pipeline.backtest.table import finding

    if not study.scores:
        return
    console.print()
    console.rule("[bold]Planted, and what became of it[/]", align="left")
    pairs = list(zip(study.scores["A"].findings, study.scores["B"].findings, strict=True))
    if not pairs:
        console.print("Nothing was planted that began on a judged day.")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("planted", "cause", "start", "A", "B"):
        table.add_column(heading)
    for a, b in pairs:
        table.add_row(a.effect.title, a.effect.cause, str(a.effect.start), finding(a), finding(b))
    console.print(table)


def _incidents(study: Study, console: Console) -> None:
    from health_pipeline.backtest.report import grouped
    from health_pipeline.backtest.table import later, verdict
    from health_pipeline.incidents import wording

    for name, pairs in grouped(study.comparison):
        console.print()
        console.rule(f"[bold]Reported by {name}: {len(pairs):,}[/]", align="left")
        if not pairs:
            console.print("None.")
            continue
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("score", justify="right")
        table.add_column("first reported")
        table.add_column("what")
        if study.scores:
            table.add_column("planted?")
        for a, b in pairs[:SHOWN]:
            shown = a or b
            assert shown is not None
            when = f"{shown.first.first_reported}"
            if a and b:
                when += f"\n{later((b.first.first_reported - a.first.first_reported).days)}"
            said = (verdict(study, "A", a)[0] if a else "") or (verdict(study, "B", b)[0] if b else "")
            row = [f"{shown.score:.1f}", when, wording.title(study.catalog, shown.last)]
            table.add_row(*row, *([said] if study.scores else []))
        console.print(table)
        if len(pairs) > SHOWN:
            console.print(f"[dim]and {len(pairs) - SHOWN:,} more in the report[/]", highlight=False)
