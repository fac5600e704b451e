"""Delivered CSV files as numbered rows of text in DuckDB.

Two ways to read, with the same result. The fast one is DuckDB's strict parser. Where it refuses a file, the
precise one reads it with Python's ``csv`` module: each record that is not well formed is set aside with its
number and its reason, the others are written to a clean file, and DuckDB reads that. Rows are numbered by
record, not by line: a quoted text with line breaks is one row. Row 1 is the first below the header; blank
lines don't count.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from health_pipeline.errors import InputError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

FORMATS = (".parquet", ".csv", ".csv.gz", ".zip")
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


@dataclass(frozen=True)
class Malformed:
    """A record that can't be split into the header's columns, by its number and its text."""

    row: int
    reason: str
    raw: str


def open_engine(scratch: Path) -> DuckDBPyConnection:
    """An in-memory DuckDB that spills what does not fit in memory into ``scratch``, and keeps UTC."""
    import duckdb  # takes a moment: only where it is used

    engine = duckdb.connect()
    engine.execute(f"SET temp_directory = {quoted(scratch / 'spill')}")
    engine.execute("SET TimeZone = 'UTC'")
    return engine


def quoted(text: str | Path) -> str:
    """An SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


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
        f"{path.name} is neither Parquet nor CSV.",
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
    try:
        with _bytes(part) as file:
            start = file.read(4096)
        if not start:
            raise InputError(f"{part.name} is empty.", "Export it again, with a header and rows.")
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{part.name} is text in UTF-16.", "Save it as CSV in UTF-8.")
        if b"\0" in start:
            raise InputError(f"{part.name} is not a text file.", "Save it as CSV in UTF-8.")
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
    engine: DuckDBPyConnection, part: Part, columns: int, scratch: Path, consume: Callable[[str], T]
) -> tuple[T, list[Malformed]]:
    """Hand the rows of a CSV file to ``consume`` as SQL: ``row`` (from 1) and the texts ``c0``, ``c1``, …

    Args:
        columns: number of columns in the header.
        scratch: folder for a clean copy, where one is needed.
        consume: runs a query over the SQL it is given. It must be able to start over: it is called
            a second time when the fast parser refuses the file.

    Returns:
        what ``consume`` returned, and the records it did not see because they are malformed.

    Raises:
        InputError: the file can't be read to its end.
    """
    import duckdb

    names = [f"c{i}" for i in range(columns)]
    compression = "gzip" if part.path.suffix.lower() == ".gz" else "none"
    try:
        return consume(f"SELECT row_number() OVER () AS row, * FROM {_scan(part.path, names, compression)}"), []
    except duckdb.Error:  # refused, whatever the reason: the precise reader finds it, or fails with it
        clean = scratch / "clean.csv"
        try:
            malformed = _clean(part, columns, clean)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable(part, error) from None
        numbered = f"SELECT CAST(row AS BIGINT) AS row, * EXCLUDE (row) FROM {_scan(clean, ['row', *names], 'none')}"
        try:
            return consume(numbered), malformed
        finally:
            clean.unlink(missing_ok=True)


def as_csv(columns: int) -> str:
    """SQL that writes the texts ``c0``, ``c1``, … of a row as one CSV record again."""
    fields = (
        f"CASE WHEN regexp_matches(c{i}, '[\",\\r\\n]') THEN '\"' || replace(c{i}, '\"', '\"\"') || '\"' "
        f"ELSE coalesce(c{i}, '') END"
        for i in range(columns)
    )
    return f"concat_ws(',', {', '.join(fields)})"


def _scan(path: Path, names: Sequence[str], compression: str) -> str:
    types = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    dialect = "header = true, delim = ',', quote = '\"', escape = '\"', strict_mode = true, null_padding = false"
    return (
        f"read_csv({quoted(path)}, auto_detect = false, {dialect}, "
        f"compression = '{compression}', columns = {{{types}}})"
    )


def _bytes(part: Part) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(part.path) if part.path.suffix.lower() == ".gz" else part.path.open("rb")


@contextmanager
def _lines(part: Part) -> Iterator[Iterator[str]]:
    """Physical lines. Bytes that are not UTF-8 come as lone surrogates: one bad byte costs one record."""
    with _bytes(part) as file:
        yield io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


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


def _clean(part: Part, columns: int, target: Path) -> list[Malformed]:
    malformed: list[Malformed] = []
    with _lines(part) as lines, target.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow(["row", *(f"c{i}" for i in range(columns))])
        next(csv.reader(lines))
        for row, (record, raw, reason) in enumerate(_records(lines, columns), start=1):
            if not reason:
                writer.writerow([row, *record])
            else:
                text = raw.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                malformed.append(Malformed(row, reason, text))
    return malformed


def _records(lines: Iterator[str], columns: int) -> Iterator[tuple[list[str], str, str]]:
    """Fields, raw text and reason ('' when well formed) of each record.

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
                yield [], tape.rewind(keep=1), BROKEN_QUOTES
                continue
        if not record:
            continue
        if len(record) == columns + 1 and not record[-1]:
            record.pop()  # a comma at the end of the line, which the fast parser forgives too
        if len(record) != columns:
            fields = f"{len(record)} field{'s' if len(record) != 1 else ''}"
            yield record, "".join(tape.taken), f"{fields} where the header names {columns}"
        elif UNDECODED.search("".join(record)):
            yield record, "".join(tape.taken), NOT_UTF8
        else:
            yield record, "", ""


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
