"""The cube of the twin equals an independent computation in pandas, for every metric, day and segment.

Nothing here is taken from the pipeline but what the catalog declares. The twin's files are read as they are; versions
are resolved, rows grouped and moments summed in pandas. DuckDB only says, for one row at a time, what a declared
expression comes to.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.model import Catalog, Metric, Sum, Table
from health_pipeline.catalog.reference import formula_sql
from health_pipeline.home import Home
from health_pipeline.marketplace.scenario import load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.pipeline import Pipeline
from health_pipeline.stats.bins import OPEN, PER_E_FOLD, ZERO
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine, create_views, date_range
from health_pipeline.storage.lake import LakeTable

DAYS = 6
KEYS = ["day", "metric", "segment"]
MOMENTS = ["n", "numerator_sq", "denominator_sq", "product"]
Cut = tuple[str, ...]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A small twin, landed and taken as far as the cube."""
    folder = tmp_path_factory.mktemp("twin")
    pipeline = Pipeline.of("marketplace", Home(folder / "home"))
    start = pipeline.catalog.ecosystem.start
    simulate(folder / "files", load_scenario("quiet"), creators=200, days=DAYS, start=start, seed=11, files="whole")
    for table in pipeline.catalog.tables:
        for path in sorted((folder / "files" / table.name).glob("*.parquet")):
            if not pq.read_metadata(path).num_rows:  # no policy changes in a quiet week
                continue
            receipt = pipeline.landing.receive(path, table=table.name)
            assert receipt.quarantined == 0, receipt.reasons
    days = date_range(start, start + dt.timedelta(days=DAYS - 1))
    for step in pipeline.load_steps(Engine()).values():
        derive(step, days)
    return pipeline


@pytest.fixture(scope="module")
def straightforward(pipeline: Pipeline) -> Straightforward:
    return Straightforward(pipeline.catalog, pipeline.home.root.parent / "files")


class Straightforward:
    """Every metric by the book, over whole tables in memory."""

    def __init__(self, catalog: Catalog, files: Path) -> None:
        self.catalog = catalog
        self.connection = duckdb.connect()
        self.value, self.holds, self.places = cache(self._value), cache(self._holds), cache(self._places)
        self.totals, self.clusters = cache(self._totals), cache(self._clusters)
        used = {name for m in catalog.metrics for name in catalog.tables_of(m)}
        self.facts = {name: self._facts(catalog.table(name), files / name) for name in sorted(used)}

    def _facts(self, table: Table, folder: Path) -> pd.DataFrame:
        rows = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])
        for column in table.columns:
            if column.type == "timestamp":
                rows[column.name] = pd.to_datetime(rows[column.name], utc=True).dt.tz_localize(None)
        rows["day"] = pd.to_datetime(rows[table.day]).dt.date
        assert table.version is not None
        newest = rows.sort_values(table.version).drop_duplicates(["day", *table.key], keep="last")
        start = self.catalog.ecosystem.start
        newest = newest[newest["day"].map(lambda day: start <= day < start + dt.timedelta(days=DAYS))]
        newest = newest.reset_index(drop=True)
        if table.cluster:
            newest["cluster"] = [int(hashlib.md5(c.encode()).hexdigest()[:2], 16) % 64 for c in newest[table.cluster]]
        added = {d.name: d.sql for d in table.derived}
        for dimension in self.catalog.dimensions:
            if table.name in self.catalog.reach[dimension.name]:
                added[f"d_{dimension.name}"] = f"CAST({dimension.expression} AS VARCHAR)"
        self.connection.register("given", pa.Table.from_pandas(newest.assign(place_=np.arange(len(newest)))))
        more = ", ".join(f"({sql}) AS {name}" for name, sql in added.items())
        self.connection.execute(f"CREATE TABLE {table.name} AS SELECT *, {more} FROM given")
        return self.connection.execute(f"FROM {table.name} ORDER BY place_").df()

    def each(self, table: str, sql: str) -> pd.Series:
        """What an expression comes to for each row."""
        return self.connection.execute(f"SELECT ({sql}) AS found FROM {table} ORDER BY place_").df()["found"]

    def _value(self, table: str, part: Sum) -> pd.Series:
        """What each row adds to a sum; NaN where it adds nothing."""
        value = self.each(table, str(part.sum)).astype(float)
        return value.where(self.holds(table, part.where)) if part.where else value

    def _holds(self, table: str, where: str) -> pd.Series:
        return self.each(table, f"coalesce({where}, false)").astype(bool)

    def _places(self, table: str, cut: Cut) -> tuple[np.ndarray, pd.MultiIndex]:
        """Which day and segment each row belongs to; -1 for rows that a dimension leaves out."""
        rows = self.facts[table]
        segment, known = pd.Series("", index=rows.index), pd.Series(True, index=rows.index)
        for name in cut:
            text = rows[f"d_{name}"]
            known &= text.notna()
            segment = segment + ("|" if name != cut[0] else "") + f"{name}=" + text.fillna("").astype(str)
        pairs = pd.MultiIndex.from_arrays([rows["day"], segment], names=["day", "segment"])
        code, index = pairs.factorize()
        return np.where(known, code, -1), index.set_names(pairs.names)

    def groups(self, table: str, cut: Cut, **columns: pd.Series) -> tuple[pd.DataFrame, pd.MultiIndex]:
        """The given columns beside ``at``, the place of day and segment in the index."""
        at, index = self.places(table, cut)
        frame = pd.DataFrame({"at": at, **columns})
        return frame[at >= 0], index

    def _totals(self, table: str, part: Sum, cut: Cut) -> pd.Series:
        """Sum by day and segment; NaN where no row adds anything."""
        if part.distinct:
            counted = self.holds(table, part.where or "true")
            rows, index = self.groups(table, cut, v=self.facts[table][part.distinct].where(counted))
            found = rows.groupby("at")["v"].nunique().astype(float)
        else:
            rows, index = self.groups(table, cut, v=self.value(table, part))
            found = rows.groupby("at")["v"].sum(min_count=1)
        return found.set_axis(index[found.index])

    def metric(self, metric: Metric) -> pd.DataFrame:
        found = [self._of(metric, cut) for cut in self.catalog.cuts(metric)]
        return pd.concat(found).assign(metric=metric.name)

    def _of(self, metric: Metric, cut: Cut) -> pd.DataFrame:
        if metric.type == "quantile":
            out = self._quantile(metric, cut)
        elif metric.type == "weighted":
            out = self._weighted(metric, cut)
        else:
            out = self._quotient(metric, cut)
        place = cut.index(self.catalog.unit) if self.catalog.unit in cut else None
        parts = out["segment"].str.split("|")
        out["unit"] = "all" if place is None else parts.map(lambda p: p[place].split("=", 1)[1])
        over = metric.over if metric.over is not None else cut
        out["whole"] = parts.map(lambda p: "|".join(x for x in p if x.split("=", 1)[0] in over))
        return out

    def _quotient(self, metric: Metric, cut: Cut) -> pd.DataFrame:
        assert metric.numerator is not None
        y_table = self.catalog.table_of(metric, metric.numerator).name
        numerator = self.totals(y_table, metric.numerator, cut).rename("numerator")
        if metric.denominator is None:
            out = numerator.dropna().to_frame()
            if self.clustered(metric):
                y = self.clusters(y_table, metric.numerator, cut).groupby(["day", "segment"])
                out["n"], out["numerator_sq"] = y.size(), y.agg(lambda v: float((v**2).sum()))
            return out.reset_index()
        x_table = self.catalog.table_of(metric, metric.denominator).name
        denominator = self.totals(x_table, metric.denominator, cut).rename("denominator")
        out = denominator[denominator > 0].to_frame().join(numerator)
        out["numerator"] = out["numerator"].fillna(0.0)
        if self.clustered(metric):
            y = self.clusters(y_table, metric.numerator, cut).rename("y")
            x = self.clusters(x_table, metric.denominator, cut).rename("x")
            both = pd.concat([y, x], axis=1).dropna(how="all")
            out["n"] = both.groupby(["day", "segment"]).size()
            both = both.fillna(0.0)
            products = both.assign(yy=both["y"] ** 2, xx=both["x"] ** 2, yx=both["y"] * both["x"])
            sums = products.groupby(["day", "segment"])[["yy", "xx", "yx"]].sum()
            out[MOMENTS[1:]] = sums.reindex(out.index).to_numpy()
        return out.reset_index()

    def clustered(self, metric: Metric) -> bool:
        """Whether its rows have clusters to respect; distinct values do not add up over them."""
        parts = [p for p in (metric.numerator, metric.denominator) if p is not None]
        return all(self.catalog.table_of(metric, p).cluster is not None and p.distinct is None for p in parts)

    def _clusters(self, table: str, part: Sum, cut: Cut) -> pd.Series:
        rows, index = self.groups(table, cut, v=self.value(table, part), cluster=self.facts[table]["cluster"])
        found = rows.groupby(["at", "cluster"])["v"].sum(min_count=1).dropna().reset_index()
        keys = index[found["at"]].to_frame(index=False).assign(cluster=found["cluster"])
        return pd.Series(found["v"].to_numpy(), index=pd.MultiIndex.from_frame(keys))

    def _weighted(self, metric: Metric, cut: Cut) -> pd.DataFrame:
        assert metric.numerator is not None and metric.denominator is None and metric.weight is not None
        table = self.catalog.table_of(metric).name
        w = self.facts[table][metric.weight].astype(float)
        wy = w * self.value(table, metric.numerator)
        wx = w.where(wy.notna())
        columns = {"numerator": wy, "denominator": wx, "n": wx.notna().astype(int), "numerator_sq": wy**2,
                   "denominator_sq": wx**2, "product": wy * wx}  # fmt: skip
        out = self._sums(table, cut, columns).reset_index()
        out = out[out["n"] > 0].copy()
        if metric.over is not None:  # the whole sample is what the share is taken out of
            whole = self._sums(table, metric.over, columns)
            keep = [metric.over.index(d) if d in metric.over else None for d in cut]
            names = out["segment"].str.split("|").map(
                lambda p: "|".join(x for x, k in zip(p, keep, strict=True) if k is not None)
            )  # fmt: skip
            of = whole.loc[list(zip(out["day"], names, strict=True))]
            for name in ("denominator", "denominator_sq", "n"):
                out[name] = of[name].to_numpy()
        return out

    def _sums(self, table: str, cut: Cut, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
        rows, index = self.groups(table, cut, **columns)
        found = rows.groupby("at")[list(columns)].sum()
        return found.set_axis(index[found.index])

    def _quantile(self, metric: Metric, cut: Cut) -> pd.DataFrame:
        rows = self._binned(metric, cut)
        closed = rows.assign(closed=rows["bin"] != OPEN).groupby(["day", "segment"])["closed"]
        out = closed.agg(numerator="sum", denominator="count").astype(float)
        return out.reset_index()

    def _binned(self, metric: Metric, cut: Cut) -> pd.DataFrame:
        assert metric.quantile is not None
        q, table = metric.quantile, self.catalog.table_of(metric).name
        value = self.facts[table][q.of].astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            bins = np.floor(np.log(value) * PER_E_FOLD)
        bins = bins.where(value > 0, ZERO).where(value.notna(), OPEN)
        wanted = self.holds(table, q.where or "true") & (value.notna() | q.open)
        rows, index = self.groups(table, cut, bin=bins.where(wanted))
        rows = rows.dropna(subset=["bin"])
        return index[rows["at"]].to_frame(index=False).assign(bin=rows["bin"].astype(int).to_numpy())

    def histogram(self, metric: Metric) -> pd.DataFrame:
        found = [self._binned(metric, cut) for cut in self.catalog.cuts(metric)]
        counts = pd.concat(found).groupby(["day", "segment", "bin"]).size().rename("count")
        return counts.reset_index().assign(metric=metric.name)


def in_pandas(table: LakeTable) -> pd.DataFrame:
    rows = table.read().to_pandas()
    return rows.assign(day=pd.to_datetime(rows["day"]))


def by_key(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    assert not rows.duplicated(list(keys)).any()
    return rows.set_index(list(keys)).sort_index()


def test_every_metric_and_segment_of_the_cube(pipeline: Pipeline, straightforward: Straightforward) -> None:
    cube = in_pandas(pipeline.tables.cube)
    empty = []
    for metric in pipeline.catalog.metrics:
        wanted = by_key(straightforward.metric(metric), KEYS)
        found = by_key(cube[cube["metric"] == metric.name], KEYS)
        missing, extra = wanted.index.difference(found.index), found.index.difference(wanted.index)
        assert not len(missing) and not len(extra), (metric.name, list(missing[:3]), list(extra[:3]))
        found = found.loc[wanted.index]
        for name in ("unit", "whole"):
            assert (found[name] == wanted[name]).all(), (metric.name, name)
        for name in ("numerator", "denominator", *MOMENTS):
            expected = wanted[name].astype(float) if name in wanted else pd.Series(np.nan, index=wanted.index)
            np.testing.assert_allclose(
                found[name].astype(float), expected, rtol=1e-9, atol=1e-9, err_msg=f"{metric.name}: {name}"
            )
        if not len(wanted):
            empty.append(metric.name)
    # In six days nobody's newest course lies 90 days back.
    assert len(empty) <= 4, f"nothing is compared for {empty}"
    assert set(cube["metric"]) | set(empty) == {m.name for m in pipeline.catalog.metrics}
    print(f"\n{len(cube):,} rows compared; no rows for {empty}")


def test_every_histogram(pipeline: Pipeline, straightforward: Straightforward) -> None:
    rows = in_pandas(pipeline.tables.histograms)
    metrics = [m for m in pipeline.catalog.metrics if m.type == "quantile"]
    assert set(rows["metric"]) == {m.name for m in metrics}
    for metric in metrics:
        wanted = by_key(straightforward.histogram(metric), [*KEYS, "bin"])["count"]
        found = by_key(rows[rows["metric"] == metric.name], [*KEYS, "bin"])["count"]
        assert found.to_dict() == wanted.to_dict(), metric.name


def test_the_sql_of_the_reference_pages_gives_what_the_cube_says(pipeline: Pipeline) -> None:
    cube = in_pandas(pipeline.tables.cube)
    with duckdb.connect() as connection:
        create_views(connection, pipeline.tables.by_name())
        for metric in pipeline.catalog.metrics:
            if metric.type == "quantile" or metric.by is not None:
                continue
            rows = cube[(cube["metric"] == metric.name) & (cube["segment"] == "")].set_index("day")
            value = rows["numerator"] / rows["denominator"].fillna(1.0) * metric.per
            told = connection.execute(formula_sql(pipeline.catalog, metric)).df()
            told = told.assign(day=pd.to_datetime(told["day"])).set_index("day")["value"].dropna().astype(float)
            told = told.reindex(value.index.union(told.index[told != 0]))
            np.testing.assert_allclose(told, value.reindex(told.index), rtol=1e-9, err_msg=metric.name)
