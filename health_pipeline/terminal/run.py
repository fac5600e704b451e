"""``health-pipeline run``: everything outstanding through Dagster, with progress, and then what it means."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import TaskID
from rich.text import Text

from health_pipeline.errors import RunError, UserError
from health_pipeline.home import Home
from health_pipeline.terminal.instance import prepare
from health_pipeline.terminal.progress import progress_lines

if TYPE_CHECKING:
    import dagster as dg

    from health_pipeline.pipeline import Pipeline

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STEPS = {
    "land": "Reading delivered files",
    "load": "Loading days: facts, deliveries, cube",
    "judge": "Judging days: shifts, incidents, risks",
    "alert": "Queueing messages",
}


class Board:
    """Progress on the terminal: one line per asset, and seconds per stage for the summary."""

    def __init__(self, console: Console) -> None:
        self.progress = progress_lines(console, 12, "{task.fields[unit]}")
        self.console = console
        self.seconds: dict[str, float] = {}
        self._tasks: dict[str, TaskID] = {}

    def report(self, asset: str) -> Callable[[int, int], None]:
        """A callback for one asset's progress."""

        def told(done: int, total: int) -> None:
            if asset not in self._tasks:
                unit = "files" if asset == "landed_files" else "days"
                self._tasks[asset] = self.progress.add_task(asset, total=total, unit=unit)
            self.progress.update(self._tasks[asset], completed=done, total=total)

        return told

    @contextmanager
    def stage(self, kind: str, why: str = "") -> Iterator[None]:
        started = time.perf_counter()
        self.console.print(f"[bold]{STEPS[kind]}[/] …", highlight=False)
        if why:
            self.console.print(Text(f"  {why}", "dim"), highlight=False, soft_wrap=True)
        with self.progress:
            yield
        for task in self._tasks.values():
            self.progress.remove_task(task)
        self._tasks.clear()
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - started


def main_job(ecosystem: str, days: int, console: Console) -> None:
    """Bring everything up to date through Dagster, write the report, and print what shifted.

    Raises:
        CatalogError: the catalog is wrong.
        RunError: a step failed, or a blocking check stopped the run.
    """
    started = time.perf_counter()
    warnings.filterwarnings("ignore", module="dagster.*")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    from health_pipeline.pipeline import Pipeline
    from health_pipeline.raw.sources import problems

    pipeline = Pipeline.of(ecosystem, Home.from_environment())
    c = pipeline.catalog
    console.print(f"[bold]{c.ecosystem.title}[/]", highlight=False)
    console.print(f"[dim]Everything is kept in {pipeline.home.root}[/]", highlight=False, soft_wrap=True)
    instance = prepare(pipeline.home)
    from health_pipeline.build import build_defs

    definitions = build_defs([ecosystem], pipeline.home)
    board = Board(console)
    board.seconds["start"] = time.perf_counter() - started
    worked = _work_off(pipeline, definitions, instance, board, days)
    for rejection in [*pipeline.landing.rejections(), *problems(c, pipeline.landing)]:
        console.print(f"[yellow]![/] {rejection.message} {rejection.hint}", highlight=False, soft_wrap=True)
    if not pipeline.delivered_days():
        raise UserError("Nothing was delivered yet.", f"Drop a file into {pipeline.inbox} and run again.")
    if not worked:
        console.print("Nothing is out of date.", highlight=False)

    from health_pipeline.terminal.summary import summarise

    summarise(pipeline, days, board.seconds, started, console)


def _work_off(
    pipeline: Pipeline, definitions: dg.Definitions, instance: dg.DagsterInstance, board: Board, days: int
) -> bool:
    """Run jobs until nothing is outstanding; whether there was anything to do."""
    from health_pipeline.assets import progress_of, range_tags
    from health_pipeline.automation.jobs import job_name
    from health_pipeline.raw.landed.landing import SETTLED_SECONDS

    token = progress_of.set(board.report)
    worked, last = False, None
    whole = pipeline.landing.new_files(pipeline.inbox)
    if pipeline.landing.new_files(pipeline.inbox, settled_seconds=0) != whole:
        time.sleep(SETTLED_SECONDS)  # a file dropped just now counts as whole after a moment
    try:
        if pipeline.catalog.sources:
            with board.stage("land"):
                _execute(definitions, job_name(pipeline.catalog, "land"), instance, {})
        while (work := pipeline.outstanding(days)) is not None:
            if work == last:
                raise RunError(
                    f"The run to {work.kind} succeeded, and the same work is outstanding again ({work.why}).",
                    "Another process may be changing the same home; try again when it is done.",
                )
            tags = range_tags(work.first, work.last) if work.first and work.last else {}
            with board.stage(work.kind, work.why):
                _execute(definitions, job_name(pipeline.catalog, work.kind), instance, tags)
            worked, last = True, work
        with board.stage("alert"):
            _execute(definitions, job_name(pipeline.catalog, "alert"), instance, {})
    finally:
        progress_of.reset(token)
    return worked


def _execute(definitions: dg.Definitions, job: str, instance: dg.DagsterInstance, tags: dict[str, str]) -> None:
    """One Dagster run in this process."""
    from dagster._core.execution.plan.objects import ErrorSource

    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance, tags=tags, run_config=QUIET, raise_on_error=False
    )
    if result.success:
        return
    if any(e.is_step_failure and e.step_failure_data.error_source is ErrorSource.INTERRUPT for e in result.all_events):
        raise KeyboardInterrupt
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed and e.severity.value == "ERROR"]
    if failed:
        check = failed[0]
        about = {k: getattr(v, "value", v) for k, v in check.metadata.items()}
        what_to_do = about.pop("what to do", "Look at the run in the Dagster UI (health-pipeline up).")
        raise RunError(
            f"The check {check.check_name!r} of {check.asset_key.to_user_string()} failed, and stopped what follows: "
            f"{_facts(about)}.",
            f"Nothing downstream was changed. {what_to_do}",
        )
    raise RunError(
        f"The job {job} failed: {_first_error(result)}", "The whole story is in the Dagster UI (health-pipeline up)."
    )


def _facts(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in about.items() if isinstance(v, (int, float, str)))


def _first_error(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            cause = error.cause or error
            return cause.message.strip().splitlines()[0]
    return "no error was recorded"
