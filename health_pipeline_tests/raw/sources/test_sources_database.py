"""Tables of a database are read on from where the last read ended: every new and changed row, once."""

from __future__ import annotations

import datetime as dt
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from health_pipeline.errors import UserError
from health_pipeline.raw.sources import database as database_module
from health_pipeline.raw.sources import pull_all
from health_pipeline_tests.raw.conftest import CATALOG, Shop, age
from health_pipeline_tests.raw.servers import PASSWORD, Database, nobody_listens

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
YESTERDAY = (NOW - DAY).date()


@pytest.fixture
def closed_port() -> Iterator[int]:
    with nobody_listens() as port:
        yield port


def order(name: str, arrived: dt.datetime, gmv: float = 1, market: str = "ID") -> str:
    return (
        "INSERT INTO orders (order_id, market, placed_at, gmv, units, gift, ingested_at) VALUES "
        f"('{name}', '{market}', '{NOW - DAY}', {gmv}, 2, true, '{arrived}')"
    )


def count(day: dt.date, market: str, visits: int) -> str:
    return f"INSERT INTO counts VALUES ('{day}', '{market}', {visits})"


def test_the_first_pull_takes_all_and_the_next_only_what_is_new_or_changed(shop: Shop, database: Database) -> None:
    database.execute(*(order(f"o{i}", NOW - 5 * HOUR + i * MINUTE) for i in range(5)))
    assert shop.pull_rows() == {"orders": 5}
    assert shop.pull_rows() == {}
    database.execute(
        order("o9", NOW - HOUR), f"UPDATE orders SET gmv = 7, ingested_at = '{NOW - HOUR}' WHERE order_id = 'o3'"
    )
    assert shop.pull_rows() == {"orders": 2}
    assert shop.pull_rows() == {}
    assert shop.values("orders", "order_id", "gmv", "units", "gift") == [
        ("o0", 1.0, 2, True), ("o1", 1.0, 2, True), ("o2", 1.0, 2, True), ("o3", 7.0, 2, True), ("o4", 1.0, 2, True),
        ("o9", 1.0, 2, True),
    ]  # fmt: skip
    first = next(r for r in shop.facts("orders") if r["order_id"] == "o3")
    assert first["superseded_at"] == (NOW - HOUR).replace(tzinfo=None)


def test_values_land_in_the_types_of_the_contract(shop: Shop, database: Database) -> None:
    database.execute(order("o1", NOW - HOUR, 12.5), count(YESTERDAY, "ID", 5))
    receipts = [receipt for pulled in shop.pull() for receipt in pulled.receipts]
    assert [(r.table, r.accepted, r.quarantined, r.drift) for r in receipts] == [
        ("orders", 1, 0, ()),
        ("counts", 1, 0, ()),
    ]
    (fact,) = shop.facts("orders")
    assert fact["placed_at"] == (NOW - DAY).replace(tzinfo=None)
    assert fact["gmv"] == 12.5


def test_a_row_committed_late_is_found_within_the_overlap(shop: Shop, database: Database) -> None:
    with database.server.connect(database.name) as slow:
        slow.autocommit = False
        slow.execute(order("slow", NOW - 50 * MINUTE).encode())
        database.execute(order("fast", NOW - 10 * MINUTE))
        assert shop.pull_rows() == {"orders": 1}
        slow.commit()
    assert shop.pull_rows() == {"orders": 1}
    assert shop.values("orders", "order_id") == [("fast",), ("slow",)]


def test_a_row_committed_later_than_the_overlap_is_not_looked_for(database: Database, tmp_path: Path) -> None:
    shop = Shop.open(
        tmp_path,
        f"  - {{name: warehouse, database: '{database.url}', overlap_minutes: 30, tables: {{orders: orders}}}}\n",
    )
    database.execute(order("fast", NOW - 10 * MINUTE))
    assert shop.pull_rows() == {"orders": 1}
    database.execute(order("lost", NOW - 41 * MINUTE), order("found", NOW - 39 * MINUTE))
    assert shop.pull_rows() == {"orders": 1}
    assert shop.values("orders", "order_id") == [("fast",), ("found",)]


def test_a_version_in_the_future_hides_no_other_row(shop: Shop, database: Database) -> None:
    """A clock that is ahead, or a mistake: the row counts, and reading goes on from now, not from then."""
    database.execute(order("ahead", NOW + 10 * HOUR))
    assert shop.pull_rows() == {"orders": 1}
    database.execute(order("now", dt.datetime.now(dt.UTC)))
    assert shop.pull_rows() == {"orders": 1}
    assert shop.pull_rows() == {}
    assert shop.values("orders", "order_id") == [("ahead",), ("now",)]


def test_times_without_a_zone_run_apart_between_markets(database: Database, tmp_path: Path) -> None:
    """Jakarta's clocks are an hour behind Singapore's: its rows must not fall behind the watermark."""
    database.execute("DROP TABLE orders")
    database.execute(
        "CREATE TABLE orders (order_id text, market text, placed_at timestamp, gmv float8, units int, "
        "ingested_at timestamp)"
    )
    shop = Shop.open(
        tmp_path,
        f"  - {{name: warehouse, database: '{database.url}', overlap_minutes: 0, tables: {{orders: orders}}}}\n",
    )
    insert = "INSERT INTO orders VALUES ('{}', '{}', '2026-11-01 08:00', 1, 1, '{}')"
    database.execute(insert.format("a", "SG", "2026-11-01 12:00"))
    assert shop.pull_rows() == {"orders": 1}
    database.execute(insert.format("b", "ID", "2026-11-01 11:01"))
    assert shop.pull_rows() == {"orders": 1}
    assert shop.values("orders", "order_id", "ingested_at") == [
        ("a", dt.datetime(2026, 11, 1, 4, 0)),
        ("b", dt.datetime(2026, 11, 1, 4, 1)),
    ]


def test_without_versions_a_units_day_is_delivered_again_when_anything_in_it_changed(
    shop: Shop, database: Database
) -> None:
    days = [YESTERDAY - i * DAY for i in range(4)]
    database.execute(*(count(day, market, 10) for day in days for market in ("ID", "SG")))
    assert shop.pull_rows() == {"counts": 8}
    assert shop.pull_rows() == {}
    database.execute(f"UPDATE counts SET visits = 11 WHERE day >= '{days[1]}' AND market = 'ID'")
    assert shop.pull_rows() == {"counts": 2}
    database.execute(f"UPDATE counts SET visits = 12 WHERE day = '{days[2]}'")
    assert shop.pull_rows() == {}, "older than days_back"
    database.execute(f"UPDATE counts SET visits = 10 WHERE day = '{days[0]}'")
    assert shop.pull_rows() == {"counts": 1}, "back to what it was is a change too"
    assert shop.values("counts", "day", "market", "visits") == sorted(
        (day, market, 11 if (day, market) == (days[1], "ID") else 10) for day in days for market in ("ID", "SG")
    )


def test_a_correction_in_the_inbox_stands_until_the_source_changes(shop: Shop, database: Database) -> None:
    database.execute(count(YESTERDAY, "ID", 10))
    shop.pull_rows()
    mended = shop.folder / "counts.csv"
    mended.write_text(f"day,market,visits\n{YESTERDAY},ID,99\n")
    shop.landing.receive(mended)
    shop.pull_rows()
    assert shop.values("counts", "visits") == [(99,)]
    database.execute("UPDATE counts SET visits = 11")
    shop.pull_rows()
    assert shop.values("counts", "visits") == [(11,)]


def test_a_query_may_rename_and_holds_what_sql_may_hold(database: Database, tmp_path: Path) -> None:
    shop = Shop.open(
        tmp_path,
        f"""  - name: warehouse
    database: {database.url}
    tables:
      orders: >-
        SELECT order_id, market, placed_at, gmv * 2 AS gmv, units::int, ingested_at FROM orders
        WHERE order_id LIKE 'a%' AND note->>'k' <> 'b:c' AND to_char(placed_at, 'HH24:MI') <> '' -- :all;
""",
    )
    database.execute(order("a1", NOW - HOUR), order("b1", NOW - HOUR), order("a2", NOW - HOUR))
    database.execute("""UPDATE orders SET note = '{"k": "v"}' WHERE order_id <> 'a2'""")
    assert shop.pull_rows() == {"orders": 1}
    assert shop.values("orders", "order_id", "gmv") == [("a1", 2.0)]


def test_a_query_cannot_write(database: Database, tmp_path: Path) -> None:
    shop = Shop.open(
        tmp_path,
        f"  - {{name: warehouse, database: '{database.url}', tables: {{orders: SELECT * FROM taken()}}}}\n",
    )
    database.execute(
        order("o1", NOW - HOUR),
        "CREATE FUNCTION taken() RETURNS SETOF orders LANGUAGE sql AS 'DELETE FROM orders RETURNING *'",
    )
    (problem,) = shop.pull()[0].problems
    assert "read-only transaction" in problem.message


def test_bad_rows_are_quarantined_and_come_once(shop: Shop, database: Database) -> None:
    database.execute(order("bad", NOW - HOUR, -5), order("good", NOW - HOUR))
    shop.pull()
    assert shop.pull_rows() == {}
    (receipt,) = shop.landing.receipts("orders")
    assert (receipt.accepted, receipt.quarantined) == (1, 1)


def test_under_another_contract_all_is_read_again(shop: Shop, database: Database) -> None:
    database.execute(order("o1", NOW - 9 * HOUR, market="TH"), order("o2", NOW - HOUR))
    assert shop.pull_rows() == {"orders": 2}
    assert shop.values("orders", "order_id") == [("o2",)]
    shop.declare(markets="ID, SG, TH")
    assert shop.pull_rows() == {"orders": 2}
    assert shop.values("orders", "order_id") == [("o1",), ("o2",)]


def test_two_sources_may_deliver_one_table(database: Database, tmp_path: Path) -> None:
    exports = tmp_path / "exports" / "orders"
    exports.mkdir(parents=True)
    shop = Shop.open(
        tmp_path,
        f"  - {{name: warehouse, database: '{database.url}', tables: {{orders: orders}}}}\n"
        f"  - {{name: exports, folder: {tmp_path / 'exports'}}}\n",
    )
    database.execute(order("both", NOW - HOUR), order("database", NOW - HOUR))
    header = "order_id,market,placed_at,gmv,units,gift,ingested_at"
    rows = [f"{name},ID,{NOW - DAY},1,2,true,{NOW - HOUR}" for name in ("both", "file")]
    path = exports / "part-0.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    age(path)
    assert shop.pull_rows() == {"orders": 4}
    assert shop.values("orders", "order_id") == [("both",), ("database",), ("file",)]
    assert shop.pull_rows() == {}


def test_two_pulls_at_once_fetch_everything_once(shop: Shop, database: Database) -> None:
    database.execute(*(order(f"o{i}", NOW - HOUR) for i in range(50)))
    pulls = [threading.Thread(target=shop.pull) for _ in range(3)]
    for pull in pulls:
        pull.start()
    for pull in pulls:
        pull.join()
    assert [r.delivered for r in shop.landing.receipts()] == [50]


def test_a_connection_that_breaks_loses_nothing(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "CHUNK_ROWS", 5)
    database.execute(*(order(f"o{i}", NOW - HOUR) for i in range(20)))

    def cut(says: str) -> None:
        if says == "Reading orders from warehouse: 10 rows":
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    orders, counts = pull_all(shop.catalog, shop.landing, cut)
    assert counts.problems == (), "the next table has a connection of its own"
    (problem,) = orders.problems
    assert problem.message.startswith("Source 'warehouse', table 'orders': the connection broke: ")
    assert shop.landing.receipts() == []
    assert shop.pull_rows() == {"orders": 20}


def test_sqlite_with_its_loose_types_is_a_source_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a column holds, chunk by chunk: a bad value costs its row."""
    monkeypatch.setattr(database_module, "CHUNK_ROWS", 2)
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as lite:
        lite.execute("CREATE TABLE orders (order_id, market, placed_at, gmv, units, gift, ingested_at)")
    shop = Shop.open(tmp_path, f"  - {{name: lite, database: 'sqlite:///{file}', tables: {{orders: orders}}}}\n")

    def insert(*rows: tuple[Any, ...]) -> None:
        with sqlite3.connect(file) as lite:
            lite.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    t = "2026-11-01T00:00:00Z"
    insert(
        ("a", "ID", t, 1, 1, None, t), ("b", "ID", t, 1.5, 1, None, t),
        ("c", "ID", t, 1, "many", 1, t), ("d", "ID", "2026-11-01 07:00:00+07:00", "2.5", 2.0, "yes", t),
        ("e", "ID", t, 1, 3, 0, "2026-11-02 00:00:00+07:00"),
    )  # fmt: skip
    (pulled,) = shop.pull()
    assert (pulled.receipts[0].accepted, pulled.receipts[0].reasons) == (4, {"units: not a whole number": 1})
    assert shop.pull_rows() == {}
    insert(("e", "ID", t, 2, 3, 0, "2026-11-02T00:00:00+07:00:30"), ("f", "ID", t, 1, 3, 0, "2026-11-01 16:30:00Z"))
    (pulled,) = shop.pull()
    assert pulled.receipts[0].delivered == 2, "2026-11-01 16:30 UTC is before 2026-11-02 at +07:00, and new"
    assert shop.values("orders", "order_id", "gmv", "units", "gift") == [
        ("a", 1.0, 1, None), ("b", 1.5, 1, None), ("d", 2.5, 2, True), ("e", 1.0, 3, False), ("f", 1.0, 3, False),
    ]  # fmt: skip


def test_a_table_that_fails_does_not_hold_up_the_others(database: Database, tmp_path: Path) -> None:
    shop = Shop.open(
        tmp_path,
        f"  - {{name: gone, database: '{database.url}x', tables: {{orders: orders}}}}\n"
        f"  - {{name: warehouse, database: '{database.url}', tables: {{orders: nothing, counts: counts}}}}\n",
    )
    database.execute(count(YESTERDAY, "ID", 1))
    gone, orders, counts = shop.pull()
    assert (gone.source, gone.table, len(gone.problems)) == ("gone", "", 1)
    assert (orders.table, len(orders.problems)) == ("orders", 1)
    assert (counts.table, [r.accepted for r in counts.receipts]) == ("counts", [1])


def test_a_version_that_the_database_lacks_is_named_even_if_it_may_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "{name: ingested_at, type: timestamp,"
    monkeypatch.setitem(CATALOG, "tables", CATALOG["tables"].replace(version, f"{version} required: false,"))
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as lite:
        lite.execute("CREATE TABLE orders (order_id, market, placed_at, gmv, units)")
        lite.execute("CREATE TABLE counts (day, market, visits)")
        lite.execute(count(YESTERDAY, "ID", 1))
    tables = "{orders: orders, counts: counts}"
    shop = Shop.open(tmp_path, f"  - {{name: lite, database: 'sqlite:///{file}', tables: {tables}}}\n")
    orders, counts = shop.pull()
    says = "Source 'lite', table 'orders': 'orders' lacks the column 'ingested_at'."
    assert [p.message for p in orders.problems] == [says]
    assert [r.accepted for r in counts.receipts] == [1]
    assert [looked.problem and looked.problem.message for looked in shop.look()] == [says, None]


@pytest.mark.parametrize(
    ("declared", "says", "hint"),
    [
        (
            {"user": "nobody"},
            "Source 'w': postgresql+psycopg://nobody:***@127.0.0.1:{port}/{name} refuses the user or the password.",
            "Check the environment variables that sources.yaml names.",
        ),
        ({"port": "{closed}"}, "Source 'w': postgresql+psycopg://reader:***@127.0.0.1:{closed}/{name} can't be "
         "reached: ", "Check host, port and database name, and that it is running."),
        ({"name": "elsewhere"}, "Source 'w': postgresql+psycopg://reader:***@127.0.0.1:{port}/elsewhere can't be "
         "reached: ", "Check host, port and database name, and that it is running."),
        ({"select": "order"}, "Source 'w', table 'orders': the database says: relation \"order\" does not exist.",
         "Check the name or the SELECT in sources.yaml, and whether this user may read it."),
        ({"select": "SELECT * FROM orders ORDER"}, "Source 'w', table 'orders': the database says: syntax error at ",
         "Check the name or the SELECT in sources.yaml, and whether this user may read it."),
        (
            {"select": "SELECT order_id, market, placed_at, gmv, units AS pieces, ingested_at FROM orders"},
            "Source 'w', table 'orders': 'SELECT order_id, market, placed_at, gmv, units AS pieces, ingested_at FROM "
            "orders' lacks the column 'units'.",
            "Name it so with AS in a SELECT in sources.yaml. Known here: pieces.",
        ),
        ({"driver": "mysql+pymysql"}, "Source 'w': the driver 'pymysql' is not installed.",
         "Run: python -m pip install 'pymysql'."),
        ({"driver": "nosuch"}, "Source 'w': there is no driver for 'nosuch' databases.",
         "Install the database's SQLAlchemy dialect with pip, or check the beginning of the URL."),
        ({"port": "abc"}, "Source 'w': its database is not an SQLAlchemy URL.",
         "Write it like postgresql+psycopg://user@host:5432/name."),
        ({"password": "${NOT_SET}"}, "The source 'w' needs the environment variable NOT_SET, which is not set.",
         "Set NOT_SET where health-pipeline runs."),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_in_a_sentence_and_without_the_password(
    declared: dict[str, str], says: str, hint: str, database: Database, closed_port: int, tmp_path: Path
) -> None:
    facts = {"port": str(database.server.port), "name": database.name, "closed": str(closed_port)}
    url = {
        "driver": "postgresql+psycopg",
        "user": "reader",
        "password": "${SHOP_PASSWORD}",
        **facts,
        "select": "orders",
    }
    url |= {key: value.format(**facts) if "$" not in value else value for key, value in declared.items()}
    shop = Shop.open(
        tmp_path,
        "  - name: w\n"
        f"    database: '{url['driver']}://{url['user']}:{url['password']}@127.0.0.1:{url['port']}/{url['name']}'\n"
        f'    tables: {{orders: "{url["select"]}"}}\n',
    )
    for found in ([p for pulled in shop.pull() for p in pulled.problems], [looked.problem for looked in shop.look()]):
        (problem,) = found
        assert isinstance(problem, UserError)
        assert problem.message.startswith(says.format(**facts))
        assert problem.hint == hint
        assert PASSWORD not in "".join(traceback.format_exception(problem))
        assert "hunter2" not in "".join(traceback.format_exception(problem))
    assert shop.landing.receipts() == []


def test_a_look_says_what_a_pull_would_fetch_and_changes_nothing(shop: Shop, database: Database) -> None:
    database.execute(order("o1", NOW - HOUR), order("o2", NOW - HOUR), "ALTER TABLE orders RENAME gift TO present")
    before = sorted(shop.folder.rglob("*"))
    looks = {looked.table: looked for looked in shop.look()}
    assert sorted(shop.folder.rglob("*")) == before
    assert (looks["orders"].new, looks["orders"].missing, looks["orders"].notes) == (2, ("gift",), ("never read",))
    assert (looks["counts"].new, looks["counts"].missing) == (0, ())
    shop.pull()
    database.execute(order("o3", NOW - MINUTE).replace("gift", "present"))
    (looked,) = [looked for looked in shop.look() if looked.table == "orders"]
    assert looked.new == 1
