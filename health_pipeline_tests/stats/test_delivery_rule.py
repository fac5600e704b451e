"""A missing day is not a zero, half a day is not a fall, and a backlog is not a rise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.stats.delivery import (
    BACKLOG,
    CATCH_UP,
    EMPTY,
    LEARNING,
    MEMORY,
    PARTIAL,
    RAMP,
    RETIRED,
    Finding,
    State,
    judge,
)

USUAL = [1_000.0] * MEMORY
VOLUMES = st.lists(st.none() | st.floats(1, 1e7) | st.sampled_from([1.0, 10.0, 500.0, 1_000.0, 1_500.0, 5_000.0]))


def live(volumes: Sequence[float | None]) -> list[tuple[Finding, State]]:
    """Findings and states, day after day."""
    state, lived = State(), []
    for volume in volumes:
        finding, state = judge(state, volume)
        lived.append((finding, state))
    return lived


def findings(volumes: Sequence[float | None]) -> list[Finding]:
    return [finding for finding, _ in live(volumes)]


def after(*volumes: float | None) -> list[Finding]:
    """Findings of these days, after a month of 1,000 a day."""
    return findings([*USUAL, *volumes])[len(USUAL) :]


@cache
def sample() -> dict[str, dict[dt.date, float]]:
    rows = pq.read_table(load_catalog("eu_dsa").sample, columns=["day", "platform", "attribute", "statements"])
    volumes: dict[str, dict[dt.date, float]] = {}
    for row in rows.filter(pc.equal(rows["attribute"], "rows")).to_pylist():
        volumes.setdefault(row["platform"], {})[row["day"]] = float(row["statements"])
    return volumes


@cache
def real(platform: str) -> dict[dt.date, Finding]:
    """Findings of a platform from its first day to the sample's last."""
    volumes = sample()[platform]
    days = [min(volumes) + dt.timedelta(days=i) for i in range((dt.date(2025, 9, 30) - min(volumes)).days + 1)]
    return dict(zip(days, findings([volumes.get(day) for day in days]), strict=True))


def test_tiktoks_outage_of_june_2024_is_followed_through_its_life() -> None:
    june = {day: real("TikTok")[dt.date(2024, 6, day)] for day in range(1, 31)}
    assert {day: finding for day, finding in june.items() if finding != "complete"} == {
        4: "empty",
        5: "missing", 6: "missing", 7: "missing", 8: "missing", 9: "missing",
        10: "partial",
        11: "empty", 12: "empty",
        13: "partial", 14: "partial",
        15: "backlog", 16: "settling", 17: "settling",
        18: "backlog", 19: "backlog", 20: "settling", 21: "settling", 22: "settling",
    }  # fmt: skip


def test_tiktok_is_missing_from_5_september_2025_to_the_end_of_the_sample() -> None:
    assert real("TikTok")[dt.date(2025, 9, 4)] == "complete"
    assert {finding for day, finding in real("TikTok").items() if day >= dt.date(2025, 9, 5)} == {"missing"}


@pytest.mark.parametrize(
    ("platform", "day", "share"),
    [("TikTok", dt.date(2025, 7, 1), 0.05), ("Google Shopping", dt.date(2025, 5, 30), 0.35)],
)
def test_a_real_fall_is_not_a_hole(platform: str, day: dt.date, share: float) -> None:
    before = [sample()[platform][day - dt.timedelta(days=i)] for i in range(1, 8)]
    assert sample()[platform][day] < share * sum(before) / 7, "the fall this test is about"
    assert {real(platform)[day + dt.timedelta(days=i)] for i in range(14)} == {"complete"}


def test_steady_platforms_are_complete_every_day_they_deliver() -> None:
    for platform in ("App Store", "Pinterest", "Snapchat"):
        assert set(real(platform).values()) == {"complete"}


def test_a_platform_that_ended_retires() -> None:
    amazon = real("Amazon")
    last = max(day for day, finding in amazon.items() if finding not in ("missing", "retired"))
    silence = [finding for day, finding in amazon.items() if day > last]
    assert silence == ["missing"] * RETIRED + ["retired"] * (len(silence) - RETIRED)


def test_a_day_without_delivery_is_missing_also_for_a_unit_hardly_known() -> None:
    assert findings([5.0, None, 5.0]) == ["complete", "missing", "complete"]


def test_next_to_nothing_is_empty_and_a_low_day_out_of_nowhere_is_a_fall() -> None:
    assert after(EMPTY * 1_000 - 1) == ["empty"]
    assert after(EMPTY * 1_000 + 1) == ["complete"]
    assert after(PARTIAL * 1_000 - 1, 300.0, 300.0) == ["complete"] * 3


def test_the_days_right_after_an_outage_may_be_partial_and_then_a_low_level_is_a_level() -> None:
    low = PARTIAL * 1_000 - 1
    assert after(None, *[low] * (RAMP + 2)) == ["missing", *["partial"] * RAMP, "complete", "complete"]
    assert after(None, PARTIAL * 1_000 + 1) == ["missing", "complete"]


def test_a_backlog_is_only_called_one_while_something_is_owed() -> None:
    high = BACKLOG * 1_000 + 1
    assert after(high, high) == ["complete", "complete"], "no outage, no backlog"
    assert after(None, None, None, 3_000.0, 1_500.0, 1_500.0) == [
        "missing", "missing", "missing", "backlog", "backlog", "backlog"
    ]  # fmt: skip
    # 1,000 are owed. 2,000 bring all of it, so the day after is a rise.
    assert after(None, 2_000.0, 2_000.0) == ["missing", "backlog", "complete"]


def test_a_backlog_comes_within_two_weeks_or_is_a_rise() -> None:
    owed = [None] * 5
    assert after(*owed, *[1_000.0] * (CATCH_UP - 1), 2_000.0)[-1] == "backlog"
    assert after(*owed, *[1_000.0] * CATCH_UP, 2_000.0)[-1] == "complete"


def test_ordinary_days_between_two_backlogs_are_settling_while_something_is_owed() -> None:
    """What arrives then mixes the day's rows with those of earlier days, so that its shares are no day's shares."""
    owed = [None] * 5
    assert after(*owed, 2_000.0, *[1_000.0] * (RAMP + 1))[5:] == ["backlog", *["settling"] * RAMP, "complete"]
    assert after(*owed, 2_000.0, 1_000.0, 2_000.0, 1_000.0)[5:] == ["backlog", "settling", "backlog", "settling"]
    assert after(None, 2_000.0, 1_000.0)[1:] == ["backlog", "complete"], "all of it has come"
    assert after(*owed, 1_000.0)[-1] == "complete", "no backlog yet"


def test_a_unit_silent_for_sixty_days_retires_and_comes_back_anew() -> None:
    assert after(*[None] * (RETIRED + 3)) == ["missing"] * RETIRED + ["retired"] * 3
    again = after(*[None] * (RETIRED + 1), 10.0, 10.0, 9_000.0)
    assert again[-3:] == ["complete"] * 3, "nothing is expected of it, nothing owed"
    assert live([*USUAL, *[None] * (RETIRED + 1)])[-1][1] == State(silent=RETIRED + 1)


def test_one_delivery_starts_the_silence_anew() -> None:
    assert "retired" not in after(*[None] * RETIRED, 1_000.0, *[None] * RETIRED)


def test_what_is_expected_is_the_median_of_the_last_complete_days() -> None:
    assert live([1.0] * (LEARNING - 1))[-1][1].expected is None
    assert live([1.0] * LEARNING)[-1][1].expected == 1.0
    state = live([*USUAL, None, 5_000.0, *[2_000.0] * MEMORY])[-1][1]
    assert (state.expected, len(state.recent)) == (2_000.0, MEMORY)
    incomplete = live([*USUAL, None, 1.0, 100.0])
    assert [f for f, _ in incomplete[-3:]] == ["missing", "empty", "partial"]
    assert incomplete[-1][1].recent == tuple(USUAL), "incomplete days teach nothing"


@given(VOLUMES, VOLUMES)
def test_later_days_never_change_a_verdict(volumes: list[float | None], later: list[float | None]) -> None:
    assert findings([*volumes, *later])[: len(volumes)] == findings(volumes)


@given(VOLUMES)
def test_the_rules_hold_on_any_history(volumes: list[float | None]) -> None:
    state = State()
    for volume in volumes:
        before = state
        finding, state = judge(before, volume)
        assert (finding in ("missing", "retired")) == (volume is None)
        if finding in ("empty", "partial"):
            assert volume < PARTIAL * before.expected  # type: ignore[operator]
        if finding == "backlog":
            assert before.owed > 0
            assert before.since is not None
            assert volume > BACKLOG * before.expected  # type: ignore[operator]
            assert state.owed < before.owed
        if finding != "complete":
            assert state.recent in (before.recent, ())
        assert len(state.recent) <= MEMORY


@given(st.lists(st.none() | st.integers(0, 12)), st.integers(1, 20))
def test_the_unit_of_volume_does_not_matter(powers: list[int | None], doublings: int) -> None:
    small = [None if p is None else 2.0**p for p in powers]  # powers of two: exact under this scaling
    large = [None if p is None else 2.0 ** (p + doublings) for p in powers]
    assert findings(large) == findings(small)


@given(st.lists(st.floats(500.0, 20_000.0)))
def test_who_never_missed_a_day_is_always_complete(volumes: list[float]) -> None:
    assert set(findings(volumes)) <= {"complete"}
