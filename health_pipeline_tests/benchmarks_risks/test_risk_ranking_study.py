"""A small version of the study of the lists' order: one twin, few mornings, every order on the same cases."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.risk_ranking.coverage import ALL, CLUSTERS, LISTED, RING, coverage_lines, held, share_that_came
from benchmarks.risk_ranking.judged import came_of, interval, judge, judge_contents, passing
from benchmarks.risk_ranking.mornings import Trial, trial
from benchmarks.risk_ranking.orders import (
    CLAIRVOYANT,
    FORECAST,
    MODEL,
    ORACLE,
    RIVALS,
    STRONGER,
    content_orders,
    orders,
    taken,
)
from benchmarks.risk_ranking.page import AIM, lines, summary
from benchmarks.risk_ranking.reliability import (
    ONE,
    PRIOR,
    bands,
    brier,
    calibration_error,
    of_contents,
    of_creators,
    reliability_lines,
)
from benchmarks.risk_ranking.truth import Truth, moved
from benchmarks.risk_ranking.twins import twins, version
from health_pipeline.marketplace.scenario import load_scenario

SMALL = {"creators": 400, "days": 60, "judged": (-15, -9, -4)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "twin"


@pytest.fixture(scope="module")
def made(folder: Path) -> Trial:
    return trial(folder, "off_platform_ring", 5, **SMALL)  # type: ignore[arg-type]


def test_the_program_averts_more_harm_than_any_rival_and_less_than_the_oracles(made: Trial) -> None:
    found = judge(made, passing([made]))
    program, oracle = found[MODEL], found[ORACLE]
    assert 0 < program.expected <= oracle.expected
    assert oracle.real <= found[CLAIRVOYANT].real
    for name in (*RIVALS, *STRONGER):
        assert found[name].expected < program.expected, name
    assert program.expected > 0.75 * oracle.expected
    assert found[FORECAST].expected > 0.8 * oracle.expected, "the oracle's rates are those of the contents that came"


def test_shares_and_days_are_within_their_bounds(made: Trial) -> None:
    for j in [*judge(made, passing([made])).values(), *judge_contents(made).values()]:
        assert 0 <= j.precision <= 1 and 0 <= j.first <= 1
        assert j.caught >= 0
    assert all(0 < share < 1 for share in passing([made]))


def test_the_ring_is_caught_within_days(made: Trial) -> None:
    assert made.ring.sum() == 4
    assert judge(made, passing([made]))[MODEL].caught <= made.since[1]


def test_the_oracle_expects_as_many_views_as_the_simulator_then_plans(made: Trial, folder: Path) -> None:
    truth = Truth(folder, moved(load_scenario(made.scenario)), made.seed, 400, 60)
    expected, planned = np.zeros(2), np.zeros(2)
    for day in (10, 20, 36, 44):
        views, bad = truth.later(day, 7, truth.creators.propensity)
        expected += views.sum(), bad.sum()
        rows = truth.database.execute(
            "SELECT sum(expected_views), sum(expected_views) FILTER (policy IS NOT NULL) FROM made "
            f"WHERE d BETWEEN {day + 1} AND {day + 7}"
        ).fetchone()
        assert rows is not None
        planned += rows
    np.testing.assert_allclose(planned[0], expected[0], rtol=0.2)
    np.testing.assert_allclose(planned[1], expected[1], rtol=0.5)  # a few large contents are much of it


def test_of_undecided_contents_the_program_finds_more_harm_than_any_one_sign(made: Trial) -> None:
    found = judge_contents(made)
    signs = [name for name in found if name not in (MODEL, ORACLE, CLAIRVOYANT, "without repeat and velocity")]
    assert len(signs) >= 5
    for name in signs:
        assert found[name].expected < found[MODEL].expected <= found[ORACLE].expected, name


def test_no_order_takes_more_than_the_minutes_and_cases_are_those_of_the_list(made: Trial) -> None:
    m = made.mornings[0]
    minutes = m.columns["minutes"]
    for name, value in orders(m, made.weight).items():
        chosen = taken(value, minutes, 120.0)
        assert len(chosen) == len(set(chosen.tolist())) > 0, name
        assert minutes[chosen].sum() <= 120.0 and (minutes[chosen] > 0).all()
    assert list(taken(np.array([3.0, 2.0, 1.0]), np.array([9.0, 2.0, 4.0]), 6.0)) == [1, 2]
    assert all(len(v) == len(m.contents["bad"]) for v in content_orders(m).values())


def test_the_page_is_written_from_the_figures(made: Trial) -> None:
    text = "\n".join(lines([made]))
    for heading in ("### Creators", "### What is lost where", "### Repeat, velocity, exploration", "### Contents"):
        assert heading in text
    assert all(f"| {name} |" in text for name in (MODEL, *RIVALS, *STRONGER))


def test_less_comes_than_was_expected_but_not_by_far(made: Trial) -> None:
    (share,) = came_of([made], passing([made]))
    later = sum(m.columns["real"].sum() for m in made.mornings)
    planned = sum(((m.later + m.alive) @ (made.weight * passing([made]))).sum() for m in made.mornings)
    assert share == pytest.approx(later / planned)
    assert 0.3 < share < 1.5


def test_the_summary_says_what_was_reached_and_what_not(made: Trial) -> None:
    text = "\n".join(summary([made]))
    found = judge(made, passing([made]))
    share = found[MODEL].expected / found[ORACLE].expected
    assert f"**{100 * share:.1f} %**" in text
    assert f"| {'missed' if share < AIM else 'met'} |" in text
    assert f"in {int(share < AIM)} of 1 scenarios" in text
    best = max((*RIVALS, *STRONGER), key=lambda name: found[name].expected)
    assert f"{100 * found[best].expected / found[ORACLE].expected:.1f} %, {best}" in text


def test_the_same_twin_gives_the_same_figures(made: Trial, tmp_path: Path) -> None:
    again = trial(tmp_path / "twin", made.scenario, made.seed, **(SMALL | {"judged": SMALL["judged"][:1]}))  # type: ignore[index]
    for name, column in again.mornings[0].columns.items():
        np.testing.assert_array_equal(column, made.mornings[0].columns[name])
    np.testing.assert_array_equal(again.mornings[0].later, made.mornings[0].later)


def test_probabilities_of_undecided_contents_are_right_and_tell_them_apart(made: Trial) -> None:
    stated = of_contents(made)
    (whole,) = bands([stated], (0.0, 1.0))
    assert whole is not None
    assert whole.cases == sum(len(m.contents["bad"]) for m in made.mornings)
    assert 0.5 < whole.stated / whole.true < 1.5
    likely = bands([stated], (0.1, 1.0))[0]
    assert likely is not None
    assert 0.6 < likely.stated / likely.true < 1.4
    assert calibration_error([stated])[0] < 0.005 < calibration_error([stated], PRIOR)[0]
    assert brier(stated) < 0.75 * min(brier(stated, PRIOR), brier(stated, ONE))


def test_violations_that_creators_are_expected_to_make_come(made: Trial) -> None:
    stated = of_creators(made)
    (whole,) = bands([stated], (0.0, 1.0))
    assert whole is not None
    assert 0.8 < whole.stated / whole.true < 1.2
    for band in bands([stated]):
        if band is not None and band.cases * band.stated > 30:
            assert 0.7 < band.stated / band.true < 1.4
    assert calibration_error([stated])[0] < 0.02
    assert brier(stated) < 0.9 * min(brier(stated, PRIOR), brier(stated, ONE))


def test_the_reliability_section_is_written_from_the_figures(made: Trial) -> None:
    text = "\n".join(reliability_lines([made]))
    cases = bands([of_contents(made)], (0.0, 1.0))[0]
    assert cases is not None
    assert f"| all | {cases.cases:,} | {100 * cases.stated:.2f} % | {100 * cases.true:.2f} % |" in text
    assert f"| {brier(of_creators(made)):.5f} |" in text
    assert "**How to read it.**" in text


def test_intervals_hold_what_is_to_be_expected_about_as_often_as_they_say(made: Trial) -> None:
    came = share_that_came([made])
    found = held(made, made.weight * passing([made]), came)
    every, listed = found[ALL], found[LISTED]
    assert listed.cases < every.cases
    assert every.cases > 300 * len(made.mornings)
    for of in (every, listed):
        assert 0.7 < of.probability / of.cases < 0.97
        assert of.score / of.cases > 0.65
        assert of.came < of.score, "luck is not in the intervals"
    assert found[RING].cases <= listed.cases
    assert found[CLUSTERS].probability > 0.6 * found[CLUSTERS].cases > 0
    wrong = held(made, 4.0 * made.weight * passing([made]), came)
    assert wrong[ALL].score < 0.9 * every.score and wrong[ALL].probability == every.probability
    text = "\n".join(coverage_lines([made]))
    assert f"| all creators | {every.cases:,} | {100 * every.probability / every.cases:.0f} % |" in text


def test_finished_twins_are_taken_from_the_folder_in_the_order_asked_for(made: Trial, tmp_path: Path) -> None:
    (tmp_path / version()).mkdir()
    for seed in (5, 6):
        (tmp_path / version() / f"{made.scenario}-{seed}.pickle").write_bytes(pickle.dumps(replace(made, seed=seed)))
    for processes in (1, 2):
        found = list(twins([(made.scenario, seed) for seed in (6, 5)], tmp_path, processes))
        assert [t.seed for t in found] == [6, 5]
        assert judge(found[1], passing(found)) == judge(made, passing([made]))


def test_effects_are_moved_from_the_end_and_what_lasts_to_the_end_still_does() -> None:
    for name in ("counterfeit_wave", "everything"):
        for before, after in zip(load_scenario(name).effects, moved(load_scenario(name)).effects, strict=True):
            first, last = before.when.days(76)
            assert after.when.days(90) == (first, last if before.when.end is not None else 89)


def test_intervals_hold_the_mean_and_one_seed_has_none() -> None:
    mean, low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert low < mean == 2.0 < high
    assert high - mean == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)
    assert interval(np.array([1.0])) == (1.0, -np.inf, np.inf)
