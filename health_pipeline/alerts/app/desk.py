"""What becomes of a click: who may is asked, what was decided recorded and said, the message brought up to date.

**Recorded, then acknowledged.** Slack wants to be answered within 3 seconds and does not send a click again once it was
acknowledged. To record one takes milliseconds, so it is done before: a process that dies in between leaves a click that
Slack sends again or shows as failed, and the same click twice is one row. Only a database that does not answer within
:data:`ACKNOWLEDGE_AFTER` is not waited for: the click is acknowledged, recording goes on, and whoever clicked hears how
it ended. Everything else, Slack's Web API included, happens after the acknowledgement and may take its time or fail.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

import sqlalchemy as sa
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

from health_pipeline.alerts.app import clicks
from health_pipeline.alerts.app.clicks import Click, NoClick, Refusal, Subject
from health_pipeline.alerts.delivery.blocks import reference
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import Standing, silenced_as
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import reading

ACKNOWLEDGE_AFTER = 2.0
"""Seconds after which a click is acknowledged that is not recorded yet; Slack waits for 3."""
RECORDERS = 8
ANSWERERS = 4
ANSWER_TIMEOUT = 10
GRACE = 15.0
"""Seconds that messages have to be brought up to date, and people to be answered, when the program ends."""
REMEMBERED = 1_000

LIBRARY = logging.getLogger("health_pipeline.slack_bolt")
LIBRARY.setLevel(logging.CRITICAL)  # what matters of what Slack's libraries say is said by us, in words
_log = logging.getLogger(__name__)

Known = Callable[[str], Subject | None]
"""From a :func:`.blocks.reference` to what it refers to; ``None`` for what is not known (any more)."""


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
        self._looking = threading.Lock()

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
        with self._looking:  # before the row is there: a duplicate of the same instant knows that it is seen to
            is_first = decided.dedupe not in self._seen
            if is_first:
                self._seen.append(decided.dedupe)
        try:
            is_new = decisions.record(self._engine, decided)
        except Exception:
            with self._looking, contextlib.suppress(ValueError):
                self._seen.remove(decided.dedupe)
            raise
        recorded = decisions.find(self._engine, decided)
        if is_new and recorded is not None:
            self._refreshers[click.ecosystem].ask(click)
            command = undo_command(recorded, self._called.get(catalog.name, catalog.name))
            return f"{clicks.answer(catalog, decided, before)} {clicks.undo_words(command)}"
        if is_first:
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
        webhook = WebhookClient(click.response_url, timeout=ANSWER_TIMEOUT, logger=LIBRARY, retry_handlers=[])
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
