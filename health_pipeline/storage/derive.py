"""Recompute exactly what is out of date.

A derived table names, for each day, the partitions it is computed from. The fingerprint of their contents (not of
their times) is kept with every published day; a day whose fingerprint still holds is skipped. Contents that come
out unchanged stop the wave: a corrected file from last spring costs the days it really alters, and no others.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from health_pipeline.storage.lake import LakeTable, Partition

Progress = Callable[[int, int], None]
Rows: TypeAlias = pa.Table | Iterator[pa.RecordBatch]
"""Rows of a day: as a table, or bit by bit when a day may be larger than memory."""


@dataclass(frozen=True)
class Derivation:
    """How a table follows from others.

    Attributes:
        outputs: the tables computed together; each is published for every computed day.
        inputs: day -> the (table, days) it reads.
        version: changes when the code or the part of the catalog it depends on changes.
        compute: days (ascending) -> for each day, the rows of every output. It may batch over days, and must
            yield days in order. Rows that come bit by bit are consumed before the next day is asked for.
        extra: day -> anything else it follows from, as text (for tables that are not made from lake tables).
        sequential: a day reads its own table's day before; stale days are then found one after another. ``compute`` is
            given runs of consecutive days; each is published before the next is asked for, and a run is left when a day
            comes out as it was and the rest still holds.
        newest: of the days asked for at once only the last so many are computed: what people work by on the day, and
            nobody needs of days long ago.
    """

    outputs: Sequence[LakeTable]
    inputs: Callable[[dt.date], Iterable[tuple[LakeTable, Sequence[dt.date]]]]
    version: str
    compute: Callable[[Sequence[dt.date]], Iterator[tuple[dt.date, Sequence[Rows]]]]
    extra: Callable[[dt.date], str] = lambda day: ""
    sequential: bool = False
    newest: int | None = None

    def due(self, days: Iterable[dt.date]) -> list[dt.date]:
        """Those of the days asked for that are to be up to date, ascending."""
        asked = sorted(set(days))
        return asked if self.newest is None else asked[-self.newest :]


@dataclass(frozen=True)
class Derived:
    """What a derivation did: days computed, days whose rows really changed, and rows per output and day."""

    computed: list[dt.date] = field(default_factory=list)
    changed: list[dt.date] = field(default_factory=list)
    rows: dict[dt.date, list[int]] = field(default_factory=dict)

    @property
    def unchanged(self) -> int:
        return len(self.rows) - len(self.computed)


class _Pointers:
    """Partition pointers, each read once: a replay of 90 days would otherwise read the same pointer 300 times."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, dt.date], Partition | None] = {}

    def get(self, table: LakeTable, day: dt.date) -> Partition | None:
        key = (str(table.folder), day)
        if key not in self._seen:
            self._seen[key] = table.partition(day)
        return self._seen[key]

    def forget(self, table: LakeTable, day: dt.date) -> None:
        self._seen.pop((str(table.folder), day), None)


class _Staleness:
    """Whether the published days of a derivation still follow from their inputs."""

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.pointers = _Pointers()

    def content(self, table: LakeTable, day: dt.date) -> str:
        part = self.pointers.get(table, day)
        return part.content if part else "-"

    def fingerprint(self, day: dt.date) -> str:
        """Hash of the version and of the content of every input partition of ``day``."""
        derivation = self.derivation
        digest = hashlib.sha256(f"{derivation.version}\n{derivation.extra(day)}".encode())
        for table, days in derivation.inputs(day):
            digest.update(f"\n{table.name}".encode())
            for input_day in days:
                digest.update(f"\n{input_day} {self.content(table, input_day)}".encode())
        return digest.hexdigest()

    def stale(self, day: dt.date) -> str | None:
        """The fingerprint the day should have, if it has another or none."""
        wanted = self.fingerprint(day)
        held = [self.pointers.get(t, day) for t in self.derivation.outputs]
        return None if all(p is not None and p.inputs == wanted for p in held) else wanted


def stale_days(derivation: Derivation, days: Sequence[dt.date]) -> list[dt.date]:
    """The days that would be computed, as things are; a sequential derivation may find more on its way."""
    staleness = _Staleness(derivation)
    return [day for day in derivation.due(days) if staleness.stale(day) is not None]


def derive(derivation: Derivation, days: Sequence[dt.date], progress: Progress | None = None) -> Derived:
    """Bring ``days`` up to date, computing only what is stale.

    Args:
        derivation: what to compute.
        days: the days asked for, any order.
        progress: called with (days done, days asked for).
    """
    staleness = _Staleness(derivation)
    pointers, stale = staleness.pointers, staleness.stale
    wanted_days = derivation.due(days)
    result = Derived()
    done = 0

    def publish(day: dt.date, tables: Sequence[Rows], inputs: str) -> None:
        changed = False
        for table, rows in zip(derivation.outputs, tables, strict=True):
            before = pointers.get(table, day)
            as_table = isinstance(rows, pa.Table)
            after = table.publish(day, rows, inputs) if as_table else table.publish_batches(day, rows, inputs)
            changed |= before is None or before.content != after.content
            pointers.forget(table, day)
        result.computed.append(day)
        if changed:
            result.changed.append(day)

    if derivation.sequential:
        at = 0
        while at < len(wanted_days):
            run: list[dt.date] = []
            for day in wanted_days[at:]:
                if (run and (day - run[-1]).days != 1) or stale(day) is None:
                    break
                run.append(day)
            if not run:
                at += 1
            for computed, tables in derivation.compute(run) if run else ():
                if (inputs := stale(computed)) is None:
                    break
                publish(computed, tables, inputs)
                at += 1
                if progress:
                    progress(at, len(wanted_days))
            if progress:
                progress(at, len(wanted_days))
    else:
        todo: Mapping[dt.date, str] = {d: i for d in wanted_days if (i := stale(d)) is not None}
        done = len(wanted_days) - len(todo)
        if progress:
            progress(done, len(wanted_days))
        if todo:
            for computed, tables in derivation.compute(list(todo)):
                publish(computed, tables, todo[computed])
                done += 1
                if progress:
                    progress(done, len(wanted_days))
    for day in sorted(set(days)):
        parts = [pointers.get(t, day) for t in derivation.outputs]
        result.rows[day] = [p.rows if p else 0 for p in parts]
    return result
