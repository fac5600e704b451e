"""Scenarios: what is planted in a simulated marketplace, as YAML that people can write: a list of effects."""

from __future__ import annotations

import datetime as dt
import difflib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from health_pipeline.errors import InputError
from health_pipeline.marketplace.columns import Array
from health_pipeline.marketplace.effects import Declared, Effect, Planted

FOLDER = Path(__file__).parent / "scenarios"


class Scenario(Declared):
    """A named set of effects."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    description: str
    effects: tuple[Effect, ...] = ()

    def check(self, start: dt.date, days: int) -> None:
        """Raise unless every effect lies within a period.

        Raises:
            InputError: names the effect, and the number of days it needs.
        """
        for number, effect in enumerate(self.effects, 1):
            first, last = effect.when.days(days)
            if not 0 <= first <= last < days:
                raise InputError(
                    f"Effect {number} ({effect.what}) of the scenario {self.name} lies on days {first} to {last} of a "
                    f"period of {days} days from {start}.",
                    "Simulate more days, or change its `when`: 0 is the first day, -1 the last.",
                )


class Active:
    """The effects of a scenario in a period: which of a kind hold on a day."""

    def __init__(self, scenario: Scenario, days: int) -> None:
        self.scenario = scenario
        self.days = days

    def on(self, kind: type[Planted], day: int) -> list[tuple[int, Any]]:
        """Effects of a kind on a day of the period, each with its number in the scenario."""
        return [
            (n, e)
            for n, e in enumerate(self.scenario.effects)
            if isinstance(e, kind) and e.when.days(self.days)[0] <= day <= e.when.days(self.days)[1]
        ]

    def of(self, kind: type[Planted]) -> list[tuple[int, Any]]:
        """All effects of a kind, each with its number in the scenario."""
        return [(n, e) for n, e in enumerate(self.scenario.effects) if isinstance(e, kind)]

    def factor(self, kind: type[Planted], field: str, day: int, size: int, /, **codes: Array) -> Array:
        """(size,) product of a factor over the effects of a kind that hold, 1 where none does."""
        product = np.ones(size)
        for _, effect in self.on(kind, day):
            product[effect.where.mask(size, **codes)] *= getattr(effect, field)
        return product


def bundled() -> dict[str, Path]:
    """Files of the bundled scenarios, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load_scenario(name_or_file: str) -> Scenario:
    """A bundled scenario by name, or one of your own by the path of its file.

    Raises:
        InputError: there is none, or the file is wrong; says where and what to do.
    """
    path = bundled().get(name_or_file) or Path(name_or_file)
    if not path.is_file():
        near = difflib.get_close_matches(name_or_file, bundled(), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"There is no scenario {name_or_file!r}, nor a file of that name.",
            f"{hint}`health-pipeline simulate --list` shows what there is.",
        )
    try:
        return Scenario.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}", "Start from a copy of a bundled scenario.") from None
    except ValidationError as error:
        problems = "; ".join(_problem(e["loc"], e["msg"]) for e in error.errors()[:5])
        raise InputError(
            f"{path} is not a scenario: {problems}.", "docs/simulator.md lists the effects and their keys."
        ) from None


def _problem(where: tuple[int | str, ...], message: str) -> str:
    """``effect 2 (outage), where.market: 'US' is not one of ...``."""
    place = ".".join(str(p) for p in where if not isinstance(p, int)) or "the file"
    if len(where) > 1 and where[0] == "effects":
        kind, *rest = [str(p) for p in where[2:] if not isinstance(p, int)] or [""]
        place = f"effect {int(where[1]) + 1}{f' ({kind})' if kind else ''}{', ' if rest else ''}{'.'.join(rest)}"
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}: {text[0].lower()}{text[1:]}"
