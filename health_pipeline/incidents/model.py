"""What an incident is, and the columns it is kept in."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from health_pipeline.storage.columns import column

State = Literal["new", "ongoing", "recovered", "settled"]
Kind = Literal["shift", "data"]


@dataclass(frozen=True)
class Member:
    """One shift inside an incident.

    Attributes:
        series: ``metric|segment``.
        change: observed / expected - 1, with its 95 % interval ``low``..``high``.
        expected, observed: a typical day since onset, in the metric's unit (a share as 0..1, a delay in seconds).
        excess: things per day beyond expectation (negative when fewer).
    """

    series: str
    metric: str
    segment: str
    onset: dt.date
    expected: float
    observed: float
    change: float
    low: float
    high: float
    excess: float
    q_value: float


@dataclass(frozen=True)
class Incident:
    """Shifts of one family of metrics in one unit (here: one platform) that began together, or a hole in the data.

    Attributes:
        day: the day this row describes. An incident has one row per day while it is open, and for some days after it
            ended, so that what flares up again is the same incident.
        id: stable across days, e.g. ``TikTok-statements-2025-07-01`` (dates: the day first reported).
        kind: ``shift``, or ``data`` for a missing, nearly empty, partial or backlogged delivery.
        family: family of metrics, or ``delivery`` when kind is ``data``.
        unit: value of the delivering column (a platform, a market); ``all`` for totals over units.
        state: ``new`` on the day first reported, ``ongoing`` while shifts keep being significant, ``recovered``
            when the headline is back, ``settled`` when the new level has become the baseline.
        first_reported, last_reported: the first and the last day on which the detector reported it.
        headline_reported: the last day on which the headline shift was significant.
        onset, onset_low, onset_high: most likely first day of the change, and its interval.
        series, metric, segment: the headline shift, the widest segment that shifted ("" when kind is ``data``).
        shape: ``spike`` or ``level``; for kind ``data`` the finding: ``missing``, ``empty``, ``partial``, ``backlog``.
        direction: ``up`` or ``down``.
        expected, observed, change, change_low, change_high, excess, q_value: of the headline shift.
        tested: series tested on ``day``.
        table: kind ``data``: the table that was not delivered completely.
        ended: the day it recovered or settled; ``None`` while it is open.
        members: every shift of the incident on ``day``, the headline first, then by size of |excess|.
        events: titles of known events near the onset; coincident, not causal.
    """

    day: dt.date
    id: str
    kind: Kind
    family: str
    unit: str
    state: State
    first_reported: dt.date
    last_reported: dt.date
    headline_reported: dt.date
    onset: dt.date
    onset_low: dt.date
    onset_high: dt.date
    series: str
    metric: str
    segment: str
    shape: str
    direction: str
    expected: float
    observed: float
    change: float
    change_low: float
    change_high: float
    excess: float
    q_value: float
    tested: int
    table: str = ""
    ended: dt.date | None = None
    members: tuple[Member, ...] = ()
    events: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.ended is None


INCIDENTS = pa.schema(
    [
        column("day", pa.date32(), "the day this row describes"),
        column("id", pa.string(), "stable across days"),
        column("kind", pa.string(), "shift, or data for a hole in the data"),
        column("family", pa.string(), "family of metrics, or delivery"),
        column("unit", pa.string(), "the delivering unit, a platform or a market; `all` for totals over units"),
        column("state", pa.string(), "new, ongoing, recovered, settled"),
        column("first_reported", pa.date32(), "first day on which the detector reported it"),
        column("last_reported", pa.date32(), "last day on which the detector reported it"),
        column("headline_reported", pa.date32(), "last day on which the headline shift was significant"),
        column("onset", pa.date32(), "most likely first day"),
        column("onset_low", pa.date32(), "first day of the onset interval"),
        column("onset_high", pa.date32(), "last day of the onset interval"),
        column("series", pa.string(), "headline: metric|segment"),
        column("metric", pa.string(), "headline: metric"),
        column("segment", pa.string(), "headline: segment"),
        column("shape", pa.string(), "spike or level; for kind data the finding"),
        column("direction", pa.string(), "up or down"),
        column("expected", pa.float64(), "headline: a typical day had nothing changed, in the metric's unit"),
        column("observed", pa.float64(), "headline: a typical day since onset"),
        column("change", pa.float64(), "headline: observed / expected - 1"),
        column("change_low", pa.float64(), "lower end of the 95 % interval"),
        column("change_high", pa.float64(), "upper end of the 95 % interval"),
        column("excess", pa.float64(), "things per day beyond expectation"),
        column("q_value", pa.float64(), "Benjamini-Hochberg adjusted p-value"),
        column("tested", pa.int32(), "series judged that day"),
        column("table", pa.string(), "kind data: the table that was not delivered completely"),
        column("ended", pa.date32(), "the day it recovered or settled; null while open"),
        column("members", pa.string(), "JSON list of Member"),
        column("events", pa.string(), "JSON list of titles"),
    ]
)


def to_table(incidents: list[Incident]) -> pa.Table:
    """Incidents as rows, members and events as JSON text."""
    rows = []
    for incident in incidents:
        row = {f.name: getattr(incident, f.name) for f in dataclasses.fields(incident)}
        row["members"] = json.dumps([_member_json(m) for m in incident.members])
        row["events"] = json.dumps(list(incident.events))
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=INCIDENTS)


def from_table(table: pa.Table) -> list[Incident]:
    """The inverse of :func:`to_table`."""
    found = []
    for row in table.to_pylist():
        row["members"] = tuple(_member(m) for m in json.loads(row["members"]))
        row["events"] = tuple(json.loads(row["events"]))
        found.append(Incident(**row))
    return found


def _member_json(member: Member) -> dict[str, Any]:
    return dataclasses.asdict(member) | {"onset": member.onset.isoformat()}


def _member(values: dict[str, Any]) -> Member:
    return Member(**(values | {"onset": dt.date.fromisoformat(values["onset"])}))
