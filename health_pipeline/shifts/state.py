"""What a judged day leaves to the next, as rows of a lake table."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.shifts.schema import STATE
from health_pipeline.stats.detect import State
from health_pipeline.stats.discovery import Memory
from health_pipeline.stats.fits import KEPT
from health_pipeline.stats.life import Active, Kind

KINDS = get_args(Kind)


def to_table(state: State) -> pa.Table:
    """Rows of :data:`.schema.STATE`."""
    rows: list[tuple[str, str, int, list[float]]] = [("day", "", state.day, [state.memory.rate])]
    for name, shifts in sorted(state.active.items()):
        rows += [("shift", name, shift.onset, _numbers(shift)) for shift in shifts]
    for cohort, days in sorted(state.effects.items()):
        rows += [("common", str(cohort), day, [effect]) for day, effect in sorted(days.items())]
    memory = zip(state.memory.levels, state.memory.reports, strict=True)
    rows += [("memory", "", place, [level, float(reports)]) for place, (level, reports) in enumerate(memory)]
    columns = (list(column) for column in zip(*rows, strict=True))
    few = pa.table([pa.array(c, f.type) for c, f in zip(columns, STATE, strict=True)], schema=STATE)
    count, width = state.lessons.shape
    values = pa.ListArray.from_arrays(
        pa.array(np.arange(0, (count + 1) * width, width, dtype=np.int32)), pa.array(state.lessons.ravel())
    )
    many = pa.table(
        [pa.repeat("series", count), state.series, pa.repeat(pa.scalar(state.day, pa.int32()), count), values],
        schema=STATE,
    )
    return pa.concat_tables([few, many.sort_by("key")])


def from_table(table: pa.Table) -> State | None:
    """The inverse of :func:`to_table`; ``None`` of no rows."""
    if table.num_rows == 0:
        return None
    of_series = pc.equal(table["part"], "series")
    many = table.filter(of_series).combine_chunks()
    lessons = pc.list_flatten(many["values"]).to_numpy().reshape(-1, KEPT)
    state = State(0, many["key"].to_pylist(), lessons, {}, {}, Memory(0.05))
    few = table.filter(pc.invert(of_series))
    for part, key, day, values in zip(
        few["part"].to_pylist(), few["key"].to_pylist(), few["day"].to_pylist(), _lists(few["values"]), strict=True
    ):
        if part == "shift":
            state.active.setdefault(key, []).append(_shift(values))
        elif part == "common":
            state.effects.setdefault(int(key), {})[day] = float(values[0])
        elif part == "memory":
            state.memory.levels.append(float(values[0]))
            state.memory.reports.append(int(values[1]))
        else:
            state.day, state.memory.rate = day, float(values[0])
    return state


def _lists(column: pa.ListArray | pa.ChunkedArray) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = array.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(array.value_lengths().to_numpy(zero_copy_only=False))
    return list(np.split(flat, ends[:-1])) if len(ends) else []


def _numbers(s: Active) -> list[float]:
    return [
        float(v)
        for v in (
            s.reported, s.onset, s.onset_low, s.onset_high, KINDS.index(s.kind), s.p, s.q, s.tested, s.share, s.size,
            s.error, s.end, s.over, s.over_since, s.told,
        )
    ]  # fmt: skip


def _shift(v: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Active:
    return Active(
        reported=int(v[0]), onset=int(v[1]), onset_low=int(v[2]), onset_high=int(v[3]), kind=KINDS[int(v[4])],
        p=float(v[5]), q=float(v[6]), tested=int(v[7]), share=float(v[8]), size=float(v[9]), error=float(v[10]),
        end=int(v[11]), over=float(v[12]), over_since=int(v[13]), told=bool(v[14]),
    )  # fmt: skip
