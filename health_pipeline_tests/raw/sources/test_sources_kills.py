"""A pull that is killed at any moment repeats work when it is done again, and neither loses nor doubles a row."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from health_pipeline_tests.conftest import FAR
from health_pipeline_tests.raw.conftest import Shop
from health_pipeline_tests.raw.servers import Database

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)

PULLER = """
import json, os, signal, sys, time
from pathlib import Path
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.raw.landed.landing import Landing
from health_pipeline.raw.sources import database, folder, memory, pull_all, rows
from health_pipeline.storage.lake import Lake
import pyarrow.parquet, duckdb, psycopg, fsspec.implementations.local

database.CHUNK_ROWS = 10
moments, last = 0, 0

def moment(*_):
    global moments
    moments += 1
    if moments == last:
        os.kill(os.getpid(), signal.SIGKILL)

fsync = os.fsync
def synced(descriptor):
    moment()
    fsync(descriptor)

def pull(home):
    os.fsync = synced  # before and after every file that appears
    catalog = load_catalog(home + "/catalog")
    pulled = pull_all(catalog, Landing(Lake(Path(home) / "lake", catalog.name), catalog), progress=moment)
    assert not any(p.problems for p in pulled), pulled

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        last = order["kill_at"]
        pull(order["home"])
        print(moments, flush=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL:
        print(0, flush=True)
"""

KILLS = 8
Pull = Callable[[Path, int], int]


@pytest.fixture
def pull() -> Iterator[Pull]:
    """Pulls in a process of its own; with a number, it is killed at that moment. How many it lived through, else 0."""
    puller = subprocess.Popen([sys.executable, "-c", PULLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert puller.stdin is not None and puller.stdout is not None
    sink, source = puller.stdin, puller.stdout

    def pull(home: Path, kill_at: int) -> int:
        sink.write(json.dumps({"home": str(home), "kill_at": kill_at}) + "\n")
        sink.flush()
        return int(source.readline())

    yield pull
    puller.communicate(timeout=FAR)
    assert puller.returncode == 0


def order(name: str, minutes_ago: int, gmv: float) -> str:
    arrived = NOW - dt.timedelta(minutes=minutes_ago)
    return (
        "INSERT INTO orders (order_id, market, placed_at, gmv, units, ingested_at) VALUES "
        f"('{name}', 'ID', '{NOW - dt.timedelta(days=1)}', {gmv}, 1, '{arrived}')"
    )


def test_a_pull_killed_at_any_moment_ends_in_the_same_facts(database: Database, workplace: Path, pull: Pull) -> None:
    home = Path(tempfile.mkdtemp(dir=workplace, prefix="killed-"))
    exports = home / "exports"
    exports.mkdir()
    shop = Shop.open(
        home,
        f"  - {{name: warehouse, database: '{database.url}', tables: {{orders: orders, counts: counts}}}}\n"
        f"  - {{name: exports, folder: {exports}}}\n",
    )
    day = (NOW - dt.timedelta(days=2)).date()

    def export(name: str, visits: int) -> None:
        path = exports / f"{name}.csv"
        path.write_text(f"day,market,visits\n{day},{name[-2:]},{visits}\n")
        then = NOW.timestamp() - 100 + visits
        os.utime(path, (then, then))

    database.execute(*(order(f"o{i}", 300 - i, 1) for i in range(25)), f"INSERT INTO counts VALUES ('{day}', 'ID', 1)")
    export("counts-SG", 1)
    assert pull(home, 0)
    before = home / "before"
    shutil.copytree(home / "lake", before)

    database.execute(
        *(order(f"n{i}", 120 - i, 2) for i in range(25)),
        f"UPDATE orders SET gmv = 3, ingested_at = '{NOW - dt.timedelta(minutes=60)}' WHERE order_id < 'o11'",
        "UPDATE counts SET visits = 2",
    )
    export("counts-SG", 2)
    moments = pull(home, 0)
    assert moments > 30, "too few moments: this run proves nothing"

    def facts() -> list[list[dict[str, Any]]]:
        shop.declare()
        return [shop.facts(table) for table in ("orders", "counts")]

    wanted = facts()
    assert [len(table) for table in wanted] == [25 + 25 + 3, 2]
    between = 0
    for number in range(KILLS):
        moment = random.randint(number * moments // KILLS + 1, (number + 1) * moments // KILLS)
        shutil.rmtree(home / "lake")
        shutil.copytree(before, home / "lake")
        assert not pull(home, moment)
        landed = len(shop.landing.receipts())
        assert pull(home, 0)
        assert facts() == wanted, f"killed at moment {moment} of {moments}"
        between += 3 < landed < len(shop.landing.receipts())
    shutil.rmtree(home)
    assert between, "no kill fell between two landings: this run proves nothing"
