"""What was known by the end of a day, in the roles of ``review.yaml``.

A list made for a day must not know what came later: not the label that arrived on the next morning, nor the refund of
next week. Facts keep every version of a row with the instants between which it was current, so that a list can be made
again, and comes out the same.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from health_pipeline.catalog.model import Catalog, Review, Table
from health_pipeline.catalog.roles import ROLES, conform, empty
from health_pipeline.raw.schema import contract_schema, facts_schema
from health_pipeline.storage.engine import date_range, scan
from health_pipeline.storage.lake import LakeTable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NEVER = "TIMESTAMP '9999-12-31'"
ONE_THREAD: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
"""Sums in the same order: the same evidence gives the same lists to the last bit, so that nothing is published anew."""


class Evidence:
    """Everything known by the end of one day.

    Attributes:
        day: the day (UTC).
        now: its end: the midnight after it, naive UTC.
        review: what the catalog declares of reviews.
    """

    def __init__(self, connection: DuckDBPyConnection, day: dt.date, review: Review) -> None:
        self._connection = connection
        self.day, self.review = day, review
        self.now = dt.datetime.combine(day + dt.timedelta(days=1), dt.time())

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Run SQL over the roles (:mod:`health_pipeline.catalog.roles`), each a table, and over named Arrow tables."""
        for name, rows in tables.items():
            self._connection.register(name, rows)
        try:
            return self._connection.sql(sql).to_arrow_table()
        finally:
            for name in tables:
                self._connection.unregister(name)

    @classmethod
    def of_tables(cls, day: dt.date, review: Review, **roles: pa.Table) -> Self:
        """From the roles' rows as they were known; roles not given are empty.

        Raises:
            ValueError: a role that there is not, or a column that is missing.
        """
        import duckdb

        connection = duckdb.connect(config=ONE_THREAD)
        for name in roles:
            if name not in ROLES:
                raise ValueError(f"there is no role {name!r}")
        for name, role in ROLES.items():
            rows = roles.get(name)
            if rows is None:
                connection.execute(f"CREATE TABLE {name} AS {empty(name)}")
                continue
            missing = [c for c in role.columns if c not in rows.schema.names and c not in role.optional]
            if missing:
                raise ValueError(f"{name} has no column {missing[0]!r}")
            connection.register("given", rows)
            _make(connection, name, conform(name, "SELECT * FROM given", rows.schema.names))
            connection.unregister("given")
        return cls(connection, day, review)


def _words(select: str) -> set[str]:
    """In small letters: names are the same however they are written."""
    return set(re.findall(r"\w+", select.lower()))


def _columns_named(connection: DuckDBPyConnection, select: str) -> set[str] | None:
    """In small letters, columns of any table that a SELECT names.

    ``None`` where it may read others too: by ``*`` or a pattern, in a join by all common names, as whole rows.
    """
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()
    columns, alone, tables = set(), set(), set()
    for node in _nodes(json.loads(tree)):
        kinds = {str(node.get(name)) for name in ("class", "type", "ref_type")}
        if node.get("error") or kinds & {"STAR", "NATURAL", "PIVOT"}:  # some statements have no tree
            return None
        named = [str(name).lower() for name in node.get("column_names", ())]
        columns |= {*named, *(name.lower() for name in node.get("using_columns", ()))}
        if len(named) == 1:
            alone |= {*named}
        if "class" not in node:
            tables |= {str(node[name]).lower() for name in ("alias", "table_name") if node.get(name)}
    return None if alone & tables else columns


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(child)


def tables_read(catalog: Catalog, roles: Collection[str] = ROLES) -> dict[str, int | None]:
    """Tables that the roles name -> days of them that are read, the day itself included; ``None``: all."""
    review = catalog.review
    found: dict[str, int | None] = {}
    for name, select in (review.roles if review else {}).items():
        if name not in roles:
            continue
        role, words = ROLES[name], _words(select)
        days = None if role.lasting else role.days or max(review.memory_days if review else 0, role.least)
        for table in catalog.tables:
            if table.name.lower() in words:
                before = found.get(table.name, 0)
                found[table.name] = None if days is None or before is None else max(days, before)
    return found


def _columns_read(
    connection: DuckDBPyConnection, catalog: Catalog, name: str, roles: Collection[str]
) -> list[str]:  # fmt: skip
    """Columns of a table's facts that its roles may ask for: copying traffic of months, others would cost most."""
    table = catalog.table(name)
    review = catalog.review
    named = [
        _columns_named(connection, select)
        for role, select in (review.roles if review else {}).items()
        if role in roles and name.lower() in _words(select)
    ]
    always = {"day", table.version, "superseded_at" if table.version else None}
    return [c for c in facts_schema(table).names if c in always or any(n is None or c.lower() in n for n in named)]


def days_read(
    catalog: Catalog, facts: Mapping[str, LakeTable], day: dt.date, roles: Collection[str] = ROLES
) -> list[tuple[LakeTable, list[dt.date]]]:
    """Partitions of facts that the evidence of ``day`` is made of."""
    found = []
    for name, days in tables_read(catalog, roles).items():
        if days is None:
            read = [d for d in facts[name].days() if d <= day]
        else:
            read = date_range(max(day - dt.timedelta(days=days - 1), catalog.ecosystem.start), day)
        found.append((facts[name], read))
    return found


def evidence_of(
    catalog: Catalog, facts: Mapping[str, LakeTable], days: Sequence[dt.date], roles: Collection[str] = ROLES
) -> Generator[Evidence]:
    """The evidence of each of ``days`` (ascending), one after another: one is gone when the next is asked for.

    Args:
        roles: those that are needed; the others are empty, and cost nothing.
    """
    with _connected() as connection:
        read: dict[str, set[dt.date]] = {}
        for day in days:
            for table, needed in days_read(catalog, facts, day, roles):
                read.setdefault(table.name, set()).update(needed)
        for name in tables_read(catalog, roles):
            source = scan(facts[name], sorted(read.get(facts[name].name, set())))
            columns = ", ".join(f'"{c}"' for c in _columns_read(connection, catalog, name, roles))
            connection.execute(f'CREATE TABLE versions."{name}" AS SELECT {columns} FROM {source}')
        yield from _by_day(catalog, connection, days, roles)


def of_files(
    catalog: Catalog, folder: Path, days: Sequence[dt.date], roles: Collection[str] = ROLES
) -> Generator[Evidence]:
    """The evidence of each of ``days`` from files as they are delivered, ``<table>/*.parquet``: for studies.

    Contracts are not checked, as landing does.

    Args:
        roles: as for :func:`evidence_of`.
    """
    with _connected() as connection:
        for name in tables_read(catalog, roles):
            table = catalog.table(name)
            files = sorted((folder / name).glob("*.parquet"))
            rows = _undated([pq.read_table(file) for file in files]) if files else None
            connection.register("given", rows if rows is not None else contract_schema(table).empty_table())
            connection.execute(f'CREATE TABLE versions."{name}" AS {_as_facts(table)}')
            connection.unregister("given")
        yield from _by_day(catalog, connection, days, roles)


def _undated(tables: Sequence[pa.Table]) -> pa.Table:
    """One table, instants as naive UTC."""
    rows = pa.concat_tables(tables, promote_options="permissive")
    fields = [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in rows.schema]
    return rows.cast(pa.schema(fields))


def _as_facts(table: Table) -> str:
    """What loading adds to delivered rows: the day, derived columns, the end of each version."""
    added = [] if table.day == "day" else [f"CAST({table.day} AS DATE) AS day"]
    added += [f"{d.sql} AS {d.name}" for d in table.derived]
    if table.version:
        keys = ", ".join(table.key)
        ends = f"lead({table.version}) OVER (PARTITION BY {keys} ORDER BY {table.version})"
        added.append(f"{ends} AS superseded_at")
    return f"SELECT *{''.join(', ' + a for a in added)} FROM given"


def _make(connection: DuckDBPyConnection, role: str, select: str) -> None:
    """The role's table, in the schema ``main``."""
    connection.execute(f"CREATE OR REPLACE TABLE main.{role} AS {select}")
    key = ROLES[role].once
    if not key:
        return
    ((again,),) = connection.execute(f"SELECT count({key}) > count(DISTINCT {key}) FROM main.{role}").fetchall()
    if again:  # a join may have made several of one
        first = f"row_number() OVER (PARTITION BY {key} ORDER BY {', '.join(ROLES[role].columns)}) = 1"
        connection.execute(f"CREATE OR REPLACE TABLE main.{role} AS FROM main.{role} QUALIFY {key} IS NULL OR {first}")


@contextmanager
def _connected() -> Iterator[DuckDBPyConnection]:
    import duckdb

    with duckdb.connect(config=ONE_THREAD) as connection:
        connection.execute("CREATE SCHEMA versions")
        connection.execute("CREATE SCHEMA known")
        yield connection


def _by_day(
    catalog: Catalog, connection: DuckDBPyConnection, days: Sequence[dt.date], roles: Collection[str] = ROLES
) -> Generator[Evidence]:
    review = catalog.review
    if review is None:
        raise ValueError(f"the ecosystem {catalog.name!r} has no review.yaml")
    for day in days:
        evidence = Evidence(connection, day, review)
        now = f"TIMESTAMP '{evidence.now}'"
        # A role may be called like a table that it selects from: each has a schema of its own.
        connection.execute("SET search_path = 'known'")
        for role in ROLES:
            # Each role sees so many days of its tables as it needs, though another may need more of them.
            for name, span in tables_read(catalog, [role] if role in roles else []).items():
                version = catalog.table(name).version
                known = "" if version is None else (
                    f" AND {version} <= {now} AND coalesce(superseded_at, {NEVER}) > {now}"
                )  # fmt: skip
                since = "" if span is None else f" AND day > DATE '{day - dt.timedelta(days=span)}'"
                connection.execute(
                    f'CREATE OR REPLACE VIEW known."{name}" AS SELECT * FROM versions."{name}" '
                    f"WHERE day <= DATE '{day}'{since}{known}"
                )
            select = review.roles.get(role, empty(role)) if role in roles else empty(role)
            given = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM ({select})").fetchall()]
            _make(connection, role, conform(role, select, given))
        connection.execute("SET search_path = 'main'")
        yield evidence
