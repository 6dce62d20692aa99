"""BioStar 2: when people passed a door, from the event log's monthly tables.

Events are read for some people and a span of days, not from one event's key to the next: a sync asks only about the
lines that the HRIS has no pairing for, a few days of a few people, far less than what happens at the doors.

A day's first event of a person is the sign-in and its last the sign-out, but an event that the person marked as coming
or leaving counts as such wherever it stands. An event marked as leaving that comes before anything else on its day ends
the day before, if that has no end yet and began at most `LONGEST_SHIFT` earlier: a night shift.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import Enum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Select, String, TableClause, column, func, inspect, or_, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from db.streaming import stream_rows
from hr.attendance.days import Attendance, day_bounds, local_day, to_hours

# SQL Server takes 2,100 parameters a statement, and its drivers need some for themselves.
PEOPLE_PER_QUERY = 2_000
CHUNK_ROWS = 20_000
LONGEST_SHIFT = timedelta(hours=16)
# Event codes of a person let through: verified (1:1), identified (1:n).
LET_THROUGH = ((4096, 4351), (4864, 5119))


class Direction(Enum):
    """What an event says of where the person goes."""

    IN = "in"
    OUT = "out"
    UNKNOWN = "unknown"


DIRECTIONS = {1: Direction.IN, 3: Direction.IN, 2: Direction.OUT, 4: Direction.OUT}


class DoorEvent(NamedTuple):
    """A person let through a door."""

    at: datetime
    direction: Direction


@dataclass
class BioStar:
    """A BioStar database, only read.

    Attributes:
        database: Where it is.
        zone: The site's time zone, in which a day is meant.
    """

    database: Database
    zone: tzinfo

    async def read_days(self, wanted: Iterable[tuple[str, date]]) -> dict[tuple[str, date], list[DoorEvent]]:
        """Give the events of people on days, each table of the span asked once for every 2,000 people.

        Args:
            wanted: Employee codes and local days.

        Returns:
            Events in order of time by code and day; a night's last event is with the day on which the night began. Days
            without events are not in it.
        """
        days: dict[str, set[date]] = defaultdict(set)
        for code, day in wanted:
            days[code].add(day)
        if not days:
            return {}
        first = min(min(each) for each in days.values())
        last = max(max(each) for each in days.values())
        # One day more on both sides: a night shift's end, and the beginning that such an end belongs to.
        begin, end = (
            day_bounds(first - timedelta(days=1), self.zone)[0],
            day_bounds(last + timedelta(days=1), self.zone)[1],
        )
        found: dict[tuple[str, date], list[DoorEvent]] = {}
        codes = sorted(days)
        async with self.database.engine().connect() as connection:
            tables = await find_event_tables(connection, begin, end)
            for start in range(0, len(codes), PEOPLE_PER_QUERY):
                events = await self._read(connection, tables, codes[start : start + PEOPLE_PER_QUERY], begin, end)
                for code, of_person in events.items():
                    by_day = split_days(of_person, self.zone)
                    found |= {(code, day): by_day[day] for day in days[code] if day in by_day}
        return found

    async def count_ignored(self, codes: set[str], first: date, last: date) -> int:
        """Count the events of ids that are no employee's code: visitors, and people who left.

        Args:
            codes: The codes of all employees.
            first: The first local day.
            last: The last one.
        """
        begin, end = day_bounds(first, self.zone)[0], day_bounds(last, self.zone)[1]
        ignored = 0
        async with self.database.engine().connect() as connection:
            for name in await find_event_tables(connection, begin, end):
                rows = await connection.execute(ids_statement(name, begin, end))
                ignored += sum(events for user, events in rows if (user or "").strip() not in codes)
        return ignored

    async def _read(
        self, connection: AsyncConnection, tables: Sequence[str], codes: Sequence[str], begin: datetime, end: datetime
    ) -> dict[str, list[DoorEvent]]:
        events: dict[str, list[DoorEvent]] = defaultdict(list)
        for name in tables:
            statement = events_statement(name, codes, begin, end)
            async with aclosing(stream_rows(connection, statement, CHUNK_ROWS)) as chunks:
                async for rows in chunks:
                    for user, seconds, key in rows:
                        events[user.strip()].append(
                            DoorEvent(datetime.fromtimestamp(seconds, UTC), DIRECTIONS.get(key, Direction.UNKNOWN))
                        )
        for of_person in events.values():
            of_person.sort(key=lambda event: event.at)
        return events


async def find_event_tables(connection: AsyncConnection, begin: datetime, end: datetime) -> list[str]:
    """List the event tables that exist for a span of time, by the months of UTC, oldest first."""
    names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    wanted = {name.lower() for name in month_tables(begin, end)}
    return sorted(name for name in names if name.lower() in wanted)


def month_tables(begin: datetime, end: datetime) -> list[str]:
    """Give the names of the event tables that a span of time lies in; the device's clock, which is UTC's, decides."""
    first, last = begin.astimezone(UTC), (end - timedelta(seconds=1)).astimezone(UTC)
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"T_LG{month // 12:04}{month % 12 + 1:02}" for month in months]


def events_statement(name: str, codes: Sequence[str], begin: datetime, end: datetime) -> Select[Any]:
    """Build the statement that selects code, Unix seconds and attendance key of people's events.

    Args:
        name: The month's table.
        codes: At most `PEOPLE_PER_QUERY`.
        begin: The first moment.
        end: The first moment after the last.
    """
    events = _event_table(name)
    return select(events.c.USRID, events.c.DEVDT, events.c.TNAKEY).where(
        events.c.USRID.in_(codes), *_are_entries(events, begin, end)
    )


def ids_statement(name: str, begin: datetime, end: datetime) -> Select[Any]:
    """Build the statement that selects every id of a span of time and its number of events; as `events_statement`."""
    events = _event_table(name)
    return select(events.c.USRID, func.count()).where(*_are_entries(events, begin, end)).group_by(events.c.USRID)


def _event_table(name: str) -> TableClause:
    return table(
        name, column("USRID", String()), column("DEVDT", Integer()), column("EVT", Integer()), column("TNAKEY")
    )


def _are_entries(events: TableClause, begin: datetime, end: datetime) -> list[ColumnElement[bool]]:
    at = events.c.DEVDT
    entries = or_(*(events.c.EVT.between(*codes) for codes in LET_THROUGH))
    return [at >= int(begin.timestamp()), at < int(end.timestamp()), entries]


def split_days(events: Sequence[DoorEvent], zone: tzinfo) -> dict[date, list[DoorEvent]]:
    """Put a person's events to the local days that they belong to.

    Args:
        events: In order of time.
        zone: The site's time zone.
    """
    days: dict[date, list[DoorEvent]] = {}
    for event in events:
        day = local_day(event.at, zone)
        before = days.get(day - timedelta(days=1))
        if day not in days and before is not None and event.direction is Direction.OUT and _ends(before, event):
            before.append(event)
        else:
            days.setdefault(day, []).append(event)
    return days


def _ends(night: Sequence[DoorEvent], event: DoorEvent) -> bool:
    came, left, _ = attendance_of_events(night)
    return came is not None and left is None and event.at - came <= LONGEST_SHIFT


def attendance_of_events(events: Sequence[DoorEvent]) -> Attendance:
    """Say when a person came and left on a day.

    Args:
        events: The day's, in order of time, at least one.

    Returns:
        The day; without a `came` if the events only tell of leaving.
    """
    came = _first(events, Direction.IN) or _first(events, Direction.UNKNOWN)
    left = _first(reversed(events), Direction.OUT) or _first(reversed(events), Direction.UNKNOWN)
    if came is not None and left is not None and left <= came:
        left = None
    hours = None if came is None or left is None else to_hours(int((left - came).total_seconds()))
    return Attendance(came, left, hours)


def _first(events: Iterable[DoorEvent], direction: Direction) -> datetime | None:
    return next((event.at for event in events if event.direction is direction), None)
