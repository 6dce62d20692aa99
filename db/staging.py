"""The suite's own tables in the application database: where a replication stages what it read, plans and notes what it
refused.

They hold one replication at a time and mean nothing to others. Most are emptied when the next one begins; the staged
employees stay, so that the next one need not stage again those of whom the source says the same. Texts compare to the
letter.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, Integer, MetaData, Numeric, String, Table, false

from db.columns import UtcDateTime, exact_text

metadata = MetaData()


def _is_refused() -> Column[bool]:
    return Column("is_refused", Boolean, nullable=False, server_default=false(), comment="set aside by the merge")


def _employee_columns() -> list[Column[Any]]:
    return [
        Column("hris_id", Integer, primary_key=True, autoincrement=False),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("code", Integer, nullable=False),
        Column("name_en", exact_text(128)),
        Column("name_ar", exact_text(128)),
        Column("title", exact_text(128)),
        Column("department_hris_id", Integer),
        _is_refused(),
    ]


# Rows are keyed by the source's id and, because a source may repeat an id, by their number in the source's answer.
staged_department = Table(
    "replication_staged_department",
    metadata,
    Column("hris_id", Integer, primary_key=True, autoincrement=False),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("parent_hris_id", Integer),
    Column("name_en", exact_text(128), nullable=False),
    Column("name_ar", exact_text(128), nullable=False),
    Column("is_active", Boolean, nullable=False),
    _is_refused(),
)

staged_employee = Table(
    "replication_staged_employee",
    metadata,
    *_employee_columns(),
    Column("block", BigInteger, comment="fingerprint of the rows that the source gave this one with"),
)

staged_account = Table(
    "replication_staged_account",
    metadata,
    Column("hris_id", Integer, primary_key=True, autoincrement=False),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("user_name", exact_text(64), nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("is_locked", Boolean, nullable=False),
    Column("employee_hris_id", Integer),
    Column("user_id", String(36), nullable=False, comment="the id of the user that this account may have to be given"),
    _is_refused(),
)

staged_assignment = Table(
    "replication_staged_assignment",
    metadata,
    Column("employee_hris_id", Integer, primary_key=True, autoincrement=False),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("department_hris_id", Integer, nullable=False),
    _is_refused(),
)

# The staged employees that the application does not have just so already.
planned_employee = Table("replication_planned_employee", metadata, *_employee_columns())

# What the merge is about to do with users, and the assignments that the source means, in the application's own ids.
planned_user = Table(
    "replication_planned_user",
    metadata,
    Column("user_id", String(36), primary_key=True),
    Column("account_hris_id", Integer, nullable=False),
    Column("is_new", Boolean, nullable=False),
    Column("employee_id", Integer, comment="the employee that the user ends up with"),
    Column("is_active", Boolean, nullable=False),
    Column("is_refused", Boolean, nullable=False, comment="another user has or gets the employee"),
)

planned_assignment = Table(
    "replication_planned_assignment",
    metadata,
    Column("user_id", String(36), primary_key=True),
    Column("department_id", Integer, primary_key=True, autoincrement=False),
)

rejected_row = Table(
    "replication_rejected_row",
    metadata,
    Column("entity", String(32), primary_key=True),
    Column("row_no", Integer, primary_key=True, autoincrement=False),
    Column("source_id", Integer, comment="the source's id, where the row has one"),
    Column("source_key", String(64), nullable=False, comment="what reports call the row"),
    Column("reason", String(128), nullable=False),
    Index("ix_replication_rejected_row_entity_source_id", "entity", "source_id"),
)

# What an attendance sync found, until it is merged; `batch` keeps syncs apart that run at the same time.
staged_attendance = Table(
    "attendance_staged",
    metadata,
    Column("batch", String(36), primary_key=True),
    Column("meal_request_line_id", Integer, primary_key=True, autoincrement=False),
    Column("employee_code", exact_text(255), nullable=False),
    Column("attendance_date", Date, nullable=False),
    Column("attendance_in", UtcDateTime),
    Column("attendance_out", UtcDateTime),
    Column("working_hours", Numeric(4, 2)),
    Column("staged_at", UtcDateTime, nullable=False, index=True),
)
