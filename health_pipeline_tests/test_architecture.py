"""Imports go leftwards, and Dagster, Slack and the web stay at the edge.

Both rules are read off the source with :mod:`ast`, so an import inside a function counts like one at the top.
The last part plants violations in a package of its own and sees them found: a rule that never fails is none.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

import pytest

ROOT = "health_pipeline"
PACKAGE = Path(__file__).resolve().parent.parent / ROOT

When = Literal["load", "call", "types"]
"""An import runs when its module is loaded, when a function is called, or never: for type checkers only."""

FOUNDATION = ("errors", "stats", "catalog", "home", "storage")
"""What every stage stands on."""
STAGES = ("raw", "metrics", "shifts", "incidents", "risks", "alerts")
LEFT_TO_RIGHT = (*FOUNDATION, *STAGES)
ECOSYSTEMS = frozenset({"eu_dsa", "marketplace"})
"""Bundles of catalog, adapter and data: only ``pipeline`` and the command ``simulate`` know any one of them."""
BESIDE: dict[str, frozenset[When]] = {
    "assets": frozenset(),  # makes a Dagster asset of any stage's derivation
    "charts": frozenset({"types"}),  # draws what any stage found
    "charts_risk": frozenset({"types"}),  # more pictures, drawn with the same means
    "charts_incident": frozenset({"types", "load"}),  # the picture of an incident, in the words of its stage
    "tables": frozenset({"types", "load"}),  # lists where every stage keeps what it found
}
"""Parts for the adapters of stages and for the right end, with the ways in which they may know a stage; each may import
those before it."""
RIGHT_END = (
    "detection", "charts_shift", "charts_backtest", "pipeline", "report", "backtest", "automation", "build",
    "definitions", "console", "terminal", "cli",
)  # fmt: skip
"""Parts that put the rest together, from left to right: each may import all stages and what is left of itself."""

ADAPTERS = frozenset({"assets", "checks"})
ROOMS: dict[str, tuple[str, ...]] = {
    "raw": ("schema", "reading", "landed", "sources", "loading"),
    "alerts": ("delivery", "people", "messages", "planning", "app"),
}
"""Rooms of a stage, from left to right: folders, or single modules. Its modules beside them put them together: they may
import every room, and no room imports one of them."""
STRANGERS = (("alerts.delivery", "incidents"), ("alerts.people", "alerts.delivery"))
"""Pairs of which the first knows nothing of the second, though that stands to its left."""
SLACK_APP = frozenset({"app.desk", "app.bolt", "app.socket_mode", "app.signed_http"})
"""What answers clicks."""
HEAVY_IN_STATS = frozenset({"pandas", "duckdb", "dagster", "pyarrow"})


@dataclass(frozen=True)
class Import:
    """One imported module, by the module that imports it; both with full dotted names."""

    importer: str
    target: str
    line: int
    when: When

    @property
    def part(self) -> str:
        """The importer's folder or module right under the package: ``shifts`` for ``shifts.assets``."""
        return _part(self.importer)

    @property
    def module(self) -> str:
        """The importer's name inside its part: ``assets``, or "" for the part's own ``__init__``."""
        return ".".join(self.importer.split(".")[2:])

    @property
    def library(self) -> str:
        """The imported distribution's top-level name, with Dagster's family under one."""
        top = self.target.partition(".")[0]
        return "dagster" if top.startswith("dagster") else top

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def _part(dotted: str) -> str:
    pieces = dotted.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def imports_of(package: Path) -> Iterator[Import]:
    """Every import statement and literal ``import_module`` call in a package named like ours."""
    files = {file: _dotted(package, file) for file in sorted(package.rglob("*.py"))}
    modules = set(files.values())
    for file, name in files.items():
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        base = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node, when in _walk(tree, "load"):
            for target in _targets(node, base, modules):
                yield Import(name, target, getattr(node, "lineno", 0), when)


def _dotted(package: Path, file: Path) -> str:
    pieces = [ROOT, *file.relative_to(package).with_suffix("").parts]
    return ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces)


def _walk(node: ast.AST, when: When) -> Iterator[tuple[ast.AST, When]]:
    yield node, when
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for statement in node.body:
                yield from _walk(statement, "types")
            for statement in node.orelse:
                yield from _walk(statement, when)
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            when = "types" if when == "types" else "call"
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, when)


def _targets(node: ast.AST, base: str, modules: set[str]) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            pieces = base.split(".")[: len(base.split(".")) - level + 1] if level else []
            origin = ".".join([*pieces, *([module] if module else [])])
            # `from health_pipeline import charts` imports a module, `from ..errors import UserError` a name.
            return [f"{origin}.{a.name}" if f"{origin}.{a.name}" in modules else origin for a in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(target)), *_],
        ):
            return [target]
    return []


def imports_to_the_right(package: Path) -> list[str]:
    """Imports from outside an importer's left, and modules that have no place in the order."""
    found = []
    for file in sorted(package.glob("*")):
        placed = {*LEFT_TO_RIGHT, *ECOSYSTEMS, *RIGHT_END, *BESIDE, "__init__"}
        is_code = file.suffix == ".py" or (file / "__init__.py").exists()
        if is_code and file.stem not in placed:
            found.append(f"{ROOT}.{file.stem} has no place in the order: give it one in this file")
    for imported in imports_of(package):
        target = _part(imported.target) if imported.target.split(".")[0] == ROOT else ""
        if target and target != imported.part and not _may_import(imported, target):
            found.append(str(imported))
    return found


def _may_import(imported: Import, target: str) -> bool:
    part = imported.part
    if target in STAGES and imported.target.split(".")[2:3] in ([name] for name in ADAPTERS):
        return part == "build"  # the only assembly point; a stage's own modules never come here
    if target in ECOSYSTEMS:
        return part == "pipeline" or (part, imported.module, target) == ("terminal", "simulate", "marketplace")
    if part in RIGHT_END:
        return target not in RIGHT_END or RIGHT_END.index(target) < RIGHT_END.index(part)
    if part in ECOSYSTEMS:
        return target in FOUNDATION
    if part in BESIDE:
        if target in BESIDE:
            return list(BESIDE).index(target) < list(BESIDE).index(part)
        return target in FOUNDATION or (target in STAGES and imported.when in BESIDE[part])
    if target in BESIDE:
        return part in STAGES and imported.module in ADAPTERS
    if part in LEFT_TO_RIGHT and target in LEFT_TO_RIGHT:
        return LEFT_TO_RIGHT.index(target) < LEFT_TO_RIGHT.index(part)
    return False


def imports_between_rooms(package: Path) -> list[str]:
    """Imports from the right or from beside the rooms of a stage, and folders that have no place among them."""
    found = []
    for stage, rooms in ROOMS.items():
        for folder in sorted((package / stage).glob("*/__init__.py")):
            if folder.parent.name not in rooms:
                found.append(f"{ROOT}.{stage}.{folder.parent.name} is no room: give it a place in this file")
    for imported in imports_of(package):
        rooms = ROOMS.get(imported.part, ())
        own = imported.module.partition(".")[0]
        there = imported.target.removeprefix(f"{ROOT}.{imported.part}.").partition(".")[0]
        is_backward = own in rooms and _lies_in(imported.target, imported.part) and there not in _up_to(own, rooms)
        is_strange = any(_lies_in(imported.importer, a) and _lies_in(imported.target, b) for a, b in STRANGERS)
        if is_backward or is_strange:
            found.append(str(imported))
    return found


def _up_to(room: str, rooms: tuple[str, ...]) -> tuple[str, ...]:
    return rooms[: rooms.index(room) + 1]


def _lies_in(module: str, place: str) -> bool:
    return f"{module}.".startswith(f"{ROOT}.{place}.")


def misplaced_libraries(package: Path) -> list[str]:
    """Dagster outside the adapters, Slack outside its sender, the web outside the console, and so on."""
    return [str(imported) for imported in imports_of(package) if not _library_belongs(imported)]


def _library_belongs(imported: Import) -> bool:
    part, library = imported.part, imported.library
    if part == "stats" and library in HEAVY_IN_STATS:
        return False
    match library:
        case "dagster":
            # It takes seconds to load: the terminal does so only where it runs something.
            return (
                part in {"assets", "automation", "build"}
                or (part in STAGES and imported.module in ADAPTERS)
                or (part == "terminal" and imported.when != "load")
            )
        case "slack_sdk":
            return part == "alerts" and imported.module in {"delivery.slack", *SLACK_APP}
        case "slack_bolt":
            return part == "alerts" and imported.module in SLACK_APP - {"app.desk"}
        case "starlette" | "uvicorn":
            # Who listens to Slack over an outgoing connection needs no web server.
            signed = (part, imported.module) == ("alerts", "app.signed_http")
            return part == "console" or (signed and imported.when != "load")
        case "typer" | "rich":
            return part == "cli" or (part == "terminal" and library == "rich")
        case "duckdb":
            return not (part == "catalog" and imported.when == "load")
    return True


def circle(package: Path) -> list[str]:
    """Modules of which each imports the next, be it for type checkers only, and the last the first; none: empty."""
    imports: dict[str, set[str]] = {}
    for one in imports_of(package):
        if one.target != one.importer:
            imports.setdefault(one.importer, set()).add(one.target)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def test_nothing_imports_from_its_right() -> None:
    assert imports_to_the_right(PACKAGE) == []


def test_no_module_imports_one_that_imports_it() -> None:
    assert circle(PACKAGE) == []


def test_a_room_of_a_stage_knows_only_the_rooms_to_its_left() -> None:
    assert imports_between_rooms(PACKAGE) == []


def test_dagster_slack_the_web_and_the_engines_stay_where_they_belong() -> None:
    assert misplaced_libraries(PACKAGE) == []


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    """`health-pipeline --help` must answer at once: pandas, SciPy and Dagster take seconds to import."""
    script = "import json, sys, health_pipeline.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"pandas", "scipy", "dagster", "slack_bolt", "uvicorn"}.isdisjoint(json.loads(done.stdout))


Plant = Callable[[str, str], Path]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A small package with the real one's folders, in which a test writes one module."""
    package = tmp_path / ROOT
    for part in (*LEFT_TO_RIGHT, "eu_dsa", "automation", "report", "terminal"):
        for folder in (part, *(f"{part}/{room}" for room in ROOMS.get(part, ()))):
            (package / folder).mkdir(parents=True)
            (package / folder / "__init__.py").touch()
    for module in ("__init__", "assets", "build", "charts", "cli", "definitions", "pipeline", "tables"):
        (package / f"{module}.py").touch()

    def write(path: str, source: str) -> Path:
        (package / path).write_text(source, encoding="utf-8")
        return package

    return write


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("raw/files.py", "from health_pipeline.metrics import cube"),
        ("raw/files.py", "import health_pipeline.alerts.delivery.outbox"),
        ("raw/files.py", "def late():\n    from health_pipeline.shifts.schema import SHIFTS"),
        ("raw/files.py", "from ..alerts import outbox"),
        ("raw/files.py", "from importlib import import_module\nx = import_module('health_pipeline.risks')"),
        ("raw/files.py", "from health_pipeline import eu_dsa"),
        ("raw/files.py", "from health_pipeline.cli import main"),
        ("shifts/detect.py", "from health_pipeline import charts"),
        ("stats/scan.py", "from health_pipeline.storage.lake import Lake"),
        ("storage/lake.py", "from health_pipeline.raw import files"),
        ("eu_dsa/adapter.py", "from health_pipeline.raw import files"),
        ("charts.py", "from health_pipeline.incidents.model import Incident"),
        ("tables.py", "from health_pipeline.shifts.assets import shifts"),
        ("assets.py", "from health_pipeline.shifts.schema import SHIFTS"),
        ("shifts/detect.py", "from health_pipeline.assets import Output"),
        ("shifts/detect.py", "from health_pipeline.tables import Tables"),
        ("shifts/detect.py", "from health_pipeline.pipeline import Pipeline"),
        ("tables.py", "from health_pipeline.pipeline import Pipeline"),
        ("pipeline.py", "from health_pipeline.automation import jobs"),
        ("pipeline.py", "from health_pipeline.shifts.assets import shift_assets"),
        ("report/load.py", "from health_pipeline.build import build_defs"),
        ("automation/jobs.py", "from health_pipeline.terminal import run"),
        ("automation/jobs.py", "from health_pipeline.raw.checks import contract_check"),
        ("build.py", "from health_pipeline.terminal.run import main_job"),
        ("build.py", "from health_pipeline.definitions import defs"),
        ("build.py", "from health_pipeline.eu_dsa import adapter"),
        ("terminal/run.py", "def late():\n    from health_pipeline.cli import main"),
        ("home.py", "from health_pipeline.storage.lake import Lake"),
        ("utilities.py", ""),
    ],
)
def test_an_import_from_the_right_is_found(plant: Plant, path: str, source: str) -> None:
    assert len(imports_to_the_right(plant(path, source))) == 1


def test_two_modules_that_import_each_other_are_found(plant: Plant) -> None:
    package = plant("risks/rates.py", "from health_pipeline.risks.shares import usual")
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from health_pipeline.risks.rates import Learned"
    assert circle(package) == []
    (package / "risks" / "shares.py").write_text(source, encoding="utf-8")
    assert set(circle(package)) == {"health_pipeline.risks.rates", "health_pipeline.risks.shares"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("alerts/post.py", "from health_pipeline.incidents.model import Incident"),
        ("alerts/post.py", "from . import setup\nfrom ..risks import schema"),
        ("shifts/assets.py", "from health_pipeline import charts"),
        ("shifts/assets.py", "from health_pipeline.tables import Tables"),
        ("shifts/checks.py", "from health_pipeline.assets import Check"),
        ("tables.py", "from health_pipeline.shifts.schema import SHIFTS"),
        ("raw/files.py", "from health_pipeline import __version__"),
        ("raw/files.py", "from health_pipeline.errors import InputError"),
        ("cli.py", "from health_pipeline.build import build_defs"),
        ("pipeline.py", "from health_pipeline.eu_dsa.adapter import DsaStatements"),
        ("pipeline.py", "from health_pipeline.tables import Tables\nfrom health_pipeline.shifts import shifts"),
        ("report/load.py", "from health_pipeline.pipeline import Pipeline"),
        ("automation/sensors.py", "from health_pipeline.pipeline import Pipeline"),
        ("automation/sensors.py", "from health_pipeline.assets import asset_key"),
        ("build.py", "from health_pipeline.shifts.assets import shift_assets"),
        ("definitions.py", "from health_pipeline.build import build_defs"),
        ("terminal/run.py", "from health_pipeline.build import build_defs\nfrom health_pipeline.report import load"),
        ("cli.py", "from health_pipeline.terminal.run import main_job"),
        (
            "charts.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .incidents.model import Incident",
        ),
    ],
)
def test_an_import_from_the_left_is_fine(plant: Plant, path: str, source: str) -> None:
    assert imports_to_the_right(plant(path, source)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("alerts/people/told.py", "from health_pipeline.alerts.messages.incident import About"),
        ("alerts/people/told.py", "from health_pipeline.alerts import messages"),
        ("alerts/people/told.py", "from ..messages import incident"),
        ("alerts/people/told.py", "from health_pipeline.alerts.delivery import outbox"),
        ("alerts/people/__init__.py", "from health_pipeline.alerts.delivery import outbox"),
        ("alerts/delivery/outbox.py", "def late():\n    from health_pipeline.incidents.model import Incident"),
        ("alerts/planning/plan.py", "from health_pipeline.alerts.app.desk import Desk"),
        ("alerts/planning/plan.py", "from health_pipeline.alerts.post import refresh"),
        ("alerts/planning/plan.py", "from health_pipeline.alerts import post"),
        ("alerts/app/desk.py", "from health_pipeline.alerts import assets"),
        ("raw/schema.py", "from health_pipeline.raw.reading import reader"),
        ("raw/reading/reader.py", "from health_pipeline.raw.landed.ledger import Receipt"),
    ],
)
def test_an_import_from_a_room_to_the_right_is_found(plant: Plant, path: str, source: str) -> None:
    plant("alerts/post.py", "")
    plant("alerts/assets.py", "")
    assert len(imports_between_rooms(plant(path, source))) == 1


def test_a_folder_in_a_stage_is_a_room_or_is_found(plant: Plant) -> None:
    package = plant("alerts/post.py", "")
    (package / "alerts" / "sending").mkdir()
    assert len(imports_between_rooms(plant("alerts/sending/__init__.py", ""))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("alerts/people/told.py", "from health_pipeline.alerts.people import standing"),
        ("alerts/people/told.py", "from health_pipeline.incidents.model import Incident"),
        ("alerts/planning/plan.py", "from ..delivery import outbox\nfrom health_pipeline.alerts.people import told"),
        ("alerts/app/desk.py", "from health_pipeline.alerts.messages.incident import About"),
        ("alerts/post.py", "from . import setup\nfrom health_pipeline.alerts.planning.plan import plan"),
        ("raw/reading/reader.py", "from health_pipeline.raw.schema import required"),
        ("shifts/shifts.py", "from health_pipeline.shifts import panel"),
    ],
)
def test_an_import_from_a_room_to_the_left_is_fine(plant: Plant, path: str, source: str) -> None:
    assert imports_between_rooms(plant(path, source)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shifts/detect.py", "import dagster as dg"),
        ("shifts/detect.py", "def late():\n    from dagster_duckdb import DuckDBResource"),
        ("storage/assets.py", "import dagster as dg"),
        ("alerts/delivery/outbox.py", "from slack_sdk.errors import SlackApiError"),
        ("alerts/assets.py", "import slack_sdk"),
        ("alerts/app/clicks.py", "from slack_sdk.webhook import WebhookClient"),
        ("alerts/app/clicks.py", "from slack_bolt import App"),
        ("terminal/run.py", "def late():\n    from slack_bolt import App"),
        ("alerts/app/desk.py", "from slack_bolt import App"),
        ("alerts/app/signed_http.py", "from starlette.applications import Starlette"),
        ("alerts/app/socket_mode.py", "def late():\n    import uvicorn"),
        ("alerts/delivery/slack.py", "def late():\n    import uvicorn"),
        ("cli.py", "def up():\n    import uvicorn"),
        ("cli.py", "def up():\n    import dagster"),
        ("terminal/run.py", "import dagster as dg"),
        ("pipeline.py", "import dagster as dg"),
        ("report/load.py", "import dagster as dg"),
        ("charts.py", "from rich.console import Console"),
        ("terminal/run.py", "import typer"),
        ("catalog/loader.py", "import duckdb"),
        ("stats/scan.py", "def late():\n    import pandas as pd"),
        ("stats/scan.py", "import pyarrow.compute as pc"),
    ],
)
def test_a_library_in_the_wrong_place_is_found(plant: Plant, path: str, source: str) -> None:
    assert len(misplaced_libraries(plant(path, source))) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("shifts/assets.py", "import dagster as dg"),
        ("raw/checks.py", "import dagster as dg"),
        ("assets.py", "import dagster as dg"),
        ("build.py", "from dagster_duckdb import DuckDBResource"),
        ("terminal/run.py", "from rich.console import Console\ndef late():\n    import dagster"),
        ("alerts/delivery/slack.py", "from slack_sdk import WebClient"),
        ("catalog/loader.py", "def bind():\n    import duckdb"),
        ("catalog/loader.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import duckdb"),
        ("stats/scan.py", "import numpy as np\nfrom scipy import special"),
        ("alerts/delivery/slack.py", "from slack_sdk import WebClient"),
        ("alerts/app/bolt.py", "from slack_bolt import App\nfrom slack_sdk import WebClient"),
        ("alerts/app/desk.py", "from slack_sdk.webhook import WebhookClient"),
        (
            "alerts/app/signed_http.py",
            "def late():\n    import uvicorn\n    from starlette.applications import Starlette",
        ),
    ],
)
def test_a_library_in_its_place_is_fine(plant: Plant, path: str, source: str) -> None:
    assert misplaced_libraries(plant(path, source)) == []
