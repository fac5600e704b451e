"""Delivered text files as numbered rows in DuckDB: CSV, and lines of JSON.

Two ways to read, with the same result. The fast one is DuckDB's strict parser. Where it refuses a file, the
precise one reads it with Python: each record that is not well formed is set aside with its number and its reason,
the others are written to a clean file, and DuckDB reads that. Rows are numbered by record, not by line: a quoted text
with line breaks is one row. Row 1 of a CSV file is the first below the header; blank lines don't count.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from health_pipeline.errors import InputError
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

FORMATS = (".parquet", ".csv", ".csv.gz", ".zip", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
RECORD_BYTES = 1 << 20
"""A longer record is set aside: a mark that is missing must not make one record of a whole file."""
LINE_BYTES = 2 * RECORD_BYTES + (1 << 16)
"""What such a record may take as a line of CSV, with every quotation mark doubled."""
MEMORY = "2GB"
"""What DuckDB may hold; the rest goes to disk, so a delivery's size is not the machine's memory."""
TOO_LONG = f"longer than {RECORD_BYTES:,} bytes"
BROKEN_QUOTES = "a quotation mark is not closed, or not doubled inside a quoted field"
NOT_UTF8 = "not UTF-8 text"
UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Part:
    """One CSV file of a delivery.

    Attributes:
        name: how a person finds it again: ``dump.zip/part-1.csv`` for a file inside an archive.
        path: where it can be read now, plain or gzipped.
    """

    name: str
    path: Path


MALFORMED = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


@dataclass(frozen=True)
class Records:
    """The records of a file, as two SQL queries.

    Attributes:
        rows: ``row`` (from 1) and the record's texts.
        malformed: records that could not be read: ``row``, ``reason``, ``raw``.
    """

    rows: str
    malformed: str = "SELECT CAST(NULL AS BIGINT) AS row, '' AS reason, '' AS raw WHERE false"


def open_engine(scratch: Path) -> DuckDBPyConnection:
    """An in-memory DuckDB that spills what does not fit in memory into ``scratch``, and keeps UTC."""
    import duckdb  # takes a moment: only where it is used

    engine = duckdb.connect()
    engine.execute(f"SET temp_directory = {literal(scratch / 'spill')}")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(f"SET memory_limit = '{MEMORY}'")
    return engine


def named(path: Path) -> str:
    """An SQL string literal of a file that DuckDB is to read, with nothing in its name taken for a pattern."""
    return literal(re.sub(r"[*?\[]", r"[\g<0>]", str(path)))


def file_format(path: Path) -> str:
    """Which of :data:`FORMATS` a file's name promises.

    Raises:
        InputError: another extension, a folder, or no such file.
    """
    if path.is_dir():
        raise InputError(f"{path.name} is a folder, not a file.", "Deliver the files in it one by one.")
    if not path.exists():
        raise InputError(f"There is no file {path}.", "Check the path.")
    for suffix in FORMATS:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{path.name} is neither Parquet, CSV nor lines of JSON.",
        f"Save it as one of {', '.join(FORMATS)} (spreadsheet programs export CSV with commas, in UTF-8).",
    )


def csv_parts(path: Path, scratch: Path) -> Iterator[Part]:
    """The CSV files of a delivery, in order: itself, or those in a ZIP archive and in the archives inside it.

    Each file taken out of an archive is deleted when the next is asked for: no dump lies unpacked as a whole.

    Raises:
        InputError: the archive can't be opened, or holds no CSV file.
    """
    if path.suffix.lower() != ".zip":
        yield Part(path.name, path)
        return
    found = False
    for part in _unpack(path, path.name, scratch):
        found = True
        yield part
    if not found:
        raise InputError(f"{path.name} holds no CSV file.", "Put a .csv file in the archive, or deliver it as it is.")


def _unpack(archive: Path, name: str, scratch: Path) -> Iterator[Part]:
    try:
        with zipfile.ZipFile(archive) as opened:
            for number, entry in enumerate(sorted(opened.infolist(), key=lambda e: e.filename)):
                suffix, inner = Path(entry.filename).suffix.lower(), f"{name}/{entry.filename}"
                if entry.is_dir() or suffix not in (".csv", ".zip") or entry.filename.startswith("__MACOSX"):
                    continue
                target = scratch / f"{archive.stem}-{number}{suffix}"
                with opened.open(entry) as source, target.open("wb") as sink:
                    while block := source.read(1 << 20):
                        sink.write(block)
                try:
                    yield from _unpack(target, inner, scratch) if suffix == ".zip" else [Part(inner, target)]
                finally:
                    target.unlink(missing_ok=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{name} can't be unpacked: {error}.", "Download or zip it again, without a password."
        ) from None


def read_header(part: Part) -> tuple[str, ...]:
    """The column names in the first line of a CSV file.

    Raises:
        InputError: the file is empty, not text in UTF-8, or not separated by commas.
    """
    _start(part, "as CSV")
    try:
        with _lines(part) as lines:
            header = next(csv.reader(lines), [])
    except csv.Error as error:
        raise InputError(
            f"{part.name} has a header that can't be read: {error}.", "Its first line must name the columns."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(part, error) from None
    if not header:
        raise InputError(f"{part.name} begins with an empty line.", "Its first line must name the columns.")
    if UNDECODED.search("".join(header)):
        raise InputError(f"{part.name} has a header that is not UTF-8 text.", "Save it as CSV in UTF-8.")
    for mark, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            raise InputError(f"{part.name} separates its columns by {called}.", "Save it with commas between columns.")
    return tuple(name.strip() for name in header)


def read_rows(
    engine: DuckDBPyConnection, part: Part, columns: int, scratch: Path, consume: Callable[[Records], T]
) -> T:
    """Hand the rows of a CSV file to ``consume``: ``row`` (from 1) and the texts ``c0``, ``c1``, …

    Args:
        columns: number of columns in the header.
        scratch: folder for a clean copy, where one is needed.
        consume: runs queries over what it is given. It must be able to start over: it is called
            a second time when the fast parser refuses the file.

    Returns:
        what ``consume`` returned.

    Raises:
        InputError: the file can't be read to its end.
    """
    names = [f"c{i}" for i in range(columns)]
    fast = f"SELECT row_number() OVER () AS row, * FROM {_scan(part.path, names)}"
    return _read(engine, part, names, fast, partial(_numbered_csv, part, columns), scratch, consume)


def read_lines(engine: DuckDBPyConnection, part: Part, scratch: Path, consume: Callable[[Records], T]) -> T:
    """Hand the lines of a text file to ``consume``: ``row`` (from 1, blank lines don't count) and ``line``.

    Arguments, result and errors as of :func:`read_rows`. A line that is not UTF-8 or far too long is malformed.
    """
    lines = f"header = false, delim = '\\x01', quote = '', escape = '', max_line_size = {RECORD_BYTES}"
    scan = _read_csv(part.path, ["line"], lines)
    fast = f"SELECT row_number() OVER () AS row, line FROM {scan} WHERE regexp_matches(line, '[^ \t\r]')"
    return _read(engine, part, ["line"], fast, partial(_numbered_lines, part), scratch, consume)


def first_character(part: Part) -> str:
    """The first character of a text file that is not blank; "" when there is none.

    Raises:
        InputError: the file is empty, not text in UTF-8, or can't be read.
    """
    return _start(part, "with one object per line").decode("utf-8-sig", "replace").lstrip()[:1]


def _read(
    engine: DuckDBPyConnection,
    part: Part,
    names: Sequence[str],
    fast: str,
    numbered: Callable[[], Iterator[_Record]],
    scratch: Path,
    consume: Callable[[Records], T],
) -> T:
    import duckdb

    try:
        return consume(Records(fast))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:  # refused, whatever the reason: the precise reader finds it, or fails with it
        clean, malformed = scratch / "clean.csv", scratch / "malformed.parquet"
        try:
            _separate(numbered(), names, clean, malformed)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(part, error) from None
        rows = f"SELECT CAST(row AS BIGINT) AS row, * EXCLUDE (row) FROM {_scan(clean, ['row', *names])}"
        try:
            return consume(Records(rows, f"FROM read_parquet({named(malformed)})"))
        finally:
            clean.unlink(missing_ok=True)
            malformed.unlink(missing_ok=True)


def as_csv(fields: Sequence[str]) -> str:
    """SQL that writes some texts as one CSV record again."""
    written = (
        f"CASE WHEN regexp_matches({field}, '[\",\\r\\n]') THEN '\"' || replace({field}, '\"', '\"\"') || '\"' "
        f"ELSE coalesce({field}, '') END"
        for field in fields
    )
    return f"concat_ws(',', {', '.join(written)})"


def _scan(path: Path, names: Sequence[str]) -> str:
    dialect = "header = true, delim = ',', quote = '\"', escape = '\"', null_padding = false"
    return _read_csv(path, names, f"{dialect}, max_line_size = {LINE_BYTES}")


def _read_csv(path: Path, names: Sequence[str], dialect: str) -> str:
    types = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    return (
        f"read_csv({named(path)}, auto_detect = false, hive_partitioning = false, strict_mode = true, {dialect}, "
        f"compression = '{_compression(path)}', columns = {{{types}}})"
    )


def _compression(path: Path) -> str:
    return "gzip" if path.suffix.lower() == ".gz" else "none"


def _bytes(part: Part) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(part.path) if part.path.suffix.lower() == ".gz" else part.path.open("rb")


@contextmanager
def _lines(part: Part) -> Iterator[Iterator[str]]:
    """Physical lines. Bytes that are not UTF-8 come as lone surrogates: one bad byte costs one record."""
    with _bytes(part) as file:
        yield io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _start(part: Part, form: str) -> bytes:
    try:
        with _bytes(part) as file:
            start = file.read(4096)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(part, error) from None
    if not start:
        raise InputError(f"{part.name} is empty.", "Export it again, with a header and rows.")
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise InputError(f"{part.name} is text in UTF-16.", f"Save it {form} in UTF-8.")
    if b"\0" in start:
        raise InputError(f"{part.name} is not a text file.", f"Save it {form} in UTF-8.")
    return start


def _unreadable(part: Part, error: Exception) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{part.name} can't be read: {reason}.", "Check its permissions, or copy it again.")


class _Tape:
    """Lines that can be handed back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._back: list[str] = []
        self.taken: list[str] = []

    def __iter__(self) -> _Tape:
        return self

    def __next__(self) -> str:
        line = self._back.pop() if self._back else next(self._lines)
        self.taken.append(line)
        return line

    def rewind(self, keep: int = 0) -> str:
        """Hand back all lines taken but the first ``keep``; returns those kept."""
        self._back.extend(reversed(self.taken[keep:]))
        kept = "".join(self.taken[:keep])
        self.taken.clear()
        return kept


@dataclass(frozen=True)
class _Record:
    """A record's fields, its text, and why it is malformed ('' when it is well formed)."""

    fields: Sequence[str]
    raw: str = ""
    reason: str = ""


def _separate(records: Iterator[_Record], names: Sequence[str], clean: Path, malformed: Path) -> None:
    """Write numbered records to ``clean``, and malformed ones to ``malformed``: however many, in little memory."""
    with (
        clean.open("w", encoding="utf-8", newline="") as sink,
        pq.ParquetWriter(malformed, MALFORMED, compression="zstd") as aside,
    ):
        writer = csv.writer(sink)
        writer.writerow(["row", *names])
        batch: list[dict[str, object]] = []
        size = 0
        for row, record in enumerate(records, start=1):
            if not record.reason:
                writer.writerow([row, *record.fields])
                continue
            text = record.raw.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            batch.append({"row": row, "reason": record.reason, "raw": text[:RECORD_BYTES]})
            size += len(text)
            if len(batch) >= 10_000 or size > 16 * RECORD_BYTES:
                aside.write_table(pa.Table.from_pylist(batch, MALFORMED))
                batch, size = [], 0
        if batch:
            aside.write_table(pa.Table.from_pylist(batch, MALFORMED))


def _numbered_lines(part: Part) -> Iterator[_Record]:
    with _bytes(part) as file:
        first = True
        while line := file.readline(RECORD_BYTES + 1):
            if first:
                line, first = line.removeprefix(codecs.BOM_UTF8), False
            whole = line.endswith(b"\n") or len(line) <= RECORD_BYTES
            while not whole:
                rest = file.readline(RECORD_BYTES + 1)
                whole = rest.endswith(b"\n") or not rest
            text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            if not text.strip(" \t\r"):
                continue
            if len(line) > RECORD_BYTES:
                yield _Record((), text, TOO_LONG)
            elif UNDECODED.search(text):
                yield _Record((), text, NOT_UTF8)
            else:
                yield _Record((text,))


def _numbered_csv(part: Part, columns: int) -> Iterator[_Record]:
    with _lines(part) as lines:
        next(csv.reader(lines))
        yield from _records(lines, columns)


def _records(lines: Iterator[str], columns: int) -> Iterator[_Record]:
    """The records of a CSV file below its header.

    A quotation mark that never closes would swallow the rows below it. So when a record breaks the rules of
    quoting, only its first line is given up, and reading goes on at the next. How far a mark can reach is
    bounded by ``csv.field_size_limit()``.
    """
    tape = _Tape(lines)
    reader = csv.reader(tape, strict=True)
    while True:
        tape.taken.clear()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            record = _backslashed(tape, columns)
            reader = csv.reader(tape, strict=True)
            if not record:
                line = tape.rewind(keep=1)
                yield _Record((), line, TOO_LONG if len(line) > RECORD_BYTES else BROKEN_QUOTES)
                continue
        if not record:
            continue
        if len(record) == columns + 1 and not record[-1]:
            record.pop()  # a comma at the end of the line, which the fast parser forgives too
        if len(record) != columns:
            fields = f"{len(record)} field{'s' if len(record) != 1 else ''}"
            yield _Record((), "".join(tape.taken), f"{fields} where the header names {columns}")
        elif UNDECODED.search("".join(record)):
            yield _Record((), "".join(tape.taken), NOT_UTF8)
        elif sum(map(len, record)) > RECORD_BYTES // 4 and len("".join(record).encode()) > RECORD_BYTES:
            yield _Record((), "".join(tape.taken), TOO_LONG)
        else:
            yield _Record(record)


def _backslashed(tape: _Tape, columns: int) -> list[str]:
    """The record with backslash-escaped quotation marks, as PHP's ``fputcsv`` writes them; [] on failure."""
    if not any('\\"' in line for line in tape.taken):
        return []
    tape.rewind()
    try:
        record = next(csv.reader(tape, strict=True, escapechar="\\"))
    except (csv.Error, StopIteration):
        return []
    return record if len(record) == columns else []
