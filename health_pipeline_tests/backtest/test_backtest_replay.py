"""A replay reports what living through it would have, on a marketplace whose truth is known."""

from __future__ import annotations

import csv
import datetime as dt
import re
from pathlib import Path

import pytest

from health_pipeline.alerts.people.decisions import Decision, record
from health_pipeline.alerts.people.standing import By
from health_pipeline.backtest.compare import compare
from health_pipeline.backtest.replay import aside, days_to_replay, replay
from health_pipeline.backtest.report import build_report
from health_pipeline.backtest.score import read_effects, truth_file
from health_pipeline.backtest.settings import make_setting
from health_pipeline.backtest.study import Study, backtest
from health_pipeline.backtest.table import COLUMNS, lines, write_incidents
from health_pipeline.errors import UserError
from health_pipeline.home import Home
from health_pipeline.incidents.model import from_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.stats.detect import MINIMUM_HISTORY
from health_pipeline.storage.derive import Progress, derive
from health_pipeline.storage.state import opened_state

NOW = dt.datetime(2026, 11, 1, 9, 30, tzinfo=dt.UTC)


def figures(study: Study) -> dict[str, tuple[str, str]]:
    return {line.what: (line.a, line.b) for line in lines(study)}


def test_the_wave_is_found_where_and_when_it_was_planted(wave: Pipeline, study: Study) -> None:
    truth = truth_file(wave)
    assert truth is not None
    [_, planted, unmeasured, busy] = read_effects(truth)
    score = study.scores["A"]
    found = {f.effect.id: f for f in score.findings}
    assert found[planted.id].incident is not None
    assert found[planted.id].delay is not None and 0 <= found[planted.id].delay <= 7
    assert abs(found[planted.id].onset_error or 0) <= 2
    assert [f.effect for f in score.missed] == [unmeasured]
    assert found[busy.id].incident is not None and not busy.wanted
    told = {v.effect.id for v in score.verdicts if v.effect}
    assert {planted.id, busy.id} <= told
    assert [e.title for e in score.unjudged] == ["Long before"]
    assert score.precision is not None and score.precision >= 0.5
    assert figures(study)["planted effects found"][0] == "1 of 2"


def test_a_setting_that_accepts_no_small_change_reports_less(study: Study) -> None:
    a, b = study.outcomes
    assert {s.a.last.unit for s in study.comparison.shared} >= {"ID"}
    assert {r.last.unit for r in study.comparison.only_a} >= {"TH"}
    assert len(b.incidents) < len(a.incidents)
    assert study.costs["B"].minutes < study.costs["A"].minutes
    both = {s.a.id for s in study.comparison.shared} | {r.id for r in study.comparison.only_a}
    assert both >= {r.id for r in a.incidents}
    assert figures(study)["incidents"] == (str(len(a.incidents)), str(len(b.incidents)))


def test_the_catalogs_setting_gives_what_is_published(wave: Pipeline, study: Study, tmp_path: Path) -> None:
    """Day by day the same incidents, and nothing published is touched by a replay."""
    outcome = study.outcomes[0]
    assert [t.days() for t in (wave.tables.shifts, wave.tables.incidents, wave.tables.risks)] == [[], [], []]
    before, days = days_to_replay(wave, len(outcome.days), study.warm_up)
    published = Pipeline(wave.catalog, wave.home)
    published.tables = aside(wave.tables, tmp_path)
    for day in [*before, *days]:  # each day by itself, as the daily run does
        for step in published.judge_steps().values():
            derive(step, [day])
    lived = {(i.day, i.id): i for i in from_table(published.tables.incidents.read(days))}
    counted = {r.id for r in outcome.incidents}
    replayed = {(i.day, i.id): i for r in outcome.incidents for i in r.rows}
    assert replayed == {key: i for key, i in lived.items() if key[1] in counted}
    assert counted == {i.id for i in lived.values() if i.first_reported in set(days)}


def test_what_people_answered_since_is_not_in_a_replay(wave: Pipeline, tmp_path: Path) -> None:
    own = [make_setting("A", {}, wave.catalog)]
    (before,) = replay(wave, own, 10, 2)
    answered = Pipeline(wave.catalog, Home(tmp_path))
    answered.tables, answered.landing = wave.tables, wave.landing
    at = dt.datetime.combine(before.days[0], dt.time(12), dt.UTC)
    with opened_state(answered.home.state_url) as engine:
        for r in before.incidents:
            said = Decision(
                wave.catalog.name, r.id, "verdict", By("U1", at), "slack", r.id, metric=r.first.metric,
                verdict="false_alarm",
            )  # fmt: skip
            assert record(engine, said)
    (after,) = replay(answered, own, 10, 2)
    assert before.incidents and max(r.score for r in before.incidents) > 0
    assert [(r.id, r.score, r.told) for r in after.incidents] == [(r.id, r.score, r.told) for r in before.incidents]


def test_settings_that_judge_alike_differ_in_their_messages_only(wave: Pipeline) -> None:
    catalog = wave.catalog
    told: list[str] = []

    def report(what: str) -> Progress:
        told.append(what)
        return lambda done, of: None

    loud = make_setting("A", {"minimum_score": 0, "per_day": 100}, catalog)
    outcomes = replay(wave, [loud, make_setting("B", {"minimum_score": 50}, catalog)], 10, 2, report)
    assert told == ["A/B: shifts", "A/B: incidents", "A/B: risks"]
    a, b = outcomes
    assert [r.id for r in a.incidents] == [r.id for r in b.incidents]
    assert all(r.told is not None and r.told >= r.first.first_reported for r in a.incidents if r.kind == "shift")
    assert all(r.told is None for r in b.incidents if r.kind == "shift")
    same = compare(a, b)
    assert (len(same.shared), same.only_a, same.only_b) == (len(a.incidents), (), ())
    assert set(same.laters) <= {0}


def test_the_page_needs_nothing_from_elsewhere_and_says_what_the_figures_say(study: Study) -> None:
    page = build_report(study, NOW)
    assert not re.search(r"<script|<link|<img|@import|url\((?!#)", page)
    assert "Counterfeits in Indonesia" in page and "1 November 2026, 09:30 UTC" in page
    for line in lines(study):
        assert line.what in page
    assert page.count("<svg") == 6  # attention, effects, reports, in two widths


def test_every_incident_is_a_row_of_its_settings_file(study: Study, tmp_path: Path) -> None:
    a, b = write_incidents(study, tmp_path)
    with a.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [r["incident"] for r in rows] == [r.id for r in study.outcomes[0].incidents]
    assert {r["verdict"] for r in rows} <= {"true", "false", "harmless"}
    assert {r["effect"] for r in rows if r["verdict"] == "false"} <= {""}
    assert b.read_text(encoding="utf-8").startswith("incident,")


def test_days_that_are_not_loaded_are_not_asked_for(wave: Pipeline) -> None:
    before, days = days_to_replay(wave, 1000)
    assert before == [] and days == wave.delivered_days()
    before, days = days_to_replay(wave, 20, 5)
    assert (len(before), len(days)) == (5, 20) and before[-1] + dt.timedelta(days=1) == days[0]


def test_days_without_enough_past_are_not_counted_and_said(wave: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Pipeline(wave.catalog, wave.home)
    days = wave.delivered_days()
    a, b = make_setting("A", {}, wave.catalog), make_setting("B", {"per_day": 1}, wave.catalog)
    monkeypatch.setattr(own, "delivered_days", lambda: days[: MINIMUM_HISTORY + 2])
    [outcome] = replay(own, [a], 5, 0)
    assert len(outcome.days) == 5 and list(outcome.judged) == days[MINIMUM_HISTORY : MINIMUM_HISTORY + 2]
    monkeypatch.setattr(own, "delivered_days", lambda: days[:9])
    with pytest.raises(UserError, match="None of the last 3 days of marketplace can be judged"):
        backtest(own, a, b, 3, warm_up=0)
