"""The rules of a contract: what a delivered row may not be, as SQL, each with its reason.

They are over the rows of :func:`.typed_rows`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from health_pipeline.catalog.model import Catalog, Column, Table, TimeZones
from health_pipeline.raw.reading.reader import NOT_UTF8
from health_pipeline.raw.reading.values import ABSENT, FALSE, TRUE, Stored, in_zone, time_zones
from health_pipeline.raw.schema import required
from health_pipeline.storage.sql import identifier, literal

AHEAD_DAYS = 400
"""Days of a table that is known ahead may lie so far in the future."""
IN_THE_FUTURE = "in the future"
TOO_FAR_AHEAD = f"more than {AHEAD_DAYS} days ahead"
PASSING = (IN_THE_FUTURE, TOO_FAR_AHEAD)
"""What is wrong with rows only until some day has come."""
LARGEST_NUMBER = 9e18
WRITTEN = {
    "date": "not a date written YYYY-MM-DD",
    "timestamp": "not a date and time written like 2025-09-30T12:00:00Z",
    "integer": "not a whole number",
    "number": "not a finite number",
    "boolean": f"none of {', '.join(TRUE + FALSE)}",
}
UNKNOWN = "unknown value"
NESTED = "a list or an object where one value belongs"


@dataclass(frozen=True)
class Rule:
    """Rows for which ``sql`` is true break the contract.

    Attributes:
        column: "" when the record as a whole is at fault.
        says: what is wrong, the same for all rows.
        detail: SQL of what is wrong with one row, where that says more.
    """

    column: str
    says: str
    sql: str
    detail: str = ""

    @property
    def reason(self) -> str:
        return f"{self.column}: {self.says}" if self.column else self.says


def day_rules(catalog: Catalog, table: Table, column: str, value: str, today: dt.date) -> list[Rule]:
    """What a day may not be: before the ecosystem's start, or after tomorrow (time zones differ by a day).

    A calendar is known ahead, and lasting things (shops, products) are filed under a day that may lie long before:
    these are tables with versions that are never too late.
    """
    start, rules = catalog.ecosystem.start, []
    lasting = table.version is not None and table.lateness_days is None
    if not (table.known_ahead or lasting):
        rules.append(
            Rule(column, f"before {start.isoformat()}, when this ecosystem starts", f"{value} < DATE '{start}'")
        )
    ahead = AHEAD_DAYS if table.known_ahead else 1
    says = TOO_FAR_AHEAD if table.known_ahead else IN_THE_FUTURE
    return [*rules, Rule(column, says, f"{value} > DATE '{today + dt.timedelta(days=ahead)}'")]


def version_rules(table: Table, today: dt.date) -> list[Rule]:
    """When a version of a row can't have arrived: in the future, before its day, or later than is allowed."""
    if table.version is None:
        return []
    name, version, rules = table.version, identifier(table.version), []
    if not table.known_ahead:
        rules.append(Rule(name, "more than a day before its day", f'{version} < "day" - INTERVAL 1 DAY'))
    if table.lateness_days is not None:
        allowed = table.lateness_days
        late = f"'{name}: arrived ' || date_diff('day', \"day\", CAST({version} AS DATE)) || ' days after its day; "
        rules.append(
            Rule(
                name,
                f"arrived too late; {allowed} days are allowed",
                f'{version} > "day" + INTERVAL {allowed + 1} DAY',
                f"{late}{allowed} are allowed'",
            )
        )
    return [*rules, Rule(name, IN_THE_FUTURE, f"{version} >= DATE '{today + dt.timedelta(days=2)}'")]


def first_broken(rules: Sequence[Rule]) -> str:
    """SQL for the number of the first rule a row breaks; NULL for a good row."""
    return f"CASE {' '.join(f'WHEN {rule.sql} THEN {i}' for i, rule in enumerate(rules))} END"


def contract_rules(columns: Mapping[str, Stored], catalog: Catalog, table: Table, today: dt.date) -> list[Rule]:
    """The contract's rules over the rows of :func:`.typed_rows`, by column; first what other columns rely on."""
    zones, rules = time_zones(catalog, table), []
    for c in sorted(table.columns, key=lambda c: zones is None or c.name != zones.column):
        text, value = f'"{c.name} as text"', f'"{c.name}"'
        stored = columns.get(c.name, ABSENT)
        if stored.kind == "nested" or stored.nested:
            rules.append(Rule(c.name, NESTED, stored.nested or f"{text} IS NOT NULL"))
        if stored.kind == "bytes":
            rules.append(Rule(c.name, NOT_UTF8, f"{stored.sql} IS NOT NULL AND TRY(decode({stored.sql})) IS NULL"))
        if required(c, table):
            rules.append(Rule(c.name, "empty", f"{text} IS NULL"))
        if c.type == "timestamp" and zones:
            rules += _zone_rules(c, zones)
        if c.type in WRITTEN:
            rules.append(Rule(c.name, WRITTEN[c.type], f"{text} IS NOT NULL AND {value} IS NULL"))
        if c.type == "number":  # sums are exact, and hold no more
            rules.append(Rule(c.name, f"beyond {LARGEST_NUMBER:g}", f"abs({value}) > {LARGEST_NUMBER!r}"))
        if c.minimum is not None:
            rules.append(Rule(c.name, f"below {c.minimum:g}", f"{value} < {c.minimum!r}"))
        if c.maximum is not None:
            rules.append(Rule(c.name, f"above {c.maximum:g}", f"{value} > {c.maximum!r}"))
        if c.values is not None:
            known = ", ".join(literal(v) for v in c.values)
            rules.append(Rule(c.name, UNKNOWN, f"CAST({value} AS VARCHAR) NOT IN ({known})"))
        if c.name == table.day:
            rules += day_rules(catalog, table, c.name, '"day"', today)
    return [*rules, *version_rules(table, today)]


def _zone_rules(column: Column, zones: TimeZones) -> list[Rule]:
    local = f'"{column.name} local"'
    back = in_zone(f'timezone({{zone}}, "{column.name} at")', zones)
    says = f"written without an offset, and the time zone of its {zones.column} is not known"
    return [
        Rule(column.name, says, f"{local} IS NOT NULL AND {in_zone('true', zones)} IS NULL"),
        Rule(column.name, "a local time that the clocks leave out", f"{local} <> {back}"),
    ]
