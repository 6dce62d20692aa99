"""What a run reports of its execution, and what the execution's row makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import String, Table

OPEN_STATUSES = ("pending", "running")
# What MariaDB's TEXT holds, bytes. A String column says its own length, characters.
TEXT_BYTES = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run says of its execution when it enters a state.

    Args:
        execution_id: The execution's id, at most 36 characters.
        run_id: The flow run.
        status: Code of the state that it entered.
        at: When it entered it.
        scheduled_at: When it was to start.
        started_at: When it started, for a run whose start was never reported; default: `at` of the first report, unless
            that is `pending` or `cancelled`: then it has not started.
        host_name: Host that runs it.
        executor_id: Process that runs it.
        error_message: Why it failed.
        error_traceback: Where it failed.
        result_summary: What it did.
        job_id: The row of `scheduled_job` whose schedule made the run; default: the job of its key.
    """

    execution_id: str
    run_id: str
    status: str
    at: datetime
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    host_name: str | None = None
    executor_id: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    result_summary: str | None = None
    job_id: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is one that a run does not leave by itself."""
        return self.status not in OPEN_STATUSES


def takes(row: Mapping[Any, Any], report: RunReport, *, is_open: bool) -> bool:
    """Tell whether an execution's row takes a report: an open one its own run's, an ended one only a later one.

    Args:
        row: The execution's row.
        report: The report.
        is_open: Whether the row's status is pending or running.
    """
    if is_open:
        return row["run_id"] in (None, report.run_id)
    return row["completed_at"] is not None and bool(row["completed_at"] < report.at)


def values_of(report: RunReport, known: Mapping[Any, Any]) -> dict[str, Any]:
    """Give the columns that a report sets; `known` is the open row that it continues, empty if there is none."""
    started_at = known.get("started_at") or report.started_at
    if started_at is None and report.status not in ("pending", "cancelled"):
        started_at = report.at
    values: dict[str, Any] = {
        "run_id": report.run_id,
        "scheduled_at": known.get("scheduled_at") or report.scheduled_at,
        "started_at": started_at,
        "completed_at": report.at if report.has_ended else None,
        "duration_ms": None,
        "host_name": report.host_name or known.get("host_name"),
        "executor_id": report.executor_id or known.get("executor_id"),
        "result_summary": report.result_summary,
        "error_message": report.error_message,
        "error_traceback": report.error_traceback,
    }
    if report.has_ended and started_at is not None:
        values["duration_ms"] = max(0, round((report.at - started_at).total_seconds() * 1000))
    elif not report.has_ended and report.error_message is None:
        # The next attempt begins: what went wrong in the last one stays until this one ends.
        values |= {name: known.get(name) for name in ("error_message", "error_traceback")}
    return values


def fit(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Cut texts to what their columns hold; of a traceback the end is kept, where its cause stands."""
    fitted = dict(values)
    for name, value in values.items():
        kind = table.c[name].type
        if not isinstance(value, str) or not isinstance(kind, String):
            continue
        if kind.length is not None:
            fitted[name] = value[: kind.length]
        elif len(encoded := value.encode()) > TEXT_BYTES:
            part = encoded[-TEXT_BYTES:] if name.endswith("traceback") else encoded[:TEXT_BYTES]
            fitted[name] = part.decode(errors="ignore")
    return fitted
