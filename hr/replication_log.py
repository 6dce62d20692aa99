"""The rows of `log_replication`: one for each operation of a replication, one for a failure."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from errors import ReplicationRefused
from hr.merge.report import Report

# What is logged for each target; what became of users is told in the accounts' operation.
OPERATIONS = {
    "department": "hris_department_sync",
    "employee": "hris_employee_sync",
    "security_user": "hris_security_user_sync",
    "department_assignment": "hris_department_assignment_sync",
}
FAILURE = "hris_sync"


@dataclass(frozen=True)
class LogContext:
    """What all rows of one replication share.

    Args:
        now: The rows' time.
        admin_id: Who asked for the replication, if a person did.
        source_system: The HRIS's name.
        duration_ms: How long it took so far, in milliseconds.
    """

    now: datetime
    admin_id: str | None
    source_system: str
    duration_ms: int


def operation_rows(context: LogContext, report: Report) -> list[dict[str, Any]]:
    """Give the rows of a replication that succeeded, an operation each."""
    details = report.details()
    rows = []
    for target, operation in OPERATIONS.items():
        counts = report.entities[target]
        told = (target, "user") if target == "security_user" else (target,)
        row = log_row(context, operation, is_successful=True)
        row |= {
            "records_processed": counts.read,
            "records_created": counts.inserted,
            "records_updated": counts.written - counts.inserted,
            "records_skipped": counts.skipped,
            "records_failed": counts.rejected,
            "result": _to_json({part: {name: of.get(name) for name in told} for part, of in details.items()}),
        }
        rows.append(row)
    return rows


def failure_row(context: LogContext, error: Exception) -> dict[str, Any]:
    """Give the row of a replication that failed; a refused one tells what was found."""
    row = log_row(context, FAILURE, is_successful=False)
    details = error.details if isinstance(error, ReplicationRefused) else {}
    return row | {"error_message": f"{type(error).__name__}: {error}", "result": _to_json(details) if details else None}


def log_row(context: LogContext, operation: str, *, is_successful: bool) -> dict[str, Any]:
    """Give the columns that a row of any operation has."""
    return {
        "id": str(uuid4()),
        "timestamp": context.now,
        "admin_id": context.admin_id,
        "operation_type": operation,
        "is_successful": is_successful,
        "source_system": context.source_system,
        "duration_ms": context.duration_ms,
        "created_at": context.now,
    }


def _to_json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)
