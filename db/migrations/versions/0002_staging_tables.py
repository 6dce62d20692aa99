"""Create the suite's own tables, in which a replication stages what it read.

Revision ID: 0002
"""

from typing import Any

from alembic import op
from sqlalchemy import Boolean, Column, Index, Integer, String, false, inspect

from db.columns import exact_text
from db.schema_check import actual_type, new_table_options

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "replication_staged_department",
    "replication_staged_employee",
    "replication_staged_account",
    "replication_staged_assignment",
    "replication_planned_employee",
    "replication_planned_user",
    "replication_planned_assignment",
    "replication_rejected_row",
)


def _is_refused() -> Column[bool]:
    return Column("is_refused", Boolean, nullable=False, server_default=false(), comment="set aside by the merge")


def upgrade() -> None:
    # MariaDB commits each statement: an upgrade that was killed left some of them behind. They hold nothing of worth.
    for name in TABLES:
        op.drop_table(name, if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    # Compared with the users' own ids, so of the very same type and collation: otherwise no index would serve.
    user_id = actual_type(inspect(op.get_bind()), "user", "id")
    op.create_table(
        "replication_staged_department",
        Column("hris_id", Integer, primary_key=True, autoincrement=False),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("parent_hris_id", Integer),
        Column("name_en", exact_text(128), nullable=False),
        Column("name_ar", exact_text(128), nullable=False),
        Column("is_active", Boolean, nullable=False),
        _is_refused(),
        **options,
    )
    for employees in ("replication_staged_employee", "replication_planned_employee"):
        op.create_table(
            employees,
            Column("hris_id", Integer, primary_key=True, autoincrement=False),
            Column("row_no", Integer, primary_key=True, autoincrement=False),
            Column("code", Integer, nullable=False),
            Column("name_en", exact_text(128)),
            Column("name_ar", exact_text(128)),
            Column("title", exact_text(128)),
            Column("department_hris_id", Integer),
            _is_refused(),
            **options,
        )
    op.create_table(
        "replication_staged_account",
        Column("hris_id", Integer, primary_key=True, autoincrement=False),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("user_name", exact_text(64), nullable=False),
        Column("is_deleted", Boolean, nullable=False),
        Column("is_locked", Boolean, nullable=False),
        Column("employee_hris_id", Integer),
        Column("user_id", user_id, nullable=False, comment="the id of the user that this account may have to be given"),
        _is_refused(),
        **options,
    )
    op.create_table(
        "replication_staged_assignment",
        Column("employee_hris_id", Integer, primary_key=True, autoincrement=False),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("department_hris_id", Integer, nullable=False),
        _is_refused(),
        **options,
    )
    op.create_table(
        "replication_planned_user",
        Column("user_id", user_id, primary_key=True),
        Column("account_hris_id", Integer, nullable=False),
        Column("is_new", Boolean, nullable=False),
        Column("employee_id", Integer, comment="the employee that the user ends up with"),
        Column("is_active", Boolean, nullable=False),
        Column("is_refused", Boolean, nullable=False, comment="another user has or gets the employee"),
        **options,
    )
    op.create_table(
        "replication_planned_assignment",
        Column("user_id", user_id, primary_key=True),
        Column("department_id", Integer, primary_key=True, autoincrement=False),
        **options,
    )
    op.create_table(
        "replication_rejected_row",
        Column("entity", String(32), primary_key=True),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("source_id", Integer, comment="the source's id, where the row has one"),
        Column("source_key", String(64), nullable=False, comment="what reports call the row"),
        Column("reason", String(128), nullable=False),
        Index("ix_replication_rejected_row_entity_source_id", "entity", "source_id"),
        **options,
    )


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
