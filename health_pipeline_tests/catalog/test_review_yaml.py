"""review.yaml is checked like the rest of a catalog: names, and SQL against the contracts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.errors import CatalogError
from health_pipeline_tests.conftest import PACKAGE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE / "marketplace" / "catalog", tmp_path / "mine")
    return tmp_path / "mine"


def edit(folder: Path, before: str, after: str) -> int:
    path = folder / "review.yaml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return text[: text.index(before)].count("\n") + 1


def findings(folder: Path) -> list[str]:
    with pytest.raises(CatalogError) as error:
        load_catalog(str(folder))
    return [line.strip() for line in error.value.message.splitlines()[1:]]


def test_a_review_is_optional(folder: Path) -> None:
    assert load_catalog(str(folder)).review is not None
    (folder / "review.yaml").unlink()
    assert load_catalog(str(folder)).review is None


def test_a_role_that_there_is_not(folder: Path) -> None:
    line = edit(folder, "  open_cases: SELECT", "  open_case: SELECT")
    assert findings(folder) == [
        f"{folder / 'review.yaml'}:{line}: there is no role 'open_case'. Did you mean 'open_cases'?"
    ]


def test_a_role_that_no_list_can_do_without(folder: Path) -> None:
    edit(folder, "  traffic: SELECT content_id, hour, views FROM content_stats\n", "")
    (said,) = findings(folder)
    assert said.endswith("the role 'traffic' is missing. Add a SELECT of content_id, hour, views.")


def test_a_column_that_a_role_needs(folder: Path) -> None:
    line = edit(folder, "SELECT content_id, hour, views FROM", "SELECT content_id, hour, views AS seen FROM")
    (said,) = findings(folder)
    assert said.startswith(f"{folder / 'review.yaml'}:{line}: the role 'traffic' selects no column 'views'.")


def test_a_column_that_may_be_missing(folder: Path) -> None:
    edit(folder, "near_duplicate, ai_generated FROM videos", "near_duplicate FROM videos")
    assert load_catalog(str(folder)).review is not None


def test_a_misspelt_column_and_a_type_that_does_not_fit(folder: Path) -> None:
    edit(folder, "SELECT content_id, hour, views FROM", "SELECT content_id, hour, viewz AS views FROM")
    (said,) = findings(folder)
    assert "the role 'traffic' is not valid SQL" in said and "viewz" in said
    edit(folder, "viewz AS views", "hour AS views")
    (said,) = findings(folder)
    assert said.endswith("the role 'traffic' selects 'views' as TIMESTAMP. It must be BIGINT.")


def test_a_weight_of_a_severity_that_no_label_can_have(folder: Path) -> None:
    line = edit(folder, "moderate: 2,", "moderat: 2,")
    (said,) = findings(folder)
    assert said == (
        f"{folder / 'review.yaml'}:{line}: no label has the severity 'moderat', by decisions.severity. "
        "Did you mean 'moderate'?"
    )
    edit(folder, "policy, severity, actor, rule,\n", "policy, upper(severity) AS severity, actor, rule,\n")
    assert load_catalog(str(folder)).review is not None, "what is computed may have any value"


def test_a_queue_declared_twice_and_one_that_there_is_not(folder: Path) -> None:
    line = edit(folder, "{name: products,", "{name: contents,")
    (said,) = findings(folder)
    assert said.startswith(f"{folder / 'review.yaml'}:{line}: the queue 'contents' is declared twice.")
    edit(folder, "{name: creators,", "{name: creator,")
    assert any("'creator', which is not one of creators, contents, products or clusters" in s for s in findings(folder))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("minutes_per_day: 30,", "minutes_per_day: -1,", "products.minutes_per_day is -1"),
        ("minutes_per_day: 30,", "minutes_per_day: .inf,", "products.minutes_per_day is inf"),
        ("minutes_per_day: 30,", "minutes_per_day: many,", "products.minutes_per_day is 'many'"),
        ("minutes_per_case: 5}", "minutes_per_case: 0}", "products.minutes_per_case is 0"),
        ("severe: 8,", "severe: -8,", "severity.severe is -8"),
        ("severe: 8,", "severe: .nan,", "severity.severe is nan"),
        ("alive_days: 7", "alive_days: 60", "alive_days is 60"),
        ("half_life_days: 90", "half_life_days: 0.01", "half_life_days is 0.01"),
        ("SELECT content_id, hour, views FROM content_stats", "SELECT 1; DROP TABLE videos", "is not one SELECT"),
        ("SELECT content_id, hour, views FROM content_stats", "DROP TABLE videos", "is not one SELECT"),
        ("hour, views FROM content_stats", "hour, views FROM content_stats;", "the role 'traffic' is not valid SQL"),
    ],
)
def test_what_can_not_be_is_said_with_its_line(folder: Path, before: str, after: str, says: str) -> None:
    line = edit(folder, before, after)
    (said,) = findings(folder)
    assert said.startswith(f"{folder / 'review.yaml'}:{line}: ") and says in said


def test_a_review_has_queues_and_severities(folder: Path) -> None:
    path = folder / "review.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: text.index("queues:")] + "queues: []\n" + text[text.index("# A SELECT") :], encoding="utf-8")
    (said,) = findings(folder)
    assert "queues" in said
    path.write_text(text.replace("{severe: 8, major: 4, moderate: 2, minor: 1}", "{}"), encoding="utf-8")
    (said,) = findings(folder)
    assert "severity" in said


def test_a_queue_that_nobody_reviews_may_have_no_minutes(folder: Path) -> None:
    edit(folder, "minutes_per_day: 30,", "minutes_per_day: 0,")
    assert load_catalog(str(folder)).review is not None


def test_a_memory_too_short_for_prevalence(folder: Path) -> None:
    line = edit(folder, "memory_days: 90", "memory_days: 48")
    assert findings(folder) == [
        f"{folder / 'review.yaml'}:{line}: memory_days is 48: prevalence needs samples of 42 days, and contents shown "
        "then. Write 49 or more, or leave the role 'samples' out."
    ]
    edit(folder, "memory_days: 48", "memory_days: 49")
    assert load_catalog(str(folder)).review is not None
    edit(folder, "memory_days: 49", "memory_days: 28")
    edit(folder, "  samples: >-", "  # samples: >-")
    text = (folder / "review.yaml").read_text(encoding="utf-8")
    start, end = text.index("    SELECT draw_id"), text.index("  products: SELECT")
    (folder / "review.yaml").write_text(text[:start] + text[end:], encoding="utf-8")
    assert load_catalog(str(folder)).review is not None, "without samples there is no prevalence"
