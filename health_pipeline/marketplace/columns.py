"""Arrays of the simulation as Arrow columns: identifiers, names, instants, and the versions of a record."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Array = NDArray[Any]

NEVER = np.iinfo(np.int64).max
"""An instant that does not come: written as null."""
NOBODY = -1
"""A code, identifier or day that is not there: written as null."""


@dataclass
class Records:
    """Columns of equal length, one array each. Subclasses name them."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        return cls(**{f.name: np.zeros(0, np.int64) for f in fields(cls)})

    def take(self, index: Array | slice) -> Self:
        """The rows at some positions, or where a mask is true."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def followed_by(self, other: Self) -> Self:
        """These rows, then others."""
        return type(self)(
            **{f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)}
        )


def identifiers(prefix: str, numbers: Array, width: int = 10, choice: Array | None = None) -> pa.Array:
    """``v0000000042``: a letter and a number of fixed width.

    Args:
        prefix: the letter; or several, of which ``choice`` picks one for each number.
        numbers: not negative and below ``10**width``; :data:`NOBODY` becomes null.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    letters = np.frombuffer(prefix.encode("ascii"), np.uint8)
    rest = np.maximum(numbers, 0)
    characters = np.empty((len(numbers), width + 1), np.uint8)
    characters[:, 0] = letters[0] if choice is None else letters[choice]
    for place in range(width, 0, -1):
        tens = rest // 10
        characters[:, place] = rest - tens * 10 + ord("0")
        rest = tens
    return _fixed_width(characters, numbers == NOBODY)


def hexadecimal(values: Array) -> pa.Array:
    """64-bit unsigned integers as 16 hexadecimal digits."""
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    shifts = np.arange(60, -4, -4, dtype=np.uint64)
    return _fixed_width(digits[(values[:, None] >> shifts) & np.uint64(15)], None)


def _fixed_width(characters: Array, missing: Array | None) -> pa.Array:
    rows, width = characters.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int64)
    if rows * width < 2**31:
        offsets = offsets.astype(np.int32)
    kind = pa.string() if offsets.dtype == np.int32 else pa.large_string()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))]
    made = pa.Array.from_buffers(kind, rows, buffers)
    if missing is not None and missing.any():
        made = made.take(pa.array(np.arange(rows), mask=missing))
    return made


def names(values: tuple[str, ...], codes: Array) -> pa.Array:
    """Codes as the names they stand for; :data:`NOBODY` becomes null."""
    codes = np.asarray(codes)
    missing = codes < 0
    return pa.array(values, pa.string()).take(pa.array(codes, mask=missing) if missing.any() else pa.array(codes))


def instants(microseconds: Array) -> pa.Array:
    """Microseconds since 1970 in UTC as timestamps with zone; :data:`NEVER` becomes null."""
    missing = microseconds == NEVER
    made = pa.array(microseconds, pa.int64(), mask=missing if missing.any() else None)
    return made.view(pa.timestamp("us", tz="UTC"))


def dates(days: Array) -> pa.Array:
    """Days since 1970; :data:`NOBODY` becomes null."""
    missing = days == NOBODY
    return pa.array(days.astype(np.int32), pa.int32(), mask=missing if missing.any() else None).view(pa.date32())


def optional(values: Array, present: Array) -> pa.Array:
    """Values where there is one, else null."""
    return pa.array(values, mask=~present)


@dataclass(frozen=True)
class Versions:
    """The versions of some records: each record's first row, and one more for each thing that became known later.

    Attributes:
        row: the record of each version, ascending.
        ingested: when each version arrived, in microseconds.
        known: (versions, things) whether the thing was known in the version.
    """

    row: Array
    ingested: Array
    known: Array

    def when(self, thing: int, microseconds: Array) -> Array:
        """An instant of the records, for versions in which the thing was known; else :data:`NEVER`."""
        return np.where(self.known[:, thing], microseconds[self.row], NEVER)


def versions(first: Array, later: list[Array], until: int) -> Versions:
    """Versions that arrive before ``until``.

    Args:
        first: (records,) when each record first arrived, in microseconds; :data:`NEVER` for one that is lost, later
            versions too.
        later: for each thing, (records,) when it became known; :data:`NEVER` when it does not.
        until: versions that arrive at this instant or later are left out.
    """
    lost = first == NEVER
    after = np.where(lost, NEVER, first + 1)
    arrivals = np.stack([first, *(np.where(x == NEVER, NEVER, np.maximum(x, after)) for x in later)], axis=1)
    order = np.sort(arrivals, axis=1)
    fresh = np.ones(order.shape, dtype=bool)
    fresh[:, 1:] = order[:, 1:] != order[:, :-1]
    row, which = np.nonzero(fresh & (order < until))
    ingested = order[row, which]
    return Versions(row, ingested, arrivals[row][:, 1:] <= ingested[:, None])
