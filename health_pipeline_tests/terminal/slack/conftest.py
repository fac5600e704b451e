"""Places for ``health-pipeline slack``: one where nothing has happened yet, and others where something has."""

from __future__ import annotations

import itertools
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_pipeline.home import Home
from health_pipeline_tests.conftest import Built, once
from health_pipeline_tests.fake_slack import FakeSlack
from health_pipeline_tests.terminal.slack.place import SAID, Desk, Place, clear, make_shifted, make_told


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clear(monkeypatch)


@pytest.fixture(scope="session")
def shifted_home(shared: Path, built: Built, little: Path) -> Home:
    """See :func:`make_shifted`. Not to be changed."""
    return Home(once(shared / "shifted", lambda folder: make_shifted(folder, built.home, little)))


@pytest.fixture(scope="session")
def told_home(shared: Path, shifted_home: Home, little: Path) -> Home:
    """See :func:`make_told`. Not to be changed."""
    return Home(once(shared / "told", lambda folder: make_told(folder, shifted_home, little)))


@pytest.fixture
def folder(workplace: Path) -> Iterator[Path]:
    """Where a home can be that shares files with another."""
    with tempfile.TemporaryDirectory(dir=workplace, prefix="home-") as folder:
        yield Path(folder)


@pytest.fixture
def judged(built: Built, little: Path, folder: Path) -> Place:
    """The little ecosystem, taken through everything."""
    return Place.copied(little, built.home, folder)


@pytest.fixture
def shifted(shifted_home: Home, little: Path, folder: Path) -> Place:
    """One incident is to be told."""
    return Place.copied(little, shifted_home, folder)


@pytest.fixture
def told_desk(told_home: Home, little: Path, folder: Path, server: FakeSlack) -> Desk:
    """It was told."""
    messages, files = pickle.loads((told_home.root / SAID).read_bytes())
    server.messages.extend(messages)
    server.files.update(files)
    server.count = itertools.count(1_000)  # what Slack makes from now on has other numbers
    [key] = server.keys
    incident = key.removeprefix("little:incident:").removesuffix(":open")
    return Desk(Place.copied(little, told_home, folder), server, incident)
