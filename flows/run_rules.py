"""APScheduler's rules for runs that the schedule of a row made: `misfire_grace_time`, `max_instances`, `coalesce`.

Prefect starts every run that was due, however late. Whether one is to run is decided when it starts, by what the row
says then; `flows/late_runs.py` decides the same, by the same rules, for runs that wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from sqlalchemy.exc import SQLAlchemyError

from api.repositories.job_repository import JobRepository, ScheduledJob
from db.maria_database import DatabaseSessionLocal
from errors import SuiteError
from flows.run_reports import get_job_id
from utils.structured_logger import get_structured_logger

# A run that was first tried this long after its time had been kept waiting: by an outage, or by a full work pool.
BACKLOG = timedelta(seconds=15)
AWAITING_SLOT = "AwaitingConcurrencySlot"
# How the message of a run begins that the rules cancelled.
SKIPPED = "Skipped: "
# How far back runs are looked at; what ran before cannot concern a run that is due now.
RUNS_LOOKED_AT = 100

logger = get_structured_logger(__name__)
repository = JobRepository()
_skipped: dict[UUID, str] = {}
_judged: set[UUID] = set()


@dataclass(frozen=True, slots=True)
class Siblings:
    """The other runs that schedules of the same row made.

    Args:
        running: How many run, and have run for longer.
        covering_start: When one of them started that was not due later and had not started when this one was due.
    """

    running: int
    covering_start: datetime | None


@dataclass(frozen=True, slots=True)
class Wait:
    """How a run came to its start.

    Args:
        taken_at: When a worker took it.
        refused_at: When a worker wanted to take it and the deployment's concurrency limit was reached; None: never.
    """

    taken_at: datetime
    refused_at: datetime | None = None


def judge(job: ScheduledJob | None, due: datetime, wait: Wait, siblings: Siblings) -> str | None:
    """Say why a run is to be skipped, None if it is to run.

    Args:
        job: Its row, None if that is deleted.
        due: When it was due.
        wait: How it came to its start.
        siblings: The row's other runs.
    """
    if job is None:
        return "its job was deleted"
    if not job.is_enabled:
        return "its job is not enabled"
    reason = judge_lateness(job, due, wait.taken_at) or judge_refusal(job, due, wait.refused_at)
    if reason is not None:
        return reason
    if job.coalesce and siblings.covering_start is not None:
        return f"coalesced with the run that started at {siblings.covering_start:%H:%M:%S} UTC, when it was due already"
    if siblings.running >= job.max_instances:
        return f"max_instances: {siblings.running} of its job's runs were running"
    return None


def judge_lateness(job: ScheduledJob, due: datetime, taken_at: datetime) -> str | None:
    """Say that a run is later than its row allows, None if it is not."""
    late = (taken_at - due).total_seconds()
    if late > job.misfire_grace_time:
        return f"{late:.0f} s late, more than the misfire_grace_time of {job.misfire_grace_time} s"
    return None


def judge_refusal(job: ScheduledJob, due: datetime, refused_at: datetime | None) -> str | None:
    """Say that a run was due while its row's other runs were running, None if it was not.

    Without `coalesce`, APScheduler ran what was due during an outage one after the other: such runs wait.
    """
    if refused_at is None or (not job.coalesce and refused_at - due > BACKLOG):
        return None
    return f"max_instances: {job.max_instances} of its job's runs were running when it was due"


async def find_reason_to_skip(flow_run: FlowRun, started_at: datetime) -> str | None:
    """Decide once, when a run starts, whether it is to run; runs that no row's schedule made always are.

    If the rules cannot be read, the run runs.

    Args:
        flow_run: The run.
        started_at: When it entered the state Running.

    Returns:
        Why it is to be skipped.
    """
    job_id = get_job_id(flow_run)
    if job_id is None or flow_run.run_count > 1 or flow_run.id in _judged:
        return None
    _judged.add(flow_run.id)
    try:
        job = await _read_job(job_id)
        async with get_client() as client:
            siblings = await _find_siblings(client, flow_run, job_id, started_at)
            wait = read_wait(await client.read_flow_run_states(flow_run.id), started_at)
    except (SuiteError, SQLAlchemyError, httpx.HTTPError) as error:
        logger.warning("The run's rules could not be read, it runs", job_id=job_id, error=str(error))
        return None
    reason = judge(job, flow_run.expected_start_time or started_at, wait, siblings)
    if reason is not None:
        _skipped[flow_run.id] = reason
    return reason


def take_reason_to_skip(run_id: UUID) -> str | None:
    """Give, once, what was decided of a run in this process."""
    return _skipped.pop(run_id, None)


def read_wait(states: Iterable[State], started_at: datetime) -> Wait:
    """Read from a run's states how it came to its start.

    Args:
        states: All its states.
        started_at: When it started, or now for one that waits.
    """
    taken = [state.timestamp for state in states if state.type is StateType.PENDING]
    refused = [state.timestamp for state in states if state.name == AWAITING_SLOT]
    return Wait(max(taken, default=started_at), min(refused, default=None))


async def _read_job(job_id: int) -> ScheduledJob | None:
    async with DatabaseSessionLocal() as session:
        return next(iter(await repository.read_jobs(session, [job_id])), None)


async def _find_siblings(client: PrefectClient, flow_run: FlowRun, job_id: int, started_at: datetime) -> Siblings:
    """Look at the runs of the deployment that were due until now, newest first."""
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id] if flow_run.deployment_id else []),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.CANCELLED, StateType.CANCELLING])),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=RUNS_LOOKED_AT,
    )
    siblings = [each for each in runs if each.id != flow_run.id and get_job_id(each) == job_id]
    due = flow_run.expected_start_time or started_at
    me = (started_at, flow_run.id)
    before = [each for each in siblings if each.start_time is not None and (each.start_time, each.id) < me]
    covering = [each.start_time for each in before if each.start_time is not None and each.start_time >= due]
    return Siblings(
        running=sum(each.state is not None and each.state.is_running() for each in before),
        covering_start=min(covering, default=None),
    )
