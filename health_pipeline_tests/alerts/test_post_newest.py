"""From the record to the channel: a real lake, a real state database, Slack over real sockets.

Deliveries go by a clock that is moved by hand, and so wait for nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Content, as_plain_text
from health_pipeline.alerts.delivery.picture import Picture
from health_pipeline.alerts.people import decisions, told
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.alerts.post import preview, refresh
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline.storage.state import opened_state, reading
from health_pipeline_tests.alerts.follow import DAY, EARLY, HOUR, MORNING, NOON, ONE_DAY, P1, P3, fall, with_alerts
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.conftest import FAR
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack, Message
from health_pipeline_tests.hand_clock import HandClock

pytestmark = pytest.mark.usefixtures("clock")

ADA, BOB = fall("Ada"), fall("Bob")
DIGEST = "eu_dsa:digest:#ecosystem-health:2025-07-04"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ROUTINE = (Severity(name="P1", minimum_score=10, at_once=True), Severity(name="P3"))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    return with_alerts(catalog, severities=ROUTINE)


def shown(message: Message) -> str:
    return as_plain_text(Content(message["text"], tuple(message["blocks"])))


def test_an_incident_is_one_message_that_changes_with_it(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    record.judge(DAY, ADA)
    for _ in range(2):
        refresh(catalog, record.sources, state_url, now=NOON)
    (post,) = connected.messages
    assert shown(post).startswith("New · P1 · Ada: statements filed")
    record.judge(DAY + ONE_DAY, fall("Ada", state="worsening", worsened_on=DAY + ONE_DAY, observed=321_000.0))
    refresh(catalog, record.sources, state_url, now=NOON + ONE_DAY)
    record.judge(DAY + 2 * ONE_DAY, fall("Ada", state="recovered", ended=DAY + 2 * ONE_DAY))
    posted = refresh(catalog, record.sources, state_url, now=NOON + 2 * ONE_DAY)
    assert (posted.newest, posted.delivery.pending, posted.delivery.problems) == (DAY + 2 * ONE_DAY, 0, ())
    assert connected.messages[0] is post
    assert shown(post).startswith("Recovered · P1 · Ada: statements filed")
    thread = [shown(reply).split(".")[0] for reply in connected.thread(post["ts"])]
    assert [words.split()[0] for words in thread] == ["Worsening", "Recovered"]


def test_a_digest_has_each_message_in_its_thread_and_edits_reach_it_there(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack
) -> None:
    record.judge(DAY, ADA, BOB, scores=P3)
    assert refresh(catalog, record.sources, state_url, now=EARLY).plan.next_at == MORNING
    assert connected.messages == []
    refresh(catalog, record.sources, state_url, now=MORNING)
    digest, ada, bob = connected.messages
    assert shown(digest).startswith("Morning digest, 4 July")
    assert ada["thread_ts"] == bob["thread_ts"] == digest["ts"]
    record.judge(DAY, fall("Ada", observed=321_000.0), BOB, scores=P3)
    refresh(catalog, record.sources, state_url, now=MORNING + HOUR)
    assert len(connected.messages) == 3
    assert "321 k" in shown(ada) and "321 k" not in shown(bob)


def test_without_a_token_everything_is_planned_and_waits(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None
) -> None:
    record.judge(DAY, ADA, BOB, scores={ADA.id: P1, BOB.id: P3})
    first = refresh(catalog, record.sources, state_url, now=EARLY)
    assert [line.incident.id for line in first.plan.waiting] == [BOB.id]
    assert refresh(catalog, record.sources, state_url, now=MORNING).delivery.pending == 3
    assert refresh(catalog, record.sources, state_url, now=MORNING + HOUR).plan.is_empty
    assert {entry.state for entry in backlog.entries(engine)} == {"pending"}


def test_a_digest_that_waited_says_what_is_so_when_it_leaves(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, server: FakeSlack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def draw(incident: Incident) -> Picture:
        return Picture(PNG, "A series falls.", f"{incident.unit}.png")

    def pass_at(now: dt.datetime) -> None:
        refresh(catalog, record.sources, state_url, draw=draw, now=now)

    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    monkeypatch.setenv("SLACK_API_URL", server.url)
    cleo = fall("Cleo")
    record.judge(DAY, ADA, BOB, cleo, scores=P3)
    pass_at(MORNING)
    record.judge(DAY, fall("Ada", state="recovered", ended=DAY), BOB, cleo, scores=P3)
    pass_at(MORNING + HOUR)
    record.judge(DAY, fall("Ada", state="recovered", ended=DAY), BOB, scores={BOB.id: P3})  # Cleo has vanished
    pass_at(MORNING + 2 * HOUR)
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    pass_at(MORNING + 2 * HOUR)
    digest, bob, chart = server.messages
    assert "1 new · 1 open" in shown(digest)
    assert all("Ada" not in shown(message) and "Cleo" not in shown(message) for message in server.messages)
    assert "Bob: statements filed" in shown(bob) and chart["files"][0]["name"].startswith("Bob")
    assert backlog.counts(engine)["superseded"] >= 4
    assert preview(catalog, record.sources, state_url, now=MORNING + 2 * HOUR).is_empty


def test_a_digest_of_which_nothing_is_left_never_leaves(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None
) -> None:
    record.judge(DAY, ADA, scores=P3)
    refresh(catalog, record.sources, state_url, now=MORNING)
    record.judge(DAY, fall("Ada", state="recovered", ended=DAY), BOB, scores={BOB.id: P3})
    refresh(catalog, record.sources, state_url, now=MORNING + HOUR)
    waits = [entry.intent.key for entry in backlog.entries(engine, state="pending")]
    assert waits == ["eu_dsa:incident:bob-statements-2025-07-03:open", "eu_dsa:digest:#ecosystem-health:2025-07-04:2"]


def test_a_chart_is_taken_back_with_a_message_that_slack_refused_after_all(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None
) -> None:
    def draw(incident: Incident) -> Picture:
        return Picture(PNG, "A series falls.", f"{incident.unit}.png")

    def stands(kind: str, state: str) -> None:
        with engine.begin() as connection:
            connection.execute(outbox.OUTBOX.update().where(outbox.OUTBOX.c.kind == kind).values(state=state))

    record.judge(DAY, ADA, scores=P3)
    refresh(catalog, record.sources, state_url, draw=draw, now=MORNING)
    stands("post", "sent")
    stands("reply", "sending")
    record.judge(DAY, fall("Ada", state="recovered", ended=DAY))
    refresh(catalog, record.sources, state_url, draw=draw, now=MORNING + HOUR)
    assert backlog.counts(engine)["superseded"] == 0, "it may be there"
    stands("reply", "pending")
    refresh(catalog, record.sources, state_url, draw=draw, now=MORNING + 2 * HOUR)
    assert [(i.kind, i.of) for i in backlog.waiting(engine, ecosystem=catalog.name)] == [("edit", DIGEST)]


def test_a_message_taken_back_under_another_name_is_not_taken_for_one_that_was_told(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None
) -> None:
    before = DAY - ONE_DAY
    record.judge(DAY, ADA, scores=P3)
    refresh(catalog, record.sources, state_url, now=MORNING)
    record.judge(DAY, fall("Ada", onset=before), scores=P1)  # by another onset, and told anew by itself
    refresh(catalog, record.sources, state_url, now=MORNING + HOUR)
    (post,) = backlog.waiting(engine, ecosystem=catalog.name)
    record.judge(DAY, fall("Ada", onset=before, state="recovered", ended=DAY))
    for _ in range(2):
        refresh(catalog, record.sources, state_url, now=MORNING + 2 * HOUR)
    assert backlog.waiting(engine, ecosystem=catalog.name) == []
    record.judge(DAY, fall("Ada", onset=before), scores=P1)
    refresh(catalog, record.sources, state_url, now=MORNING + 3 * HOUR)
    (again,) = backlog.waiting(engine, ecosystem=catalog.name)
    assert (again.kind, again.key) == ("post", f"{post.key}:2")


def test_an_empty_record_is_no_error(catalog: Catalog, record: Record, state_url: str, alone: None) -> None:
    posted = refresh(catalog, record.sources, state_url)
    assert (posted.newest, posted.plan.is_empty) == (None, True)
    assert preview(catalog, record.sources, state_url).is_empty


def test_a_decision_is_shown_by_the_next_pass_and_by_no_later_one(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, connected: FakeSlack
) -> None:
    record.judge(DAY, ADA)
    refresh(catalog, record.sources, state_url, now=NOON)
    by = By("UANA", NOON + HOUR)
    decided = Decision("eu_dsa", ADA.id, "verdict", by, "slack", "1", "statements", "platform=Ada", verdict="real")
    decisions.record(engine, decided)
    assert len(refresh(catalog, record.sources, state_url, now=NOON + HOUR).plan.intents) == 2
    post, reply = connected.messages
    assert "Verdict: real" in shown(post) and reply["thread_ts"] == post["ts"]
    assert refresh(catalog, record.sources, state_url, now=NOON + HOUR).plan.is_empty
    with reading(engine) as connection:
        planned = told.planned(connection, "eu_dsa")
    assert planned is not None and planned.decision == decisions.latest(engine, "eu_dsa") > 0


def test_charts_go_into_the_thread_and_one_that_fails_stops_nothing(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    works = {ADA.id: True, BOB.id: False}

    def draw(incident: Incident) -> Picture | None:
        if not works[incident.id]:
            raise RuntimeError("no pencil")
        return Picture(PNG, f"{incident.unit} falls.", "series.png")

    record.judge(DAY, ADA, BOB)
    with caplog.at_level(logging.WARNING, "health_pipeline.alerts"):
        refresh(catalog, record.sources, state_url, draw=draw, now=NOON)
    assert f"The chart of {BOB.id} can't be drawn" in caplog.text and "no pencil" in caplog.text
    posts = {shown(m).split("·")[2].split(":")[0].strip(): m for m in connected.messages if not m["thread_ts"]}
    (file,) = connected.files.values()
    assert (file["data"], file["alt_txt"]) == (PNG, "Ada falls.")
    assert connected.thread(posts["Ada"]["ts"])[0]["files"]
    assert "Chart in the thread" in shown(posts["Ada"]) and "Chart" not in shown(posts["Bob"])
    works[BOB.id] = True
    refresh(catalog, record.sources, state_url, draw=draw, now=NOON + HOUR / 2)
    assert len(connected.files) == 1, "not tried again at every look"
    refresh(catalog, record.sources, state_url, draw=draw, now=NOON + 2 * HOUR)
    assert len(connected.files) == 2 and "Chart in the thread" in shown(posts["Bob"])


def test_a_deadline_runs_from_when_slack_has_it_and_is_planned_for_at_once(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, connected: FakeSlack, clock: HandClock
) -> None:
    urgent = (Severity(name="P1", at_once=True, acknowledge_within_minutes=60),)
    catalog = with_alerts(catalog, severities=urgent)
    record.judge(DAY, ADA)
    long_ago = clock.now() - 5 * HOUR
    refresh(catalog, record.sources, state_url, now=long_ago)
    with reading(engine) as connection:
        planned = told.planned(connection, "eu_dsa")
    assert planned is not None and planned.next_at is not None
    assert dt.timedelta(minutes=55) < planned.next_at - clock.now() < dt.timedelta(minutes=65)
    late = refresh(catalog, record.sources, state_url, now=planned.next_at).plan.intents
    assert [intent.key.split(":")[-2] for intent in late] == ["edit", "overdue"]


def test_what_is_decided_while_messages_are_on_their_way_is_told_with_them(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, connected: FakeSlack, clock: HandClock
) -> None:
    record.judge(DAY, ADA)
    decision = Decision("eu_dsa", ADA.id, "acknowledge", By("U00000002", clock.now()), "slack", "1")

    def decide(_: str) -> None:
        decisions.record(engine, decision)

    connected.on_request = decide
    posted = refresh(catalog, record.sources, state_url, now=NOON)
    (edit,) = connected.edits
    assert "Acknowledged by <@U00000002>" in json.dumps(edit["blocks"])
    assert posted.delivery.sent == len(connected.messages) + 1


def test_a_preview_reads_only(catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None) -> None:
    record.judge(DAY, ADA, BOB, scores={ADA.id: P1, BOB.id: P3})
    for url in (None, state_url):
        made = preview(catalog, record.sources, url, now=EARLY)
        assert [i.kind for i in made.intents] == ["post"]
        ahead = preview(catalog, record.sources, url, now=EARLY, digest_now=True)
        assert [i.kind for i in ahead.intents] == ["post", "post", "reply"]
    assert backlog.entries(engine) == []
    planned = refresh(catalog, record.sources, state_url, now=EARLY).plan
    assert planned.intents == preview(catalog, record.sources, None, now=EARLY).intents
    assert preview(catalog, record.sources, state_url, now=EARLY).is_empty


def test_a_preview_of_what_waits_is_as_it_will_be_when_the_plan_is_followed(
    catalog: Catalog, record: Record, state_url: str, engine: sa.Engine, alone: None
) -> None:
    def draw(incident: Incident) -> Picture:
        return Picture(PNG, "A series falls.", f"{incident.unit}.png")

    cleo = fall("Cleo")
    record.judge(DAY, ADA, BOB, cleo, scores={ADA.id: P3, BOB.id: P3, cleo.id: P1})
    refresh(catalog, record.sources, state_url, draw=draw, now=MORNING)
    over = {"state": "recovered", "ended": DAY}
    record.judge(DAY, fall("Ada", **over), BOB, fall("Cleo", **over), scores={BOB.id: P3})
    waits = backlog.waiting(engine, ecosystem=catalog.name)
    made = preview(catalog, record.sources, state_url, now=MORNING + HOUR)
    left = made.left_of(waits)
    assert [intent.kind for intent in left] == ["post", "reply", "upload"] and len(waits) == 7
    assert "1 new" in as_plain_text(Content(left[0].text, left[0].blocks))
    refresh(catalog, record.sources, state_url, draw=draw, now=MORNING + HOUR)
    assert backlog.waiting(engine, ecosystem=catalog.name) == [*left, *made.intents]


def test_slack_that_is_down_is_no_error_and_nothing_is_lost(
    catalog: Catalog, record: Record, state_url: str, connected: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.judge(DAY, ADA)
    monkeypatch.setenv("SLACK_API_URL", "http://127.0.0.1:9/api/")
    posted = refresh(catalog, record.sources, state_url, now=NOON)
    assert posted.delivery.pending == 1 and "reach" in posted.delivery.problems[0]
    monkeypatch.setenv("SLACK_API_URL", connected.url)
    refresh(catalog, record.sources, state_url, now=NOON)
    assert connected.keys == [f"eu_dsa:incident:{ADA.id}:open"]


PLANNERS = """
import datetime as dt, sys
from pathlib import Path
from health_pipeline.alerts.post import refresh
from health_pipeline.catalog.loader import load_catalog
from health_pipeline_tests.alerts.follow import with_alerts
from health_pipeline_tests.alerts.record import Record

catalog = with_alerts(load_catalog("eu_dsa"), per_hour=3)
print("ready", flush=True)
for line in sys.stdin:
    now = dt.datetime.fromisoformat(line.strip())
    posted = refresh(catalog, Record(Path(sys.argv[1])).sources, sys.argv[2], deliver_now=False, now=now)
    print(len(posted.plan.intents), flush=True)
"""


def planners(record: Path, url: str, count: int) -> list[subprocess.Popen[str]]:
    made = [
        subprocess.Popen(
            [sys.executable, "-c", PLANNERS, str(record), url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
        )
        for _ in range(count)
    ]  # fmt: skip
    for process in made:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return made


def plan_at_once(processes: list[subprocess.Popen[str]], now: dt.datetime) -> list[int]:
    """How much each of them queued, all looking at the same instant."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{now.isoformat()}\n")
        process.stdin.flush()
    return [int(process.stdout.readline()) for process in processes if process.stdout is not None]


@dataclass(frozen=True)
class PlannedAtOnce:
    """What became of several processes that planned the same.

    Attributes:
        queued: of each instant, how much each process queued, ascending.
        keys: of all that was queued.
        versions: incident -> how often its message was changed.
    """

    queued: list[list[int]]
    keys: list[str]
    versions: dict[str, int]


UNITS = [f"Unit{n}" for n in range(8)]
QUEUED_ONCE = [[0, 0, 9], *[[0, 0, 11]] * 3]
"""Three posts, a roll-up and five replies; then eight edits and three replies: no digest of lines that nobody read."""


def planned_at_once(record: Path, url: str) -> PlannedAtOnce:
    """Three processes plan at the same instant, on four days."""
    days = Record(record)
    processes = planners(record, url, 3)
    try:
        days.judge(DAY, *map(fall, UNITS))
        queued = [sorted(plan_at_once(processes, NOON))]
        for n in range(1, 4):
            days.judge(DAY + n * ONE_DAY, *(fall(unit, worsened_on=DAY + n * ONE_DAY) for unit in UNITS))
            queued.append(sorted(plan_at_once(processes, NOON + n * ONE_DAY)))
    finally:
        for process in processes:
            process.communicate(timeout=FAR)
    with opened_state(url) as engine:
        keys = [entry.intent.key for entry in backlog.entries(engine, ecosystem="eu_dsa", limit=500)]
        with reading(engine) as connection:
            rows = told.read(connection, "eu_dsa")
    versions = {row.incident: row.version for row in rows}
    assert len(versions) == len(rows), "an incident was told as two"
    return PlannedAtOnce(queued, keys, versions)


def test_processes_that_plan_at_the_same_time_tell_everything_once(tmp_path: Path, state_url: str, alone: None) -> None:
    found = planned_at_once(tmp_path / "lake", state_url)
    assert found.queued == QUEUED_ONCE
    assert max(Counter(found.keys).values()) == 1
    assert found.versions == {fall(unit).id: 3 for unit in UNITS}
