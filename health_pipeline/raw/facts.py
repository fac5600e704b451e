"""The facts of a day: for each delivering unit, the rows of its newest delivery."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import pyarrow as pa

from health_pipeline.raw.landing import Landing
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable


def derivation(landing: Landing, facts: LakeTable) -> Derivation:
    """Facts follow from what has landed, not from a lake table: their fingerprint is the landing's."""

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day, rows in landing.assemble(days):
            yield day, [rows]

    return Derivation([facts], lambda day: [], "facts-1", compute, extra=landing.day_version)
