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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

POINTER = "_current.json"
GRACE_SECONDS = 3600.0


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

        Publishing the same rows again rewrites no data. Row order is part of the content: callers sort.

        Raises:
            pa.ArrowInvalid: when the rows don't fit the table's schema.
        """
        rows = rows.select(self.schema.names).cast(self.schema)
        content = content_hash(rows)
        before = self.partition(day)
        folder = self.folder / f"day={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"part-{content[:24]}.parquet" if rows.num_rows else None
        if name:
            try:
                os.utime(folder / name)  # the rows are back: their file must outlive the next sweep
            except FileNotFoundError:
                write_durably(folder / name, lambda path: pq.write_table(rows, path, compression="zstd"))
        pointer = {"file": name, "rows": rows.num_rows, "content": content, "inputs": inputs}
        text = json.dumps(pointer).encode()
        if before is not None and before.file is not None and before.file.name != name:
            with contextlib.suppress(FileNotFoundError):
                os.utime(before.file)  # superseded as of now: whoever reads it has the grace time to finish
        write_durably(folder / POINTER, lambda path: path.write_bytes(text))
        self._sweep(folder, keep=name)
        return Partition(day, folder / name if name else None, rows.num_rows, content, inputs)

    def files(self, days: Iterable[dt.date] | None = None) -> list[str]:
        """Data files of the given days (all days by default), ascending by day."""
        wanted = self.days() if days is None else sorted(days)
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


def content_hash(rows: pa.Table) -> str:
    """SHA-256 of the rows as one Arrow IPC record batch, schema included.

    Equal rows hash alike however they are held: a copy (``take``) forgets slices, chunks, and what lies under nulls.
    """
    digest = hashlib.sha256()

    class _Sink:
        closed = False

        def write(self, data: bytes) -> int:
            digest.update(data)
            return len(data)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    with pa.ipc.new_stream(pa.PythonFile(_Sink(), mode="w"), rows.schema) as stream:
        for batch in rows.combine_chunks().take(pa.array(range(rows.num_rows), pa.int64())).to_batches():
            stream.write_batch(batch)
    return digest.hexdigest()


def write_durably(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it appears whole or not at all, and survives a power cut once it has appeared."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        write(temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
