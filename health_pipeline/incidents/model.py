"""What an incident is, and the columns it is kept in."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from health_pipeline.stats.attribution import Estimate
from health_pipeline.storage.columns import column

State = Literal["new", "worsening", "ongoing", "recovered", "settled", "retracted", "merged"]
Kind = Literal["shift", "data"]
Cause = Literal["volume", "lateness", "checks", "schema", "policy"]

NEARLY_ALL = 0.85  # a part that carries so much of a change is named with it
COMMON = 0.6  # unless it makes more of the whole anyway


@dataclass(frozen=True)
class Member:
    """One shift inside an incident.

    Attributes:
        series: ``metric|segment``.
        change: observed / expected - 1, with its 95 % interval ``low``..``high``.
        expected, observed: a typical day since onset, in the metric's unit (a share as 0..1, a delay in seconds).
        excess: things per day beyond expectation (negative when fewer).
        reported_on: the day of its report, which with the series identifies it from day to day.
        state: of the shift: ``new``, ``ongoing``, ``recovered`` or ``settled``.
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
    reported_on: dt.date
    state: str

    @property
    def is_open(self) -> bool:
        return self.state in ("new", "ongoing")


@dataclass(frozen=True)
class Reach:
    """How far an incident goes: its blast radius, over the shifts that are not over.

    Attributes:
        segments, metrics: how many different ones.
        units: which, sorted; ``all`` for totals over units.
        share: what the root's segment makes of its unit (or of all units) in what the metric is taken over: of the
            exposure of a share or rate, of the expected amount of a count; ``None`` where that is not known.
        share_of: the segment it is a share of.
    """

    segments: int = 0
    metrics: int = 0
    units: tuple[str, ...] = ()
    share: float | None = None
    share_of: str = ""


@dataclass(frozen=True)
class Contribution:
    """What one segment adds to a change, in the metric's unit (a count: things a day).

    Attributes:
        usual: its share of the whole's denominator (of a count: of the whole) before.
    """

    segment: str
    total: Estimate
    usual: float


@dataclass(frozen=True)
class Explanation:
    """Where a change comes from. See :mod:`.explain`.

    Attributes:
        segment: whose change is split; the root's, or that of a wider one it lies in.
        dimension: by whose values it is split.
        total: the change a day, in the metric's unit.
        rate, mix: for a share, rate or ratio: the part from values that changed within segments, and the part from
            segments that grew or shrank; they add up to ``total``. ``None`` for a count.
        parts: segments that contribute most, the largest first.
        first, last: the days compared with the four weeks before the onset.
    """

    segment: str
    dimension: str
    total: Estimate
    rate: Estimate | None
    mix: Estimate | None
    parts: tuple[Contribution, ...]
    first: dt.date
    last: dt.date

    @property
    def is_concentrated(self) -> bool:
        """Whether nearly all of the change comes from one part, surely, and more than its size would have it."""
        first, total = self.parts[0], self.total.value
        sure = min(first.total.low * total, first.total.high * total) > 0
        return sure and first.usual <= COMMON and NEARLY_ALL <= first.total.value / total <= 2 - NEARLY_ALL


@dataclass(frozen=True)
class Suspect:
    """A reason to ask whether it is the data, as a sentence."""

    kind: Cause
    sentence: str


@dataclass(frozen=True)
class Incident:
    """Shifts that are one event, or a hole in the data.

    Attributes:
        day: the day this row describes. An incident has one row per day while it is open, and for some days after it
            ended, so that what flares up again is the same incident.
        id: stable across days, e.g. ``tiktok-statements-2025-07-01``: unit, family and onset as first told.
        kind: ``shift``, or ``data`` for a missing, nearly empty, partial or backlogged delivery.
        family: family of the root's metric when first reported, or ``delivery`` when kind is ``data``.
        unit: of the root: value of the delivering column (a platform, a market); ``all`` for totals over units.
        state: ``new`` on the day first reported, ``worsening`` for some days after it has grown, ``ongoing``,
            ``recovered`` when it is back, ``settled`` when the new level is what is usual now, ``retracted`` when
            corrected data no longer show it, ``merged`` when it turned out to be part of another.
        first_reported, last_reported: the first and the last day on which the detector reported it.
        headline_reported: the last day on which the root's shift was not over.
        onset, onset_low, onset_high: most likely first day of the change, and its interval.
        series, metric, segment: the root: the shift that explains the others best ("" when kind is ``data``).
        shape: ``spike``, ``level`` or ``slope``; for kind ``data`` the finding: ``missing``, ``empty``, ``partial``,
            ``backlog``.
        direction: ``up`` or ``down``.
        expected, observed, change, change_low, change_high, excess, q_value: of the root's shift.
        tested: series tested on ``day``.
        table: kind ``data``: the table that was not delivered completely.
        ended: the day it ended, in whatever way; ``None`` while it is open.
        members: every shift of the incident on ``day``, the root first, then by size of |excess|.
        events: titles of known events near the onset; coincident, not causal.
        worse_beyond: the change beyond which it is worse than told: the far end of the interval when last told.
        worsened_on: the last day on which it grew.
        merged_into: the incident of which it turned out to be a part.
        reach: its blast radius.
        explanation: where the root's change comes from; ``None`` when it can't be split.
        suspects: "could it be the data?"; empty when nothing speaks for it.
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
    worse_beyond: float = 0.0
    worsened_on: dt.date | None = None
    merged_into: str = ""
    reach: Reach = Reach()
    explanation: Explanation | None = None
    suspects: tuple[Suspect, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.ended is None


INCIDENTS = pa.schema(
    [
        column("day", pa.date32(), "the day this row describes"),
        column("id", pa.string(), "stable across days"),
        column("kind", pa.string(), "shift, or data for a hole in the data"),
        column("family", pa.string(), "family of metrics, or delivery"),
        column("unit", pa.string(), "of the root: a platform or a market; `all` for totals over units"),
        column("state", pa.string(), "new, worsening, ongoing, recovered, settled, retracted, merged"),
        column("first_reported", pa.date32(), "first day on which the detector reported it"),
        column("last_reported", pa.date32(), "last day on which a shift of it was not over"),
        column("headline_reported", pa.date32(), "last day on which the root's shift was not over"),
        column("onset", pa.date32(), "most likely first day"),
        column("onset_low", pa.date32(), "first day of the onset interval"),
        column("onset_high", pa.date32(), "last day of the onset interval"),
        column("series", pa.string(), "root: metric|segment"),
        column("metric", pa.string(), "root: metric"),
        column("segment", pa.string(), "root: segment"),
        column("shape", pa.string(), "spike, level or slope; for kind data the finding"),
        column("direction", pa.string(), "up or down"),
        column("expected", pa.float64(), "root: a typical day had nothing changed, in the metric's unit"),
        column("observed", pa.float64(), "root: a typical day since onset"),
        column("change", pa.float64(), "root: observed / expected - 1"),
        column("change_low", pa.float64(), "lower end of the 95 % interval"),
        column("change_high", pa.float64(), "upper end of the 95 % interval"),
        column("excess", pa.float64(), "things per day beyond expectation"),
        column("q_value", pa.float64(), "root: as at its report"),
        column("tested", pa.int32(), "series judged that day"),
        column("table", pa.string(), "kind data: the table that was not delivered completely"),
        column("ended", pa.date32(), "the day it ended; null while open"),
        column("members", pa.string(), "JSON list of Member"),
        column("events", pa.string(), "JSON list of titles"),
        column("worse_beyond", pa.float64(), "change beyond which it is worse than told"),
        column("worsened_on", pa.date32(), "last day on which it grew; null when it did not"),
        column("merged_into", pa.string(), "id of the incident of which it is a part"),
        column("reach", pa.string(), "JSON of Reach: segments, metrics, units, share of the unit"),
        column("explanation", pa.string(), "JSON of Explanation: rate, mix, segments with intervals; null for none"),
        column("suspects", pa.string(), "JSON list of Suspect: could it be the data?"),
    ]
)


def to_table(incidents: list[Incident]) -> pa.Table:
    """Incidents as rows, what has parts as JSON text."""
    rows = []
    for incident in incidents:
        row = {f.name: getattr(incident, f.name) for f in dataclasses.fields(incident)}
        row["members"] = _json([dataclasses.asdict(m) for m in incident.members])
        row["events"] = _json(list(incident.events))
        row["reach"] = _json(dataclasses.asdict(incident.reach))
        row["explanation"] = _json(dataclasses.asdict(incident.explanation)) if incident.explanation else None
        row["suspects"] = _json([dataclasses.asdict(s) for s in incident.suspects])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=INCIDENTS)


def from_table(table: pa.Table) -> list[Incident]:
    """The inverse of :func:`to_table`."""
    found = []
    for row in table.to_pylist():
        row["members"] = tuple(_member(m) for m in json.loads(row["members"]))
        row["events"] = tuple(json.loads(row["events"]))
        row["reach"] = _reach(json.loads(row["reach"]))
        row["explanation"] = _explanation(json.loads(row["explanation"])) if row["explanation"] else None
        row["suspects"] = tuple(Suspect(**s) for s in json.loads(row["suspects"]))
        found.append(Incident(**row))
    return found


def _json(value: Any) -> str:
    return json.dumps(value, default=dt.date.isoformat)


def _member(values: dict[str, Any]) -> Member:
    return Member(**values | {name: dt.date.fromisoformat(values[name]) for name in ("onset", "reported_on")})


def _reach(values: dict[str, Any]) -> Reach:
    return Reach(**values | {"units": tuple(values["units"])})


def _explanation(values: dict[str, Any]) -> Explanation:
    return Explanation(
        **values
        | {name: Estimate(**values[name]) if values[name] else None for name in ("total", "rate", "mix")}
        | {"parts": tuple(Contribution(**p | {"total": Estimate(**p["total"])}) for p in values["parts"])}
        | {name: dt.date.fromisoformat(values[name]) for name in ("first", "last")}
    )
