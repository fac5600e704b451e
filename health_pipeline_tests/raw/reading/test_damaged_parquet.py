"""What becomes of Parquet files in other types than the contract's, and of damaged ones."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline_tests.raw.damage import (
    BOOLEAN,
    COLUMNS,
    DATE,
    FINITE,
    KEPT,
    LOST,
    NESTED,
    REQUIRED,
    SALES,
    TEXT,
    WHEN,
    WHOLE,
    Expected,
    became,
    check_bytes,
    outcome,
    utc,
    verdicts,
)

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
    assert became(found, column) == (LOST if lost else KEPT, expected)
    says = f"{column} is {called} here; the contract says {SALES.column(column).type}."
    assert checked.drift == ((says,) if called else ())


def test_parquet_without_a_pandas_type_for_missing_numbers_is_said_once(tmp_path: Path) -> None:
    two = pa.concat_tables([native(items=(pa.float64(), 2.0)), native(items=(pa.float64(), None))])
    checked = check_bytes(tmp_path, "sales.parquet", parquet(two))
    assert checked.quarantine["reason"].to_pylist() == ["items: empty"]
    assert checked.drift == ("items is number here; the contract says integer.",)


UNREADABLE = "sales.parquet can't be read as Parquet."
WHOLE_PARQUET = parquet(native(300))
PARQUET_FILES: list[tuple[str, bytes, Expected]] = [
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
def test_a_damaged_parquet_file_gives_what_it_can(tmp_path: Path, content: bytes, expected: Expected) -> None:
    assert outcome(tmp_path, "sales.parquet", content) == expected


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "market=NY" / "note=x"
    folder.mkdir(parents=True)
    assert check_bytes(folder, "sales.parquet", parquet(native())).good["market"].to_pylist() == ["ID"]
    assert check_bytes(folder, "sales.csv", TEXT).good["note"].to_pylist() == [None]
