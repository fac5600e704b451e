"""Prevalence: which share of all views is of content that violates a policy, from draws that were labelled.

Views are drawn in two arms: *weighted*, with chances proportional to a model's score, which meets violations often; and
*uniform*, which owes the model nothing. Estimates use both and the uniform arm's own stands beside them; where the two
disagree, the chances are not what was logged.

**Which days.** Labels take days, and of a day without labels nothing is known: if it counted as one of the 28, the
estimate would be of 27 and its interval would be about something else. So the 28 days end with the newest of which
``LEAST_LABELLED`` is labelled in each arm, at most ``LAG_DAYS`` before the last.

**Draws without a label.** A draw's chance is multiplied by the share of its arm's draws of its day that have a label,
as if labelling had been a second draw: it must not depend on the content. Days within the 28 of which less than
``LEAST_LABELLED`` is labelled count for less than their views, rather than for the few draws there are.

**Both arms as one sample.** A view that could have been drawn in either arm stands for 1 / (sum of its chances) views
(:mod:`health_pipeline.stats.hajek`). Where the chance in the other arm was not logged with the draw it is inferred: in
the uniform arm it is the day's; in the weighted arm it is proportional to the content's score, down to a floor. That is
not taken on trust: the weighted arm's own draws must show it (``SAME``). If they do not, or a content's score is not
known, the arms are averaged instead.

What raters would label is estimated: their own errors are not corrected. Scores only spread the draws; they are no
labels.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from health_pipeline.catalog.roles import SAMPLED_DAYS
from health_pipeline.risks.columns import coded, numbers
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.schema import PREVALENCE
from health_pipeline.stats.arrays import Array
from health_pipeline.stats.hajek import Sums, agreement, composite, shares

WINDOW_DAYS = 28
LAG_DAYS = SAMPLED_DAYS - WINDOW_DAYS
LEAST_LABELLED = 0.25
SAME = 0.01
"""A logged chance may differ by so much from the one that follows from the score."""
SURE = 0.01
"""The arms disagree at this two-sided p-value."""

CUTS: tuple[tuple[bool, bool], ...] = ((False, False), (True, False), (False, True), (True, True))
"""By market, by kind. Policies are told apart within all of them but the finest."""


@dataclass(frozen=True)
class Draws:
    """Draws of the window, labelled or not.

    Attributes:
        uniform: (n,) of the uniform arm; else of the weighted.
        day: (n,) days before the last of the window, from 0.
        chance: (n,) expected number of draws of the view in its arm.
        other: (n,) the same in the other arm, as logged; NaN where it was not.
        score: (n,) of the content; NaN where not known.
        labelled, violation: (n,).
        market, kind, policy: (n,) codes; policy of a violation, −1 for none.
    """

    uniform: NDArray[np.bool_]
    day: NDArray[np.int64]
    chance: Array
    other: Array
    score: Array
    labelled: NDArray[np.bool_]
    violation: NDArray[np.bool_]
    market: NDArray[np.int64]
    kind: NDArray[np.int64]
    policy: NDArray[np.int64]


def prevalence(e: Evidence) -> pa.Table:
    """Rows of :data:`PREVALENCE` of the 28 days that end with the newest labelled one: total, by market, kind and both,
    and by policy in all, each market and each kind. No rows without a labelled draw. A draw whose chance was not logged
    stands for nobody knows how many views: it is left out."""
    first = e.day - dt.timedelta(days=SAMPLED_DAYS - 1)
    draws = e.query(
        f"""
        SELECT s.draw_id, s.arm, s.drawn_at, s.draw_probability, s.other_probability, s.market, s.kind, s.violation,
            s.policy, c.model_score
        FROM samples s LEFT JOIN (
            SELECT content_id, any_value(model_score) AS model_score FROM contents GROUP BY content_id
        ) c USING (content_id)
        WHERE s.arm <> 'decisions' AND s.drawn_at >= TIMESTAMP '{first}' AND s.drawn_at < TIMESTAMP '{e.now}'
            AND s.draw_probability > 0
        ORDER BY s.draw_id
        """
    )
    known = e.query(
        "SELECT DISTINCT policy FROM (SELECT policy FROM labels UNION SELECT policy FROM samples) "
        "WHERE policy <> '' ORDER BY policy"
    )
    return estimates(draws, known["policy"].to_pylist(), e.day)


def estimates(draws: pa.Table, policies: Sequence[str], day: dt.date) -> pa.Table:
    """The same from draws.

    Args:
        draws: arm, drawn_at, draw_probability, other_probability (may be left out), market, kind, violation (null: not
            labelled), policy, model_score.
        policies: to be told apart; of one that was never met there is still an upper bound to tell.
        day: the last day known. Draws of days that are not in the window are left out.
    """
    drawn = draws["drawn_at"].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.int32()).to_numpy()
    age = (day - dt.date(1970, 1, 1)).days - drawn.astype(np.int64)
    lag = days_waiting(
        age, np.array(draws["arm"].to_pylist(), dtype=object) == "uniform", ~draws["violation"].is_null().to_numpy()
    )
    inside = (age >= lag) & (age < lag + WINDOW_DAYS)
    draws, age = draws.filter(pa.array(inside)), age[inside] - lag
    market, markets = coded(draws["market"])
    kind, kinds = coded(draws["kind"])
    number = {name: i for i, name in enumerate(policies)}
    violation = draws["violation"].fill_null(False).to_numpy().astype(np.bool_)
    policy = np.array([number.get(p, -1) for p in draws["policy"].to_pylist()], dtype=np.int64)
    logged = "other_probability" in draws.schema.names
    sample = Draws(
        uniform=np.array(draws["arm"].to_pylist(), dtype=object) == "uniform",
        day=age,
        chance=draws["draw_probability"].to_numpy().astype(float),
        other=numbers(draws, "other_probability") if logged else np.full(draws.num_rows, np.nan),
        score=draws["model_score"].cast(pa.float64()).to_numpy(zero_copy_only=False),
        labelled=~draws["violation"].is_null().to_numpy(),
        violation=violation,
        market=market,
        kind=kind,
        policy=np.where(violation, policy, -1),
    )
    if not sample.labelled.any():
        return PREVALENCE.empty_table()
    until = day - dt.timedelta(days=lag)
    return _table(sample, markets.to_pylist(), kinds.to_pylist(), policies, day, until)


def days_waiting(age: NDArray[np.int64], uniform: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> int:
    """How many days before the last the window ends.

    Args:
        age: (n,) days before the last that it was drawn.
        uniform, labelled: (n,) as in :class:`Draws`.

    Returns:
        age of the newest day of which ``LEAST_LABELLED`` is labelled in each arm that drew; if there is none, of the
        newest with a label at all; ``LAG_DAYS`` if they are older.
    """
    drawn, seen = np.zeros((2, LAG_DAYS + 1)), np.zeros((2, LAG_DAYS + 1))
    recent = (age >= 0) & (age <= LAG_DAYS)
    np.add.at(drawn, (uniform[recent].astype(np.int64), age[recent]), 1)
    np.add.at(seen, (uniform[recent].astype(np.int64), age[recent]), labelled[recent])
    enough = (seen >= LEAST_LABELLED * drawn).all(axis=0) & (drawn.sum(axis=0) > 0)
    for good in (enough, seen.sum(axis=0) > 0):
        if good.any():
            return int(np.argmax(good))
    return LAG_DAYS


def _table(
    sample: Draws, markets: Sequence[str], kinds: Sequence[str], policies: Sequence[str], day: dt.date, until: dt.date
) -> pa.Table:
    own, both, as_one = chances(sample)
    arms = (sample.labelled, sample.labelled & ~sample.uniform, sample.labelled & sample.uniform)
    whole = [Sums.of(chance[arm], sample.violation[arm])[0] for arm, chance in zip(arms, (both, own, own), strict=True)]
    parts: list[pa.Table] = []
    for by_market, by_kind in CUTS:
        groups = (len(markets) if by_market else 1) * (len(kinds) if by_kind else 1)
        group = (sample.market if by_market else 0) * (len(kinds) if by_kind else 1) + (sample.kind if by_kind else 0)
        cell = np.broadcast_to(group, sample.day.shape)
        split = () if by_market and by_kind else policies
        names = [
            (markets[g // (len(kinds) if by_kind else 1)] if by_market else "",
             kinds[g % len(kinds)] if by_kind else "", policy)
            for policy in ("", *split) for g in range(groups)
        ]  # fmt: skip
        sums = [
            _cells(chance[arm], sample.violation[arm], cell[arm], groups, sample.policy[arm], len(split))
            for arm, chance in zip(arms, (both, own, own), strict=True)
        ]
        parts.append(_rows(names, sums, whole, day, until, as_one))
    return pa.concat_tables(parts)


def _cells(
    chance: Array, violation: NDArray[np.bool_], cell: NDArray[np.int64], cells: int, policy: NDArray[np.int64],
    policies: int,
) -> Sums:  # fmt: skip
    """Sums of every cell, and after them of every policy in every cell."""
    whole = Sums.of(chance, violation, cell, cells)
    if not policies:
        return whole
    met = np.where(policy >= 0, policy * cells + cell, -1)
    every = whole[np.tile(np.arange(cells), policies + 1)]
    split = Sums.of(chance, violation, met, policies * cells)
    return every.counting(whole.followed_by(split))


def _rows(
    names: Sequence[tuple[str, str, str]], sums: Sequence[Sums], whole: Sequence[Sums], day: dt.date, until: dt.date,
    as_one: float,
) -> pa.Table:  # fmt: skip
    both, weighted, uniform = (shares(s, w) for s, w in zip(sums, whole, strict=True))
    compared = agreement(weighted, uniform)
    there = sums[0].draws > 0
    values = {
        "day": [day] * len(names), "until": [until] * len(names),
        "market": [m for m, _, _ in names], "kind": [k for _, k, _ in names], "policy": [p for _, _, p in names],
        "estimate": both.estimate, "low": both.low, "high": both.high,
        "draws": sums[0].draws.astype(np.int64), "effective": both.effective,
        "positives": sums[0].positives.astype(np.int64), "uniform_draws": sums[2].draws.astype(np.int64),
        "uniform_estimate": uniform.estimate, "uniform_low": uniform.low, "uniform_high": uniform.high,
        "p_value": compared.p_value, "agrees": pa.array(compared.p_value > SURE, mask=np.isnan(compared.p_value)),
        "as_one": np.full(len(names), as_one),
    }  # fmt: skip
    columns = [pa.array(values[f.name], f.type, from_pandas=True) for f in PREVALENCE]
    return pa.table(columns, schema=PREVALENCE).filter(pa.array(there))


def chances(sample: Draws) -> tuple[Array, Array, float]:
    """What each draw was expected to be drawn and labelled: in its own arm, and in both together; and the share of
    labelled draws for which the latter is known. The others' is their own over their arm's part in the average."""
    days = int(sample.day.max()) + 1
    seen = np.zeros((2, days))
    for arm in (0, 1):
        mine = sample.uniform == bool(arm)
        drawn = np.bincount(sample.day[mine], minlength=days)
        labelled = np.bincount(sample.day[mine & sample.labelled], minlength=days)
        seen[arm] = np.where(labelled > 0, np.maximum(labelled / np.maximum(drawn, 1), LEAST_LABELLED), 0.0)
    here = sample.uniform.astype(np.int64)
    own = sample.chance * np.where(sample.labelled, seen[here, sample.day], 1.0)
    parts = [
        Sums.of(own[arm], sample.violation[arm])[0]
        for arm in (sample.labelled & ~sample.uniform, sample.labelled & sample.uniform)
    ]
    _, weight = composite(*parts, *parts)
    with np.errstate(divide="ignore"):
        averaged = own / np.where(sample.uniform, 1.0 - weight, weight)
    inferred = other_chance(sample) if np.isnan(sample.other).any() else sample.other
    other = np.where(np.isnan(sample.other), inferred, sample.other) * seen[1 - here, sample.day]
    known = ~np.isnan(other)
    both = np.where(known, own + np.nan_to_num(other), averaged)
    return own, both, float(known[sample.labelled].mean())


def other_chance(sample: Draws) -> Array:
    """(n,) expected number of draws of each view in the arm that it was not drawn in; NaN where it can't be told."""
    days = int(sample.day.max()) + 1
    flat, slope = np.zeros(days), np.zeros(days)
    has_score = ~np.isnan(sample.score)
    nowhere = np.full(len(sample.day), np.nan)
    weighted = ~sample.uniform & (sample.score > 0)
    for d in range(days):
        level = sample.chance[sample.uniform & (sample.day == d)]
        if len(level):
            flat[d] = np.median(level)
            if level.max() - level.min() > SAME * flat[d]:
                return nowhere
        mine = weighted & (sample.day == d)
        if mine.any():
            slope[d] = np.median(sample.chance[mine] / sample.score[mine])
        elif (~sample.uniform & (sample.day == d)).any():
            slope[d] = np.nan
    if not weighted.any():
        return nowhere
    at = slope[sample.day]
    floor = np.nanmin(sample.chance[weighted] / at[weighted])
    score = np.where(has_score, np.maximum(sample.score, floor), np.nan)
    told = np.minimum(at * score, 1.0)
    if not (np.abs(told[weighted] / sample.chance[weighted] - 1.0) <= SAME).all():
        return nowhere
    # A content without a score is averaged in both arms, or it would count twice.
    return np.where(has_score, np.where(sample.uniform, told, flat[sample.day]), np.nan)
