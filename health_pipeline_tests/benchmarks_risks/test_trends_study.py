"""A small version of the study of emerging trends: its twins, its truth and its vocabularies without trends."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.trends import judge_null, null_lines, trial, twin_lines, vocabulary_without_trends


def test_a_rings_hashtags_and_words_are_found_within_days_and_little_else(tmp_path: Path) -> None:
    made = trial(tmp_path / "twin", "off_platform_ring", 1000, 21, (-16, -13), days=50)
    assert {p.value for p in made.planted} == {"#chotkeo", "#dealxin", "#inboxngay", "chốt kèo zl", "ib z4l0"}
    assert sum(p.days is not None and p.days <= 2 for p in made.planted) >= 4
    assert made.told >= 10
    assert len(made.false) <= 0.1 * made.told
    assert 1 <= made.trends < made.told / 2, "what a ring shares is one trend"
    assert any("off_platform_ring" in line for line in twin_lines([made]))


def test_a_campaign_is_no_trend(tmp_path: Path) -> None:
    made = trial(tmp_path / "twin", "campaign_day", 400, 21, (-12, -9), days=40)
    assert (made.told, made.planted, made.days) == (0, [], 4)


@pytest.mark.parametrize("noise", ["steady", "log-normal", "churn"])
def test_nothing_bursts_in_a_vocabulary_without_trends(noise: str) -> None:
    made = judge_null(noise, (0,), (0, 5), words=3000)
    assert made.days == 2
    assert made.found == 0
    assert made.times_nominal(1e-3) <= 2.0
    assert len(null_lines({noise: made}, 3000)) > 4


def test_words_that_come_and_go_are_gone_after_ten_days() -> None:
    counts = vocabulary_without_trends("churn", words=3000).counts
    lasting = vocabulary_without_trends("gamma", words=3000).counts
    rare = slice(2500, 3000)
    assert ((counts[rare] > 0).sum(axis=1) <= 12).mean() > 0.4
    assert ((lasting[rare] > 0).sum(axis=1) <= 12).mean() < 0.1
