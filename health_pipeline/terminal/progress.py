"""A line per piece of work that moves while it is done, and is gone afterwards."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def progress_lines(console: Console, width: int, things: str, *, disable: bool = False) -> Progress:
    """Lines ``name ━━━━ 12 of 90 days 0:00:07``.

    Args:
        width: of the names.
        things: what is counted; it may name fields of a task, as in ``{task.fields[unit]}``.
        disable: show none.
    """
    return Progress(
        TextColumn(f"  {{task.description:<{width}}}"),
        BarColumn(bar_width=32),
        TextColumn(f"{{task.completed:>5.0f}} of {{task.total:.0f}} {things}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=disable,
    )
