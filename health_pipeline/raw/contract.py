"""The contract of a table, applied: which delivered rows are good, and why the others are not.

Every rule is SQL over columns, and a file is read once: half a million rows take about a second. What does not fit in
memory goes to disk.
"""

from __future__ import annotations

import datetime as dt
import difflib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.catalog.check import SQL_TYPES
from health_pipeline.catalog.model import Catalog, Column, Table, TimeZones
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError
from health_pipeline.raw.reader import (
    NOT_UTF8,
    Part,
    Records,
    as_csv,
    first_character,
    named,
    read_header,
    read_lines,
    read_rows,
)
from health_pipeline.storage.sql import identifier, identifiers, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ARROW_TYPES = {
    "date": pa.date32(), "timestamp": pa.timestamp("us"), "text": pa.string(), "integer": pa.int64(),
    "number": pa.float64(), "boolean": pa.bool_(),
}  # fmt: skip
QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("raw", pa.string()),
    ]
)
SUGGESTIONS = 50
"""At most so many different unknown values of a column are named in reasons."""
MOST_COLUMNS = 1000
"""At most so many different keys of JSON objects are looked at."""
AHEAD_DAYS = 400
"""Days of a table that is known ahead may lie so far in the future."""
IN_THE_FUTURE = "in the future"
TOO_FAR_AHEAD = f"more than {AHEAD_DAYS} days ahead"
PASSING = (IN_THE_FUTURE, TOO_FAR_AHEAD)
"""What is wrong with rows only until some day has come."""
YEAR = r"(\d{3}[1-9]|\d{2}[1-9]\d|\d[1-9]\d{2}|[1-9]\d{3})"
"""Years 1 to 9999, those of ISO 8601 that every program can hold."""
DATE = rf"{YEAR}-\d{{2}}-\d{{2}}"
TIME = r"\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
OFFSET = r"([Zz]|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
PATTERNS = {
    "date": rf"{DATE}([ T]00:00(:00(\.0+)?)?(Z|\+00(:?00)?)?)?",
    "timestamp": rf"{DATE}([ T]{TIME})?",
    "instant": rf"{DATE}[ T]{TIME}{OFFSET}",
    "integer": r"[+-]?\d+(\.0*)?",
    "number": r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
}
TRUE, FALSE = ("true", "t", "yes", "1"), ("false", "f", "no", "0")
LARGEST_NUMBER = 9e18
WRITTEN = {
    "date": "not a date written YYYY-MM-DD",
    "timestamp": "not a date and time written like 2025-09-30T12:00:00Z",
    "integer": "not a whole number",
    "number": "not a finite number",
    "boolean": f"none of {', '.join(TRUE + FALSE)}",
}
UNKNOWN = "unknown value"
NESTED = "a list or an object where one value belongs"


@dataclass(frozen=True)
class Checked:
    """A delivery after validation: ``accepted + duplicates + quarantine.num_rows == delivered``.

    Attributes:
        rows: Parquet file of the good rows in the scratch folder; :func:`landed_schema`, sorted by
            :func:`sort_order`.
        quarantine: rejected rows; :data:`QUARANTINE`, sorted by file and row.
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
class Rule:
    """Rows for which ``sql`` is true break the contract.

    Attributes:
        column: "" when the record as a whole is at fault.
        says: what is wrong, the same for all rows.
        detail: SQL of what is wrong with one row, where that says more.
    """

    column: str
    says: str
    sql: str
    detail: str = ""

    @property
    def reason(self) -> str:
        return f"{self.column}: {self.says}" if self.column else self.says


@dataclass(frozen=True)
class Stored:
    """Where a column of the contract is in a delivered file.

    Attributes:
        sql: expression over a record of :class:`Delivery`.
        kind: how it is stored: a type of the contract, ``instant`` (a timestamp with a zone), ``bytes``, ``nested``, or
            anything else there is.
        nested: SQL that is true where the value is a list or an object.
    """

    sql: str
    kind: str = "text"
    nested: str = ""


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


def contract_schema(table: Table) -> pa.Schema:
    """The contract's columns in order.

    date → date32, timestamp → timestamp[us] in UTC and without a zone, text → string, integer → int64,
    number → float64, boolean → bool.
    """
    return pa.schema([(c.name, ARROW_TYPES[c.type]) for c in table.columns])


def landed_schema(table: Table) -> pa.Schema:
    """Rows of a checked delivery: the contract's columns, then ``day``, unless the contract has it."""
    schema = contract_schema(table)
    return schema if "day" in schema.names else schema.append(pa.field("day", pa.date32()))


def facts_schema(table: Table) -> pa.Schema:
    """Rows of a table's facts: :func:`landed_schema`, then the derived columns, then those that loading adds.

    ``cluster`` (int32, 0 to 63) if rows depend on each other, ``superseded_at`` (timestamp[us] in UTC; null for the
    current version of its key) if rows have versions.
    """
    schema = landed_schema(table)
    for derived in table.derived:
        schema = schema.append(pa.field(derived.name, ARROW_TYPES[derived.type]))
    if table.cluster:
        schema = schema.append(pa.field("cluster", pa.int32()))
    if table.version:
        schema = schema.append(pa.field("superseded_at", pa.timestamp("us")))
    return schema


def identity(table: Table) -> list[str]:
    """Columns that identify a row: ``day``, then the key."""
    return ["day", *(name for name in table.key if name != "day")]


def sort_order(table: Table) -> list[str]:
    """Columns by which rows are sorted: the day, the key, the version."""
    return [*identity(table), *([table.version] if table.version and table.version not in table.key else [])]


def content_order(table: Table) -> str:
    """What follows ``ORDER BY`` so that of rows with the same identity and version the one that counts comes first.

    It depends on nothing but the rows' content, so the same one counts in whatever order they were delivered.
    """
    return ", ".join(f"{identifier(c.name)} DESC NULLS LAST" for c in table.columns)


def day_rules(catalog: Catalog, table: Table, column: str, value: str, today: dt.date) -> list[Rule]:
    """What a day may not be: before the ecosystem's start, or after tomorrow (time zones differ by a day).

    A calendar is known ahead, and lasting things (shops, products) are filed under a day that may lie long before:
    these are tables with versions that are never too late.
    """
    start, rules = catalog.ecosystem.start, []
    lasting = table.version is not None and table.lateness_days is None
    if not (table.known_ahead or lasting):
        rules.append(
            Rule(column, f"before {start.isoformat()}, when this ecosystem starts", f"{value} < DATE '{start}'")
        )
    ahead = AHEAD_DAYS if table.known_ahead else 1
    says = TOO_FAR_AHEAD if table.known_ahead else IN_THE_FUTURE
    return [*rules, Rule(column, says, f"{value} > DATE '{today + dt.timedelta(days=ahead)}'")]


def version_rules(table: Table, today: dt.date) -> list[Rule]:
    """When a version of a row can't have arrived: in the future, before its day, or later than is allowed."""
    if table.version is None:
        return []
    name, version, rules = table.version, identifier(table.version), []
    if not table.known_ahead:
        rules.append(Rule(name, "more than a day before its day", f'{version} < "day" - INTERVAL 1 DAY'))
    if table.lateness_days is not None:
        allowed = table.lateness_days
        late = f"'{name}: arrived ' || date_diff('day', \"day\", CAST({version} AS DATE)) || ' days after its day; "
        rules.append(
            Rule(
                name,
                f"arrived too late; {allowed} days are allowed",
                f'{version} > "day" + INTERVAL {allowed + 1} DAY',
                f"{late}{allowed} are allowed'",
            )
        )
    return [*rules, Rule(name, IN_THE_FUTURE, f"{version} >= DATE '{today + dt.timedelta(days=2)}'")]


def first_broken(rules: Sequence[Rule]) -> str:
    """SQL for the number of the first rule a row breaks; NULL for a good row."""
    return f"CASE {' '.join(f'WHEN {rule.sql} THEN {i}' for i, rule in enumerate(rules))} END"


def table_of_file(path: Path, catalog: Catalog) -> Table:
    """The table a delivered file belongs to, by its name or by that of its folder.

    The longest table name that the file's name begins with counts, if no letter follows: ``orders_2026-11-01.csv.gz``.

    Raises:
        InputError: no table is named.
    """
    if len(catalog.tables) == 1:
        return catalog.tables[0]
    name = path.name.lower()
    for table in sorted(catalog.tables, key=lambda t: len(t.name), reverse=True):
        if name.startswith(table.name) and not name[len(table.name) : len(table.name) + 1].isalpha():
            return table
    for table in catalog.tables:
        if path.absolute().parent.name.lower() == table.name:
            return table
    known = [table.name for table in catalog.tables]
    near = difflib.get_close_matches(name.split(".")[0].rstrip("0123456789-_"), known, n=1, cutoff=0.6)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"{path.name} does not say which table it belongs to.",
        f"{guess}Begin its name with that of a table, or put it into a folder of that name: {', '.join(known)}.",
    )


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
    where, ignored, drift = _columns(part.name, header, table)
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
        where, ignored, drift = _columns(path.name, header, table)
        source = f"read_parquet({named(path)}, file_row_number = true, hive_partitioning = false)"
        fields = [f'"#{i}"' for i in range(len(header))]
        described = engine.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        kinds = [_kind(row[1]) for row in described]
        columns = {name: Stored(fields[i], kinds[i]) for name, i in where.items()}
        retyped = tuple(s for name, stored in columns.items() for s in _retyped(table.column(name), stored.kind))
        pairs = ", ".join(f"{literal(name)}, {field}" for name, field in zip(header, fields, strict=True))
        delivery = Delivery(
            file=path.name,
            records=f'SELECT "#n" + 1 AS "#row", * FROM {source} AS t({", ".join(fields)}, "#n")',
            raw=f"CAST(json_object({pairs}) AS VARCHAR)",
            columns=columns,
            ignored=ignored,
            drift=drift + retyped,
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
        where, ignored, drift = _columns(path.name, keys, table)
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
            drift=drift + tuple(s for name in names for s in _retyped_json(table.column(name), kinds[name])),
        )
        return check(engine, delivery, table, catalog, today, scratch)

    return read_lines(engine, part, scratch, consume)


def check(
    engine: DuckDBPyConnection, delivery: Delivery, table: Table, catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Apply every rule of a table's contract to a delivery, then look for repeated keys.

    Raises:
        InputError: there are no rows.
    """
    rules = [*delivery.rules, *_rules(delivery, catalog, table, today)]
    columns, order = identifiers(landed_schema(table).names), identifiers(sort_order(table))
    engine.execute(
        f'CREATE OR REPLACE TABLE checked AS SELECT "#row", {columns}, "#broken", '
        f'CASE WHEN "#broken" IS NOT NULL THEN {delivery.raw} END AS "#raw", hash({order}) AS "#hash" '
        f'FROM (SELECT *, {first_broken(rules)} AS "#broken" FROM ({_typed_rows(delivery, catalog, table)}))'
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
    """Write the rows of a query to a Parquet file in :func:`landed_schema`, sorted by :func:`sort_order`."""
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
    """Rows of a file in :func:`landed_schema` by day and value of the delivering column, sorted."""
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


def listed(names: Sequence[str]) -> str:
    """`` 'a'``, or ``s 'a', 'b' and 'c'``: what follows the word "column"."""
    *most, last = map(repr, names)
    return f"s {', '.join(most)} and {last}" if most else f" {last}"


def _columns(file: str, header: Sequence[str], table: Table) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    """Where the contract's columns are in a file, the names of the others, and sentences about what is new or missing.

    Raises:
        InputError: a required column is missing, or there twice.
    """
    known = {c.name for c in table.columns}
    for name in header:
        if name in known and header.count(name) > 1:
            raise InputError(f"{file} has two columns named {name!r}.", "Rename or remove one.")
    others = tuple(dict.fromkeys(name for name in header if name not in known))
    absent = [c for c in table.columns if c.name not in header]
    missing = [c.name for c in absent if _required(c, table)]
    if missing:
        nearest = _nearest(missing[0], others or header)
        hint = f"Its nearest column is {nearest!r}: rename it." if nearest else f"Its columns are {', '.join(header)}."
        raise InputError(f"{file} lacks the column{listed(missing)}.", hint)
    drift = []
    for name in others:
        nearest = _nearest(name, [c.name for c in absent])
        guess = f" Is it {nearest!r} under another name?" if nearest else ""
        drift.append(f"The column {name!r} is new and ignored: the contract does not know it.{guess}")
    drift += [f"The column {c.name!r} is missing: it is optional, and empty in all rows." for c in absent]
    return {c.name: header.index(c.name) for c in table.columns if c.name in header}, others, tuple(drift)


def _nearest(name: str, names: Sequence[str]) -> str:
    """The name that is nearest to another, whatever the case of either; "" when none is near."""
    folded = {other.lower().replace(" ", "_"): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


def _required(column: Column, table: Table) -> bool:
    return column.required or column.name in (table.day, table.delivered_by, table.version)


STORED = {
    "VARCHAR": "text", "UUID": "text", "JSON": "text", "BLOB": "bytes", "DATE": "date", "BOOLEAN": "boolean",
    "FLOAT": "number", "DOUBLE": "number", "TIMESTAMP WITH TIME ZONE": "instant",
    "TIMESTAMP": "timestamp", "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    '"NULL"': "null", "NULL": "null",
}  # fmt: skip
"""DuckDB's types of columns in files, as those of a contract."""
JSON_STORED = {
    "VARCHAR": "text", "BOOLEAN": "boolean", "DOUBLE": "number", "UBIGINT": "integer", "BIGINT": "integer",
    "HUGEINT": "integer", "UHUGEINT": "integer",
}  # fmt: skip
FITS = {
    "text": ("text", "bytes"), "date": ("date",), "timestamp": ("timestamp", "instant"), "boolean": ("boolean",),
    "integer": ("integer",), "number": ("number", "integer"),
}  # fmt: skip
"""Types of the contract and the ways of storing that are no news."""
CALLED = {"instant": "timestamp", "nested": "a list or an object"}


def _kind(duckdb_type: str) -> str:
    if duckdb_type.endswith("]") or duckdb_type.startswith(("STRUCT", "MAP", "UNION", "VARIANT", "GEOMETRY")):
        return "nested"
    if "INT" in duckdb_type and not duckdb_type.startswith("INTERVAL"):
        return "integer"
    if duckdb_type.startswith(("DECIMAL", "ENUM")):
        return "number" if duckdb_type.startswith("DECIMAL") else "text"
    return STORED.get(duckdb_type, duckdb_type.lower())


def _retyped(column: Column, kind: str, where: str = "here") -> list[str]:
    """A sentence about a column that is stored as another type than the contract's, if it is."""
    if kind == "null" or kind in FITS[column.type]:
        return []
    return [f"{column.name} is {CALLED.get(kind, kind)} {where}; the contract says {column.type}."]


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


def _retyped_json(column: Column, kinds: Mapping[str, int]) -> list[str]:
    """A sentence about each type, other than the contract's, that values of a column have in all lines or some."""
    rows = Counter[str]()
    for kind, number in kinds.items():
        rows[JSON_STORED.get(kind, "nested")] += number
    written = {"text", column.type} if column.type in ("date", "timestamp") else {column.type}
    return [
        sentence
        for kind, number in rows.items()
        if kind not in written
        for sentence in _retyped(column, kind, "here" if number == rows.total() else f"in {number:,} of the rows")
    ]


def _typed_rows(delivery: Delivery, catalog: Catalog, table: Table) -> str:
    """SQL of a delivery's records with, of each column, ``<name> as text`` (NULL when empty) and ``<name>`` (typed).

    ``<name>`` is NULL where the text is not written as one of the column's type. A timestamp is ``<name> given`` with
    its offset, or ``<name> local``; either way ``<name> at`` is the instant.
    """
    stored = {c.name: delivery.columns.get(c.name, ABSENT) for c in table.columns}
    texts = [f'{_present(c, stored[c.name])} AS "{c.name} as text"' for c in table.columns]
    zones, typed, instants, moments = _zones(catalog, table), [], [], []
    for c in table.columns:
        if c.type == "timestamp":
            given, local = _moment(c.name, stored[c.name].kind)
            typed += [f'{given} AS "{c.name} given"', f'{local} AS "{c.name} local"']
            instants.append(f'{_instant(c.name, zones)} AS "{c.name} at"')
            utc = f'make_timestamp(epoch_us("{c.name} at"))'  # timezone('UTC', …) is the same, and much slower
            moments.append(f'CASE WHEN {utc} BETWEEN {FIRST} AND {LAST} THEN {utc} END AS "{c.name}"')
        else:
            typed.append(f'{_typed(c, stored[c.name].kind)} AS "{c.name}"')
    sql = f"SELECT *, {', '.join(typed)} FROM (SELECT *, {', '.join(texts)} FROM ({delivery.records}))"
    if moments:
        sql = f"SELECT *, {', '.join(moments)} FROM (SELECT *, {', '.join(instants)} FROM ({sql}))"
    if "day" not in contract_schema(table).names:
        sql = f'SELECT *, CAST("{table.day}" AS DATE) AS "day" FROM ({sql})'
    return sql


ABSENT = Stored("CAST(NULL AS VARCHAR)")
FIRST, LAST = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


def _as_stored(column: Column, kind: str) -> bool:
    """Whether values can be taken as they are, instead of being read from text."""
    return (column.type != "text" and kind in FITS[column.type]) or (column.type, kind) == ("timestamp", "date")


def _present(column: Column, stored: Stored) -> str:
    """SQL of a delivered value as text, or as it is where that will do; NULL when it is empty."""
    if _as_stored(column, stored.kind):
        return stored.sql
    text = f"TRY(decode({stored.sql}))" if stored.kind == "bytes" else f"CAST({stored.sql} AS VARCHAR)"
    return f"nullif({text}, '')" if column.type == "text" else f"nullif(trim({text}), '')"


def _typed(column: Column, kind: str) -> str:
    """SQL of a column in its own type, from ``<name> as text``; NULL where it is not written as one."""
    text, sql = f'"{column.name} as text"', SQL_TYPES[column.type]
    if column.type == "text":
        return text
    if column.type == "boolean" and kind != "boolean":
        true, false = (", ".join(map(literal, words)) for words in (TRUE, FALSE))
        return f"CASE WHEN lower({text}) IN ({true}) THEN true WHEN lower({text}) IN ({false}) THEN false END"
    source = {"date": f"left({text}, 10)", "integer": f"split_part({text}, '.', 1)"}.get(column.type, text)
    value = f"try_cast({text if _as_stored(column, kind) else source} AS {sql})"
    if column.type == "number":
        value = f"CASE WHEN isfinite({value}) THEN {value} END"
    if _as_stored(column, kind):
        return f"CASE WHEN {value} BETWEEN {FIRST} AND {LAST} THEN {value} END" if column.type == "date" else value
    return f"CASE WHEN regexp_full_match({text}, {literal(PATTERNS[column.type])}) THEN {value} END"


def _moment(name: str, kind: str) -> tuple[str, str]:
    """SQL of a timestamp that is written with an offset, as an instant; and of one that is not, as it is written."""
    text = f'"{name} as text"'
    if kind == "instant":
        return text, "CAST(NULL AS TIMESTAMP)"
    if kind in ("timestamp", "date"):
        return "CAST(NULL AS TIMESTAMPTZ)", f"CAST({text} AS TIMESTAMP)"
    given, local = (f"regexp_full_match({text}, {literal(PATTERNS[way])})" for way in ("instant", "timestamp"))
    return (
        f"CASE WHEN {given} THEN try_cast(upper({text}) AS TIMESTAMPTZ) END",
        f"CASE WHEN {local} THEN try_cast({text} AS TIMESTAMP) END",
    )


def _zones(catalog: Catalog, table: Table) -> TimeZones | None:
    zones = catalog.ecosystem.time_zones
    return zones if zones and any(c.name == zones.column for c in table.columns) else None


def _in_zone(sql: str, zones: TimeZones) -> str:
    """SQL with ``{zone}`` filled in for the zone of each row; NULL in rows without one."""
    cases = " ".join(f"WHEN {literal(v)} THEN {sql.format(zone=literal(zone))}" for v, zone in zones.zones.items())
    return f'CASE CAST("{zones.column}" AS VARCHAR) {cases} END'


def _instant(name: str, zones: TimeZones | None) -> str:
    """SQL of a timestamp as an instant. Of a local time that comes twice, when clocks go back, it is the second."""
    local = f'"{name} local"'
    at = _in_zone(f"timezone({{zone}}, {local})", zones) if zones else f"CAST({local} AS TIMESTAMPTZ)"
    return f'coalesce("{name} given", {at})'


def _zone_rules(column: Column, zones: TimeZones) -> list[Rule]:
    local = f'"{column.name} local"'
    back = _in_zone(f'timezone({{zone}}, "{column.name} at")', zones)
    says = f"written without an offset, and the time zone of its {zones.column} is not known"
    return [
        Rule(column.name, says, f"{local} IS NOT NULL AND {_in_zone('true', zones)} IS NULL"),
        Rule(column.name, "a local time that the clocks leave out", f"{local} <> {back}"),
    ]


def _rules(delivery: Delivery, catalog: Catalog, table: Table, today: dt.date) -> list[Rule]:
    """The contract's rules over the rows of :func:`_typed_rows`, by column; first what other columns rely on."""
    zones, rules = _zones(catalog, table), []
    for c in sorted(table.columns, key=lambda c: zones is None or c.name != zones.column):
        text, value = f'"{c.name} as text"', f'"{c.name}"'
        stored = delivery.columns.get(c.name, ABSENT)
        if stored.kind == "nested" or stored.nested:
            rules.append(Rule(c.name, NESTED, stored.nested or f"{text} IS NOT NULL"))
        if stored.kind == "bytes":
            rules.append(Rule(c.name, NOT_UTF8, f"{stored.sql} IS NOT NULL AND TRY(decode({stored.sql})) IS NULL"))
        if _required(c, table):
            rules.append(Rule(c.name, "empty", f"{text} IS NULL"))
        if c.type == "timestamp" and zones:
            rules += _zone_rules(c, zones)
        if c.type in WRITTEN:
            rules.append(Rule(c.name, WRITTEN[c.type], f"{text} IS NOT NULL AND {value} IS NULL"))
        if c.type == "number":  # sums are exact, and hold no more
            rules.append(Rule(c.name, f"beyond {LARGEST_NUMBER:g}", f"abs({value}) > {LARGEST_NUMBER!r}"))
        if c.minimum is not None:
            rules.append(Rule(c.name, f"below {c.minimum:g}", f"{value} < {c.minimum!r}"))
        if c.maximum is not None:
            rules.append(Rule(c.name, f"above {c.maximum:g}", f"{value} > {c.maximum!r}"))
        if c.values is not None:
            known = ", ".join(literal(v) for v in c.values)
            rules.append(Rule(c.name, UNKNOWN, f"CAST({value} AS VARCHAR) NOT IN ({known})"))
        if c.name == table.day:
            rules += day_rules(catalog, table, c.name, '"day"', today)
    return [*rules, *version_rules(table, today)]


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
