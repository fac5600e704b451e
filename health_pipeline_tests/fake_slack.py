"""A Slack Web API on 127.0.0.1, over a real socket, with Slack's limits, error codes and bad days.

Reads by channel ID only, as Slack does; posts by name or ID. Faults are queued per request to
``chat.postMessage``: ``drop_before``, ``error_before``, ``rate_limited`` and ``code:<error>`` come before the
message is accepted; ``drop_after``, ``error_after`` and ``slow_after`` when it stands in the channel already.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

TOKEN = "xoxb-fake"


class FakeSlack:
    """A context manager; ``url`` is what SLACK_API_URL takes.

    Attributes:
        channels: name -> ID of the channels that the bot is in.
        messages: every accepted message: channel (ID), ts, text, blocks, metadata, at (seconds).
        faults: what happens to the next posts; empty means that all goes well.
        scopes: what the token may do.
        latency: seconds before and after a post is accepted.
        on_post: called when a post arrives, before it is accepted.
        requests: the methods called, in order.
    """

    def __init__(self) -> None:
        self.reset()
        routes = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "conversations.history": self._history,
            "conversations.list": self._list,
        }
        self._app = Starlette(
            routes=[Route(f"/api/{name}", self._guarded(name, call), methods=["POST"]) for name, call in routes.items()]
        )
        config = uvicorn.Config(
            self._asgi, host="127.0.0.1", port=0, log_level="critical", lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def reset(self) -> None:
        """A new workspace behind the same address."""
        names = ("ecosystem-health", "ecosystem-health-pipeline")
        self.channels = {name: f"C{index:08d}" for index, name in enumerate(names, 1)}
        self.messages: list[dict[str, Any]] = []
        self.faults: deque[str] = deque()
        self.scopes = {"chat:write", "channels:history", "channels:read"}
        self.latency = 0.0
        self.page = 100
        self.retry_after = 1
        self.on_post: Callable[[], None] = lambda: None
        self.requests: list[str] = []
        self._count = itertools.count(1)

    def __enter__(self) -> Self:
        self._thread.start()
        give_up = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < give_up, "the fake Slack did not start"
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api/"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)

    @property
    def keys(self) -> list[str]:
        """Keys of the accepted messages, in order."""
        return [m["metadata"]["event_payload"]["key"] for m in self.messages]

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # The only way to drop a connection: uvicorn's request cycle holds its transport.
            scope["state"] = {"transport": receive.__self__.transport}  # type: ignore[attr-defined]
        await self._app(scope, receive, send)

    def _guarded(self, name: str, call: Callable[[Request, dict[str, Any]], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            self.requests.append(name)
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                return _error("invalid_auth")
            body = await request.body()
            if request.headers.get("content-type", "").startswith("application/json"):
                arguments = json.loads(body or b"{}")
            else:
                arguments = dict(urllib.parse.parse_qsl(body.decode()))
            response: Response = await call(request, arguments)
            response.headers["x-oauth-scopes"] = ",".join(sorted(self.scopes))
            return response

        return answer

    async def _auth_test(self, request: Request, arguments: dict[str, Any]) -> Response:
        return JSONResponse({"ok": True, "team": "Fake", "user": "health-pipeline", "user_id": "U1"})

    async def _post(self, request: Request, arguments: dict[str, Any]) -> Response:
        fault = self.faults.popleft() if self.faults else ""
        self.on_post()
        await asyncio.sleep(self.latency)
        if fault == "drop_before":
            return _drop(request)
        if fault == "rate_limited":
            return JSONResponse(
                {"ok": False, "error": "ratelimited"}, 429, headers={"Retry-After": str(self.retry_after)}
            )
        if fault == "error_before":
            return PlainTextResponse("Internal Server Error", 500)
        if fault.startswith("code:"):
            return _error(fault.removeprefix("code:"))
        if "chat:write" not in self.scopes:
            return _error("missing_scope", needed="chat:write")
        channel = self._channel(str(arguments.get("channel", "")), by_name=True)
        if channel is None:
            return _error("channel_not_found")
        blocks = arguments.get("blocks") or []
        blocks = json.loads(blocks) if isinstance(blocks, str) else blocks
        problems = _invalid(blocks)
        if problems:
            return _error("invalid_blocks", response_metadata={"messages": problems})
        if len(json.dumps(blocks, ensure_ascii=False)) > 13_000:
            return _error("msg_blocks_too_long")
        if not arguments.get("text") and not blocks:
            return _error("no_text")
        if len(arguments.get("text", "")) > 40_000:
            return _error("msg_too_long")
        metadata = arguments.get("metadata")
        metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
        message = {
            "channel": channel,
            "ts": f"{time.time():.0f}.{next(self._count):06d}",
            "text": arguments.get("text"),
            "blocks": blocks,
            "metadata": metadata,
            "at": time.monotonic(),
        }
        self.messages.append(message)
        await asyncio.sleep(self.latency)
        if fault == "drop_after":
            return _drop(request)
        if fault == "error_after":
            return PlainTextResponse("Bad Gateway", 502)
        if fault == "slow_after":
            await asyncio.sleep(2)
        return JSONResponse({"ok": True, "channel": channel, "ts": message["ts"], "message": {"text": message["text"]}})

    async def _history(self, request: Request, arguments: dict[str, Any]) -> Response:
        if "channels:history" not in self.scopes:
            return _error("missing_scope", needed="channels:history")
        channel = self._channel(str(arguments.get("channel", "")), by_name=False)
        if channel is None:
            return _error("channel_not_found")
        with_metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
        oldest = float(arguments.get("oldest") or 0)
        found = [
            {"type": "message", "ts": m["ts"], "text": m["text"]}
            | ({"metadata": m["metadata"]} if with_metadata else {})
            for m in reversed(self.messages)
            if m["channel"] == channel and float(m["ts"]) > oldest
        ]
        return _page({"messages": found}, "messages", arguments, self.page)

    async def _list(self, request: Request, arguments: dict[str, Any]) -> Response:
        if "channels:read" not in self.scopes:
            return _error("missing_scope", needed="channels:read")
        return _page(
            {"channels": [{"id": i, "name": n} for n, i in self.channels.items()]},
            "channels",
            arguments,
            self.page,
        )

    def _channel(self, given: str, *, by_name: bool) -> str | None:
        if given in self.channels.values():
            return given
        return self.channels.get(given.removeprefix("#")) if by_name else None


def _error(code: str, **more: Any) -> Response:
    return JSONResponse({"ok": False, "error": code, **more})


def _drop(request: Request) -> Response:
    request.scope["state"]["transport"].abort()
    return Response()


def _page(body: dict[str, Any], name: str, arguments: dict[str, Any], page: int) -> Response:
    start = int(arguments.get("cursor") or 0)
    size = min(int(arguments.get("limit") or page), page)
    rest = len(body[name]) > start + size
    cursor = str(start + size) if rest else ""
    return JSONResponse(
        {"ok": True, name: body[name][start : start + size], "response_metadata": {"next_cursor": cursor}}
    )


def _invalid(blocks: list[dict[str, Any]]) -> list[str]:
    """What Slack would find wrong, by its documented limits; written apart from the product's own check."""
    problems = []
    if len(blocks) > 50:
        problems.append("no more than 50 items allowed [json-pointer:/blocks]")
    for index, block in enumerate(blocks):
        at = f"[json-pointer:/blocks/{index}]"
        kind = block.get("type")
        if kind not in ("header", "section", "context", "divider", "actions", "image"):
            problems.append(f"unsupported type: {kind} {at}")
        texts = [(block["text"], 150 if kind == "header" else 3000)] if "text" in block else []
        texts += [(field, 2000) for field in block.get("fields", ())]
        texts += [(e, 2000) for e in block.get("elements", ()) if kind == "context"]
        if kind == "header" and block["text"]["type"] != "plain_text":
            problems.append(f"must be plain_text {at}")
        if kind == "section" and not texts:
            problems.append(f"text or fields must be provided {at}")
        if len(block.get("fields", ())) > 10 or (kind == "context" and not 1 <= len(block["elements"]) <= 10):
            problems.append(f"no more than 10 items allowed {at}")
        for text, limit in texts:
            if text.get("type") not in ("plain_text", "mrkdwn"):
                problems.append(f"unsupported type: {text.get('type')} {at}")
            if not 1 <= len(text.get("text", "")) <= limit:
                problems.append(f"must be 1 to {limit} characters {at}")
            if text.get("type") == "plain_text" and "verbatim" in text:
                problems.append(f"invalid additional property: verbatim {at}")
            if text.get("type") == "mrkdwn" and "emoji" in text:
                problems.append(f"invalid additional property: emoji {at}")
    return problems
