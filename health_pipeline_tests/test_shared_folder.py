"""What processes of a run of the tests share is whole, and goes when no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from health_pipeline_tests.conftest import ABANDONED_SECONDS, FAR, SharedFolder, once

RUN = """
import sys
from pathlib import Path
from health_pipeline_tests.conftest import SharedFolder
print(SharedFolder(Path(sys.argv[1])).path, flush=True)
sys.stdin.read()
"""


def test_a_run_removes_its_folder_and_those_of_runs_that_were_killed(tmp_path: Path) -> None:
    def long_ago(folder: Path) -> None:
        (folder / "home").mkdir()
        then = time.time() - 2 * ABANDONED_SECONDS
        os.utime(folder, (then, then))

    mine = SharedFolder(tmp_path)
    long_ago(mine.path)
    killed = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    left = Path(killed.stdout.readline().strip())
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=FAR)
    young = SharedFolder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, left, young.path]), "who knows whether it has begun"
    long_ago(left)
    later = SharedFolder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, young.path, later.path])
    for folder in (mine, young, later):
        folder.remove()
    assert not list(tmp_path.iterdir())


def test_what_was_half_made_is_made_anew(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        folder.mkdir()
        (folder / "first").touch()
        raise KeyboardInterrupt

    def whole(folder: Path) -> None:
        folder.mkdir()
        (folder / "second").touch()

    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "made", half)
    assert not (tmp_path / "made").exists()
    assert [f.name for f in once(tmp_path / "made", whole).iterdir()] == ["second"]
    assert [f.name for f in once(tmp_path / "made", half).iterdir()] == ["second"]
