"""Where an incident stands with people: what they decided, and how often its metric was right before. Pure values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from health_pipeline.catalog.alerts import Verdict
from health_pipeline.catalog.model import EVERY_UNIT, Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

DELIVERY = "delivery"
"""Stands for the metric of a hole in the data, which has none."""


@dataclass(frozen=True)
class By:
    """Who did something, and when.

    Attributes:
        user: Slack's ID (``U…``), or ``cli:name`` from a terminal.
        at: UTC.
    """

    user: str
    at: dt.datetime


@dataclass(frozen=True)
class Snooze:
    """Silence until a date: for a metric in a segment, a metric anywhere, or everything in a segment.

    Attributes:
        metric: empty for every metric; :data:`DELIVERY` for holes in the data.
        segment: the segment as in the cube, with all that lies within it, or the total ("") alone; ``None`` for
            everywhere.
        until: the first day on which it is told again.
    """

    metric: str
    segment: str | None
    until: dt.date
    by: By

    def covers(self, metric: str, segment: str, day: dt.date) -> bool:
        """Whether it silences a series on a day."""
        if day >= self.until or (self.metric and self.metric != metric):
            return False
        if not self.segment:
            return self.segment is None or segment == ""
        return set(self.segment.split("|")) <= set(segment.split("|"))


@dataclass(frozen=True)
class Renewal:
    """What made an incident one that is to be acknowledged anew: whoever took notice before has not seen that.

    Attributes:
        at: when people were told, UTC; an acknowledgement from before counts no more.
        why: it flared up again, or its severity was raised.
    """

    at: dt.datetime
    why: Literal["reopened", "raised"]


@dataclass(frozen=True)
class Standing:
    """What people decided of one incident; the latest decision of each kind counts.

    Attributes:
        acknowledged: who took notice first, since it was to be acknowledged anew.
        assignee: user ID of whom it is assigned to; empty for nobody.
        verdict: what it was; empty when nobody has said.
        cause: why, of the causes declared or in the words of who decided.
        snooze: the one that silences it, if any.
        lapsed: who took notice first before ``renewed``.
        renewed: what made that count no more; ``None`` when nobody had taken notice.
    """

    acknowledged: By | None = None
    assignee: str = ""
    assigned: By | None = None
    verdict: Verdict | None = None
    cause: str = ""
    judged: By | None = None
    snooze: Snooze | None = None
    lapsed: By | None = None
    renewed: Renewal | None = None

    def is_taken_care_of(self, renewed: Renewal | None) -> bool:
        """Whether somebody acknowledged it, assigned it or judged it since it was to be acknowledged anew, if it was.

        Somebody may still be assigned from before: that stays, and is no sign that anybody has seen what is new.
        """
        done = (self.acknowledged, self.assigned, self.judged)
        return any(by is not None and (renewed is None or by.at >= renewed.at) for by in done)


@dataclass(frozen=True)
class TrackRecord:
    """How incidents of a metric were judged so far, of those with a verdict.

    Attributes:
        real, expected, false_alarm, new_normal: how many.
        low, high: 95 % interval of the precision (Wilson), the share that was no false alarm.
    """

    metric: str
    real: int
    expected: int
    false_alarm: int
    new_normal: int
    low: float
    high: float

    @property
    def judged(self) -> int:
        return self.real + self.expected + self.false_alarm + self.new_normal

    @property
    def precision(self) -> float:
        """Share of those judged that was no false alarm: something had changed; NaN when none was judged."""
        return 1.0 - self.false_alarm / self.judged if self.judged else float("nan")


def silenced_as(catalog: Catalog, incident: Incident) -> tuple[str, str]:
    """Metric and segment by which an incident is snoozed, and judged in a track record: its root's.

    A hole in the data is :data:`DELIVERY`, in the segment of the unit that did not deliver.
    """
    if incident.kind == "shift":
        return incident.metric, incident.segment
    return DELIVERY, "" if incident.unit == EVERY_UNIT else f"{catalog.unit}={incident.unit}"


def silence(snoozes: Iterable[Snooze], metric: str, segment: str, day: dt.date) -> Snooze | None:
    """The snooze that silences a series on a day, of several the one that lasts longest; ``None`` for none."""
    found = [snooze for snooze in snoozes if snooze.covers(metric, segment, day)]
    return max(found, key=lambda snooze: snooze.until, default=None)


def what_is_snoozed(catalog: Catalog, snooze: Snooze) -> str:
    """``everything in Indonesia``, ``overturn rate in beauty in Indonesia``, ``overturn rate everywhere``.

    Plain words, in which names from the data stand as they are.
    """
    what = {"": "everything", DELIVERY: "holes in the data"}.get(snooze.metric)
    if what is None:
        known = {metric.name: metric for metric in catalog.metrics}
        what = known[snooze.metric].title if snooze.metric in known else snooze.metric
        what = what[:1].lower() + what[1:] if what[1:2].islower() else what
    if snooze.segment is None:
        return f"{what} everywhere"
    return f"{what} in {_where(catalog, snooze.segment)}"


def _where(catalog: Catalog, segment: str) -> str:
    known = {dimension.name for dimension in catalog.dimensions}
    pairs = [part.partition("=")[::2] for part in segment.split("|") if part]
    labels = {name: catalog.dimension(name).label(value) if name in known else value for name, value in pairs}
    if not labels:
        return f"{wording.unit(catalog, EVERY_UNIT).lower()} taken together"
    unit = labels.pop(catalog.unit, "")
    return " in ".join(part for part in (", ".join(labels.values()), unit) if part)
