"""Columns of the prioritised list."""

import pyarrow as pa

RISKS = pa.schema(
    [
        ("day", pa.date32()),
        ("rank", pa.int32()),  # 1 is first
        ("incident", pa.string()),  # id of an open incident of kind shift
        ("score", pa.float64()),  # size x exposure x confidence
        ("size", pa.float64()),  # |log2(observed / expected)|, at most 5
        ("exposure", pa.float64()),  # log10(1 + |excess per day|)
        ("confidence", pa.float64()),  # 1 - q, times the share of the interval on the far side of no change
        ("harm", pa.float64()),  # 1 in the harmful direction, 0.5 in the other
        ("sentence", pa.string()),  # what happened, in words
    ]
)
