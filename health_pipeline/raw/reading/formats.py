"""Delivered files of every format as records with the contract's columns, which are then checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.contract import Checked, Delivery, check
from health_pipeline.raw.reading.drift import locate, retyped, retyped_json
from health_pipeline.raw.reading.reader import (
    Part,
    Records,
    as_csv,
    first_character,
    named,
    read_header,
    read_lines,
    read_rows,
)
from health_pipeline.raw.reading.rules import Rule
from health_pipeline.raw.reading.values import Stored
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_COLUMNS = 1000
"""At most so many different keys of JSON objects are looked at."""
STORED = {
    "VARCHAR": "text", "UUID": "text", "JSON": "text", "BLOB": "bytes", "DATE": "date", "BOOLEAN": "boolean",
    "FLOAT": "number", "DOUBLE": "number", "TIMESTAMP WITH TIME ZONE": "instant",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    '"NULL"': "null", "NULL": "null",
}  # fmt: skip
"""DuckDB's types of columns in files, as those of a contract."""


def check_csv(
    engine: DuckDBPyConnection, parts: Iterator[Part], table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Validate a CSV file with the contract's columns.

    Raises:
        InputError: a required column is missing, the file holds no rows, or an archive holds several files.
    """
    checked = None
    for part in parts:
        if checked is not None:
            raise InputError(f"{part.name} is not the only CSV file in its archive.", "Deliver one file at a time.")
        checked = _check_csv(engine, part, table, catalog, today, scratch)
    assert checked is not None  # csv_parts never comes back empty-handed
    return checked


def _check_csv(
    engine: DuckDBPyConnection, part: Part, table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    header = read_header(part)
    where, ignored, drift = locate(part.name, header, table)
    fields = [f'"#{i}"' for i in range(len(header))]

    def consume(records: Records) -> Checked:
        names = ", ".join(f"c{i} AS {field}" for i, field in enumerate(fields))
        delivery = Delivery(
            file=part.name,
            records=f'SELECT row AS "#row", {names} FROM ({records.rows})',
            raw=as_csv(fields),
            columns={name: Stored(fields[i]) for name, i in where.items()},
            malformed=records.malformed,
            ignored=ignored,
            drift=drift,
        )
        return check(engine, delivery, table, catalog, today, scratch)

    return read_rows(engine, part, len(header), scratch, consume)


def check_parquet(
    engine: DuckDBPyConnection, path: Path, table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Validate a Parquet file with the contract's columns, whatever types they are stored in.

    Raises:
        InputError: not a Parquet file, a required column is missing, or no rows.
    """
    import duckdb
    import pyarrow.parquet as pq

    try:
        header = tuple(pq.read_schema(path).names)
        where, ignored, drift = locate(path.name, header, table)
        source = f"read_parquet({named(path)}, file_row_number = true, hive_partitioning = false)"
        fields = [f'"#{i}"' for i in range(len(header))]
        described = engine.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        kinds = [_kind(row[1]) for row in described]
        columns = {name: Stored(fields[i], kinds[i]) for name, i in where.items()}
        others = tuple(s for name, stored in columns.items() for s in retyped(table.column(name), stored.kind))
        pairs = ", ".join(f"{literal(name)}, {field}" for name, field in zip(header, fields, strict=True))
        delivery = Delivery(
            file=path.name,
            records=f'SELECT "#n" + 1 AS "#row", * FROM {source} AS t({", ".join(fields)}, "#n")',
            raw=f"CAST(json_object({pairs}) AS VARCHAR)",
            columns=columns,
            ignored=ignored,
            drift=drift + others,
        )
        return check(engine, delivery, table, catalog, today, scratch)
    except duckdb.OutOfMemoryException:
        raise
    except (pa.ArrowException, duckdb.Error, OSError, UnicodeDecodeError):
        raise InputError(
            f"{path.name} can't be read as Parquet.", "Write or copy it again; it may be cut short."
        ) from None


def check_json(
    engine: DuckDBPyConnection, path: Path, table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Validate a file of JSON lines: on each an object with the contract's columns. A missing key is empty.

    Raises:
        InputError: no line holds an object, no object has a required column, or the file can't be read to its end.
    """
    part = Part(path.name, path)
    if first_character(part) == "[":
        raise InputError(
            f"{path.name} is one JSON array, not one object per line.",
            f"Take it apart: jq -c '.[]' {path.name} > {path.name.split('.')[0]}.jsonl",
        )

    def consume(records: Records) -> Checked:
        valid = f'SELECT row AS "#row", line AS "#line", json_valid(line) AS "#valid" FROM ({records.rows})'
        typed = f'SELECT *, CASE WHEN "#valid" THEN json_type("#line") END AS "#type" FROM ({valid})'
        objects, keys, kinds = _describe_json(engine, f"(FROM ({typed}) WHERE \"#type\" = 'OBJECT')", table)
        if not objects:
            raise InputError(f"{path.name} holds no JSON object.", "Write one object per line, and nothing else.")
        where, ignored, drift = locate(path.name, keys, table)
        names = [c.name for c in table.columns if c.name in where]
        paths = f"[{', '.join(literal(f'$.{name}') for name in names)}]"
        within = "CASE WHEN \"#type\" = 'OBJECT' THEN"
        columns = {
            name: Stored(f'"#values"[{i}]', "text", f"\"#types\"[{i}] IN ('OBJECT', 'ARRAY')")
            for i, name in enumerate(names, start=1)
        }
        delivery = Delivery(
            file=path.name,
            records=(
                f'SELECT *, {within} json_extract_string("#line", {paths}) END AS "#values", '
                f'{within} json_type("#line", {paths}) END AS "#types" FROM ({typed})'
            ),
            raw='"#line"',
            columns=columns,
            rules=(
                Rule("", "not valid JSON", '"#type" IS NULL'),
                Rule("", "not a JSON object", "\"#type\" <> 'OBJECT'"),
            ),
            malformed=records.malformed,
            ignored=ignored,
            drift=drift + tuple(s for name in names for s in retyped_json(table.column(name), kinds[name])),
        )
        return check(engine, delivery, table, catalog, today, scratch)

    return read_lines(engine, part, scratch, consume)


def _kind(duckdb_type: str) -> str:
    """How a column of this type is stored, as in :class:`.Stored`."""
    if duckdb_type.endswith("]") or duckdb_type.startswith(("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY")):
        return "nested"
    if "INT" in duckdb_type and not duckdb_type.startswith("INTERVAL"):
        return "integer"
    if duckdb_type.startswith(("DECIMAL", "ENUM")):
        return "number" if duckdb_type.startswith("DECIMAL") else "text"
    return STORED.get(duckdb_type, duckdb_type.lower())


def _describe_json(
    engine: DuckDBPyConnection, objects: str, table: Table
) -> tuple[int, tuple[str, ...], dict[str, dict[str, int]]]:
    """How many objects there are, their keys as they come up, and how often each column is stored as what."""
    paths = f"[{', '.join(literal(f'$.{c.name}') for c in table.columns)}]"
    # Grouped as texts: DuckDB takes three times as long over lists.
    engine.execute(
        "CREATE OR REPLACE TABLE shapes AS SELECT json_extract_string(keys, '$[*]') AS keys, "
        "string_split(translate(types, '[]''', ''), ', ') AS types, count(*) AS objects, min(row) AS row "
        f'FROM (SELECT "#row" AS row, CAST(to_json(json_keys("#line")) AS VARCHAR) AS keys, '
        f'CAST(json_type("#line", {paths}) AS VARCHAR) AS types FROM {objects}) GROUP BY ALL'
    )
    [(total,)] = engine.execute("SELECT coalesce(sum(objects), 0) FROM shapes").fetchall()
    keys = engine.execute(
        "SELECT key FROM (SELECT unnest(keys) AS key, unnest(range(len(keys))) AS place, row FROM shapes) "
        f"GROUP BY key ORDER BY min(row), min(place) LIMIT {MOST_COLUMNS}"
    ).fetchall()
    kinds: dict[str, dict[str, int]] = {}
    for i, column in enumerate(table.columns, start=1):
        stored = engine.execute(
            f"SELECT types[{i}], sum(objects) FROM shapes GROUP BY ALL ORDER BY 2 DESC, 1"
        ).fetchall()
        kinds[column.name] = {kind: int(rows) for kind, rows in stored if kind != "NULL"}
    return int(total), tuple(key for (key,) in keys), kinds
