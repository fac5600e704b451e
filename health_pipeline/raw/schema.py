"""Columns of the delivery table (those of the facts are the catalog's contracts)."""

import pyarrow as pa

from health_pipeline.storage.columns import column

DELIVERIES = pa.schema(
    [
        column("day", pa.date32(), "UTC day"),
        column("table", pa.string(), "name of the table delivered"),
        column("unit", pa.string(), "a value of the delivering column"),
        column("finding", pa.string(), "complete, missing, empty, partial, backlog, settling, retired"),
        column(
            "incomplete_since", pa.date32(), "first day of the current stretch that is not complete; null when complete"
        ),
        column("volume", pa.float64(), "null when nothing was delivered"),
        column("expected", pa.float64(), "median of the last complete days; null while there are too few"),
        column("owed", pa.float64(), "volume expected during an outage and not delivered since"),
        column(
            "since", pa.int32(), "days since the outage's last missing or empty day; null when there was none lately"
        ),
        column("silent", pa.int32(), "days in a row without any delivery"),
        column("backlog_age", pa.int32(), "days since the last backlog of this outage; null when there was none"),
        column("recent", pa.list_(pa.float64()), "volumes of the last complete days, which tomorrow's judgement needs"),
    ]
)
