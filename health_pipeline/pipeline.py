"""One ecosystem over one home: its tables, how each follows from the others, and what is outstanding."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.eu_dsa.adapter import DsaStatements
from health_pipeline.home import Home
from health_pipeline.incidents import incidents
from health_pipeline.metrics import cube
from health_pipeline.raw import deliveries, facts
from health_pipeline.raw.landing import Landing
from health_pipeline.risks import risks
from health_pipeline.shifts import shifts
from health_pipeline.storage.derive import Derivation, stale_days
from health_pipeline.storage.engine import Engine, date_range
from health_pipeline.storage.lake import Lake
from health_pipeline.tables import Tables

ADAPTERS = {"dsa_statements": DsaStatements}
DETECTION_DAYS = 90
"""A correction of the past re-judges so many days; older judgements stay as they were made."""


@dataclass(frozen=True)
class Work:
    """What should run next: files to land, days to load, or days to judge."""

    kind: Literal["land", "load", "judge"]
    first: dt.date | None = None
    last: dt.date | None = None
    why: str = ""


class Pipeline:
    """Everything of an ecosystem that does not need Dagster."""

    def __init__(self, catalog: Catalog, home: Home) -> None:
        self.catalog = catalog
        self.home = home
        self.lake = Lake(home.lake, catalog.name)
        self.tables = Tables.of(self.lake, catalog)
        adapter = catalog.ecosystem.statement_adapter
        self.landing = Landing(self.lake, catalog, ADAPTERS[adapter]() if adapter else None)

    @classmethod
    def of(cls, ecosystem: str, home: Home | None = None) -> Pipeline:
        """The pipeline of a bundled ecosystem or a catalog folder.

        Raises:
            CatalogError: the catalog is wrong.
        """
        return cls(load_catalog(ecosystem), home or Home.from_environment())

    @cached_property
    def inbox(self) -> Path:
        """The folder for deliveries, created when it is first asked for.

        Raises:
            UserError: the home can't be written.
        """
        folder = self.home.inbox(self.catalog.name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.home.unwritable(error) from None
        return folder

    def load_steps(self, engine: Engine) -> dict[str, Derivation]:
        """Asset name -> derivation, for what follows from deliveries day by day."""
        c, t = self.catalog, self.tables
        return {
            c.table.name: facts.derivation(self.landing, t.facts),
            "deliveries": deliveries.derivation(c, engine, t.facts, t.deliveries),
            "cube": cube.derivation(c, engine, t.facts, t.cube),
        }

    def judge_steps(self) -> dict[str, Derivation]:
        """Asset name -> derivation, for the judgements of a day."""
        c, t = self.catalog, self.tables
        return {
            "shifts": shifts.derivation(c, t.cube, t.deliveries, t.shifts, t.bands),
            "incidents": incidents.derivation(c, t.shifts, t.bands, t.deliveries, t.incidents),
            "risks": risks.derivation(c, t.incidents, t.risks),
        }

    def delivered_days(self) -> list[dt.date]:
        """Every day from the first to the newest that anyone delivered; days between without any are included."""
        days = self.landing.days()
        return date_range(days[0], days[-1]) if days else []

    def days_to_judge(self, count: int = DETECTION_DAYS) -> list[dt.date]:
        """The last ``count`` days up to the newest delivered."""
        return self.delivered_days()[-count:]

    def outstanding(self, days: int = DETECTION_DAYS) -> Work | None:
        """The next thing to do so that the last ``days`` are judged, or ``None`` when everything is up to date."""
        files = self.landing.new_files(self.inbox)
        if files:
            return Work("land", why=f"{len(files)} new in the inbox: {', '.join(f.name for f in files[:5])}")
        if self.catalog.sample is not None and not self.landing.receipts():
            return Work("land", why="the bundled sample")
        kinds: list[tuple[Literal["load", "judge"], dict[str, Derivation], list[dt.date]]] = [
            ("load", self.load_steps(Engine()), self.delivered_days()),
            ("judge", self.judge_steps(), self.days_to_judge(days)),
        ]
        for kind, steps, asked in kinds:
            stale = sorted({d for step in steps.values() for d in stale_days(step, asked)})
            if stale:
                return Work(kind, stale[0], asked[-1], f"{len(stale)} days are out of date")
        return None


def pipelines(names: Sequence[str], home: Home | None = None) -> list[Pipeline]:
    """Pipelines of several ecosystems over the same home."""
    return [Pipeline.of(name, home) for name in names]
