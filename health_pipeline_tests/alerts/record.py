"""A lake with incidents and their list, published by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from health_pipeline.alerts.post import Sources
from health_pipeline.incidents.model import INCIDENTS, Incident, to_table
from health_pipeline.metrics.schema import MATURITY
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.risks.schema import RISKS
from health_pipeline.storage.lake import Lake


class Record:
    """The record of an ecosystem, day by day; :attr:`sources` is what messages follow from."""

    def __init__(self, root: Path, ecosystem: str = "eu_dsa") -> None:
        lake = Lake(root, ecosystem)
        self.sources = Sources(
            lake.table("incidents", "incidents", INCIDENTS),
            lake.table("risks", "risks", RISKS),
            lake.table("metrics", "maturity", MATURITY),
            lake.table("raw", "deliveries", DELIVERIES),
            lambda table: (),
        )

    def judge(self, day: dt.date, *incidents: Incident, scores: Mapping[str, float] | float = 20.0) -> None:
        """Publish a day, anew if it was there: its incidents, and the list of the open ones."""
        rows = [replace(incident, day=day) for incident in incidents]
        self.sources.incidents.publish(day, to_table(rows))
        score = {i.id: scores if isinstance(scores, float) else scores.get(i.id, 0.0) for i in rows}
        listed = sorted((i for i in rows if i.is_open and i.kind == "shift"), key=lambda i: (-score[i.id], i.id))
        self.sources.risks.publish(
            day,
            pa.Table.from_pylist(
                [
                    {
                        "day": day, "rank": rank, "incident": i.id, "score": score[i.id], "size": 1.0, "exposure": 1.0,
                        "confidence": 1.0, "harm": 1.0, "title": i.id, "sentence": i.id,
                    }
                    for rank, i in enumerate(listed, start=1)
                ],
                schema=RISKS,
            ),
        )  # fmt: skip
