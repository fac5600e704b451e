"""Holes in the data: one incident of a unit and table from the first incomplete day to the last, with its backlog."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.identity import identity
from health_pipeline.incidents.model import Incident

COMPLETE_DAYS = 3  # complete days that end a hole in the data

Row = Mapping[str, Any]


def data_incidents(
    catalog: Catalog, day: dt.date, open_before: Sequence[Incident], deliveries: Sequence[Row]
) -> list[Incident]:
    """Today's holes.

    Args:
        open_before: yesterday's that are open.
        deliveries: rows of ``raw.schema.DELIVERIES`` of today.
    """
    held = {(i.unit, i.table): i for i in open_before}
    came = {row["table"] for row in deliveries if row["volume"] is not None}
    today = []
    for row in deliveries:
        before, finding = held.get((row["unit"], row["table"])), row["finding"]
        if finding in ("complete", "retired"):
            if before is not None:
                today.append(_filled(before, day, retired=finding == "retired"))
            continue
        volume, expected = row["volume"] or 0.0, row["expected"] or 0.0
        numbers: dict[str, Any] = {
            "shape": finding, "expected": expected, "observed": volume, "excess": volume - expected,
            "direction": "up" if finding == "backlog" else "down",
            "change": volume / expected - 1.0 if expected else 0.0,
        }  # fmt: skip
        if before is not None:
            today.append(
                dataclasses.replace(
                    before, day=day, state="ongoing", last_reported=day, headline_reported=day, **numbers
                )
            )
            continue
        if row["table"] not in came:  # the source is late: that is no unit's incident
            continue
        onset = row["incomplete_since"]
        today.append(
            Incident(
                day=day,
                id=identity(
                    row["unit"] if len(catalog.tables) == 1 else f"{row['unit']} {row['table']}", "delivery", onset, ()
                ),
                kind="data",
                family="delivery",
                unit=row["unit"],
                table=row["table"],
                state="new",
                first_reported=day,
                last_reported=day,
                headline_reported=day,
                onset=onset,
                onset_low=onset,
                onset_high=onset,
                series="",
                metric="",
                segment="",
                change_low=0.0,
                change_high=0.0,
                q_value=0.0,
                tested=0,
                **numbers,
            )  # fmt: skip
        )
    return today


def _filled(incident: Incident, day: dt.date, retired: bool) -> Incident:
    """A hole on a complete day: it is over after some of them, because a backlog may still come."""
    if retired:
        return dataclasses.replace(incident, day=day, state="settled", ended=day)
    over = (day - incident.last_reported).days >= COMPLETE_DAYS
    return dataclasses.replace(incident, day=day, state="recovered" if over else "ongoing", ended=day if over else None)
