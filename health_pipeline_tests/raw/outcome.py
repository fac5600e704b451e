"""A delivered file after its check, with its good rows in memory."""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.raw.reading.contract import Checked
from health_pipeline.raw.reading.formats import check_csv, check_json, check_parquet
from health_pipeline.raw.reading.reader import csv_parts, file_format, open_engine

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Outcome(Checked):
    """What was found, and the rows themselves: the file that holds them goes with its scratch folder."""

    good: pa.Table = field(default_factory=lambda: pa.table({}))

    @classmethod
    def of(cls, checked: Checked) -> Outcome:
        return cls(**vars(checked), good=pq.read_table(checked.rows))


@cache
def engine_for_all() -> DuckDBPyConnection:
    """One engine for all files: opening one takes longer than to check a few rows, and what is left over must not
    matter."""
    return open_engine(Path(tempfile.gettempdir()))


def check_file(path: Path, table: Table, catalog: Catalog, today: dt.date) -> Outcome:
    """Validate a file in a scratch folder of its own."""
    engine = engine_for_all()
    with tempfile.TemporaryDirectory() as folder:
        scratch, form = Path(folder), file_format(path)
        if form == ".parquet":
            return Outcome.of(check_parquet(engine, path, table, catalog, today, scratch))
        if "json" in form:
            return Outcome.of(check_json(engine, path, table, catalog, today, scratch))
        return Outcome.of(check_csv(engine, csv_parts(path, scratch), table, catalog, today, scratch))
