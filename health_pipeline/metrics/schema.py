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
        column("denominator", pa.float64(), "sum; for a quantile, how many with open ones; null for counts"),
        column("n", pa.int64(), "rows of a weighted metric, else clusters; null where the rows have none"),
        column("numerator_sq", pa.float64(), "sum of squares over these"),
        column("denominator_sq", pa.float64(), "sum of squares over these"),
        column("product", pa.float64(), "sum of numerator times denominator over these"),
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

ARRIVALS = pa.schema(
    [
        column("day", pa.date32(), "UTC day the amount counts for"),
        column("metric", pa.string(), "name in the catalog"),
        column("part", pa.string(), "numerator or denominator"),
        column("age", pa.int32(), "0: by the end of the day; a: on the a-th day after it"),
        column("amount", pa.float64(), "change of the day's total: what arrived less what it superseded"),
    ]
)

MATURITY = pa.schema(
    [
        column("day", pa.date32(), "as known at the end of this UTC day"),
        column("metric", pa.string(), "name in the catalog"),
        column("part", pa.string(), "numerator, denominator, or value: the one as a share of the other"),
        column("age", pa.int32(), "days after a day's end; the last age of a part stands for all greater ones"),
        column("of_day", pa.date32(), "the day that has this age: day less age"),
        column("share", pa.float64(), "of the final amount that has arrived; of the final value that is told"),
    ]
)
