"""Whether Slack is set up: the app's manifest, and a check of everything that messages, charts and clicks need."""

from __future__ import annotations

import ipaddress
import urllib.parse
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.clock import now
from health_pipeline.alerts.delivery.intent import Intent
from health_pipeline.alerts.delivery.slack import (
    ChannelError,
    Identity,
    NotPostedError,
    OutcomeUnknownError,
    Posted,
    Slack,
    Thread,
    TokenError,
)
from health_pipeline.alerts.post import DEFAULT_URL, URL_VARIABLE
from health_pipeline.catalog.alerts import Alerts
from health_pipeline.catalog.model import Catalog

SCOPES = {
    "chat:write": "posts and edits messages",
    "channels:history": "finds a message again whose confirmation was lost",
    "groups:history": "the same in private channels",
    "files:write": "puts charts into threads",
    "channels:read": "looks at channels, and finds those written as #name",
}
"""Scopes of the bot's token, and what each is for."""
MENTIONS = "mention in alerts.yaml"

State = Literal["good", "bad", "optional"]
Part = Literal["token", "scopes", "answers", "channel", "message", "upload", "mentions", "links"]

_APP_TOKEN = (
    "In the app's settings: Basic Information → App-Level Tokens → Generate, with the scope connections:write; "
    "give it to the process as SLACK_APP_TOKEN."
)


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        what: its name: a scope, a channel.
        state: ``optional`` is not there, and only a part of the features needs it.
        said: what was found and, unless it is good, what to do.
    """

    part: Part
    what: str
    state: State
    said: str


@dataclass(frozen=True)
class Feature:
    """Something that Slack is for.

    Attributes:
        missing: names of the checks that keep it from working.
        is_needed: without it nothing is told at all.
        is_tried: whether it may be said to work when nothing is missing: only a message that was posted shows that.
    """

    name: str
    missing: tuple[str, ...]
    is_needed: bool = False
    is_tried: bool = True


def manifest(request_url: str = "") -> dict[str, Any]:
    """The app as Slack's *Create an app from a manifest* takes it.

    Args:
        request_url: where clicks are answered over HTTP; without one they are answered in Socket Mode, which needs no
            address that Slack can reach.

    Source: Slack's *App manifest reference*.
    """
    interactivity: dict[str, Any] = {"is_enabled": True}
    if request_url:
        interactivity["request_url"] = request_url
    return {
        "_metadata": {"major_version": 1, "minor_version": 1},
        "display_information": {
            "name": "Health pipeline",
            "description": "Tells of significant shifts in an ecosystem: one message per incident, kept true.",
            "background_color": "#4a154b",
        },
        "features": {"bot_user": {"display_name": "health-pipeline", "always_online": False}},
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not request_url,
            "token_rotation_enabled": False,
        },
    }


def channels_of(alerts: Alerts) -> dict[str, str]:
    """Every channel that alerts.yaml names -> what goes there."""
    purposes: dict[str, list[str]] = {alerts.channel: ["incidents"]}
    for number, route in enumerate(alerts.routes, start=1):
        if route.channel:
            purposes.setdefault(route.channel, []).append(f"route {number}")
    purposes.setdefault(alerts.failures_channel, []).append("failed runs")
    return {channel: ", ".join(words) for channel, words in purposes.items()}


def check(
    catalog: Catalog,
    slack: Slack | None,
    channels: dict[str, str],
    *,
    app_token: str = "",
    signing_secret: str = "",
    url: str = "",
    may_post: Callable[[Sequence[str]], bool],
) -> Iterator[Check]:
    """Look at everything, one after another; each is given out as soon as it is known.

    Args:
        slack: ``None`` when no token is set: then only what is set is looked at.
        channels: channel -> what goes there.
        url: where links lead; empty when that is not set.
        may_post: asked once, with the channels, before a test message is posted to each. The message is found again,
            edited and taken away, as an alert would be.
    """
    if slack is None:
        yield Check(
            "token", "SLACK_BOT_TOKEN", "bad",
            "is not set. It is the Bot User OAuth Token (xoxb-…), under OAuth & Permissions once the app is installed. "
            "`health-pipeline slack manifest` prints what to create the app from.",
        )  # fmt: skip
        return
    try:
        identity = slack.identify()
    except (NotPostedError, OutcomeUnknownError) as error:
        yield Check("token", "SLACK_BOT_TOKEN", "bad", str(error))
        return
    yield Check("token", "SLACK_BOT_TOKEN", "good", f"speaks for @{identity.bot} in {identity.team}")
    yield from _scopes(identity, channels)
    yield _answers(slack, app_token, signing_secret)
    reachable = []
    for channel, purpose in channels.items():
        found = _channel(slack, identity, channel, purpose)
        yield found
        if found.state != "bad":
            reachable.append(channel)
    if reachable and may_post(reachable):
        for channel in reachable:
            yield _message(catalog, slack, channel)
    else:
        yield Check("message", "test messages", "optional", "were not posted")
    if "files:write" in identity.scopes:
        yield _upload(catalog, slack)
    yield _mentions(catalog)
    yield _links(url)


def features(checks: Iterable[Check], *, by_name: bool) -> list[Feature]:
    """What works, and what each thing that does not work waits for.

    Args:
        by_name: whether a channel is written as ``#name``.
    """
    done = list(checks)

    def missing(*parts: Part, scopes: Sequence[str] = ()) -> tuple[str, ...]:
        return tuple(
            check.what
            for check in done
            if (check.part in parts and check.state == "bad")
            or (check.part == "scopes" and check.state != "good" and check.what in scopes)
        )

    def unmet(*parts: Part) -> tuple[str, ...]:
        """Those that are not good; they are not looked at with a token that does not work."""
        return missing("token") + tuple(c.what for c in done if c.part in parts and c.state != "good")

    tested = any(c.part == "message" and c.state == "good" for c in done)
    reading = ["channels:history", *(["channels:read"] if by_name else [])]
    return [
        Feature(
            "Messages",
            missing("token", "channel", "message", scopes=["chat:write"]),
            is_needed=True,
            is_tried=tested,
        ),
        Feature("None twice after a lost answer", missing("token", scopes=reading)),
        Feature("Charts in the thread", missing("token", "upload", scopes=["files:write"])),
        Feature("Buttons and menus", unmet("answers")),
        Feature("Mentions of owners", unmet("mentions")),
    ]


def _scopes(identity: Identity, channels: Iterable[str]) -> Iterator[Check]:
    granted = [scope for scope in SCOPES if scope in identity.scopes]
    if granted:
        yield Check("scopes", "scopes", "good", ", ".join(granted))
    by_name = any(channel.startswith("#") for channel in channels)
    for scope, purpose in SCOPES.items():
        if scope in granted:
            continue
        optional = scope == "groups:history" or (scope == "channels:read" and not by_name)
        said = f"is missing: it {purpose}. Add it under OAuth & Permissions, and install the app again."
        if scope == "groups:history":
            said = "is missing: only private channels need it."
        yield Check("scopes", scope, "optional" if optional else "bad", said)


def _answers(slack: Slack, app_token: str, signing_secret: str) -> Check:
    if not app_token:
        if signing_secret:
            said = "is set: `health-pipeline slack http` answers clicks at an address that Slack can reach"
            return Check("answers", "SLACK_SIGNING_SECRET", "good", said)
        said = f"is not set, nor SLACK_SIGNING_SECRET: messages come without buttons. {_APP_TOKEN}"
        return Check("answers", "SLACK_APP_TOKEN", "optional", said)
    try:
        slack.open_socket(app_token)
    except (TokenError, ChannelError) as error:
        code = str(error).rpartition("(")[2].rstrip(")") if str(error).endswith(")") else "it lacks connections:write"
        return Check("answers", "SLACK_APP_TOKEN", "bad", f"opens no Socket Mode ({code}). {_APP_TOKEN}")
    except (NotPostedError, OutcomeUnknownError) as error:
        return Check("answers", "SLACK_APP_TOKEN", "bad", f"opens no Socket Mode. {error}")
    return Check("answers", "SLACK_APP_TOKEN", "good", "opens Socket Mode: `health-pipeline slack run` answers clicks")


def _channel(slack: Slack, identity: Identity, channel: str, purpose: str) -> Check:
    purpose = f"{purpose}; " if purpose else ""
    if "channels:read" not in identity.scopes:
        return Check("channel", channel, "optional", f"{purpose}not looked at, for want of channels:read")
    try:
        found = slack.channel(channel)
    except (NotPostedError, OutcomeUnknownError) as error:
        said = str(error).removeprefix(f"{channel}: ")
        if "groups:read" in said:
            return Check("channel", channel, "optional", f"{purpose}private, the test message tells the rest")
        return Check("channel", channel, "bad", f"{purpose}{said}")
    name = found.id if channel.startswith("#") else f"#{found.name}"
    kind = "private" if found.is_private else "public"
    if found.is_archived:
        said = f"{purpose}is archived ({name}). Write another channel in alerts.yaml."
        return Check("channel", channel, "bad", said)
    if not found.is_member:
        said = f"{purpose}the bot is not in it ({name}). In the channel: /invite @{identity.bot}"
        return Check("channel", channel, "bad", said)
    if found.is_private and "groups:history" not in identity.scopes:
        said = f"{purpose}is private ({name}): add the scope groups:history."
        return Check("channel", channel, "bad", said)
    return Check("channel", channel, "good", f"{purpose}{name}, {kind}, the bot is in it")


def _message(catalog: Catalog, slack: Slack, channel: str) -> Check:
    """Post, find, edit and take away a message, by the means of real ones."""
    key = kit.key(catalog.name, "setup", uuid.uuid4().hex)
    text = "A test by health-pipeline slack setup. It goes away by itself."
    begun = now()
    intent = Intent(key, channel, text=text, blocks=(kit.section(text, 200),))
    done: list[str] = []
    posted: Posted | None = None
    try:
        posted = slack.post(intent)
        done.append("posted")
        if slack.find(intent, begun, channel_id=posted.channel_id) is None:
            said = "posted, but not found again in the history. Is it deleted by another app?"
            return Check("message", channel, "bad", said)
        done.append("found again")
        edited = f"{text} It was edited."
        edit = Intent(
            f"{key}:edit", channel, "edit", of=key, text=edited, blocks=(kit.section(edited, 200),)
        )  # fmt: skip
        slack.update(Thread(posted.channel_id, str(posted.ts)), edit)
        done.append("edited")
    except (NotPostedError, OutcomeUnknownError) as error:
        before = f"{', '.join(done)}; then: " if done else ""
        return Check("message", channel, "bad", f"{before}{str(error).removeprefix(f'{channel}: ')}")
    finally:
        if posted is not None:
            _take_away(slack, posted, done)
    return Check("message", channel, "good", f"a test message was {', '.join(done[:-1])} and {done[-1]}")


def _take_away(slack: Slack, posted: Posted, done: list[str]) -> None:
    try:
        slack.delete(posted)
    except (NotPostedError, OutcomeUnknownError):
        done.append("left there: remove it by hand")
    else:
        done.append("removed")


def _upload(catalog: Catalog, slack: Slack) -> Check:
    key = kit.key(catalog.name, "setup", uuid.uuid4().hex)
    intent = Intent(key, "", "upload", of=key, file=_dot(), filename="test.png", alt="A dot.")
    try:
        slack.try_upload(intent)
    except (NotPostedError, OutcomeUnknownError) as error:
        return Check("upload", "uploads", "bad", str(error).removeprefix(": "))
    return Check("upload", "uploads", "good", "a picture was uploaded, seen by nobody, and deleted")


def _mentions(catalog: Catalog) -> Check:
    alerts = catalog.alerts
    if not any(route.mention for route in alerts.routes):
        said = "nobody is mentioned: no route of alerts.yaml has `mention`."
        return Check("mentions", MENTIONS, "optional", said)
    named = sorted({m.owner for m in catalog.metrics} - set(alerts.owners))
    if named and any("owner" in route.mention for route in alerts.routes):
        said = f"owners without a Slack user in alerts.yaml: {', '.join(named)}."
        return Check("mentions", MENTIONS, "optional", said)
    return Check("mentions", MENTIONS, "good", "routes and owners name who is mentioned")


def _links(url: str) -> Check:
    """Where links lead, as far as the address shows it. Whether people reach it can't be seen from here."""
    mend = "Set it, for every process, to where people reach the Dagster UI."
    host = _host(url or DEFAULT_URL)
    if not host:
        said = f"is {url}, which is no web address: links lead nowhere. {mend}"
    elif _is_loopback(host):
        said = f"is {url or 'not set'}: links lead every reader to their own machine. {mend}"
    else:
        return Check("links", URL_VARIABLE, "good", f"links lead to {url}")
    return Check("links", URL_VARIABLE, "optional", said)


def _host(url: str) -> str:
    """The machine of a web address that messages link to; empty for what is none."""
    try:
        return (urllib.parse.urlsplit(url).hostname or "") if kit.web_links({"": url}) else ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    """Whether a machine is each reader's own. No name is looked up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f".{host.rstrip('.')}".endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _dot() -> bytes:
    """A PNG of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (1).to_bytes(4, "big") * 2
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0])),
            chunk(b"IDAT", zlib.compress(b"\x00\x80")),
            chunk(b"IEND", b""),
        ]
    )
