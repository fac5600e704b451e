"""Messages about many incidents: the morning digest, and the roll-up of what came too fast. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipeline.alerts import blocks as kit
from health_pipeline.alerts.blocks import Block, Content
from health_pipeline.alerts.message import STATES, About, Change
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

LINES_SHOWN = 30
LINE = 240
"""Characters of a line."""

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
    more: int = 0,
    links: Mapping[str, str] | None = None,
) -> Content:
    """The morning's message: what is new, what changed, what ended. Mentions nobody.

    Args:
        day: local date of the morning.
        lines: the most important first; of each group so many are shown as there is room for.
        snoozed: incidents that are silent.
        open_count: incidents that are open, the silent ones included.
        more: incidents that would be lines, and are not among ``lines``.
        links: label -> http(s) URL, the most useful first.
    """
    title = f"Morning digest, {day.day} {day:%B}"
    usable = kit.web_links(links or {})
    groups = {name: [line for line in lines if line.what in changes] for name, changes in _GROUPS.items()}
    counted = [f"{len(group)} {name.lower()}" for name, group in groups.items() if group] or ["Nothing new"]
    standing = [f"{open_count:,} open", *([f"{snoozed:,} snoozed"] if snoozed else [])]
    blocks: list[Block] = [kit.header(title), kit.context([*counted, *standing])]
    body, left = _body(catalog, {f"{name} ({len(group)})": group for name, group in groups.items()}, LINES_SHOWN)
    blocks += body or [kit.section("A calm morning: nothing new, nothing changed, nothing ended.", 200)]
    blocks += _rest(left + more, usable)
    first = next((line for group in groups.values() for line in group), None)
    text = f"{title}: {', '.join([*counted, *standing])}."
    if first is not None:
        text += f" First: {_line(catalog, first)}"
    return Content(kit.with_link(kit.escape(text, 1_000), usable), tuple(blocks))


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
    title = f"{wording.count(len(lines) + more, 'more incident').replace(' more', ' more')} within the hour"
    body, left = _body(catalog, {"": lines}, LINES_SHOWN)
    why = f"More than {wording.count(catalog.alerts.per_hour, 'message')} of their own within an hour."
    blocks = [kit.header(title), kit.context([why, "Each in full in the thread"]), *body, *_rest(left + more, usable)]
    first = f" First: {_line(catalog, lines[0])}" if lines else ""
    return Content(kit.with_link(kit.escape(f"{title}.{first}", 1_000), usable), tuple(blocks))


def _body(catalog: Catalog, groups: Mapping[str, Sequence[DigestLine]], most: int) -> tuple[list[Block], int]:
    """(a block a line, under the headings of their groups; how many lines found no room)."""
    blocks: list[Block] = []
    left = 0
    for heading, group in groups.items():
        if group and heading:
            blocks.append(kit.said(f"*{heading}*"))
        shown = group[:most]
        blocks += [kit.section(_line(catalog, line), LINE) for line in shown]
        left += len(group) - len(shown)
        most -= len(shown)
    return blocks, left


def _line(catalog: Catalog, line: DigestLine) -> str:
    incident, about = line.incident, line.about
    title = wording.title(catalog, incident)
    since = "" if "since" in title else f", since {wording.day(incident.onset)}"
    return f"{about.severity} · {STATES.get(line.what, line.what.capitalize())} · {title}{since}"


def _rest(left: int, usable: Mapping[str, str]) -> list[Block]:
    links = kit.link_line(usable)
    return [kit.section(f"… and {left:,} more", 100), *links] if left > 0 else links
