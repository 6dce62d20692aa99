"""Finds runs that ended without a word, whatever the job, and makes their states and rows say so.

A process that dies tells nobody. A worker says that it has its runs by leases, which expire when it dies
(`workers.leases`). Other runs are looked for on this machine by the number of their process; elsewhere Prefect misses
their heartbeats, and an automation makes them Crashed (`deployments/automations.py`).
"""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import OpenExecution, RunningExecution, SchedulerRepository
from db.maria_database import DatabaseSessionLocal
from deployments.schedules import Deployed
from flows.run_reports import STATUS_CODES, get_execution_id, get_job_id
from flows.run_rules import SKIPPED
from flows.tracking import close_ended_executions
from utils.redaction import redact_text
from workers.leases import Leases
from workers.lost_runs import describe
from workers.settling import may_be_tried_again, settle

# Ends that are looked at again: more than the pause between two runs of the flow that calls this.
LOOK_BACK = timedelta(minutes=15)
# A clock that counts process starts in hundredths of a second may be a little off.
CLOCK_TOLERANCE = timedelta(seconds=2)
# What a run's own report takes at most, with its repetitions.
REPORT_TIME = timedelta(seconds=20)
JOB = "schedule_sync"
# Far longer than a worker takes to start a process, or is late for a retry.
STRANDED_FOR = timedelta(minutes=10)
# So long a message may lie with the broker while no Celery worker runs.
LONGEST_WAIT = timedelta(days=1)

repository = SchedulerRepository()


async def settle_lost_runs(client: PrefectClient, work_pool_id: UUID, finder: str) -> list[str]:
    """Bring runs to an end, or have them begin again, whose worker has not been heard of; workers do so too.

    A run that no worker says to have, and that has neither begun nor come to its next attempt for `STRANDED_FOR`, was
    left by a worker of another type, or by one that could not reach the application database.

    Args:
        client: A client of the Prefect server.
        work_pool_id: Of the runs of this work pool.
        finder: The calling run, named as the one that settles them.

    Returns:
        The runs that were settled.
    """
    leases = Leases(finder, lambda: work_pool_id, lambda _: None)
    told = []
    for lease in await leases.take_over_expired():
        flow_run_id = UUID(lease.flow_run_id)
        await settle(client, flow_run_id, describe(lease, leases.seconds))
        await leases.release(flow_run_id)
        told.append(str(flow_run_id))
    for run in await _find_stranded(client, work_pool_id):
        if await leases.take(run.id):
            await settle(client, run.id, f"Nothing was heard of its worker for {STRANDED_FOR}.")
            await leases.release(run.id)
            told.append(str(run.id))
    return told


async def close_dead_executions(client: PrefectClient, current_run_id: str) -> list[str]:
    """Close the executions whose process on this machine is gone, whose run ended, or whose run was deleted.

    Args:
        client: A client of the Prefect server.
        current_run_id: The calling flow run.

    Returns:
        The executions that were closed.
    """
    async with DatabaseSessionLocal() as session:
        running = await repository.find_running_executions(session, socket.gethostname())
    for execution in running:
        if execution.run_id != current_run_id and not _is_alive(execution):
            await _crash(client, execution)
    return await close_ended_executions(JOB, current_run_id=current_run_id, ended_for=REPORT_TIME)


async def record_unreported_ends(client: PrefectClient, deployed: Mapping[str, Deployed]) -> list[str]:
    """Note runs that were cancelled or crashed without a word, for example cancelled in the UI while they waited.

    Args:
        client: A client of the Prefect server.
        deployed: The deployments that run jobs, by job key.

    Returns:
        The executions that were closed or made.
    """
    keys = {deployment.id: key for key, deployment in deployed.items()}
    if not keys:
        return []
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=list(keys)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLED, StateType.CRASHED])),
            end_time=FlowRunFilterEndTime.model_validate({"after_": datetime.now(UTC) - LOOK_BACK}),
        )
    )
    told = []
    for run in runs:
        if run.state is not None and (run.state.message or "").startswith(SKIPPED):
            continue
        async with DatabaseSessionLocal() as session:
            if run.deployment_id is not None and await repository.record(
                session, keys[run.deployment_id], _report_end(run)
            ):
                told.append(get_execution_id(run))
    return told


async def note_waiting_runs(client: PrefectClient, deployed: Mapping[str, Deployed]) -> list[str]:
    """Note which runs pending executions wait for, so that a run's deletion is noticed; close those that wait in vain.

    Args:
        client: A client of the Prefect server.
        deployed: The deployments that run jobs, by job key.

    Returns:
        The executions that were closed.
    """
    async with DatabaseSessionLocal() as session:
        found = await repository.find_open_executions(session)
    waiting = {each.execution_id: each for each in found if each.run_id is None}
    if not waiting or not deployed:
        return []
    oldest = min(each.created_at for each in waiting.values())
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[each.id for each in deployed.values()]),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"after_": oldest}),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    closed = []
    async with DatabaseSessionLocal() as session:
        for run in runs:
            if waiting.pop(get_execution_id(run), None) is not None:
                await repository.record(session, JOB, _report_waiting(run))
        for execution in waiting.values():
            if datetime.now(UTC) - execution.created_at > LONGEST_WAIT:
                await repository.record(session, JOB, _report_vain(execution))
                closed.append(execution.execution_id)
    return closed


async def _find_stranded(client: PrefectClient, work_pool_id: UUID) -> list[FlowRun]:
    """Give runs that some process should have taken on long ago."""
    latest = datetime.now(UTC) - STRANDED_FOR
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Pending", "Submitting", "AwaitingRetry"])),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": latest}),
        ),
        work_pool_filter=WorkPoolFilter(id=WorkPoolFilterId(any_=[work_pool_id])),
    )
    return [
        run
        for run in runs
        if run.state is not None
        and max(run.state.timestamp, run.state.state_details.scheduled_time or run.state.timestamp) < latest
        and (run.state.is_pending() or may_be_tried_again(run))
    ]


def _report_waiting(run: FlowRun) -> RunReport:
    return RunReport(
        execution_id=get_execution_id(run),
        run_id=str(run.id),
        status="pending",
        at=datetime.now(UTC),
        scheduled_at=run.expected_start_time,
    )


def _report_vain(execution: OpenExecution) -> RunReport:
    return RunReport(
        execution_id=execution.execution_id,
        run_id="",
        status="failed",
        at=datetime.now(UTC),
        error_message=f"no flow run was made for it within {LONGEST_WAIT}: its message was lost, or its run deleted",
    )


def _report_end(run: FlowRun) -> RunReport:
    state = run.state
    status = STATUS_CODES[state.type] if state is not None else "cancelled"
    message = redact_text((state.message if state is not None else None) or f"{run.state_name} before it started")
    return RunReport(
        execution_id=get_execution_id(run),
        run_id=str(run.id),
        status=status,
        at=state.timestamp if state is not None else datetime.now(UTC),
        scheduled_at=run.expected_start_time,
        error_message=message if status == "failed" else None,
        result_summary=message if status == "cancelled" else None,
        job_id=get_job_id(run),
    )


def _is_alive(execution: RunningExecution) -> bool:
    """Tell whether the process that runs an execution on this machine still does."""
    number = (execution.executor_id or "").partition("@")[0]
    if not number.isdigit() or execution.started_at is None:
        return True
    try:
        process = psutil.Process(int(number))
        began = datetime.fromtimestamp(process.create_time(), UTC)
        return process.status() != psutil.STATUS_ZOMBIE and began <= execution.started_at + CLOCK_TOLERANCE
    except psutil.NoSuchProcess:
        return False


async def _crash(client: PrefectClient, execution: RunningExecution) -> None:
    """Make a run Crashed that claims to run; one that waits for its retry, or has ended, is left."""
    try:
        run = await client.read_flow_run(UUID(execution.run_id))
    except ObjectNotFound:
        return
    if run.state is not None and (run.state.is_running() or run.state.is_cancelling()):
        message = f"Its process {execution.executor_id} ended without a word."
        await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
