"""Significant shifts of any long table: no catalog, no lake, no Dagster.

>>> from health_pipeline.detection import detect_table
>>> shifts = detect_table(frame)  # columns series, day, value; optionally denominator, cohort

For arrays there is :func:`detect` over a :class:`Panel`. `docs/detect.md` has examples that run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from health_pipeline.detection.judge import Judgement, Options, judge
from health_pipeline.detection.scales import Absent, Type
from health_pipeline.detection.table import Columns, LongTable, read_file, read_frame
from health_pipeline.errors import InputError
from health_pipeline.stats.detect import Detection, Settings, detect
from health_pipeline.stats.panel import Panel, Scale
from health_pipeline.stats.shift import Shift

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "Columns", "Detection", "Judgement", "LongTable", "Options", "Panel", "Scale", "Settings", "Shift", "detect",
    "detect_table", "judge", "read_file", "read_frame",
]  # fmt: skip


def detect_table(
    frame: pd.DataFrame | pa.Table,
    *,
    columns: Columns | None = None,
    type: Type | None = None,
    false_discovery_rate: float = 0.05,
    minimum_change: float = 0.1,
    absent: Absent = "missing",
    first: dt.date | None = None,
    together: bool = False,
    special_days: Iterable[dt.date] = (),
) -> pd.DataFrame:
    """Replay a long table day by day, and return one row per report.

    Each day is judged with the days up to it, so the answer for past days does not change when days are added.

    Args:
        frame: one row per series and day: ``series``, ``day``, ``value``, optionally ``denominator`` and ``cohort``.
        columns: other names of the columns.
        type: ``count``, ``proportion``, ``rate``, ``mean`` or ``number``; by default it follows from the values.
        false_discovery_rate: the accepted share of false reports among all reports.
        minimum_change: smallest change reported, relative; 0.1 is 10 %.
        absent: what a day without a row is: ``missing``, or of counts ``zero``.
        first: first day to be judged; by default the first with enough history.
        together: whether series without a cohort share their common days.
        special_days: days known to be out of the ordinary for all series.

    Returns:
        the columns of :data:`health_pipeline.detection.judge.COLUMNS`, by day of the report and series.

    Raises:
        InputError: rows or columns are wrong; to go on with the good rows, use :func:`read_frame` and :func:`judge`.
        UserError: no series has enough history.
    """
    table = read_frame(frame, columns or Columns(), negative=type == "number")
    if table.rejected.num_rows:
        first_bad = table.rejected.slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{table.rejected.num_rows:,} of {table.delivered:,} rows can't be used; the first is row "
            f"{first_bad['row']}, column {first_bad['column']}: {first_bad['reason']}.",
            "Correct or drop them; read_frame and judge go on with the others.",
        )
    special = [(np.datetime64(day, "D"), None) for day in special_days]
    options = Options(false_discovery_rate, minimum_change, type, absent, first, together, special)
    return judge(table, options).frame()
