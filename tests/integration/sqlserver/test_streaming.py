"""Streaming from a SQL Server on both drivers: rows are taken as they come, and left when they are not wanted."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import aclosing, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, column, select, table

from db.sql_server import threaded_connection
from db.sql_server.threaded_connection import STOP_LIMIT
from db.streaming import stream_rows
from demo.sample_hris import HrisShape, write_sample_hris
from hr.mapping import load_mapping
from hr.source import Source
from settings import REPOSITORY
from tests.integration.replication.world import MAPPING, open_source
from tests.integration.sqlserver.cancelled_readers import READERS
from tests.integration.sqlserver.conftest import Serve
from tests.servers.tds import TdsServer
from tests.waiting import wait_until

SCHEMAS = {"User": "Security"}
EMPLOYEES = "AS name_en"
CHUNK_ROWS = 100
LIMIT = 60


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hris") / "hris.sqlite3"
    write_sample_hris(path, HrisShape(people=2_000))
    return path


@pytest.fixture
def source(sample: Path, serve: Serve) -> Source:
    return Source(serve(sample, SCHEMAS), load_mapping(MAPPING))


@pytest.mark.parametrize("chunk_rows", [1, 7, CHUNK_ROWS, 100_000])
async def test_chunks_of_any_size_hold_every_row_once(source: Source, sample: Path, chunk_rows: int) -> None:
    expected = {
        row[0] async for rows in Source(open_source(sample), source._file).read("department", 50) for row in rows
    }
    chunks = [rows async for rows in source.read("department", chunk_rows)]
    ids = [row[0] for rows in chunks for row in rows]
    assert len(ids) == len(expected)
    assert set(ids) == expected
    assert {len(rows) for rows in chunks[:-1]} <= {chunk_rows}
    assert 1 <= len(chunks[-1]) <= chunk_rows


async def test_an_answer_that_fills_its_last_chunk_exactly_ends_there(source: Source) -> None:
    rows = await source.count("department")
    assert [len(chunk) async for chunk in source.read("department", rows)] == [rows]


async def test_rows_are_given_while_the_server_still_sends(source: Source, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "stall", matching=EMPLOYEES, at_row=1_000)
    async with asyncio.timeout(LIMIT), aclosing(source.read("employee", CHUNK_ROWS)) as chunks:
        assert len(await anext(chunks)) == CHUNK_ROWS


async def test_who_stops_reading_half_way_leaves_a_connection_that_others_can_use(
    source: Source, sql_server: TdsServer
) -> None:
    async with aclosing(source.read("employee", CHUNK_ROWS)) as chunks:
        await anext(chunks)
    assert await source.count("employee") > CHUNK_ROWS
    database = source._database.url.database
    assert [each["database"] for each in sql_server.sessions()].count(database) == 1


async def test_the_event_loop_runs_while_the_server_is_silent(source: Source, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "stall", matching=EMPLOYEES, seconds=1)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async with asyncio.timeout(LIMIT), aclosing(source.read("employee", CHUNK_ROWS)) as chunks:
        counting = asyncio.create_task(count_turns())
        assert len(await anext(chunks)) == CHUNK_ROWS
        counting.cancel()
    assert turns > 10


async def test_a_statement_that_nobody_waits_for_any_more_is_ended_at_once(
    source: Source, sql_server: TdsServer
) -> None:
    sql_server.misbehave("statement", "stall", matching=EMPLOYEES)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), aclosing(source.read("employee", CHUNK_ROWS)) as chunks:
            await anext(chunks)
    assert time.monotonic() - started < STOP_LIMIT
    database = source._database.url.database
    wait_until(lambda: database not in {each["database"] for each in sql_server.sessions()}, "its session has ended")


async def test_a_server_that_hangs_does_not_hold_up_who_no_longer_waits(
    source: Source, sql_server: TdsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threaded_connection, "STOP_LIMIT", 0.5)
    sql_server.misbehave("statement", "stall", matching=EMPLOYEES)
    database = source._database.url.database

    def is_connected() -> bool:
        return database in {each["database"] for each in sql_server.sessions()}

    def count_statements() -> int:
        return sum(EMPLOYEES in statement for statement in sql_server.statements())

    before = count_statements()
    async with aclosing(source.read("employee", CHUNK_ROWS)) as chunks:
        reading = asyncio.ensure_future(anext(chunks))
        # Not before: a login that is under way cannot be stopped, and takes until its timeout.
        await asyncio.to_thread(wait_until, lambda: count_statements() > before, "the statement is under way")
        os.kill(sql_server.pid, signal.SIGSTOP)
        try:
            reading.cancel()
            ended, _ = await asyncio.wait({reading}, timeout=STOP_LIMIT)
        finally:
            os.kill(sql_server.pid, signal.SIGCONT)
    assert ended
    assert reading.cancelled()
    await asyncio.to_thread(wait_until, lambda: not is_connected(), "its session has ended")


def test_readers_that_are_cancelled_at_any_moment_leave_their_process_alive(
    sample: Path, serve: Serve, tmp_path: Path
) -> None:
    url = serve(sample, SCHEMAS).url.render_as_string(hide_password=False)
    environment = {"HRIS_DATABASE_URL": url, "DATA_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.integration.sqlserver.cancelled_readers"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > READERS / 4


async def test_times_with_an_offset_arrive_with_it_streamed_or_not(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "signs.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE signs (id int, at datetimeoffset)")
        connection.execute("INSERT INTO signs VALUES (1, '2026-11-20 08:05:00.450000 +02:00'), (2, NULL)")
        connection.commit()
    expected = [(1, datetime(2026, 11, 20, 8, 5, 0, 450_000, timezone(timedelta(hours=2)))), (2, None)]
    statement: Select[Any] = select(column("id"), column("at")).select_from(table("signs"))
    async with serve(path).engine().connect() as connected:
        streamed = [tuple(row) async for rows in stream_rows(connected, statement, CHUNK_ROWS) for row in rows]
        assert sorted(streamed) == expected
        assert sorted(map(tuple, (await connected.execute(statement)).all())) == expected
