"""Evidence that a contract may let through and nobody thought of: the lists are made, of what can be told."""

from __future__ import annotations

import pyarrow as pa
import pytest

from health_pipeline.catalog.roles import ROLES
from health_pipeline.risks import propensity, review
from health_pipeline.risks.evidence import Evidence
from health_pipeline.risks.prevalence import prevalence
from health_pipeline.risks.propensity import NOBODY
from health_pipeline.risks.schema import CLUSTERS


@pytest.fixture(scope="module")
def tables(evidence: Evidence) -> dict[str, pa.Table]:
    """The twin's evidence as tables, to be changed."""
    return {name: evidence.query(f"SELECT * FROM {name}") for name in ROLES}


def changed(evidence: Evidence, tables: dict[str, pa.Table], **roles: pa.Table) -> Evidence:
    return Evidence.of_tables(evidence.day, evidence.review, **(tables | roles))


def test_contents_of_nobody_known_are_not_listed_and_change_nothing(
    evidence: Evidence, tables: dict[str, pa.Table]
) -> None:
    rows = tables["contents"]
    nobodys = evidence.query(
        "SELECT * REPLACE (NULL AS creator_id) FROM rows WHERE hash(content_id) % 20 = 0", rows=rows
    )
    others = evidence.query("FROM rows WHERE hash(content_id) % 20 > 0", rows=rows)
    mixed = changed(evidence, tables, contents=pa.concat_tables([others, nobodys.cast(rows.schema)]))
    alone = changed(evidence, tables, contents=others)
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


def test_numbers_divided_by_zero_are_not_known(evidence: Evidence, tables: dict[str, pa.Table]) -> None:
    """In a role's SELECT: amounts over a rate of exchange that is zero, a score of no tries."""

    def replaced(amount: str, chance: str) -> Evidence:
        orders = f"SELECT * REPLACE (CASE WHEN hash(order_id) % 50 = 0 THEN {amount} ELSE gmv END AS gmv) FROM orders"
        drawn = f"CASE WHEN hash(draw_id) % 9 = 0 THEN {chance} ELSE draw_probability END"
        draws = f"SELECT * REPLACE ({drawn} AS draw_probability) FROM samples"
        return changed(evidence, tables, orders=evidence.query(orders), samples=evidence.query(draws))

    odd, unknown = replaced("gmv / 0", "0.0 / 0"), replaced("NULL", "NULL")
    assert same_lists(odd, unknown)
    assert prevalence(odd).equals(prevalence(unknown))
