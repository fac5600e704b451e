"""Shifts of real platforms on real days, from the bundled sample through cube and deliveries."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics import cube
from health_pipeline.raw import deliveries
from health_pipeline.shifts.schema import BANDS, SHIFTS
from health_pipeline.shifts.shifts import DIGITS, _rounded, derivation, window
from health_pipeline.stats.detect import LOOKBACK
from health_pipeline.storage.derive import Derived, derive
from health_pipeline.storage.engine import Engine, date_range
from health_pipeline.storage.lake import Lake
from health_pipeline.tables import Tables

CATALOG = load_catalog("eu_dsa")
ENGINE = Engine()
PLATFORMS = ["TikTok", "Google Shopping", "Pinterest"]
SPRING = date_range(dt.date(2024, 2, 25), dt.date(2024, 6, 22))
SUMMER = date_range(dt.date(2025, 5, 26), dt.date(2025, 7, 4))
MINORS = "platform=TikTok|category=STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
OUTAGE = (dt.date(2024, 6, 4), dt.date(2024, 6, 19))


def judge(tables: Tables, days: list[dt.date]) -> Derived:
    t = tables
    return derive(derivation(CATALOG, t.cube, t.histograms, t.deliveries, t.shifts, t.bands), days)


@pytest.fixture(scope="module")
def tables(workplace: Path) -> Tables:
    """Cube and deliveries of three platforms from the sample's first day on, and the judgements of two seasons."""
    days = date_range(CATALOG.ecosystem.start, SUMMER[-1])
    tables = Tables.of(Lake(workplace / "real-shifts", "eu_dsa"), CATALOG)
    rows = pq.read_table(CATALOG.sample).sort_by([(name, "ascending") for name in CATALOG.tables[0].key])
    rows = rows.filter(pc.is_in(rows["platform"], pa.array(PLATFORMS)))
    for day, part in cube.split_by_day(rows, days):
        tables.facts["statements"].publish(day, part)
    derive(cube.derivation(CATALOG, ENGINE, tables.facts, tables.cube, tables.histograms), days)
    derive(deliveries.derivation(CATALOG, ENGINE, tables.facts, tables.deliveries), days)
    judge(tables, SPRING)
    judge(tables, SUMMER)
    return tables


@pytest.fixture(scope="module")
def shifts(tables: Tables) -> pd.DataFrame:
    return tables.shifts.read().to_pandas()


def of(shifts: pd.DataFrame, series: str, day: dt.date) -> pd.Series:
    found = shifts[(shifts.series == series) & (shifts.day == day)]
    assert len(found) == 1, f"{series} on {day}: {len(found)} shifts"
    return found.iloc[0]


def test_the_fall_of_google_shopping_on_30_may_2025_is_reported_that_day(shifts: pd.DataFrame) -> None:
    fall = of(shifts, "statements|platform=Google Shopping", dt.date(2025, 5, 30))
    assert fall.onset == fall.onset_low == fall.onset_high == dt.date(2025, 5, 30)
    assert (fall.kind, fall.direction, fall.unit, fall.days) == ("spike", "down", "Google Shopping", 1)
    assert -0.85 < fall.change_low < fall.change < fall.change_high < -0.4
    assert fall.excess == pytest.approx(fall.observed - fall.expected)
    assert fall.excess < -1e7
    after_a_week = of(shifts, "statements|platform=Google Shopping", dt.date(2025, 6, 6))
    assert (after_a_week.kind, after_a_week.onset) == ("level", dt.date(2025, 5, 30))


def test_the_fall_of_tiktok_on_1_july_2025_is_reported_that_day(shifts: pd.DataFrame) -> None:
    fall = of(shifts, "statements|platform=TikTok", dt.date(2025, 7, 1))
    assert (fall.onset, fall.direction, fall.observed) == (
        dt.date(2025, 7, 1),
        "down",
        pytest.approx(107_411, rel=0.01),
    )
    assert fall.change < -0.8
    later = of(shifts, "statements|platform=TikTok", dt.date(2025, 7, 4))
    assert (later.onset_low, later.kind, later.direction) == (dt.date(2025, 7, 1), "level", "down")
    assert later.change < -0.5


def test_protection_of_minors_rises_in_the_first_week_of_march_2024(shifts: pd.DataFrame) -> None:
    rise = shifts[(shifts.series == f"category_share|{MINORS}") & (shifts.direction == "up")]
    march = rise[(rise.day >= dt.date(2024, 3, 1)) & (rise.day <= dt.date(2024, 3, 7))]
    assert not march.empty
    assert set(march.onset) <= set(date_range(dt.date(2024, 3, 1), dt.date(2024, 3, 7)))
    assert march.change.min() > 0.5
    assert (march.observed < 0.1).all()


def test_protection_of_minors_falls_on_6_may_2024(shifts: pd.DataFrame) -> None:
    # Its share at once; the volume, which swings more, within three days and with the same first day.
    for metric, latest in (("category_share", 6), ("statements_by_category", 8)):
        found = shifts[(shifts.series == f"{metric}|{MINORS}") & (shifts.direction == "down")]
        found = found[(found.day >= dt.date(2024, 5, 6)) & (found.day <= dt.date(2024, 5, latest))]
        assert not found.empty, metric
        assert set(found.onset) == {dt.date(2024, 5, 6)}
        assert found.change.max() < -0.5


def in_the_outage(shifts: pd.DataFrame) -> pd.DataFrame:
    """Shifts of TikTok that began, and were first reported, during its outage and the backlog that ended it."""
    tiktok = shifts[shifts.unit == "TikTok"]
    tiktok = tiktok[(tiktok.onset >= OUTAGE[0]) & (tiktok.onset <= OUTAGE[1])]
    return tiktok[(tiktok.day >= OUTAGE[0]) & (tiktok.day <= OUTAGE[1])]


def test_neither_the_outage_of_june_2024_nor_its_backlog_is_a_shift_of_volume(shifts: pd.DataFrame) -> None:
    found = in_the_outage(shifts)
    assert "statements" not in set(found.metric)
    incomplete = [*date_range(dt.date(2024, 6, 4), dt.date(2024, 6, 15)), dt.date(2024, 6, 18), OUTAGE[1]]
    assert not set(found.day) & set(incomplete)
    assert not set(found.onset) & set(incomplete)


def test_no_shift_at_all_is_reported_of_an_outage_and_its_backlog(shifts: pd.DataFrame) -> None:
    found = in_the_outage(shifts)
    assert found.empty, "\n" + found[["day", "series", "onset", "expected", "observed", "change"]].to_string()


def test_a_band_shows_what_was_missing_and_what_was_expected(tables: Tables) -> None:
    bands = tables.bands.read([dt.date(2024, 6, 6), dt.date(2024, 6, 3)]).to_pandas()
    volume = bands[bands.series == "statements|platform=TikTok"].set_index("day")
    missing, whole = volume.loc[dt.date(2024, 6, 6)], volume.loc[dt.date(2024, 6, 3)]
    assert np.isnan(missing.observed)
    assert whole.observed == 2_298_888
    for band in (missing, whole):
        assert 1e6 < band.low < band.expected < band.high < 1e7


def test_every_series_of_the_day_is_in_the_bands_once_and_in_order(tables: Tables) -> None:
    for day in (SPRING[0], SUMMER[-1]):
        held = tables.bands.read([day]).to_pandas()
        assert list(held.series) == sorted(set(held.series))
        known = held.dropna(subset=["low", "high"])
        assert len(known) > 0.9 * len(held)
        assert ((known.low <= known.expected) & (known.expected <= known.high)).all()
        assert (held.series == held.metric + "|" + held.segment).all()


def test_what_a_band_does_not_know_is_null_and_not_a_number_that_compares(tables: Tables) -> None:
    """A query for days below their band must not find every day of a series whose noise is not known yet."""
    rows = tables.bands.read([SPRING[0]])
    assert rows.filter(pc.is_nan(rows["low"])).num_rows == 0
    assert rows.filter(pc.is_nan(rows["high"])).num_rows == 0


def test_the_rows_keep_their_promises(shifts: pd.DataFrame) -> None:
    assert len(shifts) > 200
    assert (shifts.onset_low <= shifts.onset).all()
    assert (shifts.onset <= shifts.onset_high).all()
    assert (shifts.onset_high <= shifts.day).all()
    assert ((shifts.change_low <= shifts.change) & (shifts.change <= shifts.change_high)).all()
    assert ((shifts.direction == "up") == (shifts.change > 0)).all()
    assert ((shifts.kind == "spike") == (shifts.days <= 2)).all()
    assert (shifts.p_value <= shifts.q_value).all()
    assert (shifts.q_value <= CATALOG.ecosystem.detection.false_discovery_rate).all()
    assert not shifts.duplicated(["day", "series"]).any()
    types = {m.name: m.type for m in CATALOG.metrics}
    assert (shifts.denominator.isna() == (shifts.metric.map(types) == "count")).all()
    share = shifts[shifts.metric.map(types) == "proportion"]
    assert share.observed.between(0, 1).all()
    assert np.allclose(share.excess, (share.observed - share.expected) * share.denominator, rtol=1e-4)


def test_a_day_judged_alone_has_the_content_it_has_in_a_season(tables: Tables, tmp_path: Path) -> None:
    other = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    for day in (dt.date(2024, 3, 6), dt.date(2024, 5, 9), dt.date(2025, 6, 1), dt.date(2025, 7, 1)):
        derive(derivation(CATALOG, tables.cube, tables.histograms, tables.deliveries, other.shifts, other.bands), [day])
        for alone, season in ((other.shifts, tables.shifts), (other.bands, tables.bands)):
            one, among = alone.partition(day), season.partition(day)
            assert one is not None
            assert among is not None
            assert one.content == among.content, f"{alone.name} of {day}"


def test_the_first_day_of_an_ecosystem_is_judged_without_reports(tables: Tables, tmp_path: Path) -> None:
    other = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    first = date_range(CATALOG.ecosystem.start, CATALOG.ecosystem.start + dt.timedelta(days=10))
    for days in (first[:1], first[:2], first):
        result = derive(
            derivation(CATALOG, tables.cube, tables.histograms, tables.deliveries, other.shifts, other.bands), days
        )
        assert set(result.rows) == set(days)
    assert other.shifts.days() == first
    assert other.shifts.read().schema == SHIFTS
    assert other.shifts.read().num_rows == 0
    assert other.bands.read().schema == BANDS


def test_an_ecosystem_without_any_data_is_judged_without_reports(tmp_path: Path) -> None:
    nothing = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    assert judge(nothing, SPRING[:2]).rows == {day: [0, 0] for day in SPRING[:2]}


def test_a_judgement_reads_as_far_back_as_it_can_depend_and_not_before_the_start() -> None:
    day = dt.date(2040, 1, 1)
    assert window(day, CATALOG) == date_range(day - dt.timedelta(days=LOOKBACK), day)
    assert window(SPRING[0], CATALOG) == date_range(CATALOG.ecosystem.start, SPRING[0])


@given(st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")), max_size=20))
def test_rounding_keeps_nine_digits_and_is_idempotent(values: list[float]) -> None:
    array = np.array([v if abs(v) > 1e-12 or v != v else 0.0 for v in values])
    rounded = _rounded(array)
    np.testing.assert_allclose(rounded, array, rtol=10.0 ** (1 - DIGITS), atol=0)
    np.testing.assert_allclose(_rounded(rounded), rounded, rtol=1e-15, atol=0)
