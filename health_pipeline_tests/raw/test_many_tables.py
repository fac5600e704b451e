"""Tables that refer to each other, from delivered files through a real Dagster instance: what its checks say."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.home import Home
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.landed.receive import EPOCH, Simulation, receive_all
from health_pipeline.raw.loading.references import Orphans, orphans
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake
from health_pipeline_tests.conftest import Deployment, Run

START = dt.date(2026, 7, 1)
TABLES = """
tables:
  - name: creators
    title: Creators
    description: Creators by day.
    key: [day, creator_id]
    day: day
    delivered_by: market
    version: ingested_at
    lateness_days: 60
    columns:
      - {name: day, type: date, description: the day}
      - {name: creator_id, type: text, description: identifier}
      - {name: market, type: text, description: where}
      - {name: ingested_at, type: timestamp, description: when this version arrived}
  - name: shops
    title: Shops
    description: Shops, under the day they opened.
    key: [shop_id]
    day: opened_on
    delivered_by: market
    version: ingested_at
    sparse: true
    columns:
      - {name: shop_id, type: text, description: identifier}
      - {name: market, type: text, description: where}
      - {name: opened_on, type: date, description: when it opened}
      - {name: ingested_at, type: timestamp, description: when this version arrived}
  - name: orders
    title: Orders
    description: Orders.
    key: [order_id]
    day: placed_on
    delivered_by: market
    version: ingested_at
    lateness_days: 60
    references:
      - {column: creator_id, table: creators, to: creator_id, within_days: 1}
      - {column: shop_id, table: shops, to: shop_id, within_days: 400}
    columns:
      - {name: order_id, type: text, description: identifier}
      - {name: creator_id, type: text, description: whose content led to it}
      - {name: shop_id, type: text, required: false, description: who sold it}
      - {name: market, type: text, description: where}
      - {name: placed_on, type: date, description: when}
      - {name: gmv, type: number, description: value, minimum: 0}
      - {name: ingested_at, type: timestamp, description: when this version arrived}
"""
METRICS = """
dimensions: [{name: market, title: Market}]
metrics:
  - {name: gmv, title: GMV, description: Value of orders., type: count, unit: dollars, bad: down, owner: commerce,
     table: orders, numerator: {sum: gmv}, by: [market], family: orders}
"""


@pytest.fixture(scope="module")
def catalog_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "tables.yaml").write_text(TABLES)
    (folder / "metrics.yaml").write_text(METRICS)
    (folder / "ecosystem.yaml").write_text(f"name: shop\ntitle: Shop\ndescription: A shop.\nstart: {START}\n")
    return folder


@pytest.fixture
def shop(catalog_folder: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("HEALTH_PIPELINE_HOME", "unset")
    monkeypatch.setenv("DAGSTER_HOME", "unset")
    opened = Deployment.open(catalog_folder, Home(Path(tempfile.mkdtemp(dir=workplace))))
    yield opened
    opened.instance.dispose()


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def rows(table: str, number: int, count: int, **others: Any) -> list[dict[str, Any]]:
    """So many rows of a day; creators c0, c1, … and orders o<day>-0, … by them."""
    arrived = dt.datetime.combine(day(number), dt.time(23))
    own: Callable[[int], dict[str, Any]] = {
        "creators": lambda i: {"day": day(number), "creator_id": f"c{i}"},
        "shops": lambda i: {"opened_on": day(number), "shop_id": f"s{i}"},
        "orders": lambda i: {"placed_on": day(number), "order_id": f"o{number}-{i}", "creator_id": f"c{i}",
                             "shop_id": None, "gmv": 1.0},
    }[table]  # fmt: skip
    return [own(i) | {"market": "ID", "ingested_at": arrived} | others for i in range(count)]


def deliver(shop: Deployment, name: str, held: Sequence[dict[str, Any]], seconds_ago: float = 10) -> Path:
    path = shop.pipeline.inbox / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(held)), path)
    os.utime(path, (time.time() - seconds_ago,) * 2)
    return path


def checks(run: Run, table: str) -> dict[str, tuple[bool, str]]:
    found = [e for e in run.get_asset_check_evaluations() if e.asset_key == dg.AssetKey(["shop", table])]
    return {e.check_name: (e.passed, e.severity.value) for e in found}


def about(run: Run, table: str, name: str) -> dict[str, Any]:
    [found] = [
        e for e in run.get_asset_check_evaluations()
        if e.asset_key == dg.AssetKey(["shop", table]) and e.check_name == name
    ]  # fmt: skip
    return {k: [r.data for r in v.records] if isinstance(v, dg.TableMetadataValue) else v.value
            for k, v in found.metadata.items()}  # fmt: skip


def test_files_go_to_their_tables_by_name_or_folder_and_everything_is_loaded(shop: Deployment) -> None:
    deliver(shop, "creators-2026-07-01.parquet", [*rows("creators", 0, 3), *rows("creators", 1, 3)])
    deliver(shop, "orders/part-1.parquet", rows("orders", 0, 3))
    deliver(shop, "orders/part-2.parquet", rows("orders", 1, 3))
    deliver(shop, "orders/_SUCCESS", [])
    deliver(shop, "shops.parquet", rows("shops", -300, 2))  # long before the ecosystem's start
    deliver(shop, "notes/part-1.parquet", rows("orders", 2, 1))
    assert shop.work_off() == ["land", "load", "judge"]
    assert {r.name: r.table for r in shop.pipeline.landing.receipts()} == {
        "creators-2026-07-01.parquet": "creators", "orders/part-1.parquet": "orders",
        "orders/part-2.parquet": "orders", "shops.parquet": "shops",
    }  # fmt: skip
    facts = shop.pipeline.tables.facts
    assert {name: table.read().num_rows for name, table in facts.items()} == {"creators": 6, "shops": 2, "orders": 6}
    assert facts["shops"].days() == [day(-300)], "a lasting table is loaded whole, whatever the run's days"
    assert shop.pipeline.delivered_days() == [day(0), day(1)]
    cube = shop.pipeline.tables.cube.read().to_pylist()
    assert [(r["day"], r["segment"], r["numerator"]) for r in cube] == [(day(n), "market=ID", 3.0) for n in (0, 1)]
    assert shop.pipeline.outstanding() is None


def test_a_lasting_table_alone_is_reason_enough_to_load(shop: Deployment) -> None:
    deliver(shop, "orders.parquet", rows("orders", 0, 1))
    shop.work_off()
    deliver(shop, "shops.parquet", rows("shops", -5, 1))
    assert shop.work_off() == ["land", "load"]
    assert shop.pipeline.tables.facts["shops"].read().num_rows == 1


def test_days_whose_rows_a_correction_of_the_contract_moved_are_computed_again(
    shop: Deployment, tmp_path: Path
) -> None:
    deliver(shop, "orders.parquet", [o | {"sent_on": day(0)} for o in [*rows("orders", 0, 1), *rows("orders", 1, 1)]])
    deliver(shop, "shops.parquet", [s | {"began_on": day(-4)} for s in rows("shops", -5, 1)])
    assert shop.work_off() == ["land", "load", "judge"]
    for name in ("tables.yaml", "metrics.yaml", "ecosystem.yaml"):
        text = (shop.catalog_folder / name).read_text()
        (tmp_path / name).write_text(text.replace("placed_on", "sent_on").replace("opened_on", "began_on"))
    corrected = Deployment.open(tmp_path, shop.home)
    assert corrected.work_off()[:2] == ["land", "load"]
    facts = corrected.pipeline.tables.facts
    held = {name: [(d, facts[name].read([d]).num_rows) for d in facts[name].days()] for name in ("orders", "shops")}
    assert held == {"orders": [(day(0), 2), (day(1), 0)], "shops": [(day(-5), 0), (day(-4), 1)]}
    assert corrected.pipeline.outstanding() is None
    corrected.instance.dispose()


def test_rows_that_name_nothing_are_told_of_and_kept(shop: Deployment) -> None:
    deliver(shop, "creators.parquet", rows("creators", 0, 2))
    deliver(shop, "shops.parquet", rows("shops", -300, 1))
    held = [*rows("orders", 1, 4, shop_id="s0"), *rows("orders", 2, 1, shop_id="s9")]
    deliver(shop, "orders.parquet", held)
    assert shop.run("land").success
    load = shop.run("load", day(0), day(2))
    assert load.success
    assert checks(load, "orders")["references"] == (False, "WARN")
    said = about(load, "orders", "references")
    assert said["orphans"] == 4
    assert said["references"] == [
        {"column": "creator_id", "names": "creators.creator_id", "within days": 1, "rows": 5, "orphans": 3,
         "for example": "c0, c2, c3"},
        {"column": "shop_id", "names": "shops.shop_id", "within days": 400, "rows": 5, "orphans": 1,
         "for example": "s9"},
    ]  # fmt: skip
    assert shop.pipeline.tables.facts["orders"].read().num_rows == 5
    assert "references" not in checks(load, "creators")
    deliver(shop, "late.shops.parquet".replace("late.", "shops-late-"), rows("shops", -1, 1, shop_id="s9"))
    deliver(shop, "creators-late.parquet", [*rows("creators", 1, 4), *rows("creators", 2, 4)])
    assert shop.run("land").success
    assert checks(shop.run("load", day(0), day(2)), "orders")["references"] == (True, "WARN")


def test_only_current_versions_name_and_are_named(catalog_folder: Path, workplace: Path) -> None:
    catalog = load_catalog(str(catalog_folder))
    lake = Lake(Path(tempfile.mkdtemp(dir=workplace)), "shop")
    from health_pipeline.tables import Tables

    facts = Tables.of(lake, catalog).facts
    gone = dt.datetime(2026, 7, 2)
    for name, held in {
        "creators": [{"creator_id": "old", "superseded_at": gone}, {"creator_id": "new", "superseded_at": None}],
        "orders": [{"creator_id": "never", "superseded_at": gone}, {"creator_id": "old", "superseded_at": None},
                   {"creator_id": "new", "superseded_at": None}],
    }.items():  # fmt: skip
        facts[name].publish(START, pa.Table.from_pylist([{"day": START} | r for r in held], schema=facts[name].schema))
    orders = catalog.table("orders")
    creator, shops = orphans(Engine(), orders, facts, [START])
    assert creator == Orphans(orders.references[0], rows=1, of=2, examples=("old",))
    assert shops == Orphans(orders.references[1], rows=0, of=0, examples=())


def test_a_few_bad_rows_warn_and_many_stop_that_table_and_what_follows(shop: Deployment) -> None:
    deliver(shop, "creators.parquet", rows("creators", 0, 3))
    deliver(shop, "orders.parquet", [*rows("orders", 0, 99), *rows("orders", 0, 1, gmv=-1.0, order_id="x")])
    assert shop.run("land").success
    load = shop.run("load", day(0))
    assert load.success and checks(load, "orders")["contract"] == (False, "WARN")
    said = about(load, "orders", "contract")
    assert (said["largest share in quarantine"], said["reasons"]) == (0.01, [{"reason": "gmv: below 0", "rows": 1}])
    assert checks(load, "creators")["contract"] == (True, "ERROR")

    deliver(shop, "orders-2.parquet", [*rows("orders", 1, 18), *rows("orders", 1, 2, gmv=-1.0)])
    deliver(shop, "creators-2.parquet", rows("creators", 1, 3))
    assert shop.run("land").success
    load = shop.run("load", day(1))
    assert not load.success and checks(load, "orders")["contract"] == (False, "ERROR")
    assert shop.pipeline.tables.cube.partition(day(1)) is None
    assert shop.pipeline.tables.facts["creators"].partition(day(1)) is not None, "other tables go on"


def test_late_rows_are_no_correction_of_a_bad_file_but_delivering_all_of_it_again_is(shop: Deployment) -> None:
    good = rows("orders", 0, 20)
    deliver(shop, "orders-1.parquet", [*good[:18], *rows("orders", 0, 2, gmv=-1.0, order_id="x")], 100)
    shop.run("land")
    assert not shop.run("load", day(0)).success
    deliver(shop, "orders-late.parquet", rows("orders", 0, 2, order_id="late"), 50)
    shop.run("land")
    assert not shop.run("load", day(0)).success
    work = shop.pipeline.outstanding()
    assert work is not None and work.kind == "load"
    deliver(shop, "orders-corrected.parquet", good, 20)
    assert shop.work_off()[:2] == ["land", "load"]


def test_a_newest_file_of_which_nothing_landed_is_told_of(shop: Deployment) -> None:
    deliver(shop, "orders-1.parquet", rows("orders", 0, 20), 100)
    deliver(shop, "orders-2.parquet", rows("orders", 1, 5, gmv=-1.0), 50)
    land = shop.run("land")
    [landed] = land.asset_materializations_for_node("shop__landed_files")
    quarantine = landed.metadata["quarantine"]
    assert isinstance(quarantine, dg.TableMetadataValue)
    assert [r.data for r in quarantine.records] == [{"table": "orders", "reason": "gmv: below 0", "rows": 5}]
    load = shop.run("load", day(0))
    assert load.success and checks(load, "orders")["contract"] == (False, "WARN")
    assert about(load, "orders", "contract")["largest in"] == "orders-2.parquet"


def test_columns_that_differ_from_the_contract_are_told_of(shop: Deployment) -> None:
    held = [{**r, "gmv": str(r["gmv"]), "colour": "red"} for r in rows("orders", 0, 2)]
    deliver(shop, "orders.parquet", held)
    shop.run("land")
    load = shop.run("load", day(0))
    assert load.success and checks(load, "orders")["schema_drift"] == (False, "WARN")
    said = about(load, "orders", "schema_drift")
    receipt = shop.pipeline.landing.receipts("orders")[0]
    assert len(receipt.drift) == said["columns that differ"] == 2
    assert [r["drift"] for r in said["what differs"]] == list(receipt.drift)
    assert any("gmv" in sentence for sentence in receipt.drift) and any("colour" in s for s in receipt.drift)


def test_freshness_is_each_table_s_own(shop: Deployment) -> None:
    deliver(shop, "orders.parquet", [*rows("orders", 0, 2), *rows("orders", 1, 2)])
    deliver(shop, "creators.parquet", rows("creators", 0, 2))
    shop.run("land")
    load = shop.run("load", day(0), day(1))
    assert checks(load, "orders")["freshness"] == (True, "WARN")
    assert checks(load, "creators")["freshness"] == (False, "WARN")
    assert about(load, "creators", "freshness")["days without any delivery"] == day(1).isoformat()
    assert "freshness" not in checks(load, "shops"), "a day without a new shop means nothing"


class Written:
    """A simulation that writes two files, and can be interrupted."""

    def __init__(self) -> None:
        self.times = 0
        self.fail = False

    def __call__(self, folder: Path, progress: Callable[[int, int], None]) -> None:
        self.times += 1
        for table, number in (("creators", 1), ("orders", 2)):
            (folder / table).mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist(rows(table, 0, number)), folder / table / f"{table}.parquet")
            progress(number, 2)
            if self.fail:
                raise KeyboardInterrupt
        (folder / "ground_truth").mkdir()
        (folder / "ground_truth" / "orders.parquet").write_bytes(b"nothing that the pipeline may read")


def test_where_nothing_was_delivered_it_is_simulated_once_whole_or_not_at_all(
    catalog_folder: Path, workplace: Path
) -> None:
    catalog = load_catalog(str(catalog_folder))
    folder = Path(tempfile.mkdtemp(dir=workplace))
    landing, inbox, written = Landing(Lake(folder / "lake", "shop"), catalog), folder / "inbox", Written()
    simulation = Simulation(folder / "simulated" / "shop", written)
    written.fail = True
    with pytest.raises(KeyboardInterrupt):
        receive_all(catalog, landing, inbox, simulation)
    assert not simulation.folder.exists() and landing.receipts() == []
    written.fail = False
    told: list[tuple[str, int, int]] = []
    landed, refused = receive_all(
        catalog, landing, inbox, simulation, lambda what: lambda done, of: told.append((what, done, of))
    )
    assert (landed, refused, written.times) == (2, [], 2)
    assert {(r.table, r.accepted, r.delivered_at) for r in landing.receipts()} == {
        ("creators", 1, EPOCH), ("orders", 2, EPOCH)
    }  # fmt: skip
    assert told == [("simulated", 1, 2), ("simulated", 2, 2), *(("landed_files", n, 2) for n in range(3))]
    assert receive_all(catalog, landing, inbox, simulation) == (0, [])
    assert written.times == 2


def test_a_landing_of_simulated_files_that_was_cut_off_goes_on_where_it_was(
    catalog_folder: Path, workplace: Path
) -> None:
    catalog = load_catalog(str(catalog_folder))
    folder = Path(tempfile.mkdtemp(dir=workplace))
    landing, written = Landing(Lake(folder / "lake", "shop"), catalog), Written()
    simulation = Simulation(folder / "simulated" / "shop", written)
    simulation.prepare(lambda done, of: None)
    landing.receive(simulation.folder / "orders" / "orders.parquet")
    assert receive_all(catalog, landing, folder / "inbox", simulation) == (1, [])
    assert written.times == 1


def test_who_has_delivered_gets_nothing_simulated(catalog_folder: Path, workplace: Path) -> None:
    catalog = load_catalog(str(catalog_folder))
    folder = Path(tempfile.mkdtemp(dir=workplace))
    landing, written = Landing(Lake(folder / "lake", "shop"), catalog), Written()
    path = folder / "orders.parquet"
    pq.write_table(pa.Table.from_pylist(rows("orders", 0, 2)), path)
    landing.receive(path)
    simulation = Simulation(folder / "simulated" / "shop", written)
    assert receive_all(catalog, landing, folder / "inbox", simulation) == (0, [])
    assert written.times == 0


@pytest.mark.parametrize("settled", [True, False])
def test_whose_files_wait_in_the_inbox_gets_nothing_simulated(
    catalog_folder: Path, workplace: Path, settled: bool
) -> None:
    catalog = load_catalog(str(catalog_folder))
    folder = Path(tempfile.mkdtemp(dir=workplace))
    landing, written = Landing(Lake(folder / "lake", "shop"), catalog), Written()
    path = folder / "inbox" / "orders.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows("orders", 0, 2)), path)
    os.utime(path, (time.time() + (-3_600 if settled else 3_600),) * 2)
    simulation = Simulation(folder / "simulated" / "shop", written)
    assert receive_all(catalog, landing, path.parent, simulation) == (int(settled), [])
    assert written.times == 0


def test_the_inbox_command_keeps_the_folder_that_names_the_table(shop: Deployment, tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    pq.write_table(pa.Table.from_pylist(rows("orders", 0, 2)), tmp_path / "orders" / "part-1.parquet")
    pq.write_table(pa.Table.from_pylist(rows("creators", 0, 2)), tmp_path / "creators-july.parquet")
    (shop.pipeline.inbox / "order").mkdir()
    done = shop.cli("inbox", str(tmp_path / "orders" / "part-1.parquet"), str(tmp_path / "creators-july.parquet"))
    assert (done.returncode, done.stderr) == (0, "")
    assert {f.relative_to(shop.pipeline.inbox).as_posix() for f in shop.pipeline.inbox.rglob("*.parquet")} == {
        "orders/part-1.parquet", "creators-july.parquet"
    }  # fmt: skip
    assert "! The folder order is no table's: its files wait in vain. Did you mean 'orders'?" in done.stdout
    assert "Waiting: " in done.stdout and "orders/part-1.parquet" in done.stdout
    for file in shop.pipeline.new_files(settled_seconds=0):
        shop.pipeline.landing.receive(file)
    shown = [line.split()[:3] for line in shop.cli("inbox").stdout.splitlines()]
    assert ["orders/part-1.parquet", "orders", "Parquet"] in shown
    assert ["creators-july.parquet", "creators", "Parquet"] in shown


def test_a_file_that_names_no_table_is_not_copied(shop: Deployment, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows("orders", 0, 2)), tmp_path / "mine.parquet")
    done = shop.cli("inbox", str(tmp_path / "mine.parquet"))
    assert done.returncode == 4
    assert all(table in done.stderr for table in ("creators", "shops", "orders"))
    assert list(shop.pipeline.inbox.iterdir()) == []
