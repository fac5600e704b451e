"""When a report is of what was planted."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.backtest.attention import Minutes, cost, minutes_of
from health_pipeline.backtest.replay import Outcome, Reported
from health_pipeline.backtest.score import Effect, fitting, read_effects, score
from health_pipeline.backtest.settings import make_setting
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.errors import InputError
from health_pipeline.incidents.model import Incident

START = dt.date(2026, 9, 15)
DAY = dt.timedelta(days=1)
EFFECT = Effect(
    "wave-1", "violations", "Counterfeits", START, START + 9 * DAY, ("market=ID|category=beauty",),
    frozenset({"confirmed_violations", "violative_view_rate"}), frozenset({"counterfeit"}), "rate",
)  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog("marketplace")


def incident(segment: str, metric: str = "confirmed_violations", **fields: Any) -> Incident:
    """A report of the day after the effect's start, unless told otherwise."""
    onset = fields.pop("onset", START)
    unit = next((p.split("=")[1] for p in segment.split("|") if p.startswith("market=")), "all")
    day = fields.pop("day", START + DAY)
    values: dict[str, Any] = {
        "day": day, "id": f"{unit}-{metric}-{onset}", "kind": "shift", "family": "integrity", "unit": unit,
        "state": "new", "first_reported": day, "last_reported": day, "headline_reported": day, "onset": onset,
        "onset_low": onset, "onset_high": onset, "series": f"{metric}|{segment}", "metric": metric, "segment": segment,
        "shape": "level", "direction": "up", "expected": 10.0, "observed": 20.0, "change": 1.0, "change_low": 0.5,
        "change_high": 1.5, "excess": 10.0, "q_value": 0.01, "tested": 100,
    }  # fmt: skip
    return Incident(**values | fields)


@pytest.mark.parametrize(
    ("segment", "metric", "fits"),
    [
        ("market=ID|category=beauty", "confirmed_violations", "metric"),
        ("", "confirmed_violations", "metric"),
        ("market=ID", "confirmed_violations", "metric"),
        ("policy=counterfeit", "confirmed_violations", "metric"),
        ("language=id", "confirmed_violations", "place"),  # only overlaps
        ("market=ID", "creators_in_violation", "metric"),  # of the same family as one it names
        ("market=TH", "confirmed_violations", "no"),
        ("market=ID|category=fashion", "confirmed_violations", "no"),
        ("market=ID|policy=unoriginal", "confirmed_violations", "no"),
        ("market=ID", "host_absent_minute_share", "place"),
        ("market=ID|kind=live", "host_absent_minute_share", "place"),
        ("language=vi", "host_absent_minute_share", "no"),  # only overlaps, and is taken from another table
        ("language=id", "action_rate", "place"),  # only overlaps, and is taken from the decisions as well
    ],
)
def test_place_and_metric(catalog: Catalog, segment: str, metric: str, fits: str) -> None:
    assert fitting(catalog, EFFECT)(incident(segment, metric)) == fits


@pytest.mark.parametrize(
    ("onset", "reported", "fits"),
    [
        (START, START, "metric"),
        (START - 3 * DAY, START + DAY, "metric"),
        (START - 4 * DAY, START + DAY, "no"),
        (START - DAY, START - DAY, "no"),  # nobody reports what has not begun
        (EFFECT.end + 14 * DAY, EFFECT.end + 20 * DAY, "metric"),
        (EFFECT.end + 15 * DAY, EFFECT.end + 20 * DAY, "no"),
    ],
)
def test_time(catalog: Catalog, onset: dt.date, reported: dt.date, fits: str) -> None:
    assert fitting(catalog, EFFECT)(incident("market=ID", onset=onset, day=reported)) == fits


def test_a_hole_is_of_an_effect_on_the_data_of_its_table(catalog: Catalog) -> None:
    hole: dict[str, Any] = {"kind": "data", "series": "", "shape": "missing", "family": "delivery", "unit": "ID"}
    outage = dataclasses.replace(EFFECT, cause="data")
    assert fitting(catalog, outage)(incident("", "", **hole, table="decisions")) == "metric"
    assert fitting(catalog, outage)(incident("", "", **hole, table="surveys")) == "place"
    assert fitting(catalog, outage)(incident("", "", **hole | {"unit": "TH"}, table="decisions")) == "no"
    assert fitting(catalog, EFFECT)(incident("", "", **hole, table="decisions")) == "no"


def outcome(catalog: Catalog, rows: list[list[Incident]], told: list[dt.date | None] | None = None) -> Outcome:
    """Reports over the four weeks around the effect."""
    days = tuple(START + n * DAY for n in range(-14, 14))
    messages = told or [None] * len(rows)
    held = tuple(Reported(own[0], own[-1], tuple(own), t, 1.0) for own, t in zip(rows, messages, strict=True))
    return Outcome(make_setting("A", {}, catalog), days, days[4:], held, (), {}, 0.0)


def test_found_on_the_first_day_whose_root_fits_and_the_rest_is_false(catalog: Catalog) -> None:
    early = incident("market=ID", "host_absent_minute_share", day=START + DAY)
    first = incident("market=TH", "orders_placed", day=START, id="moves")
    moved = incident("policy=counterfeit", day=START + 4 * DAY, onset=START + DAY, id="moves", first_reported=START)
    wrong = incident("market=TH", day=START + 2 * DAY)
    found = score(catalog, outcome(catalog, [[early], [first, moved], [wrong]]), [EFFECT])
    [finding] = found.findings
    assert (finding.incident, finding.delay, finding.onset_error) == (moved, 4, 1)
    assert [(v.effect is not None, v.moved) for v in found.verdicts] == [(True, False), (True, True), (False, False)]
    assert found.precision == pytest.approx(2 / 3) and found.metric_precision == pytest.approx(1 / 3)
    assert [r.last for r in found.false] == [wrong]
    assert (found.found, found.planted, found.missed) == (1, 1, [])


def test_what_comes_back_is_no_finding_but_true(catalog: Catalog) -> None:
    """After the end the way back is reported as a shift: a consequence, not the effect."""
    short = dataclasses.replace(EFFECT, end=START + DAY)
    back = incident("market=ID", onset=START + 3 * DAY, day=START + 5 * DAY)
    found = score(catalog, outcome(catalog, [[back]]), [short])
    assert found.missed == list(found.findings) and found.precision == 1.0


def test_a_report_finds_only_the_effect_that_it_fits_best(catalog: Catalog) -> None:
    everywhere = dataclasses.replace(EFFECT, id="w", segments=("",), start=START - 5 * DAY, policies=frozenset())
    named = incident("market=ID", day=START + DAY)
    found = score(catalog, outcome(catalog, [[named]]), [everywhere, EFFECT])
    assert [f.incident for f in found.findings] == [None, named]
    assert found.verdicts[0].effect == EFFECT


def test_a_harmless_effect_is_not_missed_and_one_before_the_judged_days_is_not_scored(catalog: Catalog) -> None:
    campaign = Effect("c", "volume", "Sale", START, START, ("",), frozenset({"orders_placed"}), frozenset(), "none")
    before = Effect("b", "volume", "Old", START - 12 * DAY, START, ("",), frozenset(), frozenset(), "rate")
    found = score(catalog, outcome(catalog, []), [before, campaign])
    assert (found.planted, found.missed, found.precision) == (0, [], None)
    assert found.unjudged == (before,) and [f.effect for f in found.findings] == [campaign]


def test_minutes_for_what_is_listed_and_what_is_told(catalog: Catalog) -> None:
    one, two = incident("market=ID", day=START), incident("market=TH", day=START)
    own = outcome(catalog, [[one], [two]], [START + DAY, None])
    spent = cost(own, Minutes(message=10, incident=1))
    assert (spent.incidents, spent.messages, spent.days) == (2, 1, 24)
    assert {d: m for d, m in spent.per_day.items() if m} == {START: 2, START + DAY: 10}
    assert (spent.minutes, spent.median, spent.most) == (12, 0, 10)
    assert spent.weekly(spent.minutes) == pytest.approx(12 * 7 / 24)
    assert minutes_of(own.incidents[:1], Minutes(10, 1), own.judged) == 11


def test_a_file_that_holds_no_truth_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "orders.parquet")
    with pytest.raises(InputError, match=r"orders\.parquet holds no planted effects"):
        read_effects(tmp_path / "orders.parquet")
