"""A row that fires every ten seconds does so for five minutes: no miss, no double, each with its row."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterExpectedStartTime
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import select

from db import migrate
from db.engines import Database
from db.maria_database import DatabaseSessionLocal, database
from db.tables import scheduled_job_execution, scheduler_execution_status
from deployments.deploy import WORK_POOL, deploy_all
from deployments.sync import sync_schedules
from flows.run_reports import get_job_id
from tests.integration.schedules.conftest import add_job
from tests.servers import PrefectServer
from tests.servers.prefect_worker import prefect_worker

EVERY = timedelta(seconds=10)
DURATION = timedelta(minutes=5)
START_LIMIT = timedelta(seconds=90)


async def read_runs(job_id: int, start: datetime, end: datetime) -> list[FlowRun]:
    due = FlowRunFilterExpectedStartTime.model_validate({"after_": start, "before_": end})
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(expected_start_time=due))
    return [run for run in runs if get_job_id(run) == job_id]


async def read_statuses() -> dict[str, str]:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(table.c.run_id, status.c.code).select_from(table).join(status)
        return dict((await session.execute(query)).tuples().all())


async def watch(app_database: Database) -> tuple[list[FlowRun], dict[str, str], list[datetime]]:
    """Set the row up, wait until all its ticks have ended; gives its runs, its rows and the ticks."""
    await migrate.upgrade(app_database)
    created = datetime.now(UTC).replace(microsecond=0)
    job_id = await add_job("history_cleanup", interval_seconds=10, max_instances=3, created_at=created)
    assert (await sync_schedules()).is_clean
    # The worker has to start first.
    start = created + START_LIMIT
    end = start + DURATION
    ticks = [start + place * EVERY for place in range(DURATION // EVERY)]
    async with asyncio.timeout((end - datetime.now(UTC)).total_seconds() + 120):
        while True:
            runs = await read_runs(job_id, start, end - timedelta(seconds=1))
            over = datetime.now(UTC) > end
            if over and all(run.state is not None and run.state.is_final() for run in runs):
                return runs, await read_statuses(), ticks
            await asyncio.sleep(2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_tick_of_five_minutes_runs_once_and_leaves_its_row(
    prefect_server: PrefectServer,
    prefect_api: str,
    tmp_path: Path,
    settings_environment: Callable[..., None],
) -> None:
    url = f"sqlite:///{tmp_path / 'app.sqlite3'}"
    settings_environment(MARIA_DATABASE_URL=url)
    deploy_all()
    environment = prefect_server.environment() | {"MARIA_DATABASE_URL": url}
    with prefect_worker(WORK_POOL, environment, tmp_path / "worker.log"):
        runs, statuses, ticks = asyncio.run(watch(database))
    assert Counter(run.expected_start_time for run in runs) == Counter(ticks)
    assert {statuses.get(str(run.id)) for run in runs} == {"success"}
