"""After an hour without server or worker the runs that remain are those that APScheduler would have run."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from apscheduler.events import EVENT_JOB_EXECUTED, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from sqlalchemy import select

from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job, scheduled_job_execution, scheduler_execution_status
from deployments.schedules import Deployed, read_deployments
from deployments.sync import read_jobs, schedule_runs, sync_schedules
from flows.late_runs import make_missing_runs, skip_late_runs
from flows.lost_runs import record_unreported_ends
from tests.integration.schedules.conftest import add_job

pytestmark = pytest.mark.usefixtures("app_database")
EVERY = timedelta(minutes=10)
OUTAGE = timedelta(hours=1)


async def find(client: PrefectClient, pool: str) -> Deployed:
    return next(each for each in await read_deployments(client, pool) if each.name == "hris_replication")


async def read_due(client: PrefectClient, deployment_id: UUID) -> list[FlowRun]:
    now = datetime.now(UTC)
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": now}),
        )
    )


async def read_rows() -> list[tuple[str, datetime, str]]:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(status.c.code, table.c.scheduled_at, table.c.result_summary, table.c.started_at).join(status)
        rows = (await session.execute(query.order_by(table.c.scheduled_at))).all()
    assert all(row.started_at is None for row in rows)
    return [(row.code, row.scheduled_at, row.result_summary) for row in rows]


def run_apscheduler(ticks: Sequence[datetime], *, grace: int, coalesce: bool) -> list[datetime]:
    """Let APScheduler find itself an hour behind; gives the times that it ran."""
    executed: list[datetime] = []
    settled = threading.Event()
    scheduler = BackgroundScheduler(timezone=UTC)

    def listen(event: JobExecutionEvent) -> None:
        if event.code == EVENT_JOB_EXECUTED:
            executed.append(event.scheduled_run_time)
        if event.scheduled_run_time == ticks[-1]:
            settled.set()

    scheduler.add_listener(listen, EVENT_JOB_EXECUTED | EVENT_JOB_MISSED)
    scheduler.add_job(
        lambda: None,
        IntervalTrigger(seconds=EVERY.total_seconds(), start_date=ticks[0], timezone=UTC),
        next_run_time=ticks[0],
        misfire_grace_time=grace,
        coalesce=coalesce,
        max_instances=1,
    )
    scheduler.start()
    try:
        assert settled.wait(30)
    finally:
        scheduler.shutdown()
    return executed


@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("grace", [1500, 300, 7200])
async def test_of_an_hours_late_runs_those_remain_that_apscheduler_ran(
    client: PrefectClient, pool: str, grace: int, coalesce: bool
) -> None:
    now = datetime.now(UTC)
    created = (now - timedelta(minutes=6) - timedelta(days=1)).replace(microsecond=0)
    job = await add_job(interval_minutes=10, misfire_grace_time=grace, coalesce=coalesce, created_at=created)
    await sync_schedules(work_pool=pool)
    deployment = await find(client, pool)
    await schedule_runs(client, deployment.id, now - OUTAGE, now)
    ticks = sorted(run.expected_start_time for run in await read_due(client, deployment.id) if run.expected_start_time)
    assert len(ticks) == 6

    await skip_late_runs(client, await read_jobs(), [deployment])
    due = await read_due(client, deployment.id)
    remaining = sorted(
        run.expected_start_time
        for run in due
        if run.expected_start_time and run.state is not None and run.state.is_scheduled()
    )
    assert remaining == sorted(run_apscheduler(ticks, grace=grace, coalesce=coalesce))
    skipped = [run for run in due if run.state is not None and run.state.is_cancelled()]
    assert all(run.state is not None and str(run.state.message).startswith("Skipped: ") for run in skipped)
    rows = await read_rows()
    assert [(code, tick) for code, tick, _ in rows] == [("cancelled", tick) for tick in ticks if tick not in remaining]
    assert all(summary.startswith("skipped: ") for *_, summary in rows)
    async with DatabaseSessionLocal() as session:
        last_run = await session.scalar(select(scheduled_job.c.last_run_at).where(scheduled_job.c.id == job))
    assert last_run is None, "what is skipped has not run"


async def test_ticks_that_the_server_slept_through_are_made_once_as_far_as_the_grace_goes(
    client: PrefectClient, pool: str
) -> None:
    now = datetime.now(UTC)
    created = (now - timedelta(minutes=6) - timedelta(days=1)).replace(microsecond=0)
    await add_job(interval_minutes=10, misfire_grace_time=1500, created_at=created)
    await sync_schedules(work_pool=pool)
    deployment = await find(client, pool)
    assert not await read_due(client, deployment.id)
    for _ in range(2):
        await make_missing_runs(client, await read_jobs(), [deployment], now - OUTAGE)
        late = sorted(now - run.expected_start_time for run in await read_due(client, deployment.id))  # type: ignore[operator]
        assert [round(each.total_seconds() / 60) for each in late] == [6, 16]


async def test_a_run_that_is_cancelled_before_it_starts_leaves_a_row_too(client: PrefectClient, pool: str) -> None:
    deployment = await find(client, pool)
    by_hand = await client.create_flow_run_from_deployment(deployment.id)
    await client.set_flow_run_state(by_hand.id, State(type=StateType.CANCELLED, message="Not today"), force=True)
    assert await record_unreported_ends(client, {"hris_replication": deployment}) == [str(by_hand.id)]
    ((code, _, summary),) = await read_rows()
    assert (code, summary) == ("cancelled", "Not today")
    assert not await record_unreported_ends(client, {"hris_replication": deployment})
