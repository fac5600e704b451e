"""A lake in which an earlier version has judged: its days are shown as far as they go."""

from __future__ import annotations

import shutil
import sys

import pyarrow as pa
import pytest

from health_pipeline.cli import main
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.schema import RISKS
from health_pipeline.storage.lake import LakeTable
from health_pipeline_tests.risks.conftest import TWIN_LAST

SINCE = {"record", "precision", "judged", "verdict", "answered", "reasons", "why", "evidence"}
"""Columns that came with verdicts."""


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], landed: Pipeline, *arguments: str
) -> str:
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", str(landed.home.root))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["health-pipeline", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 0, said.err
    return said.out


def test_segments_that_were_ranked_before_there_were_verdicts_are_shown(
    landed: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = pa.schema([column for column in RISKS if column.name not in SINCE])
    numbers = dict.fromkeys((c.name for c in before if c.type == pa.float64()), 1.0)
    row = numbers | {"day": TWIN_LAST, "rank": 1, "incident": "id-x-2026-09-15", "title": "t", "sentence": "It rose."}
    assert TWIN_LAST not in landed.tables.risks.days()
    table = LakeTable(landed.tables.risks.folder, before)
    table.publish(TWIN_LAST, pa.Table.from_pylist([row], schema=before))
    try:
        for arguments in (("--queue", "segments"), ("--queue", "segments", "--why", "id-x-2026-09-15")):
            said = command(monkeypatch, capsys, landed, "risks", "-e", "marketplace", *arguments)
            assert "It rose." in said and "None" not in said
        query = "SELECT incident, why, record FROM risks.risks"
        assert "id-x-2026-09-15" in command(monkeypatch, capsys, landed, "sql", "-e", "marketplace", query)
    finally:
        shutil.rmtree(table.folder / f"day={TWIN_LAST}")
