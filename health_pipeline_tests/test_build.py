"""What Dagster loads: one asset per table, declared once; jobs, schedules and sensors that run by themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import dagster as dg
import pytest

from health_pipeline.automation.partitions import daily
from health_pipeline.build import build_defs, chosen_ecosystems
from health_pipeline.catalog.loader import load_catalog
from health_pipeline_tests.conftest import Deployment

STAGE_OF = {
    "landed_files": "raw",
    "statements": "raw",
    "deliveries": "raw",
    "cube": "metrics",
    "histograms": "metrics",
    "shifts": "shifts",
    "bands": "shifts",
    "states": "shifts",
    "incidents": "incidents",
    "risks": "risks",
    "track_records": "risks",
    "alerts": "alerts",
}
TABLES = [name for name in STAGE_OF if name not in ("landed_files", "alerts")]


def in_a_fresh_interpreter(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEALTH_PIPELINE", "DAGSTER"))}
    return subprocess.run(
        [sys.executable, "-c", script], env={**clean, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """The bundled ecosystem's."""
    return build_defs(["eu_dsa"])


def test_the_definitions_load_in_a_fresh_interpreter(little: object, tmp_path: object) -> None:
    script = (
        "from health_pipeline.definitions import defs\n"
        "print(sorted({k.path[0] for k in defs.resolve_asset_graph().get_all_asset_keys()}))"
    )
    done = in_a_fresh_interpreter(
        script, HEALTH_PIPELINE_ECOSYSTEMS=f"eu_dsa, {little}", HEALTH_PIPELINE_HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['eu_dsa', 'little']"


def test_a_wrong_catalog_fails_loading_with_file_line_and_suggestion(edit: Callable[[str, str, str], int]) -> None:
    line = edit("metrics.yaml", "bad: both", "bad: bth")
    done = in_a_fresh_interpreter("import health_pipeline.definitions", HEALTH_PIPELINE_ECOSYSTEMS="mine")
    assert done.returncode == 1
    assert "CatalogError: The catalog has 1 mistake:" in done.stderr
    assert (
        f"mine/metrics.yaml:{line}: statements.bad is 'bth', which is not one of up, down or both. "
        "Did you mean 'both'?" in done.stderr
    )


def test_without_a_choice_the_bundled_ecosystem_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEALTH_PIPELINE_ECOSYSTEMS", raising=False)
    assert chosen_ecosystems() == ["eu_dsa"]
    monkeypatch.setenv("HEALTH_PIPELINE_ECOSYSTEMS", " a , ./b,")
    assert chosen_ecosystems() == ["a", "./b"]


def test_every_table_is_an_asset_in_the_group_of_its_stage(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    assert {key.path[-1]: graph.get(key).group_name for key in graph.get_all_asset_keys()} == STAGE_OF
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.kinds and node.owners, key


def test_tables_show_their_columns_and_what_they_follow_from(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for name in TABLES:
        node = graph.get(dg.AssetKey(["eu_dsa", name]))
        assert node.kinds == {"duckdb", "parquet"}
        columns = node.metadata["dagster/column_schema"].columns
        assert columns[0].name == ("part" if name == "states" else "day")
        assert node.partitions_def == (None if name == "statements" else daily(load_catalog("eu_dsa")))
    parents = {name: {k.path[-1] for k in graph.get(dg.AssetKey(["eu_dsa", name])).parent_keys} for name in STAGE_OF}
    assert parents == {
        "landed_files": set(),
        "statements": {"landed_files"},
        "deliveries": {"statements", "deliveries"},
        "cube": {"statements"},
        "histograms": {"statements"},
        "shifts": {"cube", "histograms", "deliveries"},
        "bands": {"cube", "histograms", "deliveries"},
        "states": {"cube", "histograms", "deliveries", "states"},
        "incidents": {"shifts", "bands", "deliveries", "cube", "incidents"},
        "risks": {"incidents"},
        "track_records": {"incidents"},
        "alerts": {"incidents", "risks"},
    }


def test_the_contract_s_descriptions_are_the_columns_(defs: dg.Definitions) -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey(["eu_dsa", "statements"]))
    described = {c.name: c.description for c in node.metadata["dagster/column_schema"].columns}
    assert described["platform"] == "name of the online platform"
    assert all(described.values())


def test_the_checks_that_guard_wrong_numbers_block(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    blocking = {key.name: graph.get_check_spec(key).blocking for key in graph.asset_check_keys}
    assert blocking == {
        "contract": True,
        "schema_drift": False,
        "freshness": False,
        "volume": False,
        "denominators": True,
        "reconciliation": True,
        "delivery": False,
    }


def test_jobs_schedules_and_sensors_run_without_anyone_switching_them_on(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    jobs = {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert set(jobs) == {f"eu_dsa_{kind}" for kind in ("land", "load", "judge", "alert", "daily")}
    schedules = {s.name: s for s in repository.schedule_defs}
    assert set(schedules) == {"eu_dsa_daily", *(f"eu_dsa_reconcile_{kind}" for kind in ("land", "load", "judge"))}
    assert {s.default_status for s in schedules.values()} == {dg.DefaultScheduleStatus.RUNNING}
    assert {s.execution_timezone for s in schedules.values()} == {"UTC"}
    sensors = {s.name: s for s in repository.sensor_defs}
    assert set(sensors) == {"eu_dsa_inbox", "eu_dsa_alerts", "eu_dsa_failures"}
    assert {s.default_status for s in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}


def test_steps_run_in_the_run_s_own_process(defs: dg.Definitions) -> None:
    for job in defs.get_repository_def().get_all_jobs():
        assert job.executor_def is dg.in_process_executor, job.name


def test_two_ecosystems_live_side_by_side(defs: dg.Definitions, deployment: Deployment) -> None:
    both = build_defs(["eu_dsa", str(deployment.catalog_folder)], deployment.home)
    keys = both.resolve_asset_graph().get_all_asset_keys()
    assert len(keys) == 2 * len(STAGE_OF)
    dg.Definitions.validate_loadable(both)


def test_an_ecosystem_of_many_tables_has_an_asset_and_checks_for_each() -> None:
    catalog = load_catalog("marketplace")
    defs = build_defs(["marketplace"])
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    names = {t.name for t in catalog.tables}
    raw = {k.path[-1] for k in graph.get_all_asset_keys() if graph.get(k).group_name == "raw"}
    assert raw == {*names, "landed_files", "deliveries"}
    checks: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        checks.setdefault(key.asset_key.path[-1], set()).add(key.name)
    assert checks["orders"] == {"contract", "schema_drift", "freshness", "references"}
    assert checks["creators"] == {"contract", "schema_drift", "freshness"}
    assert checks["shops"] == {"contract", "schema_drift"}, "a day without a new shop means nothing"
    parents = {name: {k.path[-1] for k in graph.get(dg.AssetKey(["marketplace", name])).parent_keys} for name in names}
    assert parents["orders"] == {"landed_files", "creators"}, "what is named must be there when it is looked for"
    assert parents["appeals"] == {"landed_files", "decisions"}
    deliveries = graph.get(dg.AssetKey(["marketplace", "deliveries"])).parent_keys
    assert names - {k.path[-1] for k in deliveries} == {"shops", "products", "policy_events", "calendar"}
