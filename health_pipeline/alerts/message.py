"""Messages as Slack wants them, built from incidents. Pure: no I/O, and no Slack library.

Everything that came from data passes :func:`escape`, and stands in ``plain_text`` wherever Slack allows it:
a platform named ``<!channel>`` pings nobody. Whatever is too long for Slack is cut, never rejected;
:func:`violations` lists the limits a message breaks and must find none.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident

SEVERITIES = (("P1", 10.0), ("P2", 5.0))
"""Smallest score of a severity; what scores less is P3. A doubling (size 1) that concerns 100,000 more cases
a day (exposure 5), surely and in the harmful direction, scores 5; a fourfold rise, 10."""

DATA_SEVERITIES = {"missing": "P2", "empty": "P2", "partial": "P3", "settling": "P3", "backlog": "P3"}
"""A hole in the data has no score: without data nothing is judged, with part of it some of it is."""

MEMBERS_SHOWN = 5
SUSPECTS_SHOWN = 3
EVENTS_SHOWN = 3
LINKS_SHOWN = 5

OPEN = ":open"

MAX_KEY = 255
MAX_TEXT = 4_000
MAX_BLOCKS = 50
MAX_HEADER = 150
MAX_SECTION = 3_000
MAX_FIELDS = 10
MAX_FIELD = 2_000
MAX_CONTEXT = 10
MAX_URL = 3_000
MAX_LINKS = 1_200
MAX_BLOCKS_JSON = 10_000

Block = dict[str, Any]

_STATES = {
    "new": "New", "worsening": "Worsening", "ongoing": "Ongoing", "recovered": "Recovered", "settled": "Settled",
    "retracted": "Withdrawn", "merged": "Merged",
}  # fmt: skip
_BROADCAST = re.compile(r"@(?=channel|here|everyone)", re.IGNORECASE)
_LINK = re.compile(r"<(https?://[^|<>\s]+)\|([^<>]*)>")
_LINE_ENDS = "\n\r\t\v\f\x85\u2028\u2029"
_HIDDEN = {"Cc", "Cf", "Cs"}


@dataclass(frozen=True)
class Message:
    """One message for one channel.

    Attributes:
        key: what it is about. The outbox takes a key once, so that nothing is said twice.
        channel: ``#name`` or, better, the channel's ID.
        text: the whole message in a sentence, for notifications and screen readers.
        blocks: Slack Block Kit.
    """

    key: str
    channel: str
    text: str
    blocks: tuple[Block, ...]


def severity(incident: Incident, score: float | None) -> str:
    """``P1``, ``P2`` or ``P3``: by :data:`SEVERITIES`, or by :data:`DATA_SEVERITIES` for kind ``data``."""
    if incident.kind == "data":
        return DATA_SEVERITIES[incident.shape]
    return next((name for name, least in SEVERITIES if score is not None and score >= least), "P3")


def incident_message(
    catalog: Catalog,
    incident: Incident,
    *,
    score: float | None = None,
    rank: int | None = None,
    links: Mapping[str, str] | None = None,
    trust: Sequence[str] = (),
) -> Message:
    """The message about one incident: one while it is open, one for each way in which it can end.

    Args:
        score, rank: of the incident in the prioritised list of ``incident.day``; ``None`` when it has none.
        links: label -> http(s) URL, the most useful first; only that one is repeated in the text.
        trust: sentences about the data behind it, for instance failed checks.
    """
    level = severity(incident, score)
    state = _STATES[incident.state]
    said = wording.sentence(catalog, incident)
    usable = _usable(links or {})
    blocks = [
        _header(f"{level} · {wording.title(catalog, incident)}"),
        _context([f"{state} incident", *_standing(catalog, incident, score, rank), incident.id]),
        _section(said, 600),
        *(_shift(catalog, incident) if incident.kind == "shift" else ()),
        *_doubts(incident),
        _context([_trust(incident, trust)]),
        *_coincident(incident.events),
        *_links(usable),
    ]
    text = escape(f"{state}, {level}: {said}", 2_000)
    return Message(
        key=incident_key(catalog.name, incident.id, "open" if incident.is_open else incident.state),
        channel=catalog.alerts.channel,
        text=" ".join([text, *[escape(url, MAX_URL) for url in list(usable.values())[:1]]]),
        blocks=tuple(blocks),
    )


def withdrawal_message(catalog: Catalog, told: Message) -> Message:
    """The message about an incident that was told and is not in the record any more: its days were judged anew.

    Args:
        told: the message that told it.
    """
    first = _texts(told.blocks[0])[0] if told.blocks else {"type": "plain_text", "text": "An incident"}
    headline = _shown(first).partition(" · ")[2] or _shown(first)
    said = (
        "Withdrawn: the days on which this was reported have been judged anew, with corrected or late data, and no "
        "longer show it."
    )
    ending = told.key.removesuffix(OPEN)
    return Message(
        key=f"{ending}:retracted" if len(ending) < MAX_KEY - 10 else _key(catalog.name, "retracted", told.key),
        channel=told.channel,
        text=escape(f"{said} {headline}", 2_000),
        blocks=(_header(f"Withdrawn · {headline}"), _section(said, 1_000)),
    )


def incident_key(ecosystem: str, incident_id: str, phase: str) -> str:
    """Key of the message about an incident; ``phase`` is ``open``, or the state in which it ended."""
    return _key(ecosystem, "incident", incident_id, phase)


def failure_message(
    catalog: Catalog,
    *,
    job: str,
    run_id: str,
    step: str | None = None,
    error: str = "",
    link: str | None = None,
) -> Message:
    """The message about a failed run of the pipeline itself, for the channel of its engineers.

    Args:
        step: the step that failed; ``None`` when the run failed before any.
        error: its error; only the first line is shown.
    """
    first = next((line.strip() for line in error.splitlines() if line.strip()), "No error was recorded.")
    where = f"at step {step}" if step else "before any step"
    said = f"Job {job} failed {where}."
    usable = _usable({"Open run": link} if link else {})
    text = escape(f"Pipeline failure, {catalog.name}: {said} {first}", 2_000)
    return Message(
        key=_key(catalog.name, "failure", run_id),
        channel=catalog.alerts.failures_channel,
        text=" ".join([text, *[escape(url, MAX_URL) for url in usable.values()]]),
        blocks=(
            _header(f"Pipeline failure · {job}"),
            _context([catalog.name, f"run {run_id}"]),
            _section(f"{said}\n{_clean(first)}", 1_000),
            *_links(usable),
        ),
    )


def as_plain_text(message: Message) -> str:
    """The message for a terminal, one part a line. Holds no control characters but line ends."""
    lines = []
    for block in message.blocks:
        separator = " · " if block["type"] == "context" else "\n"
        lines.append(separator.join(_shown(part) for part in _texts(block)))
    return "\n".join(lines)


def escape(value: str, limit: int = MAX_SECTION) -> str:
    """Text from data, safe in any Slack text and at most ``limit`` characters long after escaping.

    ``&``, ``<`` and ``>`` become entities, control and direction characters go, ``@channel``, ``@here`` and
    ``@everyone`` are broken by an invisible word joiner. Never empty, because Slack takes no empty text.
    """
    return _cut(_clean(value) or "–", limit)


def violations(message: Message) -> list[str]:
    """Every limit of Slack's that the message breaks, in words; empty for a message that can be posted."""
    found: list[str] = []

    def at_most(what: str, size: int, limit: int) -> None:
        if not 1 <= size <= limit:
            found.append(f"{what}: {size}, must be 1 to {limit}")

    at_most("key", len(message.key), MAX_KEY)
    at_most("text", len(message.text), MAX_TEXT)
    at_most("blocks", len(message.blocks), MAX_BLOCKS)
    at_most("characters of blocks", len(json.dumps(message.blocks, ensure_ascii=False)), MAX_BLOCKS_JSON)
    for index, block in enumerate(message.blocks):
        where = f"block {index} ({block['type']})"
        texts = _texts(block)
        if block["type"] == "header":
            at_most(where, len(block["text"]["text"]), MAX_HEADER)
            if block["text"]["type"] != "plain_text":
                found.append(f"{where}: a header must be plain_text")
        elif block["type"] == "section" and "fields" in block:
            at_most(f"{where} fields", len(block["fields"]), MAX_FIELDS)
            for text in texts:
                at_most(f"{where} field", len(text["text"]), MAX_FIELD)
        elif block["type"] == "section":
            at_most(where, len(block["text"]["text"]), MAX_SECTION)
        elif block["type"] == "context":
            at_most(f"{where} elements", len(block["elements"]), MAX_CONTEXT)
            for text in texts:
                at_most(f"{where} element", len(text["text"]), MAX_FIELD)
        else:
            found.append(f"{where}: not a type of block these messages use")
        found += [f"{where}: unescaped control character in {t['text']!r}" for t in texts if _unsafe(t)]
    if _unsafe({"type": "plain_text", "text": message.text}):
        found.append("text: unescaped control character")
    return found


def _key(ecosystem: str, *parts: str) -> str:
    key = ":".join([ecosystem, *parts])
    if len(key) <= MAX_KEY and key.isascii():
        return key
    return f"{ecosystem}:{parts[0]}:{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()}"


def _clean(value: str) -> str:
    """One line, without invisible characters; ``@channel`` and its like disarmed."""
    spaced = (" " if c in _LINE_ENDS else c for c in value)
    seen = "".join(c for c in spaced if unicodedata.category(c) not in _HIDDEN)
    return _BROADCAST.sub("@\u2060", " ".join(seen.split()))


def _cut(value: str, limit: int) -> str:
    """Escaped, and cut between characters, never inside an entity."""
    kept: list[str] = []
    room, at_ellipsis = limit, 0
    for character in value:
        if room >= 1:
            at_ellipsis = len(kept)
        entity = html.escape(character, quote=False)
        # Counted as JSON and as UTF-16, the most that Slack could count, so that the blocks' lengths add up.
        room -= len(json.dumps(entity, ensure_ascii=False).encode("utf-16-le")) // 2 - 2
        if room < 0:
            return "".join(kept[:at_ellipsis]).rstrip() + "…"
        kept.append(entity)
    return "".join(kept)


def _unsafe(text: Mapping[str, Any]) -> bool:
    """Whether Slack would read something in it as a control sequence, links of ours aside."""
    bare = _LINK.sub("", text["text"]) if text["type"] == "mrkdwn" else text["text"]
    entities = re.sub(r"&(amp|lt|gt);", "", bare)
    return any(c in entities for c in "<>&") or bool(_BROADCAST.search(bare))


def _texts(block: Block) -> list[dict[str, Any]]:
    if "text" in block:
        return [block["text"]]
    parts: list[dict[str, Any]] = block.get("fields") or block.get("elements") or []
    return parts


def _shown(text: Mapping[str, Any]) -> str:
    value = text["text"]
    if text["type"] == "mrkdwn":
        value = _LINK.sub(r"\2: \1", value)
        value = re.sub(r"^\*(.*?)\*\n", r"\1: ", value)
    return html.unescape(value).replace("\u2060", "")


def _plain(text: str, limit: int) -> dict[str, Any]:
    """Text from data; keeps the line ends it is given, so clean what goes in."""
    return {"type": "plain_text", "text": _cut(text or "–", limit), "emoji": False}


def _header(text: str) -> Block:
    return {"type": "header", "text": _plain(_clean(text), MAX_HEADER)}


def _section(text: str, limit: int) -> Block:
    return {"type": "section", "text": _plain("\n".join(_clean(line) for line in text.split("\n")), limit)}


def _context(parts: Iterable[str]) -> Block:
    return {"type": "context", "elements": [_plain(_clean(part), 200) for part in parts][:MAX_CONTEXT]}


def _field(label: str, value: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": f"*{label}*\n{escape(value, 200)}", "verbatim": True}


def _standing(catalog: Catalog, incident: Incident, score: float | None, rank: int | None) -> list[str]:
    parts = []
    if score is not None:
        parts.append(f"score {score:.1f}" + (f", rank {rank} of {wording.day(incident.day)}" if rank else ""))
    if incident.kind == "shift":
        parts.append(f"owner {catalog.metric(incident.metric).owner}")
    return parts


def _shift(catalog: Catalog, incident: Incident) -> list[Block]:
    """Numbers, evidence and the other shifts of an incident of kind ``shift``."""
    metric = catalog.metric(incident.metric)
    per_day = " a day" if metric.type == "count" else ""
    fields = [
        _field("Expected", wording.value(metric, incident.expected) + per_day),
        _field("Observed", wording.value(metric, incident.observed) + per_day),
        _field(
            "Change",
            f"{wording.change(incident.change)} ({wording.interval(incident.change_low, incident.change_high)})",
        ),
    ]
    if math.isfinite(incident.excess) and metric.type in ("count", "proportion", "rate"):  # else it counts no things
        things = metric.unit if metric.type == "count" else "cases"
        if metric.type == "proportion":  # not more sales, but more of those that are disputed
            things = f"such {metric.unit.removeprefix('share of ')}"
        sign = "more" if incident.excess >= 0 else "fewer"
        amount = wording.number(abs(incident.excess))
        fields.append(_field("Beyond expectation", f"{amount} {sign} {things} a day"))
    blocks: list[Block] = [{"type": "section", "fields": fields}, _context(_evidence(incident))]
    explained = wording.explanation(catalog, incident)
    if explained:
        blocks.append(_section("\n".join(["Where it comes from:", *explained]), 800))
    others = [m for m in incident.members[1:] if m.is_open or not incident.is_open]
    if others:
        reach = wording.reach(catalog, incident)
        lines = [f"• {_shorten(wording.member(catalog, m), 200)}" for m in others[:MEMBERS_SHOWN]]
        if len(others) > MEMBERS_SHOWN:
            lines.append(f"… and {len(others) - MEMBERS_SHOWN} more")
        blocks.append(_section("\n".join([f"Moved with it ({reach}):" if reach else "Moved with it:", *lines]), 1_200))
    return blocks


def _doubts(incident: Incident) -> list[Block]:
    """What speaks for the data as the cause; nothing when nothing does."""
    if not incident.suspects:
        return []
    lines = [f"• {_shorten(s.sentence, 260)}" for s in incident.suspects[:SUSPECTS_SHOWN]]
    if len(incident.suspects) > SUSPECTS_SHOWN:
        lines.append(f"… and {len(incident.suspects) - SUSPECTS_SHOWN} more")
    return [_section("\n".join(["Could it be the data?", *lines]), 900)]


def _evidence(incident: Incident) -> list[str]:
    q = "below 0.0001" if incident.q_value < 0.0001 else f"{incident.q_value:.2g}"
    days = (incident.last_reported - incident.onset).days + 1
    after = f"seen for {days} {'day' if days == 1 else 'days'}"
    between = ""
    if incident.onset_low != incident.onset_high:
        between = f" (between {wording.day(incident.onset_low)} and {wording.day(incident.onset_high)})"
    return [
        f"q-value {q} among {incident.tested:,} series tested",
        f"onset {wording.day(incident.onset)}{between}",
        f"first reported {wording.day(incident.first_reported)}, {after}",
    ]


def _trust(incident: Incident, trust: Sequence[str]) -> str:
    if incident.kind == "data":
        first = f"Judged on deliveries up to {wording.day(incident.day)}."
    else:
        first = f"Judged on data up to {wording.day(incident.day)}; days with incomplete deliveries are left out."
    return " ".join([first, *trust])


def _coincident(events: Sequence[str]) -> list[Block]:
    if not events:
        return []
    shown = [_shorten(title, 150) for title in events[:EVENTS_SHOWN]]
    if len(events) > EVENTS_SHOWN:
        shown.append(f"… and {len(events) - EVENTS_SHOWN} more")
    return [_context([f"Coincident, not causal: {shown[0]}", *shown[1:]])]


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _usable(links: Mapping[str, str]) -> dict[str, str]:
    """Links that Slack takes: http or https, percent-encoded, all together short enough; labels cleaned."""
    usable: dict[str, str] = {}
    room = MAX_LINKS
    for label, url in links.items():
        encoded = urllib.parse.quote(_clean(url), safe=":/?#[]@!$&'()*+,;=%~")
        size = len(escape(encoded, MAX_URL))
        if re.match(r"https?://[^/?#]", encoded) and size <= room:
            room -= size
            usable[_cut(_clean(label).replace("|", "/") or "Open", 60)] = encoded
    return dict(list(usable.items())[:LINKS_SHOWN])


def _links(usable: Mapping[str, str]) -> list[Block]:
    # Text links, not buttons: Slack shows a warning beside the button of an app that answers no clicks.
    if not usable:
        return []
    text = "  ·  ".join(f"<{escape(url)}|{label}>" for label, url in usable.items())
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}]
