"""Incidents as an asset."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg

from health_pipeline import charts
from health_pipeline.assets import Output, derived_asset
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import incidents as incidents_of
from health_pipeline.incidents import wording
from health_pipeline.incidents.model import from_table
from health_pipeline.storage.lake import LakeTable


def incident_assets(
    catalog: Catalog,
    partitions: dg.DailyPartitionsDefinition,
    shifts: LakeTable,
    bands: LakeTable,
    deliveries: LakeTable,
    incidents: LakeTable,
) -> list[dg.AssetsDefinition]:
    """``incidents``: shifts that began together as one, and holes in the data, each with a life."""

    def pictures(days: Sequence[dt.date]) -> dict[str, Any]:
        window = [days[-1] - dt.timedelta(days=i) for i in range(89, -1, -1)]
        found = from_table(incidents.read(window))
        today = [i for i in found if i.day == days[-1] and i.is_open]
        records = [
            dg.TableRecord(
                {"incident": i.id, "state": i.state, "since": str(i.onset), "what": wording.sentence(catalog, i)}
            )
            for i in today[:100]
        ]
        picture = charts.incident_timeline(
            found, first=window[0], last=window[-1], name=lambda unit: wording.unit(catalog, unit), width=900
        )
        about: dict[str, Any] = {"timeline": dg.MetadataValue.md(charts.markdown_image(picture))}
        if records:
            about[f"open on {days[-1]}"] = dg.MetadataValue.table(records)
        return about

    output = Output(
        "incidents", incidents,
        "Shifts of one family of metrics in one unit that began together, as one incident with a state: new, ongoing, "
        "recovered or settled; and holes in the data.",
        ["shifts", "bands", "deliveries"], previous_day=True,
    )  # fmt: skip
    return [
        derived_asset(
            catalog, partitions, "incidents", [output],
            lambda engine: incidents_of.derivation(catalog, shifts, bands, deliveries, incidents), pictures,
        )
    ]  # fmt: skip
