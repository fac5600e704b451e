"""Small marketplaces, simulated once for all tests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from health_pipeline.marketplace.scenario import Scenario
from health_pipeline.marketplace.simulate import Simulated, simulate
from health_pipeline.marketplace.writer import contracts

START = dt.date(2026, 7, 1)
DAYS = 40

BUSY = {
    "name": "busy",
    "title": "Several things at once",
    "description": "",
    "effects": [
        {"what": "violations", "policies": ["counterfeit"], "where": {"market": ["ID"]}, "when": {"start": -20},
         "multiplier": 8, "terms": ["kw super ori"]},
        {"what": "ring", "policy": "off_platform", "where": {"market": ["VN"]}, "when": {"start": -15, "end": -4},
         "members": 12, "posts": 3, "hashtags": ["#chotkeo", "#dealxin"]},
        {"what": "farm", "where": {"market": ["TH"]}, "when": {"start": -10}, "members": 12, "views": 60},
        {"what": "outage", "tables": ["content_stats", "reports"], "where": {"market": ["PH"]},
         "when": {"start": -12, "end": -9}, "recovered_days": 2, "delay_days": 3},
        {"what": "expansion", "policy": "exaggerated_claims", "when": {"start": -14}, "multiplier": 4},
        {"what": "volume", "when": {"start": -6, "end": -5}, "orders": 2, "event": "Mega sale"},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Twin:
    """A simulated marketplace, with a view for each table, ``truth_<table>`` for ground truth."""

    made: Simulated
    folder: Path
    connection: duckdb.DuckDBPyConnection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        return self.rows(query)[0][0]


Make = Callable[..., Twin]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Simulate 400 creators for 40 days, or as told."""

    def made(scenario: dict[str, Any], **arguments: Any) -> Twin:
        folder = tmp_path_factory.mktemp(scenario["name"]) / "out"
        settings: dict[str, Any] = {"creators": 400, "days": DAYS, "start": START, "seed": 7} | arguments
        simulated = simulate(folder, Scenario.model_validate(scenario), **settings)
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        for table in contracts():
            if list((folder / table).glob("*.parquet")):
                connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{folder / table}/*.parquet')")
        for file in (folder / "ground_truth").glob("*.parquet"):
            connection.execute(f"CREATE VIEW truth_{file.stem} AS FROM read_parquet('{file}')")
        return Twin(simulated, folder, connection)

    return made


@pytest.fixture(scope="session")
def quiet(make: Make) -> Twin:
    return make({"name": "quiet", "title": "Nothing", "description": ""})


@pytest.fixture(scope="session")
def busy(make: Make) -> Twin:
    return make(BUSY)
