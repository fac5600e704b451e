"""The Slack app that answers clicks: over Socket Mode, or over HTTP with Slack's signature.

:class:`Desk` takes a click: it asks who may, records what was decided, says so to whoever clicked and has the message
brought up to date. :func:`serve_socket` and :func:`http_app` bring it what Slack sends, through slack-bolt.

**Recorded, then acknowledged.** Slack wants to be answered within 3 seconds and does not send a click again once it was
acknowledged. To record one takes milliseconds, so it is done before: a process that dies in between leaves a click that
Slack sends again or shows as failed, and the same click twice is one row. Only a database that does not answer within
:data:`ACKNOWLEDGE_AFTER` is not waited for: the click is acknowledged, recording goes on, and whoever clicked hears how
it ended. Everything else, Slack's Web API included, happens after the acknowledgement and may take its time or fail.

One Slack app may have several connections, and Slack gives a click to any one of them. So a process must be able to
answer for every ecosystem whose messages the app posts; a click that it does not know it refuses in words.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import logging
import re
import shlex
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from slack_bolt import Ack, App
from slack_bolt.adapter.socket_mode.internals import send_response
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request import BoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.builtin.connection import Connection
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.webhook import WebhookClient

from health_pipeline.alerts import clicks, decisions, told
from health_pipeline.alerts.blocks import reference
from health_pipeline.alerts.clicks import Click, NoClick, Refusal, Subject
from health_pipeline.alerts.decisions import Decision
from health_pipeline.alerts.standing import Standing, silenced_as
from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import UserError
from health_pipeline.storage.state import reading

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

ACKNOWLEDGE_AFTER = 2.0
"""Seconds after which a click is acknowledged that is not recorded yet; Slack waits for 3."""
RECORDERS = 8
ANSWERERS = 4
ANSWER_TIMEOUT = 10
GRACE = 15.0
"""Seconds that messages have to be brought up to date, and people to be answered, when the program ends."""
REMEMBERED = 1_000

PING_INTERVAL = 2.0
"""Seconds: a broken connection is noticed after one or two of them, one that has gone silent after four."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts to connect: twice as many each time, until a connection has lasted a while."""

PATH = "/slack/interactive"
HEALTH = "/health"
MAX_BODY = 1_000_000

_BUSY = {"ratelimited", "rate_limited", "service_unavailable", "fatal_error", "internal_error", "request_timeout"}
_EVERYTHING = re.compile(".*", re.DOTALL)
_log = logging.getLogger(__name__)
_library = logging.getLogger("health_pipeline.slack_bolt")
_library.setLevel(logging.CRITICAL)  # what matters of it is said here, in words

Known = Callable[[str], Subject | None]
"""From a :func:`.blocks.reference` to what it refers to; ``None`` for what is not known (any more)."""


class SlackAppError(UserError):
    """Slack does not let the app listen: a token or a setting must be mended."""


class Desk:
    """Takes clicks, for any number of ecosystems. Everything here may be called from several threads.

    Args:
        engine: the state database.
        catalogs: of the ecosystems whose messages it answers for, by name.
        known: finds the incident of a click; may raise.
        refresh: brings the messages of an ecosystem up to date; may take its time and may raise. Never called twice at
            once for the same ecosystem; several clicks may share one call that began after all of them.
        client: for answers where a click brings no address of its own, or that address fails.
        called: name -> what the command line calls an ecosystem, where that is another (a folder).
    """

    def __init__(
        self,
        engine: sa.Engine,
        catalogs: Mapping[str, Catalog],
        *,
        known: Known,
        refresh: Callable[[str], object],
        client: WebClient | None = None,
        called: Mapping[str, str] | None = None,
    ) -> None:
        self._engine = engine
        self._catalogs = dict(catalogs)
        self._known = known
        self._client = client
        self._called = called or {}
        self._recorders = ThreadPoolExecutor(RECORDERS, thread_name_prefix="record")
        self._answerers = ThreadPoolExecutor(ANSWERERS, thread_name_prefix="answer")
        self._answers: set[Future[None]] = set()
        self._refreshers = {name: _Refresher(name, refresh, self._follows) for name in catalogs}
        self._seen: deque[str] = deque(maxlen=REMEMBERED)

    def take(self, payload: object) -> None:
        """Deal with what Slack says of an interaction, whatever it is. Never raises.

        Returns when it is recorded, or after :data:`ACKNOWLEDGE_AFTER` seconds; then it may be acknowledged.
        """
        try:
            now = dt.datetime.now(dt.UTC)
            click = clicks.parse(payload, now)
            if isinstance(click, NoClick):
                _log.log(logging.DEBUG if click.reason == "link" else logging.INFO, "Not answered: %s", click)
                return
            wait([self._recorders.submit(self._record, click, now)], ACKNOWLEDGE_AFTER)
        except Exception:  # the next click must find somebody at the desk
            _log.exception("A click was lost")

    def catch_up(self) -> None:
        """Have all messages brought up to date: something may have been recorded before a crash."""
        for refresher in self._refreshers.values():
            refresher.ask()

    def is_well(self) -> bool:
        """Whether the state database answers."""
        try:
            with reading(self._engine) as connection:
                connection.execute(sa.select(1))
        except sa.exc.SQLAlchemyError:
            return False
        return True

    def close(self, grace: float = GRACE) -> None:
        """Record what was taken, and give messages and answers a while; what is not done then is caught up later."""
        self._recorders.shutdown()
        give_up = time.monotonic() + grace
        for refresher in self._refreshers.values():
            refresher.stop(max(0.0, give_up - time.monotonic()))
        late = wait(self._answers.copy(), max(0.0, give_up - time.monotonic())).not_done
        self._answerers.shutdown(cancel_futures=True)  # what is on its way has a timeout of its own
        if unsaid := sum(answer.cancelled() for answer in late):
            _log.warning("Not told to whoever clicked, as Slack takes too long: %s answers", unsaid)

    def _record(self, click: Click, now: dt.datetime) -> None:
        try:
            words = self._decide(click, now)
        except Exception:
            _log.exception("A click by %s on %s could not be recorded", click.user, click.reference)
            words = clicks.NOT_RECORDED
        if words:
            self._say(click, words)

    def _decide(self, click: Click, now: dt.datetime) -> str:
        """Record what was decided; what to say to whoever clicked, nothing when that was said before."""
        catalog = self._catalogs.get(click.ecosystem)
        if catalog is None:
            return clicks.not_watched(click.ecosystem)
        subject = self._known(click.reference)
        if subject is None:
            return clicks.UNKNOWN
        decided = clicks.decide(click, subject, catalog, now)
        if isinstance(decided, Refusal):
            _log.info("Refused: %s by %s on %s", click.kind, click.user, subject.incident)
            return decided.words
        before = decisions.standings(self._engine, click.ecosystem).get(subject.incident, Standing())
        is_new = decisions.record(self._engine, decided)
        recorded = decisions.find(self._engine, decided)
        if is_new and recorded is not None:
            self._seen.append(decided.dedupe)
            self._refreshers[click.ecosystem].ask(click)
            command = undo_command(recorded, self._called.get(catalog.name, catalog.name))
            return f"{clicks.answer(catalog, decided, before)} {clicks.undo_words(command)}"
        if decided.dedupe not in self._seen:
            # Slack has sent it again, or another process got it first, which may have died before it was done.
            self._refreshers[click.ecosystem].ask()
        return "" if recorded is not None else clicks.NOTHING_NEW

    def _follows(self, waiting: list[Click]) -> None:
        for click in waiting:
            self._say(click, clicks.MESSAGE_FOLLOWS)

    def _say(self, click: Click, words: str) -> None:
        answer = self._answerers.submit(self._answer, click, words)
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    def _answer(self, click: Click, words: str) -> None:
        """Say something to whoever clicked, where only they see it; a failure is logged, since all is recorded."""
        try:
            if click.response_url and self._respond(click, words):
                return
            if self._client is None:
                _log.warning("No answer reached %s: %s", click.user, words)
                return
            self._client.chat_postEphemeral(
                channel=click.channel, user=click.user, text=words, thread_ts=click.thread_ts or None
            )
        except Exception as error:
            _log.warning("No answer reached %s (%s): %s", click.user, error, words)

    def _respond(self, click: Click, words: str) -> bool:
        webhook = WebhookClient(click.response_url, timeout=ANSWER_TIMEOUT, logger=_library, retry_handlers=[])
        body = {"text": words, "response_type": "ephemeral", "replace_original": False}
        try:
            response = webhook.send_dict(body | ({"thread_ts": click.thread_ts} if click.thread_ts else {}))
        except Exception as error:
            _log.info("The address for an answer failed: %s", error)
            return False
        return bool(response.status_code == 200)


class _Refresher:
    """One thread that brings the messages of one ecosystem up to date, when asked; asked twice meanwhile, once more."""

    def __init__(self, name: str, refresh: Callable[[str], object], failed: Callable[[list[Click]], None]) -> None:
        self._name, self._refresh, self._failed = name, refresh, failed
        self._changed = threading.Condition()
        self._asked = self._stopping = False
        self._waiting: list[Click] = []
        # A daemon: what it is at when the program ends may be broken off anywhere, and is caught up.
        self._thread = threading.Thread(target=self._run, name=f"refresh {name}", daemon=True)
        self._thread.start()

    def ask(self, click: Click | None = None) -> None:
        """Do it soon; whoever clicked is told when it fails."""
        with self._changed:
            self._asked = True
            if click is not None:
                self._waiting.append(click)
            self._changed.notify()

    def stop(self, seconds: float) -> None:
        """Finish what was asked for, within so many seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._stopping)
                if not self._asked:
                    return
                self._asked = False
                waiting, self._waiting = self._waiting, []
            try:
                self._refresh(self._name)
            except Exception:
                _log.exception("Messages of %s could not be brought up to date", self._name)
                with contextlib.suppress(RuntimeError):  # nobody answers any more
                    self._failed(waiting)


def undo_command(decision: Decision, called: str) -> str:
    """The command that takes a recorded decision back; ``called`` is what the command line calls the ecosystem."""
    options = ["-e", called, decision.incident, "undo", str(decision.id)]
    return shlex.join(["health-pipeline", "slack", "decide", *options])


def told_subjects(engine: sa.Engine, catalogs: Mapping[str, Catalog]) -> Known:
    """Finds every incident that people were told of, also under an earlier name."""

    def known(clicked: str) -> Subject | None:
        catalog = catalogs.get(clicked.partition(":")[0])
        if catalog is None:
            return None
        with reading(engine) as connection:
            found = told.find(connection, catalog.name, lambda name: reference(catalog.name, name) == clicked)
        if found is None or found.last is None:
            return None
        return Subject(catalog.name, found.incident, *silenced_as(catalog, found.last))

    return known


# ── Bolt ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bolt_app(desk: Desk, *, token: str, base_url: str = WebClient.BASE_URL, signing_secret: str = "") -> App:
    """Slack's own framework, with everything that can be clicked led to the desk and everything else acknowledged."""

    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        # Bolt would ask Slack who the token is, before the first click: a click must not need the Web API.
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=token)

    app = App(
        name="health-pipeline",
        logger=_library,
        client=WebClient(base_url=base_url, logger=_library, retry_handlers=[]),
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


def _dispatch(app: App, read: Callable[[], BoltRequest]) -> BoltResponse:
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


# ── Socket Mode ──────────────────────────────────────────────────────────────────────────────────────────────────────


def serve_socket(
    desk: Desk,
    *,
    token: str,
    app_token: str,
    base_url: str = WebClient.BASE_URL,
    stop: threading.Event | None = None,
    announce: Callable[[str], None] = _log.info,
    ping_interval: float = PING_INTERVAL,
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
    client = _Client(app_token, base_url, announce, ping_interval)

    def acknowledge(request: SocketModeRequest, response: BoltResponse) -> None:
        try:
            send_response(client, request, response, time.time())
        except Exception as error:  # Slack sends it again, and it is known then
            _log.warning("An acknowledgement was lost: %s", error)

    def listen(_: BaseSocketModeClient, request: SocketModeRequest) -> None:
        read = functools.partial(BoltRequest, mode="socket_mode", body=request.payload)
        acknowledge(request, _dispatch(app, read))

    def listen_to_nonsense(_: BaseSocketModeClient, message: dict[str, Any], raw: str | None) -> None:
        if message.get("envelope_id") and not isinstance(message.get("payload"), (dict, str)):
            _log.info("Not answered: an envelope that holds no object")
            acknowledge(
                SocketModeRequest(str(message.get("type")), message["envelope_id"], {}), BoltResponse(status=200)
            )

    client.socket_mode_request_listeners.append(listen)
    client.message_listeners.append(listen_to_nonsense)
    stopped = stop or threading.Event()
    with _set_by_signals(stopped):
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

    def __init__(self, app_token: str, base_url: str, announce: Callable[[str], None], ping_interval: float) -> None:
        self.pause = FIRST_PAUSE
        self._announce = announce
        self._tried = self._not_before = float("-inf")
        self._problem: Exception | None = None
        self._has_begun = False
        self._said = ""
        web_client = WebClient(base_url=base_url, timeout=ANSWER_TIMEOUT, logger=_library, retry_handlers=[])
        super().__init__(
            app_token,
            logger=_library,
            web_client=web_client,
            ping_interval=ping_interval,
            on_message_listeners=[self._heard],
        )

    def begin(self) -> bool:
        """Connect for the first time; ``False`` when that may work later.

        Raises:
            SlackAppError: it won't.
        """
        self.connect_to_new_endpoint(force=True)
        if isinstance(self._problem, SlackApiError) and _is_final(self._problem):
            raise _refused(self._problem) from None
        self._has_begun = True
        self._tell()
        return self.is_connected()

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

    def connect(self) -> None:
        super().connect()
        session = self.current_session
        if session is not None:
            session.close = functools.partial(_end, session)  # type: ignore[method-assign]
            session.check_state = functools.partial(_check, session)  # type: ignore[method-assign]

    def connect_to_new_endpoint(self, force: bool = False) -> None:
        now = time.monotonic()
        if self.closed or now < self._not_before or (self.is_connected() and not force):
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
        if '"disconnect"' in message[:200]:
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


@contextlib.contextmanager
def _set_by_signals(event: threading.Event) -> Iterator[None]:
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


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        return to_starlette_response(await run_in_threadpool(_dispatch, app, lambda: to_bolt_request(request, body)))

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

    Raises:
        SlackAppError: without a signing secret, or when nothing can listen at that address.
    """
    import uvicorn

    app = http_app(desk, token=token, signing_secret=signing_secret, base_url=base_url)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce(f"Answering clicks at http://{host}:{port}{PATH}.")
            desk.catch_up()

    server = Server(uvicorn.Config(app, host=host, port=port, log_level="critical", lifespan="off"))
    with _set_by_signals(threading.Event()):  # uvicorn ends at a signal, and then raises it once more
        try:
            server.run()
        except SystemExit:
            raise SlackAppError(
                f"Nothing can listen at {host}:{port}.", "Choose another port, or stop what uses it."
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
