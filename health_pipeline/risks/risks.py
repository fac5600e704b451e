"""The prioritised list of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.risks.schema import RISKS
from health_pipeline.risks.score import rank
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import LakeTable


def risk_rows(catalog: Catalog, day: dt.date, incidents: Sequence[Incident]) -> pa.Table:
    """One row per open incident of kind ``shift``, ranked."""
    rows = [
        {
            "day": day, "rank": place, "incident": incident.id, "score": score.value, "size": score.size,
            "exposure": score.exposure, "confidence": score.confidence, "harm": score.harm,
            "title": wording.title(catalog, incident), "sentence": wording.sentence(catalog, incident),
        }
        for place, (incident, score) in enumerate(rank(catalog, incidents), start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RISKS)


def derivation(catalog: Catalog, incidents: LakeTable, risks: LakeTable) -> Derivation:
    """Each day's list follows from the day's incidents."""

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for day in days:
            yield day, [risk_rows(catalog, day, from_table(incidents.read([day])))]

    version = "risks-2-" + catalog.version(catalog.metrics, catalog.dimensions)
    return Derivation([risks], lambda day: [(incidents, [day])], version, compute)
