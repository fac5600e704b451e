"""The Slack app over real sockets: a click becomes a row, then an acknowledgement, and then everything else."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from slack_sdk import WebClient
from slack_sdk.socket_mode.builtin.connection import ConnectionState

from health_pipeline.alerts.app.bolt import SlackAppError
from health_pipeline.alerts.app.clicks import NOTHING_NEW, Subject
from health_pipeline.alerts.app.desk import Desk, told_subjects
from health_pipeline.alerts.app.signed_http import HEALTH, MAX_BODY, PATH, http_app, serve_http
from health_pipeline.alerts.app.socket_mode import _Client, serve_socket
from health_pipeline.alerts.delivery.blocks import Message, reference
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.messages.incident import About, incident_content
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.standing import silenced_as
from health_pipeline.alerts.people.told import Told
from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline.storage.state import open_state
from health_pipeline_tests.alerts.by_hand import data_incident, incident
from health_pipeline_tests.conftest import wait_for
from health_pipeline_tests.fake_slack import ANA, APP_TOKEN, BEN, SIGNING_SECRET, TOKEN, FakeSlack, sign, signed

CHANNEL = "#ecosystem-health"


@pytest.fixture(scope="module")
def catalogs(catalog: Catalog) -> dict[str, Catalog]:
    return {"eu_dsa": catalog, "marketplace": load_catalog("marketplace")}


MARKET = incident(
    id="ID-orders-2025-07-02", unit="ID", family="orders", metric="orders_placed", segment="market=ID",
    series="orders_placed|market=ID",
)  # fmt: skip


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
        client = WebClient(TOKEN, base_url=self.server.url, retry_handlers=[], timeout=2)
        return Desk(self.engine, self.catalogs, known=self._find, refresh=self._refresh, client=client)

    def _find(self, ref: str) -> Subject | None:
        if self.lost:
            raise self.lost.pop()
        return self.known.get(ref)

    def _refresh(self, name: str) -> None:
        self.refreshed.append(name)
        assert self.open.wait(30)
        if self.trouble:
            raise self.trouble.pop()

    @contextlib.contextmanager
    def listening(self, desk: Desk) -> Iterator[None]:
        """In Socket Mode; leaves when it has ended."""
        stop = threading.Event()
        before = self.server.connected
        thread = threading.Thread(
            target=serve_socket,
            args=(desk,),
            kwargs={
                "token": TOKEN, "app_token": APP_TOKEN, "base_url": self.server.url, "stop": stop,
                "announce": self.announced.append, "ping_interval": 0.2,
            },
        )  # fmt: skip
        thread.start()
        try:
            wait_for(lambda: self.server.connected > before)
            yield
        finally:
            self.open.set()
            stop.set()
            thread.join(20)
            assert not thread.is_alive(), "it does not end"
            desk.close()

    @property
    def rows(self) -> list[decisions.Decision]:
        return [d for name in self.catalogs for d in decisions.history(self.engine, name)]

    @property
    def answers(self) -> list[str]:
        return [response["text"] for response in self.server.responses]


@pytest.fixture
def office(engine: sa.Engine, server: FakeSlack, catalogs: dict[str, Catalog]) -> Office:
    told_of = (("eu_dsa", incident()), ("eu_dsa", data_incident()), ("marketplace", MARKET))
    known = {reference(n, i.id): Subject(n, i.id, *silenced_as(catalogs[n], i)) for n, i in told_of}
    made = Office(engine, server, dict(catalogs), known)
    made.open.set()
    return made


@pytest.fixture
def listening(office: Office) -> Iterator[Office]:
    """An office that listens in Socket Mode, and has caught up."""
    desk = office.desk()
    with office.listening(desk):
        wait_for(lambda: len(office.refreshed) == len(office.catalogs))
        office.refreshed.clear()
        yield office


@pytest.fixture
def post(server: FakeSlack, catalogs: dict[str, Catalog]) -> Callable[..., str]:
    """Posts the message about an incident; returns its ts."""
    slack = Slack(TOKEN, base_url=server.url, timeout=5)

    def post(name: str = "eu_dsa", about: Incident | None = None) -> str:
        about = about or incident()
        content = incident_content(
            catalogs[name], about, About("P1", actions=True, links={"Open": "https://x.example/"})
        )
        return str(slack.post(Message(f"{name}{about.id}", CHANNEL, content.text, content.blocks)).ts)

    return post


# From click to answer.


def test_a_click_is_recorded_acknowledged_shown_and_answered(listening: Office, post: Callable[..., str]) -> None:
    server = listening.server
    ts = post()
    envelope = server.interactive(server.click(ts, "acknowledge"))
    assert server.wait_ack(envelope) == [None], "an acknowledgement, and nothing else in it"
    (row,) = listening.rows
    assert (row.kind, row.incident, row.by.user, row.by_name) == ("acknowledge", incident().id, ANA, "ana")
    wait_for(lambda: listening.answers and listening.refreshed)
    (answer,) = server.responses
    command = f"health-pipeline slack decide -e eu_dsa {incident().id} undo {row.id}"
    assert answer["text"] == f"Acknowledged. To take it back: `{command}`"
    assert (answer["response_type"], answer["replace_original"]) == ("ephemeral", False)
    assert listening.refreshed == ["eu_dsa"]
    assert server.ephemeral == []


def test_everything_that_can_be_decided_is_recorded_as_it_was_chosen(
    listening: Office, post: Callable[..., str]
) -> None:
    server, ts = listening.server, post()
    causes = listening.catalogs["eu_dsa"].alerts.causes
    for action, value in (("assign", BEN), ("verdict", "false_alarm|1"), ("snooze", "here|7"), ("open", None)):
        server.wait_ack(server.interactive(server.click(ts, action, value=value)))
    assigned, judged, snoozed = listening.rows
    assert assigned.assignee == BEN
    assert (judged.verdict, judged.cause) == ("false_alarm", causes["false_alarm"][1])
    assert (snoozed.scope, snoozed.metric, snoozed.segment) == ("here", "statements", "platform=TikTok")
    wait_for(lambda: len(listening.answers) == 3)


def test_an_answer_to_a_click_in_a_thread_stands_in_the_thread(
    listening: Office, post: Callable[..., str], slack: Slack
) -> None:
    server, parent = listening.server, post()
    reply = next(m for m in server.messages if m["ts"] == parent) | {"thread_ts": parent, "ts": "1764000000.000777"}
    server.messages.append(reply)
    server.wait_ack(server.interactive(server.click(reply["ts"], "acknowledge")))
    wait_for(lambda: server.responses)
    assert server.responses[0]["thread_ts"] == parent


def test_the_same_envelope_twice_is_one_decision_and_one_answer(listening: Office, post: Callable[..., str]) -> None:
    server = listening.server
    payload = server.click(post(), "verdict", value="real|0")
    envelope = server.interactive(payload)
    server.interactive(payload, envelope_id=envelope)
    server.wait_ack(envelope, times=2)
    server.wait_ack(server.interactive(payload))  # and in another envelope
    wait_for(lambda: listening.answers and listening.refreshed)
    assert len(listening.rows) == 1
    server.wait_ack(server.interactive(server.click(post(), "acknowledge", user=BEN)))
    wait_for(lambda: len(listening.refreshed) == 2)
    assert len(listening.rows) == 2
    assert len(listening.answers) <= 2, "the duplicates were not answered"


def test_a_double_click_is_one_decision(listening: Office, post: Callable[..., str]) -> None:
    server, ts = listening.server, post()
    for _ in range(2):
        server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
    wait_for(lambda: len(listening.answers) == 2)
    assert NOTHING_NEW in listening.answers
    assert len(listening.rows) == 1


def test_who_may_not_changes_nothing_and_hears_who_may(listening: Office, post: Callable[..., str]) -> None:
    server = listening.server
    roled = Alerts(roles={"analyst": (BEN,)})
    listening.catalogs["eu_dsa"] = listening.catalogs["eu_dsa"].model_copy(update={"alerts": roled})
    with listening.listening(desk := listening.desk()):
        desk.take(server.click(post(), "acknowledge", user=ANA))
        wait_for(lambda: listening.answers)
    assert listening.answers[0].startswith("Nothing was recorded. This takes the role analyst")
    assert f"<@{BEN}>" in listening.answers[0]
    assert listening.rows == []


def test_one_process_answers_for_several_ecosystems(listening: Office, post: Callable[..., str]) -> None:
    server = listening.server
    first, second = post(), post("marketplace", MARKET)
    for ts in (first, second):
        server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
    assert [(d.ecosystem, d.incident) for d in listening.rows] == [
        ("eu_dsa", incident().id), ("marketplace", MARKET.id),
    ]  # fmt: skip
    wait_for(lambda: sorted(listening.refreshed) == ["eu_dsa", "marketplace"])


def test_a_click_that_is_somebody_elses_is_refused_in_words(listening: Office, post: Callable[..., str]) -> None:
    server = listening.server
    unknown = server.click(post(about=incident(id="TikTok-statements-2020-01-01")), "acknowledge")
    elsewhere = server.click(post(), "acknowledge")
    elsewhere["actions"][0]["block_id"] = reference("shop", "i1")
    foreign = server.click(post(), "acknowledge")
    foreign["actions"][0]["block_id"] = "b1"
    for payload in (foreign, unknown, elsewhere):
        server.wait_ack(server.interactive(payload))
    wait_for(lambda: len(listening.answers) == 2)
    assert {answer.partition(":")[2][:40] for answer in listening.answers} == {
        " this incident is not known here any mor", " the program that answers here does not ",
    }  # fmt: skip
    assert listening.rows == []


# What goes wrong.

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


def test_whatever_else_slack_sends_is_acknowledged_and_does_no_harm(
    listening: Office, post: Callable[..., str]
) -> None:
    server = listening.server
    for kind, payload in GARBAGE:
        assert server.wait_ack(server.send(kind, payload)) is not None
    server.wait_ack(server.interactive(server.click(post(), "acknowledge")))
    assert len(listening.rows) == 1
    assert server.connected == 1


def test_what_fails_inside_is_told_and_the_next_click_is_heard(listening: Office, post: Callable[..., str]) -> None:
    server, ts = listening.server, post()
    listening.lost.append(RuntimeError("the lake is away"))
    server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
    wait_for(lambda: listening.answers)
    assert listening.answers[0].startswith("Nothing was recorded: something went wrong here")
    listening.trouble.append(RuntimeError("the lake is away"))
    server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
    wait_for(lambda: len(listening.answers) == 3)
    assert (
        "It is recorded. The message could not be brought up to date just now; that will follow." in listening.answers
    )
    server.wait_ack(server.interactive(server.click(ts, "acknowledge", user=BEN)))
    wait_for(lambda: len(listening.answers) == 4 and len(listening.refreshed) == 2)
    assert len(listening.rows) == 2


def test_a_click_needs_no_web_api(listening: Office, post: Callable[..., str]) -> None:
    server, ts = listening.server, post()
    server.faults["response"].extend(["error_before", "drop_before", "code:used_url"])
    server.faults["chat.postEphemeral"].extend(["error_before", "drop_before"])
    for user in (ANA, BEN):
        server.wait_ack(server.interactive(server.click(ts, "acknowledge", user=user)))
    assert len(listening.rows) == 2
    wait_for(lambda: server.requests.count("chat.postEphemeral") == 2)
    server.faults["response"].clear()
    server.faults["response"].append("error_before")
    server.wait_ack(server.interactive(server.click(ts, "verdict", value="real|0")))
    wait_for(lambda: server.ephemeral)
    assert (server.ephemeral[0]["user"], server.responses) == (ANA, [])
    assert server.ephemeral[0]["text"].startswith("Verdict: real"), "the other way round"


def test_a_slow_refresh_holds_up_nobody_and_covers_all_that_came_meanwhile(
    listening: Office, post: Callable[..., str]
) -> None:
    server, ts, users = listening.server, post(), [f"U0000010{n}" for n in range(8)]
    server.users += [{"id": user, "name": user.lower()} for user in users]
    listening.open.clear()
    for user in users:  # more than there are threads for anything
        server.wait_ack(server.interactive(server.click(ts, "acknowledge", user=user)))
    wait_for(lambda: len(listening.answers) == len(users))
    assert len(listening.rows) == len(users)
    assert listening.refreshed == ["eu_dsa"], "never twice at once"
    server.wait_ack(server.interactive(server.click(post("marketplace", MARKET), "acknowledge")))
    wait_for(lambda: listening.refreshed == ["eu_dsa", "marketplace"])
    listening.open.set()
    wait_for(lambda: listening.refreshed == ["eu_dsa", "marketplace", "eu_dsa"])


def test_a_database_that_does_not_answer_in_time_is_waited_for_after_the_acknowledgement(
    listening: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, ts = listening.server, post()
    monkeypatch.setattr("health_pipeline.alerts.app.desk.ACKNOWLEDGE_AFTER", 0.2)
    with listening.engine.begin():  # SQLite has one writer
        server.wait_ack(server.interactive(server.click(ts, "acknowledge")))
        assert (listening.rows, listening.answers) == ([], [])
    wait_for(lambda: listening.answers)
    assert listening.answers[0].startswith("Acknowledged.")
    assert len(listening.rows) == 1


def test_the_desk_ends_with_everything_recorded_and_said(office: Office, post: Callable[..., str]) -> None:
    desk, ts = office.desk(), post()
    for user in (ANA, BEN):
        desk.take(office.server.click(ts, "acknowledge", user=user))
    desk.close()
    assert (len(office.rows), len(office.answers)) == (2, 2)
    assert office.refreshed, "what was asked for is done"
    desk.take(office.server.click(ts, "verdict", value="real|0"))  # nobody is there, which is no error
    assert len(office.rows) == 2


def test_answers_that_slack_does_not_take_hold_up_the_end_no_longer_than_those_on_their_way(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.desk.ANSWER_TIMEOUT", 2)
    desk, ts, server = office.desk(), post(), office.server
    server.faults["response"].extend(["slow_after:5"] * 40)
    server.faults["chat.postEphemeral"].extend(["code:user_not_in_channel"] * 40)
    for number in range(40):
        user = {"id": f"U{number:08d}", "name": "somebody"}
        desk.take(server.click(ts, "acknowledge") | {"user": user})
    desk.close(grace=0.1)
    assert len(office.rows) == 40, "all is recorded"
    (unsaid,) = re.findall(r"Slack takes too long: (\d+) answers", caplog.text)
    wait_for(lambda: server.requests.count("response") + int(unsaid) == 40)


def test_what_was_told_is_found_also_under_an_earlier_name(engine: sa.Engine, catalogs: dict[str, Catalog]) -> None:
    known = told_subjects(engine, catalogs)

    def tell(name: str, about: Incident, *aliases: str) -> None:
        now = dt.datetime.now(dt.UTC)
        row = Told(about.id, about.id, "#c", about.day, now, now, aliases=aliases, last=told.outline(about))
        with engine.begin() as connection:
            told.write(connection, name, [row])

    here = reference("eu_dsa", incident().id)
    assert known(here) is None
    tell("eu_dsa", incident(), "TikTok-statements-2025-06-30")
    tell("eu_dsa", data_incident())
    tell("marketplace", MARKET)
    assert known(here) == Subject("eu_dsa", incident().id, "statements", "platform=TikTok"), "told since the last look"
    assert known(reference("eu_dsa", "TikTok-statements-2025-06-30")) == known(here)
    assert known(reference("eu_dsa", data_incident().id)) == Subject(
        "eu_dsa", data_incident().id, "delivery", "platform=X"
    )
    assert known(reference("marketplace", MARKET.id)) == Subject("marketplace", MARKET.id, "orders_placed", "market=ID")
    for unknown in (reference("eu_dsa", MARKET.id), reference("shop", incident().id), "b1"):
        assert known(unknown) is None


# Socket Mode.


@pytest.mark.parametrize("end", ["disconnect", "hang_up"])
def test_clicks_while_nobody_listens_arrive_when_slack_sends_them_again(
    listening: Office, post: Callable[..., str], end: str
) -> None:
    server, ts = listening.server, post()
    server.resend_after = 0.5
    sent = []
    for times, user in enumerate((ANA, BEN), 1):
        sent.append(server.interactive(server.click(ts, "acknowledge", user=user)))
        getattr(server, end)()
        wait_for(lambda times=times: server.requests.count("apps.connections.open") > times and server.connected == 1)
    for envelope in sent:
        server.wait_ack(envelope, seconds=10)
    assert {d.by.user for d in listening.rows} == {ANA, BEN}
    wait_for(lambda: len(listening.answers) == 2)
    assert set(listening.announced) == {"Listening to Slack."}


def test_slack_can_be_away_for_a_while(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = office.server
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.05)
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


def test_an_app_that_slack_refuses_is_told_what_to_do(office: Office) -> None:
    desk = office.desk()
    with pytest.raises(SlackAppError, match="invalid_auth") as raised:
        serve_socket(
            desk, token=TOKEN, app_token="xapp-wrong", base_url=office.server.url, stop=threading.Event(),
            announce=office.announced.append,
        )  # fmt: skip
    assert "SLACK_APP_TOKEN" in raised.value.hint
    desk.close()
    assert office.refreshed == []
    assert office.announced == [], "Slack could be reached, and nothing is tried again"


def test_an_app_that_slack_refuses_later_is_told_so(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.05)
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

    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.05)
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


def test_it_ends_also_when_it_has_only_just_begun_to_read(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slack_sdk.socket_mode.builtin.client.ConnectionState", Undone)
    with office.listening(office.desk()):
        wait_for(lambda: office.refreshed)
        time.sleep(0.3)  # the library looks ten times a second whether there is something to read from
    assert office.announced[-1] == "Not listening any more."


def test_it_ends_also_in_the_middle_of_connecting_anew(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.05)
    server = office.server
    with office.listening(office.desk()):
        server.faults["apps.connections.open"].append("slow_after:1.5")
        server.disconnect()
        wait_for(lambda: server.requests.count("apps.connections.open") == 2)
    assert office.announced[-1] == "Not listening any more."


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
from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.app.desk import Desk
from health_pipeline.alerts.app.socket_mode import serve_socket
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.storage.state import open_state

catalog = load_catalog("eu_dsa")
# One server for each line: a process of its own, forked so that only the first pays for the imports.
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        def known(reference):
            return Subject("eu_dsa", reference.partition(":incident:")[2], "statements", "platform=TikTok")
        desk = Desk(open_state(os.environ["STATE_URL"]), {{"eu_dsa": catalog}}, known=known, refresh=lambda name: None)
        serve_socket(desk, token={TOKEN!r}, app_token={APP_TOKEN!r}, base_url=os.environ["SLACK_API_URL"],
                     ping_interval=0.2)
        desk.close()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
KILLS = 12


def test_kills_lose_no_click_and_double_none(
    engine: sa.Engine, server: FakeSlack, state_url: str, post: Callable[..., str]
) -> None:
    """SIGKILL at random moments around a click: what was acknowledged is recorded, all of it in the end, each once."""
    server.resend_after = 0.4
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
        for user in users[3 * turn : 3 * turn + 3]:
            latest = server.interactive(server.click(ts, "acknowledge", user=user))
            sent[latest] = user
        if turn % 2:
            time.sleep(random.uniform(0, 0.03))
        else:
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
    missing = [envelope for envelope in sent if not server.acks.get(envelope)]
    for envelope in missing:  # what Slack has given up is clicked again
        with contextlib.suppress(TimeoutError):
            server.wait_ack(envelope, seconds=0.8)
    for envelope in [e for e in missing if not server.acks.get(e)]:
        again = server.click(ts, "acknowledge", user=sent[envelope])
        server.wait_ack(server.interactive(again))
    assert Counter(d.by.user for d in decisions.history(engine, "eu_dsa")) == Counter(users)
    os.kill(pid, signal.SIGTERM)
    assert int(servers.stdout.readline()) == 0, "it ends when it is told to"
    servers.communicate(timeout=10)


# HTTP.


@pytest.fixture
def web(office: Office) -> Iterator[tuple[Office, str]]:
    """The office behind a real web server; its address."""
    desk = office.desk()
    made = http_app(desk, token=TOKEN, signing_secret=SIGNING_SECRET, base_url=office.server.url)
    running = uvicorn.Server(uvicorn.Config(made, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_for(lambda: running.started)
    yield office, f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join(10)
    office.open.set()
    desk.close()


def request(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    asked = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_signed_click_is_recorded_and_acknowledged(web: tuple[Office, str], post: Callable[..., str]) -> None:
    office, url = web
    office.open.clear()  # whatever follows takes its time
    body, headers = signed(office.server.click(post(), "verdict", value="real|0"))
    assert request(url + PATH, body, headers) == (200, "")
    assert request(url + PATH, body, headers) == (200, ""), "Slack, or somebody who heard it, sends it again"
    (row,) = office.rows
    assert (row.kind, row.verdict) == ("verdict", "real")
    wait_for(lambda: office.answers)


def test_what_slack_has_not_signed_is_refused(web: tuple[Office, str], post: Callable[..., str]) -> None:
    office, url = web
    body, good = signed(office.server.click(post(), "acknowledge"))
    stamp, signature = good["X-Slack-Request-Timestamp"], good["X-Slack-Signature"]

    def stamped(timestamp: str) -> dict[str, str]:
        return good | {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": sign(body, timestamp)}

    plain = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers in (
        signed({}, secret="another")[1],
        good | {"X-Slack-Signature": sign(body, stamp, "another")},
        good | {"X-Slack-Signature": "v0=" + "é" * 64},
        good | {"X-Slack-Signature": ""},
        stamped(str(int(time.time()) - 301)),
        stamped("soon"),
        stamped("1e9"),
        stamped("9" * 400),
        stamped(""),
        plain,
        plain | {"X-Slack-Signature": signature},
        plain | {"X-Slack-Request-Timestamp": stamp},
    ):
        sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        assert request(url + PATH, body, sent)[0] == 401, headers
    ahead = stamped(str(math.ceil(time.time()) + 301))  # made only now: it is not ahead for long
    assert request(url + PATH, body, ahead)[0] == 401
    assert request(url + PATH, body + b"&x=1", good)[0] == 401
    assert request(url + PATH, b"\xff\xfe", stamped(stamp))[0] == 401
    assert office.rows == []
    assert request(url + PATH, body, good)[0] == 200, "the same as Slack signed it"


def test_a_huge_body_is_not_read(web: tuple[Office, str]) -> None:
    office, url = web
    body = b"payload=" + b"x" * MAX_BODY
    stamp = str(int(time.time()))
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": sign(body, stamp)}
    with contextlib.suppress(ConnectionError, urllib.error.URLError):  # it may hang up while more comes
        assert request(url + PATH, body, headers)[0] == 413
    assert request(url + HEALTH) == (200, "ok")
    assert office.rows == []


def test_what_slack_signed_and_we_do_not_know_is_acknowledged(web: tuple[Office, str]) -> None:
    office, url = web
    for kind, payload in GARBAGE:
        body, headers = signed(payload)
        assert request(url + PATH, body, headers)[0] == 200, (kind, payload)
    for body in (b"", b"payload=", b"payload={", b"payload=7", b"{", b"a=b"):
        stamp = str(int(time.time()))
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": sign(body, stamp)}
        assert request(url + PATH, body, headers)[0] == 200, body
    assert office.rows == []


def test_health_says_whether_clicks_can_be_recorded(web: tuple[Office, str], state_url: str) -> None:
    office, url = web
    assert request(url + HEALTH) == (200, "ok")
    assert request(url + "/else")[0] == 404
    assert request(url + PATH)[0] == 405
    office.engine.dispose()
    database = Path(state_url.removeprefix("sqlite:///"))
    database.rename(database.with_suffix(".away"))
    database.mkdir()
    assert request(url + HEALTH)[0] == 503


HTTP_SERVER = f"""
import contextlib, os
from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.app.desk import Desk
from health_pipeline.alerts.app.signed_http import serve_http
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.storage.state import open_state

subject = Subject("eu_dsa", {incident().id!r}, "statements", "platform=TikTok")
engine = open_state(os.environ["STATE_URL"])
with contextlib.closing(Desk(engine, {{"eu_dsa": load_catalog("eu_dsa")}}, known=lambda reference: subject,
                             refresh=lambda name: None)) as desk:
    serve_http(desk, token={TOKEN!r}, signing_secret={SIGNING_SECRET!r}, port=int(os.environ["PORT"]), announce=print)
print("closed")
"""


def test_a_server_ends_in_order_when_it_is_told_to(
    engine: sa.Engine, server: FakeSlack, state_url: str, post: Callable[..., str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", HTTP_SERVER],
        env=os.environ | {"STATE_URL": state_url, "PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    )

    def is_up() -> bool:
        with contextlib.suppress(urllib.error.URLError):
            return request(f"http://127.0.0.1:{port}{HEALTH}")[0] == 200
        return False

    try:
        wait_for(is_up, 30)
        body, headers = signed(server.click(post(), "acknowledge"))
        assert request(f"http://127.0.0.1:{port}{PATH}", body, headers)[0] == 200
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[0].splitlines()
    finally:
        process.kill()
    assert (process.returncode, said[1:]) == (0, ["Not listening any more.", "closed"])
    assert len(decisions.history(engine, "eu_dsa")) == 1


def test_an_address_that_is_taken_is_said(office: Office) -> None:
    desk = office.desk()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SlackAppError, match="Nothing can listen"):
            serve_http(
                desk, token=TOKEN, signing_secret=SIGNING_SECRET, port=taken.getsockname()[1],
                announce=office.announced.append,
            )  # fmt: skip
    desk.close()
    assert (office.announced, office.refreshed) == ([], []), "nothing is said to be answered there"


def test_without_a_signing_secret_nothing_is_served(office: Office) -> None:
    desk = office.desk()
    with pytest.raises(SlackAppError, match="no signing secret"):
        http_app(desk, token=TOKEN, signing_secret=" ")
    desk.close()


def test_the_state_is_the_same_whoever_reads_it(office: Office, post: Callable[..., str], state_url: str) -> None:
    """What one process records, another one knows: nothing is kept in memory that matters."""
    desk = office.desk()
    payload = office.server.click(post(), "acknowledge")
    desk.take(payload)
    desk.close()
    own = open_state(state_url)
    other = Desk(own, office.catalogs, known=office.known.get, refresh=office.refreshed.append)
    before = len(office.refreshed)
    other.take(payload)
    other.close()
    own.dispose()
    assert len(office.rows) == 1
    assert len(office.refreshed) == before + 1, "the one that recorded it may have died before"
    assert len(office.answers) == 1, "it was answered"


def test_json_in_a_click_survives(office: Office, post: Callable[..., str]) -> None:
    payload = json.loads(json.dumps(office.server.click(post(), "snooze", value="metric|30")))
    desk = office.desk()
    desk.take(payload)
    desk.close()
    (snooze,) = decisions.snoozes(office.engine, "eu_dsa")
    assert (snooze.metric, snooze.segment) == ("statements", None)
