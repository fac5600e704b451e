"""What makes a message safe and keeps it within Slack's limits, and the check that finds what would break one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Block, Element, Message, Part, violations
from health_pipeline_tests.slack_limits import invalid_blocks


def plain(text: str) -> Element:
    return {"type": "plain_text", "text": text, "emoji": False}


def mrkdwn(text: str) -> Element:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Block:
    return {"type": "section", "text": plain(text)}


def actions(*elements: Element) -> Block:
    return {"type": "actions", "block_id": "b", "elements": list(elements)}


def found(*blocks: Block, key: str = "key", text: str = "A sentence.") -> list[str]:
    return violations(Message(key, "#channel", text, blocks))


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_long_is_cut_between_characters() -> None:
    assert kit.escape("a" * 10, 10) == "a" * 10
    assert kit.escape("a" * 11, 10) == "a" * 9 + "…"
    assert kit.escape("&" * 11, 12) == "&amp;&amp;…"
    assert kit.escape("😀" * 6, 10) == "😀" * 4 + "…"


@pytest.mark.parametrize("text", ["", " \n ", "\x00 \u202e", "\u200b\ufeff\u2060", "\u3164\u2800\u115f\u1160\uffa0"])
def test_what_nobody_would_see_is_a_dash(text: str) -> None:
    assert kit.escape(text, 10) == "–"


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
        ("@Here", "@\u2060Here"),
        ("@\u200bchannel", "@\u2060channel"),
        ("one\r\ntwo\u2028three", "one two three"),
        ("\u202etxt\u200f", "txt"),
    ],
)
def test_text_from_data_loses_what_slack_would_obey(given_: str, shown: str) -> None:
    assert kit.escape(given_) == shown


@given(st.text(max_size=300), st.integers(1, 200))
def test_escaped_text_is_never_longer_than_its_limit_nor_empty(text: str, limit: int) -> None:
    shown = kit.escape(text, limit)
    assert 1 <= len(shown.encode("utf-16-le", "surrogatepass")) // 2 <= limit
    assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", shown)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("U012AB3CD", "<@U012AB3CD>"),
        ("W012AB3CD", "<@W012AB3CD>"),
        ("S012AB3CD", "<!subteam^S012AB3CD>"),
        ("cli:ana", "ana"),
        ("cli:U012AB3CD", "U012AB3CD"),
        ("cli:<!channel>", "&lt;!channel&gt;"),
        ("U012AB3CD\n", "U012AB3CD"),
        ("<@U012AB3CD>", "&lt;@U012AB3CD&gt;"),
        ("u012ab3cd", "u012ab3cd"),
        ("C012AB3CD", "C012AB3CD"),
        ("", "–"),
    ],
)
def test_only_an_id_of_slacks_is_a_mention(user: str, shown: str) -> None:
    assert kit.mention(user) == shown


@given(st.text(), st.text())
def test_a_reference_is_short_plain_and_of_one_incident(one: str, other: str) -> None:
    references = [kit.reference("eu_dsa", id_) for id_ in (one, other)]
    assert all(len(kit.edition(r, one)) <= 255 and r.isascii() for r in references)
    assert (references[0] == references[1]) is (one == other)


@pytest.mark.parametrize("length", range(225, 260))
def test_a_reference_leaves_room_for_its_edition(length: int) -> None:
    ref = kit.reference("eu_dsa", "i" * length)
    assert len(kit.edition(ref, "state")) <= 255
    assert kit.edition(ref, "state") != kit.edition(ref, "another")


def test_only_web_addresses_become_links_and_all_of_them_fit() -> None:
    links = {f"label {n}": f"https://health.example/{n}?a=1&b=2" for n in range(9)}
    shown = kit.web_links(
        {"bad": "javascript:alert(1)", "none": "https://", "long": "https://x/" + "a" * 3_000} | links
    )
    assert list(shown) == [f"label {n}" for n in range(5)]
    assert kit.web_links({"<a|b>": "https://x/<y>|z w"}) == {"&lt;a/b&gt;": "https://x/%3Cy%3E%7Cz%20w"}


# ── Too long together ────────────────────────────────────────────────────────────────────────────────────────────────


NOTE = section("There is more.")


def sections(count: int, size: int = 900) -> tuple[Block, ...]:
    return tuple(section("x" * size) for _ in range(count))


def test_what_counts_least_goes_first_and_its_block_tells() -> None:
    parts = [
        Part(0, sections(5)),
        Part(1, sections(1)),
        Part(2, (*sections(4), section("heading"))),
        Part(0, sections(1)),
    ]
    shown = kit.fitted(parts, NOTE)
    assert [len(b["text"]["text"]) for b in shown] == [900] * 6 + [len("There is more.")] + [900]
    assert not violations(Message("key", "#channel", "text", shown))


def test_nothing_goes_when_there_is_room() -> None:
    parts = [Part(0, sections(2)), Part(9, sections(2)), Part(3, ())]
    assert kit.fitted(parts, NOTE) == sections(4)


def test_there_are_never_more_blocks_than_slack_takes() -> None:
    shown = kit.fitted([Part(0, sections(40, 1)), *[Part(1, sections(1, 1)) for _ in range(30)]], NOTE)
    assert len(shown) == 50
    assert shown[-1] == NOTE


def test_a_terminal_shows_what_slack_shows() -> None:
    shown = kit.as_plain_text(
        kit.Content(
            "text",
            (
                kit.header("A & B"),
                kit.context(["one", "two <b>"]),
                kit.said(f"*Overdue* {kit.mention('U012AB3CD')} {kit.mention('S012AB3CD')}"),
                kit.fields([("Expected", "1 * 2 * 3")]),
                *kit.link_line({"Open": "https://x.example/?a=1&b=2"}),
                kit.actions("b", [kit.button("a", "Acknowledge"), kit.link_button("o", "Open", "https://x.example/")]),
            ),
        )
    )
    assert shown.splitlines() == [
        "A & B",
        "one · two <b>",
        "Overdue @U012AB3CD @S012AB3CD",
        "Expected: 1 * 2 * 3",
        "Open: https://x.example/?a=1&b=2",
        "[Acknowledge] [Open: https://x.example/]",
    ]


# ── The check ────────────────────────────────────────────────────────────────────────────────────────────────────────


BUTTON: Element = {"type": "button", "action_id": "a", "text": plain("Acknowledge")}
USERS: Element = {"type": "users_select", "action_id": "a", "placeholder": plain("Assign")}
OPTION: Element = {"text": plain("abuse"), "value": "real|0"}
SELECT: Element = {
    "type": "static_select",
    "action_id": "a",
    "placeholder": plain("Verdict"),
    "option_groups": [{"label": plain("Real"), "options": [OPTION]}],
}
FLAT: Element = {"type": "static_select", "action_id": "a", "options": [OPTION]}
IMAGE: Block = {"type": "image", "image_url": "https://x.example/a.png", "alt_text": "A chart"}


def options(count: int) -> list[Element]:
    return [{"text": plain("abuse"), "value": f"real|{n}"} for n in range(count)]


def groups(count: int) -> list[Element]:
    return [{"label": plain("Real"), "options": [{"text": plain("abuse"), "value": f"{n}"}]} for n in range(count)]


AT_THE_LIMIT: dict[str, list[Block]] = {
    "header": [{"type": "header", "text": plain("h" * 150)}],
    "section": [section("s" * 3_000)],
    "fields": [{"type": "section", "fields": [plain("f" * 700)] * 10}],
    "field": [{"type": "section", "text": mrkdwn("*Heading*"), "fields": [mrkdwn("f" * 2_000)]}],
    "context": [{"type": "context", "elements": [plain("c")] * 10}],
    "context with somebody and an image": [{"type": "context", "elements": [mrkdwn("by <@U012AB3CD>"), IMAGE]}],
    "group": [{"type": "section", "text": mrkdwn("<!subteam^S012AB3CD> <https://x.example/|Open>")}],
    "divider": [{"type": "divider"}],
    "image": [IMAGE | {"alt_text": "a" * 2_000, "title": plain("Chart")}],
    "file": [{"type": "image", "slack_file": {"id": "F012"}, "alt_text": "A chart"}],
    "button": [actions(BUTTON | {"text": plain("b" * 75), "value": "v" * 2_000, "url": "https://x/" + "u" * 2_990})],
    "buttons": [actions(*[BUTTON | {"action_id": f"a{n}"} for n in range(25)])],
    "action_id": [actions(BUTTON | {"action_id": "a" * 255, "style": "danger"})],
    "block_id": [section("one") | {"block_id": "b" * 255}, section("two") | {"block_id": "c"}],
    "users_select": [actions(USERS | {"placeholder": plain("p" * 150), "initial_user": "U012AB3CD"})],
    "static_select": [actions(SELECT | {"initial_option": OPTION})],
    "options": [actions(FLAT | {"options": options(90)})],
    "groups": [actions(SELECT | {"option_groups": groups(50)})],
    "option": [actions(FLAT | {"options": [{"text": plain("o" * 75), "value": "v" * 150}]})],
}
BEYOND: dict[str, tuple[list[Block], str]] = {
    "header": ([{"type": "header", "text": plain("h" * 151)}], "block 0 (header): 151, must be 1 to 150"),
    "mrkdwn header": ([{"type": "header", "text": mrkdwn("h")}], "must be plain_text"),
    "section": ([section("s" * 3_001)], "block 0 (section): 3001"),
    "empty section": ([section("")], "block 0 (section): 0"),
    "bare section": ([{"type": "section"}], "must have a text or fields"),
    "accessory": ([section("s") | {"accessory": BUTTON}], "accessory"),
    "fields": ([{"type": "section", "fields": [plain("f")] * 11}], "fields: 11"),
    "no fields": ([{"type": "section", "fields": []}], "fields: 0"),
    "field": ([{"type": "section", "fields": [plain("f" * 2_001)]}], "field: 2001"),
    "context": ([{"type": "context", "elements": [plain("c")] * 11}], "elements: 11"),
    "empty context": ([{"type": "context", "elements": []}], "elements: 0"),
    "context text": ([{"type": "context", "elements": [plain("")]}], "element: 0"),
    "button in context": ([{"type": "context", "elements": [BUTTON]}], "must be plain_text or mrkdwn"),
    "channel": ([{"type": "section", "text": mrkdwn("<!channel>")}], "'<!channel>'"),
    "here": ([{"type": "section", "text": mrkdwn("@here")}], "'@here'"),
    "somebody in plain text": ([section("<@U012AB3CD>")], "unescaped control character"),
    "link in plain text": ([section("<https://x.example/|Open>")], "unescaped control character"),
    "channel link": ([{"type": "section", "text": mrkdwn("<#C012AB3CD>")}], "unescaped control character"),
    "bare ampersand": ([{"type": "section", "text": mrkdwn("a & b")}], "unescaped control character"),
    "in a placeholder": ([actions(USERS | {"placeholder": plain("<@U012AB3CD>")})], "unescaped control character"),
    "in an option": ([actions(FLAT | {"options": [OPTION | {"text": plain("@channel")}]})], "unescaped"),
    "image": ([IMAGE | {"alt_text": "a" * 2_001}], "alt_text: 2001"),
    "image without words": ([{"type": "image", "image_url": "https://x.example/a.png"}], "alt_text: must be a text"),
    "image without source": ([{"type": "image", "alt_text": "a"}], "image_url or slack_file"),
    "image of two sources": ([IMAGE | {"slack_file": {"id": "F1"}}], "image_url or slack_file"),
    "image address": ([IMAGE | {"image_url": "file:///etc/passwd"}], "web address"),
    "file": ([{"type": "image", "alt_text": "a", "slack_file": {}}], "id or url"),
    "image title": ([IMAGE | {"title": mrkdwn("t")}], "title: must be plain_text"),
    "divider": ([{"type": "divider", "text": plain("d")}], "holds nothing"),
    "video": ([{"type": "video"}], "not a type of block"),
    "no type": ([{}], "not a type of block"),
    "no actions": ([actions()], "elements: 0"),
    "actions": ([actions(*[BUTTON | {"action_id": f"a{n}"} for n in range(26)])], "elements: 26"),
    "unknown element": ([actions({"type": "timepicker", "action_id": "a"})], "'timepicker' is no element in use"),
    "action_id": ([actions(BUTTON | {"action_id": "a" * 256})], "action_id: 256"),
    "no action_id": ([actions({"type": "button", "text": plain("b")})], "action_id: must be a text"),
    "two of an action": ([actions(BUTTON, USERS)], "action_id 'a': must be unique"),
    "an action in two blocks": ([actions(BUTTON), actions(BUTTON) | {"block_id": "c"}], "'a': must be unique"),
    "block_id": ([section("s") | {"block_id": "b" * 256}], "block_id: 256"),
    "two of a block": ([section("s") | {"block_id": "b"}] * 2, "block_id 'b': must be unique"),
    "button": ([actions(BUTTON | {"text": plain("b" * 76)})], "button: 76"),
    "mrkdwn button": ([actions(BUTTON | {"text": mrkdwn("b")})], "button: must be plain_text"),
    "value": ([actions(BUTTON | {"value": "v" * 2_001})], "value: 2001"),
    "url": ([actions(BUTTON | {"url": "https://x/" + "u" * 2_991})], "url: 3001"),
    "script": ([actions(BUTTON | {"url": "javascript:alert(1)"})], "web address"),
    "style": ([actions(BUTTON | {"style": "red"})], "primary or danger"),
    "placeholder": ([actions(USERS | {"placeholder": plain("p" * 151)})], "placeholder: 151"),
    "initial_user": ([actions(USERS | {"initial_user": "cli:ana"})], "initial_user"),
    "no options": ([actions({"type": "static_select", "action_id": "a"})], "options or option_groups"),
    "both": ([actions(SELECT | {"options": [OPTION]})], "options or option_groups"),
    "empty options": ([actions(FLAT | {"options": []})], "options: 0"),
    "options": ([actions(FLAT | {"options": options(101)})], "options: 101"),
    "groups": ([actions(SELECT | {"option_groups": groups(101)})], "option_groups: 101"),
    "label": ([actions(SELECT | {"option_groups": [groups(1)[0] | {"label": plain("l" * 76)}]})], "label: 76"),
    "option": ([actions(FLAT | {"options": [OPTION | {"text": plain("o" * 76)}]})], "option: 76"),
    "option value": ([actions(FLAT | {"options": [OPTION | {"value": "v" * 151}]})], "option value: 151"),
    "chosen": ([actions(SELECT | {"initial_option": OPTION | {"value": "other"}})], "one of the options"),
    "two options of a value": ([actions(FLAT | {"options": [OPTION, OPTION]})], "'real|0': must be unique"),
    "blocks": ([section("s")] * 51, "blocks: 51"),
    "all together": ([section("s" * 2_600)] * 4, "characters of blocks"),
}
OURS = {"accessory", "an action in two blocks", "all together", "two options of a value", "no action_id"}
"""What Slack takes, and these messages do not hold."""
CONTROL = {name for name, (_, says) in BEYOND.items() if "unescaped" in says or says.startswith("'")} - OURS
"""What Slack takes, and obeys."""


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_what_slack_takes_is_found_in_order(name: str) -> None:
    assert found(*AT_THE_LIMIT[name]) == []
    assert invalid_blocks(AT_THE_LIMIT[name]) == []


@pytest.mark.parametrize("name", BEYOND)
def test_what_slack_would_refuse_or_obey_is_found(name: str) -> None:
    blocks, says = BEYOND[name]
    assert [line for line in found(*blocks) if says in line], found(*blocks)


@pytest.mark.parametrize("name", [n for n in BEYOND if n not in OURS | CONTROL])
def test_the_fake_slack_refuses_it_too(name: str) -> None:
    assert invalid_blocks(BEYOND[name][0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key": "k" * 256}, "key: 256"),
        ({"key": ""}, "key: 0"),
        ({"text": ""}, "text: 0"),
        ({"text": "t" * 4_001}, "text: 4001"),
        ({"text": "<@U012AB3CD>"}, "text: unescaped"),
        ({"text": "@channel"}, "text: unescaped"),
    ],
)
def test_key_and_text_are_checked_as_well(changes: dict[str, Any], says: str) -> None:
    assert [line for line in found(section("s"), **changes) if says in line]
    assert [line for line in found() if "blocks: 0" in line]
