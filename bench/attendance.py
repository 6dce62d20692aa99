"""The attendance sync measured against one query a day and a write a line, on one private MariaDB.

The source is an SQLite file with the HRIS's pairings, indexed by person and by day. `docs/attendance.md` says what each
figure means.
"""

import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import event, func, insert, make_url, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncSession

from bench.replication import Goal, Outcome, Tell
from db.engines import Database
from db.migrate import upgrade
from db.tables import employee, meal_request, meal_request_line, meal_request_line_attendance
from hr.attendance.days import AttendanceUnusable, Pair, attendance_of, day_bounds
from hr.attendance.report import SyncReport
from hr.attendance.source import AttendanceSource
from hr.attendance.sync import AttendanceSync, sync_months
from hr.mapping import load_mapping
from hr.source import Source
from settings import REPOSITORY
from tests.servers import MariaDBServer, mariadb_server

GOALS = {
    "times_row_by_row": Goal(">=", 20),
    "unchanged_rows_written": Goal("<=", 0),
    "queries_per_1000_employees": Goal("<=", 1),
}
ZONE = ZoneInfo("Africa/Cairo")
FIRST_DAY = date(2026, 9, 20)
DAYS = 61
LINES_A_REQUEST = 50
SOURCE_TABLE = "TMS_AttendancePairing"


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        people: Employees, each with `pairings` spread over two months.
        pairings: Rows of the HRIS.
        lines: Meal request lines in these two months.
        row_by_row_days: Days whose lines are written line by line; that speed does not depend on their number.
    """

    people: int
    pairings: int
    lines: int
    row_by_row_days: int


FULL = Scale(people=20_000, pairings=1_000_000, lines=100_000, row_by_row_days=6)
QUICK = Scale(people=2_000, pairings=100_000, lines=10_000, row_by_row_days=3)


def measure_attendance(*, quick: bool, tell: Tell) -> Outcome:
    """Measure the sync and the old system's way.

    Args:
        quick: A tenth of the sizes.
        tell: Called with a line about each step.

    Returns:
        Ratios and raw figures; seconds, lines a second.

    Raises:
        ServerError: MariaDB is not installed or does not start.
    """
    scale = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="hr-flows-bench-") as folder, mariadb_server(durable=True) as server:
        source = Path(folder) / "hris.sqlite3"
        tell(f"Writing {scale.pairings:,} pairings of {scale.people:,} people")
        _write_source(source, scale)
        raw = asyncio.run(_measure(server, source, scale, tell))
    ratios = {
        "times_row_by_row": raw["lines_per_second"] / raw["row_by_row_lines_per_second"],
        "unchanged_rows_written": raw["unchanged_rows_changed"],
        "queries_per_1000_employees": raw["source_queries"] / (scale.people / 1000),
    }
    return Outcome(ratios, raw)


async def _measure(server: MariaDBServer, source: Path, scale: Scale, tell: Tell) -> dict[str, Any]:
    name = server.create_database()
    target = Database("the application database", "-", lambda: make_url(server.url(name)), writes=True)
    hris = Database("the HRIS", "-", lambda: make_url(f"sqlite+aiosqlite:///{source}"), writes=False)
    mapping_file = load_mapping(REPOSITORY / "hr" / "mappings" / "hris.toml")
    sync = AttendanceSync(
        target, AttendanceSource(Source(hris, mapping_file), mapping_file), None, ZONE, day_bounds(FIRST_DAY, ZONE)[0]
    )
    await upgrade(target)
    tell(f"Writing {scale.lines:,} meal request lines")
    await _write_application(target, scale)
    raw: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "lines": scale.lines,
        "pairings": scale.pairings,
        "people": scale.people,
    }
    seconds, report, queries = await _sync(sync, hris)
    tell(f"Synced {report.synced:,} of {report.total:,} lines in {seconds:.2f} s, {queries} queries to {SOURCE_TABLE}")
    raw |= {"seconds": seconds, "lines_per_second": report.total / seconds, "source_queries": queries}
    raw["counts"] = report.counts()

    server.execute("SET GLOBAL userstat = 1")
    server.execute("FLUSH TABLE_STATISTICS")
    raw["unchanged_seconds"], unchanged, _ = await _sync(sync, hris)
    raw["unchanged_counts"] = unchanged.counts()
    raw["unchanged_rows_changed"] = _changed_rows(server, name)
    raw["one_row_changed"] = await _change_one_row(server, name, target)
    server.execute("SET GLOBAL userstat = 0")

    server.execute(f"TRUNCATE TABLE `{name}`.meal_request_line_attendance")
    lines, seconds = await _sync_row_by_row(target, hris, scale.row_by_row_days)
    tell(f"Line by line {lines:,} lines of {scale.row_by_row_days} days took {seconds:.2f} s")
    raw |= {"row_by_row_lines": lines, "row_by_row_lines_per_second": lines / seconds}
    return raw


async def _sync(sync: AttendanceSync, hris: Database) -> tuple[float, SyncReport, int]:
    """Run the sync; gives seconds, report and the queries that the source table got."""
    queries = 0

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal queries
        queries += SOURCE_TABLE in statement

    engine = hris.engine().sync_engine
    event.listen(engine, "before_cursor_execute", count)
    started = time.perf_counter()
    report = await sync_months(sync)
    seconds = time.perf_counter() - started
    event.remove(engine, "before_cursor_execute", count)
    return seconds, report, queries


def _changed_rows(server: MariaDBServer, name: str) -> int:
    """Give MariaDB's own count of the rows of attendance that were changed since it was reset, and reset it."""
    found = server.execute(
        "SELECT COALESCE(SUM(ROWS_CHANGED), 0) FROM information_schema.TABLE_STATISTICS "
        f"WHERE TABLE_SCHEMA = '{name}' AND TABLE_NAME = 'meal_request_line_attendance'"
    )
    server.execute("FLUSH TABLE_STATISTICS")
    return int(found[0][0])


async def _change_one_row(server: MariaDBServer, name: str, target: Database) -> int:
    """Change one row, to show that the counter counts."""
    table = meal_request_line_attendance
    async with target.engine().begin() as connection:
        first = await connection.scalar(select(func.min(table.c.id)))
        await connection.execute(update(table).where(table.c.id == first).values(employee_code="0"))
    return _changed_rows(server, name)


async def _sync_row_by_row(target: Database, hris: Database, days: int) -> tuple[int, float]:
    """Do what the old system did, for the lines of some days: a query a day, and a write a line."""
    line, request, table = meal_request_line, meal_request, meal_request_line_attendance
    done = 0
    started = time.perf_counter()
    async with AsyncSession(target.engine()) as session, hris.engine().connect() as source:
        for number in range(days):
            day = FIRST_DAY + timedelta(days=number)
            begin, end = day_bounds(day, ZONE)
            lines = await session.execute(
                select(line.c.id, line.c.employee_id, line.c.employee_code)
                .join(request, request.c.id == line.c.meal_request_id)
                .where(request.c.request_time >= begin, request.c.request_time < end)
            )
            rows = await source.exec_driver_sql(
                f"SELECT EmployeeId, InDate, OutDate FROM {SOURCE_TABLE} WHERE InDate >= ? AND InDate < ?",
                (f"{day} 00:00:00", f"{day + timedelta(days=1)} 00:00:00"),
            )
            pairs: dict[int, list[Pair]] = defaultdict(list)
            for person, came, left in rows:
                pairs[person].append(Pair(datetime.fromisoformat(came), datetime.fromisoformat(left)))
            for line_id, person, code in lines.all():
                done += 1
                if person not in pairs:
                    continue
                try:
                    came_at, left_at, hours = attendance_of(pairs[person], ZONE)
                except AttendanceUnusable:
                    continue
                now = datetime.now(UTC)
                values = {"attendance_in": came_at, "attendance_out": left_at, "working_hours": hours}
                values |= {"attendance_synced_at": now, "updated_at": now}
                await session.execute(
                    mysql.insert(table)
                    .values(
                        meal_request_line_id=line_id,
                        employee_code=code,
                        attendance_date=day,
                        created_at=now,
                        **values,
                    )
                    .on_duplicate_key_update(**values)
                )
        await session.commit()
    return done, time.perf_counter() - started


def _write_source(path: Path, scale: Scale) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(f"CREATE TABLE {SOURCE_TABLE} (EmployeeId int, InDate datetime, OutDate datetime)")
        connection.executemany(f"INSERT INTO {SOURCE_TABLE} VALUES (?, ?, ?)", _draw_pairings(scale))
        connection.execute(f"CREATE INDEX by_person ON {SOURCE_TABLE} (EmployeeId, InDate)")
        connection.execute(f"CREATE INDEX by_day ON {SOURCE_TABLE} (InDate)")
        connection.commit()


def _draw_pairings(scale: Scale) -> Iterator[tuple[int, str, str]]:
    random = Random(1)  # noqa: S311 - sample data, no secret
    each = scale.pairings // scale.people
    for number in range(each):
        # A pair on most days, and two on some.
        midnight = datetime.combine(FIRST_DAY + timedelta(days=number * DAYS // each), datetime.min.time())
        for person in range(1, scale.people + 1):
            came = midnight + timedelta(minutes=random.randrange(5 * 60, 22 * 60))
            yield person, str(came), str(came + timedelta(minutes=random.randrange(3 * 60, 10 * 60)))


async def _write_application(database: Database, scale: Scale) -> None:
    random = Random(2)  # noqa: S311 - sample data, no secret
    requests = scale.lines // LINES_A_REQUEST
    begin = day_bounds(FIRST_DAY, ZONE)[0]
    async with database.engine().begin() as connection:
        await connection.execute(insert(employee), [{"id": n, "code": n} for n in range(1, scale.people + 1)])
        times = [begin + timedelta(seconds=random.randrange(DAYS * 24 * 3600)) for _ in range(requests)]
        await connection.execute(
            insert(meal_request),
            [
                {"id": n, "requester_id": "u", "status_id": 1, "meal_type_id": 1, "request_time": at}
                for n, at in enumerate(times, 1)
            ],
        )
        people = [random.randrange(scale.people) + 1 for _ in range(scale.lines)]
        await connection.execute(
            insert(meal_request_line),
            [
                {
                    "id": n,
                    "employee_id": person,
                    "employee_code": str(person),
                    "meal_request_id": (n - 1) // LINES_A_REQUEST + 1,
                }
                for n, person in enumerate(people, 1)
            ],
        )
