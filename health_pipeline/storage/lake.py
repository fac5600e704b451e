"""The Parquet lake: daily partitions that change all at once or not at all.

Layout: ``<root>/<ecosystem>/<stage>/<table>/day=YYYY-MM-DD/part-<content hash>.parquet`` beside one pointer file,
``_current.json``. A publish writes the data file under its new name, then replaces the pointer (a rename).
So a crash at any instant leaves the old partition whole, and a reader that resolved the old pointer still finds
its file: superseded files stay for ``GRACE_SECONDS`` before they are swept.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

POINTER = "_current.json"
GRACE_SECONDS = 3600.0
CHUNK_ROWS = 1 << 17
"""Rows of a Parquet row group, and of a step of the content hash: what is held in memory while a day is published."""


@dataclass(frozen=True)
class Partition:
    """One published day of a table.

    Attributes:
        day: the UTC day.
        file: absolute path of the Parquet file; ``None`` when the partition was published with no rows.
        rows: number of rows.
        content: hash of the rows; equal contents have equal hashes, so nothing downstream need be recomputed.
        inputs: fingerprint of everything the partition was computed from (see :mod:`.derive`).
    """

    day: dt.date
    file: Path | None
    rows: int
    content: str
    inputs: str


class LakeTable:
    """One table of one ecosystem, partitioned by day."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = schema

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def partition(self, day: dt.date) -> Partition | None:
        """The partition as published now, or ``None`` when this day was never published."""
        folder = self.folder / f"day={day.isoformat()}"
        try:
            pointer = json.loads((folder / POINTER).read_bytes())
        except FileNotFoundError:
            return None
        file = folder / pointer["file"] if pointer["file"] else None
        return Partition(day, file, pointer["rows"], pointer["content"], pointer["inputs"])

    def days(self) -> list[dt.date]:
        """Every published day, ascending."""
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as entries:
            found = [e.name[4:] for e in entries if e.name.startswith("day=")]
        return sorted(dt.date.fromisoformat(d) for d in found if (self.folder / f"day={d}" / POINTER).exists())

    def publish(self, day: dt.date, rows: pa.Table, inputs: str = "") -> Partition:
        """Make ``rows`` the content of ``day``, atomically.

        Publishing the same rows again leaves the data file as it is. Row order is part of the content: callers sort.

        Raises:
            pa.ArrowInvalid: when the rows don't fit the table's schema.
        """
        return self.publish_batches(day, rows.select(self.schema.names).to_batches(), inputs)

    def publish_batches(self, day: dt.date, batches: Iterable[pa.RecordBatch], inputs: str = "") -> Partition:
        """:meth:`publish`, of rows that come bit by bit: a day may be larger than memory.

        Content and file are the same however the rows are divided into batches.

        Raises:
            pa.ArrowInvalid: when the rows don't fit the table's schema.
        """
        folder = self.folder / f"day={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        with _Part(folder, self.schema) as part:
            for rows in chunks(batches, self.schema):
                part.write(rows)
            name, content = part.finish()
        before = self.partition(day)
        pointer = {"file": name, "rows": part.rows, "content": content, "inputs": inputs}
        text = json.dumps(pointer).encode()
        if before is not None and before.file is not None and before.file.name != name:
            with contextlib.suppress(FileNotFoundError):
                os.utime(before.file)  # superseded as of now: whoever reads it has the grace time to finish
        write_durably(folder / POINTER, lambda path: path.write_bytes(text))
        self._sweep(folder, keep=name)
        return Partition(day, folder / name if name else None, part.rows, content, inputs)

    def claim(self, day: dt.date, inputs: str) -> None:
        """Say anew what the published rows of ``day`` were computed from; the rows stay as they are."""
        pointer = self.folder / f"day={day.isoformat()}" / POINTER
        text = json.dumps(json.loads(pointer.read_bytes()) | {"inputs": inputs}).encode()
        write_durably(pointer, lambda path: path.write_bytes(text))

    def files(self, days: Iterable[dt.date] | None = None) -> list[str]:
        """Data files of the given days (all days by default), each once, ascending by day."""
        wanted = self.days() if days is None else sorted(set(days))
        parts = (self.partition(day) for day in wanted)
        return [str(p.file) for p in parts if p is not None and p.file is not None]

    def read(self, days: Iterable[dt.date] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of the given days (all days by default), in day order, in publish order within a day."""
        names = list(columns) if columns is not None else self.schema.names
        schema = pa.schema([self.schema.field(n) for n in names])
        files = self.files(days)
        if not files:
            return schema.empty_table()
        return dataset(files, schema=schema, format="parquet", partitioning=None).to_table()

    def _sweep(self, folder: Path, keep: str | None) -> None:
        horizon = time.time() - GRACE_SECONDS
        for path in folder.iterdir():
            if path.name in (keep, POINTER):
                continue
            try:
                if path.stat().st_mtime < horizon:
                    path.unlink()
            except FileNotFoundError:  # another writer swept it first
                continue


class Lake:
    """All tables of one ecosystem."""

    def __init__(self, root: Path, ecosystem: str) -> None:
        self.root = root / ecosystem
        self.ecosystem = ecosystem

    def table(self, stage: str, name: str, schema: pa.Schema) -> LakeTable:
        return LakeTable(self.root / stage / name, schema)


class _Part:
    """A data file in the making: hashed while it is written, and named after the hash when it is whole."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._folder = folder
        self._temporary = temporary_name(folder / "part.parquet")
        self._schema = schema
        self._hash = _ContentHash(schema)
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, rows: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        self._hash.update(rows)
        self._writer.write_batch(rows, row_group_size=CHUNK_ROWS)
        self.rows += rows.num_rows

    def finish(self) -> tuple[str | None, str]:
        """Name of the file (none when there are no rows) and hash of the rows."""
        content = self._hash.finish()
        if self._writer is None:
            return None, content
        self._writer.close()
        target = self._folder / f"part-{content[:24]}.parquet"
        try:
            os.utime(target)  # the rows are back: their file must outlive the next sweep
        except FileNotFoundError:
            replace_durably(self._temporary, target)
        return target.name, content


class _ContentHash:
    """SHA-256 of rows as an Arrow IPC stream, schema included, in batches of :data:`CHUNK_ROWS`."""

    closed = False

    def __init__(self, schema: pa.Schema) -> None:
        self._digest = hashlib.sha256()
        self._stream = pa.ipc.new_stream(pa.PythonFile(self, mode="w"), schema)

    def update(self, rows: pa.RecordBatch) -> None:
        # A copy forgets slices and what lies under nulls: equal rows hash alike however they are held.
        self._stream.write_batch(rows.take(pa.array(range(rows.num_rows), pa.int64())))

    def finish(self) -> str:
        self._stream.close()
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def content_hash(rows: pa.Table) -> str:
    """The hash under which these rows are published."""
    digest = _ContentHash(rows.schema)
    for chunk in chunks(rows.to_batches(), rows.schema):
        digest.update(chunk)
    return digest.finish()


def chunks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in the given schema, in batches of :data:`CHUNK_ROWS`; only the last has fewer.

    Raises:
        pa.ArrowInvalid: when the rows don't fit the schema.
    """
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        table = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        while count + table.num_rows >= CHUNK_ROWS:
            head = table.slice(0, CHUNK_ROWS - count)
            yield _one_batch([*held, head])
            table, held, count = table.slice(head.num_rows), [], 0
        if table.num_rows:
            held.append(table)
            count += table.num_rows
    if held:
        yield _one_batch(held)


def _one_batch(tables: Sequence[pa.Table]) -> pa.RecordBatch:
    [batch] = pa.concat_tables(tables).combine_chunks().to_batches()
    return batch


def temporary_name(path: Path) -> Path:
    """A name in the same folder under which a file can grow unseen."""
    return path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it appears whole or not at all, and survives a power cut once it has appeared."""
    temporary = temporary_name(path)
    try:
        write(temporary)
        replace_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a file its name once its content is safe on disk, and make the name safe too."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
