"""Columns of the tables this stage publishes."""

import pyarrow as pa

SHIFTS = pa.schema(
    [
        ("day", pa.date32()),  # the day on which, with data up to it, the shift was judged significant
        ("series", pa.string()),  # metric|segment
        ("metric", pa.string()),
        ("segment", pa.string()),  # platform=TikTok|category=...
        ("unit", pa.string()),  # the delivering unit, here the platform
        ("kind", pa.string()),  # spike (1-2 days) or level
        ("direction", pa.string()),  # up or down
        ("onset", pa.date32()),  # most likely first day
        ("onset_low", pa.date32()),
        ("onset_high", pa.date32()),
        ("days", pa.int32()),  # observed days from onset to `day`
        ("expected", pa.float64()),  # typical day since onset had nothing changed, natural unit
        ("observed", pa.float64()),  # typical day since onset
        ("change", pa.float64()),  # observed / expected - 1
        ("change_low", pa.float64()),  # 95 % interval
        ("change_high", pa.float64()),
        ("numerator", pa.float64()),  # mean per day since onset
        ("denominator", pa.float64()),  # mean per day since onset; null for counts
        ("excess", pa.float64()),  # things per day beyond expectation: statements, or statements concerned
        ("z", pa.float64()),  # calibrated score
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),
        ("tested", pa.int32()),  # series judged that day
    ]
)

BANDS = pa.schema(
    [
        ("day", pa.date32()),
        ("series", pa.string()),
        ("metric", pa.string()),
        ("segment", pa.string()),
        ("observed", pa.float64()),  # null when missing or incomplete
        ("expected", pa.float64()),  # from data before `day` only
        ("low", pa.float64()),  # 95 % band of a single ordinary day
        ("high", pa.float64()),
    ]
)
