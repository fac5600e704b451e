"""Statements as the European Commission publishes them become rows like those of the bundled sample."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.errors import InputError
from health_pipeline.eu_dsa.adapter import DSA_STATEMENTS, EEA, EU, SINGLE
from health_pipeline.raw.reading.reader import csv_parts, open_engine
from health_pipeline.raw.reading.statements import aggregate
from health_pipeline.raw.schema import contract_schema
from health_pipeline_tests.raw.outcome import Outcome

CATALOG = load_catalog("eu_dsa")
TABLE = CATALOG.tables[0]
TODAY = dt.date(2025, 10, 15)

HEADER = """
    uuid decision_visibility decision_visibility_other end_date_visibility_restriction decision_monetary
    decision_monetary_other end_date_monetary_restriction decision_provision end_date_service_restriction
    decision_account end_date_account_restriction account_type decision_ground decision_ground_reference_url
    illegal_content_legal_ground illegal_content_explanation incompatible_content_ground
    incompatible_content_explanation incompatible_content_illegal category category_addition
    category_specification category_specification_other content_type content_type_other content_language
    content_date territorial_scope application_date decision_facts source_type source_identity
    automated_detection automated_decision platform_name platform_uid created_at
"""
LEFT_OUT = {
    "illegal_content_explanation", "incompatible_content_explanation", "territorial_scope", "decision_facts"
}  # fmt: skip
BEFORE_JULY_2025 = HEADER.split()
SINCE_JULY_2025 = [h for c in BEFORE_JULY_2025 for h in ((c, "content_id_ean") if c == "content_date" else (c,))]
LIGHT = [column for column in SINCE_JULY_2025 if column not in LEFT_OUT]


def array(*names: str) -> str:
    return "[" + ",".join(f'"{name}"' for name in names) + "]"


VIDEO = {
    "decision_visibility": array("DECISION_VISIBILITY_OTHER"),
    "decision_visibility_other": "Video not eligible for recommendation in the For You feed",
    "decision_ground": "DECISION_GROUND_INCOMPATIBLE_CONTENT",
    "incompatible_content_ground": 'Community Guidelines, "Integrity"',
    "incompatible_content_explanation": 'Several lines,\r\nwith commas\nand "quotes".',
    "incompatible_content_illegal": "No",
    "category": "STATEMENT_CATEGORY_SCOPE_OF_PLATFORM_SERVICE",
    "category_addition": "[]",
    "category_specification": "[]",
    "content_type": array("CONTENT_TYPE_VIDEO"),
    "content_date": "2024-08-30 00:00:00",
    "territorial_scope": array(*EEA.split(",")),
    "application_date": "2024-09-01 00:00:00",
    "source_type": "SOURCE_VOLUNTARY",
    "automated_detection": "Yes",
    "automated_decision": "AUTOMATED_DECISION_FULLY",
    "platform_name": "TikTok",
    "created_at": "2024-09-02 12:00:00",
}


def statements(*changes: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"uuid": f"00000000-0000-4000-8000-{i:012}", **VIDEO, **change} for i, change in enumerate(changes)]


def dump(rows: Iterable[Mapping[str, str]], header: list[str] = BEFORE_JULY_2025) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, header, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def read(path: Path) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, open_engine(Path(folder)) as engine:
        parts = csv_parts(path, Path(folder))
        return Outcome.of(aggregate(engine, parts, DSA_STATEMENTS, TABLE, CATALOG, TODAY, Path(folder), lambda _: None))


def read_text(folder: Path, text: str) -> Outcome:
    path = folder / "sor-global-2024-09-02-full.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return read(path)


def margin(checked: Outcome, attribute: str) -> dict[str, int]:
    return {r["value"]: r["statements"] for r in checked.good.to_pylist() if r["attribute"] == attribute}


def test_one_statement_becomes_one_row_for_each_value_of_each_attribute(tmp_path: Path) -> None:
    checked = read_text(tmp_path, dump(statements({})))
    assert checked.good.schema == contract_schema(TABLE)
    assert {(r["day"], r["platform"], r["statements"]) for r in checked.good.to_pylist()} == {
        (dt.date(2024, 9, 2), "TikTok", 1)
    }
    assert [(r["attribute"], r["value"], r["mean_seconds"]) for r in checked.good.to_pylist()] == [
        ("automated_decision", "AUTOMATED_DECISION_FULLY", None),
        ("automated_detection", "Yes", None),
        ("category", "STATEMENT_CATEGORY_SCOPE_OF_PLATFORM_SERVICE", None),
        ("content_type", "CONTENT_TYPE_VIDEO", None),
        ("decision_ground", "DECISION_GROUND_INCOMPATIBLE_CONTENT", None),
        ("decision_type", "vis", None),
        ("decision_visibility", "DECISION_VISIBILITY_OTHER", None),
        ("decision_visibility_other", "Video not eligible for recommendation in the For You feed", None),
        ("disclosure_delay", "mean_seconds", 129600.0),
        ("moderation_delay", "mean_seconds", 172800.0),
        ("rows", "all", None),
        ("source_type", "SOURCE_VOLUNTARY", None),
        ("territorial_scope", "EEA", None),
    ]
    assert "decision_facts" in checked.ignored


def test_every_attribute_and_value_is_one_the_sample_knows(tmp_path: Path) -> None:
    checked = read_text(tmp_path, dump(statements({})))
    assert CATALOG.sample is not None
    sample = pq.read_table(CATALOG.sample, columns=["attribute", "value"])
    known = set(zip(*(column.to_pylist() for column in sample.itercolumns()), strict=True))
    assert {(r["attribute"], r["value"]) for r in checked.good.to_pylist()} <= known


@pytest.mark.parametrize("header", [BEFORE_JULY_2025, SINCE_JULY_2025], ids=["before", "since"])
def test_both_schemas_give_the_same_rows(tmp_path: Path, header: list[str]) -> None:
    assert DSA_STATEMENTS.recognises(header)
    reference = read_text(tmp_path, dump(statements({}, {"platform_name": "Joom"})))
    assert read_text(tmp_path, dump(statements({}, {"platform_name": "Joom"}), header)).good == reference.good


def test_statements_with_several_values_count_under_each(tmp_path: Path) -> None:
    checked = read_text(
        tmp_path,
        dump(
            statements(
                {"content_type": array("CONTENT_TYPE_VIDEO", "CONTENT_TYPE_TEXT", "CONTENT_TYPE_TEXT")},
                {"content_type": "CONTENT_TYPE_TEXT"},
                {"content_type": '["CONTENT_TYPE_TEXT", "CONTENT_TYPE_OTHER"]'},
                {"content_type": "[]"},
            )
        ),
    )
    assert margin(checked, "content_type") == {
        "CONTENT_TYPE_VIDEO": 1, "CONTENT_TYPE_TEXT": 3, "CONTENT_TYPE_OTHER": 1
    }  # fmt: skip
    assert margin(checked, "rows") == {"all": 4}


@pytest.mark.parametrize(
    ("decisions", "kind"),
    [
        ({}, "vis"),
        ({"decision_visibility": "[]", "decision_account": "DECISION_ACCOUNT_TERMINATED"}, "acc"),
        ({"decision_monetary": "DECISION_MONETARY_SUSPENSION"}, "vis_mon"),
        (
            {
                "decision_monetary": "DECISION_MONETARY_OTHER",
                "decision_provision": "DECISION_PROVISION_TOTAL_SUSPENSION",
                "decision_account": "DECISION_ACCOUNT_SUSPENDED",
            },
            "vis_mon_pro_acc",
        ),
    ],
)
def test_the_decision_type_tells_which_decisions_were_taken(
    tmp_path: Path, decisions: dict[str, str], kind: str
) -> None:
    assert margin(read_text(tmp_path, dump(statements(decisions))), "decision_type") == {kind: 1}


def test_territories_that_are_exactly_the_union_or_the_area_have_its_name(tmp_path: Path) -> None:
    without_iceland = array(*(c for c in EEA.split(",") if c != "IS"))
    scopes = [
        array(*EU.split(",")),
        array(*reversed(EEA.split(","))),
        without_iceland,
        array("DE", "FR"),
        array("DE"),
    ]
    checked = read_text(tmp_path, dump(statements(*({"territorial_scope": scope} for scope in scopes))))
    assert margin(checked, "territorial_scope") == {"EU": 1, "EEA": 1, "EEA_no_IS": 1, "DE": 2, "FR": 1}


def test_delays_are_means_over_the_statements_that_have_one(tmp_path: Path) -> None:
    checked = read_text(
        tmp_path,
        dump(
            statements(
                {"content_date": "2024-08-31 23:59:50"},
                {"content_date": "2024-08-31 23:59:45"},
                {"content_date": "2024-09-01 00:00:01"},
                {"content_date": ""},
                {"content_date": "-0001-11-30 00:00:00"},
            )
        ),
    )
    delays = {r["attribute"]: (r["statements"], r["mean_seconds"]) for r in checked.good.to_pylist()}
    assert delays["moderation_delay"] == (2, 12.0), "10 and 15 seconds; negative, absent and unreadable left out"
    assert delays["disclosure_delay"] == (5, 129600.0)
    assert checked.accepted == 5


def test_free_texts_are_kept_for_tiktok_alone_and_cut(tmp_path: Path) -> None:
    text = "Freeze products\n" + "x" * 200
    checked = read_text(
        tmp_path,
        dump(
            statements(
                {"decision_visibility_other": text, "content_type_other": "shop, product"},
                {"decision_visibility_other": "CL4", "platform_name": "Pinterest"},
            )
        ),
    )
    assert margin(checked, "decision_visibility_other") == {"Freeze products " + "x" * 104: 1}
    assert margin(checked, "content_type_other") == {"shop, product": 1}
    assert margin(checked, "decision_visibility") == {"DECISION_VISIBILITY_OTHER": 1}


def test_a_platform_goes_on_under_one_name(tmp_path: Path) -> None:
    names = ["Joom", 'SIA "JOOM"', "OTTO Market", "Discord Netherlands B.V.", "Temu"]
    checked = read_text(tmp_path, dump(statements(*({"platform_name": name} for name in names))))
    rows = [r for r in checked.good.to_pylist() if r["attribute"] == "rows"]
    assert {r["platform"]: r["statements"] for r in rows} == {"Joom": 2, "OTTO": 1, "Discord": 1, "Temu": 1}


def test_a_uuid_counts_once_even_across_the_parts_of_an_archive(tmp_path: Path) -> None:
    first, second = statements({}, {"platform_name": "Joom"})
    again = {**first, "platform_name": "OTTO"}
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("sor-global-2024-09-02-full-00000-00000.csv", dump([first, first]))
        archive.writestr("sor-global-2024-09-02-full-00000-00001.csv", dump([again, second, {**second, "uuid": "odd"}]))
    path = tmp_path / "sor-global-2024-09-02-full.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sor-global-2024-09-02-full-00000.csv.zip", inner.getvalue())
    checked = read(path)
    assert (checked.delivered, checked.accepted, checked.duplicates) == (5, 3, 2)
    rows = [r for r in checked.good.to_pylist() if r["attribute"] == "rows"]
    assert {r["platform"]: r["statements"] for r in rows} == {"TikTok": 1, "Joom": 2}


def test_statements_that_cannot_be_counted_are_quarantined(tmp_path: Path) -> None:
    rows = statements(
        {"uuid": ""}, {"platform_name": ""}, {"created_at": "yesterday"},
        {"created_at": "2023-01-01 00:00:00"}, {"created_at": "2031-01-01 00:00:00"}, {}
    )  # fmt: skip
    checked = read_text(tmp_path, dump(rows) + "cut off in the mid")
    assert [tuple(r.values())[1:4] for r in checked.quarantine.to_pylist()] == [
        (1, "uuid", "uuid: empty"),
        (2, "platform_name", "platform_name: empty"),
        (3, "created_at", "created_at: not a date and time written YYYY-MM-DD HH:MM:SS"),
        (4, "created_at", "created_at: before 2023-09-25, when this ecosystem starts"),
        (5, "created_at", "created_at: in the future"),
        (7, "", "1 field where the header names 37"),
    ]
    raw = next(csv.reader(io.StringIO(checked.quarantine["raw"][2].as_py(), newline="")))
    assert raw == [rows[2].get(column, "") for column in BEFORE_JULY_2025]
    assert (checked.delivered, checked.accepted, checked.duplicates) == (7, 1, 0)
    assert sum(checked.reasons.values()) == 6


def test_quotation_marks_escaped_as_php_does_are_understood(tmp_path: Path) -> None:
    text = dump(statements({"decision_facts": "said BACKSLASH, and more"})).replace("BACKSLASH", r"\"no\"")
    checked = read_text(tmp_path, text)
    assert (checked.accepted, checked.delivered) == (1, 1)


def test_a_light_dump_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert DSA_STATEMENTS.recognises(LIGHT)
    with pytest.raises(InputError) as caught:
        read_text(tmp_path, dump(statements({}), LIGHT))
    assert caught.value.message == "sor-global-2024-09-02-full.csv lacks the column 'territorial_scope'."
    assert caught.value.hint == "Deliver the full dump of the day: the light one leaves columns out."


def test_a_dump_without_statements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a header and no rows"):
        read_text(tmp_path, dump([]))


def test_a_table_of_the_contract_is_not_taken_for_a_dump() -> None:
    assert not DSA_STATEMENTS.recognises([c.name for c in TABLE.columns])


def test_attributes_with_one_value_add_up_to_all_statements(tmp_path: Path) -> None:
    """20,000 gzipped statements, against a count in plain Python."""
    categories = ["STATEMENT_CATEGORY_VIOLENCE", "STATEMENT_CATEGORY_SCAMS_AND_FRAUD"]
    rows = statements(
        *(
            {
                "category": categories[i % 3 % 2],
                "platform_name": ["TikTok", "Amazon Store", "Temu"][i % 7 % 3],
                "created_at": f"2024-09-0{1 + i % 2} 10:00:00",
                "content_date": f"2024-08-{1 + i % 28:02} 00:00:00",
            }
            for i in range(20_000)
        )
    )
    path = tmp_path / "dump.csv.gz"
    with gzip.open(path, "wt", newline="", compresslevel=1) as file:
        file.write(dump(rows))
    checked = read(path)
    expected = Counter((r["created_at"][:10], r["platform_name"], r["category"]) for r in rows)
    found = {
        (str(r["day"]), r["platform"], r["value"]): r["statements"]
        for r in checked.good.to_pylist()
        if r["attribute"] == "category"
    }
    assert found == expected
    present = [c for c in SINGLE if margin(checked, c)]
    for attribute in ("rows", "moderation_delay", "decision_type", *present):
        chosen = checked.good.filter(pa.compute.equal(checked.good["attribute"], attribute))
        assert sum(chosen["statements"].to_pylist()) == 20_000, attribute
