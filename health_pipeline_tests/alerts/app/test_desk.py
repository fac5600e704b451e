"""From click to answer: a click becomes a row, then an acknowledgement, and then everything else."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.app.clicks import NOTHING_NEW, Subject
from health_pipeline.alerts.app.desk import ANSWERERS, Desk, told_subjects
from health_pipeline.alerts.delivery.blocks import reference
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.told import Told
from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline.storage.state import open_state
from health_pipeline_tests.alerts.app.office import GARBAGE, MARKET, Office
from health_pipeline_tests.alerts.by_hand import data_incident, incident
from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import ANA, BEN


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
    wait_for(lambda: listening.refreshed)
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
    desk.close(FAR)
    assert (len(office.rows), len(office.answers)) == (2, 2)
    assert office.refreshed, "what was asked for is done"
    desk.take(office.server.click(ts, "verdict", value="real|0"))  # nobody is there, which is no error
    assert len(office.rows) == 2


def test_the_desk_does_not_end_before_messages_are_up_to_date(office: Office, post: Callable[..., str]) -> None:
    begun, may_end, done = threading.Event(), threading.Event(), []

    def bring_up_to_date(name: str) -> None:
        begun.set()
        assert may_end.wait(FAR)
        done.append(name)

    desk = Desk(office.engine, office.catalogs, known=office.known.get, refresh=bring_up_to_date)
    desk.take(office.server.click(post(), "acknowledge"))
    assert begun.wait(FAR)
    soon = threading.Timer(0.1, may_end.set)
    soon.start()
    desk.close(FAR)
    assert done == ["eu_dsa"]
    soon.join()


def test_answers_that_slack_does_not_take_hold_up_the_end_no_longer_than_those_on_their_way(
    office: Office, post: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    desk, ts, server = office.desk(), post(), office.server
    server.faults["response"].extend(["held"] * ANSWERERS)
    for number in range(40):
        user = {"id": f"U{number:08d}", "name": "somebody"}
        desk.take(server.click(ts, "acknowledge") | {"user": user})
    wait_for(lambda: server.requests.count("response") == ANSWERERS)
    closing = threading.Thread(target=desk.close, args=(0.0,))
    closing.start()
    wait_for(lambda: len(desk._answers) == ANSWERERS)
    assert closing.is_alive(), "it waits for those on their way"
    server.let_go()
    closing.join(FAR)
    assert not closing.is_alive()
    assert len(office.rows) == 40, "all is recorded"
    assert re.findall(r"Slack takes too long: (\d+) answers", caplog.text) == [str(40 - ANSWERERS)]
    assert len(office.answers) == server.requests.count("response") == ANSWERERS


def test_an_answer_that_slack_does_not_take_in_time_goes_another_way(
    office: Office, post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("health_pipeline.alerts.app.desk.ANSWER_TIMEOUT", 0.1)
    office.server.faults["response"].append("slow_after")
    desk = office.desk()
    desk.take(office.server.click(post(), "acknowledge"))
    desk.close(FAR)
    (answer,) = office.server.ephemeral
    assert answer["user"] == ANA and answer["text"].startswith("Acknowledged.")


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


def test_the_state_is_the_same_whoever_reads_it(office: Office, post: Callable[..., str], state_url: str) -> None:
    """What one process records, another one knows: nothing is kept in memory that matters."""
    desk = office.desk()
    payload = office.server.click(post(), "acknowledge")
    desk.take(payload)
    desk.close(FAR)
    own = open_state(state_url)
    other = Desk(own, office.catalogs, known=office.known.get, refresh=office.refreshed.append)
    before = len(office.refreshed)
    other.take(payload)
    other.close(FAR)
    own.dispose()
    assert len(office.rows) == 1
    assert len(office.refreshed) == before + 1, "the one that recorded it may have died before"
    assert len(office.answers) == 1, "it was answered"


def test_json_in_a_click_survives(office: Office, post: Callable[..., str]) -> None:
    payload = json.loads(json.dumps(office.server.click(post(), "snooze", value="metric|30")))
    desk = office.desk()
    desk.take(payload)
    desk.close(FAR)
    (snooze,) = decisions.snoozes(office.engine, "eu_dsa")
    assert (snooze.metric, snooze.segment) == ("statements", None)
