"""Row-level files of a source in its own format, aggregated to the contract's table.

What a format's columns mean is its ecosystem's affair (:class:`StatementFormat`). Here is what all formats
need: reading part by part in bounded memory, rejecting what can't be counted, and counting each
statement once.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.contract import (
    Checked,
    count,
    count_days,
    spool,
    write_rows,
)
from health_pipeline.raw.reading.drift import listed
from health_pipeline.raw.reading.reader import Part, Records, as_csv, named, read_header, read_rows
from health_pipeline.raw.reading.rules import Rule, day_rules, first_broken
from health_pipeline.raw.schema import QUARANTINE
from health_pipeline.storage.sql import literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PART_ROWS = 1 << 40
"""Statements are numbered over all parts: ``part * PART_ROWS + row``."""


class StatementFormat(Protocol):
    """A source's row-level CSV format.

    Its methods take ``field``: column name → SQL of its text, NULL when empty.

    Attributes:
        title: what to call such a file.
        needed: columns it must have, ``uuid`` among them.
        advice: what to do when one is missing.
        filed: the column that tells the day.
    """

    title: str
    needed: tuple[str, ...]
    advice: str
    filed: str

    def recognises(self, header: Sequence[str]) -> bool:
        """Whether a CSV header is of this format."""

    def rules(self, field: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Column, reason and SQL of what makes a statement impossible to count."""

    def day(self, field: Mapping[str, str]) -> str:
        """SQL of a statement's UTC day."""

    def reduce(self, field: Mapping[str, str]) -> dict[str, str]:
        """SQL of the columns that :meth:`aggregate` needs beside ``day``."""

    def aggregate(self, statements: str) -> str:
        """SQL of the contract's rows, from a relation with ``day`` and the columns of :meth:`reduce`."""


def aggregate(
    engine: DuckDBPyConnection,
    parts: Iterator[Part],
    form: StatementFormat,
    table: Table,
    catalog: Catalog,
    today: dt.date,
    scratch: Path,
    progress: Callable[[str], object],
) -> Checked:
    """Aggregate a delivery of statements.

    Each part is reduced to the columns in use and written to ``scratch``: memory does not grow with the file.
    A statement repeated under the same ``uuid`` counts once: the first.

    Raises:
        InputError: a column is missing, or there are no rows.
    """
    delivered, name = 0, ""
    ignored: dict[str, None] = {}
    reasons: Counter[str] = Counter()
    quarantine: list[pa.Table] = []
    for number, part in enumerate(parts):
        name = part.name
        progress(f"Reading {name}")
        header = read_header(part)
        missing = [column for column in form.needed if column not in header]
        if missing:
            raise InputError(f"{name} lacks the column{listed(missing)}.", form.advice)
        ignored |= dict.fromkeys(column for column in header if column not in form.needed)
        rows, bad, said = _reduce(engine, part, number, header, form, table, catalog, today, scratch)
        delivered += rows
        reasons.update(said)
        quarantine.append(bad)
    if not delivered:
        raise InputError(f"{name} has a header and no rows.", "Export it again, with rows.")

    progress(f"Aggregating {delivered:,} statements")
    good, accepted = _once(engine, scratch)
    target, rejected = scratch / "rows.parquet", pa.concat_tables(quarantine)
    write_rows(engine, form.aggregate(good), table, target)
    return Checked(
        rows=target,
        quarantine=rejected,
        delivered=delivered,
        accepted=accepted,
        duplicates=delivered - rejected.num_rows - accepted,
        ignored=tuple(ignored),
        reasons=dict(sorted(reasons.items())),
        days=count_days(engine, target, table),
    )


def _reduce(
    engine: DuckDBPyConnection,
    part: Part,
    number: int,
    header: Sequence[str],
    form: StatementFormat,
    table: Table,
    catalog: Catalog,
    today: dt.date,
    scratch: Path,
) -> tuple[int, pa.Table, Mapping[str, int]]:
    """Write a part's columns in use to ``scratch``; returns its number of rows, those rejected, and why."""
    field = {column: f"nullif(c{header.index(column)}, '')" for column in form.needed}
    day = form.day(field)
    rules = [Rule(*rule) for rule in form.rules(field)] + day_rules(catalog, table, form.filed, day, today)
    # As UUID it takes 16 bytes where the text takes 36; md5 keeps those apart that are no UUIDs.
    uuid = f"coalesce(try_cast({field['uuid']} AS UUID), CAST(md5({field['uuid']}) AS UUID))"
    columns = {"uuid": uuid, "day": day, **form.reduce(field)}
    reduced = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    target = scratch / f"statements-{number:06}.parquet"

    def write(records: Records) -> tuple[int, pa.Table, Mapping[str, int]]:
        judged = f"(SELECT *, {first_broken(rules)} AS broken FROM ({records.rows}))"
        engine.execute(
            f"COPY (SELECT {number * PART_ROWS} + row AS number, {reduced}, broken FROM {judged}) "
            f"TO {literal(target)} (FORMAT parquet)"
        )
        rejected = [f"SELECT row, '' AS \"column\", reason, raw FROM ({records.malformed})"]
        if count(
            engine, f"FROM {named(target)} WHERE broken IS NOT NULL"
        ):  # else a second pass, over all columns, is saved
            names = " ".join(f"WHEN {i} THEN {literal(rule.column)}" for i, rule in enumerate(rules))
            says = " ".join(f"WHEN {i} THEN {literal(rule.reason)}" for i, rule in enumerate(rules))
            raw = as_csv([f"c{i}" for i in range(len(header))])
            rejected.append(
                f"SELECT row, CASE broken {names} END, CASE broken {says} END, {raw} "
                f"FROM {judged} WHERE broken IS NOT NULL"
            )
        bad = spool(
            engine,
            f"SELECT {literal(part.name)} AS file, * FROM ({' UNION ALL '.join(rejected)}) ORDER BY row",
            QUARANTINE,
            scratch,
        )
        delivered = count(engine, f"FROM {named(target)}") + count(engine, f"FROM ({records.malformed})")
        reasons = {said["values"]: said["counts"] for said in bad["reason"].value_counts().to_pylist()}
        return delivered, bad, reasons

    return read_rows(engine, part, len(header), scratch, write)


def _once(engine: DuckDBPyConnection, scratch: Path) -> tuple[str, int]:
    """SQL of the good statements, each ``uuid`` once, and how many they are."""
    files = ", ".join(map(named, sorted(scratch.glob("statements-*.parquet"))))
    good = f"(FROM read_parquet([{files}]) WHERE broken IS NULL)"
    rows, uuids = count(engine, f"FROM {good}"), count(engine, f"FROM (SELECT DISTINCT uuid FROM {good})")
    if uuids == rows:
        return good, rows
    engine.execute(
        f"CREATE TABLE again AS SELECT uuid, min(number) AS first FROM {good} GROUP BY uuid HAVING count(*) > 1"
    )
    return (
        f"(SELECT s.* FROM {good} s LEFT JOIN again USING (uuid) WHERE first IS NULL OR number = first)",
        uuids,
    )
