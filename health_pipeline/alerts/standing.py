"""Where an incident stands with people: what they decided, and how often its metric was right before. Pure values."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from health_pipeline.catalog.alerts import Verdict


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
        metric: empty for every metric.
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
class Standing:
    """What people decided of one incident; the latest decision of each kind counts.

    Attributes:
        acknowledged: who took notice first.
        assignee: user ID of whom it is assigned to; empty for nobody.
        verdict: what it was; empty when nobody has said.
        cause: why, of the causes declared or in the words of who decided.
        snooze: the one that silences it, if any.
    """

    acknowledged: By | None = None
    assignee: str = ""
    assigned: By | None = None
    verdict: Verdict | None = None
    cause: str = ""
    judged: By | None = None
    snooze: Snooze | None = None


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
