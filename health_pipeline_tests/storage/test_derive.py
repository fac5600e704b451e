"""Exactly what is out of date is computed, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.storage.derive import Derivation, Rows, derive, stale_days
from health_pipeline.storage.lake import Lake, LakeTable

FIRST = dt.date(2025, 9, 1)
SCHEMA = pa.schema([("value", pa.int64())])
Inputs = Callable[[dt.date], Iterable[tuple[LakeTable, Sequence[dt.date]]]]
WINDOW = 3


def day(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


DAYS = [day(i) for i in range(12)]


def rows(*values: int) -> pa.Table:
    return pa.table({"value": values}, schema=SCHEMA) if values else SCHEMA.empty_table()


def total(table: LakeTable, days: Sequence[dt.date]) -> int:
    return sum(table.read(days)["value"].to_pylist())


class Steps:
    """source -> halved (value // 2) -> windowed (sum of three days); source -> running (sum so far, at most 100)."""

    def __init__(self, folder: Path, version: str = "1") -> None:
        lake = Lake(folder, "eco")
        names = ("source", "halved", "windowed", "running")
        self.source, self.halved, self.windowed, self.running = (lake.table("stage", n, SCHEMA) for n in names)
        self.version = version

    def put(self, **values: int) -> None:
        """``put(d0=5)``: the source of day 0 is 5."""
        for name, value in values.items():
            self.source.publish(day(int(name[1:])), rows(value))

    def fill(self) -> None:
        for i, d in enumerate(DAYS):
            self.source.publish(d, rows(2 * i))

    def derivation(
        self, table: LakeTable, inputs: Inputs, value: Callable[[dt.date], int], sequential: bool = False
    ) -> Derivation:
        def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
            for d in days:
                yield d, [rows(value(d))]

        return Derivation([table], inputs, self.version, compute, sequential=sequential)

    @property
    def halve(self) -> Derivation:
        return self.derivation(self.halved, lambda d: [(self.source, [d])], lambda d: total(self.source, [d]) // 2)

    @property
    def sum_window(self) -> Derivation:
        def window(d: dt.date) -> list[dt.date]:
            return [d - dt.timedelta(days=i) for i in range(WINDOW - 1, -1, -1)]

        return self.derivation(
            self.windowed, lambda d: [(self.halved, window(d))], lambda d: total(self.halved, window(d))
        )

    @property
    def run(self) -> Derivation:
        def yesterday(d: dt.date) -> list[dt.date]:
            return [d - dt.timedelta(days=1)]

        return self.derivation(
            self.running,
            lambda d: [(self.source, [d]), (self.running, yesterday(d))],
            lambda d: min(100, total(self.running, yesterday(d)) + total(self.source, [d])),
            sequential=True,
        )

    def derive(self) -> list[list[int]]:
        """Bring everything up to date; the numbers of the days computed, per step."""
        found = [derive(d, DAYS).computed for d in (self.halve, self.sum_window, self.run)]
        return [[(d - FIRST).days for d in days] for days in found]


def test_of_what_is_for_the_day_only_the_newest_days_are_computed(steps: Steps) -> None:
    recent = dataclasses.replace(steps.halve, newest=3)
    assert stale_days(recent, DAYS) == DAYS[-3:]
    done = derive(recent, DAYS)
    assert done.computed == DAYS[-3:]
    assert [sum(done.rows[d]) for d in DAYS] == [0] * (len(DAYS) - 3) + [1] * 3
    assert stale_days(recent, DAYS) == []
    steps.put(d1=8, d11=8)
    assert derive(recent, DAYS).computed == [day(11)], "what is older stays as it is"
    assert derive(recent, [day(1)]).computed == [day(1)], "but for days asked for by themselves"


@pytest.fixture
def folder(workplace: Path) -> Path:
    """In memory: durability is not what these tests are about."""
    return Path(tempfile.mkdtemp(dir=workplace))


@pytest.fixture
def steps(folder: Path) -> Steps:
    steps = Steps(folder)
    steps.fill()
    return steps


EVERY = list(range(len(DAYS)))


def test_everything_is_computed_once_and_then_nothing(steps: Steps) -> None:
    assert steps.derive() == [EVERY, EVERY, EVERY]
    assert steps.derive() == [[], [], []]
    assert steps.windowed.read()["value"].to_pylist() == [0, 1, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30]


def test_publishing_an_input_again_with_the_same_rows_computes_nothing(steps: Steps) -> None:
    steps.derive()
    steps.fill()
    assert steps.derive() == [[], [], []]


def test_a_changed_input_recomputes_exactly_the_days_that_read_it(steps: Steps) -> None:
    steps.derive()
    steps.put(d4=100)
    assert steps.derive()[:2] == [[4], [4, 5, 6]]
    assert steps.windowed.read([day(5)])["value"].to_pylist() == [3 + 50 + 5]


def test_contents_that_come_out_unchanged_stop_the_wave(steps: Steps) -> None:
    steps.derive()
    steps.put(d4=9)  # 9 // 2 == 8 // 2
    result = derive(steps.halve, DAYS)
    assert (result.computed, result.changed) == ([day(4)], [])
    assert derive(steps.sum_window, DAYS).computed == []


def test_a_sequential_wave_runs_until_nothing_changes_any_more(steps: Steps) -> None:
    steps.derive()
    assert steps.running.read()["value"].to_pylist() == [0, 2, 6, 12, 20, 30, 42, 56, 72, 90, 100, 100]
    steps.put(d8=17)
    # The sum of day 8 and 9 differ; on day 10 it is at its limit as before, so day 11 is never touched.
    assert steps.derive()[2] == [8, 9, 10]
    assert steps.running.read([day(9)])["value"].to_pylist() == [91]


def test_a_sequential_derivation_finds_days_that_only_become_stale_on_its_way(steps: Steps) -> None:
    steps.derive()
    steps.put(d2=5)
    assert stale_days(steps.run, DAYS) == [day(2)]
    assert derive(steps.run, DAYS).computed == [day(i) for i in range(2, 11)]


def traced(step: Derivation, watch: Callable[[dt.date], object]) -> tuple[Derivation, list[list[int]], list[object]]:
    """The step, the runs of days it is given, and what is seen when the day after each is asked for."""
    runs: list[list[int]] = []
    seen: list[object] = []

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[Rows]]]:
        runs.append([(d - FIRST).days for d in days])
        for d, tables in step.compute(days):
            yield d, tables
            seen.append(watch(d))

    return Derivation(step.outputs, step.inputs, step.version, compute, sequential=True), runs, seen


def test_a_sequential_derivation_is_given_runs_of_consecutive_stale_days(steps: Steps) -> None:
    run, runs, _ = traced(steps.run, lambda d: None)
    derive(run, [day(i) for i in (0, 1, 2, 5, 6, 9)])
    assert runs == [[0, 1, 2], [5, 6], [9]]


def test_days_of_a_run_are_published_one_before_the_next(steps: Steps) -> None:
    """So a step may read yesterday's rows, and a power cut costs the day under way."""
    run, runs, seen = traced(steps.run, lambda d: steps.running.days()[-1])
    derive(run, DAYS)
    assert runs == [EVERY]
    assert seen == DAYS


def test_a_run_is_left_when_a_day_comes_out_as_it_was(steps: Steps) -> None:
    """A step that keeps its state in hand would otherwise go on over days that hold."""
    derive(steps.run, DAYS)
    steps.put(d1=3, d2=3)  # 2 + 4 -> 3 + 3: from day 2 on the sum is as before
    run, runs, _ = traced(steps.run, lambda d: None)
    result = derive(run, DAYS)
    assert result.computed == [day(1), day(2)]
    assert result.changed == [day(1)]
    assert runs == [[1, 2]]


def test_a_run_that_was_left_is_taken_up_where_days_are_stale_again(steps: Steps) -> None:
    derive(steps.run, DAYS)
    steps.put(d1=3, d2=3, d7=15)
    run, runs, _ = traced(steps.run, lambda d: None)
    assert derive(run, DAYS).computed == [day(i) for i in (1, 2, 7, 8, 9, 10)]
    assert [numbers[0] for numbers in runs[:2]] == [1, 7]
    assert derive(steps.run, DAYS).computed == []


def test_a_whole_run_that_has_become_stale_is_left_half_way_when_nothing_changes_any_more(steps: Steps) -> None:
    """Days were stale together, and the first of them made the rest hold again."""
    derive(steps.run, DAYS)
    before = [steps.running.partition(d) for d in DAYS]
    steps.put(d4=9, d5=9)  # both are stale at once; 8 + 10 = 9 + 9
    run, runs, _ = traced(steps.run, lambda d: None)
    assert derive(run, DAYS).computed == [day(4), day(5)]
    assert runs == [[4, 5]]
    after = [steps.running.partition(d) for d in DAYS]
    assert [a.content == b.content for a, b in zip(after, before, strict=True) if a and b] == [i != 4 for i in EVERY]


def test_another_version_recomputes_everything_and_the_same_contents_stop_there(folder: Path) -> None:
    Steps(folder).fill()
    Steps(folder).derive()
    newer = Steps(folder, version="2")
    result = derive(newer.halve, DAYS)
    assert (result.computed, result.changed) == (DAYS, [])
    assert derive(Steps(folder).sum_window, DAYS).computed == []


def test_what_else_a_day_follows_from_counts_too(steps: Steps) -> None:
    derive(steps.halve, DAYS)
    plain = steps.halve

    def of(text: str) -> Derivation:
        return Derivation(
            plain.outputs, plain.inputs, plain.version, plain.compute,
            extra=lambda d: text if d == day(3) else "",
        )  # fmt: skip

    assert derive(of("a"), DAYS).computed == [day(3)]
    assert derive(of("a"), DAYS).computed == []
    assert derive(of("b"), DAYS).computed == [day(3)]


def test_a_missing_input_differs_from_an_empty_one(steps: Steps) -> None:
    later = day(20)
    assert derive(steps.halve, [later]).computed == [later]
    assert derive(steps.halve, [later]).computed == []
    steps.source.publish(later, rows())
    assert derive(steps.halve, [later]).computed == [later]


def test_only_the_days_asked_for_are_brought_up_to_date_in_any_order_and_once(steps: Steps) -> None:
    asked = [day(5), day(2), day(5)]
    result = derive(steps.halve, asked)
    assert result.computed == [day(2), day(5)]
    assert steps.halved.days() == [day(2), day(5)]
    assert result.rows == {day(2): [1], day(5): [1]}
    assert derive(steps.halve, asked).unchanged == 2


def test_every_output_is_published_for_every_day_and_a_lost_one_is_made_again(steps: Steps) -> None:
    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for d in days:
            yield d, [steps.source.read([d]), rows()]

    both = Derivation([steps.halved, steps.windowed], lambda d: [(steps.source, [d])], "1", compute)
    result = derive(both, DAYS)
    assert result.rows[day(3)] == [1, 0]
    assert steps.windowed.days() == DAYS
    (steps.windowed.folder / f"day={day(3)}" / "_current.json").unlink()
    assert derive(both, DAYS).computed == [day(3)]


@pytest.mark.parametrize("sequential", [False, True])
def test_a_failure_half_way_keeps_the_days_done_and_the_next_run_does_the_rest(steps: Steps, sequential: bool) -> None:
    right = steps.run if sequential else steps.halve

    def fail_on_the_seventh(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for d, tables in right.compute(days):
            if d == day(6):
                raise RuntimeError("the power went off")
            yield d, tables

    wrong = Derivation(right.outputs, right.inputs, right.version, fail_on_the_seventh, sequential=sequential)
    with pytest.raises(RuntimeError, match="power"):
        derive(wrong, DAYS)
    assert right.outputs[0].days() == DAYS[:6]
    assert derive(right, DAYS).computed == DAYS[6:]


@pytest.mark.parametrize("sequential", [False, True])
def test_progress_counts_up_to_every_day_asked_for(steps: Steps, sequential: bool) -> None:
    derivation = steps.run if sequential else steps.halve
    derive(derivation, DAYS[:4])
    seen: list[tuple[int, int]] = []
    derive(derivation, DAYS, lambda done, of: seen.append((done, of)))
    assert seen[-1] == (len(DAYS), len(DAYS))
    assert seen == sorted(seen)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 11), st.integers(0, 30), max_size=3), min_size=1, max_size=3))
def test_after_any_corrections_the_tables_are_what_a_fresh_start_gives(
    workplace: Path, corrections: list[dict[int, int]]
) -> None:
    lived, fresh = (Steps(Path(tempfile.mkdtemp(dir=workplace))) for _ in range(2))
    lived.fill()
    fresh.fill()
    lived.derive()
    for changes in corrections:
        before = {i: total(lived.source, [day(i)]) for i in EVERY}
        lived.put(**{f"d{i}": value for i, value in changes.items()})
        fresh.put(**{f"d{i}": value for i, value in changes.items()})
        changed = {i for i, value in changes.items() if value != before[i]}
        halved = {i for i in changed if changes[i] // 2 != before[i] // 2}
        computed = lived.derive()
        assert computed[0] == sorted(changed)
        assert computed[1] == [i for i in EVERY if halved & set(range(i - WINDOW + 1, i + 1))]
    fresh.derive()
    for name in ("halved", "windowed", "running"):
        a, b = getattr(lived, name), getattr(fresh, name)
        assert a.read().equals(b.read())
        assert [a.partition(d).content for d in DAYS] == [b.partition(d).content for d in DAYS]


def test_rows_may_come_bit_by_bit(steps: Steps) -> None:
    """Each day's are taken before the next day is asked for: they may be gone then."""
    taken: list[int] = []

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[Rows]]]:
        for d in days:
            before = len(taken)

            def batches(number: int = (d - FIRST).days) -> Iterator[pa.RecordBatch]:
                for value in (number, number + 1):
                    taken.append(value)
                    yield from rows(value).to_batches()

            yield d, [batches()]
            assert len(taken) == before + 2

    step = Derivation([steps.halved], lambda d: [(steps.source, [d])], "1", compute)
    assert derive(step, DAYS).computed == DAYS
    assert steps.halved.read([day(3)])["value"].to_pylist() == [3, 4]
    assert derive(step, DAYS).computed == []
