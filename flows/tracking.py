"""Executions have one writer: a flow's state hooks keep the row in `scheduled_job_execution` true.

    @hris_replication_task.flow(name="hris-replication", **track("hris_replication"))
    @track_attempts("hris_replication")
    async def replicate(execution_id=None, ...):
        ...

A run that is given the parameter `execution_id` uses that row; any other run makes one whose `execution_id` is its own.

The history is not worth a run: when a report cannot be written, after a few attempts, the run's log says so and the run
goes on. Nor does a row lie for long: every report carries all that is known, so the next one repairs what an earlier
one failed to write, and `close_lost_executions`, called by the job's next run, closes what nobody reported.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeGuard, TypeVar, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.flows import Flow, FlowStateHook
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Running
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import OpenExecution, SchedulerRepository
from db import fence
from db.maria_database import DatabaseSessionLocal, database
from errors import DatabaseUnreachable, SuiteError
from flows.run_reports import get_execution_id, report_failed_attempt, report_lost, report_skip, report_state
from flows.run_rules import SKIPPED, find_reason_to_skip, take_reason_to_skip
from utils.redaction import redact_text
from utils.structured_logger import correlate, get_structured_logger

P = ParamSpec("P")
R = TypeVar("R")
AsyncFunction = Callable[P, Coroutine[Any, Any, R]]
Hook = FlowStateHook[..., Any]

# Seconds between the attempts to write a report: over a deadlock and a restart of the database's connection, no longer.
REPORT_DELAYS = (0.2, 1.0, 3.0)
# What Prefect's API gives at a time.
RUNS_PER_PAGE = 200

logger = get_structured_logger(__name__)
repository = SchedulerRepository()


class TrackingHooks(TypedDict):
    """The hooks that a flow takes as keyword arguments."""

    on_running: list[Hook]
    on_completion: list[Hook]
    on_failure: list[Hook]
    on_cancellation: list[Hook]
    on_crashed: list[Hook]


def track(job_key: str) -> TrackingHooks:
    """Give the hooks that keep the execution rows of a job's runs.

    Args:
        job_key: The job, for example `hris_replication`; a job for the history is made when `scheduled_job` has none.

    Returns:
        Keyword arguments of `flow`.
    """

    async def record_execution(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
        if state.is_running() and (reason := await find_reason_to_skip(flow_run, state.timestamp)):
            await record_skip(job_key, flow_run, reason)
            return
        await _write(job_key, flow_run, await report_state(flow_run, state))

    hooks: list[Hook] = [record_execution]
    return TrackingHooks(
        on_running=hooks, on_completion=hooks, on_failure=hooks, on_cancellation=hooks, on_crashed=hooks
    )


def track_attempts(job_key: str) -> Callable[[AsyncFunction[P, R]], AsyncFunction[P, R]]:
    """Make a flow's function note why an attempt failed while the run waits for the next, and correlate its log lines.

    Prefect calls no hook when a run goes from Running to AwaitingRetry; this stands between the function and the flow.

    Args:
        job_key: As in `track`.

    Returns:
        A decorator of the asynchronous function, below the one that makes it a flow.
    """

    def decorate(function: AsyncFunction[P, R]) -> AsyncFunction[P, R]:
        @wraps(function)
        async def attempt(*args: P.args, **kwargs: P.kwargs) -> R:
            context = FlowRunContext.get()
            if context is None or not isinstance(context.flow_run, FlowRun):
                return await function(*args, **kwargs)
            if reason := take_reason_to_skip(context.flow_run.id):
                return cast(R, Cancelled(message=f"{SKIPPED}{reason}"))
            with correlate(get_execution_id(context.flow_run)):
                try:
                    result = await function(*args, **kwargs)
                except Exception as error:
                    await _write(job_key, context.flow_run, report_failed_attempt(context.flow_run, error))
                    raise
            await fence.confirm(database)
            return result

        return attempt

    return decorate


async def record_skip(job_key: str, flow_run: FlowRun, reason: str) -> None:
    """Note that a run is cancelled instead of started.

    Args:
        job_key: The job.
        flow_run: The run.
        reason: Why, for people.
    """
    await _write(job_key, flow_run, report_skip(flow_run, reason))


async def close_lost_executions(job_key: str, *, current_run_id: str) -> list[str]:
    """Close the executions of a job whose runs ended without a report.

    To be called by a run that holds the job's lock: what else is open then and claims to run, or to be about to, has
    lost its process and becomes failed. A run that ended is believed, one that was deleted failed, one that waits for
    its time or its retry is left. A pending execution for which no run was made is left too: its message may be on its
    way. Should a closed run go on after all, its next report has a later time and reopens the row.

    Args:
        job_key: The job.
        current_run_id: The calling flow run.

    Returns:
        The ids of the executions that were closed.
    """
    try:
        async with DatabaseSessionLocal() as session:
            open_executions = await repository.find_open_executions(session, job_key)
        others = [execution for execution in open_executions if execution.run_id != current_run_id]
        if not others:
            return []
        async with get_client() as client:
            runs = await _find_runs(client, others, current_run_id)
        return await _close(job_key, others, runs, current_run_id)
    except (SuiteError, SQLAlchemyError, httpx.HTTPError) as error:
        logger.warning(
            "Lost executions were not closed, the job's next run will try", job_key=job_key, error=str(error)
        )
        return []


async def close_ended_executions(
    job_key: str, *, current_run_id: str, dry_run: bool = False, ended_for: timedelta = timedelta()
) -> list[str]:
    """Close the executions of all jobs whose flow runs ended, or were deleted, without a report.

    It needs no job's lock: runs that claim to be under way are left to their jobs' next runs. One that ended is
    believed, one that was deleted failed.

    Args:
        job_key: The calling job.
        current_run_id: The calling flow run.
        dry_run: Only tell what would be closed.
        ended_for: Leave runs that ended less long ago: their own report may be on its way.

    Returns:
        The ids of the executions that were, or would be, closed.
    """
    latest = datetime.now(UTC) - ended_for
    async with DatabaseSessionLocal() as session:
        found = await repository.find_open_executions(session)
    others = [each for each in found if each.run_id != current_run_id and _is_uuid(each.run_id)]
    async with get_client() as client:
        runs = await _find_runs(client, others, current_run_id)
    ended = [
        each
        for each in others
        if (run := runs.get(each.execution_id)) is None
        or (run.state is not None and run.state.is_final() and run.state.timestamp <= latest)
    ]
    if dry_run:
        return [execution.execution_id for execution in ended]
    return await _close(job_key, ended, runs, current_run_id)


async def _write(job_key: str, flow_run: FlowRun, report: RunReport) -> None:
    for delay in (*REPORT_DELAYS, None):
        try:
            async with DatabaseSessionLocal.begin() as session:
                is_written = await repository.record(session, job_key, report)
        except (SuiteError, SQLAlchemyError) as error:
            if delay is None or not isinstance(error, OperationalError | DatabaseUnreachable):
                _tell_failure(flow_run, report, error)
                return
            await asyncio.sleep(delay)
        else:
            if not is_written:
                flow_run_logger(flow_run).warning(
                    "Execution %s was not set to %s: it has ended, or another run has it",
                    report.execution_id,
                    report.status,
                )
            return


def _tell_failure(flow_run: FlowRun, report: RunReport, error: Exception) -> None:
    flow_run_logger(flow_run).error(
        "Execution %s could not be set to %s; the run goes on, its next report or the job's next run corrects it: %s",
        report.execution_id,
        report.status,
        redact_text(str(error)),
    )


async def _find_runs(
    client: PrefectClient, executions: Sequence[OpenExecution], current_run_id: str
) -> dict[str, FlowRun]:
    """Give the flow runs that executions belong to, by execution id."""
    by_run = {UUID(execution.run_id): execution.execution_id for execution in executions if _is_uuid(execution.run_id)}
    found: dict[str, FlowRun] = {}
    run_ids = list(by_run)
    for start in range(0, len(run_ids), RUNS_PER_PAGE):
        ids = run_ids[start : start + RUNS_PER_PAGE]
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
        found |= {by_run[run.id]: run for run in runs}
    if any(execution.run_id is None for execution in executions):
        # A run that was cancelled before it started never said which execution it was for; its parameters do.
        flow_id = (await client.read_flow_run(UUID(current_run_id))).flow_id
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[flow_id])),
            flow_run_filter=FlowRunFilter(
                expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC))
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=RUNS_PER_PAGE,
        )
        for run in runs:
            found.setdefault(get_execution_id(run), run)
    return found


async def _close(
    job_key: str, executions: Sequence[OpenExecution], runs: Mapping[str, FlowRun], current_run_id: str
) -> list[str]:
    closed = []
    async with DatabaseSessionLocal() as session:
        for execution in executions:
            report = report_lost(execution, runs.get(execution.execution_id), current_run_id)
            if report is not None and await repository.record(session, job_key, report):
                closed.append(execution.execution_id)
                logger.warning("Closed a lost execution", execution_id=execution.execution_id, status=report.status)
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None and get_execution_id(context.flow_run) in closed:
        # The lost run had the execution of this one, which has it from now on.
        await _write(job_key, context.flow_run, await report_state(context.flow_run, Running()))
    return closed


def _is_uuid(text: str | None) -> TypeGuard[str]:
    try:
        UUID(text or "")
    except ValueError:
        return False
    return True
