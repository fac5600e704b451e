"""A YAML file that knows the line of everything in it, and says what is wrong with it in a user's words."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from health_pipeline.catalog.declared import Declared

Path_ = Sequence[str | int]
Model = TypeVar("Model", bound=Declared)


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


class YamlFile:
    """A parsed YAML file that knows the line of every key."""

    def __init__(self, path: Path, optional: bool = False) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.data: Any = None
        if optional and not path.exists():
            self.data = {}
            return
        try:
            self.data = _parsed(path.read_text(encoding="utf-8"))
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

    def _finding(self, model: type[Declared], problem: Any) -> Finding:
        where, kind = problem["loc"], problem["type"]
        if where[-1:] == ("[key]",):  # pydantic's way to say that the key is wrong, not its value
            where = where[:-1]
        text, inside = self.name(where), self.name(where[:-1])
        line = self.line(where)
        if kind == "extra_forbidden" and len(where) == 1 and where[0] in model.moved:
            return Finding(self.path, line, f"unknown key {where[0]!r} in the file", model.moved[where[0]])
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
            if problem["loc"][-1] == "[key]":
                return Finding(self.path, line, f"{inside} has the key {given!r}, which is not one of {wanted}", guess)
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
        given, says = problem["input"], problem["msg"].removeprefix("Value error, ")
        says = says.removeprefix("Input ").removeprefix("String ")
        says, hint = f"{says[0].lower()}{says[1:]}", (problem.get("ctx") or {}).get("hint", "")
        if isinstance(given, (dict, list, tuple)):
            return Finding(self.path, line, f"{text} {says}", hint)
        return Finding(self.path, line, f"{text} is {given!r}, which {says}", hint)


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What the text says, with lines. Not to be changed: a process that opens a catalog again gets the same.

    Parsing takes four fifths of the time that opening a catalog takes, and a process opens it several times.

    Raises:
        YAMLError: it is not valid.
    """
    return YAML(typ="rt").load(text)


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
