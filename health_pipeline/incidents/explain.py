"""Where a change comes from: which part of a segment, and whether its values changed or its make-up did.

The days since the onset are compared with what they were expected to be: per segment, the expected value of the
detector's band, and the amounts of the same weekdays of the four weeks before.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.incidents.model import Contribution, Explanation, Incident
from health_pipeline.incidents.segments import Conditions, conditions
from health_pipeline.stats.attribution import Amounts, count_change, mix_and_rate

BEFORE_DAYS = 28
AFTER_DAYS = 28  # of a change that has lasted longer, the newest days
SEEN_DAYS = 84  # days of the cube that are looked at; an onset further back keeps the explanation it has
COMPLETE = 0.9  # parts that make less of their whole are no partition of it
PARTS = 3
TINY = 1e-300

Array = NDArray[np.float64]
Days = Mapping[dt.date, Mapping[str, tuple[float, float]]]
"""Day -> segment -> numerator and denominator of one metric (denominator NaN for a count)."""
Expected = Mapping[dt.date, Mapping[str, float]]
"""Day of the value -> segment -> expected value of the band."""


@dataclass(frozen=True)
class _Amounts:
    """Mean amounts a day of some segments, before (as expected) and since the onset, and how much they scatter.

    Attributes:
        numerator, denominator: (2, segments): expected, observed.
        days: how many days each row is a mean of.
        scatter: variance over mean of a day's numerator and denominator.
    """

    segments: tuple[str, ...]
    numerator: Array
    denominator: Array
    days: tuple[int, int]
    scatter: tuple[float, float]


def explain(catalog: Catalog, incident: Incident, cube: Days, expected: Expected) -> Explanation | None:
    """Split the change of an incident's root over its parts; over the root and its like, when it has no parts.

    Args:
        cube: the root's metric, and those that are :func:`adding` up to it, of the last ``SEEN_DAYS`` days, but for
            days that were not delivered completely.
        expected: bands of these metrics.

    Returns:
        The split by the dimension that tells most; ``None`` for quantiles, when there is no complete split, or when too
        few days are known.
    """
    metric = catalog.metric(incident.metric)
    if metric.type == "quantile" or metric.over is not None:
        return None
    days = compared(incident, metric, sorted(cube))
    if days is None:
        return None
    root = conditions(incident.segment)
    cuts = [frozenset(cut) for m in (metric, *adding(catalog, metric)) for cut in catalog.cuts(m)]
    own = frozenset(c.split("=", 1)[0] for c in root)
    inside = [(incident.segment, next(iter(cut - own))) for cut in cuts if len(cut - own) == 1 and own < cut]
    around = [
        ("|".join(sorted(c for c in root if c.split("=", 1)[0] in cut)), next(iter(own - cut)))
        for cut in cuts
        if cut < own and len(own - cut) == 1
    ]
    found = _best(metric, inside, cube, expected, days)
    # A count has no mix to tell of: then its place among its like says more than parts that are all alike.
    if found is None or (metric.type == "count" and not found.is_concentrated):
        found = _best(metric, around, cube, expected, days) or found
    return found if found is not None and found.total.value * incident.change > 0 else None


def adding(catalog: Catalog, metric: Metric) -> list[Metric]:
    """Metrics whose segments are parts of a metric's."""
    return [m for m in catalog.metrics if m.adds_up_to == metric.name and m.type == metric.type == "count"]


def share_of_unit(catalog: Catalog, incident: Incident, cube: Days) -> tuple[float, str] | None:
    """What the root's segment makes of its unit's total, and which segment that total is.

    Of the denominator since the onset, or for a count of the amount before it.
    """
    metric = catalog.metric(incident.metric)
    total = "" if incident.unit == EVERY_UNIT else f"{catalog.unit}={incident.unit}"
    days = compared(incident, metric, sorted(cube))
    if days is None or conditions(total) == conditions(incident.segment):
        return None
    before, since = days
    place = 0 if metric.type == "count" else 1
    over = before if metric.type == "count" else since
    sums = {conditions(total): 0.0, conditions(incident.segment): 0.0}
    lengths = {len(total), len(incident.segment)}  # conditions may stand in another order
    for day in over:
        for segment, amounts in cube[day].items():
            if len(segment) in lengths and (where := conditions(segment)) in sums:
                sums[where] += amounts[place]
    whole, part = sums[conditions(total)], sums[conditions(incident.segment)]
    return (min(part / whole, 1.0), total) if whole > 0 and math.isfinite(part / whole) else None


def compared(
    incident: Incident, metric: Metric, known: Sequence[dt.date]
) -> tuple[list[dt.date], list[dt.date]] | None:
    """Days before and since the onset that are compared; ``None`` when the four weeks before are not known."""
    newest = incident.day - dt.timedelta(days=metric.horizon)
    first = incident.onset_low - dt.timedelta(days=BEFORE_DAYS)
    before = [d for d in known if first <= d < incident.onset_low]
    since = [d for d in known if incident.onset <= d <= newest][-AFTER_DAYS:]
    return (before, since) if len(before) >= BEFORE_DAYS // 2 and since else None


def _best(
    metric: Metric,
    splits: Sequence[tuple[str, str]],
    cube: Days,
    expected: Expected,
    days: tuple[list[dt.date], list[dt.date]],
) -> Explanation | None:
    """Of several splits the one in which the change lies most unlike the usual make-up."""
    told: list[tuple[float, str, Explanation]] = []
    for segment, dimension in splits:
        amounts = _amounts(metric, conditions(segment), dimension, cube, expected, days)
        if amounts is not None:
            explanation = _split(metric, segment, dimension, amounts, days[1])
            if explanation is not None:
                told.append((_unevenness(explanation), dimension, explanation))
    return min(told, key=lambda t: (-t[0], t[1]))[2] if told else None


def _unevenness(explanation: Explanation) -> float:
    """How far the largest part's share of the change is beyond what it makes of the whole anyway."""
    total = explanation.total.value
    return max((p.total.value / total - p.usual for p in explanation.parts), default=0.0) if total else 0.0


def _split(
    metric: Metric, segment: str, dimension: str, amounts: _Amounts, since: Sequence[dt.date]
) -> Explanation | None:
    """The exact split of :mod:`health_pipeline.stats.attribution`, its largest parts only."""
    count = metric.type == "count"
    if np.any(amounts.numerator < 0) or np.any(amounts.denominator < 0):
        return None  # what can be negative is no amount of anything
    sides = [
        Amounts.poisson(amounts.numerator[i], None if count else amounts.denominator[i], days, amounts.scatter)
        for i, days in enumerate(amounts.days)
    ]
    if not count and not all(amounts.denominator.sum(axis=1) > 0):
        return None
    split = count_change(*sides) if count else mix_and_rate(*sides)
    order = sorted(range(len(amounts.segments)), key=lambda i: (-abs(split.changes.value[i]), amounts.segments[i]))
    return Explanation(
        segment=segment, dimension=dimension, total=split.change, rate=split.rate, mix=split.mix,
        parts=tuple(
            Contribution(amounts.segments[i], split.changes[i], float(split.usual[i])) for i in order[:PARTS]
        ),
        first=since[0], last=since[-1],
    )  # fmt: skip


def _amounts(
    metric: Metric,
    whole: Conditions,
    dimension: str,
    cube: Days,
    expected: Expected,
    days: tuple[list[dt.date], list[dt.date]],
) -> _Amounts | None:
    """Amounts of the parts of a whole; ``None`` when they do not make it up."""
    wanted = {
        segment
        for day in (*days[0], *days[1])
        for segment in cube[day]
        if whole < conditions(segment)
        and len(conditions(segment)) == len(whole) + 1
        and next(iter(conditions(segment) - whole)).split("=", 1)[0] == dimension
    }
    if len(wanted) < 2:
        return None
    segments = tuple(sorted(wanted))
    nothing = (0.0, math.nan if metric.type == "count" else 0.0)
    totals = [_of(cube[day], whole) or nothing for day in (*days[0], *days[1])]
    values = np.array([[cube[day].get(s, nothing) for s in segments] for day in (*days[0], *days[1])])
    basis = 0 if metric.type == "count" else 1
    known = sum(t[basis] for t in totals)
    if not known or values[:, :, basis].sum() < COMPLETE * known:
        return None
    count = len(days[0])
    weekday = np.array([d.weekday() for d in (*days[0], *days[1])])
    usual = np.stack([values[:count][weekday[:count] == w].mean(axis=0) if (weekday[:count] == w).any()
                      else values[:count].mean(axis=0) for w in range(7)])  # fmt: skip
    numerator = np.stack([usual[weekday[count:], :, 0].mean(axis=0), values[count:, :, 0].mean(axis=0)])
    denominator = np.stack([usual[weekday[count:], :, 1].mean(axis=0), values[count:, :, 1].mean(axis=0)])
    for column, segment in enumerate(segments):
        told = [expected.get(day, {}).get(segment) for day in days[1]]
        if all(value is not None for value in told):
            of = usual[weekday[count:], column, 1] if metric.type != "count" else np.ones(len(days[1]))
            numerator[0, column] = float(np.mean(np.array(told, dtype=float) * of))
    return _Amounts(segments, numerator, denominator, (count, len(days[1])), _scatter(values[:count], usual, weekday))


def _scatter(values: Array, usual: Array, weekday: NDArray[np.int64]) -> tuple[float, float]:
    """Variance over mean of a day's numerator (given its denominator) and denominator, over all parts together.

    Args:
        values: (days, parts, 2) of the weeks before.
        usual: (7, parts, 2), means of the weekdays.
        weekday: of the days.
    """
    expected = usual[weekday[: len(values)]]
    freedom = len(values) / max(len(values) - 7, 1)
    given = np.isfinite(values[:, :, 1]).all()
    if given:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(expected[:, :, 1] > 0, values[:, :, 1] / expected[:, :, 1], 1.0)
        expected = np.stack([expected[:, :, 0] * ratio, expected[:, :, 1]], axis=2)
    found = []
    for i in (0, 1) if given else (0,):
        squares = np.sum((values[:, :, i] - expected[:, :, i]) ** 2)
        found.append(float(squares / max(np.sum(expected[:, :, i]), TINY)) * freedom)
    return found[0], found[-1]


def _of(day: Mapping[str, tuple[float, float]], where: Conditions) -> tuple[float, float] | None:
    return next((amounts for segment, amounts in day.items() if conditions(segment) == where), None)
