"""What tests of damaged deliveries share: a contract with all types of columns, a good row, and what becomes of a file.

Whatever becomes of it, nothing is lost: accepted + duplicates + quarantined = delivered. Every check here holds that.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from health_pipeline.catalog.model import Catalog, Ecosystem, Tables
from health_pipeline.errors import InputError
from health_pipeline.raw.schema import landed_schema, sort_order
from health_pipeline_tests.raw.outcome import Outcome, check_file

TODAY = dt.date(2027, 4, 1)
ECOSYSTEM = Ecosystem.model_validate(
    {
        "name": "little",
        "title": "Little",
        "description": "All types of columns, two time zones.",
        "start": "2026-07-01",
        "time_zones": {"column": "market", "zones": {"ID": "Asia/Jakarta", "NY": "America/New_York"}},
    }
)
INGESTED = {"name": "ingested_at", "type": "timestamp", "description": "when it arrived"}
DECLARED: list[dict[str, Any]] = [
    {
        "name": "sales",
        "key": ["sale_id"],
        "day": "sold_at",
        "delivered_by": "market",
        "version": "ingested_at",
        "lateness_days": 30,
        "columns": [
            {"name": "sale_id", "type": "text"},
            {"name": "market", "type": "text", "values": ["ID", "NY", "XX"]},
            {"name": "sold_at", "type": "timestamp"},
            {"name": "gmv", "type": "number", "minimum": 0, "maximum": 1e6},
            {"name": "items", "type": "integer", "minimum": 1},
            {"name": "gift", "type": "boolean", "required": False},
            {"name": "due", "type": "date", "required": False},
            {"name": "note", "type": "text", "required": False},
            INGESTED,
        ],
    },
    {
        "name": "daily",
        "key": ["day", "shop"],
        "day": "day",
        "delivered_by": "shop",
        "columns": [
            {"name": "day", "type": "date"},
            {"name": "shop", "type": "text"},
            {"name": "orders", "type": "integer", "minimum": 0},
            {"name": "mean", "type": "number", "required": False},
        ],
    },
    {
        "name": "plans",
        "key": ["plan_id"],
        "day": "day",
        "delivered_by": "market",
        "version": "ingested_at",
        "known_ahead": True,
        "columns": [
            {"name": "plan_id", "type": "text"},
            {"name": "market", "type": "text"},
            {"name": "day", "type": "date"},
            INGESTED,
        ],
    },
    {
        "name": "shops",
        "key": ["shop_id"],
        "day": "opened_on",
        "delivered_by": "market",
        "version": "ingested_at",
        "columns": [
            {"name": "shop_id", "type": "text"},
            {"name": "market", "type": "text"},
            {"name": "opened_on", "type": "date"},
            INGESTED,
        ],
    },
]
TABLES = Tables.model_validate(
    {
        "tables": [
            {"title": "", "description": "", **table}
            | {"columns": [{"description": ""} | column for column in table["columns"]]}
            for table in DECLARED
        ]
    }
).tables
CATALOG = Catalog(
    folder=Path(), ecosystem=ECOSYSTEM, tables=TABLES, dimensions=(), unit="market", segments=(), metrics=(),
    events=(), reach={},
)  # fmt: skip
SALES = CATALOG.table("sales")
COLUMNS = [c.name for c in SALES.columns]
GOOD = {
    "sale_id": "s", "market": "ID", "sold_at": "2027-03-01T12:00:00", "gmv": "12.5", "items": "2", "gift": "no",
    "due": "2027-03-09", "note": "", "ingested_at": "2027-03-01T06:00:00Z",
}  # fmt: skip
HEADER = ",".join(COLUMNS)
LINE = ",".join(GOOD.values())
TEXT = f"{HEADER}\n{LINE}\n".encode()
REQUIRED = "s 'sale_id', 'market', 'sold_at', 'gmv', 'items' and 'ingested_at'"
WHEN = "sold_at: not a date and time written like 2025-09-30T12:00:00Z"
DATE = "due: not a date written YYYY-MM-DD"
WHOLE = "items: not a whole number"
FINITE = "gmv: not a finite number"
BOOLEAN = "gift: none of true, t, yes, 1, false, f, no, 0"
NOWHERE = "sold_at: written without an offset, and the time zone of its market is not known"
LEFT_OUT = "sold_at: a local time that the clocks leave out"
NESTED = "a list or an object where one value belongs"
NO_QUOTES = "a quotation mark is not closed, or not doubled inside a quoted field"
KEPT, LOST = "kept", "lost"
"""The fates of a value, with its row."""
Expected = str | tuple[int, int, list[str]]
"""Of a file: the sentence with which it is refused, or accepted rows, repetitions, and reasons."""


def utc(*moment: int) -> dt.datetime:
    return dt.datetime(*moment)  # type: ignore[arg-type]


def accounted(checked: Outcome) -> Outcome:
    """Fails unless every row is accounted for, everywhere it is told."""
    assert checked.accepted + checked.duplicates + checked.quarantine.num_rows == checked.delivered
    assert checked.good.num_rows == checked.accepted == sum(sum(units.values()) for units in checked.days.values())
    assert sum(checked.reasons.values()) == checked.quarantine.num_rows
    return checked


def check(path: Path, table: str = "sales") -> Outcome:
    contract = CATALOG.table(table)
    checked = accounted(check_file(path, contract, CATALOG, TODAY))
    assert checked.good.schema == landed_schema(contract)
    assert checked.good.equals(checked.good.sort_by([(name, "ascending") for name in sort_order(contract)]))
    return checked


def check_bytes(folder: Path, name: str, content: bytes, table: str = "sales") -> Outcome:
    path = folder / name
    path.write_bytes(content)
    return check(path, table)


def csv_text(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def verdicts(checked: Outcome, ids: Sequence[str]) -> dict[str, Any]:
    """For each row of a file its reason, or, by identifier, the accepted row."""
    found: dict[str, Any] = {row["sale_id"]: row for row in checked.good.to_pylist()}
    for row in checked.quarantine.to_pylist():
        found[ids[row["row"] - 1]] = row["reason"]
    return found


def became(found: Any, column: str) -> tuple[str, Any]:
    """Of a value in a row of :func:`verdicts`: its fate, and what is kept of it or why its row is not."""
    return (LOST, found) if isinstance(found, str) else (KEPT, found[column])


def outcome(folder: Path, name: str, content: bytes) -> Expected:
    """The refusal's sentence, or accepted rows, repetitions, and reasons."""
    try:
        checked = check_bytes(folder, name, content)
    except InputError as error:
        assert error.hint
        return error.message
    return checked.accepted, checked.duplicates, checked.quarantine["reason"].to_pylist()
