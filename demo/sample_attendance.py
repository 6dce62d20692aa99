"""Sample attendance around today: pairs, signs and shifts in the sample HRIS, door events in a sample BioStar, and meal
requests in the application's database; with the peculiarities that real ones have.

What is drawn depends on the day and the people only.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from demo.hris_tables import create_table, insert_row

PEOPLE = 200
DAYS = 40
REQUESTS = 60
LINES_A_REQUEST = 12
# The request that waits for its attendance, and the lines of one that is older than a sync looks back.
WAITING_REQUEST = 1
OLD_REQUEST = 2
OLD_LINES = tuple(range(13, 19))
OLD_DAYS_AGO = 100
FETCHING, PENDING = 0, 1

SHARE_OF_DAYS_OFF = 0.2
# What HR has of a day, and how often; of some days it has nothing.
DAY_KINDS = {"whole": 80, "two pairs": 10, "without an end": 3, "left before coming": 2, "nothing": 5}
LET_IN, DENIED = 4102, 6400
COMING, LEAVING = 1, 2
EVENT_TABLE = (
    "EVTLGUID integer PRIMARY KEY, SRVDT datetime, DEVDT int, DEVUID int, USRID nvarchar(32), EVT int, TNAKEY int"
)
ATTENDANCE_TABLES = ("TMS_AttendancePairing", "TMS_Attendance", "TMS_ShiftAssignment", "TMS_Shift")


@dataclass(frozen=True)
class Person:
    """An employee of the application."""

    id: int
    code: int


@dataclass
class Sample:
    """What is drawn, before it is written.

    Attributes:
        today: The site's day.
        zone: The site's time zone.
        rows: Rows of the HRIS's tables, by table.
        events: Door events: code, time in the site's zone, kind, key.
    """

    today: date
    zone: ZoneInfo
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: {name: [] for name in ATTENDANCE_TABLES})
    events: list[tuple[str, datetime, int, int]] = field(default_factory=list)


def write_sample_attendance(app: Path, hris: Path, biostar: Path, zone: ZoneInfo, now: datetime) -> int:
    """Write sample attendance for people whom the application has.

    Args:
        app: The application's SQLite file; its meal requests are added to.
        hris: The sample HRIS; what its attendance tables held goes.
        biostar: The sample BioStar; replaced.
        zone: The site's time zone.
        now: The present.

    Returns:
        The number of meal request lines.
    """
    with closing(sqlite3.connect(app)) as connection:
        found = connection.execute("SELECT id, code FROM employee WHERE is_active ORDER BY id LIMIT ?", (PEOPLE,))
        people = [Person(*row) for row in found]
        sample = Sample(now.astimezone(zone).date(), zone)
        for number, person in enumerate(people):
            _draw_person(sample, person, number, now)
        lines = _write_requests(connection, people, sample, now)
    _write_hris(hris, sample)
    _write_biostar(biostar, sample, now)
    return lines


def _draw_person(sample: Sample, person: Person, number: int, now: datetime) -> None:
    """Draw a person's days: HR has verified those up to two days ago, the rest only the doors and the signs know."""
    random = Random(person.id)  # noqa: S311 - sample data, no secret
    is_night = number % 10 == 0
    for ago in (*range(DAYS), OLD_DAYS_AGO):
        day = sample.today - timedelta(days=ago)
        if random.random() < SHARE_OF_DAYS_OFF:
            continue
        came = datetime.combine(day, time(22 if is_night else 8)) + timedelta(minutes=random.randrange(-20, 20))
        left = came + timedelta(minutes=random.randrange(7 * 60, 9 * 60))
        if came.replace(tzinfo=sample.zone) <= now:
            sample.rows["TMS_Attendance"].append((person.id, str(came), COMING))
        _add_events(sample, person, came, left, marked=is_night)
        if ago > 1:
            _add_pairs(sample, person, came, left, random)
    shift = (number + 1, person.id, 8, str(datetime.combine(sample.today, time(22 if is_night else 8))), 1 + is_night)
    sample.rows["TMS_ShiftAssignment"].append(shift)


def _add_pairs(sample: Sample, person: Person, came: datetime, left: datetime, random: Random) -> None:
    pairs = sample.rows["TMS_AttendancePairing"]
    match random.choices(tuple(DAY_KINDS), tuple(DAY_KINDS.values()))[0]:
        case "whole":
            pairs.append((person.id, str(came), str(left)))
        case "two pairs":
            pause = came + (left - came) / 2
            pairs += [(person.id, str(came), str(pause)), (person.id, str(pause + timedelta(minutes=45)), str(left))]
        case "without an end":
            pairs.append((person.id, str(came), None))
        case "left before coming":
            pairs.append((person.id, str(came), str(came - timedelta(hours=1))))


def _add_events(sample: Sample, person: Person, came: datetime, left: datetime, *, marked: bool) -> None:
    code = str(person.code)
    for at, key in ((came, COMING), (left, LEAVING)):
        sample.events.append((code, at.replace(tzinfo=sample.zone), LET_IN, key if marked else 0))
    sample.events.append((code, (came + timedelta(hours=2)).replace(tzinfo=sample.zone), DENIED, 0))


def _write_requests(connection: sqlite3.Connection, people: list[Person], sample: Sample, now: datetime) -> int:
    random = Random(sample.today.toordinal())  # noqa: S311 - sample data, no secret
    line_id = 0
    for request_id in range(1, REQUESTS + 1):
        ago = {WAITING_REQUEST: 0, OLD_REQUEST: OLD_DAYS_AGO}.get(request_id, random.randrange(DAYS))
        noon = datetime.combine(sample.today - timedelta(days=ago), time(12), sample.zone)
        connection.execute(
            "INSERT INTO meal_request (id, requester_id, status_id, meal_type_id, request_time) "
            "VALUES (?, '', ?, 1, ?)",
            (request_id, FETCHING if request_id == WAITING_REQUEST else PENDING, _utc(noon)),
        )
        chosen = random.sample(people, min(LINES_A_REQUEST, len(people)))
        connection.executemany(
            "INSERT INTO meal_request_line (id, employee_id, meal_request_id) VALUES (?, ?, ?)",
            [(line_id + number, person.id, request_id) for number, person in enumerate(chosen, 1)],
        )
        line_id += len(chosen)
    _write_history(connection, now)
    connection.commit()
    return line_id


def _write_history(connection: sqlite3.Connection, now: datetime) -> None:
    """Leave something to clean up: old executions, an expired lock, an instance that went silent."""
    job, success = connection.execute(
        "SELECT job.id, status.id FROM scheduled_job job, scheduler_execution_status status "
        "WHERE status.code = 'success'"
    ).fetchone()
    long_ago = _utc(now - timedelta(days=60))
    connection.executemany(
        "INSERT INTO scheduled_job_execution (job_id, execution_id, run_id, status_id, created_at) "
        "VALUES (?, ?, ?, ?, ?)",
        [(job, f"old-{number}", f"run-{number}", success, long_ago) for number in range(25)],
    )
    connection.execute(
        "INSERT INTO scheduled_job_lock (job_id, acquired_at, expires_at) VALUES (?, ?, ?)", (job, long_ago, long_ago)
    )
    connection.execute(
        "INSERT INTO scheduler_instance (id, instance_name, status, last_heartbeat, started_at) VALUES (?, ?, ?, ?, ?)",
        ("old", "old", "running", long_ago, long_ago),
    )


def _write_hris(path: Path, sample: Sample) -> None:
    sample.rows["TMS_Shift"] = [(1, "DAY"), (2, "NIGHT")]
    with closing(sqlite3.connect(path)) as connection:
        for name in ATTENDANCE_TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {name}")
            connection.execute(create_table(name))
            connection.executemany(insert_row(name), sample.rows[name])
        connection.commit()


def _write_biostar(path: Path, sample: Sample, now: datetime) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        events = sorted((event for event in _all_events(sample) if event[1] <= now), key=lambda event: event[1])
        for user, at, kind, key in events:
            name = f"T_LG{at.astimezone(UTC):%Y%m}"
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({EVENT_TABLE})")
            connection.execute(
                f"INSERT INTO {name} (SRVDT, DEVDT, DEVUID, USRID, EVT, TNAKEY) VALUES (?, ?, 1, ?, ?, ?)",  # noqa: S608
                (str(at.replace(tzinfo=None)), int(at.timestamp()), user, kind, key),
            )
        connection.commit()


def _all_events(sample: Sample) -> Iterable[tuple[str, datetime, int, int]]:
    yield from sample.events
    yield from _visitors(sample)


def _visitors(sample: Sample) -> Iterator[tuple[str, datetime, int, int]]:
    for ago in range(DAYS):
        at = datetime.combine(sample.today - timedelta(days=ago), time(10), sample.zone)
        yield f"VISITOR-{ago % 7}", at, LET_IN, 0


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
