"""DuckDB as the engine over the lake: in memory, so any number of processes read while one writes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.storage.lake import LakeTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


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
def _in_memory() -> Iterator[DuckDBPyConnection]:
    import duckdb  # takes a moment: only where it is used

    with duckdb.connect() as connection:
        yield connection


def create_views(connection: DuckDBPyConnection, tables: Mapping[str, LakeTable]) -> list[str]:
    """Create a view ``stage.table`` for every lake table, over the files published at this moment.

    A table that has no files yet becomes an empty view with the right columns. Returns the names, sorted.
    """
    names = []
    for name, table in sorted(tables.items()):
        schema = name.split(".")[0]
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        files = table.files()
        if files:
            source = (
                "read_parquet(["
                + ", ".join("'" + f.replace("'", "''") + "'" for f in files)
                + "], hive_partitioning = false)"
            )
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")
        else:
            connection.register(f"empty_{name.replace('.', '_')}", table.schema.empty_table())
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM empty_{name.replace('.', '_')}")
        names.append(name)
    return names


def date_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + dt.timedelta(days=i) for i in range((last - first).days + 1)]
