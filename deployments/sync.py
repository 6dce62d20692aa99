"""Makes the schedules on Prefect's server those of the rows of `scheduled_job`; doing it again changes nothing.

A schedule is changed in place, so there is no moment without it, and its id is part of the key of each of its runs, so
no tick is started twice. Prefect drops the coming runs of a deployment that changes and makes them anew a little later:
those that fall between are asked for at once, from the time before the change.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient

from api.repositories.job_repository import JobRepository, ScheduledJob
from db.advisory_lock import hold_lock
from db.maria_database import DatabaseSessionLocal, database
from deployments.deploy import WORK_POOL, connect_async
from deployments.registry import read_registry
from deployments.schedules import read_deployments
from deployments.sync_plan import WRITES, Action, DeploymentPlan, Step, SyncPlan, plan_sync
from deployments.work_queues import ensure_queues
from settings import get_settings

LOCK = "schedule sync"
SCHEDULE_PATH: Any = "/deployments/{id}/schedules/{schedule_id}"
repository = JobRepository()


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, or would do.

    Args:
        steps: Every schedule and every refused row.
        failed: Deployments that the server did not change, with what it said.
    """

    steps: Sequence[Step]
    failed: Sequence[str]

    @property
    def changes(self) -> int:
        """How many schedules are not as they were."""
        return sum(step.action in WRITES for step in self.steps)

    @property
    def refused(self) -> list[Step]:
        """Rows that are not understood."""
        return [step for step in self.steps if step.action is Action.REFUSE]

    @property
    def is_clean(self) -> bool:
        """Whether every row could be taken."""
        return not self.refused and not self.failed


async def sync_schedules(
    *, dry_run: bool = False, work_pool: str = WORK_POOL, client: PrefectClient | None = None
) -> SyncReport:
    """Bring Prefect's schedules in line with the rows.

    Args:
        dry_run: Only say what would change.
        work_pool: The pool whose deployments are concerned.
        client: An open client of the Prefect server; by default one is opened.

    Returns:
        What was, or would be, done.

    Raises:
        AlreadyRunning: Another sync is at work.
        DatabaseUnreachable: The rows cannot be read; nothing was changed.
        DeployError: Prefect's server cannot be reached; rows and schedules not yet written stay as they are.
    """
    opened = connect_async() if client is None else nullcontext(client)
    if dry_run:
        async with opened as open_client:
            return SyncReport((await _plan(open_client, work_pool)).steps, [])
    async with hold_lock(database, LOCK), opened as open_client:
        return await _apply(open_client, work_pool, await _plan(open_client, work_pool))


async def read_jobs() -> list[ScheduledJob]:
    """Give the rows of `scheduled_job` that are not deleted."""
    async with DatabaseSessionLocal() as session:
        return await repository.read_jobs(session)


async def _plan(client: PrefectClient, work_pool: str) -> SyncPlan:
    jobs = await read_jobs()
    deployed = await read_deployments(client, work_pool)
    return plan_sync(jobs, read_registry(), deployed, get_settings().site_timezone, datetime.now(UTC).date())


async def _apply(client: PrefectClient, work_pool: str, plan: SyncPlan) -> SyncReport:
    await ensure_queues(client, work_pool, plan.priorities)
    failed = []
    for deployment in plan.deployments:
        if not deployment.writes:
            continue
        try:
            await _write(client, work_pool, deployment)
        except httpx.HTTPStatusError as error:
            failed.append(f"deployment {deployment.name!r} was not changed, the next sync tries again: {error}")
    return SyncReport(plan.steps, failed)


async def _write(client: PrefectClient, work_pool: str, deployment: DeploymentPlan) -> None:
    start = datetime.now(UTC)
    changed = [step for step in deployment.steps if step.action in WRITES]
    together = [] if deployment.has_nameless else changed
    settings: dict[str, Any] = dict(deployment.settings)
    if "work_queue_name" in settings:
        settings["work_pool_name"] = work_pool
    if together:
        settings["schedules"] = [_to_json(step) for step in together]
    path = {"id": deployment.id}
    if settings:
        await client.request("PATCH", "/deployments/{id}", path_params=path, json=settings)
    if deployment.has_nameless:
        for step in changed:
            await _write_alone(client, deployment, step)
    for step in changed:
        if step.action is Action.REMOVE:
            await client.request("DELETE", SCHEDULE_PATH, path_params=path | {"schedule_id": step.schedule_id})
    await schedule_runs(client, deployment.id, start)


async def _write_alone(client: PrefectClient, deployment: DeploymentPlan, step: Step) -> None:
    """Write one schedule: several at once would replace the ones without a slug."""
    path = {"id": deployment.id, "schedule_id": step.schedule_id}
    if step.schedule_id is not None:
        await client.request("PATCH", SCHEDULE_PATH, path_params=path, json=_to_json(step))
    else:
        await client.request("POST", "/deployments/{id}/schedules", path_params=path, json=[_to_json(step)])


async def schedule_runs(
    client: PrefectClient, deployment_id: object, start: datetime, end: datetime | None = None
) -> None:
    """Have the server make the runs of a deployment's schedules from a time on; runs that exist stay as they are.

    Args:
        client: A client of the Prefect server.
        deployment_id: The deployment.
        start: The first time.
        end: The last time; by default as far ahead as the server's own scheduler goes.
    """
    body = {"start_time": start.isoformat()}
    if end is not None:
        body["end_time"] = end.isoformat()
    await client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment_id}, json=body)


def _to_json(step: Step) -> dict[str, Any]:
    schedule = {} if step.schedule is None else {"schedule": step.schedule.to_json()}
    return {"slug": step.slug, "active": step.active, **schedule}
