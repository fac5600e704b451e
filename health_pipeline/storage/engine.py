"""DuckDB as the engine over the lake: in memory, so any number of processes read while one writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.storage.lake import LakeTable
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SORT_MEMORY = "2GB"
"""What :meth:`Engine.spilling` may hold in memory; the rest of a sort goes to disk."""
SQL_TYPES = {
    pa.date32(): "DATE", pa.timestamp("us"): "TIMESTAMP", pa.string(): "VARCHAR", pa.int64(): "BIGINT",
    pa.int32(): "INTEGER", pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN",
}  # fmt: skip
"""DuckDB's names of the types that lake tables use, beside lists of them."""


class Engine:
    """Runs SQL over Arrow tables and lake tables.

    Args:
        connect: opens a DuckDB connection; under Dagster, ``DuckDBResource.get_connection``.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[DuckDBPyConnection]] | None = None) -> None:
        self._connect = connect or _in_memory

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Run a query over named Arrow tables."""
        with self._connect() as connection:
            for name, rows in tables.items():
                connection.register(name, rows)
            return connection.sql(sql).to_arrow_table()

    @contextmanager
    def spilling(self, scratch: Path) -> Iterator[DuckDBPyConnection]:
        """A connection whose sorts and joins go to files in ``scratch`` when they don't fit in :data:`SORT_MEMORY`."""
        with self._connect() as connection:
            connection.execute(f"SET temp_directory = {literal(scratch)}")
            connection.execute(f"SET memory_limit = '{SORT_MEMORY}'")
            yield connection


@contextmanager
def _in_memory() -> Iterator[DuckDBPyConnection]:
    import duckdb  # takes a moment: only where it is used

    with duckdb.connect() as connection:
        yield connection


def scan(table: LakeTable, days: Iterable[dt.date] | None = None) -> str:
    """What follows ``FROM`` to read the given days (all by default) as they are published at this moment.

    Without files it is empty, with the right columns.
    """
    files = table.files(days)
    if not files:
        return f"({_no_rows(table.schema)})"
    return f"read_parquet([{', '.join(map(literal, files))}], hive_partitioning = false)"


def _no_rows(schema: pa.Schema) -> str:
    columns = ", ".join(f'CAST(NULL AS {sql_type(f.type)}) AS "{f.name}"' for f in schema)
    return f"SELECT {columns} WHERE false"


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    return f"{sql_type(kind.value_type)}[]" if pa.types.is_list(kind) else SQL_TYPES[kind]


def create_views(connection: DuckDBPyConnection, tables: Mapping[str, LakeTable]) -> list[str]:
    """Create a view ``stage.table`` for every lake table, over the files published at this moment.

    A table that has no files yet becomes an empty view with the right columns. What days of an earlier version lack is
    null. Returns the names, sorted.
    """
    for name, table in sorted(tables.items()):
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{name.split(".")[0]}"')
        rows = _no_rows(table.schema)
        if files := table.files():
            listed = ", ".join(map(literal, files))
            rows += f" UNION ALL BY NAME FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
        connection.execute(f"CREATE VIEW {name} AS {rows}")
    return sorted(tables)


def date_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
