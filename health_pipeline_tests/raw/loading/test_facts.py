"""The facts of tables whose rows have versions: a function of the set of delivered rows, whatever the deliveries."""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog, Derived
from health_pipeline.errors import CatalogError
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.loading import facts as facts_of
from health_pipeline.raw.loading.facts import BATCH_ROWS, by_day, derivation, succeeded
from health_pipeline.raw.schema import facts_schema
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import CHUNK_ROWS, Lake, LakeTable

ENGINE = Engine()
START = dt.date(2026, 7, 1)
TABLES = """
tables:
  - name: orders
    title: Orders
    description: Orders; a refund is a later version.
    key: [order_id]
    day: placed_at
    delivered_by: market
    version: ingested_at
    lateness_days: 60
    cluster: creator
    columns:
      - {name: order_id, type: text, description: identifier}
      - {name: creator, type: text, description: whose content led to it}
      - {name: market, type: text, description: where, values: [ID, TH]}
      - {name: placed_at, type: timestamp, description: when}
      - {name: gmv, type: number, description: value}
      - {name: items, type: integer, required: false, description: how many}
      - {name: refunded_at, type: timestamp, required: false, description: when it was refunded}
      - {name: ingested_at, type: timestamp, description: when this version arrived}
    derived:
      - {name: hours_to_refund, type: number, sql: "date_diff('second', placed_at, refunded_at) / 3600.0",
         description: hours}
      - {name: large, type: boolean, sql: "gmv >= 2", description: of some value}
  - name: queue
    title: Open cases
    description: Cases open at the end of a day.
    key: [day, case_id]
    day: day
    delivered_by: market
    version: ingested_at
    lateness_days: 60
    columns:
      - {name: day, type: date, description: the day}
      - {name: case_id, type: integer, description: identifier}
      - {name: market, type: text, description: where}
      - {name: age, type: number,
         description: hours}
      - {name: ingested_at, type: timestamp, description: when this version arrived}
"""
METRICS = """
dimensions: [{name: market, title: Market}]
metrics:
  - {name: orders, title: Orders, description: Orders., type: count, unit: orders, bad: down, owner: t,
     numerator: {sum: "1"}, by: [market], family: orders}
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "tables.yaml").write_text(TABLES)
    (folder / "metrics.yaml").write_text(METRICS)
    (folder / "ecosystem.yaml").write_text(f"name: shop\ntitle: Shop\ndescription: A shop.\nstart: {START}\n")
    return load_catalog(str(folder))


class Shop:
    """An ecosystem of two tables over a lake of its own."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog, self.folder = catalog, folder
        self.lake = Lake(folder / "lake", "shop")
        self.landing = Landing(self.lake, catalog)
        self.number = itertools.count()

    def table(self, name: str) -> LakeTable:
        return self.lake.table("raw", name, facts_schema(self.catalog.table(name)))

    def deliver(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        columns = {c.name: [r.get(c.name) for r in rows] for c in self.catalog.table(name).columns}
        path = self.folder / f"{name}-{next(self.number)}.parquet"
        pq.write_table(pa.table(columns), path)
        self.landing.receive(path)

    def load(self, name: str, days: Sequence[dt.date] | None = None) -> list[dt.date]:
        """Bring the facts up to date; the days whose rows changed."""
        step = derivation(self.landing, ENGINE, self.catalog.table(name), self.table(name))
        return derive(step, days if days is not None else self.landing.days(name)).changed

    def facts(self, name: str) -> list[dict[str, Any]]:
        self.load(name)
        return self.table(name).read().to_pylist()

    def contents(self) -> dict[str, list[str]]:
        """Content hashes of every day of both tables."""
        found = {}
        for name in ("orders", "queue"):
            self.load(name)
            found[name] = [self.table(name).partition(day).content for day in self.table(name).days()]  # type: ignore[union-attr]
        return found


@pytest.fixture
def shop(catalog: Catalog, workplace: Path) -> Shop:
    return Shop(catalog, Path(tempfile.mkdtemp(dir=workplace)))


def order(number: int = 1, version: int = 0, gmv: float = 1.0, day: int = 0, **others: Any) -> dict[str, Any]:
    placed = dt.datetime(2026, 7, 1, 12) + dt.timedelta(days=day)
    row = {"order_id": f"o{number}", "creator": f"c{number % 3}", "market": "ID", "placed_at": placed, "gmv": gmv,
           "ingested_at": placed + dt.timedelta(hours=1 + version)}  # fmt: skip
    return row | others


def case(number: int, version: int, age: float, day: int) -> dict[str, Any]:
    date = START + dt.timedelta(days=day)
    arrived = dt.datetime.combine(date, dt.time(23)) + dt.timedelta(hours=version)
    return {"day": date, "case_id": number, "market": "TH", "age": age, "ingested_at": arrived}


def test_every_version_is_kept_with_the_instant_of_its_successor(shop: Shop) -> None:
    shop.deliver("orders", [order(version=2, gmv=3.0), order(version=0)])
    shop.deliver("orders", [order(version=1, gmv=2.0), order(number=2)])
    rows = shop.facts("orders")
    at = {n: order(version=n)["ingested_at"] for n in range(3)}
    assert [(r["order_id"], r["gmv"], r["ingested_at"], r["superseded_at"]) for r in rows] == [
        ("o1", 1.0, at[0], at[1]), ("o1", 2.0, at[1], at[2]), ("o1", 3.0, at[2], None), ("o2", 1.0, at[0], None),
    ]  # fmt: skip


def test_the_current_state_and_that_of_any_moment_are_one_condition_each(shop: Shop) -> None:
    for version, gmv in ((0, 1.0), (1, 2.0), (2, 4.0)):
        shop.deliver("orders", [order(version=version, gmv=gmv)])
    shop.load("orders")
    facts = shop.table("orders").read()

    def total(condition: str) -> float | None:
        with duckdb.connect() as connection:
            connection.register("facts", facts)
            [(found,)] = connection.execute(f"SELECT sum(gmv) FROM facts WHERE {condition}").fetchall()
        return found

    assert total("superseded_at IS NULL") == 4.0
    for moment, known in (("2026-07-01 12:59", None), ("2026-07-01 13:00", 1.0), ("2026-07-01 14:30", 2.0),
                          ("2026-07-01 15:00", 4.0)):  # fmt: skip
        as_of = f"ingested_at <= '{moment}' AND (superseded_at IS NULL OR superseded_at > '{moment}')"
        assert total(as_of) == known, moment


def test_a_key_on_two_days_has_versions_of_its_own_on_each(shop: Shop) -> None:
    shop.deliver("orders", [order(day=0), order(day=1, version=3)])
    assert [r["superseded_at"] for r in shop.facts("orders")] == [None, None]
    shop.deliver("queue", [case(1, 0, 1.0, day=0), case(1, 0, 2.0, day=1)])
    assert [r["superseded_at"] for r in shop.facts("queue")] == [None, None]


def test_loading_adds_derived_columns_and_the_cluster(shop: Shop) -> None:
    shop.deliver("orders", [order(number=n, refunded_at=dt.datetime(2026, 7, 2, 15)) for n in range(3)])
    shop.deliver("orders", [order(number=3, gmv=2.5)])
    rows = shop.facts("orders")
    assert [r["hours_to_refund"] for r in rows] == [27.0, 27.0, 27.0, None]
    assert [r["large"] for r in rows] == [False, False, False, True]
    [(first,)] = duckdb.execute("SELECT CAST(('0x' || substr(md5('c0'), 1, 2)) AS INTEGER) % 64").fetchall()
    assert [r["cluster"] for r in rows if r["creator"] == "c0"] == [first, first]
    assert len({r["cluster"] for r in rows}) > 1
    assert rows[0]["day"] == START
    assert shop.table("orders").read().schema == facts_schema(shop.catalog.table("orders"))


def test_a_late_version_changes_its_day_and_no_other(shop: Shop) -> None:
    days = [START + dt.timedelta(days=n) for n in range(4)]
    shop.deliver("orders", [order(number=n, day=n) for n in range(4)])
    assert shop.load("orders") == days
    shop.deliver("orders", [order(number=2, day=2, version=40, gmv=9.0), order(number=1, day=1)])
    assert shop.load("orders") == [days[2]], "and an old version that comes again changes nothing"


def test_a_division_by_zero_in_a_derived_column_is_no_value(catalog: Catalog, workplace: Path) -> None:
    inverse = Derived(name="inverse", type="number", sql="1.0 / (items - 1)", description="infinite for one item")
    orders = catalog.table("orders").model_copy(update={"derived": (*catalog.table("orders").derived, inverse)})
    shop = Shop(
        catalog.model_copy(update={"tables": (orders, catalog.table("queue"))}), Path(tempfile.mkdtemp(dir=workplace))
    )
    shop.deliver("orders", [order(items=1), order(number=2, items=3)])
    assert [r["inverse"] for r in shop.facts("orders")] == [None, 0.5]


def test_a_mistake_in_a_derived_column_names_it(catalog: Catalog, workplace: Path) -> None:
    wrong = Derived(name="too_much", type="integer", sql="items * 9000000000000000000", description="overflows")
    orders = catalog.table("orders").model_copy(update={"derived": (*catalog.table("orders").derived, wrong)})
    shop = Shop(
        catalog.model_copy(update={"tables": (orders, catalog.table("queue"))}), Path(tempfile.mkdtemp(dir=workplace))
    )
    shop.deliver("orders", [order(items=1)])
    assert [r["too_much"] for r in shop.facts("orders")] == [9_000_000_000_000_000_000]
    shop.deliver("orders", [order(number=2, items=2)])
    with pytest.raises(CatalogError) as caught:
        shop.load("orders")
    assert caught.value.message.startswith("The derived column 'too_much' of orders can't be computed: Out of Range")
    assert caught.value.hint == "Correct its `sql` in tables.yaml: items * 9000000000000000000"
    assert [r["too_much"] for r in shop.table("orders").read().to_pylist()] == [9_000_000_000_000_000_000]


# Few keys, versions and values: rows that repeat or contradict each other are the rule.
ORDERS = st.builds(
    order, number=st.integers(1, 2), version=st.integers(0, 1), gmv=st.sampled_from([0.0, -0.0, 2.5]),
    day=st.integers(0, 1), items=st.none() | st.just(2), market=st.sampled_from(["ID", "TH"]),
)  # fmt: skip
CASES = st.builds(
    case, number=st.just(1), version=st.integers(0, 1), age=st.sampled_from([0.0, -0.0, 3.5]), day=st.integers(0, 1)
)
ROWS = st.tuples(st.lists(ORDERS, min_size=1, max_size=12), st.lists(CASES, min_size=1, max_size=8))


def dealt(data: st.DataObject, rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Files that hold all of the rows between them: cut anywhere, some rows and files several times, in any order."""
    shuffled = data.draw(st.permutations(rows))
    again = data.draw(st.lists(st.sampled_from(shuffled), max_size=4))
    everything = data.draw(st.permutations([*shuffled, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(everything)), max_size=3)))
    files = [everything[a:b] for a, b in itertools.pairwise([0, *cuts, len(everything)]) if a < b]
    return data.draw(st.permutations([*files, *data.draw(st.lists(st.sampled_from(files), max_size=2))]))


@settings(max_examples=10, deadline=None)
@given(rows=ROWS, data=st.data())
def test_facts_are_the_same_however_rows_are_divided_ordered_and_repeated(
    catalog: Catalog, workplace: Path, rows: tuple[list[dict[str, Any]], list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Also of rows with the same key and version and other values: the same one counts always."""
    at_once, in_pieces = (Shop(catalog, Path(tempfile.mkdtemp(dir=workplace))) for _ in range(2))
    for name, own in zip(("orders", "queue"), rows, strict=True):
        at_once.deliver(name, own)
    deliveries = [
        (name, file) for name, own in zip(("orders", "queue"), rows, strict=True) for file in dealt(data, own)
    ]
    for number, (name, file) in enumerate(data.draw(st.permutations(deliveries))):
        in_pieces.deliver(name, file)
        if number % 2:
            in_pieces.load(name)
    assert in_pieces.contents() == at_once.contents()
    current = {name: [r for r in in_pieces.facts(name) if r["superseded_at"] is None] for name in ("orders", "queue")}
    for (name, found), own in zip(current.items(), rows, strict=True):
        key = catalog.table(name).key
        newest = {(str(r.get("day") or r["placed_at"].date()), *(r[k] for k in key)): r["ingested_at"]
                  for r in sorted(own, key=lambda r: r["ingested_at"])}  # fmt: skip
        assert {(str(r["day"]), *(r[k] for k in key)): r["ingested_at"] for r in found} == newest


@settings(max_examples=50, deadline=None)
@given(st.lists(ORDERS, min_size=1, max_size=15), st.lists(st.integers(0, 15), max_size=4))
def test_versions_meet_their_successors_wherever_batches_end(
    catalog: Catalog, rows: list[dict[str, Any]], cuts: list[int]
) -> None:
    table = catalog.table("orders")
    with duckdb.connect() as connection:
        connection.register("given", pa.Table.from_pylist(rows, schema=facts_schema(table)))
        ordered = connection.sql(
            "SELECT * EXCLUDE (superseded_at) REPLACE (CAST(placed_at AS DATE) AS day) FROM given "
            "ORDER BY 9, order_id, ingested_at"
        ).to_arrow_table()
    edges = sorted({0, *(min(c, ordered.num_rows) for c in cuts), ordered.num_rows})
    pieces = [ordered.slice(a, b - a).combine_chunks().to_batches() for a, b in itertools.pairwise(edges)]

    def marked(batches: Sequence[pa.RecordBatch]) -> pa.Table:
        return pa.Table.from_batches(succeeded(batches, table), facts_schema(table))

    whole = marked(ordered.combine_chunks().to_batches())
    assert marked([batch for piece in pieces for batch in piece]).equals(whole)
    assert whole.num_rows == len({(r["order_id"], r["placed_at"].date(), r["ingested_at"]) for r in rows})


def test_rows_are_cut_into_days_and_those_of_other_days_are_left_out() -> None:
    days = [START + dt.timedelta(days=n) for n in range(6)]
    rows = pa.table({"day": [days[0]] * 3 + [days[1]] + [days[3]] * 2 + [days[4]], "n": range(7)})
    found = {d: [n for b in part for n in b["n"].to_pylist()]
             for d, part in by_day(rows.to_batches(max_chunksize=2), [days[0], days[2], days[3], days[5]])}  # fmt: skip
    assert found == {days[0]: [0, 1, 2], days[2]: [], days[3]: [4, 5], days[5]: []}
    unread = [d for d, _ in by_day(rows.to_batches(max_chunksize=2), days)]
    assert unread == days, "a day that nobody reads does not hold up the next"


def test_a_day_with_more_rows_than_a_chunk_is_the_same_from_one_delivery_or_two(shop: Shop) -> None:
    """The rows of one delivery are taken as they lie, those of two are sorted together."""
    rows = CHUNK_ROWS + 1_000
    assert rows < BATCH_ROWS
    columns = pa.table({
        "order_id": [f"o{n:07}" for n in range(rows)], "creator": [f"c{n % 500}" for n in range(rows)],
        "market": ["ID"] * rows, "placed_at": [dt.datetime(2026, 7, 1, 12)] * rows, "gmv": [1.0] * rows,
        "ingested_at": [dt.datetime(2026, 7, 1, 13)] * rows,
    })  # fmt: skip
    pq.write_table(columns, shop.folder / "orders-whole.parquet")
    shop.landing.receive(shop.folder / "orders-whole.parquet")
    shop.load("orders")
    whole = shop.table("orders").partition(START)
    assert whole is not None and whole.file is not None and whole.rows == rows
    assert pq.ParquetFile(whole.file).metadata.num_row_groups == 2
    shop.deliver("orders", [order(number=1) | {"order_id": "o0000007", "creator": "c7",
                                               "ingested_at": dt.datetime(2026, 7, 1, 13)}])  # fmt: skip
    assert shop.load("orders") == []
    assert shop.table("orders").partition(START).content == whole.content  # type: ignore[union-attr]


class Counting(Engine):
    """Counts the queries that facts are read with."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = 0

    def spilling(self, scratch: Path) -> Any:
        self.queries += 1
        return super().spilling(scratch)


def queries(shop: Shop, name: str, days: Sequence[dt.date] | None = None) -> int:
    engine = Counting()
    derive(
        derivation(shop.landing, engine, shop.catalog.table(name), shop.table(name)), days or shop.landing.days(name)
    )
    return engine.queries


def test_days_with_many_rows_are_read_by_themselves_and_small_ones_together(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in range(2):
        shop.deliver("orders", [order(number=n, day=n // 2, version=version) for n in range(8)])
    monkeypatch.setattr(facts_of, "BATCH_ROWS", 3)
    assert queries(shop, "orders") == 4
    assert sum(r["superseded_at"] is None for r in shop.facts("orders")) == 8
    assert list(shop.folder.rglob(".reading-*")) == []
    monkeypatch.setattr(facts_of, "BATCH_ROWS", BATCH_ROWS)
    shop.deliver("orders", [order(number=n, day=n // 2, version=3) for n in range(8)])
    assert queries(shop, "orders") == 1
    assert len(shop.facts("orders")) == 24


def test_one_delivery_of_many_days_is_read_at_once_however_large(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of, "BATCH_ROWS", 3)
    shop.deliver("queue", [case(n, 0, float(n), day=n // 4) for n in range(40)])
    assert queries(shop, "queue") == 1
    assert [r["case_id"] for r in shop.facts("queue")] == list(range(40))


def test_days_with_gaps_between_them_hold_their_own_rows_only(shop: Shop) -> None:
    shop.deliver("orders", [order(number=n, day=n) for n in range(9)])
    days = [START + dt.timedelta(days=n) for n in (0, 2, 3, 8)]
    assert queries(shop, "orders", days) == 1
    assert [r["order_id"] for r in shop.table("orders").read().to_pylist()] == ["o0", "o2", "o3", "o8"]


def test_rows_landed_as_whole_numbers_and_as_fractions_are_read_each_in_their_own_type(shop: Shop) -> None:
    orders = shop.catalog.table("orders")
    columns = tuple(c.model_copy(update={"type": "number"}) if c.name == "items" else c for c in orders.columns)
    tables = (orders.model_copy(update={"columns": columns}), shop.catalog.table("queue"))
    shop.deliver("orders", [order(number=1, items=2)])
    changed = Shop(shop.catalog.model_copy(update={"tables": tables}), shop.folder)
    changed.number = shop.number
    changed.deliver("orders", [order(number=2, items=12.75)])
    assert [r["items"] for r in changed.facts("orders")] == [2.0, 12.75]
