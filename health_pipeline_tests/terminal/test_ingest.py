"""``health-pipeline ingest``: what becomes of files, before they are delivered and when they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from health_pipeline_tests.conftest import here

HEADER = "market,day,event,ingested_at\n"
GOOD = "ID,2026-11-11,11.11,2026-07-01T00:00:00Z\nSG,2026-11-14,deepavali,2026-07-01T00:00:00Z\n"
BAD = "MX,2026-11-11,11.11,2026-07-01T00:00:00Z\nID,11.11.2026,11.11,2026-07-01T00:00:00Z\n"


TABLES = """
tables:
  - name: calendar
    title: Calendar
    description: What happens on which day.
    key: [market, day, event]
    day: day
    delivered_by: market
    version: ingested_at
    known_ahead: true
    columns:
      - {name: market, type: text, description: market, values: [ID, TH, VN, PH, MY, SG]}
      - {name: day, type: date, description: the day}
      - {name: event, type: text, description: what happens on it}
      - {name: ingested_at, type: timestamp, description: when this version of the row arrived}
  - name: orders
    title: Orders
    description: Orders by day.
    key: [day, market]
    day: day
    delivered_by: market
    columns:
      - {name: day, type: date, description: the day}
      - {name: market, type: text, description: market}
      - {name: orders, type: integer, description: how many}
"""
METRICS = """
dimensions:
  - {name: market, title: Market}
metrics:
  - name: orders
    title: orders
    description: Orders.
    type: count
    unit: orders
    bad: down
    owner: commerce
    table: orders
    by: [market]
    numerator: {sum: orders}
    family: orders
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of an ecosystem with two tables."""
    folder = tmp_path_factory.mktemp("catalog") / "shop"
    folder.mkdir()
    for name, text in (
        ("ecosystem", "name: shop\ntitle: Shop\ndescription: A shop.\nstart: 2026-07-01\n"),
        ("tables", TABLES),
        ("metrics", METRICS),
    ):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def ingest(home: Path, ecosystem: object, *arguments: object) -> subprocess.CompletedProcess[str]:
    return here("ingest", "-e", str(ecosystem), *map(str, arguments), HEALTH_PIPELINE_HOME=str(home))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_checking_good_files_says_what_is_in_them_and_loads_nothing(tmp_path: Path, home: Path, shop: Path) -> None:
    write(tmp_path / "in" / "calendar_1.csv", HEADER + GOOD + GOOD)
    write(tmp_path / "in" / "calendar" / "more.jsonl", json.dumps(
        {"market": "TH", "day": "2026-12-12", "event": "12.12", "ingested_at": "2026-07-01T00:00:00Z", "note": 1}
    ))  # fmt: skip
    write(tmp_path / "in" / "README.txt", "not data")
    write(tmp_path / "in" / "_SUCCESS", "")
    done = ingest(home, shop, tmp_path / "in", "--check")
    assert done.returncode == 0, done.stderr
    assert "Left alone: README.txt" in done.stdout
    assert "calendar_1.csv  CSV, table calendar" in done.stdout
    assert "4 rows: 2 accepted, 2 repeated, 0 quarantined" in done.stdout
    assert "2026-11-11 to 2026-11-14, rows on 2 of 4 days" in done.stdout
    assert "no rows on 2026-11-12, 2026-11-13" in done.stdout
    assert "ID 1, SG 1" in done.stdout
    assert "more.jsonl  JSON lines, table calendar" in done.stdout
    assert "drift: The column 'note' is new and ignored" in done.stdout
    assert "2026-12-12, one day" in done.stdout
    assert "All good." in done.stdout
    assert not home.exists()


def test_checking_bad_rows_gives_each_reason_with_its_first_row_and_exit_code_4(
    tmp_path: Path, home: Path, shop: Path
) -> None:
    file = write(tmp_path / "calendar.csv", HEADER + GOOD + BAD + BAD.replace("MX", "MM"))
    done = ingest(home, shop, file, "--check")
    assert done.returncode == 4
    assert "6 rows: 2 accepted, 4 quarantined" in done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    at = lines.index("2  day: not a date written YYYY-MM-DD")
    assert lines[at + 1] == "row 4, column day: ID,11.11.2026,11.11,2026-07-01T00:00:00Z"
    at = lines.index("2  market: unknown value 'MX'. Known here: ID, TH, VN, PH, MY, SG.")
    assert lines[at + 1] == "row 3, column market: MX,2026-11-11,11.11,2026-07-01T00:00:00Z"
    assert "1 of 1 file would not arrive whole: 0 can't be read, 4 rows would go to quarantine." in done.stderr
    assert not home.exists()


def test_checking_goes_on_after_a_file_that_cannot_be_read(tmp_path: Path, home: Path, shop: Path) -> None:
    files = [
        write(tmp_path / "calendar_1.csv", "market,day\n"),
        write(tmp_path / "unknown.csv", HEADER + GOOD),
        write(tmp_path / "calendar_2.csv", HEADER + GOOD),
        tmp_path / "nowhere.csv",
    ]
    done = ingest(home, shop, *files, "--check")
    assert done.returncode == 4
    assert "calendar_1.csv lacks the columns 'event' and 'ingested_at'." in done.stdout
    assert "unknown.csv does not say which table it belongs to." in done.stdout
    assert "2 rows: 2 accepted, 0 quarantined" in done.stdout
    assert "There is no file" in done.stdout
    assert "3 of 4 files would not arrive whole: 3 can't be read, 0 rows" in done.stderr


def test_ingesting_lands_files_and_says_what_is_next(tmp_path: Path, home: Path, shop: Path) -> None:
    file = write(tmp_path / "days.csv", HEADER + GOOD + BAD)
    done = ingest(home, shop, file, "--table", "calendar")
    assert done.returncode == 0, done.stderr
    assert "4 rows: 2 accepted, 2 quarantined" in done.stdout
    assert "1  market: unknown value" in done.stdout
    assert f'health-pipeline sql --ecosystem {shop} "FROM raw.quarantine"' in done.stdout
    assert f"Landed 1 of 1. Next: health-pipeline run --ecosystem {shop}" in done.stdout
    landed = list((home / "lake" / "shop" / "raw" / "_landing" / "calendar").glob("*/rows.parquet"))
    assert len(landed) == 1
    again = ingest(home, shop, file, "--table", "calendar")
    assert again.stdout == done.stdout


def test_ingesting_takes_what_it_can_and_ends_with_exit_code_4_otherwise(
    tmp_path: Path, home: Path, shop: Path
) -> None:
    good, bad = write(tmp_path / "calendar.csv", HEADER + GOOD), write(tmp_path / "orders.parquet", "no")
    done = ingest(home, shop, bad, good)
    assert done.returncode == 4
    assert "orders.parquet can't be read as Parquet." in done.stdout
    assert "Landed 1 of 2." in done.stdout
    assert "1 of 2 files can't be read." in done.stderr


def test_a_table_that_does_not_exist_and_a_folder_without_files_are_said(
    tmp_path: Path, home: Path, shop: Path
) -> None:
    write(tmp_path / "in" / "note.txt", "x")
    done = ingest(home, shop, tmp_path / "in", "--check")
    assert done.returncode == 4
    assert "holds no file to deliver" in done.stderr
    done = ingest(home, shop, tmp_path / "in", "--table", "calender")
    assert done.returncode == 4
    assert "Did you mean 'calendar'?" in done.stderr


def test_a_file_of_an_ecosystem_with_one_table_needs_no_name(tmp_path: Path, home: Path) -> None:
    text = "day,platform,attribute,value,statements,mean_seconds\n2025-10-01,TikTok,rows,all,5,\n"
    done = ingest(home, "eu_dsa", write(tmp_path / "mine.csv", text), "--check")
    assert done.returncode == 0, done.stderr
    assert "mine.csv  CSV, table statements" in done.stdout
    assert "Deliver: health-pipeline ingest PATH" in done.stdout


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_of_many_files_what_is_new_is_said_once_and_the_rest_in_sums(
    tmp_path: Path, home: Path, shop: Path, check: list[str]
) -> None:
    for day in range(1, 21):
        write(tmp_path / "in" / "orders" / f"{day:02}.csv", f"day,market,orders\n2026-07-{day:02},ID,{day}\n")
    for number in range(3):
        write(tmp_path / "in" / f"calendar_{number}.csv", HEADER + GOOD + BAD)
    write(tmp_path / "in" / "orders_more.csv", "day,market,orders,note\n2026-07-30,ID,5,x\n")
    done = ingest(home, shop, tmp_path / "in", *check)
    told = [line.split()[1] for line in done.stdout.splitlines() if line[:1] in "✓!✗" and line]
    bad = ["calendar_0.csv", "calendar_1.csv:", "calendar_2.csv:"]  # all are named: each has rows to correct
    assert [Path(name).name for name in told] == [*bad, "orders_more.csv"]
    assert "calendar_2.csv: 4 rows: 2 accepted, 2 quarantined" in done.stdout
    assert done.stdout.count("unknown value") == 1
    assert "drift: The column 'note' is new and ignored" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["calendar", "3", "6", "0", "6", "2026-11-11", "2026-11-14"] in rows
    assert ["orders", "21", "21", "0", "0", "2026-07-01", "2026-07-30"] in rows
    assert len(done.stdout.splitlines()) < 30
