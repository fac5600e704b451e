"""Does a catalog's SQL mean something? DuckDB binds it against the contracts, before there is any data."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from health_pipeline.catalog.model import SQL_TYPES, Metrics, Review, Sum, Table
from health_pipeline.catalog.roles import ROLES, fits
from health_pipeline.catalog.yaml_file import Finding, Path_, YamlFile, did_you_mean

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Sql:
    """Binds every expression of a catalog against its tables, in a DuckDB without data."""

    def __init__(self, files: Mapping[str, YamlFile], tables: Sequence[Table]) -> None:
        self.findings: list[Finding] = []
        self._files = files
        self._tables = tables
        self._engine: DuckDBPyConnection

    def __enter__(self) -> Self:
        import duckdb  # takes a moment: only where it is used

        self._engine = duckdb.connect()
        for table in self._tables:
            columns: dict[str, str] = {c.name: c.type for c in table.columns}
            if table.version:
                columns |= {"superseded_at": "timestamp"}
            columns = {"day": "date"} | columns | {d.name: d.type for d in table.derived}
            spec = ", ".join(f'"{name}" {SQL_TYPES[kind]}' for name, kind in columns.items())
            self._engine.execute(f'CREATE OR REPLACE TABLE "{table.name}" ({spec})')
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def check_tables(self) -> None:
        """Volumes, and derived columns."""
        for i, table in enumerate(self._tables):
            self._check_sum("tables", ["tables", i, "volume"], table, table.volume)
            for j, derived in enumerate(table.derived):
                where: Path_ = ["tables", i, "derived", j, "sql"]
                self._check("tables", where, table, derived.sql, SQL_TYPES[derived.type])

    def check_dimensions(self, declared: Metrics) -> dict[str, tuple[str, ...]]:
        """Dimension -> the tables it can cut; a dimension that can cut none is a finding."""
        reach = {}
        for i, dimension in enumerate(declared.dimensions):
            tables = [t for t in self._tables if self._error(t, dimension.expression, "VARCHAR") is None]
            reach[dimension.name] = tuple(t.name for t in tables)
            if not tables and self._tables:
                where: Path_ = ["dimensions", i, "sql" if dimension.sql else "name"]
                self._check("metrics", where, self._tables[0], dimension.expression, "VARCHAR", self._columns())
        return reach

    def check_metrics(self, declared: Metrics) -> None:
        """Sums, quantiles and weights."""
        tables = {t.name: t for t in self._tables}
        for i, metric in enumerate(declared.metrics):
            own = metric.table or next(iter(tables), "")
            for part in ("numerator", "denominator"):
                declared_sum: Sum | None = getattr(metric, part)
                if declared_sum is not None and (table := tables.get(declared_sum.table or own)) is not None:
                    self._check_sum("metrics", ["metrics", i, part], table, declared_sum)
            if (table := tables.get(own)) is None:
                continue
            if metric.weight:
                self._check("metrics", ["metrics", i, "weight"], table, metric.weight, "DOUBLE")
            if metric.quantile:
                where: Path_ = ["metrics", i, "quantile"]
                self._check("metrics", [*where, "of"], table, metric.quantile.of, "DOUBLE")
                if metric.quantile.where:
                    self._check("metrics", [*where, "where"], table, metric.quantile.where, "BOOLEAN")

    def check_roles(self, review: Review) -> None:
        """Every role's SELECT, and its columns."""
        import duckdb

        file: Any = self._files["review"]
        for name, select in review.roles.items():
            if name not in ROLES:
                continue
            role, line = ROLES[name], file.line(["roles", name])
            try:
                statements = duckdb.extract_statements(select)
                if [s.type for s in statements] != [duckdb.StatementType.SELECT]:  # DESCRIBE would run what follows it
                    says, hint = f"the role {name!r} is not one SELECT", "Write a single one, without a semicolon."
                    self.findings.append(Finding(file.path, line, says, hint))
                    continue
                described = self._engine.execute(f"DESCRIBE SELECT * FROM ({select})")  # as it is used
                given = {row[0].lower(): row[1] for row in described.fetchall()}
            except duckdb.Error as error:
                says = f"the role {name!r} is not valid SQL: {str(error).split(chr(10))[0].rstrip('!.')}"
                hint = "Write a SELECT over the tables of tables.yaml."
                self.findings.append(Finding(file.path, line, says, hint))
                continue
            for column, wanted in role.columns.items():
                if column in given:
                    if not fits(given[column], wanted):
                        says = f"the role {name!r} selects {column!r} as {given[column]}"
                        self.findings.append(Finding(file.path, line, says, f"It must be {wanted}."))
                elif column not in role.optional:
                    says = f"the role {name!r} selects no column {column!r}"
                    self.findings.append(Finding(file.path, line, says, did_you_mean(column, given)))

        if "labels" in review.roles:
            self._check_severities(review, review.roles["labels"])

    def _check_severities(self, review: Review, select: str) -> None:
        """What harm weighs is of severities that labels may have, where these are a column with its values listed."""
        file: Any = self._files["review"]
        tables = {t.name.lower(): t for t in self._tables}
        ((said,),) = self._engine.execute("SELECT json_serialize_sql(?)", [select]).fetchall()
        tree = json.loads(said)
        node = {} if tree["error"] else tree["statements"][0]["node"]  # a wrong SELECT has been told
        table = tables.get(str(node.get("from_table", {}).get("table_name", "")).lower())
        if table is None or node["cte_map"]["map"]:
            return
        for item in node.get("select_list", ()):
            source = (item.get("column_names") or [""])[-1].lower()
            column = next((c for c in table.columns if c.name.lower() == source), None)
            if column is None or not column.values or (item["alias"] or source).lower() != "severity":
                continue
            for severity in review.severity:
                if severity not in column.values:
                    says = f"no label has the severity {severity!r}, by {table.name}.{column.name}"
                    hint = did_you_mean(severity, column.values)
                    self.findings.append(Finding(file.path, file.line(["severity", severity]), says, hint))

    def _check_sum(self, file: str, where: Path_, table: Table, part: Sum) -> None:
        if part.sum is not None:
            self._check(file, [*where, "sum"], table, part.sum, "DOUBLE")
        if part.distinct is not None:
            self._check(file, [*where, "distinct"], table, part.distinct, "VARCHAR")
        if part.where:
            self._check(file, [*where, "where"], table, part.where, "BOOLEAN")

    def _error(self, table: Table, sql: str, wanted: str) -> str | None:
        import duckdb

        try:
            # WHERE refuses what a row alone can't answer: the cube sums these expressions itself.
            self._engine.execute(f'SELECT CAST(({sql}) AS {wanted}) FROM "{table.name}" WHERE ({sql}) IS NULL')
        except duckdb.Error as error:
            return str(error).split("\n")[0]
        return None

    def _check(
        self, file: str, where: Path_, table: Table, sql: str, wanted: str, known: Sequence[str] | None = None
    ) -> None:
        error = self._error(table, sql, wanted)
        if error is None:
            return
        source: Any = self._files[file]
        missing = re.search(r'Referenced column "([^"]+)" (?:was )?not found', error)
        if missing:
            names = known or [c.name for c in table.columns] + [d.name for d in table.derived]
            says, hint = f"unknown column {missing.group(1)!r} in {sql!r}", did_you_mean(missing.group(1), names)
        else:
            says = f"not valid SQL: {sql!r}: {error.rstrip('!.')}"
            hint = "Write an expression over one row of the table; sums are taken for you."
        self.findings.append(Finding(source.path, source.line(where), says, hint))

    def _columns(self) -> list[str]:
        names = [n for t in self._tables for n in ([c.name for c in t.columns] + [d.name for d in t.derived])]
        return list(dict.fromkeys(names))
