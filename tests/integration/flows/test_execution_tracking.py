"""Executions have one writer: rows follow real flow runs of a real Prefect server, on MariaDB and SQLite."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import psutil
import pytest
from prefect import Flow, flow, task
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Running, Scheduled
from sqlalchemy import RowMapping, select

import flows.tracking
from api.repositories.scheduler_repository import SchedulerRepository
from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job, scheduled_job_execution, scheduler_execution_status
from errors import DatabaseUnreachable
from flows.run_reports import report_state
from flows.tracking import close_lost_executions, track, track_attempts
from settings import REPOSITORY
from tests.integration.flows.tracked_flows import JOB
from tests.servers.prefect import DATABASE_NAME, copy_prepared_database
from utils.structured_logger import get_structured_logger

repository = SchedulerRepository()


async def read(execution_id: str) -> RowMapping | None:
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        query = select(table, status.c.code.label("status")).join(status).where(table.c.execution_id == execution_id)
        return (await session.execute(query)).mappings().one_or_none()


async def read_row(execution_id: str) -> RowMapping:
    row = await read(execution_id)
    assert row is not None
    return row


async def create(execution_id: str) -> str:
    async with DatabaseSessionLocal() as session:
        await repository.create_execution(session, JOB, execution_id)
    return execution_id


async def wait_until(condition: Callable[[], Awaitable[bool]], *, limit: float = 60, every: float = 0.1) -> None:
    async with asyncio.timeout(limit):
        while not await condition():  # noqa: ASYNC110  (what is waited for happens in other processes)
            await asyncio.sleep(every)


async def run(job: Flow[..., Any], *arguments: object) -> State[Any]:
    """Run a flow in this process and give its final state."""
    state: State[Any] = await cast(Any, job)(*arguments, return_state=True)
    return state


def current_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run


async def read_log(client: PrefectClient, run_id: UUID) -> list[str]:
    logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])))
    return [log.message for log in logs]


async def create_run(client: PrefectClient, state: State[Any], execution_id: str | None = None) -> FlowRun:
    """Make a flow run of the job that no process runs."""

    @flow(name="tests-lost")
    async def lost(execution_id: str | None = None) -> None:
        pass

    return await client.create_flow_run(lost, parameters={"execution_id": execution_id}, state=state)


async def test_a_run_makes_its_row_and_ends_it_with_its_result(app_database: Database, prefect_api: str) -> None:
    seen: list[RowMapping] = []

    @flow(**track(JOB))
    @track_attempts(JOB)
    async def replicate() -> dict[str, str]:
        seen.append(await read_row(str(current_run().id)))
        return {"status": "success", "message": "5 inserted, password=hunter2"}

    state = await run(replicate)
    run_id = str(state.state_details.flow_run_id)
    (running,) = seen
    assert (running["status"], running["run_id"], running["completed_at"]) == ("running", run_id, None)
    row = await read_row(run_id)
    assert (row["status"], row["run_id"], row["result_summary"]) == ("success", run_id, "5 inserted, password=***")
    assert row["completed_at"] == state.timestamp
    assert row["scheduled_at"] <= row["started_at"] < row["completed_at"]
    assert row["duration_ms"] == round((row["completed_at"] - row["started_at"]).total_seconds() * 1000)
    assert (row["error_message"], row["error_traceback"]) == (None, None)
    assert row["executor_id"] == f"{os.getpid()}@{row['host_name']}"
    async with DatabaseSessionLocal() as session:
        query = select(scheduled_job.c.last_run_at).where(scheduled_job.c.id == row["job_id"])
        assert await session.scalar(query) == row["started_at"]


async def test_a_run_that_is_given_an_execution_uses_its_row(app_database: Database, prefect_api: str) -> None:
    execution_id = await create(str(uuid4()))

    @flow(**track(JOB))
    async def replicate(execution_id: str | None = None) -> None:
        assert (await read_row(execution_id or ""))["status"] == "running"

    state = await run(replicate, execution_id)
    row = await read_row(execution_id)
    assert (row["status"], row["run_id"]) == ("success", str(state.state_details.flow_run_id))
    assert await read(row["run_id"]) is None


async def test_a_failed_run_says_why_and_where(app_database: Database, prefect_api: str) -> None:
    @flow(**track(JOB))
    @track_attempts(JOB)
    async def replicate() -> None:
        raise DatabaseUnreachable("cannot connect to mssql://reader:hunter2@hris/HMIS")

    state = await run(replicate)
    row = await read_row(str(state.state_details.flow_run_id))
    assert row["status"] == "failed"
    assert row["error_message"] == "DatabaseUnreachable: cannot connect to mssql://reader:***@hris/HMIS"
    assert "in replicate" in row["error_traceback"]
    assert "hunter2" not in row["error_traceback"]
    assert row["completed_at"] == state.timestamp


async def test_a_retried_run_keeps_one_row_that_shows_the_last_attempts_error(
    app_database: Database, prefect_api: str
) -> None:
    seen: list[RowMapping] = []

    @flow(retries=2, **track(JOB))
    @track_attempts(JOB)
    async def replicate() -> str:
        seen.append(await read_row(str(current_run().id)))
        if len(seen) < 3:
            raise OSError(f"attempt {len(seen)} failed")
        return "done"

    state = await run(replicate)
    row = await read_row(str(state.state_details.flow_run_id))
    assert [each["status"] for each in seen] == ["running"] * 3
    assert [each["error_message"] for each in seen] == [None, "OSError: attempt 1 failed", "OSError: attempt 2 failed"]
    assert len({each["id"] for each in [*seen, row]}) == 1
    assert (row["status"], row["error_message"], row["started_at"]) == ("success", None, seen[0]["started_at"])


async def test_while_a_run_waits_for_its_retry_its_row_runs_and_shows_the_error(
    app_database: Database, client: PrefectClient
) -> None:
    started = asyncio.Event()

    @flow(retries=1, retry_delay_seconds=600, **track(JOB))
    @track_attempts(JOB)
    async def replicate(execution_id: str) -> None:
        started.set()
        raise OSError("no HRIS")

    execution_id = str(uuid4())
    waiting = asyncio.create_task(replicate(execution_id))
    await started.wait()

    async def awaits_retry() -> bool:
        row = await read(execution_id)
        run = await client.read_flow_run(UUID(row["run_id"])) if row is not None else None
        return run is not None and run.state_name == "AwaitingRetry"

    await wait_until(awaits_retry)
    row = await read_row(execution_id)
    assert (row["status"], row["error_message"], row["completed_at"]) == ("running", "OSError: no HRIS", None)
    assert await close_lost_executions(JOB, current_run_id=str(uuid4())) == []
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    row = await read_row(execution_id)
    assert (row["status"], row["error_traceback"]) == ("failed", None)
    assert "cancelled" in row["error_message"]


async def test_a_run_whose_history_cannot_be_written_goes_on_and_says_so(
    prefect_api: str,
    client: PrefectClient,
    settings_environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings_environment(MARIA_DATABASE_URL="mysql://hr:hunter2@127.0.0.1:1/hr")
    monkeypatch.setattr(flows.tracking, "REPORT_DELAYS", (0.0,))

    @flow(**track(JOB))
    async def replicate() -> int:
        return 42

    state = await run(replicate)
    assert await state.result() == 42
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    unwritten = f"Execution {run_id} could not be set to success"

    async def is_told() -> bool:
        return any(unwritten in message for message in await read_log(client, run_id))

    await wait_until(is_told)
    assert "hunter2" not in "".join(await read_log(client, run_id))


async def test_structured_lines_appear_readable_in_the_runs_log_and_as_json_on_stderr(
    app_database: Database, client: PrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    async def stage() -> None:
        get_structured_logger("tests.step").info("Staged employees", rows=5000, server="https://hr:hunter2@hris")

    @flow(**track(JOB))
    @track_attempts(JOB)
    async def replicate(execution_id: str) -> None:
        get_structured_logger("tests.flow").log_celery_task_start(task_name="replicate", execution_id=execution_id)
        await stage()

    state = await run(replicate, "e-1")
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    expected = [
        "Task replicate started (task_name=replicate, execution_id=e-1)",
        "Staged employees (rows=5000, server=https://hr:***@hris)",
    ]

    async def is_there() -> bool:
        return set(expected) <= set(await read_log(client, run_id))

    await wait_until(is_there)
    assert [message for message in await read_log(client, run_id) if message in expected] == expected
    err = capsys.readouterr().err
    assert '"message": "Staged employees", "correlation_id": "e-1", "rows": 5000' in err
    assert err.count("Staged employees") == 1


@pytest.mark.parametrize("kind", ["deleted", "running", "pending", "cancelling", "completed", "crashed"])
async def test_an_execution_whose_run_is_lost_is_closed(
    app_database: Database, client: PrefectClient, kind: str
) -> None:
    run = await create_run(client, Running())
    await flows.tracking._write(JOB, run, await report_state(run, Running()))
    if kind == "deleted":
        await client.delete_flow_run(run.id)
    elif kind != "running":
        state = State(type=StateType[kind.upper()], message="as Prefect knows")
        await client.set_flow_run_state(run.id, state, force=True)
    assert await close_lost_executions(JOB, current_run_id="this-run") == [str(run.id)]
    row = await read_row(str(run.id))
    failed = {
        "deleted": "its flow run was deleted before it reported an end (found by run this-run)",
        "running": "its process ended without a word (found by run this-run)",
        "pending": "its process ended without a word (found by run this-run)",
        "crashed": "as Prefect knows",
    }
    status = {"cancelling": "cancelled", "completed": "success"}.get(kind, "failed")
    assert (row["status"], row["error_message"]) == (status, failed.get(kind))
    assert row["completed_at"] is not None
    assert await close_lost_executions(JOB, current_run_id="this-run") == []


async def test_a_run_that_waits_for_its_time_and_the_calling_run_are_left_open(
    app_database: Database, client: PrefectClient
) -> None:
    waiting = await create_run(client, Running())
    await flows.tracking._write(JOB, waiting, await report_state(waiting, Running()))
    await client.set_flow_run_state(
        waiting.id, Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1)), force=True
    )
    calling = await create_run(client, Running())
    await flows.tracking._write(JOB, calling, await report_state(calling, Running()))
    assert await close_lost_executions(JOB, current_run_id=str(calling.id)) == []
    assert [(await read_row(str(run.id)))["status"] for run in (waiting, calling)] == ["running", "running"]


async def test_a_pending_execution_is_closed_when_the_run_it_was_for_was_cancelled_before_it_started(
    app_database: Database, client: PrefectClient
) -> None:
    cancelled, waiting, unsent = [await create(str(uuid4())) for _ in range(3)]
    await create_run(client, Cancelled(), cancelled)
    await create_run(client, Scheduled(scheduled_time=datetime.now(UTC) - timedelta(seconds=1)), waiting)
    calling = await create_run(client, Running())
    assert await close_lost_executions(JOB, current_run_id=str(calling.id)) == [cancelled]
    assert [(await read_row(each))["status"] for each in (cancelled, waiting, unsent)] == [
        "cancelled",
        "pending",
        "pending",
    ]


async def test_a_run_takes_its_execution_over_from_a_lost_run(app_database: Database, client: PrefectClient) -> None:
    execution_id = str(uuid4())
    lost = await create_run(client, Running(), execution_id)
    await flows.tracking._write(JOB, lost, await report_state(lost, Running()))
    seen: list[RowMapping] = []

    @flow(**track(JOB))
    @track_attempts(JOB)
    async def replicate(execution_id: str) -> None:
        assert await close_lost_executions(JOB, current_run_id=str(current_run().id)) == [execution_id]
        seen.append(await read_row(execution_id))

    state = await run(replicate, execution_id)
    run_id = str(state.state_details.flow_run_id)
    assert (seen[0]["status"], seen[0]["run_id"]) == ("running", run_id)
    row = await read_row(execution_id)
    assert (row["status"], row["run_id"], row["error_message"]) == ("success", run_id, None)


async def deploy(
    client: PrefectClient,
    pool: str,
    entrypoint: str,
    name: str,
    *,
    schedules: list[DeploymentScheduleCreate] | None = None,
) -> UUID:
    flow_id = await client.create_flow_from_name(name)
    return await client.create_deployment(
        flow_id,
        name="tests",
        entrypoint=entrypoint,
        path=str(REPOSITORY),
        work_pool_name=pool,
        schedules=schedules,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(REPOSITORY)}}],
    )


@pytest.fixture
async def worker_pool(app_database: Database, client: PrefectClient, tmp_path: Path) -> AsyncIterator[str]:
    """The name of a work pool with a stock worker of its own, which has two runs at once at most."""
    pool = f"tests-{uuid4().hex[:8]}"
    await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    environment = os.environ | {
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "MARIA_DATABASE_URL": app_database.url.render_as_string(hide_password=False),
    }
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(  # noqa: ASYNC220  (it starts at once, and is waited for at the end)
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--limit", "2"],
            env=environment,
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
    yield pool
    tree = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    worker.wait(30)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("app_database_url", ["mariadb"], indirect=True)
async def test_a_workers_runs_that_are_cancelled_and_killed_end_their_rows(
    worker_pool: str, client: PrefectClient
) -> None:
    deployment = await deploy(client, worker_pool, "tests.integration.flows.tracked_flows.wait_for_ever", "tests-wait")
    cancelled = await client.create_flow_run_from_deployment(deployment, parameters={"execution_id": str(uuid4())})
    killed = await client.create_flow_run_from_deployment(
        deployment, state=Scheduled(scheduled_time=datetime.now(UTC)), parameters={}, name="scheduled"
    )
    ids = {cancelled.id: cancelled.parameters["execution_id"], killed.id: str(killed.id)}

    async def both_run() -> bool:
        rows = [await read(each) for each in ids.values()]
        return all(row is not None and row["status"] == "running" for row in rows)

    await wait_until(both_run, limit=90)
    await client.set_flow_run_state(cancelled.id, State(type=StateType.CANCELLING))
    pid = int((await read_row(str(killed.id)))["executor_id"].partition("@")[0])
    os.kill(pid, signal.SIGKILL)

    async def both_ended() -> bool:
        rows = [await read_row(each) for each in ids.values()]
        return all(row["completed_at"] is not None for row in rows)

    await wait_until(both_ended)
    row = await read_row(ids[cancelled.id])
    assert (row["status"], row["run_id"], row["error_message"]) == ("cancelled", str(cancelled.id), None)
    row = await read_row(str(killed.id))
    assert (row["status"], row["run_id"]) == ("failed", str(killed.id))
    assert "SIGKILL" in row["error_message"]
    assert row["duration_ms"] > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("app_database_url", ["sqlite"], indirect=True)
async def test_a_schedule_fires_by_itself_and_each_of_its_runs_leaves_its_row(
    worker_pool: str, client: PrefectClient
) -> None:
    often = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=4)))
    entrypoint = "tests.integration.flows.tracked_flows.count"
    deployment = await deploy(client, worker_pool, entrypoint, "tests-count", schedules=[often])
    of_deployment = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
    )

    async def completed() -> list[FlowRun]:
        return await client.read_flow_runs(flow_run_filter=of_deployment)

    async def two_completed() -> bool:
        return len(await completed()) >= 2

    try:
        await wait_until(two_completed, limit=150, every=1)
        runs = await completed()
    finally:
        await client.delete_deployment(deployment)
    assert all(each.auto_scheduled for each in runs)
    assert len({each.expected_start_time for each in runs}) == len(runs)
    for each in runs:
        row = await read_row(str(each.id))
        assert (row["status"], row["result_summary"]) == ("success", "3 rows")
        assert row["scheduled_at"] == each.expected_start_time


@pytest.mark.timeout(300)
@pytest.mark.parametrize("app_database_url", ["sqlite"], indirect=True)
async def test_a_plain_script_without_a_server_writes_its_row_too(app_database: Database, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # As it is from the second run on: the first one's server spends half a minute on its migrations.
    (tmp_path / "prefect").mkdir()
    copy_prepared_database(tmp_path / "prefect" / DATABASE_NAME)
    environment |= {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "MARIA_DATABASE_URL": app_database.url.render_as_string(hide_password=False),
    }
    environment |= {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    }
    execution_id = str(uuid4())
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.integration.flows.tracked_flows", execution_id],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = await read_row(execution_id)
    assert (row["status"], row["result_summary"]) == ("success", "3 rows")
