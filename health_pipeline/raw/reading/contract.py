"""The contract of a table, applied: which delivered rows are good, and why the others are not.

:mod:`.formats` brings a file of any format to records, :mod:`.values` reads their values, :mod:`.rules` says what is
wrong with them. Here the rules are applied, repeated keys are found, and what is good is written. Every rule is SQL
over columns, and a file is read once: half a million rows take about a second. What does not fit in memory goes to
disk.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.catalog.model import SQL_TYPES, Catalog, Table
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.reader import Records, named
from health_pipeline.raw.reading.rules import UNKNOWN, Rule, contract_rules, first_broken
from health_pipeline.raw.reading.values import Stored, typed_rows
from health_pipeline.raw.schema import QUARANTINE, contract_schema, landed_schema, sort_order
from health_pipeline.storage.sql import identifier, identifiers, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUGGESTIONS = 50
"""At most so many different unknown values of a column are named in reasons."""


@dataclass(frozen=True)
class Checked:
    """A delivery after validation: ``accepted + duplicates + quarantine.num_rows == delivered``.

    Attributes:
        rows: Parquet file of the good rows in the scratch folder; :func:`.landed_schema`, sorted by
            :func:`.sort_order`.
        quarantine: rejected rows; :data:`.QUARANTINE`, sorted by file and row.
        delivered: rows in the file (statements, for a statement dump).
        accepted: of these, how many went into ``rows``.
        duplicates: of these, how many only repeat an accepted one.
        ignored: columns the contract does not know.
        reasons: how many rows were rejected, by reason (without the values that differ from row to row).
        days: good rows by day and value of the delivering column, sorted.
        drift: what is not as the contract has it and yet no reason to reject anything: sentences about new, missing
            and retyped columns.
        examples: the first row that was rejected, by reason, where the reasons in ``quarantine`` say more than that.
    """

    rows: Path
    quarantine: pa.Table
    delivered: int
    accepted: int
    duplicates: int
    ignored: tuple[str, ...]
    reasons: Mapping[str, int]
    days: Mapping[dt.date, Mapping[str, int]]
    drift: tuple[str, ...] = ()
    examples: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """The records of a delivered file, in whatever format it came.

    Attributes:
        file: how a person finds it again.
        records: SQL query: ``#row`` (from 1) and what the others refer to. All its names begin with ``#``, as no name
            of a contract does.
        raw: SQL expression of a record's text.
        columns: where each column of the contract is.
        rules: what makes a record as a whole unusable.
        malformed: SQL query of the records that could not even be read: ``row``, ``reason``, ``raw``.
        ignored: columns that the contract does not know.
        drift: as in :class:`Checked`.
    """

    file: str
    records: str
    raw: str
    columns: Mapping[str, Stored]
    rules: tuple[Rule, ...] = ()
    malformed: str = Records.malformed
    ignored: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


def check(
    engine: DuckDBPyConnection, delivery: Delivery, table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Apply every rule of a table's contract to a delivery, then look for repeated keys.

    Raises:
        InputError: there are no rows.
    """
    rules = [*delivery.rules, *contract_rules(delivery.columns, catalog, table, today)]
    typed = typed_rows(delivery.records, delivery.columns, catalog, table)
    columns, order = identifiers(landed_schema(table).names), identifiers(sort_order(table))
    engine.execute(
        f'CREATE OR REPLACE TABLE checked AS SELECT "#row", {columns}, "#broken", '
        f'CASE WHEN "#broken" IS NOT NULL THEN {delivery.raw} END AS "#raw", hash({order}) AS "#hash" '
        f'FROM (SELECT *, {first_broken(rules)} AS "#broken" FROM ({typed}))'
    )
    engine.execute(f"CREATE OR REPLACE TABLE malformed AS {delivery.malformed}")
    found = engine.execute('SELECT "#broken", count(*), min("#row") FROM checked GROUP BY "#broken"').fetchall()
    broken, firsts = ({rule: row[i] for rule, *row in found if rule is not None} for i in (0, 1))
    good = sum(row[1] for row in found if row[0] is None)
    delivered = good + sum(broken.values()) + count(engine, "FROM malformed")
    if not delivered:
        raise InputError(f"{delivery.file} has a header and no rows.", "Export it again, with rows.")
    duplicates, contradictions = _find_repeated(engine, delivery, table, good)

    counts, examples = (Counter({rules[i].reason: n for i, n in by.items()}) for by in (broken, firsts))
    counts.update(dict(engine.execute("SELECT reason, count(*) FROM malformed GROUP BY reason").fetchall()))
    rejected = ["SELECT row, '' AS \"column\", reason, raw FROM malformed"]
    if broken:
        names = " ".join(f"WHEN {i} THEN {literal(rules[i].column)}" for i in broken)
        reasons = " ".join(f"WHEN {i} THEN {_detail(engine, rules[i], i, table)}" for i in broken)
        rejected.append(
            f'SELECT "#row", CASE "#broken" {names} END, CASE "#broken" {reasons} END, "#raw" '
            'FROM checked WHERE "#broken" IS NOT NULL'
        )
    if contradictions:
        says = _contradicts(table, "another row" if table.version else "an earlier row")
        [(examples[says],)] = engine.execute('SELECT min("#row") FROM contradicting').fetchall()
        counts[says] = contradictions
        reason = _contradicts(table, "row ' || \"#first\" || '")
        rejected.append(f'SELECT "#row", {literal(", ".join(table.key))}, \'{reason}\', "#raw" FROM contradicting')

    quarantine = spool(
        engine,
        f"SELECT {literal(delivery.file)} AS file, * FROM ({' UNION ALL '.join(rejected)}) ORDER BY row",
        QUARANTINE,
        scratch,
    )
    rows = scratch / "rows.parquet"
    once = 'AND "#row" NOT IN (SELECT "#row" FROM repeated)' if duplicates or contradictions else ""
    write_rows(engine, f'SELECT {columns} FROM checked WHERE "#broken" IS NULL {once}', table, rows)
    return Checked(
        rows=rows,
        quarantine=quarantine,
        delivered=delivered,
        accepted=good - duplicates - contradictions,
        duplicates=duplicates,
        ignored=delivery.ignored,
        reasons=dict(sorted(counts.items())),
        days=count_days(engine, rows, table),
        drift=delivery.drift,
        examples=examples,
    )


def write_rows(engine: DuckDBPyConnection, sql: str, table: Table, target: Path) -> None:
    """Write the rows of a query to a Parquet file in :func:`.landed_schema`, sorted by :func:`.sort_order`."""
    types = {"day": "date"} | {c.name: c.type for c in table.columns}
    names = landed_schema(table).names
    cast = ", ".join(f'CAST("{name}" AS {SQL_TYPES[types[name]]}) AS "{name}"' for name in names)
    # Without TRY, DuckDB would write a column in which it saw no NULL as one that can't have any: another schema.
    columns = ", ".join(f'TRY("{name}") AS "{name}"' for name in names)
    engine.execute(
        f"COPY (SELECT {columns} FROM (SELECT {cast} FROM ({sql})) ORDER BY {identifiers(sort_order(table))}) "
        f"TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    )


def count_days(engine: DuckDBPyConnection, rows: Path, table: Table) -> dict[dt.date, dict[str, int]]:
    """Rows of a file in :func:`.landed_schema` by day and value of the delivering column, sorted."""
    days: dict[dt.date, dict[str, int]] = {}
    for day, unit, number in engine.execute(
        f"SELECT day, CAST({identifier(table.delivered_by)} AS VARCHAR), count(*) "
        f"FROM read_parquet({named(rows)}) GROUP BY ALL ORDER BY ALL"
    ).fetchall():
        days.setdefault(day, {})[unit] = number
    return days


def spool(engine: DuckDBPyConnection, sql: str, schema: pa.Schema, scratch: Path) -> pa.Table:
    """The rows of a query, mapped from a file: however many they are, they need no memory of their own.

    They stay readable when the scratch folder is gone.
    """
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".arrow", delete=False) as file:
        with pa.ipc.new_file(file, schema) as sink:
            for batch in engine.sql(sql).to_arrow_reader():
                sink.write_batch(batch.cast(schema))
        file.flush()
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def count(engine: DuckDBPyConnection, sql: str) -> int:
    """Number of rows of a query that begins with ``FROM``."""
    [(rows,)] = engine.execute(f"SELECT count(*) {sql}").fetchall()
    return int(rows)


def _detail(engine: DuckDBPyConnection, rule: Rule, number: int, table: Table) -> str:
    """SQL of a rejected row's reason. That of an unknown value names it and suggests the nearest known one."""
    if rule.detail:
        return rule.detail
    if rule.says != UNKNOWN:
        return literal(rule.reason)
    column, known = identifier(rule.column), table.column(rule.column).values or ()
    values = engine.execute(
        f'SELECT CAST({column} AS VARCHAR) FROM checked WHERE "#broken" = {number} GROUP BY ALL '
        f"ORDER BY count(*) DESC, 1 LIMIT {SUGGESTIONS}"
    ).fetchall()
    cases = " ".join(
        f"WHEN {literal(value)} THEN {literal(f'{rule.reason} {value!r}. {did_you_mean(value, known)}')}"
        for (value,) in values
    )
    return f"CASE CAST({column} AS VARCHAR) {cases} ELSE {literal(rule.reason)} END"


def _contradicts(table: Table, which: str) -> str:
    if table.version:
        return f"same key and {table.version} as {which} with other values"
    return f"the key of {which} with other values"


def _find_repeated(engine: DuckDBPyConnection, delivery: Delivery, table: Table, good: int) -> tuple[int, int]:
    """Good rows that only repeat another, and those that have its key (and version) and other values.

    Both go into the table ``repeated`` with the row that counts: the first, or, where rows have versions, the one of
    :func:`content_order`. Those with other values go into ``contradicting`` too, with their text.
    """
    if count(engine, 'FROM (SELECT DISTINCT "#hash" FROM checked WHERE "#broken" IS NULL)') == good:
        return 0, 0
    columns = contract_schema(table).names
    again = 'SELECT "#hash" FROM checked WHERE "#broken" IS NULL GROUP BY ALL HAVING count(*) > 1'
    order = f'{content_order(table)}, "#row"' if table.version else '"#row"'
    firsts = ", ".join(f'first_value({identifier(c)}) OVER same AS "first {c}"' for c in columns)
    equal = " AND ".join(f'{identifier(c)} IS NOT DISTINCT FROM "first {c}"' for c in columns)
    engine.execute(
        f'CREATE OR REPLACE TABLE repeated AS SELECT "#row", "#first", {equal} AS "#same" FROM '
        f'(SELECT *, first_value("#row") OVER same AS "#first", {firsts} FROM checked '
        f'WHERE "#broken" IS NULL AND "#hash" IN ({again}) '
        f'WINDOW same AS (PARTITION BY {identifiers(sort_order(table))} ORDER BY {order})) WHERE "#row" <> "#first"'
    )
    same, other = (count(engine, f"FROM repeated WHERE {sql}") for sql in ('"#same"', 'NOT "#same"'))
    if other:  # their texts were not kept: the delivery is read again for them
        engine.execute(
            f'CREATE OR REPLACE TABLE contradicting AS SELECT "#row", "#first", {delivery.raw} AS "#raw" '
            f'FROM ({delivery.records}) JOIN (FROM repeated WHERE NOT "#same") USING ("#row")'
        )
    return same, other


def content_order(table: Table) -> str:
    """What follows ``ORDER BY`` so that of rows with the same identity and version the one that counts comes first.

    It depends on nothing but the rows' content, so the same one counts in whatever order they were delivered.
    """
    return ", ".join(f"{identifier(c.name)} DESC NULLS LAST" for c in table.columns)
