"""Samples are drawn with the chances they state, so that weighted estimates have no bias."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from numpy.typing import NDArray

from health_pipeline.marketplace.parameters import Parameters
from health_pipeline.marketplace.samples import UNIFORM, WEIGHTED, draw, model_score
from health_pipeline_tests.marketplace.conftest import Make, Twin


def population(
    rng: np.random.Generator, contents: int = 2_000
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64], float]:
    """Contents to draw from: views, whether it violates, the model's score; and the violative view rate."""
    views = rng.lognormal(4, 1.3, contents).astype(np.int64)
    violative = rng.random(contents) < 0.05
    score = model_score(np.where(violative, rng.normal(1, 1.6, contents), rng.normal(-3, 1.2, contents)), 0.01)
    return views, violative, score, views[violative].sum() / views.sum()


@pytest.mark.parametrize("arm", [WEIGHTED, UNIFORM])
def test_hajek_estimates_cover_the_true_violative_view_rate(arm: int) -> None:
    """Over 1,000 days of 150 draws: no bias, and the 95 % interval holds the truth about as often as it says."""
    rng = np.random.default_rng(4)
    views, violative, score, truth = population(rng)
    estimates, totals, held = [], [], 0
    for _ in range(1_000):
        drawn = draw(views, score, 150, 150, rng)
        drawn = drawn.take(drawn.arm == arm)
        weight, bad = 1 / drawn.chance, violative[drawn.burst]
        rate = (weight * bad).sum() / weight.sum()
        sd = np.sqrt(((weight * (bad - rate)) ** 2).sum()) / weight.sum()
        estimates.append(rate)
        totals.append(weight.sum())
        held += abs(rate - truth) <= 1.96 * sd
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(truth, abs=4 * error + 0.002)  # a ratio's own bias is of order 1/n
    assert np.mean(totals) == pytest.approx(views.sum(), rel=0.02)
    assert held / 1_000 > 0.85


def test_both_arms_together_are_one_sample_that_knows_more_than_either() -> None:
    """A view stands for 1 / (the sum of its two chances) views: no bias, and a smaller error than in either arm."""
    rng = np.random.default_rng(5)
    views, violative, score, truth = population(rng)
    rates: dict[str, list[float]] = {"weighted": [], "uniform": [], "both": []}
    totals = []
    for _ in range(400):
        drawn = draw(views, score, 80, 40, rng)
        bad = violative[drawn.burst]
        for name, weight in (
            ("weighted", np.where(drawn.arm == WEIGHTED, 1 / drawn.chance, 0.0)),
            ("uniform", np.where(drawn.arm == UNIFORM, 1 / drawn.chance, 0.0)),
            ("both", 1 / (drawn.chance + drawn.other)),
        ):
            rates[name].append((weight * bad).sum() / weight.sum())
        totals.append((1 / (drawn.chance + drawn.other)).sum())
    errors = {name: float(np.sqrt(np.mean((np.array(found) - truth) ** 2))) for name, found in rates.items()}
    assert np.mean(rates["both"]) == pytest.approx(truth, rel=0.05)
    assert np.mean(totals) == pytest.approx(views.sum(), rel=0.02)
    assert errors["both"] < min(errors["weighted"], errors["uniform"])


def test_the_twins_samples_estimate_the_share_of_views_that_was_violative(quiet: Twin) -> None:
    """Each arm over all days, against the true state of every content shown."""
    truth = quiet.value(
        "SELECT sum(views) FILTER (WHERE t.violative) / sum(views) FROM content_stats JOIN truth_contents t "
        "USING (content_id)"
    )
    for arm in ("weighted", "uniform"):
        rows = quiet.rows(
            f"SELECT 1 / draw_probability, violative FROM review_samples WHERE arm = '{arm}' AND violative IS NOT NULL"
        )
        weight, bad = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
        rate = (weight * bad).sum() / weight.sum()
        sd = np.sqrt(((weight * (bad - rate)) ** 2).sum()) / weight.sum()
        assert abs(rate - truth) < 4 * sd + 0.002


def test_the_weights_of_a_day_stand_for_its_views(quiet: Twin) -> None:
    ratio = quiet.value(
        "SELECT sum(1 / draw_probability) / (SELECT sum(views) FROM content_stats) FROM "
        "(SELECT DISTINCT draw_id, draw_probability, arm FROM review_samples) WHERE arm = 'uniform'"
    )
    assert ratio == pytest.approx(1, rel=0.05)


def test_labels_arrive_one_to_seven_days_after_the_draw(quiet: Twin) -> None:
    least, most = quiet.rows(
        "SELECT min(labelled_at - drawn_at), max(labelled_at - drawn_at) FROM review_samples "
        "WHERE labelled_at IS NOT NULL"
    )[0]
    assert least >= dt.timedelta(days=1) and most <= dt.timedelta(days=7)


def test_answers_weighted_by_their_propensity_correct_for_the_contented_who_answer_more(make: Make) -> None:
    many = Parameters(survey_users=30_000)
    asked = make({"name": "asked", "title": "", "description": ""}, creators=50, days=20, parameters=many)
    raw, weighted, answers = asked.rows(
        "SELECT avg(score), sum(score / response_propensity) / sum(1 / response_propensity), count(*) FROM surveys "
        "WHERE topic = 'recommend' AND score IS NOT NULL AND invited_at < '2026-07-12'"
    )[0]
    mood = np.random.default_rng(1).normal(0, np.hypot(0.6, 0.5), 200_000)
    everyone = np.clip(np.round(7.2 + 2 * mood), 0, 10).mean()
    assert answers > 2_000
    assert weighted == pytest.approx(everyone, abs=0.12)
    assert raw > everyone + 0.25
