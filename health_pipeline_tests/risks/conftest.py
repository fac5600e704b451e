"""A small marketplace with a wave, a ring and much else, and what was known of it by the end of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.home import Home
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.loading import facts
from health_pipeline.risks.evidence import Evidence, of_files, tables_read
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine

TWIN_START, TWIN_DAYS = dt.date(2026, 7, 1), 60
TWIN_LAST = TWIN_START + dt.timedelta(days=TWIN_DAYS - 1)


@pytest.fixture(scope="session")
def marketplace() -> Catalog:
    return load_catalog("marketplace")


@pytest.fixture(scope="session")
def twin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of 600 creators and 60 days of the scenario ``everything``, and its ground truth."""
    folder = tmp_path_factory.mktemp("twin") / "files"
    simulate(folder, load_scenario("everything"), creators=600, days=TWIN_DAYS, start=TWIN_START, seed=3)
    return folder


@pytest.fixture(scope="session")
def evidence(marketplace: Catalog, twin_folder: Path) -> Iterator[Evidence]:
    """What was known by the end of the sixth last day."""
    yield from of_files(marketplace, twin_folder, [TWIN_LAST - dt.timedelta(days=5)])


@pytest.fixture(scope="session")
def landed(marketplace: Catalog, twin_folder: Path, workplace: Path) -> Pipeline:
    """The same files, delivered: facts in a lake."""
    pipeline = Pipeline(marketplace, Home(workplace / "twin"))
    for table in tables_read(marketplace):
        for file in sorted((twin_folder / table).glob("*.parquet")):
            pipeline.landing.receive(file, table)
    engine = Engine()
    for name in tables_read(marketplace):
        table = marketplace.table(name)
        step = facts.derivation(pipeline.landing, engine, table, pipeline.tables.facts[name])
        derive(step, facts.days(pipeline.landing, table, pipeline.tables.facts[name]))
    return pipeline
