"""The cube is what the catalog means: checked against a plain pandas computation on the bundled sample."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.metrics.compiler import compile_cube
from health_pipeline.metrics.cube import compute, derivation, split_by_day
from health_pipeline.metrics.schema import CUBE
from health_pipeline.storage.derive import derive
from health_pipeline.storage.engine import Engine
from health_pipeline.storage.lake import Lake, LakeTable
from health_pipeline.tables import Tables

CATALOG = load_catalog("eu_dsa")
PLAN = compile_cube(CATALOG)
ENGINE = Engine()
ORDINARY = dt.date(2024, 3, 3)
TIKTOK_ABSENT = dt.date(2024, 6, 8)
NEW_SCHEMA = dt.date(2025, 7, 1)
LAST = dt.date(2025, 9, 30)
SILENT = dt.date(2030, 1, 1)
DAYS = [dt.date(2023, 9, 25), ORDINARY, TIKTOK_ABSENT, NEW_SCHEMA, dt.date(2025, 7, 2), LAST]

RESTRICTIONS = {"decision_visibility", "decision_visibility_other", "decision_account", "decision_provision",
                "decision_monetary"}  # fmt: skip


def restriction(attribute: str, value: str) -> str | None:
    """The restriction a row of the contract stands for, the gravest of TikTok's own measures first."""
    if attribute not in RESTRICTIONS:
        return None
    if attribute != "decision_visibility_other":
        return value
    own = value.lower()
    if "shop" in own and "closed" in own.split("shop", 1)[1]:
        return "MEASURE_SHOP_CLOSED"
    if "restriction of" in own and "account to generate sales" in own.split("restriction of", 1)[1]:
        return "MEASURE_E_COMMERCE_PERMISSION_RESTRICTED"
    suspended = ("freeze products", "deactivate products", "suspend products")
    if any(words in own for words in suspended) or re.search("removal of.*products", own):
        return "MEASURE_PRODUCTS_SUSPENDED_OR_FROZEN"
    if "settlement suspended" in own or "order volume" in own:
        return "MEASURE_SHOP_ORDERS_OR_SETTLEMENT_LIMITED"
    if "live not eligible" in own or "live/s not eligible" in own or "live access suspension" in own:
        return "MEASURE_LIVE_MADE_INELIGIBLE"
    if re.search("video.*not eligible", own):
        return "MEASURE_VIDEO_MADE_INELIGIBLE"
    for words, name in (("photo not eligible", "PHOTO_MADE_INELIGIBLE"), ("ad is not eligible", "AD_NOT_ELIGIBLE"),
                        ("violation point", "VIOLATION_POINTS")):  # fmt: skip
        if words in own:
            return f"MEASURE_{name}"
    return "MEASURE_OTHER"


RATES = {
    "fully_automated_decision_rate": ("automated_decision", "AUTOMATED_DECISION_FULLY"),
    "automated_detection_rate": ("automated_detection", "Yes"),
    "notice_driven_share": ("source_type", "SOURCE_ARTICLE_16"),
    "account_terminations": ("decision_account", "DECISION_ACCOUNT_TERMINATED"),
    "account_suspensions": ("decision_account", "DECISION_ACCOUNT_SUSPENDED"),
}
PARTS = {
    "category": ("statements_by_category", "category_share"),
    "content_type": ("statements_by_content_type", "content_type_share"),
    "restriction": ("statements_by_restriction", "restriction_share"),
}


def expected_rows(facts: pd.DataFrame) -> Iterator[tuple[dt.date, str, str, str, str, float, float | None]]:
    """The cube's rows, from what the metrics mean."""
    for (day, platform), rows in facts.groupby(["day", "platform"]):
        whole = f"platform={platform}"
        named = rows.assign(restriction=[restriction(a, v) for a, v in zip(rows.attribute, rows.value, strict=True)])
        for part in ("category", "content_type"):
            named[part] = rows.value.where(rows.attribute == part)
        filed = float(rows.statements[rows.attribute == "rows"].sum())
        if (rows.attribute == "rows").any():
            yield day, "statements", whole, platform, whole, filed, None
        for part, (count, share) in PARTS.items():
            for value, number in named.dropna(subset=[part]).groupby(part).statements.sum().items():
                segment = f"{whole}|{part}={value}"
                yield day, count, segment, platform, segment, float(number), None
                if filed > 0:
                    yield day, share, segment, platform, whole, float(number), filed
        for metric, (attribute, value) in RATES.items():
            if filed > 0:
                number = rows.statements[(rows.attribute == attribute) & (rows.value == value)].sum()
                yield day, metric, whole, platform, whole, float(number), filed
        delays = rows[rows.attribute == "moderation_delay"]
        if delays.statements.sum() > 0:
            seconds = float((delays.statements * delays.mean_seconds).sum())
            yield day, "moderation_delay", whole, platform, whole, seconds, float(delays.statements.sum())


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    rows = pq.read_table(CATALOG.sample)
    return rows.sort_by([(name, "ascending") for name in CATALOG.table("statements").key])


def published(folder: Path, rows: pa.Table, days: Sequence[dt.date]) -> dict[str, LakeTable]:
    """Facts in a lake of their own; ``rows`` in the order of their days."""
    facts = Tables.of(Lake(folder, "eu_dsa"), CATALOG).facts
    for day, part in split_by_day(rows, days):
        facts["statements"].publish(day, part)
    return facts


def cube_of(folder: Path, rows: pa.Table) -> pa.Table:
    """The cube of some facts."""
    days = sorted(set(rows["day"].to_pylist()))
    return compute(PLAN, ENGINE, published(folder, rows, days), days)[0]


@pytest.fixture(scope="module")
def tables(sample: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A lake whose facts are some days of the sample, and one on which nothing was delivered."""
    folder = tmp_path_factory.mktemp("lake")
    published(folder, sample.filter(pc.is_in(sample["day"], pa.array(DAYS, pa.date32()))), [*DAYS, SILENT])
    tables = Tables.of(Lake(folder, "eu_dsa"), CATALOG)
    derive(derivation(CATALOG, ENGINE, tables.facts, tables.cube, tables.histograms), [*DAYS, SILENT])
    return tables


def test_the_cube_is_what_the_catalog_means(tables: Tables) -> None:
    facts = tables.facts["statements"].read().to_pandas()
    found = tables.cube.read().to_pylist()
    assert len(found) > 3_000
    assert {row["metric"] for row in found} == {metric.name for metric in CATALOG.metrics}
    assert all("" not in (row["segment"], row["unit"], row["whole"]) for row in found)
    wanted = sorted(expected_rows(facts), key=lambda row: row[:5])
    got = sorted((tuple(row.values()) for row in found), key=lambda row: row[:5])
    assert [row[:5] for row in got] == [row[:5] for row in wanted]
    for a, b in zip(got, wanted, strict=True):
        assert a[5] == pytest.approx(b[5], rel=1e-12), a[:3]
        assert a[6] == b[6], a[:3]
        assert a[7:] == (None, None, None, None), a[:3]
    assert tables.histograms.read().num_rows == 0


def test_a_unit_that_delivered_nothing_has_no_rows(tables: Tables) -> None:
    rows = tables.cube.read([TIKTOK_ABSENT])
    assert "TikTok" not in rows["unit"].to_pylist()
    assert "Pinterest" in rows["unit"].to_pylist()


def test_a_day_without_facts_gives_an_empty_partition(tables: Tables) -> None:
    part = tables.cube.partition(SILENT)
    assert part is not None
    assert (part.rows, part.file) == (0, None)


def test_segments_of_an_attribute_with_one_value_add_up_to_the_total(sample: pa.Table, tmp_path: Path) -> None:
    some = sample.filter(pc.greater_equal(sample["day"], pa.scalar(dt.date(2025, 6, 15), pa.date32())))
    every_day = cube_of(tmp_path, some).to_pandas()
    totals = every_day[every_day.metric == "statements"].set_index(["day", "unit"]).numerator
    for metric in ("statements_by_category", "category_share"):
        sums = every_day[every_day.metric == metric].groupby(["day", "unit"]).numerator.sum()
        assert (sums - totals).abs().max() == 0
    shares = every_day[every_day.metric == "category_share"]
    ratio = (shares.numerator / shares.denominator).groupby([shares.day, shares.unit]).sum()
    assert ratio.sub(1).abs().max() < 1e-12
    assert len(totals) > 2_000


def test_rows_are_ordered_and_each_segment_appears_once(tables: Tables) -> None:
    keys = [tuple(row.values()) for row in tables.cube.read(columns=["day", "metric", "segment"]).to_pylist()]
    assert keys == sorted(set(keys))
    assert tables.cube.read().schema == CUBE


def test_a_day_is_the_same_content_computed_alone_or_among_others(tables: Tables, tmp_path: Path) -> None:
    alone = Tables.of(Lake(tmp_path, "eu_dsa"), CATALOG)
    for day in (ORDINARY, NEW_SCHEMA, LAST):
        derive(derivation(CATALOG, ENGINE, tables.facts, alone.cube, alone.histograms), [day])
        one, among = alone.cube.partition(day), tables.cube.partition(day)
        assert one is not None
        assert among is not None
        assert one.content == among.content


def test_a_bar_in_a_value_can_not_be_mistaken_for_the_next_part_of_a_segment(sample: pa.Table, tmp_path: Path) -> None:
    facts = sample.filter(pc.equal(sample["day"], pa.scalar(LAST, pa.date32())))
    forged = pc.replace_substring(facts["platform"], "Pinterest", "Pinterest|category=X")
    facts = facts.set_column(facts.column_names.index("platform"), "platform", forged)
    rows = cube_of(tmp_path, facts).to_pylist()
    assert {row["segment"].count("|") for row in rows} == {0, 1}
    assert "platform=Pinterest/category=X" in {row["segment"] for row in rows if row["metric"] == "statements"}


def test_a_platform_that_filed_nothing_has_counts_of_zero_and_no_rates(tmp_path: Path) -> None:
    columns = {"day": [LAST] * 2, "platform": ["Ada"] * 2, "attribute": ["rows", "category"], "value": ["all", "X"]}
    facts = pa.table(columns | {"statements": [0, 0], "mean_seconds": pa.nulls(2, pa.float64())})
    rows = cube_of(tmp_path, facts).to_pylist()
    assert {row["metric"]: row["numerator"] for row in rows} == {"statements": 0.0, "statements_by_category": 0.0}


def test_days_merge(tables: Tables, tmp_path: Path) -> None:
    """Only sums are kept: the cube of two days as one day is the sum of their cubes."""
    two = [ORDINARY, NEW_SCHEMA]
    facts = tables.facts["statements"].read(two)
    as_one = facts.set_column(0, facts.schema.field("day"), pa.array([ORDINARY] * facts.num_rows, pa.date32()))
    merged = cube_of(tmp_path, as_one).to_pandas()
    merged = merged[merged.metric == "statements"].set_index("segment").numerator
    apart = compute(PLAN, ENGINE, tables.facts, two)[0].to_pandas()
    apart = apart[apart.metric == "statements"].groupby("segment").numerator.sum()
    assert merged.to_dict() == apart.to_dict()


def test_splitting_by_day_gives_every_day_its_rows_and_the_others_none(tables: Tables) -> None:
    rows = tables.cube.read([ORDINARY, LAST])
    parts = dict(split_by_day(rows, [ORDINARY, NEW_SCHEMA, LAST]))
    assert [parts[d].num_rows > 0 for d in (ORDINARY, NEW_SCHEMA, LAST)] == [True, False, True]
    assert pa.concat_tables(parts.values()).equals(rows)
    assert all(set(part["day"].to_pylist()) <= {day} for day, part in parts.items())
