"""A metric's reference page says what its declaration says, and is up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from pydantic import BaseModel

from health_pipeline.catalog.alerts import Alerts, Digest, QuietHours, Route, Severity
from health_pipeline.catalog.loader import bundled_ecosystems, load_catalog
from health_pipeline.catalog.model import (
    SQL_TYPES,
    Catalog,
    Column,
    Derived,
    Detection,
    Dimension,
    Ecosystem,
    Event,
    Metric,
    Metrics,
    Quantile,
    Reference,
    Simulation,
    Sum,
    Table,
    TimeZones,
)
from health_pipeline.catalog.reference import find_metric, formula_sql, pages, write
from health_pipeline.errors import UserError
from health_pipeline_tests.conftest import command

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "metrics"


@pytest.fixture(scope="module", params=sorted(bundled_ecosystems()))
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return load_catalog(request.param)


@pytest.fixture(scope="module")
def marketplace() -> Catalog:
    return load_catalog("marketplace")


def test_the_committed_pages_are_those_of_the_catalog(catalog: Catalog) -> None:
    committed = {p.name: p.read_text(encoding="utf-8") for p in (REFERENCE / catalog.name).glob("*.md")}
    again = f"run `health-pipeline catalog reference {catalog.name}`"
    assert sorted(committed) == sorted(pages(catalog)), again
    stale = [name for name, text in pages(catalog).items() if committed[name] != text]
    assert not stale, again


def test_links_between_pages_lead_somewhere(catalog: Catalog) -> None:
    folder = REFERENCE / catalog.name
    for name, text in pages(catalog).items():
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (folder / target).exists(), f"{name} links to {target}"


@pytest.fixture(scope="module")
def views(catalog: Catalog) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views of ``health-pipeline sql``, without rows."""
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA raw")
        for table in catalog.tables:
            columns: dict[str, str] = {"day": "date"} | {c.name: c.type for c in table.columns}
            columns |= {d.name: d.type for d in table.derived}
            if table.version:
                columns["superseded_at"] = "timestamp"
            spec = ", ".join(f"{name} {SQL_TYPES[kind]}" for name, kind in columns.items())
            connection.execute(f"CREATE TABLE raw.{table.name} ({spec})")
        yield connection


def test_the_sql_of_every_page_runs(catalog: Catalog, views: duckdb.DuckDBPyConnection) -> None:
    for metric in catalog.metrics:
        sql = formula_sql(catalog, metric)
        assert sql in pages(catalog)[f"{metric.name}.md"]
        names = [c[0] for c in views.execute(sql).description or ()]
        assert names == ["day", *(metric.by or ()), "value"], metric.name


def test_the_sql_of_a_page_gives_the_metric(marketplace: Catalog) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA raw")
        connection.execute(
            "CREATE TABLE raw.orders AS SELECT DATE '2026-07-01' AS day, CAST(NULL AS TIMESTAMP) AS superseded_at, "
            "* FROM (VALUES (10.0, 1), (20.0, 5), (30.0, NULL)) AS rows(gmv, review_stars) "
            "UNION ALL SELECT DATE '2026-07-01', TIMESTAMP '2026-07-02', 500.0, 1"  # an older version of a row
        )
        connection.execute(
            "CREATE TABLE raw.content_stats AS SELECT DATE '2026-07-01' AS day, "
            "CAST(NULL AS TIMESTAMP) AS superseded_at, 4000 AS views"
        )
        connection.execute(
            "CREATE TABLE raw.appeals AS SELECT DATE '2026-07-01' AS day, CAST(NULL AS TIMESTAMP) AS superseded_at, "
            "* FROM (VALUES (1.0), (2.0), (3.0), (NULL)) AS rows(hours_to_outcome)"
        )
        connection.execute(
            "CREATE TABLE raw.review_samples AS SELECT DATE '2026-07-01' AS day, "
            "CAST(NULL AS TIMESTAMP) AS superseded_at, * FROM (VALUES ('weighted', true, 10.0), "
            "('uniform', false, 30.0), ('weighted', NULL, 1000.0), ('decisions', true, 1000.0)) "
            "AS rows(arm, violative, weight)"
        )

        def value(name: str) -> float:
            [(_, found)] = connection.execute(formula_sql(marketplace, marketplace.metric(name))).fetchall()
            return float(found)

        assert value("gpm") == 60 / 4000 * 1000
        assert value("negative_review_rate") == 1 / 2
        assert value("appeal_turnaround_p90") == float("inf")  # the tenth that is longest is still open
        assert value("violative_view_rate") == 10 / 40


def test_pages_of_metrics_that_are_gone_are_removed_and_others_are_left(marketplace: Catalog, tmp_path: Path) -> None:
    count, changed = write(marketplace, tmp_path)
    assert count == len(changed) == len(marketplace.metrics) + 1
    assert write(marketplace, tmp_path) == (count, [])

    fewer = marketplace.model_copy(update={"metrics": marketplace.metrics[1:]})
    gone, own = tmp_path / "marketplace" / f"{marketplace.metrics[0].name}.md", tmp_path / "marketplace" / "notes.md"
    own.write_text("# Ours\n", encoding="utf-8")
    count, changed = write(fewer, tmp_path)
    assert gone in changed and not gone.exists()
    assert own.exists()
    assert all((tmp_path / "marketplace" / f"{m.name}.md").exists() for m in fewer.metrics)


def test_a_page_names_what_the_declaration_says(marketplace: Catalog) -> None:
    text = pages(marketplace)["overturn_rate.md"]
    for said in (
        "# Overturn rate",
        "| harmful | a rise |",
        "| mature after | 14 days; younger days are not judged |",
        "on days with at least 20 in the denominator",
        "EU Digital Services Act, Article 15(1)(d)",
        "÷ **number of rows of *Moderation decisions* with `action <> 'none'`**",
        "`reversed_at` | `decisions` | when it was reversed",
        "market × policy",
    ):
        assert said in text


def test_show_prints_a_metric_and_names_the_nearest_for_a_slip() -> None:
    shown = command("catalog", "show", "gpm", "--ecosystem", "marketplace")
    assert shown.returncode == 0
    assert "GMV per 1k views" in shown.stdout and "raw.content_stats" in shown.stdout
    slip = command("catalog", "show", "gmp", "--ecosystem", "marketplace")
    assert slip.returncode == 1
    assert "marketplace has no metric 'gmp'." in slip.stderr and "Did you mean 'gpm'?" in slip.stderr


def test_an_unknown_metric_of_a_small_catalog_is_answered_with_all_of_them() -> None:
    with pytest.raises(UserError, match="eu_dsa has no metric 'zzz'") as error:
        find_metric(load_catalog("eu_dsa"), "zzz")
    assert "statements" in str(error.value.hint)


@pytest.mark.parametrize(
    ("section", "prefix", "model"),
    [
        ("### ecosystem.yaml", "", Ecosystem),
        ("### ecosystem.yaml", "simulation.", Simulation),
        ("### ecosystem.yaml", "time_zones.", TimeZones),
        ("### ecosystem.yaml", "detection.", Detection),
        ("### tables.yaml", "", Table),
        ("Each column:", "", Column),
        ("Each reference.", "", Reference),
        ("Each derived column.", "", Derived),
        ("### metrics.yaml", "", Metrics),
        ("Each dimension:", "", Dimension),
        ("Each metric:", "", Metric),
        ("A sum:", "", Sum),
        ("A quantile:", "", Quantile),
        ("### calendar.yaml", "", Event),
        ("### alerts.yaml", "", Alerts),
        ("Each severity:", "", Severity),
        ("The digest:", "", Digest),
        ("Quiet hours:", "", QuietHours),
        ("Each route.", "", Route),
    ],
)
def test_every_key_is_documented_and_no_other(section: str, prefix: str, model: type[BaseModel]) -> None:
    text = (REFERENCE.parent / "catalog.md").read_text(encoding="utf-8")
    rows = text.split(f"\n{section}", 1)[1].split("| --- |", 1)[1].split("\n\n", 1)[0]
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", rows, re.MULTILINE))
    inside = {name.removeprefix(prefix) for name in documented if name.startswith(prefix)}
    assert {name for name in inside if "." not in name} == set(model.model_fields)
