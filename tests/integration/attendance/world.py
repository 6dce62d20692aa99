"""The sources and the application's rows of attendance: written into real databases, and read back from them."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, event, insert, make_url, select

from db.engines import Database
from db.tables import employee, meal_request, meal_request_line, meal_request_line_attendance
from hr.attendance.source import AttendanceSource
from hr.attendance.sync import AttendanceSync
from hr.biostar import BioStar
from hr.mapping import load_mapping
from hr.source import Source
from settings import REPOSITORY

CAIRO = ZoneInfo("Africa/Cairo")
MAPPING = REPOSITORY / "hr" / "mappings" / "hris.toml"
HRIS_TABLES = {
    "TMS_AttendancePairing": "EmployeeId INTEGER, InDate DATETIME, OutDate DATETIME",
    "TMS_Attendance": "EmployeeID INTEGER, SignDatetime DATETIME, SignTypeID INTEGER",
}
EVENT_COLUMNS = (
    "EVTLGUID INTEGER PRIMARY KEY, SRVDT DATETIME, DEVDT INTEGER, DEVUID INTEGER, USRID, EVT INTEGER, TNAKEY"
)
LET_IN = 4102
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

Row = dict[str, Any]
# A line as tests write it: id, employee, when it was asked for (UTC), and what else is not as usual.
AppState = Mapping[str, Sequence[Row]]


def write_hris(path: Path, *, pairs: Iterable[Sequence[Any]] = (), signs: Iterable[Sequence[Any]] = ()) -> None:
    """Write the HRIS's attendance tables as an SQLite file, in place of what they held; times are Cairo's."""
    with closing(sqlite3.connect(path)) as connection:
        for (name, columns), rows in zip(HRIS_TABLES.items(), (pairs, signs), strict=True):
            connection.execute(f"DROP TABLE IF EXISTS {name}")
            connection.execute(f"CREATE TABLE {name} ({columns})")
            connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", rows)
        connection.commit()


def write_biostar(path: Path, months: Mapping[str, Iterable[Sequence[Any]]]) -> None:
    """Write BioStar's event tables: for each month `yyyymm` the events' USRID, time in Cairo, EVT and TNAKEY."""
    with closing(sqlite3.connect(path)) as connection:
        for month, events in months.items():
            connection.execute(f"CREATE TABLE T_LG{month} ({EVENT_COLUMNS})")
            for user, at, code, key in events:
                seconds = int(cairo(at).timestamp())
                connection.execute(
                    f"INSERT INTO T_LG{month} (SRVDT, DEVDT, DEVUID, USRID, EVT, TNAKEY) VALUES ('', ?, 1, ?, ?, ?)",
                    (seconds, user, code, key),
                )
        connection.commit()


def cairo(text: str) -> datetime:
    """Give the point in time of a local time of Cairo."""
    return datetime.fromisoformat(text).replace(tzinfo=CAIRO).astimezone(UTC)


def open_source(path: Path) -> Database:
    """Give a source that one of the functions above wrote."""
    return Database("the source", "HRIS_DATABASE_URL", lambda: make_url(f"sqlite+aiosqlite:///{path}"), writes=False)


def attendance_source(path: Path) -> AttendanceSource:
    """Give the attendance of the HRIS that `write_hris` wrote."""
    mapping_file = load_mapping(MAPPING)
    return AttendanceSource(Source(open_source(path), mapping_file), mapping_file)


def plan(database: Database, hris: Path, biostar: Path | None = None, since: datetime = LONG_AGO) -> AttendanceSync:
    """Give a sync of the sources into a database."""
    doors = None if biostar is None else BioStar(open_source(biostar), CAIRO)
    return AttendanceSync(database, attendance_source(hris), doors, CAIRO, since)


def line(line_id: int, employee_id: int, at: datetime, **more: Any) -> Row:
    """Give a line with a request of its own, of the same id.

    Args:
        line_id: Its id, and its request's.
        employee_id: Its person, whose code is 100 more.
        at: When the request was made.
        more: `employee_code`, `is_deleted`, `request_deleted`, `attendance_time`, `status_id`, `request_id`.
    """
    return {"id": line_id, "employee_id": employee_id, "at": at, **more}


async def write_lines(database: Database, lines: Iterable[Row], stored: Iterable[Row] = ()) -> None:
    """Write employees, requests, lines and their attendance, in place of what the tables held."""
    lines = list(lines)
    async with database.engine().begin() as connection:
        for table in (meal_request_line_attendance, meal_request_line, meal_request, employee):
            await connection.execute(delete(table))
        for person in sorted({row["employee_id"] for row in lines}):
            await connection.execute(insert(employee).values(id=person, code=100 + person))
        requests = {row.get("request_id", row["id"]): row for row in lines}
        for request_id, row in requests.items():
            values = {"id": request_id, "requester_id": "u", "meal_type_id": 1, "request_time": row["at"]}
            values |= {"status_id": row.get("status_id", 0), "is_deleted": row.get("request_deleted", False)}
            await connection.execute(insert(meal_request).values(values))
        for row in lines:
            values = {"id": row["id"], "employee_id": row["employee_id"], "is_deleted": row.get("is_deleted", False)}
            values |= {name: row.get(name) for name in ("employee_code", "attendance_time")}
            values["meal_request_id"] = row.get("request_id", row["id"])
            await connection.execute(insert(meal_request_line).values(values))
        for row in stored:
            await connection.execute(
                insert(meal_request_line_attendance).values(created_at=LONG_AGO, updated_at=LONG_AGO, **row)
            )


async def read_attendance(database: Database) -> dict[int, Row]:
    """Read the attendance that is stored, by line."""
    table = meal_request_line_attendance
    async with database.engine().connect() as connection:
        rows = await connection.execute(select(table).order_by(table.c.meal_request_line_id))
        return {row["meal_request_line_id"]: dict(row) for row in rows.mappings()}


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """Note the statements that the running loop sends to a database."""
    sent: list[str] = []
    engine = database.engine().sync_engine

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
