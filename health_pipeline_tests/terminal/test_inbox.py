"""``health-pipeline inbox``: where to drop files, and what became of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from health_pipeline.errors import InputError
from health_pipeline_tests.conftest import LAST, Deployment, scaled, spoilt


def test_the_folder_is_named_and_made(empty: Deployment) -> None:
    folder = empty.pipeline.home.inbox("little")
    done = empty.cli("inbox")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Drop files here; the inbox sensor (or the next run) picks them up:",
        str(folder),
    ]
    assert folder.is_dir()


def test_files_are_copied_whole_and_then_received(deployment: Deployment, tmp_path: Path) -> None:
    rows = scaled(deployment.facts(LAST, "AliExpress"), 2)
    pq.write_table(spoilt(rows, 1), tmp_path / "mine.parquet")
    done = deployment.cli("inbox", str(tmp_path / "mine.parquet"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "✓ mine.parquet is in the inbox."
    assert "Waiting: mine.parquet. `health-pipeline run` takes them now." in lines
    assert [p.name for p in deployment.pipeline.inbox.iterdir()] == ["mine.parquet"]
    assert (deployment.pipeline.inbox / "mine.parquet").read_bytes() == (tmp_path / "mine.parquet").read_bytes()

    deployment.pipeline.landing.receive(deployment.pipeline.inbox / "mine.parquet")
    lines = deployment.cli("inbox").stdout.splitlines()
    [heading] = [line for line in lines if line.startswith("received")]
    assert heading.split() == ["received", "format", "rows", "accepted", "repeated", "quarantined", "days"]
    [row] = [line for line in lines if line.startswith("mine.parquet")]
    n = rows.num_rows
    assert row.split() == ["mine.parquet", "Parquet", str(n), str(n - 1), "0", "1", LAST.isoformat()]
    assert lines[-1] == 'Why rows were rejected: health-pipeline sql "FROM raw.quarantine"'
    assert not any(line.startswith("Waiting") for line in lines)


def test_a_file_that_is_not_there_copies_nothing_and_ends_with_4(deployment: Deployment, tmp_path: Path) -> None:
    pq.write_table(deployment.facts(LAST), tmp_path / "mine.parquet")
    done = deployment.cli("inbox", str(tmp_path / "mine.parquet"), "gone.csv")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == ("✗ gone.csv is not a file.\n  Give the path of a Parquet or CSV file, or of a daily dump.\n")
    assert list(deployment.pipeline.inbox.iterdir()) == []


def test_a_file_that_could_not_be_read_is_listed_with_what_to_do(deployment: Deployment) -> None:
    path = deployment.pipeline.inbox / "columns.csv"
    path.write_text("day,platform,attribute,value,count\n2025-09-30,AliExpress,rows,all,3\n")
    with pytest.raises(InputError):
        deployment.pipeline.landing.receive(path)
    shown = deployment.cli("inbox").stdout.splitlines()
    assert (
        shown[-1]
        == "! columns.csv lacks the column 'statements'. Its columns are day, platform, attribute, value, count."
    )
