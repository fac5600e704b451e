"""The outbox of messages."""

import sqlalchemy as sa
from alembic import op

from health_pipeline.storage.state import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
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
    )
    op.create_index("ix_outbox_state", "outbox", ["state", "id"])
    op.create_index("ix_outbox_channel", "outbox", ["channel", "attempted_at"])


def downgrade() -> None:
    op.drop_table("outbox")
