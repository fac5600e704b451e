"""The command, over the little ecosystem in a home in which everything was done once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from health_pipeline_tests.conftest import Deployment


def test_two_settings_side_by_side_and_nothing_published_is_changed(deployment: Deployment) -> None:
    before = deployment.pointers()
    out = deployment.home.root / "mine"
    done = deployment.cli(
        "backtest", "--days", "14", "--warm-up", "0", "--b", "minimum_score=5,per_day=1", "--out", str(out),
        "--minutes-per-message", "5",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for said in ("A: as in the catalog", "per_day 1", "incidents a week", "minutes of the worst day",
                 "Reported by both", "Reported by only A", "5 minutes for each message"):  # fmt: skip
        assert said in done.stdout
    assert re.search(r"17 September 2025 to 30 September 2025.*14 of 14 days judged", done.stdout)
    assert "precision" not in done.stdout  # nobody knows the truth of real data
    assert {p.name for p in out.iterdir()} == {"report.html", "incidents-A.csv", "incidents-B.csv"}
    assert "against the truth" not in (out / "report.html").read_text(encoding="utf-8").lower()
    assert deployment.pointers() == before


def test_a_home_without_data_says_which_command_loads(empty: Deployment) -> None:
    done = empty.cli("backtest")
    assert done.returncode == 1
    assert "Nothing of" in done.stderr and f"health-pipeline run --ecosystem {empty.catalog_folder}" in done.stderr


def test_a_wrong_setting_ends_the_command_at_once(empty: Deployment) -> None:
    done = empty.cli("backtest", "--b", "false_discovery=0.1")
    assert done.returncode == 4
    assert "Did you mean false_discovery_rate?" in done.stderr
