"""Near-duplicates among many texts, and among many 64-bit perceptual hashes, without comparing all with all.

* **Texts**: the Jaccard similarity of their sets of character shingles, estimated by MinHash (Broder: On the
  resemblance and containment of documents, 1997) and looked for by locality-sensitive hashing (Indyk and Motwani 1998;
  banding as in Leskovec, Rajaraman, Ullman: *Mining of Massive Datasets*, chapter 3). Shingles are of characters, not
  words: Thai and Chinese have no blanks between words.
* **Perceptual hashes**: Hamming distance by tables of bands (Manku, Jain, Sarma: Detecting near-duplicates for web
  crawling, 2007). Of ``TABLE_BANDS`` bands at least two are untouched by ``DISTANCE`` flipped bits; so there is a table
  for each two bands, and two hashes that near share an entry in one of them.

Groups are connected components: two members of a group may be farther apart than the limit, by way of others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

SHINGLE = 5  # characters
SIMILARITY = 0.75
BANDS, ROWS = 20, 6  # a pair as similar as SIMILARITY shares a band with a chance of 98 %, one of 0.5 with 27 %
DISTANCE = 6  # bits; of two independent hashes in a million million, four are as near
TABLE_BANDS = 8  # of 8 bits: two of them are a 16-bit entry
NEIGHBOURS = 256  # hashes of one entry that each is compared with: bounds the cost when an entry is crowded


def compiled(function: Function) -> Function:
    """Compile with numba; what was compiled stays on disk."""
    return cast(Function, njit(cache=True, nogil=True)(function))


def normalise(text: str) -> str:
    """One form for texts that read the same: compatibility characters composed, case folded, blanks collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def near_texts(texts: Sequence[str], similarity: float = SIMILARITY) -> Integers:
    """(N,) group of each text: the position of the group's first text.

    Empty texts are no one's duplicates. The similarity is estimated from 120 hashes: its standard error is 0.04.

    Args:
        texts: N, in any language; see :func:`normalise`.
        similarity: least Jaccard similarity of two texts' shingles, 0 to 1.
    """
    first: dict[str, int] = {}
    place = np.fromiter(
        (first.setdefault(normalise(text), at) for at, text in enumerate(texts)), dtype=np.int64, count=len(texts)
    )
    different = list(first)
    position = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    signatures = minhash(different)
    parent = np.arange(len(different))
    agreeing = int(np.ceil(similarity * BANDS * ROWS))
    for band in range(BANDS):
        key = _band_key(signatures, band * ROWS, ROWS)
        order = np.argsort(key, kind="stable")
        _join_alike(order, key, signatures, agreeing, parent)
    group_of = np.full(len(texts), -1)
    group_of[position] = position[_roots(parent)]
    group = group_of[place]
    if "" in first:
        nothing = place == first[""]
        group[nothing] = np.flatnonzero(nothing)
    return group


def minhash(texts: Sequence[str]) -> NDArray[np.uint32]:
    """(N, 120) MinHash signatures of normalised texts: the share of equal entries estimates Jaccard's similarity."""
    points = np.frombuffer("\0".join([*texts, ""]).encode("utf-32-le"), dtype=np.uint32)
    # Not where the separators are: a text may hold any character.
    ends = np.cumsum(np.fromiter((len(text) + 1 for text in texts), dtype=np.int64, count=len(texts))) - 1
    rng = np.random.default_rng(0x5EED)
    factors = rng.integers(0, 2**32, BANDS * ROWS, dtype=np.uint32) | np.uint32(1)
    offsets = rng.integers(0, 2**32, BANDS * ROWS, dtype=np.uint32)
    signatures = np.full((len(texts), BANDS * ROWS), 0xFFFFFFFF, dtype=np.uint32)
    _sign(points, ends, factors, offsets, signatures)
    return signatures


def near_hashes(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> Integers:
    """(N,) group of each 64-bit hash: the position of the group's first.

    Args:
        hashes: N.
        distance: bits in which two may differ, at most 6.

    Raises:
        ValueError: ``distance`` is not among 0 to 6.
    """
    if not 0 <= distance <= DISTANCE:
        raise ValueError(f"distance must be 0 to {DISTANCE} bits, got {distance}")
    different, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    parent = np.arange(len(different))
    bands = [((different >> np.uint64(8 * b)) & np.uint64(255)).astype(np.uint16) for b in range(TABLE_BANDS)]
    for one, other in combinations(range(TABLE_BANDS), 2):
        entry = (bands[one] << np.uint16(8)) | bands[other]
        order = np.argsort(entry, kind="stable")  # of 16 bits: a radix sort
        _join_near(order, entry, different, distance, parent)
    earliest = np.full(len(different), len(hashes))
    root = _roots(parent)
    np.minimum.at(earliest, root, first)
    group: Integers = earliest[root][place]
    return group


def centre(hashes: NDArray[np.uint64]) -> int:
    """The hash whose every bit is what most of the hashes have: where variants of one picture come from."""
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    most = 2 * bits.sum(axis=0) > len(hashes)
    return int(sum(1 << int(b) for b in np.flatnonzero(most)))


@compiled
def _sign(
    points: NDArray[np.uint32],
    ends: Integers,
    factors: NDArray[np.uint32],
    offsets: NDArray[np.uint32],
    signatures: NDArray[np.uint32],
) -> None:
    """Lower each text's signature to the least hash over its shingles; a text shorter than a shingle is one."""
    begin = 0
    for text in range(len(ends)):
        end = ends[text]
        signature = signatures[text]
        for at in range(begin, max(end - SHINGLE + 1, min(begin + 1, end))):
            mixed = np.uint64(0xCBF29CE484222325)
            for point in range(at, min(at + SHINGLE, end)):
                mixed = (mixed ^ np.uint64(points[point])) * np.uint64(0x100000001B3)
                mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0x9E3779B97F4A7C15)
            shingle = np.uint32(mixed >> np.uint64(32))
            for i in range(len(factors)):
                value = np.uint32(factors[i] * shingle + offsets[i])
                signature[i] = min(signature[i], value)
        begin = end + 1


@compiled
def _band_key(signatures: NDArray[np.uint32], start: int, rows: int) -> NDArray[np.uint64]:
    key = np.empty(len(signatures), dtype=np.uint64)
    for text in range(len(signatures)):
        mixed = np.uint64(0xCBF29CE484222325)
        for i in range(start, start + rows):
            mixed = (mixed ^ np.uint64(signatures[text, i])) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(32)
        key[text] = mixed
    return key


@compiled
def _root(parent: Integers, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def _roots(parent: Integers) -> Integers:
    return np.array([_root(parent, node) for node in range(len(parent))], dtype=np.int64)


@compiled
def _join(parent: Integers, one: int, other: int) -> None:
    """The smaller root stays, so that a group is named after its first."""
    one, other = _root(parent, one), _root(parent, other)
    parent[max(one, other)] = min(one, other)


@compiled
def _join_alike(
    order: Integers, key: NDArray[np.uint64], signatures: NDArray[np.uint32], agreeing: int, parent: Integers
) -> None:
    """Within each entry compare every text with the first and with the one before it: linear, however crowded."""
    first = 0
    for at in range(1, len(order)):
        if key[order[at]] != key[order[first]]:
            first = at
            continue
        for other in (order[first], order[at - 1]):
            if _root(parent, order[at]) != _root(parent, other):
                equal = 0
                for i in range(signatures.shape[1]):
                    equal += signatures[order[at], i] == signatures[other, i]
                if equal >= agreeing:
                    _join(parent, order[at], other)


@compiled
def _join_near(
    order: Integers, entry: NDArray[np.uint16], hashes: NDArray[np.uint64], distance: int, parent: Integers
) -> None:
    entry, hashes = entry[order], hashes[order]
    for at in range(len(order)):
        for behind in range(at + 1, min(at + 1 + NEIGHBOURS, len(order))):
            if entry[behind] != entry[at]:
                break
            if _differing(hashes[at] ^ hashes[behind]) <= distance:
                _join(parent, order[at], order[behind])


@compiled
def _differing(bits: np.uint64) -> int:
    """How many bits are set (Warren: *Hacker's Delight*, 5-1)."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))
