"""Reading attendance from the HRIS: all that is wanted of up to 1,000 people over all of their days in one query.

The query carries the days that are wanted of each person, so that the HRIS picks them out and no other row travels.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Select,
    String,
    column,
    func,
    literal_column,
    select,
    text,
    type_coerce,
)

from errors import MappingError
from hr.attendance.days import Pair
from hr.mapping import MappingFile, SourceTable
from hr.source import Source, is_set, mapped_table

Section = TypeVar("Section", bound=SourceTable)

# SQL Server takes 2,100 parameters a statement, and its drivers need some for themselves; a person takes two.
PEOPLE_PER_QUERY = 1_000
CHUNK_ROWS = 20_000
DAY = "%Y%m%d"
# A list of rows as a table with names for its columns.
ROWS_OF = {
    "mssql": "SELECT * FROM (VALUES {rows}) AS listed (employee_id, days)",
    "sqlite": "SELECT column1 AS employee_id, column2 AS days FROM (VALUES {rows})",
    "mysql": "WITH listed (employee_id, days) AS (VALUES {rows}) SELECT * FROM listed",
}


class AttendanceSource:
    """The attendance tables of an HRIS.

    Args:
        source: The HRIS.
        mapping_file: Which tables and columns hold what.
    """

    def __init__(self, source: Source, mapping_file: MappingFile) -> None:
        self._source = source
        self._file = mapping_file
        self.system = source.system

    async def read_pairs(self, wanted: Mapping[int, Collection[date]]) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Stream employee id, begin and end of verified pairs, in one query.

        Args:
            wanted: Local days on which pairs begin, by employee id; at most `PEOPLE_PER_QUERY`.

        Raises:
            MappingError: The mapping says nothing of pairings.
            SourceColumnMissing: The source lacks a table or column that the mapping names.
            DatabaseUnreachable: No connection.
        """
        async for rows in self._source.stream(
            lambda dialect: self.pairs_statement(dialect, wanted), ["attendance_pairing"], CHUNK_ROWS
        ):
            yield rows

    async def read_first_signs(self, employee_ids: Sequence[int], day: date) -> dict[int, datetime]:
        """Give when people first signed in on a day, as naive times of the site, in one query for 1,000 people.

        Args:
            employee_ids: Any number.
            day: The local day.

        Returns:
            The times by employee id; people who did not sign in are not in it.

        Raises:
            MappingError: The mapping says nothing of signs.
            SourceColumnMissing: The source lacks a table or column that the mapping names.
            DatabaseUnreachable: No connection.
        """
        firsts: dict[int, datetime] = {}
        for start in range(0, len(employee_ids), PEOPLE_PER_QUERY):
            asked = employee_ids[start : start + PEOPLE_PER_QUERY]
            async for rows in self._source.stream(
                lambda dialect, asked=asked: self.signs_statement(dialect, asked, day),  # type: ignore[misc]
                ["attendance_sign"],
                CHUNK_ROWS,
            ):
                for employee_id, at in rows:
                    if at is not None and at.date() == day:
                        firsts[employee_id] = min(at, firsts.get(employee_id, at))
        return firsts

    def pairs_statement(self, dialect: str, wanted: Mapping[int, Collection[date]]) -> Select[Any]:
        """Build the statement of `read_pairs` for a dialect, called by SQLAlchemy's name."""
        keys = self._section("attendance_pairing", self._file.mapping.attendance_pairing)
        table = mapped_table(self._file.mapping, keys, dialect)
        came, left = (type_coerce(table.c[name], DateTime()) for name in (keys.came, keys.left))
        days = [day for each in wanted.values() for day in each]
        asked = _asked_days(dialect, wanted)
        return (
            select(table.c[keys.employee_id], came, left)
            .select_from(table.join(asked, asked.c.employee_id == table.c[keys.employee_id]))
            .where(_is_around(came, min(days), max(days)), _holds(dialect, asked.c.days, table.c[keys.came]))
        )

    def signs_statement(self, dialect: str, employee_ids: Sequence[int], day: date) -> Select[Any]:
        """Build the statement of `read_first_signs` for a dialect, called by SQLAlchemy's name."""
        keys = self._section("attendance_sign", self._file.mapping.attendance_sign)
        table = mapped_table(self._file.mapping, keys, dialect)
        at = type_coerce(table.c[keys.at], DateTime())
        return select(table.c[keys.employee_id], at).where(
            table.c[keys.employee_id].in_(employee_ids), is_set(keys.is_sign_in, table), _is_around(at, day, day)
        )

    def _section(self, name: str, section: Section | None) -> Section:
        if section is None:
            raise MappingError(
                f"the mapping file {self._file.path} has no section [{name}], which attendance is read from: "
                "add it (docs/mapping.md), or switch the attendance jobs off"
            )
        return section


def take_pairs(wanted: Mapping[int, Mapping[date, list[Pair]]], rows: Sequence[Sequence[Any]]) -> None:
    """Add pairs to the wanted days of people; the others fall away.

    Args:
        wanted: Pairs by employee id and local day; the lists are filled.
        rows: Employee id, begin, end.
    """
    for employee_id, came, left in rows:
        if came is not None and (pairs := wanted[employee_id].get(came.date())) is not None:
            pairs.append(Pair(came, left))


def _asked_days(dialect: str, wanted: Mapping[int, Collection[date]]) -> FromClause:
    """Give the wanted days as a table of people and their days, as `20261122 20261123`."""
    written = {day: f"{day:{DAY}}" for day in set().union(*wanted.values())}
    # Numbers and digits, written into the text: two parameters for each person cost more than the query itself.
    rows = (f"({int(person)}, '{' '.join(sorted(map(written.__getitem__, days)))}')" for person, days in wanted.items())
    listed = text(ROWS_OF[dialect].format(rows=", ".join(rows)))
    return listed.columns(column("employee_id", Integer), column("days", String)).subquery("asked")


def _holds(dialect: str, days: ColumnElement[str], at: ColumnElement[Any]) -> ColumnElement[bool]:
    """Give the condition that a time lies on one of a person's days."""
    if dialect == "mssql":
        day = func.convert(literal_column("char(8)"), at, literal_column("112"))
        return func.charindex(day, days) > 0
    day = func.date_format(at, DAY) if dialect == "mysql" else func.strftime(DAY, at)
    return func.instr(days, day) > 0


def _is_around(at: ColumnElement[datetime], first: date, last: date) -> ColumnElement[bool]:
    # A second more on both sides: SQLite compares times as texts, with and without fractions.
    second = timedelta(seconds=1)
    begin, end = datetime.combine(first, time.min) - second, datetime.combine(last, time.max) + second
    return at.between(begin, end)
