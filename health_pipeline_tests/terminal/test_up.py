"""``health-pipeline up``: the Dagster UI and the daemon, together, from start to Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

from health_pipeline.terminal.up import _stop
from health_pipeline_tests.conftest import COMMAND, FAR, Deployment, wait_for

QUERY = "{ assetNodes { assetKey { path } groupName } schedulesOrError(repositorySelector: {repositoryName: " \
    '"__repository__", repositoryLocationName: "health_pipeline"}) { ... on Schedules { results { name ' \
    "scheduleState { status } } } } }"  # fmt: skip


def free_port() -> int:
    """One that nobody gets by chance meanwhile: below those that systems give to whoever asks for any."""
    while True:
        port = random.randrange(16_384, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def processes_of(home: Path) -> list[str]:
    """Command lines of everything that runs with this home in its environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"HEALTH_PIPELINE_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return [command for command in found if command]


def get(url: str, body: dict[str, str] | None = None) -> dict[str, object]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=FAR) as answer:
        return dict(json.load(answer))


def healthy_daemons(url: str) -> set[str]:
    query = "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }"
    data = get(f"{url}/graphql", {"query": query})["data"]
    assert isinstance(data, dict)
    return {s["daemonType"] for s in data["instance"]["daemonHealth"]["allDaemonStatuses"] if s["healthy"]}


def test_the_ui_and_the_daemon_start_work_and_stop_together(deployment: Deployment) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    at_work = subprocess.Popen(
        [*COMMAND, "up", "-e", str(deployment.catalog_folder), "--port", str(port)],
        env={
            **os.environ,
            "HEALTH_PIPELINE_HOME": str(deployment.home.root),
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "SLACK_BOT_TOKEN": "xoxb-x",
            "SLACK_APP_TOKEN": "xapp-x",
            "SLACK_API_URL": "http://127.0.0.1:9/api/",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert at_work.stdout is not None
        shown = []
        for line in at_work.stdout:
            shown.append(line.rstrip("\n"))
            if "Ctrl-C" in line:
                break
        assert shown == [
            "Preparing storage …",
            "Starting the web server and the daemon …",
            f"✓ Dagster UI       {url}",
            f"✓ Incidents        {url}/assets/little/incidents",
            f"✓ Schedules etc.   {url}/automation",
            f"✓ Inbox            {deployment.pipeline.inbox}",
            f"! Clicks in Slack  health-pipeline slack run -e {deployment.catalog_folder}  in another terminal",
            f"Logs are in {deployment.home.root / 'logs'}. Ctrl-C stops everything.",
        ]
        assert "dagster_webserver_version" in get(f"{url}/server_info")
        answer = get(f"{url}/graphql", {"query": QUERY})["data"]
        assert isinstance(answer, dict)
        listed = {tuple(node["assetKey"]["path"]): node["groupName"] for node in answer["assetNodes"]}
        assert len(listed) == 12 and listed["little", "cube"] == "metrics"
        assert listed["little", "track_records"] == "risks"
        schedules = {s["name"]: s["scheduleState"]["status"] for s in answer["schedulesOrError"]["results"]}
        assert schedules["little_daily"] == "RUNNING" and set(schedules.values()) == {"RUNNING"}

        daemons = {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR", "MONITORING"}
        wait_for(lambda: daemons <= healthy_daemons(url), at_work=at_work, every=0.5)
        assert len(processes_of(deployment.home.root)) >= 3

        at_work.send_signal(signal.SIGINT)
        out, errors = at_work.communicate(timeout=FAR)
        assert (at_work.returncode, errors) == (0, "")
        assert out.split() == ["Stopping", "…", "Stopped."]
        wait_for(lambda: not processes_of(deployment.home.root))
    finally:
        if at_work.poll() is None:
            at_work.send_signal(signal.SIGINT)
            at_work.communicate(timeout=FAR)


def test_what_a_stopped_process_leaves_behind_is_ended_too() -> None:
    """As the daemon leaves its code server, which ends by itself only when it misses the daemon."""
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 3600 & echo; exec sleep 3600"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout is not None and leader.stdout.readline() == b"\n"
    _stop({"leader": leader})
    assert leader.communicate(timeout=FAR) == (b"", None), "its output ends with the last that could write to it"


def test_a_taken_port_is_told_with_another(empty: Deployment) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = empty.cli("up", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"✗ Can't listen on 127.0.0.1:{port}: Address already in use.\n"
        f"  Perhaps it is already running; else choose another port: health-pipeline up --port {port + 1}\n"
    )
