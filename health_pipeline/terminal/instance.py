"""The Dagster instance of a home: settings copied in, storage created by one process before any other comes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from health_pipeline.errors import UserError
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
        raise UserError(
            f"Can't write to {home.root}: {error.strerror}.", "Set HEALTH_PIPELINE_HOME to a folder you can write to."
        ) from None
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    os.environ["HEALTH_PIPELINE_HOME"] = str(home.root)

    from dagster import DagsterInstance

    instance = DagsterInstance.get()
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    instance.event_log_storage.get_asset_records()
    return instance
