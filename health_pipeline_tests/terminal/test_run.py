"""``health-pipeline run``: everything outstanding, and then what it means."""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest

from health_pipeline.report.report import STATES
from health_pipeline_tests.conftest import (
    LAST,
    Deployment,
    clean_environment,
    here,
    opened,
    scaled,
    spoilt,
    write_little_catalog,
)
from health_pipeline_tests.hand_clock import HandClock

PLATFORM = "AliExpress"
SECTIONS = (
    "What shifted, 11 September 2025 to 30 September 2025",
    "Review first, 30 September 2025",
    "Data quality",
    "Slack",
    "Next",
)


@pytest.fixture
def recent(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """The little ecosystem from the middle of July on, over a home in which nothing was done yet."""
    clean_environment(monkeypatch)
    with opened(write_little_catalog(tmp_path / "recent", dt.date(2025, 7, 15)), workplace) as new:
        yield new


def test_a_first_run_says_what_shifted_and_a_second_that_nothing_is_out_of_date(
    recent: Deployment, clock: HandClock
) -> None:
    first = recent.cli("run", "--days", "20")
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0] == recent.pipeline.catalog.ecosystem.title
    assert lines[1] == f"Everything is kept in {recent.home.root}"
    for step in ("Reading delivered files …", "Loading days: facts, deliveries, cube …",
                 "Judging days: shifts, incidents, risks …", "Queueing messages …"):  # fmt: skip
        assert step in lines
    loads, judges = (lines.index(line) for line in lines if line.startswith(("Loading days", "Judging days")))
    assert lines[loads + 1] == f"  {len(recent.pipeline.delivered_days())} days out of date"
    assert lines[judges + 1] == "  20 days out of date"
    headings = [m.group(1) for line in lines if (m := re.fullmatch(r"(\S.*?) ─+", line))]
    assert headings == list(SECTIONS)
    said = re.search(
        r"^([\d,]+) series judged on the last day, of ([\d,]+) followed; "
        r"at most \d+ % of all reports expected to be false\.",
        first.stdout, re.MULTILINE,
    )  # fmt: skip
    assert said
    bands = recent.pipeline.tables.bands.read([LAST])
    assert [f"{n:,}" for n in (pc.sum(bands["judged"]).as_py(), bands.num_rows)] == list(said.groups())
    assert re.search(rf"^1  [▁▂▃▄▅▆▇█╎ ]+  ({'|'.join(STATES.values())})$", first.stdout, re.MULTILINE)
    assert re.search(r"^ *1 +\d+\.\d  \S.* (rose|fell) from ", first.stdout, re.MULTILINE), "the ranked list"
    assert re.search(r"^\d+\.\d s in all: start \d.*, land \d.*, load \d.*, judge \d.*, alert \d.*, report \d",
                     first.stdout, re.MULTILINE)  # fmt: skip
    report = recent.home.report("little")
    assert f"Report           {report}" in lines
    assert f"Your own data    drop files into {recent.pipeline.inbox}" in lines
    assert recent.pipeline.catalog.ecosystem.title in report.read_text(encoding="utf-8")
    assert recent.pipeline.outstanding(20) is None

    before = recent.pointers()
    second = recent.cli("run", "--days", "20")
    assert (second.returncode, second.stderr) == (0, "")
    assert "Nothing is out of date." in second.stdout.splitlines()
    assert "Judging days" not in second.stdout
    assert recent.pointers() == before

    def found(text: str) -> str:
        return text[text.index("What shifted") : text.index("Next")]

    assert found(second.stdout) == found(first.stdout)


def test_a_run_takes_what_is_in_the_inbox(deployment: Deployment) -> None:
    """Twenty times the usual statements on the newest days: it is in the list, and in a message."""
    for back in range(3):
        day = LAST - dt.timedelta(days=back)
        just_now = 0 if day == LAST else 10
        deployment.deliver(f"{day}.parquet", scaled(deployment.facts(day, "App Store"), 20), seconds_ago=just_now)
    done = deployment.cli("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Loading days: facts, deliveries, cube …\n  3 days out of date\n" in done.stdout
    assert re.search(r"^ *\d+ +\d+\.\d  App Store: statements .* rose from .* since 28 September 2025", done.stdout,
                     re.MULTILINE)  # fmt: skip
    told = r"^\d+ messages? at once for #ecosystem-health; \d+ open incidents? not told\. The first:$"
    assert re.search(told, done.stdout, re.MULTILINE)
    assert re.search(r"^│ \S+ · P1 · App Store: statements .* up ", done.stdout, re.MULTILINE)
    page = f"As Slack shows   health-pipeline slack preview -e {deployment.catalog_folder} --html slack.html"
    assert page in done.stdout.splitlines()
    assert "Connect Slack    health-pipeline slack manifest" in done.stdout


def test_a_file_that_can_t_be_read_is_named_and_the_rest_goes_on(deployment: Deployment) -> None:
    path = deployment.pipeline.inbox / "broken.parquet"
    path.write_bytes(b"PAR1 and no more")
    os.utime(path, (time.time() - 10,) * 2)
    done = deployment.cli("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "! broken.parquet can't be read as Parquet. Write or copy it again; it may be cut short."
        in done.stdout.splitlines()
    )


def test_wrong_data_is_stopped_with_exit_code_5_and_what_to_do(deployment: Deployment) -> None:
    rows = deployment.facts(LAST, PLATFORM)
    bad = rows.num_rows // 2
    deployment.deliver("bad.parquet", spoilt(rows, bad))
    shown = deployment.cli("run")
    assert shown.returncode == 5
    total = rows.num_rows
    receipts = {r.name: r for r in deployment.pipeline.landing.receipts()}
    assert receipts["bad.parquet"].quarantined == bad
    delivered = receipts["sample.parquet"].delivered + total
    assert shown.stderr == (
        "✗ The check 'contract' of little/statements failed, and stopped what follows: files 2, rows delivered "
        f"{delivered}, rows in quarantine {bad}, largest share in quarantine {round(bad / total, 4)}, "
        "blocks above 0.05, largest in bad.parquet.\n"
        '  Nothing downstream was changed. health-pipeline sql "FROM raw.quarantine" says why each row was rejected; '
        "drop a corrected file into the inbox.\n"
    )


def test_a_run_that_breaks_names_its_error(empty: Deployment) -> None:
    (empty.pipeline.lake.root / "raw").mkdir(parents=True)
    (empty.pipeline.lake.root / "raw" / "_landing").touch()
    done = empty.cli("run")
    assert done.returncode == 5
    said, hint = done.stderr.splitlines()
    assert said.startswith("✗ The job little_land failed: NotADirectoryError: ")
    assert hint == "  The whole story is in the Dagster UI (health-pipeline up)."


def test_nothing_delivered_is_told_with_where_to_drop_files(empty: Deployment) -> None:
    folder = empty.home.root / "without_sample"
    folder.mkdir()
    for name in ("tables", "metrics", "ecosystem"):
        text = (empty.catalog_folder / f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text.replace("sample: sample.parquet\n", ""), encoding="utf-8")
    done = here("run", "-e", str(folder), HEALTH_PIPELINE_HOME=str(empty.home.root))
    assert done.returncode == 1
    assert done.stderr == (f"✗ Nothing was delivered yet.\n  Drop a file into {empty.pipeline.inbox} and run again.\n")
