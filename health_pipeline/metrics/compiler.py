"""A catalog's metrics compiled to portable SQL: additive sums per metric, day and segment.

The catalog compiles to a list of statements, each materialised under its name (:func:`compile_cube`):

1. ``fine_<table>``: one scan of each fact table, grouped by day and every dimension that any of its metrics is cut by.
   All that follows reads this small table. Distinct counts and histograms need their column as a further key and have
   a fine table, and a scan, of their own (``values_…``, ``bins_…``).
2. ``cuts_…``: GROUPING SETS over it, for all cuts in use; small cuts from the large ones that contain them
   (``wide_…``).
3. ``cube`` and ``histograms``: one SELECT per metric, which joins its numerator's and its denominator's cuts.

The SQL needs sum, count, max, CASE, floor, ln, casts, GROUPING SETS and joins: no division, no quantile, no arithmetic
of times, so that another engine reads it as it is. Sums are exact (:mod:`.sums`): the cube is the same whatever the
order of rows and the number of threads.

**Variance by 64 clusters.** Rows of one creator depend on each other: a count that one creator makes is no count of
independent events, and the totals of a ratio vary together. Where a table declares what its rows depend on within, a
metric's second moments are kept. Each creator falls by a hash into one of 64 buckets, and the
second moments are taken over the buckets' totals, not over creators. These are random groups of clusters: the variance
estimated from them is unbiased like that over creators, with 63 degrees of freedom (Wolter, Introduction to Variance
Estimation, 2nd ed. 2007, ch. 2). It needs one pass, a table whose size does not depend on the number of creators, and
buckets of the same creator meet across tables. Moments are those of one day: adding them over days assumes that a
cluster's days are independent.

**No support floor.** Small segments are in the cube like all others, because children must add up to their parent.
Which are large enough to be judged is decided downstream, in shifts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Dimension, Metric, Sum, Table
from health_pipeline.metrics.schema import CUBE, HISTOGRAMS
from health_pipeline.metrics.sums import (
    SQUARE_TYPE,
    SUM_TYPE,
    exact_sum,
    is_fractional,
    sum_of_products,
    value_sql,
    weighted_sql,
    words,
)
from health_pipeline.stats.bins import OPEN, bin_sql

LOGIC = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
MOMENTS = ("n", "numerator_sq", "denominator_sq", "product")
NO_MOMENTS = "CAST(NULL AS BIGINT) AS n, " + ", ".join(f"CAST(NULL AS DOUBLE) AS {m}" for m in MOMENTS[1:])

Cut = tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """One query, to be materialised as a temporary table of this name."""

    name: str
    sql: str


@dataclass(frozen=True)
class Plan:
    """What computes the cube.

    Attributes:
        tables: the fact tables read; the SQL knows each as ``facts_<table>``.
        statements: in order; the last two are ``cube`` and ``histograms``.
    """

    tables: tuple[str, ...]
    statements: tuple[Statement, ...]

    @property
    def version(self) -> str:
        """Changes when, and only when, the cube's meaning changes: titles, owners and thresholds are not part of it."""
        text = "\n".join(f"{s.name}: {s.sql}" for s in self.statements)
        return "cube-3-" + hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Measure:
    """A sum after grouping: the column of a table of cuts."""

    cuts: str
    column: str

    def of(self, alias: str) -> str:
        return f"{alias}.{self.column}"


@dataclass(frozen=True)
class _Scanned:
    """What one column of a fine table holds.

    Attributes:
        row: SQL over one row, summed.
        fractional: it need not be a whole number.
        where: SQL over the dimensions alone, which therefore need not be looked at in every row.
    """

    row: str
    fractional: bool = False
    where: str | None = None


@dataclass
class _Fine:
    """A fine table in the making: one scan of a fact table at the finest grain.

    Attributes:
        key: SQL of a further grouping column ``key_``; rows where it is NULL are left out.
        function: how measures are aggregated in the scan; everywhere after it they are summed.
        measures: what each column holds -> column.
        cuts: asked for, in order.
        clusters, clustered: measures and cuts that are also wanted per cluster.
    """

    table: Table
    name: str
    key: str | None = None
    function: str = "sum"
    measures: dict[_Scanned, str] = field(default_factory=dict)
    cuts: dict[Cut, None] = field(default_factory=dict)
    clusters: dict[str, None] = field(default_factory=dict)
    clustered: dict[Cut, None] = field(default_factory=dict)

    def measure(self, row: str, fractional: bool = False, where: str | None = None) -> Measure:
        scanned = _Scanned(row, fractional, where)
        return Measure(f"cuts_{self.name}", self.measures.setdefault(scanned, f"m{len(self.measures)}"))

    def want(self, cuts: Sequence[Cut]) -> None:
        self.cuts.update(dict.fromkeys(cuts))

    def want_clusters(self, measure: Measure, cuts: Sequence[Cut]) -> str:
        """Also per cluster; returns the name of that table."""
        self.clusters[measure.column] = None
        self.clustered.update(dict.fromkeys(cuts))
        return f"clusters_{self.name}"


class _Compiler:
    """Collects what the metrics want of each fact table, then writes the statements."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.fine: dict[str, _Fine] = {}
        self.cuts: dict[Cut, int] = {}  # numbers of cuts are the same in all tables
        self.cube: list[str] = []
        self.histograms: list[str] = []
        self.moments: list[Statement] = []

    def plan(self) -> Plan:
        for metric in self.catalog.metrics:
            self._metric(metric)
        statements = [s for fine in self.fine.values() for s in self._fine_statements(fine)]
        statements += self.moments
        statements.append(Statement("cube", _union(self.cube, CUBE) + "\nORDER BY 1, 2, 3"))
        statements.append(Statement("histograms", _union(self.histograms, HISTOGRAMS) + "\nORDER BY 1, 2, 3, 5"))
        tables = dict.fromkeys(fine.table.name for fine in self.fine.values())
        return Plan(tuple(tables), tuple(statements))

    # One metric

    def _metric(self, metric: Metric) -> None:
        cuts = self.catalog.cuts(metric)
        if not cuts:
            return
        for cut in cuts:
            self.cuts.setdefault(cut, len(self.cuts))
        if metric.type == "quantile":
            self._quantile(metric, cuts)
        elif metric.type == "weighted":
            self._weighted(metric, cuts)
        elif metric.denominator is None:
            numerator = self._sum(metric, metric.numerator, cuts)
            moments, joined = self._moments(metric, numerator, None, cuts)
            self.cube.append(
                f"{_head(metric)}, n.segment AS whole, CAST({numerator.of('n')} AS DOUBLE) AS numerator, "
                f"CAST(NULL AS DOUBLE) AS denominator, {moments} FROM {numerator.cuts} n{joined} "
                f"WHERE {self._among('n', cuts)} AND {numerator.of('n')} IS NOT NULL"
            )
        elif metric.over is not None:
            self._share(metric, cuts, metric.over)
        else:
            self._quotient(metric, cuts)

    def _quotient(self, metric: Metric, cuts: Sequence[Cut]) -> None:
        """Numerator and denominator over the same segments: a row where the denominator is positive."""
        n = self._sum(metric, metric.numerator, cuts)
        d = self._sum(metric, metric.denominator, cuts)
        joins, source, numerator = "", f"{d.cuts} n", n.of("n")
        if n.cuts != d.cuts:
            joins, numerator = f" LEFT JOIN {n.cuts} y ON y.day = n.day AND y.segment = n.segment", n.of("y")
        moments, joined = self._moments(metric, n, d, cuts)
        joins += joined
        self.cube.append(
            f"{_head(metric)}, n.segment AS whole, CAST(coalesce({numerator}, 0) AS DOUBLE) AS numerator, "
            f"CAST({d.of('n')} AS DOUBLE) AS denominator, {moments} FROM {source}{joins} "
            f"WHERE {self._among('n', cuts)} AND {d.of('n')} > 0"
        )

    def _share(self, metric: Metric, cuts: Sequence[Cut], over: Cut) -> None:
        """The denominator over a larger whole: a row where there is a numerator."""
        n = self._sum(metric, metric.numerator, cuts)
        d = self._sum(metric, metric.denominator, [over])
        self.cube.append(
            f"{_head(metric)}, d.segment AS whole, CAST({n.of('n')} AS DOUBLE) AS numerator, "
            f"CAST({d.of('d')} AS DOUBLE) AS denominator, {NO_MOMENTS} FROM {n.cuts} n{self._whole(d, over)} "
            f"WHERE {self._among('n', cuts)} AND {n.of('n')} IS NOT NULL AND {d.of('d')} > 0"
        )

    def _moments(self, metric: Metric, n: Measure, d: Measure | None, cuts: Sequence[Cut]) -> tuple[str, str]:
        """SQL of the second moments over clusters, and a join to them; NULL where rows have no clusters to respect.

        Distinct values have none: they do not add up over clusters.
        """
        parts = [self._fine_of(m) for m in (n, d) if m is not None]
        if any(fine.table.cluster is None or fine.function != "sum" for fine in parts):
            return NO_MOMENTS, ""
        tables = [self._fine_of(m).want_clusters(m, cuts) for m in (n, d) if m is not None]
        if d is None:
            rows = f"SELECT day, segment, {n.column} AS y, CAST(NULL AS DOUBLE) AS x FROM {tables[0]}"
        elif tables[0] == tables[1]:
            rows = f"SELECT day, segment, {n.column} AS y, {d.column} AS x FROM {tables[0]}"
        else:  # of two tables; a cluster may be missing in either
            rows = (
                f"SELECT day, segment, cluster, sum(y) AS y, sum(x) AS x FROM (\n"
                f"  SELECT day, segment, cluster, {n.column} AS y, CAST(NULL AS DOUBLE) AS x FROM {tables[0]}\n"
                f"  UNION ALL SELECT day, segment, cluster, NULL, {d.column} FROM {tables[1]}\n"
                f") GROUP BY day, segment, cluster"
            )
        name = f"moments_{metric.name}"
        self.moments.append(
            Statement(
                name,
                "SELECT day, segment, count(CASE WHEN y IS NOT NULL OR x IS NOT NULL THEN 1 END) AS n, "
                f"{sum_of_products('y', 'y')} AS yy, {sum_of_products('x', 'x')} AS xx, "
                f"{sum_of_products('y', 'x')} AS yx\n"
                f"FROM (\n{rows}\n) GROUP BY day, segment",
            )
        )
        columns = ("n", "yy", *(("xx", "yx") if d is not None else ()))
        nothing = "" if d is not None else ", " + ", ".join(f"CAST(NULL AS DOUBLE) AS {m}" for m in MOMENTS[2:])
        moments = ", ".join(f"v.{c} AS {m}" for c, m in zip(columns, MOMENTS, strict=False)) + nothing
        return moments, f" LEFT JOIN {name} v ON v.day = n.day AND v.segment = n.segment"

    def _weighted(self, metric: Metric, cuts: Sequence[Cut]) -> None:
        """Sums of w y and w x, and their second moments, over the rows of a sample."""
        wy, wx, known = weighted_sql(metric)
        fine = self._scan(self.catalog.table_of(metric, metric.numerator))
        fine.want(cuts)

        def summed(value: str, kind: str) -> Measure:
            return fine.measure(f"CASE WHEN {known} THEN CAST({value} AS {kind}) END")

        n = fine.measure(f"CASE WHEN {known} THEN 1 END")
        numerator, denominator = summed(wy, SUM_TYPE), summed(wx, SUM_TYPE)
        yy, xx, yx = (summed(f"({a}) * ({b})", SQUARE_TYPE) for a, b in ((wy, wy), (wx, wx), (wy, wx)))
        joined, whole = "", "n"
        if metric.over is not None:  # rows outside the segment count for its share too, with y = 0
            fine.want([metric.over])
            joined, whole = self._whole(n, metric.over), "d"
        self.cube.append(
            f"{_head(metric)}, {whole}.segment AS whole, CAST({numerator.of('n')} AS DOUBLE) AS numerator, "
            f"CAST({denominator.of(whole)} AS DOUBLE) AS denominator, CAST({n.of(whole)} AS BIGINT) AS n, "
            f"CAST({yy.of('n')} AS DOUBLE) AS numerator_sq, CAST({xx.of(whole)} AS DOUBLE) AS denominator_sq, "
            f"CAST({yx.of('n')} AS DOUBLE) AS product FROM {n.cuts} n{joined} "
            f"WHERE {self._among('n', cuts)} AND {numerator.of('n')} IS NOT NULL AND {denominator.of(whole)} > 0"
        )

    def _whole(self, denominator: Measure, over: Cut) -> str:
        """A join to the row ``d`` over which a segment's denominator is taken."""
        number = self.cuts.setdefault(over, len(self.cuts))
        same = f"d.day = n.day AND d.segment = {_segment_sql(over, 'n.')}"
        return f" JOIN {denominator.cuts} d ON {same} AND d.cut = {number}"

    def _quantile(self, metric: Metric, cuts: Sequence[Cut]) -> None:
        """Counts per bin, and in the cube how many have a value, of how many there are."""
        assert metric.quantile is not None
        wanted, table = metric.quantile, self.catalog.table_of(metric)
        fine = self._scan(table, "bins", wanted.of, bin_sql(wanted.of))
        fine.want(cuts)
        count = fine.measure(f"CASE WHEN {wanted.where} THEN 1 END" if wanted.where else "1")
        which = f"{self._among('n', cuts)} AND {count.of('n')} > 0" + ("" if wanted.open else f" AND n.key_ <> {OPEN}")
        number = f"CAST({count.of('n')} AS BIGINT)"
        self.histograms.append(
            f"{_head(metric)}, CAST(n.key_ AS INTEGER) AS bin, {number} AS count FROM {count.cuts} n WHERE {which}"
        )
        closed = f"CASE WHEN n.key_ <> {OPEN} THEN {number} ELSE 0 END"
        self.cube.append(
            f"{_head(metric)}, n.segment AS whole, CAST(sum({closed}) AS DOUBLE) AS numerator, "
            f"CAST(sum({number}) AS DOUBLE) AS denominator, {NO_MOMENTS} FROM {count.cuts} n "
            f"WHERE {which} GROUP BY n.day, n.segment, n.unit"
        )

    def _sum(self, metric: Metric, part: Sum | None, cuts: Sequence[Cut]) -> Measure:
        assert part is not None
        table = self.catalog.table_of(metric, part)
        if part.distinct:
            fine = self._scan(table, "values", part.distinct, part.distinct)
            fine.function = "max"
            fine.want(cuts)
            return fine.measure(f"CASE WHEN {part.where} THEN 1 ELSE 0 END" if part.where else "1")
        fine = self._scan(table)
        fine.want(cuts)
        fractional = is_fractional(str(part.sum), table)
        if part.where and words(part.where) <= self._plain_dimensions(table) | LOGIC:
            return fine.measure(str(part.sum), fractional, part.where)
        return fine.measure(value_sql(part), fractional)

    def _plain_dimensions(self, table: Table) -> set[str]:
        """Columns of a table that are dimensions as they are, and keys of its fine table of sums."""
        keys: set[str] = set()
        for metric in self.catalog.metrics:
            cuts = self.catalog.cuts(metric)
            over = cuts if metric.over is None else (metric.over,)
            for part, by in ((metric.numerator, cuts), (metric.denominator, over)):
                if part is not None and not part.distinct and self.catalog.table_of(metric, part) == table:
                    keys.update(name for cut in by for name in cut)
        return {d.name for d in self.catalog.dimensions if d.name in keys and d.expression == d.name}

    def _scan(self, table: Table, kind: str = "", column: str = "", key: str | None = None) -> _Fine:
        name = f"{kind}_{table.name}_{column}" if kind else table.name
        return self.fine.setdefault(name, _Fine(table, name, key))

    def _fine_of(self, measure: Measure) -> _Fine:
        return self.fine[measure.cuts.removeprefix("cuts_")]

    def _among(self, alias: str, cuts: Sequence[Cut]) -> str:
        return f"{alias}.cut IN ({', '.join(str(self.cuts[c]) for c in cuts)})"

    # One fact table

    def _fine_statements(self, fine: _Fine) -> Iterator[Statement]:
        dims = [d for d in self.catalog.dimensions if any(d.name in cut for cut in fine.cuts)]
        named = [f"d_{d.name}" for d in dims]
        columns = list(fine.measures.values())
        name = f"fine_{fine.name}"
        yield Statement(name, self._scan_sql(fine, dims))
        if fine.clusters:
            some = [d for d in named if any(d[2:] in cut for cut in fine.clustered)]
            yield from self._cut_statements(
                f"clusters_{fine.name}", name, "sum", some, list(fine.clustered), ["cluster"], list(fine.clusters)
            )
            # The sums need no clusters: what the grouping sets read becomes some dozens of times smaller.
            plain, keys = f"plain_{fine.name}", ["day", *named]
            sums = ", ".join(f"sum({m}) AS {m}" for m in columns)
            yield Statement(plain, f"SELECT {', '.join(keys)}, {sums}\nFROM {name} GROUP BY {', '.join(keys)}")
            name = plain
        cuts, extra = f"cuts_{fine.name}", ["key_"] if fine.key else []
        if fine.function != "max":
            yield from self._cut_statements(cuts, name, "sum", named, list(fine.cuts), extra, columns)
            return
        distinct = f"distinct_{fine.name}"  # values of each segment; then they are counted
        yield from self._cut_statements(distinct, name, "max", named, list(fine.cuts), extra, columns)
        counts = ", ".join(f"sum({m}) AS {m}" for m in columns)
        keys = ["day", "cut", "segment", "unit", *named]
        yield Statement(cuts, f"SELECT {', '.join(keys)}, {counts}\nFROM {distinct} GROUP BY {', '.join(keys)}")

    def _scan_sql(self, fine: _Fine, dims: Sequence[Dimension]) -> str:
        """The scan of a fact table: every value of a row once, grouped at the finest grain."""
        named = [f"d_{d.name}" for d in dims]
        keys = ["day", *(["cluster"] if fine.clusters else []), *(["key_"] if fine.key else []), *named]
        pairs = dict.fromkeys((m.row, m.fractional) for m in fine.measures)
        summed = {pair: f"s{i}" for i, pair in enumerate(pairs)}
        rows = [*(k for k in ("day", "cluster") if k in keys), *([f"{fine.key} AS key_"] if fine.key else [])]
        rows += [f"{d.expression} AS d_{d.name}" for d in dims]
        rows += [f"{f'CAST({r} AS DOUBLE)' if fractional else r} AS {s}" for (r, fractional), s in summed.items()]
        wanted = ["superseded_at IS NULL"] if fine.table.version else []
        wanted += [f"{fine.key} IS NOT NULL"] if fine.function == "max" else []
        where = f"\n    WHERE {' AND '.join(wanted)}" if wanted else ""
        sums = [
            f"{exact_sum(s) if fractional else f'{fine.function}({s})'} AS {s}" for (_, fractional), s in summed.items()
        ]
        conditions = " ".join(m.where for m in fine.measures if m.where)
        plain = [f"d_{d.name} AS {d.name}" for d in dims if d.name in words(conditions)]
        measures = [
            f"CASE WHEN {m.where} THEN {summed[m.row, m.fractional]} END AS {column}"
            if m.where
            else f"{summed[m.row, m.fractional]} AS {column}"
            for m, column in fine.measures.items()
        ]
        return (
            f"SELECT {', '.join([*keys, *measures])}\nFROM (\n  SELECT {', '.join([*keys, *plain, *sums])}\n  FROM (\n"
            f"    SELECT {', '.join(rows)}\n    FROM facts_{fine.table.name}{where}\n"
            f"  ) r GROUP BY {', '.join(keys)}\n) g"
        )

    def _cut_statements(
        self,
        name: str,
        source: str,
        function: str,
        dims: list[str],
        cuts: list[Cut],
        extra: list[str],
        measures: list[str],
    ) -> Iterator[Statement]:
        """GROUPING SETS: ``day``, ``cut``, ``segment``, ``unit``, the extra keys, the dimensions and the measures.

        The cuts that no other contains are grouped first, into ``wide_<name>``; each of the rest from the smallest of
        these that contains it, which has far fewer rows than the fine table.
        """
        by_set: dict[frozenset[str], list[Cut]] = {}
        for cut in cuts:
            by_set.setdefault(frozenset(f"d_{d}" for d in cut), []).append(cut)
        widest = [s for s in by_set if not any(s < other for other in by_set)]
        inside: dict[frozenset[str], list[frozenset[str]]] = {}
        for some in by_set:
            if some not in widest:
                inside.setdefault(min((w for w in widest if some < w), key=len), []).append(some)

        def left_out(some: frozenset[str]) -> int:
            return sum(2**i for i, d in enumerate(dims) if d not in some)

        def grouped(sets: Sequence[frozenset[str]], rows: str) -> str:
            own = [d for d in dims if any(d in some for some in sets)]
            bits = "".join(f" + {2**i} * grouping({d})" for i, d in enumerate(dims) if d in own)
            columns = [d if d in own else f"CAST(NULL AS STRING) AS {d}" for d in dims]
            sums = [f"{function}({m}) AS {m}" for m in measures]
            texts = [f"({', '.join(['day', *extra, *(d for d in own if d in some)])})" for some in sets]
            return (
                f"SELECT {', '.join(['day', *extra, *columns])}, {left_out(frozenset(own))}{bits} AS mask, "
                f"{', '.join(sums)}\n  FROM {rows}\n  GROUP BY GROUPING SETS ({', '.join(texts)})"
            )

        # A bar separates the parts of a segment's name, so it can't stand inside one.
        texts = [f"replace(CAST({d} AS STRING), '|', '/') AS {d}" for d in dims]
        rows = f"(SELECT {', '.join(['day', *extra, *texts, *measures])} FROM {source}) s"
        wide = f"wide_{name}"
        yield Statement(wide, grouped(widest, rows))
        parts = [f"SELECT * FROM {wide}"]
        for some, sets in inside.items():
            parts.append(grouped(sets, f"(SELECT * FROM {wide} WHERE mask = {left_out(some)}) w"))
        yield Statement(name, self._named_sql(parts, by_set, left_out, [*extra, *dims, *measures]))

    def _named_sql(
        self,
        parts: list[str],
        by_set: Mapping[frozenset[str], list[Cut]],
        left_out: Callable[[frozenset[str]], int],
        columns: list[str],
    ) -> str:
        """Grouped rows with their cut, segment and unit; those without a value of a dimension are left out."""
        selects = []
        for turn in range(max(map(len, by_set.values()))):  # a second turn only for cuts that differ in order
            named = {left_out(some): cuts[turn] for some, cuts in by_set.items() if turn < len(cuts)}
            cut = " ".join(f"WHEN {mask} THEN {self.cuts[c]}" for mask, c in named.items())
            segment = " ".join(f"WHEN {mask} THEN {_segment_sql(c)}" for mask, c in named.items())
            unit = f"d_{self.catalog.unit}"
            unit = f"coalesce({unit}, '{EVERY_UNIT}')" if unit in columns else f"'{EVERY_UNIT}'"
            selects.append(
                f"SELECT day, CASE mask {cut} END AS cut, CASE mask {segment} END AS segment, {unit} AS unit, "
                f"{', '.join(columns)} FROM grouped"
            )
        # Joining NULL to a text gives NULL: such a row has no segment.
        return (
            "WITH grouped AS (\n  " + "\n  UNION ALL ".join(parts) + "\n)\nSELECT * FROM (\n  "
            "" + "\n  UNION ALL ".join(selects) + "\n) named WHERE segment IS NOT NULL"
        )


def _head(metric: Metric) -> str:
    return f"SELECT n.day AS day, '{metric.name}' AS metric, n.segment AS segment, n.unit AS unit"


def _segment_sql(cut: Cut, alias: str = "") -> str:
    """SQL of a segment's name: ``market=ID|kind=live``."""
    return " || '|' || ".join(f"'{name}=' || {alias}d_{name}" for name in cut) or "''"


def _union(selects: Sequence[str], schema: pa.Schema) -> str:
    """All of them, or no rows of the right columns."""
    types = {pa.date32(): "DATE", pa.string(): "STRING", pa.float64(): "DOUBLE", pa.int64(): "BIGINT"}
    nothing = ", ".join(f"CAST(NULL AS {types.get(f.type, 'INTEGER')}) AS {f.name}" for f in schema)
    return "\nUNION ALL ".join(selects or [f"SELECT {nothing} WHERE 1 = 0"])


def compile_cube(catalog: Catalog) -> Plan:
    """The statements that compute the cube and the histograms of a catalog's metrics."""
    return _Compiler(catalog).plan()
