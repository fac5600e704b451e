"""SIGKILL at random moments of a delivery: nothing twice, nothing lost, nothing out of order."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import math
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import Future
from pathlib import Path

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, clock, outbox
from health_pipeline.alerts.delivery.intent import Intent, Kind
from health_pipeline.alerts.people import told
from health_pipeline.alerts.post import preview
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import reading
from health_pipeline_tests.alerts.conftest import LONG, TIMEOUT
from health_pipeline_tests.alerts.follow import DAY, MORNING, ONE_DAY, fall, with_alerts
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import SharedClock

INCIDENTS = 25
# Edits come last: newer ones replace those that wait, and whoever looks for the first that is left sends all files.
KILLED_IN = (
    {"chat.postMessage": 3, "upload": 2, "files.completeUploadExternal": 4},
    {"chat.postMessage": 3, "chat.update": 4},
)
KILLS = sum(sum(part.values()) for part in KILLED_IN)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20

LATENCY = 0.025
"""Seconds before and after the effect of a request in which somebody is killed: kills fall on both sides."""

DELIVERERS = f"""
import datetime as dt, os, sys
from pathlib import Path
from health_pipeline.alerts.delivery import clock
from health_pipeline.alerts.delivery.deliver import deliver
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.storage.state import open_state
from health_pipeline_tests.hand_clock import SharedClock

clock.CLOCK = SharedClock(Path(os.environ["CLOCK"]))
# One deliverer for each line: a process of its own, forked so that only the first pays for the imports.
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        engine = open_state(os.environ["STATE_URL"])
        slack = Slack({TOKEN!r}, base_url=os.environ["SLACK_API_URL"], timeout={TIMEOUT})
        deliver(engine, slack, budget=dt.timedelta(seconds={LONG}))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Killer:
    """Starts one process after the other that delivers to the fake Slack, and kills it there.

    Args:
        program: for each line that it is given, it starts such a process, and tells its number and then how it ended.
        clock: the file of the one that all of them share.
        environment: of the program, beside Slack's address and the clock's.

    Attributes:
        ended: how the last one ended.
    """

    def __init__(self, server: FakeSlack, program: str, clock: Path, **environment: str) -> None:
        self._server = server
        self._program = subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | environment | {"SLACK_API_URL": server.url, "CLOCK": str(clock)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ended = 0

    def run(self, line: str, *, at: str = "", nth: int = 1, moment: float = 0.0) -> None:
        """Let one process come to its end.

        Args:
            at: a method of Slack's; the process is killed in the ``nth`` request of it. Any, when it is ``*``.
            moment: seconds from when that request arrives until the kill. It is answered after twice the latency.
        """
        assert self._program.stdin is not None and self._program.stdout is not None
        requests, number = itertools.count(1), Future[int]()

        def arrived(method: str) -> None:
            aimed = at in (method, "*") and next(requests) == nth
            self._server.latency = LATENCY if aimed else 0.0
            if aimed:  # by the clock of whoever answers: however slow the machine is, nobody hears before the kill
                self._server.loop.call_later(moment, kill, number.result(60))

        self._server.on_request = arrived
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()
        number.set_result(int(self._program.stdout.readline()))
        self.ended = int(self._program.stdout.readline())
        self._server.settle()  # a request that has left is still accepted

    def close(self) -> None:
        self._program.communicate(timeout=60)
        self._server.on_request = lambda method: None


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


@pytest.fixture
def clock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the clock that this process shares with those that it starts."""
    monkeypatch.setattr("health_pipeline.alerts.delivery.clock.CLOCK", SharedClock(tmp_path / "clock"))
    return tmp_path / "clock"


def test_kills_neither_double_nor_lose_nor_disorder_anything(
    engine: sa.Engine, server: FakeSlack, state_url: str, clock_file: Path
) -> None:
    def put(incident: int, kind: Kind, name: str) -> None:
        key, of = f"i{incident:02d}:{name}", "" if kind == "post" else f"i{incident:02d}:post"
        made = Intent(key, "#ecosystem-health", kind, of, text=key)
        if kind == "upload":
            made = Intent(key, "#ecosystem-health", kind, of, file=PICTURE, filename="series.png", alt="A series.")
        assert outbox.enqueue(engine, made, ecosystem="eu_dsa")

    for incident in range(INCIDENTS):
        for kind, name in (("post", "post"), ("edit", "edit1"), ("reply", "reply1"), ("upload", "chart")):
            put(incident, kind, name)
    later = random.sample(range(INCIDENTS), INCIDENTS)  # changes that come while deliverers die

    deliverers = Killer(server, DELIVERERS, clock_file, STATE_URL=state_url)
    step = 2.2 * LATENCY / KILLS
    moments = [random.uniform(n * step, (n + 1) * step) for n in range(KILLS)]
    random.shuffle(moments)
    aims = [aim for part in KILLED_IN for aim in random.sample([*part], counts=[*part.values()], k=sum(part.values()))]
    in_flight, accepted_unheard = Counter[str](), 0
    for moment, aim in zip(moments, aims, strict=True):
        deliverers.run("deliver", at=aim, moment=moment)
        assert deliverers.ended == -signal.SIGKILL, f"the deliverer did not come to {aim} before it was killed"
        clock.pause(random.uniform(0, 6 * TIMEOUT))  # the next one looks for what is in doubt first, or goes on
        rows = backlog.entries(engine, limit=1_000)
        in_flight.update(e.intent.kind for e in rows if e.state == "sending")
        heard = sum(e.state == "sent" and e.intent.kind != "edit" for e in rows)
        accepted_unheard += len(server.messages) - heard
        for incident in [later.pop() for _ in range(min(2, len(later)))]:
            put(incident, "edit", "edit2")
            put(incident, "reply", "reply2")
    assert not later
    assert sum(in_flight.values()) >= 4, f"{in_flight}: kills hit too few rows in flight, this run proves nothing"
    assert accepted_unheard, "no kill hit what Slack had accepted and not confirmed: this run proves nothing"
    deliverers.run("deliver")
    assert deliverers.ended == 0
    deliverers.close()

    final = {e.intent.key: e for e in backlog.entries(engine, limit=1_000)}
    assert len(final) == 6 * INCIDENTS
    replaced = {key for key, e in final.items() if e.state == "superseded"}
    assert {e.state for e in final.values()} <= {"sent", "superseded"}, "something was lost"
    assert all(key.endswith("edit1") for key in replaced)

    assert Counter(server.keys) == Counter(
        f"i{n:02d}:{name}" for n in range(INCIDENTS) for name in ("post", "reply1", "reply2")
    ), "posts and replies are there once each"
    edits: dict[str, list[str]] = defaultdict(list)
    for edit in server.edits:
        edits[edit["ts"]].append(edit["text"])
    for n in range(INCIDENTS):
        post = next(m for m in server.messages if m["ts"] == final[f"i{n:02d}:post"].ts)
        chart = final[f"i{n:02d}:chart"]
        thread = [m["text"] or m["files"][0]["name"] for m in server.thread(post["ts"])]
        assert thread == [f"i{n:02d}:reply1", chart.intent.unique_filename, f"i{n:02d}:reply2"]
        assert server.files[chart.file_id or ""]["data"] == PICTURE
        once = [text for text, _ in itertools.groupby(edits[post["ts"]])]  # an edit in doubt is made again
        assert once == [key for key in (f"i{n:02d}:edit1", f"i{n:02d}:edit2") if key not in replaced]
        assert post["text"] == f"i{n:02d}:edit2"
    assert {m["metadata"]["event_payload"]["key"]: m["ts"] for m in server.messages if m["metadata"]} == {
        key: e.ts for key, e in final.items() if e.intent.kind in ("post", "reply")
    }


REFRESHERS = f"""
import datetime as dt, itertools, os, signal, sys, threading
from pathlib import Path
import sqlalchemy as sa
from health_pipeline.alerts import post
from health_pipeline.alerts.delivery import clock
from health_pipeline.alerts.delivery.deliver import deliver
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.catalog.loader import load_catalog
from health_pipeline_tests.alerts.delivery.test_kills import watched
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.hand_clock import SharedClock

clock.CLOCK = SharedClock(Path(os.environ["CLOCK"]))
planned_with = Path(os.environ["PLANNED_WITH"])
statements = itertools.count(1)

def patiently(engine, catalog):
    with planned_with.open("a") as file:
        print(next(statements), file=file)
    slack = Slack({TOKEN!r}, base_url=os.environ["SLACK_API_URL"], timeout={TIMEOUT})
    return deliver(engine, slack, ecosystem=catalog.name, budget=dt.timedelta(seconds={LONG}))

post._deliver = patiently
catalog = watched(load_catalog("eu_dsa"))
sources = Record(Path(os.environ["RECORD"])).sources
for line in sys.stdin:
    now, last_statement, seconds_after = line.split()
    pid = os.fork()
    if not pid:
        def die(*_):
            if next(statements) == int(last_statement):
                threading.Timer(float(seconds_after), os.kill, (os.getpid(), signal.SIGKILL)).start()

        sa.event.listen(sa.Engine, "before_cursor_execute", die)
        post.refresh(catalog, sources, os.environ["STATE_URL"], now=dt.datetime.fromisoformat(now))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
STEPS = 8


def watched(catalog: Catalog) -> Catalog:
    """Half of the incidents have posts of their own, the others lines of a digest."""
    severities = (Severity(name="P1", minimum_score=10, at_once=True), Severity(name="P2"))
    return with_alerts(catalog, severities=severities, per_hour=4, per_day=40, newest_days=40)


def test_a_refresh_killed_at_any_moment_tells_every_incident_once_and_the_truth_in_the_end(
    engine: sa.Engine, server: FakeSlack, state_url: str, tmp_path: Path, catalog: Catalog, clock_file: Path
) -> None:
    record, planned_with = Record(tmp_path / "lake"), tmp_path / "planned_with"
    refreshers = Killer(
        server, REFRESHERS, clock_file, STATE_URL=state_url, RECORD=str(tmp_path / "lake"),
        PLANNED_WITH=str(planned_with),
    )  # fmt: skip

    def refresh(now: dt.datetime, *, planned: float = 0.0, nth: int = 0) -> None:
        """Killed, if at all, in a request of the delivery, or soon after a statement to the database: one of the plan,
        which is about as long as the longest so far.
        """
        last_statement = math.ceil(planned * max(map(int, planned_with.read_text().split()))) if planned else 0
        line = f"{now.isoformat()} {last_statement} {random.uniform(0, 0.002)}"
        refreshers.run(line, at="*" if nth else "", nth=nth, moment=random.uniform(0, 2.2 * LATENCY))
        assert refreshers.ended in (0, -signal.SIGKILL if planned or nth else 0)

    def judge(step: int) -> dt.datetime:
        """Two incidents more on each day; the others grow, and every third one ends."""
        day = DAY + step * ONE_DAY
        rows = []
        for n in range(2 * (step + 1)):
            first = DAY + n // 2 * ONE_DAY
            over = n % 3 == 0 and step > n // 2
            changes = {"state": "recovered", "ended": first + ONE_DAY} if over else {"observed": 1e4 * (step + n)}
            if not over and step > n // 2:
                changes |= {"state": "worsening", "worsened_on": day}
            rows.append(fall(f"Unit{n}", onset=DAY, first_reported=first, **changes))
        record.judge(day, *rows, scores={row.id: 20.0 if n % 2 else 6.0 for n, row in enumerate(rows)})
        return MORNING + step * ONE_DAY

    outcomes = Counter[str]()
    refresh(judge(0))
    planning = [1.3 * (n + random.random()) / STEPS for n in range(STEPS)]
    random.shuffle(planning)
    first_request = random.sample([1, 2, 3, 4], 4)  # of steps in which the first refresh comes to deliver
    orders = random.sample([True, False] * (STEPS // 2), STEPS)
    for step, delivers_first in enumerate(orders, start=1):
        now = judge(step)
        nth = first_request.pop() if delivers_first else random.randint(1, 4)
        for in_delivery in (delivers_first, not delivers_first):
            before = len(backlog.entries(engine, limit=1_000))
            refresh(now, nth=nth) if in_delivery else refresh(now, planned=planning.pop())
            rows = backlog.entries(engine, limit=1_000)
            planned, waits = len(rows) > before, any(e.state in ("pending", "sending") for e in rows)
            outcomes["before the plan" if not planned else "while delivering" if waits else "at the end"] += 1
            with reading(engine) as connection:
                remembered = told.read(connection, "eu_dsa")
            keys = {e.intent.key for e in rows}
            there = [t for t in remembered if t.form != "none"]  # not what had ended before its post could leave
            assert {t.key for t in there} | {t.shown for t in there} | {t.post for t in there} <= keys
            messages = {k for k in keys if k.endswith(":open")}
            # What was taken back has a second row, which has no message unless it flares up.
            planned_once = {t.first_key for t in remembered if t in there or t.was_dropped}
            assert messages == planned_once, "a plan and what is remembered of it are one"
    assert outcomes["before the plan"] and outcomes["while delivering"], f"{outcomes}: this run proves nothing"
    for _ in range(2):
        refresh(now)
    refreshers.close()

    rows = backlog.entries(engine, limit=1_000)
    assert {e.state for e in rows} <= {"sent", "superseded"}, "something was lost"
    assert max(Counter(server.keys).values()) == 1, "something came twice"
    with reading(engine) as connection:
        remembered = told.read(connection, "eu_dsa")
    assert preview(watched(catalog), record.sources, state_url, now=now).is_empty, "everything is said as it is now"
    there = [row for row in remembered if row.form != "none"]
    assert {row.key for row in there} == {key for key in server.keys if key.endswith(":open")}
    assert len(there) > STEPS
    for row in there:
        message = next(m for m in server.messages if m["metadata"]["event_payload"]["key"] == row.key)
        last = [e for e in rows if e.intent.key == row.shown]
        assert [e.intent.text for e in last] == [message["text"]], "the last edit is what Slack shows"
