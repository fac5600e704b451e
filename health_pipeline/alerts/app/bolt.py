"""The Slack app in Slack's own framework, slack-bolt: what is clicked goes to the desk, all else is acknowledged.

:mod:`.socket_mode` and :mod:`.signed_http` bring it what Slack sends. One Slack app may have several connections, and
Slack gives a click to any one of them. So a process must be able to answer for every ecosystem whose messages the app
posts; a click that it does not know it refuses in words.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from slack_bolt import Ack, App
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request import BoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk import WebClient

from health_pipeline.alerts.app import clicks
from health_pipeline.alerts.app.desk import LIBRARY, Desk
from health_pipeline.errors import UserError

_EVERYTHING = re.compile(".*", re.DOTALL)
_log = logging.getLogger(__name__)


class SlackAppError(UserError):
    """Slack does not let the app listen: a token or a setting must be mended."""


def bolt_app(desk: Desk, *, token: str, base_url: str = WebClient.BASE_URL, signing_secret: str = "") -> App:
    """Slack's own framework, with everything that can be clicked led to the desk and everything else acknowledged."""

    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        # Bolt would ask Slack who the token is, before the first click: a click must not need the Web API.
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=token)

    app = App(
        name="health-pipeline",
        logger=LIBRARY,
        client=WebClient(base_url=base_url, logger=LIBRARY, retry_handlers=[]),
        authorize=authorize,
        signing_secret=signing_secret,
        process_before_response=True,  # in the thread that brought it, which waits for the desk anyway
    )

    def clicked(ack: Ack, body: dict[str, Any]) -> None:
        desk.take(body)
        ack()

    def ignored(ack: Ack, body: dict[str, Any]) -> None:
        _log.info("Not answered: %s", clicks.parse(body, dt.datetime.now(dt.UTC)))
        ack()

    app.action(_EVERYTHING)(clicked)
    for listen in (app.view_submission, app.view_closed, app.shortcut, app.command):
        listen(_EVERYTHING)(ignored)
    return app


def dispatch(app: App, read: Callable[[], BoltRequest]) -> BoltResponse:
    """What Bolt says to it; an empty acknowledgement to what it does not know or stumbles over."""
    try:
        response = app.dispatch(read())
    except Exception:
        _log.exception("Slack sent what Bolt can't read")
        return BoltResponse(status=200)
    if response.status != 200:
        _log.info("Not answered: Bolt says %s", response.status)
        return BoltResponse(status=200)
    return response


@contextlib.contextmanager
def set_by_signals(event: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set an event, where signals can be handled: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
