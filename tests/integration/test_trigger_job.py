"""The web application's call: a job is run now, unless it runs already."""

import asyncio
import os
import subprocess
import sys

import pytest
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from sqlalchemy import RowMapping, select, update

import celery_bridge
from api.repositories.scheduler_repository import SchedulerRepository
from celery_bridge import JobAlreadyRunning, JobMissing, UnknownTaskCode, trigger_job
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job_execution, scheduler_execution_status
from settings import REPOSITORY
from tests.servers import RedisServer

KEY = "hris_replication"
repository = SchedulerRepository()
pytestmark = pytest.mark.usefixtures("app_database")


class Sent(list[dict[str, object]]):
    def delay(self, **arguments: object) -> None:
        self.append(arguments)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Stands for the task: what is sent, is kept."""
    kept = Sent()
    monkeypatch.setitem(celery_bridge.TASK_REGISTRY, KEY, kept)
    return kept


async def ensure_job() -> None:
    async with DatabaseSessionLocal.begin() as session:
        await repository.ensure_job(session, KEY)


async def read_rows() -> list[RowMapping]:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(table, status.c.code.label("status")).join(status).order_by(table.c.id)
        return list((await session.execute(query)).mappings())


async def trigger(**arguments: object) -> str:
    async with DatabaseSessionLocal() as session:
        return await trigger_job(session, KEY, **arguments)  # type: ignore[arg-type]


async def test_a_job_that_does_not_run_gets_a_pending_row_and_is_sent(sent: Sent) -> None:
    await ensure_job()
    execution_id = await trigger(triggered_by_user_id="42")
    (row,) = await read_rows()
    assert (row["execution_id"], row["status"], row["run_id"]) == (execution_id, "pending", None)
    assert sent == [{"execution_id": execution_id, "triggered_by_user_id": "42"}]


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_a_job_that_is_under_way_is_refused_with_its_execution(sent: Sent, status: str) -> None:
    await ensure_job()
    first = await trigger()
    async with DatabaseSessionLocal.begin() as session:
        found = await repository.get_execution_status_by_code(session, status)
        await session.execute(update(scheduled_job_execution).values(status_id=found.id))
    with pytest.raises(JobAlreadyRunning, match=f"'{KEY}' is already running: execution {first}") as raised:
        await trigger()
    assert raised.value.execution_id == first
    assert (len(await read_rows()), len(sent)) == (1, 1)


@pytest.mark.parametrize("status", ["success", "failed", "cancelled"])
async def test_a_job_that_has_ended_runs_again(sent: Sent, status: str) -> None:
    await ensure_job()
    await trigger()
    async with DatabaseSessionLocal.begin() as session:
        found = await repository.get_execution_status_by_code(session, status)
        await session.execute(update(scheduled_job_execution).values(status_id=found.id))
    await trigger()
    assert len(sent) == 2


async def test_of_many_who_ask_at_once_one_gets_the_run(sent: Sent) -> None:
    await ensure_job()
    answers = await asyncio.gather(*(trigger() for _ in range(8)), return_exceptions=True)
    (execution_id,) = [answer for answer in answers if isinstance(answer, str)]
    refusals = [answer for answer in answers if isinstance(answer, JobAlreadyRunning)]
    assert [refusal.execution_id for refusal in refusals] == [execution_id] * 7
    assert (len(await read_rows()), len(sent)) == (1, 1)


async def test_a_broker_that_is_away_leaves_a_failed_row_that_says_so(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_job()

    def refuse(**_: object) -> None:
        raise OperationalError("no Redis at redis.example.org")

    monkeypatch.setattr(sent, "delay", refuse)
    with pytest.raises(OperationalError):
        await trigger()
    (row,) = await read_rows()
    assert (row["status"], row["error_message"]) == (
        "failed",
        "the task could not be sent: no Redis at redis.example.org",
    )
    assert row["completed_at"] is not None


async def test_an_unknown_key_and_a_key_without_a_job_are_refused(sent: Sent) -> None:
    async with DatabaseSessionLocal() as session:
        with pytest.raises(UnknownTaskCode, match="'hris'"):
            await trigger_job(session, "hris")
    with pytest.raises(JobMissing, match=f"no row of the key '{KEY}'"):
        await trigger()
    assert not await read_rows()


CALLER = """
import asyncio, sys
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from celery_bridge import trigger_job

async def main():
    engine = create_async_engine(sys.argv[1])
    async with AsyncSession(engine) as session:
        print(await trigger_job(session, "hris_replication", triggered_by_user_id="42"))
    await engine.dispose()

asyncio.run(main())
"""


@pytest.mark.parametrize("app_database_url", ["sqlite"], indirect=True)
async def test_a_caller_with_an_engine_of_its_own_sends_the_real_task_with_its_execution(
    redis_server: RedisServer, app_database_url: str
) -> None:
    await ensure_job()
    broker = redis_server.url(9)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CALLER, app_database_url],
        cwd=REPOSITORY,
        env=os.environ | {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": broker},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with Connection(broker) as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=10)
        message.ack()
    assert message.headers["task"] == "tasks.hris.hris_replication_task"
    arguments = {"execution_id": done.stdout.strip(), "triggered_by_user_id": "42"}
    assert message.payload[1] == arguments
    (row,) = await read_rows()
    assert (row["execution_id"], row["status"]) == (done.stdout.strip(), "pending")


def test_importing_the_bridge_loads_neither_prefect_nor_sqlalchemy_nor_the_suites_packages() -> None:
    program = (
        "import sys, celery_bridge; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'prefect', 'sqlalchemy', 'db', 'api', 'flows', 'hr', 'deployments', 'settings'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
