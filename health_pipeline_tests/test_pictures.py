"""The documentation's pictures can be drawn anew, and each of them is said to be made by something."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from benchmarks import pictures
from health_pipeline_tests.conftest import PACKAGE

DOCS = PACKAGE.parent / "docs"
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


def test_the_chart_of_detect_is_the_one_that_the_page_shows(tmp_path: Path) -> None:
    assert pictures.draw(["detect.svg"], tmp_path) == []
    # Its words: coordinates have more digits than processors agree on.
    drawn, shown = (
        re.findall(r">([^<>]+)</t", path.read_text(encoding="utf-8"))
        for path in (tmp_path / "detect.svg", DOCS / "img" / "detect.svg")
    )
    assert drawn == shown and any("Google Shopping" in words for words in shown)


def test_what_was_not_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", str(tmp_path / "home"))
    failed = pictures.draw(["precision.png", "lists.png"], tmp_path)
    assert len(failed) == 2
    assert capsys.readouterr().err.count('Run `make run ARGS="-e marketplace"` first.') == 2
    assert not list(tmp_path.glob("*.png"))


def test_without_a_browser_pages_are_not_pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    page = tmp_path / "report" / "eu_dsa" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<html><head></head></html>", encoding="utf-8")
    (error,) = pictures.draw(["report.png"], tmp_path)
    assert "no browser" in error.message and "CHROMIUM" in error.hint
    for body in ("echo Missing X server >&2; exit 1", "exit 0"):
        broken = tmp_path / "broken-browser"
        broken.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        broken.chmod(0o755)
        monkeypatch.setenv("CHROMIUM", str(broken))
        (error,) = pictures.draw(["report.png"], tmp_path)
        assert "took no picture" in error.message and ("Missing X server" in error.message) == ("Missing" in body)
    assert not list(tmp_path.glob("*.png"))


def test_every_picture_is_in_the_list_of_how_it_is_made() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    part = text[text.index("## Pictures") : text.index("## Commits")]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in row.replace("`", "").replace(",", " ").split()]
    for picture in sorted((DOCS / "img").iterdir()):
        assert any(fnmatch(picture.name, name) for name in named), picture.name
    assert set(pictures.DRAWN) | set(pictures.PHOTOGRAPHED) <= set(named)
