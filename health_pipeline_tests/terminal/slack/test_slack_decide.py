"""``health-pipeline slack decide``, ``snooze`` and ``decisions``, over real sockets to the fake Slack."""

from __future__ import annotations

import csv
import datetime as dt
import getpass
import io
import json
import re

import pytest

from health_pipeline.alerts.people import decisions
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By
from health_pipeline.alerts.people.told import TOLD
from health_pipeline.incidents import wording
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.terminal.slack.place import Desk, Place

pytestmark = pytest.mark.usefixtures("clock")


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
    with opened_state(told_desk.place.home.state_url) as engine:
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
def test_wrong_usage_is_explained_and_nothing_is_recorded(judged: Place, arguments: tuple[str, ...], said: str) -> None:
    done = judged.slack("decide", "x", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert judged.slack("decisions").stdout == "Nothing was decided yet.\n"


def test_an_unknown_incident_is_answered_with_the_nearest(told_desk: Desk) -> None:
    done = told_desk.place.slack("decide", f"{told_desk.incident[:-1]}x", "acknowledge")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"Did you mean '{told_desk.incident}'?\n")
    assert told_desk.server.edits == []


def test_an_incident_that_is_long_over_can_be_judged(judged: Place) -> None:
    table = judged.pipeline.tables.incidents
    newest = set(table.read(table.days()[-1:], ["id"])["id"].to_pylist())
    over = sorted(set(table.read(None, ["id"])["id"].to_pylist()) - newest)[0]
    assert judged.slack("decide", over, "verdict", "expected", "--cause", "season").returncode == 0
    assert "verdict: expected, season" in judged.slack("decisions", over).stdout


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
    judged: Place, arguments: tuple[str, ...], scope: str, metric: str, segment: str
) -> None:
    assert judged.slack("snooze", *arguments, "--days", "7").returncode == 0
    [row] = csv.DictReader(io.StringIO(judged.slack("decisions", "--csv").stdout))
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
def test_a_snooze_that_can_t_be_is_explained(judged: Place, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = judged.slack("snooze", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
