"""A pace is known from all days while it holds, and from those since where it changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from health_pipeline.stats.pace import AGES, HAZARDS, Paces, paces

Array = NDArray[np.float64]
DAYS = 90


def drawn(daily: Array, seed: int = 1) -> Array:
    """(N, DAYS) events, the newest day first, of so many expected on each."""
    return np.random.default_rng(seed).poisson(daily).astype(float)


def seen(events: Array, known: Array | None = None, group: list[int] | None = None) -> Paces:
    """Paces of events (N, DAYS), where ``known`` (N, DAYS) of each day was delivered."""
    known = np.ones_like(events) if known is None else known
    lately, since = (np.stack([x[:, :age].sum(axis=1) for age in AGES], axis=1) for x in (events * known, known))
    return paces(
        (events * known).sum(axis=1), known.sum(axis=1), lately, since, np.zeros(len(events), np.int64),
        None if group is None else np.array(group, np.int64),
    )  # fmt: skip


def steady(n: int, mean: float = 0.8, seed: int = 2) -> Array:
    return np.random.default_rng(seed).gamma(2.0, mean / 2, n)


def test_who_goes_on_as_ever_is_known_from_all_days_and_no_better_than_told() -> None:
    pace = steady(2_000)
    found = seen(drawn(np.repeat(pace[:, None], DAYS, axis=1)))
    # The posterior mean of a gamma that is known would be off by 1 / (2 + events) of itself, squared, on average.
    error = (pace / found.mean - 1) ** 2
    assert error.mean() < 1.3 / (2 + DAYS * 0.8) * (2_000 / (2_000 - 1)) + 0.02
    assert 0.7 < error.mean() / found.doubt.mean() < 1.3
    assert found.hazard == HAZARDS[0], "where nobody changes no change is believed easily"


def test_who_changed_is_known_from_the_days_since_and_chance_is_no_change() -> None:
    daily = np.repeat(steady(400)[:, None], DAYS, axis=1)
    daily[:20, :6] = 5.0
    daily[20:40] = np.where(np.arange(DAYS) < 10, 0.0, 2.0)
    found = seen(drawn(daily)).mean
    assert np.median(found[:20]) > 4.0
    assert np.median(found[20:40]) < 0.4
    alone = seen(drawn(daily)[40:]).mean
    assert np.abs(np.log(found[40:] / alone)).mean() < 0.1, "others' changes are hardly theirs"


def test_where_many_change_a_change_is_believed_sooner() -> None:
    daily = np.repeat(steady(400)[:, None], DAYS, axis=1)
    rng = np.random.default_rng(5)
    for row in daily:
        row[: rng.integers(1, 60)] = rng.gamma(2.0, 0.4)
    assert seen(drawn(daily)).hazard > 10 * HAZARDS[0]


def test_members_of_a_group_who_changed_together_are_believed_where_one_alone_is_not() -> None:
    daily = np.repeat(steady(400)[:, None], DAYS, axis=1)
    daily[:10, :2] = 2.5
    daily[:10, 2:] = 0.4
    events = drawn(daily)
    alone = seen(events).mean
    together = seen(events, group=[7] * 10 + [-1] * 390).mean
    assert np.median(alone[:10]) < 1.0, "five posts in two days may be chance"
    assert np.median(together[:10]) > 1.6
    np.testing.assert_array_equal(together[10:], alone[10:])


def test_a_group_that_changed_nothing_is_taken_for_what_its_members_are() -> None:
    daily = np.repeat(steady(400)[:, None], DAYS, axis=1)
    events = drawn(daily)
    alone, together = seen(events).mean, seen(events, group=[0] * 12 + [1] * 12 + [-1] * 376).mean
    assert np.abs(np.log(together / alone))[:24].mean() < 0.1


def test_the_last_of_a_group_acts_with_nobody() -> None:
    events = drawn(np.repeat(steady(50)[:, None], DAYS, axis=1))
    alone, last = seen(events), seen(events, group=[4] + [-1] * 49)
    np.testing.assert_array_equal(last.mean, alone.mean)
    np.testing.assert_array_equal(last.doubt, alone.doubt)


def test_days_that_were_not_delivered_say_nothing() -> None:
    daily = np.repeat(steady(400, 3.0)[:, None], DAYS, axis=1)
    events, known = drawn(daily), np.ones((400, DAYS))
    known[:200, :3] = 0.0
    whole, holed = seen(events).mean, seen(events, known).mean
    assert np.abs(np.log(holed / whole)).mean() < 0.05
    assert np.median(seen(events * known).mean[:200] / whole[:200]) < 0.5, "they would, if they were taken for silence"


def test_nobody_and_one_who_is_new_have_a_pace() -> None:
    assert len(seen(np.zeros((0, DAYS))).mean) == 0
    new = seen(drawn(np.ones((50, 1))))
    assert np.isfinite(new.mean).all() and (new.mean > 0).all() and (new.doubt > 0).all()
