"""How late a metric's rows arrive, and from which age on a day's value can be trusted.

*Arrivals.* Every version of a row adds what it counts to its day's sums when it arrives, and takes it back when the
next version supersedes it. Summed by age, that is how a day's numerator and denominator grew: at the end of the day,
one day later, and so on. Age 0 is whatever arrived by the end of the day, age a what arrived on the a-th day after it.

*Maturity.* From the arrivals of the last :data:`WINDOW` days, the share of the final sum that is in by each age, by the
chain-ladder method of claims reserving: the development from one age to the next is the ratio of totals over the days
that are old enough to show both, and the share at an age is the product of all developments after it (Mack 1993,
Distribution-free calculation of the standard error of chain ladder reserve estimates, ASTIN Bulletin 23). A young day
is used for the ages it has reached, so the newest days count, and that they are cut off on the right biases nothing.

What arrives later than the oldest day of the window is old is not known, and taken to be nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from health_pipeline.catalog.model import Catalog, Metric, Table
from health_pipeline.metrics.cube import batches, split_by_day
from health_pipeline.metrics.schema import ARRIVALS, MATURITY
from health_pipeline.metrics.sums import SUM_TYPE, exact_sql, weighted_sql
from health_pipeline.storage.derive import Derivation
from health_pipeline.storage.engine import Engine, scan
from health_pipeline.storage.lake import LakeTable

WINDOW = 60
"""Days whose arrivals the curves are learned from, and one more than the greatest age they know."""
MATURE = 0.95
"""A value at its horizon should be within this share of its final value."""
PARTS = ("numerator", "denominator", "value")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Measure:
    """What is followed: a part of a metric, as SQL over one row; or the distinct values of a column."""

    metric: str
    part: str
    table: Table
    sql: str
    distinct: str = ""


def versioned(catalog: Catalog) -> bool:
    """Whether any metric is taken from rows that change: without them there is nothing to learn."""
    return bool(_measures(catalog))


def _measures(catalog: Catalog) -> list[_Measure]:
    found = []
    for metric in catalog.metrics:
        for part, table, sql, distinct in _parts(catalog, metric):
            if table.version is not None:
                found.append(_Measure(metric.name, part, table, sql, distinct))
    return found


def _parts(catalog: Catalog, metric: Metric) -> Iterator[tuple[str, Table, str, str]]:
    """Part, table, SQL over one row, and the column whose distinct values are counted."""
    if metric.quantile is not None:
        q, table = metric.quantile, catalog.table_of(metric)
        closed = f"CASE WHEN {q.of} IS NOT NULL THEN 1 END"
        rows = "1" if q.open else closed
        for part, sql in (("numerator", closed), ("denominator", rows)):
            yield part, table, f"CASE WHEN {q.where} THEN {sql} END" if q.where else sql, ""
    elif metric.type == "weighted":
        wy, wx, known = weighted_sql(metric)
        for part, sql in (("numerator", wy), ("denominator", wx)):
            table = catalog.table_of(metric, metric.numerator)
            yield part, table, f"CASE WHEN {known} THEN CAST({sql} AS {SUM_TYPE}) END", ""
    else:
        for part, declared in (("numerator", metric.numerator), ("denominator", metric.denominator)):
            if declared is None:
                continue
            table = catalog.table_of(metric, declared)
            if declared.distinct:
                yield part, table, f"CASE WHEN {declared.where or 'true'} THEN 1 END", declared.distinct
            else:
                yield part, table, exact_sql(declared, table), ""


def arrivals_sql(catalog: Catalog) -> dict[str, list[str]]:
    """Table -> queries over its facts, known as ``facts``, that together give the rows of ARRIVALS."""
    found: dict[str, list[str]] = {}
    by_table: dict[str, list[_Measure]] = {}
    for measure in _measures(catalog):
        by_table.setdefault(measure.table.name, []).append(measure)
    for name, measures in by_table.items():
        plain = [m for m in measures if not m.distinct]
        found[name] = [_sums_sql(plain)] if plain else []
        found[name] += [_distinct_sql(m) for m in measures if m.distinct]
    return found


def _steps_sql(table: Table, columns: Sequence[str]) -> str:
    """Every version of a row twice: with sign 1 at the age it arrived, with sign -1 at the age it was superseded."""
    own = ", ".join(columns)
    arrived = f'"{table.version}"'
    age = "greatest(0, CAST(CAST({at} AS DATE) - day AS INTEGER))"
    return (
        f"SELECT day, {age.format(at=arrived)} AS age, 1 AS sign, {own} FROM facts\n"
        f"UNION ALL SELECT day, {age.format(at='superseded_at')}, -1, {own} FROM facts WHERE superseded_at IS NOT NULL"
    )


def _sums_sql(measures: Sequence[_Measure]) -> str:
    """One scan for all sums of a table; ages at which a sum did not change are left out."""
    names = {sql: f"m{i}" for i, sql in enumerate(dict.fromkeys(m.sql for m in measures))}
    steps = _steps_sql(measures[0].table, [f"{sql} AS {name}" for sql, name in names.items()])
    totals = ", ".join(f"CAST(sum(sign * {name}) AS DOUBLE) AS {name}" for name in names.values())
    rows = "\nUNION ALL ".join(
        f"SELECT day, '{m.metric}' AS metric, '{m.part}' AS part, age, {names[m.sql]} AS amount FROM totals"
        for m in measures
    )
    return (
        f"WITH steps AS (\n{steps}\n), totals AS MATERIALIZED (\nSELECT day, age, {totals} FROM steps "
        f"GROUP BY day, age\n)\nSELECT * FROM (\n{rows}\n) WHERE amount <> 0"
    )


def _distinct_sql(measure: _Measure) -> str:
    """A value is counted while any version of any row that holds it stands."""
    steps = _steps_sql(measure.table, [f"{measure.sql} AS m", f"{measure.distinct} AS v"])
    return (
        f"WITH steps AS (\n{steps}\n), held AS (\nSELECT day, v, age, CASE WHEN sum(sum(sign * m)) OVER "
        "(PARTITION BY day, v ORDER BY age) > 0 THEN 1 ELSE 0 END AS stands FROM steps WHERE m IS NOT NULL AND "
        "v IS NOT NULL GROUP BY day, v, age\n), changes AS (\nSELECT day, age, stands - lag(stands, 1, 0) OVER "
        "(PARTITION BY day, v ORDER BY age) AS change FROM held\n)\n"
        f"SELECT day, '{measure.metric}' AS metric, '{measure.part}' AS part, age, CAST(sum(change) AS DOUBLE) AS "
        "amount FROM changes GROUP BY day, age HAVING sum(change) <> 0"
    )


def arrivals(catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], days: Sequence[dt.date]) -> pa.Table:
    """Rows of ARRIVALS of some days, ordered by day, metric, part and age."""
    with tempfile.TemporaryDirectory() as scratch, engine.spilling(Path(scratch)) as connection:
        connection.execute(
            "CREATE TEMP TABLE arrivals (day DATE, metric VARCHAR, part VARCHAR, age INTEGER, amount DOUBLE)"
        )
        for name, queries in arrivals_sql(catalog).items():
            connection.execute(f"CREATE OR REPLACE TEMP VIEW facts AS SELECT * FROM {scan(facts[name], days)}")
            for sql in queries:
                connection.execute(f"INSERT INTO arrivals {sql}")
        rows = connection.table("arrivals").order("day, metric, part, age").to_arrow_table()
    return rows.cast(ARRIVALS)


def arrivals_derivation(
    catalog: Catalog, engine: Engine, facts: Mapping[str, LakeTable], table: LakeTable
) -> Derivation:
    """Each day of arrivals follows from the same day of the versioned tables that metrics use."""
    sql = arrivals_sql(catalog)
    used = {name: facts[name] for name in sql}
    version = "arrivals-1-" + hashlib.sha256(repr(sql).encode()).hexdigest()[:16]

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for batch in batches(used, days):
            for day, rows in split_by_day(arrivals(catalog, engine, used, batch), batch):
                yield day, [rows]

    return Derivation([table], lambda day: [(t, [day]) for t in used.values()], version, compute)


def chain_ladder(grown: Array) -> Array:
    """Share of the final sum that is in by each age.

    Args:
        grown: (..., n, n): the cumulative sum of each day, oldest first, by each age from 0. Day i has reached age
            n - 1 - i; the ages a day has not reached are not looked at.

    Returns:
        (..., n): 1 at the greatest age. May exceed 1 where a sum shrinks again, as confirmed violations do when
        decisions are reversed.
    """
    n = grown.shape[-1]
    share = np.ones((*grown.shape[:-2], n))
    for age in range(n - 2, -1, -1):
        old_enough = grown[..., : n - 1 - age, :]  # days that have reached the next age
        now, then = old_enough[..., age].sum(axis=-1), old_enough[..., age + 1].sum(axis=-1)
        share[..., age] = share[..., age + 1] * np.divide(now, then, out=np.ones_like(now), where=then != 0)
    return share


def maturity(catalog: Catalog, rows: pa.Table, days: Sequence[dt.date]) -> pa.Table:
    """The curves as they could be known at the end of each day: rows of MATURITY, ordered by day.

    Args:
        rows: arrivals of all these days and of the :data:`WINDOW` - 1 days before each.
        days: ascending.
    """
    first = days[0] - dt.timedelta(days=WINDOW - 1)
    grown, oldest = _triangle(catalog, rows, first, (days[-1] - first).days + 1)
    tables = [MATURITY.empty_table()]
    for day in days:
        end = (day - first).days
        start = max(end - WINDOW + 1, oldest)
        if start <= end:
            window = grown[..., start : end + 1, : end + 1 - start]
            tables.append(_curves(catalog, window, day))
    return pa.concat_tables(tables)


def _triangle(catalog: Catalog, rows: pa.Table, first: dt.date, width: int) -> tuple[Array, int]:
    """(metrics, numerator and denominator, days, ages): cumulative sums; and the first day anything is known of."""
    place = {(m.name, part): 2 * i + j for i, m in enumerate(catalog.metrics) for j, part in enumerate(PARTS[:2])}
    keys = zip(rows["metric"].to_pylist(), rows["part"].to_pylist(), strict=True)
    series = np.array([place.get(key, -1) for key in keys], dtype=np.int64)
    day = rows["day"].cast(pa.int32()).to_numpy().astype(np.int64) - (first - dt.date(1970, 1, 1)).days
    age = rows["age"].to_numpy().astype(np.int64)
    known = (series >= 0) & (day >= 0) & (day < width) & (age < WINDOW)
    amounts = np.zeros((len(place), width, WINDOW))
    np.add.at(amounts, (series[known], day[known], age[known]), rows["amount"].to_numpy()[known])
    grown = np.cumsum(amounts, axis=2).reshape(-1, 2, width, WINDOW)
    return grown, int(day[known].min()) if known.any() else width


def _curves(catalog: Catalog, window: Array, day: dt.date) -> pa.Table:
    """Rows of one day; of each part up to the age from which on everything is in.

    Args:
        window: (metrics, 2, n, n) as for :func:`chain_ladder`; its last day is ``day``.
    """
    n = window.shape[-1]
    parts = chain_ladder(window)
    reached = np.diagonal(window[..., ::-1, :], axis1=-2, axis2=-1)  # (metrics, 2, n): each day's newest sum
    given = np.count_nonzero(reached, axis=-1) > 0
    curves = np.concatenate([parts, _value(catalog, parts, given)[:, None]], axis=1)
    shown = np.column_stack([given, given[:, 0] | given[:, 1]])
    unfinished = np.where(curves != 1.0, np.arange(n), -1).max(axis=-1)
    keep = shown[..., None] & (np.arange(n) <= np.minimum(unfinished + 1, n - 1)[..., None])
    metric, part, age = np.nonzero(keep)
    names = np.array([m.name for m in catalog.metrics], dtype=object)
    columns = {
        "day": [day] * len(age),
        "metric": names[metric],
        "part": np.array(PARTS, dtype=object)[part],
        "age": age.astype(np.int32),
        "of_day": np.datetime64(day, "D") - age.astype("timedelta64[D]"),
        "share": curves[keep],
    }
    return pa.table(columns, MATURITY)


def _value(catalog: Catalog, parts: Array, given: NDArray[np.bool_]) -> Array:
    """(metrics, ages): how far a metric's value is, from how far its numerator and denominator are.

    A quotient whose parts arrive at the same pace is right from the start. A quantile is as far as its rows are: what
    has not ended counts as larger all along.
    """
    kinds = np.array([m.type for m in catalog.metrics], dtype=object)
    numerator, denominator = parts[:, 0], parts[:, 1]
    quotient = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
    alone = (kinds == "count") | ~given[:, 1]
    rows = (kinds == "quantile") | (~given[:, 0] & given[:, 1])
    return np.where(alone[:, None], numerator, np.where(rows[:, None], denominator, quotient))


def maturity_derivation(catalog: Catalog, arrivals: LakeTable, table: LakeTable) -> Derivation:
    """The curves of a day follow from the arrivals of the window that ends with it."""

    def window(day: dt.date) -> list[dt.date]:
        return [day - dt.timedelta(days=i) for i in range(WINDOW - 1, -1, -1)]

    def compute(days: Sequence[dt.date]) -> Iterator[tuple[dt.date, Sequence[pa.Table]]]:
        for i in range(0, len(days), WINDOW):
            batch = days[i : i + WINDOW]
            needed = sorted({d for day in batch for d in window(day)})
            rows = maturity(catalog, arrivals.read(needed), batch)
            for day, part in split_by_day(rows, batch):
                yield day, [part]

    names = [f"{m.name} {m.type}" for m in catalog.metrics]
    version = "maturity-1-" + hashlib.sha256(repr(names).encode()).hexdigest()[:16]
    return Derivation([table], lambda day: [(arrivals, window(day))], version, compute)


@dataclass(frozen=True)
class Late:
    """A metric whose declared horizon is too short: its value is not there yet.

    Attributes:
        share: of its final value, at the horizon.
        needed: the first age from which on the value stays within :data:`MATURE`.
    """

    metric: str
    horizon: int
    share: float
    needed: int

    def __str__(self) -> str:
        return (
            f"{self.metric}: at its horizon of {_days(self.horizon)} its value is at {self.share:.0%} of the final "
            f"one; it needs {_days(self.needed)}"
        ).replace("%", " %")


def _days(count: int) -> str:
    return f"{count} day{'s' if count != 1 else ''}"


def value_curves(catalog: Catalog, curves: pa.Table) -> list[tuple[str, list[float], int]]:
    """Of one day's curves: metric, share of its value by age, declared horizon."""
    shares: dict[str, list[tuple[int, float]]] = {}
    for row in curves.to_pylist():
        if row["part"] == "value":
            shares.setdefault(row["metric"], []).append((row["age"], row["share"]))
    found = [(m.name, [share for _, share in sorted(shares.get(m.name, []))], m.horizon) for m in catalog.metrics]
    return [curve for curve in found if curve[1]]


def immature(shares: Sequence[float]) -> list[int]:
    """Ages at which a value is not yet, or not any more, within :data:`MATURE` of its final one."""
    return [age for age, share in enumerate(shares) if not MATURE <= share <= 1 / MATURE]


def too_short(catalog: Catalog, curves: pa.Table) -> list[Late]:
    """Metrics whose declared horizon the learned curves of a day contradict, the worst first."""
    found = []
    for name, shares, horizon in value_curves(catalog, curves):
        off = immature(shares)
        if horizon in off:
            found.append(Late(name, horizon, shares[horizon], off[-1] + 1))
    return sorted(found, key=lambda late: -abs(np.log(max(late.share, 1e-9))))
