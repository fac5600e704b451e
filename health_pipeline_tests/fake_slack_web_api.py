"""The fake Slack's Web API: of each method arguments in, and the answer out, or Slack's code for why not.

Who may call them, and what goes wrong on the way, is the server's (:mod:`health_pipeline_tests.fake_slack`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from health_pipeline_tests.fake_slack_workspace import BOT, Arguments, Message, Workspace, now
from health_pipeline_tests.slack_limits import invalid_blocks, too_long

SCOPES = {
    "chat.delete": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "channels:history",
    "conversations.info": "channels:read",
    "conversations.replies": "channels:history",
    "conversations.list": "channels:read",
    "files.completeUploadExternal": "files:write",
    "files.delete": "files:write",
    "files.getUploadURLExternal": "files:write",
    "users.list": "users:read",
}

Answer = dict[str, Any]


class RefusedError(Exception):
    """Slack does not do what it was asked; ``answer`` says why not."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.answer: Answer = {"ok": False, "error": code, **more}


def _auth_test(workspace: Workspace, arguments: Arguments) -> Answer:
    return {
        "ok": True,
        "url": "https://fake.slack.com/",
        "team": "Fake",
        "team_id": "T00000001",
        "user": "health-pipeline",
        "user_id": BOT,
        "bot_id": "B00000001",
        "is_enterprise_install": False,
    }


def _post(workspace: Workspace, arguments: Arguments) -> Answer:
    channel = _channel(workspace, arguments, by_name=True)
    if channel in workspace.away:
        raise RefusedError("not_in_channel")
    if channel in workspace.archived:
        raise RefusedError("is_archived")
    blocks, metadata = _json(arguments, "blocks") or [], _json(arguments, "metadata")
    text = str(arguments.get("text") or "")
    _check_content(text, blocks, metadata, 40_000)
    thread = str(arguments.get("thread_ts") or "")
    if thread and not workspace.is_parent(channel, thread):
        raise RefusedError("thread_not_found")
    message = workspace.add(channel, text, blocks=blocks, metadata=metadata, thread_ts=thread)
    return {"ok": True, "channel": channel, "ts": message["ts"], "message": workspace.shown(message, True)}


def _update(workspace: Workspace, arguments: Arguments) -> Answer:
    message = _own_message(workspace, arguments, "cant_update_message")
    blocks, metadata = _json(arguments, "blocks"), _json(arguments, "metadata")
    text = str(arguments.get("text") or "")
    _check_content(text, blocks or [], metadata, 4_000)
    # As in Slack: a text without blocks takes the blocks away, metadata that are not given stay.
    message |= {
        "text": text or message["text"],
        "blocks": blocks if blocks is not None or text else message["blocks"],
    }
    message["blocks"] = message["blocks"] or []
    message["metadata"] = metadata if metadata is not None else message["metadata"]
    message["edited"] = {"user": BOT, "ts": f"{now():.6f}"}
    workspace.edits.append({name: message[name] for name in ("channel", "ts", "text", "blocks")} | {"at": now()})
    return {"ok": True, "channel": message["channel"], "ts": message["ts"], "text": message["text"]}


def _delete(workspace: Workspace, arguments: Arguments) -> Answer:
    message = _own_message(workspace, arguments, "cant_delete_message")
    workspace.delete(message["ts"])
    return {"ok": True, "channel": message["channel"], "ts": message["ts"]}


def _ephemeral(workspace: Workspace, arguments: Arguments) -> Answer:
    _channel(workspace, arguments, by_name=True)
    if arguments.get("user") not in {user["id"] for user in workspace.users}:
        raise RefusedError("user_not_in_channel")
    _check_content(str(arguments.get("text") or ""), _json(arguments, "blocks") or [], None, 40_000)
    workspace.ephemeral.append(arguments)
    return {"ok": True, "message_ts": workspace.next_ts()}


def _permalink(workspace: Workspace, arguments: Arguments) -> Answer:
    message = workspace.message(str(arguments.get("message_ts", "")))
    if message is None or message["channel"] != arguments.get("channel"):
        raise RefusedError("message_not_found")
    link = f"https://fake.slack.com/archives/{message['channel']}/p{message['ts'].replace('.', '')}"
    if message["thread_ts"]:
        link += f"?thread_ts={message['thread_ts']}&cid={message['channel']}"
    return {"ok": True, "channel": message["channel"], "permalink": link}


def _history(workspace: Workspace, arguments: Arguments) -> Answer:
    channel = _channel(workspace, arguments)
    found = [m for m in reversed(workspace.messages) if m["channel"] == channel and not m["thread_ts"]]
    return _messages_page(workspace, found, arguments)


def _replies(workspace: Workspace, arguments: Arguments) -> Answer:
    channel, ts = _channel(workspace, arguments), str(arguments.get("ts", ""))
    parent = workspace.message(ts)
    if parent is None or parent["channel"] != channel:
        raise RefusedError("thread_not_found")
    return _messages_page(workspace, [parent, *workspace.thread(ts)], arguments, always=ts)


def _messages_page(workspace: Workspace, messages: list[Message], arguments: Arguments, always: str = "") -> Answer:
    """A page of those since ``oldest``; a thread's first message comes always."""
    with_metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
    oldest = float(arguments.get("oldest") or 0)
    found = [workspace.shown(m, with_metadata) for m in messages if m["ts"] == always or float(m["ts"]) > oldest]
    return _page("messages", found, arguments, workspace.page)


def _list(workspace: Workspace, arguments: Arguments) -> Answer:
    return _page("channels", [_about(workspace, name) for name in workspace.channels], arguments, workspace.page)


def _info(workspace: Workspace, arguments: Arguments) -> Answer:
    channel = _channel(workspace, arguments)
    name = next(name for name, id_ in workspace.channels.items() if id_ == channel)
    return {"ok": True, "channel": _about(workspace, name)}


def _about(workspace: Workspace, name: str) -> dict[str, Any]:
    id_ = workspace.channels[name]
    return {"id": id_, "name": name, "is_channel": True, "is_private": False, "is_archived": id_ in workspace.archived,
            "is_member": id_ not in workspace.away}  # fmt: skip


def _users(workspace: Workspace, arguments: Arguments) -> Answer:
    return _page("members", workspace.users, arguments, workspace.page)


def _view(workspace: Workspace, arguments: Arguments) -> Answer:
    trigger = str(arguments.get("trigger_id", ""))
    if trigger not in workspace.triggers:
        raise RefusedError("invalid_trigger_id")
    workspace.triggers.remove(trigger)  # once, as in Slack
    workspace.views.append(arguments | {"view": _json(arguments, "view")})
    return {"ok": True, "view": {"id": f"V{next(workspace.count):08d}"}}


def _upload_url(workspace: Workspace, arguments: Arguments) -> Answer:
    if not arguments.get("filename") or not int(arguments.get("length") or 0):
        raise RefusedError("missing_argument")
    if len(str(arguments.get("alt_txt") or "")) > 1_000:
        raise RefusedError("alt_txt_too_large")
    file_id = f"F{next(workspace.count):08d}"
    workspace.files[file_id] = {
        "name": arguments["filename"],
        "length": int(arguments["length"]),
        "alt_txt": arguments.get("alt_txt"),
        "title": None,
        "data": None,
        "shared": False,
    }
    return {"ok": True, "upload_url": f"http://{workspace.address}/upload/v1/{file_id}", "file_id": file_id}


def _complete(workspace: Workspace, arguments: Arguments) -> Answer:
    given = _json(arguments, "files") or []
    channel, thread = str(arguments.get("channel_id") or ""), str(arguments.get("thread_ts") or "")
    for item in given:
        file = workspace.files.get(item["id"])
        if file is None or file["data"] is None or file["shared"]:
            raise RefusedError("file_not_found")
    if channel and channel not in workspace.channels.values():
        raise RefusedError("channel_not_found")
    if thread and not workspace.is_parent(channel, thread):
        raise RefusedError("thread_not_found")
    for item in given:
        workspace.files[item["id"]] |= {"shared": True, "title": item.get("title")}
    shown = [{"id": item["id"], "title": item.get("title") or ""} for item in given]
    if channel:
        text = str(arguments.get("initial_comment") or "")
        files = [item | {"name": workspace.files[item["id"]]["name"]} for item in shown]
        share = partial(workspace.add, channel, text, thread_ts=thread, files=files)
        if workspace.share_delay:
            workspace.late.append((now() + workspace.share_delay, share))
        else:
            share()
    return {"ok": True, "files": shown}


def _delete_file(workspace: Workspace, arguments: Arguments) -> Answer:
    if workspace.files.pop(str(arguments.get("file", "")), None) is None:
        raise RefusedError("file_not_found")
    return {"ok": True}


def _channel(workspace: Workspace, arguments: Arguments, *, by_name: bool = False) -> str:
    """The ID of the channel meant."""
    given = str(arguments.get("channel", ""))
    if given in workspace.channels.values():
        return given
    if by_name and given.removeprefix("#") in workspace.channels:
        return workspace.channels[given.removeprefix("#")]
    raise RefusedError("channel_not_found")


def _own_message(workspace: Workspace, arguments: Arguments, otherwise: str) -> Message:
    """The message meant, which the app has posted itself."""
    channel = _channel(workspace, arguments)
    message = workspace.message(str(arguments.get("ts", "")))
    if message is None or message["channel"] != channel:
        raise RefusedError("message_not_found")
    if message["user"] != BOT:
        raise RefusedError(otherwise)
    return message


def _json(arguments: Arguments, name: str) -> Any:
    value = arguments.get(name)
    return json.loads(value) if isinstance(value, str) and value else value or None


def _check_content(text: str, blocks: Any, metadata: Any, longest: int) -> None:
    problems = invalid_blocks(blocks)
    if problems:
        raise RefusedError("invalid_blocks", response_metadata={"messages": [f"[ERROR] {p}" for p in problems]})
    if too_long(blocks):
        raise RefusedError("msg_blocks_too_long")
    if not text and not blocks:
        raise RefusedError("no_text")
    if len(text) > longest:
        raise RefusedError("msg_too_long")
    if metadata is not None and set(metadata) != {"event_type", "event_payload"}:
        raise RefusedError("invalid_metadata_format")


def _page(name: str, found: list[Any], arguments: Arguments, page: int) -> Answer:
    start = int(arguments.get("cursor") or 0)
    size = min(int(arguments.get("limit") or page), page)
    cursor = str(start + size) if len(found) > start + size else ""
    items = found[start : start + size]
    return {"ok": True, name: items, "has_more": bool(cursor), "response_metadata": {"next_cursor": cursor}}


METHODS: dict[str, Callable[[Workspace, Arguments], Answer]] = {
    "auth.test": _auth_test,
    "chat.delete": _delete,
    "chat.getPermalink": _permalink,
    "chat.postEphemeral": _ephemeral,
    "chat.postMessage": _post,
    "chat.update": _update,
    "conversations.history": _history,
    "conversations.info": _info,
    "conversations.list": _list,
    "conversations.replies": _replies,
    "files.completeUploadExternal": _complete,
    "files.delete": _delete_file,
    "files.getUploadURLExternal": _upload_url,
    "users.list": _users,
    "views.open": _view,
}
"""Those of the Web API but ``apps.connections.open``."""
