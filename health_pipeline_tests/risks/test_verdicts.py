"""What people say of incidents changes the next list: what is answered goes last, and noisy metrics weigh less."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.people import decisions
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.catalog.alerts import Verdict
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.home import Home
from health_pipeline.incidents.model import Member, to_table
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.risks import risk_rows
from health_pipeline.risks.schema import TRACK_RECORDS
from health_pipeline.risks.verdicts import STRENGTH, VERDICTS, Judged, Said, track_records
from health_pipeline.storage.derive import derive, stale_days
from health_pipeline.storage.state import StateError, opened_state
from health_pipeline_tests.risks.test_score import BAD_BOTH, BAD_UP, CATALOG, DAY, incident, member

AT = dt.datetime(2025, 7, 1, 9, tzinfo=dt.UTC)
PROMISED = 1.0 - CATALOG.ecosystem.detection.false_discovery_rate


def said(*verdicts: tuple[str, str, Verdict]) -> Said:
    """Of (incident, metric, verdict)."""
    return Said.of(CATALOG, [Judged(*each, AT) for each in verdicts])


def about(metric: str, id: str, **changes: object) -> dict[str, object]:
    own = member(metric=metric, series=f"{metric}|platform=TikTok")
    return {"id": id, "metric": metric, "series": own.series, "members": (own,), **changes}


def test_while_nobody_has_said_anything_the_record_is_one_and_the_score_as_it_was() -> None:
    [row] = risk_rows(CATALOG, DAY, [incident(id="a")]).to_pylist()
    assert row["record"] == 1.0 and row["precision"] == PROMISED and row["judged"] == 0
    assert row["verdict"] is None and not row["answered"] and "track_record" not in row["reasons"]
    assert track_records(said(), DAY).num_rows == 0


@pytest.mark.parametrize("verdict", ["false_alarm", "expected", "new_normal"])
def test_what_is_answered_goes_last_and_says_so(verdict: Verdict) -> None:
    large = member(-0.9, -0.95, -0.8)
    rows = [incident(large, id="large"), incident(id="small")]
    before = risk_rows(CATALOG, DAY, rows).to_pylist()
    after = risk_rows(CATALOG, DAY, rows, said(("large", BAD_BOTH, verdict))).to_pylist()
    assert [r["incident"] for r in before] == ["large", "small"]
    assert [(r["rank"], r["incident"], r["answered"]) for r in after] == [(1, "small", False), (2, "large", True)]
    assert after[1]["reasons"][0] == f"judged_{verdict}"
    assert after[1]["why"].startswith(f"Judged {verdict.replace('_', ' ')} on 1 July 2025")


def test_what_is_real_stays_where_it_is() -> None:
    large = member(-0.9, -0.95, -0.8)
    rows = risk_rows(
        CATALOG, DAY, [incident(large, id="large"), incident(id="small")], said(("large", BAD_BOTH, "real"))
    ).to_pylist()
    assert [(r["incident"], r["verdict"], r["answered"]) for r in rows] == [
        ("large", "real", False), ("small", None, False),
    ]  # fmt: skip


def test_what_has_grown_since_it_was_judged_is_to_be_looked_at_again() -> None:
    """What happened on the day of the verdict was seen on the day after."""
    told, before = said(("a", BAD_BOTH, "expected")), AT.date() - dt.timedelta(days=1)
    for grown_on in (AT.date(), AT.date() + dt.timedelta(days=1)):
        grown = incident(id="a", worsened_on=grown_on, state="worsening")
        [row] = risk_rows(CATALOG, DAY, [grown], told).to_pylist()
        assert row["verdict"] is None and not row["answered"]
    [row] = risk_rows(CATALOG, DAY, [incident(id="a", worsened_on=before)], told).to_pylist()
    assert row["answered"]


def test_false_alarms_lower_every_score_of_their_metric_and_more_than_those_of_others() -> None:
    told = said(*((f"old{i}", BAD_BOTH, "false_alarm") for i in range(6)))
    rows = [incident(**about(BAD_BOTH, "a")), incident(**about(BAD_UP, "b"))]
    before = {r["incident"]: r for r in risk_rows(CATALOG, DAY, rows).to_pylist()}
    after = {r["incident"]: r for r in risk_rows(CATALOG, DAY, rows, told).to_pylist()}
    share = {name: after[name]["score"] / before[name]["score"] for name in after}
    assert share["a"] < share["b"] < 1.0
    for row in after.values():
        terms = row["size"] * row["exposure"] * row["confidence"] * row["harm"] * row["record"]
        assert row["score"] == pytest.approx(terms)
    assert "track_record" in after["a"]["reasons"] and "track_record" not in after["b"]["reasons"]
    assert "6 false alarms among 6 incidents of this metric judged so far" in after["a"]["why"]


def test_the_formula_is_the_one_that_is_stated() -> None:
    told = said(("x", BAD_BOTH, "false_alarm"), ("y", BAD_BOTH, "real"), ("z", BAD_UP, "new_normal"))
    usual = (2 + STRENGTH * PROMISED) / (3 + STRENGTH)
    assert told.track_record(BAD_BOTH).precision == pytest.approx((1 + STRENGTH * usual) / (2 + STRENGTH))
    assert told.track_record("account_terminations").precision == pytest.approx((1 + STRENGTH * usual) / (1 + STRENGTH))
    rows = track_records(told, DAY)
    assert rows.schema == TRACK_RECORDS
    found = {r["metric"]: r for r in rows.to_pylist()}
    assert found[BAD_BOTH]["raw"] == 0.5 and found[BAD_BOTH]["false_alarm"] == 1 and found[BAD_BOTH]["real"] == 1
    for row in found.values():
        assert row["low"] < row["precision"] < row["high"]
        assert row["record"] == pytest.approx(row["precision"] / PROMISED)


COUNTS = st.lists(st.tuples(st.sampled_from([BAD_BOTH, BAD_UP]), st.sampled_from(VERDICTS)), max_size=60)


@given(COUNTS, st.sampled_from(VERDICTS))
def test_a_verdict_moves_the_precision_towards_itself(given_: list[tuple[str, Verdict]], more: Verdict) -> None:
    before = said(*((f"i{n}", metric, verdict) for n, (metric, verdict) in enumerate(given_)))
    after = said(*((f"i{n}", *each) for n, each in enumerate([*given_, (BAD_BOTH, more)])))
    was, now = before.track_record(BAD_BOTH).precision, after.track_record(BAD_BOTH).precision
    assert 0.0 < now < 1.0
    assert now < was if more == "false_alarm" else now >= was - 1e-12


def test_verdicts_on_holes_in_the_data_say_nothing_of_metrics() -> None:
    assert said(("hole", "delivery", "false_alarm")).track_record(BAD_BOTH).record == 1.0


# ── From the record of decisions to the lists in the lake ────────────────────────────────────────────────────────────

DAYS = [DAY + dt.timedelta(days=n) for n in range(3)]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Three days, on each the same two incidents; nothing decided, and no state database."""
    monkeypatch.delenv("HEALTH_PIPELINE_STATE_URL", raising=False)
    made = Pipeline(load_catalog("eu_dsa"), Home(tmp_path))
    large: Member = member(-0.9, -0.95, -0.8)
    for day in DAYS:
        made.tables.incidents.publish(day, to_table([incident(large, id="large", day=day), incident(id="b", day=day)]))
    return made


def decide(pipeline: Pipeline, day: dt.date, kind: decisions.Kind = "verdict", **about: object) -> None:
    with opened_state(pipeline.home.state_url) as engine:
        given_: dict[str, object] = {"verdict": "false_alarm"} if kind == "verdict" else {}
        at = dt.datetime.combine(day, dt.time(12), dt.UTC)
        assert decisions.record(
            engine,
            Decision(
                "eu_dsa", "large", kind, By("U1", at), "slack", f"{kind}{day}", metric=BAD_BOTH,
                **(given_ | about),  # type: ignore[arg-type]
            ),
        )  # fmt: skip


def lists(pipeline: Pipeline) -> dict[dt.date, list[str]]:
    """Day -> incidents in order, after everything was brought up to date."""
    derive(pipeline.judge_steps()["risks"], DAYS)
    assert stale_days(pipeline.judge_steps()["risks"], DAYS) == []
    return {day: pipeline.tables.risks.read([day])["incident"].to_pylist() for day in DAYS}


def test_looking_for_verdicts_makes_no_database(pipeline: Pipeline) -> None:
    assert lists(pipeline) == {day: ["large", "b"] for day in DAYS}
    assert not (pipeline.home.root / "state.db").exists()


def test_a_verdict_counts_in_the_list_of_its_day_and_after_and_leaves_those_before_alone(pipeline: Pipeline) -> None:
    lists(pipeline)
    decide(pipeline, DAYS[1])
    assert stale_days(pipeline.judge_steps()["risks"], DAYS) == DAYS[1:]
    assert lists(pipeline) == {DAYS[0]: ["large", "b"], DAYS[1]: ["b", "large"], DAYS[2]: ["b", "large"]}
    [row] = pipeline.tables.track_records.read([DAYS[2]]).to_pylist()
    assert (row["metric"], row["judged"], row["false_alarm"]) == (BAD_BOTH, 1, 1)
    assert pipeline.tables.track_records.read([DAYS[0]]).num_rows == 0


@pytest.mark.parametrize("gap", [1, 4])
def test_the_newest_list_knows_what_was_said_since(pipeline: Pipeline, gap: int) -> None:
    decide(pipeline, DAYS[-1] + dt.timedelta(days=40))
    assert lists(pipeline) == {DAYS[0]: ["large", "b"], DAYS[1]: ["large", "b"], DAYS[2]: ["b", "large"]}
    pipeline.tables.incidents.publish(DAYS[-1] + dt.timedelta(days=gap), to_table([]))
    assert lists(pipeline) == {day: ["large", "b"] for day in DAYS}, "made again later, as it was known by its end"


def test_a_verdict_that_is_taken_back_counts_no_more(pipeline: Pipeline) -> None:
    decide(pipeline, DAYS[0])
    decide(pipeline, DAYS[1], "undo", undoes=1)
    assert lists(pipeline) == {DAYS[0]: ["b", "large"], DAYS[1]: ["large", "b"], DAYS[2]: ["large", "b"]}


def test_a_state_database_that_does_not_open_is_said(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALTH_PIPELINE_STATE_URL", f"sqlite:///{pipeline.home.root}")  # a folder
    with pytest.raises(StateError, match="does not open"):
        lists(pipeline)
