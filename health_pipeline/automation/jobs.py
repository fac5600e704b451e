"""Jobs: land files, load days, judge days, alert; and ``daily``, which does one day from end to end."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from health_pipeline.assets import asset_key
from health_pipeline.catalog.model import Catalog
from health_pipeline.metrics.maturity import versioned

JUDGED = ("shifts", "bands", "states", "incidents", "risks", "track_records")
LISTS = ("review_lists", "clusters", "trends", "prevalence", "precision")
KINDS = ("land", "load", "judge", "alert", "daily")


def job_name(catalog: Catalog, kind: str) -> str:
    """``eu_dsa_judge``."""
    return f"{catalog.name}_{kind}"


def jobs(catalog: Catalog) -> dict[str, UnresolvedAssetJobDefinition]:
    """Kind of work -> job."""
    assets = {
        "land": ["landed_files"],
        "load": [
            *(table.name for table in catalog.tables), "deliveries", "cube", "histograms",
            *(["arrivals", "maturity"] if versioned(catalog) else []),
        ],
        "judge": [*JUDGED, *(LISTS if catalog.review else ())],
        "alert": ["alerts"],
    }  # fmt: skip
    assets["daily"] = [*assets["load"], *assets["judge"]]
    said = {
        "land": "Check and land every new file of the inbox.",
        "load": "Facts, deliveries and cube of the days in the run's range.",
        "judge": "Shifts, incidents, risks and review lists of the days in the run's range.",
        "alert": "Queue messages about new incidents, and deliver what waits in the outbox.",
        "daily": "One day from the delivered files to the prioritised list.",
    }
    return {
        kind: dg.define_asset_job(
            job_name(catalog, kind),
            selection=dg.AssetSelection.assets(*[asset_key(catalog, name) for name in assets[kind]]),
            description=said[kind],
            tags={"ecosystem": catalog.name, "work": kind},
            executor_def=dg.in_process_executor,
        )
        for kind in KINDS
    }
