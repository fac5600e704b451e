"""What several folders of tests share: a little ecosystem, a home in which it was taken through everything, a Slack.

The ecosystem is the bundled catalog over three platforms and 122 days. Its home is built once in a run of the tests, by
a real Dagster instance over real files, and copied for every test that changes it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from filelock import FileLock, Timeout

from health_pipeline.home import Home

if TYPE_CHECKING:  # what puts everything together is loaded where it is used: a stage's tests need their stage only
    from health_pipeline.pipeline import Pipeline
    from health_pipeline_tests.fake_slack import FakeSlack
    from health_pipeline_tests.hand_clock import HandClock

PACKAGE = Path(__file__).parent.parent / "health_pipeline"
TERMINAL = {"COLUMNS": "200", "NO_COLOR": "1"}
COMMAND = [sys.executable, "-m", "health_pipeline.cli"]
PLATFORMS = ("AliExpress", "App Store", "TikTok")
ATTRIBUTES = ("rows", "category", "automated_detection", "automated_decision", "source_type", "decision_account",
              "moderation_delay")  # fmt: skip
FIRST, LAST = dt.date(2025, 6, 1), dt.date(2025, 9, 30)
VARIABLES = (
    "HEALTH_PIPELINE_ECOSYSTEMS", "HEALTH_PIPELINE_STATE_URL", "HEALTH_PIPELINE_URL",
    "SLACK_API_URL", "SLACK_APP_TOKEN", "SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET",
)  # fmt: skip
COLOURING = ("CLICOLOR_FORCE", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""By these Rich and Typer write to a pipe as to a terminal."""
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
Run = dg.ExecuteInProcessResult
IN_MEMORY = Path("/dev/shm")
SHARED: pytest.StashKey[SharedFolder] = pytest.StashKey()
ABANDONED_SECONDS = 60.0
"""A younger folder may belong to a run that has not come to lock it."""
FAR = 300.0
"""Seconds after which what has not happened never will. No test waits for it to pass: a busy machine is slow."""


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is judged by how long it takes; and one folder is made for all processes of this run."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
    if not hasattr(config, "workerinput"):
        # In memory if there is room, since a busy disk's fsync costs several times the work itself.
        memory = IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > 2 << 30
        config.stash[SHARED] = SharedFolder(IN_MEMORY if memory else Path(tempfile.gettempdir()))


def pytest_sessionstart() -> None:
    """What commands print is compared without colours, on GitHub too. Typer looks as it is imported: before tests."""
    for name in COLOURING:
        os.environ.pop(name, None)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where that is."""
    node.workerinput["shared"] = str(node.config.stash[SHARED].path)


def pytest_unconfigure(config: pytest.Config) -> None:
    if SHARED in config.stash:
        config.stash[SHARED].remove()


class SharedFolder:
    """A folder of all processes of a run of the tests, which goes with it. Those of runs that were killed go, too."""

    def __init__(self, place: Path) -> None:
        prefix = "health-pipeline-test-run-"
        for left in place.glob(f"{prefix}*"):
            with contextlib.suppress(OSError, Timeout):  # gone meanwhile, somebody else's, or its run goes on
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    with FileLock(left / "run.lock", timeout=0):
                        shutil.rmtree(left)
        self.path = Path(tempfile.mkdtemp(dir=place, prefix=prefix))
        self._lock = FileLock(self.path / "run.lock")
        self._lock.acquire()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)  # who is still being killed may be writing there
        self._lock.release()


def write_little_catalog(folder: Path, first: dt.date = FIRST) -> Path:
    """The bundled catalog as ``little``, with its own small sample from a day on."""
    folder.mkdir(parents=True)
    bundled = PACKAGE / "eu_dsa" / "catalog"
    for name in ("tables", "metrics", "calendar", "alerts"):
        shutil.copyfile(bundled / f"{name}.yaml", folder / f"{name}.yaml")
    text = (bundled / "ecosystem.yaml").read_text(encoding="utf-8")
    for bundled_line, own in (
        ("name: eu_dsa\n", "name: little\n"),
        ("start: 2023-09-25\n", f"start: {first}\n"),
        ("sample: ../sample/eu_dsa_daily.parquet\n", "sample: sample.parquet\n"),
    ):
        assert bundled_line in text
        text = text.replace(bundled_line, own)
    (folder / "ecosystem.yaml").write_text(text, encoding="utf-8")
    rows = pq.read_table(
        bundled.parent / "sample" / "eu_dsa_daily.parquet",
        filters=[("day", ">=", first), ("platform", "in", PLATFORMS), ("attribute", "in", ATTRIBUTES)],
    )
    pq.write_table(rows, folder / "sample.parquet")
    return folder


@dataclass(frozen=True)
class Deployment:
    """An ecosystem over a home of its own, with the home's Dagster instance open."""

    catalog_folder: Path
    pipeline: Pipeline
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @classmethod
    def open(cls, catalog_folder: Path, home: Home) -> Deployment:
        from health_pipeline.build import build_defs
        from health_pipeline.pipeline import Pipeline
        from health_pipeline.terminal.instance import prepare

        instance = prepare(home)
        return cls(
            catalog_folder, Pipeline.of(str(catalog_folder), home), build_defs([str(catalog_folder)], home), instance
        )

    @property
    def home(self) -> Home:
        return self.pipeline.home

    def run(self, kind: str, first: dt.date | None = None, last: dt.date | None = None) -> Run:
        """Run a job in this process, over a range of days where it takes one."""
        from health_pipeline.assets import range_tags
        from health_pipeline.automation.jobs import job_name

        return self.execute(job_name(self.pipeline.catalog, kind), range_tags(first, last or first) if first else {})

    def execute(self, job: str, tags: dict[str, str], partition_key: str | None = None) -> Run:
        from health_pipeline.terminal.run import QUIET

        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            tags=tags,
            partition_key=partition_key,
            raise_on_error=False,
        )

    def do(self, request: dg.RunRequest) -> Run:
        """What the daemon does with a request."""
        return self.execute(request.job_name or "", dict(request.tags), request.partition_key)

    def work_off(self) -> list[str]:
        """Run what is outstanding until nothing is; the kinds of work done."""
        done = []
        while (work := self.pipeline.outstanding()) is not None:
            assert len(done) < 5, f"no end of {work}"
            assert self.run(work.kind, work.first, work.last).success
            done.append(work.kind)
        return done

    def deliver(self, name: str, rows: pa.Table, seconds_ago: float = 10.0) -> Path:
        """Put a Parquet file into the inbox that nobody has written to for a while."""
        path = self.pipeline.inbox / name
        pq.write_table(rows, path)
        then = time.time() - seconds_ago
        os.utime(path, (then, then))
        return path

    def facts(self, day: dt.date, platform: str | None = None) -> pa.Table:
        """Rows of the sample."""
        wanted: list[tuple[str, str, Any]] = [("day", "==", day)]
        if platform:
            wanted.append(("platform", "==", platform))
        return pq.read_table(self.catalog_folder / "sample.parquet", filters=wanted)

    def pointers(self, stage: str = "") -> dict[str, tuple[int, int]]:
        """Every file of the lake (or of one stage), with inode and time of change."""
        files = (p for p in (self.pipeline.lake.root / stage).rglob("*") if p.is_file())
        return {
            str(p.relative_to(self.pipeline.lake.root)): (p.stat().st_ino, p.stat().st_mtime_ns)
            for p in files
            if "_landing" not in p.parts
        }

    def cli(self, name: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command over this ecosystem and home, in this process."""
        arguments = (name, "-e", str(self.catalog_folder), *arguments)
        return here(*arguments, stdin=stdin, HEALTH_PIPELINE_HOME=str(self.home.root))

    def process(
        self, name: str, *arguments: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The same in a process of its own."""
        arguments = (name, "-e", str(self.catalog_folder), *arguments)
        return command(*arguments, stdin=stdin, HEALTH_PIPELINE_HOME=str(self.home.root), **environment)


def command(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """``health-pipeline`` in a process of its own, in a wide terminal without colours."""
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES and k != "DAGSTER_HOME"}
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        env={**clean, **TERMINAL, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=FAR,
    )


def here(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """``health-pipeline`` in this process, which has loaded the heavy libraries already; else as in its own."""
    from health_pipeline.cli import main

    out, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as stop,
    ):
        patch.setattr(sys, "argv", ["health-pipeline", *arguments])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        for name, value in {**TERMINAL, **environment}.items():
            patch.setenv(name, value)
        main()
    code = stop.value.code
    return subprocess.CompletedProcess(
        arguments, code if isinstance(code, int) else 0, out.getvalue(), errors.getvalue()
    )


def wait_for(
    happened: Callable[[], object],
    seconds: float = FAR,
    *,
    at_work: subprocess.Popen[str] | subprocess.Popen[bytes] | None = None,
    every: float = 0.01,
) -> None:
    """Until something has happened; fails when it takes too long, or when the process that is to do it has ended."""
    give_up = time.monotonic() + seconds
    while not happened():
        assert at_work is None or at_work.poll() is None, f"the process has ended with {at_work.returncode}"
        assert time.monotonic() < give_up, f"it did not happen in {seconds:g} s"
        time.sleep(every)


def scaled(rows: pa.Table, factor: float, attribute: str | None = None) -> pa.Table:
    """Rows with more or fewer statements, in all attributes or in one."""
    numbers = pc.cast(pc.round(pc.multiply(pc.cast(rows["statements"], pa.float64()), factor)), pa.int64())
    if attribute:
        numbers = pc.if_else(pc.equal(rows["attribute"], attribute), numbers, rows["statements"])
    return rows.set_column(rows.column_names.index("statements"), "statements", numbers)


def spoilt(rows: pa.Table, count: int) -> pa.Table:
    """Rows of which the last ``count`` break the contract."""
    kept = rows["statements"].to_pylist()
    numbers = pa.array([*kept[: len(kept) - count], *[-1] * count], pa.int64())
    return rows.set_column(rows.column_names.index("statements"), "statements", numbers)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """A folder of all processes in which tests run: what takes long to make is made in it :func:`once`."""
    given = getattr(request.config, "workerinput", {})
    return Path(given["shared"]) if given else request.config.stash[SHARED].path


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, which the first process that asks for it makes; all others wait. Nobody is to change it."""
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
            make(unfinished / folder.name)
            (unfinished / folder.name).rename(folder)
    return folder


@pytest.fixture(scope="session")
def workplace(shared: Path) -> Path:
    """Where homes are, of this process alone."""
    return Path(tempfile.mkdtemp(dir=shared, prefix="worker-"))


@pytest.fixture(scope="session")
def little(shared: Path) -> Path:
    """The catalog folder of the little ecosystem."""
    return once(shared / "catalog", lambda folder: write_little_catalog(folder) and None)


@dataclass(frozen=True)
class Built:
    """A home in which everything was done once, and the runs that did it."""

    home: Home
    runs: dict[str, Run]


@pytest.fixture(scope="session")
def built(shared: Path, little: Path) -> Built:
    """land, load, judge, alert, one run each. Not to be changed: see ``deployment``."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            clean_environment(patch)
            deployment = Deployment.open(little, Home(folder / "home"))
            days = deployment.pipeline
            runs = {"land": deployment.run("land")}
            runs["load"] = deployment.run("load", days.delivered_days()[0], days.delivered_days()[-1])
            runs["judge"] = deployment.run("judge", days.days_to_judge()[0], days.days_to_judge()[-1])
            runs["alert"] = deployment.run("alert")
            deployment.instance.dispose()
        for kind, run in runs.items():
            (folder / f"{kind}.json").write_text(_written(run), encoding="utf-8")

    folder = once(shared / "built", build)
    kinds = ("land", "load", "judge", "alert")
    return Built(Home(folder / "home"), {kind: _read_run(folder / f"{kind}.json", little) for kind in kinds})


def _written(run: Run) -> str:
    """A run, for another process to read."""
    return json.dumps([dg.serialize_value(part) for part in (run.dagster_run, run.all_events)])


def _read_run(file: Path, catalog_folder: Path) -> Run:
    from health_pipeline.build import build_defs

    dagster_run, events = map(dg.deserialize_value, json.loads(file.read_text(encoding="utf-8")))
    job = build_defs([str(catalog_folder)]).resolve_job_def(dagster_run.job_name)
    return Run(event_list=events, dagster_run=dagster_run, output_capture=None, job_def=job)


@pytest.fixture
def deployment(built: Built, little: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A copy of the built home, for one test."""
    clean_environment(monkeypatch)
    with opened(little, workplace, built.home) as copy:
        yield copy


@pytest.fixture
def empty(little: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """The little ecosystem over a home in which nothing was done yet."""
    clean_environment(monkeypatch)
    with opened(little, workplace) as new:
        yield new


@contextlib.contextmanager
def opened(catalog_folder: Path, workplace: Path, like: Home | None = None) -> Iterator[Deployment]:
    """An ecosystem over a home that goes when the context ends: a copy of another one, or new."""
    root = Path(tempfile.mkdtemp(dir=workplace, prefix="home-"))
    if like is not None:
        shutil.copytree(like.root, root, dirs_exist_ok=True)
    deployment = Deployment.open(catalog_folder, Home(root))
    yield deployment
    deployment.instance.dispose()
    shutil.rmtree(root)


@pytest.fixture
def catalog_copy(little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog folder to spoil, as ``mine`` in the current folder."""
    shutil.copytree(little, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    return Path("mine")


@pytest.fixture
def edit(catalog_copy: Path) -> Callable[[str, str, str], int]:
    """Replaces the first occurrence of a text in a catalog file; returns its line."""

    def edit(file: str, before: str, after: str) -> int:
        path = catalog_copy / file
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after, 1), encoding="utf-8")
        return text[: text.index(before)].count("\n") + 1

    return edit


@pytest.fixture(scope="session")
def running_server() -> Iterator[FakeSlack]:
    """A Slack on a loopback socket, for the whole session. Tests take ``server``."""
    from health_pipeline_tests.fake_slack import FakeSlack

    with FakeSlack() as server:
        yield server


@pytest.fixture
def server(running_server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    """The Slack as new, for one test, with no proxy before it and no setting of the project around it."""
    for name in (*PROXIES, *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    running_server.reset()
    return running_server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The clock of deliveries and of the fake Slack, moved by hand: see :class:`HandClock`."""
    from health_pipeline.alerts.delivery import clock
    from health_pipeline_tests.hand_clock import HandClock

    by_hand = HandClock()
    monkeypatch.setattr(clock, "CLOCK", by_hand)
    return by_hand


def clean_environment(patch: pytest.MonkeyPatch) -> None:
    """No setting of the project around a test, and none left behind."""
    for name in VARIABLES:
        patch.delenv(name, raising=False)
    patch.setenv("HEALTH_PIPELINE_HOME", "unset")  # remembered, and put back: opening a home sets both
    patch.setenv("DAGSTER_HOME", "unset")
