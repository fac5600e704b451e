"""From what Slack sends to what somebody decided: anything may come, and only what was meant counts."""

from __future__ import annotations

import copy
import datetime as dt
import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_pipeline.alerts.app.clicks import (
    Click,
    NoClick,
    Refusal,
    Subject,
    answer,
    decide,
    not_watched,
    parse,
    undo_words,
    who_may_words,
)
from health_pipeline.alerts.delivery.blocks import Message, reference
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline.alerts.messages.incident import About, incident_content
from health_pipeline.alerts.people.decisions import Decision
from health_pipeline.alerts.people.standing import By, Standing
from health_pipeline.catalog.alerts import Alerts, Digest, Verdict
from health_pipeline.catalog.model import Catalog
from health_pipeline_tests.alerts.by_hand import incident
from health_pipeline_tests.fake_slack import ANA, BEN, FakeSlack

NOW = dt.datetime(2025, 12, 1, 23, 30, tzinfo=dt.UTC)
HERE = Subject("eu_dsa", incident().id, "statements", "platform=TikTok")
CLICKED = f"{NOW.timestamp() - 60:.6f}"


def payload(action_id: str = "acknowledge", kind: str = "button", **chosen: Any) -> dict[str, Any]:
    return {
        "type": "block_actions",
        "user": {"id": ANA, "name": "ana", "username": "ana.anders"},
        "container": {"type": "message", "message_ts": "1764000000.000100", "channel_id": "C00000001"},
        "channel": {"id": "C00000001", "name": "ops"},
        "message": {"ts": "1764000000.000100"},
        "response_url": "https://hooks.slack.com/actions/T1/2/x",
        "actions": [
            {"type": kind, "action_id": action_id, "block_id": reference("eu_dsa", incident().id),
             "action_ts": CLICKED, **chosen}
        ],
    }  # fmt: skip


def option(value: str, text: str = "") -> dict[str, Any]:
    return {"selected_option": {"value": value, "text": {"type": "plain_text", "text": text or value}}}


def chosen(action_id: str, value: str, text: str = "") -> dict[str, Any]:
    return payload(action_id, "static_select", **option(value, text))


def click(given_: dict[str, Any]) -> Click:
    found = parse(given_, NOW)
    assert isinstance(found, Click), found
    return found


def decided(catalog: Catalog, given_: dict[str, Any]) -> Decision | Refusal:
    return decide(click(given_), HERE, catalog, NOW)


def with_alerts(catalog: Catalog, **changes: Any) -> Catalog:
    return catalog.model_copy(update={"alerts": Alerts(**changes)})


# Parsing.


def test_a_click_says_who_decided_what_about_which_message() -> None:
    found = click(payload())
    assert (found.ecosystem, found.reference) == ("eu_dsa", reference("eu_dsa", incident().id))
    assert (found.kind, found.user, found.user_name, found.value) == ("acknowledge", ANA, "ana", "")
    assert found.at == NOW - dt.timedelta(minutes=1)
    assert (found.channel, found.message_ts, found.thread_ts) == ("C00000001", "1764000000.000100", "")
    assert found.response_url == "https://hooks.slack.com/actions/T1/2/x"


def test_the_edition_of_the_message_is_no_part_of_the_reference() -> None:
    named = reference("eu_dsa", incident().id)
    given_ = payload()
    given_["actions"][0]["block_id"] = f"{named}#0123abcd"
    found = parse(given_, NOW)
    assert isinstance(found, Click)
    assert (found.ecosystem, found.reference) == ("eu_dsa", named)


def test_every_element_of_a_real_message_is_understood(catalog: Catalog, server: FakeSlack, slack: Slack) -> None:
    """The message is posted, and every choice that stands in it is clicked."""
    about = About("P1", links={"Open": "https://example.org/"}, actions=True)
    content = incident_content(catalog, incident(), about)
    ts = slack.post(Message("key", "#ecosystem-health", content.text, content.blocks)).ts
    (block,) = [b for b in content.blocks if b["type"] == "actions"]
    seen = set()
    for element in block["elements"]:
        name = element["action_id"]
        values = [o["value"] for group in element.get("option_groups", ()) for o in group["options"]]
        for value in values or [BEN if name == "assign" else None]:
            found = parse(server.click(str(ts), name, value=value), NOW)
            if name == "open":
                assert found == NoClick("link", "open")
                continue
            assert isinstance(found, Click)
            outcome = decide(found, HERE, catalog, NOW)
            assert isinstance(outcome, Decision)
            assert outcome.content not in seen, "two choices that mean the same"
            seen.add(outcome.content)
    causes = [(v, c) for v, causes in catalog.alerts.causes.items() for c in causes]
    assert {(c[2], c[3]) for c in seen if c[0] == "verdict"} == set(causes)
    assert len([c for c in seen if c[0] == "snooze"]) == 9


def test_what_is_no_click_on_an_incident_is_told_apart() -> None:
    first = payload()["actions"][0]
    for given_, reason in (
        (payload("open"), "link"),
        (payload("like"), "unknown action"),
        (payload() | {"type": "view_submission"}, "no click"),
        (payload() | {"actions": [first | {"block_id": "abc12"}]}, "foreign"),
        (payload() | {"actions": [first | {"block_id": "x" * 300}]}, "foreign"),
        (payload() | {"actions": []}, "malformed"),
        (payload() | {"actions": [first, first]}, "malformed"),
        (payload() | {"user": {"id": "nobody"}}, "malformed"),
        (payload() | {"user": {"id": "cli:root"}}, "malformed"),
        (payload() | {"actions": [first | {"action_ts": "soon"}]}, "malformed"),
        (payload("verdict"), "malformed"),
        (payload("verdict", "static_select"), "malformed"),
        (chosen("verdict", "x" * 151), "malformed"),
        (payload("assign", "users_select", selected_user="<!channel>"), "malformed"),
        ({}, "no click"),
        (None, "no click"),
    ):
        found = parse(given_, NOW)
        assert isinstance(found, NoClick), found
        assert found.reason == reason, (found, given_)


def test_a_click_in_a_thread_knows_its_thread() -> None:
    given_ = payload()
    given_["container"]["thread_ts"] = "1763000000.000001"
    assert click(given_).thread_ts == "1763000000.000001"
    given_["container"]["thread_ts"] = given_["container"]["message_ts"]
    assert click(given_).thread_ts == "", "the first message of a thread stands in the channel"


def test_the_same_click_has_the_same_name_and_another_one_another() -> None:
    names = {click(payload()).dedupe}
    for change in (
        {"user": {"id": BEN}},
        {"container": {"message_ts": "1764000000.000200", "channel_id": "C00000001"}},
        {"actions": [payload()["actions"][0] | {"action_ts": "1764000061.000000"}]},
        {"actions": chosen("verdict", "real|0")["actions"]},
    ):
        names.add(click(payload() | change).dedupe)
    assert len(names) == 5
    assert click(json.loads(json.dumps(payload()))).dedupe in names


def test_no_name_or_time_from_outside_is_trusted() -> None:
    hostile = payload()
    hostile["user"]["name"] = "ana\x00\u202e<!channel>\n" + "x" * 500
    hostile["actions"][0]["action_ts"] = "999999999999.000001"
    hostile["response_url"] = "file:///etc/passwd"
    found = click(hostile)
    assert found.at == NOW
    assert found.response_url == ""
    assert "\x00" not in found.user_name and "\n" not in found.user_name and len(found.user_name) <= 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ANA, CLICKED, "real|0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(given_: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    inner = given_.items() if isinstance(given_, dict) else enumerate(given_) if isinstance(given_, list) else ()
    for name, value in inner:
        found += places(value, (*path, name))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    base = draw(
        st.sampled_from([payload(), chosen("verdict", "real|0", "Real: abuse"), chosen("snooze", "here|7"),
                         payload("assign", "users_select", selected_user=BEN)])
    )  # fmt: skip
    given_: Any = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(given_)))
        if not path:
            return draw(JSON)
        at = given_
        for name in path[:-1]:
            at = at[name]
        if draw(st.booleans()):
            at[path[-1]] = draw(JSON)
        elif isinstance(at, dict):
            del at[path[-1]]
    return given_


@given(mutated())
def test_whatever_comes_is_a_click_or_none_and_never_an_error(catalog: Catalog, given_: Any) -> None:
    found = parse(given_, NOW)
    assert isinstance(found, Click | NoClick)
    if isinstance(found, Click):
        outcome = decide(found, HERE, catalog, NOW)
        assert isinstance(outcome, Decision | Refusal)
        if isinstance(outcome, Decision):
            assert outcome.by.at <= NOW
            assert len(outcome.dedupe) <= 255
            json.dumps([outcome.by_name, outcome.cause, outcome.assignee]).encode()
            assert answer(catalog, outcome, Standing())


# Deciding.


def test_a_decision_is_about_the_incident_and_the_series_it_is_silenced_by(catalog: Catalog) -> None:
    outcome = decided(catalog, payload())
    assert isinstance(outcome, Decision)
    assert (outcome.incident, outcome.metric, outcome.segment) == (HERE.incident, "statements", "platform=TikTok")
    assert (outcome.by, outcome.by_name, outcome.source) == (By(ANA, NOW - dt.timedelta(minutes=1)), "ana", "slack")


def test_a_snooze_ends_on_a_day_where_the_digest_is_read(catalog: Catalog) -> None:
    for zone, until in (("UTC", dt.date(2025, 12, 8)), ("Asia/Jakarta", dt.date(2025, 12, 9))):
        outcome = decided(with_alerts(catalog, digest=Digest(time_zone=zone)), chosen("snooze", "segment|7"))
        assert isinstance(outcome, Decision)
        assert (outcome.scope, outcome.until) == ("segment", until)


@pytest.mark.parametrize(
    "value", ["segment", "segment|0", "segment|-1", "segment|367", "segment|٣", "else|7", "|", "here|7|"]
)
def test_a_snooze_of_another_length_or_scope_is_refused(catalog: Catalog, value: str) -> None:
    assert isinstance(decided(catalog, chosen("snooze", value)), Refusal)


def test_a_verdict_comes_with_the_cause_that_was_shown(catalog: Catalog) -> None:
    reordered = with_alerts(catalog, causes={"real": ("fraud", "abuse & <b>", "buse"), "expected": ()})
    for value, shown, cause in (
        ("real|0", "Real: fraud", "fraud"),
        ("real|0", "Real: abuse &amp; &lt;b&gt;", "abuse & <b>"),  # it was the first when the message was written
        ("real|2", "abuse & <b>", "abuse & <b>"),
        ("real|2", "Real: buse", "buse"),
        ("real|1", "Wirklich: etwas anderes", "abuse & <b>"),  # in words that are not ours: its number counts
        ("expected|", "Expected", ""),
    ):
        outcome = decided(reordered, chosen("verdict", value, shown))
        assert isinstance(outcome, Decision), (value, shown, outcome)
        assert (outcome.verdict, outcome.cause) == (value.partition("|")[0], cause)


@pytest.mark.parametrize(
    "value", ["real|7", "real|", "real|x", "real|-1", "expected|0", "new_normal|0", "maybe|0", "|"]
)
def test_a_verdict_that_can_be_chosen_no_more_is_refused(catalog: Catalog, value: str) -> None:
    outcome = decided(with_alerts(catalog, causes={"real": ("abuse",), "expected": ()}), chosen("verdict", value))
    assert isinstance(outcome, Refusal)
    assert "Choose again" in outcome.words


def test_who_may_not_is_told_who_may(catalog: Catalog) -> None:
    outcome = decided(with_alerts(catalog, roles={"lead": (BEN, "U00000009")}), payload())
    assert isinstance(outcome, Refusal)
    assert "Nothing was recorded" in outcome.words
    assert f"<@{BEN}>, <@U00000009>" in outcome.words
    many = Alerts(roles={"analyst": tuple(f"U000000{n:02d}" for n in range(12))})
    assert who_may_words(many, "verdict").endswith("<@U00000009> and 2 more.")
    assert "Nobody" in who_may_words(Alerts(roles={}), "verdict")
    assert "role lead" in who_may_words(Alerts(), "undo")


# Answers.


def test_answers_say_what_was_recorded(catalog: Catalog) -> None:
    def said(given_: dict[str, Any], before: Standing | None = None) -> str:
        outcome = decided(catalog, given_)
        assert isinstance(outcome, Decision)
        return answer(catalog, outcome, before or Standing())

    cause = catalog.alerts.causes["false_alarm"][1]
    assert [
        said(payload()),
        said(payload(), Standing(acknowledged=By(BEN, NOW))),
        said(payload("assign", "users_select", selected_user=BEN)),
        said(payload("assign", "users_select", selected_user=ANA)),
        said(chosen("verdict", "false_alarm|1")),
        said(chosen("snooze", "segment|7")),
        said(chosen("snooze", "metric|1")),
    ] == [
        "Acknowledged.",
        f"Acknowledged; <@{BEN}> was first.",
        f"Assigned to <@{BEN}>.",
        "Assigned to you.",
        f"Verdict: false alarm, {cause}. It counts in the track record of this metric.",
        "Snoozed until 9 December 2025: everything in TikTok.",
        "Snoozed until 3 December 2025: statements filed everywhere.",
    ]


def test_names_from_the_data_ping_nobody_in_an_answer(catalog: Catalog) -> None:
    hostile = Subject("eu_dsa", "i", "statements", "platform=<!channel> @here")
    outcome = decide(click(chosen("snooze", "here|7")), hostile, catalog, NOW)
    assert isinstance(outcome, Decision)
    words = (
        answer(catalog, outcome, Standing()) + not_watched("<!here>") + undo_words("x `<!here>`".replace("<!here>", ""))
    )
    assert "<!" not in words and "@here" not in words


def test_every_verdict_can_be_answered(catalog: Catalog) -> None:
    for verdict in catalog.alerts.causes:
        made = Decision("eu_dsa", "i", "verdict", By(ANA, NOW), "slack", "d", verdict=cast(Verdict, verdict))
        assert answer(catalog, made, Standing()).startswith("Verdict: ")
