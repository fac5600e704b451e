"""Could it be the data? Said where something speaks for it, and nothing where nothing does."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from health_pipeline.catalog.loader import load_catalog
from health_pipeline.incidents.model import Incident, Suspect
from health_pipeline.incidents.suspects import AROUND_DAYS, LONG_DAYS, Evidence, event_tables, suspects
from health_pipeline.metrics.maturity import Late
from health_pipeline.raw.landed.ledger import Receipt

MARKET = load_catalog("marketplace")
ONSET = dt.date(2026, 9, 15)
POLICIES = MARKET.table("policy_events")


def day(after: int) -> dt.date:
    return ONSET + dt.timedelta(days=after)


def incident(metric: str = "action_rate", segment: str = "market=ID", **changes: Any) -> Incident:
    unit = dict(c.split("=") for c in segment.split("|") if c).get("market", "all")
    values: dict[str, Any] = {
        "day": day(10), "id": "x", "kind": "shift", "family": "f", "unit": unit, "state": "ongoing",
        "first_reported": day(3), "last_reported": day(10), "headline_reported": day(10), "onset": ONSET,
        "onset_low": ONSET, "onset_high": ONSET, "series": f"{metric}|{segment}", "metric": metric, "segment": segment,
        "shape": "level", "direction": "up", "expected": 0.2, "observed": 0.3, "change": 0.5, "change_low": 0.4,
        "change_high": 0.6, "excess": 10.0, "q_value": 0.0, "tested": 1,
    }  # fmt: skip
    return Incident(**values | changes)


def delivery(after: int, finding: str = "complete", volume: float = 100.0, **changes: Any) -> dict[str, Any]:
    row = {
        "day": day(after),
        "table": "decisions",
        "unit": "ID",
        "finding": finding,
        "volume": volume,
        "expected": 100.0,
    }
    return row | changes


def receipt(first: int, last: int, **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "key": "k", "table": "decisions", "name": "decisions.csv", "format": "CSV",
        "delivered_at": dt.datetime(2026, 9, 20, tzinfo=dt.UTC), "delivered": 1_000, "accepted": 990, "duplicates": 0,
        "quarantined": 10, "ignored": (), "drift": (), "reasons": {"actor: unknown value": 10}, "contract": "a",
        "days": {day(n): {"ID": 5} for n in range(first, last + 1)},
    }  # fmt: skip
    return Receipt(**values | changes)


def sentences(evidence: Evidence, **changes: Any) -> list[str]:
    return [s.sentence for s in suspects(MARKET, incident(**changes), evidence)]


def test_nothing_is_said_when_nothing_is_odd() -> None:
    ordinary = Evidence([delivery(n) for n in range(-3, 9)], {"decisions": [receipt(-1, 1, quarantined=0, reasons={})]})
    assert suspects(MARKET, incident(), ordinary) == ()


def test_a_hole_near_the_onset_is_named_and_one_long_before_or_elsewhere_is_not() -> None:
    hole = delivery(-2, "missing", volume=0.0)
    assert suspects(MARKET, incident(), Evidence([hole])) == (
        Suspect("volume", "Indonesia (moderation decisions) delivered nothing on 13 September 2026."),
    )
    assert sentences(Evidence([hole]), segment="") != [], "a total hangs on every market"
    for other in (delivery(-AROUND_DAYS - 1, "missing"), hole | {"unit": "TH"}, hole | {"table": "orders"}):
        assert sentences(Evidence([other])) == []


def test_an_odd_volume_since_the_onset_is_named() -> None:
    rows = [delivery(n, volume=100.0 if n < 0 else 40.0) for n in range(-3, 4)]
    assert sentences(Evidence(rows)) == [
        "Indonesia (moderation decisions) delivered −60 % against the expected volume since 15 September 2026."
    ]


def test_a_count_of_the_very_rows_that_are_too_many_is_no_doubt_about_them() -> None:
    rows = [delivery(n, volume=100.0 if n < 0 else 220.0) for n in range(-3, 4)]
    assert sentences(Evidence(rows), metric="decisions_taken", excess=110.0) == []
    assert len(sentences(Evidence(rows), metric="decisions_taken", excess=20.0)) == 1


def test_a_metric_whose_rows_arrive_later_than_it_is_judged_says_so() -> None:
    late = {"action_rate": Late("action_rate", 1, 0.62, 4)}
    assert suspects(MARKET, incident(), Evidence(late=late)) == (
        Suspect(
            "lateness",
            "Rows arrive late: 1 day after a day, when it is judged, its value is at 62 % of the final one; "
            "it needs 4 days.",
        ),
    )
    assert sentences(Evidence(late=late), metric="decisions_taken") == []


def test_rejected_rows_of_the_days_near_the_onset_are_named_with_their_reason() -> None:
    assert suspects(MARKET, incident(), Evidence(receipts={"decisions": [receipt(-1, 1)]})) == (
        Suspect(
            "checks",
            "Moderation decisions: 10 rows of the days around the onset were rejected, of decisions.csv 1 % "
            "(actor: unknown value).",
        ),
    )
    for other in (receipt(-20, -10), receipt(-LONG_DAYS, 1), receipt(-1, 1, quarantined=1)):
        assert sentences(Evidence(receipts={"decisions": [other]})) == []


def test_columns_that_changed_near_the_onset_are_named_and_those_that_were_so_before_are_not() -> None:
    drifted = receipt(0, 1, quarantined=0, drift=("The column 'x' is new and ignored",))
    before = receipt(-12, -9, quarantined=0, drift=drifted.drift)
    assert [s.kind for s in suspects(MARKET, incident(), Evidence(receipts={"decisions": [drifted]}))] == ["schema"]
    assert sentences(Evidence(receipts={"decisions": [before, drifted]})) == []


def test_a_contract_that_changed_with_the_onset_is_named() -> None:
    old, new = receipt(-3, -1, quarantined=0), receipt(0, 1, quarantined=0, contract="b")
    assert "different contracts" in sentences(Evidence(receipts={"decisions": [old, new]}))[0]


def policy(after: int = 1, **changes: Any) -> Evidence:
    row = {"day": day(after), "policy": "counterfeit", "markets": "ID,TH", "title": "Counterfeit: wider scope"}
    return Evidence(policies=[(POLICIES, row | changes)])


def test_a_policy_that_changed_near_the_onset_is_named() -> None:
    assert event_tables(MARKET) == (POLICIES,)
    assert suspects(MARKET, incident(), policy()) == (
        Suspect(
            "policy",
            "“Counterfeit: wider scope” took effect on 16 September 2026 (policy events): what is counted may have "
            "changed, not what happens.",
        ),
    )
    assert sentences(policy(), segment="market=ID|policy=counterfeit") != []
    assert sentences(policy(), segment="") != []


@pytest.mark.parametrize(
    ("evidence", "changes"),
    [
        (policy(9), {}),
        (policy(), {"segment": "market=VN"}),
        (policy(), {"segment": "market=ID|policy=fraud"}),
        (policy(), {"metric": "gpm"}),
    ],
)
def test_a_policy_long_before_or_that_concerns_something_else_is_not(
    evidence: Evidence, changes: dict[str, Any]
) -> None:
    assert sentences(evidence, **changes) == []
