"""Slack's Web API as the outbox needs it: post, edit, reply, upload, find again, and tell what a failure means.

The one question after a failure is whether the message may be in the channel. :class:`NotPostedError` and its
kinds say that it is certainly not; :class:`OutcomeUnknownError` says that it may be. The client never repeats
a request by itself. Slack's library would do so on a dropped connection, when Slack may have accepted the
message already; and its handler for rate limits sleeps while the row stands as ``sending``, until another
process takes it for lost.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError, SlackRequestError
from slack_sdk.web import SlackResponse

from health_pipeline.alerts.delivery.blocks import Message
from health_pipeline.alerts.delivery.intent import Intent

EVENT_TYPE = "health_pipeline_message"
TIMEOUT_SECONDS = 10.0
CLOCK_SKEW = dt.timedelta(minutes=5)
PAGE = 200
NEEDED_SCOPES = ("chat:write", "channels:history", "files:write")

_ADD_SCOPE = "add it under OAuth & Permissions and install the app again"
_TOKEN = "Set SLACK_BOT_TOKEN to the Bot User OAuth Token of an installed app."
_WORKSPACE_ERRORS = {
    "not_authed": f"Slack got no token. {_TOKEN}",
    "invalid_auth": f"Slack does not accept the token. {_TOKEN}",
    "token_expired": f"The token has expired. {_TOKEN}",
    "token_revoked": f"The token was revoked. {_TOKEN}",
    "account_inactive": f"The app's account was deactivated or the app removed. {_TOKEN}",
    "not_allowed_token_type": f"This is not a bot's token. {_TOKEN}",
    "no_permission": f"The token may not do this: {_ADD_SCOPE}.",
    "access_denied": "Slack denies access. Ask a workspace admin to approve the app.",
    "org_login_required": "The workspace is being migrated by its organisation. Try again when that is done.",
    "team_access_not_granted": "The app is not installed in this workspace. Ask an organisation admin.",
    "ekm_access_denied": "Your organisation's key management has suspended the app's access. Ask an admin.",
}
_CHANNEL_ERRORS = {
    "channel_not_found": "No such channel, or a private one the bot is not in. "
    "Write the channel's ID in alerts.yaml and invite the bot there with /invite.",
    "not_in_channel": "The bot is not in this channel. Invite it there with /invite.",
    "is_archived": "The channel is archived. Write another one in alerts.yaml.",
    "restricted_action": "A workspace setting keeps the bot from posting in this channel. Ask an admin.",
    "restricted_action_read_only_channel": "The channel is read-only. Write another one in alerts.yaml.",
    "restricted_action_non_threadable_channel": "The channel takes no such messages. Write another one.",
    "restricted_action_thread_only_channel": "The channel takes replies only. Write another one.",
}
_REFUSALS = {
    "message_not_found": "The message is not in the channel any more; somebody has deleted it.",
    "thread_not_found": "The message is not in the channel any more; somebody has deleted it.",
    "cant_update_message": "The message is not this bot's own: another app's token is set.",
    "edit_window_closed": "A workspace setting forbids to edit a message so late. Ask an admin.",
    "file_uploads_disabled": "A workspace setting forbids uploads. Ask an admin.",
    "file_upload_size_restricted": "A workspace setting forbids uploads of this size. Ask an admin.",
    "posting_to_channel_denied": "A workspace setting keeps the bot from sharing files here. Ask an admin.",
}
_BUSY_ERRORS = {"ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable"}
_UNKNOWN_ERRORS = {"fatal_error", "internal_error", "request_timeout"}


@dataclass(frozen=True)
class Posted:
    """Where a message stands in Slack. ``file_id`` is of an upload, whose message Slack makes later, by itself."""

    channel_id: str
    ts: str | None
    file_id: str | None = None


@dataclass(frozen=True)
class Thread:
    """The message that is edited, or under which replies and files stand."""

    channel_id: str
    ts: str


@dataclass(frozen=True)
class Identity:
    """Who the token speaks for, which of :data:`NEEDED_SCOPES` it lacks, and all that it has."""

    team: str
    bot: str
    missing_scopes: tuple[str, ...]
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChannelInfo:
    """What Slack says of a channel; ``is_member`` is whether the bot is in it."""

    id: str
    name: str
    is_private: bool
    is_member: bool
    is_archived: bool


class OutcomeUnknownError(Exception):
    """The answer was lost: Slack may have done it."""


class NotPostedError(Exception):
    """Slack has certainly not done it.

    Args:
        words: what happened and, where somebody must act, what to do.
        wait: how long to leave Slack alone.
    """

    def __init__(self, words: str, wait: dt.timedelta = dt.timedelta(0)) -> None:
        super().__init__(words)
        self.wait = wait


class UnreachableError(NotPostedError):
    """No connection came about."""


class TokenError(NotPostedError):
    """Nothing will work before somebody mends the token or the app."""


class ChannelError(NotPostedError):
    """Nothing will reach this channel before somebody mends the channel or the app's scopes."""


class MessageRefusedError(NotPostedError):
    """Slack will never take this message as it is."""


class Slack:
    """One workspace, through one bot token.

    Args:
        token: the bot's token (``xoxb-…``).
        base_url: of the Web API; another one in tests and behind a gateway.
        timeout: seconds to wait for each of connecting, sending and the answer.
    """

    def __init__(self, token: str, *, base_url: str = WebClient.BASE_URL, timeout: float = TIMEOUT_SECONDS) -> None:
        logger = logging.getLogger("health_pipeline.slack_sdk")
        logger.setLevel(logging.CRITICAL)  # every failure reaches the outbox and the result in our words
        self._client = WebClient(
            token,
            base_url=base_url,
            timeout=timeout,  # type: ignore[arg-type]  # handed to urllib, which takes fractions
            retry_handlers=[],
            logger=logger,
        )
        self.patience = dt.timedelta(seconds=3 * timeout)
        """After it, a request that was begun can't reach Slack any more."""

    @classmethod
    def from_environment(cls) -> Slack | None:
        """From ``SLACK_BOT_TOKEN`` (and ``SLACK_API_URL``); ``None`` when no token is set."""
        token = os.environ.get("SLACK_BOT_TOKEN", "").strip()
        if not token:
            return None
        return cls(token, base_url=os.environ.get("SLACK_API_URL") or WebClient.BASE_URL)

    @property
    def web_client(self) -> WebClient:
        """Slack's own client, for what is not in the outbox."""
        return self._client

    def identify(self) -> Identity:
        """Ask Slack who the token is: a check that posts nothing.

        Raises:
            NotPostedError, OutcomeUnknownError: the token does not work, or Slack does not answer.
        """
        response = _call(self._client.auth_test, "")
        granted = {s.strip() for s in _header(response, "x-oauth-scopes").split(",")}
        missing = tuple(scope for scope in NEEDED_SCOPES if scope not in granted)
        team, bot = str(response.get("team", "")), str(response.get("user", ""))
        return Identity(team, bot, missing, tuple(sorted(granted - {""})))

    def open_socket(self, app_token: str) -> None:
        """Ask for an address of Socket Mode, and leave it at that: a check of the app's own token (``xapp-…``).

        Raises:
            NotPostedError, OutcomeUnknownError: Slack does not give one.
        """
        _call(self._client.apps_connections_open, "", app_token=app_token)

    def channel(self, channel: str) -> ChannelInfo:
        """A channel by its ID, or a public one by ``#name``. Takes the scope ``channels:read``.

        Raises:
            NotPostedError, OutcomeUnknownError: there is none, the bot may not see it, or Slack does not answer.
        """
        if channel.startswith("#"):
            about = self._by_name(channel)
        else:
            about = dict(_call(self._client.conversations_info, channel, channel=channel)["channel"])
        return ChannelInfo(
            str(about["id"]), str(about.get("name", "")), bool(about.get("is_private")),
            bool(about.get("is_member")), bool(about.get("is_archived")),
        )  # fmt: skip

    def post(self, message: Message | Intent) -> Posted:
        """Post a message, its key in its metadata.

        Raises:
            NotPostedError: it is certainly not in the channel.
            OutcomeUnknownError: it may be; look with :meth:`find` before posting again.
        """
        response = _call(
            self._client.chat_postMessage, message.channel, channel=message.channel, unfurl_links=False,
            unfurl_media=False, **_content(message, message.key),
        )  # fmt: skip
        return Posted(str(response["channel"]), str(response["ts"]))

    def reply(self, thread: Thread, intent: Intent) -> Posted:
        """Post a message into a thread; otherwise as :meth:`post`, and found again with :meth:`find_in_thread`."""
        response = _call(
            self._client.chat_postMessage, intent.channel, channel=thread.channel_id, thread_ts=thread.ts,
            unfurl_links=False, unfurl_media=False, **_content(intent, intent.key),
        )  # fmt: skip
        return Posted(str(response["channel"]), str(response["ts"]))

    def update(self, thread: Thread, intent: Intent) -> Posted:
        """Give a message a new content. To do it twice is to do it once: after a lost answer, do it again.

        Raises:
            NotPostedError, OutcomeUnknownError: as in :meth:`post`.
        """
        response = _call(
            self._client.chat_update, intent.channel, channel=thread.channel_id, ts=thread.ts,
            **_content(intent, intent.of),
        )  # fmt: skip
        return Posted(str(response["channel"]), str(response["ts"]))

    def upload(self, intent: Intent) -> str:
        """Bring a file to Slack, where nobody sees it before :meth:`share`; one that is never shared is dropped.

        Returns:
            Slack's ID of the file.

        Raises:
            NotPostedError: as in :meth:`post`; a lost answer is one too, as nothing shows in Slack.
        """
        try:
            place = _call(
                self._client.files_getUploadURLExternal, intent.channel, filename=intent.unique_filename,
                length=len(intent.file), alt_txt=intent.alt,
            )  # fmt: skip
            self._put(str(place["upload_url"]), intent.file)
        except OutcomeUnknownError as error:
            raise UnreachableError(f"The upload did not come about: {error}") from None
        except ChannelError as error:  # without the scope for files, messages can still go out
            raise MessageRefusedError(str(error)) from None
        return str(place["file_id"])

    def share(self, thread: Thread, intent: Intent, file_id: str) -> Posted:
        """Make an uploaded file a reply in a thread.

        Raises:
            NotPostedError: it is certainly not in the thread.
            OutcomeUnknownError: it may be; look with :meth:`find_in_thread` before uploading again.
        """
        _call(
            self._client.files_completeUploadExternal, intent.channel,
            files=[{"id": file_id, "title": intent.filename}], channel_id=thread.channel_id, thread_ts=thread.ts,
            **({"initial_comment": intent.text} if intent.text else {}),
        )  # fmt: skip
        return Posted(thread.channel_id, None, file_id)

    def delete(self, posted: Posted) -> None:
        """Take away a message of ours.

        Raises:
            NotPostedError, OutcomeUnknownError: it is still there, or may be.
        """
        _call(self._client.chat_delete, posted.channel_id, channel=posted.channel_id, ts=str(posted.ts))

    def try_upload(self, intent: Intent) -> None:
        """Bring a file to Slack that nobody sees, and delete it: whether pictures can be uploaded.

        Raises:
            NotPostedError, OutcomeUnknownError: they can't.
        """
        file_id = self.upload(intent)
        _call(self._client.files_completeUploadExternal, "", files=[{"id": file_id, "title": intent.filename}])
        _call(self._client.files_delete, "", file=file_id)

    def find(self, message: Message | Intent, since: dt.datetime, *, channel_id: str | None = None) -> Posted | None:
        """The message in its channel's history, by its key; ``None`` when it is not there.

        Args:
            since: when it can have been posted first, by this machine's clock.
            channel_id: of the message's channel, when known; else a channel written as a name is looked up.

        Raises:
            NotPostedError, OutcomeUnknownError: the history can't be read: nothing is known of the message.
        """
        channel = channel_id or self._channel_id(message.channel)
        found = self._messages(self._client.conversations_history, message.channel, since, channel=channel)
        return next((Posted(channel, str(m["ts"])) for m in found if _key_of(m) == message.key), None)

    def find_in_thread(self, thread: Thread, intent: Intent, since: dt.datetime) -> Posted | None:
        """A reply by its key, or an upload by its file's name; otherwise as :meth:`find`."""
        for message in self._messages(
            self._client.conversations_replies, intent.channel, since, channel=thread.channel_id, ts=thread.ts
        ):
            if intent.kind == "reply" and _key_of(message) == intent.key:
                return Posted(thread.channel_id, str(message["ts"]))
            for file in message.get("files") or []:
                if intent.kind == "upload" and file.get("name") == intent.unique_filename:
                    return Posted(thread.channel_id, str(message["ts"]), str(file.get("id", "")))
        return None

    def _messages(
        self, method: Callable[..., SlackResponse], about: str, since: dt.datetime, **arguments: str
    ) -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            page = _call(
                method, about, oldest=f"{(since - CLOCK_SKEW).timestamp():.6f}", include_all_metadata=True, limit=PAGE,
                **arguments, **_from(cursor),
            )  # fmt: skip
            yield from page.get("messages") or []
            cursor = _next_cursor(page)
            if not cursor:
                return

    def _put(self, url: str, data: bytes) -> None:
        """Send the bytes of a file to where Slack wants them."""
        if not url.startswith(("https://", "http://")):
            raise MessageRefusedError(f"Slack wants the file at {url}, which is no web address.")
        request = Request(url, data=data, method="POST", headers={"Content-Type": "application/octet-stream"})
        try:
            with urlopen(request, timeout=self._client.timeout, context=self._client.ssl) as answer:
                answer.read()
        except HTTPError as error:
            wait = error.headers.get("Retry-After", "")
            if error.code == 429:
                raise NotPostedError("Slack asks to wait.", dt.timedelta(seconds=_seconds(wait))) from None
            raise OutcomeUnknownError(f"Slack answered {error.code} to the file's bytes.") from None
        except (OSError, HTTPException) as error:
            raise OutcomeUnknownError(f"{type(error).__name__}: {error}.") from None

    def _channel_id(self, channel: str) -> str:
        """The ID behind ``#name``: history is asked by ID only. Takes the scope ``channels:read``."""
        return str(self._by_name(channel)["id"]) if channel.startswith("#") else channel

    def _by_name(self, channel: str) -> dict[str, Any]:
        """The public channel ``#name``, as Slack lists it."""
        cursor = ""
        while True:
            try:
                page = _call(
                    self._client.conversations_list,
                    channel,
                    types="public_channel",
                    limit=PAGE,
                    **_from(cursor),
                )
            except ChannelError as error:
                raise ChannelError(f"{error} Or write the channel's ID in alerts.yaml.") from None
            channels: list[dict[str, Any]] = page.get("channels") or []
            for listed in channels:
                if f"#{listed['name']}" == channel:
                    return listed
            cursor = _next_cursor(page)
            if not cursor:
                raise ChannelError(f"{channel}: {_CHANNEL_ERRORS['channel_not_found']}")


def _content(message: Message | Intent, key: str) -> dict[str, Any]:
    """Text, blocks and, in the metadata, the key by which the message is found; an edit keeps its message's."""
    return {
        "text": message.text,
        "blocks": list(message.blocks),
        "metadata": {"event_type": EVENT_TYPE, "event_payload": {"key": key}},
    }


def _key_of(message: dict[str, Any]) -> str | None:
    metadata = message.get("metadata") or {}
    payload = metadata.get("event_payload") or {}
    return payload.get("key") if metadata.get("event_type") == EVENT_TYPE else None


def _seconds(retry_after: str) -> int:
    return int(retry_after) if retry_after.isdigit() else 1


def _call(method: Callable[..., SlackResponse], about: str, /, **arguments: Any) -> SlackResponse:
    """Make a request; what goes wrong comes out as NotPostedError or OutcomeUnknownError."""
    try:
        return method(**arguments)
    except SlackApiError as error:
        raise _meaning(error.response, about) from None
    except SlackRequestError as error:
        raise UnreachableError(f"The request could not be made: {error}.") from None
    except URLError as error:
        if isinstance(error.reason, (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)):
            raise UnreachableError(f"Slack can't be reached: {error.reason}.") from None
        raise OutcomeUnknownError(f"The connection to Slack broke: {error.reason}.") from None
    except (SlackClientError, HTTPException, OSError, ValueError) as error:
        raise OutcomeUnknownError(f"Slack's answer was lost: {type(error).__name__}: {error}.") from None


def _meaning(response: Any, channel: str) -> NotPostedError | OutcomeUnknownError:
    status, error = response.status_code, str(response.get("error", ""))
    if status == 429 or error in _BUSY_ERRORS:
        wait = _seconds(_header(response, "retry-after"))
        return NotPostedError("Slack asks to wait.", dt.timedelta(seconds=wait))
    if status >= 500 or error in _UNKNOWN_ERRORS or not error or error.startswith("Received a response in a non-JSON"):
        return OutcomeUnknownError(f"Slack had trouble of its own ({error if status == 200 else status}).")
    if error == "missing_scope":
        return ChannelError(f"{channel}: The app lacks the scope {response.get('needed')}: {_ADD_SCOPE}.")
    if error in _WORKSPACE_ERRORS:
        return TokenError(f"{_WORKSPACE_ERRORS[error]} ({error})")
    if error in _CHANNEL_ERRORS:
        return ChannelError(f"{channel}: {_CHANNEL_ERRORS[error]} ({error})")
    if error in _REFUSALS:
        return MessageRefusedError(f"{channel}: {_REFUSALS[error]} ({error})")
    details = "; ".join(map(str, (response.get("response_metadata") or {}).get("messages", [])))
    return MessageRefusedError(f"{channel}: Slack refuses the message: {error}{': ' + details if details else ''}.")


def _header(response: Any, name: str) -> str:
    found = next((value for key, value in response.headers.items() if key.lower() == name), "")
    return str(found[0] if isinstance(found, list) else found)


def _from(cursor: str) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


def _next_cursor(page: SlackResponse) -> str:
    return str((page.get("response_metadata") or {}).get("next_cursor") or "")
