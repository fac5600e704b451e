"""An SQL database as a source, over SQLAlchemy."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from health_pipeline.catalog.check import TABLE_NAME
from health_pipeline.catalog.model import Catalog, Selection, Source, Table, TimeZones
from health_pipeline.catalog.secrets import Revealed
from health_pipeline.catalog.yaml_file import did_you_mean
from health_pipeline.errors import UserError
from health_pipeline.raw.reading.drift import listed
from health_pipeline.raw.sources.memory import Progressed
from health_pipeline.raw.sources.rows import RowFile, cutoff, write_rows

if TYPE_CHECKING:
    from sqlalchemy.sql.elements import ColumnElement

CHUNK_ROWS = 20_000
"""Rows held in memory at a time."""
CONNECT_SECONDS = 10
TIMED_DRIVERS = {"psycopg", "psycopg2", "pymysql", "mysqldb"}
"""Those that take a ``connect_timeout``."""
DRIVERS = {"psycopg": ("psycopg[binary]", "postgres"), "psycopg2": ("psycopg2-binary", "")}
"""Module -> what to install, and this project's extra with it."""
WRONG_PASSWORD = re.compile(r"password authentication|no password supplied|access denied|login failed", re.IGNORECASE)

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Query:
    """What is read for one table.

    Attributes:
        columns: those of the contract that the database has, in the contract's order.
        missing: those it lacks and need not have.
        statement: SELECT of ``columns``, all rows.
        since: the column by which it is read a part at a time, ``None`` when it is read whole.
    """

    columns: tuple[str, ...]
    missing: tuple[str, ...]
    statement: sa.Select[Any]
    since: str | None


class Database:
    """A connected database.

    Raises (all its methods):
        UserError: what is wrong, with the source's and the table's name and without any password.
    """

    def __init__(self, catalog: Catalog, source: Source, connection: sa.Connection, revealed: Revealed) -> None:
        self._catalog, self._source = catalog, source
        self._connection, self._revealed = connection, revealed

    def query(self, table: Table, selection: Selection) -> Query:
        """What to read, after a look at which columns there are."""
        relation = self._relation(selection.select)
        with self._explained(table):
            found = self._connection.execute(sa.select(sa.text("*")).select_from(relation).where(sa.false())).keys()
        names = {name.lower(): name for name in found}
        always = (table.day, table.delivered_by, table.version)
        needed = [c.name for c in table.columns if c.required or c.name in always]
        lacking = [name for name in needed if name not in names]
        if lacking:
            hint = did_you_mean(lacking[0], [n for n in names if n not in {c.name for c in table.columns}] or names)
            raise UserError(
                f"{self._where(table)}: {selection.select!r} lacks the column{listed(lacking)}.",
                f"Name it so with AS in a SELECT in sources.yaml. {hint}".strip(),
            )
        columns = tuple(c.name for c in table.columns if c.name in names)
        fields: list[ColumnElement[Any]] = [sa.column(names[name]).label(name) for name in columns]
        since = table.version or (table.day if selection.days_back is not None else None)
        return Query(
            columns=columns,
            missing=tuple(c.name for c in table.columns if c.name not in names),
            statement=sa.select(*fields).select_from(relation),
            since=since and names[since],
        )

    def read(
        self, table: Table, query: Query, overlap: dt.timedelta, before: Progressed | None, scratch: Path,
        progress: Progress,
    ) -> list[RowFile]:  # fmt: skip
        """Rows since the watermark less the overlap, in files; all rows, the first time."""
        statement = query.statement
        if before is not None and before.watermark is not None and query.since:
            start = cutoff(before.watermark, overlap, self.zones(table))
            statement = statement.where(sa.column(query.since) >= start)
        with self._explained(table):
            files = write_rows(table, query.columns, self._chunks(table, statement, progress), scratch)
            self._connection.rollback()  # no transaction stays open while the rows land
            return files

    def newer(self, table: Table, query: Query, before: Progressed | None) -> int:
        """How many rows lie beyond the watermark; all, if there is none."""
        inner = query.statement
        if before is not None and before.watermark is not None and query.since:
            mark = before.watermark
            beyond = mark.value if mark.kind == "text" else cutoff(mark, dt.timedelta(), None)
            inner = inner.where(sa.column(query.since) > beyond)
        with self._explained(table):
            return int(self._connection.execute(sa.select(sa.func.count()).select_from(inner.subquery())).scalar_one())

    def _chunks(self, table: Table, statement: sa.Select[Any], progress: Progress) -> Iterator[Sequence[Sequence[Any]]]:
        """Rows through a cursor on the server, where the driver has one: memory does not grow with the table."""
        rows = 0
        streamed = {"stream_results": True, "yield_per": CHUNK_ROWS}
        with self._connection.execute(statement, execution_options=streamed) as result:
            for chunk in result.partitions(CHUNK_ROWS):
                rows += len(chunk)
                progress(f"Reading {table.name} from {self._source.name}: {rows:,} rows")
                yield chunk

    def _relation(self, select: str) -> sa.FromClause:
        quote = self._connection.dialect.identifier_preparer.quote
        if TABLE_NAME.fullmatch(select):
            return sa.text(".".join(quote(part) for part in select.split(".")))  # type: ignore[return-value]
        query = re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", select.strip().rstrip(";"))  # no colon begins a parameter
        return sa.text(f"({query}\n) AS source")  # type: ignore[return-value]

    def zones(self, table: Table) -> TimeZones | None:
        zones = self._catalog.ecosystem.time_zones
        return zones if zones and any(c.name == zones.column for c in table.columns) else None

    def _where(self, table: Table) -> str:
        return f"Source {self._source.name!r}, table {table.name!r}"

    @contextlib.contextmanager
    def _explained(self, table: Table) -> Iterator[None]:
        """Errors of the database in its own words, without passwords."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._connection.rollback()  # the other tables go on
            if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
                raise UserError(
                    f"{self._where(table)}: the connection broke: {self._revealed.mask(said(error))}.",
                    "Pull again: nothing was lost, and what had been read is not yet noted as read.",
                ) from None
            raise UserError(
                f"{self._where(table)}: the database says: {self._revealed.mask(said(error))}.",
                "Check the name or the SELECT in sources.yaml, and whether this user may read it.",
            ) from None


@contextlib.contextmanager
def connect(catalog: Catalog, source: Source) -> Iterator[Database]:
    """Open a source's database, for reading only where the database can promise that.

    Raises:
        UserError: the URL is wrong, the driver is not installed, the host can't be reached, or the password is wrong.
    """
    revealed = Revealed(source)
    name = f"Source {source.name!r}"
    try:
        url = sa.make_url(revealed.database or "")
        arguments = {"connect_timeout": CONNECT_SECONDS} if url.get_driver_name() in TIMED_DRIVERS else {}
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
    except sa.exc.NoSuchModuleError:
        kind = (source.database or "").partition(":")[0]
        raise UserError(
            f"{name}: there is no driver for {kind!r} databases.",
            "Install the database's SQLAlchemy dialect with pip, or check the beginning of the URL.",
        ) from None
    except (sa.exc.ArgumentError, ValueError):  # its text would hold the URL
        raise UserError(
            f"{name}: its database is not an SQLAlchemy URL.", "Write it like postgresql+psycopg://user@host:5432/name."
        ) from None
    except ImportError as error:
        raise _no_driver(name, error.name or url.get_driver_name()) from None
    try:
        with _connected(name, engine, revealed) as connection:
            yield Database(catalog, source, connection, revealed)
    finally:
        engine.dispose()


@contextlib.contextmanager
def _connected(name: str, engine: sa.Engine, revealed: Revealed) -> Iterator[sa.Connection]:
    shown = revealed.mask(engine.url.render_as_string(hide_password=True))
    if engine.url.get_backend_name() == "sqlite" and not Path(engine.url.database or "").is_file():
        raise UserError(f"{name}: there is no SQLite file {engine.url.database}.", "Check the path in sources.yaml.")
    try:
        connection = engine.connect()
    except ImportError as error:
        raise _no_driver(name, error.name or engine.url.get_driver_name()) from None
    except sa.exc.SQLAlchemyError as error:
        why = revealed.mask(said(error))
        if WRONG_PASSWORD.search(why):
            raise UserError(
                f"{name}: {shown} refuses the user or the password.",
                "Check the environment variables that sources.yaml names.",
            ) from None
        raise UserError(
            f"{name}: {shown} can't be reached: {why}.", "Check host, port and database name, and that it is running."
        ) from None
    with connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
        yield connection


def _no_driver(name: str, module: str) -> UserError:
    package, extra = DRIVERS.get(module, (module, ""))
    also = f" (health-pipeline's extra {extra!r} has it)" if extra else ""
    return UserError(
        f"{name}: the driver {module!r} is not installed.", f"Run: python -m pip install '{package}'{also}."
    )


def said(error: Exception) -> str:
    """What a driver says, on one line, without SQLAlchemy's additions."""
    original = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(original).splitlines() if line.strip()]
    wanted = [line for line in lines if not re.match(r"LINE \d+:|\^|Multiple connection attempts|\[SQL", line)]
    return " ".join(wanted[:2] or [type(original).__name__]).rstrip(".")
