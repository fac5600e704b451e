"""Rows into Parquet files, as the contracts of ``catalog/tables.yaml`` ask; a file is there whole or not at all."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from health_pipeline.catalog.model import Table, Tables
from health_pipeline.marketplace.columns import Array

Files = Literal["whole", "day"]

ROW_GROUP = 131_072
TYPES = {
    "date": pa.date32(), "timestamp": pa.timestamp("us", tz="UTC"), "text": pa.string(), "integer": pa.int64(),
    "number": pa.float64(), "boolean": pa.bool_(),
}  # fmt: skip


@cache
def contracts() -> Mapping[str, Table]:
    """The contracts of the marketplace's tables, by name."""
    text = (Path(__file__).parent / "catalog" / "tables.yaml").read_text(encoding="utf-8")
    return {t.name: t for t in Tables.model_validate(YAML(typ="safe").load(text)).tables}


@cache
def schema(table: str) -> pa.Schema:
    """Columns of a table's files, in the contract's order."""
    return pa.schema([pa.field(c.name, TYPES[c.type], nullable=not c.required) for c in contracts()[table].columns])


class ParquetFile:
    """A Parquet file under a temporary name until it is finished."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._schema = columns
        self._hidden = path.with_name(f".{path.name}.part")
        self._writer = pq.ParquetWriter(self._hidden, columns, compression="zstd", compression_level=1)
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Append rows; they are written in groups of at least :data:`ROW_GROUP`."""
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        self.rows += len(rows)
        if self._waiting_rows >= ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what waits, and give the file its name."""
        self._flush()
        self._writer.close()
        self._hidden.replace(self.path)

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.close()
        self._hidden.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP)
        self._waiting, self._waiting_rows = [], 0


class Writer:
    """Takes rows of any table and day; ends a day's files when told that nothing more comes for it.

    Rows of days to come wait in memory until their day. Used as a context: on an error no unfinished file remains.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self.files = files
        self.rows: dict[str, int] = dict.fromkeys(contracts(), 0)
        self._open: dict[tuple[str, int], ParquetFile] = {}
        self._later: dict[int, list[tuple[str, pa.Table]]] = defaultdict(list)

    def add(self, table: str, columns: Mapping[str, Any], day: int | Array, today: int) -> None:
        """Add rows.

        Args:
            columns: Arrow or NumPy arrays by name, exactly the contract's.
            day: the rows' event day, or one for each, in days since 1970; not before ``today``.
            today: the day that is being simulated.
        """
        wanted = schema(table)
        if set(columns) != set(wanted.names):
            raise ValueError(f"{table}: columns {sorted(set(columns) ^ set(wanted.names))} are missing or unknown")
        arrays = [
            columns[f.name] if isinstance(columns[f.name], pa.Array) else pa.array(columns[f.name]) for f in wanted
        ]
        rows = pa.Table.from_arrays(
            [a if a.type == f.type else a.cast(f.type) for a, f in zip(arrays, wanted, strict=True)], schema=wanted
        )
        if len(rows) == 0:
            return
        days = np.unique(day)
        for one in days:
            part = rows if len(days) == 1 else rows.filter(pa.array(day == one))
            if one <= today:
                self._write(table, int(one), part)
            else:
                self._later[int(one)].append((table, part))

    def begin_day(self, day: int) -> None:
        """Write the rows that were waiting for this day."""
        for table, rows in self._later.pop(day, []):
            self._write(table, day, rows)

    def end_day(self, day: int) -> None:
        """Finish the files of a day, when there is one per day."""
        if self.files == "day":
            for key in [k for k in self._open if k[1] == day]:
                self._open.pop(key).finish()

    def finish(self) -> None:
        """Write what is still waiting, and finish all files. A table without rows gets none."""
        for day in sorted(self._later):
            self.begin_day(day)
            self.end_day(day)
        for file in self._open.values():
            file.finish()
        self._open = {}

    def _write(self, table: str, day: int, rows: pa.Table) -> None:
        self._file(table, day).add(rows)
        self.rows[table] += len(rows)

    def _file(self, table: str, day: int) -> ParquetFile:
        key = (table, day if self.files == "day" else 0)
        if key not in self._open:
            date = dt.date(1970, 1, 1) + dt.timedelta(days=day)
            name = f"{table}-{date}.parquet" if self.files == "day" else f"{table}.parquet"
            self._open[key] = ParquetFile(self.folder / table / name, schema(table))
        return self._open[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for file in self._open.values():
            file.abandon()
