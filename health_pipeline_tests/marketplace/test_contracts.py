"""Every file holds what its contract asks for: columns, types, keys, references, lateness."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.model import Table
from health_pipeline.marketplace import parameters
from health_pipeline.marketplace.writer import contracts
from health_pipeline_tests.marketplace.conftest import DAYS, START, Twin

TYPES = {
    "date": pa.date32(), "timestamp": pa.timestamp("us", tz="UTC"), "text": pa.string(), "integer": pa.int64(),
    "number": pa.float64(), "boolean": pa.bool_(),
}  # fmt: skip
END = START + dt.timedelta(days=DAYS)

each_table = pytest.mark.parametrize("table", contracts().values(), ids=lambda t: t.name)


def _day(table: Table) -> str:
    return f"CAST({table.day} AS DATE)"


@each_table
def test_the_files_have_the_contracts_columns_and_types(busy: Twin, table: Table) -> None:
    (file,) = (busy.folder / table.name).glob("*.parquet")
    written = pq.read_schema(file)
    assert [(f.name, f.type) for f in written] == [(c.name, TYPES[c.type]) for c in table.columns]
    assert busy.value(f"SELECT count(*) FROM {table.name}") == busy.made.rows[table.name] > 0


@each_table
def test_every_value_is_one_the_contract_accepts(busy: Twin, table: Table) -> None:
    for column in table.columns:
        rules = [f"{column.name} IS NULL"] if column.required else []
        if column.values:
            rules.append(f"{column.name} NOT IN ({', '.join(repr(v) for v in column.values)})")
        if column.minimum is not None:
            rules.append(f"{column.name} < {column.minimum}")
        if column.maximum is not None:
            rules.append(f"{column.name} > {column.maximum}")
        if rules:
            assert busy.rows(f"FROM {table.name} WHERE {' OR '.join(rules)} LIMIT 1") == [], column.name


@each_table
def test_a_key_has_each_version_once_and_stays_on_its_day(busy: Twin, table: Table) -> None:
    key = ", ".join(table.key)
    repeated = f"SELECT {key}, {table.version} FROM {table.name} GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
    moved = f"SELECT {key} FROM {table.name} GROUP BY ALL HAVING count(DISTINCT {_day(table)}) > 1 LIMIT 1"
    assert busy.rows(repeated) == busy.rows(moved) == []


@each_table
def test_rows_arrive_after_they_happen_within_the_lateness_and_within_the_period(busy: Twin, table: Table) -> None:
    arrived, day = table.version, _day(table)
    assert busy.value(f"SELECT count(*) FROM {table.name} WHERE {arrived} >= '{END}'") == 0
    assert busy.value(f"SELECT count(*) FROM {table.name} WHERE {day} < '{START}'") == 0
    if not table.known_ahead:
        assert busy.value(f"SELECT count(*) FROM {table.name} WHERE {arrived} < {day} OR {day} >= '{END}'") == 0
    if table.lateness_days is not None:
        late = f"date_diff('day', {day}, CAST({arrived} AS DATE)) > {table.lateness_days}"
        assert busy.value(f"SELECT count(*) FROM {table.name} WHERE {late}") == 0


@each_table
def test_references_resolve(busy: Twin, table: Table) -> None:
    for reference in table.references:
        other = contracts()[reference.table]
        dangling = busy.rows(
            f"FROM {table.name} AS t WHERE t.{reference.column} IS NOT NULL AND NOT EXISTS ("
            f"SELECT 1 FROM {other.name} AS o WHERE o.{reference.to} = t.{reference.column} AND CAST(o.{other.day} AS "
            f"DATE) BETWEEN CAST(t.{table.day} AS DATE) - {reference.within_days} AND CAST(t.{table.day} AS DATE)) "
            "LIMIT 1"
        )
        assert dangling == [], reference


@pytest.mark.parametrize(
    ("table", "known_later"),
    [
        ("orders", ("refunded_at", "review_stars", "complained_at")),
        ("decisions", ("appealed_at", "reversed_at", "reinstated_at")),
        ("appeals", ("resolved_at", "outcome")),
        ("reports", ("resolved_at",)),
        ("review_samples", ("labelled_at", "violative")),
        ("surveys", ("answered_at", "score")),
        ("education", ("viewed_at", "passed_first")),
    ],
)
def test_what_is_known_later_comes_in_a_later_version_and_stays(
    busy: Twin, table: str, known_later: tuple[str, ...]
) -> None:
    (key,) = contracts()[table].key
    for column in known_later:
        counts = busy.rows(
            f"WITH v AS (SELECT {key}, {column} IS NOT NULL AS known, row_number() OVER w AS version, "
            f"lag({column}) OVER w AS before FROM {table} WINDOW w AS (PARTITION BY {key} ORDER BY ingested_at)) "
            "SELECT count(*) FILTER (WHERE known AND version = 1), count(*) FILTER (WHERE known AND version > 1), "
            "count(*) FILTER (WHERE NOT known AND before IS NOT NULL) FROM v"
        )
        first, later, forgotten = counts[0]
        assert first == 0 and later > 0 and forgotten == 0, column


def test_nothing_arrives_before_it_happened(busy: Twin) -> None:
    for table, columns in {
        "orders": ("refunded_at", "complained_at"), "decisions": ("decided_at", "appealed_at", "reversed_at"),
        "appeals": ("resolved_at",), "review_samples": ("labelled_at",), "surveys": ("answered_at",),
        "live_sessions": ("ended_at",), "reports": ("resolved_at",),
    }.items():  # fmt: skip
        for column in columns:
            assert busy.value(f"SELECT count(*) FROM {table} WHERE {column} > ingested_at") == 0, (table, column)


def test_decisions_follow_the_course_of_a_case(busy: Twin) -> None:
    wrong = (
        "detected_at > decided_at OR published_at > decided_at OR appealed_at < decided_at "
        "OR reversed_at < appealed_at OR reinstated_at < reversed_at OR (action = 'none' AND appealed_at IS NOT NULL) "
        "OR (actor = 'human') <> (reviewer_id IS NOT NULL)"
    )
    assert busy.rows(f"FROM decisions WHERE {wrong} LIMIT 1") == []


def test_removed_contents_are_not_shown_any_more(busy: Twin) -> None:
    shown = busy.value(
        "SELECT count(*) FROM content_stats s JOIN (SELECT DISTINCT content_id, decided_at FROM decisions "
        "WHERE action = 'remove' GROUP BY ALL) d USING (content_id) "
        "WHERE s.hour > d.decided_at "
        "AND content_id NOT IN (SELECT content_id FROM decisions WHERE reversed_at IS NOT NULL)"
    )
    removed = busy.value("SELECT count(DISTINCT content_id) FROM decisions WHERE action = 'remove'")
    assert removed > 100 and shown == 0


def test_views_at_action_are_the_views_shown_until_then(busy: Twin) -> None:
    """Of contents published within the period whose statistics are not lost; two versions count once."""
    different = busy.rows(
        "WITH shown AS (SELECT content_id, hour, surface, arg_min(views, ingested_at) AS views FROM content_stats "
        "GROUP BY ALL), d AS (SELECT DISTINCT content_id, decided_at, views_at_action FROM decisions "
        f"WHERE content_id IS NOT NULL AND published_at >= '{START}' AND market <> 'PH' "
        f"AND decided_at < TIMESTAMPTZ '{END}' - INTERVAL 3 DAY) "
        "SELECT d.content_id, views_at_action, coalesce(sum(views), 0) AS counted FROM d LEFT JOIN shown s "
        "ON s.content_id = d.content_id AND s.hour < date_trunc('hour', d.decided_at) GROUP BY ALL "
        "HAVING views_at_action <> counted"
    )
    decisions = busy.value("SELECT count(*) FROM decisions WHERE views_at_action > 0")
    assert decisions > 200 and different == []


def test_the_ledger_adds_up(busy: Twin) -> None:
    """Each balance is the one before plus the change, within 0 and 1000."""
    wrong = busy.rows(
        "WITH l AS (SELECT creator_id, delta, balance, entry_id, lag(balance) OVER (PARTITION BY creator_id ORDER BY "
        "entry_id) AS before FROM points_ledger) FROM l WHERE before IS NOT NULL "
        "AND balance <> least(greatest(before + delta, 0), 1000) LIMIT 1"
    )
    assert wrong == []


@pytest.mark.parametrize(
    ("table", "column", "known"),
    [
        ("videos", "market", parameters.MARKETS),
        ("videos", "kind", parameters.KINDS),
        ("videos", "category", parameters.CATEGORIES),
        ("videos", "tier", parameters.TIERS),
        ("videos", "language", parameters.LANGUAGES),
        ("content_stats", "surface", parameters.SURFACES),
        ("decisions", "policy", parameters.POLICIES),
        ("decisions", "severity", parameters.SEVERITIES),
        ("decisions", "action", parameters.ACTIONS),
        ("decisions", "actor", parameters.ACTORS),
        ("decisions", "source_type", parameters.SOURCES),
        ("creators", "status", parameters.STATUSES),
    ],
)
def test_the_simulation_knows_all_values_of_the_contract(table: str, column: str, known: tuple[str, ...]) -> None:
    assert contracts()[table].column(column).values == known
