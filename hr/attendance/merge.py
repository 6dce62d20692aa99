"""Writing the attendance of lines: staged, compared with what is stored, and only what differs written, by set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import delete, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.bulk_load import BulkLoader
from db.engines import Database
from db.staging import staged_attendance
from db.tables import meal_request_line_attendance
from hr.attendance.days import DAYS_KEPT, Attendance
from hr.attendance.lines import Line

_DIGITS = tuple(f"{number:02}" for number in range(60))
_COMPARED = ("employee_code", "attendance_date", "attendance_in", "attendance_out", "working_hours")


class FoundAttendance(NamedTuple):
    """The attendance that a line is to have."""

    line: Line
    attendance: Attendance


@dataclass(frozen=True)
class Merged:
    """What became of the lines, in numbers, and those that cannot be written as their people have no code."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    without_code: Sequence[int] = ()


async def merge_attendance(database: Database, found: Sequence[FoundAttendance]) -> Merged:
    """Give lines their attendance, in one transaction; rows that are just so already are not written.

    Args:
        database: The application database.
        found: What the lines are to have; a line at most once.

    Returns:
        What became of them.
    """
    without_code = [each.line.id for each in found if each.line.code is None]
    wanted = [each for each in found if each.line.code is not None]
    if not wanted:
        return Merged(without_code=without_code)
    batch, now = str(uuid4()), datetime.now(UTC)
    async with BulkLoader(database, staged_attendance) as loader:
        await loader.write(_columns(batch, now, wanted))
    async with database.engine().connect() as connection:
        if connection.dialect.name == "mysql":
            # Statements then lock the rows that they write, not those that they read.
            await connection.execution_options(isolation_level="READ COMMITTED")
        created, updated = await _merge(connection, batch, now)
        await connection.execute(delete(staged_attendance).where(staged_attendance.c.batch == batch))
        await connection.commit()
    return Merged(created, updated, len(wanted) - created - updated, without_code)


def _columns(batch: str, now: datetime, found: Sequence[FoundAttendance]) -> list[list[Any]]:
    number = len(found)
    return [
        [batch] * number,
        [each.line.id for each in found],
        [each.line.code for each in found],
        [str(each.line.day) for each in found],
        [_to_text(each.attendance.came) for each in found],
        [_to_text(each.attendance.left) for each in found],
        [None if each.attendance.hours is None else str(each.attendance.hours) for each in found],
        [_to_text(now)] * number,
    ]


def _to_text(at: datetime | None) -> str | None:
    """Write a time of UTC, to the second, as both databases store it; `isoformat` takes four times as long."""
    if at is None:
        return None
    return f"{_write_day(at.toordinal())} {_DIGITS[at.hour]}:{_DIGITS[at.minute]}:{_DIGITS[at.second]}.000000"


@lru_cache(DAYS_KEPT)
def _write_day(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


async def _merge(connection: AsyncConnection, batch: str, now: datetime) -> tuple[int, int]:
    """Give how many rows were created and how many updated."""
    stored, wanted = meal_request_line_attendance, staged_attendance
    is_staged = wanted.c.batch == batch
    line_id = wanted.c.meal_request_line_id
    differs = or_(*(stored.c[name].is_distinct_from(wanted.c[name]) for name in _COMPARED))
    changed = (
        select(line_id, *(wanted.c[name] for name in _COMPARED))
        .join(stored, stored.c.meal_request_line_id == line_id)
        .where(is_staged, differs)
        .subquery("changed")
    )
    updated = await connection.execute(
        update(stored)
        .values({name: changed.c[name] for name in _COMPARED} | {"attendance_synced_at": now, "updated_at": now})
        .where(stored.c.meal_request_line_id == changed.c.meal_request_line_id)
    )
    stamps = ("attendance_synced_at", "created_at", "updated_at")
    new = (
        select(
            line_id, *(wanted.c[name] for name in _COMPARED), *(literal(now, stored.c[name].type) for name in stamps)
        )
        .outerjoin(stored, stored.c.meal_request_line_id == line_id)
        .where(is_staged, stored.c.id.is_(None))
    )
    created = await connection.execute(insert(stored).from_select(["meal_request_line_id", *_COMPARED, *stamps], new))
    return created.rowcount, updated.rowcount
