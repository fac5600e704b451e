"""Numbers, changes and incidents in words: what people read, letter by letter."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident, Member
from health_pipeline.stats.delivery import Finding

CATALOG = load_catalog("eu_dsa")
RESTRICTIONS = {"decision_visibility", "decision_account", "decision_provision", "decision_monetary"}
SELF_HARM = "platform=TikTok|category=STATEMENT_CATEGORY_SELF_HARM"


def fall(**changes: Any) -> Incident:
    """TikTok files half as many statements since 1 July 2025, told on 4 July."""
    values: dict[str, Any] = {
        "day": dt.date(2025, 7, 4), "id": "tiktok-statements-2025-07-01", "kind": "shift", "family": "statements",
        "unit": "TikTok", "state": "ongoing", "first_reported": dt.date(2025, 7, 1),
        "last_reported": dt.date(2025, 7, 4), "headline_reported": dt.date(2025, 7, 4), "onset": dt.date(2025, 7, 1),
        "onset_low": dt.date(2025, 7, 1), "onset_high": dt.date(2025, 7, 1), "series": "statements|platform=TikTok",
        "metric": "statements", "segment": "platform=TikTok", "shape": "level", "direction": "down",
        "expected": 2_900_000.0, "observed": 1_200_000.0, "change": -0.586, "change_low": -0.66, "change_high": -0.49,
        "excess": -1_700_000.0, "q_value": 1e-6, "tested": 1_200,
    }  # fmt: skip
    return Incident(**(values | changes))


def hole(shape: Finding, **changes: Any) -> Incident:
    return fall(
        **{"kind": "data", "family": "delivery", "series": "", "metric": "", "segment": "", "shape": shape} | changes
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"), (0.04, "0"), (0.4, "0.4"), (1, "1"), (1.5, "1.5"), (9.4, "9.4"), (11.6, "12"), (312.4, "312"),
        (9_999, "9,999"), (10_000, "10.0 k"), (41_000, "41.0 k"), (312_000, "312 k"), (2_900_000, "2.9 M"),
        (28_600_000_000, "28.6 bn"), (-300_000, "-300 k"), (-0.3, "-0.3"),
    ],
)  # fmt: skip
def test_counts(value: float, words: str) -> None:
    assert wording.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(9_999.6, "10.0 k"), (99_960, "100 k"), (999_499, "999 k"), (999_999, "1.0 M"), (999.9e6, "1.0 bn")],
)
def test_a_count_never_rounds_up_to_a_thousand_of_its_unit(value: float, words: str) -> None:
    assert wording.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 %"), (1, "100 %"), (1e-9, "less than 1 per million"), (8e-6, "8 per million"),
        (8.7e-5, "87 per million"),         (0.00042, "0.042 %"),
        (0.0042, "0.42 %"), (0.042, "4.2 %"), (0.41, "41 %"), (0.995, "99.50 %"), (0.987, "98.7 %"),
        (0.9996, "99.960 %"), (0.999999, "100 %"), (-0.1, "0 %"), (1.1, "100 %"),
    ],
)  # fmt: skip
def test_shares(value: float, words: str) -> None:
    assert wording.share(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (42, "42 s"), (89, "89 s"), (90, "1.5 min"), (420, "7.0 min"), (2_520, "42 min"), (5_400, "1.5 h"),
        (18_720, "5.2 h"), (108_000, "30 h"), (172_800, "2.0 days"), (1_209_600, "14 days"), (6e7, "694 days"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("relative", "words"),
    [
        (0, "+0 %"), (0.52, "+52 %"), (-0.48, "−48 %"), (0.004, "+0.4 %"), (-0.004, "−0.4 %"), (0.994, "+99 %"),
        (-1, "−100 %"), (1, "×2.0"), (5.1, "×6.1"), (11.4, "×12"), (309, "×310"), (1_233, "×1,234"),
        (1e6, "more than ×10,000"), (1e300, "more than ×10,000"),
    ],
)  # fmt: skip
def test_changes(relative: float, words: str) -> None:
    assert wording.change(relative) == words


@given(st.floats(-1.0, 1e9))
@example(0.9999)
@example(-0.00001)
def test_a_change_shows_its_direction_with_a_typographic_minus(relative: float) -> None:
    words = wording.change(relative)
    assert "-" not in words
    if relative >= 1:
        assert "×" in words
    elif abs(relative) >= 0.001:
        assert words[0] == ("+" if relative > 0 else "−")


@pytest.mark.parametrize("relative", [1e-5, -1e-5, 4e-4, -4e-4, -0.0])
def test_a_change_too_small_to_show_has_no_direction(relative: float) -> None:
    assert wording.change(relative) == "+0 %"


def spoken(words: str) -> float:
    """The number that a person understands."""
    units = {"bn": 1e9, "M": 1e6, "k": 1e3}
    number, _, unit = words.replace(",", "").partition(" ")
    return float(number) * units.get(unit, 1.0)


@given(st.floats(0.1, 9e11))
@example(9_999.5)
@example(999_999.9)
@example(10.5)
def test_a_count_is_understood_to_within_a_few_percent(value: float) -> None:
    assert spoken(wording.number(value)) == pytest.approx(value, rel=0.05, abs=0.051)


@given(st.floats(1e-5, 0.9999))
def test_a_share_is_understood_to_within_a_few_percent(value: float) -> None:
    number, unit = wording.share(value).split(" ", 1)
    share = float(number) / {"%": 1e2, "per million": 1e6}[unit]
    assert share == pytest.approx(value, rel=0.051)
    assert 1 - share == pytest.approx(1 - value, rel=0.06), "and so is what is missing to all of it"


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_what_is_more_never_reads_as_less(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert spoken(wording.number(less)) <= spoken(wording.number(more)) * (1 + 1e-12)


def test_a_value_is_told_in_the_unit_of_its_metric() -> None:
    assert wording.value(CATALOG.metric("statements"), 1_200_000) == "1.2 M"
    assert wording.value(CATALOG.metric("category_share"), 0.0325) == "3.2 %"
    assert wording.value(CATALOG.metric("moderation_delay"), 7_200) == "2.0 h"


def test_what_is_not_known_is_no_number() -> None:
    assert wording.value(CATALOG.metric("statements"), float("nan")) == wording.change(float("nan")) == "unknown"
    assert wording.interval(float("nan"), 0.5) == "interval not known"


def test_days_are_written_out() -> None:
    assert wording.day(dt.date(2025, 7, 1)) == "1 July 2025"


@pytest.mark.parametrize(
    ("metric", "segment", "words"),
    [
        ("statements", "platform=TikTok", "TikTok: statements filed"),
        ("statements_by_category", SELF_HARM, "TikTok: statements for Self harm"),
        ("category_share", SELF_HARM, "TikTok: share of statements for Self harm"),
        ("statements_by_restriction", "platform=TikTok|restriction=MEASURE_SHOP_CLOSED",
         "TikTok: statements with the restriction Shop closed"),
        ("content_type_share", "platform=Joom|content_type=CONTENT_TYPE_PRODUCT",
         "Joom: share of statements on content of type Product"),
        ("account_terminations", "platform=App Store", "App Store: account terminations per statement"),
    ],
)  # fmt: skip
def test_a_series_is_named_in_words(metric: str, segment: str, words: str) -> None:
    assert wording.subject(CATALOG, CATALOG.metric(metric), segment) == words


def test_no_code_of_the_sample_reaches_the_reader() -> None:
    rows = pq.read_table(CATALOG.sample, columns=["attribute", "value"])
    values = {name: set(CATALOG.dimension(name).labels) for name in ("category", "content_type", "restriction")}
    for row in rows.group_by(["attribute", "value"]).aggregate([]).to_pylist():
        name = "restriction" if row["attribute"] in RESTRICTIONS else row["attribute"]
        values.setdefault(name, set()).add(row["value"])
    assert min(len(values[name]) for name in ("category", "content_type", "restriction")) >= 8
    for metric in CATALOG.metrics:
        for value in values[metric.by[-1]] if len(metric.by) > 1 else [""]:
            segment = "platform=TikTok" + (f"|{metric.by[-1]}={value}" if value else "")
            words = wording.subject(CATALOG, metric, segment)
            assert not re.search(r"_|[{}]|[A-Z]{4}", words.replace("LIVE", "")), words


def test_the_parts_of_a_segment_have_labels() -> None:
    assert wording.segment(CATALOG, SELF_HARM) == {"platform": "TikTok", "category": "Self harm"}
    assert wording.segment(CATALOG, "") == {}


NUMBERS = "TikTok: statements filed fell from 2.9 M to 1.2 M a day (−59 %, 95 % CI −66 % to −49 %)"


@pytest.mark.parametrize(
    ("changes", "when"),
    [
        ({}, "since 1 July 2025"),
        ({"state": "new"}, "since 1 July 2025"),
        ({"shape": "spike"}, "on 1 July 2025"),
        ({"state": "recovered", "headline_reported": dt.date(2025, 7, 3)}, "from 1 July 2025 to 3 July 2025"),
        ({"state": "settled"}, "since 1 July 2025, and that is now the usual level"),
    ],
)
def test_a_shift_in_a_sentence(changes: dict[str, Any], when: str) -> None:
    assert wording.sentence(CATALOG, fall(**changes)) == f"{NUMBERS} {when}."


def test_a_spike_of_one_day_that_recovered_was_on_that_day() -> None:
    over = fall(shape="spike", state="recovered", headline_reported=dt.date(2025, 7, 1))
    assert wording.sentence(CATALOG, over) == f"{NUMBERS} on 1 July 2025."


def test_a_share_in_a_sentence_is_not_a_day() -> None:
    rise = fall(
        metric="category_share", segment=SELF_HARM, direction="up", expected=0.0012, observed=0.0166, change=12.8,
        change_low=9.3, change_high=18.4,
    )  # fmt: skip
    assert wording.sentence(CATALOG, rise) == (
        "TikTok: share of statements for Self harm rose from 0.12 % to 1.7 % "
        "(×14, 95 % CI ×10 to ×19) since 1 July 2025."
    )
    assert wording.title(CATALOG, rise) == "TikTok: share of statements for Self harm up ×14"


def test_a_rise_from_nothing_in_a_sentence() -> None:
    rise = fall(direction="up", expected=0.0, observed=40_000.0, change=8e4, change_low=700.0, change_high=9e9)
    assert wording.sentence(CATALOG, rise) == (
        "TikTok: statements filed rose from 0 to 40.0 k a day "
        "(more than ×10,000, 95 % CI ×701 to more than ×10,000) since 1 July 2025."
    )


def test_a_fall_to_nothing_in_a_sentence() -> None:
    gone = fall(observed=0.0, change=-1.0, change_low=-1.0, change_high=-0.997)
    assert "fell from 2.9 M to 0 a day (−100 %, 95 % CI −100 % to −100 %)" in wording.sentence(CATALOG, gone)


def test_a_delay_in_a_sentence() -> None:
    rise = fall(
        metric="moderation_delay", direction="up", expected=2_520.0, observed=18_720.0, change=6.43, change_low=4.0,
        change_high=9.5,
    )  # fmt: skip
    assert wording.sentence(CATALOG, rise) == (
        "TikTok: mean moderation delay rose from 42 min to 5.2 h (×7.4, 95 % CI ×5.0 to ×10) since 1 July 2025."
    )


@pytest.mark.parametrize(
    ("shape", "during", "after"),
    [
        ("missing", "TikTok has delivered nothing", "TikTok delivered nothing"),
        ("empty", "TikTok has delivered next to nothing", "TikTok delivered next to nothing"),
        ("partial", "TikTok has delivered only part of its data", "TikTok delivered only part of its data"),
        ("settling", "TikTok is settling after a backlog", "TikTok delivered late, with a backlog"),
        ("backlog", "TikTok is catching up on a backlog", "TikTok delivered late, with a backlog"),
    ],
)
def test_a_hole_in_the_data_while_it_lasts_and_afterwards(shape: Finding, during: str, after: str) -> None:
    assert wording.title(CATALOG, hole(shape)) == during
    assert wording.sentence(CATALOG, hole(shape)) == (
        f"{during} since 1 July 2025, 4 days so far. Its metrics are not judged on these days."
    )
    over = {"state": "recovered", "ended": dt.date(2025, 7, 4), "last_reported": dt.date(2025, 7, 3)}
    assert wording.title(CATALOG, hole(shape, **over)) == after
    assert wording.sentence(CATALOG, hole(shape, **over)) == (
        f"{after} from 1 July 2025 to 3 July 2025. Its metrics were not judged on those days."
    )


def test_every_finding_that_makes_a_hole_has_words() -> None:
    assert set(wording.FINDINGS) == set(get_args(Finding)) - {"complete", "retired"}


def test_a_hole_of_one_day() -> None:
    first = hole("missing", day=dt.date(2025, 7, 1), last_reported=dt.date(2025, 7, 1), state="new")
    assert wording.sentence(CATALOG, first).startswith("TikTok has delivered nothing since 1 July 2025, 1 day so far.")
    over = hole("missing", state="recovered", ended=dt.date(2025, 7, 4), last_reported=dt.date(2025, 7, 1))
    assert wording.sentence(CATALOG, over).startswith("TikTok delivered nothing on 1 July 2025.")


def test_a_hole_whose_unit_retired() -> None:
    retired = hole("missing", state="settled", ended=dt.date(2025, 8, 30))
    assert wording.sentence(CATALOG, retired) == (
        "TikTok has delivered nothing since 1 July 2025 and is not expected any more."
    )


def test_a_contributing_shift_in_a_line() -> None:
    member = Member(
        f"statements_by_category|{SELF_HARM}", "statements_by_category", SELF_HARM, dt.date(2025, 7, 1), 4_000.0, 0.0,
        -1.0, -1.0, -0.95, -4_000.0, 1e-4, dt.date(2025, 7, 2), "ongoing",
    )  # fmt: skip
    assert wording.member(CATALOG, member) == (
        "TikTok: statements for Self harm 4,000 → 0 (−100 %, 95 % CI −100 % to −95 %)"
    )
    again = dataclasses.replace(member, onset=dt.date(2025, 6, 4), change=0.4)
    other = dataclasses.replace(again, series="another")
    assert wording.member(CATALOG, member, [member, other]) == wording.member(CATALOG, member)
    assert wording.member(CATALOG, member, [other, again, member]).endswith("to −95 %), onset 1 July 2025")


def test_the_title_of_a_shift() -> None:
    assert wording.title(CATALOG, fall()) == "TikTok: statements filed down 59 %"


# ── Where segments are many ─────────────────────────────────────────────────────────────────────────────────────────

MARKET = load_catalog("marketplace")


@pytest.mark.parametrize(
    ("metric", "segment", "words"),
    [
        ("overturn_rate", "", "All markets: overturn rate"),
        ("overturn_rate", "market=ID", "Indonesia: overturn rate"),
        ("overturn_rate", "policy=counterfeit", "Counterfeit in all markets: overturn rate"),
        (
            "overturn_rate", "market=ID|kind=live|category=beauty",
            "Livestreams, beauty in Indonesia: overturn rate",
        ),
    ],
)  # fmt: skip
def test_a_segment_is_named_after_what_is_measured(metric: str, segment: str, words: str) -> None:
    assert wording.subject(MARKET, MARKET.metric(metric), segment) == words


@pytest.mark.parametrize(
    ("metric", "amount", "words"),
    [
        ("violative_view_rate", 0.00163, "0.16 %"),
        ("reports_per_1m_views", 312e-6, "312"),
        ("gpm", 0.00452, "4.52"),
        ("backlog_age_p90", 30.0, "30 h"),
        ("minutes_to_action_p50", 7.25, "7.2 min"),
        ("days_to_reoffend_p50", 12.0, "12 days"),
        ("views", 1_250_000.0, "1.2 M"),
    ],
)
def test_values_are_told_in_the_unit_people_use(metric: str, amount: float, words: str) -> None:
    assert wording.value(MARKET.metric(metric), amount) == words


def test_a_shift_of_a_segment_in_a_sentence() -> None:
    incident = fall(
        unit="ID", metric="gpm", segment="market=ID|category=beauty", direction="down", expected=0.0045,
        observed=0.0030, change=-1 / 3, change_low=-0.4, change_high=-0.25,
    )  # fmt: skip
    assert wording.sentence(MARKET, incident) == (
        "Beauty in Indonesia: GMV per 1k views fell from 4.5 to 3 (−33 %, 95 % CI −40 % to −25 %) since 1 July 2025."
    )


def test_a_hole_names_the_table_where_there_are_several() -> None:
    incident = hole("missing", unit="VN", table="content_stats", ended=dt.date(2025, 7, 4), state="recovered")
    assert wording.sentence(MARKET, incident) == (
        "Vietnam (content statistics) delivered nothing from 1 July 2025 to 4 July 2025. "
        "Its metrics were not judged on those days."
    )


@pytest.mark.parametrize(
    ("noun", "several"),
    [("market", "markets"), ("country", "countries"), ("day", "days"), ("branch", "branches"), ("fox", "foxes")],
)
def test_plurals(noun: str, several: str) -> None:
    assert wording.plural(noun) == several
    assert (wording.count(1, noun), wording.count(1_250, noun)) == (f"1 {noun}", f"1,250 {several}")


def test_totals_are_of_all_units() -> None:
    country = MARKET.dimension("market").model_copy(update={"title": "Country"})
    others = tuple(d for d in MARKET.dimensions if d.name != "market")
    abroad = MARKET.model_copy(update={"dimensions": (country, *others)})
    assert wording.unit(MARKET, "all") == "All markets"
    assert wording.unit(abroad, "all") == "All countries"
    assert wording.unit(abroad, "ID") == "Indonesia"
