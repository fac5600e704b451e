"""Rows of a database cursor as Parquet files, in bounded memory; and what of them is new.

A driver gives Python values, whose types may differ from the contract's and even from row to row (SQLite). A value
is stored in the contract's type when nothing is lost by it, and as text otherwise: what to make of a text is up to
the contract, as with any other delivery.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from health_pipeline.catalog.model import Table, TimeZones
from health_pipeline.raw.reading.reader import open_engine
from health_pipeline.raw.sources.memory import Kind, Watermark
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

INSTANT, LOCAL = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
PREFERRED = {
    "date": pa.date32(), "timestamp": LOCAL, "text": pa.string(), "integer": pa.int64(), "number": pa.float64(),
    "boolean": pa.bool_(),
}  # fmt: skip
SQL_TYPES = {
    pa.date32(): "DATE", LOCAL: "TIMESTAMP", INSTANT: "TIMESTAMPTZ", pa.string(): "VARCHAR", pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN",
}  # fmt: skip
KINDS: dict[pa.DataType, Kind] = {INSTANT: "instant", LOCAL: "local", pa.date32(): "date", pa.string(): "text"}
DAY = dt.timedelta(days=1)
HASH, TEXT, UNIT, DATE = '"its hash"', '"its text"', '"its unit"', '"its day"'
"""Columns beside the contract's, under names that no column of a contract can have."""


@dataclass(frozen=True)
class RowFile:
    """Rows that a cursor gave, one after the other, while the types of its columns stayed the same.

    Attributes:
        types: column -> the type it is stored in, ``None`` when no row has a value.
    """

    path: Path
    types: Mapping[str, pa.DataType | None]
    rows: int


def write_rows(
    table: Table, columns: Sequence[str], chunks: Iterable[Sequence[Sequence[Any]]], scratch: Path
) -> list[RowFile]:
    """Write a cursor's rows to Parquet files in ``scratch``; mostly to one, as types rarely change.

    Args:
        columns: columns of the contract, in the order of the rows' values.
        chunks: rows as they come, so many at a time as may be held in memory.
    """
    files: list[RowFile] = []
    writer: pq.ParquetWriter | None = None
    types = {name: PREFERRED[table.column(name).type] for name in columns}
    valued: set[str] = set()
    path, rows = scratch, 0
    with contextlib.ExitStack() as stack:
        for chunk in chunks:
            arrays = {
                name: as_arrow(values, table.column(name).type)
                for name, values in zip(columns, zip(*chunk, strict=True), strict=True)
            }
            found = {name: array.type for name, array in arrays.items() if array is not None}
            if writer is None or types != types | found:
                if writer is not None:
                    stack.close()
                    files.append(RowFile(path, {n: types[n] if n in valued else None for n in columns}, rows))
                types, valued, rows = types | found, set(), 0
                path = scratch / f"rows-{len(files):04}.parquet"
                schema = pa.schema([(name, types[name]) for name in columns])
                writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
            batch = [pa.nulls(len(chunk), types[n]) if (array := arrays[n]) is None else array for n in columns]
            writer.write_batch(pa.record_batch(batch, names=list(columns)))
            valued |= found.keys()
            rows += len(chunk)
    if writer is not None:
        files.append(RowFile(path, {n: types[n] if n in valued else None for n in columns}, rows))
    return files


def as_arrow(values: Sequence[Any], kind: str) -> pa.Array | None:
    """A column's values in the type of its contract if that loses nothing, else as text; ``None`` without any value.

    Args:
        kind: a type of the contract (:class:`.model.Column`).
    """
    types = set(map(type, values))
    types.discard(type(None))
    if not types:
        return None
    match kind:
        case "text" if types == {str}:
            return pa.array(values, pa.string())
        case "date" if types == {dt.date}:
            return pa.array(values, pa.date32())
        case "date" if types == {dt.datetime} and all(v is None or _midnight(v) for v in values):
            return pa.array([v and v.date() for v in values], pa.date32())
        case "timestamp" if types == {dt.datetime}:
            zoned = {v.tzinfo is not None for v in values if v is not None}
            if len(zoned) == 1:
                return pa.array(values, INSTANT if zoned == {True} else LOCAL)
        case "timestamp" if types == {dt.date}:
            return pa.array(values, pa.date32())
        case "integer" if types <= {int, decimal.Decimal, float}:
            whole = [None if v is None else _whole(v) for v in values]
            if all((v is None) == (w is None) for v, w in zip(values, whole, strict=True)):
                return pa.array(whole, pa.int64())
        case "number" if types <= {int, decimal.Decimal, float}:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        case "boolean" if types == {bool} or (types == {int} and {0, 1, None}.issuperset(values)):
            return pa.array([None if v is None else bool(v) for v in values], pa.bool_())
    return pa.array([None if v is None else _text(v) for v in values], pa.string())


def _midnight(value: dt.datetime) -> bool:
    return value.tzinfo is None and value.time() == dt.time()


def _whole(value: float | decimal.Decimal) -> int | None:
    """A whole number of 64 bits, or ``None``."""
    if not math.isfinite(value) or value != (whole := int(value)):
        return None
    return whole if -(2**63) <= whole < 2**63 else None


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case dt.datetime():
            return value.isoformat(sep=" ")
        case dt.date() | dt.time():
            return value.isoformat()
        case decimal.Decimal():
            return format(value, "f")
        case bytes() | bytearray() | memoryview():
            raw = bytes(value)
            try:
                return raw.decode()
            except UnicodeDecodeError:
                return raw.hex()
        case dict() | list():
            return json.dumps(value, default=str, sort_keys=True, ensure_ascii=False)
        case uuid.UUID():
            return str(value)
    return str(value)


def cutoff(mark: Watermark, overlap: dt.timedelta, zones: TimeZones | None) -> dt.datetime | dt.date | str:
    """From where to read again, that value included.

    Args:
        overlap: rows may become visible so much later than their value says.
        zones: of times without a zone. Such times run apart in different zones, so the overlap grows by as much.
    """
    days = dt.timedelta(days=math.ceil(overlap / DAY))
    match mark.kind:
        case "instant":
            return dt.datetime.fromisoformat(mark.value) - overlap
        case "local":
            return dt.datetime.fromisoformat(mark.value) - overlap - (spread(zones)[1] - spread(zones)[0])
        case "date":
            return dt.date.fromisoformat(mark.value) - days
        case "text":  # 2026-11-01T00:00+07:00 and 2026-10-31 17:00 are the same: only the dates compare, to a day
            return (dt.date.fromisoformat(mark.value[:10]) - days - DAY).isoformat()


def spread(zones: TimeZones | None) -> tuple[dt.timedelta, dt.timedelta]:
    """The smallest and the greatest offset from UTC among the zones, in any season."""
    from zoneinfo import ZoneInfo

    seasons = [dt.datetime(2026, month, 1) for month in (1, 4, 7, 10)]
    names = zones.zones.values() if zones else ()
    offsets = [ZoneInfo(name).utcoffset(at) or dt.timedelta() for name in names for at in seasons]
    return (min(offsets), max(offsets)) if offsets else (dt.timedelta(), dt.timedelta())


@dataclass(frozen=True)
class News:
    """What of the rows read is new.

    Attributes:
        path: Parquet file of the new rows.
        rows: how many they are.
        watermark: where the next read starts, less the overlap.
        known: Parquet file with the hashes of the rows that may come again.
    """

    path: Path
    rows: int
    watermark: Watermark | None
    known: Path


class Rows:
    """Rows read in one go, as SQL.

    Args:
        files: from :func:`write_rows`, at least one.
        scratch: folder for what does not fit in memory, and for the results.
    """

    def __init__(self, table: Table, columns: Sequence[str], files: Sequence[RowFile], scratch: Path) -> None:
        self._table, self._files, self._scratch = table, files, scratch
        self.types = {name: _one_type([f.types[name] for f in files], table, name) for name in columns}

    def since(
        self,
        before: Watermark | None,
        known: Path | None,
        overlap: dt.timedelta,
        zones: TimeZones | None,
        now: dt.datetime,
    ) -> News:
        """The rows of a versioned table that were not read before.

        Args:
            before: the watermark of the read before.
            known: hashes of the rows read then that may have come again.
            now: when the read began. A version in the future does not move the watermark beyond it: other rows
                would be skipped until that day.
        """
        version = self._table.version
        assert version is not None
        with self._engine() as engine:
            mark = self._mark(engine, version, before, zones, now)
            engine.execute(f"CREATE VIEW hashed AS SELECT *, unhex(md5({self._as_text()})) AS {HASH} FROM delivered")
            path, rows = self._files[0].path, sum(f.rows for f in self._files)
            if known is not None:
                path = self._scratch / "new.parquet"
                self._copy(engine, f"FROM hashed ANTI JOIN read_parquet({literal(known)}) USING ({HASH})", path)
                rows = _count(engine, path)
            elif len(self._files) > 1:
                path = self._scratch / "new.parquet"
                self._copy(engine, "FROM delivered", path)
            later = f'WHERE "{version}" >= {_constant(cutoff(mark, overlap, zones))}' if mark else ""
            again = self._keep(engine, f"SELECT DISTINCT {HASH} FROM hashed {later}")
        return News(path, rows, mark, again)

    def changed(self, before: Watermark | None, known: Path | None, now: dt.datetime) -> News:
        """The rows of a table without versions, for each unit and day of which anything is other than before.

        A unit's day is delivered whole or not at all, as it replaces what was delivered before. Where the day follows
        from a time, all rows count as one day.
        """
        table = self._table
        by_day = table.column(table.day).type == "date"
        unit, day = (f'"{table.delivered_by}"', f'"{table.day}"') if by_day else ("NULL", "NULL")
        groups = (
            f"coalesce(CAST({unit} AS VARCHAR), '') AS {UNIT}, coalesce(left(CAST({day} AS VARCHAR), 10), '') AS {DATE}"
        )
        with self._engine() as engine:
            mark = self._mark(engine, table.day, before, None, now) if by_day else None
            engine.execute(f"CREATE VIEW grouped AS SELECT *, {groups}, {self._as_text()} AS {TEXT} FROM delivered")
            # The order in which a database gives rows is its own: sums don't depend on it.
            engine.execute(
                f"CREATE TABLE digests AS SELECT {UNIT}, {DATE}, count(*) || ' ' || sum(md5_number_lower({TEXT})) "
                f"|| ' ' || sum(md5_number_upper({TEXT})) AS digest FROM grouped GROUP BY ALL"
            )
            past = f"FROM read_parquet({literal(known)})" if known is not None else "FROM digests LIMIT 0"
            engine.execute(f"CREATE TABLE known AS {past}")
            engine.execute(f"CREATE TABLE news AS FROM digests ANTI JOIN known USING ({UNIT}, {DATE}, digest)")
            path = self._scratch / "new.parquet"
            self._copy(engine, f"FROM grouped SEMI JOIN news USING ({UNIT}, {DATE})", path)
            again = self._keep(
                engine, f"SELECT * FROM digests UNION ALL SELECT * FROM known ANTI JOIN digests USING ({UNIT}, {DATE})"
            )
            return News(path, _count(engine, path), mark, again)

    def _engine(self) -> DuckDBPyConnection:
        engine = open_engine(self._scratch)
        parts = (
            "SELECT " + ", ".join(f'CAST("{n}" AS {SQL_TYPES[kind]}) AS "{n}"' for n, kind in self.types.items())
            + f" FROM read_parquet({literal(file.path)}, hive_partitioning = false)"
            for file in self._files
        )  # fmt: skip
        engine.execute(f"CREATE VIEW delivered AS {' UNION ALL '.join(parts)}")
        return engine

    def _as_text(self) -> str:
        return "CAST(to_json(struct_pack(" + ", ".join(f'"{name}"' for name in self.types) + ")) AS VARCHAR)"

    def _keep(self, engine: DuckDBPyConnection, query: str) -> Path:
        path = self._scratch / "known.parquet"
        engine.execute(f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")
        return path

    def _copy(self, engine: DuckDBPyConnection, source: str, path: Path) -> None:
        names = ", ".join(f'"{name}"' for name in self.types)
        engine.execute(f"COPY (SELECT {names} {source}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)")

    def _mark(
        self,
        engine: DuckDBPyConnection,
        column: str,
        before: Watermark | None,
        zones: TimeZones | None,
        now: dt.datetime,
    ) -> Watermark | None:
        kind = KINDS[self.types[column]]
        value = {
            "instant": f"strftime(max(\"{column}\") AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f+00:00')",
            "local": f"strftime(max(\"{column}\"), '%Y-%m-%dT%H:%M:%S.%f')",
            "date": f'CAST(max("{column}") AS VARCHAR)',
            "text": f'max("{column}") FILTER (try_cast(left("{column}", 10) AS DATE) IS NOT NULL)',
        }[kind]
        [(greatest,)] = engine.execute(f"SELECT {value} FROM delivered WHERE {_finite(column, kind)}").fetchall()
        if greatest is None:
            return before
        latest = {
            "instant": now.isoformat(timespec="microseconds"),
            "local": (now + spread(zones)[1]).replace(tzinfo=None).isoformat(timespec="microseconds"),
            "date": (now.date() + DAY).isoformat(),
            "text": (now.date() + DAY).isoformat(),
        }[kind]
        mark = Watermark(kind, min(greatest, latest))
        return max(mark, before, key=lambda m: m.value) if before and before.kind == kind else mark


def _finite(column: str, kind: str) -> str:
    return f'isfinite("{column}")' if kind != "text" else "true"


def _one_type(types: Sequence[pa.DataType | None], table: Table, name: str) -> pa.DataType:
    """The type of a column over all files: theirs if they agree, else text."""
    found = {kind for kind in types if kind is not None}
    if not found:
        return PREFERRED[table.column(name).type]
    return found.pop() if len(found) == 1 else pa.string()


def _constant(value: dt.datetime | dt.date | str) -> str:
    match value:
        case dt.datetime(tzinfo=None):
            return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
        case dt.datetime():
            return f"TIMESTAMPTZ '{value.isoformat(sep=' ')}'"
        case dt.date():
            return f"DATE '{value.isoformat()}'"
    return literal(value)


def _count(engine: DuckDBPyConnection, path: Path) -> int:
    [(rows,)] = engine.execute(f"SELECT count(*) FROM read_parquet({literal(path)})").fetchall()
    return int(rows)
