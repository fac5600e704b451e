"""The time that deliveries go by, and how they let it pass: nothing else of this folder reads a clock or sleeps.

What is due, who is taken for lost, how long a channel rests and when a pass ends are decided by it. How long a request
may take is not: a socket's timeout is the machine's own.
"""

from __future__ import annotations

import datetime as dt
import time


class Clock:
    """The machine's. Another one can take its place as :data:`CLOCK`: tests move theirs by hand."""

    def now(self) -> dt.datetime:
        """UTC."""
        return dt.datetime.now(dt.UTC)

    def elapsed(self) -> float:
        """Seconds since some instant; they go on evenly when the time of day is set."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Return when so many seconds are over."""
        time.sleep(max(0.0, seconds))


CLOCK = Clock()


def now() -> dt.datetime:
    """UTC."""
    return CLOCK.now()


def elapsed() -> float:
    """Seconds since some instant; they go on evenly when the time of day is set."""
    return CLOCK.elapsed()


def pause(seconds: float) -> None:
    """Return when so many seconds are over; at once when there are none."""
    CLOCK.pause(seconds)
