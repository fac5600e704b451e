"""Columns of the delivery table (those of the facts are the catalog's contract)."""

import pyarrow as pa

DELIVERIES = pa.schema(
    [
        ("day", pa.date32()),
        ("unit", pa.string()),  # a value of the delivering column
        ("finding", pa.string()),  # complete, missing, empty, partial, backlog, retired
        ("incomplete_since", pa.date32()),  # first day of the current stretch that is not complete; null when complete
        ("volume", pa.float64()),  # null when nothing was delivered
        ("expected", pa.float64()),  # median of the last complete days; null while there are too few
        ("owed", pa.float64()),  # volume expected during an outage and not delivered since
        ("since", pa.int32()),  # days since the outage's last missing or empty day; null when there was none lately
        ("silent", pa.int32()),  # days in a row without any delivery
        ("recent", pa.list_(pa.float64())),  # volumes of the last complete days, which tomorrow's judgement needs
    ]
)
