"""Read an ecosystem's YAML files; every mistake is reported with file, line and a suggestion.

Three passes: YAML syntax, types (pydantic), and meaning: names that refer to one another, and SQL, which DuckDB
binds against the contract so that a misspelt column is found before any data is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from health_pipeline.catalog.model import Calendar, Catalog, Dimension, Ecosystem, Metric, Metrics, Table, Tables
from health_pipeline.errors import CatalogError

Path_ = Sequence[str | int]
Model = TypeVar("Model", bound=BaseModel)

SQL_TYPES = {"date": "DATE", "text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE"}


@dataclass(frozen=True)
class Finding:
    """One mistake in the catalog."""

    file: Path
    line: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}: {self.message}.{hint}"


class _File:
    """A parsed YAML file that knows the line of every key."""

    def __init__(self, path: Path, optional: bool = False) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.data: Any = None
        if optional and not path.exists():
            self.data = {}
            return
        try:
            self.data = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.findings.append(Finding(path, 1, "the file is missing", "Every ecosystem folder needs it."))
        except OSError as error:
            self.findings.append(
                Finding(path, 1, f"the file can't be read: {error.strerror}", "Check its permissions.")
            )
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            self.findings.append(Finding(path, line, "not UTF-8 text", "Save the file in UTF-8."))
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problem = (error.problem or "can't be parsed").strip()
            self.findings.append(
                Finding(path, line, f"not valid YAML: {problem}", "Check indentation and quotes here and just above.")
            )
        except YAMLError:  # a control character; the parser knows no line
            self.findings.append(Finding(path, 1, "the file holds a character that YAML does not allow", "Remove it."))
        else:
            if not isinstance(self.data, dict):
                self.findings.append(Finding(path, 1, "the file must be a mapping of keys to values"))

    def line(self, where: Path_) -> int:
        """Line (from 1) of the deepest part of ``where`` that is written in the file."""
        node, line = self.data, 1
        for step in where:
            try:
                marks = node.lc.data[step]
                line, node = marks[0] + 1, node[step]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return int(line)

    def name(self, where: Path_) -> str:
        """A place in words: ``statements.bad`` for the third key of the first metric, ``the file`` for the whole."""
        node, said, named = self.data, [], []
        for step in where:
            node = _at(node, step)
            own = node.get("name") if isinstance(step, int) and isinstance(node, dict) else None
            said.append(str(own or f"#{step + 1}") if isinstance(step, int) else step)
            named.append(bool(own))
        if named[1:2] == [True]:
            said = said[1:]  # the name says enough
        return ".".join(said) or "the file"

    def parse(self, model: type[Model]) -> Model | None:
        """The file as a model, or ``None`` with findings."""
        if self.findings:
            return None
        try:
            return model.model_validate(_plain(self.data))
        except ValidationError as error:
            for problem in error.errors():
                self.findings.append(self._finding(model, problem))
            return None

    def _finding(self, model: type[BaseModel], problem: Any) -> Finding:
        where, kind = problem["loc"], problem["type"]
        text, inside = self.name(where), self.name(where[:-1])
        line = self.line(where)
        if kind == "extra_forbidden":
            known = _fields_at(model, where[:-1])
            return Finding(
                self.path, line, f"unknown key {where[-1]!r} in {inside}", did_you_mean(str(where[-1]), known)
            )
        if kind == "missing":
            return Finding(self.path, line, f"the key {where[-1]!r} is missing in {inside}", "Add it.")
        if kind == "literal_error":
            wanted = problem["ctx"]["expected"].replace("'", "")
            given = str(problem["input"])
            guess = did_you_mean(given, re.split(r", | or ", wanted))
            return Finding(self.path, line, f"{text} is {given!r}, which is not one of {wanted}", guess)
        if kind == "string_pattern_mismatch":
            return Finding(
                self.path,
                line,
                f"{text} is {problem['input']!r}, which is not a name",
                "Names are lower-case letters, digits and underscores, and start with a letter.",
            )
        if kind == "tuple_type":
            given = problem["input"]
            hint = "" if isinstance(given, dict) else f"Write [{given}]."
            return Finding(self.path, line, f"{text} is not a list", hint)
        given, says = problem["input"], problem["msg"].removeprefix("Input ")
        says = f"{says[0].lower()}{says[1:]}"
        if isinstance(given, (dict, list, tuple)):
            return Finding(self.path, line, f"{text} {says}")
        return Finding(self.path, line, f"{text} is {given!r}, which {says}")


def _at(node: Any, step: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(step)
    return node[step] if isinstance(node, list) and isinstance(step, int) and step < len(node) else None


def _plain(node: Any) -> Any:
    """ruamel's round-trip types as plain ones."""
    if isinstance(node, dict):
        return {str(k): _plain(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_plain(v) for v in node]
    if isinstance(node, str):
        return str(node)
    return node


def _fields_at(model: type[BaseModel], where: Path_) -> list[str]:
    """Names of the fields allowed at a place inside a model."""
    current: Any = model
    for step in where:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step)
        if field is None:
            return []
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = [t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)]
        if not models:
            return []
        current = models[0]
    return list(current.model_fields)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest known name, or lists what is known."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known here: {', '.join(names)}." if names else ""


def bundled_ecosystems() -> dict[str, Path]:
    """Catalog folders that come with the package, by name."""
    root = Path(__file__).parent.parent
    return {p.parent.parent.name: p.parent for p in sorted(root.glob("*/catalog/ecosystem.yaml"))}


def find_catalog(name_or_folder: str) -> Path:
    """The catalog folder meant by a bundled ecosystem's name or by a path.

    Raises:
        CatalogError: neither a bundled ecosystem nor a folder with an ``ecosystem.yaml``.
    """
    bundled = bundled_ecosystems()
    if name_or_folder in bundled:
        return bundled[name_or_folder]
    folder = Path(name_or_folder)
    if (folder / "ecosystem.yaml").exists():
        return folder
    raise CatalogError(
        f"There is no ecosystem {name_or_folder!r}.",
        did_you_mean(name_or_folder, bundled)
        + " Or give a folder that holds ecosystem.yaml, tables.yaml and metrics.yaml.",
    )


def load_catalog(name_or_folder: str = "eu_dsa") -> Catalog:
    """Load and check the catalog of an ecosystem.

    Args:
        name_or_folder: a bundled ecosystem (``eu_dsa``) or a folder with YAML files.

    Raises:
        CatalogError: lists every finding as ``file:line: what is wrong. What to do.``
    """
    folder = find_catalog(name_or_folder)
    files = {
        name: _File(folder / f"{name}.yaml", optional=name == "calendar")
        for name in ("ecosystem", "tables", "metrics", "calendar")
    }
    ecosystem = files["ecosystem"].parse(Ecosystem)
    tables = files["tables"].parse(Tables)
    metrics = files["metrics"].parse(Metrics)
    calendar = files["calendar"].parse(Calendar)
    findings = [f for file in files.values() for f in file.findings]
    if tables is not None:
        findings += _check_table(files["tables"], tables.table)
    if tables is not None and metrics is not None:
        findings += _check_metrics(files["metrics"], tables.table, metrics)
        findings += _check_sql(files, tables.table, metrics)
    if ecosystem is not None and ecosystem.sample and not (folder / ecosystem.sample).exists():
        line = files["ecosystem"].line(["sample"])
        findings.append(
            Finding(
                folder / "ecosystem.yaml",
                line,
                f"the sample {ecosystem.sample!r} does not exist",
                "Paths are relative to this file.",
            )
        )
    if findings or ecosystem is None or tables is None or metrics is None or calendar is None:
        count = f"{len(findings)} mistake{'s' if len(findings) != 1 else ''}"
        raise CatalogError(f"The catalog has {count}:\n" + "\n".join(f"  {f}" for f in findings))
    return Catalog(
        folder=folder,
        ecosystem=ecosystem,
        table=tables.table,
        dimensions=metrics.dimensions,
        metrics=metrics.metrics,
        events=calendar.events,
    )


def _duplicates(file: _File, key: str, names: Sequence[str], what: str) -> list[Finding]:
    found = []
    for i, name in enumerate(names):
        if name in names[:i]:
            first = file.line([key, names.index(name), "name"])
            found.append(
                Finding(
                    file.path,
                    file.line([key, i, "name"]),
                    f"the {what} {name!r} is declared twice",
                    f"It is first declared on line {first}: rename one.",
                )
            )
    return found


def _check_table(file: _File, table: Table) -> list[Finding]:
    columns = [c.name for c in table.columns]
    found = []
    for i, name in enumerate(columns):
        if name in columns[:i]:
            found.append(
                Finding(
                    file.path,
                    file.line(["table", "columns", i, "name"]),
                    f"the column {name!r} is declared twice",
                    "Rename or remove one.",
                )
            )
    for key in ("day", "delivered_by"):
        if getattr(table, key) not in columns:
            found.append(
                Finding(
                    file.path,
                    file.line(["table", key]),
                    f"{key} names the column {getattr(table, key)!r}, which is not declared",
                    did_you_mean(getattr(table, key), columns),
                )
            )
    for i, name in enumerate(table.key):
        if name not in columns:
            found.append(
                Finding(
                    file.path,
                    file.line(["table", "key", i]),
                    f"the key names the column {name!r}, which is not declared",
                    did_you_mean(name, columns),
                )
            )
    return found


def _check_metrics(file: _File, table: Table, declared: Metrics) -> list[Finding]:
    names = [m.name for m in declared.metrics]
    dimensions = [d.name for d in declared.dimensions]
    found = _duplicates(file, "metrics", names, "metric") + _duplicates(file, "dimensions", dimensions, "dimension")
    if not names:
        found.append(Finding(file.path, file.line(["metrics"]), "no metric is declared", "Declare at least one."))

    def at(i: int, *keys: str | int) -> int:
        return file.line(["metrics", i, *keys])

    for i, m in enumerate(declared.metrics):
        if m.type == "count" and m.denominator is not None:
            found.append(
                Finding(
                    file.path,
                    at(i, "denominator"),
                    f"{m.name} is a count and has a denominator",
                    "Remove it, or make the type proportion or mean.",
                )
            )
        if m.type != "count" and m.denominator is None:
            found.append(
                Finding(
                    file.path,
                    at(i, "type"),
                    f"{m.name} is a {m.type} and has no denominator",
                    "Add one, or make the type count.",
                )
            )
        for key in ("by", "over"):
            for j, d in enumerate(getattr(m, key) or ()):
                if d not in dimensions:
                    found.append(
                        Finding(
                            file.path,
                            at(i, key, j),
                            f"{m.name}.{key} names the dimension {d!r}, which is not declared",
                            did_you_mean(d, dimensions),
                        )
                    )
        if table.delivered_by not in m.by:
            found.append(
                Finding(
                    file.path,
                    at(i, "by"),
                    f"{m.name}.by leaves out {table.delivered_by!r}, by which the source delivers",
                    f"Add {table.delivered_by!r}: without it a missing delivery can't be told from zero.",
                )
            )
        for word in re.findall(r"{([^}]*)}", m.phrase):
            if word not in m.by:
                found.append(
                    Finding(
                        file.path,
                        at(i, "phrase"),
                        f"{m.name}.phrase names {{{word}}}, which is not in its `by`",
                        did_you_mean(word, m.by),
                    )
                )
        if m.over is not None and not set(m.over) < set(m.by):
            found.append(
                Finding(
                    file.path,
                    at(i, "over"),
                    f"{m.name}.over must leave out at least one dimension of `by` and add none",
                )
            )
        if m.adds_up_to is not None:
            whole = next((o for o in declared.metrics if o.name == m.adds_up_to), None)
            if whole is None:
                found.append(
                    Finding(
                        file.path,
                        at(i, "adds_up_to"),
                        f"{m.name}.adds_up_to names the metric {m.adds_up_to!r}, which is not declared",
                        did_you_mean(m.adds_up_to, names),
                    )
                )
            elif not set(whole.by) < set(m.by) or m.type != "count" or whole.type != "count":
                found.append(
                    Finding(
                        file.path,
                        at(i, "adds_up_to"),
                        f"{m.name} can't add up to {whole.name}",
                        "Both must be counts, and the whole must have fewer dimensions.",
                    )
                )
    return found


def _check_sql(files: dict[str, _File], table: Table, metrics: Metrics) -> list[Finding]:
    import duckdb  # takes a moment: only where it is used

    columns = [c.name for c in table.columns]
    found: list[Finding] = []
    with duckdb.connect() as engine:
        spec = ", ".join(f'"{c.name}" {SQL_TYPES[c.type]}' for c in table.columns)
        try:
            engine.execute(f"CREATE TABLE facts ({spec})")
        except duckdb.Error:
            return []  # duplicate columns: already a finding

        def check(file: _File, where: Path_, sql: str, wanted: str) -> None:
            try:
                # WHERE refuses what a row alone can't answer: the cube sums these expressions itself.
                engine.execute(f"SELECT CAST(({sql}) AS {wanted}) FROM facts WHERE ({sql}) IS NULL")
            except duckdb.Error as error:
                line, text = file.line(where), str(error).split("\n")[0]
                missing = re.search(r'Referenced column "([^"]+)" (?:was )?not found', text)
                if missing:
                    name = missing.group(1)
                    found.append(
                        Finding(file.path, line, f"unknown column {name!r} in {sql!r}", did_you_mean(name, columns))
                    )
                else:
                    hint = "Write an expression over one row of the table; sums are taken for you."
                    found.append(Finding(file.path, line, f"not valid SQL: {sql!r}: {text.rstrip('!.')}", hint))

        def check_sum(file: _File, where: Path_, part: Any) -> None:
            check(file, [*where, "sum"], part.sum, "DOUBLE")
            if part.where:
                check(file, [*where, "where"], part.where, "BOOLEAN")

        check_sum(files["tables"], ["table", "volume"], table.volume)
        dimension: Dimension
        for i, dimension in enumerate(metrics.dimensions):
            check(files["metrics"], ["dimensions", i, "sql"], dimension.sql, "VARCHAR")
        metric: Metric
        for i, metric in enumerate(metrics.metrics):
            check_sum(files["metrics"], ["metrics", i, "numerator"], metric.numerator)
            if metric.denominator:
                check_sum(files["metrics"], ["metrics", i, "denominator"], metric.denominator)
    return found
