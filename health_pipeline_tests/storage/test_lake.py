"""A partition changes all at once or not at all: under SIGKILL, under readers, and over time."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.storage.engine import create_views
from health_pipeline.storage.lake import CHUNK_ROWS, GRACE_SECONDS, POINTER, Lake, LakeTable, Partition, content_hash
from health_pipeline_tests.conftest import FAR, wait_for

MONDAY, TUESDAY, WEDNESDAY = (dt.date(2025, 9, 1) + dt.timedelta(days=i) for i in range(3))
SCHEMA = pa.schema([("day", pa.date32()), ("version", pa.int64()), ("of", pa.int64()), ("noise", pa.float64())])
KILLS, VERSIONS = 20, 20

WRITER = """
import datetime as dt, os, sys
import numpy as np, pyarrow as pa
from pathlib import Path
from health_pipeline.storage.lake import LakeTable

DAYS = [dt.date(2025, 9, 1) + dt.timedelta(days=i) for i in range(int(sys.argv[2]))]
STEP = int(sys.argv[3])
SCHEMA = pa.schema([("day", pa.date32()), ("version", pa.int64()), ("of", pa.int64()), ("noise", pa.float64())])


def publish(version):
    # Ever larger, and never compressible: every version has other bytes than the one before.
    rows = 50 + STEP * version
    columns = [np.full(rows, version), np.full(rows, rows), np.random.default_rng(version).random(rows)]
    for day in DAYS:
        table.publish(day, pa.table([pa.array([day] * rows, pa.date32()), *columns], schema=SCHEMA), str(version))


table = LakeTable(Path(sys.argv[1]), SCHEMA)
for first in sys.stdin:  # one writer for each line: forked, so that only the first pays for the imports
    pid = os.fork()
    if not pid:
        for version in range(int(first), int(first) + 100_000):
            publish(version)
    print(pid, flush=True)
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return Lake(tmp_path / "lake", "eco").table("stage", "numbers", SCHEMA)


def rows(version: int, count: int = 5, day: dt.date = MONDAY) -> pa.Table:
    columns = {"day": [day] * count, "version": [version] * count, "of": [count] * count, "noise": [0.5] * count}
    return pa.table(columns, schema=SCHEMA)


def versions_in(part: Partition) -> set[int]:
    """Versions in the rows of a partition, after checking that it is whole."""
    assert part.file is not None
    held = pq.read_table(part.file)
    assert held.num_rows == part.rows
    assert content_hash(held.cast(SCHEMA)) == part.content
    return set(held["version"].to_pylist())


@contextmanager
def writer(folder: Path, days: int, step: int) -> Iterator[Callable[[int], int]]:
    """A process that forks a writer at each call, starting from a version; gives the writer's process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(days), str(step)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def start(version: int) -> int:
        process.stdin.write(f"{version}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        process.stdout.readline()

    start.kill = kill  # type: ignore[attr-defined]
    try:
        yield start
    finally:
        process.stdin.close()
        process.wait(FAR)
        process.stdout.close()


def test_a_kill_at_any_moment_leaves_the_old_partition_or_the_new_one_whole(table: LakeTable) -> None:
    version, unfinished, kills = 0, 0, 0
    folder = table.folder / f"day={MONDAY}"
    with writer(table.folder, days=1, step=2_000) as start:
        while kills < KILLS or not unfinished:  # without one that hit a publish half-way they prove nothing
            assert kills < 10 * KILLS, "no kill hits a publish half-way"
            kills, before = kills + 1, version
            pid = start(version + 1)
            wait_for(lambda: (part := table.partition(MONDAY)) is not None and int(part.inputs) > before, every=0.001)  # noqa: B023
            time.sleep(random.uniform(0.0, 0.04))
            start.kill(pid)  # type: ignore[attr-defined]
            part = table.partition(MONDAY)
            assert part is not None
            assert versions_in(part) == {int(part.inputs)}, "rows and pointer come from different publishes"
            assert int(part.inputs) > before, "a published version was lost"
            assert table.read().num_rows == part.rows
            version = int(part.inputs)
            newer = [p for p in folder.glob("part-*") if p.stat().st_mtime_ns > part.file.stat().st_mtime_ns]
            unfinished += bool(newer) or any(p.name.startswith(".") for p in folder.iterdir())
            for path in folder.glob(".*"):
                path.unlink()


def test_a_new_publish_goes_on_where_a_kill_left_rubbish(table: LakeTable) -> None:
    part = table.publish(MONDAY, rows(1))
    (part.file.parent / ".part-ab.parquet.17.1").write_bytes(b"half a fi")  # type: ignore[union-attr]
    (part.file.parent / f".{POINTER}.17.2").write_bytes(b"{")  # type: ignore[union-attr]
    assert table.read()["version"].to_pylist() == [1] * 5
    table.publish(MONDAY, rows(2))
    assert table.read()["version"].to_pylist() == [2] * 5
    assert table.days() == [MONDAY]


def test_readers_and_a_writer_in_two_processes_never_see_a_mixture(table: LakeTable) -> None:
    days = [MONDAY, TUESDAY, WEDNESDAY]
    seen: dict[dt.date, list[int]] = {day: [] for day in days}

    def note(day: dt.date, versions: set[int], count: int, of: int) -> None:
        assert len(versions) == 1, f"{day} mixes versions {versions}"
        assert count == of, f"{day} holds {count} of {of} rows"
        seen[day].append(versions.pop())

    with writer(table.folder, days=3, step=100) as start:
        pid = start(1)
        wait_for(lambda: table.days() == days, every=0.001)

        def read() -> bool:
            with duckdb.connect() as connection:
                create_views(connection, {"stage.numbers": table})
                # Let the writer go on between the moment the files are resolved and the moment they are read.
                time.sleep(random.uniform(0.0, 0.01))
                sql = "SELECT day, list(DISTINCT version), count(*), max(of) FROM stage.numbers GROUP BY day"
                found = connection.execute(sql).fetchall()
            assert len(found) == 3
            for day, versions, count, of in found:
                note(day, set(versions), count, of)
            held = table.read().to_pandas()
            for day, part in held.groupby("day"):
                note(day, set(part["version"]), len(part), part["of"].max())
            return all(len(set(versions)) >= VERSIONS for versions in seen.values())

        wait_for(read)  # the writer goes on while we read
        start.kill(pid)  # type: ignore[attr-defined]
    for day in days:
        assert seen[day] == sorted(seen[day]), "a reader went back in time"


def test_who_resolved_the_old_file_reads_it_to_the_end(table: LakeTable) -> None:
    old = table.publish(MONDAY, rows(1))
    with duckdb.connect() as connection:
        create_views(connection, {"stage.numbers": table})
        table.publish(MONDAY, rows(2))
        assert connection.execute("SELECT DISTINCT version FROM stage.numbers").fetchall() == [(1,)]
    assert versions_in(old) == {1}
    assert table.read()["version"].to_pylist() == [2] * 5


def age(path: Path | None, seconds: float) -> None:
    assert path is not None
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_a_file_published_long_ago_outlives_the_publish_that_supersedes_it(table: LakeTable) -> None:
    old = table.publish(MONDAY, rows(1))
    age(old.file, 30 * GRACE_SECONDS)
    table.publish(MONDAY, rows(2))
    assert versions_in(old) == {1}, "a reader that had just resolved the partition lost its file"


def test_superseded_files_are_swept_after_the_grace_time_only(table: LakeTable) -> None:
    first = table.publish(MONDAY, rows(1))
    second = table.publish(MONDAY, rows(2))
    age(first.file, GRACE_SECONDS + 60)
    third = table.publish(MONDAY, rows(3))
    assert not first.file.exists()  # type: ignore[union-attr]
    age(second.file, GRACE_SECONDS - 60)
    fourth = table.publish(MONDAY, rows(4))
    assert versions_in(second) == {2}
    assert versions_in(third) == {3}
    assert versions_in(fourth) == {4}


def test_the_sweep_takes_what_a_killed_writer_left_and_nothing_of_other_days(table: LakeTable) -> None:
    other = table.publish(TUESDAY, rows(7, day=TUESDAY))
    age(other.file, 2 * GRACE_SECONDS)
    part = table.publish(MONDAY, rows(1))
    left = part.file.with_name(".part-ab.parquet.17.1")  # type: ignore[union-attr]
    left.write_bytes(b"half")
    table.publish(MONDAY, rows(2))
    assert left.exists()
    age(left, GRACE_SECONDS + 60)
    table.publish(MONDAY, rows(3))
    assert not left.exists()
    assert versions_in(other) == {7}


def test_the_pointed_to_file_is_never_swept_however_old(table: LakeTable) -> None:
    part = table.publish(MONDAY, rows(1))
    age(part.file, 100 * GRACE_SECONDS)
    table.publish(MONDAY, rows(1), inputs="other")
    assert versions_in(part) == {1}


def test_rows_that_come_back_outlive_the_next_sweep(table: LakeTable) -> None:
    part = table.publish(MONDAY, rows(1))
    table.publish(MONDAY, rows(2))
    age(part.file, GRACE_SECONDS + 60)
    again = table.publish(MONDAY, rows(1))
    table.publish(MONDAY, rows(3))
    assert again.file == part.file
    assert versions_in(again) == {1}


def test_publishing_the_same_rows_again_rewrites_no_data_file(table: LakeTable) -> None:
    first = table.publish(MONDAY, rows(1), "a")
    assert first.file is not None
    files, inode = set(first.file.parent.iterdir()), first.file.stat().st_ino
    again = table.publish(MONDAY, rows(1), "b")
    assert (again.file, again.content) == (first.file, first.content)
    assert first.file.stat().st_ino == inode
    assert set(first.file.parent.iterdir()) == files
    assert table.partition(MONDAY) == again
    assert again.inputs == "b"


def test_a_day_without_rows_is_published_and_differs_from_a_day_never_published(table: LakeTable) -> None:
    table.publish(MONDAY, rows(1).slice(0, 0))
    part = table.partition(MONDAY)
    assert part is not None
    assert (part.rows, part.file) == (0, None)
    assert table.partition(TUESDAY) is None
    assert table.days() == [MONDAY]
    assert table.files() == []
    assert table.read().schema == SCHEMA


def test_a_day_can_become_empty_and_full_again(table: LakeTable) -> None:
    for version in (1, 0, 2):
        table.publish(MONDAY, rows(version, count=3 * bool(version)))
        assert table.read()["version"].to_pylist() == [version] * 3 * bool(version)


def test_rows_come_in_day_order_whatever_the_order_of_publishing(table: LakeTable) -> None:
    for day in (WEDNESDAY, MONDAY, TUESDAY):
        table.publish(day, rows(day.day, 2, day))
    assert table.read()["version"].to_pylist() == [1, 1, 2, 2, 3, 3]
    assert table.read([WEDNESDAY, MONDAY], ["version"]).to_pydict() == {"version": [1, 1, 3, 3]}
    assert table.read([MONDAY, MONDAY], ["version"]).to_pydict() == {"version": [1, 1]}, (
        "a day asked for twice is one day"
    )
    assert table.read([dt.date(1999, 1, 1)]).num_rows == 0


def test_rows_that_do_not_fit_the_schema_leave_the_partition_alone(table: LakeTable) -> None:
    table.publish(MONDAY, rows(1))
    wrong = rows(2).set_column(1, "version", pa.array(["two"] * 5))
    with pytest.raises(pa.ArrowInvalid):
        table.publish(MONDAY, wrong)
    assert table.read()["version"].to_pylist() == [1] * 5


MIXED = pa.schema(
    [("text", pa.string()), ("flag", pa.bool_()), ("number", pa.float64()), ("list", pa.list_(pa.float64()))]
)
FLOATS = st.floats(allow_nan=False).map(lambda x: x + 0.0)  # without the negative zero, which equals the other
RECORD = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=4),
        "flag": st.none() | st.booleans(),
        "number": st.none() | FLOATS,
        "list": st.none() | st.lists(FLOATS, max_size=3),
    }
)


@given(st.lists(RECORD, max_size=20), st.lists(RECORD, max_size=20), st.lists(RECORD, max_size=20))
def test_equal_rows_have_equal_hashes_however_they_are_held(
    before: list[dict[str, object]], own: list[dict[str, object]], after: list[dict[str, object]]
) -> None:
    plain = pa.Table.from_pylist(own, schema=MIXED)
    cut_out = pa.Table.from_pylist([*before, *own, *after], schema=MIXED).slice(len(before), len(own))
    pieces = pa.concat_tables([cut_out.slice(0, 3), cut_out.slice(3)])
    assert content_hash(plain) == content_hash(cut_out) == content_hash(pieces)


@given(st.lists(RECORD, min_size=1, max_size=20), st.lists(RECORD, min_size=1, max_size=20))
def test_other_rows_have_other_hashes(one: list[dict[str, object]], other: list[dict[str, object]]) -> None:
    a, b = (pa.Table.from_pylist(r, schema=MIXED) for r in (one, other))
    assert (content_hash(a) == content_hash(b)) == a.equals(b)


@settings(max_examples=25, deadline=None)
@given(st.lists(RECORD, min_size=1, max_size=20))
def test_what_is_read_is_what_was_published(
    tmp_path_factory: pytest.TempPathFactory, own: list[dict[str, object]]
) -> None:
    table = LakeTable(tmp_path_factory.mktemp("lake") / "stage" / "mixed", MIXED)
    published = pa.Table.from_pylist(own, schema=MIXED)
    part = table.publish(MONDAY, published)
    assert table.read().equals(published)
    assert content_hash(table.read()) == part.content


@settings(max_examples=25, deadline=None)
@given(st.lists(RECORD, max_size=20), st.lists(st.integers(0, 20), max_size=4))
def test_a_day_is_the_same_however_its_rows_come(
    tmp_path_factory: pytest.TempPathFactory, own: list[dict[str, object]], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    whole, pieces = (LakeTable(folder / "stage" / name, MIXED) for name in ("whole", "pieces"))
    rows = pa.Table.from_pylist(own, schema=MIXED)
    edges = sorted({0, *(min(c, rows.num_rows) for c in cuts), rows.num_rows})
    batches = [b for a, z in itertools.pairwise(edges) for b in rows.slice(a, z - a).to_batches()]
    one, other = whole.publish(MONDAY, rows), pieces.publish_batches(MONDAY, batches)
    assert (one.content, one.rows, one.file and one.file.name) == (
        other.content, other.rows, other.file and other.file.name
    )  # fmt: skip
    assert pieces.read().equals(rows)


def test_large_days_are_written_in_chunks_that_do_not_depend_on_the_batches(table: LakeTable) -> None:
    count = 2 * CHUNK_ROWS + 5
    large = rows(1, count)
    one = table.publish_batches(MONDAY, large.to_batches(max_chunksize=CHUNK_ROWS // 3))
    other = table.publish_batches(TUESDAY, large.to_batches(max_chunksize=CHUNK_ROWS + 1))
    assert one.content == other.content == content_hash(large)
    for part in (one, other):
        groups = pq.ParquetFile(part.file).metadata
        assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [CHUNK_ROWS, CHUNK_ROWS, 5]


def test_rows_that_stop_coming_leave_the_partition_and_the_folder_as_they_were(table: LakeTable) -> None:
    before = table.publish(MONDAY, rows(1))
    files = set(before.file.parent.iterdir())  # type: ignore[union-attr]

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield from rows(2, CHUNK_ROWS + 1).to_batches()
        raise RuntimeError("the query failed")

    with pytest.raises(RuntimeError, match="the query failed"):
        table.publish_batches(MONDAY, interrupted())
    assert table.partition(MONDAY) == before
    assert set(before.file.parent.iterdir()) == files  # type: ignore[union-attr]


def test_what_a_day_follows_from_can_be_said_anew_without_its_rows(table: LakeTable) -> None:
    before = table.publish(MONDAY, rows(1), "these")
    table.claim(MONDAY, "those")
    after = table.partition(MONDAY)
    assert after is not None and before.inputs == "these" and after.inputs == "those"
    assert (after.file, after.rows, after.content) == (before.file, before.rows, before.content)
