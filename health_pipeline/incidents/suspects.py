"""Could it be the data? What was odd, near an incident's onset, about the data it is seen in.

Nothing here says that an incident is not real. It says where to look before one believes it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric, Table
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, Suspect
from health_pipeline.incidents.segments import conditions
from health_pipeline.metrics.maturity import Late
from health_pipeline.raw.landed.ledger import Receipt

AROUND_DAYS = 3  # what happened to the data so near the onset is told
POLICY_DAYS = 5
ODD_VOLUME = 1.5  # a delivery so many times larger or smaller than expected
ENOUGH = 50  # rows expected, below which a volume tells nothing
EXPLAINED = 2.0  # a volume that is off by no more than so many times the incident's excess is the incident itself
REJECTED = 0.001  # of a file's rows
LONG_DAYS = 31  # a file that holds more days is not of the onset
MOST = 6

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What is known about the data of one day's judgement.

    Attributes:
        deliveries: rows of ``raw.schema.DELIVERIES`` of the days around any open incident's onset.
        receipts: table -> its deliveries, oldest first.
        late: metric -> its horizon, where that is too short by what was learned of how late rows arrive.
        policies: facts of tables of events known ahead, as (table, row).
    """

    deliveries: Sequence[Row] = ()
    receipts: Mapping[str, Sequence[Receipt]] | None = None
    late: Mapping[str, Late] | None = None
    policies: Sequence[tuple[Table, Row]] = ()


def suspects(catalog: Catalog, incident: Incident, evidence: Evidence) -> tuple[Suspect, ...]:
    """Reasons to ask whether it is the data, the most telling first; of kind ``shift`` only."""
    metric = catalog.metric(incident.metric)
    found = [
        *_volume(catalog, incident, metric, evidence.deliveries),
        *_lateness(incident, metric, evidence.late or {}),
        *_files(catalog, incident, metric, evidence.receipts or {}),
        *_policies(catalog, incident, evidence.policies),
    ]
    return tuple(found[:MOST])


def event_tables(catalog: Catalog) -> tuple[Table, ...]:
    """Tables that announce changes: known ahead, with a title for people to read."""
    return tuple(t for t in catalog.tables if t.known_ahead and any(c.name == "title" for c in t.columns))


def _span(incident: Incident) -> tuple[dt.date, dt.date]:
    around = dt.timedelta(days=AROUND_DAYS)
    return incident.onset_low - around, min(incident.onset_high + around, incident.day)


def _volume(catalog: Catalog, incident: Incident, metric: Metric, deliveries: Sequence[Row]) -> Iterable[Suspect]:
    """Days near the onset on which a table behind the metric did not come whole, or in an odd amount."""
    first, last = _span(incident)
    tables = catalog.tables_of(metric)
    rows = [
        r for r in deliveries
        if r["table"] in tables and first <= r["day"] <= last and incident.unit in (r["unit"], EVERY_UNIT)
    ]  # fmt: skip
    for table in tables:
        own = [r for r in rows if r["table"] == table]
        broken = [r for r in own if r["finding"] not in ("complete", "retired")]
        if broken:
            said = "; ".join(
                f"{wording.supplier(catalog, r['unit'], table)} {wording.FINDINGS[r['finding']][1]} "
                f"on {wording.day(r['day'])}"
                for r in broken[:3]
            )
            more = f", and {len(broken) - 3} more such days" if len(broken) > 3 else ""
            yield Suspect("volume", f"{said}{more}.")
        odd = _odd(own, incident, counted=metric.type == "count")
        if odd is not None:
            who = wording.supplier(catalog, odd[0], table)
            yield Suspect(
                "volume",
                f"{who} delivered {wording.change(odd[1])} against the expected volume since "
                f"{wording.day(incident.onset)}.",
            )


def _odd(rows: Sequence[Row], incident: Incident, counted: bool) -> tuple[str, float] | None:
    """The unit whose complete days since the onset are farthest from their expected volume, if far.

    Not when the metric counts such rows, and they are too many or few by what the incident is about.
    """
    sums: dict[str, list[float]] = {}
    for r in rows:
        if r["finding"] == "complete" and r["day"] >= incident.onset and r["volume"] is not None and r["expected"]:
            held = sums.setdefault(r["unit"], [0.0, 0.0, 0.0])
            for place, amount in enumerate((r["volume"], r["expected"], 1.0)):
                held[place] += amount
    ratios = {
        unit: (volume + 1.0) / (expected + 1.0)
        for unit, (volume, expected, days) in sums.items()
        if expected >= ENOUGH and not (counted and abs(volume - expected) / days < EXPLAINED * abs(incident.excess))
    }
    if not ratios:
        return None
    unit = max(sorted(ratios), key=lambda u: abs(math.log(ratios[u])))
    return (unit, ratios[unit] - 1.0) if abs(math.log(ratios[unit])) >= math.log(ODD_VOLUME) else None


def _lateness(incident: Incident, metric: Metric, late: Mapping[str, Late]) -> Iterable[Suspect]:
    if metric.name in late:
        known = late[metric.name]
        yield Suspect(
            "lateness",
            f"Rows arrive late: {wording.count(known.horizon, 'day')} after a day, when it is judged, its value is at "
            f"{wording.percent(known.share)} of the final one; it needs {wording.count(known.needed, 'day')}.",
        )


def _files(
    catalog: Catalog, incident: Incident, metric: Metric, receipts: Mapping[str, Sequence[Receipt]]
) -> Iterable[Suspect]:
    """Rejected rows of files of the days near the onset; columns that changed; a contract that changed."""
    first, last = _span(incident)
    for table in catalog.tables_of(metric):
        title = catalog.table(table).title
        own = receipts.get(table, ())
        near = [r for r in own if r.days and len(r.days) <= LONG_DAYS and first <= max(r.days) and min(r.days) <= last]
        rejected = [r for r in near if r.quarantined > REJECTED * max(r.delivered, 1)]
        if rejected:
            worst = max(rejected, key=lambda r: (r.quarantined / max(r.delivered, 1), r.key))
            total = sum(r.quarantined for r in rejected)
            why = max(sorted(worst.reasons), key=lambda name: worst.reasons[name]) if worst.reasons else "no reason"
            yield Suspect(
                "checks",
                f"{title}: {wording.count(total, 'row')} of the days around the onset "
                f"{'was' if total == 1 else 'were'} rejected, of {worst.name} "
                f"{wording.percent(worst.quarantined / max(worst.delivered, 1))} ({why}).",
            )
        usual = {said for r in own if r.days and max(r.days) < first for said in r.drift}
        drifted = [said for said in dict.fromkeys(said for r in near for said in r.drift) if said not in usual]
        if drifted:
            yield Suspect("schema", f"{title}: {' '.join(_sentence(d) for d in drifted[:2])}")
        before = [r for r in own if r.days and max(r.days) < incident.onset]
        after = [r for r in near if min(r.days) >= incident.onset_low]
        if before and after and before[-1].contract != after[0].contract:
            yield Suspect("schema", f"{title}: rows before and after the onset were checked by different contracts.")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _policies(catalog: Catalog, incident: Incident, policies: Sequence[tuple[Table, Row]]) -> Iterable[Suspect]:
    """Changes of policy that took effect near the onset, where they concern the incident."""
    said = []
    for table, row in policies:
        if abs((row["day"] - incident.onset).days) > POLICY_DAYS or not concerns(catalog, incident, row):
            continue
        said.append(
            Suspect(
                "policy",
                f"“{row['title']}” took effect on {wording.day(row['day'])} ({table.title[0].lower()}"
                f"{table.title[1:]}): what is counted may have changed, not what happens.",
            )
        )
    return list(dict.fromkeys(said))


def concerns(catalog: Catalog, incident: Incident, row: Row) -> bool:
    """Whether an announced change is of the incident's unit and segment, and of something its metric can be cut by."""
    asked = dict(c.split("=", 1) for c in conditions(incident.segment))
    tables = set(catalog.tables_of(catalog.metric(incident.metric)))
    units = [u.strip() for u in str(row.get(f"{catalog.unit}s") or row.get(catalog.unit) or "").split(",")]
    if incident.unit != EVERY_UNIT and any(units) and incident.unit not in units:
        return False
    about = [d.name for d in catalog.dimensions if row.get(d.name) is not None and d.name != catalog.unit]
    return all(tables <= set(catalog.reach[name]) and row[name] == asked.get(name, row[name]) for name in about)
