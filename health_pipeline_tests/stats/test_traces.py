"""Traces weigh what they surprise, shuffles keep what they must, and those who act together are found."""

from __future__ import annotations

import numpy as np
import pytest

from health_pipeline.stats.traces import MINUTES, Deck, Marks, Posts, coordination, trace_weights

DAY = 24 * 60


def independent(seed: int, accounts: int = 300, each: int = 8, traces: int = 60) -> tuple[Posts, Marks]:
    """Accounts of three cohorts that choose one trace of each of two kinds per content, by itself."""
    rng = np.random.default_rng(seed)
    account = np.repeat(np.arange(accounts), each)
    n, cohort = len(account), np.arange(accounts) % 3
    posts = Posts(account, rng.integers(0, 14 * DAY, n), cohort, cohort)
    first, second = rng.integers(0, traces, n), traces + rng.integers(0, traces, n)
    marks = Marks.of(np.tile(np.arange(n), 2), np.append(first, second), np.repeat([0, 1], traces))
    return posts, marks


def with_ring(posts: Posts, marks: Marks, members: np.ndarray) -> Marks:
    """The members' contents carry a trace of their own instead of the first kind's."""
    ring = np.isin(posts.account, members)
    other = ~(ring[marks.content] & (marks.kind[marks.trace] == 0))
    inside, own = np.flatnonzero(ring), len(marks.kind)
    return Marks.of(
        np.append(marks.content[other], inside),
        np.append(marks.trace[other], np.full(len(inside), own)),
        np.append(marks.kind, 0),
    )


def test_a_ring_is_found_and_independent_accounts_are_none() -> None:
    posts, marks = independent(1)
    assert (coordination(posts, marks).cluster == -1).all()
    members = np.array([3, 6, 9, 12, 15, 18])
    found = coordination(posts, with_ring(posts, marks, members))
    assert np.flatnonzero(found.cluster == 0).tolist() == members.tolist()
    assert (found.cluster < 1).all()
    assert (found.loyalty[members] > found.threshold / 2).all()


def test_who_is_found_does_not_depend_on_the_order_of_accounts() -> None:
    posts, marks = independent(2)
    members = np.array([4, 7, 10, 13, 16])
    marks = with_ring(posts, marks, members)
    renamed = np.random.default_rng(5).permutation(posts.accounts)
    other = Posts(
        renamed[posts.account], posts.minute, *(c[np.argsort(renamed)] for c in (posts.cohort, posts.stratum))
    )
    found = coordination(other, marks)
    assert set(np.flatnonzero(found.cluster == 0)) == set(renamed[members])


@pytest.mark.parametrize(("contents", "timed"), [(10, True), (400, False)])
def test_only_of_a_rare_trace_is_the_same_time_a_trace_too(contents: int, timed: bool) -> None:
    spots = 24 * 60 // MINUTES  # a day: 144
    minute = np.append(np.linspace(0, DAY - 1, contents).astype(np.int64), [700, 701])
    account = np.append(np.arange(contents), [contents, contents + 1])
    cohort = np.zeros(contents + 4, np.int64)
    # Two more accounts, without the trace, so that it is not everybody's.
    posts = Posts(np.append(account, [contents + 2, contents + 3]), np.append(minute, [0, 0]), cohort, cohort)
    marks = Marks(np.arange(contents + 2), np.zeros(contents + 2, np.int64), np.zeros(1, np.int64))
    weights = trace_weights(posts, marks)
    assert (contents + 2 <= spots) == timed
    assert (weights.shape[1] > 1) == timed
    link = (weights[[contents]] @ weights[[contents + 1]].T).toarray()[0, 0]
    apart = (weights[[0]] @ weights[[contents + 1]].T).toarray()[0, 0]
    assert (link > 2 * apart) == timed


def test_dealing_keeps_how_much_each_account_and_each_trace_is_used() -> None:
    posts, marks = independent(3)
    dealt = Deck.of(posts, marks).dealt(np.random.default_rng(0))
    uses = np.unique(posts.account[marks.content] * len(marks.kind) + marks.trace)
    # A content that is dealt a trace twice carries it once: of one kind per content, that does not happen here.
    assert len(dealt.content) == len(marks.content)
    for kind in (0, 1):
        before = np.bincount(posts.account[marks.content[marks.kind[marks.trace] == kind]])
        after = np.bincount(posts.account[dealt.content[dealt.kind[dealt.trace] == kind]])
        assert np.array_equal(before, after)
    for cohort in range(3):
        inside = posts.cohort[posts.account[dealt.content]] == cohort
        had = uses[posts.cohort[uses // len(marks.kind)] == cohort] % len(marks.kind)
        assert set(dealt.trace[inside]) == set(had), "traces stay in their stratum"
    assert not np.array_equal(dealt.trace, marks.trace)


def test_accounts_out_of_order_are_refused() -> None:
    posts, marks = independent(4)
    with pytest.raises(ValueError, match="order of their cohorts"):
        trace_weights(posts, marks)
