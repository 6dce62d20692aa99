"""The flow that keeps schedules and history true; it runs every minute.

It is no job of `scheduled_job`: it has no execution row of its own.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from api.repositories.job_repository import ScheduledJob
from deployments.deploy import WORK_POOL, connect_async
from deployments.registry import read_registry
from deployments.schedules import Deployed, read_deployments
from deployments.sync import SyncReport, read_jobs, sync_schedules
from deployments.sync_plan import WRITES, Action
from errors import AlreadyRunning
from flows.late_runs import make_missing_runs, skip_late_runs, skip_own_late_runs
from flows.lost_runs import close_dead_executions, note_waiting_runs, record_unreported_ends, settle_lost_runs
from utils.structured_logger import get_structured_logger

NAME = "schedule-sync"
# After a longer pause than this between two runs, ticks may be missing.
LONGEST_PAUSE = timedelta(minutes=3)

logger = get_structured_logger(__name__)


@flow(name=NAME, persist_result=False)
async def sync(*, dry_run: bool = False) -> dict[str, Any] | State[None]:
    """Make Prefect's schedules those of the rows, skip runs that are too late, and close executions whose runs ended.

    Args:
        dry_run: Only say which schedules would change.

    Returns:
        `status`, `message`, and the counts `changed`, `skipped` and `closed`; or the state `RowsRefused`, which names
        the rows that could not be taken.
    """
    if dry_run:
        report = await sync_schedules(dry_run=True)
        await show_changes(report, dry_run=True)
        return {"status": "success", "message": f"Dry run: {report.changes} would change"}
    run_id, deployment_id = UUID(flow_run.get_id() or ""), deployment.get_id()
    async with connect_async() as client:
        await skip_own_late_runs(client, deployment_id, run_id)
        jobs, deployed = await read_jobs(), await read_registered(client)
        skipped = await settle_late_runs(client, jobs, deployed, deployment_id)
        await settle_runs(client, run_id)
        closed = await settle_history(client, deployed, str(run_id))
        try:
            report = await sync_schedules(client=client)
        except AlreadyRunning as error:
            return {"status": "success", "message": str(error), "changed": 0, "skipped": skipped, "closed": closed}
    await show_changes(report, dry_run=False)
    message = f"{report.changes} schedules changed, {skipped} late runs skipped, {closed} executions closed"
    logger.info(message)
    refused = tell_refused(report)
    if refused:
        # Every minute until somebody corrects the row: seen in the UI, but no failure to be notified of each time.
        return Completed(name="RowsRefused", message=refused)
    return {
        "status": "success",
        "message": message,
        "changed": report.changes,
        "skipped": skipped,
        "closed": closed,
    }


async def read_registered(client: PrefectClient) -> dict[str, Deployed]:
    """Give the deployments on the server that run jobs, by job key."""
    by_entrypoint = {each.entrypoint: each for each in await read_deployments(client, WORK_POOL)}
    return {
        key: by_entrypoint[job.deployment.entrypoint]
        for key, job in read_registry().items()
        if job.deployment.entrypoint in by_entrypoint
    }


async def settle_late_runs(
    client: PrefectClient, jobs: list[ScheduledJob], deployed: dict[str, Deployed], own: str | None
) -> int:
    """Make the runs that an outage left out, skip those that are too late; gives how many were skipped."""
    last_run = await find_last_run(client, own)
    if last_run is not None and datetime.now(UTC) - last_run > LONGEST_PAUSE:
        await make_missing_runs(client, jobs, list(deployed.values()), last_run)
    skipped = await skip_late_runs(client, jobs, list(deployed.values()))
    for told in skipped:
        logger.info(f"Skipped {told}")
    return len(skipped)


async def settle_runs(client: PrefectClient, run_id: UUID) -> None:
    """Have runs begin again, or end, whose worker is gone."""
    pool = await client.read_work_pool(WORK_POOL)
    for told in await settle_lost_runs(client, pool.id, f"{NAME} {run_id}"):
        logger.warning(f"Settled the lost run {told}")


async def settle_history(client: PrefectClient, deployed: dict[str, Deployed], run_id: str) -> int:
    """Close executions whose runs ended without a word; gives how many."""
    closed = await note_waiting_runs(client, deployed)
    closed += await close_dead_executions(client, run_id)
    closed += await record_unreported_ends(client, deployed)
    for told in closed:
        logger.warning(f"Closed {told}")
    return len(closed)


async def find_last_run(client: PrefectClient, deployment_id: str | None) -> datetime | None:
    """Give when a run of this flow last ended well, None if there is no such run."""
    if deployment_id is None:
        return None
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment_id)]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.FAILED])),
        ),
        sort=FlowRunSort.END_TIME_DESC,
        limit=1,
    )
    return runs[0].end_time if runs else None


async def show_changes(report: SyncReport, *, dry_run: bool) -> None:
    """Show what changed, and the rows that were refused, as a table on the run's page, if there is anything to show."""
    shown = (*WRITES, Action.REFUSE)
    rows = [
        {
            "job": step.job_id,
            "deployment": step.deployment,
            "schedule": step.slug,
            "action": str(step.action),
            "when": step.told,
        }
        for step in report.steps
        if step.action in shown
    ]
    if rows:
        told = "Would change" if dry_run else "Changed"
        await acreate_table_artifact(rows, key=NAME, description=f"{told}: {report.changes} schedules")


def tell_refused(report: SyncReport) -> str:
    """Name the rows that could not be taken, with the reasons, and the deployments that the server did not change."""
    told = [f"scheduled_job {step.job_id} ({step.deployment}): {step.told}" for step in report.refused]
    return "; ".join([*told, *report.failed])
