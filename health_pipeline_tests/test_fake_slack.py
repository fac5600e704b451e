"""The fake Slack answers as Slack does, to Slack's own library, over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.webhook import WebhookClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import ANA, APP_TOKEN, BEN, BOT, SIGNING_SECRET, TOKEN, FakeSlack, sign, signed
from health_pipeline_tests.slack_limits import invalid_blocks

HERE = "C00000001"


@pytest.fixture
def client(server: FakeSlack) -> WebClient:
    return WebClient(TOKEN, base_url=server.url, retry_handlers=[])


def refused(call: Any, **arguments: Any) -> str:
    """The code with which a request is refused."""
    with pytest.raises(SlackApiError) as raised:
        call(**arguments)
    return str(raised.value.response.get("error"))


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def button(action_id: str, **changes: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": action_id, "text": plain("Do it"), "value": "incident-7"} | changes


OPTION = {"text": plain("Real"), "value": "real"}
SELECT = {"type": "static_select", "action_id": "verdict", "placeholder": plain("Verdict"), "options": [OPTION]}
ACTIONS = [{"type": "actions", "block_id": "incident-7", "elements": [button("acknowledge"), SELECT,
            {"type": "users_select", "action_id": "assign"}]}]  # fmt: skip


# Messages.


def test_a_message_is_edited_in_place_and_keeps_its_metadata(server: FakeSlack, client: WebClient) -> None:
    metadata = {"event_type": "e", "event_payload": {"key": "k"}}
    posted = client.chat_postMessage(channel="#ecosystem-health", text="old", metadata=metadata)
    client.chat_update(channel=HERE, ts=posted["ts"], text="new")
    (message,) = client.conversations_history(channel=HERE, include_all_metadata=True)["messages"]
    assert (message["text"], message["metadata"], message["edited"]["user"]) == ("new", metadata, BOT)
    assert [e["text"] for e in server.edits] == ["new"]


def test_what_cannot_be_edited_is_refused_by_its_reason(server: FakeSlack, client: WebClient) -> None:
    own, other = client.chat_postMessage(channel=HERE, text="old")["ts"], server.say(HERE, "mine")["ts"]
    assert refused(client.chat_update, channel=HERE, ts="1.000001", text="new") == "message_not_found"
    assert refused(client.chat_update, channel="C00000002", ts=own, text="new") == "message_not_found"
    assert refused(client.chat_update, channel="#ecosystem-health", ts=own, text="new") == "channel_not_found"
    assert refused(client.chat_update, channel=HERE, ts=other, text="new") == "cant_update_message"
    assert refused(client.chat_update, channel=HERE, ts=own, text="x" * 4_001) == "msg_too_long"
    assert refused(client.chat_postMessage, channel=HERE, text="x" * 40_001) == "msg_too_long"
    assert refused(client.chat_postMessage, channel=HERE, text="x", metadata={"k": 1}) == "invalid_metadata_format"
    assert [m["text"] for m in server.messages] == ["old", "mine"]
    assert server.edits == []


def test_replies_stand_in_their_thread_and_not_in_the_history(server: FakeSlack, client: WebClient) -> None:
    parent = client.chat_postMessage(channel=HERE, text="parent")["ts"]
    for n in range(5):
        client.chat_postMessage(channel=HERE, text=f"reply {n}", thread_ts=parent)
    (shown,) = client.conversations_history(channel=HERE)["messages"]
    assert (shown["text"], shown["reply_count"]) == ("parent", 5)
    server.page = 2
    pages = [page["messages"] for page in client.conversations_replies(channel=HERE, ts=parent)]
    assert [[m["text"] for m in page] for page in pages] == [
        ["parent", "reply 0"], ["reply 1", "reply 2"], ["reply 3", "reply 4"],
    ]  # fmt: skip
    assert refused(client.conversations_replies, channel=HERE, ts="1.000001") == "thread_not_found"
    assert refused(client.chat_postMessage, channel=HERE, text="x", thread_ts="1.000001") == "thread_not_found"


def test_a_reply_has_a_permalink_of_its_own(client: WebClient) -> None:
    parent = client.chat_postMessage(channel=HERE, text="parent")["ts"]
    reply = client.chat_postMessage(channel=HERE, text="reply", thread_ts=parent)["ts"]
    link = client.chat_getPermalink(channel=HERE, message_ts=reply)["permalink"]
    assert link == (f"https://fake.slack.com/archives/{HERE}/p{reply.replace('.', '')}?thread_ts={parent}&cid={HERE}")
    assert refused(client.chat_getPermalink, channel=HERE, message_ts="1.000001") == "message_not_found"


def test_the_librarys_own_upload_brings_the_bytes(server: FakeSlack, client: WebClient) -> None:
    parent = client.chat_postMessage(channel=HERE, text="parent")["ts"]
    data = bytes(range(256)) * 300
    client.files_upload_v2(
        channel=HERE, thread_ts=parent, filename="a.png", file=data, title="A", alt_txt="A line.", initial_comment="See"
    )
    ((file_id, file),) = server.files.items()
    assert file["data"] == data
    (_, shared) = client.conversations_replies(channel=HERE, ts=parent)["messages"]
    assert (shared["text"], shared["files"]) == ("See", [{"id": file_id, "title": "A", "name": "a.png"}])


def test_an_upload_that_skips_a_step_is_refused(server: FakeSlack, client: WebClient) -> None:
    place = client.files_getUploadURLExternal(filename="a.png", length=3)
    files = [{"id": place["file_id"]}]
    assert refused(client.files_completeUploadExternal, files=files, channel_id=HERE) == "file_not_found"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(place["upload_url"], data=b"four", method="POST"))
    assert refused(client.files_getUploadURLExternal, filename="a.png", length=0) == "missing_argument"
    assert refused(client.files_getUploadURLExternal, filename="a", length=1, alt_txt="x" * 1_001) == (
        "alt_txt_too_large"
    )
    assert server.messages == []


def test_a_message_and_a_file_can_be_taken_away_again(server: FakeSlack, client: WebClient) -> None:
    ts = client.chat_postMessage(channel=HERE, text="said")["ts"]
    theirs = server.say("ecosystem-health", "Ours is better.")["ts"]
    client.chat_delete(channel=HERE, ts=ts)
    assert [m["ts"] for m in server.messages] == [theirs]
    assert refused(client.chat_delete, channel=HERE, ts=ts) == "message_not_found"
    assert refused(client.chat_delete, channel=HERE, ts=theirs) == "cant_delete_message"
    place = client.files_getUploadURLExternal(filename="a.png", length=3)
    client.files_delete(file=place["file_id"])
    assert refused(client.files_delete, file=place["file_id"]) == "file_not_found"


def test_a_channel_says_whether_the_bot_is_in_it_and_whether_it_is_closed(server: FakeSlack, client: WebClient) -> None:
    def standing() -> tuple[str, bool, bool]:
        about = client.conversations_info(channel=HERE)["channel"]
        return about["name"], about["is_member"], about["is_archived"]

    assert standing() == ("ecosystem-health", True, False)
    server.away.add(HERE)
    assert standing() == ("ecosystem-health", False, False)
    assert refused(client.chat_postMessage, channel=HERE, text="x") == "not_in_channel"
    server.away.clear()
    server.archived.add(HERE)
    assert standing() == ("ecosystem-health", True, True)
    assert refused(client.chat_postMessage, channel=HERE, text="x") == "is_archived"
    assert refused(client.conversations_info, channel="#ecosystem-health") == "channel_not_found"


def test_every_method_needs_its_token_and_scope(server: FakeSlack, client: WebClient) -> None:
    assert [u["id"] for u in client.users_list()["members"]] == [BOT, ANA, BEN]
    server.scopes = {"chat:write", "files:write"}
    assert client.auth_test().headers["x-oauth-scopes"] == "chat:write,files:write"
    for call, arguments in (
        (client.users_list, {}),
        (client.conversations_list, {}),
        (client.conversations_replies, {"channel": HERE, "ts": "1.1"}),
    ):
        assert refused(call, **arguments) == "missing_scope"
    assert refused(WebClient("xoxb-wrong", base_url=server.url).auth_test) == "invalid_auth"
    assert refused(client.apps_connections_open, app_token=TOKEN) == "invalid_auth"


@pytest.mark.parametrize(
    "method", ["auth.test", "chat.update", "conversations.replies", "files.completeUploadExternal"]
)
def test_every_method_can_have_a_bad_day(server: FakeSlack, client: WebClient, method: str) -> None:
    parent = client.chat_postMessage(channel=HERE, text="parent")["ts"]
    place = client.files_getUploadURLExternal(filename="a", length=1)
    urllib.request.urlopen(urllib.request.Request(place["upload_url"], data=b"x", method="POST")).close()
    arguments = {
        "auth.test": {},
        "chat.update": {"channel": HERE, "ts": parent, "text": "new"},
        "conversations.replies": {"channel": HERE, "ts": parent},
        "files.completeUploadExternal": {"files": json.dumps([{"id": place["file_id"]}])},
    }[method]
    server.faults[method].extend(["rate_limited:7", "error_before", "code:fatal_error", "drop_before"])
    with pytest.raises(SlackApiError) as limited:
        client.api_call(method, params=arguments)
    assert (limited.value.response.status_code, limited.value.response.headers["retry-after"]) == (429, "7")
    with pytest.raises(SlackApiError) as broken:
        client.api_call(method, params=arguments)
    assert broken.value.response.status_code == 500
    assert refused(client.api_call, api_method=method, params=arguments) == "fatal_error"
    with pytest.raises((OSError, urllib.error.URLError)):
        client.api_call(method, params=arguments)
    assert server.edits == [] and not server.files[place["file_id"]]["shared"], "none of them had an effect"
    server.faults[method].extend(["error_after"])
    with pytest.raises(SlackApiError) as lost:
        client.api_call(method, params=arguments)
    assert lost.value.response.status_code == 502
    assert len(server.edits) == (method == "chat.update")
    assert server.files[place["file_id"]]["shared"] == (method == "files.completeUploadExternal")


def test_what_has_arrived_whole_counts_though_its_sender_has_gone_at_once(server: FakeSlack) -> None:
    body = json.dumps({"channel": HERE, "text": "Said."}).encode()
    head = (
        f"POST /api/chat.postMessage HTTP/1.1\r\nHost: {server.address}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    host, port = server.address.split(":")
    for sent in [head + body, head + body[:-1]] * 20:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    server.settle()
    assert [message["text"] for message in server.messages] == ["Said."] * 20


def test_a_slow_answer_is_held_until_whoever_asked_has_gone(server: FakeSlack) -> None:
    server.faults["chat.postMessage"].append("slow_after")
    hasty = WebClient(TOKEN, base_url=server.url, retry_handlers=[])
    hasty.timeout = 0.2  # type: ignore[assignment]  # handed to urllib, which takes fractions
    with pytest.raises((OSError, urllib.error.URLError)):
        hasty.chat_postMessage(channel=HERE, text="Said.")
    server.settle()
    assert [message["text"] for message in server.messages] == ["Said."]


# Blocks.


def section(**parts: Any) -> list[dict[str, Any]]:
    return [{"type": "section", **parts}]


def actions(*elements: Any) -> list[dict[str, Any]]:
    return [{"type": "actions", "elements": list(elements)}]


def image(**changes: Any) -> list[dict[str, Any]]:
    return [{"type": "image", "image_url": "https://x.example/a.png", "alt_text": "A line."} | changes]


DIVIDER = {"type": "divider"}
PERSON = {"type": "users_select", "action_id": "assign"}
GROUP = {"label": plain("Real"), "options": [OPTION]}
GROUPED = {"type": "static_select", "action_id": "snooze", "option_groups": [GROUP]}
CONFIRM = {"title": plain("x" * 100), "text": plain("x" * 300), "confirm": plain("x" * 30), "deny": plain("x" * 30)}
AT_THE_LIMIT = [
    [DIVIDER] * 50,
    [{"type": "header", "text": plain("x" * 150)}],
    section(text=plain("x" * 3_000)),
    section(fields=[plain("x" * 2_000)] * 10),
    section(text=plain("x"), accessory=button("a")),
    [{"type": "context", "elements": [plain("x" * 2_000)] * 10}],
    actions(*(button(f"b{n}") for n in range(25))),
    actions(button("x" * 255, text=plain("x" * 75), value="x" * 2_000, url="https://" + "x" * 2_992)),
    actions(SELECT | {"options": [OPTION | {"value": "x" * 150, "text": plain("x" * 75)}] * 100}),
    actions(SELECT | {"placeholder": plain("x" * 150)}),
    actions(GROUPED | {"option_groups": [GROUP | {"label": plain("x" * 75), "options": [OPTION] * 100}] * 100}),
    actions(GROUPED | {"initial_option": OPTION}),
    actions(PERSON | {"placeholder": plain("x" * 150), "initial_user": ANA}),
    actions({"type": "overflow", "action_id": "o", "options": [OPTION] * 5}),
    actions(button("a", confirm=CONFIRM | {"style": "danger"}), PERSON | {"confirm": CONFIRM}),
    image(alt_text="x" * 2_000, title=plain("x" * 2_000)),
    [{"type": "image", "slack_file": {"id": "F1"}, "alt_text": "A line."}],
    [DIVIDER | {"block_id": "x" * 255}, DIVIDER | {"block_id": "y"}],
]  # fmt: skip
BEYOND = [
    ([DIVIDER] * 51, "no more than 50 items", "/blocks"),
    ([{"type": "header", "text": plain("x" * 151)}], "1 to 150", "/blocks/0/text"),
    ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "must be plain_text", "/blocks/0/text"),
    (section(text=plain("x" * 3_001)), "1 to 3000", "/blocks/0/text"),
    (section(text=plain("")), "1 to 3000", "/blocks/0/text"),
    (section(), "text or fields", "/blocks/0"),
    (section(fields=[plain("x")] * 11), "no more than 10", "/blocks/0/fields"),
    (section(fields=[plain("x" * 2_001)]), "1 to 2000", "/blocks/0/fields/0"),
    ([{"type": "context", "elements": [plain("x")] * 11}], "no more than 10", "/blocks/0/elements"),
    ([{"type": "context", "elements": []}], "no fewer than 1", "/blocks/0/elements"),
    (actions(*(button(f"b{n}") for n in range(26))), "no more than 25", "/blocks/0/elements"),
    (actions(button("a"), button("a")), "`action_id` already exists", "/blocks/0/elements/1/action_id"),
    (actions(button("x" * 256)), "1 to 255", "/blocks/0/elements/0/action_id"),
    (actions(button("a", text=plain("x" * 76))), "1 to 75", "/blocks/0/elements/0/text"),
    (actions(button("a", value="x" * 2_001)), "1 to 2000", "/blocks/0/elements/0/value"),
    (actions(button("a", url="https://" + "x" * 2_993)), "1 to 3000", "/blocks/0/elements/0/url"),
    (actions(button("a", url="javascript:x")), "valid URL", "/blocks/0/elements/0/url"),
    (actions(button("a", style="loud")), "one of: primary, danger", "/blocks/0/elements/0/style"),
    (actions(button("a", colour="red")), "additional property: colour", "/blocks/0/elements/0"),
    (actions(SELECT | {"options": [OPTION] * 101}), "no more than 100", "/blocks/0/elements/0/options"),
    (actions(SELECT | {"options": [OPTION | {"value": "x" * 151}]}), "1 to 150",
     "/blocks/0/elements/0/options/0/value"),
    (actions(SELECT | {"placeholder": plain("x" * 151)}), "1 to 150", "/blocks/0/elements/0/placeholder"),
    (actions(SELECT | {"initial_option": {**OPTION, "value": "other"}}), "provided options",
     "/blocks/0/elements/0/initial_option"),
    (actions(GROUPED | {"option_groups": [GROUP] * 101}), "no more than 100", "/blocks/0/elements/0/option_groups"),
    (actions(GROUPED | {"option_groups": [GROUP | {"label": plain("x" * 76)}]}), "1 to 75",
     "/blocks/0/elements/0/option_groups/0/label"),
    (actions(GROUPED | {"option_groups": [GROUP | {"options": []}]}), "no fewer than 1",
     "/blocks/0/elements/0/option_groups/0/options"),
    (actions(GROUPED | {"options": [OPTION]}), "one of options and option_groups", "/blocks/0/elements/0"),
    (actions(GROUPED | {"initial_option": {**OPTION, "value": "other"}}), "provided options",
     "/blocks/0/elements/0/initial_option"),
    (actions(PERSON | {"placeholder": plain("x" * 151)}), "1 to 150", "/blocks/0/elements/0/placeholder"),
    (actions(PERSON | {"initial_user": "ana"}), "a user's ID", "/blocks/0/elements/0/initial_user"),
    (actions(PERSON | {"initial_users": [ANA]}), "additional property: initial_users", "/blocks/0/elements/0"),
    (actions(button("a", confirm=CONFIRM | {"text": plain("x" * 301)})), "1 to 300",
     "/blocks/0/elements/0/confirm/text"),
    (actions(button("a", confirm=CONFIRM | {"style": "loud"})), "one of: primary, danger",
     "/blocks/0/elements/0/confirm/style"),
    (actions({"type": "overflow", "action_id": "o", "options": [OPTION] * 6}), "no more than 5",
     "/blocks/0/elements/0/options"),
    (actions({"type": "image"}), "unsupported type: image", "/blocks/0/elements/0"),
    (image(alt_text="x" * 2_001), "1 to 2000", "/blocks/0/alt_text"),
    ([{"type": "image", "image_url": "https://x.example/a.png"}], "must be a string", "/blocks/0/alt_text"),
    ([{"type": "image", "alt_text": "A line."}], "image_url and slack_file", "/blocks/0"),
    ([DIVIDER | {"block_id": "x" * 256}], "1 to 255", "/blocks/0/block_id"),
    ([DIVIDER | {"block_id": "x"}] * 2, "`block_id` already exists", "/blocks/1/block_id"),
    ([{"type": "marquee"}], "unsupported type: marquee", "/blocks/0"),
]  # fmt: skip


@pytest.mark.parametrize("blocks", AT_THE_LIMIT)
def test_blocks_at_a_limit_are_valid(blocks: list[dict[str, Any]]) -> None:
    assert invalid_blocks(blocks) == []


@pytest.mark.parametrize(("blocks", "words", "where"), BEYOND)
def test_blocks_beyond_a_limit_are_refused_with_words_and_place(
    blocks: list[dict[str, Any]], words: str, where: str
) -> None:
    (problem,) = invalid_blocks(blocks)
    assert words in problem
    assert problem.endswith(f"[json-pointer:{where}]")


def test_invalid_blocks_come_back_with_their_problems(client: WebClient) -> None:
    with pytest.raises(SlackApiError) as raised:
        client.chat_postMessage(channel=HERE, text="x", blocks=section(text=plain("x" * 3_001)))
    assert raised.value.response["error"] == "invalid_blocks"
    assert "must be 1 to 3000 characters" in raised.value.response["response_metadata"]["messages"][0]
    long = [*section(text=plain("x" * 3_000))] * 5
    assert refused(client.chat_postMessage, channel=HERE, text="x", blocks=long) == "msg_blocks_too_long"


# Clicks.


@pytest.fixture
def listening(server: FakeSlack) -> Iterator[list[SocketModeRequest]]:
    """Slack's own client in Socket Mode, which acknowledges all and keeps what it got."""
    got: list[SocketModeRequest] = []
    client = SocketModeClient(APP_TOKEN, web_client=WebClient(base_url=server.url), ping_interval=FAR)

    def listen(client: Any, request: SocketModeRequest) -> None:
        got.append(request)
        client.send_socket_mode_response(SocketModeResponse(request.envelope_id, payload={"text": "Noted"}))

    client.socket_mode_request_listeners.append(listen)
    client.connect()
    server.wait_connected()
    yield got
    client.auto_reconnect_enabled = client.default_auto_reconnect_enabled = False
    server.reset()  # hangs up: a client that hangs up itself first waits until it has heard nothing for 3 seconds
    wait_for(lambda: not client.is_connected())
    client.closed = True
    client.message_queue.put(None)  # whoever waits for a message would look up only after a second
    client.close()


def test_a_click_reaches_slacks_own_client_and_is_acknowledged(
    server: FakeSlack, client: WebClient, listening: list[SocketModeRequest]
) -> None:
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    envelope = server.interactive(server.click(ts, "acknowledge"))
    assert server.wait_ack(envelope) == [{"text": "Noted"}]
    (request,) = listening
    assert request.type == "interactive"
    assert (request.payload["user"]["id"], request.payload["container"]["message_ts"]) == (ANA, ts)
    (action,) = request.payload["actions"]
    assert (action["action_id"], action["value"], action["block_id"]) == ("acknowledge", "incident-7", "incident-7")


def test_the_same_envelope_can_come_twice(
    server: FakeSlack, client: WebClient, listening: list[SocketModeRequest]
) -> None:
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    payload = server.click(ts, "verdict", value="real", user=BEN)
    envelope = server.interactive(payload)
    server.interactive(payload, envelope_id=envelope)
    assert len(server.wait_ack(envelope, times=2)) == 2
    assert [r.payload["actions"][0]["selected_option"]["value"] for r in listening] == ["real", "real"]


def test_a_client_that_is_told_to_comes_back_and_hears_again(
    server: FakeSlack, client: WebClient, listening: list[SocketModeRequest]
) -> None:
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    server.disconnect()
    wait_for(lambda: server.requests.count("apps.connections.open") == 2 and server.connected == 1)
    server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
    assert len(listening) == 1


class Links:
    """Connections to Socket Mode as they come: everything they hear, and nothing is acknowledged by itself."""

    def __init__(self, server: FakeSlack) -> None:
        self._server, self._stack = server, contextlib.ExitStack()
        self.open: list[ClientConnection] = []

    def connect(self) -> dict[str, Any]:
        """One more; the first thing that it hears."""
        url = str(WebClient(base_url=self._server.url).apps_connections_open(app_token=APP_TOKEN)["url"])
        link = self._stack.enter_context(connect(url, proxy=None))
        self.open.append(link)
        return dict(json.loads(link.recv()))

    def heard(self) -> list[tuple[int, dict[str, Any]]]:
        """(number of the connection, what it has heard); all of them, since a last word is said to each."""
        self._server.disconnect("warning")
        found = []
        for number, link in enumerate(self.open):
            while (said := json.loads(link.recv(FAR)))["type"] != "disconnect":
                found.append((number, said))
        return found

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def links(server: FakeSlack) -> Iterator[Links]:
    made = Links(server)
    yield made
    made.close()


def test_ten_may_be_connected_and_any_one_of_them_gets_a_click(
    server: FakeSlack, client: WebClient, links: Links
) -> None:
    assert [links.connect()["num_connections"] for _ in range(10)] == list(range(1, 11))
    refused_ = links.connect()
    assert (refused_["type"], refused_["reason"]) == ("disconnect", "too_many_websockets")
    links.open.pop()
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    sent = {server.interactive(server.click(ts, "acknowledge")) for _ in range(60)}
    heard = links.heard()
    assert {said["envelope_id"] for _, said in heard} == sent
    assert len(heard) == 60, "each goes to one of them"
    assert len({number for number, _ in heard}) > 3


def test_what_is_not_acknowledged_comes_again_also_to_another(
    server: FakeSlack, client: WebClient, links: Links
) -> None:
    links.connect()
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    envelope = server.interactive(server.click(ts, "acknowledge"))
    server.resend(envelope)
    assert [said["envelope_id"] for _, said in links.heard()] == [envelope] * 2
    server.hang_up()
    links.open.clear()
    links.connect()
    server.resend(envelope)
    ((_, again),) = links.heard()
    assert (again["envelope_id"], again["retry_attempt"], again["retry_reason"]) == (envelope, 2, "timeout")
    links.open[0].send(json.dumps({"envelope_id": envelope}))
    server.wait_ack(envelope)
    server.resend(envelope)
    assert links.heard() == [] and server.resent(envelope) == 2, "once acknowledged, never again"


def test_it_comes_again_by_itself_until_it_is_given_up(server: FakeSlack, client: WebClient, links: Links) -> None:
    server.resend_after = 0.01
    links.connect()
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    envelope = server.interactive(server.click(ts, "acknowledge"))
    wait_for(lambda: server.is_done_with(envelope))
    assert [said.get("retry_attempt", 0) for _, said in links.heard()] == [0, 1, 2, 3]


def test_a_warning_ends_no_connection(server: FakeSlack, links: Links) -> None:
    links.connect()
    server.disconnect("warning")
    assert json.loads(links.open[0].recv(FAR))["reason"] == "warning"
    assert links.heard() == [] and server.connected == 1


def test_nobody_connects_without_a_ticket_or_twice_with_one(server: FakeSlack) -> None:
    url = str(WebClient(base_url=server.url).apps_connections_open(app_token=APP_TOKEN)["url"])
    with connect(url, proxy=None) as link:
        hello = json.loads(link.recv())
        assert (hello["type"], hello["num_connections"]) == ("hello", 1)
        with pytest.raises(InvalidStatus), connect(url, proxy=None):
            pass
    with pytest.raises(InvalidStatus), connect(url.partition("?")[0], proxy=None):
        pass


def test_a_click_needs_an_element_that_stands_there(server: FakeSlack, client: WebClient) -> None:
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    assert server.click(ts, "assign", value=BEN)["actions"][0]["selected_user"] == BEN
    for arguments in ((ts, "snooze"), ("1.000001", "acknowledge")):
        with pytest.raises(LookupError):
            server.click(*arguments)
    with pytest.raises(LookupError, match="no option"):
        server.click(ts, "verdict", value="invented")
    with pytest.raises(ConnectionError):
        server.interactive(server.click(ts, "acknowledge"))


def test_a_click_is_answered_at_its_response_url_in_a_dialog_or_to_one_person(
    server: FakeSlack, client: WebClient
) -> None:
    ts = client.chat_postMessage(channel=HERE, text="x", blocks=ACTIONS)["ts"]
    click = server.click(ts, "acknowledge")
    WebhookClient(click["response_url"]).send(text="Noted", replace_original=False)
    assert server.responses[0]["text"] == "Noted"
    answers = [WebhookClient(click["response_url"]).send(text="Again").status_code for _ in range(5)]
    assert answers == [200] * 4 + [404], "five, the first included"
    assert WebhookClient(click["response_url"] + "0").send(text="To nobody").body == "invalid_url"
    view = {"type": "modal", "title": plain("Cause"), "blocks": []}
    client.views_open(trigger_id=click["trigger_id"], view=view)
    assert server.views[0]["view"] == view
    assert refused(client.views_open, trigger_id=click["trigger_id"], view=view) == "invalid_trigger_id"
    client.chat_postEphemeral(channel=HERE, user=ANA, text="You may not.")
    assert (server.ephemeral[0]["text"], server.messages[1:]) == ("You may not.", [])


def test_a_signed_click_passes_slacks_own_verifier_and_a_changed_or_old_one_does_not(server: FakeSlack) -> None:
    server.say(HERE, "x")
    body, headers = signed({"type": "block_actions"})
    verifier = SignatureVerifier(SIGNING_SECRET)
    assert verifier.is_valid_request(body, headers)
    assert not verifier.is_valid_request(body + b"x", headers)
    assert not SignatureVerifier("other").is_valid_request(body, headers)
    assert not verifier.is_valid_request(*signed({"type": "block_actions"}, at=time.time() - 400))
    assert headers["X-Slack-Signature"] == sign(body, headers["X-Slack-Request-Timestamp"])


@pytest.mark.usefixtures("server")  # no proxy before it
def test_it_runs_by_itself_and_prints_what_it_gets() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "health_pipeline_tests.fake_slack", "--port", "0", "--channel", "ops"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    watchdog = threading.Timer(FAR, process.kill)
    watchdog.start()
    try:
        url = process.stdout.readline().strip().removeprefix("export SLACK_API_URL=")
        while not (line := process.stdout.readline()).startswith("To click"):
            assert line
        WebClient(TOKEN, base_url=url).chat_postMessage(channel="#ops", text="Hello, workspace")
        while "Hello, workspace" not in (line := process.stdout.readline()):
            assert line
        assert line.startswith("C00000003 ")
        process.stdin.write(f"click {line.split()[1].rstrip(':')} acknowledge\n")
        process.stdin.flush()
        while "no element acknowledge" not in (line := process.stdout.readline()):
            assert line
    finally:
        process.kill()
        process.wait()
        watchdog.cancel()
