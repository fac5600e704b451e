"""Waves are as large as they are, of the policy that they are of, and creators who turned are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from health_pipeline.risks.waves import SIZES, speaks, turned, waves

DAYS, CREATORS, COHORTS, POLICIES = 60, 400, 20, 5
SURE = 6.0
"""Log likelihood ratio of what a content shows: nearly all is known."""


@dataclass
class World:
    """Contents of cohorts of 20 creators each, one in two days by each creator; a twentieth violates usually."""

    cohort: np.ndarray
    creator: np.ndarray
    day: np.ndarray
    violated: np.ndarray
    """Policy, or -1."""

    def known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(self.day)
        told = speaks(self.violated, np.full((n, POLICIES), 1.0 / POLICIES))
        return np.full(n, 0.05), np.exp(np.where(self.violated >= 0, SURE, -SURE)), told

    def alone(self) -> np.ndarray:
        """Codes of those who turned."""
        order = np.lexsort((self.day, self.creator))
        usual, ratio, told = (x[order] for x in self.known())
        found = np.empty(len(order), np.int64)
        found[order] = turned(usual, ratio, told, self.creator[order])
        return found

    def found(self, *others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return waves(*self.known(), self.day, [*others, self.cohort], today=DAYS - 1)[:2]


def world(seed: int = 1) -> World:
    rng = np.random.default_rng(seed)
    n = CREATORS * DAYS // 2
    creator = rng.integers(0, CREATORS, n)
    violated = np.where(rng.random(n) < 0.05, rng.integers(0, POLICIES, n), -1)
    return World(creator % COHORTS, creator, rng.integers(0, DAYS, n), violated)


def planted(at: World, inside: np.ndarray, share: float, policy: int = 2, seed: int = 2) -> World:
    hit = inside & (np.random.default_rng(seed).random(len(inside)) < share)
    at.violated[hit] = policy
    return at


def test_without_a_wave_next_to_none_is_expected() -> None:
    then, now = world().found()
    assert then.sum(axis=1).mean() < 0.005
    assert now.sum(axis=1).max() < 0.05


def test_a_wave_is_as_large_on_its_thirtieth_day_as_on_its_fifth() -> None:
    for lasts in (5, 30):
        at = world()
        then, now = planted(at, (at.cohort == 3) & (at.day >= DAYS - lasts), 0.3).found()
        inside = at.cohort == 3
        np.testing.assert_allclose(now[inside, 2], 0.3, atol=0.1)
        assert now[inside].sum(axis=1).max() < now[inside, 2].min() + 0.05, "it is of one policy"
        assert now[~inside].sum(axis=1).mean() < 0.005
        before = inside & (at.day < DAYS - lasts - 4)
        assert then[before].sum(axis=1).mean() < 0.05


def test_a_wave_that_is_over_was_one_and_is_no_longer_expected() -> None:
    at = world()
    then, now = planted(at, (at.cohort == 3) & (at.day >= 20) & (at.day < 45), 0.3).found()
    np.testing.assert_allclose(then[(at.cohort == 3) & (at.day >= 24) & (at.day < 41), 2].mean(), 0.3, atol=0.1)
    assert now[at.cohort == 3].sum(axis=1).max() < 0.03


def test_days_without_contents_are_days_on_which_a_wave_may_have_ended() -> None:
    at = world()
    planted(at, (at.cohort == 3) & (at.day >= 20), 0.3)
    cut = at.day < 40
    at = World(at.cohort[cut], at.creator[cut], at.day[cut], at.violated[cut])
    inside = at.cohort == 3
    last, later = (waves(*at.known(), at.day, [at.cohort], today=day)[1][inside, 2].max() for day in (39, DAYS - 1))
    assert 0.2 < last < 0.4
    assert 0.05 < later < 0.8 * last, "it may go on, and nobody has seen it"


def test_a_policy_that_doubles_what_is_violated_is_found_where_it_was_rare() -> None:
    at = world()
    _, now = planted(at, (at.cohort == 3) & (at.day >= DAYS - 21), 0.1).found()
    np.testing.assert_allclose(now[at.cohort == 3, 2], 0.1, atol=0.05)


def test_what_a_cluster_explains_is_no_wave_of_its_cohort() -> None:
    at = world()
    member = (at.creator % 100 == 3) & (at.cohort == 3)
    assert len(np.unique(at.creator[member])) >= 4
    cluster = np.where(member, 0, -1)
    _, now = planted(at, member & (at.day >= DAYS - 14), 0.95).found(cluster)
    assert now[member].sum(axis=1).min() > 0.7
    assert now[(at.cohort == 3) & ~member].sum(axis=1).max() < 0.05


def test_some_creators_who_turn_are_no_wave_of_their_cohort() -> None:
    at = world()
    mine = np.isin(at.creator, (43, 63, 83))
    assert (at.cohort[mine] == 3).all()
    planted(at, mine & (at.day >= DAYS - 14), 0.95)
    alone = at.alone()
    assert ((alone >= 0) == mine).all(), "they, and nobody else"
    _, now = at.found(alone)
    assert now[(at.cohort == 3) & ~mine].sum(axis=1).max() < 0.03
    assert now[mine].sum(axis=1).min() > 0.5
    _, blind = at.found()
    assert blind[(at.cohort == 3) & ~mine].sum(axis=1).max() > 0.1, "as it would seem otherwise"


def test_those_in_a_wave_have_not_turned() -> None:
    at = world()
    planted(at, (at.cohort == 3) & (at.day >= DAYS - 14), 0.4)
    assert len(np.unique(at.creator[at.alone() >= 0])) <= 2
    assert not (world().alone() >= 0).any()
    assert not len(turned(np.zeros(0), np.zeros(0), np.zeros((0, POLICIES)), np.zeros(0, np.int64)))


def test_luck_within_a_known_wave_turns_nobody_and_who_turned_there_is_found() -> None:
    at = world()
    planted(at, (at.cohort == 3) & (at.day >= DAYS - 30), 0.5)
    at.violated[(at.creator == 43) & (at.day >= DAYS - 30)] = 2
    order = np.lexsort((at.day, at.creator))
    usual, ratio, told = (x[order] for x in at.known())
    creator, day, cohort = at.creator[order], at.day[order], at.cohort[order]
    (known,) = waves(usual, ratio, told, day, [cohort], today=DAYS - 1)[2]

    def found(wave: np.ndarray | None) -> set[int]:
        return set(creator[turned(usual, ratio, told, creator, wave) >= 0].tolist())

    assert len(found(None)) > 2, "some look as if they had turned"
    assert found(known.expected(day)) == {43}


def test_creators_may_have_any_numbers() -> None:
    usual, ratio, told = np.full(60, 0.05), np.exp(np.repeat([-SURE, SURE], 30)), np.ones((60, POLICIES))
    for good, bad in ((0, 1), (9, 4), (-1, 0)):
        alone = turned(usual, ratio, told, np.repeat([good, bad], 30))
        np.testing.assert_array_equal(alone, np.repeat([-1, 0], 30))


def test_one_content_of_a_rare_policy_turns_nobody() -> None:
    usual, told = np.full(30, 1e-4), np.ones((30, POLICIES))
    for sure, found in ((1, -1), (2, 0)):
        ratio = np.exp(np.repeat([-SURE, SURE], [30 - sure, sure]))
        assert (turned(usual, ratio, told, np.zeros(30, np.int64)) == found).all()
    assert (turned(usual, np.full(30, np.exp(SURE)), told, np.arange(30)) == -1).all(), "nor the first of anybody"


def test_the_policy_that_was_named_speaks_for_itself_and_none_says_nothing() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    told = speaks(np.array([-1, 0, 2]), shares)
    np.testing.assert_allclose(told[0], 1.0)
    assert told[2, 2] > told[1, 0] > 1.0, "a rare one says more"
    np.testing.assert_allclose((told * shares).sum(axis=1), 1.0)


def test_contents_of_no_cohort_have_no_wave() -> None:
    at = world()
    at.cohort = np.full(len(at.day), -1)
    then, now = at.found()
    assert not then.any()
    assert not now.any()


def test_what_is_known_of_a_wave_is_stated_with_its_doubt() -> None:
    doubt = []
    for lasts, share in ((3, 0.25), (30, 0.5)):
        at = world()
        planted(at, (at.cohort == 3) & (at.day >= DAYS - lasts), share)
        _, now, (known,) = waves(*at.known(), at.day, [at.cohort], today=DAYS - 1)
        np.testing.assert_allclose(known.chances.sum(axis=2), 1.0)
        assert known.sizes.shape == (1 + POLICIES * len(SIZES), POLICIES)
        np.testing.assert_allclose(known.chances[at.cohort, -1] @ known.sizes, now)
        lately = np.flatnonzero(at.day == DAYS - 1)
        found = known.doubt(0.05 + now[lately].sum(axis=1), at.day, lately)
        inside = at.cohort[lately] == 3
        doubt.append(found[inside].max())
        assert found[~inside].mean() < 0.05 < doubt[0]
    assert doubt[1] < doubt[0] / 2, "what went on for a month is no chance"
    _, _, (known,) = waves(*at.known(), at.day, [np.full(len(at.day), -1)], today=DAYS - 1)
    assert not known.doubt(np.full(len(lately), 0.05), at.day, lately).any()
