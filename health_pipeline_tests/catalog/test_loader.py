"""Every mistake in a catalog is told as a user reads it: file, line, what is wrong, what to do; exit code 3."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from health_pipeline.catalog.loader import bundled_ecosystems, load_catalog
from health_pipeline.cli import main
from health_pipeline.errors import CatalogError
from health_pipeline_tests.conftest import command

Edit = Callable[[str, str, str], int]
Validate = Callable[[], list[str]]


@pytest.fixture
def validate(catalog_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Validate:
    """``health-pipeline catalog validate mine``: its findings."""

    def validate() -> list[str]:
        monkeypatch.setattr(sys, "argv", ["health-pipeline", "catalog", "validate", "mine"])
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        assert stop.value.code == 3
        assert shown.out == ""
        first, *findings = shown.err.splitlines()
        count = f"{len(findings)} mistake{'' if len(findings) == 1 else 's'}"
        assert first == f"✗ The catalog has {count}:"
        return [finding.removeprefix("  ") for finding in findings]

    return validate


def test_the_bundled_catalog_is_right() -> None:
    catalog = load_catalog()
    assert catalog.name == "eu_dsa"
    assert set(bundled_ecosystems()) == {"eu_dsa", "marketplace"}
    assert catalog.sample is not None and catalog.sample.exists()


def test_the_little_catalog_is_right_and_says_so(catalog_copy: Path) -> None:
    done = command("catalog", "validate", str(catalog_copy))
    assert (done.returncode, done.stderr) == (0, "")
    catalog = load_catalog(str(catalog_copy))
    assert done.stdout == (
        f"✓ little: {len(catalog.metrics)} metrics, {len(catalog.dimensions)} dimensions, "
        f"1 table, {len(catalog.events)} known events. No mistakes.\n"
    )


def test_a_calendar_is_optional(catalog_copy: Path) -> None:
    (catalog_copy / "calendar.yaml").unlink()
    assert load_catalog("mine").events == ()


@pytest.mark.parametrize(
    ("file", "before", "after", "lower", "said"),
    [
        pytest.param(
            "metrics.yaml", "  - name: platform\n", "  - name: platform\n   title: [3\n", 1,
            "not valid YAML: expected <block end>, but found '<block mapping start>'. "
            "Check indentation and quotes here and just above.",
            id="bad YAML",
        ),
        pytest.param(
            "ecosystem.yaml", "name: little\n", "name: little\nname: other\n", 1,
            "not valid YAML: found duplicate key \"name\" with value \"other\" (original value: \"little\"). "
            "Check indentation and quotes here and just above.",
            id="a key twice",
        ),
        pytest.param(
            "metrics.yaml", "    bad: both\n", "    baad: both\n", 0,
            "unknown key 'baad' in statements. Did you mean 'bad'?",
            id="unknown key",
        ),
        pytest.param(
            "metrics.yaml", "dimensions:\n", "dimension:\n", 0,
            "unknown key 'dimension' in the file. Did you mean 'dimensions'?",
            id="unknown key at the top",
        ),
        pytest.param(
            "ecosystem.yaml", "  minimum_change: 0.1", "  minimum_chnge: 0.1", 0,
            "unknown key 'minimum_chnge' in detection. Did you mean 'minimum_change'?",
            id="unknown key inside",
        ),
        pytest.param(
            "metrics.yaml", "    unit: seconds\n", "", -4,
            "the key 'unit' is missing in moderation_delay. Add it.",
            id="missing key",
        ),
        pytest.param(
            "ecosystem.yaml", "title: EU platforms, DSA statements of reasons\n", "", -2,
            "the key 'title' is missing in the file. Add it.",
            id="missing key at the top",
        ),
        pytest.param(
            "metrics.yaml", "    bad: both\n", "    bad: upp\n", 0,
            "statements.bad is 'upp', which is not one of up, down or both. Did you mean 'up'?",
            id="wrong literal",
        ),
        pytest.param(
            "tables.yaml", "      type: integer\n", "      type: int\n", 0,
            "statements.columns.statements.type is 'int', which is not one of date, timestamp, text, integer, number "
            "or boolean. Did you mean 'integer'?",
            id="wrong type of column",
        ),
        pytest.param(
            "metrics.yaml", "  - name: moderation_delay\n", "  - name: Moderation-Delay\n", 0,
            "Moderation-Delay.name is 'Moderation-Delay', which is not a name. "
            "Names are lower-case letters, digits and underscores, and start with a letter.",
            id="bad name",
        ),
        pytest.param(
            "metrics.yaml", "    minimum_denominator: 30\n", "    minimum_denominator: -1\n", 0,
            "moderation_delay.minimum_denominator is -1, which should be greater than or equal to 0.",
            id="number out of range",
        ),
        pytest.param(
            "metrics.yaml", "    by: [platform]\n", "    by: platform\n", 0,
            "statements.by is not a list. Write [platform].",
            id="no list",
        ),
        pytest.param(
            "ecosystem.yaml", "start: 2025-06-01\n", "start: yesterday\n", 0,
            "start is 'yesterday', which should be a valid date or datetime, input is too short.",
            id="no date",
        ),
        pytest.param(
            "metrics.yaml", "numerator: {sum: statements, where: \"attribute = 'rows'\"}",
            "numerator: {sum: statments, where: \"attribute = 'rows'\"}", 0,
            "unknown column 'statments' in 'statments'. Did you mean 'statements'?",
            id="unknown column in a numerator",
        ),
        pytest.param(
            "metrics.yaml", "denominator: {sum: statements, where: \"attribute = 'rows'\"}",
            "denominator: {sum: statements, where: \"atribute = 'rows'\"}", 0,
            "unknown column 'atribute' in \"atribute = 'rows'\". Did you mean 'attribute'?",
            id="unknown column in a denominator",
        ),
        pytest.param(
            "metrics.yaml", "    sql: platform\n", "    sql: lower(plattform)\n", 0,
            "unknown column 'plattform' in 'lower(plattform)'. Did you mean 'platform'?",
            id="unknown column in a dimension",
        ),
        pytest.param(
            "tables.yaml", "volume: {sum: statements,", "volume: {sum: rows,", 0,
            "unknown column 'rows' in 'rows'. Known here: day, platform, attribute, value, statements, mean_seconds.",
            id="unknown column in the volume",
        ),
        pytest.param(
            "metrics.yaml", "{sum: statements * mean_seconds,", "{sum: sum(statements),", 0,
            "not valid SQL: 'sum(statements)': Binder Error: WHERE clause cannot contain aggregates. "
            "Write an expression over one row of the table; sums are taken for you.",
            id="a sum of sums",
        ),
        pytest.param(
            "metrics.yaml", "{sum: statements * mean_seconds,", "{sum: statements *,", 0,
            "not valid SQL: 'statements *': Parser Error: syntax error at or near \")\". "
            "Write an expression over one row of the table; sums are taken for you.",
            id="not SQL",
        ),
        pytest.param(
            "metrics.yaml", "    by: [platform, category]\n", "    by: [platform, categry]\n", 0,
            "statements_by_category.by names the dimension 'categry', which is not declared. "
            "Did you mean 'category'?",
            id="undeclared dimension in by",
        ),
        pytest.param(
            "metrics.yaml", "    over: [platform]\n", "    over: [plattform]\n", 0,
            "category_share.over names the dimension 'plattform', which is not declared. Did you mean 'platform'?",
            id="undeclared dimension in over",
        ),
        pytest.param(
            "metrics.yaml", "    over: [platform]\n", "    over: [platform, category]\n", 0,
            "category_share.over must leave out at least one dimension of `by` and add none.",
            id="over as wide as by",
        ),
        pytest.param(
            "metrics.yaml", "    by: [platform, category]\n    family", "    by: [category]\n    family", 0,
            "statements_by_category.by leaves out 'platform', by which the source delivers. "
            "Add 'platform': without it a missing delivery can't be told from zero.",
            id="by without who delivers",
        ),
        pytest.param(
            "metrics.yaml", "    adds_up_to: statements\n", "    adds_up_to: statement\n", 0,
            "statements_by_category.adds_up_to names the metric 'statement', which is not declared. "
            "Did you mean 'statements'?",
            id="adds up to nothing",
        ),
        pytest.param(
            "metrics.yaml", "    adds_up_to: statements\n", "    adds_up_to: category_share\n", 0,
            "statements_by_category can't add up to category_share. "
            "Both must be counts, and the whole must have fewer dimensions.",
            id="adds up to a share",
        ),
        pytest.param(
            "metrics.yaml", "    type: proportion\n", "    type: count\n", 5,
            "category_share is a count and has a denominator. Remove it, or make the type proportion or mean.",
            id="count with a denominator",
        ),
        pytest.param(
            "metrics.yaml", "    type: count\n", "    type: proportion\n", 0,
            "statements is a proportion and has no denominator. Add one, or make the type count.",
            id="proportion without a denominator",
        ),
        pytest.param(
            "metrics.yaml", "phrase: \"statements for {category}\"", "phrase: \"statements for {restriction}\"", 0,
            "statements_by_category.phrase names {restriction}, which is not in its `by`. "
            "Known here: platform, category.",
            id="phrase with another dimension",
        ),
        pytest.param(
            "ecosystem.yaml", "sample: sample.parquet\n", "sample: smaple.parquet\n", 0,
            "the sample 'smaple.parquet' does not exist. Paths are relative to this file.",
            id="missing sample",
        ),
        pytest.param(
            "tables.yaml", "  delivered_by: platform\n", "  delivered_by: plattform\n", 0,
            "delivered_by names the column 'plattform', which is not declared. Did you mean 'platform'?",
            id="delivered by nobody",
        ),
        pytest.param(
            "tables.yaml", "  key: [day, platform,", "  key: [day, platfrm,", 0,
            "the key names the column 'platfrm', which is not declared. Did you mean 'platform'?",
            id="key of an unknown column",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_line_and_what_to_do(
    edit: Edit, validate: Validate, file: str, before: str, after: str, lower: int, said: str
) -> None:
    line = edit(file, before, after) + lower
    assert f"mine/{file}:{line}: {said}" in validate()


def test_a_missing_file_is_named(catalog_copy: Path, validate: Validate) -> None:
    (catalog_copy / "tables.yaml").unlink()
    assert validate() == ["mine/tables.yaml:1: the file is missing. Every ecosystem folder needs it."]


def test_an_empty_file_is_named(catalog_copy: Path, validate: Validate) -> None:
    (catalog_copy / "metrics.yaml").write_text("")
    assert validate() == ["mine/metrics.yaml:1: the file must be a mapping of keys to values."]


def test_a_catalog_without_metrics_is_a_mistake(edit: Edit, catalog_copy: Path, validate: Validate) -> None:
    path = catalog_copy / "metrics.yaml"
    head = path.read_text(encoding="utf-8").split("\nmetrics:\n")[0]
    path.write_text(head + "\nmetrics: []\n", encoding="utf-8")
    line = head.count("\n") + 2
    assert validate() == [f"mine/metrics.yaml:{line}: no metric is declared. Declare at least one."]


def test_text_in_another_encoding_is_named(catalog_copy: Path, validate: Validate) -> None:
    (catalog_copy / "calendar.yaml").write_bytes("events:\n  - title: Überfall\n".encode("latin-1"))
    assert validate() == ["mine/calendar.yaml:2: not UTF-8 text. Save the file in UTF-8."]


def test_a_control_character_is_named(catalog_copy: Path, validate: Validate) -> None:
    (catalog_copy / "calendar.yaml").write_bytes(b"events: []\n# \x07\n")
    assert validate() == ["mine/calendar.yaml:1: the file holds a character that YAML does not allow. Remove it."]


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [("metric", "statements_by_category", "statements_by_content_type"), ("dimension", "category", "content_type")],
)
def test_a_name_that_is_declared_twice_is_told_with_both_places(
    edit: Edit, validate: Validate, what: str, first: str, second: str
) -> None:
    where = edit("metrics.yaml", f"  - name: {first}\n", f"  - name: {first}\n")
    again = edit("metrics.yaml", f"  - name: {second}\n", f"  - name: {first}\n")
    assert (
        f"mine/metrics.yaml:{again}: the {what} '{first}' is declared twice. "
        f"It is first declared on line {where}: rename one." in validate()
    )


def test_all_mistakes_are_told_at_once(edit: Edit, validate: Validate) -> None:
    first = edit("ecosystem.yaml", "sample: sample.parquet\n", "sample: gone.parquet\n")
    second = edit("metrics.yaml", "    adds_up_to: statements\n", "    adds_up_to: statement\n")
    assert [f.split(": ")[0] for f in validate()] == [f"mine/metrics.yaml:{second}", f"mine/ecosystem.yaml:{first}"]


def test_an_unknown_ecosystem_is_told_what_there_is() -> None:
    done = command("catalog", "validate", "eu_dsaa")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "✗ There is no ecosystem 'eu_dsaa'.\n"
        "  Did you mean 'eu_dsa'? Or give a folder that holds ecosystem.yaml, tables.yaml and metrics.yaml.\n"
    )


def test_a_mistake_is_no_traceback_in_a_process_of_its_own(edit: Edit) -> None:
    line = edit("metrics.yaml", "    bad: both\n", "    bad: upp\n")
    done = command("catalog", "validate", "mine")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "✗ The catalog has 1 mistake:\n"
        f"  mine/metrics.yaml:{line}: statements.bad is 'upp', which is not one of up, down or both. "
        "Did you mean 'up'?\n"
    )


def test_a_wrong_catalog_raises_for_those_who_import_it(edit: Edit) -> None:
    edit("metrics.yaml", "    bad: both\n", "    bad: upp\n")
    with pytest.raises(CatalogError, match=r"statements\.bad is 'upp'"):
        load_catalog("mine")
