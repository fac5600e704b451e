"""Columns of the tables this stage publishes."""

import pyarrow as pa

from health_pipeline.storage.columns import column

SHIFTS = pa.schema(
    [
        column("day", pa.date32(), "the judged day; a shift has a row for every day from its report until it is over"),
        column("series", pa.string(), "metric|segment"),
        column("metric", pa.string(), "name in the catalog"),
        column("segment", pa.string(), "dimension=value|dimension=value; empty for the total"),
        column("unit", pa.string(), "the delivering unit, a platform or a market; `all` for totals over units"),
        column("kind", pa.string(), "spike (1-2 days), level or slope"),
        column("direction", pa.string(), "up or down"),
        column("state", pa.string(), "new, ongoing; its last row: recovered (back), or settled (the new normal)"),
        column("reported_on", pa.date32(), "the day on which it was first reported"),
        column("onset", pa.date32(), "most likely first day"),
        column("onset_low", pa.date32(), "first day of the onset interval"),
        column("onset_high", pa.date32(), "last day of the onset interval"),
        column("ended", pa.date32(), "first day that is back; null while it goes on"),
        column("days", pa.int32(), "observed days from onset to its end, or to the newest mature day"),
        column("expected", pa.float64(), "typical day since onset had nothing changed, natural unit"),
        column("observed", pa.float64(), "typical day since onset"),
        column("change", pa.float64(), "observed / expected - 1"),
        column("change_low", pa.float64(), "95 % interval"),
        column("change_high", pa.float64(), "upper end of the 95 % interval"),
        column("numerator", pa.float64(), "mean per day since onset"),
        column("denominator", pa.float64(), "mean per day since onset; null for counts"),
        column("excess", pa.float64(), "things per day beyond expectation: statements, or statements concerned"),
        column("z", pa.float64(), "estimate over standard error, as of the day"),
        column("p_value", pa.float64(), "over all lags, as at the report"),
        column("q_value", pa.float64(), "adjusted for all series and days, as at the report"),
        column("tested", pa.int32(), "series judged on the day of the report (`bands.judged`)"),
    ]
)

BANDS = pa.schema(
    [
        column("day", pa.date32(), "the judged day"),
        column("value_day", pa.date32(), "the day the value is of: `day` less the metric's horizon"),
        column("series", pa.string(), "metric|segment"),
        column("metric", pa.string(), "name in the catalog"),
        column("segment", pa.string(), "dimension=value|dimension=value; empty for the total"),
        column("observed", pa.float64(), "null when missing or incomplete"),
        column("expected", pa.float64(), "from data before `day` only"),
        column("low", pa.float64(), "95 % band of a single ordinary day"),
        column("high", pa.float64(), "upper end of the band"),
        column(
            "judged", pa.bool_(), "whether the series was large enough to be judged on `day`, with enough of a past"
        ),
    ]
)

STATE = pa.schema(
    [
        column("part", pa.string(), "day, series, shift, common or memory: see shifts.state"),
        column("key", pa.string(), "name of the series; number of the cohort"),
        column("day", pa.int32(), "days since 1970; place in the memory"),
        column("values", pa.list_(pa.float64()), "what tomorrow's judgement needs of it"),
    ]
)
