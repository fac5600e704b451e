"""docs/worked-example.md, walked as it is written: its commands run, and answer what the page shows."""

from __future__ import annotations

import datetime as dt
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import typer
from rich.console import Console

from health_pipeline.cli import app
from health_pipeline.home import Home
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine
from health_pipeline_tests.conftest import FAR, here

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "worked-example.md").read_text(encoding="utf-8")
EXAMPLE = Path("examples") / "second_hand"
PLANTED = "dispute_rate|country=PL|category=electronics"
ONSET = dt.date(2025, 6, 9)
MISSING = [dt.date(2025, 6, day) for day in (24, 25, 26)]
CORRECTED = dt.date(2025, 5, 18)
REASONS = {
    "sold_at: not a date and time written like 2025-09-30T12:00:00Z": 5,
    "category: unknown value 'eletronics'. Did you mean 'electronics'?": 2,
    "6 fields where the header names 10": 1,
    "price_eur: below 0": 1,
    "same key and changed_at as row 44002 with other values": 1,
    "seller_no: empty": 1,
    "sold_at: a local time that the clocks leave out": 1,
}


@dataclass(frozen=True)
class Command:
    """A command of the page, the lines shown below it, and what it said when it was run."""

    text: str
    shown: Sequence[str]
    said: str = ""


def commands_of_page() -> list[Command]:
    """Those of its ``console`` blocks, in order."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            found.append(Command(command, shown))
    return found


def bring_up_to_date(pipeline: Pipeline, summary: bool) -> str:
    """What ``health-pipeline run`` does and says, without Dagster, whose events take longer than the work."""
    from health_pipeline.terminal.run import Board
    from health_pipeline.terminal.summary import summarise

    out = io.StringIO()
    console = Console(file=out, width=100)
    board = Board(console)
    console.print(pipeline.catalog.ecosystem.title)
    while (work := pipeline.outstanding()) is not None:
        engine = Engine()
        load = work.kind == "load"
        steps = pipeline.load_steps(engine) if load else pipeline.judge_steps()
        days = pipeline.delivered_days() if load else pipeline.days_to_judge()
        with board.stage(work.kind, work.why):
            for step in steps.values():
                derive(step, days)
    if summary:
        summarise(pipeline, 90, board.seconds, time.perf_counter(), console)
    return out.getvalue()


@dataclass(frozen=True)
class Walk:
    """The page, walked to its end in a folder of its own.

    Attributes:
        commands: what was said to each command.
        incidents: each as last told, of the first run.
        recomputed: stage and table -> days, of the second run.
    """

    pipeline: Pipeline
    commands: list[Command]
    incidents: dict[str, Incident]
    recomputed: dict[str, set[dt.date]]


def pointers(pipeline: Pipeline) -> dict[tuple[str, dt.date], int]:
    """When each day of each table was published."""
    return {
        (name, day): (table.folder / f"day={day}" / "_current.json").stat().st_mtime_ns
        for name, table in pipeline.tables.by_name().items()
        for day in table.days()
    }


@pytest.fixture(scope="module")
def walk(workplace: Path) -> Iterator[Walk]:
    root = Path(tempfile.mkdtemp(dir=workplace, prefix="second-hand-"))
    shutil.copytree(ROOT / EXAMPLE, root / EXAMPLE, ignore=shutil.ignore_patterns("exports", "__pycache__"))
    said: list[Command] = []
    incidents: dict[str, Incident] = {}
    recomputed: dict[str, set[dt.date]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("HEALTH_PIPELINE_HOME", ".health-pipeline")
        for command in commands_of_page():
            match shlex.split(command.text):
                case ["health-pipeline", "run", *_]:
                    pipeline = Pipeline.of(str(EXAMPLE), Home(root / ".health-pipeline"))
                    before = pointers(pipeline)
                    answer = bring_up_to_date(pipeline, summary=not before)
                    for (table, day), moment in pointers(pipeline).items():
                        if before and before.get((table, day)) != moment:
                            recomputed.setdefault(table, set()).add(day)
                    if not before:
                        every_day = pipeline.tables.incidents.read(pipeline.delivered_days())
                        incidents = {incident.id: incident for incident in from_table(every_day)}
                case ["health-pipeline", *arguments]:
                    done = here(*arguments, HEALTH_PIPELINE_HOME=".health-pipeline", COLUMNS="100")
                    answer = done.stdout + done.stderr
                case _:
                    shell = re.sub(r"^python ", lambda _: f"{shlex.quote(sys.executable)} ", command.text)
                    answer = subprocess.run(
                        ["sh", "-c", shell], capture_output=True, text=True, check=True, timeout=FAR,
                        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                    ).stdout  # fmt: skip
            said.append(Command(command.text, command.shown, answer))
        yield Walk(Pipeline.of(str(EXAMPLE), Home(root / ".health-pipeline")), said, incidents, recomputed)
    shutil.rmtree(root)


def readable(line: str, exact: bool) -> str:
    """A line without its spacing; of what statistics say, without the digits: they may be refined."""
    words = " ".join(line.split())
    return words if exact else re.sub(r"\d[\d.,]*|[▁-█]", "#", words)


def test_every_command_of_the_page_says_what_the_page_shows(walk: Walk) -> None:
    for command in walk.commands:
        exact = not command.text.startswith("health-pipeline run")
        rest = iter(readable(line, exact) for line in command.said.splitlines())
        for line in command.shown:
            wanted, *cut = readable(line, exact).split("[…]")
            if not wanted:  # blank, or some lines left out
                continue
            assert any(real == wanted or (cut and real.startswith(wanted)) for real in rest), (
                f"{command.text}\ndoes not say, in this place: {line}\nbut:\n{command.said}"
            )


def test_the_catalog_s_own_reading_of_the_files_rejects_what_was_spoilt_and_nothing_else(walk: Walk) -> None:
    rejected = walk.pipeline.landing.quarantine()["reason"].to_pylist()
    assert {reason: rejected.count(reason) for reason in set(rejected)} == REASONS
    (checked,) = (c.said for c in walk.commands if "--check" in c.text and c.text.endswith("history"))
    told = {reason: int(count) for count, reason in re.findall(r"^ {3,}(\d+)  (\S.*?) *$", checked, re.MULTILINE)}
    assert told == REASONS


def test_the_planted_incident_is_found_where_it_is_and_nothing_else(walk: Walk) -> None:
    (found,) = (i for i in walk.incidents.values() if i.kind == "shift")
    assert (found.series, found.unit, found.direction) == (PLANTED, "PL", "up")
    assert abs(found.onset - ONSET) <= dt.timedelta(days=2)
    assert found.change_low < 3.0 < found.change_high, "four times as often"
    assert [event for event in found.events if "instant" in event]


def test_the_missing_country_is_told_as_a_hole_and_not_as_a_fall(walk: Walk) -> None:
    deliveries = walk.pipeline.tables.deliveries.read(walk.pipeline.delivered_days()).to_pylist()
    bad = {(d["day"], d["table"], d["unit"]): d["finding"] for d in deliveries if d["finding"] != "complete"}
    assert set(bad) == {(day, "sales", "PL") for day in MISSING}
    assert [bad[day, "sales", "PL"] for day in MISSING] == ["missing", "missing", "empty"]
    (hole,) = (i for i in walk.incidents.values() if i.kind == "data")
    assert (hole.unit, hole.table, hole.onset) == ("PL", "sales", MISSING[0])
    shifts = walk.pipeline.tables.shifts.read(MISSING).to_pylist()
    assert {s["series"] for s in shifts} <= {PLANTED}


def test_a_late_correction_computes_its_own_day_of_facts_and_cube_only(walk: Walk) -> None:
    assert walk.recomputed["raw.sales"] == walk.recomputed["metrics.cube"] == {CORRECTED}
    assert not {"raw.reports", "raw.listings"} & set(walk.recomputed)
    assert min(min(days) for days in walk.recomputed.values()) == CORRECTED, "nothing before it"
    assert walk.pipeline.outstanding() is None


def shell_commands() -> Iterator[list[str]]:
    """Every call of ``health-pipeline`` on the page, in blocks and in running text."""
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.removeprefix("$ ").startswith("health-pipeline "):
                yield shlex.split(line.removeprefix("$ "), comments=True)[1:]
    for text in re.findall(r"`(health-pipeline [^`]+)`", PAGE):
        yield shlex.split(text)[1:]


def test_every_command_of_the_page_exists_with_its_options() -> None:
    known = typer.main.get_command(app)
    arguments = list(shell_commands())
    assert {a[0] for a in arguments} >= {"ingest", "run", "sql", "catalog", "up"}
    for words in arguments:
        command: click.Command = known
        while isinstance(command, click.Group):
            word, *words = words
            found = command.get_command(click.Context(command), word)
            assert found is not None, word
            command = found
        command.make_context("health-pipeline", list(words)).close()


def test_what_the_page_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
