"""``health-pipeline sql``: questions to the lake, from a terminal and from scripts."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess

import pytest

from health_pipeline_tests.conftest import COMMAND, FAR, LAST, Deployment

TABLES = (
    "incidents.incidents", "metrics.arrivals", "metrics.cube", "metrics.histograms", "metrics.maturity",
    "raw.deliveries", "raw.quarantine", "raw.statements", "risks.risks", "risks.track_records", "shifts.bands",
    "shifts.shifts", "shifts.states",
)  # fmt: skip


def test_a_query_is_answered_as_a_table(deployment: Deployment) -> None:
    done = deployment.cli("sql", "SELECT day, count(*) AS risks, 1234.5 AS number, NULL AS nothing FROM risks.risks "
                       f"WHERE day = '{LAST}' GROUP BY day")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["day", "risks", "number", "nothing"]
    count = deployment.pipeline.tables.risks.read([LAST]).num_rows
    assert row.split() == [LAST.isoformat(), str(count), "1234.5"]


def test_every_table_has_a_view(deployment: Deployment) -> None:
    views = (
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
        "WHERE table_type = 'VIEW' AND table_schema <> 'main' ORDER BY 1"
    )
    done = deployment.cli("sql", "--csv", views)
    assert done.stdout.splitlines() == ["name", *TABLES]


def test_what_the_hint_suggests_works(deployment: Deployment) -> None:
    done = deployment.cli("sql", "SHOW ALL TABLES")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cube" in done.stdout


def test_csv_prints_all_rows(deployment: Deployment) -> None:
    done = deployment.cli("sql", "--csv", "SELECT range AS n, 'a,b' AS text FROM range(100)")
    assert done.stdout.splitlines()[:2] == ["n,text", '0,"a,b"']
    assert len(done.stdout.splitlines()) == 101


def test_a_long_answer_is_cut_and_says_so(deployment: Deployment) -> None:
    done = deployment.cli("sql", "FROM range(100)")
    assert done.stdout.splitlines()[-1] == "The first 40 rows; --csv prints all."
    assert len(done.stdout.splitlines()) == 42


def test_rows_too_wide_for_the_terminal_are_shown_column_by_column(deployment: Deployment) -> None:
    done = deployment.cli("sql", "SELECT *, 'all of a long text that counts' AS said FROM risks.risks LIMIT 1")
    columns = [line.split()[0] for line in done.stdout.splitlines()[1:] if line[:1].strip()]
    assert set(deployment.pipeline.tables.risks.schema.names) <= set(columns)
    assert "all of a long text that counts" in done.stdout


def test_values_are_shown_as_they_are(deployment: Deployment) -> None:
    """Names from data may look like the terminal's own markup."""
    assert deployment.cli("sql", "SELECT '[red]x[/]' AS a").stdout.splitlines()[1].strip() == "[red]x[/]"
    done = deployment.cli("sql", 'SELECT 1 AS "[/]", 2 AS "[red]x"')  # a PIVOT makes names of values
    assert done.stdout.splitlines()[0].split() == ["[/]", "[red]x"]
    wide = ", ".join(f'{n} AS "[/]{n}-and-a-long-name"' for n in range(60))
    assert "[/]59-and-a-long-name" in deployment.cli("sql", f"SELECT {wide}").stdout


def test_no_value_steers_the_terminal(deployment: Deployment) -> None:
    said = r"SELECT e'a\x1b]52;c;eA==\x07b' AS clipboard, chr(8238) || 'abc' AS turned, e'two\nlines' AS lines"
    done = deployment.cli("sql", said)
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout)
    assert "a\ufffd]52;c;eA==\ufffdb" in done.stdout and "\ufffdabc" in done.stdout


def test_what_the_terminal_has_no_letters_for_is_escaped(deployment: Deployment) -> None:
    done = deployment.process("sql", "SELECT 'شارع' AS a", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u0634\u0627\u0631\u0639" in done.stdout


def test_a_query_comes_from_standard_input(deployment: Deployment) -> None:
    done = deployment.cli("sql", "--csv", stdin="SELECT 1 AS one;\n")
    assert done.stdout == "one\n1\n"


def test_wrong_sql_is_told_with_a_suggestion(deployment: Deployment) -> None:
    done = deployment.cli("sql", "FROM metrics.cub")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("✗ Catalog Error: Table with name cub does not exist!")
    assert 'Did you mean "cube"?' in done.stderr or "metrics.cube" in done.stderr
    assert done.stderr.endswith('  `health-pipeline sql "SHOW ALL TABLES"` lists what there is.\n')
    assert "Traceback" not in done.stderr


def test_before_any_run_it_says_what_to_do(empty: Deployment) -> None:
    done = empty.cli("sql", "SELECT 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"✗ The lake in {empty.home.lake} is empty.\n  Run `health-pipeline run` first.\n"


@pytest.mark.parametrize("arguments", [["--csv", "FROM range(200000)"], ["FROM range(200000)"]])
def test_a_reader_who_leaves_early_ends_it_quietly(deployment: Deployment, arguments: list[str]) -> None:
    at_work = subprocess.Popen(
        [*COMMAND, "sql", "-e", str(deployment.catalog_folder), *arguments],
        env={**os.environ, "HEALTH_PIPELINE_HOME": str(deployment.home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert at_work.stdout is not None and at_work.stderr is not None
    if "--csv" in arguments:
        assert at_work.stdout.readline() == b"range\n"
    at_work.stdout.close()
    errors = at_work.stderr.read()
    at_work.wait(FAR)
    assert errors == b""


NESTED = (
    "SELECT ['a b', NULL, 'c'] AS names, {'at': TIMESTAMP '2026-01-02 03:04:05', 'share': 0.5} AS \"that\"\"s\", "
    "[DATE '2026-01-02', NULL] AS days, MAP {'k': [1]} AS parts, NULL::INT[] AS nothing, [] AS empty, 1 AS plain"
)


def test_nested_values_can_be_parsed_again(deployment: Deployment) -> None:
    wanted = [
        ["a b", None, "c"], {"at": "2026-01-02 03:04:05", "share": 0.5}, ["2026-01-02", None], {"k": [1]}, None, [], 1
    ]  # fmt: skip
    done = deployment.cli("sql", "--csv", NESTED)
    heading, row = csv.reader(io.StringIO(done.stdout))
    assert heading == ["names", 'that"s', "days", "parts", "nothing", "empty", "plain"]
    assert [json.loads(value) if value else None for value in row] == wanted
    done = deployment.cli("sql", NESTED)
    assert (done.returncode, done.stderr) == (0, "")
    for value in ('["a b",null,"c"]', '["2026-01-02",null]', '{"at":"2026-01-02 03:04:05","share":0.5}'):
        assert value in " ".join(done.stdout.split())


def test_sums_and_decimals_are_printed_to_the_last_digit(deployment: Deployment) -> None:
    asked = "SELECT sum(n) AS total, sum(n)::HUGEINT * 10000000000000000 AS large, 1.50::DECIMAL(9, 2) AS price "
    done = deployment.cli("sql", "--csv", asked + "FROM range(4) AS t(n) UNION ALL SELECT NULL, NULL, NULL")
    assert done.stdout.splitlines() == ["total,large,price", "6,60000000000000000,1.50", ",,"]
