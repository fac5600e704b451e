"""Columns of the prioritised list."""

import pyarrow as pa

from health_pipeline.storage.columns import column

RISKS = pa.schema(
    [
        column("day", pa.date32(), "the day of the list"),
        column("rank", pa.int32(), "1 is first"),
        column("incident", pa.string(), "id of an open incident of kind shift"),
        column("score", pa.float64(), "size x exposure x confidence"),
        column("size", pa.float64(), "|log2(observed / expected)|, at most 5"),
        column("exposure", pa.float64(), "log10(1 + |excess per day|)"),
        column("confidence", pa.float64(), "1 - q, times the share of the interval on the far side of no change"),
        column("harm", pa.float64(), "1 in the harmful direction, 0.5 in the other"),
        column("title", pa.string(), "what happened and where, in a few words"),
        column("sentence", pa.string(), "what happened, in words"),
    ]
)
