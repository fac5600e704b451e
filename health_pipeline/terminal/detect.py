"""``health-pipeline detect``: a long table in, one row per reported shift out; no ecosystem needed."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from health_pipeline.detection.judge import Judgement, Options, judge
from health_pipeline.detection.table import Columns, LongTable, general, read_calendar, read_file
from health_pipeline.errors import InputError
from health_pipeline.storage.lake import write_durably
from health_pipeline.terminal.progress import progress_lines

if TYPE_CHECKING:
    import pandas as pd

    from health_pipeline.charts_shift import ReportedShift

SHOWN = 10
"""So many reports are printed."""
UNITS = {
    "count": "count per day", "proportion": "share of the denominator", "rate": "value per unit of the denominator",
    "mean": "mean", "number": "value",
}  # fmt: skip


def detect_file(
    file: Path,
    out: Path | None,
    charts: Path | None,
    columns: Columns,
    options: Options,
    calendar: Path | None,
    console: Console,
) -> None:
    """Read, judge, write and say what was found.

    Args:
        file: CSV or Parquet; ``-`` is CSV or Parquet on standard input.
        out: CSV or Parquet for the reports; rejected rows go beside it.
        charts: folder for a picture of each report.
        calendar: days known to be out of the ordinary.

    Raises:
        InputError: a file can't be read or has no good row, or an option does not fit it.
        UserError: nothing can be judged.
    """
    _check_outputs(file, out, charts)
    if calendar is not None:
        days, cohorts = read_calendar(calendar)
        options = Options(**{**vars(options), "special": list(zip(days, cohorts, strict=True))})
    with _delivered(file) as path, console.status(f"Reading {file.name}"):
        table = read_file(path, columns, negative=options.kind == "number")
    _say_rows(table, console)
    rejected = None if out is None else out.with_name(f"{out.stem}.rejected.csv")
    if rejected is not None:
        _write_rejected(table, rejected, console)
    with _bar(console, "judging", "days") as progress:
        judgement = judge(table, options, progress)
    _say_assumptions(judgement, console)
    frame = judgement.frame()
    if out is not None:
        _write(frame, out)
    if charts is not None:
        from health_pipeline.charts_shift import write_pictures

        pictures = reported_shifts(judgement)
        with _bar(console, "drawing", "charts") as progress:
            write_pictures(charts, pictures, f"Shifts in {file.name}", judgement.assumptions(), progress)
    _say_reports(judgement, frame, console)
    _say_files(out, charts, console)


def reported_shifts(judgement: Judgement) -> list[ReportedShift]:
    """Every report as it is drawn: all of it as it was on the day, but for how it went on."""
    from health_pipeline.charts import Point
    from health_pipeline.charts_shift import ReportedShift

    panel = judgement.scaled.panel
    days: list[dt.date] = panel.days.tolist()
    drawn = []
    points: dict[int, list[Point]] = {}
    for report, latest in zip(judgement.reports, judgement.latest, strict=True):
        row = report.row
        if row not in points:
            nothing = np.full(judgement.first, np.nan)
            parts = [judgement.observed(row), *(np.r_[nothing, part] for part in judgement.band(row))]
            numbers = [[None if np.isnan(v) else v for v in part.tolist()] for part in parts]
            points[row] = [Point(*values) for values in zip(days, *numbers, strict=True)]
        kind = judgement.scaled.types[row]
        ended = judgement.days[1] if latest.ended is None else judgement.day(latest.ended) - dt.timedelta(days=1)
        kinds = report.kind if latest.kind == report.kind else f"{report.kind} (in the end a {latest.kind})"
        onset = judgement.day(report.onset)
        drawn.append(
            ReportedShift(
                series=panel.series[row],
                points=points[row],
                kind=kinds,
                direction="up" if report.observed > report.expected else "down",
                reported_on=judgement.day(report.reported),
                onset=onset,
                onset_low=judgement.day(report.onset_low),
                onset_high=judgement.day(report.onset_high),
                last=max(ended, onset),
                effect=said_effect(kind, judgement.effect(report)),
                size=abs(report.score),
                state=latest.state,
                format="share" if kind == "proportion" else "count",
                unit=UNITS[kind],
            )
        )
    return drawn


def said_effect(kind: str, effect: tuple[float, float, float]) -> str:
    """An effect with its interval, as a person writes it."""
    value, low, high = _in_words(kind, effect)
    return f"{value} (95 % CI {low} to {high})"


def _in_words(kind: str, effect: tuple[float, float, float]) -> tuple[str, str, str]:
    value, low, high = (f"{v:+.3g}".replace("-", "−") if kind == "number" else _relative(v) for v in effect)
    return value, low, high


def _relative(change: float) -> str:
    if not np.isfinite(change):
        return "unknown"
    if change >= 1e4:
        return f"×{1 + change:.0e}".replace("e+0", "e").replace("e+", "e")
    if change >= 1.0:
        return f"×{1 + change:,.3g}" if change < 999 else f"×{1 + change:,.0f}"
    digits = ".0f" if abs(change) >= 0.1 else ".2g"  # of shares near one even a great shift is a small change
    return f"{100 * change:+{digits}} %".replace("-", "−")


def _check_outputs(file: Path, out: Path | None, charts: Path | None) -> None:
    """Mistakes that would only show after the long work."""
    if out is not None:
        if out.suffix.lower() not in (".csv", ".parquet"):
            raise InputError(f"{out.name} is neither .csv nor .parquet.", "Reports are written as one of them.")
        if out.is_dir() or not out.parent.is_dir():
            raise InputError(f"{out} can't be written: there is no folder {out.parent}.", "Make it first.")
        if file.exists() and out.exists() and file.samefile(out):
            raise InputError(f"{out} is the file that is read.", "Give --out another name.")
    if charts is not None:
        from health_pipeline.charts_shift import claim

        claim(charts)


@contextmanager
def _delivered(file: Path) -> Iterator[Path]:
    """The file; of standard input a copy, whose first bytes tell what it is."""
    if str(file) != "-":
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="health-pipeline-detect-") as folder:
        copy = Path(folder) / "standard input"
        with copy.open("wb") as sink:
            shutil.copyfileobj(sys.stdin.buffer, sink)
        with copy.open("rb") as start:
            magic = start.read(4)
        suffix = ".parquet" if magic == b"PAR1" else ".csv.gz" if magic[:2] == b"\x1f\x8b" else ".csv"
        yield copy.rename(copy.with_name(f"standard input{suffix}"))


@contextmanager
def _bar(console: Console, doing: str, things: str) -> Iterator[Callable[[int, int], None]]:
    with progress_lines(console, 8, things, disable=not console.is_terminal) as progress:
        task = progress.add_task(doing, total=1)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _write(frame: pd.DataFrame, out: Path) -> None:
    if out.suffix.lower() == ".parquet":
        write_durably(out, lambda temporary: frame.to_parquet(temporary, index=False))
    else:
        write_durably(out, lambda temporary: frame.to_csv(temporary, index=False))


def _write_rejected(table: LongTable, path: Path, console: Console) -> None:
    """The rejected rows; a list of an earlier call is no longer true when there are none."""
    if not table.rejected.num_rows:
        path.unlink(missing_ok=True)
        return
    import pyarrow.csv

    write_durably(path, lambda temporary: pyarrow.csv.write_csv(table.rejected, temporary))
    console.print(Padding(Text(f"They are in {path}.", "dim"), (0, 0, 0, 2)), soft_wrap=True)


def _say_rows(table: LongTable, console: Console) -> None:
    bad = table.rejected.num_rows
    mark = ("! ", "yellow") if bad else ("✓ ", "green")
    good = len(table.code)
    console.print(Text.assemble(mark, (table.name, "bold"), f"  {table.form}"), soft_wrap=True)
    rows = f"{table.delivered:,} rows" + (f": {good:,} used, {bad:,} rejected" if bad else "")
    count = f"{len(table.series):,} series" if len(table.series) != 1 else "one series"
    days = int((table.last - table.first) / np.timedelta64(1, "D")) + 1
    console.print(Padding(Text(f"{rows}; {count}, {table.first} to {table.last}, {days:,} days"), (0, 0, 0, 2)))
    if not bad:
        return
    listed = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    listed.add_column("rejected", justify="right")
    listed.add_column("why, and the first such row", overflow="fold")
    columns, reasons = table.rejected["column"].to_pylist(), table.rejected["reason"].to_pylist()
    first = {(c, general(r)): i for i, (c, r) in reversed(list(enumerate(zip(columns, reasons, strict=True))))}
    for (column, reason), rows_ in table.reasons.most_common():
        row = table.rejected.slice(first[column, reason], 1).to_pylist()[0]
        shown = row["raw"] or ", ".join(str(row[f]) for f in ("series", "day", "value", "denominator") if row[f])
        where = f"row {row['row']:,}" + (f", column {column}" if column else "")
        why = f"{column}: {row['reason']}" if column else str(row["reason"])
        listed.add_row(f"{rows_:,}", Text.assemble(why, (f"\n{table.name}, {where}: {shown[:200]}", "dim")))
    console.print(Padding(listed, (0, 0, 0, 2)))


def _say_assumptions(judgement: Judgement, console: Console) -> None:
    console.print()
    console.rule("[bold]Assumed[/]", align="left")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for about, sentence in judgement.assumptions():
        grid.add_row(about, Text(sentence))
    console.print(grid)


def _say_reports(judgement: Judgement, frame: pd.DataFrame, console: Console) -> None:
    first, last = judgement.days
    days = (last - first).days + 1
    console.print()
    number = f"{len(frame):,} report{'s' if len(frame) != 1 else ''}" if len(frame) else "No report"
    console.rule(f"[bold]{number} in {days:,} day{'s' if days != 1 else ''}[/]", align="left")
    if not len(frame):
        return
    order = sorted(range(len(judgement.reports)), key=lambda i: -abs(judgement.reports[i].score))[:SHOWN]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("series", "kind", "onset", "reported", "effect", "95 % interval", "at the end"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "series")
    for i in order:
        shift = judgement.reports[i]
        kind = judgement.scaled.types[shift.row]
        up = shift.observed > shift.expected
        value, low, high = _in_words(kind, judgement.effect(shift))
        table.add_row(
            judgement.table.series[shift.row],
            shift.kind,
            str(judgement.day(shift.onset)),
            f"+{shift.reported - shift.onset} d",
            Text(value, "red" if up else "blue"),
            f"{low} to {high}",
            judgement.latest[i].state,
        )
    console.print(table)
    if len(frame) > len(order):
        console.print(f"[dim]The {len(order)} that stand out most, as they were reported.[/]")


def _say_files(out: Path | None, charts: Path | None, console: Console) -> None:
    console.print()
    if out is not None:
        console.print(f"Reports   {out}", highlight=False, soft_wrap=True)
    else:
        console.print("[dim]--out shifts.csv writes all of them, with intervals and q-values.[/]", highlight=False)
    if charts is not None:
        console.print(f"Charts    {charts / 'index.html'}", highlight=False, soft_wrap=True)
