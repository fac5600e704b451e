"""Every message reaches Slack once: through limits, lost answers, restarts and wrong settings."""

from __future__ import annotations

import datetime as dt
import itertools
import socket
from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, outbox
from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.delivery.deliver import Delivery, deliver
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.delivery.slack import OutcomeUnknownError, Slack, TokenError, UnreachableError
from health_pipeline.storage.state import open_state, opened_state
from health_pipeline_tests.alerts.conftest import BRIEF, LONG, TIMEOUT
from health_pipeline_tests.fake_slack import TOKEN, FakeSlack
from health_pipeline_tests.hand_clock import HandClock

Put = Callable[..., None]
TakeOver = Callable[[str], list[outbox.Claim | None]]
AT_ONCE = dt.timedelta(0)


def run(engine: sa.Engine, slack: Slack | None, seconds: float = LONG) -> Delivery:
    return deliver(engine, slack, budget=dt.timedelta(seconds=seconds), interval=AT_ONCE)


def test_a_message_arrives_as_it_was_made_with_its_key(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put("a", text="Fewer &amp; fewer")
    assert run(engine, slack) == Delivery(sent=1)
    (arrived,) = server.messages
    assert arrived["text"] == "Fewer &amp; fewer"
    assert arrived["blocks"][0]["text"]["text"] == "Fewer &amp; fewer"
    assert arrived["metadata"]["event_payload"] == {"key": "a"}
    (entry,) = backlog.entries(engine)
    assert (entry.state, entry.ts, entry.attempts) == ("sent", arrived["ts"], 1)
    assert entry.channel_id == server.channels["ecosystem-health"]


def test_a_key_is_taken_once_also_after_it_was_sent(engine: sa.Engine, slack: Slack, put: Put) -> None:
    put("a")
    message = Message("a", "#ecosystem-health", "Said otherwise", ())
    assert not outbox.enqueue(engine, message, ecosystem="eu_dsa")
    run(engine, slack)
    assert not outbox.enqueue(engine, message, ecosystem="eu_dsa")


def test_a_restart_neither_repeats_nor_forgets(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, state_url: str
) -> None:
    put("a", "b")
    run(engine, slack)
    put("c")
    engine.dispose()
    again = open_state(state_url)
    assert run(again, Slack(TOKEN, base_url=server.url, timeout=TIMEOUT)).sent == 1
    assert run(again, slack) == Delivery()
    assert server.keys == ["a", "b", "c"]


def test_without_a_token_all_stays_pending_and_goes_out_when_there_is_one(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put("a", "b")
    result = run(engine, None)
    assert (result.sent, result.pending) == (0, 2)
    assert "SLACK_BOT_TOKEN" in result.problems[0]
    assert run(engine, slack).sent == 2
    assert server.keys == ["a", "b"]


def test_old_news_is_held_and_can_be_sent_after_all(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("old")
    clock.forward(seconds=1)
    result = deliver(engine, slack, max_age=AT_ONCE)
    assert (result.sent, result.held, server.messages) == (0, 1, [])
    assert outbox.requeue(engine, "old")
    assert not outbox.requeue(engine, "old")
    assert run(engine, slack).sent == 1


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "slow_after"])
def test_a_lost_answer_is_looked_for_and_not_posted_again(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, spoil: Callable[[str], None], fault: str
) -> None:
    put("a", "b")
    spoil(fault)
    result = run(engine, slack, BRIEF)
    assert (result.sent, result.doubtful, server.keys) == (1, 1, ["a", "b"])
    result = run(engine, slack)
    assert (result.sent, result.found, result.doubtful) == (1, 1, 0)
    assert server.keys == ["a", "b"]


@pytest.mark.parametrize("fault", ["drop_before", "error_before"])
def test_what_was_never_accepted_is_posted_after_the_search(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, fault: str
) -> None:
    put("a")
    server.faults["chat.postMessage"].append(fault)
    result = run(engine, slack)
    assert (result.sent, result.found, result.failed) == (1, 0, 1)
    assert server.keys == ["a"]
    assert server.requests.count("chat.postMessage") == 2


def test_the_search_turns_every_page_of_the_history(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    server.page = 2
    server.faults["chat.postMessage"].append("drop_after")
    put(*"abcdefg")
    result = run(engine, slack)
    assert (result.sent, result.found) == (7, 1)
    assert Counter(server.keys) == Counter("abcdefg")
    assert server.requests.count("conversations.history") == 4


def test_doubt_outlives_a_crash_in_the_middle_of_the_search(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a")
    server.faults["chat.postMessage"].append("drop_after")
    run(engine, slack, BRIEF)
    since = backlog.entries(engine)[0].sending_since
    clock.forward(slack.patience)
    claimed = outbox.claim(engine, patience=slack.patience, interval=AT_ONCE)  # and then the process dies
    assert claimed is not None
    assert claimed.doubtful
    assert claimed.since == since
    assert run(engine, slack).found == 1
    assert server.keys == ["a"]


def test_a_history_that_may_not_be_read_leaves_the_message_doubtful_and_says_why(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put("a")
    server.faults["chat.postMessage"].append("drop_after")
    server.scopes = {"chat:write"}
    result = run(engine, slack)
    assert (result.sent, result.doubtful) == (0, 1)
    assert "channels:read" in result.problems[-1]
    assert "channel's ID" in result.problems[-1]
    server.scopes = {"chat:write", "channels:read", "channels:history"}
    assert run(engine, slack).found == 1
    assert server.keys == ["a"]


def test_a_message_that_cant_be_looked_for_keeps_its_thread_waiting_and_no_other(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("told")
    run(engine, slack)
    put("a")
    server.faults["chat.postMessage"].append("drop_after")
    server.scopes.discard("channels:history")
    run(engine, slack, BRIEF)
    for of in ("told", "a"):
        assert outbox.enqueue(engine, Intent(f"{of}:reply", "", "reply", of, "Worse."), ecosystem="eu_dsa")
    put("b", "c")
    clock.forward(slack.patience)
    result = run(engine, slack)
    assert (result.sent, result.doubtful, result.pending) == (3, 1, 1)
    assert server.keys == ["told", "a", "told:reply", "b", "c"]
    assert server.requests.count("conversations.history") == 1, "once a pass"
    assert "channels:history" in str(result)
    clock.forward(slack.patience)
    run(engine, slack)
    assert server.requests.count("conversations.history") == 2, "and again in the next"
    server.scopes.add("channels:history")
    assert run(engine, slack).found == 1
    assert server.keys == ["told", "a", "told:reply", "b", "c", "a:reply"]


def test_a_message_in_doubt_that_its_channel_then_refuses_closes_the_channel(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a")
    server.faults["chat.postMessage"].append("drop_before")
    run(engine, slack, BRIEF)
    put("b")
    clock.forward(slack.patience)
    server.faults["chat.postMessage"].append("code:not_in_channel")
    result = run(engine, slack)
    assert (result.sent, result.pending, result.failed, server.keys) == (0, 2, 1, [])
    assert run(engine, slack).sent == 2


def test_what_is_only_looked_for_takes_nothing_of_its_channels_pace(
    engine: sa.Engine, put: Put, clock: HandClock
) -> None:
    put("a", "b")
    sent = outbox.claim(engine, patience=AT_ONCE, interval=AT_ONCE)
    assert sent is not None
    outbox.begin(engine, sent)
    outbox.leave_doubtful(engine, sent, "Slack's answer was lost.")
    pause = dt.timedelta(seconds=30)
    for _ in range(3):
        doubtful = outbox.claim(engine, patience=AT_ONCE, interval=pause)
        assert doubtful is not None and doubtful.doubtful
        outbox.leave_doubtful(engine, doubtful, "Looking for it failed.")
    new = outbox.claim(engine, patience=AT_ONCE, interval=pause, skip_rows=[sent.id])
    assert new is not None and new.intent.key == "b"
    assert new.post_at == clock.now() + pause, "one interval after the latest request, not four"


def test_a_rate_limit_is_waited_for_by_the_whole_channel(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a", "b")
    server.faults["chat.postMessage"].append("rate_limited")
    began = clock.now()
    result = run(engine, slack)
    assert (result.sent, result.failed) == (2, 1)
    assert server.requests.count("chat.postMessage") == 3
    assert server.messages[0]["at"] - began.timestamp() == pytest.approx(1)


def test_a_long_rate_limit_is_left_to_a_later_pass(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a")
    server.retry_after = 3600
    server.faults["chat.postMessage"].append("rate_limited")
    began = clock.now()
    assert run(engine, slack, BRIEF).pending == 1
    assert clock.now() == began, "it is known at once that the rest ends after the pass"
    (channel,) = backlog.channels(engine)
    assert channel.resting_until == began + dt.timedelta(hours=1)
    put("b")
    assert run(engine, slack, BRIEF).pending == 2, "what is queued meanwhile rests too"


def test_a_channel_gets_no_more_than_one_message_a_second(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a", "b", "c")
    put("d", channel="#ecosystem-health-pipeline")
    clock.at_once(lambda: deliver(engine, slack), times=2)
    at = [m["at"] for m in server.messages if m["channel"] == server.channels["ecosystem-health"]]
    assert [b - a for a, b in itertools.pairwise(at)] == pytest.approx([1, 1])
    assert sorted(server.keys) == list("abcd")


@pytest.mark.parametrize(
    ("channel", "fault", "words"),
    [
        ("#nowhere", "", "/invite"),
        ("#ecosystem-health", "code:not_in_channel", "/invite"),
        ("#ecosystem-health", "code:is_archived", "Write another one"),
    ],
)
def test_a_channel_problem_says_what_to_do_and_stops_no_other_channel(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, channel: str, fault: str, words: str
) -> None:
    server.faults["chat.postMessage"].append(fault)
    put("a", "b", channel=channel)
    put("c", channel="#ecosystem-health-pipeline")
    result = run(engine, slack)
    assert (result.sent, result.pending, result.failed) == (1, 2, 1)
    assert channel in result.problems[0]
    assert words in result.problems[0]
    server.channels["nowhere"] = "C9"
    assert run(engine, slack).sent == 2


def test_a_wrong_token_stops_the_pass_and_loses_nothing(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put("a", "b", "c")
    result = run(engine, Slack("xoxb-wrong", base_url=server.url, timeout=TIMEOUT))
    assert (result.sent, result.pending, result.failed) == (0, 3, 1)
    assert "invalid_auth" in result.problems[0]
    assert server.requests == ["chat.postMessage"]
    assert run(engine, slack).sent == 3


def test_a_message_that_slack_refuses_is_held_with_its_reason(
    engine: sa.Engine, slack: Slack, server: FakeSlack, put: Put
) -> None:
    put("refused")
    put("good")
    server.faults["chat.postMessage"].append("code:invalid_blocks")
    result = run(engine, slack)
    assert (result.sent, result.held, result.failed) == (1, 1, 1)
    (held,) = backlog.entries(engine, state="held")
    assert "invalid_blocks" in (held.last_error or "")
    assert run(engine, slack) == Delivery(held=1)


def test_a_message_that_breaks_slacks_limits_never_leaves(
    engine: sa.Engine, slack: Slack, server: FakeSlack, put: Put
) -> None:
    put("too long", text="x" * 3_001)
    put("good")
    assert run(engine, slack).sent == 1
    (held,) = backlog.entries(engine, state="held")
    assert "3001, must be 1 to 3000" in (held.last_error or "")
    assert server.requests == ["chat.postMessage"]
    assert server.keys == ["good"]


def test_an_unreachable_slack_raises_nothing_and_leaves_all_pending(engine: sa.Engine, put: Put) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api/"
        put("a", "b")
        result = run(engine, Slack(TOKEN, base_url=url, timeout=TIMEOUT))
    assert (result.sent, result.pending, result.doubtful) == (0, 2, 0)
    assert "can't be reached" in str(result)


def test_a_slack_that_keeps_failing_is_left_alone_after_three_times(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put(*"abcde")
    server.faults["chat.postMessage"].extend(["error_before"] * 5)
    result = run(engine, slack)
    assert (result.failed, result.doubtful, result.pending) == (3, 3, 2)
    assert server.requests.count("chat.postMessage") == 3


def test_a_slack_that_fails_now_and_then_is_not_left_alone(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put(*"abcdef")
    server.faults["chat.postMessage"].extend(["error_before", "error_before", ""] * 2)
    result = run(engine, slack)
    assert (result.sent, result.failed) == (6, 4), "three failures count only in a row"


def test_a_pass_ends_with_its_budget_and_leaves_the_rest_to_the_next(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put(*"abcdef")
    result = deliver(engine, slack, budget=dt.timedelta(seconds=2.5))
    assert (result.sent, result.pending) == (4, 2), "the last one was begun within it"
    assert deliver(engine, slack).sent == 2
    assert server.keys == [*"abcdef"]


def test_two_deliverers_at_once_post_each_message_once(
    server: FakeSlack,
    engine: sa.Engine,
    slack: Slack,
    put: Put,
    spoil: Callable[[str], None],
    state_url: str,
    clock: HandClock,
) -> None:
    keys = [f"m{i:02d}" for i in range(16)]
    put(keys[0])
    spoil("slow_after")
    assert run(engine, slack, BRIEF).doubtful == 1
    put(*keys[1:])
    server.latency = 0.01
    server.faults["chat.postMessage"].extend(["drop_after", "", "drop_before", "", "slow_after:0.1"])

    def one() -> Delivery:
        with opened_state(state_url) as own:
            return run(own, Slack(TOKEN, base_url=server.url, timeout=TIMEOUT))

    results = clock.at_once(one, times=4)
    assert Counter(server.keys) == Counter(keys)
    assert sum(r.sent for r in results) == len(keys)
    assert sum(r.found for r in results) == 2


def test_a_claim_that_passed_to_another_is_worth_nothing(engine: sa.Engine, put: Put) -> None:
    put("a")
    first = outbox.claim(engine, patience=AT_ONCE, interval=AT_ONCE)
    second = outbox.claim(engine, patience=AT_ONCE, interval=AT_ONCE)
    assert first is not None
    assert second is not None
    assert not outbox.begin(engine, first)
    outbox.release(engine, first, "too late")
    assert outbox.begin(engine, second)
    assert backlog.entries(engine)[0].state == "sending"
    outbox.mark_sent(engine, first, ts="1.0", channel_id="C1")
    outbox.hold(engine, second, "too late")
    assert backlog.entries(engine)[0].state == "sent"


def test_what_another_took_over_while_it_was_looked_for_is_not_posted(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock, take_over: TakeOver
) -> None:
    put("a")
    server.faults["chat.postMessage"].append("drop_before")
    run(engine, slack, BRIEF)
    clock.forward(slack.patience)
    taken_over = take_over("conversations.history")
    assert run(engine, slack, BRIEF) == Delivery(doubtful=1)
    assert taken_over[0] is not None and server.messages == []
    assert run(engine, slack).sent == 1
    assert server.keys == ["a"]


def test_a_clock_that_was_once_wrong_does_not_silence_a_channel(engine: sa.Engine, put: Put, clock: HandClock) -> None:
    put("a", "b")
    claimed = outbox.claim(engine, patience=AT_ONCE, interval=AT_ONCE)
    assert claimed is not None
    outbox.mark_sent(engine, claimed, ts="1.0", channel_id="C1")
    with engine.begin() as connection:
        later = clock.now() + dt.timedelta(days=400)
        connection.execute(outbox.OUTBOX.update().where(outbox.OUTBOX.c.key == "a").values(attempted_at=later))
    claimed = outbox.claim(engine, patience=AT_ONCE, interval=AT_ONCE)
    assert claimed is not None
    assert claimed.post_at == clock.now() + dt.timedelta(minutes=1)


def test_a_clock_that_is_set_back_in_the_middle_of_a_pass_does_not_lengthen_it(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a")
    server.faults["chat.postMessage"].append("drop_before")
    run(engine, slack, BRIEF)
    clock.forward(slack.patience)
    server.on_request = lambda method: clock.set_wrong(-dt.timedelta(hours=1))  # while it looks for what is in doubt
    began = clock.elapsed()
    assert run(engine, slack, BRIEF).sent == 1
    assert clock.elapsed() - began <= 60


def test_a_channel_does_not_rest_until_a_time_of_a_clock_that_was_wrong(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put, clock: HandClock
) -> None:
    put("a")
    clock.set_wrong(dt.timedelta(days=400))
    server.faults["chat.postMessage"].extend(["rate_limited:60"] * 2)
    assert run(engine, slack, BRIEF).pending == 1
    clock.set_wrong(dt.timedelta())
    assert run(engine, slack, BRIEF).failed == 1, "it is tried"
    began = clock.elapsed()
    assert run(engine, slack).sent == 1
    assert clock.elapsed() - began == pytest.approx(60), "and rests as Slack asks, by the clock that is right"


def test_each_ecosystem_can_be_sent_and_counted_alone(
    engine: sa.Engine, server: FakeSlack, slack: Slack, put: Put
) -> None:
    put("a")
    other = Message("b", "#ecosystem-health", "Other", ())
    assert outbox.enqueue(engine, other, ecosystem="marketplace")
    assert deliver(engine, slack, ecosystem="marketplace") == Delivery(sent=1)
    assert server.keys == ["b"]
    assert backlog.counts(engine) == {"pending": 1, "sending": 0, "sent": 1, "held": 0, "superseded": 0}


def test_the_token_can_be_checked_without_posting(server: FakeSlack, slack: Slack) -> None:
    server.scopes = {"chat:write"}
    identity = slack.identify()
    assert (identity.team, identity.missing_scopes) == ("Fake", ("channels:history", "files:write"))
    with pytest.raises(TokenError):
        Slack("xoxb-wrong", base_url=server.url, timeout=TIMEOUT).identify()
    with pytest.raises(UnreachableError):
        Slack(TOKEN, base_url="ftp://slack.example/").identify()
    assert server.messages == []


def test_the_environment_decides_token_and_address(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    assert Slack.from_environment() is None
    monkeypatch.setenv("SLACK_BOT_TOKEN", f" {TOKEN}\n")
    monkeypatch.setenv("SLACK_API_URL", server.url)
    slack = Slack.from_environment()
    assert slack is not None
    assert slack.identify().bot == "health-pipeline"


def test_an_answer_that_is_not_slacks_leaves_doubt(server: FakeSlack) -> None:
    slack = Slack(TOKEN, base_url=server.url.replace("/api/", "/elsewhere/"), timeout=TIMEOUT)
    with pytest.raises(OutcomeUnknownError):
        slack.identify()
