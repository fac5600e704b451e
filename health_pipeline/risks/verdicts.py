"""What people said of incidents, as evidence: how often each metric is right, and which incidents are answered.

Verdicts are given in Slack or at a terminal, and are recorded to the right of this stage; here they come in as values.
Right is what was no false alarm: something had changed. A metric with few verdicts is drawn to all metrics, and these
to what the detector promises, which is that of its reports at most ``false_discovery_rate`` are false (beta-binomial
with a prior of :data:`STRENGTH` verdicts, twice)::

    promised  = 1 - false_discovery_rate
    usual     = (right, of all metrics + STRENGTH x promised) / (judged, of all metrics + STRENGTH)
    precision = (right, of the metric + STRENGTH x usual) / (judged, of the metric + STRENGTH)
    record    = precision / promised

``record`` is a factor of the score of every incident of the metric: 1 as long as nobody has said anything.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from health_pipeline.catalog.alerts import Verdict
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline.risks.schema import TRACK_RECORDS

STRENGTH = 10.0
"""Verdicts that an expectation weighs as much as."""
VERDICTS: tuple[Verdict, ...] = ("real", "expected", "false_alarm", "new_normal")
ANSWERED: tuple[Verdict, ...] = ("false_alarm", "expected", "new_normal")
"""Verdicts after which there is nothing more to look at."""


@dataclass(frozen=True)
class Judged:
    """The verdict that counts of one incident.

    Attributes:
        incident: its id, as it is called now.
        metric: by which it is judged: its root's.
        at: when it was given, UTC.
    """

    incident: str
    metric: str
    verdict: Verdict
    at: dt.datetime


Verdicts: TypeAlias = Callable[[dt.datetime | None], Sequence[Judged]]
"""A moment -> the verdicts that counted then; ``None``: that count now."""


def none_given(_: dt.datetime | None) -> Sequence[Judged]:
    """As long as nobody has judged anything."""
    return ()


@dataclass(frozen=True)
class TrackRecord:
    """How incidents of a metric were judged, and how often they are therefore expected to be right.

    Attributes:
        precision: drawn to the other metrics'.
        record: over what is promised.
    """

    counts: Mapping[Verdict, int]
    precision: float
    record: float
    usual: float

    @property
    def judged(self) -> int:
        return sum(self.counts.values())

    @property
    def right(self) -> int:
        return self.judged - self.counts.get("false_alarm", 0)


@dataclass(frozen=True)
class Said:
    """What is known of people's verdicts at some time."""

    promised: float = 1.0
    judged: Mapping[str, Judged] = field(default_factory=dict)
    counts: Mapping[str, Mapping[Verdict, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: Catalog, judged: Sequence[Judged]) -> Said:
        """Of verdicts on incidents; those on holes in the data, which have no score, are left out."""
        metrics = {m.name for m in catalog.metrics}
        own = [j for j in judged if j.metric in metrics]
        counts: dict[str, Counter[Verdict]] = {}
        for j in own:
            counts.setdefault(j.metric, Counter())[j.verdict] += 1
        promised = 1.0 - catalog.ecosystem.detection.false_discovery_rate
        return cls(promised, {j.incident: j for j in own}, counts)

    def track_record(self, metric: str) -> TrackRecord:
        """Of a metric, whether or not anything was said of it."""
        right = sum(n for own in self.counts.values() for verdict, n in own.items() if verdict != "false_alarm")
        total = sum(n for own in self.counts.values() for n in own.values())
        usual = (right + STRENGTH * self.promised) / (total + STRENGTH)
        own = self.counts.get(metric, {})
        judged = sum(own.values())
        precision = (judged - own.get("false_alarm", 0) + STRENGTH * usual) / (judged + STRENGTH)
        return TrackRecord(own, precision, precision / self.promised, usual)

    def verdict_on(self, incident: Incident) -> Judged | None:
        """The verdict on an incident; ``None`` too when it has grown since: that, nobody has judged yet.

        Whoever judged on a day saw what was known by the end of the day before.
        """
        found = self.judged.get(incident.id)
        grown = incident.worsened_on
        return None if found is None or (grown is not None and grown >= found.at.date()) else found


def track_records(said: Said, day: dt.date) -> pa.Table:
    """Rows of :data:`TRACK_RECORDS`: of every metric with a verdict, by name."""
    from scipy.special import betaincinv  # takes a while to load

    rows: list[dict[str, object]] = []
    for metric in sorted(said.counts):
        told = said.track_record(metric)
        a = told.right + STRENGTH * told.usual
        b = told.judged - told.right + STRENGTH * (1.0 - told.usual)
        low, high = (float(betaincinv(a, b, tail)) for tail in (0.025, 0.975))
        rows.append(
            {
                "day": day, "metric": metric, "judged": told.judged, "raw": told.right / told.judged,
                "precision": told.precision, "low": low, "high": high, "record": told.record,
                **{str(verdict): told.counts.get(verdict, 0) for verdict in VERDICTS},
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TRACK_RECORDS)
