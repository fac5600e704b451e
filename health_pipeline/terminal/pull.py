"""``health-pipeline pull``: fetch what is new in the sources, or say what there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from health_pipeline.errors import UserError
from health_pipeline.home import Home

if TYPE_CHECKING:
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.raw.landed.landing import Progress


def pull(ecosystem: str, name: str | None, check: bool, console: Console) -> None:
    """Fetch and land what is new, with progress, and print what came of every table.

    Args:
        name: of the only source to pull; all by default.
        check: connect and look only.

    Raises:
        UserError: there are no sources, or none of this name; something could not be fetched (the rest was).
    """
    from health_pipeline.pipeline import Pipeline

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    problems = _look(pipeline, name, console) if check else _pull(pipeline, name, console)
    for problem in problems:
        console.print(f"[yellow]![/] {problem.message} {problem.hint}", highlight=False, soft_wrap=True)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UserError(
            f"{count} with the sources, named above.",
            "Whatever else is new was fetched." if not check else "Whatever else is there can be fetched.",
        )
    if not check:
        console.print("Next: `health-pipeline run` takes it through to the prioritised list.", highlight=False)


def _pull(pipeline: Pipeline, name: str | None, console: Console) -> list[UserError]:
    from health_pipeline.raw.sources import pull_all, sources_named

    sources = sources_named(pipeline.catalog, name)
    with _progress(console) as progress:
        found = pull_all(pipeline.catalog, pipeline.landing, progress, sources)
    table = _table("source", "table", "files", "rows", "accepted", "repeated", "quarantined")
    for pulled in found:
        if pulled.table and not (pulled.problems and not pulled.receipts):
            receipts = pulled.receipts
            counts = [
                len(receipts), *(sum(getattr(r, kind) for r in receipts)
                                 for kind in ("delivered", "accepted", "duplicates", "quarantined")),
            ]  # fmt: skip
            table.add_row(pulled.source, pulled.table, *(f"{n:,}" for n in counts))
    if table.row_count:
        console.print(table)
    if any(r.quarantined for pulled in found for r in pulled.receipts):
        console.print('[dim]Why rows were rejected: health-pipeline sql "FROM raw.quarantine"[/]')
    return [problem for pulled in found for problem in pulled.problems]


def _look(pipeline: Pipeline, name: str | None, console: Console) -> list[UserError]:
    from health_pipeline.raw.sources import look_all, sources_named

    sources = sources_named(pipeline.catalog, name)
    with _progress(console) as progress:
        found = look_all(pipeline.catalog, pipeline.landing, progress, sources)
    table = _table("source", "table", "new", "", "remarks")
    for looked in found:
        if looked.problem is None:
            lacks = [f"lacks {', '.join(looked.missing)} (optional)"] if looked.missing else []
            table.add_row(
                looked.source, looked.table, f"{looked.new:,}", looked.unit, "; ".join([*looked.notes, *lacks])
            )
    if table.row_count:
        console.print(table)
    return [looked.problem for looked in found if looked.problem is not None]


def _table(*headings: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("source", "table", "", "remarks") else "right")
    return table


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """A line that says what goes on, on a terminal; nothing elsewhere."""
    with console.status("Connecting") as status:
        yield lambda says: status.update(says.replace("[", r"\["))
