"""A Slack on 127.0.0.1, over real sockets, with Slack's limits, error codes and bad days.

For tests::

    with FakeSlack() as server:
        slack = Slack(TOKEN, base_url=server.url)        # or SLACK_BOT_TOKEN and SLACK_API_URL
        ...
        assert server.messages[0]["text"] == "..."

and to develop against, printing what it gets (see docs/slack.md)::

    python -m health_pipeline_tests.fake_slack --port 8090

What it does, beside what stands in its workspace (``fake_slack_workspace.py``):

- Web API (``fake_slack_web_api.py``): ``auth.test``, ``chat.postMessage`` (threads too), ``chat.update``,
  ``chat.delete``, ``chat.postEphemeral``, ``chat.getPermalink``, ``conversations.history``, ``.replies``, ``.list`` and
  ``.info``, ``users.list``, ``views.open``, ``files.getUploadURLExternal``, the upload of the bytes,
  ``files.completeUploadExternal`` and ``files.delete``. Tokens, scopes, pages, and the limits of
  :mod:`health_pipeline_tests.slack_limits` are as in Slack; channels are posted to by name or ID and read by ID only.
- Socket Mode (``fake_slack_socket_mode.py``): ``apps.connections.open`` with the app token, up to ten WebSockets,
  ``hello``; :meth:`FakeSlack.interactive` sends a click to any one of them, and again, perhaps to another, while it is
  not acknowledged; :meth:`FakeSlack.disconnect` and :meth:`FakeSlack.hang_up` end connections, in order and not.
- Clicks: :meth:`FakeSlack.click` makes the payload of a click on a button that stands in a message; :func:`signed`
  makes of it the request that Slack would post over HTTP. Its ``response_url`` takes five answers.
- Bad days: ``faults[method]`` holds what happens to the next requests of a method, one each (the sending of a
  file's bytes is ``"upload"``). Before the request has an effect: ``drop_before``, ``error_before`` (500),
  ``rate_limited[:seconds]``, ``code:<error>``, ``slow_before:<seconds>``. After it had its effect: ``drop_after``,
  ``error_after`` (502), ``slow_after[:seconds]``, without seconds until whoever asked has gone, ``held`` until
  :meth:`FakeSlack.let_go`. An empty string is a good day.

It does not render, has no rate limits of its own, and shows a shared file after ``share_delay`` seconds. Its time is
that of deliveries (:mod:`health_pipeline.alerts.delivery.clock`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from health_pipeline_tests.fake_slack_socket_mode import FAR, SocketMode
from health_pipeline_tests.fake_slack_web_api import METHODS, SCOPES, Answer, RefusedError
from health_pipeline_tests.fake_slack_workspace import ANA, BEN, BOT, Arguments, Message

__all__ = ["ANA", "APP_TOKEN", "BEN", "BOT", "SIGNING_SECRET", "TOKEN", "FakeSlack", "Message", "sign", "signed"]

TOKEN = "xoxb-fake"
APP_TOKEN = "xapp-fake"
SIGNING_SECRET = "fake-signing-secret"
MOST_RESPONSES = 5


class FakeSlack(SocketMode):
    """A context manager; ``url`` is what SLACK_API_URL takes. Its workspace and Socket Mode are its base classes'.

    Attributes:
        faults: method -> what happens to its next requests; empty means that all goes well.
        scopes: what the token may do.
        latency: seconds before and after a request has its effect.
        retry_after: seconds that ``rate_limited`` asks for.
        on_request: called with the method when a request arrives, before it has an effect.
        requests: the methods called, in order.
        in_work: how many requests have not come to their end.
    """

    def __init__(self, port: int = 0) -> None:
        self._may_go = threading.Event()
        super().__init__()
        self._app = Starlette(
            routes=[
                *(self._route(name, TOKEN, partial(do, self)) for name, do in METHODS.items()),
                self._route("apps.connections.open", APP_TOKEN, lambda _: self.open_connection()),
                Route("/upload/v1/{file_id}", self._upload, methods=["POST"]),
                Route("/response/{number}", self._respond, methods=["POST"]),
                WebSocketRoute("/link", self.connect),
            ]
        )
        config = uvicorn.Config(
            self._asgi, host="127.0.0.1", port=port, log_level="critical", lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.in_work = 0

    def reset(self) -> None:
        """A new workspace behind the same address; nobody is connected to it, and all goes well."""
        super().reset()
        self.faults: defaultdict[str, deque[str]] = defaultdict(deque)
        self.scopes = {"chat:write", "channels:history", "channels:read", "files:write", "users:read"}
        self.latency = 0.0
        self.retry_after = 1
        self.on_request: Callable[[str], None] = lambda method: None
        self.requests: list[str] = []
        self.let_go()
        self._may_go = threading.Event()

    def let_go(self) -> None:
        """Answer what is ``held``, and hold nothing any more."""
        self._may_go.set()

    def __enter__(self) -> Self:
        self._thread.start()
        give_up = time.monotonic() + FAR
        while not self._server.started:
            assert time.monotonic() < give_up and self._thread.is_alive(), "the fake Slack did not start"
            time.sleep(0.005)
        self.address = f"127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.url = f"http://{self.address}/api/"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)

    def settle(self) -> None:
        """Return when all that was sent to it has had its effect, also by those who were killed meanwhile."""
        with contextlib.suppress(urllib.error.HTTPError):  # connections are taken in turn: theirs came before this one
            urllib.request.urlopen(f"http://{self.address}/", timeout=60).close()
        give_up = time.monotonic() + 60
        while self.in_work:
            assert time.monotonic() < give_up, "a request does not come to its end"
            time.sleep(0.002)

    # How requests are answered.

    async def _asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        if scope["type"] in ("http", "websocket"):
            # The only way to drop a connection: uvicorn's side of it holds its transport.
            scope["state"] = {"transport": receive.__self__.transport}  # type: ignore[attr-defined]
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.in_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.in_work -= 1

    def _route(self, name: str, token: str, do: Callable[[Arguments], Answer]) -> Route:
        """A method of the Web API, behind its token and scope."""

        async def answer(request: Request) -> Response:
            body = await request.body()

            def effect() -> Response:
                try:
                    self._check(request, name, token)
                    return JSONResponse(do(_arguments(request, body)))
                except RefusedError as refused:
                    return JSONResponse(refused.answer)

            response = await self._on_a_day(name, request, effect)
            response.headers["x-oauth-scopes"] = ",".join(sorted(self.scopes))
            return response

        return Route(f"/api/{name}", answer, methods=["GET", "POST"])

    def _check(self, request: Request, name: str, token: str) -> None:
        if request.headers.get("authorization") != f"Bearer {token}":
            raise RefusedError("invalid_auth")
        if SCOPES.get(name, "") not in {"", *self.scopes}:
            raise RefusedError("missing_scope", needed=SCOPES[name], provided=",".join(sorted(self.scopes)))

    async def _on_a_day(self, name: str, request: Request, effect: Callable[[], Response]) -> Response:
        """The answer to a request, which the next fault of its method may spoil before or after its effect."""
        self.requests.append(name)
        self.show_what_is_late()
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
                return JSONResponse(RefusedError(parameter).answer)
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
                if parameter:
                    await asyncio.sleep(float(parameter))
                while not parameter and (await request.receive())["type"] != "http.disconnect":
                    pass
            case "held":
                may_go = self._may_go
                while not may_go.is_set():
                    await asyncio.sleep(0.005)
            case "" | "slow_before":
                pass
            case _:
                raise ValueError(f"unknown fault: {fault}")
        return response

    async def _upload(self, request: Request) -> Response:
        data, file = await request.body(), self.files.get(request.path_params["file_id"])

        def effect() -> Response:
            if file is None or len(data) != file["length"]:
                return PlainTextResponse("Bad Request", 400)
            file["data"] = data
            return PlainTextResponse(f"OK - {len(data)}")

        return await self._on_a_day("upload", request, effect)

    async def _respond(self, request: Request) -> Response:
        """An answer to a click; Slack takes five, and none for an address that it has not given."""
        number, body = request.path_params["number"], await request.body()

        def effect() -> Response:
            if number not in self.answers:
                return PlainTextResponse("invalid_url", 404)
            if self.answers[number] >= MOST_RESPONSES:
                return PlainTextResponse("used_url", 404)
            self.answers[number] += 1
            self.responses.append(json.loads(body) | {"number": number})
            return PlainTextResponse("ok")

        return await self._on_a_day("response", request, effect)


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
    is_json = request.headers.get("content-type", "").startswith("application/json")
    given: Arguments = json.loads(body or b"{}") if is_json else dict(urllib.parse.parse_qsl(body.decode()))
    return {**request.query_params, **given}


def _drop(request: Request) -> Response:
    request.scope["state"]["transport"].abort()
    return Response()


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
