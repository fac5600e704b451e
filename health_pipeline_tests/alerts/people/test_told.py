"""What was told is remembered as it was, also from before there was a table of it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from health_pipeline.alerts.delivery import outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.messages.incident import About, incident_content
from health_pipeline.alerts.people import told
from health_pipeline.alerts.people.standing import Renewal
from health_pipeline.alerts.people.told import Asked, BeforeAnew, BeforeLine, Planned, Said, Told
from health_pipeline.alerts.planning.keys import incident_key
from health_pipeline.alerts.post import Posted, refresh
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import MIGRATIONS, open_state, reading
from health_pipeline_tests.alerts.follow import DAY, NOON, ONE_DAY, fall, hole, kinds, with_alerts
from health_pipeline_tests.alerts.record import Record

RECOVERED = Said("recovered", "P2", DAY, since=NOON, renewed=Renewal(NOON, "raised"))
LINE = BeforeLine(RECOVERED, "digest", "worsening", NOON, NOON + dt.timedelta(hours=8))
ANEW = BeforeAnew(RECOVERED, "key", "thread", "C0ONE", 2, DAY, Asked("asked", NOON))
ROW = Told(
    "eu_dsa:incident:a:open",
    "a-statements-2025-07-03",
    "#ecosystem-health",
    DAY,
    NOON,
    NOON + dt.timedelta(hours=8),
    "line",
    ("a-statements-2025-07-01",),
    "eu_dsa:incident:a:open:2",
    "eu_dsa:digest:#ecosystem-health:2025-07-03",
    "eu_dsa:incident:a:open:2:edit:3",
    "P2",
    "recovered",
    Said(
        "open",
        "P1",
        DAY,
        "UANA 1",
        "UBEN 2",
        "real 3",
        DAY + ONE_DAY,
        NOON,
        "anew",
        Renewal(NOON, "reopened"),
    ),
    LINE,
    ("key:3", "key:4", "eu_dsa:incident:a:open:2"),
    "0" * 64,
    3,
    2,
    DAY,
    Asked("asked", None),
    None,
    True,
)


@pytest.mark.parametrize("last", [None, fall("Ada", worsened_on=DAY, ended=DAY), hole("Bob")])
def test_every_part_comes_back_as_it_was(engine: sa.Engine, last: object) -> None:
    row = replace(ROW, last=last)  # type: ignore[arg-type]
    other = replace(ROW, first_key="i", key="i", before=ANEW)
    never = Told("k", "b", "", DAY, NOON + dt.timedelta(seconds=1), NOON, said=Said("open", "P1"))
    with engine.begin() as connection:
        told.write(connection, "eu_dsa", [row, other, never])
        told.write(connection, "marketplace", [replace(never, first_key="other")])
    with reading(engine) as connection:
        # As text, because what is not a number does not equal itself.
        assert repr(told.read(connection, "eu_dsa")) == repr([row, other, never])


def test_a_row_is_replaced_and_an_outline_is_all_that_is_kept_of_an_incident(engine: sa.Engine) -> None:
    whole = fall("Ada", events=("A launch",), suspects=())
    with engine.begin() as connection:
        told.write(connection, "eu_dsa", [ROW])
        told.write(connection, "eu_dsa", [replace(ROW, version=4, last=whole)])
    with reading(engine) as connection:
        (found,) = told.read(connection, "eu_dsa")
    assert (found.version, found.last) == (4, replace(whole, events=()))


def test_what_is_to_be_acknowledged_anew_is_found_by_any_of_its_names(engine: sa.Engine) -> None:
    untold = replace(ROW, first_key="b", incident="b", aliases=(), form="none", key="", post="", shown="")
    calm = replace(ROW, first_key="c", incident="c", aliases=(), key="c", said=Said("open", "P1"))
    with engine.begin() as connection:
        told.write(connection, "eu_dsa", [ROW, untold, calm])
    with reading(engine) as connection:
        anew = {ROW.incident: Renewal(NOON, "reopened")}
        assert told.renewals(connection, "eu_dsa") == anew
        assert all(told.renewals(connection, "eu_dsa", name) == anew for name in ROW.names)
        assert not any(told.renewals(connection, "eu_dsa", name) for name in ("b", "c", "d"))
        assert told.renewals(connection, "marketplace") == {}


def test_what_was_told_before_it_was_kept_when_it_is_to_be_acknowledged_anew_is_read(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        told.write(connection, "eu_dsa", [ROW])
        said = json.loads(connection.execute(sa.select(told.TOLD.c.said)).scalar() or "")
        old = {name: value for name, value in said.items() if name not in ("since_key", "renewed")}
        connection.execute(told.TOLD.update().values(said=json.dumps(old)))
        (found,) = told.read(connection, "eu_dsa")
    assert found.said == replace(ROW.said or Said("open", ""), since_key="", renewed=None)


def test_the_database_refuses_a_told_incident_without_a_message(engine: sa.Engine) -> None:
    for wrong in (replace(ROW, key=""), replace(ROW, form="none"), replace(ROW, form="own", shown="")):
        with pytest.raises(sa.exc.IntegrityError, match="CHECK"), engine.begin() as connection:
            told.write(connection, "eu_dsa", [wrong])
    with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"), engine.begin() as connection:
        told.write(connection, "eu_dsa", [ROW, replace(ROW, first_key="another")])


def test_the_last_plan_is_remembered_for_each_ecosystem(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for plan in (Planned(NOON, None, 0), Planned(NOON + ONE_DAY, NOON + 2 * ONE_DAY, 7)):
            told.mark_planned(connection, "eu_dsa", plan)
    with reading(engine) as connection:
        assert told.planned(connection, "eu_dsa") == Planned(NOON + ONE_DAY, NOON + 2 * ONE_DAY, 7)
        assert told.planned(connection, "marketplace") is None


# ── A database of the version before ─────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def version(number: str, state_url: str) -> Iterator[sa.Connection]:
    """A new state database as it was in an older version."""
    if state_url.startswith("sqlite"):
        Path(sa.make_url(state_url).database or "").parent.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    old = sa.create_engine(state_url)
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, number)
        yield connection
    old.dispose()


@pytest.fixture
def before(state_url: str, catalog: Catalog) -> str:
    """The outbox of version 0002, in which Slack has a message about each of some incidents."""
    incidents = [fall("Ada"), fall("Bob"), fall("Cleo"), fall("Dan", onset=DAY - 90 * ONE_DAY), fall("Eve")]
    with version("0002", state_url) as connection:
        for incident in [*incidents, fall("Eve", state="retracted", ended=DAY)]:
            key = incident_key("eu_dsa", incident.id, "open" if incident.is_open else incident.state)
            content = incident_content(catalog, incident, About("P2"))
            message = Message(key, catalog.alerts.channel, content.text, content.blocks)
            outbox.add(connection, message, ecosystem="eu_dsa")
        sent = sa.update(outbox.OUTBOX).values(state="sent", sent_at=NOON, channel_id="C1", ts=outbox.OUTBOX.c.id)
        connection.execute(sent)
    return state_url


def test_what_stood_in_what_was_said_is_taken_apart(state_url: str) -> None:
    """Version 0003 had in one what leaves by itself, the keys used up, and how it was before, one class for two."""
    said = {
        "phase": "open", "severity": "P2", "worsened_on": None, "acknowledged": "", "assigned": "", "judged": "",
        "snoozed": None, "overdue": False, "since": None, "charted": None, "asked": "", "since_key": "",
        "renewed": None, "before": None, "spent": [],
    }  # fmt: skip
    asked = said | {"overdue": True, "asked": "q", "charted": DAY.isoformat()}
    since = NOON + ONE_DAY
    anew = said | {"since": since.isoformat(), "since_key": "digest", "charted": DAY.isoformat(), "asked": "q"}
    nothing = {"key": "", "thread": "", "channel": "", "charts": 0}
    line = {"said": asked, "post": "digest", "what": "worsening", "at": NOON.isoformat(), "due": since.isoformat()}
    former = line | {"said": asked | {"spent": ["b0"]}, "key": "b", "thread": "t", "channel": "C1", "charts": 2}
    rows = {
        "a": ("line", "a", anew | {"before": line | nothing}),
        "b": ("own", "b:2", said | {"before": former, "spent": ["b0", "b"]}),
        "c": ("none", None, said | {"spent": ["c", "c:2"]}),
        "d": ("own", "d", None),
        "e": ("line", "e", anew | {"overdue": True, "asked": "r", "before": line | nothing}),
    }
    with version("0003", state_url) as connection:
        for name, (form, key, packed) in rows.items():
            connection.exec_driver_sql(
                "INSERT INTO told VALUES (?, 'eu_dsa', ?, '[]', ?, ?, ?, ?, '#here', 'P2', 'open', ?, '', 1, 0, NULL, "
                "'2025-07-03', '2025-07-03 12:00:00', '2025-07-03 12:00:00', 0)",
                (name, name, form, key, key, key, json.dumps(packed)),
            )
    engine = open_state(state_url)
    with reading(engine) as connection:
        found = {
            row.first_key: (row.said, row.before, row.all_keys, row.charted, row.asked)
            for row in told.read(connection, "eu_dsa")
        }
    engine.dispose()
    so, now = Said("open", "P2"), Said("open", "P2", since=since, since_key="digest")
    of_line = BeforeLine(so, "digest", "worsening", NOON, since)
    assert found == {
        "a": (now, of_line, ("a",), DAY, Asked("q", None)),
        "b": (so, BeforeAnew(so, "b", "t", "C1", 2, DAY, Asked("q", None)), ("b0", "b", "b:2"), None, None),
        "c": (so, None, ("c", "c:2"), None, None),
        "d": (None, None, ("d",), None, None),
        "e": (now, of_line, ("e",), DAY, Asked("r", since)),
    }


def look(catalog: Catalog, record: Record, url: str, now: dt.datetime = NOON + ONE_DAY) -> Posted:
    return refresh(with_alerts(catalog), record.sources, url, deliver_now=False, now=now)


def test_what_was_told_before_is_not_told_again_but_made_true(
    catalog: Catalog, record: Record, before: str, engine: sa.Engine
) -> None:
    """Of open incidents, of ended ones, of those that vanished, and of what was withdrawn already."""
    record.judge(DAY - 60 * ONE_DAY, fall("Dan", onset=DAY - 90 * ONE_DAY, first_reported=DAY - 89 * ONE_DAY))
    record.judge(DAY, fall("Ada"), fall("Bob"))
    record.judge(
        DAY + ONE_DAY,
        fall("Ada", observed=500_000.0),
        fall("Bob", state="recovered", ended=DAY + ONE_DAY),
        fall("Fay", first_reported=DAY + ONE_DAY),
    )
    plan = look(catalog, record, before).plan
    names = {"Ada": "open", "Bob": "open", "Cleo": "open", "Dan": "open"}
    keys = {name: f"{fall(name).id}:open" for name in names} | {"Dan": f"dan-statements-{DAY - 90 * ONE_DAY}:open"}
    assert sorted(kinds(plan.intents)) == sorted(
        [
            ("post", f"{fall('Fay').id}:open"),
            *[("edit", f"{keys[name]}:edit:1") for name in ("Ada", "Bob", "Cleo", "Dan")],
            ("reply", f"{keys['Cleo']}:retracted:1"),
        ]
    )
    assert look(catalog, record, before).plan.is_empty
    with reading(engine) as connection:
        rows = {row.incident: row for row in told.read(connection, "eu_dsa")}
    assert len(rows) == 6
    assert {row.form for row in rows.values()} == {"own"}
    assert rows[fall("Eve").id].phase == "retracted" and rows[fall("Bob").id].phase == "recovered"


def test_an_old_message_that_is_not_in_the_record_under_its_name_is_found_by_a_near_onset(
    catalog: Catalog, record: Record, before: str
) -> None:
    moved = [fall(name, onset=DAY - 3 * ONE_DAY) for name in ("Ada", "Bob", "Cleo", "Eve")]
    record.judge(DAY, *moved, fall("Dan", onset=DAY - 90 * ONE_DAY))
    intents = look(catalog, record, before).plan.intents
    posts = [key for kind, key in kinds(intents) if kind == "post"]
    assert posts == [f"{moved[3].id}:open"], "what was withdrawn is told anew when it is there again"
    assert sum(kind == "edit" for kind, _ in kinds(intents)) == 4


def test_the_upgrade_itself_changes_no_row_of_the_outbox(before: str) -> None:
    bare = sa.create_engine(before)
    with bare.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM outbox ORDER BY id").all()
    bare.dispose()
    new = open_state(before)
    with reading(new) as connection:
        assert connection.exec_driver_sql("SELECT * FROM outbox ORDER BY id").all() == rows
    new.dispose()
