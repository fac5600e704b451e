"""docs/simulator.md says what the code says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from health_pipeline.marketplace import truth
from health_pipeline.marketplace.parameters import DEFAULT, Parameters
from health_pipeline.marketplace.scenario import Scenario, bundled, load_scenario

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "see the source" if isinstance(value[0], tuple) else ", ".join(_shown(v) for v in value)
    return f"{value:,g}"


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Parameters)])
def test_every_parameter_stands_there_with_its_default(name: str) -> None:
    assert f"| `{name}` | {_shown(getattr(DEFAULT, name))} | " in PAGE


@pytest.mark.parametrize("name", bundled())
def test_every_scenario_stands_there_with_its_title(name: str) -> None:
    assert f"| `{name}` | {load_scenario(name).title}." in PAGE


def test_every_kind_of_effect_and_its_keys_stand_there() -> None:
    schema = Scenario.model_json_schema()["$defs"]
    kinds = {d["properties"]["what"]["const"]: d for d in schema.values() if "what" in d.get("properties", {})}
    assert len(kinds) == 12
    table = PAGE.split("| `what` |")[1].split("Each effect also")[0].splitlines()
    for kind, definition in kinds.items():
        (row,) = [line for line in table if line.startswith(f"| `{kind}` |")]
        keys = set(definition["properties"]) - {"what", "where", "when", "title", "metrics", "cause"}
        assert {k for k in keys if f"`{k}`" not in row} == set()


@pytest.mark.parametrize("table", ["incidents", "contents", "creators", "clusters", "terms", "policy_effects"])
def test_every_column_of_the_ground_truth_stands_there(table: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{table}` | ")]
    dimensions = {"market", "kind", "category", "tier", "language"} if table == "contents" else set()
    assert {c for c in getattr(truth, table.upper()).names if f"`{c}`" not in row} <= dimensions
