"""A small marketplace with a wave planted in it, loaded without Dagster, and replayed under two settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from health_pipeline.backtest.settings import make_setting
from health_pipeline.backtest.study import Study, backtest
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.home import Home
from health_pipeline.marketplace.scenario import Scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.landed.receive import receive_all
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine

DAYS, COUNTED, WARM_UP, WAVE = 62, 15, 3, 12
TABLES = ("videos", "decisions")
METRICS = ("videos_published", "confirmed_violations", "violations_per_1k_videos", "near_duplicate_share")
SCENARIO = {
    "name": "wave",
    "title": "A wave",
    "description": "",
    "effects": [
        {"what": "violations", "title": "Counterfeits in Indonesia", "policies": ["counterfeit"],
         "where": {"market": ["ID"]}, "when": {"start": -WAVE}, "multiplier": 60},
        {"what": "reporting", "title": "More reports, of which nothing is measured here", "where": {"market": ["SG"]},
         "when": {"start": -10}, "multiplier": 3},
        {"what": "volume", "title": "A busy week in Thailand", "where": {"market": ["TH"]}, "when": {"start": -9},
         "posts": 1.9},
        {"what": "quality", "title": "Long before", "when": {"start": -50, "end": -40}, "change": -0.01},
    ],
}  # fmt: skip


def small_catalog() -> Catalog:
    """Of the marketplace: two tables, four metrics, three cuts."""
    full = load_catalog("marketplace")
    return full.model_copy(
        update={
            "tables": tuple(t.model_copy(update={"references": ()}) for t in full.tables if t.name in TABLES),
            "metrics": tuple(m for m in full.metrics if m.name in METRICS),
            "segments": ((), ("market",), ("category",)),
            "reach": {d: tuple(t for t in own if t in TABLES) for d, own in full.reach.items()},
        }
    )


@pytest.fixture(scope="session")
def wave(workplace: Path) -> Pipeline:
    """A loaded marketplace in which counterfeits flood Indonesia twelve days before the end. Not to be changed."""
    pipeline = Pipeline(small_catalog(), Home(workplace / "wave"))
    assert pipeline.simulation is not None
    folder = pipeline.simulation.folder
    scenario = Scenario.model_validate(SCENARIO)
    simulate(folder, scenario, creators=300, days=DAYS, start=pipeline.catalog.ecosystem.start, seed=5)
    for other in folder.iterdir():
        if other.name not in (*TABLES, "ground_truth"):
            shutil.rmtree(other)
    receive_all(pipeline.catalog, pipeline.landing, pipeline.inbox, pipeline.simulation)
    for step in pipeline.load_steps(Engine()).values():
        derive(step, pipeline.delivered_days())
    return pipeline


@pytest.fixture(scope="session")
def study(wave: Pipeline) -> Study:
    """The catalog's setting, and one that reports nothing below +150 %: the wave is larger, the busy week is not."""
    catalog = wave.catalog
    a, b = make_setting("A", {}, catalog), make_setting("B", {"minimum_change": 1.5}, catalog)
    return backtest(wave, a, b, COUNTED, warm_up=WARM_UP)
