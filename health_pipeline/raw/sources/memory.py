"""What was fetched from each source, so that it is fetched once.

Below ``<landing>/_sources/<source>``::

    tables/<table>.json          how far a database's table was read (:class:`Watermark`), and the name of ...
    tables/<table>-<id>.parquet  ... the rows it may return again, by hash
    files/<id>.json              a file of a folder that was fetched, and what became of it
    problems.json                what the newest pull could not fetch
    .lock                        held while a process fetches

Both are written after what they tell of has landed: a crash repeats work, and loses nothing.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from health_pipeline.catalog.model import Catalog, Selection, Source, Table
from health_pipeline.errors import UserError
from health_pipeline.raw.landed.landing import Rejection
from health_pipeline.storage.lake import write_durably

VERSION = "sources-1"
"""Changes when the same source would be read as other rows: everything is then read again."""
Kind = Literal["instant", "local", "date", "text"]


@dataclass(frozen=True)
class Watermark:
    """The greatest value of the column by which a table is read, as the database has it.

    Attributes:
        kind: an instant; a time without a zone; a date; or a text, which is compared by its date.
        value: ISO 8601.
    """

    kind: Kind
    value: str

    def __str__(self) -> str:
        """To the minute."""
        return self.value[:16].replace("T", " ") + (" UTC" if self.kind == "instant" else "")


@dataclass(frozen=True)
class Progressed:
    """How far a table was read.

    Attributes:
        reading: fingerprint of what is read and under which contract; once it changes, all is read again.
        watermark: ``None`` for tables that are read whole.
        known: file with the hashes of the rows that may come again (rows of a version, or of a unit's day).
        read_at: when the newest read began, UTC.
        rows: how many rows have landed so far.
    """

    reading: str
    watermark: Watermark | None
    known: str
    read_at: dt.datetime
    rows: int


class Memory:
    """What is remembered about one source."""

    def __init__(self, landing_root: Path, source: str) -> None:
        self.folder = landing_root / "_sources" / source
        self._tables = self.folder / "tables"

    @contextmanager
    def held(self, say: Callable[[str], object]) -> Iterator[None]:
        """One process at a time fetches from a source. The lock ends with its process, however that ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Waiting for another pull of {self.folder.name}")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def progress(self, table: str, reading: str) -> Progressed | None:
        """How far a table was read, or ``None`` when it has to be read from its beginning."""
        try:
            fields = json.loads((self._tables / f"{table}.json").read_bytes())
        except FileNotFoundError:
            return None
        if fields["reading"] != reading or not (self._tables / fields["known"]).exists():
            return None
        mark = Watermark(**fields["watermark"]) if fields["watermark"] else None
        return Progressed(**fields | {"watermark": mark, "read_at": dt.datetime.fromisoformat(fields["read_at"])})

    def known(self, progressed: Progressed) -> Path:
        return self._tables / progressed.known

    def remember(self, table: str, progressed: Progressed, known: Path) -> None:
        """Note that a table was read so far: all at once, and only now.

        Args:
            known: the file with hashes, which is copied in under the name ``progressed.known``.
        """
        self._tables.mkdir(parents=True, exist_ok=True)
        write_durably(self._tables / progressed.known, lambda path: shutil.copyfile(known, path))
        fields = asdict(progressed) | {"read_at": progressed.read_at.isoformat()}
        _write(self._tables / f"{table}.json", fields)
        for other in self._tables.glob(f"{table}-*.parquet"):
            if other.name != progressed.known:
                other.unlink(missing_ok=True)

    def note_problems(self, problems: Sequence[UserError]) -> None:
        """Note what the newest pull could not fetch, in place of what the one before could not."""
        file, now = self.folder / "problems.json", dt.datetime.now(dt.UTC).isoformat()
        if problems:
            _write(file, [{"message": p.message, "hint": p.hint, "rejected_at": now} for p in problems])
        else:
            file.unlink(missing_ok=True)

    def problems(self) -> list[Rejection]:
        """What the newest pull could not fetch."""
        try:
            noted = json.loads((self.folder / "problems.json").read_bytes())
        except FileNotFoundError:
            return []
        return [
            Rejection(self.folder.name, p["message"], p["hint"], dt.datetime.fromisoformat(p["rejected_at"]))
            for p in noted
        ]

    def files(self) -> set[str]:
        """Ids of all files as they were when last fetched: what a file was before that may come again, and is news."""
        newest: dict[str, tuple[str, str]] = {}
        for path in (self.folder / "files").glob("*.json"):
            noted = json.loads(path.read_bytes())
            newest[noted["file"]] = max(newest.get(noted["file"], ("", "")), (noted["at"], path.stem))
        return {file_id for _, file_id in newest.values()}

    def note_file(self, file_id: str, fields: Mapping[str, str]) -> None:
        """Note what became of a fetched file."""
        (self.folder / "files").mkdir(parents=True, exist_ok=True)
        _write(self.folder / "files" / f"{file_id}.json", fields)


def contract_fingerprint(catalog: Catalog, table: Table) -> str:
    """Changes when the same delivered rows would land otherwise: they must then be fetched again."""
    said = table.model_dump(include={"name", "key", "day", "delivered_by", "version", "lateness_days", "known_ahead"})
    said["columns"] = [c.model_dump(exclude={"description"}) for c in table.columns]
    zones = catalog.ecosystem.time_zones
    said["start"] = catalog.ecosystem.start.isoformat()
    said["time_zones"] = zones.model_dump() if zones else None
    return hashlib.sha256(json.dumps([VERSION, said], sort_keys=True).encode()).hexdigest()[:16]


def reading_fingerprint(catalog: Catalog, table: Table, source: Source, selection: Selection) -> str:
    """Changes when another query, another database or another contract makes what was read worthless."""
    said = [source.database, selection.select, contract_fingerprint(catalog, table)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def file_id(relative: str, identity: str, contract: str) -> str:
    """Identifies a remote file as it is now, under the present contract."""
    return hashlib.sha256(f"{relative}\0{identity}\0{contract}".encode()).hexdigest()[:24]


def _write(path: Path, fields: Mapping[str, object] | Sequence[Mapping[str, object]]) -> None:
    text = json.dumps(fields, indent=1).encode()
    write_durably(path, lambda file: file.write_bytes(text))
