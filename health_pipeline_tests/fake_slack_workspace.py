"""What stands in the fake Slack's workspace, what people do there, and what their clicks say."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from health_pipeline.alerts.delivery import clock

BOT = "U00000001"
ANA, BEN = "U00000002", "U00000003"
"""Two people; whoever clicks is one of them."""

Arguments = dict[str, Any]
Message = dict[str, Any]


class Workspace:
    """Channels, people, messages and files.

    Attributes:
        channels: name -> ID of the channels.
        away, archived: IDs of channels that the bot is not in, and that are closed.
        users: of the workspace, as ``users.list`` gives them.
        messages: every accepted message: channel (ID), ts, thread_ts (of a reply), user, text, blocks, metadata, files,
            at (seconds since 1970, by the clock of deliveries).
        edits: every accepted ``chat.update``: channel, ts, text, blocks, at.
        files: ID -> name, length, alt_txt, title, data (once the bytes came), shared.
        ephemeral, views, responses: what came to ``chat.postEphemeral``, ``views.open`` and to response URLs.
        page: how many items of a list are given at once, at the most.
        share_delay: seconds until a shared file shows in its thread.
        late: what shows only from an instant on.
        triggers: that clicks gave and no view has used.
        answers: number of a response URL -> how often it was answered.
        count: gives the numbers in what Slack makes.
        address: host and port under which the workspace is served, and ``loop`` what serves it.
        on_event: called with a line about everything that happens.
    """

    address: str
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.on_event: Callable[[str], None] = lambda line: None
        self.reset()

    def reset(self) -> None:
        """A new workspace."""
        names = ("ecosystem-health", "ecosystem-health-pipeline")
        self.channels = {name: f"C{index:08d}" for index, name in enumerate(names, 1)}
        self.away: set[str] = set()
        self.archived: set[str] = set()
        self.users = [
            {"id": BOT, "name": "health-pipeline", "real_name": "Health pipeline", "is_bot": True, "deleted": False},
            {"id": ANA, "name": "ana", "real_name": "Ana Anders", "is_bot": False, "deleted": False},
            {"id": BEN, "name": "ben", "real_name": "Ben Beck", "is_bot": False, "deleted": False},
        ]
        self.messages: list[Message] = []
        self.edits: list[Message] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.ephemeral: list[Arguments] = []
        self.views: list[Arguments] = []
        self.responses: list[Arguments] = []
        self.page = 100
        self.share_delay = 0.0
        self.late: list[tuple[float, Callable[[], object]]] = []
        self.triggers: set[str] = set()
        self.answers: defaultdict[str, int] = defaultdict(int)
        self.count = itertools.count(1)

    # What tests ask, and people do.

    @property
    def keys(self) -> list[str]:
        """Keys of the accepted messages that have one, in order; replies too."""
        return [m["metadata"]["event_payload"]["key"] for m in self.messages if m["metadata"]]

    def thread(self, ts: str) -> list[Message]:
        """The replies under a message, in order."""
        return [m for m in self.messages if m["thread_ts"] == ts]

    def say(self, channel: str, text: str, user: str = ANA) -> Message:
        """A message of a person."""
        return self.add(self.channels.get(channel, channel), text, user=user)

    def delete(self, ts: str) -> None:
        """Somebody deletes a message."""
        self.messages = [m for m in self.messages if m["ts"] != ts]

    def click(self, ts: str, action_id: str, *, value: str | None = None, user: str = ANA) -> dict[str, Any]:
        """The payload of a click on an element of a message.

        Args:
            value: of the chosen option, or the chosen person's ID; none for a button.

        Raises:
            LookupError: the message has no such element, or the element no such option.
        """
        message = self.message(ts)
        if message is None:
            raise LookupError(f"no message {ts}")
        for block, element in _elements(message["blocks"]):
            if element.get("action_id") == action_id:
                return self._click(message, block, element, value, user)
        raise LookupError(f"message {ts} has no element {action_id}")

    # What the Web API reads and writes.

    def next_ts(self) -> str:
        return f"{now():.0f}.{next(self.count):06d}"

    def add(
        self,
        channel: str,
        text: str,
        *,
        blocks: list[Any] | None = None,
        metadata: Any = None,
        thread_ts: str = "",
        files: list[dict[str, Any]] | None = None,
        user: str = BOT,
    ) -> Message:
        message = {
            "channel": channel,
            "ts": self.next_ts(),
            "thread_ts": thread_ts,
            "user": user,
            "text": text,
            "blocks": blocks or [],
            "metadata": metadata,
            "files": files or [],
            "at": now(),
        }
        self.messages.append(message)
        self.on_event(f"{channel} {message['ts']}{' in ' + thread_ts if thread_ts else ''}: {text}")
        return message

    def show_what_is_late(self) -> None:
        """Let show what should by now."""
        due, self.late = [s for s in self.late if s[0] <= now()], [s for s in self.late if s[0] > now()]
        for _, show in due:
            show()

    def message(self, ts: str) -> Message | None:
        return next((m for m in self.messages if m["ts"] == ts), None)

    def is_parent(self, channel: str, ts: str) -> bool:
        parent = self.message(ts)
        return parent is not None and parent["channel"] == channel and not parent["thread_ts"]

    def shown(self, message: Message, with_metadata: bool) -> Message:
        shown = {name: message[name] for name in ("ts", "user", "text", "blocks")} | {"type": "message"}
        replies = self.thread(message["ts"])
        if message["thread_ts"] or replies:
            shown["thread_ts"] = message["thread_ts"] or message["ts"]
        if replies:
            shown["reply_count"] = len(replies)
        optional = ("files", "edited", *(["metadata"] if with_metadata else []))
        return shown | {name: message[name] for name in optional if message.get(name)}

    def _click(
        self, message: Message, block: dict[str, Any], element: dict[str, Any], value: str | None, user: str
    ) -> dict[str, Any]:
        number = next(self.count)
        action: dict[str, Any] = {
            name: element[name] for name in ("type", "action_id", "value", "text") if name in element
        }
        if element["type"] == "users_select":
            action["selected_user"] = value
        elif element["type"] != "button":
            groups = [*element.get("option_groups", ()), {"options": element.get("options", ())}]
            options = [option for group in groups for option in group["options"]]
            chosen = next((option for option in options if option["value"] == value), None)
            if chosen is None:
                raise LookupError(f"{element['action_id']} has no option {value}")
            action["selected_option"] = chosen
        # Slack names the blocks and elements that the app has not named.
        action |= {"block_id": block.get("block_id", f"block-{number}"), "action_ts": f"{now():.6f}"}
        trigger = f"{number}.trigger"
        self.triggers.add(trigger)
        self.answers[str(number)] = 0
        thread = {"thread_ts": message["thread_ts"]} if message["thread_ts"] else {}
        name = next(u["name"] for u in self.users if u["id"] == user)
        channel = next(name for name, id_ in self.channels.items() if id_ == message["channel"])
        return {
            "type": "block_actions",
            "user": {"id": user, "username": name, "name": name, "team_id": "T00000001"},
            "api_app_id": "A00000001",
            "token": "deprecated",
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": message["channel"],
                "is_ephemeral": False,
                **thread,
            },
            "trigger_id": trigger,
            "team": {"id": "T00000001", "domain": "fake"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": message["channel"], "name": channel},
            "message": self.shown(message, True),
            "state": {"values": {}},
            "response_url": f"http://{self.address}/response/{number}",
            "actions": [action],
        }


def now() -> float:
    """Seconds since 1970, by the clock that deliveries go by."""
    return clock.now().timestamp()


def _elements(blocks: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for block in blocks:
        parts = block.get("elements", ()) if block["type"] == "actions" else [block.get("accessory") or {}]
        yield from ((block, element) for element in parts)
