"""A long table, row by row: what it says, and which rows say nothing that can be used.

Every row is one value of one series on one day. A row that can't be read is set aside with its number, its column and
the reason; the others count. Files are read by DuckDB, or where a CSV file is damaged by the precise reader of
deliveries, so rows have the same numbers as everywhere: row 1 of a CSV file is the first below the header.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.reader import Part, Records, named, open_engine, read_header
from health_pipeline.raw.reading.reader import read_rows as read_records
from health_pipeline.storage.sql import identifier, literal

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

Field = Literal["series", "day", "value", "denominator", "cohort"]
Floats = NDArray[np.float64]

FORMATS = (".parquet", ".csv", ".csv.gz")
JOINED = "|"
LONGEST_HOLE = 366
"""Days in a row without any row: more of them are taken for a mistyped year."""

REJECTED = pa.schema(
    [("row", pa.int64()), ("column", pa.string()), ("reason", pa.string()), ("series", pa.string()),
     ("day", pa.string()), ("value", pa.string()), ("denominator", pa.string()), ("cohort", pa.string()),
     ("raw", pa.string())]
)  # fmt: skip
"""Rows set aside; the fields as they were delivered, and of a record that could not be read its text (``raw``)."""


@dataclass(frozen=True)
class Columns:
    """What the columns are called.

    Attributes:
        series: of several, the values are joined by ``|``.
        denominator, cohort: ``None``: the column of that name, where there is one.
    """

    series: Sequence[str] = ("series",)
    day: str = "day"
    value: str = "value"
    denominator: str | None = None
    cohort: str | None = None


@dataclass(frozen=True)
class LongTable:
    """The good rows of a table, in no particular order.

    Attributes:
        name: what messages call it.
        form: ``CSV``, ``Parquet`` or ``data frame``.
        series: N names, sorted.
        first, last: first and last day of any row.
        code: place in ``series``, per row.
        column: days since ``first``, per row.
        value, denominator: per row; NaN where the series has no denominator.
        cohorts: names of the cohorts, sorted.
        cohort: N; place in ``cohorts``, -1 for none.
        delivered: rows in the table.
        rejected: rows set aside, as :data:`REJECTED`.
        has_cohorts: whether there is a column of cohorts.
    """

    name: str
    form: str
    series: tuple[str, ...]
    first: np.datetime64
    last: np.datetime64
    code: NDArray[np.int64]
    column: NDArray[np.int64]
    value: Floats
    denominator: Floats
    cohorts: tuple[str, ...]
    cohort: NDArray[np.int64]
    delivered: int
    rejected: pa.Table
    has_cohorts: bool

    @property
    def reasons(self) -> Counter[tuple[str, str]]:
        """(column, reason) -> rows; what differs from row to row is left out of the reason."""
        columns, reasons = self.rejected["column"].to_pylist(), self.rejected["reason"].to_pylist()
        return Counter((c, general(r)) for c, r in zip(columns, reasons, strict=True))


def general(reason: str) -> str:
    """A reason without the number of another row."""
    return re.sub(r"row \d+", "another row", reason)


def read_file(path: Path, columns: Columns, *, negative: bool = False) -> LongTable:
    """Read a long table from a CSV (also gzipped) or Parquet file.

    Args:
        negative: whether values may be below zero.

    Raises:
        InputError: the file can't be read, lacks a column, or has no good row.
    """
    if path.is_dir() or not path.exists():
        raise InputError(f"There is no file {path}." if not path.exists() else f"{path} is a folder, not a file.")
    if not path.name.lower().endswith(FORMATS):
        raise InputError(f"{path.name} is neither CSV nor Parquet.", f"Save it as one of {', '.join(FORMATS)}.")
    with tempfile.TemporaryDirectory(prefix="health-pipeline-detect-") as folder:
        scratch = Path(folder)
        with open_engine(scratch) as engine:
            if path.suffix.lower() == ".parquet":
                return _read_parquet(engine, path, columns, negative)
            part = Part(path.name, path)
            header = read_header(part)
            _no_twins(path.name, header)
            fields = {name: f"c{i}" for i, name in enumerate(header)}

            def consume(records: Records) -> LongTable:
                return _read(
                    engine, path.name, "CSV", records, fields, dict.fromkeys(header, "VARCHAR"), columns, negative
                )

            return read_records(engine, part, len(header), scratch, consume)


def read_frame(frame: pd.DataFrame | pa.Table, columns: Columns, *, negative: bool = False) -> LongTable:
    """Read a long table from a pandas or Arrow one; rows are numbered from 1.

    Raises:
        InputError: a column is missing, or no row is good.
    """
    rows = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    _no_twins("the table", rows.column_names)
    with tempfile.TemporaryDirectory(prefix="health-pipeline-detect-") as folder, open_engine(Path(folder)) as engine:
        fields = {name: f"c{i}" for i, name in enumerate(rows.column_names)}
        numbered = rows.rename_columns(list(fields.values())).append_column(
            "row", pa.array(np.arange(1, len(rows) + 1))
        )
        engine.register("delivered", numbered)
        types = _types(engine, "delivered")
        kinds = {name: types[column] for name, column in fields.items()}
        return _read(engine, "the table", "data frame", Records("FROM delivered"), fields, kinds, columns, negative)


def read_calendar(path: Path, day: str = "day", cohort: str = "cohort") -> tuple[list[np.datetime64], list[str | None]]:
    """Days known to be out of the ordinary, each with its cohort or ``None`` for all.

    Args:
        path: CSV or Parquet with a column ``day``, and ``cohort`` where a day is not everybody's.

    Raises:
        InputError: the file can't be read, lacks the column, or has a row that names no day.
    """
    import duckdb

    if not path.is_file():
        raise InputError(f"There is no file {path}.", "--calendar takes a CSV or Parquet file with a column day.")
    reader = "read_parquet" if path.suffix.lower() == ".parquet" else "read_csv"
    options = "" if reader == "read_parquet" else ", all_varchar = true, header = true"
    with duckdb.connect() as engine:
        try:
            rows = engine.sql(f"FROM {reader}({named(path)}{options})").to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"{path.name} can't be read: {_first_line(error)}", "Save it as CSV in UTF-8.") from None
        if day not in rows.column_names:
            raise InputError(f"{path.name} has no column {day!r}.", did_you_mean(day, rows.column_names))
        engine.register("calendar", rows)
        types = _types(engine, "calendar")
        where = f", nullif(trim(CAST(\"{cohort}\" AS VARCHAR)), '')" if cohort in rows.column_names else ", NULL"
        read = engine.sql(f"SELECT {_day(identifier(day), types[day])}{where} FROM calendar").fetchall()
    for number, (found, _) in enumerate(read, start=1):
        if found is None:
            raise InputError(f"{path.name}, row {number}, column {day}: not a day.", "Write days as 2025-09-30.")
    return [np.datetime64(found, "D") for found, _ in read], [name for _, name in read]


def _read_parquet(engine: DuckDBPyConnection, path: Path, columns: Columns, negative: bool) -> LongTable:
    import duckdb

    scan = f"read_parquet({named(path)}, file_row_number = true, hive_partitioning = false)"
    try:
        types = _types(engine, scan)
        fields = {name: f"c{i}" for i, name in enumerate(types) if name != "file_row_number"}
        renamed = ", ".join(f"{identifier(name)} AS {column}" for name, column in fields.items())
        records = Records(f"SELECT file_row_number + 1 AS row, {renamed} FROM {scan}")
        return _read(engine, path.name, "Parquet", records, fields, types, columns, negative)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise InputError(f"{path.name} can't be read: {_first_line(error)}", "Write or copy it again.") from None


def _read(
    engine: DuckDBPyConnection, name: str, form: str, records: Records, fields: dict[str, str], types: dict[str, str],
    columns: Columns, negative: bool,
) -> LongTable:  # fmt: skip
    """The good rows and the others, of numbered records whose columns are ``fields`` (name -> SQL)."""
    chosen = _chosen(name, columns, list(fields))
    read = {field: [fields[c] for c in names] for field, names in chosen.items()}
    kinds = {field: types[names[0]] for field, names in chosen.items()}
    engine.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {_judged(records.rows, read, kinds, chosen, negative)}")
    engine.execute(f"CREATE OR REPLACE TEMP TABLE malformed AS {records.malformed}")
    delivered = _number(engine, "SELECT (SELECT count(*) FROM judged) + (SELECT count(*) FROM malformed)")
    rejected = engine.sql(
        "SELECT row, problem.col AS column, problem.reason AS reason, series, day_text AS day, value_text AS value, "
        "denominator_text AS denominator, cohort, NULL AS raw FROM judged WHERE problem IS NOT NULL "
        "UNION ALL SELECT row, NULL, reason, NULL, NULL, NULL, NULL, NULL, raw FROM malformed"
    ).to_arrow_table().cast(REJECTED)  # fmt: skip
    good = "FROM judged WHERE problem IS NULL"
    series = [text for (text,) in engine.sql(f"SELECT DISTINCT series {good} ORDER BY series").fetchall()]
    engine.register("names", pa.table({"series": pa.array(series, pa.string()), "code": np.arange(len(series))}))
    cohorts, cohort = _cohorts(engine, name, series) if "cohort" in chosen else ((), np.full(len(series), -1))
    rows = engine.sql(
        "SELECT row, code, date_diff('day', DATE '1970-01-01', day) AS day, value, denominator "
        f"{good.replace('judged', 'judged JOIN names USING (series)')}"
    ).fetchnumpy()  # fmt: skip
    number, code, day = (np.asarray(rows[c]).astype(np.int64) for c in ("row", "code", "day"))
    value, denominator = _floats(rows["value"]), _floats(rows["denominator"])
    del rows
    divided = np.zeros(len(series), dtype=np.bool_)
    divided[code[~np.isnan(denominator)]] = True
    bad = np.flatnonzero(divided[code] & np.isnan(denominator))
    problems = [(bad, chosen.get("denominator", [""])[0], np.zeros(len(bad), dtype=np.int64), "empty")]
    kept = np.ones(len(day), dtype=np.bool_)
    kept[bad] = False
    for bad, other, reason in _twins(number, code, day, value, denominator, kept):
        kept[bad] = False
        problems.append((bad, chosen["day"][0], other, reason))
    for bad, column, other, reason in problems:
        if not len(bad):
            continue
        more = {
            "row": number[bad], "column": [column] * len(bad),
            "reason": [reason.format(row) for row in other.tolist()], "series": [series[c] for c in code[bad].tolist()],
            "day": np.datetime_as_string(day[bad].astype("datetime64[D]")),
            "value": [f"{v:.15g}" for v in value[bad].tolist()],
            "denominator": [None if np.isnan(v) else f"{v:.15g}" for v in denominator[bad].tolist()],
            "cohort": [cohorts[c] if c >= 0 else None for c in cohort[code[bad]].tolist()], "raw": [None] * len(bad),
        }  # fmt: skip
        rejected = pa.concat_tables([rejected, pa.table(more, schema=REJECTED)])
    if not kept.all():
        code, day, number = code[kept], day[kept], number[kept]
        value, denominator = value[kept], denominator[kept]
    rejected = rejected.sort_by("row")
    if not len(day):
        _nothing_good(name, delivered, rejected)
    first = int(day.min())
    _no_long_hole(name, number, day)
    return LongTable(
        name, form, tuple(series), np.datetime64(first, "D"), np.datetime64(int(day.max()), "D"), code, day - first,
        value, denominator, tuple(cohorts), cohort, delivered, rejected, "cohort" in chosen,
    )  # fmt: skip


def _chosen(name: str, columns: Columns, known: Sequence[str]) -> dict[Field, list[str]]:
    """Which columns hold what.

    Raises:
        InputError: one is missing.
    """
    asked: dict[Field, list[str]] = {
        "series": list(columns.series), "day": [columns.day], "value": [columns.value]
    }  # fmt: skip
    optional: tuple[tuple[Field, str | None], ...] = (("denominator", columns.denominator), ("cohort", columns.cohort))
    for field, named_ in optional:
        if named_ is not None or field in known:
            asked[field] = [named_ or field]
    for field, names in asked.items():
        for column in names:
            if column not in known:
                option = "" if column != field else f" Say which one it is: --{field} NAME."
                raise InputError(f"{name} has no column {column!r}.", did_you_mean(column, known) + option)
    return asked


def _judged(
    rows: str, read: dict[Field, list[str]], kinds: dict[Field, str], chosen: dict[Field, list[str]], negative: bool
) -> str:
    """SQL: row, the fields, their texts, and what is wrong with the row first of all (column and reason)."""

    def text(expression: str) -> str:
        return f"nullif(trim(CAST({expression} AS VARCHAR)), '')"

    def number(field: Field) -> str:
        (expression,) = read[field]
        return f"TRY_CAST({expression if kinds[field] != 'VARCHAR' else text(expression)} AS DOUBLE)"

    parts = [text(e) for e in read["series"]]
    series = parts[0] if len(parts) == 1 else f"concat_ws('{JOINED}', {', '.join(parts)})"
    problems = [
        *((f"part{i} IS NULL", column, "empty") for i, column in enumerate(chosen["series"])),
        ("day_text IS NULL", chosen["day"][0], "empty"),
        ("day IS NULL", chosen["day"][0], "not a day like 2025-09-30"),
        ("year(day) NOT BETWEEN 1900 AND 2200", chosen["day"][0], "not between the years 1900 and 2200"),
        *_number_problems("value", chosen["value"][0]),
    ]  # fmt: skip
    if not negative:
        problems.append(("value < 0", chosen["value"][0], "below 0"))
    if "denominator" in read:
        known = "denominator_text IS NOT NULL AND "
        column = chosen["denominator"][0]
        problems += [(known + condition, c, r) for condition, c, r in _number_problems("denominator", column)[1:]]
        problems.append((known + "denominator <= 0", column, "not above 0"))
    cases = " ".join(
        f"WHEN {condition} THEN {{'col': {literal(column)}, 'reason': {literal(reason)}}}"
        for condition, column, reason in problems
    )
    (day,), (value,) = read["day"], read["value"]
    divided = read.get("denominator")
    selected = ", ".join(
        [
            "row", f"{series} AS series", f"{text(day)} AS day_text", f"{_day(day, kinds['day'])} AS day",
            f"{text(value)} AS value_text", f"{number('value')} AS value",
            f"{text(divided[0]) if divided else 'NULL'} AS denominator_text",
            f"{number('denominator') if divided else 'CAST(NULL AS DOUBLE)'} AS denominator",
            f"{text(read['cohort'][0]) if 'cohort' in read else 'NULL'} AS cohort",
            *(f"{part} AS part{i}" for i, part in enumerate(parts)),
        ]
    )  # fmt: skip
    # The texts are only needed to show what is wrong: millions of good rows go without.
    shown = ", ".join(f"CASE WHEN problem IS NOT NULL THEN {c}_text END AS {c}_text" for c in TEXTS)
    return (
        f"SELECT row, series, day, value, denominator, cohort, problem, {shown} FROM "
        f"(SELECT *, CASE {cases} END AS problem FROM (SELECT {selected} FROM ({rows})))"
    )


TEXTS = ("day", "value", "denominator")


def _number_problems(field: Field, column: str) -> list[tuple[str, str, str]]:
    return [
        (f"{field}_text IS NULL", column, "empty"),
        (f"{field} IS NULL", column, "not a number like 1234.5"),
        (f"NOT isfinite({field})", column, "not a finite number"),
    ]


MIDNIGHT = r"\d{4}-\d{2}-\d{2}([T ]00:00(:00([.]0+)?)?(Z|[+]00(:?00)?)?)?"


def _day(expression: str, kind: str) -> str:
    """SQL of a day; null where there is none. An instant is a day only at midnight (UTC)."""
    if kind == "DATE":
        return f"CAST({expression} AS DATE)"
    if kind.startswith("TIMESTAMP"):
        return f"CASE WHEN {expression} = date_trunc('day', {expression}) THEN CAST({expression} AS DATE) END"
    text = f"trim(CAST({expression} AS VARCHAR))"
    return f"CASE WHEN regexp_full_match({text}, '{MIDNIGHT}') THEN TRY_CAST(left({text}, 10) AS DATE) END"


def _cohorts(engine: DuckDBPyConnection, name: str, series: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the cohorts, and each series' own.

    Raises:
        InputError: a series has several.
    """
    found = engine.sql(
        "SELECT series, min(cohort), max(cohort), min_by(row, cohort), max_by(row, cohort) FROM judged "
        "WHERE problem IS NULL AND cohort IS NOT NULL GROUP BY series"
    ).fetchall()  # fmt: skip
    for text, low, high, here, there in found:
        if low != high:
            raise InputError(
                f"{name}: the series {text} is of two cohorts, {low} in row {here} and {high} in row {there}.",
                "A series is of one cohort.",
            )
    names = sorted({low for _, low, _, _, _ in found})
    code = {cohort: i for i, cohort in enumerate(names)}
    of_series = {text: code[low] for text, low, _, _, _ in found}
    return tuple(names), np.array([of_series.get(s, -1) for s in series], dtype=np.int64)


def _twins(
    number: NDArray[np.int64], code: NDArray[np.int64], day: NDArray[np.int64], value: Floats, denominator: Floats,
    kept: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], str]]:  # fmt: skip
    """Rows of a series' day that another row is about too: rows, the other's number, what to say.

    Of equal rows the first stands. Of rows that differ none does: which one is right can't be known.
    """
    if not len(day):
        return
    width = int(day.max() - day.min()) + 1
    key = code * width + (day - day.min())
    seen = np.zeros(width * (int(code.max()) + 1), dtype=np.bool_)
    seen[key[kept]] = True
    if int(seen.sum()) == int(kept.sum()):
        return
    order = np.flatnonzero(kept)
    order = order[np.lexsort((number[order], key[order]))]
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    first = order[np.repeat(starts, sizes)]
    undivided = np.isnan(denominator[order]) & np.isnan(denominator[first])
    same = (value[order] == value[first]) & (undivided | (denominator[order] == denominator[first]))
    alike = np.repeat(np.logical_and.reduceat(same, starts), sizes)
    repeated = alike & (order != first)
    yield order[repeated], number[first[repeated]], "repeats row {}"
    differing = np.where(same, np.iinfo(np.int64).max, number[order])
    nearest = np.repeat(np.minimum.reduceat(differing, starts), sizes)
    other = np.where(same, nearest, number[first])
    yield order[~alike], other[~alike], "series and day of row {}, with another value"


def _no_long_hole(name: str, number: NDArray[np.int64], day: NDArray[np.int64]) -> None:
    """Guard against a year mistyped: it would make a panel of decades.

    Raises:
        InputError: there is a very long stretch without any row.
    """
    days = np.unique(day)
    gaps = np.diff(days)
    if len(gaps) and gaps.max() > LONGEST_HOLE:
        at = int(gaps.argmax())
        before, after = days[: at + 1], days[at + 1 :]
        odd = before[-1] if len(before) < len(after) else after[0]
        row, said = int(number[day == odd].min()), np.datetime64(int(odd), "D")
        raise InputError(
            f"{name} has no row on the {int(gaps[at]) - 1:,} days between {np.datetime64(int(days[at]), 'D')} and "
            f"{np.datetime64(int(days[at + 1]), 'D')}.",
            f"Is the year right in row {row} ({said})? If so, detect each period by itself.",
        )


def _nothing_good(name: str, delivered: int, rejected: pa.Table) -> None:
    if not delivered:
        raise InputError(f"{name} has no rows.", "It must have a row for every series and day.")
    first = rejected.slice(0, 1).to_pylist()[0]
    where = f", column {first['column']}" if first["column"] else ""
    hint = f"The first is row {first['row']}{where}: {first['reason']}."
    if "with another value" in str(first["reason"]):
        hint += " Sum the rows up to one a day, or name all columns that tell series apart."
    raise InputError(f"None of the {delivered:,} rows of {name} can be used.", hint)


def _no_twins(name: str, header: Sequence[str]) -> None:
    for column, times in Counter(header).items():
        if times > 1:
            raise InputError(f"{name} has {times} columns named {column!r}.", "Give each column its own name.")


def _types(engine: DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {row[0]: str(row[1]) for row in engine.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def _number(engine: DuckDBPyConnection, sql: str) -> int:
    ((found,),) = engine.sql(sql).fetchall()
    return int(found)


def _floats(column: NDArray[np.float64] | np.ma.MaskedArray) -> Floats:
    """A column of DuckDB's; NaN where it is null."""
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
