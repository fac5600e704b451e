"""What is known of contents by the end of a day, and what of it a regression learns from."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
from scipy import special

from health_pipeline.risks.columns import numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.stats.arrays import Array

KNOTS = (-4.0, -2.0, 0.0, 2.0)  # of the moderation model's log odds, between which the regression is linear
REPORTS = (1.0, 4.0, 12.0)  # the same of the logarithm of reports: many at once may be an attack on the innocent
TRAFFIC_DAYS = 28


def facts(e: Evidence, until: str) -> str:
    """SELECT of all contents with their labels, and with reports and views up to the instant ``until`` (SQL).

    Contents whose creator is not known are left out: together they would be one account. So are those dated a day or
    more after now: that is no clock that is fast, but a plan.
    """
    watched = e.now - dt.timedelta(days=TRAFFIC_DAYS)
    return f"""
WITH decided AS (
    SELECT content_id, min(decided_at) AS decided_at, arg_max(violation, decided_at) AS violation,
        arg_max(actor, decided_at) AS actor, arg_max(policy, decided_at) AS policy,
        arg_max(views_at_action, decided_at) AS views_at_action
    FROM labels WHERE content_id IS NOT NULL GROUP BY content_id
), rated AS (
    SELECT content_id, min(drawn_at) FILTER (arm <> 'decisions') AS drawn_at,
        avg(violation::INT) > 0.5 AS rated, arg_max(policy, labelled_at) AS rated_policy
    FROM samples WHERE violation IS NOT NULL GROUP BY content_id
), member AS (
    SELECT creator_id, min(cluster) AS cluster FROM clusters GROUP BY creator_id
), base AS (
    SELECT c.content_id, c.creator_id, c.market, c.category, c.tier, c.kind, c.published_at, c.model_score, cluster,
        c.product_ids, coalesce(c.near_duplicate, false) AS near_duplicate,
        coalesce(c.ai_generated, false) AS ai_generated,
        decided_at, violation, actor, coalesce(actor <> 'human', false) AS machine, views_at_action, drawn_at, rated,
        coalesce(rated_policy, policy) AS policy, {until} AS until,
        c.published_at >= TIMESTAMP '{watched}' AS watched
    FROM contents c LEFT JOIN decided USING (content_id) LEFT JOIN rated USING (content_id)
        LEFT JOIN member USING (creator_id)
    WHERE c.creator_id IS NOT NULL AND c.published_at < TIMESTAMP '{e.now + dt.timedelta(days=1)}'
), filed AS (
    SELECT content_id, count(*) AS reports, count(*) FILTER (trusted) AS trusted_reports
    FROM reports JOIN base USING (content_id) WHERE filed_at < until GROUP BY content_id
), seen AS (
    SELECT content_id, sum(views) AS views FROM traffic JOIN base USING (content_id)
    WHERE hour < until GROUP BY content_id
), known AS (
    SELECT base.*, coalesce(reports, 0) AS reports, coalesce(trusted_reports, 0) AS trusted_reports,
        CASE WHEN watched THEN coalesce(views, 0) ELSE views_at_action END AS views
    FROM base LEFT JOIN filed USING (content_id) LEFT JOIN seen USING (content_id)
)
SELECT * REPLACE (greatest(coalesce(views, avg(views) OVER (PARTITION BY tier, kind), 0), 0) AS views)
FROM known ORDER BY creator_id, published_at, content_id"""


FEATURES = (
    "intercept", "score unknown", "score", *(f"score above {k:g}" for k in KNOTS), "machine acted",
    "reported", *(f"log reports above {k:g}" for k in REPORTS), "log reports per 1,000 views", "trusted report",
    "log views", "thousand views", "near duplicate", "AI generated",
)  # fmt: skip
PRIOR = np.array([
    [0.0, 2.0], [0.0, 2.0], [1.0, 1.0], *([0.0, 0.5] for _ in KNOTS), [2.0, 2.0],
    [1.5, 1.5], *([0.0, 1.0] for _ in REPORTS), [0.0, 1.0], [2.0, 1.5],
    [-0.2, 0.5], [-0.2, 0.5], [0.5, 1.0], [0.3, 1.0],
])  # fmt: skip
"""Mean and standard deviation of each coefficient before there are labels: wide, with the sign it ought to have."""


def features_of(rows: pa.Table) -> Array:
    """(N, P) of :data:`FEATURES`."""
    score = numbers(rows, "model_score")
    known = ~np.isnan(score)
    logit = np.where(known, np.clip(special.logit(np.clip(np.nan_to_num(score), 1e-6, 1 - 1e-6)), -8, 8), 0.0)
    reports, views = numbers(rows, "reports"), numbers(rows, "views") / 1000.0
    return np.column_stack([
        np.ones(len(score)), ~known, np.where(known, logit, 0.0),
        *(np.where(known, np.maximum(logit - k, 0.0), 0.0) for k in KNOTS),
        numbers(rows, "machine"), reports > 0,
        *(np.maximum(np.log(np.maximum(reports, 1.0) / k), 0.0) for k in REPORTS), np.log1p(reports / (views + 0.1)),
        numbers(rows, "trusted_reports") > 0,
        np.log1p(views), np.minimum(views, 5.0), numbers(rows, "near_duplicate"), numbers(rows, "ai_generated"),
    ]).astype(float)  # fmt: skip
