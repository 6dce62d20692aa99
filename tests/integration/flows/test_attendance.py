"""The attendance flows on a real Prefect server, and through Celery: what runs do, show and leave behind."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.flows import Flow, load_flow_from_entrypoint
from sqlalchemy import select

from api.repositories.scheduler_repository import SchedulerRepository
from db import maria_database, migrate
from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from db.tables import (
    log_replication,
    meal_request,
    meal_request_line,
)
from flows import attendance
from shim.errors import ArgumentInvalid
from tasks.attendance import (
    fetch_attendance_for_meal_request_task,
    sync_attendance_for_lines_task,
    sync_attendance_task,
)
from tests.integration.attendance.world import line, read_attendance, write_hris, write_lines
from tests.integration.flows.reading import read_artifacts, read_executions

NOW = datetime.now(UTC).replace(microsecond=0)
WITHIN = 120


@pytest.fixture
def hris(tmp_path: Path, settings_environment: Callable[..., None]) -> Path:
    """An HRIS that knows today's pair and sign of person 1, and an unusable pair of person 2; times are UTC."""
    path = tmp_path / "hris.sqlite3"
    settings_environment(HRIS_DATABASE_URL=f"sqlite:///{path}", SITE_TIMEZONE="UTC")
    day = f"{NOW:%Y-%m-%d}"
    write_hris(
        path,
        pairs=[(1, f"{day} 00:10:00", f"{day} 08:10:00"), (2, f"{day} 08:00:00", f"{day} 07:00:00")],
        signs=[(1, f"{day} 00:10:00", 1)],
    )
    return path


@pytest.fixture
async def embedded(hris: Path, embedded: Database) -> Database:
    """The application database as it is when nothing is configured, with a request of three people."""
    await write_lines(embedded, [line(number, number, NOW, request_id=7) for number in (1, 2, 3)])
    return embedded


async def run(flow: Any, *args: Any, **parameters: Any) -> State[Any]:
    state: State[Any] = await cast(Any, flow)(*args, **parameters, return_state=True)
    return state


async def read_status() -> Any:
    async with DatabaseSessionLocal() as session:
        return await session.scalar(select(meal_request.c.status_id).where(meal_request.c.id == 7))


def break_hris(hris: Path) -> None:
    """Take the tables away, as a view or a grant that was dropped does."""
    with closing(sqlite3.connect(hris)) as connection:
        connection.executescript("DROP TABLE TMS_AttendancePairing; DROP TABLE TMS_Attendance")


async def test_a_sync_returns_the_documented_counts_shows_them_and_keeps_its_execution(
    client: PrefectClient, embedded: Database
) -> None:
    async with DatabaseSessionLocal() as session:
        await SchedulerRepository().create_execution(session, attendance.JOB, "of a job")
    state = await run(attendance.sync, execution_id="of a job", months_back=1, triggered_by_user_id="admin-1")
    result = await state.result()
    documented = {"status": "success", "total": 3, "synced": 1, "unchanged": 0, "not_found": 1, "errors": 1}
    assert result.items() >= documented.items()
    assert result["reasons"] == {"left before coming": [2]}

    artifacts = await read_artifacts(client, state)
    shown = {row["what"]: row["lines"] for row in json.loads(str(artifacts["attendance-sync"].data))}
    assert (shown["total"], shown["synced"], shown["not found"], shown["errors"]) == (3, 1, 1, 1)
    assert json.loads(str(artifacts["attendance-sync-findings"].data)) == [
        {"reason": "left before coming", "lines": "2"}
    ]
    execution = (await read_executions("execution_id"))["of a job"]
    assert (execution["status"], execution["result_summary"]) == ("success", result["message"])
    assert execution["run_id"] == str(state.state_details.flow_run_id)
    async with DatabaseSessionLocal() as session:
        (log,) = (await session.execute(select(log_replication))).mappings()
    assert (log["operation_type"], log["admin_id"], log["is_successful"]) == ("attendance_sync", "admin-1", True)


async def test_a_table_that_is_missing_fails_the_sync_at_once_and_is_logged(
    client: PrefectClient, embedded: Database, hris: Path
) -> None:
    break_hris(hris)
    state = await run(attendance.sync)
    assert state.is_failed()
    flow_run = await client.read_flow_run(cast(Any, state.state_details.flow_run_id))
    assert flow_run.run_count == 1, "to try again would not help"
    (execution,) = (await read_executions("execution_id")).values()
    assert execution["status"] == "failed"
    assert "no table dbo.TMS_AttendancePairing" in execution["error_message"]
    async with DatabaseSessionLocal() as session:
        logs = (await session.execute(select(log_replication))).mappings().all()
    assert [(log["operation_type"], log["is_successful"]) for log in logs] == [("attendance_sync", False)]
    assert await read_attendance(embedded) == {}


async def test_given_lines_are_synced_and_wrong_ones_are_refused_by_the_arguments_name(
    client: PrefectClient, embedded: Database
) -> None:
    result = await (await run(attendance.sync_lines, [1, 3])).result()
    assert (result["status"], result["total"], result["synced"], result["not_found"]) == ("success", 2, 1, 1)

    state = await run(attendance.sync_lines, [1, 99])
    assert "argument 'meal_request_line_ids': 1 of 2 lines do not exist or are deleted: 99" in str(state.message)
    refused = await client.read_flow_run(cast(Any, state.state_details.flow_run_id))
    assert refused.run_count == 1, "a wrong argument was tried again"


@pytest.mark.parametrize(
    ("flow", "parameters", "argument"),
    [
        (attendance.sync, {"months_back": 0}, "months_back"),
        (attendance.sync, {"months_back": 37}, "months_back"),
        (attendance.sync_lines, {"meal_request_line_ids": []}, "meal_request_line_ids"),
        (attendance.sync_lines, {"meal_request_line_ids": list(range(1, 10_001))}, "meal_request_line_ids"),
        (attendance.fetch_for_meal_request, {"meal_request_id": "seven"}, "meal_request_id"),
        (attendance.fetch_for_meal_request, {"meal_request_id": 8}, "meal_request_id"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
async def test_what_a_run_is_given_wrongly_fails_it_once_by_the_arguments_name_and_changes_nothing(
    client: PrefectClient, embedded: Database, flow: Any, parameters: dict[str, Any], argument: str
) -> None:
    state = await run(flow, **parameters)
    assert state.is_failed()
    assert argument in str(state.message)
    flow_run = await client.read_flow_run(cast(Any, state.state_details.flow_run_id))
    assert flow_run.run_count == 1
    assert await read_attendance(embedded) == {}
    assert await read_status() == 0


async def test_a_meal_request_gets_its_sign_ins_and_becomes_pending(client: PrefectClient, embedded: Database) -> None:
    state = await run(attendance.fetch_for_meal_request, 7)
    result = await state.result()
    assert result.items() >= {"status": "completed", "total": 3, "synced": 1, "errors": 0, "not_found": 2}.items()
    assert await read_status() == 1
    async with DatabaseSessionLocal() as session:
        times = select(meal_request_line.c.attendance_time).order_by(meal_request_line.c.id)
        found = (await session.scalars(times)).all()
    assert found == [NOW.replace(hour=0, minute=10, second=0), None, None]
    assert "meal-request-attendance" in await read_artifacts(client, state)
    (execution,) = (await read_executions("execution_id")).values()
    assert execution["status"] == "success"


async def test_a_meal_request_becomes_pending_at_the_first_attempt_that_a_broken_hris_fails(
    client: PrefectClient, embedded: Database, hris: Path
) -> None:
    break_hris(hris)
    state = await run(attendance.fetch_for_meal_request, 7)
    assert state.is_failed()
    assert await read_status() == 1


@pytest.mark.filterwarnings("ignore:Logger .prefect.task_runs. attempted to send logs")
def test_the_tasks_run_in_place_too(prefect_api: str, hris: Path) -> None:
    """The reference's way to test a task."""

    async def prepare() -> None:
        await migrate.upgrade(maria_database.database)
        await write_lines(maria_database.database, [line(number, number, NOW, request_id=7) for number in (1, 2, 3)])

    asyncio.run(prepare())
    synced = sync_attendance_task.apply(kwargs={"months_back": 1}).get()
    assert {name: synced[name] for name in ("status", "total", "synced", "unchanged", "not_found", "errors")} == {
        "status": "success",
        "total": 3,
        "synced": 1,
        "unchanged": 0,
        "not_found": 1,
        "errors": 1,
    }
    assert sync_attendance_for_lines_task.apply(args=[[1]]).get()["unchanged"] == 1
    assert fetch_attendance_for_meal_request_task.apply(args=[7]).get()["status"] == "completed"
    with pytest.raises(ArgumentInvalid, match="meal_request_id"):
        fetch_attendance_for_meal_request_task.apply(args=[70]).get()


@pytest.mark.parametrize(
    ("entrypoint", "name"),
    [
        ("flows.attendance.sync", "attendance-sync"),
        ("flows.attendance.sync_lines", "attendance-sync-for-lines"),
        ("flows.attendance.fetch_for_meal_request", "meal-request-attendance"),
        ("flows.scheduler.clean_history", "history-cleanup"),
    ],
)
def test_the_deployments_entry_points_are_the_flows_and_their_parameters_are_described(
    entrypoint: str, name: str
) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint)
    assert (flow.name, flow.retries) == (name, 3)
    assert all(described["description"] for described in flow.parameters.properties.values())
