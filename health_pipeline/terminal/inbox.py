"""``health-pipeline inbox``: where to drop files, and what became of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError
from health_pipeline.home import Home

LEFT = ("received", "table", "format", "days")


def show_inbox(ecosystem: str, files: Sequence[Path], console: Console) -> None:
    """Copy files into the inbox, each visible only when it is whole, and say what was received so far.

    A file from a folder named like a table goes to the inbox's folder of that name.

    Raises:
        InputError: a file to copy does not exist, can't be copied, or belongs to no table.
    """
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.raw.landed.landing import table_of_file
    from health_pipeline.raw.sources import problems

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not a file.", "Give the path of a Parquet or CSV file, or of a daily dump.")
        table_of_file(file.absolute(), pipeline.catalog)
    for file in files:
        target = pipeline.inbox / pipeline.landing.label(file.absolute())
        hidden = target.with_name(f".{file.name}.part")
        try:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, hidden)
            hidden.replace(target)
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise InputError(
                f"{file} can't be copied to {pipeline.inbox}: {error.strerror}.", "Check its permissions and the space."
            ) from None
        console.print(f"[green]✓[/] {file.name} is in the inbox.", highlight=False)
    console.print("Drop files here; the inbox sensor (or the next run) picks them up:", highlight=False)
    console.print(str(pipeline.inbox), highlight=False, soft_wrap=True, style="bold")
    several = len(pipeline.catalog.tables) > 1
    if several:
        console.print("[dim]Begin a file's name with its table's, or put it into a folder of that name.[/]")
    for folder in sorted(p.name for p in pipeline.inbox.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if all(folder != table.name for table in pipeline.catalog.tables):
            hint = did_you_mean(folder, [table.name for table in pipeline.catalog.tables])
            says = f"[yellow]![/] The folder {folder} is no table's: its files wait in vain. {hint}"
            console.print(says, highlight=False, soft_wrap=True)
    waiting = pipeline.landing.new_files(pipeline.inbox, settled_seconds=0)
    if waiting:
        console.print(
            f"Waiting: {', '.join(map(pipeline.landing.label, waiting))}. `health-pipeline run` takes them now.",
            highlight=False,
        )
    receipts = pipeline.landing.receipts()
    if receipts:
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for heading in (
            "received",
            *(["table"] if several else []),
            "format",
            "rows",
            "accepted",
            "repeated",
            "quarantined",
            "days",
        ):
            table.add_column(heading, justify="left" if heading in LEFT else "right")
        for r in receipts[-20:]:
            first, last = min(r.days, default=None), max(r.days, default=None)
            span = f"{first} … {last}" if first != last else f"{first}"
            table.add_row(
                r.name, *([r.table] if several else []), r.format,
                *(f"{n:,}" for n in (r.delivered, r.accepted, r.duplicates, r.quarantined)), span,
            )  # fmt: skip
        console.print(table)
        if any(r.quarantined for r in receipts):
            console.print('[dim]Why rows were rejected: health-pipeline sql "FROM raw.quarantine"[/]')
    for rejection in [*pipeline.landing.rejections(), *problems(pipeline.catalog, pipeline.landing)]:
        console.print(f"[yellow]![/] {rejection.message} {rejection.hint}", highlight=False, soft_wrap=True)
