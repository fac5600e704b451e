"""One thing to do in Slack, as a value: what is planned, queued and sent. Pure: no I/O, and no Slack library."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from health_pipeline.alerts.delivery.blocks import MAX_KEY, Block, Message, violations

Kind = Literal["post", "edit", "reply", "upload"]

MAX_ALT = 1_000
MAX_FILE = 10_000_000


@dataclass(frozen=True)
class Intent:
    """One thing to do in Slack.

    Attributes:
        key: what it is about. The outbox takes a key once, for ever.
        channel: ``#name`` or, better, the channel's ID. A follower goes where its post went.
        kind: a new message, or what follows one: a new content for it, a reply in its thread, a file there.
        of: key of the post that it follows, of an edit also of a reply; empty for a post.
        text, blocks: as of a ``Message``; without blocks, Slack shows the text. Of an upload, only the text, said
            beside the file, or nothing.
        file, filename, alt: of an upload: its bytes, its name, and what its picture shows, in words.
        not_before: quiet hours end then.
    """

    key: str
    channel: str
    kind: Kind = "post"
    of: str = ""
    text: str = ""
    blocks: tuple[Block, ...] = ()
    file: bytes = b""
    filename: str = ""
    alt: str = ""
    not_before: dt.datetime | None = None

    @property
    def unique_filename(self) -> str:
        """The file's name in Slack, by which an upload is found again: it carries a hash of the key."""
        path = PurePath(self.filename)
        return f"{path.stem}-{hashlib.sha256(self.key.encode()).hexdigest()[:12]}{path.suffix}"

    @property
    def message(self) -> Message:
        return Message(self.key, self.channel, self.text, self.blocks)

    @classmethod
    def to_post(cls, message: Message) -> Intent:
        return cls(message.key, message.channel, text=message.text, blocks=message.blocks)


def problems(intent: Intent) -> list[str]:
    """Every limit of Slack's that it breaks, in words; empty for one that can be sent."""
    text = {"type": "mrkdwn", "text": intent.text}
    bare = Message(intent.key, intent.channel, intent.text, ({"type": "section", "text": text},))
    if intent.kind != "upload":
        return violations(intent.message if intent.blocks else bare)
    sizes = (
        ("key", len(intent.key), 1, MAX_KEY),
        ("bytes of the file", len(intent.file), 1, MAX_FILE),
        ("file name", len(intent.unique_filename), 1, 255),
        ("alt text", len(intent.alt), 1, MAX_ALT),
    )
    found = [f"{what}: {size}, must be {low} to {high}" for what, size, low, high in sizes if not low <= size <= high]
    return found + (violations(bare) if intent.text else [])
