"""The migrations build an empty database, adopt an existing one, and never touch what they find."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, select, text

from db import leases, mail, maria_database, migrate, staging, tables
from db.engines import Database
from errors import DatabaseUnreachable, SchemaMismatch
from tests import servers
from tests.migrated_databases import MigratedDatabases

REPOSITORY = Path(__file__).resolve().parents[2]
MIGRATIONS = len(list((REPOSITORY / "db" / "migrations" / "versions").glob("[0-9]*.py")))
ALL_METADATA = (tables.metadata, staging.metadata, mail.metadata, leases.metadata)
ALL_TABLES = {name for metadata in ALL_METADATA for name in metadata.tables}


async def run(database: Database, *statements: str) -> None:
    async with database.engine().begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.engine().connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


def _without_chance(definition: str) -> str:
    """Take out the counter of the rows inserted so far, and the order in which indexes happened to be created."""
    lines = re.sub(r" AUTO_INCREMENT=\d+", "", definition).splitlines()
    keys = sorted(line.rstrip(",") for line in lines if line.startswith("  KEY"))
    return "\n".join([line.rstrip(",") for line in lines if not line.startswith("  KEY")] + keys)


async def definitions(database: Database) -> dict[str, str]:
    """Give each table's definition, indexes included, in the server's own words."""

    def read(connection: Connection) -> dict[str, str]:
        names = set(inspect(connection).get_table_names()) - {migrate.VERSION_TABLE}
        if connection.dialect.name == "mysql":
            shown = {name: connection.execute(text(f"SHOW CREATE TABLE `{name}`")).one()[1] for name in names}
            return {name: _without_chance(definition) for name, definition in shown.items()}
        parts = connection.execute(text("SELECT tbl_name, sql FROM sqlite_master ORDER BY tbl_name, name")).all()
        return {name: "\n".join(sql for table, sql in parts if table == name and sql) for name in names}

    async with database.engine().connect() as connection:
        return await connection.run_sync(read)


@pytest.fixture
def database(app_database_url: str) -> Database:
    """An empty application database, once on SQLite and once on MariaDB."""
    return maria_database.database


@pytest.fixture
async def migrated(database: Database) -> AsyncIterator[Database]:
    """What the migrations make of the empty database."""
    await migrate.upgrade(database)
    yield database
    await database.dispose()


async def test_an_empty_database_gets_exactly_the_tables_that_the_code_uses(migrated: Database) -> None:
    def differences(connection: Connection) -> Sequence[Any]:
        wanted = MetaData()
        for metadata in ALL_METADATA:
            for table in metadata.sorted_tables:
                table.to_metadata(wanted)
        options = {"version_table": migrate.VERSION_TABLE, "compare_type": True}
        found: Sequence[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), wanted)
        return found

    async with migrated.engine().connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_tables_are_defined_to_the_letter_as_the_code_defines_them(migrated: Database) -> None:
    found = await definitions(migrated)
    async with migrated.engine().begin() as connection:
        for metadata in ALL_METADATA:
            await connection.run_sync(metadata.drop_all)
        for metadata in ALL_METADATA:
            await connection.run_sync(metadata.create_all)
    assert found == await definitions(migrated)
    assert set(found) == ALL_TABLES


async def test_mariadb_tables_have_transactions_and_a_full_character_set_whatever_the_database_default(
    mariadb_server: servers.MariaDBServer, mariadb_url: str, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)
    database = maria_database.database
    await run(database, f"ALTER DATABASE `{database.url.database}` CHARACTER SET latin1")
    await migrate.upgrade(database)
    for name, definition in (await definitions(database)).items():
        assert "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4" in definition, name


async def test_the_reference_rows_are_there(migrated: Database) -> None:
    async with migrated.engine().connect() as connection:
        statuses = await connection.scalars(
            select(tables.scheduler_execution_status.c.code).order_by(tables.scheduler_execution_status.c.sort_order)
        )
        assert list(statuses) == ["pending", "running", "success", "failed", "cancelled"]
        assert set(await connection.scalars(select(tables.scheduler_job_type.c.code))) == {"interval", "cron"}
        functions = await connection.execute(select(tables.task_function.c.key, tables.task_function.c.function_path))
        assert set(functions.tuples()) == {
            ("hris_replication", "tasks.hris.hris_replication_task"),
            ("attendance_sync", "tasks.attendance.sync_attendance_task"),
            ("history_cleanup", "tasks.scheduler.cleanup_history_task"),
        }
        names = await connection.scalars(select(tables.scheduler_execution_status.c.name_ar))
        assert "ناجح" in set(names)


async def test_upgrading_again_does_nothing(migrated: Database) -> None:
    before = await rows(migrated, "SELECT * FROM task_function")
    assert await migrate.find_pending(migrated) == []
    assert await migrate.upgrade(migrated) == []
    assert await rows(migrated, "SELECT * FROM task_function") == before


async def test_an_existing_database_is_adopted_and_its_tables_and_rows_stay_as_they_are(database: Database) -> None:
    mysql = database.url.get_backend_name() == "mysql"
    suffix = " COLLATE utf8mb4_unicode_ci" if mysql else ""
    serial = "BIGINT AUTO_INCREMENT PRIMARY KEY" if mysql else "INTEGER PRIMARY KEY"
    await run(
        database,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('web-application-17')",
        f"CREATE TABLE department (id {serial}, hris_id INT UNIQUE, name_en VARCHAR(200) NOT NULL, "
        "name_ar VARCHAR(128) NOT NULL, parent_id BIGINT, is_active BOOLEAN NOT NULL DEFAULT 1, floor INT)",
        "INSERT INTO department VALUES (7, 70, 'Kitchen', 'مطبخ', NULL, 1, 3)",
        "CREATE TABLE `user` (id CHAR(36)"
        + suffix
        + " PRIMARY KEY, username VARCHAR(64)"
        + suffix
        + " NOT NULL UNIQUE, "
        "email VARCHAR(100), password VARCHAR(255), full_name VARCHAR(100), title VARCHAR(100), "
        "is_domain_user BOOLEAN NOT NULL DEFAULT 0, is_super_admin BOOLEAN NOT NULL DEFAULT 0, "
        "is_active BOOLEAN NOT NULL DEFAULT 1, is_blocked BOOLEAN NOT NULL DEFAULT 0, employee_id INT, "
        "user_source VARCHAR(10) NOT NULL, status_override BOOLEAN NOT NULL, override_reason TEXT, "
        "override_set_by_id CHAR(36), override_set_at DATETIME, created_at DATETIME NOT NULL, "
        "updated_at DATETIME NOT NULL)",
        "INSERT INTO `user` (id, username, user_source, status_override, created_at, updated_at) "
        "VALUES ('u-1', 'mona.ali', 'manual', 0, '2026-01-01', '2026-01-01')",
        "CREATE TABLE scheduler_execution_status (id INT PRIMARY KEY, code VARCHAR(32) NOT NULL, name_en VARCHAR(64), "
        "name_ar VARCHAR(64), sort_order SMALLINT, is_active BOOLEAN)",
        "INSERT INTO scheduler_execution_status VALUES (40, 'success', 'Done', 'تم', 9, 1)",
    )
    before = await definitions(database)
    applied = await migrate.upgrade(database)

    assert [step[:4] for step in applied] == [f"{number:04}" for number in range(1, MIGRATIONS + 1)]
    after = await definitions(database)
    assert {name: after[name] for name in before} == before
    assert set(after) == ALL_TABLES | {"alembic_version"}
    assert await rows(database, "SELECT id, name_ar, floor FROM department") == [(7, "مطبخ", 3)]
    assert await rows(database, "SELECT id, username FROM `user`") == [("u-1", "mona.ali")]
    assert await rows(database, "SELECT version_num FROM alembic_version") == [("web-application-17",)]
    assert (40, "Done") in await rows(database, "SELECT id, name_en FROM scheduler_execution_status")
    assert len(await rows(database, "SELECT id FROM scheduler_execution_status")) == 5


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "CREATE TABLE employee (id INT PRIMARY KEY, name_en VARCHAR(128), name_ar VARCHAR(128), "
            "title VARCHAR(128), is_active BOOLEAN, department_id INT)",
            r"column 'code' of table 'employee' is missing: add it as INTEGER",
        ),
        (
            "CREATE TABLE employee (id INT PRIMARY KEY, code DATETIME, name_en VARCHAR(128), name_ar VARCHAR(128), "
            "title VARCHAR(128), is_active BOOLEAN, department_id INT)",
            r"column 'code' of table 'employee' is DATETIME\(\) but must be an integer or boolean: "
            r"change it to INTEGER",
        ),
        (
            "CREATE TABLE employee (id INT PRIMARY KEY, code INT, name_en VARCHAR(40), name_ar VARCHAR(128), "
            "title VARCHAR(128), is_active BOOLEAN, department_id INT)",
            r"column 'name_en' of table 'employee' is VARCHAR\(length=40\) but must hold 128 characters: "
            r"change it to VARCHAR\(128\)",
        ),
        (
            "CREATE TABLE employee (id INT PRIMARY KEY, code INT, name_en VARCHAR(128), name_ar VARCHAR(128), "
            "title VARCHAR(128) NOT NULL, is_active BOOLEAN, department_id INT)",
            r"column 'title' of table 'employee' does not take NULL",
        ),
        (
            "CREATE TABLE employee (id INT PRIMARY KEY, code INT, name_en VARCHAR(128), name_ar VARCHAR(128), "
            "title VARCHAR(128), is_active BOOLEAN, department_id INT, badge INT NOT NULL)",
            r"column 'badge' of table 'employee' is unknown to the suite.*give it a default or allow NULL",
        ),
        (
            "CREATE TABLE department (id BIGINT PRIMARY KEY, hris_id INT, name_en VARCHAR(128), name_ar VARCHAR(128), "
            "parent_id BIGINT, is_active BOOLEAN)",
            r"column 'id' of table 'department' gives new rows no number of their own.*AUTO_INCREMENT",
        ),
    ],
)
async def test_an_unusable_table_is_refused_before_anything_is_changed(
    database: Database, statement: str, expected: str
) -> None:
    await run(database, statement)
    before = await definitions(database)
    with pytest.raises(SchemaMismatch, match=expected):
        await migrate.upgrade(database)
    assert await definitions(database) == before


async def test_a_mariadb_table_without_transactions_or_with_a_poor_character_set_is_refused(
    mariadb_url: str, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)
    database = maria_database.database
    await run(
        database,
        "CREATE TABLE security_user (id INT PRIMARY KEY, hris_id INT, user_name VARCHAR(64), is_deleted BOOLEAN, "
        "is_locked BOOLEAN, employee_id INT) ENGINE=MyISAM CHARACTER SET latin1",
    )
    with pytest.raises(SchemaMismatch) as refusal:
        await migrate.upgrade(database)
    assert "ALTER TABLE `security_user` ENGINE=InnoDB" in str(refusal.value)
    assert "ALTER TABLE `security_user` CONVERT TO CHARACTER SET utf8mb4" in str(refusal.value)
    assert set(await definitions(database)) == {"security_user"}


async def test_a_database_of_a_newer_version_is_left_alone(migrated: Database) -> None:
    await run(migrated, f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match=r"migration '9999'.*newer version"):
        await migrate.upgrade(migrated)


def run_command(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "db", *words],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_migrate_at_once_each_succeed_and_only_one_applies(app_database_url: str) -> None:
    processes = [run_command("migrate", MARIA_DATABASE_URL=app_database_url) for _ in range(4)]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    assert sum("applied: 0001" in out for out, _ in answers) == 1
    assert asyncio.run(migrate.find_pending(maria_database.database)) == []


async def test_an_upgrade_that_was_killed_is_finished_by_the_next_one(migrated: Database) -> None:
    # What a kill leaves on MariaDB, which commits each statement: some tables, and no note that a migration ran.
    await run(
        migrated,
        f"DELETE FROM {migrate.VERSION_TABLE}",
        "DROP TABLE scheduled_job_lock",
        "DROP TABLE replication_planned_user",
        "DELETE FROM task_function WHERE function_path LIKE 'tasks.hris%'",
    )
    await migrate.upgrade(migrated)
    assert set(await definitions(migrated)) == ALL_TABLES
    assert len(await rows(migrated, "SELECT id FROM task_function")) == 3


def test_the_command_says_what_it_does_and_check_changes_nothing(app_database_url: str) -> None:
    def migrate_in_a_process(*options: str) -> tuple[int, str]:
        process = run_command("migrate", *options, MARIA_DATABASE_URL=app_database_url)
        out, err = process.communicate(timeout=100)
        assert err == ""
        return process.returncode, out

    for _ in range(2):
        status, out = migrate_in_a_process("--check")
        assert (status, out.count("to apply:")) == (3, MIGRATIONS)
    status, out = migrate_in_a_process()
    assert (status, out.count("applied:")) == (0, MIGRATIONS)
    assert servers.mariadb.PASSWORD not in out
    assert migrate_in_a_process("--check")[0] == 0


def test_the_command_reports_an_unreachable_database_without_its_password() -> None:
    port = servers.free_port()
    process = run_command("migrate", MARIA_DATABASE_URL=f"mysql://hr:s3cret@127.0.0.1:{port}/hr")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert DatabaseUnreachable.__name__ in err
    assert f"'hr' at 127.0.0.1:{port}" in err
    assert "s3cret" not in out + err
    assert "Traceback" not in err


def test_a_database_that_tests_share_is_as_new_for_each(
    mariadb_server: servers.MariaDBServer, migrated_databases: MigratedDatabases
) -> None:
    name = migrated_databases.lend()
    definition = mariadb_server.execute(f"SHOW CREATE TABLE {name}.department")
    functions = mariadb_server.execute(f"SELECT * FROM {name}.task_function ORDER BY id")
    mariadb_server.execute(f"INSERT INTO {name}.department (name_en, name_ar) VALUES ('Kitchen', 'Kitchen')")
    mariadb_server.execute(f"DELETE FROM {name}.task_function WHERE `key` = 'hris_replication'")
    migrated_databases.take_back(name)
    assert migrated_databases.lend() == name
    assert mariadb_server.execute(f"SELECT count(*) FROM {name}.department") == ((0,),)
    assert mariadb_server.execute(f"SHOW CREATE TABLE {name}.department") == definition, "it numbers from 1 again"
    assert mariadb_server.execute(f"SELECT * FROM {name}.task_function ORDER BY id") == functions
    migrated_databases.take_back(name)


@pytest.mark.parametrize("change", ["ALTER TABLE {}.employee DROP COLUMN title", "CREATE TABLE {}.more (id INT)"])
def test_a_database_whose_tables_a_test_changed_is_not_shared_again(
    mariadb_server: servers.MariaDBServer, migrated_databases: MigratedDatabases, change: str
) -> None:
    name = migrated_databases.lend()
    mariadb_server.execute(change.format(name))
    migrated_databases.take_back(name)
    assert mariadb_server.execute(f"SHOW DATABASES LIKE '{name}'") == ()
    another = migrated_databases.lend()
    assert another != name
    migrated_databases.take_back(another)
