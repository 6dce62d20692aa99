"""What a replication does with sources and targets that are out of the ordinary."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text

from db.engines import Database
from db.tables import department, employee, log_replication, user
from errors import (
    AlreadyRunning,
    DatabaseUnreachable,
    SourceColumnMissing,
    SourceEmpty,
    SourceShrunken,
    TooManyRejected,
)
from hr.bounds import Bounds
from hr.mapping import load_mapping
from hr.replication import Replication, begin, log_failure, replicate, stage_entity
from tests.integration.replication.row_by_row import Row, Source
from tests.integration.replication.world import (
    MAPPING,
    NO_BOUNDS,
    TARGET_TABLES,
    no_progress,
    open_source,
    plan,
    read_state,
    write_source,
)

APPLICATION_TABLES = {table.name for table in TARGET_TABLES}
BOUNDS = Bounds(max_deactivated_share=0.2, max_rejected_share=0.1)


def people(*numbers: int, **changes: Any) -> list[Row]:
    parts = dict.fromkeys([f"{language}{part}" for language in ("Ar", "En") for part in ("FName", "SName", "ThName")])
    return [{"ID": n, "Code": 100 + n, **parts, "ArLName": "علي", "EnLName": f"Ali {n}", **changes} for n in numbers]


def small_hris(*numbers: int) -> Source:
    return {
        "HR_OrganizationUnit": [
            {"ID": 1, "ParentID": None, "ArName": "تمريض", "EnName": "Nursing", "IsActive": 1},
            {"ID": 2, "ParentID": 1, "ArName": "طوارئ", "EnName": "Emergency", "IsActive": 1},
        ],
        "HR_Employee": people(*numbers),
        "HR_EmployeePosition": [
            {"EmployeeID": n, "PositionID": 1, "OrgUnitID": 1 + n % 2, "IsActive": 1} for n in numbers
        ],
        "HR_Position": [{"ID": 1, "EnName": "Nurse"}],
        "User": [{"ID": 50 + n, "Name": f"ali.{n}", "isDeleted": 0, "isLocked": 0, "EmpId": n} for n in numbers],
        "TMS_ForwardEdit": [{"EmployeeID": n, "OrgUnitID": 1} for n in numbers],
    }


@pytest.fixture
def hris(tmp_path: Path) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_source(path, small_hris(*range(1, 11)))
    return path


async def snapshot(database: Database) -> str:
    return json.dumps(await read_state(database), ensure_ascii=False)


async def test_an_empty_source_changes_nothing_and_says_how_to_allow_it(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    before = await snapshot(app_database)
    write_source(hris, {})
    with pytest.raises(SourceEmpty, match="allow_shrunken_source=true"):
        await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    assert await snapshot(app_database) == before


async def test_a_suddenly_shrunken_source_changes_nothing_unless_it_is_allowed(
    app_database: Database, hris: Path
) -> None:
    await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    before = await snapshot(app_database)
    write_source(hris, small_hris(1, 2, 3, 4, 5))
    with pytest.raises(SourceShrunken, match=r"5 rows for employee, where 10 are active.*50.0 %.*20% are allowed"):
        await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    assert await snapshot(app_database) == before

    report = await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress, allow_shrunken_source=True)
    assert report.entities["employee"].deactivated == 5
    assert report.entities["user"].deactivated == 5


async def test_as_many_other_people_are_a_shrunken_source_too(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    before = await snapshot(app_database)
    write_source(hris, small_hris(*range(6, 16)))
    with pytest.raises(SourceShrunken, match="5 of 10 active rows of employee would be deactivated") as refused:
        await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    assert refused.value.details["entities"]["employee"]["inserted"] == 5
    assert await snapshot(app_database) == before


async def test_rejected_rows_are_listed_by_id_and_reason_in_result_and_log(app_database: Database, hris: Path) -> None:
    source = small_hris(*range(1, 21))
    source["HR_Employee"][3]["Code"] = None
    source["HR_Employee"][4]["Code"] = source["HR_Employee"][2]["Code"]
    write_source(hris, source)
    report = await replicate(plan(app_database, hris, bounds=BOUNDS), no_progress)
    assert report.details()["rejected"] == {"employee": {"no code": ["4"], "duplicate code": ["5"]}}

    async with app_database.engine().connect() as connection:
        logged = select(log_replication).where(log_replication.c.operation_type == "hris_employee_sync")
        row = (await connection.execute(logged)).one()
    assert (row.is_successful, row.records_processed, row.records_created, row.records_failed) == (True, 20, 18, 2)
    assert json.loads(row.result)["rejected"]["employee"] == {"no code": ["4"], "duplicate code": ["5"]}


async def test_too_many_rejected_rows_fail_the_run_and_change_nothing(app_database: Database, hris: Path) -> None:
    source = small_hris(*range(1, 11))
    for row in source["HR_EmployeePosition"][:3]:
        row["OrgUnitID"] = 99
    write_source(hris, source)
    replication = plan(app_database, hris, bounds=BOUNDS)
    before = await snapshot(app_database)
    with pytest.raises(TooManyRejected, match=r"3 of 10 rows for employee.*unknown department: 1, 2, 3") as refused:
        await replicate(replication, no_progress)
    assert await snapshot(app_database) == before

    await log_failure(replication, refused.value, started=0)
    async with app_database.engine().connect() as connection:
        logged = (await connection.execute(select(log_replication))).one()
    assert (logged.operation_type, logged.is_successful) == ("hris_sync", False)
    assert json.loads(logged.result)["rejected"]["employee"]["unknown department"] == ["1", "2", "3"]


async def test_two_people_may_swap_their_codes(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris), no_progress)
    source = small_hris(*range(1, 11))
    source["HR_Employee"][0]["Code"], source["HR_Employee"][1]["Code"] = 102, 101
    write_source(hris, source)
    report = await replicate(plan(app_database, hris), no_progress)
    assert report.entities["employee"].updated == 2
    async with app_database.engine().connect() as connection:
        codes = (await connection.execute(select(employee.c.code).order_by(employee.c.id).limit(2))).scalars().all()
    assert codes == [102, 101]


async def test_a_change_of_case_is_a_change(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris), no_progress)
    source = small_hris(*range(1, 11))
    source["HR_Employee"][0]["EnLName"] = "ALI 1"
    write_source(hris, source)
    report = await replicate(plan(app_database, hris), no_progress)
    assert report.entities["employee"].updated == 1


async def test_a_repeated_id_is_taken_once_and_the_others_are_listed(app_database: Database, hris: Path) -> None:
    source = small_hris(*range(1, 11))
    source["HR_Employee"] += people(3, EnLName="Another")
    write_source(hris, source)
    report = await replicate(plan(app_database, hris), no_progress)
    assert report.details()["rejected"] == {"employee": {"repeated id": ["3"]}}
    assert report.entities["employee"].inserted == 10


async def test_texts_that_a_file_format_could_stumble_over_arrive_as_they_are(
    app_database: Database, hris: Path
) -> None:
    names = ["back\\slash", "N\\N", "quote'\"", "\\N", "NULL", "tab\tand\nnewline", "percent %s :x", "🙂 سلام"]
    source = small_hris(*range(1, len(names) + 1))
    for row, name in zip(source["HR_Employee"], names, strict=True):
        row["EnLName"] = name
    write_source(hris, source)
    await replicate(plan(app_database, hris), no_progress)
    async with app_database.engine().connect() as connection:
        arrived = (await connection.scalars(select(employee.c.name_en).order_by(employee.c.id))).all()
    assert arrived == [" ".join(name.split()) for name in names]


async def test_manual_and_overridden_users_keep_their_status_and_are_counted(
    app_database: Database, hris: Path
) -> None:
    await replicate(plan(app_database, hris), no_progress)
    async with app_database.engine().begin() as connection:
        await connection.execute(user.update().values(user_source="manual").where(user.c.username == "ali.1"))
        await connection.execute(user.update().values(status_override=True).where(user.c.username == "ali.2"))
    source = small_hris(*range(1, 11))
    for row in source["User"][:3]:
        row["isLocked"] = 1
    write_source(hris, source)
    report = await replicate(plan(app_database, hris), no_progress)
    counts = report.entities["user"]
    assert (counts.deactivated, counts.skipped, counts.unchanged) == (1, 2, 7)
    async with app_database.engine().connect() as connection:
        inactive = (await connection.scalars(select(user.c.username).where(user.c.is_active.is_(False)))).all()
    assert inactive == ["ali.3"]


async def test_a_missing_column_is_told_with_the_line_of_the_mapping(
    app_database: Database, hris: Path, tmp_path: Path
) -> None:
    mapping = tmp_path / "ours.toml"
    mapping.write_text(MAPPING.read_text(encoding="utf-8").replace('"EnThName"', '"EnMiddle"'), encoding="utf-8")
    line = 1 + next(n for n, text in enumerate(mapping.read_text(encoding="utf-8").splitlines()) if "EnMiddle" in text)
    replication = Replication(app_database, open_source(hris), load_mapping(mapping), NO_BOUNDS)
    with pytest.raises(SourceColumnMissing, match=rf"no column 'EnMiddle' in dbo.HR_Employee.*ours.toml, line {line} "):
        await replicate(replication, no_progress)


async def test_a_missing_table_is_told_with_the_line_of_the_mapping(
    app_database: Database, hris: Path, tmp_path: Path
) -> None:
    mapping = tmp_path / "ours.toml"
    mapping.write_text(MAPPING.read_text(encoding="utf-8").replace('"TMS_ForwardEdit"', '"TMS_Forward"'), "utf-8")
    replication = Replication(app_database, open_source(hris), load_mapping(mapping), NO_BOUNDS)
    with pytest.raises(SourceColumnMissing, match=r"no table dbo\.TMS_Forward .*\(\[assignment\] table\)"):
        await replicate(replication, no_progress)


async def test_an_hris_that_is_not_there_is_told_by_name(app_database: Database, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachable, match=r"cannot connect to the HRIS .*Check HRIS_DATABASE_URL"):
        await replicate(plan(app_database, tmp_path / "none.sqlite3"), no_progress)


async def test_an_hris_of_another_shape_needs_only_another_mapping(app_database: Database, tmp_path: Path) -> None:
    write_other_hris(tmp_path / "other.sqlite3")
    mapping = load_mapping(Path(__file__).with_name("other_hris.toml"))
    replication = Replication(app_database, open_source(tmp_path / "other.sqlite3"), mapping, NO_BOUNDS)
    report = await replicate(replication, no_progress)
    assert report.entities["employee"].inserted == 2
    async with app_database.engine().connect() as connection:
        rows = select(
            employee.c.id, employee.c.code, employee.c.name_en, employee.c.title, department.c.name_en.label("unit")
        ).join(department, department.c.id == employee.c.department_id)
        people = (await connection.execute(rows.order_by(employee.c.id))).all()
        users = (await connection.scalars(select(user.c.username).where(user.c.is_active))).all()
    assert [tuple(row) for row in people] == [
        (1, 11, "Mona Adel", "Nurse", "Ward"),
        (2, 12, "Omar Said", None, "Ward"),
    ]
    assert users == ["mona"]


def write_other_hris(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE units (unit_no INTEGER, title_en TEXT, title_ar TEXT);
            INSERT INTO units VALUES (5, 'Ward', 'جناح');
            CREATE TABLE staff (staff_no INTEGER, badge TEXT, full_name TEXT, full_name_ar TEXT, status TEXT,
                                unit_no INTEGER, job TEXT);
            INSERT INTO staff VALUES (1, '11', 'Mona Adel', 'منى', 'A', 5, 'Nurse'),
                                     (2, '12', 'Omar Said', 'عمر', 'A', 5, NULL),
                                     (3, '13', 'Left Already', 'سابق', 'L', 5, 'Clerk');
            CREATE TABLE logins (id INTEGER, login TEXT, state INTEGER, staff_no INTEGER);
            INSERT INTO logins VALUES (1, 'mona', 1, 1), (2, 'omar', 9, 2);
            CREATE TABLE may_order (staff_no INTEGER, unit_no INTEGER);
            INSERT INTO may_order VALUES (1, 5);
            """
        )


async def test_a_second_replication_is_refused_while_one_is_under_way(app_database: Database, hris: Path) -> None:
    async with begin(plan(app_database, hris)):
        with pytest.raises(AlreadyRunning, match="another HRIS replication is running"):
            await replicate(plan(app_database, hris), no_progress)
    await replicate(plan(app_database, hris), no_progress)


async def test_a_replication_may_follow_another_at_once(app_database: Database, hris: Path) -> None:
    for _ in range(5):
        async with begin(plan(app_database, hris)):
            pass


async def test_staging_an_entity_again_replaces_what_the_first_attempt_staged(
    app_database: Database, hris: Path
) -> None:
    replication = plan(app_database, hris)
    async with begin(replication):
        assert [await stage_entity(replication, "employee", no_progress) for _ in range(2)] == [10, 10]
        async with app_database.engine().connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM replication_staged_employee")) == 10


async def test_progress_counts_the_rows_of_each_entity(app_database: Database, hris: Path) -> None:
    seen: dict[str, list[int]] = {}

    async def progress(entity: str, rows: int) -> None:
        seen.setdefault(entity, []).append(rows)

    await replicate(plan(app_database, hris, chunk_rows=4), progress)
    assert seen["employee"] == [4, 8, 10]
    assert {entity: rows[-1] for entity, rows in seen.items()} == {
        "department": 2,
        "employee": 10,
        "account": 10,
        "assignment": 10,
    }


async def test_an_unchanged_source_sends_no_statement_that_writes_the_application_s_tables(
    app_database: Database, hris: Path
) -> None:
    await replicate(plan(app_database, hris), no_progress)
    written: list[int] = []
    engine = app_database.engine().sync_engine

    def count(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        target = re.match(r'(?:INSERT INTO|UPDATE|DELETE FROM) [`"]?(\w+)', statement)
        if target is not None and target[1] in APPLICATION_TABLES:
            written.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", count)
    await replicate(plan(app_database, hris), no_progress)
    event.remove(engine, "after_cursor_execute", count)
    assert written
    assert sum(written) == 0


async def test_many_replications_leave_one_log_row_an_operation_each(app_database: Database, hris: Path) -> None:
    for _ in range(2):
        await replicate(plan(app_database, hris), no_progress)
    async with app_database.engine().connect() as connection:
        operations = select(log_replication.c.operation_type, func.count()).group_by(log_replication.c.operation_type)
        counted = {name: number for name, number in await connection.execute(operations)}
    assert counted == dict.fromkeys(
        [f"hris_{part}_sync" for part in ("department", "employee", "security_user", "department_assignment")], 2
    )
