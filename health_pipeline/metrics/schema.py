"""Columns of the cube."""

import pyarrow as pa

CUBE = pa.schema(
    [
        ("day", pa.date32()),
        ("metric", pa.string()),
        ("segment", pa.string()),  # dimension=value|dimension=value, in the metric's order
        ("unit", pa.string()),  # the delivering unit, here the platform
        ("whole", pa.string()),  # the segment the denominator is taken over
        ("numerator", pa.float64()),
        ("denominator", pa.float64()),  # null for counts
    ]
)
