"""Carry the outbox to Slack: every message, edit, reply and file once, whatever breaks on the way."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import sqlalchemy as sa

from health_pipeline.alerts.delivery import backlog, clock, outbox
from health_pipeline.alerts.delivery.intent import problems
from health_pipeline.alerts.delivery.slack import (
    ChannelError,
    MessageRefusedError,
    NotPostedError,
    OutcomeUnknownError,
    Posted,
    Slack,
    Thread,
    TokenError,
    UnreachableError,
)

INTERVAL = dt.timedelta(seconds=1)
"""Slack takes about one message a second in a channel; edits are counted too."""

GIVE_UP_AFTER = 3
"""Failures in a row after which Slack is left alone until the next pass."""

_LONGEST_REST = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Delivery:
    """What one pass did, and what it left in the outbox.

    Attributes:
        sent: rows that Slack confirmed in this pass, ``found`` included.
        found: of these, the ones whose earlier answer was lost and that were found in the channel or thread.
        failed: attempts of this pass that Slack refused or that did not come about.
        pending: left waiting.
        doubtful: left being sent: by another process right now, or with their answer lost; the latter are
            looked for in Slack before they are sent again.
        held: kept aside, now or earlier: Slack refuses them as they are, they were too old, or what they follow
            is held.
        problems: what somebody should know or mend, in words, each once.
    """

    sent: int = 0
    found: int = 0
    failed: int = 0
    pending: int = 0
    doubtful: int = 0
    held: int = 0
    problems: tuple[str, ...] = ()

    def then(self, later: Delivery) -> Delivery:
        """Both passes, with what the later one left."""
        return replace(
            later,
            sent=self.sent + later.sent,
            found=self.found + later.found,
            failed=self.failed + later.failed,
            problems=tuple(dict.fromkeys((*self.problems, *later.problems))),
        )

    def __str__(self) -> str:
        parts = [f"{self.sent} sent", f"{self.pending} pending"]
        parts += [f"{n} {name}" for name, n in (("doubtful", self.doubtful), ("held", self.held)) if n]
        return ", ".join(parts) + "".join(f"\n{problem}" for problem in self.problems)


def deliver(
    engine: sa.Engine,
    slack: Slack | None,
    *,
    ecosystem: str | None = None,
    budget: dt.timedelta = dt.timedelta(seconds=45),
    interval: dt.timedelta = INTERVAL,
    max_age: dt.timedelta | None = None,
) -> Delivery:
    """Send what is due, oldest first. Any number of processes may do so at the same time.

    Never raises because of Slack: what went wrong is in the result and beside each message in the outbox,
    and the next pass goes on from there.

    Args:
        slack: ``None`` when no token is set: nothing is sent, and all stays pending.
        ecosystem: only its messages.
        budget: how long it may go on, with all waiting for Slack; one request may run over it.
        interval: the least time between two messages to one channel.
        max_age: what has been pending for longer, quiet hours not counted, is held instead of sent, so that a
            token set after months does not post months of old news. Edits of what was sent go out at any age.
    """
    if slack is None:
        return _result(engine, ecosystem, Delivery(problems=("SLACK_BOT_TOKEN is not set: nothing is posted.",)))
    if max_age is not None:
        outbox.hold_older(engine, clock.now() - max_age, ecosystem=ecosystem)
    done, failures_in_a_row = Delivery(), 0
    closed, unsearchable = set[str](), set[int]()  # channels and rows that this pass leaves alone from here on
    stop_at = clock.elapsed() + budget.total_seconds()
    while clock.elapsed() < stop_at:
        claimed = outbox.claim(
            engine, patience=slack.patience, interval=interval, ecosystem=ecosystem, skip=closed, skip_rows=unsearchable
        )
        if claimed is None:
            due = outbox.next_due(
                engine, patience=slack.patience, ecosystem=ecosystem, skip=closed, skip_rows=unsearchable
            )
            if due is None or not _wait(due, stop_at):
                break
            continue
        try:
            found = _send(engine, slack, claimed)
        except (NotPostedError, OutcomeUnknownError) as error:
            failures_in_a_row += isinstance(error, (OutcomeUnknownError, UnreachableError))
            done = replace(done, failed=done.failed + 1, problems=_once(done.problems, str(error)))
            if isinstance(error, _UnsearchableError):
                unsearchable.add(claimed.id)
            elif isinstance(error, ChannelError):
                closed.add(claimed.intent.channel)
            if isinstance(error, TokenError) or failures_in_a_row >= GIVE_UP_AFTER:
                break
        else:
            if found is not None:
                failures_in_a_row = 0
                done = replace(done, sent=done.sent + 1, found=done.found + found)
    return _result(engine, ecosystem, done)


def left(engine: sa.Engine, *, ecosystem: str | None = None) -> Delivery:
    """What is in the outbox, with nothing done."""
    return _result(engine, ecosystem, Delivery())


class _UnsearchableError(NotPostedError):
    """A message in doubt can't be looked for before somebody mends the app's scopes or the channel.

    This says nothing of the channel's other messages: to post takes other scopes than to read.
    """


def _send(engine: sa.Engine, slack: Slack, claimed: outbox.Claim) -> bool | None:
    """Bring one claimed row to an end.

    Returns:
        whether it was found in Slack rather than sent; ``None`` when the claim has passed to another process.

    Raises:
        NotPostedError, OutcomeUnknownError: after the row has been put into the state that this means.
    """
    if claimed.doubtful:
        try:
            there = _find(engine, slack, claimed)
        except (NotPostedError, OutcomeUnknownError) as error:
            # Whatever kept us from looking, the message may still be there: it must not become pending.
            outbox.leave_doubtful(engine, claimed, f"It may have been posted; looking for it failed: {error}")
            if isinstance(error, ChannelError):
                raise _UnsearchableError(str(error)) from None
            raise
        if there:
            outbox.mark_sent(engine, claimed, ts=there.ts, channel_id=there.channel_id, file_id=there.file_id)
            return True
    # It was set back meanwhile when it says that this is farther ahead.
    clock.pause(min(claimed.post_at - clock.now(), outbox.FARTHEST).total_seconds())
    if not outbox.begin(engine, claimed):
        return None
    try:
        posted = _request(engine, slack, claimed)
    except MessageRefusedError as error:
        outbox.hold(engine, claimed, str(error))
        raise
    except UnreachableError as error:
        outbox.release(engine, claimed, str(error), wait=_rest(claimed))
        raise
    except NotPostedError as error:
        outbox.release(engine, claimed, str(error), wait=error.wait)
        raise
    except OutcomeUnknownError as error:
        outbox.leave_doubtful(engine, claimed, str(error))
        raise
    if posted is None:
        return None
    outbox.mark_sent(engine, claimed, ts=posted.ts, channel_id=posted.channel_id, file_id=posted.file_id)
    return False


def _find(engine: sa.Engine, slack: Slack, claimed: outbox.Claim) -> Posted | None:
    intent = claimed.intent
    match intent.kind:
        case "post":
            channel_id = outbox.known_channel_id(engine, intent.channel)
            return slack.find(intent, claimed.since, channel_id=channel_id)
        case "edit":  # twice the same edit is one
            return None
        case "reply" | "upload":
            return slack.find_in_thread(Thread(claimed.channel_id, claimed.ts), intent, claimed.since)


def _request(engine: sa.Engine, slack: Slack, claimed: outbox.Claim) -> Posted | None:
    """Send it; ``None`` when the claim has passed to another process before anything showed in Slack."""
    intent, thread = claimed.intent, Thread(claimed.channel_id, claimed.ts)
    broken = problems(intent)
    if broken:
        raise MessageRefusedError(f"{intent.channel}: It breaks Slack's limits: {'; '.join(broken)}.")
    match intent.kind:
        case "post":
            return slack.post(intent)
        case "edit":
            return slack.update(thread, intent)
        case "reply":
            return slack.reply(thread, intent)
        case "upload":
            file_id = slack.upload(intent)
            # Only what follows shows in Slack. Three requests may take longer than others are patient.
            return slack.share(thread, intent, file_id) if outbox.renew(engine, claimed) else None


def _rest(claimed: outbox.Claim) -> dt.timedelta:
    return min(_LONGEST_REST, dt.timedelta(seconds=2 << min(claimed.attempts, 10)))


def _wait(until: dt.datetime, stop_at: float) -> bool:
    """Sleep until an instant; ``False``, at once, when that is past the end."""
    seconds = max(0.01, (until - clock.now()).total_seconds())
    if clock.elapsed() + seconds > stop_at:
        return False
    clock.pause(seconds)
    return True


def _once(problems: tuple[str, ...], problem: str) -> tuple[str, ...]:
    return problems if problem in problems else (*problems, problem)


def _result(engine: sa.Engine, ecosystem: str | None, done: Delivery) -> Delivery:
    left = backlog.counts(engine, ecosystem=ecosystem)
    return replace(done, pending=left["pending"], doubtful=left["sending"], held=left["held"])
