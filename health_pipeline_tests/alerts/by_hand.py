"""Incidents built by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from health_pipeline.incidents.model import Incident, Member


def member(metric: str, segment: str, **changes: Any) -> Member:
    values = {
        "series": f"{metric}|{segment}",
        "metric": metric,
        "segment": segment,
        "onset": dt.date(2025, 7, 1),
        "expected": 500_000.0,
        "observed": 200_000.0,
        "change": -0.6,
        "low": -0.65,
        "high": -0.5,
        "excess": -300_000.0,
        "q_value": 1e-5,
        "reported_on": dt.date(2025, 7, 2),
        "state": "ongoing",
    }
    return Member(**(values | changes))


def incident(**changes: Any) -> Incident:
    """A fall of TikTok's statements to half, reported on 2 July and described on 3 July 2025."""
    values = {
        "day": dt.date(2025, 7, 3),
        "id": "TikTok-statements-2025-07-02",
        "kind": "shift",
        "family": "statements",
        "unit": "TikTok",
        "state": "ongoing",
        "first_reported": dt.date(2025, 7, 2),
        "last_reported": dt.date(2025, 7, 3),
        "headline_reported": dt.date(2025, 7, 3),
        "onset": dt.date(2025, 7, 1),
        "onset_low": dt.date(2025, 6, 30),
        "onset_high": dt.date(2025, 7, 1),
        "series": "statements|platform=TikTok",
        "metric": "statements",
        "segment": "platform=TikTok",
        "shape": "level",
        "direction": "down",
        "expected": 1_200_000.0,
        "observed": 610_000.0,
        "change": -0.492,
        "change_low": -0.53,
        "change_high": -0.44,
        "excess": -590_000.0,
        "q_value": 1e-6,
        "tested": 1_240,
    }
    fields = {f.name for f in dataclasses.fields(Incident)}
    return Incident(**{name: value for name, value in (values | changes).items() if name in fields})


def data_incident(**changes: Any) -> Incident:
    """X has delivered nothing since 1 July 2025."""
    nan = float("nan")
    return incident(
        **{
            "id": "X-delivery-2025-07-01",
            "kind": "data",
            "family": "delivery",
            "unit": "X",
            "series": "",
            "metric": "",
            "segment": "",
            "shape": "missing",
            "expected": 700_000.0,
            "observed": 0.0,
            "change": -1.0,
            "change_low": nan,
            "change_high": nan,
            "excess": nan,
            "q_value": nan,
            "tested": 0,
        }
        | changes
    )
