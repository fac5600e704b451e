"""Score what a setting would have reported against what was planted.

An **effect** of the ground truth acts on some segments (none given: everywhere), from its start to its end, and names
the metrics it should move. A **report** is an incident's root as told on a day: metric, segment, onset interval. The
report is *of* the effect when

* **time**: it was made on or after the start; its onset interval begins by the effect's end and ends no earlier than
  :data:`EARLY_DAYS` before its start;
* **place**: its segment, unit included, holds one of the effect's, lies in it, or shares a condition with it and gives
  no dimension another value; the effect's policies count as conditions;
* **metric**: its metric, or one of the same family, is one that the effect names. A hole in the data is of an effect
  on the data that names a metric of the table with the hole.

Three things follow.

* An effect is **found** on the first day with a report of it that fits no other effect better (in metric, then by
  naming the very metric, then by something being wrong, then by the nearness of the onset): a report finds one effect.
  The *delay* counts from the effect's start; the *onset error* is the onset as told that day less the start.
* An incident is **true** when its root, on any day, fits an effect in time and place. Here the onset may also lie up to
  :data:`AFTER_DAYS` after the end, for what follows late (appeals, refunds, the way back); any metric will do, since
  causes move more than they name; and the segment may merely overlap (a language, for an effect in a market) when the
  metric is taken from a table of one that is named. *Precision* is the share of true incidents. *Precision of the
  metric* is the share that fits an effect in metric and place as a finding must: the truth lies between the two.
* All others are **false**, and so is what they cost.

Effects whose cause is ``none`` (a campaign) changed something, and nothing was wrong: incidents of them are true, but
nobody misses them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from health_pipeline.backtest.replay import Outcome, Reported
from health_pipeline.catalog.model import EVERY_UNIT, Catalog
from health_pipeline.errors import InputError
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.segments import conditions, relation
from health_pipeline.pipeline import Pipeline

EARLY_DAYS = 3
AFTER_DAYS = 14
POLICY = "policy"
COLUMNS = ("incident_id", "effect", "title", "start", "end", "segment", "policies", "metrics", "cause")


@dataclass(frozen=True)
class Effect:
    """What was planted.

    Attributes:
        start, end: both included.
        segments: ``dimension=value|...`` each, "" for everywhere.
        metrics: names of those it should move.
        policies: of the catalog's dimension ``policy``; empty when it is about none.
        cause: ``rate``, ``mix``, ``data``, or ``none`` when nothing is wrong.
    """

    id: str
    kind: str
    title: str
    start: dt.date
    end: dt.date
    segments: tuple[str, ...]
    metrics: frozenset[str]
    policies: frozenset[str]
    cause: str

    @property
    def wanted(self) -> bool:
        """Whether somebody would miss it."""
        return self.cause != "none"


@dataclass(frozen=True)
class Finding:
    """What became of an effect.

    Attributes:
        incident: the first report of it; ``None`` when it was missed.
        delay: days from its start to that report.
        onset_error: days from its start to the onset as told then.
        inside: for a missed one, the day on which a shift of it was first a member of some incident.
    """

    effect: Effect
    incident: Incident | None
    delay: int | None = None
    onset_error: int | None = None
    inside: dt.date | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether an incident was about anything that was planted.

    Attributes:
        effect: the one it fits best on any day; ``None`` when it fits none.
        moved: whether its metric is one that the effect should move.
    """

    reported: Reported
    effect: Effect | None
    moved: bool


@dataclass(frozen=True)
class Score:
    """A setting against the truth.

    Attributes:
        findings: of effects that began on a judged day, by start.
        verdicts: of incidents first reported in the days that count.
        unjudged: effects that began on no judged day, so that nobody could have reported their beginning.
    """

    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]
    unjudged: tuple[Effect, ...]

    @property
    def found(self) -> int:
        return sum(f.incident is not None for f in self.findings if f.effect.wanted)

    @property
    def planted(self) -> int:
        return sum(f.effect.wanted for f in self.findings)

    @property
    def precision(self) -> float | None:
        """Share of true incidents; ``None`` without incidents."""
        return _share(v.effect is not None for v in self.verdicts)

    @property
    def metric_precision(self) -> float | None:
        """Share of incidents that fit an effect and whose metric is one it should move."""
        return _share(v.moved for v in self.verdicts)

    @property
    def false(self) -> list[Reported]:
        return [v.reported for v in self.verdicts if v.effect is None]

    @property
    def missed(self) -> list[Finding]:
        return [f for f in self.findings if f.incident is None and f.effect.wanted]


def truth_file(pipeline: Pipeline) -> Path | None:
    """The file of planted effects beside an ecosystem's simulated data, if there is one."""
    simulation = pipeline.simulation
    path = simulation.folder / "ground_truth" / "incidents.parquet" if simulation is not None else None
    return path if path is not None and path.is_file() else None


def read_effects(path: Path) -> list[Effect]:
    """Effects of a file ``ground_truth/incidents.parquet`` as ``health-pipeline simulate`` writes it, by start.

    Raises:
        InputError: it is no such file.
    """
    try:
        rows = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    except Exception as error:
        raise InputError(
            f"{path} holds no planted effects: {str(error).splitlines()[0]}",
            "Give ground_truth/incidents.parquet of a folder that `health-pipeline simulate` wrote.",
        ) from None
    by_id: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_id.setdefault(row["incident_id"], []).append(row)
    found = []
    for name, own in by_id.items():
        row = own[0]
        found.append(
            Effect(
                name, row["effect"], row["title"], row["start"], row["end"], tuple(r["segment"] for r in own),  # type: ignore[arg-type]
                frozenset(filter(None, row["metrics"].split(","))), frozenset(filter(None, row["policies"].split(","))),
                row["cause"],
            )
        )  # fmt: skip
    return sorted(found, key=lambda e: (e.start, e.id))


def score(catalog: Catalog, outcome: Outcome, effects: Sequence[Effect]) -> Score:
    """What a setting found, what it missed, and what of its reports was about nothing."""
    judged = set(outcome.judged)
    begun = [e for e in effects if e.start in judged]
    credit = _credit(catalog, effects)
    findings = [_finding(catalog, outcome, e, credit) for e in begun]
    verdicts = [_verdict(r, credit) for r in outcome.incidents]
    return Score(tuple(findings), tuple(verdicts), tuple(e for e in effects if e not in begun))


Credit = Callable[[Incident], tuple[tuple[bool, bool, bool, int], Effect] | None]
"""A row -> how well it fits, better being greater, and the effect that it fits best."""


def _credit(catalog: Catalog, effects: Sequence[Effect]) -> Credit:
    fits = [(e, fitting(catalog, e)) for e in effects]

    def credit(incident: Incident) -> tuple[tuple[bool, bool, bool, int], Effect] | None:
        found = [
            ((how == "metric", incident.metric in e.metrics, e.wanted, -abs((incident.onset - e.start).days)), e)
            for e, fit in fits
            if (how := fit(incident)) != "no"
        ]
        return max(found, key=lambda f: f[0], default=None)

    return credit


def _finding(catalog: Catalog, outcome: Outcome, effect: Effect, credit: Credit) -> Finding:
    everything = [i for r in (*outcome.earlier, *outcome.incidents) for i in r.rows if i.is_open]
    own = []
    for row in everything:
        best = credit(row)
        if best is not None and best[1] is effect and best[0][0] and row.onset_low <= effect.end:
            own.append(row)
    if own:
        first = min(own, key=lambda i: (i.day, abs((i.onset - effect.start).days), i.id))
        return Finding(effect, first, (first.day - effect.start).days, (first.onset - effect.start).days)
    members = fitting_member(catalog, effect)
    inside = [i.day for i in everything if i.day >= effect.start and members(i)]
    return Finding(effect, None, inside=min(inside, default=None))


def _verdict(reported: Reported, credit: Credit) -> Verdict:
    found = [best for row in reported.rows if (best := credit(row)) is not None]
    if not found:
        return Verdict(reported, None, False)
    rank, effect = max(found, key=lambda f: f[0])
    return Verdict(reported, effect, rank[0])


Fit = Literal["metric", "place", "no"]


def fitting(catalog: Catalog, effect: Effect) -> Callable[[Incident], Fit]:
    """How an incident's row fits an effect: in time, place and ``metric``; in time and ``place`` only; or not."""
    should_move, tables = _related(catalog, effect), _tables(catalog, effect)

    def fits(incident: Incident) -> Fit:
        if incident.day < effect.start or not _in_time(effect, incident.onset_low, incident.onset_high):
            return "no"
        lies = place(effect, incident.segment, incident.unit, catalog.unit)
        if lies == "apart":
            return "no"
        is_hole = incident.kind == "data"
        if is_hole and effect.cause != "data":
            return "no"
        if lies == "near" and (incident.table in tables if is_hole else incident.metric in should_move):
            return "metric"
        own = {incident.table} if is_hole else set(catalog.tables_of(catalog.metric(incident.metric)))
        return "place" if lies == "near" or own & tables else "no"

    return fits


def fitting_member(catalog: Catalog, effect: Effect) -> Callable[[Incident], bool]:
    """Whether any member of an incident fits an effect in time, place and metric."""
    should_move = _related(catalog, effect)

    def fits(incident: Incident) -> bool:
        return any(
            m.metric in should_move
            and effect.start - dt.timedelta(days=EARLY_DAYS) <= m.onset <= effect.end
            and place(effect, m.segment, EVERY_UNIT, catalog.unit) == "near"
            for m in incident.members
        )

    return fits


def place(effect: Effect, segment: str, unit: str, unit_dimension: str) -> Literal["near", "overlaps", "apart"]:
    """How a segment lies to those of an effect.

    ``apart`` from each of them, some dimension having different values; ``near`` one of them, that it holds, lies in,
    or shares a condition with, the effect's policies being conditions too; else it ``overlaps``.
    """
    where = conditions(segment)
    if unit != EVERY_UNIT:
        where |= {f"{unit_dimension}={unit}"}
    policy = next((c.split("=", 1)[1] for c in where if c.startswith(f"{POLICY}=")), None)
    if policy is not None and effect.policies and policy not in effect.policies:
        return "apart"
    lies = [relation(where, conditions(own)) for own in effect.segments]
    if all(how == "apart" for how in lies):
        return "apart"
    if policy in effect.policies or any(how in ("same", "inside", "around") for how in lies):
        return "near"
    shared = any(how == "across" and where & conditions(own) for how, own in zip(lies, effect.segments, strict=True))
    return "near" if shared else "overlaps"


def _in_time(effect: Effect, low: dt.date, high: dt.date) -> bool:
    return high >= effect.start - dt.timedelta(days=EARLY_DAYS) and low <= effect.end + dt.timedelta(days=AFTER_DAYS)


def _related(catalog: Catalog, effect: Effect) -> frozenset[str]:
    """The metrics it should move, and those of their families."""
    known = {m.name: m.family for m in catalog.metrics}
    families = {known[m] for m in effect.metrics if m in known}
    return frozenset(name for name, family in known.items() if family in families)


def _tables(catalog: Catalog, effect: Effect) -> frozenset[str]:
    """The tables of the metrics it should move."""
    known = {m.name for m in catalog.metrics}
    return frozenset(t for m in effect.metrics & known for t in catalog.tables_of(catalog.metric(m)))


def _share(true: Iterable[bool]) -> float | None:
    held = list(true)
    return sum(held) / len(held) if held else None
