"""Attendance from the HRIS and from BioStar over TDS, on both drivers."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from db.engines import Database
from hr.attendance.meal_request import SignInLookup, fetch_sign_ins
from hr.attendance.source import PEOPLE_PER_QUERY, AttendanceSource
from hr.attendance.sync import AttendanceSync, sync_months
from hr.biostar import PEOPLE_PER_QUERY as BIOSTAR_PEOPLE_PER_QUERY
from hr.biostar import BioStar
from hr.mapping import load_mapping
from hr.source import Source
from tests.integration.attendance.world import (
    CAIRO,
    LET_IN,
    LONG_AGO,
    MAPPING,
    cairo,
    line,
    open_source,
    read_attendance,
    write_biostar,
    write_hris,
    write_lines,
)
from tests.integration.sqlserver.conftest import Serve

DAY = date(2026, 11, 20)
PAIRS = [
    (1, "2026-11-20 08:00:00", "2026-11-20 16:30:00"),
    (1, "2026-11-20 18:00:00.450", "2026-11-20 19:00:00"),
    (2, "2026-11-20 22:00:00", "2026-11-21 06:00:00"),
    (3, "2026-11-20 07:00:00", None),
    (4, "2026-11-19 23:59:59.997", "2026-11-20 08:00:00"),
    (5, "2026-11-21 00:00:00", "2026-11-21 08:00:00"),
]
SIGN_IN, SIGN_OUT = 1, 2
SIGNS = [
    (1, "2026-11-20 07:55:00.450", SIGN_IN),
    (1, "2026-11-20 08:05:00", SIGN_IN),
    (2, "2026-11-20 00:00:00", SIGN_IN),
    (3, "2026-11-20 05:00:00", SIGN_OUT),
    (3, "2026-11-21 00:00:00", SIGN_IN),
]
# The first hours of November by the site's clock are October's by the devices', which count in UTC.
EVENTS: dict[str, list[tuple[Any, ...]]] = {
    "202610": [("106", "2026-11-01 01:30", LET_IN, 0)],
    "202611": [
        ("106", "2026-11-20 08:00", LET_IN, 0),
        ("106", "2026-11-20 17:00", 4865, 2),
        ("107", "2026-11-20 21:00", LET_IN, 1),
        ("107", "2026-11-21 05:00", LET_IN, 2),
        ("زائر-1", "2026-11-20 09:00", LET_IN, None),
        ("106", "2026-11-20 03:00", 5120, 0),
    ],
}


@pytest.fixture
def hris(tmp_path: Path) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_hris(path, pairs=PAIRS, signs=SIGNS)
    return path


@pytest.fixture
def doors(tmp_path: Path) -> Path:
    path = tmp_path / "biostar.sqlite3"
    write_biostar(path, EVENTS)
    return path


def attendance_of(database: Database) -> AttendanceSource:
    mapping_file = load_mapping(MAPPING)
    return AttendanceSource(Source(database, mapping_file), mapping_file)


async def test_pairs_are_the_same_as_in_the_file(hris: Path, serve: Serve) -> None:
    wanted = {person: [DAY] for person in range(1, PEOPLE_PER_QUERY + 1)}
    found = []
    for database in (open_source(hris), serve(hris)):
        rows = [tuple(row) async for rows in attendance_of(database).read_pairs(wanted) for row in rows]
        found.append(sorted(rows, key=str))
    assert len(found[0]) == 4
    assert found[1] == found[0]


async def test_first_sign_ins_of_more_people_than_one_query_takes_are_the_same(hris: Path, serve: Serve) -> None:
    people = range(1, 2 * PEOPLE_PER_QUERY)
    expected = await attendance_of(open_source(hris)).read_first_signs(people, DAY)
    assert len(expected) == 2
    assert await attendance_of(serve(hris)).read_first_signs(people, DAY) == expected


async def test_door_events_across_months_are_the_same(doors: Path, serve: Serve) -> None:
    days = [date(2026, 10, 31), date(2026, 11, 1), DAY]
    wanted = [(str(code), day) for code in range(106, 106 + BIOSTAR_PEOPLE_PER_QUERY + 1) for day in days]
    expected = await BioStar(open_source(doors), CAIRO).read_days(wanted)
    assert {code for code, _ in expected} == {"106", "107"}
    biostar = BioStar(serve(doors), CAIRO)
    assert await biostar.read_days(wanted) == expected
    assert await biostar.count_ignored({"106"}, days[0], days[-1]) == 2


async def test_a_sync_from_both_systems_stores_the_same_as_from_the_files(
    application: Database, hris: Path, doors: Path, serve: Serve
) -> None:
    stored, reports = [], []
    noon = cairo("2026-11-20 12:00")
    for source, biostar in ((open_source(hris), open_source(doors)), (serve(hris), serve(doors))):
        await write_lines(application, [line(number, number, noon) for number in range(1, 9)])
        sync = AttendanceSync(application, attendance_of(source), BioStar(biostar, CAIRO), CAIRO, LONG_AGO)
        reports.append(await sync_months(sync))
        rows = await read_attendance(application)
        stamps = ("id", "attendance_synced_at", "created_at", "updated_at")
        stored.append({key: {name: row[name] for name in row if name not in stamps} for key, row in rows.items()})
    assert set(stored[0]) == {1, 2, 3, 6, 7}
    assert stored[1] == stored[0]
    assert [(report.total, report.synced, report.not_found) for report in reports] == [(8, 5, 3)] * 2


async def test_a_meal_requests_sign_ins_are_the_same_as_from_the_files(
    application: Database, hris: Path, doors: Path, serve: Serve
) -> None:
    noon = cairo("2026-11-20 12:00")
    reports = []
    for source, biostar in ((open_source(hris), open_source(doors)), (serve(hris), serve(doors))):
        await write_lines(application, [line(number, number, noon, request_id=7) for number in (1, 2, 3, 6)])
        lookup = SignInLookup(application, attendance_of(source), BioStar(biostar, CAIRO), CAIRO)
        reports.append(await fetch_sign_ins(lookup, 7))
    assert (reports[0].total, reports[0].synced, reports[0].written) == (4, 3, 3)
    assert reports[1] == reports[0]
