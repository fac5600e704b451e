"""``health-pipeline inbox``: where to drop files, and what became of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from health_pipeline.errors import InputError
from health_pipeline.home import Home


def show_inbox(ecosystem: str, files: Sequence[Path], console: Console) -> None:
    """Copy files into the inbox, each visible only when it is whole, and say what was received so far.

    Raises:
        InputError: a file to copy does not exist or can't be copied.
    """
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.raw.sources import problems

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is not a file.", "Give the path of a Parquet or CSV file, or of a daily dump.")
    for file in files:
        hidden = pipeline.inbox / f".{file.name}.part"
        try:
            shutil.copyfile(file, hidden)
            hidden.replace(pipeline.inbox / file.name)
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise InputError(
                f"{file} can't be copied to {pipeline.inbox}: {error.strerror}.", "Check its permissions and the space."
            ) from None
        console.print(f"[green]✓[/] {file.name} is in the inbox.", highlight=False)
    console.print("Drop files here; the inbox sensor (or the next run) picks them up:", highlight=False)
    console.print(str(pipeline.inbox), highlight=False, soft_wrap=True, style="bold")
    waiting = pipeline.landing.new_files(pipeline.inbox, settled_seconds=0)
    if waiting:
        console.print(
            f"Waiting: {', '.join(f.name for f in waiting)}. `health-pipeline run` takes them now.", highlight=False
        )
    receipts = pipeline.landing.receipts()
    if receipts:
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for heading in ("received", "format", "rows", "accepted", "repeated", "quarantined", "days"):
            table.add_column(heading, justify="left" if heading in ("received", "format", "days") else "right")
        for r in receipts[-20:]:
            first, last = min(r.days, default=None), max(r.days, default=None)
            span = f"{first} … {last}" if first != last else f"{first}"
            table.add_row(
                r.name, r.format, *(f"{n:,}" for n in (r.delivered, r.accepted, r.duplicates, r.quarantined)), span
            )
        console.print(table)
        if any(r.quarantined for r in receipts):
            console.print('[dim]Why rows were rejected: health-pipeline sql "FROM raw.quarantine"[/]')
    for rejection in [*pipeline.landing.rejections(), *problems(pipeline.catalog, pipeline.landing)]:
        console.print(f"[yellow]![/] {rejection.message} {rejection.hint}", highlight=False, soft_wrap=True)
