"""SIGKILL at random moments of a delivery: nothing twice, nothing lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import sqlalchemy as sa

from health_pipeline.alerts import outbox
from health_pipeline_tests.alerts.conftest import TIMEOUT
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack

MESSAGES = 12
KILLS = 6

DELIVERERS = f"""
import datetime as dt, os, sys
from health_pipeline.alerts.deliver import deliver
from health_pipeline.alerts.slack import Slack
from health_pipeline.storage.state import open_state

# One deliverer for each line: a process of its own, forked so that only the first pays for the imports.
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        engine = open_state(os.environ["STATE_URL"])
        slack = Slack({TOKEN!r}, base_url=os.environ["SLACK_API_URL"], timeout={TIMEOUT})
        deliver(engine, slack, budget=dt.timedelta(seconds=20), interval=dt.timedelta(seconds=0.02))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_kills_neither_double_nor_lose_a_message(
    engine: sa.Engine, server: FakeSlack, state_url: str, put: Callable[..., None]
) -> None:
    keys = [f"m{i:02d}" for i in range(MESSAGES)]
    put(*keys)
    server.latency = 0.03  # before and after accepting: kills fall on both sides
    posting = threading.Event()
    server.on_post = posting.set
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
        posting.clear()
        deliverers.stdin.write("deliver\n")
        deliverers.stdin.flush()
        return int(deliverers.stdout.readline())

    step = 2.2 * server.latency / KILLS
    moments = [random.uniform(n * step, (n + 1) * step) for n in range(KILLS)]
    random.shuffle(moments)
    in_flight = accepted_unknown = 0
    for moment in moments:
        pid = start()
        assert posting.wait(20), "the deliverer posted nothing before it was killed"
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        assert int(deliverers.stdout.readline()) == -signal.SIGKILL
        time.sleep(2 * server.latency + 0.05)  # a request that has left is still accepted
        in_flight += outbox.counts(engine)["sending"]
        accepted_unknown += len(server.messages) - outbox.counts(engine)["sent"]
    assert in_flight, "no kill hit a message between its commit and Slack's answer: this run proves nothing"
    assert accepted_unknown, "no kill hit a message that Slack had accepted: this run proves nothing"
    start()
    assert int(deliverers.stdout.readline()) == 0
    deliverers.communicate(timeout=10)

    assert outbox.counts(engine) == {"pending": 0, "sending": 0, "sent": MESSAGES, "held": 0}
    assert Counter(server.keys) == Counter(keys)
    stands = {m["metadata"]["event_payload"]["key"]: m["ts"] for m in server.messages}
    assert {e.message.key: e.ts for e in outbox.entries(engine)} == stands
