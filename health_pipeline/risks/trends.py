"""Emerging trends: words, hashtags, products and sounds that many more creators use than before.

Counted are distinct creators, not contents; what a burst is, and how sure, is :mod:`health_pipeline.stats.bursts`.
Each value is judged over all markets and in each market. A burst in exactly one market is told of that market; any
other that shows over all markets is told once, without one. Bursts that share much of their contents are one *trend*: a
ring's hashtags, its sound and its words appear together, under the name of the clearest of them.

Captions are cut into words where blanks and punctuation are, after Unicode normalisation and in lower case, and into
pairs of neighbouring words. Thai, Lao, Khmer, Burmese, Chinese and Japanese have no blanks between words: a run of such
letters is kept whole when it is short, and cut into all overlapping pieces of two (Chinese, Japanese) or four
user-perceived characters (the others). Most pieces are no words, but a phrase that spreads shows in its pieces, and
no dictionary has to know a word that people coin to be understood and not be found.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from health_pipeline.risks.columns import coded
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.schema import TRENDS
from health_pipeline.stats import bursts

RATE = 0.05  # accepted share of false bursts
EXAMPLES, CREATORS = 5, 10  # listed with each burst
SAME_CONTENTS = 0.3  # Jaccard index from which two bursts are one trend
PART_OF = 0.8  # or this share of the smaller one's contents
LONGEST_RUN = 24  # characters of a run without blanks that is kept whole
CUT_RUN = 200
"""Letters after which a longer run is cut first, with what would be pieces across the cut: finding the n-th character
means to count them, for each piece anew."""

_UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Han}\p{Hiragana}\p{Katakana}"
_PAIRED = r"\p{Han}\p{Hiragana}\p{Katakana}"  # scripts whose pieces are of two characters
_WORD = r"[\p{L}\p{M}\p{N}]"
_HASHTAG = r"#[\p{L}\p{M}\p{N}_]+"
_WORDS = (
    "regexp_extract_all(regexp_replace(regexp_replace(lower(nfc_normalize(caption)), "
    rf"'{_HASHTAG}', ' . ', 'g'), '([{_UNSPACED}]+)', ' \1 ', 'g'), '{_WORD}+')"
)
_VALUES = {
    "term": f"""list_concat(
        list_filter(words, lambda w: length_grapheme(w) BETWEEN 2 AND {LONGEST_RUN}),
        list_transform(range(1, len(words)), lambda i: words[i] || ' ' || words[i + 1]),
        flatten(list_transform(
            flatten(list_transform(
                list_filter(words, lambda w: regexp_matches(w, '[{_UNSPACED}]')),
                lambda w: regexp_extract_all(w, '.{{1,{CUT_RUN}}}\\p{{M}}*')
            )),
            lambda w: list_transform(
                range(1, length_grapheme(w) + 2 - CASE WHEN regexp_matches(w, '[{_PAIRED}]') THEN 2 ELSE 4 END),
                lambda i: substring_grapheme(w, i, CASE WHEN regexp_matches(w, '[{_PAIRED}]') THEN 2 ELSE 4 END)
            )
        ))
    )""",
    "hashtag": f"""list_concat(
        regexp_extract_all(lower(nfc_normalize(coalesce(hashtags, ''))), '#?[^\\s#,]+'),
        regexp_extract_all(lower(nfc_normalize(coalesce(caption, ''))), '{_HASHTAG}')
    )""",
    "product": "list_transform(string_split(product_ids, ','), lambda p: trim(p))",
    "sound": "[sound_id]",
}
KINDS = tuple(_VALUES)


def uses_of(kind: str, since: dt.date, until: dt.date = dt.date.max) -> str:
    """A SELECT of content_id, creator_id, market, day, value: each value of a content once."""
    return f"""
        SELECT content_id, creator_id, coalesce(market, '') AS market, day,
            unnest(list_distinct({_VALUES[kind]})) AS value
        FROM (SELECT *, CAST(published_at AS DATE) AS day, {_WORDS} AS words FROM contents)
        WHERE day BETWEEN DATE '{since}' AND DATE '{until}' AND creator_id IS NOT NULL
    """


@dataclass(frozen=True)
class Vocabulary:
    """The values of one kind with their counts.

    Attributes:
        values: (R,) the value of each row of the family.
        markets: names of the scopes; the first, ``None``, is all of them.
        first: (R,) day of the first use, counted from ``start``.
    """

    kind: str
    values: pa.Array
    markets: tuple[str | None, ...]
    family: bursts.Family
    first: NDArray[np.int64]
    start: dt.date


def vocabulary(e: Evidence, kind: str) -> Vocabulary | None:
    """Who used what on which day, as far back as is remembered; ``None`` where there is nothing of the kind."""
    since = e.day - dt.timedelta(days=e.review.memory_days - 1)
    used = uses_of(kind, since, e.day)
    uses = e.query(f"SELECT DISTINCT value, market, creator_id, day FROM ({used}) WHERE value != ''")
    if not len(uses):
        return None
    value, values = coded(uses["value"])
    market, markets = coded(uses["market"])
    creator, _ = coded(uses["creator_id"])
    # The first day on which anything was published, of whatever kind: no use on a day is a zero, no day is nothing.
    start = e.query(f"SELECT min(CAST(published_at AS DATE)) FROM contents WHERE published_at >= DATE '{since}'")
    start = start.column(0)[0].as_py()
    day = pc.days_between(pa.scalar(start), uses["day"]).to_numpy().astype(np.int64)
    days = (e.day - start).days + 1
    scope, parent = np.zeros(len(values), np.int64), np.full(len(values), -1)
    row = value
    if len(markets) > 1:
        pairs, within = np.unique(market * len(values) + value, return_inverse=True)
        parent = np.concatenate([parent, pairs % len(values)])
        scope = np.concatenate([scope, pairs // len(values) + 1])
        row, creator, day = (np.concatenate(x) for x in ((row, within + len(values)), (creator,) * 2, (day,) * 2))
    first = np.full(len(scope), days)
    np.minimum.at(first, row, day)
    counts = bursts.window_counts(row, creator, day, len(scope), days)
    names = values.take(pa.array(np.where(parent < 0, np.arange(len(scope)), parent)))
    family = bursts.Family(counts, scope, parent)
    return Vocabulary(kind, names, (None, *markets.to_pylist()), family, first, start)


def trends(e: Evidence, clusters: pa.Table | None = None, rate: float = RATE) -> pa.Table:
    """Bursts of the last three days, those of the clearest trend first; columns :data:`TRENDS`.

    Args:
        clusters: of :func:`health_pipeline.risks.clusters.clusters`; its column ``creator_id`` is read.
        rate: accepted share of false bursts among all that are told.
    """
    spoken = [v for v in (vocabulary(e, kind) for kind in KINDS) if v is not None]
    if not spoken:
        return TRENDS.empty_table()
    judged = bursts.judge([v.family for v in spoken], rate)
    rows = [row for v, b in zip(spoken, judged, strict=True) for row in found(v, b)]
    if not rows:
        return TRENDS.empty_table()
    return _described(e, pa.Table.from_pylist(rows), clusters)


def found(v: Vocabulary, b: bursts.Bursts) -> list[dict[str, object]]:
    """The bursts of a kind, each once: of its market where it is of one, else of all markets where it shows there."""
    days = v.family.counts.shape[1]
    at = np.flatnonzero(b.found)
    top = np.where(v.family.parent[at] < 0, at, v.family.parent[at])
    markets = np.bincount(top[v.family.parent[at] >= 0], minlength=len(b.found))
    whole = b.found[top] & (markets[top] != 1)
    told = at[np.where(v.family.parent[at] < 0, whole, ~whole)]
    return [
        {
            "kind": v.kind, "value": v.values[int(i)].as_py(), "market": v.markets[v.family.scope[i]],
            "count": int(b.count[i]), "expected": float(b.expected[i]), "log_odds": float(b.log_odds[i]),
            "z": float(b.z[i]), "p_value": float(b.p[i]), "q_value": float(b.q[i]), "new": bool(b.new[i]),
            "first_seen": v.start + dt.timedelta(days=int(v.first[i])),
            "burst_since": v.start + dt.timedelta(days=days - 1 - int(b.since[i])),
        }
        for i in told
    ]  # fmt: skip


def _described(e: Evidence, rows: pa.Table, clusters: pa.Table | None) -> pa.Table:
    """With contents and creators of each burst, and which bursts are one trend."""
    members = pa.table({"creator_id": pa.array([], pa.string())}) if clusters is None else clusters
    rows = rows.append_column("burst", pa.array(range(len(rows)), pa.int64()))
    since = e.day - dt.timedelta(days=bursts.WINDOW - 1)
    kinds = pc.unique(rows["kind"]).to_pylist()
    uses = " UNION ALL ".join(f"SELECT '{k}' AS kind, * FROM ({uses_of(k, since, e.day)})" for k in kinds)
    used = e.query(
        f"""
        SELECT DISTINCT b.burst, u.content_id, u.creator_id FROM ({uses}) u JOIN found b
        ON u.kind = b.kind AND u.value = b.value AND (b.market IS NULL OR b.market = u.market)
        """,
        found=rows.select(["burst", "kind", "value", "market"]),
    )
    about = e.query(
        f"""
        WITH seen AS (SELECT content_id, sum(views) AS views FROM traffic GROUP BY ALL),
        violating AS (SELECT DISTINCT content_id FROM labels WHERE violation AND content_id IS NOT NULL),
        known AS (
            SELECT burst, content_id, creator_id, coalesce(views, 0) AS views,
                content_id IN (FROM violating) AS violation,
                creator_id IN (SELECT creator_id FROM members) AS clustered
            FROM used LEFT JOIN seen USING (content_id)
        ),
        best AS (
            SELECT burst, list(content_id ORDER BY views DESC, content_id)[:{EXAMPLES}] AS examples FROM (
                FROM known QUALIFY 1 =
                    row_number() OVER (PARTITION BY burst, creator_id ORDER BY views DESC, content_id)
            ) GROUP BY burst
        ),
        busy AS (
            SELECT burst, list(creator_id ORDER BY n DESC, creator_id)[:{CREATORS}] AS creators FROM (
                SELECT burst, creator_id, count(*) AS n FROM known GROUP BY ALL
            ) GROUP BY burst
        )
        SELECT burst, count(*) AS contents, CAST(sum(views) AS BIGINT) AS views,
            avg(CAST(violation AS INTEGER)) AS violation_share, avg(CAST(clustered AS INTEGER)) AS cluster_share,
            avg(CAST(violation OR clustered AS INTEGER)) AS suspect_share, any_value(examples) AS examples,
            any_value(creators) AS creators
        FROM known JOIN best USING (burst) JOIN busy USING (burst) GROUP BY burst ORDER BY burst
        """,
        used=used, members=members.select(["creator_id"]),
    )  # fmt: skip
    content, contents = coded(used["content_id"])
    group = trend_of(used["burst"].to_numpy(), content, (len(rows), len(contents)))
    p = rows["p_value"].to_numpy()
    kind, value = rows["kind"].to_pylist(), rows["value"].to_pylist()
    order = sorted(range(len(rows)), key=lambda i: (p[i], -len(value[i]), kind[i], value[i]))
    lead: dict[int, int] = {}
    for i in order:
        lead.setdefault(int(group[i]), i)
    place = {i: n for n, i in enumerate(order)}
    order.sort(key=lambda i: (place[lead[int(group[i])]], place[i]))
    names = [f"{kind[lead[int(g)]]}: {value[lead[int(g)]]}" for g in group]
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    columns |= dict(zip(about.column_names, about.columns, strict=True))
    columns |= {"day": pa.array([e.day] * len(rows), pa.date32()), "trend": pa.array(names)}
    return pa.table([columns[c] for c in TRENDS.names], names=TRENDS.names).cast(TRENDS).take(pa.array(order))


def trend_of(burst: NDArray[np.int64], content: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Number of the trend of each burst: components of the graph of bursts with enough contents in common."""
    from scipy.sparse import coo_matrix, csr_matrix
    from scipy.sparse.csgraph import connected_components

    has = csr_matrix((np.ones(len(burst)), (burst, content)), shape=shape)
    size = np.asarray(has.sum(axis=1)).ravel()
    common = coo_matrix(has @ has.T)
    one, other = size[common.row], size[common.col]
    close = (common.data >= SAME_CONTENTS * (one + other - common.data)) | (
        common.data >= PART_OF * np.minimum(one, other)
    )
    graph = csr_matrix((np.ones(int(close.sum())), (common.row[close], common.col[close])), shape=common.shape)
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)
