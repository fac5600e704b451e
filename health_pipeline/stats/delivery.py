"""Is a unit's delivery complete, judged day by day from its volume?

A missing day is not a zero, half a day is not a fall, and a backlog is not a rise. The rule follows an outage
through its life:

* *missing*: nothing was delivered. *empty*: less than ``EMPTY`` of the expected volume.
* *retired*: nothing for ``RETIRED`` days. Should the unit come back, it starts anew.
* *partial*: within ``RAMP`` days of such a day, less than ``PARTIAL`` of the expected volume. After that a low
  volume is a level like any other, and is for the detector to report.
* *backlog*: within ``CATCH_UP`` days of the outage, more than ``BACKLOG`` times the expected volume, as long as what
  was owed has not been delivered. So a rise after an outage that owed little is a rise.

* *settling*: an ordinary volume within ``RAMP`` days of a backlog while something is still owed. What arrives then is
  a mixture of the day's and of earlier days' rows, so that shares are no day's shares.

Only volumes up to the day are used. The expected volume is the median of the last ``MEMORY`` complete days.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

Finding = Literal["complete", "missing", "empty", "partial", "backlog", "settling", "retired"]

EMPTY = 0.02
PARTIAL = 0.6
RAMP = 3
BACKLOG = 1.3
CATCH_UP = 14
MEMORY = 28
RETIRED = 60  # days in a row without any delivery, after which the unit is not expected any more
LEARNING = 7  # complete days before anything but a missing day is judged


@dataclass(frozen=True)
class State:
    """What yesterday leaves to today.

    Attributes:
        recent: volumes of the last complete days, oldest first, at most ``MEMORY``.
        owed: volume expected during the outage and not delivered since.
        since: days since the outage's last missing or empty day; ``None`` when there was no outage lately.
        silent: days in a row without any delivery.
        backlog_age: days since the last backlog of this outage; ``None`` when there was none.
    """

    recent: tuple[float, ...] = ()
    owed: float = 0.0
    since: int | None = None
    silent: int = 0
    backlog_age: int | None = None

    @property
    def expected(self) -> float | None:
        return statistics.median(self.recent) if len(self.recent) >= LEARNING else None


def judge(state: State, volume: float | None) -> tuple[Finding, State]:
    """Judge one day of one unit that has delivered before.

    Args:
        state: as left by the day before; ``State()`` for the unit's first day.
        volume: what was delivered; ``None`` when nothing was.
    """
    expected = state.expected
    if volume is None:
        silent = state.silent + 1
        if silent > RETIRED:
            return "retired", State(silent=silent)
        return "missing", State(state.recent, state.owed + (expected or 0.0), 0, silent)
    if expected is not None:
        short = expected - volume
        if volume < EMPTY * expected:
            return "empty", State(state.recent, state.owed + short, 0)
        if state.since is not None:
            days = state.since + 1
            if days <= RAMP and volume < PARTIAL * expected:
                return "partial", State(state.recent, state.owed + short, days)
            owes = days <= CATCH_UP and state.owed > 0.25 * expected
            if owes and volume > BACKLOG * expected:
                return "backlog", State(state.recent, state.owed + short, days, 0, 0)
            if owes and state.backlog_age is not None and state.backlog_age < RAMP:
                return "settling", State(state.recent, state.owed, days, 0, state.backlog_age + 1)
    return "complete", _complete(state, volume)


def nothing_to_tell(state: State) -> tuple[Finding, State]:
    """Judge a day without rows of a unit that has none now and then, when the source did deliver: it is a zero."""
    return "complete", _complete(state, 0.0)


def _complete(state: State, volume: float) -> State:
    since = None if state.since is None or state.since >= CATCH_UP else state.since + 1
    recent = (*state.recent, volume)[-MEMORY:]
    return State(recent, state.owed if since is not None else 0.0, since)
