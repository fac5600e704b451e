"""What all tests of deliveries go by."""

from __future__ import annotations

import pytest

from health_pipeline_tests.hand_clock import HandClock


@pytest.fixture(autouse=True)
def moved_by_hand(clock: HandClock) -> None:
    """No test waits for a time, and none depends on how long the machine takes."""
