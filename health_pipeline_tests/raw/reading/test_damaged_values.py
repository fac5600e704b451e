"""What becomes of every kind of damaged value of a CSV file: kept, or its row quarantined with the reason."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from health_pipeline_tests.raw.damage import (
    BOOLEAN,
    DATE,
    FINITE,
    GOOD,
    KEPT,
    LEFT_OUT,
    LOST,
    NOWHERE,
    WHEN,
    WHOLE,
    became,
    check_bytes,
    csv_text,
    utc,
    verdicts,
)

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
    assert became(values[f"value {number}"], column) == (fate, expected)


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
    is_kept = isinstance(expected, dt.datetime)
    assert became(found, "sold_at") == (KEPT if is_kept else LOST, expected)
    assert not is_kept or found["day"] == expected.date()
