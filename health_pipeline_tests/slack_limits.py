"""What Slack finds wrong with the blocks of a message, by its published Block Kit reference.

Written apart from the product's own check, so that one can be held against the other. Covers the blocks and
elements that a message of an app may hold; what is not covered is refused, as Slack refuses what it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Block = Mapping[str, Any]
Problem = tuple[str, str]  # what is wrong, and the JSON pointer of where

MAX_BLOCKS = 50
MAX_JSON = 13_000
"""Characters of all blocks; not published, but messages beyond it come back as ``msg_blocks_too_long``."""


def invalid_blocks(blocks: Any) -> list[str]:
    """Everything that is wrong, in Slack's own way of saying it; empty for valid blocks."""
    return [f"{what} [json-pointer:{where}]" for what, where in _message(blocks)]


def too_long(blocks: list[Block]) -> bool:
    return len(json.dumps(blocks, ensure_ascii=False)) > MAX_JSON


def _message(blocks: Any) -> Iterator[Problem]:
    if not isinstance(blocks, list):
        yield "must be an array", "/blocks"
        return
    if len(blocks) > MAX_BLOCKS:
        yield f"no more than {MAX_BLOCKS} items allowed", "/blocks"
    ids: set[str] = set()
    for index, block in enumerate(blocks):
        at = f"/blocks/{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _BLOCKS:
            yield f"unsupported type: {kind}", at
            continue
        allowed, check = _BLOCKS[kind]
        yield from _properties(block, {"type", "block_id", *allowed}, at)
        if "block_id" in block:
            yield from _string(block["block_id"], 255, f"{at}/block_id")
            if block["block_id"] in ids:
                yield "`block_id` already exists: " + str(block["block_id"]), f"{at}/block_id"
            ids.add(str(block["block_id"]))
        yield from check(block, at)


def _header(block: Block, at: str) -> Iterator[Problem]:
    yield from _text(block.get("text"), 150, f"{at}/text", plain=True)


def _section(block: Block, at: str) -> Iterator[Problem]:
    if "text" not in block and "fields" not in block:
        yield "text or fields must be provided", at
    if "text" in block:
        yield from _text(block["text"], 3_000, f"{at}/text")
    if "fields" in block:
        yield from _items(block["fields"], 1, 10, f"{at}/fields")
        for index, field in enumerate(block["fields"]):
            yield from _text(field, 2_000, f"{at}/fields/{index}")
    if "accessory" in block:
        yield from _elements([block["accessory"]], {*_ACTIONS, "image"}, f"{at}/accessory")


def _context(block: Block, at: str) -> Iterator[Problem]:
    elements = block.get("elements", [])
    yield from _items(elements, 1, 10, f"{at}/elements")
    for index, element in enumerate(elements):
        where = f"{at}/elements/{index}"
        if element.get("type") == "image":
            yield from _image(element, where)
        else:
            yield from _text(element, 2_000, where)


def _actions(block: Block, at: str) -> Iterator[Problem]:
    elements = block.get("elements", [])
    yield from _items(elements, 1, 25, f"{at}/elements")
    yield from _elements(elements, set(_ACTIONS), f"{at}/elements")


def _image(block: Block, at: str) -> Iterator[Problem]:
    sources = [name for name in ("image_url", "slack_file") if name in block]
    if len(sources) != 1:
        yield "one of image_url and slack_file must be provided", at
    if "image_url" in block:
        yield from _string(block["image_url"], 3_000, f"{at}/image_url")
        if not str(block["image_url"]).startswith(("https://", "http://")):
            yield "must be a valid URL", f"{at}/image_url"
    if "slack_file" in block and len(set(block["slack_file"]) & {"id", "url"}) != 1:
        yield "one of id and url must be provided", f"{at}/slack_file"
    yield from _string(block.get("alt_text"), 2_000, f"{at}/alt_text")
    if "title" in block:
        yield from _text(block["title"], 2_000, f"{at}/title", plain=True)


def _divider(block: Block, at: str) -> Iterator[Problem]:
    yield from ()


def _elements(elements: list[Any], allowed: set[str], at: str) -> Iterator[Problem]:
    ids: set[str] = set()
    for index, element in enumerate(elements):
        where = f"{at}/{index}"
        kind = element.get("type") if isinstance(element, dict) else None
        if kind == "image" and kind in allowed:
            yield from _image(element, where)
            continue
        if kind not in allowed:
            yield f"unsupported type: {kind}", where
            continue
        properties, check = _ACTIONS[kind]
        yield from _properties(element, {"type", "action_id", "confirm", *properties}, where)
        if "action_id" in element:
            yield from _string(element["action_id"], 255, f"{where}/action_id")
            if element["action_id"] in ids:
                yield "`action_id` already exists: " + str(element["action_id"]), f"{where}/action_id"
            ids.add(str(element["action_id"]))
        if "confirm" in element:
            yield from _confirm(element["confirm"], f"{where}/confirm")
        yield from check(element, where)


def _button(element: Block, at: str) -> Iterator[Problem]:
    yield from _text(element.get("text"), 75, f"{at}/text", plain=True)
    if "value" in element:
        yield from _string(element["value"], 2_000, f"{at}/value")
    if "url" in element:
        yield from _string(element["url"], 3_000, f"{at}/url")
        if not str(element["url"]).startswith(("https://", "http://")):
            yield "must be a valid URL", f"{at}/url"
    if "accessibility_label" in element:
        yield from _string(element["accessibility_label"], 75, f"{at}/accessibility_label")
    if element.get("style", "primary") not in ("primary", "danger"):
        yield "must be one of: primary, danger", f"{at}/style"


def _overflow(element: Block, at: str) -> Iterator[Problem]:
    yield from _options(element.get("options"), 5, f"{at}/options", url=True)


def _static_select(element: Block, at: str) -> Iterator[Problem]:
    yield from _placeholder(element, at)
    if ("options" in element) == ("option_groups" in element):
        yield "one of options and option_groups must be provided", at
    if "options" in element:
        yield from _options(element["options"], 100, f"{at}/options")
    if "option_groups" in element:
        yield from _items(element["option_groups"], 1, 100, f"{at}/option_groups")
        for index, group in enumerate(element["option_groups"]):
            where = f"{at}/option_groups/{index}"
            yield from _properties(group, {"label", "options"}, where)
            yield from _text(group.get("label"), 75, f"{where}/label", plain=True)
            yield from _options(group.get("options"), 100, f"{where}/options")
    if "initial_option" in element:
        groups = [*element.get("option_groups", ()), {"options": element.get("options", ())}]
        if element["initial_option"] not in [option for group in groups for option in group["options"]]:
            yield "must be one of the provided options", f"{at}/initial_option"


def _users_select(element: Block, at: str) -> Iterator[Problem]:
    yield from _placeholder(element, at)
    if "initial_user" in element and not re.fullmatch(r"[UW][A-Z0-9]+", str(element["initial_user"])):
        yield "must be a user's ID", f"{at}/initial_user"


def _placeholder(element: Block, at: str) -> Iterator[Problem]:
    if "placeholder" in element:
        yield from _text(element["placeholder"], 150, f"{at}/placeholder", plain=True)


def _options(options: Any, most: int, at: str, *, url: bool = False) -> Iterator[Problem]:
    yield from _items(options, 1, most, at)
    for index, option in enumerate(options or ()):
        where = f"{at}/{index}"
        yield from _properties(option, {"text", "value", "description", *(["url"] if url else [])}, where)
        yield from _text(option.get("text"), 75, f"{where}/text", plain=True)
        yield from _string(option.get("value"), 150, f"{where}/value")
        if "description" in option:
            yield from _text(option["description"], 75, f"{where}/description", plain=True)
        if "url" in option:
            yield from _string(option["url"], 3_000, f"{where}/url")


def _confirm(confirm: Block, at: str) -> Iterator[Problem]:
    for name, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        yield from _text(confirm.get(name), limit, f"{at}/{name}", plain=name != "text")
    yield from _properties(confirm, {"title", "text", "confirm", "deny", "style"}, at)
    if confirm.get("style", "primary") not in ("primary", "danger"):
        yield "must be one of: primary, danger", f"{at}/style"


def _text(text: Any, limit: int, at: str, *, plain: bool = False) -> Iterator[Problem]:
    kind = text.get("type") if isinstance(text, dict) else None
    if kind not in (("plain_text",) if plain else ("plain_text", "mrkdwn")):
        yield f"must be {'plain_text' if plain else 'plain_text or mrkdwn'}, not {kind}", at
        return
    yield from _properties(text, {"type", "text", "emoji" if kind == "plain_text" else "verbatim"}, at)
    yield from _string(text.get("text"), limit, at)


def _string(value: Any, limit: int, at: str) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield "must be a string", at
    elif not 1 <= len(value) <= limit:
        yield f"must be 1 to {limit} characters", at


def _items(items: Any, least: int, most: int, at: str) -> Iterator[Problem]:
    if not isinstance(items, list) or len(items) < least:
        yield f"no fewer than {least} items allowed", at
    elif len(items) > most:
        yield f"no more than {most} items allowed", at


def _properties(given: Block, allowed: set[str], at: str) -> Iterator[Problem]:
    for name in sorted(set(given) - allowed):
        yield f"invalid additional property: {name}", at


Check = Callable[[Block, str], Iterator[Problem]]

_BLOCKS: dict[str, tuple[tuple[str, ...], Check]] = {
    "header": (("text",), _header),
    "section": (("text", "fields", "accessory", "expand"), _section),
    "context": (("elements",), _context),
    "actions": (("elements",), _actions),
    "image": (("image_url", "slack_file", "alt_text", "title"), _image),
    "divider": ((), _divider),
}
_ACTIONS: dict[str, tuple[tuple[str, ...], Check]] = {
    "button": (("text", "url", "value", "style", "accessibility_label"), _button),
    "overflow": (("options",), _overflow),
    "static_select": (
        ("placeholder", "options", "option_groups", "initial_option", "focus_on_load"), _static_select,
    ),
    "users_select": (("placeholder", "initial_user", "focus_on_load"), _users_select),
    "datepicker": (("placeholder", "initial_date", "focus_on_load"), _placeholder),
}  # fmt: skip
