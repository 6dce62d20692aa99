"""Meal request lines in the application database: which count, whose they are, and on which day."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, String, cast, collate, distinct, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import employee, meal_request, meal_request_line
from errors import DatabaseError, NotFound
from hr.attendance.days import local_day

# Ids named in a message.
NAMED_IDS = 10
# Ids asked about at a time: SQLite takes 32,766 parameters a statement.
IDS_PER_QUERY = 10_000


class Line(NamedTuple):
    """A line of a meal request: its id, its person, the local day of its request."""

    id: int
    employee_id: int
    day: date


def employee_code(dialect: str) -> ColumnElement[str | None]:
    """Give the code of a line's person: as the line has it, else the employee; needs both tables.

    Args:
        dialect: SQLAlchemy's name of the database's dialect. On MariaDB the two texts are given the same collation,
            which those of an adopted table and of the connection need not be.
    """
    codes: list[ColumnElement[Any]] = [
        func.nullif(func.trim(meal_request_line.c.employee_code), ""),
        cast(employee.c.code, String(32)),
    ]
    return func.coalesce(*(collate(code, "utf8mb4_bin") if dialect == "mysql" else code for code in codes))


async def find_people(connection: AsyncConnection, since: datetime) -> list[int]:
    """Give the employee ids of the lines whose requests are not older than a point in time, in order."""
    people = await _list(connection, _counting(since), distinct(meal_request_line.c.employee_id))
    return sorted(map(int, people))


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


async def read_codes(connection: AsyncConnection, line_ids: Sequence[int]) -> dict[int, str]:
    """Give the employee codes of lines by line; people without a code are not in it."""
    line = meal_request_line
    code = employee_code(connection.dialect.name)
    codes: dict[int, str] = {}
    for start in range(0, len(line_ids), IDS_PER_QUERY):
        rows = await connection.execute(
            select(line.c.id, code)
            .select_from(line.outerjoin(employee, employee.c.id == line.c.employee_id))
            .where(line.c.id.in_(line_ids[start : start + IDS_PER_QUERY]), code.is_not(None))
        )
        codes |= {line_id: found for line_id, found in rows if found is not None}
    return codes


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
    line = meal_request_line.c
    line_id, employee_id, at = (
        cast(field, String) for field in (line.id, line.employee_id, meal_request.c.request_time)
    )
    days: dict[str, date] = {}
    lines = []
    for item in await _list(connection, conditions, line_id + "|" + employee_id + "|" + at):
        number, person, moment = item.split("|")
        if moment not in days:
            days[moment] = local_day(datetime.fromisoformat(moment).replace(tzinfo=UTC), zone)
        lines.append(Line(int(number), int(person), days[moment]))
    return lines


async def _list(
    connection: AsyncConnection, conditions: Sequence[ColumnElement[bool]], each: ColumnElement[Any]
) -> list[str]:
    """Give a value of each line as one text that is taken apart: rows are what the driver spends most time on."""
    if connection.dialect.name == "mysql":
        await connection.execute(text("SET SESSION group_concat_max_len = 4294967295"))
    found = await connection.execute(
        select(func.count(each), func.group_concat(each)).select_from(_lines()).where(*conditions)
    )
    number, listed = found.one()
    values = listed.split(",") if listed else []
    if len(values) != number:
        raise DatabaseError(
            f"the application database cut a list of {number:,} meal request lines: raise its max_allowed_packet, or "
            "sync fewer months"
        )
    return values
