"""How much each creator will still post, if nobody acts.

The pace of each follows from all of their contents that are known, or, where it changed, from those since: creators are
restricted, rings begin (:mod:`health_pipeline.stats.pace`). Members of a cluster may have changed together. A market
whose contents are missing for a day tells of nobody's pace on it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from health_pipeline.risks.columns import coded, codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.pace import AGES, paces

GONE = ("banned", "left")
"""Status of creators who post no more."""
MISSING = 0.6
"""A market's day with fewer of its usual contents than this share is held to be incomplete."""
AROUND_DAYS = 28
"""So many days before and after one tell what is usual on it: markets grow."""
ENOUGH, SOME = 20, 7
"""Contents usual on a market's day of which fewer may be missing by chance: a part of them, and all of them."""

POSTING = pa.schema(
    [("creator_id", pa.string()), ("tier", pa.string()), ("posts_a_day", pa.float64()), ("doubt", pa.float64())]
)


def posting(e: Evidence, members: pa.Table | None = None) -> pa.Table:
    """Of every creator that is known or has posted.

    Args:
        members: ``creator_id`` and ``cluster`` of those who act together.

    Returns:
        :data:`POSTING`, by ``creator_id``: ``posts_a_day`` a mean, 0 of who is gone; ``doubt`` its squared coefficient
        of variation.
    """
    together = pa.table({"creator_id": pa.array([], pa.string()), "cluster": pa.array([], pa.string())})
    now, memory = f"TIMESTAMP '{e.now}'", e.review.memory_days
    rows = e.query(
        f"""
        WITH published AS (
            FROM contents WHERE creator_id IS NOT NULL AND published_at < {now}
        ), everyone AS (
            SELECT creator_id FROM creators WHERE creator_id IS NOT NULL UNION SELECT creator_id FROM published
        ), register AS (  -- which may say the same on several days
            SELECT creator_id, max(tier) AS tier, max(market) AS market, min(joined_at) AS joined_at,
                bool_or(status IN {GONE}) AS gone
            FROM creators GROUP BY creator_id
        ), posted AS (
            SELECT creator_id, arg_max(tier, published_at) AS tier, arg_max(market, published_at) AS market,
                min(published_at) AS first, count(*) AS posts,
                {", ".join(f"count(*) FILTER (published_at >= {now} - INTERVAL {d} DAY) AS posts_{d}" for d in AGES)}
            FROM published GROUP BY creator_id
        ), since AS (
            SELECT greatest(least(min(published_at), {now} - INTERVAL 1 DAY), {now} - INTERVAL {memory} DAY) AS start
            FROM published
        ), clusters AS (
            SELECT creator_id, min(cluster) AS cluster FROM together GROUP BY creator_id
        )
        SELECT creator_id, coalesce(c.tier, p.tier) AS tier,
            CASE WHEN p.creator_id IS NULL THEN c.market ELSE p.market END AS market,
            coalesce(p.posts, 0) AS posts, {", ".join(f"coalesce(p.posts_{d}, 0) AS posts_{d}" for d in AGES)}, cluster,
            least(date_diff('hour', greatest(least(CAST(c.joined_at AS TIMESTAMP), p.first), start), {now}),
                24 * {memory}) / 24.0 AS days,
            coalesce(c.gone, false) AS gone
        FROM everyone LEFT JOIN register c USING (creator_id) LEFT JOIN posted p USING (creator_id)
        LEFT JOIN clusters USING (creator_id), since
        ORDER BY creator_id
        """,
        together=(members if members is not None else together).select(together.schema.names),
    )
    there = np.flatnonzero(~rows["gone"].to_numpy(zero_copy_only=False).astype(bool))
    pace, doubt = np.zeros((2, rows.num_rows))
    present = rows.take(there)
    days = np.maximum(numbers(present, "days"), 1.0)
    place, markets = coded(present["market"])
    delivered, whole_days = _delivered(e), np.arange(memory + 1.0)
    lived = np.array([delivered.get(m, whole_days) for m in markets.to_pylist()]).reshape(-1, memory + 1)[place]

    def seen(back: Array) -> Array:
        whole = np.minimum(back, days).astype(np.int64)
        at = np.arange(len(days))
        part = lived[at, np.minimum(whole + 1, memory)] - lived[at, whole]
        return np.asarray(lived[at, whole] + (np.minimum(back, days) - whole) * part)

    group = np.where(present["cluster"].is_null().to_numpy(zero_copy_only=False), -1, codes(present, "cluster"))
    found = paces(
        numbers(present, "posts"), np.maximum(seen(np.full(len(days), float(memory))), 1e-3),
        np.stack([numbers(present, f"posts_{d}") for d in AGES], axis=1),
        np.stack([seen(np.full(len(days), float(d))) for d in AGES], axis=1), codes(present, "tier"), group,
    )  # fmt: skip
    pace[there], doubt[there] = found.mean, found.doubt
    return pa.table([rows["creator_id"].combine_chunks(), rows["tier"].combine_chunks(), pace, doubt], schema=POSTING)


def _delivered(e: Evidence) -> dict[str | None, Array]:
    """By market: (memory + 1,) days of which the contents are known, among the last 0, 1, 2, ... days."""
    memory = e.review.memory_days
    rows = e.query(
        f"""
        SELECT market, date_diff('minute', published_at, TIMESTAMP '{e.now}') // 1440 AS back, count(*) AS posts
        FROM contents WHERE published_at < TIMESTAMP '{e.now}' GROUP BY ALL
        """
    )
    found = {}
    for market in set(rows["market"].to_pylist()):
        of = rows.filter(pa.array([m == market for m in rows["market"].to_pylist()]))
        posts = np.zeros(memory)
        back = of["back"].to_numpy().astype(np.int64)
        known = back < memory
        posts[back[known]] = numbers(of, "posts")[known]
        first = np.flatnonzero(posts).max(initial=0) + 1  # before the first content nothing is missing
        around = (slice(max(back - AROUND_DAYS, 0), min(back + AROUND_DAYS + 1, first)) for back in range(first))
        usual = np.pad([float(np.median(posts[days])) for days in around], (0, memory - first))
        lacks = ((posts < MISSING * usual) & (usual > ENOUGH)) | ((posts == 0) & (usual > SOME))
        share = np.where(lacks, posts / np.maximum(usual, 1.0), 1.0)
        found[market] = np.concatenate([[0.0], np.cumsum(share)])
    return found
