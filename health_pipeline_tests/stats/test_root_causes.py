"""Root causes: those that were planted are found, and none in noise."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.cuboids import Conditions
from health_pipeline.stats.root_causes import members, ratio_cells, root_causes

SHAPE = (4, 3, 5, 6)


def cube(rng: np.random.Generator, events: float = 60_000.0) -> tuple[NDArray[np.int64], Array]:
    codes = np.stack(np.unravel_index(np.arange(np.prod(SHAPE)), SHAPE), axis=1).astype(np.int64)
    share = rng.lognormal(0.0, 0.5, len(codes))
    return codes, share / share.sum() * events


def moved(codes: NDArray[np.int64], causes: dict[Conditions, float]) -> Array:
    factor = np.ones(len(codes))
    for conditions, f in causes.items():
        factor[members(codes, conditions)] *= f
    return factor


PLANTED: list[dict[Conditions, float]] = [
    {((0, 1),): 1.3},
    {((2, 4),): 0.6},
    {((1, 0), (2, 3)): 1.3},
    {((0, 3), (1, 2), (3, 5)): 2.0},
    {((0, 1),): 0.6, ((2, 2), (3, 1)): 1.5},
    {((0, 1),): 1.4, ((2, 2),): 1.4},  # they overlap: factors multiply
    {((0, 1), (1, 0)): 1.5, ((0, 1), (1, 2)): 1.5},  # for which the first condition alone could be mistaken
    {((0, 0), (3, 1)): 0.5, ((1, 2), (2, 1)): 1.4, ((3, 4),): 1.3},
    {(): 1.1},  # no segment is to blame
]


@pytest.mark.parametrize("noisy", [False, True], ids=["poisson", "overdispersed"])
@pytest.mark.parametrize("causes", PLANTED, ids=str)
def test_planted_causes_are_named(causes: dict[Conditions, float], noisy: bool) -> None:
    rng = np.random.default_rng(1)
    codes, expected = cube(rng)
    factor = moved(codes, causes) * (rng.gamma(100.0, 0.01, len(codes)) if noisy else 1.0)
    found = root_causes(codes, expected, rng.poisson(expected * factor))
    assert {c.conditions for c in found.causes} == set(causes)
    for cause in found.causes:
        assert cause.factor == pytest.approx(causes[cause.conditions], rel=0.15)
        assert cause.low < cause.factor < cause.high
        assert cause.gain > cause.needed
    assert sum(c.change for c in found.causes) + found.left == pytest.approx(found.change)
    assert abs(found.left) < 0.2 * sum(abs(c.change) for c in found.causes)


def test_a_ratio_s_causes_are_named_whatever_its_denominators_do() -> None:
    rng = np.random.default_rng(5)
    codes, views = cube(rng, 2e6)
    rate = 0.03 * rng.lognormal(0.0, 0.3, len(codes))
    before, now = rng.poisson(28 * views), rng.poisson(views * moved(codes, {((1, 1),): 2.0}))
    causes = {((0, 2), (2, 1)): 1.5}
    expected, observed, variance = ratio_cells(
        rng.binomial(before, rate), before, rng.binomial(now, rate * moved(codes, causes)), now
    )
    found = root_causes(codes, expected, observed, variance=variance)
    assert [c.conditions for c in found.causes] == list(causes)


def test_noise_alone_is_given_causes_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(2)
    names = 0
    for _ in range(80):
        codes, expected = cube(rng, 20_000.0)
        found = root_causes(codes, expected, rng.poisson(expected), overdispersed=False, wobble=0.0, false_cause=0.05)
        names += bool(found.causes)
    assert names <= stats.binom.ppf(0.999, 80, 0.05)


@pytest.mark.parametrize("wobbles", [False, True])
def test_what_varies_beyond_sampling_is_learned_and_not_taken_for_a_cause(wobbles: bool) -> None:
    """The same cubes would be full of causes if they were taken for Poisson counts."""
    rng = np.random.default_rng(8)
    learned, poisson = 0, 0
    for _ in range(8):
        codes, expected = cube(rng)
        factor = rng.gamma(40.0, 1 / 40.0, len(codes))
        if wobbles:
            for column in codes.T:
                factor *= np.exp(rng.normal(0.0, 0.05, column.max() + 1))[column]
        factor /= expected @ factor / expected.sum()
        observed = rng.poisson(expected * factor)
        learned += bool(root_causes(codes, expected, observed).causes)
        poisson += bool(root_causes(codes, expected, observed, overdispersed=False, wobble=0.0).causes)
    assert learned <= 2
    assert poisson >= 7


def test_intervals_of_factors_hold_what_was_planted() -> None:
    rng = np.random.default_rng(4)
    held = []
    for _ in range(40):
        codes, expected = cube(rng, 20_000.0)
        found = root_causes(codes, expected, rng.poisson(expected * moved(codes, {((0, 1), (2, 0)): 1.6})))
        held += [c.low <= 1.6 <= c.high for c in found.causes if c.conditions == ((0, 1), (2, 0))]
    assert len(held) >= 37
    assert np.mean(held) > 0.87


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(4)), st.randoms(use_true_random=False))
def test_the_order_of_cells_and_dimensions_does_not_matter(order: list[int], random: object) -> None:
    rng = np.random.default_rng(6)
    codes, expected = cube(rng)
    observed = rng.poisson(expected * moved(codes, PLANTED[4])).astype(float)
    rows = np.arange(len(codes))
    random.shuffle(rows)  # type: ignore[attr-defined]
    here = root_causes(codes, expected, observed)
    there = root_causes(codes[rows][:, order], expected[rows], observed[rows])
    assert len(here.causes) == 2
    for a, b in zip(here.causes, there.causes, strict=True):
        assert a.conditions == tuple(sorted((order[d], v) for d, v in b.conditions))
        assert (a.factor, a.low, a.change, a.gain) == pytest.approx((b.factor, b.low, b.change, b.gain), rel=1e-6)


def test_split_cells_make_no_difference() -> None:
    """Cells given as two rows each, with half of everything, are the same cube when counts are Poisson."""
    rng = np.random.default_rng(9)
    codes, expected = cube(rng)
    observed = rng.poisson(expected * moved(codes, PLANTED[2])).astype(float)
    once = root_causes(codes, expected, observed, overdispersed=False, wobble=0.0)
    twice = root_causes(
        np.repeat(codes, 2, axis=0), np.repeat(expected, 2) / 2, np.repeat(observed, 2) / 2,
        overdispersed=False, wobble=0.0,
    )  # fmt: skip
    assert [c.conditions for c in once.causes] == [c.conditions for c in twice.causes]
    assert once.causes[0].gain == pytest.approx(twice.causes[0].gain)


def test_something_out_of_nothing_is_a_cause_without_a_factor() -> None:
    rng = np.random.default_rng(10)
    codes, expected = cube(rng, 20_000.0)
    new = members(codes, ((3, 2),))
    observed = rng.poisson(expected).astype(float)
    found = root_causes(codes, np.where(new, 0.0, expected), observed)
    assert [c.conditions for c in found.causes] == [((3, 2),)]
    assert found.causes[0].factor == np.inf
    assert found.causes[0].change == pytest.approx(observed[new].sum(), rel=0.05)


def test_what_fell_silent_is_a_cause_with_factor_zero() -> None:
    rng = np.random.default_rng(11)
    codes, expected = cube(rng, 20_000.0)
    silent = members(codes, ((0, 1), (1, 2)))
    found = root_causes(codes, expected, np.where(silent, 0.0, rng.poisson(expected)))
    assert [c.conditions for c in found.causes] == [((0, 1), (1, 2))]
    assert (found.causes[0].factor, found.causes[0].low) == (0.0, 0.0)
    assert 0 < found.causes[0].high < 0.05
    assert found.causes[0].change == pytest.approx(-expected[silent].sum(), rel=0.01)


def test_no_more_causes_than_asked_for() -> None:
    rng = np.random.default_rng(12)
    codes, expected = cube(rng)
    observed = rng.poisson(expected * moved(codes, PLANTED[7]))
    assert len(root_causes(codes, expected, observed, most=1).causes) == 1
    assert all(len(c.conditions) < 2 for c in root_causes(codes, expected, observed, conditions=1).causes)


CODES = np.array([[0, 0], [0, 1], [1, 0]])
ONES = np.ones(3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: root_causes(CODES[:, 0], ONES, ONES), "codes must be a table"),
        (lambda: root_causes(CODES.astype(float), ONES, ONES), "codes must be a table"),
        (lambda: root_causes(CODES - 1, ONES, ONES), "non-negative integers"),
        (lambda: root_causes(CODES[:0], ONES[:0], ONES[:0]), "codes must be a table"),
        (lambda: root_causes(CODES, ONES[:2], ONES), "expected has shape"),
        (lambda: root_causes(CODES, ONES, -ONES), "observed has a negative figure"),
        (lambda: root_causes(CODES, ONES * np.nan, ONES), "expected has a negative figure or one that is not finite"),
        (lambda: root_causes(CODES, ONES, ONES, variance=ONES[:1]), "variance has shape"),
        (lambda: root_causes(CODES, ONES, ONES, variance=0 * ONES), "no variance"),
        (lambda: root_causes(CODES, 0 * ONES, ONES), "nothing is expected"),
        (lambda: root_causes(CODES, ONES, ONES, most=0), "from 1 to 16 causes"),
        (lambda: root_causes(CODES, ONES, ONES, conditions=0), "conditions must be 1 or more"),
        (lambda: root_causes(CODES, ONES, ONES, false_cause=1.0), "false_cause between 0 and 1"),
        (lambda: root_causes(CODES, ONES, ONES, wobble=-1.0), "wobble must not be negative"),
        (lambda: ratio_cells(ONES, ONES, ONES, ONES[:2]), "shape"),
    ],
)
def test_what_is_no_cube_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_three_cells_are_a_cube_too() -> None:
    found = root_causes(CODES, [1000.0, 1000.0, 1000.0], [1000.0, 1000.0, 1500.0])
    assert [c.conditions for c in found.causes] == [((0, 1),)]


def test_the_page_s_example_prints_what_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation.md").read_text(encoding="utf-8")
    code, printed = page.split("```python\n")[1].split("```")[0], page.split("```text\n")[1].split("```")[0]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, {})
    assert said.getvalue() == printed
