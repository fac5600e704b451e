"""Laws of reading on: nothing is lost by storing a value, and every committed row comes exactly once."""

from __future__ import annotations

import datetime as dt
import decimal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.model import Column, Table, TimeZones
from health_pipeline.raw.sources.memory import Watermark
from health_pipeline.raw.sources.rows import LOCAL, PREFERRED, Rows, as_arrow, cutoff, write_rows

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
KINDS = sorted(PREFERRED)
ZONES = TimeZones(column="market", zones={"ID": "Asia/Jakarta", "SG": "Asia/Singapore"})

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12),
    st.text(max_size=5),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.uuids(),
    st.binary(max_size=4),
    st.lists(st.integers(), max_size=2),
)


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from(KINDS))
def test_a_value_is_stored_as_it_is_or_as_text(column: list[Any], kind: str) -> None:
    stored = as_arrow(column, kind)
    if stored is None:
        assert set(column) == {None}
        return
    for given_value, value in zip(column, stored.to_pylist(), strict=True):
        assert (given_value is None) == (value is None)
        if value is None or pa.types.is_string(stored.type):
            assert value is None or isinstance(value, str)
        elif isinstance(given_value, decimal.Decimal):
            assert value == (int if kind == "integer" else float)(given_value)
            assert kind == "number" or value == given_value
        elif kind == "number":
            assert value == float(given_value)
        elif isinstance(given_value, dt.datetime) and kind == "date":
            assert dt.datetime.combine(value, dt.time()) == given_value
        else:
            assert value == given_value


@pytest.mark.parametrize(
    ("column", "kind", "stored"),
    [
        ([decimal.Decimal("2.00"), None], "integer", [2, None]),
        ([decimal.Decimal("2.50"), 1], "integer", ["2.50", "1"]),
        ([2**63], "integer", [str(2**63)]),
        ([float("nan")], "integer", ["nan"]),
        ([1, 0, None], "boolean", [True, False, None]),
        ([1, 2], "boolean", ["1", "2"]),
        ([True], "integer", ["true"]),
        ([dt.datetime(2026, 1, 1)], "date", [dt.date(2026, 1, 1)]),
        ([dt.datetime(2026, 1, 1, 1)], "date", ["2026-01-01 01:00:00"]),
        ([uuid.UUID(int=1)], "text", ["00000000-0000-0000-0000-000000000001"]),
        ([{"b": 1, "a": "ä"}], "text", ['{"a": "ä", "b": 1}']),
        ([b"abc", b"\xff"], "text", ["abc", "ff"]),
        ([5], "text", ["5"]),
    ],
)
def test_types_that_differ_from_the_contracts(column: list[Any], kind: str, stored: list[Any]) -> None:
    array = as_arrow(column, kind)
    assert array is not None
    assert array.to_pylist() == stored


def test_zoned_and_zoneless_times_are_not_mixed() -> None:
    array = as_arrow([dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], "timestamp")
    assert array is not None
    assert array.to_pylist() == ["2026-01-01 00:00:00", "2026-01-01 00:00:00+00:00"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reads")


def table(version: str | None) -> Table:
    return Table(
        name="things",
        title="",
        description="",
        columns=(
            Column(name="id", type="integer", description=""),
            Column(name="unit", type="text", description=""),
            Column(name="day", type="date", description=""),
            Column(name="hash", type="text", description="a name that is used inside too", required=False),
            Column(name="at", type="timestamp", description=""),
        ),
        key=("id",),
        day="day",
        delivered_by="unit",
        version=version,
    )


def read(contract: Table, rows: list[tuple[Any, ...]], chunk: int, folder: Path) -> Rows | None:
    chunks = [rows[i : i + chunk] for i in range(0, len(rows), chunk)]
    columns = [c.name for c in contract.columns]
    files = write_rows(contract, columns, chunks, folder)
    assert sum(f.rows for f in files) == len(rows)
    return Rows(contract, columns, files, folder) if files else None


def kept(known: Path) -> Path:
    """The file, out of the folder that goes with the read."""
    return known.rename(known.parent.parent / "known.parquet")


@settings(max_examples=15, deadline=None)
@given(
    commits=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=25),
    pulls=st.lists(st.integers(0, 400), min_size=1, max_size=5),
    zoned=st.booleans(),
    chunk=st.integers(1, 5),
)
def test_rows_committed_within_the_overlap_come_exactly_once(
    folder: Path, commits: list[tuple[int, int]], pulls: list[int], zoned: bool, chunk: int
) -> None:
    """However commits, each some minutes after its version, and pulls follow one another."""
    contract = table("at")
    begin = NOW - 600 * MINUTE
    rows = []
    for i, (version, delay) in enumerate(commits):
        at = begin + version * MINUTE
        rows.append((version + delay, (i, "u", NOW.date(), "mixed" if i % 3 else None, at if zoned else _naive(at))))
    mark, known, come = None, None, []
    for pull in [*sorted(pulls), 1000]:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            start = cutoff(mark, 60 * MINUTE, None) if mark else None
            seen = [row for committed, row in rows if committed <= pull and (start is None or row[4] >= start)]
            taken = read(contract, seen, chunk, Path(scratch))
            if taken is None:
                continue
            news = taken.since(mark, known, 60 * MINUTE, None, NOW)
            come += pq.read_table(news.path)["id"].to_pylist()
            assert news.rows == pq.read_metadata(news.path).num_rows
            mark, known = news.watermark, kept(news.known)
    assert sorted(come) == list(range(len(commits)))


def _naive(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=None)


@settings(max_examples=15, deadline=None)
@given(
    states=st.lists(
        st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(1, 3)), st.integers(0, 2), min_size=1),
        min_size=1,
        max_size=5,
    ),
    backwards=st.booleans(),
)
def test_without_versions_exactly_the_changed_days_come_whole(
    folder: Path, states: list[dict[tuple[str, int], int]], backwards: bool
) -> None:
    """The last state of every unit's day that was there is what was delivered last; unchanged ones never come."""
    contract = table(None)
    mark, known = None, None
    last: dict[tuple[str, int], int] = {}
    for state in states:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            rows = [
                (i, unit, dt.date(2026, 10, day), "x", dt.datetime(2026, 10, day, value))
                for (unit, day), value in state.items()
                for i in range(2)
            ]
            taken = read(contract, rows[::-1] if backwards else rows, 2, Path(scratch))
            assert taken is not None
            news = taken.changed(mark, known, NOW)
            came = pq.read_table(news.path).to_pylist()
            changed = {of: value for of, value in state.items() if last.get(of) != value}
            assert sorted((r["unit"], r["day"].day, r["at"].hour, r["id"]) for r in came) == sorted(
                (unit, day, value, i) for (unit, day), value in changed.items() for i in range(2)
            )
            last |= state
            mark, known = news.watermark, kept(news.known)
            assert mark is not None
            assert mark.value <= f"2026-10-{max(day for _, day in last):02}"


@pytest.mark.parametrize(
    ("mark", "overlap", "zones", "start"),
    [
        (Watermark("instant", "2026-11-01T10:00:00+00:00"), 60, None, dt.datetime(2026, 11, 1, 9, tzinfo=dt.UTC)),
        (Watermark("local", "2026-11-01T10:00:00"), 60, None, dt.datetime(2026, 11, 1, 9)),
        (Watermark("local", "2026-11-01T10:00:00"), 60, ZONES, dt.datetime(2026, 11, 1, 8)),
        (Watermark("date", "2026-11-01"), 60 * 24, None, dt.date(2026, 10, 31)),
        (Watermark("date", "2026-11-01"), 61 * 24, None, dt.date(2026, 10, 30)),
        (Watermark("text", "2026-11-01T10:00:00Z"), 60, None, "2026-10-30"),
    ],
)
def test_where_the_next_read_starts(mark: Watermark, overlap: int, zones: TimeZones | None, start: Any) -> None:
    assert cutoff(mark, overlap * MINUTE, zones) == start


def test_a_column_without_values_for_a_while_does_not_make_it_text(tmp_path: Path) -> None:
    contract = table("at")
    rows = [(i, "u", NOW.date(), None, _naive(NOW) if i == 5 else None) for i in range(6)]
    taken = read(contract, rows, 2, tmp_path)
    assert taken is not None
    assert taken.types["at"] == LOCAL
