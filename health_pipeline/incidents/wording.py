"""Numbers and incidents in words a colleague would use. Everything people read comes from here."""

from __future__ import annotations

import datetime as dt

from health_pipeline.catalog.model import Catalog, Metric
from health_pipeline.incidents.model import Incident, Member

FINDINGS = {
    "missing": "has delivered nothing",
    "empty": "has delivered next to nothing",
    "partial": "has delivered only part of its data",
    "backlog": "is delivering a backlog",
}


def day(date: dt.date) -> str:
    """``1 July 2025``."""
    return f"{date.day} {date:%B %Y}"


def number(value: float) -> str:
    """A count as people say it: ``2.9 M``, ``41 k``, ``312``."""
    size = abs(value)
    for limit, suffix in ((1e9, " bn"), (1e6, " M"), (1e4, " k")):
        if size >= limit:
            scaled = value / (1e3 if suffix == " k" else limit)
            return f"{scaled:.0f}{suffix}" if abs(scaled) >= 100 else f"{scaled:.1f}{suffix}"
    return f"{value:,.0f}" if size >= 10 or value == int(value) else f"{value:.1f}"


def share(value: float) -> str:
    """A share in per cent with about two significant digits: ``0.42 %``, ``41 %``, ``99.7 %``."""
    percent = 100 * value
    edge = min(percent, 100 - percent) if 0 <= percent <= 100 else percent
    digits = 0 if abs(edge) >= 10 else 1 if abs(edge) >= 1 else 2 if abs(edge) >= 0.1 else 3
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
    if metric.type == "proportion":
        return share(amount)
    if metric.unit == "seconds":
        return duration(amount)
    return number(amount)


def change(relative: float) -> str:
    """A relative change: ``+52 %``, ``−48 %``, ``×6.1`` from a doubling up."""
    if relative >= 1:
        factor = 1 + relative
        return f"×{factor:,.0f}" if factor >= 10 else f"×{factor:.1f}"
    percent = 100 * relative
    digits = 0 if abs(percent) >= 1 or percent == 0 else 1
    text = f"{percent:+.{digits}f} %"
    return text.replace("-", "−")


def segment(catalog: Catalog, segment_id: str) -> str:
    """``platform=TikTok|category=STATEMENT_CATEGORY_SELF_HARM`` as ``TikTok, Self harm``."""
    parts = []
    for part in filter(None, segment_id.split("|")):
        name, _, raw = part.partition("=")
        parts.append(catalog.dimension(name).label(raw))
    return ", ".join(parts)


def title(catalog: Catalog, incident: Incident) -> str:
    """A headline of a few words: ``TikTok: statements filed −50 %``."""
    if incident.kind == "data":
        return f"{incident.unit} {FINDINGS[incident.shape]}"
    metric = catalog.metric(incident.metric)
    where = segment(catalog, incident.segment)
    return f"{where}: {metric.title.split(',')[0].lower()} {change(incident.change)}"


def sentence(catalog: Catalog, incident: Incident) -> str:
    """What happened, as one sentence with size, interval and onset."""
    if incident.kind == "data":
        until = "" if incident.state == "recovered" else f", {(incident.day - incident.onset).days + 1} days so far"
        if incident.state == "recovered":
            until = f"; complete again on {day(incident.day)}"
        return (
            f"{incident.unit} {FINDINGS[incident.shape]} since {day(incident.onset)}{until}. "
            "Its metrics are not judged on these days."
        )
    metric = catalog.metric(incident.metric)
    verb = "rose" if incident.direction == "up" else "fell"
    per_day = " a day" if metric.type == "count" else ""
    when = f"since {day(incident.onset)}"
    if incident.state == "recovered":
        when = f"from {day(incident.onset)} to {day(incident.last_reported)}"
    elif incident.shape == "spike":
        when = f"on {day(incident.onset)}"
    return (
        f"{metric.title.split(',')[0]} of {segment(catalog, incident.segment)} {verb} from "
        f"{value(metric, incident.expected)} to {value(metric, incident.observed)}{per_day} "
        f"({change(incident.change)}, 95 % CI {change(incident.change_low)} to {change(incident.change_high)}) {when}."
    )


def member(catalog: Catalog, item: Member) -> str:
    """One contributing shift in a line."""
    metric = catalog.metric(item.metric)
    return (
        f"{segment(catalog, item.segment)}: {metric.title.split(',')[0].lower()} "
        f"{value(metric, item.expected)} → {value(metric, item.observed)} "
        f"({change(item.change)}, 95 % CI {change(item.low)} to {change(item.high)})"
    )
