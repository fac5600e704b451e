"""What the report and the summary are told of a home in which days were judged."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from health_pipeline.pipeline import Pipeline
from health_pipeline.report.load import _bands, load_report
from health_pipeline.storage.engine import date_range
from health_pipeline_tests.conftest import LAST, Built

DAYS = 90


def test_series_judged_are_those_of_the_last_day_with_a_p_value(little: Path, built: Built) -> None:
    pipeline = Pipeline.of(str(little), built.home)
    report = load_report(pipeline, DAYS)
    bands = pipeline.tables.bands.read([LAST])
    assert 0 < report.series_judged == bands.filter(bands["judged"]).num_rows < report.series_followed == bands.num_rows


def test_a_series_has_a_past_before_it_was_followed(little: Path, built: Built) -> None:
    pipeline = Pipeline.of(str(little), built.home)
    window = pipeline.days_to_judge(DAYS)
    bands = pipeline.tables.bands.read(window, ["day", "series"])
    first = bands.group_by("series").aggregate([("day", "min")])
    young = first.filter(pc.greater(first["day_min"], pa.scalar(window[0])))["series"].to_pylist()
    assert young, "some series grew large enough within the window"
    cube = pipeline.tables.cube.read(window[:1], ["metric", "segment"])
    there = {f"{m}|{s}" for m, s in zip(cube["metric"].to_pylist(), cube["segment"].to_pylist(), strict=True)}
    name = next(s for s in young if s in there)
    rows = _bands(pipeline, window, {name})[name]
    days = [row["value_day"] for row in rows]
    assert days == date_range(days[0], days[-1])
    assert days[0] <= window[0] - dt.timedelta(days=20)
    assert rows[days.index(window[0])]["expected"] is None
    assert rows[days.index(window[0])]["observed"] >= 0
    assert rows[-1]["expected"] is not None
