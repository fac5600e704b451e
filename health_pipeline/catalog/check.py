"""Does a catalog mean something? Names that refer to one another, and types that fit."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.model import Ecosystem, Metric, Metrics, Review, Selection, Source, Sum, Table
from health_pipeline.catalog.roles import NEEDED, ROLES, SAMPLED_DAYS
from health_pipeline.catalog.secrets import literal_secrets
from health_pipeline.catalog.yaml_file import Finding, Path_, YamlFile, did_you_mean

PARTS = {  # type of metric -> what it must and may declare
    "count": ({"numerator"}, set()),
    "rate": ({"numerator", "denominator"}, set()),
    "proportion": ({"numerator", "denominator"}, set()),
    "ratio": ({"numerator", "denominator"}, set()),
    "mean": ({"numerator", "denominator"}, set()),
    "quantile": ({"quantile"}, set()),
    "weighted": ({"numerator", "weight"}, {"denominator"}),
}  # fmt: skip
TABLE_NAME = re.compile(r"\w+(\.\w+){0,2}")
"""How a database's table is named: ``orders``, ``sales.orders``, ``shop.sales.orders``."""
RESERVED = (
    "landed_files", "quarantine", "deliveries", "cube", "histograms", "arrivals", "maturity", "shifts", "bands",
    "incidents", "risks", "review_lists", "clusters", "trends", "prevalence", "precision", "alerts",
)  # fmt: skip
"""Names that the pipeline's own tables and assets have."""
EVERY_PART = ("numerator", "denominator", "quantile", "weight")


def duplicates(file: YamlFile, key: Path_, names: Sequence[str], what: str) -> list[Finding]:
    """A name that is declared twice in one list."""
    found = []
    for i, name in enumerate(names):
        if name in names[:i]:
            first = file.line([*key, names.index(name), "name"])
            found.append(
                Finding(
                    file.path,
                    file.line([*key, i, "name"]),
                    f"the {what} {name!r} is declared twice",
                    f"It is first declared on line {first}: rename one.",
                )
            )
    return found


def check_tables(file: YamlFile, tables: Sequence[Table]) -> list[Finding]:
    """Columns that tables name must be declared, of the right type, and once."""
    found = duplicates(file, ["tables"], [t.name for t in tables], "table")
    if not tables:
        found.append(Finding(file.path, file.line(["tables"]), "no table is declared", "Declare at least one."))
    for i, table in enumerate(tables):
        if table.name in RESERVED:
            says = f"the table {table.name!r} has the name of one of the pipeline's own"
            found.append(Finding(file.path, file.line(["tables", i, "name"]), says, "Rename it."))
        found += _check_table(file, ["tables", i], table, {t.name: t for t in tables})
    return found


def _check_table(file: YamlFile, at: Path_, table: Table, tables: Mapping[str, Table]) -> list[Finding]:
    columns = {c.name: c for c in table.columns}
    found = []

    def finding(where: Path_, message: str, hint: str) -> None:
        found.append(Finding(file.path, file.line([*at, *where]), message, hint))

    def declared(where: Path_, says: str, name: str) -> bool:
        if name not in columns:
            finding(where, f"{says} the column {name!r}, which is not declared", did_you_mean(name, columns))
        return name in columns

    names = [c.name for c in table.columns]
    for i, name in enumerate(names):
        if name in names[:i]:
            finding(["columns", i, "name"], f"the column {name!r} is declared twice", "Rename or remove one.")
    added = {"day": table.day, "cluster": table.cluster and "", "superseded_at": table.version and ""}
    for name, own in added.items():
        if name in columns and own is not None and own != name:
            says = f"the column {name!r} has the name of one that loading adds"
            finding(["columns", names.index(name), "name"], says, "Rename it.")
    if table.day == "day" and "day" in columns and columns["day"].type == "timestamp":
        finding(["day"], "the column 'day' is a timestamp; loading adds a column 'day' with the date", "Rename it.")
    for key in ("day", "delivered_by", "version", "cluster"):
        named = getattr(table, key)
        if named is None or not declared([key], f"{key} names", named):
            continue
        wanted = {"day": ["date", "timestamp"], "version": ["timestamp"]}.get(key)
        if wanted and columns[named].type not in wanted:
            says = f"{key} names the column {named!r}, whose type is {columns[named].type}"
            finding([key], says, f"It must be a {' or '.join(wanted)}.")
    for i, name in enumerate(table.key):
        declared(["key", i], "the key names", name)
    for i, derived in enumerate(table.derived):
        if derived.name in columns or derived.name in ("day", "cluster", "superseded_at"):
            finding(
                ["derived", i, "name"], f"the derived column {derived.name!r} has the name of another", "Rename it."
            )
    if table.lateness_days is not None and table.version is None:
        says = "lateness_days needs a version: without it no row tells when it arrived"
        finding(["lateness_days"], says, "Add `version`, or remove this.")
    for i, reference in enumerate(table.references):
        declared(["references", i, "column"], "the reference names", reference.column)
        other = tables.get(reference.table)
        if other is None:
            hint = did_you_mean(reference.table, tables)
            finding(
                ["references", i, "table"],
                f"the reference names the table {reference.table!r}, which is not declared", hint,
            )  # fmt: skip
        elif reference.to not in [c.name for c in other.columns]:
            hint = did_you_mean(reference.to, [c.name for c in other.columns])
            finding(["references", i, "to"], f"the table {other.name!r} has no column {reference.to!r}", hint)
    return found


def check_sources(file: YamlFile, sources: Sequence[Source], tables: Sequence[Table]) -> list[Finding]:
    """A source is a folder or a database, reads declared tables, and holds no password."""
    found = duplicates(file, ["sources"], [s.name for s in sources], "source")
    for i, source in enumerate(sources):
        found += _check_source(file, ["sources", i], source, {t.name: t for t in tables})
    return found


def _check_source(file: YamlFile, at: Path_, source: Source, tables: Mapping[str, Table]) -> list[Finding]:
    found = []

    def finding(where: Path_, message: str, hint: str) -> None:
        found.append(Finding(file.path, file.line([*at, *where]), f"{source.name}: {message}", hint))

    if (source.folder is None) == (source.database is None):
        finding([], "a source is either a folder or a database", "Give one of `folder` and `database`.")
        return found
    for where in literal_secrets(source):
        finding(
            where,
            f"{'.'.join(map(str, where))} holds a password as it is",
            "Put it into an environment variable, and write ${NAME} in its place.",
        )
    if source.folder is not None:
        for key in sorted({"tables", "overlap_minutes"} & source.model_fields_set):
            finding([key], f"{key} belongs to databases", "Remove it: a file's name or folder tells its table.")
        return found
    if source.storage_options:
        finding(["storage_options"], "storage_options belong to folders", "Put the database's options into its URL.")
    if not source.tables:
        finding([], "it says no table to read", "Add `tables`: a table of the catalog, and the database's name for it.")
    for name, selection in source.tables.items():
        if name not in tables:
            finding(["tables", name], f"there is no table {name!r} in tables.yaml", did_you_mean(name, tables))
        else:
            for message, hint in _check_selection(selection, tables[name]):
                finding(["tables", name], f"{name}: {message}", hint)
    return found


def _check_selection(selection: Selection, table: Table) -> Iterator[tuple[str, str]]:
    """What is wrong with how a table is read, and what to do."""
    select = selection.select.strip()
    if not TABLE_NAME.fullmatch(select) and not re.match(r"\(*\s*(SELECT|WITH)\b", select, re.IGNORECASE):
        yield "that is neither a table's name nor a SELECT", "Write `orders`, `sales.orders`, or SELECT … FROM …."
    if selection.days_back is not None and table.version is not None:
        yield (
            f"days_back is for tables without a version; this one is read on by {table.version!r}",
            "Remove it; overlap_minutes of the source says how far back to look.",
        )
    elif selection.days_back is not None and all(c.type != "date" for c in table.columns if c.name == table.day):
        yield (
            f"days_back needs a day of type date, and {table.day!r} is a timestamp: a part of a day would replace it",
            "Remove it: the table is then read whole.",
        )


def check_ecosystem(file: YamlFile, folder: Path, ecosystem: Ecosystem, tables: Sequence[Table]) -> list[Finding]:
    """The sample must exist, and time zones be known."""
    found = []
    if ecosystem.sample and not (folder / ecosystem.sample).exists():
        says = f"the sample {ecosystem.sample!r} does not exist"
        found.append(Finding(file.path, file.line(["sample"]), says, "Paths are relative to this file."))
    if (zones := ecosystem.time_zones) is not None:
        columns = sorted({c.name for t in tables for c in t.columns})
        if zones.column not in columns:
            line = file.line(["time_zones", "column"])
            says = f"time_zones names the column {zones.column!r}, which no table has"
            found.append(Finding(file.path, line, says, did_you_mean(zones.column, columns)))
        known = zoneinfo.available_timezones()  # walks a thousand files
        for value, zone in zones.zones.items():
            if zone not in known:
                line = file.line(["time_zones", "zones", value])
                hint = did_you_mean(zone, known) if "/" in zone else ""
                hint = hint if hint.startswith("Did") else "Write it as in Asia/Jakarta."
                found.append(Finding(file.path, line, f"{zone!r} is not a time zone", hint))
    return found


def check_review(file: YamlFile, review: Review) -> list[Finding]:
    """Queues once each, roles that there are, those that no list can be made without, and enough memory for samples."""
    found = duplicates(file, ["queues"], [q.name for q in review.queues], "queue")
    for role in review.roles:
        if role not in ROLES:
            found.append(
                Finding(file.path, file.line(["roles", role]), f"there is no role {role!r}", did_you_mean(role, ROLES))
            )
    for role in NEEDED:
        if role not in review.roles:
            says = f"the role {role!r} is missing"
            hint = f"Add a SELECT of {', '.join(ROLES[role].columns)}."
            found.append(Finding(file.path, file.line(["roles"]), says, hint))
    least = SAMPLED_DAYS + review.alive_days
    if "samples" in review.roles and review.memory_days < least:
        needs = f"prevalence needs samples of {SAMPLED_DAYS} days, and contents shown then"
        says = f"memory_days is {review.memory_days}: {needs}"
        hint = f"Write {least} or more, or leave the role 'samples' out."
        found.append(Finding(file.path, file.line(["memory_days"]), says, hint))
    return found


def check_alerts(
    file: YamlFile, alerts: Alerts, *, owners: Sequence[str], families: Sequence[str], metrics: Sequence[str]
) -> list[Finding]:
    """Names that refer to one another, and scores that fall from one severity to the next.

    Args:
        owners, families, metrics: what the catalog's metrics declare.
    """
    found = duplicates(file, ["severities"], [s.name for s in alerts.severities], "severity")
    names = [s.name for s in alerts.severities]

    def known(where: Sequence[str | int], given: str, among: Sequence[str], what: str) -> None:
        if given not in among:
            place = ".".join(p for p in where if isinstance(p, str) and p != given)
            unknown = "no metric has" if what in ("owner", "family") else "is not declared"
            says = f"{place} names the {what} {given!r}, which {unknown}"
            found.append(Finding(file.path, file.line(where), says, did_you_mean(given, among)))

    if not names:
        found.append(Finding(file.path, file.line(["severities"]), "no severity is declared", "Declare at least one."))
        return found
    least = float("inf")
    for i, severity in enumerate(alerts.severities[:-1]):
        if severity.minimum_score is None or severity.minimum_score >= least:
            says = f"severities.{severity.name}: its minimum_score must be there, and smaller than the one before it"
            hint = "Severities go from the most urgent to the least; only the last needs no minimum_score."
            found.append(Finding(file.path, file.line(["severities", i]), says, hint))
        else:
            least = severity.minimum_score
    for finding, name in alerts.holes.items():
        known(["holes", finding], name, names, "severity")
    for i, name in enumerate((alerts.quiet_hours.critical if alerts.quiet_hours else None) or ()):
        known(["quiet_hours", "critical", i], name, names, "severity")
    if alerts.quiet_hours and alerts.quiet_hours.start == alerts.quiet_hours.end:
        says = "quiet_hours begin and end at the same time, which could mean never or always"
        found.append(Finding(file.path, file.line(["quiet_hours", "end"]), says, "Leave quiet_hours out for never."))
    for i, route in enumerate(alerts.routes):
        if i + 1 < len(alerts.routes) and not (route.severities or route.units or route.families or route.metrics):
            says = f"route {i + 1} has no condition, so that no route after it is ever taken"
            found.append(Finding(file.path, file.line(["routes", i]), says, "Move it to the end, or add a condition."))
        for key, given, among, what in (
            ("severities", route.severities, names, "severity"),
            ("families", route.families, [*families, "delivery"], "family"),
            ("metrics", route.metrics, metrics, "metric"),
        ):
            for j, name in enumerate(given):
                known(["routes", i, key, j], name, among, what)
    for owner in alerts.owners:
        known(["owners", owner], owner, owners, "owner")
    return found


def check_metrics(
    file: YamlFile, tables: Sequence[Table], declared: Metrics, reach: Mapping[str, Sequence[str]]
) -> list[Finding]:
    """Metrics must name what exists, and declare what their type needs."""
    names, dimensions = [m.name for m in declared.metrics], [d.name for d in declared.dimensions]
    found = duplicates(file, ["metrics"], names, "metric") + duplicates(
        file, ["dimensions"], dimensions, "dimension"
    )  # fmt: skip
    if not names:
        found.append(Finding(file.path, file.line(["metrics"]), "no metric is declared", "Declare at least one."))
    if not tables:
        return found
    unit = declared.unit or tables[0].delivered_by
    if declared.unit is not None and unit not in dimensions:
        says = f"unit names the dimension {unit!r}, which is not declared"
        found.append(Finding(file.path, file.line(["unit"]), says, did_you_mean(unit, dimensions)))
    for i, cut in enumerate(declared.segments):
        for j, name in enumerate(cut):
            if name not in dimensions:
                says = f"segments names the dimension {name!r}, which is not declared"
                line = file.line(["segments", i, j])
                found.append(Finding(file.path, line, says, did_you_mean(name, dimensions)))
    known = {t.name: t for t in tables}
    for i, metric in enumerate(declared.metrics):
        places = _Places(file, i, metric)
        found += _check_parts(places, known)
        found += _check_cuts(places, dimensions, unit, bool(declared.segments))
        found += _check_whole(places, declared.metrics)
        found += _check_reach(places, tables, unit, reach)
    return found


class _Places:
    """Findings about one metric."""

    def __init__(self, file: YamlFile, index: int, metric: Metric) -> None:
        self.metric = metric
        self._file = file
        self._index = index

    def finding(self, where: Path_, message: str, hint: str = "") -> Finding:
        return Finding(self._file.path, self._file.line(["metrics", self._index, *where]), message, hint)


def _check_parts(places: _Places, tables: Mapping[str, Table]) -> Iterator[Finding]:
    m = places.metric
    must, may = PARTS[m.type]
    for part in EVERY_PART:
        given = getattr(m, part) is not None
        if part in must and not given:
            instead = ", or make the type count" if part == "denominator" else ""
            yield places.finding(["type"], f"{m.name} is a {m.type} and has no {part}", f"Add one{instead}.")
        if given and part not in must | may:
            others = " or ".join(t for t, (needs, _) in PARTS.items() if part in needs and t != "mean")
            instead = "proportion or mean" if part == "denominator" and m.type == "count" else others
            yield places.finding(
                [part], f"{m.name} is a {m.type} and has a {part}", f"Remove it, or make the type {instead}."
            )
    if m.table is not None and m.table not in tables:
        yield places.finding(["table"], f"{m.name} names the table {m.table!r}, which is not declared",
                             did_you_mean(m.table, tables))  # fmt: skip
    for part, declared in (("numerator", m.numerator), ("denominator", m.denominator)):
        if declared is None:
            continue
        if declared.table is not None and declared.table not in tables:
            says = f"{m.name}.{part} names the table {declared.table!r}, which is not declared"
            yield places.finding([part, "table"], says, did_you_mean(declared.table, tables))
        if (declared.sum is None) == (declared.distinct is None):
            yield places.finding([part], f"{m.name}.{part} needs either `sum` or `distinct`", "Write one of them.")
        if declared.distinct and m.type in ("ratio", "weighted"):
            says = f"{m.name} is a {m.type} of distinct values, which do not add up"
            yield places.finding([part, "distinct"], says, "Use a sum, or another type.")
        table = tables.get(declared.table or m.table or next(iter(tables)))
        if m.type == "ratio" and table is not None and table.cluster is None:
            says = f"{m.name} is a ratio over {table.name!r}, which declares no cluster"
            yield places.finding([part], says, "Add `cluster` to the table, or make the type rate.")


def _check_cuts(places: _Places, dimensions: Sequence[str], unit: str, segments: bool) -> Iterator[Finding]:
    m = places.metric
    for key in ("by", "over", "dimensions"):
        for j, name in enumerate(getattr(m, key) or ()):
            if name not in dimensions:
                says = f"{m.name}.{key} names the dimension {name!r}, which is not declared"
                yield places.finding([key, j], says, did_you_mean(name, dimensions))
    if m.by is None and not segments:
        yield places.finding(["name"], f"{m.name} has no `by`, and the catalog declares no segments",
                             "Add `by` to it, or `segments` to the file.")  # fmt: skip
    if m.by is not None and unit not in m.by:
        yield places.finding(
            ["by"], f"{m.name}.by leaves out {unit!r}, by which the source delivers",
            f"Add {unit!r}: without it a missing delivery can't be told from zero.",
        )  # fmt: skip
    for word in re.findall(r"{([^}]*)}", m.phrase):
        if word not in (m.by or ()):
            yield places.finding(["phrase"], f"{m.name}.phrase names {{{word}}}, which is not in its `by`",
                                 did_you_mean(word, m.by or ()))  # fmt: skip
    if m.over is not None and not set(m.over) < set(m.by or ()):
        says = f"{m.name}.over must leave out at least one dimension of `by` and add none"
        yield places.finding(["over"], says)


def _check_whole(places: _Places, metrics: Sequence[Metric]) -> Iterator[Finding]:
    m = places.metric
    if m.adds_up_to is None:
        return
    whole = next((o for o in metrics if o.name == m.adds_up_to), None)
    if whole is None:
        says = f"{m.name}.adds_up_to names the metric {m.adds_up_to!r}, which is not declared"
        yield places.finding(["adds_up_to"], says, did_you_mean(m.adds_up_to, [o.name for o in metrics]))
    elif not set(whole.by or ()) < set(m.by or ()) or m.type != "count" or whole.type != "count":
        yield places.finding(["adds_up_to"], f"{m.name} can't add up to {whole.name}",
                             "Both must be counts, and the whole must have fewer dimensions.")  # fmt: skip


def _check_reach(
    places: _Places, tables: Sequence[Table], unit: str, reach: Mapping[str, Sequence[str]]
) -> Iterator[Finding]:
    m = places.metric
    parts = [p for p in (m.numerator, m.denominator) if p is not None] or [Sum(sum="1")]
    for table in dict.fromkeys(p.table or m.table or tables[0].name for p in parts):
        for key in ("by", "dimensions"):
            for j, name in enumerate(getattr(m, key) or ()):
                if name in reach and table not in reach[name] and table in [t.name for t in tables]:
                    says = f"{m.name}.{key} names the dimension {name!r}, which the table {table!r} does not know"
                    hint = f"Known there: {', '.join(d for d, known in reach.items() if table in known)}."
                    yield places.finding([key, j], says, hint)
        if m.by is None and unit in reach and table not in reach[unit] and table in [t.name for t in tables]:
            says = f"{m.name} is taken from {table!r}, which does not know {unit!r}, by which the sources deliver"
            yield places.finding(["name"], says, "Choose another table, or add the column to it.")
