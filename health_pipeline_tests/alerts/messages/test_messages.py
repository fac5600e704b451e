"""What people read in Slack of one incident, in every situation, and of a failed run."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from typing import Any

import pytest

from health_pipeline.alerts.delivery.blocks import Block, Content, Message, as_plain_text, texts, violations
from health_pipeline.alerts.messages.failure import failure_message
from health_pipeline.alerts.messages.incident import (
    About,
    change_content,
    incident_content,
    withdrawn_content,
)
from health_pipeline.alerts.people.standing import By, Renewal, Snooze, Standing
from health_pipeline.alerts.people.told import CHANGES, Change
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording
from health_pipeline_tests.alerts.by_hand import data_incident, incident, member
from health_pipeline_tests.alerts.recorded import FOLDER, assert_as_recorded
from health_pipeline_tests.alerts.situations import (
    ANALYST,
    ECOSYSTEMS,
    GROUP,
    LEAD,
    TERMINAL,
    TOLD_AT,
    about,
    catalog_of,
    fall_of_statements,
    situations,
)
from health_pipeline_tests.slack_limits import invalid_blocks

LINK = "https://health.example/incidents/TikTok-statements-2025-07-02?day=2025-07-03&view=all"
P2 = About("P2", 5.7, 1)
EVERY_SITUATION = [(ecosystem, name) for ecosystem in ECOSYSTEMS for name in situations(ecosystem)]
ALL_REPLIES = [(ecosystem, "replies") for ecosystem in ECOSYSTEMS]


def assert_valid(content: Content) -> None:
    assert not violations(Message("key", "#channel", content.text, content.blocks))
    assert not invalid_blocks(list(content.blocks))


def said(content: Content) -> list[str]:
    return as_plain_text(content).splitlines()


def elements(content: Content) -> dict[str, Any]:
    """What can be clicked, by its action."""
    found = [e for block in content.blocks if block["type"] == "actions" for e in block["elements"]]
    return {element["action_id"]: element for element in found}


def pinged(content: Content) -> list[str]:
    parts = [text["text"] for block in content.blocks for text in texts(block) if text["type"] == "mrkdwn"]
    return [user for part in parts for user in re.findall(r"<(?:@|!subteam\^)([^<>]*)>", part)]


# ── In every situation ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("ecosystem", "name"), EVERY_SITUATION)
def test_a_message_is_as_it_was_last_looked_at(ecosystem: str, name: str) -> None:
    content = incident_content(catalog_of(ecosystem), *situations(ecosystem)[name])
    assert_valid(content)
    assert_as_recorded(f"{ecosystem}-{name}", content)


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_replies_are_as_they_were_last_looked_at(ecosystem: str) -> None:
    catalog, known = catalog_of(ecosystem), situations(ecosystem)
    standing = dataclasses.replace(known["judged"][1].standing, snooze=known["snoozed"][1].standing.snooze)
    replies = {}
    for what in CHANGES:
        told, _ = known.get("withdrawn" if what == "retracted" else what, known["new"])
        replies[what] = change_content(catalog, told, about(ecosystem, standing=standing, mention=(GROUP,)), what)
        assert_valid(replies[what])
        assert len(said(replies[what])) <= 2
    assert_as_recorded(f"{ecosystem}-replies", replies)


def test_nothing_is_recorded_that_is_not_written_any_more() -> None:
    recorded = {file.stem for file in FOLDER.glob("*.json") if file.stem.startswith(ECOSYSTEMS)}
    assert recorded == {f"{ecosystem}-{name}" for ecosystem, name in [*EVERY_SITUATION, *ALL_REPLIES]}


@pytest.mark.parametrize(("ecosystem", "name"), EVERY_SITUATION)
def test_the_same_incident_makes_the_same_message_to_the_byte(ecosystem: str, name: str) -> None:
    def written() -> bytes:
        content = incident_content(catalog_of(ecosystem), *situations(ecosystem)[name])
        return json.dumps([content.text, content.blocks]).encode()

    assert written() == written()


# ── The parts of a message ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_level_shift_is_told_with_numbers_evidence_and_members(catalog: Catalog) -> None:
    members = [member("statements", "platform=TikTok")] + [
        member("statements_by_category", f"platform=TikTok|category=STATEMENT_CATEGORY_{name}")
        for name in ("SELF_HARM", "ANIMAL_WELFARE", "VIOLENCE", "NEGATIVE_EFFECTS", "SCAMS", "OTHER", "MORE")
    ]
    shift = incident(members=tuple(members), events=("A new statement schema applies",))
    content = incident_content(catalog, shift, dataclasses.replace(P2, links={"Open incident": LINK}))
    sentence = wording.sentence(catalog, shift)
    assert "−49 %" in sentence
    assert "1 July 2025" in sentence
    assert said(content) == [
        f"Ongoing · P2 · {wording.title(catalog, shift)}",
        "owner trust-and-safety-analytics · score 5.7, rank 1 of 3 July 2025 · TikTok-statements-2025-07-02",
        sentence,
        "Expected: 1.2 M a day",
        "Observed: 610 k a day",
        "Beyond expectation: 590 k fewer statements a day",
        "q-value below 0.0001 among 1,240 series tested · onset 1 July 2025 "
        "(between 30 June 2025 and 1 July 2025) · first reported 2 July 2025, seen for 3 days",
        "7 child alerts rolled up",
        *(f"• {wording.member(catalog, m)}" for m in members[1:4]),
        "… and 4 more",
        "Judged on data up to 3 July 2025; days with incomplete deliveries are left out.",
        "Coincident, not causal: A new statement schema applies",
        f"Open incident: {LINK}",
    ]
    assert content.text == f"Ongoing, P2: {sentence} {LINK.replace('&', '&amp;')}"


def test_of_a_share_numerator_and_denominator_are_told(catalog: Catalog) -> None:
    spike = incident(
        state="new",
        shape="spike",
        direction="up",
        metric="automated_detection_rate",
        series="automated_detection_rate|platform=TikTok",
        expected=0.41,
        observed=0.62,
        change=0.512,
        excess=0.21 * 195_000,
        q_value=0.0042,
        onset=dt.date(2025, 7, 3),
        onset_low=dt.date(2025, 7, 3),
        onset_high=dt.date(2025, 7, 3),
    )
    lines = said(incident_content(catalog, spike, About("P3")))
    assert lines[0].startswith("New · P3 · ")
    assert "Expected: 41 %" in lines
    assert "Observed: 62 % (121 k of 195 k statements a day)" in lines
    assert "Beyond expectation: 41.0 k more such statements a day" in lines
    assert (
        "q-value 0.0042 among 1,240 series tested · onset 3 July 2025 · first reported 2 July 2025, seen for 1 day"
        in lines
    )
    assert not any("rolled up" in line for line in lines)


@pytest.mark.parametrize(
    ("observed", "excess", "told"),
    [
        (0.006, 12.0, "Observed: 6 (24 on 4,000 short videos a day)"),
        (0.003, 0.0, "Observed: 3"),
        (0.006, float("nan"), "Observed: 6"),
    ],
)
def test_of_a_rate_the_denominator_is_told_when_it_follows_from_the_excess(
    observed: float, excess: float, told: str
) -> None:
    metric, where = "violations_per_1k_videos", "market=ID"
    rate = incident(
        metric=metric, series=f"{metric}|{where}", segment=where, unit="ID", expected=0.003, observed=observed,
        excess=excess,
    )  # fmt: skip
    assert told in said(incident_content(catalog_of("marketplace"), rate, P2))


def test_a_hole_in_the_data_says_that_nothing_was_judged(catalog: Catalog) -> None:
    content = incident_content(catalog, data_incident(state="new"), About("P2", links={"Open incident": LINK}))
    assert said(content) == [
        "New · P2 · X has delivered nothing",
        "X-delivery-2025-07-01",
        wording.sentence(catalog, data_incident(state="new")),
        "Usually delivered: 700 k a day",
        "Delivered: 0 on 3 July 2025",
        "Judged on deliveries up to 3 July 2025.",
        f"Open incident: {LINK}",
    ]
    assert "not judged" in content.text


@pytest.mark.parametrize("name", ["withdrawn", "vanished", "merged"])
def test_what_was_not_so_shows_no_figures(catalog: Catalog, name: str) -> None:
    shown = as_plain_text(incident_content(catalog, *situations("eu_dsa")[name]))
    for part in ("Expected", "q-value", "rolled up", "Could it be", "Coincident", "judged, 11", "score"):
        assert part not in shown
    assert "TikTok-statements-2025-07-02" in shown


def test_a_merged_incident_names_the_one_it_is_part_of(catalog: Catalog) -> None:
    content = incident_content(catalog, *situations("eu_dsa")["merged"])
    assert "It turned out to be part of all-statements-2025-06-17." in as_plain_text(content)
    assert "part of all-statements-2025-06-17" in content.text


def test_the_track_record_is_told_once_something_was_judged(catalog: Catalog) -> None:
    shift, known = situations("eu_dsa")["new"]
    assert known.record is not None
    told = "Of 14 incidents of this metric that were judged, 11 were real (precision 93 %, 95 % CI 69 to 99 %)"
    assert told in said(incident_content(catalog, shift, known))
    one = dataclasses.replace(known.record, real=1, expected=0, false_alarm=0, low=0.21, high=1.0)
    told = "Of 1 incident of this metric that was judged, 1 was real (precision 100 %, 95 % CI 21 to 100 %)"
    assert told in said(incident_content(catalog, shift, dataclasses.replace(known, record=one)))
    hole = dataclasses.replace(known, record=one)
    told = "Of 1 hole in the data that was judged, 1 was real (precision 100 %, 95 % CI 21 to 100 %)"
    assert told in said(incident_content(catalog, data_incident(), hole))
    for none in (None, dataclasses.replace(one, real=0)):
        content = incident_content(catalog, shift, dataclasses.replace(known, record=none))
        assert "judged, " not in as_plain_text(content)


def test_the_message_follows_the_order_in_which_things_matter() -> None:
    marketplace = catalog_of("marketplace")
    shown = as_plain_text(incident_content(marketplace, *situations("marketplace")["new"]))
    order = [
        "New · P1", "To be acknowledged", "rose from", "Expected", "Observed", "Beyond expectation", "Exposure",
        "q-value", "Mostly rate", "2 child alerts rolled up", "Could it be the data?", "Judged on data", "mature",
        "Coincident, not causal", "Chart in the thread", "Top cases", "[Acknowledge]", "Of 14 incidents",
    ]  # fmt: skip
    assert [part for part in order if part not in shown] == []
    assert sorted(order, key=shown.index) == order


# ── The clock and what people decided ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "To be acknowledged by 14:30 UTC"),
        ({"told_at": None}, "To be acknowledged within 2.0 h"),
        (
            {"told_at": dt.datetime(2025, 7, 3, 23, 0, tzinfo=dt.UTC)},
            "To be acknowledged by 01:00 UTC on 4 July",
        ),
        (
            {"told_at": dt.datetime(2025, 7, 3, 14, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))},
            "To be acknowledged by 14:30 UTC",
        ),
        ({"overdue": True}, "Overdue since 14:30 UTC"),
        ({"overdue": True, "standing": Standing(acknowledged=ANALYST)}, "Acknowledged by @U012AB3CD after 12 min"),
        ({"standing": Standing(acknowledged=TERMINAL)}, "Acknowledged by ana after 50 min"),
        (
            {"standing": Standing(lapsed=ANALYST, renewed=Renewal(TOLD_AT, "reopened"))},
            "To be acknowledged by 14:30 UTC  ·  Acknowledged by @U012AB3CD before it flared up again",
        ),
        (
            {"standing": Standing(lapsed=TERMINAL, renewed=Renewal(TOLD_AT, "raised")), "severity": "P3"},
            "Acknowledged by ana before its severity was raised",
        ),
        (
            {"standing": Standing(acknowledged=TERMINAL, lapsed=ANALYST, renewed=Renewal(TOLD_AT, "raised"))},
            "Acknowledged by ana after 50 min",
        ),
    ],
)
def test_the_clock_tells_when_to_acknowledge(catalog: Catalog, changes: dict[str, Any], told: str) -> None:
    assert said(incident_content(catalog, fall_of_statements(), about("eu_dsa", **changes)))[2] == told


@pytest.mark.parametrize("changes", [{"severity": "P3"}, {"severity": "a severity of before"}])
def test_a_severity_without_a_time_limit_has_no_clock(catalog: Catalog, changes: dict[str, Any]) -> None:
    shown = as_plain_text(incident_content(catalog, fall_of_statements(), about("eu_dsa", **changes)))
    assert "acknowledged" not in shown


def test_the_clock_stops_when_an_incident_is_over(catalog: Catalog) -> None:
    over, _ = situations("eu_dsa")["recovered"]
    assert "Overdue" not in as_plain_text(incident_content(catalog, over, about("eu_dsa", overdue=True)))


def test_decisions_of_people_stand_in_one_line(catalog: Catalog) -> None:
    _, judged = situations("eu_dsa")["judged"]
    line = said(incident_content(catalog, fall_of_statements(), judged))[2]
    assert line.split("  ·  ") == [
        "Acknowledged by @U012AB3CD after 12 min",
        "Assigned to @W0LEAD0001",
        "Verdict: real, abuse (by @W0LEAD0001)",
    ]


def test_a_snoozed_incident_tells_until_when_and_by_whom(catalog: Catalog) -> None:
    snooze = Snooze("", None, dt.date(2025, 7, 10), TERMINAL)
    told = incident_content(catalog, fall_of_statements(), About("P3", standing=Standing(snooze=snooze)))
    assert said(told)[2] == "Snoozed until 10 July 2025 by ana"


def test_whoever_is_mentioned_stands_in_a_line_of_their_own(catalog: Catalog) -> None:
    content = incident_content(catalog, fall_of_statements(), About("P1", mention=(GROUP, LEAD.user)))
    first = next(block for block in content.blocks if block["type"] == "section")
    assert first["text"]["text"] == f"<!subteam^{GROUP}> <@{LEAD.user}>"
    assert pinged(content) == [GROUP, LEAD.user]


def test_only_what_has_the_form_of_an_id_is_mentioned(catalog: Catalog) -> None:
    people = ("U012AB3CD", "cli:ana", "<!channel>", "U1\n<!here>", "@here", "u012ab3cd", "U" + "A" * 200)
    content = incident_content(catalog, fall_of_statements(), About("P1", mention=people))
    assert pinged(content) == ["U012AB3CD"]
    assert_valid(content)


# ── Actions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_menus_have_another_block_after_every_decision_lest_they_show_what_was_chosen_before(catalog: Catalog) -> None:
    first = By("U012AB3CD", dt.datetime(2025, 7, 2, 14, 12, tzinfo=dt.UTC))
    standings = [Standing()]
    for decided in (
        {"acknowledged": first}, {"assignee": "U045EF6GH"}, {"verdict": "real", "cause": "in words of their own"},
        {"snooze": Snooze("statements", "platform=TikTok", dt.date(2025, 7, 9), first)},
    ):  # fmt: skip
        standings.append(dataclasses.replace(standings[-1], **decided))

    def block_of(standing: Standing, **changes: Any) -> str:
        told = dataclasses.replace(about("eu_dsa", **changes), standing=standing)
        (block,) = (b for b in incident_content(catalog, fall_of_statements(), told).blocks if b["type"] == "actions")
        return str(block["block_id"])

    blocks = [block_of(standing) for standing in standings]
    assert len(set(blocks)) == len(standings)
    assert block_of(standings[0], score=3.0) == blocks[0], "an open menu stays when only a figure has changed"


def test_an_open_incident_can_be_answered(catalog: Catalog) -> None:
    content = incident_content(catalog, fall_of_statements(), about("eu_dsa"))
    found = elements(content)
    assert list(found) == ["acknowledge", "assign", "verdict", "snooze", "open"]
    (block,) = (b for b in content.blocks if b["type"] == "actions")
    assert re.fullmatch(r"eu_dsa:incident:TikTok-statements-2025-07-02#[0-9a-f]{8}", block["block_id"])
    groups = {g["label"]["text"]: [o["value"] for o in g["options"]] for g in found["verdict"]["option_groups"]}
    assert groups == {
        "Real": ["real|0", "real|1", "real|2", "real|3"],
        "Expected": ["expected|0", "expected|1", "expected|2"],
        "False alarm": ["false_alarm|0", "false_alarm|1", "false_alarm|2"],
        "New normal": ["new_normal|0", "new_normal|1"],
    }
    groups = {g["label"]["text"]: [o["value"] for o in g["options"]] for g in found["snooze"]["option_groups"]}
    assert groups == {
        "This segment": ["segment|1", "segment|7", "segment|30"],
        "This metric here": ["here|1", "here|7", "here|30"],
        "This metric everywhere": ["metric|1", "metric|7", "metric|30"],
    }
    assert found["open"]["url"].startswith("https://health.example/assets/eu_dsa/")
    assert as_plain_text(content).count(found["open"]["url"]) == 1


def test_what_was_decided_is_selected_and_what_was_done_is_not_offered(catalog: Catalog) -> None:
    _, judged = situations("eu_dsa")["judged"]
    found = elements(incident_content(catalog, fall_of_statements(), judged))
    assert list(found) == ["assign", "verdict", "snooze", "open"]
    assert found["assign"]["initial_user"] == LEAD.user
    assert found["verdict"]["initial_option"]["value"] == "real|0"
    by_hand = dataclasses.replace(judged, standing=Standing(assignee="cli:ana", verdict="real", cause="words of Ana's"))
    found = elements(incident_content(catalog, fall_of_statements(), by_hand))
    assert "initial_user" not in found["assign"]
    assert "initial_option" not in found["verdict"]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("recovered", ["verdict", "open"]),
        ("settled", ["verdict", "open"]),
        ("withdrawn", ["open"]),
        ("vanished", ["open"]),
        ("merged", ["open"]),
    ],
)
def test_what_is_over_can_still_be_judged_unless_it_was_none(catalog: Catalog, name: str, left: list[str]) -> None:
    assert list(elements(incident_content(catalog, *situations("eu_dsa")[name]))) == left


def test_nothing_can_be_clicked_when_nobody_answers(catalog: Catalog) -> None:
    content = incident_content(catalog, *situations("eu_dsa")["nobody_answers_clicks"])
    assert elements(content) == {}
    assert "Open in Dagster: https://" in as_plain_text(content)


def test_a_hole_is_snoozed_by_who_did_not_deliver() -> None:
    found = elements(incident_content(catalog_of("marketplace"), *situations("marketplace")["hole_in_the_data"]))
    labels = [group["label"]["text"] for group in found["snooze"]["option_groups"]]
    assert labels == ["Everything of Vietnam", "Holes in the data of Vietnam", "All holes in the data"]


@pytest.mark.parametrize("many", [0, 40, 400])
def test_a_menu_has_as_many_causes_as_there_is_room_for(catalog: Catalog, many: int) -> None:
    causes = tuple(f"cause {n} " + "x" * 40 for n in range(many))
    alerts = catalog.alerts.model_copy(update={"causes": {"real": causes, "expected": ("season",)}})
    content = incident_content(
        catalog.model_copy(update={"alerts": alerts}), fall_of_statements(), about("eu_dsa", severity="P2")
    )
    assert_valid(content)
    groups = elements(content)["verdict"]["option_groups"]
    assert [g["label"]["text"] for g in groups] == ["Real", "Expected", "False alarm", "New normal"]
    assert groups[0]["options"][0]["value"] == ("real|0" if many else "real|")
    assert groups[2]["options"][0] == {
        "text": {"type": "plain_text", "text": "False alarm", "emoji": False},
        "value": "false_alarm|",
    }


# ── Replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reply(catalog: Catalog, what: Change, standing: Standing, by: By | None = None, **changes: Any) -> Content:
    return change_content(catalog, fall_of_statements(), about("eu_dsa", standing=standing, **changes), what, by=by)


@pytest.mark.parametrize(
    ("what", "standing", "by", "told"),
    [
        ("acknowledged", Standing(acknowledged=ANALYST), None, "Acknowledged by @U012AB3CD after 12 min."),
        ("acknowledged", Standing(), LEAD, "No longer acknowledged: taken back by @W0LEAD0001."),
        (
            "assigned",
            Standing(assignee=LEAD.user, assigned=ANALYST),
            None,
            "Assigned to @W0LEAD0001 by @U012AB3CD.",
        ),
        ("assigned", Standing(assignee=LEAD.user, assigned=LEAD), None, "@W0LEAD0001 takes care of it."),
        ("assigned", Standing(), ANALYST, "Unassigned by @U012AB3CD."),
        ("verdict", Standing(verdict="new_normal", judged=LEAD), None, "Verdict by @W0LEAD0001: new normal."),
        ("verdict", Standing(), LEAD, "The verdict was taken back by @W0LEAD0001."),
        (
            "snoozed",
            Standing(snooze=Snooze("", None, dt.date(2025, 7, 10), TERMINAL)),
            None,
            "Snoozed until 10 July 2025 by ana.",
        ),
    ],
)
def test_a_reply_tells_who_did_what(
    catalog: Catalog, what: Change, standing: Standing, by: By | None, told: str
) -> None:
    content = reply(catalog, what, standing, by)
    assert said(content) == [told]
    assert "TikTok: statements filed down 49 %" in content.text
    assert "@" not in content.text
    assert_valid(content)


def test_after_a_snooze_it_is_told_again(catalog: Catalog) -> None:
    for by, told in ((None, "Snooze lifted."), (TERMINAL, "Snooze lifted by ana.")):
        content = reply(catalog, "snoozed", Standing(), by)
        assert said(content) == [told, wording.sentence(catalog, fall_of_statements())]
        assert "fell from 1.2 M" in content.text


def test_only_what_is_urgent_mentions_in_a_reply(catalog: Catalog) -> None:
    urgent = {what for what in CHANGES if pinged(reply(catalog, what, Standing(), mention=(GROUP,))) == [GROUP]}
    assert urgent == {"overdue", "raised"}
    (line,) = said(reply(catalog, "overdue", Standing(), mention=(GROUP,)))
    assert line == "@S0OWNERS01 Nobody has acknowledged this yet. It was due by 14:30 UTC."
    anew = Standing(lapsed=ANALYST, renewed=Renewal(TOLD_AT, "raised"))
    (line,) = said(reply(catalog, "overdue", anew))
    assert line == "Nobody has acknowledged this since its severity was raised. It was due by 14:30 UTC."


# ── What vanished, and what failed ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["new", "acknowledged_and_assigned", "nobody_answers_clicks"])
def test_of_a_message_whose_incident_vanished_the_title_is_left(catalog: Catalog, name: str) -> None:
    told = incident_content(catalog, *situations("eu_dsa")[name])
    content = withdrawn_content(told)
    assert said(content)[:2] == ["Withdrawn · TikTok: statements filed down 49 %", said(told)[1]]
    assert said(content)[2].startswith("Withdrawn: the days on which this was reported have been judged anew")
    assert "TikTok: statements filed down 49 %" in content.text
    assert (elements(content), pinged(content)) == ({}, [])
    assert [b["type"] for b in withdrawn_content(told, reply=True).blocks] == ["section"]
    assert_valid(content)


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ("P2 · A · B: up 3 %", "Withdrawn · A · B: up 3 %"),
        ("P2 · A: up 3 %", "Withdrawn · A: up 3 %"),
        ("A", "Withdrawn · A"),
    ],
)
def test_messages_of_earlier_versions_can_be_withdrawn(header: str, title: str) -> None:
    block: Block = {"type": "header", "text": {"type": "plain_text", "text": header}}
    assert said(withdrawn_content(Content("text", (block,))))[0] == title


def test_a_pipeline_failure_names_job_step_run_and_the_first_line_of_the_error(catalog: Catalog) -> None:
    message = failure_message(
        catalog,
        job="daily",
        run_id="4f1c",
        step="raw__facts",
        error="\nInputError: <file> can't be read\nTraceback …",
        link="http://127.0.0.1:3000/runs/4f1c",
    )
    assert as_plain_text(message).splitlines() == [
        "Pipeline failure · daily",
        "eu_dsa · run 4f1c",
        "Job daily failed at step raw__facts.",
        "InputError: <file> can't be read",
        "Open run: http://127.0.0.1:3000/runs/4f1c",
    ]
    assert message.channel == "#ecosystem-health-pipeline"
    assert "&lt;file&gt;" in message.text
    assert not violations(message)


def test_only_web_links_that_fit_are_shown(catalog: Catalog) -> None:
    links = {
        "Bad": "javascript:alert(1)",
        "Long": "https://x/" + "a" * 5_000,
        "Odd|<b>": "https://x/a b<c>|d",
    }
    content = incident_content(catalog, incident(), dataclasses.replace(P2, links=links))
    assert content.blocks[-1]["text"]["text"] == "<https://x/a%20b%3Cc%3E%7Cd|Odd/&lt;b&gt;>"
    assert_valid(content)


def test_a_child_alert_of_the_same_series_says_when_it_began(catalog: Catalog) -> None:
    root = member("statements", "platform=TikTok")
    before = dataclasses.replace(root, onset=dt.date(2025, 6, 20), change=0.7, low=0.5, high=0.9)
    lines = said(incident_content(catalog, incident(members=(root, before)), P2))
    assert [line for line in lines if line.startswith("•")] == [
        f"• {wording.member(catalog, before)}, onset 20 June 2025"
    ]
