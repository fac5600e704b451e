"""Evidence that a contract may let through and nobody thought of: the lists are made, of what can be told."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from health_pipeline.catalog.roles import ROLES
from health_pipeline.risks import exposure, propensity, review, trends
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.posting import posting
from health_pipeline.risks.prevalence import prevalence
from health_pipeline.risks.propensity import NOBODY
from health_pipeline.risks.schema import CLUSTERS


@pytest.fixture(scope="module")
def tables(evidence: Evidence) -> dict[str, pa.Table]:
    """The twin's evidence of every sixth creator, as tables to be changed."""
    found = {}
    for name, role in ROLES.items():
        where = ""
        if "creator_id" in role.columns:
            where = "WHERE hash(creator_id) % 6 = 0"
        elif "content_id" in role.columns:
            where = "WHERE content_id IN (SELECT content_id FROM contents WHERE hash(creator_id) % 6 = 0)"
        found[name] = evidence.query(f"SELECT * FROM {name} {where}")
    return found


@pytest.fixture(scope="module")
def few(evidence: Evidence, tables: dict[str, pa.Table]) -> Evidence:
    return changed(evidence, tables)


def changed(evidence: Evidence, tables: dict[str, pa.Table], **roles: pa.Table) -> Evidence:
    return Evidence.of_tables(evidence.day, evidence.review, **(tables | roles))


def test_contents_of_nobody_known_are_not_listed_and_change_nothing(few: Evidence, tables: dict[str, pa.Table]) -> None:
    rows = tables["contents"]
    nobodys = few.query("SELECT * REPLACE (NULL AS creator_id) FROM rows WHERE hash(content_id) % 20 = 0", rows=rows)
    others = few.query("FROM rows WHERE hash(content_id) % 20 > 0", rows=rows)
    mixed = changed(few, tables, contents=pa.concat_tables([others, nobodys.cast(rows.schema)]))
    alone = changed(few, tables, contents=others)
    assert propensity.contents(mixed, NOBODY).equals(propensity.contents(alone, NOBODY))
    made = review.estimate(mixed, NOBODY)
    assert made.creator_exposure["creator_id"].null_count == 0
    of_nobody = set(nobodys["content_id"].to_pylist())
    listed = review.lists(mixed, CLUSTERS.empty_table(), made=made)
    assert {"creators", "contents"} <= set(listed["queue"].to_pylist())
    assert of_nobody.isdisjoint(listed["subject"].to_pylist())


def same_lists(one: Evidence, other: Evidence) -> bool:
    first, second = (review.lists(e, CLUSTERS.empty_table()) for e in (one, other))
    return bool(first.num_rows and first.equals(second))


def test_numbers_divided_by_zero_are_not_known(few: Evidence, tables: dict[str, pa.Table]) -> None:
    """In a role's SELECT: amounts over a rate of exchange that is zero, a score of no tries."""

    def replaced(amount: str, chance: str) -> Evidence:
        orders = f"SELECT * REPLACE (CASE WHEN hash(order_id) % 50 = 0 THEN {amount} ELSE gmv END AS gmv) FROM orders"
        drawn = f"CASE WHEN hash(draw_id) % 9 = 0 THEN {chance} ELSE draw_probability END"
        draws = f"SELECT * REPLACE ({drawn} AS draw_probability) FROM samples"
        return changed(few, tables, orders=few.query(orders), samples=few.query(draws))

    odd, unknown = replaced("gmv / 0", "0.0 / 0"), replaced("NULL", "NULL")
    assert same_lists(odd, unknown)
    assert prevalence(odd).equals(prevalence(unknown))


def test_counts_divided_by_zero_are_not_known_either(few: Evidence, tables: dict[str, pa.Table]) -> None:
    """Views scaled up by a share of the traffic that is logged."""

    def replaced(views: str) -> Evidence:
        some = "CASE WHEN hash(content_id) % 50 = 0 THEN {} ELSE views END AS views"
        rows = few.query(f"SELECT * REPLACE ({some.format(views)}) FROM traffic")
        draws = few.query(f"SELECT * REPLACE ({some.format(views)}) FROM samples")
        return changed(few, tables, traffic=rows, samples=draws)

    odd, unknown = replaced("views / 0"), replaced("NULL")
    assert same_lists(odd, unknown)
    assert prevalence(odd).equals(prevalence(unknown))


def finite(e: Evidence) -> pa.Table:
    """The lists, all of whose numbers are some."""
    with np.errstate(all="raise", under="ignore"):
        made = review.lists(e, CLUSTERS.empty_table())
    for name in ("score", "probability", "exposure", "harm", "gmv"):
        values = made[name].to_numpy()
        assert (np.isfinite(values) & (values >= 0)).all(), name
    return made


def test_what_is_taken_back_again_does_not_make_audiences_negative(few: Evidence, tables: dict[str, pa.Table]) -> None:
    """Views and amounts below zero correct others, which may be too old to be read."""
    less = "CASE WHEN hash(content_id) % 7 = 0 THEN -{0} ELSE {0} END AS {0}"
    sums = {
        name: few.query(f"SELECT * REPLACE ({less.format(column)}) FROM {name}")
        for name, column in (("traffic", "views"), ("audiences", "views"), ("orders", "gmv"))
    }
    some = "CASE WHEN hash(hour) % 5 = 0 THEN -views ELSE views END"
    hours = few.query(f"SELECT * REPLACE ({some} AS views) FROM traffic")
    for odd in (changed(few, tables, **sums), changed(few, tables, traffic=hours)):
        assert {"creators", "contents", "products"} <= set(finite(odd)["queue"].to_pylist())


def test_without_views_nobody_knows_what_is_sold_by_one(few: Evidence, tables: dict[str, pa.Table]) -> None:
    """All sales over no views would put every content's harm beyond any other's."""
    silent = changed(few, tables, traffic=tables["traffic"].slice(0, 0))
    rate = exposure.contents(silent)["gmv_rate"].to_numpy()
    assert len(rate) and not rate.any()


def test_what_is_yet_to_be_published_is_nobodys_pace_and_no_trend(few: Evidence, tables: dict[str, pa.Table]) -> None:
    """A plan of what will be published when is filed today."""
    rows = tables["contents"]
    planned = few.query(
        "SELECT * REPLACE ('plan-' || content_id AS content_id, published_at + INTERVAL 90 DAY AS published_at, "
        "'#planned' AS hashtags) FROM rows WHERE hash(content_id) % 4 = 0", rows=rows,
    )  # fmt: skip
    odd = changed(few, tables, contents=pa.concat_tables([rows, planned.cast(rows.schema)]))
    assert posting(odd).equals(posting(few))
    assert trends.trends(odd).equals(trends.trends(few))
    assert same_lists(odd, few)
    only = changed(few, tables, contents=planned.cast(rows.schema))
    assert not trends.trends(only).num_rows and set(finite(only)["queue"].to_pylist()) <= {"products"}


def test_a_content_or_product_that_a_select_gives_several_times_is_one_case(
    few: Evidence, tables: dict[str, pa.Table]
) -> None:
    """By a join with the many rows of another table, or under the names of two who made it together."""
    twice = {name: pa.concat_tables([tables[name], tables[name]]) for name in ("contents", "products")}
    with_others = few.query("SELECT * REPLACE ('~' || creator_id AS creator_id) FROM contents")
    by_two = pa.concat_tables([with_others.cast(tables["contents"].schema), tables["contents"]])
    plain = review.lists(few, CLUSTERS.empty_table())
    for odd in (changed(few, tables, **twice), changed(few, tables, contents=by_two)):
        made = review.lists(odd, CLUSTERS.empty_table())
        assert made["case"].to_pylist() == plain["case"].to_pylist()
        np.testing.assert_allclose(made["score"].to_numpy(), plain["score"].to_numpy(), rtol=1e-9)
