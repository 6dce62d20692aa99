"""Connections to a SQL Server on both drivers: they end with their event loop, however it ends."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from db.engines import Database
from db.sql_server.threaded_connection import ThreadedConnection
from tests.integration.sqlserver.conftest import Serve
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import Driver, connection_string
from tests.waiting import wait_until


@pytest.fixture
def name() -> str:
    return f"HMIS-{uuid4().hex[:8]}"


@pytest.fixture
def database(serve: Serve, tmp_path: Path, name: str) -> Database:
    return serve(tmp_path / "empty.sqlite3", name=name)


async def ask(database: Database) -> None:
    async with database.engine().connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


def count_sessions(server: TdsServer, name: str) -> int:
    return [each["database"] for each in server.sessions()].count(name)


def test_a_loop_that_shuts_down_leaves_no_connection(database: Database, sql_server: TdsServer, name: str) -> None:
    for _ in range(10):
        asyncio.run(ask(database))
    wait_until(lambda: count_sessions(sql_server, name) == 0, "no session is left")


def test_a_loop_that_was_closed_without_shutting_down_has_its_connections_closed_by_the_next_one(
    database: Database, sql_server: TdsServer, name: str
) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask(database))
    assert count_sessions(sql_server, name) == 1
    loop.close()
    asyncio.run(ask(database))
    wait_until(lambda: count_sessions(sql_server, name) == 0, "no session is left")


async def test_a_connection_that_is_forgotten_is_told_of_and_closed(
    database: Database, driver: Driver, sql_server: TdsServer, name: str
) -> None:
    await ask(database)
    forgotten = await ThreadedConnection(connection_string(sql_server, driver, name), login_timeout=10).open()
    assert count_sessions(sql_server, name) == 2
    with pytest.warns(ResourceWarning, match="Unclosed connection"):
        del forgotten
    # In a thread: the loop lets go of what it gave last when it turns.
    await asyncio.to_thread(wait_until, lambda: count_sessions(sql_server, name) == 1, "its session has ended")
