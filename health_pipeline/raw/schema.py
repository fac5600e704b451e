"""Columns of what raw holds: a table's rows as its contract has them, what is quarantined, and the deliveries."""

from __future__ import annotations

import pyarrow as pa

from health_pipeline.catalog.model import Column, Table
from health_pipeline.storage.columns import column

DELIVERIES = pa.schema(
    [
        column("day", pa.date32(), "UTC day"),
        column("table", pa.string(), "name of the table delivered"),
        column("unit", pa.string(), "a value of the delivering column"),
        column("finding", pa.string(), "complete, missing, empty, partial, backlog, settling, retired"),
        column(
            "incomplete_since", pa.date32(), "first day of the current stretch that is not complete; null when complete"
        ),
        column("volume", pa.float64(), "null when nothing was delivered"),
        column("expected", pa.float64(), "median of the last complete days; null while there are too few"),
        column("owed", pa.float64(), "volume expected during an outage and not delivered since"),
        column(
            "since", pa.int32(), "days since the outage's last missing or empty day; null when there was none lately"
        ),
        column("silent", pa.int32(), "days in a row without any delivery"),
        column("backlog_age", pa.int32(), "days since the last backlog of this outage; null when there was none"),
        column("recent", pa.list_(pa.float64()), "volumes of the last complete days, which tomorrow's judgement needs"),
    ]
)
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


def required(column: Column, table: Table) -> bool:
    """Whether every row needs a value of the column, as of the day, the delivering column and the version."""
    return column.required or column.name in (table.day, table.delivered_by, table.version)
