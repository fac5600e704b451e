"""From cube rows to a dense panel: missing is told apart from zero."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics.schema import CUBE
from health_pipeline.raw.schema import DELIVERIES
from health_pipeline.shifts.panel import build_panel
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
        {"day": day, "unit": unit, "finding": finding}
        for unit in units
        for day, finding in zip(DAYS, (findings or {}).get(unit, ["complete"] * 6), strict=True)
        if finding is not None
    ]
    return build_panel(
        CATALOG, pa.Table.from_pylist(cube, schema=CUBE), pa.Table.from_pylist(deliveries, schema=DELIVERIES), DAYS
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
    deliveries = [{"day": DAYS[0], "unit": unit, "finding": "complete"} for unit in ("Zoe", "Ada")]
    cube = [{"day": DAYS[0], "metric": "statements", "segment": "platform=Ada", "unit": "Ada", "whole": "platform=Ada", "numerator": 1.0}]  # fmt: skip # noqa: E501
    panel, units = build_panel(
        CATALOG, pa.Table.from_pylist(cube, schema=CUBE), pa.Table.from_pylist(deliveries, schema=DELIVERIES), DAYS
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
