"""Sources: deliveries that are fetched rather than dropped into the inbox (``sources.yaml``).

What is fetched lands as a file like any other, so it is checked, resolved and corrected like any other. Here is only
what is new: which files and rows were not fetched yet.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from health_pipeline.catalog.model import Catalog, Source, Table
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError, UserError
from health_pipeline.raw.landed.landing import Landing, Rejection
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.raw.sources.memory import (
    Memory,
    Progressed,
    contract_fingerprint,
    file_id,
    reading_fingerprint,
)

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Pulled:
    """What came of one table of one source.

    Attributes:
        source: its name.
        table: the catalog's table; "" for a problem of the source as a whole.
        receipts: of the files that landed.
        problems: what could not be fetched or read, and what to do. The rest went on.
    """

    source: str
    table: str
    receipts: tuple[Receipt, ...] = ()
    problems: tuple[UserError, ...] = ()


@dataclass(frozen=True)
class Looked:
    """What a look at one table of one source found, without fetching anything.

    Attributes:
        new: files, or rows beyond the watermark, that the next pull would fetch.
        unit: ``files`` or ``rows``.
        missing: optional columns of the contract that the source lacks.
        notes: what else is worth knowing.
        problem: why it can't be fetched.
    """

    source: str
    table: str
    new: int = 0
    unit: str = ""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: UserError | None = None


def sources_named(catalog: Catalog, name: str | None) -> Sequence[Source]:
    """All sources, or the one of this name.

    Raises:
        UserError: there is none.
    """
    if not catalog.sources:
        raise UserError(
            f"{catalog.name} declares no sources.", f"Write {catalog.folder / 'sources.yaml'}; see docs/sources.md."
        )
    found = [s for s in catalog.sources if name in (None, s.name)]
    if not found:
        raise UserError(f"There is no source {name!r}.", did_you_mean(name or "", [s.name for s in catalog.sources]))
    return found


def pull_all(
    catalog: Catalog, landing: Landing, progress: Progress | None = None, sources: Sequence[Source] | None = None
) -> list[Pulled]:
    """Fetch and land what is new in every source. A source or table that fails does not hold up the others.

    Args:
        progress: is told, in a few words, what goes on.
        sources: some of the catalog's; all by default.
    """
    say = progress or (lambda _: None)
    found: list[Pulled] = []
    for source in catalog.sources if sources is None else sources:
        memory = Memory(landing.root, source.name)
        say(f"Connecting to {source.name}")
        with memory.held(say):
            pull = _pull_database if source.database else _pull_folder
            pulled: list[Pulled] = []
            try:
                for one in pull(catalog, source, landing, memory, say):
                    pulled.append(one)  # those before a problem count
            except UserError as error:
                pulled.append(Pulled(source.name, "", problems=(error,)))
            # What can't be read is remembered by the landing.
            memory.note_problems([p for one in pulled for p in one.problems if not isinstance(p, InputError)])
        found += pulled
    return found


def problems(catalog: Catalog, landing: Landing) -> list[Rejection]:
    """What the newest pull of each source could not fetch, but for files that can't be read."""
    return [p for source in catalog.sources for p in Memory(landing.root, source.name).problems()]


def look_all(
    catalog: Catalog, landing: Landing, progress: Progress | None = None, sources: Sequence[Source] | None = None
) -> list[Looked]:
    """Connect to every source, and say what a pull would fetch. Nothing is fetched or changed."""
    say = progress or (lambda _: None)
    found: list[Looked] = []
    for source in catalog.sources if sources is None else sources:
        memory = Memory(landing.root, source.name)
        try:
            say(f"Connecting to {source.name}")
            look = _look_at_database if source.database else _look_at_folder
            found += look(catalog, source, memory, say)
        except UserError as error:
            found.append(Looked(source.name, "", problem=error))
    return found


def _pull_database(
    catalog: Catalog, source: Source, landing: Landing, memory: Memory, say: Progress
) -> Iterator[Pulled]:
    from health_pipeline.raw.sources.database import Database, connect

    def pull(database: Database, table: Table, scratch: Path) -> Receipt | None:
        from health_pipeline.raw.sources.rows import Rows

        selection = source.tables[table.name]
        reading = reading_fingerprint(catalog, table, source, selection)
        before = memory.progress(table.name, reading)
        query = database.query(table, selection)
        began = dt.datetime.now(dt.UTC)
        overlap = _overlap(source, table)
        files = database.read(table, query, overlap, before, scratch, say)
        if not files:
            return None
        rows = Rows(table, query.columns, files, scratch)
        known = memory.known(before) if before else None
        mark = before.watermark if before else None
        if table.version:
            news = rows.since(mark, known, overlap, database.zones(table), began)
        else:
            news = rows.changed(mark, known, began)
        receipt = None
        if news.rows:
            target = scratch / f"{table.name}-{source.name}-{began:%Y%m%dT%H%M%S%f}.parquet"
            receipt = landing.receive(news.path.rename(target), table.name, began, say)
        memory.remember(
            table.name,
            Progressed(
                reading=reading,
                watermark=news.watermark,
                known=f"{table.name}-{uuid.uuid4().hex[:16]}.parquet",
                read_at=began,
                rows=(before.rows if before else 0) + news.rows,
            ),
            news.known,
        )
        return receipt

    with connect(catalog, source) as database:
        for name in source.tables:
            with landing.scratch() as scratch:
                try:
                    receipt = pull(database, catalog.table(name), scratch)
                except UserError as error:
                    yield Pulled(source.name, name, problems=(error,))
                else:
                    yield Pulled(source.name, name, (receipt,) if receipt else ())


def _pull_folder(catalog: Catalog, source: Source, landing: Landing, memory: Memory, say: Progress) -> Iterator[Pulled]:
    from health_pipeline.raw.sources.folder import Folder

    folder = Folder(catalog, source)
    fetched = memory.files()
    receipts: dict[str, list[Receipt]] = {}
    problems: dict[str, list[UserError]] = {}
    for file in folder.listing().files:
        table = file.table.name
        known = file_id(file.relative, file.identity, contract_fingerprint(catalog, file.table))
        receipts.setdefault(table, [])
        if known in fetched:
            continue
        with landing.scratch() as scratch:
            say(f"Fetching {file.relative} from {source.name}")
            try:
                path = folder.fetch(file, scratch)
            except UserError as error:  # tried again by the next pull; the other files go on, if there is any point
                problems.setdefault(table, []).append(error)
                if folder.answers():
                    continue
                break
            if path is None:  # being written: the next pull finds it again
                continue
            note = {"file": file.relative, "table": table, "at": dt.datetime.now(dt.UTC).isoformat()}
            try:
                receipt = landing.receive(path, table, progress=say)
            except InputError as error:  # remembered, until the file changes; the other files go on
                problems.setdefault(table, []).append(error)
                memory.note_file(known, note | {"message": error.message, "hint": error.hint})
            else:
                receipts[table].append(receipt)
                memory.note_file(known, note | {"landing": receipt.key})
    for table in receipts:
        yield Pulled(source.name, table, tuple(receipts[table]), tuple(problems.get(table, ())))


def _look_at_database(catalog: Catalog, source: Source, memory: Memory, say: Progress) -> Iterator[Looked]:
    from health_pipeline.raw.sources.database import connect

    with connect(catalog, source) as database:
        for name, selection in source.tables.items():
            say(f"Looking at {name} in {source.name}")
            table = catalog.table(name)
            try:
                before = memory.progress(name, reading_fingerprint(catalog, table, source, selection))
                query = database.query(table, selection)
                new = database.newer(table, query, before)
            except UserError as error:
                yield Looked(source.name, name, problem=error)
                continue
            mark = before.watermark if before else None
            note = f"read up to {mark}" if mark else "read whole each time" if before else "never read"
            yield Looked(source.name, name, new, "rows", query.missing, (note,))


def _look_at_folder(catalog: Catalog, source: Source, memory: Memory, say: Progress) -> Iterator[Looked]:
    from health_pipeline.raw.sources.folder import Folder

    say(f"Listing {source.name}")
    listing, fetched = Folder(catalog, source).listing(), memory.files()
    new: dict[str, int] = {}
    for file in listing.files:
        known = file_id(file.relative, file.identity, contract_fingerprint(catalog, file.table)) in fetched
        new[file.table.name] = new.get(file.table.name, 0) + (not known)
    for table, count in new.items():
        yield Looked(source.name, table, count, "files")
    notes = [
        f"{len(files):,} {what}, for example {files[0]}"
        for files, what in ((listing.others, "files of no table"), (listing.unfinished, "files still being written"))
        if files
    ]
    if notes or not new:
        yield Looked(source.name, "", unit="files", notes=tuple(notes) or ("no files",))


def _overlap(source: Source, table: Table) -> dt.timedelta:
    """How far before the watermark a table is read again."""
    if table.version:
        return dt.timedelta(minutes=source.overlap_minutes)
    return dt.timedelta(days=source.tables[table.name].days_back or 0)
