"""SQL of the sums that the cube holds: what a row adds to them, and how they stay exact.

Columns of type ``number`` are summed exactly, their whole and their fractional part apart: a sum is the same whatever
the order of rows and the number of threads.
"""

from __future__ import annotations

import re

from health_pipeline.catalog.model import Metric, Sum, Table

SUM_TYPE, SQUARE_TYPE = "DECIMAL(38, 12)", "DECIMAL(38, 9)"
"""Exact sums of fractional values: up to 1e26 with 12 decimals, and of their squares up to 1e29 with 9."""
LARGEST_SQUARE = "1e27"
"""Beyond it squares are added as doubles: a hundred of them would not fit :data:`SQUARE_TYPE`."""


def value_sql(part: Sum) -> str:
    """SQL of what one row adds to a sum; NULL where it adds nothing."""
    return f"CASE WHEN {part.where} THEN {part.sum} END" if part.where else str(part.sum)


def exact_sql(part: Sum, table: Table) -> str:
    """:func:`value_sql` as a number whose sum is exact, whatever the order of rows."""
    sql = value_sql(part)
    return f"CAST({sql} AS {SUM_TYPE})" if is_fractional(part.sum or "", table) else sql


def weighted_sql(metric: Metric) -> tuple[str, str, str]:
    """SQL over one row of a sample: weight x y, weight x x, and whether the row is in the sample.

    With a denominator, the sample is the rows it counts, and y is 0 where the numerator's condition is false and
    unknown where that is (no label yet). Without one, the sample is the rows the numerator counts, and x is 1.
    """
    assert metric.numerator is not None
    weight = f"CAST({metric.weight} AS DOUBLE)"
    y, x = value_sql(metric.numerator), "1"
    if metric.denominator is not None:
        x = value_sql(metric.denominator)
        if where := metric.numerator.where:
            y = f"CASE WHEN {where} THEN {metric.numerator.sum} WHEN NOT ({where}) THEN 0 END"
    known = f"{metric.weight} IS NOT NULL AND ({y}) IS NOT NULL AND ({x}) IS NOT NULL"
    return f"{weight} * ({y})", f"{weight} * ({x})", known


def exact_sum(value: str) -> str:
    """SQL of a sum of doubles, exact to 12 decimals: as whole numbers, which cost less than decimals."""
    fraction = f"CAST(floor(({value} - floor({value})) * 1e12 + 0.5) AS BIGINT)"
    return (
        f"CAST(sum(CAST(floor({value}) AS BIGINT)) AS {SUM_TYPE}) "
        f"+ CAST(sum({fraction}) AS DECIMAL(25, 0)) * CAST(0.000000000001 AS DECIMAL(12, 12))"
    )


def words(sql: str) -> frozenset[str]:
    """Names and key words in an expression, in lower case."""
    return frozenset(re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'", "", sql).lower()))


def is_fractional(sql: str, table: Table) -> bool:
    """Whether an expression uses a column that need not be a whole number."""
    types = {c.name: c.type for c in table.columns} | {c.name: c.type for c in table.derived}
    names = {name for name, kind in types.items() if kind == "number"}
    return bool(names & words(sql))


def sum_of_products(a: str, b: str) -> str:
    """SQL of the sum of products of two sums. Exact, like the sums themselves, unless one is too large for it."""
    doubles = f"CAST({a} AS DOUBLE) * CAST({b} AS DOUBLE)"
    large = f"max(CASE WHEN {doubles} > {LARGEST_SQUARE} OR {doubles} < -{LARGEST_SQUARE} THEN 1 ELSE 0 END) = 1"
    small = f"CASE WHEN {doubles} <= {LARGEST_SQUARE} AND {doubles} >= -{LARGEST_SQUARE} THEN {doubles} END"
    exact = f"CAST(coalesce(sum(CAST({small} AS {SQUARE_TYPE})), 0) AS DOUBLE)"
    return f"CASE WHEN {large} THEN sum({doubles}) ELSE {exact} END"
