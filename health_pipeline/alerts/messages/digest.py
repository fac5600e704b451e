"""Messages about many incidents: the morning digest, and the roll-up of what came too fast. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Block, Content
from health_pipeline.alerts.messages.incident import STATES, VERDICTS, About
from health_pipeline.alerts.people.told import Change
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

LINES_SHOWN = 25
LINES_EACH = 5
"""So many lines of a group are shown even when an earlier group has more than there is room for."""
LINE, TITLE = 210, 140
"""Characters of a line, and of the incident's title in it: so many lines and the longest links fit into a message."""

_GROUPS: dict[str, tuple[Change, ...]] = {
    "New": ("new", "reopened"),
    "Changed": ("worsening", "raised", "acknowledged", "assigned", "verdict", "snoozed", "overdue"),
    "Ended": ("recovered", "settled", "retracted", "merged"),
}


@dataclass(frozen=True)
class DigestLine:
    """One incident in a line.

    Attributes:
        what: what happened to it since it was last told.
    """

    incident: Incident
    about: About
    what: Change


def digest_content(
    catalog: Catalog,
    day: dt.date,
    lines: Sequence[DigestLine],
    *,
    snoozed: int,
    open_count: int,
    is_late: bool = False,
    more: int = 0,
    links: Mapping[str, str] | None = None,
) -> Content:
    """The morning's message: what is new, what changed, what ended. Mentions nobody.

    Args:
        day: local date of the morning.
        lines: the most important first; of each group so many are shown as there is room for.
        snoozed: incidents that are silent.
        open_count: incidents that are open, the silent ones included.
        is_late: it comes so late that it is no morning digest any more.
        more: incidents that would be lines, and are not among ``lines``.
        links: label -> http(s) URL, the most useful first.
    """
    title = f"{'Digest' if is_late else 'Morning digest'}, {day.day} {day:%B}"
    usable = kit.web_links(links or {})
    groups = {name: [line for line in lines if line.what in changes] for name, changes in _GROUPS.items()}
    happened = [f"{len(group):,} {name.lower()}" for name, group in groups.items() if group]
    standing = [f"{open_count:,} open", *([f"{snoozed:,} snoozed"] if snoozed else [])]
    told = {f"{name} ({len(group):,})": [_line(catalog, line, day) for line in group] for name, group in groups.items()}
    body, left = _body(told)
    if not body:
        body = [kit.section("A calm morning: nothing is new, nothing has changed, nothing has ended.", 200)]
    where = ["the new ones in full in the thread"] if any(line.what == "new" for line in lines) else []
    blocks = (kit.header(title), kit.context([*happened, *standing, *where]), *body, *_rest(left + more, usable))
    first = next((line for group in told.values() for line in group), "nothing is new, nothing has changed.")
    text = f"{title}: {', '.join([*happened, *standing])}. {first[:1].upper()}{first[1:]}"
    return Content(kit.with_link(kit.escape(text, 1_000), usable), blocks)


def rollup_content(
    catalog: Catalog, lines: Sequence[DigestLine], *, more: int = 0, links: Mapping[str, str] | None = None
) -> Content:
    """One message instead of many that came within an hour. Mentions nobody.

    Args:
        lines: the most important first.
        more: incidents that would be lines, and are not among ``lines``.
        links: label -> http(s) URL, the most useful first.
    """
    usable = kit.web_links(links or {})
    title = f"{wording.count(len(lines) + more, 'more incident')} within the hour"
    told = [_line(catalog, line, line.incident.day) for line in lines]
    body, left = _body({"": told})
    already = wording.count(catalog.alerts.per_hour, "incident")
    why = f"{already} had a message of {'its' if catalog.alerts.per_hour == 1 else 'their'} own here in this hour"
    blocks = (kit.header(title), kit.context([why, "each of these in full in the thread"]), *body)
    text = kit.escape(f"{title}. {told[0] if told else ''}", 1_000)
    return Content(kit.with_link(text, usable), (*blocks, *_rest(left + more, usable)))


def _body(groups: Mapping[str, Sequence[str]]) -> tuple[list[Block], int]:
    """(a block a line, under the headings of their groups; how many lines found no room)."""
    shown = _shares([len(group) for group in groups.values()])
    blocks: list[Block] = []
    left = sum(len(group) for group in groups.values())
    for (heading, group), most in zip(groups.items(), shown, strict=True):
        made = [kit.section(line, LINE) for line in group[:most]]
        blocks += [kit.heading(heading)] if heading and made else []
        blocks += made
        left -= len(made)
    return blocks, left


def _shares(lengths: Sequence[int]) -> list[int]:
    """How many lines of each group are shown: the first ones all they need, the others at least some."""
    shares = [min(length, LINES_EACH) for length in lengths]
    for at, length in enumerate(lengths):
        shares[at] += min(length - shares[at], max(0, LINES_SHOWN - sum(shares)))
    return shares


def _line(catalog: Catalog, line: DigestLine, day: dt.date) -> str:
    """``P3 · Beauty in Indonesia: overturn rate up ×3.1, since 27 November``."""
    incident, about = line.incident, line.about
    parts = [about.severity, *_what(line), kit.shorten(wording.title(catalog, incident), TITLE)]
    return f"{' · '.join(parts)}, {_when(incident, day)}"


def _what(line: DigestLine) -> list[str]:
    """What happened to it, where the group does not say so. Whoever did it is not named: a name would be pinged."""
    standing = line.about.standing
    told = {"new": "", "reopened": "flared up again", "raised": "more urgent", "overdue": "overdue"}
    if line.what == "acknowledged":
        told["acknowledged"] = "acknowledged" if standing.acknowledged else "no longer acknowledged"
    elif line.what == "assigned":
        told["assigned"] = "assigned" if standing.assignee else "unassigned"
    elif line.what == "verdict":
        told["verdict"] = f"judged {VERDICTS[standing.verdict].lower()}" if standing.verdict else "verdict taken back"
    elif line.what == "snoozed":
        told["snoozed"] = "snoozed" if standing.snooze else "snooze lifted"
    said = told.get(line.what, STATES.get(line.what, "").lower())
    return [said] if said else []


def _when(incident: Incident, day: dt.date) -> str:
    last = incident.headline_reported if incident.kind == "shift" else incident.last_reported
    if incident.state == "recovered" and last > incident.onset:
        return f"{_short(incident.onset, last)} to {_short(last, day)}"
    over = incident.state == "recovered" or (incident.shape == "spike" and incident.state != "settled")
    return f"{'on' if over else 'since'} {_short(incident.onset, day)}"


def _short(date: dt.date, beside: dt.date) -> str:
    """A day, without its year where that is clear."""
    return wording.day(date) if date.year != beside.year else f"{date.day} {date:%B}"


def _rest(left: int, usable: Mapping[str, str]) -> list[Block]:
    """How many more there are, and where."""
    links = kit.link_line(usable)
    return [kit.section(f"… and {left:,} more", 100), *links] if left > 0 else links
