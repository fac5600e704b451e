"""Reference pages of an ecosystem's metrics, generated from its catalog: what is declared once is told once.

``health-pipeline catalog reference ECOSYSTEM --out docs/metrics`` writes one page for each metric and an index. A page
holds no data: definition, formula in words and as SQL, how certain a value is, and when it may be trusted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog, Column, Derived, Metric, Sum, Table
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import UserError
from health_pipeline.stats.bins import RELATIVE_ERROR

DOCUMENTATION = "../.."
"""From a page to the folder of the hand-written documentation, when pages are written to ``docs/metrics``."""

WIDTH = 96
"""Longer lists of columns are broken into lines."""

TYPES = {
    "count": "count (C)",
    "rate": "rate (C): events per exposure",
    "proportion": "proportion (B): numerator and denominator count the same things",
    "ratio": "ratio of two totals (R)",
    "quantile": "quantile (Q)",
    "weighted": "estimate from a sample with unequal chances (W)",
    "mean": "mean",
}
CERTAINTY = {
    "count": "The number of independent events is taken to vary by its square root (Poisson).",
    "rate": "The numerator is taken to vary as a number of independent events does (Poisson), the denominator to be "
    "known.",
    "proportion": "Binomial.",
    "ratio": "Delta method: both totals of a day vary, and together.",
    "quantile": "Read from a histogram with logarithmic bins, which tells the bin exactly and is off by "
    "{error:.1%} of the value at most (`health_pipeline/stats/bins.py`). A day's variance is Woodruff's: from the "
    "quantiles one standard error of the level below and above.",
    "weighted": "Hájek's estimate with the weight `{weight}`: Σ weight × y ÷ Σ weight × x, with the variance of its "
    "linearisation over draws; judged as if it came from the effective number of draws (Kish, Survey Sampling, 1965).",
    "mean": "Only totals are known, so how much a day varies is learned from the past of the series alone.",
}
CLUSTERED = (
    "Rows of one {cluster} depend on each other, so how a day is made up is kept: squares and products of its totals "
    "over 64 groups of {cluster}s (random groups: Wolter, Introduction to Variance Estimation, 2007). A day that a few "
    "of them make says little."
)
BEYOND = "What varies beyond that from day to day is learned from the past of the series."
BAD = {
    "up": "a rise",
    "down": "a fall",
    "both": "neither: a rise and a fall are both reported at full weight",
}


def pages(catalog: Catalog) -> dict[str, str]:
    """File name -> Markdown: the index ``README.md``, and a page for each metric."""
    return {"README.md": index(catalog)} | {f"{m.name}.md": page(catalog, m) for m in catalog.metrics}


def write(catalog: Catalog, out: Path) -> tuple[int, list[Path]]:
    """Write an ecosystem's pages to ``out/<ecosystem>``, and remove pages of metrics that are no longer declared.

    Returns:
        How many pages there are, and the files that were changed or removed.

    Raises:
        UserError: the folder can't be written.
    """
    folder = out / catalog.name
    told = pages(catalog)
    changed = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in told.items():
            path = folder / name
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                changed.append(path)
        for path in sorted(folder.glob("*.md")):
            if path.name not in told and path.read_text(encoding="utf-8").startswith(_mark(catalog)):
                path.unlink()
                changed.append(path)
    except OSError as error:
        raise UserError(
            f"The reference can't be written to {folder}: {error.strerror}.", "Choose another --out."
        ) from None
    return len(told), changed


def index(catalog: Catalog) -> str:
    """The index: metrics by family, and the dimensions."""
    families = dict.fromkeys(m.family for m in catalog.metrics)
    lines = [
        _mark(catalog),
        f"# Metrics: {catalog.ecosystem.title}",
        "",
        f"{len(catalog.metrics)} metrics of the ecosystem `{catalog.name}`. Metrics of one family that move together "
        "become one incident.",
        "",
    ]
    for family in families:
        lines += [f"## {_heading(family)}", "", "| metric | type | harmful | what it is |", "| --- | --- | --- | --- |"]
        lines += [
            f"| [{m.title}]({m.name}.md) | {m.type} | {m.bad} | {_cell(m.description)} |"
            for m in catalog.metrics
            if m.family == family
        ]
        lines.append("")
    lines += ["## Dimensions", "", "| dimension | name | tables that know it |", "| --- | --- | --- |"]
    for d in catalog.dimensions:
        tables = ", ".join(f"`{t}`" for t in catalog.reach[d.name])
        lines.append(f"| {d.title} | `{d.name}` | {tables} |")
    return "\n".join(lines) + "\n"


def page(catalog: Catalog, metric: Metric) -> str:
    """The page of one metric, in Markdown."""
    facts = _facts(catalog, metric)
    lines = [
        _mark(catalog),
        f"# {metric.title}",
        "",
        metric.description,
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {_cell(said)} |" for name, said in facts),
        "",
        "## Formula",
        "",
        *_formula(catalog, metric),
        "",
        f"From the facts, for instance with `health-pipeline sql --ecosystem {catalog.name}`:",
        "",
        "```sql",
        formula_sql(catalog, metric),
        "```",
        "",
    ]
    used = _used_columns(catalog, metric)
    if used:
        lines += ["| column | of | what it is |", "| --- | --- | --- |"]
        lines += [f"| `{c.name}` | `{table.name}` | {_cell(_column_said(c))} |" for table, c in used]
        lines.append("")
    lines += [
        "## How certain it is",
        "",
        *_certainty(catalog, metric),
        "",
        "## Segments",
        "",
        *_segments(catalog, metric),
    ]
    return "\n".join(lines) + "\n"


def find_metric(catalog: Catalog, name: str) -> Metric:
    """The metric of that name.

    Raises:
        UserError: there is none; says which is near.
    """
    names = [m.name for m in catalog.metrics]
    if name not in names:
        hint = did_you_mean(name, names) if len(names) < 30 else did_you_mean(name, names).split("Known here")[0]
        listed = f"`health-pipeline catalog metrics {catalog.name}` lists them."
        raise UserError(f"{catalog.name} has no metric {name!r}.", f"{hint} {listed}".strip())
    return catalog.metric(name)


def formula_sql(catalog: Catalog, metric: Metric) -> str:
    """A query over the views of ``health-pipeline sql`` that computes the metric from the facts.

    Over all rows of a day; for a metric with a ``by`` of its own, by these dimensions.
    """
    if metric.quantile is not None:
        q = metric.quantile
        value = f"coalesce({q.of}, CAST('infinity' AS DOUBLE))" if q.open else q.of
        return _select(
            catalog, catalog.table_of(metric), (), [f"quantile_disc({value}, {q.level:g}) AS value"], q.where
        )
    assert metric.numerator is not None  # the catalog was checked
    times = f"{metric.per:g} * " if metric.per != 1 else ""
    n_table, n_sql = _part_sql(catalog, metric, metric.numerator)
    by = metric.by or ()
    if metric.denominator is None and metric.type != "weighted":
        return _select(catalog, n_table, by, [f"{n_sql} AS value"])
    d_table, d_sql = _part_sql(catalog, metric, _denominator(metric))
    over = metric.over if metric.over is not None else by
    if d_table.name == n_table.name and over == by:
        apart = "\n    / " if len(n_sql) + len(d_sql) > WIDTH else " / "
        return _select(catalog, n_table, by, [f"{times}coalesce({n_sql}, 0){apart}{d_sql} AS value"])
    columns = ", ".join(f"n.{name}" for name in ("day", *by))
    numerator, denominator = (
        _indented(_select(catalog, table, dims, [f"{sql} AS total"]))
        for table, dims, sql in ((n_table, by, n_sql), (d_table, over, d_sql))
    )
    return (
        f"WITH n AS (\n{numerator}\n), d AS (\n{denominator}\n)\n"
        f"SELECT {columns}, {times}coalesce(n.total, 0) / d.total AS value\n"
        f"FROM n JOIN d USING ({', '.join(('day', *over))})"
    )


def _select(catalog: Catalog, table: Table, by: Sequence[str], values: Sequence[str], where: str | None = None) -> str:
    dims = [(name, catalog.dimension(name).expression) for name in by]
    columns = ["day", *(name if sql == name else f"{sql} AS {name}" for name, sql in dims), *values]
    conditions = ["superseded_at IS NULL"] if table.version else []
    known = {c.name for c in table.columns if c.required}
    conditions += [f"{sql if sql == name else f'({sql})'} IS NOT NULL" for name, sql in dims if sql not in known]
    conditions += [where] if where else []
    given = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
    apart = ", " if sum(map(len, columns)) < WIDTH else ",\n  "
    return f"SELECT{apart[1:]}{apart.join(columns)}\nFROM raw.{table.name}{given}\nGROUP BY ALL"


def _part_sql(catalog: Catalog, metric: Metric, part: Sum) -> tuple[Table, str]:
    table = catalog.table_of(metric, part)
    if metric.type != "weighted":
        return table, part.sql()
    weighted = f"{metric.weight} * ({part.sum})" if part.sum != "1" else str(metric.weight)
    # A draw counts in both sums when its y is known: the numerator's condition and value say so.
    assert metric.numerator is not None
    conditions = [c for c in (metric.numerator.where, part.where) if c]
    return table, Sum(sum=weighted, where=" AND ".join(dict.fromkeys(conditions)) or None).sql()


def _denominator(metric: Metric) -> Sum:
    """What a metric is taken out of; a weighted one without says 1 for each draw."""
    return metric.denominator or Sum(sum="1")


def _formula(catalog: Catalog, metric: Metric) -> list[str]:
    if metric.quantile is not None:
        q = metric.quantile
        where = f" with `{q.where}`" if q.where else ""
        open_ = f" Rows without `{q.of}` are still open and count as larger than all others." if q.open else ""
        share = f"{q.level:.0%}".replace("%", " %")
        return [
            f"The smallest `{q.of}` that at least {share} of the rows of {_named(catalog.table_of(metric))}{where} do "
            f"not exceed.{open_}"
        ]
    assert metric.numerator is not None
    per = f" × {metric.per:,.0f}" if metric.per != 1 else ""
    if metric.denominator is None and metric.type != "weighted":
        return [f"{_upper(_in_words(catalog, metric, metric.numerator))}."]
    over = ""
    if metric.over is not None:
        left = ", ".join(f"`{d}`" for d in metric.by or () if d not in metric.over)
        over = f", over all values of {left}"
    return [
        f"**{_upper(_in_words(catalog, metric, metric.numerator))}**",
        "",
        f"÷ **{_in_words(catalog, metric, _denominator(metric))}**{over}{per}",
    ]


def _in_words(catalog: Catalog, metric: Metric, part: Sum) -> str:
    table = catalog.table_of(metric, part)
    where = part.where
    if metric.type == "weighted":
        assert metric.numerator is not None
        where = " AND ".join(dict.fromkeys(c for c in (metric.numerator.where, part.where) if c)) or None
    rows = f"rows of {_named(table)}" + (f" with `{where}`" if where else "")
    if part.distinct:
        return f"number of different `{part.distinct}` among {rows}"
    if metric.type == "weighted":
        return f"sum of `{metric.weight}`" + (f" × `{part.sum}`" if part.sum != "1" else "") + f" over {rows}"
    return f"number of {rows}" if part.sum == "1" else f"sum of `{part.sum}` over {rows}"


def _named(table: Table) -> str:
    return f"*{table.title}*"


def _facts(catalog: Catalog, metric: Metric) -> list[tuple[str, str]]:
    family = [m for m in catalog.metrics if m.family == metric.family and m.name != metric.name]
    siblings = ", ".join(f"[{m.title}]({m.name}.md)" for m in family)
    tables = ", ".join(f"`{name}` ({catalog.table(name).title})" for name in catalog.tables_of(metric))
    found = [
        ("name", f"`{metric.name}`"),
        ("type", TYPES[metric.type]),
        ("unit", metric.unit),
        ("harmful", BAD[metric.bad]),
        ("owner", metric.owner),
        ("source", metric.source or "defined here"),
        ("taken from", tables),
        ("judged", _judged(metric)),
        ("mature after", _maturity(catalog, metric)),
        ("family", f"{metric.family}" + (f", with {siblings}" if siblings else "")),
    ]
    if metric.adds_up_to:
        whole = catalog.metric(metric.adds_up_to)
        found.append(("adds up to", f"[{whole.title}]({whole.name}.md)"))
    return found


def _judged(metric: Metric) -> str:
    if metric.minimum_denominator <= 0:
        return "on every day"
    of = "draws" if metric.type == "weighted" else "rows" if metric.type == "quantile" else "in the denominator"
    return f"on days with at least {metric.minimum_denominator:,.10g} {of}"


def _maturity(catalog: Catalog, metric: Metric) -> str:
    late = [catalog.table(t) for t in catalog.tables_of(metric) if catalog.table(t).version]
    if not metric.horizon:
        return "at once" + ("" if late else ": rows do not change after they are delivered")
    return f"{metric.horizon} day{'s' if metric.horizon != 1 else ''}; younger days are not judged"


def _certainty(catalog: Catalog, metric: Metric) -> list[str]:
    said = [CERTAINTY[metric.type].format(weight=metric.weight, error=RELATIVE_ERROR).replace("%", " %")]
    parts = [p for p in (metric.numerator, metric.denominator) if p is not None]
    clusters = {catalog.table_of(metric, p).cluster for p in parts if not p.distinct}
    summed = metric.over is None and not any(p.distinct for p in parts) and metric.type != "weighted"
    if parts and summed and len(clusters) == 1 and None not in clusters:
        said.append(CLUSTERED.format(cluster=str(clusters.pop()).removesuffix("_id").replace("_", " ")))
    if metric.type != "mean":
        said.append(BEYOND)
    return [" ".join([*said, f"See [Statistics]({DOCUMENTATION}/statistics.md)."])]


def _segments(catalog: Catalog, metric: Metric) -> list[str]:
    def said(cut: Sequence[str]) -> str:
        return " × ".join(catalog.dimension(d).title.lower() for d in cut) or "total"

    cuts = catalog.cuts(metric)
    lines = [f"By {'; '.join(said(c) for c in cuts if c)}." if any(cuts) else "The total alone."]
    if () in cuts and any(cuts):
        lines = ["The total, and by " + lines[0][3:]]
    one = next((c for c in cuts if len(c) == 1), cuts[0])
    where = "segment = ''" if not one else f"segment LIKE '{one[0]}=%'" if len(one) == 1 else "unit <> 'all'"
    value = "numerator" if metric.type == "count" else "numerator, denominator"
    return [
        *lines, "",
        "```sql",
        f"SELECT day, segment, {value}\nFROM metrics.cube",
        f"WHERE metric = '{metric.name}' AND {where}\nORDER BY day, segment",
        "```",
    ]  # fmt: skip


def _used_columns(catalog: Catalog, metric: Metric) -> list[tuple[Table, Column | Derived]]:
    """Columns that the declaration names, in the order of their tables."""
    q = metric.quantile
    parts = [p for p in (metric.numerator, metric.denominator) if p is not None]
    texts = {catalog.table_of(metric).name: [q.of, q.where or ""] if q else []}
    for part in parts:
        texts.setdefault(catalog.table_of(metric, part).name, []).extend(
            t for t in (part.sum, part.distinct, part.where) if t
        )
    if metric.weight:
        texts[catalog.table_of(metric).name].append(metric.weight)
    found: list[tuple[Table, Column | Derived]] = []
    for name, said in texts.items():
        table = catalog.table(name)
        words = set(_words(said))
        known: Iterable[Column | Derived] = [*table.columns, *table.derived]
        found += [(table, c) for c in known if c.name in words]
    return found


def _words(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        yield from re.findall(r"[a-z_][a-z0-9_]*", re.sub(r"'[^']*'", "", text.lower()))


def _column_said(column: Column | Derived) -> str:
    if isinstance(column, Derived):
        return f"{column.description}: `{column.sql}`"
    return column.description


def _mark(catalog: Catalog) -> str:
    return f"<!-- Generated: health-pipeline catalog reference {catalog.name} --out docs/metrics -->"


def _cell(text: str) -> str:
    """Text that a cell of a Markdown table can hold."""
    return " ".join(text.split()).replace("|", "\\|")


def _heading(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _indented(sql: str) -> str:
    return "\n".join("  " + line for line in sql.splitlines())


def main(arguments: Sequence[str]) -> None:
    """``python -m health_pipeline.catalog.reference ECOSYSTEM --out FOLDER``."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m health_pipeline.catalog.reference", description=__doc__)
    parser.add_argument("ecosystem", help="a bundled ecosystem, or a folder with catalog files")
    parser.add_argument("--out", type=Path, default=Path("docs/metrics"))
    given = parser.parse_args(arguments)
    count, changed = write(load_catalog(given.ecosystem), given.out)
    print(f"{count} pages, {len(changed)} changed")


if __name__ == "__main__":
    main(sys.argv[1:])
