"""A run that is killed while the HRIS keeps it waiting leaves no meal request behind that waits for ever."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from sqlalchemy import select

from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from db.tables import meal_request, scheduled_job_execution
from settings import REPOSITORY, get_settings
from tests.integration.attendance.world import line, write_lines

LIMIT = 120
pytestmark = [
    pytest.mark.timeout(300),
    # Prefect asks its server for the default result storage with a client that it does not close.
    pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning"),
]


@pytest.fixture
async def silent_hris(settings_environment: Callable[..., None]) -> AsyncIterator[None]:
    """An HRIS that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings_environment(HRIS_DATABASE_URL=f"mysql://reader:secret@127.0.0.1:{port}/hris")
    yield
    for writer in held:
        writer.close()
    server.close()


@contextlib.contextmanager
def worker(pool: str, log: Path) -> Any:
    """A stock worker of the pool, with the settings of this test."""
    settings = get_settings()
    environment = os.environ | {
        "DATA_DIR": str(settings.data_dir),
        "HRIS_DATABASE_URL": settings.hris_url.render_as_string(hide_password=False),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            env=environment,
            cwd=REPOSITORY,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(30)


async def deploy(client: PrefectClient, pool: str) -> UUID:
    await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    return await client.create_deployment(
        await client.create_flow_from_name("meal-request-attendance"),
        name=pool,
        entrypoint="flows.attendance.fetch_for_meal_request",
        path=str(REPOSITORY),
        work_pool_name=pool,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(REPOSITORY)}}],
    )


async def read_value(column: Any, condition: Any) -> Any:
    async with DatabaseSessionLocal() as session:
        return await session.scalar(select(column).where(condition))


async def wait_for(read: Callable[[], Any], what: str) -> Any:
    try:
        async with asyncio.timeout(LIMIT):
            while not (found := await read()):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"{what}: not within {LIMIT} s")
    return found


async def test_the_request_of_a_run_whose_process_is_killed_becomes_pending(
    prefect_api: str, embedded: Database, silent_hris: None, tmp_path: Path
) -> None:
    await write_lines(embedded, [line(1, 1, datetime.now(UTC), request_id=7)])
    async with get_client() as client:
        deployment = await deploy(client, f"tests-{uuid4().hex[:8]}")
        pool = (await client.read_deployment(deployment)).work_pool_name
        run = await client.create_flow_run_from_deployment(deployment, parameters={"meal_request_id": 7})
    of_run = scheduled_job_execution.c.run_id == str(run.id)
    with worker(str(pool), tmp_path / "worker.log"):
        executor = await wait_for(
            lambda: read_value(scheduled_job_execution.c.executor_id, of_run), "the run says who executes it"
        )
        assert await read_value(meal_request.c.status_id, meal_request.c.id == 7) == 0
        os.kill(int(executor.partition("@")[0]), signal.SIGKILL)
        await wait_for(
            lambda: read_value(meal_request.c.status_id, meal_request.c.id == 7), "the request becomes pending"
        )
