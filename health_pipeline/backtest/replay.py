"""Live through the last days again under another setting, in a scratch lake beside the real one.

Facts, deliveries and cube are read from the ecosystem's lake. What a setting decides, the tables of the stages
:data:`JUDGED`, is written to a temporary lake and forgotten: nothing published is touched. Each day is judged with the
data of the days up to it, as they are now, corrections included.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from health_pipeline.alerts.planning.select import newsworthy
from health_pipeline.backtest.settings import Setting
from health_pipeline.catalog.loader import bundled_ecosystems
from health_pipeline.errors import UserError
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.verdicts import none_given
from health_pipeline.stats.detect import MINIMUM_HISTORY
from health_pipeline.storage.derive import Derivation, Progress, derive
from health_pipeline.storage.lake import LakeTable
from health_pipeline.tables import Tables

JUDGED = ("shifts", "incidents", "risks")
"""Stages whose tables depend on the setting."""

WARM_UP_DAYS = 14
"""Days lived through before those that count: a memory that starts reports at once what has been so for weeks."""

Report = Callable[[str], Progress]
"""What is being done -> where to tell (days done, days asked for)."""


@dataclass(frozen=True)
class Reported:
    """An incident as a setting would have told it.

    Attributes:
        first: its row of the day on which it was first reported.
        last: its newest row.
        rows: every row, by day.
        told: the day of its message, ``None`` when there was none.
        score: the highest it had on any day; 0 for a hole in the data.
    """

    first: Incident
    last: Incident
    rows: tuple[Incident, ...]
    told: dt.date | None
    score: float

    @property
    def id(self) -> str:
        return self.last.id

    @property
    def kind(self) -> str:
        return self.last.kind


@dataclass(frozen=True)
class Outcome:
    """What one setting would have reported.

    Attributes:
        setting: which.
        days: the days asked for, ascending.
        judged: those of them with ``MINIMUM_HISTORY`` loaded days before them, on which any series could be judged.
        incidents: first reported on one of ``days``, by day of the first report and id.
        earlier: incidents from the days lived through before, that still had a row on one of ``days``.
        shifts: day -> rows of the shifts table.
        seconds: spent.
    """

    setting: Setting
    days: tuple[dt.date, ...]
    judged: tuple[dt.date, ...]
    incidents: tuple[Reported, ...]
    earlier: tuple[Reported, ...]
    shifts: Mapping[dt.date, int]
    seconds: float


def days_to_replay(pipeline: Pipeline, count: int, warm_up: int = WARM_UP_DAYS) -> tuple[list[dt.date], list[dt.date]]:
    """The days to live through before, and the days that count: the last ``count`` that were loaded.

    Raises:
        UserError: nothing was loaded; says which command loads.
    """
    loaded = set(pipeline.tables.cube.days()) & set(pipeline.tables.deliveries.days())
    days = [day for day in pipeline.delivered_days() if day in loaded]
    if not days:
        raise UserError(
            f"Nothing of {pipeline.catalog.name} was loaded yet, so there is nothing to replay.",
            f"Load it first: health-pipeline run --ecosystem {_named(pipeline)}",
        )
    return days[max(0, len(days) - count - warm_up) : max(0, len(days) - count)], days[-count:]


def replay(
    pipeline: Pipeline,
    settings: Sequence[Setting],
    count: int,
    warm_up: int = WARM_UP_DAYS,
    report: Report | None = None,
) -> list[Outcome]:
    """What each setting would have reported in the last ``count`` loaded days.

    Settings that judge alike and differ in their messages only are replayed once.

    Args:
        pipeline: of the ecosystem, loaded. Only read.
        report: where progress goes.

    Raises:
        UserError: nothing was loaded.
    """
    before, days = days_to_replay(pipeline, count, warm_up)
    told = report or (lambda _: lambda done, of: None)
    found: dict[str, Outcome] = {}
    for detection in dict.fromkeys(s.detection.model_dump_json() for s in settings):
        alike = [s for s in settings if s.detection.model_dump_json() == detection]
        with scratch(pipeline, alike[0]) as own:
            started = time.perf_counter()
            _judge(own, [*before, *days], "/".join(s.name for s in alike), told)
            for setting in alike:
                found[setting.name] = _outcome(own, setting, before, days, started)
    return [found[s.name] for s in settings]


def _named(pipeline: Pipeline) -> str:
    """An ecosystem as one has to type it."""
    name, folder = pipeline.catalog.name, pipeline.catalog.folder
    return name if bundled_ecosystems().get(name) == folder else str(folder)


@contextmanager
def scratch(pipeline: Pipeline, setting: Setting) -> Iterator[Pipeline]:
    """The same ecosystem under a setting, whose judgements go to a temporary lake."""
    with tempfile.TemporaryDirectory(prefix="health-pipeline-backtest-") as folder:
        own = Pipeline(setting.catalog(pipeline.catalog), pipeline.home)
        own.landing = pipeline.landing
        own.tables = aside(pipeline.tables, Path(folder))
        yield own


def aside(tables: Tables, folder: Path) -> Tables:
    """The same tables, those of the stages :data:`JUDGED` in another folder, and no lists: none are replayed."""
    moved: dict[str, Any] = {}
    for field in dataclasses.fields(tables):
        table = getattr(tables, field.name)
        if isinstance(table, LakeTable) and table.folder.parent.name in JUDGED:
            moved[field.name] = LakeTable(folder / table.folder.parent.name / table.folder.name, table.schema)
    return dataclasses.replace(tables, lists=None, **moved)


def _judge(own: Pipeline, days: Sequence[dt.date], name: str, told: Report) -> None:
    # People answered what was told under one setting, some of it after the days that are lived through again.
    steps: Mapping[str, Derivation] = own.judge_steps(none_given)
    for table, step in steps.items():
        derive(step, days, told(f"{name}: {table}"))


def _outcome(
    own: Pipeline, setting: Setting, before: Sequence[dt.date], days: Sequence[dt.date], started: float
) -> Outcome:
    t = own.tables
    rows: dict[str, list[Incident]] = {}
    told: dict[str, dt.date] = {}
    scores: dict[str, float] = {}
    for day in [*before, *days]:
        incidents = from_table(t.incidents.read([day]))
        ranked = {row["incident"]: row["score"] for row in t.risks.read([day], ["incident", "score"]).to_pylist()}
        for incident in newsworthy(setting.alerts, day, incidents, ranked):
            told.setdefault(incident.id, day)
        for incident in incidents:
            rows.setdefault(incident.id, []).append(incident)
            scores[incident.id] = max(scores.get(incident.id, 0.0), ranked.get(incident.id, 0.0))
    reported = [Reported(own[0], own[-1], tuple(own), told.get(name), scores[name]) for name, own in rows.items()]
    reported.sort(key=lambda r: (r.first.first_reported, r.id))
    counted = set(days)
    since = min(t.cube.days()) + dt.timedelta(days=MINIMUM_HISTORY)
    judged = [d for d in days if d >= since and (part := t.bands.partition(d)) is not None and part.rows]
    shifts = {d: part.rows for d in days if (part := t.shifts.partition(d)) is not None}
    return Outcome(
        setting, tuple(days), tuple(judged),
        incidents=tuple(r for r in reported if r.first.first_reported in counted),
        earlier=tuple(r for r in reported if r.first.first_reported not in counted and r.last.day in counted),
        shifts=shifts, seconds=time.perf_counter() - started,
    )  # fmt: skip
