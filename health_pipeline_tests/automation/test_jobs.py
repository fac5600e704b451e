"""The jobs, run by a real Dagster instance over real files: what they compute, what they leave, what stops them."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys

import dagster as dg
import numpy as np
import pyarrow.compute as pc
import pytest

from health_pipeline.storage.engine import date_range
from health_pipeline.storage.lake import content_hash
from health_pipeline.terminal.instance import end_lost_runs
from health_pipeline_tests.conftest import FAR, FIRST, LAST, Built, Deployment, Run, scaled, spoilt, wait_for

DAYS = date_range(FIRST, LAST)
PLATFORM = "AliExpress"


def metadata(run: Run, name: str) -> dict[str, object]:
    """Of the run's newest materialisation of a table."""
    return {key: value.value for key, value in materialised(run, name)[-1].metadata.items()}


def materialised(run: Run, name: str) -> list[dg.AssetMaterialization]:
    events = [e.step_materialization_data.materialization for e in run.all_events if e.is_step_materialization]
    return [m for m in events if m.asset_key == dg.AssetKey(["little", name])]


def check(run: Run, name: str) -> dg.AssetCheckEvaluation:
    return next(e for e in run.get_asset_check_evaluations() if e.check_name == name)


def computed(run: Run, *names: str) -> dict[str, object]:
    return {name: metadata(run, name)["days computed"] for name in names}


def test_a_first_run_takes_the_sample_through_everything(built: Built, deployment: Deployment) -> None:
    assert all(run.success for run in built.runs.values())
    assert metadata(built.runs["land"], "landed_files")["files landed now"] == 1
    for name in ("statements", "deliveries", "cube"):
        about = metadata(built.runs["load"], name)
        assert about["days asked for"] == about["days computed"] == about["days changed"] == len(DAYS)
        assert about["rows"] == deployment.pipeline.tables.by_name()[table(name)].read().num_rows
    for name in ("shifts", "incidents", "risks"):
        assert metadata(built.runs["judge"], name)["days computed"] == 90
    for name, count in {"deliveries": len(DAYS), "cube": len(DAYS), "shifts": 90, "bands": 90, "risks": 90}.items():
        key = dg.AssetKey(["little", name])
        assert len(deployment.instance.get_materialized_partitions(key)) == count
    assert metadata(built.runs["alert"], "alerts")["newest day"] == LAST.isoformat()


def table(name: str) -> str:
    return {"cube": "metrics.cube"}.get(name, f"raw.{name}")


def test_the_checks_of_the_sample_pass_and_the_silent_platform_is_named(built: Built) -> None:
    passed = {e.check_name: e.passed for e in built.runs["load"].get_asset_check_evaluations()}
    assert passed == {
        "contract": True,
        "schema_drift": True,
        "freshness": True,
        "denominators": True,
        "reconciliation": True,
        "volume": False,  # TikTok's deliveries end on 4 September
    }
    volume = check(built.runs["load"], "volume")
    assert volume.severity is dg.AssetCheckSeverity.WARN
    assert volume.metadata[f"incomplete on {LAST}"].value == 1
    newest = volume.metadata["newest findings"].records[0].data  # type: ignore[union-attr]
    assert newest | {"volume": 0.0, "expected": 0.0} == {
        "day": LAST.isoformat(), "table": "statements", "unit": "TikTok", "finding": "missing", "volume": 0.0,
        "expected": 0.0,
    }  # fmt: skip


def test_pictures_and_lists_are_shown_beside_the_assets(built: Built) -> None:
    assert str(metadata(built.runs["judge"], "shifts")["shifts reported per day"]).startswith("![")
    assert str(metadata(built.runs["judge"], "incidents")["timeline"]).startswith("![")
    assert metadata(built.runs["judge"], "risks")[f"first on {LAST}"]


def test_the_same_day_again_computes_nothing_and_touches_no_file(deployment: Deployment) -> None:
    before = deployment.pointers()
    assert deployment.run("land").success
    load = deployment.run("load", LAST - dt.timedelta(days=6), LAST)
    judge = deployment.run("judge", LAST - dt.timedelta(days=6), LAST)
    assert computed(load, "statements", "deliveries", "cube") == {"statements": 0, "deliveries": 0, "cube": 0}
    assert computed(judge, "shifts", "incidents", "risks") == {"shifts": 0, "incidents": 0, "risks": 0}
    assert deployment.pointers() == before


def test_the_daily_job_takes_one_day_from_end_to_end(deployment: Deployment) -> None:
    deployment.deliver("corrected.parquet", scaled(deployment.facts(LAST, PLATFORM), 2))
    assert deployment.run("land").success
    daily = deployment.execute("little_daily", {}, LAST.isoformat())
    assert daily.success
    names = ("statements", "deliveries", "cube", "shifts", "incidents", "risks")
    assert computed(daily, *names) == dict.fromkeys(names, 1)
    assert metadata(daily, "cube")["dagster/partition_row_count"]
    assert deployment.pipeline.outstanding() is None


def test_a_file_with_too_many_bad_rows_stops_what_follows(deployment: Deployment) -> None:
    """Whatever else the run covers: next to the whole history, one bad day is a small share."""
    day = LAST - dt.timedelta(days=3)
    rows = deployment.facts(day, PLATFORM)
    bad = rows.num_rows // 10
    deployment.deliver("bad.parquet", spoilt(rows, bad))
    assert deployment.run("land").success
    judged = deployment.pointers("metrics") | deployment.pointers("incidents")

    for first in (FIRST, day):  # the next run is stopped as well
        load = deployment.run("load", first, LAST)
        assert not load.success
        contract = check(load, "contract")
        assert not contract.passed and contract.blocking
        assert contract.severity is dg.AssetCheckSeverity.ERROR
        assert contract.metadata["largest in"].value == "bad.parquet"
        assert contract.metadata["rows in quarantine"].value == bad
        assert not materialised(load, "cube") and not materialised(load, "deliveries")
        assert deployment.pointers("metrics") | deployment.pointers("incidents") == judged
        work = deployment.pipeline.outstanding()
        assert work is not None and work.kind == "load"

    deployment.deliver("corrected.parquet", rows, seconds_ago=5)
    assert deployment.work_off()[:2] == ["land", "load"]


def test_a_stopped_run_is_not_tried_again_by_itself(deployment: Deployment) -> None:
    rows = deployment.facts(LAST, PLATFORM)
    deployment.deliver("bad.parquet", spoilt(rows, rows.num_rows // 2))
    deployment.run("land")
    load = deployment.run("load", LAST)
    [failure] = [e for e in load.all_events if e.is_step_failure]
    own = [e.event_type for e in load.all_events if e.step_key == failure.step_key]
    assert own.count(dg.DagsterEventType.STEP_START) == 1
    assert not {dg.DagsterEventType.STEP_UP_FOR_RETRY, dg.DagsterEventType.STEP_RESTARTED} & set(own)
    assert failure.step_failure_data.error is not None
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.description == (
        "Stopped by the check 'contract' of statements: nothing that follows from it was changed."
    )


def test_a_few_bad_rows_are_kept_apart_and_the_rest_goes_on(deployment: Deployment) -> None:
    rows = deployment.facts(LAST, PLATFORM)
    assert 1 / rows.num_rows < 0.05
    deployment.deliver("nearly.parquet", spoilt(rows, 1))
    assert deployment.run("land").success
    load = deployment.run("load", LAST)
    contract = check(load, "contract")
    assert load.success and not contract.passed and contract.severity is dg.AssetCheckSeverity.WARN
    assert [r.data for r in contract.metadata["reasons"].records] == [{"reason": "statements: below 0", "rows": 1}]  # type: ignore[union-attr]
    [rejected] = deployment.pipeline.landing.quarantine().to_pylist()
    assert (rejected["file"], rejected["row"]) == ("nearly.parquet", rows.num_rows)
    assert rejected["reason"] == "statements: below 0"


def test_a_cube_that_does_not_add_up_is_stopped_until_it_is_corrected(deployment: Deployment) -> None:
    day = LAST - dt.timedelta(days=1)
    rows = deployment.facts(day, PLATFORM)
    deployment.deliver("wrong.parquet", scaled(rows, 0.5, attribute="category"))
    before = deployment.pointers("shifts") | deployment.pointers("incidents") | deployment.pointers("risks")
    assert deployment.run("land").success

    for _ in range(2):
        load = deployment.run("load", day, LAST)
        assert not load.success
        reconciliation = check(load, "reconciliation")
        assert not reconciliation.passed and reconciliation.severity is dg.AssetCheckSeverity.ERROR
        assert str(reconciliation.metadata["for example"].value).startswith(
            f"{day} statements_by_category platform={PLATFORM}"
        )
        work = deployment.pipeline.outstanding()
        assert work is not None and work.kind == "load", "a wrong cube must not be judged by a later run either"

    assert not deployment.execute("little_daily", {}, day.isoformat()).success
    assert deployment.pointers("shifts") | deployment.pointers("incidents") | deployment.pointers("risks") == before
    deployment.deliver("right.parquet", rows, seconds_ago=5)
    assert deployment.work_off()[:2] == ["land", "load"]


def test_a_day_that_nobody_delivered_warns_and_stops_nothing(deployment: Deployment) -> None:
    day = LAST + dt.timedelta(days=1)
    load = deployment.run("load", LAST, day)
    assert load.success
    freshness = check(load, "freshness")
    assert not freshness.passed and freshness.severity is dg.AssetCheckSeverity.WARN
    assert freshness.metadata["days without any delivery"].value == day.isoformat()
    assert freshness.metadata["newest day delivered"].value == LAST.isoformat()


def test_half_a_delivery_warns(deployment: Deployment) -> None:
    deployment.deliver("empty.parquet", scaled(deployment.facts(LAST, PLATFORM), 0.001))
    deployment.run("land")
    load = deployment.run("load", LAST)
    assert load.success
    found = [r.data for r in check(load, "volume").metadata["newest findings"].records]  # type: ignore[union-attr]
    assert {r["unit"]: r["finding"] for r in found} == {"TikTok": "missing", PLATFORM: "empty"}


KILLED = """
import os, signal, sys
from pathlib import Path
from health_pipeline.storage import lake
from health_pipeline_tests.conftest import Deployment
from health_pipeline.home import Home

write_durably, published = lake.write_durably, 0

def counted(path, write):
    global published
    if path.name == lake.POINTER and path.parent.parent == Path(sys.argv[3]):
        if published == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # half-way: the third day's rows are there, and nobody knows
        published += 1
    write_durably(path, write)

deployment = Deployment.open(Path(sys.argv[1]), Home(Path(sys.argv[2])))
lake.write_durably = counted
deployment.work_off()
"""


@pytest.mark.parametrize("stage", ["raw/deliveries", "shifts/bands"])
def test_a_killed_run_leaves_whole_days_and_the_next_one_completes(deployment: Deployment, stage: str) -> None:
    day = LAST - dt.timedelta(days=5)
    deployment.deliver("corrected.parquet", scaled(deployment.facts(day, PLATFORM), 3))
    tables = deployment.pipeline.tables.by_name()
    folder = tables[stage.replace("/", ".")].folder
    files = [folder / f"day={d}" / "_current.json" for d in date_range(day, LAST)]
    before, earlier = [file.stat().st_ino for file in files], _before(day, deployment)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(deployment.catalog_folder), str(deployment.home.root), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=FAR,
    )
    assert killed.returncode == -signal.SIGKILL
    assert [file.stat().st_ino != old for file, old in zip(files, before, strict=True)].count(True) == 2

    assert _before(day, deployment) == earlier
    for lake_table in tables.values():
        for published in map(lake_table.partition, (d for d in lake_table.days() if d >= day)):
            assert published is not None
            if published.file is not None:
                assert content_hash(lake_table.read([published.day])) == published.content
    work = deployment.pipeline.outstanding()
    assert work is not None and work.kind == ("load" if stage == "raw/deliveries" else "judge")

    started = [dg.DagsterRunStatus.STARTED]
    assert len(deployment.instance.get_runs(dg.RunsFilter(statuses=started))) == 1
    assert end_lost_runs(deployment.instance) == 1, "else the sensors wait for the dead run for ever"
    assert not deployment.instance.get_runs(dg.RunsFilter(statuses=started))

    assert deployment.work_off()[-1] == "judge"
    if stage == "raw/deliveries":
        return
    # The states hold unrounded numbers, whose last bits depend on which days were judged in one go.
    exact = {name: t for name, t in tables.items() if name != "shifts.states"}
    published = {name: [t.partition(d) for d in t.days()] for name, t in exact.items()}
    states = tables["shifts.states"].read()
    _recompute(deployment, day)
    again = {name: [t.partition(d) for d in t.days()] for name, t in exact.items()}
    assert {n: [p and p.content for p in ps] for n, ps in published.items()} == {
        n: [p and p.content for p in ps] for n, ps in again.items()
    }
    resumed = tables["shifts.states"].read()
    for column in ("part", "key", "day"):
        assert states[column].equals(resumed[column])
    before_, after_ = (pc.list_flatten(t["values"]).to_numpy() for t in (states, resumed))
    np.testing.assert_allclose(after_, before_, rtol=1e-6, atol=1e-9)


def _before(day: dt.date, deployment: Deployment) -> dict[str, tuple[int, int]]:
    return {k: at for k, at in deployment.pointers().items() if k.split("day=")[1][:10] < day.isoformat()}


def _recompute(deployment: Deployment, first: dt.date) -> None:
    """Make every derived day from ``first`` on out of date, and compute it once more."""
    for lake_table in deployment.pipeline.tables.by_name().values():
        for day in (d for d in lake_table.days() if d >= first):
            lake_table.publish(day, lake_table.read([day]), "out of date")
    assert deployment.work_off() == ["load", "judge"]


def test_a_run_that_is_alive_is_not_ended(deployment: Deployment) -> None:
    job = deployment.definitions.resolve_job_def("little_land")
    deployment.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert end_lost_runs(deployment.instance) == 0


def test_readers_are_answered_consistently_while_a_run_republishes(deployment: Deployment) -> None:
    """Each answer comes from whole days: categories add up to all statements at every moment."""
    day = LAST - dt.timedelta(days=2)
    script = (
        "import itertools, sys\nfrom pathlib import Path\n"
        "from health_pipeline_tests.conftest import Deployment, scaled\n"
        "from health_pipeline.home import Home\nimport datetime as dt\n"
        "d = Deployment.open(Path(sys.argv[1]), Home(Path(sys.argv[2])))\n"
        "day = dt.date.fromisoformat(sys.argv[3])\n"
        "for i in itertools.count(1):\n"
        "    d.deliver('again.parquet', scaled(d.facts(day), 10 * i), seconds_ago=2.5)\n"
        "    assert d.run('land').success and d.run('load', day).success\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(deployment.catalog_folder), str(deployment.home.root), day.isoformat()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    query = f"""
        SELECT unit, sum(numerator) FILTER (metric = 'statements') AS whole,
               sum(numerator) FILTER (metric = 'statements_by_category') AS parts
        FROM metrics.cube WHERE day = '{day}' GROUP BY unit ORDER BY unit"""
    seen: dict[str, set[str]] = {}

    def understood(answer: subprocess.CompletedProcess[str]) -> bool:
        """Whether the answers have changed more than once by now."""
        assert answer.returncode == 0, answer.stderr
        for line in answer.stdout.splitlines()[1:]:
            unit, whole, parts = line.split(",")
            assert float(whole) == pytest.approx(float(parts), abs=20), (unit, line)
            seen.setdefault(unit, set()).add(whole)
        return min(map(len, seen.values())) > 2

    try:
        wait_for(lambda: understood(deployment.cli("sql", "--csv", query)), at_work=writer)
        understood(deployment.process("sql", "--csv", query))
        assert writer.poll() is None, "the writer has been writing all the time"
    finally:
        writer.kill()
        writer.wait()
