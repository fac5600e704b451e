"""Which incidents people were told of and how, when to plan again, and what people decided."""

import sqlalchemy as sa
from alembic import op

from health_pipeline.storage.state import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "told",
        sa.Column("first_key", sa.String(255), primary_key=True),
        sa.Column("ecosystem", sa.String(100), nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("aliases", sa.Text, nullable=False),
        sa.Column("form", sa.String(10), nullable=False),
        sa.Column("key", sa.String(255)),
        sa.Column("post", sa.String(255)),
        sa.Column("shown", sa.String(255)),
        sa.Column("channel", sa.String(100), nullable=False),
        sa.Column("severity", sa.String(20), nullable=False),
        sa.Column("phase", sa.String(10), nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("charts", sa.Integer, nullable=False),
        sa.Column("last", sa.Text),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("told_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.UniqueConstraint("key", name="uq_told_key"),
        sa.CheckConstraint(
            "form = 'none' AND key IS NULL AND post IS NULL AND shown IS NULL OR "
            "form IN ('own', 'line') AND key IS NOT NULL AND post IS NOT NULL AND shown IS NOT NULL",
            name="ck_told_form",
        ),
    )
    op.create_index("ix_told_ecosystem", "told", ["ecosystem"])
    op.create_table(
        "alert_plans",
        sa.Column("ecosystem", sa.String(100), primary_key=True),
        sa.Column("planned_at", UtcDateTime(), nullable=False),
        sa.Column("next_at", UtcDateTime()),
        sa.Column("decision", sa.Integer, nullable=False),
    )
    op.create_table(
        "alert_decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ecosystem", sa.String(100), nullable=False),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("metric", sa.String(255), nullable=False),
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("by", sa.String(100), nullable=False),
        sa.Column("by_name", sa.String(200), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("dedupe", sa.String(255), nullable=False),
        sa.Column("undoes", sa.Integer),
        sa.UniqueConstraint("dedupe", name="uq_alert_decisions_dedupe"),
    )
    op.create_index("ix_alert_decisions_ecosystem", "alert_decisions", ["ecosystem", "id"])
