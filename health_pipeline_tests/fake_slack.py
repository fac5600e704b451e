"""A Slack on 127.0.0.1, over real sockets, with Slack's limits, error codes and bad days.

For tests::

    with FakeSlack() as server:
        slack = Slack(TOKEN, base_url=server.url)        # or SLACK_BOT_TOKEN and SLACK_API_URL
        ...
        assert server.messages[0]["text"] == "..."

and to develop against, printing what it gets (see docs/slack.md)::

    python -m health_pipeline_tests.fake_slack --port 8090

What it does:

- Web API: ``auth.test``, ``chat.postMessage`` (threads too), ``chat.update``, ``chat.delete``, ``chat.postEphemeral``,
  ``chat.getPermalink``, ``conversations.history``, ``.replies``, ``.list`` and ``.info``, ``users.list``,
  ``views.open``, ``files.getUploadURLExternal``, the upload of the bytes, ``files.completeUploadExternal`` and
  ``files.delete``. Tokens, scopes,
  pages, and the limits of :mod:`health_pipeline_tests.slack_limits` are as in Slack; channels are posted to by
  name or ID and read by ID only.
- Socket Mode: ``apps.connections.open`` with the app token, up to ten WebSockets, ``hello``;
  :meth:`FakeSlack.interactive` sends a click to any one of them, and again, perhaps to another, while it is not
  acknowledged; :meth:`FakeSlack.disconnect` and :meth:`FakeSlack.hang_up` end connections, in order and not.
- Clicks: :meth:`FakeSlack.click` makes the payload of a click on a button that stands in a message; :func:`signed`
  makes of it the request that Slack would post over HTTP. Its ``response_url`` takes five answers.
- Bad days: ``faults[method]`` holds what happens to the next requests of a method, one each (the sending of a
  file's bytes is ``"upload"``). Before the request has an effect: ``drop_before``, ``error_before`` (500),
  ``rate_limited[:seconds]``, ``code:<error>``, ``slow_before:<seconds>``. After it had its effect: ``drop_after``,
  ``error_after`` (502), ``slow_after[:seconds]``. An empty string is a good day.

It does not render, has no rate limits of its own, and shows a shared file after ``share_delay`` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import random
import sys
import threading
import time
import urllib.parse
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from health_pipeline_tests.slack_limits import invalid_blocks as _invalid
from health_pipeline_tests.slack_limits import too_long

TOKEN = "xoxb-fake"
APP_TOKEN = "xapp-fake"
SIGNING_SECRET = "fake-signing-secret"
BOT = "U00000001"
ANA, BEN = "U00000002", "U00000003"
"""Two people; whoever clicks is one of them."""

MOST_CONNECTIONS = 10
MOST_RESPONSES = 5
MOST_RESENDS = 3

SCOPES = {
    "chat.delete": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "channels:history",
    "conversations.info": "channels:read",
    "conversations.replies": "channels:history",
    "conversations.list": "channels:read",
    "files.completeUploadExternal": "files:write",
    "files.delete": "files:write",
    "files.getUploadURLExternal": "files:write",
    "users.list": "users:read",
}

Arguments = dict[str, Any]
Message = dict[str, Any]


class FakeSlack:
    """A context manager; ``url`` is what SLACK_API_URL takes.

    Attributes:
        channels: name -> ID of the channels.
        away, archived: IDs of channels that the bot is not in, and that are closed.
        users: of the workspace, as ``users.list`` gives them.
        messages: every accepted message: channel (ID), ts, thread_ts (of a reply), user, text, blocks, metadata, files,
            at (seconds of the monotonic clock).
        edits: every accepted ``chat.update``: channel, ts, text, blocks, at.
        files: ID -> name, length, alt_txt, title, data (once the bytes came), shared.
        ephemeral, views, responses: what came to ``chat.postEphemeral``, ``views.open`` and to response URLs.
        acks: envelope ID -> payloads of its acknowledgements, ``None`` for one without a payload.
        resend_after: seconds after which an envelope that is not acknowledged is sent again, three times at most;
            0 for never.
        faults: method -> what happens to its next requests; empty means that all goes well.
        scopes: what the token may do.
        latency: seconds before and after a request has its effect.
        share_delay: seconds until a shared file shows in its thread.
        retry_after: seconds that ``rate_limited`` asks for.
        on_request: called with the method when a request arrives, before it has an effect.
        on_event: called with a line about everything that happens.
        requests: the methods called, in order.
    """

    def __init__(self, port: int = 0) -> None:
        self._links: list[WebSocket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acknowledged = threading.Condition()
        self.on_event: Callable[[str], None] = lambda line: None
        self.reset()
        methods: dict[str, Callable[[Arguments], Response]] = {
            "auth.test": self._auth_test,
            "apps.connections.open": self._connections_open,
            "chat.delete": self._delete,
            "chat.getPermalink": self._permalink,
            "chat.postEphemeral": self._ephemeral,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.info": self._info,
            "conversations.list": self._list,
            "conversations.replies": self._replies,
            "files.completeUploadExternal": self._complete,
            "files.delete": self._delete_file,
            "files.getUploadURLExternal": self._upload_url,
            "users.list": self._users,
            "views.open": self._view,
        }
        self._app = Starlette(
            routes=[
                *(
                    Route(f"/api/{name}", self._method(name, do), methods=["GET", "POST"])
                    for name, do in methods.items()
                ),
                Route("/upload/v1/{file_id}", self._upload, methods=["POST"]),
                Route("/response/{number}", self._respond, methods=["POST"]),
                WebSocketRoute("/link", self._link),
            ]
        )
        config = uvicorn.Config(
            self._asgi, host="127.0.0.1", port=port, log_level="critical", lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def reset(self) -> None:
        """A new workspace behind the same address; nobody is connected to it."""
        links, self._links = self._links, []  # at once: the next test waits for its own client to connect
        for link in links:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closing already
                self._run(link.close())
        names = ("ecosystem-health", "ecosystem-health-pipeline")
        self.channels = {name: f"C{index:08d}" for index, name in enumerate(names, 1)}
        self.away: set[str] = set()
        self.archived: set[str] = set()
        self.users = [
            {"id": BOT, "name": "health-pipeline", "real_name": "Health pipeline", "is_bot": True, "deleted": False},
            {"id": ANA, "name": "ana", "real_name": "Ana Anders", "is_bot": False, "deleted": False},
            {"id": BEN, "name": "ben", "real_name": "Ben Beck", "is_bot": False, "deleted": False},
        ]
        self.messages: list[Message] = []
        self.edits: list[Message] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.ephemeral: list[Arguments] = []
        self.views: list[Arguments] = []
        self.responses: list[Arguments] = []
        self.acks: defaultdict[str, list[Any]] = defaultdict(list)
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.resend_after = 0.0
        self.scopes = {"chat:write", "channels:history", "channels:read", "files:write", "users:read"}
        self.latency = 0.0
        self.share_delay = 0.0
        self.page = 100
        self.retry_after = 1
        self.on_request: Callable[[str], None] = lambda method: None
        self.requests: list[str] = []
        self._triggers: set[str] = set()
        self._tickets: set[str] = set()
        self._envelopes: dict[str, dict[str, Any]] = {}
        self._answered: defaultdict[str, int] = defaultdict(int)
        self._count = itertools.count(1)

    def __enter__(self) -> Self:
        self._thread.start()
        give_up = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < give_up and self._thread.is_alive(), "the fake Slack did not start"
            time.sleep(0.005)
        self._address = f"127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.url = f"http://{self._address}/api/"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)

    # What tests ask and do.

    @property
    def keys(self) -> list[str]:
        """Keys of the accepted messages that have one, in order; replies too."""
        return [m["metadata"]["event_payload"]["key"] for m in self.messages if m["metadata"]]

    def thread(self, ts: str) -> list[Message]:
        """The replies under a message, in order."""
        return [m for m in self.messages if m["thread_ts"] == ts]

    def say(self, channel: str, text: str, user: str = ANA) -> Message:
        """A message of a person."""
        return self._add(self.channels.get(channel, channel), text, user=user)

    def delete(self, ts: str) -> None:
        """Somebody deletes a message."""
        self.messages = [m for m in self.messages if m["ts"] != ts]

    def click(self, ts: str, action_id: str, *, value: str | None = None, user: str = ANA) -> dict[str, Any]:
        """The payload of a click on an element of a message.

        Args:
            value: of the chosen option, or the chosen person's ID; none for a button.

        Raises:
            LookupError: the message has no such element, or the element no such option.
        """
        message = self._message(ts)
        if message is None:
            raise LookupError(f"no message {ts}")
        for block, element in _elements(message["blocks"]):
            if element.get("action_id") == action_id:
                return self._click(message, block, element, value, user)
        raise LookupError(f"message {ts} has no element {action_id}")

    @property
    def connected(self) -> int:
        """How many clients are connected in Socket Mode."""
        return len(self._links)

    def wait_connected(self, seconds: float = 5.0) -> None:
        """Until a client is connected in Socket Mode."""
        give_up = time.monotonic() + seconds
        while not self._links:
            if time.monotonic() > give_up:
                raise TimeoutError("nobody has connected in Socket Mode")
            time.sleep(0.01)

    def interactive(self, payload: Mapping[str, Any], *, envelope_id: str | None = None) -> str:
        """Send a click to one of the clients in Socket Mode, any one; the same envelope may be sent again.

        Returns:
            the envelope's ID.
        """
        return self.send("interactive", payload, envelope_id=envelope_id)

    def send(self, kind: str, payload: Any, *, envelope_id: str | None = None) -> str:
        """The same for an envelope of any kind, with any payload."""
        envelope = envelope_id or f"envelope-{next(self._count)}"
        sent = {"envelope_id": envelope, "type": kind, "accepts_response_payload": True, "payload": payload}
        if not self._links:
            raise ConnectionError("nobody is connected in Socket Mode")
        self._envelopes[envelope] = sent | {"retry_attempt": 0, "retry_reason": ""}
        self._run(self._send(sent))
        if self.resend_after and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, self.resend_after, self._resend, envelope)
        return envelope

    def resent(self, envelope_id: str) -> int:
        """How often an envelope was sent again."""
        return int(self._envelopes[envelope_id]["retry_attempt"])

    def wait_ack(self, envelope_id: str, *, times: int = 1, seconds: float = 3.0) -> list[Any]:
        """The acknowledgements of an envelope, as soon as there are so many; Slack waits for 3 seconds."""
        with self._acknowledged:
            if not self._acknowledged.wait_for(lambda: len(self.acks[envelope_id]) >= times, seconds):
                raise TimeoutError(f"{envelope_id} was acknowledged {len(self.acks[envelope_id])} times")
            return list(self.acks[envelope_id])

    def disconnect(self, reason: str = "refresh_requested") -> None:
        """Tell the clients in Socket Mode to connect anew, and hang up; Slack does so every few hours.

        Args:
            reason: ``warning`` announces it only: the connections stay for a while.
        """
        for link in list(self._links):
            self._run(self._part(link, reason))

    def hang_up(self) -> None:
        """Drop the connections of Socket Mode without a word."""
        for link in list(self._links):
            assert self._loop is not None
            self._loop.call_soon_threadsafe(link.scope["state"]["transport"].abort)

    # How requests are answered.

    def _run(self, doing: Any) -> None:
        """In the server's thread, from another."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(5)

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        if scope["type"] in ("http", "websocket"):
            # The only way to drop a connection: uvicorn's side of it holds its transport.
            scope["state"] = {"transport": receive.__self__.transport}  # type: ignore[attr-defined]
        await self._app(scope, receive, send)

    def _method(self, name: str, do: Callable[[Arguments], Response]) -> Callable[[Request], Awaitable[Response]]:
        """The method of the Web API, behind its token and scope."""
        token = APP_TOKEN if name == "apps.connections.open" else TOKEN

        async def answer(request: Request) -> Response:
            body = await request.body()

            def effect() -> Response:
                if request.headers.get("authorization") != f"Bearer {token}":
                    return _error("invalid_auth")
                if SCOPES.get(name, "") not in {"", *self.scopes}:
                    return _error("missing_scope", needed=SCOPES[name], provided=",".join(sorted(self.scopes)))
                return do(_arguments(request, body))

            response = await self._on_a_day(name, request, effect)
            response.headers["x-oauth-scopes"] = ",".join(sorted(self.scopes))
            return response

        return answer

    async def _on_a_day(self, name: str, request: Request, effect: Callable[[], Response]) -> Response:
        """The answer to a request, which the next fault of its method may spoil before or after its effect."""
        self.requests.append(name)
        fault, _, parameter = (self.faults[name].popleft() if self.faults[name] else "").partition(":")
        self.on_request(name)
        await asyncio.sleep(self.latency)
        match fault:
            case "drop_before":
                return _drop(request)
            case "error_before":
                return PlainTextResponse("Internal Server Error", 500)
            case "rate_limited":
                headers = {"Retry-After": parameter or str(self.retry_after)}
                return JSONResponse({"ok": False, "error": "ratelimited"}, 429, headers=headers)
            case "code":
                return _error(parameter)
            case "slow_before":
                await asyncio.sleep(float(parameter))
        response = effect()
        self.on_event(f"{name}: {bytes(response.body).decode()[:200]}")
        await asyncio.sleep(self.latency)
        match fault:
            case "drop_after":
                return _drop(request)
            case "error_after":
                return PlainTextResponse("Bad Gateway", 502)
            case "slow_after":
                await asyncio.sleep(float(parameter or 2))
            case "" | "slow_before":
                pass
            case _:
                raise ValueError(f"unknown fault: {fault}")
        return response

    # The Web API.

    def _auth_test(self, arguments: Arguments) -> Response:
        return JSONResponse(
            {
                "ok": True,
                "url": "https://fake.slack.com/",
                "team": "Fake",
                "team_id": "T00000001",
                "user": "health-pipeline",
                "user_id": BOT,
                "bot_id": "B00000001",
                "is_enterprise_install": False,
            }
        )

    def _post(self, arguments: Arguments) -> Response:
        channel = self._channel(arguments, by_name=True)
        if channel is None:
            return _error("channel_not_found")
        if channel in self.away:
            return _error("not_in_channel")
        if channel in self.archived:
            return _error("is_archived")
        blocks, metadata = _json(arguments, "blocks") or [], _json(arguments, "metadata")
        text = str(arguments.get("text") or "")
        problem = _content_problem(text, blocks, metadata, 40_000)
        if problem is not None:
            return problem
        thread = str(arguments.get("thread_ts") or "")
        if thread and not self._is_parent(channel, thread):
            return _error("thread_not_found")
        message = self._add(channel, text, blocks=blocks, metadata=metadata, thread_ts=thread)
        return JSONResponse(
            {"ok": True, "channel": channel, "ts": message["ts"], "message": self._shown(message, True)}
        )

    def _update(self, arguments: Arguments) -> Response:
        channel = self._channel(arguments, by_name=False)
        if channel is None:
            return _error("channel_not_found")
        message = self._message(str(arguments.get("ts", "")))
        if message is None or message["channel"] != channel:
            return _error("message_not_found")
        if message["user"] != BOT:
            return _error("cant_update_message")
        blocks, metadata = _json(arguments, "blocks"), _json(arguments, "metadata")
        text = str(arguments.get("text") or "")
        problem = _content_problem(text, blocks or [], metadata, 4_000)
        if problem is not None:
            return problem
        # As in Slack: a text without blocks takes the blocks away, metadata that are not given stay.
        message |= {
            "text": text or message["text"],
            "blocks": blocks if blocks is not None or text else message["blocks"],
        }
        message["blocks"] = message["blocks"] or []
        message["metadata"] = metadata if metadata is not None else message["metadata"]
        message["edited"] = {"user": BOT, "ts": f"{time.time():.6f}"}
        self.edits.append(
            {name: message[name] for name in ("channel", "ts", "text", "blocks")} | {"at": time.monotonic()}
        )
        return JSONResponse({"ok": True, "channel": channel, "ts": message["ts"], "text": message["text"]})

    def _delete(self, arguments: Arguments) -> Response:
        channel, ts = self._channel(arguments, by_name=False), str(arguments.get("ts", ""))
        if channel is None:
            return _error("channel_not_found")
        message = self._message(ts)
        if message is None or message["channel"] != channel:
            return _error("message_not_found")
        if message["user"] != BOT:
            return _error("cant_delete_message")
        self.delete(ts)
        return JSONResponse({"ok": True, "channel": channel, "ts": ts})

    def _ephemeral(self, arguments: Arguments) -> Response:
        if self._channel(arguments, by_name=True) is None:
            return _error("channel_not_found")
        if arguments.get("user") not in {user["id"] for user in self.users}:
            return _error("user_not_in_channel")
        problem = _content_problem(str(arguments.get("text") or ""), _json(arguments, "blocks") or [], None, 40_000)
        if problem is not None:
            return problem
        self.ephemeral.append(arguments)
        return JSONResponse({"ok": True, "message_ts": self._ts()})

    def _permalink(self, arguments: Arguments) -> Response:
        message = self._message(str(arguments.get("message_ts", "")))
        if message is None or message["channel"] != arguments.get("channel"):
            return _error("message_not_found")
        link = f"https://fake.slack.com/archives/{message['channel']}/p{message['ts'].replace('.', '')}"
        if message["thread_ts"]:
            link += f"?thread_ts={message['thread_ts']}&cid={message['channel']}"
        return JSONResponse({"ok": True, "channel": message["channel"], "permalink": link})

    def _history(self, arguments: Arguments) -> Response:
        channel = self._channel(arguments, by_name=False)
        if channel is None:
            return _error("channel_not_found")
        found = [m for m in reversed(self.messages) if m["channel"] == channel and not m["thread_ts"]]
        return self._messages_page(found, arguments)

    def _replies(self, arguments: Arguments) -> Response:
        channel, ts = self._channel(arguments, by_name=False), str(arguments.get("ts", ""))
        if channel is None:
            return _error("channel_not_found")
        parent = self._message(ts)
        if parent is None or parent["channel"] != channel:
            return _error("thread_not_found")
        return self._messages_page([parent, *self.thread(ts)], arguments, always=ts)

    def _messages_page(self, messages: list[Message], arguments: Arguments, always: str = "") -> Response:
        """A page of those since ``oldest``; a thread's first message comes always."""
        with_metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
        oldest = float(arguments.get("oldest") or 0)
        found = [self._shown(m, with_metadata) for m in messages if m["ts"] == always or float(m["ts"]) > oldest]
        return _page("messages", found, arguments, self.page)

    def _list(self, arguments: Arguments) -> Response:
        return _page("channels", [self._about(name) for name in self.channels], arguments, self.page)

    def _info(self, arguments: Arguments) -> Response:
        channel = self._channel(arguments, by_name=False)
        if channel is None:
            return _error("channel_not_found")
        name = next(name for name, id_ in self.channels.items() if id_ == channel)
        return JSONResponse({"ok": True, "channel": self._about(name)})

    def _about(self, name: str) -> dict[str, Any]:
        id_ = self.channels[name]
        return {"id": id_, "name": name, "is_channel": True, "is_private": False, "is_archived": id_ in self.archived,
                "is_member": id_ not in self.away}  # fmt: skip

    def _users(self, arguments: Arguments) -> Response:
        return _page("members", self.users, arguments, self.page)

    def _view(self, arguments: Arguments) -> Response:
        trigger = str(arguments.get("trigger_id", ""))
        if trigger not in self._triggers:
            return _error("invalid_trigger_id")
        self._triggers.remove(trigger)  # once, as in Slack
        self.views.append(arguments | {"view": _json(arguments, "view")})
        return JSONResponse({"ok": True, "view": {"id": f"V{next(self._count):08d}"}})

    def _upload_url(self, arguments: Arguments) -> Response:
        if not arguments.get("filename") or not int(arguments.get("length") or 0):
            return _error("missing_argument")
        if len(str(arguments.get("alt_txt") or "")) > 1_000:
            return _error("alt_txt_too_large")
        file_id = f"F{next(self._count):08d}"
        self.files[file_id] = {
            "name": arguments["filename"],
            "length": int(arguments["length"]),
            "alt_txt": arguments.get("alt_txt"),
            "title": None,
            "data": None,
            "shared": False,
        }
        return JSONResponse(
            {"ok": True, "upload_url": f"http://{self._address}/upload/v1/{file_id}", "file_id": file_id}
        )

    async def _upload(self, request: Request) -> Response:
        data, file = await request.body(), self.files.get(request.path_params["file_id"])

        def effect() -> Response:
            if file is None or len(data) != file["length"]:
                return PlainTextResponse("Bad Request", 400)
            file["data"] = data
            return PlainTextResponse(f"OK - {len(data)}")

        return await self._on_a_day("upload", request, effect)

    def _complete(self, arguments: Arguments) -> Response:
        given = _json(arguments, "files") or []
        channel, thread = str(arguments.get("channel_id") or ""), str(arguments.get("thread_ts") or "")
        for item in given:
            file = self.files.get(item["id"])
            if file is None or file["data"] is None or file["shared"]:
                return _error("file_not_found")
        if channel and channel not in self.channels.values():
            return _error("channel_not_found")
        if thread and not self._is_parent(channel, thread):
            return _error("thread_not_found")
        for item in given:
            self.files[item["id"]] |= {"shared": True, "title": item.get("title")}
        shown = [{"id": item["id"], "title": item.get("title") or ""} for item in given]
        if channel:
            text = str(arguments.get("initial_comment") or "")
            files = [item | {"name": self.files[item["id"]]["name"]} for item in shown]
            assert self._loop is not None
            if self.share_delay:
                self._loop.call_later(self.share_delay, lambda: self._add(channel, text, thread_ts=thread, files=files))
            else:
                self._add(channel, text, thread_ts=thread, files=files)
        return JSONResponse({"ok": True, "files": shown})

    def _delete_file(self, arguments: Arguments) -> Response:
        if self.files.pop(str(arguments.get("file", "")), None) is None:
            return _error("file_not_found")
        return JSONResponse({"ok": True})

    async def _respond(self, request: Request) -> Response:
        """An answer to a click; Slack takes five, and none for an address that it has not given."""
        number, body = request.path_params["number"], await request.body()

        def effect() -> Response:
            if number not in self._answered:
                return PlainTextResponse("invalid_url", 404)
            if self._answered[number] >= MOST_RESPONSES:
                return PlainTextResponse("used_url", 404)
            self._answered[number] += 1
            self.responses.append(json.loads(body) | {"number": number})
            return PlainTextResponse("ok")

        return await self._on_a_day("response", request, effect)

    # Socket Mode.

    def _connections_open(self, arguments: Arguments) -> Response:
        ticket = f"ticket-{next(self._count)}"
        self._tickets.add(ticket)
        return JSONResponse({"ok": True, "url": f"ws://{self._address}/link?ticket={ticket}&app_id=A00000001"})

    async def _link(self, link: WebSocket) -> None:
        ticket = link.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await link.close()
            return
        self._tickets.remove(ticket)
        await link.accept()
        if len(self._links) >= MOST_CONNECTIONS:
            await self._part(link, "too_many_websockets")
            return
        debug = {"host": "fake", "approximate_connection_time": 18_060}
        hello = {"type": "hello", "num_connections": len(self._links) + 1, "debug_info": debug,
                 "connection_info": {"app_id": "A00000001"}}  # fmt: skip
        await link.send_text(json.dumps(hello))
        self._links.append(link)
        self.on_event("a client has connected in Socket Mode")
        try:
            while True:
                said = json.loads(await link.receive_text())
                with self._acknowledged:
                    self.acks[said["envelope_id"]].append(said.get("payload"))
                    self._acknowledged.notify_all()
                self.on_event(f"acknowledged: {said}")
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            if link in self._links:
                self._links.remove(link)

    async def _send(self, sent: dict[str, Any]) -> None:
        """To any one of the connections; lost when that breaks just now."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await random.choice(self._links).send_text(json.dumps(sent))

    async def _part(self, link: WebSocket, reason: str) -> None:
        await link.send_text(json.dumps({"type": "disconnect", "reason": reason, "debug_info": {}}))
        if reason != "warning":
            await link.close()

    def _resend(self, envelope: str) -> None:
        """Send an envelope again that nobody has acknowledged, to whoever is connected now."""
        sent = self._envelopes.get(envelope)
        if sent is None or self.acks.get(envelope) or sent["retry_attempt"] >= MOST_RESENDS:
            return
        assert self._loop is not None
        if self._links:
            sent |= {"retry_attempt": sent["retry_attempt"] + 1, "retry_reason": "timeout"}
            self._sending = self._loop.create_task(self._send(sent))
        self._loop.call_later(self.resend_after, self._resend, envelope)

    # What stands in the workspace.

    def _ts(self) -> str:
        return f"{time.time():.0f}.{next(self._count):06d}"

    def _add(
        self,
        channel: str,
        text: str,
        *,
        blocks: list[Any] | None = None,
        metadata: Any = None,
        thread_ts: str = "",
        files: list[dict[str, Any]] | None = None,
        user: str = BOT,
    ) -> Message:
        message = {
            "channel": channel,
            "ts": self._ts(),
            "thread_ts": thread_ts,
            "user": user,
            "text": text,
            "blocks": blocks or [],
            "metadata": metadata,
            "files": files or [],
            "at": time.monotonic(),
        }
        self.messages.append(message)
        self.on_event(f"{channel} {message['ts']}{' in ' + thread_ts if thread_ts else ''}: {text}")
        return message

    def _channel(self, arguments: Arguments, *, by_name: bool) -> str | None:
        given = str(arguments.get("channel", ""))
        if given in self.channels.values():
            return given
        return self.channels.get(given.removeprefix("#")) if by_name else None

    def _message(self, ts: str) -> Message | None:
        return next((m for m in self.messages if m["ts"] == ts), None)

    def _is_parent(self, channel: str, ts: str) -> bool:
        parent = self._message(ts)
        return parent is not None and parent["channel"] == channel and not parent["thread_ts"]

    def _shown(self, message: Message, with_metadata: bool) -> Message:
        shown = {name: message[name] for name in ("ts", "user", "text", "blocks")} | {"type": "message"}
        replies = self.thread(message["ts"])
        if message["thread_ts"] or replies:
            shown["thread_ts"] = message["thread_ts"] or message["ts"]
        if replies:
            shown["reply_count"] = len(replies)
        optional = ("files", "edited", *(["metadata"] if with_metadata else []))
        return shown | {name: message[name] for name in optional if message.get(name)}

    def _click(
        self, message: Message, block: dict[str, Any], element: dict[str, Any], value: str | None, user: str
    ) -> dict[str, Any]:
        number = next(self._count)
        action = {name: element[name] for name in ("type", "action_id", "value", "text") if name in element}
        if element["type"] == "users_select":
            action["selected_user"] = value
        elif element["type"] != "button":
            groups = [*element.get("option_groups", ()), {"options": element.get("options", ())}]
            options = [option for group in groups for option in group["options"]]
            chosen = next((option for option in options if option["value"] == value), None)
            if chosen is None:
                raise LookupError(f"{element['action_id']} has no option {value}")
            action["selected_option"] = chosen
        # Slack names the blocks and elements that the app has not named.
        action |= {"block_id": block.get("block_id", f"block-{number}"), "action_ts": f"{time.time():.6f}"}
        trigger = f"{number}.trigger"
        self._triggers.add(trigger)
        self._answered[str(number)] = 0
        thread = {"thread_ts": message["thread_ts"]} if message["thread_ts"] else {}
        name = next(u["name"] for u in self.users if u["id"] == user)
        channel = next(name for name, id_ in self.channels.items() if id_ == message["channel"])
        return {
            "type": "block_actions",
            "user": {"id": user, "username": name, "name": name, "team_id": "T00000001"},
            "api_app_id": "A00000001",
            "token": "deprecated",
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": message["channel"],
                "is_ephemeral": False,
                **thread,
            },
            "trigger_id": trigger,
            "team": {"id": "T00000001", "domain": "fake"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": message["channel"], "name": channel},
            "message": self._shown(message, True),
            "state": {"values": {}},
            "response_url": f"http://{self._address}/response/{number}",
            "actions": [action],
        }


def sign(body: bytes, timestamp: str, secret: str = SIGNING_SECRET) -> str:
    """Slack's signature of a request's body."""
    return "v0=" + hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()


def signed(
    payload: Mapping[str, Any], *, secret: str = SIGNING_SECRET, at: float | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the request by which Slack tells a click over HTTP.

    Args:
        at: seconds since 1970; requests more than 5 minutes old are to be refused.
    """
    body = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
    timestamp = str(int(time.time() if at is None else at))
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": sign(body, timestamp, secret),
    }


def _arguments(request: Request, body: bytes) -> Arguments:
    arguments: Arguments = dict(request.query_params)
    if request.headers.get("content-type", "").startswith("application/json"):
        return arguments | json.loads(body or b"{}")
    return arguments | dict(urllib.parse.parse_qsl(body.decode()))


def _json(arguments: Arguments, name: str) -> Any:
    value = arguments.get(name)
    return json.loads(value) if isinstance(value, str) and value else value or None


def _content_problem(text: str, blocks: Any, metadata: Any, longest: int) -> Response | None:
    problems = _invalid(blocks)
    if problems:
        return _error("invalid_blocks", response_metadata={"messages": [f"[ERROR] {p}" for p in problems]})
    if too_long(blocks):
        return _error("msg_blocks_too_long")
    if not text and not blocks:
        return _error("no_text")
    if len(text) > longest:
        return _error("msg_too_long")
    if metadata is not None and set(metadata) != {"event_type", "event_payload"}:
        return _error("invalid_metadata_format")
    return None


def _elements(blocks: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for block in blocks:
        parts = block.get("elements", ()) if block["type"] == "actions" else [block.get("accessory") or {}]
        yield from ((block, element) for element in parts)


def _error(code: str, **more: Any) -> Response:
    return JSONResponse({"ok": False, "error": code, **more})


def _drop(request: Request) -> Response:
    request.scope["state"]["transport"].abort()
    return Response()


def _page(name: str, found: list[Any], arguments: Arguments, page: int) -> Response:
    start = int(arguments.get("cursor") or 0)
    size = min(int(arguments.get("limit") or page), page)
    cursor = str(start + size) if len(found) > start + size else ""
    return JSONResponse(
        {"ok": True, name: found[start : start + size], "has_more": bool(cursor),
         "response_metadata": {"next_cursor": cursor}}
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="fake_slack", description="A Slack to develop against.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--channel", action="append", default=[], help="a further channel the bot is in, without #")
    chosen = parser.parse_args()
    with FakeSlack(chosen.port) as server:
        server.channels |= {name: f"C{len(server.channels) + i:08d}" for i, name in enumerate(chosen.channel, 1)}
        lines = [
            f"export SLACK_API_URL={server.url}",
            f"export SLACK_BOT_TOKEN={TOKEN}",
            f"export SLACK_APP_TOKEN={APP_TOKEN}",
            f"export SLACK_SIGNING_SECRET={SIGNING_SECRET}",
            *(f"#{name} is {id_}" for name, id_ in server.channels.items()),
            "To click, where a client is connected in Socket Mode: click TS ACTION_ID [VALUE]",
        ]
        server.on_event = lambda line: print(line, flush=True)
        print("\n".join(lines), flush=True)
        try:
            for line in sys.stdin:
                _command(server, line.split())
            threading.Event().wait()  # no terminal: until it is stopped
        except KeyboardInterrupt:
            pass


def _command(server: FakeSlack, words: list[str]) -> None:
    match words:
        case ["click", ts, action_id, *value]:
            try:
                payload = server.click(ts, action_id, value=value[0] if value else None)
                print(server.interactive(payload), flush=True)
            except (LookupError, ConnectionError) as error:
                print(error, flush=True)
        case []:
            pass
        case _:
            print("click TS ACTION_ID [VALUE]", flush=True)


if __name__ == "__main__":
    main()
