"""Create the table of mails: what was to be sent, and what became of it.

Revision ID: 0004
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, Index, Integer, String, Text

from db.columns import LongText, UtcDateTime, exact_text
from db.schema_check import new_table_options

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # MariaDB commits each statement: an upgrade that was killed left the table behind, without rows.
    op.drop_table("mail_delivery", if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    op.create_table(
        "mail_delivery",
        Column("key", exact_text(255), primary_key=True, comment="the Celery task id, or the flow run's id"),
        Column("message_id", exact_text(255), nullable=False, comment="the mail's Message-ID in all attempts"),
        Column("kind", String(32), nullable=False, comment="notification or status_update"),
        Column("recipient", String(320), nullable=False),
        Column("arguments", LongText, nullable=False, comment="JSON; what the mail is made of"),
        Column("state", String(16), nullable=False, comment="pending, sending, sent, refused or unknown"),
        Column("attempts", Integer, nullable=False, server_default="0", comment="how often it was about to go out"),
        Column("claim", String(36), comment="the process that has it or had it last"),
        Column("claimed_until", UtcDateTime, comment="a mail that is being sent longer than this has lost its process"),
        Column("answer", Text, comment="what the mail server said, or what went wrong"),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        Index("ix_mail_delivery_state_updated_at", "state", "updated_at"),
        **options,
    )


def downgrade() -> None:
    op.drop_table("mail_delivery")
