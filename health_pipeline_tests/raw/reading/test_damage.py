"""Damage nobody thought of: whatever is done to a file, every row of it is accounted for.

The kinds of damage that somebody did think of stand in ``test_damaged_*.py``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.errors import InputError
from health_pipeline_tests.raw.damage import COLUMNS, GOOD, check_bytes, csv_text
from health_pipeline_tests.raw.outcome import Outcome
from health_pipeline_tests.raw.reading.test_damaged_files import ARCHIVES, CSV_FILES
from health_pipeline_tests.raw.reading.test_damaged_json import JSON_FILES, JSON_VALUES
from health_pipeline_tests.raw.reading.test_damaged_parquet import PARQUET_FILES, PARQUET_TYPES, WHOLE_PARQUET, parquet
from health_pipeline_tests.raw.reading.test_damaged_rows import KEYS, OTHERS
from health_pipeline_tests.raw.reading.test_damaged_values import VALUES, ZONES

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
