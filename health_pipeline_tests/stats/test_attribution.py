"""Exact splits: parts that add up, and intervals that hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.attribution import Amounts, Split, count_change, mix_and_rate


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[Array, Array, Array, Array]:
    """Numerators and denominators of both sides; any of them can be zero, also a denominator below a numerator."""
    size = draw(st.integers(1, 8))
    amounts = st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e6)), min_size=size, max_size=size)
    k_b, n_b, k_n, n_n = (np.array(draw(amounts)) for _ in range(4))
    n_b[0] += 1.0
    n_n[-1] += 1.0
    return k_b, n_b, k_n, n_n


@settings(max_examples=50, deadline=None)
@given(two_sides())
def test_a_ratio_s_parts_add_up_exactly(sides: tuple[Array, Array, Array, Array]) -> None:
    k_b, n_b, k_n, n_n = sides
    split = mix_and_rate(Amounts(k_b, n_b), Amounts(k_n, n_n))
    before, now = k_b.sum() / n_b.sum(), k_n.sum() / n_n.sum()
    assert split.rates is not None and split.mixes is not None and split.rate is not None and split.mix is not None
    # Parts of ten million that nearly cancel leave the rounding of ten million.
    parts = float(np.max(np.abs([split.rates.value, split.mixes.value])))
    close = 1e-9 * (1 + before + now) + 1e-14 * parts
    assert split.change.value == pytest.approx(now - before, abs=close)
    assert split.rate.value + split.mix.value == pytest.approx(now - before, abs=close)
    np.testing.assert_allclose(split.rates.value + split.mixes.value, split.changes.value, atol=close)
    assert split.changes.value.sum() == pytest.approx(now - before, abs=close)
    assert np.all(split.changes.low <= split.changes.value) and np.all(split.changes.value <= split.changes.high)
    back = mix_and_rate(Amounts(k_n, n_n), Amounts(k_b, n_b))
    np.testing.assert_allclose(back.changes.value, -split.changes.value, atol=close)


@settings(max_examples=50, deadline=None)
@given(two_sides())
def test_a_count_s_parts_add_up_exactly(sides: tuple[Array, Array, Array, Array]) -> None:
    k_b, n_b, k_n, n_n = sides
    plain, split = count_change(Amounts(k_b), Amounts(k_n)), count_change(Amounts(k_b, n_b), Amounts(k_n, n_n))
    assert plain.rates is None and split.rates is not None and split.mixes is not None
    for one in (plain, split):
        np.testing.assert_allclose(one.changes.value, k_n - k_b)
        assert one.change.value == pytest.approx(k_n.sum() - k_b.sum(), rel=1e-9, abs=1e-6)
    close = 1e-9 * (np.abs(split.rates.value) + np.abs(split.mixes.value)) + 1e-9
    assert np.all(np.abs(split.rates.value + split.mixes.value - (k_n - k_b)) <= close)


def test_a_split_by_hand() -> None:
    """Two segments of ratios 0.1 and 0.3; the second doubles its weight, and the first's ratio doubles."""
    split = mix_and_rate(Amounts.known([8, 6], [80, 20]), Amounts.known([12, 12], [60, 40]))
    assert split.rates is not None and split.mixes is not None
    assert (split.before, split.now) == pytest.approx((0.14, 0.24))
    np.testing.assert_allclose(split.rates.value, [0.7 * 0.1, 0.0], atol=1e-12)
    np.testing.assert_allclose(split.mixes.value, [(0.15 - 0.19) * -0.2, (0.3 - 0.19) * 0.2])
    np.testing.assert_allclose(split.usual, [0.8, 0.2])


def test_a_segment_that_comes_or_goes_is_all_mix_and_a_numerator_out_of_nothing_all_rate() -> None:
    split = mix_and_rate(
        Amounts.known([10, 10, 0, 0], [100, 100, 0, 0]), Amounts.known([10, 0, 30, 2], [100, 0, 100, 0])
    )
    assert split.rates is not None and split.mixes is not None
    np.testing.assert_allclose(split.rates.value, [0, 0, 0, 2 / 200], atol=1e-12)
    assert split.mixes.value[2] > 0 and split.mixes.value[3] == 0
    volume = count_change(Amounts.known([10, 10, 0], [100, 100, 0]), Amounts.known([10, 0, 30], [100, 0, 100]))
    assert volume.rates is not None and volume.mixes is not None
    np.testing.assert_allclose(volume.rates.value, 0.0, atol=1e-12)
    np.testing.assert_allclose(volume.mixes.value, [0, -10, 30])


@pytest.mark.parametrize("split", [mix_and_rate, count_change])
def test_the_delta_method_is_that_of_numerical_derivatives(split: Callable[[Amounts, Amounts], Split]) -> None:
    """Segments: ordinary, appearing, vanishing, with a numerator out of nothing; amounts moved a little one by one."""
    ratio = np.array([[0.1, 0.0, 0.4, 0.2], [0.2, 0.3, 0.0, 0.0]])
    n = np.array([[300.0, 0.0, 200.0, 50.0], [250.0, 100.0, 0.0, 0.0]])
    k = ratio * n
    k[1, 3] = 5.0
    vk, vn = np.array([[20.0, 0, 30, 9], [30, 25, 0, 5]]), np.where(n > 0, np.sqrt(n) * 3, 0.0)

    def values(k: Array, n: Array) -> Array:
        s = split(Amounts.known(k[0], n[0]), Amounts.known(k[1], n[1]))
        assert s.rate and s.mix and s.rates and s.mixes
        return np.concatenate(
            [[s.change.value, s.rate.value, s.mix.value], s.changes.value, s.rates.value, s.mixes.value]
        )

    variance = np.zeros(15)
    for side, segment in np.ndindex(2, 4):
        for move, v in ((0, vk[side, segment]), (1, vn[side, segment])):
            if v == 0:
                continue
            ends = []
            for step in (1e-4, -1e-4):
                k2, n2 = k.copy(), n.copy()
                if move:  # a denominator moves at a given ratio
                    n2[side, segment] += step
                    k2[side, segment] += step * ratio[side, segment] * (segment != 3)
                else:
                    k2[side, segment] += step
                ends.append(values(k2, n2))
            variance += ((ends[0] - ends[1]) / 2e-4) ** 2 * v
    s = split(Amounts(k[0], n[0], vk[0], vn[0]), Amounts(k[1], n[1], vk[1], vn[1]))
    assert s.rate and s.mix and s.rates and s.mixes
    reach = np.concatenate(
        [
            [e.high - e.value for e in (s.change, s.rate, s.mix)],
            *(e.high - e.value for e in (s.changes, s.rates, s.mixes)),
        ]
    )
    np.testing.assert_allclose((reach / 1.959964) ** 2, variance, rtol=1e-4, atol=1e-12)


def test_intervals_hold_what_is_true() -> None:
    rng = np.random.default_rng(3)
    n_b, n_n, r_b, r_n = np.array([400.0, 900]), np.array([700.0, 600]), np.array([0.1, 0.2]), np.array([0.15, 0.2])
    true = mix_and_rate(Amounts.known(n_b * r_b, n_b), Amounts.known(n_n * r_n, n_n))
    held = []
    for _ in range(400):
        d_b, d_n = rng.poisson(n_b), rng.poisson(n_n)
        s = mix_and_rate(Amounts.binomial(rng.binomial(d_b, r_b), d_b), Amounts.binomial(rng.binomial(d_n, r_n), d_n))
        assert s.rate and true.rate and s.mix and true.mix
        pairs = ((s.change, true.change), (s.rate, true.rate), (s.mix, true.mix), (s.changes[0], true.changes[0]))
        held.append([a.low <= b.value <= a.high for a, b in pairs])
    coverage = np.mean(held, axis=0)
    assert np.all((coverage > 0.92) & (coverage < 0.98)), coverage


def test_more_days_tell_more_and_noisier_events_less() -> None:
    def width(amounts: Amounts) -> float:
        e = count_change(Amounts.known([20.0]), amounts).change
        return e.high - e.low

    assert width(Amounts.poisson([20.0], days=4)) == pytest.approx(width(Amounts.poisson([20.0])) / 2)
    assert width(Amounts.poisson([20.0], dispersion=(4, 1))) == pytest.approx(width(Amounts.poisson([20.0])) * 2)


def test_no_event_among_few_is_not_certainty() -> None:
    s = mix_and_rate(Amounts.known([5, 10], [50, 50]), Amounts.binomial([0, 12], [10, 60]))
    assert s.rates is not None and s.rates.high[0] > s.rates.value[0]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (Amounts(np.array([1.0])), Amounts(np.array([1.0])), "denominators on both sides"),
        (Amounts.known([1.0], [2.0]), Amounts.known([1.0, 1], [2.0, 2]), "1 segments before and 2 now"),
        (Amounts.known([1.0], [2.0]), Amounts.known([1.0], [0.0]), "add up to nothing"),
        (Amounts.known([-1.0], [2.0]), Amounts.known([1.0], [2.0]), "numerator is negative"),
        (Amounts.known([1.0], [np.nan]), Amounts.known([1.0], [2.0]), "denominator is negative or not finite"),
        (Amounts.known([], []), Amounts.known([], []), "at least one segment"),
    ],
)
def test_what_is_no_comparison_is_refused(before: Amounts, now: Amounts, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mix_and_rate(before, now)


def test_a_part_is_no_larger_than_its_whole() -> None:
    with pytest.raises(ValueError, match="no smaller"):
        Amounts.binomial([5], [4])
