"""Incidents in every situation in which a message is written of them, of both ecosystems, built by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from typing import Any

from health_pipeline.alerts.messages.incident import About
from health_pipeline.alerts.people.standing import By, Snooze, Standing, TrackRecord
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Contribution, Explanation, Incident, Reach, Suspect
from health_pipeline.stats.attribution import Estimate
from health_pipeline_tests.alerts.by_hand import data_incident, incident, member

ECOSYSTEMS = ("eu_dsa", "marketplace")
TOLD_AT = dt.datetime(2025, 7, 3, 12, 30, tzinfo=dt.UTC)
ENDED = dt.date(2025, 7, 9)
ANALYST = By("U012AB3CD", dt.datetime(2025, 7, 3, 12, 42, tzinfo=dt.UTC))
LEAD = By("W0LEAD0001", dt.datetime(2025, 7, 3, 13, 5, tzinfo=dt.UTC))
TERMINAL = By("cli:ana", dt.datetime(2025, 7, 3, 13, 20, tzinfo=dt.UTC))
GROUP = "S0OWNERS01"


@functools.cache
def catalog_of(ecosystem: str) -> Catalog:
    """The bundled catalog, read once."""
    return load_catalog(ecosystem)


def fall_of_statements(**changes: Any) -> Incident:
    """TikTok's statements at half, with what moved along and what happened nearby."""
    members = [member("statements", "platform=TikTok")] + [
        member("statements_by_category", f"platform=TikTok|category=STATEMENT_CATEGORY_{name}")
        for name in ("SELF_HARM", "ANIMAL_WELFARE", "VIOLENCE", "NEGATIVE_EFFECTS", "SCAMS")
    ]
    values: dict[str, Any] = {
        "members": tuple(members),
        "events": ("A new statement schema applies; new categories appear and others end",),
        "reach": Reach(6, 2, ("TikTok",), 0.31, ""),
        "explanation": Explanation(
            "platform=TikTok", "category", Estimate(-590_000.0, -640_000.0, -540_000.0), None, None,
            (
                Contribution("category=STATEMENT_CATEGORY_VIOLENCE", Estimate(-380_000.0, -410e3, -350e3), 0.4),
                Contribution("category=STATEMENT_CATEGORY_SCAMS", Estimate(-120_000.0, -150e3, -90e3), 0.2),
            ),
            dt.date(2025, 7, 1), dt.date(2025, 7, 3),
        ),
        "suspects": (Suspect("volume", "TikTok delivered −51 % against the expected volume since 1 July 2025."),),
    }  # fmt: skip
    return incident(**values | changes)


def rise_of_violations(**changes: Any) -> Incident:
    """Violative livestreams of beauty in Indonesia, from 0.42 % to 0.71 %."""
    where = "market=ID|category=beauty"
    values: dict[str, Any] = {
        "id": "id-integrity-2025-07-01",
        "family": "integrity",
        "unit": "ID",
        "series": f"violative_live_rate|{where}",
        "metric": "violative_live_rate",
        "segment": where,
        "direction": "up",
        "expected": 0.0042,
        "observed": 0.0071,
        "change": 0.69,
        "change_low": 0.5,
        "change_high": 0.9,
        "excess": 121.8,
        "q_value": 0.0031,
        "tested": 3_105,
        "onset_low": dt.date(2025, 7, 1),
        "members": (
            member("violative_live_rate", where, expected=0.0042, observed=0.0071, change=0.69, low=0.5, high=0.9),
            member("confirmed_violations", "market=ID", expected=410.0, observed=530.0, change=0.29, low=0.2, high=0.4),
            member("overturn_rate", where, expected=0.08, observed=0.05, change=-0.375, low=-0.5, high=-0.1),
        ),
        "events": ("Beauty campaign in Indonesia", "Livestream policy 4.2 applies"),
        "reach": Reach(9, 4, ("ID",), 0.12, "market=ID"),
        "explanation": Explanation(
            where, "tier", Estimate(0.0029, 0.0021, 0.0037), Estimate(0.0026, 0.0019, 0.0033),
            Estimate(0.0003, -0.0001, 0.0007),
            (
                Contribution("tier=nano", Estimate(0.0021, 0.0015, 0.0027), 0.5),
                Contribution("tier=micro", Estimate(0.0006, 0.0002, 0.0010), 0.3),
            ),
            dt.date(2025, 7, 1), dt.date(2025, 7, 3),
        ),
        "suspects": (Suspect("lateness", "Rows arrive late: 2 days after a day its value is at 97 % of its last."),),
    }  # fmt: skip
    return incident(**values | changes)


def _shift(ecosystem: str, **changes: Any) -> Incident:
    return fall_of_statements(**changes) if ecosystem == "eu_dsa" else rise_of_violations(**changes)


def _hole(ecosystem: str) -> Incident:
    if ecosystem == "eu_dsa":
        return data_incident(state="new", table="statements")
    return data_incident(
        id="vn-content-stats-delivery-2025-07-01", unit="VN", table="content_stats", shape="partial", expected=41_200.0,
        observed=18_900.0, change=-0.541,
    )  # fmt: skip


def _record(ecosystem: str) -> TrackRecord:
    metric = "statements" if ecosystem == "eu_dsa" else "violative_live_rate"
    return TrackRecord(metric, real=11, expected=2, false_alarm=1, new_normal=0, low=0.69, high=0.99)


def about(ecosystem: str, **changes: Any) -> About:
    """What is known of an urgent incident whose message somebody answers."""
    address = f"https://health.example/assets/{ecosystem}/incidents?partition=2025-07-03&view=all"
    known = About(
        severity="P1",
        score=12.4,
        rank=1,
        record=_record(ecosystem),
        told_at=TOLD_AT,
        trust=("The newest day is 97 % mature and may still rise by 0.01 points.",),
        links={"Open in Dagster": address, "Top cases": "https://health.example/queues/creators"},
        actions=True,
        chart=True,
    )
    return dataclasses.replace(known, **changes)


def situations(ecosystem: str) -> dict[str, tuple[Incident, About]]:
    """Name -> incident, and what is known of it."""
    taken = Standing(acknowledged=ANALYST, assignee=LEAD.user, assigned=ANALYST)
    judged = dataclasses.replace(taken, verdict="real", cause="abuse", judged=LEAD)
    snoozed = Standing(snooze=Snooze("", "", dt.date(2025, 7, 10), TERMINAL))
    over: dict[str, Any] = {"ended": ENDED, "day": ENDED}
    return {
        "new": (_shift(ecosystem, state="new"), about(ecosystem, mention=(GROUP, LEAD.user))),
        "worsening": (
            _shift(ecosystem, state="worsening", worsened_on=dt.date(2025, 7, 3)),
            about(ecosystem, standing=Standing(acknowledged=ANALYST)),
        ),
        "acknowledged_and_assigned": (_shift(ecosystem), about(ecosystem, standing=taken)),
        "judged": (_shift(ecosystem), about(ecosystem, standing=judged)),
        "recovered": (_shift(ecosystem, state="recovered", **over), about(ecosystem, standing=judged)),
        "settled": (_shift(ecosystem, state="settled", **over), about(ecosystem, record=None)),
        "withdrawn": (_shift(ecosystem, state="retracted", **over), about(ecosystem)),
        "vanished": (_shift(ecosystem), about(ecosystem, notice="retracted")),
        "merged": (
            _shift(ecosystem, state="merged", merged_into="all-statements-2025-06-17", members=(), **over),
            about(ecosystem),
        ),
        "hole_in_the_data": (
            _hole(ecosystem),
            about(ecosystem, severity="P2", score=None, rank=None, record=None, trust=(), chart=False),
        ),
        "snoozed": (_shift(ecosystem), about(ecosystem, severity="P3", standing=snoozed)),
        "overdue": (_shift(ecosystem), about(ecosystem, overdue=True)),
        "nobody_answers_clicks": (_shift(ecosystem), about(ecosystem, actions=False, chart=False, record=None)),
    }
