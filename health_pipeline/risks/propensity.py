"""How likely contents that are still shown are to violate a policy, and creators' posts to come, by what a day teaches.

What it teaches, and the model: :mod:`health_pipeline.risks.rates`. Products: :mod:`health_pipeline.risks.products`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse, special

from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.outlook import Outlook, Series
from health_pipeline.risks.policies import Policies, policies
from health_pipeline.risks.rates import Learned, learn
from health_pipeline.risks.waves import WIDTH
from health_pipeline.stats import logistic
from health_pipeline.storage.columns import column

CONTENTS = pa.schema(
    [
        column("content_id", pa.string(), "a content that is still shown and on which nobody has decided"),
        column("creator_id", pa.string(), "who published it"),
        column("market", pa.string(), "of the content"),
        column("category", pa.string(), "the same"),
        column("tier", pa.string(), "the same"),
        column("kind", pa.string(), "the same"),
        column("published_at", pa.timestamp("us"), "UTC"),
        column("probability", pa.float64(), "of a violation"),
        column("log_odds", pa.float64(), "centre of a normal whose draws, as probabilities, have that mean"),
        column("log_odds_error", pa.float64(), "its standard deviation"),
        column("severity", pa.float64(), "harm of one view if it violates, by the policies it may violate"),
        column("policy", pa.string(), "likeliest policy, if it violates"),
        column("reports", pa.int64(), "by users so far"),
        column("trusted_reports", pa.int64(), "of these, by trusted flaggers"),
        column("model_score", pa.float64(), "of the moderation model"),
        column("cluster", pa.string(), "of the creator"),
        column(
            "prior_probability", pa.float64(), "of such contents, whoever publishes them and whatever is known of them"
        ),
        column("prior_wave", pa.float64(), "of that, what a wave adds in such contents' cohort or cluster"),
        column("creator_factor", pa.float64(), "how many times as often its creator's other contents violate"),
    ]
)
CREATORS = pa.schema(
    [
        column("creator_id", pa.string(), "a creator with contents in the memory"),
        column("market", pa.string(), "of the newest content"),
        column("category", pa.string(), "of most contents"),
        column("tier", pa.string(), "of the newest content"),
        column("posts", pa.float64(), "contents, each counting by its age"),
        column("violations", pa.float64(), "of these, violations expected from all that is known"),
        column("shape", pa.float64(), "of a gamma as wide as violations per content of the near future"),
        column("rate", pa.float64(), "the same; its mean is shape / rate"),
        column("cohort_mean", pa.float64(), "violations per content of those who post the like"),
        column("cohort_wave", pa.float64(), "of these, what a wave adds in their cohort or cluster"),
        column("severity", pa.float64(), "harm of a violation to come, for each view it would have if nobody acted"),
        column("policy", pa.string(), "the policy they violate most"),
        column("violations_90d", pa.int64(), "confirmed in 90 days and not reversed"),
        column("last_violation_at", pa.timestamp("us"), "when the newest of them was decided, UTC"),
        column("cluster", pa.string(), "of the creator"),
    ]
)
NOBODY = pa.table({"cluster": pa.array([], pa.string()), "creator_id": pa.array([], pa.string())})
"""No clusters."""


def contents(
    e: Evidence, clusters: pa.Table, learned: Learned | None = None, mix: Policies | None = None
) -> pa.Table:  # fmt: skip
    """:data:`CONTENTS`: contents that are still shown and on which nobody has decided.

    Args:
        clusters: at least ``cluster`` and ``creator_id``.
        learned: of :func:`learn`, where it is at hand.
        mix: of :func:`policies`, where it is at hand.
    """
    learned = learned or learn(e, clusters)
    since = e.now - dt.timedelta(days=e.review.alive_days)
    rows, mix = learned.rows, mix or policies(e, learned)
    there = np.flatnonzero(
        (rows["published_at"].to_numpy() > np.datetime64(since, "us")) & ~rows["decided_at"].is_valid().to_numpy()
    )
    shares, taught = mix.contents[there], learned.model.error(learned.features[there])
    probability = logistic.mean_probability(special.logit(learned.probability[there]), taught)
    prior, expected = learned.cohort(learned.usual)[there], learned.usual.of(learned.factor)[there]
    waves = sum(known.doubt(expected, learned.day, there) for known in learned.cohorts)
    error = np.sqrt(taught**2 + learned.doubt[there] ** 2 + waves)
    made = {
        "probability": probability,
        "log_odds": logistic.centre(probability, error),
        "log_odds_error": error,
        "severity": shares @ mix.harm,
        "policy": mix.likeliest(mix.names, shares),
        "prior_probability": prior,
        "prior_wave": learned.cohort_wave(learned.usual)[there],
        "creator_factor": expected / prior,
    }
    return table_of(CONTENTS, rows.take(pa.array(there)), made)


def outlook(learned: Learned, mix: Policies, passing: Mapping[str, float] | None = None) -> Outlook:
    """What may be of the creators' posts to come, in the order of :func:`creators`; arguments as there."""
    creator, harm = learned.creator, mix.passed(passing)
    posts = np.bincount(creator, weights=learned.weight, minlength=len(learned.names))
    base, unsure = (
        np.bincount(creator, weights=learned.weight * x, minlength=len(posts)) / posts
        for x in (learned.usual_now.base, learned.unsure)
    )
    series = []
    for known in learned.cohorts:
        some = known.of >= 0
        share = sparse.csr_array(
            (learned.weight[some] / posts[creator[some]], (creator[some], known.of[some])),
            shape=(len(posts), len(known.chances)),
        )
        series.append(Series(share, known.chances[:, -1], known.sizes.sum(axis=1), known.sizes @ harm, WIDTH))
    return Outlook(learned.factors, learned.shape, base, unsure, mix.usual @ harm, tuple(series))


def creators(
    e: Evidence, clusters: pa.Table, learned: Learned | None = None, passing: Mapping[str, float] | None = None,
    mix: Policies | None = None,
) -> pa.Table:  # fmt: skip
    """:data:`CREATORS`: creators with contents in the memory; other arguments as :func:`contents`.

    Args:
        passing: share of the views of violations to come that moderation lets through, by severity; else all.
    """
    learned = learned or learn(e, clusters)
    mix, creator, count = mix or policies(e, learned), learned.creator, len(learned.names)
    harm, deviation = mix.passed(passing), outlook(learned, mix).deviation
    posts = np.bincount(creator, weights=learned.weight, minlength=count)
    now = learned.usual_now
    base, extra, cohort, wave = (
        np.bincount(creator, weights=learned.weight * x, minlength=count) / posts
        for x in (now.base, now.extra, learned.cohort(now), learned.cohort_wave(now))
    )
    # θ base + extra as a gamma with the same mean and standard deviation.
    mean, deviation = learned.factors.mean * base + extra, np.maximum(deviation, 1e-9)
    about = e.query(
        """
        SELECT creator_id, arg_max(market, published_at) AS market, mode(category) AS category,
            arg_max(tier, published_at) AS tier, any_value(cluster) AS cluster, coalesce(any_value(times), 0) AS
            violations_90d, any_value(last) AS last_violation_at
        FROM rows LEFT JOIN (
            SELECT creator_id, count(*) AS times, max(decided_at) AS last FROM labels
            WHERE violation AND content_id IS NOT NULL AND decided_at > now - INTERVAL 90 DAY GROUP BY creator_id
        ) USING (creator_id) GROUP BY creator_id ORDER BY creator_id
        """.replace("now", f"TIMESTAMP '{e.now}'"),
        rows=learned.rows,
    )
    made = {
        "posts": posts,
        "violations": np.bincount(creator, weights=learned.weight * learned.probability, minlength=count),
        "shape": (mean / deviation) ** 2,
        "rate": mean / deviation**2,
        "cohort_mean": cohort,
        "cohort_wave": wave,
        "severity": mix.creators @ harm,
        "policy": mix.likeliest(mix.names, mix.creators),
    }
    return table_of(CREATORS, about, made)


def table_of(schema: pa.Schema, rows: pa.Table, made: dict[str, Any]) -> pa.Table:
    """Columns that were made, and others as they are in ``rows``."""
    columns = [made[f.name] if f.name in made else rows[f.name] for f in schema]
    arrays = [c if isinstance(c, pa.Array | pa.ChunkedArray) else pa.array(c) for c in columns]
    return pa.table([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)
