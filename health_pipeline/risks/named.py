"""Policies that were named, and what share each usually has of the violations of a cohort."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from health_pipeline.risks.columns import Codes, codes
from health_pipeline.risks.evidence import Evidence
from health_pipeline.stats import shrinkage
from health_pipeline.stats.arrays import Array


def named_policies(e: Evidence) -> list[str]:
    """Policies that decisions or raters named."""
    found = e.query(
        """
        SELECT policy FROM (SELECT policy FROM labels UNION SELECT policy FROM samples)
        WHERE policy IS NOT NULL ORDER BY policy
        """
    )
    return found["policy"].to_pylist() or [""]


def usual_shares(rows: pa.Table, named: Codes, count: Array, policies: int) -> Array:
    """(N, P) shares of policies among the usual violations of each content's cohort.

    Args:
        named: (N,) number of the policy that was named, or -1.
        count: (N,) usual violations.
    """
    counts, known = np.zeros((len(named), policies)), np.flatnonzero(named >= 0)
    counts[known, named[known]] = count[known]
    shares = np.tile((counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * policies), (len(named), 1))
    for level in (("kind",), ("category", "kind"), ("market", "category", "kind")):
        shares = _pool(counts, shares, codes(rows, *level))
    return shares


def positions(column_: pa.ChunkedArray, names: list[str]) -> Codes:
    """Of values among names; -1 for those that are not."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in column_.to_pylist()], np.int64)


def summed(values: Array, groups: Codes) -> Array:
    """(groups, P) sums of the rows of (N, P) values."""
    count = int(groups.max(initial=-1)) + 1
    return np.stack([np.bincount(groups, of_kind, count) for of_kind in values.T], axis=1).astype(float)


def mean_of(values: Array, groups: Codes) -> Array:
    return summed(values, groups) / np.bincount(groups)[:, None]


def _pool(count: Array, shares: Array, groups: Codes) -> Array:
    """Shares of each row's group, drawn to ``shares`` of its rows."""
    return shrinkage.pooled_shares(summed(count, groups), mean_of(shares, groups))[groups]
