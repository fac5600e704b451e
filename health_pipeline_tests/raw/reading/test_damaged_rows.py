"""Rows that say the same thing, or another, of the same key: repetitions, versions and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from health_pipeline_tests.raw.damage import FINITE, GOOD, check_bytes, csv_text

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
