"""Databases used as people use them: from any loop, thread, process or script, disposed or not.

Each test tries to provoke a row of the old system's error table: "attached to a different loop", "Event loop is
closed", an exhausted connection pool.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from db.biostar_database import _get_biostar_session_maker, dispose_biostar_engine
from db.hris_database import _get_hris_session_maker, dispose_hris_engine
from db.maria_database import DatabaseSessionLocal, database, database_engine
from errors import DatabaseError, DatabaseUnreachable
from tests import servers

REPOSITORY = Path(__file__).resolve().parents[2]
ONE = text("SELECT 1")

on_both_databases = pytest.mark.usefixtures("app_database_url")


async def read_one() -> None:
    async with DatabaseSessionLocal() as session:
        assert await session.scalar(ONE) == 1


async def read_one_and_dispose() -> None:
    try:
        await read_one()
    finally:
        await database_engine.dispose()


def run_without_shutdown() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(read_one())
    loop.close()


@pytest.mark.parametrize(
    "runs",
    [
        [read_one] * 20,
        [read_one_and_dispose] * 20,
        [read_one, read_one_and_dispose] * 10,
        # The old mistake: disposing outside the coroutine that used the engine.
        [read_one, database_engine.dispose] * 10,
        [database_engine.dispose, read_one] * 10,
    ],
    ids=["never disposed", "always disposed", "disposed half of the time", "disposed later", "disposed before"],
)
@on_both_databases
def test_loops_one_after_another_work(runs: list[Callable[[], object]]) -> None:
    for run in runs:
        asyncio.run(run())  # type: ignore[arg-type]


@on_both_databases
def test_one_engine_is_kept_however_many_loops_there_were() -> None:
    # Other tests' threads may have loops that still run.
    others = sum(not loop.is_closed() for loop in database._engines)
    for _ in range(50):
        asyncio.run(read_one())
    assert len(database._engines) <= others + 1


def test_200_loops_that_never_dispose_leave_no_connection_on_the_server(
    mariadb_server: servers.MariaDBServer, mariadb_url: str, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)
    before = mariadb_server.status("Connections")
    for number in range(200):
        asyncio.run(read_one())
        if number % 50 == 0:
            assert mariadb_server.status("Threads_connected") <= 5
    assert mariadb_server.status("Connections") - before >= 200


def test_300_sessions_at_once_share_a_few_connections(
    mariadb_server: servers.MariaDBServer, mariadb_url: str, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)
    most = 0

    async def read_slowly() -> None:
        nonlocal most
        async with DatabaseSessionLocal() as session:
            await session.scalar(text("SELECT SLEEP(0.01)"))
            count = await session.scalar(
                text("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()")
            )
            most = max(most, count or 0)

    async def read_all() -> None:
        await asyncio.gather(*(read_slowly() for _ in range(300)))

    asyncio.run(read_all())
    assert 2 <= most <= 20


@on_both_databases
def test_300_sessions_at_once_each_write_their_row() -> None:
    async def write_row(number: int) -> None:
        async with DatabaseSessionLocal() as session:
            await session.execute(text("INSERT INTO written VALUES (:number)"), {"number": number})
            await session.commit()

    async def write_all() -> int | None:
        async with database_engine.begin() as connection:
            await connection.execute(text("CREATE TABLE written (number INT PRIMARY KEY)"))
        await asyncio.gather(*(write_row(number) for number in range(300)))
        async with DatabaseSessionLocal() as session:
            count: int | None = await session.scalar(text("SELECT COUNT(*) FROM written"))
            return count

    assert asyncio.run(write_all()) == 300


@on_both_databases
def test_threads_with_a_loop_each_work_at_once() -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            for run in (read_one, read_one_and_dispose) * 3:
                asyncio.run(run())
        except BaseException as problem:  # noqa: BLE001  (whatever it is, the test shows it)
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@on_both_databases
def test_an_engine_disposed_while_others_use_it_serves_them_on() -> None:
    async def mix() -> None:
        await asyncio.gather(*((read_one, read_one_and_dispose)[number % 2]() for number in range(60)))

    asyncio.run(mix())


def test_cancelled_tasks_give_their_connections_back_to_the_pool(
    mariadb_url: str, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MARIA_DATABASE_URL=mariadb_url)

    async def cancel_many() -> None:
        for step in range(12):
            tasks = [asyncio.create_task(read_one()) for _ in range(15)]
            # A few more rounds of the loop each time: the cancellation comes at another point of the work.
            for _ in range(step * 4):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait_for(asyncio.gather(*(read_one() for _ in range(40))), 20)
        assert "Connections in pool: 5 Current Overflow: 0 Current Checked out connections: 0" in (
            database.engine().pool.status()
        )

    asyncio.run(cancel_many())


@on_both_databases
def test_a_session_made_outside_a_loop_works_in_several_loops() -> None:
    session = DatabaseSessionLocal()

    async def read_and_close() -> None:
        assert await session.scalar(ONE) == 1
        await session.close()

    for _ in range(3):
        asyncio.run(read_and_close())


@on_both_databases
def test_a_session_left_open_when_its_loop_ended_says_so_and_then_works_again() -> None:
    session = DatabaseSessionLocal()

    async def write() -> None:
        await session.execute(text("CREATE TABLE IF NOT EXISTS written (number INT)"))
        await session.execute(text("INSERT INTO written VALUES (1)"))

    async def commit() -> None:
        await session.commit()

    async def count() -> int | None:
        found: int | None = await session.scalar(text("SELECT COUNT(*) FROM written"))
        await session.close()
        return found

    asyncio.run(write())
    with pytest.raises(DatabaseError, match=r"left open when its event loop ended.*rolled back.*`async with`"):
        asyncio.run(commit())
    asyncio.run(write())
    asyncio.run(session.close())
    asyncio.run(write())
    asyncio.run(session.rollback())
    if database.url.get_backend_name() == "mysql":
        assert asyncio.run(count()) == 0


@on_both_databases
def test_a_session_in_use_by_another_living_loop_is_refused() -> None:
    session = DatabaseSessionLocal()
    problems: list[str] = []

    def use_elsewhere() -> None:
        async def read() -> None:
            await session.scalar(ONE)

        try:
            asyncio.run(read())
        except DatabaseError as error:
            problems.append(str(error))

    async def use() -> None:
        async with session:
            await session.scalar(ONE)
            await asyncio.to_thread(use_elsewhere)
            assert await session.scalar(ONE) == 1

    asyncio.run(use())
    assert len(problems) == 1
    assert "give each loop a session of its own" in problems[0]


@on_both_databases
def test_a_forked_process_uses_connections_of_its_own() -> None:
    script = """
import asyncio, os
from sqlalchemy import text
from db.maria_database import DatabaseSessionLocal

async def read(value):
    async with DatabaseSessionLocal() as session:
        assert await session.scalar(text(f"SELECT {value}")) == value

async def parent():
    await read(1)
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        for _ in range(3):
            asyncio.run(read(2))
        os._exit(0)
    while True:
        await read(1)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0
            return

asyncio.run(parent())
print("ok")
"""
    assert run_script(script) == "ok\n"


@on_both_databases
def test_scripts_that_end_their_loops_roughly_get_no_warnings() -> None:
    script = """
import asyncio, gc
from sqlalchemy import text
from db.maria_database import DatabaseSessionLocal, database

async def read():
    async with DatabaseSessionLocal() as session:
        assert await session.scalar(text("SELECT 1")) == 1

for number in range(10):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.gather(*(asyncio.ensure_future(read(), loop=loop) for _ in range(3))))
    loop.close()
    asyncio.run(read())
gc.collect()
assert len(database._engines) <= 1
print("ok")
"""
    assert run_script(script) == "ok\n"


def run_script(script: str) -> str:
    """Run a script that shows every warning, unclosed connections among them, and let none of them pass."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    # Development mode also names each callback that took 0.1 s, which on a busy machine is any of them.
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, errors) == (0, [])
    return done.stdout


def test_a_database_used_outside_a_loop_says_what_to_do() -> None:
    with pytest.raises(DatabaseError, match=r"the application database is used outside an event loop.*asyncio\.run"):
        database_engine.connect()


def test_the_source_databases_work_in_any_loop_and_are_only_read(
    tmp_path: Path, settings_environment: Callable[..., None]
) -> None:
    for name in ("hris", "biostar"):
        with sqlite3.connect(tmp_path / f"{name}.sqlite3") as connection:
            connection.execute("CREATE TABLE given (id INTEGER)")
        connection.close()
    settings_environment(DATA_DIR=tmp_path)

    async def read_and_try_to_write() -> None:
        for make_maker in (_get_hris_session_maker, _get_biostar_session_maker):
            async with make_maker()() as session:
                assert await session.scalar(text("SELECT COUNT(*) FROM given")) == 0
                with pytest.raises(Exception, match="readonly database"):
                    await session.execute(text("INSERT INTO given VALUES (1)"))

    async def dispose() -> None:
        await dispose_hris_engine()
        await dispose_biostar_engine()

    for run in (read_and_try_to_write, dispose, read_and_try_to_write):
        asyncio.run(run())


def unreachable(url: str, settings_environment: Callable[..., None]) -> str:
    settings_environment(MARIA_DATABASE_URL=url)
    with pytest.raises(DatabaseUnreachable) as refusal:
        asyncio.run(read_one())
    return str(refusal.value)


def test_a_wrong_password_host_or_database_is_named_but_the_password_never(
    mariadb_server: servers.MariaDBServer, settings_environment: Callable[..., None]
) -> None:
    port = mariadb_server.port
    wrong_password = unreachable(f"mysql://hr:wr0ng@127.0.0.1:{port}/hr_data", settings_environment)
    assert f"'hr_data' at 127.0.0.1:{port} as 'hr'" in wrong_password
    assert "Access denied" in wrong_password

    closed_port = servers.free_port()
    no_server = unreachable(f"mysql://hr:wr0ng@127.0.0.1:{closed_port}/hr_data", settings_environment)
    assert f"'hr_data' at 127.0.0.1:{closed_port}" in no_server

    url = mariadb_server.url("no_such_database")
    no_database = unreachable(url, settings_environment)
    assert "Unknown database 'no_such_database'" in no_database

    for message in (wrong_password, no_server, no_database):
        assert "Check MARIA_DATABASE_URL" in message
        assert "wr0ng" not in message
        assert servers.mariadb.PASSWORD not in message


def test_a_missing_source_file_is_an_error_and_not_a_new_empty_database(
    tmp_path: Path, settings_environment: Callable[..., None]
) -> None:
    settings_environment(DATA_DIR=tmp_path / "nothing")

    async def read() -> None:
        async with _get_hris_session_maker()() as session:
            await session.scalar(ONE)

    with pytest.raises(DatabaseUnreachable, match=r"the HRIS.*hris\.sqlite3.*Check HRIS_DATABASE_URL"):
        asyncio.run(read())
    assert not (tmp_path / "nothing" / "hris.sqlite3").exists()
