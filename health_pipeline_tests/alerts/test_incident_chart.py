"""The picture in an incident's thread: what it shows, what it says to those who do not see it, and its weight."""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
import unicodedata
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from health_pipeline import charts
from health_pipeline.catalog.model import Event
from health_pipeline.charts.render import chunks
from health_pipeline.charts_incident import (
    LONGEST_ALT,
    alternative_text,
    incident_chart,
    incident_drawing,
    incident_picture,
    marked_days,
)
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, from_table
from health_pipeline.incidents.series import Course, Point
from health_pipeline.pipeline import Pipeline
from health_pipeline_tests.alerts.situations import catalog_of
from health_pipeline_tests.conftest import LAST, Built

MARKET = catalog_of("marketplace")
NEWEST = dt.date(2026, 9, 28)
ONSET = NEWEST - dt.timedelta(days=13)
HORIZON = MARKET.metric("confirmed_violations").horizon
SALE = Event(day=dt.date(2026, 9, 9), title="9.9 sale day")
HOSTILE = "<!channel> \u202eevil\u200b\x07\r\n![x](javascript:1) & " + "long " * 500


def back(days: int) -> dt.date:
    return NEWEST - dt.timedelta(days=days)


def incident(**changes: Any) -> Incident:
    values: dict[str, Any] = {
        "day": NEWEST, "id": "id-integrity-2026-09-15", "kind": "shift", "family": "integrity", "unit": "ID",
        "state": "ongoing", "first_reported": back(11), "last_reported": NEWEST, "headline_reported": NEWEST,
        "onset": ONSET, "onset_low": back(15), "onset_high": ONSET, "metric": "confirmed_violations",
        "segment": "market=ID|category=beauty", "series": "confirmed_violations|market=ID|category=beauty",
        "shape": "level", "direction": "up", "expected": 3.5, "observed": 22.0, "change": 5.3, "change_low": 2.9,
        "change_high": 9.0, "excess": 19.0, "q_value": 0.002, "tested": 1_248,
    }  # fmt: skip
    return Incident(**values | changes)


def told(**changes: Any) -> Course:
    """Ten weeks; no data on one day; a band since the last four weeks; the last two days immature."""
    points = []
    for n in range(70, -1, -1):
        day = back(n)
        observed = None if n == 33 else 20.0 + n % 3 if day >= ONSET else 3.0 + n % 4
        band = (4.0, 1.5, 11.0) if HORIZON <= n <= 28 else (None, None, None)
        points.append(Point(day, observed, *band))
    return dataclasses.replace(Course(tuple(points), back(HORIZON - 1), (SALE,)), **changes)


def part(spec: charts.Spec, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(p["data"]["values"] for p in spec["layer"] if p["name"] == name)
    return found


def text_of(spec: charts.Spec) -> str:
    return " ".join(str(v.get("text", "")) for p in spec["layer"] for v in p["data"]["values"])


def at(day: dt.date) -> float:
    return charts.milliseconds(day)


def test_it_is_small_and_not_wider_than_people_can_see_it() -> None:
    picture = incident_picture(MARKET, incident(), told())
    assert picture is not None
    width, height = struct.unpack(">II", picture.png[16:24])
    assert width == 900 and 500 <= height <= 700
    assert len(picture.png) < 45_000
    assert len(dict(chunks(picture.png))[b"PLTE"]) <= 3 * 64
    assert picture.filename == "id-integrity-2026-09-15-2026-09-28.png"


def test_it_shows_band_onset_events_and_a_tail_that_is_no_part_of_the_change() -> None:
    spec = incident_chart(MARKET, incident(), told())
    assert [r["day"] for r in part(spec, "onset")] == [at(ONSET)]
    assert [r["day"] for r in part(spec, "event")] == [at(SALE.day)]
    assert part(spec, "onset interval") == [
        {"from": at(back(15)) - charts.DAY_MS / 2, "to": at(ONSET) + charts.DAY_MS / 2}
    ]
    band = [(r["low"], r["high"]) for r in part(spec, "band") if r["low"] is not None]
    assert band == [(1.5, 11.0)] * (29 - HORIZON)
    assert part(spec, "immature") == [
        {"from": at(back(HORIZON - 1)) - charts.DAY_MS / 2, "to": at(NEWEST) + charts.DAY_MS / 2}
    ]
    assert [r["day"] for r in part(spec, "immature days")] == [at(back(n)) for n in range(HORIZON - 1, -1, -1)]
    coloured = [r["day"] for r in part(spec, "incident")]
    assert (coloured[0], coloured[-1]) == (at(ONSET), at(back(HORIZON)))
    assert "Beauty in Indonesia: confirmed violations up ×6.3" in text_of(spec)
    assert "tinted: still arriving" in text_of(spec)


def test_without_a_tail_nothing_is_tinted_and_nothing_said_of_it() -> None:
    spec = incident_chart(MARKET, incident(), told(immature_from=None))
    assert not [p["name"] for p in spec["layer"] if p["name"].startswith("immature")]
    assert "tinted" not in text_of(spec) + alternative_text(MARKET, incident(), told(immature_from=None))


def test_the_days_of_a_change_that_is_over_end_with_it_and_not_with_its_last_judgement() -> None:
    over = incident(state="recovered", ended=back(3), headline_reported=back(4))
    assert marked_days(MARKET, over) == (ONSET, back(4 + HORIZON))
    short = incident(state="recovered", ended=back(12), headline_reported=back(12))
    assert marked_days(MARKET, short) == (ONSET, ONSET)


def test_the_words_say_what_the_picture_shows() -> None:
    said = alternative_text(MARKET, incident(), told())
    assert wording.sentence(MARKET, incident()) in said
    for part_ in (
        "20 July 2026 to 28 September 2026",
        "its interval 13 September 2026 to 15 September 2026",
        "On 26 September 2026 it was 22; 95 % of ordinary days are within 1.5 to 11.",
        "The last 2 days, from 27 September 2026, are tinted: still arriving and not judged yet.",
        "1 day has no data.",
        "Marked as coincident: 9.9 sale day (9 September).",
    ):
        assert part_ in said
    assert len(said) <= LONGEST_ALT


def test_the_report_the_thread_and_dagster_draw_the_same_marks() -> None:
    """Their sizes differ, and a page says beside the picture what it is about."""
    thread = incident_chart(MARKET, incident(), told())
    page = incident_chart(MARKET, incident(), told(), titled=False, width=880, height=300)
    for name in ("band", "expected", "observed", "incident", "onset", "immature"):
        assert part(thread, name) == part(page, name)
    assert not any(p["name"] == "title" for p in page["layer"])


def test_what_was_not_delivered_has_no_picture(little: Path, built: Built) -> None:
    assert incident_picture(MARKET, incident(kind="data"), told()) is None
    assert incident_picture(MARKET, incident(), Course(())) is None
    pipeline = Pipeline.of(str(little), built.home)
    draw = incident_drawing(pipeline.catalog, pipeline.series_sources)
    hole = incident(kind="data", metric="", segment="", series="", table="statements", unit="TikTok", day=LAST)
    assert draw(hole) is None


def test_every_shift_of_the_bundled_ecosystem_is_drawn_from_the_lake(little: Path, built: Built) -> None:
    pipeline = Pipeline.of(str(little), built.home)
    draw = incident_drawing(pipeline.catalog, pipeline.series_sources)
    found = [i for i in from_table(pipeline.tables.incidents.read([LAST])) if i.kind == "shift"]
    assert found
    for one in found[:5]:
        picture = draw(one)
        assert picture is not None
        assert picture.png.startswith(b"\x89PNG")
        assert wording.sentence(pipeline.catalog, one) in picture.alt
        assert picture.filename == f"{one.id}-{LAST}.png"


def test_dagster_shows_the_weightiest_open_incident(built: Built) -> None:
    made = [e.materialization for e in built.runs["judge"].get_asset_materialization_events()]
    shown = [m.metadata["weightiest"] for m in made if "weightiest" in m.metadata][-1]
    assert isinstance(shown, dg.MarkdownMetadataValue)
    assert (shown.md_str or "").startswith("![Line chart of daily values")
    assert "](data:image/png;base64," in (shown.md_str or "")


@pytest.mark.parametrize("segment", [f"market=ID|category={HOSTILE}", f"market={HOSTILE}"])
def test_hostile_names_neither_break_the_picture_nor_its_words(segment: str) -> None:
    bad = incident(segment=segment, series=f"confirmed_violations|{segment}", id="../<x>/" + "y" * 300)
    picture = incident_picture(MARKET, bad, told(events=(Event(day=ONSET, title=HOSTILE),)))
    assert picture is not None
    assert 0 < len(picture.alt) <= LONGEST_ALT
    assert not [c for c in picture.alt if unicodedata.category(c) in ("Cc", "Cf", "Cs")]
    assert len(picture.filename) < 200
    assert set(picture.filename) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")
    assert struct.unpack(">II", picture.png[16:24])[0] == 900
