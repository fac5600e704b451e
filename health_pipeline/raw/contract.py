"""The contract of a table, applied: which delivered rows are good, and why the others are not.

Every rule is SQL over columns, so half a million rows take about a second.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from health_pipeline.catalog.check import SQL_TYPES
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.catalog.model import Catalog, Column, Table
from health_pipeline.errors import InputError
from health_pipeline.raw.reader import Malformed, Part, as_csv, quoted, read_header, read_rows

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
PATTERNS = {
    "date": r"\d{4}-\d{2}-\d{2}([ T]00:00:00(\.0+)?(Z|\+00(:?00)?)?)?",
    "integer": r"[+-]?\d+(\.0*)?",
    "number": r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
}
WRITTEN = {
    "date": "not a date written YYYY-MM-DD",
    "integer": "not a whole number",
    "number": "not a finite number",
}


@dataclass(frozen=True)
class Checked:
    """A delivery after validation: ``accepted + duplicates + quarantine.num_rows == delivered``.

    Attributes:
        rows: good rows; :func:`contract_schema`, sorted by day, then key.
        quarantine: rejected rows; :data:`QUARANTINE`, sorted by file and row.
        delivered: rows in the file (statements, for a statement dump).
        accepted: of these, how many went into ``rows``.
        duplicates: of these, how many only repeat an accepted one.
        ignored: columns the contract does not know.
        reasons: how many rows were rejected, by reason (without the values that differ from row to row).
    """

    rows: pa.Table
    quarantine: pa.Table
    delivered: int
    accepted: int
    duplicates: int
    ignored: tuple[str, ...]
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Rule:
    """Rows for which ``sql`` is true break the contract."""

    column: str
    says: str
    sql: str

    @property
    def reason(self) -> str:
        return f"{self.column}: {self.says}"


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
    return ", ".join(f"{_identifier(c.name)} DESC NULLS LAST" for c in table.columns)


def day_rules(catalog: Catalog, column: str, value: str, today: dt.date) -> list[Rule]:
    """No day may lie before the ecosystem's start, nor after tomorrow (time zones differ by a day)."""
    start, tomorrow = catalog.ecosystem.start, today + dt.timedelta(days=1)
    return [
        Rule(column, f"before {start.isoformat()}, when this ecosystem starts", f"{value} < DATE '{start}'"),
        Rule(column, "in the future", f"{value} > DATE '{tomorrow}'"),
    ]


def first_broken(rules: Sequence[Rule]) -> str:
    """SQL for the number of the first rule a row breaks; NULL for a good row."""
    return f"CASE {' '.join(f'WHEN {rule.sql} THEN {i}' for i, rule in enumerate(rules))} END"


def check_csv(
    engine: DuckDBPyConnection, parts: Iterator[Part], catalog: Catalog, today: dt.date, scratch: Path
) -> Checked:
    """Validate a CSV file with the contract's columns.

    Raises:
        InputError: a required column is missing, the file holds no rows, or an archive holds several files.
    """
    checked = None
    for part in parts:
        if checked is not None:
            raise InputError(f"{part.name} is not the only CSV file in its archive.", "Deliver one file at a time.")
        header = read_header(part)
        where = _columns(part.name, header, catalog.table)

        def load(rows: str) -> None:
            engine.execute(f"CREATE OR REPLACE TABLE delivered AS {rows}")

        _, malformed = read_rows(engine, part, len(header), scratch, load)
        raw = f"SELECT row, {as_csv(len(header))} AS raw FROM delivered"
        ignored = tuple(name for name in header if name not in where)
        checked = _check(engine, part.name, where, ignored, raw, malformed, catalog, today)
    assert checked is not None  # csv_parts never comes back empty-handed
    return checked


def check_parquet(engine: DuckDBPyConnection, path: Path, catalog: Catalog, today: dt.date) -> Checked:
    """Validate a Parquet file with the contract's columns, whatever types they are stored in.

    Raises:
        InputError: not a Parquet file, a required column is missing, or no rows.
    """
    import duckdb
    import pyarrow.parquet as pq

    try:
        header = tuple(pq.read_schema(path).names)
        where = _columns(path.name, header, catalog.table)
        names = ", ".join(f"c{i}" for i in range(len(header)))
        file = f"read_parquet({quoted(path)}, binary_as_string = true, file_row_number = true) AS t({names}, n)"
        texts = ", ".join(f"CAST({c} AS VARCHAR) AS {c}" for c in sorted(set(where.values())))
        engine.execute(f"CREATE OR REPLACE TABLE delivered AS SELECT n + 1 AS row, {texts} FROM {file}")
    except (pa.ArrowException, duckdb.Error, OSError):
        raise InputError(
            f"{path.name} can't be read as Parquet.", "Write or copy it again; it may be cut short."
        ) from None
    fields = ", ".join(f"{_identifier(name)} := c{i}" for i, name in enumerate(header))
    raw = f"SELECT n + 1 AS row, CAST(to_json(struct_pack({fields})) AS VARCHAR) AS raw FROM {file}"
    ignored = tuple(name for name in header if name not in where)
    return _check(engine, path.name, where, ignored, raw, [], catalog, today)


def _columns(file: str, header: Sequence[str], table: Table) -> dict[str, str]:
    """Where the contract's columns are in the file: name → ``c<position>``."""
    for name in header:
        if header.count(name) > 1 and any(c.name == name for c in table.columns):
            raise InputError(f"{file} has two columns named {name!r}.", "Rename or remove one.")
    missing = [c.name for c in table.columns if _required(c, table) and c.name not in header]
    if missing:
        known = {c.name for c in table.columns}
        others = [name for name in header if name not in known] or list(header)
        nearest = difflib.get_close_matches(missing[0], others, n=1, cutoff=0.6)
        hint = (
            f"Its nearest column is {nearest[0]!r}: rename it." if nearest else f"Its columns are {', '.join(header)}."
        )
        raise InputError(f"{file} lacks the column{listed(missing)}.", hint)
    return {c.name: f"c{header.index(c.name)}" for c in table.columns if c.name in header}


def listed(names: Sequence[str]) -> str:
    """`` 'a'``, or ``s 'a', 'b' and 'c'``: what follows the word "column"."""
    *most, last = map(repr, names)
    return f"s {', '.join(most)} and {last}" if most else f" {last}"


def _required(column: Column, table: Table) -> bool:
    return column.required or column.name in (table.day, table.delivered_by)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_identifier, names))


def _text(column: Column, where: Mapping[str, str]) -> str:
    """SQL for a column as delivered; an empty field is NULL."""
    if column.name not in where:
        return "NULL"
    return f"nullif({where[column.name]}, '')" if column.type == "text" else f"nullif(trim({where[column.name]}), '')"


def _typed(column: Column) -> str:
    """SQL for a column in its own type, from ``<name> as text``; NULL where it is not written as one."""
    text = f'"{column.name} as text"'
    if column.type == "text":
        return text
    written = f"regexp_full_match({text}, {quoted(PATTERNS[column.type])})"
    source = {"date": f"left({text}, 10)", "integer": f"split_part({text}, '.', 1)", "number": text}[column.type]
    cast = f"try_cast({source} AS {SQL_TYPES[column.type]})"
    value = f"CASE WHEN isfinite({cast}) THEN {cast} END" if column.type == "number" else cast
    return f"CASE WHEN {written} THEN {value} END"


def _rules(catalog: Catalog, today: dt.date) -> list[Rule]:
    """The contract's rules over a row's ``<name>`` (typed) and ``<name> as text``, by column."""
    rules = []
    for c in catalog.table.columns:
        text, value = f'"{c.name} as text"', f'"{c.name}"'
        if _required(c, catalog.table):
            rules.append(Rule(c.name, "empty", f"{text} IS NULL"))
        if c.type in WRITTEN:
            rules.append(Rule(c.name, WRITTEN[c.type], f"{text} IS NOT NULL AND {value} IS NULL"))
        if c.minimum is not None:
            rules.append(Rule(c.name, f"below {c.minimum:g}", f"{value} < {c.minimum!r}"))
        if c.maximum is not None:
            rules.append(Rule(c.name, f"above {c.maximum:g}", f"{value} > {c.maximum!r}"))
        if c.values is not None:
            known = ", ".join(quoted(v) for v in c.values)
            rules.append(Rule(c.name, "unknown value", f"CAST({value} AS VARCHAR) NOT IN ({known})"))
        if c.name == catalog.table.day:
            rules += day_rules(catalog, c.name, value, today)
    return rules


def _check(
    engine: DuckDBPyConnection,
    file: str,
    where: Mapping[str, str],
    ignored: tuple[str, ...],
    raw: str,
    malformed: Sequence[Malformed],
    catalog: Catalog,
    today: dt.date,
) -> Checked:
    """Apply every rule to the table ``delivered`` (``row`` and texts), then look for repeated keys."""
    table, rules = catalog.table, _rules(catalog, today)
    schema = contract_schema(table)
    texts = ", ".join(f'{_text(c, where)} AS "{c.name} as text"' for c in table.columns)
    typed = ", ".join(f'{_typed(c)} AS "{c.name}"' for c in table.columns)
    columns, key, order = (_names(names) for names in (schema.names, table.key, sort_order(table)))
    engine.execute(
        f"CREATE OR REPLACE TABLE checked AS SELECT row, {columns}, {first_broken(rules)} AS broken "
        f"FROM (SELECT *, {typed} FROM (SELECT row, {texts} FROM delivered))"
    )
    delivered = count(engine, "FROM checked") + len(malformed)
    if not delivered:
        raise InputError(f"{file} has a header and no rows.", "Export it again, with rows.")

    engine.execute('CREATE OR REPLACE TABLE bad (row BIGINT, "column" VARCHAR, says VARCHAR, reason VARCHAR)')
    for i, rule in enumerate(rules):
        says, reason = rule.reason, quoted(rule.reason)
        if rule.says == "unknown value":
            reason = _naming(engine, rule.column, i, says, table.column(rule.column).values or ())
        engine.execute(
            f"INSERT INTO bad SELECT row, {quoted(rule.column)}, {quoted(says)}, {reason} "
            f"FROM checked WHERE broken = {i}"
        )

    engine.execute("CREATE OR REPLACE TABLE repeated (row BIGINT, first BIGINT, same BOOLEAN)")
    good = count(engine, "FROM checked WHERE broken IS NULL")
    if count(engine, f"FROM (SELECT DISTINCT {key} FROM checked WHERE broken IS NULL)") < good:
        same = " AND ".join(f'r."{c.name}" IS NOT DISTINCT FROM f."{c.name}"' for c in table.columns)
        engine.execute(
            f"INSERT INTO repeated SELECT r.row, r.first, {same} FROM "
            f"(SELECT *, min(row) OVER (PARTITION BY {key}) AS first FROM checked WHERE broken IS NULL) r "
            "JOIN checked f ON f.row = r.first WHERE r.row > r.first"
        )
        says = "the key of an earlier row with other values"
        engine.execute(
            f"INSERT INTO bad SELECT row, {quoted(', '.join(table.key))}, {quoted(says)}, "
            "'the key of row ' || first || ' with other values' FROM repeated WHERE NOT same"
        )
    duplicates = count(engine, "FROM repeated WHERE same")

    quarantine = fetch(
        engine,
        f'SELECT {quoted(file)} AS file, row, "column", reason, raw FROM bad JOIN ({raw}) USING (row) '
        "WHERE row IN (SELECT row FROM bad) ORDER BY row",
        QUARANTINE,
    )
    reasons = dict(engine.execute("SELECT says, count(*) FROM bad GROUP BY says ORDER BY says").fetchall())
    rows = fetch(
        engine,
        f"SELECT {columns} FROM checked WHERE broken IS NULL AND row NOT IN (SELECT row FROM repeated) "
        f"ORDER BY {order}",
        schema,
    )
    return Checked(
        rows=rows,
        quarantine=with_malformed(quarantine, file, malformed),
        delivered=delivered,
        accepted=rows.num_rows,
        duplicates=duplicates,
        ignored=ignored,
        reasons=count_malformed(reasons, malformed),
    )


def count(engine: DuckDBPyConnection, sql: str) -> int:
    """Number of rows of a query that begins with ``FROM``."""
    [(rows,)] = engine.execute(f"SELECT count(*) {sql}").fetchall()
    return int(rows)


def fetch(engine: DuckDBPyConnection, sql: str, schema: pa.Schema) -> pa.Table:
    """Rows of a query as Arrow, in the given schema."""
    return engine.sql(sql).to_arrow_table().cast(schema)


def _naming(engine: DuckDBPyConnection, column: str, rule: int, says: str, known: Sequence[str]) -> str:
    """SQL for a reason that names the unknown value and suggests the nearest known one."""
    values = engine.execute(
        f'SELECT "{column}" FROM checked WHERE broken = {rule} GROUP BY ALL '
        f"ORDER BY count(*) DESC, 1 LIMIT {SUGGESTIONS}"
    ).fetchall()
    cases = "".join(
        f"WHEN {quoted(value)} THEN {quoted(f'{says} {value!r}. {did_you_mean(value, known)}')} " for (value,) in values
    )
    return f'CASE "{column}" {cases} ELSE {quoted(says)} END' if cases else quoted(says)


def with_malformed(quarantine: pa.Table, file: str, malformed: Sequence[Malformed]) -> pa.Table:
    """Quarantined rows and malformed records together, by row number."""
    if not malformed:
        return quarantine
    rows = [{"file": file, "row": m.row, "column": "", "reason": m.reason, "raw": m.raw} for m in malformed]
    return pa.concat_tables([quarantine, pa.Table.from_pylist(rows, QUARANTINE)]).sort_by("row")


def count_malformed(reasons: Mapping[str, int], malformed: Sequence[Malformed]) -> dict[str, int]:
    """``reasons`` with those of malformed records added."""
    counts = dict(reasons)
    for m in malformed:
        counts[m.reason] = counts.get(m.reason, 0) + 1
    return counts
