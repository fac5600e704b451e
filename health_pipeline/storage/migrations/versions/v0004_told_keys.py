"""All keys of an incident's messages in one list, how it was before by itself, rows of what was told before all that.

What was told before version 0003 is known by its message in the outbox alone. It gets its row here. The last day on
which its incident was in the record is not known to this database: the onset in its name is no later, and the next plan
writes the day down.
"""

import datetime as dt
import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

from health_pipeline.storage.state import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TOLD = sa.table(
    "told",
    *(sa.column(name, sa.Text) for name in ("first_key", "ecosystem", "incident", "aliases", "form", "key", "post")),
    *(sa.column(name, sa.Text) for name in ("shown", "channel", "severity", "phase", "said", "hash", "all_keys")),
    *(sa.column(name, sa.Integer) for name in ("version", "charts")),
    *(sa.column(name, UtcDateTime()) for name in ("told_at", "due_at")),
    *(sa.column(name, sa.Text) for name in ("before", "asked")),
    *(sa.column(name, sa.Date) for name in ("charted", "day")),
    sa.column("finished", sa.Boolean),
)
OUTBOX = sa.table(
    "outbox",
    *(sa.column(name, sa.Text) for name in ("key", "ecosystem", "channel", "kind")),
    *(sa.column(name, UtcDateTime()) for name in ("created_at", "not_before")),
    sa.column("id", sa.Integer),
)
MESSAGE = re.compile(r"(?P<incident>.*):(?P<phase>open|retracted)", re.DOTALL)
OF_LINE, OF_MESSAGE = ("post", "what", "at", "due"), ("key", "thread", "channel", "charts")
ONSET = re.compile(r".*-(\d{4}-\d\d-\d\d)(?:-\d+)?", re.DOTALL)


def upgrade() -> None:
    op.add_column("told", sa.Column("before", sa.Text))
    op.add_column("told", sa.Column("charted", sa.Date))
    op.add_column("told", sa.Column("asked", sa.Text))
    op.add_column("told", sa.Column("all_keys", sa.Text, nullable=False, server_default="[]"))
    connection = op.get_bind()
    known: set[str] = set()
    rows = connection.execute(sa.select(TOLD.c.first_key, TOLD.c.key, TOLD.c.said)).all()
    for first_key, key, packed in rows:
        said, besides, before, keys = _split(json.loads(packed))
        keys += [key] if key and key not in keys else []
        known |= {first_key, *keys}
        values = {
            "said": json.dumps(said),
            "before": json.dumps(before) if before else None,
            "all_keys": json.dumps(keys),
            "asked": json.dumps(besides["asked"]) if besides["asked"] else None,
            "charted": dt.date.fromisoformat(besides["charted"]) if besides["charted"] else None,
        }
        connection.execute(TOLD.update().where(TOLD.c.first_key == first_key).values(values))
    for row in _told_before(connection, known):
        connection.execute(TOLD.insert().values(row))


def _split(said: Any) -> tuple[Any, dict[str, Any], Any, list[str]]:
    """What was said, what left by itself, how it was before, and the keys that are used up: they stood in one."""
    besides: dict[str, Any] = {"charted": None, "asked": None}
    if said is None:
        return None, besides, None, []
    overdue, key = said.pop("overdue", False), said.pop("asked", "")
    besides["charted"] = said.pop("charted", None)
    if overdue:
        besides["asked"] = {"key": key, "since": said["since"]}
    before, spent = said.pop("before", None), list(said.pop("spent", ()))
    if before is None:
        return said, besides, None, spent
    before["said"], former, _, _ = _split(before["said"])
    if before.get("key"):
        return said, besides, {name: before[name] for name in ("said", *OF_MESSAGE)} | former, spent
    besides["asked"] = besides["asked"] or former["asked"]  # a digest that waits began its time anew
    return said, besides, {name: before[name] for name in ("said", *OF_LINE)}, spent


def _told_before(connection: sa.Connection, known: set[str]) -> list[dict[str, Any]]:
    """Rows of messages that no row is of."""
    query = sa.select(
        OUTBOX.c.key, OUTBOX.c.ecosystem, OUTBOX.c.channel, OUTBOX.c.created_at, OUTBOX.c.not_before
    ).where(OUTBOX.c.kind == "post", sa.or_(OUTBOX.c.key.endswith(":open"), OUTBOX.c.key.endswith(":retracted")))
    messages = {}
    for row in connection.execute(query.order_by(OUTBOX.c.id)).all():
        begins = f"{row.ecosystem}:incident:"
        if row.key.startswith(begins) and (found := MESSAGE.fullmatch(row.key.removeprefix(begins))):
            messages[row.ecosystem, found["incident"], found["phase"]] = row
    rows = []
    for (ecosystem, incident, phase), row in messages.items():
        if phase != "open" or row.key in known:
            continue
        is_over = (ecosystem, incident, "retracted") in messages
        onset = ONSET.fullmatch(incident)
        rows.append(
            {
                **dict.fromkeys(("first_key", "key", "post", "shown"), row.key),
                "ecosystem": ecosystem,
                "incident": incident,
                "aliases": "[]",
                "form": "own",
                "channel": row.channel,
                "severity": "",
                "phase": "retracted" if is_over else "open",
                "said": "null",
                "all_keys": json.dumps([row.key]),
                "hash": "",
                "version": 0,
                "charts": 0,
                "day": dt.date.fromisoformat(onset[1]) if onset else row.created_at.date(),
                "told_at": row.created_at,
                "due_at": row.not_before or row.created_at,
                "finished": is_over,
            }
        )
    return rows
