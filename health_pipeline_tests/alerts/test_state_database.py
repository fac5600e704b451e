"""The state database: one schema, made once, that survives what processes do to it."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from health_pipeline.alerts.delivery import backlog, clock, outbox
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.people import decisions, told
from health_pipeline.storage.state import (
    HEAD,
    METADATA,
    MIGRATIONS,
    StateError,
    UtcDateTime,
    open_state,
    reading,
    state_exists,
)


def test_the_migrations_make_the_tables_that_the_code_declares(engine: sa.Engine) -> None:
    for table in (outbox.OUTBOX, outbox.CHANNELS, told.TOLD, told.PLANS, decisions.DECISIONS):
        assert table.metadata is METADATA
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_sqlite_keeps_a_commit_through_a_power_cut_and_lets_readers_read(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        found = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    with engine.begin(), reading(engine) as reader:
        assert reader.execute(sa.select(sa.func.count()).select_from(outbox.OUTBOX)).scalar() == 0


def test_opening_it_again_does_not_import_alembic(engine: sa.Engine, state_url: str) -> None:
    script = (
        "import sys; from health_pipeline.storage.state import open_state; "
        f"open_state({state_url!r}); assert 'alembic' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_processes_that_create_it_at_once_all_succeed(state_url: str) -> None:
    script = f"from health_pipeline.storage.state import open_state; open_state({state_url!r})"
    processes = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(3)]
    assert [p.communicate()[1] for p in processes] == [b""] * 3
    assert [p.returncode for p in processes] == [0] * 3
    assert backlog.counts(open_state(state_url))["pending"] == 0


def test_the_outbox_of_the_first_version_is_kept_row_by_row(state_url: str, engine: sa.Engine) -> None:
    engine.dispose()
    Path(sa.make_url(state_url).database or "").unlink()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    old = sa.create_engine(state_url)
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for state in ("pending", "sending", "sent", "held"):
            connection.exec_driver_sql(
                "INSERT INTO outbox (key, ecosystem, channel, payload, state, attempts, created_at, attempted_at, "
                "channel_id, ts) VALUES (?, 'eu_dsa', '#here', '{\"text\": \"x\", \"blocks\": []}', ?, 1, "
                "'2025-07-01 12:00:00', '2025-07-01 12:00:01', 'C1', '1.000001')",
                (f"of {state}", state),
            )
    old.dispose()
    new = open_state(state_url)
    found = backlog.entries(new)
    assert {e.intent.key: (e.state, e.intent.kind, e.intent.of) for e in found} == {
        f"of {state}": (state, "post", "") for state in ("pending", "sending", "sent", "held")
    }
    assert {(e.ts, e.channel_id, e.attempts) for e in found} == {("1.000001", "C1", 1)}
    reply = Intent("r", "#here", "reply", "of sent", text="x")
    assert outbox.enqueue(new, reply, ecosystem="eu_dsa"), "what was told by the first version can be followed up"
    with reading(new) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    new.dispose()


def test_the_database_refuses_states_and_followers_that_cannot_be(engine: sa.Engine) -> None:
    row = {"key": "a", "ecosystem": "e", "channel": "c", "payload": "{}", "state": "pending", "attempts": 0,
           "created_at": clock.now()}  # fmt: skip
    for wrong in ({"state": "lost"}, {"kind": "reply"}, {"kind": "wave", "parent": "b"}, {"parent": "b"}):
        with pytest.raises(sa.exc.IntegrityError, match="CHECK"), engine.begin() as connection:
            connection.execute(outbox.OUTBOX.insert().values(row | wrong))
    with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"), engine.begin() as connection:
        for _ in range(2):
            connection.execute(outbox.OUTBOX.insert().values(row))


def test_a_failed_migration_leaves_nothing_behind(state_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = command.upgrade

    def fails_at_the_end(*args: object) -> None:
        upgrade(*args)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    monkeypatch.setattr(command, "upgrade", fails_at_the_end)
    with pytest.raises(RuntimeError):
        open_state(state_url)
    monkeypatch.undo()
    bare = sa.create_engine(state_url)
    assert sa.inspect(bare).get_table_names() == []
    bare.dispose()
    assert backlog.counts(open_state(state_url))["pending"] == 0


def test_a_database_of_a_newer_version_is_left_alone(engine: sa.Engine, state_url: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateError, match=r"version 9999.*\n.*upgrade health-pipeline"):
        open_state(state_url)


@pytest.mark.parametrize("url", ["nonsense", "nodialect://x/y", "sqlite:////proc/state.db"])
def test_an_address_that_cannot_work_is_explained(url: str) -> None:
    with pytest.raises(StateError):
        open_state(url)


def test_whether_there_is_one_is_asked_of_any_address_without_making_one(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    plain, uri = f"sqlite:///{path}", f"sqlite:///file:{path}?uri=true"
    assert not state_exists(plain)
    assert list(tmp_path.iterdir()) == []
    open_state(uri).dispose()
    assert state_exists(plain) and state_exists(uri)
    assert state_exists("postgresql+psycopg://user@localhost/health")
    with pytest.raises(StateError, match="sqlite:////absolute/path"):
        state_exists("nonsense")


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("this is not a database, it only has its name" * 100)
    with pytest.raises(StateError, match="does not open"):
        open_state(f"sqlite:///{tmp_path / 'state.db'}")


def test_instants_come_back_in_utc_and_naive_ones_are_refused(engine: sa.Engine) -> None:
    berlin = dt.timezone(dt.timedelta(hours=2))
    at = dt.datetime(2025, 7, 1, 12, tzinfo=berlin)
    with reading(engine) as connection:
        found = connection.execute(sa.select(sa.literal(at, UtcDateTime()))).scalar()
        assert found == at
        assert found.tzinfo == dt.UTC
        with pytest.raises(sa.exc.StatementError, match="no time zone"):
            connection.execute(sa.select(sa.literal(dt.datetime(2025, 7, 1), UtcDateTime())))
