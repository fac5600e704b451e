"""A desk of the Slack app with real sockets around it, what it was asked to do, and what stands in its way."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from slack_sdk import WebClient

from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.app.desk import Desk
from health_pipeline.alerts.app.socket_mode import serve_socket
from health_pipeline.alerts.people import decisions
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.by_hand import incident
from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import ANA, APP_TOKEN, TOKEN, FakeSlack

MARKET = incident(
    id="ID-orders-2025-07-02", unit="ID", family="orders", metric="orders_placed", segment="market=ID",
    series="orders_placed|market=ID",
)  # fmt: skip

GARBAGE: list[tuple[str, Any]] = [
    ("interactive", {}),
    ("interactive", {"type": "block_actions"}),
    ("interactive", {"type": "block_actions", "user": [], "actions": {"0": None}, "container": 7}),
    ("interactive", {"type": "block_actions", "actions": [{"action_id": ["acknowledge"], "block_id": None}]}),
    ("interactive", {"type": "view_submission", "view": {"callback_id": "x"}}),
    ("interactive", {"type": "view_closed", "view": {"callback_id": "x"}}),
    ("interactive", {"type": "shortcut", "callback_id": "x"}),
    ("interactive", {"type": "message_action", "callback_id": "x"}),
    ("interactive", {"type": "block_suggestion", "action_id": "x"}),
    ("interactive", []),
    ("interactive", None),
    ("interactive", "text"),
    ("slash_commands", {"command": "/health"}),
    ("events_api", {"type": "event_callback", "event": {"type": "app_mention", "user": ANA}}),
    ("news", {"type": 3}),
]
"""What else may come: (type of the envelope, payload)."""


@dataclass
class Office:
    """A desk, what it was asked to bring up to date, and what stands in its way."""

    engine: sa.Engine
    server: FakeSlack
    catalogs: dict[str, Catalog]
    known: dict[str, Subject]
    refreshed: list[str] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    trouble: list[Exception] = field(default_factory=list)
    lost: list[Exception] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    def desk(self) -> Desk:
        client = WebClient(TOKEN, base_url=self.server.url, retry_handlers=[], timeout=FAR)
        return Desk(self.engine, self.catalogs, known=self._find, refresh=self._refresh, client=client)

    def _find(self, ref: str) -> Subject | None:
        if self.lost:
            raise self.lost.pop()
        return self.known.get(ref)

    def _refresh(self, name: str) -> None:
        self.refreshed.append(name)
        assert self.open.wait(FAR)
        if self.trouble:
            raise self.trouble.pop()

    @contextlib.contextmanager
    def listening(self, desk: Desk, *, silent_after: float = FAR) -> Iterator[None]:
        """In Socket Mode; leaves when it has ended."""
        stop = threading.Event()
        before = self.server.connected
        thread = threading.Thread(
            target=serve_socket,
            args=(desk,),
            kwargs={
                "token": TOKEN, "app_token": APP_TOKEN, "base_url": self.server.url, "stop": stop,
                "announce": self.announced.append, "ping_interval": 0.2, "silent_after": silent_after,
            },
        )  # fmt: skip
        thread.start()
        try:
            wait_for(lambda: self.server.connected > before)
            yield
        finally:
            self.open.set()
            stop.set()
            thread.join(FAR)
            assert not thread.is_alive(), "it does not end"
            desk.close(FAR)

    @contextlib.contextmanager
    def sent_first_to(self, answer: Callable[[socket.socket], None]) -> Iterator[None]:
        """Whoever asks where to connect is sent to a socket that does this with one connection; then to the Slack."""
        open_connection = self.server.open_connection
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
            addresses = iter([f"ws://127.0.0.1:{listener.getsockname()[1]}/"])
            patch.setattr(
                self.server,
                "open_connection",
                lambda: {"ok": True, "url": next(addresses, "") or open_connection()["url"]},
            )

            def answer_one() -> None:
                with listener.accept()[0] as link:
                    answer(link)

            answering = threading.Thread(target=answer_one, daemon=True)
            answering.start()
            yield
            answering.join(FAR)

    @property
    def rows(self) -> list[decisions.Decision]:
        return [d for name in self.catalogs for d in decisions.history(self.engine, name)]

    @property
    def answers(self) -> list[str]:
        return [response["text"] for response in self.server.responses]
