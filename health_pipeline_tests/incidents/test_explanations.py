"""Where a change comes from: the part of a segment that carries it, and whether its values or its make-up changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.explain import BEFORE_DAYS, Days, compared, explain, share_of_unit
from health_pipeline.incidents.model import Explanation, Incident

MARKET, DSA = load_catalog("marketplace"), load_catalog("eu_dsa")
START = dt.date(2026, 8, 1)
ONSET = START + dt.timedelta(days=BEFORE_DAYS)
SHARE = "near_duplicate_share"  # of short videos, by market, category, tier, language
MARKETS = ("ID", "TH", "VN")


def incident(metric: str, segment: str, since: int = 7, **changes: Any) -> Incident:
    """An incident that began after four weeks and has lasted ``since`` mature days."""
    unit = dict(c.split("=") for c in segment.split("|") if c).get("market", "all")
    values: dict[str, Any] = {
        "day": ONSET + dt.timedelta(days=since), "id": "x", "kind": "shift", "family": "f", "unit": unit,
        "first_reported": ONSET, "last_reported": ONSET, "headline_reported": ONSET, "onset": ONSET,
        "onset_low": ONSET, "onset_high": ONSET, "series": f"{metric}|{segment}", "metric": metric, "segment": segment,
        "state": "new", "shape": "level", "direction": "up", "expected": 0.2, "observed": 0.3, "change": 0.5,
        "change_low": 0.4,
        "change_high": 0.6, "excess": 10.0, "q_value": 0.0, "tested": 1,
    }  # fmt: skip
    return Incident(**values | changes)


def cube(amounts: Callable[[str, bool, int], tuple[float, float]], segments: tuple[str, ...], days: int = 35) -> Days:
    """Amounts of each segment, by whether the change has begun, and day."""
    found: dict[dt.date, Mapping[str, tuple[float, float]]] = {}
    for n in range(days):
        found[START + dt.timedelta(days=n)] = {s: amounts(s, n >= BEFORE_DAYS, n) for s in segments}
    return found


def shares(rates: Mapping[str, tuple[float, float]], sizes: Mapping[str, tuple[float, float]]) -> Days:
    """Shares and sizes of markets before and since; the total is their sum."""
    noise = np.random.default_rng(3)

    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        market = segment.removeprefix("market=")
        size = sizes[market][since] * (1.3 if day % 7 == 5 else 1.0)
        return float(noise.binomial(int(size), rates[market][since])), float(int(size))

    parts = cube(amounts, tuple(f"market={m}" for m in MARKETS))
    return {
        day: {**own, "": (sum(k for k, _ in own.values()), sum(n for _, n in own.values()))}
        for day, own in parts.items()
    }


def told(explanation: Explanation | None) -> Explanation:
    assert explanation is not None
    return explanation


def test_a_share_that_rises_within_a_market_is_rate_and_the_market_is_named() -> None:
    days = shares({"ID": (0.1, 0.2), "TH": (0.1, 0.1), "VN": (0.1, 0.1)}, dict.fromkeys(MARKETS, (1_000, 1_000)))
    found = told(explain(MARKET, incident(SHARE, ""), days, {}))
    assert found.rate is not None
    assert found.mix is not None
    assert (found.dimension, found.segment) == ("market", "")
    assert found.total.value == pytest.approx(found.rate.value + found.mix.value, abs=1e-12)
    assert found.total.value == pytest.approx(0.033, abs=0.004)
    assert abs(found.mix.value) < 0.001
    assert found.rate.low < 0.1 / 3 < found.rate.high
    first = found.parts[0]
    assert first.segment == "market=ID"
    assert first.total.low > 0.02
    assert first.usual == pytest.approx(1 / 3, abs=0.01)


def test_a_share_that_rises_because_a_market_grows_is_mix() -> None:
    rates = {"ID": (0.3, 0.3), "TH": (0.1, 0.1), "VN": (0.1, 0.1)}
    days = shares(rates, {"ID": (1_000, 3_000), "TH": (1_000, 1_000), "VN": (1_000, 1_000)})
    found = told(explain(MARKET, incident(SHARE, ""), days, {}))
    assert found.rate is not None
    assert found.mix is not None
    assert found.mix.value == pytest.approx(0.6 * 0.3 + 0.4 * 0.1 - (0.3 + 0.2) / 3, abs=0.005)
    assert found.rate.low < 0 < found.rate.high
    shown = incident(SHARE, "", explanation=found)
    assert wording.explanation(MARKET, shown)[0].startswith("Mostly mix: +")


def test_what_the_bands_expected_is_what_a_change_is_measured_from() -> None:
    days = shares(dict.fromkeys(MARKETS, (0.1, 0.2)), dict.fromkeys(MARKETS, (1_000, 1_000)))
    rising = {ONSET + dt.timedelta(days=n): {f"market={m}": 0.18 for m in MARKETS} for n in range(7)}
    plain, trend = (told(explain(MARKET, incident(SHARE, ""), days, bands)) for bands in ({}, rising))
    assert plain.total.value == pytest.approx(0.1, abs=0.005)
    assert trend.total.value == pytest.approx(0.02, abs=0.005)


def test_a_count_is_split_by_what_each_part_adds_and_the_weekly_rhythm_is_no_change() -> None:
    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        usual = {"": 300.0, "market=ID": 100.0, "market=TH": 200.0}[segment] * (2.0 if day % 7 == 2 else 1.0)
        return usual + (50.0 if since and segment != "market=TH" else 0.0), float("nan")

    days = cube(amounts, ("", "market=ID", "market=TH"), days=31)
    found = told(explain(MARKET, incident("orders_placed", "", since=3), days, {}))
    assert (found.rate, found.mix) == (None, None)
    assert found.total.value == pytest.approx(50.0)
    assert [(p.segment, round(p.total.value, 6)) for p in found.parts] == [("market=ID", 50.0), ("market=TH", 0.0)]
    shown = incident("orders_placed", "", explanation=found)
    assert wording.title(MARKET, shown) == "All markets, nearly all in Indonesia: orders placed up 50 %"
    assert wording.explanation(MARKET, shown) == ["By market, +50 in all: Indonesia +50 (95 % CI +50 to +50)."]


def test_a_total_is_split_by_the_metric_that_adds_up_to_it() -> None:
    ads, buys = "platform=Ada|category=ADS", "platform=Ada|category=BUYS"

    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        lost = 60.0 if since else 0.0
        return {"platform=Ada": 100.0 - lost, ads: 80.0 - lost, buys: 20.0}[segment], float("nan")

    days = cube(amounts, ("platform=Ada", ads, buys))
    found = told(explain(DSA, incident("statements", "platform=Ada", unit="Ada", change=-0.6), days, {}))
    assert (found.dimension, found.parts[0].segment) == ("category", ads)
    assert found.parts[0].total.value == pytest.approx(-60.0)


def test_of_several_splits_the_one_that_tells_most_is_shown() -> None:
    """The change is in one tier of three, and in both categories as ever."""
    tiers, categories = ("nano", "micro", "mega"), ("beauty", "toys")

    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        key = segment.rpartition("=")[2]
        more = 30.0 * since * {"nano": 1.0, "beauty": 0.5, "toys": 0.5, "ID": 1.0}.get(key, 0.0)
        return {"ID": 60.0, "beauty": 30.0, "toys": 30.0}.get(key, 20.0) + more, float("nan")

    segments = ("market=ID", *(f"market=ID|tier={t}" for t in tiers), *(f"market=ID|category={c}" for c in categories))
    found = told(explain(MARKET, incident("orders_placed", "market=ID"), cube(amounts, segments), {}))
    assert (found.dimension, found.parts[0].segment) == ("tier", "market=ID|tier=nano")


def test_a_root_without_parts_is_shown_among_its_like() -> None:
    segments = ("market=ID", "market=ID|tier=nano", "market=ID|tier=mega")

    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        return {"market=ID": 30.0, "market=ID|tier=nano": 20.0}.get(segment, 10.0) + 5.0 * since, float("nan")

    found = told(explain(MARKET, incident("appeals_filed", "market=ID|tier=nano"), cube(amounts, segments), {}))
    assert (found.segment, found.dimension) == ("market=ID", "tier")
    assert "in all of Indonesia: " in wording.explanation(MARKET, incident(
        "appeals_filed", "market=ID|tier=nano", explanation=found))[0]  # fmt: skip


def test_a_split_that_points_the_other_way_than_the_shift_is_not_told() -> None:
    days = shares(dict.fromkeys(MARKETS, (0.2, 0.1)), dict.fromkeys(MARKETS, (1_000, 1_000)))
    assert explain(MARKET, incident(SHARE, "", change=-0.5), days, {}) is not None
    assert explain(MARKET, incident(SHARE, ""), days, {}) is None


def test_parts_that_do_not_make_up_the_whole_explain_nothing() -> None:
    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        return (100.0 if segment == "" else 30.0), float("nan")

    assert explain(MARKET, incident("orders_placed", ""), cube(amounts, ("", "market=ID", "market=TH")), {}) is None


@pytest.mark.parametrize("metric", ["minutes_to_action_p50"])
def test_a_quantile_has_no_parts(metric: str) -> None:
    assert explain(MARKET, incident(metric, ""), {}, {}) is None


def test_without_two_weeks_before_nothing_is_compared() -> None:
    days = [START + dt.timedelta(days=n) for n in range(BEFORE_DAYS + 3)]
    late = incident(SHARE, "", onset_low=START + dt.timedelta(days=10))
    assert compared(late, MARKET.metric(SHARE), days) is None
    assert compared(incident(SHARE, "", since=0), MARKET.metric(SHARE), days) is None, "nothing is mature yet"
    before, since = compared(incident(SHARE, "", since=2), MARKET.metric(SHARE), days) or ([], [])
    assert (len(before), since) == (BEFORE_DAYS, [ONSET, ONSET + dt.timedelta(days=1)])


def test_the_share_of_the_unit_is_of_its_exposure() -> None:
    def amounts(segment: str, since: bool, day: int) -> tuple[float, float]:
        return 5.0, {"market=ID": 200.0}.get(segment, 50.0)

    days = cube(amounts, ("market=ID", "market=ID|category=beauty"))
    assert share_of_unit(MARKET, incident(SHARE, "market=ID|category=beauty"), days) == (0.25, "market=ID")
    assert share_of_unit(MARKET, incident(SHARE, "market=ID"), days) is None
