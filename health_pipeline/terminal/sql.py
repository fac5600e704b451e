"""``health-pipeline sql``: DuckDB over the lake, as a command or a prompt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.terminal.shown import shown

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

SHOWN = 40
RECORDS = 5
LEAST = 12
"""Characters that a column with longer values has at least."""
NESTED = ("list", "array", "struct", "map", "union", "variant")
"""Types that are printed as JSON, which whoever reads it can parse."""
EXACT = ("hugeint", "uhugeint", "decimal")
"""Numbers of which pandas would make floats."""


def run_sql(ecosystem: str, query: str | None, csv: bool, console: Console) -> None:
    """Run a query, or a prompt.

    Raises:
        UserError: the lake is empty, or the query is wrong.
    """
    import duckdb

    from health_pipeline.pipeline import Pipeline
    from health_pipeline.storage.engine import create_views

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    if not any(table.days() for table in pipeline.tables.facts.values()):
        raise UserError(f"The lake in {pipeline.home.lake} is empty.", "Run `health-pipeline run` first.")
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.read()
    with duckdb.connect() as connection:
        names = create_views(connection, pipeline.tables.by_name())
        connection.register("rejected_rows", pipeline.landing.quarantine())
        connection.execute("CREATE VIEW raw.quarantine AS SELECT * FROM rejected_rows")
        if query is not None:
            _show(connection, query, csv, console)
            return
        console.print("DuckDB over the lake. Tables: " + ", ".join([*names, "raw.quarantine"]), highlight=False)
        console.print("[dim]End a statement with ; — leave with Ctrl-D. DESCRIBE metrics.cube; shows columns.[/]")
        _prompt(connection, csv, console)


def _prompt(connection: DuckDBPyConnection, csv: bool, console: Console) -> None:
    import readline  # noqa: F401  (line editing and history)

    lines: list[str] = []
    while True:
        try:
            line = input("… " if lines else "sql> ")
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            lines.clear()
            console.print()
            continue
        if not lines and line.strip() in ("", "exit", "quit", ".exit", ".quit"):
            if line.strip():
                return
            continue
        lines.append(line)
        if line.rstrip().endswith(";"):
            try:
                _show(connection, "\n".join(lines), csv, console)
            except UserError as error:
                console.print("[red]✗[/] ", end="")
                console.print(shown(error.message), highlight=False)
            lines.clear()


def _show(connection: DuckDBPyConnection, query: str, csv: bool, console: Console) -> None:
    import duckdb

    try:
        relation = connection.sql(query)
        if relation is None:
            return
        kinds = [kind.id for kind in relation.types]
        if csv:
            print(_readable(relation, kinds, EXACT).df().to_csv(index=False), end="")
            return
        rows = _readable(relation, kinds).limit(SHOWN + 1).fetchall()
    except duckdb.Error as error:
        raise UserError(str(error).strip(), '`health-pipeline sql "SHOW ALL TABLES"` lists what there is.') from None
    if _is_too_wide(relation.columns, rows, console.width):
        _records(relation.columns, rows, console)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, kind in zip(relation.columns, kinds, strict=True):
        numeric = kind in ("bigint", "integer", "double", "hugeint", "decimal")
        table.add_column(shown(name), justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows[:SHOWN]:
        table.add_row(*(shown(_plain(value)) for value in row))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"[dim]The first {SHOWN} rows; --csv prints all.[/]")


def _readable(relation: DuckDBPyRelation, kinds: Sequence[str], exact: Sequence[str] = ()) -> DuckDBPyRelation:
    """Nested values as JSON, and those of the types ``exact`` as DuckDB writes them."""
    if not {*kinds} & {*NESTED, *exact}:
        return relation
    columns = []
    for number, (name, kind) in enumerate(zip(relation.columns, kinds, strict=True), start=1):
        value = f"to_json(#{number})" if kind in NESTED else f"#{number}"
        value = f"CAST({value} AS VARCHAR)" if kind in exact else value
        columns.append(f'{value} AS "{name.replace(chr(34), chr(34) * 2)}"')
    return relation.project(", ".join(columns))


def _plain(value: object) -> str:
    return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)


def _is_too_wide(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> bool:
    """Whether columns would be squeezed until nothing can be read in them: text may wrap, but not to less than this."""
    cells = [[_plain(row[i]) for row in rows[:SHOWN]] for i in range(len(columns))]
    widest = [max(map(len, [name, *own])) for name, own in zip(columns, cells, strict=True)]
    return bool(rows) and sum(min(w, LEAST) + 2 for w in widest) > width


def _records(columns: Sequence[str], rows: Sequence[Sequence[object]], console: Console) -> None:
    """One row after another, each column on a line of its own."""
    for number, row in enumerate(rows[:RECORDS], start=1):
        console.rule(f"[dim]row {number}[/]", align="left", style="dim")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in zip(columns, row, strict=True):
            table.add_row(shown(name, "bold"), shown(_plain(value)))
        console.print(table)
    if len(rows) > RECORDS:
        console.print(f"[dim]The first {RECORDS} rows, too wide for a table; --csv prints all.[/]")
