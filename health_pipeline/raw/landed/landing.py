"""Where deliveries land: each file once, whole or not at all.

Layout, below ``<lake root>/<ecosystem>/raw/_landing``::

    <table>/<sha16>/rows.parquet         good rows, sorted by day, key and version
    <table>/<sha16>/quarantine.parquet   rejected rows, each with its reason
    <table>/<sha16>/receipt.json         written last: a landing without it never happened, and is done again
    _seen/<id>.json                      a file (name, mtime, size) that has landed
    _rejected/<id>.json                  a file that could not be read, with what its owner should do
    .reading-*/                          room for what does not fit in memory; goes with the process that made it
"""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from health_pipeline.catalog.model import Catalog, Sum, Table
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError
from health_pipeline.raw.landed.ledger import Ledger, Receipt, age
from health_pipeline.raw.reading.contract import Checked
from health_pipeline.raw.reading.formats import check_csv, check_json, check_parquet
from health_pipeline.raw.reading.reader import csv_parts, file_format, open_engine, read_header
from health_pipeline.raw.reading.rules import PASSING
from health_pipeline.raw.reading.statements import StatementFormat, aggregate
from health_pipeline.raw.schema import QUARANTINE
from health_pipeline.storage.lake import Lake, replace_durably, write_durably

VERSION = "landing-2"
"""Changes when the same file would land as other rows: files in the inbox are then read again."""
UNFINISHED = (".part", ".tmp", ".crdownload")
HIDDEN = (".", "_")
"""Beginnings of names that are nobody's delivery: Spark leaves a ``_SUCCESS`` beside its files."""
SETTLED_SECONDS = 2.0
ABANDONED_SECONDS = 60.0
"""A younger scratch folder may belong to a process that has not come to lock it."""
QUARANTINED = pa.schema(
    [pa.field("table", pa.string()), *QUARANTINE, pa.field("received_at", pa.timestamp("us", tz="UTC"))]
)

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Rejection:
    """A delivered file that could not be read at all: what is wrong, and what to do."""

    name: str
    message: str
    hint: str
    rejected_at: dt.datetime


class Landing:
    """Deliveries of one ecosystem.

    Args:
        lake: the ecosystem's lake.
        catalog: holds the contracts.
        statements: the source's own row-level format (``catalog.ecosystem.statement_adapter``), if any; it is
            aggregated to the catalog's first table.
    """

    def __init__(self, lake: Lake, catalog: Catalog, statements: StatementFormat | None = None) -> None:
        self.catalog = catalog
        self._statements = statements
        self._root = lake.root / "raw" / "_landing"
        self._contracts = {table.name: fingerprint(catalog, table) for table in catalog.tables}
        self._parsed: dict[tuple[str, str], tuple[str, Receipt]] = {}
        self._ledgers: dict[str, tuple[tuple[tuple[str, str], ...], Ledger]] = {}

    @property
    def root(self) -> Path:
        """The folder of all landings; what sources remember lies beside them."""
        return self._root

    def receive(
        self,
        path: Path,
        table: str | None = None,
        delivered_at: dt.datetime | None = None,
        progress: Progress | None = None,
    ) -> Receipt:
        """Land a file. The same content again only moves its ``delivered_at`` forward, unless rows were too early.

        Args:
            path: a file in one of :data:`.reader.FORMATS`.
            table: whose contract it is to meet; by default the one that its name or its folder's name tells.
            delivered_at: aware; the file's modification time by default, but never in the future.
            progress: is told, in a few words, what goes on.

        Raises:
            InputError: the file can't be read, or it is unknown what it holds. Remembered (:meth:`rejections`),
                unless it is missing, a folder, or still being written.
        """
        if path.is_dir() or not path.exists():
            file_format(path)
        if table is not None and table not in self._contracts:
            raise InputError(f"There is no table {table!r}.", did_you_mean(table, self._contracts))
        stat = path.stat()
        now = dt.datetime.now(dt.UTC)
        delivered_at = delivered_at or min(dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC), now)
        sighting, name = self._sighting(path, stat), self.label(path)
        try:
            contract = self.catalog.table(table) if table else table_of_file(path, self.catalog)
            receipt = self._land(path, stat, contract, delivered_at, progress or (lambda _: None))
        except _ChangingError:
            raise
        except InputError as error:
            rejection = Rejection(name, error.message, error.hint, now)
            self._note("_rejected", sighting, asdict(rejection) | {"rejected_at": now.isoformat()})
            raise
        self._note("_seen", sighting, {"name": name, "table": receipt.table, "key": receipt.key})
        for file, rejected in self._rejected():
            if rejected.name == name:
                file.unlink(missing_ok=True)
        return receipt

    def check(self, path: Path, table: Table, scratch: Path, progress: Progress) -> tuple[str, Checked]:
        """Validate a file and land nothing: what format it has, and what was found; its good rows are in ``scratch``.

        Raises:
            InputError: the file can't be read.
        """
        suffix, today = file_format(path), dt.datetime.now(dt.UTC).date()
        with open_engine(scratch) as engine:
            if suffix == ".parquet":
                return "Parquet", check_parquet(engine, path, table, self.catalog, today, scratch)
            if suffix.removesuffix(".gz") in (".jsonl", ".ndjson"):
                return "JSON lines", check_json(engine, path, table, self.catalog, today, scratch)
            parts = csv_parts(path, scratch)
            first = next(parts)
            whole = itertools.chain([first], parts)
            form = self._statements
            if form is not None and table.name == self.catalog.tables[0].name and form.recognises(read_header(first)):
                return form.title, aggregate(engine, whole, form, table, self.catalog, today, scratch, progress)
            return "CSV", check_csv(engine, whole, table, self.catalog, today, scratch)

    def receipts(self, table: str | None = None) -> list[Receipt]:
        """Landings of a table, or of all, oldest delivery first."""
        found = [r for name in ([table] if table else self._contracts) for r in self.ledger(name).receipts]
        return found if table else sorted(found, key=age)

    def ledger(self, table: str) -> Ledger:
        """A table's deliveries as they are now. Receipts that did not change since the last call are not read again."""
        root = self._root / table
        state: list[tuple[str, str]] = []
        for folder in root.iterdir() if root.is_dir() else ():
            try:
                stat = (folder / "receipt.json").stat()
                state.append((folder.name, f"{stat.st_ino} {stat.st_mtime_ns}"))
            except FileNotFoundError:  # being written, or not a landing
                continue
        state.sort()
        held = self._ledgers.get(table)
        if held is not None and held[0] == tuple(state):
            return held[1]
        for key, changed in state:
            if self._parsed.get((table, key), ("", None))[0] != changed:
                self._parsed[table, key] = (changed, Receipt.from_json((root / key / "receipt.json").read_bytes()))
        receipts = (self._parsed[table, key][1] for key, _ in state)
        ledger = Ledger.of(receipts, versioned=self.catalog.table(table).version is not None)
        self._ledgers[table] = (tuple(state), ledger)
        return ledger

    def rows_file(self, receipt: Receipt) -> Path:
        """The good rows of a landing: Parquet, sorted by day, key and version."""
        return self._root / receipt.table / receipt.key / "rows.parquet"

    def is_current(self, receipt: Receipt) -> bool:
        """Whether the rows were checked against the contract as it is now."""
        return receipt.contract == self._contracts[receipt.table]

    def days(self, table: str) -> list[dt.date]:
        """Every day on which anything of the table was delivered, ascending."""
        return self.ledger(table).days()

    def quarantine(self) -> pa.Table:
        """Rejected rows of all landings, oldest delivery first; :data:`QUARANTINED`."""
        tables = []
        for receipt in self.receipts():
            if receipt.quarantined:
                rows = pq.read_table(self.rows_file(receipt).with_name("quarantine.parquet"))
                names = pa.array([receipt.table] * rows.num_rows, pa.string())
                tables.append(rows.add_column(0, "table", names).cast(QUARANTINED))
        return pa.concat_tables(tables) if tables else QUARANTINED.empty_table()

    def new_files(self, inbox: Path, settled_seconds: float = SETTLED_SECONDS) -> list[Path]:
        """Files in a folder that were not received yet as they are now, oldest first. Opens none of them.

        Files in sub-folders named like a table count too.

        Args:
            settled_seconds: how long a file must have been left alone; 0 takes all.
        """
        found = []
        for path in self._files(inbox):
            try:
                stat = path.stat()
            except FileNotFoundError:  # taken away since
                continue
            sighting = self._sighting(path, stat)
            known = any((self._root / kind / f"{sighting}.json").exists() for kind in ("_seen", "_rejected"))
            if not known and (not settled_seconds or time.time() - stat.st_mtime >= settled_seconds):
                found.append((stat.st_mtime_ns, path))
        return [path for _, path in sorted(found)]

    def rejections(self) -> list[Rejection]:
        """Files that could not be read and were not received since under the same name, newest first."""
        return sorted((r for _, r in self._rejected()), key=lambda r: r.rejected_at, reverse=True)

    def label(self, path: Path) -> str:
        """What a person calls a delivered file: its name, after its folder's when that is a table's."""
        return f"{path.parent.name}/{path.name}" if path.parent.name in self._contracts else path.name

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what does not fit in memory. Those of processes that were killed are swept away."""
        self._root.mkdir(parents=True, exist_ok=True)
        for left in self._root.glob(".reading-*"):
            with contextlib.suppress(FileNotFoundError):  # gone with its process meanwhile
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    with _locked(left, wait=False) as ours:
                        if ours:
                            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".reading-") as folder, _locked(Path(folder)):
            yield Path(folder)

    def _files(self, inbox: Path) -> Iterator[Path]:
        for folder in (inbox, *(inbox / table for table in self._contracts)):
            for path in folder.iterdir() if folder.is_dir() else ():
                unfinished = path.name.startswith(HIDDEN) or path.name.lower().endswith(UNFINISHED)
                if not unfinished and path.is_file():
                    yield path

    def _land(
        self, path: Path, before: os.stat_result, table: Table, delivered_at: dt.datetime, progress: Progress
    ) -> Receipt:
        file_format(path)
        progress(f"Checking {path.name}")
        key = _content(path)
        folder = self._root / table.name / key
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            receipt = _receipt(folder)
            if receipt is not None and self.is_current(receipt) and not _passing(receipt):
                if delivered_at > receipt.delivered_at:
                    receipt = replace(receipt, delivered_at=delivered_at)
                    _write(folder / "receipt.json", receipt.to_json())
                return receipt
            if receipt is not None:  # the contract or the date has changed: what was delivered when has not
                delivered_at = max(delivered_at, receipt.delivered_at)
            with self.scratch() as scratch:
                form, checked = self.check(path, table, scratch, progress)
                if (path.stat().st_mtime_ns, path.stat().st_size) != (before.st_mtime_ns, before.st_size):
                    raise _ChangingError(path)
                receipt = self._receipt(key, path, form, table, delivered_at, checked)
                progress(f"Landing {receipt.accepted:,} of {receipt.delivered:,} rows")
                replace_durably(checked.rows, folder / "rows.parquet")
            received = pa.scalar(dt.datetime.now(dt.UTC), QUARANTINED.field("received_at").type)
            rejected = checked.quarantine.append_column("received_at", pa.repeat(received, checked.quarantine.num_rows))
            write_durably(
                folder / "quarantine.parquet", lambda file: pq.write_table(rejected, file, compression="zstd")
            )
            _write(folder / "receipt.json", receipt.to_json())
        return receipt

    def _receipt(
        self, key: str, path: Path, form: str, table: Table, delivered_at: dt.datetime, checked: Checked
    ) -> Receipt:
        return Receipt(
            key=key,
            table=table.name,
            name=self.label(path),
            format=form,
            delivered_at=delivered_at,
            delivered=checked.delivered,
            accepted=checked.accepted,
            duplicates=checked.duplicates,
            quarantined=checked.quarantine.num_rows,
            ignored=checked.ignored,
            drift=checked.drift,
            reasons=checked.reasons,
            days={day: dict(sorted(units.items())) for day, units in sorted(checked.days.items())},
            contract=self._contracts[table.name],
        )

    def _sighting(self, path: Path, stat: os.stat_result) -> str:
        """Identifies a file as it is now, under the present contract: once that changes, all are new."""
        try:
            contract = self._contracts[table_of_file(path, self.catalog).name]
        except InputError:  # of a name that tells no table, which another contract might
            contract = "-".join(self._contracts.values())
        seen = f"{self.label(path)}\0{stat.st_mtime_ns}\0{stat.st_size}\0{contract}"
        return hashlib.sha256(seen.encode()).hexdigest()[:24]

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


def table_of_file(path: Path, catalog: Catalog) -> Table:
    """The table a delivered file belongs to, by its name or by that of its folder.

    The longest table name that the file's name begins with counts, if no letter follows: ``orders_2026-11-01.csv.gz``.

    Raises:
        InputError: no table is named.
    """
    if len(catalog.tables) == 1:
        return catalog.tables[0]
    name = path.name.lower()
    for table in sorted(catalog.tables, key=lambda t: len(t.name), reverse=True):
        if name.startswith(table.name) and not name[len(table.name) : len(table.name) + 1].isalpha():
            return table
    for table in catalog.tables:
        if path.absolute().parent.name.lower() == table.name:
            return table
    known = [table.name for table in catalog.tables]
    near = difflib.get_close_matches(name.split(".")[0].rstrip("0123456789-_"), known, n=1, cutoff=0.6)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"{path.name} does not say which table it belongs to.",
        f"{guess}Begin its name with that of a table, or put it into a folder of that name: {', '.join(known)}.",
    )


def fingerprint(catalog: Catalog, table: Table) -> str:
    """Of all that decides which rows of a file land: what is said about them for people or later stages is not."""
    landing = table.model_copy(
        update={
            "title": "",
            "description": "",
            "columns": tuple(c.model_copy(update={"description": ""}) for c in table.columns),
            "volume": Sum(sum="1"),
            "sparse": False,
            "cluster": None,
            "references": (),
            "derived": (),
        }
    )
    zones = catalog.ecosystem.time_zones
    return f"{VERSION}-{catalog.version(landing, *([zones] if zones else []))}-{catalog.ecosystem.start}"


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


def _passing(receipt: Receipt) -> bool:
    """Whether rows were rejected that may be right by now, though neither they nor the contract changed."""
    return any(reason.endswith(PASSING) for reason in receipt.reasons)


def _write(path: Path, content: bytes) -> None:
    write_durably(path, lambda file: file.write_bytes(content))


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """One process at a time has a folder; whether it is ours. The lock ends with its process, however that ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
