"""``health-pipeline slack outbox`` and ``preview``: what waits, and what would be told."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from pathlib import Path

import pytest

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.post import refresh
from health_pipeline.charts_incident import incident_drawing
from health_pipeline.home import Home
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.conftest import here
from health_pipeline_tests.fake_slack import APP_TOKEN
from health_pipeline_tests.terminal.slack.place import HEALTH, Place

NONE = dt.timedelta()
HEADER = re.compile(r"^│ \S+ · P1 · App Store: statements .* up ", re.MULTILINE)
"""Of the message about what is to be told."""


@pytest.fixture
def queued(tmp_path: Path) -> dict[str, str]:
    """A home whose outbox holds three messages of `little`, one of them held; the environment that leads there."""
    with opened_state(f"sqlite:///{tmp_path / 'state.db'}") as engine:
        for key in ("little:a", "little:b", "little:c"):
            block = {"type": "section", "text": {"type": "plain_text", "text": "A sentence."}}
            outbox.enqueue(engine, Message(key, "#ops", f"About {key}, and more", (block,)), ecosystem="little")
        claim = outbox.claim(engine, patience=NONE, interval=NONE)
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


def test_what_would_be_told_is_shown_without_a_token_and_without_telling_it(shifted: Place) -> None:
    with opened_state(shifted.home.state_url) as engine:
        before = backlog.entries(engine)
    done = shifted.slack("preview")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("By the incidents of 30 September 2025: 1 message. A digest is posted at 08:30 ")
    assert re.search(r"^#ecosystem-health ─", done.stdout, re.MULTILINE)
    assert HEADER.search(done.stdout)
    assert "[Acknowledge]" not in done.stdout
    assert "[Acknowledge]" in shifted.slack("preview", "--anew", SLACK_APP_TOKEN=APP_TOKEN).stdout
    with opened_state(shifted.home.state_url) as engine:
        assert backlog.entries(engine) == before


def test_what_is_told_already_is_not_to_be_told_again_but_anew(shifted: Place) -> None:
    pipeline = shifted.pipeline
    draw = incident_drawing(pipeline.catalog, pipeline.series_sources)
    refresh(pipeline.catalog, pipeline.alert_sources, shifted.home.state_url, draw=draw)
    waiting = shifted.slack("preview")
    assert "1 message, 1 chart. 2 of this waits in the outbox already." in waiting.stdout
    assert HEADER.search(waiting.stdout)
    with opened_state(shifted.home.state_url) as engine, engine.begin() as connection:
        connection.execute(outbox.OUTBOX.update().values(state="sent", ts="1.000001", channel_id=HEALTH))
    told = shifted.slack("preview")
    assert "Nothing new is to be told." in told.stdout and not HEADER.search(told.stdout)
    anew = shifted.slack("preview", "--anew")
    assert "As if nobody had been told of anything yet." in anew.stdout and HEADER.search(anew.stdout)


def test_the_page_has_the_chart_and_what_is_not_told_with_the_reason(shifted: Place, tmp_path: Path) -> None:
    page = tmp_path / "told.html"
    done = shifted.slack("preview", "--html", str(page), "--anew")
    assert (done.returncode, done.stdout) == (0, f"✓ {page}\n")
    html = page.read_text(encoding="utf-8")
    assert "App Store: statements" in html and "data:image/png;base64," in html
    newest = shifted.pipeline.tables.incidents.read(shifted.pipeline.tables.incidents.days()[-1:])
    open_ = [row for row in newest.to_pylist() if row["state"] in ("new", "worsening", "ongoing")]
    assert len(re.findall(r"<dt>", html)) == len(open_) - 1 > 0
    assert "it is no news any more</dd>" in html
    nowhere = shifted.slack("preview", "--html", str(tmp_path / "no" / "told.html"))
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("✗ Can't write ")


def test_nothing_judged_is_nothing_to_show(little: Path, tmp_path: Path) -> None:
    done = Place(little, Home(tmp_path)).slack("preview")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"✗ No incident was judged yet.\n  Run `health-pipeline run -e {little}` first.\n")
