"""Columns of the cube and of its histograms."""

import pyarrow as pa

from health_pipeline.storage.columns import column

CUBE = pa.schema(
    [
        column("day", pa.date32(), "UTC day"),
        column("metric", pa.string(), "name in the catalog"),
        column("segment", pa.string(), "dimension=value|dimension=value, in the cut's order; empty for the total"),
        column("unit", pa.string(), "value of the catalog's unit dimension; `all` where the cut does not have it"),
        column("whole", pa.string(), "the segment the denominator is taken over"),
        column("numerator", pa.float64(), "sum; for a quantile, how many have a value"),
        column(
            "denominator", pa.float64(), "sum; for a quantile, how many with open ones; null for counts"
        ),
        column("n", pa.int64(), "clusters of a ratio, rows of a weighted metric; null for the others"),
        column("numerator_sq", pa.float64(), "sum of squares over these; null for the others"),
        column("denominator_sq", pa.float64(), "sum of squares over these; null for the others"),
        column("product", pa.float64(), "sum of numerator times denominator over these; null for the others"),
    ]
)

HISTOGRAMS = pa.schema(
    [
        column("day", pa.date32(), "UTC day"),
        column("metric", pa.string(), "name in the catalog, of type quantile"),
        column("segment", pa.string(), "as in the cube"),
        column("unit", pa.string(), "as in the cube"),
        column("bin", pa.int32(), "logarithmic bin (health_pipeline/stats/bins.py)"),
        column("count", pa.int64(), "rows in the bin"),
    ]
)
