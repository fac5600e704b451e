"""The table of incidents over a real lake: day after day, explained, and judged anew when the past is corrected."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.explain import BEFORE_DAYS
from health_pipeline.incidents.incidents import Sources, derivation
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.storage.derive import derive
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline.tables import Tables

CATALOG = load_catalog("marketplace")
START = CATALOG.ecosystem.start
ONSET = START + dt.timedelta(days=BEFORE_DAYS)
SERIES = "orders_placed|market=ID|category=beauty"
PARTS = {"": 300.0, "market=ID": 200.0, "market=ID|category=beauty": 100.0, "market=ID|category=toys": 100.0}


class World:
    """A lake in which orders of beauty in Indonesia fall to half."""

    def __init__(self, root: Path) -> None:
        self.tables = Tables.of(Lake(root, "marketplace"), CATALOG)
        self.receipts: list[Receipt] = []
        t = self.tables
        self.sources = Sources(
            t.shifts, t.bands, t.deliveries, t.cube, t.maturity, t.facts,
            lambda table: [r for r in self.receipts if r.table == table],
        )  # fmt: skip
        for n in range(BEFORE_DAYS + 6):
            day = START + dt.timedelta(days=n)
            self.put(t.cube, day, [
                {"metric": "orders_placed", "segment": s, "unit": "ID", "whole": s,
                 "numerator": v - 50.0 * (day >= ONSET and s != "market=ID|category=toys")}
                for s, v in PARTS.items()
            ])  # fmt: skip
            self.put(t.bands, day, [
                {"series": f"orders_placed|{s}", "metric": "orders_placed", "segment": s, "expected": v,
                 "value_day": day - dt.timedelta(days=1)}
                for s, v in PARTS.items()
            ])  # fmt: skip
        for n in range(2, 6):
            self.shifts(ONSET + dt.timedelta(days=n), "new" if n == 2 else "ongoing")

    def put(self, table: LakeTable, day: dt.date, rows: Sequence[dict[str, Any]]) -> None:
        whole = [{name: (row | {"day": day}).get(name) for name in table.schema.names} for row in rows]
        table.publish(day, pa.Table.from_pylist(whole, schema=table.schema))

    def shifts(self, day: dt.date, *states: str) -> None:
        self.put(self.tables.shifts, day, [
            {"series": SERIES, "metric": "orders_placed", "segment": SERIES.split("|", 1)[1], "unit": "ID",
             "kind": "level", "direction": "down", "state": state, "reported_on": ONSET + dt.timedelta(days=2),
             "onset": ONSET, "onset_low": ONSET, "onset_high": ONSET, "days": 3, "expected": 100.0, "observed": 50.0,
             "change": -0.5, "change_low": -0.6, "change_high": -0.4, "numerator": 50.0, "excess": -50.0, "z": -9.0,
             "p_value": 1e-9, "q_value": 1e-7, "tested": 200}
            for state in states
        ])  # fmt: skip

    def judge(self) -> dict[dt.date, list[Incident]]:
        days = [ONSET + dt.timedelta(days=n) for n in range(6)]
        derive(derivation(CATALOG, self.sources, self.tables.incidents), days)
        return {day: from_table(self.tables.incidents.read([day])) for day in days}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_incident_is_explained_and_says_how_far_it_reaches_while_it_is_open(world: World) -> None:
    lived = world.judge()
    assert [[i.state for i in incidents] for incidents in lived.values()] == [[], [], ["new"], *[["ongoing"]] * 3]
    incident = lived[ONSET + dt.timedelta(days=3)][0]
    told = incident.explanation
    assert told is not None
    assert (told.segment, told.dimension, told.last) == ("market=ID", "category", ONSET + dt.timedelta(days=2))
    assert told.parts[0].segment == "market=ID|category=beauty"
    assert told.parts[0].total.value == pytest.approx(-50.0)
    assert (incident.reach.share, incident.reach.share_of) == (0.5, "market=ID")
    assert incident.suspects == ()


def test_days_that_were_not_delivered_completely_are_no_part_of_the_explanation(world: World) -> None:
    last = ONSET + dt.timedelta(days=2)
    hole = {"table": "orders", "unit": "ID", "finding": "partial", "volume": 1.0, "expected": 300.0}
    world.put(world.tables.deliveries, last, [hole | {"incomplete_since": last, "recent": []}])
    incident = world.judge()[last + dt.timedelta(days=1)][-1]
    assert incident.explanation is not None
    assert incident.explanation.last == last - dt.timedelta(days=1)
    assert [s.kind for s in incident.suspects] == ["volume"]


def test_an_incident_that_corrected_data_no_longer_show_is_retracted_or_was_never_there(world: World) -> None:
    world.judge()
    world.shifts(ONSET + dt.timedelta(days=4))
    lived = world.judge()
    day = ONSET + dt.timedelta(days=4)
    assert [(i.state, i.ended) for i in lived[day]] == [("retracted", day)], "the days before are as they were"
    for n in range(2, 6):
        world.shifts(ONSET + dt.timedelta(days=n))
    assert not any(world.judge().values())


def test_a_delivery_that_casts_doubt_makes_its_days_be_told_anew(world: World) -> None:
    assert world.judge()[ONSET + dt.timedelta(days=3)][0].suspects == ()
    world.receipts.append(
        Receipt(
            key="k", table="orders", name="orders.csv", format="CSV", delivered_at=dt.datetime.now(dt.UTC),
            delivered=1_000, accepted=900, duplicates=0, quarantined=100, ignored=(), drift=(),
            reasons={"gmv: below the minimum": 100}, days={ONSET: {"ID": 900}}, contract="a",
        )
    )  # fmt: skip
    told = world.judge()[ONSET + dt.timedelta(days=3)][0].suspects
    assert [s.kind for s in told] == ["checks"]
    assert "10 % (gmv: below the minimum)" in told[0].sentence


def test_nothing_is_computed_again_when_nothing_changed(world: World) -> None:
    world.judge()
    days = [ONSET + dt.timedelta(days=n) for n in range(6)]
    assert derive(derivation(CATALOG, world.sources, world.tables.incidents), days).computed == []
