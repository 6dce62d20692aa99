"""The deployment that runs every minute settles the runs of workers that are gone, also when no worker is left."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRunPolicy, State
from prefect.states import AwaitingRetry, Cancelling, Completed, Pending, Running
from sqlalchemy import select, text, update

from api.repositories.lease_repository import Holder, LeaseRepository
from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import SchedulerRepository
from db import maria_database
from db.leases import flow_run_lease
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job_execution, scheduler_execution_status
from flows import lost_runs
from flows.lost_runs import settle_lost_runs
from workers.leases import Leases
from workers.lost_runs import LostRuns
from workers.records import Records

RETRIES_LEFT = FlowRunPolicy(retries=2, retry_delay=30)
NO_RETRIES = FlowRunPolicy(retries=0)


class Pool:
    """A work pool without workers, and runs that somebody claims to have."""

    def __init__(self, client: PrefectClient, id: UUID, deployment: UUID) -> None:
        self.client = client
        self.id = id
        self.deployment = deployment

    async def run(self, state: State, policy: FlowRunPolicy = NO_RETRIES) -> UUID:
        """Make a run in a state."""
        run = await self.client.create_flow_run_from_deployment(self.deployment)
        await self.client.update_flow_run(run.id, empirical_policy=policy)
        await self.client.set_flow_run_state(run.id, state, force=True)
        return run.id

    async def lease(self, *runs: UUID, is_expired: bool) -> None:
        """Have a worker of another machine hold runs."""
        holder = Holder("gone", "one.example.org", str(self.id), 60)
        async with DatabaseSessionLocal() as session:
            for run in runs:
                assert await LeaseRepository().take(session, holder, str(run), str(uuid4()))
            if is_expired:
                expired = update(flow_run_lease).values(expires_at=text("UTC_TIMESTAMP(6) - INTERVAL 1 SECOND"))
                await session.execute(expired.where(flow_run_lease.c.flow_run_id.in_(map(str, runs))))
                await session.commit()

    async def state(self, run: UUID) -> State:
        """Read a run's state."""
        state = (await self.client.read_flow_run(run)).state
        assert state is not None
        return state


@pytest.fixture
async def pool(
    prefect_api: str, migrated_mariadb_url: str, settings_environment: Callable[..., None]
) -> AsyncIterator[Pool]:
    settings_environment(MARIA_DATABASE_URL=migrated_mariadb_url)
    name = f"lost-{uuid4().hex[:8]}"
    async with get_client() as client:
        made = await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        flow = await client.create_flow_from_name(name)
        yield Pool(client, made.id, await client.create_deployment(flow_id=flow, name=name, work_pool_name=name))
        await client.delete_work_pool(name)
    await maria_database.database.dispose()


async def test_runs_whose_lease_expired_are_settled_by_what_they_were_and_others_left(pool: Pool) -> None:
    due = datetime.now(UTC) + timedelta(minutes=5)
    in_process = FlowRunPolicy(retries=2, retry_type="in_process")
    runs = {
        "pending": await pool.run(Pending()),
        "again": await pool.run(Running(), RETRIES_LEFT),
        "crashed": await pool.run(Running()),
        "waiting": await pool.run(AwaitingRetry(scheduled_time=due), in_process),
        "cancelling": await pool.run(Cancelling()),
        "completed": await pool.run(Completed()),
    }
    await pool.lease(*runs.values(), is_expired=True)
    living = await pool.run(Running())
    await pool.lease(living, is_expired=False)
    before = datetime.now(UTC)
    # Two at once: each run is settled by one of them.
    told = await asyncio.gather(*(settle_lost_runs(pool.client, pool.id, name) for name in ("one", "two")))
    assert sorted(told[0] + told[1]) == sorted(map(str, runs.values()))
    states = {name: await pool.state(run) for name, run in runs.items()}
    assert {name: state.name for name, state in states.items()} == {
        "pending": "AwaitingRetry",
        "again": "AwaitingRetry",
        "crashed": "Crashed",
        "waiting": "AwaitingRetry",
        "cancelling": "Cancelled",
        "completed": "Completed",
    }
    assert "gone on one.example.org" in str(states["crashed"].message)
    again = states["again"].state_details.scheduled_time
    assert again is not None
    assert again >= before + timedelta(seconds=30), "after the delay of its retries"
    assert states["waiting"].state_details.scheduled_time == due
    assert (await pool.client.read_flow_run(runs["waiting"])).empirical_policy.retry_type == "reschedule"
    assert (await pool.state(living)).name == "Running"
    assert await settle_lost_runs(pool.client, pool.id, "later") == []


async def test_a_settled_run_may_be_taken_again_and_keeps_its_row(pool: Pool) -> None:
    run = await pool.run(Running(), RETRIES_LEFT)
    await pool.lease(run, is_expired=True)
    await settle_lost_runs(pool.client, pool.id, "sync")
    async with DatabaseSessionLocal() as session:
        assert list(await session.scalars(select(flow_run_lease.c.expires_at))) == [None]
    await pool.lease(run, is_expired=False)


async def test_a_worker_closes_the_row_of_a_run_whose_process_died_between_its_last_state_and_its_report(
    pool: Pool, tmp_path: Path
) -> None:
    run = await pool.run(Running())
    report = RunReport(execution_id=str(uuid4()), run_id=str(run), status="running", at=datetime.now(UTC))
    async with DatabaseSessionLocal.begin() as session:
        await SchedulerRepository().record(session, "lost", report)
    await pool.client.set_flow_run_state(run, Completed(), force=True)
    leases = Leases("finder", lambda: pool.id, lambda _: None)
    await LostRuns(pool.client, Records(tmp_path), leases, lambda: None).settle(run)
    code = select(scheduler_execution_status.c.code).join(
        scheduled_job_execution, scheduled_job_execution.c.status_id == scheduler_execution_status.c.id
    )
    async with DatabaseSessionLocal() as session:
        assert await session.scalar(code.where(scheduled_job_execution.c.run_id == str(run))) == "success"


async def test_runs_that_nobody_has_and_that_should_have_begun_long_ago_are_scheduled_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranded, late = await pool.run(Pending()), datetime.now(UTC) - timedelta(minutes=1)
    retry = await pool.run(AwaitingRetry(scheduled_time=late), FlowRunPolicy(retries=2, retry_type="in_process"))
    waiting = await pool.run(AwaitingRetry(scheduled_time=late), FlowRunPolicy(retries=2))
    held = await pool.run(Pending())
    await pool.lease(held, is_expired=False)
    assert await settle_lost_runs(pool.client, pool.id, "too early") == []
    # A negative time stands for the minutes that pass.
    monkeypatch.setattr(lost_runs, "STRANDED_FOR", timedelta(seconds=-5))
    assert sorted(await settle_lost_runs(pool.client, pool.id, "sync")) == sorted(map(str, (stranded, retry)))
    assert (await pool.state(stranded)).name == "AwaitingRetry"
    assert (await pool.client.read_flow_run(retry)).empirical_policy.retry_type == "reschedule"
    assert (await pool.state(held)).name == "Pending"
    assert (await pool.client.read_flow_run(waiting)).empirical_policy.retry_type is None, "a worker will take it"
