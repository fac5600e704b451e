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


def test_a_queue_declared_twice_and_one_that_there_is_not(folder: Path) -> None:
    line = edit(folder, "{name: products,", "{name: contents,")
    (said,) = findings(folder)
    assert said.startswith(f"{folder / 'review.yaml'}:{line}: the queue 'contents' is declared twice.")
    edit(folder, "{name: creators,", "{name: creator,")
    assert any("'creator', which is not one of creators, contents, products or clusters" in s for s in findings(folder))
