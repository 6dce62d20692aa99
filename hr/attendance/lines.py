"""Meal request lines in the application database: which count, whose they are, and on which day."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, Select, String, cast, collate, distinct, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.tables import employee, meal_request, meal_request_line
from errors import DatabaseError, NotFound
from hr.attendance.days import local_day

# Ids named in a message.
NAMED_IDS = 10
# ASCII's own separators, of the fields of a line and of lines: no code of an employee holds them.
FIELD, RECORD = "\x1f", "\x1e"
# Times of requests whose local day is kept at hand.
REQUESTS_KEPT = 20_000
# MariaDB makes a subquery of a list of 1,000 values or more, and may then read all lines to find those of a few people.
_LISTING = "SET SESSION group_concat_max_len = 4294967295, in_predicate_conversion_threshold = 0"


class Line(NamedTuple):
    """A line of a meal request: its id, its person, the local day of its request, the person's code if there is one."""

    id: int
    employee_id: int
    day: date
    code: str | None


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
    person = distinct(meal_request_line.c.employee_id)
    listed = select(func.count(person), func.group_concat(person)).select_from(_lines()).where(*_counting(since))
    return sorted(map(int, await _list(connection, listed, ",")))


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
    code = func.coalesce(employee_code(connection.dialect.name), "")
    each = line_id + FIELD + employee_id + FIELD + at + FIELD + code
    of_people = _lines().outerjoin(employee, employee.c.id == line.employee_id)
    listed = select(func.count(), func.aggregate_strings(each, RECORD)).select_from(of_people).where(*conditions)
    lines = []
    for item in await _list(connection, listed, RECORD):
        number, person, moment, known = item.split(FIELD, 3)
        lines.append(Line(int(number), int(person), _day_of(moment, zone), known or None))
    return lines


@lru_cache(REQUESTS_KEPT)
def _day_of(moment: str, zone: tzinfo) -> date:
    """Give the local day of a request's time as the database writes it; many lines are of one request."""
    return local_day(datetime.fromisoformat(moment).replace(tzinfo=UTC), zone)


async def _list(connection: AsyncConnection, statement: Select[tuple[int, str]], separator: str) -> list[str]:
    """Give the values that a statement counts and joins to one text: rows are what the driver spends most time on."""
    if connection.dialect.name == "mysql":
        await connection.execute(text(_LISTING))
    expected, joined = (await connection.execute(statement)).one()
    values = joined.split(separator) if joined else []
    if len(values) != expected:
        raise DatabaseError(
            f"the application database cut a list of {expected:,} meal request lines: raise its max_allowed_packet, or "
            "sync fewer months"
        )
    return values
