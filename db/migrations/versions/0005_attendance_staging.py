"""Create the table in which attendance syncs stage what they found.

Revision ID: 0005
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, Date, Index, Numeric, String, inspect

from db.columns import UtcDateTime
from db.schema_check import actual_type, new_table_options

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # MariaDB commits each statement: an upgrade that was killed left the table behind. It holds nothing of worth.
    op.drop_table("attendance_staged", if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    # Compared with the lines' own ids, so of the very same type.
    line_id = actual_type(inspect(op.get_bind()), "meal_request_line", "id")
    op.create_table(
        "attendance_staged",
        Column("batch", String(36), primary_key=True),
        Column("meal_request_line_id", line_id, primary_key=True, autoincrement=False),
        Column("attendance_date", Date, nullable=False),
        Column("attendance_in", UtcDateTime),
        Column("attendance_out", UtcDateTime),
        Column("working_hours", Numeric(4, 2)),
        Column("staged_at", UtcDateTime, nullable=False),
        Index("ix_attendance_staged_staged_at", "staged_at"),
        **options,
    )


def downgrade() -> None:
    op.drop_table("attendance_staged")
