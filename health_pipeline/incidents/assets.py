"""Incidents as an asset."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from health_pipeline import charts, charts_incident
from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import incidents as incidents_of
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import from_table
from health_pipeline.incidents.series import Sources, course
from health_pipeline.incidents.suspects import event_tables
from health_pipeline.incidents.weight import weight
from health_pipeline.metrics.maturity import versioned
from health_pipeline.storage.lake import LakeTable


def incident_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    sources: incidents_of.Sources,
    incidents: LakeTable,
    series: Sources,
) -> list[dg.AssetsDefinition]:
    """``incidents``: shifts that are one event as one, and holes in the data, each with a life.

    Args:
        series: what the weightiest incident's chart is drawn from.
    """

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        window = [days[-1] - dt.timedelta(days=i) for i in range(89, -1, -1)]
        found = from_table(incidents.read(window))
        today = [i for i in found if i.day == days[-1] and i.is_open]
        records = [
            dg.TableRecord(
                {"incident": i.id, "state": i.state, "since": str(i.onset), "what": wording.title(catalog, i)}
            )
            for i in today[:100]
        ]
        picture = charts.incident_timeline(
            found, first=window[0], last=window[-1], name=lambda unit: wording.unit(catalog, unit), width=900
        )
        about: dict[str, Any] = {"timeline": dg.MetadataValue.md(charts.markdown_image(picture))}
        if records:
            about[f"open on {days[-1]}"] = dg.MetadataValue.table(records)
        shifts = [i for i in today if i.kind == "shift"]
        if shifts:
            weights = {i.id: weight(i.change, i.change_low, i.change_high, i.excess, i.q_value) for i in shifts}
            first = max(shifts, key=lambda i: (weights[i.id], i.id))
            told = course(catalog, series, first, days[-1])
            if told.points:
                spec = charts_incident.incident_chart(catalog, first, told, width=900, height=320)
                about["weightiest"] = dg.MetadataValue.md(charts.markdown_image(spec))
        return about

    output = Output(
        "incidents", incidents,
        "Shifts that are views of one event, as one incident with root, explanation, reach and a state: new, "
        "worsening, ongoing, recovered, settled or retracted; and holes in the data.",
        ["shifts", "bands", "deliveries", "cube", *(["maturity"] if versioned(catalog) else []),
         *(t.name for t in event_tables(catalog))],
        previous_day=True,
    )  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "incidents", [output],
            lambda engine: incidents_of.derivation(catalog, sources, incidents), pictures,
        )
    ]  # fmt: skip
