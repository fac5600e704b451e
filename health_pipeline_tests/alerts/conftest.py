"""Parts that the tests of the alerts share: a fresh state database, a client of the fake Slack.

Of the three times in them, two are the program's, and stand still with the fixture ``clock``: how long a pass may take
(:data:`LONG`, :data:`BRIEF`), and how long a row in doubt is left alone (the client's patience). The third is the
machine's: how long an answer is waited for. It is long, but for an answer that is to be lost (``spoil``).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.catalog.loader import load_catalog
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import open_state, opened_state
from health_pipeline_tests.alerts.record import Record
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack

TIMEOUT = 30.0
"""Seconds that an answer is waited for: none is lost because the machine is busy."""
HASTY = 0.2
"""The same, of an answer that never comes."""
BRIEF = 45.0
"""Seconds of a pass that ends before the client's patience does, which is three times the timeout."""
LONG = 3_600.0
"""Seconds of a pass that ends after it."""


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog("eu_dsa")


@pytest.fixture
def state_url(workplace: Path) -> Iterator[str]:
    """Of a database that is not there yet, where a busy disk slows nobody down."""
    with tempfile.TemporaryDirectory(dir=workplace, prefix="state-") as folder:
        yield f"sqlite:///{folder}/state/state.db"


@pytest.fixture(scope="session")
def migrated(workplace: Path) -> Path:
    """A database at the newest schema, without rows. To be copied, which takes less than to migrate each."""
    file = workplace / "migrated" / "state.db"
    open_state(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def engine(state_url: str, migrated: Path) -> Iterator[sa.Engine]:
    url = sa.make_url(state_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        Path(url.database).parent.mkdir(exist_ok=True)
        shutil.copyfile(migrated, url.database)
    with opened_state(state_url) as engine:
        yield engine


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "lake")


@pytest.fixture
def connected(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    """Posts of this process go to it."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_API_URL", server.url)
    return server


@pytest.fixture
def slack(server: FakeSlack) -> Slack:
    return Slack(TOKEN, base_url=server.url, timeout=TIMEOUT)


@pytest.fixture
def spoil(server: FakeSlack, slack: Slack) -> Callable[[str], None]:
    """Lets a fault happen to the next message that ``slack`` posts; an answer held back it waits for a moment only."""

    def spoil(fault: str) -> None:
        server.faults["chat.postMessage"].append(fault)
        client = slack.web_client
        post = client.chat_postMessage

        def hastily(**arguments: Any) -> Any:
            del client.chat_postMessage  # of this client: from here on, it posts as every other
            client.timeout = HASTY
            try:
                return post(**arguments)
            finally:
                client.timeout = TIMEOUT

        if fault == "slow_after":
            client.chat_postMessage = hastily

    return spoil


@pytest.fixture
def put(engine: sa.Engine) -> Callable[..., None]:
    """Puts messages with these keys into the outbox."""

    def put(*keys: str, channel: str = "#ecosystem-health", text: str = "A sentence.") -> None:
        for key in keys:
            block = {"type": "section", "text": {"type": "plain_text", "text": text or " "}}
            assert outbox.enqueue(engine, Message(key, channel, text, (block,)), ecosystem="eu_dsa")

    return put
