"""Numbers and incidents in words a colleague would use. Everything people read comes from here."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.incidents.model import Explanation, Incident, Member
from health_pipeline.stats.attribution import Estimate

FINDINGS = {
    "missing": ("has delivered nothing", "delivered nothing"),
    "empty": ("has delivered next to nothing", "delivered next to nothing"),
    "partial": ("has delivered only part of its data", "delivered only part of its data"),
    "settling": ("is settling after a backlog", "delivered late, with a backlog"),
    "backlog": ("is catching up on a backlog", "delivered late, with a backlog"),
}
"""What a hole in the data is called while it lasts, and afterwards."""


SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3_600.0, "days": 86_400.0}
"""Units of time in which a metric may be declared."""

MOSTLY = 0.75

UNKNOWN = "unknown"

LARGEST_FACTOR = 10_000
"""Beyond it a factor only says that next to nothing was expected."""


def day(date: dt.date) -> str:
    """``1 July 2025``."""
    return f"{date.day} {date:%B %Y}"


def number(value: float) -> str:
    """A count as people say it: ``2.9 M``, ``41.0 k``, ``312``, ``0.4``."""
    if abs(value) >= 9_999.5:
        value = float(f"{value:.3g}")  # 999,999 is 1.0 M, not 1000 k
    size = abs(value)
    for limit, unit, suffix in ((1e9, 1e9, " bn"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if size >= limit:
            return f"{value / unit:.0f}{suffix}" if size >= 100 * unit else f"{value / unit:.1f}{suffix}"
    return f"{value:,.0f}" if size >= 10 or size < 0.05 or value == int(value) else f"{value:.1f}"


def measure(value: float) -> str:
    """A rate, ratio or mean with three significant digits: ``0.0123``, ``4.52``, ``312``, ``41.0 k``."""
    return number(value) if abs(value) >= 1_000 else f"{float(f'{value:.3g}'):,g}"


def share(value: float) -> str:
    """A share with about two significant digits: ``0.42 %``, ``41 %``, ``99.7 %``, ``8 per million``."""
    percent = 100 * value
    if percent <= 0 or percent >= 99.9995:
        return "0 %" if percent <= 0 else "100 %"
    if percent < 0.01:
        return f"{1e6 * value:.0f} per million" if value >= 1e-6 else "less than 1 per million"
    edge = min(percent, 100 - percent)
    digits = 0 if edge >= 10 else 1 if edge >= 1 else 2 if edge >= 0.1 else 3
    return f"{percent:.{digits}f} %"


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``5.2 h``, ``14 days``."""
    for limit, unit, name in ((172_800, 86_400, "days"), (5_400, 3_600, "h"), (90, 60, "min")):
        if seconds >= limit:
            scaled = seconds / unit
            return f"{scaled:.0f} {name}" if scaled >= 10 else f"{scaled:.1f} {name}"
    return f"{seconds:.0f} s"


def value(metric: Metric, amount: float) -> str:
    """A value of a metric in its own unit; ``unknown`` when it is not finite."""
    if not math.isfinite(amount):
        return UNKNOWN
    if metric.is_share:
        return share(amount)
    if metric.unit in SECONDS:
        return duration(amount * SECONDS[metric.unit])
    return number(amount) if metric.type == "count" else measure(amount * metric.per)


def change(relative: float) -> str:
    """A relative change: ``+52 %``, ``−48 %``, and as a factor from a doubling up: ``×6.1``, ``×310``."""
    if math.isnan(relative):
        return UNKNOWN
    if relative >= 1:
        factor = 1 + relative
        if factor >= LARGEST_FACTOR:
            return f"more than ×{LARGEST_FACTOR:,}"
        return f"×{number(factor)}" if factor >= 10 else f"×{factor:.1f}"
    percent = 100 * relative
    if abs(percent) < 0.05:
        return "+0 %"
    digits = 0 if abs(percent) >= 1 else 1
    return f"{percent:+.{digits}f} %".replace("-", "−")


def interval(low: float, high: float) -> str:
    """``95 % CI +37 % to +68 %``."""
    if math.isnan(low) or math.isnan(high):
        return "interval not known"
    return f"95 % CI {change(low)} to {change(high)}"


def segment(catalog: Catalog, segment_id: str) -> dict[str, str]:
    """``platform=TikTok|category=STATEMENT_CATEGORY_SELF_HARM`` as dimension -> label."""
    pairs = (part.split("=", 1) for part in segment_id.split("|") if part)
    return {name: catalog.dimension(name).label(raw) for name, raw in pairs}


def subject(catalog: Catalog, metric: Metric, segment_id: str) -> str:
    """What a series measures: ``TikTok: statements for Self harm``, ``Beauty in Indonesia: overturn rate``."""
    return f"{place(catalog, metric, segment_id)}: {measured(catalog, metric, segment_id)}"


def measured(catalog: Catalog, metric: Metric, segment_id: str) -> str:
    """What is measured, without where: ``statements for Self harm``, ``overturn rate``."""
    phrase = metric.phrase or metric.title[0].lower() + metric.title[1:]
    return phrase.format(**segment(catalog, segment_id))


def place(catalog: Catalog, metric: Metric, segment_id: str) -> str:
    """Where a series is measured: ``TikTok``, ``All markets``, ``Beauty in Indonesia``, ``Counterfeit in all markets``.

    What the metric's own phrase says already is left out.
    """
    labels = segment(catalog, segment_id)
    whole = labels.get(catalog.unit) or unit(catalog, EVERY_UNIT)
    told = set(metric.by or ())
    others = [label for name, label in labels.items() if name != catalog.unit and name not in told]
    if not others:
        return whole
    said = ", ".join(others)
    where = whole if catalog.unit in labels else _lower_first(whole)
    return f"{said[:1].upper()}{said[1:]} in {where}"


def unit(catalog: Catalog, value: str) -> str:
    """A unit as people know it: ``Indonesia``, or ``All markets``."""
    dimension = catalog.dimension(catalog.unit)
    return f"All {plural(dimension.title.lower())}" if value == EVERY_UNIT else dimension.label(value)


def plural(noun: str) -> str:
    """``platforms``, ``countries``, ``branches``: the regular English plural."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


def count(number: int, noun: str) -> str:
    """``1 day``, ``1,250 days``."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def supplier(catalog: Catalog, unit_value: str, table: str) -> str:
    """What delivers: ``TikTok``, or ``Vietnam (content statistics)`` where there are several tables."""
    name = unit(catalog, unit_value)
    if len(catalog.tables) == 1:
        return name
    title = catalog.table(table).title
    return f"{name} ({title[0].lower() + title[1:]})"


def title(catalog: Catalog, incident: Incident) -> str:
    """A headline of a few words: ``Beauty in Indonesia: overturn rate up ×3.1``.

    Where nearly all of a change comes from one part of the segment, the part is named: ``Counterfeit in all markets,
    nearly all in Indonesia``.
    """
    if incident.kind == "data":
        said = FINDINGS[incident.shape][0 if incident.is_open else 1]
        return f"{supplier(catalog, incident.unit, incident.table)} {said}"
    return f"{about(catalog, incident)} {moved(incident)}"


def about(catalog: Catalog, incident: Incident) -> str:
    """What an incident of kind ``shift`` is about, without how far it moved."""
    metric = catalog.metric(incident.metric)
    where = place(catalog, metric, incident.segment)
    focus = concentrated(catalog, incident)
    if focus:
        where += f", nearly all in {focus}"
    return f"{where}: {measured(catalog, metric, incident.segment)}"


def moved(incident: Incident) -> str:
    """``up 52 %``, ``down 48 %``, ``up ×6.1``; of a slope ``rising, 52 % so far``."""
    size = change(incident.change).lstrip("+−")
    if incident.shape == "slope":
        return f"{'rising' if incident.direction == 'up' else 'falling'}, {size} so far"
    return f"{incident.direction} {size}"


def concentrated(catalog: Catalog, incident: Incident) -> str:
    """The one part of the root's segment that carries nearly all of its change, as a label; "" when none does."""
    told = incident.explanation
    if told is None or told.segment != incident.segment or not told.parts or not told.is_concentrated:
        return ""
    return part_label(catalog, told, told.parts[0].segment)


def part_label(catalog: Catalog, told: Explanation, segment_id: str) -> str:
    """A part of an explained segment, by the value that sets it apart: ``Indonesia``, ``beauty``."""
    return segment(catalog, segment_id).get(told.dimension, "the rest")


def explanation(catalog: Catalog, incident: Incident) -> list[str]:
    """Where a change comes from, in sentences; empty when it can't be split.

    ``Mostly rate: +2.1 points of +2.4 (95 % CI +1.8 to +2.4); mix +0.3. By market: Indonesia +1.9 (+1.6 to +2.2), …``
    """
    told = incident.explanation
    if told is None:
        return []
    metric = catalog.metric(incident.metric)
    said = []
    if told.rate is not None and told.mix is not None:
        first, second = ("rate", "mix") if abs(told.rate.value) >= abs(told.mix.value) else ("mix", "rate")
        parts = {"rate": told.rate, "mix": told.mix}
        mostly = abs(parts[first].value) >= MOSTLY * abs(told.total.value)
        said.append(
            f"{'Mostly' if mostly else 'More'} {first}: {difference(metric, parts[first].value, unit=False)} of "
            f"{difference(metric, told.total.value)} ({_between(metric, parts[first])}); {second} "
            f"{difference(metric, parts[second].value, unit=False)} ({_between(metric, parts[second])})."
        )
    shown = [p for n, p in enumerate(told.parts) if n == 0 or p.total.low * p.total.high > 0]
    if shown:
        shares = ", ".join(
            f"{part_label(catalog, told, p.segment)} {difference(metric, p.total.value, unit=False)} "
            f"({_between(metric, p.total)})"
            for p in shown
        )
        of = "in all" + ("" if told.segment == incident.segment else f" of {_whole(catalog, metric, told.segment)}")
        by = catalog.dimension(told.dimension).title
        said.append(f"By {_lower_first(by)}, {difference(metric, told.total.value)} {of}: {shares}.")
    return said


def _whole(catalog: Catalog, metric: Metric, segment_id: str) -> str:
    """A segment inside a sentence: ``all markets``, ``Indonesia``."""
    where = place(catalog, metric, segment_id)
    return _lower_first(where) if where.startswith("All ") else where


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _between(metric: Metric, told: Estimate) -> str:
    low, high = (difference(metric, end, unit=False) for end in (told.low, told.high))
    return f"95 % CI {low} to {high}"


def difference(metric: Metric, amount: float, unit: bool = True) -> str:
    """A difference in a metric's own unit, with its sign: ``+2.1 points``, ``−312``, ``+7.0 min``.

    Args:
        unit: whether ``points`` of a share is said.
    """
    sign, size = "−" if amount < 0 else "+", abs(amount)
    if metric.is_share:
        points = f"{sign}{float(f'{100 * size:.2g}'):g}"
        return f"{points} {'point' if points[1:] == '1' else 'points'}" if unit else points
    return f"{sign}{value(metric, size)}"


def reach(catalog: Catalog, incident: Incident) -> str:
    """The blast radius: ``11 segments and 5 metrics of Indonesia; 12 % of Indonesia by volume``."""
    return "; ".join(part for part in (spread(catalog, incident), exposure(catalog, incident)) if part)


def spread(catalog: Catalog, incident: Incident) -> str:
    """How many series moved, and where: ``11 segments and 5 metrics of Indonesia``; "" when none is under way."""
    found = incident.reach
    if not found.segments:
        return ""
    named = [unit(catalog, u) for u in found.units if u != EVERY_UNIT]
    units = ""
    if named:
        shown = named if len(named) <= 3 else [*named[:2], f"{len(named) - 2} more"]
        units = f" of {shown[0]}" if len(shown) == 1 else f" of {', '.join(shown[:-1])} and {shown[-1]}"
    return f"{count(found.segments, 'segment')} and {count(found.metrics, 'metric')}{units}"


def exposure(catalog: Catalog, incident: Incident) -> str:
    """How much of the whole the root's segment is: ``12 % of Indonesia by volume``; "" when that is not known."""
    found = incident.reach
    if not found.segments or found.share is None or incident.segment == found.share_of:
        return ""
    return f"{percent(found.share)} of {_whole(catalog, catalog.metric(incident.metric), found.share_of)} by volume"


def percent(part: float) -> str:
    """A part of something, in per cent: ``91 %``, ``0.4 %``."""
    return f"{100 * part:.0f} %" if part >= 0.0995 else f"{float(f'{100 * part:.2g}'):g} %"


def sentence(catalog: Catalog, incident: Incident) -> str:
    """What happened, as one sentence with size, interval and onset."""
    if incident.kind == "data":
        during, after = FINDINGS[incident.shape]
        who = supplier(catalog, incident.unit, incident.table)
        judged = "Its metrics are not judged on these days."
        if incident.is_open:
            days = (incident.day - incident.onset).days + 1
            count = "1 day" if days == 1 else f"{days} days"
            return f"{who} {during} since {day(incident.onset)}, {count} so far. {judged}"
        if incident.state == "settled":
            return f"{who} has delivered nothing since {day(incident.onset)} and is not expected any more."
        when = f"on {day(incident.onset)}"
        if incident.last_reported > incident.onset:
            when = f"from {day(incident.onset)} to {day(incident.last_reported)}"
        return f"{who} {after} {when}. {judged.replace('are', 'were').replace('these', 'those')}"
    metric = catalog.metric(incident.metric)
    verb = "rose" if incident.direction == "up" else "fell"
    per_day = " a day" if metric.type == "count" else ""
    when = f"since {day(incident.onset)}"
    if incident.state == "retracted":
        what = subject(catalog, metric, incident.segment)
        return f"Withdrawn: the data as they are now no longer show that this {verb} on {day(incident.onset)}: {what}."
    if incident.state == "recovered":
        when = f"on {day(incident.onset)}"
        if incident.headline_reported > incident.onset:
            when = f"from {day(incident.onset)} to {day(incident.headline_reported)}"
    elif incident.state == "settled":
        when = f"since {day(incident.onset)}, and that is now the usual level"
    elif incident.shape == "spike":
        when = f"on {day(incident.onset)}"
    return (
        f"{subject(catalog, metric, incident.segment)} {verb} from "
        f"{value(metric, incident.expected)} to {value(metric, incident.observed)}{per_day} "
        f"({change(incident.change)}, {interval(incident.change_low, incident.change_high)}) {when}."
    )


def member(catalog: Catalog, item: Member, among: Sequence[Member] = ()) -> str:
    """One contributing shift in a line; with its onset, where another one ``among`` them is of the same series."""
    metric = catalog.metric(item.metric)
    return (
        f"{subject(catalog, metric, item.segment)} "
        f"{value(metric, item.expected)} → {value(metric, item.observed)} "
        f"({change(item.change)}, {interval(item.low, item.high)}){onset(item, among)}"
    )


def onset(item: Member, among: Sequence[Member]) -> str:
    """``, onset 9 September 2025`` of one of several shifts of one series, which may go either way; "" of others."""
    return f", onset {day(item.onset)}" if sum(m.series == item.series for m in among) > 1 else ""
