"""Clusters: accounts that act together, by the traces that their contents of the last two weeks share.

Traces are products, the sequence of hashtags, sounds, pictures (near-equal perceptual hashes), captions (near-equal
texts), and each of these within the same minutes; how rare sharing makes a link, and links a cluster, is
:mod:`health_pipeline.stats.traces`. That accounts share traces says that they act together, not that they violate
anything: a brand's affiliates do so too. Accounts that share products and hardly anything else are taken for such, and
are no cluster. A cluster is a way to review once what belongs together.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from health_pipeline.risks.columns import coded, codes
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.schema import CLUSTERS
from health_pipeline.stats.near_duplicates import centre, near_hashes, near_texts, normalise
from health_pipeline.stats.traces import MINUTES, Coordination, Integers, Marks, Posts, coordination

WINDOW_DAYS = 14
KINDS = ("hashtags", "product", "sound", "picture", "caption")
"""Kinds of traces. A cluster is named after the first kind of which its members have one in common."""
TELLING = 0.05  # least part of a cluster's evidence that a trace is told for
AFFILIATES = 2 / 3  # of a cluster's evidence: more than so much by products alone is what a shop's affiliates share
NAMING = 0.5  # least share of the members who carry the trace that a cluster is named after
SHORTENED = 60  # characters of a caption that are shown

SQL = """
SELECT creator_id, market, category, epoch(published_at)::BIGINT // 60 AS minute,
       caption, hashtags, sound_id, perceptual_hash, product_ids
FROM contents
WHERE published_at >= TIMESTAMP '{since}' AND published_at < TIMESTAMP '{now}' AND creator_id IS NOT NULL
ORDER BY content_id
"""


@dataclass(frozen=True)
class Traced:
    """Contents with their traces as codes, and how to name a trace.

    Attributes:
        creators: A; the accounts' names.
        posts, marks: the contents, and which carries which trace.
        values: for each of :data:`KINDS` the values of its traces, or, of near-duplicates, of all contents.
        first: for each kind the code of its first trace.
    """

    creators: NDArray[np.object_]
    posts: Posts
    marks: Marks
    values: tuple[pa.Array, ...]
    first: tuple[int, ...]

    @cached_property
    def carrying(self) -> sparse.csr_array:
        """(T, N) which contents carry each trace."""
        there = np.ones(len(self.marks.content), dtype=bool)
        shape = (len(self.marks.kind), len(self.posts.account))
        return sparse.csr_array((there, (self.marks.trace, self.marks.content)), shape=shape)

    def contents(self, trace: int) -> Integers:
        """Positions of the contents that carry a trace."""
        begin, end = self.carrying.indptr[trace : trace + 2]
        return self.carrying.indices[begin:end].astype(np.int64)

    def name(self, trace: int) -> tuple[str, str]:
        """Kind and value of a trace. Of near-duplicates the most common caption, the picture in the middle."""
        kind = int(self.marks.kind[trace])
        own = self.contents(trace)
        texts = self.values[kind]
        match KINDS[kind]:
            case "picture":
                value = f"{centre(_unsigned(texts.take(pa.array(own)))):016x}"
            case "caption":
                seen = Counter(normalise(text) for text in texts.take(pa.array(own)).to_pylist())
                value = min(seen, key=lambda text: (-seen[text], text))
            case _:
                value = texts[trace - self.first[kind]].as_py()
        return KINDS[kind], value


def clusters(e: Evidence) -> pa.Table:
    """One row per member of a cluster, as of the end of the evidence's day; larger clusters first, then by score.

    Returns:
        :data:`CLUSTERS`.
    """
    since = e.now - dt.timedelta(days=WINDOW_DAYS)
    rows = e.query(SQL.format(since=since, now=e.now))
    if not rows.num_rows:
        return CLUSTERS.empty_table()
    traced = trace(rows)
    del rows  # of a million contents, hundreds of megabytes
    return described(e.day, traced, coordination(traced.posts, traced.marks))


def trace(rows: pa.Table) -> Traced:
    """Contents (columns of ``SQL``) with their traces."""
    account, creators = coded(rows["creator_id"])
    cohort = _mainly(account, codes(rows, "market"), len(creators))
    stratum = cohort << 16 | _mainly(account, codes(rows, "category"), len(creators))
    posts = Posts(account, rows["minute"].to_numpy(), cohort, stratum)

    listed = pc.split_pattern(rows["product_ids"].combine_chunks(), ",")
    texts, hashes = rows["caption"].combine_chunks(), rows["perceptual_hash"].combine_chunks()
    hashed = _present(pc.if_else(pc.match_substring_regex(hashes, "^[0-9a-fA-F]{1,16}$"), hashes, None))
    written = _present(pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), None, texts))
    exact = {
        "hashtags": (_present(rows["hashtags"]), rows["hashtags"].combine_chunks().drop_null()),
        "product": (pc.list_parent_indices(listed).to_numpy(), pc.list_flatten(listed)),
        "sound": (_present(rows["sound_id"]), rows["sound_id"].combine_chunks().drop_null()),
    }
    near = {
        "picture": (hashed, _numbered(near_hashes(_unsigned(hashes.take(pa.array(hashed))))), hashes),
        "caption": (written, _alike(texts.take(pa.array(written))), texts),
    }
    content, code, kinds, values, first = [], [], [], [], []
    begin = 0
    for place, kind in enumerate(KINDS):
        if kind in exact:
            at, given = exact[kind]
            encoded = given.dictionary_encode()
            traces, count = encoded.indices.to_numpy(), len(encoded.dictionary)
            values.append(encoded.dictionary)
        else:
            at, group, given = near[kind]
            traces, count = group, int(group.max(initial=-1)) + 1
            values.append(given)
        content.append(at.astype(np.int64))
        code.append(traces.astype(np.int64) + begin)
        kinds.append(np.full(count, place))
        first.append(begin)
        begin += count
    marks = Marks.of(np.concatenate(content), np.concatenate(code), np.concatenate(kinds))
    return Traced(creators.to_numpy(zero_copy_only=False), posts, marks, tuple(values), tuple(first))


def described(day: dt.date, traced: Traced, found: Coordination) -> pa.Table:
    """Clusters as rows, with what they share in words."""
    posts = traced.posts
    count = found.part.shape[0]
    inside = np.bincount(found.cluster[posts.account] + 1, minlength=count + 1)[1:]
    sizes = np.bincount(found.cluster + 1, minlength=count + 1)
    by_cluster = np.split(np.argsort(found.cluster, kind="stable"), np.cumsum(sizes[:-1]))[1:]
    published = posts.contents
    names: set[str] = set()
    rows: list[dict[str, object]] = []
    for cluster, members in enumerate(by_cluster):
        if _of_products(traced, found, cluster) > AFFILIATES:
            continue
        shared = _shared(traced, found, cluster, len(members))
        name = _unused(_name(shared, len(members)), names)
        carrying = np.unique(np.concatenate([s.contents for s in shared if s.trace is not None]))
        carried = np.bincount(np.searchsorted(members, posts.account[carrying]), minlength=len(members))
        for at in np.argsort(-found.loyalty[members], kind="stable"):
            account = members[at]
            rows.append({
                "day": day, "cluster": name, "creator_id": traced.creators[account],
                "contents": int(carried[at]), "share": carried[at] / published[account],
                "traces": "; ".join(s.sentence(len(members), int(inside[cluster])) for s in shared),
                "score": found.loyalty[account] / found.threshold, "size": len(members),
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CLUSTERS)


def _of_products(traced: Traced, found: Coordination, cluster: int) -> float:
    """What products add to a cluster's evidence, as a share."""
    begin, end = found.part.indptr[cluster], found.part.indptr[cluster + 1]
    traces, parts = found.part.indices[begin:end], found.part.data[begin:end]
    named = traces < len(traced.marks.kind)  # the last column is timing
    product = traced.marks.kind[traces[named]] == KINDS.index("product")
    return float(parts[named][product].sum() / parts.sum())


@dataclass(frozen=True)
class Shared:
    """A trace that members of a cluster share; ``trace`` is None for all timing together."""

    trace: int | None
    kind: str
    value: str
    part: float
    members: int
    contents: Integers

    def sentence(self, of_members: int, of_contents: int) -> str:
        """``hashtags #a #b: 10 of 12 members, 93 % of contents``."""
        if self.trace is None:
            return f"the same within {MINUTES} minutes: {self.part:.0%} of the evidence"
        value = self.value if len(self.value) <= SHORTENED else f"{self.value[: SHORTENED - 1]}…"
        like = "like " if self.kind in ("picture", "caption") else ""
        share = len(self.contents) / of_contents
        return f"{self.kind} {like}{value}: {self.members} of {of_members} members, {share:.0%} of contents"


def _shared(traced: Traced, found: Coordination, cluster: int, members: int) -> list[Shared]:
    """What a cluster shares: traces that are a telling part of its evidence, the most telling first.

    Nearly all of it may be timing, of a trace that is too popular to tell anything by itself; then that is told last.
    """
    begin, end = found.part.indptr[cluster], found.part.indptr[cluster + 1]
    traces, parts = found.part.indices[begin:end], found.part.data[begin:end]
    parts = parts / parts.sum()
    order = np.argsort(-parts, kind="stable")
    told = []
    timing = found.part.shape[1] - 1
    for at in order:
        if parts[at] < min(TELLING, parts[order[0]]):
            break
        if traces[at] == timing:
            told.append(Shared(None, "timing", "", float(parts[at]), members, np.zeros(0, np.int64)))
        else:
            told.append(_carried(traced, found, cluster, int(traces[at]), float(parts[at])))
    if all(s.trace is None for s in told):
        trace = _most_common(traced, found, cluster)
        told.append(_carried(traced, found, cluster, trace, float(parts[traces == trace].sum())))
    return told


def _carried(traced: Traced, found: Coordination, cluster: int, trace: int, part: float) -> Shared:
    contents = traced.contents(trace)
    contents = contents[found.cluster[traced.posts.account[contents]] == cluster]
    carriers = len(np.unique(traced.posts.account[contents]))
    return Shared(trace, *traced.name(trace), part, carriers, contents)


def _most_common(traced: Traced, found: Coordination, cluster: int) -> int:
    """The trace that most members carry; of several the one that most of their contents do."""
    account, trace = traced.posts.account[traced.marks.content], traced.marks.trace
    inside = found.cluster[account] == cluster
    account, trace = account[inside], trace[inside]
    contents = np.bincount(trace)
    members = np.bincount(np.unique(trace * traced.posts.accounts + account) // traced.posts.accounts)
    return int(np.lexsort((contents, members))[-1])


def _name(shared: Sequence[Shared], members: int) -> str:
    """From the first kind of trace that half of the members carry; else from the most telling."""
    traces = [s for s in shared if s.trace is not None]
    common = [s for s in traces if s.members >= NAMING * members] or traces
    chosen = min(common, key=lambda s: KINDS.index(s.kind))
    return hashlib.blake2b(f"{chosen.kind} {chosen.value}".encode(), digest_size=4).hexdigest()


def _unused(name: str, names: set[str]) -> str:
    """``cl-0a1b2c3d``, and ``cl-0a1b2c3d-2`` for a second cluster with the same trace."""
    number, free = 1, f"cl-{name}"
    while free in names:
        number += 1
        free = f"cl-{name}-{number}"
    names.add(free)
    return free


def _mainly(account: Integers, codes: Integers, accounts: int) -> Integers:
    """(A,) the code that most contents of each account have."""
    pair, times = np.unique(account * (codes.max() + 1) + codes, return_counts=True)
    whose, code = np.divmod(pair, codes.max() + 1)
    order = np.lexsort((times, whose))
    last = np.append(whose[order][1:] != whose[order][:-1], True)
    most: Integers = code[order][last]
    assert len(most) == accounts
    return most


def _present(values: pa.Array | pa.ChunkedArray) -> Integers:
    """Positions of values that are there."""
    there: Integers = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    return there


def _alike(texts: pa.Array) -> Integers:
    """(N,) which texts are nearly the same. The same texts, of which there are many, are looked at once."""
    encoded = texts.dictionary_encode()
    group: Integers = _numbered(near_texts(encoded.dictionary.to_pylist()))[encoded.indices.to_numpy()]
    return group


def _numbered(group: Integers) -> Integers:
    """Groups named after the position of their first, as codes from 0 without gaps."""
    codes: Integers = (np.cumsum(group == np.arange(len(group))) - 1)[group]
    return codes


def _unsigned(hexadecimal: pa.Array) -> NDArray[np.uint64]:
    """(N,) numbers of at most 16 hexadecimal digits."""
    padded = pc.utf8_lpad(hexadecimal, 16, "0").cast(pa.binary()).cast(pa.binary(16))
    letters = np.frombuffer(padded.buffers()[1], np.uint8, 16 * len(padded), 16 * padded.offset).reshape(-1, 16)
    digits = (letters & 15) + 9 * (letters >> 6)  # of ASCII: letters have the bit of 64, and end in 1 for A
    return (digits[:, ::2] << 4 | digits[:, 1::2]).view(">u8").ravel().astype(np.uint64)
