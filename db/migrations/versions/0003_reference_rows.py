"""Insert the reference rows that the suite needs, where they are absent.

Revision ID: 0003
"""

from typing import Any

from alembic import op
from sqlalchemy import Boolean, Integer, String, column, func, select, table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CODE_COLUMNS = ("code", "name_en", "name_ar", "sort_order")
EXECUTION_STATUSES = (
    ("pending", "Pending", "قيد الانتظار", 1),
    ("running", "Running", "قيد التشغيل", 2),
    ("success", "Success", "ناجح", 3),
    ("failed", "Failed", "فشل", 4),
    ("cancelled", "Cancelled", "ملغى", 5),
)
JOB_TYPES = (
    ("interval", "Interval", "فترة زمنية", 1),
    ("cron", "Cron", "جدول كرون", 2),
)
FUNCTION_COLUMNS = ("key", "function_path", "name_en", "name_ar")
TASK_FUNCTIONS = (
    ("hris_replication", "tasks.hris.hris_replication_task", "HRIS replication", "مزامنة بيانات الموارد البشرية"),
    ("attendance_sync", "tasks.attendance.sync_attendance_task", "Attendance sync", "مزامنة الحضور"),
    ("history_cleanup", "tasks.scheduler.cleanup_history_task", "History cleanup", "تنظيف السجل"),
)


def upgrade() -> None:
    _insert_absent("scheduler_execution_status", CODE_COLUMNS, EXECUTION_STATUSES)
    _insert_absent("scheduler_job_type", CODE_COLUMNS, JOB_TYPES)
    _insert_absent("task_function", FUNCTION_COLUMNS, TASK_FUNCTIONS)


def downgrade() -> None:
    raise NotImplementedError("jobs and executions refer to the reference rows: this suite does not delete them")


def _insert_absent(name: str, columns: tuple[str, ...], rows: tuple[tuple[Any, ...], ...]) -> None:
    """Insert the rows whose first column has a value that the table does not hold yet."""
    types = {"sort_order": Integer}
    named = (column(item, types.get(item, String)) for item in columns)
    target = table(name, column("id", Integer), *named, column("is_active", Boolean))
    present = set(op.get_bind().scalars(select(target.c[columns[0]])))
    # An adopted table may leave the numbering of such fixed rows to those who insert them.
    last_id = op.get_bind().scalar(select(func.max(target.c.id))) or 0
    new_rows = [dict(zip(columns, row, strict=True)) for row in rows if row[0] not in present]
    absent = [{"id": last_id + number, "is_active": True, **row} for number, row in enumerate(new_rows, start=1)]
    if absent:
        op.bulk_insert(target, absent)
