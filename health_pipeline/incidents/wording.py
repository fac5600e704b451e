"""Numbers and incidents in words a colleague would use. Everything people read comes from here."""

from __future__ import annotations

import datetime as dt

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.incidents.model import Incident, Member

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
    """A value of a metric in its own unit."""
    if metric.is_share:
        return share(amount)
    if metric.unit in SECONDS:
        return duration(amount * SECONDS[metric.unit])
    return number(amount) if metric.type == "count" else measure(amount * metric.per)


def change(relative: float) -> str:
    """A relative change: ``+52 %``, ``−48 %``, and as a factor from a doubling up: ``×6.1``, ``×310``."""
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


def segment(catalog: Catalog, segment_id: str) -> dict[str, str]:
    """``platform=TikTok|category=STATEMENT_CATEGORY_SELF_HARM`` as dimension -> label."""
    pairs = (part.split("=", 1) for part in segment_id.split("|") if part)
    return {name: catalog.dimension(name).label(raw) for name, raw in pairs}


def subject(catalog: Catalog, metric: Metric, segment_id: str) -> str:
    """What a series measures, in words: ``TikTok: statements for Self harm``."""
    labels = segment(catalog, segment_id)
    phrase = metric.phrase or metric.title[0].lower() + metric.title[1:]
    said = phrase.format(**labels)
    if metric.by is None:
        others = [label for name, label in labels.items() if name != catalog.unit]
        said += f" in {', '.join(others)}" if others else ""
    return f"{labels.get(catalog.unit) or unit(catalog, EVERY_UNIT)}: {said}"


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


def supplier(catalog: Catalog, incident: Incident) -> str:
    """What did not deliver: ``TikTok``, or ``Vietnam (content statistics)`` where there are several tables."""
    name = unit(catalog, incident.unit)
    if len(catalog.tables) == 1:
        return name
    title = catalog.table(incident.table).title
    return f"{name} ({title[0].lower() + title[1:]})"


def title(catalog: Catalog, incident: Incident) -> str:
    """A headline of a few words: ``TikTok: statements filed −50 %``."""
    if incident.kind == "data":
        return f"{supplier(catalog, incident)} {FINDINGS[incident.shape][0 if incident.is_open else 1]}"
    what = subject(catalog, catalog.metric(incident.metric), incident.segment)
    return f"{what} {change(incident.change)}"


def sentence(catalog: Catalog, incident: Incident) -> str:
    """What happened, as one sentence with size, interval and onset."""
    if incident.kind == "data":
        during, after = FINDINGS[incident.shape]
        who = supplier(catalog, incident)
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
        f"({change(incident.change)}, 95 % CI {change(incident.change_low)} to {change(incident.change_high)}) {when}."
    )


def member(catalog: Catalog, item: Member) -> str:
    """One contributing shift in a line."""
    metric = catalog.metric(item.metric)
    return (
        f"{subject(catalog, metric, item.segment)} "
        f"{value(metric, item.expected)} → {value(metric, item.observed)} "
        f"({change(item.change)}, 95 % CI {change(item.low)} to {change(item.high)})"
    )
