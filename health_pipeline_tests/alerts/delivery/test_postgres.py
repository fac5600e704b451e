"""The outbox on PostgreSQL: the same schema, and every kind of row once, with several deliverers at work."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.people import told
from health_pipeline.alerts.people.told import Asked, Said
from health_pipeline.alerts.post import refresh
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import METADATA, opened_state, reading
from health_pipeline_tests.alerts.conftest import TIMEOUT
from health_pipeline_tests.alerts.delivery.test_followers import intent, run, states
from health_pipeline_tests.alerts.follow import DAY, NOON, fall
from health_pipeline_tests.alerts.people.test_told import version
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.alerts.test_post_newest import QUEUED_ONCE, UNITS, planned_at_once
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock
from health_pipeline_tests.raw.servers import PASSWORD, Postgres, run_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def state_url(postgres: Postgres) -> str:
    return new_database(postgres)


def new_database(postgres: Postgres) -> str:
    return postgres.database().url.replace("${SHOP_PASSWORD}", quote(PASSWORD, safe=""))


def test_the_schema_is_the_one_that_the_code_declares(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_what_was_told_in_earlier_versions_is_taken_over(postgres: Postgres) -> None:
    """A row of what was told, and a message from before there were such rows."""
    url, said = new_database(postgres), Said("open", "P2", since=NOON)
    packed = dict.fromkeys(("worsened_on", "snoozed", "renewed", "before")) | {
        "phase": "open", "severity": "P2", "acknowledged": "", "assigned": "", "judged": "", "overdue": True,
        "since": NOON.isoformat(), "charted": DAY.isoformat(), "asked": "q", "since_key": "", "spent": ["a0"],
    }  # fmt: skip
    older = f"eu_dsa:incident:{fall('Bob').id}:open"
    with version("0003", url) as connection:
        outbox.add(connection, Message(older, "#here", "b", ()), ecosystem="eu_dsa")
        connection.execute(
            sa.text(
                "INSERT INTO told VALUES ('a', 'eu_dsa', 'a', '[]', 'own', 'a', 'a', 'a', '#here', 'P2', 'open', "
                ":said, '', 1, 1, NULL, :day, :at, :at, false)"
            ),
            {"said": json.dumps(packed), "day": DAY, "at": NOON},
        )
    with opened_state(url) as engine, reading(engine) as connection:
        rows = {row.first_key: row for row in told.read(connection, "eu_dsa")}
    a, b = rows["a"], rows[older]
    assert (a.said, a.all_keys, a.charted, a.asked, a.told_at) == (said, ("a0", "a"), DAY, Asked("q", NOON), NOON)
    assert (b.incident, b.said, b.all_keys, b.day, b.finished) == (fall("Bob").id, None, (older,), DAY, False)


def test_every_kind_arrives_once_and_in_order_from_several_deliverers(
    engine: sa.Engine, server: FakeSlack, state_url: str, clock: HandClock
) -> None:
    posts = [f"p{n}" for n in range(6)]
    for key in posts:
        assert outbox.enqueue(engine, Message(key, "#ecosystem-health", key, ()), ecosystem="eu_dsa")
        for kind, name in (("edit", "e1"), ("reply", "r1"), ("upload", "u"), ("edit", "e2"), ("reply", "r2")):
            assert outbox.enqueue(engine, intent(kind, f"{key}{name}", of=key), ecosystem="eu_dsa")  # type: ignore[arg-type]
    assert not outbox.enqueue(engine, Message("p0", "#ecosystem-health", "again", ()), ecosystem="eu_dsa")
    server.faults["chat.postMessage"].extend(["", "drop_after", "rate_limited", "", "", "drop_before"])
    server.faults["files.completeUploadExternal"].append("drop_after")

    def one() -> int:
        with opened_state(state_url) as own:
            return run(own, Slack(TOKEN, base_url=server.url, timeout=TIMEOUT)).sent

    assert sum(clock.at_once(one, times=3)) == 5 * len(posts)
    assert Counter(states(engine).values()) == {"sent": 5 * len(posts), "superseded": len(posts)}
    by_key = {e.intent.key: e for e in backlog.entries(engine)}
    for key in posts:
        post = next(m for m in server.messages if m["ts"] == by_key[key].ts)
        assert post["text"] == f"Text of {key}e2."
        assert [m["text"] for m in server.thread(post["ts"])] == [f"Text of {key}{name}." for name in ("r1", "u", "r2")]
    (channel,) = backlog.channels(engine)
    assert (channel.pending, channel.doubtful, channel.held) == (0, 0, 0)


def test_held_followers_are_freed_with_their_post(engine: sa.Engine, clock: HandClock) -> None:
    assert outbox.enqueue(engine, Message("h", "#nowhere", "h", ()), ecosystem="marketplace")
    assert outbox.enqueue(engine, intent("reply", "hr", of="h"), ecosystem="marketplace")
    clock.forward(seconds=1)
    assert outbox.hold_older(engine, clock.now(), ecosystem="marketplace") == 2
    assert outbox.requeue(engine, "h")
    assert backlog.counts(engine, ecosystem="marketplace")["pending"] == 2
    assert outbox.supersede(engine, "h", "Retracted.")
    rows = backlog.entries(engine, ecosystem="marketplace")
    assert [(row.state, row.last_error) for row in rows] == [("superseded", "Retracted.")] * 2


def test_processes_that_plan_at_the_same_time_tell_everything_once(
    engine: sa.Engine, tmp_path: Path, state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    with engine.begin() as connection:
        connection.execute(outbox.OUTBOX.delete())
    found = planned_at_once(tmp_path / "lake", state_url)
    assert found.queued == QUEUED_ONCE
    assert max(Counter(found.keys).values()) == 1
    assert found.versions == {fall(unit).id: 3 for unit in UNITS}


def test_a_plan_whose_message_leaves_in_the_instant_in_which_it_is_dropped_is_made_anew(
    engine: sa.Engine, tmp_path: Path, state_url: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    with engine.begin() as connection:
        connection.execute(told.TOLD.delete())
        connection.execute(outbox.OUTBOX.delete())
    record = Record(tmp_path / "lake")
    record.judge(DAY, fall("Ada"))
    refresh(catalog, record.sources, state_url, now=NOON)
    record.judge(DAY)
    drop = outbox.drop

    def overtaken(connection: sa.Connection, key: str, why: str) -> bool:
        claimed = outbox.claim(engine, patience=dt.timedelta(hours=1), interval=dt.timedelta(0))
        if claimed is not None:  # on the first try: then it is under way
            assert outbox.begin(engine, claimed)
        return drop(connection, key, why)

    monkeypatch.setattr(outbox, "drop", overtaken)
    posted = refresh(catalog, record.sources, state_url, now=NOON)
    assert [intent.kind for intent in posted.plan.intents] == ["edit", "reply"]
    assert states(engine)[f"eu_dsa:incident:{fall('Ada').id}:open"] == "sending"
