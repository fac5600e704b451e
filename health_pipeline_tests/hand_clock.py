"""A clock for deliveries that stands still until somebody moves it, or until nobody has anything to do but wait."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from health_pipeline.alerts.delivery.clock import Clock

T = TypeVar("T")
NONE = dt.timedelta()
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
STUCK_SECONDS = 120
"""Of the machine: nobody waits longer for somebody else to come to an end."""


class HandClock(Clock):
    """In place of the machine's clock; tests take the fixture ``clock``, which puts it there.

    It begins at the present, and stands still. Whoever pauses moves it, and goes on at once: waiting for Slack's
    patience, for a pace, for the end of quiet hours costs no time, and what comes of it depends on no machine. ::

        def test_...(clock: HandClock, engine: sa.Engine, slack: Slack, put: Put) -> None:
            put("a", not_before=clock.now() + dt.timedelta(hours=8))
            assert deliver(engine, slack).pending == 1  # its budget ends first
            clock.forward(hours=8)
            assert deliver(engine, slack).sent == 1

    The fake Slack goes by it too: its ``ts`` and ``at``. Other processes (see :class:`SharedClock`), and what reads the
    machine's clock by itself, do not. Threads that deliver at the same time begin in :meth:`at_once`: there time passes
    only while all of them pause, as far as the first of them waits.
    """

    def __init__(self) -> None:
        self._now = dt.datetime.now(dt.UTC)
        self._wrong = NONE
        self._moved = threading.Condition()
        self._at_work = 1
        self._until: list[dt.datetime] = []  # when those who pause go on

    def now(self) -> dt.datetime:
        return self._now + self._wrong

    def elapsed(self) -> float:
        return self._now.timestamp()

    def set_wrong(self, by: dt.timedelta) -> None:
        """Somebody sets the time of day: it is wrong by so much from now on, and no time passes."""
        self._wrong = by

    def forward(self, by: dt.timedelta = NONE, **passed: float) -> None:
        """Let time pass; what else is given is in the words of ``timedelta``."""
        with self._moved:
            self._now += by + dt.timedelta(**passed)
            self._moved.notify_all()

    def pause(self, seconds: float) -> None:
        with self._moved:
            until = self._now + dt.timedelta(seconds=max(0.0, seconds))
            self._until.append(until)
            self._move_if_all_pause()
            over = self._moved.wait_for(lambda: self._now >= until, STUCK_SECONDS)
            self._until.remove(until)
            assert over, "somebody neither pauses nor comes to an end"

    def at_once(self, work: Callable[[], T], times: int) -> list[T]:
        """Do something in so many threads at the same time; what each of them returned."""

        def one() -> T:
            try:
                return work()
            finally:
                with self._moved:
                    self._at_work -= 1
                    self._move_if_all_pause()

        self._at_work = times
        try:
            with ThreadPoolExecutor(times) as pool:
                return [begun.result() for begun in [pool.submit(one) for _ in range(times)]]
        finally:
            self._at_work = 1

    def _move_if_all_pause(self) -> None:
        if self._until and len(self._until) >= self._at_work:
            self._now = max(self._now, min(self._until))
            self._moved.notify_all()


class SharedClock(Clock):
    """One clock of several processes of which one delivers at a time: it goes on from where a killed one has left it.

    Each puts one in place by itself, over the same file; whoever pauses moves it.
    """

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CREAT)
        if os.fstat(self._file).st_size == 0:
            self._set(dt.datetime.now(dt.UTC))

    def now(self) -> dt.datetime:
        return EPOCH + dt.timedelta(microseconds=int.from_bytes(os.pread(self._file, 8, 0), "big"))

    def elapsed(self) -> float:
        return self.now().timestamp()

    def pause(self, seconds: float) -> None:
        self._set(self.now() + dt.timedelta(seconds=max(0.0, seconds)))

    def _set(self, at: dt.datetime) -> None:
        os.pwrite(self._file, ((at - EPOCH) // dt.timedelta(microseconds=1)).to_bytes(8, "big"), 0)
