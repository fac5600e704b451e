"""``health-pipeline slack``, over real sockets to the fake Slack."""

from __future__ import annotations

import csv
import datetime as dt
import getpass
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from health_pipeline.alerts.app.signed_http import PATH
from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.people import decisions
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.alerts.people.told import TOLD
from health_pipeline.alerts.setup import SCOPES
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents import wording
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.conftest import COMMAND, LAST, TERMINAL, Deployment, here, scaled, wait_for
from health_pipeline_tests.fake_slack import APP_TOKEN, SIGNING_SECRET, TOKEN, FakeSlack, signed

Done = subprocess.CompletedProcess[str]
Call = Callable[..., Done]
HEALTH, FAILURES = "C00000001", "C00000002"
NOWHERE = "http://127.0.0.1:9/api/"


@pytest.fixture
def setup(server: FakeSlack, little: Path) -> Call:
    """``slack setup`` of the little ecosystem against the fake Slack, with all that can be set."""

    def setup(*arguments: str, **environment: str) -> Done:
        given = {
            "SLACK_API_URL": server.url, "SLACK_BOT_TOKEN": TOKEN, "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_SIGNING_SECRET": SIGNING_SECRET,
        }  # fmt: skip
        return here("slack", "setup", "-e", str(little), *arguments, **{**given, **environment})

    return setup


def told(done: Done) -> dict[str, tuple[str, str]]:
    """What a line is about -> its sign and the rest; of several about the same, the last."""
    lines = (re.fullmatch(r"([✓✗–]) (.+?)(?:  +|: (?=works|waits))(.*)", line) for line in done.stdout.splitlines())
    return {line[2]: (line[1], line[3]) for line in lines if line}


@pytest.mark.parametrize(
    "name", ["manifest", "setup", "run", "http", "preview", "outbox", "decide", "snooze", "decisions"]
)
def test_every_command_explains_itself(name: str) -> None:
    done = here("slack", name, "--help")
    assert done.returncode == 0
    assert done.stdout.split()[1:4] == ["health-pipeline", "slack", name]


# ── The manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_manifest_asks_for_what_is_used_and_for_socket_mode() -> None:
    done = here("slack", "manifest")
    assert (done.returncode, done.stderr) == (0, "")
    made = YAML(typ="safe").load(done.stdout)
    assert made["oauth_config"]["scopes"]["bot"] == list(SCOPES)
    assert made["settings"]["socket_mode_enabled"] is True
    assert made["settings"]["interactivity"] == {"is_enabled": True}
    assert len(made["display_information"]["name"]) <= 35
    assert len(made["display_information"]["description"]) <= 140
    assert json.loads(here("slack", "manifest", "--json").stdout) == made


def test_the_manifest_for_clicks_over_http_names_their_address() -> None:
    made = json.loads(here("slack", "manifest", "--json", "--url", "https://health.example/").stdout)
    assert made["settings"]["socket_mode_enabled"] is False
    assert made["settings"]["interactivity"]["request_url"] == f"https://health.example{PATH}"
    done = here("slack", "manifest", "--url", "http://health.example")
    assert (done.returncode, done.stdout) == (1, "")
    assert "https:// addresses only" in done.stderr


# ── The check ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_set_up_that_is_whole_works_and_leaves_nothing_behind(server: FakeSlack, setup: Call) -> None:
    server.scopes.add("groups:history")
    done = setup("--yes")
    assert (done.returncode, done.stderr) == (0, "")
    seen = told(done)
    assert seen["SLACK_BOT_TOKEN"] == ("✓", "speaks for @health-pipeline in Fake")
    assert seen["SLACK_APP_TOKEN"][0] == seen["uploads"][0] == seen["scopes"][0] == "✓"
    for channel in ("#ecosystem-health", "#ecosystem-health-pipeline"):
        assert seen[channel] == ("✓", "a test message was posted, found again, edited and removed")
    for feature in ("Messages", "None twice after a lost answer", "Charts in the thread", "Buttons and menus"):
        assert seen[feature][0] == "✓" and seen[feature][1].endswith("works")
    assert [e["channel"] for e in server.edits] == [HEALTH, FAILURES]
    assert (server.messages, server.files) == ([], {})


def test_it_asks_before_it_posts(server: FakeSlack, setup: Call, little: Path) -> None:
    done = setup()
    assert done.returncode == 0, "no answer is a no"
    assert "Post a test message to #ecosystem-health, #ecosystem-health-pipeline? [y/N]" in done.stdout
    assert told(done)["test messages"] == ("–", "were not posted")
    assert "chat.postMessage" not in server.requests
    environment = {"SLACK_API_URL": server.url, "SLACK_BOT_TOKEN": TOKEN}
    assert here("slack", "setup", "-e", str(little), stdin="y\n", **environment).returncode == 0
    assert server.requests.count("chat.postMessage") == 2
    untried = setup("--no-test")
    assert "y/N" not in untried.stdout
    assert "– Messages: nothing found that is missing, but no test message was posted\n" in untried.stdout
    assert server.requests.count("chat.postMessage") == 2


@pytest.mark.parametrize(
    ("environment", "name", "said"),
    [
        ({"SLACK_BOT_TOKEN": ""}, "SLACK_BOT_TOKEN", "is not set. It is the Bot User OAuth Token"),
        ({"SLACK_BOT_TOKEN": "xoxb-wrong"}, "SLACK_BOT_TOKEN", "Slack does not accept the token."),
        ({"SLACK_API_URL": NOWHERE}, "SLACK_BOT_TOKEN", "Slack can't be reached"),
        ({"SLACK_APP_TOKEN": "xapp-wrong"}, "SLACK_APP_TOKEN", "opens no Socket Mode (invalid_auth)."),
    ],
)
def test_a_token_that_does_not_work_is_named_with_what_to_do(
    setup: Call, environment: dict[str, str], name: str, said: str
) -> None:
    done = setup("--yes", **environment)
    assert done.returncode == 1
    sign, words = told(done)[name]
    assert sign == "✗" and words.startswith(said)
    assert done.stderr.startswith(f"✗ 1 thing to mend: {name}.\n")


@pytest.mark.parametrize("token", ["", "xoxb-wrong"])
def test_nothing_works_without_a_token_that_does(setup: Call, token: str) -> None:
    features = setup("--yes", SLACK_BOT_TOKEN=token).stdout.partition("\n\n")[2].splitlines()
    assert [line for line in features if not line.endswith(": waits for: SLACK_BOT_TOKEN")] == []
    assert len(features) == 5


def test_without_a_way_to_answer_all_but_buttons_works(setup: Call) -> None:
    done = setup("--yes", SLACK_APP_TOKEN="", SLACK_SIGNING_SECRET="")
    seen = told(done)
    assert done.returncode == 0
    assert seen["SLACK_APP_TOKEN"][0] == "–" and "messages come without buttons" in seen["SLACK_APP_TOKEN"][1]
    assert seen["Buttons and menus"] == ("–", "waits for: SLACK_APP_TOKEN")
    assert seen["Messages"] == ("✓", "works")
    over_http = told(setup("--no-test", SLACK_APP_TOKEN=""))
    assert over_http["SLACK_SIGNING_SECRET"][0] == over_http["Buttons and menus"][0] == "✓"


@pytest.mark.parametrize(
    ("scope", "feature"),
    [
        ("chat:write", "Messages"),
        ("channels:history", "None twice after a lost answer"),
        ("files:write", "Charts in the thread"),
    ],
)
def test_a_missing_scope_is_named_with_what_it_keeps_from_working(
    server: FakeSlack, setup: Call, scope: str, feature: str
) -> None:
    server.scopes.remove(scope)
    done = setup("--yes")
    assert done.returncode == 1
    seen = told(done)
    assert seen[scope][0] == "✗" and "Add it under OAuth & Permissions" in seen[scope][1]
    waits = next(line for line in done.stdout.splitlines() if feature in line and "waits for: " in line)
    assert scope in waits


def test_channels_by_id_need_no_scope_to_read_channels(server: FakeSlack, setup: Call) -> None:
    server.scopes.remove("channels:read")
    by_name = setup("--yes")
    assert by_name.returncode == 1
    assert told(by_name)["channels:read"][0] == "✗"
    by_id = setup("--yes", "--channel", HEALTH)
    assert by_id.returncode == 0
    assert told(by_id)["channels:read"][0] == "–"
    assert told(by_id)[HEALTH] == ("✓", "a test message was posted, found again, edited and removed")


def test_channels_that_take_no_messages_are_named_and_the_others_are_tried(server: FakeSlack, setup: Call) -> None:
    server.away.add(FAILURES)
    done = setup("--yes")
    assert done.returncode == 1
    seen = told(done)
    assert seen["#ecosystem-health"][0] == "✓"
    assert seen["#ecosystem-health-pipeline"] == (
        "✗", f"failed runs; the bot is not in it ({FAILURES}). In the channel: /invite @health-pipeline"
    )  # fmt: skip
    server.away.clear()
    server.archived.add(FAILURES)
    assert "is archived" in told(setup("--yes"))["#ecosystem-health-pipeline"][1]
    gone = setup("--yes", "--channel", "#nowhere")
    assert told(gone)["#nowhere"][1].startswith("No such channel, or a private one the bot is not in.")
    assert set(server.requests) >= {"chat.delete"} and server.messages == []


def test_what_breaks_on_the_way_is_said_with_how_far_it_came(server: FakeSlack, setup: Call) -> None:
    server.faults["chat.update"].append("code:edit_window_closed")
    done = setup("--yes", "--channel", HEALTH)
    assert done.returncode == 1
    assert told(done)[HEALTH][1].startswith("posted, found again; then: A workspace setting forbids to edit")
    assert server.messages == [], "removed all the same"


def test_a_file_that_can_t_be_uploaded_is_said(server: FakeSlack, setup: Call) -> None:
    server.faults["files.getUploadURLExternal"].append("code:file_uploads_disabled")
    done = setup("--no-test")
    assert done.returncode == 1
    assert told(done)["uploads"][1].startswith("A workspace setting forbids uploads.")
    assert told(done)["Charts in the thread"] == ("–", "waits for: uploads")


def test_every_channel_of_alerts_yaml_is_looked_at(server: FakeSlack, little: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(little, folder)
    (folder / "alerts.yaml").write_text(
        f"channel: {HEALTH}\nfailures_channel: {HEALTH}\n"
        f"routes:\n  - {{severities: [P1], channel: {FAILURES}, mention: [owner]}}\n",
        encoding="utf-8",
    )
    environment = {"SLACK_API_URL": server.url, "SLACK_BOT_TOKEN": TOKEN}
    seen = told(here("slack", "setup", "-e", str(folder), "--no-test", **environment))
    assert seen[HEALTH] == ("✓", "incidents, failed runs; #ecosystem-health, public, the bot is in it")
    assert seen[FAILURES][1].startswith("route 1; ")
    owners = ", ".join(sorted({metric.owner for metric in load_catalog(str(little)).metrics}))
    assert seen["mention in alerts.yaml"] == ("–", f"owners without a Slack user in alerts.yaml: {owners}.")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not set: links lead every reader to their own machine. Set it"),
        ("http://localhost:3000", "is http://localhost:3000: links lead every reader to their own machine."),
        ("http://[::1]:3000/", "is http://[::1]:3000/: links lead every reader to their own machine."),
        ("http://0.0.0.0", "is http://0.0.0.0: links lead every reader to their own machine."),
        ("health.example.org", "is health.example.org, which is no web address: links lead nowhere. Set it"),
        ("http://[health", "is http://[health, which is no web address: links lead nowhere."),
    ],
)
def test_links_that_lead_nobody_anywhere_are_said_and_are_no_failure(setup: Call, url: str, said: str) -> None:
    done = setup("--yes", HEALTH_PIPELINE_URL=url)
    assert done.returncode == 0
    sign, words = told(done)["HEALTH_PIPELINE_URL"]
    assert sign == "–" and words.startswith(said)


@pytest.mark.parametrize("url", ["https://health.example.org", "http://10.0.0.7:3000"])
def test_where_links_lead_is_said(setup: Call, url: str) -> None:
    assert told(setup("--no-test", HEALTH_PIPELINE_URL=url))["HEALTH_PIPELINE_URL"] == ("✓", f"links lead to {url}")


# ── The outbox ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def queued(tmp_path: Path) -> dict[str, str]:
    """A home whose outbox holds three messages of `little`, one of them held; the environment that leads there."""
    with opened_state(f"sqlite:///{tmp_path / 'state.db'}") as engine:
        for key in ("little:a", "little:b", "little:c"):
            block = {"type": "section", "text": {"type": "plain_text", "text": "A sentence."}}
            outbox.enqueue(engine, Message(key, "#ops", f"About {key}, and more", (block,)), ecosystem="little")
        claim = outbox.claim(engine, patience=outbox.now() - outbox.now(), interval=outbox.now() - outbox.now())
        assert claim is not None
        outbox.hold(engine, claim, "Slack refuses it.")
    return {"HEALTH_PIPELINE_HOME": str(tmp_path)}


def test_the_outbox_is_listed_with_how_each_channel_stands(little: Path, queued: dict[str, str]) -> None:
    done = here("slack", "outbox", "-e", str(little), **queued)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^Outbox of little: 2 pending, 1 held ─", done.stdout, re.MULTILINE)
    assert re.search(r" post +held +#ops +little:a *\n +Slack refuses it\.", done.stdout)
    assert done.stdout.index("little:c") < done.stdout.index("little:b") < done.stdout.index("little:a")
    standing = r"^#ops: 2 waiting since \d{4}-\d\d-\d\d \d\d:\d\d, 0 in doubt, 1 held \(UTC\)\. Slack refuses it\.$"
    assert re.search(standing, done.stdout, re.MULTILINE)
    held = here("slack", "outbox", "-e", str(little), "--state", "held", **queued)
    assert "little:a" in held.stdout and "little:b" not in held.stdout
    assert "little:c" not in here("slack", "outbox", "-e", "eu_dsa", **queued).stdout


def test_the_outbox_as_csv(little: Path, queued: dict[str, str]) -> None:
    done = here("slack", "outbox", "-e", str(little), "--csv", "--limit", "2", **queued)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(r["key"], r["kind"], r["state"], r["text"]) for r in rows] == [
        ("little:c", "post", "pending", "About little:c, and more"),
        ("little:b", "post", "pending", "About little:b, and more"),
    ]
    assert here("slack", "outbox", "-e", "eu_dsa", "--csv", **queued).stdout == ""


def test_a_held_row_is_tried_again_and_a_waiting_one_is_dropped(little: Path, queued: dict[str, str]) -> None:
    def states() -> dict[str, str]:
        rows = csv.DictReader(io.StringIO(here("slack", "outbox", "-e", str(little), "--csv", **queued).stdout))
        return {r["key"]: r["state"] for r in rows}

    assert here("slack", "outbox", "--requeue", "little:a", **queued).returncode == 0
    assert here("slack", "outbox", "--supersede", "little:b", "--reason", "Not true any more", **queued).returncode == 0
    assert states() == {"little:a": "pending", "little:b": "superseded", "little:c": "pending"}
    again = here("slack", "outbox", "--requeue", "little:a", **queued)
    assert (again.returncode, again.stdout) == (1, "")
    assert "No row little:a is held" in again.stderr
    assert here("slack", "outbox", "--supersede", "little:b", "--reason", "x", **queued).returncode == 1
    assert here("slack", "outbox", "--supersede", "little:c", **queued).returncode == 2


def test_looking_into_an_outbox_that_there_is_not_makes_none(tmp_path: Path) -> None:
    done = here("slack", "outbox", HEALTH_PIPELINE_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "✗ Nothing was queued or decided yet.\n  Run `health-pipeline run` first.\n"
    assert list(tmp_path.iterdir()) == []


# ── What would be told ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shifted(deployment: Deployment) -> Deployment:
    """Twenty times the usual statements of App Store on the newest days, judged; nobody has been told of it yet."""
    for back in range(3):
        day = LAST - dt.timedelta(days=back)
        deployment.deliver(f"{day}.parquet", scaled(deployment.facts(day, "App Store"), 20))
    assert set(deployment.work_off()) >= {"load", "judge"}
    return deployment


def slack(deployment: Deployment, name: str, *arguments: str, **environment: str) -> Done:
    """A command over a deployment."""
    given = {"HEALTH_PIPELINE_HOME": str(deployment.home.root), **environment}
    return here("slack", name, "-e", str(deployment.catalog_folder), *arguments, **given)


def test_what_would_be_told_is_shown_without_a_token_and_without_telling_it(shifted: Deployment) -> None:
    with opened_state(shifted.home.state_url) as engine:
        before = backlog.entries(engine)
    done = slack(shifted, "preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("By the incidents of 30 September 2025: 1 message. A digest is posted at 08:30 ")
    assert re.search(r"^#ecosystem-health ─", done.stdout, re.MULTILINE)
    assert re.search(r"^│ \S+ · P1 · App Store: statements .* up ", done.stdout, re.MULTILINE)
    assert "[Acknowledge]" not in done.stdout
    assert "[Acknowledge]" in slack(shifted, "preview", "--anew", SLACK_APP_TOKEN=APP_TOKEN).stdout
    with opened_state(shifted.home.state_url) as engine:
        assert backlog.entries(engine) == before


def test_what_is_told_already_is_not_to_be_told_again_but_anew(shifted: Deployment) -> None:
    assert shifted.run("alert").success
    waiting = slack(shifted, "preview")
    assert "1 message, 1 chart. 2 of this waits in the outbox already." in waiting.stdout
    with opened_state(shifted.home.state_url) as engine, engine.begin() as connection:
        connection.execute(outbox.OUTBOX.update().values(state="sent", ts="1.000001", channel_id=HEALTH))
    told = slack(shifted, "preview")
    assert "Nothing new is to be told." in told.stdout and "App Store: statements" not in told.stdout
    anew = slack(shifted, "preview", "--anew")
    assert "As if nobody had been told of anything yet." in anew.stdout and "App Store: statements" in anew.stdout


def test_the_page_has_the_chart_and_what_is_not_told_with_the_reason(shifted: Deployment, tmp_path: Path) -> None:
    page = tmp_path / "told.html"
    done = slack(shifted, "preview", "--html", str(page), "--anew")
    assert (done.returncode, done.stdout) == (0, f"✓ {page}\n")
    html = page.read_text(encoding="utf-8")
    assert "App Store: statements" in html and "data:image/png;base64," in html
    newest = shifted.pipeline.tables.incidents.read(shifted.pipeline.tables.incidents.days()[-1:])
    open_ = [row for row in newest.to_pylist() if row["state"] in ("new", "worsening", "ongoing")]
    assert len(re.findall(r"<dt>", html)) == len(open_) - 1 > 0
    assert "it is no news any more</dd>" in html
    nowhere = slack(shifted, "preview", "--html", str(tmp_path / "no" / "told.html"))
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("✗ Can't write ")


def test_nothing_judged_is_nothing_to_show(empty: Deployment) -> None:
    done = slack(empty, "preview")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"✗ No incident was judged yet.\n  Run `health-pipeline run -e {empty.catalog_folder}` first.\n"
    )


# ── Decisions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Desk:
    """A deployment of which one incident was told in the fake Slack."""

    deployment: Deployment
    server: FakeSlack
    incident: str

    def __call__(self, name: str, *arguments: str) -> Done:
        return slack(self.deployment, name, *arguments, SLACK_API_URL=self.server.url, SLACK_BOT_TOKEN=TOKEN)

    def decide(self, *arguments: str) -> Done:
        return self("decide", self.incident, *arguments)

    @property
    def message(self) -> dict[str, Any]:
        """The incident's own message, as it stands."""
        [found] = [m for m in self.server.messages if not m["thread_ts"]]
        return found

    @property
    def decisions(self) -> list[Decision]:
        with opened_state(self.deployment.home.state_url) as engine:
            return decisions.history(engine, "little")

    @property
    def replies(self) -> list[str]:
        return [m["text"] for m in self.server.thread(self.message["ts"]) if not m["files"]]

    def says(self, text: str) -> bool:
        return text in json.dumps(self.message["blocks"], ensure_ascii=False)


@pytest.fixture
def told_desk(shifted: Deployment, server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("SLACK_API_URL", server.url)
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    assert shifted.run("alert").success
    [key] = server.keys
    return Desk(shifted, server, key.removeprefix("little:incident:").removesuffix(":open"))


def test_a_decision_at_the_terminal_edits_the_message_and_tells_its_thread(told_desk: Desk) -> None:
    done = told_desk.decide("acknowledge")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "✓ Acknowledged.\n  Slack: 1 edit, 1 reply queued; outbox: 2 sent, 0 pending\n"
    assert told_desk.says("Acknowledged by ")
    assert told_desk.decide("assign", "U00000002").returncode == 0
    assert told_desk.says("Assigned to <@U00000002>")
    assert told_desk.decide("verdict", "false_alarm", "--cause", "noise").returncode == 0
    assert told_desk.says("false alarm, noise")
    assert len(told_desk.replies) == 3

    rows = list(csv.DictReader(io.StringIO(told_desk("decisions", "--csv").stdout)))
    assert [(r["kind"], r["assignee"], r["verdict"], r["cause"], r["source"], r["counts"]) for r in rows] == [
        ("acknowledge", "", "", "", "cli", "True"),
        ("assign", "U00000002", "", "", "cli", "True"),
        ("verdict", "", "false_alarm", "noise", "cli", "True"),
    ]
    assert {r["by"] for r in rows} == {f"cli:{getpass.getuser()}"}
    listed = told_desk("decisions").stdout
    assert "verdict: false alarm, noise" in listed
    assert re.search(r"^\w+: 0 real, 0 expected, 1 false alarm, 0 new normal; precision 0 % \(95 % CI 0 % to \d+ %\)$",
                     listed, re.MULTILINE)  # fmt: skip


def test_a_decision_can_be_taken_back_by_its_number_or_the_latest(told_desk: Desk) -> None:
    told_desk.decide("acknowledge")
    told_desk.decide("verdict", "real", "--cause", "abuse")
    latest = told_desk.decide("undo")
    assert latest.stdout.splitlines()[0] == "✓ Taken back: verdict: real, abuse."
    assert not told_desk.says("real, abuse") and told_desk.says("Acknowledged by ")
    by_number = told_desk.decide("undo", "1")
    assert by_number.stdout.splitlines()[0] == "✓ Taken back: acknowledged."
    assert not told_desk.says("Acknowledged by ")
    assert told_desk("decisions", told_desk.incident).stdout.count("taken back") == 2
    nothing = told_desk.decide("undo")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr == f"✗ Nothing that counts was decided about {told_desk.incident}.\n"
    assert "There is no decision 99 about" in told_desk.decide("undo", "99").stderr


def test_an_incident_is_found_by_the_name_it_had_before(told_desk: Desk) -> None:
    """Its days were judged anew, and it is told by another onset; what was decided under the old name stands."""
    old = f"{told_desk.incident[:-2]}01"
    acknowledged = Decision(
        "little", old, "acknowledge", By("U00000002", dt.datetime.now(dt.UTC)), "slack", "1.1",
        metric="statements", segment="",
    )  # fmt: skip
    with opened_state(told_desk.deployment.home.state_url) as engine:
        with engine.begin() as connection:
            connection.execute(TOLD.update().values(aliases=json.dumps([old])))
        decisions.record(engine, acknowledged)
    assert told_desk("decide", old, "verdict", "real").returncode == 0
    assert told_desk.says("Acknowledged by <@U00000002>") and told_desk.says("Verdict: real")
    assert [d.incident for d in told_desk.decisions] == [old, told_desk.incident]
    assert told_desk.decide("undo", "1").returncode == 0
    assert not told_desk.says("Acknowledged by")


def test_the_same_decision_twice_is_one(told_desk: Desk) -> None:
    told_desk.decide("acknowledge")
    again = told_desk.decide("acknowledge")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "✗ You have decided this already; nothing changes.\n"
    assert len(told_desk.replies) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("assign",), "assign takes the ID of a Slack user"),
        (("assign", "ana"), "assign takes the ID of a Slack user"),
        (("verdict", "reel"), "verdict takes one of real, expected, false_alarm, new_normal."),
        (("acknowledge", "x"), "acknowledge takes no value."),
        (("acknowledge", "--cause", "x"), "Only a verdict has a cause."),
        (("approve",), "'approve' is not one of"),
    ],
)
def test_wrong_usage_is_explained_and_nothing_is_recorded(
    deployment: Deployment, arguments: tuple[str, ...], said: str
) -> None:
    done = slack(deployment, "decide", "x", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert slack(deployment, "decisions").stdout == "Nothing was decided yet.\n"


def test_an_unknown_incident_is_answered_with_the_nearest(told_desk: Desk) -> None:
    done = slack(told_desk.deployment, "decide", f"{told_desk.incident[:-1]}x", "acknowledge")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"Did you mean '{told_desk.incident}'?\n")
    assert told_desk.server.edits == []


def test_an_incident_that_is_long_over_can_be_judged(deployment: Deployment) -> None:
    table = deployment.pipeline.tables.incidents
    newest = set(table.read(table.days()[-1:], ["id"])["id"].to_pylist())
    over = sorted(set(table.read(None, ["id"])["id"].to_pylist()) - newest)[0]
    assert slack(deployment, "decide", over, "verdict", "expected", "--cause", "season").returncode == 0
    assert "verdict: expected, season" in slack(deployment, "decisions", over).stdout


def test_a_snooze_silences_until_its_date_and_can_be_ended(told_desk: Desk) -> None:
    until = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=40)
    done = told_desk("snooze", "--segment", "platform=App Store", "--until", until.isoformat())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"✓ Snoozed until {wording.day(until)}: everything in App Store.\n")
    assert told_desk.says(f"Snoozed until {wording.day(until)}")
    listed = told_desk("snooze", "--list", "--csv").stdout
    assert list(csv.DictReader(io.StringIO(listed))) == [
        {"until": until.isoformat(), "metric": "", "segment": "platform=App Store", "by": f"cli:{getpass.getuser()}"}
    ]
    assert "everything in App Store" in told_desk("snooze", "--list").stdout
    assert told_desk("snooze", "--remove", "--segment", "platform=App Store").returncode == 0
    assert not told_desk.says("Snoozed until")
    assert told_desk("snooze", "--list").stdout == "Nothing of little is snoozed.\n"
    none = told_desk("snooze", "--remove", "--segment", "platform=App Store")
    assert (none.returncode, none.stdout) == (1, "")
    assert "Nothing that covers this is snoozed." in none.stderr


@pytest.mark.parametrize(
    ("arguments", "scope", "metric", "segment"),
    [
        (("--metric", "statements"), "metric", "statements", ""),
        (("--metric", "statements", "--segment", "platform=TikTok"), "here", "statements", "platform=TikTok"),
        (("--metric", "statements", "--segment", "total"), "here", "statements", ""),
        (("--metric", "delivery", "--segment", "platform=TikTok"), "here", "delivery", "platform=TikTok"),
        (("--segment", "platform=TikTok"), "segment", "", "platform=TikTok"),
    ],
)
def test_what_is_snoozed_follows_from_metric_and_segment(
    deployment: Deployment, arguments: tuple[str, ...], scope: str, metric: str, segment: str
) -> None:
    assert slack(deployment, "snooze", *arguments, "--days", "7").returncode == 0
    [row] = csv.DictReader(io.StringIO(slack(deployment, "decisions", "--csv").stdout))
    assert (row["kind"], row["scope"], row["metric"], row["segment"]) == ("snooze", scope, metric, segment)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--days", "7"), 2, "Give --metric, --segment or both."),
        (("--metric", "statements"), 2, "Give either --until or --days."),
        (("--metric", "statments", "--days", "7"), 1, "Did you mean 'statements'?"),
        (("--segment", "plattform=TikTok", "--days", "7"), 1, "Did you mean 'platform'?"),
        (("--segment", "TikTok", "--days", "7"), 1, "Write it as dimension=value"),
        (("--metric", "statements", "--until", "2025-01-01"), 1, "1 January 2025 is not in the future."),
        (("--metric", "statements", "--until", "soon"), 4, "'soon' is not a day."),
    ],
)
def test_a_snooze_that_can_t_be_is_explained(
    deployment: Deployment, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = slack(deployment, "snooze", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())


# ── Answering clicks ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def listener(told_desk: Desk) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a listening command in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ, **TERMINAL, "HEALTH_PIPELINE_HOME": str(told_desk.deployment.home.root),
            "SLACK_API_URL": told_desk.server.url, "SLACK_BOT_TOKEN": TOKEN, "SLACK_APP_TOKEN": APP_TOKEN,
            "SLACK_SIGNING_SECRET": SIGNING_SECRET, "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        command = [*COMMAND, "slack", *arguments, "-e", str(told_desk.deployment.catalog_folder)]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=40)
    assert (process.returncode, errors) == (0, "")
    return out


def test_clicks_are_answered_in_socket_mode_until_ctrl_c(
    told_desk: Desk, listener: Callable[..., subprocess.Popen[str]]
) -> None:
    server, process = told_desk.server, listener("run")
    wait_for(lambda: server.connected, at_work=process)
    wait_for(lambda: told_desk.says('"acknowledge"'), at_work=process)  # buttons, now that somebody answers
    server.wait_ack(server.interactive(server.click(told_desk.message["ts"], "acknowledge")))
    wait_for(lambda: told_desk.says("Acknowledged by <@U00000002>"), at_work=process)
    wait_for(lambda: server.responses, at_work=process)
    undo = f"health-pipeline slack decide -e {told_desk.deployment.catalog_folder} {told_desk.incident} undo 1"
    assert undo in server.responses[0]["text"]
    out = ended(process)
    assert out.splitlines()[0] == "For eu_dsa, marketplace, little. Ctrl-C stops."
    assert "Listening to Slack.\n" in out and "Not listening any more.\n" in out and out.endswith("Stopped.\n")


def test_clicks_are_answered_over_http_when_slack_has_signed_them(
    told_desk: Desk, listener: Callable[..., subprocess.Popen[str]]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server, process = told_desk.server, listener("http", "--port", str(port))
    wait_for(lambda: told_desk.says('"acknowledge"'), at_work=process)
    body, headers = signed(server.click(told_desk.message["ts"], "acknowledge"))
    url = f"http://127.0.0.1:{port}{PATH}"

    def sent(headers: dict[str, str]) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:  # not listening yet
            return 0

    wait_for(lambda: sent({**headers, "X-Slack-Signature": "v0=00"}), at_work=process)
    assert sent({**headers, "X-Slack-Signature": "v0=00"}) == 401
    assert sent(headers) == 200
    wait_for(lambda: told_desk.says("Acknowledged by <@U00000002>"), at_work=process)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=40)
    assert process.returncode == 0 and out.endswith("Stopped.\n")
    assert f"Answering clicks at {url}.\n" in out and "Not listening any more.\n" in out
    assert "Refused: a request with a wrong, missing or old signature" in errors


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


def test_with_slack_out_of_reach_clicks_are_waited_for_all_the_same(
    told_desk: Desk, listener: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_desk.server, "url", NOWHERE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = listener("http", "--port", str(port))
    wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, at_work=process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    assert out.startswith("! Slack can't be reached")
