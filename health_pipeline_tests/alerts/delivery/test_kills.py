"""SIGKILL at random moments of a delivery: nothing twice, nothing lost, nothing out of order."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.intent import Intent, Kind
from health_pipeline.alerts.people import told
from health_pipeline.alerts.post import preview
from health_pipeline.catalog.alerts import Severity
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import reading
from health_pipeline_tests.alerts.conftest import TIMEOUT
from health_pipeline_tests.alerts.follow import DAY, MORNING, ONE_DAY, fall, with_alerts
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack

INCIDENTS = 25
# Edits come last: newer ones replace those that wait, and whoever looks for the first that is left sends all files.
KILLED_IN = (
    {"chat.postMessage": 3, "upload": 2, "files.completeUploadExternal": 4},
    {"chat.postMessage": 3, "chat.update": 4},
)
KILLS = sum(sum(part.values()) for part in KILLED_IN)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20

DELIVERERS = f"""
import datetime as dt, os, sys
from health_pipeline.alerts.delivery.deliver import deliver
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.storage.state import open_state

# One deliverer for each line: a process of its own, forked so that only the first pays for the imports.
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        engine = open_state(os.environ["STATE_URL"])
        slack = Slack({TOKEN!r}, base_url=os.environ["SLACK_API_URL"], timeout={TIMEOUT})
        deliver(engine, slack, budget=dt.timedelta(seconds=40), interval=dt.timedelta(milliseconds=2))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_kills_neither_double_nor_lose_nor_disorder_anything(
    engine: sa.Engine, server: FakeSlack, state_url: str
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

    server.latency = 0.025  # before and after a request takes effect: kills fall on both sides
    reached, aim = threading.Event(), ""
    server.on_request = lambda method: reached.set() if method == aim else None
    deliverers = subprocess.Popen(
        [sys.executable, "-c", DELIVERERS],
        env=os.environ | {"SLACK_API_URL": server.url, "STATE_URL": state_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert deliverers.stdin is not None
    assert deliverers.stdout is not None

    def start() -> int:
        reached.clear()
        deliverers.stdin.write("deliver\n")
        deliverers.stdin.flush()
        return int(deliverers.stdout.readline())

    step = 2.2 * server.latency / KILLS
    moments = [random.uniform(n * step, (n + 1) * step) for n in range(KILLS)]
    random.shuffle(moments)
    aims = [aim for part in KILLED_IN for aim in random.sample([*part], counts=[*part.values()], k=sum(part.values()))]
    in_flight, accepted_unheard = Counter[str](), 0
    for moment, aim in zip(moments, aims, strict=True):
        pid = start()
        assert reached.wait(20), f"the deliverer did not come to {aim} before it was killed"
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        assert int(deliverers.stdout.readline()) == -signal.SIGKILL
        time.sleep(2 * server.latency + 0.03)  # a request that has left is still accepted
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
    start()
    assert int(deliverers.stdout.readline()) == 0
    deliverers.communicate(timeout=10)

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
import datetime as dt, os, sys
from pathlib import Path
from health_pipeline.alerts import post
from health_pipeline.alerts.delivery.deliver import deliver
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.catalog.loader import load_catalog
from health_pipeline_tests.alerts.delivery.test_kills import watched
from health_pipeline_tests.alerts.record import Record

def at_pace(engine, catalog):
    slack = Slack({TOKEN!r}, base_url=os.environ["SLACK_API_URL"], timeout={TIMEOUT})
    return deliver(engine, slack, ecosystem=catalog.name, interval=dt.timedelta(milliseconds=2))

post._deliver = at_pace  # a message a second and a patience of 30 s would take this test minutes
catalog = watched(load_catalog("eu_dsa"))
sources = Record(Path(os.environ["RECORD"])).sources
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        post.refresh(catalog, sources, os.environ["STATE_URL"], now=dt.datetime.fromisoformat(line.strip()))
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
    engine: sa.Engine, server: FakeSlack, state_url: str, tmp_path: Path, catalog: Catalog
) -> None:
    server.latency = 0.005
    record = Record(tmp_path / "lake")
    refreshers = subprocess.Popen(
        [sys.executable, "-c", REFRESHERS],
        env=os.environ | {"SLACK_API_URL": server.url, "STATE_URL": state_url, "RECORD": str(tmp_path / "lake")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert refreshers.stdin is not None and refreshers.stdout is not None
    assert refreshers.stdout.readline() == "ready\n"

    reached = threading.Event()
    server.on_request = lambda method: reached.set()

    def refresh(now: dt.datetime, killed_after: float | None, *, in_delivery: bool = False) -> float:
        """Seconds that it took; killed so many seconds after its begin, or that of its first request."""
        assert refreshers.stdin is not None and refreshers.stdout is not None
        refreshers.stdin.write(f"{now.isoformat()}\n")
        refreshers.stdin.flush()
        pid, begun = int(refreshers.stdout.readline()), time.monotonic()
        if killed_after is not None:
            reached.clear()
            if in_delivery:
                reached.wait(5)
            time.sleep(killed_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert int(refreshers.stdout.readline()) in (0, -signal.SIGKILL if killed_after is not None else 0)
        return time.monotonic() - begun

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
    usual = refresh(judge(0), None)
    planning = [(usual * (n + random.random()) / STEPS, False) for n in range(STEPS)]
    delivering = [(4 * server.latency * (n + random.random()) / STEPS, True) for n in range(STEPS)]
    moments = random.sample([*planning, *delivering], 2 * STEPS)
    for step in range(1, STEPS + 1):
        now = judge(step)
        for _ in range(2):
            before = len(backlog.entries(engine, limit=1_000))
            moment, in_delivery = moments.pop()
            refresh(now, moment, in_delivery=in_delivery)
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
    assert sum(outcomes.values()) >= 14
    assert outcomes["before the plan"] and outcomes["while delivering"], f"{outcomes}: this run proves nothing"
    time.sleep(4 * TIMEOUT)  # what is in doubt is looked for
    for _ in range(2):
        refresh(now, None)
    refreshers.communicate(timeout=10)

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
