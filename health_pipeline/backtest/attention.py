"""What reports cost those who read them, under stated assumptions."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from health_pipeline.backtest.replay import Outcome, Reported

WEEK = 7


@dataclass(frozen=True)
class Minutes:
    """Minutes of somebody's time.

    Attributes:
        message: to read a message, open what it is about, and decide what to do.
        incident: to notice an incident in the list, whether or not there was a message about it.
    """

    message: float = 10.0
    incident: float = 1.0


@dataclass(frozen=True)
class Cost:
    """What a setting costs, over its judged days.

    Attributes:
        incidents, messages: on the days on which they were first reported, or sent.
        days: judged.
        per_day: judged day -> minutes.
    """

    incidents: int
    messages: int
    days: int
    per_day: Mapping[dt.date, float]

    def weekly(self, amount: float) -> float:
        """An amount of the whole period as an amount a week."""
        return WEEK * amount / self.days if self.days else 0.0

    @property
    def minutes(self) -> float:
        return sum(self.per_day.values())

    @property
    def median(self) -> float:
        """Minutes of the median day."""
        return float(np.median(list(self.per_day.values()))) if self.per_day else 0.0

    @property
    def most(self) -> float:
        """Minutes of the worst day."""
        return max(self.per_day.values(), default=0.0)


def cost(outcome: Outcome, minutes: Minutes) -> Cost:
    """Cost of all that was first reported, or sent, on a judged day.

    A message about an incident from the days lived through before counts on its day, like any other.
    """
    days = outcome.judged
    counted = set(days)
    listed = Counter(r.first.first_reported for r in outcome.incidents)
    sent = Counter(r.told for r in (*outcome.earlier, *outcome.incidents) if r.told in counted)
    per_day = {d: listed[d] * minutes.incident + sent[d] * minutes.message for d in days}
    return Cost(sum(listed[d] for d in days), sent.total(), len(days), per_day)


def minutes_of(reported: Iterable[Reported], minutes: Minutes, days: Sequence[dt.date]) -> float:
    """What some incidents cost in certain days."""
    counted = set(days)
    return sum(
        minutes.incident * (r.first.first_reported in counted) + minutes.message * (r.told in counted) for r in reported
    )
