"""``health-pipeline pull``: what it fetched, what there is to fetch, and what stands in the way."""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from health_pipeline.automation.schedules import reconcile_schedule
from health_pipeline.home import Home
from health_pipeline_tests.conftest import LAST, Deployment, here

DAY = LAST.isoformat()


@pytest.fixture
def sourced(little: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The little ecosystem's catalog with two sources: a folder, and a database that holds the last day."""
    folder = tmp_path / "little"
    shutil.copytree(little, folder)
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", str(tmp_path / "home"))
    rows = pq.read_table(folder / "sample.parquet", filters=[("day", "==", LAST)]).to_pylist()
    with sqlite3.connect(tmp_path / "warehouse.db") as database:
        database.execute("CREATE TABLE daily (day, platform, attribute, value, statements, mean_seconds)")
        database.executemany(
            "INSERT INTO daily VALUES (:day, :platform, :attribute, :value, :statements, :mean_seconds)",
            [row | {"day": DAY} for row in rows],
        )
    (tmp_path / "exports").mkdir()
    (folder / "sources.yaml").write_text(
        f"sources:\n  - name: exports\n    folder: {tmp_path / 'exports'}\n"
        f"  - name: warehouse\n    database: sqlite:///{tmp_path / 'warehouse.db'}\n"
        "    tables: {statements: {select: daily, days_back: 3}}\n"
    )
    return folder


def test_a_pull_says_what_it_fetched_and_a_second_fetches_nothing(sourced: Path) -> None:
    looked = here("pull", "-e", str(sourced), "--check")
    assert looked.returncode == 0
    assert "warehouse  statements" in looked.stdout
    assert "never read" in looked.stdout
    done = here("pull", "-e", str(sourced))
    assert (done.returncode, done.stderr) == (0, "")
    with sqlite3.connect(sourced.parent / "warehouse.db") as database:
        [(rows,)] = database.execute("SELECT count(*) FROM daily").fetchall()
    assert f"warehouse  statements      1    {rows}" in done.stdout
    assert "health-pipeline run" in done.stdout
    again = here("pull", "-e", str(sourced), "--source", "warehouse")
    assert "warehouse  statements      0     0" in again.stdout


def test_what_stands_in_the_way_is_said_and_the_rest_is_fetched(sourced: Path) -> None:
    shutil.rmtree(sourced.parent / "exports")
    done = here("pull", "-e", str(sourced))
    assert done.returncode == 1
    assert f"! Source 'exports': there is no folder {sourced.parent / 'exports'}." in done.stdout
    assert "warehouse  statements      1" in done.stdout
    assert done.stderr.startswith("✗ 1 problem with the sources, named above.")
    shown = here("inbox", "-e", str(sourced))
    assert f"! Source 'exports': there is no folder {sourced.parent / 'exports'}." in shown.stdout
    (sourced.parent / "exports").mkdir()
    assert here("pull", "-e", str(sourced)).returncode == 0
    assert "exports" not in here("inbox", "-e", str(sourced)).stdout


def test_a_source_that_is_not_declared_is_named(sourced: Path) -> None:
    done = here("pull", "-e", str(sourced), "--source", "warehose")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "✗ There is no source 'warehose'.\n  Did you mean 'warehouse'?\n"


def test_without_sources_there_is_nothing_to_pull(little: Path) -> None:
    done = here("pull", "-e", str(little))
    assert done.returncode == 1
    assert done.stderr.startswith("✗ little declares no sources.")


def test_the_land_job_pulls_and_the_hourly_schedule_asks_for_it(sourced: Path, tmp_path: Path) -> None:
    deployment = Deployment.open(sourced, Home(tmp_path / "home"))
    try:
        assert deployment.run("land").success
        (receipt,) = deployment.pipeline.landing.receipts()
        assert receipt.name.startswith("statements-warehouse-")
        context = dg.build_schedule_context(
            instance=deployment.instance, scheduled_execution_time=dt.datetime(2026, 11, 1, 5, 5, tzinfo=dt.UTC)
        )
        asked = reconcile_schedule(deployment.pipeline, "land").evaluate_tick(context)
        (request,) = asked.run_requests or ()
        assert request.tags["why"] == "whatever is new in exports, warehouse"
    finally:
        deployment.instance.dispose()
