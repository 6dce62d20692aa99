"""Attendance sync: lines of meal requests against the HRIS's verified pairs, else against BioStar.

It never copies what the HRIS has: it starts from the lines, reads the pairs of up to 1,000 of their people over all of
their days in one query, and writes the lines that differ, each such part in a transaction of its own. A part may be
repeated. What a source no longer tells of a line stays as it was written.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy import insert, select

from db import biostar_database, hris_database, maria_database
from db.advisory_lock import hold_lock
from db.engines import Database
from db.tables import employee, log_replication
from hr.attendance.days import AttendanceUnusable, Pair, attendance_of, day_bounds, local_day
from hr.attendance.lines import Line, find_people, read_lines, read_lines_of_people
from hr.attendance.merge import FoundAttendance, merge_attendance
from hr.attendance.report import SyncReport, total_of
from hr.attendance.source import PEOPLE_PER_QUERY, AttendanceSource, take_pairs
from hr.biostar import BioStar, attendance_of_events
from hr.mapping import load_mapping
from hr.replication_log import LogContext, log_row
from hr.source import Source
from settings import Settings

LOCK = "attendance sync"
OPERATION = "attendance_sync"
MONTHS_A_YEAR = 12
PARTS_AT_ONCE = 2


@dataclass(frozen=True)
class AttendanceSync:
    """One sync: from where, to where, how far back.

    Attributes:
        database: The application database.
        source: The HRIS's attendance.
        biostar: What is asked where the HRIS has no pair; None where there is no BioStar.
        zone: The site's time zone.
        since: The oldest request that counts.
        admin_id: Who asked for it, if a person did.
    """

    database: Database
    source: AttendanceSource
    biostar: BioStar | None
    zone: ZoneInfo
    since: datetime
    admin_id: str | None = None


def plan_sync(settings: Settings, months_back: int | None = None, admin_id: str | None = None) -> AttendanceSync:
    """Give the sync that the settings describe.

    Args:
        settings: The databases, the mapping file, the site's time zone.
        months_back: Months of requests to look at; default: the setting.
        admin_id: Who asked for it, if a person did.

    Raises:
        MappingError: The mapping file cannot be used.
    """
    mapping_file = load_mapping(settings.hris_mapping)
    zone = settings.site_zone
    today = local_day(datetime.now(UTC), zone)
    return AttendanceSync(
        database=maria_database.database,
        source=AttendanceSource(Source(hris_database.database, mapping_file), mapping_file),
        biostar=BioStar(biostar_database.database, zone) if settings.has_biostar else None,
        zone=zone,
        since=day_bounds(months_before(today, months_back or settings.attendance_months_back), zone)[0],
        admin_id=admin_id,
    )


def months_before(day: date, months: int) -> date:
    """Give the same day some months earlier, or the last of that month if it is shorter."""
    month = day.year * MONTHS_A_YEAR + day.month - 1 - months
    first = date(month // MONTHS_A_YEAR, month % MONTHS_A_YEAR + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(day.day, last.day))


@asynccontextmanager
async def begin(sync: AttendanceSync) -> AsyncIterator[None]:
    """Hold the sync's lock.

    Raises:
        AlreadyRunning: Another sync is under way on the same database.
    """
    async with hold_lock(sync.database, LOCK):
        yield


async def find_parts(sync: AttendanceSync) -> list[list[int]]:
    """Give the people of the lines that count, in parts that one query can ask about."""
    async with sync.database.engine().connect() as connection:
        people = await find_people(connection, sync.since)
    return [people[start : start + PEOPLE_PER_QUERY] for start in range(0, len(people), PEOPLE_PER_QUERY)]


async def sync_parts(
    parts: Sequence[list[int]], sync_part: Callable[[int, list[int]], Awaitable[SyncReport]]
) -> SyncReport:
    """Sync parts, two at a time: while one waits for a database, the other works.

    Args:
        parts: From `find_parts`.
        sync_part: Syncs one, which it is given with its number.

    Raises:
        Exception: What the first part that failed raised, after the other one has ended too.
    """
    whole = SyncReport()
    waiting = (numbered for numbered in enumerate(parts, 1))

    async def work() -> None:
        # Both take from the same parts, so that one works while the other waits, however long each part takes.
        for number, part in waiting:
            try:
                whole.add(await sync_part(number, part))
            except BaseException:
                # The other ends its part and begins none.
                waiting.close()
                raise

    ended = await asyncio.gather(*(work() for _ in range(PARTS_AT_ONCE)), return_exceptions=True)
    for failure in ended:
        if failure is not None:
            raise failure
    return whole


async def sync_people(sync: AttendanceSync, employee_ids: Sequence[int]) -> SyncReport:
    """Bring the lines of some people in line with the sources; may be repeated.

    Args:
        sync: The sync.
        employee_ids: One of the parts of `find_parts`.

    Raises:
        SourceError: A source is not as its mapping describes it.
        DatabaseUnreachable: A database does not answer.
    """
    async with sync.database.engine().connect() as connection:
        lines = await read_lines_of_people(connection, sync.zone, sync.since, employee_ids)
    return await _sync(sync, lines)


async def sync_lines(sync: AttendanceSync, line_ids: Iterable[int]) -> SyncReport:
    """Bring some lines in line with the sources, however old they are; may be repeated.

    Args:
        sync: The sync; its `since` does not count.
        line_ids: The lines.

    Raises:
        NotFound: Some do not exist or are deleted; nothing was written.
        SourceError: A source is not as its mapping describes it.
        DatabaseUnreachable: A database does not answer.
    """
    async with sync.database.engine().connect() as connection:
        lines = await read_lines(connection, sync.zone, line_ids)
    report = total_of([await _sync(sync, part) for part in _parts_of(lines)])
    await count_ignored_events(sync, report)
    return report


async def sync_months(sync: AttendanceSync) -> SyncReport:
    """Run a whole sync in the calling task: what `flows/attendance.py` does in steps of their own."""
    async with begin(sync):
        report = await sync_parts(await find_parts(sync), lambda _number, part: sync_people(sync, part))
        await count_ignored_events(sync, report)
        await log_success(sync, report, duration=timedelta(0))
        return report


async def count_ignored_events(sync: AttendanceSync, report: SyncReport) -> None:
    """Count into a whole report what BioStar has, around the days it was asked about, of ids that are no employee's."""
    if sync.biostar is None or not report.days_asked:
        return
    async with sync.database.engine().connect() as connection:
        codes = {str(code) for code in (await connection.scalars(select(employee.c.code))).all()}
    days = min(report.days_asked), max(report.days_asked)
    report.biostar_ignored = await sync.biostar.count_ignored(codes, *days)


async def log_success(sync: AttendanceSync, report: SyncReport, duration: timedelta) -> None:
    """Write the `log_replication` row of a sync that succeeded."""
    row = log_row(_log_context(sync, duration), OPERATION, is_successful=True) | {
        "records_processed": report.total,
        "records_created": report.created,
        "records_updated": report.updated,
        "records_skipped": report.unchanged + report.not_found,
        "records_failed": report.errors,
        "result": json.dumps(report.counts() | {"reasons": report.reasons}),
    }
    async with sync.database.engine().begin() as connection:
        await connection.execute(insert(log_replication).values(row))


async def log_failure(sync: AttendanceSync, error: Exception, duration: timedelta) -> None:
    """Write the `log_replication` row of a sync that failed."""
    row = log_row(_log_context(sync, duration), OPERATION, is_successful=False)
    async with sync.database.engine().begin() as connection:
        await connection.execute(
            insert(log_replication).values(row | {"error_message": f"{type(error).__name__}: {error}"})
        )


def _log_context(sync: AttendanceSync, duration: timedelta) -> LogContext:
    return LogContext(datetime.now(UTC), sync.admin_id, sync.source.system, round(duration.total_seconds() * 1000))


def _parts_of(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Split lines so that each part has the lines of up to 1,000 people."""
    part: list[Line] = []
    for number, (_, of_person) in enumerate(groupby(sorted(lines, key=_person), key=_person), 1):
        part.extend(of_person)
        if number % PEOPLE_PER_QUERY == 0:
            yield part
            part = []
    if part:
        yield part


def _person(line: Line) -> int:
    return line.employee_id


async def _sync(sync: AttendanceSync, lines: Sequence[Line]) -> SyncReport:
    report = SyncReport(total=len(lines))
    if not lines:
        return report
    found, missing = await _ask_hris(sync, lines, report)
    if missing:
        found += await _ask_biostar(sync, missing, report)
    merged = await merge_attendance(sync.database, found)
    report.created, report.updated, report.unchanged = merged.created, merged.updated, merged.unchanged
    for line_id in merged.without_code:
        report.fail("no employee code", line_id)
    return report


async def _ask_hris(
    sync: AttendanceSync, lines: Sequence[Line], report: SyncReport
) -> tuple[list[FoundAttendance], list[Line]]:
    """Give the attendance that the HRIS tells, and the lines that it knows nothing of."""
    wanted: dict[int, dict[date, list[Pair]]] = {}
    for line in lines:
        wanted.setdefault(line.employee_id, {})[line.day] = []
    async for rows in sync.source.read_pairs(wanted):
        take_pairs(wanted, rows)
    found, missing = [], []
    for line in lines:
        pairs = wanted[line.employee_id][line.day]
        if not pairs:
            missing.append(line)
            continue
        try:
            found.append(FoundAttendance(line, attendance_of(pairs, sync.zone)))
        except AttendanceUnusable as error:
            report.fail(str(error), line.id)
    return found, missing


async def _ask_biostar(sync: AttendanceSync, lines: Sequence[Line], report: SyncReport) -> list[FoundAttendance]:
    """Give the attendance that BioStar tells of lines that the HRIS knows nothing of; counts the others."""
    found: list[FoundAttendance] = []
    if sync.biostar is not None:
        asked = [(line, line.code) for line in lines if line.code is not None]
        report.days_asked |= {line.day for line, _ in asked}
        events = await sync.biostar.read_days((code, line.day) for line, code in asked)
        found = [
            FoundAttendance(line, attendance_of_events(events[code, line.day]))
            for line, code in asked
            if (code, line.day) in events
        ]
    report.from_biostar = len(found)
    report.not_found = len(lines) - len(found)
    return found
