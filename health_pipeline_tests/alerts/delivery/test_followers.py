"""Edits and replies: after their post, in order, once; quiet hours, newer edits, and posts that never go out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.checks import delivery_result
from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Content
from health_pipeline.alerts.delivery.deliver import Delivery, deliver
from health_pipeline.alerts.delivery.intent import Intent, Kind
from health_pipeline.alerts.delivery.slack import Slack
from health_pipeline_tests.alerts.conftest import BRIEF, LONG
from health_pipeline_tests.fake_slack import ANA, FakeSlack
from health_pipeline_tests.hand_clock import HandClock

AT_ONCE = dt.timedelta(0)
CHANNEL = "#ecosystem-health"
Put = Callable[..., None]


def run(engine: sa.Engine, slack: Slack | None, seconds: float = LONG, **options: dt.timedelta) -> Delivery:
    options = {"interval": AT_ONCE} | options
    return deliver(engine, slack, budget=dt.timedelta(seconds=seconds), **options)


def intent(kind: Kind, key: str, **changes: object) -> Intent:
    block = {"type": "section", "text": {"type": "plain_text", "text": f"Text of {key}."}}
    made = Intent(key, CHANNEL, kind, "a", f"Text of {key}.", (block,))
    if kind == "upload":
        made = dataclasses.replace(made, blocks=(), file=b"\x89PNG " * 9, filename="series.png", alt="A series rises.")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def queue(engine: sa.Engine) -> Callable[..., Intent]:
    """Queues an edit, reply or upload, of the post `a` unless told otherwise."""

    def queue(kind: Kind, key: str, **changes: object) -> Intent:
        made = intent(kind, key, **changes)
        assert outbox.enqueue(engine, made, ecosystem="eu_dsa")
        return made

    return queue


def states(engine: sa.Engine) -> dict[str, str]:
    return {e.intent.key: e.state for e in backlog.entries(engine)}


def test_an_edit_and_a_reply_reach_the_message_and_its_thread(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("edit", "a2")
    queue("reply", "r")
    assert run(engine, slack) == Delivery(sent=3)
    post, reply = server.messages
    assert post["text"] == "Text of a2."
    assert post["blocks"][0]["text"]["text"] == "Text of a2."
    assert post["metadata"]["event_payload"] == {"key": "a"}, "an edited message is still found by its key"
    assert (reply["thread_ts"], reply["text"]) == (post["ts"], "Text of r.")
    assert reply["metadata"]["event_payload"] == {"key": "r"}
    assert server.requests == ["chat.postMessage", "chat.update", "chat.postMessage"]
    where = {e.intent.key: e.ts for e in backlog.entries(engine)}
    assert where == {"a": post["ts"], "a2": post["ts"], "r": reply["ts"]}


def test_followers_wait_for_their_post_and_others_go_on(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b")
    queue("reply", "r")
    server.faults["chat.postMessage"].append("drop_after")
    result = run(engine, slack, BRIEF)
    assert (server.keys, result.pending, result.doubtful) == (["a", "b"], 1, 1)
    assert run(engine, slack).sent == 2
    assert server.keys == ["a", "b", "r"]


def test_what_follows_one_post_keeps_its_order_when_the_first_fails(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    run(engine, slack)
    for key in ("r1", "r2", "r3"):
        queue("reply", key)
    server.faults["chat.postMessage"].extend(["drop_before", "drop_after"])
    assert run(engine, slack).sent == 3
    assert server.keys == ["a", "r1", "r2", "r3"]


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "slow_after"])
def test_a_reply_whose_answer_was_lost_is_found_in_the_thread(
    engine: sa.Engine,
    server: FakeSlack,
    slack: Slack,
    put: Put,
    queue: Callable[..., Intent],
    spoil: Callable[[str], None],
    fault: str,
) -> None:
    put("a")
    run(engine, slack)
    queue("reply", "r")
    spoil(fault)
    result = run(engine, slack)
    assert (result.sent, result.found) == (1, 1)
    assert server.keys == ["a", "r"]
    assert "conversations.replies" in server.requests


def test_the_search_for_a_reply_turns_every_page(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    server.page = 2
    put("a")
    run(engine, slack)
    for _ in range(4):
        server.say("ecosystem-health", "Who looks at it?")["thread_ts"] = server.messages[0]["ts"]
    queue("reply", "r")
    server.faults["chat.postMessage"].append("drop_after")
    assert run(engine, slack).found == 1
    assert server.requests.count("conversations.replies") == 3
    assert server.keys == ["a", "r"]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "error_before", "error_after"])
def test_an_edit_in_doubt_is_made_again_before_the_next(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], fault: str
) -> None:
    put("a")
    run(engine, slack)
    queue("edit", "a2")
    server.faults["chat.update"].append(fault)
    run(engine, slack, BRIEF)
    queue("edit", "a3")
    assert states(engine) == {"a": "sent", "a2": "sending", "a3": "pending"}, "what Slack may have can't be replaced"
    assert run(engine, slack).sent == 2
    assert [e["text"] for e in server.edits][-2:] == ["Text of a2.", "Text of a3."]
    assert server.messages[0]["text"] == "Text of a3."


def test_a_newer_edit_replaces_one_that_waits(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    for key in ("a2", "a3", "a4"):
        queue("edit", key)
    assert run(engine, slack).sent == 2
    assert [e["text"] for e in server.edits] == ["Text of a4."]
    assert states(engine) == {"a": "sent", "a2": "superseded", "a3": "superseded", "a4": "sent"}


def test_of_an_edit_that_a_newer_one_followed_only_the_sentence_is_kept(
    engine: sa.Engine, slack: Slack, server: FakeSlack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("edit", "a2")
    run(engine, slack)
    for key in ("a3", "a4"):
        queue("edit", key)
    kept = {e.intent.key: (e.intent.text, len(e.intent.blocks)) for e in backlog.entries(engine)}
    assert kept == {
        "a": ("A sentence.", 1),
        "a2": ("Text of a2.", 0),
        "a3": ("Text of a3.", 0),
        "a4": ("Text of a4.", 1),
    }


def test_what_people_notice_overtakes_the_edits_of_other_messages(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b", "c")
    run(engine, slack)
    for of in "abc":
        queue("edit", f"{of}2", of=of)
    queue("reply", "r", of="c")
    put("urgent")
    del server.requests[:]
    run(engine, slack)
    assert server.requests[:3] == ["chat.update", "chat.postMessage", "chat.postMessage"]
    assert [e["text"] for e in server.edits] == ["Text of c2.", "Text of a2.", "Text of b2."]
    assert server.keys[-2:] == ["r", "urgent"]


def test_an_edit_that_slack_refused_for_now_gives_way_to_a_newer_one(
    engine: sa.Engine, put: Put, queue: Callable[..., Intent], slack: Slack, server: FakeSlack
) -> None:
    put("a")
    run(engine, slack)
    queue("edit", "a2")
    claimed = outbox.claim(engine, patience=slack.patience, interval=AT_ONCE)
    assert claimed is not None
    queue("edit", "a3")
    outbox.release(engine, claimed, "Slack asks to wait.")
    assert states(engine)["a2"] == "superseded"
    run(engine, slack)
    assert [e["text"] for e in server.edits] == ["Text of a3."]


def test_quiet_hours_hold_a_message_and_what_follows_it(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    opens = clock.now() + dt.timedelta(minutes=2)
    queue("post", "a", of="", not_before=opens)
    queue("edit", "a2")
    queue("reply", "r", not_before=opens)
    put("b")
    result = run(engine, slack, BRIEF)
    assert (server.keys, result.pending) == (["b"], 3)
    assert run(engine, slack).sent == 3
    assert server.keys == ["b", "a", "r"]
    assert [m["at"] >= opens.timestamp() for m in server.messages] == [False, True, True]


def test_an_edit_overtakes_a_reply_that_quiet_hours_hold(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("a")
    queue("reply", "r", not_before=clock.now() + dt.timedelta(hours=8))
    queue("edit", "a2")
    assert run(engine, slack) == Delivery(sent=2, pending=1)
    assert server.messages[0]["text"] == "Text of a2."


def test_an_urgent_reply_takes_what_stands_before_it_out_of_quiet_hours(
    engine: sa.Engine, server: FakeSlack, slack: Slack, queue: Callable[..., Intent], clock: HandClock
) -> None:
    opens = clock.now() + dt.timedelta(hours=8)
    queue("post", "a", of="", not_before=opens)
    queue("reply", "r1", not_before=opens)
    queue("post", "other", of="", not_before=opens)
    queue("reply", "r2")
    queue("reply", "r3", not_before=opens)
    assert run(engine, slack) == Delivery(sent=3, pending=2)
    assert server.keys == ["a", "r1", "r2"]


def test_a_rest_that_slack_asks_for_does_not_end_quiet_hours(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("b")
    queue("post", "a", of="", not_before=clock.now() + dt.timedelta(hours=8))
    server.faults["chat.postMessage"].append("rate_limited")
    result = run(engine, slack, BRIEF)
    assert (server.keys, result.pending) == (["b"], 1)


def test_what_follows_a_held_post_is_held_with_its_reason_and_freed_with_it(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b")
    queue("edit", "a2")
    queue("reply", "r1")
    server.faults["chat.postMessage"].append("code:invalid_blocks")
    assert run(engine, slack).held == 3
    queue("reply", "r2")
    assert states(engine) == {"a": "held", "b": "sent", "a2": "held", "r1": "held", "r2": "held"}
    for entry in backlog.entries(engine, state="held"):
        assert "invalid_blocks" in (entry.last_error or "")
    assert not outbox.requeue(engine, "r1"), "it can't go out before its post"
    assert outbox.requeue(engine, "a")
    assert run(engine, slack).sent == 4
    assert server.keys == ["b", "a", "r1", "r2"]


def test_old_news_is_held_but_an_edit_keeps_a_sent_message_true_at_any_age(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("a")
    run(engine, slack)
    put("b")
    queue("edit", "a2")
    queue("reply", "r")
    queue("edit", "b2", of="b")
    queue("post", "quiet", of="", not_before=clock.now() + dt.timedelta(seconds=30))
    clock.forward(seconds=1)
    run(engine, slack, max_age=AT_ONCE)
    assert states(engine) == {
        "a": "sent", "b": "held", "a2": "sent", "r": "held", "b2": "held", "quiet": "sent",
    }  # fmt: skip
    assert server.messages[0]["text"] == "Text of a2."


def test_what_waits_can_be_written_anew_and_keeps_its_place(
    engine: sa.Engine, server: FakeSlack, slack: Slack, queue: Callable[..., Intent]
) -> None:
    queue("post", "a", of="")
    queue("reply", "r")
    queue("post", "b", of="")
    with engine.begin() as connection:
        assert outbox.rewrite(connection, "a", Content("Another text.", ()))
        assert not outbox.rewrite(connection, "unknown", Content("Another text.", ()))
    run(engine, slack)
    with engine.begin() as connection:
        assert not outbox.rewrite(connection, "b", Content("Another text.", ())), "Slack has it"
    assert [message["text"] for message in server.messages] == ["Another text.", "Text of r.", "Text of b."]


def test_what_is_not_true_any_more_can_be_dropped_while_it_waits(
    engine: sa.Engine, server: FakeSlack, slack: Slack, queue: Callable[..., Intent], clock: HandClock
) -> None:
    queue("post", "a", of="", not_before=clock.now() + dt.timedelta(hours=8))
    queue("reply", "r")
    queue("post", "b", of="")
    run(engine, slack)
    assert not outbox.supersede(engine, "b", "Retracted.")
    queue("post", "c", of="", not_before=clock.now() + dt.timedelta(hours=8))
    queue("reply", "c2", of="c")
    queue("edit", "c3", of="c2")
    queue("upload", "c4", of="c", file=b"picture", filename="c.png", alt="A picture.")
    assert outbox.supersede(engine, "c", "Retracted before it was told.")
    queue("upload", "c5", of="c", file=b"picture", filename="c.png", alt="A picture.")
    dropped = dict.fromkeys(("c", "c2", "c3", "c4", "c5"), "superseded")
    assert states(engine) == {"a": "sent", "r": "sent", "b": "sent"} | dropped
    assert {e.last_error for e in backlog.entries(engine, state="superseded")} == {"Retracted before it was told."}
    with engine.connect() as connection:
        kept = sa.select(outbox.OUTBOX.c.key).where(outbox.OUTBOX.c.file.is_not(None))
        assert connection.execute(kept).all() == [], "no bytes are kept of what never goes out"
    assert delivery_result(engine, "eu_dsa", connected=True).passed


def test_what_was_held_because_its_post_was_dropped_is_dropped_at_the_next_delivery(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b")
    queue("upload", "chart")
    queue("upload", "chart of b", of="b")
    assert outbox.supersede(engine, "a", "Retracted before it was told.")
    column = outbox.OUTBOX.c
    with engine.begin() as connection:  # as versions left them that held whatever could not follow any more
        rows = outbox.OUTBOX.update().where(column.kind == "upload")
        connection.execute(rows.values(state="held", last_error="Its post is held: Retracted.", file=b"picture"))
    assert not delivery_result(engine, "eu_dsa", connected=True).passed
    assert run(engine, slack, max_age=dt.timedelta(days=2)).sent == 1
    assert states(engine) == {"a": "superseded", "chart": "superseded", "b": "sent", "chart of b": "held"}
    (dropped,) = (e for e in backlog.entries(engine) if e.intent.key == "chart")
    assert dropped.last_error == "Retracted before it was told."
    with engine.connect() as connection:
        assert connection.execute(sa.select(column.file).where(column.key == "chart")).scalar() is None
    assert outbox.requeue(engine, "chart of b"), "what is held of a post that stands can still be freed"
    assert run(engine, slack).sent == 1
    assert delivery_result(engine, "eu_dsa", connected=True).passed


def test_an_intent_must_follow_a_post_of_the_outbox(engine: sa.Engine, put: Put, queue: Callable[..., Intent]) -> None:
    with pytest.raises(ValueError, match="not a post"):
        queue("reply", "r")
    put("a")
    queue("reply", "r")
    assert not outbox.enqueue(engine, intent("reply", "r"), ecosystem="eu_dsa")
    with pytest.raises(ValueError, match="not a post"):
        queue("reply", "s", of="r")


def test_a_reply_is_edited_after_it_has_arrived_and_its_thread_goes_on(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("reply", "r1")
    queue("edit", "r1e1", of="r1")
    queue("edit", "a2")
    queue("reply", "r2")
    queue("edit", "r1e2", of="r1")
    server.faults["chat.postMessage"].extend(["", "drop_after"])
    run(engine, slack)
    assert server.keys == ["a", "r1", "r2"]
    post, first, second = server.messages
    assert (post["text"], first["text"], second["text"]) == ("Text of a2.", "Text of r1e2.", "Text of r2.")
    assert states(engine)["r1e1"] == "superseded"
    where = {e.intent.key: e.ts for e in backlog.entries(engine)}
    assert where["r1e2"] == where["r1"] == first["ts"]
    queue("edit", "r2e1", of="r2")
    assert run(engine, slack).sent == 1
    assert second["text"] == "Text of r2e1."


def test_an_edit_of_a_reply_waits_with_it_for_the_end_of_quiet_hours(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("a")
    queue("reply", "r", not_before=clock.now() + dt.timedelta(hours=8))
    queue("edit", "re", of="r")
    queue("edit", "a2")
    assert run(engine, slack) == Delivery(sent=2, pending=2)
    queue("reply", "urgent")
    assert run(engine, slack).sent == 3
    assert [m["text"] for m in server.messages] == ["Text of a2.", "Text of re.", "Text of urgent."]


def test_a_chain_is_held_with_its_post_and_freed_with_it_in_order(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    for key in ("r1", "r2"):
        queue("reply", key)
        queue("edit", f"{key}e", of=key)
    server.faults["chat.postMessage"].append("code:invalid_blocks")
    assert run(engine, slack).held == 5
    queue("edit", "r1e2", of="r1")
    reasons = {e.last_error for e in backlog.entries(engine, state="held") if e.intent.kind != "post"}
    assert len(reasons) == 1, "the reason is the post's, said once"
    assert "invalid_blocks" in (reasons.pop() or "")
    for key in ("r1", "r1e2"):
        assert not outbox.requeue(engine, key), "it can't go out before what it follows"
    assert outbox.requeue(engine, "a")
    run(engine, slack)
    assert set(states(engine).values()) == {"sent"}
    assert [m["text"] for m in server.messages] == ["A sentence.", "Text of r1e2.", "Text of r2e."]


def test_a_reply_that_slack_refuses_holds_its_own_edits_alone(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("reply", "r1")
    queue("edit", "r1e", of="r1")
    queue("reply", "r2")
    queue("edit", "r2e", of="r2")
    server.faults["chat.postMessage"].extend(["", "code:invalid_blocks"])
    run(engine, slack)
    assert states(engine) == {"a": "sent", "r1": "held", "r1e": "held", "r2": "sent", "r2e": "sent"}
    assert outbox.requeue(engine, "r1")
    run(engine, slack)
    assert set(states(engine).values()) == {"sent"}


def test_replies_too_old_to_be_news_take_their_edits_with_them(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("a")
    run(engine, slack)
    queue("reply", "r")
    queue("edit", "re", of="r")
    clock.forward(seconds=1)
    assert outbox.hold_older(engine, clock.now()) == 2
    assert states(engine) == {"a": "sent", "r": "held", "re": "held"}
    assert outbox.supersede(engine, "re", "?") is False


@pytest.mark.parametrize("kind", ["reply", "upload"])
def test_a_thread_has_one_level(engine: sa.Engine, put: Put, queue: Callable[..., Intent], kind: Kind) -> None:
    put("a")
    queue("reply", "r")
    with pytest.raises(ValueError, match="not a post in"):
        queue(kind, "deep", of="r")
    queue("edit", "re", of="r")
    with pytest.raises(ValueError, match="not a post or reply"):
        queue("edit", "ree", of="re")


def test_a_follower_goes_where_its_post_went_whatever_the_settings_say_now(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("reply", "r", channel="#ecosystem-health-pipeline")
    run(engine, slack)
    assert {m["channel"] for m in server.messages} == {server.channels["ecosystem-health"]}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("code:edit_window_closed", "workspace setting"),
        ("code:msg_too_long", "msg_too_long"),
        ("code:cant_update_message", "another app's token"),
    ],
)
def test_an_edit_that_slack_will_never_take_is_held_and_stops_nothing(
    engine: sa.Engine,
    server: FakeSlack,
    slack: Slack,
    put: Put,
    queue: Callable[..., Intent],
    fault: str,
    words: str,
) -> None:
    put("a")
    queue("edit", "a2")
    queue("reply", "r")
    server.faults["chat.update"].append(fault)
    result = run(engine, slack)
    assert (result.sent, result.held) == (2, 1)
    assert words in result.problems[0]


def test_a_message_that_somebody_deleted_is_not_posted_again(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b")
    run(engine, slack)
    server.delete(server.messages[0]["ts"])
    queue("edit", "a2")
    queue("reply", "r")
    result = run(engine, slack)
    assert (result.held, server.keys) == (2, ["b"])
    assert "deleted" in result.problems[0]


def test_edits_and_replies_that_break_slacks_limits_never_leave(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a")
    queue("edit", "a2", text="x" * 4_001)
    queue(
        "reply", "r", blocks=tuple({"type": "section", "text": {"type": "plain_text", "text": "x"}} for _ in range(51))
    )
    queue("reply", "bare", blocks=())
    result = run(engine, slack)
    assert (result.sent, result.held) == (2, 2)
    assert server.requests == ["chat.postMessage"] * 2
    assert server.messages[1]["text"] == "Text of bare."


def test_edits_count_to_the_pace_of_a_channel_and_keep_their_own_over_all_channels(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent]
) -> None:
    put("a", "b")
    put("c", "d", channel="#ecosystem-health-pipeline")
    run(engine, slack)
    before = len(server.messages)
    for of in "abcd":
        queue("edit", f"{of}2", of=of)
    queue("reply", "r")
    run(engine, slack, interval=dt.timedelta(seconds=1))
    edits = sorted(e["at"] for e in server.edits)
    assert len(edits) == 4
    assert all(b - a > 1.199 for a, b in itertools.pairwise(edits))
    first = server.channels["ecosystem-health"]
    at = sorted(m["at"] for m in [*server.edits, *server.messages[before:]] if m["channel"] == first)
    assert len(at) == 3
    assert all(b - a > 0.999 for a, b in itertools.pairwise(at))


def test_each_channel_says_how_it_stands(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, queue: Callable[..., Intent], clock: HandClock
) -> None:
    put("a")
    run(engine, slack)
    clock.forward(seconds=1)
    queue("reply", "r")
    put("x", channel="#nowhere")
    put("y", channel="#ecosystem-health-pipeline", text="x" * 3_001)
    server.faults["chat.postMessage"].append("rate_limited:60")
    run(engine, slack, BRIEF)
    here, pipeline, nowhere = backlog.channels(engine)
    assert (here.channel, here.pending, here.doubtful, here.held) == (CHANNEL, 1, 0, 0)
    assert here.last_error == "Slack asks to wait."
    assert here.resting_until == clock.now() + dt.timedelta(minutes=1)
    assert here.last_sent is not None and here.oldest_pending is not None and here.last_sent < here.oldest_pending
    assert (pipeline.pending, pipeline.held, pipeline.last_sent, pipeline.resting_until) == (0, 1, None, None)
    assert "3001" in (pipeline.last_error or "")
    assert (nowhere.channel, nowhere.pending, nowhere.resting_until) == ("#nowhere", 1, None)
    assert "/invite" in (nowhere.last_error or "")
    assert backlog.channels(engine, ecosystem="marketplace") == []


def test_the_rows_can_be_asked_for_by_kind(engine: sa.Engine, put: Put, queue: Callable[..., Intent]) -> None:
    put("a")
    queue("reply", "r")
    assert [e.intent.key for e in backlog.entries(engine, kind="reply")] == ["r"]
    assert [e.intent.of for e in backlog.entries(engine)] == ["a", ""]


def test_a_persons_message_is_never_edited(server: FakeSlack, slack: Slack) -> None:
    from health_pipeline.alerts.delivery.slack import MessageRefusedError, Thread

    said = server.say("ecosystem-health", "Mine", ANA)
    with pytest.raises(MessageRefusedError, match="not this bot's own"):
        slack.update(Thread(said["channel"], said["ts"]), intent("edit", "e"))
    assert said["text"] == "Mine"
