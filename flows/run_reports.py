"""What a Prefect flow run says of its execution: its states, put as the execution's row wants them."""

import os
import socket
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import FlowRun, State, StateType

from api.repositories.job_repository import job_id_of
from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import OpenExecution
from utils.redaction import redact_text

STATUS_CODES = {
    StateType.SCHEDULED: "pending",
    StateType.PENDING: "pending",
    StateType.RUNNING: "running",
    StateType.COMPLETED: "success",
    StateType.FAILED: "failed",
    StateType.CRASHED: "failed",
    # Prefect calls the hooks of a cancellation when it begins; the process has been told to end by then.
    StateType.CANCELLING: "cancelled",
    StateType.CANCELLED: "cancelled",
}
# In these states a hook runs in the run's own process; the hooks of the others may run in a worker.
STATES_OF_OWN_PROCESS = (StateType.RUNNING, StateType.COMPLETED, StateType.FAILED)


def get_execution_id(flow_run: FlowRun) -> str:
    """Give the execution that a run reports to: the one that it was given as a parameter, or its own."""
    return str(flow_run.parameters.get("execution_id") or flow_run.id)


def get_job_id(flow_run: FlowRun) -> int | None:
    """Give the row of `scheduled_job` whose schedule made a run; None for a run that came by another door."""
    if not flow_run.auto_scheduled or flow_run.created_by is None:
        return None
    return job_id_of(flow_run.created_by.display_value)


def report_skip(flow_run: FlowRun, reason: str) -> RunReport:
    """Give what a run reports that is cancelled instead of started."""
    return RunReport(
        execution_id=get_execution_id(flow_run),
        run_id=str(flow_run.id),
        status="cancelled",
        at=datetime.now(UTC),
        scheduled_at=flow_run.expected_start_time,
        result_summary=f"skipped: {reason}",
        job_id=get_job_id(flow_run),
    )


async def report_state(flow_run: FlowRun, state: State[Any]) -> RunReport:
    """Give what a run reports when it enters a state."""
    outcome = await state.aresult(raise_on_failure=False) if state.data is not None else None
    error_message = error_traceback = None
    if state.type in (StateType.FAILED, StateType.CRASHED):
        error_message = redact_text(state.message or state.name or "failed")
        if isinstance(outcome, Exception):
            error_message, error_traceback = _describe(outcome)
    is_own = state.type in STATES_OF_OWN_PROCESS
    return RunReport(
        execution_id=get_execution_id(flow_run),
        run_id=str(flow_run.id),
        status=STATUS_CODES.get(state.type, "running"),
        at=state.timestamp,
        scheduled_at=flow_run.expected_start_time,
        started_at=flow_run.start_time,
        host_name=socket.gethostname() if is_own else None,
        executor_id=_executor_id() if is_own else None,
        error_message=error_message,
        error_traceback=error_traceback,
        result_summary=_summarize(outcome) if state.type is StateType.COMPLETED else None,
        job_id=get_job_id(flow_run),
    )


def report_failed_attempt(flow_run: FlowRun, error: Exception) -> RunReport:
    """Give what a run reports when an attempt fails and Prefect has not yet said whether there will be another."""
    error_message, error_traceback = _describe(error)
    return RunReport(
        execution_id=get_execution_id(flow_run),
        run_id=str(flow_run.id),
        status="running",
        at=datetime.now(UTC),
        scheduled_at=flow_run.expected_start_time,
        started_at=flow_run.start_time,
        host_name=socket.gethostname(),
        executor_id=_executor_id(),
        error_message=error_message,
        error_traceback=error_traceback,
        job_id=get_job_id(flow_run),
    )


def report_lost(execution: OpenExecution, run: FlowRun | None, current_run_id: str) -> RunReport | None:
    """Give the report that closes an execution, None for one that is to be left open."""
    found_by = f"(found by run {current_run_id})"
    at = datetime.now(UTC)
    status, message = "failed", f"its process ended without a word {found_by}"
    if run is None:
        if execution.run_id is None:
            return None
        message = f"its flow run was deleted before it reported an end {found_by}"
    elif str(run.id) == current_run_id or run.state is None or run.state.is_scheduled() or run.state.is_paused():
        return None
    elif run.state.is_final():
        status, at = STATUS_CODES[run.state.type], run.state.timestamp
        message = redact_text(run.state.message or run.state.name or status)
    elif run.state.is_cancelling():
        status = "cancelled"
    return RunReport(
        execution_id=execution.execution_id,
        run_id=execution.run_id or (str(run.id) if run is not None else ""),
        status=status,
        at=at,
        scheduled_at=run.expected_start_time if run is not None else None,
        started_at=run.start_time if run is not None else None,
        error_message=message if status == "failed" else None,
        result_summary=message if status == "success" else None,
    )


def _executor_id() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def _describe(error: Exception) -> tuple[str, str]:
    return redact_text(f"{type(error).__name__}: {error}"), redact_text("".join(traceback.format_exception(error)))


def _summarize(result: object) -> str | None:
    if isinstance(result, Mapping):
        if "message" in result:
            return redact_text(str(result["message"]))
        return ", ".join(f"{name}: {value}" for name, value in result.items() if isinstance(value, str | int | float))
    return redact_text(result) if isinstance(result, str) else None
