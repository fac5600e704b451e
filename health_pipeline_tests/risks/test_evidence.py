"""A list made for a day knows what was known by its end, and nothing that came later."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.model import Catalog
from health_pipeline.catalog.roles import ROLES
from health_pipeline.home import Home
from health_pipeline.pipeline import Pipeline
from health_pipeline.risks.evidence import Evidence, days_read, evidence_of, of_files
from health_pipeline_tests.risks.conftest import TWIN_LAST, TWIN_START

DAY = dt.date(2026, 8, 20)


def decision(number: int, **values: object) -> dict[str, object]:
    at = dt.datetime(2026, 8, 18, 9)
    return {
        "decision_id": f"d{number}", "content_id": "v1", "creator_id": "c1", "market": "ID", "kind": "video",
        "category": "beauty", "tier": "nano", "language": "id", "policy": "counterfeit", "policy_version": "1.0",
        "severity": "severe", "action": "remove", "actor": "human", "rule": None, "source_type": "own_initiative",
        "reviewer_id": None, "review_minutes": 3.0, "second_opinion_agrees": None, "published_at": at,
        "detected_at": at, "due_at": at, "decided_at": at, "views_at_action": 10, "gmv_at_risk": 0.0,
        "prior_violations_90d": 0, "prior_same_policy_90d": 0, "days_since_last_violation": None, "evasion": False,
        "appealed_at": None, "reversed_at": None, "reinstated_at": None, "ingested_at": at, **values,
    }  # fmt: skip


def deliver(folder: Path, table: str, rows: list[dict[str, object]]) -> None:
    (folder / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / table / f"{table}.parquet")


def test_a_reversal_is_known_from_the_day_it_arrived(marketplace: Catalog, tmp_path: Path) -> None:
    reversed_at = dt.datetime(2026, 8, 20, 12)
    deliver(tmp_path, "decisions", [
        decision(1), decision(1, reversed_at=reversed_at, ingested_at=reversed_at),
    ])  # fmt: skip
    days = [DAY - dt.timedelta(days=3), DAY - dt.timedelta(days=2), DAY - dt.timedelta(days=1), DAY]
    said = [
        e.query("SELECT violation, reversed FROM labels").to_pylist() for e in of_files(marketplace, tmp_path, days)
    ]
    stands, fell = {"violation": True, "reversed": False}, {"violation": False, "reversed": True}
    assert said == [[], [stands], [stands], [fell]]


def test_what_arrives_after_midnight_is_known_a_day_later(marketplace: Catalog, tmp_path: Path) -> None:
    deliver(tmp_path, "decisions", [decision(1, ingested_at=dt.datetime(2026, 8, 20, 0, 0, 1))])
    counts = [
        e.query("SELECT count(*) AS n FROM labels")["n"][0].as_py()
        for e in of_files(marketplace, tmp_path, [DAY - dt.timedelta(days=1), DAY])
    ]
    assert counts == [0, 1]


def test_only_what_the_review_remembers_is_read(marketplace: Catalog, tmp_path: Path) -> None:
    assert marketplace.review is not None
    memory = marketplace.review.memory_days
    at = dt.datetime.combine(DAY - dt.timedelta(days=memory), dt.time(12))
    deliver(tmp_path, "decisions", [
        decision(1, decided_at=at, ingested_at=at), decision(2, decided_at=at + dt.timedelta(days=1), ingested_at=at),
    ])  # fmt: skip
    (found,) = (e.query("SELECT decision_id FROM labels").to_pylist() for e in of_files(marketplace, tmp_path, [DAY]))
    assert found == [{"decision_id": "d2"}]


def test_every_role_of_the_marketplace_has_rows_and_its_columns(evidence: Evidence) -> None:
    for name, role in ROLES.items():
        rows = evidence.query(f"SELECT * FROM {name}")
        assert rows.schema.names == list(role.columns), name
        assert rows.num_rows > 0, name


def test_a_role_may_be_called_like_the_table_it_selects_from(evidence: Evidence) -> None:
    assert "trusted" in evidence.query("SELECT * FROM reports").schema.names


def test_nothing_of_it_lies_in_the_future(evidence: Evidence) -> None:
    for role, column in (("contents", "published_at"), ("traffic", "hour"), ("labels", "decided_at"),
                         ("reports", "filed_at"), ("orders", "placed_at"), ("samples", "labelled_at")):  # fmt: skip
        newest = evidence.query(f"SELECT max({column}) AS newest FROM {role}")["newest"][0].as_py()
        assert newest <= evidence.now, role


def test_a_role_sees_so_many_days_as_it_needs_though_another_needs_more_of_the_table(
    marketplace: Catalog, twin_folder: Path
) -> None:
    days = of_files(marketplace, twin_folder, [TWIN_LAST])
    evidence = next(days)
    oldest = evidence.query("SELECT min(hour) AS hour FROM traffic")["hour"][0].as_py()
    assert oldest >= evidence.now - dt.timedelta(days=28)
    shown = evidence.query(
        "SELECT sum(a.views) AS audiences, sum(t.views) AS traffic, count(*) AS contents FROM audiences a "
        "LEFT JOIN (SELECT content_id, sum(views) AS views FROM traffic GROUP BY content_id) t USING (content_id)"
    ).to_pylist()[0]
    assert shown["audiences"] > shown["traffic"], "contents of before have views too"
    recent = evidence.query(
        f"SELECT a.views AS whole, t.views FROM audiences a JOIN contents USING (content_id) JOIN "
        f"(SELECT content_id, sum(views) AS views FROM traffic GROUP BY content_id) t USING (content_id) "
        f"WHERE published_at >= TIMESTAMP '{evidence.now}' - INTERVAL 27 DAY"
    )
    assert recent.num_rows > 0
    assert recent["whole"].to_pylist() == recent["views"].to_pylist()


def test_the_lake_and_the_files_say_the_same(marketplace: Catalog, twin_folder: Path, landed: Pipeline) -> None:
    """What landed is assembled into versions by the lake; of files, by the study."""
    days = [TWIN_LAST - dt.timedelta(days=20), TWIN_LAST]
    lake = evidence_of(marketplace, landed.tables.facts, days)
    files = of_files(marketplace, twin_folder, days)
    for ours, theirs in zip(lake, files, strict=True):
        for role, declared in ROLES.items():
            order = ", ".join(list(declared.columns))
            one = ours.query(f"SELECT * FROM {role} ORDER BY {order}")
            other = theirs.query(f"SELECT * FROM {role} ORDER BY {order}")
            assert one.equals(other), f"{role} on {ours.day}"


@pytest.mark.parametrize(
    "select",
    [
        'SELECT Content_ID, "hour", VIEWS AS Views FROM CONTENT_STATS',
        "FROM content_stats",
        "SELECT COLUMNS('^(content.id|hour|views?)$') FROM content_stats",
        "SELECT t.* EXCLUDE (ingested_at) FROM content_stats t",
        "WITH all_of_it AS (SELECT * FROM content_stats) SELECT content_id, hour, views FROM all_of_it",
        "SELECT unnest(t) FROM content_stats t",
        "SELECT content_id, hour, count(*) AS views FROM content_stats GROUP BY content_id, hour "
        "QUALIFY row_number() OVER (PARTITION BY content_id ORDER BY hour, max(product_clicks) DESC) < 3",
    ],
)
def test_a_role_may_be_written_in_any_way_that_sql_has(
    marketplace: Catalog, twin_folder: Path, landed: Pipeline, select: str
) -> None:
    """Of the lake only columns that are asked for are read: none of them is lost for it."""
    assert marketplace.review is not None
    review = marketplace.review.model_copy(update={"roles": {"traffic": select}})
    odd = marketplace.model_copy(update={"review": review})
    expected, found = (
        next(e.query("SELECT * FROM traffic ORDER BY ALL") for e in days)
        for days in (
            of_files(odd, twin_folder, [TWIN_LAST], ["traffic"]),
            evidence_of(odd, landed.tables.facts, [TWIN_LAST], ["traffic"]),
        )
    )
    assert found.num_rows > 0
    assert [found[name].null_count for name in found.schema.names] == [0, 0, 0]
    assert found.equals(expected)


def test_the_days_read_are_those_it_depends_on(marketplace: Catalog, workplace: Path) -> None:
    pipeline = Pipeline(marketplace, Home(workplace / "unused"))
    read = {table.name: days for table, days in days_read(marketplace, pipeline.tables.facts, TWIN_LAST)}
    assert read["raw/content_stats"][0] == TWIN_START, "views of all contents that are remembered"
    traffic = {
        table.name: days for table, days in days_read(marketplace, pipeline.tables.facts, TWIN_LAST, ["traffic"])
    }
    assert traffic["raw/content_stats"][0] == TWIN_LAST - dt.timedelta(days=27)
    assert read["raw/review_queue"] == [TWIN_LAST]
    assert read["raw/decisions"][0] == TWIN_START, "not before the ecosystem's start"
    assert all(days[-1] == TWIN_LAST for name, days in read.items() if days)


def test_roles_can_be_given_as_tables(marketplace: Catalog) -> None:
    assert marketplace.review is not None
    rows = pa.table({"report_id": ["r1"], "content_id": ["v1"], "creator_id": ["c1"], "policy": ["fraud"],
                     "trusted": [True], "filed_at": [dt.datetime(2026, 8, 1)]})  # fmt: skip
    found = Evidence.of_tables(DAY, marketplace.review, reports=rows)
    assert found.query("SELECT count(*) AS n FROM reports JOIN more USING (content_id)", more=rows)["n"][0].as_py() == 1
    assert found.query("SELECT * FROM labels").num_rows == 0
    with pytest.raises(ValueError, match="there is no role 'views'"):
        Evidence.of_tables(DAY, marketplace.review, views=rows)
    with pytest.raises(ValueError, match="orders has no column 'order_id'"):
        Evidence.of_tables(DAY, marketplace.review, orders=rows)
    with pytest.raises(duckdb.Error):
        found.query("SELECT * FROM more")


def test_a_short_memory_still_knows_the_violations_of_90_days(marketplace: Catalog, tmp_path: Path) -> None:
    assert marketplace.review is not None
    short = marketplace.model_copy(update={"review": marketplace.review.model_copy(update={"memory_days": 49})})
    at = dt.datetime.combine(DAY - dt.timedelta(days=90), dt.time(12))
    deliver(tmp_path, "decisions", [
        decision(1, decided_at=at, ingested_at=at), decision(2, decided_at=at + dt.timedelta(days=1), ingested_at=at),
    ])  # fmt: skip
    (found,) = (e.query("SELECT decision_id FROM labels").to_pylist() for e in of_files(short, tmp_path, [DAY]))
    assert found == [{"decision_id": "d2"}]
