"""One ecosystem over one home: its tables, how each follows from the others, and what is outstanding."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from health_pipeline.alerts import post
from health_pipeline.alerts.people import decisions, told
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog, Table
from health_pipeline.eu_dsa.adapter import DsaStatements
from health_pipeline.home import Home
from health_pipeline.incidents import incidents, series
from health_pipeline.metrics import cube, maturity
from health_pipeline.raw.landed.landing import SETTLED_SECONDS, Landing
from health_pipeline.raw.landed.receive import Simulation
from health_pipeline.raw.loading import deliveries, facts
from health_pipeline.risks import lists, risks
from health_pipeline.risks.verdicts import Judged, Verdicts
from health_pipeline.shifts import shifts
from health_pipeline.storage.derive import Derivation, Progress, stale_days
from health_pipeline.storage.engine import Engine, date_range
from health_pipeline.storage.lake import Lake
from health_pipeline.storage.state import opened_state, reading, state_exists
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

    @property
    def simulation(self) -> Simulation | None:
        """What is delivered when nothing else was, where the catalog wants it simulated."""
        wanted = self.catalog.ecosystem.simulation
        if wanted is None or self.catalog.sources:
            return None

        def write(folder: Path, progress: Progress) -> None:
            from health_pipeline.marketplace.scenario import load_scenario
            from health_pipeline.marketplace.simulate import simulate

            simulate(
                folder, load_scenario(wanted.scenario), creators=wanted.creators, days=wanted.days,
                start=self.catalog.ecosystem.start, seed=wanted.seed, files="whole", progress=progress,
            )  # fmt: skip

        return Simulation(self.home.root / "simulated" / self.catalog.name, write)

    def new_files(self, settled_seconds: float = SETTLED_SECONDS) -> list[Path]:
        """Files that wait to be landed, simulated ones first."""
        simulation = self.simulation
        simulated = self.landing.new_files(simulation.folder, settled_seconds=0) if simulation else []
        return simulated + self.landing.new_files(self.inbox, settled_seconds)

    def load_steps(self, engine: Engine) -> dict[str, Derivation]:
        """Asset name -> derivation, for what follows from deliveries day by day."""
        c, t = self.catalog, self.tables
        return {
            **self._facts(engine, deliveries.judged(c)),
            "deliveries": deliveries.derivation(c, engine, t.facts, t.deliveries),
            "cube": cube.derivation(c, engine, t.facts, t.cube, t.histograms),
            **self._maturity(engine),
        }

    def _maturity(self, engine: Engine) -> dict[str, Derivation]:
        """How late what metrics count arrives; nothing where rows do not change."""
        c, t = self.catalog, self.tables
        if not maturity.versioned(c):
            return {}
        return {
            "arrivals": maturity.arrivals_derivation(c, engine, t.facts, t.arrivals),
            "maturity": maturity.maturity_derivation(c, t.arrivals, t.maturity),
        }

    def lasting_steps(self, engine: Engine) -> dict[str, Derivation]:
        """Asset name -> derivation, for tables that are brought up to date as a whole: of things that last, or that
        are known ahead (:func:`.raw.deliveries.judged`)."""
        judged = deliveries.judged(self.catalog)
        return self._facts(engine, [table for table in self.catalog.tables if table not in judged])

    def _facts(self, engine: Engine, tables: Sequence[Table]) -> dict[str, Derivation]:
        return {t.name: facts.derivation(self.landing, engine, t, self.tables.facts[t.name]) for t in tables}

    def judge_steps(self, verdicts: Verdicts | None = None) -> dict[str, Derivation]:
        """Asset name -> derivation, for the judgements of a day.

        Args:
            verdicts: what people said of incidents; by default what the state database holds.
        """
        c, t = self.catalog, self.tables
        return {
            "shifts": shifts.derivation(c, t.cube, t.histograms, t.deliveries, t.shifts, t.bands, t.states),
            "incidents": incidents.derivation(c, self.incident_sources, t.incidents),
            "risks": risks.derivation(c, t.incidents, t.risks, t.track_records, verdicts or self.verdicts()),
        }

    def list_steps(self) -> dict[str, Derivation]:
        """Asset name -> derivation, for what is to be reviewed; nothing where no review is declared."""
        t = self.tables
        return {"review_lists": lists.derivation(self.catalog, t.facts, t.lists)} if t.lists else {}

    def verdicts(self) -> Verdicts:
        """What people said of incidents, as it stood at a moment; the record is read once, when first asked for.

        Raises:
            StateError: (when asked) the state database does not open.
        """

        @cache
        def given() -> tuple[list[decisions.Decision], dict[str, str]]:
            # Where nobody has decided anything, reading must not make a database.
            if not state_exists(self.home.state_url):
                return [], {}
            with opened_state(self.home.state_url) as engine, reading(engine) as connection:
                names = {alias: t.incident for t in told.read(connection, self.catalog.name) for alias in t.aliases}
                return decisions.history(engine, self.catalog.name), names

        def known(moment: dt.datetime | None) -> list[Judged]:
            every, names = given()
            before = [d for d in every if moment is None or d.by.at < moment]
            latest = {names.get(d.incident, d.incident): d for d in decisions.counting(before) if d.kind == "verdict"}
            return [Judged(name, d.metric, d.verdict, d.by.at) for name, d in latest.items() if d.verdict]

        return known

    @property
    def incident_sources(self) -> incidents.Sources:
        """What incidents follow from."""
        t = self.tables
        return incidents.Sources(
            t.shifts,
            t.bands,
            t.deliveries,
            t.cube,
            t.maturity,
            t.facts,
            lambda table: self.landing.ledger(table).receipts,
        )

    @property
    def alert_sources(self) -> post.Sources:
        """What messages follow from."""
        t = self.tables
        return post.Sources(
            t.incidents, t.risks, t.maturity, t.deliveries, lambda table: self.landing.ledger(table).receipts
        )

    @property
    def series_sources(self) -> series.Sources:
        """What the series of an incident is read from."""
        t = self.tables
        return series.Sources(t.bands, t.cube, t.histograms, t.deliveries, t.maturity, t.facts)

    def delivered_days(self) -> list[dt.date]:
        """Every day from the first to the newest that anyone delivered; days between without any are included.

        So are published days that no delivery holds any more, since a correction moved or rejected their rows: they are
        to be computed again. A day before the ecosystem's start is no partition that could be.
        """
        judged, start = deliveries.judged(self.catalog), self.catalog.ecosystem.start
        days = {day for table in judged for day in self.landing.days(table.name)}
        days |= {day for table in judged for day in self.tables.facts[table.name].days() if day >= start}
        return date_range(min(days), max(days)) if days else []

    def days_to_judge(self, count: int = DETECTION_DAYS) -> list[dt.date]:
        """The last ``count`` days up to the newest delivered."""
        return self.delivered_days()[-count:]

    def outstanding(self, days: int = DETECTION_DAYS) -> Work | None:
        """The next thing to do so that the last ``days`` are judged, or ``None`` when everything is up to date."""
        files = self.new_files()
        if files:
            simulated = self.simulation is not None and files[0].is_relative_to(self.simulation.folder)
            shown = ", ".join(map(self.landing.label, files[:5]))
            return Work("land", why=f"{len(files)} new{'' if simulated else ' in the inbox'}: {shown}")
        if not self.landing.receipts():
            if self.catalog.sample is not None:
                return Work("land", why="the bundled sample")
            waiting = self.landing.new_files(self.inbox, settled_seconds=0)
            if self.simulation is not None and not waiting and not self.simulation.folder.exists():
                return Work("land", why="deliveries to be simulated")
        asked = self.delivered_days()
        if not asked:
            return None
        engine = Engine()
        stale = _stale(self.load_steps(engine), asked)
        lasting = {
            name
            for name, step in self.lasting_steps(engine).items()
            if stale_days(step, facts.days(self.landing, self.catalog.table(name), self.tables.facts[name]))
        }
        if stale or lasting:
            said = [_days(stale)] * bool(stale) + sorted(lasting)
            return Work("load", stale[0] if stale else asked[-1], asked[-1], f"{' and '.join(said)} out of date")
        stale = _stale({**self.judge_steps(), **self.list_steps()}, self.days_to_judge(days))
        return Work("judge", stale[0], asked[-1], f"{_days(stale)} out of date") if stale else None


def _stale(steps: Mapping[str, Derivation], asked: Sequence[dt.date]) -> list[dt.date]:
    return sorted({day for step in steps.values() for day in stale_days(step, asked)})


def _days(days: Sequence[dt.date]) -> str:
    return f"{len(days):,} days" if len(days) != 1 else f"{days[0]}"


def pipelines(names: Sequence[str], home: Home | None = None) -> list[Pipeline]:
    """Pipelines of several ecosystems over the same home."""
    return [Pipeline.of(name, home) for name in names]
