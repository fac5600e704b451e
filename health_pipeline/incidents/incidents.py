"""The incidents table, day after day."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric, Table
from health_pipeline.incidents.explain import AFTER_DAYS, BEFORE_DAYS, SEEN_DAYS, adding, explain, share_of_unit
from health_pipeline.incidents.history import History
from health_pipeline.incidents.merge import advance
from health_pipeline.incidents.model import Incident, from_table, to_table
from health_pipeline.incidents.suspects import AROUND_DAYS, LONG_DAYS, Evidence, event_tables, suspects
from health_pipeline.metrics.maturity import too_short
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable

T = TypeVar("T")


@dataclass(frozen=True)
class Sources:
    """What incidents follow from.

    Attributes:
        facts: contract's name -> its table; only those of announced changes are read.
        receipts: contract's name -> its deliveries as they are now, oldest first.
    """

    shifts: LakeTable
    bands: LakeTable
    deliveries: LakeTable
    cube: LakeTable
    maturity: LakeTable
    facts: Mapping[str, LakeTable]
    receipts: Callable[[str], Iterable[Receipt]]


def derivation(catalog: Catalog, sources: Sources, incidents: LakeTable) -> Derivation:
    """Today's incidents follow from yesterday's and today's shifts; what explains them, from the last weeks' data."""
    announced = event_tables(catalog)
    horizon = max(m.horizon for m in catalog.metrics)

    history = History(sources.cube, sources.bands, sources.deliveries)

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            seen = _last(catalog, day, SEEN_DAYS)
            history.forget(seen[0])
            rows = advance(
                catalog, day, from_table(incidents.read([day - dt.timedelta(days=1)])),
                sources.shifts.read([day]).to_pylist(), history.deliveries([day]),
                frozenset(sources.bands.read([day], ["series"])["series"].to_pylist()),
            )  # fmt: skip
            told = [i for i in rows if _is_told(i, seen[0])]
            evidence = _evidence(catalog, sources, announced, history, told, seen) if told else Evidence()
            about = {i.id: _about(catalog, i, history, evidence, told, seen, horizon) for i in told}
            yield day, [to_table([about.get(i.id, i) for i in rows])]

    return Derivation(
        [incidents],
        lambda day: [
            (incidents, [day - dt.timedelta(days=1)]),
            (sources.shifts, [day]),
            (sources.bands, _last(catalog, day, AFTER_DAYS + horizon)),
            (sources.deliveries, _last(catalog, day, SEEN_DAYS)),
            (sources.cube, _last(catalog, day, SEEN_DAYS)),
            (sources.maturity, [day]),
            *((sources.facts[t.name], _last(catalog, day, SEEN_DAYS)) for t in announced),
        ],
        "incidents-9-" + catalog.version(catalog.tables, catalog.metrics, catalog.dimensions, catalog.events),
        compute,
        extra=lambda day: _fingerprint(_receipts(catalog, sources, _last(catalog, day, SEEN_DAYS))),
        sequential=True,
    )


def _last(catalog: Catalog, day: dt.date, count: int) -> list[dt.date]:
    """The last days up to a day, from the ecosystem's start on; at least the day itself."""
    first = max(catalog.ecosystem.start, day - dt.timedelta(days=count - 1))
    return [first + dt.timedelta(days=i) for i in range((day - first).days + 1)] or [day]


def _is_told(incident: Incident, first: dt.date) -> bool:
    """Whether an incident is explained anew today: an open one whose onset is not out of sight."""
    return (
        incident.kind == "shift" and incident.is_open and incident.onset_low >= first + dt.timedelta(days=AROUND_DAYS)
    )


def _about(
    catalog: Catalog,
    incident: Incident,
    history: History,
    evidence: Evidence,
    told: Sequence[Incident],
    seen: Sequence[dt.date],
    horizon: int,
) -> Incident:
    """An incident with its explanation, its share of its unit, and what speaks for the data as its cause."""
    metric = catalog.metric(incident.metric)
    metrics = {i.metric for i in told}
    first = incident.onset_low - dt.timedelta(days=BEFORE_DAYS)
    whole = _complete(catalog, metric, incident.unit, history.deliveries(seen))
    days = [d for d in seen if d >= first and whole.get(d, True)]
    cube = history.amounts(incident.metric, days, metrics)
    bands = history.expected(incident.metric, seen[-(AFTER_DAYS + horizon) :], metrics)
    for part in adding(catalog, metric):
        cube = _together(cube, history.amounts(part.name, days, metrics))
        bands = _together(bands, history.expected(part.name, seen[-(AFTER_DAYS + horizon) :], metrics))
    share = share_of_unit(catalog, incident, cube)
    reach = dataclasses.replace(incident.reach, share=share[0], share_of=share[1]) if share else incident.reach
    return dataclasses.replace(
        incident, explanation=explain(catalog, incident, cube, bands), reach=reach,
        suspects=suspects(catalog, incident, evidence),
    )  # fmt: skip


def _complete(
    catalog: Catalog, metric: Metric, unit: str, deliveries: Iterable[Mapping[str, Any]]
) -> dict[dt.date, bool]:
    """Day -> whether all tables of a metric came completely, from a unit or from all that are expected."""
    tables, whole = catalog.tables_of(metric), dict[dt.date, bool]()
    for row in deliveries:
        if row["table"] in tables and unit in (row["unit"], EVERY_UNIT):
            good = row["finding"] == "complete" or (row["finding"] == "retired" and unit == EVERY_UNIT)
            whole[row["day"]] = whole.get(row["day"], True) and good
    return whole


def _together(one: Mapping[dt.date, Mapping[str, T]], other: Mapping[dt.date, Mapping[str, T]]) -> Mapping[
    dt.date, Mapping[str, T]
]:  # fmt: skip
    """Segments of two metrics, by day; they are different segments."""
    return {day: {**segments, **other.get(day, {})} for day, segments in one.items()}


def _evidence(
    catalog: Catalog,
    sources: Sources,
    announced: Sequence[Table],
    history: History,
    told: Sequence[Incident],
    seen: Sequence[dt.date],
) -> Evidence:
    around = dt.timedelta(days=AROUND_DAYS)
    near = [d for d in seen if any(i.onset_low - around <= d <= i.onset_high + around for i in told)]
    policies = [
        (table, row)
        for table in announced
        for row in sources.facts[table.name].read(seen).to_pylist()
        if row.get("superseded_at") is None
    ]
    return Evidence(
        deliveries=history.deliveries(near),
        receipts=_receipts(catalog, sources, seen),
        late={late.metric: late for late in too_short(catalog, sources.maturity.read([seen[-1]]))},
        policies=policies,
    )


def _receipts(catalog: Catalog, sources: Sources, seen: Sequence[dt.date]) -> dict[str, list[Receipt]]:
    """Deliveries of the last weeks, but for files that hold so many days that they tell nothing about one."""
    return {
        table.name: [
            r for r in sources.receipts(table.name)
            if r.days and len(r.days) <= LONG_DAYS and min(r.days) <= seen[-1] and max(r.days) >= seen[0]
        ]
        for table in catalog.tables
    }  # fmt: skip


def _fingerprint(receipts: Mapping[str, Sequence[Receipt]]) -> str:
    keys = sorted(f"{name} {r.key} {r.contract}" for name, own in receipts.items() for r in own)
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16] if keys else ""
