"""What people read in Slack of many incidents: the morning digest, and the roll-up of what came too fast."""

from __future__ import annotations

import datetime as dt

import pytest

from health_pipeline.alerts.delivery.blocks import Content, Message, as_plain_text, violations
from health_pipeline.alerts.messages.digest import DigestLine, digest_content, rollup_content
from health_pipeline.alerts.messages.incident import About
from health_pipeline.alerts.people.standing import Standing
from health_pipeline.alerts.people.told import CHANGES, Change
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.by_hand import data_incident, incident
from health_pipeline_tests.alerts.recorded import FOLDER, assert_as_recorded
from health_pipeline_tests.alerts.situations import (
    ANALYST,
    ECOSYSTEMS,
    GROUP,
    about,
    catalog_of,
    fall_of_statements,
    situations,
)
from health_pipeline_tests.slack_limits import invalid_blocks

MORNING = dt.date(2025, 7, 4)
LINKS = {"All open incidents": "https://health.example/incidents"}


def said(content: Content) -> list[str]:
    assert not violations(Message("key", "#channel", content.text, content.blocks))
    assert not invalid_blocks(list(content.blocks))
    return as_plain_text(content).splitlines()


def line(what: Change, severity: str = "P3", **changes: object) -> DigestLine:
    return DigestLine(incident(**changes), About(severity, mention=(GROUP,)), what)


def every_kind(ecosystem: str) -> list[DigestLine]:
    """A line of every change there is, of incidents in the state that goes with it."""
    known = situations(ecosystem)
    lines = []
    for what in CHANGES:
        told, _ = known.get({"retracted": "withdrawn"}.get(what, what), known["judged"])
        lines.append(DigestLine(told, about(ecosystem, severity="P3", standing=known["judged"][1].standing), what))
    return [*lines, DigestLine(known["hole_in_the_data"][0], About("P2"), "new")]


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_digests_and_roll_ups_are_as_they_were_last_looked_at(ecosystem: str) -> None:
    catalog, lines = catalog_of(ecosystem), every_kind(ecosystem)
    told = {
        "digest-of-every-kind": digest_content(
            catalog, MORNING, lines, snoozed=2, open_count=1_241, more=3, links=LINKS
        ),
        "digest-of-many": digest_content(catalog, MORNING, lines * 9, snoozed=0, open_count=60, links=LINKS),
        "digest-calm": digest_content(catalog, MORNING, [], snoozed=1, open_count=4, links=LINKS),
        "digest-rollup": rollup_content(catalog, lines[:7], links=LINKS),
    }
    for name, content in told.items():
        assert said(content)
        assert_as_recorded(f"{name}-{ecosystem}", content)
    recorded = {file.stem for file in FOLDER.glob(f"digest*-{ecosystem}.json")}
    assert recorded == {f"{name}-{ecosystem}" for name in told}


def test_a_late_digest_is_not_called_one_of_the_morning(catalog: Catalog) -> None:
    content = digest_content(catalog, MORNING, [line("new")], snoozed=0, open_count=1, is_late=True)
    assert said(content)[0] == "Digest, 4 July" and content.text.startswith("Digest, 4 July: 1 new")


def test_a_digest_tells_what_is_new_what_changed_and_what_ended(catalog: Catalog) -> None:
    lines = [
        line("worsening", state="worsening"),
        DigestLine(data_incident(), About("P2"), "new"),
        line("recovered", state="recovered", ended=MORNING),
    ]
    content = digest_content(catalog, MORNING, lines, snoozed=2, open_count=12, links=LINKS)
    assert said(content) == [
        "Morning digest, 4 July",
        "1 new · 1 changed · 1 ended · 12 open · 2 snoozed · the new ones in full in the thread",
        "New (1)",
        "P2 · X has delivered nothing, since 1 July",
        "Changed (1)",
        "P3 · worsening · TikTok: statements filed down 49 %, since 1 July",
        "Ended (1)",
        "P3 · recovered · TikTok: statements filed down 49 %, 1 July to 3 July",
        "All open incidents: https://health.example/incidents",
    ]
    assert content.text == (
        "Morning digest, 4 July: 1 new, 1 changed, 1 ended, 12 open, 2 snoozed. "
        "P2 · X has delivered nothing, since 1 July "
        "https://health.example/incidents"
    )


def test_a_calm_morning_says_so(catalog: Catalog) -> None:
    content = digest_content(catalog, MORNING, [], snoozed=0, open_count=3)
    assert said(content) == [
        "Morning digest, 4 July",
        "3 open",
        "A calm morning: nothing is new, nothing has changed, nothing has ended.",
    ]
    assert content.text == "Morning digest, 4 July: 3 open. Nothing is new, nothing has changed."


@pytest.mark.parametrize(
    ("day", "told"),
    [
        ({"onset": dt.date(2024, 12, 30)}, "since 30 December 2024"),
        ({"shape": "spike"}, "on 1 July"),
        ({"shape": "spike", "state": "settled"}, "since 1 July"),
        ({"state": "recovered", "headline_reported": dt.date(2025, 7, 1)}, "on 1 July"),
        ({"state": "recovered", "onset": dt.date(2024, 12, 30)}, "30 December 2024 to 3 July"),
    ],
)
def test_a_line_tells_since_when(catalog: Catalog, day: dict[str, object], told: str) -> None:
    content = digest_content(catalog, MORNING, [line("new", **day)], snoozed=0, open_count=1)
    assert said(content)[3].endswith(f"49 %, {told}")


@pytest.mark.parametrize(
    ("what", "standing", "told"),
    [
        ("reopened", Standing(), "flared up again"),
        ("raised", Standing(), "more urgent"),
        ("overdue", Standing(), "overdue"),
        ("acknowledged", Standing(acknowledged=ANALYST), "acknowledged"),
        ("acknowledged", Standing(), "no longer acknowledged"),
        ("assigned", Standing(assignee=ANALYST.user), "assigned"),
        ("assigned", Standing(), "unassigned"),
        ("verdict", Standing(verdict="false_alarm"), "judged false alarm"),
        ("verdict", Standing(), "verdict taken back"),
        ("snoozed", Standing(), "snooze lifted"),
        ("merged", Standing(), "merged"),
        ("retracted", Standing(), "withdrawn"),
    ],
)
def test_a_line_tells_what_happened_and_pings_nobody(
    catalog: Catalog, what: Change, standing: Standing, told: str
) -> None:
    lines = [
        DigestLine(fall_of_statements(), about("eu_dsa", severity="P3", standing=standing, mention=(GROUP,)), what)
    ]
    for content in (
        digest_content(catalog, MORNING, lines, snoozed=0, open_count=1),
        rollup_content(catalog, lines),
    ):
        (shown,) = (s for s in said(content) if s.startswith("P3"))
        assert shown == f"P3 · {told} · TikTok: statements filed down 49 %, since 1 July"
        assert "<@" not in str(content)
        assert "<!" not in str(content)


def test_of_too_many_lines_every_group_keeps_some_and_the_rest_is_counted(catalog: Catalog) -> None:
    changes: list[Change] = ["new"] * 40 + ["worsening"] * 40 + ["recovered"] * 3
    lines = [line(what) for what in changes]
    shown = said(digest_content(catalog, MORNING, lines, snoozed=0, open_count=80, more=10, links=LINKS))
    assert [s for s in shown if s.endswith(")")] == ["New (40)", "Changed (40)", "Ended (3)"]
    assert sum(s.startswith("P3") for s in shown) == 25
    assert sum("worsening" in s for s in shown) == 5
    assert sum("recovered" in s for s in shown) == 3
    assert shown[-2:] == ["… and 68 more", "All open incidents: https://health.example/incidents"]


def test_the_longest_lines_and_links_fit(catalog: Catalog) -> None:
    where = "platform=" + "&" * 400
    lines = [line("acknowledged", segment=where, unit="&" * 400) for _ in range(30)]
    links = {f"{n}" + "&" * 60: f"https://health.example/{n}?" + "&a" * 35 for n in range(5)}
    for content in (
        digest_content(catalog, MORNING, lines, snoozed=10**6, open_count=10**6, more=10**6, links=links),
        rollup_content(catalog, lines, more=10**6, links=links),
    ):
        shown = said(content)
        assert sum(s.startswith("P3") for s in shown) == 25
        assert shown[-1].count("https://") == 5


def test_a_roll_up_counts_what_came_within_the_hour(catalog: Catalog) -> None:
    content = rollup_content(catalog, [line("new", "P1"), line("new", "P2")], more=5, links=LINKS)
    assert said(content) == [
        "7 more incidents within the hour",
        "6 incidents had a message of their own here in this hour · each of these in full in the thread",
        "P1 · TikTok: statements filed down 49 %, since 1 July",
        "P2 · TikTok: statements filed down 49 %, since 1 July",
        "… and 5 more",
        "All open incidents: https://health.example/incidents",
    ]
    assert content.text.startswith("7 more incidents within the hour. P1 · TikTok")
    assert said(rollup_content(catalog, [line("new")]))[0] == "1 more incident within the hour"
