"""DuckDB over the lake: views of what is published, by any number of readers."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.storage import engine as engine_module
from health_pipeline.storage.engine import Engine, create_views, date_range, scan
from health_pipeline.storage.lake import Lake

MONDAY, TUESDAY = dt.date(2025, 9, 1), dt.date(2025, 9, 2)
SCHEMA = pa.schema([("day", pa.date32()), ("unit", pa.string()), ("n", pa.float64()), ("recent", pa.list_(pa.int64()))])


def rows(day: dt.date, *numbers: float) -> pa.Table:
    return pa.Table.from_pylist([{"day": day, "unit": "u", "n": n, "recent": [1, 2]} for n in numbers], schema=SCHEMA)


def test_a_view_shows_every_published_day_with_the_columns_of_the_table(tmp_path: Path) -> None:
    table = Lake(tmp_path, "eco").table("metrics", "cube", SCHEMA)
    table.publish(MONDAY, rows(MONDAY, 1, 2))
    table.publish(TUESDAY, rows(TUESDAY))
    table.publish(TUESDAY + dt.timedelta(days=1), rows(TUESDAY + dt.timedelta(days=1), 3))
    with duckdb.connect() as connection:
        assert create_views(connection, {"metrics.cube": table}) == ["metrics.cube"]
        held = connection.sql("SELECT * FROM metrics.cube ORDER BY n").to_arrow_table()
    assert held.column_names == SCHEMA.names
    assert held.schema.field("day").type == pa.date32(), "the day comes from the file, not from the folder's name"
    assert held["n"].to_pylist() == [1, 2, 3]


def test_a_table_without_files_is_an_empty_view_with_the_right_columns(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "eco")
    published = lake.table("raw", "empty_day", SCHEMA)
    published.publish(MONDAY, SCHEMA.empty_table())
    tables = {"raw.never": lake.table("raw", "never", SCHEMA), "raw.empty_day": published}
    with duckdb.connect() as connection:
        assert create_views(connection, tables) == ["raw.empty_day", "raw.never"]
        for name in tables:
            held = connection.sql(f"SELECT * FROM {name}").to_arrow_table()
            assert (held.num_rows, held.schema.types) == (0, SCHEMA.types)


def test_what_days_of_an_earlier_version_lack_is_null_and_what_they_have_besides_is_there(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "eco")
    earlier = pa.schema([("n", pa.int32()), ("unit", pa.string()), ("old", pa.string()), ("day", pa.date32())])
    row = {"day": MONDAY, "unit": "u", "n": 1, "old": "o"}
    lake.table("raw", "t", earlier).publish(MONDAY, pa.Table.from_pylist([row], schema=earlier))
    lake.table("raw", "only", earlier).publish(MONDAY, pa.Table.from_pylist([row], schema=earlier))
    table = lake.table("raw", "t", SCHEMA)
    table.publish(TUESDAY, rows(TUESDAY, 2.5))
    with duckdb.connect() as connection:
        create_views(connection, {"raw.t": table, "raw.only": lake.table("raw", "only", SCHEMA)})
        assert connection.execute("FROM raw.t ORDER BY day").fetchall() == [
            (MONDAY, "u", 1.0, None, "o"),
            (TUESDAY, "u", 2.5, [1, 2], None),
        ]
        assert connection.execute("SELECT n, recent FROM raw.only").fetchall() == [(1.0, None)]


def test_a_folder_with_an_apostrophe_is_read_like_any_other(tmp_path: Path) -> None:
    table = Lake(tmp_path / "Anna's lake", "eco").table("raw", "t", SCHEMA)
    table.publish(MONDAY, rows(MONDAY, 1))
    with duckdb.connect() as connection:
        create_views(connection, {"raw.t": table})
        assert connection.execute("SELECT sum(n) FROM raw.t").fetchone() == (1.0,)


def test_tables_of_one_stage_and_of_several_stand_side_by_side(tmp_path: Path) -> None:
    lake = Lake(tmp_path, "eco")
    names = ["shifts.shifts", "shifts.bands", "risks.risks"]
    tables = {name: lake.table(*name.split("."), SCHEMA) for name in names}
    tables["shifts.bands"].publish(MONDAY, rows(MONDAY, 4))
    with duckdb.connect() as connection:
        assert create_views(connection, tables) == sorted(names)
        sql = "SELECT count(*) FROM shifts.bands LEFT JOIN shifts.shifts USING (day) LEFT JOIN risks.risks USING (day)"
        assert connection.execute(sql).fetchone() == (1,)


def test_the_engine_queries_named_arrow_tables_and_forgets_them(tmp_path: Path) -> None:
    engine = Engine()
    joined = engine.query("SELECT a.n + b.n AS n FROM a JOIN b USING (unit)", a=rows(MONDAY, 1), b=rows(MONDAY, 2))
    assert joined.to_pydict() == {"n": [3.0]}
    with pytest.raises(duckdb.CatalogException):
        engine.query("SELECT * FROM a")


def test_the_engine_takes_any_way_to_connect() -> None:
    opened = []

    def connect() -> duckdb.DuckDBPyConnection:
        opened.append(duckdb.connect())
        return opened[-1]

    assert Engine(connect).query("SELECT 1 AS one").to_pydict() == {"one": [1]}
    with pytest.raises(duckdb.ConnectionException):
        opened[0].execute("SELECT 1")  # closed after the query


@given(st.dates(dt.date(2000, 1, 1), dt.date(2050, 1, 1)), st.integers(0, 800))
def test_a_date_range_holds_every_day_once_both_ends_included(first: dt.date, length: int) -> None:
    days = date_range(first, first + dt.timedelta(days=length))
    assert days[0] == first
    assert len(days) == length + 1
    assert {(b - a).days for a, b in itertools.pairwise(days)} <= {1}


def test_a_date_range_that_ends_before_it_begins_is_empty() -> None:
    assert date_range(TUESDAY, MONDAY) == []


def test_a_scan_reads_the_days_asked_for_and_each_once(tmp_path: Path) -> None:
    table = Lake(tmp_path, "eco").table("raw", "t", SCHEMA)
    table.publish(MONDAY, rows(MONDAY, 1, 2))
    table.publish(TUESDAY, rows(TUESDAY, 3))
    for days, found in ((None, [1, 2, 3]), ([MONDAY, MONDAY], [1, 2]), ([TUESDAY], [3]), ([], [])):
        assert Engine().query(f"SELECT n FROM {scan(table, days)} ORDER BY n")["n"].to_pylist() == found
    assert Engine().query(f"FROM {scan(table, [])}").schema.types == SCHEMA.types


def test_a_sort_larger_than_its_memory_goes_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SORT_MEMORY", "60MB")
    with Engine().spilling(tmp_path / "spill") as connection:
        reader = connection.sql(
            "SELECT n, md5(CAST(n AS VARCHAR)) AS text FROM range(1_500_000) t(n) ORDER BY text"
        ).to_arrow_reader(100_000)
        first = next(reader)
        assert list((tmp_path / "spill").iterdir()), "it would not have fitted"
        assert first.num_rows + sum(batch.num_rows for batch in reader) == 1_500_000
