"""What a review needs to know, whatever an ecosystem calls its tables: roles, and the columns of each.

``review.yaml`` gives a SELECT over the catalog's tables for each role that the ecosystem has. Only the rows, and the
versions of rows, that were known by the end of the day in question are seen by it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """One kind of evidence.

    Attributes:
        columns: name -> DuckDB type; all must be selected.
        optional: those of them that may be left out, and are then null.
        days: rows of so many days back are read; ``None``: as many as the review remembers, and
        least: so many where it remembers less.
        once: each value of this column is one thing to list; of several rows of it only the first counts, in the order
            of all columns.
        lasting: what it lists is filed under the day it began (products): all days are read.
    """

    columns: dict[str, str]
    optional: tuple[str, ...] = ()
    days: int | None = None
    least: int = 0
    once: str = ""
    lasting: bool = False


TEXT, TIME, NUMBER, INTEGER, BOOLEAN, DATE = "VARCHAR", "TIMESTAMP", "DOUBLE", "BIGINT", "BOOLEAN", "DATE"
_WHO = {"content_id": TEXT, "creator_id": TEXT}
_WHERE = {"market": TEXT, "category": TEXT, "tier": TEXT}

ROLES: dict[str, Role] = {
    "contents": Role(
        {
            **_WHO, **_WHERE, "kind": TEXT, "published_at": TIME, "caption": TEXT, "hashtags": TEXT, "sound_id": TEXT,
            "perceptual_hash": TEXT, "product_ids": TEXT, "model_score": NUMBER, "near_duplicate": BOOLEAN,
            "ai_generated": BOOLEAN,
        },
        (
            "caption", "hashtags", "sound_id", "perceptual_hash", "product_ids", "model_score", "near_duplicate",
            "ai_generated",
        ),
        once="content_id",
    ),
    "traffic": Role({"content_id": TEXT, "hour": TIME, "views": INTEGER}, days=28),
    "audiences": Role({"content_id": TEXT, "views": INTEGER}),
    "labels": Role(
        {
            "decision_id": TEXT, **_WHO, **_WHERE, "policy": TEXT, "severity": TEXT, "actor": TEXT, "rule": TEXT,
            "violation": BOOLEAN, "reversed": BOOLEAN, "detected_at": TIME, "decided_at": TIME, "published_at": TIME,
            "views_at_action": INTEGER, "review_minutes": NUMBER,
        },
        ("rule", "published_at", "views_at_action", "review_minutes"),
        least=90,  # "violations in 90 days"
    ),
    "reports": Role({"report_id": TEXT, **_WHO, "policy": TEXT, "trusted": BOOLEAN, "filed_at": TIME}),
    "orders": Role(
        {"order_id": TEXT, **_WHO, "product_id": TEXT, "placed_at": TIME, "gmv": NUMBER, "bad": BOOLEAN}
    ),
    "samples": Role(
        {
            "draw_id": TEXT, **_WHO, **_WHERE, "kind": TEXT, "surface": TEXT, "arm": TEXT, "draw_probability": NUMBER,
            "drawn_at": TIME, "labelled_at": TIME, "violation": BOOLEAN, "policy": TEXT, "views": INTEGER,
            "actioned": BOOLEAN, "rule": TEXT, "other_probability": NUMBER,
        },
        ("surface", "rule", "other_probability"),
    ),
    "products": Role(
        {
            "product_id": TEXT, "shop_id": TEXT, "market": TEXT, "category": TEXT, "price": NUMBER,
            "brand_authorised": BOOLEAN, "restricted": BOOLEAN, "listed_on": DATE,
        },
        ("shop_id", "price", "brand_authorised", "restricted", "listed_on"),
        once="product_id",
        lasting=True,
    ),
    "creators": Role(
        {
            "creator_id": TEXT, "market": TEXT, "tier": TEXT, "followers": INTEGER, "joined_at": DATE, "status": TEXT,
        },
        ("followers", "joined_at", "status"),
        days=4,
    ),
    "open_cases": Role(
        {"case_id": TEXT, "content_id": TEXT, "opened_at": TIME, "due_at": TIME}, ("content_id", "due_at"), days=1
    ),
}  # fmt: skip
NEEDED = ("contents", "traffic", "labels")
"""Roles without which no list can be made."""
SAMPLED_DAYS = 42
"""Prevalence is that of 28 days which end up to 14 days back, as labels are late."""


NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
           "UHUGEINT", "DECIMAL", "FLOAT", "DOUBLE")  # fmt: skip


def fits(kind: str, wanted: str) -> bool:
    """Whether a column of a DuckDB type can stand for a role's column of another."""
    if wanted == TEXT or kind == '"NULL"':
        return True
    if wanted in (NUMBER, INTEGER):
        return kind.startswith(NUMBERS)
    if wanted == TIME:
        return kind.startswith(TIME)
    return kind == wanted or (wanted == DATE and kind.startswith(TIME))


def empty(role: str) -> str:
    """A SELECT without rows, with the role's columns."""
    columns = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in ROLES[role].columns.items())
    return f"SELECT {columns} WHERE false"


def conform(role: str, select: str, given: list[str]) -> str:
    """A SELECT of the role's columns with their types, from one that has the columns ``given``.

    What is divided by zero in it is not known: numbers that are not finite are null, as a contract has it.
    """
    there = {name.lower() for name in given}  # as in SQL
    columns = []
    for name, kind in ROLES[role].columns.items():
        cast = "TRY_CAST" if kind == INTEGER else "CAST"  # no count is infinite
        value = f"{cast}({name if name in there else 'NULL'} AS {kind})"
        columns.append(f"{f'CASE WHEN isfinite({value}) THEN {value} END' if kind == NUMBER else value} AS {name}")
    return f"SELECT {', '.join(columns)} FROM ({select})"
