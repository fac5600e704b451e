"""The state database: what must change all at once and survive a power cut. SQLite by default.

Everything that can be computed again lives in the lake. Here lives what cannot: which messages went out, and
what people decided. :func:`open_state` brings the schema to the version this code knows; :func:`opened_state` also
closes it.

SQLite is opened with a write-ahead log, so that readers never wait for a writer, and with
``synchronous=FULL``: in WAL mode ``NORMAL`` may lose the last commits on a power cut, and an outbox that
forgets a commit posts twice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import ConnectionPoolEntry

from health_pipeline.errors import UserError

HEAD = "0004"
"""Newest revision in ``migrations/versions``."""

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30.0
_URI = "file:"
"""With it begins a name of SQLite's that is no path."""
METADATA = sa.MetaData()
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
_ADVISORY_LOCK = 7_243_391_118  # any number, as long as every process of this product uses the same


class StateError(UserError):
    """The state database can't be opened, or belongs to a newer version."""


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An instant: goes in and comes out as an aware UTC datetime, also where the database has no time zones.

    Raises:
        ValueError: (as ``StatementError``) on a naive datetime.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def open_state(url: str) -> sa.Engine:
    """An engine on the state database, its schema at :data:`HEAD`.

    Safe when several processes open a fresh database at once: the schema changes in one transaction, under a
    lock. With SQLite every ``engine.begin()`` takes the write lock at once, so that no transaction fails
    half-way for having read first; use :func:`reading` where nothing is written.

    Args:
        url: SQLAlchemy URL: ``sqlite:////absolute/path/state.db``, or PostgreSQL for more than one host.

    Raises:
        StateError: the URL is not understood, its driver is not installed, the database does not answer, or
            its schema is newer than this code.
    """
    try:
        parsed = sa.make_url(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        engine = _sqlite(parsed) if sqlite else sa.create_engine(parsed, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        raise _unusable(error) from None
    except OSError as error:
        raise StateError(
            f"The folder of the state database can't be created: {error}.",
            "Choose a folder you can write to.",
        ) from None
    try:
        _migrate(engine)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        shown = parsed.render_as_string(hide_password=True)
        raise StateError(
            f"The state database {shown} does not open: {error.orig}.",
            "Check that it exists or can be created, and that this user may write to it.",
        ) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def state_exists(url: str) -> bool:
    """Whether there is a state database to read from; one on a server is taken to be there.

    Raises:
        StateError: the URL is not understood.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise _unusable(error) from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return True
    return parsed.database.startswith(_URI) or Path(parsed.database).exists()


def _unusable(error: Exception) -> StateError:
    return StateError(
        f"The address of the state database can't be used: {error}.",
        "Write it as sqlite:////absolute/path/state.db, or install the driver it names.",
    )


@contextlib.contextmanager
def opened_state(url: str) -> Iterator[sa.Engine]:
    """:func:`open_state`, closed in the end.

    Raises:
        StateError: as :func:`open_state`.
    """
    engine = open_state(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reading one consistent state; never waits for a writer."""
    with engine.connect().execution_options(state_reads_only=True) as connection:
        yield connection


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database and url.database != ":memory:" and not url.database.startswith(_URI):
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # Python's sqlite3 must not begin or commit on its own: DDL would escape the transaction.
        connection.isolation_level = None
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
            _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        reads_only = connection.get_execution_options().get("state_reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _switch_to_wal(cursor: Any) -> None:
    """Turn the write-ahead log on; the change does not heed SQLite's busy timeout, so wait for it here."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar()


def _migrate(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        if _version(connection) == HEAD:
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if _version(connection) == HEAD:  # another process was first
            return
        # Importing Alembic takes longer than everything else here: only when there is something to migrate.
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:
            raise StateError(
                f"The state database is at version {_version(connection)}, which this program does not know.",
                "A newer version has opened it: upgrade health-pipeline here too.",
            ) from None
