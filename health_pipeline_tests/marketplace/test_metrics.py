"""The marketplace's metrics are many, of every type, said in words people read, and portable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import SQL_TYPES, Catalog, Column, Metric, Sum, Table

ROWS = 3_000
PORTABLE = {"CASE", "WHEN", "THEN", "ELSE", "END", "AND", "OR", "NOT", "IS", "NULL", "IN"}
"""Words of SQL that every engine reads the same way."""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog("marketplace")


def parts(metric: Metric) -> list[Sum]:
    return [p for p in (metric.numerator, metric.denominator) if p is not None]


def test_there_are_at_least_45_metrics_of_every_type_of_the_domain(catalog: Catalog) -> None:
    types = Counter(m.type for m in catalog.metrics)
    assert len(catalog.metrics) >= 45
    assert set(types) == {"count", "rate", "proportion", "ratio", "quantile", "weighted"}
    assert min(types.values()) >= 5


def test_every_table_of_facts_is_measured(catalog: Catalog) -> None:
    used = {t for m in catalog.metrics for t in catalog.tables_of(m)}
    # Shops, products and calendars describe; they hold no events to count.
    assert {t.name for t in catalog.tables} - used == {"shops", "products", "policy_events", "calendar"}


def test_every_metric_is_cut_by_market_and_most_have_a_total(catalog: Catalog) -> None:
    for metric in catalog.metrics:
        cuts = catalog.cuts(metric)
        if metric.by is None:
            assert () in cuts and ("market",) in cuts, metric.name
        else:
            assert "market" in metric.by, metric.name


def test_a_metric_is_not_cut_by_what_it_is_restricted_to(catalog: Catalog) -> None:
    """A share of livestreams by kind of content would be its own total again, under a second name."""
    for metric in catalog.metrics:
        dims = {d for cut in catalog.cuts(metric) for d in cut}
        said = [p.where or "" for p in parts(metric)][-1:]  # the denominator, or the only one
        for dimension in dims:
            assert not any(re.search(rf"\b{dimension} = '", where) for where in said), (metric.name, dimension)


def test_metrics_are_said_in_words_that_fit_into_a_sentence(catalog: Catalog) -> None:
    for m in catalog.metrics:
        first = m.phrase.split()[0]
        assert m.phrase and (first[0].islower() or not first.isalpha() or first[1:2].isupper()), m.phrase
        assert not m.phrase.endswith("."), m.name
        assert m.description.endswith(".") and len(m.description) < 320, m.name
        assert m.title[0].isupper() or m.title[0].isdigit() or m.title.startswith("AI"), m.name
        assert m.owner and m.unit and m.horizon >= 1, m.name
    assert len({m.title for m in catalog.metrics}) == len({m.phrase for m in catalog.metrics}) == len(catalog.metrics)


def test_values_people_read_have_no_underscores(catalog: Catalog) -> None:
    values = {c.name: c.values for t in catalog.tables for c in t.columns if c.values}
    for dimension in catalog.dimensions:
        for value in values.get(dimension.name, ()):
            label = dimension.label(value)
            assert "_" not in label and label.strip(), (dimension.name, value)
        assert set(dimension.labels) <= set(values.get(dimension.name, ()))  # no label for a value that can't come
    assert catalog.dimension("market").label("ID") == "Indonesia"
    assert catalog.dimension("kind").label("live") == "livestreams"


def test_families_hold_metrics_that_can_move_together(catalog: Catalog) -> None:
    families: dict[str, list[Metric]] = {}
    for m in catalog.metrics:
        families.setdefault(m.family, []).append(m)
    assert 8 <= len(families) <= 20
    for name, members in families.items():
        assert len(members) >= 2, f"{name} has one member: what would it be merged with?"


def test_a_days_value_is_mature_before_its_late_rows_are_refused(catalog: Catalog) -> None:
    for metric in catalog.metrics:
        for name in catalog.tables_of(metric):
            lateness = catalog.table(name).lateness_days
            assert lateness is None or metric.horizon <= lateness, metric.name


def test_expressions_are_portable(catalog: Catalog) -> None:
    """No functions, no division, no dates: what engines do differently is in the tables' derived columns."""
    for metric in catalog.metrics:
        said = [t for p in parts(metric) for t in (p.sum, p.distinct, p.where) if t]
        said += [t for t in ((metric.quantile.of, metric.quantile.where) if metric.quantile else ()) if t]
        known = {c for t in catalog.tables_of(metric) for c in columns(catalog.table(t))}
        for text in said:
            code = re.sub(r"'[^']*'", "", text)
            assert "/" not in code and "::" not in code, (metric.name, text)
            assert set(re.findall(r"[A-Za-z_]\w*", code)) <= known | PORTABLE, (metric.name, text)


def columns(table: Table) -> set[str]:
    return {c.name for c in table.columns} | {d.name for d in table.derived}


@pytest.fixture(scope="module")
def anything(catalog: Catalog) -> Iterator[duckdb.DuckDBPyConnection]:
    """Every table with rows that its contract allows, whatever else they say; derived columns included."""
    random = np.random.default_rng(7)
    with duckdb.connect() as connection:
        for table in catalog.tables:
            given = pa.table({c.name: anything_of(c, random) for c in table.columns})
            connection.register("given", given)
            typed = ", ".join(f"CAST({c.name} AS {SQL_TYPES[c.type]}) AS {c.name}" for c in table.columns)
            derived = "".join(f", {d.sql} AS {d.name}" for d in table.derived)
            connection.execute(f'CREATE TABLE "{table.name}" AS SELECT *{derived} FROM (SELECT {typed} FROM given)')
        yield connection


def anything_of(column: Column, random: np.random.Generator) -> pa.Array:
    missing = random.random(ROWS) < (0.0 if column.required else 0.3)
    low = 0.0 if column.minimum is None else column.minimum
    high = low + 12.0 if column.maximum is None else min(column.maximum, low + 12.0)
    if column.values:
        values = random.choice(np.array(column.values), ROWS)
    elif column.type == "boolean":
        values = random.random(ROWS) < 0.5
    elif column.type in ("integer", "number"):
        values = np.where(random.random(ROWS) < 0.3, low, random.uniform(low, high, ROWS))
        values = np.floor(values).astype(np.int64) if column.type == "integer" else values
    elif column.type in ("timestamp", "date"):
        unit = "us" if column.type == "timestamp" else "D"
        span = 90 * (86_400_000_000 if unit == "us" else 1)
        values = np.datetime64("2026-07-01", unit) + random.integers(0, span, ROWS)
    else:
        values = np.array([f"x{n}" for n in random.integers(0, 50, ROWS)])
    return pa.array(values, mask=missing)


def test_a_proportion_counts_nothing_that_its_denominator_leaves_out(
    catalog: Catalog, anything: duckdb.DuckDBPyConnection
) -> None:
    for m in catalog.metrics:
        if m.type != "proportion":
            continue
        numerator, denominator = parts(m)
        assert numerator.sum == denominator.sum == "1"
        table = catalog.table_of(m).name
        found = anything.execute(
            f"SELECT count(*), count(*) FILTER ({numerator.where}), "
            f"count(*) FILTER (({numerator.where}) AND ({denominator.where or 'true'}) IS NOT TRUE) FROM {table}"
        ).fetchone()
        assert found is not None
        rows, counted, outside = found
        assert outside == 0, f"{m.name}: {outside} of {rows} rows are in the numerator alone"
        if "= 30" not in str(numerator.where) and "= 90" not in str(numerator.where):  # days that chance seldom hits
            assert 0 < counted < rows, (
                f"{m.name} counts {counted} of {rows} rows: its condition is always or never true"
            )


def test_a_sampled_share_is_asked_of_each_draw_with_a_label(
    catalog: Catalog, anything: duckdb.DuckDBPyConnection
) -> None:
    for m in catalog.metrics:
        if m.type != "weighted":
            continue
        assert m.numerator is not None
        sql = (
            f"SELECT count(*) FILTER (({m.numerator.sum}) IS NULL), min({m.numerator.sum}), max({m.numerator.sum}) "
            f"FROM {catalog.table_of(m).name} WHERE {m.numerator.where}"
        )
        unknown, low, high = anything.execute(sql).fetchone() or (None, None, None)
        assert unknown == 0, m.name
        if m.is_share:
            assert (low, high) == (0, 1), m.name
