"""Shares from draws with unequal chances: near the truth, as sure as they say, and one whole of two samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.hajek import Shares, Sums, agreement, composite, effective, interval, known_size, shares


@dataclass(frozen=True)
class Population:
    """Units with a score that tells more or less who is positive."""

    positive: NDArray[np.bool_]
    score: Array

    @classmethod
    def made(cls, share: float, size: int = 20_000, seed: int = 1) -> Population:
        rng = np.random.default_rng(seed)
        positive = rng.random(size) < share
        logit = np.where(positive, rng.normal(1.0, 1.3, size), rng.normal(-3.0, 1.2, size))
        return cls(positive, np.maximum(1 / (1 + np.exp(-logit)), 0.02))

    @property
    def share(self) -> float:
        return float(self.positive.mean())

    def by_score(self, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        chance = self.score / self.score.sum()
        return rng.choice(len(chance), draws, p=chance), draws * chance

    def evenly(self, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Array]:
        return rng.integers(0, len(self.score), draws), np.full(len(self.score), draws / len(self.score))

    def sums(self, drawn: tuple[NDArray[np.int64], Array]) -> Sums:
        at, chance = drawn
        return Sums.of(chance[at], self.positive[at])


def told(sums: Sums) -> Shares:
    return shares(sums, sums[0])


def holds(found: Shares, truth: float) -> bool:
    return bool(found.low[0] <= truth <= found.high[0])


PEOPLE = Population.made(0.02)


def test_the_estimate_is_right_on_average_though_positives_are_sought() -> None:
    rng = np.random.default_rng(2)
    samples = [PEOPLE.by_score(400, rng) for _ in range(300)]
    drawn = np.mean([PEOPLE.positive[at].mean() for at, _ in samples])
    estimates = np.array([PEOPLE.sums(s).share[0] for s in samples])
    assert drawn > 5 * PEOPLE.share, "the sample is full of positives"
    assert estimates.mean() == pytest.approx(PEOPLE.share, abs=4 * estimates.std() / np.sqrt(300))


def test_the_variance_is_that_of_the_estimates() -> None:
    rng = np.random.default_rng(3)
    found = [PEOPLE.sums(PEOPLE.by_score(1000, rng)) for _ in range(400)]
    spread = np.std([f.share[0] for f in found])
    assert np.sqrt(np.mean([f.variance[0] for f in found])) == pytest.approx(spread, rel=0.12)


def test_equal_draws_are_worth_what_they_are_and_draws_by_score_more() -> None:
    rng = np.random.default_rng(4)
    even, sought = PEOPLE.sums(PEOPLE.evenly(1500, rng)), PEOPLE.sums(PEOPLE.by_score(1500, rng))
    assert effective(even, even[0])[0] == pytest.approx(1500, rel=0.01)
    assert effective(sought, sought[0])[0] > 3000
    assert sought.kish[0] < 1500, "Kish's count knows nothing of that"


@pytest.mark.parametrize(("share", "draws"), [(0.02, 1500), (0.02, 150), (0.002, 600)])
def test_intervals_hold_nineteen_times_of_twenty_with_many_and_with_few_positives(share: float, draws: int) -> None:
    people, rng = Population.made(share), np.random.default_rng(5)
    whole = people.sums(people.by_score(20_000, rng))[0]  # what is known of weights from elsewhere
    found = [shares(people.sums(people.by_score(draws, rng)), whole.scaled(20_000 / draws)) for _ in range(600)]
    assert 0.925 <= np.mean([holds(f, people.share) for f in found]) <= 0.99
    assert np.mean([f.low[0] > people.share for f in found]) <= 0.04
    assert np.mean([f.high[0] < people.share for f in found]) <= 0.05


def test_without_a_positive_there_is_an_upper_bound_and_more_draws_bring_it_down() -> None:
    rng = np.random.default_rng(6)
    whole = PEOPLE.sums(PEOPLE.evenly(10_000, rng))
    none = [Sums.of(np.full(n, 0.5), np.zeros(n)) for n in (100, 1000)]
    few, many = (shares(s, whole.scaled(0.5 * PEOPLE.score.size / 10_000)[0]) for s in none)
    assert few.estimate[0] == few.low[0] == 0.0
    assert 0.02 < few.high[0] < 0.06
    assert many.high[0] == pytest.approx(few.high[0] / 10, rel=0.1)


def test_with_no_positive_anywhere_positives_are_taken_to_weigh_like_all() -> None:
    none = Sums.of(np.full(300, 0.1), np.zeros(300))
    assert told(none).effective[0] == pytest.approx(300)
    assert 0 < told(none).high[0] < 0.02


def test_a_cell_without_draws_is_told_nothing_of() -> None:
    sums = Sums.of([0.5, 0.5], [True, False], [0, 0], 2)
    found = shares(sums, sums[0])
    assert np.isnan([found.estimate[1], found.low[1], found.high[1], found.effective[1]]).all()


def test_a_cell_with_few_positives_takes_the_weight_of_a_positive_from_the_whole() -> None:
    """Its own two positives happened to be light; alone it would think itself sure."""
    whole = Sums.of([0.5] * 40 + [0.02] * 10 + [0.05] * 900, [True] * 50 + [False] * 900)
    cell = Sums.of([0.5] * 2 + [0.05] * 90, [True] * 2 + [False] * 90)
    assert effective(cell, whole[0])[0] < 0.5 * effective(cell, cell[0])[0]
    assert shares(cell, whole[0]).high[0] > 1.1 * told(cell).high[0]
    alone, more = (effective(cell, whole[0], prior)[0] for prior in (0.0, 30.0))
    assert alone > effective(cell, whole[0])[0] > more
    none = Sums.of([0.05] * 90, [False] * 90)
    assert np.isnan(shares(none, whole[0], prior=0.0).high[0])


def test_known_sizes_give_totals_their_share() -> None:
    rng = np.random.default_rng(7)
    found = [known_size(PEOPLE.sums(PEOPLE.by_score(1500, rng)), len(PEOPLE.score)) for _ in range(400)]
    assert np.mean([f.estimate[0] for f in found]) == pytest.approx(PEOPLE.share, rel=0.02)
    assert 0.92 <= np.mean([holds(f, PEOPLE.share) for f in found]) <= 0.985


def test_two_samples_as_one_beat_either_and_their_average() -> None:
    rng = np.random.default_rng(8)
    one, first, second, average = [], [], [], []
    for _ in range(300):
        (a, pa), (b, pb) = PEOPLE.by_score(600, rng), PEOPLE.evenly(600, rng)
        both = np.concatenate([a, b])
        one.append(Sums.of((pa + pb)[both], PEOPLE.positive[both]).share[0])
        sums = PEOPLE.sums((a, pa)), PEOPLE.sums((b, pb))
        first.append(sums[0].share[0])
        second.append(sums[1].share[0])
        average.append(composite(*sums, sums[0][0], sums[1][0])[0].share[0])
    errors = [float(np.sqrt(np.mean((np.array(e) - PEOPLE.share) ** 2))) for e in (one, average, first, second)]
    assert errors == sorted(errors)
    assert np.mean(one) == pytest.approx(PEOPLE.share, abs=4 * errors[0] / np.sqrt(300))


def test_the_average_leans_on_the_surer_sample_and_takes_what_there_is() -> None:
    rng = np.random.default_rng(9)
    sought, even = PEOPLE.sums(PEOPLE.by_score(600, rng)), PEOPLE.sums(PEOPLE.evenly(600, rng))
    nothing = Sums.of([], [])
    assert composite(sought, even, sought[0], even[0])[1] > 0.7
    assert composite(sought, nothing, sought[0], nothing[0])[1] == 1.0
    assert composite(nothing, even, nothing[0], even[0])[1] == 0.0


def test_a_sample_without_positives_does_not_count_as_sure() -> None:
    rng = np.random.default_rng(10)
    sought, unlucky = PEOPLE.sums(PEOPLE.by_score(600, rng)), Sums.of(np.full(50, 50 / 20_000), np.zeros(50))
    assert composite(sought, unlucky, sought[0], unlucky[0])[1] > 0.8


@pytest.mark.parametrize("even", [1500, 150])
def test_samples_of_the_same_units_disagree_as_rarely_as_said(even: int) -> None:
    rng = np.random.default_rng(11)
    found = [
        agreement(told(PEOPLE.sums(PEOPLE.by_score(1000, rng))), told(PEOPLE.sums(PEOPLE.evenly(even, rng))))
        for _ in range(600)
    ]
    p = np.array([f.p_value[0] for f in found])
    assert np.mean(p < 0.05) <= 0.08
    assert np.mean(p < 0.01) <= 0.025


def test_chances_that_were_logged_wrong_are_noticed() -> None:
    rng = np.random.default_rng(12)
    (at, chance), even = PEOPLE.by_score(1000, rng), told(PEOPLE.sums(PEOPLE.evenly(1500, rng)))
    wrong = told(Sums.of(np.sqrt(chance[at]), PEOPLE.positive[at]))
    found = agreement(wrong, even)
    assert found.p_value[0] < 1e-4
    assert found.z[0] > 0, "the first tells more"


def test_nothing_seen_in_both_is_agreement() -> None:
    none = told(Sums.of(np.full(50, 0.1), np.zeros(50)))
    assert agreement(none, none).p_value[0] == 1.0
    assert agreement(none, none).z[0] == 0.0


def test_a_policys_share_is_of_all_draws() -> None:
    every = Sums.of([0.1] * 10, [True] * 4 + [False] * 6)
    some = Sums.of([0.1] * 10, [True] * 1 + [False] * 9)
    assert every.counting(some).share[0] == pytest.approx(0.1)
    assert every.counting(some).positives[0] == 1


def test_a_chance_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Sums.of([0.1, 0.0], [True, False])


draws = st.lists(st.tuples(st.floats(1e-6, 1.0), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60)


@given(draws, st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_sums_add_up_over_any_split(rows: list[tuple[float, bool, int]], cut: int) -> None:
    def of(some: list[tuple[float, bool, int]]) -> Sums:
        return Sums.of([c for c, _, _ in some], [y for _, y, _ in some], [g for _, _, g in some], 4)

    whole, parts = of(rows), of(rows[:cut]) + of(rows[cut:])
    np.testing.assert_allclose(parts.weight, whole.weight)
    np.testing.assert_allclose(parts.positive_squares, whole.positive_squares)
    np.testing.assert_allclose(parts.share, whole.share)


@given(draws)
@settings(max_examples=60, deadline=None)
def test_intervals_hold_their_estimate_and_stay_within_0_and_1(rows: list[tuple[float, bool, int]]) -> None:
    found = told(Sums.of([c for c, _, _ in rows], [y for _, y, _ in rows]))
    assert 0 <= found.low[0] <= found.estimate[0] <= found.high[0] <= 1 + 1e-12


@given(st.floats(0.001, 0.3), st.floats(30, 1e5), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_an_interval_narrows_with_draws(share: float, draws: float, factor: float) -> None:
    low, high = interval(np.array([share, share]), np.array([draws, 2 * draws]))
    assert high[1] - low[1] < high[0] - low[0]


@given(draws, st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_only_relative_chances_matter(rows: list[tuple[float, bool, int]], factor: float) -> None:
    sums = Sums.of([c for c, _, _ in rows], [y for _, y, _ in rows])
    a, b = told(sums), told(sums.scaled(factor))
    np.testing.assert_allclose([a.low[0], a.high[0]], [b.low[0], b.high[0]], rtol=1e-6)
