"""What the report and the summary are told of a home in which days were judged."""

from __future__ import annotations

from pathlib import Path

from health_pipeline.pipeline import Pipeline
from health_pipeline.report.load import load_report
from health_pipeline_tests.conftest import LAST, Built

DAYS = 90


def test_series_judged_are_those_of_the_last_day_with_a_p_value(little: Path, built: Built) -> None:
    pipeline = Pipeline.of(str(little), built.home)
    report = load_report(pipeline, DAYS)
    bands = pipeline.tables.bands.read([LAST])
    assert 0 < report.series_judged == bands.filter(bands["judged"]).num_rows < report.series_followed == bands.num_rows


def test_every_headline_comes_with_its_series_up_to_the_last_day(little: Path, built: Built) -> None:
    report = load_report(Pipeline.of(str(little), built.home), DAYS)
    assert report.headlines
    for headline in report.headlines:
        points = report.courses[headline.incident.id].points
        assert points[-1].day == report.last_day
        assert points[0].day < headline.incident.onset
