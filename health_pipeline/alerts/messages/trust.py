"""How far the data behind an incident can be trusted, in sentences: fresh, mature, and what was left out or rejected.

What spoke for the data as the cause near the onset stands beside the incident already
(:mod:`health_pipeline.incidents.suspects`) and is not said again. What is not known is not said.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from health_pipeline.catalog.model import EVERY_UNIT, Catalog, Metric
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import Incident
from health_pipeline.incidents.suspects import AROUND_DAYS
from health_pipeline.raw.landed.ledger import Receipt

RECENT_DAYS = 14
"""Deliveries of so many days up to the day judged are told."""
LONGEST = 160
NEGLIGIBLE = 0.005
"""A share so near to all, or a revision so small, is none."""
DAYS_NAMED = 3

Row = Mapping[str, Any]
Rows: TypeAlias = pa.Table | Iterable[Row]


def trust(
    catalog: Catalog,
    incident: Incident,
    maturity_rows: Rows,
    deliveries_rows: Rows,
    receipts: Mapping[str, Iterable[Receipt]] | None = None,
) -> tuple[str, ...]:
    """At most three sentences of at most :data:`LONGEST` characters: freshness, maturity, what failed.

    A message says them after one that names the day judged, which ``that day`` is.

    Args:
        maturity_rows: rows of ``metrics.schema.MATURITY`` of ``incident.day``; none where rows do not change.
        deliveries_rows: rows of ``raw.schema.DELIVERIES`` of the last :data:`RECENT_DAYS` days up to ``incident.day``.
            Others are not looked at.
        receipts: table -> its deliveries, for the rows that were rejected.

    Returns:
        Nothing for kind ``data``, which is about what was not delivered.
    """
    if incident.kind != "shift":
        return ()
    metric = catalog.metric(incident.metric)
    first = incident.day - dt.timedelta(days=RECENT_DAYS - 1)
    tables = catalog.tables_of(metric)
    deliveries = [
        r for r in _rows(deliveries_rows)
        if r["table"] in tables and first <= r["day"] <= incident.day and incident.unit in (r["unit"], EVERY_UNIT)
    ]  # fmt: skip
    own = [r for r in _rows(maturity_rows) if r["metric"] == metric.name and r["day"] == incident.day]
    said = (
        _freshness(catalog, incident, deliveries),
        _maturity(metric, incident, own),
        _failed(catalog, incident, deliveries, {name: (receipts or {}).get(name, ()) for name in tables}),
    )
    return tuple(_cut(sentence) for sentence in said if sentence)


def _freshness(catalog: Catalog, incident: Incident, deliveries: Sequence[Row]) -> str:
    """The supplier that is farthest behind the day judged, or that all are up to it."""
    today = {(r["table"], r["unit"]): r["finding"] for r in deliveries if r["day"] == incident.day}
    expected = {who: finding for who, finding in today.items() if finding != "retired"}
    if not expected:
        return ""
    last = {
        who: max((r["day"] for r in deliveries if (r["table"], r["unit"]) == who and r["finding"] != "missing"),
                 default=None)
        for who in expected
    }  # fmt: skip
    behind = [(day or dt.date.min, who) for who, day in last.items() if day != incident.day]
    if behind:
        day, (table, unit) = min(behind)
        more = f", and {wording.count(len(behind) - 1, 'other')} late" if len(behind) > 1 else ""
        who = wording.supplier(catalog, unit, table)
        if day == dt.date.min:
            return f"{who} delivered nothing in the {RECENT_DAYS} days up to the day judged{more}."
        late = wording.count((incident.day - day).days, "day")
        return f"{who} last delivered for {wording.day(day)}, {late} before the day judged{more}."
    broken = sorted(who for who, finding in expected.items() if finding != "complete")
    if broken:
        table, unit = broken[0]
        more = f", and {wording.count(len(broken) - 1, 'other')} not completely" if len(broken) > 1 else ""
        who = wording.supplier(catalog, unit, table)
        return f"{who} {wording.FINDINGS[expected[broken[0]]][1]} on the day judged, {wording.day(incident.day)}{more}."
    return "Deliveries are complete up to that day."


def _maturity(metric: Metric, incident: Incident, rows: Sequence[Row]) -> str:
    """How much of the newest judged day is in, and by how much its value has yet to change, as learned of days before.

    The curves are of all units together.
    """
    curves: dict[str, dict[int, float]] = {}
    for row in rows:
        curves.setdefault(row["part"], {})[row["age"]] = row["share"]
    # The last age of a part stands for all greater ones.
    shares = {part: curve[min(metric.horizon, max(curve))] for part, curve in curves.items()}
    value = shares.pop("value", None)
    if value is None or value <= 0:
        return ""
    complete = min([1.0, *shares.values()])
    revision = abs(1.0 / value - 1.0)
    newest = wording.day(incident.day - dt.timedelta(days=metric.horizon))
    what = f"The newest value is of {newest}, whose data are"
    percent = f"{100 * revision:.0f}" if revision >= 0.01 else f"{100 * revision:.1f}"
    if complete >= 1.0 - NEGLIGIBLE:
        corrected = f"; corrections may revise it by about ±{percent} %" if revision >= NEGLIGIBLE else ""
        return f"{what} all in{corrected}."
    may = f"may still change by about ±{percent} %" if revision >= NEGLIGIBLE else "hardly changes any more"
    return f"{what} {wording.percent(complete)} complete; it {may}."


def _failed(
    catalog: Catalog, incident: Incident, deliveries: Sequence[Row], receipts: Mapping[str, Iterable[Receipt]]
) -> str:
    """Days that are left out, and rows that were rejected, unless they stand beside the incident already."""
    around = dt.timedelta(days=AROUND_DAYS)
    near = (incident.onset_low - around, incident.onset_high + around)
    told = {s.kind for s in incident.suspects}
    days = sorted(
        {
            r["day"] for r in deliveries
            if r["finding"] not in ("complete", "retired") and r["day"] != incident.day
            and not ("volume" in told and near[0] <= r["day"] <= near[1])
        }
    )  # fmt: skip
    first = incident.day - dt.timedelta(days=RECENT_DAYS - 1)
    recent = [
        r for own in receipts.values() for r in own
        if r.quarantined and r.days and first <= max(r.days) and min(r.days) <= incident.day
        and len(r.days) <= RECENT_DAYS
        and not ("checks" in told and near[0] <= max(r.days) and min(r.days) <= near[1])
    ]  # fmt: skip
    said = []
    if days:
        named = _days(days) if len(days) <= DAYS_NAMED else f"{_days(days[:1])} to {_days(days[-1:])}"
        said.append(f"{len(days)} of the last {RECENT_DAYS} days left out, not delivered completely: {named}")
    if recent:
        rejected, delivered = sum(r.quarantined for r in recent), sum(r.delivered for r in recent)
        share = wording.percent(rejected / max(delivered, 1))
        of = "" if days else f" of the last {RECENT_DAYS} days"
        said.append(f"{wording.count(rejected, 'row')}{of} rejected by the contract ({share})")
    return f"{'; '.join(said)}." if said else ""


def _days(days: Sequence[dt.date]) -> str:
    """``20 and 24 September``."""
    months = {(d.year, d.month) for d in days}
    if len(months) > 1:
        texts = [f"{d.day} {d:%B}" for d in days]
    else:
        texts = [*(str(d.day) for d in days[:-1]), f"{days[-1].day} {days[-1]:%B}"]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _rows(rows: Rows) -> Iterable[Row]:
    found: Iterable[Row] = rows.to_pylist() if isinstance(rows, pa.Table) else rows
    return found


def _cut(sentence: str) -> str:
    """Names come from data and can be of any length."""
    return sentence if len(sentence) <= LONGEST else sentence[: LONGEST - 1].rstrip() + "…"
