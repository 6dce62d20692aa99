"""Create the table of leases: which worker has which run.

Revision ID: 0006
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, Index, String

from db.columns import UtcDateTime, exact_text
from db.schema_check import new_table_options

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # MariaDB commits each statement: an upgrade that was killed left the table behind, without rows.
    op.drop_table("flow_run_lease", if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    op.create_table(
        "flow_run_lease",
        Column("flow_run_id", exact_text(36), primary_key=True),
        Column("work_pool_id", exact_text(36), nullable=False),
        Column("token", exact_text(36), nullable=False, comment="another one with each holder; who has it may write"),
        Column("holder", String(255), nullable=False, comment="the worker"),
        Column("host_name", String(255), nullable=False),
        Column("expires_at", UtcDateTime, comment="null: nobody has the run"),
        Column("updated_at", UtcDateTime, nullable=False),
        Index("ix_flow_run_lease_expires_at", "expires_at"),
        **options,
    )


def downgrade() -> None:
    op.drop_table("flow_run_lease")
