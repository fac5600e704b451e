"""What a table's contract makes of a file besides its rows: schemas, which table it belongs to, what has drifted."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Table
from health_pipeline.errors import InputError
from health_pipeline.raw.landed.landing import table_of_file
from health_pipeline.raw.reading.contract import content_order
from health_pipeline.raw.schema import facts_schema, landed_schema, sort_order
from health_pipeline_tests.raw.outcome import Outcome, check_file

CATALOG = load_catalog("marketplace")
TODAY = dt.date(2026, 11, 20)
CALENDAR = "market,day,event,ingested_at\n"
POINTS = {
    "entry_id": "e1", "creator_id": "c1", "market": "TH", "tier": "nano", "delta": -10, "balance": 190,
    "reason": "violation", "occurred_at": "2026-10-01T06:30:00", "expires_at": None,
    "ingested_at": "2026-10-01T00:00:00Z",
}  # fmt: skip
MOMENT = pa.timestamp("us")


def check(folder: Path, name: str, content: str | bytes, table: str = "") -> Outcome:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return check_file(path, CATALOG.table(table) if table else table_of_file(path, CATALOG), CATALOG, TODAY)


def lines(*changes: dict[str, object]) -> str:
    return "".join(json.dumps(POINTS | change) + "\n" for change in changes)


def test_landed_rows_have_the_contracts_columns_and_the_day() -> None:
    schema = landed_schema(CATALOG.table("points_ledger"))
    assert schema.names == [*POINTS, "day"]
    assert [schema.field(name).type for name in ("delta", "occurred_at", "day")] == [pa.int64(), MOMENT, pa.date32()]
    assert landed_schema(CATALOG.table("creators")).names == [c.name for c in CATALOG.table("creators").columns]
    assert landed_schema(CATALOG.table("videos")).field("ai_generated").type == pa.bool_()


def test_facts_have_what_is_derived_the_cluster_and_when_a_version_was_superseded() -> None:
    schema = facts_schema(CATALOG.table("reports"))
    assert schema.names[-4:] == ["day", "hours_to_action", "cluster", "superseded_at"]
    assert schema.types[-4:] == [pa.date32(), pa.float64(), pa.int32(), MOMENT]
    [statements] = load_catalog("eu_dsa").tables
    assert facts_schema(statements) == landed_schema(statements)


@pytest.mark.parametrize("table", CATALOG.tables, ids=lambda table: table.name)
def test_rows_are_sorted_by_day_key_and_version(table: Table) -> None:
    order = sort_order(table)
    assert order[0] == "day"
    assert order[-1] == "ingested_at"
    assert len(order) == len(set(order))
    assert set(table.key) <= set(order) <= set(landed_schema(table).names)
    assert content_order(table).count(" DESC NULLS LAST") == len(table.columns)


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("orders.csv", "orders"),
        ("orders_2026-11-01.csv.gz", "orders"),
        ("ORDERS-1.parquet", "orders"),
        ("orders2.jsonl", "orders"),
        ("content_stats_2026.csv", "content_stats"),
        ("review_samples.csv", "review_samples"),
        ("orders/part-0.parquet", "orders"),
        ("orders/reports_1.csv", "reports"),
        ("export/Calendar/x.csv", "calendar"),
    ],
)
def test_a_file_belongs_to_the_table_its_name_or_its_folder_tells(path: str, table: str) -> None:
    assert table_of_file(Path(path), CATALOG).name == table


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        ("ordersheet.csv", "Did you mean 'orders'? "),
        ("order_2026-11-01.csv", "Did you mean 'orders'? "),
        ("orders/x/part-0.csv", ""),
        ("x.csv", ""),
    ],
)
def test_a_file_of_no_table_is_refused_with_the_nearest_and_all_of_them(path: str, guess: str) -> None:
    with pytest.raises(InputError, match="does not say which table it belongs to") as caught:
        table_of_file(Path(path), CATALOG)
    assert caught.value.hint.startswith(f"{guess}Begin its name with that of a table")
    assert caught.value.hint.endswith("policy_events, calendar.")


def test_any_file_belongs_to_the_only_table_there_is() -> None:
    assert table_of_file(Path("whatever.csv"), load_catalog("eu_dsa")).name == "statements"


def test_the_day_is_that_of_utc_and_the_local_time_that_of_the_market(tmp_path: Path) -> None:
    checked = check(
        tmp_path,
        "points_ledger.jsonl",
        lines({}, {"entry_id": "e2", "market": "SG"}, {"entry_id": "e3", "occurred_at": "2026-10-01T06:30:00Z"}),
    )
    assert [(row["entry_id"], row["occurred_at"], row["day"]) for row in checked.good.to_pylist()] == [
        ("e1", dt.datetime(2026, 9, 30, 23, 30), dt.date(2026, 9, 30)),
        ("e2", dt.datetime(2026, 9, 30, 22, 30), dt.date(2026, 9, 30)),
        ("e3", dt.datetime(2026, 10, 1, 6, 30), dt.date(2026, 10, 1)),
    ]
    assert checked.days == {dt.date(2026, 9, 30): {"SG": 1, "TH": 1}, dt.date(2026, 10, 1): {"TH": 1}}


def test_new_missing_and_renamed_columns_are_said_exactly(tmp_path: Path) -> None:
    header = [name if name != "expires_at" else "expiry_at" for name in POINTS]
    text = ",".join([*header, "note"]) + "\n" + ",".join(str(v or "") for v in POINTS.values()) + ",x\n"
    checked = check(tmp_path, "points_ledger.csv", text)
    assert checked.accepted == 1
    assert checked.ignored == ("expiry_at", "note")
    assert checked.drift == (
        "The column 'expiry_at' is new and ignored: the contract does not know it. "
        "Is it 'expires_at' under another name?",
        "The column 'note' is new and ignored: the contract does not know it.",
        "The column 'expires_at' is missing: it is optional, and empty in all rows.",
    )


def test_a_file_as_the_contract_has_it_has_not_drifted(tmp_path: Path) -> None:
    assert check(tmp_path, "points_ledger.jsonl", lines({}, {"entry_id": "e2", "delta": 5})).drift == ()
    assert check(tmp_path, "calendar.csv", CALENDAR + "ID,2027-03-20,lebaran,2026-07-01T00:00:00Z\n").drift == ()


@pytest.mark.parametrize("name", ["occured_at", "OCCURRED_AT", "Occurred at"])
def test_a_required_column_that_is_missing_is_named_with_the_nearest(tmp_path: Path, name: str) -> None:
    text = ",".join(POINTS).replace("occurred_at", name) + "\n"
    with pytest.raises(InputError, match="lacks the column 'occurred_at'") as caught:
        check(tmp_path, "points_ledger.csv", text)
    assert caught.value.hint == f"Its nearest column is {name!r}: rename it."


def test_columns_of_another_type_are_said_and_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "points_ledger.parquet"
    texts = {name: pa.array([str(value), str(value)], pa.string()) for name, value in POINTS.items()}
    changed = {
        "entry_id": pa.array([1, 2]),
        "delta": pa.array(["-10", "ten"]),
        "balance": pa.array([190.0, 180.5]),
        "expires_at": pa.array([None, None], pa.timestamp("us")),
    }
    pq.write_table(pa.table(texts | changed), path)
    checked = check_file(path, CATALOG.table("points_ledger"), CATALOG, TODAY)
    assert checked.drift == (
        "entry_id is integer here; the contract says text.",
        "delta is text here; the contract says integer.",
        "balance is number here; the contract says integer.",
        "occurred_at is text here; the contract says timestamp.",
        "ingested_at is text here; the contract says timestamp.",
    )
    assert checked.good["entry_id"].to_pylist() == ["1"]
    assert checked.quarantine["reason"].to_pylist() == ["delta: not a whole number"]


def test_json_that_is_of_another_type_in_some_lines_only_says_in_how_many(tmp_path: Path) -> None:
    rows = lines({}, {"entry_id": "e2", "delta": "5"}, {"entry_id": "e3", "delta": "6", "reason": ["quiz"]})
    checked = check(tmp_path, "points_ledger.ndjson.gz", gzip.compress(rows.encode()))
    assert checked.drift == (
        "delta is text in 2 of the rows; the contract says integer.",
        "reason is a list or an object in 1 of the rows; the contract says text.",
    )
    assert checked.accepted == 2


def test_reasons_are_counted_by_what_they_have_in_common_and_each_has_its_first_row(tmp_path: Path) -> None:
    late = [{"entry_id": f"late {i}", "ingested_at": f"2026-11-{i:02}T06:00:00Z"} for i in (10, 15)]
    clash = [{"entry_id": "clash", "delta": delta} for delta in (3, 1, 2)]
    checked = check(tmp_path, "points_ledger.jsonl", lines({}, *late, *clash))
    assert checked.reasons == {
        "ingested_at: arrived too late; 30 days are allowed": 2,
        "same key and ingested_at as another row with other values": 2,
    }
    assert checked.quarantine["reason"].to_pylist() == [
        "ingested_at: arrived 41 days after its day; 30 are allowed",
        "ingested_at: arrived 46 days after its day; 30 are allowed",
        "same key and ingested_at as row 4 with other values",
        "same key and ingested_at as row 4 with other values",
    ]
    assert dict(checked.examples) == dict(zip(checked.reasons, (2, 5), strict=True))


def test_rejected_rows_stay_readable_when_the_scratch_folder_is_gone(tmp_path: Path) -> None:
    checked = check(tmp_path, "points_ledger.jsonl", lines(*({"entry_id": f"e{i}", "delta": "x"} for i in range(3000))))
    assert not checked.rows.exists()
    assert checked.quarantine.num_rows == 3000
    assert json.loads(checked.quarantine["raw"][2999].as_py())["entry_id"] == "e2999"
