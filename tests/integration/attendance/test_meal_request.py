"""The attendance of a new meal request on SQLite and MariaDB."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.engines import Database
from db.tables import meal_request, meal_request_line
from errors import NotFound
from hr.attendance.meal_request import PENDING, SignInLookup, fetch_sign_ins, make_pending
from hr.biostar import BioStar
from tests.integration.attendance.world import (
    CAIRO,
    LET_IN,
    attendance_source,
    cairo,
    line,
    open_source,
    statements_of,
    write_biostar,
    write_hris,
    write_lines,
)

NOON = cairo("2026-11-20 12:00")
SIGN_IN, SIGN_OUT = 1, 2
SIGNS = [
    (1, "2026-11-20 08:05:00", SIGN_IN),
    (1, "2026-11-20 07:55:00.450", SIGN_IN),
    (1, "2026-11-20 06:00:00", SIGN_OUT),
    (1, "2026-11-19 07:00:00", SIGN_IN),
    (2, "2026-11-20 00:00:00", SIGN_IN),
    (3, "2026-11-21 00:00:00", SIGN_IN),
    (3, "2026-11-20 05:00:00", SIGN_OUT),
]


@pytest.fixture
async def lookup(app_database: Database, tmp_path: Path) -> SignInLookup:
    """A request of four people; the HRIS knows two of them, BioStar the third."""
    write_hris(tmp_path / "hris.sqlite3", signs=SIGNS)
    write_biostar(
        tmp_path / "biostar.sqlite3",
        {"202611": [("103", "2026-11-20 09:00", LET_IN, 0), ("101", "2026-11-20 05:00", LET_IN, 0)]},
    )
    rows = [line(number, number, NOON, request_id=7) for number in (1, 2, 3, 4)]
    await write_lines(app_database, [*rows, line(5, 5, NOON, request_id=7, is_deleted=True)])
    return SignInLookup(
        app_database,
        attendance_source(tmp_path / "hris.sqlite3"),
        BioStar(open_source(tmp_path / "biostar.sqlite3"), CAIRO),
        CAIRO,
    )


async def read_times(database: Database) -> dict[int, Any]:
    async with database.engine().connect() as connection:
        rows = await connection.execute(select(meal_request_line.c.id, meal_request_line.c.attendance_time))
        return {row.id: row.attendance_time for row in rows}


async def read_status(database: Database, request_id: int = 7) -> int | None:
    async with database.engine().connect() as connection:
        status: int | None = await connection.scalar(
            select(meal_request.c.status_id).where(meal_request.c.id == request_id)
        )
        return status


async def test_every_line_gets_the_first_sign_in_of_the_requests_day(lookup: SignInLookup) -> None:
    with statements_of(lookup.source._source._database) as sent:
        report = await fetch_sign_ins(lookup, 7)
    assert (report.total, report.synced, report.written, report.not_found, report.errors) == (4, 3, 3, 1, 0)
    assert await read_times(lookup.database) == {
        1: cairo("2026-11-20 07:55"),
        2: cairo("2026-11-20 00:00"),
        3: cairo("2026-11-20 09:00"),
        4: None,
        5: None,
    }
    assert sum("TMS_Attendance" in statement for statement in sent) == 1


async def test_fetching_again_writes_nothing(lookup: SignInLookup) -> None:
    await fetch_sign_ins(lookup, 7)
    again = await fetch_sign_ins(lookup, 7)
    assert (again.synced, again.written) == (3, 0)


@pytest.mark.parametrize("request_id", [8, 9], ids=["unknown", "deleted"])
async def test_a_request_that_does_not_exist_or_is_deleted_is_named(lookup: SignInLookup, request_id: int) -> None:
    await write_lines(lookup.database, [line(9, 1, NOON, request_deleted=True)])
    with pytest.raises(NotFound, match=f"meal request {request_id} does not exist or is deleted"):
        await fetch_sign_ins(lookup, request_id)
    assert await read_times(lookup.database) == {9: None}


async def test_only_a_request_that_waits_for_its_attendance_becomes_pending(lookup: SignInLookup) -> None:
    assert await make_pending(lookup.database, 7) is True
    assert await read_status(lookup.database) == PENDING
    assert await make_pending(lookup.database, 7) is False
    await write_lines(lookup.database, [line(1, 1, NOON, status_id=4)])
    assert await make_pending(lookup.database, 1) is False
    assert await read_status(lookup.database, 1) == 4
