"""Stage the employee code with the attendance, so that the merge need not look it up again.

Revision ID: 0008
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, Date, Index, Numeric, String, inspect

from db.columns import UtcDateTime, exact_text
from db.schema_check import actual_type, new_table_options

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = "attendance_staged"


def upgrade() -> None:
    _create(Column("employee_code", exact_text(255), nullable=False))


def downgrade() -> None:
    _create()


def _create(*more: Column[Any]) -> None:
    # What a sync staged can be staged again.
    op.drop_table(TABLE, if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    line_id = actual_type(inspect(op.get_bind()), "meal_request_line", "id")
    op.create_table(
        TABLE,
        Column("batch", String(36), primary_key=True),
        Column("meal_request_line_id", line_id, primary_key=True, autoincrement=False),
        *more,
        Column("attendance_date", Date, nullable=False),
        Column("attendance_in", UtcDateTime),
        Column("attendance_out", UtcDateTime),
        Column("working_hours", Numeric(4, 2)),
        Column("staged_at", UtcDateTime, nullable=False),
        Index("ix_attendance_staged_staged_at", "staged_at"),
        **options,
    )
