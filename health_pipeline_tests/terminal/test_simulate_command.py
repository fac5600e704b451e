"""``health-pipeline simulate``: what it writes, what it says, and its mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from health_pipeline.marketplace.scenario import bundled
from health_pipeline_tests.conftest import here


def test_it_writes_the_files_and_says_what_was_planted(tmp_path: Path) -> None:
    out = tmp_path / "twin"
    options = "--scenario logging_outage --creators 30 --days 20 --start 2026-08-01"
    done = here("simulate", str(out), *options.split())
    assert done.returncode == 0, done.stderr
    assert (out / "orders" / "orders.parquet").exists()
    assert (out / "ground_truth" / "incidents.parquet").exists()
    assert "30 creators at the start, 2026-08-01 to 2026-08-20" in done.stdout
    assert (
        "No content statistics for four days, two of them recovered; market=TH; 2026-08-08 to 2026-08-11."
        in done.stdout
    )


def test_it_lists_every_scenario() -> None:
    done = here("simulate", "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:-1]] == list(bundled())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("OUT", "--scenario", "counterfit_wave"), 4, "Did you mean 'counterfeit_wave'?"),
        (("OUT", "--days", "5"), 4, "Simulate more days"),
        (("OUT", "--start", "July"), 4, "Write it as 2026-07-01."),
        ((".",), 4, "is not empty"),
        ((), 2, "Give a new folder"),
        (("OUT", "--files", "month"), 2, "whole"),
    ],
)
def test_a_mistake_is_told_in_a_sentence_and_writes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    out = tmp_path / "out"
    done = here("simulate", *(str(out) if a == "OUT" else a for a in arguments))
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
