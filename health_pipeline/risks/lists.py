"""The lists of a day, and what they are made of: clusters, trends, prevalence, precision; from what was known then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from health_pipeline.catalog.model import Catalog
from health_pipeline.risks.evidence import days_read, evidence_of, tables_read
from health_pipeline.risks.schema import CLUSTERS, PRECISION, PREVALENCE, REVIEWS, TRENDS
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.lake import Lake, LakeTable

NEWEST_DAYS = 7
"""Lists are what people work by on the day: of a long past none are made."""


@dataclass(frozen=True)
class ListTables:
    """Tables made together; names are those of their assets."""

    review_lists: LakeTable
    clusters: LakeTable
    trends: LakeTable
    prevalence: LakeTable
    precision: LakeTable

    @classmethod
    def of(cls, lake: Lake) -> ListTables:
        return cls(
            review_lists=lake.table("risks", "review_lists", REVIEWS),
            clusters=lake.table("risks", "clusters", CLUSTERS),
            trends=lake.table("risks", "trends", TRENDS),
            prevalence=lake.table("risks", "prevalence", PREVALENCE),
            precision=lake.table("risks", "precision", PRECISION),
        )

    def all(self) -> tuple[LakeTable, ...]:
        return (self.review_lists, self.clusters, self.trends, self.prevalence, self.precision)


def derivation(catalog: Catalog, facts: Mapping[str, LakeTable], tables: ListTables) -> Derivation:
    """Each day's lists follow from the facts of some months, as they were known by its end.

    Raises:
        ValueError: the catalog declares no review.
    """
    if catalog.review is None:
        raise ValueError(f"the ecosystem {catalog.name!r} has no review.yaml")

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        # The estimates load SciPy and compiled code: only where lists are made.
        from health_pipeline.risks import clusters, precision, prevalence, review, trends

        for evidence in evidence_of(catalog, facts, days):
            found = clusters.clusters(evidence)
            yield evidence.day, [
                review.lists(evidence, found, catalog), found, trends.trends(evidence, found),
                prevalence.prevalence(evidence), precision.precision(evidence),
            ]  # fmt: skip

    read = tuple(catalog.table(name) for name in tables_read(catalog))
    version = f"lists-6-{catalog.version(catalog.review, read, catalog.dimensions)}"
    return Derivation(tables.all(), lambda day: days_read(catalog, facts, day), version, compute, newest=NEWEST_DAYS)
