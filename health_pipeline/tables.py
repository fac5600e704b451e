"""Every lake table of an ecosystem, in the order in which they follow from one another."""

from __future__ import annotations

from dataclasses import dataclass

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import INCIDENTS
from health_pipeline.metrics.schema import ARRIVALS, CUBE, HISTOGRAMS, MATURITY
from health_pipeline.raw.schema import DELIVERIES, facts_schema
from health_pipeline.risks.lists import ListTables
from health_pipeline.risks.schema import RISKS, TRACK_RECORDS
from health_pipeline.shifts.schema import BANDS, SHIFTS, STATE
from health_pipeline.storage.lake import Lake, LakeTable


@dataclass(frozen=True)
class Tables:
    """The tables of one ecosystem, named as their assets are; ``facts`` by the name of their contract.

    ``lists`` are there where the ecosystem declares a review.
    """

    facts: dict[str, LakeTable]
    deliveries: LakeTable
    cube: LakeTable
    histograms: LakeTable
    arrivals: LakeTable
    maturity: LakeTable
    shifts: LakeTable
    bands: LakeTable
    states: LakeTable
    incidents: LakeTable
    risks: LakeTable
    track_records: LakeTable
    lists: ListTables | None

    @classmethod
    def of(cls, lake: Lake, catalog: Catalog) -> Tables:
        return cls(
            facts={t.name: lake.table("raw", t.name, facts_schema(t)) for t in catalog.tables},
            deliveries=lake.table("raw", "deliveries", DELIVERIES),
            cube=lake.table("metrics", "cube", CUBE),
            histograms=lake.table("metrics", "histograms", HISTOGRAMS),
            arrivals=lake.table("metrics", "arrivals", ARRIVALS),
            maturity=lake.table("metrics", "maturity", MATURITY),
            shifts=lake.table("shifts", "shifts", SHIFTS),
            bands=lake.table("shifts", "bands", BANDS),
            states=lake.table("shifts", "states", STATE),
            incidents=lake.table("incidents", "incidents", INCIDENTS),
            risks=lake.table("risks", "risks", RISKS),
            track_records=lake.table("risks", "track_records", TRACK_RECORDS),
            lists=ListTables.of(lake) if catalog.review else None,
        )

    def by_name(self) -> dict[str, LakeTable]:
        """``stage.table`` -> table."""
        derived = (
            self.deliveries, self.cube, self.histograms, self.arrivals, self.maturity, self.shifts, self.bands,
            self.states, self.incidents, self.risks, self.track_records, *(self.lists.all() if self.lists else ()),
        )  # fmt: skip
        return {t.name.replace("/", "."): t for t in (*self.facts.values(), *derived)}
