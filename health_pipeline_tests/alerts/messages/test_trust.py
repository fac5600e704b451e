"""What a message says of the data behind an incident: only what is known, and nothing twice."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from health_pipeline.alerts.messages.trust import LONGEST, RECENT_DAYS, trust
from health_pipeline.incidents.model import Incident, Suspect, from_table
from health_pipeline.metrics.schema import MATURITY
from health_pipeline.pipeline import Pipeline
from health_pipeline.raw.landed.ledger import Receipt
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline_tests.alerts.situations import catalog_of
from health_pipeline_tests.conftest import LAST, Built

MARKET = catalog_of("marketplace")
DAY = dt.date(2026, 9, 28)
METRIC = "action_rate"
(TABLE,) = MARKET.tables_of(MARKET.metric(METRIC))
HORIZON = MARKET.metric(METRIC).horizon
FRESH = "Deliveries are complete up to that day."


def back(days: int) -> dt.date:
    return DAY - dt.timedelta(days=days)


def incident(**changes: Any) -> Incident:
    values: dict[str, Any] = {
        "day": DAY, "id": "x", "kind": "shift", "family": "f", "unit": "ID", "state": "ongoing",
        "first_reported": back(3), "last_reported": DAY, "headline_reported": DAY, "onset": back(5),
        "onset_low": back(6), "onset_high": back(5), "series": f"{METRIC}|market=ID", "metric": METRIC,
        "segment": "market=ID", "shape": "level", "direction": "up", "expected": 0.2, "observed": 0.3, "change": 0.5,
        "change_low": 0.4, "change_high": 0.6, "excess": 10.0, "q_value": 0.0, "tested": 1,
    }  # fmt: skip
    return Incident(**values | changes)


def deliveries(broken: dict[int, str] | None = None, unit: str = "ID", table: str = TABLE) -> list[dict[str, Any]]:
    """Of four weeks; complete but for some days back."""
    return [
        {"day": back(n), "table": table, "unit": unit, "finding": (broken or {}).get(n, "complete")}
        for n in range(28, -1, -1)
    ]


def curve(part: str, *shares: float, metric: str = METRIC, day: dt.date = DAY) -> list[dict[str, Any]]:
    return [{"day": day, "metric": metric, "part": part, "age": age, "share": s} for age, s in enumerate(shares)]


def receipt(last: int, **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "key": "k", "table": TABLE, "name": "f.csv", "format": "CSV",
        "delivered_at": dt.datetime(2026, 9, 28, tzinfo=dt.UTC), "delivered": 1_000, "accepted": 980, "duplicates": 0,
        "quarantined": 20, "ignored": (), "drift": (), "reasons": {}, "contract": "c",
        "days": {back(last): {"ID": 980}},
    }  # fmt: skip
    return Receipt(**values | changes)


def said(broken: dict[int, str] | None = None, maturity: list[dict[str, Any]] | None = None, **changes: Any) -> (
    tuple[str, ...]
):  # fmt: skip
    return trust(MARKET, incident(**changes), maturity or [], deliveries(broken))


def test_what_is_fresh_is_said_to_be_and_what_is_not_known_is_not_said() -> None:
    assert said() == (FRESH,)
    assert trust(MARKET, incident(), [], []) == ()
    assert trust(MARKET, incident(), [], deliveries(table="orders")) == (), "another metric's table"
    assert trust(MARKET, incident(), [], deliveries(unit="VN")) == (), "another market"


def test_a_late_supplier_is_named_with_the_day_it_last_delivered() -> None:
    assert said({2: "missing", 1: "missing", 0: "missing"})[0] == (
        "Indonesia (moderation decisions) last delivered for 25 September 2026, 3 days before the day judged."
    )
    silent = said(dict.fromkeys(range(29), "missing"))
    assert silent[0].startswith("Indonesia (moderation decisions) delivered nothing in the 14 days")


def test_a_total_hangs_on_every_market() -> None:
    rows = [*deliveries(), *deliveries({0: "missing"}, unit="VN"), *deliveries({0: "missing", 1: "missing"}, unit="TH")]
    found = trust(MARKET, incident(unit="all", segment="", series=f"{METRIC}|"), [], rows)
    assert found[0] == (
        "Thailand (moderation decisions) last delivered for 26 September 2026, 2 days before the day judged, and "
        "1 other late."
    )
    assert trust(MARKET, incident(), [], rows)[0] == FRESH


def test_a_market_that_is_not_expected_any_more_is_not_late() -> None:
    rows = [*deliveries(), *deliveries(dict.fromkeys(range(29), "retired"), unit="SG")]
    assert trust(MARKET, incident(unit="all", segment=""), [], rows) == (FRESH,)


def test_part_of_a_day_is_not_the_day() -> None:
    assert said({0: "partial"})[0] == (
        "Indonesia (moderation decisions) delivered only part of its data on the day judged, 28 September 2026."
    )


@pytest.mark.parametrize(
    ("numerator", "value", "wanted"),
    [
        (0.93, 0.93, "are 93 % complete; it may still change by about ±8 %."),
        (0.93, 1.0, "are 93 % complete; it hardly changes any more."),
        (0.93, 0.993, "are 93 % complete; it may still change by about ±0.7 %."),
        (1.0, 1.0, "are all in."),
        (1.04, 1.04, "are all in; corrections may revise it by about ±4 %."),
    ],
)
def test_the_newest_day_judged_says_how_much_of_it_is_in(numerator: float, value: float, wanted: str) -> None:
    rows = [*curve("numerator", 0.2, numerator, 1.0), *curve("denominator", 1.0), *curve("value", 0.2, value, 1.0)]
    assert HORIZON == 1
    assert said(maturity=rows)[1] == f"The newest value is of 27 September 2026, whose data {wanted}"


def test_maturity_that_is_not_known_is_not_invented() -> None:
    for rows in (
        [],
        curve("value", 0.2, 0.9, metric="overturn_rate"),
        curve("value", 0.2, 0.9, day=back(1)),
        curve("numerator", 0.2, 0.9),
        curve("value", 0.0),
    ):
        assert said(maturity=rows) == (FRESH,)


def test_the_last_age_known_stands_for_all_greater_ones() -> None:
    late = "overturn_rate"
    assert MARKET.metric(late).horizon > 2
    rows = [*curve("numerator", 0.2, 0.9, metric=late), *curve("value", 0.2, 0.9, metric=late)]
    (found,) = trust(MARKET, incident(metric=late), rows, [])
    assert "90 % complete" in found


def test_days_that_were_left_out_are_counted_and_named() -> None:
    assert said({9: "missing", 4: "partial"})[1] == (
        "2 of the last 14 days left out, not delivered completely: 19 and 24 September."
    )
    assert "5 of the last 14 days left out" in said(dict.fromkeys(range(3, 8), "backlog"))[1]
    assert said({RECENT_DAYS: "missing", RECENT_DAYS + 3: "missing"}) == (FRESH,), "long ago"


def test_what_stands_beside_the_incident_already_is_not_said_again() -> None:
    doubts = (Suspect("volume", "Indonesia delivered nothing."), Suspect("checks", "Rows were rejected."))
    assert said({5: "missing"}, suspects=doubts) == (FRESH,)
    assert "18 September" in said({5: "missing", 10: "missing"}, suspects=doubts)[1], "far from the onset"
    receipts = {TABLE: [receipt(5)]}
    assert trust(MARKET, incident(suspects=doubts), [], deliveries(), receipts) == (FRESH,)


def test_rows_that_were_rejected_are_counted() -> None:
    def rejected(*own: Receipt) -> tuple[str, ...]:
        return trust(MARKET, incident(), [], deliveries(), {TABLE: own, "orders": [receipt(1)]})

    assert rejected(receipt(1), receipt(20), receipt(2, quarantined=0)) == (
        FRESH,
        "20 rows of the last 14 days rejected by the contract (2 %).",
    )
    assert trust(MARKET, incident(), [], deliveries({9: "missing"}), {TABLE: [receipt(1)]})[1] == (
        "1 of the last 14 days left out, not delivered completely: 19 September; "
        "20 rows rejected by the contract (2 %)."
    )
    history = {back(n): {"ID": 5} for n in range(60)}
    assert rejected(receipt(0, days=history)) == (FRESH,), "a file of two months tells nothing about these days"


def test_a_hole_in_the_data_needs_no_word_on_trust() -> None:
    assert said({0: "missing"}, kind="data", metric="", segment="", series="", table=TABLE) == ()


def test_three_short_sentences_at_most_whatever_the_names() -> None:
    unit = "x" * 400
    rows = deliveries(dict.fromkeys(range(0, 12, 2), "missing"), unit=unit)
    found = trust(
        MARKET, incident(unit=unit), [*curve("numerator", 0.5), *curve("value", 0.5)], rows, {TABLE: [receipt(1)]}
    )
    assert len(found) == 3
    assert all(0 < len(sentence) <= LONGEST for sentence in found)


def test_tables_of_the_lake_are_taken_as_they_are(little: Path, built: Built) -> None:
    """Where rows do not change only freshness is said."""
    pipeline = Pipeline.of(str(little), built.home)
    t = pipeline.tables
    days = [LAST - dt.timedelta(days=n) for n in range(RECENT_DAYS)]
    found = [i for i in from_table(t.incidents.read([LAST])) if i.kind == "shift" and i.unit == "AliExpress"]
    assert found
    for one in found:
        assert trust(pipeline.catalog, one, t.maturity.read([LAST]), t.deliveries.read(days)) == (FRESH,)
    maturity = pa.Table.from_pylist([r | {"of_day": DAY} for r in curve("value", 0.5, 0.9)], schema=MATURITY)
    assert "all in" in trust(MARKET, incident(), maturity, DELIVERIES.empty_table())[0]
