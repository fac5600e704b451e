"""The Slack app in an office of its own, and messages to click on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.app.clicks import Subject
from health_pipeline.alerts.delivery.blocks import Message, reference
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.messages.incident import About, incident_content
from health_pipeline.alerts.people.standing import silenced_as
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents.model import Incident
from health_pipeline_tests.alerts.app.office import MARKET, Office
from health_pipeline_tests.alerts.by_hand import data_incident, incident
from health_pipeline_tests.alerts.situations import ECOSYSTEMS, catalog_of
from health_pipeline_tests.conftest import FAR, wait_for
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack


@pytest.fixture
def catalogs() -> dict[str, Catalog]:
    return {name: catalog_of(name) for name in ECOSYSTEMS}


@pytest.fixture
def office(
    engine: sa.Engine, server: FakeSlack, catalogs: dict[str, Catalog], monkeypatch: pytest.MonkeyPatch
) -> Office:
    """An office in no hurry: what is slow there is waited for, and Slack is tried again at once."""
    monkeypatch.setattr("health_pipeline.alerts.app.desk.ACKNOWLEDGE_AFTER", FAR)
    monkeypatch.setattr("health_pipeline.alerts.app.desk.ANSWER_TIMEOUT", FAR)
    monkeypatch.setattr("health_pipeline.alerts.app.socket_mode.FIRST_PAUSE", 0.05)
    told_of = (("eu_dsa", incident()), ("eu_dsa", data_incident()), ("marketplace", MARKET))
    known = {reference(n, i.id): Subject(n, i.id, *silenced_as(catalogs[n], i)) for n, i in told_of}
    made = Office(engine, server, dict(catalogs), known)
    made.open.set()
    return made


@pytest.fixture
def listening(office: Office) -> Iterator[Office]:
    """An office that listens in Socket Mode, and has caught up."""
    desk = office.desk()
    with office.listening(desk):
        wait_for(lambda: len(office.refreshed) == len(office.catalogs))
        office.refreshed.clear()
        yield office


@pytest.fixture
def post(server: FakeSlack, catalogs: dict[str, Catalog]) -> Callable[..., str]:
    """Posts the message about an incident; returns its ts."""
    slack = Slack(TOKEN, base_url=server.url, timeout=FAR)

    def post(name: str = "eu_dsa", about: Incident | None = None) -> str:
        about = about or incident()
        content = incident_content(
            catalogs[name], about, About("P1", actions=True, links={"Open": "https://x.example/"})
        )
        return str(slack.post(Message(f"{name}{about.id}", "#ecosystem-health", content.text, content.blocks)).ts)

    return post
