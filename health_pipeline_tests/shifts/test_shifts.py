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
from health_pipeline.raw.loading import deliveries
from health_pipeline.shifts.panel import REMEMBERED_DAYS
from health_pipeline.shifts.schema import BANDS, SHIFTS, STATE
from health_pipeline.shifts.shifts import DIGITS, _rounded, derivation, window
from health_pipeline.stats.spans import LOOKBACK
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
    return derive(derivation(CATALOG, t.cube, t.histograms, t.deliveries, t.shifts, t.bands, t.states), days)


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


def of(shifts: pd.DataFrame, series: str, day: dt.date, onset: dt.date) -> pd.Series:
    """The one row about what began on a day."""
    found = shifts[(shifts.series == series) & (shifts.day == day) & (shifts.onset == onset)]
    assert len(found) == 1, f"{series} on {day}: {len(found)} shifts that began on {onset}"
    return found.iloc[0]


def test_the_fall_of_google_shopping_on_30_may_2025_is_reported_on_its_second_day(shifts: pd.DataFrame) -> None:
    began, told = dt.date(2025, 5, 30), dt.date(2025, 5, 31)
    fall = of(shifts, "statements|platform=Google Shopping", told, began)
    assert fall.onset == fall.onset_low == fall.onset_high == began
    assert (fall.kind, fall.direction, fall.unit, fall.days, fall.state, fall.reported_on) == (
        "spike", "down", "Google Shopping", 2, "new", told,
    )  # fmt: skip
    assert -0.95 < fall.change_low < fall.change < -0.6
    # As at the report, allowing for having been selected and for a pool whose single days are wild.
    assert fall.change_high < 0.1
    assert fall.excess == pytest.approx(fall.observed - fall.expected)
    assert fall.excess < -1e7


def test_the_fall_of_google_shopping_is_told_once_and_followed_every_day(shifts: pd.DataFrame) -> None:
    told = shifts[(shifts.series == "statements|platform=Google Shopping") & (shifts.onset == dt.date(2025, 5, 30))]
    assert list(told.state) == ["new"] + ["ongoing"] * (len(told) - 1)
    assert list(told.day) == date_range(told.day.iloc[0], SUMMER[-1])
    assert told.day.iloc[0] <= dt.date(2025, 5, 31)
    after_a_week = told[told.day >= dt.date(2025, 6, 6)]
    assert set(after_a_week.kind) == {"level"}
    assert (after_a_week.change_high < -0.4).all()


def test_the_fall_of_tiktok_on_1_july_2025_is_reported_that_day(shifts: pd.DataFrame) -> None:
    began = dt.date(2025, 7, 1)
    fall = of(shifts, "statements|platform=TikTok", began, began)
    assert (fall.state, fall.direction, fall.observed) == ("new", "down", pytest.approx(107_411, rel=0.01))
    assert fall.change < -0.8


def test_the_fall_of_tiktok_is_followed_when_it_turns_out_smaller(shifts: pd.DataFrame) -> None:
    # To 5 % of what was expected on 1 July, then to half of it: told the first day, and again as what it became.
    tiktok = shifts[(shifts.series == "statements|platform=TikTok") & (shifts.onset >= dt.date(2025, 7, 1))]
    down = tiktok[tiktok.direction == "down"]
    assert set(down[down.state == "new"].reported_on) <= {dt.date(2025, 7, 1), dt.date(2025, 7, 4)}
    assert set(down.day) >= set(date_range(dt.date(2025, 7, 1), SUMMER[-1])) - {dt.date(2025, 7, 3)}
    assert (down[down.day == SUMMER[-1]].change < -0.4).any()


def test_protection_of_minors_rises_in_the_first_week_of_march_2024(shifts: pd.DataFrame) -> None:
    rise = shifts[(shifts.series == f"category_share|{MINORS}") & (shifts.direction == "up") & (shifts.state == "new")]
    march = rise[(rise.day >= dt.date(2024, 3, 1)) & (rise.day <= dt.date(2024, 3, 7))]
    assert not march.empty
    assert set(march.onset) <= set(date_range(dt.date(2024, 3, 1), dt.date(2024, 3, 7)))
    assert march.change.min() > 0.5
    assert (march.observed < 0.1).all()


def test_protection_of_minors_falls_on_6_may_2024(shifts: pd.DataFrame) -> None:
    # Its share within a day; its volume, which swings more, within three, as a fall that began some days before.
    for metric, latest, earliest in (("category_share", 7, 6), ("statements_by_category", 9, 2)):
        found = shifts[(shifts.series == f"{metric}|{MINORS}") & (shifts.direction == "down") & (shifts.state == "new")]
        found = found[(found.day >= dt.date(2024, 5, 6)) & (found.day <= dt.date(2024, 5, latest))]
        assert not found.empty, metric
        assert found.onset.between(dt.date(2024, 5, earliest), dt.date(2024, 5, 6)).all()
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


def test_the_bands_tell_which_series_were_judged_and_as_many_as_the_reports_say(
    tables: Tables, shifts: pd.DataFrame
) -> None:
    bands = tables.bands.read([*SPRING, *SUMMER]).to_pandas()
    judged = bands.groupby("day").judged.sum()
    first = shifts[shifts.state == "new"]
    missing = first.tested - first.day.map(judged)
    assert (missing >= 0).all()
    assert (missing <= 0.02 * first.tested).all(), "some are judged on the first day of which they have no band yet"
    few = bands.groupby("day").size() - judged
    assert (few >= 0).all()
    assert (few > 0).any(), "some are followed and too small to be judged"
    assert bands[bands.judged].observed.notna().all()


def test_what_a_band_does_not_know_is_null_and_not_a_number_that_compares(tables: Tables) -> None:
    """A query for days below their band must not find every day of a series whose noise is not known yet."""
    rows = tables.bands.read([SPRING[0]])
    assert rows.filter(pc.is_nan(rows["low"])).num_rows == 0
    assert rows.filter(pc.is_nan(rows["high"])).num_rows == 0


def test_the_rows_keep_their_promises(shifts: pd.DataFrame) -> None:
    assert len(shifts) > 1_000
    assert (shifts.onset_low <= shifts.onset).all()
    assert (shifts.onset <= shifts.onset_high).all()
    assert (shifts.onset_high <= shifts.day).all()
    assert ((shifts.change_low <= shifts.change) & (shifts.change <= shifts.change_high)).all()
    assert ((shifts.state == "new") == (shifts.reported_on == shifts.day)).all()
    assert (shifts.reported_on <= shifts.day).all()
    assert (shifts.ended.notna() == (shifts.state == "recovered")).all()
    ended = shifts[shifts.ended.notna()]
    assert ((ended.onset < ended.ended) & (ended.ended <= ended.day)).all()
    assert set(shifts.kind) == {"spike", "level", "slope"}
    assert (shifts.p_value <= shifts.q_value).all()
    assert (shifts.q_value <= CATALOG.ecosystem.detection.false_discovery_rate).all()
    types = {m.name: m.type for m in CATALOG.metrics}
    assert (shifts.denominator.isna() == (shifts.metric.map(types) == "count")).all()
    share = shifts[shifts.metric.map(types) == "proportion"]
    assert share.observed.between(0, 1).all()
    assert share.expected.between(0, 1).all()
    assert np.allclose(share.excess, (share.observed - share.expected) * share.denominator, rtol=1e-4)
    numbers = shifts.select_dtypes("number").drop(columns="denominator")
    assert np.isfinite(numbers).all(axis=None)


def test_a_series_has_one_report_a_day_and_its_shifts_began_on_different_days(shifts: pd.DataFrame) -> None:
    assert not shifts.duplicated(["day", "series", "reported_on"]).any()
    twice = shifts[shifts.duplicated(["day", "series", "onset"], keep=False)]
    assert twice.empty, f"{len(twice)} rows\n" + twice[["day", "series", "reported_on", "onset", "change"]].to_string()


def test_a_shift_is_up_where_more_was_observed_than_expected(shifts: pd.DataFrame) -> None:
    wrong = shifts[(shifts.direction == "up") != (shifts.change > 0)]
    assert wrong.empty, (
        f"{len(wrong)} of {len(shifts)} rows\n" + wrong[["day", "series", "expected", "observed"]].to_string()
    )


def test_nothing_is_expected_of_a_count_that_was_never_near_it(shifts: pd.DataFrame, tables: Tables) -> None:
    largest = tables.cube.read(columns=["metric", "numerator"]).to_pandas().groupby("metric").numerator.max()
    counts = shifts[shifts.denominator.isna()]
    wild = counts[counts.expected > 10 * counts.metric.map(largest)]
    assert wild.empty, "\n" + wild[["day", "series", "expected", "observed"]].to_string()


def test_a_shift_has_a_row_every_day_until_it_is_over(shifts: pd.DataFrame) -> None:
    for season in (SPRING, SUMMER):
        held = shifts[(shifts.reported_on >= season[0]) & (shifts.day <= season[-1])]
        for (name, reported), rows in held.groupby(["series", "reported_on"]):
            over = rows.state.isin(["recovered", "settled"])
            last = rows.day[over].iloc[0] if over.any() else season[-1]
            assert list(rows.day) == date_range(reported, last), f"{name}, reported on {reported}"
            assert over.sum() <= 1


SEASON = date_range(dt.date(2024, 3, 1), dt.date(2024, 3, 14))
CUT = 6


def test_days_lived_one_by_one_have_the_content_they_have_in_a_batch(tables: Tables, tmp_path: Path) -> None:
    lived, batch = (Tables.of(Lake(tmp_path / name, "eu_dsa"), CATALOG) for name in ("lived", "batch"))
    t = tables

    def into(other: Tables, days: list[dt.date]) -> Derived:
        return derive(
            derivation(CATALOG, t.cube, t.histograms, t.deliveries, other.shifts, other.bands, other.states), days
        )

    into(batch, SEASON)
    for day in SEASON[:CUT]:
        assert into(lived, [day]).computed == [day]
    assert into(lived, SEASON).computed == SEASON[CUT:], "and what was lived holds"
    for one, among in ((lived.shifts, batch.shifts), (lived.bands, batch.bands), (lived.states, batch.states)):
        for day in SEASON:
            alone, all_ = one.partition(day), among.partition(day)
            assert alone is not None
            assert all_ is not None
            assert alone.content == all_.content, f"{one.name} of {day}"
    assert into(batch, SEASON).computed == []
    assert batch.states.read([SEASON[0]]).schema == STATE


def test_a_day_corrected_late_is_judged_anew_and_so_are_the_days_after_it(tables: Tables, tmp_path: Path) -> None:
    other = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    days = SEASON[:4]
    for day in date_range(days[0] - dt.timedelta(days=400), days[-1]):
        if (rows := tables.cube.read([day])).num_rows:
            other.cube.publish(day, rows)
            other.deliveries.publish(day, tables.deliveries.read([day]))
    judge(other, days)
    before = [other.states.partition(day) for day in days]
    rows = other.cube.read([days[2]])
    doubled = pc.multiply(rows["numerator"], 2.0)
    other.cube.publish(days[2], rows.set_column(rows.schema.get_field_index("numerator"), "numerator", doubled))
    assert judge(other, days).computed == days[2:]
    after = [other.states.partition(day) for day in days]
    changed = [a.content != b.content for a, b in zip(after, before, strict=True) if a and b]
    assert changed == [False, False, True, True]


def test_the_first_day_of_an_ecosystem_is_judged_without_reports(tables: Tables, tmp_path: Path) -> None:
    other = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    first = date_range(CATALOG.ecosystem.start, CATALOG.ecosystem.start + dt.timedelta(days=10))
    t = tables
    for days in (first[:1], first[:2], first):
        result = derive(
            derivation(CATALOG, t.cube, t.histograms, t.deliveries, other.shifts, other.bands, other.states), days
        )
        assert set(result.rows) == set(days)
    assert other.shifts.days() == first
    assert other.shifts.read().schema == SHIFTS
    assert other.shifts.read().num_rows == 0
    assert other.bands.read().schema == BANDS
    assert other.states.read().schema == STATE


def test_an_ecosystem_without_any_data_is_judged_without_reports(tmp_path: Path) -> None:
    nothing = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    assert judge(nothing, SPRING[:2]).rows == {day: [0, 0, 0] for day in SPRING[:2]}


def test_a_judgement_reads_as_far_back_as_it_can_depend_and_not_before_the_start() -> None:
    day = dt.date(2040, 1, 1)
    late = max(m.horizon for m in CATALOG.metrics)
    assert window(day, CATALOG) == date_range(day - dt.timedelta(days=LOOKBACK + REMEMBERED_DAYS + late), day)
    assert window(SPRING[0], CATALOG) == date_range(CATALOG.ecosystem.start, SPRING[0])


@given(st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")), max_size=20))
def test_rounding_keeps_nine_digits_and_is_idempotent(values: list[float]) -> None:
    array = np.array([v if abs(v) > 1e-12 or v != v else 0.0 for v in values])
    rounded = _rounded(array)
    np.testing.assert_allclose(rounded, array, rtol=10.0 ** (1 - DIGITS), atol=0)
    np.testing.assert_allclose(_rounded(rounded), rounded, rtol=1e-15, atol=0)
