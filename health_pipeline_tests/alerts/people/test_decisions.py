"""What people decided: recorded once, never changed, and what follows from it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.people import told
from health_pipeline.alerts.people.decisions import (
    DECISIONS,
    Decision,
    Kind,
    counting,
    find,
    history,
    latest,
    may,
    record,
    records_of,
    role,
    snoozes,
    snoozes_of,
    standings,
    standings_of,
    who_may,
)
from health_pipeline.alerts.people.standing import (
    DELIVERY,
    By,
    Renewal,
    Snooze,
    Standing,
    silence,
    silenced_as,
    what_is_snoozed,
)
from health_pipeline.alerts.people.told import Said, Told
from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.model import Catalog
from health_pipeline.storage.state import METADATA, reading
from health_pipeline_tests.alerts.by_hand import data_incident, incident
from health_pipeline_tests.raw.servers import PASSWORD, run_postgres

NOON = dt.datetime(2025, 7, 3, 12, tzinfo=dt.UTC)
ANA, BEN = "U0ANA", "U0BEN"
HERE, IN_TIKTOK = "TikTok-statements-2025-07-02", "platform=TikTok"
_numbers = itertools.count(1)
ACTS: tuple[dict[str, Any], ...] = (
    {"kind": "acknowledge"},
    {"kind": "assign", "assignee": BEN},
    *({"kind": "verdict", "verdict": v} for v in ("real", "expected", "false_alarm", "new_normal")),
    *({"kind": "snooze", "scope": s, "until": dt.date(2025, 7, 10)} for s in ("segment", "here", "metric")),
    {"kind": "unsnooze"},
)


def decision(kind: Kind, by: str = ANA, **changes: Any) -> Decision:
    """A decision on the incident of TikTok's statements; each call is an act of its own."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "ecosystem": "eu_dsa",
        "incident": HERE,
        "metric": "statements",
        "segment": IN_TIKTOK,
        "by": By(by, NOON + dt.timedelta(minutes=number)),
        "source": "slack",
        "dedupe": f"act-{number}",
    }
    return Decision(kind=kind, **(values | changes))


def verdict(name: str, by: str = ANA, **changes: Any) -> Decision:
    return decision("verdict", by, verdict=name, **changes)


def snooze(scope: str, until: dt.date = dt.date(2025, 7, 10), by: str = ANA, **changes: Any) -> Decision:
    return decision("snooze", by, scope=scope, until=until, **changes)


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh state database of each kind."""
    if request.param == "sqlite":
        with tempfile.TemporaryDirectory(dir=request.getfixturevalue("workplace"), prefix="state-") as folder:
            yield f"sqlite:///{folder}/state.db"
    else:
        server = request.getfixturevalue("postgres")
        yield server.database().url.replace("${SHOP_PASSWORD}", quote(PASSWORD, safe=""))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    with run_postgres() as server:
        yield server


def number_of(engine: sa.Engine, kind: Kind, incident: str = HERE) -> int:
    """The id of the latest decision of a kind that counts."""
    return [d for d in counting(history(engine, "eu_dsa")) if (d.incident, d.kind) == (incident, kind)][-1].id


# The record.


def test_the_table_is_the_one_that_the_migration_makes(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert [d for d in differences if DECISIONS.name in str(d)] == []


def test_what_is_recorded_comes_back_as_it_was(engine: sa.Engine) -> None:
    decided = [
        decision("acknowledge", by_name="Ana Anders"),
        decision("assign", assignee=BEN),
        verdict("real", cause="abuse, and “quality” – <both>"),
        snooze("here"),
        decision("unsnooze"),
    ]
    for one in decided:
        assert record(engine, one)
    assert [(d.content, d.by, d.by_name, d.cause) for d in history(engine, "eu_dsa")] == [
        (d.content, d.by, d.by_name, d.cause) for d in decided
    ]
    assert latest(engine, "eu_dsa") == history(engine, "eu_dsa")[-1].id
    assert (history(engine, "marketplace"), latest(engine, "marketplace")) == ([], 0)
    assert history(engine, "eu_dsa", "another") == []


def test_the_same_act_is_one_decision_whatever_it_says(engine: sa.Engine) -> None:
    for act in ("click-1", "x" * 300):
        assert find(engine, verdict("real", dedupe=act)) is None
        assert record(engine, verdict("real", dedupe=act, incident=act))
        assert not record(engine, verdict("expected", dedupe=act))
        found = find(engine, verdict("expected", dedupe=act))
        assert found is not None
        assert (found.verdict, found.id) == ("real", latest(engine, "eu_dsa"))


def test_who_decides_the_same_twice_has_decided_once(engine: sa.Engine) -> None:
    for act in ACTS:
        assert record(engine, decision(**act))
        assert not record(engine, decision(**act))
    assert record(engine, decision("acknowledge", BEN)), "another person's is another decision"
    assert record(engine, verdict("new_normal", BEN))
    assert record(engine, verdict("new_normal")), "it held no more"


def test_a_decision_that_lacks_something_is_none() -> None:
    for kind, more in (
        ("assign", {}),
        ("verdict", {}),
        ("snooze", {"scope": "here"}),
        ("undo", {}),
        ("acknowledge", {"verdict": "real"}),
        ("acknowledge", {"dedupe": ""}),
        ("like", {}),
    ):
        with pytest.raises(ValueError, match="is no decision"):
            decision(kind, **more)  # type: ignore[arg-type]


PROCESSES = 4
RECORDERS = f"""
import datetime as dt, os, sys
from health_pipeline.alerts.people.decisions import Decision, record
from health_pipeline.alerts.people.standing import By
from health_pipeline.storage.state import open_state

# Processes of their own, forked so that the imports are paid for once. They begin when the pipe is closed.
begin, go = os.pipe()
for _ in range({PROCESSES}):
    if not os.fork():
        os.close(go)
        engine = open_state(os.environ["STATE_URL"])
        os.write(1, b"ready\\n")  # whole, beside those of the others
        os.read(begin, 1)
        new = 0
        for n in range(40):
            by = By(f"U{{n}}", dt.datetime(2025, 7, 3, tzinfo=dt.UTC))
            new += record(engine, Decision("eu_dsa", "i", "acknowledge", by, "slack", f"click-{{n}}"))
        os.write(1, b"%d\\n" % new)
        os._exit(0)
sys.stdin.readline()
os.close(go)
for _ in range({PROCESSES}):
    assert os.wait()[1] == 0
"""


def test_processes_that_get_the_same_clicks_record_each_once(engine: sa.Engine, state_url: str) -> None:
    recorders = subprocess.Popen(
        [sys.executable, "-c", RECORDERS],
        env=os.environ | {"STATE_URL": state_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert recorders.stdout is not None
    assert [recorders.stdout.readline() for _ in range(PROCESSES)] == ["ready\n"] * PROCESSES
    recorded, _ = recorders.communicate("go\n", timeout=120)
    assert recorders.returncode == 0
    assert len(recorded.split()) == PROCESSES
    assert sum(map(int, recorded.split())) == 40
    assert sorted(d.dedupe for d in history(engine, "eu_dsa")) == sorted(f"click-{n}" for n in range(40))


def test_who_acknowledged_before_it_got_worse_acknowledges_anew(engine: sa.Engine) -> None:
    first = decision("acknowledge")
    assert record(engine, first)
    renewed = Renewal(first.by.at + dt.timedelta(hours=1), "raised")
    day = renewed.at.date()
    row = Told("key", "as it is called now", "", day, renewed.at, renewed.at, "own", (HERE,), "key", "key", "key",
               said=Said("open", "P1", renewed=renewed))  # fmt: skip
    with engine.begin() as connection:
        told.write(connection, "eu_dsa", [row])
    aliases = {HERE: row.incident}
    assert standings(engine, "eu_dsa", aliases)[row.incident] == Standing(lapsed=first.by, renewed=renewed)
    again = dataclasses.replace(decision("acknowledge"), by=By(ANA, renewed.at), incident=row.incident)
    assert record(engine, again)
    assert not record(engine, dataclasses.replace(again, dedupe="another click"))
    assert standings(engine, "eu_dsa", aliases)[row.incident] == Standing(again.by, lapsed=first.by, renewed=renewed)


# What follows.


def test_the_first_acknowledgement_and_the_latest_of_everything_else_count(engine: sa.Engine) -> None:
    made = [
        decision("acknowledge", BEN),
        decision("acknowledge", ANA),
        decision("assign", assignee=ANA),
        decision("assign", assignee=BEN),
        verdict("expected", cause="campaign"),
        verdict("real", BEN, cause="abuse"),
        verdict("new_normal", incident="another"),
    ]
    for one in made:
        assert record(engine, one)
    stands = standings(engine, "eu_dsa")
    assert stands["another"].verdict == "new_normal"
    here = stands[HERE]
    assert (here.acknowledged, here.assignee, here.assigned) == (made[0].by, BEN, made[3].by)
    assert (here.verdict, here.cause, here.judged) == ("real", "abuse", made[5].by)
    assert set(stands) == {HERE, "another"}


def test_an_undo_takes_back_what_it_names_and_can_be_undone(engine: sa.Engine) -> None:
    record(engine, verdict("expected", cause="campaign"))
    record(engine, verdict("real", cause="abuse"))
    number = number_of(engine, "verdict")
    assert record(engine, decision("undo", BEN, undoes=number))
    assert standings(engine, "eu_dsa")[HERE].verdict == "expected", "what was before holds again"
    assert not record(engine, decision("undo", undoes=number)), "it is undone already"
    undo = history(engine, "eu_dsa")[-1]
    assert (undo.kind, undo.undoes, undo.by.user) == ("undo", number, BEN)
    assert record(engine, decision("undo", undoes=undo.id))
    assert standings(engine, "eu_dsa")[HERE].verdict == "real"
    assert record(engine, decision("undo", undoes=number))
    assert standings(engine, "eu_dsa")[HERE].verdict == "expected"
    assert len(history(engine, "eu_dsa")) == 5, "nothing leaves the record"


def test_only_a_decision_of_the_incident_can_be_undone(engine: sa.Engine) -> None:
    record(engine, verdict("real"))
    for more in ({"undoes": 99}, {"undoes": number_of(engine, "verdict"), "incident": "another"}):
        with pytest.raises(ValueError, match="is no decision of"):
            record(engine, decision("undo", **more))
    with pytest.raises(ValueError, match="is no decision of"):
        record(engine, decision("undo", undoes=number_of(engine, "verdict"), ecosystem="marketplace"))


def test_a_snooze_covers_its_scope_until_somebody_ends_it(engine: sa.Engine) -> None:
    record(engine, snooze("here"))
    (found,) = snoozes(engine, "eu_dsa")
    assert (found.metric, found.segment, found.until) == ("statements", IN_TIKTOK, dt.date(2025, 7, 10))
    record(engine, snooze("segment", dt.date(2025, 8, 1)))
    record(engine, snooze("metric", dt.date(2025, 7, 20)))
    assert [(s.metric, s.segment) for s in snoozes(engine, "eu_dsa")] == [
        ("statements", IN_TIKTOK), ("", IN_TIKTOK), ("statements", None),
    ]  # fmt: skip
    record(engine, snooze("here", dt.date(2025, 7, 8), BEN))
    assert [s.until.day for s in snoozes(engine, "eu_dsa")] == [8, 1, 20], "a later one replaces, an earlier date too"
    elsewhere = decision("unsnooze", incident="", metric="appeals", segment="platform=TikTok|category=X")
    record(engine, elsewhere)
    assert [(s.metric, s.segment) for s in snoozes(engine, "eu_dsa")] == [
        ("statements", IN_TIKTOK),
        ("statements", None),
    ], "what silences a series ends with it, however wide it is"
    record(engine, decision("undo", incident="", undoes=number_of(engine, "unsnooze", "")))
    assert len(snoozes(engine, "eu_dsa")) == 3
    record(engine, decision("undo", undoes=number_of(engine, "snooze")))
    assert [(s.metric, s.until.day) for s in snoozes(engine, "eu_dsa")] == [
        ("statements", 10),
        ("", 1),
        ("statements", 20),
    ], "with the shorter one undone, the one before it holds"


def test_ending_what_is_not_snoozed_changes_nothing(engine: sa.Engine) -> None:
    record(engine, snooze("here"))
    assert not record(engine, decision("unsnooze", segment="platform=X"))
    assert record(engine, decision("unsnooze"))
    assert not record(engine, decision("unsnooze", BEN))


def test_each_incident_is_judged_once_in_the_track_record(engine: sa.Engine) -> None:
    for n in range(7):
        record(engine, verdict("false_alarm", incident=f"i{n}"))
        record(engine, verdict("real" if n < 5 else "expected", BEN, incident=f"i{n}"))
    record(engine, verdict("new_normal", incident="i7"))
    record(engine, verdict("false_alarm", incident="i8"))
    record(engine, verdict("false_alarm", incident="i9"))
    record(engine, verdict("real", incident="i10", metric="appeals"))
    found = records_of(history(engine, "eu_dsa"))
    here = found["statements"]
    assert (here.real, here.expected, here.false_alarm, here.new_normal) == (5, 2, 2, 1)
    # Wilson 1927, by hand: centre (p + z²/2n) / (1 + z²/n), half width z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n)
    n, p, z = 10, 0.8, 1.959964
    middle, half = (p + z * z / (2 * n)), z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5)
    assert here.low == pytest.approx((middle - half) / (1 + z * z / n), rel=1e-5)
    assert here.high == pytest.approx((middle + half) / (1 + z * z / n), rel=1e-5)
    assert here.precision == pytest.approx(p)
    assert (found["appeals"].judged, found["appeals"].high) == (1, 1.0)
    record(engine, decision("undo", incident="i10", undoes=number_of(engine, "verdict", "i10")))
    assert set(records_of(history(engine, "eu_dsa"))) == {"statements"}


# Laws, of the values alone.


@st.composite
def records(draw: st.DrawFn) -> list[Decision]:
    made: list[Decision] = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        incident = draw(st.sampled_from(["i1", "i2"]))
        own = [d.id for d in made if d.incident == incident]
        act = draw(st.sampled_from(ACTS))
        if own and draw(st.booleans()):
            act = {"kind": "undo", "undoes": draw(st.sampled_from(own))}
        by = draw(st.sampled_from([ANA, BEN]))
        made.append(decision(**act, by=by, incident=incident, id=number))
    return made


def derived(made: list[Decision]) -> tuple[object, ...]:
    return standings_of(made), snoozes_of(made), records_of(made)


@given(records(), st.data())
def test_to_undo_and_to_undo_that_is_to_have_done_nothing(made: list[Decision], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(made))
    end = len(made)
    undo = decision("undo", undoes=target.id, incident=target.incident, id=end + 1)
    back = decision("undo", undoes=undo.id, incident=target.incident, id=end + 2)
    assert target not in counting([*made, undo])
    assert derived([*made, undo, back]) == derived(made)


@given(records(), st.data())
def test_what_was_undone_is_as_if_it_had_not_been_decided(made: list[Decision], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from(made))
    undo = decision("undo", undoes=target.id, incident=target.incident, id=len(made) + 1)
    never = [d for d in made if d.id != target.id]
    assert derived([*made, undo]) == derived(never)


@given(records(), st.randoms())
def test_in_what_order_rows_are_read_does_not_matter(made: list[Decision], random: Any) -> None:
    shuffled = random.sample(made, len(made))
    assert derived(shuffled) == derived(made)


@given(records())
def test_a_renamed_incident_stands_as_if_it_had_always_been_called_so(made: list[Decision]) -> None:
    one = [dataclasses.replace(d, incident=HERE) for d in made]
    aliases = {"i1": HERE, "i2": HERE}
    assert standings_of(made, aliases) == standings_of(one)
    assert records_of(made, aliases) == records_of(one)


# What is silenced, in words.


def test_a_hole_in_the_data_is_silenced_as_the_deliveries_of_its_unit(catalog: Catalog) -> None:
    assert silenced_as(catalog, incident()) == ("statements", IN_TIKTOK)
    assert silenced_as(catalog, data_incident()) == (DELIVERY, "platform=X")
    assert silenced_as(catalog, data_incident(unit="all")) == (DELIVERY, "")
    day, until = dt.date(2025, 7, 3), dt.date(2025, 7, 10)
    hole = silenced_as(catalog, data_incident())
    for covers, given_ in (
        (True, Snooze(DELIVERY, "platform=X", until, By(ANA, NOON))),
        (True, Snooze("", "platform=X", until, By(ANA, NOON))),
        (True, Snooze(DELIVERY, None, until, By(ANA, NOON))),
        (False, Snooze(DELIVERY, IN_TIKTOK, until, By(ANA, NOON))),
        (False, Snooze("statements", None, until, By(ANA, NOON))),
    ):
        assert given_.covers(*hole, day) is covers, given_
        assert not given_.covers(*hole, until)


def test_of_several_snoozes_the_longest_silences() -> None:
    short = Snooze("statements", None, dt.date(2025, 7, 5), By(ANA, NOON))
    long = Snooze("", IN_TIKTOK, dt.date(2025, 7, 9), By(BEN, NOON))
    series = ("statements", f"{IN_TIKTOK}|category=X")
    assert silence([short, long], *series, dt.date(2025, 7, 3)) == long
    assert silence([short, long], *series, dt.date(2025, 7, 9)) is None
    assert silence([short, long], "statements", "platform=X", dt.date(2025, 7, 4)) == short


def test_what_is_snoozed_is_said_as_people_say_it(catalog: Catalog) -> None:
    said = {
        what_is_snoozed(catalog, Snooze(metric, segment, dt.date(2025, 7, 9), By(ANA, NOON)))
        for metric, segment in (
            ("", IN_TIKTOK), ("statements", IN_TIKTOK), ("statements", None), ("", ""), (DELIVERY, "platform=X"),
            ("gone", "nowhere=Y"),
        )
    }  # fmt: skip
    assert said == {
        "everything in TikTok",
        "statements filed in TikTok",
        "statements filed everywhere",
        "everything in all platforms taken together",
        "holes in the data in X",
        "gone in Y",
    }


# Who may.

ROLED = Alerts(roles={"analyst": (ANA,), "lead": (BEN,), "admin": ("U0EVE",)})


@pytest.mark.parametrize("kind", ["acknowledge", "assign", "verdict", "snooze", "unsnooze"])
def test_viewers_decide_nothing_and_analysts_everything(kind: Kind) -> None:
    assert [may(ROLED, user, kind) for user in ("U0X", ANA, BEN, "U0EVE", "cli:eve")] == [False, *[True] * 4]
    assert may(Alerts(), "U0X", kind), "by default everybody is an analyst"
    assert not may(Alerts(roles={}), "U0X", kind)
    assert not may(Alerts(roles={"viewer": ("*",)}), "U0X", kind)


def test_only_leads_undo_what_others_decided() -> None:
    assert [may(ROLED, user, "undo", own=True) for user in ("U0X", ANA, BEN)] == [False, True, True]
    assert [may(ROLED, user, "undo") for user in ("U0X", ANA, BEN, "cli:eve")] == [False, False, True, True]
    assert (who_may(ROLED, "undo"), who_may(ROLED, "verdict")) == (["U0BEN", "U0EVE"], ["U0ANA", "U0BEN", "U0EVE"])
    assert who_may(Alerts(), "verdict") == ["*"]


def test_the_highest_role_counts() -> None:
    assert role(Alerts(roles={"lead": (ANA,), "viewer": ("*",), "analyst": (ANA,)}), ANA) == "lead"
