"""Which policies are violated, where one is: by whom, and by what it is usual for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from health_pipeline.risks.columns import numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.named import mean_of, positions, summed
from health_pipeline.risks.rates import Learned
from health_pipeline.stats import shrinkage
from health_pipeline.stats.arrays import Array


@dataclass(frozen=True)
class Policies:
    """Which policy is violated, where one is.

    Attributes:
        names: of P policies.
        harm: (P,) of one view.
        severities: of the policies; empty where none is known.
        contents: (N, P) shares, by cohort, creator, and what the content itself shows.
        creators: (C, P) shares of violations to come.
        usual: (C, P) of those that no wave brings.
    """

    names: list[str]
    harm: Array
    severities: list[str]
    contents: Array
    creators: Array
    usual: Array

    def passed(self, passing: Mapping[str, float] | None = None) -> Array:
        """(P,) harm of a view that would be without moderation, where it lets shares of them through, by severity."""
        share = np.array([(passing or {}).get(severity, 1.0) for severity in self.severities])
        found: Array = self.harm * share
        return found

    @staticmethod
    def likeliest(names: list[str], shares: Array) -> pa.Array:
        return pa.array(names, pa.string()).take(pa.array(np.argmax(shares, axis=1)))


def policies(e: Evidence, learned: Learned) -> Policies:
    """Shares of policies among violations: a creator keeps to what they did before, beside what waves bring."""
    rows, n, names = learned.rows, learned.rows.num_rows, learned.policies
    found = e.query("SELECT policy, mode(severity) AS severity FROM labels WHERE policy IS NOT NULL GROUP BY policy")
    known = dict(zip(found["policy"].to_pylist(), found["severity"].to_pylist(), strict=True))
    weights, usual_harm = e.review.severity, float(np.mean(list(e.review.severity.values()) or [1.0]))
    severities = [known.get(name) or "" for name in names]
    harm = np.array([weights.get(s, usual_harm) for s in severities])
    at = positions(rows["policy"], names)
    sure = (at >= 0) & (learned.probability > 0.5)
    count, usual = np.zeros((n, len(names))), np.zeros((n, len(names)))
    count[sure, at[sure]] = (learned.weight * learned.probability)[sure]
    usual[sure, at[sure]] = (learned.weight * learned.ordinary)[sure]

    of_creator = mean_of(learned.shares, learned.creator)
    habit = shrinkage.pooled_shares(summed(usual, learned.creator), of_creator) / of_creator
    shares = learned.shares * habit[learned.creator]
    shares /= shares.sum(axis=1, keepdims=True)
    often = learned.factors.mean[learned.creator] * learned.usual_now.base
    own = summed(learned.weight[:, None] * (often[:, None] * shares + learned.wave_now), learned.creator)
    own /= own.sum(axis=1, keepdims=True)
    unwaved = summed((learned.weight * learned.usual_now.base)[:, None] * shares, learned.creator)
    unwaved /= unwaved.sum(axis=1, keepdims=True)
    shares = (learned.factor * learned.usual.base)[:, None] * shares + learned.wave
    shares /= shares.sum(axis=1, keepdims=True)
    # What the content itself shows: the policies reported, and whether it repeats another.
    reported = _reported(e, rows, names)
    right = float(np.sum(reported[sure, at[sure]])) + 8.0
    right = min(right / (float(np.sum(reported[sure])) + 10.0), 0.99)
    shares = shares * np.exp(np.log(right / (1.0 - right) * max(len(names) - 1, 1)) * np.minimum(reported, 5.0))
    repeats = numbers(rows, "near_duplicate") == 1
    among = (count[repeats].sum(axis=0) + 0.5) / (count.sum(axis=0) + 10.0)
    shares = np.where(repeats[:, None], shares * among, shares * (1.0 - among))
    return Policies(names, harm, severities, shares / shares.sum(axis=1, keepdims=True), own, unwaved)


def _reported(e: Evidence, rows: pa.Table, names: list[str]) -> Array:
    """(N, P) reports of each content that name each policy."""
    filed = e.query(
        "SELECT number, r.policy, count(*) AS reports FROM rows JOIN reports r USING (content_id) GROUP BY ALL",
        rows=pa.table({"content_id": rows["content_id"], "number": np.arange(rows.num_rows)}),
    )
    found, at = np.zeros((rows.num_rows, len(names))), positions(filed["policy"], names)
    known = at >= 0
    found[filed["number"].to_numpy()[known], at[known]] = filed["reports"].to_numpy()[known]
    return found
