"""The attendance sync on SQLite and MariaDB: what it writes, counts, asks and refuses."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select, text

from db import maria_database, migrate
from db.engines import Database
from db.tables import log_replication
from errors import AlreadyRunning, NotFound, SourceColumnMissing
from hr.attendance.sync import AttendanceSync, begin, plan_sync, sync_lines, sync_months
from settings import get_settings
from tests.integration.attendance.world import (
    LET_IN,
    cairo,
    line,
    plan,
    read_attendance,
    statements_of,
    write_biostar,
    write_hris,
    write_lines,
)

DENIED = 6400
NOON = cairo("2026-11-20 12:00")
DAY_SHIFT = (1, "2026-11-20 08:00:00", "2026-11-20 16:10:00")
# The day's very first and very last moment; SQLite keeps both as texts.
MIDNIGHTS = [(2, "2026-11-20 00:00:00", "2026-11-20 04:00:00"), (3, "2026-11-20 23:59:59", "2026-11-21 06:00:00.000")]


@pytest.fixture
def hris(tmp_path: Path) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_hris(path, pairs=[DAY_SHIFT, *MIDNIGHTS])
    return path


@pytest.fixture
def doors(tmp_path: Path) -> Path:
    path = tmp_path / "biostar.sqlite3"
    events = [
        ("104", "2026-11-20 08:00", LET_IN, 0),
        ("104", "2026-11-20 12:00", DENIED, 0),
        ("104", "2026-11-20 15:00", 4864, None),
        ("104", "2026-11-20 18:00", DENIED, 2),
        ("V-17", "2026-11-20 09:00", LET_IN, 0),
        ("V-17", "2026-11-20 10:00", LET_IN, 0),
        ("99999", "2026-11-20 10:00", 5119, 0),
        (None, "2026-11-20 10:00", LET_IN, 0),
        ("V-17", "2026-11-02 10:00", LET_IN, 0),
    ]
    write_biostar(path, {"202611": events})
    return path


async def test_changed_lines_are_written_and_unchanged_ones_are_not(app_database: Database, hris: Path) -> None:
    await write_lines(app_database, [line(1, 1, NOON), line(2, 2, NOON), line(3, 3, NOON), line(4, 4, NOON)])
    first = await sync_months(plan(app_database, hris))
    assert (first.total, first.created, first.not_found) == (4, 3, 1)
    before = await read_attendance(app_database)
    assert before[1]["attendance_in"] == cairo("2026-11-20 08:00")
    assert before[1]["working_hours"] == Decimal("8.17")
    assert before[2]["attendance_in"] == cairo("2026-11-20 00:00")
    assert before[3]["attendance_out"] == cairo("2026-11-21 06:00")

    write_hris(hris, pairs=[DAY_SHIFT, (2, "2026-11-20 00:00:00", "2026-11-20 05:00:00"), MIDNIGHTS[1]])
    second = await sync_months(plan(app_database, hris))
    assert (second.created, second.updated, second.unchanged, second.not_found) == (0, 1, 2, 1)
    after = await read_attendance(app_database)
    assert after[2]["working_hours"] == Decimal("5.00")
    assert after[2]["created_at"] == before[2]["created_at"]
    assert after[2]["attendance_synced_at"] > before[2]["attendance_synced_at"]
    assert {1: after[1], 3: after[3]} == {1: before[1], 3: before[3]}


async def test_what_the_hris_no_longer_tells_stays(app_database: Database, hris: Path) -> None:
    await write_lines(app_database, [line(1, 1, NOON)])
    await sync_months(plan(app_database, hris))
    before = await read_attendance(app_database)
    write_hris(hris)
    report = await sync_months(plan(app_database, hris))
    assert (report.not_found, report.synced) == (1, 0)
    assert await read_attendance(app_database) == before


async def test_unusable_pairs_are_errors_that_name_their_lines_and_harm_no_other(
    app_database: Database, hris: Path
) -> None:
    backwards = (2, "2026-11-20 08:00:00", "2026-11-20 07:00:00")
    endless = (3, "2026-11-20 08:00:00", "2026-11-30 08:00:00")
    write_hris(hris, pairs=[DAY_SHIFT, backwards, endless])
    await write_lines(app_database, [line(1, 1, NOON), line(2, 2, NOON), line(3, 3, NOON)])
    report = await sync_months(plan(app_database, hris))
    assert (report.synced, report.errors) == (1, 2)
    assert report.reasons == {"left before coming": [2], "more hours than a day's row can hold": [3]}
    assert set(await read_attendance(app_database)) == {1}


async def test_people_without_a_code_are_errors_because_their_row_must_hold_one(
    app_database_url: str, hris: Path
) -> None:
    database = maria_database.database
    async with database.engine().begin() as connection:
        await connection.execute(
            text(
                "CREATE TABLE employee (id INTEGER PRIMARY KEY, code INTEGER UNIQUE, name_en VARCHAR(128), "
                "name_ar VARCHAR(128), title VARCHAR(128), is_active BOOLEAN NOT NULL DEFAULT 1, department_id INTEGER)"
            )
        )
    await migrate.upgrade(database)
    await write_lines(database, [line(1, 1, NOON), line(2, 2, NOON), line(3, 2, NOON, employee_code="202")])
    async with database.engine().begin() as connection:
        await connection.execute(text("UPDATE employee SET code = NULL WHERE id = 2"))
    report = await sync_months(plan(database, hris))
    assert (report.synced, report.errors, report.reasons) == (2, 1, {"no employee code": [2]})
    assert {row["employee_code"] for row in (await read_attendance(database)).values()} == {"101", "202"}
    await database.dispose()


async def test_a_sync_starts_from_its_months_and_leaves_deleted_lines_alone(app_database: Database, hris: Path) -> None:
    since = cairo("2026-11-20 00:00")
    await write_lines(
        app_database,
        [
            line(1, 1, since),
            line(2, 1, since - timedelta(seconds=1)),
            line(3, 1, NOON, is_deleted=True),
            line(4, 1, NOON, request_deleted=True),
        ],
    )
    assert (await sync_months(plan(app_database, hris, since=since))).total == 1
    assert set(await read_attendance(app_database)) == {1}


async def test_the_months_are_those_of_the_caller_or_of_the_settings(app_database: Database) -> None:
    today = datetime.now(UTC)
    assert timedelta(days=58) < today - plan_sync(get_settings()).since < timedelta(days=63)
    assert timedelta(days=364) < today - plan_sync(get_settings(), 12).since < timedelta(days=367)


async def test_one_query_to_a_source_table_serves_a_thousand_people(app_database: Database, tmp_path: Path) -> None:
    people = range(1, 2_501)
    hris = tmp_path / "hris.sqlite3"
    days = [f"2026-11-{day:02}" for day in (5, 20)]
    write_hris(hris, pairs=[(p, f"{day} 08:00:00", f"{day} 16:00:00") for p in people for day in days])
    rows = [line(p, p, cairo(f"{days[p % 2]} 12:00"), request_id=p % 2 + 1) for p in people]
    await write_lines(app_database, rows)
    sync = plan(app_database, hris)
    with statements_of(sync.source._source._database) as sent:
        report = await sync_months(sync)
    assert (report.synced, report.not_found) == (2_500, 0)
    assert sum("TMS_AttendancePairing" in statement for statement in sent) == 3


async def test_only_pairs_of_wanted_days_travel(app_database: Database, hris: Path) -> None:
    around = [(1, f"2026-11-{day} 08:00:00", None) for day in (18, 19, 21, 22)]
    write_hris(hris, pairs=[*around, DAY_SHIFT, (1, "2026-11-25 08:00:00", None), (9, "2026-11-20 08:00:00", None)])
    source = plan(app_database, hris).source
    wanted = {1: [date(2026, 11, 20), date(2026, 11, 25)], 2: [date(2026, 11, 18)]}
    rows = [row async for part in source.read_pairs(wanted) for row in part]
    assert [(person, came.day) for person, came, _ in rows] == [(1, 20), (1, 25)]


async def test_lines_without_a_pair_fall_back_to_biostar(app_database: Database, hris: Path, doors: Path) -> None:
    await write_lines(app_database, [line(1, 1, NOON), line(4, 4, NOON), line(5, 5, NOON)])
    report = await sync_months(plan(app_database, hris, doors))
    assert (report.synced, report.from_biostar, report.not_found) == (2, 1, 1)
    assert report.biostar_ignored == 4
    row = (await read_attendance(app_database))[4]
    assert (row["attendance_in"], row["attendance_out"]) == (cairo("2026-11-20 08:00"), cairo("2026-11-20 15:00"))
    assert row["working_hours"] == Decimal("7.00")
    assert (await sync_months(plan(app_database, hris, doors))).unchanged == 2


async def test_a_pair_that_comes_later_takes_the_place_of_what_biostar_told(
    app_database: Database, hris: Path, doors: Path
) -> None:
    await write_lines(app_database, [line(4, 4, NOON)])
    await sync_months(plan(app_database, hris, doors))
    write_hris(hris, pairs=[(4, "2026-11-20 08:30:00", None)])
    report = await sync_months(plan(app_database, hris, doors))
    assert (report.updated, report.from_biostar) == (1, 0)
    row = (await read_attendance(app_database))[4]
    assert (row["attendance_in"], row["attendance_out"]) == (cairo("2026-11-20 08:30"), None)


async def test_biostars_month_is_utcs_and_a_missing_month_is_skipped(
    app_database: Database, hris: Path, tmp_path: Path
) -> None:
    doors = tmp_path / "biostar.sqlite3"
    # A night of the 1st in Cairo lies in October's table; September's and December's do not exist.
    october = [("101", "2026-11-01 00:30", LET_IN, 1), ("101", "2026-11-01 01:30", LET_IN, 0)]
    november = [("101", "2026-11-01 08:00", LET_IN, 2), ("101", "2026-11-30 23:00", LET_IN, 1)]
    write_biostar(doors, {"202610": october, "202611": november})
    days = [cairo(f"2026-{day} 12:00") for day in ("09-15", "11-01", "11-30", "12-01")]
    await write_lines(app_database, [line(number, 1, day) for number, day in enumerate(days, 1)])
    report = await sync_months(plan(app_database, hris, doors))
    assert (report.synced, report.not_found) == (2, 2)
    rows = await read_attendance(app_database)
    assert (rows[2]["attendance_in"], rows[2]["attendance_out"]) == (
        cairo("2026-11-01 00:30"),
        cairo("2026-11-01 08:00"),
    )
    assert rows[3]["attendance_in"] == cairo("2026-11-30 23:00")


async def test_given_lines_are_synced_however_old_they_are(app_database: Database, hris: Path) -> None:
    await write_lines(app_database, [line(1, 1, NOON), line(2, 2, NOON)])
    sync = plan(app_database, hris, since=datetime.now(UTC))
    report = await sync_lines(sync, [1])
    assert (report.total, report.synced) == (1, 1)
    assert set(await read_attendance(app_database)) == {1}


@pytest.mark.parametrize("ids", [[1, 99], [1, 2], [1, 3]], ids=["unknown", "deleted", "of a deleted request"])
async def test_unknown_and_deleted_lines_are_named_and_nothing_is_written(
    app_database: Database, hris: Path, ids: Sequence[int]
) -> None:
    await write_lines(
        app_database, [line(1, 1, NOON), line(2, 1, NOON, is_deleted=True), line(3, 1, NOON, request_deleted=True)]
    )
    with pytest.raises(NotFound, match=f"1 of 2 lines do not exist or are deleted: {ids[1]}"):
        await sync_lines(plan(app_database, hris), ids)
    assert await read_attendance(app_database) == {}


async def test_a_sync_leaves_a_row_in_the_log_of_replications(app_database: Database, hris: Path) -> None:
    await write_lines(app_database, [line(1, 1, NOON), line(4, 4, NOON)])
    await sync_months(plan(app_database, hris))
    async with app_database.engine().connect() as connection:
        (row,) = (await connection.execute(select(log_replication))).mappings()
    assert (row["operation_type"], row["is_successful"], row["source_system"]) == ("attendance_sync", True, "HRIS")
    counts = [row[f"records_{name}"] for name in ("processed", "created", "updated", "skipped", "failed")]
    assert counts == [2, 1, 0, 1, 0]


async def test_two_syncs_at_once_are_refused(app_database: Database, hris: Path) -> None:
    sync: AttendanceSync = plan(app_database, hris)
    async with begin(sync):
        with pytest.raises(AlreadyRunning, match="another attendance sync is running"):
            await sync_months(sync)


async def test_an_hris_without_the_table_is_told_with_the_line_of_the_mapping(
    app_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "empty.sqlite3").touch()
    await write_lines(app_database, [line(1, 1, NOON)])
    with pytest.raises(SourceColumnMissing, match=r"no table dbo\.TMS_AttendancePairing.*hris\.toml, line \d+"):
        await sync_months(plan(app_database, tmp_path / "empty.sqlite3"))


async def test_tables_of_another_collation_than_the_connections_are_served(
    mariadb_url: str, hris: Path, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)
    database = maria_database.database
    await migrate.upgrade(database)
    await write_lines(database, [line(1, 1, NOON, employee_code=" 777 "), line(2, 2, NOON)])
    async with database.engine().begin() as connection:
        for table, collation in (
            ("meal_request_line", "utf8mb4_unicode_ci"),
            ("meal_request_line_attendance", "utf8mb4_swedish_ci"),
        ):
            await connection.execute(text(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}"))
    assert (await sync_months(plan(database, hris))).created == 2
    assert [row["employee_code"] for row in (await read_attendance(database)).values()] == ["777", "102"]
    assert (await sync_months(plan(database, hris))).unchanged == 2
    await database.dispose()
