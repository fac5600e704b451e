"""Statement-level dumps of the DSA Transparency Database, aggregated to the table of this ecosystem.

The European Commission publishes, per day, a ZIP archive of ZIP archives of CSV files, one row per statement
of reasons, in the columns of the database's API. Attributes with several values are JSON arrays
(``["CONTENT_TYPE_VIDEO"]``); date-times are UTC, ``2024-09-01 12:30:00``. The schema of 1 July 2025 adds
columns and vocabulary; the columns read here are the same before and after.

The bundled sample was compiled by shantay 0.6.0 (Apache-2.0). Its definitions are kept, so that a day from a
dump and the same day of the sample are the same rows:

- ``decision_type``: which of the four decisions are present: ``vis``, ``mon``, ``pro``, ``acc``, joined by
  ``_``.
- ``moderation_delay``: from ``content_date`` to ``application_date``. ``disclosure_delay``: from
  ``application_date`` to ``created_at``. In whole seconds; a statement where it would be negative, or where a
  date is missing or unreadable, has none. Their mean is cut to whole seconds.
- ``territorial_scope``: exactly all countries of the EU are ``EU``, of the EEA ``EEA``, of the EEA without
  Iceland ``EEA_no_IS``.
- A field without value counts nowhere but in ``rows``.

And those of the sample: free texts are kept for TikTok alone and cut to 120 characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EU = "AT,BE,BG,CY,CZ,DE,DK,EE,ES,FI,FR,GR,HR,HU,IE,IT,LT,LU,LV,MT,NL,PL,PT,RO,SE,SI,SK"
EEA = ",".join(sorted([*EU.split(","), "IS", "LI", "NO"]))
SCOPES = {EU: "EU", EEA: "EEA", EEA.replace("IS,", ""): "EEA_no_IS"}

PLATFORMS = {"Discord Netherlands B.V.": "Discord", "OTTO Market": "OTTO", 'SIA "JOOM"': "Joom"}
"""Platforms whose name changed: the series goes on under one name."""

SINGLE = (
    "category", "source_type", "automated_detection", "automated_decision", "decision_account",
    "decision_provision", "decision_monetary", "decision_ground",
)  # fmt: skip
SEVERAL = ("category_specification", "content_type", "decision_visibility", "territorial_scope")
TEXTS = ("content_type_other", "decision_visibility_other")
TEXTS_OF = "TikTok"
TEXT_LENGTH = 120
ARRAY_MARKS = '[]" '
DECISIONS = ("decision_visibility", "decision_monetary", "decision_provision", "decision_account")
DELAYS = {
    "moderation_delay": ("content_date", "application_date"),
    "disclosure_delay": ("application_date", "created_at"),
}


class DsaStatements:
    """The dump's format and its aggregation, as SQL.

    Its methods take ``field``: column name → SQL of its text, NULL when empty.
    """

    title = "statement-level dump of the DSA Transparency Database"
    needed: tuple[str, ...] = (
        "uuid", "platform_name", "created_at", "application_date", "content_date", *SINGLE, *SEVERAL, *TEXTS
    )  # fmt: skip
    advice = "Deliver the full dump of the day: the light one leaves columns out."
    filed = "created_at"

    def recognises(self, header: Sequence[str]) -> bool:
        """Whether a CSV header is that of a statement-level dump."""
        return {"uuid", "platform_name", "created_at"} <= set(header)

    def rules(self, field: Mapping[str, str]) -> list[tuple[str, str, str]]:
        """Column, reason and SQL of what makes a statement impossible to count."""
        return [
            ("uuid", "empty", f"{field['uuid']} IS NULL"),
            ("platform_name", "empty", f"{field['platform_name']} IS NULL"),
            (
                "created_at",
                "not a date and time written YYYY-MM-DD HH:MM:SS",
                f"{_moment(field['created_at'])} IS NULL",
            ),
        ]

    def day(self, field: Mapping[str, str]) -> str:
        """SQL of the UTC day on which a statement was filed."""
        return f"CAST({_moment(field['created_at'])} AS DATE)"

    def reduce(self, field: Mapping[str, str]) -> dict[str, str]:
        """SQL of every column the aggregation needs: texts as they are, delays in seconds."""
        texts = {c: f"CASE WHEN {field['platform_name']} = '{TEXTS_OF}' THEN {field[c]} END" for c in TEXTS}
        delays = {name: _seconds(field[start], field[end]) for name, (start, end) in DELAYS.items()}
        return {
            "platform": field["platform_name"],
            **{c: field[c] for c in (*SINGLE, *SEVERAL)},
            **texts,
            **delays,
        }

    def aggregate(self, statements: str) -> str:
        """SQL of the daily margins of a relation with ``day`` and the columns of :meth:`reduce`.

        One scan: statements repeat one another so much that the joint table of all their attributes is small.
        What their texts mean is worked out there, once for each combination, and the margins come from it.
        """
        written = (*SINGLE, *SEVERAL, *TEXTS)
        delays = ", ".join(f"count({d}) AS {d}_count, sum({d}) AS {d}_sum" for d in DELAYS)
        columns = f"day, platform, {', '.join(written)}, count(*) AS n, {delays}"
        joint = f"SELECT {columns} FROM {statements} GROUP BY ALL"
        plain = {
            "platform": _renamed("platform", PLATFORMS),
            **{c: _values(c) for c in SEVERAL},
            **{c: f"left(regexp_replace({c}, '[\\r\\n]+', ' ', 'g'), {TEXT_LENGTH})" for c in TEXTS},
        }
        kinds = ", ".join(f"CASE WHEN {d} IS NOT NULL THEN '{d[9:12]}' END" for d in DECISIONS)

        values = {
            "rows": "'all'",
            **{c: f"unnest(string_split({c}, ','))" if c in SEVERAL else c for c in written},
        }
        values |= {
            "decision_type": f"nullif(concat_ws('_', {kinds}), '')",
            "territorial_scope": f"unnest(string_split({_renamed('territorial_scope', SCOPES)}, ','))",
        }
        margins = [
            f"SELECT day, platform, '{name}' AS attribute, {value} AS value, n, NULL AS total FROM plain"
            for name, value in values.items()
        ]
        margins += [
            f"SELECT day, platform, '{d}', 'mean_seconds', {d}_count, {d}_sum FROM plain WHERE {d}_count > 0"
            for d in DELAYS
        ]
        replaced = ", ".join(f"{sql} AS {name}" for name, sql in plain.items())
        return (
            f"WITH plain AS MATERIALIZED (SELECT * REPLACE ({replaced}) FROM ({joint})) "
            "SELECT day, platform, attribute, value, CAST(sum(n) AS BIGINT) AS statements, "
            "CAST(sum(total) // sum(n) AS DOUBLE) AS mean_seconds "
            f"FROM ({' UNION ALL '.join(margins)}) WHERE value IS NOT NULL GROUP BY ALL"
        )


DSA_STATEMENTS = DsaStatements()


def _moment(text: str) -> str:
    # DuckDB would take "infinity", and the year -1 that a zero date of MySQL becomes in PHP.
    return f"CASE WHEN regexp_matches({text}, '^\\d{{4}}-') THEN try_cast({text} AS TIMESTAMP) END"


def _seconds(start: str, end: str) -> str:
    first, last = _moment(start), _moment(end)
    return f"CASE WHEN {first} <= {last} THEN (epoch_us({last}) - epoch_us({first})) // 1000000 END"


def _values(text: str) -> str:
    """A JSON array of names, or a bare name, as names joined by commas; NULL when there are none."""
    names = f"string_split(translate({text}, '{ARRAY_MARKS}', ''), ',')"
    return f"nullif(trim(array_to_string(list_sort(list_distinct({names})), ','), ','), '')"


def _renamed(sql: str, names: Mapping[str, str]) -> str:
    cases = " ".join(f"WHEN '{old}' THEN '{new}'" for old, new in names.items())
    return f"CASE {sql} {cases} ELSE {sql} END"
