"""Skips runs that wait and will not run anyway, before a process is started for each, and makes runs that are missing.

After an hour without a worker there are hundreds of late runs; what APScheduler would have made of them is decided here
in one go. What is only decided when a run starts is in `flows/run_rules.py`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled

from api.repositories.job_repository import ScheduledJob, job_id_of
from deployments.schedules import Deployed
from deployments.sync import schedule_runs
from flows.run_reports import get_job_id
from flows.run_rules import AWAITING_SLOT, BACKLOG, SKIPPED, judge_lateness, judge_refusal, read_wait
from flows.tracking import record_skip

RUNS_PER_PAGE = 200


async def skip_late_runs(
    client: PrefectClient, jobs: Sequence[ScheduledJob], deployed: Sequence[Deployed]
) -> list[str]:
    """Cancel the waiting runs that the rules of their rows do not let run.

    Args:
        client: A client of the Prefect server.
        jobs: The rows of `scheduled_job`.
        deployed: The deployments that run them.

    Returns:
        What was skipped, as the runs' names and the reasons.
    """
    by_id = {job.id: job for job in jobs}
    waiting: dict[int, list[FlowRun]] = defaultdict(list)
    for run in await _read_waiting(client, deployed):
        job_id = get_job_id(run)
        if job_id in by_id:
            waiting[job_id].append(run)
    told = []
    for job_id, runs in waiting.items():
        for run, reason in (await _decide(client, by_id[job_id], runs)).values():
            if await _skip(client, by_id[job_id], run, reason):
                told.append(f"{run.name}: {reason}")
    return told


async def skip_own_late_runs(client: PrefectClient, deployment_id: object, current_run_id: object) -> int:
    """Cancel the waiting runs of the calling flow's deployment that are due: this run does their work.

    Args:
        client: A client of the Prefect server.
        deployment_id: The deployment; None for a run without one.
        current_run_id: The calling run.

    Returns:
        How many were cancelled.
    """
    if deployment_id is None:
        return 0
    runs = await _read_due(client, [deployment_id], datetime.now(UTC))
    others = [run for run in runs if run.id != current_run_id and run.auto_scheduled]
    for run in others:
        await client.set_flow_run_state(run.id, Cancelled(message=f"{SKIPPED}a later run did its work"))
    return len(others)


async def make_missing_runs(
    client: PrefectClient,
    jobs: Sequence[ScheduledJob],
    deployed: Sequence[Deployed],
    since: datetime,
) -> None:
    """Have the server make the runs that were due while it was down, as far back as the rows' grace allows.

    Runs that exist, in whatever state, are not made again. To be called only after such a time, for a run that somebody
    deleted would be made again too.

    Args:
        client: A client of the Prefect server.
        jobs: The rows of `scheduled_job`.
        deployed: The deployments that run them.
        since: The last time at which all was well.
    """
    now = datetime.now(UTC)
    grace = {job.id: job.misfire_grace_time for job in jobs if job.is_enabled}
    for deployment in deployed:
        longest = max((grace.get(job_id_of(each.slug) or 0, 0) for each in deployment.schedules), default=0)
        start = max(since, datetime.fromtimestamp(now.timestamp() - longest, UTC))
        if start < now:
            await schedule_runs(client, deployment.id, start, now)


async def _read_waiting(client: PrefectClient, deployed: Sequence[Deployed]) -> list[FlowRun]:
    # Runs that are hardly late are the worker's.
    return await _read_due(client, [each.id for each in deployed], datetime.now(UTC) - BACKLOG)


async def _read_due(client: PrefectClient, deployment_ids: Sequence[object], before: datetime) -> list[FlowRun]:
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId.model_validate({"any_": deployment_ids}),
                expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": before}),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=RUNS_PER_PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < RUNS_PER_PAGE:
            # A run that waits for its retry has run: its row's rules have been asked.
            return [run for run in found if run.run_count == 0]


async def _decide(
    client: PrefectClient, job: ScheduledJob, runs: Sequence[FlowRun]
) -> Mapping[str, tuple[FlowRun, str]]:
    """Say which waiting runs of a row are to be skipped, oldest first."""
    now = datetime.now(UTC)
    skipped: dict[str, tuple[FlowRun, str]] = {}
    kept = []
    for run in runs:
        due = run.expected_start_time or now
        reason = judge_lateness(job, due, now)
        if reason is None and run.state_name == AWAITING_SLOT:
            wait = read_wait(await client.read_flow_run_states(run.id), now)
            reason = judge_refusal(job, due, wait.refused_at)
        if reason is None:
            kept.append(run)
        else:
            skipped[str(run.id)] = (run, reason)
    if job.coalesce:
        for run in kept[:-1]:
            skipped[str(run.id)] = (run, f"coalesced with the run that was due at {kept[-1].expected_start_time}")
    return skipped


async def _skip(client: PrefectClient, job: ScheduledJob, run: FlowRun, reason: str) -> bool:
    # Asked again at the last moment: a worker may have taken it meanwhile, and then it decides itself.
    present = await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    if not present or present[0].state is None or not present[0].state.is_scheduled():
        return False
    await client.set_flow_run_state(run.id, Cancelled(message=f"{SKIPPED}{reason}"))
    await record_skip(job.key, run, reason)
    return True
