"""Clicks over HTTP: what Slack has signed is recorded, all else refused."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import uvicorn

from health_pipeline.alerts.app.bolt import SlackAppError
from health_pipeline.alerts.app.signed_http import HEALTH, MAX_BODY, PATH, http_app, serve_http
from health_pipeline.alerts.people import decisions
from health_pipeline_tests.alerts.app.office import GARBAGE, Office
from health_pipeline_tests.alerts.by_hand import incident
from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import SIGNING_SECRET, TOKEN, FakeSlack, sign, signed


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
    thread.join(FAR)
    office.open.set()
    desk.close(FAR)


def request(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    asked = urllib.request.Request(url, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=FAR) as answer:
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


def test_what_slack_has_not_signed_is_refused(
    web: tuple[Office, str], post: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    office, url = web
    now = int(time.time())
    monkeypatch.setattr("slack_sdk.signature.Clock.now", lambda _: float(now))
    body, good = signed(office.server.click(post(), "acknowledge"), at=now)
    stamp, signature = good["X-Slack-Request-Timestamp"], good["X-Slack-Signature"]

    def stamped(timestamp: str) -> dict[str, str]:
        return good | {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": sign(body, timestamp)}

    plain = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers in (
        signed({}, secret="another")[1],
        good | {"X-Slack-Signature": sign(body, stamp, "another")},
        good | {"X-Slack-Signature": "v0=" + "é" * 64},
        good | {"X-Slack-Signature": ""},
        stamped(str(now - 301)),
        stamped(str(now + 301)),
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
    assert request(url + PATH, body + b"&x=1", good)[0] == 401
    assert request(url + PATH, b"\xff\xfe", stamped(stamp))[0] == 401
    assert office.rows == []
    for signed_at in (now - 300, now + 300):
        assert request(url + PATH, body, stamped(str(signed_at)))[0] == 200
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
import contextlib, functools, os
from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.app.desk import Desk
from health_pipeline.alerts.app.signed_http import serve_http
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.storage.state import open_state

subject = Subject("eu_dsa", {incident().id!r}, "statements", "platform=TikTok")
engine = open_state(os.environ["STATE_URL"])
with contextlib.closing(Desk(engine, {{"eu_dsa": load_catalog("eu_dsa")}}, known=lambda reference: subject,
                             refresh=lambda name: None)) as desk:
    serve_http(desk, token={TOKEN!r}, signing_secret={SIGNING_SECRET!r}, port=0,
               host=os.environ.get("HOST", "127.0.0.1"),
               announce=functools.partial(print, flush=True))
print("closed")
"""


def test_a_server_ends_in_order_when_it_is_told_to(
    engine: sa.Engine, server: FakeSlack, state_url: str, post: Callable[..., str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HTTP_SERVER],
        env=os.environ | {"STATE_URL": state_url},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"Answering clicks at (http://127.0.0.1:\d+)(.+)\.\n", process.stdout.readline())
        assert found is not None and found[2] == PATH
        assert request(found[1] + HEALTH) == (200, "ok")
        assert request(found[1] + PATH, *signed(server.click(post(), "acknowledge")))[0] == 200
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=FAR)[0].splitlines()
    finally:
        process.kill()
    assert (process.returncode, said) == (0, ["Not listening any more.", "closed"])
    assert len(decisions.history(engine, "eu_dsa")) == 1


def test_the_address_of_a_host_of_colons_can_be_opened(engine: sa.Engine, state_url: str) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    process = subprocess.Popen(
        [sys.executable, "-c", HTTP_SERVER],
        env=os.environ | {"STATE_URL": state_url, "HOST": "::1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.fullmatch(rf"Answering clicks at (http://\S+){PATH}\.\n", process.stdout.readline())
        assert found is not None
        assert urllib.parse.urlsplit(found[1]).hostname == "::1"
        assert request(found[1] + HEALTH) == (200, "ok")
    finally:
        process.kill()
        process.communicate()


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
    desk.close(FAR)
    assert (office.announced, office.refreshed) == ([], []), "nothing is said to be answered there"


def test_without_a_signing_secret_nothing_is_served(office: Office) -> None:
    desk = office.desk()
    with pytest.raises(SlackAppError, match="no signing secret"):
        http_app(desk, token=TOKEN, signing_secret=" ")
    desk.close(FAR)
