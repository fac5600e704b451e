"""The Dagster instance of a home: settings copied in, storage created by one process before any other comes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipeline.home import Home

if TYPE_CHECKING:
    from dagster import DagsterInstance

PACKAGED = Path(__file__).parent.parent


def settings_file(name: str) -> Path:
    """``dagster.yaml`` or ``workspace.yaml``: the checkout's, or the one packaged with an installation."""
    checkout = PACKAGED.parent / name
    return (
        checkout
        if checkout.exists() and (PACKAGED.parent / "pyproject.toml").exists()
        else PACKAGED / "settings" / name
    )


def prepare(home: Home) -> DagsterInstance:
    """Create the home if need be and open its instance. Sets ``DAGSTER_HOME`` for this process and its children.

    SQLite storage that several processes create at once is broken for good, so this process creates it alone.

    Raises:
        UserError: the folder can't be written.
    """
    try:
        home.dagster.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(settings_file("dagster.yaml"), home.dagster / "dagster.yaml")
    except OSError as error:
        raise home.unwritable(error) from None
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    os.environ["HEALTH_PIPELINE_HOME"] = str(home.root)

    from dagster import DagsterInstance

    instance = DagsterInstance.get()
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    instance.event_log_storage.get_asset_records()
    end_lost_runs(instance)
    return instance


def end_lost_runs(instance: DagsterInstance) -> int:
    """Mark runs as failed whose process is gone: killed, out of memory, a power cut. Returns how many.

    Dagster's own monitoring can't see this with its default launcher. Such a run would keep its ecosystem's only place
    in the queue, and the inbox sensor waiting, for ever. Only with storage in SQLite, where every run is this host's.
    """
    from dagster import DagsterEventType, DagsterRunStatus, RunsFilter
    from dagster._core.storage.event_log import SqliteEventLogStorage

    if not isinstance(instance.event_log_storage, SqliteEventLogStorage):
        return 0
    lost = 0
    for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])):
        events = [e.dagster_event for e in instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)]
        pids = [
            e.engine_event_data.metadata["pid"].value for e in events if e and "pid" in e.engine_event_data.metadata
        ]
        if not pids or _is_alive(int(str(pids[-1]))):
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            instance.report_run_failed(now, f"The process of this run (pid {pids[-1]}) is gone.")
            lost += 1
    return lost


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
