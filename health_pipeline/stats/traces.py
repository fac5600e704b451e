"""Accounts that act together, by the traces they share: an account x trace graph, projected on the accounts.

A *trace* is something that contents carry and accounts choose: a product, a sequence of hashtags, a sound, a picture, a
caption. Two accounts are linked by the surprise of their sharing (Pacheco et al.: Uncovering coordinated networks on
social media, *ICWSM* 2021, who weight traces by TF-IDF and project)::

    weight(a, b) = sum over traces t of  idf(t) x share(a, t) x share(b, t)
    share(a, t) = contents of a that carry t / (contents of a + PRIOR)
    idf(t)      = log(accounts of the cohort / those that carry t)

So the weight is the surprise, in nats, that a content of the one and one of the other are expected to share; what
everybody carries adds nothing, and ``PRIOR`` keeps accounts with few contents from looking alike. Posting a trace
within the same minutes is a trace of its own.

How heavy must links be? Shuffled accounts tell: within a stratum (say market x category) every account keeps how many
traces of each kind it has and how often it uses each, every trace keeps how many accounts carry it, and who carries
which is drawn anew (the configuration model of a bipartite graph). The threshold is where less than
``FALSE_CLUSTERS`` clusters are to be expected of accounts that are so independent.

A cluster is at least three accounts each linked to two others (a 2-core's component); then accounts join, or leave, by
their mean weight with the cluster's members.

Cost: every trace links at most ``CROWD`` accounts with each other. The accounts of a more popular trace are dealt into
2, 4, 8, … rooms, the same for all traces, and compared within rooms; clusters that rooms cut are joined again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from health_pipeline.stats.arrays import Array

Integers = NDArray[np.int64]

PRIOR = 2.0  # contents
FEWEST = 3  # contents without which an account starts no cluster
SMALLEST = 3  # accounts
MINUTES = 10  # what is carried within so many minutes, counted from midnight, is carried together
CROWD = 128  # accounts of one trace that are compared with each other
FLOOR = 0.5  # nats: lighter links are not looked at
SHUFFLES = 5
LARGEST = 20  # weights of each shuffle that tell how the tail falls
FALSE_CLUSTERS = 0.001  # to be expected among independent accounts
LOYAL = 0.5  # of the threshold: mean weight with a cluster's members that makes a member
WORK = 20_000_000  # products of weights in one block of the projection: bounds memory


@dataclass(frozen=True)
class Posts:
    """N contents of A accounts, each with at least one.

    Attributes:
        account: N; code of the account, 0 to A - 1.
        minute: N; when it was published, in whole minutes of any clock.
        cohort: A; within which a trace is popular or rare (a market).
        stratum: A; within which independent accounts choose alike (market x category).
    """

    account: Integers
    minute: Integers
    cohort: Integers
    stratum: Integers

    @property
    def accounts(self) -> int:
        return len(self.cohort)

    @property
    def contents(self) -> Integers:
        """(A,) contents of each account."""
        return np.bincount(self.account, minlength=self.accounts)


@dataclass(frozen=True)
class Marks:
    """R marks: which content carries which trace, each at most once.

    Attributes:
        content: R; position in the contents.
        trace: R; code of the trace, 0 to T - 1.
        kind: T; kind of each trace, small codes from 0.
    """

    content: Integers
    trace: Integers
    kind: Integers


@dataclass(frozen=True)
class Links:
    """L pairs of accounts and their weights, each pair once, ``one < other``."""

    one: Integers
    other: Integers
    weight: Array

    def above(self, threshold: float) -> Links:
        kept = self.weight >= threshold
        return Links(self.one[kept], self.other[kept], self.weight[kept])


@dataclass(frozen=True)
class Coordination:
    """Clusters among A accounts.

    Attributes:
        cluster: A; code of the cluster, -1 for none. Larger clusters first.
        loyalty: A; mean weight with the cluster's other members, in nats; 0 outside.
        threshold: least weight of a link, in nats.
        part: (clusters, T + 1); of the mean weight within each cluster, what each trace adds; the last column is all
            timing.
    """

    cluster: Integers
    loyalty: Array
    threshold: float
    part: sparse.csr_array


def coordination(posts: Posts, marks: Marks, seed: int = 0) -> Coordination:
    """Who acts together.

    Args:
        seed: of the shuffles: the same evidence gives the same clusters.
    """
    rng = np.random.default_rng(seed)
    weights = trace_weights(posts, marks)
    starting = posts.contents >= FEWEST
    threshold = chance_threshold(posts, marks, rng)
    found = dense_parts(links(weights, starting, threshold, rng), posts.accounts)
    cluster, loyalty = _settle(weights, found, LOYAL * threshold)
    return Coordination(cluster, loyalty, threshold, _parts(weights, cluster, len(marks.kind)))


def trace_weights(posts: Posts, marks: Marks) -> sparse.csr_array:
    """(A, T + timed) square root of idf x share: the product of two rows is the weight of their link.

    Columns beyond T are traces at a time. Traces that a single account carries weigh nothing.
    """
    accounts, traces = posts.accounts, len(marks.kind)
    _, timed = np.unique((marks.trace << 32) + posts.minute[marks.content] // MINUTES, return_inverse=True)
    trace = np.concatenate([marks.trace, traces + timed])
    wide = traces + int(timed.max(initial=-1)) + 1
    carrier = np.tile(posts.account[marks.content], 2)
    pair, times = np.unique(carrier * wide + trace, return_counts=True)
    account, trace = np.divmod(pair, wide)
    shared = np.bincount(trace, minlength=wide)[trace] > 1
    account, trace, times = account[shared], trace[shared], times[shared]
    _, there, carriers = np.unique(posts.cohort[account] * wide + trace, return_inverse=True, return_counts=True)
    idf = np.log(np.bincount(posts.cohort)[posts.cohort[account]] / carriers[there])
    share = times / (posts.contents[account] + PRIOR)
    weights = sparse.csr_array((np.sqrt(idf) * share, (account, trace)), shape=(accounts, wide))
    weights.eliminate_zeros()
    return weights


def links(weights: sparse.csr_array, among: NDArray[np.bool_], floor: float, rng: np.random.Generator) -> Links:
    """Pairs of accounts with a weight of at least ``floor``.

    Args:
        weights: of :func:`trace_weights`.
        among: (A,) accounts that may be linked.
        rng: deals the carriers of popular traces into rooms.
    """
    rows = np.flatnonzero(among)
    roomy = _rooms(weights[rows], rng)
    turned = roomy.T.tocsr()
    one, other, weight = [], [], []
    for begin, end in _blocks(roomy):
        product = (roomy[begin:end] @ turned).tocoo()
        kept = (product.data >= floor) & (product.row + begin < product.col)
        one.append(rows[product.row[kept] + begin])
        other.append(rows[product.col[kept]])
        weight.append(product.data[kept])
    nothing = np.zeros(0, dtype=np.int64)
    return Links(
        np.concatenate([nothing, *one]), np.concatenate([nothing, *other]), np.concatenate([np.zeros(0), *weight])
    )


def _rooms(weights: sparse.csr_array, rng: np.random.Generator) -> sparse.csr_array:
    """Columns of popular traces split, so that none holds many more than ``CROWD`` accounts."""
    accounts, traces = weights.shape
    cells = weights.tocoo()
    account, trace = cells.row.astype(np.int64), cells.col.astype(np.int64)
    carriers = np.bincount(trace, minlength=traces)
    rooms = 2 ** np.ceil(np.log2(np.maximum(carriers / CROWD, 1))).astype(np.int64)
    room = rng.permutation(accounts)[account] * rooms[trace] // max(accounts, 1)
    first = np.cumsum(rooms) - rooms
    return sparse.csr_array((cells.data, (account, first[trace] + room)), shape=(accounts, int(rooms.sum())))


def _blocks(weights: sparse.csr_array) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose products are about ``WORK`` multiplications each."""
    carriers = np.bincount(weights.indices, minlength=weights.shape[1])
    done = np.concatenate([[0], np.cumsum(carriers[weights.indices])])[weights.indptr]
    begin = 0
    while begin < weights.shape[0]:
        end = max(int(np.searchsorted(done, done[begin] + WORK, side="right")) - 1, begin + 1)
        yield begin, end
        begin = end


def chance_threshold(posts: Posts, marks: Marks, rng: np.random.Generator) -> float:
    """The weight from which on ``FALSE_CLUSTERS`` clusters are expected of independent accounts.

    Adding links from the heaviest on, a 2-core appears with the first that closes a ring: the heaviest that is not in
    the graph's maximum spanning tree. The tail of these closing weights is taken for exponential.
    """
    starting = posts.contents >= FEWEST
    closing = []
    for _ in range(SHUFFLES):
        shuffled = trace_weights(posts, shuffle(posts, marks, rng))
        closing.append(closing_weights(links(shuffled, starting, FLOOR, rng), posts.accounts)[:LARGEST])
    largest = np.sort(np.concatenate(closing))
    if len(largest) < 2:
        return FLOOR
    scale = float(np.mean(largest[1:] - largest[0]))
    return float(largest[0] + scale * np.log(len(largest) / (SHUFFLES * FALSE_CLUSTERS)))


def closing_weights(found: Links, accounts: int) -> Array:
    """Weights of the links that are not in the maximum spanning forest, the heaviest first."""
    if not len(found.weight):
        return np.zeros(0)
    cost = found.weight.max() + 1.0 - found.weight
    graph = sparse.csr_array((cost, (found.one, found.other)), shape=(accounts, accounts))
    tree = csgraph.minimum_spanning_tree(graph).tocoo()
    outside = ~np.isin(found.one * accounts + found.other, tree.row.astype(np.int64) * accounts + tree.col)
    return np.sort(found.weight[outside])[::-1]


def shuffle(posts: Posts, marks: Marks, rng: np.random.Generator) -> Marks:
    """The same marks with traces dealt anew among the accounts of each stratum, kind by kind.

    An account's use of a trace stays together: where it carried one trace in five contents, it carries another in five.
    """
    traces = len(marks.kind)
    use, of_use = np.unique(posts.account[marks.content] * traces + marks.trace, return_inverse=True)
    account, trace = np.divmod(use, traces)
    group = posts.stratum[account] * (int(marks.kind.max(initial=0)) + 1) + marks.kind[trace]
    mixed = rng.permutation(len(group))
    dealt = np.empty_like(trace)
    dealt[np.argsort(group, kind="stable")] = trace[mixed[np.argsort(group[mixed], kind="stable")]]
    content_trace = np.unique(marks.content * traces + dealt[of_use])
    return Marks(*np.divmod(content_trace, traces), marks.kind)


def dense_parts(found: Links, accounts: int) -> Integers:
    """(A,) component of the 2-core of the links, -1 outside: everyone in it is linked to two others in it."""
    one, other = found.one, found.other
    while True:
        degree = np.bincount(one, minlength=accounts) + np.bincount(other, minlength=accounts)
        kept = (degree[one] > 1) & (degree[other] > 1)
        if kept.all():
            break
        one, other = one[kept], other[kept]
    graph = sparse.csr_array((np.ones(len(one)), (one, other)), shape=(accounts, accounts))
    _, part = csgraph.connected_components(graph, directed=False)
    return _recode(np.where(degree > 0, part, -1))


def _recode(cluster: Integers) -> Integers:
    """Codes from 0, larger clusters first; those that are too small are none."""
    codes, place, size = np.unique(cluster, return_inverse=True, return_counts=True)
    real = (codes >= 0) & (size >= SMALLEST)
    order = np.argsort(np.where(real, -size, 1), kind="stable")
    new = np.full(len(codes), -1)
    new[order[: real.sum()]] = np.arange(real.sum())
    recoded: Integers = new[place]
    return recoded


def _membership(cluster: Integers) -> sparse.csr_array:
    """(clusters, A) one over the size at each member."""
    inside = np.flatnonzero(cluster >= 0)
    code = cluster[inside]
    size = np.bincount(code)
    return sparse.csr_array((1.0 / size[code], (code, inside)), shape=(len(size), len(cluster)))


def _settle(weights: sparse.csr_array, cluster: Integers, loyal: float) -> tuple[Integers, Array]:
    """Join clusters that rooms or chance cut; then let accounts join, and leave, by their mean weight with members."""
    loyalty = np.zeros(len(cluster))
    for _ in range(3):
        if not (cluster >= 0).any():
            return cluster, np.zeros(len(cluster))
        centre = _membership(cluster) @ weights
        alike = (centre @ centre.T).tocoo()
        near = alike.data >= loyal
        graph = sparse.csr_array((alike.data[near], (alike.row[near], alike.col[near])), shape=alike.shape)
        _, joined = csgraph.connected_components(graph, directed=False)
        cluster = _recode(np.where(cluster >= 0, joined[cluster], -1))
        centre = _membership(cluster) @ weights
        near_to = (weights @ centre.T).tocoo()
        account, code, mean = near_to.row, near_to.col, near_to.data.copy()
        # A member's mean weight is with the others: its weight with itself is taken out.
        size = np.bincount(cluster[cluster >= 0])
        own = cluster[account] == code
        itself = np.asarray(weights.multiply(weights).sum(axis=1)).ravel()[account[own]]
        members = size[code[own]]
        mean[own] = (mean[own] * members - itself) / (members - 1)
        order = np.lexsort((mean, account))
        account, code, mean = account[order], code[order], mean[order]
        best = np.append(account[1:] != account[:-1], True) & (mean >= loyal)
        cluster = np.full(len(cluster), -1)
        cluster[account[best]] = code[best]
        cluster = _recode(cluster)
        loyalty = np.zeros(len(cluster))
        loyalty[account[best]] = mean[best]
    return cluster, np.where(cluster >= 0, loyalty, 0.0)


def _parts(weights: sparse.csr_array, cluster: Integers, traces: int) -> sparse.csr_array:
    if not (cluster >= 0).any():
        return sparse.csr_array((0, traces + 1))
    centre = (_membership(cluster) @ weights).tocoo()
    column = np.minimum(centre.col, traces)
    return sparse.csr_array((centre.data**2, (centre.row, column)), shape=(centre.shape[0], traces + 1))
