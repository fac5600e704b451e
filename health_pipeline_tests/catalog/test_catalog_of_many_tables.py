"""Mistakes in a catalog of several tables, each told with file, line and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from health_pipeline.catalog.loader import bundled_ecosystems, load_catalog
from health_pipeline.errors import CatalogError


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the marketplace's catalog, as ``market`` in the current folder."""
    shutil.copytree(bundled_ecosystems()["marketplace"], tmp_path / "market")
    monkeypatch.chdir(tmp_path)
    return Path("market")


def findings_after(folder: Path, file: str, before: str, after: str) -> tuple[int, list[str]]:
    """The line of the edit, and what loading says then."""
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(CatalogError) as stop:
        load_catalog("market")
    return text[: text.index(before)].count("\n") + 1, [line.strip() for line in str(stop.value).splitlines()[1:]]


METRIC = "    table: content_stats\n    numerator: {sum: views}\n    horizon: 2\n    family: activity\n"


@pytest.mark.parametrize(
    ("file", "before", "after", "lower", "said"),
    [
        pytest.param(
            "tables.yaml", "    version: ingested_at\n", "    version: ingested\n", 0,
            "version names the column 'ingested', which is not declared. Did you mean 'ingested_at'?",
            id="version of an unknown column",
        ),
        pytest.param(
            "tables.yaml", "    version: ingested_at\n", "    version: day\n", 0,
            "version names the column 'day', whose type is date. It must be a timestamp.",
            id="version that is no timestamp",
        ),
        pytest.param(
            "tables.yaml", "    day: published_at\n", "    day: creator_id\n", 0,
            "day names the column 'creator_id', whose type is text. It must be a date or timestamp.",
            id="day that is no time",
        ),
        pytest.param(
            "tables.yaml", "    cluster: creator_id\n", "    cluster: creator\n", 0,
            "cluster names the column 'creator', which is not declared. Did you mean 'creator_id'?",
            id="cluster of an unknown column",
        ),
        pytest.param(
            "tables.yaml", "{column: shop_id, table: shops,", "{column: shop_id, table: shop,", 0,
            "the reference names the table 'shop', which is not declared. Did you mean 'shops'?",
            id="reference to an unknown table",
        ),
        pytest.param(
            "tables.yaml", "table: shops, to: shop_id,", "table: shops, to: id,", 0,
            "the table 'shops' has no column 'id'. "
            "Known here: shop_id, market, category, status, opened_on, ingested_at.",
            id="reference to an unknown column",
        ),
        pytest.param(
            "tables.yaml", "{name: age_days, type: integer,", "{name: followers, type: integer,", 0,
            "the derived column 'followers' has the name of another. Rename it.",
            id="derived column twice",
        ),
        pytest.param(
            "tables.yaml", "sql: \"date_diff('day', joined_at, day)\"", "sql: \"date_diff('day', joined, day)\"", 0,
            "unknown column 'joined' in \"date_diff('day', joined, day)\". Did you mean 'joined_at'?",
            id="derived from an unknown column",
        ),
        pytest.param(
            "tables.yaml", "  - name: shops\n", "  - name: creators\n", 0,
            "the table 'creators' is declared twice. It is first declared on line 7: rename one.",
            id="a table twice",
        ),
        pytest.param(
            "ecosystem.yaml", "TH: Asia/Bangkok", "TH: Asia/Bangkock", 0,
            "'Asia/Bangkock' is not a time zone. Did you mean 'Asia/Bangkok'?",
            id="unknown time zone",
        ),
        pytest.param(
            "ecosystem.yaml", "  column: market\n", "  column: marked\n", 0,
            "time_zones names the column 'marked', which no table has. Did you mean 'market'?",
            id="zones by an unknown column",
        ),
        pytest.param(
            "metrics.yaml", "unit: market\n", "unit: markets\n", 0,
            "unit names the dimension 'markets', which is not declared. Did you mean 'market'?",
            id="unknown unit",
        ),
        pytest.param(
            "metrics.yaml", "  - [market, tier]\n", "  - [market, teir]\n", 0,
            "segments names the dimension 'teir', which is not declared. Did you mean 'tier'?",
            id="segment of an unknown dimension",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC.replace("content_stats", "content_stat"), 0,
            "views names the table 'content_stat', which is not declared. Did you mean 'content_stats'?",
            id="metric of an unknown table",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC.replace("{sum: views}", "{sum: views, table: videso}"), 1,
            "views.numerator names the table 'videso', which is not declared. Did you mean 'videos'?",
            id="sum of an unknown table",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC.replace("{sum: views}", "{sum: views, distinct: creator_id}"), 1,
            "views.numerator needs either `sum` or `distinct`. Write one of them.",
            id="sum and distinct",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC + "    dimensions: [market, policy]\n", 4,
            "views.dimensions names the dimension 'policy', which the table 'content_stats' does not know. "
            "Known there: market, surface, kind, category, tier, language.",
            id="dimension of another table",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC.replace("content_stats", "policy_events").replace("views", "1"), -8,
            "views is taken from 'policy_events', which does not know 'market', by which the sources deliver. "
            "Choose another table, or add the column to it.",
            id="table without the unit",
        ),
        pytest.param(
            "metrics.yaml", METRIC, METRIC + "    weight: views\n", 4,
            "views is a count and has a weight. Remove it, or make the type weighted.",
            id="weight of a count",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_line_and_what_to_do(
    market: Path, file: str, before: str, after: str, lower: int, said: str
) -> None:
    line, findings = findings_after(market, file, before, after)
    assert f"market/{file}:{line + lower}: {said}" in findings


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ratio", "has no denominator. Add one, or make the type count."),
        ("rate", "has no denominator. Add one, or make the type count."),
        ("weighted", "has no weight. Add one."),
        ("quantile", "has no quantile. Add one."),
    ],
)
def test_a_type_says_what_it_needs(market: Path, kind: str, said: str) -> None:
    text = (market / "metrics.yaml").read_text(encoding="utf-8")
    head, tail = text.split("  - name: views\n", 1)
    (market / "metrics.yaml").write_text(head + "  - name: views\n" + tail.replace("type: count", f"type: {kind}", 1))
    with pytest.raises(CatalogError, match=f"views is a {kind} and {said}"):
        load_catalog("market")


def test_every_metric_is_cut_by_the_segments_its_tables_know() -> None:
    catalog = load_catalog("marketplace")
    for metric in catalog.metrics:
        cuts = catalog.cuts(metric)
        assert cuts, metric.name
        for name in {d for cut in cuts for d in cut}:
            assert set(catalog.tables_of(metric)) <= set(catalog.reach[name])
        wanted = metric.dimensions
        assert wanted is None or {d for cut in cuts for d in cut} <= set(wanted)
    across = catalog.metric("reports_per_1m_views")
    assert len(catalog.tables_of(across)) == 2
    assert ("policy",) not in catalog.cuts(across)  # views have no policy


def test_the_version_of_a_declaration_follows_what_it_says_and_nothing_else() -> None:
    catalog = load_catalog("marketplace")
    table = catalog.table("orders")
    assert catalog.version(table) == load_catalog("marketplace").version(table)
    other = table.model_copy(update={"lateness_days": 1})
    assert catalog.version(other) != catalog.version(table)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "  - name: shops\n", "  - name: incidents\n",
            "the table 'incidents' has the name of one of the pipeline's own. Rename it.",
        ),
        (
            "{name: content_id, type: text, description: \"identifier, shared with live sessions\"}",
            "{name: day, type: date, description: a day}",
            "the column 'day' has the name of one that loading adds. Rename it.",
        ),
        (
            "{name: content_id, type: text, description: \"identifier, shared with live sessions\"}",
            "{name: cluster, type: text, description: a group}",
            "the column 'cluster' has the name of one that loading adds. Rename it.",
        ),
    ],
)  # fmt: skip
def test_names_that_the_pipeline_needs_are_refused(market: Path, before: str, after: str, said: str) -> None:
    _, findings = findings_after(market, "tables.yaml", before, after)
    assert any(said in finding for finding in findings), findings
