"""Pairs of rows of a sparse matrix whose dot product reaches a floor, without multiplying all with all.

Columns are gone through from the rarest to the most popular, and a row stops where what is left of it cannot reach the
floor any more, with whatever other row: by Cauchy and Schwarz the norm of the rest times the largest norm that any
other row has in columns so popular. So the long lists of popular columns, where nearly all of a product's work lies and
hardly any of its weight, are mostly not looked through; the pairs met until then are completed one by one. Rows that
are heavy in popular columns come first, and are done with: the others, nearly all, have only light ones left to meet.
No pair is lost.

Bayardo, Ma, Srikant: Scaling up all pairs similarity search, *WWW* 2007; the bound by norms is that of Anastasiu and
Karypis: L2AP, *ICDE* 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from health_pipeline.stats.arrays import Array
from health_pipeline.stats.near_duplicates import compiled

Integers = NDArray[np.int64]
Indices = NDArray[np.int32]

SLACK = 1e-9  # of the floor: bounds are sums in another order than the products
LABOUR = 0.9  # of the work is in the columns that are popular


def heavy_pairs(
    rows: sparse.csr_array, floor: float, others: sparse.csr_array | None = None
) -> tuple[Integers, Integers, Array]:
    """Pairs with a dot product of at least ``floor``: row, other row, and the product.

    Args:
        rows: (N, columns).
        floor: above zero.
        others: (M, columns) what the rows are paired with; without, with each other, each pair once, the smaller
            position first.

    Raises:
        ValueError: ``floor`` is not above zero.
    """
    if not floor > 0:
        raise ValueError(f"the floor must be above zero, got {floor}")
    within = others is None
    right = rows if others is None else others
    used = np.bincount(right.indices, minlength=rows.shape[1])
    order = _by_popularity(right, used)
    order = order[np.searchsorted(used[order] >= (2 if within else 1), True) :]  # what nobody else has pairs nobody
    popular = int(np.searchsorted(used[order] >= _popular(used), True))
    place = np.full(rows.shape[1], -1, dtype=np.int32)
    place[order] = np.arange(len(order))
    first = _by_weight(right, place >= popular) if within else np.arange(right.shape[0])
    right = _arranged(right, place, len(order), first)
    left = right if within else _arranged(rows, place, len(order), np.arange(rows.shape[0]))
    lists = right.T.tocsr()
    one, other, product = _search(
        _indices(left.indptr), _indices(left.indices), left.data,
        _indices(right.indptr), _indices(right.indices), right.data,
        _indices(lists.indptr), _indices(lists.indices), lists.data,
        popular, floor, floor * (1.0 - SLACK), within,
    )  # fmt: skip
    if within:
        one, other = first[one], first[other]
        one, other = np.minimum(one, other), np.maximum(one, other)
    return one, other, product


def _by_popularity(matrix: sparse.csr_array, used: Integers) -> Integers:
    """Columns in the order of how many rows have them, to a power of two; the same number, in the order of the rows.

    What neighbours have lies side by side then, and stays in the processor's caches.
    """
    earliest = np.zeros(len(used), dtype=np.int64)
    earliest[matrix.indices[::-1]] = _row_of(matrix)[::-1]
    level = np.frexp(used)[1].astype(np.int64)
    order: Integers = np.argsort(level * max(matrix.shape[0], 1) + earliest, kind="stable")
    return order


def _popular(used: Integers) -> int:
    """Rows that have a column, a power of two, from which on it is popular."""
    sizes = np.sort(used)
    work = np.cumsum(sizes.astype(np.float64) ** 2)
    if not len(sizes):
        return 0
    return 1 << max(int(sizes[np.searchsorted(work, (1.0 - LABOUR) * work[-1])]), 1).bit_length() - 1


def _by_weight(matrix: sparse.csr_array, popular: NDArray[np.bool_]) -> Integers:
    """Rows in the order of their norms in popular columns, the heaviest first; light ones roughly, side by side."""
    squares = np.where(popular[matrix.indices], matrix.data, 0.0) ** 2
    order = np.argsort(-np.bincount(_row_of(matrix), weights=squares, minlength=matrix.shape[0]), kind="stable")
    begin = 0
    while begin < len(order):
        end = _renewed(begin, len(order))
        order[begin:end].sort()
        begin = end
    return order


def _row_of(matrix: sparse.csr_array) -> Integers:
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _indices(values: NDArray[np.signedinteger]) -> Indices:
    return values.astype(np.int32, copy=False)


def _arranged(matrix: sparse.csr_array, place: Indices, columns: int, first: Integers) -> sparse.csr_array:
    """Rows in the order ``first``, columns by their places, those with none left out; sorted within rows."""
    arranged = matrix[first] if len(first) else matrix
    column = place[arranged.indices]
    kept = column >= 0
    ends = np.concatenate([[0], np.cumsum(kept)])[arranged.indptr]
    arranged = sparse.csr_array((arranged.data[kept], column[kept], ends), shape=(matrix.shape[0], columns))
    arranged.sort_indices()
    return arranged


@compiled
def _renewed(row: int, rows: int) -> int:
    """Row at which to look anew how far those that are left reach, after having done so at ``row``."""
    return row + max(row // 2, rows // 1000) + 1


@compiled
def _rest(ends: Indices, weights: Array) -> Array:
    """Of each entry, the norm of it and what follows in its row."""
    rest = np.empty(len(weights))
    for row in range(len(ends) - 1):
        squares = 0.0
        for at in range(ends[row + 1] - 1, ends[row] - 1, -1):
            squares += weights[at] * weights[at]
            rest[at] = np.sqrt(squares)
    return rest


@compiled
def _reach(start: int, ends: Indices, columns: Indices, rest: Array, lowest: int, reach: Array) -> None:
    """Of columns from ``lowest`` on, the largest norm in it and more popular ones of any row from ``start`` on."""
    reach[lowest:] = 0.0
    for row in range(start, len(ends) - 1):
        for at in range(ends[row + 1] - 1, ends[row] - 1, -1):
            if columns[at] < lowest:
                break
            reach[columns[at]] = max(reach[columns[at]], rest[at])
    for column in range(len(reach) - 2, lowest - 1, -1):
        reach[column] = max(reach[column], reach[column + 1])


@compiled
def _search(
    ends: Indices,
    columns: Indices,
    weights: Array,
    other_ends: Indices,
    other_columns: Indices,
    other_weights: Array,
    list_ends: Indices,
    listed: Indices,
    listed_weights: Array,
    popular: int,
    floor: float,
    bound: float,
    within: bool,
) -> tuple[Integers, Integers, Array]:
    """See :func:`heavy_pairs`; ``listed`` are the rows to pair with, column by column."""
    one, two, product, found = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024), 0
    rows, others = len(ends) - 1, len(other_ends) - 1
    begin = list_ends[:-1].copy()  # of each list; within one matrix, of what comes after the row
    sums, seen, met = np.zeros(others), np.full(others, -1, np.int32), np.empty(others, np.int32)
    rest, other_rest = _rest(ends, weights), _rest(other_ends, other_weights)
    reach = np.empty(len(list_ends) - 1)
    _reach(0, other_ends, other_columns, other_rest, 0, reach)
    renewed = _renewed(0, rows)
    for row in range(rows):
        if within and row == renewed:  # only lighter rows are left: in popular columns they reach less far
            _reach(row, other_ends, other_columns, other_rest, popular, reach)
            renewed = _renewed(row, rows)
        last, stop, count = ends[row + 1], ends[row], 0
        if within:
            for at in range(ends[row], last):
                begin[columns[at]] += 1
        while stop < last and rest[stop] * reach[columns[stop]] >= bound:
            column, weight = columns[stop], weights[stop]
            for at in range(begin[column], list_ends[column + 1]):
                other = listed[at]
                if seen[other] != row:
                    seen[other], sums[other], met[count] = row, 0.0, other
                    count += 1
                sums[other] += weight * listed_weights[at]
            stop += 1
        for place in range(count):
            other = met[place]
            total = sums[other]
            if stop < last:
                if total + rest[stop] * reach[columns[stop]] < bound:
                    continue
                at, end = other_ends[other], other_ends[other + 1]
                at += np.searchsorted(other_columns[at:end], columns[stop])
                if at < end and total + rest[stop] * other_rest[at] >= bound:
                    mine = stop
                    while mine < last and at < end:
                        if columns[mine] == other_columns[at]:
                            total += weights[mine] * other_weights[at]
                            mine += 1
                            at += 1
                        elif columns[mine] < other_columns[at]:
                            mine += 1
                        else:
                            at += 1
            if total >= floor:
                if found == len(one):
                    one = np.concatenate((one, np.empty_like(one)))
                    two = np.concatenate((two, np.empty_like(two)))
                    product = np.concatenate((product, np.empty_like(product)))
                one[found], two[found], product[found] = row, other, total
                found += 1
    return one[:found].copy(), two[:found].copy(), product[:found].copy()
