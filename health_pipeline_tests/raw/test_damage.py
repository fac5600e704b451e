"""What becomes of every kind of damage: accepted, quarantined with its reason, dropped as a repetition, or refused.

Three parts: values (many rows in one file, each damaged in its own way), whole files, and damage nobody thought of
(hypothesis). In all of them nothing is lost: accepted + duplicates + quarantined = delivered.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.model import Catalog, Ecosystem, Tables
from health_pipeline.errors import InputError
from health_pipeline.raw.contract import landed_schema, sort_order
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
DECLARED = [
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
            | {"columns": [{"description": ""} | column for column in table["columns"]]}  # type: ignore[attr-defined]
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
WHEN = "sold_at: not a date and time written like 2025-09-30T12:00:00Z"
DATE = "due: not a date written YYYY-MM-DD"
WHOLE = "items: not a whole number"
FINITE = "gmv: not a finite number"
BOOLEAN = "gift: none of true, t, yes, 1, false, f, no, 0"
NOWHERE = "sold_at: written without an offset, and the time zone of its market is not known"
LEFT_OUT = "sold_at: a local time that the clocks leave out"
NESTED = "a list or an object where one value belongs"
NO_QUOTES = "a quotation mark is not closed, or not doubled inside a quoted field"


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


# --- Values of a CSV file: the column, what is written, and the reason or what is kept -------------------------------

KEPT, LOST = "kept", "lost"
VALUES: list[tuple[str, Any, str, Any]] = [
    # text
    ("note", "", KEPT, None),
    ("note", "   ", KEPT, "   "),
    ("note", " both sides ", KEPT, " both sides "),
    ("note", "comma, quote \" and 'single'", KEPT, "comma, quote \" and 'single'"),
    ("note", "two\nlines", KEPT, "two\nlines"),
    ("note", "two\r\nlines", KEPT, "two\r\nlines"),
    ("note", "\ttab", KEPT, "\ttab"),
    ("note", "NULL", KEPT, "NULL"),
    ("note", "=1+1", KEPT, "=1+1"),
    ("note", "back\\slash", KEPT, "back\\slash"),
    ("note", "Käse 价 🙂 עברית", KEPT, "Käse 价 🙂 עברית"),
    ("note", "e\u0301 is not \u00e9", KEPT, "e\u0301 is not \u00e9"),
    ("note", "zero\u200bwidth", KEPT, "zero\u200bwidth"),
    ("note", "x" * 100_000, KEPT, "x" * 100_000),
    # values from a list
    ("market", "", LOST, "market: empty"),
    ("market", "IDN", LOST, "market: unknown value 'IDN'. Did you mean 'ID'?"),
    ("market", "id", LOST, "market: unknown value 'id'. Known here: ID, NY, XX."),
    ("market", " ID", LOST, "market: unknown value ' ID'. Did you mean 'ID'?"),
    ("market", "ID,NY", LOST, "market: unknown value 'ID,NY'. Known here: ID, NY, XX."),
    ("market", "\u0406D", LOST, "market: unknown value '\u0406D'. Known here: ID, NY, XX."),
    ("market", "NULL", LOST, "market: unknown value 'NULL'. Known here: ID, NY, XX."),
    # whole numbers
    ("items", "", LOST, "items: empty"),
    ("items", "   ", LOST, "items: empty"),
    ("items", " 7 ", KEPT, 7),
    ("items", "007", KEPT, 7),
    ("items", "+7", KEPT, 7),
    ("items", "7.0", KEPT, 7),
    ("items", "7.", KEPT, 7),
    ("items", "9223372036854775807", KEPT, 9223372036854775807),
    ("items", "9223372036854775808", LOST, WHOLE),
    ("items", "99999999999999999999999999999999999999999", LOST, WHOLE),
    ("items", "two", LOST, WHOLE),
    ("items", "2.5", LOST, WHOLE),
    ("items", "7.0000001", LOST, WHOLE),
    ("items", "1e3", LOST, WHOLE),
    ("items", "1,000", LOST, WHOLE),
    ("items", "1 000", LOST, WHOLE),
    ("items", "1_000", LOST, WHOLE),
    ("items", "1'000", LOST, WHOLE),
    ("items", "0x10", LOST, WHOLE),
    ("items", "--5", LOST, WHOLE),
    ("items", "5-", LOST, WHOLE),
    ("items", "\u0663", LOST, WHOLE),
    ("items", "\uff17", LOST, WHOLE),
    ("items", "\u2212 7", LOST, WHOLE),
    ("items", "7\u00a0", KEPT, 7),
    ("items", "NaN", LOST, WHOLE),
    ("items", "null", LOST, WHOLE),
    ("items", "true", LOST, WHOLE),
    ("items", "7;", LOST, WHOLE),
    ("items", ".", LOST, WHOLE),
    ("items", "0", LOST, "items: below 1"),
    ("items", "-9223372036854775808", LOST, "items: below 1"),
    # numbers
    ("gmv", "", LOST, "gmv: empty"),
    ("gmv", "1e5", KEPT, 100_000.0),
    ("gmv", "1E+05", KEPT, 100_000.0),
    ("gmv", ".5", KEPT, 0.5),
    ("gmv", "5.", KEPT, 5.0),
    ("gmv", "-0", KEPT, 0.0),
    ("gmv", "1e-400", KEPT, 0.0),
    ("gmv", "0.1000000000000000055511151231257827", KEPT, 0.1),
    ("gmv", "1000000", KEPT, 1e6),
    ("gmv", "1000000.01", LOST, "gmv: above 1e+06"),
    ("gmv", "-0.01", LOST, "gmv: below 0"),
    ("gmv", "nan", LOST, FINITE),
    ("gmv", "inf", LOST, FINITE),
    ("gmv", "-Infinity", LOST, FINITE),
    ("gmv", "1e999", LOST, FINITE),
    ("gmv", "1,5", LOST, FINITE),
    ("gmv", "1.234,5", LOST, FINITE),
    ("gmv", "1.2.3", LOST, FINITE),
    ("gmv", "$5", LOST, FINITE),
    ("gmv", "5 USD", LOST, FINITE),
    ("gmv", "50%", LOST, FINITE),
    ("gmv", "0x1p3", LOST, FINITE),
    ("gmv", "1e", LOST, FINITE),
    ("gmv", "1d5", LOST, FINITE),
    ("gmv", "e5", LOST, FINITE),
    ("gmv", "n/a", LOST, FINITE),
    ("gmv", "#DIV/0!", LOST, FINITE),
    # booleans
    *(("gift", word, KEPT, True) for word in ("true", "T", "YES", "1", " True ")),
    *(("gift", word, KEPT, False) for word in ("false", "f", "No", "0", "fAlSe")),
    ("gift", "", KEPT, None),
    *(("gift", word, LOST, BOOLEAN) for word in ("maybe", "2", "y", "on", "-1", "true!", "ja", "1.0", "null")),
    # dates
    ("due", "", KEPT, None),
    ("due", " 2027-03-09 ", KEPT, dt.date(2027, 3, 9)),
    ("due", "2027-03-09 00:00:00", KEPT, dt.date(2027, 3, 9)),
    ("due", "2027-03-09T00:00:00.000Z", KEPT, dt.date(2027, 3, 9)),
    ("due", "2028-02-29", KEPT, dt.date(2028, 2, 29)),
    ("due", "0001-01-01", KEPT, dt.date(1, 1, 1)),
    ("due", "9999-12-31", KEPT, dt.date(9999, 12, 31)),
    *(
        ("due", text, LOST, DATE)
        for text in (
            "2027-02-29", "2027-13-01", "2027-00-10", "2027-03-32", "2027-03-00", "0000-00-00", "0000-01-01",
            "09/03/2027", "03/09/2027", "09.03.2027", "2027/03/09", "2027-3-9", "20270309", "27-03-09",
            "2027-03-09T12:00:00", "2027-03-09T00:00:00+07:00", "2027-W10-2", "2027-068", "tomorrow", "46455",
            "1804550400", "+2027-03-09", "12027-03-09", "infinity", "epoch", "9 March 2027", "2027-03-09 BC",
        )
    ),
    # instants; a day is that of UTC, and Jakarta is seven hours ahead
    ("sold_at", "", LOST, "sold_at: empty"),
    ("sold_at", "2027-03-01 12:00:00", KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", "2027-03-01T12:00", KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", " 2027-03-01T12:00 ", KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", "2027-03-01", KEPT, utc(2027, 2, 28, 17)),
    ("sold_at", "2027-03-01T12:00:00.5", KEPT, utc(2027, 3, 1, 5, 0, 0, 500_000)),
    ("sold_at", "2027-03-01T12:00:00.123456789", KEPT, utc(2027, 3, 1, 5, 0, 0, 123_456)),
    ("sold_at", "2027-03-01T12:00:00Z", KEPT, utc(2027, 3, 1, 12)),
    ("sold_at", "2027-03-01 12:00:00z", KEPT, utc(2027, 3, 1, 12)),
    ("sold_at", "2027-03-01T12:00:00+07", KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", "2027-03-01T12:00:00+0700", KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", "2027-03-01T12:00:00.25+07:00", KEPT, utc(2027, 3, 1, 5, 0, 0, 250_000)),
    ("sold_at", "2027-03-01T12:00-05:30", KEPT, utc(2027, 3, 1, 17, 30)),
    ("sold_at", "2027-03-01T12:00:00-00:00", KEPT, utc(2027, 3, 1, 12)),
    ("sold_at", "2027-03-01T24:00:00", KEPT, utc(2027, 3, 1, 17)),
    ("sold_at", "2027-03-01T06:59:59", KEPT, utc(2027, 2, 28, 23, 59, 59)),
    *(
        ("sold_at", text, LOST, WHEN)
        for text in (
            "2027-03-01T25:00:00", "2027-03-01T12:60:00", "2027-03-01T12:00:60", "2027-03-01T12", "12:00:00",
            "2027-02-30T12:00:00", "2027-03-01T12:00:00+24:00", "2027-03-01T12:00:00+07:60",
            "2027-03-01T12:00:00 UTC", "2027-03-01T12:00:00 Asia/Jakarta", "2027-03-01T12:00:00,5",
            "2027-03-01  12:00:00", "2027-03-01_12:00:00", "01.03.2027 12:00", "03/01/2027 12:00:00 PM",
            "Mon, 01 Mar 2027 12:00:00 GMT", "1804550400", "1804550400000", "46455.5", "20270301T120000Z",
            "2027-03-01T12:00:00++07:00", "2027-03-01T12:00:00Z+07:00", "0000-01-01T00:00:00", "now", "infinity",
        )
    ),
    ("sold_at", "2027-04-03T00:00:00Z", LOST, "sold_at: in the future"),
    ("sold_at", "9999-12-31T23:59:59-10:00", LOST, WHEN),
    ("sold_at", "2026-06-30T23:59:59Z", LOST, "sold_at: before 2026-07-01, when this ecosystem starts"),
    ("sold_at", "2026-07-01T06:59:59", LOST, "sold_at: before 2026-07-01, when this ecosystem starts"),
    # when it arrived
    ("ingested_at", "", LOST, "ingested_at: empty"),
    ("ingested_at", "yesterday", LOST, WHEN.replace("sold_at", "ingested_at")),
    ("ingested_at", "2027-03-01T13:00:00", KEPT, utc(2027, 3, 1, 6)),
    ("ingested_at", "2027-02-28T00:00:00Z", KEPT, utc(2027, 2, 28)),
    ("ingested_at", "2027-02-27T23:59:59Z", LOST, "ingested_at: more than a day before its day"),
    ("ingested_at", "2027-04-01T00:00:00Z", KEPT, utc(2027, 4, 1)),
    ("ingested_at", "2027-04-01T00:00:01Z", LOST, "ingested_at: arrived 31 days after its day; 30 are allowed"),
    ("ingested_at", "2027-04-17T12:00:00Z", LOST, "ingested_at: arrived 47 days after its day; 30 are allowed"),
    # identity
    ("sale_id", "", LOST, "sale_id: empty"),
]  # fmt: skip


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ids = [f"value {i}" for i in range(len(VALUES))]
    rows = [GOOD | {"sale_id": name, column: value} for name, (column, value, _, _) in zip(ids, VALUES, strict=True)]
    checked = check_bytes(tmp_path_factory.mktemp("values"), "sales.csv", csv_text(rows))
    assert checked.delivered == len(VALUES)
    return verdicts(checked, ids)


def named(column: str, value: str) -> str:
    text = value if len(value) < 40 else f"{value[:20]}…"
    return f"{column}={ascii(text)[1:-1]}"


@pytest.mark.parametrize(
    ("number", "column", "fate", "expected"),
    [pytest.param(i, c, fate, x, id=f"{i}-{named(c, v)}") for i, (c, v, fate, x) in enumerate(VALUES)],
)
def test_a_value_is_kept_or_its_row_quarantined(
    values: dict[str, Any], number: int, column: str, fate: str, expected: Any
) -> None:
    found = values[f"value {number}"]
    if fate == LOST:
        assert found == expected
    else:
        assert not isinstance(found, str), found
        assert found[column] == expected


ZONES = [
    ("NY", "2027-03-14T01:59:59", utc(2027, 3, 14, 6, 59, 59)),
    ("NY", "2027-03-14T02:30:00", LEFT_OUT),
    ("NY", "2027-03-14T02:30:00-05:00", utc(2027, 3, 14, 7, 30)),
    ("NY", "2027-03-14T03:00:00", utc(2027, 3, 14, 7)),
    ("ID", "2027-03-14T02:30:00", utc(2027, 3, 13, 19, 30)),
    ("NY", "2026-11-01T00:59:59", utc(2026, 11, 1, 4, 59, 59)),
    ("NY", "2026-11-01T01:30:00", utc(2026, 11, 1, 6, 30)),
    ("NY", "2026-11-01T01:30:00-04:00", utc(2026, 11, 1, 5, 30)),
    ("NY", "2027-03-31T20:00:00", utc(2027, 4, 1)),
    ("NY", "2027-04-02T19:59:59", utc(2027, 4, 2, 23, 59, 59)),
    ("NY", "2027-04-02T20:00:00", "sold_at: in the future"),
    ("ID", "2027-04-03T06:59:59", utc(2027, 4, 2, 23, 59, 59)),
    ("XX", "2027-03-01T12:00:00", NOWHERE),
    ("XX", "2027-03-01T12:00:00Z", utc(2027, 3, 1, 12)),
    ("XX", "nonsense", WHEN),
    ("ZZ", "2027-03-01T12:00:00", "market: unknown value 'ZZ'. Known here: ID, NY, XX."),
]


@pytest.mark.parametrize(("market", "written", "expected"), ZONES)
def test_a_time_without_an_offset_is_local_to_its_market(
    tmp_path: Path, market: str, written: str, expected: Any
) -> None:
    # it arrived at the moment itself, whatever that is
    row = GOOD | {"market": market, "sold_at": written, "ingested_at": "2027-03-14T12:00:00Z"}
    if isinstance(expected, dt.datetime):
        row["ingested_at"] = f"{min(expected, utc(2027, 4, 2)).isoformat()}Z"
    elif "future" in expected:
        row["ingested_at"] = "2027-04-02T23:00:00Z"
    found = verdicts(check_bytes(tmp_path, "sales.csv", csv_text([row])), ["s"])["s"]
    assert (found if isinstance(found, str) else found["sold_at"]) == expected
    if not isinstance(found, str):
        assert found["day"] == expected.date()


# --- Rows that say the same thing, or another, of the same key -------------------------------------------------------

LATER = {"ingested_at": "2027-03-02T06:00:00Z"}
CLASH = "same key and ingested_at as row {} with other values"
KEYS: list[tuple[str, list[dict[str, str]], int, int, list[str]]] = [
    ("an exact repetition", [{}, {}], 1, 1, []),
    ("repeated three times", [{}, {}, {}, {}], 1, 3, []),
    ("the same instant written otherwise", [{"sold_at": "2027-03-01T05:00:00Z"}, {}], 1, 1, []),
    ("the same number written otherwise", [{"gmv": "12.50"}, {"gmv": "1.25e1"}], 1, 1, []),
    ("minus zero", [{"gmv": "0"}, {"gmv": "-0.0"}], 1, 1, []),
    ("the same boolean written otherwise", [{"gift": "FALSE"}, {}], 1, 1, []),
    ("a later version", [{}, LATER | {"gmv": "13"}], 2, 0, []),
    ("a later version with the same values", [{}, LATER], 2, 0, []),
    ("versions in the wrong order", [LATER, {}], 2, 0, []),
    ("a version repeated", [{}, LATER, {}, LATER], 2, 2, []),
    ("the same key on another day", [{}, {"sold_at": "2027-02-20T12:00:00", "ingested_at": "2027-03-01T06:00:00Z"}],
     2, 0, []),
    ("the same key in another market", [{}, {"market": "XX", "sold_at": "2027-03-01T05:00:00Z"}], 1, 0,
     [CLASH.format(2)]),
    ("a contradiction", [{"gmv": "1"}, {"gmv": "2"}], 1, 0, [CLASH.format(2)]),
    ("a contradiction the other way round", [{"gmv": "2"}, {"gmv": "1"}], 1, 0, [CLASH.format(1)]),
    ("a contradiction by something missing", [{"due": ""}, {}], 1, 0, [CLASH.format(2)]),
    ("three contradictions", [{"note": "a"}, {"note": "c"}, {"note": "b"}], 1, 0, [CLASH.format(2)] * 2),
    ("a contradiction and repetitions of both", [{"gmv": "1"}, {"gmv": "2"}, {"gmv": "1"}, {"gmv": "2"}], 1, 1,
     [CLASH.format(2)] * 2),
    ("a contradiction with a bad row only", [{}, {"gmv": "x"}], 1, 0, [FINITE]),
    ("keys that differ by case", [{}, {"sale_id": "S"}], 2, 0, []),
    ("keys that differ by a blank", [{}, {"sale_id": "s "}], 2, 0, []),
    ("keys that look alike", [{"sale_id": "e\u0301"}, {"sale_id": "\u00e9"}], 2, 0, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "accepted", "duplicates", "reasons"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS]
)
def test_versions_are_kept_repetitions_dropped_and_contradictions_quarantined(
    tmp_path: Path, rows: list[dict[str, str]], accepted: int, duplicates: int, reasons: list[str]
) -> None:
    checked = check_bytes(tmp_path, "sales.csv", csv_text([GOOD | row for row in rows]))
    assert (checked.accepted, checked.duplicates) == (accepted, duplicates)
    assert checked.quarantine["reason"].to_pylist() == reasons


DAILY = "day,shop,orders,mean\n2027-03-01,a,5,1.5\n"
OTHERS: list[tuple[str, str, str, int, int, list[str]]] = [
    ("a day's result repeated", "daily", "2027-03-01,a,5,1.5\n", 1, 1, []),
    ("a day's result contradicted", "daily", "2027-03-01,a,6,1.5\n", 1, 0, ["the key of row 1 with other values"]),
    ("contradicted by something missing", "daily", "2027-03-01,a,5,\n", 1, 0, ["the key of row 1 with other values"]),
    ("a day's result before the start", "daily", "2026-06-30,a,5,\n", 1, 0,
     ["day: before 2026-07-01, when this ecosystem starts"]),
    ("a day's result of tomorrow", "daily", "2027-04-02,a,5,\n", 2, 0, []),
    ("a day's result in the future", "daily", "2027-04-03,a,5,\n", 1, 0, ["day: in the future"]),
    ("a plan for next year", "plans", "p,ID,2028-05-05,2027-03-01T00:00:00Z\n", 1, 0, []),
    ("a plan for a time too far away", "plans", "p,ID,2028-05-06,2027-03-01T00:00:00Z\n", 0, 0,
     ["day: more than 400 days ahead"]),
    ("a plan from before the start", "plans", "p,ID,2020-01-01,2027-03-01T00:00:00Z\n", 1, 0, []),
    ("a plan that arrived in the future", "plans", "p,ID,2027-05-05,2027-04-03T00:00:00Z\n", 0, 0,
     ["ingested_at: in the future"]),
    ("a shop that opened long ago", "shops", "x,ID,1999-01-01,2027-03-01T00:00:00Z\n", 1, 0, []),
    ("a shop of tomorrow", "shops", "x,ID,2027-04-02,2027-04-02T00:00:00Z\n", 1, 0, []),
    ("a shop that will open", "shops", "x,ID,2027-04-03,2027-04-02T00:00:00Z\n", 0, 0, ["opened_on: in the future"]),
    ("a shop known before it opened", "shops", "x,ID,2027-03-05,2027-03-01T00:00:00Z\n", 0, 0,
     ["ingested_at: more than a day before its day"]),
]  # fmt: skip
HEADERS = {
    "daily": DAILY,
    "plans": "plan_id,market,day,ingested_at\n",
    "shops": "shop_id,market,opened_on,ingested_at\n",
}


@pytest.mark.parametrize(
    ("table", "row", "accepted", "duplicates", "reasons"), [c[1:] for c in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_each_kind_of_table_has_its_own_days_and_repetitions(
    tmp_path: Path, table: str, row: str, accepted: int, duplicates: int, reasons: list[str]
) -> None:
    checked = check_bytes(tmp_path, f"{table}.csv", (HEADERS[table] + row).encode(), table)
    assert (checked.accepted, checked.duplicates) == (accepted, duplicates)
    assert checked.quarantine["reason"].to_pylist() == reasons


# --- CSV files as a whole --------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return sink.getvalue()


TEXT = f"{HEADER}\n{LINE}\n".encode()
OTHER = LINE.replace("s,", "t,", 1)
DROPPED = ",".join(GOOD[c] for c in COLUMNS if c != "gmv")
REQUIRED = "s 'sale_id', 'market', 'sold_at', 'gmv', 'items' and 'ingested_at'"
LACKS = "sales.csv lacks the column{}."
CSV_FILES: list[tuple[str, bytes, str | tuple[int, int, list[str]]]] = [
    # encodings
    ("a byte order mark", b"\xef\xbb\xbf" + TEXT, (1, 0, [])),
    ("UTF-16", TEXT.decode().encode("utf-16"), "sales.csv is text in UTF-16."),
    ("UTF-16 without a mark", TEXT.decode().encode("utf-16-le"), "sales.csv is not a text file."),
    ("UTF-32", TEXT.decode().encode("utf-32"), "sales.csv is text in UTF-16."),
    ("a row in Latin-1", TEXT + OTHER.replace("no", "é").encode("latin-1") + b"\n", (1, 0, ["not UTF-8 text"])),
    ("a header in Latin-1", TEXT.replace(b"note", b"n\xf6te"), "sales.csv has a header that is not UTF-8 text."),
    ("half a character", TEXT + OTHER.encode() + b"\xf0\x9f\n", (1, 0, ["not UTF-8 text"])),
    ("a surrogate", TEXT + OTHER.replace("no", "\ud800").encode("utf-8", "surrogatepass"), (1, 0, ["not UTF-8 text"])),
    ("a NUL in a text", csv_text([GOOD | {"note": "a\0b"}]), "sales.csv is not a text file."),
    ("zeros at the end", TEXT + b"\0" * 5000, "sales.csv is not a text file."),
    ("a spreadsheet", b"PK\x03\x04\x14\0\0\0", "sales.csv is not a text file."),
    ("a compressed file without saying so", gzip.compress(TEXT), "sales.csv is not a text file."),
    # lines
    ("nothing", b"", "sales.csv is empty."),
    ("blank lines only", b"\n\n\n", "sales.csv begins with an empty line."),
    ("a header only", f"{HEADER}\n".encode(), "sales.csv has a header and no rows."),
    ("a header and blank lines", f"{HEADER}\n\n\n".encode(), "sales.csv has a header and no rows."),
    ("no end of the last line", TEXT[:-1], (1, 0, [])),
    ("Windows' line ends", TEXT.replace(b"\n", b"\r\n"), (1, 0, [])),
    ("old Mac's line ends", TEXT.replace(b"\n", b"\r"), (1, 0, [])),
    ("mixed line ends", TEXT + OTHER.encode() + b"\r\n", (2, 0, [])),
    ("blank lines between rows", TEXT + b"\n\n" + OTHER.encode() + b"\n\n", (2, 0, [])),
    ("a line of blanks", TEXT + b"   \n", (1, 0, ["1 field where the header names 9"])),
    ("a line of commas", TEXT + b",,,,,,,,\n", (1, 0, ["market: empty"])),
    ("a comment", TEXT + b"# the end\n", (1, 0, ["1 field where the header names 9"])),
    ("a total", TEXT + b"total,,,12.5,2,,,,\n", (1, 0, ["market: empty"])),
    ("the header again", TEXT + TEXT, (1, 1, ["market: unknown value 'market'. Known here: ID, NY, XX."])),
    ("cut short in a row", TEXT + OTHER[:20].encode(), (1, 0, ["3 fields where the header names 9"])),
    ("cut short in the header", HEADER[:20].encode(), LACKS.format("s 'sold_at', 'gmv', 'items' and 'ingested_at'")),
    # fields
    ("a field too few", TEXT + OTHER.rpartition(",")[0].encode(), (1, 0, ["8 fields where the header names 9"])),
    ("two fields too many", TEXT + OTHER.encode() + b",x,y", (1, 0, ["11 fields where the header names 9"])),
    ("a comma at the end of a row", TEXT + OTHER.encode() + b",\n", (2, 0, [])),
    ("a comma in a number", TEXT + OTHER.replace("12.5", "12,5").encode(), 
     (1, 0, ["10 fields where the header names 9"])),
    ("all fields quoted", csv_text([GOOD]).replace(LINE.encode(), ('"' + LINE.replace(",", '","') + '"').encode()),
     (1, 0, [])),
    ("a quotation mark never closed", TEXT + b'"' + OTHER.encode() + b"\n" + LINE.replace("s,", "u,", 1).encode(),
     (2, 0, [NO_QUOTES])),
    ("a quotation mark within", TEXT + OTHER.replace("no", '"n"o').encode(), (1, 0, [NO_QUOTES])),
    ("a quotation mark in a bare field", TEXT + OTHER.replace("no", 'n"o').encode(), (1, 0, [BOOLEAN])),
    ("blanks around a quoted field", TEXT + OTHER.replace("no", ' "no" ').encode(), (2, 0, [])),
    ("single quotation marks", TEXT + OTHER.replace("no", "'no'").encode(), (1, 0, [BOOLEAN])),
    ("marks escaped by backslashes", TEXT + OTHER.replace(",,", r',"a \"b\"",').encode(), (2, 0, [])),
    ("a record as long as a file", TEXT + OTHER.replace(",,", f',"{"x" * (1 << 22)}",').encode(),
     (1, 0, ["longer than 1,048,576 bytes"])),
    ("a line break in a quoted field", TEXT + OTHER.replace(",,", ',"a\n\nb",').encode(), (2, 0, [])),
    # separators
    ("semicolons", TEXT.replace(b",", b";"), "sales.csv separates its columns by semicolons."),
    ("tabs", TEXT.replace(b",", b"\t"), "sales.csv separates its columns by tabs."),
    ("bars", TEXT.replace(b",", b"|"), LACKS.format(REQUIRED)),
    # columns
    ("no header", f"{LINE}\n".encode(), LACKS.format(REQUIRED)),
    ("a required column left out", csv_text([{k: v for k, v in GOOD.items() if k != "gmv"}],
                                            [c for c in COLUMNS if c != "gmv"]), LACKS.format(" 'gmv'")),
    ("the version left out", csv_text([], COLUMNS[:-1]), LACKS.format(" 'ingested_at'")),
    ("a column twice", TEXT.replace(b"note", b"gift"), "sales.csv has two columns named 'gift'."),
    ("a column in capitals", TEXT.replace(b"gmv", b"GMV"), LACKS.format(" 'gmv'")),
    ("a column renamed", TEXT.replace(b"sold_at", b"sold"), LACKS.format(" 'sold_at'")),
    ("blanks in the header", TEXT.replace(b",", b" , ", 8), (1, 0, [])),
    ("a quoted header", TEXT.replace(HEADER.encode(), ('"' + HEADER.replace(",", '","') + '"').encode()), (1, 0, [])),
    ("a broken quoted header", TEXT.replace(b"note", b'"note'), LACKS.format(" 'ingested_at'")),
    ("a column without a name", f"{HEADER},\n{LINE},\n".encode(), (1, 0, [])),
    ("an unknown column", f"{HEADER},x\n{LINE},1\n".encode(), (1, 0, [])),
    ("an unknown column twice", f"{HEADER},x,x\n{LINE},1,2\n".encode(), (1, 0, [])),
    ("columns in another order", csv_text([GOOD], COLUMNS[::-1]), (1, 0, [])),
    ("optional columns left out", csv_text([{k: v for k, v in GOOD.items() if k not in ("gift", "due", "note")}],
                                           [c for c in COLUMNS if c not in ("gift", "due", "note")]), (1, 0, [])),
]  # fmt: skip


def outcome(folder: Path, name: str, content: bytes) -> str | tuple[int, int, list[str]]:
    """The refusal's sentence, or accepted rows, repetitions, and reasons."""
    try:
        checked = check_bytes(folder, name, content)
    except InputError as error:
        assert error.hint
        return error.message
    return checked.accepted, checked.duplicates, checked.quarantine["reason"].to_pylist()


@pytest.mark.parametrize(("content", "expected"), [c[1:] for c in CSV_FILES], ids=[c[0] for c in CSV_FILES])
def test_a_damaged_csv_file_gives_what_it_can(
    tmp_path: Path, content: bytes, expected: str | tuple[int, int, list[str]]
) -> None:
    assert outcome(tmp_path, "sales.csv", content) == expected


PACKED = gzip.compress(TEXT)
ARCHIVES: list[tuple[str, str, bytes, str | tuple[int, int, list[str]]]] = [
    ("compressed", "sales.csv.gz", PACKED, (1, 0, [])),
    ("compressed in two members", "sales.csv.gz", PACKED + gzip.compress(OTHER.encode()), (2, 0, [])),
    ("compressed, named in capitals", "SALES.CSV.GZ", PACKED, (1, 0, [])),
    ("not compressed", "sales.csv.gz", TEXT, "sales.csv.gz can't be read: Not a gzipped file (b'sa')."),
    ("compressed twice", "sales.csv.gz", gzip.compress(PACKED), "sales.csv.gz is not a text file."),
    ("compressed and cut short", "sales.csv.gz", gzip.compress(TEXT * 2000)[:-400],
     "sales.csv.gz can't be read: Compressed file ended before the end-of-stream marker was reached."),
    ("compressed with a wrong checksum", "sales.csv.gz", PACKED[:-8] + b"\1\2\3\4" + PACKED[-4:],
     "sales.csv.gz can't be read: CRC check failed 0x4030201 != {crc}."),
    ("compressed nothing", "sales.csv.gz", gzip.compress(b""), "sales.csv.gz is empty."),
    ("an empty .gz", "sales.csv.gz", b"", "sales.csv.gz is empty."),
    ("an archive", "sales.zip", zipped(("a.csv", TEXT)), (1, 0, [])),
    ("an archive in an archive", "sales.zip", zipped(("a.zip", zipped(("b/c.CSV", TEXT)))), (1, 0, [])),
    ("an archive with notes and a Mac's litter", "sales.zip",
     zipped(("read.me", b"x"), ("a.csv", TEXT), ("__MACOSX/._a.csv", b"\0")), (1, 0, [])),
    ("an archive of two files", "sales.zip", zipped(("a.csv", TEXT), ("b.csv", TEXT)),
     "sales.zip/b.csv is not the only CSV file in its archive."),
    ("an archive without a CSV file", "sales.zip", zipped(("a.txt", TEXT)), "sales.zip holds no CSV file."),
    ("an archive of nothing", "sales.zip", zipped(), "sales.zip holds no CSV file."),
    ("an archive with an empty file", "sales.zip", zipped(("a.csv", b"")), "sales.zip/a.csv is empty."),
    ("an archive cut short", "sales.zip", zipped(("a.csv", TEXT))[:-30],
     "sales.zip can't be unpacked: File is not a zip file."),
    ("an archive with a damaged file", "sales.zip", zipped(("a.csv", TEXT)).replace(b"Jakarta", b"J", 1)[:40] + b"x",
     "sales.zip can't be unpacked: File is not a zip file."),
    ("an archive whose file was changed", "sales.zip", zipped(("a.csv", TEXT)).replace(b",12.5,", b",12.6,", 1),
     "sales.zip can't be unpacked: Bad CRC-32 for file 'a.csv'."),
    ("a damaged archive in an archive", "sales.zip", zipped(("a.zip", b"PK")),
     "sales.zip/a.zip can't be unpacked: File is not a zip file."),
    ("an archive that is none", "sales.zip", TEXT, "sales.zip can't be unpacked: File is not a zip file."),
    ("a spreadsheet by name", "sales.xlsx", TEXT, "sales.xlsx is neither Parquet, CSV nor lines of JSON."),
    ("no extension", "sales", TEXT, "sales is neither Parquet, CSV nor lines of JSON."),
    ("plain JSON", "sales.json", b"{}", "sales.json is neither Parquet, CSV nor lines of JSON."),
    ("another compression", "sales.csv.bz2", TEXT, "sales.csv.bz2 is neither Parquet, CSV nor lines of JSON."),
    ("a name with a pattern in it", "sales[1]*?.csv", TEXT, (1, 0, [])),
    ("a name with a quotation mark in it", "sales 'new'.csv", TEXT, (1, 0, [])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), [c[1:] for c in ARCHIVES], ids=[c[0] for c in ARCHIVES])
def test_a_damaged_archive_gives_what_it_can(
    tmp_path: Path, name: str, content: bytes, expected: str | tuple[int, int, list[str]]
) -> None:
    if isinstance(expected, str) and "{crc}" in expected:
        expected = expected.format(crc=hex(int.from_bytes(PACKED[-8:-4], "little")))
    assert outcome(tmp_path, name, content) == expected


# --- JSON lines ------------------------------------------------------------------------------------------------------

OBJECT: dict[str, Any] = GOOD | {"gmv": 12.5, "items": 2, "gift": False, "note": None}
JSON_VALUES: list[tuple[str, str, str, Any]] = [
    ("note", '"caf\\u00e9"', KEPT, "café"),
    ("note", '"\\ud83d\\ude42"', KEPT, "🙂"),
    ("note", '""', KEPT, None),
    ("note", "null", KEPT, None),
    ("note", '"null"', KEPT, "null"),
    ("note", '"say \\"hi\\", \\\\ and \\n"', KEPT, 'say "hi", \\ and \n'),
    ("note", "12", KEPT, "12"),
    ("note", "true", KEPT, "true"),
    ("note", '["a", "b"]', LOST, f"note: {NESTED}"),
    ("note", "[]", LOST, f"note: {NESTED}"),
    ("note", '{"a": 1}', LOST, f"note: {NESTED}"),
    ("note", '"{}"', KEPT, "{}"),
    ("gmv", '"13.5"', KEPT, 13.5),
    ("gmv", "13", KEPT, 13.0),
    ("gmv", "1.35e1", KEPT, 13.5),
    ("gmv", "[12.5]", LOST, f"gmv: {NESTED}"),
    ("gmv", "null", LOST, "gmv: empty"),
    ("gmv", "true", LOST, FINITE),
    ("gmv", "1e400", LOST, FINITE),
    ("gmv", "NaN", LOST, FINITE),
    ("gmv", "-1", LOST, "gmv: below 0"),
    ("items", "2.0", KEPT, 2),
    ("items", '"3"', KEPT, 3),
    ("items", "2.5", LOST, WHOLE),
    ("items", "12345678901234567890", LOST, WHOLE),
    ("items", "123456789012345678901234567890", LOST, WHOLE),
    ("items", "-3", LOST, "items: below 1"),
    ("gift", "true", KEPT, True),
    ("gift", "1", KEPT, True),
    ("gift", '"no"', KEPT, False),
    ("gift", "2", LOST, BOOLEAN),
    ("due", "20270309", LOST, DATE),
    ("due", '"2027-03-10"', KEPT, dt.date(2027, 3, 10)),
    ("sold_at", "1804550400", LOST, WHEN),
    ("sold_at", '"2027-03-01T12:00:00+07:00"', KEPT, utc(2027, 3, 1, 5)),
    ("sold_at", '{"$date": "2027-03-01T12:00:00Z"}', LOST, f"sold_at: {NESTED}"),
    ("market", '"id"', LOST, "market: unknown value 'id'. Known here: ID, NY, XX."),
    ("market", "7", LOST, "market: unknown value '7'. Known here: ID, NY, XX."),
]


@pytest.fixture(scope="module")
def json_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    ids = [f"value {i}" for i in range(len(JSON_VALUES))]
    lines = []
    for name, (column, value, _, _) in zip(ids, JSON_VALUES, strict=True):
        fields = {key: json.dumps(v) for key, v in (OBJECT | {"sale_id": name}).items()} | {column: value}
        lines.append("{" + ", ".join(f'"{key}": {v}' for key, v in fields.items()) + "}")
    checked = check_bytes(tmp_path_factory.mktemp("json"), "sales.jsonl", "\n".join(lines).encode())
    return verdicts(checked, ids)


@pytest.mark.parametrize(
    ("number", "column", "fate", "expected"),
    [pytest.param(i, c, fate, x, id=f"{i}-{c}={v}") for i, (c, v, fate, x) in enumerate(JSON_VALUES)],
)
def test_a_json_value_is_kept_or_its_row_quarantined(
    json_values: dict[str, Any], number: int, column: str, fate: str, expected: Any
) -> None:
    found = json_values[f"value {number}"]
    if fate == LOST:
        assert found == expected
    else:
        assert not isinstance(found, str), found
        assert found[column] == expected


J = json.dumps(OBJECT).encode()
K = json.dumps(OBJECT | {"sale_id": "t"}).encode()
BROKEN, NO_OBJECT = "not valid JSON", "not a JSON object"
JSON_FILES: list[tuple[str, str, bytes, str | tuple[int, int, list[str]]]] = [
    ("one object per line", "sales.jsonl", J + b"\n" + K + b"\n", (2, 0, [])),
    ("by its other name", "sales.ndjson", J, (1, 0, [])),
    ("compressed", "sales.jsonl.gz", gzip.compress(J), (1, 0, [])),
    ("compressed and cut short", "sales.ndjson.gz", gzip.compress(J * 1000)[:-60],
     "sales.ndjson.gz can't be read: Compressed file ended before the end-of-stream marker was reached."),
    ("not compressed", "sales.jsonl.gz", J, "sales.jsonl.gz can't be read: Not a gzipped file (b'{\"')."),
    ("blank lines", "sales.jsonl", b"\n" + J + b"\n\n \t\n" + K + b"\n\n", (2, 0, [])),
    ("Windows' line ends", "sales.jsonl", J + b"\r\n" + K + b"\r\n", (2, 0, [])),
    ("mixed line ends", "sales.jsonl", J + b"\r\n" + K + b"\n", (2, 0, [])),
    ("a byte order mark", "sales.jsonl", b"\xef\xbb\xbf" + J + b"\n" + K, (2, 0, [])),
    ("a byte order mark and a broken line", "sales.jsonl", b"\xef\xbb\xbf" + J + b"\r\n{\n" + K, (2, 0, [BROKEN])),
    ("a repetition", "sales.jsonl", J + b"\n" + J, (1, 1, [])),
    ("a repetition with its keys in another order", "sales.jsonl",
     J + b"\n" + json.dumps(dict(reversed(OBJECT.items()))).encode(), (1, 1, [])),
    ("cut short", "sales.jsonl", J + b"\n" + K[:40], (1, 0, [BROKEN])),
    ("two objects on a line", "sales.jsonl", J + b"\n" + J + K, (1, 0, [BROKEN])),
    ("a comma after each", "sales.jsonl", J + b"\n" + K + b",", (1, 0, [BROKEN])),
    ("single quotation marks", "sales.jsonl", J + b"\n" + K.replace(b'"', b"'"), (1, 0, [BROKEN])),
    ("keys without quotation marks", "sales.jsonl", J + b"\n{sale_id: 1}", (1, 0, [BROKEN])),
    ("a comment", "sales.jsonl", J + b"\n// " + K, (1, 0, [BROKEN])),
    ("a tab in a text", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\t"'), (1, 0, [BROKEN])),
    ("a control character in a text", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\1"'), (1, 0, [BROKEN])),
    ("half a surrogate pair", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\\ud83d"'), (1, 0, [BROKEN])),
    ("not UTF-8", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"\xff"'), (1, 0, ["not UTF-8 text"])),
    ("a list", "sales.jsonl", J + b"\n[1, 2]", (1, 0, [NO_OBJECT])),
    ("a number", "sales.jsonl", J + b"\n12", (1, 0, [NO_OBJECT])),
    ("a text", "sales.jsonl", J + b'\n"x"', (1, 0, [NO_OBJECT])),
    ("null", "sales.jsonl", J + b"\nnull", (1, 0, [NO_OBJECT])),
    ("an empty object", "sales.jsonl", J + b"\n{}", (1, 0, ["market: empty"])),
    ("a key left out", "sales.jsonl", J + b"\n" + K.replace(b'"gmv"', b'"gmw"'), (1, 0, ["gmv: empty"])),
    ("an optional key left out", "sales.jsonl", J + b"\n" + K.replace(b'"note"', b'"nota"'), (2, 0, [])),
    ("a key twice", "sales.jsonl", J + b"\n" + K.replace(b"{", b'{"gmv": 1, ', 1), (2, 0, [])),
    ("a key of another table, nested", "sales.jsonl",
     J + b"\n" + K.replace(b"{", b'{"x": {"gmv": [1]}, ', 1), (2, 0, [])),
    ("a very long line", "sales.jsonl", J + b"\n" + K.replace(b"null", b'"' + b"x" * (1 << 21) + b'"'),
     (1, 0, ["longer than 1,048,576 bytes"])),
    ("a deeply nested line", "sales.jsonl", J + b"\n" + b"[" * 5000 + b"]" * 5000, (1, 0, [NO_OBJECT])),
    ("one array", "sales.jsonl", b"[" + J + b"," + K + b"]", "sales.jsonl is one JSON array, not one object per line."),
    ("one array, indented", "sales.jsonl", json.dumps([OBJECT], indent=1).encode(),
     "sales.jsonl is one JSON array, not one object per line."),
    ("one object, indented", "sales.jsonl", json.dumps(OBJECT, indent=1).encode(), "sales.jsonl holds no JSON object."),
    ("a CSV file", "sales.jsonl", TEXT, "sales.jsonl holds no JSON object."),
    ("nothing", "sales.jsonl", b"", "sales.jsonl is empty."),
    ("blank lines only", "sales.jsonl", b"\n \n", "sales.jsonl holds no JSON object."),
    ("UTF-16", "sales.jsonl", J.decode().encode("utf-16"), "sales.jsonl is text in UTF-16."),
    ("a required key nowhere", "sales.jsonl", J.replace(b'"gmv"', b'"GMV"'), "sales.jsonl lacks the column 'gmv'."),
    ("rows within another object", "sales.jsonl", b'{"rows": [' + J + b"]}",
     f"sales.jsonl lacks the column{REQUIRED}."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), [c[1:] for c in JSON_FILES], ids=[c[0] for c in JSON_FILES])
def test_a_damaged_file_of_json_lines_gives_what_it_can(
    tmp_path: Path, name: str, content: bytes, expected: str | tuple[int, int, list[str]]
) -> None:
    assert outcome(tmp_path, name, content) == expected


# --- Parquet ---------------------------------------------------------------------------------------------------------

MOMENT = utc(2027, 3, 1, 12)
NATIVE: dict[str, Any] = {
    "sale_id": "s", "market": "ID", "sold_at": MOMENT, "gmv": 12.5, "items": 2, "gift": False,
    "due": dt.date(2027, 3, 9), "note": None, "ingested_at": utc(2027, 3, 1, 6),
}  # fmt: skip
TYPES = {
    "sale_id": pa.string(), "market": pa.string(), "sold_at": pa.timestamp("us"), "gmv": pa.float64(),
    "items": pa.int64(), "gift": pa.bool_(), "due": pa.date32(), "note": pa.string(),
    "ingested_at": pa.timestamp("us", "UTC"),
}  # fmt: skip
US = "America/New_York"
PARQUET_TYPES: list[tuple[str, pa.DataType, Any, Any, str]] = [
    # column, stored as, value, what is kept or the reason, what is called (else "")
    ("items", pa.int8(), 2, 2, ""),
    ("items", pa.uint16(), 2, 2, ""),
    ("items", pa.uint64(), 2**63, WHOLE, ""),
    ("items", pa.float64(), 2.0, 2, "number"),
    ("items", pa.float64(), 2.5, WHOLE, "number"),
    ("items", pa.float64(), float("nan"), WHOLE, "number"),
    ("items", pa.float64(), 1e300, WHOLE, "number"),
    ("items", pa.decimal128(10, 2), Decimal("2.00"), 2, "number"),
    ("items", pa.string(), " 2 ", 2, "text"),
    ("items", pa.string(), "two", WHOLE, "text"),
    ("items", pa.bool_(), True, WHOLE, "boolean"),
    ("items", pa.null(), None, "items: empty", ""),
    ("items", pa.list_(pa.int64()), [2], f"items: {NESTED}", "a list or an object"),
    ("gmv", pa.float32(), 0.5, 0.5, ""),
    ("gmv", pa.int32(), 7, 7.0, ""),
    ("gmv", pa.decimal128(12, 4), Decimal("12.3456"), 12.3456, ""),
    ("gmv", pa.float64(), float("nan"), FINITE, ""),
    ("gmv", pa.float64(), float("inf"), FINITE, ""),
    ("gmv", pa.float64(), -0.5, "gmv: below 0", ""),
    ("gmv", pa.string(), "12.5", 12.5, "text"),
    ("gmv", pa.string(), "12,5", FINITE, "text"),
    ("gmv", pa.string(), "", "gmv: empty", "text"),
    ("gift", pa.int8(), 1, True, "integer"),
    ("gift", pa.int8(), 2, BOOLEAN, "integer"),
    ("gift", pa.string(), "Yes", True, "text"),
    ("gift", pa.float64(), 1.0, BOOLEAN, "number"),
    ("due", pa.date64(), dt.date(2027, 3, 9), dt.date(2027, 3, 9), ""),
    ("due", pa.timestamp("ms"), utc(2027, 3, 9), dt.date(2027, 3, 9), "timestamp"),
    ("due", pa.timestamp("ms"), MOMENT, DATE, "timestamp"),
    ("due", pa.timestamp("us", US), dt.datetime(2027, 3, 9, tzinfo=dt.UTC), dt.date(2027, 3, 9), "timestamp"),
    ("due", pa.string(), "2027-03-09", dt.date(2027, 3, 9), "text"),
    ("due", pa.int32(), 20270309, DATE, "integer"),
    ("due", pa.date32(), dt.date(9999, 12, 31), dt.date(9999, 12, 31), ""),
    ("sold_at", pa.timestamp("s"), MOMENT, utc(2027, 3, 1, 5), ""),
    ("sold_at", pa.timestamp("ms"), MOMENT, utc(2027, 3, 1, 5), ""),
    ("sold_at", pa.timestamp("ns"), MOMENT, utc(2027, 3, 1, 5), ""),
    ("sold_at", pa.timestamp("us", "UTC"), MOMENT.replace(tzinfo=dt.UTC), MOMENT, ""),
    ("sold_at", pa.timestamp("ms", US), MOMENT.replace(tzinfo=dt.UTC), MOMENT, ""),
    ("sold_at", pa.date32(), dt.date(2027, 3, 1), utc(2027, 2, 28, 17), "date"),
    ("sold_at", pa.string(), "2027-03-01T12:00:00+07:00", utc(2027, 3, 1, 5), "text"),
    ("sold_at", pa.string(), "1.3.2027", WHEN, "text"),
    ("sold_at", pa.int64(), 1804550400, WHEN, "integer"),
    ("sold_at", pa.time64("us"), dt.time(12), WHEN, "time"),
    ("sold_at", pa.null(), None, "sold_at: empty", ""),
    ("note", pa.large_string(), "x", "x", ""),
    ("note", pa.dictionary(pa.int8(), pa.string()), "x", "x", ""),
    ("note", pa.binary(), b"caf\xc3\xa9", "café", ""),
    ("note", pa.binary(), b"caf\xe9", "note: not UTF-8 text", ""),
    ("note", pa.binary(3), b"abc", "abc", ""),
    ("note", pa.string(), "", None, ""),
    ("note", pa.string(), "a\0b", "a\0b", ""),
    ("note", pa.int64(), 7, "7", "integer"),
    ("note", pa.bool_(), True, "true", "boolean"),
    ("note", pa.null(), None, None, ""),
    ("note", pa.list_(pa.string()), ["a"], f"note: {NESTED}", "a list or an object"),
    ("note", pa.list_(pa.string()), None, None, "a list or an object"),
    ("note", pa.struct([("a", pa.int64())]), {"a": 1}, f"note: {NESTED}", "a list or an object"),
    ("note", pa.map_(pa.string(), pa.int64()), [("a", 1)], f"note: {NESTED}", "a list or an object"),
    ("market", pa.int64(), 7, "market: unknown value '7'. Known here: ID, NY, XX.", "integer"),
    ("market", pa.dictionary(pa.int32(), pa.string()), "ID", "ID", ""),
]


def native(rows: int = 1, **changes: tuple[pa.DataType, Any]) -> pa.Table:
    """Good rows in Parquet's own types, with a column in another."""
    columns = {}
    for name, kind in TYPES.items():
        stored, value = changes.get(name, (kind, NATIVE[name]))
        listed = [f"{value}{i}" if name == "sale_id" and i else value for i in range(rows)]
        columns[name] = pa.array(listed, stored)
    return pa.table(columns)


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("column", "kind", "value", "expected", "called"),
    [pytest.param(*case, id=f"{i}-{case[0]} as {case[1]}") for i, case in enumerate(PARQUET_TYPES)],
)
def test_parquet_in_other_types_is_read_all_the_same_and_said(
    tmp_path: Path, column: str, kind: pa.DataType, value: Any, expected: Any, called: str
) -> None:
    checked = check_bytes(tmp_path, "sales.parquet", parquet(native(**{column: (kind, value)})))
    [found] = verdicts(checked, ["s"]).values()
    lost = isinstance(expected, str) and expected.startswith(f"{column}: ")
    assert (found if isinstance(found, str) else found[column]) == expected, found
    assert isinstance(found, str) == lost
    says = f"{column} is {called} here; the contract says {SALES.column(column).type}."
    assert checked.drift == ((says,) if called else ())


def test_parquet_without_a_pandas_type_for_missing_numbers_is_said_once(tmp_path: Path) -> None:
    two = pa.concat_tables([native(items=(pa.float64(), 2.0)), native(items=(pa.float64(), None))])
    checked = check_bytes(tmp_path, "sales.parquet", parquet(two))
    assert checked.quarantine["reason"].to_pylist() == ["items: empty"]
    assert checked.drift == ("items is number here; the contract says integer.",)


UNREADABLE = "sales.parquet can't be read as Parquet."
WHOLE_PARQUET = parquet(native(300))
PARQUET_FILES: list[tuple[str, bytes, str | tuple[int, int, list[str]]]] = [
    *((f"compressed by {way}", parquet(native(3), compression=way), (3, 0, []))
      for way in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")),
    ("many row groups", parquet(native(30), row_group_size=1), (30, 0, [])),
    ("version 1.0", parquet(native(3), version="1.0"), (3, 0, [])),
    ("timestamps as Impala writes them", parquet(native(3), use_deprecated_int96_timestamps=True), (3, 0, [])),
    ("a repetition", parquet(pa.concat_tables([native(), native()])), (1, 1, [])),
    ("no rows", parquet(native().slice(0, 0)), "sales.parquet has a header and no rows."),
    ("no columns", parquet(pa.table({})),
     f"sales.parquet lacks the column{REQUIRED}."),
    ("nothing", b"", UNREADABLE),
    ("a CSV file", TEXT, UNREADABLE),
    ("cut short", WHOLE_PARQUET[:-100], UNREADABLE),
    ("cut short at its beginning", WHOLE_PARQUET[100:], UNREADABLE),
    ("damaged pages", WHOLE_PARQUET[:4] + b"\xff" * 400 + WHOLE_PARQUET[404:], UNREADABLE),
    ("damaged at its end", WHOLE_PARQUET[:-60] + b"\xff" * 50 + WHOLE_PARQUET[-10:], UNREADABLE),
    ("names that are not UTF-8", WHOLE_PARQUET.replace(b"note", b"n\xffte"), UNREADABLE),
    ("encrypted", WHOLE_PARQUET[:-4] + b"PARE", UNREADABLE),
    ("a text that is not UTF-8", parquet(native().set_column(7, "note", pa.StringArray.from_buffers(
        1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")))), UNREADABLE),
    ("an optional column left out", parquet(native().drop_columns(["note"])), (1, 0, [])),
    ("a required column left out", parquet(native().drop_columns(["gmv"])), "sales.parquet lacks the column 'gmv'."),
    ("a column in capitals", parquet(native().rename_columns([c.replace("gmv", "GMV") for c in COLUMNS])),
     "sales.parquet lacks the column 'gmv'."),
    ("a column twice", parquet(native().append_column("gmv", pa.array([1.0]))),
     "sales.parquet has two columns named 'gmv'."),
    ("a column and the same in capitals", parquet(native().append_column("GMV", pa.array([-1.0]))), (1, 0, [])),
    ("an unknown nested column", parquet(native().append_column("x", pa.array([{"a": [1]}]))), (1, 0, [])),
    ("an unknown column without a name", parquet(native().append_column("", pa.array([1]))), (1, 0, [])),
    ("columns in another order", parquet(native().select(COLUMNS[::-1])), (1, 0, [])),
]  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), [c[1:] for c in PARQUET_FILES], ids=[c[0] for c in PARQUET_FILES])
def test_a_damaged_parquet_file_gives_what_it_can(
    tmp_path: Path, content: bytes, expected: str | tuple[int, int, list[str]]
) -> None:
    assert outcome(tmp_path, "sales.parquet", content) == expected


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "market=NY" / "note=x"
    folder.mkdir(parents=True)
    assert check_bytes(folder, "sales.parquet", parquet(native())).good["market"].to_pylist() == ["ID"]
    assert check_bytes(folder, "sales.csv", TEXT).good["note"].to_pylist() == [None]


# --- Whatever else ---------------------------------------------------------------------------------------------------

PIECES = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\xff",
    b"\0",
    b"-",
    b"9",
    b"Z",
    b"T",
    b"\\",
    b'",',
    b"{",
    b"}",
    b"[",
    b":",
    b" ",
    b"e",
]
DAMAGES = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(PIECES), st.booleans()), max_size=8)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "sale_id": st.sampled_from(["a", "b", ""]),
        "market": st.sampled_from(["NY", "XX", "QQ"]),
        "gmv": st.sampled_from(["0", "1e5", "x", "-1"]),
        "sold_at": st.sampled_from(["2027-03-14T02:30:00", "2027-03-01T05:00:00Z", "2027-02-01", "?"]),
        "note": st.sampled_from(["a, b", 'c "d"', "e\nf"]),
        "ingested_at": st.sampled_from(["2027-03-02T06:00:00Z", "2027-03-30T06:00:00+07:00", ""]),
    },
)
ROWS = st.lists(CHANGES.map(lambda changes: GOOD | changes), min_size=1, max_size=10)


def damaged(body: bytes, damages: Sequence[tuple[int, bytes, bool]]) -> bytes:
    for place, piece, instead in damages:
        place %= len(body)
        body = body[:place] + piece + body[place + instead :]
    return body


def check_somewhere(name: str, content: bytes) -> Outcome | None:
    """What was found in a file; nothing if it was refused as a whole, with a sentence that says what to do."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return check_bytes(Path(folder), name, content)
        except InputError as error:
            assert error.hint
            return None


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, damages=DAMAGES)
def test_however_a_csv_file_is_damaged_no_row_is_lost(rows: list[dict[str, str]], damages: Any) -> None:
    header, _, body = csv_text(rows).partition(b"\n")
    checked = check_somewhere("sales.csv", header + b"\n" + damaged(body, damages))
    assert damages or (checked is not None and checked.delivered == len(rows))


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, damages=DAMAGES)
def test_however_a_file_of_json_lines_is_damaged_no_line_is_lost(rows: list[dict[str, str]], damages: Any) -> None:
    content = damaged("".join(json.dumps(row) + "\n" for row in rows).encode(), damages)
    checked = check_somewhere("sales.jsonl", content)
    if checked is not None:
        assert checked.delivered == sum(1 for line in content.split(b"\n") if line.strip(b" \t\r"))
    else:
        assert damages


@settings(max_examples=10, deadline=None)
@given(place=st.floats(0, 1), size=st.integers(1, 200), fill=st.binary(min_size=1, max_size=1))
def test_however_a_parquet_file_is_damaged_it_is_read_or_refused(place: float, size: int, fill: bytes) -> None:
    start = int(place * (len(WHOLE_PARQUET) - size))
    checked = check_somewhere("sales.parquet", WHOLE_PARQUET[:start] + fill * size + WHOLE_PARQUET[start + size :])
    if checked is not None:
        assert checked.accepted + checked.duplicates + sum(checked.reasons.values()) == checked.delivered


@settings(max_examples=15, deadline=None)
@given(rows=ROWS, data=st.data())
def test_rows_in_any_order_are_the_same_rows(rows: list[dict[str, str]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    one, other = (check_somewhere("sales.csv", csv_text(some)) for some in (rows, shuffled))
    assert one is not None
    assert other is not None
    assert one.good.equals(other.good)
    assert (one.accepted, one.duplicates, one.reasons) == (other.accepted, other.duplicates, other.reasons)


@settings(max_examples=10, deadline=None)
@given(rows=ROWS)
def test_the_same_rows_are_the_same_in_every_format(rows: list[dict[str, str]]) -> None:
    texts = pa.table({name: [row[name] for row in rows] for name in COLUMNS})
    found = [
        check_somewhere("sales.csv", csv_text(rows)),
        check_somewhere("sales.csv", csv_text(rows) + b"short\n"),  # by the precise reader
        check_somewhere("sales.jsonl", "\n".join(map(json.dumps, rows)).encode()),
        check_somewhere("sales.parquet", parquet(texts)),
    ]
    for checked in found:
        assert checked is not None
        assert found[0] is not None
        assert checked.good.equals(found[0].good)
        assert checked.duplicates == found[0].duplicates


def test_the_catalogue_of_damage_is_long_and_nothing_is_in_it_twice() -> None:
    kinds = [
        *((c, v) for c, v, _, _ in VALUES), *((m, w) for m, w, _ in ZONES), *(c[0] for c in KEYS + OTHERS + CSV_FILES),
        *(("archive", c[0]) for c in ARCHIVES), *(("json", c, v) for c, v, _, _ in JSON_VALUES),
        *(("json", c[0]) for c in JSON_FILES), *(("parquet", c, str(k), str(v)) for c, k, v, _, _ in PARQUET_TYPES),
        *(("parquet", c[0]) for c in PARQUET_FILES),
    ]  # fmt: skip
    assert len(kinds) == len(set(kinds)) > 400
