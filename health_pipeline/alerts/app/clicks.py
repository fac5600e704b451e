"""Clicks on an incident's message: from what Slack sends to what somebody decided, and the answer in words.

Pure: no Slack library, no database. :func:`parse` takes whatever comes and never raises; what is no click on one of our
elements is a :class:`NoClick`. :func:`decide` makes a decision of a click, or says why not.
"""

from __future__ import annotations

import datetime as dt
import html
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from health_pipeline.alerts.delivery.blocks import clean, escape, inline, mention
from health_pipeline.alerts.messages.incident import ACKNOWLEDGE, ASSIGN, LINK, SNOOZE, VERDICT
from health_pipeline.alerts.messages.incident import VERDICTS as VERDICT_TITLES
from health_pipeline.alerts.people.decisions import SCOPES, VERDICTS, Decision, Kind, least_role, may, who_may
from health_pipeline.alerts.people.standing import By, Standing, what_is_snoozed
from health_pipeline.catalog.alerts import EVERYBODY, Alerts
from health_pipeline.catalog.model import Catalog
from health_pipeline.incidents import wording

Reason = Literal["link", "no click", "foreign", "unknown action", "malformed"]

LONGEST_SNOOZE = 366
MAX_URL = 2_000
MAX_CHOICE = 150
MAX_NAME = 200
NAMED = 10
"""So many of those who may are named in a refusal."""

_ACTIONS: dict[str, tuple[str, Kind]] = {
    ACKNOWLEDGE: ("button", "acknowledge"),
    ASSIGN: ("users_select", "assign"),
    VERDICT: ("static_select", "verdict"),
    SNOOZE: ("static_select", "snooze"),
}
"""action_id -> the type of its element, and what a click on it decides."""
_REFERENCE = re.compile(r"(([a-z][a-z0-9_]{0,99}):incident:[\x21-\x7e ]+?)(?:#[0-9a-f]{8})?")
"""Slack wants another block_id in each edition of a message, lest its menus go on to show what was chosen in an earlier
one: so eight digits may follow a reference."""
_USER = re.compile(r"[UW][A-Z0-9]{2,40}")
_CHANNEL = re.compile(r"[CDG][A-Z0-9]{2,40}")
_TS = re.compile(r"\d{1,12}\.\d{1,9}")


@dataclass(frozen=True)
class Click:
    """Somebody's click on an incident's message.

    Attributes:
        ecosystem, reference: whose incident it is, and its :func:`.blocks.reference`.
        user, user_name: who clicked: Slack's ID, and the name shown there, which is only for people to read.
        kind: what it decides.
        value: of the chosen option, or the chosen person's ID; empty for a button.
        shown: the text of the chosen option, as it stood there.
        dedupe: names this click: however often Slack tells of it, it is one.
        at: when it was clicked, by Slack's clock, UTC.
        channel, message_ts, thread_ts: the message; ``thread_ts`` is empty outside a thread.
        response_url: where to answer; empty when Slack gave none.
    """

    ecosystem: str
    reference: str
    user: str
    user_name: str
    kind: Kind
    value: str
    shown: str
    dedupe: str
    at: dt.datetime
    channel: str
    message_ts: str
    thread_ts: str
    response_url: str


@dataclass(frozen=True)
class NoClick:
    """What is no click to answer.

    Attributes:
        reason: ``link`` opens a page and needs no answer; ``no click`` is something else that Slack sends;
            ``foreign`` is on a message that is not about an incident; ``unknown action`` is on an element we do not
            have; ``malformed`` lacks what a click has.
        detail: for a log: never what people wrote.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Subject:
    """The incident that was clicked on.

    Attributes:
        incident: its ID.
        metric, segment: by which it is silenced and judged: see :func:`.standing.silenced_as`.
    """

    ecosystem: str
    incident: str
    metric: str
    segment: str


@dataclass(frozen=True)
class Refusal:
    """Nothing is decided. ``words`` are mrkdwn, for whoever clicked."""

    words: str


# ── From a payload to a click ────────────────────────────────────────────────────────────────────────────────────────


def parse(payload: object, now: dt.datetime) -> Click | NoClick:
    """What Slack says of an interaction (https://docs.slack.dev/reference/interaction-payloads/block_actions-payload).

    Args:
        payload: any JSON value.
        now: a click is not later, whatever the clocks say.
    """
    if _at(payload, "type") != "block_actions":
        return NoClick("no click", f"type {_word(_at(payload, 'type'))}")
    actions = _at(payload, "actions")
    if not isinstance(actions, list) or len(actions) != 1:
        return NoClick("malformed", "not one action")
    (action,) = actions
    name = _text(action, "action_id")
    if name == LINK:
        return NoClick("link", LINK)
    if name not in _ACTIONS:
        return NoClick("unknown action", _word(name))
    block = _REFERENCE.fullmatch(_text(action, "block_id"))
    if block is None or len(block[0]) > 255:
        return NoClick("foreign", f"{name} on a block of another kind")
    element, kind = _ACTIONS[name]
    value, shown = _choice(action, element)
    found = {
        "user": _matching(_USER, _text(payload, "user", "id")),
        "message": _matching(_TS, _text(payload, "container", "message_ts") or _text(payload, "message", "ts")),
        "channel": _matching(_CHANNEL, _text(payload, "container", "channel_id") or _text(payload, "channel", "id")),
        "time": _matching(_TS, _text(action, "action_ts")),
        "choice": value if element != "button" else name,
    }
    missing = [what for what, text in found.items() if not text]
    if _text(action, "type") != element or missing:
        return NoClick("malformed", f"{name} of type {_word(_at(action, 'type'))}, without {missing}")
    thread = _matching(_TS, _text(payload, "container", "thread_ts"))
    url = _text(payload, "response_url")
    return Click(
        ecosystem=block[2],
        reference=block[1],
        user=found["user"],
        user_name=clean(_text(payload, "user", "name") or _text(payload, "user", "username"))[:MAX_NAME],
        kind=kind,
        value=value,
        shown=clean(html.unescape(shown)),
        dedupe="|".join((found["message"], name, found["time"], found["user"])),
        at=_instant(found["time"], now),
        channel=found["channel"],
        message_ts=found["message"],
        thread_ts=thread if thread != found["message"] else "",
        response_url=url if re.match(r"https?://[^/\s]", url) and len(url) <= MAX_URL else "",
    )


def _choice(action: object, element: str) -> tuple[str, str]:
    """(value, text) of what was chosen; empty when nothing that can be used."""
    if element == "users_select":
        return _matching(_USER, _text(action, "selected_user")), ""
    value = _text(action, "selected_option", "value")
    return value if len(value) <= MAX_CHOICE else "", _text(action, "selected_option", "text", "text")


def _at(given: object, *path: str) -> object:
    for name in path:
        given = given.get(name) if isinstance(given, Mapping) else None
    return given


def _text(given: object, *path: str) -> str:
    found = _at(given, *path)
    return found if isinstance(found, str) else ""


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) and text.isascii() else ""


def _word(given: object) -> str:
    """Something from outside, for a log: short, one line, printable."""
    return ascii(given if isinstance(given, str) else type(given).__name__)[:60]


def _instant(ts: str, now: dt.datetime) -> dt.datetime:
    return min(dt.datetime.fromtimestamp(min(float(ts), now.timestamp()), dt.UTC), now)


# ── From a click to a decision ───────────────────────────────────────────────────────────────────────────────────────


def decide(click: Click, subject: Subject, catalog: Catalog, now: dt.datetime) -> Decision | Refusal:
    """What a click decides, if its user may and its choice can be chosen."""
    alerts = catalog.alerts
    if not may(alerts, click.user, click.kind):
        return Refusal(f"Nothing was recorded. {who_may_words(alerts, click.kind)}")
    values: dict[str, object] = {}
    match click.kind:
        case "assign":
            values = {"assignee": click.value}
        case "verdict":
            verdict, _, index = click.value.partition("|")
            cause = _cause(alerts, verdict, index, click.shown)
            if cause is None:
                return Refusal("Nothing was recorded: the causes to choose from have changed. Choose again.")
            values = {"verdict": verdict, "cause": cause}
        case "snooze":
            scope, _, days = click.value.partition("|")
            if scope not in SCOPES or not re.fullmatch(r"[1-9]\d{0,2}", days, re.ASCII) or int(days) > LONGEST_SNOOZE:
                return Refusal("Nothing was recorded: this is no length of time to snooze for. Choose again.")
            values = {"scope": scope, "until": today(alerts, now) + dt.timedelta(days=int(days))}
    return Decision(
        ecosystem=subject.ecosystem,
        incident=subject.incident,
        metric=subject.metric,
        segment=subject.segment,
        kind=click.kind,
        by=By(click.user, click.at),
        by_name=click.user_name,
        source="slack",
        dedupe=click.dedupe,
        **values,  # type: ignore[arg-type]  # each by its name, above
    )


def today(alerts: Alerts, now: dt.datetime) -> dt.date:
    """The day where people read the morning digest."""
    return now.astimezone(zoneinfo.ZoneInfo(alerts.digest.time_zone)).date()


def _cause(alerts: Alerts, verdict: str, index: str, shown: str) -> str | None:
    """The cause that was chosen; ``None`` when there is no such choice any more.

    A message may be older than the catalog: what stood there counts before its number.
    """
    if verdict not in VERDICTS:
        return None
    causes: Sequence[str] = next((named for name, named in alerts.causes.items() if name == verdict), ())
    as_shown = {c for c in causes if clean(c) and (shown == clean(c) or shown.endswith(f": {clean(c)}"))}
    if as_shown:
        return max(as_shown, key=len)
    if not index:
        return "" if not causes else None
    number = int(index) if re.fullmatch(r"\d{1,3}", index, re.ASCII) else len(causes)
    return causes[number] if number < len(causes) else None


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def who_may_words(alerts: Alerts, kind: Kind, *, own: bool = False) -> str:
    """Who may decide so, as mrkdwn."""
    users = who_may(alerts, kind, own=own)
    takes = f"This takes the role {least_role(kind, own=own)} or more in alerts.yaml."
    if EVERYBODY in users:
        return f"{takes} Everybody has it."
    if not users:
        return f"{takes} Nobody has it yet."
    named = [mention(user) for user in users[:NAMED]]
    more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
    return f"{takes} Ask {', '.join(named)}{more}."


def answer(catalog: Catalog, decision: Decision, before: Standing) -> str:
    """What to say to whoever decided, as mrkdwn.

    Args:
        before: where the incident stood before.
    """
    match decision.kind:
        case "acknowledge":
            first = before.acknowledged
            if first is not None and first.user != decision.by.user:
                return f"Acknowledged; {mention(first.user)} was first."
            return "Acknowledged."
        case "assign":
            to_self = decision.assignee == decision.by.user
            return "Assigned to you." if to_self else f"Assigned to {mention(decision.assignee)}."
        case "verdict":
            title = VERDICT_TITLES[decision.verdict].lower() if decision.verdict else ""
            why = f", {escape(decision.cause, 150)}" if decision.cause else ""
            return f"Verdict: {title}{why}. It counts in the track record of this metric."
        case "snooze" if decision.snooze is not None:
            what = escape(what_is_snoozed(catalog, decision.snooze), 300)
            return f"Snoozed until {wording.day(decision.snooze.until)}: {what}."
        case "unsnooze":
            return "Not snoozed any more."
    return "Recorded."


def undo_words(command: str) -> str:
    """How to take it back, as mrkdwn."""
    return f"To take it back: `{inline(command, 1_000)}`"


NOTHING_NEW = "You have decided this already; nothing changes."
UNKNOWN = "Nothing was recorded: this incident is not known here any more."
NOT_RECORDED = "Nothing was recorded: something went wrong here, which the log tells. Click again in a while."
MESSAGE_FOLLOWS = "It is recorded. The message could not be brought up to date just now; that will follow."


def not_watched(ecosystem: str) -> str:
    """The answer when the program that answers clicks does not know of an ecosystem."""
    return (
        f"Nothing was recorded: the program that answers here does not watch over {escape(ecosystem, 100)}. Whoever "
        f"runs it can add that: `health-pipeline slack run -e {escape(ecosystem, 100)}`, with the others."
    )
