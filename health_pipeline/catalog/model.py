"""The typed catalog: what the YAML files of an ecosystem may say.

Nothing here reads files (see :mod:`.loader`) and nothing here runs SQL.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Declared(BaseModel):
    """Base of everything declared in YAML: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class Column(Declared):
    """One column of the contract."""

    name: Name
    type: Literal["date", "text", "integer", "number"]
    description: str
    required: bool = True
    minimum: float | None = Field(None, description="smallest value accepted")
    maximum: float | None = Field(None, description="largest value accepted")
    values: tuple[str, ...] | None = Field(None, description="the only values accepted")


class Sum(Declared):
    """An additive measure: ``sum(<sum>)`` over the rows that satisfy ``where``."""

    sum: str
    where: str | None = None

    def sql(self) -> str:
        """Portable SQL of this sum, as a conditional aggregate."""
        return f"sum(CASE WHEN {self.where} THEN {self.sum} END)" if self.where else f"sum({self.sum})"


class Table(Declared):
    """The contract of the table an ecosystem's source delivers."""

    name: Name
    title: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[Name, ...] = Field(description="columns that identify a row; a repeated key is quarantined")
    day: Name = Field(description="the column that holds the UTC day")
    delivered_by: Name = Field(
        description="the column whose every value delivers on its own: a day on which it delivered nothing is "
        "missing, and a newer file replaces all it delivered for a day"
    )
    volume: Sum = Field(description="what to count to see whether a delivery is complete")

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


class Dimension(Declared):
    """Something to cut by."""

    name: Name
    title: str
    sql: str = Field(description="expression over the table's columns; NULL leaves the row out of the cut")
    prefix: str = Field("", description="prefix of the values that people need not see")
    labels: dict[str, str] = Field(default_factory=dict, description="what people read instead of a value")

    def label(self, value: str) -> str:
        if value in self.labels:
            return self.labels[value]
        text = value.removeprefix(self.prefix)
        return text.replace("_", " ").capitalize() if self.prefix and text.isupper() else text


class Metric(Declared):
    """One metric: additive numerator, and a denominator unless it is a count.

    ``count``: the numerator itself. ``proportion``: numerator and denominator count the same things, 0 <= n <= d.
    ``mean``: numerator is a total of something else than what the denominator counts.
    """

    name: Name
    title: str
    description: str
    phrase: str = Field(
        "", description="what people read in a sentence, with {dimension} for labels; the title by default"
    )
    type: Literal["count", "proportion", "mean"]
    unit: str
    bad: Literal["up", "down", "both"] = Field(description="the direction that harms")
    owner: str
    numerator: Sum
    denominator: Sum | None = None
    by: tuple[Name, ...] = Field(description="the dimensions of a segment")
    over: tuple[Name, ...] | None = Field(
        None, description="the dimensions the denominator is taken over, when fewer than `by` (a share)"
    )
    minimum_denominator: float = Field(0, ge=0, description="days below it are not judged")
    family: Name = Field(description="metrics of one family that move together become one incident")
    adds_up_to: Name | None = Field(None, description="the metric to which the segments of this one must sum")


class Event(Declared):
    """A known event, shown beside incidents that begin near it: coincident, not causal."""

    day: dt.date
    title: str
    units: tuple[str, ...] = Field((), description="values of the delivering column; empty means all")
    source: str = ""


class Detection(Declared):
    """How shifts are judged. One setting for all series."""

    false_discovery_rate: float = Field(0.05, gt=0, lt=0.5)
    minimum_change: float = Field(
        0.1, ge=0, description="smallest change worth reporting, as a share of the expected value"
    )


class Alerts(Declared):
    """What becomes a message."""

    channel: str = "#ecosystem-health"
    failures_channel: str = "#ecosystem-health-pipeline"
    minimum_score: float = Field(0.0, ge=0, description="incidents below it stay in the list and post nothing")
    per_day: int = Field(10, ge=1, description="at most so many messages a day; the rest stay in the list")
    newest_days: int = Field(3, ge=1, description="incidents first reported longer ago are history, not news")


class Ecosystem(Declared):
    """``ecosystem.yaml``."""

    name: Name
    title: str
    description: str
    provenance: str = Field("", description="where the data come from and under which terms")
    start: dt.date
    sample: str | None = Field(None, description="bundled file that is delivered before anything in the inbox")
    statement_adapter: Literal["dsa_statements"] | None = Field(
        None, description="reader for a source's own row-level format"
    )
    detection: Detection = Detection()
    alerts: Alerts = Alerts()


class Tables(Declared):
    """``tables.yaml``."""

    table: Table


class Metrics(Declared):
    """``metrics.yaml``."""

    dimensions: tuple[Dimension, ...]
    metrics: tuple[Metric, ...]


class Calendar(Declared):
    """``calendar.yaml``."""

    events: tuple[Event, ...] = ()


class Catalog(Declared):
    """Everything one ecosystem declares, checked as a whole."""

    folder: Path
    ecosystem: Ecosystem
    table: Table
    dimensions: tuple[Dimension, ...]
    metrics: tuple[Metric, ...]
    events: tuple[Event, ...]

    @property
    def name(self) -> str:
        return self.ecosystem.name

    def metric(self, name: str) -> Metric:
        return next(m for m in self.metrics if m.name == name)

    def dimension(self, name: str) -> Dimension:
        return next(d for d in self.dimensions if d.name == name)

    @cached_property
    def sample(self) -> Path | None:
        return (self.folder / self.ecosystem.sample).resolve() if self.ecosystem.sample else None

    def version(self, *parts: Declared | tuple[Declared, ...]) -> str:
        """Hash of some declarations: changes when, and only when, what they say changes."""
        digest = hashlib.sha256()
        for part in parts:
            for item in part if isinstance(part, tuple) else (part,):
                digest.update(item.model_dump_json().encode())
        return digest.hexdigest()[:16]
