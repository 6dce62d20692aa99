"""Every flow that reads a SQL Server, on both drivers: it does the same as with the same rows in SQLite files."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import delete, select

from db.engines import Database
from db.tables import meal_request, meal_request_line
from flows import attendance, hris
from tests.integration.attendance.world import line, read_attendance, write_lines
from tests.integration.replication.world import TARGET_TABLES, in_order, read_state
from tests.sqlserver.conftest import DAY, Sources

NOON = datetime.combine(DAY, time(12), UTC)
REQUEST = 7
STAMPS = ("id", "attendance_synced_at", "created_at", "updated_at")
Run = Callable[..., Awaitable[dict[str, Any]]]

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def application(embedded: Database) -> Database:
    """The application database as it is when nothing is configured, migrated."""
    return embedded


@pytest.fixture
def run(settings_environment: Callable[..., None]) -> Run:
    """Gives a function that runs a flow with other databases as HRIS and BioStar, and gives what it returned."""

    async def run(sources: Sources, flow: Any, *arguments: Any) -> dict[str, Any]:
        settings_environment(HRIS_DATABASE_URL=sources.hris, BIOSTAR_DATABASE_URL=sources.biostar, SITE_TIMEZONE="UTC")

        async def run_here() -> dict[str, Any]:
            state = await cast(Any, flow)(*arguments, return_state=True)
            assert state.is_completed(), state.message
            result: dict[str, Any] = await state.result()
            return {name: value for name, value in result.items() if name != "duration_seconds"}

        # Connections last as long as their event loop.
        return await asyncio.to_thread(asyncio.run, run_here())

    return run


@pytest.fixture
def people(files: tuple[Path, Path]) -> dict[int, int]:
    """The codes of the first people of the HRIS, by id."""
    with closing(sqlite3.connect(files[0])) as connection:
        return dict(connection.execute("SELECT ID, Code FROM HR_Employee ORDER BY ID LIMIT 5").fetchall())


async def write_request(database: Database, people: dict[int, int]) -> None:
    """Write a request of all people, a line each."""
    await write_lines(
        database, [line(number, person, NOON, request_id=REQUEST) for number, person in enumerate(people, 1)]
    )
    async with database.engine().begin() as connection:
        for person, code in people.items():
            mine = meal_request_line.c.employee_id == person
            await connection.execute(meal_request_line.update().where(mine).values(employee_code=str(code)))


async def stored_attendance(database: Database) -> dict[int, Any]:
    rows = await read_attendance(database)
    return {key: {name: row[name] for name in row if name not in STAMPS} for key, row in rows.items()}


async def test_the_replication(application: Database, run: Run, served: Sources, from_files: Sources) -> None:
    results, states = [], []
    for sources in (from_files, served):
        async with application.engine().begin() as connection:
            for table in TARGET_TABLES:
                await connection.execute(delete(table))
        results.append(await run(sources, hris.replicate))
        states.append(in_order(await read_state(application)))
    assert results[0]["entities"]["employee"]["inserted"] > 100
    assert results[1] == results[0]
    assert states[1] == states[0]


async def test_the_attendance_of_months(
    application: Database, run: Run, served: Sources, from_files: Sources, people: dict[int, int]
) -> None:
    results, stored = [], []
    for sources in (from_files, served):
        await write_request(application, people)
        results.append(await run(sources, attendance.sync))
        stored.append(await stored_attendance(application))
    assert (results[0]["total"], results[0]["synced"]) == (5, 4)
    assert results[1] == results[0]
    assert stored[1] == stored[0]


async def test_the_attendance_of_lines(
    application: Database, run: Run, served: Sources, from_files: Sources, people: dict[int, int]
) -> None:
    results, stored = [], []
    for sources in (from_files, served):
        await write_request(application, people)
        results.append(await run(sources, attendance.sync_lines, [1, 4]))
        stored.append(await stored_attendance(application))
    assert set(stored[0]) == {1, 4}
    assert results[1] == results[0]
    assert stored[1] == stored[0]


async def test_the_sign_ins_of_a_meal_request(
    application: Database, run: Run, served: Sources, from_files: Sources, people: dict[int, int]
) -> None:
    results, times = [], []
    for sources in (from_files, served):
        await write_request(application, people)
        results.append(await run(sources, attendance.fetch_for_meal_request, REQUEST))
        async with application.engine().connect() as connection:
            lines = await connection.execute(select(meal_request_line.c.id, meal_request_line.c.attendance_time))
            times.append({row.id: row.attendance_time for row in lines})
            assert await connection.scalar(select(meal_request.c.status_id).where(meal_request.c.id == REQUEST)) == 1
    assert [key for key, at in times[0].items() if at is not None] == [1, 2, 4]
    assert results[1] == results[0]
    assert times[1] == times[0]
