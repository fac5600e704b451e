"""How likely contents that show a product are to violate a policy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy.optimize import isotonic_regression

from health_pipeline.risks.columns import codes, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.propensity import NOBODY, table_of
from health_pipeline.risks.rates import LEAST, MOST, Learned, learn
from health_pipeline.stats import shrinkage
from health_pipeline.storage.columns import column

PRODUCTS = pa.schema(
    [
        column("product_id", pa.string(), "a product that was ordered or shown in the memory"),
        column("shop_id", pa.string(), "who sells it"),
        column("market", pa.string(), "of the product"),
        column("category", pa.string(), "the same"),
        column("orders", pa.int64(), "in the memory"),
        column("bad", pa.int64(), "of these, refunded or complained about as what should not be sold"),
        column("probability", pa.float64(), "that a content that shows it violates a policy"),
        column("shape_a", pa.float64(), "of the beta posterior of that; its mean is a / (a + b)"),
        column("shape_b", pa.float64(), "the same"),
        column("cohort_mean", pa.float64(), "the same for such products"),
        column("violations", pa.int64(), "contents showing it that violated a policy as confirmed"),
        column("brand_authorised", pa.bool_(), "the shop may sell the brand"),
        column("restricted", pa.bool_(), "sale needs a permission"),
        column("gmv_28d", pa.float64(), "US dollars sold in 28 days"),
        column("creators", pa.int64(), "creators who show it"),
    ]
)
MATURE_DAYS = 30  # after which no more refunds and complaints are expected
BANDS = (0.6, 1.5, 3.0)  # of how many times as many bad orders as usual a product has


def products(e: Evidence, clusters: pa.Table | None = None, learned: Learned | None = None) -> pa.Table:
    """:data:`PRODUCTS`: how likely contents that show a product are to violate a policy.

    Contents that show the product, each with its probability, are weighed against those of such products: of the
    market and category, with the brand authorised or not, restricted or not, and with as many bad orders. Bad orders
    of the last weeks are not all known yet; orders count by the share that is known at their age.
    """
    learned = learned or learn(e, NOBODY if clusters is None else clusters)
    rows = e.query(_PRODUCTS.replace("$now", f"TIMESTAMP '{e.now}'"), arrived=_arrived(e), rows=_shown(learned))
    number = {name: numbers(rows, name) for name in ("bad", "known", "shown", "expected", "now_shown", "now_expected")}
    place = [codes(rows, *names) for names in (("market",), ("category",), ("market", "category"))]
    kinds = [codes(rows, name) for name in ("brand_authorised", "restricted")]
    bad, usual = shrinkage.gamma_poisson(number["bad"], number["known"], place)
    band = np.digitize(bad.mean / usual, BANDS).astype(np.int64)
    # Cohorts and their spread are learned without decay, as creators' are.
    cohort = shrinkage.pooled_rates(number["expected"], number["shown"], [*place, *kinds, band])
    cohort = np.clip(cohort, LEAST, MOST)
    strength = shrinkage.fit_strengths(number["expected"], number["shown"], cohort)[0]
    a = cohort * strength + number["now_expected"]
    b = (1.0 - cohort) * strength + number["now_shown"] - number["now_expected"]
    return table_of(PRODUCTS, rows, {"probability": a / (a + b), "shape_a": a, "shape_b": b, "cohort_mean": cohort})


def _arrived(e: Evidence) -> pa.Table:
    """Share of bad orders that is known to be bad, by days since the order: ``age`` and ``share``."""
    by_age = e.query(
        f"""
        SELECT least(date_diff('day', placed_at, TIMESTAMP '{e.now}'), {MATURE_DAYS}) AS age, count(*) AS orders,
            count(*) FILTER (bad) AS bad
        FROM orders GROUP BY age ORDER BY age
        """
    )
    age, orders, bad = (by_age[c].to_numpy() for c in ("age", "orders", "bad"))
    share = np.ones(len(age))
    if len(age) and age[-1] == MATURE_DAYS and bad[-1] > 0:
        rising = isotonic_regression(bad / orders, weights=orders).x
        share = np.clip(rising / rising[-1], 0.02, 1.0)
    return pa.table({"age": age, "share": share})


def _shown(learned: Learned) -> pa.Table:
    """Contents with the products they show."""
    columns = ("content_id", "creator_id", "product_ids", "violation")
    added = {"weight": learned.weight, "probability": learned.probability}
    return pa.table({c: learned.rows[c] for c in columns} | {k: pa.array(v) for k, v in added.items()})


_PRODUCTS = f"""
WITH ordered AS (
    SELECT product_id, count(*) AS orders, count(*) FILTER (bad) AS bad, sum(share) AS known,
        greatest(sum(gmv) FILTER (placed_at >= $now - INTERVAL 28 DAY), 0) AS gmv_28d
    FROM orders JOIN arrived ON age = least(date_diff('day', placed_at, $now), {MATURE_DAYS}) GROUP BY product_id
), each AS (
    SELECT unnest(string_split(product_ids, ',')) AS product_id, * EXCLUDE product_ids FROM rows
    WHERE product_ids IS NOT NULL AND product_ids <> ''
), showing AS (
    SELECT product_id, count(*) AS shown, sum(probability) AS expected, sum(weight) AS now_shown,
        sum(weight * probability) AS now_expected, count(*) FILTER (violation) AS violations,
        count(DISTINCT creator_id) AS creators
    FROM each GROUP BY product_id
)
SELECT p.*, coalesce(orders, 0) AS orders, coalesce(bad, 0) AS bad, coalesce(known, 0) AS known,
    coalesce(gmv_28d, 0) AS gmv_28d, coalesce(shown, 0) AS shown, coalesce(expected, 0) AS expected,
    coalesce(now_shown, 0) AS now_shown, coalesce(now_expected, 0) AS now_expected,
    coalesce(violations, 0) AS violations, coalesce(creators, 0) AS creators
FROM products p LEFT JOIN ordered USING (product_id) LEFT JOIN showing USING (product_id)
WHERE orders > 0 OR shown > 0 ORDER BY product_id"""
