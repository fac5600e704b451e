"""Incidents with a life: yesterday's incidents, today's shifts and deliveries in, today's incidents out.

Shifts of one family of metrics in one unit that began together are one incident: the total and its parts, counts and
shares. It is *new* on the day first reported, *ongoing* while it is supported by significant shifts or can't be
judged, *recovered* once the headline series is back by half or more, and *settled* when the new level has lasted so
long that it is the baseline.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from health_pipeline.catalog.model import EVERY_UNIT, Catalog
from health_pipeline.incidents.model import Incident, Member, State
from health_pipeline.incidents.weight import weight

TOGETHER_DAYS = 3  # onsets so close belong together
QUIET_DAYS = 3  # a level without a significant day for so long is over, one way or the other
WORSE = 1.5  # a step in a series already reported is new when it is so much larger, on the log scale
EVENT_DAYS = 5  # known events so near the onset are shown beside it
CARRIED = 0.7  # a part that carries so much of its whole's excess is the headline
REMEMBERED_DAYS = 14  # what flares up again so soon after its end is the same incident
COMPLETE_DAYS = 3  # complete days that end a hole in the data

Row = Mapping[str, Any]


def advance(
    catalog: Catalog,
    day: dt.date,
    yesterday: Sequence[Incident],
    shifts: Sequence[Row],
    deliveries: Sequence[Row],
    recent: Mapping[str, Sequence[float]],
) -> list[Incident]:
    """Today's incidents: every open one, and those that ended lately.

    Args:
        day: today.
        yesterday: incidents of the day before.
        shifts: rows of ``shifts.schema.SHIFTS`` of today.
        deliveries: rows of ``raw.schema.DELIVERIES`` of today.
        recent: series -> its observed values of the last days, newest last, missing days left out.
    """
    remembered = [i for i in yesterday if i.ended is None or (day - i.ended).days <= REMEMBERED_DAYS]
    complete = _Complete(catalog, deliveries)
    assigned, fresh = _assign(catalog, remembered, shifts)
    today: list[Incident] = []
    for incident in remembered:
        if incident.kind == "data":
            continue
        rows = assigned.get(incident.id, [])
        if rows:
            today.append(_continue(catalog, incident, day, rows))
        elif incident.is_open:
            today.append(_without_support(incident, day, complete.judges(incident), recent.get(incident.series, ())))
        else:
            today.append(dataclasses.replace(incident, day=day))
    taken = {i.id for i in yesterday}
    for rows in fresh:
        started = _start(catalog, day, rows, taken)
        taken.add(started.id)
        today.append(started)
    today += _data_incidents(catalog, day, [i for i in yesterday if i.kind == "data" and i.is_open], deliveries)
    return sorted(today, key=lambda i: (i.kind, i.unit, i.family, i.onset, i.id))


class _Complete:
    """Which units delivered which tables completely today."""

    def __init__(self, catalog: Catalog, deliveries: Sequence[Row]) -> None:
        self._catalog = catalog
        self._judged = {row["table"] for row in deliveries}
        self._complete = {(row["table"], row["unit"]) for row in deliveries if row["finding"] == "complete"}
        self._holes = {row["table"] for row in deliveries if row["finding"] not in ("complete", "retired")}

    def judges(self, incident: Incident) -> bool:
        """Whether every table of the headline's metric was delivered by its unit; for totals, by every unit.

        A table on which no verdict was ever passed is complete; without any verdict at all nothing is.
        """
        if not self._judged:
            return False
        tables = [t for t in self._catalog.tables_of(self._catalog.metric(incident.metric)) if t in self._judged]
        if incident.unit == EVERY_UNIT:
            return not self._holes.intersection(tables)
        return all((table, incident.unit) in self._complete for table in tables)


def _family(catalog: Catalog, row: Row) -> tuple[str, str]:
    return catalog.metric(row["metric"]).family, row["unit"]


def _assign(
    catalog: Catalog, remembered: Sequence[Incident], shifts: Sequence[Row]
) -> tuple[dict[str, list[Row]], list[list[Row]]]:
    """Shifts by the remembered incident they belong to, and clusters of the rest, each the start of an incident."""
    assigned: dict[str, list[Row]] = {}
    rest: dict[tuple[str, str], list[Row]] = {}
    for row in shifts:
        family, unit = _family(catalog, row)
        home = None
        for incident in remembered:
            if (incident.family, incident.unit) == (family, unit) and _belongs(incident, row):
                nearer = home is None or abs(incident.onset - row["onset"]) < abs(home.onset - row["onset"])
                home = incident if nearer else home
        if home is not None:
            assigned.setdefault(home.id, []).append(row)
        else:
            rest.setdefault((family, unit), []).append(row)
    clusters: list[list[Row]] = []
    for _, rows in sorted(rest.items()):
        cluster: list[Row] = []
        for row in sorted(rows, key=lambda r: (r["onset"], r["series"])):
            if cluster and (row["onset"] - cluster[-1]["onset"]).days > TOGETHER_DAYS:
                clusters.append(cluster)
                cluster = []
            cluster.append(row)
        clusters.append(cluster)
    return assigned, clusters


def _belongs(incident: Incident, row: Row) -> bool:
    """Whether a shift began with the incident, or is the incident's own series without a larger step since."""
    slack = dt.timedelta(days=TOGETHER_DAYS)
    if incident.onset_low - slack <= row["onset"] <= incident.onset_high + slack:
        return True
    for member in incident.members:
        if member.series == row["series"] and (member.change > 0) == (row["change"] > 0):
            return abs(_log(row["change"])) < WORSE * abs(_log(member.change))
    return False


def _log(change: float) -> float:
    return math.log(max(1.0 + change, 1e-6))


def _member(row: Row) -> Member:
    return Member(
        series=row["series"], metric=row["metric"], segment=row["segment"], onset=row["onset"],
        expected=row["expected"], observed=row["observed"], change=row["change"], low=row["change_low"],
        high=row["change_high"], excess=row["excess"], q_value=row["q_value"],
    )  # fmt: skip


def _width(segment: str) -> int:
    """Dimensions of a segment; the total has none."""
    return len(segment.split("|")) if segment else 0


def _headline(catalog: Catalog, rows: Sequence[Row]) -> Row:
    """The weightiest shift of the widest segments, unless one part carries most of it."""

    def order(row: Row) -> tuple[float, bool, str]:
        weighs = weight(row["change"], row["change_low"], row["change_high"], row["excess"], row["q_value"])
        return -weighs, catalog.metric(row["metric"]).type != "count", row["series"]

    widest = min(_width(r["segment"]) for r in rows)
    whole = min((r for r in rows if _width(r["segment"]) == widest), key=order)
    parts = [
        r
        for r in rows
        if (whole["metric"] in (r["metric"], catalog.metric(r["metric"]).adds_up_to) and _width(r["segment"]) > widest)
        and r["excess"] * whole["excess"] > 0
        and abs(r["excess"]) >= CARRIED * abs(whole["excess"])
    ]
    return min(parts, key=order) if parts else whole


def _members(headline: Row, rows: Sequence[Row]) -> tuple[Member, ...]:
    """The headline first, then the others."""
    return _member(headline), *_others(headline["segment"], [r for r in rows if r is not headline])


def _others(segment: str, rows: Sequence[Row]) -> tuple[Member, ...]:
    """One metric of every segment but the headline's by size, then the segments' other metrics."""
    ordered = sorted(rows, key=lambda r: (-abs(r["excess"]), r["series"]))
    seen = {segment}
    first: list[Row] = []
    again: list[Row] = []
    for row in ordered:
        (again if row["segment"] in seen else first).append(row)
        seen.add(row["segment"])
    return tuple(_member(r) for r in [*first, *again])


def _described(catalog: Catalog, rows: Sequence[Row]) -> dict[str, Any]:
    """The fields of an incident that today's shifts decide."""
    head = _headline(catalog, rows)
    events = tuple(
        e.title for e in catalog.events
        if (not e.units or head["unit"] in e.units) and abs((e.day - head["onset"]).days) <= EVENT_DAYS
    )  # fmt: skip
    return {
        "onset": head["onset"], "onset_low": head["onset_low"], "onset_high": head["onset_high"],
        "series": head["series"], "metric": head["metric"], "segment": head["segment"], "shape": head["kind"],
        "direction": head["direction"], "expected": head["expected"], "observed": head["observed"],
        "change": head["change"], "change_low": head["change_low"], "change_high": head["change_high"],
        "excess": head["excess"], "q_value": head["q_value"], "tested": head["tested"],
        "members": _members(head, rows), "events": events,
    }  # fmt: skip


def _start(catalog: Catalog, day: dt.date, rows: Sequence[Row], taken: Iterable[str]) -> Incident:
    fields = _described(catalog, rows)
    family, unit = _family(catalog, rows[0])
    return Incident(
        day=day, id=_identity(unit, family, fields["onset"], taken), kind="shift", family=family, unit=unit,
        state="new", first_reported=day, last_reported=day, headline_reported=day, **fields,
    )  # fmt: skip


def _identity(unit: str, family: str, onset: dt.date, taken: Iterable[str]) -> str:
    """Readable, stable, and unique among the incidents around it."""
    slug = re.sub(r"[^a-z0-9]+", "-", unit.lower()).strip("-") or "unit"
    base = f"{slug}-{family.replace('_', '-')}-{onset.isoformat()}"
    names, name, number = set(taken), base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    return name


def _continue(catalog: Catalog, incident: Incident, day: dt.date, rows: Sequence[Row]) -> Incident:
    """An incident that today's shifts support.

    Its headline stays, with today's numbers when it is significant today and for some days with the last ones when
    only other series are, until a wider segment shifts.
    """
    fields = _described(catalog, rows) | {"headline_reported": day}
    events = tuple(dict.fromkeys([*incident.events, *fields["events"]]))
    wider = _width(fields["segment"]) < _width(incident.segment)
    if not wider and fields["series"] != incident.series:
        same = [r for r in rows if r["series"] == incident.series]
        if same:
            fields |= _described(catalog, same) | {"members": _members(same[0], rows)}
        elif (day - incident.headline_reported).days <= QUIET_DAYS:
            before = next(m for m in incident.members if m.series == incident.series)
            fields = {"members": (before, *_others(before.segment, rows)), "tested": fields["tested"]}
    fields["events"] = events
    return dataclasses.replace(incident, day=day, state="ongoing", last_reported=day, ended=None, **fields)


def _without_support(incident: Incident, day: dt.date, complete: bool, recent: Sequence[float]) -> Incident:
    """An incident none of whose shifts is significant today."""
    quiet = (day - incident.last_reported).days
    state: State = "ongoing"
    if complete and recent:
        back = _is_back(incident, recent[-1])
        if incident.shape == "spike" and back:
            state = "recovered"
        elif quiet >= QUIET_DAYS:
            state = "recovered" if back else "settled"
    elif quiet > 4 * QUIET_DAYS:
        state = "settled"
    ended = None if state == "ongoing" else day
    return dataclasses.replace(incident, day=day, state=state, ended=ended)


def _is_back(incident: Incident, value: float) -> bool:
    """Whether a value is nearer to what was expected than to the shifted level, on the log scale."""
    tiny = 1e-9 + 1e-6 * max(abs(incident.expected), abs(incident.observed))
    value, expected, observed = (math.log(max(v, 0.0) + tiny) for v in (value, incident.expected, incident.observed))
    return abs(value - expected) < abs(value - observed)


def _data_incidents(
    catalog: Catalog, day: dt.date, open_before: Sequence[Incident], deliveries: Sequence[Row]
) -> list[Incident]:
    """Holes in the data: one incident of a unit and table from the first incomplete day to the last, with backlog."""
    held = {(i.unit, i.table): i for i in open_before}
    came = {row["table"] for row in deliveries if row["volume"] is not None}
    today = []
    for row in deliveries:
        before, finding = held.get((row["unit"], row["table"])), row["finding"]
        if finding in ("complete", "retired"):
            if before is not None:
                today.append(_filled(before, day, retired=finding == "retired"))
            continue
        volume, expected = row["volume"] or 0.0, row["expected"] or 0.0
        numbers: dict[str, Any] = {
            "shape": finding, "expected": expected, "observed": volume, "excess": volume - expected,
            "direction": "up" if finding == "backlog" else "down",
            "change": volume / expected - 1.0 if expected else 0.0,
        }  # fmt: skip
        if before is not None:
            today.append(
                dataclasses.replace(
                    before, day=day, state="ongoing", last_reported=day, headline_reported=day, **numbers
                )
            )
            continue
        if row["table"] not in came:  # the source is late: that is no unit's incident
            continue
        onset = row["incomplete_since"]
        today.append(
            Incident(
                day=day,
                id=_identity(
                    row["unit"] if len(catalog.tables) == 1 else f"{row['unit']} {row['table']}", "delivery", onset, ()
                ),
                kind="data",
                family="delivery",
                unit=row["unit"],
                table=row["table"],
                state="new",
                first_reported=day,
                last_reported=day,
                headline_reported=day,
                onset=onset,
                onset_low=onset,
                onset_high=onset,
                series="",
                metric="",
                segment="",
                change_low=0.0,
                change_high=0.0,
                q_value=0.0,
                tested=0,
                **numbers,
            )  # fmt: skip
        )
    return today


def _filled(incident: Incident, day: dt.date, retired: bool) -> Incident:
    """A hole on a complete day: it is over after some of them, because a backlog may still come."""
    if retired:
        return dataclasses.replace(incident, day=day, state="settled", ended=day)
    over = (day - incident.last_reported).days >= COMPLETE_DAYS
    return dataclasses.replace(incident, day=day, state="recovered" if over else "ongoing", ended=day if over else None)
