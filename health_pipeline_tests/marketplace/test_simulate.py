"""A simulation is determined by its arguments, whole or not there at all, and as large as was asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from health_pipeline.errors import InputError
from health_pipeline.marketplace.scenario import Scenario, load_scenario
from health_pipeline.marketplace.simulate import simulate
from health_pipeline.marketplace.volumes import content_stats_day
from health_pipeline.marketplace.writer import contracts
from health_pipeline_tests.marketplace.conftest import BUSY, START, Make, Twin

SMALL = {"creators": 60, "days": 25}


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def small(make: Make) -> Twin:
    return make(BUSY, **SMALL)


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(make: Make, small: Twin) -> None:
    one, again, other = small, make(BUSY, **SMALL), make(BUSY, **SMALL | {"seed": 8})
    assert _hashes(one.folder) == _hashes(again.folder)
    differing = {name for name, digest in _hashes(other.folder).items() if digest != _hashes(one.folder)[name]}
    assert {f"{t}/{t}.parquet" for t in contracts()} - differing <= {
        "policy_events/policy_events.parquet",
        "calendar/calendar.parquet",
    }


def test_a_file_for_each_day_holds_the_same_rows_and_only_its_day(make: Make, small: Twin) -> None:
    whole, daily = small, make(BUSY, **SMALL, files="day")
    for table in contracts().values():
        order = ", ".join((*table.key, table.version or ""))
        assert daily.rows(f"FROM {table.name} ORDER BY {order}") == whole.rows(f"FROM {table.name} ORDER BY {order}")
        astray = daily.rows(
            f"SELECT filename FROM read_parquet('{daily.folder}/{table.name}/*.parquet', filename = true) "
            f"WHERE NOT contains(filename, CAST(CAST({table.day} AS DATE) AS VARCHAR)) LIMIT 1"
        )
        assert astray == []
    truth = [f.name for f in (whole.folder / "ground_truth").iterdir()]
    assert {t: _hashes(whole.folder / "ground_truth")[t] for t in truth} == _hashes(daily.folder / "ground_truth")


def test_a_simulation_that_is_interrupted_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    quiet = load_scenario("quiet")
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "out", quiet, creators=20, days=30, start=START, seed=1, progress=interrupt)
    assert [f for f in (tmp_path / "out").rglob("*") if f.is_file()] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        simulate(tmp_path, load_scenario("quiet"), creators=10, days=3, start=START, seed=1)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


def test_an_effect_outside_of_the_period_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(BUSY)
    with pytest.raises(InputError, match="Effect 1"):
        simulate(tmp_path / "out", scenario, creators=10, days=10, start=START, seed=1)
    assert not (tmp_path / "out").exists()


def test_volumes_per_thousand_creators_are_enough_to_see_things(quiet: Twin) -> None:
    """Of the parameters' promises, within a factor that chance allows at 400 creators."""
    days, thousands = quiet.made.days, quiet.made.creators / 1000
    daily = {
        "contents": quiet.value("SELECT count(*) FROM truth_contents"),
        "views": quiet.value("SELECT sum(views) FROM content_stats"),
        "orders": quiet.value("SELECT count(DISTINCT order_id) FROM orders"),
        "reports": quiet.value("SELECT count(DISTINCT report_id) FROM reports"),
        "decisions": quiet.value("SELECT count(DISTINCT decision_id) FROM decisions"),
    }
    wanted = {"contents": 600, "views": 1_100_000, "orders": 1_800, "reports": 220, "decisions": 90}
    for what, count in daily.items():
        assert 0.5 < count / days / thousands / wanted[what] < 2, what


def test_a_day_of_statistics_has_exactly_the_rows_that_were_asked_for(make: Make, tmp_path: Path, quiet: Twin) -> None:
    files = content_stats_day(tmp_path, 250_000, START, seed=3, rows_per_file=100_000)
    assert [f.name for f in files] == [f"content_stats-{START}-{n:04d}.parquet" for n in range(3)]
    day = f"read_parquet('{tmp_path}/content_stats/*.parquet')"
    assert quiet.value(f"SELECT count(*) FROM {day}") == 250_000
    keys = "count(DISTINCT (content_id, hour, surface)), count(DISTINCT CAST(hour AS DATE))"
    assert quiet.rows(f"SELECT {keys} FROM {day}") == [(250_000, 1)]
    per_creator = "count(*) / count(DISTINCT creator_id), count(*) / count(DISTINCT content_id)"
    (large,) = quiet.rows(f"SELECT {per_creator} FROM {day}")
    (small,) = quiet.rows(f"SELECT {per_creator} FROM content_stats WHERE CAST(hour AS DATE) = '2026-07-10'")
    assert large == pytest.approx(small, rel=0.3)
    assert quiet.rows(f"SELECT content_id FROM {day} GROUP BY 1 HAVING count(DISTINCT creator_id) > 1 LIMIT 1") == []
