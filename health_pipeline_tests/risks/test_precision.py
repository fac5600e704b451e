"""Precision: labels and reversals known today are in the table, few are drawn to their like, and intervals hold."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.model import Catalog, Review
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.precision import alike, precision
from health_pipeline.risks.schema import PRECISION
from health_pipeline.stats.arrays import Array

DAY = dt.date(2026, 8, 20)


@pytest.fixture
def review(marketplace: Catalog) -> Review:
    assert marketplace.review is not None
    return marketplace.review


def made(
    review: Review,
    names: dict[str, tuple[int, float]],
    *,
    seed: int = 1,
    labelled: float = 0.5,
    reversed_wrong: float = 0.4,
    age: int = 40,
) -> Evidence:
    """Actions of rules, each (how many, share that is right); some labelled anew, some wrong ones reversed."""
    rng = np.random.default_rng(seed)
    labels: list[dict[str, object]] = []
    samples: list[dict[str, object]] = []
    for name, (count, right) in names.items():
        actor, _, policy = name.partition("_")
        for i in range(count):
            at = dt.datetime.combine(DAY, dt.time(12)) - dt.timedelta(days=int(rng.integers(0, age)))
            good = bool(rng.random() < right)
            gone = bool(rng.random() < (0.01 if good else reversed_wrong))
            which: dict[str, object] = {
                "content_id": f"{name}-{i}",
                "creator_id": "c",
                "market": "ID",
                "category": "a",
                "tier": "nano",
            }
            labels.append(which | {
                "decision_id": f"{name}-{i}", "policy": policy, "severity": "major", "actor": actor, "rule": name,
                "violation": not gone, "reversed": gone, "detected_at": at, "decided_at": at,
            })  # fmt: skip
            if rng.random() < labelled:
                samples.append(which | {
                    "draw_id": f"{name}-{i}", "kind": "video", "arm": "decisions", "draw_probability": labelled,
                    "drawn_at": at, "labelled_at": at, "violation": good, "policy": policy if good else None,
                    "views": 1, "actioned": True, "rule": name,
                })  # fmt: skip
    drawn = {"samples": pa.Table.from_pylist(samples)} if samples else {}
    return Evidence.of_tables(DAY, review, labels=pa.Table.from_pylist(labels), **drawn)


def told(e: Evidence, subject: str = "rule") -> dict[str, dict[str, Any]]:
    return {r["name"]: r for r in precision(e).to_pylist() if r["subject"] == subject}


def test_rules_models_actors_and_policies_have_their_rows(review: Review) -> None:
    e = made(review, {"rule_fraud": (50, 0.9), "model_fraud": (50, 0.8), "human_fraud": (50, 0.7)})
    assert precision(e).schema == PRECISION
    assert list(told(e, "rule")) == ["rule_fraud"]
    assert list(told(e, "model")) == ["model_fraud"]
    assert list(told(e, "actor")) == ["human", "model", "rule"]
    assert list(told(e, "policy")) == ["fraud"]
    assert told(e, "policy")["fraud"]["decided"] == 150


def test_with_many_labels_it_is_the_share_of_right_ones(review: Review) -> None:
    found = told(made(review, {"rule_a": (1500, 0.95), "rule_b": (1500, 0.6)}))
    for name, right in (("rule_a", 0.95), ("rule_b", 0.6)):
        assert found[name]["precision"] == pytest.approx(right, abs=0.03)
        assert found[name]["low"] < right < found[name]["high"]
        assert found[name]["high"] - found[name]["low"] < 0.1


def test_few_labels_are_drawn_to_the_like_and_leave_more_open(review: Review) -> None:
    names = {f"rule_{i}": (300, 0.9) for i in range(8)} | {"rule_new": (4, 0.0)}
    found = told(made(review, names, labelled=1.0, reversed_wrong=0.0))
    new, old = found["rule_new"], found["rule_0"]
    assert new["raw"] == 0.0
    assert 0.3 < new["precision"] < old["precision"]
    assert new["high"] - new["low"] > 2 * (old["high"] - old["low"])


def test_a_name_without_labels_is_told_what_is_usual_and_that_little_is_known(review: Review) -> None:
    e = made(review, {"rule_a": (300, 0.95), "rule_b": (300, 0.9), "rule_c": (300, 0.85), "rule_new": (30, 0.9)})
    samples = e.query("SELECT * FROM samples WHERE rule <> 'rule_new' ORDER BY draw_id")
    found = told(Evidence.of_tables(DAY, review, labels=e.query("SELECT * FROM labels"), samples=samples))
    assert found["rule_new"]["raw"] is None
    assert 0.8 < found["rule_new"]["precision"] < 0.95
    assert found["rule_new"]["high"] - found["rule_new"]["low"] > found["rule_a"]["high"] - found["rule_a"]["low"]


def test_reversals_of_actions_that_were_not_labelled_count(review: Review) -> None:
    """As many labels that say the same; but of the rest of one rule's actions many were reversed."""
    e = made(review, {"rule_a": (400, 0.9)}, labelled=0.3, reversed_wrong=1.0)
    labels = e.query("SELECT * FROM labels ORDER BY decision_id")
    samples = e.query("SELECT * FROM samples ORDER BY draw_id")
    drawn = set(samples["content_id"].to_pylist())
    before = labels["reversed"].to_pylist()
    rng = np.random.default_rng(5)
    gone = [
        b or (c not in drawn and rng.random() < 0.3)
        for b, c in zip(before, labels["content_id"].to_pylist(), strict=True)
    ]
    more = labels.drop_columns(["reversed", "violation"])
    more = more.append_column("reversed", pa.array(gone)).append_column("violation", pa.array([not g for g in gone]))
    plain, worse = (told(Evidence.of_tables(DAY, review, labels=t, samples=samples))["rule_a"] for t in (labels, more))
    assert worse["raw"] == plain["raw"]
    assert worse["precision"] < plain["precision"] - 0.1
    assert worse["reversal_rate"] > plain["reversal_rate"] + 0.1


def test_reversals_are_counted_of_actions_that_had_their_time(review: Review) -> None:
    young = told(made(review, {"rule_a": (200, 0.5)}, age=29))["rule_a"]
    assert young["mature"] == 0
    assert young["reversal_rate"] is None
    old = told(made(review, {"rule_a": (600, 0.5)}, age=80))["rule_a"]
    assert 250 < old["mature"] < 450
    assert old["reversal_low"] < 0.5 * 0.4 + 0.5 * 0.01 < old["reversal_high"]


def test_a_rule_that_was_repaired_is_judged_by_its_newer_actions(review: Review) -> None:
    e = made(review, {"rule_a": (800, 1.0)}, age=85, labelled=1.0, reversed_wrong=0.0)
    samples = e.query("SELECT * REPLACE (drawn_at > TIMESTAMP '2026-07-10' AS violation) FROM samples ORDER BY draw_id")
    found = told(Evidence.of_tables(DAY, review, labels=e.query("SELECT * FROM labels"), samples=samples))["rule_a"]
    assert found["raw"] > found["right"] / found["labelled"] + 0.05


def test_intervals_hold_the_precision_of_each_of_a_dozen_rules(review: Review) -> None:
    rng = np.random.default_rng(7)
    inside = []
    for seed in range(20):
        truth = rng.beta(18, 2, 12)
        found = told(made(review, {f"rule_{i}": (60, t) for i, t in enumerate(truth)}, seed=seed))
        inside += [found[f"rule_{i}"]["low"] <= t <= found[f"rule_{i}"]["high"] for i, t in enumerate(truth)]
    assert 0.91 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize("strength", [4.0, 20.0, 100.0, np.inf])
def test_posteriors_hold_the_truth_however_alike_the_names_are(strength: float) -> None:
    rng = np.random.default_rng(8)
    inside, shrunk, raw = [], [], []
    for _ in range(50):
        truth = np.full(12, 0.1) if np.isinf(strength) else rng.beta(0.1 * strength, 0.9 * strength, 12)
        trials = rng.integers(5, 60, 12).astype(float)
        hits: Array = rng.binomial(trials.astype(np.int64), truth).astype(float)
        found = alike(hits, trials)
        shrunk.append(np.mean((found.mean - truth) ** 2))
        raw.append(np.mean((hits / trials - truth) ** 2))
        inside.append(np.mean(np.abs(found.mean - truth) < 1.96 * np.sqrt(found.variance)))
    assert np.mean(shrunk) < (0.95 if strength < 10 else 0.7) * np.mean(raw)
    assert np.mean(inside) >= 0.92


def test_what_is_not_decided_and_draws_of_unknown_chance_count_for_nothing(review: Review) -> None:
    e = made(review, {"rule_a": (200, 0.9)})
    labels, samples = (e.query(f"SELECT * FROM {role}") for role in ("labels", "samples"))
    undecided = e.query("SELECT * REPLACE (decision_id || '-open' AS decision_id, NULL AS decided_at) FROM labels")
    unknown = e.query("SELECT * REPLACE (draw_id || '-open' AS draw_id, NULL AS draw_probability) FROM samples")
    more = Evidence.of_tables(
        DAY, review, labels=pa.concat_tables([labels, undecided.cast(labels.schema)]),
        samples=pa.concat_tables([samples, unknown.cast(samples.schema)]),
    )  # fmt: skip
    assert precision(more).equals(precision(e))


def test_with_nothing_decided_the_table_is_empty(review: Review) -> None:
    assert precision(Evidence.of_tables(DAY, review)).num_rows == 0


def test_of_a_twins_files_it_is_what_the_truth_says(evidence: Evidence, twin_folder: Path) -> None:
    """Share of the actions of rules, models and people on contents that do violate a policy."""
    rows = precision(evidence).to_pylist()
    assert {r["subject"] for r in rows} == {"rule", "model", "actor", "policy"}
    found = duckdb.connect().execute(
        f"""SELECT actor, avg(CAST(violative AS DOUBLE)) FROM (
            SELECT DISTINCT decision_id, content_id, actor FROM read_parquet('{twin_folder}/decisions/*.parquet')
            WHERE action <> 'none' AND CAST(decided_at AS TIMESTAMP) < TIMESTAMP '{evidence.now}'
        ) JOIN read_parquet('{twin_folder}/ground_truth/contents.parquet') USING (content_id) GROUP BY actor"""
    )
    truth = dict(found.fetchall())
    for r in rows:
        if r["subject"] == "actor":
            assert r["labelled"] > 50
            assert r["precision"] == pytest.approx(truth[r["name"]], abs=0.06)
