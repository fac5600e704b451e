"""``health-pipeline slack manifest`` and ``setup``, over real sockets to the fake Slack."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from health_pipeline.alerts.app.signed_http import PATH
from health_pipeline.alerts.setup import SCOPES
from health_pipeline.catalog.loader import load_catalog
from health_pipeline_tests.conftest import here
from health_pipeline_tests.fake_slack import APP_TOKEN, SIGNING_SECRET, TOKEN, FakeSlack
from health_pipeline_tests.terminal.slack.place import FAILURES, HEALTH, NOWHERE, Call, Done


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
