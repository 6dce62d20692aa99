"""A replication that is killed with -9: the target is as before or as after, and the next one is not hindered."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, insert, make_url, select, text

from db import maria_database
from db.engines import Database
from db.staging import staged_employee
from db.tables import department_assignment, user
from hr.replication import replicate
from settings import REPOSITORY
from tests.integration.replication.test_replication import small_hris
from tests.integration.replication.world import WHEN, no_progress, plan, read_state, write_source

WITHIN = 30


@pytest.fixture
async def database(migrated_mariadb_url: str, settings_environment: Callable[..., None]) -> AsyncIterator[Database]:
    settings_environment(MARIA_DATABASE_URL=migrated_mariadb_url)
    yield maria_database.database
    await maria_database.database.dispose()


@pytest.fixture
def hris(tmp_path: Path) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_source(path, small_hris(*range(1, 11)))
    return path


@asynccontextmanager
async def replicating(url: str, hris: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    module = "tests.integration.replication.killed_replication"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, url, str(hris), cwd=REPOSITORY)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WITHIN):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{what}: not within {WITHIN} s")


def name_of(url: str) -> str:
    return str(make_url(url).database)


async def test_killed_in_the_middle_of_the_merge_leaves_the_target_as_before(
    database: Database, migrated_mariadb_url: str, hris: Path
) -> None:
    await replicate(plan(database, hris), no_progress)
    async with database.engine().begin() as connection:
        # An assignment that the next replication switches off, and on which it will have to wait.
        someone = await connection.scalar(select(user.c.id).limit(1))
        stamps = {"created_at": WHEN, "updated_at": WHEN}
        values = {"user_id": someone, "department_id": 2, "is_synced_from_hris": True, **stamps}
        await connection.execute(insert(department_assignment).values(values))
    before = await read_state(database)
    changed = small_hris(*range(2, 13))
    changed["HR_OrganizationUnit"][0]["EnName"] = "Nursing Care"
    write_source(hris, changed)

    async with database.engine().connect() as holder:
        await holder.execute(select(department_assignment).with_for_update())
        async with replicating(migrated_mariadb_url, hris) as process:

            async def merge_waits() -> bool:
                async with database.engine().connect() as connection:
                    # It cannot end while its rows are locked.
                    waiting = text(
                        "SELECT count(*) FROM information_schema.processlist "
                        "WHERE db = :name AND info LIKE 'UPDATE department_assignment%'"
                    )
                    return bool(await connection.scalar(waiting, {"name": name_of(migrated_mariadb_url)}))

            await until(merge_waits, "the merge waits for the assignments")
            process.kill()
            await process.wait()
        await holder.rollback()
    assert await read_state(database) == before

    await _await_free_lock(database, migrated_mariadb_url)
    report = await replicate(plan(database, hris), no_progress)
    assert report.entities["employee"].inserted == 2
    assert report.entities["department_assignment"].deactivated == 2
    assert (await replicate(plan(database, hris), no_progress)).written == 0


async def test_what_a_killed_replication_staged_is_gone_after_the_next(
    database: Database, migrated_mariadb_url: str, hris: Path
) -> None:
    await replicate(plan(database, hris), no_progress)
    before = await read_state(database)
    async with database.engine().connect() as holder:
        # The first staged row cannot be committed while this lock is held, so the kill comes in the middle of staging.
        await holder.execute(text("LOCK TABLES replication_staged_account READ"))
        async with replicating(migrated_mariadb_url, hris) as process:

            async def employees_are_staged() -> bool:
                return await _count_staged(database) == 10

            await until(employees_are_staged, "the employees are staged")
            process.kill()
            await process.wait()
        await holder.execute(text("UNLOCK TABLES"))
    assert await read_state(database) == before

    write_source(hris, small_hris(1, 2, 3))
    await _await_free_lock(database, migrated_mariadb_url)
    await replicate(plan(database, hris), no_progress, allow_shrunken_source=True)
    assert await _count_staged(database) == 3


async def _count_staged(database: Database) -> int:
    async with database.engine().connect() as connection:
        return await connection.scalar(select(func.count()).select_from(staged_employee)) or 0


async def _await_free_lock(database: Database, url: str) -> None:
    """Wait until the server has noticed that the killed process's connections are gone."""

    async def is_free() -> bool:
        async with database.engine().connect() as connection:
            name = f"HRIS replication@{name_of(url)}"[:64]
            return bool(await connection.scalar(text("SELECT IS_FREE_LOCK(:name)"), {"name": name}))

    await until(is_free, "the lock is free")
