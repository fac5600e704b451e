"""The clock of deliveries, and the one that tests move by hand."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest

from health_pipeline.alerts.delivery import clock as deliveries
from health_pipeline.alerts.delivery.clock import Clock
from health_pipeline_tests.hand_clock import HandClock, SharedClock


def test_the_machines_clock_goes_on_by_itself_and_pauses_for_as_long_as_asked() -> None:
    machine = Clock()
    before, elapsed = machine.now(), machine.elapsed()
    machine.pause(0.02)
    machine.pause(-1)
    assert machine.elapsed() - elapsed >= 0.02
    assert before.tzinfo is dt.UTC and machine.now().tzinfo is dt.UTC


def test_a_clock_moved_by_hand_stands_still_until_somebody_pauses(clock: HandClock) -> None:
    began, elapsed = deliveries.now(), deliveries.elapsed()
    assert deliveries.now() == began
    deliveries.pause(90)
    deliveries.pause(-1)
    assert deliveries.now() == began + dt.timedelta(seconds=90)
    assert deliveries.elapsed() - elapsed == pytest.approx(90)
    clock.forward(dt.timedelta(seconds=30), hours=1)
    assert clock.now() == began + dt.timedelta(hours=1, minutes=2)


def test_time_passes_only_while_all_pause_and_no_further_than_the_first_of_them_waits(clock: HandClock) -> None:
    began, numbers, one_at_a_time = clock.now(), iter(range(1, 5)), threading.Lock()
    woken: list[tuple[float, int]] = []

    def work() -> int:
        with one_at_a_time:
            number = next(numbers)
        for _ in range(number):
            deliveries.pause(10 * number)
            woken.append(((clock.now() - began).total_seconds(), number))
        return number

    assert sorted(clock.at_once(work, times=4)) == [1, 2, 3, 4]
    assert [at for at, _ in woken] == sorted(at for at, _ in woken)
    assert sorted(woken) == sorted((10.0 * n * k, n) for n in range(1, 5) for k in range(1, n + 1))


def test_a_shared_clock_is_the_same_for_whoever_opens_its_file(tmp_path: Path) -> None:
    one = SharedClock(tmp_path / "clock")
    other, began = SharedClock(tmp_path / "clock"), one.now()
    other.pause(90)
    assert one.now() == other.now() == began + dt.timedelta(seconds=90)
