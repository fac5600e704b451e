"""Slack's Block Kit: text made safe, lengths kept, blocks built and checked. Pure: no I/O, and no Slack library.

Everything that came from data passes :func:`escape`, and stands in ``plain_text`` wherever Slack allows it: a platform
named ``<!channel>`` pings nobody. What may ping is made by :func:`mention` alone, and only of what has the form of an
ID of Slack's. Whatever is too long is cut, never rejected; :func:`violations` lists the limits a message breaks and
must find none.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_KEY = 255
MAX_TEXT = 4_000
MAX_BLOCKS = 50
MAX_BLOCKS_JSON = 10_000
MAX_ID = 255
EDITION = 8
"""Digits of an edition."""
MAX_HEADER = 150
MAX_SECTION = 3_000
MAX_FIELDS = 10
MAX_FIELD = 2_000
MAX_CONTEXT = 10
MAX_ELEMENTS = 25
MAX_BUTTON = 75
MAX_BUTTON_VALUE = 2_000
MAX_URL = 3_000
MAX_PLACEHOLDER = 150
MAX_GROUPS = 100
MAX_OPTIONS = 100
MAX_OPTION = 75
MAX_OPTION_VALUE = 150
MAX_ALT = 2_000

LINKS_SHOWN = 5
MAX_LINKS = 1_200
"""Characters of all links of a message together."""

NOTHING = "–"
"""What stands for an empty text, because Slack takes none."""

Block = dict[str, Any]
Element = dict[str, Any]

_BROADCAST = re.compile(r"@(?=channel|here|everyone)", re.IGNORECASE)
_LINK = re.compile(r"<(https?://[^|<>\s]+)\|([^<>]*)>")
_USER = re.compile(r"[UW][A-Z0-9]{2,30}")
_GROUP = re.compile(r"S[A-Z0-9]{2,30}")
_MENTION = re.compile(rf"<@({_USER.pattern})>|<!subteam\^({_GROUP.pattern})>")
_TERMINAL = "cli:"
_LINE_ENDS = "\n\r\t\v\f\x85\u2028\u2029"
_HIDDEN = {"Cc", "Cf", "Cs"}
_BLANK = set("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols, says Unicode, of which nobody sees anything."""


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


@dataclass(frozen=True)
class Content:
    """What a message says, wherever it is said.

    Attributes:
        text: the whole of it in a sentence, for notifications and screen readers; mentions nobody.
        blocks: Slack Block Kit.
    """

    text: str
    blocks: tuple[Block, ...]


def key(ecosystem: str, *parts: str, most: int = MAX_KEY) -> str:
    """Key of a message: its parts, or a hash of them when they are longer than ``most`` or not ASCII."""
    whole = ":".join([ecosystem, *parts])
    if len(whole) <= most and whole.isascii():
        return whole
    return f"{ecosystem}:{parts[0]}:{hashlib.sha256(whole.encode('utf-8', 'backslashreplace')).hexdigest()}"


def reference(ecosystem: str, incident_id: str) -> str:
    """What a click tells what it is about by; see :func:`edition`. ASCII."""
    return key(ecosystem, "incident", incident_id, most=MAX_ID - 1 - EDITION)


def edition(ref: str, *state: object) -> str:
    """``block_id`` of an incident's actions: its :func:`reference`, and eight digits that stand for their state.

    Slack wants another one in each edition of a message: under the same, menus go on to show what was chosen before.

    Args:
        state: what they show, or follow from.

    Source: Slack's Block Kit reference, ``block_id`` of an actions block.
    """
    shown = json.dumps(state, sort_keys=True, default=str)
    return f"{ref}#{hashlib.sha256(shown.encode()).hexdigest()[:EDITION]}"


def clean(value: str) -> str:
    """One line, without invisible characters; ``@channel`` and its like disarmed. Not escaped; may be empty."""
    return _BROADCAST.sub("@\u2060", " ".join("".join(map(_seen, value)).split()))


@functools.lru_cache(4096)
def _seen(character: str) -> str:
    """What people see of a character: a space of a line's end, of an invisible one nothing."""
    if character in _LINE_ENDS:
        return " "
    return "" if unicodedata.category(character) in _HIDDEN or character in _BLANK else character


def shorten(text: str, limit: int) -> str:
    """At most so many characters, before escaping."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def escape(value: str, limit: int = MAX_SECTION) -> str:
    """Text from data, safe in any Slack text and at most ``limit`` characters long after escaping.

    ``&``, ``<`` and ``>`` become entities, control and direction characters go, ``@channel``, ``@here`` and
    ``@everyone`` are broken by an invisible word joiner. Never empty, because Slack takes no empty text.
    """
    return _cut(clean(value) or NOTHING, limit)


def inline(value: str, limit: int) -> str:
    """Like :func:`escape`, for text from data between mentions of ours: a backtick would make them code."""
    return escape(value.replace("`", "'"), limit)


def mention(user: str) -> str:
    """Somebody, as mrkdwn: ``<@U…>`` or ``<!subteam^S…>``, which ping; a name from the terminal (``cli:name``) or
    whatever else is no ID of Slack's as plain text, which does not.
    """
    if is_user(user):
        return f"<@{user}>"
    if _GROUP.fullmatch(user):
        return f"<!subteam^{user}>"
    return inline(user.removeprefix(_TERMINAL), 80)


def is_user(user: str) -> bool:
    """Whether it has the form of the ID of a Slack user."""
    return _USER.fullmatch(user) is not None


def plain(text: str, limit: int) -> Element:
    """Text from data; keeps the line ends it is given, so clean what goes in."""
    return {"type": "plain_text", "text": _cut(text or NOTHING, limit), "emoji": False}


def mrkdwn(text: str) -> Element:
    """Text of ours, in which everything from data has been escaped."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def header(text: str) -> Block:
    return {"type": "header", "text": plain(clean(text), MAX_HEADER)}


def section(text: str, limit: int) -> Block:
    """Lines of text from data."""
    return {"type": "section", "text": plain("\n".join(clean(line) for line in text.split("\n")), limit)}


def said(text: str) -> Block:
    """A section of text of ours. See :func:`mrkdwn`."""
    return {"type": "section", "text": mrkdwn(text)}


def heading(text: str) -> Block:
    """A line of ours in bold, above a section of text from data."""
    return said(f"*{text}*")


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """Labels of ours with values from data, two beside each other."""
    shown = [mrkdwn(f"*{label}*\n{escape(value, 200)}") for label, value in pairs]
    return {"type": "section", "fields": shown[:MAX_FIELDS]}


def context(parts: Iterable[str], limit: int = 200) -> Block:
    """Parts of text from data in one small line, each at most ``limit`` long."""
    cut = [shorten(clean(part), limit) or NOTHING for part in parts]
    return {"type": "context", "elements": [plain(" · ".join(cut), (limit + 3) * len(cut))]}


def actions(block_id: str, elements: Sequence[Element]) -> Block:
    """What can be clicked."""
    return {"type": "actions", "block_id": block_id, "elements": list(elements)}


def button(action_id: str, text: str, *, style: str = "") -> Element:
    made: Element = {"type": "button", "action_id": action_id, "text": plain(clean(text), MAX_BUTTON)}
    return made | ({"style": style} if style else {})


def link_button(action_id: str, label: str, url: str) -> Element:
    """A link of :func:`web_links` as a button."""
    text = {"type": "plain_text", "text": label, "emoji": False}
    return {"type": "button", "action_id": action_id, "text": text, "url": url}


def users_select(action_id: str, placeholder: str, chosen: str = "") -> Element:
    """Args: chosen: ID of the user it shows; left out when it is no ID of Slack's."""
    made: Element = {
        "type": "users_select",
        "action_id": action_id,
        "placeholder": plain(clean(placeholder), MAX_PLACEHOLDER),
    }
    return made | ({"initial_user": chosen} if is_user(chosen) else {})


def static_select(
    action_id: str, placeholder: str, groups: Mapping[str, Sequence[tuple[str, str]]], chosen: str = ""
) -> Element:
    """A menu in groups.

    Args:
        groups: label -> (text, value) of each option; values of ours, unique, at most 150 characters.
        chosen: value of the option it shows.
    """
    options = {
        label: [{"text": plain(clean(text), MAX_OPTION), "value": value} for text, value in given[:MAX_OPTIONS]]
        for label, given in list(groups.items())[:MAX_GROUPS]
        if given
    }
    initial = [option for given in options.values() for option in given if option["value"] == chosen]
    made: Element = {
        "type": "static_select",
        "action_id": action_id,
        "placeholder": plain(clean(placeholder), MAX_PLACEHOLDER),
        "option_groups": [
            {"label": plain(clean(label), MAX_OPTION), "options": given} for label, given in options.items()
        ],
    }
    return made | ({"initial_option": initial[0]} if initial else {})


def web_links(links: Mapping[str, str]) -> dict[str, str]:
    """Links that Slack takes, as escaped label -> URL: http or https, percent-encoded, short enough all together."""
    usable: dict[str, str] = {}
    room = MAX_LINKS
    for label, url in links.items():
        encoded = urllib.parse.quote(clean(url), safe=":/?#[]@!$&'()*+,;=%~")
        size = len(escape(encoded, MAX_URL))
        if re.match(r"https?://[^/?#]", encoded) and size <= room:
            room -= size
            usable[_cut(clean(label).replace("|", "/") or "Open", 60)] = encoded
    return dict(list(usable.items())[:LINKS_SHOWN])


def link(label: str, url: str) -> str:
    """A link of :func:`web_links`, as mrkdwn."""
    return f"<{escape(url)}|{label}>"


def link_line(usable: Mapping[str, str], *before: str) -> list[Block]:
    """Text links, which need no app to answer them, after words of ours; nothing when there are neither."""
    shown = [*before, *(link(label, url) for label, url in usable.items())]
    return [said("  ·  ".join(shown))] if shown else []


def with_link(text: str, usable: Mapping[str, str]) -> str:
    """A message's text, followed by the first of its links."""
    return " ".join([text, *[escape(url, MAX_URL) for url in list(usable.values())[:1]]])


def size(blocks: Sequence[Block]) -> int:
    """Characters of blocks, as they count against :data:`MAX_BLOCKS_JSON`."""
    return len(json.dumps(blocks, ensure_ascii=False))


@dataclass(frozen=True)
class Part:
    """Blocks of a message that stay or go together.

    Attributes:
        rank: 0 stays in any case; what has the largest number goes first when a message is too long.
    """

    rank: int
    blocks: tuple[Block, ...]


def fitted(parts: Sequence[Part], note: Block) -> tuple[Block, ...]:
    """The blocks of parts that a message has room for; ``note`` stands where the first went that it has none for."""
    kept = list(parts)
    while _is_too_much(_all(kept)) and any(part.rank for part in kept):
        last = max(range(len(kept)), key=lambda at: (kept[at].rank, at))
        del kept[last]
        if not any(part.blocks == (note,) for part in kept):
            kept.insert(last, Part(0, (note,)))
    return tuple(_all(kept))


def _all(parts: Iterable[Part]) -> list[Block]:
    return [block for part in parts for block in part.blocks]


def _is_too_much(blocks: Sequence[Block]) -> bool:
    return len(blocks) > MAX_BLOCKS or size(blocks) > MAX_BLOCKS_JSON


def as_plain_text(message: Message | Content) -> str:
    """The message for a terminal, one part a line. Holds no control characters but line ends."""
    lines = []
    for block in message.blocks:
        if block["type"] == "actions":
            shown = [f"[{_label(element)}]" for element in block["elements"]]
            lines.append(" ".join(shown))
            continue
        separator = " · " if block["type"] == "context" else "\n"
        lines.append(separator.join(_shown(part) for part in texts(block)))
    return "\n".join(lines)


def texts(block: Block) -> list[Element]:
    """The texts of a header, section or context that people read."""
    if "text" in block:
        return [block["text"]]
    parts: list[Element] = block.get("fields") or block.get("elements") or []
    return [part for part in parts if part.get("type") in ("plain_text", "mrkdwn")]


def _label(element: Element) -> str:
    chosen = element.get("initial_option", {}).get("text") or element.get("text") or element.get("placeholder", {})
    shown = _shown(chosen)
    return f"{shown}: {element['url']}" if "url" in element else shown


def _shown(text: Mapping[str, Any]) -> str:
    value = text["text"]
    if text["type"] == "mrkdwn":
        value = _LINK.sub(r"\2: \1", value)
        value = _MENTION.sub(lambda found: f"@{found[1] or found[2]}", value)
        value = re.sub(r"^\*(.*?)\*\n", r"\1: ", value)
        value = re.sub(r"^\*([^*\n]+)\*", r"\1", value, flags=re.MULTILINE)
    return html.unescape(value).replace("\u2060", "")


def _cut(value: str, limit: int) -> str:
    """Escaped, and cut between characters, never inside an entity."""
    kept: list[str] = []
    room, at_ellipsis = limit, 0
    for character in value:
        if room >= 1:
            at_ellipsis = len(kept)
        entity, length = _entity(character)
        room -= length
        if room < 0:
            return "".join(kept[:at_ellipsis]).rstrip() + "…"
        kept.append(entity)
    return "".join(kept)


@functools.lru_cache(4096)
def _entity(character: str) -> tuple[str, int]:
    """A character escaped, and its length as JSON and as UTF-16, the most that Slack could count: so the blocks'
    lengths add up.
    """
    entity = html.escape(character, quote=False)
    return entity, len(json.dumps(entity, ensure_ascii=False).encode("utf-16-le")) // 2 - 2


# ── Slack's limits ───────────────────────────────────────────────────────────────────────────────────────────────────


def violations(message: Message) -> list[str]:
    """Every limit of Slack's that the message breaks, in words; empty for a message that can be posted.

    Source: Slack's Block Kit reference, and a size of all blocks together that Slack does not publish. Blocks and
    elements that these messages do not use are found as well.
    """
    found = [
        *_length("key", message.key, MAX_KEY),
        *_length("text", message.text, MAX_TEXT),
        *_number("blocks", len(message.blocks), MAX_BLOCKS),
        *_number("characters of blocks", size(message.blocks), MAX_BLOCKS_JSON),
    ]
    for index, block in enumerate(message.blocks):
        where = f"block {index} ({block.get('type')})"
        check = _CHECKS.get(block.get("type", ""))
        found += check(block, where) if check else [f"{where}: not a type of block these messages use"]
    found += _unique("block_id", [b["block_id"] for b in message.blocks if "block_id" in b])
    for block in message.blocks:
        if "block_id" in block:
            found += _length("block_id", block["block_id"], MAX_ID)
    elements = [e for block in message.blocks if block.get("type") == "actions" for e in block.get("elements", [])]
    found += _unique("action_id", [e["action_id"] for e in elements if "action_id" in e])
    if _is_unsafe({"type": "plain_text", "text": message.text}):
        found.append("text: unescaped control character")
    return found


def _number(what: str, size: int, most: int) -> Iterator[str]:
    if not 1 <= size <= most:
        yield f"{what}: {size}, must be 1 to {most}"


def _length(what: str, value: object, most: int) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{what}: must be a text"
    else:
        yield from _number(what, len(value), most)


def _unique(what: str, values: Sequence[str]) -> Iterator[str]:
    for value in sorted({v for v in values if values.count(v) > 1}):
        yield f"{what} {value!r}: must be unique"


def _text(text: object, most: int, where: str, *, is_plain: bool = False) -> Iterator[str]:
    kinds = ("plain_text",) if is_plain else ("plain_text", "mrkdwn")
    if not isinstance(text, Mapping) or text.get("type") not in kinds:
        yield f"{where}: must be {' or '.join(kinds)}"
        return
    yield from _length(where, text.get("text"), most)
    if isinstance(text.get("text"), str) and _is_unsafe(text):
        yield f"{where}: unescaped control character in {text['text']!r}"


def _is_unsafe(text: Mapping[str, Any]) -> bool:
    """Whether Slack would read something in it as a control sequence, links and mentions of ours aside."""
    bare = _MENTION.sub("", _LINK.sub("", text["text"])) if text["type"] == "mrkdwn" else text["text"]
    entities = re.sub(r"&(amp|lt|gt);", "", bare)
    return any(c in entities for c in "<>&") or bool(_BROADCAST.search(bare))


def _header(block: Block, where: str) -> Iterator[str]:
    yield from _text(block.get("text"), MAX_HEADER, where, is_plain=True)


def _section(block: Block, where: str) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield f"{where}: must have a text or fields"
    if "text" in block:
        yield from _text(block["text"], MAX_SECTION, where)
    if "fields" in block:
        yield from _number(f"{where} fields", len(block["fields"]), MAX_FIELDS)
        for text in block["fields"]:
            yield from _text(text, MAX_FIELD, f"{where} field")
    if "accessory" in block:
        yield f"{where}: an accessory is nothing these messages use"


def _context(block: Block, where: str) -> Iterator[str]:
    elements = block.get("elements", [])
    yield from _number(f"{where} elements", len(elements), MAX_CONTEXT)
    for element in elements:
        if element.get("type") == "image":
            yield from _image(element, f"{where} element")
        else:
            yield from _text(element, MAX_FIELD, f"{where} element")


def _image(block: Block, where: str) -> Iterator[str]:
    if ("image_url" in block) == ("slack_file" in block):
        yield f"{where}: must have either image_url or slack_file"
    if "image_url" in block:
        yield from _url(block["image_url"], f"{where} image_url")
    if "slack_file" in block and len(set(block["slack_file"]) & {"id", "url"}) != 1:
        yield f"{where} slack_file: must have either id or url"
    yield from _length(f"{where} alt_text", block.get("alt_text"), MAX_ALT)
    if "title" in block:
        yield from _text(block["title"], MAX_FIELD, f"{where} title", is_plain=True)


def _divider(block: Block, where: str) -> Iterator[str]:
    if set(block) - {"type", "block_id"}:
        yield f"{where}: holds nothing"


def _actions(block: Block, where: str) -> Iterator[str]:
    elements = block.get("elements", [])
    yield from _number(f"{where} elements", len(elements), MAX_ELEMENTS)
    for element in elements:
        kind = element.get("type", "")
        yield from _length(f"{where} action_id", element.get("action_id"), MAX_ID)
        check = _ELEMENTS.get(kind)
        yield from check(element, f"{where} {kind}") if check else (f"{where}: {kind!r} is no element in use",)


def _button(element: Element, where: str) -> Iterator[str]:
    yield from _text(element.get("text"), MAX_BUTTON, where, is_plain=True)
    if "value" in element:
        yield from _length(f"{where} value", element["value"], MAX_BUTTON_VALUE)
    if "url" in element:
        yield from _url(element["url"], f"{where} url")
    if element.get("style", "primary") not in ("primary", "danger"):
        yield f"{where} style: must be primary or danger"


def _users_select(element: Element, where: str) -> Iterator[str]:
    if "placeholder" in element:
        yield from _text(element["placeholder"], MAX_PLACEHOLDER, f"{where} placeholder", is_plain=True)
    if "initial_user" in element and not is_user(element["initial_user"]):
        yield f"{where} initial_user: must be the ID of a user"


def _static_select(element: Element, where: str) -> Iterator[str]:
    if "placeholder" in element:
        yield from _text(element["placeholder"], MAX_PLACEHOLDER, f"{where} placeholder", is_plain=True)
    if ("options" in element) == ("option_groups" in element):
        yield f"{where}: must have either options or option_groups"
        return
    groups = element.get("option_groups", [{"options": element.get("options", [])}])
    yield from _number(f"{where} option_groups", len(groups), MAX_GROUPS)
    for group in groups:
        if "option_groups" in element:
            yield from _text(group.get("label"), MAX_OPTION, f"{where} label", is_plain=True)
        yield from _number(f"{where} options", len(group["options"]), MAX_OPTIONS)
        for option in group["options"]:
            yield from _text(option.get("text"), MAX_OPTION, f"{where} option", is_plain=True)
            yield from _length(f"{where} option value", option.get("value"), MAX_OPTION_VALUE)
    options = [option for group in groups for option in group["options"]]
    if "initial_option" in element and element["initial_option"] not in options:
        yield f"{where} initial_option: must be one of the options"
    yield from _unique(f"{where} option value", [str(option.get("value")) for option in options])


def _url(value: object, where: str) -> Iterator[str]:
    yield from _length(where, value, MAX_URL)
    if not re.match(r"https?://[^/?#\s]", str(value)):
        yield f"{where}: must be a web address"


Check = Callable[[dict[str, Any], str], Iterator[str]]

_CHECKS: dict[str, Check] = {
    "header": _header, "section": _section, "context": _context, "actions": _actions, "image": _image,
    "divider": _divider,
}  # fmt: skip
_ELEMENTS: dict[str, Check] = {"button": _button, "users_select": _users_select, "static_select": _static_select}
