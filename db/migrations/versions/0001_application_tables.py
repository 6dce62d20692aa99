"""Create the tables of the web application in an empty database; adopt them where they exist.

The tables are written down here as they were when this migration was made; `db/tables.py` holds them as they are now.

Revision ID: 0001
"""

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    false,
    true,
)

from db.columns import LongText, UtcDateTime, account_name
from db.schema_check import WrittenTable, adopt_or_create

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

Table(
    "department",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hris_id", Integer, unique=True),
    Column("name_en", String(128), nullable=False),
    Column("name_ar", String(128), nullable=False),
    Column("parent_id", Integer, ForeignKey("department.id")),
    Column("is_active", Boolean, nullable=False, server_default=true()),
)

Table(
    "employee",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, comment="the HRIS id"),
    Column("code", Integer, nullable=False, unique=True),
    Column("name_en", String(128)),
    Column("name_ar", String(128)),
    Column("title", String(128)),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("department_id", Integer, ForeignKey("department.id")),
)

Table(
    "security_user",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hris_id", Integer, nullable=False, unique=True),
    Column("user_name", account_name(64), nullable=False, index=True),
    Column("is_deleted", Boolean, nullable=False, server_default=false()),
    Column("is_locked", Boolean, nullable=False, server_default=false()),
    Column("employee_id", Integer, ForeignKey("employee.id")),
)

Table(
    "user",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("username", account_name(64), nullable=False, unique=True),
    Column("email", String(255), unique=True),
    Column("password", String(255)),
    Column("full_name", String(255)),
    Column("title", String(255)),
    Column("is_domain_user", Boolean, nullable=False, server_default=false()),
    Column("is_super_admin", Boolean, nullable=False, server_default=false()),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("is_blocked", Boolean, nullable=False, server_default=false()),
    Column("employee_id", Integer, ForeignKey("employee.id"), unique=True),
    Column("user_source", Enum("hris", "manual", name="user_source"), nullable=False, server_default="manual"),
    Column("status_override", Boolean, nullable=False, server_default=false()),
    Column("override_reason", Text),
    Column("override_set_by_id", String(36)),
    Column("override_set_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

Table(
    "department_assignment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("department_id", Integer, ForeignKey("department.id"), nullable=False),
    Column("user_id", String(36), ForeignKey("user.id"), nullable=False, index=True),
    Column("is_synced_from_hris", Boolean, nullable=False, server_default=false()),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by_id", String(36)),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("updated_by_id", String(36)),
)

Table(
    "meal_request",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("requester_id", String(36), nullable=False),
    Column("status_id", Integer, nullable=False, comment="0 = fetching attendance, 1 = pending"),
    Column("meal_type_id", Integer, nullable=False),
    Column("request_time", UtcDateTime, nullable=False, index=True),
    Column("notes", Text),
    Column("is_deleted", Boolean, nullable=False, server_default=false()),
)

Table(
    "meal_request_line",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("employee_id", Integer, ForeignKey("employee.id"), nullable=False),
    Column("employee_code", String(32)),
    Column("meal_request_id", Integer, ForeignKey("meal_request.id"), nullable=False, index=True),
    Column("attendance_time", UtcDateTime),
    Column("shift_hours", Integer),
    Column("notes", Text),
    Column("is_accepted", Boolean, nullable=False, server_default=true()),
    Column("is_deleted", Boolean, nullable=False, server_default=false()),
)

Table(
    "meal_request_line_attendance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("meal_request_line_id", Integer, ForeignKey("meal_request_line.id"), nullable=False, unique=True),
    Column("employee_code", String(32), nullable=False),
    Column("attendance_date", Date, nullable=False),
    Column("attendance_in", UtcDateTime),
    Column("attendance_out", UtcDateTime),
    Column("working_hours", Numeric(4, 2)),
    Column("attendance_synced_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

Table(
    "log_replication",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False, index=True),
    Column("admin_id", String(36)),
    Column("operation_type", String(64), nullable=False),
    Column("is_successful", Boolean, nullable=False),
    Column("records_processed", Integer, nullable=False, server_default="0"),
    Column("records_created", Integer, nullable=False, server_default="0"),
    Column("records_updated", Integer, nullable=False, server_default="0"),
    Column("records_skipped", Integer, nullable=False, server_default="0"),
    Column("records_failed", Integer, nullable=False, server_default="0"),
    Column("source_system", String(64)),
    Column("duration_ms", Integer),
    Column("error_message", Text),
    Column("result", LongText, comment="JSON"),
    Column("created_at", UtcDateTime, nullable=False),
)

Table(
    "task_function",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("function_path", String(255), nullable=False),
    Column("name_en", String(128), nullable=False),
    Column("name_ar", String(128), nullable=False),
    Column("description_en", Text),
    Column("description_ar", Text),
    Column("is_active", Boolean, nullable=False, server_default=true()),
)


def _code_table(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("code", String(32), nullable=False, unique=True),
        Column("name_en", String(64), nullable=False),
        Column("name_ar", String(64), nullable=False),
        Column("sort_order", Integer, nullable=False, server_default="0"),
        Column("is_active", Boolean, nullable=False, server_default=true()),
    )


_code_table("scheduler_job_type")
_code_table("scheduler_execution_status")

Table(
    "scheduled_job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("task_function_id", Integer, ForeignKey("task_function.id"), nullable=False),
    Column("job_type_id", Integer, ForeignKey("scheduler_job_type.id"), nullable=False),
    Column("name_en", String(128)),
    Column("name_ar", String(128)),
    Column("interval_seconds", Integer),
    Column("interval_minutes", Integer),
    Column("interval_hours", Integer),
    Column("interval_days", Integer),
    Column("cron_expression", String(64)),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("max_instances", Integer, nullable=False, server_default="1"),
    Column("misfire_grace_time", Integer, nullable=False, server_default="300", comment="seconds"),
    Column("coalesce", Boolean, nullable=False, server_default=true()),
    Column("is_enabled", Boolean, nullable=False, server_default=true()),
    Column("is_active", Boolean, nullable=False, server_default=true(), comment="false = deleted"),
    Column("is_primary", Boolean, nullable=False, server_default=false()),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("last_run_at", UtcDateTime),
    Column("created_by_id", String(36)),
    Column("updated_by_id", String(36)),
)

Table(
    "scheduled_job_execution",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("scheduled_job.id"), nullable=False, index=True),
    Column("execution_id", String(36), nullable=False, unique=True),
    Column("run_id", String(64), index=True),
    Column("scheduled_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    Column("duration_ms", Integer),
    Column("status_id", Integer, ForeignKey("scheduler_execution_status.id"), nullable=False, index=True),
    Column("error_message", Text),
    Column("error_traceback", Text),
    Column("result_summary", String(512)),
    Column("executor_id", String(64)),
    Column("host_name", String(255)),
    Column("created_at", UtcDateTime, nullable=False),
)

Table(
    "scheduled_job_lock",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("scheduled_job.id"), nullable=False),
    Column("execution_id", String(36)),
    Column("executor_id", String(64)),
    Column("host_name", String(255)),
    Column("acquired_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("released_at", UtcDateTime),
)

Table(
    "scheduler_instance",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("instance_name", String(128), nullable=False),
    Column("host_name", String(255)),
    Column("process_id", Integer),
    Column("mode", String(32)),
    Column("status", String(32), nullable=False),
    Column("last_heartbeat", UtcDateTime),
    Column("started_at", UtcDateTime, nullable=False),
    Column("stopped_at", UtcDateTime),
)

# Where the suite inserts rows: there, names must fit in full, and no column may demand a value that it does not know.
WRITTEN = (
    WrittenTable("department", whole_texts=("name_en", "name_ar")),
    WrittenTable("employee", whole_texts=("name_en", "name_ar", "title")),
    WrittenTable("security_user", whole_texts=("user_name",)),
    WrittenTable("user", whole_texts=("id", "username")),
    WrittenTable("department_assignment", whole_texts=("user_id",)),
    WrittenTable("meal_request_line_attendance"),
    WrittenTable("log_replication", whole_texts=("id",)),
    WrittenTable("scheduled_job_execution", whole_texts=("execution_id", "run_id", "result_summary")),
)


def upgrade() -> None:
    adopt_or_create(op.get_bind(), metadata, WRITTEN)


def downgrade() -> None:
    raise NotImplementedError("the tables belong to the web application: this suite does not drop them")
