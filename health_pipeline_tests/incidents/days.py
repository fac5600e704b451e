"""Days, the shifts of a day as rows, and the one incident that there should be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.model import Incident

CATALOG = load_catalog("eu_dsa")
MARKET = load_catalog("marketplace")
START = dt.date(2025, 3, 3)
TOTAL = "statements|platform=Ada"
Row = dict[str, Any]


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def shift(series: str, onset: int = 0, change: float = -0.5, expected: float = 1_000.0, **more: Any) -> Row:
    """A row of the shifts table, reported on the day of its onset unless ``reported`` says otherwise.

    ``uncertain`` widens the onset's interval by so many days on both sides, ``off`` that of the change.
    """
    metric, segment = series.split("|", 1)
    uncertain, off = more.pop("uncertain", 0), more.pop("off", 0.05)
    conditions = dict(part.split("=") for part in segment.split("|") if part)
    row = {
        "series": series, "metric": metric, "segment": segment,
        "unit": conditions.get("platform") or conditions.get("market") or "all", "kind": "level", "state": "ongoing",
        "direction": "up" if change > 0 else "down", "reported_on": day(more.pop("reported", onset)),
        "onset": day(onset), "onset_low": day(onset - uncertain), "onset_high": day(onset + uncertain), "ended": None,
        "days": 3, "expected": expected, "observed": expected * (1 + change), "change": change,
        "change_low": change - off, "change_high": change + off, "numerator": expected * (1 + change),
        "denominator": None, "excess": expected * change, "q_value": 1e-4, "tested": 100,
    }  # fmt: skip
    return row | more


def only(incidents: Sequence[Incident]) -> Incident:
    assert len(incidents) == 1, [i.id for i in incidents]
    return incidents[0]
