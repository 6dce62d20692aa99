"""Rows of `scheduled_job` on an SQLite database, and deployments of a work pool of the test's own."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from sqlalchemy import insert, select, update

from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job, scheduler_job_type, task_function
from deployments.registry import read_registry

CREATED = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite"])
def app_database_url(request: pytest.FixtureRequest, tmp_path: Any, settings_environment: Callable[..., None]) -> str:
    """The URL of an empty SQLite database; what differs on MariaDB is tested where it differs."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'app.sqlite3'}"
    settings_environment(MARIA_DATABASE_URL=url)
    return url


@pytest.fixture
async def client(prefect_api: str) -> AsyncIterator[PrefectClient]:
    async with get_client() as client:
        yield client


@pytest.fixture
async def pool(client: PrefectClient) -> AsyncIterator[str]:
    """The name of a work pool with a deployment for every registered job, named after its key; no worker serves it."""
    name = f"sync-{uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    deployments = []
    for key, job in read_registry().items():
        flow = await client.create_flow_from_name(f"{name}-{key}")
        deployments.append(
            await client.create_deployment(
                flow_id=flow, name=key, work_pool_name=name, entrypoint=job.deployment.entrypoint
            )
        )
    yield name
    # Left behind, their schedules would keep the server busy for the rest of the suite.
    for deployment in deployments:
        await client.delete_deployment(deployment)
    await client.delete_work_pool(name)


AddJob = Callable[..., Coroutine[Any, Any, int]]


async def add_job(key: str = "hris_replication", **values: Any) -> int:
    """Add a row of `scheduled_job`; gives its id."""
    kind = "cron" if values.get("cron_expression") is not None else "interval"
    async with DatabaseSessionLocal.begin() as session:
        function_id = await session.scalar(select(task_function.c.id).where(task_function.c.key == key))
        if function_id is None:
            function = {"key": key, "function_path": "", "name_en": key, "name_ar": key}
            made = await session.execute(insert(task_function).values(function))
            function_id = made.inserted_primary_key[0]  # type: ignore[attr-defined]
        type_id = await session.scalar(select(scheduler_job_type.c.id).where(scheduler_job_type.c.code == kind))
        row = {"task_function_id": function_id, "job_type_id": type_id, "created_at": CREATED, "updated_at": CREATED}
        made = await session.execute(insert(scheduled_job).values(row | values))
        return int(made.inserted_primary_key[0])  # type: ignore[attr-defined]


async def change_job(job_id: int, **values: Any) -> None:
    """Change a row of `scheduled_job`."""
    async with DatabaseSessionLocal.begin() as session:
        await session.execute(update(scheduled_job).where(scheduled_job.c.id == job_id).values(values))
