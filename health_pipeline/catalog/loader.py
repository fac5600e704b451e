"""Read an ecosystem's YAML files; every mistake is reported with file, line and a suggestion.

Three passes: YAML syntax and types (:mod:`.yaml_file`), names that refer to one another (:mod:`.check`), and SQL
(:mod:`.binding`), which DuckDB binds against the contracts so that a misspelt column is found before any data is.
"""

from __future__ import annotations

from pathlib import Path

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.binding import Sql
from health_pipeline.catalog.check import (
    check_alerts,
    check_ecosystem,
    check_metrics,
    check_review,
    check_sources,
    check_tables,
)
from health_pipeline.catalog.model import Calendar, Catalog, Ecosystem, Metrics, Review, Sources, Tables
from health_pipeline.catalog.yaml_file import YamlFile, did_you_mean
from health_pipeline.errors import CatalogError

OPTIONAL = ("calendar", "sources", "review", "alerts")
"""Files that an ecosystem may do without."""


def bundled_ecosystems() -> dict[str, Path]:
    """Catalog folders that come with the package, by name."""
    root = Path(__file__).parent.parent
    return {p.parent.parent.name: p.parent for p in sorted(root.glob("*/catalog/ecosystem.yaml"))}


def find_catalog(name_or_folder: str) -> Path:
    """The catalog folder meant by a bundled ecosystem's name or by a path.

    Raises:
        CatalogError: neither a bundled ecosystem nor a folder with an ``ecosystem.yaml``.
    """
    bundled = bundled_ecosystems()
    if name_or_folder in bundled:
        return bundled[name_or_folder]
    folder = Path(name_or_folder)
    if (folder / "ecosystem.yaml").exists():
        return folder
    raise CatalogError(
        f"There is no ecosystem {name_or_folder!r}.",
        did_you_mean(name_or_folder, bundled)
        + " Or give a folder that holds ecosystem.yaml, tables.yaml and metrics.yaml.",
    )


def load_catalog(name_or_folder: str = "eu_dsa") -> Catalog:
    """Load and check the catalog of an ecosystem.

    Args:
        name_or_folder: a bundled ecosystem (``eu_dsa``, ``marketplace``) or a folder with YAML files.

    Raises:
        CatalogError: lists every finding as ``file:line: what is wrong. What to do.``
    """
    folder = find_catalog(name_or_folder)
    files = {
        name: YamlFile(folder / f"{name}.yaml", optional=name in OPTIONAL)
        for name in ("ecosystem", "tables", "metrics", *OPTIONAL)
    }
    ecosystem = files["ecosystem"].parse(Ecosystem)
    tables = files["tables"].parse(Tables)
    metrics = files["metrics"].parse(Metrics)
    calendar = files["calendar"].parse(Calendar)
    sources = files["sources"].parse(Sources)
    review = files["review"].parse(Review) if files["review"].data != {} else None
    alerts = files["alerts"].parse(Alerts)
    findings = [f for file in files.values() for f in file.findings]
    reach: dict[str, tuple[str, ...]] = {}
    if tables is not None:
        findings += check_tables(files["tables"], tables.tables)
        with Sql(files, tables.tables) as sql:
            sql.check_tables()
            if metrics is not None:
                reach = sql.check_dimensions(metrics)
                findings += check_metrics(files["metrics"], tables.tables, metrics, reach)
                sql.check_metrics(metrics)
            if review is not None:
                findings += check_review(files["review"], review)
                sql.check_roles(review)
        findings += sql.findings
    if ecosystem is not None and tables is not None:
        findings += check_ecosystem(files["ecosystem"], folder, ecosystem, tables.tables)
    if sources is not None and tables is not None:
        findings += check_sources(files["sources"], sources.sources, tables.tables)
    if alerts is not None and metrics is not None:
        declared = metrics.metrics
        findings += check_alerts(
            files["alerts"], alerts, owners=sorted({m.owner for m in declared}),
            families=sorted({m.family for m in declared}), metrics=[m.name for m in declared],
        )  # fmt: skip
    if findings or not (alerts and ecosystem and tables and metrics and calendar and sources):
        count = f"{len(findings)} mistake{'s' if len(findings) != 1 else ''}"
        raise CatalogError(f"The catalog has {count}:\n" + "\n".join(f"  {f}" for f in findings))
    return Catalog(
        folder=folder,
        ecosystem=ecosystem,
        tables=tables.tables,
        dimensions=metrics.dimensions,
        unit=metrics.unit or tables.tables[0].delivered_by,
        segments=metrics.segments,
        metrics=metrics.metrics,
        events=calendar.events,
        reach=reach,
        sources=sources.sources,
        review=review,
        alerts=alerts,
    )
