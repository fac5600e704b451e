"""Where a finished series changed, and how agreement with annotators is counted."""

from __future__ import annotations

import itertools
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks import turing
from health_pipeline.stats import segmentation
from health_pipeline.stats.segmentation import Array, Segmentation, segment


def columns(found: Segmentation) -> list[int]:
    return [change.column for change in found.changes]


def noise(seed: int, days: int, rho: float = 0.0) -> Array:
    return turing.autoregressive(np.random.default_rng(seed), days, rho)


def test_planted_steps_are_found_with_their_levels() -> None:
    y = noise(1, 150)
    y[50:] += 6
    y[100:] -= 3
    found = segment(y)
    assert len(found.changes) == 2
    assert columns(found) == pytest.approx([50, 100], abs=1)
    assert [s.level for s in found.segments] == pytest.approx([0, 6, 3], abs=0.6)
    assert [s.slope for s in found.segments] == [0, 0, 0]
    assert [s.variance for s in found.segments] == pytest.approx([1, 1, 1], abs=0.5)
    assert all(change.gain > 10 for change in found.changes)
    first = found.changes[0]
    assert first.after - first.before == pytest.approx(6, abs=1)


def test_a_step_is_found_in_autocorrelated_noise_and_the_autocorrelation_told() -> None:
    y = noise(2, 200, rho=0.6)
    y[120:] += 6
    found = segment(y)
    assert columns(found) == pytest.approx([120], abs=2)
    assert found.autocorrelation in (0.4, 0.6, 0.8)


def test_a_trend_that_turns_is_one_change_and_no_staircase() -> None:
    t = np.arange(160.0)
    y = np.where(t < 80, t, 160 - t) + noise(3, 160)
    found = segment(y)
    assert columns(found) == pytest.approx([80], abs=3)
    assert [s.slope for s in found.segments] == pytest.approx([1, -1], abs=0.1)
    assert np.sqrt(np.mean((found.fitted() - y) ** 2)) < 1.3


def test_a_change_of_the_noise_alone_is_found() -> None:
    y = noise(4, 200)
    y[100:] *= 6
    found = segment(y)
    assert columns(found) == pytest.approx([100], abs=5)
    before, after = (s.variance for s in found.segments)
    assert after > 10 * before


def test_autocorrelated_noise_and_drift_have_no_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stated: changes in at most 5 % of the series; most of them would be cut if the autocorrelation were ignored."""
    many = [noise(100 + i, 90, rho=0.8) + np.linspace(0, drift, 90) for i in range(10) for drift in (0, 6)]
    assert sum(bool(segment(y).changes) for y in many) <= 1
    monkeypatch.setattr(segmentation, "AUTOCORRELATIONS", (0.0,))
    assert sum(bool(segment(y).changes) for y in many) >= 10


@pytest.mark.parametrize(("factor", "shift"), [(1e-9, 0.0), (1.0, 1e7), (-250.0, 3.0)])
def test_scaling_and_shifting_change_nothing_but_the_levels(factor: float, shift: float) -> None:
    y = noise(5, 120, rho=0.4) + np.where(np.arange(120) < 70, 0, 5)
    plain, moved = segment(y, 7), segment(shift + factor * y, 7)
    assert columns(moved) == columns(plain) != []
    assert moved.autocorrelation == plain.autocorrelation
    for a, b in zip(plain.segments, moved.segments, strict=True):
        assert b.level == pytest.approx(shift + factor * a.level, rel=1e-6)
        assert b.variance == pytest.approx(factor**2 * a.variance, rel=1e-4)
    assert [c.gain for c in moved.changes] == pytest.approx([c.gain for c in plain.changes], rel=1e-3)


def test_missing_observations_move_no_change() -> None:
    y = noise(6, 150) + np.where(np.arange(150) < 90, 0, 5)
    holes = np.random.default_rng(6).random(150) < 0.2
    holes[[88, 89, 90, 91]] = True
    y[holes] = np.nan
    found = segment(y)
    assert columns(found) == pytest.approx([92], abs=2)
    assert not holes[found.changes[0].column]
    assert found.segments[-1].end == 150
    assert np.isfinite(found.fitted()).all()


def test_a_weekly_rhythm_is_taken_out_if_it_is_there() -> None:
    weekly = np.array([4.0, -4, 2, -2, 1, -1, 0])
    y = noise(7, 140) + weekly[np.arange(140) % 7] + np.where(np.arange(140) < 63, 0, 4)
    y[10] = np.nan
    found = segment(y, 7)
    assert columns(found) == pytest.approx([63], abs=1)
    assert found.rhythm == pytest.approx(weekly, abs=1.2)
    assert found.rhythm.sum() == pytest.approx(0, abs=1e-9)
    assert np.nanstd(found.fitted() - y) < 1.3
    assert segment(noise(8, 140), 7).rhythm.size == 0
    assert segment(y[:20], 7).rhythm.size == 0  # fewer than three weeks


def test_an_even_rhythm_is_taken_out_too() -> None:
    yearly = 5 * np.cos(np.arange(12) * math.pi / 6)
    found = segment(noise(9, 120) + yearly[np.arange(120) % 12] + np.linspace(0, 8, 120), 12)
    assert found.rhythm == pytest.approx(yearly, abs=1.2)
    assert columns(found) == []


def test_spikes_are_left_out_and_no_segments() -> None:
    y = noise(10, 100)
    y[40:42] += 60
    y[70] -= 60
    found = segment(y)
    assert found.spikes == (40, 41, 70)
    assert columns(found) == []


@pytest.mark.parametrize("values", [[3.0], [3.0, 4.0], [5.0] * 50, [np.nan, 7.0, np.nan], [1e9] * 30])
def test_a_short_or_constant_series_is_one_segment(values: list[float]) -> None:
    found = segment(np.array(values))
    assert columns(found) == []
    assert (found.segments[0].start, found.segments[0].end) == (0, len(values))
    assert found.segments[0].level == pytest.approx(np.nanmean(values))


@pytest.mark.parametrize(
    ("values", "period", "says"),
    [
        (np.full(9, np.nan), 0, "observed"),
        (np.array([1.0, np.inf]), 0, "infinite"),
        (np.zeros((2, 3)), 0, "dimensions"),
        (np.zeros(9), 1, "period"),
        (np.zeros(9), -7, "period"),
    ],
)
def test_what_cannot_be_segmented_is_refused(values: Array, period: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        segment(values, period)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_a_segment_costs_what_generalised_least_squares_say(rho: float) -> None:
    y, t = noise(11, 30), np.arange(30) / 30
    model = segmentation._Model(y, t, rho)
    start, end = 7, 21
    m = end - start
    covariance = rho ** np.abs(np.subtract.outer(np.arange(m), np.arange(m))) / (1 - rho**2)
    precision = np.linalg.inv(covariance)
    nu, s = segmentation.PRIOR_STRENGTH, (1 + rho) / 2
    f = (segmentation.RESOLUTION * np.std(y)) ** 2 * (1 - rho**2)
    costs = []
    for design in (np.ones((m, 1)), np.column_stack([np.ones(m), t[start:end]])):
        beta = np.linalg.solve(design.T @ precision @ design, design.T @ precision @ y[start:end])
        rest = y[start:end] - design @ beta
        costs.append(
            (m + nu) * math.log((rest @ precision @ rest + nu * s) / (m + nu) + f)
            - nu * math.log(s + f) - math.log(1 - rho**2) + (design.shape[1] + 1) * math.log(m)
        )  # fmt: skip
    assert model.of(start, end) == pytest.approx(min(costs))


def test_no_other_partition_is_cheaper() -> None:
    y = noise(12, 13) + np.where(np.arange(13) < 6, 0, 9)
    model = segmentation._Model(y / np.sqrt(np.mean(np.diff(y) ** 2)), np.arange(13) / 13, 0.4)
    best, bounds = segmentation._partition(model)
    totals = {}
    for count in range(7):
        for cuts in itertools.combinations(range(2, 12), count):
            edges = (0, *cuts, 13)
            if min(b - a for a, b in pairwise(edges)) >= segmentation.SHORTEST:
                totals[edges] = sum(model.of(a, b) for a, b in pairwise(edges)) + count * model.penalty
    assert min(totals, key=totals.__getitem__) == tuple(bounds)
    assert min(totals.values()) == pytest.approx(best)


def test_a_smooth_curve_is_not_cut_ever_finer_and_has_no_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = np.exp(np.arange(240) / 120)
    found = segment(growth)
    assert found.spikes == ()
    assert segment(np.sin(np.arange(120) / 40)).spikes == ()
    monkeypatch.setattr(segmentation, "RESOLUTION", 1e-6)
    assert len(found.changes) < len(segment(growth).changes)


def test_a_gain_is_what_the_cost_would_rise_without_the_change() -> None:
    found = segment(noise(13, 90) + np.repeat([0.0, 5.0, 0.0], 30))
    assert len(found.changes) == 2
    assert all(change.gain > 0 for change in found.changes)  # else the partition were not the cheapest


# Agreement with annotators: the examples are those of the authors' implementation.


@pytest.mark.parametrize(
    ("annotations", "predicted", "score"),
    [
        ({"1": [10, 20], "2": [11, 20], "3": [10], "4": [0, 5]}, [10, 20], 1.0),
        ({"1": [], "2": [10], "3": [50]}, [10], 0.9090909090909091),
        ({"1": [], "2": [10], "3": [50]}, [], 0.8),
    ],
)
def test_f1_of_known_cases(annotations: turing.Annotations, predicted: list[int], score: float) -> None:
    assert turing.f1(annotations, predicted) == pytest.approx(score)


@pytest.mark.parametrize(
    ("annotations", "predicted", "score"),
    [
        ({"1": [10, 20], "2": [10], "3": [0, 5]}, [10, 20], 0.7962962962962963),
        ({"1": [], "2": [10], "3": [40]}, [10], 0.7954144620811286),
        ({"1": [], "2": [10], "3": [40]}, [], 0.8189300411522634),
    ],
)
def test_cover_of_known_cases(annotations: turing.Annotations, predicted: list[int], score: float) -> None:
    assert turing.cover(annotations, predicted, 45) == pytest.approx(score)


def test_a_prediction_counts_once() -> None:
    assert turing.true_positives({1, 10, 20, 23}, {3, 8, 20}) == {1, 10, 20}
    assert turing.true_positives({1, 10, 20, 23}, {1, 3, 5, 8, 20}) == {1, 10, 20}
    assert turing.true_positives({1, 2, 3}, set()) == set()


def test_the_published_scores_average_to_the_published_table() -> None:
    """TCPDBench, analysis/output/tables/aggregate_table_wide.tex: univariate, default."""
    scores = turing.published()
    names = sorted(set(scores["cover"]) - turing.PAPER)
    assert len(names) == 35
    table = {
        "amoc": (0.702, 0.704), "binseg": (0.706, 0.744), "bocpd": (0.636, 0.690), "pelt": (0.689, 0.710),
        "prophet": (0.540, 0.488), "rfpop": (0.392, 0.499), "segneigh": (0.676, 0.676), "zero": (0.583, 0.669),
    }  # fmt: skip
    ours = turing.averages(scores, names)
    for method, figures in table.items():
        assert ours[method] == pytest.approx(figures, abs=0.0006)


def test_the_benchmark_reads_a_folder_and_writes_its_part(tmp_path: Path) -> None:
    y = [*noise(14, 99, 0.2), None]
    stamps = [str(1871 + i) for i in range(100)]
    folder = tmp_path / "datasets" / "nile"
    folder.mkdir(parents=True)
    data = {"name": "nile", "n_obs": 100, "n_dim": 1, "time": {"format": "%Y", "raw": stamps}, "series": [{"raw": y}]}
    (folder / "nile.json").write_text(json.dumps(data))
    (tmp_path / "annotations.json").write_text(json.dumps({"nile": {"6": [], "7": [28]}}))
    (series,) = turing.load(tmp_path)
    assert series.period == 0
    assert np.isnan(series.values[-1])
    lines, picture = turing.turing(tmp_path)
    page = "\n".join(lines)
    zero = turing.cover({"6": [], "7": [28]}, [], 100)
    assert f"| nile | 100 | 2 | 0 | {zero:.3f} |" in page
    assert "1 of the paper's 35" in page
    assert picture.startswith(b"\x89PNG")
    data["n_obs"] = 101
    (folder / "nile.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="100 values"):
        turing.load(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "pattern", "period"),
    [
        ("2020-01", "2020-02", "%Y-%m", 12),
        ("2020-01-01", "2020-01-02", "%Y-%m-%d", 7),
        ("2020-01-01", "2020-01-15", "%Y-%m-%d", 0),
        ("1", "2", "%Y", 0),
    ],
)
def test_the_rhythm_is_read_off_the_time_stamps(first: str, second: str, pattern: str, period: int) -> None:
    assert turing.rhythm_period([first, second], pattern) == period
