"""The lists of a day follow from facts in the lake, are checked, and are read by a command."""

from __future__ import annotations

import datetime as dt
import re
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from health_pipeline.cli import main
from health_pipeline.incidents import wording
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks import lists
from health_pipeline.risks.checks import list_checks, outcomes
from health_pipeline.risks.lists import ListTables
from health_pipeline.risks.review import REASONS
from health_pipeline.risks.schema import RISKS, TRACK_RECORDS, TRENDS
from health_pipeline.storage.derive import derive, stale_days
from health_pipeline.storage.engine import Engine
from health_pipeline_tests.risks.conftest import TWIN_LAST

DAYS = [TWIN_LAST - dt.timedelta(days=6), TWIN_LAST - dt.timedelta(days=5)]


@pytest.fixture(scope="module")
def made(landed: Pipeline) -> ListTables:
    assert landed.tables.lists is not None
    step = lists.derivation(landed.catalog, landed.tables.facts, landed.tables.lists)
    assert derive(step, DAYS).computed == DAYS
    assert stale_days(step, DAYS) == []
    return landed.tables.lists


def test_every_table_has_rows_of_every_day(made: ListTables) -> None:
    for table in (made.review_lists, made.prevalence, made.precision):
        assert set(table.read(DAYS)["day"].to_pylist()) == set(DAYS), table.name


def test_the_newest_week_is_due_and_no_more(landed: Pipeline) -> None:
    step = landed.list_steps()["review_lists"]
    days = [TWIN_LAST - dt.timedelta(days=i) for i in range(30)]
    assert step.due(days) == sorted(days)[-7:]


def test_the_checks_pass_and_say_what_they_saw(landed: Pipeline, made: ListTables) -> None:
    checks = {c.name: c for c in list_checks(landed.catalog, landed.tables.facts, made)}
    passed, said = checks["capacity"].evaluate(Engine(), DAYS)
    assert passed is True and said["queues and days"] >= 6
    passed, said = checks["stability"].evaluate(Engine(), DAYS)
    assert passed is True and any(name.startswith("kept of") for name in said)
    passed, said = checks["calibration"].evaluate(Engine(), [TWIN_LAST])
    assert passed is not False and said["labels"] > 0
    shown = said["reliability table"].records
    assert sum(int(str(record.data["labels"])) for record in shown) == said["labels"]
    passed, said = checks["calibration"].evaluate(Engine(), [DAYS[0]])
    assert passed is True and said["labels"] == 0, "nothing is known yet of the first list"


def test_a_list_over_capacity_fails_its_check(landed: Pipeline, made: ListTables) -> None:
    review = landed.catalog.review
    assert review is not None
    queues = tuple(q.model_copy(update={"minutes_per_day": q.minutes_per_day / 2}) for q in review.queues)
    halved = landed.catalog.model_copy(update={"review": review.model_copy(update={"queues": queues})})
    capacity = next(c for c in list_checks(halved, landed.tables.facts, made) if c.name == "capacity")
    passed, said = capacity.evaluate(Engine(), DAYS)
    assert passed is False and said["over capacity"]


def test_severities_of_labels_without_a_weight_are_said(landed: Pipeline, made: ListTables) -> None:
    review = landed.catalog.review
    assert review is not None
    weights = {("sever" if name == "severe" else name): weight for name, weight in review.severity.items()}
    misspelt = landed.catalog.model_copy(update={"review": review.model_copy(update={"severity": weights})})
    right, wrong = (
        next(c for c in list_checks(catalog, landed.tables.facts, made) if c.name == "weights").evaluate(Engine(), DAYS)
        for catalog in (landed.catalog, misspelt)
    )
    assert right[0] is True and right[1]["without a weight"] == []
    assert wrong[0] == "warn" and wrong[1]["without a weight"][0].startswith("severe: ")
    assert wrong[1]["weights of which there is no label"] == ["sever"]


def test_probabilities_are_compared_with_labels_of_the_next_day_only(landed: Pipeline, made: ListTables) -> None:
    found = outcomes(landed.catalog, landed.tables.facts, made.review_lists, TWIN_LAST)
    assert found.num_rows > 0
    assert pc.min(found["weight"]).as_py() >= 1.0
    nothing = outcomes(landed.catalog, landed.tables.facts, made.review_lists, DAYS[0])
    assert nothing.num_rows == 0


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], landed: Pipeline, *arguments: str
) -> str:
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", str(landed.home.root))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["health-pipeline", "risks", "-e", "marketplace", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    shown = capsys.readouterr()
    return shown.out if stop.value.code == 0 else shown.err


def test_the_command_shows_every_queue_what_emerges_and_prevalence(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = command(monkeypatch, capsys, landed)
    for heading in ("Clusters to review", "Creators to review", "Contents to review", "Products to review", "Emerging",
                    "Prevalence"):  # fmt: skip
        assert heading in said
    assert "of 120 minutes" in said
    (until,) = {r["until"] for r in made.prevalence.read([DAYS[-1]]).to_pylist()}
    assert until < DAYS[-1] and f"of views of the 28 days to {wording.day(until)} were" in " ".join(said.split())


def test_the_command_shows_one_queue_as_rows_and_why_a_subject_is_on_it(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.review_lists.read([DAYS[-1]]).to_pylist()
    first = next(r for r in rows if r["queue"] == "creators" and r["rank"] == 1)
    said = " ".join(command(monkeypatch, capsys, landed, "--queue", "creators", "--top", "2").split())
    assert first["sentence"] in said and "more: --top" in said
    lines = command(monkeypatch, capsys, landed, "--queue", "creators", "--top", "2", "--csv").splitlines()
    assert len(lines) == 3 and first["subject"] in lines[1]
    why = command(monkeypatch, capsys, landed, "--why", first["subject"])
    assert "repeat" in why and "exposure" in why
    assert "is in no list" in command(monkeypatch, capsys, landed, "--why", "nobody")
    assert "There is no list of" in command(monkeypatch, capsys, landed, "--day", "2026-07-01")


def test_the_command_prints_every_queue_as_rows(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.review_lists.read([DAYS[-1]]).to_pylist()
    lines = command(monkeypatch, capsys, landed, "--csv").splitlines()
    assert len(lines) == 1 + sum(r["selected"] for r in rows)
    assert {line.split(",")[1].strip('"') for line in lines[1:]} == {r["queue"] for r in rows if r["selected"]}


def test_the_command_says_why_in_words_and_where_a_subject_is(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = made.review_lists.read([DAYS[-1]]).to_pylist()
    first = next(r for r in rows if r["queue"] == "creators" and r["rank"] == 1)
    word = REASONS[first["reasons"][0]]
    said = " ".join(command(monkeypatch, capsys, landed, "--queue", "creators", "--top", "1").split())
    assert f"{word[:1].upper()}{word[1:]}" in said
    elsewhere = command(monkeypatch, capsys, landed, "--queue", "products", "--why", first["subject"])
    assert "It is in the list of creators" in elsewhere
    assert len(command(monkeypatch, capsys, landed, "--csv", "--why", first["case"]).splitlines()) == 2
    assert "How often right" in command(monkeypatch, capsys, landed)


def test_what_comes_from_data_is_shown_as_it_is(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hashtag that looks like the terminal's own markup neither vanishes nor breaks the page, nor steers it."""
    burst = {
        "day": DAYS[-1], "kind": "hashtag", "value": "#[/red][bold]\x1b[2J", "market": None, "trend": "hashtag: x",
        "count": 9,
        "expected": 0.1, "p_value": 1e-9, "burst_since": DAYS[-1], "contents": 9, "views": 1, "violation_share": 0.0,
        "cluster_share": 0.0, "suspect_share": 0.0,
    }  # fmt: skip
    before = made.trends.read([DAYS[-1]])
    made.trends.publish(DAYS[-1], pa.Table.from_pylist([burst], schema=TRENDS))
    try:
        said = command(monkeypatch, capsys, landed)
        assert "#[/red][bold]\N{REPLACEMENT CHARACTER}[2J" in said and "\x1b" not in said
    finally:
        made.trends.publish(DAYS[-1], before)


def test_an_incident_is_told_with_its_terms_reasons_and_evidence(
    landed: Pipeline, made: ListTables, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metric = landed.catalog.metrics[0].name
    row = dict.fromkeys((f.name for f in RISKS if f.type == pa.float64()), 1.0) | {
        "day": DAYS[-1], "rank": 1, "incident": "id-x-2026-09-15", "judged": 0, "answered": False, "title": "t",
        "sentence": f"{metric} [rose]", "reasons": ["sure"], "why": "It is sure.", "evidence": ["By market: [all]."],
    }  # fmt: skip
    landed.tables.risks.publish(DAYS[-1], pa.Table.from_pylist([row], schema=RISKS))
    for said in (
        command(monkeypatch, capsys, landed, "--why", "id-x-2026-09-15"),
        command(monkeypatch, capsys, landed, "--queue", "segments", "--why", "id-x-2026-09-15"),
    ):
        assert f"{metric} [rose]" in said and "It is sure." in said and "By market: [all]." in said
        assert "confidence" in said and "record" in said
    record = dict.fromkeys((f.name for f in TRACK_RECORDS if f.type == pa.int64()), 2) | {
        "day": DAYS[-1], "metric": metric, "precision": 0.62, "low": 0.41, "high": 0.8,
    }  # fmt: skip
    landed.tables.track_records.publish(DAYS[-1], pa.Table.from_pylist([record], schema=TRACK_RECORDS))
    for arguments in ((), ("--queue", "segments")):
        said = command(monkeypatch, capsys, landed, *arguments)
        assert re.search(rf"metric +{metric} +62 % +41 % to 80 % +2", said)
    assert "Did you mean 'id-x-2026-09-15'?" in command(monkeypatch, capsys, landed, "--why", "id-x-2026-09-16")
