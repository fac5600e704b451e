"""Clicks over HTTP: requests that carry Slack's signature, behind a proxy that Slack can reach."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from slack_sdk import WebClient
from slack_sdk.signature import SignatureVerifier

from health_pipeline.alerts.app.bolt import SlackAppError, bolt_app, dispatch, set_by_signals
from health_pipeline.alerts.app.desk import Desk

if TYPE_CHECKING:
    import socket

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PATH = "/slack/interactive"
HEALTH = "/health"
MAX_BODY = 1_000_000

_log = logging.getLogger(__name__)


def http_app(desk: Desk, *, token: str, signing_secret: str, base_url: str = WebClient.BASE_URL) -> Starlette:
    """An ASGI application for signed requests: POST :data:`PATH` for clicks, GET :data:`HEALTH` for a load balancer.

    Refused: a body of more than :data:`MAX_BODY` bytes (413), and a signature that is wrong, missing or more than five
    minutes old (401). See https://docs.slack.dev/authentication/verifying-requests-from-slack. Whatever is signed is
    acknowledged. Does not close the desk.

    Raises:
        SlackAppError: without a signing secret.
    """
    from slack_bolt.adapter.starlette.handler import to_bolt_request, to_starlette_response
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    if not signing_secret.strip():
        raise SlackAppError("There is no signing secret.", "Set SLACK_SIGNING_SECRET: it is in the app's settings.")
    app = bolt_app(desk, token=token, base_url=base_url, signing_secret=signing_secret)
    verifier = SignatureVerifier(signing_secret)

    async def interactive(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return PlainTextResponse("Too large", 413)
        if not _is_genuine(verifier, body, request.headers):
            _log.warning("Refused: a request with a wrong, missing or old signature")
            return PlainTextResponse("Not signed by Slack", 401)
        return to_starlette_response(await run_in_threadpool(dispatch, app, lambda: to_bolt_request(request, body)))

    async def health(request: Request) -> Response:
        is_well = await run_in_threadpool(desk.is_well)
        return PlainTextResponse("ok" if is_well else "The state database does not answer", 200 if is_well else 503)

    return Starlette(routes=[Route(PATH, interactive, methods=["POST"]), Route(HEALTH, health, methods=["GET"])])


def serve_http(
    desk: Desk,
    *,
    token: str,
    signing_secret: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    base_url: str = WebClient.BASE_URL,
    announce: Callable[[str], None] = _log.info,
) -> None:
    """Serve :func:`http_app` until the process gets SIGINT or SIGTERM. Does not close the desk.

    Slack needs HTTPS: put a proxy that has it before this.

    Args:
        port: 0 for any that is free.
        announce: told the address when it listens, and when it ends.

    Raises:
        SlackAppError: without a signing secret, or when nothing can listen at that address.
    """
    import uvicorn

    app = http_app(desk, token=token, signing_secret=signing_secret, base_url=base_url)
    shown = f"[{host}]" if ":" in host else host  # as an address of IPv6 stands in a URL

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            bound = self.servers[0].sockets[0].getsockname()[1]
            announce(f"Answering clicks at http://{shown}:{bound}{PATH}.")
            desk.catch_up()

    server = Server(uvicorn.Config(app, host=host, port=port, log_level="critical", lifespan="off"))
    with set_by_signals(threading.Event()):  # uvicorn ends at a signal, and then raises it once more
        try:
            server.run()
        except SystemExit:
            raise SlackAppError(
                f"Nothing can listen at {shown}:{port}.", "Choose another port, or stop what uses it."
            ) from None
    announce("Not listening any more.")


async def _body(request: Request) -> bytes | None:
    """The body, read no further than :data:`MAX_BODY`; ``None`` when it is longer."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY:
            return None
    return bytes(read)


def _is_genuine(verifier: SignatureVerifier, body: bytes, headers: Mapping[str, str]) -> bool:
    timestamp, signature = headers.get("x-slack-request-timestamp"), headers.get("x-slack-signature")
    try:
        return verifier.is_valid(body, timestamp, signature)
    except (TypeError, ValueError, ArithmeticError):  # no number, no ASCII, no UTF-8
        return False
