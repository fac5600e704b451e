"""A shop whose orders have versions and whose counts have none, to be fetched from sources."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.loading.facts import assemble
from health_pipeline.raw.sources import Looked, Pulled, look_all, pull_all
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake
from health_pipeline_tests.raw.servers import PASSWORD, Database, Postgres, run_postgres

CATALOG = {
    "ecosystem": """
        name: shop
        title: Shop
        description: A shop.
        start: 2026-07-01
        time_zones:
          column: market
          zones: {ID: Asia/Jakarta, SG: Asia/Singapore}
        """,
    "tables": """
        tables:
          - name: orders
            title: Orders
            description: Orders.
            key: [order_id]
            day: placed_at
            delivered_by: market
            version: ingested_at
            columns:
              - {name: order_id, type: text, description: its name}
              - {name: market, type: text, description: its market, values: [ID, SG]}
              - {name: placed_at, type: timestamp, description: when it was placed}
              - {name: gmv, type: number, description: value, minimum: 0}
              - {name: units, type: integer, description: units}
              - {name: gift, type: boolean, required: false, description: is a gift}
              - {name: ingested_at, type: timestamp, description: when this version arrived}
          - name: counts
            title: Counts
            description: Visits of a day.
            key: [day, market]
            day: day
            delivered_by: market
            columns:
              - {name: day, type: date, description: the day}
              - {name: market, type: text, description: the market}
              - {name: visits, type: integer, description: visits}
        """,
    "metrics": """
        dimensions:
          - {name: market, title: market}
        segments: [[], [market]]
        metrics:
          - name: orders
            title: orders
            description: Orders.
            type: count
            unit: orders
            bad: down
            owner: shop
            family: orders
            numerator: {sum: "1"}
        """,
}


def write_shop(folder: Path, sources: str, markets: str = "ID, SG") -> Catalog:
    """The shop's catalog with these sources (a list in YAML) and markets."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in CATALOG.items():
        text = text.replace("[ID, SG]", f"[{markets}]")
        (folder / f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    (folder / "sources.yaml").write_text("sources:\n" + sources, encoding="utf-8")
    return load_catalog(str(folder))


@dataclass
class Shop:
    """The shop's catalog and its landing."""

    folder: Path
    catalog: Catalog
    landing: Landing

    @classmethod
    def open(cls, folder: Path, sources: str) -> Shop:
        catalog = write_shop(folder / "catalog", sources)
        return cls(folder, catalog, Landing(Lake(folder / "lake", catalog.name), catalog))

    def declare(self, sources: str | None = None, markets: str = "ID, SG") -> None:
        """Change the catalog, keeping what has landed."""
        if sources is None:
            sources = (self.folder / "catalog" / "sources.yaml").read_text().removeprefix("sources:\n")
        self.catalog = write_shop(self.folder / "catalog", sources, markets)
        self.landing = Landing(Lake(self.folder / "lake", self.catalog.name), self.catalog)

    def pull(self) -> list[Pulled]:
        return pull_all(self.catalog, self.landing)

    def look(self) -> list[Looked]:
        return look_all(self.catalog, self.landing)

    def pull_rows(self) -> dict[str, int]:
        """Pull without any problem; rows that landed, by table."""
        found: dict[str, int] = {}
        for pulled in self.pull():
            assert not pulled.problems, pulled.problems
            found[pulled.table] = found.get(pulled.table, 0) + sum(r.delivered for r in pulled.receipts)
        return {table: rows for table, rows in found.items() if rows}

    def facts(self, table: str) -> list[dict[str, Any]]:
        """The facts of all days."""
        contract = self.catalog.table(table)
        days = self.landing.days(table)
        return [
            row
            for _, batches in assemble(self.landing, Engine(), contract, days)
            for batch in batches
            for row in batch.to_pylist()
        ]

    def values(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """Some columns of the current facts, sorted."""
        rows = (row for row in self.facts(table) if row.get("superseded_at") is None)
        return sorted(tuple(row[c] for c in columns) for row in rows)


def age(path: Path, seconds: float = 60) -> None:
    """Nobody has written to the file for a while."""
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database with the shop's tables, empty."""
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    database = postgres.database()
    database.execute(
        "CREATE TABLE orders (order_id text, market text, placed_at timestamptz, gmv numeric(12, 2), units bigint, "
        "gift boolean, note jsonb, ingested_at timestamptz DEFAULT now())",
        "CREATE INDEX ON orders (ingested_at)",
        "CREATE TABLE counts (day date, market text, visits integer)",
    )
    return database


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    """The shop over that database."""
    return Shop.open(
        tmp_path,
        f"  - name: warehouse\n    database: {database.url}\n"
        "    tables: {orders: orders, counts: {select: public.counts, days_back: 1}}\n",
    )
