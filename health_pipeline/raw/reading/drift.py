"""The columns of a delivered file beside those of its contract: which are missing, new, or of another type."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from health_pipeline.catalog.model import Column, Table
from health_pipeline.errors import InputError
from health_pipeline.raw.reading.values import FITS
from health_pipeline.raw.schema import required

JSON_STORED = {
    "VARCHAR": "text", "BOOLEAN": "boolean", "DOUBLE": "number", "UBIGINT": "integer", "BIGINT": "integer",
    "HUGEINT": "integer", "UHUGEINT": "integer",
}  # fmt: skip
"""DuckDB's types of JSON values, as those of a contract."""
CALLED = {"instant": "timestamp", "nested": "a list or an object"}


def listed(names: Sequence[str]) -> str:
    """`` 'a'``, or ``s 'a', 'b' and 'c'``: what follows the word "column"."""
    *most, last = map(repr, names)
    return f"s {', '.join(most)} and {last}" if most else f" {last}"


def locate(file: str, header: Sequence[str], table: Table) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    """Where the contract's columns are in a file, the names of the others, and sentences about what is new or missing.

    Raises:
        InputError: a required column is missing, or there twice.
    """
    known = {c.name for c in table.columns}
    for name in header:
        if name in known and header.count(name) > 1:
            raise InputError(f"{file} has two columns named {name!r}.", "Rename or remove one.")
    others = tuple(dict.fromkeys(name for name in header if name not in known))
    absent = [c for c in table.columns if c.name not in header]
    missing = [c.name for c in absent if required(c, table)]
    if missing:
        nearest = _nearest(missing[0], others or header)
        hint = f"Its nearest column is {nearest!r}: rename it." if nearest else f"Its columns are {', '.join(header)}."
        raise InputError(f"{file} lacks the column{listed(missing)}.", hint)
    drift = []
    for name in others:
        nearest = _nearest(name, [c.name for c in absent])
        guess = f" Is it {nearest!r} under another name?" if nearest else ""
        drift.append(f"The column {name!r} is new and ignored: the contract does not know it.{guess}")
    drift += [f"The column {c.name!r} is missing: it is optional, and empty in all rows." for c in absent]
    return {c.name: header.index(c.name) for c in table.columns if c.name in header}, others, tuple(drift)


def _nearest(name: str, names: Sequence[str]) -> str:
    """The name that is nearest to another, whatever the case of either; "" when none is near."""
    folded = {other.lower().replace(" ", "_"): other for other in reversed(names)}
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else ""


def retyped(column: Column, kind: str, where: str = "here") -> list[str]:
    """A sentence about a column that is stored as another type than the contract's, if it is."""
    if kind == "null" or kind in FITS[column.type]:
        return []
    return [f"{column.name} is {CALLED.get(kind, kind)} {where}; the contract says {column.type}."]


def retyped_json(column: Column, kinds: Mapping[str, int]) -> list[str]:
    """A sentence about each type, other than the contract's, that values of a column have in all lines or some."""
    rows = Counter[str]()
    for kind, number in kinds.items():
        rows[JSON_STORED.get(kind, "nested")] += number
    written = {"text", column.type} if column.type in ("date", "timestamp") else {column.type}
    return [
        sentence
        for kind, number in rows.items()
        if kind not in written
        for sentence in retyped(column, kind, "here" if number == rows.total() else f"in {number:,} of the rows")
    ]
