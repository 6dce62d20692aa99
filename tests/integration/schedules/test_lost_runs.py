"""Executions whose process is gone end failed; those that live are left alone."""

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from sqlalchemy import select

from api.repositories.run_report import RunReport
from api.repositories.scheduler_repository import SchedulerRepository
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job_execution, scheduler_execution_status
from deployments.schedules import read_deployments
from flows import lost_runs
from flows.lost_runs import close_dead_executions, note_waiting_runs

pytestmark = pytest.mark.usefixtures("app_database")
KEY = "hris_replication"
HOST = socket.gethostname()
repository = SchedulerRepository()


async def make_run(client: PrefectClient, pool: str, executor_id: str, host: str = HOST) -> FlowRun:
    """Make a run that says that it runs in a process, and its row."""
    deployment = next(each for each in await read_deployments(client, pool) if each.name == KEY)
    run = await client.create_flow_run_from_deployment(deployment.id)
    for kind in (StateType.PENDING, StateType.RUNNING):
        await client.set_flow_run_state(run.id, State(type=kind), force=True)
    report = RunReport(
        execution_id=str(run.id),
        run_id=str(run.id),
        status="running",
        at=datetime.now(UTC),
        host_name=host,
        executor_id=executor_id,
    )
    async with DatabaseSessionLocal() as session:
        await repository.record(session, KEY, report)
    return run


async def read_row(run: FlowRun) -> tuple[str, str | None]:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(status.c.code, table.c.error_message).select_from(table).join(status)
        row = (await session.execute(query.where(table.c.execution_id == str(run.id)))).one()
    return row.code, row.error_message


def find_dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.fixture(autouse=True)
def believe_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_runs, "REPORT_TIME", datetime.min - datetime.min)


async def test_a_run_whose_process_is_gone_is_crashed_and_its_row_failed(client: PrefectClient, pool: str) -> None:
    pid = find_dead_pid()
    run = await make_run(client, pool, f"{pid}@{HOST}")
    assert await close_dead_executions(client, str(uuid4())) == [str(run.id)]
    assert (await client.read_flow_run(run.id)).state_name == "Crashed"
    assert await read_row(run) == ("failed", f"Its process {pid}@{HOST} ended without a word.")


async def test_runs_of_living_processes_and_of_other_machines_are_left_alone(client: PrefectClient, pool: str) -> None:
    lives = await make_run(client, pool, f"{os.getpid()}@{HOST}")
    elsewhere = await make_run(client, pool, f"{find_dead_pid()}@elsewhere", host="elsewhere")
    assert not await close_dead_executions(client, str(uuid4()))
    for run in (lives, elsewhere):
        assert (await client.read_flow_run(run.id)).state_name == "Running"
        assert (await read_row(run))[0] == "running"


async def test_a_process_number_that_another_process_has_by_now_counts_as_gone(
    client: PrefectClient, pool: str
) -> None:
    run = await make_run(client, pool, f"{os.getpid()}@{HOST}")
    # The row says that it started before this process did.
    async with DatabaseSessionLocal.begin() as session:
        started = datetime(2020, 1, 1, tzinfo=UTC)
        await repository.update_execution(session, str(run.id), {"started_at": started})
    assert await close_dead_executions(client, str(uuid4())) == [str(run.id)]


async def test_a_run_that_was_deleted_ends_failed(client: PrefectClient, pool: str) -> None:
    run = await make_run(client, pool, f"{os.getpid()}@{HOST}")
    await client.delete_flow_run(run.id)
    assert await close_dead_executions(client, str(uuid4())) == [str(run.id)]
    status, message = await read_row(run)
    assert status == "failed"
    assert "its flow run was deleted" in str(message)


async def test_a_waiting_run_that_is_deleted_before_it_starts_ends_its_pending_row(
    client: PrefectClient, pool: str
) -> None:
    execution_id = str(uuid4())
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, KEY, execution_id)
    deployment = next(each for each in await read_deployments(client, pool) if each.name == KEY)
    run = await client.create_flow_run_from_deployment(deployment.id, parameters={"execution_id": execution_id})
    assert not await note_waiting_runs(client, {KEY: deployment})
    assert not await close_dead_executions(client, str(uuid4()))
    await client.delete_flow_run(run.id)
    assert await close_dead_executions(client, str(uuid4())) == [execution_id]


async def test_an_execution_for_which_no_run_comes_in_a_day_ends_failed(client: PrefectClient, pool: str) -> None:
    deployment = next(each for each in await read_deployments(client, pool) if each.name == KEY)
    for execution_id, age in (("new", timedelta(hours=1)), ("old", timedelta(hours=25))):
        async with DatabaseSessionLocal.begin() as session:
            await repository.create_execution(session, KEY, execution_id)
            await repository.update_execution(session, execution_id, {"created_at": datetime.now(UTC) - age})
    assert await note_waiting_runs(client, {KEY: deployment}) == ["old"]
