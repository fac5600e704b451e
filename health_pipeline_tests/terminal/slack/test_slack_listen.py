"""``health-pipeline slack run`` and ``http``: clicks are answered, over real sockets to the fake Slack."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from health_pipeline.alerts.app.signed_http import PATH
from health_pipeline.home import Home
from health_pipeline_tests.conftest import COMMAND, FAR, TERMINAL, here, wait_for
from health_pipeline_tests.fake_slack import APP_TOKEN, SIGNING_SECRET, TOKEN, FakeSlack, signed
from health_pipeline_tests.terminal.slack.place import NOWHERE, Desk


@dataclass(frozen=True)
class Listener:
    """A command that listens, in a process of its own; what it prints goes into files."""

    process: subprocess.Popen[bytes]
    out: Path
    errors: Path

    def has_said(self, pattern: str) -> re.Match[str]:
        """A line that it prints, as soon as it stands there."""
        line = re.compile(f"^{pattern}$", re.MULTILINE)
        wait_for(lambda: line.search(self.out.read_text(encoding="utf-8")), at_work=self.process)
        found = line.search(self.out.read_text(encoding="utf-8"))
        assert found is not None
        return found

    def end(self, by: signal.Signals) -> tuple[str, str]:
        """End it, which it takes for no error; all that it has printed."""
        self.process.send_signal(by)
        assert self.process.wait(FAR) == 0
        return self.out.read_text(encoding="utf-8"), self.errors.read_text(encoding="utf-8")


Start = Callable[..., Listener]


@pytest.fixture
def start(server: FakeSlack, little: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a listening command over a home; what still runs at the end is killed."""
    started: list[Listener] = []

    def start(home: Home, *arguments: str, **environment: str) -> Listener:
        given = {
            **os.environ, **TERMINAL, "HEALTH_PIPELINE_HOME": str(home.root), "SLACK_API_URL": server.url,
            "SLACK_BOT_TOKEN": TOKEN, "SLACK_APP_TOKEN": APP_TOKEN, "SLACK_SIGNING_SECRET": SIGNING_SECRET,
            "PYTHONUNBUFFERED": "1", **environment,
        }  # fmt: skip
        out, errors = tmp_path / "out", tmp_path / "errors"
        command = [*COMMAND, "slack", *arguments, "-e", str(little)]
        with out.open("wb") as stdout, errors.open("wb") as stderr:
            process = subprocess.Popen(command, env=given, stdout=stdout, stderr=stderr)
        started.append(Listener(process, out, errors))
        return started[-1]

    yield start
    for listener in started:
        listener.process.kill()
        listener.process.wait()


def test_clicks_are_answered_in_socket_mode_until_ctrl_c(told_desk: Desk, start: Start) -> None:
    server, listener = told_desk.server, start(told_desk.place.home, "run")
    process = listener.process
    listener.has_said("Listening to Slack.")
    wait_for(lambda: told_desk.says('"acknowledge"'), at_work=process)  # buttons, now that somebody answers
    server.wait_ack(server.interactive(server.click(told_desk.message["ts"], "acknowledge")))
    wait_for(lambda: told_desk.says("Acknowledged by <@U00000002>"), at_work=process)
    wait_for(lambda: server.responses, at_work=process)
    undo = f"health-pipeline slack decide -e {told_desk.place.catalog_folder} {told_desk.incident} undo 1"
    assert undo in server.responses[0]["text"]
    out, errors = listener.end(signal.SIGINT)
    assert errors == ""
    assert out.splitlines()[0] == "For eu_dsa, marketplace, little. Ctrl-C stops."
    assert "Not listening any more.\n" in out and out.endswith("Stopped.\n")


def test_clicks_are_answered_over_http_when_slack_has_signed_them(told_desk: Desk, start: Start) -> None:
    server, listener = told_desk.server, start(told_desk.place.home, "http", "--port", "0")
    url = listener.has_said(rf"Answering clicks at (http://127.0.0.1:\d+{PATH})\.")[1]
    wait_for(lambda: told_desk.says('"acknowledge"'), at_work=listener.process)
    body, headers = signed(server.click(told_desk.message["ts"], "acknowledge"))

    def sent(headers: dict[str, str]) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=FAR) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert sent({**headers, "X-Slack-Signature": "v0=00"}) == 401
    assert sent(headers) == 200
    wait_for(lambda: told_desk.says("Acknowledged by <@U00000002>"), at_work=listener.process)
    out, errors = listener.end(signal.SIGTERM)
    assert "Not listening any more.\n" in out and out.endswith("Stopped.\n")
    assert "Refused: a request with a wrong, missing or old signature" in errors


def test_with_slack_out_of_reach_clicks_are_waited_for_all_the_same(tmp_path: Path, start: Start) -> None:
    listener = start(Home(tmp_path / "home"), "http", "--port", "0", SLACK_API_URL=NOWHERE)
    listener.has_said(rf"Answering clicks at .*{PATH}\.")
    out, _ = listener.end(signal.SIGTERM)
    assert out.startswith("! Slack can't be reached")


@pytest.mark.parametrize(
    ("name", "environment", "missing"),
    [
        ("run", {"SLACK_APP_TOKEN": APP_TOKEN}, "SLACK_BOT_TOKEN"),
        ("run", {"SLACK_BOT_TOKEN": TOKEN}, "SLACK_APP_TOKEN"),
        ("http", {"SLACK_BOT_TOKEN": TOKEN}, "SLACK_SIGNING_SECRET"),
    ],
)
def test_without_what_it_needs_nothing_listens(
    tmp_path: Path, server: FakeSlack, name: str, environment: dict[str, str], missing: str
) -> None:
    done = here("slack", name, HEALTH_PIPELINE_HOME=str(tmp_path), SLACK_API_URL=server.url, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"✗ {missing} is not set.\n")


def test_a_token_that_slack_refuses_ends_it(tmp_path: Path, server: FakeSlack) -> None:
    done = here(
        "slack", "run", HEALTH_PIPELINE_HOME=str(tmp_path), SLACK_API_URL=server.url, SLACK_BOT_TOKEN=TOKEN,
        SLACK_APP_TOKEN="xapp-wrong",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("✗ Slack does not let the app listen (invalid_auth).\n")


@pytest.mark.parametrize("name", ["run", "http"])
def test_a_wrong_token_of_the_bot_is_noticed_before_anything_listens(
    tmp_path: Path, server: FakeSlack, name: str
) -> None:
    done = here(
        "slack", name, HEALTH_PIPELINE_HOME=str(tmp_path), SLACK_API_URL=server.url, SLACK_BOT_TOKEN="xoxb-wrong",
        SLACK_APP_TOKEN=APP_TOKEN, SLACK_SIGNING_SECRET=SIGNING_SECRET,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("✗ SLACK_BOT_TOKEN: Slack does not accept the token.")
    assert "apps.connections.open" not in server.requests


def test_nothing_is_said_to_answer_at_a_port_that_is_taken(tmp_path: Path, server: FakeSlack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = here(
            "slack", "http", "--port", port, HEALTH_PIPELINE_HOME=str(tmp_path), SLACK_API_URL=server.url,
            SLACK_BOT_TOKEN=TOKEN, SLACK_SIGNING_SECRET=SIGNING_SECRET,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"Nothing can listen at 127.0.0.1:{port}." in done.stderr
    assert PATH not in done.stdout
