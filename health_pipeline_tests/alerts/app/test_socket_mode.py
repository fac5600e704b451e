"""Clicks over a connection to Slack that breaks, is refused, and comes again."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.builtin.connection import Connection, ConnectionState

from health_pipeline.alerts.app.bolt import SlackAppError
from health_pipeline.alerts.app.socket_mode import _Client, serve_socket
from health_pipeline.alerts.people import decisions
from health_pipeline_tests.alerts.app.office import Office
from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import ANA, APP_TOKEN, BEN, TOKEN, FakeSlack


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows whenever the library has asked to connect: whether also in place of a connection that is there."""
    asked: list[bool] = []
    connect = _Client.connect_to_new_endpoint

    def connect_and_tell(client: _Client, force: bool = False) -> None:
        connect(client, force)
        asked.append(force)

    monkeypatch.setattr(_Client, "connect_to_new_endpoint", connect_and_tell)
    return asked


@pytest.mark.parametrize("end", ["disconnect", "hang_up"])
def test_clicks_while_nobody_listens_arrive_when_slack_sends_them_again(
    listening: Office, post: Callable[..., str], end: str
) -> None:
    server, ts = listening.server, post()
    server.resend_after = 0.1
    sent = []
    for times, user in enumerate((ANA, BEN), 1):
        sent.append(server.interactive(server.click(ts, "acknowledge", user=user)))
        getattr(server, end)()
        wait_for(lambda times=times: server.requests.count("apps.connections.open") > times and server.connected == 1)
    for envelope in sent:
        server.wait_ack(envelope)
    assert {d.by.user for d in listening.rows} == {ANA, BEN}
    wait_for(lambda: len(listening.answers) == 2)
    assert set(listening.announced) == {"Listening to Slack."}


def test_slack_can_be_away_for_a_while(office: Office, post: Callable[..., str]) -> None:
    server = office.server
    server.faults["apps.connections.open"].extend(["drop_before", "rate_limited:1"])
    with office.listening(office.desk()):
        server.wait_ack(server.interactive(server.click(post(), "acknowledge")))
        server.faults["apps.connections.open"].extend(["error_before", "code:internal_error"])
        server.disconnect()
        wait_for(lambda: not server.faults["apps.connections.open"] and server.connected)
        server.wait_ack(server.interactive(server.click(post(), "acknowledge", user=BEN)))
    assert len(office.rows) == 2
    assert office.announced[-1] == "Not listening any more."
    assert [said.startswith("Slack can't be reached (") for said in office.announced[:3]].count(True) >= 1
    assert office.announced.count("Listening to Slack.") == 2


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"])
def test_an_address_that_lets_nobody_connect_is_said(office: Office, answer: bytes) -> None:
    def refuse(link: socket.socket) -> None:
        with link.makefile("rb") as said:
            list(iter(said.readline, b"\r\n"))
            link.sendall(answer)

    with office.sent_first_to(refuse), office.listening(office.desk()):
        wait_for(lambda: "Listening to Slack." in office.announced)
    assert office.announced[0].startswith("Slack can't be reached (")
    assert office.announced[1:] == ["Listening to Slack.", "Not listening any more."]


def test_a_connection_that_breaks_at_once_is_made_again_and_nothing_said(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, connect = office.server, SocketModeClient.connect
    broken: list[SocketModeClient] = []

    def connect_and_break(client: SocketModeClient) -> None:
        connect(client)
        if not broken:
            broken.append(client)
            wait_for(lambda: server.connected)
            server.hang_up()
            wait_for(lambda: not client.is_connected())

    monkeypatch.setattr(SocketModeClient, "connect", connect_and_break)
    with office.listening(office.desk()):
        wait_for(lambda: "Listening to Slack." in office.announced)
    assert server.requests.count("apps.connections.open") == 2
    assert office.announced == ["Listening to Slack.", "Not listening any more."]


def test_an_app_that_slack_refuses_is_told_what_to_do(office: Office) -> None:
    desk = office.desk()
    with pytest.raises(SlackAppError, match="invalid_auth") as raised:
        serve_socket(
            desk, token=TOKEN, app_token="xapp-wrong", base_url=office.server.url, stop=threading.Event(),
            announce=office.announced.append,
        )  # fmt: skip
    assert "SLACK_APP_TOKEN" in raised.value.hint
    desk.close(FAR)
    assert office.refreshed == []
    assert office.announced == [], "Slack could be reached, and nothing is tried again"


def test_an_app_that_slack_refuses_later_is_told_so(office: Office, post: Callable[..., str]) -> None:
    server = office.server
    with office.listening(office.desk()):
        server.faults["apps.connections.open"].extend(["code:token_revoked"] * 3)
        server.disconnect()
        refused = "Slack does not let the app listen (token_revoked): not listening; trying again."
        wait_for(lambda: refused in office.announced)
        wait_for(lambda: server.connected and not server.faults["apps.connections.open"])
        server.wait_ack(server.interactive(server.click(post(), "acknowledge")))
    assert len(office.rows) == 1


def test_an_app_that_slack_refuses_in_the_instant_in_which_it_has_connected_goes_on(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, connect = office.server, _Client.connect_to_new_endpoint
    held_up: list[_Client] = []

    def connect_and_be_held_up(client: _Client, force: bool = False) -> None:
        connect(client, force)
        if not held_up:
            held_up.append(client)
            server.faults["apps.connections.open"].extend(["code:token_revoked"] * 3)
            server.disconnect()
            wait_for(lambda: len(server.faults["apps.connections.open"]) <= 1)

    monkeypatch.setattr(_Client, "connect_to_new_endpoint", connect_and_be_held_up)
    with office.listening(office.desk()):
        wait_for(lambda: "Listening to Slack." in office.announced)
        wait_for(lambda: server.connected)
        server.wait_ack(server.interactive(server.click(post(), "acknowledge")))
    assert len(office.rows) == 1


class Undone(ConnectionState):
    """The thread that reads begins just as another ends it: the first word that it is to end is lost."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "terminated" and value is True and "was_lost" not in self.__dict__:
            name = "was_lost"
        super().__setattr__(name, value)


def test_it_ends_also_when_it_has_only_just_begun_to_read(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = office.server
    monkeypatch.setattr("slack_sdk.socket_mode.builtin.client.ConnectionState", Undone)
    with office.listening(office.desk()):
        server.wait_ack(server.interactive(server.click(post(), "acknowledge")))  # somebody reads
    assert office.announced[-1] == "Not listening any more."


def test_it_ends_also_in_the_middle_of_connecting_anew(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    server, close = office.server, SocketModeClient.close

    clients: list[SocketModeClient] = []

    def close_while_slack_answers(client: SocketModeClient) -> None:
        clients.append(client)
        server.let_go()
        close(client)

    monkeypatch.setattr(SocketModeClient, "close", close_while_slack_answers)
    with office.listening(office.desk()):
        server.faults["apps.connections.open"].append("held")
        server.disconnect()
        wait_for(lambda: server.requests.count("apps.connections.open") == 2)
    assert office.announced[-1] == "Not listening any more."
    assert not clients[0].is_connected(), "nor is what was connected meanwhile"


def test_a_connection_that_slack_will_end_is_replaced_however_fast_that_is_read(
    office: Office, forced: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that connects anew may be faster than the one that has read why."""
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.0)
    server, enqueue = office.server, SocketModeClient.enqueue_message

    def enqueue_and_be_held_up(client: SocketModeClient, message: str) -> None:
        enqueue(client, message)
        if "disconnect" in message:
            wait_for(lambda: forced[1:])

    monkeypatch.setattr(SocketModeClient, "enqueue_message", enqueue_and_be_held_up)
    with office.listening(office.desk()):
        server.disconnect("warning")
        wait_for(lambda: forced[1:])
        assert forced == [True, True]
        assert server.requests.count("apps.connections.open") == 2
        wait_for(lambda: server.connected == 1)


def test_a_connection_is_replaced_once_however_often_slack_says_so(
    office: Office, forced: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.0)
    server, enqueue = office.server, SocketModeClient.enqueue_message
    heard: list[str] = []

    def enqueue_and_tell(client: SocketModeClient, message: str) -> None:
        enqueue(client, message)
        heard.append(json.loads(message)["type"])

    monkeypatch.setattr(SocketModeClient, "enqueue_message", enqueue_and_tell)
    with office.listening(office.desk()):
        server.faults["apps.connections.open"].append("held")
        server.disconnect("warning")
        wait_for(lambda: server.requests.count("apps.connections.open") == 2)
        server.disconnect("warning")
        wait_for(lambda: heard.count("disconnect") == 2)
        server.let_go()
        wait_for(lambda: forced.count(True) == 3)
        assert server.requests.count("apps.connections.open") == 2


@pytest.mark.parametrize(("first_pause", "fault"), [(FAR, ""), (0.0, "rate_limited:300")])
def test_slack_is_left_alone_between_two_attempts(
    office: Office, forced: list[bool], monkeypatch: pytest.MonkeyPatch, first_pause: float, fault: str
) -> None:
    server = office.server
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", first_pause)
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.LONGEST_PAUSE", first_pause)
    with office.listening(office.desk()):
        server.faults["apps.connections.open"].append(fault)
        server.disconnect()
        wait_for(lambda: forced[5:] or server.connected)  # again and again the library looks after its connection
        assert server.requests.count("apps.connections.open") == (2 if fault else 1)


def test_who_replaces_a_connection_does_not_stumble_when_its_reader_has_just_ended_it(
    office: Office, forced: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.0)
    server, disconnect = office.server, Connection.disconnect
    overtaken: list[Connection] = []

    class Late:
        """The connection's own lock, for whom another thread got it first, after both saw that it is open."""

        def __init__(self, session: Connection) -> None:
            self.session, self.lock = session, session.sock_send_lock

        def __enter__(self) -> None:
            self.session.sock_send_lock = self.lock
            disconnect(self.session)
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    def disconnect_late(session: Connection) -> None:
        if session.sock is not None and not overtaken:
            overtaken.append(session)
            session.sock_send_lock = Late(session)  # type: ignore[assignment]
        disconnect(session)

    monkeypatch.setattr(Connection, "disconnect", disconnect_late)
    with office.listening(office.desk()):
        server.disconnect("warning")
        wait_for(lambda: forced[1:])
        assert overtaken and office.announced == ["Listening to Slack."]
        wait_for(lambda: server.connected == 1)
        server.wait_ack(server.interactive({}))


@pytest.mark.parametrize("pongs", [0, 1])
def test_a_connection_that_falls_silent_is_replaced(office: Office, pongs: int) -> None:
    def fall_silent_after(link: socket.socket) -> None:
        fall_silent(link, pongs)

    with office.sent_first_to(fall_silent_after), office.listening(office.desk(), silent_after=0.1):
        pass  # at the Slack that answers
    assert office.server.requests.count("apps.connections.open") >= 2
    assert set(office.announced) == {"Listening to Slack.", "Not listening any more."}


def fall_silent(link: socket.socket, pongs: int) -> None:
    """A WebSocket that answers so many pings, and nothing more until whoever has connected goes."""
    with link.makefile("rb") as said:
        head = b"".join(iter(said.readline, b"\r\n")).decode()
        (key,) = re.findall(r"(?i)^sec-websocket-key: *(\S+)", head, re.MULTILINE)
        accepted = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        link.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n"
        )
        for _ in range(pongs):
            _, length, *mask = said.read(6)
            length &= 0x7F
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(said.read(length)))
            link.sendall(bytes((0x8A, length)) + payload)
        with contextlib.suppress(ConnectionError):
            said.read()


def test_why_slack_ended_the_connection_is_said(listening: Office) -> None:
    listening.server.disconnect("link_disabled")
    wait_for(lambda: listening.announced[2:] and listening.server.connected == 1)
    before, why, after = listening.announced
    assert "Socket Mode is switched off" in why
    assert before == after == "Listening to Slack."


def test_several_processes_share_the_clicks_and_each_is_one(listening: Office, post: Callable[..., str]) -> None:
    server, ts = listening.server, post()
    with listening.listening(listening.desk()):
        users = [f"U0000020{n}" for n in range(9)]
        server.users += [{"id": user, "name": user.lower()} for user in users]
        for user in users:
            payload = server.click(ts, "acknowledge", user=user)
            for envelope in [server.interactive(payload) for _ in range(4)]:  # to either, perhaps to both
                server.wait_ack(envelope)
        assert server.connected == 2
    assert Counter(d.by.user for d in listening.rows) == Counter(users)


SERVERS = f"""
import os, sys
from health_pipeline.alerts.app import desk as app_desk
from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.app.desk import Desk
from health_pipeline.alerts.app.socket_mode import serve_socket
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.storage.state import open_state

app_desk.ACKNOWLEDGE_AFTER = {FAR}  # a busy machine is no reason to acknowledge what is not recorded
catalog = load_catalog("eu_dsa")
# One server for each line: a process of its own, forked so that only the first pays for the imports.
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        def known(reference):
            return Subject("eu_dsa", reference.partition(":incident:")[2], "statements", "platform=TikTok")
        desk = Desk(open_state(os.environ["STATE_URL"]), {{"eu_dsa": catalog}}, known=known, refresh=lambda name: None)
        serve_socket(desk, token={TOKEN!r}, app_token={APP_TOKEN!r}, base_url=os.environ["SLACK_API_URL"],
                     ping_interval=0.2, silent_after={FAR})
        desk.close({FAR})
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
KILLS = 12


def test_kills_lose_no_click_and_double_none(
    engine: sa.Engine, server: FakeSlack, state_url: str, post: Callable[..., str]
) -> None:
    """SIGKILL around a click: what was acknowledged is recorded, all of it in the end, each once.

    Before anything of it is read, at some moment, and right after the last acknowledgement.
    """
    server.resend_after = 0.2
    ts = post()
    servers = subprocess.Popen(
        [sys.executable, "-c", SERVERS],
        env=os.environ | {"SLACK_API_URL": server.url, "STATE_URL": state_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert servers.stdin is not None
    assert servers.stdout is not None

    def start() -> int:
        servers.stdin.write("serve\n")
        servers.stdin.flush()
        pid = int(servers.stdout.readline())
        wait_for(lambda: server.connected == 1)
        return pid

    users = [f"U000003{n:02d}" for n in range(3 * KILLS)]
    server.users += [{"id": user, "name": user.lower()} for user in users]
    sent: dict[str, str] = {}
    cut_off = 0
    for turn in range(KILLS):
        pid = start()
        if turn % 3 == 0:
            os.kill(pid, signal.SIGSTOP)
        for user in users[3 * turn : 3 * turn + 3]:
            latest = server.interactive(server.click(ts, "acknowledge", user=user))
            sent[latest] = user
        if turn % 3 == 1:
            time.sleep(random.uniform(0, 0.03))
        elif turn % 3 == 2:
            server.wait_ack(latest)  # and not a moment more
        os.kill(pid, signal.SIGKILL)
        assert int(servers.stdout.readline()) == -signal.SIGKILL
        wait_for(lambda: server.connected == 0)
        recorded = {d.by.user for d in decisions.history(engine, "eu_dsa")}
        acknowledged = {user for envelope, user in sent.items() if server.acks.get(envelope)}
        assert acknowledged <= recorded, "acknowledged, and not recorded"
        cut_off += len(sent) - len(acknowledged)
    assert cut_off, "no kill hit a click on its way: this run proves nothing"
    pid = start()
    wait_for(lambda: all(server.is_done_with(envelope) for envelope in sent))
    for envelope in [e for e in sent if not server.acks.get(e)]:  # what Slack has given up is clicked again
        again = server.click(ts, "acknowledge", user=sent[envelope])
        server.wait_ack(server.interactive(again))
    assert Counter(d.by.user for d in decisions.history(engine, "eu_dsa")) == Counter(users)
    os.kill(pid, signal.SIGTERM)
    assert int(servers.stdout.readline()) == 0, "it ends when it is told to"
    servers.communicate(timeout=FAR)
