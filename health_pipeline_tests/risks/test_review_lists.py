"""What is listed keeps to the minutes there are, is worth more than what is not, says why, and covers things once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.model import Catalog
from health_pipeline.risks import clusters
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.review import DRAWS, REASONS, REVIEWS, Estimates, _Known, estimate, lists
from health_pipeline.stats.allocation import allocate

Row = dict[str, object]


@pytest.fixture(scope="module")
def members(evidence: Evidence) -> pa.Table:
    return clusters.clusters(evidence)


@pytest.fixture(scope="module")
def made(evidence: Evidence, members: pa.Table) -> Estimates:
    return estimate(evidence, members)


@pytest.fixture(scope="module")
def listed(evidence: Evidence, marketplace: Catalog, members: pa.Table, made: Estimates) -> pa.Table:
    return lists(evidence, members, marketplace, made)


def rows(table: pa.Table, queue: str) -> list[Row]:
    return [r for r in table.to_pylist() if r["queue"] == queue]


def test_the_same_evidence_gives_the_same_lists(
    evidence: Evidence, marketplace: Catalog, members: pa.Table, made: Estimates, listed: pa.Table
) -> None:
    assert listed.schema == REVIEWS
    assert lists(evidence, members, marketplace, made).equals(listed)


def test_no_queue_takes_more_minutes_than_it_has_and_none_is_left_idle(evidence: Evidence, listed: pa.Table) -> None:
    for queue in evidence.review.queues:
        cases = rows(listed, queue.name)
        taken = sum(r["minutes"] for r in cases if r["selected"])  # type: ignore[misc]
        assert taken <= queue.minutes_per_day + 1e-6
        shortest = min((r["minutes"] for r in cases if not r["selected"]), default=np.inf)  # type: ignore[type-var]
        assert taken + shortest > queue.minutes_per_day, queue.name  # type: ignore[operator]


def test_ranks_follow_scores_and_the_score_follows_from_its_terms(evidence: Evidence, listed: pa.Table) -> None:
    dollars = evidence.review.harm_per_dollar
    for queue in ("creators", "contents", "products", "clusters"):
        cases = rows(listed, queue)
        scores = [r["score"] for r in cases]
        assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
        for r in cases:
            assert r["score"] == pytest.approx(r["harm"] / r["minutes"])  # type: ignore[operator]
            assert 0 <= r["probability_low"] <= r["probability_high"] <= 1  # type: ignore[operator]
            assert r["score_low"] <= r["score_high"]  # type: ignore[operator]
    for r in [c for queue in ("clusters", "creators", "contents") for c in rows(listed, queue)]:
        terms = r["probability"] * (  # type: ignore[operator]
            r["exposure"] * r["severity"] * (1 + r["repeat"] + r["velocity"]) + dollars * r["gmv"]  # type: ignore[operator]
        )
        assert r["harm"] == pytest.approx(terms)


def test_what_a_listed_case_covers_is_in_no_later_list(made: Estimates, members: pa.Table, listed: pa.Table) -> None:
    inside = {r["subject"] for r in rows(listed, "clusters") if r["selected"]}
    covered = {m["creator_id"] for m in members.to_pylist() if m["cluster"] in inside}
    assert not covered & {r["subject"] for r in rows(listed, "creators")}
    covered |= {r["subject"] for r in rows(listed, "creators") if r["selected"]}
    of = dict(zip(made.contents["content_id"].to_pylist(), made.contents["creator_id"].to_pylist(), strict=True))
    assert covered
    assert not covered & {of[r["subject"]] for r in rows(listed, "contents")}  # type: ignore[index]


def test_decided_contents_are_not_listed(evidence: Evidence, listed: pa.Table) -> None:
    decided = set(evidence.query("SELECT DISTINCT content_id FROM labels WHERE content_id IS NOT NULL")[0].to_pylist())
    shown = {r["subject"] for r in rows(listed, "contents")}
    shown |= {c for r in rows(listed, "creators") if r["items"] for c in r["examples"]}  # type: ignore[attr-defined]
    assert shown and not shown & decided


def test_of_who_shows_nothing_undecided_the_newest_are_to_be_seen(evidence: Evidence, listed: pa.Table) -> None:
    silent = [r for r in rows(listed, "creators") if not r["items"]]
    assert silent
    for r in silent:
        newest = evidence.query(
            f"SELECT content_id FROM contents WHERE creator_id = '{r['subject']}' "
            "ORDER BY published_at DESC, content_id LIMIT 5"
        )
        assert r["examples"] == newest["content_id"].to_pylist()
        assert "see the newest" in str(r["sentence"])


def test_a_creator_is_looked_at_and_not_only_forecast(made: Estimates, listed: pa.Table) -> None:
    alive = made.contents["creator_id"].to_pylist()
    for r in rows(listed, "creators"):
        assert r["items"] >= min(3, alive.count(r["subject"]))  # type: ignore[operator]


def test_reasons_are_known_few_and_the_sentence_names_the_subject_and_its_chance(listed: pa.Table) -> None:
    for r in listed.to_pylist():
        assert len(r["reasons"]) <= 3 and set(r["reasons"]) <= set(REASONS)
        assert "violat" in r["sentence"] or "violation" in r["sentence"]
        if r["queue"] != "clusters":
            assert r["subject"] in r["sentence"]
    assert any(r["reasons"] for r in listed.to_pylist())


def test_a_wave_is_a_reason_where_it_goes_over_and_nowhere_else(listed: pa.Table) -> None:
    """The twin's wave is of counterfeits in beauty in Indonesia."""
    for queue in ("creators", "contents"):
        cases = rows(listed, queue)
        inside = [r for r in cases if (r["market"], r["category"]) == ("ID", "beauty")]
        hit = [r for r in inside if "wave" in r["reasons"]]  # type: ignore[operator]
        assert len(hit) > len(inside) / 2 > 10
        assert not any("wave" in r["reasons"] for r in cases if r not in inside)  # type: ignore[operator]
        assert not any("risky_segment" in r["reasons"] for r in hit), "it usually is none"  # type: ignore[operator]


def test_more_of_a_severe_harm_is_worth_more(
    evidence: Evidence, marketplace: Catalog, members: pa.Table, made: Estimates, listed: pa.Table
) -> None:
    """Nothing but the severity of one content's policy changes: its score rises with it."""
    subject = rows(listed, "contents")[-1]["subject"]
    severity = np.where(
        np.array(made.contents["content_id"].to_pylist(), object) == subject, 1e4, made.contents["severity"].to_numpy()
    )
    at = made.contents.schema.get_field_index("severity")
    worse = dataclasses.replace(made, contents=made.contents.set_column(at, "severity", pa.array(severity)))
    again = lists(evidence, members, marketplace, worse)
    before = next(r for r in rows(listed, "contents") if r["subject"] == subject)
    after = next((r for r in rows(again, "contents") if r["subject"] == subject), None)
    if after is None:  # it is now part of its creator's listed case
        assert any(subject in r["examples"] for r in rows(again, "creators"))  # type: ignore[operator]
    else:
        assert after["score"] > before["score"]  # type: ignore[operator]


def test_exploration_lists_what_is_below_the_line_and_logs_the_chance(evidence: Evidence, listed: pa.Table) -> None:
    cases = listed.to_pylist()
    assert all(r["chance"] > 0 for r in cases if r["selected"])
    assert all(r["selected"] for r in cases if r["explored"])
    assert any(0 < r["chance"] < 1 for r in cases), "some lists are drawn"


def test_draws_of_a_case_have_its_harm_as_their_mean(evidence: Evidence, members: pa.Table, made: Estimates) -> None:
    known = _Known(evidence, members, made)
    makers = {
        "clusters": known.cluster_cases, "creators": known.creator_cases, "contents": known.content_cases,
        "products": known.product_cases,
    }  # fmt: skip
    for queue in evidence.review.queues:
        cases = makers[queue.name](queue)
        mean, error = cases.draws.mean(axis=0), cases.draws.std(axis=0) / np.sqrt(DRAWS)
        assert (np.abs(mean - cases.harm) < 6.0 * error + 0.02 * cases.harm + 1e-6).mean() > 0.99, queue.name
        assert mean.sum() == pytest.approx(cases.harm.sum(), rel=0.1), queue.name


def test_intervals_hold_the_doubt_about_waves_audiences_and_pace(
    evidence: Evidence, members: pa.Table, made: Estimates, listed: pa.Table
) -> None:
    def width(table: pa.Table, wave: bool) -> float:
        some = [r for r in rows(table, "creators") if ("wave" in r["reasons"]) == wave]  # type: ignore[operator]
        assert len(some) > 10
        return float(np.median([np.log(r["score_high"] / r["score_low"]) for r in some]))  # type: ignore[operator]

    certain = np.zeros(made.creator_exposure.num_rows)
    column = made.creator_exposure.schema.get_field_index("expected_log_error")
    seen = made.creator_exposure.set_column(column, "expected_log_error", pa.array(certain))
    audiences = lists(evidence, members, None, dataclasses.replace(made, creator_exposure=seen))
    assert width(audiences, wave=False) < width(listed, wave=False)
    likeliest = tuple(
        dataclasses.replace(s, chances=np.eye(s.chances.shape[1])[s.chances.argmax(axis=1)], width=0.0)
        for s in made.outlook.series
    )
    waves = lists(
        evidence, members, None, dataclasses.replace(made, outlook=dataclasses.replace(made.outlook, series=likeliest))
    )
    assert width(waves, wave=True) < 0.9 * width(listed, wave=True)


def test_the_logged_chance_is_how_often_a_case_is_listed_over_seeds(evidence: Evidence, made: Estimates) -> None:
    """A wave is drawn for a whole cohort at once: cases are not independent, and chances are right all the same."""
    queue = next(q for q in evidence.review.queues if q.name == "creators")
    nobody = pa.table({name: pa.array([], pa.string()) for name in ("cluster", "creator_id", "traces")} | {
        name: pa.array([], pa.float64()) for name in ("share", "score")
    })  # fmt: skip
    cases, seeds, explored = _Known(evidence, nobody, made).creator_cases(queue), 120, []
    logged, listed = np.zeros(len(cases.harm)), np.zeros(len(cases.harm))
    for seed in range(seeds):
        found = allocate(
            cases.harm, cases.minutes, queue.minutes_per_day, explore=evidence.review.explore, draws=cases.draws,
            seed=seed,
        )  # fmt: skip
        logged += found.chance / seeds
        listed += found.listed / seeds
        explored.append(cases.minutes[found.explored].sum() / queue.minutes_per_day)
        assert (found.chance[found.listed] > 0).all()
    assert ((logged > 0.01) & (logged < 0.99)).sum() > 20
    error = np.sqrt(np.maximum(logged * (1 - logged), 0.25 / seeds) / seeds)
    assert (np.abs(listed - logged) < 5.0 * error).all()
    assert np.mean(explored) == pytest.approx(evidence.review.explore, abs=0.015)
