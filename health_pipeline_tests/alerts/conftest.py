"""Parts that the tests of the alerts share: a fresh state database, a client of the fake Slack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import opened_state
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack

TIMEOUT = 0.25


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog("eu_dsa")


@pytest.fixture
def state_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'state.db'}"


@pytest.fixture
def engine(state_url: str) -> Iterator[sa.Engine]:
    with opened_state(state_url) as engine:
        yield engine


@pytest.fixture
def slack(server: FakeSlack) -> Slack:
    return Slack(TOKEN, base_url=server.url, timeout=TIMEOUT)


@pytest.fixture
def put(engine: sa.Engine) -> Callable[..., None]:
    """Puts messages with these keys into the outbox."""

    def put(*keys: str, channel: str = "#ecosystem-health", text: str = "A sentence.") -> None:
        for key in keys:
            block = {"type": "section", "text": {"type": "plain_text", "text": text or " "}}
            assert outbox.enqueue(engine, Message(key, channel, text, (block,)), ecosystem="eu_dsa")

    return put
