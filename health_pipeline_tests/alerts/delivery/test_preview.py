"""Messages as a page: what Slack would show, safe whatever the data hold, and by itself."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.intent import Intent, Kind
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.delivery.preview import Part, Shown, arranged, page, said

Markdown = Callable[[str], str]
VOID = {"meta", "img", "br", "hr", "rect", "path", "link", "input"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; fails where elements are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self._open[-1:] == ["style"] else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(*blocks: kit.Block) -> Page:
    return Page(page("", [Part("#ops", (Shown("", blocks),))]))


def mrkdwn(text: str) -> str:
    return str(said({"type": "mrkdwn", "text": text}, {"U0002": "Ana Anders", "S0001": "night shift"}))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* and _slanted_ and ~gone~", "<b>bold</b> and <i>slanted</i> and <s>gone</s>"),
        ("*New* (3)\n*Ended* (1)", "<b>New</b> (3)\n<b>Ended</b> (1)"),
        ("2 * 3 * 4, a*b*c, snake_case_name", "2 * 3 * 4, a*b*c, snake_case_name"),
        ("* no* and *no *", "* no* and *no *"),
        ("*bold _and slanted_*", "<b>bold <i>and slanted</i></b>"),
        ("<https://a.example/?x=1&amp;y=2|Open *it*>",
         '<a href="https://a.example/?x=1&amp;y=2" rel="noreferrer">Open *it*</a>'),
        ("*<https://a.example|Open>*", '<b><a href="https://a.example" rel="noreferrer">Open</a></b>'),
        ("<https://a.example>", '<a href="https://a.example" rel="noreferrer">https://a.example</a>'),
        ("<mailto:ana@a.example|Ana>", "Ana"),
        ("<javascript:alert(1)|Ana>", "Ana"),
        ("<@U0002> and <@U0009>",
         '<span class="mention">@Ana Anders</span> and <span class="mention">@U0009</span>'),
        ("<!subteam^S0001>", '<span class="mention">@night shift</span>'),
        ("<#C0001|ops>", '<span class="mention">#ops</span>'),
        ("<!channel>", '<span class="mention everybody">@channel</span>'),
        ("until <!date^1795590557^{date_short}|30 November>", "until 30 November"),
        ("`a *b*` and ```\n_c_\n```", "<code>a *b*</code> and <pre>_c_</pre>"),
        ("&gt; quoted\n&gt; *twice*\nnot", "<blockquote>quoted\n<b>twice</b></blockquote>not"),
        ("a\n\n&gt; b", "a\n<blockquote>b</blockquote>"),
        ("&lt;b&gt; &amp;amp; \"'", "&lt;b&gt; &amp;amp; &#34;&#39;"),
        ("&copy;", "&amp;copy;"),
    ],
)  # fmt: skip
def test_slacks_markdown(text: str, html: str) -> None:
    assert mrkdwn(text) == html


def test_plain_text_is_left_alone() -> None:
    text = {"type": "plain_text", "text": "*a* &lt;@U0002&gt; `b`\nc"}
    assert said(text, {"U0002": "Ana"}) == "*a* &lt;@U0002&gt; `b`\nc"


@given(st.text(st.characters() | st.sampled_from("<>&|*_~`>\n\ue000\ue0010@!#^"), max_size=60))
def test_whatever_a_text_holds_it_stays_text(text: str) -> None:
    for kind in ("mrkdwn", "plain_text"):
        html = str(said({"type": kind, "text": text}, {}))
        assert not re.search(r"<(?!/?(?:b|i|s|a|code|pre|blockquote|span)\b)", html)
        assert not re.search(r"<a (?!href=\"https?://)", html)
        Page(html)


def test_every_block_of_a_message_is_there() -> None:
    seen = shown(
        kit.header("New · P1 · Facebook"),
        kit.context(["owner trust", "score 11.0"]),
        kit.said(f"{kit.mention('U0002')} *Overdue*"),
        kit.section("What happened.\nAnd why.", 100),
        kit.fields([("Expected", "1 a day"), ("Observed", "5 < 6 a day")]),
        {"type": "divider"},
        {"type": "image", "image_url": "https://a.example/x.png", "alt_text": "A line."},
        kit.actions(
            "x",
            [
                kit.button("acknowledge", "Acknowledge", style="primary"),
                kit.users_select("assign", "Assign"),
                kit.static_select("verdict", "Verdict", {"Real": [("Real: abuse", "real|0")]}, "real|0"),
                kit.button("open", "Open") | {"url": "https://a.example/1"},
            ],
        ),
    )
    for text in ("New · P1 · Facebook", "owner trust · score 11.0", "@U0002", "What happened.\nAnd why.",
                 "Expected\n1 a day", "5 < 6 a day", "Picture: A line.", "Acknowledge", "Assign", "Verdict",
                 "Real: abuse", "Open"):  # fmt: skip
        assert text in seen.text
    assert [b["class"] for b in seen.all("button")] == ["button primary"]
    assert [(s["aria-label"]) for s in seen.all("select")] == ["Assign", "Verdict"]
    assert [g["label"] for g in seen.all("optgroup")] == ["Real"]
    assert ["selected" in o for o in seen.all("option")] == [False, False, True]
    assert "https://a.example/1" in [a["href"] for a in seen.all("a")]


def test_a_block_or_element_that_is_not_known_is_said_and_not_lost() -> None:
    seen = shown({"type": "rich_text", "elements": []}, kit.actions("x", [{"type": "datepicker", "action_id": "d"}]))
    assert "A block of type rich_text: not shown here" in seen.text
    assert "An element of type datepicker: not shown here" in seen.text


def test_a_thread_with_a_picture_and_a_note() -> None:
    picture = Picture(b"\x89PNG", 'A line that "rises".', "a.png")
    reply = Shown("*Recovered*: it is over.", at="09:10")
    html = page(
        "Preview", [Part("#ops", (Shown("Hello", note="Waits until 07:00", is_edited=True, pictures=(picture,),
                                        replies=(reply, reply)),), "1 message")],
        about="of a day", silent=[("Facebook <up>", "its score is too small")],
    )  # fmt: skip
    seen = Page(html)
    for text in ("Preview", "of a day", "#ops", "1 message", "Hello", "(edited)", "Waits until 07:00", "2 replies",
                 "Recovered: it is over.", "09:10", "Facebook <up>", "its score is too small"):  # fmt: skip
        assert text in seen.text
    (image,) = seen.all("img")
    assert image["alt"] == 'A line that "rises".'
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def intent(key: str, kind: Kind = "post", of: str = "", *, channel: str = "#ops", **more: Any) -> Intent:
    return Intent(key, channel, kind, of, text=key.capitalize(), blocks=(kit.section(f"It says {key}.", 100),), **more)


def test_what_is_to_be_done_is_shown_as_it_will_stand() -> None:
    parts = arranged(
        [
            intent("a"),
            intent("chart", "upload", "a", file=b"png", filename="a.png", alt="A line."),
            intent("b", channel="C0123"),
            intent("a2", "edit", "a"),
            intent("reply", "reply", "a"),
            intent("reply2", "edit", "reply"),
        ]
    )
    assert [part.heading for part in parts] == ["#ops", "Channel C0123"]
    [a] = parts[0].messages
    assert (a.text, a.note, a.is_edited) == ("A2", "", False)
    chart, reply = a.replies
    assert chart.pictures == (Picture(b"png", "A line.", "a.png"),) and chart.blocks == ()
    assert (reply.text, reply.note) == ("Reply2", "")


def test_what_follows_an_earlier_message_stands_by_itself_and_says_so() -> None:
    at = dt.datetime(2026, 1, 5, 23, tzinfo=dt.UTC)
    edit, reply = arranged(
        [intent("a2", "edit", "a"), intent("r", "reply", "a", not_before=at)], zone="Asia/Singapore"
    )[0].messages  # fmt: skip
    assert (edit.note, edit.is_edited) == ("An earlier message becomes this.", True)
    assert reply.note == "In the thread of an earlier message. Waits until 07:00 Asia/Singapore: quiet hours."


def test_a_page_stands_by_itself_and_holds_no_script() -> None:
    html = page("Preview", [Part("#ops", (Shown("Hello"),))])
    seen = Page(html)
    assert not seen.all("script") and not seen.all("link")
    assert not re.search(r"url\(|@import", html)
    (policy,) = [m["content"] for m in seen.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert {"lang": "en"} in seen.all("html")
    assert "prefers-color-scheme: dark" in html
