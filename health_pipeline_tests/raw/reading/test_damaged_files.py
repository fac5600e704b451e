"""What becomes of CSV files and archives that are damaged as a whole: they give what they can, or are refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from health_pipeline_tests.raw.damage import (
    BOOLEAN,
    COLUMNS,
    GOOD,
    HEADER,
    LINE,
    NO_QUOTES,
    REQUIRED,
    TEXT,
    Expected,
    csv_text,
    outcome,
)


def zipped(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return sink.getvalue()


OTHER = LINE.replace("s,", "t,", 1)
DROPPED = ",".join(GOOD[c] for c in COLUMNS if c != "gmv")
LACKS = "sales.csv lacks the column{}."
CSV_FILES: list[tuple[str, bytes, Expected]] = [
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


@pytest.mark.parametrize(("content", "expected"), [c[1:] for c in CSV_FILES], ids=[c[0] for c in CSV_FILES])
def test_a_damaged_csv_file_gives_what_it_can(tmp_path: Path, content: bytes, expected: Expected) -> None:
    assert outcome(tmp_path, "sales.csv", content) == expected


PACKED = gzip.compress(TEXT)
ARCHIVES: list[tuple[str, str, bytes, Expected]] = [
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
def test_a_damaged_archive_gives_what_it_can(tmp_path: Path, name: str, content: bytes, expected: Expected) -> None:
    if isinstance(expected, str) and "{crc}" in expected:
        expected = expected.format(crc=hex(int.from_bytes(PACKED[-8:-4], "little")))
    assert outcome(tmp_path, name, content) == expected
