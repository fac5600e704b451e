"""Every lake table of an ecosystem, in the order in which they follow from one another."""

from __future__ import annotations

from dataclasses import dataclass

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import INCIDENTS
from health_pipeline.metrics.schema import CUBE
from health_pipeline.raw.contract import contract_schema
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.risks.schema import RISKS
from health_pipeline.shifts.schema import BANDS, SHIFTS
from health_pipeline.storage.lake import Lake, LakeTable


@dataclass(frozen=True)
class Tables:
    """The tables of one ecosystem, named as their assets are."""

    facts: LakeTable
    deliveries: LakeTable
    cube: LakeTable
    shifts: LakeTable
    bands: LakeTable
    incidents: LakeTable
    risks: LakeTable

    @classmethod
    def of(cls, lake: Lake, catalog: Catalog) -> Tables:
        return cls(
            facts=lake.table("raw", catalog.table.name, contract_schema(catalog.table)),
            deliveries=lake.table("raw", "deliveries", DELIVERIES),
            cube=lake.table("metrics", "cube", CUBE),
            shifts=lake.table("shifts", "shifts", SHIFTS),
            bands=lake.table("shifts", "bands", BANDS),
            incidents=lake.table("incidents", "incidents", INCIDENTS),
            risks=lake.table("risks", "risks", RISKS),
        )

    def by_name(self) -> dict[str, LakeTable]:
        """``stage.table`` -> table."""
        tables = (self.facts, self.deliveries, self.cube, self.shifts, self.bands, self.incidents, self.risks)
        return {t.name.replace("/", "."): t for t in tables}
