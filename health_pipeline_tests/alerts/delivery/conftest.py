"""What all tests of deliveries go by."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import outbox
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline_tests.fake_slack import FakeSlack
from health_pipeline_tests.hand_clock import HandClock


@pytest.fixture(autouse=True)
def moved_by_hand(clock: HandClock) -> None:
    """No test waits for a time, and none depends on how long the machine takes."""


@pytest.fixture
def take_over(
    engine: sa.Engine, server: FakeSlack, slack: Slack, clock: HandClock
) -> Callable[[str], list[outbox.Claim | None]]:
    """In the next request of a method the patience of others ends, and another claims what is due: what it got."""

    def take_over(during: str) -> list[outbox.Claim | None]:
        taken: list[outbox.Claim | None] = []

        def arrives(method: str) -> None:
            if method == during and not taken:
                clock.forward(slack.patience)
                taken.append(outbox.claim(engine, patience=slack.patience, interval=dt.timedelta()))

        server.on_request = arrives
        return taken

    return take_over
