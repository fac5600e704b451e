"""Identifiers, versions and balances, for any input."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.marketplace.columns import NEVER, NOBODY, hexadecimal, identifiers, versions
from health_pipeline.marketplace.standing import _balances

INSTANTS = st.integers(0, 10_000)


@given(st.lists(st.integers(-1, 10**10 - 1)))
def test_identifiers_are_a_letter_and_the_number(numbers: list[int]) -> None:
    made = identifiers("v", np.array(numbers, dtype=np.int64)).to_pylist()
    assert made == [None if n == NOBODY else f"v{n:010d}" for n in numbers]


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_hashes_are_sixteen_hexadecimal_digits(values: list[int]) -> None:
    assert hexadecimal(np.array(values, dtype=np.uint64)).to_pylist() == [f"{v:016x}" for v in values]


@given(
    st.lists(st.tuples(INSTANTS | st.just(NEVER), *[INSTANTS | st.just(NEVER)] * 3), min_size=1),
    st.integers(0, 12_000),
)
def test_a_record_has_a_version_for_each_instant_at_which_something_became_known(
    records: list[tuple[int, ...]], until: int
) -> None:
    table = np.array(records, dtype=np.int64)
    made = versions(table[:, 0], [table[:, 1], table[:, 2], table[:, 3]], until)
    expected = []
    for row, (first, *later) in enumerate(records):
        if first == NEVER:
            continue
        known = [x if x == NEVER else max(x, first + 1) for x in later]
        for instant in sorted({first, *known} - {NEVER}):
            if instant < until:
                expected.append((row, instant, tuple(x <= instant for x in known)))
    found = [(r, i, tuple(k)) for r, i, k in zip(made.row, made.ingested, made.known.tolist(), strict=True)]
    assert found == expected


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 1000), st.lists(st.integers(-300, 300), min_size=1)), min_size=1))
def test_balances_are_those_of_adding_one_by_one_and_stopping_at_zero(
    creators: list[tuple[int, list[int]]],
) -> None:
    before = np.array([start for start, changes in creators for _ in changes])
    delta = np.array([change for _, changes in creators for change in changes])
    starts = np.cumsum([0, *(len(changes) for _, changes in creators)])[:-1]
    expected = []
    for balance, changes in creators:
        for change in changes:
            balance = max(balance + change, 0)
            expected.append(min(balance, 1000))
    assert _balances(before, delta, starts).tolist() == expected
