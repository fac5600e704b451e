"""From cube rows to a dense panel: missing is told apart from zero."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics.schema import CUBE, HISTOGRAMS
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.shifts.panel import REMEMBERED_DAYS, build_panel
from health_pipeline.stats.bins import OPEN, PER_E_FOLD
from health_pipeline.stats.delivery import Finding
from health_pipeline.stats.panel import Panel, Scale

CATALOG = load_catalog("eu_dsa")
FIRST = dt.date(2025, 3, 1)
DAYS = [FIRST + dt.timedelta(days=i) for i in range(6)]
NAN = float("nan")
Row = tuple[int, str, str, float, float | None]
"""Day, metric, segment, numerator, denominator."""


def whole_of(metric: str, segment: str) -> str:
    over = CATALOG.metric(metric).over
    parts = segment.split("|")
    return "|".join(parts[: len(over)]) if over else segment


def panel_of(rows: Sequence[Row], findings: dict[str, Sequence[str | None]] | None = None) -> tuple[Panel, list[str]]:
    """A panel of six days; every unit delivers completely unless its findings say otherwise."""
    units = sorted({segment.split("|")[0].removeprefix("platform=") for _, _, segment, _, _ in rows})
    cube = [
        {"day": DAYS[day], "metric": metric, "segment": segment, "unit": segment.split("|")[0][9:],
         "whole": whole_of(metric, segment), "numerator": numerator, "denominator": denominator}
        for day, metric, segment, numerator, denominator in rows
    ]  # fmt: skip
    deliveries = [
        {"day": day, "table": "statements", "unit": unit, "finding": finding}
        for unit in units
        for day, finding in zip(DAYS, (findings or {}).get(unit, ["complete"] * 6), strict=True)
        if finding is not None
    ]
    return build_panel(
        CATALOG,
        pa.Table.from_pylist(cube, schema=CUBE),
        HISTOGRAMS.empty_table(),
        pa.Table.from_pylist(deliveries, schema=DELIVERIES),
        DAYS,
    )


def series(panel: Panel, name: str) -> list[float]:
    return panel.numerator[panel.series.index(name)].tolist()


def same(found: Sequence[float], wanted: Sequence[float]) -> bool:
    return bool(np.array_equal(np.array(found), np.array(wanted), equal_nan=True))


VOLUME: list[Row] = [(day, "statements", "platform=Ada", 100.0 + day, None) for day in range(6)]
ADS, BUYS = "platform=Ada|category=ADS", "platform=Ada|category=BUYS"


def test_what_was_delivered_stands_where_it_belongs() -> None:
    panel, units = panel_of([*VOLUME, (2, "statements", "platform=Bob", 7.0, None)])
    assert panel.series == ("statements|platform=Ada", "statements|platform=Bob")
    assert units == ["Ada", "Bob"]
    assert panel.days.tolist() == DAYS
    assert same(series(panel, "statements|platform=Ada"), [100, 101, 102, 103, 104, 105])


def test_an_absent_segment_of_a_delivered_unit_is_zero_after_its_first_event_and_missing_before() -> None:
    panel, _ = panel_of(
        [*VOLUME, (2, "statements_by_category", ADS, 5.0, None), (4, "statements_by_category", ADS, 6.0, None)]
    )
    assert same(series(panel, f"statements_by_category|{ADS}"), [NAN, NAN, 5, 0, 6, 0])


def test_a_row_of_zero_is_not_yet_an_event() -> None:
    rows: list[Row] = [
        (day, "account_terminations", "platform=Ada", n, 500.0) for day, n in enumerate([0, 0, 3, 0, 1, 0])
    ]
    panel, _ = panel_of(rows)
    assert same(series(panel, "account_terminations|platform=Ada"), [NAN, NAN, 3, 0, 1, 0])


@pytest.mark.parametrize("finding", [*sorted(set(get_args(Finding)) - {"complete"}), None])
def test_a_day_that_was_not_delivered_completely_is_missing_for_every_series_of_the_unit(finding: str | None) -> None:
    rows: list[Row] = [
        *VOLUME,
        (1, "statements_by_category", ADS, 5.0, None),
        (1, "statements", "platform=Bob", 9.0, None),
    ]
    panel, _ = panel_of(rows, {"Ada": ["complete"] * 3 + [finding] + ["complete"] * 2})
    assert same(series(panel, "statements|platform=Ada"), [100, 101, 102, NAN, 104, 105])
    assert same(series(panel, f"statements_by_category|{ADS}"), [NAN, 5, 0, NAN, 0, 0])
    assert same(series(panel, "statements|platform=Bob"), [NAN, 9, 0, 0, 0, 0])


def test_a_delivery_of_a_unit_without_any_series_is_nothing_to_stumble_over() -> None:
    panel, _ = panel_of(VOLUME, {"Ada": ["complete"] * 6})
    deliveries = [
        {"day": DAYS[0], "table": "statements", "unit": unit, "finding": "complete"} for unit in ("Zoe", "Ada")
    ]
    cube = [{"day": DAYS[0], "metric": "statements", "segment": "platform=Ada", "unit": "Ada", "whole": "platform=Ada", "numerator": 1.0}]  # fmt: skip # noqa: E501
    panel, units = build_panel(
        CATALOG,
        pa.Table.from_pylist(cube, schema=CUBE),
        HISTOGRAMS.empty_table(),
        pa.Table.from_pylist(deliveries, schema=DELIVERIES),
        DAYS,
    )
    assert units == ["Ada"]
    assert same(panel.numerator[0].tolist(), [1, NAN, NAN, NAN, NAN, NAN])


def test_the_denominator_of_a_share_comes_from_its_whole() -> None:
    rows: list[Row] = [(day, "category_share", BUYS, 10.0, 400.0 + day) for day in range(6)]
    rows += [(day, "category_share", ADS, 390.0, 400.0 + day) for day in (0, 3)]
    panel, _ = panel_of(rows)
    ads = panel.series.index(f"category_share|{ADS}")
    assert same(panel.numerator[ads].tolist(), [390, 0, 0, 390, 0, 0])
    assert same(panel.denominator[ads].tolist(), [400, 401, 402, 403, 404, 405])
    assert panel.scale[ads] == Scale.PROPORTION


def test_shares_of_different_wholes_and_metrics_do_not_lend_each_other_denominators() -> None:
    rows: list[Row] = [(day, "category_share", BUYS, 10.0, 400.0) for day in range(6)]
    rows += [(0, "category_share", "platform=Bob|category=ADS", 5.0, 900.0)]
    rows += [(0, "content_type_share", "platform=Ada|content_type=VIDEO", 5.0, 400.0)]
    panel, _ = panel_of(rows)
    assert same(series(panel, "category_share|platform=Bob|category=ADS"), [5] + [NAN] * 5)
    assert same(series(panel, "content_type_share|platform=Ada|content_type=VIDEO"), [5] + [NAN] * 5)


def test_days_below_the_smallest_denominator_are_missing() -> None:
    smallest = CATALOG.metric("account_terminations").minimum_denominator
    denominators = [smallest, smallest - 1, smallest + 1, 5.0, smallest, smallest]
    rows: list[Row] = [(day, "account_terminations", "platform=Ada", 1.0, d) for day, d in enumerate(denominators)]
    panel, _ = panel_of(rows)
    assert same(series(panel, "account_terminations|platform=Ada"), [1, NAN, 1, NAN, 1, 1])


def test_small_counts_are_judged_whatever_they_are() -> None:
    panel, _ = panel_of([(day, "statements", "platform=Ada", 1.0, None) for day in range(6)])
    assert same(series(panel, "statements|platform=Ada"), [1] * 6)


def test_the_mean_of_nothing_is_missing_not_zero() -> None:
    panel, _ = panel_of([*VOLUME, (1, "moderation_delay", "platform=Ada", 7_200.0, 50.0)])
    mean = panel.series.index("moderation_delay|platform=Ada")
    assert same(panel.numerator[mean].tolist(), [NAN, 7_200, NAN, NAN, NAN, NAN])
    assert panel.scale[mean] == Scale.MEAN


def test_every_metric_of_the_catalog_has_its_scale() -> None:
    scales = {"count": Scale.COUNT, "proportion": Scale.PROPORTION, "mean": Scale.MEAN}
    for metric in CATALOG.metrics:
        segment = "|".join(f"{name}=X" for name in metric.by)
        panel, _ = panel_of([(0, metric.name, segment, 1.0, 500.0 if metric.denominator else None)])
        assert panel.scale.tolist() == [scales[metric.type]]
        assert panel.transformed().shape == (1, 6)


def test_an_empty_cube_is_an_empty_panel() -> None:
    panel, units = panel_of([])
    assert (panel.series, units) == ((), [])
    assert panel.numerator.shape == (0, 6)


# ── Metrics of records: rates, ratios, samples and quantiles, judged when they are mature ──────────────────────────

MARKET = load_catalog("marketplace")
LONG = [FIRST + dt.timedelta(days=i) for i in range(40)]


def market_panel(
    rows: Sequence[dict[str, Any]],
    bins: Sequence[dict[str, Any]] = (),
    findings: dict[tuple[str, str, int], str] | None = None,
    units: Sequence[str] = ("ID", "VN"),
    days: Sequence[dt.date] = LONG,
) -> Panel:
    """A panel over two markets whose every table is complete, but where a finding says otherwise."""
    deliveries = [
        {"day": day, "table": t.name, "unit": unit, "finding": (findings or {}).get((t.name, unit, i), "complete")}
        for t in MARKET.tables
        for unit in units
        for i, day in enumerate(days)
    ]
    cube = [{"whole": r["segment"], "unit": unit_of(r["segment"])} | r for r in rows]
    held = [{"unit": unit_of(b["segment"])} | b for b in bins]
    return build_panel(
        MARKET,
        pa.Table.from_pylist(cube, schema=CUBE),
        pa.Table.from_pylist(held, schema=HISTOGRAMS),
        pa.Table.from_pylist(deliveries, schema=DELIVERIES),
        days,
    )[0]


def unit_of(segment: str) -> str:
    return segment.split("|")[0].removeprefix("market=") if segment.startswith("market=") else "all"


def test_a_series_is_late_by_its_horizon_and_knows_of_which_day_it_speaks() -> None:
    late = MARKET.metric("overturn_rate").horizon
    assert 0 < late < 40
    rows = [
        {"day": day, "metric": "overturn_rate", "segment": "", "numerator": 10.0 + i, "denominator": 200.0}
        for i, day in enumerate(LONG)
    ]
    panel = market_panel(rows)
    assert np.isnan(panel.numerator[0, :late]).all()
    assert panel.numerator[0, late:].tolist() == [10.0 + i for i in range(40 - late)]
    assert panel.day(0, 39) == LONG[39 - late]


def test_a_total_over_markets_is_missing_on_a_day_on_which_any_market_is() -> None:
    rows = [
        {"day": day, "metric": "views", "segment": segment, "numerator": 1_000.0}
        for day in LONG
        for segment in ("", "market=ID", "kind=live")
    ]
    late = MARKET.metric("views").horizon
    panel = market_panel(rows, findings={("content_stats", "VN", 20): "missing", ("orders", "ID", 10): "missing"})
    holes = {name: np.flatnonzero(np.isnan(panel.numerator[i, late:])).tolist() for i, name in enumerate(panel.series)}
    assert holes == {"views|": [20], "views|market=ID": [], "views|kind=live": [20]}


def test_a_retired_market_holds_no_total_back() -> None:
    rows = [{"day": day, "metric": "views", "segment": "", "numerator": 1_000.0} for day in LONG]
    gone = {("content_stats", "VN", i): "retired" for i in range(40)}
    panel = market_panel(rows, findings=gone)
    assert not np.isnan(panel.numerator[0, MARKET.metric("views").horizon :]).any()


def test_a_rate_is_judged_by_its_events_and_its_exposure() -> None:
    rows = [
        {"day": day, "metric": "reports_per_1m_views", "segment": "", "numerator": 50.0, "denominator": 2e6}
        for day in LONG
    ]
    panel = market_panel(rows)
    assert panel.scale.tolist() == [Scale.RATE]
    assert panel.natural(panel.transformed())[0, 39] == pytest.approx(50.5 / 2e6)


def test_a_ratio_is_counted_in_events_with_the_variance_of_the_delta_method() -> None:
    """Creators sell a Poisson number of orders of 20 dollars: events are orders, however money is counted."""
    rng = np.random.default_rng(5)
    rows = []
    for day in LONG:
        clicks = rng.poisson(300, size=64).astype(float)
        orders = rng.poisson(0.05 * clicks)
        money = 20.0 * orders
        rows.append(
            {
                "day": day, "metric": "gpm", "segment": "", "numerator": money.sum(), "denominator": clicks.sum(),
                "n": 64, "numerator_sq": (money**2).sum(), "denominator_sq": (clicks**2).sum(),
                "product": (money * clicks).sum(),
            }
        )  # fmt: skip
    panel = market_panel(rows)
    assert np.median(panel.size[0, 10:]) == pytest.approx(20.0, rel=0.2)
    assert np.nanmean(panel.numerator) == pytest.approx(0.05 * 300 * 64, rel=0.2)
    assert panel.natural(panel.transformed())[0, 39] == pytest.approx(1.0, rel=0.15)


def test_a_weighted_share_is_counted_in_effective_draws() -> None:
    """With equal weights they are the draws; with unequal ones fewer, by Kish's rule."""
    rng = np.random.default_rng(6)
    effective = {}
    for name, weights in (("equal", np.ones(400)), ("unequal", np.repeat([1.0, 9.0], 200))):
        rows = []
        for day in LONG:
            y = (rng.random(400) < 0.1).astype(float)
            rows.append(
                {
                    "day": day, "metric": "violative_view_rate", "segment": "", "numerator": (weights * y).sum(),
                    "denominator": weights.sum(), "n": 400, "numerator_sq": (weights**2 * y).sum(),
                    "denominator_sq": (weights**2).sum(), "product": (weights**2 * y).sum(),
                }
            )  # fmt: skip
        panel = market_panel(rows)
        assert panel.scale.tolist() == [Scale.PROPORTION]
        effective[name] = float(np.nanmean(panel.denominator))
        assert np.nanmean(panel.numerator / panel.denominator) == pytest.approx(0.1, abs=0.02)
    assert effective["equal"] == pytest.approx(400, rel=0.1)
    assert effective["unequal"] == pytest.approx(400 * 25 / 41, rel=0.15)


def test_a_rare_positive_of_large_weight_counts_against_the_sample() -> None:
    """Three draws in ten stand for ten others and are seldom positive: most days meet no such positive, and
    what the sample knows must not be judged by those days alone."""
    rng = np.random.default_rng(7)
    days = [LONG[0] + dt.timedelta(days=i) for i in range(200)]
    rows = []
    for day in days:
        heavy = rng.random(100) < 0.3
        weights = np.where(heavy, 10.0, 1.0)
        y = (rng.random(100) < np.where(heavy, 0.01, 0.1)).astype(float)
        rows.append(
            {
                "day": day, "metric": "violative_view_rate", "segment": "", "numerator": (weights * y).sum(),
                "denominator": weights.sum(), "n": 100, "numerator_sq": (weights**2 * y).sum(),
                "denominator_sq": (weights**2).sum(), "product": (weights**2 * y).sum(),
            }
        )  # fmt: skip
    panel = market_panel(rows, days=days)
    share = panel.numerator[0] / panel.denominator[0]
    mean = float(np.average(share[28:], weights=panel.denominator[0, 28:]))
    errors = (share[28:] - mean) ** 2 * panel.denominator[0, 28:] / (mean * (1 - mean))
    assert 0.7 < float(np.nanmean(errors)) < 1.4, "the squared errors are about what so many draws would make"


def test_a_quantile_comes_from_the_days_histogram_and_is_missing_while_it_is_open() -> None:
    name = "report_to_action_p50"
    late = MARKET.metric(name).horizon
    rows = [
        {"day": day, "metric": name, "segment": "", "numerator": 100.0, "denominator": 100.0} for day in LONG
    ]  # fmt: skip
    bins = []
    for i, day in enumerate(LONG):
        edges = np.array([2.0, 8.0, 30.0])
        counts = [60, 30, 10] if i < 30 else [30, 60, 10]
        for value, count in zip(edges, counts, strict=True):
            bins.append({"day": day, "metric": name, "segment": "", "bin": bin_of(value), "count": count})
    bins = [b for b in bins if b["day"] != LONG[5]]
    bins.append({"day": LONG[5], "metric": name, "segment": "", "bin": OPEN, "count": 100})
    panel = market_panel(rows, bins)
    value = (panel.numerator / panel.denominator)[0, late:]
    assert np.isnan(value[5])
    assert value[0] == pytest.approx(2.0, rel=0.11)
    assert value[31] == pytest.approx(8.0, rel=0.11)


def bin_of(value: float) -> int:
    return int(np.floor(np.log(value) * PER_E_FOLD))


def test_small_series_are_not_judged_but_a_burst_in_one_is() -> None:
    floor = MARKET.ecosystem.detection.minimum_support
    rows = [{"day": day, "metric": "views", "segment": "", "numerator": floor - 1} for day in LONG[:-1]]
    rows.append({"day": LONG[-1], "metric": "views", "segment": "", "numerator": 5 * floor})
    late = MARKET.metric("views").horizon
    panel = market_panel([r | {"day": r["day"] - dt.timedelta(days=late)} for r in rows if r["day"] >= LONG[late]])
    assert panel.supported[0].tolist() == [False] * 39 + [True]


def clustered_day(metric: str, day: dt.date, y: Any, x: Any = None) -> dict[str, Any]:
    """A cube row of a metric whose clusters have the values y, and x for its denominator."""
    row = {"day": day, "metric": metric, "segment": "", "numerator": float(y.sum()), "n": len(y)}
    row["numerator_sq"] = float((y**2).sum())
    if x is not None:
        row |= {"denominator": float(x.sum()), "denominator_sq": float((x**2).sum()), "product": float((x * y).sum())}
    return row


def test_a_day_that_one_creator_makes_says_little_of_a_count() -> None:
    even, viral = np.full(50, 20.0), np.concatenate([np.full(49, 20.0), [19_020.0]])
    panel = market_panel([clustered_day("views", day, viral if i == 10 else even) for i, day in enumerate(LONG)])
    late = MARKET.metric("views").horizon
    assert panel.sampling[0, late] == pytest.approx(1 / 50)
    assert panel.sampling[0, late + 10] == pytest.approx(1.0, abs=0.15)


def test_a_rate_over_fewer_than_five_effective_creators_is_missing() -> None:
    clicks, views = np.full(30, 5.0), np.full(30, 100.0)
    one = np.concatenate([[30_000.0], np.full(29, 100.0)])
    rows = [clustered_day("product_ctr", day, clicks, one if i == 10 else views) for i, day in enumerate(LONG)]
    late = MARKET.metric("product_ctr").horizon
    panel = market_panel(rows)
    assert np.flatnonzero(np.isnan(panel.numerator[0, late:])).tolist() == [10]


def test_the_variance_of_a_share_respects_its_clusters() -> None:
    """Reports that are all right or all wrong within a creator know less than as many independent ones."""
    rng = np.random.default_rng(8)
    size, rate = 10.0, 0.3
    found = []
    for day in LONG:
        wrong = rng.random(64) < rate
        found.append(clustered_day("overturn_rate", day, size * wrong, np.full(64, size)))
    panel = market_panel(found)
    told = panel.sampling[0, MARKET.metric("overturn_rate").horizon :]
    independent = 1 / (64 * size * rate * (1 - rate))
    assert np.median(told) == pytest.approx(size * independent, rel=0.2)


def test_a_quantile_knows_its_own_error() -> None:
    """Woodruff's interval: of lognormal values the median's standard error on the log scale is 1.25 sigma / sqrt(n)."""
    rng = np.random.default_rng(9)
    name, n, sigma = "report_to_action_p50", 400, 0.5
    rows, bins = [], []
    for day in LONG:
        rows.append({"day": day, "metric": name, "segment": "", "numerator": float(n), "denominator": float(n)})
        held, counts = np.unique(np.floor(np.log(rng.lognormal(5, sigma, n)) * PER_E_FOLD), return_counts=True)
        bins += [
            {"day": day, "metric": name, "segment": "", "bin": int(b), "count": int(c)}
            for b, c in zip(held, counts, strict=True)
        ]
    told = market_panel(rows, bins).sampling[0, MARKET.metric(name).horizon :]
    assert np.sqrt(np.median(told)) == pytest.approx(1.25 * sigma / np.sqrt(n), rel=0.3)


def test_no_day_of_a_panel_depends_on_later_ones() -> None:
    """What is usual is taken from the past, or a replay would tell another story than living through it."""
    rng = np.random.default_rng(10)
    rows = []
    for i, day in enumerate(LONG):
        views = rng.lognormal(4, 1, 64) * (1 + i / 10)
        rows.append(clustered_day("gpm", day, rng.poisson(0.1 * views) * rng.lognormal(3, 1, 64), views))
        labels, weights = rng.random(300) < 0.1, rng.lognormal(0, 1 + i / 40, 300)
        drawn = clustered_day("violative_view_rate", day, weights * labels, weights)
        rows.append(drawn | {"product": float((weights**2 * labels).sum())})
    whole = market_panel(rows)
    for width in (20, 33):
        part = market_panel([r for r in rows if r["day"] in LONG[:width]], days=LONG[:width])
        assert part.series == whole.series
        for name in ("numerator", "denominator", "size", "sampling", "supported"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:, :width], err_msg=name)


# ── Order, memory, pools and cohorts ───────────────────────────────────────────────────────────────────────────────


def test_series_stand_in_the_order_of_their_names_whatever_the_order_of_the_rows() -> None:
    rows: list[Row] = [(day, "statements", f"platform={name}", 10.0 + day, None) for day in range(6) for name in "CAB"]
    rows += [(day, "account_terminations", "platform=B", 3.0, 500.0) for day in range(6)]
    one, units = panel_of(rows)
    other, other_units = panel_of(rows[::-1])
    assert list(one.series) == sorted(one.series)
    assert other.series == one.series
    assert other_units == units == ["B", "A", "B", "C"]
    for name in ("numerator", "denominator", "scale", "lag", "size", "supported", "sampling", "pool", "cohort"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_a_segment_without_an_event_for_twelve_weeks_is_gone_and_starts_anew() -> None:
    days = [FIRST + dt.timedelta(days=i) for i in range(REMEMBERED_DAYS + 20)]
    late = MARKET.metric("views").horizon
    again = REMEMBERED_DAYS + 10
    rows = [{"day": day, "metric": "views", "segment": "kind=video", "numerator": 900.0} for day in days]
    rows += [{"day": days[i], "metric": "views", "segment": "kind=live", "numerator": 5.0} for i in (2, again)]
    panel = market_panel(rows, days=days)
    found = panel.numerator[panel.series.index("views|kind=live"), late:]
    wanted = np.full(len(days) - late, NAN)
    wanted[2 : 2 + REMEMBERED_DAYS + 1] = 0.0
    wanted[2] = 5.0
    if again < len(wanted):
        wanted[again] = 5.0
        wanted[again + 1 :] = 0.0
    assert same(found.tolist(), wanted.tolist())


def test_series_of_one_metric_are_a_pool() -> None:
    rows: list[Row] = [(0, "statements", f"platform={name}", 10.0, None) for name in ("Ada", "Bob")]
    rows += [(0, "statements_by_category", ADS, 5.0, None), (0, "statements_by_category", BUYS, 5.0, None)]
    panel, _ = panel_of(rows)
    pools = {name: int(panel.pool[i]) for i, name in enumerate(panel.series)}
    by_metric: dict[str, set[int]] = {}
    for name, pool in pools.items():
        by_metric.setdefault(name.split("|")[0], set()).add(pool)
    assert {metric: len(numbers) for metric, numbers in by_metric.items()} == {
        "statements": 1, "statements_by_category": 1,
    }  # fmt: skip
    assert len(set(pools.values())) == 2


def test_parts_of_one_metric_in_one_unit_are_a_cohort_and_their_total_is_in_none() -> None:
    rows = [
        {"day": day, "metric": metric, "segment": segment, "numerator": 50.0}
        for day in LONG
        for metric in ("views", "orders_placed")
        for segment in ("", "market=ID", "market=VN", "market=ID|kind=live", "market=ID|kind=video", "kind=live",
                        "market=VN|kind=live")
        if metric == "views" or segment in ("", "market=ID")
    ]  # fmt: skip
    panel = market_panel(rows)
    cohort = {name: int(panel.cohort[i]) for i, name in enumerate(panel.series)}
    totals = ("views|", "views|market=ID", "views|market=VN", "orders_placed|", "orders_placed|market=ID")
    assert [cohort[name] for name in totals] == [-1] * 5
    assert cohort["views|market=ID|kind=live"] == cohort["views|market=ID|kind=video"] >= 0
    assert cohort["views|market=VN|kind=live"] >= 0
    parts = ("views|market=ID|kind=live", "views|market=VN|kind=live", "views|kind=live")
    assert len({cohort[name] for name in parts}) == 3, "of different units"


def test_where_no_total_shows_what_all_do_there_is_no_cohort() -> None:
    rows: list[Row] = [
        (day, "statements_by_category", segment, 5.0, None) for day in range(6) for segment in (ADS, BUYS)
    ]
    panel, _ = panel_of(rows)
    assert panel.cohort.tolist() == [-1, -1]


def test_pools_and_cohorts_have_the_same_numbers_in_every_panel() -> None:
    """What is kept of a day is kept under them."""
    rows = [
        {"day": day, "metric": "views", "segment": segment, "numerator": 50.0}
        for day in LONG
        for segment in ("market=ID", "market=ID|kind=live", "market=VN", "market=VN|kind=live")
    ]
    whole, part = market_panel(rows), market_panel([r for r in rows if "VN" in r["segment"]])
    for i, name in enumerate(part.series):
        j = whole.series.index(name)
        assert (part.pool[i], part.cohort[i]) == (whole.pool[j], whole.cohort[j])


def test_where_no_support_is_asked_for_every_series_is_large_enough_from_its_first_value_on() -> None:
    assert CATALOG.ecosystem.detection.minimum_support == 0
    panel, _ = panel_of([*VOLUME, (3, "statements_by_category", ADS, 5.0, None)])
    supported = dict(zip(panel.series, panel.supported.tolist(), strict=True))
    assert supported == {
        "statements|platform=Ada": [True] * 6,
        f"statements_by_category|{ADS}": [False] * 3 + [True] * 3,
    }
