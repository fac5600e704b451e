"""The fake Slack's Socket Mode: clicks go to clients that have connected, and again while nobody acknowledges them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from health_pipeline_tests.fake_slack_web_api import Answer
from health_pipeline_tests.fake_slack_workspace import Workspace

MOST_CONNECTIONS = 10
MOST_RESENDS = 3
FAR = 300.0
"""Seconds after which what has not happened never will: no test is about how long it takes."""


class SocketMode(Workspace):
    """A workspace whose clicks clients take over WebSockets.

    Attributes:
        acks: envelope ID -> payloads of its acknowledgements, ``None`` for one without a payload.
        resend_after: seconds after which an envelope that is not acknowledged is sent again, three times at most;
            0 for never.
    """

    def __init__(self) -> None:
        self._links: list[WebSocket] = []
        self._acknowledged = threading.Condition()
        super().__init__()

    def reset(self) -> None:
        """A new workspace; nobody is connected to it."""
        for link in self._let_all_go():
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it is closing already
                self._run(link.close())
        super().reset()
        self.acks: defaultdict[str, list[Any]] = defaultdict(list)
        self.resend_after = 0.0
        self._tickets: set[str] = set()
        self._envelopes: dict[str, dict[str, Any]] = {}
        self._comes_again: set[str] = set()

    # What tests ask and do.

    @property
    def connected(self) -> int:
        """How many clients are connected in Socket Mode."""
        return len(self._links)

    def wait_connected(self) -> None:
        """Until a client is connected in Socket Mode."""
        give_up = time.monotonic() + FAR
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
        envelope = envelope_id or f"envelope-{next(self.count)}"
        sent = {"envelope_id": envelope, "type": kind, "accepts_response_payload": True, "payload": payload}
        if not self._links:
            raise ConnectionError("nobody is connected in Socket Mode")
        self._envelopes[envelope] = first = sent | {"retry_attempt": 0, "retry_reason": ""}
        if self.resend_after:
            self._comes_again.add(envelope)
        self._run(self._send(sent))
        if self.resend_after:
            self.loop.call_soon_threadsafe(self.loop.call_later, self.resend_after, self._after_a_while, first)
        return envelope

    def resend(self, envelope_id: str) -> None:
        """What Slack does after a while when nobody has acknowledged an envelope; else nothing."""

        async def again() -> None:
            self._resend(self._envelopes[envelope_id])

        self._run(again())

    def is_done_with(self, envelope_id: str) -> bool:
        """Whether an envelope is not sent again by itself any more: it is acknowledged, or given up."""
        return envelope_id not in self._comes_again

    def resent(self, envelope_id: str) -> int:
        """How often an envelope was sent again."""
        return int(self._envelopes[envelope_id]["retry_attempt"])

    def wait_ack(self, envelope_id: str, *, times: int = 1) -> list[Any]:
        """The acknowledgements of an envelope, as soon as there are so many."""
        with self._acknowledged:
            if not self._acknowledged.wait_for(lambda: len(self.acks[envelope_id]) >= times, FAR):
                raise TimeoutError(f"{envelope_id} was acknowledged {len(self.acks[envelope_id])} times")
            return list(self.acks[envelope_id])

    def disconnect(self, reason: str = "refresh_requested") -> None:
        """Tell the clients in Socket Mode to connect anew, and hang up; Slack does so every few hours.

        Args:
            reason: ``warning`` announces it only: the connections stay for a while.
        """
        for link in list(self._links) if reason == "warning" else self._let_all_go():
            self._run(self._part(link, reason))

    def hang_up(self) -> None:
        """Drop the connections of Socket Mode without a word."""
        for link in self._let_all_go():
            self.loop.call_soon_threadsafe(link.scope["state"]["transport"].abort)

    def _let_all_go(self) -> list[WebSocket]:
        """The connections, which get nothing any more: whoever waits for one waits for a new one."""
        links, self._links = self._links, []
        return links

    # What clients do.

    def open_connection(self) -> Answer:
        """The answer to ``apps.connections.open``: an address that takes one client."""
        ticket = f"ticket-{next(self.count)}"
        self._tickets.add(ticket)
        return {"ok": True, "url": f"ws://{self.address}/link?ticket={ticket}&app_id=A00000001"}

    async def connect(self, link: WebSocket) -> None:
        """Serve a client until it leaves."""
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
        """To any one of the connections; lost when that breaks just now, or has just before."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, IndexError):
            await random.choice(self._links).send_text(json.dumps(sent))

    async def _part(self, link: WebSocket, reason: str) -> None:
        await link.send_text(json.dumps({"type": "disconnect", "reason": reason, "debug_info": {}}))
        if reason != "warning":
            await link.close()

    def _resend(self, sent: dict[str, Any]) -> bool:
        """Send an envelope again that nobody has acknowledged, to whoever is connected now; ``False`` when it is over.

        In the server's thread.
        """
        if self.acks.get(sent["envelope_id"]) or sent["retry_attempt"] >= MOST_RESENDS:
            return False
        if self._links:
            sent |= {"retry_attempt": sent["retry_attempt"] + 1, "retry_reason": "timeout"}
            self._sending = self.loop.create_task(self._send(sent))
        return True

    def _after_a_while(self, sent: dict[str, Any]) -> None:
        if self._envelopes.get(sent["envelope_id"]) is not sent:  # sent anew, or of an earlier test
            return
        if self._resend(sent):
            self.loop.call_later(self.resend_after, self._after_a_while, sent)
        else:
            self._comes_again.discard(sent["envelope_id"])

    def _run(self, doing: Any) -> None:
        """In the server's thread, from another."""
        asyncio.run_coroutine_threadsafe(doing, self.loop).result(FAR)
