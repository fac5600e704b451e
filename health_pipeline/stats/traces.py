"""Accounts that act together, by the traces they share: an account x trace graph, projected on the accounts.

A *trace* is something that contents carry and accounts choose: a product, a sequence of hashtags, a sound, a picture, a
caption. Two accounts are linked by the surprise of their sharing (Pacheco et al.: Uncovering coordinated networks on
social media, *ICWSM* 2021, who weight traces by TF-IDF and project)::

    weight(a, b) = sum over traces t of  idf(t) x share(a, t) x share(b, t)
    share(a, t) = contents of a that carry t / (contents of a + PRIOR)
    idf(t)      = log(accounts of the cohort / those that carry t)

So the weight is the surprise, in nats, that a content of the one and one of the other are expected to share; what
everybody carries adds nothing, and ``PRIOR`` keeps accounts with few contents from looking alike. Posting a trace
within the same minutes is a trace of its own, unless the trace is posted about as often as that by itself.

How heavy must links be? Shuffled accounts tell: within a stratum (say market x category) every account keeps how many
traces of each kind it has and how often it uses each, every trace keeps how many accounts carry it, and who carries
which is drawn anew (the configuration model of a bipartite graph). The threshold is where less than
``FALSE_CLUSTERS`` clusters are to be expected of accounts that are so independent.

A cluster is at least three accounts each linked to two others (a 2-core's component); then accounts join, or leave, by
their mean weight with the cluster's members.

Cost: pairs whose links cannot be heavy enough are mostly not looked at (:mod:`health_pipeline.stats.heavy_pairs`), and
every trace links at most ``CROWD`` accounts with each other. The accounts of a more popular trace are dealt into 2, 4,
8, … rooms, the same for all traces, and compared within rooms; clusters that rooms cut are joined again. Everything
else is sorting and counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.heavy_pairs import heavy_pairs

Integers = NDArray[np.int64]

PRIOR = 2.0  # contents
FEWEST = 3  # contents without which an account starts no cluster
SMALLEST = 3  # accounts
MINUTES = 10  # what is carried within so many minutes, counted from midnight, is carried together
CROWD = 128  # accounts of one trace that are compared with each other
FLOOR = 0.5  # nats: lighter links are not looked at
HEAVY, LOWERED = 4.0, 1.5  # nats from which on chance is looked at first, and by what the floor falls for too few
NEARLY = 0.9  # of where the last shuffle had as many as are needed: so far down the next is looked at
SHUFFLES = 5
LARGEST = 20  # weights of each shuffle that tell how the tail falls
FALSE_CLUSTERS = 0.001  # to be expected among independent accounts
LOYAL = 0.5  # of the threshold: mean weight with a cluster's members that makes a member


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

    @classmethod
    def of(cls, content: Integers, trace: Integers, kind: Integers) -> Self:
        """What is given more than once, once; by content, then by trace."""
        content, trace, _ = _counted(content, trace, len(kind))
        return cls(content, trace, kind)


@dataclass(frozen=True)
class Links:
    """L pairs of accounts and their weights, each pair once, ``one < other``."""

    one: Integers
    other: Integers
    weight: Array


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
    order = np.lexsort((posts.stratum, posts.cohort))  # as trace_weights wants them, and near in memory
    place = np.argsort(order)
    posts = Posts(place[posts.account], posts.minute, posts.cohort[order], posts.stratum[order])
    threshold = chance_threshold(posts, marks, rng)
    weights = trace_weights(posts, marks)
    starting = np.flatnonzero(posts.contents >= FEWEST)
    heavy = _named(heavy_pairs(_rooms(weights[starting], rng), threshold), starting)
    found = dense_parts(heavy, posts.accounts)
    cluster, loyalty = _settle(weights, found, LOYAL * threshold)
    return Coordination(cluster[place], loyalty[place], threshold, _parts(weights, cluster, len(marks.kind)))


def trace_weights(posts: Posts, marks: Marks) -> sparse.csr_array:
    """(A, T + timed) square root of idf x share: the product of two rows is the weight of their link.

    Columns beyond T are traces at a time, of those that contents carry at most once in ``MINUTES`` on average: that
    more popular ones meet is no surprise, and their meetings would grow with the square of the contents. Traces that a
    single account carries weigh nothing.

    Args:
        posts: accounts in the order of their cohorts.

    Raises:
        ValueError: they are not.
    """
    if (np.diff(posts.cohort) < 0).any():
        raise ValueError("accounts must come in the order of their cohorts")
    accounts, traces = posts.accounts, len(marks.kind)
    carrier = posts.account[marks.content]
    account, trace, times = _counted(carrier, marks.trace, traces)
    common = np.bincount(trace, minlength=traces) > 1
    kept = common[trace]
    ends = np.concatenate([[0], np.cumsum(np.bincount(account[kept], minlength=accounts))])
    carried = sparse.csr_array((times[kept], trace[kept], ends), shape=(accounts, traces))
    del account, trace, times

    when = posts.minute // MINUTES
    when -= when.min()
    spots = int(when.max()) + 1
    seldom = np.bincount(marks.trace, minlength=traces) <= spots
    kept = (common & seldom)[marks.trace]
    spot = marks.trace[kept] * spots + when[marks.content[kept]]
    spot, account, times = _counted(spot, carrier[kept], accounts)
    new = np.diff(spot, prepend=-1) > 0
    met = ~new | ~np.append(new[1:], True)  # not alone at its spot
    ends = np.append(np.flatnonzero(new[met]), int(met.sum()))
    timed = sparse.csc_array((times[met], account[met], ends), shape=(accounts, len(ends) - 1))
    del spot, account, times

    weights: sparse.csr_array = sparse.hstack([carried, timed], format="csr").astype(np.float64)
    rows = np.diff(weights.indptr)
    size = np.bincount(posts.cohort)
    for code, begin, end in zip(*_runs(posts.cohort), strict=True):
        cells = slice(weights.indptr[begin], weights.indptr[end])
        column = weights.indices[cells]
        weights.data[cells] *= np.sqrt(np.log(size[code] / np.bincount(column, minlength=weights.shape[1])[column]))
    weights.data /= np.repeat(posts.contents + PRIOR, rows)
    weights.eliminate_zeros()
    return weights


def _runs(codes: Integers) -> tuple[Integers, Integers, Integers]:
    """Where the same code follows itself: the code, begin and end."""
    begin = np.flatnonzero(np.diff(codes, prepend=-1))
    return codes[begin], begin, np.append(begin[1:], len(codes))


def _counted(one: Integers, other: Integers, others: int) -> tuple[Integers, Integers, Integers]:
    """Different pairs, sorted, and how often each is there; ``other`` is 0 to ``others`` - 1.

    Without counts ``np.unique`` would hash, which is many times slower as soon as caches overflow.
    """
    pair, times = np.unique(one * others + other, return_counts=True)
    return *np.divmod(pair, max(others, 1)), times


def _named(pairs: tuple[Integers, Integers, Array], rows: Integers) -> Links:
    """Links of the accounts that rows stand for, in their order."""
    one, other, weight = pairs
    return Links(rows[one], rows[other], weight)


def _rooms(weights: sparse.csr_array, rng: np.random.Generator) -> sparse.csr_array:
    """Columns of popular traces split, so that none holds many more than ``CROWD`` accounts."""
    accounts, traces = weights.shape
    carriers = np.bincount(weights.indices, minlength=traces)
    rooms = 2 ** np.ceil(np.log2(np.maximum(carriers / CROWD, 1))).astype(np.int64)
    first = np.cumsum(rooms) - rooms
    account = np.repeat(rng.permutation(accounts), np.diff(weights.indptr))
    room = first[weights.indices] + account * rooms[weights.indices] // max(accounts, 1)
    return sparse.csr_array((weights.data, room, weights.indptr), shape=(accounts, int(rooms.sum())))


def chance_threshold(posts: Posts, marks: Marks, rng: np.random.Generator) -> float:
    """The weight from which on ``FALSE_CLUSTERS`` clusters are expected of independent accounts.

    Adding links from the heaviest on, a 2-core appears with the first that closes a ring: the heaviest that is not in
    the graph's maximum spanning tree. The tail of these closing weights is taken for exponential.
    """
    starting = np.flatnonzero(posts.contents >= FEWEST)
    deck = Deck.of(posts, marks)
    closing = []
    floor = HEAVY
    for _ in range(SHUFFLES):
        rows = _rooms(trace_weights(posts, deck.dealt(rng))[starting], rng)
        # Which links close a ring is settled by the heavier ones alone: lighter ones are looked for when too few do.
        while True:
            weights = closing_weights(_named(heavy_pairs(rows, floor), starting), posts.accounts)
            if len(weights) >= LARGEST or floor <= FLOOR:
                break
            floor = max(FLOOR, floor / LOWERED)
        closing.append(weights[:LARGEST])
        if len(weights) >= LARGEST:
            floor = max(FLOOR, NEARLY * float(weights[LARGEST - 1]))
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


@dataclass(frozen=True)
class Deck:
    """Marks laid out for shuffling: traces are dealt anew among the accounts of each stratum, kind by kind.

    An account's use of a trace stays together: where it carried one trace in five contents, it carries another in five.

    Attributes:
        marks: what is shuffled.
        content: R; content of each mark, in the order of the uses.
        use: R; use of each mark.
        trace: U; trace of each use.
        hands: which uses exchange their traces.
    """

    marks: Marks
    content: Integers
    use: Integers
    trace: Integers
    hands: list[Integers]

    @classmethod
    def of(cls, posts: Posts, marks: Marks) -> Self:
        traces = len(marks.kind)
        key = posts.account[marks.content] * traces + marks.trace
        order = np.argsort(key)
        new = np.diff(key[order], prepend=-1) > 0
        account, trace = np.divmod(key[order][new], traces)
        group = posts.stratum[account] * (int(marks.kind.max(initial=0)) + 1) + marks.kind[trace]
        by_group = np.argsort(group, kind="stable")
        hands = np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1)
        return cls(marks, marks.content[order], np.cumsum(new) - 1, trace, hands)

    def dealt(self, rng: np.random.Generator) -> Marks:
        dealt = np.empty_like(self.trace)
        for hand in self.hands:
            dealt[hand] = rng.permutation(self.trace[hand])
        return Marks.of(self.content, dealt[self.use], self.marks.kind)


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
        one, other, alike = heavy_pairs(centre, loyal)
        graph = sparse.csr_array((alike, (one, other)), shape=(centre.shape[0], centre.shape[0]))
        _, joined = csgraph.connected_components(graph, directed=False)
        cluster = _recode(np.where(cluster >= 0, joined[cluster], -1))
        centre = _membership(cluster) @ weights
        # A member's mean with the others may be above that with all, itself included.
        code, account, mean = heavy_pairs(centre, loyal * (SMALLEST - 1) / SMALLEST, weights)
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
