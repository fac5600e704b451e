"""The facts of a day: of all that was delivered for it, the rows that count, with what loading adds to them.

Where rows are a day's result, those of each unit's newest delivery. Where they have versions, every version of every
key once, each with the instant at which the next one superseded it: a function of the set of delivered rows, so that
neither the order of deliveries nor their number nor how rows are divided among them matters.

One query per batch of days; its rows are published as they come, so that a day may be larger than memory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from health_pipeline.catalog.model import SQL_TYPES, Catalog, Derived, Table
from health_pipeline.errors import CatalogError, InputError
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.landed.ledger import Ledger, Supply
from health_pipeline.raw.schema import facts_schema, identity, landed_schema, sort_order
from health_pipeline.storage.derive import Derivation, Rows
from health_pipeline.storage.engine import Engine, sql_type
from health_pipeline.storage.lake import CHUNK_ROWS, LakeTable
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VERSION = "facts-2"
BATCH_ROWS = 4_000_000
"""Days with fewer rows are put in order together; a larger one by itself."""
CLUSTERS = 64

Batches = Iterator[pa.RecordBatch]


def derivation(landing: Landing, engine: Engine, table: Table, facts: LakeTable) -> Derivation:
    """Facts follow from what has landed, not from a lake table: their fingerprint is the ledger's."""

    @cache
    def ledger() -> Ledger:  # read once: what is computed is what was found to be out of date
        return landing.ledger(table.name)

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[Rows]]]:
        for day, rows in assemble(landing, engine, table, days, ledger()):
            yield day, [rows]

    return Derivation(
        [facts],
        lambda day: [],
        f"{VERSION}-{version(landing.catalog, table)}",
        compute,
        extra=lambda day: ledger().version(day),
    )


def days(landing: Landing, table: Table, facts: LakeTable) -> list[dt.date]:
    """Days on which anything was delivered or is published, ascending: a correction may leave a day without rows."""
    return sorted({*landing.days(table.name), *facts.days()})


def version(catalog: Catalog, table: Table) -> str:
    """Changes when what loading adds to landed rows, or how it chooses among them, is declared otherwise."""
    derived = tuple(d.model_copy(update={"description": ""}) for d in table.derived)
    columns = tuple(c.model_copy(update={"description": ""}) for c in table.columns)
    shape = f"{table.key}-{table.delivered_by}-{table.version}-{table.cluster}"
    return f"{shape}-{catalog.version(derived, columns)}"


def assemble(
    landing: Landing, engine: Engine, table: Table, days: Sequence[dt.date], ledger: Ledger | None = None
) -> Iterator[tuple[dt.date, Batches]]:
    """The facts of each day, in :func:`.contract.facts_schema`, sorted by key and version.

    Args:
        days: ascending.
        ledger: the table's deliveries; by default as they are now.

    Yields:
        the day and its rows, bit by bit; they are gone when the next day is asked for.

    Raises:
        InputError: a landing lacks a column that the contract has got since.
        CatalogError: a derived column can't be computed.
    """
    ledger = ledger or landing.ledger(table.name)
    for batch in _batches(ledger, days):
        supplied = {day: ledger.supplies(day) for day in batch}
        if not any(supplied.values()):
            yield from ((day, iter(())) for day in batch)
            continue
        with landing.scratch() as scratch, engine.spilling(scratch) as connection:
            source = _source(landing, connection, table, supplied)
            rows = _stream(connection, table, source, in_order=_in_order(landing, supplied))
            yield from by_day(succeeded(rows, table) if table.version else rows, batch)


def _batches(ledger: Ledger, days: Sequence[dt.date]) -> Iterator[list[dt.date]]:
    """Days that are read together: few enough rows to sort, or neighbours that one delivery alone supplies."""
    batch: list[dt.date] = []
    rows, only = 0, None  # of the batch: its rows, and the delivery that alone supplies it
    for day in days:
        supplies = ledger.supplies(day)
        count = sum(s.rows for s in supplies)
        alone = supplies[0].receipt.key if len(supplies) == 1 and supplies[0].units is None else None
        in_order = alone is not None and alone == only and day - batch[-1] == dt.timedelta(days=1)
        if batch and not (in_order or rows + count <= BATCH_ROWS):
            yield batch
            batch, rows = [], 0
        only = alone if in_order or not batch else None
        batch.append(day)
        rows += count
    if batch:
        yield batch


def _in_order(landing: Landing, supplied: dict[dt.date, tuple[Supply, ...]]) -> bool:
    """Whether one delivery alone supplies every day: then its rows are sorted, and no version is in them twice."""
    receipts = {s.receipt.key: s.receipt for supplies in supplied.values() for s in supplies}
    return len(receipts) == 1 and all(map(landing.is_current, receipts.values())) and _neighbours(supplied)


def _neighbours(days: Collection[dt.date]) -> bool:
    return (max(days) - min(days)).days == len(days) - 1


def _source(
    landing: Landing, connection: DuckDBPyConnection, table: Table, supplied: dict[dt.date, tuple[Supply, ...]]
) -> str:
    """SQL of the landed rows that the deliveries supply, in the contract's types."""
    first, last = min(supplied), max(supplied)
    asked = f"r.day BETWEEN DATE '{first}' AND DATE '{last}'"
    if not _neighbours(supplied):
        asked += f" AND r.day IN ({', '.join(literal(day.isoformat()) for day in supplied)})"
    wanted: dict[str, list[tuple[dt.date, Supply]]] = {}
    for day, supplies in supplied.items():
        for supply in supplies:
            wanted.setdefault(supply.receipt.key, []).append((day, supply))
    # Columns and their types -> files read alike: of several files DuckDB takes the first one's types for all.
    whole: dict[tuple[str, str], list[str]] = {}
    parts: list[str] = []
    for pairs in wanted.values():
        receipt = pairs[0][1].receipt
        file = landing.rows_file(receipt)
        held = None if landing.is_current(receipt) else _held(file, receipt.contract)
        columns = _columns(table, held, receipt.name)
        everything = len(pairs) == sum(day in supplied for day in receipt.days)
        if everything and all(supply.units is None for _, supply in pairs):
            whole.setdefault((columns, str(held)), []).append(literal(file))
            continue
        name = f"supplied_{len(parts)}"
        connection.register(name, _pairs(pairs))
        parts.append(
            f"SELECT {columns} FROM read_parquet({literal(file)}) r SEMI JOIN {name} s "
            f'ON r.day = s.day AND CAST(r."{table.delivered_by}" AS VARCHAR) = s.unit WHERE {asked}'
        )
    parts += [
        f"SELECT {columns} FROM read_parquet([{', '.join(files)}]) r WHERE {asked}"
        for (columns, _), files in whole.items()
    ]
    return " UNION ALL ".join(parts)


@lru_cache(maxsize=4096)
def _held(file: Path, contract: str) -> dict[str, str]:
    """Column -> type of a landing; it is written again only under another contract."""
    return {field.name: str(field.type) for field in pq.read_schema(file)}


def _pairs(pairs: Iterable[tuple[dt.date, Supply]]) -> pa.Table:
    found = [(day, unit) for day, s in pairs for unit in (s.receipt.days[day] if s.units is None else s.units)]
    return pa.table({"day": [day for day, _ in found], "unit": [unit for _, unit in found]})


def _columns(table: Table, held: Collection[str] | None, file: str) -> str:
    """What to select from a landing; ``held`` are its columns if it was checked against an older contract."""
    selected = []
    for field in landed_schema(table):
        kind = sql_type(field.type)
        if held is None or field.name in held:
            # Two zeros that are equal must not differ in their sign: which of them counts would be left to chance.
            zero = " + 0.0" if kind == "DOUBLE" else ""
            selected.append(f'CAST(r."{field.name}" AS {kind}){zero} AS "{field.name}"')
        elif table.column(field.name).required:
            raise InputError(f"{file} was delivered before the contract had {field.name!r}.", "Deliver it again.")
        else:
            selected.append(f'CAST(NULL AS {kind}) AS "{field.name}"')
    return ", ".join(selected)


def facts_sql(table: Table, source: str, in_order: bool) -> str:
    """SQL of all facts but ``superseded_at``, from landed rows.

    Args:
        source: SQL of the landed rows.
        in_order: they come sorted, with every version of a key once.
    """
    added = [f'{_derived(d)} AS "{d.name}"' for d in table.derived]
    if table.cluster:
        # The first byte of MD5: any engine can compute it, and creators fall evenly on the clusters.
        first_byte = f"CAST('0x' || substr(md5(CAST(\"{table.cluster}\" AS VARCHAR)), 1, 2) AS INTEGER)"
        added.append(f"{first_byte} % {CLUSTERS} AS cluster")
    selected = ", ".join(["*", *added])
    order = ", ".join(f'"{name}"' for name in sort_order(table))
    return f"SELECT {selected} FROM ({source})" + ("" if in_order else f" ORDER BY {order}")


def _derived(derived: Derived) -> str:
    """SQL of a derived column; what is infinite or no number (a division by zero) is no value."""
    value = f"CAST(({derived.sql}) AS {SQL_TYPES[derived.type]})"
    return f"CASE WHEN isfinite({value}) THEN {value} END" if derived.type == "number" else value


def _stream(connection: DuckDBPyConnection, table: Table, source: str, in_order: bool) -> Batches:
    """Rows of a query as they are computed."""
    import duckdb

    try:
        yield from connection.sql(facts_sql(table, source, in_order)).to_arrow_reader(CHUNK_ROWS)
    except (duckdb.Error, OSError) as error:  # while rows stream, DuckDB's errors come through Arrow
        raise _blamed(connection, table, source) or error from None


def _blamed(connection: DuckDBPyConnection, table: Table, source: str) -> CatalogError | None:
    """Which derived column can't be computed, if it is one's fault."""
    import duckdb

    for derived in table.derived:
        try:
            connection.sql(f"SELECT count({_derived(derived)}) FROM ({source})").fetchall()
        except duckdb.Error as error:
            says = str(error).strip().splitlines()[0].rstrip(".")
            return CatalogError(
                f"The derived column {derived.name!r} of {table.name} can't be computed: {says}.",
                f"Correct its `sql` in tables.yaml: {derived.sql}",
            )
    return None


def succeeded(batches: Iterable[pa.RecordBatch], table: Table) -> Batches:
    """Each version of each key once, with ``superseded_at``.

    Args:
        batches: rows sorted by day, key and version.
    """
    assert table.version is not None
    key, version = identity(table), table.version
    schema = pa.schema([f for f in facts_schema(table) if f.name != "superseded_at"])
    held = schema.empty_table()  # the last version, of which more rows may come
    for batch in batches:
        rows = pa.concat_tables([held, pa.Table.from_batches([batch]).cast(schema)])
        if not rows.num_rows:
            continue
        ends = pc.indices_nonzero(pc.invert(_like_next(rows, [*key, version])))
        begin = ends[-1].as_py() + 1 if len(ends) else 0
        done, held = _one_of_each(rows.slice(0, begin), table), rows.slice(begin)
        ahead = pa.concat_tables([done, held.slice(0, 1)])
        superseded = pc.if_else(_like_next(ahead, key), ahead[version].combine_chunks().slice(1), None)
        yield from _with_successor(done, superseded)
    last = _one_of_each(held, table)
    yield from _with_successor(last, pa.nulls(last.num_rows, pa.timestamp("us")))


def _with_successor(rows: pa.Table, superseded: pa.Array) -> Batches:
    yield from rows.append_column(pa.field("superseded_at", pa.timestamp("us")), superseded).to_batches()


def _one_of_each(rows: pa.Table, table: Table) -> pa.Table:
    """Of rows with the same key and version the first by :func:`.contract.content_order`, as within a file.

    Sorting all rows by their whole content would do the same and take five times as long.
    """
    assert table.version is not None
    if rows.num_rows < 2:
        return rows
    row, content = [*identity(table), table.version], [c.name for c in table.columns]
    same = _like_next(rows, row)
    if pc.any(same).as_py():  # most of them come again as they were: then they are neighbours, or soon dealt with
        rows = rows.filter(_padded(pc.invert(_like_next(rows, content)), after=True))
        same = _like_next(rows, row)
    if not pc.any(same).as_py():
        return rows
    group = pc.cumulative_sum(_padded(pc.invert(same), after=False).cast(pa.int64()))
    numbered = rows.append_column("group", group)
    tied = pc.or_(_padded(same, after=True, value=False), _padded(same, after=False, value=False))
    order = [("group", "ascending"), *((name, "descending") for name in content)]
    doubtful = numbered.filter(tied)
    doubtful = doubtful.take(pc.sort_indices(doubtful, order))
    first = doubtful.filter(_padded(pc.invert(_like_next(doubtful, ["group"])), after=False))
    return pa.concat_tables([numbered.filter(pc.invert(tied)), first]).sort_by("group").drop_columns("group")


def _padded(values: pa.Array, after: bool, value: bool = True) -> pa.Array:
    """What holds between neighbours, as a mask over rows."""
    pad = pa.array([value])
    return pa.concat_arrays([values, pad] if after else [pad, values])


def _like_next(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """For each row but the last, whether the next has the same values in these columns."""
    same = pa.repeat(pa.scalar(True), rows.num_rows - 1)
    for name in columns:
        values = rows[name].combine_chunks()
        here, there = values.slice(0, len(values) - 1), values.slice(1)
        equal = pc.fill_null(pc.equal(here, there), False)
        if values.null_count:
            equal = pc.or_(equal, pc.and_(pc.is_null(here), pc.is_null(there)))
        same = pc.and_(same, equal)
    return same


def by_day(batches: Iterable[pa.RecordBatch], days: Iterable[dt.date]) -> Iterator[tuple[dt.date, Batches]]:
    """Cut rows that are sorted by ``day``; rows of days that are not asked for are left out.

    A day's rows must be consumed before the next day is asked for; what is not is dropped.
    """
    pieces = _pieces(batches)
    ahead = next(pieces, None)

    def own(day: dt.date) -> Batches:
        nonlocal ahead
        while ahead is not None and ahead[0] == day:
            yield ahead[1]
            ahead = next(pieces, None)

    for day in days:
        while ahead is not None and ahead[0] < day:
            ahead = next(pieces, None)
        yield day, (rows := own(day))
        for _ in rows:
            pass


def _pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[dt.date, pa.RecordBatch]]:
    for batch in batches:
        if batch.num_rows:
            encoded = pc.run_end_encode(batch.column("day"))
            begin = 0
            for day, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
                yield day, batch.slice(begin, end - begin)
                begin = end
