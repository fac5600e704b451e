"""Every delivered row is accepted, dropped as a repetition, or quarantined with its reason. None is lost."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.reader import Part, file_format, open_engine, read_header, read_rows
from health_pipeline.raw.schema import contract_schema
from health_pipeline_tests.raw.outcome import Outcome, check_file

CATALOG = load_catalog("eu_dsa")
TABLE = CATALOG.tables[0]
TODAY = dt.date(2025, 10, 15)
HEADER = "day,platform,attribute,value,statements,mean_seconds"
GOOD = "2025-10-01,TikTok,rows,all,5,"


def check(path: Path) -> Outcome:
    return check_file(path, TABLE, CATALOG, TODAY)


def check_text(folder: Path, *lines: str, header: str = HEADER) -> Outcome:
    path = folder / "facts.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return check(path)


def rejected(checked: Outcome) -> list[tuple[int, str, str]]:
    columns = (checked.quarantine[name].to_pylist() for name in ("row", "column", "reason"))
    return list(zip(*columns, strict=True))


def test_rows_come_in_the_types_of_the_contract_sorted_by_its_key(tmp_path: Path) -> None:
    checked = check_text(
        tmp_path,
        "2025-10-02,TikTok,moderation_delay,mean_seconds,7,12.5",
        "2025-10-01,TikTok,rows,all,5,",
        "2025-10-01,AliExpress,rows,all,9,",
    )
    assert checked.good.schema == contract_schema(TABLE)
    assert checked.good.schema.types == [
        pa.date32(), pa.string(), pa.string(), pa.string(), pa.int64(), pa.float64()
    ]  # fmt: skip
    assert [tuple(row.values()) for row in checked.good.to_pylist()] == [
        (dt.date(2025, 10, 1), "AliExpress", "rows", "all", 9, None),
        (dt.date(2025, 10, 1), "TikTok", "rows", "all", 5, None),
        (dt.date(2025, 10, 2), "TikTok", "moderation_delay", "mean_seconds", 7, 12.5),
    ]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (",TikTok,rows,all,5,", "day", "day: empty"),
        ("01/10/2025,TikTok,rows,all,5,", "day", "day: not a date written YYYY-MM-DD"),
        ("2025-02-30,TikTok,rows,all,5,", "day", "day: not a date written YYYY-MM-DD"),
        ("2023-09-24,TikTok,rows,all,5,", "day", "day: before 2023-09-25, when this ecosystem starts"),
        ("2025-10-17,TikTok,rows,all,5,", "day", "day: in the future"),
        ("2025-10-01,,rows,all,5,", "platform", "platform: empty"),
        (
            "2025-10-01,TikTok,categry,X,5,",
            "attribute",
            "attribute: unknown value 'categry'. Did you mean 'category'?",
        ),
        ("2025-10-01,TikTok,rows,all,five,", "statements", "statements: not a whole number"),
        ("2025-10-01,TikTok,rows,all,5.5,", "statements", "statements: not a whole number"),
        ("2025-10-01,TikTok,rows,all,99999999999999999999,", "statements", "statements: not a whole number"),
        ("2025-10-01,TikTok,rows,all,-1,", "statements", "statements: below 0"),
        ("2025-10-01,TikTok,rows,all,5,nan", "mean_seconds", "mean_seconds: not a finite number"),
        ("2025-10-01,TikTok,rows,all,5,1e999", "mean_seconds", "mean_seconds: not a finite number"),
        ("2025-10-01,TikTok,rows,all,5,1e19", "mean_seconds", "mean_seconds: beyond 9e+18"),
        ("2025-10-01,TikTok,rows,all", "", "4 fields where the header names 6"),
        ("2025-10-01,TikTok,rows,all,5,,7", "", "7 fields where the header names 6"),
        (
            '2025-10-01,"Tik"Tok,rows,all,5,',
            "",
            "a quotation mark is not closed, or not doubled inside a quoted field",
        ),
    ],
)
def test_a_bad_row_is_quarantined_with_its_number_reason_and_text(
    tmp_path: Path, row: str, column: str, reason: str
) -> None:
    checked = check_text(tmp_path, "2025-09-30,TikTok,rows,all,4,", row, GOOD)
    assert checked.quarantine.to_pylist() == [
        {"file": "facts.csv", "row": 2, "column": column, "reason": reason, "raw": row}
    ]
    assert (checked.delivered, checked.accepted, checked.duplicates) == (3, 2, 0)
    assert list(checked.reasons.values()) == [1]


def test_tomorrow_and_numbers_with_blanks_or_a_zero_fraction_are_accepted(tmp_path: Path) -> None:
    checked = check_text(tmp_path, " 2025-10-16 ,TikTok,rows,all, 5.0 ,", "2025-10-16 00:00:00,X,rows,all,6,")
    assert checked.good["statements"].to_pylist() == [5, 6]


def test_a_row_that_repeats_another_is_dropped_and_one_that_contradicts_it_is_quarantined(
    tmp_path: Path,
) -> None:
    checked = check_text(tmp_path, GOOD, GOOD, "2025-10-01,TikTok,rows,all,6,", "2025-10-01,Joom,rows,all,6,", GOOD)
    assert checked.good["statements"].to_pylist() == [6, 5]
    assert checked.duplicates == 2
    assert rejected(checked) == [(3, "day, platform, attribute, value", "the key of row 1 with other values")]
    assert checked.reasons == {"the key of an earlier row with other values": 1}


def test_reasons_are_counted_without_the_values_that_differ(tmp_path: Path) -> None:
    checked = check_text(tmp_path, *(f"2025-10-01,TikTok,wrong{i},all,5," for i in range(80)))
    assert checked.reasons == {"attribute: unknown value": 80}
    named = [reason for reason in checked.quarantine["reason"].to_pylist() if "'wrong" in reason]
    assert len(named) == 50


def test_records_are_numbered_not_lines(tmp_path: Path) -> None:
    checked = check_text(
        tmp_path,
        '2025-10-01,TikTok,decision_visibility_other,"one, ""two""\nthree",5,',
        "",
        "2025-10-01,TikTok,rows,all,x,",
    )
    assert checked.good["value"].to_pylist() == ['one, "two"\nthree']
    assert rejected(checked) == [(2, "statements", "statements: not a whole number")]


def test_the_precise_reader_numbers_records_as_the_fast_one_does(tmp_path: Path) -> None:
    checked = check_text(
        tmp_path,
        '2025-10-01,TikTok,decision_visibility_other,"one\ntwo",5,',
        "",
        "too,short",
        "2025-10-01,TikTok,rows,all,x,",
    )
    assert [row for row, _, _ in rejected(checked)] == [2, 3]
    assert checked.good["value"].to_pylist() == ["one\ntwo"]


def test_a_quotation_mark_that_never_closes_costs_its_own_line_only(tmp_path: Path) -> None:
    days = [f"2025-09-{day:02},TikTok,rows,all,5," for day in range(1, 31)]
    checked = check_text(tmp_path, *days[:10], '2025-10-01,"TikTok,rows,all,5,', *days[10:])
    assert checked.accepted == 30
    assert [row for row, _, _ in rejected(checked)] == [11]


def test_quotation_marks_escaped_by_a_backslash_are_understood(tmp_path: Path) -> None:
    checked = check_text(tmp_path, r'2025-10-01,TikTok,content_type_other,"the \"best\", so far",5,')
    assert checked.good["value"].to_pylist() == ['the "best", so far']


def test_bytes_that_are_not_utf8_cost_their_own_row_only(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(f"{HEADER}\n{GOOD}\n2025-10-01,Caf\xe9,rows,all,5,\n".encode("latin-1"))
    checked = check(path)
    assert checked.accepted == 1
    assert checked.quarantine.to_pylist() == [
        {"file": "facts.csv", "row": 2, "column": "", "reason": "not UTF-8 text",
         "raw": "2025-10-01,Caf\N{REPLACEMENT CHARACTER},rows,all,5,"}
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_line_endings_and_byte_order_marks_of_any_system_do(tmp_path: Path, ending: str, mark: str) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes((mark + ending.join([HEADER, GOOD, "2025-10-02,TikTok,rows,all,6,"])).encode())
    assert check(path).accepted == 2


def test_columns_may_come_in_any_order_and_unknown_ones_are_ignored(tmp_path: Path) -> None:
    checked = check_text(
        tmp_path, "5,a,2025-10-01,TikTok,rows,all", header="statements,note,day,platform,attribute,value"
    )
    assert checked.good["statements"].to_pylist() == [5]
    assert checked.good["mean_seconds"].to_pylist() == [None]
    assert checked.ignored == ("note",)


def test_a_csv_file_may_come_gzipped_or_zipped(tmp_path: Path) -> None:
    text = f"{HEADER}\n{GOOD}\nshort\n"
    with gzip.open(tmp_path / "facts.csv.gz", "wt") as file:
        file.write(text)
    with zipfile.ZipFile(tmp_path / "facts.zip", "w") as archive:
        archive.writestr("readme.txt", "see facts.csv")
        archive.writestr("export/facts.csv", text)
    assert check(tmp_path / "facts.csv.gz").accepted == 1
    checked = check(tmp_path / "facts.zip")
    assert checked.accepted == 1
    assert checked.quarantine["file"].to_pylist() == ["facts.zip/export/facts.csv"]


def test_parquet_is_checked_by_the_same_rules_in_whatever_types_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "facts.parquet"
    days = [dt.datetime(2025, 10, 1), dt.datetime(2025, 10, 2), dt.datetime(2025, 10, 3, 12)]
    table = pa.table(
        {
            "day": pa.array(days, pa.timestamp("ms")),
            "platform": pa.array(["TikTok"] * 3).dictionary_encode(),
            "attribute": ["rows"] * 3,
            "value": ["all"] * 3,
            "statements": pa.array([5.0, 6.5, 7.0]),
            "Extra": [1, 2, 3],
        }
    )
    pq.write_table(table, path)
    checked = check(path)
    assert checked.good.to_pylist() == [
        {"day": dt.date(2025, 10, 1), "platform": "TikTok", "attribute": "rows", "value": "all",
         "statements": 5, "mean_seconds": None}
    ]  # fmt: skip
    assert rejected(checked) == [
        (2, "statements", "statements: not a whole number"),
        (3, "day", "day: not a date written YYYY-MM-DD"),
    ]
    assert checked.quarantine["raw"][0].as_py() == (
        '{"day":"2025-10-02 00:00:00","platform":"TikTok","attribute":"rows","value":"all","statements":6.5,"Extra":2}'
    )
    assert checked.ignored == ("Extra",)


def zipped(*members: tuple[str, str]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in members:
            archive.writestr(name, text)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.csv", b"", "a.csv is empty.", "Export it again, with a header and rows."),
        ("a.csv", f"{HEADER}\n\n".encode(), "a.csv has a header and no rows.", "Export it again, with rows."),
        (
            "a.csv",
            b"day,platfrom,attribute,value,statements\n2025-10-01,TikTok,rows,all,5\n",
            "a.csv lacks the column 'platform'.",
            "Its nearest column is 'platfrom': rename it.",
        ),
        (
            "a.csv",
            b"x,y\n1,2\n",
            "a.csv lacks the columns 'day', 'platform', 'attribute', 'value' and 'statements'.",
            "Its columns are x, y.",
        ),
        ("a.csv", f"{HEADER},day\n".encode(), "a.csv has two columns named 'day'.", "Rename or remove one."),
        (
            "a.csv",
            HEADER.replace(",", ";").encode(),
            "a.csv separates its columns by semicolons.",
            "Save it with commas between columns.",
        ),
        ("a.csv", HEADER.encode("utf-16"), "a.csv is text in UTF-16.", "Save it as CSV in UTF-8."),
        ("a.csv", b"PK\x03\x04\0\0", "a.csv is not a text file.", "Save it as CSV in UTF-8."),
        ("a.csv", b"\nx", "a.csv begins with an empty line.", "Its first line must name the columns."),
        (
            "a.csv.gz",
            b"not gzipped",
            "a.csv.gz can't be read: Not a gzipped file (b'no').",
            "Check its permissions, or copy it again.",
        ),
        (
            "a.zip",
            b"not zipped",
            "a.zip can't be unpacked: File is not a zip file.",
            "Download or zip it again, without a password.",
        ),
        (
            "a.zip",
            zipped(("a.txt", "x")),
            "a.zip holds no CSV file.",
            "Put a .csv file in the archive, or deliver it as it is.",
        ),
        (
            "a.zip",
            zipped(("1.csv", f"{HEADER}\n{GOOD}\n"), ("2.csv", f"{HEADER}\n{GOOD}\n")),
            "a.zip/2.csv is not the only CSV file in its archive.",
            "Deliver one file at a time.",
        ),
        (
            "a.parquet",
            b"PAR1 cut short",
            "a.parquet can't be read as Parquet.",
            "Write or copy it again; it may be cut short.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, message: str, hint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        check(path)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_other_extensions_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "facts.xlsx").touch()
    with pytest.raises(
        InputError, match=r"^facts\.xlsx is neither Parquet, CSV nor lines of JSON\.\nSave it as one of \.parquet, "
    ):
        file_format(tmp_path / "facts.xlsx")
    with pytest.raises(InputError, match="is a folder, not a file"):
        file_format(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        file_format(tmp_path / "nowhere.csv")


PIECES = [b'"', b",", b"\n", b"\r", b"\xff", b"x", b"\\", b'",']

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=12), damaged=st.booleans())
def test_both_readers_give_back_what_was_written(rows: list[list[str]], damaged: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, open_engine(Path(folder)) as engine:
        path = Path(folder) / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([["a", "b", "c"], *rows])
            if damaged:
                file.write("one field\r\n")
        part = Part(path.name, path)
        found, malformed = read_rows(
            engine,
            part,
            len(read_header(part)),
            Path(folder),
            lambda records: tuple(engine.execute(sql).fetchall() for sql in (records.rows, records.malformed)),
        )
    assert [[field or "" for field in row[1:]] for row in found] == rows
    assert [row[0] for row in found] == list(range(1, len(rows) + 1))
    assert [row for row, _, _ in malformed] == ([len(rows) + 1] if damaged else [])


@settings(max_examples=35, deadline=None)
@given(
    days=st.lists(st.integers(1, 28), min_size=1, max_size=15),
    damages=st.lists(st.tuples(st.integers(0, 800), st.sampled_from(PIECES)), max_size=6),
)
def test_however_a_csv_is_damaged_no_row_is_lost(days: list[int], damages: list[tuple[int, bytes]]) -> None:
    body = "".join(f'2025-09-{day:02},"Tik, ""Tok""",rows,all,{day},\n' for day in days).encode()
    for place, piece in damages:
        place %= len(body)
        body = body[:place] + piece + body[place:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "facts.csv"
        path.write_bytes(HEADER.encode() + b"\n" + body)
        checked = check(path)
    assert checked.accepted + checked.duplicates + checked.quarantine.num_rows == checked.delivered
    assert checked.good.num_rows == checked.accepted
    assert sum(checked.reasons.values()) == checked.quarantine.num_rows
    if not damages:
        assert (checked.accepted, checked.delivered) == (len(set(days)), len(days))
