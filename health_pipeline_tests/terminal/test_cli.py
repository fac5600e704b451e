"""The command itself: what it offers, and how it ends when something is wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from health_pipeline import __version__
from health_pipeline_tests.conftest import COMMAND, FAR, Deployment, command, here, wait_for


def test_help_lists_commands_and_exit_codes() -> None:
    done = command("--help")
    assert done.returncode == 0
    for name in ("run", "up", "sql", "inbox", "catalog"):
        assert f"│ {name} " in done.stdout
    assert (
        "Exit codes: 0 done · 1 can't be done as things are · 2 wrong usage · 3 the catalog is wrong · "
        "4 a delivered file can't be read · 5 a run failed or wrong data was stopped · 130 interrupted."
        in " ".join(done.stdout.split())
    )
    assert "HEALTH_PIPELINE_HOME" in done.stdout


@pytest.mark.parametrize("name", ["run", "up", "sql", "inbox", "catalog"])
def test_every_command_explains_itself(name: str) -> None:
    done = here(name, "--help")
    assert done.returncode == 0
    assert done.stdout.split()[1:3] == ["health-pipeline", name]


def test_the_version_is_the_package_s() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"health-pipeline {__version__}\n")


@pytest.mark.parametrize("arguments", [["rum"], ["run", "--dayz", "3"], ["run", "--days", "0"], ["up", "--port", "0"]])
def test_wrong_usage_is_explained_with_exit_code_2(arguments: list[str]) -> None:
    done = here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_metrics_of_an_ecosystem_are_listed() -> None:
    done = here("catalog", "metrics")
    assert done.returncode == 0
    assert "fully_automated_decision_rate" in done.stdout and "proportion" in done.stdout


@pytest.mark.parametrize("arguments", [["run"], ["up", "--port", "39999"], ["inbox"]])
def test_a_home_that_can_t_be_written_is_named(little: Path, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = here(arguments[0], "-e", str(little), *arguments[1:], HEALTH_PIPELINE_HOME=str(home))
    assert done.returncode == 1
    assert done.stderr == (
        f"✗ Can't write to {home}: Not a directory.\n  Set HEALTH_PIPELINE_HOME to a folder you can write to.\n"
    )


@pytest.mark.parametrize(
    "arguments", [["run"], ["up"], ["sql", "SELECT 1"], ["inbox"], ["catalog", "metrics", "nowhere"]]
)
def test_an_unknown_ecosystem_ends_every_command_alike(tmp_path: Path, arguments: list[str]) -> None:
    chosen = [] if "catalog" in arguments else ["-e", "nowhere"]
    done = here(*arguments, *chosen, HEALTH_PIPELINE_HOME=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr == (
        "✗ There is no ecosystem 'nowhere'.\n"
        "  Known here: eu_dsa, marketplace. Or give a folder that holds ecosystem.yaml, tables.yaml and metrics.yaml.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_130_and_no_traceback(empty: Deployment, tmp_path: Path) -> None:
    """In the middle of a run: it reads a sample that never comes to its end."""
    catalog = tmp_path / "endless"
    shutil.copytree(empty.catalog_folder, catalog)
    (catalog / "sample.parquet").unlink()
    os.mkfifo(catalog / "sample.parquet")
    at_work = subprocess.Popen(
        [*COMMAND, "run", "-e", str(catalog)],
        env={**os.environ, "HEALTH_PIPELINE_HOME": str(empty.home.root), "NO_COLOR": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ends: list[int] = []

    def is_read() -> bool:
        with contextlib.suppress(OSError):  # nobody has it open for reading
            ends.append(os.open(catalog / "sample.parquet", os.O_WRONLY | os.O_NONBLOCK))
        return bool(ends)

    wait_for(is_read, at_work=at_work)
    at_work.send_signal(signal.SIGINT)
    said, errors = at_work.communicate(timeout=FAR)
    os.close(ends[0])
    assert (at_work.returncode, errors) == (130, "")
    assert "Reading delivered files …" in said
