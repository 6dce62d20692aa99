"""Meal request lines and their attendance in the application database."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, String, cast, func, select
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import employee, meal_request, meal_request_line, meal_request_line_attendance
from errors import NotFound
from hr.attendance.days import Attendance, local_day

# Ids named in a message.
NAMED_IDS = 10
_WRITTEN = ("employee_code", "attendance_date", "attendance_in", "attendance_out", "working_hours")


class Line(NamedTuple):
    """A line of a meal request, and its attendance as it is stored."""

    id: int
    employee_id: int
    code: str | None
    day: date
    is_stored: bool
    stored: tuple[str | None, date | None, Attendance]


class WrittenLine(NamedTuple):
    """The attendance that a line is to have."""

    line: Line
    code: str
    attendance: Attendance


def differs(line: Line, attendance: Attendance) -> bool:
    """Tell whether a line's stored attendance is another one."""
    return not line.is_stored or line.stored != (line.code, line.day, attendance)


def employee_code() -> ColumnElement[str | None]:
    """Give the code of a line's person: as the line has it, else the employee; needs both tables."""
    of_line = func.nullif(func.trim(meal_request_line.c.employee_code), "")
    return func.coalesce(of_line, cast(employee.c.code, String(32)))


async def find_people(connection: AsyncConnection, since: datetime) -> list[int]:
    """Give the employee ids of the lines whose requests are not older than a point in time, in order."""
    line = meal_request_line
    people = select(line.c.employee_id).distinct().select_from(_lines()).where(*_counting(since))
    return sorted((await connection.scalars(people)).all())


async def read_lines_of_people(
    connection: AsyncConnection, zone: tzinfo, since: datetime, employee_ids: Sequence[int]
) -> list[Line]:
    """Read the lines of some people whose requests are not older than a point in time.

    Args:
        connection: To the application database.
        zone: The site's time zone, in which a request has its day.
        since: The oldest request.
        employee_ids: The people.
    """
    return await _read(connection, zone, *_counting(since), meal_request_line.c.employee_id.in_(employee_ids))


async def read_lines(connection: AsyncConnection, zone: tzinfo, line_ids: Iterable[int]) -> list[Line]:
    """Read the lines of some ids.

    Args:
        connection: To the application database.
        zone: The site's time zone, in which a request has its day.
        line_ids: The lines.

    Raises:
        NotFound: Some do not exist, or they or their requests are deleted.
    """
    wanted = set(line_ids)
    lines = await _read(connection, zone, *_counting(), meal_request_line.c.id.in_(wanted))
    missing = sorted(wanted - {line.id for line in lines})
    if missing:
        named = ", ".join(map(str, missing[:NAMED_IDS])) + (" …" if missing[NAMED_IDS:] else "")
        raise NotFound(
            f"{len(missing)} of {len(wanted)} lines do not exist or are deleted: {named}. Nothing was written; "
            "call again without them"
        )
    return lines


async def write_attendance(connection: AsyncConnection, written: Sequence[WrittenLine], now: datetime) -> None:
    """Insert or update the attendance of lines, in one statement.

    Args:
        connection: To the application database, in a transaction.
        written: What the lines are to have.
        now: The time that the rows are stamped with.
    """
    if not written:
        return
    table = meal_request_line_attendance
    rows = [_row(each, now) for each in sorted(written, key=lambda each: each.line.id)]
    changed = (*_WRITTEN, "attendance_synced_at", "updated_at")
    if connection.dialect.name == "mysql":
        upsert = mysql.insert(table)
        await connection.execute(
            upsert.on_duplicate_key_update({name: upsert.inserted[name] for name in changed}), rows
        )
    else:
        insert = sqlite.insert(table)
        key = [table.c.meal_request_line_id]
        await connection.execute(insert.on_conflict_do_update(key, set_={n: insert.excluded[n] for n in changed}), rows)


def _row(written: WrittenLine, now: datetime) -> dict[str, Any]:
    came, left, hours = written.attendance
    return {
        "meal_request_line_id": written.line.id,
        "employee_code": written.code,
        "attendance_date": written.line.day,
        "attendance_in": came,
        "attendance_out": left,
        "working_hours": hours,
        "attendance_synced_at": now,
        "created_at": now,
        "updated_at": now,
    }


def _lines() -> FromClause:
    return meal_request_line.join(meal_request, meal_request.c.id == meal_request_line.c.meal_request_id)


def _counting(since: datetime | None = None) -> list[ColumnElement[bool]]:
    """Give the conditions of a line that counts."""
    conditions: list[ColumnElement[bool]] = [
        meal_request.c.is_deleted.is_(False),
        meal_request_line.c.is_deleted.is_(False),
    ]
    return conditions if since is None else [*conditions, meal_request.c.request_time >= since]


async def _read(connection: AsyncConnection, zone: tzinfo, *conditions: ColumnElement[bool]) -> list[Line]:
    line, stored = meal_request_line, meal_request_line_attendance
    rows = await connection.execute(
        select(
            line.c.id,
            line.c.employee_id,
            employee_code(),
            meal_request.c.request_time,
            stored.c.id.is_not(None),
            *(stored.c[name] for name in _WRITTEN),
        )
        .select_from(
            _lines()
            .outerjoin(employee, employee.c.id == line.c.employee_id)
            .outerjoin(stored, stored.c.meal_request_line_id == line.c.id)
        )
        .where(*conditions)
        .order_by(line.c.id)
    )
    return [
        Line(
            line_id,
            employee_id,
            code,
            local_day(at, zone),
            bool(is_stored),
            (stored_code, day, Attendance(came, left, hours)),
        )
        for line_id, employee_id, code, at, is_stored, stored_code, day, came, left, hours in rows
    ]
