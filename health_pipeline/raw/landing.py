"""Where deliveries land: each file once, whole or not at all, and the newest delivery of every day wins.

Layout, below ``<lake root>/<ecosystem>/raw/_landing``::

    <sha16>/rows.parquet         good rows, sorted by day and key
    <sha16>/quarantine.parquet   rejected rows, each with its reason
    <sha16>/receipt.json         written last: a landing without it never happened, and is done again
    _seen/<id>.json              a file (name, mtime, size) that has landed
    _rejected/<id>.json          a file that could not be read, with what its owner should do
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import InputError
from health_pipeline.raw.contract import (
    QUARANTINE,
    Checked,
    check_csv,
    check_parquet,
    contract_schema,
    sort_order,
)
from health_pipeline.raw.reader import csv_parts, file_format, open_engine, read_header
from health_pipeline.raw.statements import StatementFormat, aggregate
from health_pipeline.storage.lake import Lake, write_durably

VERSION = "landing-1"
"""Changes when the same file would land as other rows: files in the inbox are then read again."""
UNFINISHED = (".part", ".tmp", ".crdownload")
SETTLED_SECONDS = 2.0
BATCH_DAYS = 366
QUARANTINED = QUARANTINE.append(pa.field("received_at", pa.timestamp("us", tz="UTC")))

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Receipt:
    """What became of a delivered file: ``accepted + duplicates + quarantined == delivered``.

    Attributes:
        key: first 16 hexadecimal digits of the SHA-256 of the file's bytes.
        name: the file's name when it first landed.
        format: ``Parquet``, ``CSV``, or the title of the source's own format.
        delivered_at: when it was last delivered, UTC; the newest delivery of a day wins.
        delivered: rows in the file; statements, for a statement dump. So are the next three.
        accepted: those that count.
        duplicates: those that only repeat an accepted one.
        quarantined: those rejected, with a reason.
        ignored: columns that the contract does not know.
        reasons: number of rejected rows by reason.
        days: the units delivered on each day, sorted.
        contract: fingerprint of the contract the rows were checked against.
    """

    key: str
    name: str
    format: str
    delivered_at: dt.datetime
    delivered: int
    accepted: int
    duplicates: int
    quarantined: int
    ignored: tuple[str, ...]
    reasons: Mapping[str, int]
    days: Mapping[dt.date, tuple[str, ...]]
    contract: str

    def to_json(self) -> bytes:
        days = {day.isoformat(): units for day, units in self.days.items()}
        return json.dumps(asdict(self) | {"delivered_at": self.delivered_at.isoformat(), "days": days}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Receipt:
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **fields
            | {
                "delivered_at": dt.datetime.fromisoformat(fields["delivered_at"]),
                "ignored": tuple(fields["ignored"]),
                "days": {dt.date.fromisoformat(day): tuple(units) for day, units in fields["days"].items()},
            }
        )


@dataclass(frozen=True)
class Rejection:
    """A delivered file that could not be read at all: what is wrong, and what to do."""

    name: str
    message: str
    hint: str
    rejected_at: dt.datetime


@dataclass(frozen=True)
class _Index:
    """All receipts, and for each day and unit the one whose rows count."""

    receipts: tuple[Receipt, ...]
    winners: Mapping[dt.date, Mapping[str, Receipt]]


class Landing:
    """Deliveries of one ecosystem.

    Args:
        lake: the ecosystem's lake.
        catalog: holds the contract.
        statements: the source's own row-level format (``catalog.ecosystem.statement_adapter``), if any.
    """

    def __init__(self, lake: Lake, catalog: Catalog, statements: StatementFormat | None = None) -> None:
        self.catalog = catalog
        self.schema = contract_schema(catalog.table)
        self._statements = statements
        self._root = lake.root / "raw" / "_landing"
        self._contract = f"{VERSION}-{catalog.version(catalog.table)}-{catalog.ecosystem.start}"
        self._parsed: dict[str, tuple[str, Receipt]] = {}
        self._index: tuple[tuple[tuple[str, str], ...], _Index] | None = None

    def receive(self, path: Path, delivered_at: dt.datetime | None = None, progress: Progress | None = None) -> Receipt:
        """Land a file. The same content again only moves its ``delivered_at`` forward.

        Args:
            path: a file in one of :data:`.reader.FORMATS`.
            delivered_at: aware; the file's modification time by default, but never in the future.
            progress: is told, in a few words, what goes on.

        Raises:
            InputError: the file can't be read. Remembered (:meth:`rejections`), unless it is missing,
                a folder, or still being written.
        """
        if path.is_dir() or not path.exists():
            file_format(path)
        stat = path.stat()
        now = dt.datetime.now(dt.UTC)
        delivered_at = delivered_at or min(dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC), now)
        sighting = self._sighting(path.name, stat.st_mtime_ns, stat.st_size)
        try:
            receipt = self._land(path, stat, delivered_at, progress or (lambda _: None))
        except _ChangingError:
            raise
        except InputError as error:
            rejection = Rejection(path.name, error.message, error.hint, now)
            self._note("_rejected", sighting, asdict(rejection) | {"rejected_at": now.isoformat()})
            raise
        self._note("_seen", sighting, {"name": path.name, "key": receipt.key})
        for file, rejected in self._rejected():
            if rejected.name == path.name:
                file.unlink(missing_ok=True)
        return receipt

    def receipts(self) -> list[Receipt]:
        """All landings, oldest delivery first."""
        return list(self._read().receipts)

    def days(self) -> list[dt.date]:
        """Every day on which anything was delivered, ascending."""
        return sorted(self._read().winners)

    def day_version(self, day: dt.date) -> str:
        """Fingerprint of which delivery supplies which unit: while it holds, so do the day's rows."""
        digest = hashlib.sha256()
        for unit, receipt in sorted(self._read().winners.get(day, {}).items()):
            digest.update(f"{unit}\0{receipt.key}\0{receipt.contract}\0".encode())
        return digest.hexdigest()[:16]

    def assemble(self, days: Sequence[dt.date]) -> Iterator[tuple[dt.date, pa.Table]]:
        """The rows of each day: for every unit, all those of the newest delivery that has it on that day.

        Args:
            days: in the order in which they are to come.

        Yields:
            the day and its rows: :func:`.contract_schema`, sorted by key; none when nothing was delivered.

        Raises:
            InputError: a landing lacks a column that the contract has got since.
        """
        winners = self._read().winners
        for start in range(0, len(days), BATCH_DAYS):
            batch = days[start : start + BATCH_DAYS]
            wanted: dict[str, list[tuple[dt.date, str]]] = {}
            for day in sorted(set(batch)):
                for unit, receipt in winners.get(day, {}).items():
                    wanted.setdefault(receipt.key, []).append((day, unit))
            tables = [self._rows(key, pairs) for key, pairs in wanted.items()]
            rows = pa.concat_tables(tables) if tables else self.schema.empty_table()
            if len(tables) > 1:
                rows = rows.sort_by([(name, "ascending") for name in sort_order(self.catalog.table)])
            runs = _runs(rows[self.catalog.table.day])
            for day in batch:
                begin, end = runs.get(day, (0, 0))
                yield day, rows.slice(begin, end - begin)

    def quarantine(self) -> pa.Table:
        """Rejected rows of all landings, oldest delivery first; :data:`QUARANTINED`."""
        files = [self._root / receipt.key / "quarantine.parquet" for receipt in self._read().receipts]
        tables = [pq.read_table(file).cast(QUARANTINED) for file in files]
        return pa.concat_tables(tables) if tables else QUARANTINED.empty_table()

    def new_files(self, inbox: Path, settled_seconds: float = SETTLED_SECONDS) -> list[Path]:
        """Files in the inbox that were not received yet as they are now, oldest first. Opens none of them.

        Args:
            settled_seconds: how long a file must have been left alone; 0 takes all.
        """
        found = []
        for path in inbox.iterdir() if inbox.is_dir() else ():
            if path.name.startswith(".") or path.name.lower().endswith(UNFINISHED) or not path.is_file():
                continue
            stat = path.stat()
            sighting = self._sighting(path.name, stat.st_mtime_ns, stat.st_size)
            known = any((self._root / kind / f"{sighting}.json").exists() for kind in ("_seen", "_rejected"))
            if not known and time.time() - stat.st_mtime >= settled_seconds:
                found.append((stat.st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def rejections(self) -> list[Rejection]:
        """Files that could not be read and were not received since under the same name, newest first."""
        return sorted((r for _, r in self._rejected()), key=lambda r: r.rejected_at, reverse=True)

    def _land(self, path: Path, before: os.stat_result, delivered_at: dt.datetime, progress: Progress) -> Receipt:
        suffix = file_format(path)
        progress(f"Checking {path.name}")
        key = _content(path)
        folder = self._root / key
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            receipt = _receipt(folder)
            if receipt is not None and receipt.contract == self._contract:
                if delivered_at > receipt.delivered_at:
                    receipt = replace(receipt, delivered_at=delivered_at)
                    _write(folder / "receipt.json", receipt.to_json())
                return receipt
            if receipt is not None:  # the contract has changed: what was delivered when has not
                delivered_at = max(delivered_at, receipt.delivered_at)
            with tempfile.TemporaryDirectory(dir=self._root, prefix=".reading-") as scratch:
                form, checked = self._check(path, suffix, Path(scratch), progress)
            if (path.stat().st_mtime_ns, path.stat().st_size) != (before.st_mtime_ns, before.st_size):
                raise _ChangingError(path)
            receipt = self._receipt(key, path.name, form, delivered_at, checked)
            progress(f"Landing {receipt.accepted:,} of {receipt.delivered:,} rows")
            received = pa.scalar(dt.datetime.now(dt.UTC), QUARANTINED.field("received_at").type)
            rejected = checked.quarantine.append_column("received_at", pa.repeat(received, checked.quarantine.num_rows))
            for name, rows in (("rows", checked.rows), ("quarantine", rejected)):
                write_durably(folder / f"{name}.parquet", partial(pq.write_table, rows, compression="zstd"))
            _write(folder / "receipt.json", receipt.to_json())
        return receipt

    def _check(self, path: Path, suffix: str, scratch: Path, progress: Progress) -> tuple[str, Checked]:
        today = dt.datetime.now(dt.UTC).date()
        with open_engine(scratch) as engine:
            if suffix == ".parquet":
                return "Parquet", check_parquet(engine, path, self.catalog, today)
            parts = csv_parts(path, scratch)
            first = next(parts)
            whole = itertools.chain([first], parts)
            form = self._statements
            if form is not None and form.recognises(read_header(first)):
                return form.title, aggregate(engine, whole, form, self.catalog, today, scratch, progress)
            return "CSV", check_csv(engine, whole, self.catalog, today, scratch)

    def _receipt(self, key: str, name: str, form: str, delivered_at: dt.datetime, checked: Checked) -> Receipt:
        table = self.catalog.table
        days: dict[dt.date, list[str]] = {}
        pairs = checked.rows.group_by([table.day, table.delivered_by]).aggregate([])
        for day, unit in zip(pairs[table.day].to_pylist(), pairs[table.delivered_by].to_pylist(), strict=True):
            days.setdefault(day, []).append(str(unit))
        return Receipt(
            key=key,
            name=name,
            format=form,
            delivered_at=delivered_at,
            delivered=checked.delivered,
            accepted=checked.accepted,
            duplicates=checked.duplicates,
            quarantined=checked.quarantine.num_rows,
            ignored=checked.ignored,
            reasons=checked.reasons,
            days={day: tuple(sorted(units)) for day, units in sorted(days.items())},
            contract=self._contract,
        )

    def _rows(self, key: str, pairs: Sequence[tuple[dt.date, str]]) -> pa.Table:
        """Rows of one landing for some (day, unit), in their order."""
        table, file = self.catalog.table, self._root / key / "rows.parquet"
        first, last = min(day for day, _ in pairs), max(day for day, _ in pairs)
        rows = pq.read_table(file, partitioning=None, filters=[(table.day, ">=", first), (table.day, "<=", last)])
        for field in self.schema:
            if field.name not in rows.column_names:
                if table.column(field.name).required:
                    receipt = _receipt(self._root / key)
                    name = receipt.name if receipt else key
                    raise InputError(
                        f"{name} was delivered before the contract had {field.name!r}.", "Deliver it again."
                    )
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        rows = rows.select(self.schema.names).cast(self.schema)
        wanted = pa.array([f"{day.isoformat()}\0{unit}" for day, unit in pairs])
        own = pc.binary_join_element_wise(
            rows[table.day].cast(pa.string()), rows[table.delivered_by].cast(pa.string()), "\0"
        )
        return rows.filter(pc.is_in(own, value_set=wanted))

    def _read(self) -> _Index:
        """All receipts; those that did not change since the last call are not read again."""
        state: list[tuple[str, str]] = []
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            try:
                stat = (folder / "receipt.json").stat()
                state.append((folder.name, f"{stat.st_ino} {stat.st_mtime_ns}"))
            except FileNotFoundError:  # being written, or not a landing
                continue
        state.sort()
        if self._index is not None and self._index[0] == tuple(state):
            return self._index[1]
        for key, changed in state:
            if self._parsed.get(key, ("", None))[0] != changed:
                self._parsed[key] = (
                    changed,
                    Receipt.from_json((self._root / key / "receipt.json").read_bytes()),
                )
        receipts = sorted((self._parsed[key][1] for key, _ in state), key=lambda r: (r.delivered_at, r.key))
        winners: dict[dt.date, dict[str, Receipt]] = {}
        for receipt in receipts:
            for day, units in receipt.days.items():
                winners.setdefault(day, {}).update(dict.fromkeys(units, receipt))
        index = _Index(tuple(receipts), winners)
        self._index = (tuple(state), index)
        return index

    def _sighting(self, name: str, modified_ns: int, size: int) -> str:
        """Identifies a file as it is now, under the present contract: once that changes, all are new."""
        return hashlib.sha256(f"{name}\0{modified_ns}\0{size}\0{self._contract}".encode()).hexdigest()[:24]

    def _note(self, kind: str, sighting: str, fields: Mapping[str, str]) -> None:
        folder = self._root / kind
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{sighting}.json", json.dumps(fields).encode())

    def _rejected(self) -> list[tuple[Path, Rejection]]:
        found = []
        for file in (self._root / "_rejected").glob("[!.]*.json"):
            fields = json.loads(file.read_bytes())
            found.append(
                (
                    file,
                    Rejection(**fields | {"rejected_at": dt.datetime.fromisoformat(fields["rejected_at"])}),
                )
            )
        return found


class _ChangingError(InputError):
    """A file that is still being written: not a rejection, since it will be complete soon."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name} changed while it was read.", "Deliver it again once it is complete.")


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InputError(f"{path.name} can't be read: {error.strerror}.", "Check its permissions.") from None


def _receipt(folder: Path) -> Receipt | None:
    try:
        return Receipt.from_json((folder / "receipt.json").read_bytes())
    except FileNotFoundError:
        return None


def _write(path: Path, content: bytes) -> None:
    write_durably(path, lambda file: file.write_bytes(content))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time lands a given content. The lock ends with its process, however that ends."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _runs(days: pa.ChunkedArray) -> dict[dt.date, tuple[int, int]]:
    """First and one-past-last row of each day, in rows sorted by day."""
    encoded = pc.run_end_encode(days.combine_chunks()) if len(days) else None
    if encoded is None:
        return {}
    ends = encoded.run_ends.to_pylist()
    return {day: (begin, end) for day, begin, end in zip(encoded.values.to_pylist(), [0, *ends], ends, strict=False)}
