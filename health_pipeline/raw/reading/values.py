"""Delivered texts as values of a contract's types: SQL over the columns of a file.

What a file stores in the contract's own type is taken as it is; everything else is read as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from health_pipeline.catalog.model import SQL_TYPES, Catalog, Column, Table, TimeZones
from health_pipeline.raw.schema import contract_schema
from health_pipeline.storage.sql import literal

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
FITS = {
    "text": ("text", "bytes"), "date": ("date",), "timestamp": ("timestamp", "instant"), "boolean": ("boolean",),
    "integer": ("integer",), "number": ("number", "integer"),
}  # fmt: skip
"""Types of the contract and the ways of storing that are no news."""


@dataclass(frozen=True)
class Stored:
    """Where a column of the contract is in a delivered file.

    Attributes:
        sql: expression over a record of :class:`.contract.Delivery`.
        kind: how it is stored: a type of the contract, ``instant`` (a timestamp with a zone), ``bytes``, ``nested``, or
            anything else there is.
        nested: SQL that is true where the value is a list or an object.
    """

    sql: str
    kind: str = "text"
    nested: str = ""


ABSENT = Stored("CAST(NULL AS VARCHAR)")
FIRST, LAST = "TIMESTAMP '0001-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


def typed_rows(records: str, columns: Mapping[str, Stored], catalog: Catalog, table: Table) -> str:
    """SQL of delivered records with, of each column, ``<name> as text`` (NULL when empty) and ``<name>`` (typed).

    ``<name>`` is NULL where the text is not written as one of the column's type. A timestamp is ``<name> given`` with
    its offset, or ``<name> local``; either way ``<name> at`` is the instant.
    """
    stored = {c.name: columns.get(c.name, ABSENT) for c in table.columns}
    texts = [f'{_present(c, stored[c.name])} AS "{c.name} as text"' for c in table.columns]
    zones, typed, instants, moments = time_zones(catalog, table), [], [], []
    for c in table.columns:
        if c.type == "timestamp":
            given, local = _moment(c.name, stored[c.name].kind)
            typed += [f'{given} AS "{c.name} given"', f'{local} AS "{c.name} local"']
            instants.append(f'{_instant(c.name, zones)} AS "{c.name} at"')
            utc = f'make_timestamp(epoch_us("{c.name} at"))'  # timezone('UTC', …) is the same, and much slower
            moments.append(f'CASE WHEN {utc} BETWEEN {FIRST} AND {LAST} THEN {utc} END AS "{c.name}"')
        else:
            typed.append(f'{_typed(c, stored[c.name].kind)} AS "{c.name}"')
    sql = f"SELECT *, {', '.join(typed)} FROM (SELECT *, {', '.join(texts)} FROM ({records}))"
    if moments:
        sql = f"SELECT *, {', '.join(moments)} FROM (SELECT *, {', '.join(instants)} FROM ({sql}))"
    if "day" not in contract_schema(table).names:
        sql = f'SELECT *, CAST("{table.day}" AS DATE) AS "day" FROM ({sql})'
    return sql


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


def time_zones(catalog: Catalog, table: Table) -> TimeZones | None:
    """The ecosystem's time zones, if a column of the table tells which one a row is in."""
    zones = catalog.ecosystem.time_zones
    return zones if zones and any(c.name == zones.column for c in table.columns) else None


def in_zone(sql: str, zones: TimeZones) -> str:
    """SQL with ``{zone}`` filled in for the zone of each row; NULL in rows without one."""
    cases = " ".join(f"WHEN {literal(v)} THEN {sql.format(zone=literal(zone))}" for v, zone in zones.zones.items())
    return f'CASE CAST("{zones.column}" AS VARCHAR) {cases} END'


def _instant(name: str, zones: TimeZones | None) -> str:
    """SQL of a timestamp as an instant. Of a local time that comes twice, when clocks go back, it is the second."""
    local = f'"{name} local"'
    at = in_zone(f"timezone({{zone}}, {local})", zones) if zones else f"CAST({local} AS TIMESTAMPTZ)"
    return f'coalesce("{name} given", {at})'
