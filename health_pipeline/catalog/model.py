"""The typed catalog: what the YAML files of an ecosystem may say.

Nothing here reads files (see :mod:`.loader`) and nothing here runs SQL.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.declared import Declared, Name

EVERY_UNIT = "all"
"""The unit of totals over all units: of segments that do not name a value of the unit dimension."""
SQL_TYPES = {
    "date": "DATE", "timestamp": "TIMESTAMP", "text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE",
    "boolean": "BOOLEAN",
}  # fmt: skip
"""Types of the contract, and DuckDB's."""


class Column(Declared):
    """One column of a contract.

    A ``timestamp`` is an instant. Written with an offset it is taken as it is; without one it is the local time of
    the row's market (:class:`TimeZones`), or UTC where no zones are declared. It is kept in UTC.
    """

    name: Name
    type: Literal["date", "timestamp", "text", "integer", "number", "boolean"]
    description: str
    required: bool = True
    minimum: float | None = Field(None, description="smallest value accepted")
    maximum: float | None = Field(None, description="largest value accepted")
    values: tuple[str, ...] | None = Field(None, description="the only values accepted")


class Sum(Declared):
    """An additive measure: ``sum(<sum>)`` over the rows that satisfy ``where``; or a number of distinct values."""

    sum: str | None = Field(None, coerce_numbers_to_str=True, description="expression over one row; 1 counts rows")
    distinct: Name | None = Field(None, description="count the distinct values of this column instead")
    where: str | None = None
    table: Name | None = Field(None, description="the table it is taken from; by default the metric's")

    def sql(self) -> str:
        """Portable SQL of this measure, as a conditional aggregate."""
        if self.distinct:
            value = f"CASE WHEN {self.where} THEN {self.distinct} END" if self.where else self.distinct
            return f"count(DISTINCT {value})"
        return f"sum(CASE WHEN {self.where} THEN {self.sum} END)" if self.where else f"sum({self.sum})"


class Derived(Declared):
    """A column computed once from the others when a row is loaded: what the portable SQL of metrics must not do.

    Time arithmetic, division, and anything else in which engines differ.
    """

    name: Name
    type: Literal["date", "timestamp", "text", "integer", "number", "boolean"]
    sql: str = Field(description="DuckDB expression over one row")
    description: str


class Reference(Declared):
    """A column that names a row of another table. Rows without one are counted by a check, and kept."""

    column: Name
    table: Name
    to: Name = Field(description="the column of the other table")
    within_days: int = Field(0, ge=0, description="the row named is looked for so many days back, the day included")


class Table(Declared):
    """The contract of one table a source delivers.

    Without ``version``, rows are a day's result: a newer file replaces, for each unit and day it holds, all that was
    delivered before. With it, rows are records that change: of all versions of a key, the one with the greatest
    ``version`` counts, whatever the order in which files arrive.
    """

    name: Name
    title: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[Name, ...] = Field(description="columns that identify a row within its day")
    day: Name = Field(description="the date or timestamp column that tells the UTC day")
    delivered_by: Name = Field(
        description="the column whose every value delivers on its own: a day on which it delivered nothing is missing"
    )
    volume: Sum = Field(Sum(sum="1"), description="what to count to see whether a delivery is complete")
    version: Name | None = Field(None, description="timestamp column that tells when this version of the row arrived")
    lateness_days: int | None = Field(
        None, ge=0, description="rows that arrive later than so many days after their day are quarantined"
    )
    sparse: bool = Field(
        False, description="a unit may have nothing to tell: its days without rows are zeros if the table was delivered"
    )
    known_ahead: bool = Field(False, description="days may lie in the future, up to 400 days")
    cluster: Name | None = Field(
        None, description="the column within whose values rows depend on each other (a creator): variances respect it"
    )
    references: tuple[Reference, ...] = ()
    derived: tuple[Derived, ...] = ()

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


class Dimension(Declared):
    """Something to cut by."""

    name: Name
    title: str
    sql: str = Field(
        "", description="expression over a table's columns, by default the name; NULL leaves the row out of the cut"
    )
    prefix: str = Field("", description="prefix of the values that people need not see")
    labels: dict[str, str] = Field(default_factory=dict, description="what people read instead of a value")

    @property
    def expression(self) -> str:
        return self.sql or self.name

    def label(self, value: str) -> str:
        if value in self.labels:
            return self.labels[value]
        text = value.removeprefix(self.prefix)
        return text.replace("_", " ").capitalize() if self.prefix and text.isupper() else text


class Quantile(Declared):
    """A quantile of a column, from a mergeable histogram with logarithmic bins (:mod:`health_pipeline.stats.bins`)."""

    of: Name = Field(description="a column, not negative")
    level: float = Field(gt=0, lt=1)
    where: str | None = None
    open: bool = Field(False, description="rows without a value are still open: larger than all the others")


class Metric(Declared):
    """One metric: sums that add up, and how its value follows from them.

    * ``count`` (C): the numerator itself.
    * ``rate`` (C): events per exposure; the denominator may come from another table.
    * ``proportion`` (B): numerator and denominator count the same things, 0 <= n <= d.
    * ``ratio`` (R): ratio of two totals that vary together within a cluster; delta-method variance by cluster.
    * ``quantile`` (Q): a quantile of a column.
    * ``weighted`` (W): share or mean from a sample with unequal chances, Hájek's estimate with weights ``weight``.
    * ``mean``: numerator is a total of something else than what the denominator counts; only totals are known.
    """

    name: Name
    title: str
    description: str
    phrase: str = Field(
        "", description="what people read in a sentence, with {dimension} for labels; the title by default"
    )
    type: Literal["count", "rate", "proportion", "ratio", "quantile", "weighted", "mean"]
    unit: str
    per: float = Field(1, gt=0, description="shown per so many of the denominator: 1000 for `per 1k posts`")
    bad: Literal["up", "down", "both"] = Field(description="the direction that harms")
    owner: str
    source: str = Field("", description="where the definition comes from, for a term of the industry")
    table: Name | None = Field(None, description="the table it is computed from; by default the first")
    numerator: Sum | None = None
    denominator: Sum | None = None
    quantile: Quantile | None = None
    weight: Name | None = Field(None, description="column with a row's weight, for `weighted`")
    by: tuple[Name, ...] | None = Field(None, description="the dimensions of its segments, when only one cut is wanted")
    dimensions: tuple[Name, ...] | None = Field(
        None, description="of the catalog's segments only those that cut by these; by default all its tables know"
    )
    over: tuple[Name, ...] | None = Field(
        None, description="the dimensions the denominator is taken over, when fewer than `by` (a share)"
    )
    minimum_denominator: float = Field(0, ge=0, description="days below it are not judged")
    horizon: int = Field(0, ge=0, description="days after which a day's value is mature enough to be judged")
    family: Name = Field(description="metrics of one family that move together become one incident")
    adds_up_to: Name | None = Field(None, description="the metric to which the segments of this one must sum")

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, 0 to 1; a weighted mean or a ratio is one when its unit says `share of`."""
        return self.type == "proportion" or (self.type in ("weighted", "ratio") and self.unit.startswith("share"))


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
    minimum_support: float = Field(
        0, ge=0, description="series with fewer things a day (the median of four weeks) are not judged"
    )


class TimeZones(Declared):
    """The local time of timestamps written without an offset."""

    column: Name = Field(description="column whose value tells the zone; rows of tables without it are in UTC")
    zones: dict[str, str] = Field(description="value of the column -> IANA time zone")


class Simulation(Declared):
    """A marketplace to simulate where nobody delivers: see :mod:`health_pipeline.marketplace`."""

    scenario: str
    creators: int = Field(ge=1)
    days: int = Field(ge=1)
    seed: int = 1


class Ecosystem(Declared):
    """``ecosystem.yaml``."""

    moved: ClassVar[dict[str, str]] = {
        "alerts": "It has moved to alerts.yaml in the same folder: write its keys there, at the top of the file."
    }

    name: Name
    title: str
    description: str
    provenance: str = Field("", description="where the data come from and under which terms")
    start: dt.date
    sample: str | None = Field(None, description="bundled file that is delivered before anything in the inbox")
    statement_adapter: Literal["dsa_statements"] | None = Field(
        None, description="reader for a source's own row-level format"
    )
    simulation: Simulation | None = Field(
        None, description="data that are simulated and delivered when nothing else was"
    )
    time_zones: TimeZones | None = None
    detection: Detection = Detection()


class Selection(Declared):
    """What to read from a database for one of the catalog's tables. In YAML, ``select`` alone may be a plain text."""

    select: str = Field(min_length=1, description="a table's or view's name (`orders`, `sales.orders`), or a SELECT")
    days_back: int | None = Field(
        None, ge=0, description="without `version`: read so many days before the newest one again, instead of all"
    )


def _selection(given: Any) -> Any:
    return {"select": given} if isinstance(given, str) else given


class Source(Declared):
    """Where deliveries are fetched from: a folder or object store (``folder``), or an SQL database (``database``).

    ``${NAME}`` in addresses and options is the value of an environment variable: no password is in a file.
    """

    name: Name
    folder: str | None = Field(None, description="a path, or an fsspec URL: s3://bucket/exports")
    storage_options: dict[str, Any] = Field(default_factory=dict, description="fsspec's options of the folder's kind")
    database: str | None = Field(None, description="SQLAlchemy URL: postgresql+psycopg://reader:${PASSWORD}@host/db")
    tables: dict[Name, Annotated[Selection, BeforeValidator(_selection)]] = Field(
        default_factory=dict, description="the catalog's table -> what to read from the database"
    )
    overlap_minutes: float = Field(
        60, ge=0, description="with `version`: rows committed so much later than their version says are still found"
    )


class Sources(Declared):
    """``sources.yaml``."""

    sources: tuple[Source, ...] = ()


class Queue(Declared):
    """Who reviews what, and how long it takes."""

    name: Literal["creators", "contents", "products", "clusters"]
    minutes_per_day: float = Field(ge=0, allow_inf_nan=False, description="reviewers' minutes a day; 0: nobody reviews")
    minutes_per_case: float = Field(gt=0, allow_inf_nan=False, description="to open a case and decide on it")
    minutes_per_item: float = Field(
        0, ge=0, allow_inf_nan=False, description="for each thing to look at in a case: a creator's contents"
    )


class Review(Declared):
    """``review.yaml``: what a review may cost, what harm weighs, and where its evidence is."""

    severity: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        min_length=1, description="harm of one view by the severity of the policy violated; any unit"
    )
    harm_per_dollar: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="harm of one US dollar sold through a violation, same unit"
    )
    memory_days: int = Field(90, ge=28, le=400, description="days of facts that estimates remember")
    half_life_days: float = Field(45, ge=1, allow_inf_nan=False, description="a decision so many days old counts half")
    alive_days: int = Field(
        7, ge=1, le=21, description="a content is shown for so many days; lives that ended in four weeks teach how"
    )
    horizon_days: int = Field(7, ge=1, le=400, description="a creator is judged by what is expected in so many days")
    explore: float = Field(
        0.07, ge=0, le=0.5, description="share of a queue's minutes spent on what may be worse than it looks"
    )
    queues: tuple[Queue, ...] = Field(min_length=1)
    roles: dict[Name, str] = Field(description="role -> SELECT over the tables; see health_pipeline.catalog.roles")


class Tables(Declared):
    """``tables.yaml``."""

    tables: tuple[Table, ...]


class Metrics(Declared):
    """``metrics.yaml``."""

    dimensions: tuple[Dimension, ...]
    unit: Name | None = Field(
        None,
        description="the dimension whose values deliver, and have incidents of their own; by default delivered_by",
    )
    segments: tuple[tuple[Name, ...], ...] = Field((), description="cuts, for metrics without a `by` of their own")
    metrics: tuple[Metric, ...]


class Calendar(Declared):
    """``calendar.yaml``."""

    events: tuple[Event, ...] = ()


class Catalog(Declared):
    """Everything one ecosystem declares, checked as a whole.

    Attributes:
        reach: dimension -> names of the tables it can cut.
    """

    folder: Path
    ecosystem: Ecosystem
    tables: tuple[Table, ...]
    dimensions: tuple[Dimension, ...]
    unit: Name
    segments: tuple[tuple[Name, ...], ...]
    metrics: tuple[Metric, ...]
    events: tuple[Event, ...]
    reach: dict[str, tuple[str, ...]]
    sources: tuple[Source, ...] = ()
    review: Review | None = None
    alerts: Alerts = Alerts()

    @property
    def name(self) -> str:
        return self.ecosystem.name

    def table(self, name: str) -> Table:
        return next(t for t in self.tables if t.name == name)

    def metric(self, name: str) -> Metric:
        return next(m for m in self.metrics if m.name == name)

    def dimension(self, name: str) -> Dimension:
        return next(d for d in self.dimensions if d.name == name)

    def table_of(self, metric: Metric, part: Sum | None = None) -> Table:
        """The table a metric, or one of its sums, is taken from."""
        return self.table((part.table if part else None) or metric.table or self.tables[0].name)

    def tables_of(self, metric: Metric) -> tuple[str, ...]:
        """Names of all tables a metric is taken from, its numerator's first."""
        names = [self.table_of(metric, p).name for p in (metric.numerator, metric.denominator) if p is not None]
        return tuple(dict.fromkeys(names or [self.table_of(metric).name]))

    def cuts(self, metric: Metric) -> tuple[tuple[str, ...], ...]:
        """The sets of dimensions by which a metric is cut; the empty one is the total."""
        if metric.by is not None:
            return (metric.by,)
        tables, wanted = set(self.tables_of(metric)), metric.dimensions
        return tuple(
            cut
            for cut in self.segments
            if all(tables <= set(self.reach[d]) and (wanted is None or d in wanted) for d in cut)
        )

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
