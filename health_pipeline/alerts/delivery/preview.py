"""Messages as Slack shows them, as a page of HTML: for people without a workspace, and for pictures. Pure.

Renders the blocks that these messages use (see :mod:`.blocks`), and says of any other that it does not. A page stands
by itself: no script, nothing is loaded from anywhere, light and dark. Menus open and do nothing.

Source: Slack's *Formatting text for app surfaces* and its Block Kit reference.
"""

from __future__ import annotations

import base64
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from health_pipeline.alerts.delivery.blocks import Block, Element
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.delivery.picture import Picture

APP_NAME = "Health pipeline"

_CONTROL = re.compile(r"<([^<>]*)>")
_CODE = re.compile(r"```(.+?)```|`([^`\n]+)`", re.DOTALL)
_MARKS = {
    mark: re.compile(rf"(?<![\w{re.escape(mark)}]){re.escape(mark)}(?=\S)([^{re.escape(mark)}\n]+?)(?<=\S)"
                     rf"{re.escape(mark)}(?![\w{re.escape(mark)}])")
    for mark in "*_~"
}  # fmt: skip
_TAGS = {"*": "b", "_": "i", "~": "s"}
_KEPT = re.compile("\ue000(\\d+)\ue001")
"""What is finished markup already, while what stands around it is formatted."""
_WEB = ("https://", "http://")
_CHOOSE = {"type": "plain_text", "text": "Choose"}
_BESIDE = re.compile(r"\n?(<(pre|blockquote)>.*?</\2>)\n?", re.DOTALL)
"""A block of its own needs no line end beside it."""
_QUOTE = re.compile(r"^(?:&gt;|>) ?")


@dataclass(frozen=True)
class Shown:
    """A message as it stands in a channel or thread.

    Attributes:
        at: when, in words.
        note: what Slack does not show: that it waits for the morning, for instance.
        pictures: files that came with it.
        replies: in its thread.
    """

    text: str
    blocks: tuple[Block, ...] = ()
    at: str = ""
    is_edited: bool = False
    note: str = ""
    pictures: tuple[Picture, ...] = ()
    replies: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Part:
    """The messages of a channel, or of some other heading."""

    heading: str
    messages: tuple[Shown, ...]
    about: str = ""


def arranged(intents: Iterable[Intent], *, at: str = "", zone: str = "UTC") -> list[Part]:
    """What is to be done in Slack as it will stand there, channel by channel, in the order done.

    An edit is shown as what the message becomes. What follows a message that is not among them stands by itself, with a
    note that says so.

    Args:
        at: when, in words, beside each message's name.
        zone: IANA time zone of the instants in notes.
    """
    channels: dict[str, list[str]] = {}
    shown: dict[str, Shown] = {}
    threads: dict[str, list[str]] = {}
    for intent in intents:
        message = Shown(intent.text, intent.blocks, at, note=_held(intent, zone))
        match intent.kind:
            case "edit" if intent.of in shown:
                before = shown[intent.of]
                shown[intent.of] = replace(before, text=message.text, blocks=message.blocks)
                continue
            case "edit":
                message = replace(
                    message, is_edited=True, note=" ".join(["An earlier message becomes this.", message.note])
                )
            case "upload":
                picture = Picture(intent.file, intent.alt, intent.filename)
                message = replace(message, pictures=(picture,), blocks=())
        shown[intent.key] = message
        if intent.kind in ("reply", "upload") and intent.of in shown:
            threads.setdefault(intent.of, []).append(intent.key)
            continue
        if intent.kind in ("reply", "upload"):
            note = " ".join(["In the thread of an earlier message.", message.note])
            shown[intent.key] = replace(message, note=note)
        channels.setdefault(intent.channel, []).append(intent.key)

    def whole(key: str) -> Shown:
        replies = tuple(whole(reply) for reply in threads.get(key, ()))
        return replace(shown[key], note=shown[key].note.strip(), replies=replies)

    return [
        Part(channel if channel.startswith("#") else f"Channel {channel}", tuple(map(whole, keys)))
        for channel, keys in channels.items()
    ]


def page(
    title: str,
    parts: Sequence[Part],
    *,
    about: str = "",
    silent: Sequence[tuple[str, str]] = (),
    names: Mapping[str, str] | None = None,
) -> str:
    """A page of HTML.

    Args:
        silent: what is not told, with the reason.
        names: ID of a Slack user, user group or channel -> what Slack shows for it; else the ID is shown.
    """
    known = names or {}
    environment = Environment(
        loader=PackageLoader("health_pipeline.alerts.delivery", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = lambda text: said(text, known)
    environment.filters["person"] = lambda user: known.get(user, user)
    environment.filters["web"] = lambda url: url if url.startswith(_WEB) else "#"
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("preview.html").render(
        title=title, about=about, parts=parts, silent=silent, app=APP_NAME, groups=_groups, choose=_CHOOSE
    )


def said(text: Element, names: Mapping[str, str]) -> Markup:
    """A text object of Block Kit as HTML; its line ends stay as they are."""
    value = text["text"]
    return _mrkdwn(value, names) if text["type"] == "mrkdwn" else escape(_unescaped(value))


def _mrkdwn(value: str, names: Mapping[str, str]) -> Markup:
    kept: list[Markup] = []

    def keep(markup: Markup) -> str:
        kept.append(markup)
        return f"\ue000{len(kept) - 1}\ue001"

    def code(found: re.Match[str]) -> str:
        block, inline = found.groups()
        tag = Markup("<pre>{}</pre>") if block else Markup("<code>{}</code>")
        return keep(tag.format(_unescaped(block or inline).strip("\n")))

    bare = value.replace("\ue000", "").replace("\ue001", "")
    bare = _CODE.sub(code, bare)
    bare = _CONTROL.sub(lambda found: keep(_control(found[1], names)), bare)
    formatted = _quoted(bare, _formatted)
    while _KEPT.search(formatted):  # a link may hold code
        formatted = _KEPT.sub(lambda found: str(kept[int(found[1])]), formatted)
    return Markup(_BESIDE.sub(r"\1", formatted))  # every part was escaped above


def _formatted(value: str) -> str:
    shown = str(escape(_unescaped(value)))
    for mark, pattern in _MARKS.items():
        shown = pattern.sub(rf"<{_TAGS[mark]}>\1</{_TAGS[mark]}>", shown)
    return shown


def _quoted(value: str, render: Callable[[str], str]) -> str:
    """Lines, with those that begin with ``>`` gathered into quotes."""
    shown: list[str] = []
    quoted: list[str] = []
    for line in [*value.split("\n"), None]:
        if line is not None and _QUOTE.match(line):
            quoted.append(render(_QUOTE.sub("", line)))
            continue
        if quoted:
            shown.append("<blockquote>" + "\n".join(quoted) + "</blockquote>")
            quoted = []
        if line is not None:
            shown.append(render(line))
    return "\n".join(shown)


def _control(inside: str, names: Mapping[str, str]) -> Markup:
    """What stands between ``<`` and ``>``: a link, a mention, a date."""
    target, _, label = inside.partition("|")
    if target.startswith("@"):
        return _mention(f"@{names.get(target[1:], label or target[1:])}")
    if target.startswith("#"):
        return _mention(f"#{names.get(target[1:], label or target[1:])}")
    if target.startswith("!subteam^"):
        group = target.partition("^")[2]
        return _mention(f"@{names.get(group, label.removeprefix('@') or group)}")
    if target.startswith("!date^"):
        return escape(_unescaped(label))
    if target.startswith("!"):
        return Markup('<span class="mention everybody">@{}</span>').format(target[1:])
    shown = _unescaped(label or target)
    if not target.startswith(_WEB):
        return escape(shown)
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(_unescaped(target), shown)


def _mention(shown: str) -> Markup:
    return Markup('<span class="mention">{}</span>').format(_unescaped(shown))


def _unescaped(value: str) -> str:
    """As Slack reads it: it knows these three entities and no other."""
    return value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _groups(element: Element) -> list[tuple[str, list[Element]]]:
    """(label, options) of a menu's groups; one without a label for a menu without groups."""
    if "option_groups" in element:
        return [(_unescaped(group["label"]["text"]), group["options"]) for group in element["option_groups"]]
    return [("", element.get("options", []))]


def _held(intent: Intent, zone: str) -> str:
    """Until when it waits; "" for what goes out at once."""
    if intent.not_before is None:
        return ""
    return f"Waits until {intent.not_before.astimezone(zoneinfo.ZoneInfo(zone)):%H:%M} {zone}: quiet hours."


def _data_uri(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
