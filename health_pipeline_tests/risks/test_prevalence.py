"""Prevalence as a reader takes it: of all views, of what was known that day, from both arms, and never from scores."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks import prevalence as study
from health_pipeline.catalog.model import Catalog
from health_pipeline.marketplace.parameters import POLICIES
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.prevalence import LAG_DAYS, estimates, prevalence
from health_pipeline.risks.schema import PREVALENCE
from health_pipeline_tests.risks.conftest import TWIN_LAST

DAY = study.LAST
ALL = ("", "", "")


@pytest.fixture(scope="module")
def made() -> study.Views:
    return study.traffic(11)


@pytest.fixture(scope="module")
def draws(made: study.Views) -> pa.Table:
    rng = np.random.default_rng(1)
    return study.labelled(made, study.sampled(made, rng), rng)


def row(table: pa.Table, market: str = "", kind: str = "", policy: str = "") -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [r for r in table.to_pylist() if (r["market"], r["kind"], r["policy"]) == (market, kind, policy)]
    return found


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def test_the_total_each_market_each_kind_and_each_policy_have_a_row(draws: pa.Table) -> None:
    told = estimates(draws, POLICIES, DAY)
    assert told.schema == PREVALENCE
    keys = {(r["market"], r["kind"], r["policy"]) for r in told.to_pylist()}
    assert len(keys) == told.num_rows
    assert {ALL, ("ID", "", ""), ("", "live", ""), ("ID", "live", ""), ("", "", "fraud")} <= keys
    assert {("ID", "", "fraud"), ("", "live", "fraud")} <= keys
    assert ("ID", "live", "fraud") not in keys, "too fine to say anything"


def test_policies_add_up_to_any_policy(draws: pa.Table) -> None:
    told = estimates(draws, POLICIES, DAY)
    for market, kind in (("", ""), ("TH", ""), ("", "video")):
        parts = sum(row(told, market, kind, p)["estimate"] for p in POLICIES)
        assert parts == pytest.approx(row(told, market, kind)["estimate"])


def test_a_policy_that_was_never_met_has_an_upper_bound(draws: pa.Table) -> None:
    unseen = row(estimates(draws, [*POLICIES, "unseen"], DAY), policy="unseen")
    assert unseen["estimate"] == unseen["low"] == 0.0
    assert 0.0 < unseen["high"] < 0.002


def test_intervals_hold_what_raters_would_label(made: study.Views) -> None:
    """A small version of the study: 60 samples of the total, six markets and two kinds."""
    tallies = study.coverage(made, 60, seed=11)
    aimed = {k: t for k, t in tallies.items() if any(study.GROUPS[g](k) for g in study.AIMED)}
    assert len(aimed) == 9
    assert 0.93 <= np.mean([t.covered for t in aimed.values()]) <= 0.985
    assert all(t.covered >= 0.85 for t in aimed.values())
    total = tallies[ALL]
    assert total.width < 0.0075, "less than half of the share it is about"
    assert np.mean(total.effective) > 2 * np.mean(total.draws)
    assert np.mean([t.disagreed for t in aimed.values()]) <= 0.03
    fine = [t for k, t in tallies.items() if study.GROUPS["by policy and market"](k) and np.mean(t.truth) > 0]
    assert np.mean([t.covered for t in fine]) >= 0.93


def test_both_arms_as_one_err_less_than_any_other_way(made: study.Views) -> None:
    error = {
        name: relative for name, (relative, _, _) in study.compared(made.until(study.DAYS - 1), 60, seed=11).items()
    }
    assert 1.0 < error["arms averaged by precision"] < error["arms in equal parts"] < error["uniform arm alone"]


def test_draws_that_wait_for_their_label_are_made_up_for(made: study.Views) -> None:
    """What began in the last week is hardly labelled yet: it must not count for less than its views."""
    rng = np.random.default_rng(2)
    recent = (made.day >= study.DAYS - 7) & (made.policy == "") & (made.score > 0.3)
    worse = dataclasses.replace(made, policy=np.where(recent, "fraud", made.policy))
    truth, whole = (worse.until(last).share(ALL) for last in (study.DAYS - 2, study.DAYS - 1))
    assert truth > 1.15 * made.until(study.DAYS - 2).share(ALL)
    sample = study.sampled(worse, rng, times=8.0)
    late = study.labelled(worse, sample, rng)
    waits = late["violation"].is_null().to_numpy()
    right = worse.policy[sample.row] != ""
    known = replaced(late, "violation", pa.array(right, mask=waits))
    forgetful = known.filter(pc.is_valid(known["violation"]))
    found, naive = (row(estimates(t, POLICIES, DAY))["estimate"] for t in (known, forgetful))
    assert 0.05 < waits.mean() < 0.2
    assert naive < found
    assert abs(found - truth) < abs(naive - truth)
    assert row(estimates(replaced(late, "violation", pa.array(right)), POLICIES, DAY))["estimate"] == pytest.approx(
        whole, rel=0.1
    )


def test_the_28_days_end_with_the_newest_of_which_a_quarter_is_labelled_in_each_arm(draws: pa.Table) -> None:
    age = np.array([(DAY - drawn.date()).days for drawn in draws["drawn_at"].to_pylist()])
    uniform = np.array(draws["arm"].to_pylist()) == "uniform"
    label = pa.array(draws["violation"].fill_null(False))
    some = np.random.default_rng(5).random(len(age))

    def until(waits: np.ndarray) -> tuple[dt.date, dt.date]:
        told = row(estimates(replaced(draws, "violation", pa.array(label.to_numpy(False), mask=waits)), POLICIES, DAY))
        return told["day"], told["until"]

    assert until(age < 0) == (DAY, DAY)
    assert until(age < 1) == (DAY, DAY - dt.timedelta(days=1))
    assert until((age < 3) & uniform) == (DAY, DAY - dt.timedelta(days=3)), "the other arm alone is not enough"
    assert until((age < 2) & (some < 0.6)) == (DAY, DAY), "four of ten labelled"
    assert until((age < 2) & (some < 0.9)) == (DAY, DAY - dt.timedelta(days=2)), "one of ten labelled"
    assert until((age != 4) | (some < 0.9)) == (DAY, DAY - dt.timedelta(days=4)), (
        "never more than a few: better than none"
    )
    assert until(age < LAG_DAYS + 5) == (DAY, DAY - dt.timedelta(days=LAG_DAYS)), "labelling has stopped"


def test_a_day_without_labels_changes_nothing(draws: pa.Table) -> None:
    newest = np.array([drawn.date() == DAY for drawn in draws["drawn_at"].to_pylist()])
    assert newest.any()
    assert draws.filter(pa.array(newest))["violation"].null_count == newest.sum()
    with_it, without = (estimates(t, POLICIES, DAY) for t in (draws, draws.filter(pa.array(~newest))))
    assert with_it.equals(without)


def test_violations_of_a_day_without_labels_are_not_taken_for_known(made: study.Views) -> None:
    """What nobody has labelled yet is of the next window: of this one the estimate is right on average."""
    last = (made.day == study.DAYS - 1) & (made.score > 0.05) & (made.policy == "")
    worse = dataclasses.replace(made, policy=np.where(last, "fraud", made.policy))
    window, calendar = (worse.until(day).labelled_share(ALL) for day in (study.DAYS - 2, study.DAYS - 1))
    assert calendar > 1.15 * window
    told = study.coverage(worse, 20, seed=6)[ALL]
    error = np.std(told.estimate) / np.sqrt(20)
    assert np.mean(told.estimate) == pytest.approx(np.mean(told.target), abs=4 * error)
    assert np.mean(told.target) == pytest.approx(window, rel=0.05)
    assert told.covered >= 0.8


def tally(covered: int, samples: int) -> study.Tally:
    hits = np.arange(samples) % samples < covered
    found = study.Tally(heavy=1.0, calendar=0.5)
    for hit in hits:
        told = dict.fromkeys(("effective", "draws", "positives", "uniform_low", "uniform_high", "agrees"), 1.0)
        found.add(told | {"estimate": 0.5, "low": 0.4 if hit else 0.55, "high": 0.6}, 0.5, 0.5)
    return found


def test_the_study_tells_what_chance_explains_from_what_it_does_not() -> None:
    assert tally(475, 500).inside
    assert not tally(488, 500).inside
    assert not tally(488, 500).surely_outside, "97.6 % of 500 may well be 96 %"
    assert tally(1970, 2000).surely_outside, "98.5 % of 2,000 may not"
    assert tally(1820, 2000).surely_outside
    low, high = tally(488, 500).known
    assert 0.955 < low < 0.976 < high < 0.99
    assert tally(488, 500).first(400).covered == 1.0
    assert tally(500, 500).known[1] == 1.0


def test_other_intervals_are_tried_on_the_same_samples(made: study.Views) -> None:
    told = study.coverage(made, 20, seed=7)
    rows = study.tried([told], study.GROUPS["by market"])
    ours, symmetric = rows[0], rows[-1]
    assert (ours[5], ours[6]) == ("1.00", "1.00")
    covered = [t.covered for k, t in told.items() if study.GROUPS["by market"](k)]
    assert ours[1] == study.percent(float(np.mean(covered))), "this project's is the one that the table holds"
    assert float(symmetric[6]) > 1.0


def test_scores_that_do_not_fit_the_logged_chances_are_not_used(draws: pa.Table) -> None:
    factor = np.random.default_rng(3).uniform(0.5, 1.0, draws.num_rows)
    noisy = replaced(draws, "model_score", pa.array(draws["model_score"].to_numpy() * factor))
    none = replaced(draws, "model_score", pa.nulls(draws.num_rows, pa.float64()))
    good, averaged, without = (row(estimates(t, POLICIES, DAY)) for t in (draws, noisy, none))
    assert (good["as_one"], averaged["as_one"], without["as_one"]) == (1.0, 0.0, 0.0)
    assert averaged["estimate"] == without["estimate"], "wrong scores change nothing"
    assert good["low"] < averaged["estimate"] < good["high"]
    assert averaged["effective"] < good["effective"]


def test_contents_without_a_score_are_averaged_and_the_rest_is_not(made: study.Views) -> None:
    rng = np.random.default_rng(4)
    sample = study.sampled(made, rng, times=4.0)
    draws = study.labelled(made, sample, rng)
    unknown = made.market[sample.row] == "VN"
    some = replaced(draws, "model_score", pa.array(draws["model_score"].to_numpy(), mask=unknown))
    full, partly = estimates(draws, POLICIES, DAY), estimates(some, POLICIES, DAY)
    assert 0.7 < row(partly)["as_one"] < 0.95
    assert row(partly, "ID")["estimate"] == row(full, "ID")["estimate"]
    assert row(partly, "VN")["estimate"] != row(full, "VN")["estimate"]
    assert row(partly)["low"] < made.until(study.DAYS - 2).labelled_share(ALL) < row(partly)["high"]


def test_the_other_arms_chance_needs_no_score_where_it_was_logged(made: study.Views) -> None:
    rng = np.random.default_rng(8)
    sample = study.sampled(made, rng, times=4.0)
    draws = study.labelled(made, sample, rng)
    logged = draws.append_column("other_probability", pa.array(sample.other))
    scoreless = replaced(logged, "model_score", pa.nulls(draws.num_rows, pa.float64()))
    inferred, told = row(estimates(draws, POLICIES, DAY)), row(estimates(scoreless, POLICIES, DAY))
    assert told["as_one"] == 1.0
    assert told["estimate"] == pytest.approx(inferred["estimate"], rel=1e-6)
    assert told["low"] < made.until(study.DAYS - 2).labelled_share(ALL) < told["high"]
    half = pa.array(sample.other, mask=sample.uniform)
    mixed = row(estimates(draws.append_column("other_probability", half), POLICIES, DAY))
    assert mixed["estimate"] == pytest.approx(inferred["estimate"], rel=1e-6)


def test_an_arm_that_owes_the_model_nothing_tells_when_the_logged_chances_are_wrong(draws: pa.Table) -> None:
    weighted = np.array(draws["arm"].to_pylist()) == "weighted"
    chance = draws["draw_probability"].to_numpy()
    wrong = replaced(draws, "draw_probability", pa.array(np.where(weighted, np.sqrt(chance), chance)))
    assert row(estimates(draws, POLICIES, DAY))["agrees"] is True
    assert row(estimates(wrong, POLICIES, DAY))["agrees"] is False


@pytest.mark.parametrize("arm", ["uniform", "weighted"])
def test_one_arm_alone_is_enough(draws: pa.Table, arm: str) -> None:
    found = row(estimates(draws.filter(pc.equal(draws["arm"], arm)), POLICIES, DAY))
    assert 0.0 < found["low"] < found["estimate"] < found["high"] < 0.1
    assert (found["uniform_estimate"] is not None) == (arm == "uniform")
    assert found["agrees"] is None


def test_without_a_label_there_is_nothing_to_tell(marketplace: Catalog, draws: pa.Table) -> None:
    assert marketplace.review is not None
    assert prevalence(Evidence.of_tables(DAY, marketplace.review)).num_rows == 0
    unlabelled = replaced(draws, "violation", pa.nulls(draws.num_rows, pa.bool_()))
    assert estimates(unlabelled, POLICIES, DAY).num_rows == 0


def test_of_a_twins_files_it_tells_the_true_share(evidence: Evidence, twin_folder: Path) -> None:
    told = prevalence(evidence)
    assert set(told["day"].to_pylist()) == {evidence.day}
    ((until, first),) = {(r["until"], r["until"] - dt.timedelta(days=27)) for r in told.to_pylist()}
    assert evidence.day - dt.timedelta(days=7) <= until < evidence.day
    found = duckdb.connect().execute(
        f"""SELECT sum(views) FILTER (WHERE violative) / sum(views)
        FROM read_parquet('{twin_folder}/content_stats/*.parquet')
        JOIN read_parquet('{twin_folder}/ground_truth/contents.parquet') USING (content_id)
        WHERE CAST(CAST(hour AS TIMESTAMP) AS DATE) BETWEEN DATE '{first}' AND DATE '{until}'"""
    )
    ((truth,),) = found.fetchall()
    total = row(told)
    assert total["low"] < truth < total["high"]
    assert total["as_one"] == 1.0, "the twin draws by the score it publishes"


def test_a_draw_whose_chance_was_not_logged_is_left_out(evidence: Evidence) -> None:
    more = evidence.query(
        "FROM samples UNION ALL SELECT * REPLACE (draw_id || '-x' AS draw_id, NULL AS draw_probability) FROM samples"
    )
    assert more["draw_probability"].null_count == more.num_rows / 2
    contents, labels = (evidence.query(f"FROM {role}") for role in ("contents", "labels"))
    again = Evidence.of_tables(evidence.day, evidence.review, samples=more, contents=contents, labels=labels)
    assert prevalence(again).equals(prevalence(evidence))


def test_it_is_of_the_labels_that_had_arrived(evidence: Evidence) -> None:
    assert evidence.day < TWIN_LAST
    told = row(prevalence(evidence))
    end = told["until"] + dt.timedelta(days=1)
    ((labelled, waiting, newest),) = evidence.query(
        f"SELECT count(violation) AS a, count(*) - count(violation) AS b, max(labelled_at) AS c FROM samples "
        f"WHERE arm <> 'decisions' AND drawn_at < DATE '{end}' AND drawn_at >= DATE '{end}' - INTERVAL 28 DAY"
    ).to_pandas().itertuples(index=False)  # fmt: skip
    assert waiting > 0
    assert newest < evidence.now
    assert told["draws"] == labelled
