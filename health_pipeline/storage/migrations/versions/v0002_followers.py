"""Edits, replies and uploads in the outbox, and channels that rest."""

import sqlalchemy as sa
from alembic import op

from health_pipeline.storage.state import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite can't alter a constraint: Alembic copies the table, and does not see check constraints by itself.
BEFORE = sa.Table(
    "outbox",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("ecosystem", sa.String(100), nullable=False),
    sa.Column("channel", sa.String(100), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("claim", sa.String(32)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("not_before", UtcDateTime()),
    sa.Column("sending_since", UtcDateTime()),
    sa.Column("attempted_at", UtcDateTime()),
    sa.Column("sent_at", UtcDateTime()),
    sa.Column("channel_id", sa.String(50)),
    sa.Column("ts", sa.String(50)),
    sa.UniqueConstraint("key", name="uq_outbox_key"),
    sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'held')", name="ck_outbox_state"),
    sa.Index("ix_outbox_state", "state", "id"),
    sa.Index("ix_outbox_channel", "channel", "attempted_at"),
)


def upgrade() -> None:
    with op.batch_alter_table("outbox", copy_from=BEFORE) as table:
        table.add_column(sa.Column("kind", sa.String(10), nullable=False, server_default="post"))
        table.add_column(sa.Column("parent", sa.String(255)))
        table.add_column(sa.Column("file", sa.LargeBinary))
        table.add_column(sa.Column("file_id", sa.String(50)))
        table.drop_constraint("ck_outbox_state", type_="check")
        table.create_check_constraint(
            "ck_outbox_state", "state IN ('pending', 'sending', 'sent', 'held', 'superseded')"
        )
        table.create_check_constraint(
            "ck_outbox_kind",
            "kind = 'post' AND parent IS NULL OR kind IN ('edit', 'reply', 'upload') AND parent IS NOT NULL",
        )
    op.create_index("ix_outbox_parent", "outbox", ["parent", "id"])
    op.create_index("ix_outbox_kind", "outbox", ["kind", "attempted_at"])
    op.create_table(
        "outbox_channels",
        sa.Column("channel", sa.String(100), primary_key=True),
        sa.Column("resting_until", UtcDateTime(), nullable=False),
    )
