"""Columns of the cube."""

import pyarrow as pa

from health_pipeline.storage.columns import column

CUBE = pa.schema(
    [
        column("day", pa.date32(), "UTC day"),
        column("metric", pa.string(), "name in the catalog"),
        column("segment", pa.string(), "dimension=value|dimension=value, in the metric's order"),
        column("unit", pa.string(), "the delivering unit, here the platform"),
        column("whole", pa.string(), "the segment the denominator is taken over"),
        column("numerator", pa.float64(), "sum"),
        column("denominator", pa.float64(), "null for counts"),
    ]
)
