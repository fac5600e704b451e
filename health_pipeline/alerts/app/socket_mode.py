"""Clicks over Socket Mode: an outgoing connection, so that Slack needs no way to reach this machine."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from slack_bolt.adapter.socket_mode.internals import send_response
from slack_bolt.request import BoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.builtin.connection import Connection
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from health_pipeline.alerts.app.bolt import SlackAppError, bolt_app, dispatch, set_by_signals
from health_pipeline.alerts.app.desk import ANSWER_TIMEOUT, LIBRARY, Desk

PING_INTERVAL = 2.0
"""Seconds: a broken connection is noticed after one or two of them."""
SILENT_AFTER = 8.0
"""Seconds after which a connection on which no pong comes counts as broken."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts to connect: twice as many each time, until a connection has lasted a while."""

_BUSY = {"ratelimited", "rate_limited", "service_unavailable", "fatal_error", "internal_error", "request_timeout"}
_log = logging.getLogger(__name__)


def serve_socket(
    desk: Desk,
    *,
    token: str,
    app_token: str,
    base_url: str = WebClient.BASE_URL,
    stop: threading.Event | None = None,
    announce: Callable[[str], None] = _log.info,
    ping_interval: float = PING_INTERVAL,
    silent_after: float = SILENT_AFTER,
) -> None:
    """Listen over an outgoing connection until ``stop`` is set or the process gets SIGINT or SIGTERM.

    Connects anew whenever Slack asks for it or the connection breaks, however long Slack can't be reached. Does not
    close the desk.

    Args:
        token: of the bot (``xoxb-…``).
        app_token: of the app (``xapp-…``), with the scope ``connections:write``.
        announce: told in a sentence when it listens, when it can't, and when it ends.

    Raises:
        SlackAppError: at the start, when Slack refuses the token or the app.
    """
    app = bolt_app(desk, token=token, base_url=base_url)
    client = _Client(app_token, base_url, announce, ping_interval, silent_after)

    def acknowledge(request: SocketModeRequest, response: BoltResponse) -> None:
        try:
            send_response(client, request, response, time.time())
        except Exception as error:  # Slack sends it again, and it is known then
            _log.warning("An acknowledgement was lost: %s", error)

    def listen(_: BaseSocketModeClient, request: SocketModeRequest) -> None:
        read = functools.partial(BoltRequest, mode="socket_mode", body=request.payload)
        acknowledge(request, dispatch(app, read))

    def listen_to_nonsense(_: BaseSocketModeClient, message: dict[str, Any], raw: str | None) -> None:
        if message.get("envelope_id") and not isinstance(message.get("payload"), (dict, str)):
            _log.info("Not answered: an envelope that holds no object")
            acknowledge(
                SocketModeRequest(str(message.get("type")), message["envelope_id"], {}), BoltResponse(status=200)
            )

    client.socket_mode_request_listeners.append(listen)
    client.message_listeners.append(listen_to_nonsense)
    stopped = stop or threading.Event()
    with set_by_signals(stopped):
        try:
            while not stopped.is_set() and not client.begin():
                stopped.wait(client.pause)
            if not stopped.is_set():
                desk.catch_up()
            stopped.wait()
        finally:
            client.close()
            if client.has_said:  # else it never listened
                announce("Not listening any more.")


class _Client(SocketModeClient):
    """Slack's own client, that does not hammer on Slack, and says what happens.

    The library connects anew in a loop without a pause when Slack ends every connection at once (Socket Mode was
    switched off, too many connections), and sleeps in the thread that reads when Slack asks it to wait.
    """

    def __init__(
        self,
        app_token: str,
        base_url: str,
        announce: Callable[[str], None],
        ping_interval: float,
        silent_after: float,
    ) -> None:
        self.pause = FIRST_PAUSE
        self._silent_after = silent_after
        self._announce = announce
        self._tried = self._not_before = float("-inf")
        self._problem: Exception | None = None
        self._has_begun = self._has_opened = False
        self._parting: Connection | None = None
        self._was_connected = False
        self._said = ""
        web_client = WebClient(base_url=base_url, timeout=ANSWER_TIMEOUT, logger=LIBRARY, retry_handlers=[])
        super().__init__(app_token, logger=LIBRARY, web_client=web_client, ping_interval=ping_interval)

    def begin(self) -> bool:
        """Connect for the first time; ``False`` when that may work later.

        Once it was connected, it is for the library's threads to connect anew, which they may be at already.

        Raises:
            SlackAppError: it won't.
        """
        self.connect_to_new_endpoint(force=True)
        problem = self._problem
        if not self._was_connected and isinstance(problem, SlackApiError) and _is_final(problem):
            raise _refused(problem) from None
        self._has_begun = True
        self._tell()
        return self._was_connected

    @property
    def has_said(self) -> bool:
        """Whether anything was announced."""
        return bool(self._said)

    def close(self) -> None:
        """End, whatever the library's threads are at.

        The library tells the thread that reads once that it is to end, and waits for it without end; a thread that has
        only just begun to read, or to connect anew, does not hear it. So it is told until it has heard.
        """
        self.closed = True
        self.message_queue.put(None)  # whoever waits for a message would look up only after a second
        closing = threading.Thread(target=super().close, name="close", daemon=True)
        closing.start()
        while closing.is_alive():
            self.current_session_state.terminated = True
            session = self.current_session
            if session is not None:
                with contextlib.suppress(Exception):
                    session.ping(session.session_id)  # who waits for something to read hears it with the pong
            closing.join(0.1)
        self.disconnect()  # what was connected meanwhile

    def issue_new_wss_url(self) -> str:
        return str(self.web_client.apps_connections_open(app_token=self.app_token)["url"])

    @property
    def current_session(self) -> Connection | None:
        """The latest one, open or not."""
        return self._session

    @current_session.setter
    def current_session(self, session: Connection | None) -> None:
        if session is not None:  # made ready before the threads that read from it and check it have it
            session.ping_interval = self._silent_after / 4  # the library waits for four
            session.last_ping_pong_time = time.time()  # and for the first pong without end
            session.close = functools.partial(_end, session)  # type: ignore[method-assign]
            session.check_state = functools.partial(_check, session)  # type: ignore[method-assign]
            self._has_opened = session.is_active()
            self._was_connected = self._was_connected or self._has_opened
        self._session = session

    def connect(self) -> None:
        super().connect()
        if not self._has_opened:  # the library says it to its log only
            raise ConnectionError("it opens no WebSocket; does a proxy forbid them?")

    def enqueue_message(self, message: str) -> None:
        self._heard(message)  # first: whoever connects anew for it must know which connection it is about
        super().enqueue_message(message)

    def connect_to_new_endpoint(self, force: bool = False) -> None:
        now = time.monotonic()
        is_wanted = force and self.current_session is self._parting  # and not replaced already
        if self.closed or now < self._not_before or (self.is_connected() and not is_wanted):
            return  # the library's own clock comes back to it, as long as there is no connection
        lasted = now - self._tried > 2 * self.pause + 10
        self.pause = FIRST_PAUSE if lasted else min(2 * self.pause, LONGEST_PAUSE)
        self._tried, self._not_before = now, now + self.pause
        try:
            super().connect_to_new_endpoint(force)
            self._problem = None
        except Exception as error:
            self._problem = error
            if isinstance(error, SlackApiError):
                self._not_before = max(self._not_before, now + _seconds_to_wait(error))
        if self._has_begun:
            self._tell()

    def _tell(self) -> None:
        if self.is_connected():
            self._say("Listening to Slack.")
        elif self._problem is not None:
            is_refused = isinstance(self._problem, SlackApiError) and _is_final(self._problem)
            what = "Slack does not let the app listen" if is_refused else "Slack can't be reached"
            self._say(f"{what} ({_in_words(self._problem)}): not listening; trying again.")

    def _heard(self, message: str) -> None:
        self._was_connected = True  # also when the connection ends before whoever made it has looked
        if '"disconnect"' in message[:200]:
            self._parting = self.current_session
            reason = json.loads(message).get("reason")
            if reason in _ENDINGS:
                self._say(_ENDINGS[reason])

    def _say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            self._announce(words)


def _end(session: Connection) -> None:
    """Close a connection at once: who closes waits for who reads, for seconds if nothing comes; so ask for a pong."""
    with contextlib.suppress(Exception):
        session.ping(session.session_id)
    with contextlib.suppress(AttributeError):  # another thread was first to
        session.disconnect()


def _check(session: Connection) -> None:
    """Ask for a pong; a connection on which that fails is broken, where the library would ask four times more."""
    Connection.check_state(session)
    if session.consecutive_check_state_error_count:
        session.disconnect()


_ENDINGS = {
    "link_disabled": "Slack ended the connection: Socket Mode is switched off in the app's settings.",
    "too_many_websockets": "Slack ended the connection: the app has 10 already. Stop other programs that use it.",
}


def _is_final(error: SlackApiError) -> bool:
    """Whether Slack refuses the app, and not just this request."""
    return error.response.status_code == 200 and error.response.get("error") not in _BUSY


def _refused(error: SlackApiError) -> SlackAppError:
    code = error.response.get("error")
    return SlackAppError(
        f"Slack does not let the app listen ({code}).",
        "Set SLACK_APP_TOKEN to an app-level token (xapp-…) with the scope connections:write, and switch Socket Mode "
        "on: both are in the app's settings.",
    )


def _seconds_to_wait(error: SlackApiError) -> float:
    given = str(error.response.headers.get("Retry-After", "")) if error.response.status_code == 429 else ""
    return min(float(given), 300.0) if given.isdecimal() else 0.0


def _in_words(error: Exception) -> str:
    if isinstance(error, SlackApiError):
        return str(error.response.get("error") or error.response.status_code)
    return str(getattr(error, "reason", error)) or type(error).__name__
