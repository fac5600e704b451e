"""Precision: how many of the actions of each rule, model and actor, and under each policy, were right.

Two sources tell, and both are late. A sample of the actions is **labelled** anew by raters: it says what share of them
is right. Actions are **reversed** on appeal: that says of every action, not of a sample, that someone objected and won.
Reversals are no precision (who does not appeal is not reversed), but they tell where the wrong ones are: so the
labelled sample is read apart among actions that were reversed and actions that stand, and the two readings are weighted
by how many actions there are of either (poststratification: Holt and Smith, *JRSS A* 142, 1979).

A name with few labels is drawn to its like: beta-binomial among the names of a kind, apart for the share reversed and
for what is wrong among reversed and among standing actions. There are a dozen names, so how alike they are is hardly
known, and that is part of the interval: mean and strength of the beta are averaged over their posterior, not fitted.
Actions count half after the review's half-life: the figure follows a rule that was changed. A label or a reversal that
arrives today is in tomorrow's table.

Actions on creators are not sampled and not counted here. Rules and models are judged by what they did themselves; what
people decided after one of them raised it is under the actor ``human``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.schema import PRECISION
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.hajek import Sums, interval

MATURE_DAYS = 30
"""Appeals are filed and decided within so many days."""

_ACTIONS = """
    SELECT decision_id, content_id, decided_at, reversed, actor, policy,
        CASE WHEN actor = 'rule' THEN rule END AS rule, CASE WHEN actor = 'model' THEN rule END AS model,
        (epoch(TIMESTAMP '{now}') - epoch(decided_at)) / 86400 AS age
    FROM labels WHERE (violation OR reversed) AND content_id IS NOT NULL AND decided_at IS NOT NULL
"""
_DRAWS = """
    SELECT a.*, s.draw_probability, s.violation FROM samples s JOIN ({actions}) a USING (content_id)
    WHERE s.arm = 'decisions' AND s.actioned AND s.violation IS NOT NULL AND s.draw_probability > 0
    QUALIFY row_number() OVER (
        PARTITION BY s.draw_id ORDER BY abs(epoch(a.decided_at) - epoch(s.drawn_at)), a.decision_id
    ) = 1
"""
SUBJECTS = ("actor", "model", "policy", "rule")


def precision(e: Evidence) -> pa.Table:
    """Rows of :data:`PRECISION` of every rule, model, actor and policy with an action in the review's memory."""
    actions = e.query(_ACTIONS.format(now=e.now) + " ORDER BY decision_id")
    draws = e.query(_DRAWS.format(actions=_ACTIONS.format(now=e.now)) + " ORDER BY s.draw_id")
    return pa.concat_tables([PRECISION.empty_table(), *(_of(subject, actions, draws, e) for subject in SUBJECTS)])


def _of(subject: str, actions: pa.Table, draws: pa.Table, e: Evidence) -> pa.Table:
    names = sorted({name for name in actions[subject].to_pylist() if name})
    number = {name: i for i, name in enumerate(names)}
    size = len(names)
    acted, drawn = (np.array([number.get(n, -1) for n in t[subject].to_pylist()], np.int64) for t in (actions, draws))
    age = actions["age"].to_numpy()
    old, gone = age >= MATURE_DAYS, _flags(actions["reversed"])
    mine = acted >= 0
    fresh = np.power(0.5, age / e.review.half_life_days)

    # Effective labelled draws, and wrong ones among them, of what stands (0) and what was reversed (1).
    wrong, gone_drawn = ~_flags(draws["violation"]), _flags(draws["reversed"])
    chance = draws["draw_probability"].to_numpy().astype(float) / np.power(
        0.5, draws["age"].to_numpy() / e.review.half_life_days
    )
    cell = np.where(drawn >= 0, drawn + size * gone_drawn, -1)
    sums = Sums.of(chance, wrong, cell, 2 * size)
    labelled = np.nan_to_num(sums.kish)
    share = np.nan_to_num(sums.share)
    standing, returned = (alike((share * labelled)[h], labelled[h]) for h in (slice(0, size), slice(size, 2 * size)))
    met = Sums.of(1.0 / fresh, gone, acted, size)
    part = alike(met.share * met.kish, met.kish)
    apart = returned.mean - standing.mean
    mean = 1.0 - standing.mean - part.mean * apart
    variance = (
        ((1.0 - part.mean) ** 2 + part.variance) * standing.variance
        + (part.mean**2 + part.variance) * returned.variance
        + part.variance * apart**2
    )
    strength = np.maximum(mean * (1.0 - mean) / np.maximum(variance, 1e-12) - 1.0, 1e-3)  # of a beta with these moments
    ends = (special.betaincinv(mean * strength, (1.0 - mean) * strength, tail) for tail in (0.025, 0.975))

    raw = Sums.of(chance, ~wrong, drawn, size)
    mature = np.bincount(acted[mine & old], minlength=size).astype(float)
    reversals = np.bincount(acted[mine & old & gone], minlength=size).astype(float)
    with np.errstate(invalid="ignore"):
        rate = reversals / mature
    low, high = interval(rate, mature)
    values = {
        "day": [e.day] * size, "subject": [subject] * size, "name": names,
        "decided": np.bincount(acted[mine], minlength=size), "labelled": raw.draws.astype(np.int64),
        "right": raw.positives.astype(np.int64), "raw": raw.share, "precision": mean,
        "low": next(ends), "high": next(ends), "mature": mature.astype(np.int64),
        "reversed": reversals.astype(np.int64), "reversal_rate": rate, "reversal_low": low, "reversal_high": high,
    }  # fmt: skip
    return pa.table([pa.array(values[f.name], f.type, from_pandas=True) for f in PRECISION], schema=PRECISION)


MEANS = special.betaincinv(0.5, 0.5, (np.arange(200) + 0.5) / 200)
STRENGTHS = np.geomspace(2.0, 500.0, 25)
"""Jeffreys's prior of the mean, and a uniform one of 1 / strength, the variance between names (A. Gelman, *Bayesian
Analysis* 1, 2006: one that is uniform in log strength takes few names for more alike than they are). No more than 500
labels are ever borrowed."""


class Told(NamedTuple):
    """Posterior moments, one per name."""

    mean: Array
    variance: Array


def alike(hits: Array, trials: Array) -> Told:
    """Probabilities of N names that are more or less alike: beta-binomial, averaged over its parameters' posterior.

    Args:
        hits, trials: (N,) may be fractional; names without trials are told what is usual.
    """
    mean, strength = (grid.ravel() for grid in np.meshgrid(MEANS, STRENGTHS, indexing="ij"))
    a, b = mean * strength, (1.0 - mean) * strength
    y, n = hits[:, None], trials[:, None]
    likelihood = (special.betaln(y + a, n - y + b) - special.betaln(a, b)).sum(axis=0)
    weight = special.softmax(likelihood - np.log(strength))  # the grid is even in log strength
    first = (y + a) / (n + strength)
    second = first * (y + a + 1.0) / (n + strength + 1.0)
    told = first @ weight
    return Told(told, second @ weight - told**2)


def _flags(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = values.to_numpy().astype(np.bool_)
    return flags
