"""Homes over which ``health-pipeline slack`` is called: made once for all tests, and copied for each."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from health_pipeline.alerts.delivery import clock
from health_pipeline.alerts.people import decisions
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.conftest import LAST, PROXIES, VARIABLES, Deployment, here, scaled
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]
HEALTH, FAILURES = "C00000001", "C00000002"
NOWHERE = "http://127.0.0.1:9/api/"
SAID = "said.pickle"
"""What stands in the fake Slack when a home is made in which something was told."""


@dataclass(frozen=True)
class Place:
    """An ecosystem and a home."""

    catalog_folder: Path
    home: Home

    @classmethod
    def copied(cls, catalog_folder: Path, home: Home, root: Path) -> Place:
        """A home with the same lake, which nobody here writes to, and what people and the outbox change as its own."""
        shutil.copytree(home.lake, root / "lake", copy_function=os.link)
        for file in home.root.glob("state.db*"):
            shutil.copyfile(file, root / file.name)
        return cls(catalog_folder, Home(root))

    def slack(self, name: str, *arguments: str, stdin: str = "", **environment: str) -> Done:
        """``health-pipeline slack`` of this ecosystem, in this process."""
        given = {"HEALTH_PIPELINE_HOME": str(self.home.root), **environment}
        return here("slack", name, "-e", str(self.catalog_folder), *arguments, stdin=stdin, **given)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline.of(str(self.catalog_folder), self.home)


@dataclass(frozen=True)
class Desk:
    """A place of which one incident was told in the fake Slack."""

    place: Place
    server: FakeSlack
    incident: str

    def __call__(self, name: str, *arguments: str) -> Done:
        return self.place.slack(name, *arguments, SLACK_API_URL=self.server.url, SLACK_BOT_TOKEN=TOKEN)

    def decide(self, *arguments: str) -> Done:
        return self("decide", self.incident, *arguments)

    @property
    def message(self) -> dict[str, Any]:
        """The incident's own message, as it stands."""
        [found] = [m for m in self.server.messages if not m["thread_ts"]]
        return found

    @property
    def decisions(self) -> list[Decision]:
        with opened_state(self.place.home.state_url) as engine:
            return decisions.history(engine, "little")

    @property
    def replies(self) -> list[str]:
        return [m["text"] for m in self.server.thread(self.message["ts"]) if not m["files"]]

    def says(self, text: str) -> bool:
        return text in json.dumps(self.message["blocks"], ensure_ascii=False)


def make_shifted(folder: Path, built: Home, catalog_folder: Path) -> None:
    """Twenty times the usual statements of App Store on the newest days, judged; nobody has been told of it yet."""
    shutil.copytree(built.root, folder)
    with pytest.MonkeyPatch.context() as patch:
        clear(patch)
        deployment = Deployment.open(catalog_folder, Home(folder))
        for back in range(3):
            day = LAST - dt.timedelta(days=back)
            deployment.deliver(f"{day}.parquet", scaled(deployment.facts(day, "App Store"), 20))
        assert set(deployment.work_off()) >= {"load", "judge"}
        deployment.instance.dispose()


def make_told(folder: Path, shifted: Home, catalog_folder: Path) -> None:
    """The same, told a minute ago; with what then stands in the fake Slack."""
    shutil.copytree(shifted.root, folder)
    with pytest.MonkeyPatch.context() as patch, FakeSlack() as server:
        clear(patch)
        patch.setenv("SLACK_API_URL", server.url)
        patch.setenv("SLACK_BOT_TOKEN", TOKEN)
        a_minute_ago = HandClock()
        a_minute_ago.forward(minutes=-1)
        patch.setattr(clock, "CLOCK", a_minute_ago)
        deployment = Deployment.open(catalog_folder, Home(folder))
        assert deployment.run("alert").success
        deployment.instance.dispose()
        (folder / SAID).write_bytes(pickle.dumps((server.messages, server.files)))


def clear(patch: pytest.MonkeyPatch) -> None:
    """Nothing of the project is set around a test, no proxy is before it, and what a command sets is put back."""
    for name in (*PROXIES, *VARIABLES):
        patch.delenv(name, raising=False)
    patch.setenv("HEALTH_PIPELINE_HOME", "unset")
    patch.setenv("DAGSTER_HOME", "unset")
